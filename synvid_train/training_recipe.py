"""Recipes: all settings of a training run as data, loaded from YAML and checked to the last key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from synvid.config.registry import ConfigRegistry
from synvid.config.schema import Config, setting
from synvid.config.validators import Boolean, Interval, Number, OneOf, Pattern, Vector
from synvid.errors import ConfigurationError

__all__ = ["Data", "Model", "Objective", "Optim", "Run", "TrainingRecipe", "Views", "list_recipes", "load_recipe"]


_SHARE = Number(0, 1)
_COUNT = Number(1, 10**9, whole=True)


@dataclass(frozen=True)
class Model:
    """The model.

    Attributes:
        size: tiny, small (ViT-S), base (ViT-B), large (ViT-L) or huge (ViT-H).
        num_frames: frames of a clip, a multiple of tubelet_size.
        image_size: pixels a side, a multiple of patch_size.
        patch_size, tubelet_size: of a token, in pixels and frames.
        decoder_depth: blocks of the decoder, in pre-training.
        drop_path: largest share of residual branches that are dropped, in fine-tuning.
        dropout: before the classifier's last layer.
    """

    size: str = setting("base", OneOf(("tiny", "small", "base", "large", "huge")))
    num_frames: int = setting(16, Number(1, 1024, whole=True))
    image_size: int = setting(224, Number(4, 4096, whole=True))
    patch_size: int = setting(16, Number(1, 256, whole=True))
    tubelet_size: int = setting(2, Number(1, 64, whole=True))
    decoder_depth: int = setting(4, Number(1, 64, whole=True))
    drop_path: float = setting(0.0, Number(0, 0.9))
    dropout: float = setting(0.0, Number(0, 0.9))


@dataclass(frozen=True)
class Data:
    """Which frames of which clips.

    Attributes:
        stride: every so many frames of a video one is taken.
        clips_per_epoch: of a preset without --n, whose clips are new in each epoch.
        samples_per_clip: views of one window of each clip, all in the same step, which has so many times batch_size samples.
    """

    stride: int = setting(4, Number(1, 1000, whole=True))
    clips_per_epoch: int = setting(9537, _COUNT)
    samples_per_clip: int = setting(1, Number(1, 64, whole=True))


@dataclass(frozen=True)
class Views:
    """What the model sees of a frame.

    Attributes:
        crop_scales: MultiScaleCrop of pre-training: sides of the crop as shares of the short side, neighbours may be mixed.
        crop_area_range, crop_aspect_range: RandomResizedCrop of fine-tuning.
        flip: mirrored half of the time, in fine-tuning.
        randaugment: of timm, `rand-m9-mstd0.5-inc1`; empty for none.
        erasing: probability that a box is erased, the same in every frame.
        test_clips, test_crops: views whose softmax is averaged: stretches in time, crops along the long side.
    """

    crop_scales: tuple[float, ...] = setting((1.0, 0.875, 0.75, 0.66), Vector(4, Number(0.01, 1)))
    crop_area_range: tuple[float, float] = setting((0.08, 1.0), Interval(Number(0.001, 1)))
    crop_aspect_range: tuple[float, float] = setting((0.75, 1.3333), Interval(Number(0.1, 10)))
    flip: bool = setting(False, Boolean())
    randaugment: str = setting("", Pattern(r"(rand(-[a-z]+[0-9.]+)+)?", "a RandAugment of timm such as rand-m9-mstd0.5-inc1"))
    erasing: float = setting(0.0, _SHARE)
    test_clips: int = setting(5, Number(1, 100, whole=True))
    test_crops: int = setting(3, Number(1, 9, whole=True))


@dataclass(frozen=True)
class Objective:
    """What is asked of the model.

    Attributes:
        mask_ratio: share of patches hidden, in pre-training.
        mixup, cutmix: parameters of their Beta distributions, 0 for none, in fine-tuning.
        label_smoothing: share of a label spread over all classes.
    """

    mask_ratio: float = setting(0.75, Number(0.01, 0.99))
    mixup: float = setting(0.0, Number(0, 10))
    cutmix: float = setting(0.0, Number(0, 10))
    label_smoothing: float = setting(0.0, Number(0, 0.99))


@dataclass(frozen=True)
class Optim:
    """How weights move.

    Attributes:
        optimizer: adamw, or sgd with momentum betas[0].
        base_learning_rate, min_learning_rate: for 256 clips a step; both grow in proportion to batch_size.
        batch_size: clips a step, over all devices.
        epochs, warmup_epochs: the rate rises from 0 in the warm-up, then falls as a cosine to the last step, so that another
            number of epochs is another run once it falls.
        weight_decay: none on biases, norms and the mask token.
        betas: of AdamW.
        layer_decay: the rate of a block is multiplied by this once for every layer above it.
        clip_norm: longest gradient, 0 for any.
    """

    optimizer: str = setting("adamw", OneOf(("adamw", "sgd")))
    base_learning_rate: float = setting(3e-4, Number(0, 100))
    min_learning_rate: float = setting(1e-5, Number(0, 100))
    batch_size: int = setting(256, _COUNT)
    epochs: int = setting(3200, _COUNT)
    warmup_epochs: float = setting(40, Number(0, 10**6))
    weight_decay: float = setting(0.05, Number(0, 10))
    betas: tuple[float, float] = setting((0.9, 0.95), Vector(2, Number(0, 0.99999)))
    layer_decay: float = setting(1.0, Number(0.01, 1))
    clip_norm: float = setting(0.0, Number(0, 10**6))


@dataclass(frozen=True)
class Run:
    """How the work is done. In pre-training nothing here but `precision` changes what is computed beyond rounding.

    Attributes:
        precision: bf16 (autocast, loss in float32) or fp32.
        compile: with torch.compile.
        device_batch_size: most samples that a device takes at once; the gradient of a step is accumulated over as many as it needs.
        log_every: steps.
        save_every: epochs between two checkpoints; one is always written at the end and on Ctrl-C.
    """

    precision: str = setting("bf16", OneOf(("bf16", "fp32")))
    compile: bool = setting(False, Boolean())
    device_batch_size: int = setting(64, _COUNT)
    log_every: int = setting(10, _COUNT)
    save_every: int = setting(1, _COUNT)


@dataclass(frozen=True)
class TrainingRecipe(Config):
    """All settings of a run.

    Attributes:
        name: of the recipe or the stem of a file of your own.
        description: one line.
    """

    renamed: ClassVar[Mapping[str, Mapping[str, str]]] = {"0.2": {"run.device_batch": "run.device_batch_size"}}

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    views: Views = field(default_factory=Views)
    objective: Objective = field(default_factory=Objective)
    optim: Optim = field(default_factory=Optim)
    run: Run = field(default_factory=Run)

    def check(self, source: str) -> None:
        """Refuse settings that do not go together."""
        if self.optim.warmup_epochs >= self.optim.epochs:
            raise ConfigurationError(
                f"{source}: optim.warmup_epochs is {self.optim.warmup_epochs:g}; it must be below optim.epochs, "
                f"{self.optim.epochs}."
            )


def list_recipes() -> list[str]:
    """Names of all recipes that come with synvid_train.

    >>> "pretrain_vitb" in list_recipes()
    True
    """
    return _REGISTRY.names()


def load_recipe(name_or_path: str | Path, settings: Sequence[str] = ()) -> TrainingRecipe:
    """Load a recipe by name, or a YAML file of your own, which may extend another.

    Args:
        name_or_path: one of `list_recipes()`, or the path of a file ending in .yaml or .yml.
        settings: changes, ["optim.epochs=100"].

    Raises:
        ConfigurationError: no such recipe or file, an unknown key, or a value of the wrong kind.

    >>> load_recipe("pretrain_vitb", ["optim.epochs=100"]).optim.epochs
    100
    """
    return _REGISTRY.load(name_or_path).override_text(settings)


_REGISTRY = ConfigRegistry(TrainingRecipe, "recipe", Path(__file__).parent / "recipes", "synvid-train recipes")
