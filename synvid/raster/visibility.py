"""The one traversal: which pixels of a frame each object owns, found from the nearest object to the farthest.

Each row has a bit a pixel, set once an object owns it, in words of 64. An object takes, word by word, what its span covers
and nobody nearer has: a run. Every 10 objects the fully owned tiles of 8x8 pixels are marked, so that objects behind them
are passed over by their bounding box alone, and a full frame ends the walk early.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synvid.numerics.jit import jit
from synvid.raster.simd import fill_word
from synvid.raster.spans import is_drawable, num_parts, object_spans
from synvid.raster.texels import fill_texels, texel_map, texture_at

__all__ = ["Canvas", "new_canvas", "paint"]


_TILE = 8
_OBJECTS_BETWEEN_MARKS = 10
_NONE, _ALL = np.uint64(0), np.uint64(0xFFFFFFFFFFFFFFFF)
_TILE_ROW = np.uint64(0xFF)


class Canvas(NamedTuple):
    """Room for finding the runs of a frame of height x width pixels."""

    height: int
    width: int
    owned: NDArray[np.uint64]  # (rows in whole tiles, words): a bit a pixel
    full_tiles: NDArray[np.uint8]  # (tile rows, words): a bit a tile
    spans: NDArray[np.int32]  # (2, height): of one object, where it begins and ends, in either order
    corner: NDArray[np.float64]  # (3, m): x and y of the vertices in pixels, and crossings of one row


@jit
def new_canvas(height: int, width: int, max_vertices: int) -> Canvas:
    """Room for frames of one size and outlines of at most `max_vertices` vertices."""
    words = (width + 63) // 64
    tile_rows = (height + _TILE - 1) // _TILE
    return Canvas(
        height,
        width,
        np.empty((tile_rows * _TILE, words), np.uint64),
        np.empty((tile_rows, words), np.uint8),
        np.empty((2, height), np.int32),
        np.empty((3, max_vertices)),
    )


@jit
def _clear(height, width, owned, full_tiles):
    """Nobody owns anything but what lies outside the frame."""
    owned[:] = _NONE
    if width % 64:
        owned[:, owned.shape[1] - 1] = _ALL << np.uint64(width % 64)
    owned[height:] = _ALL
    full_tiles[:] = 0


@jit
def _mark_full_tiles(owned, full_tiles):
    """Mark the tiles that are fully owned; True if all are."""
    everything = True
    for row in range(full_tiles.shape[0]):
        for word in range(full_tiles.shape[1]):
            if full_tiles[row, word] == 0xFF:
                continue
            common = _ALL
            for y in range(row * _TILE, row * _TILE + _TILE):
                common &= owned[y, word]
            full = 0
            for tile in range(8):
                if (common >> np.uint64(tile * _TILE)) & _TILE_ROW == _TILE_ROW:
                    full |= 1 << tile
            full_tiles[row, word] = full
            everything = everything and full == 0xFF
    return everything


@jit
def _is_outside(pose, reach, height, width):
    """Whether an object is surely outside the frame; a bound without a square root, since most objects are."""
    a, b, x0, c, d, y0 = pose
    across, down = reach * (abs(a) + abs(b)), reach * (abs(c) + abs(d))
    return x0 + across < 0.0 or x0 - across > width or y0 + down < 0.0 or y0 - down > height


@jit
def _paint_background(owned, height, color, pixels):
    """Paint what nobody owns."""
    words = owned.shape[1]
    for y in range(height):
        for word in range(words):
            if owned[y, word] != _ALL:
                fill_word(pixels, (y * words + word) * 64, ~owned[y, word], color)


@jit
def _paint_textured_background(owned, height, color, pixels, textures):
    """The same from the texture in the last row of the crops, if there is one."""
    crops, t, pose = textures
    words, last = owned.shape[1], crops.bank.size - 1
    if crops.bank[last] < 0:
        _paint_background(owned, height, color, pixels)
        return
    bank, texture, size = crops.banks[crops.bank[last]], texture_at(crops, last, t), crops.size[last]
    tint, nearest = crops.tint[last], crops.nearest
    ux, uy, u0, vx, vy, v0 = texel_map(crops, last, pose)
    step_u, step_v = int(ux), int(vx)
    for y in range(height):
        u, v = int(math.floor(uy * (y + 0.5) + u0)), int(math.floor(vy * (y + 0.5) + v0))
        for word in range(words):
            if owned[y, word] != _ALL:
                fill_texels(
                    pixels, (y * words + word) * 64, ~owned[y, word], bank, texture, size,
                    u + 64 * word * step_u, v + 64 * word * step_v, step_u, step_v, tint, nearest,
                )  # fmt: skip


@jit
def _bounds(pose, reach, count, corner):
    """Left, right, top and bottom of an object: of its corners, or of the ellipse around it."""
    a, b, x0, c, d, y0 = pose
    if count > 0:
        left, right, top, bottom = corner[0, 0], corner[0, 0], corner[1, 0], corner[1, 0]
        for k in range(1, count):
            left, right = min(left, corner[0, k]), max(right, corner[0, k])
            top, bottom = min(top, corner[1, k]), max(bottom, corner[1, k])
    else:
        half_width, half_height = reach * math.sqrt(a * a + b * b), reach * math.sqrt(c * c + d * d)
        left, right = x0 - half_width, x0 + half_width
        top, bottom = y0 - half_height, y0 + half_height
    return left, right, top, bottom


@jit
def _open_rows(bounds, height, width, full_tiles):
    """Rows first <= y < last in which the bounding box of an object meets tiles that are not yet full; none is (0, 0)."""
    left, right, top, bottom = bounds
    first, last = 0, 0
    if right >= 0.0 and bottom >= 0.0 and left <= width and top <= height:
        first_tile = int(max(left, 0.0)) // _TILE
        last_tile = int(min(right, width - 1.0)) // _TILE
        for row in range(int(max(top, 0.0)) // _TILE, int(min(bottom, height - 1.0)) // _TILE + 1):
            for word in range(first_tile // 8, last_tile // 8 + 1):
                low, high = max(first_tile - 8 * word, 0), min(last_tile - 8 * word, 7)
                box = (0xFF << low) & (0xFF >> (7 - high))
                if box & ~full_tiles[row, word]:
                    first = first if last else row * _TILE
                    last = min((row + 1) * _TILE, height)
                    break
    return first, last


@jit
def _word_mask(left, right, word):
    """Bits of a word that a span covers; the span meets the word."""
    low, high = max(left - 64 * word, 0), min(right - 64 * word, 64)
    return (_ALL << np.uint64(low)) & (_ALL >> np.uint64(64 - high))


@jit
def _paint_spans(top, bottom, spans, owned, pixels, color):
    """Give an object what its spans cover and nobody owns, and paint it."""
    words = owned.shape[1]
    for y in range(max(top, 0), bottom):
        left, right = min(spans[0, y], spans[1, y]), max(spans[0, y], spans[1, y])
        if left < right:
            for word in range(left >> 6, ((right - 1) >> 6) + 1):
                taken = owned[y, word]
                mask = _word_mask(left, right, word) & ~taken
                if mask != _NONE:
                    owned[y, word] = taken | mask
                    fill_word(pixels, (y * words + word) * 64, mask, color)


@jit
def _paint_textured_spans(top, bottom, spans, owned, pixels, color, i, pose, textures):
    """The same for object i with texels of its crop, if it has one."""
    crops, t, _ = textures
    if crops.bank[i] < 0:
        _paint_spans(top, bottom, spans, owned, pixels, color)
        return
    words = owned.shape[1]
    bank, texture, size = crops.banks[crops.bank[i]], texture_at(crops, i, t), crops.size[i]
    tint, nearest = crops.tint[i], crops.nearest
    ux, uy, u0, vx, vy, v0 = texel_map(crops, i, pose)
    step_u, step_v = int(ux), int(vx)
    for y in range(max(top, 0), bottom):
        left, right = min(spans[0, y], spans[1, y]), max(spans[0, y], spans[1, y])
        if left < right:
            u, v = int(math.floor(uy * (y + 0.5) + u0)), int(math.floor(vy * (y + 0.5) + v0))
            for word in range(left >> 6, ((right - 1) >> 6) + 1):
                taken = owned[y, word]
                mask = _word_mask(left, right, word) & ~taken
                if mask != _NONE:
                    owned[y, word] = taken | mask
                    fill_texels(
                        pixels, (y * words + word) * 64, mask, bank, texture, size,
                        u + 64 * word * step_u, v + 64 * word * step_v, step_u, step_v, tint, nearest,
                    )  # fmt: skip


@jit
def paint(poses, outlines, colors, background, canvas, pixels, textures=None):
    """Paint every object where nothing nearer is, and the background where nothing is.

    Args:
        poses: float64 (n, 2, 3), outline to pixels, back to front.
        outlines: vertices (n, m, 2), their number (n,), 0 for the unit circle, and the distance (n,) of an outline's
            farthest point from its origin.
        colors: uint32 (n,), from `pack_colors`.
        background: uint32.
        canvas: of the frame's size.
        pixels: uint32, flat, a whole number of 64-pixel words a row; written.
        textures: None, or (crops, frame, pose of the background): `Crops` of all objects and, last, of the background, and
            which frame it is.
    """
    # Taken apart once: to take an array out of a tuple costs an atomic operation.
    height, width, owned, full_tiles, spans, corner = canvas
    vertices, num_vertices, reach = outlines
    _clear(height, width, owned, full_tiles)
    since_mark = 0
    for i in range(poses.shape[0] - 1, -1, -1):
        if since_mark == _OBJECTS_BETWEEN_MARKS:
            since_mark = 0
            if _mark_full_tiles(owned, full_tiles):
                break
        pose = poses[i, 0, 0], poses[i, 0, 1], poses[i, 0, 2], poses[i, 1, 0], poses[i, 1, 1], poses[i, 1, 2]
        if not _is_outside(pose, reach[i], height, width) and is_drawable(pose):
            count = num_vertices[i]
            parts = num_parts(pose, vertices, i, count, corner)
            first, last = _open_rows(_bounds(pose, reach[i], count, corner), height, width, full_tiles)
            if first == last:
                continue
            since_mark += 1
            for part in range(parts):
                top, bottom = object_spans(pose, count, part, parts, first, last, width, spans, corner)
                if textures is None:
                    _paint_spans(top, bottom, spans, owned, pixels, colors[i])
                else:
                    _paint_textured_spans(top, bottom, spans, owned, pixels, colors[i], i, pose, textures)
    if textures is None:
        _paint_background(owned, height, background, pixels)
    else:
        _paint_textured_background(owned, height, background, pixels, textures)
