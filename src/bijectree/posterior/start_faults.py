"""What is not finite at a start that cannot be."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

if TYPE_CHECKING:
    from .posterior import Posterior


def refuse_start(
    posterior: "Posterior",
    free: PyTree,
    gradient: PyTree,
    data: tuple[Any, ...],
    *,
    tries: int = 1,
) -> NoReturn:
    """Say what is not finite at the last start that was tried.

    Raises:
        ValueError: always.
    """
    faults = _faults(posterior, free, gradient, data)
    raise ValueError(
        f"no start with a finite log-density and gradient in {tries} "
        f"{'try' if tries == 1 else 'tries'}; at the last one:"
        + "".join(f"\n  - {fault}" for fault in faults)
    )


def not_finite(values: Any) -> str:
    """How many numbers of an array are not finite, in words; "" if all are."""
    array = np.asarray(values, dtype=np.float64)
    bad = ~np.isfinite(array)
    if not bad.any():
        return ""
    if array.ndim == 0:
        return f"is {array}"
    index = [int(i) for i in np.argwhere(bad)[0]]
    return (
        f"has {bad.sum()} of {array.size} numbers that are not finite, the first "
        f"({array[tuple(index)]}) at index {index}"
    )


def bad_data(data: Sequence[Any]) -> list[str]:
    """Which arrays of the data hold NaN or infinity."""
    faults = []
    for path, leaf in jtu.tree_leaves_with_path(tuple(data)):
        dtype = getattr(
            leaf, "dtype", np.dtype(type(leaf)) if type(leaf) is float else None
        )
        if dtype is not None and jnp.issubdtype(dtype, jnp.floating):
            text = not_finite(leaf)
            if text:
                faults.append(f"data{jtu.keystr(path)} {text}")
    return faults


def _faults(
    posterior: "Posterior", free: PyTree, gradient: PyTree, data: tuple[Any, ...]
) -> list[str]:
    """What is not finite at free coordinates."""
    faults = []
    paths = [row.path for _, row in posterior.reparam.bound.plan.free]
    for path, leaf in zip(paths, jtu.tree_leaves(free), strict=True):
        if not np.isfinite(leaf).all():
            faults.append(
                f"the free coordinate of '{path}' {not_finite(leaf)}: its "
                "prior has draws outside the support of its bijector"
            )
    model = posterior.reparam.forward(free)
    values = {
        f"the log-prior of '{path}'" if path else "the log-prior": value
        for path, value in posterior.prior_terms(model).items()
    }
    values["the log-likelihood"] = posterior.log_likelihood(model, *data)
    values["the log-det"] = posterior.reparam.forward_log_det_jacobian(free)
    for name, value in values.items():
        if not np.isfinite(value):
            faults.append(f"{name} is {value}")
    faults += bad_data(data)
    for path, leaf in zip(paths, jtu.tree_leaves(gradient), strict=True):
        if not np.isfinite(leaf).all():
            faults.append(f"the gradient at '{path}' {not_finite(leaf)}")
    return faults
