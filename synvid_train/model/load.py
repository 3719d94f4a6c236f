"""Load checkpoints of synvid_train, official VideoMAE, DeepSpeed and Hugging Face; export to Hugging Face."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from synvid.errors import ConfigurationError
from synvid.os_errors import wrap_os_errors
from synvid_train.model.checkpoint import Checkpoint, check_weights, checkpoint_from_header, prefix_errors
from synvid_train.model.huggingface import export_huggingface, read_huggingface
from synvid_train.model.official import read_official
from synvid_train.model.tensor_files import read_tensors, unpickle

__all__ = ["export_huggingface", "load_checkpoint"]


#: Files that are looked for in a folder, in this order; the first loads fastest.
_FOLDER_FILES = ("last.safetensors", "last.pt", "config.json")

#: DeepSpeed's file of weights, in a folder or in the subfolder that the file `latest` names.
_DEEPSPEED_FILE = "mp_rank_00_model_states.pt"


def load_checkpoint(path: str | os.PathLike[str], num_frames: int | None = None, image_size: int | None = None) -> Checkpoint:
    """Read a model in any supported format.

    Args:
        path: a file written by `save_weights` or `save_training`; a run folder, with `last.safetensors` or `last.pt`; an
            official VideoMAE checkpoint (`.pth`, `.pt`), pre-trained or fine-tuned; a folder written by DeepSpeed; or a
            Hugging Face folder (`config.json`, `model.safetensors`).
        num_frames: number of frames of the returned model, which need not be the file's: position embeddings are not
            weights. None for the file's, or 16 if the format does not store it.
        image_size: image size of the returned model; None for the file's, or 224 if the format does not store it.

    Raises:
        ConfigurationError: the path does not exist, or is not a complete checkpoint of a VideoMAE that can be built here.
        DatasetError: the file cannot be read.
    """
    path = Path(path)
    with wrap_os_errors(path):
        path = _find_file(path)
        checkpoint = _read_file(path)
        architecture = replace(
            checkpoint.architecture,
            num_frames=checkpoint.architecture.num_frames if num_frames is None else num_frames,
            image_size=checkpoint.architecture.image_size if image_size is None else image_size,
        )
    checkpoint = replace(checkpoint, architecture=architecture)
    with prefix_errors(path):
        check_weights(checkpoint, "it")
    return checkpoint


def _find_file(path: Path) -> Path:
    """Return the file to read: the path itself, or a file in the folder.

    Raises:
        ConfigurationError: there is none.
    """
    if not path.exists():
        raise ConfigurationError(f"{path}: there is no such checkpoint.")
    if not path.is_dir():
        return path
    for name in _FOLDER_FILES:
        if (path / name).is_file():
            return path / name
    deepspeed = _find_deepspeed_file(path)
    if deepspeed:
        return deepspeed
    names = ", ".join((*_FOLDER_FILES, _DEEPSPEED_FILE))
    raise ConfigurationError(f"{path}: there is no checkpoint in it; it must have one of {names}.")


def _find_deepspeed_file(folder: Path) -> Path | None:
    """Return the file with the latest weights in a folder written by DeepSpeed; None if it is another folder."""
    latest = folder / "latest"
    if latest.is_file():
        tag = latest.read_text(encoding="utf-8", errors="replace")[:256].strip()
        folder = folder / Path(tag).name
        if not folder.is_dir():
            raise ConfigurationError(f"{latest}: names {tag!r}, but there is no such folder next to it.")
    if any(folder.glob("zero_pp_rank_*_model_states.pt")):
        raise ConfigurationError(
            f"{folder}: its weights are sharded by DeepSpeed's ZeRO stage 3; zero_to_fp32.py next to it merges them into one "
            "file that can be read."
        )
    ranks = len(list(folder.glob("mp_rank_*_model_states.pt")))
    if ranks > 1:
        raise ConfigurationError(f"{folder}: its weights are split over {ranks} devices (mp_rank_*); one file must hold them.")
    return folder / _DEEPSPEED_FILE if (folder / _DEEPSPEED_FILE).is_file() else None


def _read_file(path: Path) -> Checkpoint:
    """Read a file; its extension and content tell the format."""
    if path.suffix == ".safetensors":
        weights, metadata = read_tensors(path)
        if "synvid" not in metadata:
            raise ConfigurationError(
                f"{path}: it has no header of synvid_train; for a model of Hugging Face, give the folder instead."
            )
        return checkpoint_from_header(path, metadata["synvid"], weights)
    if path.suffix == ".json":
        return read_huggingface(path)
    content = unpickle(path)
    if isinstance(content, dict) and "synvid" in content:
        return checkpoint_from_header(path, content["synvid"], content.get("model"))
    return read_official(path, content)
