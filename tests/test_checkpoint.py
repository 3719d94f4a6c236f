"""Checkpoints: round trips, foreign files, damage, malice and full disks."""

import argparse
import errno
import os

import pytest

torch = pytest.importorskip("torch")

from synvid.errors import ConfigurationError, DatasetError  # noqa: E402
from synvid_train import checkpoint as module  # noqa: E402
from synvid_train.checkpoint import (  # noqa: E402
    CLASSIFIER,
    PRETRAINING,
    Checkpoint,
    load_checkpoint,
    load_encoder,
    load_training,
    save_training,
    save_weights,
)
from synvid_train.videomae import Architecture, VideoClassifier, VideoMAE, state_of  # noqa: E402

SHAPE = Architecture("tiny", 4, 16, 8, 2, 1)


@pytest.fixture(scope="module")
def pretrained():
    """A small checkpoint."""
    torch.manual_seed(0)
    weights = state_of(VideoMAE(SHAPE))
    return Checkpoint(SHAPE, PRETRAINING, weights, metrics={"r2": 0.5}, recipe={"name": "x"})


def _equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_weights_round_trip(pretrained, tmp_path):
    """Weights, shape, figures and settings come back from the file, and from the folder that holds it."""
    save_weights(tmp_path / "last.safetensors", pretrained)
    for path in (tmp_path / "last.safetensors", tmp_path):
        back = load_checkpoint(path)
        assert back.header() == pretrained.header()
        assert _equal(back.weights, pretrained.weights)


def test_training_round_trip(pretrained, tmp_path):
    """The training state comes back whole, and is a checkpoint too."""
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    save_training(tmp_path / "last.pt", pretrained, optimizer, 7, {"identity": {"seed": 1}})
    back, state, step, extra = load_training(tmp_path / "last.pt")
    assert (step, extra, state["param_groups"]) == (7, {"identity": {"seed": 1}}, optimizer["param_groups"])
    assert _equal(back.weights, pretrained.weights)
    assert _equal(load_checkpoint(tmp_path / "last.pt").weights, pretrained.weights)


@pytest.mark.parametrize("key", ["model", "module"])
def test_official_pretrained(pretrained, key, tmp_path):
    """An official file, with its arguments beside the weights, loads without a mapping; its shape is read off."""
    torch.save({key: pretrained.weights, "args": argparse.Namespace(lr=1), "epoch": 3}, tmp_path / "official.pth")
    back = load_checkpoint(tmp_path / "official.pth")
    shape = back.architecture
    assert (shape.size, shape.patch_size, shape.tubelet_size, shape.decoder_depth) == ("tiny", 8, 2, 1)
    assert (shape.num_frames, shape.image_size, back.kind) == (16, 224, PRETRAINING)
    assert _equal(back.weights, pretrained.weights)


def test_official_finetuned(tmp_path):
    """A fine-tuned official file has no prefix before the encoder's names."""
    weights = state_of(VideoClassifier(SHAPE, 4))
    official = {name.removeprefix("encoder."): value for name, value in weights.items()}
    torch.save({"module": official}, tmp_path / "official.pt")
    back = load_checkpoint(tmp_path / "official.pt")
    assert back.kind == CLASSIFIER
    assert _equal(back.weights, weights)
    assert isinstance(back.model(), VideoClassifier)


def test_malicious_pickle_does_not_run(tmp_path):
    """A file that would run code when unpickled is refused, and runs nothing."""

    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"model": Malice()}, tmp_path / "bad.pth")
    with pytest.raises(ConfigurationError, match="could run code"):
        load_checkpoint(tmp_path / "bad.pth")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.999])
def test_truncated(pretrained, name, share, tmp_path):
    """A file that was cut off is refused in one sentence that names it."""
    path = tmp_path / name
    save_weights(path, pretrained) if name.endswith("s") else save_training(path, pretrained, {}, 1, {})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ConfigurationError, match=name):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(range(256)) * 40, b"PK\x03\x04" + b"0" * 400])
@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_foreign_files(content, name, tmp_path):
    """Bytes that are no checkpoint are refused."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=name):
        load_checkpoint(tmp_path / name)


def test_what_is_not_there(tmp_path):
    """A path of nothing, an empty folder and another model's folder have a sentence each."""
    with pytest.raises(ConfigurationError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "nothing.pt")
    with pytest.raises(ConfigurationError, match="holds neither"):
        load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigurationError, match="another type"):
        load_checkpoint(tmp_path)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ConfigurationError, match="holds a list"):
        load_checkpoint(tmp_path / "list.pt")
    torch.save({"model": {"conv.weight": torch.zeros(3)}}, tmp_path / "other.pt")
    with pytest.raises(ConfigurationError, match="no checkpoint of VideoMAE"):
        load_checkpoint(tmp_path / "other.pt")


def test_wrong_shapes_name_both(pretrained):
    """Weights of another shape are refused with both shapes."""
    wrong = VideoClassifier(Architecture("tiny", 4, 32, 16, 2), 3)
    with pytest.raises(ConfigurationError, match=r"\(128, 3, 2, 8, 8\).*\(128, 3, 2, 16, 16\)"):
        load_encoder(wrong, pretrained)


def test_load_encoder(pretrained):
    """A classifier takes the encoder's weights and keeps its own head; more frames are no matter."""
    model = VideoClassifier(Architecture("tiny", 8, 32, 8, 2), 3)
    head = model.head.weight.clone()
    load_encoder(model, pretrained)
    name = "encoder.blocks.3.mlp.fc1.weight"
    assert torch.equal(model.state_dict()[name], pretrained.weights[name])
    assert torch.equal(model.head.weight, head)


@pytest.mark.parametrize("fault", ["fsync", "write"])
@pytest.mark.parametrize("name", ["last.pt", "last.safetensors"])
def test_full_disk_keeps_the_last_good_one(pretrained, fault, name, tmp_path, monkeypatch):
    """When the disk fills, the checkpoint of before is whole and nothing else lies about."""

    def save():
        if name == "last.pt":
            save_training(tmp_path / name, pretrained, {}, 1, {})
        else:
            save_weights(tmp_path / name, pretrained)

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    save()
    before = (tmp_path / name).read_bytes()
    if fault == "fsync":
        monkeypatch.setattr(module.os, "fsync", full)
    else:
        monkeypatch.setattr(module.torch if name == "last.pt" else module, "save" if name == "last.pt" else "save_file", full)
    with pytest.raises(DatasetError, match="No space left"):
        save()
    assert (tmp_path / name).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_disk_that_is_really_full(pretrained):
    """/dev/full: the sentence is the system's."""
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("there is no /dev/full here")
    with pytest.raises((OSError, RuntimeError)), open("/dev/full", "wb") as file:  # noqa: PTH123
        torch.save(pretrained.weights, file)
