"""Checkpoints of others, read and written: the official ones of VideoMAE, and those of Hugging Face transformers."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synvid.errors import ConfigurationError
from synvid.os_errors import wrap_os_errors
from synvid.storage.atomic_io import atomic_write
from synvid_train.model.checkpoint import (
    Checkpoint,
    Weights,
    are_weights,
    check_weights,
    checkpoint_from_header,
    prefix_errors,
    read_tensors,
    unpickle,
    weight_shapes,
    write_safetensors,
)
from synvid_train.model.videomae import MEAN, SIZES, STD, Architecture

__all__ = ["export_huggingface", "load_checkpoint"]


#: What a folder is searched for, the quickest first.
_IN_A_FOLDER = ("last.safetensors", "last.pt", "config.json")

#: The file with the weights in a folder of DeepSpeed, or in the one of its folders that `latest` names.
_DEEPSPEED = "mp_rank_00_model_states.pt"

#: Where programs put the weights in what they save.
_HOLDERS = ("model", "module", "state_dict")

#: Class of transformers and kind of ours.
_HUGGINGFACE = {"pretraining": "VideoMAEForPreTraining", "classifier": "VideoMAEForVideoClassification"}

#: Our name of a part, its name in transformers; {} stands for query, key and value, which we hold in one matrix.
_PARTS = (
    (r"^encoder\.patch_embed\.proj\.", "videomae.embeddings.patch_embeddings.projection."),
    (r"^encoder\.blocks\.", "videomae.encoder.layer."),
    (r"^encoder\.norm\.", "videomae.layernorm."),
    (r"^decoder\.blocks\.", "decoder.decoder_layers."),
    (r"^head\.", "classifier."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.qkv\.", ".attention.attention.{}."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.attention."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
_PROJECTIONS = ("query", "key", "value")


def load_checkpoint(path: str | os.PathLike[str], num_frames: int | None = None, image_size: int | None = None) -> Checkpoint:
    """Read a model, whoever wrote it.

    Args:
        path: a file of `save_weights` or `save_training`; a folder with `last.safetensors` or `last.pt`; an official file
            (`.pth`, `.pt`) of VideoMAE, pre-trained or fine-tuned, its weights wrapped or not; a folder of DeepSpeed; one of
            Hugging Face (`config.json`, `model.safetensors`).
        num_frames: that the model shall take, if not as many as before; positions are no weights.
        image_size: likewise; 16 frames of 224 pixels where the file does not say.

    Raises:
        ConfigurationError: there is no such file, or it is not a whole checkpoint of a VideoMAE that we can build.
        DatasetError: the file system does not give it.
    """
    path = Path(path)
    with wrap_os_errors(path):
        path = _weights_file(path)
        checkpoint = _READERS.get(path.suffix, _read_torch)(path)
        architecture = replace(
            checkpoint.architecture,
            num_frames=checkpoint.architecture.num_frames if num_frames is None else num_frames,
            image_size=checkpoint.architecture.image_size if image_size is None else image_size,
        )
    checkpoint = replace(checkpoint, architecture=architecture)
    with prefix_errors(path):
        check_weights(checkpoint, "it")
    return checkpoint


def _weights_file(path: Path) -> Path:
    """The file that `load_checkpoint` reads: the path itself, or one in a folder.

    Raises:
        ConfigurationError: there is none.
    """
    if not path.exists():
        raise ConfigurationError(f"{path}: there is no such checkpoint.")
    if not path.is_dir():
        return path
    for name in _IN_A_FOLDER:
        if (path / name).is_file():
            return path / name
    states = _deepspeed(path)
    if states:
        return states
    raise ConfigurationError(
        f"{path}: there is no checkpoint in it, that is, none of {', '.join((*_IN_A_FOLDER, _DEEPSPEED))}."
    )


def _deepspeed(folder: Path) -> Path | None:
    """The weights in a folder of DeepSpeed, the last ones; None if it is no such folder."""
    latest = folder / "latest"
    if latest.is_file():
        tag = latest.read_text(encoding="utf-8", errors="replace")[:256].strip()
        folder = folder / Path(tag).name
        if not folder.is_dir():
            raise ConfigurationError(f"{latest}: names {tag!r}, but there is no such folder beside it.")
    if any(folder.glob("zero_pp_rank_*_model_states.pt")):
        raise ConfigurationError(
            f"{folder}: its weights are in pieces, as ZeRO stage 3 of DeepSpeed saves them; zero_to_fp32.py beside it joins "
            "them into one file that can be read."
        )
    parts = len(list(folder.glob("mp_rank_*_model_states.pt")))
    if parts > 1:
        raise ConfigurationError(f"{folder}: its model is spread over {parts} devices (mp_rank_*); one file must hold it.")
    return folder / _DEEPSPEED if (folder / _DEEPSPEED).is_file() else None


def _read_safetensors(path: Path) -> Checkpoint:
    weights, metadata = read_tensors(path)
    if "synvid" not in metadata:
        raise ConfigurationError(
            f"{path}: it has weights, but no header of synvid_train; of a model of Hugging Face, name the folder."
        )
    return checkpoint_from_header(path, metadata["synvid"], weights)


# ---- Official files ----------------------------------------------------------------------------------------------
def _read_torch(path: Path) -> Checkpoint:
    """A file of torch.save: ours, or an official one."""
    content = unpickle(path)
    if isinstance(content, dict) and "synvid" in content:
        return checkpoint_from_header(path, content["synvid"], content.get("model"))
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: it holds a {type(content).__name__}; it must be a dict with weights.")
    places = [content, *(content.get(key) for key in _HOLDERS)]
    weights = next((place for place in places if are_weights(place)), None)
    if weights is None:
        raise ConfigurationError(
            f"{path}: it has no weights, neither itself nor as {', '.join(_HOLDERS)}; it has {_some(content)}."
        )
    return _official(path, _unwrapped(path, weights))


def _some(names: Iterable[Any]) -> str:
    """The first few of them, or that there are none."""
    shown = [str(name)[:80] for name in itertools.islice(names, 4)]
    return f"{', '.join(shown[:3])}{', ...' if len(shown) > 3 else ''}" if shown else "nothing"


def _unwrapped(path: Path, weights: Weights) -> Weights:
    """Without the names of wrappers: `module.` of parallel models, `_orig_mod.` of compiled ones, in any order."""
    plain = {re.sub(r"^(module\.)+", "", name.replace("_orig_mod.", "")): value for name, value in weights.items()}
    if len(plain) < len(weights):
        raise ConfigurationError(f"{path}: it has some weights twice, with and without `module.` or `_orig_mod.`.")
    return plain


def _official(path: Path, weights: Weights) -> Checkpoint:
    """Name the weights as we do and infer the architecture from their shapes."""
    if "patch_embed.proj.weight" in weights:  # fine-tuned
        ours = ("fc_norm.", "head.")
        weights = {name if name.startswith(ours) else f"encoder.{name}": value for name, value in weights.items()}
    kernel = weights.get("encoder.patch_embed.proj.weight")
    if kernel is None or kernel.ndim != 5 or kernel.shape[-1] != kernel.shape[-2]:
        raise ConfigurationError(
            f"{path}: it is not a VideoMAE: encoder.patch_embed.proj.weight must be there, (width, 3, tubelet, p, p); "
            f"it has {_some(weights) if kernel is None else tuple(kernel.shape)}."
        )
    decoder = {name.split(".")[2] for name in weights if name.startswith("decoder.blocks.")}
    size = _size(path, kernel.shape[0])
    with prefix_errors(path):
        architecture = Architecture(
            size,
            patch_size=kernel.shape[-1],
            tubelet_size=kernel.shape[2],
            decoder_depth=len(decoder) or 4,
        )
    head = weights.get("head.weight")
    if head is None:
        return Checkpoint(architecture, "pretraining", weights)
    return Checkpoint(architecture, "classifier", weights, _numbers(head))


def _numbers(head: Tensor) -> tuple[str, ...]:
    """Names of classes that have none: their numbers."""
    return tuple(str(number) for number in range(head.shape[0] if head.ndim else 0))


def _size(path: Path, width: int) -> str:
    sizes = {width: name for name, (width, *_) in SIZES.items()}
    if width not in sizes:
        known = ", ".join(f"{name} {width}" for width, name in sizes.items())
        raise ConfigurationError(f"{path}: its encoder has width {width}; the sizes have {known}.")
    return sizes[width]


# ---- Hugging Face ------------------------------------------------------------------------------------------------
def export_huggingface(checkpoint: Checkpoint, folder: str | os.PathLike[str]) -> None:
    """Write a folder that `from_pretrained` of transformers loads.

    `VideoMAEForPreTraining` and `VideoMAEForVideoClassification` fix eps of their last norm at 1e-5, which no configuration
    changes; set `model.decoder.norm.eps` or `model.fc_norm.eps` to 1e-6 for the numbers of the model here.

    Args:
        checkpoint: what is written.
        folder: gets `config.json`, `model.safetensors` and `preprocessor_config.json`.

    Raises:
        ConfigurationError: the weights are not those of such a model.
        DatasetError: a file cannot be written.
    """
    check_weights(checkpoint, "The checkpoint")
    folder = Path(folder)
    weights: Weights = {}
    for name, value in checkpoint.weights.items():
        for theirs, part in zip(_theirs(name), value.chunk(len(_theirs(name))), strict=True):
            weights[theirs] = part
    write_safetensors(folder / "model.safetensors", weights, {})
    for file, content in (
        ("preprocessor_config.json", _preprocessor(checkpoint.architecture)),
        ("config.json", _configuration(checkpoint)),
    ):
        with wrap_os_errors(folder / file):
            atomic_write(folder / file, json.dumps(content, indent=2) + "\n")


def _theirs(name: str) -> list[str]:
    """The tensors of transformers that make up one of ours."""
    for ours, theirs in _PARTS:
        name = re.sub(ours, theirs, name)
    return [name.format(projection) for projection in _PROJECTIONS] if "{}" in name else [name]


def _configuration(checkpoint: Checkpoint) -> dict[str, Any]:
    architecture = checkpoint.architecture
    width, depth, heads, decoder_width, decoder_heads = SIZES[architecture.size]
    labels: dict[str, Any] = {}
    if checkpoint.kind == "classifier":
        labels["id2label"] = dict(enumerate(checkpoint.classes))
        labels["label2id"] = {name: number for number, name in enumerate(checkpoint.classes)}
    return {
        "architectures": [_HUGGINGFACE[checkpoint.kind]],
        "model_type": "videomae",
        "image_size": architecture.image_size,
        "patch_size": architecture.patch_size,
        "num_channels": 3,
        "num_frames": architecture.num_frames,
        "tubelet_size": architecture.tubelet_size,
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "decoder_hidden_size": decoder_width,
        "decoder_num_hidden_layers": architecture.decoder_depth,
        "decoder_num_attention_heads": decoder_heads,
        "decoder_intermediate_size": 4 * decoder_width,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "qkv_bias": True,
        "use_mean_pooling": checkpoint.kind == "classifier",
        "norm_pix_loss": True,
        **labels,
    }


def _preprocessor(architecture: Architecture) -> dict[str, Any]:
    """Pixels as `normalize` gives them; the short side is fitted and the middle cut out."""
    side = architecture.image_size
    return {
        "image_processor_type": "VideoMAEImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side},
        "resample": 2,  # bilinear
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
    }


def _read_huggingface(path: Path) -> Checkpoint:
    """A folder of transformers, by its config.json."""
    about = _json(path)
    if about.get("model_type") != "videomae":
        raise ConfigurationError(f"{path}: model_type is {about.get('model_type')!r}; it must be 'videomae'.")
    file = path.with_name("model.safetensors")
    if not file.is_file():
        raise ConfigurationError(f"{file}: there is no such file, and {path.name} beside it describes one.")
    weights, _ = read_tensors(file)
    weights = {re.sub(r"\.(query|value)\.bias$", lambda name: f".{name[1][0]}_bias", name): weights[name] for name in weights}
    architecture = _architecture_of(path, about)
    kind = "classifier" if "classifier.weight" in weights else "pretraining"
    classes: tuple[str, ...] = ()
    if kind == "classifier":
        labels = about.get("id2label") or {}
        classes = tuple(str(labels.get(number, number)) for number in _numbers(weights["classifier.weight"]))
    return Checkpoint(architecture, kind, _ours(file, weights, weight_shapes(architecture, kind, len(classes))), classes)


def _json(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{path}: it is not JSON ({error}).") from None
    if not isinstance(about, dict):
        raise ConfigurationError(f"{path}: it is not the configuration of a model.")
    return about


def _architecture_of(path: Path, about: dict[str, Any]) -> Architecture:
    """What a config.json describes; a default of transformers where it says nothing (that of the base size)."""
    base = _configuration(Checkpoint(Architecture(), "pretraining", {}))
    about = {**base, **about}
    shape = ("image_size", "patch_size", "num_frames", "tubelet_size", "hidden_size", "decoder_num_hidden_layers")
    for name in shape:
        if not isinstance(about[name], int) or about[name] <= 0:
            raise ConfigurationError(f"{path}: {name} is {about[name]!r}; it must be a whole number above 0.")
    size = _size(path, about["hidden_size"])
    with prefix_errors(path):
        architecture = Architecture(
            size,
            num_frames=about["num_frames"],
            image_size=about["image_size"],
            patch_size=about["patch_size"],
            tubelet_size=about["tubelet_size"],
            decoder_depth=about["decoder_num_hidden_layers"],
        )
    wanted = _configuration(Checkpoint(architecture, "pretraining", {}))
    for name in ("num_channels", "num_attention_heads", "decoder_num_attention_heads", "hidden_act"):
        if about[name] != wanted[name]:  # the shapes of weights do not tell these
            raise ConfigurationError(f"{path}: {name} is {about[name]!r}; a model of this width has {wanted[name]!r}.")
    return architecture


def _ours(path: Path, weights: Weights, shapes: dict[str, tuple[int, ...]]) -> Weights:
    """Name the weights of transformers as we do."""
    left, ours = dict(weights), {}
    for name in shapes:
        parts = _theirs(name)
        missing = [part for part in parts if part not in left]
        if missing:
            raise ConfigurationError(f"{path}: it lacks the tensor {missing[0]}.")
        tensors = [left.pop(part) for part in parts]
        for part, tensor in zip(parts[1:], tensors[1:], strict=True):
            if tensor.shape != tensors[0].shape:
                differing = f"{tuple(tensors[0].shape)} and {tuple(tensor.shape)}"
                raise ConfigurationError(f"{path}: {parts[0]} and {part} differ in shape: {differing}.")
        ours[name] = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
    if left:
        raise ConfigurationError(f"{path}: it has {next(iter(left))}, for which the model has no place.")
    return ours


_READERS: dict[str, Callable[[Path], Checkpoint]] = {".safetensors": _read_safetensors, ".json": _read_huggingface}
