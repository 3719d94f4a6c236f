"""A slow, plain rasterizer: every pixel asks every object, back to front, whether its centre is inside.

It follows the rule of `synvid.raster.spans` to the letter and shares no code with it.
"""

import math

import numpy as np


def crossings(pose, outline, y):
    """Where an outline crosses the line y, in the order of its edges."""
    if outline is None:
        (a, b, x0), (c, d, y0) = pose.tolist()
        h2 = c * c + d * d
        if h2 < 1e-18 or not y0 - math.sqrt(h2) <= y < y0 + math.sqrt(h2):
            return []
        down = y - y0
        half = abs(a * d - b * c) / h2 * math.sqrt(max(h2 - down * down, 0.0))
        middle = x0 + (a * c + b * d) / h2 * down
        return [middle - half, middle + half]
    (a, b, x0), (c, d, y0) = pose.tolist()
    points = [(a * u + b * v + x0, c * u + d * v + y0) for u, v in outline.tolist()]
    found = []
    for one, other in zip(points, points[1:] + points[:1], strict=True):
        upper, lower = (one, other) if other[1] > one[1] else (other, one)
        if upper[1] <= y < lower[1]:
            slope = (lower[0] - upper[0]) / (lower[1] - upper[1])
            found.append(upper[0] + (y - upper[1]) * slope)
    return found


def mask(pose, outline, height, width):
    """The pixels whose centre is inside: right of an odd number of crossings of their row."""
    inside = np.zeros((height, width), bool)
    if np.isfinite(pose).all() and (abs(pose) < 1e9).all():
        centers = np.arange(width) + 0.5
        for y in range(height):
            for x in crossings(pose, outline, y + 0.5):
                inside[y] ^= centers >= x
    return inside


def paint(poses, outlines, colors, background, height, width):
    """A frame, uint8 (H, W, 3), painted back to front."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[:] = background
    for pose, outline, color in zip(poses, outlines, colors, strict=True):
        frame[mask(pose, outline, height, width)] = color
    return frame


def render(scene, t):
    """One frame of a scene, uint8 (H, W, 3)."""
    poses = scene.poses(t)
    if not scene.antialias:
        return paint(poses, scene.outlines, scene.colors, scene.background, scene.height, scene.width)
    fine = paint(poses * 4, scene.outlines, scene.colors, scene.background, scene.height * 4, scene.width * 4)
    samples = fine.reshape(scene.height, 4, scene.width, 4, 3).astype(int)
    return ((samples.sum((1, 3)) + 8) // 16).astype(np.uint8)


def visible_objects(scene, t):
    """Rows of the objects that own at least one pixel."""
    owner = np.full((scene.height, scene.width), -1)
    for i, (pose, outline) in enumerate(zip(scene.poses(t), scene.outlines, strict=True)):
        owner[mask(pose, outline, scene.height, scene.width)] = i
    return np.unique(owner[owner >= 0])
