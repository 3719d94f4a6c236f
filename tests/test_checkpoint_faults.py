"""Checkpoints under faults: files that are invalid, damaged or malicious, and failures while writing."""

import argparse
import errno
import functools
import io
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from checkpoints import (  # noqa: E402
    assert_same_weights,
    each_kind,
    error_message,
    official,
    random_checkpoint,
)
from safetensors.torch import save_file  # noqa: E402

from synvid.errors import ConfigurationError, DatasetError  # noqa: E402
from synvid_train.model import tensor_files  # noqa: E402
from synvid_train.model.checkpoint import Checkpoint, _encode_header, load_training, save_training, save_weights  # noqa: E402
from synvid_train.model.load import export_huggingface, load_checkpoint  # noqa: E402


# ---- Files that are not checkpoints ---------------------------------------------------------------------------------
def test_missing_checkpoint_raises(tmp_path):
    """A missing file and a folder without a checkpoint raise an error that says so."""
    for name in ("none.safetensors", "none.pt", "none"):
        assert "there is no such checkpoint" in error_message(load_checkpoint, tmp_path / name)
        assert "there is no such file" in error_message(load_training, tmp_path / name)
    assert "it must have one of last.safetensors, last.pt, config.json" in error_message(load_checkpoint, tmp_path)
    assert "there is no such file" in error_message(load_training, tmp_path)


OTHER_CONTENT = {
    "empty": b"",
    "random": np.random.default_rng(0).bytes(5000),
    "text": b"a line of text\n" * 100,
    "zeros": bytes(5000),
    "pickled": pickle.dumps({"model": 3}),
    "newer pickle": pickle.dumps([1.5, "x"] * 50, protocol=5),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".json", ""])
@pytest.mark.parametrize("name", OTHER_CONTENT)
def test_arbitrary_bytes_raise(name, suffix, tmp_path):
    """Files with other content raise one ConfigurationError, whatever their extension."""
    path = tmp_path / f"file{suffix}"
    path.write_bytes(OTHER_CONTENT[name])
    error_message(load_checkpoint, path)
    error_message(load_training, path)


def test_other_archives_raise(tmp_path):
    """Other zip files and torch files without weights raise one ConfigurationError."""
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "hello")
    error_message(load_checkpoint, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/constants.pkl", "hello")
        archive.writestr("a/version", "3")
    error_message(load_checkpoint, path)
    for content in (
        torch.zeros(3),
        [],
        {},
        {"model": None},
        {"model": {}},
        {"module": {"a": 1}},
        {"model": {1: torch.zeros(1)}},
    ):
        torch.save(content, path)
        error_message(load_checkpoint, path)
        error_message(load_training, path)


def test_weights_of_another_model_raise(tmp_path):
    """Weights of a model that is no VideoMAE raise an error, in any format."""
    save_file({"conv1.weight": torch.zeros(3, 3)}, tmp_path / "a.safetensors")
    assert "no header of synvid_train" in error_message(load_checkpoint, tmp_path / "a.safetensors")
    torch.save({"model": {"conv1.weight": torch.zeros(3, 3)}}, tmp_path / "a.pth")
    assert "it is not a VideoMAE" in error_message(load_checkpoint, tmp_path / "a.pth")
    torch.save(official(random_checkpoint()), tmp_path / "a.pth")
    assert "a run cannot be resumed from it" in error_message(load_training, tmp_path / "a.pth")


@each_kind
def test_wrong_tensors_raise(kind, tmp_path):
    """Missing, misshapen and unexpected tensors raise an error that names tensor and shapes, on reading and on writing."""
    before = random_checkpoint(kind)
    name = "encoder.blocks.2.mlp.fc1.weight"
    broken = {
        f"it lacks the tensor {name}, of shape (512, 128).": {k: v for k, v in before.weights.items() if k != name},
        f"it has {name} of shape (512, 64); the model has (512, 128).": {**before.weights, name: torch.zeros(512, 64)},
        "it has encoder.blocks.4.norm1.bias, which is not a weight of the model.": {
            **before.weights,
            "encoder.blocks.4.norm1.bias": torch.zeros(128),
        },
    }
    export_to_nowhere = functools.partial(export_huggingface, folder=tmp_path / "b")
    header = _encode_header(before)
    for message, weights in broken.items():
        save_file(weights, tmp_path / "a.safetensors", metadata={"synvid": header})
        assert message in error_message(load_checkpoint, tmp_path / "a.safetensors")
        torch.save({"synvid": header, "model": weights, "optimizer": {}, "step": 0, "extra": {}}, tmp_path / "a.pt")
        assert message in error_message(load_checkpoint, tmp_path / "a.pt")
        assert message in error_message(load_training, tmp_path / "a.pt")
        torch.save(official(replace(before, weights=weights)), tmp_path / "a.pth")
        assert message in error_message(load_checkpoint, tmp_path / "a.pth")
        wrong = replace(before, weights=weights)
        for save in (functools.partial(save_weights, tmp_path / "b.safetensors"), Checkpoint.model, export_to_nowhere):
            with pytest.raises(ConfigurationError) as caught:
                save(wrong)
            assert message.replace("it ", "The checkpoint ", 1) in str(caught.value)
    assert not list(tmp_path.glob("b*"))


@pytest.mark.parametrize("shape", [(), (128,), (128, 3, 2, 8, 4), (100, 3, 2, 8, 8), (128, 3, 0, 0, 0), (128, 3, 2, 5, 5)])
def test_official_patch_embedding_of_wrong_shape_raises(shape, tmp_path):
    """A patch embedding from which no architecture can be inferred raises an error."""
    content = official(random_checkpoint())
    torch.save(
        {**content, "model": {**content["model"], "encoder.patch_embed.proj.weight": torch.zeros(shape)}}, tmp_path / "a.pth"
    )
    error_message(load_checkpoint, tmp_path / "a.pth")


def test_classifier_without_classes_raises(tmp_path):
    """A classifier's last layer without rows raises an error."""
    content = official(random_checkpoint("classifier"))
    for head in (torch.zeros(0, 128), torch.tensor(1.0)):
        torch.save({"model": {**content["model"], "head.weight": head}}, tmp_path / "a.pth")
        assert "A classifier must have classes" in error_message(load_checkpoint, tmp_path / "a.pth")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "[]",
        "{}",
        '{"architecture": {"size": "giant"}}',
        '{"architecture": {"colour": 3}}',
        '{"architecture": {"num_frames": "16"}}',
        '{"architecture": {}, "kind": "poem", "classes": [], "metrics": {}, "recipe": {}}',
        '{"architecture": {}, "kind": "pretraining", "classes": 3, "metrics": {}, "recipe": {}}',
    ],
)
def test_invalid_header_raises(header, tmp_path):
    """A header that was not written by this version raises an error."""
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"synvid": header})
    error_message(load_checkpoint, tmp_path / "a.safetensors")


@pytest.fixture
def files(tmp_path):
    """A valid file of each format."""
    save_weights(tmp_path / "ours.safetensors", random_checkpoint())
    save_training(tmp_path / "ours.pt", random_checkpoint(), {"state": {0: torch.zeros(3)}}, 1, {})
    torch.save(official(random_checkpoint()), tmp_path / "official.pth")
    torch.save(official(random_checkpoint()), tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    return sorted(tmp_path.iterdir())


def test_truncated_file_raises(files):
    """A file truncated at any length raises one ConfigurationError."""
    for file in files:
        whole = file.read_bytes()
        assert load_checkpoint(file)
        size = len(whole)
        near = [1, 2, 3, 7, 8, 9, 63, 64, 100, 1000]
        for length in [0, *near, *range(size // 12, size, size // 12), *(size - cut for cut in near)]:
            with file.open("r+b") as cut:
                cut.truncate(length)
            error_message(load_checkpoint, file)
            if file.suffix == ".pt":
                error_message(load_training, file)
            file.write_bytes(whole)


def test_file_with_flipped_byte_loads_or_raises(files):
    """A file with one changed byte loads or raises a ConfigurationError, never another exception."""
    rng = np.random.default_rng(0)
    refused = 0
    for file in files:
        whole = file.read_bytes()
        for position in np.r_[rng.integers(0, 3000, 15), rng.integers(len(whole) - 3000, len(whole), 15)]:
            damaged = bytearray(whole)
            damaged[position] ^= int(rng.integers(1, 256))
            file.write_bytes(damaged)
            try:
                load_checkpoint(file)
            except ConfigurationError as error:
                assert str(error).startswith(str(file))  # noqa: PT017
                refused += 1
    assert refused > 20


class Malicious:
    """An object that calls a function when it is unpickled."""

    def __init__(self, function, argument):
        self.function, self.argument = function, argument

    def __reduce__(self):
        return self.function, (self.argument,)


@pytest.mark.parametrize(("function", "command"), [(os.system, "touch {}"), (os.mkdir, "{}")])
def test_pickle_with_code_raises(function, command, tmp_path):
    """A pickle that would run code is refused with the name of the function, wherever in the file it is."""
    target = tmp_path / "created-by-the-pickle"
    evil = Malicious(function, command.format(target))
    good = official(random_checkpoint())
    path = tmp_path / "a.pt"
    hidden = [
        evil,
        {"model": evil},
        {**good, "args": argparse.Namespace(lr=evil)},
        {**good, "model": {**good["model"], "encoder.norm.bias": evil}},
        {
            "synvid": _encode_header(random_checkpoint()),
            "model": random_checkpoint().weights,
            "optimizer": {},
            "step": 0,
            "extra": {"rng": evil},
        },
    ]
    for content in hidden:
        for legacy in (False, True):
            torch.save(content, path, _use_new_zipfile_serialization=not legacy)
            for load in (load_checkpoint, load_training):
                assert f"it holds {os.name}.{function.__name__}, which is not loaded" in error_message(load, path)
    path.write_bytes(pickle.dumps(evil))
    error_message(load_checkpoint, path)
    for name in ("last.safetensors", "config.json"):
        shutil.copy(path, tmp_path / name)
        error_message(load_checkpoint, tmp_path / name)
    assert not target.exists()
    pickle.loads(pickle.dumps(evil))  # noqa: S301  # without the protection it runs
    assert target.exists()


# ---- Failures while writing -----------------------------------------------------------------------------------------
def write_weights(path, checkpoint):
    save_weights(path / "last.safetensors", checkpoint)


def write_training(path, checkpoint):
    save_training(path / "last.pt", checkpoint, {"state": {0: checkpoint.weights}}, 7, {})


def write_huggingface(path, checkpoint):
    export_huggingface(checkpoint, path)


each_writer = pytest.mark.parametrize("write", [write_weights, write_training, write_huggingface])


def assert_write_keeps_previous(folder, write, message):
    """Check that a write fails with this message, and keeps the previous checkpoint and nothing else."""
    names = sorted(folder.iterdir())
    with pytest.raises(DatasetError) as caught:
        write(folder, random_checkpoint(seed=2))
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(folder))
    assert sorted(folder.iterdir()) == names
    assert_same_weights(load_checkpoint(folder).weights, random_checkpoint(seed=1).weights)


@each_writer
@pytest.mark.parametrize("limit", [0, 100, 100_000, 3_000_000])
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE behaves differently elsewhere")
def test_file_size_limit_keeps_previous_checkpoint(write, limit, tmp_path):
    """A write that exceeds the file size limit raises an error and keeps the previous checkpoint."""
    import resource

    write(tmp_path, random_checkpoint(seed=1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(DatasetError, match=r"File too large\.$"):
            write(tmp_path, random_checkpoint(seed=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert_same_weights(load_checkpoint(tmp_path).weights, random_checkpoint(seed=1).weights)


@pytest.fixture
def disk(tmp_path):
    """A small tmpfs, unmounted at the end."""
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    if sys.platform != "linux" or shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", mount_point], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    yield mount_point
    subprocess.run(["umount", "-l", mount_point], check=True)


@each_writer
def test_full_disk_keeps_previous_checkpoint(write, disk):
    """A full disk raises an error and keeps the previous checkpoint; with space again, writing works."""
    write(disk, random_checkpoint(seed=1))
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - 200_000))
    assert_write_keeps_previous(disk, write, "No space left on device.")
    ballast.unlink()
    write(disk, random_checkpoint(seed=2))
    assert_same_weights(load_checkpoint(disk).weights, random_checkpoint(seed=2).weights)


@each_writer
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_fsync_or_rename_keeps_previous_checkpoint(write, call, tmp_path, monkeypatch):
    """An error in fsync or rename keeps the previous checkpoint."""

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    write(tmp_path, random_checkpoint(seed=1))
    monkeypatch.setattr(*((os, "fsync", fail) if call == "fsync" else (Path, "replace", fail)))
    assert_write_keeps_previous(tmp_path, write, "Input/output error.")


@each_writer
def test_interrupted_write_keeps_previous_checkpoint(write, tmp_path, monkeypatch):
    """KeyboardInterrupt during a write keeps the previous checkpoint and leaves no temporary file."""

    def interrupt(*_):
        raise KeyboardInterrupt

    write(tmp_path, random_checkpoint(seed=1))
    names = sorted(tmp_path.iterdir())
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, random_checkpoint(seed=2))
    assert sorted(tmp_path.iterdir()) == names
    assert_same_weights(load_checkpoint(tmp_path).weights, random_checkpoint(seed=1).weights)


def test_unwritable_path_raises(tmp_path):
    """A path below a file raises a DatasetError."""
    (tmp_path / "file").write_text("")
    for write in (write_weights, write_training, write_huggingface):
        with pytest.raises(DatasetError, match=r"Not a directory|File exists"):
            write(tmp_path / "file", random_checkpoint())


def test_save_training_makes_no_copy(tmp_path, monkeypatch):
    """save_training writes tensor by tensor: no single write is larger than the largest tensor."""
    sizes = []
    write = tensor_files._ErrorRecordingFile.write
    monkeypatch.setattr(
        tensor_files._ErrorRecordingFile, "write", lambda self, data: sizes.append(len(data)) or write(self, data)
    )
    write_training(tmp_path, random_checkpoint())
    largest = max(value.numel() * value.element_size() for value in random_checkpoint().weights.values())
    assert sum(sizes) >= (tmp_path / "last.pt").stat().st_size
    assert max(sizes) <= max(largest, io.DEFAULT_BUFFER_SIZE * 128)
