"""VideoMAE (Tong et al. 2022): a masked auto-encoder of video, and the classifier made from its encoder.

Shapes in comments: B clips, T frames, H x W pixels, C = 3 channels, N tokens, V of them visible, M masked, D the width, P
values in a patch (tubelet_size x patch_size x patch_size x 3). Parameters have the names of the official checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from synvid.errors import ConfigurationError

__all__ = ["MEAN", "SIZES", "STD", "Architecture", "VideoClassifier", "VideoMAE", "normalize", "tube_mask"]


#: Of ImageNet, by which pixels in [0, 1] are normalised.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

#: name: width, depth and heads of the encoder, width and heads of the decoder.
SIZES = {
    "tiny": (128, 4, 4, 64, 2),
    "small": (384, 12, 6, 192, 3),
    "base": (768, 12, 12, 384, 6),
    "large": (1024, 24, 16, 512, 8),
    "huge": (1280, 32, 16, 640, 8),
}


@dataclass(frozen=True)
class Architecture:
    """The shape of a model: all that is needed to build it.

    Attributes:
        size: a key of `SIZES`.
        num_frames: T, a multiple of `tubelet_size`.
        image_size: H = W, a multiple of `patch_size`.
        patch_size: pixels a side.
        tubelet_size: frames a token spans.
        decoder_depth: blocks of the decoder.
    """

    size: str = "base"
    num_frames: int = 16
    image_size: int = 224
    patch_size: int = 16
    tubelet_size: int = 2
    decoder_depth: int = 4

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ConfigurationError(f"model.size is {self.size!r}; it must be one of {', '.join(SIZES)}.")
        for whole, part in (("num_frames", "tubelet_size"), ("image_size", "patch_size")):
            if getattr(self, part) <= 0:
                raise ConfigurationError(f"model.{part} is {getattr(self, part)}; it must be above 0.")
            if getattr(self, whole) % getattr(self, part) or getattr(self, whole) <= 0:
                raise ConfigurationError(
                    f"model.{whole} is {getattr(self, whole)}; it must be a multiple of {part}, {getattr(self, part)}."
                )

    @property
    def grid(self) -> tuple[int, int]:
        """Time steps, and patches in a frame."""
        return self.num_frames // self.tubelet_size, (self.image_size // self.patch_size) ** 2

    @property
    def num_tokens(self) -> int:
        """N."""
        return self.grid[0] * self.grid[1]

    @property
    def patch_values(self) -> int:
        """P."""
        return self.tubelet_size * self.patch_size**2 * 3


def normalize(frames: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Pixels as the model takes them: uint8 (..., 3) in 0..255 to floats of ImageNet's mean 0 and deviation 1."""
    mean, std = (torch.tensor(values, dtype=dtype, device=frames.device) for values in (MEAN, STD))
    return (frames.to(dtype) / 255 - mean) / std


def tube_mask(architecture: Architecture, ratio: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """A tube mask (section 3.1 of VideoMAE): the same patches are masked at every time step.

    Args:
        architecture: of the model.
        ratio: of patches that are masked, rounded down.
        rng: what draws them.

    Returns:
        int64 (N,): the V visible tokens in order, then the M masked ones in order.
    """
    steps, patches = architecture.grid
    masked = np.zeros(patches, bool)
    masked[rng.permutation(patches)[: int(ratio * patches)]] = True
    tokens = np.arange(steps * patches)
    inside = np.tile(masked, steps)
    return np.concatenate([tokens[~inside], tokens[inside]])


def _sinusoid(tokens: int, width: int) -> Tensor:
    """A table over flattened positions, (1, N, D): angle = pos / 10000^(2 (j // 2) / D), sine on even j, cosine on odd."""
    j = np.arange(width)
    angles = np.arange(tokens)[:, None] / 10_000.0 ** (2 * (j // 2) / width)
    table = np.where(j % 2 == 0, np.sin(angles), np.cos(angles))
    return torch.from_numpy(table).float()[None]


def _to_patches(clips: Tensor, architecture: Architecture) -> Tensor:
    """(B, T, H, W, C) to (B, N, P), the values of a patch in the order (time, row, column, channel)."""
    p, q = architecture.patch_size, architecture.tubelet_size
    batch, frames, height, width, channels = clips.shape
    split = clips.reshape(batch, frames // q, q, height // p, p, width // p, p, channels)
    return split.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, -1, q * p * p * channels)


def _gather(tokens: Tensor, indices: Tensor) -> Tensor:
    """Some tokens of each clip: (B, N, D) and (B, K) to (B, K, D)."""
    return tokens.gather(1, indices[..., None].expand(-1, -1, tokens.shape[-1]))


def _initialize(module: nn.Module) -> None:
    """As VideoMAE's pre-training initialises encoder and decoder."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _initialize_classifier(module: nn.Module) -> None:
    """As VideoMAE's fine-tuning initialises what no checkpoint gives."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


_norm: Any = partial(nn.LayerNorm, eps=1e-6)


def _blocks(depth: int, width: int, heads: int, drop_path: float = 0.0) -> nn.ModuleList:
    """Pre-norm blocks; the share of residual branches dropped grows from 0 to `drop_path` with depth."""
    rates = np.linspace(0, drop_path, depth)
    from synvid_train.model.timm_imports import Block  # slow to import

    return nn.ModuleList(Block(width, heads, qkv_bias=True, drop_path=float(rate), norm_layer=_norm) for rate in rates)


class PatchEmbed(nn.Module):
    """A linear map of each patch, kept as the Conv3d (D, C, tubelet, patch, patch) that official checkpoints hold."""

    def __init__(self, architecture: Architecture, width: int) -> None:
        super().__init__()
        kernel = (architecture.tubelet_size, architecture.patch_size, architecture.patch_size)
        self.proj = nn.Conv3d(3, width, kernel, stride=kernel)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, V, P) to (B, V, D)."""
        kernel = self.proj.weight.permute(0, 2, 3, 4, 1).flatten(1)  # (D, P), channel fastest
        return functional.linear(patches, kernel, self.proj.bias)


class Encoder(nn.Module):
    """The vision transformer: patches in, tokens out; `norm` is left out where a classifier brings its own."""

    positions: Tensor

    def __init__(self, architecture: Architecture, drop_path: float = 0.0, norm: bool = True) -> None:
        super().__init__()
        width, depth, heads, _, _ = SIZES[architecture.size]
        self.architecture = architecture
        self.patch_embed = PatchEmbed(architecture, width)
        self.blocks = _blocks(depth, width, heads, drop_path)
        self.norm: nn.Module = _norm(width) if norm else nn.Identity()
        self.register_buffer("positions", _sinusoid(architecture.num_tokens, width), persistent=False)

    def forward(self, clips: Tensor, visible: Tensor | None = None) -> Tensor:
        """Encode clips.

        Args:
            clips: normalised pixels (B, T, H, W, C).
            visible: indices of the tokens to look at, (B, V); None for all.

        Returns:
            (B, V, D).
        """
        return self.norm(self.features(clips, visible))  # type: ignore[no-any-return]

    def features(self, clips: Tensor, visible: Tensor | None = None, depth: int | None = None) -> Tensor:
        """Tokens after `depth` blocks, all of them if None, before the norm."""
        patches, positions = _to_patches(clips, self.architecture), self.positions
        if visible is not None:  # before the embedding: masked patches cost nothing
            patches = _gather(patches, visible)
            positions = _gather(positions.expand(len(clips), -1, -1), visible)
        tokens = self.patch_embed(patches) + positions.to(patches.dtype)
        for block in self.blocks[:depth]:
            tokens = block(tokens)
        return tokens  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Blocks over visible and masked tokens; the masked ones become pixels."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        *_, width, heads = SIZES[architecture.size]
        self.blocks = _blocks(architecture.decoder_depth, width, heads)
        self.norm = _norm(width)
        self.head = nn.Linear(width, architecture.patch_values)

    def forward(self, tokens: Tensor, masked: int) -> Tensor:
        """(B, N, D) with the masked tokens last, to (B, M, P)."""
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, -masked:]))  # type: ignore[no-any-return]


class VideoMAE(nn.Module):
    """The masked auto-encoder: from the visible tokens of a clip, the normalised pixels of the masked ones."""

    positions: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, _, _, decoder_width, _ = SIZES[architecture.size]
        self.architecture = architecture
        self.encoder = Encoder(architecture)
        self.decoder = Decoder(architecture)
        self.encoder_to_decoder = nn.Linear(width, decoder_width, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self.register_buffer("positions", _sinusoid(architecture.num_tokens, decoder_width), persistent=False)
        self.encoder.apply(_initialize)  # the layer between them keeps PyTorch's default, as VideoMAE's does
        self.decoder.apply(_initialize)
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)

    def forward(self, clips: Tensor, order: Tensor, visible: int) -> tuple[Tensor, Tensor]:
        """Reconstruct the masked tokens.

        Args:
            clips: uint8 (B, T, H, W, C), or floats of that shape that are normalised already.
            order: indices of all tokens, the visible ones first, (B, N): a row of `tube_mask` each.
            visible: V.

        Returns:
            The loss, a number: the mean squared error over masked tokens, in float32; and the predictions (B, M, P).
        """
        pixels = normalize(clips) if clips.dtype == torch.uint8 else clips
        predicted = self.predict(pixels, order, visible)
        with torch.autocast(clips.device.type, enabled=False):
            target = self.target(pixels, order[:, visible:])
            loss = functional.mse_loss(predicted.to(target.dtype), target)
        return loss, predicted

    def predict(self, pixels: Tensor, order: Tensor, visible: int) -> Tensor:
        """Predictions (B, M, P) from normalised pixels (B, T, H, W, C)."""
        seen = self.encoder_to_decoder(self.encoder(pixels, order[:, :visible]))
        positions = _gather(self.positions.expand(len(pixels), -1, -1), order)  # (B, N, D)
        hidden = self.mask_token.expand(len(pixels), order.shape[1] - visible, -1)
        tokens = (
            torch.cat([seen.to(positions.dtype), hidden], dim=1) + positions
        )  # the residual stream is float32 with bf16, too
        return self.decoder(tokens, order.shape[1] - visible)  # type: ignore[no-any-return]

    @torch.no_grad()
    def target(self, pixels: Tensor, masked: Tensor) -> Tensor:
        """What is to be predicted: each masked patch with mean 0 and deviation 1 in each channel, (B, M, P).

        A constant patch, the black background say, has target 0.
        """
        mean, std = (torch.tensor(values, dtype=pixels.dtype, device=pixels.device) for values in (MEAN, STD))
        patches = _gather(_to_patches(pixels * std + mean, self.architecture), masked)
        patches = patches.reshape(*patches.shape[:2], -1, 3)  # (B, M, P / 3, C)
        patches = patches - patches[:, :, :1]  # else the rounding of a constant patch's mean, over 1e-6, is noise of 0.3
        centered = patches - patches.mean(dim=2, keepdim=True)
        deviation = centered.square().sum(dim=2, keepdim=True).div(patches.shape[2] - 1).sqrt()
        return (centered / (deviation + 1e-6)).flatten(2)


class VideoClassifier(nn.Module):
    """The encoder, the mean over its tokens, a norm and a linear layer."""

    def __init__(self, architecture: Architecture, classes: int, drop_path: float = 0.0, dropout: float = 0.0) -> None:
        super().__init__()
        width = SIZES[architecture.size][0]
        self.architecture = architecture
        self.encoder = Encoder(architecture, drop_path, norm=False)
        self.fc_norm = _norm(width)
        self.head_dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)
        self.apply(_initialize_classifier)
        with torch.no_grad():
            self.head.weight.mul_(0.001)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (B, classes) of clips: uint8 (B, T, H, W, C), or floats of that shape that are normalised already."""
        pixels = normalize(clips) if clips.dtype == torch.uint8 else clips
        pooled = self.fc_norm(self.encoder(pixels).mean(dim=1))
        return self.head(self.head_dropout(pooled))  # type: ignore[no-any-return]


def training_flops(architecture: Architecture, ratio: float | None) -> float:
    """Multiply-adds of a training step on one clip, times 2 for operations and 3 for forward and backward.

    Args:
        architecture: of the model.
        ratio: of masked patches in pre-training; None for a classifier.
    """
    width, depth, _, decoder_width, _ = SIZES[architecture.size]
    steps, patches = architecture.grid
    tokens = architecture.num_tokens
    seen = tokens if ratio is None else steps * (patches - int(ratio * patches))

    def transformer(n: int, d: int, blocks: int) -> float:
        return blocks * (12 * n * d * d + 2 * n * n * d)

    total = seen * architecture.patch_values * width + transformer(seen, width, depth)
    if ratio is not None:
        total += seen * width * decoder_width + transformer(tokens, decoder_width, architecture.decoder_depth)
        total += (tokens - seen) * decoder_width * architecture.patch_values
    return 2 * 3 * total


def count_parameters(model: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(parameter.numel() for parameter in model.parameters())


def unwrapped_state_dict(model: nn.Module) -> dict[str, Any]:
    """The weights of a model, whatever wraps it (DistributedDataParallel, torch.compile)."""
    return {name.replace("_orig_mod.", "").removeprefix("module."): value for name, value in model.state_dict().items()}
