"""Measure training: the model beside transformers' VideoMAE, the loader, and the share of time that steps wait for data.

    make bench-train

All ratios are of one run on one device. Writes benchmarks/results_train.json.
"""

import argparse
import json
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import transformers

import synvid
from synvid.dataset.build import render_recipe
from synvid.dataset.recipe import DatasetRecipe
from synvid_train.data.loader import load_batches
from synvid_train.data.samples import TrainingClips
from synvid_train.data.schedule import Schedule
from synvid_train.data.window_sources import DatasetClips, RenderedClips
from synvid_train.distributed import DistributedContext
from synvid_train.model.checkpoint import Checkpoint
from synvid_train.model.load import export_huggingface
from synvid_train.model.videomae import Architecture, VideoMAE, normalize, training_flops, tube_mask, unwrapped_state_dict
from synvid_train.train.pretrain import count_visible, make_pretraining_task
from synvid_train.train.run_log import read_log
from synvid_train.train.trainer import train
from synvid_train.training_recipe import load_recipe

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ON_GPU = DEVICE.type == "cuda"
SHAPE = Architecture("base") if ON_GPU else Architecture("small", 16, 112)
BATCH = 64 if ON_GPU else 8
PEAK = 989e12  # of an H100 in bf16, dense


def _seconds(work, rounds):
    """The median time of each of some kinds of work, done in turn."""
    times = {name: [] for name in work}
    for _ in range(rounds):
        for name, do in work.items():
            if ON_GPU:
                torch.cuda.synchronize()
            began = time.perf_counter()
            do()
            if ON_GPU:
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def bench_model():
    """Forward and backward on the same batch, weights and masks; clips a second."""
    ours = VideoMAE(SHAPE)
    with tempfile.TemporaryDirectory() as folder:
        export_huggingface(Checkpoint(SHAPE, "pretraining", unwrapped_state_dict(ours)), folder)
        theirs = transformers.VideoMAEForPreTraining.from_pretrained(folder).to(DEVICE).train()
    ours = ours.to(DEVICE)
    orders = torch.stack([torch.from_numpy(tube_mask(SHAPE, 0.75, np.random.default_rng(i))) for i in range(BATCH)]).to(DEVICE)
    visible = SHAPE.grid[0] * (SHAPE.grid[1] - int(0.75 * SHAPE.grid[1]))
    mask = torch.zeros(BATCH, SHAPE.num_tokens, dtype=torch.bool, device=DEVICE).scatter(1, orders[:, visible:], value=True)
    size = (BATCH, SHAPE.num_frames, SHAPE.image_size, SHAPE.image_size, 3)
    clips = torch.randint(0, 256, size, dtype=torch.uint8, device=DEVICE)

    def step_ours():
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=ON_GPU):
            loss, _ = ours(clips, orders, visible)
        loss.backward()

    def step_theirs():
        pixels = normalize(clips).permute(0, 1, 4, 2, 3).contiguous()
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=ON_GPU):
            loss = theirs(pixels, bool_masked_pos=mask).loss
        loss.backward()

    seconds = _seconds({"synvid_train": step_ours, "transformers": step_theirs}, 20 if ON_GPU else 8)
    rates = {name: BATCH / value for name, value in seconds.items()}
    if ON_GPU:
        for block in (*ours.encoder.blocks, *ours.decoder.blocks):
            block.compile()
        rates["compiled"] = BATCH / _seconds({"compiled": step_ours}, 20)["compiled"]
        rates["utilisation"] = rates["compiled"] * training_flops(SHAPE, 0.75) / PEAK
    rates["ratio"] = rates["synvid_train"] / rates["transformers"]
    return rates


def bench_loader():
    """Training samples a second of one process: rendered, and decoded from shards, at both encodings."""
    recipe = load_recipe("pretrain_vitb")
    rates = {}
    sources = {"rendered": RenderedClips(synvid.load_preset("moving_shapes"), 0, 64)}
    with tempfile.TemporaryDirectory() as folder:
        for encoding in ("fast", "small"):
            path = Path(folder, encoding)
            render_recipe(DatasetRecipe(synvid.load_preset("moving_shapes"), 64, 0, 64, "tar", encoding), path, workers=2)
            sources[f"decoded, {encoding}"] = DatasetClips(synvid.open_dataset(path))
        torch.set_num_threads(1)
        for name, source in sources.items():
            clips = TrainingClips(source, recipe, 0, pretraining=True)
            clips[0, 0, 0]
            began = time.perf_counter()
            for i in range(64):
                clips[0, i, 0]
            rates[name] = 64 / (time.perf_counter() - began)
    return rates


def bench_waiting():
    """Share of a real run that steps wait for clips, rendered by two processes, after the first five steps."""
    batch = 64 if ON_GPU else 8
    settings = {
        "optim.batch_size": batch,
        "run.device_batch_size": batch,
        "optim.epochs": 1,
        "optim.warmup_epochs": 0,
        "run.log_every": 5,
        "run.compile": ON_GPU,
        "run.precision": "bf16" if ON_GPU else "fp32",
    }
    recipe = load_recipe("gpu_small_pretrain").override(settings)
    source = RenderedClips(synvid.load_preset("moving_shapes"), 0, 25 * batch)
    with tempfile.TemporaryDirectory() as folder:
        train(make_pretraining_task(recipe, source), Path(folder), DistributedContext(0, 1, DEVICE), workers=2)
        lines = [line for line in read_log(Path(folder, "log.jsonl")) if "loss" in line][1:]
    return {name: statistics.mean(line[name] for line in lines) for name in ("waiting", "clips_per_second")}


def bench_feeding():
    """Samples a second of 1, 2, 4, ... loader processes: how many a GPU needs is its own rate divided by this."""
    recipe = load_recipe("pretrain_vitb")
    source = RenderedClips(synvid.load_preset("moving_shapes"), 0, 100_000)
    rates = {}
    for workers in (1, 2, 4, 8, 16) if ON_GPU else (1, 2):
        clips = TrainingClips(source, recipe, 0, pretraining=True)
        batches = load_batches(clips, Schedule(100_000, 1, 64, 64, 1, 0).micro_batches(), workers, torch.device("cpu"))
        next(batches)
        began = time.perf_counter()
        count = 4 * workers if ON_GPU else 6
        for _ in islice(batches, count):
            pass
        rates[str(workers)] = 64 * count / (time.perf_counter() - began)
    return rates


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    results = {"device": torch.cuda.get_device_name() if ON_GPU else "CPU", "torch": torch.__version__}
    for name, bench in (
        ("model", bench_model),
        ("waiting", bench_waiting),
        ("loader", bench_loader),
        ("feeding", bench_feeding),
    ):
        results[name] = bench()
        print(name, json.dumps(results[name], indent=1))
    assert count_visible(load_recipe("pretrain_vitb")) == 392
    Path(__file__).with_name("results_train.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
