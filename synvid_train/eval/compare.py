"""How far datasets are apart, as a network sees them, and how diverse each is (section 5.3 of the paper).

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
from synvid_train.eval.feature_extraction import ClipSelection, Features, describe_unread, extract
from synvid_train.eval.feature_extractors import FeatureExtractor
from synvid_train.eval.frechet import FeatureGaussian, extrapolate, frechet_distance, log_pseudo_determinant

__all__ = ["compare"]


#: Shares of the clips from which a distance is extrapolated.
_SHARES = (1.0, 0.8, 2 / 3, 0.5, 0.4, 1 / 3)

_DISTANCE = (
    "|m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2) of the means and covariances of all vectors. "
    "Too large for few clips, by about 1 / n: compare figures of equal numbers of clips."
)
_INFINITY = "Where a line over 1 / n, fitted to the distances of shares of the clips, ends (Chong and Forsyth 2020)."
_DIVERSITY = (
    "Logarithm of the product of the K - 1 largest eigenvalues of the covariance of a clip's K frame vectors, "
    "which can have no more; mean over clips."
)
_SET_DIVERSITY = (
    "Logarithm of the product of the larger half of the eigenvalues of the covariance of all frames of all clips; the "
    "smaller ones are of features that some datasets never touch. It grows with the number of clips: compare equal numbers."
)

#: Fewer clips than this many times the length of a vector, and the bias of a distance does not go with 1 / n yet. Frames of
#: one clip are nearly the same, so clips count, not frames.
_ENOUGH = 2


def compare(
    sources: Sequence[ClipSource],
    networks: Sequence[FeatureExtractor],
    selection: ClipSelection | None = None,
    infinity: bool = False,
    workers: int = 0,
    bar: Any = lambda _: Progress(),
    cache: Path | None = None,
) -> list[DatasetMetrics]:
    """Compare datasets with the last of them.

    Args:
        sources: two or more, the reference last.
        networks: that look at them.
        selection: of clips and frames.
        infinity: extrapolate every distance to infinitely many clips, too.
        workers: processes that read clips.
        bar: from a label to what is told of every clip.
        cache: folder of vectors. None: the user's.

    Returns:
        A record of each source; those but the last have distances.

    Raises:
        ConfigurationError: a source cannot be read at all.
    """
    selection = selection or ClipSelection()
    properties: list[dict[str, Property]] = [{} for _ in sources]
    notes: list[list[str]] = [list(source.notes) for source in sources]
    counts = [0 for _ in sources]
    for network in networks:
        last = extract(sources[-1], network, selection, workers, bar(f"{sources[-1].name}, {network.key}"), cache)
        judge = _ReferenceComparison(network, sources[-1], last, selection, infinity)
        for k, source in enumerate(sources):  # one at a time beside the reference: vectors take memory
            label, reference = f"{source.name}, {network.key}", k == len(sources) - 1
            features = last if reference else extract(source, network, selection, workers, bar(label), cache)
            counts[k] = max(counts[k], features.num_clips)
            if features.unread:
                notes[k].append(describe_unreadable(source.unit, describe_unread(source, features.unread, selection)))
            if features.short and source.kind != "images":
                notes[k].append(
                    f"{network.distance}: fewer than the {network.span} frames that it sees in {features.short:,} of "
                    f"{format_count(features.num_clips, 'clip')}, whose last frame is repeated."
                )
            properties[k] |= judge.properties(source, features, reference=reference)
        notes[-1].append(judge.floor())
    settings = {
        "synvid": __version__,
        **asdict(selection),
        "features": ", ".join(f"{one.key} ({one.digest[:12]})" for one in networks),
    }
    return [
        DatasetMetrics(
            source.name, source.kind, source.path, counts[k], source.preset_name, settings, properties[k], _once(notes[k])
        )
        for k, source in enumerate(sources)
    ]


def _once(sentences: Sequence[str]) -> list[str]:
    return [sentence for sentence in dict.fromkeys(sentences) if sentence]


def _gaussian(features: Features) -> FeatureGaussian | None:
    return FeatureGaussian.of(features.vectors) if len(features.vectors) > 1 else None


class _ReferenceComparison:
    """One network's distances to the reference."""

    def __init__(
        self, network: FeatureExtractor, source: ClipSource, features: Features, selection: ClipSelection, infinity: bool
    ) -> None:
        self.network, self.source, self.features, self.infinity = network, source, features, infinity
        self.selection = selection
        self.gaussian = _gaussian(features)

    def _random(self) -> np.random.Generator:
        return np.random.default_rng(self.selection.seed)

    def properties(self, source: ClipSource, features: Features, reference: bool) -> dict[str, Property]:
        """Of a dataset, by key."""
        key, found = self.network.key, {}
        gaussian = self.gaussian if reference else _gaussian(features)
        if not reference:
            place = distance_key(f"frechet_{key}", self.source.name)
            found[place] = self._distance(source, features, gaussian)
            if self.infinity:
                found[f"{place}_infinity"] = self._at_infinity(source, features)
        if self.network.num_frames is None:
            found[f"diversity_{key}"] = self._diversity(source, features)
            found[f"set_diversity_{key}"] = self._set_diversity(features, gaussian)
        return found

    def _sees_no_clips(self, source: ClipSource) -> bool:
        return self.network.num_frames is not None and "images" in (source.kind, self.source.kind)

    def _distance(self, source: ClipSource, features: Features, gaussian: FeatureGaussian | None) -> Property:
        label = f"{self.network.distance} to {self.source.name}"
        if self._sees_no_clips(source):
            return Property(label, "", None, why="pictures are no clips")
        if gaussian is None or self.gaussian is None:
            return Property(label, "", None, why="one side has a single vector, and so no covariance")
        details = {
            "vectors": [len(features.vectors), len(self.features.vectors)],
            "length": features.vectors.shape[1],
            "definition": _DISTANCE,
        }
        return Property(label, "", frechet_distance(gaussian, self.gaussian), details=details)

    def _at_infinity(self, source: ClipSource, features: Features) -> Property:
        label = f"{self.network.distance} to {self.source.name}, extrapolated to infinitely many clips"
        if self._sees_no_clips(source):
            return Property(label, "", None, why="pictures are no clips")
        length, clips = features.vectors.shape[1], min(features.num_clips, self.features.num_clips)
        needed = round(_ENOUGH * length / min(_SHARES))
        if clips < needed:
            few = f"a side has {format_count(clips, 'clip')}; vectors of {length:,} numbers need {needed:,}"
            return Property(label, "", None, why=few)
        rng, distances = self._random(), []
        for share in _SHARES:
            sides = (FeatureGaussian.of(one.some(share, rng)) for one in (features, self.features))
            distances.append(frechet_distance(*sides))
        value = max(0.0, extrapolate(_SHARES, distances))
        return Property(label, "", value, details={"shares": _SHARES, "distances": distances, "definition": _INFINITY})

    def _diversity(self, source: ClipSource, features: Features) -> Property:
        label = f"Frame diversity of a clip ({self.network.name})"
        wanted = self.selection.frames
        if source.kind == "images" or wanted == 1:
            return Property(label, "nats", None, why="one frame has no diversity")
        ends = np.flatnonzero(np.diff(features.clips)) + 1
        clips = [one for one in np.split(features.vectors, ends) if len(one) == wanted]
        if not clips:
            return Property(label, "nats", None, why=f"no clip has {wanted} frames")
        values = [value for one in clips if (value := log_pseudo_determinant(one)) is not None]
        if not values:
            return Property(label, "nats", None, why="in no clip do the frames differ in all the ways they could")
        estimate = bootstrap(np.array(values)[:, None], column_mean(0), self.selection.seed)
        left = {"too_short": features.num_clips - len(clips), "still": len(clips) - len(values)}
        return Property.from_estimate(label, "nats", estimate, "", clips=len(values), definition=_DIVERSITY, **left)

    def _set_diversity(self, features: Features, gaussian: FeatureGaussian | None) -> Property:
        label, length = f"Frame diversity of the set ({self.network.name})", features.vectors.shape[1]
        value = None if gaussian is None else gaussian.log_determinant(max(length // 2, 1))
        why = f"its frames differ in less than half of the {length:,} directions" if value is None else ""
        return Property(label, "nats", value, why=why, details={"definition": _SET_DIVERSITY})

    def floor(self) -> str:
        """How far the reference is from itself, where it is cut in two: what a distance means."""
        known = np.unique(self.features.clips)
        order = self._random().permutation(known)
        halves = [self.features.vectors[np.isin(self.features.clips, half)] for half in np.array_split(order, 2) if len(half)]
        if len(halves) < 2 or min(map(len, halves)) < 2:
            return ""
        value = frechet_distance(*(FeatureGaussian.of(half) for half in halves))
        return f"{self.network.distance} between two halves of it, {min(map(len, halves)):,} vectors each: {value:.4g}."
