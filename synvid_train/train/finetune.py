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
from synvid_train.data.samples import TrainingClips, recipe_architecture
from synvid_train.data.transforms import check_randaugment, seeded
from synvid_train.data.video_list import VideoList
from synvid_train.data.window_sources import LabelledVideos
from synvid_train.distributed import DistributedContext
from synvid_train.eval.evaluate import evaluate
from synvid_train.model.checkpoint import Checkpoint, load_encoder
from synvid_train.model.videomae import Architecture, VideoClassifier, normalize
from synvid_train.train.task import Batch, TrainingTask
from synvid_train.training_recipe import TrainingRecipe

__all__ = ["make_finetuning_task"]


def make_finetuning_task(
    recipe: TrainingRecipe,
    training: VideoList,
    validation: VideoList | None = None,
    *,
    checkpoint: Checkpoint | None = None,
    probe: bool = False,
    seed: int = 0,
) -> TrainingTask:
    """Build the model, data, loss and evaluation for training a classifier; `trainer.train` runs them.

    Args:
        recipe: all settings.
        training: labelled videos to train on.
        validation: labelled videos of the same classes for the evaluation; None for no evaluation.
        checkpoint: a model whose encoder initialises the classifier's; None for random weights.
        probe: freeze the encoder and train only the norm and the linear layer after it.
        seed: random seed of new weights, order, windows and views.

    Raises:
        ConfigurationError: the checkpoint's encoder differs in shape from the recipe's model, or no validation video can be
            read.
    """
    architecture = recipe_architecture(recipe)
    check_randaugment(recipe.views.randaugment)
    with seeded(seed):
        model = VideoClassifier(architecture, len(training.classes), recipe.model.drop_path, recipe.model.dropout)
    if checkpoint is not None:
        _check_architecture(architecture, checkpoint.architecture)
        load_encoder(model, checkpoint)
    if probe:
        model.encoder.requires_grad_(requires_grad=False)
    mix = _make_mixup(recipe, len(training.classes))
    if validation is not None:
        _check_readable(validation)

    def loss(parallel: nn.Module, batch: Batch) -> Tensor:
        if probe:
            model.encoder.eval()  # a frozen encoder drops no paths
        pixels, target = normalize(batch["clip"]), batch["label"]
        if mix is not None:
            pixels, target = mix(pixels, target)
        logits = parallel(pixels).float()
        return functional.cross_entropy(logits, target, label_smoothing=0.0 if mix else recipe.objective.label_smoothing)

    def evaluate_one_view(trained: nn.Module, distributed: DistributedContext, workers: int) -> dict[str, float]:
        """Validate with one view per video: a quick estimate of the result of `evaluate`."""
        if validation is None:
            return {}
        views = dataclasses.replace(recipe.views, test_clips=1, test_crops=1)
        result = evaluate(trained, validation, dataclasses.replace(recipe, views=views), distributed, workers)
        return {"val_top1": result.top1, "val_top5": result.top5}

    origin = "scratch" if checkpoint is None else checkpoint.digest()
    clips = TrainingClips(LabelledVideos(training), recipe, seed, pretraining=False)
    return TrainingTask(
        "classifier", recipe, model, clips, loss, evaluate_one_view, seed,
        classes=training.classes, origin=origin, mixes_pairs=mix is not None,
    )  # fmt: skip


#: Number of validation videos that are tried before training.
_MAX_TRIED_VIDEOS = 8


def _check_readable(videos: VideoList) -> None:
    """Check before training, rather than after the first epoch, that one of the first validation videos can be read."""
    problem = ""
    candidates = videos.paths[:_MAX_TRIED_VIDEOS]
    for path in candidates:
        try:
            decode(path, [0])
        except DatasetError as error:
            problem = problem or str(error)
        else:
            return
    raise ConfigurationError(f"{videos.source}: none of its first {len(candidates)} videos can be read: {problem}")


def _check_architecture(architecture: Architecture, checkpoint: Architecture) -> None:
    for name in ("size", "patch_size", "tubelet_size"):
        ours, theirs = getattr(architecture, name), getattr(checkpoint, name)
        if ours != theirs:
            raise ConfigurationError(
                f"model.{name} is {ours} in the recipe, but {theirs} in the checkpoint; --set model.{name}={theirs}."
            )


def _make_mixup(recipe: TrainingRecipe, classes: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Return timm's mixup and cutmix for clips; None if the recipe uses neither.

    Returns:
        Maps clips (B, T, H, W, C) and labels (B,) to mixed clips of the same shape and soft targets (B, classes).
    """
    objective = recipe.objective
    if not objective.mixup and not objective.cutmix:
        return None
    from synvid_train.model.timm_imports import Mixup

    mixup = Mixup(objective.mixup, objective.cutmix, label_smoothing=objective.label_smoothing, num_classes=classes)  # type: ignore[no-untyped-call]

    def mix(pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        _, frames, height, width, channels = pixels.shape
        # timm expects images (B, C, H, W): with time among the channels, cutmix cuts the same box from every frame.
        flat = pixels.permute(0, 1, 4, 2, 3).reshape(len(pixels), frames * channels, height, width).contiguous()
        mixed, target = mixup(flat, labels)
        return mixed.unflatten(1, (frames, channels)).permute(0, 1, 3, 4, 2), target

    return mix
