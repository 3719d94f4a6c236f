"""From a pose to row spans: which pixels of each row have their centre inside an outline.

The rule, exact and without ties: on the row whose centres lie at y = i + 0.5, an outline's crossings are sorted, and pixel
j is inside between an odd and the following even crossing, left <= j + 0.5 < right. An edge crosses the row if exactly one
of its ends has y <= i + 0.5. So neighbours that share an edge neither overlap nor leave a gap, an outline without area has
no pixels, and no case is special.
"""

from __future__ import annotations

import math

import numpy as np

from synvid.numerics.jit import jit

__all__ = ["Pose", "is_drawable", "num_parts", "object_spans"]


#: Poses beyond this many pixels are not drawn: nothing of them could be told from rounding.
_FAR = 1e9
#: An ellipse whose half height squared is below this holds no row of pixel centres.
_FLAT = 1e-18


#: (a, b, x0, c, d, y0): x = a u + b v + x0, y = c u + d v + y0. A tuple, since a view of an array costs as much as a row.
Pose = tuple[float, float, float, float, float, float]


@jit
def is_drawable(pose: Pose) -> bool:
    """Whether a pose is finite and within reach."""
    a, b, x0, c, d, y0 = pose
    # NaN fails each of these
    return abs(a) < _FAR and abs(b) < _FAR and abs(x0) < _FAR and abs(c) < _FAR and abs(d) < _FAR and abs(y0) < _FAR


@jit
def _pixel_from(x, size):
    """The first pixel whose centre is at or right of x, cut to 0..size."""
    return np.int32(math.ceil(min(max(x - 0.5, 0.0), float(size))))


@jit
def _rows(y0, y1, first, last):
    """Rows of first <= y < last whose centres lie in y0 <= y + 0.5 < y1.

    The outer max lets LLVM see that no row is negative, and use vectors.
    """
    return max(int(_pixel_from(y0, last)), first, 0), max(int(_pixel_from(y1, last)), first, 0)


@jit
def _ellipse_spans(pose, first, last, width, spans):
    """Spans of the image of the unit circle.

    The row at distance d below the centre is cut at x = k d -+ w sqrt(h2 - d**2), h2 the squared half height.
    """
    a, b, x0, c, d, y0 = pose
    h2 = c * c + d * d
    if h2 < _FLAT:
        return 0, 0
    half_height = math.sqrt(h2)
    top, bottom = _rows(y0 - half_height, y0 + half_height, first, last)
    lean = (a * c + b * d) / h2
    spread = abs(a * d - b * c) / h2
    for y in range(top, bottom):
        down = (y + 0.5) - y0
        half = spread * math.sqrt(max(h2 - down * down, 0.0))
        middle = x0 + lean * down
        spans[0, y] = _pixel_from(middle - half, width)
        spans[1, y] = _pixel_from(middle + half, width)
    return top, bottom


@jit
def _place_corners(pose, vertices, i, count, corner):
    """Map an outline's vertices to pixels."""
    a, b, x0, c, d, y0 = pose
    for k in range(count):
        u, v = vertices[i, k, 0], vertices[i, k, 1]
        corner[0, k] = a * u + b * v + x0
        corner[1, k] = c * u + d * v + y0


@jit
def _is_monotone(corner, count):
    """Whether an outline goes down once and up once, so that every row crosses it twice or not at all."""
    turns, last, first = 0, 0, 0
    for k in range(count):
        step = corner[1, k + 1 if k + 1 < count else 0] - corner[1, k]
        direction = (1 if step > 0.0 else 0) - (1 if step < 0.0 else 0)
        if direction != 0:
            if last * direction < 0:
                turns += 1
            if first == 0:
                first = direction
            last = direction
    return turns + (1 if first != last else 0) <= 2


@jit
def _monotone_spans(count, first, last, width, spans, corner):
    """Crossings of an outline of which every row meets one falling and one rising edge."""
    top, bottom = last, first
    for k in range(count):
        after = k + 1 if k + 1 < count else 0
        falls = corner[1, after] > corner[1, k]
        upper, lower = (k, after) if falls else (after, k)
        x, y = corner[0, upper], corner[1, upper]
        begin, end = _rows(y, corner[1, lower], first, last)
        if begin < end:
            slope = (corner[0, lower] - x) / (corner[1, lower] - y)
            side = 0 if falls else 1
            for row in range(begin, end):
                spans[side, row] = _pixel_from(x + ((row + 0.5) - y) * slope, width)
            top, bottom = min(top, begin), max(bottom, end)
    return min(top, bottom), bottom


@jit
def _general_spans(count, part, first, last, width, spans, corner):
    """Spans between crossings 2 part and 2 part + 1 of every row, for outlines of any form."""
    for row in range(first, last):
        center, found = row + 0.5, 0
        for k in range(count):
            after = k + 1 if k + 1 < count else 0
            upper, lower = (k, after) if corner[1, after] > corner[1, k] else (after, k)
            x, y = corner[0, upper], corner[1, upper]
            if y <= center < corner[1, lower]:
                slope = (corner[0, lower] - x) / (corner[1, lower] - y)
                place, found = found, found + 1
                value = x + (center - y) * slope
                while place > 0 and corner[2, place - 1] > value:
                    corner[2, place] = corner[2, place - 1]
                    place -= 1
                corner[2, place] = value
        some = 2 * part + 1 < found
        spans[0, row] = _pixel_from(corner[2, 2 * part], width) if some else 0
        spans[1, row] = _pixel_from(corner[2, 2 * part + 1], width) if some else 0
    return first, last


@jit
def num_parts(pose, vertices, i, count, corner):
    """Place an outline's corners; how many spans one of its rows can have: 1, or more where it is concave."""
    parts = 1
    if count > 0:
        _place_corners(pose, vertices, i, count, corner)
        if count > 3 and not _is_monotone(corner, count):
            parts = count // 2
    return parts


@jit
def object_spans(pose, count, part, parts, first, last, width, spans, corner):
    """Write spans number `part` of the object that `num_parts` placed.

    Args:
        pose: outline to pixels.
        count: vertices, 0 for the unit circle.
        part: 0..parts - 1.
        parts: as `num_parts` said.
        first, last: only rows first <= y < last are asked for.
        width: of the frame.
        spans: int32 (2, height), written: the pixels of row y from one of its ends up to the other, in either order.
        corner: float64 (3, m), as `num_parts` left it.

    Returns:
        (top, bottom): rows top <= y < bottom have been written; on others there is nothing.
    """
    if count == 0:
        rows = _ellipse_spans(pose, first, last, width, spans)
    elif parts == 1:
        rows = _monotone_spans(count, first, last, width, spans, corner)
    else:
        rows = _general_spans(count, part, first, last, width, spans, corner)
    return rows  # one way out: Numba counts references on every other
