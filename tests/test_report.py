"""`synvid report`: one page with nothing outside it, which works in a real browser."""

import csv
import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_stats import TINY, command, noise_clip, write_video

from synvid.errors import ConfigurationError
from synvid.metrics.accuracy import PAPER, correlate, read_accuracies
from synvid.metrics.results import DatasetMetrics, Property, Sample, load_metrics, to_json
from synvid.preset import list_presets
from synvid.report.page import page

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1300,1000",
)  # fmt: skip
PRESETS = ("static_circles", "moving_circles", "moving_shapes", "accelerating_transforming_shapes")


@pytest.fixture(scope="module")
def measures(tmp_path_factory):
    """A file of measures of four presets and some videos, and another program's file on the same datasets."""
    home = tmp_path_factory.mktemp("measures")
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
def report(measures):
    """The page over both files."""
    out = measures / "report.html"
    code, talk, _ = command(
        "report", measures / "ours.json", measures / "theirs.json", "--out", out, "--title", "Mine & yours"
    )
    assert code == 0, talk
    assert "5 datasets" in talk
    return out


# ---- The page ------------------------------------------------------------------------------------------------------
def test_the_page_needs_nothing_else(report):
    """No address but data: and #..., and namespaces of SVG; titles are escaped."""
    text = report.read_text(encoding="utf-8")
    addresses = set(re.findall(r"""(?:src|href|url)[=(]["']?([^"')>]{1,12})""", text))
    assert all(address.startswith(("data:", "#")) for address in addresses), addresses
    assert set(re.findall(r"https?://[^\"'<]*", text)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "<title>Mine &amp; yours</title>" in text
    assert "{{" not in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).lower()


def test_every_dataset_and_property_is_on_the_page(report, measures):
    """Those of other programs, too, under the label that they bring."""
    text = report.read_text(encoding="utf-8")
    for record in load_metrics(measures / "ours.json"):
        assert f" {record.name}</button>" in text
        for one in record.properties.values():
            assert f"<button>{one.label}</button>" in text
    assert "<button>Fréchet distance on &lt;some&gt; features</button>" in text
    assert "<b>Fréchet distance on &lt;some&gt; features</b> r = −0.8" in text
    assert text.count("<video ") == 10


def test_the_same_measures_give_the_same_page(report, measures):
    """Byte for byte, so that it can be kept under version control."""
    again = measures / "again.html"
    command("report", measures / "ours.json", measures / "theirs.json", "--out", again, "--title", "Mine & yours", "-q")
    assert again.read_bytes() == report.read_bytes()


def test_correlations_on_the_page_are_those_of_numpy(report, measures):
    """What stands below a chart is the correlation of the values in the files with the paper's accuracies."""
    records = {record.name: record for record in load_metrics(measures / "ours.json")}
    with PAPER.open(encoding="utf-8") as file:
        known = {row["name"]: float(row["UCF101 fine-tuned"]) for row in csv.DictReader(file)}
    speeds = [records[name].properties["object_speed"].value for name in PRESETS]
    r = np.corrcoef(speeds, [known[name] for name in PRESETS])[0, 1]
    assert f"<b>Object speed</b> r = {r:.2f} (" in report.read_text(encoding="utf-8")


def test_odd_datasets_are_drawn():
    """One dataset without any value; names and notes that are HTML; details that are not what they should be."""
    nothing = Property("Spectrum exponent", "", None, why="no <reason>", details={})
    wrong = Property("Colour spread", "", 3.0, details={"mean": ["a"], "covariance": [[1]], "over_time": "x"})
    strange = Property("Spectrum exponent", "", 1.0, details={"amplitude": [1], "frequency": [], "fit_range": [], "a": "b"})
    name = "<script>alert(1)</script>"
    one = DatasetMetrics(name, "videos", name, 1, properties={"spectrum_exponent": nothing}, notes=["<b>"])
    other = DatasetMetrics("two", "videos", "x", 1, properties={"spectrum_exponent": strange, "color_spread": wrong})
    some = dataclasses.replace(other, name="three", samples=[Sample("text/html", "AAAA", "x")])
    text = page([one, other, some], read_accuracies(PAPER))
    assert name not in text
    assert "no &lt;reason&gt;" in text
    assert "text/html" not in text
    assert "Fewer than three datasets have an accuracy" in text


def test_many_datasets_are_told_apart():
    """Beyond ten, marks and lines change, so that no two of forty look the same."""
    from synvid.report import plots

    looks = {(plots.color_of(k), plots._mark(k)) for k in range(40)}
    assert len(looks) == 40


def test_constant_properties_have_no_correlation():
    """Where all datasets have one value, the chart says so and draws no line."""
    records = [
        DatasetMetrics(name, "preset", name, 2, name, properties={"flow": Property("Flow", "px", 1.0)}) for name in PRESETS
    ]
    assert "the same for all 4: no correlation" in page(records, read_accuracies(PAPER))


def test_the_example_of_the_documentation_is_read(tmp_path):
    """The file that docs/analysis.md shows is one that `synvid report` draws; so is the one that lies beside it."""
    docs = Path(__file__).parents[1] / "docs"
    text = (docs / "analysis.md").read_text(encoding="utf-8")
    (tmp_path / "example.json").write_text(re.search(r"```json\n(.*?)```", text, re.DOTALL)[1], encoding="utf-8")
    for path in (tmp_path / "example.json", docs / "analysis.json"):
        code, talk, _ = command("report", path, "--out", tmp_path / "page.html")
        assert code == 0, talk


def test_what_the_documentation_says_is_in_its_measures():
    """The table of docs/analysis.md is made of the values in docs/analysis.json, and its Python prints what it says."""
    docs = Path(__file__).parents[1] / "docs"
    text = (docs / "analysis.md").read_text(encoding="utf-8")
    known = {record.name: record.properties for record in load_metrics(docs / "analysis.json")}
    rows = re.findall(r"^\| `(\w+)` \| (\d\.\d\d\d) \([^|]*\| [^|]* \| ([\d.]*)", text, re.MULTILINE)
    assert len(rows) == 10
    for name, exponent, distance in rows:
        assert f"{known[name]['spectrum_exponent'].value:.3f}" == exponent
        assert not distance or f"{known[name]['color_distance_to_jhmdb'].value:.2f}" == distance
    code, said = re.search(r"```python\n(.*?)print\(correlate\(\*zip\(\*pairs\)\)\)  # ([^\n]*)", text, re.DOTALL).groups()
    values = {}
    exec(code.replace('"docs/', f'"{docs}/'), values)  # noqa: S102  # our own documentation
    found = correlate(*zip(*values["pairs"], strict=True))
    ends = ", ".join(f"{end:.2f}" for end in found.ci95)
    assert said == f"n={found.n}, pearson={found.pearson:.2f}, ci95=({ends}), spearman={found.spearman:.2f}"


# ---- Accuracies ------------------------------------------------------------------------------------------------------
def test_the_papers_accuracies_are_those_of_the_documentation():
    """Every preset with an accuracy in docs/presets.md has the same one in the package, and no other preset has one."""
    text = (Path(__file__).parents[1] / "docs" / "presets.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| ([\d.]+) \|", text, re.MULTILINE)
    known, presets = read_accuracies(PAPER).columns["UCF101 fine-tuned"], set(list_presets())
    assert {name: float(value) for name, value in rows} == {name: known[name] for name in known if name in presets}
    assert set(known) - presets == {"scratch", "ucf101"}


def test_a_file_of_ones_own(tmp_path):
    """Any columns; empty cells are unknown; a byte order mark and blank lines do not matter."""
    path = tmp_path / "mine.csv"
    path.write_text("\ufeffaccuracy A,name,B\n50,x,\n\n60.5,y,7\n", encoding="utf-8")
    assert read_accuracies(path).columns == {"accuracy A": {"x": 50.0, "y": 60.5}, "B": {"y": 7.0}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "first line"),
        ("name\nx\n", "first line"),
        ("dataset,accuracy\nx,1\n", "first line"),
        ("name,a,a\nx,1,2\n", "first line"),
        ("name,a\nx\n", "line 2: has 1 cells"),
        ("name,a\nx,high\n", "line 2: a is 'high'"),
        ("name,a\nx,101\n", "line 2: a is '101'"),
        ("name,a\nx,nan\n", "line 2: a is 'nan'"),
        ("name,a\nx,1\nx,2\n", "line 3: 'x' has an accuracy already"),
        ("name,a\n\udcff,2\n", "no CSV"),
    ],
)
def test_wrong_accuracies_are_one_sentence(tmp_path, text, words):
    """File, line, value and what would be right."""
    path = tmp_path / "mine.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigurationError, match=re.escape(words)) as caught:
        read_accuracies(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), ["name one or more metrics files"]),
        (("{}/missing.json",), ["missing.json", "No such file"]),
        (("{}/ours.json", "--out", "x.txt"), ["x.txt", ".html"]),
        (("{}/ours.json", "--accuracy", "{}/missing.csv"), ["missing.csv", "No such file"]),
        (("{}/real/0.mp4",), ["0.mp4", "no file of measures"]),
    ],
)
def test_wrong_use_is_one_sentence(measures, args, words):
    """Exit code 2, no traceback, nothing written."""
    code, talk, _ = command("report", *(arg.format(measures) for arg in args))
    assert code == 2, talk
    assert "Traceback" not in talk
    for word in words:
        assert word in talk.strip().splitlines()[-1]


def test_a_correlation_of_the_paper():
    """Accuracy of the progression goes with its place in it: rank correlation 1."""
    known = read_accuracies(PAPER).columns["UCF101 fine-tuned"]
    progression = [name for name in known if name not in ("scratch", "ucf101")][:8]
    assert correlate(list(range(8)), [known[name] for name in progression]).spearman == pytest.approx(1.0)


# ---- A real browser --------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a window, from the system's packages."""
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


def test_the_page_works_in_a_browser(browser, report):
    """Clicking through everything there is: names, headings, tabs, links, details; clips play; the console stays empty."""
    browser.get(report.as_uri())
    find = lambda selector: browser.find_elements("css selector", selector)  # noqa: E731
    number_of = lambda selector: len(find(selector))  # noqa: E731

    # Names: alone, two, none is all again, and the button that says all.
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

    # Headings sort, down and up; what has no value stays last.
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
    playing = "return [...document.querySelectorAll('video')].every((one) => one.readyState >= 2 && one.currentTime > 0)"
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 20).until(lambda one: one.execute_script(playing))
    assert browser.get_log("browser") == []


def test_the_page_fits_a_telephone(browser, report):
    """On a narrow screen nothing but the table scrolls sideways."""
    browser.set_window_size(500, 900)
    browser.get(report.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
