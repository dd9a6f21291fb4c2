"""From the unit cube to a distribution: by quantiles, or by conditional ones in turn.

A *transport* maps independent uniform numbers to a draw. That of numbers is the quantile
function; of a transformed distribution, that of its base, mapped; of a Dirichlet, the
quantiles of the parts in turn, each of a beta distribution (Connor & Mosimann 1969,
"Concepts of independence for proportions"); of a correlation matrix, those of its
canonical partial correlations (Lewandowski, Kurowicka & Joe 2009, "Generating random
correlation matrices based on vines and extended onion method", section 2.4).
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import substrate
from ..substrate import Recipe, tfd
from .at_free import unwrapped
from .distribution import ERRORS, _words, build, name, split
from .facts import library_and_name


class NoTransportError(ValueError):
    """A distribution is known by its density, and not from the unit cube."""


@functools.lru_cache(maxsize=256)  # To trace a quantile function takes a second.
def cube_size(recipe: Recipe, shape: tuple[int, ...], dtype: Any) -> int:
    """How many numbers of the unit cube make a leaf of a distribution.

    Args:
        recipe: of the distribution, which fits the leaf.
        shape: of the leaf.
        dtype: of the arithmetic.

    Raises:
        NoTransportError: the distribution has no quantile function that is known.
    """
    avals = [jax.ShapeDtypeStruct(*aval) for aval in recipe.avals]
    sizes: list[int] = []

    def transport(numbers: list[Any]) -> Array:
        distribution = build(recipe, tuple(numbers), dtype)
        size, function = _transport(distribution, shape)
        sizes.append(size)
        return function(jnp.full(size, 0.5, dtype))

    what = ""
    try:
        with substrate.exactly():
            made = jax.eval_shape(transport, avals)
    except NoTransportError:
        raise
    except ERRORS as error:
        what = _words(error)
    else:
        if made.shape != shape:
            what = f"it gives an array of shape {made.shape}, not {shape}"
    if what:
        raise NoTransportError(f"has no quantile function: {what}")
    return sizes[0]


def from_cube(
    recipe: Recipe,
    dtype: Any,
    numbers: tuple[Any, ...],
    shape: tuple[int, ...],
    u: Float[Array, " size"],
) -> Float[Array, "..."]:
    """A leaf of a distribution, from `cube_size` numbers of the unit cube."""
    with substrate.exactly():
        distribution = build(recipe, numbers, dtype)
        return _transport(distribution, shape)[1](u.astype(dtype)).astype(dtype)


# Classes whose quantile functions the tests hold to their densities.
_PROVEN: dict[str, frozenset[str]] = {
    "tensorflow_probability": frozenset(
        """Beta Cauchy Chi Chi2 ExpGamma Exponential Gamma GeneralizedNormal
        GeneralizedPareto Gumbel HalfCauchy HalfNormal HalfStudentT InverseGamma JohnsonSU
        Kumaraswamy Laplace LogLogistic LogNormal Logistic LogitNormal Moyal Normal PERT
        Pareto SigmoidBeta StudentT TruncatedCauchy TruncatedNormal TwoPieceNormal Uniform
        Weibull""".split()
    ),
    "numpyro": frozenset("Beta Gamma LogNormal Normal Pareto Weibull".split()),
}
# Where the slope of a quantile function is looked at, and how far it may be off.
_POINTS, _TOLERANCE = (0.13, 0.5, 0.81), 1e-3


def why_wrong_quantile(recipe: Recipe, numbers: tuple[Any, ...]) -> str:
    """Why the quantile function of numbers is not that of their density; "" if it is.

    The slope of a quantile function is one over the density there.
    """
    with jax.enable_x64(True), substrate.exactly():
        distribution = unwrapped(build(recipe, numbers, np.float64))
        library, cls = library_and_name(distribution)
        events = len(getattr(distribution, "event_shape", ()))
        if events or cls in _PROVEN.get(library, ()):
            return ""
        if (library, cls) == ("bijectree", "Counted"):
            return why_wrong_quantile(*split(distribution.distribution))
        shape = tuple(getattr(distribution, "batch_shape", ()))
        size, function = _transport(distribution, shape)
        for point in _POINTS:
            u = jnp.full(size, point)
            x, slope = jax.jvp(function, (u,), (jnp.ones_like(u),))
            off = jnp.log(jnp.abs(slope)) + distribution.log_prob(x)
            if not np.all(np.abs(off) <= _TOLERANCE):
                return (
                    f"the quantile function of {name(distribution)} is not that of its "
                    f"density: at {point:g} the density times its slope is "
                    f"{np.exp(np.ravel(off)[0]):.4g}, not 1"
                )
    return ""


def _transport(
    distribution: Any, shape: tuple[int, ...]
) -> tuple[int, Callable[[Array], Array]]:
    """How many numbers make a leaf of a shape, and the function of them."""
    distribution = unwrapped(distribution)
    library, cls = key = library_and_name(distribution)
    if key == ("bijectree", "Counted"):
        return _transport(distribution.distribution, shape)
    if cls in ("Dirichlet", "FlatDirichlet") and hasattr(distribution, "concentration"):
        size = math.prod(shape[:-1]) * (shape[-1] - 1)
        return size, lambda u: _dirichlet(distribution.concentration, shape, u)
    if cls in ("CholeskyLKJ", "LKJCholesky", "LKJ"):
        if getattr(distribution, "input_output_cholesky", False):
            raise NoTransportError("is a density of matrices that are given as factors")
        inner = getattr(distribution, "base_dist", distribution)
        eta, k = getattr(distribution, "concentration", None), shape[-1]
        eta = inner.concentration if eta is None else eta
        size = math.prod(shape[:-2]) * (k * (k - 1) // 2)
        return size, lambda u: _lkj(eta, shape, u, factor=cls != "LKJ")
    events = len(getattr(distribution, "event_shape", ()))
    if not events:
        quantile = _quantile(distribution)
        if quantile is not None:
            return math.prod(shape), lambda u: quantile(u.reshape(shape))
    if key in _CLOSED:
        return math.prod(shape), lambda u: _CLOSED[key](distribution, u.reshape(shape))
    mapped = _mapped(distribution)
    if mapped is None:
        raise NoTransportError("has no quantile function that is known")
    base, forward, base_event = mapped
    size, inner = _transport(base, (*shape[: len(shape) - events], *base_event))
    return size, lambda u: forward(inner(u))


def _quantile(distribution: Any) -> Callable[[Array], Array] | None:
    """The quantile function of numbers, if one is written, as far as a call shows."""
    half = jnp.asarray(0.5, getattr(distribution, "dtype", None))
    for method in ("quantile", "icdf"):
        found = getattr(distribution, method, None)
        if found is None:
            continue
        try:
            jax.eval_shape(found, half)
        except ERRORS:
            continue
        return _polished(distribution, found)
    return None


# Classes whose quantile functions invert the incomplete beta function, by TFP, which at
# some numbers is off by a quarter: at ½ of Beta(1, 2), by 0.07. And between which numbers
# the quantiles lie.
_OF_BETA: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "Beta": lambda d: (0.0, 1.0),
    "PERT": lambda d: (d.low, d.high),
    "SigmoidBeta": lambda d: (-math.inf, math.inf),
    "StudentT": lambda d: (-math.inf, math.inf),
}


def _polished(
    distribution: Any, quantile: Callable[[Array], Array]
) -> Callable[[Array], Array]:
    """A quantile function with steps of Newton's that bring it nearer."""
    ends = _OF_BETA.get(library_and_name(distribution)[1])
    if ends is None:
        return quantile
    low, high = ends(distribution)

    def found(u: Array) -> Array:
        # The loop holds the one place where the cdf, which is dear to compile, is called.
        def look(i: Any, state: tuple[Array, Array, Array]) -> tuple[Array, ...]:
            new, x, error = state
            new_error = distribution.cdf(new) - u
            nearer = (jnp.abs(new_error) < jnp.abs(error)) & (low < new) & (new < high)
            nearer |= i == 0
            x, error = jnp.where(nearer, new, x), jnp.where(nearer, new_error, error)
            return x - error / jnp.exp(distribution.log_prob(x)), x, error

        x = quantile(u)
        return jax.lax.fori_loop(0, 7, look, (x, x, jnp.zeros_like(x)))[1]

    return found


def _mapped(
    distribution: Any,
) -> tuple[Any, Callable[[Any], Any], tuple[int, ...]] | None:
    """The base of a transformed distribution, the map, and the events of the base."""
    base: Any = getattr(distribution, "base_dist", None)
    transforms: Any = getattr(distribution, "transforms", None)
    if base is not None and transforms is not None:  # NumPyro's

        def forward(x: Any) -> Any:
            for transform in transforms:
                x = transform(x)
            return x

        return base, forward, tuple(base.event_shape)
    base = getattr(distribution, "distribution", None)
    bijector: Any = getattr(distribution, "bijector", None)
    if not hasattr(base, "log_prob") or not hasattr(bijector, "forward"):
        return None
    event = tuple(distribution.event_shape)
    if hasattr(bijector, "inverse_event_shape"):
        event = tuple(bijector.inverse_event_shape(event))
    return base, bijector.forward, event


def _half_student_t(d: Any, u: Array) -> Array:
    whole = tfd.StudentT(d.df, jnp.zeros_like(d.scale), jnp.ones_like(d.scale))
    return d.loc + d.scale * _polished(whole, whole.quantile)((1 + u) / 2)


def _pareto(d: Any, u: Array) -> Array:
    return d.scale * jnp.exp(-jnp.log1p(-u) / d.concentration)


def _weibull(d: Any, u: Array) -> Array:
    return d.scale * (-jnp.log1p(-u)) ** (1 / d.concentration)


def _numpyro_normal(d: Any, u: Array) -> Array:
    z = jax.scipy.special.ndtri(u)
    return d.loc + jnp.squeeze(d.scale_tril @ z[..., None], -1)


# Transports of a leaf's own numbers that the libraries lack.
_CLOSED: dict[tuple[str, str], Callable[[Any, Array], Array]] = {
    ("tensorflow_probability", "HalfStudentT"): _half_student_t,
    ("tensorflow_probability", "Pareto"): _pareto,
    ("numpyro", "MultivariateNormal"): _numpyro_normal,
    ("numpyro", "Weibull"): _weibull,
}


def _beta_quantile(a: Any, b: Any, u: Array) -> Array:
    beta = tfd.Beta(a.astype(u.dtype), b.astype(u.dtype))
    return _polished(beta, beta.quantile)(u)


def _dirichlet(concentration: Any, shape: tuple[int, ...], u: Array) -> Array:
    a = jnp.broadcast_to(jnp.asarray(concentration), shape)
    after = jnp.flip(jnp.cumsum(jnp.flip(a, -1), -1), -1)[..., 1:]
    share = _beta_quantile(a[..., :-1], after, u.reshape(*shape[:-1], shape[-1] - 1))
    rest = jnp.cumprod(1 - share, axis=-1)
    one = jnp.ones((*shape[:-1], 1), u.dtype)
    before = jnp.concatenate([one, rest[..., :-1]], axis=-1)
    return jnp.concatenate([share * before, rest[..., -1:]], axis=-1)


def _lkj(eta: Any, shape: tuple[int, ...], u: Array, *, factor: bool) -> Array:
    k, lead = shape[-1], shape[:-2]
    rows, columns = np.tril_indices(k, -1)
    u = u.reshape(*lead, len(rows))
    eta = jnp.broadcast_to(jnp.asarray(eta), lead)[..., None]
    b = eta + 0.5 * (k - 2 - columns).astype(u.dtype)
    partial = jnp.zeros(shape, u.dtype)
    partial = partial.at[..., rows, columns].set(2 * _beta_quantile(b, b, u) - 1)
    # Of each row, what is left for the entries from a column on.
    left = jnp.cumprod(jnp.sqrt((1 - partial) * (1 + partial)), axis=-1)
    one = jnp.ones((*shape[:-1], 1), u.dtype)
    before = jnp.concatenate([one, left[..., :-1]], axis=-1)
    lower = jnp.tril(jnp.ones((k, k), bool), -1)
    found = jnp.where(
        lower, partial * before, jnp.where(jnp.eye(k, dtype=bool), before, 0)
    )
    return found if factor else found @ jnp.swapaxes(found, -1, -2)
