"""The prior of a leaf that other leaves set, as the mean over draws of those."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import priors, substrate
from ..constraints import support
from ..posterior import Posterior, Term, draw_ancestors

# The curves are means over draws of what sets the leaf: over all draws of a leaf of few
# elements, over fewer of a large one.
_FEWEST, _WORK = 20, 20_000_000


def marginal_curves(
    posterior: Posterior, position: int, term: Term, draws: int, points: int
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Curves over the values of a leaf and over its free coordinates.

    The density of a value x is the mean of p(x | parents), and that of a free coordinate
    y the mean of p(x(y) | parents)·|dx/dy|, where the parents set x(y) too.

    Args:
        posterior: the Posterior.
        position: of the leaf, whose elements are mapped each by itself.
        term: its prior.
        draws: how many draws tell where the prior lies.
        points: how many points a curve has.

    Returns:
        The values, their densities, the free coordinates and their densities, each of
        shape (points, elements); which draws the bijector maps onto, and the draws, of
        shape (draws, elements).
    """
    bound, plan = posterior.reparam.bound, posterior.prior_plan
    row = bound.plan.rows[position]
    dtype = priors.compute_dtype(row.dtype)
    key = jax.random.key(0)
    leaves = draw_ancestors(posterior, position, key, draws, "plot_prior")
    rows = bound.plan.rows
    arrays = {i: leaf for i, leaf in enumerate(leaves) if rows[i].dtype is not None}
    work = points * int(np.prod(row.shape, dtype=int))
    few = {i: leaf[: max(_FEWEST, _WORK // work)] for i, leaf in arrays.items()}

    def with_static(arrays: dict[int, Any]) -> list[Any]:
        return [arrays.get(i, leaf) for i, leaf in enumerate(leaves)]

    def inverse(arrays: dict[int, Any]) -> Array:
        found, outside = bound.inverse_and_outside(position, row, with_static(arrays))
        return jnp.where(outside, jnp.nan, found)

    def density(arrays: dict[int, Any], x: Array) -> Array:
        """The density of each element at one model's parents."""
        model = bound.plan.structure.treedef.unflatten(with_static(arrays))
        recipe, numbers = plan.call(term.slot, posterior.prior_numbers, model)
        log_prob = priors.log_probs(recipe, dtype, numbers, x)
        if log_prob.shape != x.shape:
            raise ValueError(
                f"plot_prior: the prior of '{row.path}' is of events, of several "
                "elements together, which a curve cannot show"
            )
        chart = priors.known_bijector(priors.build(recipe, numbers, dtype))
        inside = True if chart is None else support(chart).contains(x)
        return jnp.where(inside, jnp.exp(log_prob), 0.0)

    def free_density(arrays: dict[int, Any], y: Array) -> Array:
        def forward(y: Array) -> Array:
            if row.kind is None:
                return y
            return substrate.forward(*bound.call(row, dtype, with_static(arrays)), y)

        # Each element is mapped by itself, so that one tangent of ones serves them all.
        x, slope = jax.jvp(forward, (y,), (jnp.ones_like(y),))
        return jnp.where(slope == 0, 0.0, jnp.abs(slope) * density(arrays, x))

    @jax.jit
    def mean_of(grids: tuple[Array, Array], few: dict[int, Any]) -> Any:
        def at_point(x: Array, y: Array) -> tuple[Array, Array]:
            each = jax.vmap(lambda arrays: (density(arrays, x), free_density(arrays, y)))
            return jax.tree.map(lambda p: jnp.mean(p, axis=0), each(few))

        return jax.lax.map(lambda pair: at_point(*pair), grids)

    y = np.asarray(jax.jit(jax.vmap(inverse))(arrays), np.float64).reshape(draws, -1)
    x = np.asarray(leaves[position], np.float64).reshape(draws, -1)
    inside = np.isfinite(y)
    if not inside.any(axis=0).all():
        raise ValueError(
            f"plot_prior: all {draws} draws of the prior of '{row.path}' are outside "
            "the support of its bijector"
        )
    grids = [_grid(x, points, margin=0.0), _grid(y, points, margin=0.35)]
    shaped = tuple(jnp.asarray(g, dtype).reshape(points, *row.shape) for g in grids)
    found = [np.asarray(p, np.float64).reshape(points, -1) for p in mean_of(shaped, few)]
    return [grids[0], found[0], grids[1], found[1]], inside, x


def _grid(x: np.ndarray, points: int, *, margin: float) -> np.ndarray:
    """Points over where draws lie, and a margin beside, the same for all elements."""
    low, high = np.nanquantile(x, [0.0005, 0.9995])
    margin = margin * (high - low)
    line = np.linspace(low - margin, high + margin, points)
    return np.repeat(line[:, None], x.shape[1], axis=1)
