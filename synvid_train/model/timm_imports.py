"""The parts of timm that we use, imported where torchvision's compiled operators do not load.

A torchvision from PyPI beside a CPU-only torch cannot register its operators, and `import timm` then fails with "operator
torchvision::nms does not exist" (pytorch/vision#9085). Nothing here calls them: declaring what they look like is enough.
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
    with contextlib.suppress(RuntimeError):  # they are there already
        _library.define(_schema)  # type: ignore[no-untyped-call]

from timm.data.auto_augment import rand_augment_transform  # noqa: E402
from timm.data.mixup import Mixup  # noqa: E402
from timm.data.random_erasing import RandomErasing  # noqa: E402
from timm.models import create_model  # noqa: E402
from timm.models.beit import Block  # noqa: E402
