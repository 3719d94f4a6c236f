"""Fine-tuning and linear probing: a classifier on top of a pre-trained encoder, or from scratch (section 3.3 of the paper).

synvid-train finetune --checkpoint runs/a/last.pt --train train.csv --val val.csv
synvid-train probe --checkpoint runs/a/last.pt --train train.csv --val val.csv
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from synvid.errors import ConfigurationError, DatasetError
from synvid.video.decode import decode
from synvid_train.data.annotations import VideoList
from synvid_train.data.samples import TrainingClips, recipe_architecture
from synvid_train.data.transforms import check_randaugment, seeded
from synvid_train.data.window_sources import LabelledVideos
from synvid_train.distributed import DistributedContext
from synvid_train.eval.evaluate import evaluate
from synvid_train.model.checkpoint import Checkpoint, load_encoder
from synvid_train.model.videomae import Architecture, VideoClassifier, normalize
from synvid_train.train.trainer import Batch, TrainingTask
from synvid_train.training_recipe import TrainingRecipe

__all__ = ["finetuning"]


def finetuning(
    recipe: TrainingRecipe,
    training: VideoList,
    validation: VideoList | None = None,
    *,
    checkpoint: Checkpoint | None = None,
    probe: bool = False,
    seed: int = 0,
) -> TrainingTask:
    """What `loop.train` is to do to train a classifier.

    Args:
        recipe: all settings.
        training, validation: videos with labels of the same classes.
        checkpoint: its encoder is taken; None starts from random weights.
        probe: the encoder stays as it is, only the norm and the linear layer after it learn.
        seed: of new weights, order, windows and views.

    Raises:
        ConfigurationError: the checkpoint's encoder has another shape than the recipe's model.
    """
    shape = recipe_architecture(recipe)
    check_randaugment(recipe.views.randaugment)
    with seeded(seed):
        model = VideoClassifier(shape, len(training.classes), recipe.model.drop_path, recipe.model.dropout)
    if checkpoint is not None:
        _check_shapes(shape, checkpoint.architecture)
        load_encoder(model, checkpoint)
    if probe:
        model.encoder.requires_grad_(requires_grad=False)
    mix = _mixing(recipe, len(training.classes))
    if validation is not None:
        _try(validation)

    def loss(parallel: nn.Module, batch: Batch) -> Tensor:
        if probe:
            model.encoder.eval()  # no drop path
        pixels, target = normalize(batch["clip"]), batch["label"]
        if mix is not None:
            pixels, target = mix(pixels, target)
        logits = parallel(pixels).float()
        return functional.cross_entropy(logits, target, label_smoothing=0.0 if mix else recipe.objective.label_smoothing)

    def figures(trained: nn.Module, world: DistributedContext, workers: int) -> dict[str, float]:
        """One view a video: a glance after an epoch, not the result."""
        if validation is None:
            return {}
        views = dataclasses.replace(recipe.views, test_clips=1, test_crops=1)
        glance = dataclasses.replace(recipe, views=views)
        result = evaluate(trained, validation, glance, world, workers)
        return {"val_top1": result.top1, "val_top5": result.top5}

    origin = "scratch" if checkpoint is None else checkpoint.digest()
    clips = TrainingClips(LabelledVideos(training), recipe, seed, pretraining=False)
    return TrainingTask(
        "classifier", recipe, model, clips, loss, figures, seed, classes=training.classes, origin=origin, pairs=mix is not None
    )


#: Videos of a list for validation that are tried before the training.
_TRIED = 8


def _try(videos: VideoList) -> None:
    """See that a list for validation has a video that can be read, before hours are spent."""
    problem = ""
    for path in videos.paths[:_TRIED]:
        try:
            decode(path, [0])
        except DatasetError as error:
            problem = problem or str(error)
        else:
            return
    raise ConfigurationError(f"{videos.source}: none of its first {len(videos.paths[:_TRIED])} videos can be read: {problem}")


def _check_shapes(shape: Architecture, other: Architecture) -> None:
    for name in ("size", "patch_size", "tubelet_size"):
        if getattr(shape, name) != getattr(other, name):
            raise ConfigurationError(
                f"model.{name} is {getattr(shape, name)} in the recipe, but {getattr(other, name)} in the checkpoint; "
                f"--set model.{name}={getattr(other, name)}."
            )


def _mixing(recipe: TrainingRecipe, classes: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Mixup and cutmix of timm on clips: (B, T, H, W, C) and labels to the same and soft targets (B, classes).

    Time and channels become one axis first: cutmix would else cut a box out of time.
    """
    objective = recipe.objective
    if not objective.mixup and not objective.cutmix:
        return None
    from synvid_train.model.timm_imports import Mixup

    mixup = Mixup(objective.mixup, objective.cutmix, label_smoothing=objective.label_smoothing, num_classes=classes)  # type: ignore[no-untyped-call]

    def mix(pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        _, frames, height, width, channels = pixels.shape
        flat = pixels.permute(0, 1, 4, 2, 3).reshape(len(pixels), frames * channels, height, width).contiguous()
        mixed, target = mixup(flat, labels)
        return mixed.unflatten(1, (frames, channels)).permute(0, 1, 3, 4, 2), target

    return mix
