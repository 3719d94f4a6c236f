"""The documentation says what there is, and the examples run."""

import re
from pathlib import Path

import click
import nbclient
import nbformat
import pytest

from synvid.cli.main import main
from synvid.preset import Preset, list_presets
from synvid_train.cli.main import main as train_main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def commands(group, prefix="synvid"):
    """All commands below a group, with their full names."""
    for name, command in group.commands.items():
        yield f"{prefix} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")


COMMANDS = [*commands(main), *commands(train_main, "synvid-train")]


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_and_option_is_documented(name, command):
    """Each command is shown in the documentation, with each of its options, and has help of its own."""
    assert re.search(rf"{name}\b", TEXT) or f"`{name.split()[-1]}`" in TEXT
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.opts
            assert any(re.search(rf"(?<![\w-]){word}(?![\w-])", TEXT) for word in option.opts), option.opts


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_left_to_be_filled_in(page):
    """No page has a gap in it."""
    assert not re.search(r"\{\{|TODO|TBD", page.read_text(encoding="utf-8"))


def test_every_setting_is_documented():
    """docs/presets.md has a row for each setting, with its default and what it may be."""
    import dataclasses

    text = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    for section, part in Preset.sections().items():
        for item in dataclasses.fields(part):
            row = re.search(rf"^\| `{section}\.{item.name}` \|.*$", text, re.MULTILINE)
            assert row, item.name
            assert item.metadata["validator"].description.replace("6.283185307", "2π") in row.group()


def test_every_preset_is_documented():
    """docs/presets.md names and shows every preset of the paper."""
    text = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    for name in list_presets():
        if "/" not in name:
            assert f"`{name}`" in text
            assert re.search(rf"images/{name}\.(png|jpg)", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Every relative link and picture is a file of the project."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_notebook_runs():
    """examples/quickstart.ipynb runs from top to bottom and shows a playing clip."""
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(ROOT)}}).execute()
    shown = [output.get("data", {}).get("text/html", "") for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("<video" in text for text in shown) >= 3


def test_the_example_preset_of_the_documentation_loads(tmp_path):
    """The preset that docs/presets.md shows as an example works as it stands."""
    from synvid.preset import load_preset

    text = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(# fast_squares.*?)```", text, re.DOTALL).group(1)
    path = tmp_path / "fast_squares.yaml"
    path.write_text(example)
    assert load_preset(path).objects.count == 60
