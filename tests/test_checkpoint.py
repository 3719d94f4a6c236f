"""Checkpoints: round trips, formats of other programs, damaged and malicious files, and failures while writing."""

import argparse
import errno
import functools
import io
import json
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

from safetensors.torch import load_file, save_file  # noqa: E402

from synvid.errors import ConfigurationError, DatasetError  # noqa: E402
from synvid_train.model import tensor_files  # noqa: E402
from synvid_train.model.checkpoint import (  # noqa: E402
    Checkpoint,
    _encode_header,
    load_encoder,
    load_training,
    save_training,
    save_weights,
)
from synvid_train.model.convert import export_huggingface, load_checkpoint  # noqa: E402
from synvid_train.model.official import checkpoint_from_names  # noqa: E402
from synvid_train.model.videomae import SIZES, Architecture, VideoClassifier, VideoMAE  # noqa: E402

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


# ---- Official files ------------------------------------------------------------------------------------------------
def test_weight_names_are_official():
    """Our models have exactly the tensors of the official checkpoints, by the same names."""
    block = {
        *(f"{part}.{value}" for part in ("norm1", "norm2", "attn.proj", "mlp.fc1", "mlp.fc2") for value in ("weight", "bias")),
        *("attn.qkv.weight", "attn.q_bias", "attn.v_bias"),
    }
    expected = {"mask_token", "encoder_to_decoder.weight"}
    expected |= {f"encoder.patch_embed.proj.{value}" for value in ("weight", "bias")}
    expected |= {
        f"{part}.{value}" for part in ("encoder.norm", "decoder.norm", "decoder.head") for value in ("weight", "bias")
    }
    expected |= {f"encoder.blocks.{number}.{name}" for number in range(4) for name in block}
    expected |= {f"decoder.blocks.{number}.{name}" for number in range(2) for name in block}
    assert random_checkpoint().weights.keys() == expected
    tuned = {name for name in expected if name.startswith(("encoder.patch_embed", "encoder.blocks"))}
    tuned |= {f"{part}.{value}" for part in ("fc_norm", "head") for value in ("weight", "bias")}
    assert random_checkpoint("classifier").weights.keys() == tuned


@each_kind
@pytest.mark.parametrize("key", ["model", "module"])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_official_checkpoint_loads(kind, key, legacy, tmp_path):
    """Official checkpoints of both kinds and both file formats of torch load; the architecture is inferred from shapes."""
    before = random_checkpoint(kind)
    torch.save(official(before, key), tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    after = load_checkpoint(tmp_path / "a.pth", num_frames=4, image_size=16)
    assert_same_weights(after.weights, before.weights)
    decoder_depth = 2 if kind == "pretraining" else 4  # a classifier has none, the default stands
    assert after.architecture == replace(ARCHITECTURE, decoder_depth=decoder_depth)
    assert after.classes == (() if kind == "pretraining" else ("0", "1", "2"))
    assert (load_checkpoint(tmp_path / "a.pth").architecture.num_frames, after.kind) == (16, kind)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("patch", "tubelet", "depth"), [(16, 2, 4), (14, 1, 8)])
def test_architecture_inferred_from_shapes(size, patch, tubelet, depth):
    """Size, patch size, tubelet size and decoder depth are inferred from the shapes of the weights."""
    architecture = Architecture(size, patch_size=patch, tubelet_size=tubelet, decoder_depth=depth)
    with torch.device("meta"):
        weights = VideoMAE(architecture).state_dict()
    assert checkpoint_from_names(Path("a.pth"), weights).architecture == architecture


def test_bare_state_dict_loads(tmp_path):
    """A file that holds only a state dict loads."""
    torch.save(random_checkpoint().weights, tmp_path / "a.pt")
    assert_same_weights(load_checkpoint(tmp_path / "a.pt").weights, random_checkpoint().weights)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("key", ["model", "module", "state_dict"])
def test_wrapper_prefixes_are_stripped(prefix, key, tmp_path):
    """Prefixes of DistributedDataParallel and torch.compile are removed, whichever key holds the weights."""
    before = random_checkpoint("classifier")
    content = official(before, key)
    content[key] = {prefix + name: value for name, value in content[key].items()}
    torch.save(content, tmp_path / "a.pt")
    assert_same_weights(load_checkpoint(tmp_path / "a.pt").weights, before.weights)


def test_partly_compiled_model_loads_and_duplicates_raise(tmp_path):
    """A model whose encoder was compiled loads; weights that occur with and without a prefix raise an error."""
    weights = random_checkpoint().weights
    compiled = {name.replace("encoder.", "encoder._orig_mod."): value for name, value in weights.items()}
    torch.save(compiled, tmp_path / "a.pt")
    assert_same_weights(load_checkpoint(tmp_path / "a.pt").weights, weights)
    torch.save({"model": {**weights, **compiled}}, tmp_path / "a.pt")
    assert "some weights twice" in error_message(load_checkpoint, tmp_path / "a.pt")


def test_numpy_scalars_load_as_python_numbers(tmp_path):
    """NumPy scalars in a checkpoint, of either byte order, load as Python numbers; NumPy strings are refused."""
    numbers = {"epoch": np.int64(-7), "best": np.float64(71.25), "half": np.float16(0.5), "done": np.bool_(True)}
    swapped = np.array([1.5], ">f4")[0]
    torch.save({**official(random_checkpoint()), **numbers, "swapped": swapped}, tmp_path / "a.pth")
    assert_same_weights(load_checkpoint(tmp_path / "a.pth").weights, random_checkpoint().weights)
    content = tensor_files.unpickle(tmp_path / "a.pth")
    assert {name: content[name] for name in numbers} == {"epoch": -7, "best": 71.25, "half": 0.5, "done": True}
    assert (content["swapped"], type(content["best"])) == (1.5, float)
    torch.save({**official(random_checkpoint()), "name": np.str_("best")}, tmp_path / "a.pth")
    assert "it holds numpy.dtype, which is not loaded" in error_message(load_checkpoint, tmp_path / "a.pth")


def test_deepspeed_folder(tmp_path):
    """DeepSpeed's latest weights load from either folder; missing, split and ZeRO-sharded weights raise errors that say so."""
    before, run = random_checkpoint(), tmp_path / "run"
    for step, seed in ((10, 1), (20, 0)):
        (run / f"global_step{step}").mkdir(parents=True)
        torch.save(official(random_checkpoint(seed=seed), "module"), run / f"global_step{step}" / "mp_rank_00_model_states.pt")
    assert "there is no checkpoint in it" in error_message(load_checkpoint, run)
    (run / "latest").write_text("global_step20\n")
    for path in (run, run / "global_step20"):
        assert_same_weights(load_checkpoint(path).weights, before.weights)
    (run / "latest").write_text("global_step30")
    assert "names 'global_step30', but there is no such folder" in error_message(load_checkpoint, run)
    (run / "latest").write_text("global_step10")
    shutil.copy(run / "global_step10" / "mp_rank_00_model_states.pt", run / "global_step10" / "mp_rank_01_model_states.pt")
    assert "split over 2 devices" in error_message(load_checkpoint, run)
    (run / "global_step10" / "zero_pp_rank_0_mp_rank_00_model_states.pt").touch()
    assert "zero_to_fp32.py beside it merges them" in error_message(load_checkpoint, run)


def test_file_without_weights_error_lists_its_keys(tmp_path):
    """The error for a file without weights lists its first keys."""
    torch.save({"generator": {"a": torch.zeros(1)}, "step": 3}, tmp_path / "a.pt")
    assert "neither at the top level nor under model, module, state_dict; it has generator, step." in error_message(
        load_checkpoint, tmp_path / "a.pt"
    )
    torch.save({f"layer{k}.weight": torch.zeros(1) for k in range(5)}, tmp_path / "a.pt")
    assert "it has layer0.weight, layer1.weight, layer2.weight, ..." in error_message(load_checkpoint, tmp_path / "a.pt")


# ---- Hugging Face --------------------------------------------------------------------------------------------------
@each_kind
def test_huggingface_round_trip(kind, tmp_path):
    """An exported model loads with bit-identical weights, its architecture and its class names."""
    export_huggingface(random_checkpoint(kind), tmp_path / "hf")
    assert {path.name for path in (tmp_path / "hf").iterdir()} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }
    for path in (tmp_path / "hf", tmp_path / "hf" / "config.json"):
        assert_same(load_checkpoint(path), replace(random_checkpoint(kind), metrics={}, recipe={}))


def test_bias_names_of_transformers_5(tmp_path):
    """query.bias and value.bias, the names of transformers 5, load like q_bias and v_bias."""
    export_huggingface(random_checkpoint(), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    renamed = {name.replace("q_bias", "query.bias").replace("v_bias", "value.bias"): weights[name] for name in weights}
    assert renamed.keys() != weights.keys()
    save_file(renamed, tmp_path / "model.safetensors")
    assert_same_weights(load_checkpoint(tmp_path).weights, random_checkpoint().weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "vit"}, "model_type is 'vit'; it must be 'videomae'."),
        ({"model_type": None}, "model_type is None"),
        ({"hidden_size": 100}, "its encoder has width 100; it must be one of tiny 128, small 384"),
        ({"num_attention_heads": 8}, "num_attention_heads is 8; for this width it must be 4."),
        ({"decoder_num_attention_heads": 4}, "decoder_num_attention_heads is 4; for this width it must be 2."),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'; for this width it must be 'gelu'."),
        ({"image_size": [16, 16]}, "image_size is [16, 16]; it must be a whole number above 0."),
        ({"patch_size": 0}, "patch_size is 0; it must be a whole number above 0."),
        ({"num_frames": 3}, "model.num_frames is 3; it must be a multiple of tubelet_size, 2."),
    ],
)
def test_unsupported_huggingface_config_raises(change, message, tmp_path):
    """A config.json that does not describe one of our models raises an error with the key, its value and the right one."""
    export_huggingface(random_checkpoint(), tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert message in error_message(load_checkpoint, file)
    with pytest.raises(ConfigurationError) as caught:
        load_checkpoint(tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff", '{"model_type": "videomae"}'])
def test_unreadable_huggingface_config_raises(content, tmp_path):
    """A config.json that is invalid or has no weights beside it raises an error that names it."""
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigurationError) as caught:
        load_checkpoint(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_huggingface_weights_that_contradict_config_raise(tmp_path):
    """Missing, superfluous and misshapen tensors raise an error that names the tensor."""
    export_huggingface(random_checkpoint(), tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    lost = "videomae.encoder.layer.1.attention.attention.key.weight"
    save_file({name: value for name, value in weights.items() if name != lost}, file)
    assert f"it lacks the tensor {lost}." in error_message(load_checkpoint, tmp_path)
    save_file({**weights, "videomae.cls_token": torch.zeros(3)}, file)
    assert "it has videomae.cls_token, which is no weight of the model." in error_message(load_checkpoint, tmp_path)
    save_file({**weights, lost: torch.zeros(128, 4)}, file)
    assert "differ in shape: (128, 128) and (128, 4)." in error_message(load_checkpoint, tmp_path)
    save_file({**weights, "decoder.head.bias": torch.zeros(4)}, file)
    assert "decoder.head.bias of shape (4,); the model has (384,)." in error_message(load_checkpoint, tmp_path)


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
    """Missing, misshapen and superfluous tensors raise an error that names tensor and shapes, on reading and on writing."""
    before = random_checkpoint(kind)
    name = "encoder.blocks.2.mlp.fc1.weight"
    broken = {
        f"it lacks the tensor {name}, of shape (512, 128).": {k: v for k, v in before.weights.items() if k != name},
        f"it has {name} of shape (512, 64); the model has (512, 128).": {**before.weights, name: torch.zeros(512, 64)},
        "it has encoder.blocks.4.norm1.bias, which is no weight of the model.": {
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
    """A header that is not one of this version raises an error."""
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
