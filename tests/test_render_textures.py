"""Rendering presets with texture banks: options, the user's cache, recipes and cards."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from texture_helpers import TINY, assert_error, build_small_bank, command

import synvid
from synvid.errors import ConfigurationError
from synvid.runtime.progress import Progress
from synvid.textures.bank import build_bank, open_bank
from synvid.textures.bank_cache import make_bank_header


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """A bank of 70 small textures: two chunks."""
    return build_small_bank(tmp_path_factory.mktemp("bank"))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--textures", "statistical"], ["NAME=BANK"]),
        (["--textures", "statistical=x.txt"], ["NAME=BANK", ".bank"]),
        (["--textures", "images=x.bank"], ["no bank 'images'", "its banks: statistical"]),
        (["--textures", "statistical=nowhere.bank"], ["nowhere.bank", "no such bank"]),
        (["--images", "nowhere"], ["shows no natural images"]),
        (["--textures", "statistical=~nobody-here/x.bank"], ["~nobody-here/x.bank", "no such user"]),
        (["--part", "9/3"], ["--part 9/3"]),
        (["--real", "nowhere"], ["nowhere", "no such folder"]),
        (["--real", "."], ["no real clips", "leave out --real"]),
        (["--set", "fill.textures=[statistcal]"], ["fill.textures"]),
        (["--set", "fill.textures=[images, images]"], ["fill.textures"]),
        (["--set", "fill.texture_size=0"], ["fill.texture_size"]),
        (["--set", "video.background=texture", "--set", "fill.textures=[]"], ["video.background", "fill.textures"]),
        (["--set", "video.background=pink"], ["video.background"]),
        (["--set", "mixture.fraction=0.5"], ["mixture.source"]),
        (["--set", "mixture.source=nothing"], ["mixture.source"]),
        (["--set", "mixture.source=shapes_25_real"], ["mixture.source"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_wrong_texture_options_are_errors(args, words, tmp_path):
    """Wrong options and settings of textures and mixtures end with exit code 2 and a message that names them."""
    if args[-1] == ".":
        (tmp_path / "a.mp4").write_bytes(b"")
        args = [*args[:-1], tmp_path]
    everything = ["render", "--preset", "accelerating_transforming_textures", "--n", 2, "--out", tmp_path / "set", *args]
    assert_error(everything, 2, *words)


def test_missing_bank_is_built_in_the_cache(tmp_path, monkeypatch):
    """Without options, a preset builds the small bank it needs and says where; the next run uses it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SYNVID_TEXTURES", "5")
    args = ["render", "--preset", "accelerating_transforming_stylegan_crops", "--n", 2, *TINY, "--workers", 1, "--out"]
    code, messages, _ = command(*args, tmp_path / "one")
    assert code == 0, messages
    assert "Building 5 textures of kind stylegan-oriented" in messages
    assert str(tmp_path / "cache") in messages
    assert "would use up to 300,000" in messages
    code, messages, _ = command(*args, tmp_path / "two")
    assert code == 0
    assert "Building" not in messages
    for name in ("train/shard-000000.tar", "synvid.yaml", "manifest.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert command("verify", "--rerender", tmp_path / "two", "--workers", 1)[0] == 0


def test_dry_run_reports_banks_and_builds_none(tmp_path, monkeypatch):
    """A dry run reports the banks that would be built with their sizes, also as JSON, and writes nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SYNVID_TEXTURES", "5")
    args = ["render", "--preset", "accelerating_transforming_stylegan_crops", "--n", 2, *TINY, "--workers", 1]
    args += ["--out", tmp_path / "set"]
    code, messages, data = command(*args, "--dry-run")
    assert (code, messages) == (0, "")
    assert "2 to render, 0 done" in data
    assert "textures 5 of kind stylegan-oriented to build first, 987 kB" in data
    plan = json.loads(command(*args, "--dry-run", "--json")[2])
    size = make_bank_header("stylegan-oriented").file_bytes
    assert plan["banks_to_build"] == [{"kind": "stylegan-oriented", "n": 5, "bytes": size}]
    assert (plan["clips"], plan["bytes"], plan["seconds"]) == (2, None, None)
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (50, 50)).save(folder / "black.png")
    args[2] = "accelerating_transforming_image_crops"
    code, _, data = command(*args, "--images", folder, "--dry-run")
    assert code == 0
    assert "textures 1 of kind images to build first, 201 kB" in data
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    assert command(*args, "--images", folder)[0] == 0
    plan = json.loads(command(*args, "--images", folder, "--dry-run", "--json")[2])
    assert plan["banks_to_build"] == []
    assert (plan["clips"], plan["done"], plan["bytes"]) == (0, 2, 0)


def test_card_lists_banks(bank, tmp_path):
    """The card lists kind, number and digest of each bank, as the recipe does, without paths."""
    args = ["render", "--n", 1, *TINY, "--workers", 1]
    preset = ["--preset", "accelerating_transforming_textures", "--textures", f"statistical={bank}"]
    assert command(*args, *preset, "--out", tmp_path / "set")[0] == 0
    header, card = open_bank(bank).header, (tmp_path / "set" / "README.md").read_text()
    assert f"| textures | 70 of kind stylegan-high-freq, digest `{header.digest}` |\n" in card
    assert str(bank) not in card
    banks = synvid.open_dataset(tmp_path / "set").recipe.banks
    assert [(facts.kind, facts.n, facts.digest) for facts in banks.values()] == [(header.kind, 70, header.digest)]
    assert command(*args, "--preset", "moving_shapes", "--out", tmp_path / "plain")[0] == 0
    assert "| textures |" not in (tmp_path / "plain" / "README.md").read_text()


@pytest.mark.parametrize("banks", ["[1]", "{statistical: 0123}", "{statistical: {n: 2}}", "{a: {kind: b, n: x, digest: c}}"])
def test_damaged_bank_entry_of_recipe_is_an_error(banks, bank, tmp_path):
    """For any damaged `banks` entry in a recipe, the error message names the file."""
    preset = ["--preset", "accelerating_transforming_textures", "--textures", f"statistical={bank}"]
    assert command("render", "--n", 1, *TINY, "--workers", 1, *preset, "--out", tmp_path / "set")[0] == 0
    path = tmp_path / "set" / "synvid.yaml"
    settings = yaml.safe_load(path.read_text())
    path.write_text(yaml.dump({**settings, "banks": yaml.safe_load(banks)}, sort_keys=False))
    assert_error(["status", tmp_path / "set"], 2, path)


def test_bank_path_is_relative_to_preset_file(bank, tmp_path, monkeypatch):
    """A bank path in a preset file is relative to that file; `preview` accepts banks too."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.bank").write_bytes(bank.read_bytes())
    mine = tmp_path / "mine" / "mine.yaml"
    mine.write_text(
        "extends: accelerating_transforming_shapes\nfill: {textures: [own.bank]}\nvideo: {width: 32, height: 32}\n"
    )
    other = tmp_path / "mine" / "mixed.yaml"
    other.write_text("extends: moving_shapes\nmixture: {fraction: 0.5, source: mine.yaml}\nvideo: {width: 32, height: 32}\n")
    monkeypatch.chdir(tmp_path)
    assert command("render", "--preset", mine, "--n", 2, "--out", "set", "--workers", 1)[0] == 0
    assert command("render", "--preset", other, "--n", 2, "--out", "mixed", "--workers", 1)[0] == 0
    rows = [json.loads(line) for line in Path("mixed/manifest.jsonl").read_text().splitlines()]
    assert [row["preset"] for row in rows] == ["mixed", "mine"]
    code, messages, _ = command(
        "preview", "accelerating_transforming_textures", "--textures", f"statistical={bank}", "--clips", 1
    )
    assert code == 0, messages
    assert Path("accelerating_transforming_textures.png").is_file()


def test_other_bank_is_refused_same_bank_elsewhere_accepted(bank, tmp_path):
    """A dataset continues only with a bank of the same digest, wherever that lies."""
    elsewhere = tmp_path / "elsewhere.bank"
    elsewhere.write_bytes(bank.read_bytes())
    other = tmp_path / "other.bank"
    build_bank(other, make_bank_header("stylegan-high-freq", 70, 32, 4), None, 1, Progress())
    args = ["render", "--preset", "accelerating_transforming_textures", "--n", 2, "--out", tmp_path / "set", *TINY]
    assert command(*args, "--textures", f"statistical={bank}")[0] == 0
    assert command(*args, "--textures", f"statistical={elsewhere}")[0] == 0
    assert_error([*args, "--textures", f"statistical={other}"], 2, "holds a dataset of another configuration", "fill.textures")
    data = synvid.open_dataset(tmp_path / "set", {"statistical": str(elsewhere)})
    np.testing.assert_array_equal(data.render(1).frames, synvid.open_dataset(tmp_path / "set").render(1).frames)
    with pytest.raises(ConfigurationError, match="is not the bank"):
        synvid.open_dataset(tmp_path / "set", {"statistical": str(other)}).render(0)
    recipe = tmp_path / "set" / "synvid.yaml"
    copy = ["render", "--recipe", recipe, "--out", tmp_path / "copy", "--textures"]
    assert_error([*copy, f"statistical={other}"], 2, "is not the bank", "that the dataset was made from")
    twice = tmp_path / "twice.yaml"
    twice.write_text("extends: moving_shapes\nfill: {textures: [statistical, images]}\n")
    both = ["--textures", f"statistical={bank}", "--textures", f"images={bank}"]
    assert_error(["render", "--preset", twice, "--n", 2, "--out", tmp_path / "twice", *both], 2, "without duplicates")
    assert not (tmp_path / "twice").exists()
    assert command(*copy, f"statistical={elsewhere}")[0] == 0


def test_two_banks_are_used_equally_often():
    """Of two banks, each provides half of the textures on average."""
    choice = synvid.sample_scene(synvid.load_preset("image_stylegan_crops_150k", {"objects.count": 20_000})).textures.choice
    assert abs((choice[:-1] < 0.5).mean() - 0.5) < 0.02
