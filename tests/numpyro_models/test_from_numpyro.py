"""What of a NumPyro model becomes what of a posterior, and what is refused."""

import functools
import itertools
import pickle
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import cond, scan
from numpyro.contrib.module import eqx_module, random_eqx_module
from numpyro.infer.reparam import LocScaleReparam, ProjectedNormalReparam
from numpyro.infer.util import log_density
from numpyro_zoo import ZOO, eight_schools

import bijectree as bt

pytestmark = pytest.mark.jax_defaults  # NumPyro promotes dtypes and ranks itself

Y = np.random.default_rng(1).normal(size=6)


def line(y):
    m = numpyro.sample("m", dist.Normal(0, 2))
    t = numpyro.sample("t", dist.HalfNormal(1))
    numpyro.sample("y", dist.Normal(m, t), obs=y)


def agrees(function, *args, reference=None, **kwargs):
    """A posterior whose density without the log-det is NumPyro's, at some point."""
    posterior = bt.from_numpyro(function, *args, **kwargs)
    vector = 0.5 * np.random.default_rng(0).normal(size=posterior.dim)
    model = posterior.flat().forward(vector)
    due, _ = log_density(reference or function, args, kwargs, model)
    got = posterior.flat().log_density(jnp.asarray(vector, float), jacobian=False)
    np.testing.assert_allclose(got, due, rtol=2e-6, atol=1e-5)
    return posterior


def refusal(function, *args):
    with pytest.raises(ValueError, match="from_numpyro") as error:
        bt.from_numpyro(function, *args)
    return str(error.value)


def test_the_model_is_a_dictionary_of_sites_and_the_spec_is_of_bijectors():
    posterior = bt.from_numpyro(*[ZOO["between"][0]], *ZOO["between"][1])
    model = posterior.reparam.forward(posterior.initial(jax.random.key(0)))
    assert set(model) == {"top", "low", "rate", "cut"}
    shown = str(posterior.reparam)
    for row in ("low: dependent on top", "rate: dependent on low, top", "top: positive"):
        assert row in shown
    assert 0 < model["low"] < model["rate"] < model["top"]
    assert model["cut"] > model["rate"]
    assert posterior.labels == ["cut", "low", "rate", "top"]


def test_plates_are_leading_axes():
    posterior = bt.from_numpyro(*[ZOO["hidden Markov"][0]], *ZOO["hidden Markov"][1])
    model = posterior.reparam.forward(posterior.initial(jax.random.key(0)))
    assert {name: x.shape for name, x in model.items()} == {
        "moves": (3, 3),
        "emits": (3, 6),
    }


@pytest.mark.parametrize(
    ("scale", "mask"), [(0.3, None), (1.0, False), (1.0, np.arange(6) < 2), (0.5, True)]
)
def test_scales_and_masks_count_as_numpyro_counts_them(scale, mask):
    def model(y):
        a = numpyro.sample("a", dist.Normal(0, 1))
        with (
            handlers.scale(scale=scale),
            handlers.mask(mask=True if mask is None else mask),
        ):
            d = numpyro.sample("d", dist.Uniform(-1.0, jnp.exp(a)).expand([6]))
            numpyro.sample("y", dist.Normal(d, 1), obs=y)
        numpyro.sample("z", dist.Normal(d, 2), obs=y)

    posterior = agrees(model, Y)
    point = posterior.reparam.forward(posterior.initial(jax.random.key(0)))
    found = posterior.likelihood.terms(point)
    total = sum(map(jnp.sum, found.values()))
    np.testing.assert_allclose(total, posterior.log_likelihood(point), rtol=1e-6)
    terms = found["y"]
    if mask is not None and mask is not True:
        assert np.all(np.asarray(terms)[~np.broadcast_to(mask, 6)] == 0)
    why = "'d' has no prior" if mask is False else r"'d': .* it is scaled or masked"
    with pytest.raises(ValueError, match=why):
        posterior.sample_prior(jax.random.key(0), 2)


def of_a_part(y, size):
    m = numpyro.sample("m", dist.Normal(0, 1))
    with numpyro.plate("N", len(y), subsample_size=size) as i:
        b = numpyro.sample("b", dist.Normal(m, 1))
        numpyro.sample("y", dist.Normal(b, 1), obs=y[i])


def test_a_plate_of_which_a_part_is_drawn_is_refused_and_one_that_is_given_is_scaled():
    assert "'N' is a plate of which a part is drawn" in refusal(of_a_part, Y, 2)
    agrees(of_a_part, Y, 6)
    given = handlers.substitute(of_a_part, {"N": jnp.array([1, 3])})
    posterior = agrees(given, Y, 2)
    model = {"m": jnp.array(0.3), "b": jnp.zeros(2)}
    due = 3 * dist.Normal(0.0, 1.0).log_prob(Y[np.array([1, 3])]).sum()
    np.testing.assert_allclose(posterior.log_likelihood(model), due, rtol=1e-5)


def test_everything_that_cannot_be_taken_over_is_named_at_once():
    def model(y):
        z = numpyro.sample("z", dist.Categorical(jnp.ones(3) / 3))
        numpyro.sample("w", dist.Poisson(2.0).expand([3]).to_event(1))
        numpyro.sample("a", dist.Delta(3.0))
        numpyro.param("q", 1.0)
        with numpyro.plate("N", 20, subsample_size=3):
            pass
        numpyro.sample("l1", dist.ImproperUniform(dist.constraints.l1_ball, (), (2,)))
        numpyro.sample("y", dist.Normal(jnp.arange(3.0)[z], 1), obs=y)

    said = refusal(model, Y)
    for words in (
        "'z' is discrete",
        "'w' is discrete (Poisson)",
        "'a' has a Delta",
        "'q' is a numpyro.param",
        "'N' is a plate",
        "'l1' has no known support",
    ):
        assert words in said


def test_a_discrete_site_that_numpyro_would_sum_out_is_refused():
    def model(y):
        where = {"enumerate": "parallel"}
        z = numpyro.sample("z", dist.Bernoulli(0.3), infer=where)
        numpyro.sample("y", dist.Normal(z, 1), obs=y)

    assert "'z' is discrete" in refusal(model, Y)


def test_what_obs_mask_leaves_to_infer_is_refused():
    def model(y):
        m = numpyro.sample("m", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(m, 1).expand([6]), obs=y, obs_mask=y > 0)

    assert "'y_unobserved' comes of the `obs_mask` of 'y'" in refusal(model, Y)


def of_a_parameter(y):
    s = numpyro.param("s", 2.0, constraint=dist.constraints.positive)
    m = numpyro.sample("m", dist.Normal(0, s))
    numpyro.sample("y", dist.Normal(m, 1), obs=y)


def test_parameters_are_refused_held_or_lifted():
    assert "'s' is a numpyro.param" in refusal(of_a_parameter, Y)
    held = agrees(handlers.substitute(of_a_parameter, {"s": 3.0}), Y)
    assert held.labels == ["m"]
    lifted = agrees(handlers.lift(of_a_parameter, {"s": dist.HalfNormal(2.0)}), Y)
    assert lifted.labels == ["m", "s"]


def test_a_module_is_taken_over_if_all_its_parameters_are_drawn():
    net = eqx.nn.Linear(2, 1, key=jax.random.key(0))
    x = np.ones((6, 2), np.float32)

    def drawn(y):
        f = random_eqx_module("net", net, prior=dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(jax.vmap(f)(x)[:, 0], 1.0), obs=y)

    assert agrees(drawn, Y).labels == ["net/bias.0", "net/weight.0.0", "net/weight.0.1"]

    def in_part(y):
        prior = {"bias": dist.Normal(0.0, 1.0)}
        f = random_eqx_module("net", net, prior=prior)
        numpyro.sample("y", dist.Normal(jax.vmap(f)(x)[:, 0], 1.0), obs=y)

    assert "'net$params' is a numpyro.param" in refusal(in_part, Y)

    def of_parameters(y):
        f = eqx_module("net", net)
        s = numpyro.sample("s", dist.HalfNormal(1.0))
        numpyro.sample("y", dist.Normal(jax.vmap(f)(x)[:, 0], s), obs=y)

    assert "'net$params' is a numpyro.param" in refusal(of_parameters, Y)


def test_handlers_around_a_model_do_what_they_do():
    assert agrees(handlers.seed(line, 0), Y).labels == ["m", "t"]
    assert agrees(functools.partial(line), Y).labels == ["m", "t"]
    conditioned = agrees(handlers.condition(line, {"m": 0.3}), Y)
    assert conditioned.labels == ["t"]
    assert conditioned.likelihood.names == ("m", "y")
    assert agrees(handlers.do(line, {"m": 1.0}), Y).labels == ["m", "t"]
    said = refusal(handlers.substitute(line, {"m": 1.0}), Y)
    assert "'m' has a value by handlers.substitute" in said


def test_a_model_that_asks_for_random_numbers_is_refused_until_they_are_held():
    hidden = handlers.block(line, hide=["m"])
    assert "asks for a random key" in refusal(hidden, Y)
    assert agrees(handlers.seed(hidden, 0), Y).labels == ["t"]


def test_sites_that_change_with_values_are_refused():
    def model(y):
        if numpyro.sample("m", dist.Normal(0, 2)) > 0:
            numpyro.sample("t", dist.HalfNormal(1))

    assert "asks for the value of a latent site" in refusal(model, Y)


def test_a_model_without_latent_sites_is_its_likelihood():
    posterior = bt.from_numpyro(handlers.condition(line, {"m": 0.3, "t": 1.0}), Y)
    assert posterior.dim == 0
    due, _ = log_density(handlers.condition(line, {"m": 0.3, "t": 1.0}), (Y,), {}, {})
    np.testing.assert_allclose(posterior.log_density({}), due, rtol=1e-6)
    assert bt.from_numpyro(lambda: None).log_density({}) == 0


def test_a_reparameterisation_around_the_model_is_left_out():
    config = {"theta": LocScaleReparam(None)}
    wrapped = handlers.reparam(eight_schools, config=config)
    args = ZOO["eight schools"][1]
    posterior = agrees(wrapped, *args, reference=eight_schools)
    assert "theta: location_scale on mu, tau" in str(posterior.reparam)
    seeded = handlers.seed(functools.partial(wrapped), 0)
    assert agrees(seeded, *args, reference=eight_schools).dim == 10


def test_a_reparameterisation_within_the_model_is_a_part_of_it():
    function, args = ZOO["eight schools, standard"]
    posterior = agrees(function, *args)
    assert set(posterior.sample_prior(jax.random.key(0), 2)) == {
        *("mu", "tau", "theta_base")
    }
    wanted = posterior.likelihood.deterministic(
        {"mu": jnp.array(1.0), "tau": jnp.array(2.0), "theta_base": jnp.ones(8)}
    )
    np.testing.assert_allclose(wanted["theta"], 3.0)


def test_where_a_reparameterisation_is_needed_the_error_says_where_it_goes():
    def model():
        return numpyro.sample("p", dist.ProjectedNormal(jnp.arange(5.0)))

    wrapped = handlers.reparam(model, config={"p": ProjectedNormalReparam()})
    with pytest.raises(NotImplementedError, match="Use it within the model function"):
        bt.from_numpyro(wrapped)


def test_values_that_the_models_code_asks_for_are_constants():
    def by_group(group, y):
        with numpyro.plate("groups", int(group.max()) + 1):
            a = numpyro.sample("a", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(a[group], 1), obs=y)

    posterior = agrees(by_group, np.arange(6) % 3, Y)
    assert [x.shape for x in posterior.likelihood.arrays] == [(6,)]  # y may still change

    def of_those_known(y):
        a = numpyro.sample("a", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(a, 1), obs=y[~np.isnan(y)])

    gappy = np.where(Y > 0.5, np.nan, Y)
    assert agrees(of_those_known, gappy).likelihood.arrays == ()


def test_other_data_of_the_same_shape_compile_nothing_again():
    runs = 0

    @eqx.filter_jit
    def density(posterior, vector):
        nonlocal runs
        runs += 1
        return posterior.flat().log_density(vector)

    found = []
    for shift in range(3):
        posterior = bt.from_numpyro(line, Y + shift)
        found.append(density(posterior, jnp.zeros(2)))
        due = posterior.flat().log_density(jnp.zeros(2))
        np.testing.assert_allclose(found[-1], due, rtol=1e-6)
    assert runs == 1
    assert len({float(x) for x in found}) == 3


def test_a_posterior_is_made_within_a_compiled_function():
    def density(y):
        return bt.from_numpyro(line, y).flat().log_density(jnp.ones(2))

    np.testing.assert_allclose(jax.jit(density)(Y), density(Y), rtol=1e-6)


def test_a_posterior_survives_pickling():
    posterior = bt.from_numpyro(line, Y)
    again = pickle.loads(pickle.dumps(posterior))
    vector = jnp.array([0.3, -0.2])
    assert again.flat().log_density(vector) == posterior.flat().log_density(vector)


@pytest.mark.parametrize(
    "name", ["eight schools", pytest.param("seasonal", marks=pytest.mark.slow)]
)
def test_densities_and_draws_stand_strict_promotion(name):
    function, args = ZOO[name]
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        posterior = bt.from_numpyro(function, *args)
        vector = 0.1 * jnp.ones(posterior.dim)
        assert jnp.isfinite(jax.grad(posterior.flat().log_density)(vector)).all()
        model = posterior.flat().forward(vector)
        shape = posterior.likelihood.observed["y"].shape
        assert posterior.likelihood.terms(model)["y"].shape == shape
        drawn = posterior.likelihood.sample(model, jax.random.key(0))
        assert drawn["y"].shape == shape


def two_series(y):
    s = numpyro.sample("s", dist.HalfNormal(1))

    def step(carry, value):
        a, b = carry
        a = numpyro.sample("a", dist.Normal(0.5 * b, s))
        b = numpyro.sample("b", dist.Normal(0.5 * a + b, 1.0))
        numpyro.sample("y", dist.Normal(b, 1.0), obs=value)
        return (a, b), None

    scan(step, (0.0, 0.0), y)


def test_sites_that_depend_on_each_other_have_one_term():
    posterior = agrees(two_series, jnp.asarray(Y))
    model = posterior.reparam.forward(posterior.initial(jax.random.key(0)))
    terms = posterior.prior_terms(model)
    assert set(terms) == {"a", "b", "s"}
    before = jnp.concatenate([jnp.zeros(1), model["b"][:-1]])
    due = dist.Normal(0.5 * before, model["s"]).log_prob(model["a"]).sum()
    due += dist.Normal(0.5 * model["a"] + before, 1.0).log_prob(model["b"]).sum()
    np.testing.assert_allclose(terms["a"], due, rtol=1e-5)
    assert terms["b"] == 0
    with pytest.raises(ValueError, match="depend on each other"):
        posterior.sample_prior(jax.random.key(0), 2)


def test_a_site_that_bounds_itself_is_refused():
    def model(y):
        def step(last, value):
            now = numpyro.sample("x", dist.TruncatedNormal(last, 1.0, low=last))
            numpyro.sample("y", dist.Normal(now, 1.0), obs=value)
            return now, None

        scan(step, 0.0, y)

    assert "'x' is bounded by its own values" in refusal(model, jnp.asarray(Y))


def test_conditional_sites_of_one_class_are_taken_over():
    def model(y):
        c = numpyro.sample("c", dist.Normal(0, 1))
        x = cond(
            c > 0,
            lambda _: numpyro.sample("x", dist.Normal(20.0)),
            lambda _: numpyro.sample("x", dist.Normal(0.0)),
            None,
        )
        numpyro.sample("y", dist.Normal(x, 1), obs=y)

    assert agrees(model, Y).labels == ["c", "x"]


class Unscaled(dist.Distribution):
    """A density of the user's own, known up to a constant, that JAX cannot take apart."""

    support = dist.constraints.positive
    arg_constraints = {}

    def __init__(self, rate):
        self.rate = rate
        super().__init__(jnp.shape(rate), ())

    def log_prob(self, value, intermediates=None):
        return -self.rate * value**2


def test_distributions_of_other_makers_have_the_density_that_the_model_gives_them():
    def model(y):
        k = numpyro.sample("k", dist.HalfNormal(1))
        o = numpyro.sample("o", Unscaled(k))
        t = numpyro.sample("t", bt.tfd.HalfCauchy(jnp.float32(1.5), jnp.float32(2.0)))
        numpyro.sample("y", dist.Normal(o, t), obs=y)

    posterior = agrees(model, np.float32(Y))
    drawn = posterior.reparam.forward(posterior.initial(jax.random.key(0)))
    assert drawn["t"] > 1.5
    np.testing.assert_allclose(
        posterior.prior_terms(drawn)["o"], -drawn["k"] * drawn["o"] ** 2, rtol=1e-5
    )


def test_improper_priors_have_the_supports_that_they_name():
    def model(y):
        a = numpyro.sample("a", dist.Normal(0, 1))
        above = dist.constraints.greater_than(a)
        b = numpyro.sample("b", dist.ImproperUniform(above, (), ()))
        between = dist.constraints.interval(a, b)
        c = numpyro.sample("c", dist.ImproperUniform(between, (3,), ()))
        numpyro.sample("y", dist.Normal(c.sum(), 1), obs=y)

    assert "c: dependent on a, b" in str(agrees(model, Y).reparam)


def test_sites_with_dots_and_strokes_are_leaves_of_their_names():
    function, args = ZOO["scoped"]
    posterior = agrees(function, *args)
    assert posterior.labels == [
        *("left/loc", "left/log.scale", "right.loc", "right.log.scale")
    ]
    assert posterior.likelihood.names == ("left/y", "right.y")
    assert "left/log.scale: location_scale on left/loc" in str(posterior.reparam)


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="takes a NumPyro model"):
        bt.from_numpyro(3)

    def broken(y):
        raise RuntimeError("as the user wrote it")

    with pytest.raises(RuntimeError, match="as the user wrote it"):
        bt.from_numpyro(broken, Y)


def test_a_missing_numpyro_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpyro", None)
    with pytest.raises(ImportError, match=r"bijectree\[numpyro\]"):
        bt.from_numpyro(line, Y)


def test_what_a_model_reads_beside_its_arguments_may_change_between_calls():
    beside = {
        "y": Y,
        "spread": 1.0,
        "offset": np.zeros(6),
        "known": np.arange(6) < 3,
        "power": 2.0,
    }

    @functools.partial(jax.jit, static_argnums=0)
    def within(version, m):
        return jnp.where(beside["known"], m + beside["offset"], m ** beside["power"])

    def model():
        m = numpyro.sample("m", dist.Normal(0, beside["spread"]))
        mean = within(next(versions), m)
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=beside["y"])

    runs, found, versions = [], [], itertools.count()

    @eqx.filter_jit
    def density(posterior):
        runs.append(posterior)
        return posterior.flat().log_density(jnp.array([0.3]))

    changes = [
        *(("y", Y), ("y", Y + 1), ("spread", 3.0), ("offset", np.ones(6))),
        *(("known", np.arange(6) < 2), ("power", 3.0)),
    ]
    for name, value in changes:
        beside[name] = value
        posterior = bt.from_numpyro(model)
        due, _ = log_density(model, (), {}, {"m": jnp.array(0.3)})
        found.append(float(density(posterior)))
        np.testing.assert_allclose(found[-1], due, rtol=1e-6)
    assert len(runs) == len(set(found)) == len(changes)
    again = density(bt.from_numpyro(model))
    assert (float(again), len(runs)) == (found[-1], len(changes))
