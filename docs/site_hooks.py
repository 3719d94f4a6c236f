"""Hooks of the documentation site: pages that are generated from the code, the presets and the changelog.

`<!-- gallery -->` in docs/gallery.md and `<!-- api -->` in docs/api.md are replaced when the site is built.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import synvid
from synvid.metrics.accuracy import PAPER, read_accuracies
from synvid.preset import list_presets, load_preset

ROOT = Path(__file__).parent.parent
ACCURACY = "UCF101 fine-tuned"

#: Sections of the gallery: a heading, and the names that belong there. The first one that matches counts.
GALLERY = (
    ("The released code's variants", r"reference/"),
    ("The progression of the paper", r"(static|moving|accelerating)_"),
    ("Slow variants (Table 9)", r"slow_"),
    ("Saturated colours (Table 12)", r"saturated_"),
    ("Mixtures with other clips (Tables 2, 10 and 11)", r"shapes_|image_crops_50_real"),
    ("Other textures and whole-frame clips (Tables 2, 3 and 10)", r""),
)
#: Sections of the API reference. Public names that no section lists come under "More".
API = (
    ("From a preset to a clip", ("make_clip", "list_presets", "load_preset", "sample_scene", "render", "generate")),
    (
        "Datasets on disk",
        ("render_dataset", "open_dataset", "dataset_status", "verify_dataset", "merge_datasets"),
    ),
    ("Classes", ("Preset", "Scene", "Clip", "Dataset")),
    ("Results", ("RenderResult", "DatasetStatus", "VerifyResult", "MergeResult")),
    ("Messages and progress", ("Reporter", "Progress")),
    ("Exceptions", ("ConfigurationError", "DatasetError")),
)
#: Public methods that a class inherits from one that has no entry of its own.
INHERITED = {"Preset": ("override", "from_dict", "to_dict", "to_yaml", "json_schema")}


def on_files(files: Files, config: Any) -> Files:
    """Add the changelog and the contributor's guide, which stand at the root of the repository."""
    for name in ("CHANGELOG", "CONTRIBUTING"):
        text = (ROOT / f"{name}.md").read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, f"{name.lower()}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in the generated parts of a page, and link to the pages that `on_files` adds."""
    markdown = re.sub(r"\]\(\.\./(CHANGELOG|CONTRIBUTING)\.md", lambda match: f"]({match[1].lower()}.md", markdown)
    if page.file.src_uri == "gallery.md":
        return markdown.replace("<!-- gallery -->", gallery())
    if page.file.src_uri == "api.md":
        return markdown.replace("<!-- api -->", api())
    return markdown


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Show the example command lines in help texts as code; mkdocs-click renders them as paragraphs."""
    if page.file.src_uri == "commands.md":
        return re.sub(r"<p>(synvid(?:-train)? [^<]*)</p>", r"<pre><code>\1</code></pre>", content)
    return content


def gallery() -> str:
    """Every preset: its strip, what the paper reports, and the YAML file, which holds the difference to what it extends."""
    sections: dict[str, list[str]] = {heading: [] for heading, _ in GALLERY}
    for name in list_presets():
        sections[next(heading for heading, names in GALLERY if re.match(names, name))].append(gallery_entry(name))
    order = [*[heading for heading, _ in GALLERY[1:]], GALLERY[0][0]]
    return "\n\n".join(f"## {heading}\n\n" + "\n\n".join(sections[heading]) for heading in order)


def gallery_entry(name: str) -> str:
    """One preset of the gallery."""
    preset = load_preset(name)
    strip = f"images/{name.replace('/', '_')}.{'jpg' if preset.banks() else 'png'}"
    accuracies = read_accuracies(PAPER).columns[ACCURACY]
    accuracy = f" UCF101, fine-tuned, in the paper: {accuracies[name]} %." if name in accuracies else ""
    text = (ROOT / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    difference = re.sub(r"^description:.*\n+", "", text, flags=re.MULTILINE).strip()
    return (
        f"### {name} {{: #{name.replace('/', '-')} }}\n\n{preset.description}.{accuracy}\n\n"
        f"![Seven frames of a clip of {name}]({strip})\n\n```yaml\n{difference}\n```"
    )


def api() -> str:
    """A mkdocstrings block for every public name."""
    listed = {name for _, names in API for name in names}
    rest = tuple(name for name in synvid.__all__ if name not in listed and not name.startswith("__"))
    sections = []
    for heading, names in (*API, ("More", rest)):
        blocks = [api_block(name) for name in names if name in synvid.__all__]
        if blocks:
            sections.append(f"## {heading}\n\n" + "\n\n".join(blocks))
    return "\n\n".join(sections)


def api_block(name: str) -> str:
    """The mkdocstrings block of a public name, with the methods that are inherited from other public code."""
    block = f"::: {getattr(synvid, name).__module__}.{name}"
    if name in INHERITED:
        block += f"\n    options:\n      inherited_members: [{', '.join(INHERITED[name])}]"
    return block
