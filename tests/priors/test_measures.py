"""The density of what is looked up integrates to one, or is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as nd
import pytest
from lookups import _HALF, _ND_NORMAL, _ND_VECTOR, _NORMAL, _t
from numpyro.distributions import constraints

import bijectree as bt
from bijectree import tfb, tfd

# TFP and NumPyro promote dtypes and ranks themselves.
pytestmark = [
    pytest.mark.jax_defaults,
    # of TFP's own samplers
    pytest.mark.filterwarnings("ignore:shape requires ndarray:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning"),
]


_ONE = tfd.MultivariateNormalDiag(jnp.zeros(1))


def _shifted(*numbers):
    return nd.TransformedDistribution(nd.HalfNormal(1.0), _t.AffineTransform(*numbers))


# Each of one free coordinate, with the leaf's shape.
OF_ONE_COORDINATE = {
    "lkj": (lambda: tfd.LKJ(2, 2.0), (2, 2)),
    "cholesky_lkj": (lambda: tfd.CholeskyLKJ(2, 2.0), (2, 2)),
    "wishart": (lambda: tfd.WishartTriL(3.0, jnp.eye(1)), (1, 1)),
    "wishart_factor": (
        lambda: tfd.TransformedDistribution(
            tfd.WishartTriL(3.0, jnp.eye(1)), tfb.Invert(tfb.CholeskyOuterProduct())
        ),
        (1, 1),
    ),
    "products": (
        lambda: tfd.TransformedDistribution(
            _ONE,
            tfb.Chain(
                [
                    tfb.CholeskyOuterProduct(),
                    tfb.FillScaleTriL(diag_bijector=tfb.Exp(), diag_shift=None),
                ]
            ),
        ),
        (1, 1),
    ),
    "correlation_cholesky": (
        lambda: tfd.TransformedDistribution(_ONE, tfb.CorrelationCholesky()),
        (2, 2),
    ),
    "iterated_sigmoid": (
        lambda: tfd.TransformedDistribution(_ONE, tfb.IteratedSigmoidCentered()),
        (2,),
    ),
    "mixture": (
        lambda: tfd.Mixture(
            tfd.Categorical(probs=_HALF), [tfd.Gamma(3.0, 1.0), tfd.LogNormal(0.0, 1.0)]
        ),
        (),
    ),
    "mixture_cut": (
        lambda: tfd.Mixture(
            tfd.Categorical(probs=_HALF),
            [
                tfd.Exponential(1.0, force_probs_to_zero_outside_support=True),
                tfd.Normal(0.0, 1.0),
            ],
        ),
        (),
    ),
    "mixture_same_family_cut": (
        lambda: tfd.MixtureSameFamily(
            tfd.Categorical(probs=_HALF), tfd.Uniform([0.0, 0.5], [1.0, 2.0])
        ),
        (),
    ),
    "numpyro_lkj": (lambda: nd.LKJ(2, 2.0), (2, 2)),
    "numpyro_levy": (lambda: nd.Levy(1.0, 2.0), ()),
    "numpyro_affine": (lambda: _shifted(2.0, 3.0), ()),
    "numpyro_affine_decreasing": (lambda: _shifted(2.0, -3.0), ()),
    "numpyro_expanded": (lambda: _shifted(2.0, 3.0).expand([1]).to_event(1), (1,)),
    "numpyro_masked": (lambda: _shifted(2.0, 3.0).mask(True), ()),
    "numpyro_affine_of_exp": (
        lambda: nd.TransformedDistribution(
            _ND_NORMAL, [_t.ExpTransform(), _t.AffineTransform(1.0, 2.0)]
        ),
        (),
    ),
    "numpyro_composed_inverse": (
        lambda: nd.TransformedDistribution(
            nd.Uniform(4.0, 5.0),
            _t.ComposeTransform([_t.ExpTransform(), _t.AffineTransform(1.0, 2.0)]).inv,
        ),
        (),
    ),
    "numpyro_mixture_same_family": (
        lambda: nd.MixtureSameFamily(
            nd.Categorical(probs=_HALF), _shifted(2.0, 3.0).expand([2])
        ),
        (),
    ),
    "numpyro_mixture_cut": (
        lambda: nd.MixtureGeneral(
            nd.Categorical(probs=_HALF),
            [nd.Normal(0.0, 1.0), nd.HalfNormal(2.0)],
            support=constraints.real,
        ),
        (),
    ),
    **{
        f"numpyro_{type(transform).__name__}_of_{type(base).__name__}": (
            lambda base=base, transform=transform: nd.TransformedDistribution(
                base, transform
            ),
            (),
        )
        for base, transform in (
            (nd.HalfNormal(1.0), _t.ExpTransform()),
            (nd.Uniform(0.0, 1.0), _t.ExpTransform()),
            (nd.HalfNormal(1.0), _t.SigmoidTransform()),
            (nd.Beta(2.0, 2.0), _t.SigmoidTransform().inv),
            (nd.Beta(2.0, 2.0), _t.SoftplusTransform()),
            (nd.Gamma(2.0, 2.0), _t.SoftplusTransform().inv),
            (nd.Gamma(2.0, 2.0), _t.PowerTransform(-2.0)),
            (nd.LogNormal(0.0, 1.0), _t.IdentityTransform()),
        )
    },
    **{
        "numpyro_" + "_".join(type(t).__name__ for t in transforms): (
            lambda transforms=transforms: nd.TransformedDistribution(
                _ND_VECTOR, transforms
            ),
            shape,
        )
        for transforms, shape in (
            ([_t.StickBreakingTransform()], (2,)),
            ([_t.OrderedTransform()], (1,)),
            ([_t.LowerCholeskyAffine(jnp.ones(1), jnp.full((1, 1), 0.5))], (1,)),
            ([_t.CorrCholeskyTransform()], (2, 2)),
            ([_t.CorrCholeskyTransform(), _t.CorrMatrixCholeskyTransform().inv], (2, 2)),
            ([_t.LowerCholeskyTransform(), _t.CholeskyTransform().inv], (1, 1)),
            ([_t.SoftplusLowerCholeskyTransform()], (1, 1)),
            ([_t.ScaledUnitLowerCholeskyTransform()], (1, 1)),
            ([_t.ZeroSumTransform(1)], (2,)),
        )
    },
}


@pytest.mark.parametrize("name", OF_ONE_COORDINATE)
def test_the_density_of_what_is_looked_up_integrates_to_one(name):
    with jax.enable_x64(True):
        make, shape = OF_ONE_COORDINATE[name]
        model, prior = {"x": jnp.zeros(shape)}, {"x": make()}
        posterior = bt.Posterior(
            bt.Reparam(model, bt.spec_from_prior(model, prior)), None, prior
        ).flat()
        # farther out, a correlation is 1 in float64, which NumPyro gives no density
        reach = 9.0 if shape == (2, 2) else 25.0
        free = jnp.linspace(-reach, reach, 20001)
        log_density = jax.jit(jax.vmap(lambda y: posterior.log_density(y[None])))
        density = np.exp(log_density(free))
        # the edge of a component lies between two points, or heavy tails are cut off
        rtol = 1e-3 if "cut" in name or "levy" in name else 1e-5
        total = np.sum(density) * (free[1] - free[0])
        np.testing.assert_allclose(total, 1.0, rtol=rtol)


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (
            lambda: tfd.WishartTriL(3.0, jnp.eye(2), input_output_cholesky=True),
            (2, 2),
            "the density of the matrix L Lᵀ.*let the leaf be the matrix",
        ),
        (
            lambda: tfd.Sample(tfd.LKJ(2, 2.0, input_output_cholesky=True), 1),
            (1, 2, 2),
            "the density of the matrix L Lᵀ.*use tfd.CholeskyLKJ",
        ),
        (
            lambda: tfd.TransformedDistribution(
                tfd.CholeskyLKJ(3, 2.0), tfb.CholeskyOuterProduct()
            ),
            (3, 3),
            "counts the diagonal of the factor.*use tfd.LKJ",
        ),
        (
            lambda: tfd.TransformedDistribution(
                tfd.LKJ(3, 2.0), tfb.Invert(tfb.CholeskyOuterProduct())
            ),
            (3, 3),
            "counts the diagonal of the factor.*use tfd.LKJ",
        ),
        (
            lambda: tfd.TransformedDistribution(
                _ONE, tfb.Chain([tfb.CholeskyOuterProduct(), tfb.CorrelationCholesky()])
            ),
            (2, 2),
            "counts the diagonal of the factor.*use tfd.LKJ",
        ),
        (
            lambda: tfd.TransformedDistribution(_ONE, tfb.SoftmaxCentered()),
            (2,),
            "the space around the simplex.*use tfb.IteratedSigmoidCentered",
        ),
        (
            lambda: tfd.TransformedDistribution(
                tfd.Dirichlet([2.0, 3.0]), tfb.Invert(tfb.SoftmaxCentered())
            ),
            (1,),
            "the space around the simplex",
        ),
        (
            lambda: tfd.TransformedDistribution(
                _ONE, tfb.Chain([tfb.Scale(2.0), tfb.UnitVector()])
            ),
            (2,),
            "the space around the sphere.*use tfd.SphericalUniform",
        ),
        (
            lambda: tfd.Mixture(
                tfd.Categorical(probs=_HALF), [tfd.Exponential(1.0), _NORMAL]
            ),
            (),
            r"unlike supports \(positive numbers, all real numbers\).*force_probs",
        ),
        (
            lambda: tfd.Mixture(
                tfd.Categorical(probs=_HALF), [_NORMAL, tfd.Exponential(1.0)]
            ),
            (),
            r"unlike supports \(all real numbers, positive numbers\)",
        ),
        (
            lambda: tfd.MixtureSameFamily(
                tfd.Categorical(probs=_HALF), tfd.GeneralizedPareto([0.0, 1.0], 1.0, 1.0)
            ),
            (),
            "unlike supports",
        ),
        (
            lambda: nd.MixtureSameFamily(
                nd.Categorical(probs=_HALF),
                nd.TransformedDistribution(
                    nd.HalfNormal(1.0), _t.AffineTransform(_HALF * [0, 1], 1.0)
                ),
            ),
            (),
            "unlike supports",
        ),
        (
            lambda: nd.MixtureGeneral(
                nd.Categorical(probs=_HALF), [nd.Uniform(0.0, 1.0), nd.Uniform(0.0, 2.0)]
            ),
            (),
            "unlike supports.*give it support=",
        ),
        (
            lambda: nd.MixtureGeneral(
                nd.Categorical(probs=_HALF),
                [nd.Normal(0.0, 1.0), _shifted(2.0, 3.0)],
                support=constraints.real,
            ),
            (),
            "unlike supports.*that state their own",
        ),
    ],
)
def test_what_would_be_a_wrong_density_is_refused_everywhere(make, shape, message):
    model, prior = {"x": jnp.zeros(shape)}, {"x": make()}
    with pytest.raises(ValueError, match=message):
        bt.spec_from_prior(model, prior)
    with pytest.raises(ValueError, match=message):
        bt.Posterior(bt.Reparam(model, None), None, prior)


@pytest.mark.parametrize(
    "bijector", [tfb.Scale(5.0), tfb.Shift(1.0), tfb.Chain([tfb.Scale(2.0)])]
)
def test_a_scaled_simplex_integrates_to_one(bijector):
    prior = {"x": tfd.TransformedDistribution(tfd.Dirichlet([2.0, 3.0]), bijector)}
    model = {"x": jnp.zeros(2)}
    reparam = bt.Reparam(model, bt.spec_from_prior(model, prior))
    posterior = bt.Posterior(reparam, None, prior)
    y = np.linspace(-20.0, 20.0, 4001, dtype=np.float32)
    density = jax.vmap(lambda y: posterior.log_density({"x": y[None]}))(jnp.asarray(y))
    np.testing.assert_allclose(np.sum(np.exp(density)) * 0.01, 1.0, rtol=1e-4)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (
            tfd.TransformedDistribution(tfd.Dirichlet([2.0, 3.0]), tfb.Scale([1.0, 3.0])),
            "scale comes after .* fewer free coordinates",
        ),
        (
            tfd.TransformedDistribution(tfd.Dirichlet([2.0, 3.0]), tfb.Log()),
            "log comes after .* fewer free coordinates",
        ),
        (
            tfd.TransformedDistribution(tfd.WishartTriL(4.0, jnp.eye(2)), tfb.Scale(2.0)),
            "0.5 times that in minimal coordinates",
        ),
    ],
    ids=["scales", "log", "matrix"],
)
def test_entries_mapped_after_fewer_coordinates_are_refused(prior, message):
    model = {"x": jax.ShapeDtypeStruct(prior.event_shape, jnp.float32)}
    with pytest.raises(ValueError, match=f"(?s)'x'.*{message}"):
        bt.spec_from_prior(model, {"x": prior})
