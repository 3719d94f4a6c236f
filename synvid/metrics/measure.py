"""Measuring one source of clips: a stream of clips goes by all meters, and a record remains."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from synvid.errors import ConfigurationError, DatasetError
from synvid.formatting import describe_unreadable, format_count
from synvid.metrics.bootstrap import REPEATS
from synvid.metrics.clip_metrics import ClipMetric, ColorMetric, ObjectMetric, PixelMetric, SpectrumMetric
from synvid.metrics.color import ColorGaussian
from synvid.metrics.results import DatasetMetrics, Property, Sample
from synvid.runtime.progress import Progress
from synvid.sources.base import ClipSource
from synvid.version import __version__
from synvid.video.display import shrink_frames
from synvid.video.encode import encode

__all__ = ["gaussian_of", "measure"]


_SAMPLE_SIDE = 128  # pixels


def measure(
    source: ClipSource,
    max_clips: int = 1000,
    moments: int = 4,
    seed: int = 0,
    against: tuple[str, ColorGaussian] | None = None,
    samples: int = 2,
    progress: Progress | None = None,
) -> DatasetMetrics:
    """Measure a source of clips.

    Memory holds the frames of one clip and a row of some hundred numbers for each.

    Args:
        source: from `find_source`.
        max_clips: at most so many, a random subset, the same one each time.
        moments: of each clip, evenly spread; each is two consecutive frames.
        seed: of the subset and of the bootstrap.
        against: name and Gaussian of the colours that a distance is asked to.
        samples: clips to keep, to look at.
        progress: told of every clip.

    Raises:
        ConfigurationError: not one clip can be read.
    """
    progress = progress or Progress()
    meters: list[ClipMetric] = [SpectrumMetric(), ColorMetric(against), PixelMetric(moments), ObjectMetric(moments)]
    shown: list[Sample] = []
    failed: list[str] = []
    reason: DatasetError | None = None
    count, wanted = 0, max_clips if source.num_clips is None else min(max_clips, source.num_clips)
    progress.start(wanted, 0, source.unit)
    try:
        for key in source.keys(seed):
            if count == max_clips:
                break
            try:
                clip = source.read_pairs(key, moments)
                if len(shown) < samples:
                    shown.append(_sample(source, key))
            except DatasetError as error:
                failed.append(str(error).partition(": ")[0])
                reason = error
                continue
            for meter in meters:
                meter.add(clip)
            count += 1
            progress.update(count)
    finally:
        progress.finish()
    if not count and source.num_clips == 1:
        name, _, why = str(reason).partition(": ")
        raise ConfigurationError(f"{source.path}: {why if source.path.endswith(name) else reason}")
    if not count:
        rest = f"; the last one: {str(reason).rstrip('.')}" if reason else ""
        raise ConfigurationError(
            f"{source.path}: none of its {format_count(source.num_clips or 0, source.unit)} can be read{rest}."
        )
    properties: dict[str, Property] = {}
    for meter in meters:
        properties |= meter.properties(seed)
    return DatasetMetrics(
        name=source.name,
        kind=source.kind,
        source=source.path,
        clips=count,
        preset=source.preset_name,
        settings=_settings(max_clips, moments, seed),
        properties=properties,
        notes=[*source.notes, *([describe_unreadable(source.unit, sorted(failed))] if failed else [])],
        samples=shown,
    )


def _settings(max_clips: int, moments: int, seed: int) -> dict[str, Any]:
    return {"synvid": __version__, "max_clips": max_clips, "moments": moments, "seed": seed, "bootstrap": REPEATS}


def _sample(source: ClipSource, key: Any) -> Sample:
    frames, fps, caption = source.preview(key)
    small = shrink_frames(frames, _SAMPLE_SIDE)
    if source.kind == "images":
        file = io.BytesIO()
        Image.fromarray(small[0]).save(file, "jpeg", quality=85)
        return Sample("image/jpeg", base64.b64encode(file.getvalue()).decode(), caption)
    return Sample("video/mp4", base64.b64encode(encode(small, fps, "small")).decode(), caption)


def gaussian_of(record: DatasetMetrics, where: str) -> tuple[str, ColorGaussian]:
    """Name and colours of what was measured before.

    Args:
        record: of the reference.
        where: what an error calls it.

    Raises:
        ConfigurationError: its colours were not measured.
    """
    details = record.properties["color_spread"].details if "color_spread" in record.properties else {}
    try:
        mean, covariance = np.array(details["mean"], np.float64), np.array(details["covariance"], np.float64)
        if mean.shape != (3,) or covariance.shape != (3, 3) or not np.isfinite([*mean, *covariance.ravel()]).all():
            raise ValueError
    except (KeyError, ValueError, TypeError):
        raise ConfigurationError(
            f"{where}: has no colours of {record.name}; `synvid stats --out FILE.json` writes them."
        ) from None
    return record.name, ColorGaussian(mean[None], covariance[None])
