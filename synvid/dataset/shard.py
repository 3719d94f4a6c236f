"""Rendering one shard: a pure function of the recipe and the shard's number."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from synvid.dataset.layout import clip_key, record_path, shard_path
from synvid.dataset.real_videos import UndecodableError
from synvid.dataset.recipe import RECIPE_FILE, DatasetRecipe
from synvid.dataset.record import Row, ShardRecord, read_rows, write_record
from synvid.errors import DatasetError
from synvid.os_errors import wrap_os_errors
from synvid.preset import REAL
from synvid.renderer import render_frames
from synvid.runtime.signals import raise_if_interrupted
from synvid.scene.sample import sample_scene
from synvid.scene.scene import Scene
from synvid.storage.atomic_io import file_sha256
from synvid.storage.workspace import STATE_FOLDER, workspace
from synvid.video.encode import Encoder

__all__ = [
    "SKIPPED",
    "commit_shard",
    "copy_shard",
    "frame_chunks",
    "frames_sha256",
    "render_clip",
    "render_shard",
    "warm_up_kernels",
]


T = TypeVar("T")

#: Names of real videos that could not be decoded, until the run that tried has ended.
SKIPPED = "unreadable.txt"

#: Frames are rendered, hashed and encoded in pieces of about this many bytes: memory stays flat, and in the cache.
_PIECE_BYTES = 4_000_000


# ---- One clip -----------------------------------------------------------------------------------------------------
def frame_chunks(scene: Scene) -> Iterator[NDArray[np.uint8]]:
    """The frames of a scene in order, some at a time, uint8 (T, H, W, 3)."""
    step = max(1, min(32, _PIECE_BYTES // (scene.height * scene.width * 3)))
    for start in range(0, scene.num_frames, step):
        yield render_frames(scene, range(start, min(start + step, scene.num_frames)))


@dataclass
class _FrameStream:
    """Where the frames of a clip come from, and what has gone by of them.

    Attributes:
        preset: name of the one it was drawn from, or `real`.
        objects: how many there are.
        file: a real clip's.
        frames: how many have been taken.
        digest: of their bytes.
    """

    preset: str
    objects: int
    file: str
    chunks: Iterator[NDArray[np.uint8]]
    frames: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for piece in self.chunks:
            raise_if_interrupted()
            self.frames += len(piece)
            self.digest.update(piece.data)
            yield piece


def _sources(recipe: DatasetRecipe, index: int) -> Iterator[_FrameStream]:
    """The source of a clip; of a real one, those that follow take its place when it cannot be decoded."""
    chosen = recipe.preset.preset_for_clip(index)
    if chosen is not None:
        scene = sample_scene(recipe.local, recipe.seed, index)
        yield _FrameStream(chosen.name, scene.num_objects, "", frame_chunks(scene))
        return
    assert recipe.real is not None  # Recipe has seen to it
    for name in recipe.real.candidates(recipe.seed, recipe.preset.mixture.rank(index)):
        yield _FrameStream(REAL, 0, name, recipe.real.pieces(name, recipe.preset.video, recipe.seed, index))


def _first_sound(
    recipe: DatasetRecipe, index: int, use: Callable[[_FrameStream], T], skipped: Path | None
) -> tuple[T, _FrameStream]:
    """Use the first source of a clip that can be read to its end; names of the others are added to a file."""
    for source in _sources(recipe, index):
        try:
            result = use(source)
        except UndecodableError:
            pass
        else:
            if source.frames:
                return result, source
        if skipped is not None:
            with skipped.open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(source.file + "\n")
    path = recipe.real.path if recipe.real else ""
    raise DatasetError(f"{path}: none of its videos can be decoded.")


def render_clip(recipe: DatasetRecipe, index: int, encoder: Encoder, skipped: Path | None = None) -> tuple[bytes, Row]:
    """Render and encode one clip.

    Args:
        recipe: of the dataset.
        index: of the clip.
        encoder: of the recipe.
        skipped: a file to which the names of real videos that cannot be decoded are added.

    Returns:
        The bytes of the MP4 file, and the clip's row of the manifest without its place.
    """
    size = recipe.preset.video
    video, source = _first_sound(recipe, index, lambda some: encoder(some, size.width, size.height, size.fps), skipped)
    return video, _row(recipe, index, source)


def frames_sha256(recipe: DatasetRecipe, index: int) -> str:
    """SHA-256 of a clip's frames, rendered anew: its uint8 (T, H, W, 3) RGB bytes."""
    _, source = _first_sound(recipe, index, lambda some: sum(1 for _ in some), None)
    return str(source.digest.hexdigest())


def warm_up_kernels(recipe: DatasetRecipe) -> None:
    """Compile, or load from the cache, all that rendering a clip needs, so that worker processes find it done."""
    video = recipe.preset.video
    index = next((index for index in range(recipe.n) if recipe.preset.preset_for_clip(index) is not None), None)
    if index is not None:
        frames = render_frames(sample_scene(recipe.local, recipe.seed, index), [0])
        recipe.make_encoder()([frames], video.width, video.height, video.fps)


def _row(recipe: DatasetRecipe, index: int, source: _FrameStream) -> Row:
    """What a manifest says of a clip besides its place: flat, reals with a point, nothing null."""
    video = recipe.preset.video
    row = {
        "key": clip_key(index),
        "index": index,
        "preset": source.preset,
        "seed": recipe.seed,
        "frames": source.frames,
        "fps": float(video.fps),
        "width": video.width,
        "height": video.height,
        "objects": source.objects,
        "sha256": source.digest.hexdigest(),
        "recipe": recipe.digest,
    }
    return {**row, "file": source.file} if recipe.real is not None else row


# ---- One shard -----------------------------------------------------------------------------------------------------
def render_shard(recipe: DatasetRecipe, folder: Path, shard: int, tick: Callable[[], None] = lambda: None) -> None:
    """Render a shard into a dataset: all of it, or nothing.

    Args:
        recipe: of the dataset.
        folder: of the dataset.
        shard: its number.
        tick: called after every clip; what it raises ends the work and leaves nothing behind.

    Raises:
        DatasetError: the file system refuses.
    """
    with wrap_os_errors(folder), workspace(folder) as room:
        made = room / "shard"
        write = _write_tar if recipe.format == "tar" else _write_files
        rows = write(recipe, shard, made, folder / STATE_FOLDER / SKIPPED, tick)
        commit_shard(made, folder, recipe, shard, rows)


def copy_shard(recipe: DatasetRecipe, source: Path, folder: Path, shard: int) -> None:
    """Copy a finished shard from another folder of the same recipe.

    Raises:
        DatasetError: the source's record is gone, or the file system refuses.
    """
    record, rows = ShardRecord.read(recipe, source, shard), read_rows(recipe, source, shard)
    if record is None or rows is None:
        raise DatasetError(f"{record_path(source, shard)}: is damaged; `synvid verify` and `synvid render` mend it.")
    with wrap_os_errors(folder), workspace(folder) as room:
        made, place = room / "shard", source / shard_path(recipe, shard)
        if place.is_dir():
            shutil.copytree(place, made)
        else:
            shutil.copyfile(place, made)
        found = list_files(made, shard_path(recipe, shard))
        altered = [file["path"] for file in record.files if file not in found] or [place.name] * (found != record.files)
        if altered:
            raise DatasetError(f"{source / altered[0]}: has been altered; `synvid verify` and `synvid render` mend it.")
        commit_shard(made, folder, recipe, shard, rows)


def commit_shard(made: Path, folder: Path, recipe: DatasetRecipe, shard: int, rows: list[Row]) -> None:
    """Move a finished shard from a workspace to its place and declare it done.

    Raises:
        DatasetError: the folder has become the home of another dataset in the meantime, or the file system refuses.
    """
    there = DatasetRecipe.load(folder)
    if (there.digest, there.indices(shard)) != (recipe.digest, recipe.indices(shard)):
        raise DatasetError(f"{folder / RECIPE_FILE}: is another one than when this run began; the shard is thrown away.")
    place = shard_path(recipe, shard)
    files = list_files(made, place)
    target = folder / place
    (target if made.is_dir() else target.parent).mkdir(parents=True, exist_ok=True)
    for file in files:  # one by one: a folder may hold somebody else's files, too
        (made / Path(file["path"]).name if made.is_dir() else made).replace(folder / file["path"])
    write_record(recipe, folder, shard, files, rows, made.parent)


def list_files(made: Path, place: Path) -> list[Row]:
    """The files of a shard with size and hash, under the names they have in the dataset."""
    files = [(path, place / path.name) for path in sorted(made.iterdir())] if made.is_dir() else [(made, place)]
    return [{"path": name.as_posix(), "bytes": path.stat().st_size, "sha256": file_sha256(path)} for path, name in files]


def _write_tar(recipe: DatasetRecipe, shard: int, path: Path, skipped: Path, tick: Callable[[], None]) -> list[Row]:
    """A tar file of {key}.mp4 and {key}.json, with nothing in it that depends on when or by whom it was written."""
    encoder, rows, name = recipe.make_encoder(), [], shard_path(recipe, shard).as_posix()
    with path.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for index in recipe.indices(shard):
            video, row = render_clip(recipe, index, encoder, skipped)
            offset = _add(tar, f"{row['key']}.mp4", video)
            _add(tar, f"{row['key']}.json", json.dumps(row).encode())
            rows.append({**row, "shard": name, "offset": offset, "size": len(video)})
            tick()
        tar.close()
        file.flush()
        os.fsync(file.fileno())
    return rows


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Append a member; where in the tar file its data begin."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    start = tar.offset + tarfile.BLOCKSIZE
    tar.addfile(member, io.BytesIO(data))
    return start


def _write_files(recipe: DatasetRecipe, shard: int, path: Path, skipped: Path, tick: Callable[[], None]) -> list[Row]:
    """A folder of {key}.mp4."""
    encoder, rows, place = recipe.make_encoder(), [], shard_path(recipe, shard)
    path.mkdir()
    for index in recipe.indices(shard):
        video, row = render_clip(recipe, index, encoder, skipped)
        name = f"{row['key']}.mp4"
        with (path / name).open("wb") as file:
            file.write(video)
            file.flush()
            os.fsync(file.fileno())
        rows.append({"file_name": (place / name).as_posix(), **row, "size": len(video)})
        tick()
    return rows
