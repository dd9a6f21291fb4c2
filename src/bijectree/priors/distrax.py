"""The supports of distrax's distributions, by the name of the class."""

from typing import Any

from ..constraints import circular, interval, positive, real, simplex
from ..substrate import tfb
from .composed import _mixture, _mixture_same_family, _support_of
from .lookup import _DISCRETE, _POINT, _POINT_MASS, _distrax_table, _refuse
from .tfp_table import _between

# The package distrax need not be installed. A distribution that TFP has too is a wrapped
# copy of TFP's.


def _mixture_of_two(prior: Any) -> tfb.Bijector:
    return _mixture(prior, [prior._component_a, prior._component_b])


_distrax_table.update(
    {
        "MixtureOfTwo": _mixture_of_two,
        **dict.fromkeys(
            (
                *("Gumbel", "Laplace", "LogStddevNormal", "Logistic", "Normal"),
                *("MultivariateNormalDiag", "MultivariateNormalDiagPlusLowRank"),
                *("MultivariateNormalFromBijector", "MultivariateNormalFullCovariance"),
                "MultivariateNormalTri",
            ),
            lambda prior: real(),
        ),
        "Beta": lambda prior: interval(0.0, 1.0),
        "Dirichlet": lambda prior: simplex(),
        "Gamma": lambda prior: positive(),
        "Uniform": _between("low", "high"),
        "VonMises": lambda prior: circular(),
        "Independent": _support_of("distribution"),
        "MixtureSameFamily": _mixture_same_family,
        **dict.fromkeys(
            (
                *("Bernoulli", "Categorical", "CategoricalUniform", "EpsilonGreedy"),
                *("Greedy", "Multinomial", "OneHotCategorical", "Quantized", "Softmax"),
            ),
            _refuse(_DISCRETE),
        ),
        "Deterministic": _refuse(_POINT),
        **dict.fromkeys(
            ("Clipped", "ClippedLogistic", "ClippedNormal"), _refuse(_POINT_MASS)
        ),
        "Joint": _refuse("it is the prior of several leaves; give each leaf its own"),
    }
)
