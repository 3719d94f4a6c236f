"""The documentation covers every command, option, setting and preset, and its examples run."""

import ast
import re
import shlex
from collections import Counter, defaultdict
from pathlib import Path

import click
import nbclient
import nbformat
import pytest
import yaml

import synvid
from synvid.cli.main import main
from synvid.preset import Preset, list_presets
from synvid_train.cli.main import main as train_main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def commands(group, prefix="synvid"):
    """All commands below a group, with their full names."""
    for name, command in group.commands.items():
        yield f"{prefix} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")


COMMANDS = [*commands(main), *commands(train_main, "synvid-train")]


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=lambda value: value if isinstance(value, str) else "")
def test_command_and_its_options_are_documented(name, command):
    """Each command and each of its options appears in the documentation and has a help text."""
    assert re.search(rf"{name}\b", TEXT) or f"`{name.split()[-1]}`" in TEXT
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.opts
            assert any(re.search(rf"(?<![\w-]){word}(?![\w-])", TEXT) for word in option.opts), option.opts


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page_has_no_placeholder(page):
    """No page contains a placeholder."""
    assert not re.search(r"\{\{|TODO|TBD", page.read_text(encoding="utf-8"))


def test_every_setting_is_documented():
    """docs/presets.md has a row for each setting, with its default and the allowed values."""
    import dataclasses

    text = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    for section, part in Preset.sections().items():
        for item in dataclasses.fields(part):
            row = re.search(rf"^\| `{section}\.{item.name}` \|.*$", text, re.MULTILINE)
            assert row, item.name
            assert item.metadata["validator"].description.replace("6.283185307", "2π") in row.group()


def test_every_preset_is_documented():
    """docs/presets.md has the name and an image of every preset of the paper."""
    text = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    for name in list_presets():
        if "/" not in name:
            assert f"`{name}`" in text
            assert re.search(rf"images/{name}\.(png|jpg)", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_exist(page):
    """Every relative link and image is a file of the project."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_mentioned_source_files_exist(page):
    """Every path of a source or test file that a page mentions exists."""
    for path in re.findall(
        r"(?:synvid|synvid_train|tests|benchmarks|docs)/[\w/-]+\.(?:py|j2|csv)\b", page.read_text(encoding="utf-8")
    ):
        assert (ROOT / path).is_file(), path


@pytest.mark.slow
def test_quickstart_notebook_runs():
    """examples/quickstart.ipynb runs from top to bottom and shows playing clips."""
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(ROOT)}}).execute()
    shown = [output.get("data", {}).get("text/html", "") for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("<video" in text for text in shown) >= 3


def code_blocks(page, language):
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ["docs/presets.md", "docs/howto/own_preset.md"])
def test_example_preset_loads(page, tmp_path):
    """The preset that a page shows as an example loads as it is."""
    from synvid.preset import load_preset

    path = tmp_path / "fast_squares.yaml"
    path.write_text(next(block for block in code_blocks(page, "yaml") if "Few, fast" in block))
    assert load_preset(path).objects.count == 60


def test_example_preset_of_the_texture_guide_loads(tmp_path):
    """The preset that the guide to textures shows as an example loads as it is."""
    from synvid.preset import load_preset

    path = tmp_path / "photos_and_noise.yaml"
    path.write_text(code_blocks("docs/howto/own_textures.md", "yaml")[0])
    assert load_preset(path).fill.textures == (str(tmp_path / "photos.bank"), "statistical")


def test_preset_of_the_readme_is_the_file():
    """The preset that the README shows has the settings of the file."""
    shown = yaml.safe_load(code_blocks("README.md", "yaml")[0])
    stored = yaml.safe_load((ROOT / "presets" / "moving_transforming_shapes.yaml").read_text(encoding="utf-8"))
    assert {**shown, "description": ""} == {**stored, "description": ""}


def test_citation_has_the_version_of_the_package():
    """CITATION.cff names the version that the package has."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == synvid.__version__
    assert citation["references"][0]["title"] == "Learning Video Representations without Natural Videos"


def test_labelled_clips_of_the_tutorial(tmp_path, monkeypatch):
    """The script of the tutorial writes a folder that `synvid-train` reads as classes and splits."""
    from synvid_train.data.list_reader import read_rows

    script = next(block for block in code_blocks("docs/tutorial.md", "python") if "labelled" in block)
    small = script.replace('("train", 40, 1), ("val", 20, 2)', '("train", 2, 1), ("val", 1, 2)')
    assert small != script
    monkeypatch.chdir(tmp_path)
    exec(compile(small, "labelled_clips.py", "exec"), {})  # noqa: S102
    found = Counter((row.split, row.label) for row in read_rows(tmp_path / "labelled").rows)
    shapes = ("circle", "triangle", "square")
    assert found == {("train", shape): 2 for shape in shapes} | {("val", shape): 1 for shape in shapes}


def test_architecture_lists_what_synvid_train_imports():
    """The table in docs/architecture.md has exactly the names that synvid_train imports from synvid."""
    imported = defaultdict(set)
    for path in (ROOT / "synvid_train").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "synvid":
                imported[node.module] |= {alias.name for alias in node.names}
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = re.search(r"^## What synvid_train uses of synvid\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)[1]
    rows = re.findall(r"^\| `(synvid\.[\w.]+)` \| (.*) \|$", section, re.MULTILINE)
    assert {module: set(re.findall(r"`(\w+)`", names)) for module, names in rows} == imported


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_of_the_pages_parse(page):
    """Every command line of the documentation names a command and options that exist."""
    groups = {"synvid": main, "synvid-train": train_main}
    for line in command_lines(page):
        words = shlex.split(line, comments=True)
        command, words = groups[words[0]], words[1:]
        while isinstance(command, click.Group) and words and not words[0].startswith("-") and words[0] in command.commands:
            command, words = command.commands[words[0]], words[1:]
        known = {"--help", "-h", "--version", *(name for option in command.params for name in option.opts)}
        placeholder = not words or words[0].isupper() or words[0].startswith("-")
        assert not isinstance(command, click.Group) or placeholder or command.invoke_without_command, line
        for word in words:
            if word.startswith("-") and word != "-":
                assert word.partition("=")[0] in known, line


def test_command_lines_finds_launchers_and_inline_code(tmp_path):
    """Commands are found in plain blocks, behind torchrun and sbatch, and in inline code, also over two lines."""
    page = tmp_path / "page.md"
    page.write_text(
        """\
```
synvid render --n 1 \\
  --out a > log
torchrun --nproc-per-node 8 -m synvid_train pretrain --out b
sbatch --array=0-9 --wrap="synvid render --part 0/2"
sbatch --wrap 'synvid merge a b'
```
Then `synvid status
FOLDER`, `synvid-train` or `python -m synvid_train probe`; `synvid.yaml` is a file.
"""
    )
    assert list(command_lines(page)) == [
        "synvid render --n 1    --out a",
        "synvid-train pretrain --out b",
        "synvid render --part 0/2",
        "synvid merge a b",
        "synvid status FOLDER",
        "synvid-train",
        "synvid-train probe",
    ]


def command_lines(page):
    """Command lines of `synvid` and `synvid-train` in a page: lines of plain code blocks, and inline code.

    Continuation lines are joined; of `torchrun ... -m synvid_train ...` and `sbatch --wrap="synvid ..."` only the command of
    this project is returned.
    """
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines += [" ".join(code.split("\n")) for code in re.findall(r"`([^`]+)`", prose)]
    for line in lines:
        wrapped = re.match(r"sbatch .*--wrap[= ]([\"'])(.*)\1", line)
        command = re.sub(r"^(torchrun|python|srun) .*-m synvid_train\b", "synvid-train", wrapped[2] if wrapped else line)
        if re.match(r"synvid(-train)?( |$)", command):
            yield command.split(" > ")[0]
