"""What is measured: each meter keeps one row of numbers a clip, and in the end says what they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synvid.formatting import format_count
from synvid.metrics import color, motion, spectrum
from synvid.metrics.bootstrap import Estimate, bootstrap, jackknife, ratio_of
from synvid.metrics.results import Property, distance_key
from synvid.sources.base import FramePairs

__all__ = ["ClipMetric", "ColorMetric", "ObjectMetric", "PixelMetric", "SpectrumMetric"]


Array = NDArray[np.float64]


class ClipMetric:
    """One family of properties, measured clip by clip.

    Attributes:
        rows: of the clips, float64 (d,) each.
    """

    def __init__(self) -> None:
        self.rows: list[Array] = []

    def add(self, clip: FramePairs) -> None:
        """Measure a clip."""
        self.rows.append(self.measure(clip))

    def measure(self, clip: FramePairs) -> Array:
        """The row of a clip."""
        raise NotImplementedError

    def properties(self, seed: int) -> dict[str, Property]:
        """What all clips say together; there is one at least."""
        raise NotImplementedError

    def _estimate(self, statistic: Callable[[Array], Array], seed: int) -> Estimate:
        return bootstrap(np.stack(self.rows), statistic, seed)


def _series(values: Array, counts: Array) -> list[float]:
    """Means over time; a moment that no clip has takes no place."""
    return [round(float(value / count), 6) for value, count in zip(values, counts, strict=True) if count > 0]


# ---- Spectrum ------------------------------------------------------------------------------------------------------
_BINS = len(spectrum.EDGES) - 1


class SpectrumMetric(ClipMetric):
    """The exponent of A / |f|**alpha.

    A row: amplitude, log frequency and presence of the rings; of the frames' own exponents sum, sum of squares and number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.least_side = 10**9

    def measure(self, clip: FramePairs) -> Array:
        """Rings of the frames that are not of one colour, and their own exponents."""
        row = np.zeros(3 * _BINS + 3)
        self.least_side = min(self.least_side, *clip.frames.shape[1:3])
        rings = spectrum.fit_range(min(clip.frames.shape[1:3]))
        for frame in clip.frames:
            found = spectrum.ring_amplitudes(spectrum.luma(frame))
            if found.amplitude.max() < 1e-6:  # one colour: no spectrum
                continue
            row[: 3 * _BINS] += np.concatenate([found.amplitude, found.log_frequency * found.present, found.present])
            alpha = float(spectrum.fit_power_law(found.log_frequency[None, rings], found.amplitude[None, rings]).alpha[0])
            if np.isfinite(alpha):
                row[3 * _BINS :] += [alpha, alpha**2, 1.0]
        row /= len(clip.frames)
        return row

    def properties(self, seed: int) -> dict[str, Property]:
        """The exponent of the mean spectrum; in its details, the mean and standard deviation of the frames' own."""
        rings, total = spectrum.fit_range(self.least_side), np.mean(self.rows, axis=0)

        def fit(rows: Array) -> Array:
            amplitude, logs = _spectra(rows)
            return spectrum.fit_power_law(logs[:, rings], amplitude[:, rings]).alpha

        if self.least_side < spectrum.LEAST_SIDE:
            small = f"a frame is {format_count(self.least_side, 'pixel')} high or wide; the fit needs {spectrum.LEAST_SIDE}"
            return {"spectrum_exponent": Property("Spectrum exponent", "", None, why=small)}
        estimate = self._estimate(fit, seed)
        details: dict[str, Any] = {}
        if estimate.value is not None:
            amplitude, logs = _spectra(total[None])
            own, squares, count = total[3 * _BINS :]
            mean = float(own / max(count, 1e-300))
            frames = {"mean": mean, "std": float(np.sqrt(max(squares / count - mean**2, 0.0)))}
            details = {**spectrum.describe(logs[0], amplitude[0], rings), "frames": frames} if count > 0 else {}
        why = "every frame is of one colour, which has no spectrum"
        return {"spectrum_exponent": Property.of("Spectrum exponent", "", estimate, why, **details)}


def _spectra(rows: Array) -> tuple[Array, Array]:
    """Mean amplitudes and log frequencies of mean rows, (b, 36) each; 0 where a ring is empty."""
    amplitude, logs, present = rows[:, :_BINS], rows[:, _BINS : 2 * _BINS], rows[:, 2 * _BINS : 3 * _BINS]
    some = present > 0
    counts = np.where(some, present, 1.0)
    return np.where(some, amplitude / counts, 0.0), np.where(some, logs / counts, 0.0)


# ---- Colour --------------------------------------------------------------------------------------------------------
class ColorMetric(ClipMetric):
    """The Gaussian of colours in L*a*b*, and its distance to a reference. A row: `color.moments`.

    Args:
        against: name and Gaussian of the reference, if any.
    """

    def __init__(self, against: tuple[str, color.ColorGaussian] | None = None) -> None:
        super().__init__()
        self.against = against

    def measure(self, clip: FramePairs) -> Array:
        """Moments of the clip's colours."""
        return color.moments(clip.frames)

    def gaussian(self) -> color.ColorGaussian:
        """Of all clips."""
        return color.gaussians(np.mean(self.rows, axis=0)[None])

    def properties(self, seed: int) -> dict[str, Property]:
        """Spread and lightness; the distance, where there is a reference."""
        of_all = self.gaussian()
        details = {"mean": of_all.mean[0].tolist(), "covariance": of_all.covariance[0].tolist(), "space": "CIE L*a*b*, D65"}
        spread = jackknife(np.stack(self.rows), lambda rows: color.spread(color.gaussians(rows)))
        found = {
            "color_spread": Property.of("Colour spread", "L*a*b* units", spread, **details),
            "lightness": Property.of("Lightness L*", "", self._estimate(lambda rows: rows[:, 0], seed)),
        }
        if self.against is not None:
            name, reference = self.against
            distance = jackknife(np.stack(self.rows), lambda rows: color.symmetric_kl(color.gaussians(rows), reference))
            whose = "the reference's" if color.is_flat(reference.covariance)[0] else "its"
            why = f"{whose} colours have no width in some direction of L*a*b*, so that the divergence is infinite"
            found[distance_key("color_distance", name)] = Property.of(
                f"Colour distance to {name}", "nats", distance, why, against=name
            )
        return found


# ---- Pixels --------------------------------------------------------------------------------------------------------
class PixelMetric(ClipMetric):
    """What frames show without a scene. A row: mean difference and moved share, their count; black share over time, its count.

    Args:
        moments: of a clip.
    """

    def __init__(self, moments: int) -> None:
        super().__init__()
        self.moments = moments

    def measure(self, clip: FramePairs) -> Array:
        """Differences of consecutive frames, and what is black."""
        row = np.zeros(3 + 2 * self.moments)
        if clip.next_frames is not None:
            pairs = [motion.frame_difference(*pair) for pair in zip(clip.frames, clip.next_frames, strict=True)]
            row[:3] = *np.mean(pairs, axis=0), 1.0
        black = [motion.black_share(frame) for frame in clip.frames]
        row[3 : 3 + len(black)] = black
        row[3 + self.moments : 3 + self.moments + len(black)] = 1.0
        return row

    def properties(self, seed: int) -> dict[str, Property]:
        """Black share, frame difference, share of moving pixels."""
        total = np.mean(self.rows, axis=0)
        values, counts = np.s_[3 : 3 + self.moments], np.s_[3 + self.moments :]
        black = self._estimate(lambda rows: rows[:, values].sum(axis=1) / rows[:, counts].sum(axis=1), seed)
        still = "its clips have one frame"
        moved = {"threshold": "differs by more than 10 grey levels"}
        over_time = _series(total[values], total[counts])
        return {
            "black_share": Property.of(
                "Black pixels", "share", black, threshold=f"no channel above {motion.BLACK}", over_time=over_time
            ),
            "frame_difference": Property.of(
                "Frame difference", "grey levels per frame", self._estimate(ratio_of(0, 2), seed), still
            ),
            "moving_pixels": Property.of("Changing pixels", "share", self._estimate(ratio_of(1, 2), seed), still, **moved),
        }


# ---- Objects -------------------------------------------------------------------------------------------------------
#: Of the histogram of speeds, pixels per frame; the last bin has all that is faster.
_SPEEDS = np.arange(0.0, 10.05, 0.1)

_SPEED, _SPEED_SQUARED, _OBJECTS, _ACCELERATION, _ACCELERATED, _FLOW, _HIDDEN, _LEFT, _AREA, _COUNT = range(10)
_HISTOGRAM = 10
_SERIES = _HISTOGRAM + len(_SPEEDS)


class ObjectMetric(ClipMetric):
    """What scenes know: `motion.motion_stats` of each moment.

    A row: sums over the moments, the histogram of speeds, and the bare background and the visible objects over time; zeros
    where a clip has no scene, no objects or one frame.

    Args:
        moments: of a clip.
    """

    def __init__(self, moments: int) -> None:
        super().__init__()
        self.moments = moments
        self.known = 0
        self.why = "real clips and pictures have no scene that is known"

    def measure(self, clip: FramePairs) -> Array:
        """Sums of what the scene says of each moment."""
        row = np.zeros(_SERIES + 2 * self.moments)
        scene = clip.scene
        if scene is None:
            return row
        if not scene.num_objects or clip.next_frames is None:
            self.why = "its clips have no objects" if not scene.num_objects else "its clips have one frame"
            return row
        self.known += 1
        for k, t in enumerate(clip.numbers):
            seen = motion.motion_stats(scene, t)
            area = 1.0 - seen.background
            row[_SPEED] += seen.speed.sum()
            row[_SPEED_SQUARED] += (seen.speed**2).sum()
            row[_OBJECTS] += len(seen.speed)
            row[_ACCELERATION] += seen.acceleration.sum()
            row[_ACCELERATED] += len(seen.acceleration)
            row[_FLOW] += seen.flow
            row[_HIDDEN] += seen.hidden * area
            row[_LEFT] += seen.left * area
            row[_AREA] += area
            row[_COUNT] += 1.0
            bins = np.minimum(np.searchsorted(_SPEEDS, seen.speed, side="right") - 1, len(_SPEEDS) - 1)
            row[_HISTOGRAM:_SERIES] += np.bincount(bins, minlength=len(_SPEEDS))
            row[_SERIES + k] = seen.background
            row[_SERIES + self.moments + k] = len(seen.speed)
        return row

    def properties(self, seed: int) -> dict[str, Property]:
        """Speed, acceleration, flow, visible objects, occlusion and bare background."""
        total = np.mean(self.rows, axis=0)
        clips: dict[str, Any] = {"clips": self.known}
        speeds: dict[str, Any] = dict(clips)
        series: dict[str, dict[str, Any]] = {"background": dict(clips), "visible": dict(clips)}
        if self.known:
            share = self.known / len(self.rows)
            mean, square = total[[_SPEED, _SPEED_SQUARED]] / max(total[_OBJECTS], 1e-300)
            shares = total[_HISTOGRAM:_SERIES] / max(total[_OBJECTS], 1e-300)
            speeds["std"] = float(np.sqrt(max(square - mean**2, 0.0)))
            speeds["histogram"] = {"edges": _SPEEDS.round(3).tolist(), "share": shares.round(6).tolist()}
            background, visible = total[_SERIES : _SERIES + self.moments], total[_SERIES + self.moments :]
            series["background"]["over_time"] = (background / share).round(6).tolist()
            series["visible"]["over_time"] = (visible / share).round(4).tolist()

        def of(label: str, unit: str, above: int, below: int, why: str = "no object is visible", **details: Any) -> Property:
            return Property.of(
                label, unit, self._estimate(ratio_of(above, below), seed), why if self.known else self.why, **details
            )

        short = "its clips have fewer than three frames"
        bare = ratio_of(0, 1)

        def background_share(rows: Array) -> Array:
            return bare(np.stack([rows[:, _COUNT] - rows[:, _AREA], rows[:, _COUNT]], axis=1))

        bare_share = self._estimate(background_share, seed)
        return {
            "object_speed": of("Object speed", "pixels per frame", _SPEED, _OBJECTS, **speeds),
            "object_acceleration": of("Object acceleration", "pixels per frame²", _ACCELERATION, _ACCELERATED, short, **clips),
            "optical_flow": of("Optical flow", "pixels per frame", _FLOW, _COUNT, **clips),
            "visible_objects": of("Visible objects", "per frame", _OBJECTS, _COUNT, **series["visible"]),
            "occlusion_rate": of("Occlusion rate", "share per frame", _HIDDEN, _AREA, **clips),
            "leaving_rate": of("Leaving rate", "share per frame", _LEFT, _AREA, **clips),
            "background_share": Property.of("Bare background", "share", bare_share, self.why, **series["background"]),
        }
