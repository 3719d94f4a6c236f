"""Textured rendering equals a simple rasterizer bit for bit, agrees with skimage's warp, and matches worked examples."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import oracle
import pytest
from conftest import needs_x86
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import AffineTransform, warp
from test_raster import scenes

import synvid
from synvid.raster import texels
from synvid.scene.scene import Textures
from synvid.textures.bank import BankHeader, open_bank

RNG = np.random.default_rng(5)


def write_bank(path, textures):
    """Write a bank of textures, uint8 (n, frames, S, S, 3), with arbitrary kind and hashes: `render` does not check them."""
    n, frames, size = textures.shape[:3]
    header = BankHeader("statistical", 1, 0, n, frames, size)
    with path.open("wb") as file:
        hashes = bytes(32 * header.num_chunks)
        file.write(header.with_digest(hashes).to_bytes() + textures.tobytes() + hashes)
    return str(path)


@pytest.fixture(scope="module")
def banks(tmp_path_factory):
    """Banks of noise in several sizes, one with moving textures: {path: textures}."""
    folder = tmp_path_factory.mktemp("banks")
    banks = {}
    for name, shape in {"small": (5, 1, 17), "large": (3, 1, 64), "moving": (2, 4, 33), "dot": (2, 1, 2)}.items():
        textures = RNG.integers(0, 256, (*shape[:2], shape[2], shape[2], 3), np.uint8)
        banks[write_bank(folder / f"{name}.bank", textures)] = textures
    return banks


@pytest.mark.slow
@settings(max_examples=100, deadline=None, derandomize=True)
@given(data=st.data())
def test_random_textured_scene_equals_oracle(banks, data):
    """A frame with any textures, crops and outlines equals the oracle's bit for bit."""
    scene = data.draw(scenes())
    count = scene.num_objects
    fraction = st.floats(0, 1, exclude_max=True)
    choice = data.draw(st.lists(st.one_of(fraction, fraction, st.just(-1.0)), min_size=count + 1, max_size=count + 1))
    textures = Textures(
        banks=tuple(data.draw(st.lists(st.sampled_from(sorted(banks)), min_size=1, max_size=4, unique=True))),
        max_textures=data.draw(st.integers(1, 6)),
        choice=np.array(choice),
        crop=np.array(data.draw(st.lists(st.tuples(fraction, fraction), min_size=count + 1, max_size=count + 1))),
        side=data.draw(st.floats(1, 300)),
        nearest=data.draw(st.booleans()),
        additive_tint=data.draw(st.booleans()),
    )
    scene = dataclasses.replace(scene, textures=textures, antialias=False)
    t = data.draw(st.integers(0, 63))
    np.testing.assert_array_equal(synvid.render(scene, [t]).frames[0], oracle.render_textured(scene, t, banks.__getitem__))


def textured_scene(banks, **overrides):
    """A scene with textures from two of the banks."""
    names = [name for name in banks if name.endswith(("large.bank", "moving.bank"))]
    settings = {"fill.textures": names, "video.width": 96, "video.height": 80, "objects.count": 60}
    preset = synvid.load_preset("accelerating_transforming_shapes", {**settings, **overrides})
    return synvid.sample_scene(preset, seed=2, index=1)


@pytest.mark.parametrize(
    "name", ["fill.additive_tint", "video.background", "fill.sampling", "fill.crop", "fill.textured_fraction"]
)
def test_texture_setting_equals_oracle(banks, name):
    """Frames equal the oracle's with each texture setting: tint, background, nearest, top left crops, some solid objects."""
    value = {"video.background": "texture", "fill.sampling": "nearest", "fill.crop": "top_left", "fill.textured_fraction": 0.5}
    scene = textured_scene(banks, **{name: value.get(name, True)})
    for t in (0, 70):
        np.testing.assert_array_equal(synvid.render(scene, [t]).frames[0], oracle.render_textured(scene, t, banks.__getitem__))


def test_textured_frames_are_independent_of_order(banks):
    """A frame does not depend on which were rendered before it, even with moving textures."""
    scene = textured_scene(banks)
    whole = synvid.render(scene).frames
    order = [90, 3, 3, 50, 0]
    np.testing.assert_array_equal(synvid.render(scene, order).frames, whole[order])


def test_background_texture_of_the_frame_size_is_copied(banks):
    """A background texture of the frame's size is shown texel by texel, in every frame."""
    name = next(name for name in banks if name.endswith("large.bank"))
    overrides = {"fill.textures": [name], "video.background": "texture", "objects.count": 0}
    preset = synvid.load_preset("static_circles", {**overrides, "video.width": 64, "video.height": 64})
    frames = synvid.render(synvid.sample_scene(preset, index=3), [0, 50]).frames
    assert any((frames == texture[0]).all() for texture in banks[name])


def test_background_texture_is_centred_in_a_wide_frame(banks):
    """A background texture covers the longer side of the frame and is cropped evenly on the shorter one."""
    name = next(name for name in banks if name.endswith("large.bank"))
    overrides = {"fill.textures": [name], "video.background": "texture", "objects.count": 0}
    preset = synvid.load_preset("static_circles", {**overrides, "video.width": 64, "video.height": 32})
    frame = synvid.render(synvid.sample_scene(preset), [0]).frames[0]
    assert any((frame == texture[0][16:48]).all() for texture in banks[name])


def test_rotated_crop_agrees_with_skimage_warp(banks):
    """A crop equals skimage's warp of the texture by the object's pose, up to rounding, away from the edge."""
    name = next(name for name in banks if name.endswith("large.bank"))
    smooth = np.add.outer(np.arange(64) * 2, np.arange(64) * 2).astype(np.uint8)[None, None, :, :, None].repeat(3, -1)
    path = write_bank(open_bank(name).path.with_name("smooth.bank"), np.ascontiguousarray(smooth))
    overrides = {"fill.textures": [path], "objects.count": 1, "fill.texture_size": 1.0, "objects.center_range": [0.5, 0.5]}
    preset = synvid.load_preset("accelerating_transforming_shapes", {**overrides, "objects.shapes": ["circle"]})
    scene = synvid.sample_scene(preset, index=4)
    for t in (0, 20):
        pose = scene.poses(t)[0]
        radius = scene.motion.radius[0] * 64 / max(256, 2 * scene.motion.radius[0])
        middle = radius + scene.textures.crop[0] * (64 - 2 * radius)
        to_texels = np.array([[radius, 0, middle[0] - 0.5], [0, radius, middle[1] - 0.5], [0, 0, 1]])
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # in skimage, pixel centres are integers
        matrix = to_texels @ np.linalg.inv(np.vstack([pose, [0, 0, 1]])) @ half
        theirs = warp(smooth[0, 0, :, :, 0].astype(float), AffineTransform(matrix), output_shape=(256, 256), mode="edge")
        inner = oracle.mask(pose * [[0.9, 0.9, 1]], None, 256, 256)
        assert inner.sum() > 1000
        assert np.abs(synvid.render(scene, [t]).frames[0, :, :, 0].astype(float) - theirs)[inner].max() < 1.1


def test_additive_tint_is_clipped_at_255(banks):
    """Adding a colour to a texture never makes a channel smaller, which an overflow would."""
    scene = textured_scene(banks, **{"fill.additive_tint": True})
    plain = dataclasses.replace(scene, textures=dataclasses.replace(scene.textures, additive_tint=False))
    assert (synvid.render(scene, [0]).frames >= synvid.render(plain, [0]).frames).all()


def test_antialiased_textures_keep_the_mean_colour(banks):
    """Antialiasing changes textured frames but not their mean colour."""
    scene = textured_scene(banks)
    smooth = synvid.render(dataclasses.replace(scene, antialias=True), [5]).frames[0].astype(int)
    fine = synvid.render(scene, [5]).frames[0].astype(int)
    assert np.abs(smooth.mean((0, 1)) - fine.mean((0, 1))).max() < 3
    assert (smooth != fine).any()


@pytest.mark.skipif(not texels.VECTOR, reason="no vector operations here")
def test_vector_sampler_equals_plain_sampler():
    """For any position, even far outside the texture, step, mask and tint, both samplers give the same sixteen pixels."""
    bank = RNG.integers(0, 256, 3 * 9 * 9 * 2 + 8, np.uint8)
    for _ in range(2000):
        u, v, ux, vx = (int(k) for k in RNG.integers(-(1 << 34), 1 << 34, 4) >> int(RNG.integers(0, 20)))
        mask, tint = int(RNG.integers(0, 1 << 16)), np.uint32(RNG.integers(0, 1 << 24))
        nearest = bool(RNG.integers(0, 2))
        vector, plain = np.zeros(32, np.uint32), np.zeros(32, np.uint32)
        last = ((9 if nearest else 8) << 16) - 1
        arguments = (3, mask, bank, 3 * 9 * 9, 27, last, last, u, v, ux, vx, tint, nearest)
        sample_sixteen(vector, *arguments)
        texels._sample_sixteen_plain(plain, *arguments)
        np.testing.assert_array_equal(vector, plain)


if texels.VECTOR:
    from synvid.numerics.jit import jit

    @jit
    def sample_sixteen(pixels, start, mask, bank, texture, stride, u_max, v_max, u, v, ux, vx, tint, nearest):
        """The intrinsic, callable from Python."""
        texels._sample_sixteen(pixels, start, mask, bank, texture, stride, u_max, v_max, u, v, ux, vx, tint, nearest)


HASHES = """
import hashlib, json, sys
import synvid
from synvid.raster.texels import VECTOR
hashes = []
for overrides in json.loads(sys.argv[1]):
    scene = synvid.sample_scene(synvid.load_preset("accelerating_transforming_shapes", overrides), 1, 2)
    hashes.append(hashlib.sha256(synvid.render(scene, [0, 60]).frames.data).hexdigest())
print(json.dumps([VECTOR, hashes]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"SYNVID_SIMD": "0"},
        *(pytest.param({"NUMBA_CPU_NAME": name}, marks=needs_x86) for name in ("nehalem", "haswell")),
    ],
    ids=str,
)
def test_textured_frames_on_other_cpu_targets(banks, environment):
    """Plain loops, SSE and AVX2 give the same pixels as the instructions of this machine."""
    names = [name for name in banks if not name.endswith("dot.bank")]
    cases = [
        {"fill.textures": names},
        {"fill.textures": names, "fill.sampling": "nearest", "fill.additive_tint": True},
        {"fill.textures": names, "video.background": "texture", "objects.count": 20, "video.width": 131},
    ]
    features = {"NUMBA_CPU_FEATURES": ""} if "NUMBA_CPU_NAME" in environment else {}
    command = [sys.executable, "-c", HASHES, json.dumps(cases)]
    results = [
        json.loads(subprocess.run(command, env={**os.environ, **changes}, capture_output=True, check=True).stdout)
        for changes in ({}, {**environment, **features})
    ]
    assert results[0][1] == results[1][1]
    assert results[1][0] == ("SYNVID_SIMD" not in environment)


def test_textured_scene_json_round_trip(banks):
    """A textured scene read from its JSON renders the same frames."""
    scene = textured_scene(banks)
    again = synvid.Scene.from_json(scene.to_json())
    np.testing.assert_array_equal(synvid.render(again, [9]).frames, synvid.render(scene, [9]).frames)


def test_only_visible_textures_change_a_frame(banks, tmp_path):
    """Changing all textures of a bank that no visible object shows does not change the frame."""
    name = next(name for name in banks if name.endswith("large.bank"))
    textures = np.repeat(banks[name], 40, 0)
    paths = [write_bank(tmp_path / f"{k}.bank", textures) for k in range(2)]
    scenes = [textured_scene(banks, **{"fill.textures": [path], "objects.count": 400}) for path in paths]
    seen = {int(scenes[0].textures.choice[i] * len(textures)) for i in oracle.visible_objects(scenes[0], 30)}
    assert 10 < len(seen) < len(textures)
    textures[[k for k in range(len(textures)) if k not in seen]] ^= 255
    write_bank(tmp_path / "1.bank", textures)
    np.testing.assert_array_equal(synvid.render(scenes[0], [30]).frames, synvid.render(scenes[1], [30]).frames)
