"""Natural images as textures: any tree of pictures, read robustly."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from synvid.errors import ConfigurationError
from synvid.numerics.rng import uniform
from synvid.numerics.streams import Stream
from synvid.paths import RECIPE_FILE, find_files

__all__ = ["IMAGE_SUFFIXES", "ImageFiles", "ImageTextures", "bundled_images", "read_image", "read_square_crop"]


IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

#: More pixels than this are not read: a file of a few kilobytes can claim any size.
MAX_PIXELS = 50_000_000
#: Whatever a file is called, only these are read: Pillow starts Ghostscript for an EPS.
_FORMATS = ("JPEG", "PNG", "WEBP")

#: Pictures of scikit-image that show natural scenes, surfaces and people.
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
    """The pictures below a folder."""

    folder: Path

    @cached_property
    def names(self) -> list[str]:
        """Their paths relative to the folder, sorted; listed when first asked for, and once, since a large one takes long.

        Raises:
            ConfigurationError: there is no such folder, or no picture in it.
        """
        if not self.folder.is_dir():
            raise ConfigurationError(f"{self.folder}: no such folder of images.")
        if self == bundled_images():
            return list(_BUNDLED)
        found = find_files(self.folder, IMAGE_SUFFIXES, without=RECIPE_FILE)
        if not found:
            raise ConfigurationError(
                f"{self.folder}: holds no image; give a folder with {', '.join(IMAGE_SUFFIXES)} files somewhere below it."
            )
        return found


def bundled_images() -> ImageFiles:
    """Those that scikit-image ships."""
    import skimage.data

    return ImageFiles(Path(skimage.data.__file__).parent)


def read_square_crop(path: Path, size: int, scale: float = 1.0, across: float = 0.5, down: float = 0.5) -> NDArray[np.uint8]:
    """Read a square of a picture, scaled to a size, in colours as `read_picture` gives them.

    Args:
        path: of the picture.
        size: of the result, pixels.
        scale: side of the square, as a fraction of the picture's short side.
        across, down: where it lies, 0 left and 1 right.

    Returns:
        uint8 (size, size, 3).

    Raises:
        OSError, ValueError: the file is no picture, damaged, or larger than MAX_PIXELS.
    """
    picture = _read(path, 2 * size if scale == 1.0 else None)
    side = max(1.0, scale * min(picture.size))
    left, top = across * (picture.width - side), down * (picture.height - side)
    square = picture.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side), reducing_gap=3.0)
    return np.asarray(square)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read a picture, uint8 (H, W, 3).

    Turned as its EXIF data say, unless they are damaged; grey, palette, CMYK and 16-bit pictures become RGB; what is
    transparent shows black.

    Raises:
        OSError, ValueError: the file is no picture, damaged, or larger than MAX_PIXELS.
    """
    return np.asarray(_read(path))


def _read(path: Path, near: int | None = None) -> Image.Image:
    """A picture in RGB; a JPEG perhaps smaller than it is, but not below `near` pixels a side, which is much faster."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"has {image.width} x {image.height} pixels")
            if near is not None:
                image.draft("RGB", (near, near))
            return _to_rgb(_turned(image))


def _turned(image: Image.Image) -> Image.Image:
    """A picture as its EXIF data say; as it is where they are damaged."""
    image.load()  # first: what is wrong with the pixels is another matter
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001  # Pillow checks little there: struct.error, SyntaxError, KeyError, ...
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow would cut them off at 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, np.float32))
        values *= 255.0 / (65535.0 if values.max(initial=0) > 255 else 255.0)
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.mode or "transparency" in image.info:
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, (0, 0, 0, 255)), clear).convert("RGB")
    return image.convert("RGB")


@dataclass(frozen=True)
class ImageTextures:
    """Textures from pictures: the middle square of each, then random squares of each, then more.

    Attributes:
        pictures: which.
        skipped: a file to which the names of unreadable pictures are added.
    """

    pictures: ImageFiles
    skipped: Path

    def __call__(self, seed: int, index: int, size: int) -> NDArray[np.uint8]:
        """Texture `index`; where its picture cannot be read, of the next one that can.

        Raises:
            ConfigurationError: none can be read.
        """
        folder, names = self.pictures.folder, self.pictures.names
        scale, across, down = 1.0, 0.5, 0.5
        if index >= len(names):
            u = uniform(seed, index, Stream.IMAGE_SQUARE, (3,))
            scale, across, down = 0.4 + 0.6 * float(u[0]), float(u[1]), float(u[2])
        for step in range(len(names)):
            name = names[(index + step) % len(names)]
            try:
                return read_square_crop(folder / name, size, scale, across, down)
            except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError):
                with self.skipped.open("a", encoding="utf-8", errors="surrogateescape") as file:
                    file.write(name + "\n")
        raise ConfigurationError(f"{folder}: none of its {len(names)} images can be read.")
