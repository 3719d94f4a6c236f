"""Files of tensors: safetensors and torch.save. Writing is atomic; reading never executes code stored in the file."""

from __future__ import annotations

import argparse
import os
import pickle
import re
import warnings
from collections.abc import Mapping
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

__all__ = ["Weights", "are_weights", "read_tensors", "unpickle", "write_pickle", "write_safetensors"]


Weights = dict[str, Tensor]


def are_weights(weights: Any) -> TypeGuard[Weights]:
    """Whether the value is a non-empty dict of tensors by name."""
    return (
        isinstance(weights, dict)
        and len(weights) > 0
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items())
    )


# ---- Writing -----------------------------------------------------------------------------------------------------
def write_safetensors(path: Path, weights: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and metadata as a safetensors file, atomically.

    Raises:
        DatasetError: the file cannot be written; an existing one is unchanged.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with wrap_os_errors(path), atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={"format": "pt", **metadata})
        except SafetensorError as error:  # safetensors wraps OSErrors, and keeps only their text
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from None


def write_pickle(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values with torch.save, atomically and without a copy in memory.

    Raises:
        DatasetError: the file cannot be written; an existing one is unchanged.
    """
    with wrap_os_errors(path), atomic_path(path) as temporary, temporary.open("wb") as file:
        recorder = _ErrorRecordingFile(file)
        try:
            torch.save(content, recorder)  # type: ignore[arg-type]  # it calls only write and flush
        except (OSError, RuntimeError):
            if recorder.error is None:
                raise
            raise recorder.error from None


class _ErrorRecordingFile:
    """A file that keeps the OSError of a failed write, which torch.save replaces by a RuntimeError "unexpected pos"."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.flush = file, file.flush
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise


# ---- Reading -----------------------------------------------------------------------------------------------------
def read_tensors(path: Path) -> tuple[Weights, dict[str, str]]:
    """Read the tensors and the metadata of a safetensors file.

    Raises:
        ConfigurationError: it is not a complete safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118  # no mapping
    except (SafetensorError, ValueError) as error:
        raise ConfigurationError(f"{path}: it is not a complete safetensors file ({error}).") from None


def unpickle(path: Path) -> Any:
    """Read the tensors and plain values in a file written by torch.save.

    Raises:
        ConfigurationError: it is not a complete file written by torch.save, or contains other objects, which could run code.
    """
    try:
        with torch.serialization.safe_globals(_SAFE_GLOBALS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about TorchScript archives, which are refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001  # torch's parser raises anything on arbitrary bytes
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and refused:
            reason = f"it holds {refused[1]}, which is not loaded because it could run code"
        else:
            reason = "it is not a complete file of torch.save"
        raise ConfigurationError(f"{path}: {reason}.") from None


class _NumpyDtypeStub:
    """Replaces numpy.dtype in a pickle: the real one could be made to interpret bytes as pointers to objects."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


def _numpy_scalar_stub(dtype: _NumpyDtypeStub, data: bytes) -> Any:
    """Replaces numpy's scalar constructor in a pickle; returns a Python number."""
    if not re.fullmatch(r"[<>=|][bifuc]\d{1,2}", f"{dtype.order}{dtype.code}"):
        raise pickle.UnpicklingError("GLOBAL numpy.dtype")  # torch's wording for a type that it refuses
    return np.frombuffer(data, dtype.order + dtype.code)[0].item()


#: What a file may contain besides tensors and plain values: the command-line arguments of a program, and NumPy scalars.
_SAFE_GLOBALS: list[Any] = [
    argparse.Namespace,
    (_NumpyDtypeStub, "numpy.dtype"),
    (_numpy_scalar_stub, "numpy._core.multiarray.scalar"),
    (_numpy_scalar_stub, "numpy.core.multiarray.scalar"),
]
