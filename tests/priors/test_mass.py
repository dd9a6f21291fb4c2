"""The integral of a density over the line, against integrals that are known."""

import numpy as np
import pytest
import scipy.stats as st

from bijectree.priors.mass import POINTS, mass


def _of(log_density, center=0.0, spread=1.0, rounded=lambda y: np.zeros(y.shape, bool)):
    def both(y):
        assert y.shape == (POINTS,)
        off = rounded(y)
        with np.errstate(all="ignore"):
            return np.where(off, -np.inf, log_density(y)), off

    return mass(both, np.float64(center), np.float64(spread))


KNOWN = {
    "cauchy": (st.cauchy().logpdf, 0.0, 1.0),
    "exponential": (lambda y: np.where(y > 0, -y, -np.inf), 0.5, 1.0),
    "far": (st.norm(1e4, 1.0).logpdf, 1e4, 1.0),
    "half": (lambda y: np.where(y < 3, np.log(0.5) + st.norm().logpdf(y), -np.inf), 0, 1),
    "log_gamma": (lambda y: 0.01 * y - np.exp(y) - 4.599479878042022, -70.0, 90.0),
    "narrow": (st.norm(0.3, 1e-4).logpdf, 0.0, 1.0),
    "normal": (st.norm().logpdf, 0.0, 1.0),
    "pole": (lambda y: -0.5 * np.log(np.abs(y)) - np.log(4), 0.0, 0.5),
    "student": (st.t(2.0).logpdf, 0.3, 2.0),
    "two_peaks": (
        lambda y: (
            np.logaddexp(st.norm(-9, 0.1).logpdf(y), st.norm(7, 1.0).logpdf(y))
            - np.log(2)
        ),
        0.0,
        8.0,
    ),
    "wide": (st.norm(0.0, 300.0).logpdf, 0.0, 1.0),
}
TOTAL = {"half": 0.5 * st.norm().cdf(3)}


@pytest.mark.parametrize("name", [n for n in KNOWN if n != "pole"])
def test_integrals_that_are_known(name):
    total, error = _of(*KNOWN[name])
    np.testing.assert_allclose(total, TOTAL.get(name, 1.0), atol=2e-4)
    assert error < 1e-3


def test_a_pole_within_the_line():
    def log_density(y):
        return np.where(np.abs(y) < 1, KNOWN["pole"][0](y), -np.inf)

    total, error = _of(log_density, 0.0, 0.5)
    np.testing.assert_allclose(total, 1.0, atol=max(2e-3, float(error)))


@pytest.mark.parametrize("rate", [0.02, 0.1, 1.0])
def test_what_lies_beyond_where_values_round_is_added(rate):
    """Of an exponential density, of which the part below −30 rounds onto an end."""

    def log_density(y):
        return np.where(y < 0, np.log(rate) + rate * y, -np.inf)

    total, _ = _of(log_density, -10.0, 10.0, lambda y: y < -30)
    np.testing.assert_allclose(total, 1.0, atol=1e-3)


@pytest.mark.parametrize("factor", [0.5, 0.998, 1.002, 3.0])
def test_a_factor_is_seen(factor):
    total, error = _of(lambda y: st.norm().logpdf(y) + np.log(factor))
    np.testing.assert_allclose(total, factor, rtol=1e-5)
    assert error < 1e-4


def test_each_of_a_batch():
    scales = np.array([[0.5, 1.0, 2.0]])

    def log_density(y):
        assert y.shape == (POINTS, 1, 3)
        return st.norm(0, scales).logpdf(y) + np.log(scales), np.zeros(y.shape, bool)

    total, _ = mass(log_density, np.zeros((1, 3)), scales)
    np.testing.assert_allclose(total, scales, rtol=1e-5)


def test_nothing_is_nothing():
    total, error = _of(lambda y: np.full(y.shape, -np.inf))
    assert total == error == 0
