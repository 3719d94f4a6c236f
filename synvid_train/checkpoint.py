"""Checkpoints: our own, the official ones of VideoMAE, and Hugging Face folders. Nothing that is loaded can run code.

A run keeps two files. `last.safetensors` holds weights, and as JSON in its header the architecture, the classes, the settings
and the figures: what others need. `last.pt` holds the same and the optimizer: what resuming needs. Each is whole by itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pickle
import re
import secrets
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from synvid.errors import ConfigurationError, DatasetError
from synvid_train.videomae import MEAN, SIZES, STD, Architecture, VideoClassifier, VideoMAE

__all__ = [
    "CLASSIFIER",
    "PRETRAINING",
    "Checkpoint",
    "export_huggingface",
    "load_checkpoint",
    "load_encoder",
    "load_training",
    "save_training",
    "save_weights",
]

PRETRAINING, CLASSIFIER = "pretraining", "classifier"

_KEY = "synvid"  # of our header
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A model and what is known of it.

    Attributes:
        architecture: its shape.
        kind: pretraining (a `VideoMAE`) or classifier (a `VideoClassifier`).
        weights: by the names of that model.
        classes: names of a classifier's labels, in the order of its logits.
        metrics: figures it reached.
        recipe: settings it was trained with.
    """

    architecture: Architecture
    kind: str
    weights: dict[str, Tensor]
    classes: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)

    def model(self) -> VideoMAE | VideoClassifier:
        """The model with these weights.

        Raises:
            ConfigurationError: a weight is missing, unknown or of another shape.
        """
        classes = self.weights["head.weight"].shape[0] if "head.weight" in self.weights else len(self.classes)
        model = VideoMAE(self.architecture) if self.kind == PRETRAINING else VideoClassifier(self.architecture, classes)
        _load(model, self.weights, "the checkpoint")
        return model

    def header(self) -> dict[str, Any]:
        """All but the weights, as JSON has it."""
        return {
            "format": _FORMAT,
            "architecture": dataclasses.asdict(self.architecture),
            "kind": self.kind,
            "classes": list(self.classes),
            "metrics": self.metrics,
            "recipe": self.recipe,
        }

    @classmethod
    def of(cls, header: Any, weights: dict[str, Tensor], path: Path) -> Checkpoint:
        """From a header and weights; ConfigurationError where the header is not ours."""
        try:
            if header["format"] != _FORMAT or header["kind"] not in (PRETRAINING, CLASSIFIER):
                raise ValueError
            architecture = Architecture(**header["architecture"])
            return cls(
                architecture,
                header["kind"],
                weights,
                tuple(header["classes"]),
                dict(header["metrics"]),
                dict(header["recipe"]),
            )
        except (KeyError, TypeError, ValueError):
            raise ConfigurationError(f"{path}: its header is not one that this version of synvid-train writes.") from None


def _load(model: torch.nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Load weights, all of them and no others."""
    wanted = model.state_dict()
    for name, value in wanted.items():
        if name not in weights:
            raise ConfigurationError(f"{source}: lacks the weight {name}.")
        if weights[name].shape != value.shape:
            raise ConfigurationError(
                f"{source}: {name} has shape {tuple(weights[name].shape)}, where the model has {tuple(value.shape)}."
            )
    strange = [name for name in weights if name not in wanted]
    if strange:
        raise ConfigurationError(f"{source}: holds {strange[0]}, which the model does not have.")
    model.load_state_dict(dict(weights))


def load_encoder(model: VideoClassifier, checkpoint: Checkpoint, source: str = "the checkpoint") -> None:
    """Give a classifier the patch embedding and blocks of a checkpoint's encoder; its own norm and head stay new.

    Raises:
        ConfigurationError: a weight is missing or of another shape; the sentence names both shapes.
    """
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("encoder.")}
    encoder = {
        name: value
        for name, value in checkpoint.weights.items()
        if name.startswith("encoder.") and not name.startswith("encoder.norm.")
    }
    _load(model, {**own, **encoder}, source)


# ---- Writing ------------------------------------------------------------------------------------------------------
def _write(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside a file, then rename; the one that was there stays until the new one is whole."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.chmod(0o644)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors wrap what the disk says
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise DatasetError(f"{path}: cannot be written: {reason}; what was there before is whole.") from None
    finally:
        temporary.unlink(missing_ok=True)


def save_weights(path: Path, checkpoint: Checkpoint) -> None:
    """Write weights, settings and figures as one .safetensors file.

    Raises:
        DatasetError: the disk is full or the like; a file that was there is whole.
    """
    header = {_KEY: json.dumps(checkpoint.header()), "format": "pt"}
    weights = {name: value.detach().cpu().contiguous() for name, value in checkpoint.weights.items()}
    _write(path, lambda temporary: save_file(weights, temporary, header))


def save_training(path: Path, checkpoint: Checkpoint, optimizer: dict[str, Any], step: int, extra: dict[str, Any]) -> None:
    """Write all that resuming needs as one .pt file.

    Raises:
        DatasetError: the disk is full or the like; a file that was there is whole.
    """
    state = {
        _KEY: checkpoint.header(), "model": checkpoint.weights, "optimizer": optimizer, "step": step, "extra": extra,
    }  # fmt: skip

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            torch.save(state, file)

    _write(path, write)


# ---- Reading ------------------------------------------------------------------------------------------------------
def load_training(path: Path) -> tuple[Checkpoint, dict[str, Any], int, dict[str, Any]]:
    """Read what `save_training` wrote: checkpoint, optimizer, step, extra.

    Raises:
        ConfigurationError: it is not such a file.
    """
    state = _unpickle(path)
    if _KEY not in state or "optimizer" not in state:
        raise ConfigurationError(f"{path}: is no training state of synvid-train.")
    return Checkpoint.of(state[_KEY], state["model"], path), state["optimizer"], int(state["step"]), state["extra"]


def _unpickle(path: Path) -> dict[str, Any]:
    """A torch file's mapping; only tensors and plain data are let in."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error):
            raise ConfigurationError(
                f"{path}: holds more than tensors and plain data, and is not loaded: it could run code."
            ) from None
        raise ConfigurationError(f"{path}: is no checkpoint, or a damaged one.") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except (RuntimeError, ValueError, EOFError, KeyError, IndexError, AttributeError, TypeError, zipfile.BadZipFile):
        raise ConfigurationError(f"{path}: is no checkpoint, or a damaged one.") from None
    if not isinstance(state, dict):
        raise ConfigurationError(f"{path}: is no checkpoint; it holds a {type(state).__name__}.")
    return state


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of ours, an official one of VideoMAE, or a Hugging Face folder.

    Args:
        path: a .safetensors or .pt file of ours, the folder of a run, an official .pth file (pre-trained or fine-tuned; 16
            frames of 224 pixels, as all of them), or a folder with config.json and model.safetensors.

    Raises:
        ConfigurationError: there is none, or it is damaged, foreign or could run code.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        for name in ("config.json", "last.safetensors", "last.pt"):
            if (path / name).is_file():
                return _load_huggingface(path) if name == "config.json" else load_checkpoint(path / name)
        raise ConfigurationError(f"{path}: holds neither last.safetensors, last.pt nor config.json.")
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such checkpoint.")
    if path.suffix == ".safetensors":
        weights, metadata = _read_safetensors(path)
        try:
            header = json.loads(metadata[_KEY])
        except (KeyError, ValueError):
            raise ConfigurationError(
                f"{path}: was not written by synvid-train; give the folder of a Hugging Face model."
            ) from None
        return Checkpoint.of(header, weights, path)
    state = _unpickle(path)
    if _KEY in state:
        return Checkpoint.of(state[_KEY], state["model"], path)
    return _from_official(state.get("model", state.get("module", state)), path)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError):
        raise ConfigurationError(f"{path}: is no safetensors file, or a damaged one.") from None


# ---- Official checkpoints -----------------------------------------------------------------------------------------
def _from_official(weights: Any, path: Path) -> Checkpoint:
    """Official names are ours, but that a fine-tuned model's encoder has no prefix."""
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ConfigurationError(f"{path}: is no checkpoint of VideoMAE: it holds no weights.")
    kind = PRETRAINING if "mask_token" in weights else CLASSIFIER
    if kind == CLASSIFIER:
        weights = {
            name if name.startswith(("fc_norm.", "head.")) else f"encoder.{name}": value for name, value in weights.items()
        }
    return Checkpoint(_architecture_of(weights, path), kind, {name: value.float() for name, value in weights.items()})


def _architecture_of(weights: Mapping[str, Tensor], path: Path, num_frames: int = 16, image_size: int = 224) -> Architecture:
    try:
        width, _, tubelet, patch, _ = weights["encoder.patch_embed.proj.weight"].shape
        size = next(name for name, numbers in SIZES.items() if numbers[0] == width)
    except (KeyError, ValueError, StopIteration):
        raise ConfigurationError(
            f"{path}: is no checkpoint of VideoMAE in a size that is known ({', '.join(SIZES)})."
        ) from None
    found = [int(match[1]) for name in weights if (match := re.match(r"decoder\.blocks\.(\d+)\.", name))]
    return Architecture(size, num_frames, image_size, patch, tubelet, max(found, default=3) + 1)


# ---- Hugging Face -------------------------------------------------------------------------------------------------
#: Our names and theirs; `{n}` is the number of a block.
_BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_STEMS = {
    "encoder.patch_embed.proj": "videomae.embeddings.patch_embeddings.projection",
    "encoder.norm": "videomae.layernorm",
    "encoder_to_decoder": "encoder_to_decoder",
    "decoder.norm": "decoder.norm",
    "decoder.head": "decoder.head",
    "fc_norm": "fc_norm",
    "head": "classifier",
}
_STACKS = {"encoder.blocks": "videomae.encoder.layer", "decoder.blocks": "decoder.decoder_layers"}


def _to_huggingface(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    theirs: dict[str, Tensor] = {}
    for name, value in weights.items():
        match = re.fullmatch(r"((?:en|de)coder\.blocks)\.(\d+)\.(.+)", name)
        if not match:
            stem, dot, leaf = name.rpartition(".")
            theirs[f"{_STEMS[stem]}{dot}{leaf}" if dot else name] = value
            continue
        layer, rest = f"{_STACKS[match[1]]}.{match[2]}", match[3]
        if rest == "attn.qkv.weight":
            for part, piece in zip(("query", "key", "value"), value.chunk(3), strict=True):
                theirs[f"{layer}.attention.attention.{part}.weight"] = piece
        elif rest in ("attn.q_bias", "attn.v_bias"):
            theirs[f"{layer}.attention.{rest}".replace("attn.", "attention.")] = value
        else:
            stem, _, leaf = rest.rpartition(".")
            theirs[f"{layer}.{_BLOCK[stem]}.{leaf}"] = value
    return theirs


def _from_huggingface(theirs: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    stems = {value: key for key, value in _STEMS.items()}
    stacks, block = ({value: key for key, value in names.items()} for names in (_STACKS, _BLOCK))
    ours: dict[str, Tensor] = {}
    try:
        for name, value in theirs.items():
            match = re.fullmatch(r"(videomae\.encoder\.layer|decoder\.decoder_layers)\.(\d+)\.(.+)", name)
            stem, dot, leaf = name.rpartition(".")
            if not match:
                ours[f"{stems[stem]}{dot}{leaf}" if dot else name] = value
                continue
            layer, rest = f"{stacks[match[1]]}.{match[2]}", match[3]
            if rest.endswith(("q_bias", "v_bias")):
                ours[f"{layer}.attn.{leaf}"] = value
            elif rest == "attention.attention.query.weight":
                parts = [theirs[name.replace("query", part)] for part in ("query", "key", "value")]
                ours[f"{layer}.attn.qkv.weight"] = torch.cat(parts)
            elif not rest.startswith("attention.attention."):
                ours[f"{layer}.{block[rest.rpartition('.')[0]]}.{leaf}"] = value
    except KeyError as error:
        raise ConfigurationError(f"{path}: holds a weight that VideoMAE does not have: {error.args[0]}.") from None
    return ours


def export_huggingface(checkpoint: Checkpoint, folder: str | Path) -> None:
    """Write a folder that `from_pretrained` of transformers' VideoMAE loads.

    Args:
        checkpoint: of either kind.
        folder: config.json, model.safetensors and preprocessor_config.json go there.

    Raises:
        DatasetError: it cannot be written.
    """
    folder, shape = Path(folder), checkpoint.architecture
    width, depth, heads, decoder_width, decoder_heads = SIZES[shape.size]
    pretraining = checkpoint.kind == PRETRAINING
    config: dict[str, Any] = {
        "architectures": ["VideoMAEForPreTraining" if pretraining else "VideoMAEForVideoClassification"],
        "model_type": "videomae",
        "image_size": shape.image_size,
        "patch_size": shape.patch_size,
        "num_channels": 3,
        "num_frames": shape.num_frames,
        "tubelet_size": shape.tubelet_size,
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "qkv_bias": True,
        "use_mean_pooling": not pretraining,
        "decoder_num_attention_heads": decoder_heads,
        "decoder_hidden_size": decoder_width,
        "decoder_num_hidden_layers": shape.decoder_depth,
        "decoder_intermediate_size": 4 * decoder_width,
        "norm_pix_loss": True,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    if not pretraining:
        count = checkpoint.weights["head.weight"].shape[0]
        names = checkpoint.classes or tuple(f"LABEL_{i}" for i in range(count))
        config["id2label"] = {str(i): name for i, name in enumerate(names)}
        config["label2id"] = {name: i for i, name in enumerate(names)}
    processor = {
        "image_processor_type": "VideoMAEImageProcessor",
        "image_mean": list(MEAN),
        "image_std": list(STD),
        "size": {"shortest_edge": shape.image_size},
        "crop_size": {"height": shape.image_size, "width": shape.image_size},
    }
    weights = {name: value.detach().cpu().contiguous() for name, value in _to_huggingface(checkpoint.weights).items()}
    _write(folder / "model.safetensors", lambda temporary: save_file(weights, temporary, {"format": "pt"}))
    for name, content in (("config.json", config), ("preprocessor_config.json", processor)):
        text = json.dumps(content, indent=2) + "\n"
        _write(folder / name, lambda temporary, text=text: temporary.write_text(text, encoding="utf-8"))  # type: ignore[misc]


def _load_huggingface(folder: Path) -> Checkpoint:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigurationError(f"{folder / 'config.json'}: cannot be read as JSON.") from None
    if not isinstance(config, dict) or config.get("model_type") != "videomae":
        raise ConfigurationError(f"{folder}: is a Hugging Face model of another type than videomae.")
    if not (folder / "model.safetensors").is_file():
        raise ConfigurationError(f"{folder}: has no model.safetensors.")
    theirs, _ = _read_safetensors(folder / "model.safetensors")
    weights = _from_huggingface(theirs, folder)
    shape = _architecture_of(weights, folder, config.get("num_frames", 16), config.get("image_size", 224))
    kind = PRETRAINING if "mask_token" in weights else CLASSIFIER
    names = config.get("id2label", {})
    classes = tuple(names[key] for key in sorted(names, key=int)) if kind == CLASSIFIER else ()
    return Checkpoint(shape, kind, weights, classes)
