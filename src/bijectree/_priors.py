"""Priors beside a model: which distribution stands at which leaf."""

import dataclasses
import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, Inexact, PRNGKeyArray, PyTree

from . import substrate
from ._lookup import bijector_for, without_density
from .constraints import off_the_edge
from .reparam import Plan, Row
from .substrate import Structure, tfd
from .trees import Fixed, broadcast, describe, raise_all


@dataclasses.dataclass(frozen=True)
class Term:
    """A distribution at one leaf.

    Attributes:
        position: the leaf's position in the model.
        path: its path.
        slot: which of the prior's distributions it is.
        name: what to call the distribution.
    """

    position: int
    path: str
    slot: int
    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class PriorPlan:
    """A prior tree bound to a model; it holds no number, so it is hashable.

    Attributes:
        terms: what is added, in the order of the model's leaves.
        structures: the distinct distributions without their numbers.
        notes: what is not added, in words.
    """

    terms: tuple[Term, ...] = ()
    structures: tuple[Structure, ...] = ()
    notes: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, PriorPlan)
            and hash(self) == hash(other)
            and self.terms == other.terms
            and self.structures == other.structures
            and self.notes == other.notes
        )

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        return hash((self.terms, self.structures, self.notes))

    def __reduce__(self) -> tuple[Any, ...]:
        return PriorPlan, (self.terms, self.structures, self.notes)


def make_prior_plan(
    prior: PyTree, plan: Plan
) -> tuple[PriorPlan, tuple[tuple[Any, ...], ...]]:
    """Bind a prior tree to the model of a plan.

    Returns:
        The plan of the prior and the numbers of each distinct distribution in it.

    Raises:
        ValueError: the prior does not fit the model; all faults are listed.
    """
    rows = plan.rows
    skeleton = plan.structure.treedef.unflatten([_stand_in(row) for row in rows])
    groups, faults = broadcast(prior, skeleton, leaf_of_prior(plan.structure.treedef))
    raise_all("Posterior: the prior's structure is not the model's", faults)

    slots: dict[int, int] = {}
    parts: list[tuple[Structure, tuple[Any, ...]]] = []
    terms: list[Term] = []
    notes: list[str] = []
    for value, positions in groups:
        if value is None:
            continue
        if not is_distribution(value):
            where = ", ".join(f"'{rows[i].path}'" for i in positions[:3])
            faults.append(f"at {where or 'a node without leaves'}: {refuse(value)}")
            continue
        covered = [i for i in positions if _is_inexact(rows[i])]
        if not covered:
            found = ", ".join(
                f"'{rows[i].path}' is {describe(_stand_in(rows[i]))}" for i in positions
            )
            faults.append(
                f"{name(value)} stands where no inexact array is: "
                f"{found or 'no leaf at all'}"
            )
        slot = slots.setdefault(id(value), len(parts))
        if slot == len(parts):
            parts.append(split(value))
        structure, numbers = parts[slot]
        for i in covered:
            row = rows[i]
            fault = misfit(value, structure, numbers, row.shape, row.dtype)
            if fault:
                faults.append(f"at '{row.path}': {fault}")
            elif row.role == "free":
                terms.append(Term(i, row.path, slot, name(value)))
            else:
                why = "follows another leaf" if row.role == "tied" else "is a constant"
                notes.append(
                    f"'{row.path}' is {row.role}: its prior {name(value)} is not added, "
                    f"for the leaf {why}"
                )
    raise_all("Posterior: the prior does not fit the model", faults)
    terms.sort(key=lambda term: term.position)
    structures, numbers = zip(*parts, strict=True) if parts else ((), ())
    return PriorPlan(tuple(terms), structures, tuple(notes)), numbers


def is_distribution(x: Any) -> bool:
    """Whether `x` has a `log_prob`, whichever library made it."""
    return hasattr(x, "log_prob") and not isinstance(x, type)


def split(distribution: Any) -> tuple[Structure, tuple[Any, ...]]:
    """Take a distribution apart into its structure and its numbers.

    NumPyro keeps Python floats as they are: they too are numbers, which may change
    without a new trace.
    """
    try:
        leaves, treedef = jtu.tree_flatten(distribution)
    except NotImplementedError:  # TFP registered it, but it has no flattening
        whole = Fixed(distribution, once=True)
        return Structure(jtu.tree_structure(0), (whole,), ()), ()
    leaves = [np.float64(x) if type(x) is float else x for x in leaves]
    return substrate.split(treedef.unflatten(leaves))


def compute_dtype(leaf_dtype: Any) -> np.dtype:
    """The dtype of a leaf's prior term: that of the leaf, but at least float32."""
    dtype = np.dtype(jax.dtypes.canonicalize_dtype(leaf_dtype))
    return np.dtype(np.float32) if dtype.itemsize < 4 else dtype


def log_prob(
    structure: Structure, numbers: tuple[Any, ...], leaf: Inexact[Array, "..."]
) -> Float[Array, ""]:
    """The log-density of a leaf: independent over its elements, or events, and summed."""
    dtype = compute_dtype(leaf.dtype)
    return _log_prob(structure, dtype, substrate.as_arrays(numbers), leaf)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _log_prob(
    structure: Structure, dtype: np.dtype, numbers: tuple[Any, ...], leaf: Array
) -> Array:
    # A derivative rule inside a third party's code runs when the derivative is taken,
    # outside any context of ours; this one runs it within.
    @jax.custom_jvp
    def total(numbers: tuple[Any, ...], leaf: Array) -> Array:
        return jnp.sum(_log_probs(structure, dtype, numbers, leaf)).astype(dtype)

    @total.defjvp
    def _(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
        with substrate.exactly():
            return jax.jvp(total.fun, primals, tangents)

    return total(numbers, leaf)


def _log_probs(
    structure: Structure, dtype: np.dtype, numbers: tuple[Any, ...], leaf: Array
) -> Array:
    with substrate.exactly():
        distribution = structure.build(substrate.cast_numbers(numbers, dtype))
        return distribution.log_prob(_inside(distribution, leaf, dtype))


# Where their support ends, so do the density and its slope, at finite numbers.
_FINITE_AT_THE_EDGE = (
    tfd.HalfCauchy,
    tfd.HalfNormal,
    tfd.HalfStudentT,
)


def _inside(distribution: Any, leaf: Array, dtype: np.dtype) -> Array:
    """A leaf in the dtype of its prior; moved inside where its map has saturated.

    A density may have a pole there, as that of Beta(½, ½), which a sampler would never
    leave; the log-det, which is not rounded, still falls. The gradient of what was
    moved is that of the log-det alone, which points inwards.
    """
    place = leaf.astype(dtype)
    if leaf.dtype == dtype and type(distribution) in _FINITE_AT_THE_EDGE:
        return place
    try:
        return off_the_edge(bijector_for(distribution), place, leaf.dtype)
    except (TypeError, ValueError):  # its support is not known
        return place


def sample(
    structure: Structure,
    dtype: np.dtype,
    numbers: tuple[Any, ...],
    shape: tuple[int, ...],
    key: PRNGKeyArray,
) -> Inexact[Array, "..."]:
    """Draw a leaf of a shape from its prior, independent over elements or events."""
    with substrate.exactly():
        distribution = structure.build(substrate.cast_numbers(numbers, dtype))
        event = _as_shape(getattr(distribution, "event_shape", ())) or ()
        batch = _as_shape(getattr(distribution, "batch_shape", ())) or ()
        lead = shape[: len(shape) - len(event)]
        if lead[len(lead) - len(batch) :] == batch:
            return _draw(distribution, lead[: len(lead) - len(batch)], key).astype(dtype)
        # The batch broadcasts along the leaf: draw for each pair, keep those that match.
        draws = _draw(distribution, lead, key)
        here = np.indices(lead)
        ofs = zip(here[len(lead) - len(batch) :], batch, strict=True)
        return draws[(*here, *(0 * i if n == 1 else i for i, n in ofs))].astype(dtype)


def sample_shape(distribution: Any, n: int) -> tuple[int, ...]:
    """The shape of `n` draws, each of the distribution's own shape."""
    batch = _as_shape(getattr(distribution, "batch_shape", ())) or ()
    event = _as_shape(getattr(distribution, "event_shape", ())) or ()
    return (n, *batch, *event)


class NoDrawsError(ValueError):
    """A distribution has a density but no draws."""


def _draw(distribution: Any, shape: tuple[int, ...], key: PRNGKeyArray) -> Array:
    """Sample, whichever library made the distribution."""
    none = f"{name(distribution)} cannot be drawn from"
    if not hasattr(distribution, "sample"):
        raise NoDrawsError(f"{none}: it has no `sample`")
    with warnings.catch_warnings():
        # TFP's samplers use what newer JAX is about to drop, and ask for int64.
        warnings.simplefilter("ignore")
        try:
            if "seed" in inspect.signature(distribution.sample).parameters:
                return distribution.sample(sample_shape=shape, seed=key)  # TFP, distrax
            return distribution.sample(key, shape)  # NumPyro, flowjax
        except NotImplementedError as error:
            raise NoDrawsError(f"{none}: {_words(error)}") from error


@functools.lru_cache(maxsize=4096)
def _abstract_log_probs(
    structure: Structure, avals: tuple, shape: tuple[int, ...], dtype: np.dtype
) -> jax.ShapeDtypeStruct:
    numbers = tuple(jax.ShapeDtypeStruct(*aval) for aval in avals)
    leaf = jax.ShapeDtypeStruct(shape, dtype)
    return jax.eval_shape(functools.partial(_log_probs, structure, dtype), numbers, leaf)


# What TFP and NumPyro raise when shapes or dtypes do not suit them.
_ERRORS = (
    ValueError,
    TypeError,
    NotImplementedError,
    IndexError,
    AttributeError,
    AssertionError,
)


def misfit(
    distribution: Any,
    structure: Structure,
    numbers: tuple[Any, ...],
    shape: tuple[int, ...],
    leaf_dtype: Any,
) -> str:
    """Why a distribution cannot stand at a leaf, from shapes alone; "" if it can."""
    what = name(distribution)
    leaf = f"the leaf's shape {shape}"
    if _is_discrete(distribution):
        return f"{what} is discrete, the leaf is continuous"
    why = without_density(distribution)
    if why:
        return f"{what} has no density there: {why}"
    expected: tuple[int, ...] | None = None
    if hasattr(distribution, "event_shape"):
        event = _as_shape(distribution.event_shape)
        batch = _as_shape(distribution.batch_shape)
        if event is None or batch is None:
            return f"{what} is a distribution of several parts; one leaf takes one part"
        cut = len(shape) - len(event)
        if cut < 0 or shape[cut:] != event:
            return (
                f"{what} has events of shape {event}, which are not the last axes of "
                f"{leaf}"
            )
        expected = shape[:cut]
        if not _broadcasts(batch, expected):
            return (
                f"{what} has the batch shape {batch}, which does not fit {expected}, "
                f"{leaf} without the event: a leaf is never broadcast to more elements"
            )
    dtype = compute_dtype(leaf_dtype)
    avals = tuple((jnp.shape(n), jnp.result_type(n)) for n in numbers)
    try:
        result = _abstract_log_probs(structure, avals, shape, dtype)
    except _ERRORS as error:
        return f"{what} does not fit {describe_leaf(shape, leaf_dtype)}: {_words(error)}"
    if not jnp.issubdtype(result.dtype, jnp.floating):
        return f"{what} gives a log-density of dtype {result.dtype} there"
    got = tuple(result.shape)
    fits = got == expected if expected is not None else got == shape[: len(got)]
    if not fits:
        return f"{what} gives log-densities of shape {got} for {leaf}"
    return ""


def _words(error: Exception) -> str:
    """What an error says; its type where it says nothing, as a bare `assert`."""
    return str(error) or type(error).__name__


def describe_leaf(shape: tuple[int, ...], dtype: Any) -> str:
    """A leaf in words."""
    return describe(jax.ShapeDtypeStruct(shape, dtype))


def _stand_in(row: Row) -> Any:
    """What a message should say of a leaf of which only the row is known."""
    if row.dtype is not None:
        return jax.ShapeDtypeStruct(row.shape, row.dtype)
    return None if row.value is None else row.value.value


def _is_inexact(row: Row) -> bool:
    return row.dtype is not None and jnp.issubdtype(row.dtype, jnp.inexact)


def leaf_of_prior(treedef: Any) -> Callable[[Any], bool]:
    """What counts as a leaf of a prior beside a model of some structure.

    A model, or a node of it, may have a `log_prob` of its own.
    """
    nodes = _node_types(treedef)

    def is_leaf(x: Any) -> bool:
        return type(x) not in nodes and (is_distribution(x) or substrate.is_bijector(x))

    return is_leaf


def _node_types(treedef: Any) -> set[type]:
    data = treedef.node_data()
    found = set() if data is None else {data[0]}
    return found.union(*(_node_types(child) for child in treedef.children()))


def name(distribution: Any) -> str:
    """What to call a distribution."""
    return type(distribution).__name__.removeprefix("_")


def refuse(value: Any) -> str:
    """What a message should say of a value that is no distribution."""
    expected = "expected a distribution (anything with log_prob) or None (flat)"
    if isinstance(value, type):
        return (
            f"got the class {value.__name__}; {expected}. Call it: {value.__name__}(...)"
        )
    if callable(value):
        name = getattr(value, "__name__", type(value).__name__)
        return (
            f"got the function {name}; {expected}. A prior that is a function takes the "
            f"whole model: prior={name}"
        )
    if hasattr(value, "logpdf"):
        return f"got {describe(value)}, which has logpdf; {expected}"
    return f"got {describe(value)}; {expected}"


def _as_shape(shape: Any) -> tuple[int, ...] | None:
    """A shape as a tuple of integers, `None` if it is that of several parts."""
    try:
        return tuple(int(n) for n in shape)
    except (TypeError, ValueError):
        return None


def _broadcasts(batch: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a batch shape broadcasts to exactly `shape`."""
    try:
        return np.broadcast_shapes(batch, shape) == shape
    except ValueError:
        return False


def _is_discrete(distribution: Any) -> bool:
    if getattr(getattr(distribution, "support", None), "is_discrete", False):
        return True
    dtype = getattr(distribution, "dtype", None)
    try:
        return dtype is not None and jnp.issubdtype(dtype, jnp.integer)
    except TypeError:  # a distribution of several parts has several dtypes
        return False
