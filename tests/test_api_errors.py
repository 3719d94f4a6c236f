"""Invalid arguments of the Python interface: exceptions with one-sentence messages that name the argument and the value."""

import json
import os

import numpy as np
import pytest

import synvid

pytestmark = pytest.mark.usefixtures("input_folder")


def error_message(call):
    """The one-line message of the ConfigurationError that a call raises, without a chained exception."""
    with pytest.raises(synvid.ConfigurationError) as caught:
        call()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.endswith((".", "?"))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message


@pytest.mark.parametrize(
    ("name", "overrides", "word"),
    [
        ("moving_shape", {}, "did you mean 'moving_shapes'"),
        ("nowhere.yaml", {}, "nowhere.yaml"),
        ("wrong.yaml", {}, "objects.count is -1"),
        ("", {}, "''"),
        (5, {}, "preset is 5 (int)"),
        (None, {}, "preset is None (NoneType)"),
        ("preset.yaml", {"objects.cuont": 5}, "did you mean 'objects.count'"),
        ("preset.yaml", {"objects": {"count": 5}}, "'objects'"),
        ("preset.yaml", {5: 5}, "'5'"),
        ("preset.yaml", {"objects.count": "5"}, "'5'"),
        ("preset.yaml", {"objects.count": True}, "True"),
        ("preset.yaml", {"objects.count": np.float64(5)}, "5.0"),
        ("preset.yaml", {"objects.count": None}, "None"),
        ("preset.yaml", {"video.fps": float("nan")}, "nan"),
        ("preset.yaml", {"motion.speed_range": {1, 2}}, "{1, 2}"),
        ("preset.yaml", {"motion.speed_range": np.array([1.0, 2.0])}, "array([1., 2.])"),
    ],
)
def test_load_preset_invalid_argument_raises(name, overrides, word):
    """An unknown preset or an invalid override raises ConfigurationError."""
    assert word in error_message(lambda: synvid.load_preset(name, overrides))


@pytest.mark.parametrize("argument", ["seed", "index"])
@pytest.mark.parametrize("value", [-1, 2**64, 1.0, 1.5, "1", None, True, np.float64(1), [1]], ids=repr)
def test_sample_scene_invalid_seed_or_index_raises(argument, value):
    """A seed or index that is not an unsigned 64-bit integer raises ConfigurationError."""
    preset = synvid.load_preset("preset.yaml")
    assert f"{argument} is {value!r}" in error_message(lambda: synvid.sample_scene(preset, **{argument: value}))


@pytest.mark.parametrize("value", [-1, "num_frames", 1.5, 1.0, True, None, "1", np.float64(0), 2**70], ids=repr)
def test_render_invalid_frame_raises(value):
    """A frame that is not an index of the clip raises ConfigurationError with the valid range."""
    scene = synvid.sample_scene(synvid.load_preset("preset.yaml"))
    value = scene.num_frames if value == "num_frames" else value
    for call in (lambda: synvid.render(scene, [0, value]), lambda: scene.poses(value)):
        message = error_message(call)
        assert f"frame {value!r}" in message
        assert f"0 to {scene.num_frames - 1}" in message


def remove(name):
    return lambda values: values.pop(name)


def replace(value, *path):
    def edit(values):
        *parents, last = path
        for key in parents:
            values = values[key]
        values[last] = value

    return edit


#: Edits that make the JSON of a scene invalid.
INVALID_SCENES = {
    "no motion": remove("motion"),
    "no colours": remove("colors"),
    "no size": remove("width"),
    "no speed": lambda values: values["motion"].pop("speed"),
    "an extra key": replace(5, "more"),
    "an extra motion key": replace([1.0], "motion", "spin"),
    "a colour too few": lambda values: values["colors"].pop(),
    "a vertex count too few": lambda values: values["num_vertices"].pop(),
    "an outline too few": lambda values: values["vertices"].pop(),
    "a radius too few": lambda values: values["motion"]["radius"].pop(),
    "a speed too few": lambda values: values["motion"]["speed"].pop(),
    "a centre too many": lambda values: values["motion"]["center"].append([0.0, 0.0]),
    "a scale of one number": lambda values: values["motion"].update(scale=[row[:1] for row in values["motion"]["scale"]]),
    "a pivot of three": replace([0.0, 0.0, 0.0], "motion", "pivot"),
    "a boolean for a list": replace(True, "motion", "shear"),
    "a list for a boolean": replace([1.0], "motion", "compound"),
    "more vertices than there are": replace(100, "num_vertices", 0),
    "negative vertex count": replace(-1, "num_vertices", 0),
    "NaN": replace(float("nan"), "motion", "radius", 0),
    "infinite": replace(float("inf"), "motion", "center", 0, 1),
    "NaN in an outline": replace(float("nan"), "vertices", 0, 0, 0),
    "text in an array": replace("fast", "motion", "speed", 0),
    "text for an array": replace("fast", "motion", "speed"),
    "null in an array": replace(None, "motion", "speed", 0),
    "a colour too bright": replace(256, "colors", 0, 0),
    "a negative colour": replace(-1, "colors", 0, 0),
    "text for frames": replace("many", "num_frames"),
    "fractional frames": replace(4.5, "num_frames"),
    "no frames": replace(0, "num_frames"),
    "a negative width": replace(-32, "width"),
    "a width of a billion": replace(10**9, "width"),
    "text for a height": replace("32", "height"),
    "NaN for frames per second": replace(float("nan"), "fps"),
    "a background of two": replace([0, 0], "background"),
    "a background of text": replace("black", "background"),
    "a background too bright": replace([0, 0, 256], "background"),
    "text for a boolean": replace("yes", "antialias"),
    "a negative seed": replace(-1, "seed"),
    "an index of text": replace("0", "index"),
}


@pytest.mark.parametrize("edit", INVALID_SCENES.values(), ids=INVALID_SCENES.keys())
def test_scene_from_json_invalid_value_raises(edit):
    """A scene with a missing, extra or invalid value raises ConfigurationError when it is read, not when it is rendered."""
    values = json.loads(synvid.sample_scene(synvid.load_preset("preset.yaml")).to_json())
    assert synvid.Scene.from_json(json.dumps(values)).num_objects == 20
    edit(values)
    assert "scene" in error_message(lambda: synvid.Scene.from_json(json.dumps(values)))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", "null", '"scene"', "{}", '{"motion": 5}', "[" * 100_000], ids=lambda text: text[:12]
)
def test_scene_from_json_not_a_scene_raises(text):
    """Text that is not JSON, and JSON that is not a scene, raise ConfigurationError."""
    assert "scene" in error_message(lambda: synvid.Scene.from_json(text))


def test_open_dataset_unfinished_or_incompatible_raises(input_folder):
    """No dataset, an unfinished one and one of another output version raise different errors."""
    for name in ("nowhere", "folder", "file"):
        with pytest.raises(synvid.DatasetError, match="no dataset here"):
            synvid.open_dataset(input_folder / name)
    (input_folder / "set" / "synvid.yaml").write_text("output_version: 2")
    with pytest.raises(synvid.ConfigurationError, match="output_version is 2"):
        synvid.open_dataset(input_folder / "set")
    (input_folder / "set" / "synvid.yaml").write_text("output_version: 1\nn: 1\npreset: {}")
    with pytest.raises(synvid.DatasetError, match="not finished"):
        synvid.open_dataset(str(input_folder / "set") + os.sep)
