"""Models whose leaves belong together."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import bijectree as bt
from bijectree import tfb


def of_each_sort() -> tuple[Any, Any]:
    """A model and a spec with a dependent, a joint and a tied leaf."""
    model = {
        "alpha": jnp.array(0.3),
        "beta": jnp.array(0.4),
        "knots": {"x": jnp.array(1.0), "y": jnp.array([2.0, 3.0])},
        "twin": jnp.array(0.3),
    }
    spec = {
        "alpha": tfb.Sigmoid(),
        "beta": bt.dependent(below, on="alpha"),
        "knots": bt.joint(tfb.Ascending()),
        "twin": bt.tied("alpha"),
    }
    return model, spec


def below(model: Any) -> Any:
    """Numbers between 0 and 1 - alpha."""
    return bt.interval(0.0, 1.0 - model["alpha"])


def twice(x: Array) -> Array:
    return 2 * x


class Masked(eqx.Module):
    """The conditioner of an autoregressive flow of vectors, by masked weights."""

    first: Array
    second: Array

    def __init__(self, size: int, dtype: Any, seed: int = 0):
        noise = np.random.default_rng(seed).normal(size=(2, size, size))
        mask = np.tril(np.ones((size, size)), -1)
        self.first, self.second = (jnp.asarray(w * mask, dtype) for w in noise)

    def __call__(self, x: Array) -> tuple[Array, Array]:
        return jnp.tanh(x @ self.first.T), 0.5 * jnp.tanh(x @ self.second.T)


def garch(dtype: Any) -> tuple[Any, Any]:
    model = {"alpha": jnp.array(0.2, dtype), "beta": jnp.full(2, 0.5, dtype)}
    spec = {"alpha": bt.unit_interval(), "beta": bt.dependent(below, on="alpha")}
    return model, spec


def flow(dtype: Any) -> tuple[Any, Any]:
    """An autoregressive flow, and whitening, over vectors of several leaves."""
    model = {
        "a": jnp.zeros(2, dtype),
        "b": jnp.array(1.0, dtype),
        "c": jnp.zeros((2, 1), dtype),
        "d": jnp.array(0.5, dtype),
    }
    factor = jnp.array([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [-1.0, 0.3, 1.5]], dtype)
    white = tfb.Chain([tfb.Shift(jnp.ones(3, dtype)), tfb.ScaleMatvecTriL(factor)])
    masked = tfb.MaskedAutoregressiveFlow(Masked(3, dtype))
    spec = {
        "a": bt.joint(tfb.Invert(masked), over=("b", "a")),
        "b": None,
        "c": bt.joint(white, over=("c", "d")),
        "d": None,
    }
    return model, spec


def mixture(dtype: Any) -> tuple[Any, Any]:
    """Each kind on each other kind."""
    number = functools.partial(jnp.array, dtype=dtype)
    model = {
        "low": number(1.0),
        "high": number(3.0),
        "between": number(2.0),
        "copy": number(3.0),  # of high
        "double": number(6.0),  # of copy
        "past": number([7.0, 8.0]),
        "width": number(2.0),  # frozen
        "table": jnp.array([1, 5]),
        "wide": number(3.0),
        "left": number(2.0),
        "right": number([1.0, 2.0]),
        "chol": number([[1.0, 0.0], [0.5, 2.0]]),
        "upper": number([[1.0, 0.5], [0.0, 2.0]]),  # of chol
        "turned": number([1.0, -1.0]),
    }
    rules = {
        "low": bt.joint(bt.ordered_vector(), over=("low", "high")),
        "between": bt.dependent(
            lambda m: bt.interval(m["low"], m["high"]), ("low", "high")
        ),
        "copy": bt.tied("high"),
        "double": bt.tied("copy", twice),
        "past": bt.dependent(lambda m: bt.greater_than(m["double"]), "double"),
        "width": bt.frozen,
        "wide": bt.dependent(
            lambda m: bt.interval(
                m["table"][0], m["width"] * m["table"][1].astype(float)
            ),
            on=("width", "table"),
        ),
        "left": bt.joint(
            bt.dependent(lambda m: tfb.Scale(m["wide"] * m["past"][0]), ("wide", "past")),
            over=("right", "left"),
        ),
        "chol": bt.lower_cholesky(),
        "upper": bt.tied("chol", jnp.transpose),
        "turned": bt.dependent(
            lambda m: tfb.ScaleMatvecTriL(m["upper"].T), on=("upper",)
        ),
    }
    return model, bt.by_path(model, rules)


def preconditioned(reparam: bt.Reparam, dtype: Any, times: int) -> bt.Reparam:
    """Put a dense affine map over all coordinates, `times` times."""
    for seed in range(times):
        noise = np.random.default_rng(seed).normal(size=(reparam.dim, reparam.dim))
        factor = np.tril(0.3 * noise, -1) + np.diag(0.5 + noise[0] ** 2)
        shift = tfb.Shift(jnp.asarray(noise[1], dtype))
        scale = tfb.ScaleMatvecTriL(jnp.asarray(factor, dtype))
        reparam = reparam.then(tfb.Chain([shift, scale]))
    return reparam


@eqx.filter_jit
def jacobians(reparam: bt.Reparam, vectors: Array) -> tuple[Array, Array]:
    """Log-dets, and Jacobians of the leaves that are free, at free points."""

    def forward(vector: Array) -> Array:
        model = reparam.forward(reparam.unravel(vector))
        leaves = jax.tree.leaves(model)
        rows = reparam.bound.plan.rows
        free = [x for x, row in zip(leaves, rows, strict=True) if row.role == "free"]
        return jnp.concatenate([x.ravel() for x in free])

    def at(vector: Array) -> tuple[Array, Array]:
        log_det = reparam.forward_log_det_jacobian(reparam.unravel(vector))
        return log_det, jax.jacfwd(forward)(vector)

    return jax.vmap(at)(vectors)


def points(reparam: bt.Reparam, key: Any, dtype: Any, count: int = 100) -> Array:
    return jax.random.normal(key, (count, reparam.dim), dtype)


def plain() -> dict[str, Any]:
    return {
        "a": jnp.array(0.3),
        "b": jnp.array(0.5),
        "c": jnp.array([1.0, 2.0, 3.0]),
        "n": jnp.arange(3),
    }
