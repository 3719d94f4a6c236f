"""Statistical images: equality with a simple reference, and the statistics that were imposed."""

import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from synvid.numerics import fft, portable_math
from synvid.numerics.streams import Stream
from synvid.textures import histogram, palette, pyramid, statistical

FLAGS = list(itertools.product([False, True], repeat=3))
SIZES = range(32, 513, 16)

# --- the reference: double precision, full planes of frequencies, sorting ----------------------------------------------


def match_by_sorting(values, edges, cumulative):
    """Replace the r-th of n numbers by the (r + 1/2) / n quantile of a distribution that is uniform between its edges."""
    result = np.empty(values.size)
    result[np.argsort(values, axis=None)] = np.interp((np.arange(values.size) + 0.5) / values.size, cumulative, edges)
    return result.reshape(values.shape)


def coefficient_distribution(rho, reduction):
    """Edges, cumulative histogram and deviation of exp(-|x / 4**reduction|**rho) on -200, -199.5, ..., 200."""
    x = np.arange(-400, 401) / 2
    density = np.exp(-(np.abs(x / 4.0**reduction) ** rho))
    cumulative = np.concatenate([[0], np.cumsum(density)]) / density.sum()
    return np.arange(802) / 2 - 200.25, cumulative, np.sqrt((density * x**2).sum() / density.sum())


def steerable_masks(size, scales):
    """Pairs of (size of the level, complex masks with frequency zero in the middle), and the residual's mask."""
    f = np.fft.fftshift(np.fft.fftfreq(size)) * 2
    fx, fy = np.meshgrid(f, f)
    radius, angle = np.hypot(fx, fy), np.arctan2(fy, fx)
    radius[size // 2, size // 2] = 1e-9

    def flank(k):
        return np.clip(np.log2(radius) + 1 + k, 0, 1) * np.pi / 2

    levels = [(size, [np.sin(flank(0))])]
    for k in range(scales):
        radial = np.cos(flank(k)) * np.sin(flank(k + 1))
        bands = [1j * np.sqrt(0.8) * radial * np.cos(angle - b * np.pi / 4) ** 3 for b in range(4)]
        levels.append((size >> k, bands))
    return levels, np.cos(flank(scales))


def center(size, inner):
    """The square of side `inner` around frequency zero, as slices."""
    return (slice((size - inner) // 2, (size + inner) // 2),) * 2


def take_band_reference(image, mask, inner):
    """A band of an image with `inner` samples per side, and the energy that it has in the image."""
    spectrum = np.fft.fftshift(np.fft.fft2(image, norm="ortho")) * mask
    return np.fft.ifft2(np.fft.ifftshift(spectrum[center(len(image), inner)]), norm="ortho").real


def num_scales(size):
    return max(int(np.log2(size)) - 4, 1)


def impose_spectrum_reference(image, slope, skew):
    f = np.abs(np.fft.fftfreq(len(image)))
    with np.errstate(divide="ignore"):
        magnitude = 1 / (f[None, :] ** (slope + skew) + f[:, None] ** (slope - skew))
    magnitude[0, 0] = 0
    imposed = np.fft.ifft2(magnitude * np.exp(1j * np.angle(np.fft.fft2(image)))).real
    return (imposed - imposed.mean()) / imposed.std() * image.std() + image.mean()


def impose_wavelets_reference(image, sparsity):
    levels, residual = steerable_masks(len(image), num_scales(len(image)))
    total = np.fft.fftshift(np.fft.fft2(image, norm="ortho")) * residual**2
    exponents = iter(sparsity)
    for inner, masks in levels:
        for mask in masks:
            band = take_band_reference(image, mask, inner)
            edges, cumulative, spread = coefficient_distribution(next(exponents), len(image) // inner)
            spread = np.sqrt(spread * band.std())
            band = match_by_sorting(band, edges, cumulative)
            band = (band - band.mean()) / band.std() * spread
            where = center(len(image), inner)
            total[where] += np.fft.fftshift(np.fft.fft2(band, norm="ortho")) * mask.conj()[where]
    return np.fft.ifft2(np.fft.ifftshift(total), norm="ortho").real


def sampled_parameters(seed, index, size):
    """Slope, skew, sparsity (3, bands) and palette of an image."""
    spectrum = statistical._sample_spectrum(seed, index, size)
    tables = statistical._sample_marginals(seed, index, pyramid.pyramid_for(size, num_scales(size)))
    sparsity = np.array([np.concatenate([level.sparsity for level in channel]) for channel in tables])
    return spectrum.slope, spectrum.skew, sparsity, statistical._sample_palette(seed, index, size)


def reference(seed, index, size, spectrum, wavelets, color):
    """Channels (3, n, n) and image (n, n, 3) of the same random numbers."""
    slope, skew, sparsity, colors = sampled_parameters(seed, index, size)
    channels = 256 * statistical._uniform(seed, index, Stream.STATISTICAL_NOISE, 3, size, size)
    for c in range(3):
        for _ in range(10):
            if spectrum:
                channels[c] = impose_spectrum_reference(channels[c], slope, skew)
            if wavelets:
                channels[c] = impose_wavelets_reference(channels[c], sparsity[c])
            if color:
                edges = colors.low[c] + colors.step[c] * np.arange(257)
                channels[c] = match_by_sorting(channels[c], edges, colors.cumulative[c])
    image = np.einsum("cd,dyx->yxc", colors.axes, channels) + colors.mean
    image = (image - image.min()) / (image.max() - image.min()) * 255
    return channels, np.floor(image + 0.5).astype(np.uint8)


def make_channels(seed, index, size, spectrum, wavelets, color):
    colors = statistical._sample_palette(seed, index, size) if color else None
    return statistical._make_channels(seed, index, size, spectrum=spectrum, wavelets=wavelets, palette=colors)


def ks_distance(values, edges, cumulative):
    """Kolmogorov-Smirnov distance: the largest difference of the cumulative distributions."""
    ranks = (np.arange(values.size) + 0.5) / values.size
    return np.abs(np.interp(np.sort(values, axis=None), edges, cumulative) - ranks).max()


# --- the image as a whole ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("size", [64, 96, 128])
def test_image_equals_reference(size, flags):
    """The image correlates with the reference's at 0.99, without wavelets at 0.999, whichever models are on."""
    channels, image = reference(5, 8, size, *flags)
    least = 0.99 if flags[1] else 0.999
    assert np.corrcoef(image.ravel(), statistical.sample(5, 8, size, *flags).ravel())[0, 1] > least
    for expected, fast in zip(channels, make_channels(5, 8, size, *flags), strict=True):
        assert np.corrcoef(expected.ravel(), fast.ravel())[0, 1] > (0.98 if flags[1] else 0.999)


GOLDEN = [
    ((0, 0, 64), "d7a22d70bf4a045f51b634292975c6e4764b4ba195949787d30caa0a889437b2"),
    ((7, 2**40, 48), "15144aa2b0c8784ce5b3ef358fedf5f69f8d1b2d69f533772dacb2206670fd61"),
    ((2**63, 3, 128), "3c501637f34e6999284224b71e78bd8b918314f0dc8ade8ee903945514dde266"),
]


@pytest.mark.parametrize(("arguments", "digest"), GOLDEN)
def test_golden_images(arguments, digest):
    """The pixels of an image are the same on every machine and in every release with this VERSION."""
    assert statistical.VERSION == 1
    assert hashlib.sha256(statistical.sample(*arguments).tobytes()).hexdigest() == digest


def test_images_depend_on_every_argument():
    """Other arguments give another image; the same ones give the same image, also in other threads."""
    names = [(seed, index, 32, *flags) for seed in range(3) for index in range(3) for flags in FLAGS]
    images = [statistical.sample(*name).tobytes() for name in names]
    assert len(set(images)) == len(images)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda name: statistical.sample(*name).tobytes(), names)) == images


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_every_size(size):
    """Every multiple of 16 from 32 to 512 gives an image that uses all of 0..255."""
    image = statistical.sample(1, size, size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert (image.min(), image.max()) == (0, 255)


@pytest.mark.parametrize("size", [0, 16, 33, 72, 528, -32])
def test_other_sizes_raise(size):
    """The error message names the wrong size and the allowed ones."""
    with pytest.raises(ValueError, match=f"multiple of 16 from 32 to 512, not {size}$"):
        statistical.sample(0, 0, size)


@pytest.mark.slow
def test_no_image_is_constant():
    """All of 200 images span 0..255 and none is nearly constant; the channels are finite."""
    for index in range(200):
        image = statistical.sample(9, index, 64)
        assert (image.min(), image.max()) == (0, 255)
        assert image.std(axis=(0, 1)).max() > 8
    for index in range(20):
        assert np.isfinite(make_channels(9, index, 64, *FLAGS[-1])).all()


# --- what was asked for -------------------------------------------------------------------------------------------------


def test_spectra_have_the_sampled_slopes():
    """Along x, the magnitudes of a channel fall off as frequency**-(slope + skew), along y as frequency**-(slope - skew).

    Exactly in the channels, and, as far as the noise of rounding to bytes allows, in the image.
    """
    for index in range(12):
        slope, skew, _, colors = sampled_parameters(2, index, 128)
        image = statistical.sample(2, index, 128, wavelets=False, color=False)
        exact = make_channels(2, index, 128, spectrum=True, wavelets=False, color=False)[0]
        mixed_back = np.einsum("dc,yxd->cyx", colors.axes, image.astype(float))[0]
        f = np.arange(1, 64)
        for plane, count, error in ((exact, 63, 0.002), (mixed_back, 10, 0.1)):
            magnitude = np.abs(np.fft.fft2(plane))
            for measured, wanted in ((magnitude[0], slope + skew), (magnitude[:, 0], slope - skew)):
                fit = np.polyfit(np.log(f[:count]), np.log(measured[1 : count + 1]), 1)[0]
                assert fit == pytest.approx(-wanted, abs=error)


def test_slopes_are_distributed_as_published():
    """Slopes are uniform in 0.5..3.5 and skews normal with deviation 0.05, for any image size."""
    draws = np.array([[*sampled_parameters(4, index, 32)[:2]] for index in range(400)])
    assert ks_distance(draws[:, 0], [0.5, 3.5], [0, 1]) < 0.08
    x = np.linspace(-0.3, 0.3, 601)
    normal = np.cumsum(np.exp(-(x**2) / 0.005))
    assert ks_distance(draws[:, 1], x, normal / normal[-1]) < 0.08
    assert sampled_parameters(4, 7, 32)[:2] == sampled_parameters(4, 7, 256)[:2]


@pytest.mark.parametrize("spectrum", [False, True])
def test_wavelet_marginals_reach_their_targets(spectrum):
    """The bands of an image have the distributions drawn for them, up to scale; those of noise do not."""
    size = 256
    sparsity = sampled_parameters(3, 1, size)[2]
    noise = 256 * statistical._uniform(3, 1, Stream.STATISTICAL_NOISE, 3, size, size)
    channels = make_channels(3, 1, size, spectrum=spectrum, wavelets=True, color=False)
    kurtosis = []
    for c in range(3):
        exponents = iter(sparsity[c])
        for inner, masks in steerable_masks(size, 4)[0]:
            for mask in masks:
                edges, cumulative, spread = coefficient_distribution(next(exponents), size // inner)
                band, before = (take_band_reference(planes[c], mask, inner) for planes in (channels, noise))
                far, was = (ks_distance(b * spread / b.std(), edges, cumulative) for b in (band, before))
                assert far < 0.08
                assert far < 0.75 * was
                x, density = (edges[1:] + edges[:-1]) / 2, np.diff(cumulative)
                target = (density * x**4).sum() / spread**4
                kurtosis.append((np.log((band**4).mean() / band.std() ** 4), np.log(target)))
                if not spectrum:
                    assert 0.5 < band.std() / spread < 2
    measured, wanted = np.array(kurtosis).T
    assert np.abs(measured - wanted).max() < 0.5
    assert np.corrcoef(measured, wanted)[0, 1] > 0.97


def test_sparsity_is_distributed_as_published():
    """The exponents are uniform in 0.4..0.8, one for each channel and band."""
    sparsity = np.array([sampled_parameters(4, index, 256)[2] for index in range(20)])
    assert sparsity.shape == (20, 3, 17)
    assert ks_distance(sparsity, [0.4, 0.8], [0, 1]) < 0.05
    assert np.unique(sparsity).size == sparsity.size


def test_colours_reach_their_histograms():
    """Along the axes of its palette an image has the histograms of the palette, whatever was imposed before."""
    for index, (spectrum, wavelets, _) in enumerate(FLAGS):
        colors = statistical._sample_palette(6, index, 128)
        channels = make_channels(6, index, 128, spectrum=spectrum, wavelets=wavelets, color=True)
        others = make_channels(6, index, 128, spectrum=spectrum, wavelets=wavelets, color=False)
        for c in range(3):
            edges = colors.low[c] + colors.step[c] * np.arange(257)
            assert ks_distance(channels[c], edges, colors.cumulative[c]) < 0.005
            assert ks_distance(others[c], edges, colors.cumulative[c]) > 0.02


def test_image_is_mixed_along_palette_axes():
    """The image is the channels rotated by the palette's axes around its mean, scaled to 0..255."""
    colors = statistical._sample_palette(6, 1, 64)
    channels = make_channels(6, 1, 64, *FLAGS[-1]).astype(float)
    mixed = np.einsum("cd,dyx->yxc", colors.axes, channels) + colors.mean
    wanted = (mixed - mixed.min()) / (mixed.max() - mixed.min()) * 255
    assert np.abs(statistical.sample(6, 1, 64) - wanted).max() < 0.51


# --- its parts ----------------------------------------------------------------------------------------------------------


def test_palette_equals_reference():
    """Axes and histograms are those of coloured stripes, blurred with black around them, plus grain."""
    rng = np.random.default_rng(0)
    colors, proportions, grain = rng.random((3, 5)) * 256, rng.random(5), rng.random((3, 48, 48)) * 10
    got = palette.make_palette(colors, proportions, 4, grain)
    ends = np.round(np.cumsum(proportions) / proportions.sum() * 48**2).astype(int)
    stripes = colors[:, np.searchsorted(ends, np.arange(48**2), side="right")].reshape(3, 48, 48)
    around = np.pad(stripes, ((0, 0), (2, 1), (2, 1)))
    image = sum(around[:, y : y + 48, x : x + 48] for y in range(4) for x in range(4)) / 16 + grain
    image = (image - image.min()) / (image.max() - image.min()) * 256
    points = image.reshape(3, -1)
    np.testing.assert_allclose(got.mean, points.mean(1))
    values, vectors = np.linalg.eigh(np.cov(points))
    for c in range(3):
        axis = vectors[:, 2 - c] * np.sign(vectors[:, 2 - c] @ got.axes[:, c])
        np.testing.assert_allclose(got.axes[:, c], axis, atol=1e-9)
        counts, edges = np.histogram(axis @ (points - got.mean[:, None]), 256)
        np.testing.assert_allclose(got.low[c] + got.step[c] * np.arange(257), edges)
        np.testing.assert_allclose(got.cumulative[c, 1:], np.cumsum(counts) / 48**2, atol=2 / 48**2)
    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize("size", [2, 6, 34, 62, *SIZES])
def test_transform_equals_numpy(size):
    """Forward is NumPy's orthonormal transform, in the plan's order of rows, and inverse undoes it."""
    image = np.random.default_rng(size).standard_normal((size, size)).astype(np.float32)
    plan = fft.plan_for(size)
    spectrum = np.empty((2, size, size // 2 + 1), np.float32)
    fft.forward(fft.split_halves(image), spectrum, plan)
    expected = np.fft.fft2(image.astype(float), norm="ortho")[: size // 2 + 1, plan.frequency].T
    np.testing.assert_allclose(spectrum[0] + 1j * spectrum[1], expected, atol=3e-5)
    halves = np.empty((2, size, size // 2), np.float32)
    fft.inverse(spectrum, halves, plan)
    np.testing.assert_allclose(fft.join_halves(halves), image, atol=1e-5)


@pytest.mark.parametrize("size", [32, 48, 64, 176, 256])
def test_pyramid_equals_reference_and_is_invertible(size):
    """Bands equal those of the reference pyramid, and with the residual they add up to the image."""
    image = np.random.default_rng(size).standard_normal((size, size)).astype(np.float32)
    tower = pyramid.pyramid_for(size, num_scales(size))
    spectrum = np.empty((2, size, size // 2 + 1), np.float32)
    fft.forward(fft.split_halves(image), spectrum, fft.plan_for(size))
    total = np.empty_like(spectrum)
    pyramid.keep_residual(spectrum, tower.residual, total)
    for level, (inner, masks) in zip(tower.levels, steerable_masks(size, num_scales(size))[0], strict=True):
        band = np.empty((2, inner, inner // 2 + 1), np.float32)
        halves = np.empty((2, inner, inner // 2), np.float32)
        for b, mask in enumerate(masks):
            pyramid.take_band(spectrum, level, b, band)
            pyramid.add_band(band, level, b, total)
            fft.inverse(band, halves, level.plan)
            np.testing.assert_allclose(fft.join_halves(halves), take_band_reference(image, mask, inner), atol=1e-4)
    np.testing.assert_allclose(total, spectrum, atol=1e-4)


@pytest.mark.parametrize("count", [1000, 65536])
def test_match_maps_by_rank(count):
    """Matched numbers keep their order, and have the distribution and the deviation of the target."""
    values = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    edges, cumulative, spread = coefficient_distribution(0.6, 1)
    for wanted in (0.0, 7.0):
        matched = values.copy()
        histogram.match(matched, cumulative, edges[0], 0.5, wanted)
        assert (np.diff(matched[np.argsort(values)]) >= 0).all()
        assert ks_distance(matched * (spread / matched.std()), edges, cumulative) < 0.01 + 2 / np.sqrt(count)
        assert matched.std() == pytest.approx(wanted or spread, rel=0.01 + 3 / np.sqrt(count))
    expected = match_by_sorting(values, edges, cumulative)
    histogram.match(values, cumulative, edges[0], 0.5, 0.0)
    assert np.median(np.abs(expected - values)) < 0.05
    level = np.full(100, 3.0, np.float32)
    histogram.match(level, cumulative, edges[0], 0.5, 0.0)
    assert (level == 3).all()


def test_exp_and_principal_axes():
    """Exponentials equal the C library's up to the last bits, and axes are NumPy's eigenvectors."""
    x = np.linspace(-40, 5, 10001)
    np.testing.assert_allclose(portable_math.exp(x), np.exp(x), rtol=1e-14)
    x = np.array([-700.0, 0.0, 700.0])
    np.testing.assert_allclose(portable_math.exp(x), np.exp(x), rtol=1e-12)
    for seed in range(20):
        matrix = np.random.default_rng(seed).standard_normal((3, 3))
        matrix = matrix @ matrix.T
        axes = portable_math.principal_axes(matrix)
        np.testing.assert_allclose(axes.T @ matrix @ axes, np.diag(np.linalg.eigvalsh(matrix)[::-1]), atol=1e-12)
        assert (axes.max(axis=0) >= -axes.min(axis=0)).all()
    assert (portable_math.principal_axes(np.diag([1.0, 3.0, 2.0])) == np.eye(3)[:, [1, 2, 0]]).all()


def test_stream_ids_are_unique_and_frozen():
    """Scenes, textures and sources share no stream, and the first ids of each kind never change."""
    assert len({int(stream) for stream in Stream}) == len(Stream.__members__)
    assert (Stream.NUM_FRAMES, Stream.STATISTICAL_NOISE, Stream.STYLEGAN_LATENT, Stream.CLIP_ORDER) == (0, 64, 128, 1000)
