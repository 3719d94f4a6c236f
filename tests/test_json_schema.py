"""JSON Schemas of presets and training recipes: they accept every file in the packages, and what `from_dict` accepts."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from running import ended

import synvid_train.training_recipe
from synvid.cli.main import main
from synvid.config.strict_yaml import read_yaml
from synvid.errors import ConfigurationError
from synvid.preset import _FOLDER, Preset, load_preset
from synvid_train.cli.main import main as train_main
from synvid_train.training_recipe import TrainingRecipe, load_recipe

CONFIGS = [Preset, TrainingRecipe]
CHECKERS = {config: Draft202012Validator(config.json_schema()) for config in CONFIGS}
SETTINGS = [(config, key) for config in CONFIGS for key in config.setting_keys()]
FILES = [
    *[(Preset, path) for path in sorted(_FOLDER.rglob("*.yaml"))],
    *[
        (TrainingRecipe, path)
        for path in sorted((Path(synvid_train.training_recipe.__file__).parent / "recipes").glob("*.yaml"))
    ],
]


def accepted_by_from_dict(config, values):
    """Whether `from_dict` accepts settings; each is checked alone, as in one file of several that extend each other."""
    try:
        config.from_dict(values, partial=True)
    except ConfigurationError:
        return False
    return True


@pytest.mark.parametrize("config", CONFIGS)
def test_schema_is_a_valid_schema(config):
    """The schema is valid under draft 2020-12 and is plain JSON."""
    schema = config.json_schema()
    Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize(("config", "path"), FILES, ids=lambda value: value.stem if isinstance(value, Path) else "")
def test_schema_accepts_files_of_the_package(config, path):
    """Every preset and every training recipe is valid, as it is written and with all that it extends."""
    assert len(FILES) > 50
    CHECKERS[config].validate(read_yaml(path))
    load = load_recipe if config is TrainingRecipe else load_preset
    CHECKERS[config].validate(load(path).to_dict())


@pytest.mark.parametrize(("config", "key"), SETTINGS, ids=lambda value: value if isinstance(value, str) else "")
def test_schema_has_default_and_description(config, key):
    """Each setting has its default, which is valid, and a description that ends with the allowed values."""
    section, _, name = key.partition(".")
    schema = config.json_schema()["$defs"][section]["properties"][name]
    field = next(item for item in dataclasses.fields(config.sections()[section]) if item.name == name)
    assert schema["default"] == json.loads(json.dumps(field.default))
    assert CHECKERS[config].is_valid({section: {name: schema["default"]}})
    assert schema["description"].endswith(f". Must be {field.metadata['validator'].description}.")
    assert schema["description"][0] == schema["description"][0].upper()


@pytest.mark.parametrize(
    "values",
    [
        {"flavour": "mint"},
        {"objects": {"cuont": 5}},
        {"objects": {"whole_pixels": True}},
        {"objects": None},
        {"objects": [5]},
        {"name": 5},
        {"extends": None},
        {"extends": 5},
        {"extends": ""},
        {"description": "two\nlines"},
        {"video": {"width": 20.5}},
        {"video": {"background": [0, 0]}},
        {"video": {"background": "white"}},
        {"fill": {"textures": ["marble"]}},
        {"fill": {"textures": ["statistical", "statistical"]}},
        {"fill": {"textures": ["statistical", "images", "a.bank", "b.bank", "c.bank"]}},
        {"mixture": {"source": {"objects": {"count": -1}}}},
        {"mixture": {"source": {"flavour": "mint"}}},
        {"mixture": {"source": {"mixture": {"source": "still_images"}}}},
        {"mixture": {"source": {"extends": "still_images"}}},
        {"mixture": {"source": 5}},
    ],
    ids=str,
)
def test_schema_refuses_wrong_presets(values):
    """Unknown keys, wrong types, wrong values and wrong nested presets are refused, by the schema and by `from_dict`."""
    assert not CHECKERS[Preset].is_valid(values)
    assert not accepted_by_from_dict(Preset, values)


@pytest.mark.parametrize("text", ["extends:", "extends: ''", "extends: [moving_shapes]"])
def test_empty_extends_is_refused(text, tmp_path):
    """`extends` without a name is refused when the file is loaded, as by the schema."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert not CHECKERS[Preset].is_valid(read_yaml(path))
    with pytest.raises(ConfigurationError, match=r"extends is .*; it must be the name of one preset"):
        load_preset(path)


def test_unknown_key_of_a_file_lists_extends(tmp_path):
    """The keys that a file may have include `extends`; a misspelt one is recognized."""
    path = tmp_path / "mine.yaml"
    path.write_text("zzzz: 5")
    with pytest.raises(ConfigurationError, match="unknown key 'zzzz'; the keys are extends, name, description, video"):
        load_preset(path)
    path.write_text("extend: moving_shapes")
    with pytest.raises(ConfigurationError, match="did you mean 'extends'"):
        load_preset(path)


def test_schema_accepts_nested_presets():
    """The source of a mixture may be a whole preset, as a dataset's recipe stores it."""
    for values in ({"mixture": {"source": Preset().to_dict()}}, {"mixture": {"source": {"objects": {"count": 5}}}}):
        assert CHECKERS[Preset].is_valid(values)
        assert accepted_by_from_dict(Preset, values)


#: Numbers inside and outside the ranges of settings. JSON Schema takes 2.0 for an integer, so such floats are left out.
NUMBERS = st.one_of(
    st.integers(-5, 20),
    st.integers(-(10**10), 10**10),
    st.sampled_from([16, 255, 256, 2048, 2049, 10_000, 100_000, 10**9]),
    st.floats(-20, 20).filter(lambda value: value != int(value)),
)
NAMES = """
    circle square exponential power_law compound random top_left nearest texture statistical images mine.bank .bank bank
    tiny base adamw sgd bf16 fp32 rand-m9-mstd0.5-inc1 rand
"""
WORDS = st.sampled_from([*NAMES.split(), ""])
SCALARS = st.one_of(NUMBERS, WORDS, st.booleans(), st.none())
VALUES = st.one_of(SCALARS, st.lists(NUMBERS, max_size=5), st.lists(WORDS, max_size=5), st.lists(SCALARS, max_size=4))


@settings(max_examples=2000, deadline=None, derandomize=True)
@given(st.sampled_from(SETTINGS), VALUES)
def test_schema_agrees_with_from_dict(setting, value):
    """For random values, the schema and `from_dict` agree, up to rules that JSON Schema cannot express.

    These are low <= high in a pair, and whether a text names a preset that exists.
    """
    config, key = setting
    section, _, name = key.partition(".")
    by_schema = CHECKERS[config].is_valid({section: {name: value}})
    by_code = accepted_by_from_dict(config, {section: {name: value}})
    if name.endswith("_range") and by_schema:
        assert by_code == (value[0] <= value[1])
    elif key == "mixture.source":
        assert by_schema == isinstance(value, str)
    else:
        assert by_schema == by_code


@pytest.mark.parametrize(
    ("program", "command", "config"),
    [(main, "presets", Preset), (train_main, "recipes", TrainingRecipe)],
    ids=["synvid", "synvid-train"],
)
def test_schema_command_prints_json(program, command, config):
    """`presets schema` and `recipes schema` print the schema as JSON on stdout."""
    code, talk, text = ended(program, command, "schema")
    assert (code, talk) == (0, "")
    assert json.loads(text) == config.json_schema()


def test_recipe_commands_list_and_show():
    """`recipes` lists the recipes with their descriptions; `recipes show` prints one, with changed settings."""
    code, talk, text = ended(train_main, "recipes")
    assert (code, talk) == (0, "")
    assert any(line.startswith("pretrain_vitb ") and len(line) > 30 for line in text.splitlines())
    code, talk, text = ended(train_main, "recipes", "show", "pretrain_vitb", "--set", "optim.epochs=100")
    assert (code, talk) == (0, "")
    assert "epochs: 100" in text
    code, talk, _ = ended(train_main, "recipes", "show", "pretrain_vitbb")
    assert code == 2
    assert "did you mean 'pretrain_vitb'" in talk
