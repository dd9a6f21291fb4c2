"""Priors that are not in the table of facts: right, or refused with the path and why.

What is held here to a number is held to an integral or a formula of its own.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as nd
import pytest
import scipy.stats as st

import bijectree as bt
from bijectree import tfb, tfd
from bijectree.priors import bijector_for, split, why_wrong

pytestmark = [
    pytest.mark.jax_defaults,  # TFP and NumPyro promote dtypes and ranks themselves
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning"),
    pytest.mark.filterwarnings("ignore:shape requires ndarray:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:AbsTransform is not a bijective:UserWarning"),
    pytest.mark.filterwarnings("ignore:You have created an Inflated:UserWarning"),
]

_t = nd.transforms
_ONE, _TWO = np.ones(1, np.float32), np.ones(2, np.float32)
_PARTS = np.float32([0.7, 1.5, 2.5])


def _tfp(base, *bijectors):
    """A distribution of TFP, transformed by each bijector in turn."""
    for bijector in bijectors:
        base = tfd.TransformedDistribution(base, bijector)
    return base


def _numpyro(base, *transforms):
    return nd.TransformedDistribution(base, list(transforms))


def _shape(prior):
    return (*prior.batch_shape, *prior.event_shape)


def _refused(prior, message, spec=None):
    """A Posterior and a spec of this prior are refused, and the path is named."""
    model = {"a": jnp.zeros(()), "x": jax.ShapeDtypeStruct(_shape(prior), jnp.float32)}
    priors = {"a": tfd.Normal(0.0, 1.0), "x": prior}
    with pytest.raises(ValueError, match=f"(?s)at 'x': .*{message}"):
        bt.Posterior(bt.Reparam(model, {"a": None, "x": spec}), None, priors)
    if spec is None:
        with pytest.raises(ValueError, match=f"(?s)at 'x': .*{message}"):
            bt.spec_from_prior(model, priors)


def _mass(prior):
    """What an accepted prior of one free coordinate integrates to, over that."""
    with jax.enable_x64(True):
        model = {"x": jax.ShapeDtypeStruct(_shape(prior), jnp.float64)}
        spec = bt.spec_from_prior(model, {"x": prior})
        flat = bt.Posterior(bt.Reparam(model, spec), None, {"x": prior}).flat()
        assert flat.dim == 1
        t = np.linspace(-6.0, 6.0, 4000)
        values = jax.jit(jax.vmap(flat.log_density))(jnp.sinh(t)[:, None])
        density = np.exp(np.nan_to_num(np.asarray(values), nan=-np.inf)) * np.cosh(t)
        return np.sum(density) * (t[1] - t[0])


# Even maps of what may have either sign: two values have one image.

EVEN = {
    "absolute": lambda: _tfp(tfd.Normal(0.5, 1.0), tfb.AbsoluteValue()),
    "laplace": lambda: _tfp(tfd.Laplace(1.0, 1.0), tfb.Square()),
    "numpyro_absolute": lambda: _numpyro(nd.Normal(0.5, 1.0), _t.AbsTransform()),
    "numpyro_power": lambda: _numpyro(nd.Normal(0.5, 1.0), _t.PowerTransform(2.0)),
    "numpyro_student": lambda: _numpyro(nd.StudentT(4.0), _t.PowerTransform(4.0)),
    "power": lambda: _tfp(tfd.Normal(0.5, 1.0), tfb.Power(4.0)),
    "second": lambda: _tfp(tfd.LogNormal(0.0, 1.0), tfb.Log(), tfb.Square()),
    "shifted": lambda: _tfp(
        tfd.Gamma(2.0, 1.0), tfb.Chain([tfb.Square(), tfb.Shift(-1.0)])
    ),
    "square": lambda: _tfp(tfd.Normal(0.5, 1.0), tfb.Square()),
    "uniform": lambda: _tfp(tfd.Uniform(-1.0, 2.0), tfb.Square()),
}


@pytest.mark.parametrize("name", EVEN)
def test_an_even_map_of_either_sign_is_refused(name):
    _refused(EVEN[name](), "takes|not known|not injective|integrates to|NaN|Error")


ONE_SIDED = {
    "beta": lambda: _tfp(tfd.Beta(2.0, 3.0), tfb.Power(4.0)),
    "gamma": lambda: _tfp(tfd.Gamma(2.0, 1.0), tfb.Square()),
    "half_normal": lambda: _tfp(tfd.HalfNormal(1.0), tfb.Square()),
    "numpyro": lambda: _numpyro(nd.HalfNormal(1.0), _t.PowerTransform(2.0)),
    "odd": lambda: _tfp(tfd.Normal(0.5, 1.0), tfb.Sinh()),
    "uniform": lambda: _tfp(tfd.Uniform(0.5, 2.0), tfb.Square()),
}


@pytest.mark.parametrize("name", ONE_SIDED)
def test_an_even_map_of_one_sign_integrates_to_one(name):
    np.testing.assert_allclose(_mass(ONE_SIDED[name]()), 1.0, atol=1e-3)


# Sets of fewer dimensions than entries, moved.

MOVED = {
    "cumulated": lambda: _tfp(tfd.Dirichlet(_PARTS), tfb.Cumsum()),
    "diagonal": lambda: _tfp(tfd.CholeskyLKJ(3, 2.0), tfb.TransformDiagonal(tfb.Exp())),
    "diagonal_scaled": lambda: _tfp(
        tfd.CholeskyLKJ(3, 2.0), tfb.TransformDiagonal(tfb.Scale(2.0))
    ),
    "matrix": lambda: _tfp(tfd.WishartTriL(4.0, np.eye(2, dtype="f")), tfb.Scale(2.0)),
    "matrix_inverse": lambda: _tfp(tfd.CholeskyLKJ(3, 2.0), tfb.CholeskyToInvCholesky()),
    "numpyro_affine": lambda: _numpyro(
        nd.Dirichlet(jnp.asarray(_PARTS)), _t.AffineTransform(0.0, 2.0)
    ),
    "numpyro_exp": lambda: _numpyro(nd.Dirichlet(jnp.asarray(_PARTS)), _t.ExpTransform()),
    "numpyro_matrix": lambda: _numpyro(
        nd.LKJCholesky(3, 2.0), _t.AffineTransform(0.0, 2.0)
    ),
    "powers": lambda: _tfp(tfd.Dirichlet(_PARTS), tfb.Power(3.0)),
    "reflected": lambda: _tfp(
        tfd.Dirichlet(_PARTS), tfb.Chain([tfb.Cumsum(), tfb.Permute([1, 0, 2])])
    ),
    "scales": lambda: _tfp(tfd.Dirichlet(_PARTS), tfb.Scale(np.float32([1.0, 2.0, 3.0]))),
    "twice": lambda: _tfp(tfd.Dirichlet(_PARTS), tfb.Scale(2.0), tfb.Scale(3.0)),
    "within": lambda: tfd.Sample(_tfp(tfd.Dirichlet(_PARTS), tfb.Cumsum()), 2),
}


QUICK = ["numpyro_affine", "numpyro_exp", "powers", "scales", "twice"]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in MOVED],
)
def test_a_set_that_is_moved_entry_by_entry_is_refused(name):
    message = "times that in minimal|fewer free coordinates|not known here|maps"
    _refused(MOVED[name](), message, None if name in QUICK else bt.real())


def test_by_how_much_a_moved_set_is_off_is_said_rightly():
    # Cumulated parts have a Jacobian of 1 among the first K − 1, TFP counts √3 of it
    # less; each scale of three entries counts once too often.
    real = bt.real()
    _refused(MOVED["cumulated"](), "it is 1.732 times that in minimal coordinates", real)
    _refused(MOVED["twice"](), "it is 0.5774 times that in minimal coordinates", real)


# Supports that are wider than the bijector or the class says.

WIDER = {
    "inverse_gamma": lambda: tfd.SinhArcsinh(
        0.0, 1.0, 0.3, 0.8, distribution=tfd.InverseGamma(3.0, 1.0)
    ),
    "exponential": lambda: tfd.SinhArcsinh(
        0.1, 1.5, 0.3, 0.8, distribution=tfd.Exponential(1.0)
    ),
    "gamma": lambda: tfd.SinhArcsinh(
        0.0, 1.0, 0.0, 1.5, distribution=tfd.Gamma(2.0, 1.0)
    ),
    "half_normal": lambda: tfd.SinhArcsinh(
        -0.3, 2.0, 0.2, 0.5, distribution=tfd.HalfNormal(1.0)
    ),
    "logistic": lambda: tfd.SinhArcsinh(
        0.0, 1.0, 0.4, 1.1, distribution=tfd.Logistic(0.0, 1.0)
    ),
    "uniform": lambda: tfd.SinhArcsinh(
        0.0, 1.0, 0.4, 1.1, distribution=tfd.Uniform(-1.0, 2.0)
    ),
}


@pytest.mark.parametrize("name", WIDER)
def test_what_is_made_of_another_distribution_has_its_image_for_a_support(name):
    np.testing.assert_allclose(_mass(WIDER[name]()), 1.0, atol=1e-3)


@pytest.mark.parametrize("name", ["exponential", "gamma", "half_normal", "uniform"])
def test_on_a_leaf_of_all_numbers_it_is_warned_of(name):
    prior = WIDER[name]()
    reparam = bt.Reparam({"x": jnp.zeros(())}, None)
    with pytest.warns(UserWarning, match="the prior SinhArcsinh at 'x' has the support"):
        bt.Posterior(reparam, None, {"x": prior})


# Atoms, and what is discrete, in whatever wraps them.

DISCRETE = {
    "broadcast": lambda: tfd.BatchBroadcast(tfd.Poisson(2.0), 2),
    "chain": lambda: tfd.MarkovChain(
        tfd.Poisson(1.0), lambda _, x: tfd.Poisson(1.0 + x), 2
    ),
    "concatenated": lambda: tfd.BatchConcat([tfd.Poisson(_TWO), tfd.Poisson(_TWO)], 0),
    "independent": lambda: tfd.Independent(tfd.Bernoulli(probs=0.5 * _TWO), 1),
    "inflated": lambda: tfd.Inflated(tfd.Gamma(2.0, 1.0), 0.3),
    "masked": lambda: tfd.Masked(tfd.Geometric(probs=0.5), True),
    "mixture": lambda: tfd.MixtureSameFamily(
        tfd.Categorical(probs=[0.5, 0.5]), tfd.Poisson(_TWO)
    ),
    "numpyro_expanded": lambda: nd.Poisson(2.0).expand([2]).to_event(1),
    "numpyro_hurdle": lambda: nd.HurdleGamma(0.3, 2.0, 1.0),
    "numpyro_mixture": lambda: nd.MixtureSameFamily(
        nd.Categorical(probs=jnp.array([0.5, 0.5])), nd.Delta(jnp.array([0.0, 1.0]))
    ),
    "quantized": lambda: tfd.Sample(tfd.QuantizedDistribution(tfd.Normal(0.0, 9.0)), 2),
    "reshaped": lambda: tfd.BatchReshape(tfd.Poisson(_TWO), [2, 1]),
    "sample": lambda: tfd.Sample(tfd.Poisson(2.0), 2),
    "two_of_three": lambda: tfd.Independent(tfd.Deterministic(_TWO), 1),
}


@pytest.mark.parametrize("name", DISCRETE)
def test_what_wraps_a_discrete_distribution_is_refused(name):
    _refused(DISCRETE[name](), "discrete|single value|no density")


class Rounded:
    """A distribution of another library, which draws what its density does not say."""

    batch_shape = event_shape = ()

    def __init__(self, step):
        self.step = step

    def log_prob(self, x):
        return st.norm.logpdf(0.0) - 0.5 * x * x

    def sample(self, key, shape):
        return self.step * jnp.round(jax.random.normal(key, shape) / self.step)


class Clipped(Rounded):
    def sample(self, key, shape):
        return jnp.clip(jax.random.normal(key, shape), -self.step, None)


@pytest.mark.parametrize(
    ("prior", "example"),
    [
        (Rounded(0.5), "such as"),
        (Rounded(0.01), "such as"),
        (Clipped(0.5), "such as -0.5"),
        (Clipped(2.0), "such as -2"),
        (Clipped(-0.1), "such as 0.1"),
    ],
)
def test_draws_that_repeat_are_atoms(prior, example):
    _refused(prior, f"has no density: .* draws repeat others, {example}", bt.real())


# Draws whose own density is not finite.


class Wider(Rounded):
    """A normal distribution that draws where its density is said to be 0, or NaN."""

    def log_prob(self, x):
        return jnp.where(x < self.step, jnp.log(0.0 * x), super().log_prob(x))

    def sample(self, key, shape):
        return jax.random.normal(key, shape)


IMPOSSIBLE = {
    "extreme_value": lambda: tfd.GeneralizedExtremeValue(0.1, 1.0, 0.0),
    "extreme_value_expanded": lambda: tfd.Sample(
        tfd.GeneralizedExtremeValue(0.0, 2.0, 0.0), 2
    ),
    "extreme_value_one_of_two": lambda: tfd.GeneralizedExtremeValue(
        0.0, 1.0, np.float32([0.0, 0.3])
    ),
    "extreme_value_mixed": lambda: tfd.MixtureSameFamily(
        tfd.Categorical(probs=[0.5, 0.5]),
        tfd.GeneralizedExtremeValue(np.float32([0.0, 1.0]), 1.0, 0.0),
    ),
    "extreme_value_shifted": lambda: _tfp(
        tfd.GeneralizedExtremeValue(0.0, 1.0, 0.0), tfb.Shift(2.0)
    ),
    "half": lambda: Wider(0.0),
    "tail": lambda: Wider(-2.0),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_draws_without_a_density_are_refused(name):
    prior = IMPOSSIBLE[name]()
    spec = bt.real() if isinstance(prior, Rounded) else None
    _refused(prior, "a log-density that is not finite|use tfd.Gumbel there", spec)


# Densities of numbers that do not integrate to 1.


class Scaled(Rounded):
    """A normal density times a number."""

    def log_prob(self, x):
        return super().log_prob(x) + jnp.log(self.step)

    def sample(self, key, shape):
        return jax.random.normal(key, shape)


class WithoutDraws(Scaled):
    def sample(self, key, shape):
        raise NotImplementedError("no draws")


IMPROPER = {
    "half": (lambda: Scaled(0.5), "0.5"),
    "many": (lambda: Scaled(3.0), "3"),
    "nearly": (lambda: Scaled(1.01), "1.01"),
    "independent": (lambda: tfd.Independent(_Doubled(_TWO, 1.0), 1), "2"),
    "sample": (lambda: tfd.Sample(_Doubled(0.0, 1.0), 3), "2"),
    "mixture": (
        lambda: tfd.Mixture(
            tfd.Categorical(probs=[0.5, 0.5]), [tfd.Normal(0.0, 1.0), _Doubled(0.0, 1.0)]
        ),
        "2",
    ),
    "without_draws": (lambda: WithoutDraws(0.7), "0.7"),
}


class _Doubled(tfd.Normal):
    """A class of a user's own, twice the density of its parent."""

    def _log_prob(self, x):
        return super()._log_prob(x) + jnp.log(2.0)


@pytest.mark.parametrize("name", IMPROPER)
def test_a_density_of_numbers_that_is_not_normalised_is_refused(name):
    make, total = IMPROPER[name]
    prior = make()
    if isinstance(prior, Rounded):  # of no known support: the leaf's bijector tells
        model = {"x": jnp.zeros(())}
        with pytest.raises(ValueError, match=f"(?s)'x'.*integrates to {total} over all"):
            bt.Posterior(bt.Reparam(model, None), None, {"x": prior})
    else:
        _refused(prior, f"integrates to {total} over all real numbers, not to 1")


def test_one_that_is_not_in_the_table_and_is_right_is_accepted():
    for prior in (Scaled(1.0), Scaled(1.0005), WithoutDraws(1.0)):
        model = {"x": jnp.array(0.3)}
        posterior = bt.Posterior(bt.Reparam(model, None), None, {"x": prior})
        np.testing.assert_allclose(
            posterior.log_prior(model), st.norm.logpdf(0.3), atol=1e-3
        )


def test_without_verification_it_is_taken_as_it_is():
    model = {"x": jnp.array(0.3)}
    posterior = bt.Posterior(
        bt.Reparam(model, None), None, {"x": Scaled(3.0)}, verify=False
    )
    due = st.norm.logpdf(0.3) + np.log(3.0)
    np.testing.assert_allclose(posterior.log_prior(model), due, rtol=1e-6)


def test_numbers_that_are_traced_are_not_looked_at():
    def value(scale):
        prior = {"x": _tfp(tfd.Normal(0.0, scale), tfb.Sinh())}
        reparam = bt.Reparam({"x": jnp.zeros(())}, None)
        return bt.Posterior(reparam, None, prior).log_prior({"x": jnp.array(0.5)})

    x, scale = 0.5, 2.0
    due = st.norm(0, scale).logpdf(np.arcsinh(x)) - 0.5 * np.log1p(x * x)
    np.testing.assert_allclose(jax.jit(value)(scale), due, rtol=1e-5)


# The Jacobian of a map, against a formula.


def test_a_user_s_transformed_prior_is_verified_and_right():
    matrix = np.float32([[1.0, 0.0], [0.5, 2.0]])
    prior = _numpyro(
        nd.Normal(jnp.zeros(2), 1.0).to_event(1),
        _t.LowerCholeskyAffine(jnp.ones(2), jnp.asarray(matrix)),
    )
    x = jnp.array([0.3, -1.2])
    posterior = bt.Posterior(bt.Reparam({"x": x}, None), None, {"x": prior})
    due = st.multivariate_normal(np.ones(2), matrix @ matrix.T).logpdf(np.asarray(x))
    np.testing.assert_allclose(posterior.log_prior({"x": x}), due, rtol=1e-5)


class _WrongLogDet(tfb.Exp):
    """A bijector of a user's own, with a log-det that is off by a factor."""

    def __init__(self, name="wrong"):
        super().__init__(name=name)

    def _forward_log_det_jacobian(self, x):
        return 1.1 * x

    def _inverse_log_det_jacobian(self, y):
        return -1.1 * jnp.log(y)


@pytest.mark.parametrize(
    "base",
    [
        tfd.Normal(0.0, 1.0),
        tfd.Gamma(2.0, 1.0),
        tfd.MultivariateNormalDiag(np.zeros(2, np.float32)),
        tfd.Beta(2.0, 3.0),
        tfd.Independent(tfd.Laplace(np.zeros(2, np.float32), 1.0), 1),
    ],
    ids=["normal", "gamma", "vector", "beta", "independent"],
)
def test_a_wrong_log_det_of_a_user_s_class_is_found(base):
    _refused(
        _tfp(base, _WrongLogDet()), "integrates to|times that in minimal|is NaN|infinite"
    )


def test_verdicts_are_kept_by_numbers():
    wrong, right = tfd.Normal(0.0, 1.0), tfd.LogNormal(0.0, 1.0)
    recipe, numbers = split(_tfp(right, tfb.Log()))
    assert why_wrong(recipe, numbers, bijector_for(wrong)) == ""
    first = why_wrong(*split(_Doubled(0.0, 1.0)))
    assert "integrates to 2" in first
    assert why_wrong(*split(_Doubled(0.0, 1.0))) == first
