"""A bank: many textures in one memory-mapped file.

The file has a header of 4096 bytes (a magic line, JSON, spaces), then the textures, uint8 (n, frames, size, size, 3), then a
SHA-256 of every 64 textures. Texture i depends on (kind, version, seed, i) alone. A bank is built beside its place, in
NAME.part, 64 textures at a time; a run that was stopped goes on there.
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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synvid.errors import ConfigurationError, DatasetError
from synvid.os_errors import wrap_os_errors
from synvid.paths import expand_user
from synvid.runtime.local_executor import run_tasks
from synvid.runtime.progress import Progress
from synvid.runtime.signals import defer_signals, interrupted
from synvid.storage.atomic_io import pop_lines, read_at, write_at
from synvid.storage.locks import hold_lock
from synvid.textures.generators import GENERATORS
from synvid.textures.image_folder import ImageFiles, ImageTextures

__all__ = ["Bank", "BankHeader", "build_bank", "open_bank"]


log = logging.getLogger("synvid")

_MAGIC = b"synvid bank of textures\n"
_FORMAT = 1
_HEADER_BYTES = 4096
_CHUNK = 64  # textures
_HASH_BYTES = 32
#: `check` reads at most so much, unless asked for all.
_CHECKED_BYTES = 1 << 30


@dataclass(frozen=True)
class BankHeader:
    """What a bank holds.

    Attributes:
        kind: one of `synvid.textures.generators`, or `images`.
        version: of the kind.
        seed: of the textures.
        n: how many.
        frames: of each; 1 unless they move.
        size: height and width, pixels.
        source: of images: a hash of the names and sizes of the files.
        digest: SHA-256 of all of the above and of the textures.
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
        """How many pieces are hashed."""
        return -(-self.n // _CHUNK)

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return self.hashes_at + self.num_chunks * _HASH_BYTES

    @property
    def hashes_at(self) -> int:
        """Where the hashes begin."""
        return _HEADER_BYTES + self.n * self.texture_bytes

    def chunk(self, number: int) -> range:
        """Textures of a piece."""
        return range(number * _CHUNK, min((number + 1) * _CHUNK, self.n))

    def texture_at(self, index: int) -> int:
        """Where a texture begins."""
        return _HEADER_BYTES + index * self.texture_bytes

    def with_digest(self, hashes: bytes) -> BankHeader:
        """The header of a finished bank."""
        plain = dataclasses.replace(self, digest="")
        return dataclasses.replace(self, digest=hashlib.sha256(plain.to_bytes() + hashes).hexdigest())

    def to_bytes(self) -> bytes:
        """As it stands in the file."""
        text = json.dumps({"format": _FORMAT, **dataclasses.asdict(self)}).encode()
        return (_MAGIC + text).ljust(_HEADER_BYTES - 1) + b"\n"

    @classmethod
    def read(cls, path: Path) -> BankHeader:
        """Read the header of a bank.

        Raises:
            ConfigurationError: there is no such file, it is no bank, or one of another version.
            DatasetError: it cannot be read, or is damaged.
        """
        if not path.is_file():
            raise ConfigurationError(f"{path}: no such bank of textures; `synvid textures --help` says how to build one.")
        with wrap_os_errors(path), path.open("rb") as file:
            data = file.read(_HEADER_BYTES)
        if not data.startswith(_MAGIC):
            raise ConfigurationError(f"{path}: is no bank of textures; `synvid textures --help` says how to build one.")
        try:
            values = json.loads(data[len(_MAGIC) :])
            version = values.pop("format")
            if version == _FORMAT:
                header = cls(**values)
                numbers = (header.n, header.frames, header.size, header.seed, header.version)
                sound = len(data) == _HEADER_BYTES and header.to_bytes() == data and all(type(k) is int for k in numbers)
                sound = sound and min(header.n, header.frames, header.size - 1) >= 1
                sound = sound and all(isinstance(text, str) for text in (header.kind, header.source, header.digest))
                if sound:
                    return header
        except (ValueError, TypeError, AttributeError, KeyError):
            version = _FORMAT
        if version != _FORMAT:
            raise ConfigurationError(f"{path}: is a bank of format {version!r}; this synvid reads format {_FORMAT}.")
        raise DatasetError(f"{path}: its header is damaged; build it anew.")


@dataclass(frozen=True, eq=False)
class Bank:
    """An open bank.

    Attributes:
        path: of the file.
        header: what it holds.
        textures: uint8 (n, frames, size, size, 3), read from the file as they are touched.
    """

    path: Path
    header: BankHeader
    textures: NDArray[np.uint8]

    def check(self, everything: bool = False, tick: Callable[[int], None] | None = None) -> None:
        """Compare the textures with their hashes: a GB of them spread over the bank, or everything.

        Raises:
            DatasetError: some have been altered.
        """
        header, chunks = self.header, self.header.num_chunks
        most = chunks if everything else max(1, _CHECKED_BYTES // (_CHUNK * header.texture_bytes))
        step = max(1, chunks // most)
        with wrap_os_errors(self.path), self.path.open("rb") as file:
            hashes = _read_hashes(file.fileno(), header)
            if header.with_digest(hashes).digest != header.digest:
                raise DatasetError(f"{self.path}: its hashes have been altered; build it anew.")
            for number in range(0, chunks, step):
                if _hash_chunk(file.fileno(), header, number) != hashes[number * _HASH_BYTES : (number + 1) * _HASH_BYTES]:
                    some = header.chunk(number)
                    raise DatasetError(
                        f"{self.path}: textures {some.start} to {some.stop - 1} have been altered; build it anew."
                    )
                if tick is not None:
                    tick(len(header.chunk(number)))


def open_bank(path: str | Path) -> Bank:
    """Open a bank.

    Raises:
        ConfigurationError: there is no such file, it is no bank, or one of another version.
        DatasetError: it cannot be read, or is too short.
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
        raise DatasetError(f"{path}: has {size} bytes, not {header.file_bytes}: it is cut off or altered; build it anew.")
    shape = (header.n, header.frames, header.size, header.size, 3)
    with wrap_os_errors(path):
        everything = np.asarray(np.memmap(path, np.uint8, "r", _HEADER_BYTES))
    # The hashes are mapped as well: the rasterizer reads 8 bytes at a time, a little beyond the last texel.
    return Bank(path, header, everything[: header.n * header.texture_bytes].reshape(shape))


def _read_hashes(descriptor: int, header: BankHeader) -> bytes:
    return read_at(descriptor, header.num_chunks * _HASH_BYTES, header.hashes_at)


def _hash_chunk(descriptor: int, header: BankHeader, number: int) -> bytes:
    some = header.chunk(number)
    digest = hashlib.sha256()
    for index in some:
        digest.update(read_at(descriptor, header.texture_bytes, header.texture_at(index)))
    return digest.digest()


# ---- Building -----------------------------------------------------------------------------------------------------
def build_bank(path: Path, header: BankHeader, pictures: ImageFiles | None, workers: int, progress: Progress) -> list[str]:
    """Build a bank, or what is missing of it.

    Args:
        path: of the file; its folder is made if need be.
        header: what it shall hold.
        pictures: for `images`.
        workers: processes.
        progress: told of every texture.

    Returns:
        Names of pictures that could not be read, sorted.

    Raises:
        ConfigurationError: the file is there and something else, or no picture can be read.
        DatasetError: the file system refuses, or textures could not be made.
    """
    part = path.with_name(path.name + ".part")
    skipped = path.with_name(path.name + ".part.skipped")
    with defer_signals(), wrap_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if _is_built(path, header):
            return []
        with _alone(part):
            if _is_built(path, header):
                part.unlink(missing_ok=True)
                return []
            try:
                _build(part, header, pictures, skipped, workers, progress)
            except ConfigurationError:  # nothing to build it from
                part.unlink()
                skipped.unlink(missing_ok=True)
                raise
            part.replace(path)
    return pop_lines(skipped)


def _is_built(path: Path, header: BankHeader) -> bool:
    """Whether the bank is there; raises if something else is."""
    if path.exists() and dataclasses.replace(BankHeader.read(path), digest="") != header:
        raise ConfigurationError(f"{path}: is another file or bank; choose another name, or remove it.")
    return path.exists()


def _build(
    part: Path, header: BankHeader, pictures: ImageFiles | None, skipped: Path, workers: int, progress: Progress
) -> None:
    """Make what is missing of a file that becomes a bank, its digest last."""
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
    try:
        missing = _missing_chunks(descriptor, header)
        tasks = [(number, len(header.chunk(number))) for number in missing]
        done = header.n - sum(count for _, count in tasks)
        failed = run_tasks(_Chunk(part, header, pictures, skipped), tasks, workers, progress, done, "texture")
        if failed:
            raise DatasetError(f"{part}: {next(iter(failed.values()))}; the same command goes on.")
        finished = header.with_digest(_read_hashes(descriptor, header))
        write_at(descriptor, memoryview(finished.to_bytes()), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Keep other builders of a bank away; waits for another one to end, unless it is interrupted."""
    said = False
    while True:
        with hold_lock(part.with_name(part.name + ".lock")) as held:
            if held:
                yield
                return
        if not said:
            log.warning("Waiting for another process that builds %s.", part)
        said = True
        if interrupted():
            raise DatasetError(f"{part}: another process builds it.")
        time.sleep(0.2)


def _missing_chunks(descriptor: int, header: BankHeader) -> list[int]:
    """Pieces that are still to be made; what another bank has left behind is thrown away."""
    finished = header.with_digest(_read_hashes(descriptor, header))  # a run may have been killed just before the renaming
    known = read_at(descriptor, _HEADER_BYTES, 0) in (header.to_bytes(), finished.to_bytes())
    if not known or os.fstat(descriptor).st_size != header.file_bytes:
        os.ftruncate(descriptor, 0)
        write_at(descriptor, memoryview(header.to_bytes()), 0)
        os.ftruncate(descriptor, header.file_bytes)
        return list(range(header.num_chunks))
    hashes = _read_hashes(descriptor, header)
    found = [hashes[k : k + _HASH_BYTES] for k in range(0, len(hashes), _HASH_BYTES)]
    return [k for k, one in enumerate(found) if not any(one) or one != _hash_chunk(descriptor, header, k)]


@dataclass(frozen=True)
class _Chunk:
    """Make one piece of a bank and write it into place, its hash last."""

    part: Path
    header: BankHeader
    pictures: ImageFiles | None
    skipped: Path

    def __call__(self, number: int, tick: Callable[[], None]) -> None:
        header, digest = self.header, hashlib.sha256()
        make: Any = GENERATORS[header.kind].make if self.pictures is None else ImageTextures(self.pictures, self.skipped)
        with wrap_os_errors(self.part):
            descriptor = os.open(self.part, os.O_WRONLY | getattr(os, "O_BINARY", 0))
            try:
                for index in header.chunk(number):
                    texture = np.ascontiguousarray(make(header.seed, index, header.size))
                    digest.update(texture.data)
                    write_at(descriptor, texture.data, header.texture_at(index))
                    tick()
                os.fsync(descriptor)
                write_at(descriptor, memoryview(digest.digest()), header.hashes_at + number * _HASH_BYTES)
            finally:
                os.close(descriptor)
