"""Run by test_scale.py, once a process: a model whose leaves the processes share."""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import bijectree as bt


def shared_leaves():
    """A model, and the same with a frozen leaf that is equal but another array."""
    mesh = Mesh(np.array(jax.devices()), ("data",))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    columns = NamedSharding(mesh, PartitionSpec(None, "data"))

    def make(key):
        x = jax.random.normal(key, (8, 16))
        return {"width": jnp.exp(x), "held": x, "weight": x, "mirror": x.T}

    there = dict.fromkeys(("width", "held", "weight"), rows) | {"mirror": columns}
    make = jax.jit(make, out_shardings=there)
    return make(jax.random.key(0)), make(jax.random.key(0))


def error_of(function, *args):
    try:
        function(*args)
    except ValueError as error:
        return str(error)
    raise AssertionError("no error")


def test_maps_look_at_values():
    model, again = shared_leaves()
    tie = bt.tied("weight", fn=jnp.transpose)
    spec = {"width": bt.positive(), "held": bt.frozen, "weight": None, "mirror": tie}
    reparam = bt.Reparam(model, spec)
    free = reparam.inverse(again)
    assert free["width"].sharding == model["width"].sharding
    bt.reparameterize(optax.adam(0.1), reparam).init(again)
    for name, words in (("held", "bound with"), ("mirror", "is tied")):
        changed = dict(model, **{name: 1.0 + model[name]})
        message = error_of(reparam.inverse, changed)
        assert f"'{name}'" in message, message
        assert words in message, message
        assert "split over processes" in message, message
        assert f"'{name}'" in error_of(bt.check(reparam, changed).raise_if_failed)
    outside = dict(model, width=-model["width"])
    assert "'width', index [0, 0]" in error_of(reparam.inverse, outside)
    bt.check(reparam, again).raise_if_failed()
    if jax.process_index() == 0:  # asks the other for nothing
        assert "positive numbers" in bt.summary(reparam, model)


def test_draws_are_on_all():
    model = {"mu": jnp.zeros(3)}
    posterior = bt.Posterior(bt.Reparam(model, None), lambda m: -jnp.sum(m["mu"] ** 2))
    draws = bt.sample(
        posterior, jax.random.key(0), chains=8, warm_up=50, draws=20, progress=False
    )
    if jax.process_index() == 0:  # gathered already
        assert draws.to_arviz()["posterior"]["mu"].shape == (8, 20, 3)


def main():
    """Start JAX's processes, then run all tests, in one order on each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--coordinator")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process", type=int)
    parser.add_argument("--folder")
    args = parser.parse_args()
    jax.distributed.initialize(
        args.coordinator, args.processes, args.process, heartbeat_timeout_seconds=20
    )
    test_maps_look_at_values()
    test_draws_are_on_all()
    print("all is well")


if __name__ == "__main__":
    main()
