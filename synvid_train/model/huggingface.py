"""Read and write VideoMAE models in the format of Hugging Face transformers."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import torch

from synvid.errors import ConfigurationError
from synvid.os_errors import wrap_os_errors
from synvid.storage.atomic_io import atomic_write
from synvid_train.model.checkpoint import Checkpoint, check_weights, prefix_errors, weight_shapes
from synvid_train.model.official import numbered_classes, size_from_width
from synvid_train.model.tensor_files import Weights, read_tensors, write_safetensors
from synvid_train.model.videomae import MEAN, SIZES, STD, Architecture

__all__ = ["export_huggingface", "read_huggingface"]


#: Class of transformers for each kind of model.
_CLASSES = {"pretraining": "VideoMAEForPreTraining", "classifier": "VideoMAEForVideoClassification"}

#: Patterns in our names of weights, and their replacements in transformers' names. {} stands for query, key and value, which
#: are one tensor here and three in transformers.
_RENAMES = (
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


def _huggingface_names(name: str) -> list[str]:
    """Return transformers' names of the tensors that make up one of our weights."""
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return [name.format(projection) for projection in _PROJECTIONS] if "{}" in name else [name]


# ---- Writing -----------------------------------------------------------------------------------------------------
def export_huggingface(checkpoint: Checkpoint, folder: str | os.PathLike[str]) -> None:
    """Write a folder that `from_pretrained` of transformers loads.

    `VideoMAEForPreTraining` and `VideoMAEForVideoClassification` use eps 1e-5 in their last norm, whatever the configuration
    says; set `model.decoder.norm.eps` or `model.fc_norm.eps` to 1e-6 to get the outputs of the model here.

    Args:
        checkpoint: the model.
        folder: receives `config.json`, `model.safetensors` and `preprocessor_config.json`.

    Raises:
        ConfigurationError: the weights do not fit the architecture.
        DatasetError: a file cannot be written.
    """
    check_weights(checkpoint, "The checkpoint")
    folder = Path(folder)
    weights: Weights = {}
    for name, value in checkpoint.weights.items():
        names = _huggingface_names(name)
        weights.update(zip(names, value.chunk(len(names)), strict=True))
    write_safetensors(folder / "model.safetensors", weights, {})
    for file, content in (
        ("preprocessor_config.json", _preprocessor(checkpoint.architecture)),
        ("config.json", _configuration(checkpoint)),
    ):
        with wrap_os_errors(folder / file):
            atomic_write(folder / file, json.dumps(content, indent=2) + "\n")


def _configuration(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the content of `config.json`."""
    architecture = checkpoint.architecture
    width, depth, heads, decoder_width, decoder_heads = SIZES[architecture.size]
    labels: dict[str, Any] = {}
    if checkpoint.kind == "classifier":
        labels["id2label"] = dict(enumerate(checkpoint.classes))
        labels["label2id"] = {name: number for number, name in enumerate(checkpoint.classes)}
    return {
        "architectures": [_CLASSES[checkpoint.kind]],
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
    """Return the content of `preprocessor_config.json`: resize the short side, crop the centre, normalise."""
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


# ---- Reading -----------------------------------------------------------------------------------------------------
def read_huggingface(path: Path) -> Checkpoint:
    """Read a model of transformers.

    Args:
        path: its `config.json`, with `model.safetensors` in the same folder.

    Raises:
        ConfigurationError: a file is missing or invalid, or the model is not a VideoMAE that can be built here.
    """
    config = _read_json(path)
    if config.get("model_type") != "videomae":
        raise ConfigurationError(f"{path}: model_type is {config.get('model_type')!r}; it must be 'videomae'.")
    file = path.with_name("model.safetensors")
    if not file.is_file():
        raise ConfigurationError(f"{file}: there is no such file; {path.name} needs it.")
    weights, _ = read_tensors(file)
    # transformers 5 writes query.bias and value.bias for q_bias and v_bias.
    weights = {re.sub(r"\.(query|value)\.bias$", lambda name: f".{name[1][0]}_bias", name): weights[name] for name in weights}
    architecture = _read_architecture(path, config)
    kind = "classifier" if "classifier.weight" in weights else "pretraining"
    classes: tuple[str, ...] = ()
    if kind == "classifier":
        labels = config.get("id2label") or {}
        classes = tuple(str(labels.get(number, number)) for number in numbered_classes(weights["classifier.weight"]))
    shapes = weight_shapes(architecture, kind, len(classes))
    return Checkpoint(architecture, kind, _convert_names(file, weights, shapes), classes)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{path}: it is not JSON ({error}).") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: it is not the configuration of a model; it must be a JSON object.")
    return content


def _read_architecture(path: Path, config: dict[str, Any]) -> Architecture:
    """Return the architecture that a `config.json` describes; missing keys have transformers' defaults, those of ViT-B."""
    config = {**_configuration(Checkpoint(Architecture(), "pretraining", {})), **config}
    for name in ("image_size", "patch_size", "num_frames", "tubelet_size", "hidden_size", "decoder_num_hidden_layers"):
        if not isinstance(config[name], int) or config[name] <= 0:
            raise ConfigurationError(f"{path}: {name} is {config[name]!r}; it must be a whole number above 0.")
    size = size_from_width(path, config["hidden_size"])
    with prefix_errors(path):
        architecture = Architecture(
            size,
            num_frames=config["num_frames"],
            image_size=config["image_size"],
            patch_size=config["patch_size"],
            tubelet_size=config["tubelet_size"],
            decoder_depth=config["decoder_num_hidden_layers"],
        )
    supported = _configuration(Checkpoint(architecture, "pretraining", {}))
    for name in ("num_channels", "num_attention_heads", "decoder_num_attention_heads", "hidden_act"):
        if config[name] != supported[name]:  # cannot be inferred from the shapes of the weights
            raise ConfigurationError(f"{path}: {name} is {config[name]!r}; for this width it must be {supported[name]!r}.")
    return architecture


def _convert_names(path: Path, weights: Weights, shapes: dict[str, tuple[int, ...]]) -> Weights:
    """Convert transformers' weights to ours.

    Args:
        path: the file, for error messages.
        weights: tensors by transformers' names.
        shapes: shapes by our names.
    """
    remaining, converted = dict(weights), {}
    for name in shapes:
        sources = _huggingface_names(name)
        missing = [source for source in sources if source not in remaining]
        if missing:
            raise ConfigurationError(f"{path}: it lacks the tensor {missing[0]}.")
        tensors = [remaining.pop(source) for source in sources]
        for source, tensor in zip(sources[1:], tensors[1:], strict=True):
            if tensor.shape != tensors[0].shape:
                both = f"{tuple(tensors[0].shape)} and {tuple(tensor.shape)}"
                raise ConfigurationError(f"{path}: {sources[0]} and {source} differ in shape: {both}.")
        converted[name] = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
    if remaining:
        raise ConfigurationError(f"{path}: it has {next(iter(remaining))}, which is not a weight of the model.")
    return converted
