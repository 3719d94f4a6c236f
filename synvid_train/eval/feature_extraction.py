"""What a network sees in a dataset: some frames of some clips as vectors, by way of a cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from synvid.errors import ConfigurationError, DatasetError
from synvid.formatting import format_count
from synvid.paths import cache_folder
from synvid.runtime.progress import Progress
from synvid.sources.base import ClipSource, FrameChooser
from synvid.version import __version__
from synvid_train.data.loader import catch_worker_death, load_samples
from synvid_train.data.transforms import sample_window
from synvid_train.eval.feature_extractors import FeatureExtractor
from synvid_train.model.tensor_files import read_tensors, write_safetensors

__all__ = ["ClipSelection", "Features", "describe_unread", "extract"]


log = logging.getLogger("synvid")


@dataclass(frozen=True)
class ClipSelection:
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
        short: how many clips have fewer frames than a network of clips sees, so that their last one is repeated.
    """

    vectors: NDArray[np.float32]
    clips: NDArray[np.int64]
    unread: tuple[int, ...] = ()
    short: int = 0

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
    """The frames of each clip that a network sees, read in the loader's processes, to which no network can be sent."""

    def __init__(self, source: ClipSource, keys: Sequence[Any], network: FeatureExtractor, selection: ClipSelection) -> None:
        self.source, self.keys, self.selection = source, keys, selection
        self.num_frames, self.stride, self.span = network.num_frames, network.stride, network.span

    def __getitem__(self, place: int) -> dict[str, Any]:
        try:
            taken = self.source.take(self.keys[place], self._choice(place))
        except DatasetError as error:
            return {"place": place, "unread": str(error)}
        return {"place": place, "frames": taken.frames, "short": taken.num_frames < self.span}

    def _choice(self, place: int) -> FrameChooser:
        count, stride, selection = self.num_frames, self.stride, self.selection
        if count is None:
            return lambda length: sorted({int(t) for t in np.linspace(0, length - 1, selection.frames).round()})
        rng = np.random.default_rng((selection.seed, place))
        return lambda length: sample_window(length, count, stride, rng)


def extract(
    source: ClipSource,
    network: FeatureExtractor,
    selection: ClipSelection,
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
    path = (cache or cache_folder() / "features") / f"{_identity(source, keys, network, selection)}.safetensors"
    known = _read(path)
    if known is not None:
        return known
    progress = progress or Progress()
    progress.start(len(keys), 0, source.what)
    vectors, clips, unread, reason, short = [], [], [], "", 0
    chosen = _Chosen(source, keys, network, selection)
    try:
        samples = load_samples(chosen, range(len(keys)), workers, torch.device("cpu"))
        with catch_worker_death(), closing(samples):
            for sample in samples:
                progress.update(sample["place"] + 1)
                if "unread" in sample:
                    unread.append(sample["place"])
                    reason = sample["unread"]
                    continue
                short += sample["short"]
                found = _vectors(network, sample["frames"])
                vectors.append(found)
                clips.append(np.full(len(found), sample["place"]))
    finally:
        progress.finish()
    if not vectors:
        raise ConfigurationError(
            f"{source.path}: none of its {format_count(len(keys), source.what)} can be read; the last one: {reason}"
        )
    features = Features(np.concatenate(vectors), np.concatenate(clips), tuple(unread), short)
    _write(path, features)
    return features


def describe_unread(source: ClipSource, places: Sequence[int], selection: ClipSelection) -> list[str]:
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
def _vectors(network: FeatureExtractor, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    found = network.features(frames).float().cpu().numpy()
    if not np.isfinite(found).all():
        raise ConfigurationError(f"{network.distance}: the network gives numbers that are not finite.")
    return np.asarray(found, np.float32)


def _identity(source: ClipSource, keys: Sequence[Any], network: FeatureExtractor, selection: ClipSelection) -> str:
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
        unread, short = tuple(json.loads(metadata["unread"])), int(metadata["short"])
        return Features(tensors["vectors"].numpy(), tensors["clips"].numpy(), unread, short)
    except (ConfigurationError, KeyError, ValueError, OSError):
        return None


def _write(path: Path, features: Features) -> None:
    """Keep them; where that cannot be, say so and go on."""
    tensors = {"vectors": torch.from_numpy(features.vectors), "clips": torch.from_numpy(features.clips)}
    try:
        write_safetensors(path, tensors, {"unread": json.dumps(features.unread), "short": str(features.short)})
    except DatasetError as error:
        log.warning("The features are not kept for the next time: %s", error)
