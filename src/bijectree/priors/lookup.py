"""From the support of a prior, or from a constraint, to the bijector onto it."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..foreign import as_bijector, is_transform
from ..substrate import CALL_ERRORS, tfb, tfd

_table: dict[type, Callable[[Any], tfb.Bijector]] = {}

# Classes of other packages, by their names: the packages need not be installed.
_numpyro_table: dict[str, Callable[[Any], tfb.Bijector]] = {}
_distrax_table: dict[str, Callable[[Any], tfb.Bijector]] = {}
_BY_NAME = {"numpyro": _numpyro_table, "distrax": _distrax_table}


def register(cls: type, make: Callable[[Any], tfb.Bijector]) -> None:
    """Say which bijector goes with a class of distributions or constraints.

    Subclasses follow, unless they are registered themselves. A later call for the same
    class wins; it also replaces what is built in.

    Args:
        cls: a class of distributions or constraints, of any package.
        make: from an instance to the bijector onto its support.

    Example:
        >>> import bijectree as bt
        >>> class Percentage:
        ...     pass
        >>> bt.register(Percentage, lambda constraint: bt.interval(0.0, 100.0))
        >>> bt.support(bt.bijector_for(Percentage())).description
        'numbers between 0 and 100'
    """
    _table[cls] = make
    _by_users.add(cls)


_by_users: set[type] = set()


def is_registered(prior: Any) -> bool:
    """Whether a user has said which bijector goes with a distribution's class."""
    return not _by_users.isdisjoint(type(prior).__mro__)


def bijector_for(prior: Any) -> tfb.Bijector:
    """The bijector onto the support of a distribution or a constraint, or of a transform.

    Knows TFP's distributions with a continuous support, NumPyro's distributions and
    constraints, and what `register` was told. The maps are this package's (Stan's), not
    TFP's defaults, several of which miss part of the support.

    A transform of another package is taken as it is: a bijector of distrax, a bijection
    of flowjax without a condition, a transform of NumPyro. A spec may hold these
    directly, and `Reparam` verifies each when it binds it, as any bijector that it does
    not know. A flowjax bijection maps events of its own shape, with any axes before them.

    Args:
        prior: a distribution, a constraint or a transform. Its parameters may be traced.

    Returns:
        A bijector from free coordinates onto the support. For a mixture, onto the
        smallest interval that holds all components. For a transform, that very map.

    Raises:
        ValueError: the support has no smooth chart (it is discrete, or a point), or it
            is not known, or a transform is conditional, not one to one, or makes more
            than one real array; the message says which.
        TypeError: `prior` is none of these.

    Example:
        >>> import bijectree as bt
        >>> bt.support(bt.bijector_for(bt.tfd.HalfCauchy(1.0, 2.0))).description
        'numbers greater than 1'
    """
    if inspect.isclass(prior) or isinstance(prior, tfb.Bijector):
        raise TypeError(f"{_NEEDED}, got {prior!r}")
    for cls in type(prior).__mro__:
        if cls in _table:
            return _table[cls](prior)
        of_package = _BY_NAME.get(cls.__module__.partition(".")[0], {})
        if cls.__name__ in of_package:
            return of_package[cls.__name__](prior)
    if is_transform(prior):
        return as_bijector(prior)
    if isinstance(prior, tfd.Distribution):
        return _default(prior)
    if read(prior, "is_discrete") is True:
        raise _without_chart(prior, _DISCRETE)
    if hasattr(type(prior), "support") or read(prior, "support") is not None:
        return _by_support(prior)  # NumPyro's distributions, and others like them
    if hasattr(prior, "log_prob"):
        raise _without_chart(prior, _UNKNOWN)
    raise TypeError(f"{_NEEDED}, got {prior!r}")


_NEEDED = (
    "a distribution or a constraint is needed, or a transform of distrax, flowjax or "
    "NumPyro"
)


def read(prior: Any, attribute: str) -> Any:
    """An attribute; `None` where reading it raises, as some properties of NumPyro do."""
    try:
        return getattr(prior, attribute, None)
    except (AssertionError, NotImplementedError):
        return None


def _by_support(prior: Any) -> tfb.Bijector:
    """From the constraint that a distribution gives as its support."""
    found = read(prior, "support")
    if found is None:
        raise _without_chart(prior, _UNKNOWN)
    try:
        return bijector_for(found)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{type(prior).__name__}: {error}") from None


_DISCRETE = (
    "its support is discrete, and no smooth map leads from real coordinates to it; "
    "sum it out of the model or freeze the leaf (bt.frozen)"
)
_UNKNOWN = "its support is not known; say what it is with bt.register"
_POINT = "it allows a single value; freeze the leaf (bt.frozen)"
_POINT_MASS = "it gives single values positive probability, so it has no density"
_CENSORED = (
    "it gives the probability of what is censored, which is a likelihood of data and no "
    "density of a leaf"
)


class NoDensityError(ValueError):
    """A distribution has no density over a continuous leaf, or gives another one."""


def known_bijector(prior: Any) -> tfb.Bijector | None:
    """The bijector onto the support of a distribution; `None` if it is not known."""
    try:
        return bijector_for(prior)
    except (TypeError, ValueError):
        return None


def why_no_density(prior: Any) -> str:
    """Why `log_prob` is no density over a continuous leaf; "" if it is, or may be."""
    try:
        bijector_for(prior)
    except NoDensityError as error:
        return str(error)
    except (TypeError, ValueError):
        return ""
    return ""


def _without_chart(prior: Any, why: str) -> ValueError:
    none = why in (_DISCRETE, _POINT, _POINT_MASS, _CENSORED)
    error = NoDensityError if none else ValueError
    return error(f"no bijector for {_name(prior)}: {why}")


def _wrong_density(prior: Any, why: str) -> NoDensityError:
    return NoDensityError(f"the density of {_name(prior)} would be wrong: {why}")


def _name(prior: Any) -> str:
    return getattr(prior, "name", None) or type(prior).__name__.lstrip("_")


def _refuse(why: str) -> Callable[[Any], tfb.Bijector]:
    def make(prior: Any) -> tfb.Bijector:
        raise _without_chart(prior, why)

    return make


def _default(prior: Any) -> tfb.Bijector:
    """What TFP proposes for a distribution that is not in the table."""
    if not _continuous(prior):
        raise _without_chart(prior, _DISCRETE)
    try:
        bijector = prior.experimental_default_event_space_bijector()
    except CALL_ERRORS:  # a class that proposes none, or fails at one that it is made of
        bijector = None
    if bijector is None:
        raise _without_chart(prior, _UNKNOWN)
    return bijector


def _continuous(prior: Any) -> bool:
    dtypes = jax.tree.leaves(prior.dtype)
    return bool(dtypes) and all(jnp.issubdtype(d, jnp.inexact) for d in dtypes)
