"""Distributions of several libraries, for tests of priors."""

import jax.numpy as jnp
import pytest

dist = pytest.importorskip("numpyro.distributions")


class Duck:
    """Anything with a `log_prob`; no pytree, no shapes."""

    def log_prob(self, value):
        return -jnp.abs(value) - jnp.log(2.0)
