"""A model of one scale, for tests of samplers and searches."""

import re

import jax.numpy as jnp

import bijectree as bt
from bijectree import tfb, tfd

# BlackJAX.


def scale_model(spec=None, log_likelihood=None):
    model = {"scale": jnp.array(1.0)}
    reparam = bt.Reparam(model, spec if spec is not None else tfb.Exp())
    return bt.Posterior(reparam, log_likelihood, tfd.Gamma(3.0, 2.0))


COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]")
