"""The one traversal: which pixels of a frame each object owns, found from the nearest object to the farthest.

Each row has a bit a pixel, set once an object owns it, in words of 64. An object claims, word by word, what its span covers
and nobody nearer has: a run. Every 24 objects the fully owned tiles of 8x8 pixels are marked, so that objects behind them
are passed over by their bounding box alone, and a full frame ends the walk early.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synvid._jit import jit
from synvid.raster.spans import Spans, is_drawable, new_spans, num_parts, object_spans

__all__ = ["Canvas", "Runs", "find_runs", "new_canvas"]

_TILE = 8
_OBJECTS_BETWEEN_MARKS = 24
_NONE, _ALL = np.uint64(0), np.uint64(0xFFFFFFFFFFFFFFFF)
_TILE_ROW = np.uint64(0xFF)


class Runs(NamedTuple):
    """Visible runs: bit k of mask[i] says that owner[i] owns pixel 64 word[i] + k; grouped by owner, nearest first."""

    owner: NDArray[np.int32]  # row of the object
    word: NDArray[np.int32]  # from the upper left, row by row
    mask: NDArray[np.uint64]


class Canvas(NamedTuple):
    """Room for finding the runs of a frame."""

    owned: NDArray[np.uint64]  # (rows in whole tiles, words): a bit a pixel
    full_tiles: NDArray[np.uint8]  # (tile rows, words): a bit a tile
    spans: Spans
    runs: Runs
    height: int
    width: int


@jit
def new_canvas(height: int, width: int, max_vertices: int) -> Canvas:
    """Room for frames of one size. A run claims a pixel or more, so there are never more runs than pixels."""
    words = (width + 63) // 64
    tile_rows = (height + _TILE - 1) // _TILE
    most = height * width
    return Canvas(
        np.empty((tile_rows * _TILE, words), np.uint64),
        np.empty((tile_rows, words), np.uint8),
        new_spans(height, max_vertices),
        Runs(np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.uint64)),
        height,
        width,
    )


@jit
def _clear(canvas: Canvas) -> None:
    """Nobody owns anything but what lies outside the frame."""
    words = canvas.owned.shape[1]
    canvas.owned[:] = _NONE
    canvas.owned[canvas.height :] = _ALL
    if canvas.width % 64:
        canvas.owned[:, words - 1] = _ALL << np.uint64(canvas.width % 64)
        canvas.owned[canvas.height :, words - 1] = _ALL
    canvas.full_tiles[:] = 0


@jit
def _mark_full_tiles(canvas: Canvas) -> bool:
    """Mark the tiles that are fully owned; True if all are."""
    everything = True
    for row in range(canvas.full_tiles.shape[0]):
        for word in range(canvas.full_tiles.shape[1]):
            common = _ALL
            for y in range(row * _TILE, row * _TILE + _TILE):
                common &= canvas.owned[y, word]
            full = 0
            for tile in range(8):
                if (common >> np.uint64(tile * _TILE)) & _TILE_ROW == _TILE_ROW:
                    full |= 1 << tile
            canvas.full_tiles[row, word] = full
            everything = everything and full == 0xFF
    return everything


@jit
def _touches_open_tile(pose, reach, canvas):  # type: ignore[no-untyped-def]
    """Whether the bounding box of an object meets the frame where it is not yet full."""
    half_width = reach * math.sqrt(pose[0, 0] * pose[0, 0] + pose[0, 1] * pose[0, 1])
    half_height = reach * math.sqrt(pose[1, 0] * pose[1, 0] + pose[1, 1] * pose[1, 1])
    left, right = pose[0, 2] - half_width, pose[0, 2] + half_width
    top, bottom = pose[1, 2] - half_height, pose[1, 2] + half_height
    if right < 0.0 or bottom < 0.0 or left > canvas.width or top > canvas.height:
        return False
    first_tile = int(max(left, 0.0)) // _TILE
    last_tile = int(min(right, canvas.width - 1.0)) // _TILE
    for row in range(int(max(top, 0.0)) // _TILE, int(min(bottom, canvas.height - 1.0)) // _TILE + 1):
        for word in range(first_tile // 8, last_tile // 8 + 1):
            low, high = max(first_tile - 8 * word, 0), min(last_tile - 8 * word, 7)
            box = (0xFF << low) & (0xFF >> (7 - high))
            if box & ~canvas.full_tiles[row, word]:
                return True
    return False


@jit
def _word_mask(left, right, word):  # type: ignore[no-untyped-def]
    """Bits of a word that a span covers; the span meets the word."""
    low, high = max(left - 64 * word, 0), min(right - 64 * word, 64)
    return (_ALL << np.uint64(low)) & (_ALL >> np.uint64(64 - high))


@jit
def _claim(owner, top, bottom, canvas, found):  # type: ignore[no-untyped-def]
    """Give an object what its spans cover and nobody owns; the number of runs after that."""
    words = canvas.owned.shape[1]
    for y in range(top, bottom):
        left, right = int(canvas.spans.left[y]), int(canvas.spans.right[y])
        if left < right:
            for word in range(left >> 6, ((right - 1) >> 6) + 1):
                owned = canvas.owned[y, word]
                mask = _word_mask(left, right, word) & ~owned
                if mask != _NONE:
                    canvas.owned[y, word] = owned | mask
                    canvas.runs.owner[found] = owner
                    canvas.runs.word[found] = y * words + word
                    canvas.runs.mask[found] = mask
                    found += 1
    return found


@jit
def find_runs(poses, vertices, num_vertices, reach, canvas):  # type: ignore[no-untyped-def]
    """Find which pixels each object owns.

    Args:
        poses: float64 (n, 2, 3), outline to pixels, back to front.
        vertices: float64 (n, m, 2), outlines.
        num_vertices: int64 (n,), 0 for the unit circle.
        reach: float64 (n,), distance of an outline's farthest point from its origin.
        canvas: of the frame's size; canvas.runs is written.

    Returns:
        The number of runs.
    """
    _clear(canvas)
    found, since_mark = 0, 0
    for i in range(poses.shape[0] - 1, -1, -1):
        if since_mark == _OBJECTS_BETWEEN_MARKS:
            since_mark = 0
            if _mark_full_tiles(canvas):
                break
        pose = poses[i]
        if is_drawable(pose) and _touches_open_tile(pose, reach[i], canvas):
            since_mark += 1
            parts = num_parts(pose, vertices[i], num_vertices[i], canvas.spans)
            for part in range(parts):
                top, bottom = object_spans(pose, num_vertices[i], part, parts, canvas.width, canvas.spans)
                found = _claim(i, top, bottom, canvas, found)
    return found
