"""What may stand in a spec beside TFP's bijectors."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, PyTree

from ..foreign import as_bijector, is_transform
from ..substrate import is_bijector
from ..trees import Match, describe


class _Frozen:
    """The type of `frozen`."""

    def __repr__(self) -> str:
        return "frozen"

    def __reduce__(self) -> str:
        return "frozen"

    def __call__(self, *args: Any) -> Any:
        raise TypeError('bt.frozen is no function: write {"path": bt.frozen}')


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

    function: Callable[..., Any]
    on: tuple[str, ...]

    def for_match(self, match: Match) -> tuple[Any, "Dependent"]:
        """What names are filled in with at a match of a rule; the filled-in item."""
        named = (*self.on, *getattr(self.function, "paths", ()))
        globs = tuple(dict.fromkeys(path for path in named if "*" in path))
        paths, stars = match.fill(globs)
        on = tuple(paths.get(path, path) for path in self.on)
        function = with_stars(self.function, stars)
        if function is not self.function:
            return stars, Dependent(function, on)
        follow = getattr(type(self.function), "for_match", None)
        if follow is not None:
            names, function = follow(self.function, paths, stars)
            same = function is self.function and not globs
            return (on, names), self if same else Dependent(function, on)
        return on, Dependent(self.function, on) if globs else self


@dataclasses.dataclass(frozen=True, eq=False)
class Tied:
    """The type of `tied`."""

    source: str
    function: Callable[[Array], Array]

    @property
    def is_copy(self) -> bool:
        """Whether the leaf has the very value of its source."""
        return isinstance(self.function, _Identity)

    def for_match(self, match: Match) -> tuple[Any, "Tied"]:
        """What the name is filled in with at a match of a rule; the filled-in item."""
        if "*" not in self.source:
            return self.source, self
        paths, _ = match.fill((self.source,))
        return paths[self.source], Tied(paths[self.source], self.function)


@dataclasses.dataclass(frozen=True, eq=False)
class Masked:
    """The type of `masked`."""

    bijector: Any
    mask: Bool[np.ndarray, "..."]

    def for_match(self, match: Match) -> tuple[Any, "Masked"]:
        """The item for a leaf of a rule with wildcards, and what tells it from others."""
        if not isinstance(self.bijector, Dependent):
            return (), self
        key, inner = self.bijector.for_match(match)
        return key, self if inner is self.bijector else Masked(inner, self.mask)


@dataclasses.dataclass(frozen=True, eq=False)
class Then:
    """A spec, and the bijectors that `Reparam.then` puts over all its coordinates.

    `load_spec` returns it for a file that has such bijectors, and `Reparam` takes it.

    Attributes:
        spec: a spec.
        maps: the bijectors, the first to be put on first.
    """

    spec: PyTree
    maps: tuple[Any, ...]


def joint(bijector: Any, over: str | tuple[str, ...] = ()) -> Joint:
    """One bijector over the concatenation of several leaves.

    The leaves that this one object stands at or above, each raveled, form one vector,
    and so do their free coordinates, which lie in `free` where the first leaf of the
    model among them does. Placed by one rule at several leaves or nodes, it is one joint
    over all of them; another call makes another joint. Leaves that are not inexact
    arrays are passed over, and each leaf keeps its dtype.

    Args:
        bijector: a TFP bijector, one that `bijector_for` takes from another package, or
            a `dependent`, of a vector. Its free size may differ from its size.
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
    bijector = as_bijector(bijector)
    if not is_bijector(bijector) and not isinstance(bijector, Dependent):
        raise TypeError(f"joint takes a TFP bijector, got {describe(bijector)}")
    return Joint(bijector, over)


def dependent(
    function: Callable[[PyTree], Any], on: str | tuple[str, ...] = ()
) -> Dependent:
    """A bijector, or a prior, whose numbers depend on other leaves of the model.

    In a spec: leaves are mapped in the order of their dependencies, so the Jacobian is
    block triangular and its log-det the sum of the leaves' own.

    In a prior: a leaf has a distribution that other leaves set, as in a hierarchy. The
    prior of the model is the product of the leaves' own, each given those that its
    function reads. A frozen leaf is a known value of such a distribution: it counts,
    wherever what is read is free.

    Args:
        function: takes the model in constrained coordinates and returns a bijector, or a
            distribution in a prior, always of the same sort: only its numbers may depend
            on the model. What it reads is seen when it is bound, where it is called with
            traced values. It is called with them later too, also outside `jit`. A
            function that is a pytree (an `eqx.Module` with `__call__`) may hold arrays
            of numbers, which may change without a new trace, while numbers in a closure
            may not. A newly made lambda is a new function, and retraces.
            In a `by_path` rule with wildcards it may take, after the model, what each of
            them stands for, as strings: `lambda m, g: bt.affine(m[g]["mu"], 1.0)`.
        on: paths or globs, from the model's root, of the leaves that `function` may
            read, their shapes and dtypes aside: to read another is an error then.
            Without it, any may be read. In a rule with wildcards, each wildcard is that
            of the rule.

    Returns:
        A leaf of a spec, or of a prior.

    Raises:
        TypeError: `function` is not callable.
        ValueError: from `Reparam` and `Posterior`: `on` names what is not there, the
            function reads what `on` does not name, returns no bijector or distribution
            or one that does not fit the leaf, or leaves depend on each other in a cycle.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> model = {"alpha": jnp.array(0.3), "beta": jnp.array(0.5)}
        >>> below = bt.dependent(lambda m: bt.interval(0.0, 1.0 - m["alpha"]))
        >>> spec = {"alpha": bt.unit_interval(), "beta": below}
        >>> reparam = bt.Reparam(model, spec)
        >>> print(f"{reparam.inverse(model)['beta']:.5f}")  # logit(0.5 / 0.7)
        0.91629
        >>> prior = {
        ...     "alpha": bt.tfd.Uniform(0.0, 1.0),
        ...     "beta": bt.dependent(lambda m: bt.tfd.Uniform(0.0, 1.0 - m["alpha"])),
        ... }
        >>> posterior = bt.Posterior(reparam, None, prior)
        >>> print(f"{posterior.log_prior(model):.5f}")  # 0 - log(0.7)
        0.35667
    """
    if not callable(function) or is_bijector(function) or is_transform(function):
        swapped = "; the arguments are dependent(function, on)" if callable(on) else ""
        raise TypeError(f"dependent takes a function, got {describe(function)}{swapped}")
    return Dependent(function, (on,) if isinstance(on, str) else tuple(on))


class AtStars(eqx.Module):
    """A function of the model and of what the wildcards of its rule stand for."""

    function: Callable[..., Any]
    stars: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, model: PyTree) -> Any:
        """What the function makes of the model."""
        return self.function(model, *self.stars)


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a function needs so many arguments, of which the model is one."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of a built-in function nothing is known
        return False
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    needed = [p for p in parameters if p.kind in positional and p.default is p.empty]
    return count > 1 and len(needed) == count


def with_stars(function: Callable[..., Any], stars: tuple[str, ...]) -> Any:
    """A function of the model alone, at a match of a rule with wildcards."""
    return AtStars(function, stars) if _takes(function, 1 + len(stars)) else function


class _Identity(eqx.Module):
    def __call__(self, x: Array) -> Array:
        return x


def tied(source: str, fn: Callable[[Array], Array] | None = None) -> Tied:
    """A leaf whose value is that of another leaf, or a function of it.

    It has no free coordinate, no log-det and no prior of its own; gradients of both
    uses add up at the source. A leaf tied to a frozen one is frozen too.

    Args:
        source: the path of the other leaf; in a `by_path` rule with wildcards, each
            wildcard in it is that of the rule.
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


def is_spec_leaf(x: Any) -> bool:
    """Whether `x` stands at a leaf of a spec, or above many of the model's."""
    return (
        x is None
        or x is frozen
        or isinstance(x, (Joint, Dependent, Tied, Masked))
        or is_bijector(x)
    )
