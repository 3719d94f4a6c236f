"""Ids of the random streams."""

from __future__ import annotations

from enum import IntEnum, unique

__all__ = ["Stream"]


@unique
class Stream(IntEnum):
    """Id of the random stream of each quantity, for `synvid.numerics.rng.uniform`.

    Changing an id changes frames. A new quantity gets a new id.
    """

    # scenes
    NUM_FRAMES = 0
    SHAPE = 1
    RADIUS = 2
    CENTER = 3
    COLOR = 4
    OUTLINE = 5
    DIRECTION = 6
    SPEED = 7
    ACCELERATION = 8
    ROTATION = 9
    SCALE = 10
    SHEAR = 11
    BACKGROUND = 12
    TEXTURED = 13
    TEXTURE = 14
    CROP = 15
    BACKGROUND_TEXTURE = 16
    # real clips of a mixture
    REAL_ORDER = 17
    REAL_WINDOW = 18
    # statistical textures
    STATISTICAL_NOISE = 64
    STATISTICAL_SLOPE = 65
    STATISTICAL_SKEW = 66
    STATISTICAL_SPARSITY = 67
    STATISTICAL_NUM_COLORS = 68
    STATISTICAL_COLOR = 69
    STATISTICAL_PROPORTION = 70
    STATISTICAL_BLUR = 71
    STATISTICAL_GRAIN = 72
    # crops of image files
    IMAGE_SQUARE = 73
    # StyleGAN textures
    STYLEGAN_LATENT = 128
    STYLEGAN_STYLE = 129
    STYLEGAN_CONSTANT = 130
    STYLEGAN_SUBSET = 131
    STYLEGAN_FILTER = 132
    STYLEGAN_SIGN = 133
    STYLEGAN_BIAS = 134
    STYLEGAN_STRENGTH = 135
    STYLEGAN_EXPONENT = 136
    STYLEGAN_NOISE = 137
    STYLEGAN_WEIGHT = 138
    STYLEGAN_TO_RGB = 139
    STYLEGAN_COLOR = 140
    # order in which the clips of a source are measured
    CLIP_ORDER = 1000
