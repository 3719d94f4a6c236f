"""Training recipes: all settings of a run, loaded from YAML and validated."""

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


_FRACTION = Number(0, 1)
_COUNT = Number(1, 10**9, whole=True)


@dataclass(frozen=True)
class Model:
    """The model architecture and its regularisation.

    Attributes:
        size: tiny, small (ViT-S), base (ViT-B), large (ViT-L) or huge (ViT-H).
        num_frames: number of frames of a clip, a multiple of tubelet_size.
        image_size: height and width of a frame in pixels, a multiple of patch_size.
        patch_size: height and width of a token in pixels.
        tubelet_size: number of frames of a token.
        decoder_depth: number of decoder blocks, in pre-training.
        drop_path: stochastic depth rate of the last block, in fine-tuning; it grows linearly from 0 in the first.
        dropout: dropout rate before the classifier's last layer.
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
    """Sampling of clips and frames.

    Attributes:
        stride: distance in frames between two frames of a window.
        clips_per_epoch: number of clips in an epoch of a preset without --n, whose clips are new in each epoch.
        samples_per_clip: repeated augmentation: views of one window of each clip, all in the same step, which then has
            samples_per_clip x batch_size samples.
    """

    stride: int = setting(4, Number(1, 1000, whole=True))
    clips_per_epoch: int = setting(9537, _COUNT)
    samples_per_clip: int = setting(1, Number(1, 64, whole=True))


@dataclass(frozen=True)
class Views:
    """Crops and augmentations.

    Attributes:
        crop_scales: sides of MultiScaleCrop in pre-training, as fractions of the short side; width and height may use
            neighbouring scales.
        crop_area_range: RandomResizedCrop's area in fine-tuning, as a fraction of the frame.
        crop_aspect_range: RandomResizedCrop's aspect ratio in fine-tuning.
        flip: mirror half of the clips, in fine-tuning.
        randaugment: timm's configuration string of RandAugment, such as `rand-m9-mstd0.5-inc1`; empty for none.
        erasing: probability that a box is erased, the same in every frame.
        test_clips, test_crops: numbers of windows in time and of crops along the long side in a test, which averages the
            softmax over all views.
    """

    crop_scales: tuple[float, ...] = setting((1.0, 0.875, 0.75, 0.66), Vector(4, Number(0.01, 1)))
    crop_area_range: tuple[float, float] = setting((0.08, 1.0), Interval(Number(0.001, 1)))
    crop_aspect_range: tuple[float, float] = setting((0.75, 1.3333), Interval(Number(0.1, 10)))
    flip: bool = setting(False, Boolean())
    randaugment: str = setting("", Pattern(r"(rand(-[a-z]+[0-9.]+)+)?", "a RandAugment of timm such as rand-m9-mstd0.5-inc1"))
    erasing: float = setting(0.0, _FRACTION)
    test_clips: int = setting(5, Number(1, 100, whole=True))
    test_crops: int = setting(3, Number(1, 9, whole=True))


@dataclass(frozen=True)
class Objective:
    """The training objective.

    Attributes:
        mask_ratio: fraction of patches that are masked, in pre-training.
        mixup, cutmix: alpha of their Beta distributions in fine-tuning; 0 for none.
        label_smoothing: label smoothing, in fine-tuning.
    """

    mask_ratio: float = setting(0.75, Number(0.01, 0.99))
    mixup: float = setting(0.0, Number(0, 10))
    cutmix: float = setting(0.0, Number(0, 10))
    label_smoothing: float = setting(0.0, Number(0, 0.99))


@dataclass(frozen=True)
class Optim:
    """The optimizer and its schedule.

    Attributes:
        optimizer: adamw, or sgd with momentum betas[0].
        base_learning_rate, min_learning_rate: for a batch size of 256; both are scaled by batch_size / 256.
        batch_size: clips per step, over all devices.
        epochs, warmup_epochs: linear warm-up from 0, then cosine decay until the last step. After the warm-up the rate depends
            on the number of epochs, which can therefore no longer be changed when the run is resumed.
        weight_decay: weight decay, except of biases, norms and the mask token.
        betas: betas of AdamW.
        layer_decay: layer-wise learning rate decay: the rate of a block is multiplied by this once for every layer above it.
        clip_norm: maximum norm of the gradient; 0 for no clipping.
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
    """Execution. In pre-training only `precision` changes the result by more than rounding.

    Attributes:
        precision: bf16 (autocast, loss in float32) or fp32.
        compile: use torch.compile.
        device_batch_size: maximum number of samples in a micro-batch; larger steps use gradient accumulation.
        log_every: steps between two lines of the log.
        save_every: epochs between two checkpoints; one is always written at the end and on SIGINT or SIGTERM.
    """

    precision: str = setting("bf16", OneOf(("bf16", "fp32")))
    compile: bool = setting(False, Boolean())
    device_batch_size: int = setting(64, _COUNT)
    log_every: int = setting(10, _COUNT)
    save_every: int = setting(1, _COUNT)


@dataclass(frozen=True)
class TrainingRecipe(Config):
    """All settings of a training run.

    Attributes:
        name: name of the recipe, or the file's name without its extension.
        description: one line.
    """

    renamed: ClassVar[Mapping[str, str]] = {"run.device_batch": "run.device_batch_size"}

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    views: Views = field(default_factory=Views)
    objective: Objective = field(default_factory=Objective)
    optim: Optim = field(default_factory=Optim)
    run: Run = field(default_factory=Run)

    def check(self, source: str) -> None:
        """Raise ConfigurationError if settings contradict each other."""
        if self.optim.warmup_epochs >= self.optim.epochs:
            raise ConfigurationError(
                f"{source}: optim.warmup_epochs is {self.optim.warmup_epochs:g}; it must be below optim.epochs, "
                f"{self.optim.epochs}."
            )


def list_recipes() -> list[str]:
    """Return the names of all recipes that come with synvid_train.

    Examples:
        >>> "pretrain_vitb" in list_recipes()
        True
    """
    return _REGISTRY.names()


def load_recipe(name_or_path: str | Path, settings: Sequence[str] = ()) -> TrainingRecipe:
    """Load a recipe by name, or from a YAML file, which may extend another recipe.

    Args:
        name_or_path: one of `list_recipes()`, or the path of a file ending in .yaml or .yml.
        settings: settings to change, such as ["optim.epochs=100"].

    Raises:
        ConfigurationError: no such recipe or file, an unknown key, or an invalid value.

    Examples:
        >>> load_recipe("pretrain_vitb", ["optim.epochs=100"]).optim.epochs
        100
    """
    return _REGISTRY.load(name_or_path).override_text(settings)


_REGISTRY = ConfigRegistry(TrainingRecipe, "recipe", Path(__file__).parent / "recipes", "synvid-train recipes")
