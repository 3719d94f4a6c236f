"""The rasterizer equals a simple one bit for bit, and agrees with those of skimage and Pillow."""

import dataclasses

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from skimage import draw, morphology

import synvid
from synvid.scene.kinematics import Kinematics

UNIT_COORDINATE = st.floats(-2, 2, allow_subnormal=False)
#: Coordinates with many edge cases: integers, pixel centres, and any others.
COORDINATE = st.one_of(st.floats(-80, 160), st.integers(-80, 160).map(float), st.integers(-80, 160).map(lambda i: i + 0.5))


@st.composite
def outlines(draw_value):
    """Circles, triangles, convex, concave and self-crossing quadrilaterals, slivers, polygons of up to seven vertices."""
    count = draw_value(st.sampled_from([0, 0, 3, 3, 4, 4, 4, 5, 7]))
    points = [draw_value(st.tuples(UNIT_COORDINATE, UNIT_COORDINATE)) for _ in range(count)]
    if count and draw_value(st.booleans()):  # a sliver: all points near one line
        points = [(u, 0.3 * u + 1e-9 * v) for u, v in points]
    return points


@st.composite
def scenes(draw_value):
    """Scenes of any size with objects of any shape, some of them degenerate."""
    count = draw_value(st.integers(1, 12))
    shapes = [draw_value(outlines()) for _ in range(count)]
    vertices = np.zeros((count, 7, 2))
    for row, points in zip(vertices, shapes, strict=True):
        row[: len(points)] = np.reshape(points, (-1, 2))

    def column(low, high, *columns):
        values = st.one_of(st.just(0.0), st.floats(low, high))
        size = int(np.prod(columns, initial=1)) * count
        return np.array(draw_value(st.lists(values, min_size=size, max_size=size))).reshape(count, *columns)

    angle = column(-3.2, 3.2)
    motion = Kinematics(
        radius=np.array(draw_value(st.lists(st.floats(0, 90), min_size=count, max_size=count))),
        center=np.array([draw_value(st.tuples(COORDINATE, COORDINATE)) for _ in range(count)]),
        direction=np.stack([np.cos(angle), np.sin(angle)], 1),
        speed=column(-3, 3),
        acceleration=column(-0.1, 0.1),
        rotation=column(-0.3, 0.3),
        scale=column(-0.2, 0.05, 2),
        shear=column(-0.5, 0.5, 2),
        pivot=np.array(draw_value(st.tuples(st.floats(-1, 1), st.floats(-1, 1)))),
        compound=draw_value(st.booleans()),
        integer_positions=draw_value(st.booleans()),
    )
    return synvid.Scene(
        num_frames=64,
        height=draw_value(st.integers(16, 90)),
        width=draw_value(st.integers(16, 150)),
        fps=25.0,
        seed=0,
        index=0,
        background=(9, 8, 7),
        antialias=draw_value(st.integers(0, 5)) == 0,
        colors=np.array([draw_value(st.tuples(*[st.integers(0, 255)] * 3)) for _ in range(count)], np.uint8),
        vertices=vertices,
        num_vertices=np.array([len(points) for points in shapes]),
        motion=motion,
    )


@settings(max_examples=250, deadline=None, derandomize=True)
@given(scenes(), st.integers(0, 63))
def test_random_scene_equals_oracle(scene, t):
    """A frame of any scene equals the oracle's bit for bit, whatever the size, shapes and motion."""
    np.testing.assert_array_equal(synvid.render(scene, [t]).frames[0], oracle.render(scene, t))


@pytest.mark.parametrize("count", [1, 24, 25, 200, 1000, 5000])
@pytest.mark.parametrize("name", ["accelerating_transforming_shapes", "reference/accelerating_transforming_shapes"])
def test_preset_with_any_count_equals_oracle(name, count):
    """Frames of 1 to 5,000 objects, which leave the canvas partly empty or fill it, equal the oracle's."""
    overrides = {"objects.count": count, "video.width": 97, "video.height": 65, "objects.radius_range": [0.02, 1.0]}
    scene = synvid.sample_scene(synvid.load_preset(name, overrides), seed=3, index=count)
    last = scene.num_frames - 1
    clip = synvid.render(scene, [0, last])
    np.testing.assert_array_equal(clip.frames[0], oracle.render(scene, 0))
    np.testing.assert_array_equal(clip.frames[1], oracle.render(scene, last))


@pytest.mark.parametrize("size", [(16, 16), (17, 63), (64, 64), (65, 128), (255, 257), (16, 2048), (2048, 16), (240, 320)])
@pytest.mark.parametrize("antialias", [False, True])
def test_any_frame_size_equals_oracle(size, antialias):
    """Frames equal the oracle's for widths and heights at, below and above multiples of 8 and 64."""
    height, width = size
    overrides = {"video.height": height, "video.width": width, "objects.count": 30, "video.antialias": antialias}
    scene = synvid.sample_scene(synvid.load_preset("moving_transforming_shapes", overrides), seed=1, index=height)
    np.testing.assert_array_equal(synvid.render(scene, [50]).frames[0], oracle.render(scene, 50))


def single_object_scene(vertices, pose, height=64, width=64):
    """A scene with one white object whose pose at frame 0 is `pose`, up to rounding."""
    scene = synvid.sample_scene(
        synvid.load_preset("moving_shapes", {"objects.count": 1, "video.width": width, "video.height": height})
    )
    points = np.zeros((1, max(len(vertices), 1), 2))
    matrix, shift = np.array(pose, float)[:, :2], np.array(pose, float)[:, 2]
    if len(vertices):
        points[0, : len(vertices)] = np.array(vertices) @ matrix.T
    motion = scene.motion._replace(radius=np.ones(1), center=shift[None])
    return dataclasses.replace(
        scene, vertices=points, num_vertices=np.array([len(vertices)]), motion=motion, colors=np.full((1, 3), 255, np.uint8)
    )


def painted_pixels(scene):
    """The pixels of frame 0 that are not background, bool (H, W)."""
    return synvid.render(scene, [0]).frames[0].any(2)


def test_square_worked_example():
    """A square from (2, 3) to (5, 7) covers pixels 2..4 by 3..6, and the same ones after a shift by half a pixel."""
    square = [(0, 0), (1, 0), (1, 1), (0, 1)]
    expected = np.zeros((64, 64), bool)
    expected[3:7, 2:5] = True
    np.testing.assert_array_equal(painted_pixels(single_object_scene(square, [[3, 0, 2], [0, 4, 3]])), expected)
    np.testing.assert_array_equal(painted_pixels(single_object_scene(square, [[3, 0, 2.5], [0, 4, 3.5]])), expected)


def test_polygons_with_a_shared_edge_neither_overlap_nor_leave_a_gap():
    """Two triangles that make up a quadrilateral cover each of its pixels exactly once."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b, c, d = rng.uniform(-30, 30, (4, 2))
        pose = [[1, 0, 32], [0, 1, 32]]
        first, second = (
            painted_pixels(single_object_scene([a, b, c], pose)),
            painted_pixels(single_object_scene([a, c, d], pose)),
        )
        whole = painted_pixels(single_object_scene([a, b, c, d], pose))
        np.testing.assert_array_equal(first ^ second, whole)


@pytest.mark.parametrize(
    "pose",
    [
        [[0, 0, 32], [0, 0, 32]],
        [[20, 0, 32], [0, 0, 32]],
        [[0, 0, 32], [0, 20, 32]],
        [[10, 10, 32], [10, 10, 32]],
        [[20, 0, 1e12], [0, 20, 32]],
        [[np.inf, 0, 32], [0, 20, 32]],
        [[np.nan, 0, 32], [0, 20, 32]],
        [[20, 0, -500], [0, 20, 32]],
        [[20, 0, 32], [0, 20, 500]],
    ],
)
@pytest.mark.parametrize("vertices", [[], [(1, 0), (-0.5, 0.8), (-0.5, -0.8)]], ids=["circle", "triangle"])
def test_object_without_area_or_outside_paints_nothing(pose, vertices):
    """Objects with zero area, infinite or NaN poses, or outside the frame paint no pixel."""
    scene = single_object_scene(vertices, [[1, 0, 0], [0, 1, 0]])
    frame = np.empty((1, 2, 3))
    frame[0] = pose
    pixels = paint_poses(scene, frame)
    assert not pixels.any()


def paint_poses(scene, poses):
    """Paint a scene's object with given poses by the kernel."""
    from synvid.raster.visibility import new_canvas, paint

    canvas = new_canvas(64, 64, scene.vertices.shape[1])
    pixels = np.zeros(64 * 64, np.uint32)
    outlines = (scene.vertices, scene.num_vertices, np.array([1.0]))
    paint(poses, outlines, np.array([1], np.uint32), np.uint32(0), canvas, pixels)
    return pixels.reshape(64, 64)


def boundary(mask):
    """The pixels within one pixel of a mask's edge."""
    padded = np.pad(mask, 2)
    wide, narrow = morphology.dilation(padded, np.ones((3, 3))), morphology.erosion(padded, np.ones((3, 3)))
    return (wide & ~narrow)[2:-2, 2:-2]


def test_polygons_agree_with_skimage_and_pillow():
    """Triangles and quadrilaterals agree with those of skimage and Pillow, up to pixels at their edges."""
    rng = np.random.default_rng(1)
    for _ in range(60):
        points = rng.uniform(5, 59, (int(rng.integers(3, 5)), 2))
        ours = painted_pixels(single_object_scene(points, [[1, 0, 0], [0, 1, 0]]))
        theirs = draw.polygon2mask((64, 64), points[:, ::-1] - 0.5)
        assert not ((ours ^ theirs) & ~boundary(ours) & ~boundary(theirs)).any()
        assert (ours ^ theirs).sum() <= 0.05 * theirs.sum() + 12
        image = Image.new("1", (64, 64))
        ImageDraw.Draw(image).polygon([tuple(point) for point in (points - 0.5).tolist()], fill=1)
        theirs = np.array(image)
        assert not ((ours ^ theirs) & ~boundary(ours) & ~boundary(theirs)).any()


def test_ellipses_agree_with_skimage():
    """Rotated ellipses agree with skimage.draw.ellipse, up to pixels at their edges."""
    rng = np.random.default_rng(2)
    for _ in range(60):
        across, along, angle = *rng.uniform(3, 28, 2), rng.uniform(-np.pi, np.pi)
        cosine, sine = np.cos(angle), np.sin(angle)
        pose = [[across * cosine, -along * sine, 32], [across * sine, along * cosine, 32]]
        scene = single_object_scene([], [[1, 0, 0], [0, 1, 0]])
        ours = paint_poses(scene, np.array([pose])) > 0
        theirs = np.zeros((64, 64), bool)
        theirs[draw.ellipse(31.5, 31.5, along, across, (64, 64), rotation=-angle)] = True
        assert not ((ours ^ theirs) & ~boundary(theirs)).any()
        assert abs(ours.sum() - np.pi * across * along) < 0.02 * theirs.sum() + 8


def test_antialiased_edge_worked_example():
    """A vertical edge at 30 % of a pixel gives it 1/4 of the colour: one of four samples is left of the edge."""
    scene = single_object_scene([(0, 0), (1, 0), (1, 1), (0, 1)], [[10.3, 0, 10], [0, 10, 10]])
    smooth = dataclasses.replace(scene, antialias=True)
    row = synvid.render(smooth, [0]).frames[0, 15, :, 0]
    assert row[10:22].tolist() == [255] * 10 + [64, 0]
