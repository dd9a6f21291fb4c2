"""The supports of NumPyro's constraints and distributions, by the name of the class."""

import math
from typing import Any

from ..constraints import (
    Range,
    circular,
    corr_cholesky,
    corr_matrix,
    interval_of,
    lower_cholesky,
    ordered_vector,
    positive,
    positive_definite,
    positive_ordered_vector,
    real,
    simplex,
    sphere,
    support,
    zero_sum,
)
from ..substrate import tfb
from .composed import _hull, _mixture, _same_span, _support_of, onto
from .lookup import (
    _CENSORED,
    _DISCRETE,
    _POINT,
    _POINT_MASS,
    _by_support,
    _numpyro_table,
    _refuse,
    _wrong_density,
    bijector_for,
)
from .numpyro_images import image, states_support
from .tfp_table import _above, _between, _number

# The table below has NumPyro's constraints, and those of its distributions for which
# `support` is not enough. It has the names of classes: NumPyro need not be installed.


def _numpyro_zero_sum(constraint: Any) -> tfb.Bijector:
    if constraint.event_dim > 2:
        raise ValueError("zero_sum is known along one axis or two")
    return zero_sum(axis=-1 if constraint.event_dim == 1 else (-2, -1))


def _mixture_general(prior: Any) -> tfb.Bijector:
    """The hull of the components, where their densities are 0 off their own supports.

    NumPyro makes them so if it is given the support and the components do not validate.
    """
    components = prior.component_distributions
    parts = [bijector_for(component) for component in components]
    spans = [interval_of(part) for part in parts]
    hull = _hull(spans)
    if hull is None:
        return _by_support(prior)
    cut = prior._support is not None and all(
        _states_support(component) and not vars(component).get("_validate_args")
        for component in components
    )
    if not cut and not all(_same_span(span, spans[0], None) for span in spans):
        names = ", ".join(support(part).description for part in parts)
        raise _wrong_density(
            prior,
            f"its components have unlike supports ({names}), off which their densities "
            "are not zero; give it support=, with components that state their own and "
            "have no validate_args=True",
        )
    return hull


def _states_support(component: Any) -> bool:
    while type(component).__name__ in ("Independent", "ExpandedDistribution"):
        component = component.base_dist
    return states_support(component)


def _numpyro_transformed(prior: Any) -> tfb.Bijector:
    if states_support(prior):
        return _by_support(prior)
    try:
        base = bijector_for(prior.base_dist)
        return image(list(prior.transforms), base, bijector_for, onto)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{type(prior).__name__}: {error}") from None


_numpyro_table.update(
    {
        **dict.fromkeys(("_Real", "_RealVector", "_RealMatrix"), lambda c: real()),
        **dict.fromkeys(("_Positive", "_Nonnegative"), lambda c: positive()),
        "_SoftplusPositive": lambda c: positive(via="softplus"),
        **dict.fromkeys(("_GreaterThan", "_GreaterThanEq"), _above("lower_bound")),
        **dict.fromkeys(
            ("_LessThan", "_LessThanEq"),
            lambda c: onto(Range(-math.inf, _number(c.upper_bound))),
        ),
        "_Circular": lambda c: circular(),
        **dict.fromkeys(
            ("_Interval", "_OpenInterval", "_UnitInterval"),
            _between("lower_bound", "upper_bound"),
        ),
        "_OrderedVector": lambda c: ordered_vector(),
        "_PositiveOrderedVector": lambda c: positive_ordered_vector(),
        "_Simplex": lambda c: simplex(),
        "_Sphere": lambda c: sphere(),
        "_ZeroSum": _numpyro_zero_sum,
        "_CorrCholesky": lambda c: corr_cholesky(),
        "_CorrMatrix": lambda c: corr_matrix(),
        **dict.fromkeys(
            ("_LowerCholesky", "_SoftplusLowerCholesky", "_ScaledUnitLowerCholesky"),
            lambda c: lower_cholesky(),
        ),
        **dict.fromkeys(
            ("_PositiveDefinite", "_PositiveSemiDefinite"), lambda c: positive_definite()
        ),
        "_IndependentConstraint": _support_of("base_constraint"),
        **dict.fromkeys(
            (
                "_Boolean",
                "_IntegerInterval",
                "_IntegerGreaterThan",
                "_IntegerNonnegative",
            ),
            _refuse(_DISCRETE),
        ),
        **dict.fromkeys(("_IntegerPositive", "_Multinomial"), _refuse(_DISCRETE)),
        "_Complex": _refuse("complex leaves take the identity or bt.frozen"),
        "_L1Ball": _refuse("no smooth map onto an l1 ball is known here"),
        "_PositiveDefiniteCirculantVector": _refuse("no map onto this set is known here"),
        "_Cat": _refuse("its parts differ; give each leaf its own constraint"),
        "_Dependent": _refuse("it depends on parameters; give the distribution itself"),
        "Delta": _refuse(_POINT),
        "Levy": _above("loc"),  # its `support` is lost when JAX takes it apart
        "TransformedDistribution": _numpyro_transformed,
        # The `support` of these is that of the distribution in them, right or wrong.
        **dict.fromkeys(
            ("ExpandedDistribution", "Independent", "MaskedDistribution"),
            _support_of("base_dist"),
        ),
        "MixtureSameFamily": lambda prior: _mixture(
            prior, [prior.component_distribution], -1 - len(prior.event_shape)
        ),
        "MixtureGeneral": _mixture_general,
        **dict.fromkeys(
            ("HurdleGamma", "HurdleLogNormal", "HurdleProbs", "HurdleLogits"),
            _refuse(_POINT_MASS),
        ),
        **dict.fromkeys(
            (
                "IntervalCensoredDistribution",
                "LeftCensoredDistribution",
                "RightCensoredDistribution",
            ),
            _refuse(_CENSORED),
        ),
    }
)
