"""From the textures of a scene, which are numbers, to the crops that its objects show."""

from __future__ import annotations

import numpy as np

from synvid.raster.pixel_format import pack_colors
from synvid.raster.texels import MAX_BANKS, Crops
from synvid.scene.scene import Scene
from synvid.textures.bank_cache import find_bank

__all__ = ["texture_crops"]


def texture_crops(scene: Scene) -> Crops | None:
    """Where in which texture every object's crop lies; None where all is plain.

    A crop is as wide as its object at frame 0, on a texture that is `textures.side` pixels wide; where the object is wider
    than that, it is the whole texture.

    Args:
        scene: the scene.

    Raises:
        ConfigurationError: a bank is not there.
        DatasetError: a bank is damaged.
    """
    textures = scene.textures
    if textures is None:
        return None
    banks = [find_bank(name) for name in textures.banks]
    span = max(scene.height, scene.width) / 2
    radius = np.append(scene.motion.radius, span)
    reach = np.append(scene.bounding_radii, 1.0)
    side = np.append(np.full(scene.num_objects, textures.side), 2 * span)
    plain = textures.choice < 0
    drawn = np.maximum(textures.choice, 0.0) * len(banks)
    bank = np.floor(drawn).astype(np.int64)
    headers = [one.header for one in banks]
    count = np.array([min(textures.max_textures, header.n) for header in headers])[bank]
    period = np.array([header.frames for header in headers])[bank]
    size = np.array([header.size for header in headers], np.float64)[bank]

    texels = radius * size / np.maximum(side, 2.0 * radius * reach)  # of a unit of the outline
    half = texels * reach
    middle = half[:, None] + textures.crop * (size - 2.0 * half)[:, None]
    arrays = [one.textures.reshape(-1) for one in banks]
    tint = np.append(pack_colors(scene.colors), np.uint32(0)).astype(np.uint32)
    return Crops(
        banks=tuple(arrays[min(k, len(arrays) - 1)] for k in range(MAX_BANKS)),
        bank=np.where(plain, -1, bank),
        size=size.astype(np.int64),
        first=np.floor((drawn - bank) * count).astype(np.int64) * period,
        period=period,
        middle=middle,
        radius=texels,
        tint=tint if textures.additive_tint else np.zeros_like(tint),
        nearest=textures.nearest,
    )
