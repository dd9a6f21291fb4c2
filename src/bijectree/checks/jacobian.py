"""The Jacobian of one leaf's map by autodiff, and its determinant on a chart."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import substrate
from ..substrate import Kind

# Events with more free coordinates, and leaves with more entries of Jacobian, are too
# large to differentiate here.
MOST_COORDINATES = 64
MOST_ENTRIES = 4_000_000


# Rows of a Jacobian are dependent if what the rows before leave of them is this small.
_DEPENDENT = 1e-8


@dataclasses.dataclass(frozen=True)
class Linearised:
    """A leaf's map at some free points, in NumPy, by autodiff.

    A leaf is `events` blocks of `outputs` numbers, each from `inputs` free coordinates.

    Attributes:
        dtype: the dtype of the arithmetic.
        eps: the rounding of the narrowest float that the map computes with.
        mixed: whether the map mixes what the bijector declares to be several events;
            then the whole leaf is one block.
        free: the points.
        model: their images.
        log_det: the bijector's log-det at each.
        again: what `inverse` makes of `model`.
        back: what `forward` makes of `again`.
        jacobian: a matrix for each point and event.
    """

    dtype: np.dtype
    eps: float
    mixed: bool
    free: Float[np.ndarray, "points events inputs"]
    model: Float[np.ndarray, "points events outputs"]
    log_det: Float[np.ndarray, " points"]
    again: Float[np.ndarray, "points events inputs"]
    back: Float[np.ndarray, "points events outputs"]
    jacobian: Float[np.ndarray, "points events outputs inputs"]

    @property
    def events(self) -> int:
        """The number of blocks."""
        return self.free.shape[1]

    @property
    def inputs(self) -> int:
        """Free coordinates of one event."""
        return self.free.shape[2]

    @property
    def outputs(self) -> int:
        """Numbers of one event in the model."""
        return self.model.shape[2]

    @functools.cached_property
    def singular_values(self) -> Float[np.ndarray, "points events inputs"]:
        """Of the Jacobian of each event; NaN where it is not finite."""
        finite = np.asarray(np.isfinite(self.jacobian).all(axis=(2, 3), keepdims=True))
        values = np.linalg.svd(np.where(finite, self.jacobian, 0), compute_uv=False)
        return np.where(finite[..., 0], values, np.nan)

    def chart(self, point: int) -> list[int] | None:
        """The first entries of an event that are independent at a point.

        Returns:
            As many positions as there are inputs, in row-major order; `None` if the
            map has not that rank.
        """
        if self.outputs == self.inputs:
            return list(range(self.inputs))
        matrix = self.jacobian[point, 0]
        scale = np.abs(matrix).max(axis=0, initial=0.0)
        matrix = matrix / np.where(scale > 0, scale, 1.0)
        threshold = _DEPENDENT * (self.eps / np.finfo(np.float64).eps) ** 0.5
        basis = np.zeros((0, self.inputs))
        rows: list[int] = []
        for position, row in enumerate(matrix):
            if len(rows) == self.inputs:
                break
            for _ in range(2):  # once is not enough where rows are nearly dependent
                row = row - (row @ basis.T) @ basis
            length = np.linalg.norm(row)
            if length > threshold:
                basis = np.concatenate([basis, row[None] / length])
                rows.append(position)
        return rows if len(rows) == self.inputs else None

    def chart_log_det(self, rows: list[int]) -> Float[np.ndarray, "points events"]:
        """The log-det of each event onto the entries `rows`."""
        return np.linalg.slogdet(self.jacobian[:, :, rows])[1]

    def embedded_log_det(self) -> Float[np.ndarray, "points events"]:
        """The log-det of each event by its embedding: ½ log det JᵀJ."""
        with np.errstate(divide="ignore"):
            return np.log(self.singular_values).sum(axis=-1)


def shapes(kind: Kind) -> tuple[int, int]:
    """How many events a leaf has, and how many free coordinates one event."""
    batch = kind.shape[: len(kind.shape) - kind.event_ndims]
    if kind.free_shape[: len(batch)] != batch:
        batch = ()
    events = int(np.prod(batch, dtype=int))
    return events, int(np.prod(kind.free_shape[len(batch) :], dtype=int))


def linearise(
    kind: Kind,
    numbers: tuple[Any, ...],
    points: Float[np.ndarray, "points *free"],
    *,
    most: int,
) -> Linearised:
    """Differentiate a leaf's map at free points, in the precision of `points`.

    Args:
        kind: what the bijector does to the leaf.
        numbers: the bijector's numbers.
        points: free points.
        most: how many free coordinates an event may have.

    Raises:
        ValueError: an event has more, because the map mixes the events it declares.
    """
    kind = substrate.with_dtype(kind, points.dtype, numbers)
    events, _ = shapes(kind)
    signs = np.random.default_rng(1).choice([-1.0, 1.0], points.shape[1:])
    signs = signs.astype(points.dtype)
    eps = _rounding(kind, numbers, points[0])
    found = _differentiate(kind, events, numbers, points, signs, eps)
    if found.mixed:
        if signs.size > most:
            raise ValueError("the map mixes the events it declares")
        whole = _differentiate(kind, 1, numbers, points, signs, eps)
        return dataclasses.replace(whole, mixed=True)
    return found


def _differentiate(
    kind: Kind,
    events: int,
    numbers: tuple[Any, ...],
    points: np.ndarray,
    signs: np.ndarray,
    eps: float,
) -> Linearised:
    run = compiled_once(_at_points, (0, 1, 2))
    # As arrays of this precision: JAX remembers a NumPy number in the one it met before.
    numbers = substrate.cast_numbers(numbers, points.dtype)
    try:
        found = run(kind, events, "forward", numbers, points, signs)
    except TypeError:  # a `jax.custom_vjp` has no forward mode
        found = run(kind, events, "reverse", numbers, points, signs)
    model, log_det, again, back, columns = jax.device_get(found)
    columns, probe = columns[:, :-1], columns[:, -1]
    count = len(points)
    jacobian = np.moveaxis(
        columns.reshape(count, -1, events, *_flat(kind, events)), 1, -1
    )
    free = points.reshape(count, events, -1)
    expected = np.einsum("pbmk,bk->pbm", jacobian, signs.reshape(events, -1))
    largest = np.abs(jacobian).sum(axis=3).max(axis=2, initial=0.0)
    off = np.abs(probe.reshape(expected.shape) - expected).max(axis=2, initial=0.0)
    # NaN, where the map is undefined, is not mixing.
    mixed = events > 1 and bool(np.any(off > 1e-3 * largest))
    return Linearised(
        dtype=points.dtype,
        eps=eps,
        mixed=mixed,
        free=free.astype(np.float64),
        model=model.reshape(count, events, -1).astype(np.float64),
        log_det=log_det.astype(np.float64),
        again=again.reshape(free.shape).astype(np.float64),
        back=back.reshape(count, events, -1).astype(np.float64),
        jacobian=jacobian.astype(np.float64),
    )


def _flat(kind: Kind, events: int) -> tuple[int]:
    return (int(np.prod(kind.shape, dtype=int)) // events,)


@functools.cache
def compiled_once(function: Callable[..., Any], statics: tuple[int, ...]) -> Callable:
    """`jax.jit` for what runs once: the time to compile it is all that counts."""
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(
        function,
        static_argnums=statics,
        compiler_options=options if jax.default_backend() == "cpu" else None,
    )


def _at_points(
    kind: Kind,
    events: int,
    mode: str,
    numbers: tuple[Any, ...],
    points: Array,
    signs: Array,
) -> tuple[Array, ...]:
    def forward(x: Array) -> Array:
        return substrate.forward(kind, numbers, x)

    def push(x: Array, tangent: Array) -> Array:
        if mode == "forward":
            return jax.jvp(forward, (x,), (tangent,))[1]
        y, pull = jax.vjp(forward, x)
        return jax.linear_transpose(lambda u: pull(u)[0], y)(tangent)[0]

    def at(x: Array) -> tuple[Array, ...]:
        y, log_det = substrate.forward_and_log_det(kind, numbers, x)
        # `+ 0` makes another array: TFP's cache would hand back the one it knows.
        again = substrate.inverse(kind, numbers, y + 0)
        back = substrate.forward(kind, numbers, again + 0)
        inputs = x.size // events

        def column(j: Array) -> Array:
            one = jnp.zeros((events, inputs), x.dtype).at[:, j].set(1)
            tangent = jnp.where(j < inputs, one.reshape(x.shape), signs)
            return push(x, tangent)

        # The last is no column: a tangent of every coordinate, to see whether events mix.
        columns = jax.lax.map(column, jnp.arange(inputs + 1))
        return y, log_det, again, back, columns

    return jax.lax.map(at, points)


def _rounding(kind: Kind, numbers: tuple[Any, ...], x: np.ndarray) -> float:
    """The rounding of the narrowest float in the arithmetic of a map."""
    closed = jax.make_jaxpr(functools.partial(substrate.forward_and_log_det, kind))(
        numbers, x
    )
    dtypes = {np.dtype(x.dtype), *_float_dtypes(closed.jaxpr)}
    return max(float(jnp.finfo(dtype).eps) for dtype in dtypes)


def _float_dtypes(jaxpr: Any) -> set[np.dtype]:
    """The float dtypes of all that a jaxpr computes, inner ones included."""
    found: set[np.dtype] = set()
    for eqn in jaxpr.eqns:
        found |= {
            np.dtype(v.aval.dtype)
            for v in eqn.outvars
            if jnp.issubdtype(getattr(v.aval, "dtype", np.int32), jnp.floating)
        }
        for value in jax.tree_util.tree_leaves(
            list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                found |= _float_dtypes(inner)
    return found
