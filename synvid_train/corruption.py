"""The 14 corruptions of UCF101-P under which the paper tests (section 4.2, Figure 3), each at severities 1 to 5.

Parameters are those of Schiappa et al. 2023, "A Large-scale Robustness Analysis of Video Action Recognition Models", which
took the noises, blurs and JPEG from Hendrycks and Dietterich 2019. Its two published code bases disagree on three corruptions
(boxjumble, jumble, rotate); `first` and `second` name them. Frames are uint8 (T, H, W, 3); noise is drawn anew for each frame.
"""

from __future__ import annotations

import difflib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synvid.errors import ConfigurationError

__all__ = ["CORRUPTIONS", "VARIANTS", "Corruption"]

Frames = NDArray[np.uint8]
Generator = np.random.Generator

VARIANTS = ("first", "second")


@dataclass(frozen=True)
class Corruption:
    """One corruption; calling it changes the frames of a video.

    Attributes:
        name: a key of `CORRUPTIONS`.
        severity: 1 to 5.
        variant: `first` or `second`; only boxjumble, jumble and rotate have two.
    """

    name: str
    severity: int
    variant: str = "first"

    @classmethod
    def parse(cls, text: str) -> Corruption:
        """From `gauss:3`, or `rotate:2:second`.

        Raises:
            ConfigurationError: there is no such corruption, severity or variant.

        >>> Corruption.parse("gauss:3").severity
        3
        """
        name, _, rest = text.partition(":")
        severity, _, variant = rest.partition(":")
        if name not in CORRUPTIONS:
            near = difflib.get_close_matches(name, CORRUPTIONS, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(CORRUPTIONS)}."
            raise ConfigurationError(f"--corruption {text}: no corruption {name!r}; {advice}")
        if severity not in ("1", "2", "3", "4", "5") or (variant or "first") not in VARIANTS:
            raise ConfigurationError(f"--corruption {text}: write NAME:SEVERITY, severity from 1 to 5, for example {name}:3.")
        return cls(name, int(severity), variant or "first")

    def __str__(self) -> str:
        return f"{self.name}:{self.severity}" + (f":{self.variant}" if self.variant != "first" else "")

    def __call__(self, frames: Frames, seed: Sequence[int] = (0,)) -> Frames:
        """The frames, changed.

        Args:
            frames: uint8 (T, H, W, 3).
            seed: decides all that is random.

        Returns:
            uint8 (T', H', W', 3); only `reverse` has fewer frames, only `translate` another size.
        """
        rng = np.random.default_rng((*seed, self.severity))
        return CORRUPTIONS[self.name](frames, self.severity, rng, self.variant)


def _each(frames: Frames, change: Callable[[NDArray[np.float64]], NDArray[Any]]) -> Frames:
    """Change each frame as floats in [0, 1], (H, W, 3)."""
    changed = [np.clip(change(frame / 255.0), 0, 1) for frame in frames]
    return np.stack([np.round(frame * 255).astype(np.uint8) for frame in changed])


# ---- Camera -------------------------------------------------------------------------------------------------------
def _translate(frames: Frames, severity: int, rng: Generator, _variant: str) -> Frames:
    """The short side scaled to 256, then a crop of 224 whose corner is drawn from 0..8s each way, for each frame."""
    height, width = frames.shape[1:3]
    scale = 256 / min(height, width)
    size = (max(round(width * scale), 256), max(round(height * scale), 256))
    crops = []
    for frame in frames:
        x, y = rng.integers(0, np.minimum(8 * severity, np.array(size) - 224) + 1)
        scaled = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))
        crops.append(scaled[y : y + size[1] - 32, x : x + size[0] - 32])
    return np.stack(crops)


def _turned(frame: Frames, degrees: float) -> Frames:
    return np.asarray(Image.fromarray(frame).rotate(degrees, Image.Resampling.BILINEAR))


def _rotate(frames: Frames, severity: int, rng: Generator, variant: str) -> Frames:
    """An angle for each frame, uniform in whole degrees from -6s to 6s; second variant: from -3s to 3s."""
    most = (6 if variant == "first" else 3) * severity
    return np.stack([_turned(frame, int(rng.integers(-most, most + 1))) for frame in frames])


def _imgrotate(frames: Frames, severity: int, _rng: Generator, _variant: str) -> Frames:
    """All frames by 7.5, 15, 30, 45 or 90 degrees, counterclockwise; black beyond."""
    degrees = (7.5, 15, 30, 45, 90)[severity - 1]
    return np.stack([_turned(frame, degrees) for frame in frames])


# ---- Noise --------------------------------------------------------------------------------------------------------
def _shot(frames: Frames, severity: int, rng: Generator, _variant: str) -> Frames:
    """Poisson noise of photons: poisson(c x) / c with c = 250, 100, 50, 30, 15."""
    c = (250, 100, 50, 30, 15)[severity - 1]
    return _each(frames, lambda x: rng.poisson(x * c) / c)


def _speckle(frames: Frames, severity: int, rng: Generator, _variant: str) -> Frames:
    """Noise in proportion to brightness: x + x N(0, c) with c = 0.15, 0.2, 0.25, 0.3, 0.35."""
    c = (0.15, 0.2, 0.25, 0.3, 0.35)[severity - 1]
    return _each(frames, lambda x: x + x * rng.normal(scale=c, size=x.shape))


def _gauss(frames: Frames, severity: int, rng: Generator, _variant: str) -> Frames:
    """Gaussian noise of deviation 0.08, 0.12, 0.18, 0.26, 0.38."""
    c = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    return _each(frames, lambda x: x + rng.normal(scale=c, size=x.shape))


def _impulse(frames: Frames, severity: int, rng: Generator, _variant: str) -> Frames:
    """Salt and pepper on a share of the values: 0.03, 0.06, 0.09, 0.17, 0.27, half of it white."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]

    def sprinkle(x: NDArray[np.float64]) -> NDArray[Any]:
        draw = rng.random(x.shape)
        return np.where(draw < share, draw < share / 2, x)

    return _each(frames, sprinkle)


# ---- Blur ---------------------------------------------------------------------------------------------------------
def disk(radius: int, sigma: float) -> NDArray[np.float64]:
    """The kernel of a lens out of focus: a disk smoothed by a Gaussian, which sums to 1."""
    from scipy.ndimage import gaussian_filter

    reach = max(8, radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = (x**2 + y**2 <= radius**2).astype(np.float64)
    kernel = gaussian_filter(kernel / kernel.sum(), sigma, truncate=(1 if radius <= 8 else 2) / sigma)
    return kernel / kernel.sum()  # type: ignore[no-any-return]


def _defocus(frames: Frames, severity: int, _rng: Generator, _variant: str) -> Frames:
    """Out of focus: a disk of radius 3, 4, 6, 8, 10 pixels, smoothed by 0.1, 0.5, 0.5, 0.5, 0.5."""
    from scipy.signal import fftconvolve

    kernel = disk(*((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[severity - 1])
    reach = kernel.shape[0] // 2

    def blur(x: NDArray[np.float64]) -> NDArray[Any]:
        padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
        return fftconvolve(padded, kernel[..., None], mode="valid", axes=(0, 1))  # type: ignore[no-any-return]

    return _each(frames, blur)


def _zoom(frames: Frames, severity: int, _rng: Generator, _variant: str) -> Frames:
    """The mean of the frame and of itself enlarged by 1, ..., up to 1.11, 1.16, 1.21, 1.26, 1.31."""
    most, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[severity - 1]
    factors = np.arange(1, most, step)
    height, width = frames.shape[1:3]

    def enlarged(frame: Frames, factor: float) -> NDArray[np.float64]:
        w, h = width / factor, height / factor
        box = ((width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2)
        scaled = Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR, box=box)
        return np.asarray(scaled, np.float64)

    means = [(frame + sum(enlarged(frame, f) for f in factors)) / (len(factors) + 1) for frame in frames]
    return np.round(np.stack(means)).astype(np.uint8)


# ---- Digital ------------------------------------------------------------------------------------------------------
def _jpeg(frames: Frames, severity: int, _rng: Generator, _variant: str) -> Frames:
    """Each frame through JPEG of quality 25, 18, 15, 10, 7."""
    quality = (25, 18, 15, 10, 7)[severity - 1]
    changed = []
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
        changed.append(np.asarray(Image.open(buffer)))
    return np.stack(changed)


# ---- Time ---------------------------------------------------------------------------------------------------------
def _freeze(frames: Frames, severity: int, rng: Generator, _variant: str) -> Frames:
    """Only 0.4 T, 0.2 T, 0.1 T, max(0.05 T, 2) or 1 of the frames, at random, are seen; each stays until the next."""
    count = len(frames)
    kept = (int(0.4 * count), int(0.2 * count), int(0.1 * count), max(int(0.05 * count), 2), 1)[severity - 1]
    chosen = np.sort(rng.permutation(count)[: min(max(kept, 1), count)])
    last = np.searchsorted(chosen, np.arange(count), side="right") - 1
    return frames[chosen[np.maximum(last, 0)]]


def _segments(count: int, length: int) -> list[NDArray[np.int64]]:
    return [np.arange(first, min(first + length, count)) for first in range(0, count, length)]


def _boxjumble(frames: Frames, severity: int, rng: Generator, variant: str) -> Frames:
    """Segments of (s + 1)**2 frames are put in random order; second variant: of 2**s frames."""
    segments = _segments(len(frames), (severity + 1) ** 2 if variant == "first" else 2**severity)
    order: NDArray[np.int64] = np.concatenate([segments[k] for k in rng.permutation(len(segments))])
    return np.take(frames, order, axis=0)


def _jumble(frames: Frames, severity: int, rng: Generator, variant: str) -> Frames:
    """Frames are put in random order inside segments of 64 // 2**s frames; second variant: of 2**(1 + s)."""
    length = 64 // 2**severity if variant == "first" else 2 ** (1 + severity)
    order: NDArray[np.int64] = np.concatenate([rng.permutation(part) for part in _segments(len(frames), length)])
    return np.take(frames, order, axis=0)


def _reverse(frames: Frames, severity: int, _rng: Generator, _variant: str) -> Frames:
    """Every 2nd, 4th, 8th, 16th or 32nd frame, backwards."""
    return frames[:: 2**severity][::-1]


#: In the order of the paper's families: camera, noise, blur, digital, time.
CORRUPTIONS: dict[str, Callable[[Frames, int, Generator, str], Frames]] = {
    "translate": _translate, "rotate": _rotate, "imgrotate": _imgrotate, "shot": _shot, "speckle": _speckle, "gauss": _gauss,
    "impulse": _impulse, "defocus": _defocus, "zoom": _zoom, "jpeg": _jpeg, "freeze": _freeze, "boxjumble": _boxjumble,
    "jumble": _jumble, "reverse": _reverse,
}  # fmt: skip
