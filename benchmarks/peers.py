"""What is compared: the same maps by bijectree, by its peers, by hand.

A peer that is not installed is left out, and `left_out` says so.
"""

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

import bijectree as bt
from bijectree import tfb

from ._timing import OURS

# Of an array of free coordinates: the values and the log-det, a scalar.
Pair = Callable[[Array], tuple[Array, Array]]

LIBRARIES = ("numpyro", "distrax", "dynamax", "paramax")

LOWER, UPPER = -1.25, 2.5
KINDS = ("positive", "softplus", "interval")

TFP, NUMPYRO, DISTRAX, DYNAMAX, HAND = "TFP", "NumPyro", "distrax", "dynamax", "by hand"
PEERS = (TFP, NUMPYRO, DISTRAX, DYNAMAX)


def have(name: str) -> bool:
    """Whether a library is installed."""
    return importlib.util.find_spec(name) is not None


def left_out() -> list[str]:
    """The peers that are not installed."""
    return [name for name in LIBRARIES if not have(name)]


def versions() -> dict[str, str]:
    """Of all that takes part."""
    names = ["bijectree", "jax", "jaxlib", "tfp-nightly", "equinox", "optax", "numpy"]
    names += [name for name in LIBRARIES if have(name)]
    return {name: importlib.metadata.version(name) for name in names}


def bijectors(kind: str) -> Any:
    """What stands in a spec of ours."""
    return {
        "positive": bt.positive(),
        "softplus": bt.positive(via="softplus"),
        "interval": bt.interval(LOWER, UPPER),
    }[kind]


def tfp_bijector(kind: str, dtype: Any) -> Any:
    """TFP's own; its numbers need the dtype of the leaf."""
    if kind == "interval":
        return tfb.Sigmoid(jnp.asarray(LOWER, dtype), jnp.asarray(UPPER, dtype))
    return {"positive": tfb.Exp, "softplus": tfb.Softplus}[kind]()


def ours(kind: str, shape: tuple[int, ...], dtype: Any) -> Pair:
    """A leaf through `Reparam`, which is how a user meets it."""
    spec = bijectors(kind)
    return bt.Reparam(jax.ShapeDtypeStruct(shape, dtype), spec).forward_and_log_det


def tfp(bijector: Any, event_ndims: int | None = None) -> Pair:
    """A leaf through TFP's methods, with the log-det summed."""

    def pair(x: Array) -> tuple[Array, Array]:
        ndims = x.ndim if event_ndims is None else event_ndims
        log_det = bijector.forward_log_det_jacobian(x, event_ndims=ndims)
        return bijector.forward(x), jnp.sum(log_det)

    return pair


def numpyro(transform: Any) -> Pair:
    """A leaf through one of NumPyro's transforms."""

    def pair(x: Array) -> tuple[Array, Array]:
        y = transform(x)
        return y, jnp.sum(transform.log_abs_det_jacobian(x, y))

    return pair


def numpyro_transform(kind: str) -> Any:
    """NumPyro's own."""
    from numpyro.distributions import biject_to, constraints

    constraint = {
        "positive": constraints.positive,
        "softplus": constraints.softplus_positive,
        "interval": constraints.interval(LOWER, UPPER),
    }[kind]
    return biject_to(constraint)


def _distrax(kind: str) -> Pair:
    import distrax

    if kind == "interval":
        scale = distrax.ScalarAffine(LOWER, UPPER - LOWER)
        bijector = distrax.Chain([scale, distrax.Sigmoid()])
    else:
        bijector = distrax.Lambda(
            {"positive": jnp.exp, "softplus": jax.nn.softplus}[kind]
        )

    def pair(x: Array) -> tuple[Array, Array]:
        y, log_det = bijector.forward_and_log_det(x)
        return y, jnp.sum(log_det)

    return pair


def _dynamax(kind: str, dtype: Any) -> Pair:
    from dynamax import parameters

    bijector = tfp_bijector(kind, dtype)
    properties = {"x": parameters.ParameterProperties(constrainer=bijector)}

    def pair(x: Array) -> tuple[Array, Array]:
        model = parameters.from_unconstrained({"x": x}, properties)
        return model["x"], parameters.log_det_jac_constrain(model, properties)

    return pair


def by_hand(kind: str) -> Pair:
    """What one would write without a library."""

    def positive(x: Array) -> tuple[Array, Array]:
        return jnp.exp(x), jnp.sum(x)

    def softplus(x: Array) -> tuple[Array, Array]:
        return jax.nn.softplus(x), jnp.sum(jax.nn.log_sigmoid(x))

    def interval(x: Array) -> tuple[Array, Array]:
        width = UPPER - LOWER
        log_det = jax.nn.log_sigmoid(x) + jax.nn.log_sigmoid(-x)
        total = jnp.sum(log_det) + x.size * jnp.log(width).astype(x.dtype)
        return LOWER + width * jax.nn.sigmoid(x), total

    return {"positive": positive, "softplus": softplus, "interval": interval}[kind]


def pairs(kind: str, shape: tuple[int, ...], dtype: Any) -> dict[str, Pair]:
    """An elementwise map by all who have it, ours first."""
    found = {OURS: ours(kind, shape, dtype), TFP: tfp(tfp_bijector(kind, dtype))}
    if have("numpyro"):
        found[NUMPYRO] = numpyro(numpyro_transform(kind))
    if have("distrax"):
        found[DISTRAX] = _distrax(kind)
    if have("dynamax"):
        found[DYNAMAX] = _dynamax(kind, dtype)
    found[HAND] = by_hand(kind)
    return found


def compiled(
    pairs: Mapping[str, Pair], x: Array, weights: Array
) -> dict[str, Callable[..., Any]]:
    """`weighted` of each pair, compiled."""
    return {
        name: jax.jit(weighted(pair)).lower(x, weights).compile()
        for name, pair in pairs.items()
    }


def weighted(pair: Pair) -> Callable[[Array, Array], tuple[Array, Array]]:
    """Value and gradient of Σ weights · values + log-det."""

    def total(x: Array, weights: Array) -> Array:
        y, log_det = pair(x)
        return jnp.sum(weights * y) + log_det

    return jax.value_and_grad(total)
