"""Checkpoints of synvid_train: round trips, and an encoder that moves into a classifier."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from checkpoints import (  # noqa: E402
    ARCHITECTURE,
    assert_same,
    assert_same_weights,
    each_kind,
    random_checkpoint,
)
from safetensors.torch import load_file  # noqa: E402

from synvid.errors import ConfigurationError  # noqa: E402
from synvid_train.model.checkpoint import load_encoder, load_training, save_training, save_weights  # noqa: E402
from synvid_train.model.load import load_checkpoint  # noqa: E402
from synvid_train.model.videomae import VideoClassifier, VideoMAE  # noqa: E402


# ---- Our own files -------------------------------------------------------------------------------------------------
@each_kind
def test_weights_round_trip(kind, tmp_path):
    """A saved model loads with bit-identical weights and all attributes, by its path or its folder's."""
    before = random_checkpoint(kind)
    save_weights(tmp_path / "run" / "last.safetensors", before)
    assert_same(load_checkpoint(tmp_path / "run" / "last.safetensors"), before)
    assert_same(load_checkpoint(str(tmp_path / "run")), before)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["last.safetensors"]


def test_safetensors_library_reads_saved_weights(tmp_path):
    """The safetensors library reads a saved model's weights by the official names."""
    save_weights(tmp_path / "a.safetensors", random_checkpoint())
    assert_same_weights(load_file(tmp_path / "a.safetensors"), random_checkpoint().weights)


@each_kind
def test_training_round_trip(kind, tmp_path):
    """A saved training loads with model, optimizer, step and extra state unchanged, and loads as a model, too."""
    before = random_checkpoint(kind)
    model = before.model()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    sum(parameter.square().sum() for parameter in model.parameters()).backward()
    optimizer.step()
    extra = {"torch": torch.get_rng_state(), "numpy": np.random.default_rng(0).bit_generator.state, "best": (0.5, None)}
    save_training(tmp_path / "last.pt", before, optimizer.state_dict(), 1234, extra)

    after, state, step, more = load_training(tmp_path / "last.pt")
    assert_same(after, before)
    assert step == 1234
    assert torch.equal(more.pop("torch"), extra.pop("torch"))
    assert more == extra
    assert state["param_groups"] == optimizer.state_dict()["param_groups"]
    for number, moments in optimizer.state_dict()["state"].items():
        assert_same_weights(state["state"][number], moments)
    assert_same(load_checkpoint(tmp_path / "last.pt"), before)
    assert_same(load_checkpoint(tmp_path), before)


def test_folder_with_both_files_loads_safetensors(tmp_path):
    """In the folder of a run with both files, load_checkpoint reads the one without the optimizer."""
    save_training(tmp_path / "last.pt", random_checkpoint(seed=1), {}, 0, {})
    save_weights(tmp_path / "last.safetensors", random_checkpoint(seed=2))
    assert_same(load_checkpoint(tmp_path), random_checkpoint(seed=2))


@each_kind
def test_checkpoint_model_has_all_weights(kind):
    """`model` builds the right class with all weights, in float32 whatever the dtype of the checkpoint."""
    before = random_checkpoint(kind)
    model = before.model(drop_path=0.1, dropout=0.2)
    assert type(model) is {"pretraining": VideoMAE, "classifier": VideoClassifier}[kind]
    assert_same_weights(model.state_dict(), before.weights)
    half = replace(before, weights={name: value.bfloat16() for name, value in before.weights.items()})
    assert {value.dtype for value in half.model().state_dict().values()} == {torch.float32}


def test_files_keep_dtype(tmp_path):
    """bfloat16 weights are saved and loaded as bfloat16."""
    before = replace(
        random_checkpoint(), weights={name: value.bfloat16() for name, value in random_checkpoint().weights.items()}
    )
    save_weights(tmp_path / "a.safetensors", before)
    save_training(tmp_path / "a.pt", before, {}, 0, {})
    for name in ("a.safetensors", "a.pt"):
        assert_same(load_checkpoint(tmp_path / name), before)


def test_load_for_other_frames_and_image_size(tmp_path):
    """A model can be loaded for another valid number of frames and image size."""
    path = tmp_path / "a.safetensors"
    save_weights(path, random_checkpoint())
    read = load_checkpoint(path, num_frames=8, image_size=32)
    assert read.architecture == replace(ARCHITECTURE, num_frames=8, image_size=32)
    assert read.model().encoder.positions.shape == (1, 4 * 16, 128)
    with pytest.raises(ConfigurationError, match="num_frames is 7; it must be a multiple of tubelet_size, 2"):
        load_checkpoint(path, num_frames=7)


# ---- From pre-training to a classifier -----------------------------------------------------------------------------
@each_kind
def test_load_encoder_copies_encoder_only(kind):
    """load_encoder copies patch embedding and blocks, and leaves norm and head; frames and image size may differ."""
    before = random_checkpoint(kind)
    model = VideoClassifier(replace(ARCHITECTURE, num_frames=8, image_size=24), 7)
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    load_encoder(model, before)
    for name, value in model.state_dict().items():
        source = initial if name.startswith(("fc_norm", "head")) else before.weights
        assert torch.equal(value, source[name]), name
    assert [name for name in initial if not torch.equal(initial[name], model.state_dict()[name])]


def test_load_encoder_keeps_features():
    """After load_encoder the classifier's encoder has the features of the pre-trained encoder before its norm."""
    before = random_checkpoint()
    model = VideoClassifier(ARCHITECTURE, 3)
    load_encoder(model, before)
    clips = torch.randn(1, 4, 16, 16, 3)
    with torch.no_grad():
        assert torch.equal(model.encoder(clips), before.model().encoder.features(clips))


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (
            replace(ARCHITECTURE, patch_size=4),
            "The checkpoint has encoder.patch_embed.proj.weight of shape (128, 3, 2, 8, 8); the model has (128, 3, 2, 4, 4).",
        ),
        (
            replace(ARCHITECTURE, size="small"),
            "The checkpoint has encoder.patch_embed.proj.weight of shape (128, 3, 2, 8, 8); the model has (384, 3, 2, 8, 8).",
        ),
    ],
)
def test_load_encoder_of_other_shape_raises(architecture, message):
    """Another patch size or width raises an error with the tensor and both shapes, and leaves the model unchanged."""
    model = VideoClassifier(architecture, 3)
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ConfigurationError) as caught:
        load_encoder(model, random_checkpoint())
    assert str(caught.value) == message
    assert_same_weights(model.state_dict(), initial)
