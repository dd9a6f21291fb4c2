"""The law that every bijector keeps, held against autodiff's Jacobian."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import bijectree as bt


def minimal_rows(jacobian: np.ndarray) -> np.ndarray:
    """The first rows, in order, that are independent: a chart of the image.

    For a simplex these are its first entries, for a triangular or symmetric matrix one
    triangle, for a correlation matrix the strict one.
    """
    basis: list[np.ndarray] = []
    chosen: list[int] = []
    for number, row in enumerate(jacobian):
        rest = row.copy()
        for _ in range(2):  # twice is enough (Gram-Schmidt)
            for direction in basis:
                rest = rest - direction * (direction @ rest)
        if np.linalg.norm(rest) > 1e-6 * max(np.linalg.norm(row), 1e-30):
            basis.append(rest / np.linalg.norm(rest))
            chosen.append(number)
    return jacobian[chosen]


def autodiff_log_det(forward: Callable[[Array], Array], free: Array) -> float:
    """log |det| of the Jacobian of `forward` in minimal coordinates."""
    return jacobian_log_det(jax.jacfwd(forward)(free), free.size)


def jacobian_log_det(jacobian: Any, size: int) -> float:
    """The same, of a Jacobian with respect to so many coordinates."""
    if size == 0:
        return 0.0
    square = minimal_rows(np.asarray(jacobian, np.float64).reshape(-1, size))
    assert square.shape == (size, size), "not injective here"
    return float(np.linalg.slogdet(square)[1])


def assert_bijector(
    bijector: Any,
    shape: tuple[int, ...],
    dtype: Any,
    key: Array,
    *,
    scale: float = 1.0,
) -> None:
    """Hold a bijector on a leaf of one shape and dtype to everything Reparam promises."""
    template = {"x": jax.ShapeDtypeStruct(shape, dtype)}
    reparam = bt.Reparam(template, bijector)
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    vector = (scale * random.normal(size=reparam.dim)).astype(dtype)
    eps = float(jnp.finfo(dtype).eps)

    def total(free: Any) -> Array:
        model, log_det = reparam.forward_and_log_det(free)
        return jnp.sum(model["x"].astype(log_det.dtype)) + log_det

    # Three programs in place of twenty, of which the second sees no free value: there and
    # back in one, XLA would make log(exp(x)) x. All else is NumPy's: un-jitted, each
    # operation on each shape would be a program.
    @jax.jit
    def there(vector: Any) -> Any:
        free = reparam.unravel(vector)
        two = jax.tree.map(lambda x: jnp.stack([x, x]), free)
        return (
            free,
            reparam.forward_and_log_det(free),
            (reparam.forward(free), reparam.forward_log_det_jacobian(free)),
            jax.jacfwd(lambda x: reparam.forward({"x": x})["x"])(free["x"]),
            jax.value_and_grad(total)(free),
            jax.vmap(total)(two),
        )

    @jax.jit
    def back(model: Any) -> Any:
        return reparam.inverse(model), reparam.inverse_log_det_jacobian(model)

    free, (model, log_det), apart, jacobian, (value, gradient), mapped = there(vector)
    size = free["x"].size
    assert model["x"].shape == shape
    assert model["x"].dtype == free["x"].dtype == dtype
    assert log_det.shape == ()
    assert log_det.dtype == (jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype)
    assert np.all(np.isfinite(np.asarray(model["x"])))

    # The parts agree with the pair.
    close = {"rtol": 30 * eps, "atol": 30 * eps * max(1, reparam.dim)}
    assert _same(apart[0]["x"], model["x"], **close)
    assert _same(apart[1], log_det, **close)

    # There and back: as exact as the map's conditioning lets.
    again, inverse_log_det = back(model)
    if size:
        jacobian = np.asarray(jacobian, np.float64).reshape(-1, size)
        singular = np.linalg.svd(jacobian, compute_uv=False)
        largest = 1 + float(np.max(np.abs(np.asarray(model["x"], np.float64))))
        slack = 1 + float(np.max(np.abs(np.asarray(free["x"], np.float64))))
        bound = 200 * eps * (largest / singular[-1] + slack)
        error = np.asarray(again["x"], np.float64) - np.asarray(free["x"], np.float64)
        assert np.max(np.abs(error)) <= bound
    # The log-det is that of autodiff, the sign of the inverse's is right.
    if jnp.finfo(dtype).bits >= 32:
        expected = jacobian_log_det(jacobian, size)
        tolerance = 1e3 * eps * max(1, reparam.dim)
        np.testing.assert_allclose(log_det, expected, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(
            inverse_log_det, -np.asarray(log_det), rtol=tolerance, atol=tolerance
        )

    # Transformations, and none: un-jitted, it is another program.
    model, log_det = reparam.forward_and_log_det(free)
    plain = np.sum(np.asarray(model["x"], log_det.dtype)) + np.asarray(log_det)
    assert _same(value, plain, **close)
    assert gradient["x"].dtype == dtype
    assert np.all(np.isfinite(np.asarray(gradient["x"])))
    assert _same(mapped, np.stack([value, value]), **close)


def _same(a: Array, b: Array, *, rtol: float, atol: float) -> bool:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return a.shape == b.shape and np.allclose(a, b, rtol=rtol, atol=atol)


def mass(
    prior_log_prob: Callable[[Array], Array],
    bijector: Any,
    shape: tuple[int, ...],
    points: np.ndarray,
    dtype: Any,
) -> float:
    """∫ exp(log density + log-det) over free space, by the trapezoidal rule."""
    reparam = bt.Reparam({"x": jax.ShapeDtypeStruct(shape, dtype)}, {"x": bijector})
    axes = np.meshgrid(*[points] * reparam.dim, indexing="ij")
    free = jnp.asarray(np.stack([a.ravel() for a in axes], axis=-1), dtype)

    @jax.jit
    def density(free):
        def each(vector):
            model, log_det = reparam.forward_and_log_det(reparam.unravel(vector))
            return model["x"], log_det

        x, log_det = jax.vmap(each)(free)
        return jnp.exp(prior_log_prob(x) + log_det)

    values = np.asarray(density(free), np.float64)
    # Where the value saturates, at the ends of a tail, a density may be 0·inf
    values = np.where(np.isnan(values), 0.0, values)
    return values.sum() * (points[1] - points[0]) ** reparam.dim
