"""`fit_maps`, and the maps that the warm-up of `sample` learns."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfb, tfd

QUIET = {"progress": False}

# Short runs are told of.
pytestmark = [
    pytest.mark.filterwarnings("ignore:the chains do not agree"),
    pytest.mark.filterwarnings("ignore:too few independent"),
    pytest.mark.filterwarnings("ignore:.* transitions diverged"),
]


def of_model():
    """A half Cauchy, poles of gamma densities, a simplex and a normal number."""
    model = {
        "a": jnp.ones(()),
        "b": jnp.ones(3),
        "w": jnp.full(5, 0.2),
        "x": jnp.zeros(2),
    }
    prior = {
        "a": tfd.HalfCauchy(jnp.zeros(()), 1.0),
        "b": tfd.Gamma(0.2 * jnp.ones(3), 1.0),
        "w": tfd.Dirichlet(jnp.full(5, 0.2)),
        "x": tfd.Normal(3.0 * jnp.ones(2), 0.1),
    }
    return model, prior


def posterior_of(model, prior, spec=None):
    spec = bt.spec_from_prior(model, prior) if spec is None else spec
    return bt.Posterior(bt.Reparam(model, spec), None, prior)


@pytest.fixture(scope="module")
def fitted():
    with jax.enable_x64(True):
        model, prior = of_model()
        posterior = posterior_of(model, prior)
        reparam, report = bt.fit_maps(posterior, jax.random.key(0), **QUIET)
        yield model, prior, posterior, reparam, report


def test_each_leaf_gets_a_map_that_suits_it(fitted):
    *_, report = fitted
    found = {leaf.path: leaf for leaf in report.leaves}
    assert "sinh_arcsinh" in found["a"].after
    assert "sinh_arcsinh" in found["b"].after
    assert "stick_breaking" in found["w"].after
    assert not found["x"].changed
    for leaf in report.leaves:
        assert leaf.divergence_after <= leaf.divergence_before
        assert leaf.divergence_after < 0.15
    assert report.gradients > 1000


def test_the_density_of_the_model_is_the_same(fitted):
    """Less the log-dets, through the fitted maps and through the given ones."""
    with jax.enable_x64(True):
        model, prior, posterior, reparam, _ = fitted
        other = bt.Posterior(reparam, None, prior)
        models = posterior.sample_prior(jax.random.key(1), 50)

        def less_log_det(posterior, model):
            free = posterior.reparam.inverse(model)
            density = posterior.log_density(free)
            return density - posterior.reparam.forward_log_det_jacobian(free)

        one, two = (
            jax.vmap(lambda m, p=p: less_log_det(p, m))(models)
            for p in (posterior, other)
        )
        np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-10)
        again = jax.vmap(lambda m: reparam.forward(reparam.inverse(m)))(models)
        for got, due in zip(jax.tree.leaves(again), jax.tree.leaves(models), strict=True):
            np.testing.assert_allclose(got, due, rtol=1e-8, atol=1e-12)


def test_the_log_det_is_that_of_the_jacobian(fitted):
    with jax.enable_x64(True):
        *_, reparam, _ = fitted
        vector = jax.random.normal(jax.random.key(2), (reparam.dim,))

        def chart(vector):
            m = reparam.forward(reparam.unravel(vector))
            return jnp.concatenate([m["a"][None], m["b"], m["w"][:-1], m["x"]])

        due = jnp.linalg.slogdet(jax.jacfwd(chart)(vector))[1]
        got = reparam.forward_log_det_jacobian(reparam.unravel(vector))
        np.testing.assert_allclose(got, due, rtol=1e-10)


def test_the_spec_is_text_and_comes_back(fitted, tmp_path):
    with jax.enable_x64(True):
        model, *_, reparam, _ = fitted
        bt.save_spec(tmp_path / "spec.toml", reparam)
        assert "stick_breaking" in (tmp_path / "spec.toml").read_text()
        again = bt.Reparam(model, bt.load_spec(tmp_path / "spec.toml", model))
        free = again.unravel(jnp.linspace(-1.0, 1.0, again.dim))
        for one, other in zip(
            jax.tree.leaves(reparam.forward(free)),
            jax.tree.leaves(again.forward(free)),
            strict=True,
        ):
            assert np.array_equal(one, other)
        assert "stick_breaking" in bt.summary(reparam, model)


def test_the_report_is_a_table(fitted):
    *_, report = fitted
    text = str(report)
    assert "gradients spent" in text
    assert "as it is" in text
    for path in "abwx":
        assert f"\n{path} " in text


def test_it_runs_in_float32_and_through_data(getkey):
    model = {"rate": jnp.ones(4)}

    def log_likelihood(m, y):
        return jnp.sum(tfd.Poisson(m["rate"]).log_prob(y))

    posterior = bt.Posterior(
        bt.Reparam(model, bt.positive(via="softplus")),
        log_likelihood,
        tfd.Gamma(0.3, 0.01),
    )
    y = jnp.array([0.0, 0.0, 3.0, 250.0])
    reparam, report = bt.fit_maps(posterior, getkey(), y, **QUIET)
    (leaf,) = report.leaves
    assert leaf.divergence_after <= leaf.divergence_before
    again = reparam.forward(reparam.inverse(model))
    np.testing.assert_allclose(again["rate"], 1.0, rtol=1e-5)


def test_maps_over_all_leaves_are_refused(getkey):
    model = {"a": jnp.ones(2)}
    reparam = bt.Reparam(model, bt.positive()).then(tfb.Scale(2.0))
    posterior = bt.Posterior(reparam, None, tfd.LogNormal(0.0, 1.0))
    with pytest.raises(ValueError, match=r"fit_maps: over all free coordinates there is"):
        bt.fit_maps(posterior, getkey(), **QUIET)
    with pytest.raises(TypeError, match=r"fit_maps: expected a bt.Posterior"):
        bt.fit_maps(reparam, getkey(), **QUIET)  # type: ignore[arg-type]


def moments(draws, function):
    found = np.asarray(draws.map(function))
    return found.mean(), found.std() / np.sqrt(found.size / 4)


def test_bad_arguments_are_named_as_those_of_fit_maps(getkey):
    reparam = bt.Reparam({"x": jnp.ones(2)}, bt.positive())
    posterior = bt.Posterior(reparam, None, tfd.LogNormal(0.0, 1.0))
    with pytest.raises(TypeError, match="fit_maps: expected a bt.Posterior"):
        bt.fit_maps(reparam, getkey())
    with pytest.raises(TypeError, match="fit_maps: expected one key"):
        bt.fit_maps(posterior, 0)
    with pytest.raises(ValueError, match="(?s)fit_maps.*`chains`.*`warm_up`"):
        bt.fit_maps(posterior, getkey(), chains=0, warm_up=-1)
    with pytest.raises(TypeError, match="fit_maps: called under jit"):
        jax.jit(lambda key: bt.fit_maps(posterior, key)[1].gradients)(getkey())


def test_sample_bends_coordinates_and_takes_other_maps(getkey):
    with jax.enable_x64(True):
        model, prior = of_model()
        draws = bt.sample(posterior_of(model, prior), getkey(), **QUIET)
        report = draws.report
        assert report.maps == {"w": "simplex via stick_breaking"}
        assert report.bent["a"] == 1
        assert report.bent["b"] == 3
        assert "x" not in report.bent
        assert "map of 'w': simplex via stick_breaking" in str(report)
        assert "coordinates that were bent, by leaf: 'a' 1, 'b' 3" in str(report)
        for function, due in (
            (lambda m: jnp.log(m["a"]), 0.0),
            (lambda m: m["b"].mean(), 0.2),
            (lambda m: m["w"][0], 0.2),
            (lambda m: m["w"][4] ** 2, 0.2 * 1.2 / 2),
            (lambda m: m["x"][1], 3.0),
        ):
            mean, error = moments(draws, function)
            assert abs(mean - due) < 5 * error
        free = draws.posterior.reparam.unravel(draws.vectors[1, 7])
        np.testing.assert_allclose(
            draws.posterior.log_density(free), draws.stats["lp"][1, 7], rtol=1e-10
        )


def test_a_normal_posterior_keeps_its_coordinates(getkey):
    model = {"x": jnp.zeros(3), "s": jnp.ones(())}
    prior = {"x": tfd.Normal(2.0 * jnp.ones(3), 0.5), "s": tfd.LogNormal(1.0, 0.2)}
    draws = bt.sample(posterior_of(model, prior), getkey(), draws=100, **QUIET)
    assert draws.report.bent == {}
    assert not draws.report.maps
    assert len(draws.posterior.reparam.bound.outer_names()) == 1


def test_coordinates_as_given_are_not_bent(getkey):
    model, prior = of_model()
    draws = bt.sample(
        posterior_of(model, prior),
        getkey(),
        coordinates="given",
        draws=50,
        warm_up=100,
        **QUIET,
    )
    assert draws.report.bent == {}
    assert not draws.report.maps


@pytest.mark.parametrize("spec", ["warped", "other maps"])
def test_a_checkpoint_and_a_resume_know_the_maps(spec, tmp_path, getkey):
    with jax.enable_x64(True):
        model, prior = of_model()
        if spec == "warped":
            del model["w"], prior["w"]
        posterior, key = posterior_of(model, prior), getkey()
        options = {"draws": 60, "checkpoint": tmp_path / "run.npz", **QUIET}
        whole = bt.sample(posterior, key, **options)
        assert whole.report.bent
        assert bool(whole.report.maps) == (spec == "other maps")
        again = bt.sample(posterior, key, **options)
        assert np.array_equal(whole.vectors, again.vectors)
        assert again.report.maps == whole.report.maps
        more = bt.sample(posterior, key, resume=whole, draws=40, **QUIET)
        assert more.report.maps == whole.report.maps
        joined = whole.join(more)
        assert joined.vectors.shape[1] == 100
        free = more.posterior.reparam.unravel(more.vectors[0, 5])
        np.testing.assert_allclose(
            more.posterior.log_density(free), more.stats["lp"][0, 5], rtol=1e-10
        )
        # From a posterior that is bound anew, too.
        fresh = posterior_of(model, prior)
        other = bt.sample(fresh, key, resume=whole, draws=40, **QUIET)
        assert np.array_equal(other.vectors, more.vectors)


def test_the_draws_do_not_depend_on_what_a_posterior_was_sampled_for(getkey):
    with jax.enable_x64(True):
        model, prior = of_model()
        posterior, key = posterior_of(model, prior), getkey()
        options = {"draws": 30, "warm_up": 120, **QUIET}
        one, other = (bt.sample(posterior, key, **options) for _ in range(2))
        assert np.array_equal(one.vectors, other.vectors)
        assert not eqx.tree_equal(one.vectors, one.vectors + 1)


def test_what_is_flat_or_at_the_edge_is_told(getkey):
    with jax.enable_x64(False):
        for spec, prior, told in (
            (bt.positive(), lambda m: jnp.zeros(()), "bounded neither"),
            (bt.interval(0.0, 1.0), {"x": tfd.Beta(0.05, 0.05)}, "'x' was not looked at"),
        ):
            reparam = bt.Reparam({"x": jnp.array(0.5)}, spec)
            posterior = bt.Posterior(reparam, None, prior)
            _, report = bt.fit_maps(posterior, getkey(), progress=False)
            assert told in " ".join(report.notes), report
