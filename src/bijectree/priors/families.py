"""Location-scale families: distributions of loc + scale·z for a z that neither moves."""

from typing import Any

import jax

from .. import substrate
from ..substrate import Recipe
from .at_free import unwrapped
from .distribution import build
from .facts import library_and_name

_FAMILIES: dict[str, frozenset[str]] = {
    "tensorflow_probability": frozenset(
        """Cauchy DoublesidedMaxwell GeneralizedNormal Gumbel JohnsonSU Laplace Logistic
        Moyal Normal StudentT TwoPieceNormal TwoPieceStudentT""".split()
    ),
    "numpyro": frozenset(
        """AsymmetricLaplace Cauchy Gumbel Laplace Logistic Normal SoftLaplace
        StudentT""".split()
    ),
    "distrax": frozenset(("Gumbel", "Laplace", "Logistic", "Normal")),
}


def location_and_scale(distribution: Any) -> tuple[Any, Any] | None:
    """The location and the scale of a distribution; `None` if it is of no such family."""
    inner = unwrapped(distribution)
    library, name = library_and_name(inner)
    if name not in _FAMILIES.get(library, ()):
        return None
    return inner.loc, inner.scale


def location_slot(recipe: Recipe, numbers: tuple[Any, ...]) -> int | None:
    """Which number of a distribution is its location.

    Args:
        recipe: of the distribution.
        numbers: of the distribution, or their shapes.

    Returns:
        Its position, where the distribution is of a location-scale family and moving this
        number alone moves it; `None` elsewhere.
    """
    found: list[bool] = []

    def location(numbers: tuple[Any, ...]) -> Any:
        with substrate.exactly():
            known = location_and_scale(build(recipe, numbers))
        found.append(known is not None)
        return None if known is None else known[0]

    program = jax.make_jaxpr(location)(substrate.as_arrays(numbers)).jaxpr
    if not found[0]:
        return None
    (variable,) = program.outvars
    for eqn in reversed(program.eqns):
        if variable is eqn.outvars[0] and eqn.primitive.name == "convert_element_type":
            (variable,) = eqn.invars
    given = program.invars
    return next((i for i, number in enumerate(given) if number is variable), None)
