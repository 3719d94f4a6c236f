"""Time and peak memory of commands on a dataset of a million clips with nothing to render.

python benchmarks/bookkeeping.py [CLIPS]

The dataset is simulated: records are as `synvid render` writes them, shards are sparse files without content.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

from synvid.dataset.build import render_recipe
from synvid.dataset.layout import clip_key, record_path, shard_path
from synvid.dataset.manifest import finish_dataset
from synvid.dataset.reader import open_dataset
from synvid.dataset.recipe import RECIPE_FILE, DatasetRecipe
from synvid.dataset.record import write_record
from synvid.dataset.status import dataset_status
from synvid.preset import load_preset
from synvid.storage.workspace import STATE_FOLDER

SHARD_SIZE, CLIP_BYTES = 64, 1_200_000
SHA = hashlib.sha256(b"").hexdigest()


def simulate_dataset(folder: Path, clips: int) -> None:
    """Write the recipe, records and empty shards of a dataset."""
    recipe = DatasetRecipe(load_preset("moving_shapes"), clips, shard_size=SHARD_SIZE)
    (folder / "train").mkdir(parents=True)
    (folder / STATE_FOLDER).mkdir()
    (folder / RECIPE_FILE).write_text(recipe.to_yaml())
    video = recipe.preset.video
    for shard in range(recipe.num_shards):
        name, rows = shard_path(recipe, shard).as_posix(), []
        for position, index in enumerate(recipe.indices(shard)):
            clip = {"key": clip_key(index), "index": index, "preset": recipe.preset.name, "seed": 0, "frames": 150}
            size = {"fps": float(video.fps), "width": video.width, "height": video.height, "objects": 500}
            location = {"shard": name, "offset": 512 + position * (CLIP_BYTES + 1536), "size": CLIP_BYTES}
            rows.append({**clip, **size, "sha256": SHA, "recipe": recipe.digest, **location})
        with (folder / name).open("wb") as file:
            file.truncate(total := len(rows) * (CLIP_BYTES + 1536))
        write_record(recipe, folder, shard, [{"path": name, "bytes": total, "sha256": SHA}], rows, folder)


def render_part(recipe: DatasetRecipe, folder: Path) -> None:
    """Render a part whose shards are done, while a shard of another part is missing."""
    other = record_path(folder, 1)
    other.rename(other.with_suffix(".aside"))
    render_recipe(recipe, folder, part=(0, 1000))
    other.with_suffix(".aside").rename(other)


def open_and_pickle(_: DatasetRecipe, folder: Path) -> None:
    import pickle

    pickle.loads(pickle.dumps(open_dataset(folder)))  # noqa: S301


WORK = {
    "finish": finish_dataset,
    "status": lambda _, folder: dataset_status(folder),
    "render, nothing to do": render_recipe,
    "a part, nothing to do": render_part,
    "open_dataset": lambda _, folder: open_dataset(folder),
    "open_dataset, pickled": open_and_pickle,
    "all rows read": lambda _, folder: sum(row["frames"] for row in open_dataset(folder)),
}


def measure(name: str, folder: Path, answer: multiprocessing.SimpleQueue) -> None:
    recipe = DatasetRecipe.load(folder)
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    WORK[name](recipe, folder)
    seconds = time.perf_counter() - begin
    answer.put((seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="?", type=int, default=1_000_000, metavar="CLIPS", help="default: 1000000")
    clips = parser.parse_args().clips
    with tempfile.TemporaryDirectory() as tmp_dir:
        folder = Path(tmp_dir, "set")
        simulate_dataset(folder, clips)
        context = multiprocessing.get_context("spawn")
        results = {}
        for name in WORK:
            answer = context.SimpleQueue()
            process = context.Process(target=measure, args=(name, folder, answer))
            process.start()
            process.join()
            results[name] = answer.get()
            print(f"{name:24} {results[name][0]:6.2f} s  {results[name][1]:6.0f} MB more", flush=True)
    print(json.dumps({"clips": clips, "work": results}))


if __name__ == "__main__":
    main()
