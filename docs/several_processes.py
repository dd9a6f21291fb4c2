"""Sample and train on several processes: start it once a process.

    python several_processes.py --coordinator 127.0.0.1:9876 --processes 2 --process 0 &
    python several_processes.py --coordinator 127.0.0.1:9876 --processes 2 --process 1

Where JAX knows the cluster (Slurm, Open MPI, Cloud TPU), leave these three options out.
Sampling and training go on from the last checkpoints, beside and in `--folder`.
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import bijectree as bt
from bijectree import tfd


def sample(draws, checkpoint):
    """Eight schools; the chains are shared by all devices of all processes."""
    effect = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    error = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    model = {"mu": jnp.array(0.0), "tau": jnp.array(1.0), "theta": jnp.zeros(8)}
    theta = bt.location_scale("mu", "tau")
    spec = {"mu": None, "tau": bt.positive(), "theta": theta}

    def prior(model):
        total = tfd.Normal(0.0, 5.0).log_prob(model["mu"])
        total += tfd.HalfCauchy(0.0, 5.0).log_prob(model["tau"])
        theta = tfd.Normal(model["mu"], model["tau"])
        return total + theta.log_prob(model["theta"]).sum()

    def log_likelihood(model, effect, error):
        return tfd.Normal(model["theta"], error).log_prob(effect).sum()

    posterior = bt.Posterior(bt.Reparam(model, spec), log_likelihood, prior)
    return bt.sample(
        posterior,
        jax.random.key(0),
        effect,
        error,
        chains=8,
        draws=draws,
        checkpoint=checkpoint,
    )


def train(steps, folder):
    """Widths that are positive, and shares, each cut over all devices."""
    mesh = Mesh(np.array(jax.devices()), ("data",))
    cut = NamedSharding(mesh, PartitionSpec("data"))

    def make(key):
        width = jnp.exp(jax.random.normal(key, (64, 16)))
        return {"width": width, "share": jax.nn.softmax(width)}

    def loss(model):
        target = jnp.arange(64.0)[:, None]
        return jnp.mean((model["width"] - target) ** 2) - jnp.mean(
            jnp.log(model["share"][:, 0])
        )

    # Shapes are enough to bind: nothing is made whole on any device.
    shapes = jax.eval_shape(make, jax.random.key(0))
    reparam = bt.Reparam(shapes, {"width": bt.positive(), "share": bt.simplex()})
    optimizer = bt.reparameterize(optax.adam(0.1), reparam)

    @jax.jit
    def step(model, state):
        updates, state = optimizer.update(jax.grad(loss)(model), state, model)
        return optax.apply_updates(model, updates), state

    model = jax.jit(make, out_shardings=cut)(jax.random.key(0))
    state = optimizer.init(model)
    with ocp.CheckpointManager(folder) as manager:
        done = manager.latest_step() or 0
        if done:
            like = jax.tree.map(ocp.utils.to_shape_dtype_struct, (model, state))
            model, state = manager.restore(done, args=ocp.args.StandardRestore(like))
        for i in range(done, steps):
            model, state = step(model, state)
            if (i + 1) % 20 == 0:
                manager.save(i + 1, args=ocp.args.StandardSave((model, state)))
    return model


def main():
    """Start JAX's processes, then do both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coordinator")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process", type=int)
    parser.add_argument("--folder", type=pathlib.Path, default="several_processes")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--draws", type=int, default=200)
    args = parser.parse_args()
    jax.distributed.initialize(
        args.coordinator, args.processes, args.process, heartbeat_timeout_seconds=20
    )
    folder = args.folder.absolute()
    if args.draws:
        # On each process, all draws of all chains.
        draws = sample(args.draws, folder.with_suffix(".draws.checkpoint"))
        if jax.process_index() == 0:
            print(draws)
            np.save(folder.with_suffix(".draws.npy"), np.asarray(draws.vectors))
    model = train(args.steps, folder)
    first = NamedSharding(model["width"].sharding.mesh, PartitionSpec())
    model = jax.device_put(model, first)  # to print it; large models stay where they are
    if jax.process_index() == 0:
        print(model["width"][:, 0])
        np.savez(folder.with_suffix(".model.npz"), **jax.device_get(model))


if __name__ == "__main__":
    main()
