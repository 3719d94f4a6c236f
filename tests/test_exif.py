"""Images with damaged EXIF data."""

import struct

import numpy as np
import pytest
from PIL import Image

from synvid.textures.image_folder import read_image


@pytest.mark.parametrize("end", [12, 20, 24, 30])
def test_image_with_damaged_exif_is_read_unrotated(end, tmp_path):
    """Truncated EXIF data cost the orientation they hold, and nothing else."""
    pixels = np.full((16, 24, 3), 80, np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera of some length"
    data = exif.tobytes()
    Image.fromarray(pixels).save(tmp_path / "whole.jpg", exif=data, quality=95)
    assert read_image(tmp_path / "whole.jpg").shape == (24, 16, 3)
    Image.fromarray(pixels).save(tmp_path / "cut.jpg", exif=data[:end], quality=95)
    assert read_image(tmp_path / "cut.jpg").shape in ((16, 24, 3), (24, 16, 3))  # turned if that much is left


def test_exception_of_pillow_for_exif_is_ignored(monkeypatch, tmp_path):
    """A struct.error from Pillow's EXIF reader does not prevent reading the image."""
    Image.fromarray(np.full((16, 24, 3), 80, np.uint8)).save(tmp_path / "one.jpg")

    def broken(_):
        raise struct.error("unpack requires a buffer of 8 bytes")

    monkeypatch.setattr("synvid.textures.image_folder.ImageOps.exif_transpose", broken)
    assert read_image(tmp_path / "one.jpg").shape == (16, 24, 3)
