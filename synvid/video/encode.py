"""Encode frames as an MP4 file: in process with PyAV, or with any ffmpeg program.

One build of an encoder gives the same bytes every time: it runs in one thread, without CPU-dependent code or look-ahead that
depends on timing. Across machines only the rendered frames are guaranteed to be equal, not the encoded bytes.
"""

from __future__ import annotations

import io
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synvid.config.arguments import check_type
from synvid.errors import ConfigurationError
from synvid.video.yuv import planes_420, planes_444

__all__ = ["ENCODERS", "ENCODINGS", "Encoding", "VideoEncoder", "check_size", "encode", "make_encoder"]


Frames = NDArray[np.uint8]

# x264: reproducible bytes (mbtree reads uninitialised memory on AVX-512 hosts), and chroma at the centre of 2 x 2 pixels.
_X264 = "threads=1:mbtree=0:cpu-independent=1:chromaloc=1"


@dataclass(frozen=True)
class Encoding:
    """Codec, pixel format and options of an encoding.

    Attributes:
        name: value of `--encoding`.
        description: one line for the user.
        codec: name of FFmpeg's codec.
        pixel_format: yuv420p, yuv444p or rgb24.
        options: FFmpeg options of the encoder.
    """

    name: str
    description: str
    codec: str
    pixel_format: str
    options: Mapping[str, str]


ENCODINGS: Mapping[str, Encoding] = {
    encoding.name: encoding
    for encoding in (
        Encoding(
            "fast",
            "H.264 ultrafast, crf 20, a key frame every 16 frames",
            "libx264",
            "yuv420p",
            {"preset": "ultrafast", "crf": "20", "g": "16", "x264-params": _X264},
        ),
        Encoding(
            "small",
            "H.264 veryfast, crf 23, a key frame every 48 frames: a third of the size in four times the time",
            "libx264",
            "yuv420p",
            {"preset": "veryfast", "crf": "23", "g": "48", "x264-params": _X264},
        ),
        Encoding(
            "yuv444",
            "as fast, with full-resolution chroma; not every player supports it",
            "libx264",
            "yuv444p",
            {"preset": "ultrafast", "crf": "20", "g": "16", "x264-params": _X264},
        ),
        Encoding(
            "lossless",
            "H.264 RGB without loss: decoding returns exactly the rendered frames",
            "libx264rgb",
            "rgb24",
            {"preset": "ultrafast", "qp": "0", "g": "16", "x264-params": _X264},
        ),
    )
}

_PLANES: Mapping[str, tuple[Fraction, Callable[[Frames, Frames], None] | None]] = {
    "yuv420p": (Fraction(3, 2), planes_420),
    "yuv444p": (Fraction(3), planes_444),
    "rgb24": (Fraction(3), None),
}


def check_size(encoding: Encoding, width: int, height: int) -> None:
    """Check that the pixel format can store frames of this size.

    Raises:
        ConfigurationError: 4:2:0 video with an odd width or height.
    """
    if encoding.pixel_format == "yuv420p" and (width % 2 or height % 2):
        raise ConfigurationError(
            f"video of {width}x{height}: encoding {encoding.name!r} stores chroma at half resolution and needs an even "
            "width and height; choose even ones, or the encoding yuv444 or lossless."
        )


def _to_planes(frame: Frames, pixel_format: str) -> Frames:
    """Convert a frame, uint8 (H, W, 3), to the layout of a pixel format."""
    size, convert = _PLANES[pixel_format]
    if convert is None:
        return np.ascontiguousarray(frame)
    planes = np.empty(int(frame.shape[0] * frame.shape[1] * size), np.uint8)
    convert(frame, planes)
    return planes


class VideoEncoder(ABC):
    """Encodes the frames of a clip, which may come in chunks, as an MP4 file."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding

    @abstractmethod
    def __call__(self, chunks: Iterable[Frames], width: int, height: int, fps: float) -> bytes:
        """Encode a clip.

        Args:
            chunks: consecutive frames, uint8 (T, H, W, 3) each, RGB.
            width, height: frame size, pixels.
            fps: frames per second.

        Returns:
            The bytes of an MP4 file.

        Raises:
            ConfigurationError: the encoder does not work.
        """


class PyAVEncoder(VideoEncoder):
    """Encodes in process with the libraries that PyAV bundles; the fastest."""

    def __call__(self, chunks: Iterable[Frames], width: int, height: int, fps: float) -> bytes:
        import av

        file = io.BytesIO()
        rate = Fraction(fps).limit_denominator(100_000)
        with av.open(file, "w", format="mp4") as container:
            stream: Any = container.add_stream(self.encoding.codec, rate=rate, options=dict(self.encoding.options))
            stream.width, stream.height, stream.pix_fmt = width, height, self.encoding.pixel_format
            stream.codec_context.thread_count = 1
            if self.encoding.pixel_format != "rgb24":
                _tag_bt601(stream.codec_context)
            for number, planes in enumerate(self._layouts(chunks)):
                # from_numpy_buffer makes no copy, but requires the height of a 4:2:0 buffer to be a multiple of 4.
                needs_copy = planes.ndim == 3 or height % 4
                wrap = av.VideoFrame.from_ndarray if needs_copy else av.VideoFrame.from_numpy_buffer
                frame = wrap(planes, self.encoding.pixel_format)
                frame.pts = number
                frame.time_base = 1 / rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return file.getvalue()

    def _layouts(self, chunks: Iterable[Frames]) -> Iterable[Frames]:
        """Frames in the layout of PyAV: planes stacked in one array."""
        for chunk in chunks:
            for frame in chunk:
                height, width, _ = frame.shape
                planes = _to_planes(frame, self.encoding.pixel_format)
                if self.encoding.pixel_format == "yuv420p":
                    yield planes.reshape(height * 3 // 2, width)
                elif self.encoding.pixel_format == "yuv444p":
                    yield planes.reshape(3, height, width)
                else:
                    yield planes


class FFmpegEncoder(VideoEncoder):
    """Encodes with the ffmpeg program of imageio-ffmpeg, or IMAGEIO_FFMPEG_EXE; slower, but supports all its codecs."""

    def __call__(self, chunks: Iterable[Frames], width: int, height: int, fps: float) -> bytes:
        import imageio_ffmpeg

        pixel_format = self.encoding.pixel_format
        options = [text for key, value in self.encoding.options.items() for text in (f"-{key}", value)]
        if pixel_format != "rgb24":
            options += ["-vf", "setparams=colorspace=smpte170m:color_primaries=smpte170m:color_trc=smpte170m:range=tv"]
        with tempfile.TemporaryDirectory(prefix="synvid-") as folder:
            path = Path(folder) / "clip.mp4"
            writer = imageio_ffmpeg.write_frames(
                str(path),
                (width, height),
                pix_fmt_in=pixel_format,
                pix_fmt_out=pixel_format,
                fps=fps,
                codec=self.encoding.codec,
                quality=None,
                macro_block_size=1,
                ffmpeg_log_level="fatal",
                input_params=["-color_range", "tv"] if pixel_format != "rgb24" else [],
                output_params=[*options, "-threads", "1"],
            )
            writer.send(None)
            try:
                for chunk in chunks:
                    for frame in chunk:
                        writer.send(_to_planes(frame, pixel_format))
                writer.close()
            except OSError:
                raise ConfigurationError(f"ffmpeg could not encode with codec {self.encoding.codec!r}.") from None
            if not path.is_file() or path.stat().st_size == 0:
                raise ConfigurationError(f"ffmpeg could not encode with codec {self.encoding.codec!r}.")
            return path.read_bytes()


ENCODERS: Mapping[str, type[VideoEncoder]] = {"pyav": PyAVEncoder, "ffmpeg": FFmpegEncoder}


def make_encoder(name: str = "pyav", encoding: str = "fast", codec: str = "") -> VideoEncoder:
    """Make an encoder.

    Args:
        name: `pyav` or `ffmpeg`.
        encoding: one of `ENCODINGS`.
        codec: with `ffmpeg`, an encoder such as `h264_nvenc` that replaces that of the encoding; the encoding's options, which
            belong to its own encoder, are then not used.

    Raises:
        ConfigurationError: a name is unknown, or a codec is given with `pyav`.
    """
    check_type("encoder", name, str, f"one of {', '.join(ENCODERS)}")
    check_type("encoding", encoding, str, f"one of {', '.join(ENCODINGS)}")
    if name not in ENCODERS:
        raise ConfigurationError(f"unknown encoder {name!r}; it must be one of {', '.join(ENCODERS)}.")
    if encoding not in ENCODINGS:
        raise ConfigurationError(f"unknown encoding {encoding!r}; it must be one of {', '.join(ENCODINGS)}.")
    chosen = ENCODINGS[encoding]
    if codec and name != "ffmpeg":
        raise ConfigurationError(
            f"codec is {codec!r}; only the encoder ffmpeg accepts another codec (--encoder ffmpeg, or encoder=)."
        )
    if codec:
        chosen = Encoding(chosen.name, chosen.description, codec, chosen.pixel_format, {})
    return ENCODERS[name](chosen)


def encode(frames: Frames, fps: float, encoding: str = "fast") -> bytes:
    """Encode a whole clip with PyAV.

    Args:
        frames: uint8 (T, H, W, 3), RGB.
        fps: frames per second.
        encoding: one of `ENCODINGS`.

    Returns:
        The bytes of an MP4 file.

    Raises:
        ConfigurationError: the encoding is unknown, or cannot store frames of this size.
    """
    _, height, width, _ = frames.shape
    encoder = make_encoder(encoding=encoding)
    check_size(encoder.encoding, width, height)
    return encoder([frames], width, height, fps)


def _tag_bt601(codec_context: Any) -> None:
    """Tag the stream with the conversion of `planes_420` and `planes_444`: 6 (SMPTE 170M) is BT.601, 1 is limited range."""
    codec_context.colorspace = codec_context.color_primaries = codec_context.color_trc = 6
    codec_context.color_range = 1
