"""Training under faults: signals, dying loaders, full disks, two runs in one folder, overwriting, ranks that disagree."""

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import time

import forked_commands
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from running import ended  # noqa: E402
from training_runs import (  # noqa: E402
    PRESET,
    SINGLE_PROCESS,
    SMALL,
    TORCHRUN,
    last_steps,
    make_recipe,
    make_source,
    pretrain,
    set_options,
    write_labelled_videos,
)

import synvid  # noqa: E402
from synvid.errors import ConfigurationError, DatasetError  # noqa: E402
from synvid.runtime import signals  # noqa: E402
from synvid.storage.locks import hold_lock  # noqa: E402
from synvid_train.cli.main import main  # noqa: E402
from synvid_train.data import loader  # noqa: E402
from synvid_train.data.samples import TrainingClips  # noqa: E402
from synvid_train.model.checkpoint import load_training  # noqa: E402
from synvid_train.train import trainer  # noqa: E402
from synvid_train.train.pretrain import make_pretraining_task  # noqa: E402
from synvid_train.train.run_log import read_log  # noqa: E402
from synvid_train.train.trainer import InterruptedRunError, train  # noqa: E402

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def words(tmp_path):
    """The command of a pre-training of some seconds."""
    preset = tmp_path / "small.yaml"
    preset.write_text(synvid.load_preset("moving_shapes", PRESET).to_yaml())
    command = ["pretrain", "--preset", preset, "--clips", 12, "--recipe", "laptop_pretrain", "--device", "cpu"]
    command += set_options([*SMALL, "optim.epochs=200", "run.save_every=50"])
    return [str(word) for word in command]


def wait_for_steps(run, out):
    """Wait for the first steps of a run that was just started."""
    deadline = time.monotonic() + 90
    while not ((out / "log.jsonl").exists() and '"step": 6' in (out / "log.jsonl").read_text()):
        assert time.monotonic() < deadline
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.02)
    return run


# ---- Signals ---------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_sigterm_to_process_group_saves_last_step(workers, words, tmp_path):
    """SIGTERM to the process group, loaders included, as Slurm sends it, saves the last step done."""
    command = [*words, "--workers", workers, "--out", tmp_path / "run"]
    run = wait_for_steps(forked_commands.Command(command, session=True), tmp_path / "run")
    os.killpg(run.pid, signal.SIGTERM)
    stderr = run.communicate(timeout=60)[1]
    assert "Traceback" not in stderr
    assert run.returncode == 143
    logged, saved = last_steps(tmp_path / "run")
    assert logged == saved >= 6


@pytest.mark.slow
def test_sigterm_to_torchrun_saves_last_step(words, tmp_path):
    """SIGTERM to torchrun, which forwards it to all ranks, saves the last step done."""
    line = [*TORCHRUN, "-m", "synvid_train", *words, "--workers", "1", "--out", tmp_path / "run"]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True, env=ENVIRONMENT)
    run = wait_for_steps(process, tmp_path / "run")
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=90)
    logged, saved = last_steps(tmp_path / "run")
    assert logged == saved >= 6


def test_interrupted_run_is_saved(tmp_path, monkeypatch):
    """A signal between two steps saves the run and ends it."""
    monkeypatch.setattr(trainer, "interrupted", lambda: True)
    with pytest.raises(InterruptedRunError):
        pretrain(make_recipe(), make_source(), tmp_path)
    assert load_training(tmp_path / "last.pt")[2] == 1


def test_signal_during_evaluation_ends_run(tmp_path, monkeypatch):
    """A signal during an evaluation ends the run there; the steps before it are saved."""
    task = make_pretraining_task(make_recipe(), make_source(), held_out=make_source(4))
    evaluate = task.evaluate

    def evaluate_with_signal(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        while not signals.interrupted():
            time.sleep(0.01)
        return evaluate(*args)

    task.evaluate = evaluate_with_signal
    monkeypatch.setattr(signal, "raise_signal", lambda _: None)
    with pytest.raises(InterruptedRunError):
        train(task, tmp_path, SINGLE_PROCESS)
    assert load_training(tmp_path / "last.pt")[2] == 3


def test_failed_evaluation_is_repeated_by_next_run(tmp_path):
    """The model is saved before its evaluation; if that fails, the next run starts with it."""
    task = make_pretraining_task(make_recipe(), make_source())
    evaluate = task.evaluate

    def fail(*_):
        raise DatasetError("no videos")

    task.evaluate = fail
    with pytest.raises(DatasetError, match="no videos"):
        train(task, tmp_path, SINGLE_PROCESS)
    assert load_training(tmp_path / "last.pt")[2] == 3
    calls = []
    task = make_pretraining_task(make_recipe(), make_source())
    task.evaluate = lambda *args: calls.append(1) or evaluate(*args) or {"metric": 1.0}
    train(task, tmp_path, SINGLE_PROCESS)
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl") if "metric" in line] == [3, 6, 9]
    assert len(calls) == 3


# ---- Loaders ---------------------------------------------------------------------------------------------------------
class _KilledAtOnce:
    """Clips that kill their loader process."""

    labels = ()
    identity = "killed at once"

    def __len__(self):
        return 12

    def read_window(self, _i, count, _stride, _rng):
        if torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.zeros((count, 48, 48, 3), np.uint8)


class _KilledByOneClip:
    """Clips of which one kills its loader process."""

    labels = ()
    identity = "killed by one clip"

    def __init__(self):
        self.source = make_source()

    def __len__(self):
        return len(self.source)

    def read_window(self, i, count, stride, rng):
        if i == 5 and torch.utils.data.get_worker_info() is not None:
            time.sleep(1.0)
            os.kill(os.getpid(), signal.SIGKILL)
        return self.source.read_window(i, count, stride, rng)


class _Unreadable(_KilledByOneClip):
    """Clips that cannot be read."""

    def read_window(self, *_):
        raise DatasetError("cannot be read")


def test_killed_loader_raises(tmp_path):
    """A loader process that is killed ends the run with an error message."""
    with pytest.raises(DatasetError, match="worker process that loads clips died"):
        pretrain(make_recipe(), _KilledAtOnce(), tmp_path, workers=1)


def test_killed_loader_saves_last_step(tmp_path):
    """When a loader is killed, the last step done is saved before the error is raised."""
    task = make_pretraining_task(make_recipe("optim.batch_size=1"), _KilledByOneClip(), seed=1)
    with pytest.raises(DatasetError, match="worker process that loads clips died"):
        train(task, tmp_path, SINGLE_PROCESS, 1)
    logged, saved = last_steps(tmp_path)
    assert logged == saved >= 1


def test_failed_save_ends_loaders(tmp_path, monkeypatch):
    """When a checkpoint cannot be written the loader processes end, even while the exception is still referenced."""

    def fail(*_):
        raise DatasetError("No space left on device.")

    monkeypatch.setattr(trainer, "save_training", fail)
    with pytest.raises(DatasetError, match="No space left") as caught:
        pretrain(make_recipe(), make_source(), tmp_path, workers=1)
    assert multiprocessing.active_children() == []
    assert caught.value


@pytest.mark.parametrize(
    ("free", "workers", "prefetch"), [(1 << 40, 4, 4), (64_000_000, 4, 1), (20_000_000, 2, 1), (1_000_000, 0, 1)]
)
def test_prefetched_batches_fit_into_shared_memory(free, workers, prefetch, monkeypatch):
    """Workers and their batches are limited to half of the free shared memory; fewer workers than asked for are reported."""
    monkeypatch.setattr(loader, "_free_shared_memory", lambda: free)
    dataset, messages = TrainingClips(make_source(), make_recipe("model.image_size=208"), 0, pretraining=True), []
    assert dataset.sample_bytes == 4 * 208 * 208 * 3
    result = loader._prefetch(dataset, [(0, i, 0) for i in range(8)], 4, messages.append)
    assert result == (workers, prefetch)
    assert bool(messages) == (workers < 4)


# ---- The folder of a run ---------------------------------------------------------------------------------------------
def test_full_disk_keeps_previous_checkpoint(tmp_path, monkeypatch):
    """When a checkpoint cannot be written the run ends with an error, and the previous checkpoint is intact."""
    plain, calls = os.fsync, []

    def fsync(descriptor):
        calls.append(1)
        if len(calls) > 4:
            raise OSError(28, "No space left on device")
        plain(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DatasetError, match="No space left"):
        pretrain(make_recipe(), make_source(), tmp_path)
    assert load_training(tmp_path / "last.pt")[2] >= 3


def test_second_run_in_folder_raises(tmp_path):
    """While a run holds its folder's lock, a second one raises an error and changes nothing."""
    pretrain(make_recipe(), make_source(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom synvid.storage.locks import hold_lock\n"
        "with hold_lock(Path(sys.argv[1])) as held:\n    print(held, flush=True)\n    time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script, tmp_path / "run.lock"], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "True\n"
    with pytest.raises(ConfigurationError, match="another run is using this folder"):
        pretrain(make_recipe(), make_source(), tmp_path)
    other.kill()
    other.communicate()
    (tmp_path / "run.lock").unlink()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_lock_is_not_reentrant(tmp_path):
    """The same process cannot hold a lock twice."""
    with hold_lock(tmp_path / "run.lock") as first, hold_lock(tmp_path / "run.lock") as second:
        assert (first, second) == (True, False)


def test_run_leaves_no_temporary_files(tmp_path):
    """At the end no lock file is left, and temporary files of a killed run are removed."""
    (tmp_path / ".last.pt.0123456789ab").write_text("half")
    pretrain(make_recipe(), make_source(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "last.safetensors", "log.jsonl", "recipe.yaml"]


def test_checkpoint_permissions(tmp_path):
    """Checkpoint files have the default permissions of new files."""
    pretrain(make_recipe(), make_source(), tmp_path)
    (tmp_path / "plain").touch()
    default = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("last.pt", "last.safetensors")} == {default}


# ---- --overwrite -----------------------------------------------------------------------------------------------------
def overwrite(recipe, source, out):
    train(make_pretraining_task(recipe, source), out, SINGLE_PROCESS, overwrite=True)


def test_overwrite_same_run_resumes(tmp_path):
    """--overwrite with the settings of the run in the folder resumes it."""
    pretrain(make_recipe(), make_source(), tmp_path)
    before = (tmp_path / "last.safetensors").read_bytes()
    modified = (tmp_path / "last.safetensors").stat().st_mtime_ns
    overwrite(make_recipe(), make_source(), tmp_path)
    assert (tmp_path / "last.safetensors").read_bytes() == before
    assert (tmp_path / "last.safetensors").stat().st_mtime_ns == modified


@pytest.mark.slow
def test_overwrite_removes_only_files_of_runs(tmp_path):
    """--overwrite removes the files that a different run wrote, and no others."""
    pretrain(make_recipe(), make_source(), tmp_path)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "notes.txt").write_text("mine, too")
    overwrite(make_recipe("optim.epochs=1", "optim.warmup_epochs=0.5"), make_source(), tmp_path)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "mine"
    assert (tmp_path / "tensorboard" / "notes.txt").read_text() == "mine, too"
    assert last_steps(tmp_path) == (3, 3)


def test_overwrite_with_wrong_input_removes_nothing(tmp_path):
    """With --overwrite, a wrong preset, list, checkpoint or clip raises an error before the old run is removed."""
    out = tmp_path / "run"
    pretrain(make_recipe(), make_source(), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for folder in (out, tmp_path / "new"):
        with pytest.raises(DatasetError, match="100 clips in a row"):
            overwrite(make_recipe(), _Unreadable(), folder)
    assert not (tmp_path / "new").exists()
    for mistake in (
        ["pretrain", "--preset", "moving_shape"],
        ["finetune", "--train", "nowhere.csv"],
        ["finetune", "--train", write_labelled_videos(tmp_path), "--checkpoint", "nowhere.pt"],
        ["finetune", "--train", write_labelled_videos(tmp_path), "--checkpoint", out / "last.pt"],
    ):
        code, stderr, _ = ended(main, *mistake, "--out", out, "--overwrite")
        assert code == 2, stderr
    assert "lies in" in stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


# ---- Ranks -----------------------------------------------------------------------------------------------------------
RANK_SCRIPT = """
import os, sys
os.makedirs(f"node{os.environ['RANK']}", exist_ok=True)
os.chdir(f"node{os.environ['RANK']}")
from synvid_train.cli.main import main
main()
"""


@pytest.mark.slow
def test_ranks_with_different_folders_raise(words, tmp_path):
    """Ranks for which --out is not the same folder raise an error before anything is written."""
    (tmp_path / "node.py").write_text(RANK_SCRIPT)
    process = subprocess.run(
        [*TORCHRUN, "node.py", *words, "--out", "run", "--workers", "0"], capture_output=True, text=True, timeout=120,
        check=False, cwd=tmp_path, env=ENVIRONMENT,
    )  # fmt: skip
    assert process.returncode != 0
    assert "is not the same folder for all processes (rank 1 sees another)" in process.stderr
    assert list((tmp_path / "node0").iterdir()) == list((tmp_path / "node1").iterdir()) == []
