"""Scenes: what a preset promises is what is drawn, and poses follow their closed form."""

import itertools
import math

import numpy as np
import pytest

import synvid
from synvid.preset import SHAPE_NAMES
from synvid.scene.kinematics import Kinematics, poses_at, step_powers
from synvid.scene.shapes import SHAPES

PAPER = ["static_circles", "moving_circles", "moving_shapes", "moving_transforming_shapes", "accelerating_transforming_shapes"]


def test_every_shape_has_an_outline():
    """The names that presets may use are those of the registry."""
    assert set(SHAPES) == set(SHAPE_NAMES)


@pytest.mark.parametrize("name", [name for name, draw in SHAPES.items() if draw])
def test_outlines_are_inscribed_in_the_unit_circle(name):
    """Every vertex of every shape lies on the unit circle, and squares and rectangles have right angles."""
    preset = synvid.load_preset("moving_shapes", {"objects.shapes": [name], "objects.count": 200})
    outlines = np.array(synvid.sample_scene(preset).outlines)
    np.testing.assert_allclose(np.linalg.norm(outlines, axis=2), 1, atol=1e-15)
    if name in ("square", "oriented_square", "rectangle"):
        edges = np.roll(outlines, -1, axis=1) - outlines
        np.testing.assert_allclose((edges * np.roll(edges, -1, axis=1)).sum(2), 0, atol=3e-15)
    if name == "square":
        np.testing.assert_allclose(abs(outlines), math.sqrt(0.5), atol=1e-15)


@pytest.mark.parametrize("name", synvid.list_presets())
def test_a_scene_survives_json(name, tiny):
    """A scene read back from JSON renders the same frames, bit for bit."""
    scene = synvid.sample_scene(synvid.load_preset(name, tiny), seed=2**64 - 1, index=0)
    again = synvid.Scene.from_json(scene.to_json())
    np.testing.assert_array_equal(synvid.render(again).frames, synvid.render(scene).frames)
    assert again.to_json() == scene.to_json()


def test_the_progression_adds_one_thing_at_a_time():
    """Clip i of each preset keeps of clip i of the one before what that preset does not change."""
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


def test_values_lie_in_their_ranges_and_fill_them():
    """Over many objects every quantity of Table 8 fills its range evenly and never leaves it."""
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


def test_radii_follow_the_exponential_law():
    """Radii are 25.6 + Exp(17.92) px at 256 px, capped at the frame: quantiles agree with the closed form."""
    preset = synvid.load_preset("moving_circles", {"objects.count": 50_000})
    radius = synvid.sample_scene(preset, 0, 0).motion.radius
    shares = np.array([0.1, 0.5, 0.9, 0.99])
    np.testing.assert_allclose(np.quantile(radius, shares), 25.6 - 17.92 * np.log(1 - shares), rtol=0.03)
    assert radius.min() >= 25.6
    assert radius.max() <= 256


def test_clip_lengths_fill_their_range():
    """Lengths are 100 to 200 frames, both included, each equally likely."""
    preset = synvid.load_preset("moving_circles", {"objects.count": 1})
    lengths = np.array([synvid.sample_scene(preset, 0, index).num_frames for index in range(4000)])
    assert set(lengths) == set(range(100, 201))
    assert abs(lengths.mean() - 150) < 4 * 29.2 / math.sqrt(4000)


def matrices(motion, i):
    """Rotation, scale and shear of object i, as the paper has them."""
    w, (sx, sy), (hx, hy) = motion.rotation[i], motion.scale[i], motion.shear[i]
    turn = np.array([[math.cos(w), -math.sin(w)], [math.sin(w), math.cos(w)]])
    return turn, np.diag([1 + sx, 1 + sy]), np.array([[1, hx], [hy, 1]])


def test_compound_poses_are_powers_of_one_step():
    """At frame t the linear part is (Shear Rot Scale)**t times the radius, and the centre has moved by v t + a t**2 / 2."""
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


def test_linear_poses_grow_with_time_about_their_pivot():
    """The released code's form: Rot(w t) Scale(1 + s t) Shear(h t) about (-1/2, -1/2) radii, at whole pixels."""
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


def test_a_pose_worked_by_hand():
    """A disc of radius 10 at (50, 60) with speed 2, acceleration 0.5 down, doubling in width each frame."""
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


def test_frames_do_not_depend_on_order_or_company():
    """Any subset of frames, in any order, one at a time or together, has the pixels it has in the whole clip."""
    scene = synvid.sample_scene(synvid.load_preset("accelerating_transforming_shapes"), 0, 9)
    whole = synvid.render(scene).frames
    order = [scene.num_frames - 1, 0, 17, 3, 16, 15, 17]
    np.testing.assert_array_equal(synvid.render(scene, order).frames, whole[order])
    np.testing.assert_array_equal(synvid.render(scene, [31]).frames[0], whole[31])
    assert synvid.render(scene, []).frames.shape == (0, 256, 256, 3)


def test_generate_gives_consecutive_clips(tiny):
    """`generate` yields clips start, start + 1, ... as `render` would."""
    preset = synvid.load_preset("moving_shapes", tiny)
    clips = list(synvid.generate(preset, 3, seed=4, start=10))
    assert [clip.scene.index for clip in clips] == [10, 11, 12]
    for clip in clips:
        again = synvid.render(synvid.sample_scene(preset, 4, clip.scene.index))
        np.testing.assert_array_equal(clip.frames, again.frames)
        assert clip.frames.dtype == np.uint8
        assert clip.fps == 25.0


def test_static_clips_do_not_change():
    """Static circles: every frame is the first."""
    clip = synvid.render(synvid.sample_scene(synvid.load_preset("static_circles"), 0, 1), frames=[0, 50, 99])
    assert (clip.frames == clip.frames[:1]).all()
