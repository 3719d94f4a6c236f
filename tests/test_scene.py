"""Scenes: sampled values follow the preset's distributions, and poses their closed form."""

import itertools
import math

import numpy as np
import pytest

import synvid
from synvid.preset import SHAPE_NAMES
from synvid.scene.kinematics import Kinematics, poses_at, step_powers
from synvid.scene.shapes import SHAPES

PAPER = ["static_circles", "moving_circles", "moving_shapes", "moving_transforming_shapes", "accelerating_transforming_shapes"]


def test_shape_names_match_registry():
    """The shape names that presets accept are those of the registry."""
    assert set(SHAPES) == set(SHAPE_NAMES)


@pytest.mark.parametrize("name", [name for name, sample in SHAPES.items() if sample])
def test_polygons_are_inscribed_in_the_unit_circle(name):
    """All vertices lie on the unit circle; squares and rectangles have right angles."""
    preset = synvid.load_preset("moving_shapes", {"objects.shapes": [name], "objects.count": 200})
    outlines = np.array(synvid.sample_scene(preset).outlines)
    np.testing.assert_allclose(np.linalg.norm(outlines, axis=2), 1, atol=1e-15)
    if name in ("square", "oriented_square", "rectangle"):
        edges = np.roll(outlines, -1, axis=1) - outlines
        np.testing.assert_allclose((edges * np.roll(edges, -1, axis=1)).sum(2), 0, atol=3e-15)
    if name == "square":
        np.testing.assert_allclose(abs(outlines), math.sqrt(0.5), atol=1e-15)


@pytest.mark.parametrize("name", synvid.list_presets())
def test_scene_json_round_trip(name, tiny):
    """A scene read from its JSON renders the same frames, bit for bit."""
    scene = synvid.sample_scene(synvid.load_preset(name, tiny), seed=2**64 - 1, index=0)
    again = synvid.Scene.from_json(scene.to_json())
    np.testing.assert_array_equal(synvid.render(again).frames, synvid.render(scene).frames)
    assert again.to_json() == scene.to_json()


def test_progression_keeps_unchanged_quantities():
    """Each preset of the progression keeps the quantities of clip i that it does not change."""
    scenes = [synvid.sample_scene(synvid.load_preset(name), 0, 5) for name in PAPER]
    for before, after in itertools.pairwise(scenes):
        assert before.num_frames == after.num_frames
        np.testing.assert_array_equal(before.colors, after.colors)
        for field in ("radius", "center", "direction"):
            np.testing.assert_array_equal(getattr(before.motion, field), getattr(after.motion, field))
    circles, moving, shapes, transforming, accelerating = scenes
    assert not circles.motion.speed.any()
    assert not circles.num_vertices.any()
    np.testing.assert_array_equal(moving.motion.speed, accelerating.motion.speed)
    assert set(shapes.num_vertices) == {0, 3, 4}
    assert not shapes.motion.rotation.any()
    assert transforming.motion.rotation.any()
    assert not transforming.motion.acceleration.any()
    assert accelerating.motion.acceleration.any()


def test_sampled_values_are_uniform_in_their_ranges():
    """Over many objects, each quantity of Table 8 is uniform in its range."""
    preset = synvid.load_preset("accelerating_transforming_shapes", {"objects.count": 20_000})
    motion = synvid.sample_scene(preset, 1, 1).motion
    turn = math.pi / 100
    expected = {
        "speed": (motion.speed, 1.2, 3.0),
        "acceleration": (motion.acceleration, -0.06, 0.06),
        "rotation": (motion.rotation, -turn, turn),
        "scale x": (motion.scale[:, 0], -0.005, 0.005),
        "scale y": (motion.scale[:, 1], -0.005, 0.005),
        "shear x": (motion.shear[:, 0], -0.005, 0.005),
        "shear y": (motion.shear[:, 1], -0.005, 0.005),
        "center x": (motion.center[:, 0], -128, 384),
        "center y": (motion.center[:, 1], -128, 384),
        "direction": (np.arctan2(motion.direction[:, 1], motion.direction[:, 0]), -math.pi, math.pi),
    }
    for name, (values, low, high) in expected.items():
        assert values.min() >= low, name
        assert values.max() <= high, name
        assert abs(values.mean() - (low + high) / 2) < 5 * (high - low) / math.sqrt(12 * values.size), name
        np.testing.assert_allclose(values.std(), (high - low) / math.sqrt(12), rtol=0.02, err_msg=name)


def test_radii_are_exponential():
    """Radii are 25.6 + Exp(17.92) px at 256 px, clipped at the frame size: quantiles agree with the closed form."""
    preset = synvid.load_preset("moving_circles", {"objects.count": 50_000})
    radius = synvid.sample_scene(preset, 0, 0).motion.radius
    levels = np.array([0.1, 0.5, 0.9, 0.99])
    np.testing.assert_allclose(np.quantile(radius, levels), 25.6 - 17.92 * np.log(1 - levels), rtol=0.03)
    assert radius.min() >= 25.6
    assert radius.max() <= 256


def test_clip_lengths_are_uniform():
    """Lengths are uniform from 100 to 200 frames, both included."""
    preset = synvid.load_preset("moving_circles", {"objects.count": 1})
    lengths = np.array([synvid.sample_scene(preset, 0, index).num_frames for index in range(4000)])
    assert set(lengths) == set(range(100, 201))
    assert abs(lengths.mean() - 150) < 4 * 29.2 / math.sqrt(4000)


def matrices(motion, i):
    """The rotation, scale and shear matrices of object i, as in the paper."""
    w, (sx, sy), (hx, hy) = motion.rotation[i], motion.scale[i], motion.shear[i]
    turn = np.array([[math.cos(w), -math.sin(w)], [math.sin(w), math.cos(w)]])
    return turn, np.diag([1 + sx, 1 + sy]), np.array([[1, hx], [hy, 1]])


def test_compound_poses_are_matrix_powers():
    """The linear part at frame t is radius (Shear Rot Scale)**t, and the centre has moved by v t + a t**2 / 2."""
    scene = synvid.sample_scene(synvid.load_preset("accelerating_transforming_shapes", {"objects.count": 20}), 1, 2)
    motion = scene.motion
    for t in (0, 1, 2, 15, 16, 17, 50, scene.num_frames - 1):
        poses = scene.poses(t)
        for i in range(scene.num_objects):
            turn, scale, shear = matrices(motion, i)
            expected = motion.radius[i] * np.linalg.matrix_power(shear @ turn @ scale, t)
            np.testing.assert_allclose(poses[i, :, :2], expected, rtol=1e-12, atol=1e-10)
            travel = motion.speed[i] * t + motion.acceleration[i] * t * t / 2
            np.testing.assert_allclose(poses[i, :, 2], motion.center[i] + travel * motion.direction[i], rtol=1e-12)


def test_linear_poses_follow_the_released_code():
    """Linear composition is Rot(w t) Scale(1 + s t) Shear(h t) about (-1/2, -1/2) radii, with integer centres."""
    scene = synvid.sample_scene(synvid.load_preset("reference/accelerating_transforming_shapes", {"objects.count": 40}), 1, 2)
    motion, t = scene.motion, 37
    poses = scene.poses(t)
    for i in range(scene.num_objects):
        w, s, h = motion.rotation[i] * t, motion.scale[i] * t, motion.shear[i] * t
        turn = np.array([[math.cos(w), -math.sin(w)], [math.sin(w), math.cos(w)]])
        linear = turn @ np.diag(1 + s) @ np.array([[1, h[0]], [h[1], 1]])
        travel = (motion.speed[i] + motion.acceleration[i] / 2 * t) * t
        center = np.floor(motion.center[i] + travel * motion.direction[i])
        pivot = motion.radius[i] * np.array([-0.5, -0.5])
        np.testing.assert_allclose(poses[i, :, :2], motion.radius[i] * linear, rtol=1e-12, atol=1e-10)
        np.testing.assert_allclose(poses[i, :, 2], center + pivot - linear @ pivot, rtol=1e-11, atol=1e-9)
    assert np.array_equal(motion.radius, np.floor(motion.radius))
    circle = scene.num_vertices == 0
    assert not motion.rotation[circle].any()
    assert motion.rotation[~circle].all()


def test_pose_worked_example():
    """A disc of radius 10 at (50, 60), speed 2 and acceleration 0.5 downwards, doubles in width each frame."""
    one = np.ones(1)
    motion = Kinematics(
        radius=10 * one,
        center=np.array([[50.0, 60.0]]),
        direction=np.array([[0.0, 1.0]]),
        speed=2 * one,
        acceleration=0.5 * one,
        rotation=0 * one,
        scale=np.array([[1.0, 0.0]]),
        shear=np.zeros((1, 2)),
        pivot=np.zeros(2),
        compound=True,
        integer_positions=False,
    )
    poses = np.empty((1, 2, 3))
    poses_at(motion, step_powers(motion, 5), 4, poses)
    assert poses[0].tolist() == [[160.0, 0.0, 50.0], [0.0, 10.0, 60.0 + 2 * 4 + 0.5 * 16 / 2]]


def test_frames_are_independent_of_order_and_selection():
    """Frames rendered in any order, alone or together, equal those of the whole clip."""
    scene = synvid.sample_scene(synvid.load_preset("accelerating_transforming_shapes"), 0, 9)
    whole = synvid.render(scene).frames
    order = [scene.num_frames - 1, 0, 17, 3, 16, 15, 17]
    np.testing.assert_array_equal(synvid.render(scene, order).frames, whole[order])
    np.testing.assert_array_equal(synvid.render(scene, [31]).frames[0], whole[31])
    assert synvid.render(scene, []).frames.shape == (0, 256, 256, 3)


def test_generate_yields_consecutive_clips(tiny):
    """`generate` yields clips start, start + 1, ..., equal to those of `render`."""
    preset = synvid.load_preset("moving_shapes", tiny)
    clips = list(synvid.generate(preset, 3, seed=4, start=10))
    assert [clip.scene.index for clip in clips] == [10, 11, 12]
    for clip in clips:
        again = synvid.render(synvid.sample_scene(preset, 4, clip.scene.index))
        np.testing.assert_array_equal(clip.frames, again.frames)
        assert clip.frames.dtype == np.uint8
        assert clip.fps == 25.0


def test_static_circles_do_not_move():
    """All frames of static circles are equal."""
    clip = synvid.render(synvid.sample_scene(synvid.load_preset("static_circles"), 0, 1), frames=[0, 50, 99])
    assert (clip.frames == clip.frames[:1]).all()
