"""A dataset can be rendered again on another machine: its recipe identifies texture banks and real videos by content."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from running import ended, noise_clip, write_video

import synvid
from synvid.cli.main import main
from synvid.dataset.recipe import DatasetRecipe
from synvid.errors import ConfigurationError

SMALL = [
    part
    for setting in ("video.width=32", "video.height=32", "objects.count=5", "video.num_frames_range=[4, 5]")
    for part in ("--set", setting)
]
TEXTURED, IMAGES, MIXED = "accelerating_transforming_textures", "accelerating_transforming_image_crops", "shapes_25_real"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Simulates another machine by an empty cache."""

    def move(name="elsewhere"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    move("home")
    monkeypatch.setenv("SYNVID_TEXTURES", "8")
    return move


def render(preset, out, *more, n=4, code=0):
    exit_code, stderr, _ = ended(
        main, "render", "--preset", preset, "--n", n, "--shard-size", 2, *SMALL, "--out", out, "--workers", 1, *more
    )
    assert (exit_code, "Traceback" in stderr) == (code, False), stderr
    return stderr


def render_again(folder, copy, *more, code=0):
    exit_code, stderr, _ = ended(main, "render", "--recipe", folder / "synvid.yaml", "--out", copy, "--workers", 1, *more)
    assert (exit_code, "Traceback" in stderr) == (code, False), stderr
    return stderr


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_images(folder, count=6):
    folder.mkdir()
    for k in range(count):
        Image.fromarray(noise_clip(k, frames=1)[0].astype("uint8")).save(folder / f"{k}.png")
    return folder


@pytest.mark.slow
def test_banks_are_built_again_from_the_recipe(elsewhere, tmp_path, monkeypatch):
    """With another default number of textures and an empty cache, rendering again, verifying, reading and continuing work."""
    folder = tmp_path / "set"
    render(TEXTURED, folder)
    frames = synvid.open_dataset(folder).render(1).frames
    elsewhere()
    monkeypatch.setenv("SYNVID_TEXTURES", "12")
    assert "0 clips rendered, 4 already rendered" in render(TEXTURED, folder)
    assert (synvid.open_dataset(folder).render(1).frames == frames).all()
    assert ended(main, "verify", folder, "--rerender", "--workers", 1)[0] == 0
    render_again(folder, tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(folder)


def test_image_bank_is_remembered_or_built_again(elsewhere, tmp_path):
    """The same machine remembers a bank of images; another machine builds it from the images, or names what it needs."""
    folder, shown = tmp_path / "set", write_images(tmp_path / "pictures")
    render(IMAGES, folder, "--images", shown)
    frames = synvid.open_dataset(folder).render(1).frames
    render_again(folder, tmp_path / "copy")
    elsewhere()
    stderr = render_again(folder, tmp_path / "other", code=2)
    assert "bank 'images'" in stderr
    assert "--images DIR" in stderr
    with pytest.raises(ConfigurationError, match="--images DIR"):
        synvid.open_dataset(folder).render(1)
    assert ended(main, "verify", folder, "--rerender", "--workers", 1)[0] == 2
    moved = shutil.move(shown, tmp_path / "moved")
    render_again(folder, tmp_path / "other", "--images", moved)
    assert contents(tmp_path / "other") == contents(folder)
    elsewhere("third")
    assert (synvid.open_dataset(folder, images=moved).render(1).frames == frames).all()
    assert ended(main, "verify", folder, "--rerender", "--images", moved, "--workers", 1)[0] == 0
    assert "shows no natural images" not in stderr


def test_bank_is_given_by_its_name(elsewhere, tmp_path):
    """`render`, `verify` and Python accept a bank by its name in the preset; a different bank is rejected."""
    banks = [tmp_path / f"{seed}.bank" for seed in (1, 2)]
    for seed, bank in enumerate(banks, 1):
        assert ended(main, "textures", "build", "statistical", "--n", 4, "--size", 64, "--seed", seed, "--out", bank)[0] == 0
    folder = tmp_path / "set"
    render(TEXTURED, folder, "--textures", f"statistical={banks[0]}")
    frames = synvid.open_dataset(folder).render(1).frames
    moved = shutil.move(banks[0], tmp_path / "moved.bank")
    elsewhere()
    assert ended(main, "verify", folder, "--rerender", "--workers", 1)[0] == 0  # built again: it is one that synvid makes
    elsewhere("third")
    assert (synvid.open_dataset(folder, {"statistical": moved}).render(1).frames == frames).all()
    assert ended(main, "verify", folder, "--rerender", "--textures", f"statistical={moved}", "--workers", 1)[0] == 0
    assert "is not the bank 'statistical'" in render_again(
        folder, tmp_path / "x", "--textures", f"statistical={banks[1]}", code=2
    )
    with pytest.raises(ConfigurationError, match="no such bank; its banks: statistical"):
        synvid.open_dataset(folder, {"pictures": moved})


@pytest.mark.parametrize("preset", [TEXTURED, IMAGES, MIXED])
def test_dataset_holds_no_path_of_this_machine(preset, elsewhere, tmp_path):
    """No file of a dataset, including hidden files and shards, holds a path of this machine."""
    folder, more = tmp_path / "out" / "set", []
    if preset == IMAGES:
        more = ["--images", write_images(tmp_path / "pictures")]
    if preset == MIXED:
        write_video(tmp_path / "real" / "a.mp4", noise_clip(0, frames=30))
        more = ["--real", tmp_path / "real"]
    render(preset, folder, *more)
    assert [name for name, data in contents(folder).items() if str(tmp_path).encode() in data] == []
    recipe = DatasetRecipe.load(folder)
    assert elsewhere is not None
    assert list(recipe.banks) == recipe.preset.banks()
    assert recipe.digest == DatasetRecipe.load(shutil.copytree(folder, tmp_path / "copy")).digest


def test_mixture_renders_synthetic_clips_without_real_videos(elsewhere, tmp_path):
    """Synthetic clips of a mixture need no videos; to render the dataset again they are given, or remembered."""
    folder, real_folder = tmp_path / "set", tmp_path / "real"
    for k in range(2):
        write_video(real_folder / f"{k}.mp4", noise_clip(k, frames=30))
    render(MIXED, folder, "--real", real_folder)
    render_again(folder, tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(folder)
    moved = shutil.move(real_folder, tmp_path / "moved")
    elsewhere()
    dataset = synvid.open_dataset(folder)
    kinds = [row["preset"] for row in dataset]
    assert "real" in kinds
    synthetic = kinds.index(MIXED)
    assert len(dataset.render(synthetic, [0]).frames) == 1
    assert len(dataset.decode(kinds.index("real"), [0]).frames) == 1
    assert "give their folder (--real DIR" in render_again(folder, tmp_path / "other", code=2)
    render_again(folder, tmp_path / "other", "--real", moved)
    assert contents(tmp_path / "other") == contents(folder)
    assert ended(main, "verify", folder, "--rerender", "--real", moved, "--workers", 1)[0] == 0


def test_banks_are_located_once_per_dataset(elsewhere, tmp_path, monkeypatch):
    """Rendering a hundred clips locates banks once and lists the real videos never."""
    from synvid.dataset import locate, real_videos

    write_video(tmp_path / "real" / "a.mp4", noise_clip(0, frames=30))
    render(MIXED, tmp_path / "set", "--real", tmp_path / "real")
    assert elsewhere is not None
    calls, original = [], locate.locate_inputs
    monkeypatch.setattr(
        "synvid.dataset.reader.locate_inputs", lambda *args, **more: calls.append(1) or original(*args, **more)
    )
    monkeypatch.setattr(real_videos, "find_files", None)
    dataset = synvid.open_dataset(tmp_path / "set")
    for _ in range(100):
        dataset.render(0, [0])
    assert len(calls) == 1


def test_dataset_inside_the_real_videos_is_not_an_input(elsewhere, tmp_path):
    """A dataset in the folder of real videos is not one of these videos, and can be continued."""
    real_videos = tmp_path / "real"
    for k in range(2):
        write_video(real_videos / f"{k}.mp4", noise_clip(k, frames=30))
    assert elsewhere is not None
    render(MIXED, real_videos / "data", "--real", real_videos, "--format", "files")
    assert "0 clips rendered, 4 already rendered" in render(
        MIXED, real_videos / "data", "--real", real_videos, "--format", "files"
    )


def test_scene_of_a_decoded_clip_does_not_use_another_bank(elsewhere, tmp_path, monkeypatch):
    """Decoding needs no bank, and the clip's scene cannot be rendered with a different one."""
    render(TEXTURED, tmp_path / "set")
    elsewhere()
    monkeypatch.setenv("SYNVID_TEXTURES", "12")
    clip = synvid.open_dataset(tmp_path / "set").decode(0)
    with pytest.raises(ConfigurationError, match="no such bank"):
        synvid.render(clip.scene, [0])
    assert not Path(tmp_path / "elsewhere").exists()


def test_recipe_and_card_identify_the_bank(elsewhere, tmp_path):
    """Kind, number, seed and digest of a bank are in the recipe under its name in the preset; the card has the digest."""
    render(TEXTURED, tmp_path / "set")
    assert elsewhere is not None
    facts = DatasetRecipe.load(tmp_path / "set").banks["statistical"]
    assert (facts.kind, facts.n, facts.seed) == ("statistical", 8, 0)
    assert facts.digest in (tmp_path / "set" / "README.md").read_text()
    assert json.loads((tmp_path / "set" / "manifest.jsonl").read_text().splitlines()[0])["preset"] == TEXTURED


def test_wrong_images_raise_even_if_the_bank_is_remembered(elsewhere, tmp_path):
    """A folder given as --images is checked even if this machine remembers the right bank."""
    assert elsewhere is not None
    folder, shown, other = tmp_path / "set", write_images(tmp_path / "pictures"), write_images(tmp_path / "others", count=3)
    render(IMAGES, folder, "--images", shown)
    assert "does not hold the images" in render_again(folder, tmp_path / "copy", "--images", other, code=2)
    with pytest.raises(ConfigurationError, match="does not hold the images"):
        synvid.open_dataset(folder, images=other).render(0)
    assert not (tmp_path / "copy").exists()


def test_images_inside_a_dataset_are_not_an_input(elsewhere, tmp_path):
    """A dataset below the folder of --images, even with images in it, adds none."""
    from synvid.textures.image_folder import ImageFiles

    assert elsewhere is not None
    shown = write_images(tmp_path / "pictures")
    render("moving_circles", shown / "data")
    shutil.copy(shown / "0.png", shown / "data" / "sheet.png")
    assert ImageFiles(shown).names == [f"{k}.png" for k in range(6)]
