"""Accuracies of datasets and their correlation with other properties."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from synvid.errors import ConfigurationError
from synvid.metrics.accuracy import PAPER, correlate, read_accuracies
from synvid.preset import list_presets


# ---- Accuracies ------------------------------------------------------------------------------------------------------
def test_accuracies_of_paper_match_documentation():
    """docs/presets.md and the CSV file of the package list the same accuracies for the same presets."""
    text = (Path(__file__).parents[1] / "docs" / "presets.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| ([\d.]+) \|", text, re.MULTILINE)
    accuracies, presets = read_accuracies(PAPER).columns["UCF101 fine-tuned"], set(list_presets())
    assert {name: float(value) for name, value in rows} == {name: accuracies[name] for name in accuracies if name in presets}
    assert set(accuracies) - presets == {"scratch", "ucf101"}


def test_read_accuracies_accepts_any_columns_and_empty_cells(tmp_path):
    """Columns have any name and order, empty cells are missing values, and a byte order mark and blank lines are ignored."""
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
        ("name,a\nx,1\nx,2\n", "line 3: 'x' already has an accuracy"),
        ("name,a\n\udcff,2\n", "not a CSV"),
    ],
)
def test_read_accuracies_malformed_file_raises(tmp_path, text, words):
    """The error message names the file, the line, the value and what would be right."""
    path = tmp_path / "mine.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigurationError, match=re.escape(words)) as caught:
        read_accuracies(path)
    assert str(path) in str(caught.value)


# ---- Correlations ----------------------------------------------------------------------------------------------------
def test_spearman_of_paper_progression_is_one():
    """Accuracy increases with every step of the paper's progression, so its rank correlation with the step is 1."""
    accuracies = read_accuracies(PAPER).columns["UCF101 fine-tuned"]
    progression = [name for name in accuracies if name not in ("scratch", "ucf101")][:8]
    assert correlate(list(range(8)), [accuracies[name] for name in progression]).spearman == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=4, max_size=30))
def test_correlate_matches_scipy(pairs):
    """Pearson with its interval and Spearman with ties equal SciPy's; constant data have no correlation."""
    x, y = (list(map(float, column)) for column in zip(*pairs, strict=True))
    correlation = correlate(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert correlation is None
        return
    expected = scipy_stats.pearsonr(x, y)
    assert correlation.pearson == pytest.approx(expected.statistic, abs=1e-9)
    assert correlation.spearman == pytest.approx(scipy_stats.spearmanr(x, y).statistic, abs=1e-9)
    if abs(correlation.pearson) < 0.999:
        assert correlation.ci95 == pytest.approx(tuple(expected.confidence_interval(0.95)), abs=1e-6)
    assert -1 <= correlation.ci95[0] <= correlation.ci95[1] <= 1


def test_correlate_few_datasets_gives_none():
    """Two datasets have no correlation, and three have no interval."""
    assert correlate([1, 2], [1, 2]) is None
    assert correlate([1, 2, 4], [1, 2, 3]).ci95 is None


def closed_form_pearson(x, y):
    """Return Pearson's correlation by its definition."""
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum()))


def mean_ranks(values):
    """Return ranks from 1; equal values share their mean rank."""
    _, index, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[index]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=3, max_size=30))
def test_correlate_matches_closed_forms(pairs):
    """Pearson, Spearman and Fisher's interval equal their closed forms."""
    x, y = np.array(pairs, float).T
    correlation = correlate(x, y)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert correlation is None
        return
    pearson = closed_form_pearson(x, y)
    assert correlation.pearson == pytest.approx(pearson, abs=1e-12)
    assert correlation.spearman == pytest.approx(closed_form_pearson(mean_ranks(x), mean_ranks(y)), abs=1e-12)
    if len(x) < 4:
        assert correlation.ci95 is None
    else:
        z, half = np.arctanh(np.clip(pearson, -1 + 1e-15, 1 - 1e-15)), 1.959964 / math.sqrt(len(x) - 3)
        assert correlation.ci95 == pytest.approx((np.tanh(z - half), np.tanh(z + half)), abs=1e-6)


@pytest.mark.parametrize("scale", [1e-200, 1e150])
def test_correlate_extreme_scales_do_not_underflow(scale):
    """Very small and very large values have the correlation of values of ordinary size."""
    x, y = np.array([1.0, 2.0, 4.0, 3.0]), np.array([1.0, 3.0, 2.0, 5.0])
    assert correlate(x * scale, y).pearson == pytest.approx(correlate(x, y).pearson, abs=1e-12)


def test_correlate_nearly_constant_values_gives_no_warning():
    """A spread that is small compared with the mean is no constant; the result is that of the shifted values."""
    x, y = np.array([1.0, 2.0, 4.0, 3.0]), [1.0, 3.0, 2.0, 5.0]
    assert correlate(2.0**50 + x, y).pearson == pytest.approx(correlate(x, y).pearson, abs=1e-12)
    assert correlate([0.1] * 3, [1.0, 2.0, 3.0]) is None
