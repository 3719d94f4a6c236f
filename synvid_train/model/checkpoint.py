"""Checkpoints: what a run writes and goes on from. `foreign` reads those of others.

Nothing that is read can run code: weights are safetensors, or pickles of which only tensors and plain values are taken.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, TypeGuard

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from synvid.errors import ConfigurationError
from synvid.os_errors import wrap_os_errors
from synvid.storage.atomic_io import atomic_path
from synvid_train.model.videomae import Architecture, VideoClassifier, VideoMAE

__all__ = ["Checkpoint", "load_encoder", "load_training", "save_training", "save_weights"]


Weights = dict[str, Tensor]

#: Kinds of models.
KINDS = ("pretraining", "classifier")


@dataclass(frozen=True)
class Checkpoint:
    """A trained model: its shape, its weights and where they come from.

    Attributes:
        architecture: of the model.
        kind: "pretraining" or "classifier".
        weights: by the names of `VideoMAE` or `VideoClassifier`, on the CPU where loaded from a file.
        classes: of a classifier, in the order of its logits.
        metrics: what was measured, by name.
        recipe: the settings it was trained with; JSON can hold them.
    """

    architecture: Architecture
    kind: str
    weights: Weights
    classes: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 of the names, shapes, kinds and numbers of the weights, whatever file they came from."""
        digest = hashlib.sha256()
        for name, value in sorted(self.weights.items()):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype};".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def model(self, drop_path: float = 0.0, dropout: float = 0.0) -> VideoMAE | VideoClassifier:
        """The model with these weights, of float32.

        Args:
            drop_path: of a classifier that is trained further.
            dropout: of a classifier that is trained further.

        Raises:
            ConfigurationError: the weights are not those of such a model.
        """
        check_weights(self, "The checkpoint")
        model = _build(self.architecture, self.kind, len(self.classes), drop_path, dropout)
        model.load_state_dict(self.weights)
        return model


def _build(
    architecture: Architecture, kind: str, classes: int, drop_path: float = 0.0, dropout: float = 0.0
) -> VideoMAE | VideoClassifier:
    if kind == "pretraining":
        return VideoMAE(architecture)
    return VideoClassifier(architecture, classes, drop_path, dropout)


def weight_shapes(architecture: Architecture, kind: str, classes: int) -> dict[str, tuple[int, ...]]:
    """The weights that a model has, without the cost of making it."""
    if kind == "classifier" and not classes:
        raise ConfigurationError("A classifier must have classes; this one has none.")
    with torch.device("meta"):
        model = _build(architecture, kind, classes)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def check_weights(checkpoint: Checkpoint, owner: str) -> None:
    """Refuse a checkpoint whose weights are not those of its architecture.

    Args:
        checkpoint: of any origin.
        owner: what a sentence calls it.

    Raises:
        ConfigurationError: a tensor is missing, of another shape, or one too many.
    """
    _fit(checkpoint.weights, weight_shapes(checkpoint.architecture, checkpoint.kind, len(checkpoint.classes)), owner)


def _fit(weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], owner: str) -> None:
    """Refuse weights that are not those of a model, in one sentence that begins with whose they are."""
    for name, shape in shapes.items():
        if name not in weights:
            raise ConfigurationError(f"{owner} lacks the tensor {name}, of shape {shape}.")
        if tuple(weights[name].shape) != shape:
            raise ConfigurationError(f"{owner} has {name} of shape {tuple(weights[name].shape)}; the model has {shape}.")
    foreign = [name for name in weights if name not in shapes]
    if foreign:
        raise ConfigurationError(f"{owner} has {foreign[0]}, for which the model has no place.")


# ---- Writing -----------------------------------------------------------------------------------------------------
def save_weights(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a model as one safetensors file whose header says what it is; whole or not at all.

    Args:
        path: of the file, `.safetensors`.
        checkpoint: what is written.

    Raises:
        ConfigurationError: the weights are not those of such a model.
        DatasetError: the file cannot be written; one that was there before is as it was.
    """
    write_safetensors(Path(path), checkpoint.weights, {"synvid": _header(checkpoint)})


def save_training(
    path: str | os.PathLike[str], checkpoint: Checkpoint, optimizer_state: dict[str, Any], step: int, extra: dict[str, Any]
) -> None:
    """Write all that a training needs to go on; whole or not at all, and never a second time in memory.

    Args:
        path: of the file, `.pt`.
        checkpoint: the model.
        optimizer_state: its `state_dict`.
        step: how many steps it has been trained.
        extra: whatever else, the states of random generators say: tensors, plain values, and lists, tuples and dicts of them.

    Raises:
        ConfigurationError: the weights are not those of such a model.
        DatasetError: the file cannot be written; one that was there before is as it was.
    """
    content = {
        "synvid": _header(checkpoint),
        "model": checkpoint.weights,
        "optimizer": optimizer_state,
        "step": step,
        "extra": extra,
    }
    with wrap_os_errors(Path(path)), atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
        _save_pickle(content, file)


def _header(checkpoint: Checkpoint) -> str:
    check_weights(checkpoint, "The checkpoint")  # before it replaces one that can be read
    about = {name: value for name, value in vars(checkpoint).items() if name not in {"architecture", "weights"}}
    return json.dumps({"version": 1, "architecture": asdict(checkpoint.architecture), **about})


def write_safetensors(path: Path, weights: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and some words about them; whole or not at all.

    Raises:
        DatasetError: the file cannot be written; one that was there before is as it was.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with wrap_os_errors(path), atomic_path(path) as temporary:
        try:
            save_file(plain, temporary, metadata={"format": "pt", **metadata})
        except SafetensorError as error:  # it was an OSError before it came through Rust
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from None


class _ErrorRecordingFile:
    """A file that remembers why it could not be written: torch says "unexpected pos" instead."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.flush = file, file.flush
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise


def _save_pickle(content: dict[str, Any], file: IO[bytes]) -> None:
    witness = _ErrorRecordingFile(file)
    try:
        torch.save(content, witness)  # type: ignore[arg-type]  # all that it uses is there
    except (OSError, RuntimeError):
        if witness.error is None:
            raise
        raise witness.error from None


# ---- Reading -----------------------------------------------------------------------------------------------------
def load_training(path: str | os.PathLike[str]) -> tuple[Checkpoint, dict[str, Any], int, dict[str, Any]]:
    """Read what `save_training` wrote.

    Returns:
        The model, the state of the optimizer, the step, and `extra`.

    Raises:
        ConfigurationError: there is no such file, or it is not a whole one of `save_training`.
        DatasetError: the file system does not give it.
    """
    path = Path(path)
    with wrap_os_errors(path):
        if not path.is_file():
            raise ConfigurationError(f"{path}: there is no such file.")
        content = unpickle(path)
    if not isinstance(content, dict) or not {"synvid", "model", "optimizer", "step", "extra"} <= content.keys():
        raise ConfigurationError(f"{path}: a training cannot go on from it; last.pt of a run is such a file.")
    checkpoint = checkpoint_from_header(path, content["synvid"], content["model"])
    with prefix_errors(path):
        check_weights(checkpoint, "it")
    return checkpoint, content["optimizer"], content["step"], content["extra"]


def checkpoint_from_header(path: Path, header: Any, weights: Any) -> Checkpoint:
    """The checkpoint that a header of ours describes."""
    if not are_weights(weights):
        raise ConfigurationError(f"{path}: it has no weights.")
    try:
        about = json.loads(header)
        with prefix_errors(path):
            architecture = Architecture(**about["architecture"])
        kind, classes = about["kind"], tuple(about["classes"])
        checkpoint = Checkpoint(architecture, kind, dict(weights), classes, about["metrics"], about["recipe"])
    except ConfigurationError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ConfigurationError(f"{path}: its header is not one that this version of synvid_train writes.") from None
    if kind not in KINDS:
        raise ConfigurationError(f"{path}: its kind is {kind!r}; it must be one of {', '.join(KINDS)}.")
    return checkpoint


def are_weights(weights: Any) -> TypeGuard[Weights]:
    """Whether it is a dict of tensors by name, and not empty."""
    return (
        isinstance(weights, dict)
        and len(weights) > 0
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items())
    )


def read_tensors(path: Path) -> tuple[Weights, dict[str, str]]:
    """The tensors of a safetensors file, and what its header says besides."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118  # no mapping
    except (SafetensorError, ValueError) as error:
        raise ConfigurationError(f"{path}: it is not a whole safetensors file ({error}).") from None


class _NumpyKind:
    """Stands for numpy.dtype in a pickle: the real one could be told to take bytes for objects."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


def _numpy_number(kind: _NumpyKind, data: bytes) -> Any:
    """Stands for the function that makes numpy's scalars: numbers come as those of Python."""
    if not re.fullmatch(r"[<>=|][bifuc]\d{1,2}", f"{kind.order}{kind.code}"):
        raise pickle.UnpicklingError("GLOBAL numpy.dtype")  # as torch says what it does not load
    return np.frombuffer(data, kind.order + kind.code)[0].item()


#: What else a file may hold beside tensors and plain values: the arguments of a program, and numbers of numpy.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    (_NumpyKind, "numpy.dtype"),
    (_numpy_number, "numpy._core.multiarray.scalar"),
    (_numpy_number, "numpy.core.multiarray.scalar"),
]


def unpickle(path: Path) -> Any:
    """The tensors and plain values in a file of torch.save; anything else is refused, not run."""
    try:
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of archives of TorchScript, which are refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001  # on foreign bytes it raises whatever its parser stumbles over
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and named:
            reason = f"it holds {named[1]}, which is not loaded, for it may run code: weights are tensors"
        else:
            reason = "it is not a whole file of torch.save"
        raise ConfigurationError(f"{path}: {reason}.") from None


@contextlib.contextmanager
def prefix_errors(path: Path) -> Iterator[None]:
    """Put the file in front of what an architecture complains of."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


# ---- From pre-training to a classifier ---------------------------------------------------------------------------
def load_encoder(model: VideoClassifier, checkpoint: Checkpoint) -> None:
    """Give a classifier the patch embedding and the blocks of a model that has been trained; its norm and head stay.

    Positions are no weights, so the numbers of frames and pixels may differ.

    Args:
        model: the classifier, changed in place.
        checkpoint: of either kind.

    Raises:
        ConfigurationError: the encoders have different shapes; the sentence names the first tensor that differs and both.
    """
    parts = ("encoder.patch_embed.", "encoder.blocks.")
    weights = {name: value for name, value in checkpoint.weights.items() if name.startswith(parts)}
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items() if name.startswith(parts)}
    _fit(weights, shapes, "The checkpoint")
    model.load_state_dict(weights, strict=False)
