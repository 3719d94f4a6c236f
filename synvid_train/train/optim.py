"""The optimizer: weight decay, layer-wise learning rates and the learning rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from synvid_train.training_recipe import Optim

__all__ = ["learning_rate", "make_optimizer", "parameter_groups", "set_learning_rate"]


def _layer_index(name: str, depth: int) -> int:
    """Return the layer of a parameter: 0 for the patch embedding, i + 1 for block i, depth + 1 for the rest."""
    name = name.removeprefix("encoder.")
    if name.startswith("patch_embed."):
        return 0
    if name.startswith("blocks."):
        return int(name.split(".")[1]) + 1
    return depth + 1


def parameter_groups(model: nn.Module, optim: Optim, depth: int) -> list[dict[str, object]]:
    """Group the trainable parameters by weight decay and layer.

    Biases, norms and the mask token have no weight decay. The learning rate of a layer is scaled by
    layer_decay ** (depth + 1 - layer).

    Args:
        model: a VideoMAE or VideoClassifier.
        optim: settings of the optimizer.
        depth: number of blocks of the encoder.
    """
    groups: dict[tuple[int, bool], dict[str, object]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = parameter.ndim > 1 and not name.endswith("mask_token")
        layer = _layer_index(name, depth) if optim.layer_decay < 1 else depth + 1
        group = groups.setdefault(
            (layer, decays),
            {
                "params": [],
                "weight_decay": optim.weight_decay if decays else 0.0,
                "lr_scale": optim.layer_decay ** (depth + 1 - layer),
            },
        )
        group["params"].append(parameter)  # type: ignore[attr-defined]
    return list(groups.values())


def make_optimizer(model: nn.Module, optim: Optim, depth: int) -> torch.optim.Optimizer:
    """Return AdamW or SGD with momentum, in fused kernels; `set_learning_rate` sets the rate of each step."""
    groups = parameter_groups(model, optim, depth)
    if optim.optimizer == "sgd":
        sgd = torch.optim.SGD(groups, lr=0.0, momentum=optim.betas[0], fused=True)
        for group in sgd.param_groups:
            for parameter in group["params"]:  # else the buffer stays uninitialised if the first step is skipped
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    return torch.optim.AdamW(groups, lr=0.0, betas=optim.betas, eps=1e-8, fused=True)


def learning_rate(optim: Optim, step: int, steps: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step: linear warm-up from 0, then cosine decay to the minimum.

    Examples:
        >>> learning_rate(Optim(base_learning_rate=1e-3, batch_size=256, warmup_epochs=1), 5, 100, 10)
        0.0005
    """
    scale = optim.batch_size / 256
    peak, minimum = optim.base_learning_rate * scale, min(optim.min_learning_rate, optim.base_learning_rate) * scale
    warmup = round(optim.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return peak * step / warmup
    fraction = (step - warmup) / max(steps - warmup, 1)
    return minimum + (peak - minimum) * 0.5 * (1 + math.cos(math.pi * fraction))


def set_learning_rate(groups: Iterable[dict[str, object]], rate: float) -> None:
    """Set the learning rate of each parameter group, scaled by its layer."""
    for group in groups:
        group["lr"] = rate * group["lr_scale"]  # type: ignore[operator]
