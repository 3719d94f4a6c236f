"""Find the texture banks and real videos of a recipe on this machine.

A recipe identifies its inputs by digests, not by paths, so it can be rendered on any machine. Places searched, in order: the
given path; the path remembered for this digest; the cache, where a missing bank is built if possible.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from synvid.dataset.real_videos import RealVideos
from synvid.dataset.recipe import BankInfo, DatasetRecipe
from synvid.errors import ConfigurationError, DatasetError
from synvid.paths import cache_folder, expand_user
from synvid.preset import BANK_SUFFIX, TEXTURE_KINDS
from synvid.runtime.progress import Reporter
from synvid.storage.atomic_io import atomic_write
from synvid.textures.bank import BankHeader, open_bank
from synvid.textures.bank_cache import ensure_cached_bank, make_bank_header, open_or_build_bank
from synvid.textures.image_folder import ImageFiles
from synvid.textures.resolve_banks import resolve_textures

__all__ = ["add_banks", "locate_inputs", "remember_path"]


# ---- The banks of a new recipe -------------------------------------------------------------------------------------
def add_banks(
    recipe: DatasetRecipe,
    existing: DatasetRecipe | None,
    textures: Mapping[str, str | Path],
    images: ImageFiles | None,
    workers: int,
    reporter: Reporter,
) -> DatasetRecipe:
    """Add the texture banks to a new recipe, and build those that are missing.

    If the folder holds a dataset of the same preset, and the caller chooses no banks, the recipe gets the banks of that
    dataset: it is continued even if other banks would be built today.

    Args:
        recipe: a recipe without banks.
        existing: the recipe in the folder, if there is one.
        textures: paths of banks, by their name in the preset.
        images: image files for a bank of natural images.
        workers: number of processes.
        reporter: receives messages and progress.

    Raises:
        ConfigurationError: the preset has no such bank, or a bank does not exist.
        DatasetError: a bank is damaged.
    """
    preset = recipe.preset
    portable = preset.with_banks({name: Path(name).name for name in preset.banks() if name.endswith(BANK_SUFFIX)})
    if existing is not None and not textures and images is None and existing.preset == portable:
        return replace(recipe, preset=portable, banks=existing.banks)
    paths_by_name = {name: str(path) for name, path in textures.items()}
    resolved, _ = resolve_textures(preset, paths_by_name, images, workers, reporter)
    banks, paths = {}, {}
    for name, path in zip(portable.banks(), resolved.banks(), strict=True):
        bank = open_or_build_bank(path)
        header = bank.header
        banks[name] = BankInfo(header.kind, header.n, header.digest, header.seed, header.size, header.version, header.source)
        paths[name] = str(bank.path)
        remember_path(header.digest, bank.path)
    return replace(recipe, preset=portable, banks=banks, bank_paths=paths)


# ---- The inputs of an existing recipe ------------------------------------------------------------------------------
def locate_inputs(
    recipe: DatasetRecipe,
    textures: Mapping[str, str | Path] | None = None,
    images: ImageFiles | None = None,
    real: Path | None = None,
    *,
    need_real: bool = True,
) -> DatasetRecipe:
    """Find, or build, the texture banks and real videos of a recipe on this machine.

    Args:
        recipe: a recipe with banks.
        textures: paths of banks, by their name in the recipe.
        images: image files from which a bank of natural images is built.
        real: folder of the real videos.
        need_real: False if only synthetic clips will be rendered; real videos are then looked for only if `real` is given.

    Returns:
        The recipe with the paths of its inputs.

    Raises:
        ConfigurationError: an input is missing, or not the one that the dataset was made from; a name is unknown.
        DatasetError: a bank is damaged.
    """
    given = {name: expand_user(path) for name, path in (textures or {}).items()}
    for name, path in given.items():
        if name not in recipe.banks:
            names = ", ".join(recipe.banks) or "none"
            raise ConfigurationError(f"textures {name}={path}: the dataset has no bank {name!r}; its banks: {names}.")
    if images is not None and not any(bank.kind == "images" for bank in recipe.banks.values()):
        raise ConfigurationError(f"images {images.folder}: {recipe.preset.name} shows no natural images.")
    paths = dict(recipe.bank_paths)
    for name, bank in recipe.banks.items():
        paths[name] = str(_locate_bank(name, bank, given.get(name), paths.get(name), images))
    located = replace(recipe, bank_paths=paths)
    if recipe.real is None or not (need_real or real):
        return located
    return replace(located, real=_locate_real(recipe.real, real))


def _locate_bank(name: str, bank: BankInfo, given: Path | None, last_path: str | None, images: ImageFiles | None) -> Path:
    if given is not None:
        return _check_bank(name, bank, given.resolve())
    if images is not None and bank.kind == "images":
        _check_images(name, bank, images)  # also if the bank is found elsewhere: the caller expects these images
    for path in (last_path, _recall_path(bank.digest)):
        with contextlib.suppress(ConfigurationError, DatasetError):
            if path and BankHeader.read(Path(path)).digest == bank.digest:
                return Path(path)
    if bank.kind in TEXTURE_KINDS:
        header = make_bank_header(bank.kind, bank.n, bank.size, bank.seed, images)
        if (header.version, header.source) == (bank.version, bank.source):
            return _check_bank(name, bank, ensure_cached_bank(header, images))
    if bank.kind == "images":
        remedy = f"give the folder of its images (--images DIR, or images=) or the bank (--textures {name}=BANK, or textures=)"
    else:
        remedy = f"give its file (--textures {name}=BANK, or textures=)"
    raise ConfigurationError(
        f"bank {name!r} of the dataset, {bank.n:,} textures of kind {bank.kind} with digest {bank.digest[:12]}, is not on "
        f"this machine and cannot be built here; {remedy}."
    )


def _check_images(name: str, bank: BankInfo, images: ImageFiles) -> None:
    if make_bank_header(bank.kind, bank.n, bank.size, bank.seed, images).source != bank.source:
        raise ConfigurationError(
            f"images {images.folder}: does not hold the images that the bank {name!r} of the dataset was made from; "
            "give the right folder, or none."
        )


def _check_bank(name: str, bank: BankInfo, path: Path) -> Path:
    header = open_bank(path).header
    if header.digest != bank.digest:
        raise ConfigurationError(
            f"{path}: is not the bank {name!r} that the dataset was made from "
            f"(its digest is {header.digest[:12]}, not {bank.digest[:12]}); "
            f"give the right one (--textures {name}=BANK, or textures=)."
        )
    remember_path(bank.digest, path)
    return path


def _locate_real(videos: RealVideos, real: Path | None) -> RealVideos:
    path = real or (Path(videos.path) if videos.path else None) or _recall_path(videos.digest)
    if path is None or not Path(path).is_dir():
        missing = f"{path}: no such folder; " if path else ""
        raise ConfigurationError(
            f"{missing}the {videos.files:,} real videos of the dataset (digest {videos.digest[:12]}) are not on this machine; "
            "give their folder (--real DIR, or real=)."
        )
    located = RealVideos.find(Path(path))
    if located.digest != videos.digest:
        raise ConfigurationError(
            f"{path}: does not hold the videos that the dataset was made from; give the right folder (--real DIR, or real=)."
        )
    remember_path(located.digest, Path(located.path))
    return located


# ---- Paths in the user's cache -------------------------------------------------------------------------------------
def remember_path(digest: str, path: Path) -> None:
    """Store in the user's cache at which path an input of this digest is; errors of the file system are ignored."""
    if _recall_path(digest) != str(path):
        with contextlib.suppress(OSError):
            atomic_write(_note_file(digest), f"{path}\n")


def _recall_path(digest: str) -> str | None:
    try:
        return _note_file(digest).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _note_file(digest: str) -> Path:
    return cache_folder() / "places" / f"{digest[:32]}.txt"
