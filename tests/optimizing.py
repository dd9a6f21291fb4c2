"""A model, its bijectors and a loss, for tests of the optimizer."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import bijectree as bt
from bijectree import tfb


class Model(eqx.Module):
    rate: jax.Array
    share: jax.Array
    parts: jax.Array
    weight: jax.Array
    fixed: jax.Array


def model(dtype: Any = None) -> Model:
    found = Model(
        rate=jnp.array([0.5, 1.0, 3.0]),
        share=jnp.array([0.2, 0.7]),
        parts=jnp.array([0.2, 0.3, 0.5]),
        weight=jnp.array([[0.3, -1.0], [0.5, 2.0], [1.5, 0.1]]),
        fixed=jnp.array([1.0, -0.0]),
    )
    return jax.tree.map(lambda x: x.astype(dtype or float), found)


def spec(params: Any) -> Any:
    rules = {
        "rate": bt.positive(),
        "share": bt.interval(0.0, 1.0),
        "parts": bt.simplex(),
        "fixed": bt.frozen,
    }
    return bt.by_path(params, rules)


def bind(params: Any) -> bt.Reparam:
    return bt.Reparam(params, spec(params))


def loss(m: Model) -> jax.Array:
    curve = m.rate @ m.weight @ m.share
    target = jnp.asarray([0.6, 0.3, 0.1], m.parts.dtype)
    total = jnp.sum((m.parts - target) ** 2) + (curve - 1.0) ** 2 + jnp.sum(m.fixed)
    return total + 0.1 * jnp.sum((m.rate - 2.0) ** 2) + 0.1 * jnp.sum(m.weight**2)


def leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


def assert_close(a: Any, b: Any, tolerance: float) -> None:
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def assert_same_bits(a: Any, b: Any) -> None:
    for x, y in zip(leaves(a), leaves(b), strict=True):
        assert x.dtype == y.dtype
        assert x.tobytes() == y.tobytes()


def run(optimizer: Any, params: Any, loss: Any, extra: Any, steps: int = 50) -> Any:
    """Train in a scan; `extra(value, grads)` gives the extra arguments."""

    def step(carry: Any, _: Any) -> Any:
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params, **extra(value, grads))
        return (optax.apply_updates(params, updates), state), None

    def train(params: Any) -> Any:
        carry = (params, optimizer.init(params))
        return jax.lax.scan(step, carry, length=steps)[0]

    # compiling takes most of the time of these tests
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(train, compiler_options=options)(params)


# Leaves that belong together.


def together() -> tuple[Any, bt.Reparam]:
    params = {
        "alpha": jnp.array([0.3]),
        "beta": jnp.array([0.5]),
        "low": jnp.array(0.5),
        "high": jnp.array([1.0, 4.0]),
        "embed": jnp.ones((3, 2)),
        "head": jnp.ones((2, 3)),
        "free": jnp.array([0.1, 0.2]),
    }
    below = bt.dependent(lambda m: bt.interval(0.0, 1.0 - m["alpha"]), "alpha")
    joint = bt.joint(tfb.Ascending(), over=("low", "high"))
    spec = {
        **{"alpha": bt.unit_interval(), "beta": below, "low": joint, "high": joint},
        **{"embed": bt.positive(), "head": bt.tied("embed", jnp.transpose), "free": None},
    }
    return params, bt.Reparam(params, spec)


def jump_then_stay(jump: Any) -> optax.GradientTransformation:
    """Takes one step, whatever the gradient, and then none."""

    def update(updates, state, params=None):
        del updates, params
        return jax.tree.map(lambda x: jnp.where(state == 0, x, 0), jump), state + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), int), update)


BIJECTORS = {
    "exp": (tfb.Exp(), [0.5, 1e-30, 1e30]),
    "positive": (bt.positive(), [0.5, 1e-30, 1e30]),
    "softplus": (bt.positive(via="softplus"), [0.5, 20.0, 1e-20]),
    "TFP softplus": (tfb.Softplus(), [0.5, 20.0, 1e-20]),
    "sigmoid": (tfb.Sigmoid(), [0.1, 0.5, 0.99999]),
    "interval": (bt.interval(-1.0, 2.5), [0.1, 0.5, 2.499999]),
    "greater": (bt.greater_than(0.3), [0.4, 1.0, 1e9]),
    "simplex": (bt.simplex(), [0.2, 0.3, 0.5]),
    "ordered": (bt.ordered_vector(), [1.0, 2.0, 4.0]),
    "corr_cholesky": (bt.corr_cholesky(), np.eye(3)),
    "corr_matrix": (bt.corr_matrix(), np.eye(3)),
    "positive_definite": (bt.positive_definite(), np.eye(3)),
    "sphere": (bt.sphere(), [0.6, 0.8]),
    "normal_cdf": (tfb.NormalCDF(), [0.1, 0.5, 0.9]),
    "shifted": (tfb.Chain([tfb.Shift(1.0), tfb.Scale(3.0), tfb.Exp()]), [1.5, 4.0]),
}


def train(optimizer, carry, steps):
    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        carry = step(*carry)
    return carry
