"""Pre-training: a VideoMAE learns to fill in what is hidden of rendered clips (section 3.2 of the paper).

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
from synvid_train.train.trainer import Batch, TrainingTask
from synvid_train.training_recipe import TrainingRecipe

__all__ = ["pretraining", "reconstruction"]


#: Clips by which a model is judged after an epoch.
HELD_OUT = 128


def pretraining(
    recipe: TrainingRecipe, source: WindowSource, *, seed: int = 0, fresh: bool = False, held_out: WindowSource | None = None
) -> TrainingTask:
    """What `loop.train` is to do to pre-train a model.

    Args:
        recipe: all settings.
        source: clips.
        seed: of weights, order, windows, crops and masks.
        fresh: each epoch has clips that the ones before had not.
        held_out: clips on which R² is measured after an epoch.

    Raises:
        ConfigurationError: settings that do not go together.
    """
    visible = count_visible(recipe)
    with seeded(seed):
        model = VideoMAE(recipe_architecture(recipe))

    def loss(parallel: nn.Module, batch: Batch) -> Tensor:
        return parallel(batch["clip"], batch["order"], visible)[0]  # type: ignore[no-any-return]

    def evaluate(trained: Any, world: DistributedContext, workers: int) -> dict[str, float]:
        return {} if held_out is None else reconstruction(trained, held_out, recipe, world.device, workers)

    clips = TrainingClips(source, recipe, seed, pretraining=True)
    return TrainingTask("pretraining", recipe, model, clips, loss, evaluate, seed, fresh)


def count_visible(recipe: TrainingRecipe) -> int:
    """V: tokens that the encoder sees."""
    steps, patches = recipe_architecture(recipe).grid
    masked = int(recipe.objective.mask_ratio * patches)
    if not 0 < masked < patches:
        raise ConfigurationError(
            f"objective.mask_ratio is {recipe.objective.mask_ratio}: of {patches} patches in a frame it masks {masked}; "
            "some must be masked and some not."
        )
    return steps * (patches - masked)


@torch.no_grad()
def reconstruction(
    model: VideoMAE, source: WindowSource, recipe: TrainingRecipe, device: torch.device, workers: int = 0
) -> dict[str, float]:
    """R² of the prediction on held-out clips, with masks and windows that are always the same.

    Returns:
        {"r2": 1 - squared error / squares of the normalised target}: 0 for predicting the mean of each patch, 1 for all.
    """
    clips = TrainingClips(source, recipe, seed=0, pretraining=True)
    keys = [(0, i, 0) for i in range(min(HELD_OUT, len(source)))]
    error = total = 0.0
    visible = count_visible(recipe)
    batches = load_batches(clips, [keys[k : k + 16] for k in range(0, len(keys), 16)], workers, device)
    with closing(batches):
        for batch in batches:
            raise_if_interrupted()
            pixels, order = normalize(batch["clip"].to(device)), batch["order"].to(device)
            target = model.target(pixels, order[:, visible:])
            error += float((model.predict(pixels, order, visible).float() - target).square().sum(dtype=torch.float64))
            total += float(target.square().sum(dtype=torch.float64))
    return {"r2": 1 - error / total} if total else {}
