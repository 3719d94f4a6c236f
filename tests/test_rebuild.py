"""A recipe makes its dataset anywhere: it says what its banks and videos are, and nothing of where they were."""

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
    """Makes this another machine: an empty cache."""

    def move(name="elsewhere"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    move("home")
    monkeypatch.setenv("SYNVID_TEXTURES", "8")
    return move


def render(preset, out, *more, n=4, code=0):
    found, said, _ = ended(
        main, "render", "--preset", preset, "--n", n, "--shard-size", 2, *SMALL, "--out", out, "--workers", 1, *more
    )
    assert (found, "Traceback" in said) == (code, False), said
    return said


def again(folder, copy, *more, code=0):
    found, said, _ = ended(main, "render", "--recipe", folder / "synvid.yaml", "--out", copy, "--workers", 1, *more)
    assert (found, "Traceback" in said) == (code, False), said
    return said


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pictures(folder, count=6):
    folder.mkdir()
    for k in range(count):
        Image.fromarray(noise_clip(k, frames=1)[0].astype("uint8")).save(folder / f"{k}.png")
    return folder


def test_default_banks_are_built_as_the_recipe_says(elsewhere, tmp_path, monkeypatch):
    """With another default size and an empty cache: rendering again, deep verification, Python and resuming all work."""
    folder = tmp_path / "set"
    render(TEXTURED, folder)
    frames = synvid.open_dataset(folder).render(1).frames
    elsewhere()
    monkeypatch.setenv("SYNVID_TEXTURES", "12")
    assert "0 clips rendered, 4 already rendered" in render(TEXTURED, folder)
    assert (synvid.open_dataset(folder).render(1).frames == frames).all()
    assert ended(main, "verify", folder, "--rerender", "--workers", 1)[0] == 0
    again(folder, tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(folder)


def test_a_bank_of_pictures_is_found_or_built_again(elsewhere, tmp_path):
    """With --images: the same machine remembers the bank, another one builds it from the pictures, or says what it needs."""
    folder, shown = tmp_path / "set", pictures(tmp_path / "pictures")
    render(IMAGES, folder, "--images", shown)
    frames = synvid.open_dataset(folder).render(1).frames
    again(folder, tmp_path / "copy")
    elsewhere()
    said = again(folder, tmp_path / "other", code=2)
    assert "bank 'images'" in said
    assert "--images DIR" in said
    with pytest.raises(ConfigurationError, match="--images DIR"):
        synvid.open_dataset(folder).render(1)
    assert ended(main, "verify", folder, "--rerender", "--workers", 1)[0] == 2
    moved = shutil.move(shown, tmp_path / "moved")
    again(folder, tmp_path / "other", "--images", moved)
    assert contents(tmp_path / "other") == contents(folder)
    elsewhere("third")
    assert (synvid.open_dataset(folder, images=moved).render(1).frames == frames).all()
    assert ended(main, "verify", folder, "--rerender", "--images", moved, "--workers", 1)[0] == 0
    assert "shows no natural images" not in said


def test_a_bank_of_ones_own_is_given_by_its_name(elsewhere, tmp_path):
    """--textures in `render`, `verify` and Python takes a bank by the name that the preset has for it; another is refused."""
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
    assert "is not the bank 'statistical'" in again(folder, tmp_path / "x", "--textures", f"statistical={banks[1]}", code=2)
    with pytest.raises(ConfigurationError, match="no such bank; its banks: statistical"):
        synvid.open_dataset(folder, {"pictures": moved})


@pytest.mark.parametrize("preset", [TEXTURED, IMAGES, MIXED])
def test_no_place_of_this_machine_is_in_a_dataset(preset, elsewhere, tmp_path):
    """No file of a dataset, hidden ones and shards too, holds a path of this machine."""
    folder, more = tmp_path / "out" / "set", []
    if preset == IMAGES:
        more = ["--images", pictures(tmp_path / "pictures")]
    if preset == MIXED:
        write_video(tmp_path / "real" / "a.mp4", noise_clip(0, frames=30))
        more = ["--real", tmp_path / "real"]
    render(preset, folder, *more)
    assert [name for name, data in contents(folder).items() if str(tmp_path).encode() in data] == []
    recipe = DatasetRecipe.load(folder)
    assert elsewhere is not None
    assert list(recipe.banks) == recipe.preset.banks()
    assert recipe.digest == DatasetRecipe.load(shutil.copytree(folder, tmp_path / "copy")).digest


def test_a_mixture_renders_without_its_real_folder(elsewhere, tmp_path):
    """Synthetic clips of a mixture need no videos; to render the set again they are given, or remembered."""
    folder, real_folder = tmp_path / "set", tmp_path / "real"
    for k in range(2):
        write_video(real_folder / f"{k}.mp4", noise_clip(k, frames=30))
    render(MIXED, folder, "--real", real_folder)
    again(folder, tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(folder)
    moved = shutil.move(real_folder, tmp_path / "moved")
    elsewhere()
    dataset = synvid.open_dataset(folder)
    kinds = [row["preset"] for row in dataset]
    assert "real" in kinds
    synthetic = kinds.index(MIXED)
    assert len(dataset.render(synthetic, [0]).frames) == 1
    assert len(dataset.decode(kinds.index("real"), [0]).frames) == 1
    assert "--real DIR says where" in again(folder, tmp_path / "other", code=2)
    again(folder, tmp_path / "other", "--real", moved)
    assert contents(tmp_path / "other") == contents(folder)
    assert ended(main, "verify", folder, "--rerender", "--real", moved, "--workers", 1)[0] == 0


def test_rendering_lists_no_folder_per_clip(elsewhere, tmp_path, monkeypatch):
    """A hundred clips of a dataset look for banks once and for videos never."""
    from synvid.dataset import locate, real_videos

    write_video(tmp_path / "real" / "a.mp4", noise_clip(0, frames=30))
    render(MIXED, tmp_path / "set", "--real", tmp_path / "real")
    assert elsewhere is not None
    calls, original = [], locate.locate
    monkeypatch.setattr("synvid.dataset.reader.locate", lambda *args, **more: calls.append(1) or original(*args, **more))
    monkeypatch.setattr(real_videos, "find_files", None)
    dataset = synvid.open_dataset(tmp_path / "set")
    for _ in range(100):
        dataset.render(0, [0])
    assert len(calls) == 1


def test_output_does_not_become_input(elsewhere, tmp_path):
    """A dataset inside the folder of real videos, as files, is no part of these videos, and is gone on with."""
    real_videos = tmp_path / "real"
    for k in range(2):
        write_video(real_videos / f"{k}.mp4", noise_clip(k, frames=30))
    assert elsewhere is not None
    render(MIXED, real_videos / "data", "--real", real_videos, "--format", "files")
    assert "0 clips rendered, 4 already rendered" in render(
        MIXED, real_videos / "data", "--real", real_videos, "--format", "files"
    )


def test_a_scene_of_a_decoded_clip_is_not_rendered_with_another_bank(elsewhere, tmp_path, monkeypatch):
    """Decoding needs no bank, and the scene that comes with it is not drawn from whatever bank is there."""
    render(TEXTURED, tmp_path / "set")
    elsewhere()
    monkeypatch.setenv("SYNVID_TEXTURES", "12")
    clip = synvid.open_dataset(tmp_path / "set").decode(0)
    with pytest.raises(ConfigurationError, match="no such bank"):
        synvid.render(clip.scene, [0])
    assert not Path(tmp_path / "elsewhere").exists()


def test_the_card_tells_how_to_make_it_again(elsewhere, tmp_path):
    """Kind, number, seed and digest of a bank are in the recipe, under the preset's own name."""
    render(TEXTURED, tmp_path / "set")
    assert elsewhere is not None
    facts = DatasetRecipe.load(tmp_path / "set").banks["statistical"]
    assert (facts.kind, facts.n, facts.seed) == ("statistical", 8, 0)
    assert facts.digest in (tmp_path / "set" / "README.md").read_text()
    assert json.loads((tmp_path / "set" / "manifest.jsonl").read_text().splitlines()[0])["preset"] == TEXTURED


def test_wrong_pictures_are_refused_though_the_bank_is_known(elsewhere, tmp_path):
    """A folder that is given as --images is checked, even where this machine remembers the right bank."""
    assert elsewhere is not None
    folder, shown, other = tmp_path / "set", pictures(tmp_path / "pictures"), pictures(tmp_path / "others", count=3)
    render(IMAGES, folder, "--images", shown)
    assert "does not hold the pictures" in again(folder, tmp_path / "copy", "--images", other, code=2)
    with pytest.raises(ConfigurationError, match="does not hold the pictures"):
        synvid.open_dataset(folder, images=other).render(0)
    assert not (tmp_path / "copy").exists()


def test_pictures_inside_a_dataset_are_no_input(elsewhere, tmp_path):
    """A dataset below the folder of --images, with pictures that somebody put into it, adds none."""
    from synvid.textures.image_folder import ImageFiles

    assert elsewhere is not None
    shown = pictures(tmp_path / "pictures")
    render("moving_circles", shown / "data")
    shutil.copy(shown / "0.png", shown / "data" / "sheet.png")
    assert ImageFiles(shown).names == [f"{k}.png" for k in range(6)]
