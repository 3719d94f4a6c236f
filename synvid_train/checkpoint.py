"""Checkpoints: our own, the official ones of VideoMAE, and those of Hugging Face transformers.

Nothing that is read can run code: weights are safetensors, or pickles of which only tensors and plain values are taken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import re
import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from synvid.errors import ConfigurationError
from synvid.work.disk import named_errors, write_whole
from synvid_train.videomae import MEAN, SIZES, STD, Architecture, VideoClassifier, VideoMAE

__all__ = [
    "Checkpoint",
    "export_huggingface",
    "load_checkpoint",
    "load_encoder",
    "load_training",
    "save_training",
    "save_weights",
]

Weights = dict[str, Tensor]

#: What a folder is searched for, the quickest first.
_IN_A_FOLDER = ("last.safetensors", "last.pt", "config.json")

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

    def model(self, drop_path: float = 0.0, dropout: float = 0.0) -> VideoMAE | VideoClassifier:
        """The model with these weights, of float32.

        Args:
            drop_path: of a classifier that is trained further.
            dropout: of a classifier that is trained further.

        Raises:
            ConfigurationError: the weights are not those of such a model.
        """
        _check(self, "The checkpoint")
        model = _build(self.architecture, self.kind, len(self.classes), drop_path, dropout)
        model.load_state_dict(self.weights)
        return model


def _build(
    architecture: Architecture, kind: str, classes: int, drop_path: float = 0.0, dropout: float = 0.0
) -> VideoMAE | VideoClassifier:
    if kind == "pretraining":
        return VideoMAE(architecture)
    return VideoClassifier(architecture, classes, drop_path, dropout)


def _shapes(architecture: Architecture, kind: str, classes: int) -> dict[str, tuple[int, ...]]:
    """The weights that a model has, without the cost of making it."""
    if kind == "classifier" and not classes:
        raise ConfigurationError("A classifier must have classes; this one has none.")
    with torch.device("meta"):
        model = _build(architecture, kind, classes)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def _check(checkpoint: Checkpoint, owner: str) -> None:
    _fit(checkpoint.weights, _shapes(checkpoint.architecture, checkpoint.kind, len(checkpoint.classes)), owner)


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


# ---- Writing -------------------------------------------------------------------------------------------------------
def save_weights(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a model as one safetensors file whose header says what it is; whole or not at all.

    Args:
        path: of the file, `.safetensors`.
        checkpoint: what is written.

    Raises:
        ConfigurationError: the weights are not those of such a model.
        DatasetError: the file cannot be written; one that was there before is as it was.
    """
    _write_safetensors(Path(path), checkpoint.weights, {"synvid": _header(checkpoint)})


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
    with _whole(Path(path)) as temporary, temporary.open("wb") as file:
        _save_pickle(content, file)


def _header(checkpoint: Checkpoint) -> str:
    _check(checkpoint, "The checkpoint")  # before it replaces one that can be read
    about = {name: value for name, value in vars(checkpoint).items() if name not in {"architecture", "weights"}}
    return json.dumps({"version": 1, "architecture": asdict(checkpoint.architecture), **about})


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A name beside a file to be written; what is there at the end is on the disk before it takes the file's name."""
    with named_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        try:
            yield temporary
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _write_safetensors(path: Path, weights: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with _whole(path) as temporary:
        try:
            save_file(plain, temporary, metadata={"format": "pt", **metadata})
        except SafetensorError as error:  # it was an OSError before it came through Rust
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from None


class _Witness:
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
    witness = _Witness(file)
    try:
        torch.save(content, witness)  # type: ignore[arg-type]  # all that it uses is there
    except (OSError, RuntimeError):
        if witness.error is None:
            raise
        raise witness.error from None


# ---- Reading -------------------------------------------------------------------------------------------------------
def load_checkpoint(path: str | os.PathLike[str], num_frames: int | None = None, image_size: int | None = None) -> Checkpoint:
    """Read a model, whoever wrote it.

    Args:
        path: a file of `save_weights` or `save_training`; a folder with `last.safetensors` or `last.pt`; an official file
            (`.pth`, `.pt`) of VideoMAE, pre-trained or fine-tuned; a folder of Hugging Face (`config.json`,
            `model.safetensors`).
        num_frames: that the model shall take, if not as many as before; positions are no weights.
        image_size: likewise; 16 frames of 224 pixels where the file does not say.

    Raises:
        ConfigurationError: there is no such file, or it is not a whole checkpoint of a VideoMAE that we can build.
        DatasetError: the file system does not give it.
    """
    path = Path(path)
    with named_errors(path):
        if path.is_dir():
            path = _in_folder(path)
        elif not path.exists():
            raise ConfigurationError(f"{path}: there is no such checkpoint.")
        checkpoint = _READERS.get(path.suffix, _read_torch)(path)
        architecture = replace(
            checkpoint.architecture,
            num_frames=checkpoint.architecture.num_frames if num_frames is None else num_frames,
            image_size=checkpoint.architecture.image_size if image_size is None else image_size,
        )
    checkpoint = replace(checkpoint, architecture=architecture)
    with _sentences_of(path):
        _check(checkpoint, "it")
    return checkpoint


def load_training(path: str | os.PathLike[str]) -> tuple[Checkpoint, dict[str, Any], int, dict[str, Any]]:
    """Read what `save_training` wrote.

    Returns:
        The model, the state of the optimizer, the step, and `extra`.

    Raises:
        ConfigurationError: there is no such file, or it is not a whole one of `save_training`.
        DatasetError: the file system does not give it.
    """
    path = Path(path)
    with named_errors(path):
        if not path.is_file():
            raise ConfigurationError(f"{path}: there is no such file.")
        content = _unpickle(path)
    if not isinstance(content, dict) or not {"synvid", "model", "optimizer", "step", "extra"} <= content.keys():
        raise ConfigurationError(f"{path}: a training cannot go on from it; last.pt of a run is such a file.")
    checkpoint = _described(path, content["synvid"], content["model"])
    with _sentences_of(path):
        _check(checkpoint, "it")
    return checkpoint, content["optimizer"], content["step"], content["extra"]


def _in_folder(folder: Path) -> Path:
    for name in _IN_A_FOLDER:
        if (folder / name).is_file():
            return folder / name
    raise ConfigurationError(f"{folder}: there is no checkpoint in it, that is, none of {', '.join(_IN_A_FOLDER)}.")


def _described(path: Path, header: Any, weights: Any) -> Checkpoint:
    """The checkpoint that a header of ours describes."""
    if not _are_weights(weights):
        raise ConfigurationError(f"{path}: it has no weights.")
    try:
        about = json.loads(header)
        with _sentences_of(path):
            architecture = Architecture(**about["architecture"])
        kind, classes = about["kind"], tuple(about["classes"])
        checkpoint = Checkpoint(architecture, kind, dict(weights), classes, about["metrics"], about["recipe"])
    except ConfigurationError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ConfigurationError(f"{path}: its header is not one that this version of synvid_train writes.") from None
    if kind not in _HUGGINGFACE:
        raise ConfigurationError(f"{path}: its kind is {kind!r}; it must be one of {', '.join(_HUGGINGFACE)}.")
    return checkpoint


def _are_weights(weights: Any) -> TypeGuard[Weights]:
    """Whether it is a dict of tensors by name, and not empty."""
    return (
        isinstance(weights, dict)
        and len(weights) > 0
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items())
    )


def _read_safetensors(path: Path) -> Checkpoint:
    weights, metadata = _tensors(path)
    if "synvid" not in metadata:
        raise ConfigurationError(
            f"{path}: it has weights, but no header of synvid_train; of a model of Hugging Face, name the folder."
        )
    return _described(path, metadata["synvid"], weights)


def _tensors(path: Path) -> tuple[Weights, dict[str, str]]:
    """The tensors of a safetensors file, and what its header says besides."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118  # no mapping
    except (SafetensorError, ValueError) as error:
        raise ConfigurationError(f"{path}: it is not a whole safetensors file ({error}).") from None


def _unpickle(path: Path) -> Any:
    """The tensors and plain values in a file of torch.save; anything else is refused, not run."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
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


# ---- Official files ------------------------------------------------------------------------------------------------
def _read_torch(path: Path) -> Checkpoint:
    """A file of torch.save: ours, or an official one."""
    content = _unpickle(path)
    if isinstance(content, dict) and "synvid" in content:
        return _described(path, content["synvid"], content.get("model"))
    weights = content.get("model", content.get("module", content)) if isinstance(content, dict) else None
    if not _are_weights(weights):
        raise ConfigurationError(f"{path}: it has no weights, neither as `model` nor as `module`.")
    return _official(path, dict(weights))


def _official(path: Path, weights: Weights) -> Checkpoint:
    """Name the weights as we do and infer the architecture from their shapes."""
    if "patch_embed.proj.weight" in weights:  # fine-tuned
        ours = ("fc_norm.", "head.")
        weights = {name if name.startswith(ours) else f"encoder.{name}": value for name, value in weights.items()}
    kernel = weights.get("encoder.patch_embed.proj.weight")
    if kernel is None or kernel.ndim != 5 or kernel.shape[-1] != kernel.shape[-2]:
        raise ConfigurationError(
            f"{path}: it is not a VideoMAE: encoder.patch_embed.proj.weight must be there, of shape (width, 3, tubelet, p, p)."
        )
    decoder = {name.split(".")[2] for name in weights if name.startswith("decoder.blocks.")}
    size = _size(path, kernel.shape[0])
    with _sentences_of(path):
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


@contextlib.contextmanager
def _sentences_of(path: Path) -> Iterator[None]:
    """Put the file in front of what an architecture complains of."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


# ---- Hugging Face --------------------------------------------------------------------------------------------------
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
    _check(checkpoint, "The checkpoint")
    folder = Path(folder)
    weights: Weights = {}
    for name, value in checkpoint.weights.items():
        for theirs, part in zip(_theirs(name), value.chunk(len(_theirs(name))), strict=True):
            weights[theirs] = part
    _write_safetensors(folder / "model.safetensors", weights, {})
    for file, content in (
        ("preprocessor_config.json", _preprocessor(checkpoint.architecture)),
        ("config.json", _configuration(checkpoint)),
    ):
        with named_errors(folder / file):
            write_whole(folder / file, json.dumps(content, indent=2) + "\n")


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
    weights, _ = _tensors(file)
    weights = {re.sub(r"\.(query|value)\.bias$", lambda name: f".{name[1][0]}_bias", name): weights[name] for name in weights}
    architecture = _architecture_of(path, about)
    kind = "classifier" if "classifier.weight" in weights else "pretraining"
    classes: tuple[str, ...] = ()
    if kind == "classifier":
        labels = about.get("id2label") or {}
        classes = tuple(str(labels.get(number, number)) for number in _numbers(weights["classifier.weight"]))
    return Checkpoint(architecture, kind, _ours(file, weights, _shapes(architecture, kind, len(classes))), classes)


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
    with _sentences_of(path):
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
                shapes_of = f"{tuple(tensors[0].shape)} and {tuple(tensor.shape)}"
                raise ConfigurationError(f"{path}: {parts[0]} and {part} differ in shape: {shapes_of}.")
        ours[name] = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
    if left:
        raise ConfigurationError(f"{path}: it has {next(iter(left))}, for which the model has no place.")
    return ours


_READERS: dict[str, Callable[[Path], Checkpoint]] = {".safetensors": _read_safetensors, ".json": _read_huggingface}


# ---- From pre-training to a classifier -----------------------------------------------------------------------------
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
