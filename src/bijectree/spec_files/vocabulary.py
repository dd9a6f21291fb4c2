"""The names of bijectors in files: a fixed list, so that a file can name no other."""

import inspect
from collections.abc import Callable
from typing import Any

from .. import constraints
from ..substrate import tfb
from .fitted_maps import flow, low_rank_affine

# Functions of this package, by their public names.
OURS: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(constraints, name)
        for name in """
        affine circular corr_cholesky corr_matrix greater_than interval less_than
        lower_cholesky ordered_vector positive positive_definite positive_ordered_vector
        real simplex sinh_arcsinh sphere unit_interval zero_sum
        """.split()
    },
    "flow": flow,
    "low_rank_affine": low_rank_affine,
}

# TFP's classes that are made of numbers, words, functions and one another, and that keep
# what they were made of. An older TFP may lack one.
TFP: dict[str, type] = {
    f"tfb.{name}": getattr(tfb, name)
    for name in """
    Ascending Blockwise Chain CholeskyOuterProduct CholeskyToInvCholesky
    CorrelationCholesky Cumsum Exp Expm1 FillScaleTriL FillTriangular FrechetCDF
    GeneralizedExtremeValueCDF GeneralizedPareto GompertzCDF GumbelCDF Householder
    Identity Inline Invert IteratedSigmoidCentered JointMap KumaraswamyCDF Log Log1p
    MatrixInverseTriL MatvecLU MoyalCDF NormalCDF Pad Permute Power PowerTransform
    RationalQuadraticSpline RayleighCDF Reciprocal Reshape Scale ScaleMatvecDiag
    ScaleMatvecLU ScaleMatvecTriL Shift ShiftedGompertzCDF Sigmoid Sinh SinhArcsinh
    SoftClip Softfloor SoftmaxCentered Softplus Softsign Split Square Tanh
    TransformDiagonal Transpose UnitVector WeibullCDF
    """.split()
    if hasattr(tfb, name)
}
_NAMES = {cls: name for name, cls in TFP.items()}
_PACKAGE = __name__.partition(".")[0] + "."


def name_of(bijector: Any) -> str | None:
    """The name of a bijector in a file, `None` if it is not in the lists."""
    cls = type(bijector)
    if not cls.__module__.startswith(_PACKAGE):
        return _NAMES.get(cls)
    # A subclass of TFP's class, of which `substrate` can cast all numbers.
    if cls.__base__ in _NAMES:
        return _NAMES[cls.__base__]
    return bijector.name if bijector.name in OURS else None


def made_with(bijector: Any, make: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    """What a bijector was made with: name, value and default of each argument.

    Args:
        bijector: one that keeps its arguments, as TFP's bijectors do.
        make: the function or class that makes such bijectors.
    """
    given = dict(bijector.parameters)
    if bijector.name == "zero_sum" and make is OURS["zero_sum"]:
        given.setdefault("axis", (-2, -1))  # of matrices, by a class of its own
    parameters = parameters_of(make)
    return [
        (name, given[name], parameter.default)
        for name, parameter in parameters.items()
        if name in given
    ]


def parameters_of(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a function, or of a class (TFP's metaclass hides its own)."""
    if not isinstance(make, type):
        return dict(inspect.signature(make).parameters)
    _, *parameters = inspect.signature(make.__init__).parameters.items()
    return dict(parameters)
