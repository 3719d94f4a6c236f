"""The optimizer: learning rate schedule, parameter groups and single steps."""

import pytest

torch = pytest.importorskip("torch")

from synvid_train.model.videomae import Architecture, VideoClassifier, VideoMAE  # noqa: E402
from synvid_train.train.optim import learning_rate, make_optimizer, parameter_groups, set_learning_rate  # noqa: E402
from synvid_train.training_recipe import Optim  # noqa: E402


def test_learning_rate_schedule():
    """The rate rises from 0 to the peak, then falls as a cosine to the minimum; both scale with the batch size."""
    optim = Optim(base_learning_rate=1e-3, min_learning_rate=1e-5, batch_size=512, warmup_epochs=1, epochs=11)
    rates = [learning_rate(optim, step, 110, 10) for step in range(111)]
    assert rates[0] == 0
    assert rates[5] == pytest.approx(1e-3)
    assert rates[10] == pytest.approx(2e-3)
    assert rates[60] == pytest.approx((2e-3 + 2e-5) / 2)
    assert rates[110] == pytest.approx(2e-5)


def test_parameter_groups():
    """Norms, biases and the mask token have no weight decay; a layer's rate is scaled by decay ** (depth + 1 - layer)."""
    model = VideoClassifier(Architecture("tiny", 4, 16, 8), 3)
    groups = parameter_groups(model, Optim(layer_decay=0.5, weight_decay=0.1), 4)
    group_by_id = {id(p): group for group in groups for p in group["params"]}
    named = {name: group_by_id[id(p)] for name, p in model.named_parameters()}
    assert len(named) == sum(len(group["params"]) for group in groups)
    assert named["encoder.patch_embed.proj.weight"]["lr_scale"] == 0.5**5
    assert named["encoder.blocks.0.mlp.fc1.weight"]["lr_scale"] == 0.5**4
    assert named["encoder.blocks.3.mlp.fc1.weight"]["lr_scale"] == 0.5
    assert named["head.weight"]["lr_scale"] == named["fc_norm.weight"]["lr_scale"] == 1
    decays = {name for name, group in named.items() if group["weight_decay"]}
    assert decays == {name for name, p in model.named_parameters() if p.ndim > 1}
    token = VideoMAE(Architecture("tiny", 4, 16, 8)).mask_token
    masked = VideoMAE(Architecture("tiny", 4, 16, 8))
    groups = parameter_groups(masked, Optim(), 4)
    assert token.ndim == 3
    assert next(g for g in groups if any(p is masked.mask_token for p in g["params"]))["weight_decay"] == 0


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_single_optimizer_step(name):
    """One step of AdamW moves each weight by the learning rate; of SGD by the rate times the gradient."""
    layer = torch.nn.Linear(3, 1, bias=False)
    optimizer = make_optimizer(layer, Optim(optimizer=name, weight_decay=0.0), 4)
    before = layer.weight.detach().clone()
    set_learning_rate(optimizer.param_groups, 0.1)
    layer.weight.grad = torch.tensor([[2.0, -4.0, 8.0]])
    optimizer.step()
    moved = (layer.weight.detach() - before)[0].tolist()
    assert moved == pytest.approx([-0.1, 0.1, -0.1] if name == "adamw" else [-0.2, 0.4, -0.8], rel=1e-4)


def test_sgd_after_skipped_first_step():
    """SGD, after a first step that is skipped as non-finite, moves by the rate times the gradient."""
    layer = torch.nn.Linear(3, 1, bias=False)
    optimizer = make_optimizer(layer, Optim(optimizer="sgd", weight_decay=0.0), 4)
    set_learning_rate(optimizer.param_groups, 0.1)
    before = layer.weight.detach().clone()
    for gradient, non_finite in ((float("nan"), 1.0), (2.0, 0.0)):
        layer.weight.grad = torch.full((1, 3), gradient)
        optimizer.found_inf = torch.tensor(non_finite)
        optimizer.step()
    assert (layer.weight.detach() - before)[0].tolist() == pytest.approx([-0.2] * 3)
