"""Row spans of an object: the pixels of each row whose centre is inside its outline.

The rule is exact and has no ties. The pixel centres of row i are at y = i + 0.5. An edge crosses the row if exactly one of
its ends has y <= i + 0.5. With the crossings sorted by x, pixel j is inside if left <= j + 0.5 < right for an odd crossing
and the even one after it. So outlines that share an edge neither overlap nor leave a gap, and an outline without area has no
pixels.
"""

from __future__ import annotations

import math

import numpy as np

from synvid.numerics.jit import jit

__all__ = ["Pose", "is_drawable", "object_spans", "project_vertices"]


#: Objects whose pose has a larger entry, in pixels, are not drawn: rounding errors would dominate.
_FAR = 1e9
#: An ellipse with a smaller squared half height contains no row of pixel centres.
_FLAT = 1e-18


#: (a, b, x0, c, d, y0): x = a u + b v + x0, y = c u + d v + y0.
#: A tuple: creating an array view takes as long as computing one row.
Pose = tuple[float, float, float, float, float, float]


@jit
def is_drawable(pose: Pose) -> bool:
    """Whether a pose is finite and not too large to draw."""
    a, b, x0, c, d, y0 = pose
    # NaN fails every comparison
    return abs(a) < _FAR and abs(b) < _FAR and abs(x0) < _FAR and abs(c) < _FAR and abs(d) < _FAR and abs(y0) < _FAR


@jit
def _pixel_from(x, size):
    """The first pixel whose centre is at or to the right of x, clipped to 0..size."""
    return np.int32(math.ceil(min(max(x - 0.5, 0.0), float(size))))


@jit
def _rows(y0, y1, first, last):
    """The rows first <= y < last whose centres lie in y0 <= y + 0.5 < y1.

    The outer max tells LLVM that no row is negative, so that it vectorizes loops over them.
    """
    return max(int(_pixel_from(y0, last)), first, 0), max(int(_pixel_from(y1, last)), first, 0)


@jit
def _ellipse_spans(pose, first, last, width, spans):
    """Spans of the ellipse that a pose makes of the unit circle.

    The row at distance d below the centre is crossed at x = k d -+ w sqrt(h2 - d**2), where h2 is the squared half height.
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
def _vertices_to_pixels(pose, vertices, i, count, vertices_px):
    """Map the vertices of object i to pixels."""
    a, b, x0, c, d, y0 = pose
    for k in range(count):
        u, v = vertices[i, k, 0], vertices[i, k, 1]
        vertices_px[0, k] = a * u + b * v + x0
        vertices_px[1, k] = c * u + d * v + y0


@jit
def _is_monotone(vertices_px, count):
    """Whether an outline goes down once and up once, so that every row crosses it twice or never."""
    reversals, previous, first = 0, 0, 0
    for k in range(count):
        step = vertices_px[1, k + 1 if k + 1 < count else 0] - vertices_px[1, k]
        direction = (1 if step > 0.0 else 0) - (1 if step < 0.0 else 0)
        if direction != 0:
            if previous * direction < 0:
                reversals += 1
            if first == 0:
                first = direction
            previous = direction
    return reversals + (1 if first != previous else 0) <= 2


@jit
def _monotone_spans(count, first, last, width, spans, vertices_px):
    """Spans of an outline whose rows each cross one falling and one rising edge."""
    top, bottom = last, first
    for k in range(count):
        after = k + 1 if k + 1 < count else 0
        falls = vertices_px[1, after] > vertices_px[1, k]
        upper, lower = (k, after) if falls else (after, k)
        x, y = vertices_px[0, upper], vertices_px[1, upper]
        begin, end = _rows(y, vertices_px[1, lower], first, last)
        if begin < end:
            slope = (vertices_px[0, lower] - x) / (vertices_px[1, lower] - y)
            side = 0 if falls else 1
            for row in range(begin, end):
                spans[side, row] = _pixel_from(x + ((row + 0.5) - y) * slope, width)
            top, bottom = min(top, begin), max(bottom, end)
    return min(top, bottom), bottom


@jit
def _general_spans(count, part, first, last, width, spans, vertices_px):
    """Spans between crossings 2 part and 2 part + 1 of each row, for any outline."""
    for row in range(first, last):
        center, num_crossings = row + 0.5, 0
        for k in range(count):
            after = k + 1 if k + 1 < count else 0
            upper, lower = (k, after) if vertices_px[1, after] > vertices_px[1, k] else (after, k)
            x, y = vertices_px[0, upper], vertices_px[1, upper]
            if y <= center < vertices_px[1, lower]:
                slope = (vertices_px[0, lower] - x) / (vertices_px[1, lower] - y)
                position, num_crossings = num_crossings, num_crossings + 1
                crossing = x + (center - y) * slope
                while position > 0 and vertices_px[2, position - 1] > crossing:  # insertion sort
                    vertices_px[2, position] = vertices_px[2, position - 1]
                    position -= 1
                vertices_px[2, position] = crossing
        has_part = 2 * part + 1 < num_crossings
        spans[0, row] = _pixel_from(vertices_px[2, 2 * part], width) if has_part else 0
        spans[1, row] = _pixel_from(vertices_px[2, 2 * part + 1], width) if has_part else 0
    return first, last


@jit
def project_vertices(pose, vertices, i, count, vertices_px):
    """Map the vertices of object i to pixels; returns the number of spans per row: 1, or more if the outline is concave."""
    parts = 1
    if count > 0:
        _vertices_to_pixels(pose, vertices, i, count, vertices_px)
        if count > 3 and not _is_monotone(vertices_px, count):
            parts = count // 2
    return parts


@jit
def object_spans(pose, count, part, parts, first, last, width, spans, vertices_px):
    """Compute the `part`-th span in each row of an object.

    Args:
        pose: map from outline coordinates to pixels.
        count: number of vertices, 0 for the unit circle.
        part: which of the spans in a row, 0..parts - 1.
        parts: result of `project_vertices`.
        first, last: compute only rows first <= y < last.
        width: width of the frame in pixels.
        spans: int32 (2, height), written: both ends of the span in row y, in either order; the larger is excluded.
        vertices_px: float64 (3, m), written by `project_vertices`.

    Returns:
        (top, bottom): rows top <= y < bottom of `spans` have been written; other rows have no span.
    """
    if count == 0:
        rows = _ellipse_spans(pose, first, last, width, spans)
    elif parts == 1:
        rows = _monotone_spans(count, first, last, width, spans, vertices_px)
    else:
        rows = _general_spans(count, part, first, last, width, spans, vertices_px)
    return rows  # a single return: Numba adds reference counting for each further one
