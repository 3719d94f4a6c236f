"""The reference presets agree with the authors' released generator.

The expected values were measured by running its `dead_leaves` (Unicorn53547/Synthetic-Video-Representations, commit
916ce9c) at 256 px with 500 objects on 60 clips per dataset: mean and standard error.
"""

import dataclasses
import math

import numpy as np
import pytest

import synvid
from synvid.textures.bank import BankHeader

CLIPS = 60
TIMES = (0, 100, 150, 198)

#: Fraction of black pixels at frames 0, 100, 150 and 199, with its standard error.
BLACK = {
    "moving_circles": [(0.000, 0.000), (0.002, 0.001), (0.006, 0.002), (0.059, 0.009)],
    "moving_shapes": [(0.036, 0.004), (0.048, 0.005), (0.095, 0.009), (0.181, 0.014)],
    "moving_transforming_shapes": [(0.036, 0.004), (0.043, 0.005), (0.079, 0.008), (0.221, 0.018)],
    "accelerating_transforming_shapes": [(0.036, 0.004), (0.031, 0.004), (0.092, 0.008), (0.252, 0.018)],
}
#: 5th, 50th and 95th percentile of the number of distinct colours in a frame, background included.
COLOURS = {
    "moving_circles": (17, 31, 46),
    "moving_shapes": (21, 44, 66),
    "moving_transforming_shapes": (23, 46, 67),
    "accelerating_transforming_shapes": (25, 42, 67),
}
#: OpenCV paints all pixels that an outline touches, we only those whose centre is inside: our frames are slightly blacker.
EDGE = 0.012


@pytest.fixture(scope="module")
def frames():
    """Frames at four times of 60 clips of each dataset."""
    frames = {}
    for name in BLACK:
        preset = synvid.load_preset(f"reference/{name}", {"video.num_frames_range": [199, 199]})
        clips = [synvid.render(synvid.sample_scene(preset, 11, index), TIMES).frames for index in range(CLIPS)]
        frames[name] = np.stack(clips)
    return frames


@pytest.mark.parametrize("name", BLACK)
def test_black_fraction_over_time(frames, name):
    """The fraction of black pixels equals that of the released code, from the first frame to the last."""
    black = (frames[name] == 0).all(-1).mean((2, 3))
    for values, (mean, error) in zip(black.T, BLACK[name], strict=True):
        spread = math.hypot(error, values.std() / math.sqrt(CLIPS))
        assert abs(values.mean() - mean) < 3.5 * spread + EDGE


@pytest.mark.parametrize("name", COLOURS)
def test_number_of_visible_objects(frames, name):
    """The number of distinct colours in a frame has the distribution of the released code: about 20 to 70."""
    codes = frames[name].reshape(CLIPS * len(TIMES), -1, 3).astype(int) @ [1, 256, 65536]
    counts = [len(np.unique(code)) for code in codes]
    np.testing.assert_allclose(np.quantile(counts, [0.05, 0.5, 0.95]), COLOURS[name], atol=5)


def test_radius_distribution():
    """Radii at 256 px: min 25, median 34, mean 43-44, 90 % below 71, 99 % below 152, max near 250."""
    preset = synvid.load_preset("reference/moving_shapes")
    radii = np.concatenate([synvid.sample_scene(preset, 0, index).motion.radius for index in range(100)])
    assert radii.min() == 25
    assert np.median(radii) == 34
    assert 42.5 < radii.mean() < 44.5
    assert abs(np.quantile(radii, 0.9) - 71) <= 1
    assert abs(np.quantile(radii, 0.99) - 152) <= 3
    assert 235 <= radii.max() <= 256


def test_three_quarters_of_the_objects_start_outside():
    """Three quarters of the centres are to the right of the frame or below it."""
    preset = synvid.load_preset("reference/moving_circles")
    centers = np.concatenate([synvid.sample_scene(preset, 0, index).motion.center for index in range(50)])
    assert centers.min() >= 0
    assert centers.max() < 512
    assert abs((centers >= 256).any(1).mean() - 0.75) < 4 * math.sqrt(0.75 * 0.25 / len(centers))


def test_accelerating_objects_reverse():
    """About 41 % of the objects with acceleration have reversed by frame 200."""
    preset = synvid.load_preset("reference/accelerating_transforming_shapes")
    motion = [synvid.sample_scene(preset, 0, index).motion for index in range(20)]
    has_reversed = np.concatenate([part.speed + part.acceleration * 200 < 0 for part in motion])
    assert abs(has_reversed.mean() - 0.41) < 0.04


def test_exponential_radii_match_released_code_statistics():
    """The exponential distribution has the minimum, mean and 90th percentile of the released code's radii."""
    radii = {}
    for name in ("moving_circles", "reference/moving_circles"):
        preset = synvid.load_preset(name)
        radii[name] = np.concatenate([synvid.sample_scene(preset, 0, index).motion.radius for index in range(50)])
    ours, theirs = radii.values()
    for statistic in (np.min, np.mean, lambda values: np.quantile(values, 0.9)):
        np.testing.assert_allclose(statistic(ours), statistic(theirs), rtol=0.06)


TEXTURED = {
    "accelerating_transforming_textures": "accelerating_transforming_shapes",
    "accelerating_transforming_stylegan_crops": "accelerating_transforming_shapes",
    "accelerating_transforming_image_crops": "accelerating_transforming_shapes",
    "slow_accelerating_transforming_textures": "slow_accelerating_transforming_shapes",
}


def test_textured_reference_presets_are_listed():
    """The table above lists every reference preset with textures."""
    names = [name.removeprefix("reference/") for name in synvid.list_presets() if name.startswith("reference/")]
    assert {name for name in names if synvid.load_preset(f"reference/{name}").fill.textures} == TEXTURED.keys()


@pytest.mark.parametrize(("name", "solid_name"), TEXTURED.items())
def test_textured_preset_has_the_geometry_of_the_solid_one(name, solid_name):
    """A textured preset and its solid counterpart differ only in `fill`, so the statistics above hold for both."""
    textured, solid = synvid.load_preset(f"reference/{name}"), synvid.load_preset(f"reference/{solid_name}")
    assert dataclasses.replace(textured, name=solid.name, description=solid.description, fill=solid.fill) == solid
    for index in range(5):
        scene = synvid.sample_scene(textured, 11, index)
        assert dataclasses.replace(scene, textures=None).to_json() == synvid.sample_scene(solid, 11, index).to_json()
        assert (scene.textures.choice[:-1] >= 0).all()  # every object has a texture
        assert scene.textures.choice[-1] == -1  # the background has none


def test_textured_object_covers_the_pixels_of_the_solid_one(tmp_path):
    """With white textures, a textured clip equals its solid counterpart with white objects."""
    path = tmp_path / "white.bank"
    header = BankHeader("statistical", 1, 0, 1, 1, 16)
    hashes = bytes(32 * header.num_chunks)
    path.write_bytes(header.with_digest(hashes).to_bytes() + b"\xff" * header.texture_bytes + hashes)
    preset = synvid.load_preset("reference/accelerating_transforming_textures", {"fill.textures": [str(path)]})
    scene = synvid.sample_scene(preset, 11, 0)
    solid = dataclasses.replace(scene, textures=None, colors=np.full_like(scene.colors, 255))
    np.testing.assert_array_equal(synvid.render(scene).frames, synvid.render(solid).frames)
