"""Random numbers (Philox) and elementary functions, on which determinism depends."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synvid.numerics.portable_math import log, sin_cos, sin_cos_array
from synvid.numerics.rng import philox4x64, raw, uniform
from synvid.numerics.streams import Stream

WORD = st.integers(0, 2**64 - 1)


@settings(max_examples=50, deadline=None)
@given(WORD, WORD, st.integers(0, 40))
def test_raw_equals_numpy_philox(seed, index, stream):
    """The words equal those of NumPy's Philox4x64 for the same key and counter."""
    words = raw(np.uint64(seed), np.uint64(index), stream, 11)
    # NumPy increments the 256-bit counter before it draws: start one block earlier.
    counter = (stream * 2**64 - 1) % 2**256
    theirs = np.random.Philox(key=seed + index * 2**64, counter=counter).random_raw(11)
    np.testing.assert_array_equal(words, theirs)


def test_philox_known_answers():
    """Philox4x64-10 gives the known answers for zeros and ones in the tests of Random123 (Salmon et al. 2011)."""
    full = np.uint64(2**64 - 1)
    answers = {
        ((0, 0, 0, 0), (0, 0)): (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B),
        ((full,) * 4, (full,) * 2): (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0),
    }
    for (counter, key), answer in answers.items():
        drawn = philox4x64(tuple(map(np.uint64, counter)), tuple(map(np.uint64, key)))
        assert tuple(map(int, drawn)) == answer


def test_uniform_numbers_are_uniform():
    """Range, mean and a histogram of 16 bins are those of the uniform distribution on [0, 1)."""
    numbers = uniform(1, 2, Stream.COLOR, (100_000,))
    assert 0 <= numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 4 * math.sqrt(1 / 12 / 1e5)
    counts = np.histogram(numbers, 16, (0, 1))[0]
    assert ((counts - 6250) ** 2 / 6250).sum() < 37.7  # chi-squared, 15 degrees of freedom, p = 0.001


def test_longer_stream_starts_with_the_shorter_one():
    """The first numbers of a stream do not depend on how many are drawn."""
    np.testing.assert_array_equal(uniform(5, 6, Stream.SPEED, (7,)), uniform(5, 6, Stream.SPEED, (100,))[:7])


@pytest.mark.parametrize("other", [(1, 0, Stream.SPEED), (0, 1, Stream.SPEED), (0, 0, Stream.COLOR)])
def test_other_seed_index_or_stream_gives_other_numbers(other):
    """Streams with another seed, index or id have no number in common."""
    first, second = uniform(0, 0, Stream.SPEED, (100,)), uniform(*other, (100,))
    assert not np.intersect1d(first, second).size


def test_sin_cos_array_accuracy():
    """Sine and cosine are within 2.3e-16 of the C library's for small angles, and within 1e-14 for large ones."""
    near, far = np.linspace(-7, 7, 20_001), np.linspace(-1e5, 1e5, 20_001)
    for angles, bound in ((near, 2.3e-16), (far, 1e-14)):
        vectors = sin_cos_array(angles)
        assert abs(vectors[:, 0] - np.cos(angles)).max() < bound
        assert abs(vectors[:, 1] - np.sin(angles)).max() < bound


def test_sin_cos_array_of_right_angles():
    """The vector of angle 0 is exactly (1, 0), and those of multiples of pi/2 are within 5e-16."""
    assert sin_cos_array(np.zeros(1)).tolist() == [[1.0, 0.0]]
    quarters = sin_cos_array(np.arange(-4, 4) * (math.pi / 2))
    np.testing.assert_allclose(quarters, [[1, 0], [0, 1], [-1, 0], [0, -1]] * 2, atol=5e-16)


def test_sin_cos_equals_sin_cos_array():
    """`sin_cos` and `sin_cos_array` give the same bits."""
    angles = np.linspace(-50, 50, 2001)
    assert [sin_cos(angle)[::-1] for angle in angles] == [tuple(pair) for pair in sin_cos_array(angles).tolist()]


def test_log_accuracy():
    """The logarithm is within two units in the last place of the C library's on (0, 1], and exactly 0 at 1."""
    values = np.concatenate([np.linspace(1e-6, 1, 50_001), 2.0 ** -np.arange(1, 54)])
    np.testing.assert_allclose(log(values), np.log(values), rtol=4.5e-16, atol=1e-17)
    assert log(np.ones(1))[0] == 0.0
