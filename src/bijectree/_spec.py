"""What may stand in a spec beside TFP's bijectors."""

import dataclasses
import functools
import typing
from collections.abc import Callable
from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PyTree

from .constraints import affine, finite_number
from .substrate import is_bijector
from .trees import children, describe, is_inexact, leaf_at, path_string, raise_all


class _Frozen:
    """The type of `frozen`."""

    def __repr__(self) -> str:
        return "frozen"

    def __reduce__(self) -> str:
        return "frozen"


frozen = _Frozen()


"""In a spec: hold a leaf fixed. It has a value but no free coordinate.

Example:
    >>> import bijectree as bt, jax.numpy as jnp
    >>> model = {"a": jnp.ones(2), "b": jnp.ones(3)}
    >>> bt.Reparam(model, {"a": bt.frozen, "b": None}).dim
    3
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Joint:
    """The type of `joint`."""

    bijector: Any
    over: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Dependent:
    """The type of `dependent`."""

    function: Callable[[PyTree], Any]
    on: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Tied:
    """The type of `tied`."""

    source: str
    function: Callable[[Array], Array]


def joint(bijector: Any, over: str | tuple[str, ...] = ()) -> Joint:
    """One bijector over the concatenation of several leaves.

    The leaves that this one object stands at or above, each raveled, form one vector,
    and so do their free coordinates, which lie in `free` where the first leaf of the
    model among them does. Placed by one rule at several leaves or nodes, it is one joint
    over all of them; another call makes another joint. Leaves that are not inexact
    arrays are passed over, and each leaf keeps its dtype.

    Args:
        bijector: a TFP bijector, or a `dependent`, of a vector. Its free size may
            differ from its size.
        over: paths or globs from the model's root that name the leaves and give their
            order. Without it, the leaves beneath come in JAX's order (a dict's by
            sorted key). Leaves beneath that `over` does not name keep their own
            coordinates. Where the joint stands does not matter then.

    Returns:
        A leaf of a spec.

    Raises:
        TypeError: neither a bijector nor a `dependent` is given.
        ValueError: from `Reparam`, that the paths name nothing, or leaves that have
            something else in the spec, or that the bijector does not fit the vector.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> model = {"low": jnp.array(1.0), "high": jnp.array(3.0)}
        >>> spec = bt.joint(bt.tfb.Ascending(), over=("low", "high"))
        >>> reparam = bt.Reparam(model, spec)
        >>> print(reparam.inverse(model)["high"])  # 1, log(3 - 1)
        [1.        0.6931472]
    """
    over = (over,) if isinstance(over, str) else tuple(over)
    if not is_bijector(bijector) and not isinstance(bijector, Dependent):
        raise TypeError(f"joint takes a TFP bijector, got {describe(bijector)}")
    return Joint(bijector, over)


def dependent(function: Callable[[PyTree], Any], on: str | tuple[str, ...]) -> Dependent:
    """A bijector whose numbers depend on other leaves of the model.

    Leaves are mapped in the order of their dependencies, so the Jacobian is block
    triangular and its log-det the sum of the leaves' own.

    Args:
        function: takes the model in constrained coordinates and returns a bijector,
            always of the same sort: only its numbers may depend on the model. It may
            read only the leaves that `on` names, their shapes and dtypes aside; reading
            another is an error. It is called with traced values, also outside `jit`. A
            function that is a pytree (an `eqx.Module` with `__call__`) may hold arrays
            of numbers, which may change without a new trace, while numbers in a closure
            may not. A newly made lambda is a new function, and retraces.
        on: paths or globs, from the model's root, of the leaves that `function` reads.

    Returns:
        A leaf of a spec.

    Raises:
        TypeError: `function` is not callable.
        ValueError: `on` is empty. From `Reparam`: `on` names what is not there, the
            function reads what `on` does not name, or returns no bijector or one that
            does not fit the leaf, or leaves depend on each other in a cycle.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> model = {"alpha": jnp.array(0.3), "beta": jnp.array(0.5)}
        >>> below = bt.dependent(lambda m: bt.interval(0.0, 1.0 - m["alpha"]), "alpha")
        >>> spec = {"alpha": bt.unit_interval(), "beta": below}
        >>> reparam = bt.Reparam(model, spec)
        >>> print(f"{reparam.inverse(model)['beta']:.5f}")  # logit(0.5 / 0.7)
        0.91629
    """
    on = (on,) if isinstance(on, str) else tuple(on)
    if not callable(function) or is_bijector(function):
        raise TypeError(f"dependent takes a function, got {describe(function)}")
    if not on:
        raise ValueError("dependent: `on` must name the leaves that the function reads")
    return Dependent(function, on)


class _Identity(eqx.Module):
    def __call__(self, x: Array) -> Array:
        return x


def tied(source: str, fn: Callable[[Array], Array] | None = None) -> Tied:
    """A leaf whose value is that of another leaf, or a function of it.

    It has no free coordinate, no log-det and no prior of its own; gradients of both
    uses add up at the source. A leaf tied to a frozen one is frozen too.

    Args:
        source: the path of the other leaf.
        fn: maps the source's value to this leaf's, the identity by default.

    Returns:
        A leaf of a spec.

    Raises:
        TypeError: `source` is no string, or `fn` no function.
        ValueError: from `Reparam`, that `source` is not the path of one array of
            floats, that `fn` does not give the leaf's shape, a cycle of ties, or frozen
            leaves that disagree; from `Reparam.inverse`, leaves that disagree.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> model = {"embed": jnp.ones((3, 2)), "head": jnp.ones((2, 3))}
        >>> spec = {"embed": None, "head": bt.tied("embed", jnp.transpose)}
        >>> bt.Reparam(model, spec).dim
        6
    """
    if not isinstance(source, str):
        raise TypeError(f"tied takes the path of a leaf, got {describe(source)}")
    if fn is not None and not callable(fn):
        raise TypeError(f"tied takes a function, got {describe(fn)}")
    return Tied(source, _Identity() if fn is None else fn)


class LocationScale(eqx.Module):
    """Makes the affine map of `location_scale` from the model."""

    loc: str | Array
    scale: str | Array
    centeredness: Array

    def __call__(self, model: PyTree) -> Any:
        loc, scale = (
            leaf_at(model, x) if isinstance(x, str) else x for x in (self.loc, self.scale)
        )
        share = self.centeredness
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            multiplier = jnp.asarray(scale) ** (1 - jnp.asarray(share))
            return affine(loc - multiplier * share * loc, multiplier)

    @property
    def shares(self) -> str:
        """λ in words: one number, or from the least to the greatest."""
        share = self.centeredness
        known = isinstance(share, (np.ndarray, jax.Array)) and not isinstance(
            share, Tracer
        )
        if not known or not np.size(share):
            return "λ"
        low, high = np.min(share), np.max(share)
        return f"λ {low:.3g}" + (f" to {high:.3g}" if high > low else "")


def location_scale(
    loc: str | float | Array,
    scale: str | float | Array,
    centeredness: float | Array = 0.0,
) -> Dependent:
    """Partial non-centring of a leaf with location `loc` and scale `scale`.

    With λ the centeredness, θ = loc + scale^(1−λ) (η − λ loc) for free η, with log-det
    (1−λ) log scale: Gorinova, Moore & Hoffman (2020), "Automatic reparameterisation of
    probabilistic programs", section 4. The density in the model's coordinates does not
    change.

    Args:
        loc: the path of the leaf that is the location, or a number.
        scale: the path of the leaf that is the scale, or a positive number.
        centeredness: λ in [0, 1], a number or one an element: 0 is non-centred
            (η is the standardised θ), 1 centred (η is θ). Another one does not retrace.

    Returns:
        A leaf of a spec.

    Raises:
        ValueError: neither `loc` nor `scale` is a path; a number that is not finite, a
            scale that is not positive, or `centeredness` outside [0, 1]. Traced numbers
            are not checked.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> model = {"mu": jnp.array(1.0), "tau": jnp.array(2.0), "theta": jnp.ones(3)}
        >>> standard = bt.location_scale("mu", "tau")
        >>> spec = {"mu": None, "tau": bt.positive(), "theta": standard}
        >>> print(bt.Reparam(model, spec).inverse(model)["theta"])
        [0. 0. 0.]
    """
    on = tuple(x for x in (loc, scale) if isinstance(x, str))
    if not on:
        raise ValueError("location_scale: neither loc nor scale is a path; use affine")
    share = _number(centeredness, "centeredness")
    multiplier = scale if isinstance(scale, str) else _number(scale, "scale")
    for name, number, low, high, expected in (
        ("centeredness", share, 0.0, 1.0, "from 0 (non-centred) to 1 (centred)"),
        ("scale", multiplier, np.finfo(np.float64).tiny, np.inf, "positive"),
    ):
        if isinstance(number, (str, Tracer)):
            continue
        if not np.all((number >= low) & (number <= high)):
            raise ValueError(f"location_scale: {name} must be {expected}, got {number}")
    offset = loc if isinstance(loc, str) else _number(loc, "loc")
    return Dependent(LocationScale(offset, multiplier, share), on)


def _number(value: Any, name: str) -> Any:
    """A finite number as an array, so that another one does not retrace."""
    what = f"location_scale: {name}"
    return finite_number(value, what, "give a finite one").value


def is_spec_leaf(x: Any) -> bool:
    """Whether `x` stands at a leaf of a spec, or above many of the model's."""
    return (
        x is None
        or x is frozen
        or isinstance(x, (Joint, Dependent, Tied))
        or is_bijector(x)
    )


def spec_from_fields(model: PyTree) -> PyTree:
    """Read a spec from the fields of the model's own classes.

    A field declares its bijector as `eqx.field(metadata={"bijector": bijector})` or as
    `typing.Annotated[Array, bijector]`; `bt.frozen` serves too. Any node that JAX
    flattens by field names counts, at any depth: Equinox modules, registered
    dataclasses, named tuples. A declaration holds for everything beneath its field;
    where one lies within another, the outer one wins.

    Args:
        model: any pytree.

    Returns:
        A pytree of the model's structure with a bijector, `bt.frozen` or `None` at each
        leaf.

    Raises:
        ValueError: fields with a declaration that hold no inexact array; all are
            listed.

    Example:
        >>> import bijectree as bt, equinox as eqx, jax.numpy as jnp
        >>> from jaxtyping import Array
        >>> class Noise(eqx.Module):
        ...     scale: Array = eqx.field(metadata={"bijector": bt.tfb.Exp()})
        >>> spec = bt.spec_from_fields({"noise": Noise(jnp.ones(3))})
        >>> spec["noise"].scale.name
        'exp'
    """
    leaves, treedef = jax.tree_util.tree_flatten(model)
    values: list[Any] = [None] * len(leaves)
    faults: list[str] = []

    def visit(node: Any, positions: Any, path: tuple[Any, ...]) -> None:
        below = children(node)
        if below is None:
            return
        declared = _declarations(node)
        places = children(positions) or []
        for (key, child), (_, place) in zip(below, places, strict=True):
            declaration = declared.pop(getattr(key, "name", None), None)
            if declaration is None:
                visit(child, place, (*path, key))
                continue
            inexact = [
                i for i in jax.tree_util.tree_leaves(place) if is_inexact(leaves[i])
            ]
            for i in inexact:
                values[i] = declaration
            if not inexact:
                faults.append(
                    f"'{path_string((*path, key))}' declares {declaration!r} but holds "
                    f"no inexact array: {describe(child)}"
                )
        for name, declaration in declared.items():
            faults.append(
                f"'{name}' of {type(node).__name__} at '{path_string(path)}' declares "
                f"{declaration!r} but JAX does not see that field as a child"
            )

    visit(model, treedef.unflatten(range(len(leaves))), ())
    raise_all("spec_from_fields: some declarations have no effect", faults)
    return treedef.unflatten(values)


def _declarations(node: Any) -> dict[str | None, Any]:
    """The bijectors that the fields of one node declare, by field name."""
    cls = type(node)
    declared: dict[str | None, Any] = {}
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            value = field.metadata.get("bijector")
            if value is not None:
                declared[field.name] = value
    elif not (isinstance(node, tuple) and hasattr(cls, "_fields")):
        return {}
    for name, hint in _annotations(cls).items():
        if typing.get_origin(hint) is Annotated:
            for value in hint.__metadata__:
                if value is not None and is_spec_leaf(value):
                    declared.setdefault(name, value)
    return declared


@functools.cache
def _annotations(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except NameError:  # an annotation that cannot be evaluated here: take it as written
        found: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            found |= vars(base).get("__annotations__", {})
        return found
