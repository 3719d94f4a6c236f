"""Banks of textures, folders of pictures, mixtures and real clips: what they hold, and what is wrong with them."""

import io
import json
import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from running import ended

import synvid
from synvid.cli.main import main
from synvid.errors import ConfigurationError, DatasetError
from synvid.paths import find_files
from synvid.preset import TEXTURE_KINDS
from synvid.runtime.progress import Progress
from synvid.textures import stylegan
from synvid.textures.bank import BankHeader, build_bank, open_bank
from synvid.textures.bank_cache import make_bank_header
from synvid.textures.generators import GENERATORS
from synvid.textures.image_folder import bundled_images, read_square_crop
from synvid.video.encode import encode

SHARED = Path(__file__).parents[2] / "shared" / "data"
TINY = ("--set", "video.width=32", "--set", "video.height=32", "--set", "video.num_frames_range=[3, 5]")


command = partial(ended, main)


def assert_one_sentence(args, code, *words):
    """The last line says what is wrong, no traceback."""
    ended, talk, _ = command(*args)
    assert ended == code, talk
    assert "Traceback" not in talk
    for word in words:
        assert str(word) in talk.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """A bank of 70 small textures: two pieces."""
    path = tmp_path_factory.mktemp("bank") / "high.bank"
    build_bank(path, make_bank_header("stylegan-high-freq", 70, 32, 3), None, 2, Progress())
    return path


# ---- Banks ---------------------------------------------------------------------------------------------------------
def test_every_kind_that_presets_may_name_is_made():
    """The names that a preset knows are those of the registry, and images."""
    assert set(TEXTURE_KINDS) == {*GENERATORS, "images"}


def test_a_texture_depends_on_kind_seed_and_index_alone(bank):
    """Texture i of a bank is what its generator gives for i; the number of workers and of textures does not matter."""
    textures = open_bank(bank).textures
    for index in (0, 63, 64, 69):
        np.testing.assert_array_equal(textures[index, 0], stylegan.sample("high_freq", 3, index, 32))
    other = bank.with_name("one.bank")
    build_bank(other, make_bank_header("stylegan-high-freq", 70, 32, 3), None, 1, Progress())
    assert other.read_bytes() == bank.read_bytes()


def test_a_walk_holds_moving_textures(tmp_path):
    """A bank of a walk has its frames in order."""
    path = tmp_path / "walk.bank"
    header = make_bank_header("stylegan-oriented-walk", 2, 32)
    build_bank(path, header, None, 1, Progress())
    np.testing.assert_array_equal(open_bank(path).textures[1], stylegan.walk("oriented", 0, 1, header.frames, 32))


def _build_and_die(path, header, after):
    """Build a bank, and be killed after some textures."""
    make, left = GENERATORS[header.kind].make, after

    def deadly(*args):
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return make(*args)

    object.__setattr__(GENERATORS[header.kind], "make", deadly)
    build_bank(path, header, None, 1, Progress())


@pytest.mark.parametrize("after", [0, 10, 64, 68])
def test_a_killed_run_goes_on(after, bank, tmp_path):
    """Killed while it builds, a bank is not there; the same command goes on, and the bank is the undisturbed one."""
    path, header = tmp_path / "high.bank", make_bank_header("stylegan-high-freq", 70, 32, 3)
    process = multiprocessing.get_context("fork").Process(target=_build_and_die, args=(path, header, after))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert not path.exists()
    made = []

    class Watch(Progress):
        def start(self, total, done, unit):
            made.append((total, done, unit))

    build_bank(path, header, None, 1, Watch())
    assert made == [(70, 64 if after >= 64 else 0, "texture")]
    assert path.read_bytes() == bank.read_bytes()
    assert [name.name for name in tmp_path.iterdir()] == ["high.bank"]


def test_a_piece_that_was_altered_is_made_again(bank, tmp_path):
    """What a power cut has left of an unfinished bank is checked before it is believed."""
    path, header = tmp_path / "high.bank", make_bank_header("stylegan-high-freq", 70, 32, 3)
    process = multiprocessing.get_context("fork").Process(target=_build_and_die, args=(path, header, 66))
    process.start()
    process.join(30)
    part = tmp_path / "high.bank.part"
    data = bytearray(part.read_bytes())
    data[10_000] ^= 1
    part.write_bytes(data)
    build_bank(path, header, None, 1, Progress())
    assert path.read_bytes() == bank.read_bytes()


def test_two_builders_at_once(bank, tmp_path):
    """Both end well, and the bank is the undisturbed one."""
    path, header = tmp_path / "high.bank", make_bank_header("stylegan-high-freq", 70, 32, 3)
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=build_bank, args=(path, header, None, 1, Progress())) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert path.read_bytes() == bank.read_bytes()
    assert [name.name for name in tmp_path.iterdir()] == ["high.bank"]


def test_the_same_command_again_changes_nothing(bank):
    """A finished bank is left as it is; another bank of that name is refused."""
    before = bank.stat().st_mtime_ns
    args = ["textures", "stylegan-high-freq", "--n", 70, "--size", 32, "--seed", 3, "--out", bank]
    assert command(*args)[0] == 0
    assert bank.stat().st_mtime_ns == before
    assert_one_sentence([*args[:3], 71, *args[4:]], 2, bank, "another")


def altered(bank, tmp_path, change):
    """A copy of a bank with its bytes changed."""
    path = tmp_path / "other.bank"
    path.write_bytes(change(bytearray(bank.read_bytes())))
    return path


def flip(data, at):
    data[at] ^= 1
    return data


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda data: data[:-40], 1, ["bytes, not", "cut off"]),
        (lambda data: data[:200], 1, ["header is damaged"]),
        (lambda data: data + b"x", 1, ["bytes, not"]),
        (lambda data: flip(data, 5000), 1, ["textures 0 to 63 have been altered"]),
        (lambda data: flip(data, len(data) - 3), 1, ["hashes have been altered"]),
        (lambda data: data.replace(b'"seed": 3', b'"seed": 4', 1), 1, ["hashes have been altered"]),
        (lambda data: data.replace(b'"n": 70', b'"n": 7x', 1), 1, ["header is damaged"]),
        (lambda data: data.replace(b'"format": 1', b'"format": 9', 1), 2, ["format 9", "reads format 1"]),
        (lambda data: b"PK\x03\x04" + bytes(data), 2, ["no bank of textures"]),
        (lambda _: b"", 2, ["no bank of textures"]),
    ],
    ids=["short", "header only", "long", "texture", "hash", "header", "nonsense", "format", "foreign", "empty"],
)
def test_a_damaged_bank_is_one_sentence(change, code, words, bank, tmp_path):
    """Cut off, altered, foreign: `render` says which file and what is wrong, before it writes anything."""
    path, out = altered(bank, tmp_path, change), tmp_path / "set"
    args = ["render", "--preset", "accelerating_transforming_textures", "--n", 2, "--out", out, *TINY]
    assert_one_sentence([*args, "--textures", f"statistical={path}"], code, path, *words)
    assert not out.exists()


def test_verify_reads_all_of_a_bank(bank, tmp_path):
    """`synvid textures verify` finds one bit."""
    assert command("textures", "verify", bank)[0] == 0
    path = altered(bank, tmp_path, lambda data: flip(data, len(data) - 500))
    assert_one_sentence(["textures", "verify", path], 1, path, "textures 64 to 69")


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
def test_wrong_options_are_one_sentence(args, words, tmp_path):
    """Exit code 2, and the sentence names the option or setting."""
    if args[-1] == ".":
        (tmp_path / "a.mp4").write_bytes(b"")
        args = [*args[:-1], tmp_path]
    everything = ["render", "--preset", "accelerating_transforming_textures", "--n", 2, "--out", tmp_path / "set", *args]
    assert_one_sentence(everything, 2, *words)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["statistical", "--out", "a.bin"], ["a.bin", ".bank"]),
        (["statistical", "--size", 100, "--out", "a.bank"], ["100", "multiples of 16"]),
        (["stylegan-oriented", "--size", 100, "--out", "a.bank"], ["100", "32, 64, 128, 256, 512"]),
        (["images", "--images", "nowhere", "--out", "a.bank"], ["nowhere", "no such folder"]),
        (["statistical", "--seed", -1, "--out", "a.bank"], ["seed is -1"]),
        (["show", "nowhere.bank"], ["nowhere.bank", "no such bank"]),
    ],
    ids=lambda value: value[0],
)
def test_wrong_banks_are_one_sentence(args, words, tmp_path, monkeypatch):
    """Exit code 2, nothing written."""
    monkeypatch.chdir(tmp_path)
    assert_one_sentence(["textures", *args], 2, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_pictures_is_one_sentence(tmp_path):
    """`--images` of a folder with other files says what it looks for."""
    (tmp_path / "notes.txt").write_text("mine")
    assert_one_sentence(
        ["textures", "images", "--images", tmp_path, "--out", tmp_path / "a.bank"], 2, tmp_path, "holds no image"
    )


def test_what_lies_behind_the_last_texel_is_mapped(tmp_path):
    """Textures that end where a page of memory does: a frame of the last one's last row and column stays inside the map."""
    path = tmp_path / "page.bank"
    build_bank(path, make_bank_header("stylegan-high-freq", 4, 64), None, 1, Progress())
    textures = open_bank(path).textures
    assert textures.nbytes % 4096 == 0
    owner = textures
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    assert owner.nbytes == textures.nbytes + 32
    overrides = {"fill.textures": [str(path)], "video.background": "texture", "objects.count": 0}
    preset = synvid.load_preset("static_circles", {**overrides, "video.width": 64, "video.height": 64})
    shown = {synvid.render(synvid.sample_scene(preset, 0, index), [0]).frames.tobytes() for index in range(40)}
    assert shown == {texture.tobytes() for texture in textures}


def test_a_sheet_shows_a_bank(bank, tmp_path):
    """`synvid textures show` draws textures side by side."""
    out = tmp_path / "sheet.png"
    assert command("textures", "show", bank, "--out", out)[0] == 0
    with Image.open(out) as sheet:
        assert sheet.size == (12 * 100 - 4, 6 * 100 - 4)


def test_a_preset_renders_on_a_fresh_machine(tmp_path, monkeypatch):
    """Without any option a preset builds the small bank it needs, says so, and says where; the next run finds it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SYNVID_TEXTURES", "5")
    args = ["render", "--preset", "accelerating_transforming_stylegan_crops", "--n", 2, *TINY, "--workers", 1, "--out"]
    code, talk, _ = command(*args, tmp_path / "one")
    assert code == 0, talk
    assert "Building 5 textures of kind stylegan-oriented" in talk
    assert str(tmp_path / "cache") in talk
    assert "would take up to 300,000" in talk
    code, talk, _ = command(*args, tmp_path / "two")
    assert code == 0
    assert "Building" not in talk
    for name in ("train/shard-000000.tar", "synvid.yaml", "manifest.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert command("verify", "--deep", tmp_path / "two", "--workers", 1)[0] == 0


def test_a_dry_run_builds_no_bank(tmp_path, monkeypatch):
    """What would be built is told with its size, as JSON too, and neither the bank nor the set is there afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SYNVID_TEXTURES", "5")
    args = ["render", "--preset", "accelerating_transforming_stylegan_crops", "--n", 2, *TINY, "--workers", 1]
    args += ["--out", tmp_path / "set"]
    code, talk, data = command(*args, "--dry-run")
    assert (code, talk) == (0, "")
    assert "2 to render, 0 done" in data
    assert "textures 5 of kind stylegan-oriented to build first, 987 kB" in data
    plan = json.loads(command(*args, "--dry-run", "--json")[2])
    size = make_bank_header("stylegan-oriented").file_bytes
    assert plan["banks_to_build"] == [{"kind": "stylegan-oriented", "n": 5, "bytes": size}]
    assert (plan["clips"], plan["bytes"], plan["seconds"]) == (2, None, None)
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (50, 50)).save(folder / "black.png")
    args[2] = "accelerating_transforming_image_crops"
    code, _, data = command(*args, "--images", folder, "--dry-run")
    assert code == 0
    assert "textures 1 of kind images to build first, 201 kB" in data
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
    assert command(*args, "--images", folder)[0] == 0
    plan = json.loads(command(*args, "--images", folder, "--dry-run", "--json")[2])
    assert plan["banks_to_build"] == []
    assert (plan["clips"], plan["done"], plan["bytes"]) == (0, 2, 0)


def test_a_folder_of_pictures_is_listed_once(tmp_path, monkeypatch):
    """`--images DIR` walks through its folder once, by `render`, `preview` of several presets, and `textures images`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder, listed = tmp_path / "pictures", []
    folder.mkdir()
    Image.new("RGB", (50, 50)).save(folder / "black.png")

    def watched(*args, **more):
        listed.append(args)
        return find_files(*args, **more)

    monkeypatch.setattr("synvid.textures.folder.find_files", watched)
    names = ["accelerating_transforming_image_crops", "image_crops_300k"]
    for args in (
        ["render", "--preset", names[0], "--n", 2, "--out", tmp_path / "set", *TINY, "--workers", 1],
        ["preview", *names, "--clips", 1, "--columns", 1, "--out", tmp_path / "sheet.png"],
        ["textures", "images", "--size", 32, "--out", tmp_path / "a.bank", "--workers", 1],
    ):
        code, talk, _ = command(*args, "--images", folder)
        assert code == 0, talk
        assert len(listed) == 1
        listed.clear()


def test_the_card_names_the_banks(bank, tmp_path):
    """The card has kind, number and digest of each bank, as the recipe has; no path, and nothing without banks."""
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
def test_damaged_facts_of_a_bank_are_one_sentence(banks, bank, tmp_path):
    """Whatever stands for `banks` in a recipe, the sentence names the file."""
    preset = ["--preset", "accelerating_transforming_textures", "--textures", f"statistical={bank}"]
    assert command("render", "--n", 1, *TINY, "--workers", 1, *preset, "--out", tmp_path / "set")[0] == 0
    path = tmp_path / "set" / "synvid.yaml"
    settings = yaml.safe_load(path.read_text())
    path.write_text(yaml.dump({**settings, "banks": yaml.safe_load(banks)}, sort_keys=False))
    assert_one_sentence(["status", tmp_path / "set"], 2, path)


def test_a_preset_names_its_own_bank(bank, tmp_path, monkeypatch):
    """A path in a preset's file is relative to it, wherever the command is given; `preview` takes banks, too."""
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
    code, talk, _ = command("preview", "accelerating_transforming_textures", "--textures", f"statistical={bank}", "--clips", 1)
    assert code == 0, talk
    assert Path("accelerating_transforming_textures.png").is_file()


def test_another_bank_is_another_dataset(bank, tmp_path):
    """The recipe holds the digest of its bank: a run with another is refused, the same bank elsewhere is not."""
    elsewhere = tmp_path / "elsewhere.bank"
    elsewhere.write_bytes(bank.read_bytes())
    other = tmp_path / "other.bank"
    build_bank(other, make_bank_header("stylegan-high-freq", 70, 32, 4), None, 1, Progress())
    args = ["render", "--preset", "accelerating_transforming_textures", "--n", 2, "--out", tmp_path / "set", *TINY]
    assert command(*args, "--textures", f"statistical={bank}")[0] == 0
    assert command(*args, "--textures", f"statistical={elsewhere}")[0] == 0
    assert_one_sentence(
        [*args, "--textures", f"statistical={other}"], 2, "holds a dataset of another configuration", "fill.textures"
    )
    data = synvid.open_dataset(tmp_path / "set", {"statistical": str(elsewhere)})
    np.testing.assert_array_equal(data.render(1).frames, synvid.open_dataset(tmp_path / "set").render(1).frames)
    with pytest.raises(ConfigurationError, match="is not the bank"):
        synvid.open_dataset(tmp_path / "set", {"statistical": str(other)}).render(0)
    recipe = tmp_path / "set" / "synvid.yaml"
    copy = ["render", "--recipe", recipe, "--out", tmp_path / "copy", "--textures"]
    assert_one_sentence([*copy, f"statistical={other}"], 2, "is not the bank", "that the dataset was made from")
    twice = tmp_path / "twice.yaml"
    twice.write_text("extends: moving_shapes\nfill: {textures: [statistical, images]}\n")
    both = ["--textures", f"statistical={bank}", "--textures", f"images={bank}"]
    assert_one_sentence(["render", "--preset", twice, "--n", 2, "--out", tmp_path / "twice", *both], 2, "none twice")
    assert not (tmp_path / "twice").exists()
    assert command(*copy, f"statistical={elsewhere}")[0] == 0


# ---- Pictures ------------------------------------------------------------------------------------------------------
def picture(mode="RGB", size=(40, 30)):
    """A picture whose left half is bright and right half dark."""
    bright = np.zeros((size[1], size[0]), np.uint8)
    bright[:, : size[0] // 2] = 255
    image = Image.fromarray(bright)
    return image.convert(mode) if mode != "I;16" else Image.fromarray(bright.astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.jpg", "RGB"),
        ("a.jpg", "L"),
        ("a.jpg", "CMYK"),
        ("a.png", "P"),
        ("a.png", "LA"),
        ("a.png", "RGBA"),
        ("a.png", "I;16"),
        ("a.png", "1"),
        ("a.webp", "RGB"),
    ],
)
def test_pictures_of_any_mode_are_read(name, mode, tmp_path):
    """Grey, palette, CMYK, 16-bit, black and white, transparent: bright stays bright and dark stays dark."""
    picture(mode).save(tmp_path / name)
    square = read_square_crop(tmp_path / name, 32)
    assert square.shape == (32, 32, 3)
    assert square[:, :12].min() > 225
    assert square[:, 20:].max() < 30


def test_transparent_pixels_are_black(tmp_path):
    """What cannot be seen does not show its colour."""
    clear = Image.new("RGBA", (20, 20), (255, 255, 255, 0))
    clear.save(tmp_path / "a.png")
    assert read_square_crop(tmp_path / "a.png", 16).max() == 0


def test_exif_rotation_is_heeded(tmp_path):
    """A picture that its camera marks as turned is turned back."""
    image, exif = picture(size=(40, 40)), Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    image.save(tmp_path / "a.jpg", exif=exif)
    square = read_square_crop(tmp_path / "a.jpg", 32)
    assert square[:12].min() > 225
    assert square[20:].max() < 30


@pytest.mark.parametrize("size", [(1, 1), (20_000, 3), (3, 20_000)])
def test_pictures_of_extreme_sizes_are_read(size, tmp_path):
    """One pixel, or twenty thousand by three."""
    Image.new("RGB", size, (9, 8, 7)).save(tmp_path / "a.png")
    assert (read_square_crop(tmp_path / "a.png", 16) == [9, 8, 7]).all()


def bomb(path):
    """A file of some bytes that claims to have 30000 x 30000 pixels."""
    data = io.BytesIO()
    Image.new("1", (8, 8)).save(data, "png")
    raw = bytearray(data.getvalue())
    raw[16:24] = (30000).to_bytes(4, "big") * 2
    import zlib

    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    path.write_bytes(raw)


def test_unreadable_pictures_are_counted_and_named(tmp_path):
    """Broken, empty, foreign and bomb-sized files are passed over and named; the others make the bank."""
    folder = tmp_path / "pictures"
    (folder / "deep" / "er").mkdir(parents=True)
    Image.new("RGB", (50, 50), (200, 10, 10)).save(folder / "deep" / "er" / "red.JPG")
    Image.new("RGB", (50, 50), (10, 10, 200)).save(folder / "blue.png")
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    (folder / "short.jpg").write_bytes((folder / "deep" / "er" / "red.JPG").read_bytes()[:300])
    bomb(folder / "bomb.png")
    code, talk, data = command(
        "textures", "images", "--images", folder, "--size", 32, "--out", tmp_path / "a.bank", "--json", "--workers", 2
    )
    assert code == 0, talk
    assert json.loads(data)["unreadable"] == ["bomb.png", "empty.png", "short.jpg", "text.jpg"]
    assert "4 images could not be read: bomb.png, empty.png, short.jpg and 1 more." in talk
    textures = open_bank(tmp_path / "a.bank").textures
    assert len(textures) == 6
    colors = {tuple(int(k) // 50 for k in texture[0, 16, 16]) for texture in textures}
    assert colors in ({(4, 0, 0), (0, 0, 4)}, {(3, 0, 0), (0, 0, 4)})


def test_a_folder_of_which_nothing_can_be_read_is_one_sentence(tmp_path):
    """No picture left: exit code 2, and no bank."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "text.jpg").write_text("no picture")
    args = ["textures", "images", "--images", folder, "--size", 32, "--out", tmp_path / "a.bank", "--workers", 1]
    assert_one_sentence(args, 2, folder, "none of its 1 images can be read")
    assert not (tmp_path / "a.bank").exists()


def test_more_textures_than_pictures_are_random_squares(tmp_path):
    """Beyond the first pass each texture is a square of its own."""
    path = tmp_path / "a.bank"
    build_bank(path, make_bank_header("images", 40, 32), bundled_images(), 1, Progress())
    textures = open_bank(path).textures
    assert len({texture.tobytes() for texture in textures}) == 40


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real pictures here")
def test_real_pictures_fill_a_preset(tmp_path):
    """A preset of natural images takes a folder of them."""
    args = ["render", "--preset", "accelerating_transforming_image_crops", "--n", 2, "--out", tmp_path / "set", *TINY]
    assert command(*args, "--images", SHARED / "images")[0] == 0
    assert command("verify", "--deep", tmp_path / "set")[0] == 0


# ---- Mixtures ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "share"), [("shapes_5_still_images", 0.05), ("shapes_25_real", 0.25), ("shapes_75_real", 0.75)]
)
def test_mixtures_are_exact_by_index(name, share):
    """Any first n clips hold floor(n share) of the others, whatever the seed."""
    mixture = synvid.load_preset(name).mixture
    replaced = np.cumsum([mixture.replaces(index) for index in range(1000)])
    assert [int(k) for k in replaced] == [int((n * round(share * 100)) // 100) for n in range(1, 1001)]
    assert mixture.rank(400) == replaced[399]


def test_a_mixed_clip_is_the_other_presets_clip():
    """In the frames of the mixture, with its own contents, and everything else is as without the mixture."""
    overrides = {"video.width": 48, "video.height": 32}
    mixed = synvid.load_preset("shapes_5_still_stylegan", overrides)
    plain = synvid.load_preset("accelerating_transforming_shapes", overrides)
    still = synvid.load_preset("still_stylegan", overrides)
    assert synvid.sample_scene(mixed, 4, 18).to_json() == synvid.sample_scene(plain, 4, 18).to_json()
    assert synvid.sample_scene(mixed, 4, 19).to_json() == synvid.sample_scene(still, 4, 19).to_json()
    frames = synvid.render(synvid.sample_scene(mixed, 4, 19), [0, 90]).frames
    np.testing.assert_array_equal(frames[0], frames[1])


def test_pools_are_mixed_half_and_half():
    """Of two banks each gives every second texture, on average."""
    choice = synvid.sample_scene(synvid.load_preset("image_stylegan_crops_150k", {"objects.count": 20_000})).textures.choice
    assert abs((choice[:-1] < 0.5).mean() - 0.5) < 0.02


@pytest.fixture
def videos(tmp_path):
    """Three films of one colour each, of other sizes and rates, a broken one, and files that are no videos."""
    folder = tmp_path / "films"
    (folder / "deep").mkdir(parents=True)
    for name, color, size, fps in (
        ("a.mp4", 40, (64, 48), 30),
        ("deep/b.mp4", 120, (32, 64), 12.5),
        ("c.mp4", 200, (48, 48), 50),
    ):
        film = np.full((round(2 * fps), size[1], size[0], 3), color, np.uint8)
        film += np.arange(len(film), dtype=np.uint8)[:, None, None, None] // 8
        (folder / name).write_bytes(encode(film, fps))
    (folder / "broken.mp4").write_bytes((folder / "a.mp4").read_bytes()[:900])
    (folder / "text.avi").write_text("no film")
    (folder / "empty.mkv").write_bytes(b"")
    (folder / "notes.txt").write_text("mine")
    return folder


def test_real_clips_are_marked_and_reproducible(videos, tmp_path):
    """Real clips have the set's size and rate; rows say which they are; what cannot be decoded is named; runs agree."""
    args = [
        "render",
        "--preset",
        "shapes_75_real",
        "--n",
        16,
        "--shard-size",
        4,
        "--real",
        videos,
        "--encoding",
        "lossless",
        *TINY,
    ]
    args += ["--set", "objects.count=5"]
    code, talk, _ = command(*args, "--out", tmp_path / "one", "--workers", 2)
    assert code == 0, talk
    assert "3 videos could not be read: broken.mp4, empty.mkv, text.avi." in talk
    rows = [json.loads(line) for line in (tmp_path / "one" / "manifest.jsonl").read_text().splitlines()]
    assert [row["preset"] == "real" for row in rows] == [i % 4 != 0 for i in range(16)]
    assert {row["file"] for row in rows} == {"", "a.mp4", "deep/b.mp4", "c.mp4"}
    assert all((row["file"] == "") == (row["preset"] != "real") for row in rows)
    assert {tuple(sorted(row)) for row in rows} == {tuple(sorted(rows[0]))}
    data = synvid.open_dataset(tmp_path / "one")
    levels = {"a.mp4": 40, "deep/b.mp4": 120, "c.mp4": 200}
    for i, row in enumerate(rows):
        if row["preset"] == "real":
            clip = data.decode(i)
            assert clip.frames.shape == (row["frames"], 32, 32, 3)
            assert 3 <= row["frames"] <= 5
            assert clip.scene is None
            assert abs(int(clip.frames.min()) - levels[row["file"]]) <= 14
            with pytest.raises(ConfigurationError, match="real clip"):
                data.render(i)
    assert command(*args, "--out", tmp_path / "two", "--workers", 1)[0] == 0
    for name in ("manifest.jsonl", "train/shard-000002.tar", "synvid.yaml"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert command("verify", "--deep", tmp_path / "one", "--workers", 1)[0] == 0
    assert [path.name for path in (tmp_path / "one" / ".synvid").iterdir() if path.suffix != ".json"] == []


def test_other_videos_are_another_dataset(videos, tmp_path):
    """A file more or less in the folder: a run that goes on, and a check of every clip, are refused; a moved folder is not."""
    args = [
        "render",
        "--preset",
        "shapes_75_real",
        "--n",
        8,
        "--real",
        videos,
        "--out",
        tmp_path / "set",
        *TINY,
        "--workers",
        1,
    ]
    assert command(*args)[0] == 0
    before = sorted((tmp_path / "set" / ".synvid").iterdir())
    videos.rename(tmp_path / "moved")
    assert_one_sentence(["verify", "--deep", tmp_path / "set"], 2, videos, "no such folder")
    recipe = ["render", "--recipe", tmp_path / "set" / "synvid.yaml", "--out", tmp_path / "copy", "--real"]
    assert command(*recipe, tmp_path / "moved")[0] == 0
    assert command("verify", "--deep", tmp_path / "copy", "--workers", 1)[0] == 0
    (tmp_path / "moved" / "aa.mp4").write_bytes((tmp_path / "moved" / "a.mp4").read_bytes())
    assert_one_sentence(["verify", "--deep", tmp_path / "copy"], 2, "does not hold the videos")
    (tmp_path / "other").mkdir()
    assert_one_sentence([*recipe[:4], tmp_path / "third", "--real", tmp_path / "moved"], 2, "does not hold the videos")
    assert sorted((tmp_path / "set" / ".synvid").iterdir()) == before


def test_a_text_that_names_a_video_is_none(videos):
    """FFmpeg would follow a list of files; it is passed over like any text."""
    from synvid.dataset.real_videos import RealVideos, UndecodableError
    from synvid.preset import Video

    (videos / "list.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    with pytest.raises(UndecodableError):
        list(RealVideos.find(videos).frame_chunks("list.mp4", Video(), 0, 0))


def test_an_encoder_that_fails_does_not_swap_videos(videos, tmp_path):
    """Only a file that cannot be decoded gives way to another."""
    from synvid.dataset.real_videos import RealVideos
    from synvid.dataset.recipe import DatasetRecipe
    from synvid.dataset.shard import render_clip

    recipe = DatasetRecipe(synvid.load_preset("shapes_75_real"), 4, real=RealVideos.find(videos))

    def fails(pieces, *_):
        next(iter(pieces))
        raise DatasetError("full")

    with pytest.raises(DatasetError, match="full"):
        render_clip(recipe, 1, fails, tmp_path / "skipped")


def test_a_long_film_is_sought_in(tmp_path):
    """A stretch from the middle of a film begins where it should, as if all before had been decoded."""
    from synvid.dataset.real_videos import RealVideos
    from synvid.preset import Video

    film = np.zeros((250, 32, 32, 3), np.uint8) + np.arange(250, dtype=np.uint8)[:, None, None, None]
    (tmp_path / "long.mp4").write_bytes(encode(film, 25.0))
    real, video = RealVideos.find(tmp_path), Video(width=32, height=32, num_frames_range=(5, 5))
    starts = []
    for index in range(8):
        levels = np.concatenate(list(real.frame_chunks("long.mp4", video, 0, index)))[:, 16, 16, 0].astype(int)
        assert len(levels) == 5
        assert np.abs(np.diff(levels) - 1).max() <= 2
        starts.append(levels[0])
    assert max(starts) - min(starts) > 60


def test_an_interrupted_wait_for_another_builder_ends(bank, tmp_path):
    """While another process builds the same bank, Ctrl-C ends the wait."""
    import fcntl

    path, header = tmp_path / "high.bank", make_bank_header("stylegan-high-freq", 70, 32, 3)
    held = os.open(tmp_path / "high.bank.part.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    process = multiprocessing.get_context("fork").Process(target=build_bank, args=(path, header, None, 1, Progress()))
    process.start()
    time.sleep(0.5)
    assert process.is_alive()
    os.kill(process.pid, signal.SIGINT)
    process.join(10)
    assert process.exitcode is not None
    assert process.exitcode != 0
    os.close(held)
    build_bank(path, header, None, 1, Progress())
    assert path.read_bytes() == bank.read_bytes()


def test_rates_are_converted(videos):
    """A film of 50 frames a second shown at 25 keeps its pace: every second frame."""
    from synvid.dataset.real_videos import RealVideos
    from synvid.preset import Video

    real = RealVideos.find(videos)
    video = Video(width=48, height=48, fps=25.0, num_frames_range=(50, 50))
    frames = np.concatenate(list(real.frame_chunks("c.mp4", video, 0, 0)))
    assert len(frames) == 50
    expected = 200 + 2 * np.arange(50) // 8
    assert np.abs(frames[:, 20, 20, 0].astype(int) - expected).max() <= 3


def test_folders_without_videos_are_one_sentence(videos, tmp_path):
    """No folder, no video, none that can be decoded: which folder, and what it lacks."""
    args = ["render", "--preset", "shapes_25_real", "--n", 8, "--out", tmp_path / "set", *TINY]
    assert_one_sentence(args, 2, "--real DIR")
    assert_one_sentence([*args, "--real", tmp_path / "nowhere"], 2, tmp_path / "nowhere", "no such folder")
    (tmp_path / "none").mkdir()
    assert_one_sentence([*args, "--real", tmp_path / "none"], 2, tmp_path / "none", "holds no video")
    for name in ("a.mp4", "deep/b.mp4", "c.mp4"):
        (videos / name).unlink()
    assert_one_sentence([*args, "--real", videos], 1, videos, "none of its videos can be decoded")


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real clips here")
def test_real_films_mix_in(tmp_path):
    """Half of the clips from films of people."""
    args = [
        "render",
        "--preset",
        "image_crops_50_real",
        "--n",
        6,
        "--out",
        tmp_path / "set",
        *TINY,
        "--real",
        SHARED / "jhmdb",
    ]
    assert command(*args)[0] == 0
    assert command("status", tmp_path / "set")[0] == 0
    assert synvid.open_dataset(tmp_path / "set").decode(1).frames.std() > 10


def test_errors_are_of_two_kinds(bank, tmp_path):
    """In Python too: a missing bank is a matter of configuration, a damaged one of the disk."""
    with pytest.raises(ConfigurationError, match="no such bank"):
        open_bank(tmp_path / "nowhere.bank")
    with pytest.raises(DatasetError, match="cut off"):
        open_bank(altered(bank, tmp_path, lambda data: data[:-1]))


def test_a_header_says_how_large_the_file_is(bank):
    """4096 bytes, the textures, a hash for every 64 of them."""
    header = open_bank(bank).header
    assert isinstance(header, BankHeader)
    assert bank.stat().st_size == header.file_bytes == 4096 + 70 * 32 * 32 * 3 + 2 * 32
