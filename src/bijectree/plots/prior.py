"""`plot_prior`: one prior in the coordinates of the model and in free ones."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import priors
from ..inference import optional_import
from ..posterior import Posterior
from ..reparam import Reparam, Row
from ..trees import Paths, describe
from .marginal import marginal_curves

# So many draws of the prior tell where it lies.
_DRAWS = 4000

# A curve has so many points.
_POINTS = 800

# A panel has at most so many curves; a leaf may have more elements.
_CURVES = 8

# A share of a prior up to this may be off the support without a word.
_LOST = 0.005


def plot_prior(posterior: Posterior, path: str, *, axes: Any = None) -> np.ndarray:
    """Draw the prior of a leaf twice: over its values and over its free coordinates.

    The two are one probability, in two coordinates: the density of the free coordinate
    y is the prior's density at the value x(y) times the Jacobian |dx/dy|. Each curve
    has an area of 1, or less where the prior is wider than the support of the bijector:
    the title then says how much of it is lost. The panel of values shows the middle of
    the prior, from its 0.5 % to its 97.5 % quantile; the lines go on beyond it. Where
    other leaves set the prior or the bijector, the curves are means over draws of those
    leaves from their own priors.

    Args:
        posterior: a Posterior with a prior by path.
        path: the path of a leaf of the model whose elements have, each by itself, a
            bijector and a prior. One curve an element is drawn, of the first eight;
            equal ones once.
        axes: two matplotlib Axes to draw in; a new figure by default.

    Returns:
        The two Axes, values first. Nothing is shown and nothing saved.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: not a Posterior, or a path that is no string.
        ValueError: the path is not that of one leaf (the nearest ones are named), or
            the leaf has no coordinates, no prior, a prior that cannot be drawn from, or
            a bijector or prior of several elements together; leaves that set it have no
            prior.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("agg")  # no window
        >>> import bijectree as bt, jax.numpy as jnp
        >>> reparam = bt.Reparam({"scale": jnp.array(1.0)}, bt.positive())
        >>> posterior = bt.Posterior(reparam, None, bt.tfd.HalfNormal(1.0))
        >>> values, free = bt.plot_prior(posterior, "scale")
        >>> free.get_xlabel()
        'free coordinate of scale'
    """
    if not isinstance(posterior, Posterior) or not isinstance(path, str):
        raise TypeError(
            "plot_prior takes a bt.Posterior and the path of a leaf, got "
            f"{type(posterior).__name__} and {describe(path)}"
        )
    position, row = _find(posterior.reparam, path)
    plan = posterior.prior_plan
    terms = {term.position: term for term in plan.terms}
    if position not in terms:
        why = "the prior is a function of the whole model"
        if posterior.prior_function is None:
            with_prior = ", ".join(repr(term.path) for term in plan.terms) or "none"
            why = f"leaves with a prior: {with_prior}"
        raise ValueError(f"plot_prior: '{row.path}' has no prior of its own; {why}")
    term = terms[position]
    structure, numbers = plan.recipes[term.slot], posterior.prior_numbers[term.slot]
    if plan.functions[term.slot] is not None or row.on:
        name_of_map = posterior.reparam.bound.describe(row)
        found = marginal_curves(posterior, position, term, _DRAWS, _POINTS)
        (values, densities, free, free_densities), inside, draws = found
        columns = (values, densities, free, free_densities)
        kept = _distinct(np.concatenate([x / np.abs(x).max() for x in columns]).T)
    else:
        bijector = posterior.reparam.bound.bijector(row, ())
        name_of_map = "identity" if bijector is None else bijector.name
        draws = _draw(structure, numbers, row, term.name)
        (values, densities, free, free_densities), kept, inside = _curves(
            structure, numbers, row, bijector, draws
        )

    pyplot = optional_import("matplotlib.pyplot")
    if axes is None:
        _, axes = pyplot.subplots(1, 2, figsize=(8.0, 3.0), layout="constrained")
    left, right = np.ravel(axes)
    names = _names(row)
    for i in kept[:_CURVES]:
        label = names[i] if len(kept) > 1 else None
        left.plot(values[:, i], densities[:, i], label=label)
        right.plot(free[:, i], free_densities[:, i], label=label)
    left.set_xlim(*np.quantile(draws[inside], [0.005, 0.975]))
    left.set_ylim(bottom=0.0)
    right.set_ylim(bottom=0.0)
    name = row.path or "the model"
    title = f"{term.name}, over {name}"
    lost = 1.0 - np.mean(inside)
    if lost > _LOST:
        title += f"\n{lost:.0%} of it is outside the support"
    left.set(xlabel=name, ylabel="prior density", title=title)
    right.set(
        xlabel=f"free coordinate of {name}",
        ylabel="prior density × |Jacobian|",
        title=f"through {name_of_map}",
    )
    if len(kept) > 1:
        left.legend(frameon=False, fontsize="small")
    return np.array([left, right])


def _find(reparam: Reparam, path: str) -> tuple[int, Row]:
    """The row of a leaf whose elements are mapped each by itself."""
    plan = reparam.bound.plan
    tree = Paths(plan.structure.treedef.unflatten(range(len(plan.rows))))
    picked, fault = tree.pick(path)
    if fault or len(picked) > 1:
        found = ", ".join(repr(tree.paths[i]) for i in sorted(picked)[:3])
        fault = fault or f"names {len(picked)} leaves, such as {found}; name one"
        raise ValueError(f"plot_prior: {path!r} {fault}")
    (position,) = picked
    row = plan.rows[position]
    fault = ""
    if row.role != "free":
        fault = f"is {row.role}: it has no free coordinate"
    elif row.owner is not None or row.members:
        fault = "shares one bijector with other leaves (joint)"
    elif plan.outer:
        fault = "has no free coordinate of its own: `then` mixes them all"
    elif row.kind is not None and (row.kind.event_ndims or row.free_shape != row.shape):
        name = reparam.bound.describe(row)
        fault = f"has the bijector {name}, which maps arrays as a whole"
    elif row.shape and not np.prod(row.shape):
        fault = f"has no elements: its shape is {row.shape}"
    if fault:
        raise ValueError(f"plot_prior: '{row.path}' {fault}")
    return position, row


def _draw(structure: Any, numbers: Any, row: Row, name: str) -> np.ndarray:
    """Draws of the leaf from its prior, of shape (draws, elements)."""
    if not hasattr(priors.build(structure, numbers), "sample"):
        raise ValueError(
            f"plot_prior: the prior of '{row.path}', {name}, has no method sample, by "
            "which to find where it lies"
        )
    dtype = priors.compute_dtype(row.dtype)
    shape = (_DRAWS, *row.shape)
    draws = priors.sample(structure, dtype, numbers, shape, jax.random.key(0))
    return np.asarray(draws, np.float64).reshape(_DRAWS, -1)


def _curves(
    structure: Any, numbers: Any, row: Row, bijector: Any, draws: np.ndarray
) -> tuple[list[np.ndarray], list[int], np.ndarray]:
    """Curves over the values and over the free coordinates, and which elements differ.

    The first list has the values, their densities, the free coordinates and their
    densities, each of shape (points, elements). Last, which draws the bijector maps onto.
    """
    dtype = priors.compute_dtype(row.dtype)

    def through(points: int) -> Reparam:
        return Reparam(jax.ShapeDtypeStruct((points, *row.shape), dtype), bijector)

    # `error_if_outside` would be too strict: a draw may round onto the boundary.
    inverse = jax.jit(through(_DRAWS).inverse)
    y = np.asarray(inverse(jnp.asarray(draws, dtype).reshape(_DRAWS, *row.shape)))
    y = np.where(np.isfinite(y), y, np.nan)
    inside = np.isfinite(y).reshape(_DRAWS, -1)
    if not inside.any(axis=0).all():
        raise ValueError(
            f"plot_prior: all {_DRAWS} draws of the prior of '{row.path}' are outside "
            "the support of its bijector"
        )
    forward = through(_POINTS).forward

    # Each element is mapped by itself, so that one tangent of ones serves them all.
    @jax.jit
    def density(grid: Array) -> tuple[Array, Array, Array, Array]:
        x, slope = jax.jvp(forward, (grid,), (jnp.ones_like(grid),))
        log_prob = priors.log_probs(structure, dtype, numbers, x)
        if log_prob.shape != x.shape:
            raise ValueError(
                f"plot_prior: the prior of '{row.path}' is of events, of several "
                "elements together, which a curve cannot show"
            )
        p = jnp.exp(log_prob)
        # A value that has run onto the boundary has no density to show.
        return x, p, grid, jnp.where(slope == 0, 0.0, jnp.abs(slope) * p)

    def columns(low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
        grid = np.linspace(low, high, _POINTS).reshape(_POINTS, *row.shape)
        parts = density(jnp.asarray(grid, dtype))
        return [np.asarray(part, np.float64).reshape(_POINTS, -1) for part in parts]

    low, high = np.nanquantile(y.reshape(_DRAWS, -1), [0.0005, 0.9995], axis=0)
    margin = 0.35 * (high - low)
    low, high = low - margin, high + margin
    # On one grid, elements with the same prior and bijector have the same columns.
    common = columns(np.full_like(low, low.min()), np.full_like(high, high.max()))
    return columns(low, high), _distinct(np.concatenate(common).T), inside


def _names(row: Row) -> list[str]:
    return [".".join([row.path, *map(str, i)]) for i in np.ndindex(*row.shape)]


def _distinct(rows: np.ndarray) -> list[int]:
    """The first of each set of rows that are equal up to rounding."""
    kept: list[int] = []
    for i, row in enumerate(rows):
        if not any(np.allclose(row, rows[k], rtol=1e-4) for k in kept):
            kept.append(i)
    return kept
