"""`spec_from_prior`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from terms import Duck, dist

import bijectree as bt
from bijectree import tfd

# spec_from_prior.

SUPPORTED = {
    "normal": (lambda: tfd.Normal(0.0, 1.0), (2, 3)),
    "cauchy": (lambda: tfd.Cauchy(0.0, 1.0), (3,)),
    "half-cauchy": (lambda: tfd.HalfCauchy(2.0, 5.0), (3,)),
    "log-normal": (lambda: tfd.LogNormal(0.0, 10.0), (3,)),
    "gamma": (lambda: tfd.Gamma(0.001, 0.001), (3,)),  # some draws are 0 in float64
    "beta": (lambda: tfd.Beta(0.01, 0.01), (3,)),
    "uniform": (lambda: tfd.Uniform([0.0, 1.0, 2.0], [1.0, 3.0, 4.0]), (2, 3)),
    "truncated": (lambda: tfd.TruncatedNormal(0.0, 1.0, -1.0, 0.5), (3,)),
    "dirichlet": (lambda: tfd.Dirichlet(jnp.full(3, 0.3)), (2, 3)),
    "sparse-dirichlet": (lambda: tfd.Dirichlet(jnp.full(3, 0.01)), (3,)),
    "cholesky-lkj": (lambda: tfd.CholeskyLKJ(3, 2.0), (3, 3)),
    "wishart": (lambda: tfd.WishartTriL(5.0, jnp.eye(3)), (3, 3)),
    "von-mises": (lambda: tfd.VonMises(0.0, 0.1), (3,)),
    "von-mises-fisher": (
        lambda: tfd.VonMisesFisher(jnp.array([1.0, 0.0, 0.0]), 0.5),
        (3,),
    ),
    "mixture": (
        lambda: tfd.MixtureSameFamily(
            tfd.Categorical(probs=[0.3, 0.7]), tfd.Normal([0.0, 1.0], [1.0, 2.0])
        ),
        (3,),
    ),
    "numpyro-half-normal": (lambda: dist.HalfNormal(2.0), (3,)),
    "numpyro-truncated": (lambda: dist.TruncatedNormal(0.0, 1.0, low=-1.0), (3,)),
    "numpyro-dirichlet": (lambda: dist.Dirichlet(jnp.ones(3)), (2, 3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SUPPORTED)
def test_a_spec_from_a_prior_holds_every_draw(name, getkey):
    make, shape = SUPPORTED[name]
    model = {"leaf": jnp.zeros(shape), "other": jnp.zeros(2), "n": 3}
    prior = bt.by_path(model, {"leaf": make()})
    spec = bt.spec_from_prior(model, prior)
    assert spec["other"] is None
    reparam = bt.Reparam(model, spec)
    posterior = bt.Posterior(reparam, None, prior)
    if name not in ("gamma", "beta", "sparse-dirichlet"):  # draws underflow in float32
        # `initial` demands that the draw, its density and gradient are finite.
        with pytest.warns(UserWarning, match="no prior stands at 'other.0'"):
            free = posterior.initial(getkey(), start="prior", n=4, tries=1)
        assert jnp.isfinite(jax.vmap(reparam.ravel)(free)).all()


def test_a_spec_from_a_prior_names_every_leaf_that_has_none():
    model = {"a": jnp.ones(2), "b": jnp.ones(3), "c": jnp.ones(())}
    prior = {
        "a": tfd.Poisson(3.0),
        "b": tfd.Dirichlet(jnp.ones(2)),
        "c": Duck(),
    }
    with pytest.raises(ValueError, match="no spec from this prior") as error:
        bt.spec_from_prior(model, prior)
    for part in ("'a': ", "discrete", "'b': ", r"events of shape (2,)", "'c': "):
        assert part in str(error.value)


def test_a_bijector_that_misses_draws_is_refused():
    class Shifted(tfd.Normal):
        pass

    bt.register(Shifted, lambda prior: bt.greater_than(-1.0))
    model = {"a": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"'a': Shifted .* of 1000 draws are not in"):
        bt.spec_from_prior(model, Shifted(0.0, 1.0))


def test_a_spec_from_a_prior_works_under_jit_and_from_shapes():
    shapes = {"a": jax.ShapeDtypeStruct((2,), jnp.float32)}

    @jax.jit
    def upper(high):
        spec = bt.spec_from_prior(shapes, {"a": tfd.Uniform(0.0, high)})
        return bt.Reparam(shapes, spec).forward({"a": jnp.zeros(2)})["a"]

    np.testing.assert_allclose(upper(4.0), [2.0, 2.0])


def test_the_rest_may_be_frozen():
    model = {"rate": jnp.ones(2), "shift": jnp.zeros(3), "n": 3, "name": "x", "no": None}
    prior = bt.by_path(model, {"rate": tfd.Gamma(2.0, 1.0)})
    spec = bt.spec_from_prior(model, prior, rest=bt.frozen)
    assert spec["shift"] is bt.frozen
    assert spec["n"] is spec["name"] is spec["no"] is None
    assert bt.Reparam(model, spec).labels == ["rate.0", "rate.1"]
    spec = bt.spec_from_prior(model, prior, rest=bt.positive())
    assert bt.support(spec["shift"]).description == "positive numbers"
    assert bt.spec_from_prior(model, prior)["shift"] is None
    # A prior that stands at an upper node leaves the rest of the model alone.
    nested = {"a": {"x": jnp.ones(2), "y": jnp.ones(2)}, "b": jnp.ones(2)}
    prior = {"a": tfd.Gamma(2.0, 1.0), "b": None}
    spec = bt.spec_from_prior(nested, prior, rest=bt.frozen)
    assert spec["b"] is bt.frozen
    assert bt.Reparam(nested, spec).dim == 4
