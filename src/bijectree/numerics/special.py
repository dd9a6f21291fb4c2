"""Scalar functions under the bijectors, exact to a few units in the last place.

Each returns what value, log-det and gradient share, so that one exponential and one
logarithm serve all three. `where(x < 0, -x, x)` stands for |x| throughout: JAX's
derivative of `abs` is 0 at 0, which would be wrong for functions that are smooth there.
"""

import fractions
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LOG_2 = math.log(2.0)


# Below this |h|, tanh h comes from its series, above it from exp(-2h).
_SMALL = 0.5

# Below this |h|, log cosh h comes from sinh, above it from exp(-2h).
_MEDIUM = 1.0


def _tanh_series(terms: int) -> list[float]:
    """Coefficients of tanh h / h in powers of h² (DLMF 4.33.3), by tanh′ = 1 − tanh²."""
    found = [fractions.Fraction(1)]
    for k in range(1, terms):
        pairs = zip(found, reversed(found), strict=True)
        square = sum((a * b for a, b in pairs), fractions.Fraction(0))
        found.append(-square / (2 * k + 1))
    return [float(c) for c in found]


def _sinh_squared_series(terms: int) -> list[float]:
    """Coefficients of sinh² h / h² in powers of h², by sinh² h = (cosh 2h − 1)/2."""
    return [2.0 ** (2 * k + 1) / math.factorial(2 * k + 2) for k in range(terms)]


# Both series go by whether a dtype is wider than 32 bits. What they leave out is below
# 2e-9 of the function in float32, and below 1e-17 in float64.
_TANH = {False: _tanh_series(9), True: _tanh_series(17)}
_SINH_SQUARED = {False: _sinh_squared_series(7), True: _sinh_squared_series(12)}


# The two functions below have no division, so XLA's CPU compiler puts both where they are
# used. XLA's own tanh is 4 ulp off in float32.


def _tanh_near_zero(h: Array) -> Array:
    return h * _polynomial(_TANH[_is_wide(h)], h * h)


def _sinh_squared_near_zero(h: Array) -> Array:
    return h * h * _polynomial(_SINH_SQUARED[_is_wide(h)], h * h)


def _is_wide(h: Array) -> bool:
    return h.dtype.itemsize > 4


def _polynomial(coefficients: list[float], u: Array) -> Array:
    total = jnp.full_like(u, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = coefficient + u * total
    return total


@jax.custom_jvp
def hyperbolic(
    h: Float[Array, "..."],
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    """Return tanh h, log cosh h, and the smaller of σ(2h) and σ(−2h).

    The last is e/(1 + e) with e = exp(−2|h|): it keeps its relative precision where
    1 − |tanh h| has none left, and sech² h = 4s(1 − s).
    """
    negative = h < 0
    a = jnp.where(negative, -h, h)
    e = jnp.exp(-2 * a)
    small = a < _SMALL
    tail = e / (1 + e)
    t = jnp.where(small, _tanh_near_zero(jnp.where(small, a, 0)), 1 - 2 * tail)
    medium = a < _MEDIUM
    near = _sinh_squared_near_zero(jnp.where(medium, a, 0))
    log = jnp.log1p(jnp.where(medium, near, e))
    log_cosh = jnp.where(medium, 0.5 * log, a - LOG_2 + log)
    return jnp.where(negative, -t, t), log_cosh, tail


@hyperbolic.defjvp
def _hyperbolic_jvp(primals: tuple, tangents: tuple) -> tuple:
    (h,), (dh,) = primals, tangents
    t, log_cosh, s = hyperbolic(h)
    slope = _slope(h)
    ds = jnp.where(h < 0, 2 * slope, -2 * slope)
    return (t, log_cosh, s), (4 * slope * dh, t * dh, ds * dh)


@jax.custom_jvp
def _slope(h: Array) -> Array:
    """σ(2h)σ(−2h), whose derivative through autodiff would cancel near 0."""
    s = hyperbolic(h)[2]
    return s * (1 - s)


@_slope.defjvp
def _slope_jvp(primals: tuple, tangents: tuple) -> tuple:
    (h,), (dh,) = primals, tangents
    slope = _slope(h)
    return slope, -2 * hyperbolic(h)[0] * slope * dh


@jax.custom_jvp
def softplus(
    x: Float[Array, "..."],
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Return log(1 + exp x) and the log of its derivative, log σ(x)."""
    # This is exp(-2|x/2|), as in `hyperbolic`, so that the compiler shares it with the
    # gradient.
    h = 0.5 * x
    e = jnp.exp(-2 * jnp.where(h < 0, -h, h))
    log = jnp.log1p(e)
    negative = x < 0
    return jnp.where(negative, log, x + log), jnp.where(negative, x - log, -log)


@softplus.defjvp
def _softplus_jvp(primals: tuple, tangents: tuple) -> tuple:
    (x,), (dx,) = primals, tangents
    s = hyperbolic(0.5 * x)[2]
    up = jnp.where(x < 0, s, 1 - s)
    down = jnp.where(x < 0, 1 - s, s)
    return softplus(x), (up * dx, down * dx)


def softplus_inverse(y: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return log(exp y − 1)."""
    small = y < LOG_2
    below = jnp.log(jnp.expm1(jnp.where(small, y, 1)))
    above = y + jnp.log1p(-jnp.exp(-jnp.where(small, 1, y)))
    return jnp.where(small, below, above)
