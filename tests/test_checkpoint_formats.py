"""Checkpoints of other programs: official VideoMAE, DeepSpeed and Hugging Face."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from checkpoints import (  # noqa: E402
    ARCHITECTURE,
    assert_same,
    assert_same_weights,
    each_kind,
    error_message,
    official,
    random_checkpoint,
)
from safetensors.torch import load_file, save_file  # noqa: E402

from synvid.errors import ConfigurationError  # noqa: E402
from synvid_train.model import tensor_files  # noqa: E402
from synvid_train.model.load import export_huggingface, load_checkpoint  # noqa: E402
from synvid_train.model.official import convert_official_weights  # noqa: E402
from synvid_train.model.videomae import SIZES, Architecture, VideoMAE  # noqa: E402


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
    assert convert_official_weights(Path("a.pth"), weights).architecture == architecture


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
    assert "zero_to_fp32.py next to it merges them" in error_message(load_checkpoint, run)


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
    """A config.json that is invalid or has no weights next to it raises an error that names it."""
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigurationError) as caught:
        load_checkpoint(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_huggingface_weights_that_contradict_config_raise(tmp_path):
    """Missing, unexpected and misshapen tensors raise an error that names the tensor."""
    export_huggingface(random_checkpoint(), tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    lost = "videomae.encoder.layer.1.attention.attention.key.weight"
    save_file({name: value for name, value in weights.items() if name != lost}, file)
    assert f"it lacks the tensor {lost}." in error_message(load_checkpoint, tmp_path)
    save_file({**weights, "videomae.cls_token": torch.zeros(3)}, file)
    assert "it has videomae.cls_token, which is not a weight of the model." in error_message(load_checkpoint, tmp_path)
    save_file({**weights, lost: torch.zeros(128, 4)}, file)
    assert "differ in shape: (128, 128) and (128, 4)." in error_message(load_checkpoint, tmp_path)
    save_file({**weights, "decoder.head.bias": torch.zeros(4)}, file)
    assert "decoder.head.bias of shape (4,); the model has (384,)." in error_message(load_checkpoint, tmp_path)
