"""Small training runs for tests: recipes, clips, labelled videos, and comparison of runs."""

import os
import socket
import subprocess
import sys

import forked_commands
import numpy as np
import torch

import synvid
from synvid.video.encode import encode
from synvid_train.data.window_sources import RenderedClips
from synvid_train.distributed import DistributedContext
from synvid_train.model.checkpoint import load_training
from synvid_train.train.pretrain import make_pretraining_task
from synvid_train.train.run_log import read_log
from synvid_train.train.trainer import train
from synvid_train.training_recipe import load_recipe

SINGLE_PROCESS = DistributedContext(0, 1, torch.device("cpu"))
TINY_MODEL = ["model.image_size=16", "model.patch_size=8", "model.num_frames=4"]
SMALL = [
    *TINY_MODEL, "model.decoder_depth=1", "optim.batch_size=4", "optim.epochs=3", "optim.warmup_epochs=1", "run.log_every=1",
    "run.save_every=1", "run.device_batch_size=2",
]  # fmt: skip
PRESET = {"video.width": 32, "video.height": 32, "objects.count": 20, "video.num_frames_range": [8, 20]}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]


def make_source(count=12):
    return RenderedClips(synvid.load_preset("moving_shapes", PRESET), 0, count)


def make_recipe(*settings):
    """A recipe of 3 epochs of 3 steps of 2 micro-batches."""
    return load_recipe("laptop_pretrain", [*SMALL, *settings])


def set_options(settings):
    """Settings as options of a command."""
    return [word for setting in settings for word in ("--set", setting)]


def pretrain(recipe, source, out, held_out=None, workers=0):
    """Pre-train in this process."""
    train(make_pretraining_task(recipe, source, held_out=held_out), out, SINGLE_PROCESS, workers)


def run_command(*words, **options):
    """Run synvid-train in a process of its own, to its end."""
    return forked_commands.run(words, **options)


def run_two_ranks(*words, timeout=300):
    """Run synvid-train in two processes that train together, as torchrun starts them; both to their ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [forked_commands.Command(words, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    outputs = [rank.communicate(timeout) for rank in ranks]
    return [
        subprocess.CompletedProcess(rank.args, rank.returncode, *texts) for rank, texts in zip(ranks, outputs, strict=True)
    ]


def losses(out):
    return [line["loss"] for line in read_log(out / "log.jsonl") if "loss" in line]


def assert_same_run(a, b):
    """Check that two runs ended with bit-identical weights, optimizers and losses."""
    (first, optimizer, step, _), (second, other_optimizer, other_step, _) = (load_training(out / "last.pt") for out in (a, b))
    assert step == other_step
    assert all(torch.equal(value, second.weights[name]) for name, value in first.weights.items())
    for key, state in optimizer["state"].items():
        assert all(torch.equal(value, other_optimizer["state"][key][name]) for name, value in state.items())
    assert losses(a) == losses(b)


def last_steps(out):
    """The step of the log's last line, and of the checkpoint."""
    return max(line["step"] for line in read_log(out / "log.jsonl")), load_training(out / "last.pt")[2]


def write_labelled_videos(folder, classes=("left", "right"), count=4):
    """Write `count` videos of each of two classes that are easy to tell apart, and return the path of their list."""
    rows = ["path,label"]
    for i in range(count):
        for k, name in enumerate(classes):
            frames = np.random.default_rng((i, k)).integers(0, 60, (12, 24, 32, 3)).astype(np.uint8)
            frames[:, :, k * 16 : k * 16 + 16] += 150
            (folder / f"{name} {i}.mp4").write_bytes(encode(frames, 25.0, "small"))
            rows.append(f"{name} {i}.mp4,{name}")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder / "list.csv"
