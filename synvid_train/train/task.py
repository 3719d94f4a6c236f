"""The part of a training run that differs between pre-training and fine-tuning: model, data, loss and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from synvid_train.data.samples import TrainingClips
from synvid_train.distributed import DistributedContext
from synvid_train.training_recipe import TrainingRecipe

__all__ = ["Batch", "TrainingTask"]


Batch = dict[str, Any]


@dataclass
class TrainingTask:
    """A model, its data, its loss and its evaluation.

    Attributes:
        kind: "pretraining" or "classifier".
        recipe: all settings.
        model: the model, on the CPU.
        clips: the dataset of training samples.
        loss: maps (model, batch on the device) to the mean loss of the batch.
        evaluate: maps (model, distributed, number of loader processes) to metrics by name, which may be empty. Called on every
            process after each checkpoint at the end of an epoch.
        seed: random seed of order, crops, masks, dropout, mixup and cutmix.
        resample_each_epoch: each epoch has new clips.
        classes: class names.
        origin: digest of the initial weights; "" or "scratch" for random ones.
        mixes_pairs: the loss mixes the samples of a micro-batch in pairs, so their number must be even.
    """

    kind: str
    recipe: TrainingRecipe
    model: nn.Module
    clips: TrainingClips
    loss: Callable[[nn.Module, Batch], Tensor]
    evaluate: Callable[[nn.Module, DistributedContext, int], dict[str, float]]
    seed: int = 0
    resample_each_epoch: bool = False
    classes: tuple[str, ...] = ()
    origin: str = ""
    mixes_pairs: bool = False
