"""Place the crop of a texture that each object of a scene shows."""

from __future__ import annotations

import numpy as np

from synvid.raster.pixel_format import pack_colors
from synvid.raster.texels import MAX_BANKS, Crops
from synvid.scene.scene import Scene
from synvid.textures.bank_cache import open_or_build_bank

__all__ = ["texture_crops"]


def texture_crops(scene: Scene) -> Crops | None:
    """The texture and crop of each object, then of the background; None if the scene has no textures.

    A crop is as wide as its object at frame 0, on a texture that is drawn `textures.side` pixels wide. For a wider object it
    is the whole texture.

    Raises:
        ConfigurationError: a bank does not exist.
        DatasetError: a bank is damaged.
    """
    textures = scene.textures
    if textures is None:
        return None
    banks = [open_or_build_bank(name) for name in textures.banks]
    span = max(scene.height, scene.width) / 2
    radius = np.append(scene.motion.radius, span)
    reach = np.append(scene.bounding_radii, 1.0)
    side = np.append(np.full(scene.num_objects, textures.side), 2 * span)
    is_plain = textures.choice < 0
    # The integer part of the scaled choice selects the bank, the fraction the texture.
    choice = np.maximum(textures.choice, 0.0) * len(banks)
    bank = np.floor(choice).astype(np.int64)
    headers = [each.header for each in banks]
    count = np.array([min(textures.max_textures, header.n) for header in headers])[bank]
    period = np.array([header.frames for header in headers])[bank]
    size = np.array([header.size for header in headers], np.float64)[bank]

    texels = radius * size / np.maximum(side, 2.0 * radius * reach)  # per unit of the outline
    half = texels * reach
    center = half[:, None] + textures.crop * (size - 2.0 * half)[:, None]
    arrays = [each.textures.reshape(-1) for each in banks]
    tint = np.append(pack_colors(scene.colors), np.uint32(0)).astype(np.uint32)
    return Crops(
        banks=tuple(arrays[min(k, len(arrays) - 1)] for k in range(MAX_BANKS)),
        bank=np.where(is_plain, -1, bank),
        size=size.astype(np.int64),
        first=np.floor((choice - bank) * count).astype(np.int64) * period,
        period=period,
        middle=center,
        radius=texels,
        tint=tint if textures.additive_tint else np.zeros_like(tint),
        nearest=textures.nearest,
    )
