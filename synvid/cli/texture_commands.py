"""The commands `synvid textures`: build, show and verify texture banks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from synvid.cli.console import Console
from synvid.cli.group import Subgroup, exit_on_sigterm
from synvid.cli.options import (
    FILE,
    FOLDER,
    combine_options,
    json_option,
    quiet_option,
    seed_option,
    workers_option,
)
from synvid.errors import ConfigurationError
from synvid.formatting import format_count, format_size
from synvid.preset import TEXTURE_KINDS

__all__ = ["textures"]


@click.group(cls=Subgroup)
def textures() -> None:
    """Build, show and verify texture banks.

    A bank is a file of textures; `render`, `preview` and other commands use it with --textures NAME=BANK.
    """


@textures.group("build")
def build_group() -> None:
    """Build a texture bank.

    synvid textures build statistical --n 300000 --out statistical.bank

    If it is interrupted, the same command continues.
    """


def _add_build_command(kind: str) -> None:
    """Add the command `synvid textures build KIND`."""
    is_images = kind == "images"
    images_option = click.option(
        "--images", type=FOLDER, help="Folder of image files.  [default: the images that scikit-image includes]"
    )
    options = combine_options(
        click.option("--out", required=True, type=FILE, help="Bank file to write, ending in .bank."),
        click.option(
            "--n",
            type=click.IntRange(1, 10**9),
            help=f"Number of textures.  [default: {_default_number(kind)}]",
        ),
        click.option(
            "--size",
            type=click.IntRange(16, 1024),
            default=256,
            show_default=True,
            help="Width and height of a texture, in pixels.",
        ),
        *([images_option] if is_images else []),
        seed_option,
        workers_option,
        json_option,
        quiet_option,
    )

    def build(
        out: Path,
        n: int | None,
        size: int,
        seed: int,
        workers: int | None,
        as_json: bool,
        quiet: bool,
        images: Path | None = None,
    ) -> None:
        from synvid.textures.bank_builder import build_bank_file

        console = Console(quiet)
        exit_on_sigterm()
        header, unreadable = build_bank_file(out, kind, n, size, seed, images, workers, console)
        if as_json:
            click.echo(json.dumps({**dataclasses.asdict(header), "bytes": header.file_bytes, "unreadable": unreadable}))
        console.message(f"{out}: {format_count(header.n, 'texture')} of kind {kind}, {format_size(header.file_bytes)}.")
        console.message(f"Next: synvid textures show {out}, or use it with --textures {kind}={out}.")

    build_group.command(kind, help=TEXTURE_KINDS[kind])(options(build))


def _default_number(kind: str) -> str:
    if kind == "images":
        return "one per image in --images, else 2000"
    return "40" if kind.endswith("-walk") else "2000"


for _kind in TEXTURE_KINDS:
    _add_build_command(_kind)


@textures.command("show")
@click.argument("bank", type=FILE)
@click.option("--out", type=FILE, help="PNG file to write.  [default: BANK.png in the current folder]")
@quiet_option
def show_bank(bank: Path, out: Path | None, quiet: bool) -> None:
    """Draw textures of a bank on a contact sheet.

    synvid textures show statistical.bank
    """
    from synvid.os_errors import wrap_os_errors
    from synvid.preview import texture_sheet
    from synvid.storage.atomic_io import atomic_write
    from synvid.textures.bank import open_bank

    opened = open_bank(bank)
    opened.check()
    out = out or Path(bank.stem + ".png")
    if out.suffix != ".png":
        raise ConfigurationError(f"--out {out}: the file name of a contact sheet must end in .png.")
    data = texture_sheet(opened)
    with wrap_os_errors(out):
        atomic_write(out, data)
    header = opened.header
    shape = f"{header.frames} x {header.size} x {header.size}"
    console = Console(quiet)
    console.message(
        f"{bank}: {format_count(header.n, 'texture')} of kind {header.kind}, {shape}, {format_size(header.file_bytes)}."
    )
    console.message(f"{out}: contact sheet written.")


@textures.command("verify")
@click.argument("bank", type=FILE)
@quiet_option
def verify_bank(bank: Path, quiet: bool) -> None:
    """Read a whole bank and compare every hash.

    synvid textures verify statistical.bank
    """
    from synvid.textures.bank import open_bank

    console, opened = Console(quiet), open_bank(bank)
    progress = console.progress("verify")
    num_checked = 0

    def advance(count: int) -> None:
        nonlocal num_checked
        num_checked += count
        progress.update(num_checked)

    progress.start(opened.header.n, 0, "texture")
    try:
        opened.check(everything=True, on_progress=advance)
    finally:
        progress.finish()
    console.message(f"{bank}: all hashes of {format_count(opened.header.n, 'texture')} match.")
