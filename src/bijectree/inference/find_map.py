"""`find_map`: the mode, by L-BFGS in free coordinates."""

import warnings
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from .. import substrate
from ..posterior import Posterior, Target
from ..trees import is_inexact, path_string, short
from .progress import bar as progress_bar

# The progress bar moves so many times.
_CHUNKS = 20


class Mode(eqx.Module):
    """A maximum of a Posterior's density.

    Attributes:
        model: the model there.
        vector: its free coordinates.
        log_density: the log-density there, with the Jacobian if the search had it.
        gradient: its gradient there in free coordinates.
        steps: how many steps were made.
        converged: whether the gradient is as small as was asked for, or what a step
            along it could gain is below the rounding of the log-density.
        gradients: how many gradients the search took, its line searches' among them.
    """

    model: PyTree
    vector: Float[Array, " dim"]
    log_density: Float[Array, ""]
    gradient: Float[Array, " dim"]
    steps: int
    converged: bool
    gradients: int

    def __repr__(self) -> str:
        how = "converged" if self.converged else "did not converge"
        lines = [f"Mode: {how} in {self.steps} steps, log-density {self.log_density:.6g}"]
        pairs, _ = jax.tree_util.tree_flatten_with_path(self.model)
        for path, leaf in [pair for pair in pairs if is_inexact(pair[1])][:20]:
            lines.append(f"  {path_string(path)}: {short(leaf)}")
        return "\n".join(lines)


def find_map(
    posterior: Posterior,
    start: PyTree,
    *data: Any,
    jacobian: bool = False,
    tolerance: float | None = None,
    max_steps: int = 1000,
) -> Mode:
    """Find the most probable model, by optax's L-BFGS in free coordinates.

    Args:
        posterior: a Posterior.
        start: a model to start from.
        *data: what its log-likelihood takes after the model.
        jacobian: whether the density has the log-det. `False`, the default, gives the
            MAP in the model's coordinates (the MLE, without a prior), which does not
            depend on the bijectors. `True` gives the mode of the free coordinates'
            density, which does; a Laplace approximation stands on it.
        tolerance: the norm of the gradient to stop at; the square root of the dtype's
            precision, if `None`. The search also ends where what is left to gain is
            below the rounding of the log-density.
        max_steps: how many steps to make at most.

    Returns:
        The mode.

    Raises:
        SupportError: the start is outside the support.
        ValueError: the density or its gradient is not finite at the start.

    Warns:
        UserWarning: the search did not converge, or the log-density is so large that its
            rounding hides where the mode is.

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
    """
    free = posterior.initial(jax.random.key(0), *data, start=start)
    vector = posterior.reparam.ravel(free)
    if tolerance is None:
        tolerance = float(jnp.finfo(vector.dtype).eps) ** 0.5
    target = Target(posterior, data)
    limit = jnp.asarray(tolerance, vector.dtype)
    search = _start(vector)
    with progress_bar(on_terminals_alone=True) as bar:
        task = bar.add_task("search for the mode", total=max_steps)
        stop = 0
        while True:
            stop = min(stop + max(1, max_steps // _CHUNKS), max_steps)
            search = _continue(
                target, search, limit, jnp.asarray(stop), jacobian=jacobian
            )
            bar.update(task, completed=stop)
            if search.done or stop == max_steps:
                break
    vector, steps = search.best.vector, search.steps
    value, gradient, converged = _judge(target, search, limit, jacobian=jacobian)
    if not converged:
        worst = int(np.argmax(np.abs(gradient))) if gradient.size else 0
        warnings.warn(
            f"the search for the mode stopped after {int(steps)} steps with a gradient "
            f"of norm {float(jnp.linalg.norm(gradient)):.3g}, largest at "
            f"'{posterior.labels[worst]}': the model is not at a maximum. The density "
            "may have none, or its maximum may lie on the boundary of a support",
            stacklevel=2,
        )
    rounding = float(jnp.finfo(vector.dtype).eps) * float(jnp.abs(value))
    if converged and rounding > _COARSE:
        warnings.warn(
            f"the log-density at the mode, {float(value):.6g}, is rounded to "
            f"{rounding:.2g} in {vector.dtype}: the mode is no better than that. Enable "
            "float64 (jax_enable_x64), or leave constants out of the log-likelihood",
            stacklevel=2,
        )
    model = posterior.flat().forward(vector)
    # Judging takes two gradients more.
    gradients = int(search.gradients) + 2
    return Mode(model, vector, value, gradient, int(steps), bool(converged), gradients)


# The search ends after so many steps that lower the value by less than its rounding.
_IDLE = 4

# By so large a rounding of the log-density, a mode may be a seventh of a standard
# deviation away.
_COARSE = 0.01

# A search that ended has found a mode if so little of the log-density is left to gain
# there: it is 5e-5 of a standard deviation away. Where large terms cancel in the
# log-density, float64 too hides more than the rounding of their sum says.
_NOTHING = 1e-9


class _Best(NamedTuple):
    """The best of the points that a search visited.

    Among points whose values differ by no more than their rounding, the best is that of
    the smallest gradient, which rounding hides less.

    Attributes:
        vector: where the best point is.
        value: the loss there.
        norm: the norm of the loss's gradient there.
        lowest: the lowest value at any point.
    """

    vector: Array
    value: Array
    norm: Array
    lowest: Array

    def or_at(self, vector: Array, value: Any, gradient: Any) -> "_Best":
        """The best of these points and one more."""
        norm = jnp.linalg.norm(gradient)
        lowest = jnp.where(value < self.lowest, value, self.lowest)
        # The terms of the value are larger than their sum, and so is their rounding.
        equal = lowest + 4 * _rounding(lowest)
        better = (value <= equal) & ((norm < self.norm) | ~(self.value <= equal))
        other = _Best(vector, value, norm, lowest)
        found = jax.tree.map(lambda a, b: jnp.where(better, a, b), other, self)
        return found._replace(lowest=lowest)


class _Search(NamedTuple):
    """A search for the mode.

    Attributes:
        vector: the present point.
        state: of the optimizer.
        best: the best point so far.
        steps: how many steps were made.
        done: whether the search has ended.
        gradients: how many gradients were taken, that at the start included.
        mark: the last value that was lower than the mark before by more than rounding.
        idle: how many steps were made since.
    """

    vector: Array
    state: Any
    best: _Best
    steps: Array
    done: Array
    gradients: Array
    mark: Array
    idle: Array


@eqx.filter_jit
def _start(vector: Array) -> _Search:
    with substrate.standard_promotion():
        state = optax.lbfgs().init(vector)
    zero, infinite = jnp.zeros((), int), jnp.asarray(jnp.inf, vector.dtype)
    best = _Best(vector, infinite, infinite, infinite)
    no = jnp.zeros((), bool)
    return _Search(vector, state, best, zero, no, zero + 1, infinite, zero)


def _rounding(value: Array) -> Array:
    """The rounding of a sum with this value."""
    return float(jnp.finfo(value.dtype).eps) * (1 + jnp.abs(value))


def _is_small(value: Any, gradient: Any, tolerance: Array) -> Array:
    return jnp.isfinite(value) & (jnp.linalg.norm(gradient) <= tolerance)


@eqx.filter_jit
def _continue(
    target: Target, search: _Search, tolerance: Array, stop: Array, *, jacobian: bool
) -> _Search:
    """Search until done, or to the step `stop`."""

    def loss(vector: Array) -> Array:
        return -target(vector, jacobian=jacobian)

    with substrate.standard_promotion():
        optimizer = optax.lbfgs()
        value_and_grad = optax.value_and_grad_from_state(loss)

        def step(search: _Search) -> _Search:
            vector, state = search.vector, search.state
            value, gradient = value_and_grad(vector, state=state)
            best = search.best.or_at(vector, value, gradient)
            updates, state = optimizer.update(
                gradient, state, vector, value=value, grad=gradient, value_fn=loss
            )
            vector: Any = optax.apply_updates(vector, updates)
            # The state has the value and the gradient that the line search found, and how
            # many steps that took.
            value, gradient, spent = (
                optax.tree_utils.tree_get(state, name)
                for name in ("value", "grad", "num_linesearch_steps")
            )
            best = best.or_at(vector, value, gradient)
            # Rounding moves the value up and down: a value that is lower by no more than
            # that says nothing.
            lower = search.mark - value > 2 * _rounding(value)
            idle = jnp.where(lower, 0, search.idle + 1)
            stuck = (idle >= _IDLE) | ~jnp.isfinite(vector).all()
            return _Search(
                vector,
                state,
                best,
                search.steps + 1,
                _is_small(value, gradient, tolerance) | stuck,
                search.gradients + spent,
                jnp.where(lower, value, search.mark),
                idle,
            )

        return jax.lax.while_loop(
            lambda search: (search.steps < stop) & ~search.done, step, search
        )


@eqx.filter_jit
def _judge(
    target: Target, search: _Search, tolerance: Array, *, jacobian: bool
) -> tuple[Array, Array, Array]:
    """The log-density at a search's best point, its gradient; whether it is a mode."""

    def loss(vector: Array) -> Array:
        return -target(vector, jacobian=jacobian)

    with substrate.standard_promotion():
        vector = search.best.vector
        value, gradient = jax.value_and_grad(loss)(vector)
        # The search also ends where a step down the gradient gains less than the rounding
        # of the value hides. The terms of the value are larger than their sum, and so is
        # their rounding.
        norm, eps = jnp.linalg.norm(gradient), float(jnp.finfo(vector.dtype).eps)
        along = gradient / jnp.where(norm > 0, norm, 1)
        move = eps**0.5 * (1 + jnp.linalg.norm(vector))
        bend = jnp.dot(jax.grad(loss)(vector + move * along) - gradient, along) / move
        gain, rounding = norm**2 / (2 * bend), 10 * _rounding(value)
        hidden = search.done & (bend > 0) & (gain <= jnp.maximum(rounding, _NOTHING))
        return -value, -gradient, _is_small(value, gradient, tolerance) | hidden
