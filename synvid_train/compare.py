"""How far datasets are apart, as a network sees them, and how diverse each is (section 5.3 of the paper).

synvid-train compare moving_shapes jhmdb/videos --out compared.json
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from synvid import __version__
from synvid._jit import cache_home
from synvid.errors import ConfigurationError, DatasetError
from synvid.measure.bootstrap import bootstrap, mean_of
from synvid.measure.record import Property, Record
from synvid.measure.source import Source
from synvid.work.progress import Progress
from synvid.work.words import counted, unreadable
from synvid_train.checkpoint import read_tensors, write_safetensors
from synvid_train.clips import load
from synvid_train.frechet import Gaussian, extrapolate, frechet_distance, log_pseudo_determinant
from synvid_train.networks import Network
from synvid_train.views import sample_window

__all__ = ["Features", "Selection", "compare", "extract"]

log = logging.getLogger("synvid")

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


@dataclass(frozen=True)
class Selection:
    """Which clips and frames of a source are looked at; the same ones each time.

    Attributes:
        max_clips: at most so many, a random subset.
        frames: of each clip, evenly spread; the paper takes 16.
        seed: of the subset, and of where the windows begin that a network of clips sees.
    """

    max_clips: int = 1000
    frames: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Features:
    """What a network sees in a source.

    Attributes:
        vectors: float32 (n, D), of frames or of clips.
        clips: int64 (n,), the clip that each is of, ascending.
        unread: the places of those that could not be read.
    """

    vectors: NDArray[np.float32]
    clips: NDArray[np.int64]
    unread: tuple[int, ...] = ()

    @property
    def num_clips(self) -> int:
        """How many clips they are of."""
        return len(np.unique(self.clips))

    def some(self, share: float, rng: np.random.Generator) -> NDArray[np.float32]:
        """The vectors of a share of the clips, at random."""
        known = np.unique(self.clips)
        chosen = rng.permutation(known)[: max(round(share * len(known)), 1)]
        return self.vectors[np.isin(self.clips, chosen)]


# ---- Extraction ---------------------------------------------------------------------------------------------------
class _Chosen(Dataset[dict[str, Any]]):
    """The frames of each clip that a network sees, read in the loader's processes."""

    def __init__(self, source: Source, keys: Sequence[Any], network: Network, selection: Selection) -> None:
        self.source, self.keys, self.network, self.selection = source, keys, network, selection

    def __getitem__(self, place: int) -> dict[str, Any]:
        try:
            return {"place": place, "frames": self.source.take(self.keys[place], self._choice(place)).frames}
        except DatasetError as error:
            return {"place": place, "unread": str(error)}

    def _choice(self, place: int) -> Any:
        network, selection = self.network, self.selection
        if network.num_frames is None:
            return lambda length: sorted({int(t) for t in np.linspace(0, length - 1, selection.frames).round()})
        count, rng = network.num_frames, np.random.default_rng((selection.seed, place))
        return lambda length: sample_window(length, count, network.stride, rng)


def extract(
    source: Source,
    network: Network,
    selection: Selection,
    workers: int = 0,
    progress: Progress | None = None,
    cache: Path | None = None,
) -> Features:
    """What a network sees in a source; from the cache, where the same clips have met the same network before.

    Args:
        source: from `find_source`.
        network: from `find_network`.
        selection: of clips and frames.
        workers: processes that read clips.
        progress: told of every clip.
        cache: folder of vectors. None: the user's.

    Raises:
        ConfigurationError: not one clip can be read.
    """
    keys = list(islice(source.keys(selection.seed), selection.max_clips))
    path = (cache or cache_home() / "synvid" / "features") / f"{_identity(source, keys, network, selection)}.safetensors"
    known = _read(path)
    if known is not None:
        return known
    progress = progress or Progress()
    progress.start(len(keys), 0, "picture" if source.kind == "images" else "clip")
    vectors, clips, unread, reason = [], [], [], ""
    batches = ([place] for place in range(len(keys)))
    try:
        for sample in load(_Chosen(source, keys, network, selection), batches, workers, torch.device("cpu"), _only):
            if "unread" in sample:
                unread.append(sample["place"])
                reason = sample["unread"]
                continue
            found = _vectors(network, sample["frames"])
            vectors.append(found)
            clips.append(np.full(len(found), sample["place"]))
            progress.update(sample["place"] + 1)
    except RuntimeError as error:
        if "exited unexpectedly" not in str(error) and "killed by signal" not in str(error):
            raise
        raise DatasetError(
            "a process that reads clips has died, of too little memory perhaps; --workers 0 has none."
        ) from error
    finally:
        progress.finish()
    if not vectors:
        raise ConfigurationError(
            f"{source.path}: none of its {counted(len(keys), 'clip')} can be read; the last one: {reason}"
        )
    features = Features(np.concatenate(vectors), np.concatenate(clips), tuple(unread))
    _write(path, features)
    return features


def _names(source: Source, places: Sequence[int], selection: Selection) -> list[str]:
    """What the clips are called that cannot be read."""
    keys, names = list(islice(source.keys(selection.seed), selection.max_clips)), []
    for place in places:
        try:
            source.take(keys[place], lambda _: [0])
            names.append(f"clip {place}")
        except DatasetError as error:
            names.append(str(error).partition(": ")[0])
    return sorted(names)


@torch.no_grad()
def _vectors(network: Network, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    found = network.features(frames).float().cpu().numpy()
    if not np.isfinite(found).all():
        raise ConfigurationError(f"{network.distance}: the network gives numbers that are not finite.")
    return np.asarray(found, np.float32)


def _only(batch: list[dict[str, Any]]) -> dict[str, Any]:
    return batch[0]


def _identity(source: Source, keys: Sequence[Any], network: Network, selection: Selection) -> str:
    """By what the clips are made of, the network, and what it looks at."""
    looks = f"{__version__} {source.kind} {network.digest} {network.num_frames} {network.stride} {selection}"
    digest = hashlib.sha256(looks.encode())
    for key in keys:
        with contextlib.suppress(DatasetError):  # it will be named when it is read
            digest.update(source.digest(key).encode())
        digest.update(b";")
    return digest.hexdigest()


# ---- The cache ----------------------------------------------------------------------------------------------------
def _read(path: Path) -> Features | None:
    """What lies there, if it is whole."""
    if not path.is_file():
        return None
    try:
        tensors, metadata = read_tensors(path)
        return Features(tensors["vectors"].numpy(), tensors["clips"].numpy(), tuple(json.loads(metadata["unread"])))
    except (ConfigurationError, KeyError, ValueError, OSError):
        return None


def _write(path: Path, features: Features) -> None:
    """Keep them; where that cannot be, say so and go on."""
    tensors = {"vectors": torch.from_numpy(features.vectors), "clips": torch.from_numpy(features.clips)}
    try:
        write_safetensors(path, tensors, {"unread": json.dumps(features.unread)})
    except DatasetError as error:
        log.warning("The features are not kept for the next time: %s", error)


# ---- Comparison ---------------------------------------------------------------------------------------------------
def compare(
    sources: Sequence[Source],
    networks: Sequence[Network],
    selection: Selection | None = None,
    infinity: bool = False,
    workers: int = 0,
    bar: Any = lambda _: Progress(),
    cache: Path | None = None,
) -> list[Record]:
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
    selection = selection or Selection()
    properties: list[dict[str, Property]] = [{} for _ in sources]
    notes: list[list[str]] = [list(source.notes) for source in sources]
    counts = [0 for _ in sources]
    for network in networks:
        last = extract(sources[-1], network, selection, workers, bar(f"{sources[-1].name}, {network.key}"), cache)
        judge = _Judge(network, sources[-1], last, selection, infinity)
        for k, source in enumerate(sources):  # one at a time beside the reference: vectors take memory
            label, reference = f"{source.name}, {network.key}", k == len(sources) - 1
            features = last if reference else extract(source, network, selection, workers, bar(label), cache)
            counts[k] = max(counts[k], features.num_clips)
            if features.unread:
                notes[k].append(unreadable("clip", _names(source, features.unread, selection)))
            properties[k] |= judge.properties(source, features, reference=reference)
        notes[-1].append(judge.floor())
    settings = {
        "synvid": __version__,
        **asdict(selection),
        "features": ", ".join(f"{one.key} ({one.digest[:12]})" for one in networks),
    }
    return [
        Record(source.name, source.kind, source.path, counts[k], source.preset, settings, properties[k], _once(notes[k]))
        for k, source in enumerate(sources)
    ]


def _once(sentences: Sequence[str]) -> list[str]:
    return [sentence for sentence in dict.fromkeys(sentences) if sentence]


class _Judge:
    """One network's distances to the reference."""

    def __init__(self, network: Network, source: Source, features: Features, selection: Selection, infinity: bool) -> None:
        self.network, self.source, self.features, self.infinity = network, source, features, infinity
        self.name = source.name
        self.selection = selection
        self.gaussian = self._gaussian(features.vectors)

    @staticmethod
    def _gaussian(vectors: NDArray[np.float32]) -> Gaussian | None:
        return Gaussian.of(vectors) if len(vectors) > 1 else None

    def _random(self) -> np.random.Generator:
        return np.random.default_rng(self.selection.seed)

    def properties(self, source: Source, features: Features, reference: bool) -> dict[str, Property]:
        """Of a dataset, by key."""
        key, found = self.network.key, {}
        if not reference:
            place = f"frechet_{key}_to_{re.sub('[^a-z0-9]+', '_', self.name.lower()).strip('_')}"
            found[place] = self._distance(source, features)
            if self.infinity:
                found[f"{place}_infinity"] = self._at_infinity(source, features)
        if self.network.num_frames is None:
            found[f"diversity_{key}"] = self._diversity(source, features)
            found[f"set_diversity_{key}"] = self._set_diversity(features)
        return found

    def _sees_no_clips(self, source: Source) -> bool:
        return self.network.num_frames is not None and "images" in (source.kind, self.source.kind)

    def _distance(self, source: Source, features: Features) -> Property:
        label, gaussian = f"{self.network.distance} to {self.name}", self._gaussian(features.vectors)
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

    def _at_infinity(self, source: Source, features: Features) -> Property:
        label = f"{self.network.distance} to {self.name}, extrapolated to infinitely many clips"
        if self._sees_no_clips(source):
            return Property(label, "", None, why="pictures are no clips")
        length, clips = features.vectors.shape[1], min(features.num_clips, self.features.num_clips)
        needed = round(_ENOUGH * length / min(_SHARES))
        if clips < needed:
            few = f"a side has {counted(clips, 'clip')}; vectors of {length:,} numbers need {needed:,}"
            return Property(label, "", None, why=few)
        rng, distances = self._random(), []
        for share in _SHARES:
            sides = (Gaussian.of(one.some(share, rng)) for one in (features, self.features))
            distances.append(frechet_distance(*sides))
        value = max(0.0, extrapolate(_SHARES, distances))
        return Property(label, "", value, details={"shares": _SHARES, "distances": distances, "definition": _INFINITY})

    def _diversity(self, source: Source, features: Features) -> Property:
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
        estimate = bootstrap(np.array(values)[:, None], mean_of(0), self.selection.seed)
        left = {"too_short": features.num_clips - len(clips), "still": len(clips) - len(values)}
        return Property.of(label, "nats", estimate, "", clips=len(values), definition=_DIVERSITY, **left)

    def _set_diversity(self, features: Features) -> Property:
        label, length = f"Frame diversity of the set ({self.network.name})", features.vectors.shape[1]
        gaussian = self._gaussian(features.vectors)
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
        value = frechet_distance(*(Gaussian.of(half) for half in halves))
        return f"{self.network.distance} between two halves of it, {min(map(len, halves)):,} vectors each: {value:.4g}."
