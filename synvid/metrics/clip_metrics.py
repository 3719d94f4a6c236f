"""Metrics of clips: each keeps one row of numbers per clip and computes properties of the dataset from all rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synvid.formatting import format_count
from synvid.metrics import color, motion, spectrum
from synvid.metrics.bootstrap import Estimate, bootstrap, column_ratio, jackknife
from synvid.metrics.results import Property, distance_key
from synvid.sources.base import FramePairs

__all__ = ["ClipMetric", "ColorMetric", "ObjectMetric", "PixelMetric", "SpectrumMetric"]


Array = NDArray[np.float64]


class ClipMetric:
    """Base class: a family of properties, measured clip by clip.

    Attributes:
        rows: one row per clip, float64 (d,) each.
    """

    def __init__(self) -> None:
        self.rows: list[Array] = []

    def add(self, clip: FramePairs) -> None:
        """Measure a clip and keep its row."""
        self.rows.append(self.measure(clip))

    def measure(self, clip: FramePairs) -> Array:
        """Return the row of a clip."""
        raise NotImplementedError

    def properties(self, seed: int) -> dict[str, Property]:
        """Return the properties of all clips added so far, at least one; the seed is that of the bootstrap."""
        raise NotImplementedError

    def _bootstrap(self, statistic: Callable[[Array], Array], seed: int) -> Estimate:
        return bootstrap(np.stack(self.rows), statistic, seed)


# ---- Spectrum ------------------------------------------------------------------------------------------------------
_RINGS = len(spectrum.EDGES) - 1


class SpectrumMetric(ClipMetric):
    """The exponent of A / |f|**alpha.

    A row holds amplitude, log frequency and presence of the rings, then sum, sum of squares and number of the exponents of
    single frames, all divided by the number of frames.
    """

    def __init__(self) -> None:
        super().__init__()
        self.min_side = 10**9

    def measure(self, clip: FramePairs) -> Array:
        """Average the rings and the exponents of the frames that have more than one colour."""
        row = np.zeros(3 * _RINGS + 3)
        self.min_side = min(self.min_side, *clip.frames.shape[1:3])
        fitted = spectrum.fit_range(min(clip.frames.shape[1:3]))
        for frame in clip.frames:
            rings = spectrum.ring_amplitudes(spectrum.luma(frame))
            if rings.amplitude.max() < 1e-6:  # a single colour has no spectrum
                continue
            row[: 3 * _RINGS] += np.concatenate([rings.amplitude, rings.log_frequency * rings.present, rings.present])
            alpha = float(spectrum.fit_power_law(rings.log_frequency[None, fitted], rings.amplitude[None, fitted]).alpha[0])
            if np.isfinite(alpha):
                row[3 * _RINGS :] += [alpha, alpha**2, 1.0]
        row /= len(clip.frames)
        return row

    def properties(self, seed: int) -> dict[str, Property]:
        """Fit the mean spectrum; the details have mean and standard deviation of the exponents of single frames."""
        fitted, mean_row = spectrum.fit_range(self.min_side), np.mean(self.rows, axis=0)

        def exponent(rows: Array) -> Array:
            amplitude, log_frequency = _mean_rings(rows)
            return spectrum.fit_power_law(log_frequency[:, fitted], amplitude[:, fitted]).alpha

        if self.min_side < spectrum.MIN_SIDE:
            why = f"a frame is {format_count(self.min_side, 'pixel')} high or wide; the fit needs {spectrum.MIN_SIDE}"
            return {"spectrum_exponent": Property("Spectrum exponent", "", None, why=why)}
        estimate = self._bootstrap(exponent, seed)
        details: dict[str, Any] = {}
        if estimate.value is not None:
            amplitude, log_frequency = _mean_rings(mean_row[None])
            total, squares, count = mean_row[3 * _RINGS :]
            mean = float(total / max(count, 1e-300))
            frames = {"mean": mean, "std": float(np.sqrt(max(squares / count - mean**2, 0.0)))}
            details = {**spectrum.describe_fit(log_frequency[0], amplitude[0], fitted), "frames": frames} if count > 0 else {}
        why = "every frame is of one colour, which has no spectrum"
        return {"spectrum_exponent": Property.from_estimate("Spectrum exponent", "", estimate, why, **details)}


def _mean_rings(rows: Array) -> tuple[Array, Array]:
    """Return mean amplitudes and log frequencies of mean rows, (b, 36) each; 0 for an empty ring."""
    amplitude, log_frequency, present = rows[:, :_RINGS], rows[:, _RINGS : 2 * _RINGS], rows[:, 2 * _RINGS : 3 * _RINGS]
    filled = present > 0
    counts = np.where(filled, present, 1.0)
    return np.where(filled, amplitude / counts, 0.0), np.where(filled, log_frequency / counts, 0.0)


# ---- Colour --------------------------------------------------------------------------------------------------------
class ColorMetric(ClipMetric):
    """The Gaussian of colours in L*a*b* and its distance to a reference. A row holds `color.moments`.

    Args:
        reference: name and Gaussian of the reference, if any.
    """

    def __init__(self, reference: tuple[str, color.ColorGaussian] | None = None) -> None:
        super().__init__()
        self.reference = reference

    def measure(self, clip: FramePairs) -> Array:
        """Return the moments of the clip's colours."""
        return color.moments(clip.frames)

    def properties(self, seed: int) -> dict[str, Property]:
        """Return spread and lightness, and the distance if there is a reference."""
        gaussian = color.gaussians(np.mean(self.rows, axis=0)[None])
        details = {
            "mean": gaussian.mean[0].tolist(),
            "covariance": gaussian.covariance[0].tolist(),
            "space": "CIE L*a*b*, D65",
        }
        spread = jackknife(np.stack(self.rows), lambda rows: color.spread(color.gaussians(rows)))
        properties = {
            "color_spread": Property.from_estimate("Colour spread", "L*a*b* units", spread, **details),
            "lightness": Property.from_estimate("Lightness L*", "", self._bootstrap(lambda rows: rows[:, 0], seed)),
        }
        if self.reference is not None:
            name, reference = self.reference
            distance = jackknife(np.stack(self.rows), lambda rows: color.symmetric_kl(color.gaussians(rows), reference))
            whose = "the reference's" if color.is_degenerate(reference.covariance)[0] else "its"
            why = f"{whose} colours do not vary in some direction of L*a*b*, so the divergence is infinite"
            properties[distance_key("color_distance", name)] = Property.from_estimate(
                f"Colour distance to {name}", "nats", distance, why, reference=name
            )
        return properties


# ---- Pixels --------------------------------------------------------------------------------------------------------
class PixelMetric(ClipMetric):
    """Properties of frames that need no scene.

    A row holds mean difference and changed fraction of consecutive frames and the number 1 if there are any, then the black
    fraction of each frame and the number 1 for each frame.

    Args:
        pairs_per_clip: max number of frame pairs of a clip.
    """

    def __init__(self, pairs_per_clip: int) -> None:
        super().__init__()
        self.pairs_per_clip = pairs_per_clip

    def measure(self, clip: FramePairs) -> Array:
        """Compare consecutive frames and count black pixels."""
        row = np.zeros(3 + 2 * self.pairs_per_clip)
        if clip.next_frames is not None:
            differences = [motion.frame_difference(*pair) for pair in zip(clip.frames, clip.next_frames, strict=True)]
            row[:3] = *np.mean(differences, axis=0), 1.0
        black = [motion.black_fraction(frame) for frame in clip.frames]
        row[3 : 3 + len(black)] = black
        row[3 + self.pairs_per_clip : 3 + self.pairs_per_clip + len(black)] = 1.0
        return row

    def properties(self, seed: int) -> dict[str, Property]:
        """Return black fraction, frame difference and fraction of changing pixels."""
        mean_row = np.mean(self.rows, axis=0)
        values, counts = np.s_[3 : 3 + self.pairs_per_clip], np.s_[3 + self.pairs_per_clip :]
        black = self._bootstrap(lambda rows: rows[:, values].sum(axis=1) / rows[:, counts].sum(axis=1), seed)
        details: dict[str, Any] = {
            "threshold": f"no channel above {motion.BLACK}",
            "over_time": _divide(mean_row[values], mean_row[counts]),
        }
        difference, changed = (self._bootstrap(column_ratio(column, 2), seed) for column in (0, 1))
        why, threshold = "its clips have one frame", "differs by more than 10 grey levels"
        return {
            "black_fraction": Property.from_estimate("Black pixels", "fraction", black, **details),
            "frame_difference": Property.from_estimate("Frame difference", "grey levels per frame", difference, why),
            "moving_pixels": Property.from_estimate("Changing pixels", "fraction", changed, why, threshold=threshold),
        }


def _divide(totals: Array, counts: Array) -> list[float]:
    """Return means; entries with a count of zero are left out."""
    return [round(float(total / count), 6) for total, count in zip(totals, counts, strict=True) if count > 0]


# ---- Objects -------------------------------------------------------------------------------------------------------
#: Edges of the histogram of speeds, pixels per frame; the last bin has all faster objects.
_SPEEDS = np.arange(0.0, 10.05, 0.1)

# Columns of a row: sums over the frame pairs, the histogram, and the series over time.
_SPEED, _SPEED_SQUARED, _OBJECTS, _ACCELERATION, _ACCELERATED, _FLOW, _OCCLUDED, _OUT_OF_FRAME, _AREA, _PAIRS = range(10)
_HISTOGRAM = 10
_SERIES = _HISTOGRAM + len(_SPEEDS)


class ObjectMetric(ClipMetric):
    """Exact motion of clips whose scene is known: `motion.motion_stats` of each frame pair.

    A row holds sums over the frame pairs, the histogram of speeds, and background fraction and number of visible objects over
    time; zeros if a clip has no scene, no objects or a single frame.

    Args:
        pairs_per_clip: max number of frame pairs of a clip.
    """

    def __init__(self, pairs_per_clip: int) -> None:
        super().__init__()
        self.pairs_per_clip = pairs_per_clip
        self.num_measured = 0
        self.why = "real clips and images have no scene"

    def measure(self, clip: FramePairs) -> Array:
        """Sum the motion of the clip's frame pairs."""
        row = np.zeros(_SERIES + 2 * self.pairs_per_clip)
        scene = clip.scene
        if scene is None:
            return row
        if not scene.num_objects or clip.next_frames is None:
            self.why = "its clips have no objects" if not scene.num_objects else "its clips have one frame"
            return row
        self.num_measured += 1
        for k, t in enumerate(clip.numbers):
            stats = motion.motion_stats(scene, t)
            area = 1.0 - stats.background
            row[_SPEED] += stats.speed.sum()
            row[_SPEED_SQUARED] += (stats.speed**2).sum()
            row[_OBJECTS] += len(stats.speed)
            row[_ACCELERATION] += stats.acceleration.sum()
            row[_ACCELERATED] += len(stats.acceleration)
            row[_FLOW] += stats.flow
            row[_OCCLUDED] += stats.occluded * area
            row[_OUT_OF_FRAME] += stats.out_of_frame * area
            row[_AREA] += area
            row[_PAIRS] += 1.0
            bins = np.minimum(np.searchsorted(_SPEEDS, stats.speed, side="right") - 1, len(_SPEEDS) - 1)
            row[_HISTOGRAM:_SERIES] += np.bincount(bins, minlength=len(_SPEEDS))
            row[_SERIES + k] = stats.background
            row[_SERIES + self.pairs_per_clip + k] = len(stats.speed)
        return row

    def properties(self, seed: int) -> dict[str, Property]:
        """Return speed, acceleration, flow, visible objects, occlusion, leaving rate and background fraction."""

        def ratio(
            label: str, unit: str, columns: tuple[int, int], why: str = "no object is visible", **details: Any
        ) -> Property:
            estimate = self._bootstrap(column_ratio(*columns), seed)
            why = why if self.num_measured else self.why
            return Property.from_estimate(label, unit, estimate, why, clips=self.num_measured, **details)

        def background_fraction(rows: Array) -> Array:
            uncovered = np.stack([rows[:, _PAIRS] - rows[:, _AREA], rows[:, _PAIRS]], axis=1)
            return column_ratio(0, 1)(uncovered)

        speeds, background, visible = self._details()
        short = "its clips have fewer than three frames"
        acceleration = (_ACCELERATION, _ACCELERATED)
        return {
            "object_speed": ratio("Object speed", "pixels per frame", (_SPEED, _OBJECTS), **speeds),
            "object_acceleration": ratio("Object acceleration", "pixels per frame²", acceleration, short),
            "optical_flow": ratio("Optical flow", "pixels per frame", (_FLOW, _PAIRS)),
            "visible_objects": ratio("Visible objects", "per frame", (_OBJECTS, _PAIRS), **visible),
            "occlusion_rate": ratio("Occlusion rate", "fraction per frame", (_OCCLUDED, _AREA)),
            "leaving_rate": ratio("Leaving rate", "fraction per frame", (_OUT_OF_FRAME, _AREA)),
            "background_fraction": Property.from_estimate(
                "Background",
                "fraction",
                self._bootstrap(background_fraction, seed),
                self.why,
                clips=self.num_measured,
                **background,
            ),
        }

    def _details(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Return the details of speed (deviation and histogram), background and visible objects (over time)."""
        if not self.num_measured:
            return {}, {}, {}
        mean_row = np.mean(self.rows, axis=0)
        measured = self.num_measured / len(self.rows)
        mean, square = mean_row[[_SPEED, _SPEED_SQUARED]] / max(mean_row[_OBJECTS], 1e-300)
        fractions = mean_row[_HISTOGRAM:_SERIES] / max(mean_row[_OBJECTS], 1e-300)
        background, visible = np.split(mean_row[_SERIES:] / measured, 2)
        speeds = {
            "std": float(np.sqrt(max(square - mean**2, 0.0))),
            "histogram": {"edges": _SPEEDS.round(3).tolist(), "fraction": fractions.round(6).tolist()},
        }
        return speeds, {"over_time": background.round(6).tolist()}, {"over_time": visible.round(4).tolist()}
