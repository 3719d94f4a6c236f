"""Extract feature vectors from a sample of a dataset's clips, with a cache on disk."""

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

__all__ = ["ClipSelection", "Features", "describe_unreadable_clips", "extract_features"]


log = logging.getLogger("synvid")


@dataclass(frozen=True)
class ClipSelection:
    """Which clips and frames of a source to use.

    Attributes:
        max_clips: maximum number of clips; a random subset is used if there are more.
        frames: evenly spaced frames per clip for a network of single frames; the paper uses 16.
        seed: random seed of the subset, and of the start of the windows for a network of clips.
    """

    max_clips: int = 1000
    frames: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Features:
    """Feature vectors of a source.

    Attributes:
        vectors: float32 (n, D), of frames or of clips.
        clips: int64 (n,), index of the clip of each vector, ascending.
        unreadable: indices of clips that could not be read.
        num_short: number of clips with fewer frames than the network's window, whose last frame was repeated.
    """

    vectors: NDArray[np.float32]
    clips: NDArray[np.int64]
    unreadable: tuple[int, ...] = ()
    num_short: int = 0

    @property
    def num_clips(self) -> int:
        """Number of clips with vectors."""
        return len(np.unique(self.clips))

    def sample_clips(self, fraction: float, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the vectors of a random fraction of the clips."""
        clips = np.unique(self.clips)
        sampled = rng.permutation(clips)[: max(round(fraction * len(clips)), 1)]
        return self.vectors[np.isin(self.clips, sampled)]


# ---- Extraction ---------------------------------------------------------------------------------------------------
class _SelectedFrames(Dataset[dict[str, Any]]):
    """Frames of each clip for a network, read in worker processes; without the network, which cannot be pickled."""

    def __init__(self, source: ClipSource, keys: Sequence[Any], extractor: FeatureExtractor, selection: ClipSelection) -> None:
        self.source, self.keys, self.selection = source, keys, selection
        self.num_frames, self.stride, self.span = extractor.num_frames, extractor.stride, extractor.span

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            selected = self.source.read_frames(self.keys[index], self._frame_chooser(index))
        except DatasetError as error:
            return {"index": index, "read_error": str(error)}
        return {"index": index, "frames": selected.frames, "is_short": selected.num_frames < self.span}

    def _frame_chooser(self, index: int) -> FrameChooser:
        count, stride, selection = self.num_frames, self.stride, self.selection
        if count is None:
            return lambda length: sorted({int(t) for t in np.linspace(0, length - 1, selection.frames).round()})
        rng = np.random.default_rng((selection.seed, index))
        return lambda length: sample_window(length, count, stride, rng)


def extract_features(
    source: ClipSource,
    extractor: FeatureExtractor,
    selection: ClipSelection,
    workers: int = 0,
    progress: Progress | None = None,
    cache: Path | None = None,
) -> Features:
    """Return the feature vectors of a source, from the cache if they were computed before for the same clips.

    Args:
        source: source of the clips.
        extractor: the network.
        selection: clips and frames to use.
        workers: number of worker processes that read clips.
        progress: called for each clip.
        cache: cache folder. None: the user's.

    Raises:
        ConfigurationError: no clip can be read, or the network's output is invalid.
    """
    keys = list(islice(source.keys(selection.seed), selection.max_clips))
    path = (cache or cache_folder() / "features") / f"{_cache_key(source, keys, extractor, selection)}.safetensors"
    cached = _read_cache(path)
    if cached is not None:
        return cached
    progress = progress or Progress()
    progress.start(len(keys), 0, source.unit)
    vectors, clips, unreadable, last_error, num_short = [], [], [], "", 0
    dataset = _SelectedFrames(source, keys, extractor, selection)
    try:
        samples = load_samples(dataset, range(len(keys)), workers, torch.device("cpu"))
        with catch_worker_death(), closing(samples):
            for sample in samples:
                progress.update(sample["index"] + 1)
                if "read_error" in sample:
                    unreadable.append(sample["index"])
                    last_error = sample["read_error"]
                    continue
                num_short += sample["is_short"]
                clip_vectors = _run_network(extractor, sample["frames"])
                vectors.append(clip_vectors)
                clips.append(np.full(len(clip_vectors), sample["index"]))
    finally:
        progress.finish()
    if not vectors:
        raise ConfigurationError(
            f"{source.path}: none of its {format_count(len(keys), source.unit)} can be read; the last error: {last_error}"
        )
    features = Features(np.concatenate(vectors), np.concatenate(clips), tuple(unreadable), num_short)
    _write_cache(path, features)
    return features


def describe_unreadable_clips(source: ClipSource, indices: Sequence[int], selection: ClipSelection) -> list[str]:
    """Return the names of clips that cannot be read, from the error that reading them raises."""
    keys, names = list(islice(source.keys(selection.seed), selection.max_clips)), []
    for index in indices:
        try:
            source.read_frames(keys[index], lambda _: [0])
            names.append(f"clip {index}")
        except DatasetError as error:
            names.append(str(error).partition(": ")[0])
    return sorted(names)


@torch.no_grad()
def _run_network(extractor: FeatureExtractor, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    vectors = extractor.features(frames).float().cpu().numpy()
    if not np.isfinite(vectors).all():
        raise ConfigurationError(f"{extractor.distance_name}: the network returns values that are not finite.")
    return np.asarray(vectors, np.float32)


# ---- Cache --------------------------------------------------------------------------------------------------------
def _cache_key(source: ClipSource, keys: Sequence[Any], extractor: FeatureExtractor, selection: ClipSelection) -> str:
    """Hash the contents of the clips, the network and the selection."""
    settings = f"{__version__} {source.kind} {extractor.digest} {extractor.num_frames} {extractor.stride} {selection}"
    digest = hashlib.sha256(settings.encode())
    for key in keys:
        with contextlib.suppress(DatasetError):  # reported when the clip is read
            digest.update(source.digest(key).encode())
        digest.update(b";")
    return digest.hexdigest()


def _read_cache(path: Path) -> Features | None:
    """Return cached features; None if there are none or the file is damaged."""
    if not path.is_file():
        return None
    try:
        tensors, metadata = read_tensors(path)
        unreadable, num_short = tuple(json.loads(metadata["unreadable"])), int(metadata["num_short"])
        return Features(tensors["vectors"].numpy(), tensors["clips"].numpy(), unreadable, num_short)
    except (ConfigurationError, KeyError, ValueError, OSError):
        return None


def _write_cache(path: Path, features: Features) -> None:
    """Write features to the cache; log a warning if that fails."""
    tensors = {"vectors": torch.from_numpy(features.vectors), "clips": torch.from_numpy(features.clips)}
    metadata = {"unreadable": json.dumps(features.unreadable), "num_short": str(features.num_short)}
    try:
        write_safetensors(path, tensors, metadata)
    except DatasetError as error:
        log.warning("Features were not cached: %s", error)
