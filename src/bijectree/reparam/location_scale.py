"""`location_scale`: partial non-centring of a leaf."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PyTree

from ..constraints import affine, finite_number
from ..trees import leaf_at
from .spec_items import AtStars, Dependent, with_stars

# A path, a number, or a function of the model.
Parameter = str | Array | Callable[..., Any]


class LocationScale(eqx.Module):
    """The function of `location_scale`, from the model to an affine map."""

    loc: Parameter
    scale: Parameter
    centeredness: Array

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths among location and scale."""
        return tuple(x for x in (self.loc, self.scale) if isinstance(x, str))

    def for_match(
        self, paths: Mapping[str, str], stars: tuple[str, ...]
    ) -> tuple[Any, "LocationScale"]:
        """What names are filled in at a match of a rule; the filled-in function."""
        loc, scale = (
            paths.get(x, x)
            if isinstance(x, str)
            else with_stars(x, stars)
            if callable(x)
            else x
            for x in (self.loc, self.scale)
        )
        names = tuple(paths.values())
        if loc is self.loc and scale is self.scale:
            return names, self
        of_stars = any(isinstance(x, AtStars) for x in (loc, scale))
        made = LocationScale(loc, scale, self.centeredness)
        return (*names, *stars) if of_stars else names, made

    def loc_and_scale(self, model: PyTree) -> tuple[Any, Any]:
        """The location and the scale in a model."""
        loc, scale = (
            leaf_at(model, x) if isinstance(x, str) else x(model) if callable(x) else x
            for x in (self.loc, self.scale)
        )
        return loc, scale

    def __call__(self, model: PyTree) -> Any:
        """The affine map, from the location and the scale in the model."""
        loc, scale = self.loc_and_scale(model)
        share = self.centeredness
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            multiplier = jnp.asarray(scale) ** (1 - jnp.asarray(share))
            return affine(loc - multiplier * share * loc, multiplier)

    def location_and_offset(self, model: PyTree, free: Array) -> tuple[Array, Array]:
        """The location in a model, and what a leaf has beyond that, before rounding.

        Where the scale is below an ulp of the location, the leaf is the location.
        """
        loc, scale = self.loc_and_scale(model)
        share = self.centeredness
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            multiplier = jnp.asarray(scale) ** (1 - jnp.asarray(share))
            return jnp.asarray(loc), multiplier * (free - share * loc)

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
    loc: str | float | Array | Callable[..., Any],
    scale: str | float | Array | Callable[..., Any],
    centeredness: float | Array = 0.0,
) -> Dependent:
    """Partial non-centring of a leaf with location `loc` and scale `scale`.

    With λ the centeredness, θ = loc + scale^(1−λ) (η − λ loc) for free η, with log-det
    (1−λ) log scale: Gorinova, Moore & Hoffman (2020), "Automatic reparameterisation of
    probabilistic programs", section 4. The density in the model's coordinates does not
    change.

    Args:
        loc: the path of the leaf that is the location, a number, or a function of the
            model, such as the regression `lambda m: X @ m["gamma"]`. In a `by_path` rule
            with wildcards, each wildcard in a path is that of the rule: for
            `groups.*.theta`, each group's own `groups.*.mu`; a function may take what
            they stand for after the model, as that of `dependent`.
        scale: the path of the leaf that is the scale, a positive number, or a function
            of the model to positive numbers, likewise. That those are positive is not
            checked.
        centeredness: λ in [0, 1], a number or one an element: 0 is non-centred
            (η is the standardised θ), 1 centred (η is θ). Another one does not retrace.

    Returns:
        A leaf of a spec.

    Raises:
        ValueError: neither `loc` nor `scale` is a path or a function; a number that is
            not finite, a scale that is not positive, or `centeredness` outside [0, 1].
            Traced numbers are not checked.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> model = {"mu": jnp.array(1.0), "tau": jnp.array(2.0), "theta": jnp.ones(3)}
        >>> standard = bt.location_scale("mu", "tau")
        >>> spec = {"mu": None, "tau": bt.positive(), "theta": standard}
        >>> print(bt.Reparam(model, spec).inverse(model)["theta"])
        [0. 0. 0.]
    """
    given: dict[str, Any] = {"loc": loc, "scale": scale}
    for name, x in given.items():
        if not isinstance(x, str) and not callable(x):
            given[name] = _number(x, name)
    share = _number(centeredness, "centeredness")
    made = LocationScale(**given, centeredness=share)
    if not any(isinstance(x, str) or callable(x) for x in given.values()):
        raise ValueError(
            "location_scale: neither loc nor scale is a path or a function of the model; "
            "use affine"
        )
    for name, number, low, high, expected in (
        (
            "centeredness",
            made.centeredness,
            0.0,
            1.0,
            "from 0 (non-centred) to 1 (centred)",
        ),
        ("scale", made.scale, np.finfo(np.float64).tiny, np.inf, "positive"),
    ):
        if isinstance(number, (str, Tracer)) or callable(number):
            continue
        if not np.all((number >= low) & (number <= high)):
            raise ValueError(f"location_scale: {name} must be {expected}, got {number}")
    return Dependent(made, () if any(map(callable, given.values())) else made.paths)


def _number(value: Any, name: str) -> Any:
    """A finite number as an array, so that another one does not retrace."""
    what = f"location_scale: {name}"
    return finite_number(value, what, "give a finite one").value
