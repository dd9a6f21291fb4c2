"""Optax optimizers of free coordinates, for parameters in the model's coordinates."""

import collections
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optax
from jaxtyping import Array, PyTree, UInt32

from .. import numerics
from ..reparam import Plan, Reparam
from ..trees import is_array
from .extra_arguments import ToFree
from .line_searches import filled_like, forget_searches
from .misfits import check_arguments, is_placeholder, no_state
from .partial_model import absent, arrays_of, put
from .steps import Steps


class ReparameterizedState(NamedTuple):
    """The state of `reparameterize`.

    Attributes:
        inner: the state of the inner optimizer, in free coordinates.
        free: the free coordinates. They are carried exactly; the parameters follow.
        fingerprints: of the parameters, by which a change from outside is noticed.
    """

    inner: optax.OptState
    free: PyTree
    fingerprints: UInt32[Array, " watched"]


# The inner optimizers that were given last, with the plans, for `carry`: a state does not
# tell how a leaf starts. A plan holds no arrays.
recent_optimizers: collections.deque[tuple[optax.GradientTransformation, Plan]] = (
    collections.deque(maxlen=32)
)


def reparameterize(
    optimizer: optax.GradientTransformation, reparam: Reparam
) -> optax.GradientTransformationExtraArgs:
    """Optimize in free coordinates what is kept in the model's own.

    Parameters, gradients and updates are in the model's coordinates, as with any optax
    optimizer; the trajectory is that of `optimizer` on the free coordinates. The free
    coordinates are carried in the state, so the parameters may saturate without harm:
    where they would reach the boundary of their support, or where adding the update
    would round onto it, they are the nearest number inside that the sum can give (of a
    vector or a matrix, at worst where they were), and the free value is not altered. A
    place inside that one sum cannot reach, the sums of later updates do.

    Where a free value is so large that its map overflows, the parameter is about the
    largest number of its dtype, which `inverse` accepts, and the gradient pulled back
    there is finite, so that later steps come back. A vector or a matrix that overflows
    may stay where it was; its free coordinates are then those of that place.

    Where a model has leaves that are no arrays of floats, such as integers or strings,
    use `eqx.apply_updates(params, updates)`: `optax.apply_updates` cannot add to them.

    Parameters that were changed from outside, such as by a restored checkpoint or
    `eqx.tree_at`, are noticed leaf by leaf and inverted again, and so are those that
    depend on them; all others are never inverted, so that nothing drifts. A change into
    what is not the support gives NaN. A tied leaf follows its source, whatever was done
    to it. Under another Reparam, such as one of other bounds or with a part unfrozen, the
    state goes on by `bt.carry`.

    The update of a frozen leaf, and of an element that does not move, is −0.0: adding it
    changes no bit (but XLA may flush subnormal numbers to zero). NaN in the gradient of a
    leaf stays in that leaf, in those that its bijector depends on, and in those that
    depend on them. `update` cannot be differentiated in reverse mode.

    Extra arguments of `update` are passed on in free coordinates: `grad` is pulled back,
    `value_fn`, `obj_fn` and `grad_fn` take the parameters as ever. After each update a
    line search's stored value is infinite, so that `optax.value_and_grad_from_state`
    evaluates again, in the model's coordinates.

    Args:
        optimizer: sees free coordinates: decay, trust ratios or averages are of these.
        reparam: of the model. The parameters may be the model or a part of it, with
            `None` or `optax.MaskedNode` at other leaves.

    Returns:
        An optimizer. `init` and `update` need the parameters; `update` takes gradients
        as `eqx.filter_grad` gives them.

    Raises:
        SupportError: from `init`, parameters outside their support (under `jit`, as
            `Reparam.error_if_outside`).
        ValueError: parameters or gradients that do not fit the Reparam; `update` without
            parameters.
        TypeError: from `update`, a function among the extra arguments whose coordinates
            are not known.

    Example:
        >>> import bijectree as bt, jax, jax.numpy as jnp, optax
        >>> params = {"scale": jnp.array(2.0)}
        >>> reparam = bt.Reparam(params, bt.positive())
        >>> optimizer = bt.reparameterize(optax.sgd(1.0), reparam)
        >>> state = optimizer.init(params)
        >>> grads = {"scale": jnp.array(100.0)}
        >>> updates, state = optimizer.update(grads, state, params)
        >>> params = optax.apply_updates(params, updates)
        >>> print(f"{state.free['scale']:.2f}", params["scale"] > 0)
        -199.31 True
    """
    check_arguments(optimizer, reparam)
    recent_optimizers.append((optimizer, reparam.bound.plan))
    inner = optax.with_extra_args_support(optimizer)
    part_of = functools.cache(functools.partial(Steps, reparam))

    def init(params: PyTree) -> ReparameterizedState:
        # `optax.tree_map_params` calls `init` with a placeholder.
        if is_placeholder(params):
            fingerprints = jnp.zeros(1, jnp.uint32)
            return ReparameterizedState(inner.init(params), params, fingerprints)
        arrays = arrays_of(reparam, params, "params")
        steps = part_of(absent(arrays))
        free = steps.start(arrays)
        inner_state = forget_searches(inner.init(free), params)
        state = ReparameterizedState(inner_state, free, steps.fingerprints(arrays))
        return numerics.beside(state, (arrays, free))

    def update(
        updates: PyTree,
        state: Any,
        params: PyTree | None = None,
        **extra: Any,
    ) -> tuple[PyTree, ReparameterizedState]:
        if params is None:
            raise ValueError(
                "a reparameterized optimizer needs the parameters: "
                "optimizer.update(grads, state, params)"
            )
        arrays = arrays_of(reparam, params, "params")
        steps = part_of(absent(arrays))
        if not isinstance(state, ReparameterizedState):
            raise TypeError(no_state(state))
        free = steps.refresh(state.free, state.fingerprints, arrays)
        to_free = ToFree(steps, params, arrays)
        before, gradient = to_free.pull_back(updates, free)
        extra = to_free.arguments(extra, free)
        inner_state = forget_searches(state.inner, gradient)
        free_updates, inner_state = inner.update(gradient, inner_state, free, **extra)
        before, free = steps.finish_before(before, free)
        new_free = optax.apply_updates(free, free_updates)
        changes, fingerprints = steps.land(arrays, before, new_free, free_updates)
        inner_state = forget_searches(inner_state, params)
        updates = put(reparam, _hold(params), changes)
        return updates, ReparameterizedState(inner_state, new_free, fingerprints)

    return optax.GradientTransformationExtraArgs(init, update)


def _hold(params: PyTree) -> PyTree:
    """Updates of parameters that all stay what they are."""

    def hold(x: Any) -> Any:
        if not is_array(x) or jnp.issubdtype(x.dtype, jax.dtypes.extended):
            return x if isinstance(x, optax.MaskedNode) else None
        return filled_like(x, -0.0 if jnp.issubdtype(x.dtype, jnp.inexact) else 0)

    return jtu.tree_map(hold, params, is_leaf=lambda x: isinstance(x, optax.MaskedNode))
