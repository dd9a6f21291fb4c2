"""Three samplers find the moments of posteriors that are known without them."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

import bijectree as bt
from bijectree import tfd
from bijectree.inference.arviz_data import variables
from bijectree.inference.diagnostics import diagnose

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "eight_schools.json").read_text()
)


Y, SIGMA = (np.array(GOLDEN[name], float) for name in ("y", "sigma"))


# Samplers and the likelihoods below promote as users' code does.
pytestmark = pytest.mark.jax_defaults


# Two posteriors whose moments are known without a sampler.


def schools():
    """Eight schools, non-centred, and the exact mean and sd of mu and tau."""
    model = {"mu": jnp.zeros(()), "tau": jnp.ones(()), "z": jnp.zeros(8)}
    rules = {
        "mu": tfd.Normal(0.0, 5.0),
        "tau": tfd.HalfCauchy(0.0, 5.0),
        "z": tfd.Normal(0.0, 1.0),
    }

    def log_likelihood(model, y, sigma):
        return (
            tfd.Normal(model["mu"] + model["tau"] * model["z"], sigma).log_prob(y).sum()
        )

    prior = bt.by_path(model, rules)
    reparam = bt.Reparam(model, bt.spec_from_prior(model, prior))
    posterior = bt.Posterior(reparam, log_likelihood, prior=prior)

    # The schools' effects integrate out: y ~ normal(mu, sqrt(sigma² + tau²)).
    mu = np.linspace(-30, 40, 701)[:, None]
    log_tau = np.linspace(-12, 7, 951)[None]
    tau = np.exp(log_tau)
    log_p = st.norm(0, 5).logpdf(mu) + st.halfcauchy(0, 5).logpdf(tau) + log_tau
    for y, sigma in zip(Y, SIGMA, strict=True):
        log_p = log_p + st.norm(mu, np.hypot(sigma, tau)).logpdf(y)
    return (
        posterior,
        (jnp.asarray(Y), jnp.asarray(SIGMA)),
        moments(log_p, {"mu": mu + 0 * tau, "tau": tau + 0 * mu}),
    )


def shares():
    """The weights of a mixture of known parts, and their exact mean and sd."""
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(m, 1.0, n) for m, n in ((-2, 10), (0, 6), (3, 20))])
    parts = st.norm([-2, 0, 3], 1.0).pdf(y[:, None])
    model = {"weights": jnp.ones(3) / 3}
    prior = {"weights": tfd.Dirichlet([1.0, 2.0, 1.5])}

    def log_likelihood(model, parts):
        return jnp.log(parts @ model["weights"]).sum()

    reparam = bt.Reparam(model, bt.spec_from_prior(model, prior))
    posterior = bt.Posterior(reparam, log_likelihood, prior=prior)

    grid = (np.arange(400) + 0.5) / 400
    a, b = grid[:, None], grid[None]
    inside = a + b < 1
    w = np.stack(np.broadcast_arrays(a, b, np.where(inside, 1 - a - b, 0.5)))
    log_p = np.log(np.einsum("nk,kij->nij", parts, w)).sum(0)
    log_p += np.tensordot([0.0, 1.0, 0.5], np.log(w), axes=1)
    log_p = np.where(inside, log_p, -np.inf)
    return (
        posterior,
        (jnp.asarray(parts),),
        moments(log_p, {f"weights.{k}": w[k] for k in range(3)}),
    )


def moments(log_p, values):
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    means = {name: (p * x).sum() for name, x in values.items()}
    return {
        name: (means[name], np.sqrt((p * (x - means[name]) ** 2).sum()))
        for name, x in values.items()
    }


# Three samplers.


def by_blackjax(posterior, data, key):
    return bt.sample(posterior, key, *data, target_acceptance=0.98, progress=False)


def by_numpyro(posterior, data, key):
    infer = pytest.importorskip("numpyro.infer")
    nuts = infer.NUTS(potential_fn=bt.potential_fn(posterior, *data))
    mcmc = infer.MCMC(
        nuts,
        num_warmup=500,
        num_samples=1000,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    starts = jax.vmap(posterior.reparam.ravel)(posterior.initial(key, *data, n=4))
    mcmc.run(key, init_params=starts, extra_fields=("diverging",))
    stats = mcmc.get_extra_fields(group_by_chain=True)
    return bt.Draws(posterior, mcmc.get_samples(group_by_chain=True), stats)


def by_tfp(posterior, data, key):
    from bijectree.substrate.tfp import tfp

    kernel = tfp.mcmc.DualAveragingStepSizeAdaptation(
        tfp.mcmc.HamiltonianMonteCarlo(
            bt.target_log_prob_fn(posterior, *data),
            step_size=jnp.full((4, 1), 0.2),
            num_leapfrog_steps=8,
        ),
        num_adaptation_steps=800,
    )
    starts = jax.vmap(posterior.reparam.ravel)(posterior.initial(key, *data, n=4))

    @jax.jit
    def run(starts, key):
        return tfp.mcmc.sample_chain(
            2000,
            current_state=starts,
            kernel=kernel,
            num_burnin_steps=1000,
            trace_fn=None,
            seed=key,
        )

    return bt.Draws(posterior, run(starts, key).swapaxes(0, 1))


@pytest.mark.slow
# TFP's kernels use what newer JAX is about to drop.
@pytest.mark.filterwarnings("ignore:shape requires ndarray:DeprecationWarning")
@pytest.mark.parametrize("make", [schools, shares], ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    "sample", [by_blackjax, by_numpyro, by_tfp], ids=lambda sample: sample.__name__
)
def test_a_sampler_finds_the_moments_of_the_posterior(make, sample, getkey):
    if sample is by_blackjax:
        pytest.importorskip("blackjax")
    with jax.enable_x64(True):
        posterior, data, exact = make()
        draws = sample(posterior, data, getkey())
        summary = draws.summary()
        values = variables(draws.posterior, draws.models)
        for name, (mean, sd) in exact.items():
            found = summary[name]
            path, *index = name.split(".")
            x = values[path][(..., *map(int, index))].ravel()
            assert found.ess > 300, name
            error = found.sd / np.sqrt(found.ess)
            assert abs(found.mean - mean) < 4 * error, (name, found, mean)
            # The error of a standard deviation, from that of the variance.
            error = 0.5 * found.sd * np.sqrt((st.kurtosis(x, fisher=False)) / found.ess)
            assert abs(found.sd - sd) < 4 * error, (name, found, sd)
        # The expected score is zero: a density without its log-det fails this.
        density = bt.target_log_prob_fn(draws.posterior, *data)
        score = jax.vmap(jax.vmap(jax.grad(density)))
        gradients = np.asarray(score(draws.vectors))
        _, ess = diagnose(gradients)
        flat = gradients.reshape(-1, posterior.dim)
        assert np.all(np.abs(flat.mean(0)) < 4 * flat.std(0) / np.sqrt(ess))
