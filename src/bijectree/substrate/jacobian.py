"""A map at a few free points: values, log-dets, the way back, Jacobians by autodiff."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..numerics import run_in_numpy
from .apply import cast_numbers, forward_and_log_det, inverse
from .bind import with_dtype
from .kind import Kind

# Rows of a Jacobian are dependent if what the rows before leave of them is this small.
_DEPENDENT = 1e-8


@dataclasses.dataclass(frozen=True)
class Linearised:
    """A map at some free points, in NumPy.

    What it maps to is `events` blocks of `outputs` numbers, each from `inputs` free
    coordinates.

    Attributes:
        dtype: the dtype of the arithmetic.
        eps: the rounding of the narrowest float that the map computes with.
        mixed: whether the map mixes what the bijector declares to be several events;
            then the whole is one block.
        free: the points.
        model: their images.
        log_det: the bijector's log-det at each.
        again: what `inverse` makes of `model`.
        back: what `forward` makes of `again`.
        jacobian: a matrix for each point and event.
        invertible: whether there is an inverse; without one, `again` and `back` are
            `free` and `model`.
        names: what points are called that are not random.
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
    invertible: bool = True
    names: Mapping[int, str] = dataclasses.field(default_factory=dict)

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

    def describe_point(self, point: int) -> str:
        """A point in words."""
        if point in self.names:
            return self.names[point]
        x = self.free[point].ravel()
        text = np.array2string(x, precision=3, threshold=4, edgeitems=2, separator=", ")
        return f"at free {' '.join(text.split())}"

    @functools.cached_property
    def singular_values(self) -> Float[np.ndarray, "points events inputs"]:
        """The singular values of each event's Jacobian; NaN where it is not finite."""
        finite = np.asarray(np.isfinite(self.jacobian).all(axis=(2, 3), keepdims=True))
        values = np.linalg.svd(np.where(finite, self.jacobian, 0), compute_uv=False)
        return np.where(finite[..., 0], values, np.nan)

    @functools.cached_property
    def singular(self) -> np.ndarray:
        """At which points the Jacobian of an event has not full rank or is not finite."""
        values = self.singular_values
        threshold = 16 * self.eps * max(self.inputs, self.outputs)
        smallest, largest = values[..., -1], values[..., 0]
        regular = (smallest > threshold * largest) & (smallest > 0)
        return ~np.asarray(regular.all(axis=1))

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


def event_sizes(kind: Kind) -> tuple[int, int]:
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
        numbers: the bijector's numbers, not traced.
        points: free points.
        most: how many free coordinates an event may have.

    Raises:
        ValueError: an event has more, because the map mixes the events it declares.
    """
    kind = with_dtype(kind, points.dtype, numbers)
    events, _ = event_sizes(kind)
    # Numbers become JAX's, in this precision: JAX remembers what a NumPy number was
    # compiled to.
    numbers = cast_numbers(numbers, points.dtype)
    map_ = _Map(
        functools.partial(forward_and_log_det, kind),
        functools.partial(inverse, kind),
        numbers,
        kind.programs,
    )
    return _linearise(map_, points, events=events, most=most)


def linearise_map(
    pair: Callable[[Array], tuple[Array, Array]],
    back: Callable[[Array], Array],
    points: Float[np.ndarray, "points *free"],
    *,
    events: int,
    most: int,
) -> Linearised:
    """Differentiate any map with a log-det at free points.

    Args:
        pair: the map and its log-det, a scalar.
        back: its inverse.
        points: free points.
        events: how many blocks of free coordinates it maps apart.
        most: how many free coordinates a block may have.

    Raises:
        ValueError: a block has more, because the map mixes them.
    """
    map_ = _Map(lambda _, x: pair(x), lambda _, y: back(y), (), {})
    return _linearise(map_, points, events=events, most=most)


@dataclasses.dataclass(frozen=True)
class _Map:
    """A map with a log-det, its inverse, both of numbers, and what was traced of them."""

    pair: Callable[[tuple[Any, ...], Array], tuple[Array, Array]]
    back: Callable[[tuple[Any, ...], Array], Array]
    numbers: tuple[Any, ...]
    programs: dict[Any, Any]

    def traced(self, make: Callable[..., Any], *arguments: Any) -> Any:
        """The program that `make` makes of the map, traced once for other numbers too."""
        shapes = tuple((np.shape(x), np.result_type(x)) for x in arguments)
        key = make, shapes, bool(jax.enable_x64.value)
        if key not in self.programs:
            self.programs[key] = make(self, *arguments)
        return self.programs[key]


def _linearise(map_: _Map, points: np.ndarray, *, events: int, most: int) -> Linearised:
    signs = np.random.default_rng(1).choice([-1.0, 1.0], points.shape[1:])
    signs = signs.astype(points.dtype)
    found = _differentiate(map_, points, signs, events)
    if not found.mixed:
        return found
    if signs.size > most:
        raise ValueError("the map mixes the events it declares")
    whole = _differentiate(map_, points, signs, 1)
    return dataclasses.replace(whole, mixed=True)


def _differentiate(
    map_: _Map, points: np.ndarray, signs: np.ndarray, events: int
) -> Linearised:
    # A tangent for each coordinate of an event, of all events at once; and one of every
    # coordinate, to see whether events mix.
    inputs = signs.size // events
    tangents = np.zeros((inputs + 1, events, inputs), points.dtype)
    tangents[range(inputs), :, range(inputs)] = 1
    tangents[-1] = signs.reshape(events, inputs)
    tangents = tangents.reshape(-1, *signs.shape)
    numbers = map_.numbers
    there = map_.traced(_there, points[0], tangents)
    forth = [run_in_numpy(there, *numbers, x, tangents) for x in points]
    try:
        inverse = map_.traced(_back, forth[0][0])
    except NotImplementedError:  # a map that only goes forward
        inverse = None
    if inverse is None:
        again, returned = list(points), [y for y, _, _ in forth]
    else:
        again = [run_in_numpy(inverse, *numbers, y)[0] for y, _, _ in forth]
        returned = [run_in_numpy(there, *numbers, x, tangents)[0] for x in again]

    count = len(points)
    model = np.stack([y for y, _, _ in forth]).reshape(count, events, -1)
    pushed = np.stack([columns for _, _, columns in forth])
    pushed = np.moveaxis(pushed.reshape(count, -1, events, model.shape[2]), 1, -1)
    jacobian, probe = pushed[..., :-1], pushed[..., -1]
    expected = np.einsum("pbmk,bk->pbm", jacobian, signs.reshape(events, -1))
    largest = np.abs(jacobian).sum(axis=3).max(axis=2, initial=0.0)
    off = np.abs(probe - expected).max(axis=2, initial=0.0)
    dtypes = {points.dtype, *_float_dtypes(there.jaxpr)}
    return Linearised(
        dtype=points.dtype,
        eps=max(float(jnp.finfo(dtype).eps) for dtype in dtypes),
        # NaN, where the map is undefined, is not mixing.
        mixed=events > 1 and bool(np.any(off > 1e-3 * largest)),
        free=points.reshape(count, events, -1).astype(np.float64),
        model=model.astype(np.float64),
        log_det=np.asarray([log_det for _, log_det, _ in forth], np.float64),
        again=np.stack(again).reshape(count, events, -1).astype(np.float64),
        back=np.stack(returned).reshape(model.shape).astype(np.float64),
        jacobian=jacobian.astype(np.float64),
        invertible=inverse is not None,
    )


def _there(map_: _Map, x: np.ndarray, tangents: np.ndarray) -> Any:
    """The program of a map, its log-det and its derivatives along tangents."""
    pair, numbers = map_.pair, map_.numbers

    def forward(numbers: Any, x: Array, tangents: Array) -> tuple[Array, ...]:
        def push(tangent: Array) -> tuple[Array, ...]:
            of_x = functools.partial(pair, numbers)
            (y, log_det), (along, _) = jax.jvp(of_x, (x,), (tangent,))
            return y, log_det, along

        return jax.vmap(push, out_axes=(None, None, 0))(tangents)

    def reverse(numbers: Any, x: Array, tangents: Array) -> tuple[Array, ...]:
        y, pull, log_det = jax.vjp(functools.partial(pair, numbers), x, has_aux=True)
        push = jax.linear_transpose(lambda u: pull(u)[0], y)
        return y, log_det, jax.vmap(lambda t: push(t)[0])(tangents)

    try:
        return jax.make_jaxpr(forward)(numbers, x, tangents)
    except TypeError:  # a `jax.custom_vjp` has no forward mode
        return jax.make_jaxpr(reverse)(numbers, x, tangents)


def _back(map_: _Map, y: np.ndarray) -> Any:
    """The program of a map's inverse."""
    # Another array than `forward` gives: TFP's cache would hand back what it knows.
    back = map_.back
    return jax.make_jaxpr(lambda numbers, y: back(numbers, y + 0))(map_.numbers, y)


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
