"""Measure all that is said to be fast, in one run: prints tables, writes benchmarks/results.json.

    make bench            # or: python benchmarks/bench.py [--quick]

Every comparison is a ratio of times taken in this run on this machine, the best of several; absolute times only describe
the machine.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
from PIL import Image, ImageDraw
from skimage import draw

import synvid
from synvid.dataset.engine import render_dataset
from synvid.dataset.recipe import Recipe
from synvid.dataset.shard import pieces, render_shard
from synvid.raster.simd import VECTOR
from synvid.video.color import planes_420
from synvid.video.decode import decode
from synvid.video.encode import make_encoder

QUICK = "--quick" in sys.argv
PRESETS = [name for name in synvid.list_presets() if not name.startswith(("slow_", "reference/slow_"))]
RESULTS: dict[str, object] = {}
cv2.setNumThreads(1)


def best(call, repeat=3):
    """Seconds of the quickest of several calls, after one that does not count."""
    call()
    times = []
    for _ in range(1 if QUICK else repeat):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def section(title, header, rows, key):
    """Print a table and keep it."""
    RESULTS[key] = [dict(zip(header, row, strict=True)) for row in rows]
    texts = [[cell if isinstance(cell, str) else f"{cell:.4g}" for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in texts) for i in range(len(header))]
    print(f"\n{title}")
    for row in texts:
        print(
            "  "
            + "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )


# ---- Rendering ----------------------------------------------------------------------------------------------------
def rendering():
    """ns per pixel and clips per second of `render`, one core."""
    rows = []
    for name in PRESETS:
        preset = synvid.load_preset(name)
        scenes = [synvid.sample_scene(preset, 0, index) for index in range(2 if QUICK else 6)]
        pixels = sum(scene.num_frames * scene.height * scene.width for scene in scenes)
        whole = best(lambda: [synvid.render(scene) for scene in scenes])
        in_pieces = best(lambda: [sum(len(piece) for piece in pieces(scene)) for scene in scenes])
        sampling = best(lambda: [synvid.sample_scene(preset, 0, index) for index in range(len(scenes))])
        rows.append([name, whole / pixels * 1e9, in_pieces / pixels * 1e9, len(scenes) / whole, sampling / len(scenes) * 1e3])
    section(
        "Rendering, one core (whole clips into memory; in pieces as for encoding; clips/s of whole clips; sampling a scene)",
        ["preset", "ns/px whole", "ns/px pieces", "clips/s", "sample ms"],
        rows,
        "rendering",
    )


# ---- Other painters -----------------------------------------------------------------------------------------------
def opencv_frame(poses, outlines, colors, size):
    """Paint with fillConvexPoly and ellipse, back to front."""
    image = np.zeros((size, size, 3), np.uint8)
    for pose, outline, color in zip(poses, outlines, colors, strict=True):
        if outline is None:
            (a, b), (c, d) = pose[:, :2]
            angle, across, along = axes(a, b, c, d)
            center = (int(pose[0, 2] * 16), int(pose[1, 2] * 16))
            cv2.ellipse(image, center, (int(across * 16), int(along * 16)), angle, 0, 360, color, -1, shift=4)
        else:
            points = outline @ pose[:, :2].T + pose[:, 2]
            cv2.fillConvexPoly(image, (points * 16).astype(np.int32), color, shift=4)
    return image


def axes(a, b, c, d):
    """Angle in degrees and half axes of the image of the unit circle."""
    u, s, _ = np.linalg.svd(np.array([[a, b], [c, d]]))
    return math.degrees(math.atan2(u[1, 0], u[0, 0])), s[0], s[1]


def pillow_frame(poses, outlines, colors, size):
    """Paint with ImageDraw; turned ellipses as 48-sided polygons, which Pillow cannot draw otherwise."""
    image = Image.new("RGB", (size, size))
    pen = ImageDraw.Draw(image)
    for pose, outline, color in zip(poses, outlines, colors, strict=True):
        points = (CIRCLE if outline is None else outline) @ pose[:, :2].T + pose[:, 2]
        pen.polygon([tuple(point) for point in points.tolist()], fill=color)
    return image


ANGLES = np.linspace(0, 2 * np.pi, 48, endpoint=False)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)


def skimage_frame(poses, outlines, colors, size):
    """Paint with skimage.draw."""
    image = np.zeros((size, size, 3), np.uint8)
    for pose, outline, color in zip(poses, outlines, colors, strict=True):
        if outline is None:
            angle, across, along = axes(*pose[0, :2], *pose[1, :2])
            where = draw.ellipse(pose[1, 2], pose[0, 2], along, across, (size, size), rotation=-math.radians(angle))
        else:
            points = outline @ pose[:, :2].T + pose[:, 2]
            where = draw.polygon(points[:, 1], points[:, 0], (size, size))
        image[where] = color
    return image


def others():
    """The same scenes painted by other libraries."""
    rows = []
    for name in PRESETS[1:5]:
        scene = synvid.sample_scene(synvid.load_preset(name), 0, 1)
        times = list(range(0, 96, 24 if QUICK else 12))
        poses = [scene.poses(t) for t in times]
        colors = [tuple(map(int, color)) for color in scene.colors]
        outlines = scene.outlines
        # As many frames as a clip has, so that what a call costs once is spread as in use.
        ours = best(lambda: synvid.render(scene)) / scene.num_frames
        row = [name, 1e3 * ours]
        for painter in (opencv_frame, pillow_frame, skimage_frame):
            theirs = best(lambda: [painter(pose, outlines, colors, 256) for pose in poses], 2) / len(times)
            row.append(theirs / ours)
        rows.append(row)
    section(
        "Painting the same scenes, 500 objects at 256x256: how many times longer others take",
        ["preset", "synvid ms/frame", "OpenCV", "Pillow", "skimage.draw"],
        rows,
        "others",
    )


# ---- End to end ---------------------------------------------------------------------------------------------------
def shares():
    """Where the time of one clip goes, at the default encoder setting."""
    rows = []
    for name in PRESETS[1:5]:
        preset = synvid.load_preset(name)
        encoder = make_encoder()
        spent = dict.fromkeys(["sampling", "rendering", "conversion", "hashing", "encoding", "writing"], 0.0)
        with tempfile.TemporaryDirectory() as folder:
            for index in range(-1, 3 if QUICK else 12):
                if index == 0:
                    spent = dict.fromkeys(spent, 0.0)
                clock = Clock(spent)
                scene = synvid.sample_scene(preset, 0, max(index, 0))
                clock("sampling")
                found, digest, planes = [], hashlib.sha256(), np.empty(256 * 256 * 3 // 2, np.uint8)
                for piece in pieces(scene):
                    clock("rendering")
                    digest.update(piece.data)
                    clock("hashing")
                    for frame in piece:
                        planes_420(frame, planes)
                    clock("conversion")
                    found.append(piece)
                    clock("writing")
                clock("writing")
                video = encoder(found, 256, 256, 25.0)
                clock("encoding")
                Path(folder, f"{index}.mp4").write_bytes(video)
                clock("writing")
        spent["encoding"] -= spent["conversion"]  # the encoder converts, too
        total = sum(spent.values())
        ours = sum(spent[part] for part in ("sampling", "rendering", "conversion")) / total
        rows.append([name, *(f"{100 * value / total:.1f} %" for value in spent.values()), f"{100 * ours:.1f} %"])
    header = ["preset", *spent, "sampling + rendering + conversion"]
    section("Shares of the time of a clip, end to end, encoding fast, one core", header, rows, "shares")


class Clock:
    """Adds the time since the last call to a part."""

    def __init__(self, spent):
        self.spent, self.last = spent, time.perf_counter()

    def __call__(self, part):
        now = time.perf_counter()
        self.spent[part] += now - self.last
        self.last = now


def end_to_end():
    """Clips per second of a whole dataset with one and two workers."""
    rows = []
    clips = 32 if QUICK else 128
    for name in ("moving_circles", "accelerating_transforming_shapes"):
        recipe = Recipe(synvid.load_preset(name), clips, shard_size=8)
        rates = []
        for workers in (1, 2):
            runs = []
            for _ in range(1 if QUICK else 2):
                with tempfile.TemporaryDirectory() as folder:
                    begin = time.perf_counter()
                    render_dataset(recipe, Path(folder), workers=workers)
                    runs.append(clips / (time.perf_counter() - begin))
            rates.append(max(runs))
        rows.append([name, *rates, rates[1] / rates[0]])
    section("End to end, clips/s to shards on disk", ["preset", "1 worker", "2 workers", "ratio"], rows, "end_to_end")


def training_sample():
    """A training sample, 16 frames with stride 4: rendered, scene included, against decoded with PyAV."""
    rows = []
    for name in ("moving_circles", "moving_shapes", "accelerating_transforming_shapes"):
        for encoding in ("fast", "small"):
            with tempfile.TemporaryDirectory() as folder:
                render_dataset(Recipe(synvid.load_preset(name), 6, shard_size=6, encoding=encoding), Path(folder))
                data = synvid.open_dataset(folder)
                videos = [data.video(i) for i in range(len(data))]
                frames = list(range(20, 84, 4))
                decoding = best(lambda: [decode(io.BytesIO(video), frames) for video in videos])
                rendering_ = best(lambda: [data.render(i, frames) for i in range(len(data))])
            each = 1e3 / len(data)
            rows.append([f"{name}, {encoding}", rendering_ * each, decoding * each, decoding / rendering_])
    section(
        "A training sample of 16 frames, stride 4: rendered against decoded",
        ["preset, encoding", "render ms", "decode ms", "decode/render"],
        rows,
        "training_sample",
    )


# ---- Start-up and memory ------------------------------------------------------------------------------------------
def python(code):
    """Seconds that a fresh interpreter takes for some code, less those of an empty one: the best of five."""

    def run(text):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", text], check=True)
        return time.perf_counter() - begin

    return min(run(code) for _ in range(5)) - min(run("pass") for _ in range(5))


def start_up():
    """Import time, and time to the first clip with a warm cache."""
    first = "import synvid; synvid.render(synvid.sample_scene(synvid.load_preset('moving_shapes')))"
    python(first)
    rows = [["import synvid", python("import synvid")], ["first clip, warm cache", python(first)]]
    section("Start-up, seconds", ["what", "seconds"], rows, "start_up")


def memory():
    """Resident memory while rendering many clips to shards."""
    process, seen = psutil.Process(), []
    recipe = Recipe(synvid.load_preset("accelerating_transforming_shapes"), 20 if QUICK else 120, shard_size=10)
    with tempfile.TemporaryDirectory() as folder:
        for shard in range(recipe.num_shards):
            render_shard(recipe, Path(folder), shard)
            seen.append(process.memory_info().rss / 1e6)
    rows = [[f"after {10 * (i + 1)} clips", value] for i, value in enumerate(seen) if i in (0, len(seen) // 2, len(seen) - 1)]
    section("Memory over a long run, MB", ["when", "MB"], rows, "memory")


def main():
    """Run everything."""
    described = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":")[1].strip() for line in described.splitlines() if "model name" in line]
    RESULTS["machine"] = {
        "processor": (names or [platform.processor()])[0],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "synvid": synvid.__version__,
        "vector": VECTOR,
    }
    print(json.dumps(RESULTS["machine"]))
    for part in (rendering, others, shares, end_to_end, training_sample, start_up, memory):
        part()
    path = Path(__file__).with_name("results.json")
    path.write_text(json.dumps(RESULTS, indent=1) + "\n")
    print(f"\n{path.name} written")


if __name__ == "__main__":
    main()
