"""Fréchet distance, its extrapolation and pseudo-determinants, against closed forms, scipy and torchmetrics."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

import synvid_train.model.timm_imports  # noqa: F401  # before anything that imports torchvision
from synvid.sources.find_sources import resolve_source
from synvid_train.eval.compare import compare
from synvid_train.eval.feature_extractors import find_extractor
from synvid_train.eval.frechet import FeatureGaussian, extrapolate, frechet_distance, log_pseudo_determinant

pytestmark = pytest.mark.usefixtures("feature_cache")


# ---- Distance ------------------------------------------------------------------------------------------------------
def test_frechet_distance_commuting_covariances():
    """With commuting covariances the distance is |m1 - m2|^2 + sum (s1 - s2)^2; here 9 + 16 + 1 + 4."""
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(2, 2)))[0]
    a = FeatureGaussian(np.array([3.0, 4.0]), rotation @ np.diag([2.0, 5.0]))
    b = FeatureGaussian(np.zeros(2), rotation @ np.diag([1.0, 3.0]))
    assert frechet_distance(a, b) == pytest.approx(9 + 16 + 1 + 4, rel=1e-14)


@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(2, 40), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_frechet_distance_equals_definition(seed, n, m, d):
    """The distance equals the textbook formula with scipy's matrix root, is symmetric, and zero for equal sets."""
    rng = np.random.default_rng(seed)
    x, y = (rng.normal(size=(count, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d) for count in (n, m))
    covariances = [np.cov(z, rowvar=False).reshape(d, d) for z in (x, y)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = sqrtm(covariances[0] @ covariances[1]).real
    means = np.square(x.mean(0) - y.mean(0)).sum()
    expected = means + np.trace(covariances[0] + covariances[1]) - 2 * np.trace(root)
    a, b = FeatureGaussian.fit(x), FeatureGaussian.fit(y)
    scale = np.trace(covariances[0] + covariances[1]) + means
    assert frechet_distance(a, b) == pytest.approx(expected, abs=1e-6 * scale)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), abs=1e-12 * scale)
    assert frechet_distance(a, a) <= 1e-12 * scale


def test_gaussian_independent_of_block_size(monkeypatch):
    """The covariance is numpy's, whatever the number of rows in a block."""
    x = np.random.default_rng(1).normal(3, 2, (500, 7)).astype(np.float32)
    expected = np.cov(x.astype(np.float64), rowvar=False)
    for block in (4096, 64, 3):
        monkeypatch.setattr("synvid_train.eval.frechet._BLOCK_ROWS", block)
        gaussian = FeatureGaussian.fit(x)
        np.testing.assert_allclose(gaussian.factor @ gaussian.factor.T, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(300, 24), (20, 24)])
def test_frechet_distance_equals_torchmetrics(n, d):
    """The distance equals torchmetrics' FID on the same vectors to 1e-6, for more and for fewer vectors than dimensions."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Vectors(torch.nn.Module):
        num_features = d

        def forward(self, images):
            return images[:, 0, 0, :d].double()

    rng = np.random.default_rng(2)
    sides = [torch.from_numpy(rng.integers(0, high, (n, 3, 32, 32), dtype=np.uint8)) for high in (200, 256)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = FrechetInceptionDistance(feature=Vectors(), normalize=False, input_img_size=(3, 32, 32))
        metric.set_dtype(torch.float64)
        for real, side in zip((True, False), sides, strict=True):
            metric.update(side, real=real)
        expected = float(metric.compute())
    distance = frechet_distance(*(FeatureGaussian.fit(side[:, 0, 0, :d].numpy().astype(np.float32)) for side in sides))
    assert distance == pytest.approx(expected, rel=1e-6)


def random_inception():
    """Return random weights in the layout of FID's Inception-v3."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Blank(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_, **__):
            return None

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
        return Blank("inception-v3-compat", ["2048"]).state_dict()


@pytest.mark.slow
def test_frechet_distance_equals_torchmetrics_with_inception(tmp_path, video_sets):
    """With the same Inception weights, the distance equals torchmetrics' FID of the same frames."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torchmetrics.image.fid import FrechetInceptionDistance

    path = tmp_path / "weights.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: random_inception()
        )
        model = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(model.state_dict(), path)
    extractor = find_extractor(str(path))
    assert (
        extractor.distance_name == "Fréchet distance on Inception-v3 of weights.pth"
    )  # not FID, since the weights are not FID's
    sources = [resolve_source(str(video_sets / name)) for name in ("images", "pixels")]
    record, _ = compare(sources, [extractor])
    distance = next(iter(record.properties.values())).value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = FrechetInceptionDistance(feature=2048, feature_extractor_weights_path=str(path))
        metric.set_dtype(torch.float64)
        for source, real in zip(sources, (True, False), strict=True):
            for key in source.keys(0):
                frames = source.read_frames(key, lambda _: [0]).frames
                metric.update(torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()), real=real)
        expected = float(metric.compute())
    assert distance > 0
    assert distance == pytest.approx(expected, rel=1e-4)  # both run the network in float32


def test_extrapolate_removes_bias():
    """The distance of finite samples is biased by about 1 / n; the extrapolated one is not."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 3000, 20)) + np.array([[[0.0]], [[0.5]]])
    true = 20 * 0.25
    fractions = (1.0, 0.8, 2 / 3, 0.5, 0.4, 1 / 3)

    def distance_at(fraction):
        count = round(300 * fraction)
        return np.mean(
            [
                frechet_distance(FeatureGaussian.fit(x[k * count :][:count]), FeatureGaussian.fit(y[k * count :][:count]))
                for k in range(9)
            ]
        )

    distances = [distance_at(fraction) for fraction in fractions]
    assert distances[0] - true > 0.2
    assert distances[-1] - true == pytest.approx(3 * (distances[0] - true), rel=0.35)
    assert abs(extrapolate(fractions, distances) - true) < 0.4 * (distances[0] - true)


# ---- Diversity -----------------------------------------------------------------------------------------------------
@given(st.integers(0, 2**32), st.integers(2, 16))
@settings(max_examples=40, deadline=None)
def test_log_pseudo_determinant_equals_eigenvalues(seed, count):
    """It equals the eigenvalues of numpy's covariance, is invariant to rotation, and grows by 2 (K - 1) log c with scale c."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 20))
    values = np.linalg.eigvalsh(np.cov(x, rowvar=False))[-(count - 1) :]
    expected = np.log(values).sum()
    assert log_pseudo_determinant(x) == pytest.approx(expected, abs=1e-8)
    rotated = x @ np.linalg.qr(rng.normal(size=(20, 20)))[0] + 1
    assert log_pseudo_determinant(rotated) == pytest.approx(expected, abs=1e-7)
    assert log_pseudo_determinant(3 * x) == pytest.approx(expected + 2 * (count - 1) * np.log(3), abs=1e-7)


def test_log_pseudo_determinant_equal_frames_is_none():
    """Equal frames have none, even if rounding makes them differ."""
    x = np.random.default_rng(0).normal(10, 3, (16, 50)).astype(np.float32)
    assert log_pseudo_determinant(x) is not None
    assert log_pseudo_determinant(np.repeat(x[:1], 16, axis=0)) is None
    assert log_pseudo_determinant(np.repeat(x[:1], 16, axis=0) * (1 + 1e-7 * np.arange(16)[:, None])) is None
    assert log_pseudo_determinant(np.concatenate([x[:8], x[:8]])) is None


def test_log_determinant_largest_eigenvalues():
    """With all eigenvalues it is numpy's determinant, with the largest their product, and None if there are too few."""
    x = np.random.default_rng(0).normal(size=(60, 5)) * [1, 2, 3, 4, 5] + 9
    covariance = np.cov(x, rowvar=False)
    assert FeatureGaussian.fit(x).log_determinant(5) == pytest.approx(np.linalg.slogdet(covariance)[1], rel=1e-10)
    largest = np.log(np.linalg.eigvalsh(covariance)[-2:]).sum()
    assert FeatureGaussian.fit(x).log_determinant(2) == pytest.approx(largest, rel=1e-10)
    assert FeatureGaussian.fit(x[:4]).log_determinant(3) is not None
    assert FeatureGaussian.fit(x[:4]).log_determinant(4) is None
    assert FeatureGaussian.fit(np.concatenate([x, x[:, :1]], axis=1)).log_determinant(6) is None
