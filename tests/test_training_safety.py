"""Training loses nothing: signals to groups, two runs in one folder, overwriting, ranks that disagree, small shared memory."""

import json
import multiprocessing
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from running import ended  # noqa: E402
from test_training import ALONE, PRESET, SMALL, _films, _recipe, _same_run, _source, pretrain  # noqa: E402

import synvid  # noqa: E402
from synvid.errors import ConfigurationError, DatasetError  # noqa: E402
from synvid.storage.locks import hold_lock  # noqa: E402
from synvid_train.cli.main import main  # noqa: E402
from synvid_train.data import loader  # noqa: E402
from synvid_train.data.samples import TrainingClips  # noqa: E402
from synvid_train.data.schedule import Schedule  # noqa: E402
from synvid_train.distributed import DistributedContext  # noqa: E402
from synvid_train.model.checkpoint import load_training  # noqa: E402
from synvid_train.model.convert import load_checkpoint  # noqa: E402
from synvid_train.train.pretrain import pretraining  # noqa: E402
from synvid_train.train.run_log import read_log  # noqa: E402
from synvid_train.train.trainer import train  # noqa: E402

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def words(tmp_path):
    """A pre-training of some seconds, as words of a command."""
    preset = tmp_path / "small.yaml"
    preset.write_text(synvid.load_preset("moving_shapes", PRESET).to_yaml())
    found = ["pretrain", "--preset", preset, "--clips", 12, "--recipe", "laptop_pretrain", "--device", "cpu"]
    for setting in (*SMALL, "optim.epochs=200", "run.save_every=50"):
        found += ["--set", setting]
    return [str(word) for word in found]


def begin(line, out, **more):
    """A run in a process group of its own, once it has done some steps."""
    run = subprocess.Popen(
        [*line, "--out", str(out)], stderr=subprocess.PIPE, text=True, start_new_session=True, env=ENVIRONMENT, **more
    )
    deadline = time.monotonic() + 90
    while not ((out / "log.jsonl").exists() and '"step": 6' in (out / "log.jsonl").read_text()):
        assert time.monotonic() < deadline
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.02)
    return run


def last_steps(out):
    """The step of the log's last line, and of the checkpoint."""
    return max(line["step"] for line in read_log(out / "log.jsonl")), load_training(out / "last.pt")[2]


# ---- Signals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("workers", [0, 2])
def test_termination_of_the_group_is_saved(workers, words, tmp_path):
    """SIGTERM to the process group, loaders too, as Slurm sends it: the work is saved at the step that was done."""
    run = begin([sys.executable, "-m", "synvid_train", *words, "--workers", str(workers)], tmp_path / "run")
    os.killpg(run.pid, signal.SIGTERM)
    said = run.communicate(timeout=60)[1]
    assert "Traceback" not in said
    assert run.returncode == 143
    logged, saved = last_steps(tmp_path / "run")
    assert logged == saved >= 6


def test_termination_of_torchrun_is_saved(words, tmp_path):
    """SIGTERM to torchrun, which sends it to groups: both ranks end, and the work is saved."""
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "synvid_train"]
    run = begin([*line, *words, "--workers", "1"], tmp_path / "run")
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=90)
    logged, saved = last_steps(tmp_path / "run")
    assert logged == saved >= 6


class _DyingLater:
    """Clips of which one kills the process that loads it."""

    labels = ()
    identity = "dying later"

    def __init__(self):
        self.source = _source()

    def __len__(self):
        return len(self.source)

    def read_window(self, i, count, stride, rng):
        if i == 5 and torch.utils.data.get_worker_info() is not None:
            time.sleep(1.0)
            os.kill(os.getpid(), signal.SIGKILL)
        return self.source.read_window(i, count, stride, rng)


def test_a_run_whose_loader_dies_is_saved(tmp_path):
    """Steps that were done when a loader died are saved before the sentence is said."""
    job = pretraining(_recipe("optim.batch_size=1"), _DyingLater(), seed=1)
    with pytest.raises(DatasetError, match="worker process that loads clips died"):
        train(job, tmp_path, ALONE, 1)
    logged, saved = last_steps(tmp_path)
    assert logged == saved >= 1


def test_no_loader_outlives_an_error(tmp_path, monkeypatch):
    """When a checkpoint cannot be written the loaders end at once, though somebody still holds the error."""
    from synvid_train.train import trainer

    def full(*_):
        raise DatasetError("No space left on device.")

    monkeypatch.setattr(trainer, "save_training", full)
    with pytest.raises(DatasetError, match="No space left") as caught:
        pretrain(_recipe(), _source(), tmp_path, workers=1)
    assert multiprocessing.active_children() == []
    assert caught.value


def test_a_run_is_saved_before_it_is_evaluated(tmp_path):
    """A failure of the evaluation after an epoch costs the figures only: the next run begins with them."""
    job = pretraining(_recipe(), _source())
    figures = job.evaluate

    def fail(*_):
        raise DatasetError("no videos")

    job.evaluate = fail
    with pytest.raises(DatasetError, match="no videos"):
        train(job, tmp_path, ALONE)
    assert load_training(tmp_path / "last.pt")[2] == 3
    asked = []
    job = pretraining(_recipe(), _source())
    job.evaluate = lambda *args: asked.append(1) or figures(*args) or {"figure": 1.0}
    train(job, tmp_path, ALONE)
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl") if "figure" in line] == [3, 6, 9]
    assert len(asked) == 3


def test_an_evaluation_comes_to_an_end(tmp_path, monkeypatch):
    """A signal while the model is evaluated ends the run there; what was done is saved."""
    from synvid.runtime import signals
    from synvid_train.train.trainer import InterruptedRunError

    job = pretraining(_recipe(), _source(), held_out=_source(4))
    evaluate = job.evaluate

    def signalled(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        while not signals.interrupted():
            time.sleep(0.01)
        return evaluate(*args)

    job.evaluate = signalled
    monkeypatch.setattr(signal, "raise_signal", lambda _: None)
    with pytest.raises(InterruptedRunError):
        train(job, tmp_path, ALONE)
    assert load_training(tmp_path / "last.pt")[2] == 3


# ---- One folder ------------------------------------------------------------------------------------------------------
def test_two_trainings_in_one_folder(tmp_path):
    """A second training in a folder is refused while the first one runs, and leaves it alone."""
    pretrain(_recipe(), _source(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom synvid.storage.locks import hold_lock\n"
        "with hold(Path(sys.argv[1])) as held:\n    print(held, flush=True)\n    time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script, tmp_path / "run.lock"], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "True\n"
    with pytest.raises(ConfigurationError, match="another run is working here"):
        pretrain(_recipe(), _source(), tmp_path)
    other.kill()
    other.communicate()
    (tmp_path / "run.lock").unlink()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nothing_but_the_run_is_left(tmp_path):
    """No lock stays behind, and what a killed save left is swept."""
    (tmp_path / ".last.pt.0123456789ab").write_text("half")
    pretrain(_recipe(), _source(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "last.safetensors", "log.jsonl", "recipe.yaml"]


def test_weights_can_be_read_by_others(tmp_path):
    """Weights have the permissions that any new file has."""
    pretrain(_recipe(), _source(), tmp_path)
    (tmp_path / "plain").touch()
    usual = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("last.pt", "last.safetensors")} == {usual}


# ---- Overwriting -----------------------------------------------------------------------------------------------------
def overwrite(recipe, source, out):
    train(pretraining(recipe, source), out, ALONE, overwrite=True)


def test_overwriting_the_same_run_goes_on(tmp_path):
    """--overwrite of the very run that is there removes nothing."""
    pretrain(_recipe(), _source(), tmp_path)
    before = (tmp_path / "last.safetensors").read_bytes()
    age = (tmp_path / "last.safetensors").stat().st_mtime_ns
    overwrite(_recipe(), _source(), tmp_path)
    assert (tmp_path / "last.safetensors").read_bytes() == before
    assert (tmp_path / "last.safetensors").stat().st_mtime_ns == age


def test_overwriting_removes_a_run_and_nothing_else(tmp_path):
    """Files of another run go, those of somebody else stay."""
    pretrain(_recipe(), _source(), tmp_path)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "notes.txt").write_text("mine, too")
    overwrite(_recipe("optim.epochs=1", "optim.warmup_epochs=0.5"), _source(), tmp_path)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "mine"
    assert (tmp_path / "tensorboard" / "notes.txt").read_text() == "mine, too"
    assert last_steps(tmp_path) == (3, 3)


class _Unreadable(_DyingLater):
    def read_window(self, *_):
        raise DatasetError("cannot be read")


def test_a_mistake_beside_overwrite_removes_nothing(tmp_path):
    """A preset, list or clip that is wrong is found before the old run is touched."""
    out = tmp_path / "run"
    pretrain(_recipe(), _source(), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for folder in (out, tmp_path / "fresh"):
        with pytest.raises(DatasetError, match="100 clips in a row"):
            overwrite(_recipe(), _Unreadable(), folder)
    assert not (tmp_path / "fresh").exists()
    for mistake in (
        ["pretrain", "--preset", "moving_shape"],
        ["finetune", "--train", "nowhere.csv"],
        ["finetune", "--train", _films(tmp_path), "--checkpoint", "nowhere.pt"],
        ["finetune", "--train", _films(tmp_path), "--checkpoint", out / "last.pt"],
    ):
        code, said, _ = ended(main, *mistake, "--out", out, "--overwrite")
        assert code == 2, said
    assert "lies in" in said
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


# ---- Ranks -----------------------------------------------------------------------------------------------------------
RANKED = """
import os, sys
os.makedirs(f"node{os.environ['RANK']}", exist_ok=True)
os.chdir(f"node{os.environ['RANK']}")
from synvid_train.cli.main import main
main()
"""


def test_ranks_that_see_different_folders_are_refused(words, tmp_path):
    """Two ranks with the same name for two folders: refused with a sentence, before anything is written."""
    (tmp_path / "node.py").write_text(RANKED)
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "node.py", *words]
    done = subprocess.run(
        [*line, "--out", "run", "--workers", "0"], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
        env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode != 0
    assert "is not the same folder for all processes (rank 1 sees another)" in done.stderr
    assert list((tmp_path / "node0").iterdir()) == list((tmp_path / "node1").iterdir()) == []


def test_loaders_share_the_cores_of_a_machine(monkeypatch):
    """By default the processes of one machine share its cores, however many machines there are."""
    from synvid_train.cli.options import loader_workers

    monkeypatch.setattr("synvid_train.data.loader.default_workers", lambda: 128)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert [loader_workers(None, DistributedContext(0, 8 * nodes, torch.device("cuda"))) for nodes in (1, 2, 8)] == [16] * 3


# ---- Lists, memory, packages -----------------------------------------------------------------------------------------
def test_a_validation_that_cannot_be_read_is_found_first(tmp_path):
    """A list for validation none of whose videos can be read ends a run before it begins."""
    films = _films(tmp_path)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "val.csv").write_text("path,label\nbad.mp4,left\n")
    line = [sys.executable, "-m", "synvid_train", "finetune", "--train", films, "--val", tmp_path / "val.csv"]
    done = subprocess.run(
        [*map(str, line), "--recipe", "laptop_finetune", "--out", str(tmp_path / "run")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "val.csv: none of its first 1 videos can be read" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("free", "workers", "ahead"), [(1 << 40, 4, 4), (64_000_000, 4, 1), (20_000_000, 2, 1), (1_000_000, 0, 1)]
)
def test_batches_that_wait_fit_into_shared_memory(free, workers, ahead, monkeypatch):
    """Workers and what they prepare are so many that half of the free shared memory holds them; fewer workers are said."""
    monkeypatch.setattr(loader, "_free_shared_memory", lambda: free)
    dataset, said = TrainingClips(_source(), _recipe("model.image_size=208"), 0, pretraining=True), []
    assert dataset.sample_bytes == 4 * 208 * 208 * 3
    found = loader._prefetch(dataset, [(0, i, 0) for i in range(8)], 4, said.append)
    assert found == (workers, ahead)
    assert bool(said) == (workers < 4)


@pytest.mark.parametrize(
    ("missing", "words", "extra"),
    [
        ("torch", ["-m", "synvid_train", "pretrain", "--preset", "moving_shapes"], "train"),
        ("timm", ["-m", "synvid_train", "pretrain", "--preset", "moving_shapes"], "train"),
        ("matplotlib", ["-m", "synvid", "stats", "moving_circles", "--max-clips", "2", "--plot", "x.png"], "report"),
    ],
)
def test_what_is_not_installed_is_said(missing, words, extra, tmp_path):
    """A command whose extra is missing says what to install: exit code 2, no traceback."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{missing!r}] = None\n")
    path = os.pathsep.join([str(tmp_path), str(Path(synvid.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert f"pip install 'synvid[{extra}]'" in done.stderr


def test_a_checkpoint_by_its_folder_is_the_same(tmp_path):
    """A run that starts from a folder, and one from the file in it, are the same run."""
    pretrain(_recipe(), _source(), tmp_path / "first")
    films = _films(tmp_path)
    shape = [f"--set={text}" for text in (*SMALL[:3], "optim.batch_size=4", "optim.epochs=1", "optim.warmup_epochs=0.5")]
    for checkpoint in (tmp_path / "first", tmp_path / "first" / "last.safetensors"):
        line = ["finetune", "--recipe", "laptop_finetune", "--train", films, "--checkpoint", checkpoint, *shape]
        code, said, _ = ended(main, *line, "--workers", 0, "--out", tmp_path / "tuned")
        assert code == 0, said
    assert json.loads((tmp_path / "tuned" / "log.jsonl").read_text().splitlines()[0])["step"] == 2
    assert load_checkpoint(tmp_path / "tuned").kind == "classifier"


def test_hold_is_not_held_twice_in_a_process(tmp_path):
    """A second hold on a file in the same process is refused, too."""
    with hold_lock(tmp_path / "run.lock") as one, hold_lock(tmp_path / "run.lock") as other:
        assert (one, other) == (True, False)


# ---- Which run it is -------------------------------------------------------------------------------------------------
TUNING = (*SMALL[:3], "optim.batch_size=4", "optim.epochs=1", "optim.warmup_epochs=0.5", "run.precision=fp32")


def _tuned(out, *words, settings=TUNING):
    """Exit code of a fine-tuning, and what it said."""
    line = ["finetune", "--recipe", "laptop_finetune", "--workers", 0, "--device", "cpu", "--out", out, *words]
    return ended(main, *line, *(f"--set={text}" for text in settings))[:2]


def test_a_run_is_known_by_its_content(tmp_path, monkeypatch):
    """Videos, list, checkpoint and run may move, and be named by any path; other labels or weights are another run."""
    data, out, start = tmp_path / "data", tmp_path / "run", tmp_path / "start"
    data.mkdir()
    films = _films(data)
    pretrain(_recipe(), _source(), start)
    monkeypatch.chdir(tmp_path)
    begun = _tuned(out, "--train", "data/list.csv", "--checkpoint", "start")
    assert begun[0] == 0, begun[1]
    going_on = "going on after step 2 of 2"
    assert going_on in _tuned(out, "--train", films, "--checkpoint", start / "last.safetensors")[1]
    (tmp_path / "copied.csv").write_text(films.read_text())
    assert going_on in _tuned(out, "--train", "copied.csv", "--root", data, "--checkpoint", start)[1]
    (tmp_path / "absolute.csv").write_text(re.sub(r"(?m)^(?!path)", f"{data}/", films.read_text().rstrip()))
    assert going_on in _tuned(out, "--train", "absolute.csv", "--checkpoint", start)[1]
    data.rename(tmp_path / "moved")
    start.rename(tmp_path / "elsewhere")
    out.rename(tmp_path / "runs")
    moved = ("--train", "moved/list.csv", "--checkpoint", "elsewhere")
    assert going_on in _tuned("runs", *moved)[1]

    rows = (tmp_path / "moved" / "list.csv").read_text()
    (tmp_path / "moved" / "list.csv").write_text(re.sub("0.mp4,left", "0.mp4,right", rows))
    code, said = _tuned("runs", *moved)
    assert code == 2
    assert "runs holds a run with other settings (other clips, names or labels); give another --out" in said
    (tmp_path / "moved" / "list.csv").write_text(rows)
    pretrain(_recipe("optim.base_learning_rate=0.5"), _source(), tmp_path / "other")
    code, said = _tuned("runs", "--train", "moved/list.csv", "--checkpoint", "other")
    assert code == 2
    assert "runs holds a run with other settings (other weights to start from); give another --out" in said
    assert _tuned("runs", *moved)[0] == 0


def test_more_epochs_are_another_run_once_the_rate_falls(tmp_path):
    """Each rate of the cosine depends on the number of epochs: a sentence says both numbers and what to do instead."""
    pretrain(_recipe(), _source(), tmp_path)
    with pytest.raises(ConfigurationError, match=r"\(optim.epochs is 3 there, 5 here\); its learning rate falls") as refused:
        pretrain(_recipe("optim.epochs=5"), _source(), tmp_path)
    assert str(refused.value).endswith("go on with as many as there, or begin one in another --out.")
    with pytest.raises(ConfigurationError, match=r"5 here, seed is 0 there, 1 here\); give another"):
        train(pretraining(_recipe("optim.epochs=5"), _source(), seed=1), tmp_path, ALONE)
    assert last_steps(tmp_path) == (9, 9)


def test_more_epochs_of_a_fine_tuning_begin_from_its_encoder(tmp_path):
    """The refusal names what the commands can do, and that does work."""
    films, out, other = _films(tmp_path), tmp_path / "run", tmp_path / "other"
    settings = (*TUNING, "optim.warmup_epochs=0")
    assert _tuned(out, "--train", films, settings=settings)[0] == 0
    code, said = _tuned(out, "--train", films, settings=(*settings, "optim.epochs=2"))
    assert code == 2
    assert f"or begin one in another --out, with --checkpoint {out} from the encoder of this one." in said
    code, said = _tuned(other, "--train", films, "--checkpoint", out, settings=(*settings, "optim.epochs=2"))
    assert (code, last_steps(other)) == (0, (4, 4)), said


@pytest.mark.parametrize("settings", [["optim.min_learning_rate=1"], ["optim.warmup_epochs=3.5"]], ids=["constant", "warm-up"])
def test_epochs_may_change_where_no_rate_does(settings, tmp_path):
    """At a constant rate, or still in the warm-up, a run goes on to more epochs and ends as a run of so many does."""
    epochs = ["optim.epochs=4", "optim.epochs=5"]
    if "min" in settings[0]:
        pretrain(_recipe(*settings, epochs[0]), _source(), tmp_path / "run")
    else:
        _broken_off(_recipe(*settings, epochs[0]), 6, tmp_path / "run")
    pretrain(_recipe(*settings, epochs[1]), _source(), tmp_path / "run")
    pretrain(_recipe(*settings, epochs[1]), _source(), tmp_path / "whole")
    _same_run(tmp_path / "run", tmp_path / "whole")
    with pytest.raises(ConfigurationError, match=r"15 steps are done there, 12 are all here|optim.epochs is 5 there, 4 here"):
        pretrain(_recipe(*settings, epochs[0]), _source(), tmp_path / "run")


def _broken_off(recipe, step, out):
    """A pre-training that ends in its evaluation after a step."""
    job = pretraining(recipe, _source())

    def evaluate(*_):
        if load_training(out / "last.pt")[2] == step:
            raise DatasetError("enough")
        return {}

    job.evaluate = evaluate
    with pytest.raises(DatasetError, match="enough"):
        train(job, out, ALONE)


# ---- Pairs -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["optim.batch_size=6", "run.device_batch_size=3"], "micro-batches of 3; --set run.device_batch_size=2."),
        (["optim.batch_size=4", "run.device_batch_size=1"], "micro-batches of 1; --set run.device_batch_size=2."),
        (["optim.batch_size=5"], "optim.batch_size=5 over 1 device with run.device_batch_size=2 gives"),
        (["optim.batch_size=5"], "micro-batches of 1; --set optim.batch_size=4."),
    ],
)
def test_clips_that_cannot_be_paired_are_refused_first(changes, said, tmp_path):
    """Mixup and cutmix need micro-batches of an even size: the sentence has the numbers and what works; nothing is written."""
    films, out = _films(tmp_path), tmp_path / "run"
    settings = (*TUNING, "objective.cutmix=1", "run.device_batch_size=2", *changes)
    code, answer = _tuned(out, "--train", films, settings=settings)
    assert (code, said in answer, "Traceback" in answer) == (2, True, False), answer
    assert not out.exists()


@pytest.mark.parametrize(("world", "advice"), [(3, "optim.batch_size=6"), (1, "run.device_batch_size=6")])
def test_what_makes_pairs_is_found_for_all_devices(world, advice):
    """A batch of 9 on 3 devices, or micro-batches of 9 out of 18 on one: the suggested setting gives even ones."""
    batch = {3: 9, 1: 18}[world]
    with pytest.raises(ConfigurationError, match=f"--set {advice}."):
        Schedule(100, 1, batch, 9, 1, 0, world=world, pairs=True)
    key, _, number = advice.rpartition("=")
    given = {"optim.batch_size": batch, "run.device_batch_size": 9, key: int(number)}
    assert (
        Schedule(
            100, 1, given["optim.batch_size"], given["run.device_batch_size"], 1, 0, world=world, pairs=True
        ).micro_batch_size
        % 2
        == 0
    )
