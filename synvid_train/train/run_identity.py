"""Whether a training run can be resumed: the settings and data that must not change within a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synvid_train.data.schedule import Schedule
from synvid_train.train.optim import learning_rate
from synvid_train.train.task import TrainingTask

__all__ = ["find_differences", "run_identity", "suggest_remedy"]

#: Former keys of `run_identity`, which saved runs may have.
_RENAMED_KEYS = {"weights that learn": "trainable parameters"}


def run_identity(task: TrainingTask) -> dict[str, Any]:
    """Return everything that must be unchanged when a run is resumed; of the settings under `run`, that is `precision`."""
    settings = {key: value for key, value in task.recipe.to_dict().items() if key not in ("name", "description", "run")}
    settings["run"] = {"precision": task.recipe.run.precision}
    return {
        **settings,
        "kind": task.kind,
        "trainable parameters": sum(p.numel() for p in task.model.parameters() if p.requires_grad),
        "seed": task.seed,
        "clips": task.clips.source.identity,
        "new clips each epoch": task.resample_each_epoch,
        "origin": task.origin,
    }


def find_differences(saved: dict[str, Any], task: TrainingTask, schedule: Schedule, step: int) -> list[str]:
    """Describe why a saved run cannot be resumed as this one; empty if it can.

    The number of epochs may differ if all steps so far have the same learning rates with both numbers.

    Args:
        saved: `run_identity` of the saved run.
        task: the task of this run.
        schedule: the schedule of this run.
        step: number of steps that the saved run has done.
    """
    saved = {_RENAMED_KEYS.get(key, key): value for key, value in saved.items()}
    identity, optim = run_identity(task), saved.get("optim", {})
    epochs = optim.get("epochs", 0)
    if _same_learning_rates(task, schedule, epochs, step):
        if step > schedule.steps:
            return [f"it has done {step:,} steps, and this one has only {schedule.steps:,}"]
        saved = {**saved, "optim": {**optim, "epochs": identity["optim"]["epochs"]}}
    return _describe_differences(saved, identity)


def _same_learning_rates(task: TrainingTask, schedule: Schedule, epochs: int, step: int) -> bool:
    """Whether the first `step` steps of a run of `epochs` epochs have the learning rates of this run."""
    optim, steps_per_epoch = task.recipe.optim, schedule.steps_per_epoch
    return epochs == optim.epochs or all(
        learning_rate(optim, k, epochs * steps_per_epoch, steps_per_epoch)
        == learning_rate(optim, k, schedule.steps, steps_per_epoch)
        for k in range(step)
    )


def _describe_differences(saved: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Describe where two nested mappings differ, one entry per key."""
    differences = []
    for key in sorted({*saved, *current}):
        old, new = saved.get(key), current.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            differences += [f"{key}.{text}" for text in _describe_differences(old, new)]
        elif old != new:
            differences.append(_DIGESTS.get(key) or f"{key} was {old}, now {new}")
    return differences


#: Descriptions for keys whose values are digests, which mean nothing to a user.
_DIGESTS = {"clips": "different clips, paths or labels", "origin": "different initial weights"}


def suggest_remedy(differences: list[str], out: Path, kind: str) -> str:
    """Suggest what to do if the folder `out` holds a run that differs."""
    if len(differences) > 1 or not differences[0].startswith("optim.epochs"):
        return "choose another --out, or replace it with --overwrite"
    encoder = f", with --checkpoint {out} to start from this encoder" if kind == "classifier" else ""
    return (
        "the learning rate depends on the number of epochs, so this would be a different run: resume with the same number, or "
        f"start in another --out{encoder}"
    )
