"""`plot_geometry`."""

import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree.inference.diagnostics import condition_number

pytestmark = pytest.mark.usefixtures("no_window")


MODEL = {
    "copy": jnp.array(1.0),
    "held": jnp.ones(2),
    "n": 3,
    "parts": jnp.array([0.2, 0.3, 0.5]),
    "scale": jnp.array(1.0),
}
RULES = {
    "copy": bt.tied("scale"),
    "held": bt.frozen,
    "parts": bt.simplex(),
    "scale": bt.positive(),
}


def make_draws(chains=4, n=300, stats=None):
    posterior = bt.Posterior(
        bt.Reparam(MODEL, bt.by_path(MODEL, RULES)), lambda model: 0.0
    )
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(chains, n, posterior.dim)).astype(np.float32)
    return bt.Draws(posterior, vectors, stats)


def labels(axes):
    return [ax.get_xlabel() for ax in axes[-1] if ax is not None]


def test_free_coordinates_stand_beside_the_numbers_of_the_model():
    draws = make_draws()
    axes = bt.plot_geometry(draws)
    assert axes.shape == (2, 5, 5)
    assert labels(axes[0, :3, :3]) == ["parts.0", "parts.1", "scale"]
    assert labels(axes[1]) == ["copy", "parts.0", "parts.1", "parts.2", "scale"]
    assert axes[0, 3, 3] is None
    assert axes[0, 0, 1] is None
    x, y = axes[0, 2, 0].collections[0].get_offsets().T
    np.testing.assert_array_equal(x, draws.vectors[..., 0].ravel())
    np.testing.assert_array_equal(y, draws.vectors[..., 2].ravel())
    x, y = axes[1, 4, 0].collections[0].get_offsets().T
    np.testing.assert_allclose(x, np.exp(draws.vectors[..., 2]).ravel(), rtol=1e-5)
    np.testing.assert_array_equal(x, y)


def test_titles_have_the_condition_number_of_each_side():
    draws = make_draws()
    wide = np.asarray(draws.vectors) * np.float32([1.0, 1.0, 10.0])
    draws = bt.Draws(draws.posterior, wide)
    axes = bt.plot_geometry(draws)
    left, right = (axes[i, 0, 0].figure.get_suptitle() for i in range(2))
    columns = np.asarray(draws.vectors, np.float64).reshape(-1, 3)
    expected = np.linalg.cond(np.cov(columns.T))
    assert left == f"free coordinates: condition number {expected:.3g}"
    assert right == "the model: condition number inf"  # the parts sum to 1


@pytest.mark.parametrize("number", [1.0, 4.0, 1e6])
def test_the_condition_number_is_that_of_the_covariance(number):
    x = np.random.default_rng(1).normal(size=(5000, 2))
    x = np.linalg.qr(x - x.mean(axis=0))[0] * [1.0, number**0.5]
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert condition_number(x @ turn + 100.0) == pytest.approx(number, rel=1e-6)


def test_the_condition_number_of_what_has_no_covariance():
    assert np.isnan(condition_number(np.ones((1, 2))))
    assert condition_number(np.ones((5, 2)) * np.arange(5.0)[:, None]) == np.inf
    x = np.random.default_rng(2).normal(size=(50, 2))
    bad = np.concatenate([x, [[np.inf, 0.0]]])
    assert condition_number(bad) == condition_number(x)


def test_divergences_are_drawn_where_they_are():
    diverging = np.zeros((4, 300), bool)
    diverging[2, 7] = True
    draws = make_draws(stats={"diverging": diverging})
    axes = bt.plot_geometry(draws, "scale")
    assert labels(axes[0]) == ["scale"]
    axes = bt.plot_geometry(draws, "parts")
    (point,) = axes[0, 1, 0].collections[1].get_offsets()
    np.testing.assert_array_equal(point, draws.vectors[2, 7, :2])


def test_paths_choose_leaves_and_what_they_follow():
    axes = bt.plot_geometry(make_draws(), ["copy"])
    assert (labels(axes[0]), labels(axes[1])) == (["scale"], ["copy"])


def test_by_default_six_numbers_are_drawn():
    posterior = bt.Posterior(bt.Reparam(jnp.ones(9), None), lambda model: 0.0)
    vectors = np.random.default_rng(3).normal(size=(1, 20, 9))
    assert bt.plot_geometry(bt.Draws(posterior, vectors)).shape == (2, 6, 6)


def test_it_draws_into_a_figure_that_is_given():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure = pyplot.figure()
    bt.plot_geometry(make_draws(), "scale", figure=figure)
    assert len(figure.subfigs) == 2
    assert pyplot.get_fignums() == [figure.number]


def test_all_paths_that_cannot_be_drawn_are_listed():
    with pytest.raises(ValueError, match="plot_geometry") as fault:
        bt.plot_geometry(make_draws(), ["scael", "held", "n"])
    for text in (
        "'scael' matches nothing; nearest paths: 'scale'",
        "'held' names only frozen leaves",
        "'n' names only static leaves",
    ):
        assert text in str(fault.value)
    fixed = bt.Posterior(bt.Reparam(jnp.ones(2), bt.frozen), lambda model: 0.0)
    with pytest.raises(ValueError, match="no leaf has free coordinates"):
        bt.plot_geometry(bt.Draws(fixed, np.zeros((1, 5, 0))))
