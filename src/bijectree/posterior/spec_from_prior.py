"""`spec_from_prior`: bijectors from the supports of the priors."""

from collections.abc import Sequence
from typing import Any

import jax.tree_util as jtu
from jaxtyping import PyTree

from .. import priors
from ..reparam import Dependent, Reparam
from ..trees import broadcast, is_inexact, path_string, raise_all, unwrappable
from .dependent_spec import item_for
from .joint_prior import by_leaf


def spec_from_prior(
    model: PyTree,
    prior: PyTree,
    *,
    rest: Any = None,
    noncentred: bool = False,
    verify: bool = True,
) -> PyTree:
    """Build the spec that a prior asks for: a bijector onto the support of each part.

    Where the prior is `None`, the spec is `rest`. `bt.bijector_for` says which bijector
    goes with a distribution, and `bt.register` teaches it another. A distribution that is
    not known to be right is verified, as by `bt.Posterior`, and the pair is tried on
    1,000 of its draws, in float64: each must have a finite free value and map back to
    itself. (A draw that underflowed onto the boundary is let pass; so is a distribution
    that cannot be drawn from.) One that other leaves set is left to `bt.Posterior`; where
    they move its support, its bijector depends on them too.

    Args:
        model: any pytree; shapes are enough.
        prior: a pytree of the model's structure, or of its upper part, with a
            distribution, a `bt.dependent` or `None` at each leaf, as `bt.Posterior`
            takes it.
        rest: what stands in the spec at floating-point leaves without a prior: `None`
            (free, any number), or `bt.frozen` where the model has many of which a few
            are to be found.
        noncentred: whether a leaf has `bt.location_scale` where other leaves set the
            location or the scale of its prior, a normal or another location-scale
            family. `bt.fit_centeredness` finds how far that pays.
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
        >>> normal = bt.dependent(lambda m: bt.tfd.Normal(0.0, m["scale"]))
        >>> spec = bt.spec_from_prior(model, {**prior, "shift": normal}, noncentred=True)
        >>> bt.Reparam(model, spec)
        Reparam of dimension 6
          scale: positive
          shift: location_scale on scale, λ 0
    """
    if any(map(priors.is_distribution, _leaves(model))) and not any(
        map(priors.is_distribution, _leaves(prior))
    ):
        raise TypeError(
            "spec_from_prior takes the model first and the prior after it; the first "
            "argument holds distributions"
        )
    prior = by_leaf(prior, model)
    pairs, treedef = jtu.tree_flatten_with_path(model)
    groups, faults = broadcast(prior, model, priors.leaf_of_prior(treedef))
    raise_all("spec_from_prior: the prior's structure is not the model's", faults)
    nodes = unwrappable(model)
    spec = [rest if is_inexact(leaf) else None for _, leaf in pairs]
    paths = [path_string(path) for path, _ in pairs]
    made: dict[int, tuple[Any, str]] = {}
    some = any(isinstance(value, Dependent) for value, _ in groups)
    bound = Reparam(model, None, verify=False).bound if some else None
    for value, positions in groups:
        if value is None:
            continue
        where = ", ".join(f"'{paths[i]}'" for i in positions[:3])
        covered = [i for i in positions if is_inexact(pairs[i][1])]
        dependent = isinstance(value, Dependent)
        if not dependent and not priors.is_distribution(value):
            words = priors.refuse(value)
            faults.append(f"at {where or 'a node without leaves'}: {words}")
            continue
        what = "a dependent prior" if dependent else priors.name(value)
        if not covered:
            faults.append(
                f"{what} stands where no inexact array is: {where or 'no leaf at all'}"
            )
            continue
        faults += [
            f"at '{paths[i]}': {priors.at_raw_number(what, nodes[i])}"
            for i in covered
            if i in nodes
        ]
        covered = [i for i in covered if i not in nodes]
        if bound is not None and isinstance(value, Dependent):
            item, wrong = item_for(value, bound, covered, noncentred=noncentred)
            faults += wrong
        else:
            if id(value) not in made:
                made[id(value)] = priors.tried_bijector(value, verify=verify)
            item, fault = made[id(value)]
            if fault:
                faults.append(f"at {where}: {fault}")
                continue
            faults += _misfits(value, [pairs[i][1] for i in covered], covered, paths)
        for i in covered:
            spec[i] = item
    raise_all("spec_from_prior: no spec from this prior", faults)
    return treedef.unflatten(spec)


def _misfits(
    value: Any, leaves: Sequence[Any], at: Sequence[int], paths: Sequence[str]
) -> list[str]:
    """Why a distribution cannot stand at leaves."""
    call = priors.split(value)
    found = [priors.misfit(value, *call, leaf.shape, leaf.dtype) for leaf in leaves]
    pairs = zip(at, found, strict=True)
    return [f"at '{paths[i]}': {fault}" for i, fault in pairs if fault]


def _leaves(tree: PyTree) -> list[Any]:
    return jtu.tree_leaves(tree, is_leaf=priors.is_distribution)
