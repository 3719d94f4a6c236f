"""What moves in a clip: exactly, where its scene is known, and from the differences of its frames.

A scene says at every frame where each object is. So speeds are those of the objects, not of edges that an estimator saw:
a pixel belongs to the object that the rasterizer painted there, its flow is the one of the object's pose, and it is hidden in
the next frame if the point it moves to lies inside a nearer object, tested on the outline itself.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synvid.metrics.spectrum import luma
from synvid.numerics.jit import jit
from synvid.raster.spans import is_drawable
from synvid.renderer import render_frames
from synvid.scene.scene import Scene

__all__ = ["BLACK", "FrameDifference", "MotionStats", "black_share", "frame_difference", "instances", "motion_stats"]


Array = NDArray[np.float64]

#: A pixel is black if none of its channels is above this: lossy video does not keep zeros.
BLACK = 8
_MOVED = 10.0  # grey levels
_ROUNDING = 1e-9  # pixels


class MotionStats(NamedTuple):
    """What a scene says of one moment, frames t to t + 1.

    Attributes:
        speed: float64 (m,), of the m objects that own a pixel at t: how far their origin moves to t + 1, pixels per frame.
        acceleration: float64 (m,), by how much that differs a frame later, pixels per frame**2; (0,) where the clip has no
            three frames.
        flow: mean length of optical flow over all pixels, pixels per frame; a background counts with 0.
        background: share of the pixels that no object owns.
        hidden: share of the objects' pixels that a nearer object hides at t + 1.
        left: share of them that are outside the frame at t + 1.
    """

    speed: Array
    acceleration: Array
    flow: float
    background: float
    hidden: float
    left: float


class FrameDifference(NamedTuple):
    """How the luma of two consecutive frames differs.

    Attributes:
        mean: mean absolute difference, grey levels.
        moved: share of the pixels that differ by more than 10 grey levels.
    """

    mean: float
    moved: float


def black_share(frame: NDArray[np.uint8]) -> float:
    """Share of a frame's pixels of which no channel is above `BLACK`."""
    return float((frame <= BLACK).all(axis=-1).mean())


def frame_difference(frame: NDArray[np.uint8], following: NDArray[np.uint8]) -> FrameDifference:
    """Compare two frames, uint8 (H, W, 3)."""
    change = np.abs(luma(frame) - luma(following))
    return FrameDifference(float(change.mean()), float((change > _MOVED).mean()))


def instances(scene: Scene, t: int) -> NDArray[np.int64]:
    """Which object owns each pixel at frame t: its row, -1 the background; int64 (H, W).

    The frame is painted with a colour for each object, so it is the rasterizer that says so.
    """
    count = scene.num_objects
    numbers = np.arange(1, count + 1)
    colors = np.stack([numbers & 255, numbers >> 8 & 255, numbers >> 16], axis=1).astype(np.uint8)
    plain = dataclasses.replace(scene, colors=colors, background=(0, 0, 0), textures=None, antialias=False)
    frame = render_frames(plain, [t])[0].astype(np.int64)
    owners: NDArray[np.int64] = (frame[..., 0] | frame[..., 1] << 8 | frame[..., 2] << 16) - 1
    return owners


def motion_stats(scene: Scene, t: int) -> MotionStats:
    """What moves from frame t to frame t + 1.

    Args:
        scene: with one object or more.
        t: 0..num_frames - 2.
    """
    before, after = scene.poses(t), scene.poses(t + 1)
    owner = instances(scene, t)
    rows, columns = np.nonzero(owner >= 0)
    owners = owner[rows, columns]
    x, y = columns + 0.5, rows + 0.5
    used = np.flatnonzero(np.bincount(owners, minlength=scene.num_objects))
    steps = np.zeros((scene.num_objects, 2, 3))
    steps[used] = _moved_by(before[used], after[used])
    step = steps[owners]
    x_next = step[:, 0, 0] * x + step[:, 0, 1] * y + step[:, 0, 2]
    y_next = step[:, 1, 0] * x + step[:, 1, 1] * y + step[:, 1, 2]
    outside = (x_next < 0) | (x_next >= scene.width) | (y_next < 0) | (y_next >= scene.height)
    hidden = np.zeros(len(owners), np.bool_)
    outlines = (scene.vertices, scene.num_vertices, scene.bounding_radii)
    _find_hidden(after, outlines, owners, (x_next, y_next), (scene.height, scene.width), hidden)
    area, pixels = max(len(owners), 1), scene.height * scene.width
    return MotionStats(
        speed=_travel(before[used], after[used]),
        acceleration=_acceleration(scene, t, used),
        flow=float(_length(np.stack([x_next - x, y_next - y], axis=1)).sum() / pixels),
        background=1.0 - len(owners) / pixels,
        hidden=float((hidden & ~outside).sum() / area),
        left=float(outside.sum() / area),
    )


def _travel(before: Array, after: Array) -> Array:
    """How far the origins of poses (m, 2, 3) are apart, (m,)."""
    return _length(after[:, :, 2] - before[:, :, 2])


def _length(steps: Array) -> Array:
    """Lengths of vectors (m, 2), without the rounding of numbers as large as a frame."""
    length = np.hypot(steps[:, 0], steps[:, 1])
    return np.where(length < _ROUNDING, 0.0, length)


def _acceleration(scene: Scene, t: int, used: NDArray[np.int64]) -> Array:
    """Length of the second difference of the objects' origins from frame t on, or in the last three frames."""
    if scene.num_frames < 3:
        return np.empty(0)
    t = min(t, scene.num_frames - 3)
    origins = [scene.poses(s)[used, :, 2] for s in (t, t + 1, t + 2)]
    return _length(origins[2] - 2.0 * origins[1] + origins[0])


def _moved_by(before: Array, after: Array) -> Array:
    """The affine map that takes where points are under one pose to where they are under the other, float64 (m, 2, 3)."""
    linear = after[:, :, :2] @ np.linalg.inv(before[:, :, :2])  # an object that owns a pixel has an area
    offset = after[:, :, 2] - np.einsum("mij,mj->mi", linear, before[:, :, 2])
    return np.concatenate([linear, offset[:, :, None]], axis=2)


@jit
def _is_inside(vertices, i, count, u, v):
    """Whether a point lies inside an outline, by the even-odd rule, in the outline's own coordinates."""
    if count == 0:
        return u * u + v * v < 1.0
    inside = False
    for k in range(count):
        after = k + 1 if k + 1 < count else 0
        u0, v0, u1, v1 = vertices[i, k, 0], vertices[i, k, 1], vertices[i, after, 0], vertices[i, after, 1]
        if (v0 <= v) != (v1 <= v) and u < u0 + (v - v0) / (v1 - v0) * (u1 - u0):
            inside = not inside
    return inside


@jit
def _find_hidden(poses, outlines, owners, points, size, hidden):
    """Find the points that lie inside an object nearer than their owner.

    Args:
        poses: float64 (n, 2, 3), at the frame of the points.
        outlines: vertices, their number, reach, as in `paint`.
        owners: int64 (p,), the points' objects.
        points: their x and y, float64 (p,) each, pixels.
        size: height and width of the frame; what a point outside it lies in is not asked.
        hidden: bool (p,), written.
    """
    vertices, num_vertices, reach = outlines
    x, y = points
    height, width = size
    for i in range(poses.shape[0] - 1, 0, -1):
        a, b, x0, c, d, y0 = poses[i, 0, 0], poses[i, 0, 1], poses[i, 0, 2], poses[i, 1, 0], poses[i, 1, 1], poses[i, 1, 2]
        area = a * d - b * c
        across, down = reach[i] * (abs(a) + abs(b)), reach[i] * (abs(c) + abs(d))
        if area == 0.0 or not is_drawable((a, b, x0, c, d, y0)):
            continue
        left, right, top, bottom = x0 - across, x0 + across, y0 - down, y0 + down
        if right < 0.0 or left > width or bottom < 0.0 or top > height:
            continue
        ux, uy, vx, vy = d / area, -b / area, -c / area, a / area
        for k in range(x.size):
            if owners[k] < i and left <= x[k] <= right and top <= y[k] <= bottom and not hidden[k]:
                u, v = ux * (x[k] - x0) + uy * (y[k] - y0), vx * (x[k] - x0) + vy * (y[k] - y0)
                if _is_inside(vertices, i, num_vertices[i], u, v):
                    hidden[k] = True
