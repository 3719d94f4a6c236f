"""Machines as they are: environments of launchers, packages that do not fit, users without a home, small limits."""

import errno
import multiprocessing
import os
import socket
import struct
import sys
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image
from running import ended

import synvid
from synvid.cli.main import main
from synvid.errors import ConfigurationError, DatasetError
from synvid.paths import find_files
from synvid.runtime.local_executor import run_tasks
from synvid.runtime.progress import Progress
from synvid.textures.image_folder import read_image
from synvid_train import distributed
from synvid_train.cli.main import main as train_main
from synvid_train.data import loader
from synvid_train.distributed import DistributedContext
from synvid_train.train.run_log import RunLog, read_log

LAUNCHER = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")
HERE = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}


@pytest.fixture
def launched(monkeypatch):
    """Sets a launcher's variables, and no others of them."""

    def launch(**variables):
        for name in LAUNCHER:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return launch


# ---- Launchers -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"WORLD_SIZE": "4"}, ["WORLD_SIZE is 4, but RANK, MASTER_ADDR, MASTER_PORT are not set", "torchrun"]),
        ({"WORLD_SIZE": "4", "RANK": "1"}, ["MASTER_ADDR, MASTER_PORT are not set"]),
        ({"WORLD_SIZE": "4", **HERE}, ["RANK is not set"]),
        ({"WORLD_SIZE": "four"}, ["WORLD_SIZE is 'four'", "whole number"]),
        ({"WORLD_SIZE": "0"}, ["WORLD_SIZE is 0", "1 or more"]),
        ({"WORLD_SIZE": "2", "RANK": "2", **HERE}, ["RANK is 2, but WORLD_SIZE is 2"]),
        ({"RANK": "3"}, ["RANK is 3, but WORLD_SIZE is not set"]),
        ({"LOCAL_RANK": "1"}, ["LOCAL_RANK is 1, but WORLD_SIZE is not set"]),
        ({"LOCAL_WORLD_SIZE": "all"}, ["LOCAL_WORLD_SIZE is 'all'"]),
        ({"WORLD_SIZE": "2", "RANK": "0", **HERE, "MASTER_PORT": "http"}, ["MASTER_PORT is 'http'"]),
        ({"WORLD_SIZE": "2", "RANK": "0", **HERE, "MASTER_PORT": "70000"}, ["MASTER_PORT is 70000", "65535"]),
    ],
    ids=lambda value: " ".join(map("=".join, value.items())) if isinstance(value, dict) else "",
)
def test_half_a_launcher_is_refused(variables, named, launched, tmp_path):
    """Variables of a launcher that contradict one another, or are too few: exit code 2, one sentence that names them."""
    launched(**variables)
    code, talk, _ = ended(train_main, "pretrain", "--preset", "moving_circles", "--out", tmp_path / "run", "--device", "cpu")
    assert code == 2
    assert len(talk.splitlines()) == 1, talk
    assert all(text in talk for text in named), talk
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "variables", [{}, {"WORLD_SIZE": "1"}, {"RANK": "0"}, {"WORLD_SIZE": "", "RANK": "", "LOCAL_RANK": ""}]
)
def test_one_process_needs_no_launcher(variables, launched):
    """A world of one needs no address, whatever is set to nothing, one or rank 0."""
    launched(**variables)
    context = DistributedContext.join("cpu")
    assert (context.rank, context.world_size, context.is_main) == (0, 1, True)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_processes_that_do_not_come_are_waited_for_in_words(rank, launched, monkeypatch):
    """A process whose others were never started says what it waits for, then ends in a sentence instead of hanging."""
    with socket.socket() as free:  # a port of its own: the other rank may be tested at the same time
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launched(WORLD_SIZE="2", RANK=rank, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    monkeypatch.setattr(distributed, "_RENDEZVOUS_TIMEOUT", timedelta(seconds=1))
    said = []
    with pytest.raises(ConfigurationError, match=rf"2 processes of WORLD_SIZE could not connect through .*{port}.*torchrun"):
        DistributedContext.join("cpu", said.append)
    assert len(said) == 1
    assert f"Rank {rank} of 2 waits for the other processes" in said[0]


# ---- TensorBoard -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "error",
    [
        "ImportError('cannot import name x')",
        "AttributeError('no bool8')",
        "TypeError('Descriptors cannot be created')",
        "ModuleNotFoundError('No module named six', name='six')",
    ],
)
def test_a_broken_tensorboard_costs_its_curves_only(error, monkeypatch, tmp_path):
    """A TensorBoard that cannot be imported is told in a sentence, and the log is written."""
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "__init__.py").write_text(f"raise {error}\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith(("tensorboard", "torch.utils.tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "run").mkdir()
    said = []
    log = RunLog(tmp_path / "run", said.append)
    log.resume(0, evaluated=True)
    log.write({"step": 1, "loss": 0.5})
    assert len(said) == 1
    assert "TensorBoard is installed but cannot be used" in said[0]
    assert error.partition("'")[2].partition("'")[0] in said[0]
    assert [line["step"] for line in read_log(tmp_path / "run" / "log.jsonl")] == [1]


def test_no_tensorboard_is_no_news(monkeypatch, tmp_path):
    """Where TensorBoard is not installed nothing is said."""
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    said = []
    RunLog(tmp_path, said.append).resume(0, evaluated=True)
    assert said == []


# ---- Users without a home --------------------------------------------------------------------------------------------
def test_a_user_without_a_home_has_a_temporary_cache(monkeypatch, tmp_path):
    """No HOME, and a number that nobody in the list of users has: caches lie in a private folder among temporary files."""
    pwd = pytest.importorskip("pwd")

    from synvid import paths
    from synvid.numerics import jit

    def nobody(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(paths.tempfile, "tempdir", str(tmp_path))
    paths._temporary_folder.cache_clear()
    try:
        home = paths.cache_folder()
        assert (home.parent, home.stat().st_mode & 0o777) == (tmp_path, 0o700)
        assert paths.cache_folder() == home
        assert jit._cache_folder().startswith(str(home))
    finally:
        paths._temporary_folder.cache_clear()


@pytest.mark.parametrize("path", ["~nobody-of-that-name/set", "~nobody-of-that-name"])
def test_the_home_of_an_unknown_user_is_one_sentence(path):
    """A path in the home of a user who is not there: ConfigurationError names it."""
    import synvid

    with pytest.raises(ConfigurationError, match=r"~nobody-of-that-name.*no such user"):
        synvid.open_dataset(path)


# ---- Small limits ----------------------------------------------------------------------------------------------------
class Nothing:
    def __call__(self, _, tick):
        tick()


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EMFILE, r"too many open files: the limit of a process is \d+; raise `ulimit -n`, or use fewer --workers\."),
        (errno.ENOSPC, r"shm: No space left on device\."),
        (errno.EAGAIN, r"no more processes can be started \(`ulimit -u`, .*\); use fewer --workers\."),
    ],
    ids=["files", "shared memory", "processes"],
)
@pytest.mark.skipif(sys.platform != "linux", reason="forks, and /dev/shm")
def test_a_pool_that_cannot_begin_says_why(number, sentence, monkeypatch):
    """Where the second worker cannot be started the run ends in a sentence that names the limit, and the first one with it."""
    start, begun = multiprocessing.context.ForkProcess.start, []

    def refuse(self):
        if begun:
            raise OSError(number, os.strerror(number))
        start(self)
        begun.append(self)

    monkeypatch.setattr(multiprocessing.context.ForkProcess, "start", refuse)
    with pytest.raises(DatasetError, match=sentence):
        run_tasks(Nothing(), [(task, 1) for task in range(8)], 4, Progress())
    begun[0].join(5)
    assert begun[0].exitcode is not None


@pytest.mark.parametrize(("files", "workers"), [(64 + 10, 4), (40 + 10, 1), (30 + 10, 0), (1034, 8)])
def test_loaders_fit_into_the_files_that_may_be_open(files, workers, monkeypatch):
    """Where a process may have few files open, fewer loaders are used, and it is said; half of the files stay free."""
    monkeypatch.setattr(loader, "raise_file_limit", lambda: files)
    monkeypatch.setattr(loader, "_count_open_files", lambda: 10)
    said = []
    assert loader._prefetch([0], [0], 8, said.append)[0] == workers
    assert len(said) == (workers < 8)
    assert all(text in sentence for sentence in said for text in (f"{files} files", "--workers 8", f"{workers} are used"))


@pytest.mark.parametrize(
    "words", ["unable to open shared memory object </x>: Too many open files (24)", "received 0 items of ancdata"]
)
def test_too_many_files_of_loaders_are_one_sentence(words):
    """What torch says of too many open files names the limit, not shared memory."""
    with pytest.raises(DatasetError, match="ulimit -n"), loader.catch_worker_death():
        raise RuntimeError(words)


# ---- Files of other machines -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("end", [12, 20, 24, 30])
def test_a_picture_with_damaged_exif_is_read_as_it_lies(end, tmp_path):
    """EXIF data that end too soon cost the orientation they hold, and nothing else."""
    pixels = np.full((16, 24, 3), 80, np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera of some length"
    data = exif.tobytes()
    Image.fromarray(pixels).save(tmp_path / "whole.jpg", exif=data, quality=95)
    assert read_image(tmp_path / "whole.jpg").shape == (24, 16, 3)
    Image.fromarray(pixels).save(tmp_path / "cut.jpg", exif=data[:end], quality=95)
    assert read_image(tmp_path / "cut.jpg").shape in ((16, 24, 3), (24, 16, 3))  # turned if that much is left


def test_whatever_pillow_raises_of_exif_is_no_matter(monkeypatch, tmp_path):
    """A struct.error from Pillow's reader of EXIF ends nothing."""
    Image.fromarray(np.full((16, 24, 3), 80, np.uint8)).save(tmp_path / "one.jpg")

    def broken(_):
        raise struct.error("unpack requires a buffer of 8 bytes")

    monkeypatch.setattr("synvid.textures.image_folder.ImageOps.exif_transpose", broken)
    assert read_image(tmp_path / "one.jpg").shape == (16, 24, 3)


def test_twins_of_macos_are_passed_over(tmp_path):
    """`._x.mp4`, in which macOS keeps attributes of `x.mp4`, is no video."""
    for name in ("x.mp4", "._x.mp4", "below/y.MP4", "below/._y.MP4", ".z.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_files(tmp_path, (".mp4",)) == [".z.mp4", "below/y.MP4", "x.mp4"]


# ---- Names that loaders take for patterns ------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "sign"), [("[v1]", "["), ("{a,b}", "{"), ("a#b", "#"), ("a b.c_d-50%", "")])
def test_a_folder_that_loaders_do_not_find_is_warned_of(name, sign, tmp_path):
    """`datasets` finds no clip in a folder called [v1]; synvid does, and says so; where no warning comes it finds all."""
    datasets = pytest.importorskip("datasets")
    out = tmp_path / name / "set"
    line = ["render", "--preset", "moving_circles", "--n", 2, "--shard-size", 1, "--out", out, "--workers", 1]
    settings = ("video.width=32", "video.height=32", "objects.count=2")
    code, said, _ = ended(main, *line, *(f"--set={setting}" for setting in settings))
    assert code == 0
    assert len(synvid.open_dataset(out)) == 2
    assert (f"interpret {sign} in a path as a pattern" in said) == bool(sign)
    assert "at most 2 can share the work" in (out / "README.md").read_text()
    if name != "[v1]":
        files = datasets.load_dataset_builder(str(out)).config.data_files["train"]
        assert len(files) == 2
