"""The corruptions of UCF101-P on which the paper tests (section 4.2, Figure 3), each at severities 1 to 5.

They come from Schiappa et al. 2023, "A Large-scale Robustness Analysis of Video Action Recognition Models". Its noises, blurs
and JPEG are those of ImageNet-C (Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations"); shot and speckle have the strengths of Tiny ImageNet-C. The authors published two programs that differ in
rotate, boxjumble and jumble. Variant `action` is their code for action recognition, which corrupts clips when loading them;
`language` is their code for video and language, which writes corrupted video files.

A corruption changes either the pixels of each frame (`FRAME_CORRUPTIONS`) or the order of frames (`ORDER_CORRUPTIONS`).

    synvid-train evaluate --checkpoint runs/b/last.pt --data test.csv --corruption gauss:3
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

__all__ = ["CORRUPTIONS", "FRAME_CORRUPTIONS", "ORDER_CORRUPTIONS", "VARIANTS", "Corruption", "disk_kernel"]


Frames = NDArray[np.uint8]
Floats = NDArray[np.float32]
Generator = np.random.Generator
Order = NDArray[np.intp]
#: Frame (H, W, 3), severity and random generator → corrupted frame.
FrameCorruption = Callable[[Frames, int, Generator], Frames]
#: Number of frames, severity and random generator → index of the frame shown at each time.
OrderCorruption = Callable[[int, int, Generator], Order]

VARIANTS = ("action", "language")


@dataclass(frozen=True)
class Corruption:
    """One corruption at one severity; calling it corrupts a clip.

    Attributes:
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        variant: published program, `action` or `language`; they differ in rotate, boxjumble and jumble only.

    Raises:
        ConfigurationError: there is no such corruption, severity or variant.

    Examples:
        >>> clip = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
        >>> Corruption("reverse", 1)(clip, seed=(0,))[:, 0, 0, 0]
        array([2, 0], dtype=uint8)
    """

    name: str
    severity: int
    variant: str = "action"

    def __post_init__(self) -> None:
        _check(self.name, self.severity, self.variant)

    @classmethod
    def parse(cls, text: str) -> Corruption:
        """Parse NAME:SEVERITY or NAME:SEVERITY:VARIANT.

        Raises:
            ConfigurationError: the text has another form, or there is no such corruption, severity or variant.

        Examples:
            >>> Corruption.parse("rotate:2:language")
            Corruption(name='rotate', severity=2, variant='language')
        """
        parts = text.split(":")
        if not 2 <= len(parts) <= 3:
            raise ConfigurationError(f"The corruption {text!r} must be NAME:SEVERITY or NAME:SEVERITY:VARIANT, e.g. gauss:3.")
        name, severity, variant = (*parts, VARIANTS[0])[:3]
        _check(name, int(severity) if severity in {*"12345"} else severity, variant)
        return cls(name, int(severity), variant)

    def __str__(self) -> str:
        return f"{self.name}:{self.severity}" + (f":{self.variant}" if self.variant != VARIANTS[0] else "")

    def __call__(self, frames: Frames, seed: Sequence[int]) -> Frames:
        """Return the corrupted clip.

        Args:
            frames: uint8 (T, H, W, 3), 0 to 255, T at least 1.
            seed: random seed, non-negative integers.

        Returns:
            uint8 (T', H', W', 3), contiguous, a copy. T' differs from T in reverse, H' and W' from H and W in translate.

        Raises:
            ConfigurationError: the frames have another shape or dtype.
        """
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or frames.size == 0:
            raise ConfigurationError(f"Frames to corrupt must be uint8 (T, H, W, 3); they are {frames.dtype} {frames.shape}.")
        if self.name in ORDER_CORRUPTIONS:
            return np.ascontiguousarray(frames[self.frame_order(len(frames), seed)])
        corrupt, rng = _FRAME_CORRUPTIONS[self.variant][self.name], np.random.default_rng(tuple(seed))
        return np.stack([corrupt(frame, self.severity, rng) for frame in frames])

    def frame_order(self, num_frames: int, seed: Sequence[int]) -> Order:
        """Return the index of the frame shown at each time: 0, 1, 2, ... unless the corruption changes the order of frames."""
        if self.name not in ORDER_CORRUPTIONS:
            return np.arange(num_frames)
        reorder = _ORDER_CORRUPTIONS[self.variant][self.name]
        return reorder(num_frames, self.severity, np.random.default_rng(tuple(seed)))

    def corrupt_frame(self, frame: Frames, seed: Sequence[int]) -> Frames:
        """Return a single corrupted frame, uint8 (H', W', 3); corruptions of the order of frames do not change it."""
        return frame if self.name in ORDER_CORRUPTIONS else self(frame[None], seed)[0]


def _check(name: str, severity: object, variant: str) -> None:
    if name not in CORRUPTIONS:
        matches = difflib.get_close_matches(name, CORRUPTIONS, n=1)
        advice = f"did you mean {matches[0]}?" if matches else f"it must be one of {', '.join(CORRUPTIONS)}."
        raise ConfigurationError(f"There is no corruption {name!r}; {advice}")
    if severity not in (1, 2, 3, 4, 5):
        raise ConfigurationError(f"The severity of {name} is {severity!r}; it must be one of 1 to 5.")
    if variant not in VARIANTS:
        raise ConfigurationError(f"The variant of {name} is {variant!r}; it must be {' or '.join(VARIANTS)}.")


def _apply_to_floats(frame: Frames, function: Callable[[Floats], NDArray[Any]]) -> Frames:
    """Apply a function of float32 (H, W, 3) in [0, 1] to a frame; clip and round the result."""
    scaled = function(frame.astype(np.float32) / np.float32(255)) * np.float32(255)
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


# ---- Camera -------------------------------------------------------------------------------------------------------
def _translate(frame: Frames, severity: int, rng: Generator) -> Frames:
    """Resize the short side to 256 pixels and crop 224 x 224, at random x and y in 0..8s - 1 per frame (UCF101-P).

    This is the published code that writes video files; the code that corrupts clips on loading has one x and y per clip.
    """
    height, width = frame.shape[:2]
    short = min(height, width)
    scaled_size = width * 256 // short, height * 256 // short
    # At severity 5, 8s - 1 exceeds the 32 pixels that the crop can move along the short side.
    max_offset = np.minimum(8 * severity - 1, np.array(scaled_size) - 224)
    x, y = rng.integers(0, max_offset, endpoint=True)
    scaled = Image.fromarray(frame).resize(scaled_size, Image.Resampling.BILINEAR)
    return np.asarray(scaled.crop((x, y, x + 224, y + 224)))


def _rotate_by(frame: Frames, degrees: float) -> Frames:
    """Rotate counterclockwise about the centre: nearest neighbour, black outside, as published."""
    return np.asarray(Image.fromarray(frame).rotate(degrees))


def _rotate(frame: Frames, severity: int, rng: Generator) -> Frames:
    """Rotate each frame by its own integer degrees, uniform in -(6s + 1)..6s + 1 (UCF101-P)."""
    max_degrees = 6 * severity + 1
    return _rotate_by(frame, int(rng.integers(-max_degrees, max_degrees, endpoint=True)))


def _rotate_language(frame: Frames, severity: int, rng: Generator) -> Frames:
    """Rotate each frame by its own integer degrees, uniform in -6s..6s (UCF101-P, variant `language`)."""
    max_degrees = 6 * severity
    return _rotate_by(frame, int(rng.integers(-max_degrees, max_degrees, endpoint=True)))


def _imgrotate(frame: Frames, severity: int, _rng: Generator) -> Frames:
    """Rotate all frames by 7.5, 15, 30, 45 or 90 degrees counterclockwise (UCF101-P, static rotation)."""
    return _rotate_by(frame, (7.5, 15, 30, 45, 90)[severity - 1])


# ---- Noise --------------------------------------------------------------------------------------------------------
def _shot(frame: Frames, severity: int, rng: Generator) -> Frames:
    """Add shot noise: Poisson(c x) / c, c = 250, 100, 50, 30, 15 photons for white (Tiny ImageNet-C)."""
    c = (250, 100, 50, 30, 15)[severity - 1]
    return _apply_to_floats(frame, lambda x: rng.poisson(x * c) / c)


def _speckle(frame: Frames, severity: int, rng: Generator) -> Frames:
    """Add noise in proportion to brightness: x + x N(0, c), deviation c = 0.15, 0.2, 0.25, 0.3, 0.35 (Tiny ImageNet-C)."""
    c = np.float32((0.15, 0.2, 0.25, 0.3, 0.35)[severity - 1])
    return _apply_to_floats(frame, lambda x: x + x * c * rng.standard_normal(x.shape, np.float32))


def _gauss(frame: Frames, severity: int, rng: Generator) -> Frames:
    """Add Gaussian noise: x + N(0, c), deviation c = 0.08, 0.12, 0.18, 0.26, 0.38 of white (ImageNet-C)."""
    c = np.float32((0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1])
    return _apply_to_floats(frame, lambda x: x + c * rng.standard_normal(x.shape, np.float32))


def _impulse(frame: Frames, severity: int, rng: Generator) -> Frames:
    """Set a fraction 0.03, 0.06, 0.09, 0.17, 0.27 of all channel values to 0 or 1, equally often (ImageNet-C)."""
    fraction = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]

    def add_impulses(x: Floats) -> NDArray[Any]:
        draw = rng.random(x.shape, np.float32)
        return np.where(draw < fraction, np.float32(draw < fraction / 2), x)

    return _apply_to_floats(frame, add_impulses)


# ---- Blur ---------------------------------------------------------------------------------------------------------
def disk_kernel(radius: int, deviation: float) -> NDArray[np.float64]:
    """Return a defocus kernel (ImageNet-C): a disk smoothed by a Gaussian.

    Args:
        radius: radius of the disk in pixels.
        deviation: standard deviation of the Gaussian in pixels; it is cut off at 1 pixel, or 2 for a radius above 8.

    Returns:
        float64 (2r + 1, 2r + 1), r = max(8, radius), with sum 1. The published kernel has sum 1.01 at radius 8 and 10, where
        the rim meets the border, and so brightens frames.
    """
    from scipy.ndimage import gaussian_filter

    half_size, gaussian_radius = max(8, radius), 1 if radius <= 8 else 2
    y, x = np.mgrid[-half_size : half_size + 1, -half_size : half_size + 1]
    kernel = (x**2 + y**2 <= radius**2).astype(np.float64)
    kernel = gaussian_filter(kernel, deviation, mode="mirror", radius=gaussian_radius)
    return np.asarray(kernel / kernel.sum(), np.float64)


def _defocus(frame: Frames, severity: int, _rng: Generator) -> Frames:
    """Blur with a disk of radius 3, 4, 6, 8, 10 pixels, smoothed by 0.1, 0.5, 0.5, 0.5, 0.5 pixels (ImageNet-C)."""
    from scipy.signal import fftconvolve

    kernel = disk_kernel(*((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[severity - 1]).astype(np.float32)
    margin = len(kernel) // 2

    def blur(x: Floats) -> NDArray[Any]:
        mirrored = np.pad(x, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
        return np.asarray(fftconvolve(mirrored, kernel[..., None], mode="valid", axes=(0, 1)))

    return _apply_to_floats(frame, blur)


def _zoom(frame: Frames, severity: int, _rng: Generator) -> Frames:
    """Average a frame and its enlargements by 1 to 1.11, 1.15, 1.2, 1.24, 1.3, in steps .01 .01 .02 .02 .03 (ImageNet-C)."""
    count, step = ((12, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03))[severity - 1]
    factors = 1 + step * np.arange(count)
    height, width = frame.shape[:2]

    def enlarge(image: Image.Image, factor: float) -> Frames:
        w, h = width / factor, height / factor
        centre = ((width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2)
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=centre))

    image = Image.fromarray(frame)
    total = frame.astype(np.float32)
    for factor in factors:
        total += enlarge(image, factor)
    return np.rint(total / (count + 1)).astype(np.uint8)


# ---- Digital ------------------------------------------------------------------------------------------------------
def _jpeg(frame: Frames, severity: int, _rng: Generator) -> Frames:
    """Compress each frame as JPEG with quality 25, 18, 15, 10, 7 of 100 (ImageNet-C)."""
    quality = (25, 18, 15, 10, 7)[severity - 1]
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file, formats=("JPEG",)))


# ---- Time ---------------------------------------------------------------------------------------------------------
def _freeze(num_frames: int, severity: int, rng: Generator) -> Order:
    """Keep 0.4 T, 0.2 T, 0.1 T, max(0.05 T, 2), 1 random frames of T; show each until the next (UCF101-P).

    The published code drops the frames before the first that is kept; here they show it, so the clip keeps its length.
    """
    fractions = (0.4 * num_frames, 0.2 * num_frames, 0.1 * num_frames, max(0.05 * num_frames, 2), 1)
    num_kept = int(fractions[severity - 1])
    kept = np.sort(rng.choice(num_frames, min(max(num_kept, 1), num_frames), replace=False))
    latest = np.searchsorted(kept, np.arange(num_frames), side="right") - 1
    return np.asarray(kept[np.maximum(latest, 0)])


def _segments(num_frames: int, length: int) -> list[Order]:
    """Cut frame indices into segments of `length`; the last may be shorter."""
    return [np.arange(start, min(start + length, num_frames)) for start in range(0, num_frames, length)]


def _shuffle_segments(num_frames: int, length: int, rng: Generator) -> Order:
    segments = _segments(num_frames, length)
    return np.concatenate([segments[k] for k in rng.permutation(len(segments))])


def _shuffle_within_segments(num_frames: int, length: int, rng: Generator) -> Order:
    return np.concatenate([rng.permutation(segment) for segment in _segments(num_frames, length)])


def _boxjumble(num_frames: int, severity: int, rng: Generator) -> Order:
    """Shuffle segments of (s + 1)^2 = 4, 9, 16, 25, 36 frames (UCF101-P)."""
    return _shuffle_segments(num_frames, (severity + 1) ** 2, rng)


def _boxjumble_language(num_frames: int, severity: int, rng: Generator) -> Order:
    """Shuffle segments of 2^s = 2, 4, 8, 16, 32 frames (UCF101-P, variant `language`)."""
    return _shuffle_segments(num_frames, 2**severity, rng)


def _jumble(num_frames: int, severity: int, rng: Generator) -> Order:
    """Shuffle frames within segments of 64 / 2^s = 32, 16, 8, 4, 2: shorter as severity grows (UCF101-P)."""
    return _shuffle_within_segments(num_frames, 64 // 2**severity, rng)


def _jumble_language(num_frames: int, severity: int, rng: Generator) -> Order:
    """Shuffle frames within segments of 2^(1 + s) = 4, 8, 16, 32, 64 (UCF101-P, variant `language`)."""
    return _shuffle_within_segments(num_frames, 2 ** (1 + severity), rng)


def _reverse(num_frames: int, severity: int, _rng: Generator) -> Order:
    """Keep every 2nd, 4th, 8th, 16th or 32nd frame, from the first on, and reverse them (UCF101-P)."""
    return np.arange(0, num_frames, 2**severity)[::-1]


#: Corruptions that change the pixels of each frame.
FRAME_CORRUPTIONS: dict[str, FrameCorruption] = {
    "translate": _translate, "rotate": _rotate, "imgrotate": _imgrotate,
    "shot": _shot, "speckle": _speckle, "gauss": _gauss, "impulse": _impulse,
    "defocus": _defocus, "zoom": _zoom, "jpeg": _jpeg,
}  # fmt: skip

#: Corruptions that change the order of frames.
ORDER_CORRUPTIONS: dict[str, OrderCorruption] = {
    "freeze": _freeze, "boxjumble": _boxjumble, "jumble": _jumble, "reverse": _reverse,
}  # fmt: skip

#: Names of all corruptions, in the order of the paper's Figure 3.
CORRUPTIONS = (*FRAME_CORRUPTIONS, *ORDER_CORRUPTIONS)

#: Both registries for each variant.
_FRAME_CORRUPTIONS: dict[str, dict[str, FrameCorruption]] = {
    "action": FRAME_CORRUPTIONS,
    "language": {**FRAME_CORRUPTIONS, "rotate": _rotate_language},
}
_ORDER_CORRUPTIONS: dict[str, dict[str, OrderCorruption]] = {
    "action": ORDER_CORRUPTIONS,
    "language": {**ORDER_CORRUPTIONS, "boxjumble": _boxjumble_language, "jumble": _jumble_language},
}
