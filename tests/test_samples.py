"""Window sources, training samples and evaluation samples, with their replacements for unreadable videos."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import synvid  # noqa: E402
from synvid.errors import ConfigurationError, DatasetError  # noqa: E402
from synvid.runtime.progress import Progress  # noqa: E402
from synvid.textures.bank import build_bank  # noqa: E402
from synvid.textures.bank_cache import make_bank_header  # noqa: E402
from synvid.video.decode import VideoFile, decode  # noqa: E402
from synvid_train.data.loader import load_batches  # noqa: E402
from synvid_train.data.samples import EvaluationVideos, TrainingClips  # noqa: E402
from synvid_train.data.schedule import Schedule  # noqa: E402
from synvid_train.data.transforms import evaluation_views, finetune_window  # noqa: E402
from synvid_train.data.video_list import VideoList, read_list  # noqa: E402
from synvid_train.data.window_sources import DatasetClips, LabelledVideos, RenderedClips  # noqa: E402
from synvid_train.distributed import DistributedContext  # noqa: E402
from synvid_train.train.finetune import make_finetuning_task  # noqa: E402
from synvid_train.train.run_log import read_log  # noqa: E402
from synvid_train.train.trainer import train  # noqa: E402
from synvid_train.training_recipe import load_recipe  # noqa: E402

JHMDB = Path(__file__).parents[2] / "shared" / "data" / "jhmdb"


TINY_RECIPE = [
    "model.image_size=16",
    "model.patch_size=8",
    "model.num_frames=4",
    "model.decoder_depth=1",
    "optim.batch_size=4",
]


TWO_SAMPLES_RECIPE = [
    "model.image_size=16",
    "model.patch_size=8",
    "model.num_frames=4",
    "data.stride=2",
    "data.samples_per_clip=2",
]


@pytest.fixture
def tiny_preset():
    """A preset whose clips render fast."""
    return synvid.load_preset(
        "moving_shapes", {"video.width": 32, "video.height": 32, "objects.count": 20, "video.num_frames_range": [8, 20]}
    )


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Six short labelled videos, the fourth of which is broken."""
    folder = tmp_path_factory.mktemp("videos")
    preset = synvid.load_preset(
        "moving_shapes", {"video.width": 32, "video.height": 32, "objects.count": 20, "video.num_frames_range": [12, 20]}
    )
    paths = tuple(folder / f"{i}.mp4" for i in range(6))
    for i, path in enumerate(paths):
        synvid.render(synvid.sample_scene(preset, 0, i)).save(path)
    paths[3].write_bytes(b"no video")
    return LabelledVideos(VideoList(folder, paths, tuple(range(6)), tuple("abcdef")))


# ---- Sources -------------------------------------------------------------------------------------------------------
def test_rendered_clips_identity_depends_on_texture_content(tmp_path):
    """A texture bank moved or renamed gives the same identity; a bank with other content at the same path does not."""
    path, moved = tmp_path / "a.bank", tmp_path / "moved" / "b.bank"
    build_bank(path, make_bank_header("stylegan-high-freq", 4, 32, 0), None, 1, Progress())
    moved.parent.mkdir()
    moved.write_bytes(path.read_bytes())
    preset = synvid.load_preset("moving_shapes", {"fill.textures": [str(path)]})
    original = RenderedClips(preset, 0, 8).identity
    assert RenderedClips(preset.with_banks({str(path): str(moved)}), 0, 8).identity == original
    assert RenderedClips(preset, 0, 9).identity != original
    path.unlink()
    build_bank(path, make_bank_header("stylegan-high-freq", 4, 32, 1), None, 1, Progress())
    assert RenderedClips(preset, 0, 8).identity != original


def test_rendered_clips_real_mixture_raises():
    """A preset that mixes in real clips cannot be rendered on demand."""
    preset = synvid.load_preset("moving_shapes", {"mixture.fraction": 0.5, "mixture.source": "real"})
    with pytest.raises(ConfigurationError, match="--shards"):
        RenderedClips(preset, 0, 4)


def _samples(source, workers, recipe=None):
    recipe = recipe or load_recipe("laptop_pretrain", TINY_RECIPE)
    clips = TrainingClips(source, recipe, 3, pretraining=True)
    keys = Schedule(len(source), 1, 4, 4, 2, 3).micro_batches()
    return [(batch["clip"], batch["token_order"]) for batch in load_batches(clips, list(keys), workers, torch.device("cpu"))]


@pytest.mark.parametrize("layout", ["tar", "files"])
def test_dataset_clips_equal_rendered_clips(layout, tiny_preset, tmp_path):
    """Clips rendered from a manifest equal those of the preset; decoded ones are close."""
    synvid.render_dataset(tiny_preset, 12, tmp_path, shard_size=4, format=layout, encoding="lossless", workers=1)
    shards = synvid.open_dataset(tmp_path)
    moved = synvid.open_dataset(shutil.copytree(tmp_path, tmp_path / "moved"))
    assert DatasetClips(moved).identity == DatasetClips(shards).identity != DatasetClips(shards, rerender=True).identity
    rendered = _samples(RenderedClips(tiny_preset, 0, 12), 0)
    rerendered = _samples(DatasetClips(shards, rerender=True), 0)
    decoded = _samples(DatasetClips(shards), 0)
    for (a, order), (b, other_order), (c, _) in zip(rendered, rerendered, decoded, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(order, other_order)
        assert (a.float() - c.float()).abs().mean() < 3


def test_labelled_videos_jhmdb(tmp_path):
    """Windows of J-HMDB videos are the frames of the whole video at the indices of `finetune_window`."""
    if not JHMDB.is_dir():
        pytest.skip("../shared/data/jhmdb is not here")
    videos = read_list(JHMDB / "labels.csv", split="train", split_option="split")
    assert (len(videos), len(videos.classes)) == (671, 21)
    assert len(read_list(JHMDB / "labels.csv", split="test", split_option="split")) == 257
    source = LabelledVideos(videos)
    for i in (0, 300, 670):
        whole = decode(videos.paths[i])
        window = source.read_window(i, 8, 4, np.random.default_rng(i))
        numbers = finetune_window(len(whole), 8, 4, np.random.default_rng(i))
        assert (window == whole[numbers]).all()
    assert tmp_path.is_dir()


# ---- Training samples ----------------------------------------------------------------------------------------------
def test_samples_independent_of_workers(tiny_preset):
    """Clips, crops and masks are the same with zero, one and three workers."""
    source = RenderedClips(tiny_preset, 0, 12)
    expected = _samples(source, 0)
    for workers in (1, 3):
        assert all(
            torch.equal(a, b)
            for one, other in zip(expected, _samples(source, workers), strict=True)
            for a, b in zip(one, other, strict=True)
        )


def test_samples_of_a_clip_share_one_window(videos, monkeypatch):
    """Both samples of a clip are views of the same frames, which are decoded once per epoch."""
    windows = []
    read_window = LabelledVideos.read_window
    monkeypatch.setattr(LabelledVideos, "read_window", lambda self, i, *args: windows.append(i) or read_window(self, i, *args))
    whole = ["views.crop_area_range=[1,1]", "views.crop_aspect_range=[1,1]", "views.randaugment=''", "views.flip=true"]
    clips = TrainingClips(videos, load_recipe("laptop_finetune", TWO_SAMPLES_RECIPE + whole), 0, pretraining=False)
    keys = [(epoch, i, repeat) for epoch in range(4) for i in (0, 1, 2) for repeat in (0, 1)]
    (batch,) = load_batches(clips, [keys], 0, torch.device("cpu"))
    assert windows == [0, 1, 2] * 4
    assert batch["label"].tolist() == [0, 0, 1, 1, 2, 2] * 4
    pairs = batch["clip"].unflatten(0, (-1, 2)).numpy()
    flipped = [bool((first != second).any()) for first, second in pairs]
    assert 0 < sum(flipped) < len(flipped)
    assert all(
        (first == (second[:, :, ::-1] if mirrored else second)).all()
        for (first, second), mirrored in zip(pairs, flipped, strict=True)
    )
    for key, clip in zip(keys, batch["clip"], strict=True):
        assert (clips[key]["clip"] == clip.numpy()).all()


def test_training_with_two_samples_per_clip(videos, tmp_path):
    """Six videos in batches of two give three steps per epoch of four samples each, also with mixup and micro-batches."""
    settings = ["optim.batch_size=2", "optim.epochs=2", "optim.warmup_epochs=1", "run.device_batch_size=2", "run.log_every=1"]
    recipe = load_recipe("laptop_finetune", [*TWO_SAMPLES_RECIPE, *settings, "objective.mixup=0.8"])
    task = make_finetuning_task(recipe, videos.videos)
    sizes = []
    task.model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    train(task, tmp_path, DistributedContext(0, 1, torch.device("cpu")), 0)
    lines = [line for line in read_log(tmp_path / "log.jsonl") if "loss" in line]
    assert [(line["step"], line["epoch"]) for line in lines] == [(k, pytest.approx(k / 3)) for k in range(1, 7)]
    assert sizes == [2, 2] * 6


# ---- Unreadable videos ---------------------------------------------------------------------------------------------
def test_unreadable_video_is_replaced(tiny_preset, tmp_path):
    """A broken video, the only one of its class, is replaced and named; if all are broken, an error is raised."""
    good = tmp_path / "good.mp4"
    synvid.render(synvid.sample_scene(tiny_preset)).save(good)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    source = LabelledVideos(VideoList(tmp_path, (tmp_path / "bad.mp4", good), (0, 1), ("a", "b")))
    recipe = load_recipe("laptop_finetune", TINY_RECIPE[:3])
    sample = TrainingClips(source, recipe, 0, pretraining=False)[0, 0, 0]
    assert sample["label"] == 1
    assert "bad.mp4" in sample["read_error"]
    shutil.copy(tmp_path / "bad.mp4", good)
    with pytest.raises(DatasetError, match=r"bad\.mp4"):
        TrainingClips(source, recipe, 0, pretraining=False)[0, 0, 0]


def test_unreadable_video_replaced_by_same_class(tiny_preset, tmp_path):
    """Unreadable videos are replaced by others of their class, the same ones each time."""
    names = [f"{i}.mp4" for i in range(9)]
    for i in (2, 3, 7, 8):  # two of four videos of class 0, two of five of class 1
        synvid.render(synvid.sample_scene(tiny_preset, 0, i)).save(tmp_path / names[i])
    source = LabelledVideos(VideoList(tmp_path, tuple(tmp_path / name for name in names), (0,) * 4 + (1,) * 5, ("a", "b")))
    recipe = load_recipe("laptop_finetune", TINY_RECIPE[:3])
    clips, again = (TrainingClips(source, recipe, 0, pretraining=False) for _ in range(2))
    assert [clips[epoch, i, 0]["label"] for epoch in range(3) for i in range(9)] == 3 * ([0] * 4 + [1] * 5)
    assert all((clips[0, i, 0]["clip"] == again[0, i, 0]["clip"]).all() for i in range(9))


def test_unreadable_video_both_samples_from_same_replacement(videos):
    """Both samples come from the same replacement, with its label."""
    clips = TrainingClips(videos, load_recipe("laptop_finetune", TWO_SAMPLES_RECIPE), 0, pretraining=False)
    first, second = clips.__getitems__([(0, 3, 0), (0, 3, 1)])
    assert first["label"] == second["label"] != 3
    assert "3.mp4" in first["read_error"]


def test_decode_audio_only_file_raises(tmp_path):
    """Decoding a file with audio only raises an error that says so."""
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode()])
    with pytest.raises(DatasetError, match="it has no video stream"):
        decode(str(tmp_path / "sound.mp4"))


# ---- Evaluation samples --------------------------------------------------------------------------------------------
def test_evaluation_videos_decode_needed_frames_only(videos, monkeypatch):
    """Views equal those of the whole video, although only the frames in them are decoded."""
    recipe = load_recipe("laptop_finetune", TWO_SAMPLES_RECIPE)
    whole, decoded = decode(videos.videos.paths[0]), []
    expected = evaluation_views(whole, 4, 2, 16, recipe.views.test_clips, recipe.views.test_crops)
    stream = VideoFile.stream
    monkeypatch.setattr(VideoFile, "stream", lambda self, numbers: decoded.extend(numbers) or stream(self, numbers))
    assert (EvaluationVideos(videos, recipe)[0]["clips"].numpy() == expected).all()
    assert set(decoded) <= set(range(0, len(whole), 2))
