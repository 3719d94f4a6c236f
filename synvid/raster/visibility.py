"""Paint objects front to back, each on the pixels that no nearer object covers.

The coverage mask has one bit per pixel, in words of 64. An object is painted, word by word, on the pixels of its spans whose
bits are not set, and sets them. Every 10 objects the tiles of 8x8 pixels that are fully covered are marked: objects whose
bounding box touches only such tiles are skipped, and painting stops once all tiles are full.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synvid.numerics.jit import jit
from synvid.raster.simd import fill_word
from synvid.raster.spans import is_drawable, object_spans, project_vertices
from synvid.raster.texels import fill_texels, texel_map, texture_offset

__all__ = ["Canvas", "new_canvas", "paint"]


_TILE = 8
_OBJECTS_BETWEEN_MARKS = 10
_NONE, _ALL = np.uint64(0), np.uint64(0xFFFFFFFFFFFFFFFF)
_TILE_ROW = np.uint64(0xFF)


class Canvas(NamedTuple):
    """Working memory for painting a frame of height x width pixels."""

    height: int
    width: int
    covered: NDArray[np.uint64]  # (rows, words), rows rounded up to whole tiles: one bit per pixel
    full_tiles: NDArray[np.uint8]  # (tile rows, words): one bit per tile
    spans: NDArray[np.int32]  # (2, height): both ends of the current object's span in each row, in either order
    vertices_px: NDArray[np.float64]  # (3, m): x and y of the current object's vertices in pixels; crossings of a row


@jit
def new_canvas(height: int, width: int, max_vertices: int) -> Canvas:
    """A canvas for frames of one size and outlines of at most `max_vertices` vertices."""
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
def _clear(height, width, covered, full_tiles):
    """Reset the coverage mask: only the padding outside the frame is covered."""
    covered[:] = _NONE
    if width % 64:
        covered[:, covered.shape[1] - 1] = _ALL << np.uint64(width % 64)
    covered[height:] = _ALL
    full_tiles[:] = 0


@jit
def _mark_full_tiles(covered, full_tiles):
    """Mark the tiles that are fully covered; return whether all are."""
    all_full = True
    for row in range(full_tiles.shape[0]):
        for word in range(full_tiles.shape[1]):
            if full_tiles[row, word] == 0xFF:
                continue
            common = _ALL
            for y in range(row * _TILE, row * _TILE + _TILE):
                common &= covered[y, word]
            full = 0
            for tile in range(8):
                if (common >> np.uint64(tile * _TILE)) & _TILE_ROW == _TILE_ROW:
                    full |= 1 << tile
            full_tiles[row, word] = full
            all_full = all_full and full == 0xFF
    return all_full


@jit
def _is_outside(pose, bounding_radius, height, width):
    """Whether an object is certainly outside the frame.

    The bound is loose, to avoid a square root: most objects are outside.
    """
    a, b, x0, c, d, y0 = pose
    half_width, half_height = bounding_radius * (abs(a) + abs(b)), bounding_radius * (abs(c) + abs(d))
    return x0 + half_width < 0.0 or x0 - half_width > width or y0 + half_height < 0.0 or y0 - half_height > height


@jit
def _paint_background(covered, height, color, pixels):
    """Paint the pixels that no object covers in one colour."""
    words = covered.shape[1]
    for y in range(height):
        for word in range(words):
            if covered[y, word] != _ALL:
                fill_word(pixels, (y * words + word) * 64, ~covered[y, word], color)


@jit
def _paint_textured_background(covered, height, color, pixels, textures):
    """Paint the pixels that no object covers with the background's texture, if it has one."""
    crops, t, pose = textures
    words, last = covered.shape[1], crops.bank.size - 1
    if crops.bank[last] < 0:
        _paint_background(covered, height, color, pixels)
        return
    bank, texture, size = crops.banks[crops.bank[last]], texture_offset(crops, last, t), crops.size[last]
    tint, nearest = crops.tint[last], crops.nearest
    ux, uy, u0, vx, vy, v0 = texel_map(crops, last, pose)
    step_u, step_v = int(ux), int(vx)
    for y in range(height):
        u, v = int(math.floor(uy * (y + 0.5) + u0)), int(math.floor(vy * (y + 0.5) + v0))
        for word in range(words):
            if covered[y, word] != _ALL:
                fill_texels(
                    pixels, (y * words + word) * 64, ~covered[y, word], bank, texture, size,
                    u + 64 * word * step_u, v + 64 * word * step_v, step_u, step_v, tint, nearest,
                )  # fmt: skip


@jit
def _bounds(pose, bounding_radius, count, vertices_px):
    """Left, right, top and bottom of an object: those of its vertices, or of the ellipse around it."""
    a, b, x0, c, d, y0 = pose
    if count > 0:
        left, right, top, bottom = vertices_px[0, 0], vertices_px[0, 0], vertices_px[1, 0], vertices_px[1, 0]
        for k in range(1, count):
            left, right = min(left, vertices_px[0, k]), max(right, vertices_px[0, k])
            top, bottom = min(top, vertices_px[1, k]), max(bottom, vertices_px[1, k])
    else:
        half_width, half_height = bounding_radius * math.sqrt(a * a + b * b), bounding_radius * math.sqrt(c * c + d * d)
        left, right = x0 - half_width, x0 + half_width
        top, bottom = y0 - half_height, y0 + half_height
    return left, right, top, bottom


@jit
def _open_rows(bounds, height, width, full_tiles):
    """Rows first <= y < last in which an object's bounding box touches tiles that are not full; (0, 0) if there are none."""
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
    """The bits of a word that a span covers; the two must overlap."""
    low, high = max(left - 64 * word, 0), min(right - 64 * word, 64)
    return (_ALL << np.uint64(low)) & (_ALL >> np.uint64(64 - high))


@jit
def _paint_spans(top, bottom, spans, covered, pixels, color):
    """Paint the uncovered pixels of an object's spans in one colour, and mark them as covered."""
    words = covered.shape[1]
    for y in range(max(top, 0), bottom):
        left, right = min(spans[0, y], spans[1, y]), max(spans[0, y], spans[1, y])
        if left < right:
            for word in range(left >> 6, ((right - 1) >> 6) + 1):
                previous = covered[y, word]
                mask = _word_mask(left, right, word) & ~previous
                if mask != _NONE:
                    covered[y, word] = previous | mask
                    fill_word(pixels, (y * words + word) * 64, mask, color)


@jit
def _paint_textured_spans(top, bottom, spans, covered, pixels, color, i, pose, textures):
    """Paint the uncovered pixels of object i's spans with its texture, if it has one, and mark them as covered."""
    crops, t, _ = textures
    if crops.bank[i] < 0:
        _paint_spans(top, bottom, spans, covered, pixels, color)
        return
    words = covered.shape[1]
    bank, texture, size = crops.banks[crops.bank[i]], texture_offset(crops, i, t), crops.size[i]
    tint, nearest = crops.tint[i], crops.nearest
    ux, uy, u0, vx, vy, v0 = texel_map(crops, i, pose)
    step_u, step_v = int(ux), int(vx)
    for y in range(max(top, 0), bottom):
        left, right = min(spans[0, y], spans[1, y]), max(spans[0, y], spans[1, y])
        if left < right:
            u, v = int(math.floor(uy * (y + 0.5) + u0)), int(math.floor(vy * (y + 0.5) + v0))
            for word in range(left >> 6, ((right - 1) >> 6) + 1):
                previous = covered[y, word]
                mask = _word_mask(left, right, word) & ~previous
                if mask != _NONE:
                    covered[y, word] = previous | mask
                    fill_texels(
                        pixels, (y * words + word) * 64, mask, bank, texture, size,
                        u + 64 * word * step_u, v + 64 * word * step_v, step_u, step_v, tint, nearest,
                    )  # fmt: skip


@jit
def paint(poses, outlines, colors, background, canvas, pixels, textures=None):
    """Paint a frame: every object where no nearer object covers it, then the background.

    Args:
        poses: float64 (n, 2, 3), maps from outline coordinates to pixels, back to front.
        outlines: vertices (n, m, 2), number of vertices (n,), 0 for the unit circle, and bounding radii (n,).
        colors: uint32 (n,), from `pack_colors`.
        background: uint32, a packed colour.
        canvas: working memory for frames of this size.
        pixels: uint32, flat, rows padded to whole words of 64 pixels; written.
        textures: None, or (crops, frame number, pose of the background); the last row of `crops` is the background's.
    """
    # Unpacked once: taking an array out of a tuple costs an atomic operation.
    height, width, covered, full_tiles, spans, vertices_px = canvas
    vertices, num_vertices, bounding_radii = outlines
    _clear(height, width, covered, full_tiles)
    objects_since_mark = 0
    for i in range(poses.shape[0] - 1, -1, -1):
        if objects_since_mark == _OBJECTS_BETWEEN_MARKS:
            objects_since_mark = 0
            if _mark_full_tiles(covered, full_tiles):
                break
        pose = poses[i, 0, 0], poses[i, 0, 1], poses[i, 0, 2], poses[i, 1, 0], poses[i, 1, 1], poses[i, 1, 2]
        if not _is_outside(pose, bounding_radii[i], height, width) and is_drawable(pose):
            count = num_vertices[i]
            parts = project_vertices(pose, vertices, i, count, vertices_px)
            first, last = _open_rows(_bounds(pose, bounding_radii[i], count, vertices_px), height, width, full_tiles)
            if first == last:
                continue
            objects_since_mark += 1
            for part in range(parts):
                top, bottom = object_spans(pose, count, part, parts, first, last, width, spans, vertices_px)
                if textures is None:
                    _paint_spans(top, bottom, spans, covered, pixels, colors[i])
                else:
                    _paint_textured_spans(top, bottom, spans, covered, pixels, colors[i], i, pose, textures)
    if textures is None:
        _paint_background(covered, height, background, pixels)
    else:
        _paint_textured_background(covered, height, background, pixels, textures)
