"""Extra arguments of `update`, known from the model's coordinates to free ones."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax.tree_util as jtu
import optax
from jaxtyping import PyTree

from ..trees import is_array
from .partial_model import Arrays, arrays_of, put
from .steps import Steps


class ToFree:
    """The arguments of `update`, taken from the model's coordinates to free ones."""

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
        known = {name for f in functions for name in inspect.signature(f).parameters}
        found = {}
        for name, value in extra.items():
            if name in ("value_fn", "obj_fn"):
                value = self._of_free(value)
            elif name == "grad_fn":
                value = self._gradient_of_free(value)
            elif name == "grad":
                value = self.pull_back(value, free)[1]
            elif callable(value) and not is_array(value) and name not in known:
                raise TypeError(
                    f"the extra argument `{name}` is a function of which is not known "
                    "whether it takes parameters or free coordinates; known are "
                    "value_fn, obj_fn and grad_fn. Close over it there"
                )
            found[name] = value
        return found

    def _of_free(self, function: Callable[..., Any]) -> Callable[..., Any]:
        # Optax reads the signature, which `wraps` keeps.
        @functools.wraps(function)
        def composed(free: PyTree, *args: Any, **kwargs: Any) -> Any:
            return function(self.forward(free), *args, **kwargs)

        return composed

    def _gradient_of_free(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def composed(free: PyTree, *args: Any, **kwargs: Any) -> Any:
            return self.pull_back(function(self.forward(free), *args, **kwargs), free)[1]

        return composed
