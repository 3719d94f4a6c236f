"""Find the clip source that a command-line argument names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from synvid.dataset.reader import open_dataset
from synvid.dataset.recipe import RECIPE_FILE
from synvid.errors import ConfigurationError
from synvid.formatting import format_count
from synvid.paths import find_files
from synvid.preset import Preset, list_presets, load_preset
from synvid.runtime.progress import Reporter
from synvid.sources.base import ClipSource
from synvid.sources.files import ImagesSource, VideosSource
from synvid.sources.generated import DatasetSource, PresetSource
from synvid.textures.image_folder import IMAGE_SUFFIXES as IMAGES
from synvid.textures.resolve import find_image_files, resolve_textures
from synvid.video.decode import VIDEO_SUFFIXES as VIDEOS

__all__ = ["resolve_source", "resolve_sources"]


def resolve_sources(
    texts: Sequence[str], kind: str | None, seed: int, settings: Sequence[str], textures: Sequence[str], images: Path | None,
    reporter: Reporter,
) -> dict[str, ClipSource]:  # fmt: skip
    """What the command line names, by what it calls it; presets have their settings and their banks of textures.

    Raises:
        ConfigurationError: there is no such thing, two have the same name, or an option changes nothing.
    """
    pictures, known = find_image_files(images), set[str]()

    def prepare(preset: Preset) -> Preset:
        preset = preset.override_text(settings)
        known.update(preset.banks())
        wanted = pictures if "images" in preset.banks() else None
        given = tuple(text for text in textures if text.partition("=")[0] in preset.banks() or len(texts) == 1)
        return resolve_textures(preset, given, wanted, None, reporter)[0]

    sources: dict[str, ClipSource] = {}
    names: dict[str, str] = {}
    for text in texts:
        sources[text] = resolve_source(text, kind=kind, seed=seed, prepare=prepare)
        name = sources[text].name
        if name in names:
            rest = text.partition("=")[2] or text
            raise ConfigurationError(f"{names[name]} and {text} are both called {name}; give one a name: OTHER={rest}.")
        names[name] = text
    presets = [source.of for source in sources.values() if isinstance(source, PresetSource)]
    if settings and not presets:
        raise ConfigurationError(f"--set {settings[0]}: changes presets, and none is measured.")
    for text in textures:
        if text.partition("=")[0] not in known:
            raise ConfigurationError(f"--textures {text}: no preset that is measured has such a bank.")
    if images is not None and not any(name == "images" or name.endswith(".bank") for one in presets for name in one.banks()):
        raise ConfigurationError(f"--images {images}: none of what is measured is a preset that shows natural images.")
    return sources


# ---- Finding -------------------------------------------------------------------------------------------------------
def resolve_source(
    text: str,
    *,
    kind: str | None = None,
    seed: int = 0,
    prepare: Callable[[Preset], Preset] = lambda preset: preset,
) -> ClipSource:
    """What a path or name stands for.

    Args:
        text: a folder, a file, a preset, or one of them with a name of one's own before it: NAME=PATH.
        kind: `videos` or `images`, where a folder holds both.
        seed: of the clips of a preset.
        prepare: gives a preset its banks of textures, and may change it.

    Raises:
        ConfigurationError: there is no such thing, nothing in it, or both videos and pictures.
        DatasetError: a rendered set is not finished.
    """
    name, path = _named(text)
    if path.suffix in (".yaml", ".yml") and path.name != RECIPE_FILE:
        preset = load_preset(path)
        return PresetSource(name or preset.name, prepare(preset), seed)
    if path.name == RECIPE_FILE and path.is_file():
        path = path.parent
    if (path / RECIPE_FILE).is_file():
        return DatasetSource(name or path.resolve().name, open_dataset(path))
    if path.is_dir():
        return _folder_source(name or path.resolve().name, path, kind)
    if path.is_file():
        one = _of_kind(name or path.stem, path, kind)
        if one is None:
            raise ConfigurationError(f"{path}: is no video and no picture; they end in {', '.join(VIDEOS + IMAGES)}.")
        return one
    known = text if not name else str(path)
    if known in list_presets():
        preset = load_preset(known)
        return PresetSource(name or preset.name, prepare(preset), seed)
    if any(mark in known for mark in "/.~") and known.partition("/")[0] != "reference":
        raise ConfigurationError(f"{known}: no such file or folder.")
    try:
        load_preset(known)
    except ConfigurationError as error:
        raise ConfigurationError(f"{known}: no such folder, and {error}") from None
    raise AssertionError  # not in the list, and yet it loads


def _named(text: str) -> tuple[str, Path]:
    """Name and path of NAME=PATH; a path that exists is one, whatever signs it holds."""
    name, equals, rest = text.partition("=")
    try:
        path = Path(text).expanduser()
        if equals and name and rest and "/" not in name and not path.exists():
            path = Path(rest).expanduser()
        else:
            name = ""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # it may be a preset
            path.stat()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, or of a user who is not there
        why = error.strerror if isinstance(error, OSError) else "no such file or folder"
        raise ConfigurationError(f"{text[:80]}: {why}.") from None
    return name, path


def _folder_source(name: str, folder: Path, kind: str | None) -> ClipSource:
    found = {"videos": find_files(folder, VIDEOS), "images": find_files(folder, IMAGES)}
    some = [each for each in found if found[each] and kind in (None, each)]
    if len(some) == 2:
        raise ConfigurationError(
            f"{folder}: holds {format_count(len(found['videos']), 'video')} and {format_count(len(found['images']), 'picture')}; "
            "--kind videos or --kind images says which to measure."
        )
    if not some:
        what = {None: "no dataset, no video and no picture", "videos": "no video", "images": "no picture"}[kind]
        raise ConfigurationError(f"{folder}: holds {what}; they end in {', '.join(VIDEOS + IMAGES)}.")
    source = VideosSource if some[0] == "videos" else ImagesSource
    return source(name, folder, found[some[0]])


def _of_kind(name: str, path: Path, kind: str | None) -> ClipSource | None:
    """A single file as a source, if it is of a kind that is asked for."""
    for one, suffixes, source in (("videos", VIDEOS, VideosSource), ("images", IMAGES, ImagesSource)):
        if path.suffix.lower() in suffixes and kind in (None, one):
            found = source(name, path.parent, [path.name])
            found.path = str(path)
            return found
    return None
