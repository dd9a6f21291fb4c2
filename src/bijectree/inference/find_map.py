"""`find_map`: the mode, by L-BFGS in free coordinates."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..posterior import (
    Posterior,
    Target,
    find_starts,
    flat_at,
    leaves_without_prior,
    refuse_start,
    warn_of_ignored,
)
from ..trees import is_inexact, path_string, short
from .arguments import require_counts, require_host
from .climb import Climb, End, norm_on_host
from .lbfgs import Search, rounding, to_free
from .progress import bar as progress_bar

# The progress bar moves so many times a search.
_CHUNKS = 20

# By so large a rounding of the log-density, a mode may be a seventh of a standard
# deviation away. Modes whose log-densities differ by no more may be the same.
_COARSE = 0.01


class Mode(eqx.Module):
    """A maximum of a Posterior's density.

    Attributes:
        model: the model there.
        vector: its free coordinates.
        log_density: the log-density there, with the Jacobian if the search had it.
        gradient: its gradient there in free coordinates.
        steps: how many steps were made, from the start that led here.
        converged: whether the gradient is as small as was asked for, or what a step
            along it could gain is below the rounding of the log-density.
        gradients: how many gradients everything took: the searches from all starts, their
            line searches, finding the starts, and judging where the searches ended.
        starts: how many starts were searched from.
        found: how many of them led to this mode. A search found it if it converged, to a
            log-density that is lower by no more than 0.01 (or ten roundings), and if
            none of three points on the straight line between both in free coordinates
            has a log-density that is lower than both by more than that. So modes that
            are each other's mirror images are two.
    """

    model: PyTree
    vector: Float[Array, " dim"]
    log_density: Float[Array, ""]
    gradient: Float[Array, " dim"]
    steps: int
    converged: bool
    gradients: int
    starts: int
    found: int

    def __repr__(self) -> str:
        how = "converged" if self.converged else "did not converge"
        of = f"; found from {self.found} of {self.starts} starts"
        lines = [
            f"Mode: {how} in {self.steps} steps, log-density {self.log_density:.6g}"
            + (of if self.starts > 1 else "")
        ]
        pairs, _ = jtu.tree_flatten_with_path(self.model)
        for path, leaf in [pair for pair in pairs if is_inexact(pair[1])][:20]:
            lines.append(f"  {path_string(path)}: {short(leaf)}")
        return "\n".join(lines)


def find_map(
    posterior: Posterior,
    start: PyTree,
    *data: Any,
    jacobian: bool = False,
    starts: int = 1,
    key: PRNGKeyArray | None = None,
    tolerance: float | None = None,
    max_steps: int = 1000,
) -> Mode:
    """Find the most probable model, by L-BFGS in free coordinates.

    A search goes uphill from where it starts, to some mode near by. From several starts,
    each goes to its own, and the highest is given back; how many of them led there says
    whether that may be the highest of all. One compiled program searches from all starts,
    from one after another.

    Args:
        posterior: a Posterior.
        start: a model to start the search from.
        *data: what its log-likelihood takes after the model.
        jacobian: whether the density has the log-det. `False`, the default, gives the
            MAP in the model's coordinates (the MLE, without a prior), which does not
            depend on the bijectors. `True` gives the mode of the free coordinates'
            density, which does; a Laplace approximation stands on it.
        starts: how many starts to search from. The first is the model `start`; the
            others are `posterior.initial(key, *data, n=starts - 1)`, with each free
            coordinate between -2 and 2.
        key: a PRNG key for the other starts; `jax.random.key(0)`, if `None`.
        tolerance: the norm of the gradient to stop at; the square root of the dtype's
            precision, if `None`. The search also ends where what is left to gain is
            below the rounding of the log-density.
        max_steps: how many steps to make at most, from each start.

    Returns:
        The highest of the modes that the searches converged to; the highest point that
        any of them visited, if none converged.

    Raises:
        SupportError: the start is outside the support.
        ValueError: the density or its gradient is not finite at the start, or no other
            start was found where they are; `starts` or `max_steps` is not an integer of
            at least 1.
        TypeError: something is traced, as under `jit`, `vmap` or `grad`: the search runs
            on the host.

    Warns:
        UserWarning: no search converged, or one that did not came higher than the mode;
            or the log-density is so large that its rounding hides where the mode is.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> model = {"rate": jnp.array(1.0)}
        >>> posterior = bt.Posterior(
        ...     bt.Reparam(model, bt.tfb.Exp()), None, bt.tfd.Gamma(3.0, 2.0)
        ... )
        >>> print(f"{bt.find_map(posterior, model).model['rate']:.3f}")  # (3 - 1) / 2
        1.000
        >>> print(f"{bt.find_map(posterior, model, jacobian=True).model['rate']:.3f}")
        1.500
        >>> mode = bt.find_map(posterior, model, starts=8)
        >>> print(f"found from {mode.found} of {mode.starts} starts")
        found from 8 of 8 starts
    """
    require_host("find_map", posterior=posterior, start=start, data=data, key=key)
    require_counts("find_map", starts=starts, max_steps=max_steps)
    ravel = posterior.reparam.ravel
    vectors, spent = [ravel(posterior.reparam.inverse(start))], 0
    if starts > 1:
        key = jax.random.key(0) if key is None else key
        others, spent = find_starts(posterior, key, data, n=starts - 1, stacklevel=2)
        vectors += list(jax.vmap(ravel, axis_size=starts - 1)(others))
    if tolerance is None:
        tolerance = math.sqrt(float(jnp.finfo(vectors[0].dtype).eps))
    climb = Climb(Target(posterior, data), tolerance, jacobian=jacobian)
    ends: list[End] = []
    with progress_bar(on_terminals_alone=True) as bar:
        task = bar.add_task("search for the mode", total=starts * max_steps)
        for number, vector in enumerate(vectors):
            search, stop = climb.first(vector), 0
            if number == 0:
                spent += _look_at_start(climb, search, warn=starts == 1)
            while not search.done and stop < max_steps:
                stop = min(stop + max(1, max_steps // _CHUNKS), max_steps)
                search = climb.go_on(search, stop)
                bar.update(task, completed=number * max_steps + stop)
            ends.append(climb.end(search))
        bar.update(task, completed=starts * max_steps)
    end, found, judged = _best(climb, ends)
    _warn_of_end(posterior, end, ends)
    vector, gradient = (
        to_free(x, posterior.dim) for x in (end.place.vector, end.place.gradient)
    )
    return Mode(
        model=posterior.flat().forward(vector),
        vector=vector,
        log_density=-end.place.value,
        # The derivative by a complex number is that by its real part, minus i times that
        # by its imaginary part.
        gradient=-gradient.conj(),
        steps=end.steps,
        converged=end.converged,
        gradients=spent + judged + sum(end.gradients for end in ends),
        starts=starts,
        found=found,
    )


def _look_at_start(climb: Climb, search: Search, *, warn: bool) -> int:
    """Raise if the density is not finite at the first start; see which leaves it ignores.

    Returns:
        How many gradients that took.
    """
    posterior, data = climb.target.posterior, climb.target.data
    dim = posterior.dim
    free = posterior.reparam.unravel(to_free(search.vector, dim))
    gradient = posterior.reparam.unravel(to_free(-search.gradient, dim))
    if not (np.isfinite(search.value) and np.isfinite(search.gradient).all()):
        refuse_start(posterior, free, gradient, data)
    if not (warn and leaves_without_prior(posterior)):
        return 0
    flat = _flat_at(posterior, free, gradient, jacobian=climb.jacobian)
    key = jax.random.key(0)
    return warn_of_ignored(posterior, flat, free, key, data, stacklevel=3)


_flat_at = eqx.filter_jit(flat_at)


def _best(climb: Climb, ends: Sequence[End]) -> tuple[End, int, int]:
    """The highest mode, how many searches found it, and how many gradients that took."""
    candidates = [end for end in ends if end.converged] or ends
    end = min(candidates, key=lambda end: float(end.best.value))
    found, spent = int(end.converged), 0
    depth = _depth(end)
    for other in ends:
        same = other is not end and end.converged and other.converged
        if same and float(other.best.value - end.best.value) <= depth:
            valley, gradients = climb.is_valley_between(end.best, other.best, depth)
            found, spent = found + (not valley), spent + gradients
    return end, found, spent


def _depth(end: End) -> float:
    return max(_COARSE, 10 * float(rounding(end.best.value)))


def _warn_of_end(posterior: Posterior, end: End, ends: Sequence[End]) -> None:
    """Warn if the end is no mode, or not the highest, or its place is uncertain."""
    value, gradient = -float(end.best.value), end.best.gradient
    if not end.converged:
        worst = int(np.argmax(np.abs(gradient))) % posterior.dim if gradient.size else 0
        of = f", and none of {len(ends)} starts led to one" if len(ends) > 1 else ""
        warnings.warn(
            f"the search for the mode stopped after {end.steps} steps with a gradient "
            f"of norm {norm_on_host(gradient):.3g}, largest at "
            f"'{posterior.labels[worst]}': the model is not at a maximum{of}. The "
            "density may have none, or its maximum may lie on the boundary of a support",
            stacklevel=3,
        )
        return
    higher = [x for x in ends if float(end.best.value - x.best.value) > _depth(end)]
    if higher:
        highest = -min(float(x.best.value) for x in higher)
        warnings.warn(
            f"{len(higher)} of {len(ends)} searches came to a log-density of "
            f"{highest:.6g} and did not converge, above {value:.6g} of the mode: the "
            "density may have no maximum, or a higher one. Allow more steps",
            stacklevel=3,
        )
    dtype = end.best.vector.dtype
    precision = float(jnp.finfo(dtype).eps) * abs(value)
    if precision > _COARSE:
        warnings.warn(
            f"the log-density at the mode, {value:.6g}, is rounded to "
            f"{precision:.2g} in {dtype}: the mode is no better than that. Enable "
            "float64 (jax_enable_x64), or leave constants out of the log-likelihood",
            stacklevel=3,
        )
