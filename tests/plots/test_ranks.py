"""`plot_ranks`."""

import sys

import numpy as np
import pytest

from bijectree.plots import plot_ranks


@pytest.mark.usefixtures("no_window")
def test_bins_end_where_the_next_one_begins():
    # Of the ranks 0 to 10, four lie in the first bin, four in the second.
    counts = np.array([4, 4, 3])
    (ax,) = plot_ranks(
        {"a": counts}, {"a": 0.5}, (counts - 2, counts, counts + 2), draws=10
    )
    edges = ax.patches[0].get_data().edges
    assert edges.tolist() == [-0.5, 3.5, 7.5, 10.5]
    assert ax.get_xlim() == (-0.5, 10.5)


@pytest.mark.usefixtures("no_window")
def test_of_many_those_with_the_smallest_p_values_are_drawn():
    one = np.ones(2)
    names = [f"x.{i}" for i in range(30)]
    p_values = {name: (i + 1) / 31 for i, name in enumerate(reversed(names))}
    axes = plot_ranks(dict.fromkeys(names, one), p_values, (one, one, one), draws=1)
    assert [ax.get_title().split(":")[0] for ax in axes] == names[6:]


@pytest.mark.usefixtures("no_window")
def test_a_figure_that_is_given_is_drawn_in():
    from matplotlib.figure import Figure

    figure = Figure()
    one = np.ones(2)
    counts = dict.fromkeys("abcde", one)
    axes = plot_ranks(
        counts, dict.fromkeys("abcde", 1.0), (one, one, one), draws=1, figure=figure
    )
    assert figure.axes == list(axes)


def test_without_matplotlib_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    one = np.ones(2)
    with pytest.raises(ImportError, match=r"bijectree\[plot\]"):
        plot_ranks({"a": one}, {"a": 1.0}, (one, one, one), draws=1)
