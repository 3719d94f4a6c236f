"""Presets: the files in the package, `extends`, overrides, renamed settings, digests."""

from pathlib import Path

import pytest
import yaml

import synvid
from synvid.config.schema import parse_override
from synvid.preset import _FOLDER, Preset
from synvid_train.training_recipe import TrainingRecipe, load_recipe

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


def test_list_presets_order():
    """Presets are listed in this order: the progression, its slow forms, the paper's other tables, the released code."""
    names, textured = synvid.list_presets(), sorted(TEXTURED)
    family = PROGRESSION + [name for name in names if name in textured] + SLOW
    assert names[: len(family)] == family
    assert set(names[len(family) : -len(family)]) == OTHERS
    assert sorted(names[-len(family) :]) == sorted(f"reference/{name}" for name in family)


@pytest.mark.parametrize("name", synvid.list_presets())
def test_preset_file_cites_the_paper_and_has_a_description(name):
    """Each file starts with a comment that cites the paper, and has a description of one line."""
    text = (_FOLDER / f"{name}.yaml").read_text()
    head = "".join(line for line in text.splitlines(keepends=True)[:3] if line.startswith("#"))
    assert "Learning Video Representations without Natural Videos" in head
    assert "section" in head
    description = yaml.safe_load(text)["description"]
    assert 10 < len(description) < 80
    assert "\n" not in description


@pytest.mark.parametrize("name", [name for name in synvid.list_presets() if name != "static_circles"])
def test_preset_file_has_no_redundant_setting(name):
    """Each preset but the first extends another, and none of its settings repeats a value of that preset."""
    settings = yaml.safe_load((_FOLDER / f"{name}.yaml").read_text())
    parent = synvid.load_preset(settings["extends"]).to_dict()
    for section in Preset.sections():
        for key, value in settings.get(section, {}).items():
            if (name, key) != ("moving_transforming_shapes", "composition"):  # repeated for the reader
                assert parent[section][key] != value, f"{section}.{key}"


def test_slow_preset_has_half_the_speed():
    """A slow preset differs from the quick one only in its speeds, which are halved."""
    for name in PROGRESSION[1:]:
        quick, slow = synvid.load_preset(name), synvid.load_preset(f"slow_{name}")
        low, high = quick.motion.speed_range
        assert slow.digest() == quick.override({"motion.speed_range": [low / 2, high / 2]}).digest()


def test_to_yaml_round_trip(tmp_path):
    """The output of `to_yaml` loads as the same preset, with the same digest."""
    for name in synvid.list_presets():
        preset = synvid.load_preset(name, {"objects.count": 7})
        path = tmp_path / "printed.yaml"
        path.write_text(preset.to_yaml())
        again = synvid.load_preset(path)
        assert again == preset
        assert again.digest() == preset.digest()


def test_extends_name_or_relative_path(tmp_path):
    """`extends` takes the name of a preset, or the path of a file relative to the one that extends it."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "base.yaml").write_text("extends: moving_shapes\nobjects: {count: 12}\n")
    (tmp_path / "deep" / "mine.yaml").write_text("extends: ../base.yaml\nvideo: {width: 64}\n")
    mine = synvid.load_preset(tmp_path / "deep" / "mine.yaml")
    assert (mine.name, mine.objects.count, mine.video.width, mine.motion.speed_range) == ("mine", 12, 64, (1.2, 3.0))


def test_digest_depends_on_settings_only():
    """Name and description do not change the digest; every setting does."""
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
def test_parse_override(text, expected):
    """KEY=VALUE is split, and the value is parsed as YAML."""
    key, value = parse_override(text)
    assert value == expected
    synvid.load_preset("moving_shapes", {key: value})


def test_overrides_accept_numpy_numbers_and_tuples():
    """Overrides in Python may be NumPy numbers and tuples."""
    import numpy as np

    preset = synvid.load_preset("moving_shapes", {"objects.count": np.int64(5), "motion.speed_range": (np.float32(1), 2)})
    assert preset.objects.count == 5
    assert preset.motion.speed_range == (1.0, 2.0)


def test_preset_folder_exists():
    """The folder of the presets is found, in a checkout and in an installed package."""
    assert Path(_FOLDER, "moving_shapes.yaml").is_file()


# ---- Renamed settings ----------------------------------------------------------------------------------------------
#: Old key, a value, and the new key.
RENAMED = [
    ("transform.rigid_shapes", ["circle"], "transform.untransformed_shapes"),
    ("objects.radius_law", "power", "objects.radius_distribution"),
    ("objects.whole_pixels", True, "objects.integer_positions"),
    ("fill.textured_share", 0.5, "fill.textured_fraction"),
    ("fill.texture_side", 2.0, "fill.texture_size"),
    ("fill.pool", 5, "fill.max_textures"),
    ("fill.saturate", True, "fill.additive_tint"),
    ("mixture.share", 0.5, "mixture.fraction"),
]


@pytest.mark.parametrize(("old", "value", "new"), RENAMED)
def test_renamed_setting_names_the_new_key(old, value, new, tmp_path):
    """An old key in a file, in overrides, in --set or in a nested preset is refused, with the key that replaces it."""
    section, _, key = old.partition(".")
    path, child = tmp_path / "mine.yaml", tmp_path / "child.yaml"
    path.write_text(yaml.safe_dump({"extends": "moving_shapes", section: {key: value}}))
    child.write_text("extends: mine.yaml\n")
    preset, message = synvid.load_preset("moving_shapes"), f"{old} is now called {new}; rename it."
    mixed = {"mixture.source": {section: {key: value}}}
    calls = {
        f"{path}: ": [lambda: synvid.load_preset(path), lambda: synvid.load_preset(child)],
        "override: ": [lambda: preset.override({old: value})],
        f"--set '{old}=5': ": [lambda: preset.override_text([f"{old}=5"])],
        "synvid.yaml: ": [lambda: Preset.from_dict({section: {key: value}}, "synvid.yaml")],
        "override: mixture.source: preset: ": [lambda: preset.override(mixed)],
    }
    for start, refused in calls.items():
        for call in refused:
            with pytest.raises(synvid.ConfigurationError) as caught:
                call()
            assert str(caught.value) == start + message


def test_renamed_setting_of_a_training_recipe(tmp_path):
    """An old key of a training recipe is refused in the same way."""
    path = tmp_path / "mine.yaml"
    path.write_text("extends: laptop_pretrain\nrun: {device_batch: 8}\n")
    for call in (lambda: load_recipe(path), lambda: load_recipe("laptop_pretrain", ["run.device_batch=8"])):
        with pytest.raises(
            synvid.ConfigurationError, match=r"run\.device_batch is now called run\.device_batch_size; rename it"
        ):
            call()


def test_upgrade_renames_settings_of_an_older_version():
    """The recipe that an older version stored in a checkpoint loads after `upgrade`; other settings and the input stay."""
    stored = {"name": "old", "run": {"device_batch": 8, "log_every": 5}}
    recipe = TrainingRecipe.from_dict(TrainingRecipe.upgrade(stored), "the checkpoint")
    assert (recipe.name, recipe.run.device_batch_size, recipe.run.log_every) == ("old", 8, 5)
    assert stored["run"] == {"device_batch": 8, "log_every": 5}


def test_renamed_value_names_the_new_values():
    """The old value of radius_distribution is refused with the values that are allowed."""
    with pytest.raises(synvid.ConfigurationError, match=r"is 'power'; it must be one of exponential, power_law\."):
        synvid.load_preset("moving_shapes", {"objects.radius_distribution": "power"})


@pytest.mark.parametrize("config", [Preset, TrainingRecipe])
def test_renamed_settings_have_valid_targets(config):
    """Each replacement is a setting, and no old key is one."""
    assert set(config.renamed.values()) <= set(config.setting_keys())
    assert not set(config.renamed) & set(config.setting_keys())


def test_dataset_of_an_older_synvid_is_refused_with_advice(tiny, tmp_path):
    """A dataset recipe with an old key says that the dataset must be rendered again: renaming the key would not help."""
    synvid.render_dataset("moving_circles", 2, tmp_path / "set", overrides=tiny, workers=1)
    recipe = tmp_path / "set" / "synvid.yaml"
    recipe.write_text(recipe.read_text().replace("radius_distribution", "radius_law"))
    for call in (synvid.open_dataset, synvid.dataset_status, synvid.verify_dataset):
        with pytest.raises(synvid.ConfigurationError) as caught:
            call(tmp_path / "set")
        assert str(caught.value) == (
            f"{recipe}: was written by an older synvid (objects.radius_law is now called objects.radius_distribution); render "
            "the dataset again into another folder, or use the synvid that wrote it."
        )


def test_scene_of_an_older_synvid_is_refused_with_advice(tiny):
    """The JSON of a scene with an old field name names the new one."""
    text = synvid.sample_scene(synvid.load_preset("moving_circles", tiny)).to_json()
    with pytest.raises(synvid.ConfigurationError, match="whole_pixels is now called integer_positions; rename it"):
        synvid.Scene.from_json(text.replace("integer_positions", "whole_pixels"))


@pytest.mark.parametrize(
    "source", [{"mixture": {"source": "still_images"}}, {"mixture": {"source": {"objects": {}}}}, 5, ["a"], None]
)
def test_mixture_source_of_the_wrong_kind_raises(source):
    """A source that is a mixture itself, or not a preset, is refused."""
    with pytest.raises(
        synvid.ConfigurationError, match=r"mixture\.source is .*; it must be the name of a preset without a mixture"
    ):
        synvid.load_preset("moving_shapes", {"mixture.source": source})


def test_mixture_source_error_is_passed_on(tmp_path):
    """A mistake in the source's settings, file or name is named."""
    path = tmp_path / "wrong.yaml"
    path.write_text("objects: {count: -1}")
    for source, message in (
        ({"objects": {"count": -1}}, r"mixture\.source: preset: objects\.count is -1"),
        (str(path), r"mixture\.source: .*wrong\.yaml: objects\.count is -1"),
        ("moving_shape", r"mixture\.source: no preset 'moving_shape'; did you mean 'moving_shapes'"),
    ):
        with pytest.raises(synvid.ConfigurationError, match=message):
            synvid.load_preset("moving_shapes", {"mixture.source": source})


def test_mixture_source_may_not_be_its_own_file(tmp_path):
    """A file whose mixture is the file itself is refused."""
    path = tmp_path / "mine.yaml"
    path.write_text("mixture: {fraction: 0.5, source: mine.yaml}")
    with pytest.raises(synvid.ConfigurationError, match=r"mixture\.source"):
        synvid.load_preset(path)
