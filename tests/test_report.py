"""`synvid report`: a self-contained page that works in a real browser."""

import csv
import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_stats import TINY, command, noise_clip, write_video

from synvid.metrics.accuracy import PAPER, correlate, read_accuracies
from synvid.metrics.results import DatasetMetrics, Property, Sample, load_metrics, to_json
from synvid.report.page import render_report

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1300,1000",
)  # fmt: skip
PRESETS = ("static_circles", "moving_circles", "moving_shapes", "accelerating_transforming_shapes")


@pytest.fixture(scope="module")
def metrics_files(tmp_path_factory):
    """Return a folder with the metrics of four presets and some videos, and another program's file of the same datasets."""
    home = tmp_path_factory.mktemp("metrics")
    for k in range(3):
        write_video(home / "real" / f"{k}.mp4", noise_clip(k))
    args = (
        "stats",
        *PRESETS,
        home / "real",
        "--reference",
        home / "real",
        "--max-clips",
        4,
        "--out",
        home / "ours.json",
        *TINY,
        "-q",
    )
    code, talk, _ = command(*args)
    assert code == 0, talk
    frechet = {"label": "Fréchet distance on <some> features", "unit": "", "details": {"anything": [1, 2]}}
    others = [
        DatasetMetrics(name, "preset", name, 4, properties={"frechet": Property(value=300.0 - 20 * k, **frechet)})
        for k, name in enumerate(PRESETS)
    ]
    (home / "theirs.json").write_text(to_json(others), encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def report(metrics_files):
    """Return the path of the page of both files."""
    out = metrics_files / "report.html"
    code, talk, _ = command(
        "report", metrics_files / "ours.json", metrics_files / "theirs.json", "--out", out, "--title", "Mine & yours"
    )
    assert code == 0, talk
    assert "5 datasets" in talk
    return out


# ---- The page ------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_report_is_self_contained(report):
    """The page has no addresses but data: and #..., and the namespaces of SVG; titles are escaped."""
    text = report.read_text(encoding="utf-8")
    addresses = set(re.findall(r"""(?:src|href|url)[=(]["']?([^"')>]{1,12})""", text))
    assert all(address.startswith(("data:", "#")) for address in addresses), addresses
    assert set(re.findall(r"https?://[^\"'<]*", text)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "<title>Mine &amp; yours</title>" in text
    assert "{{" not in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).lower()


def test_report_shows_every_dataset_and_property(report, metrics_files):
    """Properties of other programs appear under their own labels, too."""
    text = report.read_text(encoding="utf-8")
    for metrics in load_metrics(metrics_files / "ours.json"):
        assert f" {metrics.name}</button>" in text
        for item in metrics.properties.values():
            assert f"<button>{item.label}</button>" in text
    assert "<button>Fréchet distance on &lt;some&gt; features</button>" in text
    assert "<b>Fréchet distance on &lt;some&gt; features</b> r = −0.8" in text
    assert text.count("<video ") == 10


@pytest.mark.slow
def test_report_is_deterministic(report, metrics_files):
    """The same metrics give the same bytes, so a page can be kept under version control."""
    again = metrics_files / "again.html"
    command(
        "report", metrics_files / "ours.json", metrics_files / "theirs.json", "--out", again, "--title", "Mine & yours", "-q"
    )
    assert again.read_bytes() == report.read_bytes()


def test_report_correlations_match_numpy(report, metrics_files):
    """The caption of a chart has the correlation of the values in the files with the paper's accuracies."""
    records = {record.name: record for record in load_metrics(metrics_files / "ours.json")}
    with PAPER.open(encoding="utf-8") as file:
        accuracies = {row["name"]: float(row["UCF101 fine-tuned"]) for row in csv.DictReader(file)}
    speeds = [records[name].properties["object_speed"].value for name in PRESETS]
    r = np.corrcoef(speeds, [accuracies[name] for name in PRESETS])[0, 1]
    assert f"<b>Object speed</b> r = {r:.2f} (" in report.read_text(encoding="utf-8")


def test_report_of_missing_values_and_html_names():
    """Datasets without values, HTML in names and notes, and malformed details are shown or left out, never executed."""
    missing = Property("Spectrum exponent", "", None, why="no <reason>", details={})
    malformed = Property("Colour spread", "", 3.0, details={"mean": ["a"], "covariance": [[1]], "over_time": "x"})
    incomplete = Property("Spectrum exponent", "", 1.0, details={"amplitude": [1], "frequency": [], "fit_range": [], "a": "b"})
    name = "<script>alert(1)</script>"
    first = DatasetMetrics(name, "videos", name, 1, properties={"spectrum_exponent": missing}, notes=["<b>"])
    second = DatasetMetrics("two", "videos", "x", 1, properties={"spectrum_exponent": incomplete, "color_spread": malformed})
    third = dataclasses.replace(second, name="three", samples=[Sample("text/html", "AAAA", "x")])
    text = render_report([first, second, third], read_accuracies(PAPER))
    assert name not in text
    assert "no &lt;reason&gt;" in text
    assert "text/html" not in text
    assert "Fewer than three datasets have an accuracy" in text


def test_forty_datasets_have_distinct_colours_and_markers():
    """Beyond ten datasets, markers and line styles change, so no two of forty look the same."""
    from synvid.report.style import dataset_color, marker

    assert len({(dataset_color(k), marker(k)) for k in range(40)}) == 40


def test_report_of_constant_property_has_no_correlation():
    """If all datasets have the same value, the caption tells so."""
    records = [
        DatasetMetrics(name, "preset", name, 2, name, properties={"flow": Property("Flow", "px", 1.0)}) for name in PRESETS
    ]
    assert "the same for all 4: no correlation" in render_report(records, read_accuracies(PAPER))


@pytest.mark.slow
def test_report_reads_metrics_files_of_documentation(tmp_path):
    """`synvid report` reads the example file in docs/analysis.md and the files beside it."""
    docs = Path(__file__).parents[1] / "docs"
    text = (docs / "analysis.md").read_text(encoding="utf-8")
    (tmp_path / "example.json").write_text(re.search(r"```json\n(.*?)```", text, re.DOTALL)[1], encoding="utf-8")
    for path in (tmp_path / "example.json", docs / "analysis.json"):
        code, talk, _ = command("report", path, "--out", tmp_path / "page.html")
        assert code == 0, talk


def test_documentation_matches_its_metrics_files():
    """The table of docs/analysis.md has the values of docs/analysis.json, and its Python example prints what it shows."""
    docs = Path(__file__).parents[1] / "docs"
    text = (docs / "analysis.md").read_text(encoding="utf-8")
    properties = {metrics.name: metrics.properties for metrics in load_metrics(docs / "analysis.json")}
    rows = re.findall(r"^\| `(\w+)` \| (\d\.\d\d\d) \([^|]*\| [^|]* \| ([\d.]*)", text, re.MULTILINE)
    assert len(rows) == 10
    for name, exponent, distance in rows:
        assert f"{properties[name]['spectrum_exponent'].value:.3f}" == exponent
        assert not distance or f"{properties[name]['color_distance_to_jhmdb'].value:.2f}" == distance
    code, output = re.search(r"```python\n(.*?)print\(correlate\(\*zip\(\*pairs\)\)\)  # ([^\n]*)", text, re.DOTALL).groups()
    values = {}
    exec(code.replace('"docs/', f'"{docs}/'), values)  # noqa: S102  # our own documentation
    correlation = correlate(*zip(*values["pairs"], strict=True))
    ends = ", ".join(f"{end:.2f}" for end in correlation.ci95)
    assert (
        output == f"n={correlation.n}, pearson={correlation.pearson:.2f}, ci95=({ends}), spearman={correlation.spearman:.2f}"
    )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), ["name one or more metrics files"]),
        (("{}/missing.json",), ["missing.json", "No such file"]),
        (("{}/ours.json", "--out", "x.txt"), ["x.txt", ".html"]),
        (("{}/ours.json", "--accuracy", "{}/missing.csv"), ["missing.csv", "No such file"]),
        (("{}/real/0.mp4",), ["0.mp4", "not a metrics file"]),
    ],
)
def test_report_wrong_arguments_give_error(metrics_files, args, words):
    """The exit code is 2, and the last line names what is wrong; there is no traceback."""
    code, talk, _ = command("report", *(arg.format(metrics_files) for arg in args))
    assert code == 2, talk
    assert "Traceback" not in talk
    for word in words:
        assert word in talk.strip().splitlines()[-1]


# ---- A real browser --------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Return a driver of headless Chromium, from the system's packages."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.mark.slow
def test_report_works_in_a_browser(browser, report):
    """Names, headings, tabs, links and details react to clicks, clips play, and the console stays empty."""
    browser.get(report.as_uri())
    find = lambda selector: browser.find_elements("css selector", selector)  # noqa: E731
    number_of = lambda selector: len(find(selector))  # noqa: E731

    # Names: one alone, two, none (which shows all), and the button for all.
    chips = find(".chip[data-ds]")
    assert len(chips) == 5
    chips[1].click()
    assert number_of("tbody tr.off") == 4
    assert not find(".ds-1.off")
    assert find("svg .ds-2.off")
    chips[2].click()
    assert number_of("tbody tr.off") == 3
    chips[1].click()
    chips[2].click()
    assert number_of(".off") == 0
    chips[0].click()
    browser.find_element("id", "all").click()
    assert number_of(".off") == 0

    # Headings sort, down and up; missing values stay last.
    names = lambda: [row.text.split("\n")[0] for row in find("tbody td:first-child")]  # noqa: E731
    heads = find("thead th")
    for head in heads:
        browser.execute_script("arguments[0].scrollIntoView({inline: 'center', block: 'center'})", head)
        head.find_element("tag name", "button").click()
    speed = next(head for head in heads if "Object speed" in head.text)
    for order in ("descending", "ascending"):
        browser.execute_script("arguments[0].querySelector('button').click()", speed)
        assert speed.get_attribute("aria-sort") == order
        values = browser.execute_script(
            "const k = arguments[0].cellIndex;"
            "return [...document.querySelectorAll('tbody tr')].map((row) => row.cells[k].dataset.value ?? '')", speed
        )  # fmt: skip
        numbers = [float(value) for value in values[:-1]]
        assert values[-1] == ""
        assert numbers == sorted(numbers, reverse=order == "descending")
    assert sorted(names()) == sorted(f"{k + 1} {name}" for k, name in enumerate((*PRESETS, "real")))

    # Tabs show one panel of charts each.
    for tab in find(".tabs button"):
        browser.execute_script("arguments[0].click()", tab)
        shown = [panel for panel in find("[role=tabpanel]") if panel.is_displayed()]
        assert [panel.get_attribute("id") for panel in shown] == [tab.get_attribute("aria-controls")]
        assert shown[0].find_elements("tag name", "svg")

    # Links lead to sections, details open, all charts have a size, clips play.
    for link in find("nav a"):
        link.click()
        assert find(link.get_attribute("href").rpartition("/")[2].partition("html")[2])
    find("summary")[0].click()
    assert "bootstrap" in find("details")[0].text
    assert all(chart.size["height"] > 100 for chart in find(".chart") if chart.is_displayed())
    playing = "return [...document.querySelectorAll('video')].every((video) => video.readyState >= 2 && video.currentTime > 0)"
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 20).until(lambda driver: driver.execute_script(playing))
    assert browser.get_log("browser") == []


def test_report_fits_a_narrow_screen(browser, report):
    """At a width of 500 pixels only the table scrolls sideways."""
    browser.set_window_size(500, 900)
    browser.get(report.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
