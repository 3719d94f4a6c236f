"""Training runs: exact resumption, gradient accumulation, two processes, the log, and gradients that are not finite."""

import re
import signal
import time

import forked_commands
import pytest

torch = pytest.importorskip("torch")

from training_runs import (  # noqa: E402
    PRESET,
    SINGLE_PROCESS,
    SMALL,
    TINY_MODEL,
    assert_same_run,
    losses,
    make_recipe,
    make_source,
    pretrain,
    run_command,
    run_two_ranks,
    set_options,
    write_labelled_videos,
)

import synvid  # noqa: E402
from synvid.errors import ConfigurationError, DatasetError  # noqa: E402
from synvid_train.data.window_sources import RenderedClips  # noqa: E402
from synvid_train.model.load import load_checkpoint  # noqa: E402
from synvid_train.model.videomae import VideoMAE  # noqa: E402
from synvid_train.train.pretrain import make_pretraining_task  # noqa: E402
from synvid_train.train.run_log import read_log  # noqa: E402
from synvid_train.train.trainer import train  # noqa: E402
from synvid_train.training_recipe import load_recipe  # noqa: E402


@pytest.fixture(scope="module")
def preset_file(tmp_path_factory):
    """A YAML file of a preset that renders fast."""
    path = tmp_path_factory.mktemp("preset") / "small.yaml"
    path.write_text(synvid.load_preset("moving_shapes", PRESET).to_yaml())
    return path


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The folder of a run that was not interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    pretrain(make_recipe(), make_source(), out, held_out=make_source(4))
    return out


# ---- Exact resumption ----------------------------------------------------------------------------------------------
class _Stop(Exception):  # noqa: N818
    """Stops a run."""


@pytest.mark.parametrize("step", [1, 3, 4, 8])
def test_resumed_run_equals_uninterrupted_run(step, uninterrupted, tmp_path, monkeypatch):
    """A run that is killed at any step and resumed ends with bit-identical weights, optimizer and losses."""
    from synvid_train.train import trainer

    plain = trainer._Trainer.step

    def stopping(self, micro_batches, number, meter):
        if number == step:
            raise _Stop
        plain(self, micro_batches, number, meter)

    monkeypatch.setattr(trainer._Trainer, "step", stopping)
    with pytest.raises(_Stop):
        pretrain(make_recipe(), make_source(), tmp_path, held_out=make_source(4))
    monkeypatch.setattr(trainer._Trainer, "step", plain)
    pretrain(make_recipe(), make_source(), tmp_path, held_out=make_source(4), workers=1)
    assert_same_run(tmp_path, uninterrupted)


@pytest.fixture(scope="module")
def long_run(preset_file, tmp_path_factory):
    """The command of a run that is long enough to be interrupted, and the folder of that run, uninterrupted."""
    whole = tmp_path_factory.mktemp("long") / "whole"
    words = ["pretrain", "--preset", preset_file, "--n", 12, "--recipe", "laptop_pretrain", "--workers", 1]
    words += set_options([*SMALL, "optim.epochs=20", "run.save_every=2"])
    process = run_command(*words, "--out", whole)
    assert process.returncode == 0, process.stderr
    return words, whole


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_then_same_command_resumes(number, long_run, tmp_path):
    """After SIGINT, SIGTERM or SIGKILL the same command resumes, and ends as the uninterrupted run."""
    out, (words, whole) = tmp_path / "run", long_run
    process = forked_commands.Command([*words, "--out", out])
    deadline = time.monotonic() + 120
    while not (out / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    if number == signal.SIGKILL:
        assert process.returncode == -9
    else:
        assert process.returncode in (0, 130, 143), stderr
        assert "Traceback" not in stderr
    again = run_command(*words, "--out", out)
    assert again.returncode == 0, again.stderr
    assert_same_run(out, whole)


def test_different_settings_in_same_folder_raise(uninterrupted):
    """A run with different settings raises an error that names them, and leaves the run in the folder unchanged."""
    before = (uninterrupted / "last.pt").read_bytes()
    with pytest.raises(ConfigurationError, match=r"optim\.base_learning_rate"):
        pretrain(make_recipe("optim.base_learning_rate=0.5"), make_source(), uninterrupted)
    assert (uninterrupted / "last.pt").read_bytes() == before


@pytest.mark.parametrize("change", ["new clips each epoch", "other clips", "other preset"])
def test_different_clips_in_same_folder_raise(change, uninterrupted):
    """A run cannot be resumed with other clips."""
    source, resample = make_source(), change == "new clips each epoch"
    if change == "other clips":
        source = make_source(13)
    if change == "other preset":
        source = RenderedClips(source.preset.override({"objects.count": 21}), 0, 12)
    with pytest.raises(ConfigurationError, match="clips"):
        train(make_pretraining_task(make_recipe(), source, resample_each_epoch=resample), uninterrupted, SINGLE_PROCESS)


# ---- Gradient accumulation and two processes -------------------------------------------------------------------------
def test_gradient_accumulation_equals_larger_batch(uninterrupted, tmp_path):
    """Two micro-batches of 2 and one of 4 give the same losses, up to rounding."""
    pretrain(make_recipe("run.device_batch_size=4"), make_source(), tmp_path)
    assert losses(tmp_path) == pytest.approx(losses(uninterrupted), rel=1e-4)


@pytest.mark.slow
def test_two_processes_equal_one(preset_file, tmp_path):
    """Two gloo ranks have the losses, weights and metrics of one process with the same batch size, up to rounding."""
    words = ["pretrain", "--preset", preset_file, "--clips", 12, "--recipe", "laptop_pretrain", "--workers", 0]
    words += ["--device", "cpu", *set_options(SMALL)]
    single = run_command(*words, "--out", tmp_path / "one")
    assert single.returncode == 0, single.stderr
    for rank in run_two_ranks(*words, "--out", tmp_path / "two"):
        assert rank.returncode == 0, rank.stderr[-3000:]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    one, two = (load_checkpoint(tmp_path / name).weights for name in ("one", "two"))
    assert max((one[name] - two[name]).abs().max().item() for name in one) < 1e-3
    r2 = [[line["r2"] for line in read_log(tmp_path / name / "log.jsonl") if "r2" in line] for name in ("one", "two")]
    assert r2[0] == pytest.approx(r2[1], abs=1e-3)


def test_two_processes_share_validation(tmp_path):
    """Two gloo ranks fine-tune, and each validates its part of the videos; unreadable videos of both are reported."""
    videos = write_labelled_videos(tmp_path, count=2)
    broken = [f"broken{k}.mp4,left" for k in range(4)]
    for k in range(4):
        (tmp_path / f"broken{k}.mp4").write_bytes(b"no video")
    training = tmp_path / "train.csv"
    training.write_text(videos.read_text() + "\n".join(broken) + "\n")
    words = ["finetune", "--train", training, "--val", videos, "--recipe", "laptop_finetune", "--workers", 0]
    settings = ["optim.batch_size=4", "optim.epochs=2", "optim.warmup_epochs=1", "run.save_every=1", "run.log_every=1"]
    words += ["--device", "cpu", *set_options([*TINY_MODEL, *settings])]
    ranks = run_two_ranks(*words, "--out", tmp_path / "two")
    stderr = "".join(rank.stderr for rank in ranks)
    assert [rank.returncode for rank in ranks] == [0, 0], stderr[-3000:]
    lines = read_log(tmp_path / "two" / "log.jsonl")
    assert [line["step"] for line in lines if "val_top1" in line] == [2, 4]
    assert sorted(re.findall(r"broken(\d)\.mp4: ", stderr)) == list("0123"), stderr
    assert all(line["val_top5"] == 100 for line in lines if "val_top5" in line)


def test_log_and_files_of_run(uninterrupted):
    """A run writes its recipe, a log line per step and per evaluation, and two checkpoint files with the same weights."""
    lines = read_log(uninterrupted / "log.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 10))
    assert [line["step"] for line in lines if "r2" in line] == [3, 6, 9]
    assert load_recipe(uninterrupted / "recipe.yaml").optim.epochs == 3
    weights = load_checkpoint(uninterrupted / "last.safetensors").weights
    assert all(torch.equal(value, weights[name]) for name, value in load_checkpoint(uninterrupted / "last.pt").weights.items())
    assert load_checkpoint(uninterrupted).metrics.keys() == {"r2"}


# ---- Non-finite gradients --------------------------------------------------------------------------------------------
def _make_losses_nan(monkeypatch, steps):
    """Make the losses of some steps NaN, in a recipe with two micro-batches per step."""
    plain = VideoMAE.forward
    calls = []

    def forward(self, clips, order, visible):
        calls.append(1)
        loss, predicted = plain(self, clips, order, visible)
        return (loss * float("nan") if (len(calls) - 1) // 2 in steps else loss), predicted

    monkeypatch.setattr(VideoMAE, "forward", forward)


def test_step_with_non_finite_gradient_is_skipped(tmp_path, monkeypatch):
    """A step with a non-finite gradient changes no weight and is counted, and the run continues."""
    _make_losses_nan(monkeypatch, {4})
    pretrain(make_recipe(), make_source(), tmp_path)
    lines = [line for line in read_log(tmp_path / "log.jsonl") if "loss" in line]
    assert [line["not_finite"] for line in lines] == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert lines[4]["loss"] is None
    assert all(value.isfinite().all() for value in load_checkpoint(tmp_path).weights.values())


@pytest.mark.slow
def test_twenty_steps_without_finite_gradient_raise(tmp_path, monkeypatch):
    """After 20 steps in a row without a finite gradient the run ends with an error; its last checkpoint is finite."""
    _make_losses_nan(monkeypatch, set(range(5, 1000)))
    with pytest.raises(DatasetError, match="no finite gradient in the last 20 steps"):
        pretrain(make_recipe("optim.epochs=20"), make_source(), tmp_path)
    assert all(value.isfinite().all() for value in load_checkpoint(tmp_path).weights.values())


def test_short_run_without_finite_gradient_raises(tmp_path, monkeypatch):
    """A run of fewer than 20 steps, none with a finite gradient, ends with the same error."""
    _make_losses_nan(monkeypatch, set(range(1000)))
    with pytest.raises(DatasetError, match="no finite gradient in the last"):
        pretrain(make_recipe(), make_source(), tmp_path)


def test_non_finite_gradient_in_last_step_is_no_error(tmp_path, monkeypatch):
    """A run in which only the last step has a non-finite gradient ends normally."""
    _make_losses_nan(monkeypatch, {8})
    pretrain(make_recipe(), make_source(), tmp_path)
    assert load_checkpoint(tmp_path).kind
