"""Checkpoints of synvid_train: `last.safetensors`, a model's weights, and `last.pt`, the state from which a run resumes.

`synvid_train.model.load` also reads checkpoints written by other programs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synvid.errors import ConfigurationError
from synvid.os_errors import wrap_os_errors
from synvid_train.model.tensor_files import Weights, are_weights, unpickle, write_pickle, write_safetensors
from synvid_train.model.videomae import Architecture, VideoClassifier, VideoMAE

__all__ = ["Checkpoint", "load_encoder", "load_training", "save_training", "save_weights"]


#: Kinds of models.
KINDS = ("pretraining", "classifier")


@dataclass(frozen=True)
class Checkpoint:
    """A trained model: its architecture, its weights and their origin.

    Attributes:
        architecture: the model's architecture.
        kind: "pretraining" or "classifier".
        weights: tensors by their names in `VideoMAE` or `VideoClassifier`, on the CPU if loaded from a file.
        classes: class names in the order of a classifier's logits.
        metrics: results of the last evaluation by name.
        recipe: settings of the training, as JSON types.
    """

    architecture: Architecture
    kind: str
    weights: Weights
    classes: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)

    def digest(self) -> str:
        """Return the SHA-256 of the names, shapes, dtypes and values of the weights; it does not depend on the file format."""
        digest = hashlib.sha256()
        for name, value in sorted(self.weights.items()):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype};".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def model(self, drop_path: float = 0.0, dropout: float = 0.0) -> VideoMAE | VideoClassifier:
        """Build the model, in float32, and load the weights.

        Args:
            drop_path: stochastic depth rate of a classifier.
            dropout: dropout rate before a classifier's last layer.

        Raises:
            ConfigurationError: the weights do not fit the architecture.
        """
        check_weights(self, "The checkpoint")
        model = _build(self.architecture, self.kind, len(self.classes), drop_path, dropout)
        model.load_state_dict(self.weights)
        return model


def _build(
    architecture: Architecture, kind: str, num_classes: int, drop_path: float = 0.0, dropout: float = 0.0
) -> VideoMAE | VideoClassifier:
    if kind == "pretraining":
        return VideoMAE(architecture)
    return VideoClassifier(architecture, num_classes, drop_path, dropout)


# ---- Checks ------------------------------------------------------------------------------------------------------
def weight_shapes(architecture: Architecture, kind: str, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's weights by name, without allocating the model."""
    if kind == "classifier" and not num_classes:
        raise ConfigurationError("A classifier must have classes; this one has none.")
    with torch.device("meta"):
        model = _build(architecture, kind, num_classes)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def check_weights(checkpoint: Checkpoint, subject: str) -> None:
    """Check that the weights of a checkpoint fit its architecture.

    Args:
        checkpoint: the checkpoint.
        subject: subject of the error message, such as "The checkpoint".

    Raises:
        ConfigurationError: a tensor is missing, unexpected or of the wrong shape.
    """
    _check_shapes(
        checkpoint.weights, weight_shapes(checkpoint.architecture, checkpoint.kind, len(checkpoint.classes)), subject
    )


def _check_shapes(weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], subject: str) -> None:
    for name, shape in shapes.items():
        if name not in weights:
            raise ConfigurationError(f"{subject} lacks the tensor {name}, of shape {shape}.")
        if tuple(weights[name].shape) != shape:
            raise ConfigurationError(f"{subject} has {name} of shape {tuple(weights[name].shape)}; the model has {shape}.")
    unexpected = [name for name in weights if name not in shapes]
    if unexpected:
        raise ConfigurationError(f"{subject} has {unexpected[0]}, which is not a weight of the model.")


@contextlib.contextmanager
def prefix_errors(path: Path) -> Iterator[None]:
    """Put the path of a file in front of the message of a ConfigurationError."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


# ---- Writing -----------------------------------------------------------------------------------------------------
def save_weights(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a model as a safetensors file with all other attributes of the checkpoint in its header, atomically.

    Args:
        path: the file, ending in `.safetensors`.
        checkpoint: the model.

    Raises:
        ConfigurationError: the weights do not fit the architecture.
        DatasetError: the file cannot be written; an existing one is unchanged.
    """
    write_safetensors(Path(path), checkpoint.weights, {"synvid": _encode_header(checkpoint)})


def save_training(
    path: str | os.PathLike[str], checkpoint: Checkpoint, optimizer_state: dict[str, Any], step: int, extra: dict[str, Any]
) -> None:
    """Write the state from which a training run resumes, atomically and without a copy in memory.

    Args:
        path: the file, ending in `.pt`.
        checkpoint: the model.
        optimizer_state: the optimizer's `state_dict`.
        step: number of steps done.
        extra: further state: tensors, plain values, and lists, tuples and dicts of them.

    Raises:
        ConfigurationError: the weights do not fit the architecture.
        DatasetError: the file cannot be written; an existing one is unchanged.
    """
    content = {
        "synvid": _encode_header(checkpoint),
        "model": checkpoint.weights,
        "optimizer": optimizer_state,
        "step": step,
        "extra": extra,
    }
    write_pickle(Path(path), content)


def _encode_header(checkpoint: Checkpoint) -> str:
    check_weights(checkpoint, "The checkpoint")  # never replace a readable file by one that cannot be loaded
    attributes = {name: value for name, value in vars(checkpoint).items() if name not in {"architecture", "weights"}}
    return json.dumps({"version": 1, "architecture": asdict(checkpoint.architecture), **attributes})


# ---- Reading -----------------------------------------------------------------------------------------------------
def load_training(path: str | os.PathLike[str]) -> tuple[Checkpoint, dict[str, Any], int, dict[str, Any]]:
    """Read a file written by `save_training`.

    Returns:
        The model, the optimizer's `state_dict`, the number of steps done, and `extra`.

    Raises:
        ConfigurationError: the file does not exist, or is not a complete file written by `save_training`.
        DatasetError: the file cannot be read.
    """
    path = Path(path)
    with wrap_os_errors(path):
        if not path.is_file():
            raise ConfigurationError(f"{path}: there is no such file.")
        content = unpickle(path)
    if not isinstance(content, dict) or not {"synvid", "model", "optimizer", "step", "extra"} <= content.keys():
        raise ConfigurationError(f"{path}: a run cannot be resumed from it; it must be the last.pt of a run.")
    checkpoint = checkpoint_from_header(path, content["synvid"], content["model"])
    with prefix_errors(path):
        check_weights(checkpoint, "it")
    return checkpoint, content["optimizer"], content["step"], content["extra"]


def checkpoint_from_header(path: Path, header: Any, weights: Any) -> Checkpoint:
    """Return the checkpoint that a header of synvid_train describes.

    Args:
        path: the file, for error messages.
        header: JSON text.
        weights: tensors by name.

    Raises:
        ConfigurationError: the header or the weights are invalid.
    """
    if not are_weights(weights):
        raise ConfigurationError(f"{path}: it has no weights.")
    try:
        attributes = json.loads(header)
        with prefix_errors(path):
            architecture = Architecture(**attributes["architecture"])
        kind, classes = attributes["kind"], tuple(attributes["classes"])
        checkpoint = Checkpoint(architecture, kind, dict(weights), classes, attributes["metrics"], attributes["recipe"])
    except ConfigurationError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ConfigurationError(f"{path}: its header was not written by this version of synvid_train.") from None
    if kind not in KINDS:
        raise ConfigurationError(f"{path}: its kind is {kind!r}; it must be one of {', '.join(KINDS)}.")
    return checkpoint


# ---- From pre-training to a classifier ---------------------------------------------------------------------------
def load_encoder(model: VideoClassifier, checkpoint: Checkpoint) -> None:
    """Copy the patch embedding and the blocks of a trained encoder into a classifier, whose norm and head stay unchanged.

    Position embeddings are not weights, so the number of frames and the image size may differ.

    Args:
        model: the classifier, changed in place.
        checkpoint: a model of either kind.

    Raises:
        ConfigurationError: the encoders differ in shape; the message names the first tensor that differs and both shapes.
    """
    prefixes = ("encoder.patch_embed.", "encoder.blocks.")
    weights = {name: value for name, value in checkpoint.weights.items() if name.startswith(prefixes)}
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items() if name.startswith(prefixes)}
    _check_shapes(weights, shapes, "The checkpoint")
    model.load_state_dict(weights, strict=False)
