"""The commands `synvid textures`, and what other commands ask for textures with."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synvid.command import FOLDER, Command, json_option, quiet_option, seed_option, terminate, workers_option
from synvid.errors import ConfigurationError

if TYPE_CHECKING:
    from synvid.preset import Preset
    from synvid.texture.bank import Header
    from synvid.texture.folder import Pictures

__all__ = ["missing_banks", "parse_textures", "pictures_of", "textures", "textures_options", "with_textures"]


# ---- Textures for other commands ----------------------------------------------------------------------------------
def textures_options(command: Command) -> Command:
    """Where textures come from: --textures and --images."""
    for option in (
        click.option("--images", type=FOLDER, help="Folder of pictures, for presets that show natural images."),
        click.option(
            "--textures", multiple=True, metavar="NAME=BANK", help="The bank to take for one of the preset; repeatable."
        ),
    ):
        command = option(command)
    return command


def pictures_of(images: Path | None) -> Pictures | None:
    """What --images names; to be asked for once, so that the folder is listed once."""
    from synvid.texture.folder import Pictures

    return None if images is None else Pictures(images)


def with_textures(
    preset: Preset, textures: Sequence[str], pictures: Pictures | None, workers: int | None, quiet: bool
) -> tuple[Preset, dict[str, Header]]:
    """The preset with the banks of textures that were asked for, all of them built, and what they hold."""
    preset, cached = _choose_banks(preset, textures, pictures)
    if not preset.banks():
        return preset, {}

    from synvid.terminal import Bar, Talk
    from synvid.texture.supply import cached_bank, find_bank

    talk, headers = Talk(quiet), {}
    for header, shown in cached:
        cached_bank(header, shown, workers, Bar(header.kind, quiet), talk)
    for name in preset.banks():
        bank = find_bank(name)
        bank.check()
        headers[name] = bank.header
        _say_what_is_in(bank.header, name, preset, talk)
    return preset, headers


def parse_textures(textures: Sequence[str]) -> dict[str, str]:
    """What --textures says: paths of banks by name."""
    from synvid.preset import BANK_SUFFIX

    paths = {}
    for text in textures:
        name, equals, path = text.partition("=")
        if not equals or not path.endswith(BANK_SUFFIX):
            raise ConfigurationError(f"--textures {text}: write NAME=BANK, a name and a file ending in {BANK_SUFFIX}.")
        paths[name] = path
    return paths


def missing_banks(preset: Preset, textures: Sequence[str], pictures: Pictures | None) -> list[Header]:
    """What `with_textures` would build."""
    from synvid.texture.supply import cached_path

    _, cached = _choose_banks(preset, textures, pictures)
    return [header for header, shown in cached if not cached_path(header, shown).is_file()]


def _choose_banks(
    preset: Preset, textures: Sequence[str], pictures: Pictures | None
) -> tuple[Preset, list[tuple[Header, Pictures | None]]]:
    """The preset with the banks that were asked for, and those of them that the user's cache has or shall have."""
    from synvid.preset import TEXTURE_KINDS, expanded

    paths: dict[str, str] = {}
    for name, path in parse_textures(textures).items():
        text = f"{name}={path}"
        if name not in preset.banks():
            names = ", ".join(preset.banks()) or "none"
            raise ConfigurationError(f"--textures {text}: {preset.name} has no bank {name!r}; its banks: {names}.")
        paths[name] = str(expanded(path).resolve())
        if name.endswith("-walk"):
            from synvid.texture.bank import open_bank

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
            paths.setdefault(name, str(expanded(name).resolve()))
    if not preset.banks():
        return preset, []

    from synvid.texture.supply import cached_path, header_of

    cached: list[tuple[Header, Pictures | None]] = []
    if pictures is not None:
        header = header_of("images", pictures=pictures)
        paths["images"] = str(cached_path(header, pictures))
        cached.append((header, pictures))
    preset = preset.with_banks(paths)
    cached += [(header_of(name), None) for name in preset.banks() if name in TEXTURE_KINDS]
    return preset, cached


def _say_what_is_in(header: Header, name: str, preset: Preset, talk: Callable[[str], None]) -> None:
    """What a person should know of a bank that stands behind a name of a preset."""
    from synvid.preset import Preset
    from synvid.texture.generators import GENERATORS

    if name == "images":
        talk("images: no --images DIR, so these are the few pictures that scikit-image ships.")
    made = GENERATORS.get(header.kind)
    if made is not None and made.version != header.version:
        talk(f"{name}: made by version {header.version} of {header.kind}; this synvid has version {made.version}.")
    source = preset.mixture.source
    pools = [one.fill.pool for one in (preset, source) if isinstance(one, Preset) and name in one.fill.textures]
    if header.n < max(pools):
        talk(f"{name}: a bank of {header.n:,} textures, where the preset would take up to {max(pools):,}.")


# ---- synvid textures ----------------------------------------------------------------------------------------------
_BANK = click.Path(path_type=Path, dir_okay=False)


@click.group()
def textures() -> None:
    """Build a bank of textures, look at one, check one.

    synvid textures statistical --n 300000 --out textures.bank
    """


def _build_command(kind: str) -> Command:
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
        from synvid.preset import BANK_SUFFIX
        from synvid.terminal import Bar, Talk
        from synvid.texture.bank import build_bank, open_bank
        from synvid.texture.folder import bundled_pictures
        from synvid.texture.supply import header_of
        from synvid.work.pool import default_workers
        from synvid.work.words import size as in_words
        from synvid.work.words import unreadable

        talk = Talk(quiet)
        if out.suffix != BANK_SUFFIX:
            raise ConfigurationError(f"--out {out}: a bank ends in {BANK_SUFFIX}.")
        signal.signal(signal.SIGTERM, terminate)
        pictures = pictures_of(images)
        header = header_of(kind, n, size, seed, pictures, everything=True)
        if kind == "images" and images is None:
            talk("No --images: these are the few pictures that scikit-image ships.")
            pictures = bundled_pictures()
        skipped = build_bank(out, header, pictures, workers or default_workers(), Bar(kind, quiet))
        made = open_bank(out).header
        if skipped:
            talk(unreadable("image", skipped))
        if as_json:
            click.echo(json.dumps({**dataclasses.asdict(made), "bytes": made.file_bytes, "unreadable": skipped}))
        talk(f"{out}: {made.n:,} textures of kind {kind}, {in_words(made.file_bytes)}.")
        talk(f"Next: synvid textures show {out}; `synvid render` takes it by --textures {kind}={out}.")

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
    from synvid.preview import texture_sheet
    from synvid.terminal import Talk
    from synvid.texture.bank import open_bank
    from synvid.work.disk import named_errors, write_whole
    from synvid.work.words import size

    opened = open_bank(bank)
    opened.check()
    out = out or Path(bank.stem + ".png")
    if out.suffix != ".png":
        raise ConfigurationError(f"--out {out}: a contact sheet ends in .png.")
    data = texture_sheet(opened)
    with named_errors(out):
        write_whole(out, data)
    header = opened.header
    facts = f"{header.n:,} of kind {header.kind}, {header.frames} x {header.size} x {header.size}, {size(header.file_bytes)}"
    Talk(quiet)(f"{bank}: {facts}; {out} shows some.")


@textures.command("verify")
@click.argument("bank", type=_BANK)
@quiet_option
def verify_bank(bank: Path, quiet: bool) -> None:
    """Check every hash of a bank."""
    from synvid.terminal import Bar, Talk
    from synvid.texture.bank import open_bank

    opened, bar, done = open_bank(bank), Bar("verify", quiet), 0
    bar.start(opened.header.n, 0, "texture")

    def tick(count: int) -> None:
        nonlocal done
        done += count
        bar.update(done)

    try:
        opened.check(everything=True, tick=tick)
    finally:
        bar.finish()
    Talk(quiet)(f"{bank}: all {opened.header.n:,} textures are as they were made.")
