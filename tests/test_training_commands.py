"""The commands of synvid-train: the whole pipeline on real files, wrong usage, and missing packages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from running import ended  # noqa: E402
from training_runs import (  # noqa: E402
    TINY_MODEL,
    make_recipe,
    make_source,
    pretrain,
    run_command,
    set_options,
    write_labelled_videos,
)

import synvid  # noqa: E402
from synvid.errors import ConfigurationError  # noqa: E402
from synvid_train.cli.main import main  # noqa: E402
from synvid_train.data.schedule import Schedule  # noqa: E402
from synvid_train.distributed import DistributedContext  # noqa: E402
from synvid_train.model.load import load_checkpoint  # noqa: E402


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """The folder of a pre-training run."""
    out = tmp_path_factory.mktemp("runs") / "pretrained"
    pretrain(make_recipe(), make_source(), out, held_out=make_source(4))
    return out


@pytest.mark.slow
def test_whole_pipeline(pretrained, tmp_path):
    """finetune, probe, evaluate with corruptions, features and export run on real files, with the expected results."""
    videos = write_labelled_videos(tmp_path)
    shape = [
        f"--set={text}"
        for text in (*TINY_MODEL, "optim.batch_size=4", "optim.epochs=30", "run.log_every=5", "views.flip=false")
    ]
    words = ["--train", videos, "--val", videos, "--checkpoint", pretrained / "last.pt", "--workers", 0, *shape]
    tuned = run_command("finetune", "--recipe", "laptop_finetune", *words, "--out", tmp_path / "tuned")
    assert tuned.returncode == 0, tuned.stderr
    probed = run_command("probe", "--recipe", "laptop_probe", *words, "--out", tmp_path / "probed")
    assert probed.returncode == 0, probed.stderr
    tested = run_command(
        "evaluate", "--checkpoint", tmp_path / "tuned" / "last.pt", "--data", videos, "--corruption", "gauss:1",
        "--corruption", "reverse:1", "--out", tmp_path / "results", "--json", "--workers", 0,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stderr
    result = json.loads(tested.stdout)
    assert result.keys() == {"gauss:1", "reverse:1"}
    assert result["reverse:1"]["videos"] == 8
    assert result["reverse:1"]["top1"] >= 75  # the classes are easy to tell apart, also in reverse
    assert json.loads((tmp_path / "results/gauss-1/result.json").read_text()) == result["gauss:1"]
    assert (tmp_path / "results/gauss-1/confusion.png").read_bytes()[:4] == b"\x89PNG"
    drawn = run_command(
        "features", "--checkpoint", pretrained, "--data", videos, "--videos", 3, "--out", tmp_path / "features"
    )
    assert drawn.returncode == 0, drawn.stderr
    assert len(list((tmp_path / "features").glob("*.mp4"))) == 3
    assert run_command("export", "--checkpoint", tmp_path / "tuned", "--out", tmp_path / "hf").returncode == 0
    assert load_checkpoint(tmp_path / "hf").classes == ("left", "right")
    before = load_checkpoint(pretrained).weights
    probed_weights = load_checkpoint(tmp_path / "probed").weights
    tuned_weights = load_checkpoint(tmp_path / "tuned").weights
    name = "encoder.blocks.0.mlp.fc1.weight"
    assert torch.equal(probed_weights[name], before[name])
    assert not torch.equal(tuned_weights[name], before[name])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pretrain"], "--preset NAME, or --shards DIR"),
        (["pretrain", "--preset", "moving_shape"], "moving_shapes"),
        (["pretrain", "--preset", "moving_shapes", "--rerender"], "can only be used with --shards"),
        (["pretrain", "--preset", "moving_shapes", "--recipe", "pretrain_vitx"], "did you mean"),
        (["pretrain", "--preset", "moving_shapes", "--set", "optim.batch_size=99999999"], "only 1024 clips"),
        (["pretrain", "--preset", "moving_shapes", "--device", "cuda:77"], "no such device"),
        (["pretrain", "--shards", "nowhere"], "nowhere"),
        (["finetune", "--train", "nowhere.csv"], "nowhere.csv"),
        (["evaluate", "--checkpoint", "nowhere.pt", "--data", "x.csv"], "nowhere.pt"),
        (["evaluate", "--checkpoint", "nowhere.pt", "--data", "x.csv", "--sweep"], "--sweep: needs --out"),
        (["pretrain", "--preset", "moving_shapes", "--set", "objective.mask_ratio=0.02"], "it masks 0"),
        (["pretrain", "--preset", "moving_shapes", "--seed", "-1"], "--seed"),
        (["evaluate", "--checkpoint", "x.pt", "--data", "x.csv", "--corruption", "gaus:3"], "did you mean gauss"),
        (["evaluate", "--checkpoint", "x.pt", "--data", "x.csv", "--corruption", "gauss:9"], "one of 1 to 5"),
    ],
)
def test_wrong_usage_raises(words, message, tmp_path):
    """Wrong usage ends with one error message, exit code 2 (1 for a missing dataset) and no traceback, and writes nothing."""
    process = run_command(*words, cwd=tmp_path)
    assert process.returncode == (1 if "--shards" in words else 2), process.stderr
    assert message in process.stderr
    assert "Traceback" not in process.stderr
    assert not any(tmp_path.iterdir())


def test_evaluate_pretrained_model_raises(pretrained, tmp_path):
    """Evaluating a pre-trained model raises an error that names the command to run first."""
    process = run_command("evaluate", "--checkpoint", pretrained, "--data", write_labelled_videos(tmp_path))
    assert process.returncode == 2
    assert "finetune" in process.stderr


def test_finetune_other_patch_size_raises(pretrained, tmp_path):
    """Fine-tuning a checkpoint of another patch size raises an error with the setting that helps."""
    process = run_command(
        "finetune",
        "--checkpoint",
        pretrained,
        "--train",
        write_labelled_videos(tmp_path),
        "--set",
        "model.patch_size=16",
        "--out",
        tmp_path / "o",
    )
    assert process.returncode == 2
    assert "--set model.patch_size=8" in process.stderr


def test_help_imports_no_torch():
    """`synvid-train --help` lists the commands without importing torch."""
    code = "import sys, synvid; from synvid_train.cli.main import main; assert 'torch' not in sys.modules; main(['--help'])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    for command in ("pretrain", "finetune", "probe", "evaluate", "features", "export", "recipes"):
        assert command in process.stdout


def test_unreadable_validation_videos_raise_before_training(tmp_path):
    """A validation list none of whose videos can be read raises an error before the run starts."""
    videos = write_labelled_videos(tmp_path)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "val.csv").write_text("path,label\nbad.mp4,left\n")
    process = run_command(
        "finetune", "--train", videos, "--val", tmp_path / "val.csv", "--recipe", "laptop_finetune", "--out", tmp_path / "run"
    )
    assert (process.returncode, "Traceback" in process.stderr) == (2, False)
    assert "val.csv: none of its first 1 videos can be read" in process.stderr
    assert not (tmp_path / "run").exists()


def test_loaders_share_cores_of_machine(monkeypatch):
    """By default the processes on a machine share its cores, whatever the number of machines."""
    from synvid_train.cli.options import loader_workers

    monkeypatch.setattr("synvid_train.data.loader.default_workers", lambda: 128)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    device = torch.device("cuda")
    assert [loader_workers(None, DistributedContext(0, 8 * nodes, device)) for nodes in (1, 2, 8)] == [16] * 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "words", "extra"),
    [
        ("torch", ["-m", "synvid_train", "pretrain", "--preset", "moving_shapes"], "train"),
        ("timm", ["-m", "synvid_train", "pretrain", "--preset", "moving_shapes"], "train"),
        ("matplotlib", ["-m", "synvid", "stats", "moving_circles", "--max-clips", "2", "--plot", "x.png"], "report"),
    ],
)
def test_missing_package_error_names_extra(missing, words, extra, tmp_path):
    """A command whose optional package is missing ends with exit code 2 and the extra to install, without a traceback."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{missing!r}] = None\n")
    path = os.pathsep.join([str(tmp_path), str(Path(synvid.__file__).parents[1])])
    process = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert (process.returncode, "Traceback" in process.stderr) == (2, False), process.stderr
    assert f"pip install 'synvid[{extra}]'" in process.stderr


# ---- Mixup and cutmix need micro-batches of even size ----------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["optim.batch_size=6", "run.device_batch_size=3"], "micro-batches of 3; --set run.device_batch_size=2."),
        (["optim.batch_size=4", "run.device_batch_size=1"], "micro-batches of 1; --set run.device_batch_size=2."),
        (["optim.batch_size=5"], "optim.batch_size=5 over 1 device with run.device_batch_size=2 gives"),
        (["optim.batch_size=5"], "micro-batches of 1; --set optim.batch_size=4."),
    ],
)
def test_odd_micro_batch_with_cutmix_raises(changes, message, tmp_path):
    """Micro-batches of odd size with cutmix raise an error with the numbers and a setting that works; nothing is written."""
    videos, out = write_labelled_videos(tmp_path), tmp_path / "run"
    settings = [*TINY_MODEL, "optim.epochs=1", "optim.warmup_epochs=0.5", "run.precision=fp32"]
    settings += ["optim.batch_size=4", "objective.cutmix=1", "run.device_batch_size=2", *changes]
    line = ["finetune", "--recipe", "laptop_finetune", "--workers", 0, "--device", "cpu", "--out", out, "--train", videos]
    code, stderr, _ = ended(main, *line, *set_options(settings))
    assert (code, message in stderr, "Traceback" in stderr) == (2, True, False), stderr
    assert not out.exists()


@pytest.mark.parametrize(("world_size", "advice"), [(3, "optim.batch_size=6"), (1, "run.device_batch_size=6")])
def test_advised_setting_makes_micro_batches_even(world_size, advice):
    """The setting in the error about odd micro-batches makes them even, on one device and on three."""
    batch = {3: 9, 1: 18}[world_size]
    with pytest.raises(ConfigurationError, match=f"--set {advice}."):
        Schedule(100, 1, batch, 9, 1, 0, world_size=world_size, mixes_pairs=True)
    key, _, number = advice.rpartition("=")
    settings = {"optim.batch_size": batch, "run.device_batch_size": 9, key: int(number)}
    sizes = settings["optim.batch_size"], settings["run.device_batch_size"]
    assert Schedule(100, 1, *sizes, 1, 0, world_size=world_size, mixes_pairs=True).micro_batch_size % 2 == 0
