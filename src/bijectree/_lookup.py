"""From the support of a prior, or from a constraint, to the bijector onto it."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ._measures import other_measure
from ._numpyro import image, states_support
from .constraints import (
    Elementwise,
    Range,
    circular,
    corr_cholesky,
    corr_matrix,
    greater_than,
    interval,
    interval_of,
    less_than,
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
from .substrate import tfb, tfd

_table: dict[type, Callable[[Any], tfb.Bijector]] = {}


# NumPyro's classes, by their names: NumPyro itself need not be installed.
_numpyro_table: dict[str, Callable[[Any], tfb.Bijector]] = {}


def register(cls: type, make: Callable[[Any], tfb.Bijector]) -> None:
    """Say which bijector goes with a class of distributions or constraints.

    Subclasses follow, unless they are registered themselves. A later call for the same
    class wins; it also replaces what is built in.

    Args:
        cls: a class of distributions or constraints, of any package.
        make: from an instance to the bijector onto its support.

    Example:
        >>> import bijectree as bt
        >>> class Percentage:
        ...     pass
        >>> bt.register(Percentage, lambda constraint: bt.interval(0.0, 100.0))
        >>> bt.support(bt.bijector_for(Percentage())).description
        'numbers between 0 and 100'
    """
    _table[cls] = make


def bijector_for(prior: Any) -> tfb.Bijector:
    """The bijector onto the support of a distribution, or onto a constraint.

    Knows TFP's distributions with a continuous support, NumPyro's distributions and
    constraints, and what `register` was told. The maps are this package's (Stan's), not
    TFP's defaults, several of which miss part of the support.

    Args:
        prior: a distribution or a constraint. Its parameters may be traced.

    Returns:
        A bijector from free coordinates onto the support. For a mixture, onto the
        smallest interval that holds all components.

    Raises:
        ValueError: the support has no smooth chart (it is discrete, or a point), or it
            is not known; the message says which.
        TypeError: `prior` is not a distribution or a constraint.

    Example:
        >>> import bijectree as bt
        >>> bt.support(bt.bijector_for(bt.tfd.HalfCauchy(1.0, 2.0))).description
        'numbers greater than 1'
    """
    if inspect.isclass(prior) or isinstance(prior, tfb.Bijector):
        raise TypeError(f"a distribution or a constraint is needed, got {prior!r}")
    for cls in type(prior).__mro__:
        if cls in _table:
            return _table[cls](prior)
        if cls.__module__.split(".")[0] == "numpyro" and cls.__name__ in _numpyro_table:
            return _numpyro_table[cls.__name__](prior)
    if isinstance(prior, tfd.Distribution):
        return _default(prior)
    if _read(prior, "is_discrete") is True:
        raise _without_chart(prior, _DISCRETE)
    if hasattr(type(prior), "support") or _read(prior, "support") is not None:
        return _by_support(prior)  # NumPyro's distributions, and others like them
    raise TypeError(f"a distribution or a constraint is needed, got {prior!r}")


def _read(prior: Any, attribute: str) -> Any:
    """An attribute; `None` where it fails, as NumPyro's do without words."""
    try:
        return getattr(prior, attribute, None)
    except (AssertionError, NotImplementedError):
        return None


def _by_support(prior: Any) -> tfb.Bijector:
    """From the constraint that a distribution gives as its support."""
    found = _read(prior, "support")
    if found is None:
        raise _without_chart(prior, _UNKNOWN)
    try:
        return bijector_for(found)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{type(prior).__name__}: {error}") from None


_DISCRETE = (
    "its support is discrete, and no smooth map leads from real coordinates to it; "
    "sum it out of the model or freeze the leaf (bt.frozen)"
)


_UNKNOWN = "its support is not known; say what it is with bt.register"


_POINT = "it allows a single value; freeze the leaf (bt.frozen)"


_POINT_MASS = "it gives single values positive probability, so it has no density"


class NoDensityError(ValueError):
    """A distribution has no density over a continuous leaf, or gives another one."""


def without_density(prior: Any) -> str:
    """Why `log_prob` is no density over a continuous leaf; "" if it is, or may be."""
    try:
        bijector_for(prior)
    except NoDensityError as error:
        return str(error)
    except (TypeError, ValueError):
        return ""
    return ""


def _without_chart(prior: Any, why: str) -> ValueError:
    none = why in (_DISCRETE, _POINT, _POINT_MASS)
    error = NoDensityError if none else ValueError
    return error(f"no bijector for {_name(prior)}: {why}")


def _wrong_density(prior: Any, why: str) -> NoDensityError:
    return NoDensityError(f"the density of {_name(prior)} would be wrong: {why}")


def _name(prior: Any) -> str:
    return getattr(prior, "name", None) or type(prior).__name__.lstrip("_")


def _refuse(why: str) -> Callable[[Any], tfb.Bijector]:
    def make(prior: Any) -> tfb.Bijector:
        raise _without_chart(prior, why)

    return make


def _default(prior: Any) -> tfb.Bijector:
    """What TFP proposes for a distribution that is not in the table."""
    if not _continuous(prior):
        raise _without_chart(prior, _DISCRETE)
    try:
        bijector = prior.experimental_default_event_space_bijector()
    except NotImplementedError:
        bijector = None
    if bijector is None:
        raise _without_chart(prior, _UNKNOWN)
    return bijector


def _continuous(prior: Any) -> bool:
    dtypes = jax.tree.leaves(prior.dtype)
    return bool(dtypes) and all(jnp.issubdtype(d, jnp.inexact) for d in dtypes)


# Distributions made of others.


def _same(attribute: str) -> Callable[[Any], tfb.Bijector]:
    return lambda prior: bijector_for(getattr(prior, attribute))


def _map_bounds(bijector: tfb.Bijector, change: Callable) -> tfb.Bijector:
    """Apply `change` to the bounds that are arrays; scalars fit any shape."""
    arrays = [leaf for leaf in jax.tree.leaves(bijector) if np.ndim(leaf)]
    if not arrays:
        return bijector
    if not isinstance(bijector, Elementwise):
        raise ValueError(f"{bijector.name} with array parameters cannot be reshaped")
    return jax.tree.map(lambda leaf: change(leaf) if np.ndim(leaf) else leaf, bijector)


def _sample(prior: Any) -> tfb.Bijector:
    """Bounds have the batch's axes, which come before those of the sample."""
    extra = len(np.ravel(prior.sample_shape))
    events = len(prior.distribution.event_shape)

    def change(bound: Any) -> Any:
        place = np.ndim(bound) - events
        return bound.reshape(*bound.shape[:place], *[1] * extra, *bound.shape[place:])

    return _map_bounds(bijector_for(prior.distribution), change)


def _batch_reshape(prior: Any) -> tfb.Bijector:
    inner = prior.distribution
    events = tuple(inner.event_shape)

    def change(bound: Any) -> Any:
        whole = jnp.broadcast_to(bound, (*inner.batch_shape, *events))
        return whole.reshape(*prior.batch_shape, *events)

    return _map_bounds(bijector_for(inner), change)


def onto(span: Range) -> tfb.Bijector:
    """The bijector onto an open interval."""
    if span.everything:
        return real()
    if span.is_to(math.inf):
        return positive() if span.is_from(0) else _half_line(greater_than, span.lower)
    if span.is_from(-math.inf):
        return _half_line(less_than, span.upper)
    return interval(span.lower, span.upper)


def _half_line(make: Callable, bound: Any) -> tfb.Bijector:
    known = not isinstance(bound, Tracer)
    if known and not np.all(np.isfinite(bound)):
        return interval(
            *((bound, math.inf) if make is greater_than else (-math.inf, bound))
        )
    return make(bound)


def _hull(spans: list[Range | None], axis: int | None = None) -> tfb.Bijector | None:
    """The bijector onto the smallest interval that holds several, elementwise.

    With an axis, those along it are held too, where the bounds have that axis.
    """
    if any(span is None for span in spans):
        return None
    ends = []
    for attribute, pick in (("lower", "min"), ("upper", "max")):
        bounds = [getattr(span, attribute) for span in spans]
        xp = jnp if any(isinstance(b, Tracer) for b in bounds) else np
        if axis is not None:
            reduce = getattr(xp, pick)
            bounds = [reduce(b, axis=axis) if np.ndim(b) >= -axis else b for b in bounds]
        end = bounds[0]
        for bound in bounds[1:]:
            end = getattr(xp, pick + "imum")(end, bound)
        ends.append(end)
    return onto(Range(*ends))


def _mixture(prior: Any, components: list[Any], axis: int | None = None) -> tfb.Bijector:
    parts = [bijector_for(component) for component in components]
    spans = [interval_of(part) for part in parts]
    hull = _hull(spans, axis)
    names = ", ".join(support(part).description for part in parts)
    if hull is not None:
        alike = all(_alike(span, spans[0], axis) for span in spans)
        if not alike and not all(_zero_outside(component) for component in components):
            raise _wrong_density(
                prior,
                f"its components have unlike supports ({names}), and not all of their "
                "densities are zero outside of their own. Where TFP's distribution has "
                "force_probs_to_zero_outside_support, set it; or use components of one "
                "support",
            )
        return hull
    if all(part == parts[0] for part in parts[1:]):
        return parts[0]
    raise ValueError(f"the components of a mixture have unlike supports: {names}")


def _alike(span: Range | None, first: Range | None, axis: int | None) -> bool:
    """Whether two intervals are known to be the same, and all of them along an axis."""
    assert span is not None
    assert first is not None
    for a, b in ((span.lower, first.lower), (span.upper, first.upper)):
        if a is b and (axis is None or np.ndim(a) < -axis):
            continue
        if isinstance(a, Tracer) or isinstance(b, Tracer):
            return False
        if axis is not None and np.ndim(a) >= -axis:
            b = np.take(b, [0], axis=axis)
        if not np.all(a == b):
            return False
    return True


# Their log-density is −∞ off the support; that of others is often a number there.
_ZERO_OUTSIDE = {
    *("Bates", "ContinuousBernoulli", "HalfCauchy", "HalfNormal", "HalfStudentT"),
    *("Pareto", "Triangular", "TruncatedCauchy", "TruncatedNormal", "Uniform"),
}


def _zero_outside(component: Any) -> bool:
    while type(component) in (tfd.Independent, tfd.BatchBroadcast, tfd.Sample):
        component = component.distribution
    if type(component) in (getattr(tfd, name, None) for name in _ZERO_OUTSIDE):
        return True
    span = interval_of(bijector_for(component))
    forced = getattr(component, "force_probs_to_zero_outside_support", False)
    return bool(forced) or (span is not None and span.everything)


def _mixture_same_family(prior: Any) -> tfb.Bijector:
    """The components are the last axis of the batch."""
    components = prior.components_distribution
    return _mixture(prior, [components], -1 - len(components.event_shape))


def _transformed(prior: Any) -> tfb.Bijector:
    base = bijector_for(prior.distribution)
    why = other_measure(prior.bijector, base)
    if why:
        raise _wrong_density(prior, why)
    chain = tfb.Chain([prior.bijector, base])
    span = interval_of(chain)
    if span is not None:
        return onto(span)
    words = support(chain).description
    if words in _BY_WORDS:
        return _BY_WORDS[words]()
    _same_measure(prior)
    return chain


def _same_measure(prior: Any) -> None:
    """See that TFP's density of a scaled set is one over minimal coordinates.

    Raises:
        ValueError: it counts all entries, as it does of all sets but a simplex.
    """
    base = support(bijector_for(prior.distribution))
    simplex = base.description.startswith("positive parts that sum to 1")
    moved = type(prior.bijector) in (tfb.Identity, tfb.Shift)
    scaled = not moved and prior.bijector.forward_min_event_ndims == 0
    if scaled and base.event_ndims and not base._solid and not simplex:
        raise ValueError(
            f"TransformedDistribution: TFP's log-det of {prior.bijector.name} over "
            f"{base.description} counts every entry, not the free coordinates; give a "
            "prior for the value before it, as a callable"
        )


# The sets that TFP maps onto in another measure, or less exactly.
_BY_WORDS = {
    support(make()).description: make
    for make in (
        *(ordered_vector, simplex, sphere, corr_cholesky, corr_matrix),
        *(lower_cholesky, positive_definite),
    )
}


# TFP's distributions.


def _between(lower: str, upper: str) -> Callable[[Any], tfb.Bijector]:
    def make(prior: Any) -> tfb.Bijector:
        return onto(Range(_number(getattr(prior, lower)), _number(getattr(prior, upper))))

    return make


def _above(bound: str) -> Callable[[Any], tfb.Bijector]:
    return lambda prior: onto(Range(_number(getattr(prior, bound)), math.inf))


def _number(value: Any) -> Any:
    """An array in float64, as bounds are held, unless it is traced."""
    traced = isinstance(value, Tracer)
    return value if traced else np.asarray(value).astype(np.float64)


def _extreme_value(prior: Any) -> tfb.Bijector:
    """X > loc − scale/c for c > 0, below it for c < 0."""
    loc, scale, c = (_number(n) for n in (prior.loc, prior.scale, prior.concentration))
    end = loc - scale / jnp.where(c == 0, 1, c)
    lower, upper = jnp.where(c > 0, end, -math.inf), jnp.where(c < 0, end, math.inf)
    return onto(Range(_number(lower), _number(upper)))


def _generalized_pareto(prior: Any) -> tfb.Bijector:
    """X > loc, and below loc − scale/c for c < 0."""
    loc, scale, c = (_number(n) for n in (prior.loc, prior.scale, prior.concentration))
    end = loc - scale / jnp.where(c == 0, 1, c)
    return onto(Range(_number(loc + 0 * end), _number(jnp.where(c < 0, end, math.inf))))


def _matrix(make: Callable, instead: str) -> Callable[[Any], tfb.Bijector]:
    """A distribution of matrices, which may take and give their factors."""

    def maker(prior: Any) -> tfb.Bijector:
        if prior.input_output_cholesky:
            raise _wrong_density(
                prior,
                "with input_output_cholesky=True, log_prob takes a factor L but is the "
                f"density of the matrix L Lᵀ, without the Jacobian between; {instead}",
            )
        return make()

    return maker


def _group(make: Callable, names: str) -> None:
    """Register TFP's classes by name; an older TFP may lack one."""
    for name in names.split():
        if hasattr(tfd, name):
            _table[getattr(tfd, name)] = make


_group(
    lambda prior: real(),
    """Cauchy DoublesidedMaxwell ExpGamma ExpInverseGamma ExponentiallyModifiedGaussian
    GaussianProcess GaussianProcessRegressionModel GeneralizedNormal Gumbel Horseshoe
    JohnsonSU LambertWNormal Laplace LinearGaussianStateSpaceModel Logistic
    MatrixNormalLinearOperator MatrixTLinearOperator Moyal MultivariateNormalDiag
    MultivariateNormalDiagPlusLowRank MultivariateNormalDiagPlusLowRankCovariance
    MultivariateNormalFullCovariance MultivariateNormalLinearOperator
    MultivariateNormalTriL MultivariateStudentTLinearOperator Normal
    NormalInverseGaussian SigmoidBeta SinhArcsinh StudentT StudentTProcess
    StudentTProcessRegressionModel TwoPieceNormal TwoPieceStudentT
    VariationalGaussianProcess""",
)


_group(
    lambda prior: positive(),
    """BetaQuotient Chi Chi2 Exponential Gamma GammaGamma HalfNormal InverseGamma
    InverseGaussian LogLogistic LogNormal NoncentralChi2 Weibull""",
)


_group(
    lambda prior: interval(0.0, 1.0),
    "Beta ContinuousBernoulli Kumaraswamy LogitNormal RelaxedBernoulli",
)


_group(
    _between("low", "high"),
    "Bates PERT Triangular TruncatedCauchy TruncatedNormal Uniform",
)


_group(_above("loc"), "HalfCauchy HalfStudentT")


_group(_above("scale"), "Pareto")


_group(_extreme_value, "GeneralizedExtremeValue")


_group(_generalized_pareto, "GeneralizedPareto")


_group(
    lambda prior: simplex(),
    "Dirichlet FlatDirichlet RelaxedOneHotCategorical",
)


_group(
    _matrix(corr_matrix, "use tfd.CholeskyLKJ, which is the density of the factor"),
    "LKJ",
)


_group(lambda prior: corr_cholesky(), "CholeskyLKJ")


_group(
    _matrix(
        positive_definite,
        "leave it False, and let the leaf be the matrix rather than its factor",
    ),
    "WishartLinearOperator WishartTriL",
)


_group(lambda prior: circular(), "VonMises")


_group(lambda prior: sphere(), "PowerSpherical SphericalUniform VonMisesFisher")


_group(_same("distribution"), "BatchBroadcast Independent Masked")


_group(_sample, "Sample")


_group(_batch_reshape, "BatchReshape")


_group(_mixture_same_family, "MixtureSameFamily")


_group(lambda prior: _mixture(prior, list(prior.components)), "Mixture")


_group(_transformed, "TransformedDistribution LambertWDistribution")


_group(_refuse(_POINT), "Deterministic VectorDeterministic")


_group(_refuse(_POINT_MASS), "Inflated Empirical")


_group(
    _refuse(
        "its values are logarithms of parts that sum to 1; give the parts a prior "
        "instead (RelaxedOneHotCategorical)"
    ),
    "ExpRelaxedOneHotCategorical",
)


_group(
    _refuse("it is the prior of several leaves; give each leaf its own"),
    """Blockwise JointDistribution JointDistributionCoroutine
    JointDistributionCoroutineAutoBatched JointDistributionNamed
    JointDistributionNamedAutoBatched JointDistributionSequential
    JointDistributionSequentialAutoBatched""",
)


_group(
    _refuse(_DISCRETE),
    """Bernoulli BetaBinomial Binomial Categorical DeterminantalPointProcess
    DirichletMultinomial FiniteDiscrete Geometric Multinomial NegativeBinomial
    OneHotCategorical OrderedLogistic PlackettLuce Poisson
    PoissonLogNormalQuadratureCompound ProbitBernoulli QuantizedDistribution Skellam
    StoppingRatioLogistic ZeroInflatedNegativeBinomial Zipf""",
)


# NumPyro's constraints, and those of its distributions whose `support` does not say it
# all, by the name of the class: NumPyro itself need not be installed.


def _numpyro_zero_sum(constraint: Any) -> tfb.Bijector:
    if constraint.event_dim > 2:
        raise ValueError("zero_sum is known along one axis or two")
    return zero_sum(axis=-1 if constraint.event_dim == 1 else (-2, -1))


def _mixture_general(prior: Any) -> tfb.Bijector:
    """NumPyro cuts components off where the support is given; not if they are checked."""
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
    if not cut and not all(_alike(span, spans[0], None) for span in spans):
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
        "_IndependentConstraint": _same("base_constraint"),
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
        # Their `support` is what the distribution in them says, which need not be right.
        **dict.fromkeys(
            ("ExpandedDistribution", "Independent", "MaskedDistribution"),
            _same("base_dist"),
        ),
        "MixtureSameFamily": lambda prior: _mixture(
            prior, [prior.component_distribution], -1 - len(prior.event_shape)
        ),
        "MixtureGeneral": _mixture_general,
        **dict.fromkeys(
            ("HurdleGamma", "HurdleLogNormal", "HurdleProbs", "HurdleLogits"),
            _refuse(_POINT_MASS),
        ),
    }
)
