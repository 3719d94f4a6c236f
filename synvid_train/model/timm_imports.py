"""The parts of timm that synvid_train uses, importable even if torchvision's compiled operators cannot be loaded.

With a torchvision from PyPI and a CPU-only torch, torchvision cannot register its operators, and `import timm` fails with
"operator torchvision::nms does not exist" (pytorch/vision#9085). Nothing here calls these operators, so declaring their
signatures before timm is imported is enough. Import this module before anything else that imports torchvision.
"""

from __future__ import annotations

import contextlib

import torch

__all__ = ["Block", "Mixup", "RandomErasing", "create_model", "rand_augment_transform"]


_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou) -> Tensor",
)

_library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
for _schema in _SCHEMAS:
    with contextlib.suppress(RuntimeError):  # already registered
        _library.define(_schema)  # type: ignore[no-untyped-call]

from timm.data.auto_augment import rand_augment_transform  # noqa: E402
from timm.data.mixup import Mixup  # noqa: E402
from timm.data.random_erasing import RandomErasing  # noqa: E402
from timm.models import create_model  # noqa: E402
from timm.models.beit import Block  # noqa: E402
