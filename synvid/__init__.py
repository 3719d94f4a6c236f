"""Synthetic video for pre-training: a preset, a seed and an index identify one clip, bit for bit.

>>> import synvid
>>> clip = synvid.make_clip("moving_shapes", seed=0, index=7, frames=range(16))
>>> clip.frames.shape
(16, 256, 256, 3)

The same in three steps:

>>> preset = synvid.load_preset("moving_shapes")
>>> scene = synvid.sample_scene(preset, seed=0, index=7)
>>> clip = synvid.render(scene, frames=range(16))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from synvid.version import __version__ as __version__

if TYPE_CHECKING:
    from synvid.clip import Clip as Clip
    from synvid.dataset.build import RenderResult as RenderResult
    from synvid.dataset.build import render_dataset as render_dataset
    from synvid.dataset.merge import MergeResult as MergeResult
    from synvid.dataset.merge import merge_datasets as merge_datasets
    from synvid.dataset.reader import Dataset as Dataset
    from synvid.dataset.reader import open_dataset as open_dataset
    from synvid.dataset.status import DatasetStatus as DatasetStatus
    from synvid.dataset.status import dataset_status as dataset_status
    from synvid.dataset.verify import VerifyResult as VerifyResult
    from synvid.dataset.verify import verify_dataset as verify_dataset
    from synvid.errors import ConfigurationError as ConfigurationError
    from synvid.errors import DatasetError as DatasetError
    from synvid.preset import Preset as Preset
    from synvid.preset import list_presets as list_presets
    from synvid.preset import load_preset as load_preset
    from synvid.renderer import generate as generate
    from synvid.renderer import make_clip as make_clip
    from synvid.renderer import render as render
    from synvid.runtime.progress import Progress as Progress
    from synvid.runtime.progress import Reporter as Reporter
    from synvid.scene.sample import sample_scene as sample_scene
    from synvid.scene.scene import Scene as Scene

_MODULES = {
    "Clip": "clip",
    "ConfigurationError": "errors",
    "Dataset": "dataset.reader",
    "DatasetError": "errors",
    "DatasetStatus": "dataset.status",
    "MergeResult": "dataset.merge",
    "Preset": "preset",
    "Progress": "runtime.progress",
    "RenderResult": "dataset.build",
    "Reporter": "runtime.progress",
    "Scene": "scene.scene",
    "VerifyResult": "dataset.verify",
    "dataset_status": "dataset.status",
    "generate": "renderer",
    "list_presets": "preset",
    "load_preset": "preset",
    "make_clip": "renderer",
    "merge_datasets": "dataset.merge",
    "open_dataset": "dataset.reader",
    "render": "renderer",
    "render_dataset": "dataset.build",
    "sample_scene": "scene.sample",
    "verify_dataset": "dataset.verify",
}

__all__ = ["__version__", *_MODULES]  # noqa: PLE0604  # ruff does not see that they are strings


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import synvid` does not import Numba or PyAV."""
    if name not in _MODULES:
        raise AttributeError(f"module 'synvid' has no attribute {name!r}")
    return getattr(import_module(f"synvid.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
