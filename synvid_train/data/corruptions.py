"""The 14 corruptions of UCF101-P under which the paper tests (section 4.2, Figure 3), each at severities 1 to 5.

They are those of Schiappa et al. 2023, "A Large-scale Robustness Analysis of Video Action Recognition Models"; its noises,
blurs and JPEG are those of ImageNet-C (Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations"), shot and speckle as strong as in its sibling for small images, Tiny ImageNet-C. The authors
published two programs, which disagree on rotate, boxjumble and jumble: the variant `action` is what their code for action
recognition does to clips as it loads them, `language` what their code for video and language writes as corrupted video files.

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

__all__ = ["CORRUPTIONS", "VARIANTS", "Corruption", "disk"]


Frames = NDArray[np.uint8]
Floats = NDArray[np.float32]
Generator = np.random.Generator
Change = Callable[[Frames, int, Generator], Frames]

VARIANTS = ("action", "language")


@dataclass(frozen=True)
class Corruption:
    """One corruption at one severity; calling it corrupts a clip.

    Attributes:
        name: a key of `CORRUPTIONS`.
        severity: 1 to 5.
        variant: which of the two published programs, `action` or `language`; only rotate, boxjumble and jumble differ.

    Raises:
        ConfigurationError: there is no such corruption, severity or variant.

    >>> clip = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    >>> Corruption("reverse", 1)(clip, seed=(0,))[:, 0, 0, 0]
    array([2, 0], dtype=uint8)
    """

    name: str
    severity: int
    variant: str = "action"

    def __post_init__(self) -> None:
        _refuse_unknown(self.name, self.severity, self.variant)

    @classmethod
    def parse(cls, text: str) -> Corruption:
        """From NAME:SEVERITY or NAME:SEVERITY:VARIANT.

        Raises:
            ConfigurationError: the text has another form, or there is no such corruption, severity or variant.

        >>> Corruption.parse("rotate:2:language")
        Corruption(name='rotate', severity=2, variant='language')
        """
        parts = text.split(":")
        if not 2 <= len(parts) <= 3:
            raise ConfigurationError(f"The corruption {text!r} must be NAME:SEVERITY or NAME:SEVERITY:VARIANT, as in gauss:3.")
        name, severity, variant = (*parts, VARIANTS[0])[:3]
        _refuse_unknown(name, int(severity) if severity in {*"12345"} else severity, variant)
        return cls(name, int(severity), variant)

    def __str__(self) -> str:
        return f"{self.name}:{self.severity}" + (f":{self.variant}" if self.variant != VARIANTS[0] else "")

    def __call__(self, frames: Frames, seed: Sequence[int]) -> Frames:
        """The clip, corrupted.

        Args:
            frames: uint8 (T, H, W, 3), 0 to 255, T of at least 1.
            seed: non-negative; decides all that is random.

        Returns:
            uint8 (T', H', W', 3), contiguous and no view of `frames`: T' differs from T in reverse, H' and W' from H and W in
            translate.

        Raises:
            ConfigurationError: the frames have another shape or dtype.
        """
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or frames.size == 0:
            raise ConfigurationError(f"Frames to corrupt must be uint8 (T, H, W, 3), but are {frames.dtype} {frames.shape}.")
        return np.ascontiguousarray(self._of_variant()(frames, self.severity, np.random.default_rng(tuple(seed))))

    def order(self, num_frames: int, seed: Sequence[int]) -> NDArray[np.intp]:
        """Which frame stands at each place, for a corruption of time; of others, each at its own."""
        numbers = np.arange(num_frames)
        if self.name not in _OF_TIME:
            return numbers
        moved: Any = self._of_variant()  # whatever it is given
        return np.asarray(moved(numbers, self.severity, np.random.default_rng(tuple(seed))))

    def change(self, frame: Frames, seed: Sequence[int]) -> Frames:
        """One frame uint8 (H, W, 3) as it is seen; corruptions of time leave it as it is."""
        return frame if self.name in _OF_TIME else self(frame[None], seed)[0]

    def _of_variant(self) -> Change:
        plain = CORRUPTIONS[self.name]
        return _LANGUAGE.get(self.name, plain) if self.variant == "language" else plain


def _refuse_unknown(name: str, severity: object, variant: str) -> None:
    if name not in CORRUPTIONS:
        near = difflib.get_close_matches(name, CORRUPTIONS, n=1)
        advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(CORRUPTIONS)}."
        raise ConfigurationError(f"There is no corruption {name!r}; {advice}")
    if severity not in (1, 2, 3, 4, 5):
        raise ConfigurationError(f"The severity of {name} is {severity!r}; it must be one of 1 to 5.")
    if variant not in VARIANTS:
        raise ConfigurationError(f"The variant of {name} is {variant!r}; it must be {' or '.join(VARIANTS)}.")


def _as_floats(frames: Frames, change: Callable[[Floats], NDArray[Any]]) -> Frames:
    """Each frame changed as float32 (H, W, 3) in [0, 1], then clipped and rounded."""
    scaled = (change(frame / np.float32(255)) * np.float32(255) for frame in frames)
    return np.stack([np.rint(np.clip(frame, 0, 255)).astype(np.uint8) for frame in scaled])


# ---- Camera -------------------------------------------------------------------------------------------------------
def _translate(frames: Frames, severity: int, rng: Generator) -> Frames:
    """The short side is scaled to 256 pixels and 224 x 224 are cut out, x and y of each frame from 0..8s - 1 (UCF101-P).

    So it is where video files are written; where clips are loaded, a whole clip has one x and y.
    """
    height, width = frames.shape[1:3]
    short = min(height, width)
    wide, high = width * 256 // short, height * 256 // short
    # At severity 5, 8s - 1 is more than the 32 pixels that a short side has to spare.
    room = np.minimum(8 * severity - 1, np.array((wide, high)) - 224)
    crops = []
    for frame in frames:
        x, y = rng.integers(0, room, endpoint=True)
        scaled = Image.fromarray(frame).resize((wide, high), Image.Resampling.BILINEAR)
        crops.append(np.asarray(scaled.crop((x, y, x + 224, y + 224))))
    return np.stack(crops)


def _turn(frames: Frames, degrees: Sequence[float]) -> Frames:
    """Each frame about its centre by its own degrees, counterclockwise: nearest pixel, black outside, as published."""
    return np.stack([np.asarray(Image.fromarray(frame).rotate(d)) for frame, d in zip(frames, degrees, strict=True)])


def _rotate(frames: Frames, severity: int, rng: Generator) -> Frames:
    """Each frame turns by its own whole number of degrees, uniform in -(6s + 1)..6s + 1 (UCF101-P)."""
    most = 6 * severity + 1
    return _turn(frames, rng.integers(-most, most, len(frames), endpoint=True).tolist())


def _rotate_language(frames: Frames, severity: int, rng: Generator) -> Frames:
    """Each frame turns by its own whole number of degrees, uniform in -6s..6s (UCF101-P, variant `language`)."""
    most = 6 * severity
    return _turn(frames, rng.integers(-most, most, len(frames), endpoint=True).tolist())


def _imgrotate(frames: Frames, severity: int, _rng: Generator) -> Frames:
    """All frames turn by 7.5, 15, 30, 45 or 90 degrees, counterclockwise (UCF101-P, static rotation)."""
    return _turn(frames, [(7.5, 15, 30, 45, 90)[severity - 1]] * len(frames))


# ---- Noise --------------------------------------------------------------------------------------------------------
def _shot(frames: Frames, severity: int, rng: Generator) -> Frames:
    """Photons are counted: Poisson(c x) / c, c = 250, 100, 50, 30, 15 photons for white (Tiny ImageNet-C)."""
    c = (250, 100, 50, 30, 15)[severity - 1]
    return _as_floats(frames, lambda x: rng.poisson(x * c) / c)


def _speckle(frames: Frames, severity: int, rng: Generator) -> Frames:
    """Noise grows with brightness: x + x N(0, c), deviation c = 0.15, 0.2, 0.25, 0.3, 0.35 (Tiny ImageNet-C)."""
    c = np.float32((0.15, 0.2, 0.25, 0.3, 0.35)[severity - 1])
    return _as_floats(frames, lambda x: x + x * c * rng.standard_normal(x.shape, np.float32))


def _gauss(frames: Frames, severity: int, rng: Generator) -> Frames:
    """Noise is the same everywhere: x + N(0, c), deviation c = 0.08, 0.12, 0.18, 0.26, 0.38 of white (ImageNet-C)."""
    c = np.float32((0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1])
    return _as_floats(frames, lambda x: x + c * rng.standard_normal(x.shape, np.float32))


def _impulse(frames: Frames, severity: int, rng: Generator) -> Frames:
    """A share of 0.03, 0.06, 0.09, 0.17, 0.27 of all channel values turns 0 or 1, equally often (ImageNet-C)."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]

    def sprinkle(x: Floats) -> NDArray[Any]:
        draw = rng.random(x.shape, np.float32)
        return np.where(draw < share, np.float32(draw < share / 2), x)

    return _as_floats(frames, sprinkle)


# ---- Blur ---------------------------------------------------------------------------------------------------------
def disk(radius: int, deviation: float) -> NDArray[np.float64]:
    """The kernel of a lens out of focus (ImageNet-C): a disk whose rim is smoothed by a Gaussian.

    Args:
        radius: of the disk, pixels.
        deviation: of the Gaussian, pixels; it ends after 1 pixel, or 2 for a radius above 8.

    Returns:
        float64 (2r + 1, 2r + 1), r = max(8, radius), which sums to 1. The published kernel sums to 1.01 at radius 8 and 10,
        where the rim meets the border, and so brightens; this one does not.
    """
    from scipy.ndimage import gaussian_filter

    reach, rim = max(8, radius), 1 if radius <= 8 else 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = (x**2 + y**2 <= radius**2).astype(np.float64)
    kernel = gaussian_filter(kernel, deviation, mode="mirror", radius=rim)
    return np.asarray(kernel / kernel.sum(), np.float64)


def _defocus(frames: Frames, severity: int, _rng: Generator) -> Frames:
    """A disk of radius 3, 4, 6, 8, 10 pixels blurs, its rim smoothed by 0.1, 0.5, 0.5, 0.5, 0.5 pixels (ImageNet-C)."""
    from scipy.signal import fftconvolve

    kernel = disk(*((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[severity - 1]).astype(np.float32)
    reach = len(kernel) // 2

    def blur(x: Floats) -> NDArray[Any]:
        mirrored = np.pad(x, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
        return np.asarray(fftconvolve(mirrored, kernel[..., None], mode="valid", axes=(0, 1)))

    return _as_floats(frames, blur)


def _zoom(frames: Frames, severity: int, _rng: Generator) -> Frames:
    """A frame and its enlargements by 1 to 1.11, 1.15, 1.2, 1.24, 1.3, by .01 .01 .02 .02 .03, are averaged (ImageNet-C)."""
    count, step = ((12, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03))[severity - 1]
    factors = 1 + step * np.arange(count)
    height, width = frames.shape[1:3]

    def enlarged(picture: Image.Image, factor: float) -> Frames:
        w, h = width / factor, height / factor
        middle = ((width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2)
        return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box=middle))

    means = []
    for frame in frames:
        picture = Image.fromarray(frame)
        total = frame.astype(np.float32)
        for factor in factors:
            total += enlarged(picture, factor)
        means.append(np.rint(total / (count + 1)).astype(np.uint8))
    return np.stack(means)


# ---- Digital ------------------------------------------------------------------------------------------------------
def _jpeg(frames: Frames, severity: int, _rng: Generator) -> Frames:
    """Each frame is compressed as JPEG of quality 25, 18, 15, 10, 7 of 100 (ImageNet-C)."""
    quality = (25, 18, 15, 10, 7)[severity - 1]
    decoded = []
    for frame in frames:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=quality)
        decoded.append(np.asarray(Image.open(file, formats=("JPEG",))))
    return np.stack(decoded)


# ---- Time ---------------------------------------------------------------------------------------------------------
def _freeze(frames: Frames, severity: int, rng: Generator) -> Frames:
    """Only 0.4 T, 0.2 T, 0.1 T, max(0.05 T, 2), 1 of the T frames, at random, are seen, each until the next (UCF101-P).

    As published, frames before the first that is seen are missing; here it stands for them, and the clip keeps its length.
    """
    count = len(frames)
    kept = int((0.4 * count, 0.2 * count, 0.1 * count, max(0.05 * count, 2), 1)[severity - 1])
    seen = np.sort(rng.choice(count, min(max(kept, 1), count), replace=False))
    latest = np.searchsorted(seen, np.arange(count), side="right") - 1
    return frames[seen[np.maximum(latest, 0)]]


def _segments(count: int, length: int) -> list[NDArray[np.intp]]:
    """Frame numbers in segments of `length`; the last may be shorter."""
    return [np.arange(start, min(start + length, count)) for start in range(0, count, length)]


def _shuffle_segments(frames: Frames, length: int, rng: Generator) -> Frames:
    segments = _segments(len(frames), length)
    order: NDArray[np.intp] = np.concatenate([segments[k] for k in rng.permutation(len(segments))])
    return frames[order]


def _shuffle_inside_segments(frames: Frames, length: int, rng: Generator) -> Frames:
    order: NDArray[np.intp] = np.concatenate([rng.permutation(segment) for segment in _segments(len(frames), length)])
    return frames[order]


def _boxjumble(frames: Frames, severity: int, rng: Generator) -> Frames:
    """Segments of (s + 1)^2 = 4, 9, 16, 25, 36 frames come in random order (UCF101-P)."""
    return _shuffle_segments(frames, (severity + 1) ** 2, rng)


def _boxjumble_language(frames: Frames, severity: int, rng: Generator) -> Frames:
    """Segments of 2^s = 2, 4, 8, 16, 32 frames come in random order (UCF101-P, variant `language`)."""
    return _shuffle_segments(frames, 2**severity, rng)


def _jumble(frames: Frames, severity: int, rng: Generator) -> Frames:
    """Frames come in random order inside segments of 64 / 2^s = 32, 16, 8, 4, 2: fewer as severity grows (UCF101-P)."""
    return _shuffle_inside_segments(frames, 64 // 2**severity, rng)


def _jumble_language(frames: Frames, severity: int, rng: Generator) -> Frames:
    """Frames come in random order inside segments of 2^(1 + s) = 4, 8, 16, 32, 64 (UCF101-P, variant `language`)."""
    return _shuffle_inside_segments(frames, 2 ** (1 + severity), rng)


def _reverse(frames: Frames, severity: int, _rng: Generator) -> Frames:
    """Every 2nd, 4th, 8th, 16th or 32nd frame, from the first on, is kept; they run backwards (UCF101-P)."""
    return frames[:: 2**severity][::-1].copy()


#: In the order of the paper's Figure 3.
CORRUPTIONS: dict[str, Change] = {
    "translate": _translate, "rotate": _rotate, "imgrotate": _imgrotate,
    "shot": _shot, "speckle": _speckle, "gauss": _gauss, "impulse": _impulse,
    "defocus": _defocus, "zoom": _zoom, "jpeg": _jpeg,
    "freeze": _freeze, "boxjumble": _boxjumble, "jumble": _jumble, "reverse": _reverse,
}  # fmt: skip

#: Where the code for video and language differs.
_LANGUAGE: dict[str, Change] = {"rotate": _rotate_language, "boxjumble": _boxjumble_language, "jumble": _jumble_language}

#: Those that change which frames come when, and no frame.
_OF_TIME = {"freeze", "boxjumble", "jumble", "reverse"}
