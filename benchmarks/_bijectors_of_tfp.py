"""One bijector of each of TFP's classes, or several, for `sweep_bijectors`."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from bijectree import tfb

_LOWER = np.array([[1.5, 0.0, 0.0], [0.3, 2.0, 0.0], [-0.4, 0.2, 0.7]], np.float32)
_LU = np.array([[1.5, 0.2, 0.1], [0.3, 2.0, -0.4], [-0.4, 0.2, 0.7]], np.float32)


def _shift_and_log_scale(x: Any, units: int, **_: Any) -> tuple[Any, Any]:
    shift = 0.3 * jnp.sum(x, -1, keepdims=True) * jnp.ones(units, x.dtype)
    return shift, 0.1 * jnp.ones_like(shift)


def _autoregressive(x: Any) -> Any:
    before = jnp.cumsum(x, axis=-1) - x
    return jnp.stack([0.3 * before, 0.1 * jnp.tanh(before)], axis=-1)


# How each class is built; a class that can be built in ways which differ has several.
CASES: dict[str, Callable[[], Any]] = {
    "AbsoluteValue": tfb.AbsoluteValue,
    "Ascending": tfb.Ascending,
    "Blockwise": lambda: tfb.Blockwise([tfb.Exp(), tfb.Softplus()], [1, 2]),
    "Chain of Shift, Exp": lambda: tfb.Chain([tfb.Shift(1.0), tfb.Exp()]),
    "Chain of Exp, Cumsum": lambda: tfb.Chain([tfb.Exp(), tfb.Cumsum()]),
    "Chain of Ascending, IteratedSigmoidCentered": lambda: tfb.Chain(
        [tfb.Ascending(), tfb.IteratedSigmoidCentered()]
    ),
    "Chain of CholeskyOuterProduct, CorrelationCholesky": lambda: tfb.Chain(
        [tfb.CholeskyOuterProduct(), tfb.CorrelationCholesky()]
    ),
    "Chain of CholeskyOuterProduct, FillScaleTriL": lambda: tfb.Chain(
        [tfb.CholeskyOuterProduct(), tfb.FillScaleTriL()]
    ),
    "Chain of CholeskyToInvCholesky, FillScaleTriL": lambda: tfb.Chain(
        [tfb.CholeskyToInvCholesky(), tfb.FillScaleTriL()]
    ),
    "Chain of MatrixInverseTriL, FillScaleTriL": lambda: tfb.Chain(
        [tfb.MatrixInverseTriL(), tfb.FillScaleTriL()]
    ),
    "CholeskyOuterProduct": tfb.CholeskyOuterProduct,
    "CholeskyToInvCholesky": tfb.CholeskyToInvCholesky,
    "CorrelationCholesky": tfb.CorrelationCholesky,
    "Cumsum": tfb.Cumsum,
    "Cumsum along -2": lambda: tfb.Cumsum(axis=-2),
    "Exp": tfb.Exp,
    "Expm1": tfb.Expm1,
    "FFJORD": lambda: tfb.FFJORD(lambda t, x: -0.5 * x),
    "FillScaleTriL": tfb.FillScaleTriL,
    "FillScaleTriL with Exp": lambda: tfb.FillScaleTriL(tfb.Exp(), None),
    "FillTriangular": tfb.FillTriangular,
    "FillTriangular, upper": lambda: tfb.FillTriangular(upper=True),
    "FrechetCDF": lambda: tfb.FrechetCDF(0.5, 1.0, 1.0),
    "GeneralizedExtremeValueCDF": lambda: tfb.GeneralizedExtremeValueCDF(0.1, 1.0, 0.3),
    "GeneralizedPareto": lambda: tfb.GeneralizedPareto(0.1, 1.0, 0.3),
    "GeneralizedPareto, bounded": lambda: tfb.GeneralizedPareto(0.1, 1.0, -0.3),
    "GompertzCDF": lambda: tfb.GompertzCDF(1.0, 1.0),
    "GumbelCDF": tfb.GumbelCDF,
    "Householder": lambda: tfb.Householder(np.array([0.6, 0.8, 0.0], np.float32)),
    "Identity": tfb.Identity,
    "Inline, exp": lambda: tfb.Inline(
        forward_fn=jnp.exp,
        inverse_fn=jnp.log,
        inverse_log_det_jacobian_fn=lambda y: -jnp.log(y),
        forward_min_event_ndims=0,
    ),
    "Inline, square": lambda: tfb.Inline(
        forward_fn=jnp.square,
        inverse_fn=jnp.sqrt,
        inverse_log_det_jacobian_fn=lambda y: -jnp.log(2.0) - 0.5 * jnp.log(y),
        forward_min_event_ndims=0,
    ),
    "Inline, wrong log-det": lambda: tfb.Inline(
        forward_fn=jnp.exp,
        inverse_fn=jnp.log,
        inverse_log_det_jacobian_fn=lambda y: -2.0 * jnp.log(y),
        forward_min_event_ndims=0,
    ),
    "IteratedSigmoidCentered": tfb.IteratedSigmoidCentered,
    "JointMap": lambda: tfb.JointMap([tfb.Exp(), tfb.Exp()]),
    "KumaraswamyCDF": lambda: tfb.KumaraswamyCDF(1.0, 1.0),
    "LambertWTail": lambda: tfb.LambertWTail(0.1, 1.0, 0.2),
    "Log": tfb.Log,
    "Log1p": tfb.Log1p,
    "MaskedAutoregressiveFlow": lambda: tfb.MaskedAutoregressiveFlow(_autoregressive),
    "MatrixInverseTriL": tfb.MatrixInverseTriL,
    "MoyalCDF": tfb.MoyalCDF,
    "NormalCDF": tfb.NormalCDF,
    "Pad": lambda: tfb.Pad(((0, 1),)),
    "Permute": lambda: tfb.Permute([2, 0, 1]),
    "Power": lambda: tfb.Power(2.0),
    "Power, odd": lambda: tfb.Power(3.0),
    "PowerTransform": tfb.PowerTransform,
    "PowerTransform, 0.5": lambda: tfb.PowerTransform(0.5),
    "RationalQuadraticSpline": lambda: tfb.RationalQuadraticSpline(
        np.float32([1.0, 1.0]), np.float32([0.5, 1.5]), np.float32([0.7])
    ),
    "RayleighCDF": tfb.RayleighCDF,
    "RealNVP": lambda: tfb.RealNVP(1, shift_and_log_scale_fn=_shift_and_log_scale),
    "Reciprocal": tfb.Reciprocal,
    "Reshape": lambda: tfb.Reshape([3, 3], [9]),
    "Restructure": lambda: tfb.Restructure({"a": 0}, [0]),
    "Scale": lambda: tfb.Scale(2.0),
    "Scale, negative": lambda: tfb.Scale(-2.0),
    "Scale, zero": lambda: tfb.Scale(0.0),
    "Scale of three": lambda: tfb.Scale(np.float32([1.0, 2.0, 3.0])),
    "ScaleMatvecDiag": lambda: tfb.ScaleMatvecDiag(np.float32([1.0, 2.0, -3.0])),
    "ScaleMatvecLU": lambda: tfb.ScaleMatvecLU(_LU, [2, 0, 1]),
    "ScaleMatvecTriL": lambda: tfb.ScaleMatvecTriL(_LOWER),
    "ScaleMatvecTriL, singular": lambda: tfb.ScaleMatvecTriL(
        _LOWER * np.float32([1.0, 0.0, 1.0])[:, None]
    ),
    "Shift": lambda: tfb.Shift(1.5),
    "Shift of three": lambda: tfb.Shift(np.float32([1.0, 2.0, 3.0])),
    "ShiftedGompertzCDF": lambda: tfb.ShiftedGompertzCDF(1.0, 1.0),
    "Sigmoid": tfb.Sigmoid,
    "Sigmoid with bounds": lambda: tfb.Sigmoid(-1.0, 2.5),
    "Sinh": tfb.Sinh,
    "SinhArcsinh": lambda: tfb.SinhArcsinh(0.3, 1.2),
    "SoftClip": lambda: tfb.SoftClip(-1.0, 2.0),
    "Softfloor": lambda: tfb.Softfloor(0.7),
    "SoftmaxCentered": tfb.SoftmaxCentered,
    "Softplus": tfb.Softplus,
    "Softplus with softness and low": lambda: tfb.Softplus(0.5, low=1e-3),
    "Softsign": tfb.Softsign,
    "Split": lambda: tfb.Split(3),
    "Square": tfb.Square,
    "Tanh": tfb.Tanh,
    "TransformDiagonal": lambda: tfb.TransformDiagonal(tfb.Exp()),
    "Transpose": lambda: tfb.Transpose(rightmost_transposed_ndims=2),
    "UnitVector": tfb.UnitVector,
    "WeibullCDF": lambda: tfb.WeibullCDF(1.0, 1.5),
}
