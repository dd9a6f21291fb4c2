"""distrax's distributions, of which the names are known: it need not be installed.

Classes of its module's name stand in for it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfd

pytestmark = [
    pytest.mark.jax_defaults,  # TFP promotes dtypes and ranks itself
    pytest.mark.filterwarnings("ignore:shape requires ndarray:DeprecationWarning"),
]


def _stand_in(name, distribution, /, **attributes):
    """An object of a class of distrax's by name, that computes as one of TFP's."""

    def sample(self, *, seed, sample_shape=()):
        return distribution.sample(sample_shape, seed=seed)

    contents = {
        "log_prob": lambda self, x: distribution.log_prob(x),
        "sample": sample,
        "batch_shape": tuple(distribution.batch_shape),
        "event_shape": tuple(distribution.event_shape),
        "__module__": f"distrax._src.distributions.{name.lower()}",
        **attributes,
    }
    return type(name, (), contents)()


_PARTS = tfd.Dirichlet(np.float32([0.7, 1.5, 2.5]))
KNOWN = {
    "Beta": (tfd.Beta(2.0, 3.0), {}, "numbers between 0 and 1"),
    "Dirichlet": (_PARTS, {}, "positive parts that sum to 1"),
    "Gumbel": (tfd.Gumbel(0.0, 1.0), {}, "all real numbers"),
    "LogStddevNormal": (tfd.Normal(0.0, 2.0), {}, "all real numbers"),
    "Uniform": (
        tfd.Uniform(-1.0, 3.0),
        {"low": np.float32(-1), "high": np.float32(3)},
        "numbers between -1 and 3",
    ),
    "VonMises": (tfd.VonMises(0.0, 1.0), {}, "angles in (−π, π]"),
    "Independent": (
        tfd.Independent(tfd.Normal(np.zeros(2, np.float32), 1.0), 1),
        {"distribution": tfd.Normal(np.zeros(2, np.float32), 1.0)},
        "all real numbers",
    ),
    "MixtureOfTwo": (
        tfd.MixtureSameFamily(
            tfd.Categorical(probs=[0.5, 0.5]), tfd.Normal(np.float32([0, 1]), 1.0)
        ),
        {"_component_a": tfd.Normal(0.0, 1.0), "_component_b": tfd.Normal(1.0, 1.0)},
        "all real numbers",
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_supports_by_name(name):
    distribution, attributes, words = KNOWN[name]
    prior = _stand_in(name, distribution, **attributes)
    assert bt.support(bt.bijector_for(prior)).description == words
    shape = (*prior.batch_shape, *prior.event_shape)
    model = {"x": jax.ShapeDtypeStruct(shape, jnp.float32)}
    reparam = bt.Reparam(model, bt.spec_from_prior(model, {"x": prior}))
    x = reparam.forward(reparam.unravel(jnp.linspace(-0.5, 0.7, reparam.dim)))
    found = bt.Posterior(reparam, None, {"x": prior}).log_prior(x)
    np.testing.assert_allclose(found, jnp.sum(distribution.log_prob(x["x"])), rtol=1e-5)


_NORMAL = tfd.Normal(0.0, 1.0)
REFUSED = {
    **dict.fromkeys(
        ("Bernoulli", "Categorical", "Greedy", "OneHotCategorical", "Quantized"),
        "its support is discrete",
    ),
    **dict.fromkeys(("Clipped", "ClippedNormal"), "positive probability"),
    "Deterministic": "a single value",
    "Joint": "the prior of several leaves",
    "Transformed": "its support is not known",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_density_of_a_leaf_is_refused_with_the_path(name):
    prior = _stand_in(name, _NORMAL)
    model = {"x": jnp.zeros(())}
    with pytest.raises(ValueError, match=f"(?s)at 'x': .*{name}: .*{REFUSED[name]}"):
        bt.spec_from_prior(model, {"x": prior})
    # The leaf's bijector may tell the support of the one, the shape of the other fails.
    if name not in ("Transformed", "Joint"):
        with pytest.raises(ValueError, match=f"(?s)at 'x': .*{REFUSED[name]}"):
            bt.Posterior(bt.Reparam(model, None), None, {"x": prior})


def test_a_discrete_one_inside_of_a_wrapper_is_refused():
    inner = _stand_in("Quantized", _NORMAL)
    prior = _stand_in("Independent", _NORMAL, distribution=inner)
    model = {"x": jnp.zeros(())}
    with pytest.raises(ValueError, match="(?s)at 'x': .*Quantized.*discrete"):
        bt.Posterior(bt.Reparam(model, None), None, {"x": prior})


@pytest.mark.parametrize(
    ("shift", "wrong"), [(0.0, False), (0.7, True), (-0.1, True), (1e-5, False)]
)
def test_a_transformed_one_is_verified_by_its_mass(shift, wrong):
    class Shifted(tfd.Normal):
        def _log_prob(self, x):
            return super()._log_prob(x) + shift

    prior = _stand_in("Transformed", Shifted(0.0, 1.0))
    reparam = bt.Reparam({"x": jnp.zeros(())}, None)
    if wrong:
        with pytest.raises(ValueError, match="at 'x': .*Transformed integrates to"):
            bt.Posterior(reparam, None, {"x": prior})
    else:
        bt.Posterior(reparam, None, {"x": prior})
