"""The model: parity with transformers, and worked examples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from synvid.errors import ConfigurationError  # noqa: E402
from synvid_train.checkpoint import CLASSIFIER, PRETRAINING, Checkpoint, export_huggingface, load_checkpoint  # noqa: E402
from synvid_train.videomae import (  # noqa: E402
    MEAN,
    STD,
    Architecture,
    PatchEmbed,
    VideoClassifier,
    VideoMAE,
    _sinusoid,
    _to_patches,
    count_parameters,
    normalize,
    state_of,
    training_flops,
    tube_mask,
    use_plain_attention,
)

transformers.logging.disable_progress_bar()

SHAPES = [
    Architecture("tiny", 8, 32, 8, 2, 2),
    Architecture("tiny", 16, 48, 16, 2, 1),
    Architecture("tiny", 4, 40, 8, 4, 3),
]


def _randomize(model):
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)


def _clips(shape, count=3):
    torch.manual_seed(1)
    pixels = torch.rand(count, shape.num_frames, shape.image_size, shape.image_size, 3, dtype=torch.float64)
    return (pixels - torch.tensor(MEAN).double()) / torch.tensor(STD).double()


def _orders(shape, ratio=0.75, count=3):
    return torch.stack([torch.from_numpy(tube_mask(shape, ratio, np.random.default_rng(i))) for i in range(count)])


def _visible(shape, ratio=0.75):
    return shape.grid[0] * (shape.grid[1] - int(ratio * shape.grid[1]))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pretraining_equals_transformers(shape, tmp_path):
    """Predictions and loss are those of VideoMAEForPreTraining, through our export, to 1e-10 in float64."""
    model = VideoMAE(shape)
    _randomize(model)
    export_huggingface(Checkpoint(shape, PRETRAINING, state_of(model)), tmp_path)
    peer = transformers.VideoMAEForPreTraining.from_pretrained(tmp_path).double().eval()
    peer.decoder.norm.eps = 1e-6
    model = model.double().eval()
    clips, orders, visible = _clips(shape), _orders(shape), _visible(shape)
    mask = torch.zeros(3, shape.num_tokens, dtype=torch.bool).scatter(1, orders[:, visible:], value=True)
    loss, predicted = model(clips, orders, visible)
    theirs = peer(clips.permute(0, 1, 4, 2, 3), bool_masked_pos=mask)
    assert abs(loss.item() - theirs.loss.item()) < 1e-10
    assert (predicted - theirs.logits).abs().max() < 1e-10
    assert predicted.abs().max() > 0.1


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_classifier_equals_transformers(shape, tmp_path):
    """Logits are those of VideoMAEForVideoClassification, through our export, to 1e-10 in float64."""
    model = VideoClassifier(shape, 5)
    _randomize(model)
    export_huggingface(Checkpoint(shape, CLASSIFIER, state_of(model), tuple("abcde")), tmp_path)
    peer = transformers.VideoMAEForVideoClassification.from_pretrained(tmp_path).double().eval()
    peer.fc_norm.eps = 1e-6
    assert peer.config.id2label == dict(enumerate("abcde"))
    clips = _clips(shape)
    ours = model.double().eval()(clips)
    assert (ours - peer(clips.permute(0, 1, 4, 2, 3)).logits).abs().max() < 1e-10


@pytest.mark.parametrize("kind", [PRETRAINING, CLASSIFIER])
def test_huggingface_round_trip(kind, tmp_path):
    """What is exported comes back bit for bit, classes included; a folder that transformers saved is read as well."""
    shape = SHAPES[0]
    model = VideoMAE(shape) if kind == PRETRAINING else VideoClassifier(shape, 3)
    _randomize(model)
    classes = () if kind == PRETRAINING else ("run", "sit", "wave")
    export_huggingface(Checkpoint(shape, kind, state_of(model), classes), tmp_path / "ours")
    peer = transformers.VideoMAEForPreTraining if kind == PRETRAINING else transformers.VideoMAEForVideoClassification
    peer.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    for folder in ("ours", "theirs"):
        back = load_checkpoint(tmp_path / folder)
        assert (back.architecture.size, back.kind, back.classes) == ("tiny", kind, classes)
        assert back.weights.keys() == state_of(model).keys()
        assert all(torch.equal(back.weights[name], value) for name, value in state_of(model).items())


@pytest.mark.parametrize(("size", "millions"), [("small", 24.0), ("base", 94.2), ("large", 317.8), ("huge", 653)])
def test_parameter_counts(size, millions):
    """The sizes are the published ones."""
    with torch.device("meta"):
        model = VideoMAE(Architecture(size))
    assert count_parameters(model) / 1e6 == pytest.approx(millions, abs=0.5 if size == "huge" else 0.051)


def test_training_flops():
    """Operations of a training step agree with the published ones: ViT-B 341 G masked by 0.75, 1082 G whole."""
    assert training_flops(Architecture("base"), 0.75) / 1e9 == pytest.approx(341, rel=0.02)
    assert training_flops(Architecture("base"), None) / 1e9 == pytest.approx(1082, rel=0.01)
    assert training_flops(Architecture("large"), None) / 1e9 == pytest.approx(3581, rel=0.01)


@given(st.integers(0, 2**32), st.floats(0.1, 0.95))
@settings(max_examples=40, deadline=None)
def test_tube_mask(seed, ratio):
    """Every token stands once; int(ratio * patches) patches are masked, the same at each time step."""
    shape = Architecture("tiny", 8, 48, 8)
    order = tube_mask(shape, ratio, np.random.default_rng(seed))
    steps, patches = shape.grid
    masked = order[steps * (patches - int(ratio * patches)) :]
    assert sorted(order) == list(range(shape.num_tokens))
    assert len(masked) == steps * int(ratio * patches)
    by_step = masked.reshape(steps, -1) - np.arange(steps)[:, None] * patches
    assert (by_step == by_step[0]).all()
    assert (np.diff(masked) > 0).all()


def test_official_mask_counts():
    """At 16 x 224 x 224 and 0.75, 392 of 1,568 tokens are visible."""
    assert _visible(Architecture("base")) == 392
    assert Architecture("base").num_tokens == 1568


def test_target_by_hand():
    """A patch becomes (x - mean) / (deviation + 1e-6) in each channel; the deviation is the unbiased one."""
    shape = Architecture("tiny", 2, 8, 8, 2, 1)
    model = VideoMAE(shape)
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, 8, 8, 3)).astype(np.uint8)
    target = model.target(normalize(torch.from_numpy(frames)), torch.tensor([[0]]))[0, 0].reshape(128, 3).numpy()
    pixels = frames.reshape(128, 3) / 255.0
    expected = (pixels - pixels.mean(0)) / (pixels.std(0, ddof=1) + 1e-6)
    assert np.abs(target - expected).max() < 1e-4


def test_target_of_a_constant_patch():
    """A constant patch, the black background say, has target 0 up to rounding, and its gradient is finite."""
    shape = Architecture("tiny", 2, 16, 8, 2, 1)
    model = VideoMAE(shape)
    clips = torch.zeros(1, 2, 16, 16, 3, dtype=torch.uint8)
    loss, predicted = model(clips, torch.arange(4)[None], 1)
    loss.backward()
    assert model.target(normalize(clips), torch.tensor([[0, 1]])).abs().max() < 0.2
    assert torch.isfinite(predicted).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_patch_embedding_is_the_convolution():
    """The linear map of patches is the Conv3d whose weights it holds."""
    shape = Architecture("tiny", 4, 32, 8)
    embed = PatchEmbed(shape, 16).double()
    clips = torch.randn(2, 4, 32, 32, 3, dtype=torch.float64)
    ours = embed(_to_patches(clips, shape))
    theirs = embed.proj(clips.permute(0, 4, 1, 2, 3)).flatten(2).transpose(1, 2)
    assert (ours - theirs).abs().max() < 1e-12


def test_sinusoid_by_hand():
    """Position 3, entries 0, 1 and 2 of 4: sin 3, cos 3, sin(3 / 100)."""
    row = _sinusoid(5, 4)[0, 3].numpy()
    assert row[:3] == pytest.approx([np.sin(3), np.cos(3), np.sin(0.03)], abs=1e-7)


def test_normalize_by_hand():
    """255 is 1: (1 - mean) / deviation."""
    white = normalize(torch.full((1, 3), 255, dtype=torch.uint8))[0]
    assert white.tolist() == pytest.approx([(1 - m) / s for m, s in zip(MEAN, STD, strict=True)], rel=1e-6)


def test_plain_attention_is_the_same():
    """Attention by two matrix products gives what the fused kernel gives."""
    model = VideoClassifier(SHAPES[0], 3).eval()
    _randomize(model)
    clips = _clips(SHAPES[0]).float()
    fused = model(clips)
    use_plain_attention(model)
    assert (model(clips) - fused).abs().max() < 1e-4


def test_initialization():
    """The mask token is normal of deviation 0.02, cut off there; the head has a thousandth of it, biases are 0."""
    torch.manual_seed(0)
    model, classifier = VideoMAE(Architecture("base", 4, 32)), VideoClassifier(Architecture("tiny", 4, 32), 100)
    assert model.mask_token.abs().max() <= 0.02
    assert 0.009 < model.mask_token.std() < 0.013  # 0.54 of it is left
    assert 1.5e-5 < classifier.head.weight.std() < 2.5e-5
    assert model.decoder.head.bias.abs().max() == 0
    assert model.encoder.blocks[0].attn.q_bias.abs().max() == 0


@pytest.mark.parametrize("settings", [{"num_frames": 5}, {"image_size": 50}, {"size": "giant"}])
def test_impossible_architectures(settings):
    """A size that does not divide, or is not known, is refused in one sentence."""
    with pytest.raises(ConfigurationError, match=r"model\.\w+ is"):
        Architecture(**settings)
