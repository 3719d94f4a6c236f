"""Measure one source of clips: every clip is passed to each metric, and their results are collected."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from synvid.errors import ConfigurationError, DatasetError
from synvid.formatting import describe_unreadable, format_count
from synvid.metrics.bootstrap import NUM_RESAMPLES
from synvid.metrics.clip_metrics import ClipMetric, ColorMetric, ObjectMetric, PixelMetric, SpectrumMetric
from synvid.metrics.color import ColorGaussian
from synvid.metrics.results import DatasetMetrics, Property, Sample
from synvid.runtime.progress import Progress
from synvid.sources.base import ClipSource
from synvid.version import __version__
from synvid.video.display import shrink_frames
from synvid.video.encode import encode

__all__ = ["color_reference", "measure"]


_SAMPLE_SIDE = 128  # pixels


def measure(
    source: ClipSource,
    max_clips: int = 1000,
    pairs_per_clip: int = 4,
    seed: int = 0,
    reference: tuple[str, ColorGaussian] | None = None,
    samples: int = 2,
    progress: Progress | None = None,
) -> DatasetMetrics:
    """Measure a source of clips.

    Memory holds the frames of one clip, and a row of a few hundred numbers for each.

    Args:
        source: the clips, from `resolve_source`.
        max_clips: max number of clips; a random subset that depends on the seed only.
        pairs_per_clip: number of pairs of consecutive frames in each clip, evenly spread.
        seed: random seed of the subset and of the bootstrap.
        reference: name and Gaussian of the colours to which a distance is measured.
        samples: number of sample clips to keep.
        progress: progress callback, called after each clip.

    Raises:
        ConfigurationError: no clip can be read.
    """
    progress = progress or Progress()
    metrics: list[ClipMetric] = [
        SpectrumMetric(), ColorMetric(reference), PixelMetric(pairs_per_clip), ObjectMetric(pairs_per_clip)
    ]  # fmt: skip
    kept: list[Sample] = []
    unreadable: list[str] = []
    last_error: DatasetError | None = None
    count, total = 0, max_clips if source.num_clips is None else min(max_clips, source.num_clips)
    progress.start(total, 0, source.unit)
    try:
        for key in source.keys(seed):
            if count == max_clips:
                break
            try:
                clip = source.read_pairs(key, pairs_per_clip)
                if len(kept) < samples:
                    kept.append(_make_sample(source, key))
            except DatasetError as error:
                unreadable.append(str(error).partition(": ")[0])
                last_error = error
                continue
            for metric in metrics:
                metric.add(clip)
            count += 1
            progress.update(count)
    finally:
        progress.finish()
    if not count:
        raise _no_clip_error(source, last_error)
    properties: dict[str, Property] = {}
    for metric in metrics:
        properties |= metric.properties(seed)
    return DatasetMetrics(
        name=source.name,
        kind=source.kind,
        source=source.path,
        clips=count,
        preset=source.preset_name,
        settings=_settings(max_clips, pairs_per_clip, seed),
        properties=properties,
        notes=[*source.notes, *([describe_unreadable(source.unit, sorted(unreadable))] if unreadable else [])],
        samples=kept,
    )


def _no_clip_error(source: ClipSource, last_error: DatasetError | None) -> ConfigurationError:
    if source.num_clips == 1:
        name, _, why = str(last_error).partition(": ")
        return ConfigurationError(f"{source.path}: {why if source.path.endswith(name) else last_error}")
    last = f"; the last error was: {str(last_error).rstrip('.')}" if last_error else ""
    return ConfigurationError(
        f"{source.path}: none of its {format_count(source.num_clips or 0, source.unit)} can be read{last}."
    )


def _settings(max_clips: int, pairs_per_clip: int, seed: int) -> dict[str, Any]:
    return {
        "synvid": __version__,
        "max_clips": max_clips,
        "pairs_per_clip": pairs_per_clip,
        "seed": seed,
        "bootstrap": NUM_RESAMPLES,
    }


def _make_sample(source: ClipSource, key: Any) -> Sample:
    frames, fps, caption = source.preview(key)
    small = shrink_frames(frames, _SAMPLE_SIDE)
    if source.kind == "images":
        file = io.BytesIO()
        Image.fromarray(small[0]).save(file, "jpeg", quality=85)
        return Sample("image/jpeg", base64.b64encode(file.getvalue()).decode(), caption)
    return Sample("video/mp4", base64.b64encode(encode(small, fps, "small")).decode(), caption)


def color_reference(metrics: DatasetMetrics, where: str) -> tuple[str, ColorGaussian]:
    """Return the name and the Gaussian of colours of a measured dataset.

    Args:
        metrics: metrics of the reference dataset.
        where: its file or option, for the error message.

    Raises:
        ConfigurationError: the metrics have no colours.
    """
    details = metrics.properties["color_spread"].details if "color_spread" in metrics.properties else {}
    try:
        mean, covariance = np.array(details["mean"], np.float64), np.array(details["covariance"], np.float64)
        if mean.shape != (3,) or covariance.shape != (3, 3) or not np.isfinite([*mean, *covariance.ravel()]).all():
            raise ValueError
    except (KeyError, ValueError, TypeError):
        raise ConfigurationError(
            f"{where}: has no colours of {metrics.name}; `synvid stats --out FILE.json` writes them."
        ) from None
    return metrics.name, ColorGaussian(mean[None], covariance[None])
