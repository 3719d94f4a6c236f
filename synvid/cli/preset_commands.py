"""The commands `synvid presets` and `synvid preview`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synvid.cli.console import Console
from synvid.cli.options import quiet_option, seed_option, textures_options
from synvid.errors import ConfigurationError
from synvid.textures.resolve import find_image_files, parse_texture_options, resolve_textures

if TYPE_CHECKING:
    pass
from synvid.cli.options import set_option


# ---- presets, preview ---------------------------------------------------------------------------------------------
@click.group(invoke_without_command=True)
@click.pass_context
def presets(context: click.Context) -> None:
    """List the presets, a line each."""
    if context.invoked_subcommand is None:
        from synvid.preset import list_presets, load_preset

        names = list_presets()
        width = max(map(len, names))
        for name in names:
            click.echo(f"{name:{width}}  {load_preset(name).description}")


@presets.command()
@click.argument("name")
@set_option()
def show(name: str, settings: tuple[str, ...]) -> None:
    """Print a preset with all that it extends."""
    from synvid.preset import load_preset

    click.echo(load_preset(name).change(settings).to_yaml(), nl=False)


@click.command()
@click.argument("names", nargs=-1, metavar="[PRESET]...")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File: .png a contact sheet; .mp4, .gif a video.")
@click.option(
    "--html", "as_html", is_flag=True, help="One page: the clips of every preset of the paper playing, or of those named."
)
@click.option("--clips", type=click.IntRange(1, 64), default=4, show_default=True, help="Clips of each preset: rows.")
@click.option("--columns", type=click.IntRange(1, 64), default=8, show_default=True, help="Frames of each clip.")
@seed_option
@set_option()
@textures_options
@quiet_option
def preview(
    names: tuple[str, ...], out: Path | None, as_html: bool, clips: int, columns: int, seed: int, settings: tuple[str, ...],
    textures: tuple[str, ...], images: Path | None, quiet: bool,
) -> None:  # fmt: skip
    """Draw clips of a preset: rows are clips, columns are time.

    synvid preview moving_shapes
    """
    from synvid.preset import list_presets, load_preset

    if not names and not as_html:
        raise ConfigurationError("name a preset, for example `synvid preview moving_shapes`, or ask for --html.")
    chosen = [load_preset(name).change(settings) for name in names or list_presets() if names or "/" not in name]
    stem = chosen[0].name.replace("/", "_") if len(names) == 1 else "presets"
    out = out or Path(stem + (".html" if as_html else ".png"))

    from synvid.os_errors import wrap_os_errors
    from synvid.preview import page, picture
    from synvid.storage.atomic_io import atomic_write

    console, pictures = Console(quiet), find_image_files(images)
    if not names:
        console.message(
            f"All {len(chosen)} presets of the paper; textures that are not there are built first. Or name some presets."
        )
    some = any("images" in preset.banks() for preset in chosen) and len(chosen) > 1
    given = [pictures if "images" in preset.banks() or not some else None for preset in chosen]
    banks = parse_texture_options(textures)
    chosen = [resolve_textures(preset, banks, one, None, console)[0] for preset, one in zip(chosen, given, strict=True)]
    if as_html and out.suffix.lower() not in (".html", ".htm"):
        raise ConfigurationError(f"--out {out}: a page ends in .html.")
    data = (
        page(chosen, clips, seed, console.progress("preview"))
        if as_html
        else picture(out.suffix.lower(), chosen, clips, columns, seed)
    )
    with wrap_os_errors(out):
        atomic_write(out, data)
    count, each = f"{len(chosen)} preset{'s' * (len(chosen) > 1)}", f"{clips} clip{'s' * (clips > 1)} each"
    console.message(f"{out}: {count}, {each}, seed {seed}.")
