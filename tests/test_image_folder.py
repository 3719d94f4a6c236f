"""Image folders as textures: formats, damaged files, listing."""

import io
import json
import zlib

import numpy as np
import pytest
from PIL import Image
from texture_helpers import SHARED, TINY, assert_error, command

from synvid.paths import find_files
from synvid.runtime.progress import Progress
from synvid.textures.bank import build_bank, open_bank
from synvid.textures.bank_cache import make_bank_header
from synvid.textures.image_folder import bundled_images, read_square_crop


def split_image(mode="RGB", size=(40, 30)):
    """An image whose left half is bright and whose right half is dark."""
    bright = np.zeros((size[1], size[0]), np.uint8)
    bright[:, : size[0] // 2] = 255
    image = Image.fromarray(bright)
    return image.convert(mode) if mode != "I;16" else Image.fromarray(bright.astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.jpg", "RGB"),
        ("a.jpg", "L"),
        ("a.jpg", "CMYK"),
        ("a.png", "P"),
        ("a.png", "LA"),
        ("a.png", "RGBA"),
        ("a.png", "I;16"),
        ("a.png", "1"),
        ("a.webp", "RGB"),
    ],
)
def test_read_any_image_mode(name, mode, tmp_path):
    """Grey, palette, CMYK, 16-bit, black-and-white and transparent images: bright stays bright and dark stays dark."""
    split_image(mode).save(tmp_path / name)
    square = read_square_crop(tmp_path / name, 32)
    assert square.shape == (32, 32, 3)
    assert square[:, :12].min() > 225
    assert square[:, 20:].max() < 30


def test_transparent_pixels_are_black(tmp_path):
    """Transparent pixels become black, whatever their hidden colour."""
    clear = Image.new("RGBA", (20, 20), (255, 255, 255, 0))
    clear.save(tmp_path / "a.png")
    assert read_square_crop(tmp_path / "a.png", 16).max() == 0


def test_exif_orientation_is_applied(tmp_path):
    """An image is rotated by its EXIF orientation."""
    image, exif = split_image(size=(40, 40)), Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise for display
    image.save(tmp_path / "a.jpg", exif=exif)
    square = read_square_crop(tmp_path / "a.jpg", 32)
    assert square[:12].min() > 225
    assert square[20:].max() < 30


@pytest.mark.parametrize("size", [(1, 1), (20_000, 3), (3, 20_000)])
def test_read_extreme_image_sizes(size, tmp_path):
    """Images of one pixel, or of 20,000 by 3, are read."""
    Image.new("RGB", size, (9, 8, 7)).save(tmp_path / "a.png")
    assert (read_square_crop(tmp_path / "a.png", 16) == [9, 8, 7]).all()


def write_bomb(path):
    """Write a file of a few bytes that claims to have 30000 x 30000 pixels."""
    data = io.BytesIO()
    Image.new("1", (8, 8)).save(data, "png")
    raw = bytearray(data.getvalue())
    raw[16:24] = (30000).to_bytes(4, "big") * 2
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    path.write_bytes(raw)


def test_unreadable_images_are_skipped_and_named(tmp_path):
    """Broken, empty, foreign and oversized files are skipped and named; the others make the bank."""
    folder = tmp_path / "images"
    (folder / "deep" / "er").mkdir(parents=True)
    Image.new("RGB", (50, 50), (200, 10, 10)).save(folder / "deep" / "er" / "red.JPG")
    Image.new("RGB", (50, 50), (10, 10, 200)).save(folder / "blue.png")
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no image")
    (folder / "short.jpg").write_bytes((folder / "deep" / "er" / "red.JPG").read_bytes()[:300])
    write_bomb(folder / "bomb.png")
    code, messages, data = command(
        "textures", "build", "images", "--images", folder, "--size", 32, "--out", tmp_path / "a.bank", "--json", "--workers", 2
    )
    assert code == 0, messages
    assert json.loads(data)["unreadable"] == ["bomb.png", "empty.png", "short.jpg", "text.jpg"]
    assert "4 images could not be read: bomb.png, empty.png, short.jpg and 1 more." in messages
    textures = open_bank(tmp_path / "a.bank").textures
    assert len(textures) == 6
    colors = {tuple(int(k) // 50 for k in texture[0, 16, 16]) for texture in textures}
    assert colors in ({(4, 0, 0), (0, 0, 4)}, {(3, 0, 0), (0, 0, 4)})


def test_folder_without_readable_images_is_an_error(tmp_path):
    """If no image can be read, the exit code is 2 and there is no bank."""
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "text.jpg").write_text("no image")
    args = ["textures", "build", "images", "--images", folder, "--size", 32, "--out", tmp_path / "a.bank", "--workers", 1]
    assert_error(args, 2, folder, "none of its 1 images can be read")
    assert not (tmp_path / "a.bank").exists()


def test_more_textures_than_images_are_random_squares(tmp_path):
    """After the central square of each image, every texture is a different square."""
    path = tmp_path / "a.bank"
    build_bank(path, make_bank_header("images", 40, 32), bundled_images(), 1, Progress())
    textures = open_bank(path).textures
    assert len({texture.tobytes() for texture in textures}) == 40


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real images here")
def test_real_images_fill_a_preset(tmp_path):
    """A preset of natural images uses a folder of them."""
    args = ["render", "--preset", "accelerating_transforming_image_crops", "--n", 2, "--out", tmp_path / "set", *TINY]
    assert command(*args, "--images", SHARED / "images")[0] == 0
    assert command("verify", "--rerender", tmp_path / "set")[0] == 0


def test_folder_without_images_is_an_error(tmp_path):
    """`--images` with a folder of other files says which files it needs."""
    (tmp_path / "notes.txt").write_text("mine")
    assert_error(
        ["textures", "build", "images", "--images", tmp_path, "--out", tmp_path / "a.bank"], 2, tmp_path, "holds no image"
    )


def test_image_folder_is_listed_once(tmp_path, monkeypatch):
    """`--images DIR` lists its folder once in `render`, `preview` of several presets, and `textures images`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder, listed = tmp_path / "images", []
    folder.mkdir()
    Image.new("RGB", (50, 50)).save(folder / "black.png")

    def record(*args, **more):
        listed.append(args)
        return find_files(*args, **more)

    monkeypatch.setattr("synvid.textures.image_folder.find_files", record)
    names = ["accelerating_transforming_image_crops", "image_crops_300k"]
    for args in (
        ["render", "--preset", names[0], "--n", 2, "--out", tmp_path / "set", *TINY, "--workers", 1],
        ["preview", *names, "--clips", 1, "--columns", 1, "--out", tmp_path / "sheet.png"],
        ["textures", "build", "images", "--size", 32, "--out", tmp_path / "a.bank", "--workers", 1],
    ):
        code, messages, _ = command(*args, "--images", folder)
        assert code == 0, messages
        assert len(listed) == 1
        listed.clear()
