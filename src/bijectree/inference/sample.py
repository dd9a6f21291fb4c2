"""Sampling by BlackJAX's NUTS; chains lie on all devices of all processes."""

import contextlib
import warnings
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, PRNGKeyArray, PyTree

from .. import substrate
from ..posterior import Posterior, Target
from . import chains_on_devices
from .arguments import require_counts, require_free_posterior
from .draws import Draws
from .nuts import take_steps
from .optional import optional_import
from .progress import bar as progress_bar

# The progress bar moves so many times.
_CHUNKS = 20


def sample_blackjax(
    posterior: Posterior,
    key: PRNGKeyArray,
    *data: Any,
    start: Literal["uniform", "prior"] | PyTree = "uniform",
    jitter: float = 0.0,
    chains: int = 4,
    warm_up: int = 1000,
    draws: int = 1000,
    target_acceptance: float = 0.8,
    max_tree_depth: int = 10,
    progress: bool = True,
) -> Draws:
    """Sample with BlackJAX's NUTS after its window adaptation.

    The density has the Jacobian, so the draws of the model have the posterior.

    Chains are shared by the devices, of all processes where there are several: each has
    as many, and none waits for another. If the model or the data are sharded, they are
    left so and the chains are not. Every process gets all draws; the first alone shows
    progress and warns. A chain's random numbers do not depend on how many devices there
    are, and its draws but for rounding, which a long chain magnifies.

    Args:
        posterior: a Posterior.
        key: a PRNG key.
        *data: what its log-likelihood takes after the model.
        start: where the chains start, the `start` of `Posterior.initial`.
        jitter: as in `Posterior.initial`; give some where `start` is a model.
        chains: how many chains.
        warm_up: how many steps adapt the step size and the diagonal mass matrix of each
            chain; they are not kept.
        draws: how many draws to keep of each chain.
        target_acceptance: the acceptance rate that the step size is adapted to.
        max_tree_depth: a trajectory has at most 2 to this power steps.
        progress: whether to show a progress bar, on the standard error.

    Returns:
        The draws, with the sampler's statistics.

    Raises:
        ImportError: BlackJAX is not installed.
        ValueError: no start with a finite density and gradient, see `initial`; numbers
            below 1; chains that several processes cannot share evenly; a model without
            free coordinates, or with complex ones.

    Warns:
        UserWarning: each of `Draws.warnings`, such as divergences or a large R-hat.

    Example:
        >>> import bijectree as bt, jax, jax.numpy as jnp
        >>> reparam = bt.Reparam({"scale": jnp.array(1.0)}, bt.tfb.Exp())
        >>> posterior = bt.Posterior(reparam, None, bt.tfd.LogNormal(0.0, 1.0))
        >>> draws = bt.sample_blackjax(
        ...     posterior, jax.random.key(0), warm_up=200, draws=1000, progress=False
        ... )
        >>> draws.models["scale"].shape
        (4, 1000)
    """
    blackjax = optional_import("blackjax")
    require_free_posterior(posterior, "sample_blackjax")
    require_counts("sample_blackjax", chains=chains, warm_up=warm_up, draws=draws)
    mesh = chains_on_devices.chain_mesh(chains, (posterior, data))
    key_start, key_warm_up, key_draw = jax.random.split(key, 3)
    starts = posterior.initial(key_start, *data, start=start, jitter=jitter, n=chains)
    target = Target(posterior, data)
    vectors = jax.vmap(posterior.reparam.ravel)(starts)
    # A dtype of fewer than 32 bits is too coarse to take steps in.
    if vectors.dtype.itemsize < 4:
        vectors = vectors.astype(jnp.float32)
    target = chains_on_devices.put(mesh, target, by_chain=False)

    def by_chain(tree: PyTree) -> PyTree:
        return chains_on_devices.put(mesh, tree, by_chain=True)

    chunk = max(1, draws // _CHUNKS)
    found: list[tuple[Array, dict[str, Array]]] = []
    first = jax.process_index() == 0
    # A mesh that the user has set is for the model's arrays, not for the chains.
    here = contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)
    with here, progress_bar(progress=progress and first) as bar:
        task = bar.add_task("warm-up", total=None)
        states, tuned = jax.block_until_ready(
            _warm_up(
                blackjax,
                mesh,
                target,
                by_chain(jax.random.split(key_warm_up, chains)),
                by_chain(vectors),
                warm_up,
                target_acceptance,
                max_tree_depth,
            )
        )
        bar.update(task, total=1, completed=1)
        task = bar.add_task("sampling", total=draws)
        diverged = 0
        for key_chunk in jax.random.split(key_draw, -(-draws // chunk)):
            keys = by_chain(jax.random.split(key_chunk, chains))
            states, new = _draw(
                blackjax, mesh, target, keys, states, tuned, chunk, max_tree_depth
            )
            found.append(chains_on_devices.of_process(mesh, new))
            diverged += int(np.sum(found[-1][1]["diverging"]))
            text = "sampling" if not diverged else f"sampling ({diverged} divergences)"
            bar.update(task, advance=chunk, description=text)
    vectors, stats = chains_on_devices.of_all(
        mesh,
        jax.tree.map(lambda *parts: np.concatenate(parts, axis=1)[:, :draws], *found),
    )
    result = Draws(posterior, vectors, stats)
    for text in result.warnings() if first else []:
        warnings.warn(text, stacklevel=2)
    return result


@eqx.filter_jit
def _warm_up(
    blackjax: Any,
    mesh: Mesh | None,
    target: Target,
    keys: PRNGKeyArray,
    vectors: Array,
    steps: int,
    target_acceptance: float,
    max_tree_depth: int,
) -> tuple[Any, dict[str, Array]]:
    def one(
        target: Target, key: PRNGKeyArray, vector: Array
    ) -> tuple[Any, dict[str, Array]]:
        adaptation = blackjax.window_adaptation(
            blackjax.nuts,
            target,
            target_acceptance_rate=target_acceptance,
            adaptation_info_fn=lambda *_: None,
            max_num_doublings=max_tree_depth,
        )
        (state, tuned), _ = adaptation.run(key, vector, steps)
        names = ("step_size", "inverse_mass_matrix")
        return state, {name: tuned[name] for name in names}

    with substrate.standard_promotion():
        return chains_on_devices.map_chains(mesh, one, target, keys, vectors)


@eqx.filter_jit
def _draw(
    blackjax: Any,
    mesh: Mesh | None,
    target: Target,
    keys: PRNGKeyArray,
    states: Any,
    tuned: dict[str, Array],
    n: int,
    max_tree_depth: int,
) -> tuple[Any, tuple[Array, dict[str, Array]]]:
    """Go on for `n` draws in each chain."""

    def one(
        target: Target, key: PRNGKeyArray, state: Any, tuned: dict[str, Array]
    ) -> Any:
        (state, _), found = take_steps(
            blackjax,
            target,
            key,
            state,
            tuned["step_size"],
            tuned["inverse_mass_matrix"],
            _position_and_stats,
            n=n,
            max_tree_depth=max_tree_depth,
        )
        return state, found

    with substrate.standard_promotion():
        return chains_on_devices.map_chains(mesh, one, target, keys, states, tuned)


def _position_and_stats(state: Any, info: Any) -> tuple[Array, dict[str, Array]]:
    stats = {
        "lp": state.logdensity,
        "diverging": info.is_divergent,
        "acceptance_rate": info.acceptance_rate,
        "energy": info.energy,
        "n_steps": info.num_integration_steps,
        "tree_depth": info.num_trajectory_expansions,
    }
    return state.position, stats
