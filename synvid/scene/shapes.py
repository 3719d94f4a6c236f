"""Shapes of objects, in unit coordinates: the unit circle, and polygons inscribed in it.

A polygon is a function from four uniform numbers per object to its vertices. `SHAPES` maps the names in presets to shapes.
The paper (section 3.1) has circles, triangles and quadrilaterals; its released code adds the other three.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from synvid.numerics.jit import jit
from synvid.numerics.portable_math import sin_cos_array

__all__ = ["MAX_VERTICES", "SHAPES", "bounding_radius", "sample_vertices"]


Array = NDArray[np.float64]

#: The largest number of vertices of a shape.
MAX_VERTICES = 4


def _on_circle(angles: Array) -> Array:
    """Points (n, m, 2) on the unit circle at angles (n, m) in radians."""
    return sin_cos_array(angles.ravel()).reshape(*angles.shape, 2)


def _quarter_turns(first: Array) -> Array:
    """The angles (n, 4) of a square's vertices, given that of the first (n,)."""
    return first[:, None] + np.arange(4) * (math.pi / 2)


def _triangle(u: Array) -> Array:
    """A triangle with uniform vertices on the circle."""
    return _on_circle(np.sort(u[:, :3], axis=1) * (2 * math.pi))


def _quadrilateral(u: Array) -> Array:
    """A quadrilateral with uniform vertices on the circle."""
    return _on_circle(np.sort(u[:, :4], axis=1) * (2 * math.pi))


def _square(u: Array) -> Array:
    """A square with sides parallel to the axes."""
    return _on_circle(_quarter_turns(np.full(len(u), math.pi / 4)))


def _oriented_square(u: Array) -> Array:
    """A square, rotated by a uniform angle."""
    return _on_circle(_quarter_turns(u[:, 0] * (2 * math.pi)))


def _rectangle(u: Array) -> Array:
    """A rectangle: a uniform point on the circle and its reflections in the axes."""
    vertex = sin_cos_array(u[:, 0] * (math.pi / 2))
    rectangle: Array = vertex[:, None, :] * np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    return rectangle


#: Name → function from uniform numbers (n, 4) to vertices (n, m, 2); None for the unit circle.
SHAPES: Mapping[str, Callable[[Array], Array] | None] = {
    "circle": None,
    "triangle": _triangle,
    "quadrilateral": _quadrilateral,
    "square": _square,
    "oriented_square": _oriented_square,
    "rectangle": _rectangle,
}


def sample_vertices(shapes: tuple[str, ...], choice: NDArray[np.int64], u: Array) -> tuple[Array, NDArray[np.int64]]:
    """Sample the outline of every object.

    Args:
        shapes: names in `SHAPES`.
        choice: int64 (n,), index into `shapes` of each object.
        u: uniform numbers (n, 4).

    Returns:
        Vertices (n, 4, 2), zero where unused, and their number (n,), 0 for a circle.
    """
    vertices = np.zeros((len(choice), MAX_VERTICES, 2))
    count = np.zeros(len(choice), np.int64)
    for number, name in enumerate(shapes):
        sample, rows = SHAPES[name], np.flatnonzero(choice == number)
        if sample is not None and rows.size:
            sampled = sample(u[rows])
            count[rows] = sampled.shape[1]
            vertices[rows, : sampled.shape[1]] = sampled
    return vertices, count


@jit
def bounding_radius(vertices: Array, num_vertices: NDArray[np.int64]) -> Array:
    """Distance of each outline's farthest point from its origin, float64 (n,); 1 for the unit circle."""
    radius = np.empty(num_vertices.size)
    for i in range(num_vertices.size):
        farthest = 0.0
        for k in range(vertices.shape[1]):
            farthest = max(farthest, vertices[i, k, 0] * vertices[i, k, 0] + vertices[i, k, 1] * vertices[i, k, 1])
        radius[i] = 1.0 if num_vertices[i] == 0 else math.sqrt(farthest)
    return radius
