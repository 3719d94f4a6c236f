"""A texture bank: many textures in one memory-mapped file.

The file has a header of 4096 bytes (a magic line, JSON, spaces), then the textures, uint8 (n, frames, size, size, 3), then the
SHA-256 of each chunk of 64 textures. Texture i depends on (kind, version, seed, i) alone. A bank is built in the file
NAME.part, one chunk at a time, and renamed at the end; an interrupted build continues from the chunks in that file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synvid.errors import ConfigurationError, DatasetError
from synvid.os_errors import wrap_os_errors
from synvid.paths import expand_user
from synvid.runtime.local_executor import run_tasks
from synvid.runtime.progress import Progress
from synvid.runtime.signals import defer_signals, interrupted
from synvid.storage.atomic_io import read_and_delete_lines, read_at, write_at
from synvid.storage.locks import hold_lock
from synvid.textures.generators import GENERATORS, TextureFunction
from synvid.textures.image_folder import ImageFiles, ImageTextures

__all__ = ["Bank", "BankHeader", "build_bank", "open_bank"]


log = logging.getLogger("synvid")

_MAGIC = b"synvid bank of textures\n"
_FORMAT = 1
_HEADER_BYTES = 4096
_CHUNK = 64  # textures
_HASH_BYTES = 32
#: Maximum number of bytes that `Bank.check` reads, but at least one chunk, unless everything is to be checked.
_MAX_CHECKED_BYTES = 1 << 30


@dataclass(frozen=True)
class BankHeader:
    """Header of a bank: kind, seed, number and size of its textures.

    Attributes:
        kind: kind of texture: a key of `synvid.textures.generators.GENERATORS`, or `images`.
        version: version of that generator.
        seed: random seed of the textures.
        n: number of textures.
        frames: frames of each texture; 1 for still ones.
        size: height and width, pixels.
        source: for `images`, a hash of the names and sizes of the image files.
        digest: SHA-256 of all of the above and of the textures; empty until the bank is built.
    """

    kind: str
    version: int
    seed: int
    n: int
    frames: int
    size: int
    source: str = ""
    digest: str = ""

    @property
    def texture_bytes(self) -> int:
        """Bytes of one texture."""
        return self.frames * self.size * self.size * 3

    @property
    def num_chunks(self) -> int:
        """Number of chunks."""
        return -(-self.n // _CHUNK)

    @property
    def file_bytes(self) -> int:
        """Size of the file, bytes."""
        return self.hash_offset + self.num_chunks * _HASH_BYTES

    @property
    def hash_offset(self) -> int:
        """Byte offset of the first hash."""
        return _HEADER_BYTES + self.n * self.texture_bytes

    def chunk(self, number: int) -> range:
        """Indices of the textures in a chunk."""
        return range(number * _CHUNK, min((number + 1) * _CHUNK, self.n))

    def texture_offset(self, index: int) -> int:
        """Byte offset of a texture."""
        return _HEADER_BYTES + index * self.texture_bytes

    def with_digest(self, hashes: bytes) -> BankHeader:
        """The header of the finished bank, from the hashes of its chunks."""
        unfinished = dataclasses.replace(self, digest="")
        return dataclasses.replace(self, digest=hashlib.sha256(unfinished.to_bytes() + hashes).hexdigest())

    def to_bytes(self) -> bytes:
        """The header as it is stored, 4096 bytes."""
        text = json.dumps({"format": _FORMAT, **dataclasses.asdict(self)}).encode()
        return (_MAGIC + text).ljust(_HEADER_BYTES - 1) + b"\n"

    @classmethod
    def read(cls, path: Path) -> BankHeader:
        """Read the header of a bank.

        Raises:
            ConfigurationError: the file does not exist, is not a bank, or has another format version.
            DatasetError: it cannot be read, or is damaged.
        """
        if not path.is_file():
            raise ConfigurationError(f"{path}: no such bank; `synvid textures --help` says how to build one.")
        with wrap_os_errors(path), path.open("rb") as file:
            data = file.read(_HEADER_BYTES)
        if not data.startswith(_MAGIC):
            raise ConfigurationError(f"{path}: is not a texture bank; `synvid textures --help` says how to build one.")
        try:
            values = json.loads(data[len(_MAGIC) :])
            version = values.pop("format")
            if version == _FORMAT:
                header = cls(**values)
                if len(data) == _HEADER_BYTES and header.to_bytes() == data and header._is_valid():
                    return header
        except (ValueError, TypeError, AttributeError, KeyError):
            version = _FORMAT
        if version != _FORMAT:
            raise ConfigurationError(
                f"{path}: is a texture bank of format {version!r}; this version of synvid reads format {_FORMAT}."
            )
        raise DatasetError(f"{path}: its header is damaged; rebuild it.")

    def _is_valid(self) -> bool:
        numbers = (self.n, self.frames, self.size, self.seed, self.version)
        texts = (self.kind, self.source, self.digest)
        types_match = all(type(number) is int for number in numbers) and all(isinstance(text, str) for text in texts)
        return types_match and min(self.n, self.frames, self.size - 1) >= 1


@dataclass(frozen=True, eq=False)
class Bank:
    """An open bank.

    Attributes:
        path: the file.
        header: its contents.
        textures: uint8 (n, frames, size, size, 3), RGB, memory-mapped.
    """

    path: Path
    header: BankHeader
    textures: NDArray[np.uint8]

    def check(self, everything: bool = False, on_progress: Callable[[int], None] | None = None) -> None:
        """Compare textures with their hashes: up to 1 GiB of them, spread over the bank, or all.

        Args:
            everything: check all textures.
            on_progress: called with the number of textures of each chunk that was checked.

        Raises:
            DatasetError: textures or hashes have been altered.
        """
        header, num_chunks = self.header, self.header.num_chunks
        max_checked = num_chunks if everything else max(1, _MAX_CHECKED_BYTES // (_CHUNK * header.texture_bytes))
        step = -(-num_chunks // max_checked)
        with wrap_os_errors(self.path), self.path.open("rb") as file:
            hashes = _read_hashes(file.fileno(), header)
            if header.with_digest(hashes).digest != header.digest:
                raise DatasetError(f"{self.path}: its hashes have been altered; rebuild it.")
            for number in range(0, num_chunks, step):
                if _hash_chunk(file.fileno(), header, number) != hashes[number * _HASH_BYTES : (number + 1) * _HASH_BYTES]:
                    chunk = header.chunk(number)
                    raise DatasetError(
                        f"{self.path}: textures {chunk.start} to {chunk.stop - 1} have been altered; rebuild it."
                    )
                if on_progress is not None:
                    on_progress(len(header.chunk(number)))


def open_bank(path: str | Path) -> Bank:
    """Open a bank. The last 16 banks are kept open.

    Raises:
        ConfigurationError: the file does not exist, is not a bank, or has another format version.
        DatasetError: it cannot be read, or has the wrong size.
    """
    path = expand_user(path)
    with wrap_os_errors(path):
        status = path.stat() if path.is_file() else None
    return _open(path, status and (status.st_size, status.st_mtime_ns, status.st_ino))


@lru_cache(maxsize=16)
def _open(path: Path, _status: object) -> Bank:
    header = BankHeader.read(path)
    size = path.stat().st_size
    if size != header.file_bytes:
        raise DatasetError(f"{path}: has {size} bytes, not {header.file_bytes}: it is cut off or altered; rebuild it.")
    shape = (header.n, header.frames, header.size, header.size, 3)
    with wrap_os_errors(path):
        data = np.asarray(np.memmap(path, np.uint8, "r", _HEADER_BYTES))
    # The hashes are mapped too, because the rasterizer reads 8 bytes at a time, up to 2 bytes beyond the last texel.
    return Bank(path, header, data[: header.n * header.texture_bytes].reshape(shape))


def _read_hashes(descriptor: int, header: BankHeader) -> bytes:
    return read_at(descriptor, header.num_chunks * _HASH_BYTES, header.hash_offset)


def _hash_chunk(descriptor: int, header: BankHeader, number: int) -> bytes:
    digest = hashlib.sha256()
    for index in header.chunk(number):
        digest.update(read_at(descriptor, header.texture_bytes, header.texture_offset(index)))
    return digest.digest()


# ---- Building -----------------------------------------------------------------------------------------------------
def build_bank(path: Path, header: BankHeader, image_files: ImageFiles | None, workers: int, progress: Progress) -> list[str]:
    """Build a bank, or continue an interrupted build. Does nothing if the bank exists.

    Args:
        path: the file; its folder is created if needed.
        header: the contents of the bank.
        image_files: the images, for kind `images`; otherwise None.
        workers: number of worker processes.
        progress: progress callback, updated for every texture.

    Returns:
        Sorted names of the images that could not be read.

    Raises:
        ConfigurationError: the path is another file or bank, or no image can be read.
        DatasetError: a file or folder cannot be read or written, or a texture could not be generated.
    """
    part = path.with_name(path.name + ".part")
    unreadable_log = path.with_name(path.name + ".part.unreadable")
    with defer_signals(), wrap_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if _is_built(path, header):
            return []
        with _exclusive_build(part):
            if _is_built(path, header):
                part.unlink(missing_ok=True)
                return []
            try:
                _build(part, header, image_files, unreadable_log, workers, progress)
            except ConfigurationError:  # no image can be read
                part.unlink()
                unreadable_log.unlink(missing_ok=True)
                raise
            part.replace(path)
    return read_and_delete_lines(unreadable_log)


def _is_built(path: Path, header: BankHeader) -> bool:
    """Whether the bank exists. Raises ConfigurationError if the path is another file or bank."""
    if path.exists() and dataclasses.replace(BankHeader.read(path), digest="") != header:
        raise ConfigurationError(f"{path}: is another file or bank; choose another name, or remove it.")
    return path.exists()


def _build(
    part: Path, header: BankHeader, image_files: ImageFiles | None, unreadable_log: Path, workers: int, progress: Progress
) -> None:
    """Write the missing chunks of a bank, and the digest last."""
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
    try:
        missing = _missing_chunks(descriptor, header)
        tasks = [(number, len(header.chunk(number))) for number in missing]
        done = header.n - sum(count for _, count in tasks)
        failed = run_tasks(_BuildChunk(part, header, image_files, unreadable_log), tasks, workers, progress, done, "texture")
        if failed:
            raise DatasetError(f"{part}: {next(iter(failed.values()))}; run the same command again to continue.")
        finished = header.with_digest(_read_hashes(descriptor, header))
        write_at(descriptor, memoryview(finished.to_bytes()), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _exclusive_build(part: Path) -> Iterator[None]:
    """Hold the lock of a bank; waits while another process builds it.

    Raises:
        DatasetError: interrupted while waiting.
    """
    warned = False
    while True:
        with hold_lock(part.with_name(part.name + ".lock")) as held:
            if held:
                yield
                return
        if not warned:
            log.warning("Waiting for another process that is building %s.", part)
        warned = True
        if interrupted():
            raise DatasetError(f"{part}: another process is building it.")
        time.sleep(0.2)


def _missing_chunks(descriptor: int, header: BankHeader) -> list[int]:
    """Chunks that are missing or damaged. A file that belongs to another bank is emptied first."""
    finished = header.with_digest(_read_hashes(descriptor, header))  # the process may have been killed just before the rename
    is_ours = read_at(descriptor, _HEADER_BYTES, 0) in (header.to_bytes(), finished.to_bytes())
    if not is_ours or os.fstat(descriptor).st_size != header.file_bytes:
        os.ftruncate(descriptor, 0)
        write_at(descriptor, memoryview(header.to_bytes()), 0)
        os.ftruncate(descriptor, header.file_bytes)
        return list(range(header.num_chunks))
    hashes = _read_hashes(descriptor, header)
    stored = [hashes[k : k + _HASH_BYTES] for k in range(0, len(hashes), _HASH_BYTES)]
    return [k for k, digest in enumerate(stored) if not any(digest) or digest != _hash_chunk(descriptor, header, k)]


@dataclass(frozen=True)
class _BuildChunk:
    """The task of a worker process: generate one chunk and write it to the file, its hash last."""

    part: Path
    header: BankHeader
    image_files: ImageFiles | None
    unreadable_log: Path

    def __call__(self, number: int, on_progress: Callable[[], None]) -> None:
        header, digest = self.header, hashlib.sha256()
        make: TextureFunction
        if self.image_files is None:
            make = GENERATORS[header.kind].make
        else:
            make = ImageTextures(self.image_files, self.unreadable_log)
        with wrap_os_errors(self.part):
            descriptor = os.open(self.part, os.O_WRONLY | getattr(os, "O_BINARY", 0))
            try:
                for index in header.chunk(number):
                    texture = np.ascontiguousarray(make(header.seed, index, header.size))
                    digest.update(texture.data)
                    write_at(descriptor, texture.data, header.texture_offset(index))
                    on_progress()
                os.fsync(descriptor)
                write_at(descriptor, memoryview(digest.digest()), header.hash_offset + number * _HASH_BYTES)
            finally:
                os.close(descriptor)
