"""Optax optimizers of free coordinates, for parameters in the model's coordinates."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optax
from jaxtyping import Array, PyTree, UInt32
from optax.contrib import ScheduleFreeState, schedule_free_eval_params

from . import numerics
from ._params import Arrays, absent, arrays_of, put
from ._steps import Steps
from .reparam import Reparam
from .trees import is_array


class ReparameterizedState(NamedTuple):
    """The state of `reparameterize`.

    Attributes:
        inner: the state of the inner optimizer, in free coordinates.
        free: the free coordinates. They are carried exactly; the parameters follow.
        marks: by which a change of the parameters from outside is noticed.
    """

    inner: optax.OptState
    free: PyTree
    marks: UInt32[Array, " watched"]


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

    Parameters that were changed from outside, such as by a restored checkpoint or
    `eqx.tree_at`, are noticed leaf by leaf and inverted again, and so are those that
    depend on them; all others are never inverted, so that nothing drifts. A change into
    what is not the support gives NaN. A tied leaf follows its source, whatever was done
    to it. With another Reparam, such as one of other bounds, start with a new state.

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
    inner = optax.with_extra_args_support(optimizer)
    part_of = functools.cache(functools.partial(Steps, reparam))

    def init(params: PyTree) -> ReparameterizedState:
        if type(params).__name__ == "_ParamsPlaceholder":  # of optax.tree_map_params
            marks = jnp.zeros(1, jnp.uint32)
            return ReparameterizedState(inner.init(params), params, marks)
        arrays = arrays_of(reparam, params, "params")
        steps = part_of(absent(arrays))
        free = steps.start(arrays)
        inner_state = _forget(inner.init(free), params)
        state = ReparameterizedState(inner_state, free, steps.marks(arrays))
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
        free = steps.refresh(state.free, state.marks, arrays)
        cross = _Crossing(steps, params, arrays)
        before, gradient = cross.pull_back(updates, free)
        extra = cross.arguments(extra, free)
        inner_state = _forget(state.inner, gradient)
        free_updates, inner_state = inner.update(gradient, inner_state, free, **extra)
        before, free = steps.done_with(before, free)
        new_free = optax.apply_updates(free, free_updates)
        changes, marks = steps.land(arrays, before, new_free, free_updates)
        inner_state = _forget(inner_state, params)
        updates = put(reparam, _hold(params), changes)
        return updates, ReparameterizedState(inner_state, new_free, marks)

    return optax.GradientTransformationExtraArgs(init, update)


def eval_params(
    state: ReparameterizedState,
    params: PyTree,
    reparam: Reparam,
    average: Callable[[optax.OptState, PyTree], PyTree] | None = None,
) -> PyTree:
    """Parameters for evaluation, averaged in free coordinates.

    In the model's coordinates the average of `optax.contrib.schedule_free` may leave
    the support. An exponential moving average needs no help: keep it of `state.free`,
    with `optax.incremental_update`, and call `reparam.forward`.

    Args:
        state: of `reparameterize`.
        params: the parameters; what has no free coordinates is taken from them.
        reparam: that the optimizer was made with.
        average: takes `state.inner` and `state.free` and returns free coordinates; by
            default `optax.contrib.schedule_free_eval_params` of the one schedule-free
            state that there is.

    Returns:
        Parameters of the structure of `params`.

    Raises:
        ValueError: no schedule-free state, or more than one, and no `average`.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp, optax
        >>> params = {"scale": jnp.array(2.0)}
        >>> reparam = bt.Reparam(params, bt.positive())
        >>> inner = optax.contrib.schedule_free_sgd(0.1)
        >>> state = bt.reparameterize(inner, reparam).init(params)
        >>> print(f"{bt.eval_params(state, params, reparam)['scale']:.3f}")
        2.000
    """
    if average is None:
        nodes = jtu.tree_leaves(state.inner, is_leaf=_is_schedule_free)
        found = [node for node in nodes if _is_schedule_free(node)]
        if len(found) != 1:
            raise ValueError(
                f"eval_params: found {len(found)} schedule-free states; pass `average`, "
                "a function of state.inner and state.free"
            )
        free = schedule_free_eval_params(found[0], state.free)
    else:
        free = average(state.inner, state.free)
    arrays = arrays_of(reparam, params, "params")
    return put(reparam, params, Steps(reparam, absent(arrays)).inside(free, arrays))


def _is_schedule_free(node: Any) -> bool:
    return isinstance(node, ScheduleFreeState)


class _Crossing:
    """Takes what `update` is given from the model's coordinates to free ones."""

    def __init__(self, steps: Steps, params: PyTree, arrays: Arrays):
        self.steps, self.params, self.arrays = steps, params, arrays

    def forward(self, free: PyTree) -> PyTree:
        """The parameters at free coordinates."""
        values = self.steps.values(free, self.arrays)
        return put(self.steps.reparam, self.params, values)

    def pull_back(self, grads: PyTree, free: PyTree) -> tuple[Arrays, PyTree]:
        """The parameters' leaves at free coordinates, and the gradient there."""
        lookahead = isinstance(self.params, optax.LookaheadParams)
        if lookahead and not isinstance(grads, optax.LookaheadParams):
            slow = jtu.tree_map(lambda _: None, self.params.slow)
            grads = optax.LookaheadParams(fast=grads, slow=slow)
        gradients = arrays_of(self.steps.reparam, grads, "grads")
        values, gradient = self.steps.pull_back(free, self.arrays, gradients)
        return values, gradient.fast if lookahead else gradient

    def arguments(self, extra: dict[str, Any], free: PyTree) -> dict[str, Any]:
        """Extra arguments of `update`.

        Raises:
            TypeError: a function whose coordinates are not known.
        """
        functions = [extra[name] for name in ("value_fn", "obj_fn") if name in extra]
        theirs = {name for f in functions for name in inspect.signature(f).parameters}
        crossed = {}
        for name, value in extra.items():
            if name in ("value_fn", "obj_fn"):
                value = self._of_free(value)
            elif name == "grad_fn":
                value = self._gradient_of_free(value)
            elif name == "grad":
                value = self.pull_back(value, free)[1]
            elif callable(value) and not is_array(value) and name not in theirs:
                raise TypeError(
                    f"the extra argument `{name}` is a function of which is not known "
                    "whether it takes parameters or free coordinates; known are "
                    "value_fn, obj_fn and grad_fn. Close over it there"
                )
            crossed[name] = value
        return crossed

    def _of_free(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)  # optax reads the signature
        def composed(free: PyTree, *args: Any, **kwargs: Any) -> Any:
            return function(self.forward(free), *args, **kwargs)

        return composed

    def _gradient_of_free(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def composed(free: PyTree, *args: Any, **kwargs: Any) -> Any:
            return self.pull_back(function(self.forward(free), *args, **kwargs), free)[1]

        return composed


_LINE_SEARCHES = (
    optax.ScaleByZoomLinesearchState,
    optax.ScaleByBacktrackingLinesearchState,
)


def _forget(state: optax.OptState, like: PyTree) -> optax.OptState:
    """Let line searches forget the value and the gradient where they ended.

    They are in free coordinates, where `optax.value_and_grad_from_state` would take
    them for the model's. The gradient gets the structure of `like`, so that it fits
    into the function's other branch.
    """

    def searches(node: Any) -> bool:
        return isinstance(node, _LINE_SEARCHES)

    def forget(node: Any) -> Any:
        if not searches(node):
            return node
        grad = node.grad
        if grad is not None:
            grad = jtu.tree_map(lambda x: _all(x, 0) if is_array(x) else x, like)
        return node._replace(value=jnp.full_like(node.value, jnp.inf), grad=grad)

    return jtu.tree_map(forget, state, is_leaf=searches)


def _hold(params: PyTree) -> PyTree:
    """Updates of parameters that all stay what they are."""

    def hold(x: Any) -> Any:
        if not is_array(x) or jnp.issubdtype(x.dtype, jax.dtypes.extended):
            return x if isinstance(x, optax.MaskedNode) else None
        return _all(x, -0.0 if jnp.issubdtype(x.dtype, jnp.inexact) else 0)

    return jtu.tree_map(hold, params, is_leaf=lambda x: isinstance(x, optax.MaskedNode))


def _all(x: Array, value: float) -> Array:
    """`jnp.full_like`, which XLA would not shard as `x` is: it does not depend on it."""
    if jnp.issubdtype(x.dtype, jax.dtypes.extended):
        return jnp.full_like(x, value)
    number = jnp.asarray(value, x.dtype)
    return jnp.where(x == x, number, number)
