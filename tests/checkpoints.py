"""Random checkpoints for tests, and their comparison."""

import argparse
from dataclasses import replace

import pytest
import torch

from synvid.errors import ConfigurationError
from synvid_train.model.checkpoint import Checkpoint
from synvid_train.model.videomae import Architecture, VideoClassifier, VideoMAE

ARCHITECTURE = Architecture("tiny", num_frames=4, image_size=16, patch_size=8, decoder_depth=2)
CLASSES = ("brush hair", "catch", "clap")
METRICS, RECIPE = {"loss": 0.5, "clips": 1e6}, {"preset": "moving_shapes", "betas": [0.9, 0.95], "seed": None}
KINDS = ["pretraining", "classifier"]

each_kind = pytest.mark.parametrize("kind", KINDS)


def random_checkpoint(kind="pretraining", architecture=ARCHITECTURE, seed=0):
    """A checkpoint of random weights."""
    torch.manual_seed(seed)
    classifier = kind == "classifier"
    model = VideoClassifier(architecture, len(CLASSES)) if classifier else VideoMAE(architecture)
    weights = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
    return Checkpoint(architecture, kind, weights, CLASSES if classifier else (), METRICS, RECIPE)


def assert_same_weights(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)


def assert_same(a, b):
    assert replace(a, weights={}) == replace(b, weights={})
    assert_same_weights(a.weights, b.weights)


def error_message(load, path, error=ConfigurationError):
    """Load a path and return the message of the error; it must be one line that starts with the path."""
    with pytest.raises(error) as caught:
        load(path)
    message = str(caught.value)
    assert type(caught.value) is error
    assert message.startswith(f"{path}"), message
    assert message.endswith("."), message
    assert "\n" not in message
    return message


def official(checkpoint, key="model"):
    """The content of a file that VideoMAE's training code saves."""
    weights = checkpoint.weights
    if checkpoint.kind == "classifier":
        weights = {name.removeprefix("encoder."): value for name, value in weights.items()}
    arguments = argparse.Namespace(batch_size=32, lr=1e-3, opt_betas=[0.9, 0.95], output_dir="out", distributed=False)
    return {key: weights, "epoch": 799, "args": arguments, "optimizer": {"state": {}}, "scaler": {"scale": 65536.0}}
