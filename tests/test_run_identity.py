"""Which runs can be resumed: moved files, changed labels and weights, and a changed number of epochs."""

import json
import re

import pytest

torch = pytest.importorskip("torch")

from running import ended  # noqa: E402
from training_runs import (  # noqa: E402
    SINGLE_PROCESS,
    TINY_MODEL,
    assert_same_run,
    last_steps,
    make_recipe,
    make_source,
    pretrain,
    set_options,
    write_labelled_videos,
)

from synvid.errors import ConfigurationError, DatasetError  # noqa: E402
from synvid_train.cli.main import main  # noqa: E402
from synvid_train.data.schedule import Schedule  # noqa: E402
from synvid_train.model.checkpoint import load_training  # noqa: E402
from synvid_train.model.load import load_checkpoint  # noqa: E402
from synvid_train.train.pretrain import make_pretraining_task  # noqa: E402
from synvid_train.train.run_identity import find_differences, run_identity  # noqa: E402
from synvid_train.train.trainer import train  # noqa: E402

FINETUNING = (*TINY_MODEL, "optim.batch_size=4", "optim.epochs=1", "optim.warmup_epochs=0.5", "run.precision=fp32")


def finetune(out, *words, settings=FINETUNING):
    """Run `synvid-train finetune` in this process; return its exit code and stderr."""
    line = ["finetune", "--recipe", "laptop_finetune", "--workers", 0, "--device", "cpu", "--out", out, *words]
    return ended(main, *line, *set_options(settings))[:2]


def test_checkpoint_folder_and_file_are_same_run(tmp_path):
    """A run that starts from the folder of a checkpoint can be resumed with the file in it as --checkpoint."""
    pretrain(make_recipe(), make_source(), tmp_path / "first")
    videos = write_labelled_videos(tmp_path)
    settings = (*TINY_MODEL, "optim.batch_size=4", "optim.epochs=1", "optim.warmup_epochs=0.5")
    for checkpoint in (tmp_path / "first", tmp_path / "first" / "last.safetensors"):
        line = ["finetune", "--recipe", "laptop_finetune", "--train", videos, "--checkpoint", checkpoint]
        code, stderr, _ = ended(main, *line, *set_options(settings), "--workers", 0, "--out", tmp_path / "tuned")
        assert code == 0, stderr
    assert json.loads((tmp_path / "tuned" / "log.jsonl").read_text().splitlines()[0])["step"] == 2
    assert load_checkpoint(tmp_path / "tuned").kind == "classifier"


@pytest.mark.slow
def test_moved_files_are_same_run(tmp_path, monkeypatch):
    """Videos, list, checkpoint and run may move or be given by another path; other labels or weights raise an error."""
    data, out, start = tmp_path / "data", tmp_path / "run", tmp_path / "start"
    data.mkdir()
    videos = write_labelled_videos(data)
    pretrain(make_recipe(), make_source(), start)
    monkeypatch.chdir(tmp_path)
    code, stderr = finetune(out, "--train", "data/list.csv", "--checkpoint", "start")
    assert code == 0, stderr
    resuming = "resuming after step 2 of 2"
    assert resuming in finetune(out, "--train", videos, "--checkpoint", start / "last.safetensors")[1]
    (tmp_path / "copied.csv").write_text(videos.read_text())
    assert resuming in finetune(out, "--train", "copied.csv", "--root", data, "--checkpoint", start)[1]
    (tmp_path / "absolute.csv").write_text(re.sub(r"(?m)^(?!path)", f"{data}/", videos.read_text().rstrip()))
    assert resuming in finetune(out, "--train", "absolute.csv", "--checkpoint", start)[1]
    data.rename(tmp_path / "moved")
    start.rename(tmp_path / "elsewhere")
    out.rename(tmp_path / "runs")
    moved = ("--train", "moved/list.csv", "--checkpoint", "elsewhere")
    assert resuming in finetune("runs", *moved)[1]

    rows = (tmp_path / "moved" / "list.csv").read_text()
    (tmp_path / "moved" / "list.csv").write_text(re.sub("0.mp4,left", "0.mp4,right", rows))
    code, stderr = finetune("runs", *moved)
    assert code == 2
    assert "runs holds a run with different settings (different clips, paths or labels); choose another --out" in stderr
    (tmp_path / "moved" / "list.csv").write_text(rows)
    pretrain(make_recipe("optim.base_learning_rate=0.5"), make_source(), tmp_path / "other")
    code, stderr = finetune("runs", "--train", "moved/list.csv", "--checkpoint", "other")
    assert code == 2
    assert "runs holds a run with different settings (different initial weights); choose another --out" in stderr
    assert finetune("runs", *moved)[0] == 0


def test_run_with_former_key_is_same_run():
    """A saved run whose identity has the former key of the number of trainable parameters can be resumed."""
    task = make_pretraining_task(make_recipe(), make_source())
    saved = run_identity(task)
    saved["weights that learn"] = saved.pop("trainable parameters")
    schedule = Schedule(16, 1, 4, 4, task.recipe.optim.epochs, 0)
    assert find_differences(saved, task, schedule, 0) == []
    saved["weights that learn"] += 1
    (difference,) = find_differences(saved, task, schedule, 0)
    assert difference.startswith("trainable parameters was")


def test_other_number_of_epochs_after_warmup_raises(tmp_path):
    """After the warm-up the rate depends on the number of epochs: the error has both numbers and what to do instead."""
    pretrain(make_recipe(), make_source(), tmp_path)
    message = r"\(optim.epochs was 3, now 5\); the learning rate depends on the number of epochs"
    with pytest.raises(ConfigurationError, match=message) as caught:
        pretrain(make_recipe("optim.epochs=5"), make_source(), tmp_path)
    assert str(caught.value).endswith("resume with the same number, or start in another --out.")
    with pytest.raises(ConfigurationError, match=r"now 5, seed was 0, now 1\); choose another"):
        train(make_pretraining_task(make_recipe("optim.epochs=5"), make_source(), seed=1), tmp_path, SINGLE_PROCESS)
    assert last_steps(tmp_path) == (9, 9)


def test_more_epochs_of_finetuning_start_from_its_encoder(tmp_path):
    """The error about another number of epochs suggests a command that works."""
    videos, out, other = write_labelled_videos(tmp_path), tmp_path / "run", tmp_path / "other"
    settings = (*FINETUNING, "optim.warmup_epochs=0")
    assert finetune(out, "--train", videos, settings=settings)[0] == 0
    code, stderr = finetune(out, "--train", videos, settings=(*settings, "optim.epochs=2"))
    assert code == 2
    assert f"or start in another --out, with --checkpoint {out} to start from this encoder." in stderr
    code, stderr = finetune(other, "--train", videos, "--checkpoint", out, settings=(*settings, "optim.epochs=2"))
    assert (code, last_steps(other)) == (0, (4, 4)), stderr


@pytest.mark.parametrize("settings", [["optim.min_learning_rate=1"], ["optim.warmup_epochs=3.5"]], ids=["constant", "warm-up"])
def test_more_epochs_at_same_learning_rates_resume(settings, tmp_path):
    """At a constant rate, or during the warm-up, a run can be resumed with more epochs, and ends like a run with so many."""
    epochs = ["optim.epochs=4", "optim.epochs=5"]
    if "min" in settings[0]:
        pretrain(make_recipe(*settings, epochs[0]), make_source(), tmp_path / "run")
    else:
        _pretrain_until(make_recipe(*settings, epochs[0]), 6, tmp_path / "run")
    pretrain(make_recipe(*settings, epochs[1]), make_source(), tmp_path / "run")
    pretrain(make_recipe(*settings, epochs[1]), make_source(), tmp_path / "whole")
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    message = r"it has done 15 steps, and this one has only 12|optim.epochs was 5, now 4"
    with pytest.raises(ConfigurationError, match=message):
        pretrain(make_recipe(*settings, epochs[0]), make_source(), tmp_path / "run")


def _pretrain_until(recipe, step, out):
    """Pre-train until the evaluation after a step."""
    task = make_pretraining_task(recipe, make_source())

    def evaluate(*_):
        if load_training(out / "last.pt")[2] == step:
            raise DatasetError("enough")
        return {}

    task.evaluate = evaluate
    with pytest.raises(DatasetError, match="enough"):
        train(task, out, SINGLE_PROCESS)
