"""Small video files in many containers and codecs. Each frame shows its number as a bar code."""

import subprocess

import imageio_ffmpeg
import numpy as np

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
HEIGHT, WIDTH, BITS = 48, 64, 8
X264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-threads", "1", "-g", "12"]
MPEG4 = ["-c:v", "mpeg4", "-g", "12", "-q:v", "2"]
#: Frames 2 and 3 of every 4 are shown 0.9 of a frame late.
UNEVEN = [
    "-vf",
    "settb=1/1000,setpts='if(lt(mod(N,4),2),N,N+0.9)/25/TB'",
    "-fps_mode",
    "passthrough",
    "-enc_time_base",
    "1/1000",
]
AUDIO = ["-f", "lavfi", "-i", "sine=duration=2", "-map", "1:a", "-map", "0:v"]

#: File name to the FFmpeg options that write it.
VIDEOS = {
    "b_frames.mp4": [*X264, "-bf", "3"],
    "no_b_frames.mp4": [*X264, "-bf", "0"],
    "b_frames.mkv": [*X264, "-bf", "3"],
    "b_frames.mov": [*X264, "-bf", "3"],
    "b_frames.3gp": [*X264, "-bf", "3"],
    "b_frames.avi": [*X264, "-bf", "3"],
    "b_frames.flv": [*X264, "-bf", "3"],
    "b_frames.ts": [*X264, "-bf", "3"],
    "fragments.mp4": [*X264, "-bf", "3", "-movflags", "frag_keyframe+empty_moov"],
    "open_gop.mp4": [*X264, "-bf", "3", "-x264-params", "open-gop=1"],
    "open_gop.ts": [*X264, "-bf", "3", "-x264-params", "open-gop=1"],
    "intra_refresh.mp4": [*X264, "-x264-params", "intra-refresh=1"],
    "interlaced.ts": [*X264, "-bf", "2", "-flags", "+ildct+ilme", "-x264-params", "tff=1"],
    "interlaced.mpg": ["-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-bf", "2", "-g", "12", "-q:v", "2"],
    "grey.mp4": ["-c:v", "libx264", "-pix_fmt", "gray", "-g", "12"],
    "ten_bits.mkv": ["-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-g", "12", "-x265-params", "log-level=error"],
    "hevc.mp4": ["-c:v", "libx265", "-pix_fmt", "yuv420p", "-g", "12", "-x265-params", "open-gop=1:log-level=error"],
    "odd.mkv": ["-vf", "crop=63:47:0:0", "-c:v", "libx264", "-pix_fmt", "yuv444p", "-g", "12"],
    "xvid.avi": [*MPEG4, "-vtag", "XVID", "-bf", "0"],
    "xvid_b_frames.avi": [*MPEG4, "-vtag", "XVID", "-bf", "2"],
    "dropped_frames.avi": [*MPEG4, "-bf", "2", "-vf", "select='not(eq(mod(n,5),3))'", "-fps_mode", "passthrough"],
    "asp.mp4": [*MPEG4, "-bf", "2"],
    "msmpeg4.avi": ["-c:v", "msmpeg4", "-g", "12", "-q:v", "5"],
    "mjpeg.avi": ["-c:v", "mjpeg", "-q:v", "2"],
    "mpeg1.mpg": ["-c:v", "mpeg1video", "-bf", "2", "-g", "12", "-q:v", "2"],
    "mpeg2.mpg": ["-c:v", "mpeg2video", "-bf", "2", "-g", "12", "-q:v", "2"],
    "mpeg2.ts": ["-c:v", "mpeg2video", "-bf", "2", "-g", "12", "-q:v", "2"],
    "wmv2.wmv": ["-c:v", "wmv2", "-g", "12", "-q:v", "2"],
    "sorenson.flv": ["-c:v", "flv", "-g", "12", "-q:v", "2"],
    "theora.ogv": ["-c:v", "libtheora", "-g", "12", "-q:v", "9"],
    "vp8.webm": ["-c:v", "libvpx", "-g", "12", "-auto-alt-ref", "1", "-lag-in-frames", "12", "-b:v", "1M"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-g", "12", "-auto-alt-ref", "1", "-lag-in-frames", "12", "-b:v", "1M"],
    "av1.mp4": ["-c:v", "libsvtav1", "-g", "12", "-preset", "12", "-pix_fmt", "yuv420p"],
    "variable_rate.mkv": [*X264, "-bf", "2", *UNEVEN],
    "audio_first.mp4": [*AUDIO, *X264, "-bf", "3", "-c:a", "aac"],
    "audio_first.avi": [*AUDIO, *MPEG4, "-c:a", "mp2"],
    "late.mkv": [*X264, "-bf", "3", "-output_ts_offset", "17"],
    "late.ts": [*X264, "-bf", "3", "-output_ts_offset", "17"],
}  # fmt: skip


def numbered_frame(number):
    """A frame whose upper half shows the number in bits, uint8 (48, 64, 3)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    frame = np.stack([(2 * x + 3 * number) % 256, (4 * y + 5 * number) % 256, 0 * x + 60], axis=2)
    bits = number >> (np.arange(WIDTH) * BITS // WIDTH) & 1
    frame[: HEIGHT // 2] = 255 * bits[None, :, None]
    return frame.astype(np.uint8)


def read_number(frame):
    """Return the number that a frame shows."""
    upper = frame[4 : HEIGHT // 2 - 4].mean(axis=(0, 2))
    bits = [upper[bit * WIDTH // BITS + 2 : (bit + 1) * WIDTH // BITS - 2].mean() > 128 for bit in range(BITS)]
    return sum(1 << bit for bit, on in enumerate(bits) if on)


def write_numbered_video(path, options, frames=40):
    """Encode frames 0, 1, 2, ... with the ffmpeg of imageio-ffmpeg, and return the path."""
    raw = b"".join(numbered_frame(number).tobytes() for number in range(frames))
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", "25", "-i", "-"]
    ffmpeg(*source, *options, path, data=raw)
    return path


def ffmpeg(*arguments, data=b""):
    """Run ffmpeg with `data` as standard input, and return its standard output."""
    command = [FFMPEG, "-y", "-v", "error", *map(str, arguments)]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def write_packed_avi(path, frames=13):
    """Write a DivX packed bitstream: a P-frame and the B-frame shown before it in one AVI chunk, then an empty frame."""
    import av

    plain = path.with_suffix(".m4v.mp4")
    write_numbered_video(plain, [*MPEG4, "-bf", "1", "-b_strategy", "0", "-g", "300", "-sc_threshold", "1000000000"], frames)
    with av.open(str(plain)) as source:
        stream = source.streams.video[0]
        head = bytes(stream.codec_context.extradata)
        chunks = [bytes(packet) for packet in source.demux(stream) if packet.size]
    label = b"\x00\x00\x01\xb2DivX503b1393p"
    kinds = [frame_kind(chunk) for chunk in chunks]
    packed = [head + label + chunks[0]]
    position = 1
    while position < len(chunks):
        if kinds[position] == 1 and position + 1 < len(chunks) and kinds[position + 1] == 2:
            packed += [chunks[position] + chunks[position + 1], b"\x00\x00\x01\xb6\x50\x00\x7f"]
            position += 2
        else:
            packed.append(chunks[position])
            position += 1
    with av.open(str(path), "w", format="avi") as target:
        out = target.add_stream("mpeg4", rate=25)
        out.width, out.height, out.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        out.codec_context.codec_tag = "DX50"
        target.start_encoding()
        for number, chunk in enumerate(packed):
            packet = av.Packet(chunk)
            packet.stream, packet.pts, packet.dts, packet.time_base = out, number, number, out.time_base
            packet.is_keyframe = number == 0
            target.mux(packet)
    return path


def frame_kind(chunk):
    """Return the kind of an MPEG-4 frame: 0 for I, 1 for P, 2 for B."""
    return chunk[chunk.index(b"\x00\x00\x01\xb6") + 4] >> 6
