"""Where the banks of textures and the real videos of a recipe are on this machine.

A recipe says what they are, not where: so it makes its dataset anywhere. A bank is looked for where the caller says, where one
of that digest was last seen on this machine, and in the user's cache, in which it is built if it can be.
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
from synvid.preset import TEXTURE_KINDS
from synvid.storage.atomic_io import atomic_write
from synvid.textures.bank import BankHeader, open_bank
from synvid.textures.bank_cache import cached_bank, make_bank_header
from synvid.textures.image_folder import ImageFiles

__all__ = ["bank_info", "locate_inputs", "remember_path"]


def bank_info(header: BankHeader) -> BankInfo:
    """What a recipe says of a bank."""
    return BankInfo(header.kind, header.n, header.digest, header.seed, header.size, header.version, header.source)


def locate_inputs(
    recipe: DatasetRecipe,
    textures: Mapping[str, str | Path] | None = None,
    pictures: ImageFiles | None = None,
    real: Path | None = None,
    *,
    need_real: bool = True,
) -> DatasetRecipe:
    """A recipe with its banks of textures and its real videos found, or built, on this machine.

    Args:
        recipe: of a dataset.
        textures: paths of banks, by the names that the recipe has for them.
        pictures: from which a bank of natural images is built.
        real: folder of the real videos.
        need_real: False if only synthetic clips are to be rendered; real videos are not looked for then.

    Raises:
        ConfigurationError: one is not the one that the dataset was made from, or is not there; a name is not known.
        DatasetError: a bank is damaged.
    """
    given = {name: expand_user(path) for name, path in (textures or {}).items()}
    for name, path in given.items():
        if name not in recipe.banks:
            names = ", ".join(recipe.banks) or "none"
            raise ConfigurationError(f"textures {name}={path}: the dataset has no bank {name!r}; its banks: {names}.")
    if pictures is not None and not any(facts.kind == "images" for facts in recipe.banks.values()):
        raise ConfigurationError(f"--images {pictures.folder}: {recipe.preset.name} shows no natural images.")
    places = dict(recipe.places)
    for name, facts in recipe.banks.items():
        places[name] = str(_find(name, facts, given.get(name), places.get(name), pictures))
    found = replace(recipe, places=places)
    if recipe.real is None or not (need_real or real):
        return found
    return replace(found, real=_find_real(recipe.real, real))


def _find(name: str, facts: BankInfo, given: Path | None, known: str | None, pictures: ImageFiles | None) -> Path:
    if given is not None:
        return _checked(name, facts, given.resolve())
    if pictures is not None and facts.kind == "images":  # as asked for, or not at all
        _check_pictures(name, facts, pictures)
    for place in (known, _recall(facts.digest)):
        with contextlib.suppress(ConfigurationError, DatasetError):
            if place and BankHeader.read(Path(place)).digest == facts.digest:
                return Path(place)
    if facts.kind in TEXTURE_KINDS:
        header = make_bank_header(facts.kind, facts.n, facts.size, facts.seed, pictures)
        if (header.version, header.source) == (facts.version, facts.source):
            return _checked(name, facts, cached_bank(header, pictures))
    if facts.kind == "images":
        what = f"--images DIR takes the folder whose pictures it shows, or --textures {name}=BANK the bank"
    else:
        what = f"--textures {name}=BANK takes it"
    raise ConfigurationError(
        f"bank {name!r} of the dataset, {facts.n:,} textures of kind {facts.kind} with digest {facts.digest[:12]}, is not on "
        f"this machine and cannot be built here; {what}."
    )


def _check_pictures(name: str, facts: BankInfo, pictures: ImageFiles) -> None:
    """See that a bank was made from these pictures, wherever it is found then."""
    if make_bank_header(facts.kind, facts.n, facts.size, facts.seed, pictures).source != facts.source:
        raise ConfigurationError(
            f"--images {pictures.folder}: does not hold the pictures that the bank {name!r} of the dataset was made from; "
            "give the right folder, or leave --images out."
        )


def _checked(name: str, facts: BankInfo, path: Path) -> Path:
    header = open_bank(path).header
    if header.digest != facts.digest:
        raise ConfigurationError(
            f"{path}: is not the bank {name!r} that the dataset was made from "
            f"(its digest is {header.digest[:12]}, not {facts.digest[:12]}); --textures {name}=BANK takes the right one."
        )
    remember_path(facts.digest, path)
    return path


def _find_real(wanted: RealVideos, real: Path | None) -> RealVideos:
    place = real or (Path(wanted.path) if wanted.path else None) or _recall(wanted.digest)
    if place is None or not Path(place).is_dir():
        gone = f"{place}: no such folder; " if place else ""
        raise ConfigurationError(
            f"{gone}the {wanted.files:,} real videos of the dataset (digest {wanted.digest[:12]}) are not on this machine; "
            "--real DIR says where they are."
        )
    found = RealVideos.find(Path(place))
    if found.digest != wanted.digest:
        raise ConfigurationError(
            f"{place}: does not hold the videos that the dataset was made from; --real DIR takes the right ones."
        )
    remember_path(found.digest, Path(found.path))
    return found


# ---- What this machine remembers -----------------------------------------------------------------------------------
def remember_path(digest: str, path: Path) -> None:
    """Note where something of this digest is, in the user's cache; without one it must be said each time."""
    if _recall(digest) != str(path):
        with contextlib.suppress(OSError):
            atomic_write(_note(digest), f"{path}\n")


def _recall(digest: str) -> str | None:
    try:
        return _note(digest).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _note(digest: str) -> Path:
    return cache_folder() / "places" / f"{digest[:32]}.txt"
