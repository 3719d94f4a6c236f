"""What VideoMAE's fine-tuning code does with a video, worked out by hand: frames, samples, sizes of a test."""

import itertools
import json

import av
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import synvid  # noqa: E402
from synvid.errors import ConfigurationError, DatasetError  # noqa: E402
from synvid.video.decode import VideoFile, decode  # noqa: E402
from synvid_train.data.annotations import VideoList, read_list  # noqa: E402
from synvid_train.data.loader import load_batches  # noqa: E402
from synvid_train.data.samples import TestVideos, TrainingClips  # noqa: E402
from synvid_train.data.schedule import Schedule  # noqa: E402
from synvid_train.data.transforms import evaluation_views, finetune_window  # noqa: E402
from synvid_train.data.window_sources import LabelledVideos  # noqa: E402
from synvid_train.distributed import DistributedContext  # noqa: E402
from synvid_train.train.finetune import finetuning  # noqa: E402
from synvid_train.train.run_log import read_log  # noqa: E402
from synvid_train.train.trainer import train  # noqa: E402
from synvid_train.training_recipe import load_recipe  # noqa: E402

SMALL = ["model.image_size=16", "model.patch_size=8", "model.num_frames=4", "data.stride=2", "data.samples_per_clip=2"]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Six short videos with labels, the fourth of which is broken."""
    folder = tmp_path_factory.mktemp("films")
    preset = synvid.load_preset(
        "moving_shapes", {"video.width": 32, "video.height": 32, "objects.count": 20, "video.num_frames_range": [12, 20]}
    )
    paths = tuple(folder / f"{i}.mp4" for i in range(6))
    for i, path in enumerate(paths):
        synvid.render(synvid.sample_scene(preset, 0, i)).save(path)
    paths[3].write_bytes(b"no video")
    return LabelledVideos(VideoList(folder, paths, tuple(range(6)), tuple("abcdef")))


class Fixed:
    """A random generator that draws one number, and notes from how many."""

    def __init__(self, number):
        self.number = number

    def integers(self, low, high):
        self.range = low, high
        return self.number


# ---- Frames of fine-tuning ----------------------------------------------------------------------------------------
def test_window_of_a_long_video():
    """16 frames at stride 4 are linspace(s, s + 64, 16) rounded down, the last one within the window."""
    rng = Fixed(5)
    expected = [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63]
    assert finetune_window(100, 16, 4, rng) == [5 + number for number in expected]
    assert rng.range == (0, 36)  # the end is drawn from 64 to 99


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (64, [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63]),
        (40, [0, 4, 8, 13, 17, 22, 26, 31, 35, *[39] * 7]),  # linspace(0, 40, 10)
        (10, [0, *[9] * 15]),  # linspace(0, 10, 2)
        (3, [2] * 16),
        (1, [0] * 16),
    ],
)
def test_window_of_a_short_video(num_frames, expected):
    """A short video is spread from its first frame to its last, which fills the rest."""
    assert finetune_window(num_frames, 16, 4, np.random.default_rng(0)) == expected


# ---- Two samples of a clip ----------------------------------------------------------------------------------------
def test_kinetics_steps():
    """An epoch of Kinetics-400's 240,436 videos has 469 steps, each of 1,024 samples of 512 videos."""
    recipe = load_recipe("finetune_k400")
    repeats, batch = recipe.data.samples_per_clip, recipe.optim.batch_size
    schedule = Schedule(240_436, repeats, batch, recipe.run.device_batch_size, recipe.optim.epochs, 0, world_size=64)
    assert (schedule.steps_per_epoch, schedule.accumulation_steps) == (469, 1)
    (micro_batch,) = itertools.islice(schedule.micro_batches(), 1)
    assert len(micro_batch) == 16
    assert len({index for _, index, _ in micro_batch}) == 8
    assert [repeat for *_, repeat in micro_batch] == [0, 1] * 8


def test_samples_of_a_clip_share_its_window(films, monkeypatch):
    """Both samples of a clip are views of the same frames, which are decoded once, whatever batch they are in."""
    windows = []
    window = LabelledVideos.window
    monkeypatch.setattr(LabelledVideos, "window", lambda self, i, *more: windows.append(i) or window(self, i, *more))
    whole = ["views.crop_area_range=[1,1]", "views.crop_aspect_range=[1,1]", "views.randaugment=''", "views.flip=true"]
    clips = TrainingClips(films, load_recipe("laptop_finetune", SMALL + whole), 0, pretraining=False)
    keys = [(epoch, i, repeat) for epoch in range(4) for i in (0, 1, 2) for repeat in (0, 1)]
    (batch,) = load_batches(clips, [keys], 0, torch.device("cpu"))
    assert windows == [0, 1, 2] * 4
    assert batch["label"].tolist() == [0, 0, 1, 1, 2, 2] * 4
    pairs = batch["clip"].unflatten(0, (-1, 2)).numpy()
    flipped = [bool((one != two).any()) for one, two in pairs]
    assert 0 < sum(flipped) < len(flipped)
    assert all(
        (one == (two[:, :, ::-1] if mirrored else two)).all() for (one, two), mirrored in zip(pairs, flipped, strict=True)
    )
    for key, clip in zip(keys, batch["clip"], strict=True):
        assert (clips[key]["clip"] == clip.numpy()).all()


def test_steps_of_two_samples(films, tmp_path):
    """Six videos in batches of two are three steps an epoch, each of four samples; mixup and a small device take them, too."""
    settings = ["optim.batch_size=2", "optim.epochs=2", "optim.warmup_epochs=1", "run.device_batch_size=2", "run.log_every=1"]
    recipe = load_recipe("laptop_finetune", [*SMALL, *settings, "objective.mixup=0.8"])
    job = finetuning(recipe, films.videos)
    seen = []
    job.model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    train(job, tmp_path, DistributedContext(0, 1, torch.device("cpu")), 0)
    lines = [line for line in read_log(tmp_path / "log.jsonl") if "loss" in line]
    assert [(line["step"], line["epoch"]) for line in lines] == [(k, pytest.approx(k / 3)) for k in range(1, 7)]
    assert seen == [2, 2] * 6


def test_samples_of_an_unreadable_clip(films):
    """Both samples come from the same other clip, with its label."""
    clips = TrainingClips(films, load_recipe("laptop_finetune", SMALL), 0, pretraining=False)
    one, two = clips.__getitems__([(0, 3, 0), (0, 3, 1)])
    assert one["label"] == two["label"] != 3
    assert "3.mp4" in one["unread"]


# ---- Tests --------------------------------------------------------------------------------------------------------
def test_width_of_a_test():
    """Video of 320 x 240 is scaled to 298 x 224, so that crops begin at 0, 37 and 74."""
    frames = np.broadcast_to(np.linspace(0, 255, 320).astype(np.uint8)[:, None], (4, 240, 320, 3))
    wide = evaluation_views(frames, 4, 1, 224, 1, 3)
    scaled = evaluation_views(frames, 4, 1, 224, 1, 75)  # one crop a pixel: 75 of them fit into 298
    assert (scaled[1:, :, :, 0] == scaled[:-1, :, :, 1]).all()
    assert [(scaled == view).all(axis=(1, 2, 3, 4)).argmax() for view in wide] == [0, 37, 74]


def test_a_test_keeps_only_the_frames_it_takes(films, monkeypatch):
    """Views are those of the whole video, though only the frames that they show are turned into arrays."""
    recipe = load_recipe("laptop_finetune", SMALL)
    whole, shown = decode(films.videos.paths[0]), []
    expected = evaluation_views(whole, 4, 2, 16, recipe.views.test_clips, recipe.views.test_crops)
    stream = VideoFile.stream
    monkeypatch.setattr(VideoFile, "stream", lambda self, numbers: shown.extend(numbers) or stream(self, numbers))
    assert (TestVideos(films, recipe)[0]["clips"].numpy() == expected).all()
    assert set(shown) <= set(range(0, len(whole), 2))


# ---- Lists as VideoMAE and others write them ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.mp4 120 7\nb.mp4 90 8\n", ["a.mp4", "b.mp4"]),
        ("a.mp4,120,7\nb.mp4,90,8\n", ["a.mp4", "b.mp4"]),
        ("c 1 7\nc 2 8\n", ["c 1", "c 2"]),  # paths that end in a number
        ("x,y/a.mp4 7\nx,y/b.mp4 8\n", ["x,y/a.mp4", "x,y/b.mp4"]),
    ],
)
def test_lists_with_frames_and_commas(text, names, tmp_path):
    """Numbers of frames between path and label are left out, and a comma in all paths separates nothing."""
    for name in ("a.mp4", "b.mp4", "c 1", "c 2", "x,y/a.mp4", "x,y/b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "l.txt").write_text(text)
    videos = read_list(tmp_path / "l.txt")
    assert videos.paths == tuple(tmp_path / name for name in names)
    assert videos.classes == ("7", "8")


def test_a_list_of_one_long_line(tmp_path):
    """JSON in one line whose videos are not there is refused in a sentence that does not repeat it."""
    (tmp_path / "l.json").write_text(json.dumps([{"vid_name": f"v{i}", "label": i} for i in range(1000)]))
    with pytest.raises(ConfigurationError, match="none of its 1,000 videos is there") as error:
        read_list(tmp_path / "l.json")
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(("short", "key"), [("lr", "base_learning_rate"), ("wd", "weight_decay"), ("batch", "batch_size")])
def test_settings_by_their_initials(short, key):
    """Keys that other code abbreviates are suggested."""
    with pytest.raises(ConfigurationError, match=f"did you mean 'optim.{key}'"):
        load_recipe("finetune_ucf101", [f"optim.{short}=1"])


def test_sound_only(tmp_path):
    """A file without pictures is said to have none."""
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode()])
    with pytest.raises(DatasetError, match="it holds no video"):
        decode(str(tmp_path / "sound.mp4"))
