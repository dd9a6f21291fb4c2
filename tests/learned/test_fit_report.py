"""`FitReport`: its table, and the figures that it holds."""

import numpy as np

import bijectree as bt
from bijectree.inference.diagnostics import condition_number
from bijectree.learned.fit_report import fisher_divergence


def report(**changes):
    settings = {
        "method": "fit_affine, fisher, dense",
        "objective": "evidence bound",
        "trace": np.array([-10.0, -2.0, -1.5]),
        "fisher_before": 1234.5,
        "fisher_after": 0.25,
        "condition_before": 1e6,
        "condition_after": 2.0,
        "held_out": 75,
        "gradients": 12345,
    }
    return bt.FitReport(**settings | changes)


def test_the_table():
    text = str(report(gradients_held_out=45, divergences=2, notes=("look out",)))
    lines = [line.rstrip() for line in text.splitlines()]
    assert lines[0] == "fit_affine, fisher, dense"
    assert lines[2].split() == ["on", "75", "held-out", "draws", "before", "after"]
    assert lines[4].split()[-2:] == ["1234", "0.25"]
    assert lines[5].split()[-2:] == ["1e+06", "2"]
    assert lines[7] == "evidence bound: -10 → -2 → -1.5"
    assert lines[8] == "gradients spent: 12,345, of which 45 for these figures alone"
    assert lines[9] == "note: 2 of 75 held-out draws diverged, after a short warm-up"
    assert lines[10] == "note: look out"
    assert "\x1b" not in text


def test_centeredness_few_and_many():
    text = str(report(centeredness={"a": np.array(0.5), "b": np.linspace(0, 1, 21)}))
    assert "centeredness of 'a': 0.500" in text
    assert "centeredness of 'b': 21 from 0.000 to 1.000, median 0.500" in text


def test_no_trace():
    assert "evidence" not in str(report(trace=np.zeros(0)))


def test_fisher_divergence_of_a_normal_density():
    """For normal(0, diag(s²)): ‖z − z/s²‖² has the mean Σ s² (1 − 1/s²)²."""
    s = np.array([0.5, 1.0, 3.0])
    z = s * np.random.default_rng(0).normal(size=(200_000, 3))
    expected = np.sum(s**2 * (1 - 1 / s**2) ** 2)
    np.testing.assert_allclose(fisher_divergence(z, -z / s**2), expected, rtol=0.01)


def test_condition_number():
    z = np.random.default_rng(0).normal(size=(100_000, 2)) * np.array([1.0, 30.0])
    np.testing.assert_allclose(condition_number(z), 900, rtol=0.03)
    assert np.isnan(condition_number(z[:2]))  # of no more draws than numbers
