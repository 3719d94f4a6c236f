"""Arguments of the Python interface: frame numbers of any kind, make_clip, and values of the wrong type."""

import numpy as np
import pytest
import torch
from conftest import TINY
from running import ended

import synvid
from synvid.cli.main import main
from synvid.config.arguments import parse_frame, parse_frames
from synvid.preset import Preset
from synvid.renderer import render_frames

NUMBERS = [3, 0, 5]
#: Every kind of frame numbers that is accepted.
ACCEPTED = {
    "list": NUMBERS,
    "tuple": tuple(NUMBERS),
    "generator": NUMBERS,
    "int64 array": np.array(NUMBERS),
    "uint8 array": np.array(NUMBERS, np.uint8),
    "NumPy scalars": [np.int32(number) for number in NUMBERS],
    "0-d arrays": [np.array(number) for number in NUMBERS],
    "tensor": torch.tensor(NUMBERS),
    "tensor scalars": list(torch.tensor(NUMBERS, dtype=torch.uint8)),
    "dict": dict.fromkeys(NUMBERS),
}
#: Elements that are not whole numbers.
REFUSED = [
    *[True, 1.0, 1.5, "1", None, [1], np.True_, np.float32(1), float("nan")],
    *[torch.tensor(1.0), torch.tensor(True), np.array([1, 2]), 1 + 0j],
]


@pytest.fixture
def preset(tiny):
    return synvid.load_preset("moving_shapes", {**tiny, "video.num_frames_range": [8, 8]})


@pytest.mark.parametrize("kind", ACCEPTED)
def test_parse_frames_accepts_any_integers(kind):
    """Integers of Python, NumPy and torch, in any iterable, become a list of ints."""
    frames = (number for number in NUMBERS) if kind == "generator" else ACCEPTED[kind]
    numbers = parse_frames(frames, num_frames=6)
    assert numbers == NUMBERS
    assert all(type(number) is int for number in numbers)


def test_parse_frames_range_and_empty():
    """A range is expanded, and no frames are an empty list."""
    assert parse_frames(range(0, 64, 16), 64) == [0, 16, 32, 48]
    assert parse_frames([], 64) == parse_frames(np.array([], np.int64)) == []


@pytest.mark.parametrize("value", REFUSED, ids=repr)
def test_parse_frames_refuses_elements_that_are_not_integers(value):
    """Bools, floats, text and nested lists are refused; the message names the value and the frames that there are."""
    for call in (lambda: parse_frames([0, value], 8), lambda: parse_frame(value, 8)):
        with pytest.raises(synvid.ConfigurationError) as caught:
            call()
        assert f"frame {value!r}" in str(caught.value)
        assert "0 to 7" in str(caught.value)


@pytest.mark.parametrize("frames", [np.array([0.0]), np.array([True]), torch.tensor([0.5]), torch.tensor([False])], ids=repr)
def test_parse_frames_refuses_arrays_that_are_not_integers(frames):
    """An array of floats or bools is refused; the message names its first element."""
    with pytest.raises(synvid.ConfigurationError, match=rf"frame {frames.tolist()[0]} \((float|bool)\) is not a whole number"):
        parse_frames(frames, 8)


@pytest.mark.parametrize("frames", [5, np.int64(5), torch.tensor(5), None, "03", b"03", 1.5], ids=repr)
def test_parse_frames_refuses_what_is_not_a_sequence(frames):
    """A single number and text are refused; the message names the value and shows what to give."""
    with pytest.raises(synvid.ConfigurationError, match=r"frames is .*; give a sequence of frame numbers, such as range\("):
        parse_frames(frames, 8)


@pytest.mark.parametrize("value", [-1, 8, 2**70, np.int64(-1)], ids=repr)
def test_parse_frames_refuses_frames_out_of_range(value):
    """A frame before the first or after the last is refused, with the range; without a length the caller checks."""
    with pytest.raises(synvid.ConfigurationError, match=r"is not in the clip; its frames are 0 to 7\."):
        parse_frames([0, value], 8)
    assert parse_frames([0, value]) == [0, value]


@pytest.mark.parametrize("kind", ACCEPTED)
def test_render_accepts_any_integers(kind, preset):
    """`render`, `render_frames` and `make_clip` give the same frames for every kind of frame numbers."""
    scene = synvid.sample_scene(preset, 1, 2)
    expected = synvid.render(scene).frames[NUMBERS]

    def frames():
        return (number for number in NUMBERS) if kind == "generator" else ACCEPTED[kind]

    np.testing.assert_array_equal(synvid.render(scene, frames()).frames, expected)
    np.testing.assert_array_equal(render_frames(scene, frames()), expected)
    np.testing.assert_array_equal(synvid.make_clip(preset, 1, 2, frames()).frames, expected)


# ---- make_clip -----------------------------------------------------------------------------------------------------
def test_make_clip_equals_the_three_calls(tmp_path, preset):
    """`make_clip` of a name, a path or a Preset is load_preset, sample_scene and render in one call."""
    overrides = {"objects.count": 9, "video.width": 48, "video.num_frames_range": [5, 5], "motion.speed_range": [1, 4]}
    settings = {key.replace(".", "__"): value for key, value in overrides.items()}
    path = tmp_path / "mine.yaml"
    path.write_text(preset.to_yaml())
    for source in ("moving_shapes", path, str(path), preset):
        loaded = source if isinstance(source, Preset) else synvid.load_preset(source)
        expected = synvid.render(synvid.sample_scene(loaded.override(overrides), 3, 4), range(0, 5, 2))
        clip = synvid.make_clip(source, seed=3, index=4, frames=range(0, 5, 2), **settings)
        np.testing.assert_array_equal(clip.frames, expected.frames)
        assert clip.scene.to_json() == expected.scene.to_json()
        assert clip.fps == expected.fps


def test_make_clip_defaults():
    """Without other arguments `make_clip` renders all frames of clip 0 of seed 0."""
    clip = synvid.make_clip("moving_shapes", video__num_frames_range=[3, 3], objects__count=2)
    assert (len(clip), clip.scene.seed, clip.scene.index) == (3, 0, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objects__cuont": 5}, "unknown key 'objects__cuont'; did you mean 'objects__count'?"),
        ({"objects_count": 5}, "unknown argument 'objects_count'; did you mean 'objects__count'?"),
        ({"count": 5}, "unknown argument 'count'; did you mean 'objects__count'?"),
        ({"sed": 5}, "unknown argument 'sed'; did you mean 'seed'?"),
        ({"frame": [0]}, "unknown argument 'frame'; did you mean 'frames'?"),
        ({"zzz": 5}, "unknown argument 'zzz'; settings are written as objects__count."),
        ({"name__x": 5}, "unknown key 'name__x'"),
        ({"objects__whole_pixels": True}, "objects__whole_pixels is now called objects__integer_positions"),
        ({"objects__count": -1}, "objects.count is -1; it must be a whole number from 0 to 100000."),
        ({"video__background": "texture"}, "fill.textures"),
    ],
)
def test_make_clip_wrong_keyword_raises(settings, message):
    """A wrong keyword raises ConfigurationError that names it and the nearest right one; a wrong value names the setting."""
    with pytest.raises(synvid.ConfigurationError) as caught:
        synvid.make_clip("moving_shapes", **settings)
    assert str(caught.value).startswith("make_clip: ")
    assert message in str(caught.value)


# ---- Wrong types ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda _: synvid.sample_scene("moving_shapes"),
            "preset is 'moving_shapes' (str); give a Preset from load_preset(...).",
        ),
        (lambda _: synvid.sample_scene(None), "preset is None (NoneType); give a Preset from load_preset(...)."),
        (
            lambda _: synvid.generate("moving_shapes", 3),
            "preset is 'moving_shapes' (str); give a Preset from load_preset(...).",
        ),
        (lambda preset: synvid.generate(preset, "3"), "n is '3'; it must be a whole number"),
        (lambda preset: synvid.generate(preset, -1), "n is -1; it must be a whole number"),
        (lambda preset: synvid.generate(preset, 1, seed=-1), "seed is -1; it must be a whole number from 0 to 2**64 - 1."),
        (lambda preset: synvid.generate(preset, 1, start=1.5), "start is 1.5; it must be a whole number from 0 to 2**64 - 1."),
        (synvid.render, "(Preset); give a Scene from sample_scene(...)."),
        (lambda _: synvid.render("moving_shapes"), "scene is 'moving_shapes' (str); give a Scene from sample_scene(...)."),
        (lambda preset: synvid.render(preset, [0]), "(Preset); give a Scene from sample_scene(...)."),
        (lambda _: synvid.load_preset(5), "preset is 5 (int); give the name of a preset, or the path of a file"),
        (synvid.load_preset, "(Preset); give the name of a preset, or the path of a file"),
        (lambda _: synvid.make_clip(5), "preset is 5 (int); give the name of a preset, or the path of a file"),
        (
            lambda _: synvid.load_preset("moving_shapes", 5),
            'overrides is 5 (int); give a mapping such as {"objects.count": 200}.',
        ),
        (lambda _: synvid.load_preset("moving_shapes", ["a"]), "overrides is ['a'] (list); give a mapping"),
        (lambda _: Preset.from_dict([1]), "settings is [1] (list); give a mapping of settings."),
    ],
)
def test_wrong_type_is_named(call, message, preset):
    """What is given instead of a preset, a scene or overrides is named, with its type and what to give; at the call."""
    with pytest.raises(synvid.ConfigurationError) as caught:
        call(preset)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numpy_and_torch_integers_are_seeds(preset):
    """Seeds and indices may be integers of NumPy and torch."""
    expected = synvid.sample_scene(preset, 3, 4).to_json()
    assert synvid.sample_scene(preset, np.uint64(3), np.int8(4)).to_json() == expected
    assert synvid.sample_scene(preset, torch.tensor(3), np.array(4)).to_json() == expected


# ---- Dataset -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A dataset of one lossless clip of eight frames."""
    folder = tmp_path_factory.mktemp("dataset")
    sizes = [f"{key}={value}" for key, value in {**TINY, "video.num_frames_range": [8, 8]}.items()]
    options = ["--preset", "moving_shapes", "--n", 1, "--encoding", "lossless", "--workers", 1, "--quiet"]
    code, message, _ = ended(
        main, "render", "--out", folder / "set", *options, *[part for text in sizes for part in ("--set", text)]
    )
    assert code == 0, message
    return synvid.open_dataset(folder / "set")


@pytest.mark.parametrize("kind", ACCEPTED)
def test_dataset_accepts_any_integers(kind, dataset):
    """`Dataset.render` and `Dataset.decode` give the same frames for every kind of frame numbers."""
    expected = dataset.render(0).frames[NUMBERS]
    for method in (dataset.render, dataset.decode):
        frames = (number for number in NUMBERS) if kind == "generator" else ACCEPTED[kind]
        np.testing.assert_array_equal(method(0, frames).frames, expected)


@pytest.mark.parametrize("frames", [5, [True], [1.0], torch.tensor([0.5]), "0", {0, 1}], ids=repr)
def test_dataset_refuses_frames_that_are_not_integers(frames, dataset):
    """`Dataset.render` and `Dataset.decode` refuse bools, floats, text, a single number, and sets, which have no order."""
    for method in (dataset.render, dataset.decode):
        with pytest.raises(synvid.ConfigurationError, match="frame"):
            method(0, frames)


def test_dataset_frame_out_of_range_raises(dataset):
    """A frame that the clip does not have is a ConfigurationError, when rendering and when decoding."""
    for method in (dataset.render, dataset.decode):
        for frame in (-1, 8, 1000):
            with pytest.raises(synvid.ConfigurationError, match=rf"frame {frame} is not in the clip; its frames are 0 to 7\."):
                method(0, [frame])
