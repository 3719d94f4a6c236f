"""Time to read a training window of a real video: milliseconds for 16 frames, 4 apart, at random positions.

python benchmarks/video.py

Videos of 10 seconds and of 5 minutes, 320x240, with a key frame every 2 seconds. `whole` decodes the video to its end, which
is the cost of a window if frames are found by counting.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from synvid.video.decode import VideoFile

KINDS = {
    "h264.mp4": ["-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", "50", "-pix_fmt", "yuv420p"],
    "h264.avi": ["-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", "50", "-pix_fmt", "yuv420p"],
    "xvid.avi": ["-c:v", "mpeg4", "-vtag", "XVID", "-bf", "2", "-g", "50", "-q:v", "4"],
    "mpeg2.mpg": ["-c:v", "mpeg2video", "-bf", "2", "-g", "50", "-q:v", "4"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "50"],
}
WINDOWS = 20


def write_video(path: Path, options: list[str], seconds: int) -> None:
    source = ["-f", "lavfi", "-i", f"testsrc2=s=320x240:r=25:d={seconds}"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *source, *options, str(path)], check=True)


def milliseconds(task: Callable[[], object]) -> float:
    begin = time.perf_counter()
    task()
    return 1000 * (time.perf_counter() - begin)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rng = np.random.default_rng(0)
    print(f"{'video':24}{'first open':>12}{'window':>10}{'whole':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for name, options in KINDS.items():
            for seconds in (10, 300):
                path = Path(folder, f"{seconds}-{name}")
                write_video(path, options, seconds)

                def window() -> None:
                    with VideoFile(path) as video:
                        start = int(rng.integers(video.num_frames - 64))
                        video.read(range(start, start + 64, 4))

                def whole() -> None:
                    with VideoFile(path) as video:
                        for _ in video.stream(range(0, video.num_frames, 4)):
                            pass

                first_open = milliseconds(lambda: VideoFile(path).close())
                per_window = statistics.median(milliseconds(window) for _ in range(WINDOWS))
                print(f"{path.name:24}{first_open:9.0f} ms{per_window:7.0f} ms{milliseconds(whole):7.0f} ms", flush=True)


if __name__ == "__main__":
    main()
