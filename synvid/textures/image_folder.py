"""Natural images as textures: read any tree of image files, whatever is in it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from synvid.errors import ConfigurationError
from synvid.file_formats import IMAGE_FORMATS, IMAGE_SUFFIXES, MAX_PIXELS
from synvid.numerics.rng import uniform
from synvid.numerics.streams import Stream
from synvid.paths import RECIPE_FILE, find_files

__all__ = ["READ_ERRORS", "ImageFiles", "ImageTextures", "bundled_images", "read_image", "read_square_crop"]


#: What `read_image` and `read_square_crop` raise for a file that they cannot read.
READ_ERRORS = (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError)

#: Images of scikit-image that show natural scenes, surfaces and people.
_BUNDLED = (
    "astronaut.png",
    "brick.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)


@dataclass(frozen=True)
class ImageFiles:
    """The image files below a folder."""

    folder: Path

    @cached_property
    def names(self) -> list[str]:
        """Sorted paths relative to the folder. The folder is listed on first access, once, since that may take long.

        Raises:
            ConfigurationError: the folder does not exist or has no image files.
        """
        if not self.folder.is_dir():
            raise ConfigurationError(f"{self.folder}: no such folder of images.")
        if self == bundled_images():
            return list(_BUNDLED)
        names = find_files(self.folder, IMAGE_SUFFIXES, without=RECIPE_FILE)
        if not names:
            raise ConfigurationError(
                f"{self.folder}: holds no image; give a folder with {', '.join(IMAGE_SUFFIXES)} files somewhere below it."
            )
        return names


def bundled_images() -> ImageFiles:
    """The images that scikit-image ships."""
    import skimage.data

    return ImageFiles(Path(skimage.data.__file__).parent)


def read_square_crop(path: Path, size: int, scale: float = 1.0, across: float = 0.5, down: float = 0.5) -> NDArray[np.uint8]:
    """Read a square crop of an image, resized, in the colours of `read_image`.

    Args:
        path: the image file.
        size: height and width of the result, pixels.
        scale: side of the crop as a fraction of the image's shorter side.
        across, down: position of the crop, from 0 (left, top) to 1 (right, bottom).

    Returns:
        uint8 (size, size, 3), RGB.

    Raises:
        OSError, ValueError: the file is not an image, is damaged, or has more than MAX_PIXELS pixels; see READ_ERRORS.
    """
    image = _read(path, 2 * size if scale == 1.0 else None)
    side = max(1.0, scale * min(image.size))
    left, top = across * (image.width - side), down * (image.height - side)
    square = image.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side), reducing_gap=3.0)
    return np.asarray(square)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image, uint8 (H, W, 3), RGB.

    It is rotated by its EXIF orientation, unless the EXIF data are damaged. Grey, palette, CMYK and 16-bit images are
    converted to RGB; transparent pixels become black.

    Raises:
        OSError, ValueError: the file is not an image, is damaged, or has more than MAX_PIXELS pixels; see READ_ERRORS.
    """
    return np.asarray(_read(path))


def _read(path: Path, min_side: int | None = None) -> Image.Image:
    """Read an image as RGB. With `min_side`, a JPEG may be decoded at a smaller size, which is faster: at least this side."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"has {image.width} x {image.height} pixels")
            if min_side is not None:
                image.draft("RGB", (min_side, min_side))
            return _to_rgb(_apply_orientation(image))


def _apply_orientation(image: Image.Image) -> Image.Image:
    """Rotate an image by its EXIF orientation; damaged EXIF data are ignored."""
    image.load()  # before the `try`: damaged pixels are an error
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001  # Pillow checks little there: struct.error, SyntaxError, KeyError, ...
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow would clip it at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, np.float32))
        values *= 255.0 / (65535.0 if values.max(initial=0) > 255 else 255.0)
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.mode or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    return image.convert("RGB")


@dataclass(frozen=True)
class ImageTextures:
    """Textures cropped from image files.

    The first textures are the central squares of the images, in order; the following ones are random squares.

    Attributes:
        image_files: the images.
        unreadable_log: a file to which the names of unreadable images are appended.
    """

    image_files: ImageFiles
    unreadable_log: Path

    def __call__(self, seed: int, index: int, size: int) -> NDArray[np.uint8]:
        """Texture `index`, uint8 (size, size, 3). If its image cannot be read, the next readable one is used.

        Raises:
            ConfigurationError: no image can be read.
        """
        folder, names = self.image_files.folder, self.image_files.names
        scale, across, down = 1.0, 0.5, 0.5
        if index >= len(names):
            u = uniform(seed, index, Stream.IMAGE_SQUARE, (3,))
            scale, across, down = 0.4 + 0.6 * float(u[0]), float(u[1]), float(u[2])
        for step in range(len(names)):
            name = names[(index + step) % len(names)]
            try:
                return read_square_crop(folder / name, size, scale, across, down)
            except READ_ERRORS:
                with self.unreadable_log.open("a", encoding="utf-8", errors="surrogateescape") as file:
                    file.write(name + "\n")
        raise ConfigurationError(f"{folder}: none of its {len(names)} images can be read.")
