"""Spectrum, colour, motion and their intervals: worked examples, other people's libraries, and what holds for any input."""

import dataclasses
import math

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from skimage.color import rgb2gray, rgb2lab

import synvid
from synvid.metrics import color, motion, spectrum
from synvid.metrics.accuracy import correlate
from synvid.metrics.bootstrap import bootstrap, mean_of, ratio_of
from synvid.scene.kinematics import Kinematics
from synvid.scene.scene import Scene


# ---- Spectrum ------------------------------------------------------------------------------------------------------
def noise(alpha, height, width, seed):
    """A picture whose expected amplitude spectrum is 1 / |f|**alpha."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    frequency[0, 0] = 1.0
    white = np.random.default_rng(seed).standard_normal((height, width))
    return np.fft.ifft2(np.fft.fft2(white) * frequency**-alpha).real


def exponent(pictures):
    """The fitted exponent of the mean spectrum."""
    rings = [spectrum.ring_amplitudes(picture) for picture in pictures]
    some = spectrum.fit_range(min(min(picture.shape) for picture in pictures))
    amplitude = np.mean([one.amplitude for one in rings], axis=0)
    return float(spectrum.fit_power_law(rings[0].log_frequency[None, some], amplitude[None, some]).alpha[0])


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 1.3, 2.0, 2.5])
@pytest.mark.parametrize("size", [(64, 64), (120, 160), (256, 256), (331, 200)])
def test_noise_has_the_exponent_it_was_made_with(alpha, size):
    """The exponent of synthetic noise comes out within 0.1 at any size, odd and oblong ones too."""
    assert exponent([noise(alpha, *size, seed) for seed in range(24)]) == pytest.approx(alpha, abs=0.1)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.0, 2.5), st.integers(96, 200))
def test_any_exponent_at_any_size(alpha, side):
    """What was put in comes out, whatever the exponent and the side."""
    assert exponent([noise(alpha, side, side, seed) for seed in range(16)]) == pytest.approx(alpha, abs=0.12)


def test_white_noise_has_its_standard_deviation_as_amplitude():
    """|F| is scaled so that it does not depend on the size: the mean square of white noise's amplitude is its variance."""
    for side in (64, 200):
        pictures = [np.random.default_rng(seed).normal(100.0, 7.0, (side, side)) for seed in range(40)]
        rings = [spectrum.ring_amplitudes(picture).amplitude for picture in pictures]
        # The mean of a Rayleigh distribution of mean square 7**2.
        assert np.mean(rings, axis=0)[-4] == pytest.approx(7.0 * math.sqrt(math.pi) / 2, rel=0.02)


def test_rings_equal_a_plain_sum_over_the_whole_transform():
    """The ring means are those of the full Fourier transform, written out."""
    picture = noise(1.2, 45, 45, 3)
    wave = np.sin(np.pi * (np.arange(45) + 0.5) / 45) ** 2
    window = np.outer(wave, wave)
    magnitude = np.abs(np.fft.fft2((picture - picture.mean()) * window)) / 45 / np.sqrt((window**2).mean())
    frequency = np.hypot(np.fft.fftfreq(45)[:, None], np.fft.fftfreq(45))
    found = spectrum.ring_amplitudes(picture)
    for k in range(len(spectrum.EDGES) - 1):
        inside = (frequency >= spectrum.EDGES[k]) & (frequency < spectrum.EDGES[k + 1])
        assert found.present[k] == inside.any()
        if inside.any():
            assert found.amplitude[k] == pytest.approx(magnitude[inside].mean(), rel=1e-9)
            assert found.log_frequency[k] == pytest.approx(np.log(frequency[inside]).mean(), rel=1e-9)


def test_the_fit_is_that_of_scipy():
    """Slope, intercept and r squared are those of scipy.stats.linregress on the logarithms."""
    random = np.random.default_rng(0)
    x, y = np.sort(random.uniform(-4, -1, 12)), random.uniform(1, 90, 12)
    ours, theirs = spectrum.fit_power_law(x[None], y[None]), scipy_stats.linregress(x, np.log(y))
    assert ours.alpha[0] == pytest.approx(-theirs.slope, rel=1e-12)
    assert ours.log_a[0] == pytest.approx(theirs.intercept, rel=1e-12)
    assert ours.r2[0] == pytest.approx(theirs.rvalue**2, rel=1e-9)


def test_too_few_points_have_no_fit():
    """Two points, or one frequency, give no exponent rather than a number."""
    assert np.isnan(spectrum.fit_power_law(np.log([[0.1, 0.2, 0.3]]), np.array([[1.0, 2.0, 0.0]])).alpha[0])
    assert np.isnan(spectrum.fit_power_law(np.zeros((1, 4)), np.ones((1, 4))).alpha[0])


def test_contrast_and_brightness_leave_the_exponent():
    """Scaling and shifting grey levels changes A, not alpha."""
    picture = noise(1.1, 128, 128, 1)
    assert exponent([3.0 * picture + 50.0]) == pytest.approx(exponent([picture]), abs=1e-9)


def test_luma_is_a_weighted_mean():
    """White is 255 and the weights are BT.601's; scikit-image's differ (BT.709), but not on grey."""
    assert spectrum.luma(np.array([[255, 255, 255], [255, 0, 0]], np.uint8)) == pytest.approx([255.0, 76.245])
    grey = np.full((2, 2, 3), 77, np.uint8)
    assert spectrum.luma(grey) == pytest.approx(255 * rgb2gray(grey))


# ---- Colour --------------------------------------------------------------------------------------------------------
def test_moments_are_those_of_numpy():
    """Mean and covariance of all pixels in L*a*b*, by NumPy on all of them at once."""
    frames = np.random.default_rng(2).integers(0, 256, (3, 17, 23, 3)).astype(np.uint8)
    pixels = rgb2lab(frames).reshape(-1, 3)
    found = color.gaussians(color.moments(frames)[None])
    np.testing.assert_allclose(found.mean[0], pixels.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.covariance[0], np.cov(pixels.T, bias=True), rtol=1e-8)
    assert color.spread(found)[0] == pytest.approx(np.linalg.det(np.cov(pixels.T, bias=True)) ** (1 / 6), rel=1e-8)


def test_clips_count_the_same_whatever_their_size():
    """The mean moments of a small and a large clip lie half way."""
    small, large = np.zeros((1, 8, 8, 3), np.uint8), np.full((4, 50, 60, 3), 255, np.uint8)
    rows = np.stack([color.moments(small), color.moments(large)])
    assert color.gaussians(rows.mean(axis=0)[None]).mean[0, 0] == pytest.approx(50.0, abs=1e-3)


def gaussian(mean, covariance):
    return color.Gaussian(np.array([mean], np.float64), np.array([covariance], np.float64))


def test_divergence_of_gaussians_by_hand():
    """In one direction N(0, 1) and N(1, 4): KL is ln 2 + 2/8 - 1/2 and -ln 2 + 5/2 - 1/2, together 1.75."""
    p, q = gaussian([0, 0, 0], np.eye(3)), gaussian([1, 0, 0], np.diag([4, 1, 1]))
    assert color.symmetric_kl(p, q)[0] == pytest.approx(1.75)


def test_divergence_agrees_with_sampling():
    """It is the mean of log p - log q over samples of p, and the other way round."""
    random = np.random.default_rng(5)
    parts = []
    for _ in range(2):
        a = random.normal(size=(3, 3))
        parts.append((random.normal(size=3), a @ a.T + 0.5 * np.eye(3)))
    p, q = (scipy_stats.multivariate_normal(*part) for part in parts)
    x, y = p.rvs(400_000, random_state=1), q.rvs(400_000, random_state=2)
    sampled = (p.logpdf(x) - q.logpdf(x)).mean() + (q.logpdf(y) - p.logpdf(y)).mean()
    assert color.symmetric_kl(gaussian(*parts[0]), gaussian(*parts[1]))[0] == pytest.approx(sampled, rel=0.02)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_divergence_is_symmetric_positive_and_zero_for_equals(seed):
    """For any two Gaussians."""
    random = np.random.default_rng(seed)
    p, q = (gaussian(random.normal(size=3) * 20, (a := random.normal(size=(3, 3)) * 9) @ a.T + np.eye(3)) for _ in "pq")
    assert color.symmetric_kl(p, q)[0] == pytest.approx(color.symmetric_kl(q, p)[0], rel=1e-9)
    assert color.symmetric_kl(p, q)[0] > 0
    assert color.symmetric_kl(p, p)[0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("kind", ["black", "grey", "two colours"])
def test_flat_colours_have_no_divergence(kind):
    """Black, grey and two-coloured clips lie in a point or on a line: no number, though lossy arithmetic would give one."""
    frames = np.zeros((1, 16, 16, 3), np.uint8)
    if kind == "grey":
        frames[:] = np.arange(16, dtype=np.uint8)[:, None] * 10
    elif kind == "two colours":
        frames[:, 8:] = (200, 30, 60)
    found = color.gaussians(color.moments(frames)[None])
    assert np.isnan(color.symmetric_kl(found, gaussian([50, 0, 0], np.eye(3) * 100))[0])
    assert np.isnan(color.symmetric_kl(gaussian([50, 0, 0], np.eye(3) * 100), found)[0])
    assert color.spread(found)[0] == pytest.approx(0.0, abs=0.05)


# ---- Motion --------------------------------------------------------------------------------------------------------
def squares(*rows, height=16, width=32, num_frames=8):
    """A scene of axis-aligned squares, back to front: (x, y, half side, speed to the right, acceleration)."""
    n = len(rows)
    x, y, half, speed, acceleration = np.array(rows, np.float64).reshape(n, 5).T
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)
    moving = Kinematics(
        radius=half,
        center=np.stack([x, y], axis=1),
        direction=np.tile([1.0, 0.0], (n, 1)),
        speed=speed,
        acceleration=acceleration,
        rotation=np.zeros(n),
        scale=np.zeros((n, 2)),
        shear=np.zeros((n, 2)),
        pivot=np.zeros(2),
        compound=True,
        integer_positions=False,
    )
    vertices, numbers = np.tile(corners, (n, 1, 1)), np.full(n, 4)
    return Scene(
        num_frames, height, width, 25.0, 0, 0, (0, 0, 0), False, np.zeros((n, 3), np.uint8), vertices, numbers, moving
    )


def test_a_scene_by_hand():
    """A square of 8 pixels moves one pixel to the right under a nearer one that stands still."""
    seen = motion.truth(squares((8, 8, 4, 1, 0), (16, 8, 4, 0, 0)), 0)
    assert sorted(seen.speed) == pytest.approx([0.0, 1.0])
    assert seen.acceleration == pytest.approx([0.0, 0.0])
    assert seen.flow == pytest.approx(64 / 512)  # 64 pixels move by one, of 16 x 32
    assert seen.background == pytest.approx(1 - 128 / 512)
    assert seen.hidden == pytest.approx(8 / 128)  # its right column moves behind the other
    assert seen.left == 0.0


def test_what_is_nearer_hides_and_what_is_farther_does_not():
    """The same two squares, the moving one nearer: it hides a column of the other, or, moving away, nothing."""
    assert motion.truth(squares((16, 8, 4, 0, 0), (8, 8, 4, 1, 0)), 0).hidden == pytest.approx(8 / 128)
    assert motion.truth(squares((16, 8, 4, 0, 0), (8, 8, 4, -1, 0)), 0).hidden == 0.0


def test_leaving_the_frame_is_not_being_hidden():
    """A square at the right edge loses its last column."""
    seen = motion.truth(squares((28, 8, 4, 1, 0)), 0)
    assert (seen.left, seen.hidden) == (pytest.approx(8 / 64), 0.0)


def test_speeds_and_accelerations_are_those_of_the_scene():
    """The origin, at v t + a t**2 / 2, moves by v + a (t + 1/2) in a frame, and that changes by a; in the last frames, too."""
    scene = squares((16, 8, 4, 1.0, 0.25), num_frames=6)
    for t in range(5):
        seen = motion.truth(scene, t)
        assert seen.speed == pytest.approx([1.0 + 0.25 * (t + 0.5)])
        assert seen.acceleration == pytest.approx([0.25])


def test_two_frames_have_no_acceleration():
    """A clip of two frames has speeds only."""
    assert len(motion.truth(squares((16, 8, 4, 1, 0), num_frames=2), 0).acceleration) == 0


def test_only_objects_that_own_a_pixel_count():
    """One outside the frame and one wholly covered are not visible."""
    assert len(motion.truth(squares((8, 8, 2, 3, 0), (-50, 8, 4, 1, 0), (8, 8, 6, 2, 0)), 0).speed) == 1


@pytest.mark.parametrize("name", ["moving_shapes", "accelerating_transforming_textures", "reference/moving_shapes"])
def test_instances_are_what_the_plain_rasterizer_paints(name, tiny):
    """Painted with the colours of its owners, a frame equals that of the slow, plain rasterizer; textures or not."""
    scene = synvid.sample_scene(synvid.load_preset(name, {**tiny, "video.background": [1, 2, 3]}), 3, 1)
    scene = dataclasses.replace(scene, textures=None)
    owners = motion.instances(scene, 2)
    colors = np.vstack([scene.colors, [scene.background]]).astype(np.uint8)
    np.testing.assert_array_equal(colors[owners], oracle.render(scene, 2))


def covered(scene, t, i, x, y):
    """Whether a point lies inside object i, by turning numbers around the outline."""
    pose = scene.poses(t)[i]
    u, v = np.linalg.solve(pose[:, :2], [x - pose[0, 2], y - pose[1, 2]])
    outline = scene.outlines[i]
    if outline is None:
        return math.hypot(u, v) < 1
    around = outline - [u, v]
    after = np.roll(around, -1, axis=0)
    angles = np.arctan2(around[:, 0] * after[:, 1] - around[:, 1] * after[:, 0], (around * after).sum(axis=1))
    return abs(angles.sum()) > math.pi


@pytest.mark.parametrize("index", range(3))
def test_hidden_pixels_are_found_by_looking_at_each(index, tiny):
    """Every pixel's point is carried along with its object and asked for every nearer object, one at a time."""
    preset = synvid.load_preset("accelerating_transforming_shapes", {**tiny, "motion.speed_range": [1, 4]})
    scene = synvid.sample_scene(preset, 7, index)
    owners, before, after = motion.instances(scene, 1), scene.poses(1), scene.poses(2)
    hidden, left, length = 0, 0, []
    for row, column in np.argwhere(owners >= 0):
        i, point = owners[row, column], np.array([column + 0.5, row + 0.5])
        outline = np.linalg.solve(before[i][:, :2], point - before[i][:, 2])
        x, y = after[i][:, :2] @ outline + after[i][:, 2]
        length.append(math.hypot(x - point[0], y - point[1]))
        outside = not (0 <= x < scene.width and 0 <= y < scene.height)
        left += outside
        hidden += not outside and any(covered(scene, 2, j, x, y) for j in range(i + 1, scene.num_objects))
    seen = motion.truth(scene, 1)
    assert seen.hidden == pytest.approx(hidden / len(length))
    assert seen.left == pytest.approx(left / len(length))
    assert seen.flow == pytest.approx(sum(length) / owners.size)
    assert len(seen.speed) == len(set(owners[owners >= 0].tolist()))


def test_differences_and_black_by_hand():
    """A quarter of the pixels brightens by 40 grey levels; the rest is black."""
    one, other = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    other[:2, :2] = 40
    assert motion.differences(one, other) == pytest.approx((10.0, 0.25))
    assert (motion.black_share(one), motion.black_share(other)) == (1.0, 0.75)


# ---- Intervals and correlations -------------------------------------------------------------------------------------
def test_intervals_are_about_two_standard_errors():
    """The bootstrap of a mean is the textbook's interval, within a tenth; scipy's bootstrap says the same."""
    values = np.random.default_rng(4).normal(10.0, 2.0, 400)
    found = bootstrap(values[:, None], mean_of(0))
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.ci95[1] - found.ci95[0]) / 2 == pytest.approx(half, rel=0.1)
    theirs = scipy_stats.bootstrap((values,), np.mean, n_resamples=1000, method="percentile", rng=1).confidence_interval
    assert found.ci95 == pytest.approx(tuple(theirs), abs=0.2 * half)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Of 200 experiments, the interval of a ratio holds the true one in 95 %, give or take."""
    random, held = np.random.default_rng(11), 0
    for _ in range(200):
        below = random.uniform(1, 3, 60)
        rows = np.stack([2.0 * below + random.normal(0, 1, 60), below], axis=1)
        low, high = bootstrap(rows, ratio_of(0, 1), repeats=300).ci95
        held += low <= 2.0 <= high
    assert 180 <= held <= 199


def test_the_same_seed_gives_the_same_interval():
    """And another seed another one."""
    rows = np.random.default_rng(0).normal(size=(50, 1))
    assert bootstrap(rows, mean_of(0), 3) == bootstrap(rows, mean_of(0), 3)
    assert bootstrap(rows, mean_of(0), 3) != bootstrap(rows, mean_of(0), 4)


def test_what_cannot_be_said_is_not_said():
    """No clip has no value; one clip has no interval; a ratio to nothing has no value."""
    assert bootstrap(np.empty((0, 1)), mean_of(0)).value is None
    assert bootstrap(np.array([[3.0]]), mean_of(0)) == (one := bootstrap(np.array([[3.0]]), mean_of(0)))
    assert (one.value, one.ci95) == (3.0, None)
    assert bootstrap(np.zeros((5, 2)), ratio_of(0, 1)).value is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=4, max_size=30))
def test_correlations_are_those_of_scipy(pairs):
    """Pearson with its interval, and Spearman with ties, for any data; where scipy has none, neither have we."""
    x, y = (list(map(float, column)) for column in zip(*pairs, strict=True))
    found = correlate(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
        return
    theirs = scipy_stats.pearsonr(x, y)
    assert found.pearson == pytest.approx(theirs.statistic, abs=1e-9)
    assert found.spearman == pytest.approx(scipy_stats.spearmanr(x, y).statistic, abs=1e-9)
    if abs(found.pearson) < 0.999:
        assert found.ci95 == pytest.approx(tuple(theirs.confidence_interval(0.95)), abs=1e-6)
    assert -1 <= found.ci95[0] <= found.ci95[1] <= 1


def test_two_datasets_have_no_correlation():
    """A line through two points says nothing; three have no interval."""
    assert correlate([1, 2], [1, 2]) is None
    assert correlate([1, 2, 4], [1, 2, 3]).ci95 is None
