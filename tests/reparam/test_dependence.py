"""`dependent`: bijectors whose numbers depend on other leaves."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from together import below, garch, plain, points

import bijectree as bt
from bijectree import tfb, tfd

# Models that statistics knows.


def simulate(key: Any, steps: int) -> Array:
    """A series of GARCH(1, 1)."""

    def step(carry: Any, noise: Array) -> tuple[Any, Array]:
        y, variance = carry
        variance = 0.1 + 0.3 * y**2 + 0.5 * variance
        y = jnp.sqrt(variance) * noise
        return (y, variance), y

    start = (jnp.array(0.0), jnp.array(0.5))
    return jax.lax.scan(step, start, jax.random.normal(key, (steps,)))[1]


def variances(omega: Any, alpha: Any, beta: Any, series: Array) -> Array:
    def step(variance: Array, y: Array) -> tuple[Array, Array]:
        return omega + alpha * y**2 + beta * variance, variance

    return jax.lax.scan(step, omega / (1 - alpha - beta), series)[1]


@pytest.mark.jax_defaults
def test_garch_is_that_of_numpyro_with_dynamic_supports(getkey):
    numpyro = pytest.importorskip("numpyro")
    dist = pytest.importorskip("numpyro.distributions")
    util = pytest.importorskip("numpyro.infer.util")

    with jax.enable_x64(True):
        series = simulate(getkey(), 200)

        def theirs(series: Array) -> None:
            omega = numpyro.sample("omega", dist.HalfNormal(1.0))
            alpha = numpyro.sample("alpha", dist.Uniform(0.0, 1.0))
            beta = numpyro.sample("beta", dist.Uniform(0.0, 1.0 - alpha))
            scale = jnp.sqrt(variances(omega, alpha, beta, series))
            numpyro.sample("series", dist.Normal(0.0, scale), obs=series)

        def log_likelihood(model: Any, series: Array) -> Array:
            scale = jnp.sqrt(variances(*(model[k] for k in names), series))
            return tfd.Normal(0.0, scale).log_prob(series).sum()

        def prior(model: Any) -> Array:
            half = tfd.HalfNormal(1.0).log_prob(model["omega"])
            return half - jnp.log(1 - model["alpha"])

        names = ("omega", "alpha", "beta")
        model = dict(zip(names, jnp.array([0.1, 0.3, 0.5]), strict=True))
        spec = {
            "omega": bt.positive(),
            "alpha": bt.unit_interval(),
            "beta": bt.dependent(below, "alpha"),
        }
        reparam = bt.Reparam(model, spec)
        flat = bt.Posterior(reparam, log_likelihood, prior=prior).flat()

        def potential(vector: Array) -> Array:
            return util.potential_energy(theirs, (series,), {}, reparam.unravel(vector))

        vectors = points(reparam, getkey(), float, 20)
        ours = jax.vmap(jax.value_and_grad(lambda v: flat.log_density(v, series)))
        value, gradient = jax.jit(ours)(vectors)
        their_value, their_gradient = jax.jit(jax.vmap(jax.value_and_grad(potential)))(
            vectors
        )
        np.testing.assert_allclose(value, -their_value, rtol=1e-10)
        np.testing.assert_allclose(gradient, -their_gradient, rtol=1e-8, atol=1e-8)

        # The bound moves with alpha.
        free = reparam.inverse(model) | {"beta": jnp.array(30.0)}
        assert reparam.forward(free)["beta"] == pytest.approx(0.7)
        assert reparam.forward(free | {"alpha": jnp.array(0.0)})["beta"] == pytest.approx(
            0.5
        )


def test_a_bound_that_has_vanished_is_the_same_with_and_without_jit():
    model, spec = garch(jnp.float32)
    reparam = bt.Reparam(model, spec)
    free = reparam.inverse(model) | {"alpha": jnp.array(20.0)}  # alpha is 1
    assert reparam.forward(free)["alpha"] == 1
    np.testing.assert_array_equal(reparam.forward(free)["beta"], 0.0)
    np.testing.assert_array_equal(jax.jit(reparam.forward)(free)["beta"], 0.0)


class Methods(eqx.Module):
    a: Array
    b: Array

    @property
    def both(self) -> Array:
        return self.a + self.b


def test_a_property_of_the_module_reads_what_it_reads():
    model = Methods(jnp.array(1.0), jnp.array(2.0))
    spec = Methods(None, bt.dependent(lambda m: tfb.Scale(m.both), "a"))
    with pytest.raises(ValueError, match="reads 'b', which `on` does not name"):
        bt.Reparam(model, spec)
    # The shape of a leaf may be read without naming it.
    spec = Methods(None, bt.dependent(lambda m: tfb.Scale(m.a + m.b.size), "a"))
    np.testing.assert_allclose(bt.Reparam(model, spec).inverse(model).b, 1.0)


def test_values_outside_a_bound_that_moves():
    model, spec = garch(jnp.float32)
    reparam = bt.Reparam(model, spec)
    with pytest.raises(bt.SupportError, match=r"'beta', index \[1\]: got 0.9") as caught:
        reparam.inverse(model | {"beta": jnp.array([0.5, 0.9])})
    assert "expected numbers between 0 and 0.8" in str(caught.value)
    with pytest.raises(bt.SupportError, match="'alpha': got 1.5") as caught:
        reparam.inverse(model | {"alpha": jnp.array(1.5)})
    assert "cannot be made of 'alpha': upper must exceed lower" in str(caught.value)


def test_a_function_that_makes_another_bijector_later():
    kinds = [tfb.Exp, tfb.Softplus]

    def fickle(model: Any) -> Any:
        model["a"] + 1.0
        return kinds[0]()

    model = plain()
    reparam = bt.Reparam(model, dict.fromkeys(model) | {"b": bt.dependent(fickle, "a")})
    kinds.reverse()
    with pytest.raises(ValueError, match="function of 'b' made another sort of bijector"):
        reparam.inverse(model)


def test_a_long_chain_of_dependencies():
    """Longer than Python's stack."""
    count = 1500
    model = {f"x{i:04}": np.float32(1.0) for i in range(count)}
    names = list(model)
    spec: dict[str, Any] = dict(zip(names[1:], map(bt.tied, names[:-1]), strict=True))
    reparam = bt.Reparam(model, {names[0]: None} | spec)
    assert reparam.forward(reparam.inverse(model))[names[-1]] == 1
