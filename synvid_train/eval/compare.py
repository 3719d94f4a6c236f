"""Compare datasets: Fréchet distances of network features to a reference, and diversity (section 5.3 of the paper).

synvid-train compare moving_shapes jhmdb/videos --out compared.json
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from synvid.formatting import describe_unreadable, format_count
from synvid.metrics.bootstrap import bootstrap, column_mean
from synvid.metrics.results import DatasetMetrics, Property, distance_key
from synvid.runtime.progress import Progress
from synvid.sources.base import ClipSource
from synvid.version import __version__
from synvid_train.eval.feature_extraction import ClipSelection, Features, describe_unreadable_clips, extract_features
from synvid_train.eval.feature_extractors import FeatureExtractor
from synvid_train.eval.frechet import FeatureGaussian, extrapolate, frechet_distance, log_pseudo_determinant

__all__ = ["compare"]


#: Fractions of the clips from which a distance is extrapolated.
_FRACTIONS = (1.0, 0.8, 2 / 3, 0.5, 0.4, 1 / 3)

_DISTANCE = (
    "|m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2) of the means and covariances of all vectors. "
    "Biased upwards by about 1 / n for n clips: compare values from equal numbers of clips."
)
_INFINITY = (
    "Intercept of a line over 1 / n, fitted to the distances of random fractions of the clips (Chong and Forsyth 2020)."
)
_DIVERSITY = (
    "Logarithm of the product of the K - 1 largest eigenvalues of the covariance of a clip's K frame vectors, the only "
    "ones that can be nonzero; mean over clips."
)
_SET_DIVERSITY = (
    "Logarithm of the product of the larger half of the eigenvalues of the covariance of all frames of all clips; the smaller "
    "half belongs to features that some datasets never activate. It grows with the number of clips: compare equal numbers."
)

#: Below this many clips per vector dimension, the bias of a distance is not yet proportional to 1 / n. Clips are counted, not
#: frames, since frames of one clip are nearly equal.
_MIN_CLIPS_PER_DIMENSION = 2


def compare(
    sources: Sequence[ClipSource],
    extractors: Sequence[FeatureExtractor],
    selection: ClipSelection | None = None,
    infinity: bool = False,
    workers: int = 0,
    make_progress: Any = lambda _: Progress(),
    cache: Path | None = None,
) -> list[DatasetMetrics]:
    """Compare datasets with the last one, the reference.

    Args:
        sources: two or more, the reference last.
        extractors: networks that compute features.
        selection: clips and frames to use.
        infinity: also extrapolate every distance to infinitely many clips (FID-infinity).
        workers: number of worker processes that read clips.
        make_progress: function from a label to a progress callback, called for each clip.
        cache: cache folder of features. None: the user's.

    Returns:
        The metrics of each source; the reference has no distances.

    Raises:
        ConfigurationError: no clip of a source can be read.
    """
    selection = selection or ClipSelection()
    properties: list[dict[str, Property]] = [{} for _ in sources]
    notes: list[list[str]] = [list(source.notes) for source in sources]
    num_clips = [0 for _ in sources]

    def get_features(source: ClipSource, extractor: FeatureExtractor) -> Features:
        progress = make_progress(f"{source.name}, {extractor.key}")
        return extract_features(source, extractor, selection, workers, progress, cache)

    for extractor in extractors:
        reference_features = get_features(sources[-1], extractor)
        comparison = _ReferenceComparison(extractor, sources[-1], reference_features, selection, infinity)
        for k, source in enumerate(sources):  # one at a time besides the reference, to limit memory
            is_reference = k == len(sources) - 1
            features = reference_features if is_reference else get_features(source, extractor)
            num_clips[k] = max(num_clips[k], features.num_clips)
            notes[k] += _describe_clips(source, extractor, features, selection)
            properties[k] |= comparison.properties(source, features, is_reference)
        notes[-1].append(comparison.describe_halves())
    settings = {
        "synvid": __version__,
        **asdict(selection),
        "features": ", ".join(f"{extractor.key} ({extractor.digest[:12]})" for extractor in extractors),
    }
    return [
        DatasetMetrics(
            source.name, source.kind, source.path, num_clips[k], source.preset_name, settings, properties[k], _unique(notes[k])
        )
        for k, source in enumerate(sources)
    ]


def _unique(notes: Sequence[str]) -> list[str]:
    return [note for note in dict.fromkeys(notes) if note]


def _describe_clips(
    source: ClipSource, extractor: FeatureExtractor, features: Features, selection: ClipSelection
) -> list[str]:
    """Return notes on clips that could not be read or are too short."""
    notes = []
    if features.unreadable:
        names = describe_unreadable_clips(source, features.unreadable, selection)
        notes.append(describe_unreadable(source.unit, names))
    if features.num_short and source.kind != "images":
        notes.append(
            f"{extractor.distance_name}: {features.num_short:,} of {format_count(features.num_clips, 'clip')} have fewer than "
            f"the {extractor.span} frames of the network's window; their last frame is repeated."
        )
    return notes


def _fit_gaussian(features: Features) -> FeatureGaussian | None:
    return FeatureGaussian.fit(features.vectors) if len(features.vectors) > 1 else None


class _ReferenceComparison:
    """Metrics of datasets relative to the reference, on the features of one network."""

    def __init__(
        self, extractor: FeatureExtractor, source: ClipSource, features: Features, selection: ClipSelection, infinity: bool
    ) -> None:
        self.extractor, self.source, self.features, self.infinity = extractor, source, features, infinity
        self.selection = selection
        self.gaussian = _fit_gaussian(features)

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(self.selection.seed)

    def properties(self, source: ClipSource, features: Features, is_reference: bool) -> dict[str, Property]:
        """Return the metrics of a dataset by key: distance, unless it is the reference, and diversity."""
        key, properties = self.extractor.key, {}
        gaussian = self.gaussian if is_reference else _fit_gaussian(features)
        if not is_reference:
            distance = distance_key(f"frechet_{key}", self.source.name)
            properties[distance] = self._distance(source, features, gaussian)
            if self.infinity:
                properties[f"{distance}_infinity"] = self._distance_at_infinity(source, features)
        if self.extractor.num_frames is None:
            properties[f"diversity_{key}"] = self._diversity(source, features)
            properties[f"set_diversity_{key}"] = self._set_diversity(features, gaussian)
        return properties

    def _lacks_clips(self, source: ClipSource) -> bool:
        """Return whether the network takes clips but one side is images."""
        return self.extractor.num_frames is not None and "images" in (source.kind, self.source.kind)

    def _distance(self, source: ClipSource, features: Features, gaussian: FeatureGaussian | None) -> Property:
        label = f"{self.extractor.distance_name} to {self.source.name}"
        if self._lacks_clips(source):
            return Property(label, "", None, why="the network takes clips, not images")
        if gaussian is None or self.gaussian is None:
            return Property(label, "", None, why="one side has a single vector, and so no covariance")
        details = {
            "vectors": [len(features.vectors), len(self.features.vectors)],
            "length": features.vectors.shape[1],
            "definition": _DISTANCE,
        }
        return Property(label, "", frechet_distance(gaussian, self.gaussian), details=details)

    def _distance_at_infinity(self, source: ClipSource, features: Features) -> Property:
        label = f"{self.extractor.distance_name} to {self.source.name}, extrapolated to infinitely many clips"
        if self._lacks_clips(source):
            return Property(label, "", None, why="the network takes clips, not images")
        length, num_clips = features.vectors.shape[1], min(features.num_clips, self.features.num_clips)
        needed = round(_MIN_CLIPS_PER_DIMENSION * length / min(_FRACTIONS))
        if num_clips < needed:
            why = f"one side has {format_count(num_clips, 'clip')}; vectors of {length:,} numbers need {needed:,}"
            return Property(label, "", None, why=why)
        rng, distances = self._rng(), []
        for fraction in _FRACTIONS:
            gaussians = (FeatureGaussian.fit(side.sample_clips(fraction, rng)) for side in (features, self.features))
            distances.append(frechet_distance(*gaussians))
        value = max(0.0, extrapolate(_FRACTIONS, distances))
        details = {"fractions": _FRACTIONS, "distances": distances, "definition": _INFINITY}
        return Property(label, "", value, details=details)

    def _diversity(self, source: ClipSource, features: Features) -> Property:
        label = f"Frame diversity of a clip ({self.extractor.name})"
        num_frames = self.selection.frames
        if source.kind == "images" or num_frames == 1:
            return Property(label, "nats", None, why="a single frame has no diversity")
        boundaries = np.flatnonzero(np.diff(features.clips)) + 1
        clips = [vectors for vectors in np.split(features.vectors, boundaries) if len(vectors) == num_frames]
        if not clips:
            return Property(label, "nats", None, why=f"no clip has {num_frames} frames")
        values = [value for vectors in clips if (value := log_pseudo_determinant(vectors)) is not None]
        if not values:
            return Property(label, "nats", None, why="in every clip the frame vectors are affinely dependent")
        estimate = bootstrap(np.array(values)[:, None], column_mean(0), self.selection.seed)
        excluded = {"too_short": features.num_clips - len(clips), "still": len(clips) - len(values)}
        return Property.from_estimate(label, "nats", estimate, "", clips=len(values), definition=_DIVERSITY, **excluded)

    def _set_diversity(self, features: Features, gaussian: FeatureGaussian | None) -> Property:
        label, length = f"Frame diversity of the set ({self.extractor.name})", features.vectors.shape[1]
        value = None if gaussian is None else gaussian.log_determinant(max(length // 2, 1))
        why = f"its frames vary in less than half of the {length:,} dimensions" if value is None else ""
        return Property(label, "nats", value, why=why, details={"definition": _SET_DIVERSITY})

    def describe_halves(self) -> str:
        """Return a note with the distance between two halves of the reference, a scale for the other distances."""
        clips = np.unique(self.features.clips)
        order = self._rng().permutation(clips)
        halves = [self.features.vectors[np.isin(self.features.clips, half)] for half in np.array_split(order, 2) if len(half)]
        if len(halves) < 2 or min(map(len, halves)) < 2:
            return ""
        value, size = frechet_distance(*(FeatureGaussian.fit(half) for half in halves)), min(map(len, halves))
        return f"{self.extractor.distance_name} between two halves of this set, {size:,} vectors each: {value:.4g}."
