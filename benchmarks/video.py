"""What a training window of a real video costs: milliseconds for 16 frames, 4 apart, from random places of films.

python benchmarks/video.py

Films of 10 seconds and of 5 minutes, 320x240, a key frame every 2 seconds, by the ffmpeg of imageio-ffmpeg. `whole` decodes
the film to its end, which is what a window costs where frames are found by counting.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
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


def write_film(path: Path, options: list[str], seconds: int) -> None:
    source = ["-f", "lavfi", "-i", f"testsrc2=s=320x240:r=25:d={seconds}"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *source, *options, str(path)], check=True)


def milliseconds(work: object) -> float:
    begin = time.perf_counter()
    work()  # type: ignore[operator]
    return 1000 * (time.perf_counter() - begin)


def main() -> None:
    rng = np.random.default_rng(0)
    print(f"{'film':24}{'first open':>12}{'window':>10}{'whole':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for name, options in KINDS.items():
            for seconds in (10, 300):
                path = Path(folder, f"{seconds}-{name}")
                write_film(path, options, seconds)

                def window() -> None:
                    with VideoFile(path) as film:
                        start = int(rng.integers(film.num_frames - 64))
                        film.read(range(start, start + 64, 4))

                def whole() -> None:
                    with VideoFile(path) as film:
                        for _ in film.stream(range(0, film.num_frames, 4)):
                            pass

                first = milliseconds(lambda: VideoFile(path).close())
                each = statistics.median(milliseconds(window) for _ in range(WINDOWS))
                print(f"{path.name:24}{first:9.0f} ms{each:7.0f} ms{milliseconds(whole):7.0f} ms", flush=True)


if __name__ == "__main__":
    main()
