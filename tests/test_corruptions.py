"""Corruptions: each against values worked out by hand, or another library."""

import io
import itertools
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped]
from skimage.util import random_noise

from synvid.errors import ConfigurationError
from synvid_train.data.corruptions import CORRUPTIONS, ORDER_CORRUPTIONS, VARIANTS, Corruption, disk_kernel

Frames = NDArray[np.uint8]

SEVERITIES = (1, 2, 3, 4, 5)
TEMPORAL = ("freeze", "boxjumble", "jumble", "reverse")
SAME_SIZE = [name for name in CORRUPTIONS if name not in {"translate", "reverse"}]


def by_severity(*values: Any) -> list[tuple[int, Any]]:
    """Return pairs of a severity and its parameter."""
    return list(enumerate(values, start=1))


def numbered(count: int) -> Frames:
    """Return frames filled with their index, uint8 (T, 2, 2, 3)."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 2, 3)).copy()


def frame_order(name: str, severity: int, count: int, seed: tuple[int, ...] = (0,), variant: str = "action") -> list[int]:
    """Return the indices of the frames after a temporal corruption."""
    out = Corruption(name, severity, variant)(numbered(count), seed)
    assert (out == out[:, :1, :1, :1]).all()
    return [int(number) for number in out[:, 0, 0, 0]]


def smooth_frames(frames: int = 4, height: int = 48, width: int = 64, seed: int = 0) -> Frames:
    """Return frames with large and small structures, as smooth as a camera's, uint8 (T, H, W, 3)."""
    noise = np.random.default_rng(seed).normal(size=(frames, height, width, 3))
    smooth = np.sum([s * ndimage.gaussian_filter(noise, (1, s, s, 0), mode="wrap") for s in (1, 3, 8)], axis=0)
    return np.asarray(np.clip(128 + 60 * smooth / smooth.std(), 0, 255), np.uint8)


def uniform(level: int, frames: int = 2, side: int = 128) -> Frames:
    """Return uniform grey frames, uint8 (T, S, S, 3)."""
    return np.full((frames, side, side, 3), level, np.uint8)


# ---- All ------------------------------------------------------------------------------------------------------------
def test_registry_order() -> None:
    """The registry holds the paper's 14 corruptions, in the order of its Figure 3."""
    named = "translate rotate imgrotate shot speckle gauss impulse defocus zoom jpeg freeze boxjumble jumble reverse"
    assert list(CORRUPTIONS) == named.split()


@pytest.mark.parametrize("name", CORRUPTIONS)
@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40)),
    severity=st.sampled_from(SEVERITIES),
    variant=st.sampled_from(VARIANTS),
    level=st.sampled_from([None, 0, 128, 255]),
)
def test_any_clip_gives_uint8_copy(name: str, shape: tuple[int, ...], severity: int, variant: str, level: int | None) -> None:
    """For any length, size and colour, the result is a new contiguous uint8 array, and the input is unchanged."""
    rng = np.random.default_rng(shape)
    frames = rng.integers(0, 256, (*shape, 3), np.uint8) if level is None else np.full((*shape, 3), level, np.uint8)
    before = frames.copy()
    out = Corruption(name, severity, variant)(frames, (1, 2))
    count, height, width = shape
    if name == "reverse":
        count = -(-count // 2**severity)
    if name == "translate":
        height = width = 224
    assert out.shape == (count, height, width, 3)
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous
    assert out.flags.writeable
    assert not np.shares_memory(out, frames)
    assert np.array_equal(frames, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_same_seed_same_frames(name: str) -> None:
    """The same seed gives the same frames; another seed gives others where the corruption is random."""
    frames, corruption = smooth_frames(40, 24, 24), Corruption(name, 2)
    once = corruption(frames, (3, 7))
    assert np.array_equal(once, corruption(frames, [3, 7]))
    differs = not np.array_equal(once, corruption(frames, (3, 8)))
    assert differs == (name not in {"imgrotate", "defocus", "zoom", "jpeg", "reverse"})


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_variants_differ_in_three_corruptions(name: str) -> None:
    """Only rotate, boxjumble and jumble depend on the variant."""
    frames = smooth_frames(64, 24, 24)
    outs = [[Corruption(name, s, variant)(frames, (0,)) for s in (1, 3)] for variant in VARIANTS]
    same = all(np.array_equal(a, b) for a, b in zip(*outs, strict=True))
    assert same == (name not in {"rotate", "boxjumble", "jumble"})


@pytest.mark.parametrize("name", [name for name in SAME_SIZE if name not in TEMPORAL])
def test_distance_grows_with_severity(name: str) -> None:
    """Each step of severity increases the distance to the original frames."""
    frames = smooth_frames(16)
    distances = [np.mean(np.abs(Corruption(name, s)(frames, (0,)) - frames.astype(float))) for s in SEVERITIES]
    assert distances == sorted(distances)
    assert distances[0] > 0.5
    assert distances[4] > 1.3 * distances[0]


@pytest.mark.parametrize("name", ["shot", "speckle", "gauss", "impulse", "rotate", "translate"])
def test_random_numbers_differ_between_frames(name: str) -> None:
    """Equal frames differ after a random corruption."""
    still = np.repeat(smooth_frames(1), 8, axis=0)
    out = Corruption(name, 5)(still, (0,))
    assert len({frame.tobytes() for frame in out}) > 5


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("severity", [1, 5])
def test_frame_by_frame_equals_clip(name: str, variant: str, severity: int) -> None:
    """`frame_order` and `corrupt_frame`, which evaluation uses, change a random clip as calling the corruption does."""
    clip = np.random.default_rng(0).integers(0, 256, (100, 24, 25, 3), np.uint8)
    corruption = Corruption(name, severity, variant)
    order = corruption.frame_order(len(clip), (0,))
    frames = np.stack([corruption.corrupt_frame(clip[t], (0, t)) for t in order])
    whole = corruption(clip, (0,))
    assert frames.shape == whole.shape
    assert not np.array_equal(frames, clip)
    if name in ORDER_CORRUPTIONS:
        assert np.array_equal(frames, whole)
    else:
        assert all(np.array_equal(frames[t], corruption(clip[[t]], (0, t))[0]) for t in range(len(clip)))


# ---- Time -----------------------------------------------------------------------------------------------------------
def test_reverse_order() -> None:
    """Every second, fourth, ... frame from the first on is kept, in reverse order."""
    assert frame_order("reverse", 1, 10) == [8, 6, 4, 2, 0]
    assert frame_order("reverse", 2, 10) == [8, 4, 0]
    assert frame_order("reverse", 5, 10) == [0]
    assert [len(frame_order("reverse", s, 64)) for s in SEVERITIES] == [32, 16, 8, 4, 2]


@pytest.mark.parametrize(("variant", "lengths"), [("action", (4, 9, 16, 25, 36)), ("language", (2, 4, 8, 16, 32))])
def test_boxjumble_shuffles_segments(variant: str, lengths: tuple[int, ...]) -> None:
    """Segments are shuffled as a whole: over several seeds, sequences start exactly at multiples of the length."""
    for severity, length in zip(SEVERITIES, lengths, strict=True):
        starts = set()
        for seed in range(8):
            result = frame_order("boxjumble", severity, 75, (seed,), variant)
            assert sorted(result) == list(range(75))
            starts |= {result[0], *(now for before, now in itertools.pairwise(result) if now != before + 1)}
        assert starts == set(range(0, 75, length))


@pytest.mark.parametrize(("variant", "lengths"), [("action", (32, 16, 8, 4, 2)), ("language", (4, 8, 16, 32, 64))])
def test_jumble_shuffles_within_segments(variant: str, lengths: tuple[int, ...]) -> None:
    """All frames stay in their segment; a shorter last segment is shuffled too."""
    for severity, length in zip(SEVERITIES, lengths, strict=True):
        result = np.array(frame_order("jumble", severity, 75, (4,), variant))
        assert sorted(result) == list(range(75))
        assert (result // length == np.arange(75) // length).all()
        moved = np.abs(result - np.arange(75)).max()
        assert length / 2 <= moved < length


def test_freeze_repeats_kept_frames() -> None:
    """40, 20, 10, 5 % or one of 60 frames are kept, each shown until the next."""
    for severity, seen in zip(SEVERITIES, (24, 12, 6, 3, 1), strict=True):
        result = frame_order("freeze", severity, 60)
        assert len(result) == 60
        chosen = sorted(set(result))
        assert len(chosen) == seen
        assert result == [max([c for c in chosen if c <= k], default=chosen[0]) for k in range(60)]


def test_freeze_short_clip() -> None:
    """Short clips keep two frames at severity 4, or one if they have no more, and at least one at any severity."""
    assert len(set(frame_order("freeze", 4, 20))) == 2
    assert [len(set(frame_order("freeze", s, 2))) for s in SEVERITIES] == [1, 1, 1, 2, 1]


@pytest.mark.parametrize("name", TEMPORAL)
def test_temporal_corruption_keeps_pixels(name: str) -> None:
    """Temporal corruptions return frames of the clip, pixel for pixel."""
    frames = smooth_frames(40, 9, 7)
    originals = {frame.tobytes() for frame in frames}
    assert {frame.tobytes() for frame in Corruption(name, 2)(frames, (0,))} <= originals


# ---- Camera ---------------------------------------------------------------------------------------------------------
def test_imgrotate_severity_5_equals_rot90() -> None:
    """Severity 5 rotates a square frame by 90 degrees counterclockwise, as np.rot90 does."""
    frames = smooth_frames(3, 33, 33)
    assert np.array_equal(Corruption("imgrotate", 5)(frames, (0,)), np.rot90(frames, axes=(1, 2)))


def bar_angle(frame: Frames) -> float:
    """Return the angle of the longest extent of white pixels, degrees counterclockwise from the horizontal, -90 to 90."""
    y, x = np.nonzero(frame[..., 0] > 128)
    _, axes = np.linalg.eigh(np.cov(x, y))
    dx, dy = axes[:, 1]
    return float(np.degrees(np.arctan(-dy / dx)))  # y points down


def bar(frames: int) -> Frames:
    """Return black frames with a white bar, 3 x 81 pixels, through the centre."""
    clip = np.zeros((frames, 101, 101, 3), np.uint8)
    clip[:, 49:52, 10:91] = 255
    return clip


def test_imgrotate_angles() -> None:
    """A bar is rotated by 7.5, 15, 30 and 45 degrees, equally in all frames."""
    for severity, degrees in zip(SEVERITIES, (7.5, 15, 30, 45), strict=False):
        out = Corruption("imgrotate", severity)(bar(2), (0,))
        assert np.array_equal(out[0], out[1])
        assert bar_angle(out[0]) == pytest.approx(degrees, abs=0.5)


@pytest.mark.parametrize(("variant", "more"), [("action", 1), ("language", 0)])
@pytest.mark.parametrize("severity", [1, 5])
def test_rotate_angle_range(variant: str, more: int, severity: int) -> None:
    """Angles are integer degrees from -6s to 6s, or -(6s + 1) to 6s + 1, and reach both ends."""
    angles = [bar_angle(frame) for frame in Corruption("rotate", severity, variant)(bar(400), (0,))]
    assert max(angles) == pytest.approx(6 * severity + more, abs=0.6)
    assert min(angles) == pytest.approx(-6 * severity - more, abs=0.6)
    assert abs(np.mean(angles)) < severity


@pytest.mark.parametrize("shape", [(256, 300), (300, 256), (256, 256)])
def test_translate_is_crop(shape: tuple[int, ...]) -> None:
    """At a short side of 256, each frame is a 224 x 224 crop, offset by less than 8s pixels from the upper left."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    # Colours tell where a pixel was: column, row, and the ninth bit of both.
    frames = np.stack([x % 256, y % 256, x // 256 + 2 * (y // 256)], axis=-1).astype(np.uint8)[None].repeat(200, 0)
    for severity in SEVERITIES:
        out = Corruption("translate", severity)(frames, (0,)).astype(int)
        corners = out[:, 0, 0, :2]
        for frame, (left, top) in zip(out, corners, strict=True):
            assert np.array_equal(frame, frames[0, top : top + 224, left : left + 224])
        assert corners.min(axis=0).tolist() == [0, 0]
        assert corners.max(axis=0).tolist() == [min(8 * severity - 1, width - 224), min(8 * severity - 1, height - 224)]


@pytest.mark.parametrize(
    ("height", "width", "high", "wide"), [(120, 160, 256, 341), (160, 120, 341, 256), (240, 320, 256, 341)]
)
def test_translate_resizes_to_256(height: int, width: int, high: int, wide: int) -> None:
    """Smaller frames are resized to a short side of 256 pixels, equal to OpenCV's linear interpolation, then cropped."""
    frame = smooth_frames(1, height, width)
    scaled = cv2.resize(frame[0], (wide, high), interpolation=cv2.INTER_LINEAR).astype(int)
    (out,) = Corruption("translate", 1)(frame, (0,))
    cuts = (scaled[top : top + 224, left : left + 224] for top in range(8) for left in range(8))
    assert min(np.abs(out - cut).max() for cut in cuts) <= 2


# ---- Noise ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("severity", "deviation"), by_severity(0.08, 0.12, 0.18, 0.26, 0.38))
def test_gauss_deviation(severity: int, deviation: float) -> None:
    """On grey, 68 % of the noise is below the stated deviation, as in a normal distribution."""
    noise = Corruption("gauss", severity)(uniform(128), (0,)) / 255 - 128 / 255
    assert np.mean(np.abs(noise) < deviation) == pytest.approx(0.6827, abs=0.01)
    assert abs(np.median(noise)) < 0.005


SKIMAGE = {
    "gauss": ("gaussian", [{"var": c**2} for c in (0.08, 0.12, 0.18, 0.26, 0.38)]),
    "speckle": ("speckle", [{"var": c**2} for c in (0.15, 0.2, 0.25, 0.3, 0.35)]),
    "impulse": ("s&p", [{"amount": c} for c in (0.03, 0.06, 0.09, 0.17, 0.27)]),
}


@pytest.mark.parametrize("name", SKIMAGE)
@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("level", [60, 200])
def test_noise_distribution_equals_skimage(name: str, severity: int, level: int) -> None:
    """The values of a noisy grey have the distribution of scikit-image's noise of the same strength, clipping included."""
    mode, strengths = SKIMAGE[name]
    expected = np.rint(255 * random_noise(uniform(level) / 255, mode, rng=1, **strengths[severity - 1])).astype(np.uint8)
    noisy = Corruption(name, severity)(uniform(level), (0,))
    distributions = [np.cumsum(np.bincount(values.ravel(), minlength=256)) / values.size for values in (noisy, expected)]
    assert np.abs(distributions[0] - distributions[1]).max() < 0.01


@pytest.mark.parametrize("name", ["shot", "speckle", "gauss", "impulse"])
def test_noise_uncorrelated_between_neighbours(name: str) -> None:
    """On grey, the noise of neighbours in channels, rows, columns and frames is uncorrelated."""
    noise = Corruption(name, 3)(uniform(100), (0,)).astype(float)
    for axis in range(4):
        count = noise.shape[axis]
        before, after = (np.take(noise, range(first, count - 1 + first), axis) for first in (0, 1))
        assert abs(np.corrcoef(before.ravel(), after.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize(("severity", "deviation"), by_severity(0.15, 0.2, 0.25, 0.3, 0.35))
@pytest.mark.parametrize("level", [60, 100])
def test_speckle_deviation(severity: int, deviation: float, level: int) -> None:
    """The noise's deviation is the stated fraction of the brightness; black stays black."""
    out = Corruption("speckle", severity)(uniform(level), (0,)).astype(float)
    assert out.mean() == pytest.approx(level, rel=0.01)
    assert out.std() == pytest.approx(deviation * level, rel=0.03)
    assert not Corruption("speckle", severity)(uniform(0), (0,)).any()


@pytest.mark.parametrize(("severity", "photons"), by_severity(250, 100, 50, 30, 15))
def test_shot_mean_and_variance(severity: int, photons: int) -> None:
    """Mean and variance of the photon counts are equal, as in a Poisson distribution; black stays black."""
    counted = Corruption("shot", severity)(uniform(64, 4), (0,)) / 255 * photons
    assert counted.mean() == pytest.approx(64 / 255 * photons, rel=0.01)
    assert counted.var() == pytest.approx(64 / 255 * photons, rel=0.04)
    assert not Corruption("shot", severity)(uniform(0), (0,)).any()


@pytest.mark.parametrize(("severity", "fraction"), by_severity(0.03, 0.06, 0.09, 0.17, 0.27))
def test_impulse_fraction(severity: int, fraction: float) -> None:
    """The stated fraction of values becomes black or white, half each; the others stay."""
    out = Corruption("impulse", severity)(uniform(77), (0,))
    assert set(np.unique(out)) == {0, 77, 255}
    assert np.mean(out == 0) == pytest.approx(fraction / 2, rel=0.06)
    assert np.mean(out == 255) == pytest.approx(fraction / 2, rel=0.06)


# ---- Blur and compression -------------------------------------------------------------------------------------------
DISKS = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))


@pytest.mark.parametrize(("radius", "deviation"), DISKS)
def test_disk_kernel_shape(radius: int, deviation: float) -> None:
    """The kernel has sum 1, is symmetric and non-negative, flat inside its radius and zero outside its rim."""
    kernel = disk_kernel(radius, deviation)
    reach = len(kernel) // 2
    distance = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    assert kernel.min() >= 0
    assert np.allclose(kernel, kernel.T)
    assert np.allclose(kernel, kernel[::-1])
    assert np.ptp(kernel[distance < radius - 2.9]) < 1e-12
    assert kernel[distance > radius + 2.9].sum() == 0


@pytest.mark.parametrize(("radius", "deviation"), DISKS)
def test_disk_kernel_equals_opencv(radius: int, deviation: float) -> None:
    """The kernel is a disk smoothed by OpenCV's Gaussian, 3 or 5 pixels wide, scaled to sum 1."""
    reach = max(8, radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    width = 3 if radius <= 8 else 5
    expected = cv2.GaussianBlur((np.hypot(x, y) <= radius).astype(float), (width, width), deviation)
    kernel = disk_kernel(radius, deviation)
    assert kernel.shape == expected.shape
    assert np.allclose(kernel, expected / expected.sum(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_equals_opencv(severity: int) -> None:
    """Defocus equals OpenCV's filter with the same kernel and its default border, up to rounding."""
    frames = smooth_frames(2, 48, 31)
    for frame, out in zip(frames, Corruption("defocus", severity)(frames, (0,)), strict=True):
        assert np.abs(out - cv2.filter2D(frame.astype(float), -1, disk_kernel(*DISKS[severity - 1]))).max() <= 0.501


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("shape", [(48, 31), (9, 12)])
def test_defocus_equals_scipy_convolution(severity: int, shape: tuple[int, int]) -> None:
    """Defocus equals scipy's convolution with the same kernel and mirrored borders, up to rounding."""
    frames = smooth_frames(2, *shape)
    kernel = disk_kernel(*DISKS[severity - 1])[None, :, :, None]
    expected = ndimage.convolve(frames.astype(float), kernel, mode="mirror")
    out = Corruption("defocus", severity)(frames, (0,))
    assert np.abs(out - expected).max() <= 0.501


@pytest.mark.parametrize(
    ("severity", "factor_range"), by_severity((1.11, 0.01), (1.15, 0.01), (1.2, 0.02), (1.24, 0.02), (1.3, 0.03))
)
def test_zoom_equals_mean_of_enlargements(severity: int, factor_range: tuple[float, float]) -> None:
    """Zoom is the mean of a frame and its enlargements about the centre, as scipy interpolates them, up to rounding."""
    frame = smooth_frames(1, 41, 56)[0].astype(float)
    last, step = factor_range
    total, factors = frame.copy(), np.linspace(1, last, round((last - 1) / step) + 1)
    y, x = np.mgrid[:41, :56]
    for factor in factors:
        where = [(y - 20) / factor + 20, (x - 27.5) / factor + 27.5]
        total += np.stack([ndimage.map_coordinates(frame[..., c], where, order=1, mode="nearest") for c in range(3)], axis=-1)
    out = Corruption("zoom", severity)(frame.astype(np.uint8)[None], (0,))[0]
    assert np.abs(out - total / (len(factors) + 1)).max() <= 1


@pytest.mark.parametrize("name", ["defocus", "zoom"])
@pytest.mark.parametrize("level", [0, 77, 255])
def test_blur_keeps_uniform_frames(name: str, level: int) -> None:
    """A uniform grey frame is unchanged, up to the borders."""
    for severity in SEVERITIES:
        assert (Corruption(name, severity)(uniform(level, 1, 32), (0,)) == level).all()


@pytest.mark.parametrize(("severity", "quality"), by_severity(25, 18, 15, 10, 7))
def test_jpeg_equals_pillow(severity: int, quality: int) -> None:
    """Each frame is what Pillow decodes from the JPEG that it encodes at the stated quality."""
    frames = smooth_frames(3, 37, 53)
    for frame, out in zip(frames, Corruption("jpeg", severity)(frames, (0,)), strict=True):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=quality)
        assert np.array_equal(out, np.asarray(Image.open(file).convert("RGB")))


# ---- Parsing and errors ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", ["gauss:3", "rotate:2:language", "reverse:5"])
def test_parse_str_roundtrip(text: str) -> None:
    """The text of a corruption parses to itself; the default variant is omitted."""
    assert str(Corruption.parse(text)) == text
    assert str(Corruption.parse("jumble:4:action")) == "jumble:4"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gaus:3", "There is no corruption 'gaus'; did you mean gauss?"),
        ("gaus:x", "There is no corruption 'gaus'; did you mean gauss?"),
        ("qqq:1", "There is no corruption 'qqq'; it must be one of translate, rotate,"),
        ("gauss:6", "The severity of gauss is '6'; it must be one of 1 to 5."),
        ("gauss:x", "The severity of gauss is 'x'; it must be one of 1 to 5."),
        ("gauss: 3", "The severity of gauss is ' 3'; it must be one of 1 to 5."),
        ("rotate:2:c", "The variant of rotate is 'c'; it must be action or language."),
        ("gauss", "The corruption 'gauss' must be NAME:SEVERITY or NAME:SEVERITY:VARIANT, e.g. gauss:3."),
        ("", "The corruption '' must be NAME:SEVERITY"),
        ("a:1:b:c", "The corruption 'a:1:b:c' must be NAME:SEVERITY"),
    ],
)
def test_parse_invalid_text_raises(text: str, message: str) -> None:
    """A one-line error message names what is wrong and what it should be."""
    with pytest.raises(ConfigurationError) as error:
        Corruption.parse(text)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("arguments", [("gaus", 3), ("gauss", 0), ("gauss", 6), ("gauss", "3"), ("gauss", 3, "first")])
def test_invalid_arguments_raise(arguments: tuple[Any, ...]) -> None:
    """Arguments that could not be parsed are refused by the constructor too."""
    with pytest.raises(ConfigurationError):
        Corruption(*arguments)


@pytest.mark.parametrize("frames", [np.zeros((2, 4, 4, 3)), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4, 4, 3), np.uint8)])
def test_invalid_frames_raise(frames: NDArray[Any]) -> None:
    """Frames of another dtype or shape, or without frames, are refused with an error that names both."""
    with pytest.raises(ConfigurationError, match="must be uint8"):
        Corruption("gauss", 1)(frames, (0,))


def test_import_without_torch() -> None:
    """Importing the corruptions does not import torch."""
    code = "import sys, synvid_train.data.corruptions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
