"""Encoding: decoded frames, from two libraries, equal the rendered frames."""

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


def make_patches(frames=3):
    """Flat patches of 16 colours, uint8 (T, 128, 128, 3)."""
    board = PALETTE.reshape(4, 4, 3).repeat(SIDE, 0).repeat(SIDE, 1)
    return np.broadcast_to(board, (frames, *board.shape)).copy()


def patch_centers(frames):
    """The centres of the patches, int (T, 4, 4, 16, 16, 3)."""
    cells = frames.reshape(len(frames), 4, SIDE, 4, SIDE, 3).transpose(0, 1, 3, 2, 4, 5)
    return cells[:, :, :, 8:-8, 8:-8].astype(int)


def decode_with_ffmpeg(data, path):
    """All frames of a video, decoded by the ffmpeg program."""
    path.write_bytes(data)
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    return np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_decoded_colours_equal_rendered_colours(encoder, encoding, tmp_path):
    """With both encoders and two independent decoders every colour is right within a few levels, or exactly."""
    frames = make_patches()
    data = make_encoder(encoder, encoding)([frames], 128, 128, 25.0)
    for decoded in (decode(io.BytesIO(data)), decode_with_ffmpeg(data, tmp_path / "clip.mp4")):
        assert decoded.shape == frames.shape
        assert abs(patch_centers(decoded) - patch_centers(frames)).max() <= BOUND[encoding]
        assert abs((patch_centers(decoded) - patch_centers(frames)).mean((0, 3, 4))).mean() <= 2


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("encoding", ["fast", "small", "yuv444"])
def test_streams_are_tagged_bt601(encoder, encoding):
    """The stream is tagged BT.601 (SMPTE 170M), limited range."""
    data = make_encoder(encoder, encoding)([make_patches()], 128, 128, 25.0)
    with av.open(io.BytesIO(data)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range) == (6, 6, 6, 1)


def test_planes_agree_with_swscale():
    """Our planes equal those of FFmpeg to within two levels on smooth content."""
    y, x = np.mgrid[:64, :96]
    frame = np.stack([x * 2.5, y * 3.5, 255 - x - y], -1).clip(0, 255).astype(np.uint8)
    for pixel_format in ("yuv420p", "yuv444p"):
        from synvid.video.encode import _to_planes

        ours = _to_planes(frame, pixel_format).astype(int)
        reference = av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format=pixel_format, dst_colorspace="ITU601")
        theirs = reference.to_ndarray().ravel().astype(int)
        assert abs(ours - theirs).max() <= 2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encode_is_deterministic(encoding, tiny):
    """One build of the encoder gives the same bytes every time, however the frames are divided into chunks."""
    clip = synvid.render(synvid.sample_scene(synvid.load_preset("moving_shapes", {**tiny, "video.width": 224}), 0, 0))
    first = encode(clip.frames, 25.0, encoding)
    assert encode(clip.frames, 25.0, encoding) == first
    assert make_encoder(encoding=encoding)([clip.frames[:2], clip.frames[2:]], 224, 32, 25.0) == first


@pytest.mark.parametrize("encoding", ["fast", "lossless"])
def test_decode_selected_frames_of_encoded_clip(encoding):
    """Decoding selected frames gives those of decoding all, across key frames and in any order."""
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
def test_encode_any_size_and_rate(width, height, fps):
    """Sizes that are no multiples of 16, odd sizes with full-resolution chroma, and fractional rates are kept."""
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


def test_decode_non_video_raises_with_name():
    """A file that is not a video, or is empty, raises an error that names it."""
    for content in (b"", b"no video", b"\0" * 1000):
        with pytest.raises(synvid.DatasetError, match="my clip"):
            decode(io.BytesIO(content), name="my clip")
