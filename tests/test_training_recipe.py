"""Training recipes: the paper's values, loading, overrides and errors."""

import pytest

from synvid.errors import ConfigurationError
from synvid_train.training_recipe import TrainingRecipe, list_recipes, load_recipe


def test_recipes_match_paper():
    """The recipes have the values of Tables 5, 6 and 7."""
    table5, table6, table7 = (load_recipe(name) for name in ("pretrain_vitb", "finetune_ucf101", "probe_ucf101"))
    o = table5.optim
    assert (table5.objective.mask_ratio, o.epochs, o.base_learning_rate, o.weight_decay) == (0.75, 3200, 3e-4, 0.05)
    assert (o.optimizer, o.betas, o.batch_size, o.warmup_epochs) == ("adamw", (0.9, 0.95), 256, 40)
    o, v, j = table6.optim, table6.views, table6.objective
    assert (o.epochs, o.base_learning_rate, o.weight_decay, o.betas, o.batch_size) == (100, 1e-3, 0.05, (0.9, 0.95), 256)
    assert (o.warmup_epochs, v.flip, v.randaugment, o.layer_decay) == (5, True, "rand-m9-mstd0.5-inc1", 0.7)
    assert (j.label_smoothing, j.mixup, j.cutmix) == (0.1, 0.8, 1.0)
    assert (table6.model.drop_path, table6.model.dropout, v.test_clips, v.test_crops) == (0.2, 0.0, 5, 3)
    assert load_recipe("finetune_hmdb51").views.test_clips == 10
    o = table7.optim
    assert (o.optimizer, o.epochs, o.base_learning_rate, o.weight_decay) == ("adamw", 100, 1e-2, 0.0)
    assert load_recipe("pretrain_vitl").optim.batch_size == 128


def test_recipe_dict_roundtrip():
    """Every recipe loads, and its dictionary loads to the same recipe."""
    assert len(list_recipes()) >= 11
    for name in list_recipes():
        recipe = load_recipe(name)
        assert recipe.description
        assert TrainingRecipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["optim.epoch=3"], "did you mean 'optim.epochs'"),
        (["optim.epochs=0"], "optim.epochs is 0"),
        (["views.randaugment=strong"], "views.randaugment is 'strong'"),
        (["model.size=giant"], "model.size is 'giant'"),
        (["optim.epochs"], "KEY=VALUE"),
        (["optim.epochs=3"], "optim.warmup_epochs is 3; it must be below optim.epochs, 3"),
    ],
)
def test_invalid_setting_raises(settings, message):
    """An invalid setting is named, with what it should be."""
    with pytest.raises(ConfigurationError, match=message):
        load_recipe("laptop_pretrain", settings)


@pytest.mark.parametrize(("short", "key"), [("lr", "base_learning_rate"), ("wd", "weight_decay"), ("batch", "batch_size")])
def test_abbreviated_setting_is_suggested(short, key):
    """Keys that other code bases abbreviate are suggested."""
    with pytest.raises(ConfigurationError, match=f"did you mean 'optim.{key}'"):
        load_recipe("finetune_ucf101", [f"optim.{short}=1"])


def test_recipe_file_extends(tmp_path):
    """A file may extend a recipe or another file; unknown names and cycles raise an error."""
    (tmp_path / "mine.yaml").write_text("extends: laptop_pretrain\noptim: {epochs: 3, warmup_epochs: 1}\n")
    (tmp_path / "child.yaml").write_text("extends: mine.yaml\noptim: {batch_size: 8}\n")
    child = load_recipe(tmp_path / "child.yaml")
    assert (child.name, child.optim.epochs, child.optim.batch_size, child.model.size) == ("child", 3, 8, "tiny")
    (tmp_path / "loop.yaml").write_text("extends: loop.yaml\n")
    with pytest.raises(ConfigurationError, match=r"loop\.yaml.*extends it in turn"):
        load_recipe(tmp_path / "loop.yaml")
    with pytest.raises(ConfigurationError, match="did you mean 'laptop_pretrain'"):
        load_recipe("laptop_pretran")
