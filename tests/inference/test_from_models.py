"""`Draws.from_models`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfb


class Model(eqx.Module):
    weights: jax.Array
    scale: jax.Array
    upper: jax.Array
    copy: jax.Array
    held: jax.Array
    function: object = jnp.tanh


def posterior_of(precision=jnp.float32):
    one = lambda *x: jnp.array(x, precision)  # noqa: E731
    model = Model(
        one(0.2, 0.3, 0.5), one(1.0)[0], one(4.0)[0], one(1.0)[0], one(1.0, 2.0)
    )
    rules = {
        "weights": bt.simplex(),
        "scale": bt.positive(),
        "upper": bt.dependent(lambda m: tfb.Shift(m.scale)(tfb.Exp()), on=("scale",)),
        "copy": bt.tied("scale"),
        "held": bt.frozen,
    }
    reparam = bt.Reparam(model, bt.by_path(model, rules))
    return bt.Posterior(reparam, None), model


def test_models_go_there_and_back(getkey, precision):
    posterior, _ = posterior_of(precision)
    vectors = jax.random.normal(getkey(), (2, 5, posterior.dim), precision)
    models = bt.Draws(posterior, vectors).models
    lp = jnp.zeros((2, 5))
    draws = bt.Draws.from_models(posterior, models, {"lp": lp})
    np.testing.assert_allclose(draws.vectors, vectors, rtol=1e-3, atol=1e-3)
    assert draws.vectors.dtype == precision
    assert draws.stats["lp"] is lp
    # Frozen leaves may lack the axes, or be left out.
    for held in (jnp.array([1.0, 2.0], precision), None):
        bare = eqx.tree_at(lambda m: m.held, models, held)
        again = bt.Draws.from_models(posterior, bare)
        np.testing.assert_array_equal(again.vectors, draws.vectors)


@pytest.mark.parametrize("wrap", [lambda x: x, np.asarray], ids=["jax", "numpy"])
def test_one_array_and_nested_trees(wrap):
    whole = bt.Posterior(bt.Reparam(jnp.array(1.0), bt.positive()), None)
    values = wrap(jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    found = bt.Draws.from_models(whole, values)
    np.testing.assert_allclose(found.vectors[..., 0], np.log(values), rtol=1e-6)
    model = {"a": (jnp.zeros((1, 2)), {"b": jnp.zeros(0)}), "n": 3}
    nested = bt.Posterior(bt.Reparam(model, None), None)
    for lead in ((3, 4), (3, 0)):
        models = {"a": (jnp.ones((*lead, 1, 2)), {"b": jnp.zeros((*lead, 0))}), "n": 3}
        found = bt.Draws.from_models(nested, jax.tree.map(wrap, models) | {"n": 3})
        assert found.vectors.shape == (*lead, 2)


def faulty(posterior, where, index, value):
    models = bt.Draws(posterior, jnp.zeros((2, 5, posterior.dim))).models
    return eqx.tree_at(where, models, where(models).at[index].set(value))


def test_values_outside_the_support_are_named_by_draw_path_and_index():
    posterior, _ = posterior_of()
    cases = [
        (lambda m: m.weights, (1, 3), jnp.array([0.5, 0.6, 0.5]), "weights"),
        (lambda m: m.weights, (1, 3, 1), -0.25, "weights"),
        (lambda m: m.upper, (1, 3), 0.5, "upper"),
        (lambda m: m.upper, (1, 3), jnp.nan, "upper"),
    ]
    for where, index, value, path in cases:
        models = faulty(posterior, where, index, value)
        with pytest.raises(
            bt.SupportError, match="draw 3 of chain 1: (.|\n)*at '" + path
        ):
            bt.Draws.from_models(posterior, models)
    vector = bt.Posterior(bt.Reparam({"x": jnp.ones(3)}, bt.positive()), None)
    models = {"x": jnp.ones((2, 4, 3)).at[0, 2, 1].set(-7.0)}
    with pytest.raises(
        bt.SupportError, match=r"draw 2 of chain 0: .*\n.*'x', index \[1\]"
    ):
        bt.Draws.from_models(vector, models)
    # On the boundary the free value is infinite.
    models = {"x": jnp.ones((2, 4, 3)).at[1, 0, 2].set(0.0)}
    with pytest.raises(bt.SupportError, match=r"draw 0 of chain 1(.|\n)*boundary"):
        bt.Draws.from_models(vector, models)


def test_other_values_where_a_leaf_is_held_or_tied_are_named():
    posterior, model = posterior_of()
    models = faulty(posterior, lambda m: m.held, (0, 4, 1), 9.0)
    with pytest.raises(ValueError, match="draw 4 of chain 0: (.|\n)*'held'"):
        bt.Draws.from_models(posterior, models)
    other = eqx.tree_at(lambda m: m.held, models, jnp.zeros(2))
    with pytest.raises(ValueError, match=r"'held' \(frozen\): bound with"):
        bt.Draws.from_models(posterior, other)
    models = faulty(posterior, lambda m: m.copy, (1, 1), 3.0)
    with pytest.raises(ValueError, match="draw 1 of chain 1: tied leaves disagree"):
        bt.Draws.from_models(posterior, models)
    masked = {"m": jnp.array([[1.0, 0.0], [0.5, 2.0]])}
    lower = bt.masked(bt.positive(), np.tril(np.ones((2, 2), bool)))
    reparam = bt.Reparam(masked, {"m": lower})
    models = {"m": jnp.broadcast_to(masked["m"], (2, 3, 2, 2))}
    found = bt.Draws.from_models(bt.Posterior(reparam, None), models)
    np.testing.assert_allclose(found.models["m"], models["m"], rtol=1e-6)
    models = {"m": models["m"].at[1, 2, 0, 1].set(5.0)}
    with pytest.raises(ValueError, match="draw 2 of chain 1(.|\n)*where it is masked"):
        bt.Draws.from_models(bt.Posterior(reparam, None), models)


def test_axes_and_structures_that_do_not_fit_are_named_at_once():
    posterior, model = posterior_of()
    with pytest.raises(ValueError, match=r"weights'.*\(chains, draws, 3\)(.|\n)*scale'"):
        bt.Draws.from_models(posterior, model)
    models = bt.Draws(posterior, jnp.zeros((2, 5, posterior.dim))).models
    short = eqx.tree_at(lambda m: m.scale, models, jnp.ones((2, 4)))
    with pytest.raises(ValueError, match=r"disagree .*\(2, 5\) at .*\(2, 4\) at 'scale"):
        bt.Draws.from_models(posterior, short)
    with pytest.raises(ValueError, match="not like the one that this Reparam was bound"):
        bt.Draws.from_models(posterior, {"weights": models.weights})
    frozen = bt.Posterior(bt.Reparam({"a": jnp.ones(2)}, bt.frozen), None)
    with pytest.raises(ValueError, match="how many draws there are is not known"):
        bt.Draws.from_models(frozen, {"a": jnp.ones(2)})


def test_numbers_of_any_sort_are_taken():
    model = {"scale": jnp.array(1.0), "shift": jnp.zeros(2)}
    posterior = bt.Posterior(
        bt.Reparam(model, {"scale": bt.positive(), "shift": None}), None
    )
    scale, shift = np.array([[1, 2, 3]]), np.arange(6).reshape(1, 3, 2)
    expected = np.concatenate([np.log(scale)[..., None], shift], axis=-1)
    for take in (np.asarray, jnp.asarray, np.float64, lambda x: x.tolist()):
        found = bt.Draws.from_models(
            posterior, {"scale": take(scale), "shift": take(shift)}
        )
        np.testing.assert_allclose(found.vectors, expected, rtol=1e-6)
        assert found.vectors.dtype == jnp.float32
    with pytest.raises(ValueError, match="at 'scale': got bool array.*numbers of shape"):
        bt.Draws.from_models(posterior, {"scale": scale > 0, "shift": shift})
    with pytest.raises(ValueError, match=r"(?s)'scale': got list.*at 'shift': got list"):
        bt.Draws.from_models(posterior, {"scale": [[1, 2], [3]], "shift": [["a"] * 2]})
