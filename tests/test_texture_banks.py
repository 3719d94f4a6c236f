"""Texture banks: building, continuing an interrupted build, damage, and the commands `synvid textures`."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from PIL import Image
from texture_helpers import TINY, assert_error, build_small_bank, command

import synvid
from synvid.errors import ConfigurationError, DatasetError
from synvid.preset import TEXTURE_KINDS
from synvid.runtime.progress import Progress
from synvid.textures import stylegan
from synvid.textures.bank import BankHeader, build_bank, open_bank
from synvid.textures.bank_cache import make_bank_header
from synvid.textures.generators import GENERATORS


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """A bank of 70 small textures: two chunks."""
    return build_small_bank(tmp_path_factory.mktemp("bank"))


def test_every_texture_kind_has_a_generator():
    """The kinds of texture that presets may name are those of the registry, and images."""
    assert set(TEXTURE_KINDS) == {*GENERATORS, "images"}


def test_texture_depends_on_kind_seed_and_index_only(bank):
    """Texture i of a bank is what its generator returns for i, whatever the number of workers and textures."""
    textures = open_bank(bank).textures
    for index in (0, 63, 64, 69):
        np.testing.assert_array_equal(textures[index, 0], stylegan.sample("high_freq", 3, index, 32))
    other = bank.with_name("one.bank")
    build_bank(other, make_bank_header("stylegan-high-freq", 70, 32, 3), None, 1, Progress())
    assert other.read_bytes() == bank.read_bytes()


def test_walk_bank_holds_frames_in_order(tmp_path):
    """A bank of walks holds the frames of each texture in order."""
    path = tmp_path / "walk.bank"
    header = make_bank_header("stylegan-oriented-walk", 2, 32)
    build_bank(path, header, None, 1, Progress())
    np.testing.assert_array_equal(open_bank(path).textures[1], stylegan.walk("oriented", 0, 1, header.frames, 32))


def _build_and_die(path, header, after):
    """Build a bank in a process that is killed after some textures."""
    make, remaining = GENERATORS[header.kind].make, after

    def make_or_die(*args):
        nonlocal remaining
        remaining -= 1
        if remaining < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return make(*args)

    object.__setattr__(GENERATORS[header.kind], "make", make_or_die)
    build_bank(path, header, None, 1, Progress())


@pytest.mark.parametrize("after", [0, 10, 64, 68])
def test_killed_build_continues(after, bank, tmp_path):
    """A killed build leaves no bank; the same call continues it, and the bank is the same as without interruption."""
    path, header = tmp_path / "high.bank", make_bank_header("stylegan-high-freq", 70, 32, 3)
    process = multiprocessing.get_context("fork").Process(target=_build_and_die, args=(path, header, after))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert not path.exists()
    starts = []

    class RecordStart(Progress):
        def start(self, total, done, unit):
            starts.append((total, done, unit))

    build_bank(path, header, None, 1, RecordStart())
    assert starts == [(70, 64 if after >= 64 else 0, "texture")]
    assert path.read_bytes() == bank.read_bytes()
    assert [name.name for name in tmp_path.iterdir()] == ["high.bank"]


def test_altered_chunk_of_unfinished_bank_is_rebuilt(bank, tmp_path):
    """Chunks of an unfinished bank are checked before they are kept."""
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


def test_two_concurrent_builds_give_one_bank(bank, tmp_path):
    """Two processes that build the same bank both succeed, and the bank is the same as with one."""
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


def test_existing_bank_is_kept_and_other_bank_refused(bank):
    """A finished bank is left unchanged; another bank under the same name is refused."""
    before = bank.stat().st_mtime_ns
    args = ["textures", "build", "stylegan-high-freq", "--n", 70, "--size", 32, "--seed", 3, "--out", bank]
    assert command(*args)[0] == 0
    assert bank.stat().st_mtime_ns == before
    assert_error([*args[:4], 71, *args[5:]], 2, bank, "another")


def altered(bank, tmp_path, change):
    """A copy of a bank with changed bytes."""
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
        (lambda data: b"PK\x03\x04" + bytes(data), 2, ["is not a texture bank"]),
        (lambda _: b"", 2, ["is not a texture bank"]),
    ],
    ids=["short", "header only", "long", "texture", "hash", "header", "nonsense", "format", "foreign", "empty"],
)
def test_damaged_bank_is_an_error(change, code, words, bank, tmp_path):
    """For a truncated, altered or foreign bank, `render` names file and problem, and writes nothing."""
    path, out = altered(bank, tmp_path, change), tmp_path / "set"
    args = ["render", "--preset", "accelerating_transforming_textures", "--n", 2, "--out", out, *TINY]
    assert_error([*args, "--textures", f"statistical={path}"], code, path, *words)
    assert not out.exists()


def test_verify_checks_every_texture(bank, tmp_path):
    """`synvid textures verify` detects a single changed bit."""
    assert command("textures", "verify", bank)[0] == 0
    path = altered(bank, tmp_path, lambda data: flip(data, len(data) - 500))
    assert_error(["textures", "verify", path], 1, path, "textures 64 to 69")


def test_check_reads_at_most_the_limit(tmp_path, monkeypatch):
    """With room for two of three chunks, `Bank.check` reads two, at both ends of the bank."""
    path, header = tmp_path / "three.bank", make_bank_header("stylegan-high-freq", 130, 32)
    build_bank(path, header, None, 1, Progress())
    monkeypatch.setattr("synvid.textures.bank._MAX_CHECKED_BYTES", 2 * 64 * header.texture_bytes)
    counts = []
    open_bank(path).check(on_progress=counts.append)
    assert counts == [64, 2]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["build", "statistical", "--out", "a.bin"], ["a.bin", ".bank"]),
        (["build", "statistical", "--size", 100, "--out", "a.bank"], ["100", "multiples of 16"]),
        (["build", "stylegan-oriented", "--size", 100, "--out", "a.bank"], ["100", "32, 64, 128, 256, 512"]),
        (["build", "images", "--images", "nowhere", "--out", "a.bank"], ["nowhere", "no such folder"]),
        (["build", "statistical", "--seed", -1, "--out", "a.bank"], ["seed is -1"]),
        (["show", "nowhere.bank"], ["nowhere.bank", "no such bank"]),
    ],
    ids=lambda value: " ".join(value[:2]),
)
def test_wrong_arguments_of_textures_are_errors(args, words, tmp_path, monkeypatch):
    """Wrong arguments of `synvid textures` end with exit code 2, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert_error(["textures", *args], 2, *words)
    assert list(tmp_path.iterdir()) == []


def test_bytes_beyond_last_texel_are_mapped(tmp_path):
    """If the textures end at a page boundary, reading the last texel, 8 bytes at a time, stays inside the mapping."""
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


def test_show_draws_contact_sheet(bank, tmp_path):
    """`synvid textures show` draws textures side by side."""
    out = tmp_path / "sheet.png"
    assert command("textures", "show", bank, "--out", out)[0] == 0
    with Image.open(out) as sheet:
        assert sheet.size == (12 * 100 - 4, 6 * 100 - 4)


def test_ctrl_c_ends_waiting_for_another_build(bank, tmp_path):
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


def test_missing_and_damaged_banks_raise_different_errors(bank, tmp_path):
    """A missing bank raises ConfigurationError, a damaged one DatasetError."""
    with pytest.raises(ConfigurationError, match="no such bank"):
        open_bank(tmp_path / "nowhere.bank")
    with pytest.raises(DatasetError, match="cut off"):
        open_bank(altered(bank, tmp_path, lambda data: data[:-1]))


def test_header_gives_file_size(bank):
    """A file has 4096 bytes, the textures, and a hash for every 64 of them."""
    header = open_bank(bank).header
    assert isinstance(header, BankHeader)
    assert bank.stat().st_size == header.file_bytes == 4096 + 70 * 32 * 32 * 3 + 2 * 32
