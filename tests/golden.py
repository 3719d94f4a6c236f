"""Golden cases: preset, overrides, seed and index → hash and a few statistics. `python golden.py` prints the hashes."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import yaml

import synvid

#: Cases with textures use banks of this many textures, which are built on first use.
os.environ["SYNVID_TEXTURES"] = "64"

FOLDER = Path(__file__).parent / "cases"
CASES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}


def render_case(case):
    """Render the clip of a case."""
    preset = synvid.load_preset(case["preset"], case.get("overrides"))
    return synvid.render(synvid.sample_scene(preset, case["seed"], case["index"]), case.get("frames"))


def describe_clip(clip):
    """The hash and statistics that a case records."""
    return {
        "shape": list(clip.frames.shape),
        "num_frames": clip.scene.num_frames,
        "mean": [round(float(value), 3) for value in clip.frames.mean((0, 1, 2))],
        "black": round(float((clip.frames == 0).all(-1).mean()), 5),
        "sha256": hashlib.sha256(clip.frames.data).hexdigest(),
    }


def hash_single_frames(case):
    """The hash of a case whose frames are rendered one at a time, last to first."""
    clip = render_case({**case, "frames": [0]})
    frames = case.get("frames") or range(clip.scene.num_frames)
    by_frame = {t: synvid.render(clip.scene, [t]).frames[0] for t in sorted(frames, reverse=True)}
    return hashlib.sha256(np.stack([by_frame[t] for t in frames]).data).hexdigest()


if __name__ == "__main__":
    from synvid.raster.simd import VECTOR

    hashes = {name: describe_clip(render_case(case))["sha256"] for name, case in CASES.items()}
    print(json.dumps({"vector": VECTOR, "hashes": hashes}))
