"""Distributions that several tables of priors are built on."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as nd

from bijectree import tfd

_NORMAL = tfd.Normal(0.0, 1.0)


_ND_NORMAL = nd.Normal(0.0, 1.0)


_ND_VECTOR = nd.Normal(jnp.zeros(1), 1.0).to_event(1)


_HALF = np.array([0.5, 0.5])


_t = nd.transforms
