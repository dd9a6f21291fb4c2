"""What the table says of TFP's classes, against TFP's own methods."""

import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfb
from bijectree.constraints import knowledge_of
from bijectree.constraints.facts import MapOfNumbers, fact_of

pytestmark = [
    pytest.mark.jax_defaults,  # TFP promotes dtypes and ranks itself
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning"),
]

# Of each class with numbers of its own, and where it is looked at.
_REAL, _POSITIVE, _UNIT = (-2.0, -0.3, 0.4, 1.7), (0.3, 0.6, 1.0, 1.7), (0.1, 0.4, 0.9)
MAPS = {
    "Exp": (tfb.Exp(), _REAL),
    "Expm1": (tfb.Expm1(), _REAL),
    "FrechetCDF": (tfb.FrechetCDF(0.0, 1.5, 2.0), _POSITIVE),
    "GompertzCDF": (tfb.GompertzCDF(0.7, 1.5), _POSITIVE),
    "GumbelCDF": (tfb.GumbelCDF(0.3, 1.5), _REAL),
    "KumaraswamyCDF": (tfb.KumaraswamyCDF(1.5, 2.5), _UNIT),
    "LambertWTail": (tfb.LambertWTail(0.1, 1.5, 0.2), _REAL),
    "Log": (tfb.Log(), _POSITIVE),
    "Log1p": (tfb.Log1p(), _POSITIVE),
    "MoyalCDF": (tfb.MoyalCDF(0.3, 1.5), _REAL),
    "NormalCDF": (tfb.NormalCDF(), _REAL),
    "Power": (tfb.Power(2.0), _POSITIVE),
    "Power_odd": (tfb.Power(3.0), _REAL),
    "Power_negative": (tfb.Power(-1.5), _POSITIVE),
    "PowerTransform": (tfb.PowerTransform(0.5), _POSITIVE),
    "RayleighCDF": (tfb.RayleighCDF(1.5), _POSITIVE),
    "Reciprocal": (tfb.Reciprocal(), _POSITIVE),
    "Scale": (tfb.Scale(-1.5), _REAL),
    "Scale_log": (tfb.Scale(log_scale=0.3), _REAL),
    "Shift": (tfb.Shift(1.5), _REAL),
    "ShiftedGompertzCDF": (tfb.ShiftedGompertzCDF(0.7, 1.5), _POSITIVE),
    "Sigmoid": (tfb.Sigmoid(), _REAL),
    "Sigmoid_bounds": (tfb.Sigmoid(-1.0, 2.5), _REAL),
    "Sinh": (tfb.Sinh(), _REAL),
    "SinhArcsinh": (tfb.SinhArcsinh(0.3, 0.7), _REAL),
    "SinhArcsinh_negative": (tfb.SinhArcsinh(-1.3, 1.7), _REAL),
    "SoftClip": (tfb.SoftClip(-1.0, 2.0, 0.5), _REAL),
    "Softplus": (tfb.Softplus(), _REAL),
    "Softplus_soft": (tfb.Softplus(0.5, low=0.25), _REAL),
    "Softsign": (tfb.Softsign(), _REAL),
    "Square": (tfb.Square(), _POSITIVE),
    "Tanh": (tfb.Tanh(), _REAL),
    "WeibullCDF": (tfb.WeibullCDF(1.5, 2.5), _POSITIVE),
}


@pytest.mark.parametrize("name", MAPS)
def test_ends_are_mapped_as_tfp_maps_them(name):
    bijector, points = MAPS[name]
    x = np.array(points, np.float32)
    y = np.asarray(bijector.forward(jnp.asarray(x)))
    fact = fact_of(type(bijector))
    if not isinstance(fact, MapOfNumbers):  # known link by link, or set by set
        assert knowledge_of(tfb.Chain([bijector, tfb.Exp()])).proven
        return
    inside, image = fact.domain(bijector), fact.onto(bijector)
    assert np.all((x > inside.lower) & (x < inside.upper))
    assert np.all((y > image.lower) & (y < image.upper))
    if fact.end is not None:
        found = fact.end(bijector, np, x.astype(float))
        np.testing.assert_allclose(found, y, rtol=2e-5, atol=1e-6)
    if fact.inverse_end is not None:
        found = fact.inverse_end(bijector, np, y.astype(float))
        np.testing.assert_allclose(found, x, rtol=2e-4, atol=1e-5)


# What a link makes of the positive numbers, or of those between 0 and 1.
IMAGES = [
    (tfb.Chain([tfb.SinhArcsinh(0.0, 1.0), tfb.Exp()]), "positive numbers"),
    (tfb.Chain([tfb.SinhArcsinh(0.0, 2.0), tfb.Exp()]), "positive numbers"),
    (tfb.Chain([tfb.Softsign(), tfb.Exp()]), "numbers between 0 and 1"),
    (tfb.Chain([tfb.Softsign(), tfb.Sigmoid()]), "numbers between 0 and 0.5"),
    (tfb.Chain([tfb.Invert(tfb.Softsign()), tfb.Sigmoid()]), "positive numbers"),
    (tfb.Chain([tfb.Tanh(), tfb.Exp()]), "numbers between 0 and 1"),
    (tfb.Chain([tfb.Log(), tfb.Sigmoid()]), "numbers less than 0"),
    (tfb.Chain([tfb.Scale(-2.0), tfb.Square(), tfb.Exp()]), "numbers less than 0"),
    (tfb.Chain([tfb.LambertWTail(0.0, 1.0, 0.2)]), "all real numbers"),
]


@pytest.mark.parametrize(("bijector", "words"), IMAGES)
def test_images_of_chains(bijector, words):
    assert bt.support(bijector).description == words
    assert knowledge_of(bijector).proven


@pytest.mark.parametrize(
    "bijector",
    [
        tfb.Chain([tfb.NormalCDF(), tfb.Exp()]),
        tfb.Chain([tfb.Shift(1.0), tfb.NormalCDF(), tfb.Exp()]),
        tfb.Chain([tfb.SoftClip(0.0, 1.0), tfb.Exp()]),
        tfb.Chain([tfb.Scale(2.0), tfb.LambertWTail(0.0, 1.0, 0.2), tfb.Exp()]),
        tfb.Chain([tfb.Exp(), tfb.Scale(2.0), tfb.GumbelCDF(), tfb.Exp()]),
    ],
)
def test_of_an_image_that_is_not_known_the_way_back_tells(bijector):
    support = bt.support(bijector)
    assert support.description.startswith("the range of chain_of")
    inside = bijector.forward(jnp.array([-1.0, 0.0, 1.0]))
    assert np.all(support.contains(inside))
    assert not np.any(support.contains(jnp.array([-50.0, jnp.nan])))
