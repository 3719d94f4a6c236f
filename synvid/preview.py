"""Previews of presets: a contact sheet, a video of several clips, and an HTML page that plays clips of all presets."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from synvid.errors import ConfigurationError
from synvid.preset import REAL, Preset
from synvid.renderer import render
from synvid.runtime.progress import Progress
from synvid.scene.sample import sample_scene
from synvid.scene.scene import Scene
from synvid.templates import load_template
from synvid.textures.bank import Bank
from synvid.video.display import shrink_frames, video_tag
from synvid.video.encode import encode

__all__ = ["SUFFIXES", "contact_sheet", "encode_preview", "preset_page", "side_by_side", "texture_sheet"]


#: Formats of a preview: a contact sheet, a video, an animation.
SUFFIXES = (".png", ".mp4", ".gif")

_GAP, _LABEL_HEIGHT = 4, 18  # pixels
_INK, _PAPER = (40, 40, 40), (255, 255, 255)
_MAX_FRAMES = 100


def contact_sheet(
    presets: Sequence[Preset], clips: int = 4, columns: int = 8, seed: int = 0, side: int = 128
) -> NDArray[np.uint8]:
    """Draw frames of several clips: one row per clip, time from left to right.

    Args:
        presets: presets, one group of rows each.
        clips: number of clips of each preset.
        columns: number of frames of each clip, evenly spread.
        seed: random seed of the clips.
        side: longest side of a frame in the sheet, pixels.

    Returns:
        uint8 (H, W, 3).
    """
    rows = []
    for preset in presets:
        for scene in _sample_scenes(preset, clips, seed):
            times = np.linspace(0, scene.num_frames - 1, columns).round().astype(int).tolist()
            label = f"{preset.name}  seed {seed}  index {scene.index}  frames {', '.join(map(str, times))}"
            rows.append((label, shrink_frames(render(scene, times).frames, side)))
    width = max(frames.shape[0] * (frames.shape[2] + _GAP) - _GAP for _, frames in rows)
    height = sum(frames.shape[1] + _LABEL_HEIGHT + _GAP for _, frames in rows) - _GAP
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw, font, y = ImageDraw.Draw(sheet), ImageFont.load_default(12), 0
    for label, frames in rows:
        draw.text((0, y + 1), _shorten(label, width, font), fill=_INK, font=font)
        y += _LABEL_HEIGHT
        for column, frame in enumerate(frames):
            sheet.paste(Image.fromarray(frame), (column * (frame.shape[1] + _GAP), y))
        y += frames.shape[1] + _GAP
    return np.asarray(sheet)


def _shorten(label: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the label, cut to the width of the sheet in pixels."""
    while font.getlength(label) > width and len(label) > 4:
        label = label[:-4] + "..."
    return label


def texture_sheet(bank: Bank, columns: int = 12, rows: int = 8, side: int = 96) -> bytes:
    """Draw textures of a bank, evenly spread, and return a PNG file; each row shows one texture over time if they move."""
    header = bank.header
    if header.frames > 1:
        rows = min(rows, header.n)
        times = np.linspace(0, header.frames - 1, min(columns, header.frames)).astype(int)
        textures = [bank.textures[k, t] for k in np.linspace(0, header.n - 1, rows).astype(int) for t in times]
        columns = len(times)
    else:
        indices = np.linspace(0, header.n - 1, min(rows * columns, header.n)).astype(int)
        textures = [bank.textures[k, 0] for k in indices]
    height = -(-len(textures) // columns)
    sheet = Image.new("RGB", (columns * (side + _GAP) - _GAP, height * (side + _GAP) - _GAP), _PAPER)
    for position, texture in enumerate(textures):
        image = Image.fromarray(np.ascontiguousarray(texture)).resize((side, side), Image.Resampling.BOX)
        sheet.paste(image, (position % columns * (side + _GAP), position // columns * (side + _GAP)))
    file = io.BytesIO()
    sheet.save(file, "png")
    return file.getvalue()


def side_by_side(presets: Sequence[Preset], clips: int = 4, seed: int = 0, side: int = 256) -> NDArray[np.uint8]:
    """Draw a video of clips next to each other, one row per preset; it has the length of the shortest clip, max 100 frames.

    Returns:
        uint8 (T, H, W, 3).
    """
    scenes = [_sample_scenes(preset, clips, seed) for preset in presets]
    length = min(_MAX_FRAMES, *(scene.num_frames for row in scenes for scene in row))
    clip_frames = [[shrink_frames(render(scene, range(length)).frames, side) for scene in row] for row in scenes]
    height, width = max(row[0].shape[1] for row in clip_frames), max(row[0].shape[2] for row in clip_frames)
    video = np.full((length, len(clip_frames) * (height + _GAP) - _GAP, clips * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for i, row in enumerate(clip_frames):
        for j, frames in enumerate(row):
            y, x = i * (height + _GAP), j * (width + _GAP)
            video[:, y : y + frames.shape[1], x : x + frames.shape[2]] = frames
    return video


def encode_preview(suffix: str, presets: Sequence[Preset], clips: int, columns: int, seed: int) -> bytes:
    """Return a preview as the bytes of a file.

    Args:
        suffix: one of `SUFFIXES`.
        presets, clips, columns, seed: as in `contact_sheet`.

    Raises:
        ConfigurationError: the suffix is none of them.
    """
    file = io.BytesIO()
    if suffix == ".png":
        Image.fromarray(contact_sheet(presets, clips, columns, seed)).save(file, "png")
        return file.getvalue()
    if suffix == ".mp4":
        return encode(side_by_side(presets, clips, seed), presets[0].video.fps, "small")
    if suffix == ".gif":
        frames = [Image.fromarray(frame) for frame in side_by_side(presets, clips, seed, side=128)]
        duration = round(1000 / presets[0].video.fps)
        frames[0].save(file, "gif", save_all=True, append_images=frames[1:], duration=duration, loop=0)
        return file.getvalue()
    raise ConfigurationError(f"--out: the file name must end in {', '.join(SUFFIXES)}, not {suffix!r}; --html writes a page.")


def preset_page(presets: Sequence[Preset], clips: int = 4, seed: int = 0, progress: Progress | None = None) -> str:
    """Return a self-contained HTML page that plays clips of every preset.

    Args:
        presets: one section each.
        clips: number of clips of each preset.
        seed: random seed of the clips.
        progress: progress callback, called after each preset.
    """
    progress = progress or Progress()
    progress.start(len(presets), 0, "preset")
    sections = []
    try:
        for preset in presets:
            sections.append((preset, _video_tags(preset, clips, seed)))
            progress.update(len(sections))
    finally:
        progress.finish()
    return load_template(Path(__file__).with_name("preview.html")).render(seed=seed, sections=sections)


def _video_tags(preset: Preset, clips: int, seed: int) -> list[Markup]:
    rendered = [render(scene, range(min(_MAX_FRAMES, scene.num_frames))) for scene in _sample_scenes(preset, clips, seed)]
    tags = (video_tag(clip.frames, clip.fps, side=160, controls=False) for clip in rendered)
    return [Markup(tag) for tag in tags]  # noqa: S704  # the tag holds numbers and base 64 only


def _sample_scenes(preset: Preset, clips: int, seed: int) -> list[Scene]:
    """Sample the scenes of the first clips of a preset; real clips are skipped.

    Raises:
        ConfigurationError: all clips of the preset are real.
    """
    if preset.mixture.source == REAL and preset.mixture.fraction == 1:
        raise ConfigurationError(f"{preset.name}: mixture.fraction is 1, so all its clips are real and none can be drawn.")
    rendered = (index for index in itertools.count() if preset.preset_for_clip(index) is not None)
    return [sample_scene(preset, seed, index) for index in itertools.islice(rendered, clips)]
