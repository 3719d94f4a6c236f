"""The documentation site builds without warnings and loads nothing from other hosts."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import synvid
from synvid.preset import list_presets

ROOT = Path(__file__).parent.parent
PLUGINS = ("mkdocs", "material", "mkdocstrings", "mkdocs_click")
#: Attributes with which a page loads something, as opposed to links that a reader follows.
LOADING = {
    "script": ["src"],
    "img": ["src", "srcset"],
    "source": ["src", "srcset"],
    "iframe": ["src"],
    "video": ["src", "poster"],
    "audio": ["src"],
    "embed": ["src"],
    "object": ["data"],
    "link": ["href"],
    "use": ["href"],
}
#: `rel` of a `<link>` that only names another page.
NAMING = {"canonical", "alternate", "prev", "next"}

pytestmark = pytest.mark.slow


class Loads(HTMLParser):
    """Collect what a page loads, and its element ids."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids.add(values.get("id"))
        if tag == "link" and NAMING & set((values.get("rel") or "").split()):
            return
        self.targets += [values[name] for name in LOADING.get(tag, []) if values.get(name)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a warning is an error (`strict: true` in mkdocs.yml)."""
    missing = [name for name in PLUGINS if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; pip install '.[site]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """Every page of the site, parsed: {path relative to the site: Loads}."""
    return {path.relative_to(site).as_posix(): Loads(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_pages_load_only_files_of_the_site(site, pages):
    """Scripts, styles, fonts, images and frames are local, and each file exists."""
    for name, page in pages.items():
        for target in page.targets:
            assert not re.match(r"(https?:)?//", target), f"{name} loads {target}"
            if name != "404.html" and not target.startswith(("data:", "#")):
                assert (site / name).parent.joinpath(target.partition("?")[0].partition("#")[0]).exists(), f"{name}: {target}"


def test_styles_load_only_files_of_the_site(site):
    """No style sheet imports a style or a font from another host, and no page does so in a <style> element."""
    for path in (*site.rglob("*.css"), *site.rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(url\(|@import)\s*[\"']?\s*(https?:)?//", text), path


def test_search_index_is_local_and_covers_all_pages(site, pages):
    """The search index is a file of the site and has entries for every page."""
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"].partition("#")[0] or "index.html" for entry in index["docs"]}
    assert found >= set(pages) - {"404.html"}


def test_gallery_has_every_preset(pages):
    """The gallery has an entry and an image for each preset."""
    for name in list_presets():
        assert name.replace("/", "-") in pages["gallery.html"].ids
        assert any(Path(target).stem == name.replace("/", "_") for target in pages["gallery.html"].targets), name


def test_api_reference_has_every_public_name(pages):
    """The API page documents each name of `synvid.__all__`."""
    documented = {str(name).rpartition(".")[2] for name in pages["api.html"].ids}
    assert documented >= {name for name in synvid.__all__ if not name.startswith("__")}
    methods = {str(name).partition("Preset.")[2] for name in pages["api.html"].ids}
    assert methods >= {"digest", "override", "from_dict", "to_dict", "to_yaml", "json_schema"}


def test_command_reference_has_every_command(site):
    """The command page shows the usage of every command of both programs."""
    import click

    from synvid.cli.main import main
    from synvid_train.cli.main import main as train_main

    text = re.sub(r"<[^>]+>", "", (site / "commands.html").read_text(encoding="utf-8"))

    def check(group, name):
        assert name in text
        for child, command in group.commands.items():
            assert f"{name} {child}" in text
            if isinstance(command, click.Group):
                check(command, f"{name} {child}")

    check(main, "synvid")
    check(train_main, "synvid-train")
