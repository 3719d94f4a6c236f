"""From a pose to row spans: which pixels of each row have their centre inside an outline.

The rule, exact and without ties: on the row whose centres lie at y = i + 0.5, an outline's crossings are sorted, and pixel
j is inside between an odd and the following even crossing, left <= j + 0.5 < right. An edge crosses the row if exactly one
of its ends has y <= i + 0.5. So neighbours that share an edge neither overlap nor leave a gap, an outline without area has
no pixels, and no case is special.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synvid._jit import jit

__all__ = ["Spans", "is_drawable", "new_spans", "num_parts", "object_spans"]

#: Poses beyond this many pixels are not drawn: nothing of them could be told from rounding.
_FAR = 1e9
#: An ellipse whose half height squared is below this holds no row of pixel centres.
_FLAT = 1e-18


class Spans(NamedTuple):
    """Room for the spans of one object: pixels left[y] <= x < right[y] on rows top <= y < bottom."""

    left: NDArray[np.int32]  # (height,)
    right: NDArray[np.int32]  # (height,)
    crossing: NDArray[np.float64]  # (2, height): where falling and rising edges cross each row
    corner: NDArray[np.float64]  # (2, m): x and y of the vertices in pixels
    sorted: NDArray[np.float64]  # (m,): crossings of one row


@jit
def new_spans(height: int, max_vertices: int) -> Spans:
    """Room for a frame of `height` rows and outlines of `max_vertices` vertices."""
    return Spans(
        np.empty(height, np.int32),
        np.empty(height, np.int32),
        np.empty((2, height)),
        np.empty((2, max_vertices)),
        np.empty(max_vertices),
    )


@jit
def is_drawable(pose: NDArray[np.float64]) -> bool:
    """Whether a pose is finite and within reach."""
    for value in pose.ravel():
        if not abs(value) < _FAR:  # NaN fails too
            return False
    return True


@jit
def _pixel_from(x: float, size: int) -> int:
    """The first pixel whose centre is at or right of x, cut to 0..size."""
    return int(math.ceil(min(max(x - 0.5, 0.0), float(size))))


@jit
def _ellipse_spans(pose, width, spans):  # type: ignore[no-untyped-def]
    """Spans of the image of the unit circle.

    The row at distance d below the centre is cut at x = k d -+ w sqrt(h2 - d**2), h2 the squared half height.
    """
    a, b, x0 = pose[0]
    c, d, y0 = pose[1]
    h2 = c * c + d * d
    if h2 < _FLAT:
        return 0, 0
    half_height = math.sqrt(h2)
    height = spans.left.size
    top, bottom = _pixel_from(y0 - half_height, height), _pixel_from(y0 + half_height, height)
    lean = (a * c + b * d) / h2
    spread = abs(a * d - b * c) / h2
    for y in range(top, bottom):
        down = (y + 0.5) - y0
        half = spread * math.sqrt(max(h2 - down * down, 0.0))
        middle = x0 + lean * down
        spans.left[y] = _pixel_from(middle - half, width)
        spans.right[y] = _pixel_from(middle + half, width)
    return top, bottom


@jit
def _place_corners(pose, vertices, count, corner):  # type: ignore[no-untyped-def]
    """Map an outline's vertices to pixels."""
    for k in range(count):
        u, v = vertices[k, 0], vertices[k, 1]
        corner[0, k] = pose[0, 0] * u + pose[0, 1] * v + pose[0, 2]
        corner[1, k] = pose[1, 0] * u + pose[1, 1] * v + pose[1, 2]


@jit
def _is_monotone(corner_y, count):  # type: ignore[no-untyped-def]
    """Whether an outline goes down once and up once, so that every row crosses it twice or not at all."""
    turns, last, first = 0, 0, 0
    for k in range(count):
        step = corner_y[(k + 1) % count] - corner_y[k]
        direction = (1 if step > 0.0 else 0) - (1 if step < 0.0 else 0)
        if direction != 0:
            if last != 0 and direction != last:
                turns += 1
            if first == 0:
                first = direction
            last = direction
    return turns + (1 if first != last else 0) <= 2


@jit
def _edge_rows(y0, y1, height):  # type: ignore[no-untyped-def]
    """Rows that an edge from y0 down to y1 > y0 crosses."""
    return _pixel_from(y0, height), _pixel_from(y1, height)


@jit
def _monotone_spans(count, width, spans):  # type: ignore[no-untyped-def]
    """Spans of an outline of which every row crosses one falling and one rising edge."""
    height = spans.left.size
    top, bottom = height, 0
    for k in range(count):
        after = k + 1 if k + 1 < count else 0
        falls = spans.corner[1, after] > spans.corner[1, k]
        upper, lower = (k, after) if falls else (after, k)
        x, y = spans.corner[0, upper], spans.corner[1, upper]
        first, last = _edge_rows(y, spans.corner[1, lower], height)
        if first < last:
            slope = (spans.corner[0, lower] - x) / (spans.corner[1, lower] - y)
            crossing = spans.crossing[0 if falls else 1]
            for row in range(first, last):
                crossing[row] = x + ((row + 0.5) - y) * slope
            top, bottom = min(top, first), max(bottom, last)
    for row in range(top, bottom):
        one, other = spans.crossing[0, row], spans.crossing[1, row]
        spans.left[row] = _pixel_from(min(one, other), width)
        spans.right[row] = _pixel_from(max(one, other), width)
    return top, bottom


@jit
def _general_spans(count, part, width, spans):  # type: ignore[no-untyped-def]
    """Spans between crossings 2 part and 2 part + 1 of every row, for outlines of any form."""
    height = spans.left.size
    for row in range(height):
        center, found = row + 0.5, 0
        for k in range(count):
            after = k + 1 if k + 1 < count else 0
            upper, lower = (k, after) if spans.corner[1, after] > spans.corner[1, k] else (after, k)
            x, y = spans.corner[0, upper], spans.corner[1, upper]
            if y <= center < spans.corner[1, lower]:
                slope = (spans.corner[0, lower] - x) / (spans.corner[1, lower] - y)
                place, found = found, found + 1
                value = x + (center - y) * slope
                while place > 0 and spans.sorted[place - 1] > value:
                    spans.sorted[place] = spans.sorted[place - 1]
                    place -= 1
                spans.sorted[place] = value
        some = 2 * part + 1 < found
        spans.left[row] = _pixel_from(spans.sorted[2 * part], width) if some else 0
        spans.right[row] = _pixel_from(spans.sorted[2 * part + 1], width) if some else 0
    return 0, height


@jit
def num_parts(pose, vertices, count, spans):  # type: ignore[no-untyped-def]
    """Place an outline's corners; how many spans one of its rows can have: 1, or more where it is concave."""
    if count == 0:
        return 1
    _place_corners(pose, vertices, count, spans.corner)
    return 1 if _is_monotone(spans.corner[1], count) else count // 2


@jit
def object_spans(pose, count, part, parts, width, spans):  # type: ignore[no-untyped-def]
    """Write spans number `part` of the object that `num_parts` placed.

    Args:
        pose: float64 (2, 3), outline to pixels.
        count: vertices, 0 for the unit circle.
        part: 0..parts - 1.
        parts: as `num_parts` said.
        width: of the frame.
        spans: written.

    Returns:
        (top, bottom): rows top <= y < bottom have been written; on others there is nothing.
    """
    if count == 0:
        return _ellipse_spans(pose, width, spans)
    if parts == 1:
        return _monotone_spans(count, width, spans)
    return _general_spans(count, part, width, spans)
