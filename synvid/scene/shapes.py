"""The shapes of objects, in unit coordinates: polygons inscribed in the circle of radius 1, and that circle itself.

A shape is a function from four uniform numbers an object to its vertices; `SHAPES` is the registry that presets name.
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

#: Vertices of the largest shape of the registry.
MAX_VERTICES = 4


def _on_circle(angles: Array) -> Array:
    """Angles (n, m) in radians to points (n, m, 2)."""
    return sin_cos_array(angles.ravel()).reshape(*angles.shape, 2)


def _corners(first: Array) -> Array:
    """The angle of one corner of a square to those of all four."""
    return first[:, None] + np.arange(4) * (math.pi / 2)


def _triangle(u: Array) -> Array:
    """Three uniform points on the circle."""
    return _on_circle(np.sort(u[:, :3], axis=1) * (2 * math.pi))


def _quadrilateral(u: Array) -> Array:
    """Four uniform points on the circle."""
    return _on_circle(np.sort(u[:, :4], axis=1) * (2 * math.pi))


def _square(u: Array) -> Array:
    """The square with sides along the axes."""
    return _on_circle(_corners(np.full(len(u), math.pi / 4)))


def _oriented_square(u: Array) -> Array:
    """The square, turned by a uniform angle."""
    return _on_circle(_corners(u[:, 0] * (2 * math.pi)))


def _rectangle(u: Array) -> Array:
    """A uniform point on the circle and its three reflections in the axes."""
    corner = sin_cos_array(u[:, 0] * (math.pi / 2))
    rectangle: Array = corner[:, None, :] * np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    return rectangle


#: Name → function from uniforms (n, 4) to vertices (n, m, 2); None is the unit circle.
SHAPES: Mapping[str, Callable[[Array], Array] | None] = {
    "circle": None,
    "triangle": _triangle,
    "quadrilateral": _quadrilateral,
    "square": _square,
    "oriented_square": _oriented_square,
    "rectangle": _rectangle,
}


def sample_vertices(shapes: tuple[str, ...], choice: NDArray[np.int64], u: Array) -> tuple[Array, NDArray[np.int64]]:
    """Draw the outline of every object.

    Args:
        shapes: names in `SHAPES`.
        choice: int64 (n,), which of `shapes` each object has.
        u: uniform numbers (n, 4).

    Returns:
        Vertices (n, 4, 2), zero where unused, and their number (n,), 0 for a circle.
    """
    vertices = np.zeros((len(choice), MAX_VERTICES, 2))
    count = np.zeros(len(choice), np.int64)
    for number, name in enumerate(shapes):
        draw, rows = SHAPES[name], np.flatnonzero(choice == number)
        if draw is not None and rows.size:
            drawn = draw(u[rows])
            count[rows] = drawn.shape[1]
            vertices[rows, : drawn.shape[1]] = drawn
    return vertices, count


@jit
def bounding_radius(vertices: Array, num_vertices: NDArray[np.int64]) -> Array:
    """Distance of each outline's farthest point from its origin, float64 (n,); 1 for the unit circle."""
    reach = np.empty(num_vertices.size)
    for i in range(num_vertices.size):
        farthest = 0.0
        for k in range(vertices.shape[1]):
            farthest = max(farthest, vertices[i, k, 0] * vertices[i, k, 0] + vertices[i, k, 1] * vertices[i, k, 1])
        reach[i] = 1.0 if num_vertices[i] == 0 else math.sqrt(farthest)
    return reach
