"""Presets: the files, what they extend, overrides, hashes."""

from pathlib import Path

import pytest
import yaml

import synvid
from synvid.config.schema import parse_override
from synvid.preset import _FOLDER, Preset

PROGRESSION = [
    "static_circles",
    "moving_circles",
    "moving_shapes",
    "moving_transforming_shapes",
    "accelerating_transforming_shapes",
]
TEXTURED = [
    "accelerating_transforming_textures",
    "accelerating_transforming_stylegan_crops",
    "accelerating_transforming_image_crops",
]
SLOW = [f"slow_{name}" for name in [*PROGRESSION[1:], TEXTURED[0]]]
#: Rows of Tables 2, 3, 10, 11 and 12, and the two presets that others mix in.
OTHERS = {
    "image_crops_300k",
    "image_stylegan_crops_150k",
    "image_texture_crops_150k",
    "image_crops_300k_color_background",
    "image_crops_300k_image_background",
    "image_crops_50_real",
    "shapes_25_real",
    "shapes_75_real",
    "shapes_5_still_images",
    "shapes_5_still_stylegan",
    "still_images",
    "still_stylegan",
    "dynamic_stylegan_crops",
    "dynamic_stylegan_videos",
    "dynamic_stylegan_high_freq_videos",
    "saturated_textures",
    "saturated_textures_color_background",
    "saturated_dynamic_stylegan_crops",
    "saturated_image_crops",
    "saturated_image_crops_300k",
    "saturated_image_texture_crops_150k",
    "saturated_image_crops_300k_color_background",
    "saturated_image_crops_300k_image_background",
}


def test_all_datasets_are_there_in_both_families():
    """The progression and its slow forms, the paper's other tables, then the released code's, in this order."""
    names, textured = synvid.list_presets(), sorted(TEXTURED)
    family = PROGRESSION + [name for name in names if name in textured] + SLOW
    assert names[: len(family)] == family
    assert set(names[len(family) : -len(family)]) == OTHERS
    assert sorted(names[-len(family) :]) == sorted(f"reference/{name}" for name in family)


@pytest.mark.parametrize("name", synvid.list_presets())
def test_every_file_cites_the_paper_and_says_what_it_is(name):
    """Each file opens with a comment that cites the paper, and has a description of one line."""
    text = (_FOLDER / f"{name}.yaml").read_text()
    head = "".join(line for line in text.splitlines(keepends=True)[:3] if line.startswith("#"))
    assert "Learning Video Representations without Natural Videos" in head
    assert "section" in head
    description = yaml.safe_load(text)["description"]
    assert 10 < len(description) < 80
    assert "\n" not in description


@pytest.mark.parametrize("name", [name for name in synvid.list_presets() if name != "static_circles"])
def test_every_file_shows_only_what_it_changes(name):
    """Each preset but the first extends another, and none of its settings is what the other has already."""
    settings = yaml.safe_load((_FOLDER / f"{name}.yaml").read_text())
    parent = synvid.load_preset(settings["extends"]).to_dict()
    for section in Preset.sections():
        for key, value in settings.get(section, {}).items():
            if (name, key) != ("moving_transforming_shapes", "composition"):  # named there to be seen
                assert parent[section][key] != value, f"{section}.{key}"


def test_slow_presets_halve_the_speed_and_nothing_else():
    """A slow preset is the other with half its speeds."""
    for name in PROGRESSION[1:]:
        quick, slow = synvid.load_preset(name), synvid.load_preset(f"slow_{name}")
        low, high = quick.motion.speed_range
        assert slow.digest() == quick.override({"motion.speed_range": [low / 2, high / 2]}).digest()


def test_a_printed_preset_is_a_preset(tmp_path):
    """What `to_yaml` writes loads as the same preset, with the same hash."""
    for name in synvid.list_presets():
        preset = synvid.load_preset(name, {"objects.count": 7})
        path = tmp_path / "printed.yaml"
        path.write_text(preset.to_yaml())
        again = synvid.load_preset(path)
        assert again == preset
        assert again.digest() == preset.digest()


def test_a_file_extends_a_name_or_a_file_beside_it(tmp_path):
    """`extends` takes the name of a preset, or the path of a file relative to the one that extends it."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "base.yaml").write_text("extends: moving_shapes\nobjects: {count: 12}\n")
    (tmp_path / "deep" / "mine.yaml").write_text("extends: ../base.yaml\nvideo: {width: 64}\n")
    mine = synvid.load_preset(tmp_path / "deep" / "mine.yaml")
    assert (mine.name, mine.objects.count, mine.video.width, mine.motion.speed_range) == ("mine", 12, 64, (1.2, 3.0))


def test_the_hash_is_of_the_settings():
    """Name and description do not count; any setting does."""
    preset = synvid.load_preset("moving_shapes")
    assert Preset.from_dict({**preset.to_dict(), "name": "other", "description": "else"}).digest() == preset.digest()
    digests = {preset.override({key: value}).digest() for key, value in OTHER.items()}
    assert len(digests | {preset.digest()}) == len(OTHER) + 1


OTHER = {
    "video.width": 100,
    "video.fps": 30,
    "video.antialias": True,
    "objects.count": 3,
    "objects.shapes": ["circle"],
    "motion.speed_range": [0, 1],
    "transform.pivot": [0.5, 0],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("objects.count=200", 200),
        ("motion.speed_range=[1, 2.5]", [1, 2.5]),
        ("video.fps=3e1", 30.0),
        ("objects.radius_scale=1e-3", 0.001),
        ("video.antialias=true", True),
        ("objects.shapes=[circle, square]", ["circle", "square"]),
    ],
)
def test_overrides_from_the_command_line(text, expected):
    """KEY=VALUE, where the value is YAML."""
    key, value = parse_override(text)
    assert value == expected
    synvid.load_preset("moving_shapes", {key: value})


def test_numbers_may_come_from_numpy():
    """Overrides in Python may be NumPy's numbers and tuples."""
    import numpy as np

    preset = synvid.load_preset("moving_shapes", {"objects.count": np.int64(5), "motion.speed_range": (np.float32(1), 2)})
    assert preset.objects.count == 5
    assert preset.motion.speed_range == (1.0, 2.0)


def test_presets_lie_in_the_package_or_beside_it():
    """The presets are found, wherever synvid is installed."""
    assert Path(_FOLDER, "moving_shapes.yaml").is_file()
