"""Colours and codecs: what is decoded, by two libraries, is what was rendered."""

import io

import av
import imageio_ffmpeg
import numpy as np
import pytest

import synvid
from synvid.video.decode import decode
from synvid.video.encode import ENCODERS, ENCODINGS, encode, make_encoder

# imageio-ffmpeg leaves the pipes of its process to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*unclosed file", "ignore::pytest.PytestUnraisableExceptionWarning")

SIDE = 32
COLORS = """
    0 0 0   255 255 255   128 128 128   255 0 0   0 255 0   0 0 255   255 255 0   0 255 255
    255 0 255   40 80 160   200 30 90   10 240 120   90 60 30   250 180 20   17 17 17   235 235 235
"""
PALETTE = np.array(COLORS.split(), np.uint8).reshape(16, 3)
#: Largest difference of a channel inside a flat patch: rounding of YUV to 8 bits, and crf 20.
BOUND = {"fast": 6, "small": 7, "yuv444": 6, "lossless": 0}


def patches(frames=3):
    """Flat patches of 16 colours, uint8 (T, 128, 128, 3)."""
    board = PALETTE.reshape(4, 4, 3).repeat(SIDE, 0).repeat(SIDE, 1)
    return np.broadcast_to(board, (frames, *board.shape)).copy()


def inner(frames):
    """The patches without their borders, (T, 4, 4, 16, 16, 3)."""
    cells = frames.reshape(len(frames), 4, SIDE, 4, SIDE, 3).transpose(0, 1, 3, 2, 4, 5)
    return cells[:, :, :, 8:-8, 8:-8].astype(int)


def with_ffmpeg(data, path):
    """All frames of a video, decoded by the ffmpeg program."""
    path.write_bytes(data)
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    return np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_colours_come_back_right(encoder, encoding, tmp_path):
    """Both encoders and two independent decoders give every colour back, within a few levels, or exactly."""
    frames = patches()
    data = make_encoder(encoder, encoding)([frames], 128, 128, 25.0)
    for decoded in (decode(io.BytesIO(data)), with_ffmpeg(data, tmp_path / "clip.mp4")):
        assert decoded.shape == frames.shape
        assert abs(inner(decoded) - inner(frames)).max() <= BOUND[encoding]
        assert abs((inner(decoded) - inner(frames)).mean((0, 3, 4))).mean() <= 2


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("encoding", ["fast", "small", "yuv444"])
def test_streams_say_how_they_were_converted(encoder, encoding):
    """The stream is tagged BT.601 (SMPTE 170M), limited range."""
    data = make_encoder(encoder, encoding)([patches()], 128, 128, 25.0)
    with av.open(io.BytesIO(data)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range) == (6, 6, 6, 1)


def test_conversion_agrees_with_swscale():
    """Our planes are FFmpeg's to within two levels on smooth content."""
    y, x = np.mgrid[:64, :96]
    frame = np.stack([x * 2.5, y * 3.5, 255 - x - y], -1).clip(0, 255).astype(np.uint8)
    for pixel_format in ("yuv420p", "yuv444p"):
        from synvid.video.encode import _planes

        ours = _planes(frame, pixel_format).astype(int)
        picture = av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format=pixel_format, dst_colorspace="ITU601")
        theirs = picture.to_ndarray().ravel().astype(int)
        assert abs(ours - theirs).max() <= 2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encoding_twice_gives_the_same_bytes(encoding, tiny):
    """One build of the encoder gives the same bytes each time, whatever the pieces the frames come in."""
    clip = synvid.render(synvid.sample_scene(synvid.load_preset("moving_shapes", {**tiny, "video.width": 224}), 0, 0))
    first = encode(clip.frames, 25.0, encoding)
    assert encode(clip.frames, 25.0, encoding) == first
    assert make_encoder(encoding=encoding)([clip.frames[:2], clip.frames[2:]], 224, 32, 25.0) == first


@pytest.mark.parametrize("encoding", ["fast", "lossless"])
def test_any_frames_in_any_order(encoding):
    """Decoding some frames gives those that decoding all gives, across key frames and in any order."""
    clip = synvid.render(synvid.sample_scene(synvid.load_preset("moving_shapes", {"video.width": 64, "video.height": 64})))
    data = encode(clip.frames, clip.fps, encoding)
    whole = decode(io.BytesIO(data))
    for frames in ([0], [len(whole) - 1], [40, 3, 41, 3], range(20, 84, 4)):
        np.testing.assert_array_equal(decode(io.BytesIO(data), list(frames)), whole[list(frames)])
    if encoding == "lossless":
        np.testing.assert_array_equal(whole, clip.frames)
    with pytest.raises(synvid.DatasetError, match="no frame 500"):
        decode(io.BytesIO(data), [3, 500])


@pytest.mark.parametrize(("width", "height"), [(16, 16), (30, 18), (254, 130), (2048, 16), (33, 17)])
@pytest.mark.parametrize("fps", [25.0, 29.97, 1.0])
def test_any_size_and_rate(width, height, fps):
    """Sizes that are no multiples of 16, odd ones where chroma is whole, and broken rates are encoded as they are."""
    frames = np.random.default_rng(0).integers(0, 256, (4, height, width, 3), dtype=np.uint8)
    for encoding in ENCODINGS:
        if width % 2 and ENCODINGS[encoding].pixel_format == "yuv420p":
            with pytest.raises(synvid.ConfigurationError, match="33x17"):
                encode(frames, fps, encoding)
            continue
        data = encode(frames, fps, encoding)
        assert decode(io.BytesIO(data)).shape == frames.shape
        with av.open(io.BytesIO(data)) as container:
            assert abs(float(container.streams.video[0].average_rate) - fps) < 1e-3


def test_what_is_no_video_is_said_so():
    """A file that is no video, or an empty one, is an error that names it."""
    for content in (b"", b"no video", b"\0" * 1000):
        with pytest.raises(synvid.DatasetError, match="my clip"):
            decode(io.BytesIO(content), name="my clip")
