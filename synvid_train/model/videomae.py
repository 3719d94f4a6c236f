"""VideoMAE (Tong et al. 2022): a masked autoencoder of video, and a classifier with the same encoder.

Shapes: B clips, T frames, H x W pixels, C = 3 channels, N tokens, of which V are visible and M masked, width D, P values in a
patch (tubelet_size x patch_size x patch_size x 3). Parameters have the names of the official checkpoints.
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


#: Mean and standard deviation of ImageNet, for pixels in [0, 1].
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

#: Width, depth and heads of the encoder, width and heads of the decoder, by model size.
SIZES = {
    "tiny": (128, 4, 4, 64, 2),
    "small": (384, 12, 6, 192, 3),
    "base": (768, 12, 12, 384, 6),
    "large": (1024, 24, 16, 512, 8),
    "huge": (1280, 32, 16, 640, 8),
}


@dataclass(frozen=True)
class Architecture:
    """The architecture of a model: everything needed to build it.

    Attributes:
        size: a key of `SIZES`.
        num_frames: T, a multiple of `tubelet_size`.
        image_size: H = W in pixels, a multiple of `patch_size`.
        patch_size: height and width of a patch in pixels.
        tubelet_size: number of frames of a patch.
        decoder_depth: number of decoder blocks.

    Raises:
        ConfigurationError: the size is unknown, or a number is not as described.
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
        for name, divisor_name in (("num_frames", "tubelet_size"), ("image_size", "patch_size")):
            value, divisor = getattr(self, name), getattr(self, divisor_name)
            if divisor <= 0:
                raise ConfigurationError(f"model.{divisor_name} is {divisor}; it must be above 0.")
            if value % divisor or value <= 0:
                raise ConfigurationError(f"model.{name} is {value}; it must be a multiple of {divisor_name}, {divisor}.")

    @property
    def grid(self) -> tuple[int, int]:
        """Number of time steps, and of patches in each."""
        return self.num_frames // self.tubelet_size, (self.image_size // self.patch_size) ** 2

    @property
    def num_tokens(self) -> int:
        """N, the number of tokens."""
        return self.grid[0] * self.grid[1]

    @property
    def patch_values(self) -> int:
        """P, the number of values in a patch."""
        return self.tubelet_size * self.patch_size**2 * 3


def normalize(frames: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normalise uint8 frames (..., 3) by the mean and standard deviation of ImageNet; returns floats of `dtype`."""
    mean, std = (torch.tensor(values, dtype=dtype, device=frames.device) for values in (MEAN, STD))
    return (frames.to(dtype) / 255 - mean) / std


def tube_mask(architecture: Architecture, ratio: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a tube mask (section 3.1 of VideoMAE): the same patches are masked at every time step.

    Args:
        architecture: the model's architecture.
        ratio: fraction of patches to mask; their number is rounded down.
        rng: random generator.

    Returns:
        int64 (N,): the indices of the V visible tokens in ascending order, then those of the M masked ones in ascending order.
    """
    steps, patches = architecture.grid
    masked = np.zeros(patches, bool)
    masked[rng.permutation(patches)[: int(ratio * patches)]] = True
    tokens = np.arange(steps * patches)
    is_masked = np.tile(masked, steps)
    return np.concatenate([tokens[~is_masked], tokens[is_masked]])


def _sinusoid(tokens: int, width: int) -> Tensor:
    """Position embeddings (1, N, D): angle = position / 10000^(2 (j // 2) / D), sine for even j, cosine for odd."""
    j = np.arange(width)
    angles = np.arange(tokens)[:, None] / 10_000.0 ** (2 * (j // 2) / width)
    table = np.where(j % 2 == 0, np.sin(angles), np.cos(angles))
    return torch.from_numpy(table).float()[None]


def _to_patches(clips: Tensor, architecture: Architecture) -> Tensor:
    """Cut clips (B, T, H, W, C) into patches (B, N, P), with values in the order (time, row, column, channel)."""
    p, q = architecture.patch_size, architecture.tubelet_size
    batch, frames, height, width, channels = clips.shape
    split = clips.reshape(batch, frames // q, q, height // p, p, width // p, p, channels)
    return split.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, -1, q * p * p * channels)


def _gather(tokens: Tensor, indices: Tensor) -> Tensor:
    """Select tokens of each clip: (B, N, D) and indices (B, K) to (B, K, D)."""
    return tokens.gather(1, indices[..., None].expand(-1, -1, tokens.shape[-1]))


def _initialize(module: nn.Module) -> None:
    """Initialise a module of the encoder or decoder like VideoMAE's pre-training code."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _initialize_classifier(module: nn.Module) -> None:
    """Initialise a module of a classifier like VideoMAE's fine-tuning code."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


_norm: Any = partial(nn.LayerNorm, eps=1e-6)


def _blocks(depth: int, width: int, heads: int, drop_path: float = 0.0) -> nn.ModuleList:
    """Return pre-norm blocks whose stochastic depth rates grow linearly from 0 to `drop_path`."""
    rates = np.linspace(0, drop_path, depth)
    from synvid_train.model.timm_imports import Block  # slow to import

    return nn.ModuleList(Block(width, heads, qkv_bias=True, drop_path=float(rate), norm_layer=_norm) for rate in rates)


class PatchEmbed(nn.Module):
    """A linear map of patches, with weights of a Conv3d, (D, C, tubelet, patch, patch), as in official checkpoints."""

    def __init__(self, architecture: Architecture, width: int) -> None:
        super().__init__()
        kernel = (architecture.tubelet_size, architecture.patch_size, architecture.patch_size)
        self.proj = nn.Conv3d(3, width, kernel, stride=kernel)

    def forward(self, patches: Tensor) -> Tensor:
        """Embed patches (B, V, P) as tokens (B, V, D)."""
        kernel = self.proj.weight.permute(0, 2, 3, 4, 1).flatten(1)  # (D, P), channel fastest
        return functional.linear(patches, kernel, self.proj.bias)


class Encoder(nn.Module):
    """A vision transformer from patches to tokens.

    Args:
        architecture: the model's architecture.
        drop_path: stochastic depth rate of the last block.
        norm: end with a layer norm; a classifier has its own instead.
    """

    positions: Tensor

    def __init__(self, architecture: Architecture, drop_path: float = 0.0, norm: bool = True) -> None:
        super().__init__()
        width, depth, heads, _, _ = SIZES[architecture.size]
        self.architecture = architecture
        self.patch_embed = PatchEmbed(architecture, width)
        self.blocks = _blocks(depth, width, heads, drop_path)
        self.norm: nn.Module = _norm(width) if norm else nn.Identity()
        self.register_buffer("positions", _sinusoid(architecture.num_tokens, width), persistent=False)

    def forward(self, clips: Tensor, visible_indices: Tensor | None = None) -> Tensor:
        """Encode clips.

        Args:
            clips: normalised pixels (B, T, H, W, C).
            visible_indices: indices of the visible tokens, (B, V); None for all tokens.

        Returns:
            Tokens (B, V, D).
        """
        return self.norm(self.features(clips, visible_indices))  # type: ignore[no-any-return]

    def features(self, clips: Tensor, visible_indices: Tensor | None = None, depth: int | None = None) -> Tensor:
        """Return the tokens (B, V, D) after the first `depth` blocks, or all blocks if None, before the norm."""
        patches, positions = _to_patches(clips, self.architecture), self.positions
        if visible_indices is not None:  # before the embedding, which then skips masked patches
            patches = _gather(patches, visible_indices)
            positions = _gather(positions.expand(len(clips), -1, -1), visible_indices)
        tokens = self.patch_embed(patches) + positions.to(patches.dtype)
        for block in self.blocks[:depth]:
            tokens = block(tokens)
        return tokens  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Transformer blocks over all tokens, and a linear map of the masked ones to pixels."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        *_, width, heads = SIZES[architecture.size]
        self.blocks = _blocks(architecture.decoder_depth, width, heads)
        self.norm = _norm(width)
        self.head = nn.Linear(width, architecture.patch_values)

    def forward(self, tokens: Tensor, num_masked: int) -> Tensor:
        """Decode tokens (B, N, D), of which the last `num_masked` are mask tokens, to predictions (B, M, P)."""
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, -num_masked:]))  # type: ignore[no-any-return]


class VideoMAE(nn.Module):
    """The masked autoencoder: predicts the normalised pixels of masked patches from the visible ones."""

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
        self.encoder.apply(_initialize)  # encoder_to_decoder keeps PyTorch's default, as in VideoMAE
        self.decoder.apply(_initialize)
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)

    def forward(self, clips: Tensor, token_order: Tensor, num_visible: int) -> tuple[Tensor, Tensor]:
        """Reconstruct the masked patches.

        Args:
            clips: uint8 (B, T, H, W, C), or floats of that shape that are already normalised.
            token_order: indices of all tokens, visible ones first, (B, N); each row is a `tube_mask`.
            num_visible: V.

        Returns:
            The loss, a scalar: the mean squared error over masked patches, in float32; and the predictions (B, M, P).
        """
        pixels = normalize(clips) if clips.dtype == torch.uint8 else clips
        predicted = self.predict(pixels, token_order, num_visible)
        with torch.autocast(clips.device.type, enabled=False):
            target = self.target(pixels, token_order[:, num_visible:])
            loss = functional.mse_loss(predicted.to(target.dtype), target)
        return loss, predicted

    def predict(self, pixels: Tensor, token_order: Tensor, num_visible: int) -> Tensor:
        """Return the predictions (B, M, P) for normalised pixels (B, T, H, W, C)."""
        encoded = self.encoder_to_decoder(self.encoder(pixels, token_order[:, :num_visible]))
        positions = _gather(self.positions.expand(len(pixels), -1, -1), token_order)  # (B, N, D)
        num_masked = token_order.shape[1] - num_visible
        mask_tokens = self.mask_token.expand(len(pixels), num_masked, -1)
        # The residual stream is float32, also under bf16 autocast.
        tokens = torch.cat([encoded.to(positions.dtype), mask_tokens], dim=1) + positions
        return self.decoder(tokens, num_masked)  # type: ignore[no-any-return]

    @torch.no_grad()
    def target(self, pixels: Tensor, masked_indices: Tensor) -> Tensor:
        """Return the target (B, M, P): the masked patches, normalised to mean 0 and standard deviation 1 per channel.

        The target of a constant patch, such as black background, is 0.
        """
        mean, std = (torch.tensor(values, dtype=pixels.dtype, device=pixels.device) for values in (MEAN, STD))
        patches = _gather(_to_patches(pixels * std + mean, self.architecture), masked_indices)
        patches = patches.reshape(*patches.shape[:2], -1, 3)  # (B, M, P / 3, C)
        patches = patches - patches[:, :, :1]  # else the rounding error of a constant patch's mean, over 1e-6, is up to 0.3
        centered = patches - patches.mean(dim=2, keepdim=True)
        deviation = centered.square().sum(dim=2, keepdim=True).div(patches.shape[2] - 1).sqrt()
        return (centered / (deviation + 1e-6)).flatten(2)


class VideoClassifier(nn.Module):
    """The encoder, the mean over its tokens, a layer norm and a linear layer."""

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
        """Return logits (B, classes) for clips: uint8 (B, T, H, W, C), or floats of that shape that are already normalised."""
        pixels = normalize(clips) if clips.dtype == torch.uint8 else clips
        pooled = self.fc_norm(self.encoder(pixels).mean(dim=1))
        return self.head(self.head_dropout(pooled))  # type: ignore[no-any-return]


def training_flops(architecture: Architecture, ratio: float | None) -> float:
    """Estimate the floating-point operations of a training step on one clip; the backward pass counts as two forward passes.

    Args:
        architecture: the model's architecture.
        ratio: fraction of masked patches in pre-training; None for a classifier.
    """
    width, depth, _, decoder_width, _ = SIZES[architecture.size]
    steps, patches = architecture.grid
    num_tokens = architecture.num_tokens
    num_visible = num_tokens if ratio is None else steps * (patches - int(ratio * patches))

    def transformer(n: int, d: int, blocks: int) -> float:
        return blocks * (12 * n * d * d + 2 * n * n * d)

    total = num_visible * architecture.patch_values * width + transformer(num_visible, width, depth)
    if ratio is not None:
        total += num_visible * width * decoder_width + transformer(num_tokens, decoder_width, architecture.decoder_depth)
        total += (num_tokens - num_visible) * decoder_width * architecture.patch_values
    return 2 * 3 * total


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def unwrapped_state_dict(model: nn.Module) -> dict[str, Any]:
    """Return a model's state dict without the name prefixes of DistributedDataParallel and torch.compile."""
    return {name.replace("_orig_mod.", "").removeprefix("module."): value for name, value in model.state_dict().items()}
