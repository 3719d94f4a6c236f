"""Draw the images of the documentation and measure its table of presets: `make docs`, or `python docs/draw.py TARGET...`."""

import argparse
import io
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.shard import render_clip
from synvid.metrics.accuracy import PAPER as ACCURACIES
from synvid.metrics.accuracy import correlate, read_accuracies
from synvid.metrics.results import DatasetMetrics, load_metrics
from synvid.preset import Preset, list_presets, load_preset
from synvid.preview import contact_sheet, texture_sheet
from synvid.report.page import render_report
from synvid.report.plots import plot_accuracy, plot_spectra
from synvid.report.style import save_plot
from synvid.textures.bank_cache import open_or_build_bank

FOLDER = Path(__file__).parent / "images"
PAGE = Path(__file__).parent / "presets.md"
PROGRESSION = [
    "static_circles",
    "moving_circles",
    "moving_shapes",
    "moving_transforming_shapes",
    "accelerating_transforming_shapes",
    "accelerating_transforming_textures",
    "accelerating_transforming_stylegan_crops",
    "accelerating_transforming_image_crops",
]
#: Datasets of the plot of spectra and of the report.
SUBJECTS = (*PROGRESSION, "jhmdb", "imagenet")
#: Row of the paper and the accuracy it reports: UCF101, ViT-B, fine-tuned, in per cent.
PAPER = {
    "static_circles": ("Table 1", 67.8),
    "moving_circles": ("Table 1", 85.2),
    "moving_shapes": ("Table 1", 86.9),
    "moving_transforming_shapes": ("Table 1", 87.7),
    "accelerating_transforming_shapes": ("Table 1", 88.1),
    "accelerating_transforming_textures": ("Tables 1, 2: 300k statistical textures", 89.4),
    "accelerating_transforming_stylegan_crops": ("Tables 1, 2, 3: 300k StyleGAN", 90.2),
    "accelerating_transforming_image_crops": ("Tables 1, 2: 1.3M images", 91.3),
    "image_crops_300k": ("Table 2: 300k images", 90.5),
    "image_stylegan_crops_150k": ("Table 2: 150k images & 150k StyleGAN", 90.6),
    "shapes_5_still_images": ("Table 2: 5% static images", 88.5),
    "still_images": ("the 5 % of the row above", None),
    "dynamic_stylegan_crops": ("Table 3: dynamic StyleGAN crops", 89.2),
    "dynamic_stylegan_videos": ("Table 3: dynamic StyleGAN videos", 68.7),
    "slow_moving_circles": ("Table 9", 84.9),
    "slow_moving_shapes": ("Table 9", 88.3),
    "slow_moving_transforming_shapes": ("Table 9", 88.3),
    "slow_accelerating_transforming_shapes": ("Table 9", 88.6),
    "slow_accelerating_transforming_textures": ("Table 9", 90.9),
    "dynamic_stylegan_high_freq_videos": ("Table 10: dynamic StyleGAN high-freq", 68.7),
    "shapes_5_still_stylegan": ("Table 10: 5% StyleGAN", 88.2),
    "still_stylegan": ("the 5 % of the row above", None),
    "image_texture_crops_150k": ("Table 10: 150k images & 150k textures", 89.7),
    "image_crops_300k_color_background": ("Table 10: coloured background", 89.9),
    "image_crops_300k_image_background": ("Table 10: image background", 91.0),
    "shapes_25_real": ("Table 11: shapes, 25% UCF101", 90.4),
    "shapes_75_real": ("Table 11: shapes, 75% UCF101", 90.6),
    "image_crops_50_real": ("Table 11: image crops, 50% UCF101", 92.0),
    "saturated_textures": ("Table 12: statistical textures", 88.9),
    "saturated_textures_color_background": ("Table 12: the same, coloured background", 87.8),
    "saturated_dynamic_stylegan_crops": ("Table 12: dynamic StyleGAN crops", 87.5),
    "saturated_image_crops_300k": ("Table 12: 300k image crops", 90.1),
    "saturated_image_texture_crops_150k": ("Table 12: 150k image crops & 150k textures", 89.2),
    "saturated_image_crops_300k_color_background": ("Table 12: 300k, coloured background", 89.5),
    "saturated_image_crops_300k_image_background": ("Table 12: 300k, image background", 89.5),
    "saturated_image_crops": ("Table 12: 1.3M image crops", 89.8),
}
OPTIONS = {"images": " --images DIR", "real": " --real DIR"}


def image_path(preset: Preset) -> Path:
    """Path of the image of a preset: PNG without textures, since few colours compress better, otherwise JPEG."""
    return FOLDER / f"{preset.name.replace('/', '_')}.{'jpg' if preset.banks() else 'png'}"


def save(path: Path, sheet) -> None:
    """Write an image as a small file."""
    image = Image.fromarray(sheet)
    if path.suffix == ".jpg":
        image.save(path, quality=85, optimize=True)
    else:
        image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path.relative_to(FOLDER.parent.parent), f"{path.stat().st_size / 1000:.0f} kB")


def measure(preset: Preset, clips: int = 6) -> tuple[float, float]:
    """Clips/s on one core, from the preset to the bytes of the file, and bytes per clip; without real clips."""
    preset = preset if preset.mixture.source != "real" else preset.override({"mixture.fraction": 0.0, "mixture.source": ""})
    recipe = DatasetRecipe(preset, clips)
    encoder = recipe.make_encoder()
    render_clip(recipe, 0, encoder)
    begin = time.perf_counter()
    size = sum(len(render_clip(recipe, index, encoder)[0]) for index in range(clips))
    return clips / (time.perf_counter() - begin), size / clips


def row(name: str) -> str:
    """Return the table row of a preset."""
    preset = load_preset(name)
    where, accuracy = PAPER[name]
    needs = [key for key in ("images", "real") if key in preset.banks() or key == preset.mixture.source]
    command = f"synvid render --preset {name} --n 9537 --out DATA{''.join(OPTIONS[key] for key in needs)}"
    rate, size = measure(preset)
    image = f"![](images/{image_path(preset).name})"
    shown = "" if accuracy is None else f"{accuracy}"
    return f"| `{name}` | {where} | {shown} | `{command}` | {rate:.1f} | {size / 1e6:.2f} MB | {image} |"


def plot_against_accuracy(records: list[DatasetMetrics], keys: list[str], name: str) -> None:
    """Plot properties against accuracy, three plots per row."""
    accuracies, charts = read_accuracies(ACCURACIES), []
    column = next(iter(accuracies.columns))
    for key in keys:
        indexed = [(k, record) for k, record in enumerate(records) if key in record.properties]
        points = [(k, record, accuracies.get(record, column)) for k, record in indexed]
        points = [(k, record, value) for k, record, value in points if value and record.properties[key].value is not None]
        properties, values = [record.properties[key] for _, record, _ in points], [value for _, _, value in points]
        correlation = correlate([item.value or 0.0 for item in properties], values)
        shown = [(k, record) for k, record, _ in points]
        chart = save_plot(plot_accuracy(shown, properties, values, f"{column}, %", correlation), ".png")
        charts.append(Image.open(io.BytesIO(chart)).convert("RGB"))
    width, height = charts[0].size
    sheet = Image.new("RGB", (3 * width, -(-len(charts) // 3) * height), "white")
    for k, chart in enumerate(charts):
        sheet.paste(chart, (k % 3 * width, k // 3 * height))
    sheet.quantize(128).save(FOLDER / name, optimize=True)


def draw_analysis() -> None:
    """Plot docs/analysis.json and docs/compared.json: spectra of the progression, metrics against accuracy."""
    records = load_metrics(FOLDER.parent / "analysis.json")
    shown = [(k, record) for k, record in enumerate(records) if record.name in SUBJECTS]
    (FOLDER / "analysis_spectra.png").write_bytes(save_plot(plot_spectra(shown), ".png"))
    keys = [
        "spectrum_exponent",
        "color_distance_to_jhmdb",
        "frame_difference",
        "object_speed",
        "optical_flow",
        "occlusion_rate",
    ]
    plot_against_accuracy(records, keys, "analysis_accuracy.png")
    network = "efficientnet_lite0"
    keys = [f"frechet_{network}_to_jhmdb", f"diversity_{network}", f"set_diversity_{network}"]
    plot_against_accuracy(load_metrics(FOLDER.parent / "compared.json"), keys, "compared_accuracy.png")


def draw_report() -> None:
    """Draw the top of the report on the progression, J-HMDB and ImageNet, with Chromium."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        print("report.jpg: not drawn, since Chromium is not installed")
        return
    records = [record for record in load_metrics(FOLDER.parent / "analysis.json") if record.name in SUBJECTS]
    page = render_report(records, read_accuracies(ACCURACIES), "The paper's progression, J-HMDB and ImageNet")
    with tempfile.TemporaryDirectory() as tmp_dir:
        html, png = Path(tmp_dir, "report.html"), Path(tmp_dir, "report.png")
        html.write_text(page, encoding="utf-8")
        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_dir}/profile",
            "--window-size=1300,1207",
        ]
        subprocess.run([browser, *flags, f"--screenshot={png}", html.as_uri()], check=True, capture_output=True)
        with Image.open(png) as image:
            save(FOLDER / "report.jpg", np.asarray(image.convert("RGB")))


def draw_progression() -> None:
    """Draw seven frames of a clip of each preset of the progression."""
    save(FOLDER / "progression.jpg", contact_sheet([load_preset(name) for name in PROGRESSION], clips=1, columns=7, side=128))


def draw_presets() -> None:
    """Draw a strip of every preset."""
    for name in list_presets():
        save(image_path(load_preset(name)), contact_sheet([load_preset(name)], clips=1, columns=7, side=96))


def draw_banks() -> None:
    """Draw textures of each kind."""
    for kind in ("statistical", "stylegan-oriented", "stylegan-high-freq", "stylegan-oriented-walk", "images"):
        with Image.open(io.BytesIO(texture_sheet(open_or_build_bank(kind), columns=10, rows=3))) as sheet:
            save(FOLDER / f"bank_{kind}.jpg", np.asarray(sheet))


def write_table() -> None:
    """Measure the table of presets in docs/presets.md and write it there."""
    head = "| preset | row of the paper | accuracy | command | clips/s | a clip | |\n|---|---|---|---|---|---|---|\n"
    table = head + "\n".join(row(name) for name in PAPER)
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(
        re.sub(r"(?<=<!-- table -->\n).*?(?=\n<!-- end -->)", lambda _: table, text, flags=re.DOTALL), encoding="utf-8"
    )


#: What can be drawn, in the order of `all`.
TARGETS = {
    "analysis": draw_analysis,
    "report": draw_report,
    "progression": draw_progression,
    "presets": draw_presets,
    "banks": draw_banks,
    "table": write_table,
}


def main() -> None:
    """Draw the targets of the command line."""
    targets = "\n".join(f"  {name:12} {draw.__doc__}" for name, draw in TARGETS.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"targets:\n{targets}\n  {'all':12} All of them, several minutes on two cores.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("targets", nargs="+", choices=[*TARGETS, "all"], metavar="TARGET", help="what to draw; see below")
    chosen = parser.parse_args().targets
    FOLDER.mkdir(exist_ok=True)
    for name, draw in TARGETS.items():
        if name in chosen or "all" in chosen:
            draw()


if __name__ == "__main__":
    main()
