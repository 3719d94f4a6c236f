"""The model: parity with transformers' VideoMAE, and its equations against values computed by hand."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402

import synvid_train.model.timm_imports  # noqa: E402, F401  # before transformers imports torchvision
from synvid.errors import ConfigurationError  # noqa: E402
from synvid_train.model.checkpoint import Checkpoint  # noqa: E402
from synvid_train.model.load import export_huggingface, load_checkpoint  # noqa: E402
from synvid_train.model.videomae import (  # noqa: E402
    MEAN,
    SIZES,
    STD,
    Architecture,
    VideoClassifier,
    VideoMAE,
    _sinusoid,
    _to_patches,
    count_parameters,
    normalize,
    training_flops,
    tube_mask,
    unwrapped_state_dict,
)

TINY = Architecture("tiny", num_frames=4, image_size=16, patch_size=8, decoder_depth=2)  # 2 steps of 4 patches


def randomized(model, seed=0):
    """Add noise to all weights: initial zeros and ones could hide a mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model.eval()


def random_clips(architecture, batch=2, seed=0):
    rng = np.random.default_rng(seed)
    side = architecture.image_size
    return torch.from_numpy(rng.integers(0, 256, (batch, architecture.num_frames, side, side, 3), dtype=np.uint8))


def orders(architecture, ratio=0.75, batch=2, seed=0):
    """Draw a tube mask for each clip; return them and V."""
    rng = np.random.default_rng(seed)
    steps, patches = architecture.grid
    rows = np.stack([tube_mask(architecture, ratio, rng) for _ in range(batch)])
    return torch.from_numpy(rows), steps * (patches - int(ratio * patches))


# ---- Parity with transformers ---------------------------------------------------------------------------------------
parity = pytest.mark.parametrize(
    "architecture",
    [
        Architecture("tiny", num_frames=8, image_size=32, patch_size=8, decoder_depth=4),
        Architecture("tiny", num_frames=16, image_size=48, patch_size=16, decoder_depth=1),
        Architecture("tiny", num_frames=8, image_size=24, patch_size=8, tubelet_size=4, decoder_depth=2),
        Architecture("small", num_frames=16, image_size=32, patch_size=16, decoder_depth=2),
    ],
    ids=lambda a: f"{a.size}-{a.num_frames}x{a.image_size}-p{a.patch_size}-q{a.tubelet_size}",
)


@pytest.fixture
def transformers_model(tmp_path):
    """Return a function that exports a model and loads it with transformers, in float64."""
    pytest.importorskip("transformers")
    from transformers.models.videomae import modeling_videomae as theirs
    from transformers.utils import logging

    def load(model, classes=()):
        kind = "classifier" if classes else "pretraining"
        export_huggingface(Checkpoint(model.architecture, kind, model.state_dict(), classes), tmp_path)
        cls = theirs.VideoMAEForVideoClassification if classes else theirs.VideoMAEForPreTraining
        loaded, report = cls.from_pretrained(tmp_path, output_loading_info=True)
        assert not any(report.values()), report
        (loaded.fc_norm if classes else loaded.decoder.norm).eps = 1e-6  # transformers fixes it at 1e-5
        return loaded.double().eval()

    logging.disable_progress_bar()
    return load


@parity
@pytest.mark.parametrize("scattered", [False, True], ids=["tubes", "scattered"])
def test_pretraining_equals_transformers(architecture, scattered, transformers_model):
    """An exported model predicts what VideoMAEForPreTraining predicts, with the same loss, to 1e-10 and for any mask."""
    ours = randomized(VideoMAE(architecture))
    theirs = transformers_model(ours)
    order, visible = orders(architecture, ratio=0.6)
    if scattered:
        rng = np.random.default_rng(1)
        rows = [rng.permutation(architecture.num_tokens) for _ in order]
        order = torch.from_numpy(np.stack([np.r_[np.sort(row[:visible]), np.sort(row[visible:])] for row in rows]))
    assert 0 < visible < architecture.num_tokens
    assert not torch.equal(order[0], order[1])

    pixels = normalize(random_clips(architecture), torch.float64)
    masked = torch.ones(order.shape, dtype=torch.bool).scatter(1, order[:, :visible], False)
    with torch.no_grad():
        loss, predicted = ours.double()(pixels, order, visible)
        expected = theirs(pixels.permute(0, 1, 4, 2, 3), bool_masked_pos=masked)
    assert (predicted - expected.logits).abs().max() < 1e-10
    assert (loss - expected.loss).abs() < 1e-10
    assert predicted.std() > 0.1


@parity
def test_classifier_equals_transformers(architecture, transformers_model):
    """An exported classifier has the logits of VideoMAEForVideoClassification to 1e-10, and its class names."""
    ours = randomized(VideoClassifier(architecture, 5))
    theirs = transformers_model(ours, ("ride", "run", "sit", "swim", "wave"))
    assert theirs.config.id2label == {0: "ride", 1: "run", 2: "sit", 3: "swim", 4: "wave"}
    pixels = normalize(random_clips(architecture), torch.float64)
    with torch.no_grad():
        logits, expected = ours.double()(pixels), theirs(pixels.permute(0, 1, 4, 2, 3)).logits
    assert (logits - expected).abs().max() < 1e-10
    assert logits.std() > 0.01


def test_folder_saved_by_transformers_loads(tmp_path, transformers_model):
    """A model that transformers saves after loading our export has bit-identical weights when we load it."""
    for ours, classes in ((VideoMAE(TINY), ()), (VideoClassifier(TINY, 2), ("sit", "stand"))):
        transformers_model(randomized(ours), classes).float().save_pretrained(tmp_path / "theirs")
        read = load_checkpoint(tmp_path / "theirs")
        assert read.architecture == ours.architecture
        assert read.classes == classes
        assert read.weights.keys() == ours.state_dict().keys()
        assert all(torch.equal(read.weights[name], value) for name, value in ours.state_dict().items())


def test_exported_preprocessor_equals_normalize(tmp_path):
    """The exported image processor turns frames into the pixels of `normalize`."""
    pytest.importorskip("transformers")
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

    export_huggingface(Checkpoint(TINY, "pretraining", VideoMAE(TINY).state_dict()), tmp_path)
    frames = random_clips(TINY, batch=1)
    processor = VideoMAEImageProcessorPil.from_pretrained(tmp_path)
    pixels = processor(list(frames[0].numpy()), return_tensors="pt")["pixel_values"]
    assert torch.allclose(pixels.permute(0, 1, 3, 4, 2), normalize(frames), atol=1e-5)


# ---- Sizes ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("size", "millions"), [("small", 24.0), ("base", 94.2), ("large", 317.8), ("huge", 653)])
def test_number_of_parameters(size, millions):
    """All sizes have the published numbers of parameters, with four decoder blocks."""
    with torch.device("meta"):
        count = count_parameters(VideoMAE(Architecture(size)))
    assert round(count / 1e6, 0 if isinstance(millions, int) else 1) == millions


@pytest.mark.parametrize(
    ("size", "ratio", "giga"), [("base", 0.75, 341), ("large", 0.75, 956), ("base", None, 1082), ("large", None, 3581)]
)
def test_training_flops(size, ratio, giga):
    """The estimated operations of a training step are within 2 % of measured ones."""
    assert training_flops(Architecture(size), ratio) / 1e9 == pytest.approx(giga, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "giant"}, "model.size is 'giant'; it must be one of tiny, small, base, large, huge."),
        ({"num_frames": 15}, "model.num_frames is 15; it must be a multiple of tubelet_size, 2."),
        ({"num_frames": 0}, "model.num_frames is 0"),
        ({"image_size": 100}, "model.image_size is 100; it must be a multiple of patch_size, 16."),
        ({"patch_size": 0}, "model.patch_size is 0; it must be above 0."),
        ({"tubelet_size": -2}, "model.tubelet_size is -2; it must be above 0."),
    ],
)
def test_invalid_architecture_raises(arguments, message):
    """An invalid architecture raises an error with the setting, its value and what would be right."""
    with pytest.raises(ConfigurationError) as caught:
        Architecture(**arguments)
    assert str(caught.value).startswith(message)


def test_layer_norm_eps():
    """All layer norms have eps 1e-6, as in the official code, not torch's 1e-5."""
    models = VideoMAE(TINY), VideoClassifier(TINY, 3)
    norms = [module for model in models for module in model.modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == (2 * 4 + 1 + 2 * 2 + 1) + (2 * 4 + 1)
    assert {norm.eps for norm in norms} == {1e-6}


# ---- Masks ---------------------------------------------------------------------------------------------------------
@given(
    steps=st.integers(1, 6),
    side=st.integers(1, 9),
    ratio=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_tube_mask(steps, side, ratio, seed):
    """A tube mask masks int(ratio x patches) patches, the same at each time step, and is a permutation of the tokens."""
    architecture = Architecture("tiny", num_frames=2 * steps, image_size=8 * side, patch_size=8)
    order = tube_mask(architecture, ratio, np.random.default_rng(seed))
    hidden = int(ratio * side**2)
    visible, masked = order[: steps * (side**2 - hidden)], order[steps * (side**2 - hidden) :]
    assert sorted(order) == list(range(steps * side**2))
    assert list(visible) == sorted(visible)
    assert list(masked) == sorted(masked)
    tubes = masked.reshape(steps, hidden) - np.arange(steps)[:, None] * side**2
    assert (tubes == tubes[0]).all()
    assert ((tubes >= 0) & (tubes < side**2)).all()


def test_tube_mask_of_paper():
    """At ratio 0.75, 16 frames of 224 pixels have 392 visible tokens of 1568; two masks differ."""
    rng = np.random.default_rng(0)
    first, second = (tube_mask(Architecture(), 0.75, rng) for _ in range(2))
    assert len(first) == 1568
    assert first[391] > first[392]  # visible tokens end here, masked ones begin
    assert (np.diff(first[:392]) > 0).all()
    assert not np.array_equal(first, second)


def test_tube_mask_is_uniform():
    """Each patch is masked with the same probability."""
    rng = np.random.default_rng(0)
    architecture = Architecture("tiny", num_frames=2, image_size=32, patch_size=8)
    counts = np.bincount(np.concatenate([tube_mask(architecture, 0.75, rng)[4:] for _ in range(2000)]), minlength=16)
    assert np.abs(counts / 2000 - 0.75).max() < 5 * math.sqrt(0.75 * 0.25 / 2000)


def test_prediction_depends_on_visible_patches_only():
    """Changing masked pixels does not change the prediction; changing visible ones does."""
    model = randomized(VideoMAE(TINY))
    order, visible = orders(TINY, ratio=0.5, batch=1)
    clip = normalize(random_clips(TINY, batch=1))
    patches = torch.arange(8).reshape(2, 2, 2).repeat_interleave(2, 0).repeat_interleave(8, 1).repeat_interleave(8, 2)
    hidden = torch.isin(patches, order[0, visible:])[None, ..., None]
    with torch.no_grad():
        before = model.predict(clip, order, visible)
        assert torch.equal(before, model.predict(torch.where(hidden, clip + 1, clip), order, visible))
        assert not torch.allclose(before, model.predict(torch.where(hidden, clip, clip + 1), order, visible))


# ---- Equations ---------------------------------------------------------------------------------------------
def test_target_of_two_values():
    """The targets of a patch with two values per channel, d apart, are -+ d / 2 / (d / sqrt(2) + 1e-6)."""
    architecture = Architecture("tiny", num_frames=2, image_size=1, patch_size=1, decoder_depth=0)
    values = torch.tensor([[0.2, 0.5, 0.9], [0.6, 0.5, 0.1]], dtype=torch.float64)  # (T, C) in [0, 1]
    clip = ((values - torch.tensor(MEAN)) / torch.tensor(STD)).reshape(1, 2, 1, 1, 3)
    target = VideoMAE(architecture).target(clip, torch.zeros(1, 1, dtype=torch.int64))
    # The deviations are 0.4 / sqrt(2), 0 and 0.8 / sqrt(2), so that (0.2 - 0.4) / (0.28284 + 1e-6) = -0.707104, and so on.
    first, last = (0.5 * d / (d / math.sqrt(2) + 1e-6) for d in (0.4, 0.8))
    expected = torch.tensor([-first, 0, last, first, 0, -last], dtype=torch.float64)
    assert torch.allclose(target[0, 0], expected, atol=1e-6)


def test_target_equals_loops():
    """The target has mean 0 and standard deviation 1 per patch and channel, in the order time, row, column, channel."""
    clips = random_clips(TINY)
    order, visible = orders(TINY, ratio=0.5)
    target = VideoMAE(TINY).target(normalize(clips, torch.float64), order[:, visible:])
    for clip, row, masked in zip(clips.numpy() / 255, target.numpy(), order[:, visible:].numpy(), strict=True):
        for values, token in zip(row, masked, strict=True):
            step, patch = divmod(token, 4)
            y, x = divmod(patch, 2)
            block = clip[2 * step : 2 * step + 2, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8].reshape(128, 3)
            expected = (block - block.mean(0)) / (block.std(0, ddof=1) + 1e-6)
            assert np.abs(values.reshape(128, 3) - expected).max() < 1e-10


@pytest.mark.parametrize("patch", [8, 16])
def test_target_of_constant_patch_is_zero(patch):
    """A patch of one colour has target 0 at any level: rounding errors are not amplified."""
    architecture = Architecture("tiny", num_frames=2, image_size=patch, patch_size=patch, decoder_depth=0)
    levels = torch.arange(256, dtype=torch.uint8).reshape(-1, 1, 1, 1, 1).expand(-1, 2, patch, patch, 3)
    target = VideoMAE(architecture).target(normalize(levels), torch.zeros(256, 1, dtype=torch.int64))
    assert target.abs().max() == 0


def test_loss_is_mean_squared_error():
    """The loss is the mean squared error over masked patches, in float32 also under autocast."""
    model = randomized(VideoMAE(TINY))
    clips = random_clips(TINY)
    order, visible = orders(TINY)
    loss, predicted = model(clips, order, visible)
    expected = (predicted - model.target(normalize(clips), order[:, visible:])).square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        low, predicted = model(clips, order, visible)
    assert predicted.dtype == torch.bfloat16
    assert low.dtype == torch.float32
    assert low.item() == pytest.approx(loss.item(), rel=0.02)


def test_patch_embedding_equals_convolution():
    """The linear map of patches equals a Conv3d with the same weights."""
    model = randomized(VideoMAE(TINY)).double()
    clips = normalize(random_clips(TINY), torch.float64)
    embed = model.encoder.patch_embed
    convolved = embed.proj(clips.permute(0, 4, 1, 2, 3)).flatten(2).transpose(1, 2)
    assert convolved.shape == (2, 8, 128)
    assert (embed(_to_patches(clips, TINY)) - convolved).abs().max() < 1e-12


def test_sinusoid_of_width_four():
    """For width 4 the embedding of position p is sin(p), cos(p), sin(p / 100), cos(p / 100)."""
    expected = [[math.sin(p), math.cos(p), math.sin(p / 100), math.cos(p / 100)] for p in range(3)]
    table = _sinusoid(3, 4)
    assert table.dtype == torch.float32
    assert torch.equal(table, torch.tensor([expected]))


def test_state_dict_has_no_positions():
    """The state dict has no position embeddings, so weights fit any number of frames."""
    assert not [name for name in VideoMAE(TINY).state_dict() if "position" in name]


def test_normalize():
    """0 becomes -mean / std and 255 becomes (1 - mean) / std per channel, in float32 by default."""
    frames = torch.tensor([[0, 0, 0], [255, 255, 255]], dtype=torch.uint8)
    pixels = normalize(frames, torch.float64)
    for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
        assert pixels[:, channel].tolist() == pytest.approx([-mean / std, (1 - mean) / std], abs=1e-15)
    assert normalize(frames).dtype == torch.float32


def test_models_take_uint8_or_normalized_floats():
    """Models return the same for uint8 frames and for the same frames normalised."""
    clips = random_clips(TINY)
    order, visible = orders(TINY)
    for model, more in ((VideoMAE(TINY), (order, visible)), (VideoClassifier(TINY, 3), ())):
        randomized(model)
        (a, b) = (model(pixels, *more) for pixels in (clips, normalize(clips)))
        assert torch.equal(a[0], b[0])


# ---- Training ------------------------------------------------------------------------------------------------------
def test_initialization():
    """Linear layers are Xavier-uniform with bias 0, norms are the identity, and the mask token is as published."""
    torch.manual_seed(0)
    model, classifier = VideoMAE(TINY), VideoClassifier(TINY, 50)
    for module in [*model.encoder.modules(), *model.decoder.modules(), *classifier.encoder.modules()]:
        if isinstance(module, nn.Linear) and module in {*model.modules()}:
            bound = math.sqrt(6 / sum(module.weight.shape))
            assert module.weight.abs().max() <= bound
            assert module.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        if isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all()
    flat = [value for name, value in model.named_parameters() if name.endswith("bias") and "patch_embed" not in name]
    assert len(flat) == 6 * 7 + 1 + 1 + 1  # norm1, q, v, proj, norm2, fc1, fc2 of six blocks, two norms, the head
    assert all((bias == 0).all() for bias in flat)
    assert 0 < model.mask_token.abs().max() <= 0.02
    assert classifier.head.weight.std().item() == pytest.approx(2e-5, rel=0.05)
    assert (classifier.head.bias == 0).all()


@pytest.mark.parametrize("kind", ["pretraining", "classifier"])
def test_every_parameter_has_gradient(kind):
    """A training step gives every parameter a finite, non-zero gradient."""
    torch.manual_seed(0)
    clips = random_clips(TINY)
    if kind == "pretraining":
        model = VideoMAE(TINY)
        loss, _ = model(clips, *orders(TINY, ratio=0.5))
    else:
        model = VideoClassifier(TINY, 3)
        loss = nn.functional.cross_entropy(model(clips), torch.tensor([0, 2]))
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.slow
def test_overfits_one_batch():
    """60 steps on one batch reduce the loss from about 1 to below 0.3."""
    torch.manual_seed(0)
    model, clips = VideoMAE(TINY), random_clips(TINY)
    order, visible = orders(TINY, ratio=0.5)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss, _ = model(clips, order, visible)
        loss.backward()
        optimizer.step()
    assert loss < 0.3


def test_drop_path_grows_with_depth():
    """Stochastic depth rates grow linearly from 0 to `drop_path`, and apply in training only."""
    model = VideoClassifier(TINY, 3, drop_path=0.3, dropout=0.5)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in model.encoder.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])
    clips = random_clips(TINY)
    assert torch.equal(model.eval()(clips), model(clips))
    assert not torch.equal(model.train()(clips), model(clips))


def test_features_at_depth():
    """`features` returns the tokens after any number of blocks; the norm of the last ones is the encoder's output."""
    encoder = randomized(VideoMAE(TINY)).encoder
    clips = normalize(random_clips(TINY))
    with torch.no_grad():
        tokens = encoder.features(clips, depth=3)
        assert torch.equal(encoder.blocks[3](tokens), encoder.features(clips))
        assert torch.equal(encoder.norm(encoder.features(clips)), encoder(clips))


def test_fused_attention_equals_plain():
    """Fused attention equals attention by two matrix products."""
    model = randomized(VideoMAE(TINY)).double()
    clips, (order, visible) = normalize(random_clips(TINY), torch.float64), orders(TINY)
    with torch.no_grad():
        fused = model.predict(clips, order, visible)
        for block in [*model.encoder.blocks, *model.decoder.blocks]:
            assert block.attn.fused_attn
            block.attn.fused_attn = False
        assert (model.predict(clips, order, visible) - fused).abs().max() < 1e-12


def test_unwrapped_state_dict():
    """Names of wrapped weights have no prefixes of DistributedDataParallel or torch.compile."""

    class Wrapped(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = nn.Module()
            self.module._orig_mod = module

    model = VideoMAE(TINY)
    assert unwrapped_state_dict(Wrapped(model)).keys() == model.state_dict().keys()


def test_width_is_multiple_of_heads():
    """The width of every size is a multiple of its number of heads, in encoder and decoder."""
    for width, _, heads, decoder_width, decoder_heads in SIZES.values():
        assert width % heads == 0
        assert decoder_width % decoder_heads == 0


# ---- Parity with VideoMAE's code -------------------------------------------------------------------
def _deviations(model):
    return {name: value.std().item() for name, value in model.named_parameters() if value.ndim == 2}


def test_initial_weights_equal_videomae():
    """Pre-training starts with Xavier weights, but PyTorch's default between the two halves; classifiers with std 0.02."""
    torch.manual_seed(0)
    width, _, _, decoder_width, _ = SIZES["small"]
    deviations = _deviations(VideoMAE(Architecture("small", 4, 32, 16, 2, 1)))
    assert deviations["encoder_to_decoder.weight"] == pytest.approx((1 / (3 * width)) ** 0.5, rel=0.03)
    for name, (rows, columns) in {
        "encoder.blocks.0.attn.qkv.weight": (3 * width, width),
        "decoder.blocks.0.mlp.fc1.weight": (4 * decoder_width, decoder_width),
    }.items():
        assert deviations[name] == pytest.approx((2 / (rows + columns)) ** 0.5, rel=0.03)
    classifier = VideoClassifier(Architecture("small", 4, 32, 16, 2, 1), 51)
    deviations = _deviations(classifier)
    assert deviations.pop("head.weight") == pytest.approx(0.02 * 0.001, rel=0.05)
    assert all(deviation == pytest.approx(0.02, rel=0.03) for deviation in deviations.values())


def test_residual_stream_is_float32_under_bf16():
    """Under bf16 autocast, tokens are passed from block to block in float32."""
    model, seen = VideoMAE(Architecture("tiny", 4, 32, 16, 2, 2)), []
    for block in (*model.encoder.blocks, *model.decoder.blocks):
        block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    order = torch.arange(8)[None]
    with torch.autocast("cpu", torch.bfloat16):
        model.predict(torch.zeros(1, 4, 32, 32, 3), order, 4)
    assert len(seen) == len(model.encoder.blocks) + 2
    assert set(seen) == {torch.float32}


def test_evaluate_uses_recipe_precision(tmp_path):
    """`evaluate` runs a classifier in the precision of its recipe."""
    from training_runs import SINGLE_PROCESS, write_labelled_videos

    from synvid_train.data.video_list import read_list
    from synvid_train.eval.evaluate import evaluate
    from synvid_train.training_recipe import load_recipe

    settings = ["model.image_size=16", "model.patch_size=8", "model.num_frames=4"]
    model = VideoClassifier(Architecture("tiny", 4, 16, 8, 2, 1), 2)
    for precision, kind in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        seen = set()
        hook = model.encoder.blocks[0].mlp.fc1.register_forward_hook(lambda *args, seen=seen: seen.add(args[2].dtype))
        recipe = load_recipe("laptop_finetune", [*settings, f"run.precision={precision}"])
        evaluate(model, read_list(write_labelled_videos(tmp_path, count=1)), recipe, SINGLE_PROCESS)
        hook.remove()
        assert seen == {kind}
