"""File suffixes, container formats and size limit of the videos and images that synvid reads."""

from __future__ import annotations

__all__ = [
    "IMAGE_FORMATS",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "TIMESTAMPED_CONTAINERS",
    "VIDEO_CONTAINERS",
    "VIDEO_SUFFIXES",
]


#: Suffixes of video files.
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp", ".ogv")
#: FFmpeg demuxers that may open a video. Playlists (`concat`, `hls`, ...) are excluded: they open other files.
VIDEO_CONTAINERS = frozenset(
    {"mov,mp4,m4a,3gp,3g2,mj2", "avi", "matroska,webm", "mpeg", "mpegvideo", "mpegts", "asf", "flv", "ogg"}
)
#: Those that store the presentation time of every frame.
TIMESTAMPED_CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})

#: Suffixes of image files.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
#: Pillow formats that may open an image, whatever its suffix. Pillow would start Ghostscript for an EPS.
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP")

#: Maximum number of pixels of an image or a video frame. A file of a few bytes can claim gigabytes, so the size in the header
#: is checked before anything is decoded.
MAX_PIXELS = 50_000_000
