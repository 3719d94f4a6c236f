"""Find the clip source that a path or a name stands for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from synvid.dataset.reader import open_dataset
from synvid.dataset.recipe import RECIPE_FILE
from synvid.errors import ConfigurationError
from synvid.file_formats import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from synvid.formatting import format_count
from synvid.paths import find_files
from synvid.preset import Preset, list_presets, load_preset
from synvid.runtime.progress import Reporter
from synvid.sources.base import ClipSource
from synvid.sources.files import FilesSource, ImagesSource, VideosSource
from synvid.sources.generated import DatasetSource, PresetSource
from synvid.textures.resolve_banks import list_image_files, resolve_textures

__all__ = ["resolve_source", "resolve_sources"]


#: Sources of files by kind, and the suffixes of their files.
_FILE_SOURCES: Mapping[str, tuple[type[FilesSource], tuple[str, ...]]] = {
    "videos": (VideosSource, VIDEO_SUFFIXES),
    "images": (ImagesSource, IMAGE_SUFFIXES),
}
_SUFFIXES = ", ".join(VIDEO_SUFFIXES + IMAGE_SUFFIXES)


def resolve_sources(
    texts: Sequence[str], kind: str | None, seed: int, settings: Sequence[str], textures: Mapping[str, str],
    images: Path | None, reporter: Reporter,
) -> dict[str, ClipSource]:  # fmt: skip
    """Find several sources. Settings and texture banks apply to those that are presets.

    Args:
        texts: paths or names, as in `resolve_source`.
        kind: `videos` or `images`, for folders that hold both.
        seed: random seed of the clips of presets.
        settings: changes of presets, KEY=VALUE.
        textures: paths of banks, by the names that presets have for them.
        images: folder of the images from which the bank `images` is built; None for those that scikit-image ships.
        reporter: receives messages and progress of building banks.

    Returns:
        The sources by text.

    Raises:
        ConfigurationError: a source does not exist, two have the same name, or an option applies to none of them.
        DatasetError: a dataset is not finished, or a bank is damaged.
    """
    image_files, bank_names = list_image_files(images), set[str]()

    def prepare(preset: Preset) -> Preset:
        preset = preset.override_text(settings)
        banks = preset.banks()
        bank_names.update(banks)
        given = {name: path for name, path in textures.items() if name in banks or len(texts) == 1}
        return resolve_textures(preset, given, image_files if "images" in banks else None, None, reporter)[0]

    sources: dict[str, ClipSource] = {}
    texts_by_name: dict[str, str] = {}
    for text in texts:
        sources[text] = resolve_source(text, kind=kind, seed=seed, prepare=prepare)
        name = sources[text].name
        if name in texts_by_name:
            rest = text.partition("=")[2] or text
            raise ConfigurationError(
                f"{texts_by_name[name]} and {text} are both called {name}; give one another name: OTHER={rest}."
            )
        texts_by_name[name] = text
    presets = [source.preset for source in sources.values() if isinstance(source, PresetSource)]
    if settings and not presets:
        raise ConfigurationError(f"--set {settings[0]}: only presets have settings, and no preset is measured.")
    for name, path in textures.items():
        if name not in bank_names:
            raise ConfigurationError(f"--textures {name}={path}: no preset that is measured has such a bank.")
    banks = [name for preset in presets for name in preset.banks()]
    if images is not None and not any(name == "images" or name.endswith(".bank") for name in banks):
        raise ConfigurationError(f"--images {images}: no preset that is measured shows natural images.")
    return sources


def resolve_source(
    text: str,
    *,
    kind: str | None = None,
    seed: int = 0,
    prepare: Callable[[Preset], Preset] = lambda preset: preset,
) -> ClipSource:
    """Find the source that a path or a name stands for.

    Args:
        text: a folder, a file or a preset, or NAME=PATH to give it a name for reports.
        kind: `videos` or `images`, for a folder that holds both.
        seed: random seed of the clips of a preset.
        prepare: changes a preset, and sets its texture banks.

    Raises:
        ConfigurationError: there is no such source, it is empty, or a folder holds both videos and images.
        DatasetError: a dataset is not finished.
    """
    name, path = _split_name(text)
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
        return _file_source(name or path.stem, path, kind)
    return _preset_source(name, text if not name else str(path), seed, prepare)


def _split_name(text: str) -> tuple[str, Path]:
    """Split NAME=PATH; the name is empty if there is none, or if the whole text is a path that exists."""
    name, equals, rest = text.partition("=")
    try:
        path = Path(text).expanduser()
        if equals and name and rest and "/" not in name and not path.exists():
            path = Path(rest).expanduser()
        else:
            name = ""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # it may be a preset
            path.stat()
    except (OSError, RuntimeError, ValueError) as error:  # a name that is too long, or of an unknown user
        why = error.strerror if isinstance(error, OSError) else "no such file or folder"
        raise ConfigurationError(f"{text[:80]}: {why}.") from None
    return name, path


def _folder_source(name: str, folder: Path, kind: str | None) -> ClipSource:
    files = {each: find_files(folder, suffixes) for each, (_, suffixes) in _FILE_SOURCES.items()}
    kinds = [each for each in files if files[each] and kind in (None, each)]
    if len(kinds) == 2:
        counts = [format_count(len(files[each]), each[:-1]) for each in kinds]
        raise ConfigurationError(
            f"{folder}: holds {' and '.join(counts)}; say which to measure: --kind videos or --kind images."
        )
    if not kinds:
        what = {None: "no dataset, no video and no image", "videos": "no video", "images": "no image"}[kind]
        raise ConfigurationError(f"{folder}: holds {what}; their files end in {_SUFFIXES}.")
    return _FILE_SOURCES[kinds[0]][0](name, folder, files[kinds[0]])


def _file_source(name: str, path: Path, kind: str | None) -> ClipSource:
    for each, (source, suffixes) in _FILE_SOURCES.items():
        if path.suffix.lower() in suffixes and kind in (None, each):
            return source(name, path.parent, [path.name], path)
    raise ConfigurationError(f"{path}: is neither a video nor an image; their files end in {_SUFFIXES}.")


def _preset_source(name: str, preset_name: str, seed: int, prepare: Callable[[Preset], Preset]) -> ClipSource:
    if preset_name in list_presets():
        preset = load_preset(preset_name)
        return PresetSource(name or preset.name, prepare(preset), seed)
    if any(mark in preset_name for mark in "/.~") and preset_name.partition("/")[0] != "reference":
        raise ConfigurationError(f"{preset_name}: no such file or folder.")
    try:
        load_preset(preset_name)
    except ConfigurationError as error:
        raise ConfigurationError(f"{preset_name}: no such folder, and {error}") from None
    raise AssertionError  # a preset that loads is listed
