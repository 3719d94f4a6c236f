"""Poses of the objects at frame t, as a closed form of t: every frame costs the same.

Centres move by p(t) = p(0) + (v t + a t**2 / 2) d. The linear part is (Shear Rot Scale)**t (compound) or
Rot(w t) Scale(1 + s t) Shear(h t) (linear), about a pivot. Section 3.1 and Table 8 of the paper.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synvid.numerics.jit import jit
from synvid.numerics.portable_math import sin_cos_array

__all__ = ["Kinematics", "StepPowers", "poses_at", "step_powers"]


Array = NDArray[np.float64]

#: (Shear Rot Scale)**t is the product of two tabulated powers: number t // 16 of one table and t % 16 of the other.
_STRIDE = 16


class Kinematics(NamedTuple):
    """Motion of n objects, one row per object, back to front."""

    radius: Array  # (n,) pixels
    center: Array  # (n, 2) pixels, at frame 0
    direction: Array  # (n, 2) unit vectors
    speed: Array  # (n,) pixels per frame
    acceleration: Array  # (n,) pixels per frame**2
    rotation: Array  # (n,) radians per frame
    scale: Array  # (n, 2) per frame; the factors are 1 + s
    shear: Array  # (n, 2) per frame
    pivot: Array  # (2,) in radii from the centre
    compound: bool
    integer_positions: bool


class StepPowers(NamedTuple):
    """Powers of each object's transform from frame to frame, as 2x2 matrices (m00, m01, m10, m11)."""

    fine: Array  # (n, 16, 4): powers 0..15
    coarse: Array  # (n, k, 4): powers 0, 16, 32, ...


@jit
def _product(a, b):
    """The product of two 2x2 matrices."""
    return (
        a[0] * b[0] + a[1] * b[2],
        a[0] * b[1] + a[1] * b[3],
        a[2] * b[0] + a[3] * b[2],
        a[2] * b[1] + a[3] * b[3],
    )


@jit
def _factors(cosine, sine, scale_x, scale_y, shear_x, shear_y):
    """Rotation by an angle, scaling by 1 + s and shear by h, as 2x2 matrices."""
    return (cosine, -sine, sine, cosine), (1.0 + scale_x, 0.0, 0.0, 1.0 + scale_y), (1.0, shear_x, shear_y, 1.0)


@jit
def _fill_powers(step, powers):
    """Write powers 0..k - 1 of a matrix to an array (k, 4); return power k."""
    power = (1.0, 0.0, 0.0, 1.0)
    for k in range(powers.shape[0]):
        powers[k, 0], powers[k, 1], powers[k, 2], powers[k, 3] = power
        power = _product(power, step)
    return power


@jit
def step_powers(motion: Kinematics, num_frames: int) -> StepPowers:
    """The matrix powers that `poses_at` needs for frames 0..num_frames - 1.

    No entry depends on `num_frames`. The tables are empty for the `linear` composition.
    """
    count = motion.radius.size if motion.compound else 0
    fine = np.empty((count, _STRIDE, 4))
    coarse = np.empty((count, (num_frames + _STRIDE - 1) // _STRIDE, 4))
    units = sin_cos_array(motion.rotation)
    for i in range(count):
        rotation, scale, shear = _factors(
            units[i, 0], units[i, 1], motion.scale[i, 0], motion.scale[i, 1], motion.shear[i, 0], motion.shear[i, 1]
        )
        stride = _fill_powers(_product(shear, _product(rotation, scale)), fine[i])
        _fill_powers(stride, coarse[i])
    return StepPowers(fine, coarse)


@jit
def _linear_part(motion: Kinematics, powers: StepPowers, units, i: int, t: int):
    """The 2x2 matrix that rotates, scales and shears object i at frame t."""
    if motion.compound:
        return _product(powers.coarse[i, t // _STRIDE], powers.fine[i, t % _STRIDE])
    rotation, scale, shear = _factors(
        units[i, 0],
        units[i, 1],
        motion.scale[i, 0] * t,
        motion.scale[i, 1] * t,
        motion.shear[i, 0] * t,
        motion.shear[i, 1] * t,
    )
    return _product(rotation, _product(scale, shear))


@jit
def poses_at(motion: Kinematics, powers: StepPowers, t: int, poses: Array) -> None:
    """Write the pose of every object at frame t.

    Args:
        motion: motion of n objects.
        powers: from `step_powers`, for more than t frames.
        t: frame number.
        poses: float64 (n, 2, 3), written; x = p00 u + p01 v + p02, y = p10 u + p11 v + p12 maps outline coordinates (u, v)
            to pixels.
    """
    units = np.empty((0, 2)) if motion.compound else sin_cos_array(motion.rotation * t)
    for i in range(motion.radius.size):
        radius = motion.radius[i]
        distance = (motion.speed[i] + 0.5 * motion.acceleration[i] * t) * t
        x = motion.center[i, 0] + distance * motion.direction[i, 0]
        y = motion.center[i, 1] + distance * motion.direction[i, 1]
        if motion.integer_positions:
            x, y = math.floor(x), math.floor(y)
        m00, m01, m10, m11 = _linear_part(motion, powers, units, i, t)
        u, v = motion.pivot
        poses[i, 0, 0], poses[i, 0, 1] = radius * m00, radius * m01
        poses[i, 1, 0], poses[i, 1, 1] = radius * m10, radius * m11
        poses[i, 0, 2] = x + radius * (u - (m00 * u + m01 * v))
        poses[i, 1, 2] = y + radius * (v - (m10 * u + m11 * v))
