"""Choose the texture banks of a preset, and build those that are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synvid.errors import ConfigurationError

if TYPE_CHECKING:
    from synvid.preset import Preset
    from synvid.runtime.progress import Reporter
    from synvid.textures.bank import BankHeader
    from synvid.textures.image_folder import ImageFiles

__all__ = ["find_image_files", "missing_banks", "parse_texture_options", "resolve_textures"]


def find_image_files(images: Path | None) -> ImageFiles | None:
    """What --images names; to be asked for once, so that the folder is listed once."""
    from synvid.textures.image_folder import ImageFiles

    return None if images is None else ImageFiles(images)


def resolve_textures(
    preset: Preset, textures: Sequence[str], pictures: ImageFiles | None, workers: int | None, reporter: Reporter
) -> tuple[Preset, dict[str, BankHeader]]:
    """The preset with the banks of textures that were asked for, all of them built, and what they hold."""
    preset, cached = _choose_banks(preset, textures, pictures)
    if not preset.banks():
        return preset, {}

    from synvid.textures.bank_cache import cached_bank, find_bank

    headers = {}
    for header, shown in cached:
        cached_bank(header, shown, workers, reporter.progress(header.kind), reporter.message)
    for name in preset.banks():
        bank = find_bank(name)
        bank.check()
        headers[name] = bank.header
        _say_what_is_in(bank.header, name, preset, reporter.message)
    return preset, headers


def parse_texture_options(textures: Sequence[str]) -> dict[str, str]:
    """What --textures says: paths of banks by name."""
    from synvid.preset import BANK_SUFFIX

    paths = {}
    for text in textures:
        name, equals, path = text.partition("=")
        if not equals or not path.endswith(BANK_SUFFIX):
            raise ConfigurationError(f"--textures {text}: write NAME=BANK, a name and a file ending in {BANK_SUFFIX}.")
        paths[name] = path
    return paths


def missing_banks(preset: Preset, textures: Sequence[str], pictures: ImageFiles | None) -> list[BankHeader]:
    """What `with_textures` would build."""
    from synvid.textures.bank_cache import cached_bank_path

    _, cached = _choose_banks(preset, textures, pictures)
    return [header for header, shown in cached if not cached_bank_path(header, shown).is_file()]


def _choose_banks(
    preset: Preset, textures: Sequence[str], pictures: ImageFiles | None
) -> tuple[Preset, list[tuple[BankHeader, ImageFiles | None]]]:
    """The preset with the banks that were asked for, and those of them that the user's cache has or shall have."""
    from synvid.paths import expand_user
    from synvid.preset import TEXTURE_KINDS

    paths: dict[str, str] = {}
    for name, path in parse_texture_options(textures).items():
        text = f"{name}={path}"
        if name not in preset.banks():
            names = ", ".join(preset.banks()) or "none"
            raise ConfigurationError(f"--textures {text}: {preset.name} has no bank {name!r}; its banks: {names}.")
        paths[name] = str(expand_user(path).resolve())
        if name.endswith("-walk"):
            from synvid.textures.bank import open_bank

            if open_bank(paths[name]).header.frames == 1:
                raise ConfigurationError(f"--textures {text}: the textures of {path} do not move, as those of {name} do.")
    if pictures is not None and "images" not in preset.banks():
        raise ConfigurationError(f"--images {pictures.folder}: {preset.name} shows no natural images.")
    if pictures is not None and "images" in paths:
        raise ConfigurationError(
            f"--images {pictures.folder}: --textures gives a bank of images already; leave out one of them."
        )
    for name in preset.banks():
        if name not in TEXTURE_KINDS:
            paths.setdefault(name, str(expand_user(name).resolve()))
    if not preset.banks():
        return preset, []

    from synvid.textures.bank_cache import cached_bank_path, make_bank_header

    cached: list[tuple[BankHeader, ImageFiles | None]] = []
    if pictures is not None:
        header = make_bank_header("images", pictures=pictures)
        paths["images"] = str(cached_bank_path(header, pictures))
        cached.append((header, pictures))
    preset = preset.with_banks(paths)
    cached += [(make_bank_header(name), None) for name in preset.banks() if name in TEXTURE_KINDS]
    return preset, cached


def _say_what_is_in(header: BankHeader, name: str, preset: Preset, notify: Callable[[str], None]) -> None:
    """What a person should know of a bank that stands behind a name of a preset."""
    from synvid.preset import Preset
    from synvid.textures.generators import GENERATORS

    if name == "images":
        notify("images: no --images DIR, so these are the few pictures that scikit-image ships.")
    made = GENERATORS.get(header.kind)
    if made is not None and made.version != header.version:
        notify(f"{name}: made by version {header.version} of {header.kind}; this synvid has version {made.version}.")
    source = preset.mixture.source
    pools = [one.fill.max_textures for one in (preset, source) if isinstance(one, Preset) and name in one.fill.textures]
    if header.n < max(pools):
        notify(f"{name}: a bank of {header.n:,} textures, where the preset would take up to {max(pools):,}.")
