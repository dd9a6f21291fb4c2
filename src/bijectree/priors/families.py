"""Location-scale families: distributions of loc + scale·z for a z that neither moves."""

from typing import Any

from .at_free import unwrapped
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
