"""Counter-based random numbers: Philox4x64-10 (Salmon et al. 2011), keyed by (seed, index).

Each quantity of a clip has its own stream, so a preset that needs one more quantity does not change the others: clip 7 of
`moving_shapes` has the centres, colours and radii of clip 7 of `moving_circles`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from synvid.numerics.jit import jit

__all__ = ["philox4x64", "raw", "uniform"]


_LOW32 = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_MULTIPLIER_0 = np.uint64(0xD2E7470EE14C6C93)
_MULTIPLIER_1 = np.uint64(0xCA5A826395121157)
_WEYL_0 = np.uint64(0x9E3779B97F4A7C15)
_WEYL_1 = np.uint64(0xBB67AE8584CAA73B)


@jit
def _high_product(a: np.uint64, b: np.uint64) -> np.uint64:
    """The upper 64 bits of the 128-bit product a * b."""
    a_low, a_high = a & _LOW32, a >> _32
    b_low, b_high = b & _LOW32, b >> _32
    cross = a_high * b_low + ((a_low * b_low) >> _32)
    cross_2 = a_low * b_high + (cross & _LOW32)
    return a_high * b_high + (cross >> _32) + (cross_2 >> _32)


@jit
def philox4x64(counter, key):
    """Ten rounds of Philox4x64: four uint64 counter words and two key words give four random words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high_0, low_0 = _high_product(_MULTIPLIER_0, c0), _MULTIPLIER_0 * c0
        high_1, low_1 = _high_product(_MULTIPLIER_1, c2), _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0 += _WEYL_0
        k1 += _WEYL_1
    return c0, c1, c2, c3


@jit
def raw(seed: np.uint64, index: np.uint64, stream: int, count: int) -> NDArray[np.uint64]:
    """The first `count` words of a stream, uint64 (count,). The counter is (block, stream, 0, 0)."""
    words = np.empty((count + 3) // 4 * 4, np.uint64)
    zero = np.uint64(0)
    for block in range(words.size // 4):
        counter = (np.uint64(block), np.uint64(stream), zero, zero)
        w0, w1, w2, w3 = philox4x64(counter, (np.uint64(seed), np.uint64(index)))
        words[4 * block], words[4 * block + 1], words[4 * block + 2], words[4 * block + 3] = w0, w1, w2, w3
    return words[:count]


@jit
def _unit(words):
    """Numbers in [0, 1) from the upper 53 bits of each word."""
    numbers = np.empty(words.size)
    for i in range(words.size):
        numbers[i] = np.float64(np.int64(words[i] >> np.uint64(11))) * 2.0**-53
    return numbers


def uniform(seed: int, index: int, stream: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) with 53 random bits.

    Args:
        seed: 0..2**64-1.
        index: index of the clip, 0..2**64-1.
        stream: the quantity that the numbers are for, a `Stream`.
        shape: shape of the result. A longer first axis does not change the first rows.

    Returns:
        float64 array of `shape`.
    """
    numbers: NDArray[np.float64] = _unit(raw(np.uint64(seed), np.uint64(index), int(stream), math.prod(shape)))
    return numbers.reshape(shape)
