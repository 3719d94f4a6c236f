"""Where a bank comes from: its file, or the user's cache, in which small banks are built when first needed."""

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
from synvid.formatting import describe_unreadable, format_duration
from synvid.formatting import format_size as size_in_words
from synvid.paths import cache_folder
from synvid.preset import BANK_SUFFIX, TEXTURE_KINDS
from synvid.runtime.local_executor import default_workers
from synvid.runtime.progress import Progress
from synvid.textures.bank import Bank, BankHeader, build_bank, open_bank
from synvid.textures.generators import GENERATORS
from synvid.textures.image_folder import ImageFiles, ImageTextures, bundled_images

__all__ = ["cached_bank", "cached_bank_path", "default_count", "find_bank", "make_bank_header"]


log = logging.getLogger("synvid")

_SIZE = 256


def default_count() -> int:
    """Textures, or frames of moving ones, in a bank that is built when first needed: 2,000, or SYNVID_TEXTURES."""
    text = os.environ.get("SYNVID_TEXTURES", "2000")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 10**9:
        raise ConfigurationError(f"SYNVID_TEXTURES is {text!r}; it must be a whole number from 1.")
    return int(text)


def make_bank_header(
    kind: str,
    n: int | None = None,
    size: int = _SIZE,
    seed: int = 0,
    pictures: ImageFiles | None = None,
    *,
    everything: bool = False,
) -> BankHeader:
    """What a bank of a kind holds.

    Args:
        kind: one of TEXTURE_KINDS.
        n: how many textures; None: as many as `default_count` frames, but of images no more than there are in a folder of
            one's own.
        everything: None is all images of the folder.
        size: height and width, pixels.
        seed: of the textures.
        pictures: for `images`; None: those that scikit-image ships.

    Raises:
        ConfigurationError: the kind does not have this size, or there are no pictures.
    """
    if not 0 <= seed < 2**64:
        raise ConfigurationError(f"seed is {seed}; it must be a whole number from 0 to 2**64 - 1.")
    if kind == "images":
        own, shown = pictures is not None, pictures or bundled_images()
        most = len(shown.names) if everything else default_count()
        count = n or (min(most, len(shown.names)) if own else default_count())
        return BankHeader(kind, 1, seed, count, 1, size, _listing_hash(shown))
    made = GENERATORS[kind]
    if size not in made.sizes:
        some = (
            ", ".join(map(str, made.sizes))
            if len(made.sizes) < 8
            else f"multiples of 16 from {made.sizes[0]} to {made.sizes[-1]}"
        )
        raise ConfigurationError(f"--size {size}: textures of kind {kind} have {some} pixels.")
    return BankHeader(kind, made.version, seed, n or max(1, default_count() // made.frames), made.frames, size)


def _listing_hash(pictures: ImageFiles) -> str:
    digest = hashlib.sha256()
    for name in pictures.names:
        digest.update(f"{name}\0{(pictures.folder / name).stat().st_size}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def cached_bank_path(header: BankHeader, pictures: ImageFiles | None = None) -> Path:
    """Where the bank lies that is built when first needed; of a folder that has changed since, another one."""
    source = f"-{header.source[:8]}" if header.source else ""
    if pictures is not None:
        dates = [(pictures.folder / name).stat().st_mtime_ns for name in pictures.names]
        source += f"-{hashlib.sha256(repr(dates).encode()).hexdigest()[:8]}"
    name = f"{header.kind}{source}-v{header.version}-{header.n}x{header.size}px-seed{header.seed}{BANK_SUFFIX}"
    return cache_folder() / "banks" / name


@lru_cache(maxsize=16)
def _default_header(kind: str, _count: int) -> BankHeader:
    return make_bank_header(kind)


def find_bank(name: str) -> Bank:
    """Open a bank by its path, or by its kind; the latter is built in the user's cache if it is not there.

    Raises:
        ConfigurationError: no such file, or no bank.
        DatasetError: it is damaged, or cannot be written.
    """
    if name not in TEXTURE_KINDS:
        return open_bank(name)
    return open_bank(cached_bank(_default_header(name, default_count())))


def cached_bank(
    header: BankHeader,
    pictures: ImageFiles | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    notify: Callable[[str], None] = log.warning,
) -> Path:
    """The path of a bank in the user's cache, which is built if it is not there.

    Args:
        header: what it holds.
        pictures: for `images`; None: those that scikit-image ships.
        workers: processes; None: as many as there are cores.
        progress: told of every texture.
        notify: told what is built, how large and how long, and which pictures could not be read.
    """
    path = cached_bank_path(header, pictures)
    if path.is_file():
        return path
    if header.kind == "images" and pictures is None:
        pictures = bundled_images()
    alone = multiprocessing.current_process().daemon  # such a process may have no children
    workers = 1 if alone else workers or default_workers()
    time_needed = format_duration(header.n * _seconds_each(header, pictures) / workers)
    size = f"{size_in_words(header.file_bytes)}, about {time_needed}"
    notify(f"Building {header.n:,} textures of kind {header.kind} ({size}), once on this machine: {path}")
    skipped = build_bank(path, header, pictures, workers, progress or Progress())
    if skipped:
        notify(describe_unreadable("image", skipped))
    return path


def _seconds_each(header: BankHeader, pictures: ImageFiles | None) -> float:
    """How long one texture takes to make on one core."""
    make = GENERATORS[header.kind].make if pictures is None else ImageTextures(pictures, Path(os.devnull))
    make(header.seed, 0, header.size)  # compiles
    begin = time.perf_counter()
    make(header.seed, min(1, header.n - 1), header.size)
    return time.perf_counter() - begin
