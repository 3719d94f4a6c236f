"""Draw the pictures of the documentation: `make docs`."""

from pathlib import Path

from PIL import Image

from synvid.preset import list_presets, load_preset
from synvid.preview import contact_sheet

FOLDER = Path(__file__).parent / "images"
PROGRESSION = [name for name in list_presets() if "/" not in name and not name.startswith("slow_")]


def save(name: str, sheet) -> None:
    """Write a picture with few enough colours to be small."""
    path = FOLDER / f"{name}.png"
    Image.fromarray(sheet).quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path.relative_to(FOLDER.parent.parent), f"{path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """The progression, and a strip of every preset."""
    FOLDER.mkdir(exist_ok=True)
    save("progression", contact_sheet([load_preset(name) for name in PROGRESSION], clips=1, columns=7, side=128))
    for name in list_presets():
        save(name.replace("/", "_"), contact_sheet([load_preset(name)], clips=1, columns=7, side=96))


if __name__ == "__main__":
    main()
