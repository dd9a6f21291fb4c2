"""`spec_from_prior`: bijectors from the supports of the priors."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from .. import substrate
from ..trees import broadcast, is_inexact, path_string, raise_all, unwrappable
from . import distribution, fit
from .distribution import NoDrawsError
from .facts import has_traced_numbers, is_proven
from .lookup import bijector_for
from .verification import why_wrong

_DRAWS = 1000


def spec_from_prior(
    model: PyTree, prior: PyTree, *, rest: Any = None, verify: bool = True
) -> PyTree:
    """Build the spec that a prior asks for: a bijector onto the support of each part.

    Where the prior is `None`, the spec is `rest`. `bt.bijector_for` says which bijector
    goes with a distribution, and `bt.register` teaches it another. A distribution that is
    not known to be right is verified, as by `bt.Posterior`, and the pair is tried on
    1,000 of its draws, in float64: each must have a finite free value and map back to
    itself. (A draw that underflowed onto the boundary is let pass; so is a distribution
    that cannot be drawn from.)

    Args:
        model: any pytree; shapes are enough.
        prior: a pytree of the model's structure, or of its upper part, with a
            distribution or `None` at each leaf, as `bt.Posterior` takes it.
        rest: what stands in the spec at floating-point leaves without a prior: `None`
            (free, any number), or `bt.frozen` where the model has many of which a few
            are to be found.
        verify: whether distributions that are not known to be right are tried.

    Returns:
        A pytree of the model's structure.

    Raises:
        ValueError: the prior does not fit the model, has no known or no continuous
            support, has draws that the bijector does not reach, or fails what `Posterior`
            verifies. All faults are listed with their paths.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> model = {"scale": jnp.ones(3), "shift": jnp.zeros(3)}
        >>> prior = bt.by_path(model, {"scale": bt.tfd.HalfNormal(1.0)})
        >>> spec = bt.spec_from_prior(model, prior)
        >>> bt.support(spec["scale"]).description, spec["shift"]
        ('positive numbers', None)
        >>> bt.spec_from_prior(model, prior, rest=bt.frozen)["shift"] is bt.frozen
        True
    """
    if any(map(distribution.is_distribution, _leaves(model))) and not any(
        map(distribution.is_distribution, _leaves(prior))
    ):
        raise TypeError(
            "spec_from_prior takes the model first and the prior after it; the first "
            "argument holds distributions"
        )
    pairs, treedef = jtu.tree_flatten_with_path(model)
    groups, faults = broadcast(prior, model, fit.leaf_of_prior(treedef))
    raise_all("spec_from_prior: the prior's structure is not the model's", faults)
    nodes = unwrappable(model)
    spec = [rest if is_inexact(leaf) else None for _, leaf in pairs]
    made: dict[int, tuple[Any, str]] = {}
    for value, positions in groups:
        if value is None:
            continue
        where = ", ".join(f"'{path_string(pairs[i][0])}'" for i in positions[:3])
        covered = [i for i in positions if is_inexact(pairs[i][1])]
        if not distribution.is_distribution(value):
            faults.append(f"at {where or 'a node without leaves'}: {fit.refuse(value)}")
            continue
        if not covered:
            faults.append(
                f"{distribution.name(value)} stands where no inexact array is: "
                f"{where or 'no leaf at all'}"
            )
            continue
        if id(value) not in made:
            made[id(value)] = _bijector(value, verify=verify)
        bijector, fault = made[id(value)]
        if fault:
            faults.append(f"at {where}: {fault}")
            continue
        recipe, numbers = distribution.split(value)
        for i in covered:
            leaf, path = pairs[i][1], path_string(pairs[i][0])
            if i in nodes:
                raw = fit.at_raw_number(distribution.name(value), nodes[i])
                faults.append(f"at '{path}': {raw}")
                continue
            fault = fit.misfit(value, recipe, numbers, leaf.shape, leaf.dtype)
            if fault:
                faults.append(f"at '{path}': {fault}")
            spec[i] = bijector
    raise_all("spec_from_prior: no spec from this prior", faults)
    return treedef.unflatten(spec)


def _leaves(tree: PyTree) -> list[Any]:
    return jtu.tree_leaves(tree, is_leaf=distribution.is_distribution)


def _bijector(prior: Any, *, verify: bool) -> tuple[Any, str]:
    """The bijector onto a distribution's support, or why there is none."""
    try:
        recipe, numbers = distribution.split(prior)
        made = distribution.build(recipe, numbers)
    except distribution.ERRORS as error:
        return None, fit.cannot_be_looked_into(prior, error)
    try:
        bijector = bijector_for(made)
    except (ValueError, TypeError) as error:
        return None, str(error)
    if not verify or has_traced_numbers((numbers, bijector)) or is_proven(made):
        return bijector, ""
    return bijector, _missed(prior, bijector) or why_wrong(recipe, numbers, bijector)


def _missed(prior: Any, bijector: Any) -> str:
    """Why draws of a distribution are not in the image of a bijector; "" if all are."""
    # Double precision, so that what is found missing is not just rounded away.
    with jax.enable_x64(True):
        recipe, numbers = distribution.split(prior)
        shape = distribution.sample_shape(prior, _DRAWS)
        key = jax.random.key(0)
        # A class may insist on float32, whatever its numbers are.
        own = getattr(distribution.build(recipe, numbers, np.float64), "dtype", None)
        dtype = np.dtype(np.float32 if own == np.float32 else np.float64)
        try:
            draws = distribution.sample(recipe, dtype, numbers, shape, key)
        except NoDrawsError:
            return ""  # such as an improper prior
        recipe, numbers = substrate.split(bijector)
        what = f"{distribution.name(prior)} (bijector {bijector.name})"
        try:
            kind = substrate.bind(recipe, numbers, shape, dtype)
        except (ValueError, TypeError) as error:
            return f"{what}: the bijector cannot take its draws: {error}"
        free, outside = substrate.inverse_and_outside(kind, numbers, draws)
        back = substrate.forward(kind, numbers, free)
        if kind.elementwise:
            rounded = jnp.isinf(free) & (back == draws)
        else:  # a zero, except where every draw has one (above a triangle's diagonal)
            zero = (draws == 0) & ~jnp.all(draws == 0, axis=0, keepdims=True)
            rounded = jnp.any(zero, axis=tuple(range(outside.ndim, zero.ndim)))
        bad = np.asarray(outside & ~rounded)
        if not bad.any():
            return ""
        index = tuple(np.argwhere(bad)[0])
        text = np.array2string(np.asarray(draws)[index], precision=6, threshold=6)
        return (
            f"{what}: {bad.sum()} of {bad.size} draws are not in what the bijector "
            f"reaches, such as {' '.join(text.split())}."
        )
