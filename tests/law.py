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
    if free.size == 0:
        return 0.0
    jacobian = np.asarray(jax.jacfwd(forward)(free), np.float64)
    square = minimal_rows(jacobian.reshape(-1, free.size))
    assert square.shape == (free.size, free.size), "not injective here"
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
    noise = scale * jax.random.normal(key, (reparam.dim,), jnp.float32)
    free = reparam.unravel(noise.astype(dtype))
    eps = float(jnp.finfo(dtype).eps)

    model, log_det = reparam.forward_and_log_det(free)
    assert model["x"].shape == shape
    assert model["x"].dtype == free["x"].dtype == dtype
    assert log_det.shape == ()
    assert log_det.dtype == (jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype)
    assert jnp.all(jnp.isfinite(model["x"]))

    # The parts agree with the pair, the sign of the inverse is right.
    close = {"rtol": 30 * eps, "atol": 30 * eps * max(1, reparam.dim)}
    assert _same(reparam.forward(free)["x"], model["x"], **close)
    assert _same(reparam.forward_log_det_jacobian(free), log_det, **close)

    # There and back, with TFP's cache broken: as exact as the map's conditioning lets.
    back = reparam.inverse({"x": model["x"] + 0})["x"]
    if free["x"].size:
        flat = lambda x: reparam.forward({"x": x})["x"].ravel()  # noqa: E731
        jacobian = np.asarray(jax.jacfwd(flat)(free["x"]), np.float64)
        singular = np.linalg.svd(jacobian.reshape(-1, free["x"].size), compute_uv=False)
        size = 1 + float(np.max(np.abs(np.asarray(model["x"], np.float64))))
        slack = 1 + float(np.max(np.abs(np.asarray(free["x"], np.float64))))
        bound = 200 * eps * (size / singular[-1] + slack)
        error = np.asarray(back, np.float64) - np.asarray(free["x"], np.float64)
        assert np.max(np.abs(error)) <= bound
    if jnp.finfo(dtype).bits >= 32:
        expected = autodiff_log_det(lambda x: reparam.forward({"x": x})["x"], free["x"])
        tolerance = 1e3 * eps * max(1, reparam.dim)
        np.testing.assert_allclose(log_det, expected, rtol=tolerance, atol=tolerance)
        inverse = reparam.inverse_log_det_jacobian({"x": model["x"] + 0})
        np.testing.assert_allclose(inverse, -log_det, rtol=tolerance, atol=tolerance)

    # Transformations.
    def total(free: Any) -> Array:
        model, log_det = reparam.forward_and_log_det(free)
        return jnp.sum(model["x"].astype(log_det.dtype)) + log_det

    value, gradient = jax.jit(jax.value_and_grad(total))(free)
    assert _same(value, total(free), **close)
    assert gradient["x"].dtype == dtype
    assert jnp.all(jnp.isfinite(gradient["x"]))
    two = jax.tree.map(lambda x: jnp.stack([x, x]), free)
    assert _same(jax.vmap(total)(two), jnp.stack([value, value]), **close)


def _same(a: Array, b: Array, *, rtol: float, atol: float) -> bool:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return a.shape == b.shape and np.allclose(a, b, rtol=rtol, atol=atol)
