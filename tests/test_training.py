"""The training loop and the commands: exact resume, two processes, faults, and the whole way on real clips."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import synvid  # noqa: E402
from synvid.errors import ConfigurationError, DatasetError  # noqa: E402
from synvid_train.data.window_sources import RenderedClips  # noqa: E402
from synvid_train.distributed import DistributedContext  # noqa: E402
from synvid_train.model.checkpoint import load_training  # noqa: E402
from synvid_train.model.convert import load_checkpoint  # noqa: E402
from synvid_train.model.videomae import Architecture, VideoClassifier, VideoMAE  # noqa: E402
from synvid_train.train.optim import learning_rate, make_optimizer, parameter_groups, set_learning_rate  # noqa: E402
from synvid_train.train.pretrain import pretraining  # noqa: E402
from synvid_train.train.run_log import read_log  # noqa: E402
from synvid_train.train.trainer import InterruptedRunError, train  # noqa: E402
from synvid_train.training_recipe import Optim, load_recipe  # noqa: E402

JHMDB = Path(__file__).parents[2] / "shared" / "data" / "jhmdb"
ALONE = DistributedContext(0, 1, torch.device("cpu"))
SMALL = [
    "model.image_size=16", "model.patch_size=8", "model.num_frames=4", "model.decoder_depth=1", "optim.batch_size=4",
    "optim.epochs=3", "optim.warmup_epochs=1", "run.log_every=1", "run.save_every=1", "run.device_batch_size=2",
]  # fmt: skip
PRESET = {"video.width": 32, "video.height": 32, "objects.count": 20, "video.num_frames_range": [8, 20]}


def _source(count=12):
    return RenderedClips(synvid.load_preset("moving_shapes", PRESET), 0, count)


def _recipe(*settings):
    return load_recipe("laptop_pretrain", [*SMALL, *settings])


def pretrain(recipe, source, out, held_out=None, workers=0):
    """Pre-train in this process."""
    train(pretraining(recipe, source, held_out=held_out), out, ALONE, workers)


def _losses(out):
    return [line["loss"] for line in read_log(out / "log.jsonl") if "loss" in line]


def _command(*words, **options):
    line = [sys.executable, "-m", "synvid_train", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False, **options)


@pytest.fixture(scope="module")
def preset_file(tmp_path_factory):
    """A preset that renders in no time, as a file."""
    path = tmp_path_factory.mktemp("preset") / "small.yaml"
    path.write_text(synvid.load_preset("moving_shapes", PRESET).to_yaml())
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    pretrain(_recipe(), _source(), out, held_out=_source(4))
    return out


# ---- Exactness ----------------------------------------------------------------------------------------------------
class _Stop(Exception):  # noqa: N818
    """Breaks a run off."""


@pytest.mark.parametrize("step", [1, 3, 4, 8])
def test_killed_and_resumed_is_exact(step, undisturbed, tmp_path, monkeypatch):
    """A run broken off after any step and started again ends with the same weights, optimizer and losses, bit for bit."""
    from synvid_train.train import trainer

    plain = trainer._Run.step

    def breaking(self, pieces, number, meter):
        if number == step:
            raise _Stop
        plain(self, pieces, number, meter)

    monkeypatch.setattr(trainer._Run, "step", breaking)
    with pytest.raises(_Stop):
        pretrain(_recipe(), _source(), tmp_path, held_out=_source(4))
    monkeypatch.setattr(trainer._Run, "step", plain)
    pretrain(_recipe(), _source(), tmp_path, held_out=_source(4), workers=1)
    _same_run(tmp_path, undisturbed)


def _same_run(one, other):
    ours, theirs = load_training(one / "last.pt"), load_training(other / "last.pt")
    assert ours[2] == theirs[2]
    assert all(torch.equal(value, theirs[0].weights[name]) for name, value in ours[0].weights.items())
    for key, state in ours[1]["state"].items():
        assert all(torch.equal(value, theirs[1]["state"][key][name]) for name, value in state.items())
    assert _losses(one) == _losses(other)


@pytest.fixture(scope="module")
def long_run(preset_file, tmp_path_factory):
    """The words of a training long enough to be disturbed, and what it gives if nobody disturbs it."""
    whole = tmp_path_factory.mktemp("long") / "whole"
    words = ["pretrain", "--preset", preset_file, "--n", 12, "--recipe", "laptop_pretrain", "--workers", 1]
    for setting in (*SMALL, "optim.epochs=60", "run.save_every=5"):
        words += ["--set", setting]
    done = _command(*words, "--out", whole)
    assert done.returncode == 0, done.stderr
    return words, whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals(number, long_run, tmp_path):
    """Ctrl-C, termination and kill -9: the same command goes on, and ends as if nothing had been."""
    out, (words, whole) = tmp_path / "run", long_run
    line = [sys.executable, "-m", "synvid_train", *map(str, words), "--out", str(out)]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    if number == signal.SIGKILL:
        assert process.returncode == -9
    else:
        assert process.returncode in (0, 130, 143), said
        assert "Traceback" not in said
    again = _command(*words, "--out", out)
    assert again.returncode == 0, again.stderr
    _same_run(out, whole)


def test_accumulation_is_the_larger_batch(undisturbed, tmp_path):
    """Pieces of 2 and one of 4 give the same losses, up to rounding."""
    pretrain(_recipe("run.device_batch_size=4"), _source(), tmp_path)
    assert _losses(tmp_path) == pytest.approx(_losses(undisturbed), rel=1e-4)


def test_two_processes_are_one(preset_file, tmp_path):
    """Two gloo ranks give the losses of one process with the same batch, and one checkpoint."""
    words = [
        "pretrain",
        "--preset",
        preset_file,
        "--clips",
        12,
        "--recipe",
        "laptop_pretrain",
        "--workers",
        0,
        "--device",
        "cpu",
    ]
    for setting in SMALL:
        words += ["--set", setting]
    alone = _command(*words, "--out", tmp_path / "one")
    assert alone.returncode == 0, alone.stderr
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "synvid_train"]
    both = subprocess.run(
        [*line, *map(str, words), "--out", str(tmp_path / "two")], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert both.returncode == 0, both.stderr[-3000:]
    assert _losses(tmp_path / "two") == pytest.approx(_losses(tmp_path / "one"), rel=1e-4)
    one, two = (load_checkpoint(tmp_path / name).weights for name in ("one", "two"))
    assert max((one[name] - two[name]).abs().max().item() for name in one) < 1e-3
    figures = [[line["r2"] for line in read_log(tmp_path / name / "log.jsonl") if "r2" in line] for name in ("one", "two")]
    assert figures[0] == pytest.approx(figures[1], abs=1e-3)


def test_two_processes_share_a_validation(tmp_path):
    """Two gloo ranks fine-tune and test after each epoch, each its share of the videos; what one cannot read is named."""
    films = _films(tmp_path, count=2)
    broken = [f"broken{k}.mp4,left" for k in range(4)]
    for k in range(4):
        (tmp_path / f"broken{k}.mp4").write_bytes(b"no video")
    training = tmp_path / "train.csv"
    training.write_text(films.read_text() + "\n".join(broken) + "\n")
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "synvid_train"]
    words = ["finetune", "--train", training, "--val", films, "--recipe", "laptop_finetune", "--workers", 0, "--device", "cpu"]
    for setting in (
        *SMALL[:3],
        "optim.batch_size=4",
        "optim.epochs=2",
        "optim.warmup_epochs=1",
        "run.save_every=1",
        "run.log_every=1",
    ):
        words += ["--set", setting]
    both = subprocess.run(
        [*line, *map(str, words), "--out", str(tmp_path / "two")], capture_output=True, text=True, timeout=200, check=False
    )
    assert both.returncode == 0, both.stderr[-3000:]
    lines = read_log(tmp_path / "two" / "log.jsonl")
    assert [line["step"] for line in lines if "val_top1" in line] == [2, 4]
    assert sorted(re.findall(r"broken(\d)\.mp4: ", both.stderr)) == list("0123"), both.stderr
    assert all(line["val_top5"] == 100 for line in lines if "val_top5" in line)


def test_log_and_files(undisturbed):
    """A run leaves its recipe, a line a step, a figure an epoch, and two whole checkpoints that agree."""
    lines = read_log(undisturbed / "log.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 10))
    assert [line["step"] for line in lines if "r2" in line] == [3, 6, 9]
    assert load_recipe(undisturbed / "recipe.yaml").optim.epochs == 3
    weights = load_checkpoint(undisturbed / "last.safetensors").weights
    assert all(torch.equal(value, weights[name]) for name, value in load_checkpoint(undisturbed / "last.pt").weights.items())
    assert load_checkpoint(undisturbed).metrics.keys() == {"r2"}


def test_another_run_in_the_folder(undisturbed):
    """Settings that differ from the run in the folder are named, and the run is left alone."""
    before = (undisturbed / "last.pt").read_bytes()
    with pytest.raises(ConfigurationError, match=r"optim\.base_learning_rate"):
        pretrain(_recipe("optim.base_learning_rate=0.5"), _source(), undisturbed)
    assert (undisturbed / "last.pt").read_bytes() == before


@pytest.mark.parametrize("other", ["new clips", "other clips", "other preset"])
def test_other_clips_in_the_folder(other, undisturbed):
    """A run is not gone on with on other clips than it began with."""
    source, fresh = _source(), other == "new clips"
    if other == "other clips":
        source = _source(13)
    if other == "other preset":
        source = RenderedClips(source.preset.override({"objects.count": 21}), 0, 12)
    with pytest.raises(ConfigurationError, match="clips"):
        train(pretraining(_recipe(), source, fresh=fresh), undisturbed, ALONE)


# ---- Faults -------------------------------------------------------------------------------------------------------
def _poisoned(monkeypatch, steps):
    """Losses of some steps are not finite."""
    plain = VideoMAE.forward
    calls = []

    def forward(self, clips, order, visible):
        calls.append(1)
        loss, predicted = plain(self, clips, order, visible)
        return (loss * float("nan") if (len(calls) - 1) // 2 in steps else loss), predicted

    monkeypatch.setattr(VideoMAE, "forward", forward)


def test_a_loss_that_is_not_finite_is_passed_over(tmp_path, monkeypatch):
    """A step without a finite gradient changes no weight, is counted, and the run goes on."""
    _poisoned(monkeypatch, {4})
    pretrain(_recipe(), _source(), tmp_path)
    lines = [line for line in read_log(tmp_path / "log.jsonl") if "loss" in line]
    assert [line["not_finite"] for line in lines] == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert lines[4]["loss"] is None
    assert all(value.isfinite().all() for value in load_checkpoint(tmp_path).weights.values())


def test_a_run_that_is_lost_ends(tmp_path, monkeypatch):
    """After twenty steps without a finite gradient the run ends with a sentence; its last checkpoint is finite."""
    _poisoned(monkeypatch, set(range(5, 1000)))
    with pytest.raises(DatasetError, match="no finite gradient in the last 20 steps"):
        pretrain(_recipe("optim.epochs=20"), _source(), tmp_path)
    assert all(value.isfinite().all() for value in load_checkpoint(tmp_path).weights.values())


def test_a_short_run_that_changes_nothing_is_not_done(tmp_path, monkeypatch):
    """A run none of whose few steps had a finite gradient ends with the same sentence, and not as done."""
    _poisoned(monkeypatch, set(range(1000)))
    with pytest.raises(DatasetError, match="no finite gradient in the last"):
        pretrain(_recipe(), _source(), tmp_path)


def test_one_bad_step_at_the_end_is_no_lost_run(tmp_path, monkeypatch):
    """A run that goes on for its last step only, which has no finite gradient, is done all the same."""
    _poisoned(monkeypatch, {8})
    pretrain(_recipe(), _source(), tmp_path)
    assert load_checkpoint(tmp_path).kind


class _Dying:
    """Clips whose loader is killed."""

    labels = ()
    identity = "dying"

    def __len__(self):
        return 12

    def read_window(self, _i, count, _stride, _rng):
        if torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.zeros((count, 48, 48, 3), np.uint8)


def test_a_loader_that_dies(tmp_path):
    """A loader process that is killed ends the run with one sentence."""
    with pytest.raises(DatasetError, match="worker process that loads clips died"):
        pretrain(_recipe(), _Dying(), tmp_path, workers=1)


def test_a_disk_that_fills(tmp_path, monkeypatch):
    """When a checkpoint cannot be written the run ends with a sentence, and the one before is whole."""
    from synvid_train.model import checkpoint

    plain, count = os.fsync, []

    def full(descriptor):
        count.append(1)
        if len(count) > 4:
            raise OSError(28, "No space left on device")
        plain(descriptor)

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(DatasetError, match="No space left"):
        pretrain(_recipe(), _source(), tmp_path)
    assert load_training(tmp_path / "last.pt")[2] >= 3


def test_interruption_is_saved(tmp_path, monkeypatch):
    """A signal between two steps saves the run and ends it."""
    from synvid_train.train import trainer

    monkeypatch.setattr(trainer, "interrupted", lambda: True)
    with pytest.raises(InterruptedRunError):
        pretrain(_recipe(), _source(), tmp_path)
    assert load_training(tmp_path / "last.pt")[2] == 1


# ---- The optimizer ------------------------------------------------------------------------------------------------
def test_learning_rate_by_hand():
    """From 0 to the peak, half-way down in the middle of the cosine, the least at its end; in proportion to the batch."""
    optim = Optim(base_learning_rate=1e-3, min_learning_rate=1e-5, batch_size=512, warmup_epochs=1, epochs=11)
    rates = [learning_rate(optim, step, 110, 10) for step in range(111)]
    assert rates[0] == 0
    assert rates[5] == pytest.approx(1e-3)
    assert rates[10] == pytest.approx(2e-3)
    assert rates[60] == pytest.approx((2e-3 + 2e-5) / 2)
    assert rates[110] == pytest.approx(2e-5)


def test_groups():
    """Norms, biases and the mask token do not decay; a layer's rate is decay ** (depth + 1 - layer)."""
    model = VideoClassifier(Architecture("tiny", 4, 16, 8), 3)
    groups = parameter_groups(model, Optim(layer_decay=0.5, weight_decay=0.1), 4)
    of = {id(p): group for group in groups for p in group["params"]}
    named = {name: of[id(p)] for name, p in model.named_parameters()}
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
def test_optimizer_by_hand(name):
    """One step of AdamW moves each weight by the rate; of SGD by the rate times the gradient."""
    layer = torch.nn.Linear(3, 1, bias=False)
    optimizer = make_optimizer(layer, Optim(optimizer=name, weight_decay=0.0), 4)
    before = layer.weight.detach().clone()
    set_learning_rate(optimizer.param_groups, 0.1)
    layer.weight.grad = torch.tensor([[2.0, -4.0, 8.0]])
    optimizer.step()
    moved = (layer.weight.detach() - before)[0].tolist()
    assert moved == pytest.approx([-0.1, 0.1, -0.1] if name == "adamw" else [-0.2, 0.4, -0.8], rel=1e-4)


def test_a_first_step_that_is_passed_over():
    """SGD after a first step without a finite gradient moves by the rate times the gradient."""
    layer = torch.nn.Linear(3, 1, bias=False)
    optimizer = make_optimizer(layer, Optim(optimizer="sgd", weight_decay=0.0), 4)
    set_learning_rate(optimizer.param_groups, 0.1)
    before = layer.weight.detach().clone()
    for gradient, bad in ((float("nan"), 1.0), (2.0, 0.0)):
        layer.weight.grad = torch.full((1, 3), gradient)
        optimizer.found_inf = torch.tensor(bad)
        optimizer.step()
    assert (layer.weight.detach() - before)[0].tolist() == pytest.approx([-0.2] * 3)


# ---- Commands -----------------------------------------------------------------------------------------------------
def _films(folder, classes=("left", "right"), count=4):
    """Videos of two kinds that a classifier can tell apart, and their list."""
    rows = ["path,label"]
    for i in range(count):
        for k, name in enumerate(classes):
            frames = np.random.default_rng((i, k)).integers(0, 60, (12, 24, 32, 3)).astype(np.uint8)
            frames[:, :, k * 16 : k * 16 + 16] += 150
            from synvid.video.encode import encode

            (folder / f"{name} {i}.mp4").write_bytes(encode(frames, 25.0, "small"))
            rows.append(f"{name} {i}.mp4,{name}")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder / "list.csv"


def test_the_whole_way(undisturbed, tmp_path):
    """Fine-tune, probe, evaluate with views and corruptions, draw features, export: every command on real files."""
    films = _films(tmp_path)
    shape = [
        f"--set={text}"
        for text in (*SMALL[:3], "optim.batch_size=4", "optim.epochs=30", "run.log_every=5", "views.flip=false")
    ]
    words = ["--train", films, "--val", films, "--checkpoint", undisturbed / "last.pt", "--workers", 0, *shape]
    tuned = _command("finetune", "--recipe", "laptop_finetune", *words, "--out", tmp_path / "tuned")
    assert tuned.returncode == 0, tuned.stderr
    probed = _command("probe", "--recipe", "laptop_probe", *words, "--out", tmp_path / "probed")
    assert probed.returncode == 0, probed.stderr
    tested = _command(
        "evaluate", "--checkpoint", tmp_path / "tuned" / "last.pt", "--data", films, "--corruption", "gauss:1", "--corruption",
        "reverse:1", "--out", tmp_path / "results", "--json", "--workers", 0,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stderr
    result = json.loads(tested.stdout)
    assert result.keys() == {"gauss:1", "reverse:1"}
    assert result["reverse:1"]["videos"] == 8
    assert result["reverse:1"]["top1"] >= 75  # left and right are plain to see, forwards and backwards
    assert json.loads((tmp_path / "results/gauss-1/result.json").read_text()) == result["gauss:1"]
    assert (tmp_path / "results/gauss-1/confusion.png").read_bytes()[:4] == b"\x89PNG"
    drawn = _command("features", "--checkpoint", undisturbed, "--data", films, "--videos", 3, "--out", tmp_path / "features")
    assert drawn.returncode == 0, drawn.stderr
    assert len(list((tmp_path / "features").glob("*.mp4"))) == 3
    assert _command("export", "--checkpoint", tmp_path / "tuned", "--out", tmp_path / "hf").returncode == 0
    assert load_checkpoint(tmp_path / "hf").classes == ("left", "right")
    encoder = load_checkpoint(undisturbed).weights
    kept = load_checkpoint(tmp_path / "probed").weights
    moved = load_checkpoint(tmp_path / "tuned").weights
    name = "encoder.blocks.0.mlp.fc1.weight"
    assert torch.equal(kept[name], encoder[name])
    assert not torch.equal(moved[name], encoder[name])


@pytest.mark.parametrize(
    ("words", "sentence"),
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
def test_wrong_use(words, sentence, tmp_path):
    """Wrong use has one sentence and exit code 2 (1 for a dataset that is not there), and no traceback."""
    done = _command(*words, cwd=tmp_path)
    assert done.returncode == (1 if "--shards" in words else 2), done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not any(tmp_path.iterdir())


def test_a_masked_auto_encoder_is_no_classifier(undisturbed, tmp_path):
    """Evaluating a pre-trained model says what to do first."""
    done = _command("evaluate", "--checkpoint", undisturbed, "--data", _films(tmp_path))
    assert done.returncode == 2
    assert "finetune" in done.stderr


def test_shapes_that_do_not_fit(undisturbed, tmp_path):
    """A checkpoint of another patch size is refused with both sizes and the setting that helps."""
    done = _command(
        "finetune",
        "--checkpoint",
        undisturbed,
        "--train",
        _films(tmp_path),
        "--set",
        "model.patch_size=16",
        "--out",
        tmp_path / "o",
    )
    assert done.returncode == 2
    assert "--set model.patch_size=8" in done.stderr


def test_help_needs_no_torch():
    """`--help` is quick: it imports no torch; nor does importing synvid."""
    code = "import sys, synvid; from synvid_train.cli.main import main; assert 'torch' not in sys.modules; main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("pretrain", "finetune", "probe", "evaluate", "features", "export", "recipes"):
        assert command in done.stdout
