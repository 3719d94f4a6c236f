"""Read official VideoMAE checkpoints, pre-trained and fine-tuned, and other checkpoints that use the same weight names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from synvid.errors import ConfigurationError
from synvid_train.model.checkpoint import Checkpoint, prefix_errors
from synvid_train.model.tensor_files import Weights, are_weights
from synvid_train.model.videomae import SIZES, Architecture

__all__ = ["numbered_classes", "read_official", "size_from_width"]


#: Keys under which training programs save the weights.
_WEIGHT_KEYS = ("model", "module", "state_dict")


def read_official(path: Path, content: Any) -> Checkpoint:
    """Return the model in the content of an official checkpoint, without the optimizer and the rest.

    Args:
        path: the file, for error messages.
        content: the result of torch.load: weights, or a dict that has them under `model`, `module` or `state_dict`.

    Raises:
        ConfigurationError: the content has no weights of a VideoMAE.
    """
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: it holds a {type(content).__name__}; it must be a dict with weights.")
    candidates = [content, *(content.get(key) for key in _WEIGHT_KEYS)]
    weights = next((candidate for candidate in candidates if are_weights(candidate)), None)
    if weights is None:
        raise ConfigurationError(
            f"{path}: it has no weights, neither at the top level nor under {', '.join(_WEIGHT_KEYS)}; it has "
            f"{_list_some(content)}."
        )
    return convert_official_weights(path, _strip_wrappers(path, weights))


def _list_some(names: Iterable[Any]) -> str:
    shown = [str(name)[:80] for name in itertools.islice(names, 4)]
    return f"{', '.join(shown[:3])}{', ...' if len(shown) > 3 else ''}" if shown else "nothing"


def _strip_wrappers(path: Path, weights: Weights) -> Weights:
    """Remove the prefixes of wrapped models from names: `module.` (DistributedDataParallel), `_orig_mod.` (torch.compile)."""
    stripped = {re.sub(r"^(module\.)+", "", name.replace("_orig_mod.", "")): value for name, value in weights.items()}
    if len(stripped) < len(weights):
        raise ConfigurationError(f"{path}: it has some weights twice, with and without `module.` or `_orig_mod.`.")
    return stripped


def convert_official_weights(path: Path, weights: Weights) -> Checkpoint:
    """Rename official weights to the names used here, and infer the architecture from the shapes."""
    if "patch_embed.proj.weight" in weights:  # fine-tuned: the encoder's names have no prefix
        heads = ("fc_norm.", "head.")
        weights = {name if name.startswith(heads) else f"encoder.{name}": value for name, value in weights.items()}
    kernel = weights.get("encoder.patch_embed.proj.weight")
    if kernel is None or kernel.ndim != 5 or kernel.shape[-1] != kernel.shape[-2]:
        raise ConfigurationError(
            f"{path}: it is not a VideoMAE: encoder.patch_embed.proj.weight must exist, (width, 3, tubelet, patch, patch); "
            f"it has {_list_some(weights) if kernel is None else tuple(kernel.shape)}."
        )
    decoder_blocks = {name.split(".")[2] for name in weights if name.startswith("decoder.blocks.")}
    size = size_from_width(path, kernel.shape[0])
    with prefix_errors(path):
        architecture = Architecture(
            size,
            patch_size=kernel.shape[-1],
            tubelet_size=kernel.shape[2],
            decoder_depth=len(decoder_blocks) or 4,
        )
    head = weights.get("head.weight")
    if head is None:
        return Checkpoint(architecture, "pretraining", weights)
    return Checkpoint(architecture, "classifier", weights, numbered_classes(head))


def numbered_classes(head: Tensor) -> tuple[str, ...]:
    """Return "0", "1", ... as class names for a classifier's last layer (classes, D) without names."""
    return tuple(str(number) for number in range(head.shape[0] if head.ndim else 0))


def size_from_width(path: Path, width: int) -> str:
    """Return the model size whose encoder has this width.

    Raises:
        ConfigurationError: no size has this width.
    """
    sizes = {encoder_width: name for name, (encoder_width, *_) in SIZES.items()}
    if width not in sizes:
        choices = ", ".join(f"{name} {encoder_width}" for encoder_width, name in sizes.items())
        raise ConfigurationError(f"{path}: its encoder has width {width}; it must be one of {choices}.")
    return sizes[width]
