"""A user's function, or data, as a pytree."""

import functools
import inspect
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array

from .. import priors
from ..foreign import is_constraint, is_transform
from ..reparam import Bound, Reparam, of_bound
from ..substrate import is_bijector
from ..trees import PicklableTreedef, StaticLeaf, describe
from .prior_plan import PriorPlan

if TYPE_CHECKING:
    from .posterior import Posterior


class Function(eqx.Module):
    """A function as a pytree: its arrays are leaves, the rest is compared by value.

    Data are held so too: `build` puts together what JAX has flattened.
    """

    arrays: tuple[Any, ...]
    structure: PicklableTreedef = eqx.field(static=True)
    fixed: tuple[StaticLeaf | None, ...] = eqx.field(static=True)

    def __init__(self, function: Any):
        # The numbers of distributions that the function holds are put into one order.
        leaves, treedef = jtu.tree_flatten(priors.spell_out(function, digits=False))
        array = [isinstance(x, (jax.Array, np.ndarray, np.generic)) for x in leaves]
        pairs = list(zip(leaves, array, strict=True))
        self.arrays = tuple(x for x, yes in pairs if yes)
        self.structure = PicklableTreedef(treedef)
        self.fixed = tuple(None if yes else StaticLeaf(x) for x, yes in pairs)

    def as_read_now(self) -> "Function":
        """The same, or another one where what the function reads has changed."""
        fixed = tuple(f and f.as_read_now() for f in self.fixed)
        structure = self.structure.as_read_now()
        if (fixed, structure) == (self.fixed, self.structure):
            return self
        return _with_fields(self, fixed=fixed, structure=structure)

    def build(self) -> Any:
        """The function, or the data, that was given."""
        arrays = iter(self.arrays)
        leaves = [next(arrays) if f is None else f.value for f in self.fixed]
        return priors.put_together(self.structure.treedef.unflatten(leaves))


def as_read_now(posterior: "Posterior", *, besides: Collection[str] = ()) -> "Posterior":
    """A posterior, or another one where what its functions read has changed.

    So what is compiled agrees with what the log-density is when it is called.

    Args:
        posterior: the posterior.
        besides: the names of fields that do not count. The likelihood may read large
            data, and to look at them takes time, for nothing where it is not called.
    """
    changed: dict[str, Any] = {}
    for name, part in vars(posterior).items():
        if name in besides:
            continue
        now = part
        if isinstance(part, Reparam):
            plan = part.bound.plan.as_read_now()
            if plan is not part.bound.plan:
                now = of_bound(Bound(plan, part.bound.numbers, part.bound.held))
        elif isinstance(part, (Function, PriorPlan)):
            now = part.as_read_now()
        if now is not part:
            changed[name] = now
    return _with_fields(posterior, **changed) if changed else posterior


T = TypeVar("T", bound=eqx.Module)


def _with_fields(module: T, **fields: Any) -> T:
    """A module with other values of some fields; its constructor is not called."""
    made = object.__new__(type(module))
    for name, value in {**vars(module), **fields}.items():
        object.__setattr__(made, name, value)
    return made


def _check_arguments(reparam: Any, log_likelihood: Any) -> None:
    """Raise if an argument of a Posterior is meant for another one.

    Raises:
        TypeError: an argument is of another type than expected.
    """
    if not isinstance(reparam, Reparam):
        raise TypeError(
            f"reparam: expected a bt.Reparam, got {describe(reparam)}: the arguments are "
            "Posterior(bt.Reparam(model, spec), log_likelihood, prior)"
        )
    if log_likelihood is None:
        return
    nodes = priors.leaf_of_prior(reparam.bound.plan.structure.treedef)
    leaves = jtu.tree_leaves(log_likelihood, is_leaf=nodes)
    expected = "log_likelihood: expected a function (model, *data) -> scalar or None, got"
    function = inspect.isroutine(log_likelihood) or isinstance(
        log_likelihood, functools.partial
    )
    if not function and any(priors.is_distribution(x) for x in leaves):
        what = describe(log_likelihood)
        raise TypeError(f"{expected} {what}, a prior: that is the argument after it")
    if not callable(log_likelihood) or _is_no_function(log_likelihood):
        raise TypeError(f"{expected} {describe(log_likelihood)}")


def _is_no_function(x: Any) -> bool:
    """Whether something that can be called is no function of a model."""
    ours = str(getattr(x, "__module__", "")).startswith("bijectree.constraints.")
    return (
        priors.is_distribution(x)
        or is_bijector(x)
        or is_constraint(x)
        or is_transform(x)
        or inspect.isclass(x)
        or (ours and inspect.isfunction(x))
    )


def _is_function(prior: Any, reparam: Reparam) -> bool:
    """Whether a prior is a function of the model rather than a tree.

    A tree written by hand with the class of the model may be callable, as the model is.
    """
    if prior is None or not callable(prior) or _is_no_function(prior):
        return False
    data = reparam.bound.plan.structure.treedef.node_data()
    return data is None or type(prior) is not data[0]


def _scalar(value: Any, what: str) -> Array:
    """A number that a user's function returned, or an error if it is no real scalar."""
    try:
        shape = jnp.shape(value)
    except TypeError:
        raise TypeError(f"{what} must return a scalar, got {describe(value)}") from None
    if shape != ():
        raise ValueError(
            f"{what} must return a scalar, got an array of shape {shape}: sum over "
            "observations, as in `.sum()`"
        )
    value = jnp.asarray(value)
    if jnp.issubdtype(value.dtype, jnp.complexfloating):
        raise ValueError(f"{what} must return a real number, got {value.dtype}")
    wide = jnp.issubdtype(value.dtype, jnp.floating) and value.dtype.itemsize >= 4
    return value if wide else value.astype(jnp.float32)
