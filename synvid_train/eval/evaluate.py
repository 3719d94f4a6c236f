"""Testing a classifier: several views a video, whose softmax is averaged (section 3.3 of the paper).

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
from synvid_train.data.annotations import VideoList
from synvid_train.data.corruptions import Corruption
from synvid_train.data.loader import catch_worker_death, load_samples
from synvid_train.data.samples import TestVideos
from synvid_train.data.window_sources import LabelledVideos
from synvid_train.distributed import DistributedContext, autocast
from synvid_train.eval.result_plots import draw_confusion
from synvid_train.training_recipe import TrainingRecipe

__all__ = ["EvaluationResult", "evaluate"]


@dataclass(frozen=True)
class EvaluationResult:
    """What a test gave.

    Attributes:
        classes: names of the labels.
        confusion: int64 (classes, classes), videos by true label and by the one that was said.
        within_five: videos whose label is among the five likeliest.
        unread: videos that could not be read, and why; they are left out.
    """

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    within_five: int
    unread: tuple[str, ...] = ()

    @property
    def videos(self) -> int:
        """How many were tested."""
        return int(self.confusion.sum())

    @property
    def top1(self) -> float:
        """Share of videos named rightly, in percent."""
        return 100 * float(np.trace(self.confusion)) / self.videos

    @property
    def top5(self) -> float:
        """Share of videos whose label is among the five likeliest, in percent."""
        return 100 * self.within_five / self.videos

    def per_class(self) -> dict[str, float]:
        """Share named rightly of each class that occurs, in percent."""
        counts = self.confusion.sum(axis=1)
        return {name: 100 * float(self.confusion[i, i] / counts[i]) for i, name in enumerate(self.classes) if counts[i]}

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        per_class = self.per_class()
        return {
            "videos": self.videos,
            "top1": self.top1,
            "top5": self.top5,
            "mean_class": float(np.mean(list(per_class.values()))),
            "per_class": per_class,
            "confusion": self.confusion.tolist(),
            "classes": list(self.classes),
            "unread": list(self.unread),
        }

    def save(self, folder: Path) -> None:
        """Write `result.json` and `confusion.png`."""
        with wrap_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write(folder / "result.json", json.dumps(self.to_dict(), indent=1) + "\n")
        title = f"top-1 {self.top1:.1f} %, top-5 {self.top5:.1f} % of {self.videos:,} videos"
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
    """Test a classifier on videos, each seen `views.test_clips` x `views.test_crops` times.

    Args:
        model: a `VideoClassifier`, on the device.
        videos: with labels of the model's classes.
        recipe: for frames, stride and views.
        distributed: the processes, which share the videos.
        workers: that load videos.
        corruption: of the videos; None for none.
        seed: of corruptions.
        progress: told of videos.

    Raises:
        DatasetError: no video could be read.
    """
    was_training = model.training
    model.eval()
    dataset = TestVideos(LabelledVideos(videos), recipe, corruption, seed)
    own = list(range(distributed.rank, len(videos), distributed.world_size))
    count = len(videos.classes)
    counts = torch.zeros(count * count + 1, dtype=torch.float64, device=distributed.device)
    unread: list[str] = []
    progress = progress or Progress()
    progress.start(len(own), 0, "video")
    items = load_samples(dataset, own, workers, distributed.device)
    with catch_worker_death(), closing(items), autocast(recipe, distributed.device):
        for done, item in enumerate(items, 1):
            raise_if_interrupted()
            if item["clips"] is None:
                unread.append(item["unread"])
            else:
                scores = average_softmax(model, item["clips"].to(distributed.device), recipe.run.device_batch_size)
                if not torch.isfinite(scores).all():
                    raise DatasetError(f"{videos.source}: the model's scores are not finite; its weights are of no use.")
                ranking = scores.argsort(descending=True)
                counts[item["label"] * count + ranking[0]] += 1
                counts[-1] += item["label"] in ranking[:5].tolist()
            progress.update(done)
    progress.finish()
    model.train(was_training)
    counts, unread = distributed.sum(counts).cpu(), distributed.gather(unread)
    result = EvaluationResult(
        videos.classes, counts[:-1].reshape(count, count).numpy().astype(np.int64), int(counts[-1]), tuple(unread)
    )
    if not result.videos:
        raise DatasetError(f"{videos.source}: none of its videos can be read: {unread[0]}")
    return result


def average_softmax(model: nn.Module, clips: Tensor, batch: int) -> Tensor:
    """The mean over views (V, T, S, S, 3) of the softmax of their logits, (classes,)."""
    pieces = [model(clips[k : k + batch]).float().softmax(dim=1) for k in range(0, len(clips), batch)]
    return torch.cat(pieces).mean(dim=0)
