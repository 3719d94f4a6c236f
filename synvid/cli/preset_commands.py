"""The commands `synvid presets` and `synvid preview`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synvid.cli.console import Console
from synvid.cli.options import FILE, quiet_option, seed_option, set_option, textures_options
from synvid.errors import ConfigurationError
from synvid.formatting import format_count
from synvid.textures.resolve_banks import list_image_files, parse_texture_options, resolve_textures

if TYPE_CHECKING:
    from synvid.preset import Preset

__all__ = ["presets", "preview"]


@click.group(invoke_without_command=True)
@click.pass_context
def presets(context: click.Context) -> None:
    """List the presets, show one, or print the JSON Schema of preset files."""
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
    """Print all settings of a preset as YAML.

    synvid presets show moving_shapes --set objects.count=200

    NAME is a preset or a YAML file. The settings of presets that it extends are included.
    """
    from synvid.preset import load_preset

    click.echo(load_preset(name).override_text(settings).to_yaml(), nl=False)


@presets.command()
def schema() -> None:
    """Print the JSON Schema of preset files, for editors and other validators."""
    from synvid.preset import Preset

    click.echo(json.dumps(Preset.json_schema(), indent=2, ensure_ascii=False))


@click.command()
@click.argument("names", nargs=-1, metavar="[PRESET]...")
@click.option(
    "--out",
    type=FILE,
    help="File to write: .png for a contact sheet, .mp4 or .gif for a video, .html with --html.  "
    "[default: named after the preset]",
)
@click.option(
    "--html",
    "as_html",
    is_flag=True,
    help="Write an HTML page of playing clips, of the named presets or else of all presets of the paper.",
)
@click.option(
    "--clips", type=click.IntRange(1, 64), default=4, show_default=True, help="Number of clips per preset: the rows."
)
@click.option(
    "--columns", type=click.IntRange(1, 64), default=8, show_default=True, help="Number of frames per clip: the columns."
)
@seed_option
@set_option()
@textures_options
@quiet_option
def preview(
    names: tuple[str, ...], out: Path | None, as_html: bool, clips: int, columns: int, seed: int, settings: tuple[str, ...],
    textures: tuple[str, ...], images: Path | None, quiet: bool,
) -> None:  # fmt: skip
    """Draw clips of presets as an image, a video or an HTML page.

    synvid preview moving_shapes

    The image is a contact sheet: each row is a clip, each column a frame.
    """
    from synvid.preset import list_presets, load_preset

    if not names and not as_html:
        raise ConfigurationError("name a preset, for example `synvid preview moving_shapes`, or give --html.")
    all_names = [name for name in list_presets() if "/" not in name]
    chosen = [load_preset(name).override_text(settings) for name in names or all_names]
    stem = chosen[0].name.replace("/", "_") if len(names) == 1 else "presets"
    out = out or Path(stem + (".html" if as_html else ".png"))

    from synvid.os_errors import wrap_os_errors
    from synvid.preview import encode_preview, preset_page
    from synvid.storage.atomic_io import atomic_write

    console = Console(quiet)
    if not names:
        console.message(
            f"Drawing all {len(chosen)} presets of the paper; missing textures are built first. To draw some, name them."
        )
    chosen = _with_textures(chosen, textures, images, console)
    if as_html and out.suffix.lower() not in (".html", ".htm"):
        raise ConfigurationError(f"--out {out}: with --html, the file name must end in .html.")
    data = (
        preset_page(chosen, clips, seed, console.progress("preview"))
        if as_html
        else encode_preview(out.suffix.lower(), chosen, clips, columns, seed)
    )
    with wrap_os_errors(out):
        atomic_write(out, data)
    console.message(f"{out}: {format_count(len(chosen), 'preset')}, {format_count(clips, 'clip')} each, seed {seed}.")


def _with_textures(presets: list[Preset], textures: tuple[str, ...], images: Path | None, console: Console) -> list[Preset]:
    """Resolve the texture banks of presets; of several presets, only those with natural images get `--images`."""
    image_files = list_image_files(images)
    banks = parse_texture_options(textures)
    has_images = ["images" in preset.banks() for preset in presets]
    is_mixed = len(presets) > 1 and any(has_images)
    return [
        resolve_textures(preset, banks, image_files if shows_images or not is_mixed else None, None, console)[0]
        for preset, shows_images in zip(presets, has_images, strict=True)
    ]
