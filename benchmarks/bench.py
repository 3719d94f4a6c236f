"""Measure all that is said to be fast, in one run: prints tables, writes benchmarks/results.json.

    make bench            # or: python benchmarks/bench.py [--quick]

Every comparison is a ratio of times taken in this run on this machine, the best of several; absolute times only describe
the machine.
"""

from __future__ import annotations

import argparse
import dataclasses
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
from synvid.dataset.build import render_recipe
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.shard import frame_chunks, render_shard
from synvid.raster.simd import VECTOR
from synvid.textures.crops import texture_crops
from synvid.video.decode import decode
from synvid.video.encode import ENCODINGS, encode, make_encoder
from synvid.video.yuv import planes_420

QUICK = "--quick" in sys.argv  # `main` parses the options
LOADED = {name: synvid.load_preset(name) for name in synvid.list_presets()}
PRESETS = [name for name, preset in LOADED.items() if not preset.banks() and not preset.mixture.source]
TEXTURED = [f"accelerating_transforming_{what}" for what in ("textures", "stylegan_crops", "image_crops")]
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
        scenes = [synvid.sample_scene(preset, 0, index) for index in range(2 if QUICK else 4)]
        pixels = sum(scene.num_frames * scene.height * scene.width for scene in scenes)
        whole = best(lambda: [synvid.render(scene) for scene in scenes])
        in_pieces = best(lambda: [sum(len(piece) for piece in frame_chunks(scene)) for scene in scenes])
        sampling = best(lambda: [synvid.sample_scene(preset, 0, index) for index in range(len(scenes))])
        rows.append([name, whole / pixels * 1e9, in_pieces / pixels * 1e9, len(scenes) / whole, sampling / len(scenes) * 1e3])
    section(
        "Rendering, one core (whole clips into memory; in pieces as for encoding; clips/s of whole clips; sampling a scene)",
        ["preset", "ns/px whole", "ns/px pieces", "clips/s", "sample ms"],
        rows,
        "rendering",
    )


# ---- Other painters -----------------------------------------------------------------------------------------------
# What each library paints is prepared beforehand, points and half axes in the form that it wants; only painting is timed.
def axes(pose):
    """Angle in radians and half axes of the image of the unit circle."""
    turns, lengths, _ = np.linalg.svd(pose[:, :2])
    return math.atan2(turns[1, 0], turns[0, 0]), lengths[0], lengths[1]


ANGLES = np.linspace(0, 2 * np.pi, 48, endpoint=False)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)


def for_opencv(pose, outline, color):
    """A call of fillConvexPoly, or of ellipse, in sixteenths of a pixel."""
    if outline is None:
        angle, across, along = axes(pose)
        center = (int(pose[0, 2] * 16), int(pose[1, 2] * 16))
        half = (int(across * 16), int(along * 16))
        return lambda image: cv2.ellipse(image, center, half, math.degrees(angle), 0, 360, color, -1, shift=4)
    points = ((outline @ pose[:, :2].T + pose[:, 2]) * 16).astype(np.int32)
    return lambda image: cv2.fillConvexPoly(image, points, color, shift=4)


def for_pillow(pose, outline, color):
    """A call of ImageDraw.polygon; turned ellipses, which Pillow does not have, as polygons of 48 sides."""
    points = [tuple(point) for point in ((CIRCLE if outline is None else outline) @ pose[:, :2].T + pose[:, 2]).tolist()]
    return lambda pen: pen.polygon(points, fill=color)


def for_skimage(pose, outline, color):
    """A call of skimage.draw."""
    size = (256, 256)
    if outline is None:
        angle, across, along = axes(pose)

        def paint(image):
            image[draw.ellipse(pose[1, 2], pose[0, 2], along, across, size, rotation=-angle)] = color

        return paint
    points = outline @ pose[:, :2].T + pose[:, 2]

    def fill(image):
        image[draw.polygon(points[:, 1], points[:, 0], size)] = color

    return fill


def blank():
    """A black frame."""
    return np.zeros((256, 256, 3), np.uint8)


PAINTERS = {
    "OpenCV": (for_opencv, blank),
    "Pillow": (for_pillow, lambda: ImageDraw.Draw(Image.new("RGB", (256, 256)))),
    "skimage.draw": (for_skimage, blank),
}


def paint_all(calls, new):
    """Paint some frames, each back to front on a new canvas."""
    for frame in calls:
        canvas = new()
        for call in frame:
            call(canvas)


def others():
    """The same scenes painted by other libraries."""
    rows = []
    for name in [name for name in PRESETS if "/" not in name]:
        scene = synvid.sample_scene(synvid.load_preset(name), 0, 1)
        colors, outlines = [tuple(map(int, color)) for color in scene.colors], scene.outlines
        ours = best(lambda: sum(len(piece) for piece in frame_chunks(scene)), 5) / scene.num_frames
        row = [name, 1e3 * ours]
        for prepare, new in PAINTERS.values():
            times = range(0, 96, 24 if QUICK else 12)
            calls = [[prepare(*parts) for parts in zip(scene.poses(t), outlines, colors, strict=True)] for t in times]
            row.append(best(lambda: paint_all(calls, new), 3) / len(calls) / ours)
        rows.append(row)
    header = ["preset", "synvid ms/frame", *PAINTERS]
    section("Painting the same scenes, 500 objects at 256x256: how many times longer others take", header, rows, "others")


def warped(scene, t):
    """Calls that paint a textured scene with OpenCV: warpAffine on each object's bounding box, then copied by a mask."""
    crops, calls = texture_crops(scene), []
    for i, (pose, outline) in enumerate(zip(scene.poses(t), scene.outlines, strict=True)):
        points = (CIRCLE if outline is None else outline) @ pose[:, :2].T + pose[:, 2]
        low = np.clip(np.floor(points.min(0)).astype(int), 0, 256)
        high = np.clip(np.ceil(points.max(0)).astype(int) + 1, 0, 256)
        if (low < high).all():
            size = crops.size[i]
            start = 3 * size * size * crops.first[i]
            texture = crops.banks[crops.bank[i]][start : start + 3 * size * size].reshape(size, size, 3)
            middle = crops.middle[i] - 0.5
            matrix = pose.copy()  # texels to pixels of the box
            matrix[:, :2] /= crops.radius[i]
            matrix[:, 2] += -0.5 - low - matrix[:, :2] @ middle
            outline_points = ((points - low) * 16).astype(np.int32)
            calls.append((texture, matrix, outline_points, low, high))
    return calls


def paint_warped(frames):
    """Paint some frames so."""
    for calls in frames:
        image = blank()
        for texture, matrix, points, low, high in calls:
            box = (int(high[0] - low[0]), int(high[1] - low[1]))
            pixels = cv2.warpAffine(texture, matrix, box, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            mask = np.zeros(box[::-1], np.uint8)
            cv2.fillConvexPoly(mask, points, 255, shift=4)
            cv2.copyTo(pixels, mask, image[low[1] : high[1], low[0] : high[0]])


def textured():
    """Textured presets: rendering, against OpenCV, end to end against solid colours, and a training sample."""
    solid = synvid.load_preset("accelerating_transforming_shapes")
    encoder = make_encoder()

    def to_bytes(preset):
        scenes = [synvid.sample_scene(preset, 0, index) for index in range(6)]
        return best(lambda: [encoder(frame_chunks(scene), 256, 256, 25.0) for scene in scenes], 2) / len(scenes)

    plain, rows = to_bytes(solid), []
    for name in TEXTURED:
        preset = synvid.load_preset(name)
        scene = synvid.sample_scene(preset, 0, 1)
        pixels = scene.num_frames * 65536
        ours = best(lambda: sum(len(piece) for piece in frame_chunks(scene)), 5)
        nearest = synvid.sample_scene(preset.override({"fill.sampling": "nearest"}), 0, 1)
        quick = best(lambda: sum(len(piece) for piece in frame_chunks(nearest)), 5)
        calls = [warped(scene, t) for t in range(0, 96, 12)]
        theirs = best(lambda: paint_warped(calls), 3) / len(calls)
        share = plain / to_bytes(preset)
        row = [name, ours / pixels * 1e9, quick / pixels * 1e9, theirs / (ours / scene.num_frames), f"{100 * share:.0f} %"]
        frames = list(range(20, 84, 4))
        clips = [synvid.render(synvid.sample_scene(preset, 0, index)) for index in range(6)]
        sample = best(lambda: [synvid.render(synvid.sample_scene(preset, 0, index), frames) for index in range(6)], 5)
        for encoding in ("fast", "small"):
            videos = [encode(clip.frames, 25.0, encoding) for clip in clips]
            decoding = best(lambda: [decode(io.BytesIO(video), frames) for video in videos], 3)
            row.append(decoding / sample)
        rows.append(row)
    header = ["preset", "ns/px bilinear", "ns/px nearest", "OpenCV takes", "clips/s of solid", "sample, fast", "sample, small"]
    title = "Textures: rendering in pieces; OpenCV's time; end to end against solid; decoding a sample against rendering it"
    section(title, header, rows, "textured")


def options():
    """What antialiasing costs, and how large clips are."""
    scene = synvid.sample_scene(synvid.load_preset("accelerating_transforming_shapes"), 0, 1)
    smooth = dataclasses.replace(scene, antialias=True)
    frames = range(0, 96, 4)
    ratio = best(lambda: synvid.render(smooth, frames)) / best(lambda: synvid.render(scene, frames))
    section(
        "Antialiasing, times a plain frame", ["preset", "ratio"], [["accelerating_transforming_shapes", ratio]], "antialias"
    )
    rows = []
    clips = [synvid.render(synvid.sample_scene(synvid.load_preset("moving_shapes"), 0, index)) for index in range(4)]
    for encoding in ENCODINGS:
        seconds = best(lambda: [encode(clip.frames, clip.fps, encoding) for clip in clips], 2) / len(clips)
        rows.append(
            [encoding, sum(len(encode(clip.frames, clip.fps, encoding)) for clip in clips) / len(clips) / 1e6, 1e3 * seconds]
        )
    section("Encodings, a clip of moving_shapes", ["encoding", "MB", "ms"], rows, "encodings")


# ---- End to end ---------------------------------------------------------------------------------------------------
def shares():
    """Where the time of one clip goes, at the default encoder setting."""
    rows = []
    for name in [name for name in PRESETS if "/" not in name]:
        preset = synvid.load_preset(name)
        encoder = make_encoder()
        spent = dict.fromkeys(["sampling", "rendering", "conversion", "hashing", "encoding", "writing"], 0.0)
        with tempfile.TemporaryDirectory() as folder:
            for index in range(-1, 3 if QUICK else 8):
                if index == 0:
                    spent = dict.fromkeys(spent, 0.0)
                clock = Clock(spent)
                scene = synvid.sample_scene(preset, 0, max(index, 0))
                clock("sampling")
                video = encoder(timed_pieces(scene, clock), 256, 256, 25.0)
                clock("encoding")
                Path(folder, f"{index}.mp4").write_bytes(video)
                clock("writing")
        spent["encoding"] -= spent["conversion"]  # the encoder converts as well
        total = sum(spent.values())
        ours = sum(spent[part] for part in ("sampling", "rendering", "conversion")) / total
        rows.append([name, *(f"{100 * value / total:.1f} %" for value in spent.values()), f"{100 * ours:.1f} %"])
    header = ["preset", *spent, "sampling + rendering + conversion"]
    section("Shares of the time of a clip, end to end, encoding fast, one core", header, rows, "shares")


def timed_pieces(scene, clock):
    """The frames of a clip as they go to the encoder, hashed, and converted once more to time it."""
    digest, planes = hashlib.sha256(), np.empty(256 * 256 * 3 // 2, np.uint8)
    for piece in frame_chunks(scene):
        clock("rendering")
        digest.update(piece.data)
        clock("hashing")
        for frame in piece:
            planes_420(frame, planes)
        clock("conversion")
        yield piece
        clock("encoding")


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
    clips = 32 if QUICK else 96
    for name in ("moving_circles", "accelerating_transforming_shapes"):
        recipe = DatasetRecipe(synvid.load_preset(name), clips, shard_size=8)
        rates = []
        for workers in (1, 2):
            runs = []
            for _ in range(1 if QUICK else 2):
                with tempfile.TemporaryDirectory() as folder:
                    begin = time.perf_counter()
                    render_recipe(recipe, Path(folder), workers=workers)
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
                render_recipe(DatasetRecipe(synvid.load_preset(name), 6, shard_size=6, encoding=encoding), Path(folder))
                data = synvid.open_dataset(folder)
                videos = [data.video(i) for i in range(len(data))]
                frames = list(range(20, 84, 4))
                decoding = best(lambda: sum(len(decode(io.BytesIO(video), frames)) for video in videos), 5)
                rendering_ = best(lambda: sum(len(data.render(i, frames)) for i in range(len(data))), 5)
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
    recipe = DatasetRecipe(synvid.load_preset("accelerating_transforming_shapes"), 20 if QUICK else 120, shard_size=10)
    with tempfile.TemporaryDirectory() as folder:
        for shard in range(recipe.num_shards):
            render_shard(recipe, Path(folder), shard)
            seen.append(process.memory_info().rss / 1e6)
    rows = [[f"after {10 * (i + 1)} clips", value] for i, value in enumerate(seen) if i in (0, len(seen) // 2, len(seen) - 1)]
    section("Memory over a long run, MB", ["when", "MB"], rows, "memory")


def main():
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer clips and repetitions; write no file")
    parser.parse_args()
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
    for part in (rendering, others, textured, options, shares, end_to_end, training_sample, start_up, memory):
        part()
    if not QUICK:
        path = Path(__file__).with_name("results.json")
        path.write_text(json.dumps(RESULTS, indent=1) + "\n")
        print(f"\n{path.name} written")


if __name__ == "__main__":
    main()
