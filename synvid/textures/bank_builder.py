"""Build a texture bank at a path of the user's choice."""

from __future__ import annotations

from pathlib import Path

from synvid.errors import ConfigurationError
from synvid.formatting import describe_unreadable
from synvid.preset import BANK_SUFFIX
from synvid.runtime.local_executor import default_workers
from synvid.runtime.progress import Reporter
from synvid.textures.bank import BankHeader, build_bank, open_bank
from synvid.textures.bank_cache import make_bank_header
from synvid.textures.image_folder import bundled_images
from synvid.textures.resolve_banks import list_image_files

__all__ = ["build_bank_file"]


def build_bank_file(
    out: Path,
    kind: str,
    n: int | None,
    size: int,
    seed: int,
    images: Path | None,
    workers: int | None,
    reporter: Reporter,
) -> tuple[BankHeader, list[str]]:
    """Build a texture bank, or finish one whose building was interrupted.

    Args:
        out: path of the bank file, ending in .bank.
        kind: one of TEXTURE_KINDS.
        n: number of textures. None: 2000; for a folder of images, one per image.
        size: width and height of the textures, pixels.
        seed: random seed.
        images: folder of image files, for the kind `images`. None: the images that scikit-image includes.
        workers: number of worker processes. None: all cores.
        reporter: receives progress and messages.

    Returns:
        The header of the bank, and the names of the images that could not be read.

    Raises:
        ConfigurationError: an argument is wrong, or `out` is another file.
        DatasetError: the file cannot be written.
    """
    if out.suffix != BANK_SUFFIX:
        raise ConfigurationError(f"--out {out}: the file name of a texture bank must end in {BANK_SUFFIX}.")
    image_files = list_image_files(images)
    header = make_bank_header(kind, n, size, seed, image_files, use_all_images=True)
    if kind == "images" and image_files is None:
        reporter.message("No --images folder is given; using the few images that scikit-image includes.")
        image_files = bundled_images()
    unreadable = build_bank(out, header, image_files, workers or default_workers(), reporter.progress(kind))
    if unreadable:
        reporter.message(describe_unreadable("image", unreadable))
    return open_bank(out).header, unreadable
