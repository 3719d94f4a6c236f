"""Exact motion of scenes and differences of frames, checked by hand and against a pixel-by-pixel computation."""

import dataclasses
import math

import numpy as np
import oracle
import pytest

import synvid
from synvid.metrics import motion
from synvid.scene.kinematics import Kinematics
from synvid.scene.scene import Scene


def squares(*rows, height=16, width=32, num_frames=8):
    """Return a scene of axis-aligned squares, back to front: (x, y, half side, speed to the right, acceleration)."""
    n = len(rows)
    x, y, half, speed, acceleration = np.array(rows, np.float64).reshape(n, 5).T
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)
    kinematics = Kinematics(
        radius=half,
        center=np.stack([x, y], axis=1),
        direction=np.tile([1.0, 0.0], (n, 1)),
        speed=speed,
        acceleration=acceleration,
        rotation=np.zeros(n),
        scale=np.zeros((n, 2)),
        shear=np.zeros((n, 2)),
        pivot=np.zeros(2),
        compound=True,
        integer_positions=False,
    )
    vertices, numbers = np.tile(corners, (n, 1, 1)), np.full(n, 4)
    return Scene(
        num_frames, height, width, 25.0, 0, 0, (0, 0, 0), False, np.zeros((n, 3), np.uint8), vertices, numbers, kinematics
    )


def test_motion_stats_of_two_squares_match_hand_computation():
    """A square of 8 x 8 pixels moves one pixel to the right behind a nearer square that does not move."""
    stats = motion.motion_stats(squares((8, 8, 4, 1, 0), (16, 8, 4, 0, 0)), 0)
    assert sorted(stats.speed) == pytest.approx([0.0, 1.0])
    assert stats.acceleration == pytest.approx([0.0, 0.0])
    assert stats.flow == pytest.approx(64 / 512)  # 64 pixels move by one, of 16 x 32
    assert stats.background == pytest.approx(1 - 128 / 512)
    assert stats.occluded == pytest.approx(8 / 128)  # its right column moves behind the nearer square
    assert stats.out_of_frame == 0.0


def test_only_nearer_objects_occlude():
    """A moving square that is nearer occludes a column of the other square, or nothing if it moves away."""
    assert motion.motion_stats(squares((16, 8, 4, 0, 0), (8, 8, 4, 1, 0)), 0).occluded == pytest.approx(8 / 128)
    assert motion.motion_stats(squares((16, 8, 4, 0, 0), (8, 8, 4, -1, 0)), 0).occluded == 0.0


def test_pixels_out_of_frame_are_not_occluded():
    """A square that moves over the right edge has one column out of the frame and none occluded."""
    stats = motion.motion_stats(squares((28, 8, 4, 1, 0)), 0)
    assert (stats.out_of_frame, stats.occluded) == (pytest.approx(8 / 64), 0.0)


def test_speed_and_acceleration_match_closed_form():
    """An origin at v t + a t**2 / 2 moves by v + a (t + 1/2) per frame, which changes by a, also in the last frames."""
    scene = squares((16, 8, 4, 1.0, 0.25), num_frames=6)
    for t in range(5):
        stats = motion.motion_stats(scene, t)
        assert stats.speed == pytest.approx([1.0 + 0.25 * (t + 0.5)])
        assert stats.acceleration == pytest.approx([0.25])


def test_two_frames_give_no_acceleration():
    """A clip of two frames has speeds but no accelerations."""
    assert len(motion.motion_stats(squares((16, 8, 4, 1, 0), num_frames=2), 0).acceleration) == 0


def test_objects_without_visible_pixels_are_ignored():
    """An object outside the frame and a fully covered one have no speed."""
    assert len(motion.motion_stats(squares((8, 8, 2, 3, 0), (-50, 8, 4, 1, 0), (8, 8, 6, 2, 0)), 0).speed) == 1


@pytest.mark.parametrize("name", ["moving_shapes", "accelerating_transforming_textures", "reference/moving_shapes"])
def test_object_ids_match_plain_rasterizer(name, tiny):
    """A frame coloured by object ids equals that of the plain rasterizer, also for textured presets."""
    scene = synvid.sample_scene(synvid.load_preset(name, {**tiny, "video.background": [1, 2, 3]}), 3, 1)
    scene = dataclasses.replace(scene, textures=None)
    ids = motion.object_ids(scene, 2)
    colors = np.vstack([scene.colors, [scene.background]]).astype(np.uint8)
    np.testing.assert_array_equal(colors[ids], oracle.render(scene, 2))


def covers(scene, t, i, x, y):
    """Return whether object i covers a point, by the winding number of the outline."""
    pose = scene.poses(t)[i]
    u, v = np.linalg.solve(pose[:, :2], [x - pose[0, 2], y - pose[1, 2]])
    outline = scene.outlines[i]
    if outline is None:
        return math.hypot(u, v) < 1
    relative = outline - [u, v]
    after = np.roll(relative, -1, axis=0)
    angles = np.arctan2(relative[:, 0] * after[:, 1] - relative[:, 1] * after[:, 0], (relative * after).sum(axis=1))
    return abs(angles.sum()) > math.pi


@pytest.mark.parametrize("index", range(3))
def test_motion_stats_match_pixel_by_pixel_computation(index, tiny):
    """Occlusion and flow equal those found by moving each pixel with its object and testing it against each nearer object."""
    preset = synvid.load_preset("accelerating_transforming_shapes", {**tiny, "motion.speed_range": [1, 4]})
    scene = synvid.sample_scene(preset, 7, index)
    ids, before, after = motion.object_ids(scene, 1), scene.poses(1), scene.poses(2)
    occluded, out_of_frame, lengths = 0, 0, []
    for row, column in np.argwhere(ids >= 0):
        i, point = ids[row, column], np.array([column + 0.5, row + 0.5])
        outline = np.linalg.solve(before[i][:, :2], point - before[i][:, 2])
        x, y = after[i][:, :2] @ outline + after[i][:, 2]
        lengths.append(math.hypot(x - point[0], y - point[1]))
        outside = not (0 <= x < scene.width and 0 <= y < scene.height)
        out_of_frame += outside
        occluded += not outside and any(covers(scene, 2, j, x, y) for j in range(i + 1, scene.num_objects))
    stats = motion.motion_stats(scene, 1)
    assert stats.occluded == pytest.approx(occluded / len(lengths))
    assert stats.out_of_frame == pytest.approx(out_of_frame / len(lengths))
    assert stats.flow == pytest.approx(sum(lengths) / ids.size)
    assert len(stats.speed) == len(set(ids[ids >= 0].tolist()))


def test_frame_difference_and_black_fraction_match_hand_computation():
    """A quarter of the pixels brightens by 40 grey levels; all others stay black."""
    frame, following = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    following[:2, :2] = 40
    assert motion.frame_difference(frame, following) == pytest.approx((10.0, 0.25))
    assert (motion.black_fraction(frame), motion.black_fraction(following)) == (1.0, 0.75)
