"""Whatever is killed, full, altered or run twice: the same command again gives the undisturbed dataset."""

import contextlib
import functools
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
from running import ended

from synvid.cli.main import main
from synvid.dataset import shard as rendering
from synvid.dataset.layout import record_path
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.record import ShardRecord
from synvid.dataset.shard import render_clip
from synvid.dataset.verify import ShardState, shard_state
from synvid.preset import load_preset
from synvid.runtime import local_executor
from synvid.storage.atomic_io import file_sha256

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, signals and mounts as Linux has them")

SHARDS, CLIPS = 6, 24
MANIFEST = {"tar": "manifest.jsonl", "files": "metadata.jsonl"}

SMALL = """
extends: moving_shapes
video: {width: 32, height: 32, num_frames_range: [4, 8]}
objects: {count: 20}
"""
#: Slow enough to be hit in the middle: about a quarter of a second for two workers.
SLOW = """
extends: moving_shapes
video: {width: 64, height: 64, num_frames_range: [100, 120]}
objects: {count: 100}
"""

both_layouts = pytest.mark.parametrize("layout", ["tar", "files"])


# ---- Running synvid ------------------------------------------------------------------------------------------------
Ended = namedtuple("Ended", "code talk data")  # noqa: PYI024  # exit code, stderr, stdout


def synvid(*args):
    """Run a command in this process."""
    return Ended(*ended(main, *args))


class Run:
    """A command in a process group of its own, forked from this one, which has everything compiled."""

    def __init__(self, folder, *args, before=None):
        self.log = folder.with_name(f"{folder.name}-{time.monotonic_ns()}.log")
        child = functools.partial(_child, [str(arg) for arg in args], self.log, before)
        self.process = multiprocessing.get_context("fork").Process(target=child)
        self.process.start()
        self.group = self.process.pid
        while self.process.is_alive() and os.getpgid(self.group) != self.group:
            time.sleep(0.001)

    def workers(self):
        with contextlib.suppress(psutil.NoSuchProcess):
            return [child for child in psutil.Process(self.group).children() if _lives(child)]
        return []

    def signal(self, number, group=False):
        """Send a signal, unless the command has ended."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.group, number)

    def end(self):
        """Wait for the command and all its workers, then say how it ended."""
        self.process.join(60)
        assert self.process.exitcode is not None, "hangs"
        until(lambda: not any(_lives(process) and _group_of(process) == self.group for process in psutil.process_iter()))
        return Ended(self.process.exitcode, self.log.read_text(), "")


def _child(args, log, before):
    os.setsid()
    sys.stdout = sys.stderr = log.open("w", buffering=1)
    os.dup2(sys.stderr.fileno(), 2)
    if before:
        before()
    main(args)


def _lives(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _group_of(process):
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(process.pid)
    return None


def until(condition, seconds=20.0):
    """Wait for something; fail if it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


# ---- What a folder should be -----------------------------------------------------------------------------------------
def tree(folder):
    """Everything under a folder, hidden files too: relative path to bytes, None for folders."""
    return {path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}


def assert_same(folder, expected):
    """The same paths and the same bytes; says which differ, not how."""
    found = tree(folder)
    assert sorted(found) == sorted(expected)
    assert [name for name in found if found[name] != expected[name]] == []


def assert_tidy(folder, expected):
    """No temporary files, every shard whole, and every record as its shard is; how many records there are."""
    found = tree(folder)
    assert [name for name in found if Path(name).name.startswith((".", "tmp-")) and name != ".synvid"] == []
    if "synvid.yaml" not in found:
        return 0
    recipe, recorded = DatasetRecipe.load(folder), set()
    for shard in range(recipe.num_shards):
        record = ShardRecord.read(recipe, folder, shard)
        for file in record.files if record else []:
            assert file_sha256(folder / file["path"]) == file["sha256"]
            recorded.add(file["path"])
    shards = {name for name, data in found.items() if data is not None and name.endswith((".tar", ".mp4"))}
    assert recorded <= shards
    assert [name for name in shards & set(expected) if found[name] != expected[name]] == []
    return len(list(folder.glob(".synvid/shard-*.json")))


def assert_one_sentence(ended, code, *words):
    """One line of talk with these words in it besides progress, no traceback, and this exit code."""
    lines = [line for line in ended.talk.strip().splitlines() if not re.search(r": \d+ of \d+ clips \(\d+ %\)", line)]
    assert (ended.code, len(lines)) == (code, 1), ended.talk
    assert lines[0].startswith("synvid: ")
    for word in words:
        assert str(word) in lines[0]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A preset whose clips take a millisecond; renders one, so that forked processes find everything compiled."""
    path = tmp_path_factory.mktemp("presets") / "small.yaml"
    path.write_text(SMALL)
    recipe = DatasetRecipe(load_preset(path), 1)
    render_clip(recipe, 0, recipe.make_encoder())
    return path


@pytest.fixture(scope="module")
def slow(small):
    """A preset whose clips take some ten milliseconds."""
    path = small.with_name("slow.yaml")
    path.write_text(SLOW)
    return path


def command(preset, layout, out, *more, workers=2, n=CLIPS, size=4):
    """The command that all of these tests disturb."""
    what = ["--preset", preset, "--n", n, "--shard-size", size, "--format", layout]
    return ["render", *what, "--out", out, "--workers", workers, *more]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a preset gives in a layout when nothing goes wrong, as a tree; made once each."""

    @functools.cache
    def make(preset, layout, n=CLIPS, size=4):
        folder = tmp_path_factory.mktemp("undisturbed") / "set"
        assert synvid(*command(preset, layout, folder, n=n, size=size)).code == 0
        return tree(folder)

    return make


@pytest.fixture
def finished(small, tmp_path):
    """Render a dataset in a layout, and give its folder."""

    def make(layout, name="set"):
        folder = tmp_path / name
        assert synvid(*command(small, layout, folder)).code == 0
        return folder

    return make


# ---- Killed --------------------------------------------------------------------------------------------------------
@both_layouts
@pytest.mark.parametrize("share", [random.Random(moment).uniform(0.02, 1.0) for moment in range(6)])
def test_a_run_killed_at_any_moment_goes_on(layout, share, slow, undisturbed, tmp_path):
    """Kill -9 of the whole group at a random moment, then the same command: every byte as if nothing had happened."""
    expected, folder = undisturbed(slow, layout), tmp_path / "set"
    run = Run(folder, *command(slow, layout, folder))
    time.sleep(share * 0.4)
    run.signal(signal.SIGKILL, group=True)
    run.end()
    assert synvid(*command(slow, layout, folder)).code == 0
    assert_same(folder, expected)


class KillAt:
    """Kill this process just before its k-th change of anything in a folder."""

    def __init__(self, folder, k):
        self.folder, self.left = str(folder), k

    def __call__(self):
        sys.addaudithook(self.see)

    def see(self, event, args):
        changes = ("os.rename", "os.mkdir", "os.remove", "os.rmdir")
        is_change = event in changes or (event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR))
        if is_change and isinstance(args[0], str | os.PathLike) and os.fspath(args[0]).startswith(self.folder):
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


def prepare_nothing(folder, small, layout):
    return command(small, layout, folder, **TWO_SHARDS)


def prepare_damage(folder, small, layout):
    """A shard that `verify` has found damaged."""
    assert synvid(*command(small, layout, folder, **TWO_SHARDS)).code == 0
    damage_truncated(shard_file(folder, layout, 1, size=1))
    assert synvid("verify", folder, "--workers", 1).code == 1
    return command(small, layout, folder, **TWO_SHARDS)


def prepare_overwrite(folder, small, layout):
    """A set of another configuration, and layout."""
    other = "files" if layout == "tar" else "tar"
    assert synvid(*command(small, other, folder, "--seed", 9, **TWO_SHARDS)).code == 0
    return command(small, layout, folder, "--overwrite", **TWO_SHARDS)


def prepare_merge(folder, small, layout):
    """Two parts to be joined."""
    parts = [folder.with_name(f"part-{i}") for i in range(2)]
    for i, part in enumerate(parts):
        assert synvid(*command(small, layout, part, "--part", f"{i}/2", **TWO_SHARDS)).code == 0
    return ["merge", folder, *parts]


TWO_SHARDS = {"n": 2, "size": 1, "workers": 1}


@both_layouts
@pytest.mark.parametrize("prepare", [prepare_nothing, prepare_damage, prepare_overwrite, prepare_merge])
def test_a_run_killed_before_any_change_of_the_disk_goes_on(layout, prepare, small, undisturbed, tmp_path):
    """Killed before its first, second, third, ... change of the folder, every time the same command mends it."""
    expected, start, folder = undisturbed(small, layout, 2, 1), tmp_path / "start", tmp_path / "set"
    args = [folder if arg == start else arg for arg in prepare(start, small, layout)]
    for k in range(layout == "files", 1000, 2):  # the layouts share the work: even moments in one, odd ones in the other
        if start.exists():
            shutil.copytree(start, folder)
        ended = Run(folder, *args, before=KillAt(folder, k)).end()
        if ended.code == 0:
            break
        assert ended.code == -signal.SIGKILL, ended.talk
        again = synvid(*args)
        assert again.code == 0, f"killed before change {k}: {again.talk}"
        assert_same(folder, expected)
        shutil.rmtree(folder)
    assert k > 10
    assert_same(folder, expected)


@both_layouts
def test_a_killed_worker_costs_nothing(layout, slow, undisturbed, tmp_path):
    """Kill -9 of one worker in the middle: the run itself makes good for it, and nothing is left to see."""
    expected, folder = undisturbed(slow, layout), tmp_path / "set"
    run = Run(folder, *command(slow, layout, folder))
    until(lambda: list(folder.glob(".synvid/shard-*.json")))
    run.workers()[0].kill()
    ended = run.end()
    assert (ended.code, "Traceback" in ended.talk) == (0, False), ended.talk
    assert_same(folder, expected)
    assert synvid(*command(slow, layout, folder)).code == 0
    assert_same(folder, expected)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_die_again_and_again_are_reported(small, undisturbed, tmp_path):
    """Where every worker dies at once, the run gives up, says which shards failed and why, and can be repeated."""
    folder = tmp_path / "set"

    def workers_die():
        local_executor._begin_worker = die

    ended = Run(folder, *command(small, "tar", folder), before=workers_die).end()
    assert (ended.code, "Traceback" in ended.talk) == (1, False), ended.talk
    assert "train/shard-000005.tar: its worker died 3 times" in ended.talk
    assert "6 shards failed" in ended.talk
    assert_tidy(folder, {})
    assert synvid(*command(small, "tar", folder)).code == 0
    assert_same(folder, undisturbed(small, "tar"))


@both_layouts
def test_no_worker_outlives_its_parent(layout, slow, undisturbed, tmp_path):
    """Kill -9 of the parent alone: within seconds no worker is left, and the same command goes on."""
    expected, folder = undisturbed(slow, layout), tmp_path / "set"
    run = Run(folder, *command(slow, layout, folder))
    until(lambda: len(run.workers()) == 2 and list(folder.glob(".synvid/tmp-*")))
    workers = run.workers()
    run.signal(signal.SIGKILL)
    until(lambda: not any(map(_lives, workers)), seconds=5)
    run.end()
    assert synvid(*command(slow, layout, folder)).code == 0
    assert_same(folder, expected)


def test_no_worker_outlives_a_parent_that_died_early(slow, tmp_path):
    """A worker whose parent is killed before the worker has begun its work notices that, too."""
    folder = tmp_path / "set"

    def workers_begin_late():
        begin = local_executor._begin_worker
        local_executor._begin_worker = lambda *args: (time.sleep(0.3), begin(*args))

    run = Run(folder, *command(slow, "tar", folder), before=workers_begin_late)
    until(lambda: len(run.workers()) == 2)
    workers = run.workers()
    run.signal(signal.SIGKILL)
    until(lambda: not any(map(_lives, workers)), seconds=5)


# ---- Interrupted ---------------------------------------------------------------------------------------------------
def clips_take_their_time():
    """In this process and its workers, from now on, so that there is a middle to interrupt on any machine."""
    quick = rendering.render_clip

    def slowly(*args):
        time.sleep(0.03)
        return quick(*args)

    rendering.render_clip = slowly


@both_layouts
@pytest.mark.parametrize("group", [False, True], ids=["parent", "group"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_is_tidy(layout, group, number, code, workers, small, undisturbed, tmp_path):
    """Ctrl-C and SIGTERM, to the parent or to all: the right exit code, finished shards kept, no temporary file left."""
    expected, folder = undisturbed(small, layout), tmp_path / "set"
    run = Run(folder, *command(small, layout, folder, workers=workers), before=clips_take_their_time)
    until(lambda: list(folder.glob(".synvid/shard-*.json")))
    time.sleep(random.Random(f"{layout} {group} {number} {workers}").uniform(0, 0.05))
    run.signal(number, group)
    ended = run.end()
    assert (ended.code, "Traceback" in ended.talk) == (code, False), ended.talk
    assert 1 <= assert_tidy(folder, expected) < SHARDS
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*/*") if path.suffix == ".tar"}
    assert synvid(*command(small, layout, folder)).code == 0
    assert_same(folder, expected)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
@pytest.mark.parametrize("moment", range(4))
def test_a_run_interrupted_at_its_beginning_ends_at_once(number, code, moment, slow, tmp_path):
    """A signal while workers are being started or tasks handed out does not wait for all the work to be done."""
    folder, many = tmp_path / "set", 4000
    run = Run(folder, *command(slow, "tar", folder, n=many))
    until((folder / "synvid.yaml").exists)
    time.sleep(random.Random(moment).uniform(0, 0.08))
    begin = time.monotonic()
    run.signal(number)
    ended = run.end()
    assert (ended.code, "Traceback" in ended.talk) == (code, False), ended.talk
    assert time.monotonic() - begin < 5
    assert [path for path in folder.rglob("*") if path.name.startswith("tmp-")] == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_a_run_interrupted_while_it_starts_a_worker_ends(number, code, slow, tmp_path):
    """A signal just after the first worker has been started, before there is a second, does not leave half a pool waiting."""
    folder = tmp_path / "set"

    def starting_a_worker_interrupts():
        start = multiprocessing.context.ForkProcess.start
        multiprocessing.context.ForkProcess.start = lambda self: (start(self), os.kill(os.getpid(), number))

    run = Run(folder, *command(slow, "tar", folder), before=starting_a_worker_interrupts)
    ended = run.end()
    assert (ended.code, "Traceback" in ended.talk) == (code, False), ended.talk
    assert_tidy(folder, {})


class InterruptAtLock:
    """Interrupt this process just after it has taken its k-th lock, as bad luck might, while its workers work."""

    def __init__(self, k):
        self.left = k

    def __call__(self):
        clips_take_their_time()
        run_pool, self.home = local_executor._run_pool, os.getpid()

        def watched(*args):
            sys.setprofile(self.see)
            return run_pool(*args)

        local_executor._run_pool = watched

    def see(self, _frame, event, function):
        if event == "c_return" and function.__name__ in ("acquire", "__enter__") and os.getpid() == self.home:
            self.left -= 1
            if self.left == 0:
                os.kill(self.home, signal.SIGINT)


@pytest.mark.parametrize("k", [*range(1, 40, 6), *range(40, 640, 60)])
def test_a_run_interrupted_while_it_holds_a_lock_ends(k, small, tmp_path):
    """Ctrl-C between taking a lock and being able to give it back does not leave workers or threads waiting for ever."""
    folder = tmp_path / "set"
    run = Run(folder, *command(small, "tar", folder, size=1), before=InterruptAtLock(k))
    run.process.join(10)
    ended = run.process.exitcode
    run.signal(signal.SIGKILL, group=True)
    assert ended in (0, 130), run.log.read_text()
    assert "Traceback" not in run.log.read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_the_program_itself_can_be_interrupted(number, code, slow, undisturbed, tmp_path):
    """The installed program, started as a user starts it, keeps the same promises."""
    folder = tmp_path / "set"
    args = [sys.executable, "-m", "synvid", *map(str, command(slow, "tar", folder, n=4 * CLIPS))]
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        until(lambda: list(folder.glob(".synvid/shard-*.json")))
        os.killpg(process.pid, number)
        data, talk = process.communicate(timeout=20)
    assert process.returncode == code
    assert data == ""
    assert "Traceback" not in talk
    if number == signal.SIGINT:
        assert talk.strip() == "synvid: interrupted; finished work is kept, and the same command continues from there."
    assert assert_tidy(folder, undisturbed(slow, "tar")) >= 1


# ---- Disks ---------------------------------------------------------------------------------------------------------
@both_layouts
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("limit", [100, 2500])
def test_a_limit_on_file_sizes_is_one_sentence(layout, workers, limit, small, undisturbed, tmp_path):
    """Where the recipe or a shard cannot be written whole: one sentence, exit code 1, nothing half-written."""
    folder = tmp_path / "set"
    run = Run(
        folder,
        *command(small, layout, folder, workers=workers),
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert_one_sentence(run.end(), 1, "File too large")
    assert assert_tidy(folder, {}) == 0
    assert synvid(*command(small, layout, folder)).code == 0
    assert_same(folder, undisturbed(small, layout))


@pytest.fixture
def disk(tmp_path):
    """Mount a small disk, or mount it anew with other options and what is on it; gone at the end."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def mount(options):
        nonlocal mounted
        options = f"remount,{options}" if mounted else options
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
        mounted = True
        return place

    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    yield mount
    if mounted:
        subprocess.run(["umount", "-l", place], check=True)


@both_layouts
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("space", ["4k", "32k", "80k"])
def test_a_full_disk_is_one_sentence(layout, workers, space, small, undisturbed, disk):
    """A disk that is full at the recipe or at some shard: one sentence; with more space, the same command goes on."""
    folder = disk(f"size={space}") / "set"
    run = Run(folder.parent.with_name("log"), *command(small, layout, folder, workers=workers))
    assert_one_sentence(run.end(), 1, folder, "No space left on device")
    assert_tidy(folder, undisturbed(small, layout))
    disk("size=10m")
    assert synvid(*command(small, layout, folder)).code == 0
    assert_same(folder, undisturbed(small, layout))


def test_a_folder_below_a_file_is_one_sentence(small, tmp_path):
    """No folder can be made below a file: one sentence that names it, exit code 1."""
    (tmp_path / "file").write_text("mine")
    assert_one_sentence(synvid(*command(small, "tar", tmp_path / "file" / "sub")), 1, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@both_layouts
def test_a_read_only_disk(layout, small, disk):
    """A finished set on a read-only disk can be asked, checked and found finished; nothing can be added to it."""
    folder = disk("size=10m") / "set"
    assert synvid(*command(small, layout, folder)).code == 0
    disk("ro")
    assert synvid("status", folder).code == 0
    assert synvid("verify", folder, "--workers", 1).code == 0
    again = synvid(*command(small, layout, folder))
    assert again.code == 0, again.talk
    other = folder.with_name("other")
    assert_one_sentence(synvid(*command(small, layout, other)), 1, other, "Read-only file system")
    assert_one_sentence(
        synvid(*command(small, layout, folder, "--seed", 5, "--overwrite")), 1, folder, "Read-only file system"
    )


# ---- Altered -------------------------------------------------------------------------------------------------------
def shard_file(folder, layout, shard, size=4):
    """A file of a shard of so many clips."""
    if layout == "tar":
        return folder / "train" / f"shard-{shard:06d}.tar"
    return folder / "videos" / f"{shard:06d}" / f"{shard * size + size // 2:09d}.mp4"


def damage_truncated(path):
    path.write_bytes(path.read_bytes()[:-700])


def damage_longer(path):
    path.write_bytes(path.read_bytes() + b"\0" * 512)


def damage_one_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def damage_deleted(path):
    path.unlink()


@both_layouts
@pytest.mark.parametrize("damage", [damage_truncated, damage_longer, damage_one_byte, damage_deleted])
def test_damage_is_found_and_mended(layout, damage, small, undisturbed, finished):
    """`verify` names a damaged shard and exits with 1, `status` knows of it, the next `render` makes that one anew."""
    folder = finished(layout)
    damage(shard_file(folder, layout, 3))
    found = synvid("verify", folder, "--workers", 2)
    assert found.code == 1
    assert shard_file(Path(), layout, 3).as_posix().rpartition("/00000001")[0] in found.talk
    assert "1 of 6 shards are damaged or missing" in found.talk
    assert json.loads(synvid("status", folder, "--json").data)["damaged"] == [3]
    mended = synvid(*command(small, layout, folder))
    assert mended.code == 0
    assert f"{4} clips rendered, {20} already rendered" in mended.talk
    assert_same(folder, undisturbed(small, layout))
    assert synvid("verify", folder, "--workers", 1).code == 0


@both_layouts
@pytest.mark.parametrize("damage", [damage_truncated, damage_deleted])
def test_a_shard_of_another_size_is_mended_without_verify(layout, damage, small, undisturbed, finished):
    """What the sizes of files show, `render` sees by itself."""
    folder = finished(layout)
    damage(shard_file(folder, layout, 0))
    assert json.loads(synvid("status", folder, "--json").data)["damaged"] == [0]
    assert synvid(*command(small, layout, folder)).code == 0
    assert_same(folder, undisturbed(small, layout))


@both_layouts
@pytest.mark.parametrize(
    "record", [b"", b"{}", b'{"files": [], "rows": []}', b"[1]", b"\xff\xfe", b'{"files": 5, "rows": 5}', None]
)
def test_a_damaged_record_is_mended(layout, record, small, undisturbed, finished):
    """A shard's record that is gone, empty or nonsense: `verify` says so, and the shard is rendered anew."""
    folder = finished(layout)
    path = record_path(folder, 4)
    path.unlink() if record is None else path.write_bytes(record)
    found = synvid("verify", folder, "--workers", 1)
    assert (found.code, "Traceback" in found.talk) == (1, False), found.talk
    assert "000004" in found.talk
    assert synvid("status", folder).code == 0
    assert synvid(*command(small, layout, folder)).code == 0
    assert_same(folder, undisturbed(small, layout))


@both_layouts
@pytest.mark.parametrize(
    ("which", "damage"),
    [
        ("manifest", damage_one_byte),
        ("manifest", damage_deleted),
        ("lists/videomae.csv", damage_one_byte),
        ("lists/videomae.csv", damage_deleted),
        ("README.md", damage_deleted),
    ],
)
def test_altered_descriptions_are_found_and_merge_mends_them(layout, which, damage, small, undisturbed, finished):
    """`verify` names a manifest, card or list that is not as written, and `merge` writes it anew."""
    folder = finished(layout)
    name = MANIFEST[layout] if which == "manifest" else which
    damage(folder / name)
    found = synvid("verify", folder, "--workers", 1)
    assert found.code == 1
    assert f"{name}: was modified or is missing; `synvid merge {folder}` writes it again" in found.talk
    assert synvid("merge", folder).code == 0
    assert_same(folder, undisturbed(small, layout))
    assert synvid("verify", folder, "--workers", 1).code == 0


@both_layouts
def test_status_while_a_shard_comes_and_goes(layout, finished):
    """`status` answers whatever happens to the files at the same time."""
    folder, stop, answers = finished(layout), threading.Event(), []
    path = shard_file(folder, layout, 2)
    aside = folder.with_name("aside")

    def come_and_go():
        while not stop.is_set():
            path.replace(aside)
            time.sleep(0.0005)
            aside.replace(path)
            time.sleep(0.0005)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(60):
            ended = synvid("status", folder, "--json")
            assert ended.code == 0
            answers.append(json.loads(ended.data))
    finally:
        stop.set()
        thread.join()
    assert {tuple(answer["done"]) for answer in answers} <= {(0, 1, 2, 3, 4, 5), (0, 1, 3, 4, 5)}
    assert {tuple(answer["damaged"]) for answer in answers} == {(), (2,)}


# ---- Several runs --------------------------------------------------------------------------------------------------
@both_layouts
@pytest.mark.parametrize("apart", [0.0, 0.001, 0.002, 0.005, 0.02, 0.05])
def test_two_runs_on_one_folder(layout, apart, small, undisturbed, tmp_path):
    """Two runs on one folder at the same moment both end well, and the set is the undisturbed one."""
    folder = tmp_path / "set"
    runs = []
    for _ in range(2):
        runs.append(Run(folder, *command(small, layout, folder)))
        time.sleep(apart)
    for run in runs:
        ended = run.end()
        assert (ended.code, "Traceback" in ended.talk) == (0, False), ended.talk
    assert_same(folder, undisturbed(small, layout))


@both_layouts
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_parts_in_one_folder(layout, order, small, undisturbed, tmp_path):
    """Parts one after the other, in any order, make up the whole set; only the last says that it is finished."""
    folder = tmp_path / "set"
    for i in order:
        ended = synvid(*command(small, layout, folder, "--part", f"{i}/3", "--json"))
        assert ended.code == 0
        assert json.loads(ended.data)["finished"] == (i == order[-1])
        assert json.loads(ended.data)["clips"] == 8
    assert_same(folder, undisturbed(small, layout))


@both_layouts
def test_a_part_sees_what_is_missing_of_the_others(layout, small, undisturbed, finished):
    """Where a shard of another part has been deleted, a part that has nothing to do does not call the set finished."""
    folder = finished(layout)
    shard_file(folder, layout, 4).unlink()
    ended = synvid(*command(small, layout, folder, "--part", "0/3", "--json"))
    assert (ended.code, json.loads(ended.data)["finished"]) == (0, False)
    assert "The other parts are still missing" in ended.talk
    ended = synvid(*command(small, layout, folder, "--part", "1/3", "--json"))
    assert (ended.code, json.loads(ended.data)["finished"]) == (0, True)
    assert_same(folder, undisturbed(small, layout))


@both_layouts
def test_parts_at_once(layout, small, undisturbed, tmp_path):
    """Parts rendered at the same moment into one folder make up the whole set."""
    for attempt in range(3):
        folder = tmp_path / f"set-{attempt}"
        runs = [Run(folder, *command(small, layout, folder, "--part", f"{i}/3", workers=1)) for i in range(3)]
        assert [run.end().code for run in runs] == [0, 0, 0]
        assert_same(folder, undisturbed(small, layout))


@both_layouts
def test_parts_in_folders_of_their_own(layout, small, undisturbed, tmp_path):
    """Parts rendered into three folders, even by way of one that is not whole, are merged to the whole set."""
    folder = tmp_path / "set"
    parts = [tmp_path / f"part-{i}" for i in range(3)]
    for i, part in enumerate(parts):
        assert synvid(*command(small, layout, part, "--part", f"{i}/3")).code == 0
    missing = synvid("merge", folder, parts[2], parts[0])
    assert missing.code == 1
    assert "2 shards are still missing" in missing.talk
    assert not (folder / MANIFEST[layout]).exists()
    assert json.loads(synvid("status", folder, "--json").data)["missing"] == [1, 4]
    assert synvid("merge", folder, *parts).code == 0
    assert_same(folder, undisturbed(small, layout))


@both_layouts
def test_merge_does_not_take_over_altered_shards(layout, small, tmp_path):
    """A part with an altered shard is not merged as if it were right: one sentence that names the file."""
    folder, part = tmp_path / "set", tmp_path / "part"
    assert synvid(*command(small, layout, part, n=8)).code == 0
    damage_one_byte(shard_file(part, layout, 1))
    assert_one_sentence(synvid("merge", folder, part, "--quiet"), 1, shard_file(part, layout, 1), "altered")
    assert shard_state(DatasetRecipe.load(folder), folder, 1) is ShardState.MISSING


def test_merge_of_another_configuration_is_refused(small, tmp_path):
    """A part of another seed is no part of this set: exit code 2, and the sentence names what differs."""
    folder, other = tmp_path / "set", tmp_path / "other"
    assert synvid(*command(small, "tar", folder, "--part", "0/2", n=8)).code == 0
    assert synvid(*command(small, "tar", other, "--part", "1/2", "--seed", 7, n=8)).code == 0
    before = tree(folder)
    assert_one_sentence(synvid("merge", folder, other), 2, other, "seed: 0, 7")
    assert_same(folder, before)


def slurm_array(monkeypatch, task, low, high, step, count):
    """The environment of a task of an array, as Slurm sets it; None is not set."""
    for name, value in {"ID": task, "MIN": low, "MAX": high, "STEP": step, "COUNT": count}.items():
        if value is None:
            monkeypatch.delenv(f"SLURM_ARRAY_TASK_{name}", raising=False)
        else:
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))


@pytest.mark.parametrize("first", [0, 1])
def test_slurm_array_tasks_are_parts(first, small, undisturbed, tmp_path, monkeypatch):
    """Tasks of a whole Slurm array, from 0 or 1, make up the whole set; each says which part it takes, even with --quiet."""
    folder = tmp_path / "set"
    for i in range(3):
        slurm_array(monkeypatch, first + i, first, first + 2, 1, 3)
        ended = synvid(*command(small, "tar", folder, "--json", "--quiet"))
        assert ended.code == 0
        assert ended.talk == f"Rendering part {i}/3 (counted from 0), from SLURM_ARRAY_TASK_ID; --part 0/1 renders all.\n"
        assert json.loads(ended.data)["clips"] == CLIPS / 3
    assert_same(folder, undisturbed(small, "tar"))


def test_a_part_asked_for_comes_before_slurms(small, tmp_path, monkeypatch):
    """--part says more than the environment does."""
    slurm_array(monkeypatch, 2, 0, 2, 1, 3)
    ended = synvid(*command(small, "tar", tmp_path / "set", "--part", "0/6"))
    assert (ended.code, "SLURM" in ended.talk) == (0, False)
    assert [path.name for path in (tmp_path / "set" / "train").iterdir()] == ["shard-000000.tar"]


def test_all_is_rendered_in_an_array_where_asked_for(small, undisturbed, tmp_path, monkeypatch):
    """--part 0/1 renders the whole set in a task of an array, as the tasks of a sweep want it."""
    slurm_array(monkeypatch, 3, 1, 7, 1, 3)
    assert synvid(*command(small, "tar", tmp_path / "set", "--part", "0/1")).code == 0
    assert_same(tmp_path / "set", undisturbed(small, "tar"))


@pytest.mark.parametrize(
    "array",
    [
        ("x", 0, 2, 1, 3),
        (3, 0, 2, 1, 3),
        (-1, 0, 2, 1, 3),
        (0, 0, 0, 1, 0),
        (2, 2, 2, 1, 1),
        (0, 0, 0, 1, 1),
        (3, 1, 7, 1, 3),
        (11, 10, 11, 1, 2),
        (2, 0, 4, 2, 3),
        (1, None, None, None, None),
        (1, 0, None, 1, 3),
    ],
    ids=["no number", "above", "below", "none", "one again", "one", "gaps", "from 10", "steps", "task only", "no maximum"],
)
def test_an_array_that_may_not_be_one_of_parts_is_refused(array, small, tmp_path, monkeypatch):
    """Tasks done again, arrays with gaps, nonsense: exit code 2, and the sentence names Slurm's variable and --part."""
    slurm_array(monkeypatch, *array)
    ended = synvid(*command(small, "tar", tmp_path / "set", "--quiet"))
    assert_one_sentence(ended, 2, "SLURM_ARRAY_TASK_ID", "--part I/N", "--part 0/1")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("more", [[], ["--quiet"]], ids=["", "quiet"])
def test_an_empty_part_says_so(more, small, tmp_path):
    """A part beyond the last shard renders nothing, and says why: exit code 0."""
    ended = synvid(*command(small, "tar", tmp_path / "set", "--part", f"{SHARDS}/9", *more))
    assert ended.code == 0
    assert f"Part {SHARDS}/9 is empty: the dataset has {SHARDS} shards." in ended.talk
    assert not list((tmp_path / "set").glob("train/*"))


# ---- Another dataset, other people's files ---------------------------------------------------------------------------
FOREIGN = (
    "notes.txt",
    "train/notes.txt",
    "train/shard-mine.tar",
    "train/shard-000001.tar.bak",
    "videos/holiday.mp4",
    "videos/2024/beach.mp4",
    "videos/000001/mine.txt",
    "videos/000001/000000004-cut.mp4",
    "lists/mine.csv",
)


@pytest.mark.parametrize(("old", "new"), [("tar", "tar"), ("files", "files"), ("tar", "files"), ("files", "tar")])
def test_overwrite_replaces_the_set_and_nothing_else(old, new, small, undisturbed, finished):
    """--overwrite leaves the new set and every file that synvid has not written."""
    folder = finished(old)
    for name in FOREIGN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    ended = synvid(*command(small, new, folder, "--seed", 5, "--overwrite", n=8))
    assert ended.code == 0, ended.talk
    found = {name: data for name, data in tree(folder).items() if data is not None}
    assert {name: found.pop(name, None) for name in FOREIGN} == {name: name.encode() for name in FOREIGN}
    assert synvid("verify", folder, "--workers", 1).code == 0
    assert sorted(found) == sorted(name for name, data in undisturbed(small, new, 8).items() if data is not None)
    assert DatasetRecipe.load(folder).seed == 5


def test_overwrite_leaves_no_trace_of_the_old_set(small, undisturbed, finished):
    """A larger set of the other layout, overwritten, leaves not even an empty folder."""
    folder = finished("files")
    assert synvid(*command(small, "tar", folder, "--overwrite", n=8)).code == 0
    assert_same(folder, undisturbed(small, "tar", 8))


@both_layouts
@pytest.mark.parametrize("more", [[], ["--overwrite"]], ids=["plain", "overwrite"])
def test_a_folder_of_other_things_is_refused(layout, more, small, tmp_path):
    """A folder with something in it and no dataset is left alone: exit code 2, one sentence that names it."""
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    assert_one_sentence(synvid(*command(small, layout, folder, *more)), 2, folder, "is not empty")
    assert_same(folder, {"thesis.tex": b"mine"})


@both_layouts
@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--seed", 1], "seed: 1, 0"),
        (["--n", 23], "24 clips of this dataset, 23 are asked for"),
        (["--shard-size", 5], "shard_size: 5, 4"),
        (["--encoding", "small"], "encoding: small, fast"),
        (["--set", "objects.count=21"], "preset.objects.count: 21, 20"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_another_configuration_is_refused(layout, more, named, small, undisturbed, finished):
    """The same folder with another setting: exit code 2, the sentence names the key and both values, nothing changes."""
    folder = finished(layout)
    assert_one_sentence(synvid(*command(small, layout, folder, *more)), 2, folder, named)
    assert_same(folder, undisturbed(small, layout))
