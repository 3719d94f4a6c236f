"""The commands `synvid textures`, and what other commands ask for textures with."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path

import click

from synvid.cli.console import Console
from synvid.cli.group import terminate
from synvid.cli.options import FOLDER, ClickCommand, json_option, quiet_option, seed_option, workers_option
from synvid.errors import ConfigurationError
from synvid.formatting import format_size
from synvid.textures.resolve import find_image_files

__all__ = ["textures"]


_BANK = click.Path(path_type=Path, dir_okay=False)


@click.group()
def textures() -> None:
    """Build a bank of textures, look at one, check one.

    synvid textures statistical --n 300000 --out textures.bank
    """


def _build_command(kind: str) -> ClickCommand:
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
        from synvid.formatting import describe_unreadable
        from synvid.preset import BANK_SUFFIX
        from synvid.runtime.local_executor import default_workers
        from synvid.textures.bank import build_bank, open_bank
        from synvid.textures.bank_cache import make_bank_header
        from synvid.textures.image_folder import bundled_images

        console = Console(quiet)
        if out.suffix != BANK_SUFFIX:
            raise ConfigurationError(f"--out {out}: a bank ends in {BANK_SUFFIX}.")
        signal.signal(signal.SIGTERM, terminate)
        pictures = find_image_files(images)
        header = make_bank_header(kind, n, size, seed, pictures, use_all_images=True)
        if kind == "images" and images is None:
            console.message("No --images: these are the few pictures that scikit-image ships.")
            pictures = bundled_images()
        skipped = build_bank(out, header, pictures, workers or default_workers(), console.progress(kind))
        made = open_bank(out).header
        if skipped:
            console.message(describe_unreadable("image", skipped))
        if as_json:
            click.echo(json.dumps({**dataclasses.asdict(made), "bytes": made.file_bytes, "unreadable": skipped}))
        console.message(f"{out}: {made.n:,} textures of kind {kind}, {format_size(made.file_bytes)}.")
        console.message(f"Next: synvid textures show {out}; `synvid render` takes it by --textures {kind}={out}.")

    command = quiet_option(json_option(workers_option(seed_option(build))))
    if kind == "images":
        command = click.option("--images", type=FOLDER, help="Folder of pictures.  [default: those of scikit-image]")(command)
    size_option = click.option("--size", type=click.IntRange(16, 1024), default=256, show_default=True, help="Pixels a side.")
    n_option = click.option("--n", type=click.IntRange(1, 10**9), help="How many.  [default: 2000; of images, all there are]")
    out_option = click.option("--out", required=True, type=_BANK, help="File of the bank.")
    return out_option(n_option(size_option(command)))


def _add_build_commands() -> None:
    from synvid.preset import TEXTURE_KINDS

    descriptions = {
        "statistical": "Noise with the spectrum, wavelets and colours of natural images.",
        "stylegan-oriented": "Untrained StyleGAN2 whose filters are edges, lines and points.",
        "stylegan-high-freq": "Untrained StyleGAN2 with the whole bank of filters and fine noise.",
        "stylegan-random": "Untrained StyleGAN2 with random weights; seconds each.",
        "stylegan-oriented-walk": "Moving ones of 50 frames: latent vectors walk.",
        "stylegan-high-freq-walk": "Moving ones of 50 frames: latent vectors walk.",
        "images": "Squares of the pictures in a folder: JPEG, PNG, WebP.",
    }
    for kind in TEXTURE_KINDS:
        textures.command(kind, help=descriptions[kind])(_build_command(kind))


_add_build_commands()


@textures.command("show")
@click.argument("bank", type=_BANK)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="PNG file.  [default: the bank's name]")
@quiet_option
def show_bank(bank: Path, out: Path | None, quiet: bool) -> None:
    """Draw a contact sheet of a bank."""
    from synvid.os_errors import wrap_os_errors
    from synvid.preview import texture_sheet
    from synvid.storage.atomic_io import atomic_write
    from synvid.textures.bank import open_bank

    opened = open_bank(bank)
    opened.check()
    out = out or Path(bank.stem + ".png")
    if out.suffix != ".png":
        raise ConfigurationError(f"--out {out}: a contact sheet ends in .png.")
    data = texture_sheet(opened)
    with wrap_os_errors(out):
        atomic_write(out, data)
    header = opened.header
    facts = f"{header.n:,} of kind {header.kind}, {header.frames} x {header.size} x {header.size}, {format_size(header.file_bytes)}"
    Console(quiet).message(f"{bank}: {facts}; {out} shows some.")


@textures.command("verify")
@click.argument("bank", type=_BANK)
@quiet_option
def verify_bank(bank: Path, quiet: bool) -> None:
    """Check every hash of a bank."""
    from synvid.textures.bank import open_bank

    console, opened, done = Console(quiet), open_bank(bank), 0
    bar = console.progress("verify")
    bar.start(opened.header.n, 0, "texture")

    def tick(count: int) -> None:
        nonlocal done
        done += count
        bar.update(done)

    try:
        opened.check(everything=True, on_progress=tick)
    finally:
        bar.finish()
    console.message(f"{bank}: all {opened.header.n:,} textures are as they were made.")
