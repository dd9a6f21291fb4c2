"""`location_scale`: partial non-centring of a leaf."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PyTree

from ..constraints import affine, finite_number
from ..trees import leaf_at
from .spec_items import Dependent


class LocationScale(eqx.Module):
    """The function of `location_scale`, from the model to an affine map."""

    loc: str | Array
    scale: str | Array
    centeredness: Array

    def for_match(self, paths: Mapping[str, str]) -> "LocationScale":
        """A `LocationScale` with other paths for those with wildcards."""
        loc, scale = (
            paths.get(x, x) if isinstance(x, str) else x for x in (self.loc, self.scale)
        )
        return LocationScale(loc, scale, self.centeredness)

    def __call__(self, model: PyTree) -> Any:
        """The affine map, from the location and the scale in the model."""
        loc, scale = (
            leaf_at(model, x) if isinstance(x, str) else x for x in (self.loc, self.scale)
        )
        share = self.centeredness
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            multiplier = jnp.asarray(scale) ** (1 - jnp.asarray(share))
            return affine(loc - multiplier * share * loc, multiplier)

    @property
    def centeredness_words(self) -> str:
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
        loc: the path of the leaf that is the location, or a number. In a `by_path` rule
            with wildcards, each wildcard in it is that of the rule: for
            `groups.*.theta`, each group's own `groups.*.mu`.
        scale: the path of the leaf that is the scale, or a positive number, likewise.
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
