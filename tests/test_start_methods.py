"""The start methods fork, forkserver (the default of Python 3.14) and spawn give the results of a single process."""

import multiprocessing
import subprocess
import sys

import numpy as np
import psutil
import pytest
import torch
from running import noise_clip, write_video

from synvid.dataset.build import render_recipe
from synvid.dataset.recipe import DatasetRecipe
from synvid.preset import load_preset
from synvid.runtime.progress import Progress
from synvid.sources.find_sources import resolve_source
from synvid.textures.bank import build_bank
from synvid.textures.bank_cache import make_bank_header
from synvid_train.data.loader import load_batches
from synvid_train.data.samples import TrainingClips
from synvid_train.data.window_sources import DatasetClips, RenderedClips
from synvid_train.eval.feature_extraction import ClipSelection, extract_features
from synvid_train.eval.feature_extractors import FeatureExtractor
from synvid_train.training_recipe import load_recipe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only spawn exists")

CLIPS = 4


@pytest.fixture(params=["fork", "forkserver", "spawn"])
def method(request, monkeypatch):
    """Set the start method of multiprocessing, and of our pool, which has its own default."""
    before = multiprocessing.get_start_method(allow_none=True)
    context = multiprocessing.get_context(request.param)
    multiprocessing.set_start_method(request.param, force=True)
    monkeypatch.setattr("synvid.runtime.local_executor.multiprocessing.get_context", lambda _: context)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


@pytest.fixture
def preset(tiny):
    return load_preset("moving_circles").override(tiny)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("method")
def test_render_with_start_method(preset, tmp_path):
    """A dataset rendered by two worker processes equals that of one process, byte for byte."""
    recipe = DatasetRecipe(preset, CLIPS, shard_size=2)
    for name, workers in (("one", 1), ("two", 2)):
        assert render_recipe(recipe, tmp_path / name, workers=workers).finished
    assert files(tmp_path / "two") == files(tmp_path / "one")


@pytest.mark.usefixtures("method")
def test_textures_with_start_method(tmp_path):
    """A texture bank built by two worker processes equals that of one process."""
    for name, workers in (("one", 1), ("two", 2)):
        build_bank(tmp_path / f"{name}.bank", make_bank_header("stylegan-high-freq", 70, 32, 3), None, workers, Progress())
    assert (tmp_path / "two.bank").read_bytes() == (tmp_path / "one.bank").read_bytes()


def mean_network():
    """A network that no process can be sent, as those of `find_network` are."""
    return FeatureExtractor(
        "mean", "mean", "mean", "0", lambda frames: torch.from_numpy(frames.mean((1, 2), dtype=np.float32))
    )


@pytest.mark.usefixtures("method")
@pytest.mark.parametrize("kind", ["preset", "videos", "dataset"])
def test_features_with_start_method(kind, preset, tmp_path):
    """The features of a source are the same if another process reads it."""
    if kind == "preset":
        source = resolve_source("moving_circles", prepare=lambda _: preset)
    elif kind == "videos":
        for k in range(2):
            write_video(tmp_path / "videos" / f"{k}.mp4", noise_clip(k))
        source = resolve_source(str(tmp_path / "videos"))
    else:
        render_recipe(DatasetRecipe(preset, CLIPS, shard_size=2), tmp_path / "set")
        source = resolve_source(str(tmp_path / "set"))
    found = [
        extract_features(source, mean_network(), ClipSelection(2, 3), workers, cache=tmp_path / f"cache{workers}")
        for workers in (0, 1)
    ]
    assert found[0].vectors.shape == (6, 3)
    np.testing.assert_array_equal(found[1].vectors, found[0].vectors)


@pytest.mark.usefixtures("method")
@pytest.mark.parametrize("kind", ["rendered", "decoded"])
def test_batches_with_start_method(kind, preset, tmp_path):
    """Training batches are the same if other processes load them."""
    if kind == "rendered":
        source = RenderedClips(preset, 0, CLIPS)
    else:
        import synvid

        render_recipe(DatasetRecipe(preset, CLIPS, shard_size=2), tmp_path / "set")
        source = DatasetClips(synvid.open_dataset(tmp_path / "set"))
    recipe = load_recipe("laptop_pretrain").override({"model.image_size": 32})
    clips = TrainingClips(source, recipe, 3, pretraining=True)
    batches = [[(0, 0, 0), (0, 1, 0)], [(0, 2, 0), (0, 3, 0)]]
    one, other = ([*load_batches(clips, iter(batches), workers, torch.device("cpu"))] for workers in (0, 1))
    assert len(one) == len(other) == 2
    for mine, its in zip(one, other, strict=True):
        assert all(torch.equal(mine[name], its[name]) for name in mine if isinstance(mine[name], torch.Tensor))


ORPHANS = """
import multiprocessing, os, signal, sys, time
from synvid.runtime.local_executor import exit_with_parent

def child(connection):
    exit_with_parent()
    connection.send(os.getpid())
    time.sleep(60)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    here, there = context.Pipe()
    for _ in range(2):
        context.Process(target=child, args=(there,), daemon=True).start()
        print(here.recv(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", ["fork", "forkserver", "spawn"])
def test_workers_exit_with_killed_parent(name, tmp_path):
    """A process whose parent is killed ends, also one started by a fork server."""
    program = tmp_path / "program.py"
    program.write_text(ORPHANS)
    ended = subprocess.run([sys.executable, program, name], stdout=subprocess.PIPE, text=True, check=False, timeout=60)
    orphans = [int(line) for line in ended.stdout.split()]
    assert len(orphans) == 2
    psutil.wait_procs([psutil.Process(pid) for pid in orphans if psutil.pid_exists(pid)], timeout=10)
    assert [pid for pid in orphans if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE] == []
