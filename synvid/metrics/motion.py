"""Motion in a clip: exact where its scene is known, else from differences of frames.

A scene gives the pose of each object in every frame, so speeds are those of the objects, not of edges found by an estimator.
A pixel belongs to the object that the rasterizer drew there, and its optical flow is that of the object's pose. It is occluded
in the next frame if the point it moves to lies inside a nearer object. That test uses the outline itself, not pixels.
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

__all__ = ["BLACK", "FrameDifference", "MotionStats", "black_fraction", "frame_difference", "motion_stats", "object_ids"]


Array = NDArray[np.float64]

#: A pixel is black if none of its channels is above this value; lossy video does not keep zeros.
BLACK = 8
_CHANGE_THRESHOLD = 10.0  # grey levels
_ROUNDING = 1e-9  # pixels


class MotionStats(NamedTuple):
    """Exact motion from frame t to frame t + 1.

    Attributes:
        speed: float64 (m,), of the m objects visible at t: how far their origin moves to t + 1, pixels per frame.
        acceleration: float64 (m,), change of their velocity in the following frame, pixels per frame**2; empty for clips of
            fewer than three frames.
        flow: mean length of the optical flow over all pixels, pixels per frame; background pixels count as 0.
        background: fraction of the pixels that no object covers.
        occluded: fraction of the objects' pixels that a nearer object covers at t + 1.
        out_of_frame: fraction of the objects' pixels that are outside the frame at t + 1.
    """

    speed: Array
    acceleration: Array
    flow: float
    background: float
    occluded: float
    out_of_frame: float


class FrameDifference(NamedTuple):
    """Difference of the luma of two consecutive frames.

    Attributes:
        mean: mean absolute difference, grey levels.
        changed: fraction of the pixels that differ by more than 10 grey levels.
    """

    mean: float
    changed: float


def black_fraction(frame: NDArray[np.uint8]) -> float:
    """Return the fraction of the pixels that have no channel above `BLACK`."""
    return float((frame <= BLACK).all(axis=-1).mean())


def frame_difference(frame: NDArray[np.uint8], following: NDArray[np.uint8]) -> FrameDifference:
    """Compare two frames, uint8 (H, W, 3)."""
    change = np.abs(luma(frame) - luma(following))
    return FrameDifference(float(change.mean()), float((change > _CHANGE_THRESHOLD).mean()))


def object_ids(scene: Scene, t: int) -> NDArray[np.int64]:
    """Return which object covers each pixel of frame t: its row in the scene, -1 for the background; int64 (H, W).

    The frame is rendered with a unique colour for each object, so the rasterizer itself decides.
    """
    numbers = np.arange(1, scene.num_objects + 1)
    colors = np.stack([numbers & 255, numbers >> 8 & 255, numbers >> 16], axis=1).astype(np.uint8)
    id_scene = dataclasses.replace(scene, colors=colors, background=(0, 0, 0), textures=None, antialias=False)
    frame = render_frames(id_scene, [t])[0].astype(np.int64)
    ids: NDArray[np.int64] = (frame[..., 0] | frame[..., 1] << 8 | frame[..., 2] << 16) - 1
    return ids


def motion_stats(scene: Scene, t: int) -> MotionStats:
    """Measure the motion from frame t to frame t + 1.

    Args:
        scene: a scene with at least one object.
        t: frame, 0..num_frames - 2.
    """
    before, after = scene.poses(t), scene.poses(t + 1)
    ids = object_ids(scene, t)
    rows, columns = np.nonzero(ids >= 0)
    ids = ids[rows, columns]
    x, y = columns + 0.5, rows + 0.5
    visible = np.flatnonzero(np.bincount(ids, minlength=scene.num_objects))
    transforms = np.zeros((scene.num_objects, 2, 3))
    transforms[visible] = _transform_between(before[visible], after[visible])
    transform = transforms[ids]
    x_next = transform[:, 0, 0] * x + transform[:, 0, 1] * y + transform[:, 0, 2]
    y_next = transform[:, 1, 0] * x + transform[:, 1, 1] * y + transform[:, 1, 2]
    outside = (x_next < 0) | (x_next >= scene.width) | (y_next < 0) | (y_next >= scene.height)
    occluded = np.zeros(len(ids), np.bool_)
    outlines = (scene.vertices, scene.num_vertices, scene.bounding_radii)
    _mark_occluded(after, outlines, ids, (x_next, y_next), (scene.height, scene.width), occluded)
    covered, pixels = max(len(ids), 1), scene.height * scene.width
    return MotionStats(
        speed=_length(after[visible, :, 2] - before[visible, :, 2]),
        acceleration=_acceleration(scene, t, visible),
        flow=float(_length(np.stack([x_next - x, y_next - y], axis=1)).sum() / pixels),
        background=1.0 - len(ids) / pixels,
        occluded=float((occluded & ~outside).sum() / covered),
        out_of_frame=float(outside.sum() / covered),
    )


def _length(vectors: Array) -> Array:
    """Return the lengths of vectors (m, 2); lengths below the rounding errors of pixel coordinates become 0."""
    length = np.hypot(vectors[:, 0], vectors[:, 1])
    return np.where(length < _ROUNDING, 0.0, length)


def _acceleration(scene: Scene, t: int, visible: NDArray[np.int64]) -> Array:
    """Return the length of the second difference of the objects' origins from frame t on, or in the last three frames."""
    if scene.num_frames < 3:
        return np.empty(0)
    t = min(t, scene.num_frames - 3)
    origins = [scene.poses(s)[visible, :, 2] for s in (t, t + 1, t + 2)]
    return _length(origins[2] - 2.0 * origins[1] + origins[0])


def _transform_between(before: Array, after: Array) -> Array:
    """Return the affine map of points from one pose to another, float64 (m, 2, 3)."""
    linear = after[:, :, :2] @ np.linalg.inv(before[:, :, :2])  # a visible object has an area
    offset = after[:, :, 2] - np.einsum("mij,mj->mi", linear, before[:, :, 2])
    return np.concatenate([linear, offset[:, :, None]], axis=2)


@jit
def _is_inside(vertices, i, count, u, v):
    """Return whether a point lies inside outline i, by the even-odd rule; u and v are in the outline's own coordinates."""
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
def _mark_occluded(poses, outlines, ids, points, size, occluded):
    """Mark the points that lie inside an object nearer than their own.

    Args:
        poses: float64 (n, 2, 3), poses in the frame of the points.
        outlines: vertices, numbers of vertices and reach, as in `paint`.
        ids: int64 (p,), the object of each point.
        points: x and y, float64 (p,) each, pixels.
        size: height and width of the frame; objects outside it are skipped.
        occluded: bool (p,), output.
    """
    vertices, num_vertices, reach = outlines
    x, y = points
    height, width = size
    for i in range(poses.shape[0] - 1, 0, -1):
        a, b, x0, c, d, y0 = poses[i, 0, 0], poses[i, 0, 1], poses[i, 0, 2], poses[i, 1, 0], poses[i, 1, 1], poses[i, 1, 2]
        area = a * d - b * c
        half_width, half_height = reach[i] * (abs(a) + abs(b)), reach[i] * (abs(c) + abs(d))
        if area == 0.0 or not is_drawable((a, b, x0, c, d, y0)):
            continue
        left, right, top, bottom = x0 - half_width, x0 + half_width, y0 - half_height, y0 + half_height
        if right < 0.0 or left > width or bottom < 0.0 or top > height:
            continue
        ux, uy, vx, vy = d / area, -b / area, -c / area, a / area
        for k in range(x.size):
            if ids[k] < i and left <= x[k] <= right and top <= y[k] <= bottom and not occluded[k]:
                u, v = ux * (x[k] - x0) + uy * (y[k] - y0), vx * (x[k] - x0) + vy * (y[k] - y0)
                if _is_inside(vertices, i, num_vertices[i], u, v):
                    occluded[k] = True
