"""The discrete Fourier transform of square real images, from + - * alone, with the same bits on every machine.

Library transforms may differ in the last bit between versions, and are slower here. These transforms run down the columns of
an array, which LLVM vectorizes, and leave the frequencies in bit-reversed order: filtering needs no sorted frequencies.

* An image of side n is stored as its left and right **halves**, float32 (2, n, n // 2).
* A **spectrum** is float32 (2, n, n // 2 + 1): real and imaginary part; row r has horizontal frequency `plan.frequency[r]`,
  column k vertical frequency k. The other half-plane is its mirrored conjugate.

Both directions are orthonormal: a spectrum has the energy of its image. The algorithm is Cooley and Tukey's (1965): radix two
in place, and a direct transform for the odd factor of n.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synvid.numerics.jit import jit
from synvid.numerics.portable_math import sin_cos_array

__all__ = ["FFTPlan", "forward", "inverse", "join_halves", "plan_for", "split_halves"]


#: Columns that a transposition handles at once, to stay in the L1 cache.
_BLOCK = 16


class FFTPlan(NamedTuple):
    """Tables for the transforms of images with side n = odd * 2**k."""

    frequency: NDArray[np.int64]  # (n,) horizontal frequency of each row, -n/2..n/2 - 1
    row: NDArray[np.int64]  # (n,) row of frequency f or f - n, for f = 0..n - 1
    odd: int
    cosine: NDArray[np.float32]  # (n,) of 2 pi t / n, for the odd factor
    sine: NDArray[np.float32]  # (n,) of -2 pi t / n
    block_cosine: NDArray[np.float32]  # (2**k,) of half the angle of frequency t in bit-reversed order, for the powers of two
    block_sine: NDArray[np.float32]
    has_single_step: bool  # k is odd: one step of radix two is not paired with another


def _units(angles: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines and sines as float32; rounding errors near zero are set to zero."""
    units = sin_cos_array(angles.astype(np.float64))
    units[np.abs(units) < 1e-9] = 0.0
    return np.ascontiguousarray(units[:, 0], np.float32), np.ascontiguousarray(units[:, 1], np.float32)


@lru_cache(maxsize=16)
def plan_for(size: int) -> FFTPlan:
    """The plan for images of `size` x `size` pixels, `size` even."""
    odd = size
    while odd % 2 == 0:
        odd //= 2
    bit_reversed = np.zeros(1, np.int64)
    while odd * bit_reversed.size < size:  # the even frequencies come first, then the odd ones, at every level
        bit_reversed = np.concatenate([2 * bit_reversed, 2 * bit_reversed + 1])
    blocks = _units(bit_reversed * (-math.pi / bit_reversed.size))
    has_single_step = bit_reversed.size.bit_length() % 2 == 0
    frequency = (odd * bit_reversed + np.arange(odd)[:, None]).ravel()
    row = np.empty(size, np.int64)
    row[frequency] = np.arange(size)
    frequency[frequency >= size // 2] -= size
    return FFTPlan(frequency, row, odd, *_units(np.arange(size) * (-2.0 * math.pi / size)), *blocks, has_single_step)


def split_halves(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Split an image (n, n) into its halves (2, n, n // 2), a copy."""
    middle = image.shape[1] // 2
    return np.stack([image[:, :middle], image[:, middle:]])


def join_halves(halves: NDArray[np.float32]) -> NDArray[np.float32]:
    """Join halves (2, n, n // 2) to an image (n, n), a copy."""
    return np.concatenate([halves[0], halves[1]], axis=1)


@jit
def _slices(re, im, start, count):
    """`count` elements of two flat arrays."""
    return re[start : start + count], im[start : start + count]


@jit
def _step(re, im, start, count, cosine, sine):
    """One step of radix two: a and b, `count` numbers each, become a + b w and a - b w, with w = cosine + i sine."""
    re_a, im_a = _slices(re, im, start, count)
    re_b, im_b = _slices(re, im, start + count, count)
    for k in range(count):
        x, y = re_b[k] * cosine - im_b[k] * sine, re_b[k] * sine + im_b[k] * cosine
        re_b[k], im_b[k] = re_a[k] - x, im_a[k] - y
        re_a[k] += x
        im_a[k] += y


@jit
def _step_back(re, im, start, count, cosine, sine):
    """Undo `_step`, times two."""
    re_a, im_a = _slices(re, im, start, count)
    re_b, im_b = _slices(re, im, start + count, count)
    for k in range(count):
        x, y = re_a[k] - re_b[k], im_a[k] - im_b[k]
        re_a[k] += re_b[k]
        im_a[k] += im_b[k]
        re_b[k], im_b[k] = x * cosine + y * sine, y * cosine - x * sine


@jit
def _two_steps(re, im, start, count, first, second, third):
    """`_step` on the halves, then on each half: two steps with one pass through memory."""
    re_a, im_a = _slices(re, im, start, count)
    re_b, im_b = _slices(re, im, start + count, count)
    re_c, im_c = _slices(re, im, start + 2 * count, count)
    re_d, im_d = _slices(re, im, start + 3 * count, count)
    for k in range(count):
        x, y = re_c[k] * first[0] - im_c[k] * first[1], re_c[k] * first[1] + im_c[k] * first[0]
        u, v = re_d[k] * first[0] - im_d[k] * first[1], re_d[k] * first[1] + im_d[k] * first[0]
        ax, ay, cx, cy = re_a[k] + x, im_a[k] + y, re_a[k] - x, im_a[k] - y
        bx, by, dx, dy = re_b[k] + u, im_b[k] + v, re_b[k] - u, im_b[k] - v
        x, y = bx * second[0] - by * second[1], bx * second[1] + by * second[0]
        u, v = dx * third[0] - dy * third[1], dx * third[1] + dy * third[0]
        re_a[k], im_a[k], re_b[k], im_b[k] = ax + x, ay + y, ax - x, ay - y
        re_c[k], im_c[k], re_d[k], im_d[k] = cx + u, cy + v, cx - u, cy - v


@jit
def _two_steps_back(re, im, start, count, first, second, third):
    """Undo `_two_steps`, times four."""
    re_a, im_a = _slices(re, im, start, count)
    re_b, im_b = _slices(re, im, start + count, count)
    re_c, im_c = _slices(re, im, start + 2 * count, count)
    re_d, im_d = _slices(re, im, start + 3 * count, count)
    for k in range(count):
        ax, ay, x, y = re_a[k] + re_b[k], im_a[k] + im_b[k], re_a[k] - re_b[k], im_a[k] - im_b[k]
        cx, cy, u, v = re_c[k] + re_d[k], im_c[k] + im_d[k], re_c[k] - re_d[k], im_c[k] - im_d[k]
        bx, by = x * second[0] + y * second[1], y * second[0] - x * second[1]
        dx, dy = u * third[0] + v * third[1], v * third[0] - u * third[1]
        x, y, u, v = ax - cx, ay - cy, bx - dx, by - dy
        re_a[k], im_a[k], re_b[k], im_b[k] = ax + cx, ay + cy, bx + dx, by + dy
        re_c[k], im_c[k] = x * first[0] + y * first[1], y * first[0] - x * first[1]
        re_d[k], im_d[k] = u * first[0] + v * first[1], v * first[0] - u * first[1]


@jit
def _add_product(to_re, to_im, re, im, cosine, sine):
    """Add a row times cosine + i sine to another row."""
    for k in range(re.size):
        to_re[k] += re[k] * cosine - im[k] * sine
        to_im[k] += re[k] * sine + im[k] * cosine


@jit
def _odd_factor(re, im, plan, inverse):
    """The transforms of odd length over the rows p, p + m, p + 2 m, ..., for every p < m, and the twiddle factors.

    Forward, y[p, j] = w**(p j) sum over k of x[p, k] w**(m j k), where w = exp(-2 pi i / n).
    """
    size, odd = re.shape[0], plan.odd
    m = size // odd
    sums_re, sums_im = np.empty((odd, re.shape[1]), np.float32), np.empty((odd, re.shape[1]), np.float32)
    for p in range(m):
        sums_re[:] = np.float32(0.0)
        sums_im[:] = np.float32(0.0)
        for j in range(odd):
            for k in range(odd):
                angle = (m * j * k + p * (k if inverse else j)) % size
                sine = -plan.sine[angle] if inverse else plan.sine[angle]
                _add_product(sums_re[j], sums_im[j], re[p + m * k], im[p + m * k], plan.cosine[angle], sine)
        for j in range(odd):
            re[p + m * j] = sums_re[j]
            im[p + m * j] = sums_im[j]


@jit
def _twiddle(plan, block):
    """The twiddle factor of a step on blocks 2 block and 2 block + 1."""
    return plan.block_cosine[block], plan.block_sine[block]


@jit
def _forward_columns(re, im, plan):
    """Transform every column in place, float32 (n, any); row r of the result has frequency `plan.frequency[r]`.

    A polynomial modulo x**l - c**2 is split into its remainders modulo x**(l / 2) - c and x**(l / 2) + c, and so on down to
    its values. A whole block has the same twiddle factor, so the inner loops are long.
    """
    if plan.odd > 1:
        _odd_factor(re, im, plan, False)
    flat_re, flat_im = re.reshape(-1), im.reshape(-1)
    length = re.size // plan.odd
    for start in range(0, re.size, length):
        blocks = 1
        if plan.has_single_step:
            _step(flat_re, flat_im, start, length // 2, *_twiddle(plan, 0))
            blocks = 2
        while blocks < plan.block_cosine.size:
            count = length // (4 * blocks)
            for k in range(blocks):
                twiddles = _twiddle(plan, k), _twiddle(plan, 2 * k), _twiddle(plan, 2 * k + 1)
                _two_steps(flat_re, flat_im, start + 4 * k * count, count, *twiddles)
            blocks *= 4


@jit
def _inverse_columns(re, im, plan):
    """Undo `_forward_columns`, times n."""
    flat_re, flat_im = re.reshape(-1), im.reshape(-1)
    length = re.size // plan.odd
    for start in range(0, re.size, length):
        blocks = plan.block_cosine.size // 4
        while blocks > 0:
            count = length // (4 * blocks)
            for k in range(blocks):
                twiddles = _twiddle(plan, k), _twiddle(plan, 2 * k), _twiddle(plan, 2 * k + 1)
                _two_steps_back(flat_re, flat_im, start + 4 * k * count, count, *twiddles)
            blocks //= 4
        if plan.has_single_step:
            _step_back(flat_re, flat_im, start, length // 2, *_twiddle(plan, 0))
    if plan.odd > 1:
        _odd_factor(re, im, plan, True)


@jit
def forward(halves, spectrum, plan):
    """Transform an image to its spectrum.

    The columns of the two halves are the real and imaginary part of one complex transform; symmetry separates the results.

    Args:
        halves: float32 (2, n, n // 2); overwritten.
        spectrum: float32 (2, n, n // 2 + 1); written.
        plan: plan for side n.
    """
    re, im = halves[0], halves[1]
    size, middle = re.shape
    _forward_columns(re, im, plan)
    scale = np.float32(0.5 / size)
    for left in range(0, middle, _BLOCK):
        right = min(left + _BLOCK, middle)
        for k in range(middle + 1):
            row, mirrored = plan.row[k], plan.row[(size - k) % size]
            for x in range(left, right):
                a, b, c, d = re[row, x], im[row, x], re[mirrored, x], im[mirrored, x]
                spectrum[0, x, k], spectrum[1, x, k] = scale * (a + c), scale * (b - d)
                spectrum[0, x + middle, k], spectrum[1, x + middle, k] = scale * (b + d), scale * (c - a)
    _forward_columns(spectrum[0], spectrum[1], plan)


@jit
def inverse(spectrum, halves, plan):
    """Transform a spectrum to its image, the inverse of `forward`.

    Args:
        spectrum: float32 (2, n, n // 2 + 1); overwritten.
        halves: float32 (2, n, n // 2); written.
        plan: plan for side n.
    """
    re, im = halves[0], halves[1]
    size, middle = re.shape
    _inverse_columns(spectrum[0], spectrum[1], plan)
    scale = np.float32(1.0 / size)
    for left in range(0, middle, _BLOCK):
        right = min(left + _BLOCK, middle)
        for k in range(middle + 1):
            row, mirrored = plan.row[k], plan.row[(size - k) % size]
            for x in range(left, right):
                a, b = scale * spectrum[0, x, k], scale * spectrum[1, x, k]
                c, d = scale * spectrum[0, x + middle, k], scale * spectrum[1, x + middle, k]
                re[row, x], im[row, x] = a - d, b + c
                re[mirrored, x], im[mirrored, x] = a + d, c - b
    _inverse_columns(re, im, plan)
