"""What training sees: windows, crops, augmentations, lists of videos, and the order of clips."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

torch = pytest.importorskip("torch")

import synvid  # noqa: E402
from synvid.errors import ConfigurationError, DatasetError  # noqa: E402
from synvid.runtime.progress import Progress  # noqa: E402
from synvid.textures.bank import build_bank  # noqa: E402
from synvid.textures.bank_cache import make_bank_header  # noqa: E402
from synvid.video.decode import decode  # noqa: E402
from synvid_train.data import transforms as view_module  # noqa: E402
from synvid_train.data.annotations import VideoList, read_list  # noqa: E402
from synvid_train.data.loader import load_batches  # noqa: E402
from synvid_train.data.samples import TrainingClips  # noqa: E402
from synvid_train.data.schedule import Schedule  # noqa: E402
from synvid_train.data.transforms import (
    evaluation_views,
    finetune_view,
    finetune_window,
    multi_scale_crop,
    pretrain_view,
    resize,
    sample_window,
    seeded,
)
from synvid_train.data.window_sources import LabelledVideos, RenderedClips, ShardClips  # noqa: E402
from synvid_train.train.finetune import _mixing  # noqa: E402
from synvid_train.training_recipe import TrainingRecipe, Views, list_recipes, load_recipe  # noqa: E402

JHMDB = Path(__file__).parents[2] / "shared" / "data" / "jhmdb"
TINY_RECIPE = [
    "model.image_size=16",
    "model.patch_size=8",
    "model.num_frames=4",
    "model.decoder_depth=1",
    "optim.batch_size=4",
]


@pytest.fixture
def tiny_preset():
    """A preset whose clips take no time."""
    return synvid.load_preset(
        "moving_shapes", {"video.width": 32, "video.height": 32, "objects.count": 20, "video.num_frames_range": [8, 20]}
    )


def _noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


# ---- Time and space -----------------------------------------------------------------------------------------------
def test_window_by_hand():
    """A video of 10 frames at stride 4 shows 0, 4, 8 from its start, then repeats the last it reached."""
    assert sample_window(10, 5, 4, np.random.default_rng(0)) == [0, 4, 8, 8, 8]
    assert sample_window(1, 4, 4, np.random.default_rng(0)) == [0, 0, 0, 0]


def test_window_starts_are_uniform():
    """In 67 frames a window of 16 at stride 4 starts at 0, 1, 2 or 3, as often each."""
    starts = [sample_window(67, 16, 4, np.random.default_rng(i))[0] for i in range(4000)]
    assert np.bincount(starts).tolist() == pytest.approx([1000] * 4, abs=120)


@given(st.integers(1, 300), st.integers(1, 32), st.integers(1, 8), st.integers(0, 9))
@settings(deadline=None)
def test_window_properties(num_frames, count, stride, seed):
    """All numbers are frames, `stride` apart until the last one that is reached."""
    window = sample_window(num_frames, count, stride, np.random.default_rng(seed))
    assert len(window) == count
    assert set(np.diff(window)) <= {0, stride}
    assert 0 <= window[0] <= window[-1] < num_frames


@given(st.integers(16, 400), st.integers(16, 400), st.integers(0, 10**6))
@settings(deadline=None)
def test_multi_scale_crop_lies_inside(height, width, seed):
    """The crop is inside the frame and its sides are scales of the short side, at most one place apart."""
    scales = (1, 0.875, 0.75, 0.66)
    top, left, h, w = multi_scale_crop((height, width), 10**6, scales, np.random.default_rng(seed))
    sides = [max(int(min(height, width) * s), 1) for s in scales]
    assert 0 <= top <= height - h
    assert 0 <= left <= width - w
    assert any(h == a and w == b for i, a in enumerate(sides) for j, b in enumerate(sides) if abs(i - j) <= 1)


def test_multi_scale_crop_places():
    """All ten pairs of sides and all thirteen places occur; a side within 3 pixels of the model's is the model's."""
    crops = {multi_scale_crop((256, 256), 224, (1, 0.875, 0.75, 0.66), np.random.default_rng(i)) for i in range(4000)}
    pairs = {(a, b) for a in (256, 224, 192, 168) for b in (256, 224, 192, 168) if abs(a - b) <= 32}
    assert {crop[2:] for crop in crops} == pairs
    assert len(pairs) == 10
    assert len({crop[:2] for crop in crops if crop[2:] == (192, 192)}) == 13
    assert {
        crop[2] for crop in (multi_scale_crop((226, 226), 224, (1, 1, 1, 1), np.random.default_rng(i)) for i in range(9))
    } == {224}


def test_resize_is_pillows():
    """Frames are scaled as Pillow scales them, up to rounding."""
    frames = _noise(2, 61, 83, 3)
    ours = resize(frames, 32, 48)
    theirs = np.stack([np.asarray(Image.fromarray(f).resize((48, 32), Image.Resampling.BILINEAR)) for f in frames])
    assert np.abs(ours.astype(int) - theirs).max() <= 2


def test_pretraining_does_not_flip_or_colour():
    """A view of pre-training is a scaled crop of the frames and nothing else."""
    frames = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, None, :, None] * 4, (2, 64, 64, 3)).copy()
    for seed in range(20):
        view = pretrain_view(frames, 32, (1, 0.875, 0.75, 0.66), np.random.default_rng(seed))
        assert view.shape == (2, 32, 32, 3)
        assert (np.diff(view[0, 0, :, 0].astype(int)) >= 0).all()  # left is dark still


def test_views_of_a_test():
    """Views are spread over time and the long side; the first and last touch the ends."""
    frames = np.zeros((40, 32, 64, 3), np.uint8)
    frames[..., 0] = np.arange(40)[:, None, None]
    frames[..., 1] = np.arange(64)[None, None]
    views = evaluation_views(frames, 4, 2, 32, clips=3, crops=3)
    assert views.shape == (9, 4, 32, 32, 3)
    assert views[:, 0, 0, 0, :2].tolist() == [[t, x] for t in (0, 16, 32) for x in (0, 16, 32)]
    assert views[-1, -1, 0, -1].tolist() == [38, 63, 0]
    assert evaluation_views(frames, 4, 2, 32, 1, 1)[0, 0, 0, 0, :2].tolist() == [16, 16]


def test_views_of_a_short_or_upright_video():
    """A video shorter than the model's clip repeats its last frame; an upright one is cropped along its height."""
    frames = _noise(1, 64, 32, 3)
    views = evaluation_views(frames, 4, 4, 32, 2, 3)
    assert views.shape == (6, 4, 32, 32, 3)
    assert (views == views[:, :1]).all()
    assert not (views[0] == views[1]).all()


# ---- Augmentations of timm, on clips ------------------------------------------------------------------------------
def test_one_randaugment_a_clip():
    """Equal frames stay equal: the same operations with the same strengths change all of them."""
    frames = np.repeat(_noise(1, 40, 40, 3), 6, axis=0)
    views = Views(randaugment="rand-m9-mstd0.5-inc1", crop_area_range=(1, 1), crop_aspect_range=(1, 1))
    changed = 0
    for seed in range(12):
        view = finetune_view(frames, 40, views, np.random.default_rng(seed))
        assert (view == view[:1]).all()
        changed += not (view == frames).all()
    assert changed > 6


def test_one_erasing_box_a_clip():
    """The same box is erased in every frame, in all three channels, with noise that differs."""
    frames = np.full((5, 40, 40, 3), 7, np.uint8)
    views = Views(erasing=1.0, crop_area_range=(1, 1), crop_aspect_range=(1, 1))
    view = finetune_view(frames, 40, views, np.random.default_rng(1))
    touched = (view != 7).any(axis=-1)
    rows, columns = np.nonzero(touched.any(axis=0))
    box = (slice(None), slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    assert (rows.max(), columns.max()) != (39, 39) or (rows.min(), columns.min()) != (0, 0)
    assert touched[box].mean() > 0.99
    assert touched.sum() == touched[box].sum()
    assert not (view[0] == view[1]).all()


def test_flip():
    """Half of the views are mirrored, all frames of one together."""
    frames = np.repeat(_noise(1, 16, 16, 3), 3, axis=0)
    views = Views(flip=True, crop_area_range=(1, 1), crop_aspect_range=(1, 1))
    kinds = []
    for seed in range(60):
        view = finetune_view(frames, 16, views, np.random.default_rng(seed))
        assert (view == view[:1]).all()
        kinds.append((view == frames).all())
        assert kinds[-1] or (view == frames[:, :, ::-1]).all()
    assert 15 < sum(kinds) < 45


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.0, 1.0), (0.8, 0.0), (0.8, 1.0)])
def test_mixed_area_is_the_weight_of_the_label(mixup, cutmix):
    """The share of a clip that shows the other one is the weight of the other's label, in every frame alike."""
    recipe = TrainingRecipe().override({"objective.mixup": mixup, "objective.cutmix": cutmix})
    mix = _mixing(recipe, 2)
    clips = torch.zeros(2, 5, 16, 16, 3)
    clips[1] = 1
    for seed in range(20):
        with seeded(seed):
            mixed, target = mix(clips, torch.tensor([0, 1]))
        assert mixed.shape == clips.shape
        assert (mixed == mixed[:, :1, :, :, :1]).all()  # one box, or one weight, for all frames and channels
        assert mixed[0].mean().item() == pytest.approx(target[0, 1].item(), abs=1e-5)


def test_seeded_leaves_no_trace():
    """Global random states are as they were, and what is drawn inside depends on the key alone."""
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)

    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002

    with seeded(1, 2):
        first = draw()
    after = draw()
    with seeded(1, 2):
        assert draw() == first
    with seeded(1, 3):
        assert draw() != first
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    assert draw() == after
    assert view_module.__doc__


# ---- Lists --------------------------------------------------------------------------------------------------------
def _touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


@pytest.mark.parametrize(
    "text",
    [
        "a b/one.mp4 run\nc/two.mp4 sit\n",
        "a b/one.mp4,run\nc/two.mp4,sit\n",
        '"a b/one.mp4" run\n"c/two.mp4" sit\n',
        "path,label\na b/one.mp4,run\nc/two.mp4,sit\n",
        "label,path,fps\nrun,a b/one.mp4,3\nsit,c/two.mp4,4\n",
        "a b/one.mp4\trun\r\nc/two.mp4\tsit\r\n\r\n",
        "\ufeffpath label\na b/one.mp4 run\nc/two.mp4 sit",
    ],
)
def test_lists(text, tmp_path):
    """Commas, tabs or blanks, header or not, quotes and blanks in paths: all are read alike."""
    _touch(tmp_path, "a b/one.mp4", "c/two.mp4")
    (tmp_path / "list.csv").write_text(text, encoding="utf-8", newline="")
    videos = read_list(tmp_path / "list.csv")
    assert videos.paths == (tmp_path / "a b/one.mp4", tmp_path / "c/two.mp4")
    assert (videos.labels, videos.classes) == ((0, 1), ("run", "sit"))


def test_labels_are_those_of_the_list(tmp_path):
    """A list's own labels count, whatever its name and its folders are called."""
    _touch(tmp_path, *(f"videos/{i}.mp4" for i in range(3)))
    (tmp_path / "train_list.csv").write_text("video_path,class\n" + "".join(f"videos/{i}.mp4,{i}\n" for i in range(3)))
    videos = read_list(tmp_path / "train_list.csv")
    assert (videos.classes, videos.labels) == (("0", "1", "2"), (0, 1, 2))


def test_rows_without_a_label(tmp_path):
    """A row that is too short is named."""
    _touch(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "l.csv").write_text("path,split,label\na.mp4,train,x\nb.mp4,train,\n")
    with pytest.raises(ConfigurationError, match=r"'b\.mp4' has no label"):
        read_list(tmp_path / "l.csv")


def test_numbers_as_labels(tmp_path):
    """Numbers are ordered by value, and with a gap between them they are the names of the classes still."""
    _touch(tmp_path, *(f"{i}.mp4" for i in range(12)))
    (tmp_path / "l.csv").write_text("".join(f"{i}.mp4 {i}\n" for i in range(12)))
    assert read_list(tmp_path / "l.csv").labels == tuple(range(12))
    (tmp_path / "l.csv").write_text("0.mp4 0\n1.mp4 1\n2.mp4 3\n")
    assert read_list(tmp_path / "l.csv").classes == ("0", "1", "3")


def test_ucf101_lists(tmp_path):
    """UCF101's official lists, one with numbers and one without, give the same classes."""
    names = ["ApplyLipstick/v_ApplyLipstick_g08_c01.avi", "Archery/v_Archery_g08_c02.avi"]
    _touch(tmp_path, *names)
    (tmp_path / "trainlist01.txt").write_text("".join(f"{name} {i}\n" for i, name in enumerate(names, 1)))
    (tmp_path / "testlist01.txt").write_text("".join(f"{name}\n" for name in names))
    train = read_list(tmp_path / "trainlist01.txt")
    test = read_list(tmp_path / "testlist01.txt", classes=train.classes)
    assert train.classes == ("ApplyLipstick", "Archery")
    assert train.labels == test.labels == (0, 1)


def test_hmdb51_lists(tmp_path):
    """HMDB51's official files, one a class: 1 is training, 2 is test, 0 neither."""
    _touch(tmp_path, "videos/wave/a b.avi", "videos/wave/c.avi", "videos/sit/d.avi", "videos/sit/e.avi")
    (tmp_path / "wave_test_split1.txt").write_text("a b.avi 1 \nc.avi 2 \nx.avi 0 \n")
    (tmp_path / "sit_test_split1.txt").write_text("d.avi 1 \ne.avi 2 \n")
    train = read_list(tmp_path, tmp_path / "videos", split="train")
    test = read_list(tmp_path, tmp_path / "videos", train.classes, split="test")
    assert [path.name for path in train.paths] == ["d.avi", "a b.avi"]
    assert [path.name for path in test.paths] == ["e.avi", "c.avi"]
    assert (train.classes, test.labels) == (("sit", "wave"), (0, 1))
    with pytest.raises(ConfigurationError, match="lists no videos"):
        read_list(tmp_path, tmp_path / "videos", column="2")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "lists no videos"),
        ("\n\n", "lists no videos"),
        ("one.mp4\x00 a", "none of its 1 videos"),
        ("nolabel\n", "line 1: 'nolabel' is no path and label"),
        ("gone.mp4 run\n", "none of its 1 videos is there"),
    ],
)
def test_wrong_lists(text, sentence, tmp_path):
    """Empty lists, lines that are none and videos that are not there have a sentence each."""
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(ConfigurationError, match=sentence):
        read_list(tmp_path / "list.txt")


def test_unknown_label(tmp_path):
    """A label that the model has not learned is named."""
    _touch(tmp_path, "a.mp4")
    (tmp_path / "list.csv").write_text("a.mp4,jump\n")
    with pytest.raises(ConfigurationError, match="'jump'"):
        read_list(tmp_path / "list.csv", classes=("run",))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_list(tmp_path / "nothing.csv")


# ---- Clips and their order ----------------------------------------------------------------------------------------
@given(st.integers(1, 60), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_schedule(count, repeats, world, device_batch_size, seed):
    """An epoch takes each sample at most once; what the ranks take together does not depend on how many they are."""
    batch = 4 * world
    if count < batch:
        return
    args = (count, repeats, batch, device_batch_size, 2, seed)
    ranks = [list(Schedule(*args, rank=r, world=world).pieces()) for r in range(world)]
    alone = Schedule(*args)
    pieces = Schedule(*args, world=world).accumulate
    steps = [
        [key for r in range(world) for k in range(pieces) for key in ranks[r][s * pieces + k]] for s in range(alone.steps)
    ]
    whole = list(alone.pieces())
    size = alone.accumulate
    assert steps == [[key for piece in whole[s * size : (s + 1) * size] for key in piece] for s in range(alone.steps)]
    first = [key for step in steps[: alone.steps_per_epoch] for key in step]
    assert len(set(first)) == len(first) == alone.steps_per_epoch * batch * repeats
    assert all(len(piece) <= device_batch_size for piece in ranks[0])


def test_schedule_goes_on():
    """From step 3 on it gives what it would have given."""
    schedule = Schedule(20, 1, 4, 2, 3, 7)
    assert list(schedule.pieces(3)) == list(schedule.pieces())[3 * schedule.accumulate :]


def test_fresh_clips():
    """Without --n, no clip is seen twice."""
    keys = [key[1] for piece in Schedule(10, 1, 5, 5, 4, 0, fresh=True).pieces() for key in piece]
    assert sorted(keys) == list(range(40))


def test_schedule_refuses():
    """A batch larger than an epoch, or not a multiple of the processes, has a sentence."""
    with pytest.raises(ConfigurationError, match="only 10 clips"):
        Schedule(10, 1, 16, 8, 1, 0)
    with pytest.raises(ConfigurationError, match="multiple of the 3"):
        Schedule(100, 1, 16, 8, 1, 0, world=3)


def test_clips_are_known_by_their_textures_not_by_paths(tmp_path):
    """A bank elsewhere or under another name is the same; one with other textures under the old path is not."""
    path, moved = tmp_path / "a.bank", tmp_path / "moved" / "b.bank"
    build_bank(path, make_bank_header("stylegan-high-freq", 4, 32, 0), None, 1, Progress())
    moved.parent.mkdir()
    moved.write_bytes(path.read_bytes())
    preset = synvid.load_preset("moving_shapes", {"fill.textures": [str(path)]})
    known = RenderedClips(preset, 0, 8).identity
    assert RenderedClips(preset.with_banks({str(path): str(moved)}), 0, 8).identity == known
    assert RenderedClips(preset, 0, 9).identity != known
    path.unlink()
    build_bank(path, make_bank_header("stylegan-high-freq", 4, 32, 1), None, 1, Progress())
    assert RenderedClips(preset, 0, 8).identity != known


def _samples(source, workers, recipe=None):
    recipe = recipe or load_recipe("laptop_pretrain", TINY_RECIPE)
    clips = TrainingClips(source, recipe, 3, pretraining=True)
    keys = Schedule(len(source), 1, 4, 4, 2, 3).pieces()
    return [(batch["clip"], batch["order"]) for batch in load_batches(clips, list(keys), workers, torch.device("cpu"))]


def test_workers_change_nothing(tiny_preset):
    """Clips, crops and masks are the same from no worker, one or three."""
    source = RenderedClips(tiny_preset, 0, 12)
    alone = _samples(source, 0)
    for workers in (1, 3):
        assert all(
            torch.equal(a, b)
            for one, other in zip(alone, _samples(source, workers), strict=True)
            for a, b in zip(one, other, strict=True)
        )


@pytest.mark.parametrize("layout", ["tar", "files"])
def test_shards_are_what_is_rendered(layout, tiny_preset, tmp_path):
    """A dataset's clips, rendered from its manifest, are those of the preset; decoded ones are near them."""
    from synvid.dataset.build import render_recipe
    from synvid.dataset.recipe import DatasetRecipe

    render_recipe(DatasetRecipe(tiny_preset, 12, 0, 4, layout, "lossless"), tmp_path, workers=1)
    shards = synvid.open_dataset(tmp_path)
    moved = synvid.open_dataset(shutil.copytree(tmp_path, tmp_path / "moved"))
    assert ShardClips(moved).identity == ShardClips(shards).identity != ShardClips(shards, rerender=True).identity
    fresh = _samples(RenderedClips(tiny_preset, 0, 12), 0)
    again = _samples(ShardClips(shards, rerender=True), 0)
    decoded = _samples(ShardClips(shards), 0)
    for (a, order), (b, other), (c, _) in zip(fresh, again, decoded, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(order, other)
        assert (a.float() - c.float()).abs().mean() < 3


def test_unreadable_clips_are_replaced_and_named(tiny_preset, tmp_path):
    """A broken file, the only one of its class, gives way to another and is named; if all are broken, that is an error."""
    good = tmp_path / "good.mp4"
    synvid.render(synvid.sample_scene(tiny_preset)).save(good)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    source = LabelledVideos(VideoList(tmp_path, (tmp_path / "bad.mp4", good), (0, 1), ("a", "b")))
    recipe = load_recipe("laptop_finetune", TINY_RECIPE[:3])
    sample = TrainingClips(source, recipe, 0, pretraining=False)[0, 0, 0]
    assert sample["label"] == 1
    assert "bad.mp4" in sample["unread"]
    shutil.copy(tmp_path / "bad.mp4", good)
    with pytest.raises(DatasetError, match=r"bad\.mp4"):
        TrainingClips(source, recipe, 0, pretraining=False)[0, 0, 0]


def test_replacements_are_of_the_same_class(tiny_preset, tmp_path):
    """Unreadable clips are replaced by others of their class, the same ones each time, so that no other class gets more."""
    names = [f"{i}.mp4" for i in range(9)]
    for i in (2, 3, 7, 8):  # of class 0 two of four are there, of class 1 two of five
        synvid.render(synvid.sample_scene(tiny_preset, 0, i)).save(tmp_path / names[i])
    source = LabelledVideos(VideoList(tmp_path, tuple(tmp_path / name for name in names), (0,) * 4 + (1,) * 5, ("a", "b")))
    recipe = load_recipe("laptop_finetune", TINY_RECIPE[:3])
    clips, again = (TrainingClips(source, recipe, 0, pretraining=False) for _ in range(2))
    assert [clips[epoch, i, 0]["label"] for epoch in range(3) for i in range(9)] == 3 * ([0] * 4 + [1] * 5)
    assert all((clips[0, i, 0]["clip"] == again[0, i, 0]["clip"]).all() for i in range(9))


def test_real_videos(tmp_path):
    """Videos of J-HMDB are read by window; one-frame clips and odd sizes fit as well."""
    if not JHMDB.is_dir():
        pytest.skip("../shared/data/jhmdb is not here")
    videos = read_list(JHMDB / "labels.csv", split="train", column="split")
    assert (len(videos), len(videos.classes)) == (671, 21)
    assert len(read_list(JHMDB / "labels.csv", split="test", column="split")) == 257
    source = LabelledVideos(videos)
    for i in (0, 300, 670):
        whole = decode(videos.paths[i])
        window = source.window(i, 8, 4, np.random.default_rng(i))
        numbers = finetune_window(len(whole), 8, 4, np.random.default_rng(i))
        assert (window == whole[numbers]).all()
    assert tmp_path.is_dir()


def test_real_clips_of_a_mixture_are_refused():
    """A preset that mixes in real clips cannot be rendered on the fly, and says so."""
    preset = synvid.load_preset("moving_shapes", {"mixture.fraction": 0.5, "mixture.source": "real"})
    with pytest.raises(ConfigurationError, match="--shards"):
        RenderedClips(preset, 0, 4)


# ---- Recipes ------------------------------------------------------------------------------------------------------
def test_recipes_are_the_papers():
    """Tables 5, 6 and 7, to the letter."""
    table5, table6, table7 = (load_recipe(name) for name in ("pretrain_vitb", "finetune_ucf101", "probe_ucf101"))
    o = table5.optim
    assert (table5.objective.mask_ratio, o.epochs, o.base_learning_rate, o.weight_decay) == (0.75, 3200, 3e-4, 0.05)
    assert (o.optimizer, o.betas, o.batch_size, o.warmup_epochs) == ("adamw", (0.9, 0.95), 256, 40)
    o, v, j = table6.optim, table6.views, table6.objective
    assert (o.epochs, o.base_learning_rate, o.weight_decay, o.betas, o.batch_size) == (100, 1e-3, 0.05, (0.9, 0.95), 256)
    assert (o.warmup_epochs, v.flip, v.randaugment, o.layer_decay) == (5, True, "rand-m9-mstd0.5-inc1", 0.7)
    assert (j.label_smoothing, j.mixup, j.cutmix) == (0.1, 0.8, 1.0)
    assert (table6.model.drop_path, table6.model.dropout, v.test_clips, v.test_crops) == (0.2, 0.0, 5, 3)
    assert load_recipe("finetune_hmdb51").views.test_clips == 10
    o = table7.optim
    assert (o.optimizer, o.epochs, o.base_learning_rate, o.weight_decay) == ("adamw", 100, 1e-2, 0.0)
    assert load_recipe("pretrain_vitl").optim.batch_size == 128


def test_every_recipe_comes_back():
    """All recipes load, and what is printed of one loads to the same."""
    assert len(list_recipes()) >= 11
    for name in list_recipes():
        recipe = load_recipe(name)
        assert recipe.description
        assert TrainingRecipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["optim.epoch=3"], "did you mean 'optim.epochs'"),
        (["optim.epochs=0"], "optim.epochs is 0"),
        (["views.randaugment=strong"], "views.randaugment is 'strong'"),
        (["model.size=giant"], "model.size is 'giant'"),
        (["optim.epochs"], "KEY=VALUE"),
        (["optim.epochs=3"], "optim.warmup_epochs is 3; it must be below optim.epochs, 3"),
    ],
)
def test_wrong_settings(settings, sentence):
    """A wrong setting is named, with what would be right."""
    with pytest.raises(ConfigurationError, match=sentence):
        load_recipe("laptop_pretrain", settings)


def test_recipes_of_ones_own(tmp_path):
    """A file may extend a recipe or another file; unknown names and circles have a sentence."""
    (tmp_path / "mine.yaml").write_text("extends: laptop_pretrain\noptim: {epochs: 3, warmup_epochs: 1}\n")
    (tmp_path / "child.yaml").write_text("extends: mine.yaml\noptim: {batch_size: 8}\n")
    child = load_recipe(tmp_path / "child.yaml")
    assert (child.name, child.optim.epochs, child.optim.batch_size, child.model.size) == ("child", 3, 8, "tiny")
    (tmp_path / "loop.yaml").write_text("extends: loop.yaml\n")
    with pytest.raises(ConfigurationError, match=r"loop\.yaml.*extends it in turn"):
        load_recipe(tmp_path / "loop.yaml")
    with pytest.raises(ConfigurationError, match="did you mean 'laptop_pretrain'"):
        load_recipe("laptop_pretran")


# ---- Numbers and names ---------------------------------------------------------------------------------------------
def _list(folder, text):
    for name in ("a.mp4", "b.mp4", "c"):
        (folder / name).touch()
    (folder / "l.csv").write_text(text)
    return folder / "l.csv"


@pytest.mark.parametrize(
    ("text", "classes", "words"),
    [
        ("a.mp4,1\nb.mp4,2\n", ("0", "1"), r"line 2: the label '2' is not one of the 2"),
        ("a.mp4,1\nb.mp4,2\n", ("run", "sit"), r"line 2: the label 2 is not one of 0 to 1"),
        ("a.mp4,run\nb.mp4,sit\n", ("0", "1", "2"), "2 names, and the model has 3 numbers"),
        ("a.mp4,run\nb.mp4,1\n", ("run", "sit"), r"line 2: the label '1' is not one of the 2"),
    ],
)
def test_labels_that_stand_for_none_are_refused(text, classes, words, tmp_path):
    """Numbers beyond a model's classes, and names that are not as many as a model's numbers, are refused with their line."""
    with pytest.raises(ConfigurationError, match=words):
        read_list(_list(tmp_path, text), classes=classes)


def test_numbers_and_names_by_position(tmp_path):
    """Numbers stand for a model's names by position, and as many sorted names for its numbers; both are said."""
    videos = read_list(_list(tmp_path, "a.mp4,1\nb.mp4,0\n"), classes=("sit", "run"))
    assert (videos.classes, videos.labels) == (("sit", "run"), (1, 0))
    assert "labels are numbers, and the model has names: they are taken by position, 1 for 'run'" in videos.remarks[0]
    videos = read_list(_list(tmp_path, "a.mp4,sit\nb.mp4,run\n"), classes=("0", "1"))
    assert (videos.classes, videos.labels) == (("0", "1"), (1, 0))
    assert "by position, sorted, 'sit' for 1" in videos.remarks[0]
    assert read_list(_list(tmp_path, "a.mp4,1\n"), classes=("0", "1")).remarks == ()


def test_numbers_are_what_they_are(tmp_path):
    """Fewer numbers than a model knows keep their meaning; a subset of a dataset's numbers has classes with gaps."""
    path = _list(tmp_path, "a.mp4,1\nb.mp4,1\n")
    assert read_list(path, classes=("0", "1")).labels == (1, 1)
    path = _list(tmp_path, "a.mp4,7\nb.mp4,30\n")
    assert (read_list(path).classes, read_list(path).labels) == (("7", "30"), (0, 1))


def test_a_first_line_that_is_a_video_is_one(tmp_path):
    """A first line without a dot is a header only if it has a header's words."""
    assert len(read_list(_list(tmp_path, "c,run\na.mp4,sit\n"))) == 2
    assert len(read_list(_list(tmp_path, "Path,Label\na.mp4,sit\n"))) == 1
