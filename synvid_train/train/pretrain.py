"""Pre-training: a VideoMAE reconstructs masked patches of rendered clips (section 3.2 of the paper).

synvid-train pretrain --preset moving_shapes
synvid-train pretrain --shards data/
torchrun --nproc-per-node 8 -m synvid_train pretrain --preset accelerating_transforming_shapes
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import torch
from torch import Tensor, nn

from synvid.errors import ConfigurationError
from synvid.runtime.signals import raise_if_interrupted
from synvid_train.data.loader import load_batches
from synvid_train.data.samples import TrainingClips, recipe_architecture
from synvid_train.data.transforms import seeded
from synvid_train.data.window_sources import WindowSource
from synvid_train.distributed import DistributedContext
from synvid_train.model.videomae import VideoMAE, normalize
from synvid_train.train.task import Batch, TrainingTask
from synvid_train.training_recipe import TrainingRecipe

__all__ = ["make_pretraining_task", "measure_reconstruction"]


#: Number of held-out clips on which a model is evaluated.
HELD_OUT = 128


def make_pretraining_task(
    recipe: TrainingRecipe,
    source: WindowSource,
    *,
    seed: int = 0,
    resample_each_epoch: bool = False,
    held_out: WindowSource | None = None,
) -> TrainingTask:
    """Build the model, data, loss and evaluation for pre-training; `trainer.train` runs them.

    Args:
        recipe: all settings.
        source: training clips.
        seed: random seed of weights, order, windows, crops and masks.
        resample_each_epoch: each epoch has new clips.
        held_out: clips for the evaluation, which measures R²; None for no evaluation.

    Raises:
        ConfigurationError: settings contradict each other.
    """
    num_visible = count_visible(recipe)
    with seeded(seed):
        model = VideoMAE(recipe_architecture(recipe))

    def loss(parallel: nn.Module, batch: Batch) -> Tensor:
        return parallel(batch["clip"], batch["token_order"], num_visible)[0]  # type: ignore[no-any-return]

    def evaluate(trained: Any, distributed: DistributedContext, workers: int) -> dict[str, float]:
        return {} if held_out is None else measure_reconstruction(trained, held_out, recipe, distributed.device, workers)

    clips = TrainingClips(source, recipe, seed, pretraining=True)
    return TrainingTask("pretraining", recipe, model, clips, loss, evaluate, seed, resample_each_epoch)


def count_visible(recipe: TrainingRecipe) -> int:
    """Return V, the number of visible tokens."""
    steps, patches = recipe_architecture(recipe).grid
    num_masked = int(recipe.objective.mask_ratio * patches)
    if not 0 < num_masked < patches:
        raise ConfigurationError(
            f"objective.mask_ratio is {recipe.objective.mask_ratio}: of {patches} patches in a frame it masks {num_masked}; "
            "at least one must be masked and one visible."
        )
    return steps * (patches - num_masked)


@torch.no_grad()
def measure_reconstruction(
    model: VideoMAE, source: WindowSource, recipe: TrainingRecipe, device: torch.device, workers: int = 0
) -> dict[str, float]:
    """Measure R² of the prediction on held-out clips, with fixed windows, crops and masks.

    Returns:
        {"r2": 1 - squared error / sum of squares of the normalised target}: 0 for predicting the mean of each patch, 1 for a
        perfect prediction. Empty if all masked patches are constant.
    """
    clips = TrainingClips(source, recipe, seed=0, pretraining=True)
    keys = [(0, i, 0) for i in range(min(HELD_OUT, len(source)))]
    error = total = 0.0
    num_visible = count_visible(recipe)
    batches = load_batches(clips, [keys[k : k + 16] for k in range(0, len(keys), 16)], workers, device)
    with closing(batches):
        for batch in batches:
            raise_if_interrupted()
            pixels, token_order = normalize(batch["clip"].to(device)), batch["token_order"].to(device)
            target = model.target(pixels, token_order[:, num_visible:])
            predicted = model.predict(pixels, token_order, num_visible).float()
            error += float((predicted - target).square().sum(dtype=torch.float64))
            total += float(target.square().sum(dtype=torch.float64))
    return {"r2": 1 - error / total} if total else {}
