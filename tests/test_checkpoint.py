"""Checkpoints come back bit for bit, whoever wrote them; what is no checkpoint is one sentence, and never runs."""

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
from synvid_train.model import checkpoint as module  # noqa: E402
from synvid_train.model.checkpoint import Checkpoint, load_encoder, load_training, save_training, save_weights
from synvid_train.model.convert import _official, export_huggingface, load_checkpoint  # noqa: E402
from synvid_train.model.videomae import SIZES, Architecture, VideoClassifier, VideoMAE  # noqa: E402

ARCHITECTURE = Architecture("tiny", num_frames=4, image_size=16, patch_size=8, decoder_depth=2)
CLASSES = ("brush hair", "catch", "clap")
METRICS, RECIPE = {"loss": 0.5, "clips": 1e6}, {"preset": "moving_shapes", "betas": [0.9, 0.95], "seed": None}
KINDS = ["pretraining", "classifier"]

each_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind="pretraining", architecture=ARCHITECTURE, seed=0):
    """A checkpoint of random weights."""
    torch.manual_seed(seed)
    classifier = kind == "classifier"
    model = VideoClassifier(architecture, len(CLASSES)) if classifier else VideoMAE(architecture)
    weights = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
    return Checkpoint(architecture, kind, weights, CLASSES if classifier else (), METRICS, RECIPE)


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one)


def assert_same(one, other):
    assert replace(one, weights={}) == replace(other, weights={})
    assert_same_weights(one.weights, other.weights)


def refusal(load, path, error=ConfigurationError):
    """The one sentence with which a path is refused; it names the path."""
    with pytest.raises(error) as caught:
        load(path)
    sentence = str(caught.value)
    assert type(caught.value) is error
    assert sentence.startswith(f"{path}"), sentence
    assert sentence.endswith("."), sentence
    assert "\n" not in sentence
    return sentence


def official(checkpoint, key="model"):
    """What the authors' program saves of a model."""
    weights = checkpoint.weights
    if checkpoint.kind == "classifier":
        weights = {name.removeprefix("encoder."): value for name, value in weights.items()}
    arguments = argparse.Namespace(batch_size=32, lr=1e-3, opt_betas=[0.9, 0.95], output_dir="out", distributed=False)
    return {key: weights, "epoch": 799, "args": arguments, "optimizer": {"state": {}}, "scaler": {"scale": 65536.0}}


# ---- Our own files -------------------------------------------------------------------------------------------------
@each_kind
def test_weights_round_trip(kind, tmp_path):
    """A saved model is read back bit for bit, with its classes, metrics and recipe, and its folder will do as its name."""
    before = made(kind)
    save_weights(tmp_path / "run" / "last.safetensors", before)
    assert_same(load_checkpoint(tmp_path / "run" / "last.safetensors"), before)
    assert_same(load_checkpoint(str(tmp_path / "run")), before)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["last.safetensors"]


def test_weights_are_plain_safetensors(tmp_path):
    """Any reader of safetensors finds the weights by the official names."""
    save_weights(tmp_path / "a.safetensors", made())
    assert_same_weights(load_file(tmp_path / "a.safetensors"), made().weights)


@each_kind
def test_training_round_trip(kind, tmp_path):
    """A training is read back whole: model, optimizer, step, states of random generators; and as a model it is one."""
    before = made(kind)
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


def test_a_folder_gives_the_weights_first(tmp_path):
    """In a run with both files, the one without an optimizer is read."""
    save_training(tmp_path / "last.pt", made(seed=1), {}, 0, {})
    save_weights(tmp_path / "last.safetensors", made(seed=2))
    assert_same(load_checkpoint(tmp_path), made(seed=2))


@each_kind
def test_the_model_of_a_checkpoint(kind):
    """`model` builds what the weights belong to, with all of them in it, in any floating type of theirs."""
    before = made(kind)
    model = before.model(drop_path=0.1, dropout=0.2)
    assert type(model) is {"pretraining": VideoMAE, "classifier": VideoClassifier}[kind]
    assert_same_weights(model.state_dict(), before.weights)
    half = replace(before, weights={name: value.bfloat16() for name, value in before.weights.items()})
    assert {value.dtype for value in half.model().state_dict().values()} == {torch.float32}


def test_half_weights_stay_halves(tmp_path):
    """Files keep the types of weights."""
    before = replace(made(), weights={name: value.bfloat16() for name, value in made().weights.items()})
    save_weights(tmp_path / "a.safetensors", before)
    save_training(tmp_path / "a.pt", before, {}, 0, {})
    for name in ("a.safetensors", "a.pt"):
        assert_same(load_checkpoint(tmp_path / name), before)


def test_other_clips_for_the_same_weights(tmp_path):
    """Positions are no weights: a model may be read for other numbers of frames and pixels, if they can be."""
    path = tmp_path / "a.safetensors"
    save_weights(path, made())
    read = load_checkpoint(path, num_frames=8, image_size=32)
    assert read.architecture == replace(ARCHITECTURE, num_frames=8, image_size=32)
    assert read.model().encoder.positions.shape == (1, 4 * 16, 128)
    with pytest.raises(ConfigurationError, match="num_frames is 7; it must be a multiple of tubelet_size, 2"):
        load_checkpoint(path, num_frames=7)


# ---- Official files ------------------------------------------------------------------------------------------------
def test_names_are_the_official_ones():
    """The model has the tensors that the official files have, by their names, and no others."""
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
    assert made().weights.keys() == expected
    tuned = {name for name in expected if name.startswith(("encoder.patch_embed", "encoder.blocks"))}
    tuned |= {f"{part}.{value}" for part in ("fc_norm", "head") for value in ("weight", "bias")}
    assert made("classifier").weights.keys() == tuned


@each_kind
@pytest.mark.parametrize("key", ["model", "module"])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_official_files(kind, key, legacy, tmp_path):
    """An official file, pre-trained or fine-tuned, of old or new torch, gives its weights and the architecture they show."""
    before = made(kind)
    torch.save(official(before, key), tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    after = load_checkpoint(tmp_path / "a.pth", num_frames=4, image_size=16)
    assert_same_weights(after.weights, before.weights)
    decoder_depth = 2 if kind == "pretraining" else 4  # a classifier has none, the default stands
    assert after.architecture == replace(ARCHITECTURE, decoder_depth=decoder_depth)
    assert after.classes == (() if kind == "pretraining" else ("0", "1", "2"))
    assert (load_checkpoint(tmp_path / "a.pth").architecture.num_frames, after.kind) == (16, kind)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("patch", "tubelet", "depth"), [(16, 2, 4), (14, 1, 8)])
def test_architecture_from_shapes(size, patch, tubelet, depth):
    """Size, patch, tubelet and depth of the decoder are inferred from the weights of any size."""
    architecture = Architecture(size, patch_size=patch, tubelet_size=tubelet, decoder_depth=depth)
    with torch.device("meta"):
        weights = VideoMAE(architecture).state_dict()
    assert _official(Path("a.pth"), weights).architecture == architecture


def test_bare_weights(tmp_path):
    """A state dict that was saved as it is will do too."""
    torch.save(made().weights, tmp_path / "a.pt")
    assert_same_weights(load_checkpoint(tmp_path / "a.pt").weights, made().weights)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("key", ["model", "module", "state_dict"])
def test_wrapped_weights(prefix, key, tmp_path):
    """Names of parallel and compiled models are those of the model within, wherever the weights are."""
    before = made("classifier")
    content = official(before, key)
    content[key] = {prefix + name: value for name, value in content[key].items()}
    torch.save(content, tmp_path / "a.pt")
    assert_same_weights(load_checkpoint(tmp_path / "a.pt").weights, before.weights)


def test_compiled_parts_and_weights_that_are_there_twice(tmp_path):
    """A compiled encoder in a plain model is read; weights that would come twice are refused, not chosen from."""
    weights = made().weights
    compiled = {name.replace("encoder.", "encoder._orig_mod."): value for name, value in weights.items()}
    torch.save(compiled, tmp_path / "a.pt")
    assert_same_weights(load_checkpoint(tmp_path / "a.pt").weights, weights)
    torch.save({"model": {**weights, **compiled}}, tmp_path / "a.pt")
    assert "some weights twice" in refusal(load_checkpoint, tmp_path / "a.pt")


def test_numbers_of_numpy_do_no_harm(tmp_path):
    """A best accuracy that is a number of numpy is no obstacle; it comes as the plain number, of either byte order."""
    numbers = {"epoch": np.int64(-7), "best": np.float64(71.25), "half": np.float16(0.5), "done": np.bool_(True)}
    swapped = np.array([1.5], ">f4")[0]
    torch.save({**official(made()), **numbers, "swapped": swapped}, tmp_path / "a.pth")
    assert_same_weights(load_checkpoint(tmp_path / "a.pth").weights, made().weights)
    found = module.unpickle(tmp_path / "a.pth")
    assert {name: found[name] for name in numbers} == {"epoch": -7, "best": 71.25, "half": 0.5, "done": True}
    assert (found["swapped"], type(found["best"])) == (1.5, float)
    torch.save({**official(made()), "name": np.str_("best")}, tmp_path / "a.pth")
    assert "it holds numpy.dtype, which is not loaded" in refusal(load_checkpoint, tmp_path / "a.pth")


def test_folders_of_deepspeed(tmp_path):
    """The weights that `latest` names are read, or those of the folder itself; weights in pieces are refused."""
    before, run = made(), tmp_path / "run"
    for step, seed in ((10, 1), (20, 0)):
        (run / f"global_step{step}").mkdir(parents=True)
        torch.save(official(made(seed=seed), "module"), run / f"global_step{step}" / "mp_rank_00_model_states.pt")
    assert "there is no checkpoint in it" in refusal(load_checkpoint, run)
    (run / "latest").write_text("global_step20\n")
    for path in (run, run / "global_step20"):
        assert_same_weights(load_checkpoint(path).weights, before.weights)
    (run / "latest").write_text("global_step30")
    assert "names 'global_step30', but there is no such folder" in refusal(load_checkpoint, run)
    (run / "latest").write_text("global_step10")
    shutil.copy(run / "global_step10" / "mp_rank_00_model_states.pt", run / "global_step10" / "mp_rank_01_model_states.pt")
    assert "spread over 2 devices" in refusal(load_checkpoint, run)
    (run / "global_step10" / "zero_pp_rank_0_mp_rank_00_model_states.pt").touch()
    assert "zero_to_fp32.py beside it joins them" in refusal(load_checkpoint, run)


def test_what_has_no_weights_of_ours_is_named(tmp_path):
    """The sentence says what is there instead."""
    torch.save({"generator": {"a": torch.zeros(1)}, "step": 3}, tmp_path / "a.pt")
    assert "neither itself nor as model, module, state_dict; it has generator, step." in refusal(
        load_checkpoint, tmp_path / "a.pt"
    )
    torch.save({f"layer{k}.weight": torch.zeros(1) for k in range(5)}, tmp_path / "a.pt")
    assert "it has layer0.weight, layer1.weight, layer2.weight, ..." in refusal(load_checkpoint, tmp_path / "a.pt")


# ---- Hugging Face --------------------------------------------------------------------------------------------------
@each_kind
def test_huggingface_round_trip(kind, tmp_path):
    """What is exported comes back bit for bit, with its architecture and the names of its classes."""
    export_huggingface(made(kind), tmp_path / "hf")
    assert {path.name for path in (tmp_path / "hf").iterdir()} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }
    for path in (tmp_path / "hf", tmp_path / "hf" / "config.json"):
        assert_same(load_checkpoint(path), replace(made(kind), metrics={}, recipe={}))


def test_names_of_transformers_5(tmp_path):
    """Files with query.bias and value.bias, as transformers 5 calls them, are read like those with q_bias and v_bias."""
    export_huggingface(made(), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    renamed = {name.replace("q_bias", "query.bias").replace("v_bias", "value.bias"): weights[name] for name in weights}
    assert renamed.keys() != weights.keys()
    save_file(renamed, tmp_path / "model.safetensors")
    assert_same_weights(load_checkpoint(tmp_path).weights, made().weights)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "vit"}, "model_type is 'vit'; it must be 'videomae'."),
        ({"model_type": None}, "model_type is None"),
        ({"hidden_size": 100}, "its encoder has width 100; the sizes have tiny 128, small 384"),
        ({"num_attention_heads": 8}, "num_attention_heads is 8; a model of this width has 4."),
        ({"decoder_num_attention_heads": 4}, "decoder_num_attention_heads is 4; a model of this width has 2."),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'; a model of this width has 'gelu'."),
        ({"image_size": [16, 16]}, "image_size is [16, 16]; it must be a whole number above 0."),
        ({"patch_size": 0}, "patch_size is 0; it must be a whole number above 0."),
        ({"num_frames": 3}, "model.num_frames is 3; it must be a multiple of tubelet_size, 2."),
    ],
)
def test_configurations_of_other_models(change, said, tmp_path):
    """A config.json of a model that is not ours is refused by the setting, its value and what would be right."""
    export_huggingface(made(), tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert said in refusal(load_checkpoint, file)
    with pytest.raises(ConfigurationError) as caught:
        load_checkpoint(tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff", '{"model_type": "videomae"}'])
def test_configurations_that_are_none(content, tmp_path):
    """A config.json that cannot be read, or without weights beside it, is one sentence."""
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigurationError) as caught:
        load_checkpoint(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_weights_of_other_models_of_transformers(tmp_path):
    """Weights that the configuration does not describe are named: those that lack and those without a place."""
    export_huggingface(made(), tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    lost = "videomae.encoder.layer.1.attention.attention.key.weight"
    save_file({name: value for name, value in weights.items() if name != lost}, file)
    assert f"it lacks the tensor {lost}." in refusal(load_checkpoint, tmp_path)
    save_file({**weights, "videomae.cls_token": torch.zeros(3)}, file)
    assert "it has videomae.cls_token, for which" in refusal(load_checkpoint, tmp_path)
    save_file({**weights, lost: torch.zeros(128, 4)}, file)
    assert "differ in shape: (128, 128) and (128, 4)." in refusal(load_checkpoint, tmp_path)
    save_file({**weights, "decoder.head.bias": torch.zeros(4)}, file)
    assert "decoder.head.bias of shape (4,); the model has (384,)." in refusal(load_checkpoint, tmp_path)


# ---- What is no checkpoint -----------------------------------------------------------------------------------------
def test_paths_that_lead_nowhere(tmp_path):
    """A missing file and a folder without a checkpoint are said to be that."""
    for name in ("none.safetensors", "none.pt", "none"):
        assert "there is no such checkpoint" in refusal(load_checkpoint, tmp_path / name)
        assert "there is no such file" in refusal(load_training, tmp_path / name)
    assert "none of last.safetensors, last.pt, config.json" in refusal(load_checkpoint, tmp_path)
    assert "there is no such file" in refusal(load_training, tmp_path)


FOREIGN = {
    "empty": b"",
    "random": np.random.default_rng(0).bytes(5000),
    "text": b"a line of text\n" * 100,
    "zeros": bytes(5000),
    "pickled": pickle.dumps({"model": 3}),
    "newer pickle": pickle.dumps([1.5, "x"] * 50, protocol=5),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".json", ""])
@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_bytes(name, suffix, tmp_path):
    """Bytes of anything else are refused in one sentence, whatever they are called."""
    path = tmp_path / f"file{suffix}"
    path.write_bytes(FOREIGN[name])
    refusal(load_checkpoint, path)
    refusal(load_training, path)


def test_foreign_archives(tmp_path):
    """A zip of something else, a program of TorchScript and a tensor are refused in one sentence."""
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "hello")
    refusal(load_checkpoint, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/constants.pkl", "hello")
        archive.writestr("a/version", "3")
    refusal(load_checkpoint, path)
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
        refusal(load_checkpoint, path)
        refusal(load_training, path)


def test_other_tensors(tmp_path):
    """Weights of another model are refused, in a file of any format."""
    save_file({"conv1.weight": torch.zeros(3, 3)}, tmp_path / "a.safetensors")
    assert "no header of synvid_train" in refusal(load_checkpoint, tmp_path / "a.safetensors")
    torch.save({"model": {"conv1.weight": torch.zeros(3, 3)}}, tmp_path / "a.pth")
    assert "it is not a VideoMAE" in refusal(load_checkpoint, tmp_path / "a.pth")
    torch.save(official(made()), tmp_path / "a.pth")
    assert "a training cannot go on from it" in refusal(load_training, tmp_path / "a.pth")


@each_kind
def test_weights_of_the_wrong_shape(kind, tmp_path):
    """A tensor that lacks, has no place or has the wrong shape is named, the last with both shapes, in every format."""
    before = made(kind)
    name = "encoder.blocks.2.mlp.fc1.weight"
    broken = {
        f"it lacks the tensor {name}, of shape (512, 128).": {k: v for k, v in before.weights.items() if k != name},
        f"it has {name} of shape (512, 64); the model has (512, 128).": {**before.weights, name: torch.zeros(512, 64)},
        "it has encoder.blocks.4.norm1.bias, for which": {**before.weights, "encoder.blocks.4.norm1.bias": torch.zeros(128)},
    }
    export_to_nowhere = functools.partial(export_huggingface, folder=tmp_path / "b")
    header = module._header(before)
    for said, weights in broken.items():
        save_file(weights, tmp_path / "a.safetensors", metadata={"synvid": header})
        assert said in refusal(load_checkpoint, tmp_path / "a.safetensors")
        torch.save({"synvid": header, "model": weights, "optimizer": {}, "step": 0, "extra": {}}, tmp_path / "a.pt")
        assert said in refusal(load_checkpoint, tmp_path / "a.pt")
        assert said in refusal(load_training, tmp_path / "a.pt")
        torch.save(official(replace(before, weights=weights)), tmp_path / "a.pth")
        assert said in refusal(load_checkpoint, tmp_path / "a.pth")
        wrong = replace(before, weights=weights)
        for save in (functools.partial(save_weights, tmp_path / "b.safetensors"), Checkpoint.model, export_to_nowhere):
            with pytest.raises(ConfigurationError) as caught:
                save(wrong)
            assert said.replace("it ", "The checkpoint ", 1) in str(caught.value)
    assert not list(tmp_path.glob("b*"))


@pytest.mark.parametrize("shape", [(), (128,), (128, 3, 2, 8, 4), (100, 3, 2, 8, 8), (128, 3, 0, 0, 0), (128, 3, 2, 5, 5)])
def test_official_files_of_impossible_shapes(shape, tmp_path):
    """A patch embedding from which no architecture follows is one sentence."""
    content = official(made())
    torch.save(
        {**content, "model": {**content["model"], "encoder.patch_embed.proj.weight": torch.zeros(shape)}}, tmp_path / "a.pth"
    )
    refusal(load_checkpoint, tmp_path / "a.pth")


def test_a_classifier_of_nothing(tmp_path):
    """A head without rows, or without any shape, is one sentence."""
    content = official(made("classifier"))
    for head in (torch.zeros(0, 128), torch.tensor(1.0)):
        torch.save({"model": {**content["model"], "head.weight": head}}, tmp_path / "a.pth")
        assert "A classifier must have classes" in refusal(load_checkpoint, tmp_path / "a.pth")


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
def test_headers_of_nonsense(header, tmp_path):
    """A header that this version does not write is one sentence."""
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"synvid": header})
    refusal(load_checkpoint, tmp_path / "a.safetensors")


@pytest.fixture
def files(tmp_path):
    """A good file of each format, and what reads it."""
    save_weights(tmp_path / "ours.safetensors", made())
    save_training(tmp_path / "ours.pt", made(), {"state": {0: torch.zeros(3)}}, 1, {})
    torch.save(official(made()), tmp_path / "official.pth")
    torch.save(official(made()), tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    return sorted(tmp_path.iterdir())


def test_truncated_files(files):
    """A file cut short anywhere is one sentence."""
    for file in files:
        whole = file.read_bytes()
        assert load_checkpoint(file)
        size = len(whole)
        near = [1, 2, 3, 7, 8, 9, 63, 64, 100, 1000]
        for length in [0, *near, *range(size // 12, size, size // 12), *(size - cut for cut in near)]:
            with file.open("r+b") as cut:
                cut.truncate(length)
            refusal(load_checkpoint, file)
            if file.suffix == ".pt":
                refusal(load_training, file)
            file.write_bytes(whole)


def test_damaged_files(files):
    """Of a file with one byte wrong there are weights or one sentence, nothing else."""
    rng = np.random.default_rng(0)
    refused = 0
    for file in files:
        whole = file.read_bytes()
        for place in np.r_[rng.integers(0, 3000, 15), rng.integers(len(whole) - 3000, len(whole), 15)]:
            damaged = bytearray(whole)
            damaged[place] ^= int(rng.integers(1, 256))
            file.write_bytes(damaged)
            try:
                load_checkpoint(file)
            except ConfigurationError as error:
                assert str(error).startswith(str(file))  # noqa: PT017
                refused += 1
    assert refused > 20


class Malicious:
    """Unpickled, it calls a function."""

    def __init__(self, function, argument):
        self.function, self.argument = function, argument

    def __reduce__(self):
        return self.function, (self.argument,)


@pytest.mark.parametrize(("function", "command"), [(os.system, "touch {}"), (os.mkdir, "{}")])
def test_malicious_pickles_do_not_run(function, command, tmp_path):
    """A pickle that would run code is refused with the name of what it asks for, wherever in the file it hides."""
    target = tmp_path / "made-by-the-pickle"
    evil = Malicious(function, command.format(target))
    good = official(made())
    path = tmp_path / "a.pt"
    hidden = [
        evil,
        {"model": evil},
        {**good, "args": argparse.Namespace(lr=evil)},
        {**good, "model": {**good["model"], "encoder.norm.bias": evil}},
        {"synvid": module._header(made()), "model": made().weights, "optimizer": {}, "step": 0, "extra": {"rng": evil}},
    ]
    for content in hidden:
        for legacy in (False, True):
            torch.save(content, path, _use_new_zipfile_serialization=not legacy)
            for load in (load_checkpoint, load_training):
                assert f"it holds {os.name}.{function.__name__}, which is not loaded" in refusal(load, path)
    path.write_bytes(pickle.dumps(evil))
    refusal(load_checkpoint, path)
    for name in ("last.safetensors", "config.json"):
        shutil.copy(path, tmp_path / name)
        refusal(load_checkpoint, tmp_path / name)
    assert not target.exists()
    pickle.loads(pickle.dumps(evil))  # noqa: S301  # it would have
    assert target.exists()


# ---- Disks ---------------------------------------------------------------------------------------------------------
def write_weights(path, checkpoint):
    save_weights(path / "last.safetensors", checkpoint)


def write_training(path, checkpoint):
    save_training(path / "last.pt", checkpoint, {"state": {0: checkpoint.weights}}, 7, {})


def write_huggingface(path, checkpoint):
    export_huggingface(checkpoint, path)


each_writer = pytest.mark.parametrize("write", [write_weights, write_training, write_huggingface])


def assert_kept(folder, write, said):
    """A write fails with one sentence; the checkpoint before it is as it was, and nothing lies beside it."""
    names = sorted(folder.iterdir())
    with pytest.raises(DatasetError) as caught:
        write(folder, made(seed=2))
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(folder))
    assert sorted(folder.iterdir()) == names
    assert_same_weights(load_checkpoint(folder).weights, made(seed=1).weights)


@each_writer
@pytest.mark.parametrize("limit", [0, 100, 100_000, 3_000_000])
@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
def test_a_limit_on_file_sizes_keeps_the_last_checkpoint(write, limit, tmp_path):
    """A file that may not grow is one sentence, and the checkpoint before it is still there."""
    import resource

    write(tmp_path, made(seed=1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(DatasetError, match=r"File too large\.$"):
            write(tmp_path, made(seed=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert_same_weights(load_checkpoint(tmp_path).weights, made(seed=1).weights)


@pytest.fixture
def disk(tmp_path):
    """A small disk, unmounted at the end."""
    place = tmp_path / "disk"
    place.mkdir()
    if sys.platform != "linux" or shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@each_writer
def test_a_full_disk_keeps_the_last_checkpoint(write, disk):
    """A disk that fills up is one sentence; the checkpoint before is still there; with space again, writing works."""
    write(disk, made(seed=1))
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - 200_000))
    assert_kept(disk, write, "No space left on device.")
    ballast.unlink()
    write(disk, made(seed=2))
    assert_same_weights(load_checkpoint(disk).weights, made(seed=2).weights)


@each_writer
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_keeps_the_last_checkpoint(write, call, tmp_path, monkeypatch):
    """Where data does not reach the disk, or the name cannot be taken, the checkpoint before is still there."""

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    write(tmp_path, made(seed=1))
    monkeypatch.setattr(*((os, "fsync", fail) if call == "fsync" else (Path, "replace", fail)))
    assert_kept(tmp_path, write, "Input/output error.")


@each_writer
def test_an_interrupted_write_keeps_the_last_checkpoint(write, tmp_path, monkeypatch):
    """Ctrl-C in the middle leaves the checkpoint before, and nothing beside it."""

    def interrupt(*_):
        raise KeyboardInterrupt

    write(tmp_path, made(seed=1))
    names = sorted(tmp_path.iterdir())
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, made(seed=2))
    assert sorted(tmp_path.iterdir()) == names
    assert_same_weights(load_checkpoint(tmp_path).weights, made(seed=1).weights)


def test_places_that_cannot_be_written(tmp_path):
    """A folder below a file is one sentence, exit code 1 as for any disk."""
    (tmp_path / "file").write_text("")
    for write in (write_weights, write_training, write_huggingface):
        with pytest.raises(DatasetError, match=r"Not a directory|File exists"):
            write(tmp_path / "file", made())


def test_a_training_is_streamed_to_disk(tmp_path, monkeypatch):
    """No copy of the whole is made in memory: the largest piece written at once is no larger than the largest tensor."""
    pieces = []
    write = module._ErrorRecordingFile.write
    monkeypatch.setattr(module._ErrorRecordingFile, "write", lambda self, data: pieces.append(len(data)) or write(self, data))
    write_training(tmp_path, made())
    largest = max(value.numel() * value.element_size() for value in made().weights.values())
    assert sum(pieces) >= (tmp_path / "last.pt").stat().st_size
    assert max(pieces) <= max(largest, io.DEFAULT_BUFFER_SIZE * 128)


# ---- From pre-training to a classifier -----------------------------------------------------------------------------
@each_kind
def test_the_encoder_moves_into_a_classifier(kind):
    """Patch embedding and blocks are taken; the norm and the head stay as they were made; frames may be others."""
    before = made(kind)
    model = VideoClassifier(replace(ARCHITECTURE, num_frames=8, image_size=24), 7)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    load_encoder(model, before)
    for name, value in model.state_dict().items():
        source = fresh if name.startswith(("fc_norm", "head")) else before.weights
        assert torch.equal(value, source[name]), name
    assert [name for name in fresh if not torch.equal(fresh[name], model.state_dict()[name])]


def test_features_move_with_the_encoder():
    """The classifier sees what the pre-trained encoder sees before its norm."""
    before = made()
    model = VideoClassifier(ARCHITECTURE, 3)
    load_encoder(model, before)
    clips = torch.randn(1, 4, 16, 16, 3)
    with torch.no_grad():
        assert torch.equal(model.encoder(clips), before.model().encoder.features(clips))


@pytest.mark.parametrize(
    ("architecture", "said"),
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
def test_an_encoder_that_does_not_fit(architecture, said):
    """Another patch or width is one sentence with the tensor and both shapes, and the model is left as it was."""
    model = VideoClassifier(architecture, 3)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ConfigurationError) as caught:
        load_encoder(model, made())
    assert str(caught.value) == said
    assert_same_weights(model.state_dict(), fresh)
