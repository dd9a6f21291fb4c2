"""Scalar functions under the bijectors, exact to a few units in the last place.

Each returns what value, log-det and gradient share, so that one exponential and one
logarithm serve all three. `where(x < 0, -x, x)` stands for |x| throughout: JAX's
derivative of `abs` is 0 at 0, which would be wrong for functions that are smooth there.
"""

import fractions
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float

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


# The functions of `lax` are traced in a third of the time that operators and `jnp.where`
# take, which shows in programs of few leaves. A Python number would be a float64 to them
# where these are enabled, hence the casts.


def _by_number(operation: Callable[..., Array]) -> Callable[[Array, float], Array]:
    return lambda x, number: operation(x, x.dtype.type(number))


_add, _sub, _mul = map(_by_number, (lax.add, lax.sub, lax.mul))
_lt, _ge = map(_by_number, (lax.lt, lax.ge))


def _one_minus(x: Array) -> Array:
    return lax.sub(x.dtype.type(1), x)


# The two functions below have no division, so XLA's CPU compiler puts both where they are
# used. XLA's own tanh is 4 ulp off in float32.


def _tanh_near_zero(h: Array) -> Array:
    return lax.mul(h, _polynomial(_TANH[_is_wide(h)], lax.mul(h, h)))


def _sinh_squared_near_zero(h: Array) -> Array:
    square = lax.mul(h, h)
    return lax.mul(square, _polynomial(_SINH_SQUARED[_is_wide(h)], square))


def _is_wide(h: Array) -> bool:
    return h.dtype.itemsize > 4


def _polynomial(coefficients: list[float], u: Array) -> Array:
    total = _add(_mul(u, coefficients[-1]), coefficients[-2])
    for coefficient in reversed(coefficients[:-2]):
        total = _add(lax.mul(u, total), coefficient)
    return total


def _minus_if(negative: Array, x: Array) -> Array:
    return lax.select(negative, lax.neg(x), x)


def _below(bound: float, a: Array) -> tuple[Array, Array]:
    """Which numbers are below a bound, and these, with 0 for the others."""
    small = _lt(a, bound)
    return small, lax.select(small, a, lax.full_like(a, 0))


def _exp_of_minus_twice(a: Array) -> Array:
    return lax.exp(_mul(a, -2.0))


@jax.custom_jvp
def hyperbolic(
    h: Float[Array, "..."],
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    """Return tanh h, log cosh h, and the smaller of σ(2h) and σ(−2h).

    The last is e/(1 + e) with e = exp(−2|h|): it keeps its relative precision where
    1 − |tanh h| has none left, and sech² h = 4s(1 − s).
    """
    negative = _lt(h, 0.0)
    a = _minus_if(negative, h)
    e = _exp_of_minus_twice(a)
    tail = lax.div(e, _add(e, 1.0))
    small, few = _below(_SMALL, a)
    t = lax.select(small, _tanh_near_zero(few), _one_minus(_mul(tail, 2.0)))
    medium, some = _below(_MEDIUM, a)
    log = lax.log1p(lax.select(medium, _sinh_squared_near_zero(some), e))
    far = lax.add(_sub(a, LOG_2), log)
    log_cosh = lax.select(medium, _mul(log, 0.5), far)
    return _minus_if(negative, t), log_cosh, tail


@hyperbolic.defjvp
def _hyperbolic_jvp(primals: tuple, tangents: tuple) -> tuple:
    (h,), (dh,) = primals, tangents
    t, log_cosh, s = hyperbolic(h)
    twice = _mul(_slope(h), 2.0)
    ds = _minus_if(_ge(h, 0.0), twice)
    slopes = (_mul(twice, 2.0), t, ds)
    return (t, log_cosh, s), tuple(lax.mul(slope, dh) for slope in slopes)


@jax.custom_jvp
def _tail(h: Array) -> Array:
    """The last of what `hyperbolic` returns."""
    e = _exp_of_minus_twice(_minus_if(_lt(h, 0.0), h))
    return lax.div(e, _add(e, 1.0))


@_tail.defjvp
def _tail_jvp(primals: tuple, tangents: tuple) -> tuple:
    (h,), (dh,) = primals, tangents
    twice = _mul(_slope(h), 2.0)
    return _tail(h), lax.mul(_minus_if(_ge(h, 0.0), twice), dh)


@jax.custom_jvp
def _slope(h: Array) -> Array:
    """σ(2h)σ(−2h), whose derivative through autodiff would cancel near 0."""
    s = _tail(h)
    return lax.mul(s, _one_minus(s))


@_slope.defjvp
def _slope_jvp(primals: tuple, tangents: tuple) -> tuple:
    (h,), (dh,) = primals, tangents
    slope = _slope(h)
    return slope, lax.mul(lax.mul(_mul(hyperbolic(h)[0], -2.0), slope), dh)


def _exp_of_minus_abs(x: Array) -> Array:
    return lax.exp(_minus_if(_ge(x, 0.0), x))


@jax.custom_jvp
def softplus(
    x: Float[Array, "..."],
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Return log(1 + exp x) and the log of its derivative, log σ(x)."""
    log = lax.log1p(_exp_of_minus_abs(x))
    # These are max(x, 0) + log and min(x, 0) - log without a constant, so that XLA's CPU
    # compiler computes them inside their sums, where it would first write out a constant.
    return lax.max(log, lax.add(x, log)), lax.min(lax.sub(x, log), lax.neg(log))


@softplus.defjvp
def _softplus_jvp(primals: tuple, tangents: tuple) -> tuple:
    (x,), (dx,) = primals, tangents
    up, down = _sigmoids(x)
    return softplus(x), (lax.mul(up, dx), lax.mul(down, dx))


@jax.custom_jvp
def _sigmoids(x: Array) -> tuple[Array, Array]:
    """σ(x) and σ(−x)."""
    # Each divides for itself: XLA's CPU compiler writes out a quotient with two uses.
    e = _exp_of_minus_abs(x)
    return _sigmoid(x, e), _sigmoid(lax.neg(x), e)


def _sigmoid(x: Array, e: Array) -> Array:
    """σ(x) with e = exp(−|x|): e/(1 + e) below 0, and 1 − e/(1 + e) from there on."""
    above = _ge(x, 0.0)
    quotient = lax.div(_minus_if(above, e), _add(e, 1.0))
    return lax.add(lax.convert_element_type(above, x.dtype), quotient)


@_sigmoids.defjvp
def _sigmoids_jvp(primals: tuple, tangents: tuple) -> tuple:
    (x,), (dx,) = primals, tangents
    change = lax.mul(_slope(_mul(x, 0.5)), dx)
    return _sigmoids(x), (change, lax.neg(change))


def pick(condition: Array, x: ArrayLike, y: ArrayLike) -> Array:
    """`jnp.where`, which is traced in less time where nothing but scalars broadcasts."""
    shape = np.broadcast_shapes(np.shape(x), np.shape(y))
    if {np.shape(part) for part in (condition, x, y)} - {(), shape}:
        return jnp.where(condition, x, y)
    dtype = jnp.result_type(x, y)
    arrays = [z for z in (x, y) if isinstance(z, Array) and z.shape == shape]
    # What is filled is sharded as the array is, if there is one.
    like = arrays[0] if arrays else jax.ShapeDtypeStruct(shape, dtype)
    x, y = (
        z
        if isinstance(z, Array) and z.shape == shape and z.dtype == dtype
        else lax.full_like(like, z, dtype)
        for z in (x, y)
    )
    return lax.select(condition, x, y)


def softplus_inverse(y: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return log(exp y − 1)."""
    small = y < LOG_2
    below = jnp.log(jnp.expm1(jnp.where(small, y, 1)))
    above = y + jnp.log1p(-jnp.exp(-jnp.where(small, 1, y)))
    return jnp.where(small, below, above)
