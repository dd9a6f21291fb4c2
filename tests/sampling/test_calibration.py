"""`Calibration`: what ranks say, as numbers, as a table and as a picture."""

import numpy as np
import pytest
from scipy import stats

import bijectree as bt

EVEN = np.repeat(np.arange(100), 2)


def calibration(ranks, **other):
    n = len(next(iter(ranks.values())))
    given = {
        "diverging": np.zeros(n, int),
        "r_hat": np.ones(n),
        "ess": np.full(n, 500.0),
        "outside": np.zeros(n, bool),
        **other,
    }
    return bt.Calibration(ranks=ranks, draws=99, **given)


def test_even_ranks_have_a_large_p_value():
    found = calibration({"a": EVEN, "b": EVEN[::-1]})
    assert (found.n, found.bins) == (200, 20)
    assert found.counts["a"].tolist() == [10] * 20
    assert found.p_values == {"a": 1.0, "b": 1.0}
    assert found.p_value == 1.0
    assert found.notes == []


def test_the_worst_p_value_is_told_with_the_number_of_them():
    rng = np.random.default_rng(1)
    low = rng.integers(0, 100, 200) ** 2 // 100
    found = calibration({"a": EVEN, "low": low, "c": EVEN[::-1]})
    expected = stats.chisquare(np.bincount(low // 5, minlength=20)).pvalue
    assert found.p_values["low"] == pytest.approx(expected)
    assert found.p_value == pytest.approx(3 * expected)
    assert found.p_value < 1e-3
    text = str(found)
    assert repr(found) == text
    assert f"worst p-value: {expected:.2g} of 'low', the smallest of 3;" in text
    assert f"{3 * expected:.2g} if it is multiplied by their number" in text
    assert "200 simulations, ranks among 99 draws, in 20 bins" in text
    (row,) = [line for line in text.splitlines() if line.startswith("a ")]
    assert row.split() == ["a", "1", "0.500", "0.289"]


def test_what_the_sampler_said_is_counted():
    n = len(EVEN)
    found = calibration(
        {"a": EVEN},
        diverging=np.arange(n) // (n - 2) * 3,
        r_hat=np.where(np.arange(n) < 5, 1.2, 1.011),
        ess=np.where(np.arange(n) == 7, 42.0, np.nan),
        outside=np.arange(n) == 0,
    )
    text = str(found)
    assert "simulations with divergences: 2; with R-hat above 1.01" in text
    assert "200, at most 1.200" in text
    notes = "\n".join(found.notes)
    assert "R-hat is above 1.05 in 5 of 200 simulations" in notes
    assert "below 99 in 1 of 200 simulations, at least 42" in notes
    assert "outside the support of the coordinates, or on its edge, in 1 of" in notes
    assert text.count("note: ") == 3


def test_a_long_table_has_the_smallest_p_values():
    rng = np.random.default_rng(2)
    ranks = {f"x.{i}": rng.integers(0, 100, 200) for i in range(60)}
    found = calibration(ranks)
    text = str(found)
    assert "... and 10 more, with larger p-values" in text
    worst = max(found.p_values, key=lambda name: found.p_values[name])
    assert f"\n{worst} " not in text


@pytest.mark.usefixtures("no_window")
def test_even_histograms_lie_in_the_band_and_others_do_not():
    axes = calibration({"a": EVEN, "zero": 0 * EVEN}).plot()
    assert [ax.get_title() for ax in axes] == ["a: p = 1", "zero: p = 0"]
    for ax, inside in zip(axes, (True, False), strict=True):
        band, bars = ax.collections[0], ax.patches[0]
        points = band.get_paths()[0].vertices
        low, high = points[:, 1].min(), points[:, 1].max()
        assert 0 <= low < 10 < high < 30
        assert (bars.get_data().values.max() <= high) == inside
