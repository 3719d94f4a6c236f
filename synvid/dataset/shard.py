"""Render one clip or one shard. Both depend only on the recipe and their number."""

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
from synvid.dataset.record import FileEntry, ManifestRow, ShardRecord, read_rows, write_record
from synvid.errors import DatasetError
from synvid.os_errors import wrap_os_errors
from synvid.preset import REAL
from synvid.renderer import render_frames
from synvid.runtime.signals import raise_if_interrupted
from synvid.scene.sample import sample_scene
from synvid.scene.scene import Scene
from synvid.storage.atomic_io import file_sha256
from synvid.storage.workspace import STATE_FOLDER, workspace
from synvid.video.encode import VideoEncoder

__all__ = [
    "UNREADABLE_VIDEOS",
    "commit_shard",
    "copy_shard",
    "frame_chunks",
    "frames_sha256",
    "render_clip",
    "render_shard",
    "warm_up_kernels",
]


T = TypeVar("T")

#: File in the state folder to which worker processes append the names of undecodable real videos, until the end of the run.
UNREADABLE_VIDEOS = "unreadable.txt"

#: Frames are rendered, hashed and encoded in chunks of about this size, so that memory stays constant and caches warm.
_CHUNK_BYTES = 4_000_000


# ---- One clip -----------------------------------------------------------------------------------------------------
def frame_chunks(scene: Scene) -> Iterator[NDArray[np.uint8]]:
    """Render the frames of a scene in order, as chunks: uint8 (T, H, W, 3), RGB."""
    step = max(1, min(32, _CHUNK_BYTES // (scene.height * scene.width * 3)))
    for start in range(0, scene.num_frames, step):
        yield render_frames(scene, range(start, min(start + step, scene.num_frames)))


@dataclass
class _ClipFrames:
    """The frames of a clip, counted and hashed while they are iterated over.

    Attributes:
        preset: name of the preset, or `real`.
        num_objects: number of objects; 0 for a real clip.
        file: name of the video file of a real clip, else empty.
        chunks: uint8 (T, H, W, 3), RGB.
        num_frames: number of frames iterated over so far.
        digest: SHA-256 of these frames.
    """

    preset: str
    num_objects: int
    file: str
    chunks: Iterator[NDArray[np.uint8]]
    num_frames: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for chunk in self.chunks:
            raise_if_interrupted()
            self.num_frames += len(chunk)
            self.digest.update(chunk.data)
            yield chunk


def _candidates(recipe: DatasetRecipe, index: int) -> Iterator[_ClipFrames]:
    """Yield the frames of a clip; for a real clip also those of further video files, in case the first cannot be decoded."""
    preset = recipe.preset.preset_for_clip(index)
    if preset is not None:
        scene = sample_scene(recipe.local_preset, recipe.seed, index)
        yield _ClipFrames(preset.name, scene.num_objects, "", frame_chunks(scene))
        return
    assert recipe.real is not None  # checked by DatasetRecipe
    for name in recipe.real.candidates(recipe.seed, recipe.preset.mixture.rank(index)):
        yield _ClipFrames(REAL, 0, name, recipe.real.frame_chunks(name, recipe.preset.video, recipe.seed, index))


def _use_first_decodable(
    recipe: DatasetRecipe, index: int, use: Callable[[_ClipFrames], T], unreadable_log: Path | None
) -> tuple[T, _ClipFrames]:
    """Apply a function to the first candidate that can be decoded; append the names of the others to a log file."""
    for clip in _candidates(recipe, index):
        try:
            result = use(clip)
        except UndecodableError:
            pass
        else:
            if clip.num_frames:
                return result, clip
        if unreadable_log is not None:
            with unreadable_log.open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(clip.file + "\n")
    path = recipe.real.path if recipe.real else ""
    raise DatasetError(f"{path}: none of its videos can be decoded.")


def render_clip(
    recipe: DatasetRecipe, index: int, encoder: VideoEncoder, unreadable_log: Path | None = None
) -> tuple[bytes, ManifestRow]:
    """Render and encode one clip.

    Args:
        recipe: the recipe of the dataset.
        index: index of the clip.
        encoder: from `recipe.make_encoder()`.
        unreadable_log: file to which the names of undecodable real videos are appended.

    Returns:
        The MP4 file, and the clip's manifest row without its location.

    Raises:
        DatasetError: no real video can be decoded.
    """
    size = recipe.preset.video
    video, clip = _use_first_decodable(
        recipe, index, lambda frames: encoder(frames, size.width, size.height, size.fps), unreadable_log
    )
    return video, _manifest_row(recipe, index, clip)


def frames_sha256(recipe: DatasetRecipe, index: int) -> str:
    """Render a clip again and return the SHA-256 of its frames, the bytes of uint8 (T, H, W, 3), RGB."""
    _, clip = _use_first_decodable(recipe, index, lambda frames: sum(1 for _ in frames), None)
    return str(clip.digest.hexdigest())


def warm_up_kernels(recipe: DatasetRecipe) -> None:
    """Render and encode one frame, which compiles the kernels or loads them from the cache, before processes are forked.

    Raises:
        ConfigurationError: the encoder rejects its settings.
    """
    video = recipe.preset.video
    index = next((index for index in range(recipe.n) if recipe.preset.preset_for_clip(index) is not None), None)
    if index is not None:
        frames = render_frames(sample_scene(recipe.local_preset, recipe.seed, index), [0])
        recipe.make_encoder()([frames], video.width, video.height, video.fps)


def _manifest_row(recipe: DatasetRecipe, index: int, clip: _ClipFrames) -> ManifestRow:
    """Return the manifest row without the location: a flat object, without null, `fps` with a decimal point.

    `key` must come first. `_write_tar` and `_write_files` add the location; `record.row_problem` must list every key.
    """
    video = recipe.preset.video
    row = {
        "key": clip_key(index),
        "index": index,
        "preset": clip.preset,
        "seed": recipe.seed,
        "frames": clip.num_frames,
        "fps": float(video.fps),
        "width": video.width,
        "height": video.height,
        "objects": clip.num_objects,
        "sha256": clip.digest.hexdigest(),
        "recipe": recipe.digest,
    }
    return {**row, "file": clip.file} if recipe.real is not None else row


# ---- One shard -----------------------------------------------------------------------------------------------------
def render_shard(recipe: DatasetRecipe, folder: Path, shard: int, on_progress: Callable[[], None] = lambda: None) -> None:
    """Render a shard into a dataset, completely or not at all.

    Args:
        recipe: the recipe of the dataset.
        folder: the dataset.
        shard: number of the shard.
        on_progress: called after each clip. An exception it raises ends the work; temporary files are removed.

    Raises:
        DatasetError: a file or folder cannot be read or written, or the folder now holds another dataset.
    """
    with wrap_os_errors(folder), workspace(folder) as tmp_dir:
        rendered = tmp_dir / "shard"
        write = _write_tar if recipe.format == "tar" else _write_files
        rows = write(recipe, shard, rendered, folder / STATE_FOLDER / UNREADABLE_VIDEOS, on_progress)
        commit_shard(rendered, folder, recipe, shard, rows)


def copy_shard(recipe: DatasetRecipe, source: Path, folder: Path, shard: int) -> None:
    """Copy a finished shard from another folder of the same recipe.

    Args:
        recipe: the recipe of both datasets.
        source: the dataset to copy from.
        folder: the dataset to copy to.
        shard: number of the shard.

    Raises:
        DatasetError: the source is damaged, or a file or folder cannot be read or written.
    """
    record, rows = ShardRecord.read(recipe, source, shard), read_rows(recipe, source, shard)
    if record is None or rows is None:
        raise DatasetError(f"{record_path(source, shard)}: is damaged; `synvid verify` and `synvid render` repair it.")
    with wrap_os_errors(folder), workspace(folder) as tmp_dir:
        copied, path = tmp_dir / "shard", shard_path(recipe, shard)
        if (source / path).is_dir():
            shutil.copytree(source / path, copied)
        else:
            shutil.copyfile(source / path, copied)
        files = list_files(copied, path)
        altered = [file["path"] for file in record.files if file not in files]
        if altered or files != record.files:
            name = altered[0] if altered else path
            raise DatasetError(f"{source / name}: has been altered; `synvid verify` and `synvid render` repair it.")
        commit_shard(copied, folder, recipe, shard, rows)


def commit_shard(rendered: Path, folder: Path, recipe: DatasetRecipe, shard: int, rows: list[ManifestRow]) -> None:
    """Move a finished shard from a workspace into the dataset, then write its record.

    Args:
        rendered: the tar file, or the folder of videos, in a workspace.
        folder: the dataset.
        recipe: the recipe of the dataset.
        shard: number of the shard.
        rows: the shard's rows of the manifest.

    Raises:
        DatasetError: the folder now holds another dataset, or a file or folder cannot be read or written.
    """
    # Read again for each shard: another run may have overwritten the dataset, or made it larger, since this run began.
    current = DatasetRecipe.load(folder)
    if (current.digest, current.indices(shard)) != (recipe.digest, recipe.indices(shard)):
        raise DatasetError(f"{folder / RECIPE_FILE}: has changed since this run began; the shard is discarded.")
    path = shard_path(recipe, shard)
    files = list_files(rendered, path)
    target = folder / path
    (target if rendered.is_dir() else target.parent).mkdir(parents=True, exist_ok=True)
    for file in files:  # one by one: the folder may also hold files of the user
        (rendered / Path(file["path"]).name if rendered.is_dir() else rendered).replace(folder / file["path"])
    write_record(recipe, folder, shard, files, rows, rendered.parent)


def list_files(rendered: Path, path: Path) -> list[FileEntry]:
    """List the files of a shard with path in the dataset, bytes and SHA-256.

    Args:
        rendered: the tar file or the folder of videos, wherever it is.
        path: path of the shard in the dataset.
    """
    files = [(file, path / file.name) for file in sorted(rendered.iterdir())] if rendered.is_dir() else [(rendered, path)]
    return [{"path": name.as_posix(), "bytes": file.stat().st_size, "sha256": file_sha256(file)} for file, name in files]


def _write_tar(
    recipe: DatasetRecipe, shard: int, path: Path, unreadable_log: Path, on_progress: Callable[[], None]
) -> list[ManifestRow]:
    """Write a tar file of {key}.mp4 and {key}.json, without dates and owners, and return its manifest rows."""
    encoder, rows, name = recipe.make_encoder(), [], shard_path(recipe, shard).as_posix()
    with path.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for index in recipe.indices(shard):
            video, row = render_clip(recipe, index, encoder, unreadable_log)
            offset = _add_member(tar, f"{row['key']}.mp4", video)
            _add_member(tar, f"{row['key']}.json", json.dumps(row).encode())
            rows.append({**row, "shard": name, "offset": offset, "size": len(video)})
            on_progress()
        tar.close()
        file.flush()
        os.fsync(file.fileno())
    return rows


def _add_member(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Append a member to a tar file and return the offset of its data."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    offset = tar.offset + tarfile.BLOCKSIZE
    tar.addfile(member, io.BytesIO(data))
    return offset


def _write_files(
    recipe: DatasetRecipe, shard: int, path: Path, unreadable_log: Path, on_progress: Callable[[], None]
) -> list[ManifestRow]:
    """Write a folder of {key}.mp4 and return its manifest rows."""
    encoder, rows, folder = recipe.make_encoder(), [], shard_path(recipe, shard)
    path.mkdir()
    for index in recipe.indices(shard):
        video, row = render_clip(recipe, index, encoder, unreadable_log)
        name = f"{row['key']}.mp4"
        with (path / name).open("wb") as file:
            file.write(video)
            file.flush()
            os.fsync(file.fileno())
        rows.append({"file_name": (folder / name).as_posix(), **row, "size": len(video)})
        on_progress()
    return rows
