"""Choose the texture banks of a preset, and build those that are missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from synvid.errors import ConfigurationError
from synvid.formatting import format_count
from synvid.paths import expand_user
from synvid.preset import BANK_SUFFIX, TEXTURE_KINDS, Preset

if TYPE_CHECKING:  # what loads NumPy or Numba is imported inside functions: `synvid --help` imports this module
    from synvid.runtime.progress import Reporter
    from synvid.textures.bank import BankHeader
    from synvid.textures.image_folder import ImageFiles

__all__ = ["list_image_files", "missing_banks", "parse_texture_options", "resolve_textures"]


def parse_texture_options(options: Iterable[str]) -> dict[str, str]:
    """Parse the values of `--textures`.

    Args:
        options: texts of the form NAME=BANK.

    Returns:
        Paths of banks by name.

    Raises:
        ConfigurationError: a text has another form.
    """
    paths = {}
    for text in options:
        name, equals, path = text.partition("=")
        if not equals or not path.endswith(BANK_SUFFIX):
            raise ConfigurationError(f"--textures {text}: write NAME=BANK, a name and a file ending in {BANK_SUFFIX}.")
        paths[name] = path
    return paths


def list_image_files(folder: Path | None) -> ImageFiles | None:
    """The image files below a folder; None for no folder. The folder is read on first access; the result is reused."""
    from synvid.textures.image_folder import ImageFiles

    return None if folder is None else ImageFiles(folder)


def resolve_textures(
    preset: Preset,
    textures: Mapping[str, str],
    image_files: ImageFiles | None,
    workers: int | None,
    reporter: Reporter,
) -> tuple[Preset, dict[str, BankHeader]]:
    """Set the texture banks of a preset, build those that are missing, and check all of them.

    Args:
        preset: the preset.
        textures: paths of banks, by the names that the preset has for them.
        image_files: the images from which the bank `images` is built; None for those that scikit-image ships.
        workers: number of worker processes; None for all cores.
        reporter: receives messages and progress.

    Returns:
        The preset with paths of banks, and the header of each bank by path or kind.

    Raises:
        ConfigurationError: a name is not a bank of the preset, a file is not a bank, or there are no images.
        DatasetError: a bank is damaged, or cannot be written.
    """
    preset, buildable = _choose_banks(preset, textures, image_files)
    if not preset.banks():
        return preset, {}

    from synvid.textures.bank_cache import ensure_cached_bank, open_or_build_bank

    for header, images in buildable:
        ensure_cached_bank(header, images, workers, reporter.progress(header.kind), reporter.message)
    headers = {}
    for name in preset.banks():
        bank = open_or_build_bank(name)
        bank.check()
        headers[name] = bank.header
        _report_limits(bank.header, name, preset, reporter)
    return preset, headers


def missing_banks(preset: Preset, textures: Mapping[str, str], image_files: ImageFiles | None) -> list[BankHeader]:
    """Headers of the banks that `resolve_textures` would build."""
    from synvid.textures.bank_cache import cached_bank_path

    _, buildable = _choose_banks(preset, textures, image_files)
    return [header for header, images in buildable if not cached_bank_path(header, images).is_file()]


def _choose_banks(
    preset: Preset, textures: Mapping[str, str], image_files: ImageFiles | None
) -> tuple[Preset, list[tuple[BankHeader, ImageFiles | None]]]:
    """The preset with the banks that were asked for, and header and images of those that are kept in the user's cache."""
    paths = _check_given_banks(preset, textures)
    if image_files is not None and "images" not in preset.banks():
        raise ConfigurationError(f"images {image_files.folder}: {preset.name} shows no natural images.")
    if image_files is not None and "images" in paths:
        raise ConfigurationError(
            f"images {image_files.folder}: textures names a bank for images too; leave out one of the two."
        )
    for name in preset.banks():
        if name not in TEXTURE_KINDS:
            paths.setdefault(name, str(expand_user(name).resolve()))
    if not preset.banks():
        return preset, []

    from synvid.textures.bank_cache import cached_bank_path, make_bank_header

    buildable: list[tuple[BankHeader, ImageFiles | None]] = []
    if image_files is not None:
        header = make_bank_header("images", image_files=image_files)
        paths["images"] = str(cached_bank_path(header, image_files))
        buildable.append((header, image_files))
    preset = preset.with_banks(paths)
    buildable += [(make_bank_header(name), None) for name in preset.banks() if name in TEXTURE_KINDS]
    return preset, buildable


def _check_given_banks(preset: Preset, textures: Mapping[str, str]) -> dict[str, str]:
    """Absolute paths of the banks that the user named."""
    paths = {}
    for name, path in textures.items():
        if name not in preset.banks():
            names = ", ".join(preset.banks()) or "none"
            raise ConfigurationError(f"textures {name}={path}: {preset.name} has no bank {name!r}; its banks: {names}.")
        paths[name] = str(expand_user(path).resolve())
        if name.endswith("-walk"):
            from synvid.textures.bank import open_bank

            if open_bank(paths[name]).header.frames == 1:
                raise ConfigurationError(f"textures {name}={path}: the bank holds still textures; {name} needs moving ones.")
    return paths


def _report_limits(header: BankHeader, name: str, preset: Preset, reporter: Reporter) -> None:
    """Tell the user if a bank is smaller or older than the preset expects."""
    from synvid.textures.generators import GENERATORS

    if name == "images":
        reporter.message(
            "images: no folder of images is given (--images DIR, or images=); the few that scikit-image ships are used."
        )
    generator = GENERATORS.get(header.kind)
    if generator is not None and generator.version != header.version:
        reporter.message(
            f"{name}: made by version {header.version} of {header.kind}; this synvid has version {generator.version}."
        )
    source = preset.mixture.source
    users = [each for each in (preset, source) if isinstance(each, Preset) and name in each.fill.textures]
    max_textures = max(each.fill.max_textures for each in users)
    if header.n < max_textures:
        reporter.message(
            f"{name}: a bank of {format_count(header.n, 'texture')}, where the preset would use up to {max_textures:,}."
        )
