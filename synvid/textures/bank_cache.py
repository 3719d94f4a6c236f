"""Open texture banks by path or kind. Banks named by kind are built in the user's cache when first needed."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from synvid.errors import ConfigurationError
from synvid.formatting import describe_unreadable, format_count, format_duration, format_size
from synvid.paths import cache_folder
from synvid.preset import BANK_SUFFIX, TEXTURE_KINDS
from synvid.runtime.local_executor import default_workers
from synvid.runtime.progress import Progress
from synvid.textures.bank import Bank, BankHeader, build_bank, open_bank
from synvid.textures.generators import GENERATORS, TextureFunction
from synvid.textures.image_folder import ImageFiles, ImageTextures, bundled_images

__all__ = ["cached_bank_path", "default_count", "ensure_cached_bank", "make_bank_header", "open_or_build_bank"]


log = logging.getLogger("synvid")

_DEFAULT_SIZE = 256


def default_count() -> int:
    """Number of textures in a bank that is built when first needed: SYNVID_TEXTURES, or 2,000.

    For textures that move, this is the number of frames.

    Raises:
        ConfigurationError: SYNVID_TEXTURES is not a positive whole number.
    """
    text = os.environ.get("SYNVID_TEXTURES", "2000")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 10**9:
        raise ConfigurationError(f"SYNVID_TEXTURES is {text!r}; it must be a whole number from 1 to 1,000,000,000.")
    return int(text)


def make_bank_header(
    kind: str,
    n: int | None = None,
    size: int = _DEFAULT_SIZE,
    seed: int = 0,
    image_files: ImageFiles | None = None,
    *,
    use_all_images: bool = False,
) -> BankHeader:
    """The header of a bank that is to be built.

    Args:
        kind: one of TEXTURE_KINDS.
        n: number of textures. None means `default_count` frames; for `images` from a folder, at most one texture per image.
        size: height and width, pixels.
        seed: random seed of the textures.
        image_files: the images, for kind `images`; None for those that scikit-image ships.
        use_all_images: if `n` is None, one texture for each image of the folder.

    Raises:
        ConfigurationError: the seed or the size is not allowed, or there are no images.
    """
    if not 0 <= seed < 2**64:
        raise ConfigurationError(f"seed is {seed}; it must be a whole number from 0 to 2**64 - 1.")
    if kind == "images":
        shown = image_files or bundled_images()
        limit = len(shown.names) if use_all_images else default_count()
        count = n or (default_count() if image_files is None else min(limit, len(shown.names)))
        return BankHeader(kind, 1, seed, count, 1, size, _hash_listing(shown))
    generator = GENERATORS[kind]
    if size not in generator.sizes:
        if len(generator.sizes) < 8:
            allowed = ", ".join(map(str, generator.sizes))
        else:
            allowed = f"multiples of 16 from {generator.sizes[0]} to {generator.sizes[-1]}"
        raise ConfigurationError(f"--size {size}: textures of kind {kind} have {allowed} pixels.")
    count = n or max(1, default_count() // generator.frames)
    return BankHeader(kind, generator.version, seed, count, generator.frames, size)


def _hash_listing(image_files: ImageFiles) -> str:
    """SHA-256 of the names and sizes of image files."""
    digest = hashlib.sha256()
    for name in image_files.names:
        digest.update(f"{name}\0{(image_files.folder / name).stat().st_size}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def cached_bank_path(header: BankHeader, image_files: ImageFiles | None = None) -> Path:
    """Path of a bank in the user's cache. For a folder of images it depends on their modification times."""
    source = f"-{header.source[:8]}" if header.source else ""
    if image_files is not None:
        times = [(image_files.folder / name).stat().st_mtime_ns for name in image_files.names]
        source += f"-{hashlib.sha256(repr(times).encode()).hexdigest()[:8]}"
    name = f"{header.kind}{source}-v{header.version}-{header.n}x{header.size}px-seed{header.seed}{BANK_SUFFIX}"
    return cache_folder() / "banks" / name


@lru_cache(maxsize=16)
def _default_header(kind: str, _count: int) -> BankHeader:
    return make_bank_header(kind)


def open_or_build_bank(name: str) -> Bank:
    """Open a bank by path or kind; by kind, it is built in the user's cache if it is missing there.

    Raises:
        ConfigurationError: the file does not exist, or is not a bank.
        DatasetError: it is damaged, or cannot be written.
    """
    if name not in TEXTURE_KINDS:
        return open_bank(name)
    return open_bank(ensure_cached_bank(_default_header(name, default_count())))


def ensure_cached_bank(
    header: BankHeader,
    image_files: ImageFiles | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    notify: Callable[[str], None] = log.warning,
) -> Path:
    """Return the path of a bank in the user's cache, and build the bank if it is missing.

    Args:
        header: the contents of the bank.
        image_files: the images, for kind `images`; None for those that scikit-image ships.
        workers: number of worker processes; None for all cores.
        progress: progress callback, updated for every texture.
        notify: called with messages: what is built, its size and duration, and which images could not be read.

    Raises:
        ConfigurationError: no image can be read.
        DatasetError: the bank cannot be written.
    """
    path = cached_bank_path(header, image_files)
    if path.is_file():
        return path
    if header.kind == "images" and image_files is None:
        image_files = bundled_images()
    is_daemon = multiprocessing.current_process().daemon  # a daemon cannot start worker processes
    workers = 1 if is_daemon else workers or default_workers()
    duration = format_duration(header.n * _seconds_per_texture(header, image_files) / workers)
    size = f"{format_size(header.file_bytes)}, about {duration}"
    notify(f"Building {format_count(header.n, 'texture')} of kind {header.kind} ({size}), once on this machine: {path}")
    unreadable = build_bank(path, header, image_files, workers, progress or Progress())
    if unreadable:
        notify(describe_unreadable("image", unreadable))
    return path


def _seconds_per_texture(header: BankHeader, image_files: ImageFiles | None) -> float:
    """Time to generate one texture on one core."""
    make: TextureFunction
    make = GENERATORS[header.kind].make if image_files is None else ImageTextures(image_files, Path(os.devnull))
    make(header.seed, 0, header.size)  # compiles
    begin = time.perf_counter()
    make(header.seed, min(1, header.n - 1), header.size)
    return time.perf_counter() - begin
