"""Run by test_sample.py, twice: how many programs of a fit and of draws are compiled."""

import sys

import jax
import jax.numpy as jnp

import bijectree as bt
from bijectree import tfd


def main():
    jax.config.update("jax_compilation_cache_dir", sys.argv[1])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    events = []
    jax.monitoring.register_event_listener(lambda event, **_: events.append(event))

    model = {
        "mu": jnp.array(0.0),
        "tau": jnp.array(1.0),
        "x": jnp.zeros(4),
        "w": jnp.ones(3),
    }
    model["w"] /= 3
    prior = {
        "mu": tfd.Normal(0.0, 5.0),
        "tau": tfd.HalfNormal(5.0),
        "x": bt.dependent(lambda m: tfd.Normal(m["mu"], m["tau"])),
        "w": tfd.Dirichlet(jnp.ones(3)),
    }
    reparam = bt.Reparam(model, bt.spec_from_prior(model, prior, noncentred=True))
    likelihood = bt.observed(lambda m: tfd.Normal(m["x"], 3.0), name="y")
    posterior = bt.Posterior(reparam, likelihood, prior)
    y = jnp.array([3.0, -1.0, 2.0, 0.0])
    bt.find_map(posterior, model, y, starts=2)
    draws = bt.sample(
        posterior, jax.random.key(0), y, draws=100, warm_up=150, progress=False
    )
    draws.to_arviz(y)
    for what in ("misses", "hits"):
        print(what, events.count(f"/jax/compilation_cache/cache_{what}"))


if __name__ == "__main__":
    main()
