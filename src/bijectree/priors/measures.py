"""Which of TFP's log-dets are not those of minimal coordinates."""

from typing import Any

from ..constraints import SetTag, support
from ..substrate import all_links, all_parts, tfb

# Bijectors with a log-det in the measure of the space around the set, and what to use.
_EMBEDDED = {
    tfb.SoftmaxCentered: (
        "is in the measure of the space around the simplex (off by a factor of √K)",
        "tfb.IteratedSigmoidCentered, or a Dirichlet or another prior on the simplex",
    ),
    tfb.UnitVector: (
        "is in the measure of the space around the sphere",
        "tfd.SphericalUniform, tfd.VonMisesFisher or tfd.PowerSpherical",
    ),
}


def why_not_minimal(bijector: Any, base: tfb.Bijector) -> str:
    """Why the log-det of a transformed prior is none of minimal coordinates.

    TFP gives the log-det of each bijector by itself. That of `CholeskyOuterProduct`
    counts every entry of a triangle, although the factor of a correlation matrix has
    none free on its diagonal.

    Args:
        bijector: of the transformed distribution, and all that it is made of.
        base: the bijector onto the support of its base.

    Returns:
        Why, and what to use instead; "" if nothing is known against it.
    """
    before = base
    for link in all_links(bijector):
        inverse = type(link) is tfb.Invert
        part = link.bijector if inverse else link
        for inner in all_parts(part):
            if type(inner) in _EMBEDDED:
                fault, instead = _EMBEDDED[type(inner)]
                return f"TFP's log-det of {inner.name} {fault}; use {instead}"
        if type(part) is tfb.CholeskyOuterProduct:
            found = support(before)
            if found.tag is not (
                SetTag.POSITIVE_DEFINITE if inverse else SetTag.TRIANGULAR
            ):
                return (
                    f"TFP's log-det of {part.name} counts the diagonal of the factor, "
                    f"which here has other coordinates ({found.description}); use "
                    "tfd.LKJ for a correlation matrix, tfd.CholeskyLKJ for its factor"
                )
        elif any(type(inner) is tfb.CholeskyOuterProduct for inner in all_parts(part)):
            return (
                f"whether TFP's log-det of the CholeskyOuterProduct within {part.name} "
                "is that of minimal coordinates is not known; write it in a tfb.Chain"
            )
        before = tfb.Chain([link, before])
    return ""
