"""A search for a mode by L-BFGS, of which each turn takes one gradient.

The density's gradient, which is most of what there is to compile, stands in the program
once: a turn is one of a line search, and the last of them makes the next direction, by
Nocedal and Wright, Numerical Optimization (2006), algorithm 7.4.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .. import substrate
from ..posterior import Target
from .line_search import TURNS, Line, Point, dot, look, norm, start_of_line

# The direction comes of so many steps.
_MEMORY = 10

# The search ends after so many steps that lower the value by less than its rounding.
_IDLE = 4


class Memory(NamedTuple):
    """The last steps, the oldest first.

    Attributes:
        moves: what was added to the point.
        bends: what that added to the gradient.
        weights: one over the product of both; 0 where nothing is remembered yet.
    """

    moves: Float[Array, "memory n"]
    bends: Float[Array, "memory n"]
    weights: Float[Array, " memory"]


class Best(NamedTuple):
    """The best of the points that a search visited.

    Among points whose values differ by no more than their rounding, the best is that of
    the smallest gradient, which rounding hides less.

    Attributes:
        vector: where the best point is.
        value: the loss there.
        gradient: the loss's gradient there.
        lowest: the lowest value at any point.
    """

    vector: Float[Array, " n"]
    value: Float[Array, ""]
    gradient: Float[Array, " n"]
    lowest: Float[Array, ""]

    def or_at(self, vector: Array, value: Array, gradient: Array) -> "Best":
        """The best of these points and one more."""
        value = jnp.where(jnp.isfinite(gradient).all(), value, jnp.inf)
        lowest = jnp.where(value < self.lowest, value, self.lowest)
        # The terms of the value are larger than their sum, and so is their rounding.
        equal = lowest + 4 * rounding(lowest)
        smaller = norm(gradient) < norm(self.gradient)
        better = (value <= equal) & (smaller | ~(self.value <= equal))
        other = Best(vector, value, gradient, lowest)
        found = jax.tree.map(lambda a, b: jnp.where(better, a, b), other, self)
        return found._replace(lowest=lowest)


class Search(NamedTuple):
    """A search for the mode.

    Attributes:
        vector: the present point.
        value: the loss there.
        gradient: the loss's gradient there.
        line: the search along the present line.
        memory: of the steps so far.
        best: the best point so far.
        steps: how many steps were made; -1 before the first gradient.
        done: whether the search has ended.
        gradients: how many gradients were taken.
        mark: the last value that was lower than the mark before by more than rounding.
        idle: how many steps were made since.
    """

    vector: Float[Array, " n"]
    value: Float[Array, ""]
    gradient: Float[Array, " n"]
    line: Line
    memory: Memory
    best: Best
    steps: Int[Array, ""]
    done: Bool[Array, ""]
    gradients: Int[Array, ""]
    mark: Float[Array, ""]
    idle: Int[Array, ""]


@jax.jit
def begin(vector: Float[Array, " n"]) -> Search:
    """A search at its start, where nothing has been looked at."""
    zero = jnp.zeros((), vector.dtype)
    infinite, none, count = zero + jnp.inf, jnp.zeros_like(vector), jnp.zeros((), int)
    rows = jnp.zeros((_MEMORY, *vector.shape), vector.dtype)
    return Search(
        vector=vector,
        value=infinite,
        gradient=none,
        line=start_of_line(zero, none, none),
        memory=Memory(rows, rows, jnp.zeros(_MEMORY, vector.dtype)),
        best=Best(vector, infinite, none + infinite, infinite),
        steps=count - 1,
        done=jnp.zeros((), bool),
        gradients=count,
        mark=infinite,
        idle=count,
    )


def to_reals(vector: Any) -> Array:
    """A free vector as real numbers of at least 32 bits; steps are finer than fewer."""
    vector = jnp.asarray(vector)
    if jnp.iscomplexobj(vector):
        return jnp.concatenate([vector.real, vector.imag])
    return vector.astype(jnp.float32) if vector.dtype.itemsize < 4 else vector


def to_free(reals: Array, dim: int) -> Array:
    """The free vector that has those real numbers."""
    if reals.size == dim:
        return reals
    return jax.lax.complex(reals[:dim], reals[dim:])


def rounding(value: Array) -> Array:
    """The rounding of a sum with this value."""
    return float(jnp.finfo(value.dtype).eps) * (1 + abs(value))


@eqx.filter_jit
def advance(
    target: Target,
    search: Search,
    tolerance: Float[Array, ""],
    stop: Int[Array, ""],
    *,
    jacobian: bool,
) -> Search:
    """Search until done, or to the step `stop`; to step 0 is to the first gradient.

    Args:
        target: the density.
        search: where the search is.
        tolerance: the norm of the gradient to stop at.
        stop: the step to stop at.
        jacobian: whether the density has the log-det.
    """
    dim = target.posterior.dim

    @jax.value_and_grad
    def loss(vector: Array) -> Array:
        return -target(to_free(vector, dim), jacobian=jacobian)

    def turn(search: Search) -> Search:
        line = search.line
        vector = search.vector + line.at * line.direction
        # XLA would fuse what follows with the density, which takes it long.
        vector = jax.lax.optimization_barrier(vector)
        value, gradient = jax.lax.optimization_barrier(loss(vector))
        search = search._replace(
            best=search.best.or_at(vector, value, gradient),
            gradients=search.gradients + 1,
        )
        new = Point(line.at, value, dot(gradient, line.direction))
        line, found = look(line, new, gradient, search.value)
        stays = norm(line.direction) * abs(line.high.at - line.low.at) <= float(
            jnp.finfo(vector.dtype).eps
        ) * norm(search.vector)
        first = search.steps < 0
        given_up = ~first & ~found & ((line.turns >= TURNS) | stays)
        at, low, gradient_low = line.given_up()
        place = search.vector + at * line.direction
        ends = ((place, vector), (low, value), (gradient_low, gradient))
        vector, value, gradient = (jnp.where(given_up, a, b) for a, b in ends)
        return jax.lax.cond(
            first | found | given_up,
            lambda: _step(search, vector, value, gradient, tolerance),
            lambda: search._replace(line=line),
        )

    with substrate.standard_promotion():
        return jax.lax.while_loop(
            lambda search: (search.steps < stop) & ~search.done, turn, search
        )


def _step(
    search: Search, vector: Array, value: Array, gradient: Array, tolerance: Array
) -> Search:
    """End a line search at a point, and start the next one there."""
    move = vector - search.vector
    moved = jnp.any(move != 0)
    memory = _remember(search.memory, move, gradient - search.gradient)
    # A line along which nothing is lower says that what is remembered is of no use.
    forgotten = search.memory.weights[-1] == 0
    memory = memory._replace(weights=jnp.where(moved, memory.weights, 0))
    direction = _direction(memory, gradient)
    # Rounding moves the value up and down: a value that is lower by no more than that
    # says nothing.
    lower = search.mark - value > 2 * rounding(value)
    idle = jnp.where(lower, 0, search.idle + 1)
    stuck = (search.steps >= 0) & ~moved & forgotten | (idle >= _IDLE)
    small = norm(gradient) <= tolerance
    return search._replace(
        vector=vector,
        value=value,
        gradient=gradient,
        line=start_of_line(value, gradient, direction),
        memory=memory,
        steps=search.steps + 1,
        done=small | stuck | ~jnp.isfinite(value),
        mark=jnp.where(lower, value, search.mark),
        idle=idle,
    )


def _remember(memory: Memory, move: Array, bend: Array) -> Memory:
    """The memory with one more step, unless the loss does not bend upwards along it."""
    product = dot(move, bend)
    tiny = float(jnp.finfo(move.dtype).eps) * norm(move) * norm(bend)
    new = Memory(move, bend, 1 / product)
    return jax.tree.map(
        lambda old, x: jnp.where(
            product > tiny, jnp.concatenate([old[1:], x[None]]), old
        ),
        memory,
        new,
    )


def _direction(memory: Memory, gradient: Array) -> Array:
    """Minus the gradient, times what the memory tells of the inverse of the Hessian.

    Nocedal and Wright, algorithm 7.4, with their scale of equation 7.20. Without a memory
    the direction is no longer than 1.
    """

    def back(q: Array, step: Memory) -> tuple[Array, Array]:
        share = step.weights * dot(step.moves, q)
        return q - share * step.bends, share

    def forth(q: Array, step: tuple[Memory, Array]) -> tuple[Array, None]:
        (moves, bends, weights), share = step
        return q + (share - weights * dot(bends, q)) * moves, None

    q, shares = jax.lax.scan(back, gradient, memory, reverse=True)
    last = memory.weights[-1]
    known = 1 / (last * dot(memory.bends[-1], memory.bends[-1]))
    scale = jnp.where(last > 0, known, jnp.minimum(1, 1 / norm(gradient)))
    q, _ = jax.lax.scan(forth, scale * q, (memory, shares))
    return -q
