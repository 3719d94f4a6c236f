"""Evaluate a classifier: the softmax is averaged over several views of each video (section 3.3 of the paper).

synvid-train evaluate --checkpoint runs/b/last.pt --data test.csv --corruption gauss:3
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synvid.errors import DatasetError
from synvid.os_errors import wrap_os_errors
from synvid.runtime.progress import Progress
from synvid.runtime.signals import raise_if_interrupted
from synvid.storage.atomic_io import atomic_write
from synvid_train.data.corruptions import Corruption
from synvid_train.data.loader import catch_worker_death, load_samples
from synvid_train.data.samples import EvaluationVideos
from synvid_train.data.video_list import VideoList
from synvid_train.data.window_sources import LabelledVideos
from synvid_train.distributed import DistributedContext, autocast
from synvid_train.eval.result_plots import draw_confusion
from synvid_train.training_recipe import TrainingRecipe

__all__ = ["EvaluationResult", "average_softmax", "evaluate"]


@dataclass(frozen=True)
class EvaluationResult:
    """Result of an evaluation.

    Attributes:
        classes: class names.
        confusion: int64 (classes, classes), number of videos by true and by predicted class.
        top5_correct: number of videos whose label is among the five highest scores.
        unreadable: error messages of videos that could not be read; they are not counted.
    """

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    top5_correct: int
    unreadable: tuple[str, ...] = ()

    @property
    def num_videos(self) -> int:
        """Number of videos evaluated."""
        return int(self.confusion.sum())

    @property
    def top1(self) -> float:
        """Top-1 accuracy in percent."""
        return 100 * float(np.trace(self.confusion)) / self.num_videos

    @property
    def top5(self) -> float:
        """Top-5 accuracy in percent."""
        return 100 * self.top5_correct / self.num_videos

    def per_class(self) -> dict[str, float]:
        """Return the top-1 accuracy of each class that occurs, in percent."""
        counts = self.confusion.sum(axis=1)
        return {name: 100 * float(self.confusion[i, i] / counts[i]) for i, name in enumerate(self.classes) if counts[i]}

    def to_dict(self) -> dict[str, Any]:
        """Return the result for JSON."""
        per_class = self.per_class()
        return {
            "videos": self.num_videos,
            "top1": self.top1,
            "top5": self.top5,
            "mean_class": float(np.mean(list(per_class.values()))),
            "per_class": per_class,
            "confusion": self.confusion.tolist(),
            "classes": list(self.classes),
            "unreadable": list(self.unreadable),
        }

    def save(self, folder: Path) -> None:
        """Write `result.json` and `confusion.png` into a folder, which is created."""
        with wrap_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write(folder / "result.json", json.dumps(self.to_dict(), indent=1) + "\n")
        title = f"top-1 {self.top1:.1f} %, top-5 {self.top5:.1f} % of {self.num_videos:,} videos"
        draw_confusion(self.confusion, self.classes, folder / "confusion.png", title)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    videos: VideoList,
    recipe: TrainingRecipe,
    distributed: DistributedContext,
    workers: int = 0,
    corruption: Corruption | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Evaluate a classifier on `views.test_clips` x `views.test_crops` views of each video.

    Args:
        model: a `VideoClassifier`, on the device.
        videos: videos labelled with the model's classes.
        recipe: settings of frames, stride and views.
        distributed: processes, among which the videos are divided.
        workers: number of worker processes that load videos.
        corruption: applied to the videos; None leaves them unchanged.
        seed: random seed of the corruption.
        progress: called for each video.

    Raises:
        DatasetError: no video could be read, or scores are not finite.
    """
    was_training = model.training
    model.eval()
    dataset = EvaluationVideos(LabelledVideos(videos), recipe, corruption, seed)
    own = list(range(distributed.rank, len(videos), distributed.world_size))
    num_classes = len(videos.classes)
    # The confusion matrix, then the number of top-5 hits: one tensor to sum over processes.
    counts = torch.zeros(num_classes * num_classes + 1, dtype=torch.float64, device=distributed.device)
    unreadable: list[str] = []
    progress = progress or Progress()
    progress.start(len(own), 0, "video")
    samples = load_samples(dataset, own, workers, distributed.device)
    with catch_worker_death(), closing(samples), autocast(recipe, distributed.device):
        for done, sample in enumerate(samples, 1):
            raise_if_interrupted()
            if sample["clips"] is None:
                unreadable.append(sample["read_error"])
            else:
                scores = average_softmax(model, sample["clips"].to(distributed.device), recipe.run.device_batch_size)
                if not torch.isfinite(scores).all():
                    raise DatasetError(f"{videos.source}: the model's scores are not finite; its weights are unusable.")
                ranking = scores.argsort(descending=True)
                counts[sample["label"] * num_classes + ranking[0]] += 1
                counts[-1] += sample["label"] in ranking[:5].tolist()
            progress.update(done)
    progress.finish()
    model.train(was_training)
    counts, unreadable = distributed.sum(counts).cpu(), distributed.gather(unreadable)
    confusion = counts[:-1].reshape(num_classes, num_classes).numpy().astype(np.int64)
    result = EvaluationResult(videos.classes, confusion, int(counts[-1]), tuple(unreadable))
    if not result.num_videos:
        raise DatasetError(f"{videos.source}: none of its videos can be read: {unreadable[0]}")
    return result


def average_softmax(model: nn.Module, clips: Tensor, batch_size: int) -> Tensor:
    """Return the mean softmax over views uint8 (V, T, S, S, 3), (classes,); the model takes `batch_size` views at a time."""
    scores = [model(clips[k : k + batch_size]).float().softmax(dim=1) for k in range(0, len(clips), batch_size)]
    return torch.cat(scores).mean(dim=0)
