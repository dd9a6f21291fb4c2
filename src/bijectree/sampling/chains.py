"""Chains that take steps together, on all cores or all devices, by one program."""

import contextlib
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .. import substrate
from ..inference import first_tuning, take_steps
from ..posterior import Target
from . import chains_on_devices

# One call of the program takes at most so many steps.
ROOM = 50


class Standing(NamedTuple):
    """Where chains stand, on the host.

    Attributes:
        vectors: free coordinates.
        log_density: there.
        gradients: of the log-density there.
    """

    vectors: Float[np.ndarray, "chains dim"]
    log_density: Float[np.ndarray, " chains"]
    gradients: Float[np.ndarray, "chains dim"]


class Steps(NamedTuple):
    """What chains did, on the host.

    Attributes:
        vectors: where each step ended, in free coordinates.
        log_density: there.
        gradients: of the log-density there.
        diverging: whether a trajectory was given up.
        acceptance_rate: the mean over a trajectory.
        energy: of the trajectory.
        n_steps: how many gradients a step cost.
        tree_depth: how often a trajectory was doubled.
    """

    vectors: Float[np.ndarray, "chains n dim"]
    log_density: Float[np.ndarray, "chains n"]
    gradients: Float[np.ndarray, "chains n dim"]
    diverging: Bool[np.ndarray, "chains n"]
    acceptance_rate: Float[np.ndarray, "chains n"]
    energy: Float[np.ndarray, "chains n"]
    n_steps: Int[np.ndarray, "chains n"]
    tree_depth: Int[np.ndarray, "chains n"]

    @property
    def spent(self) -> int:
        """How many gradients all steps cost."""
        return int(self.n_steps.sum())

    @property
    def end(self) -> Standing:
        """Where the chains stand after the last step."""
        return Standing(
            self.vectors[:, -1], self.log_density[:, -1], self.gradients[:, -1]
        )


class Chains:
    """Chains that all run one compiled program.

    On the one CPU of a single process each chain runs in a thread of its own, by a
    program of one chain: a chain's draws do not depend on the number of threads.
    Elsewhere one program runs all chains, shared by the devices.

    Args:
        blackjax: the package.
        shared: what all chains read: the posterior and the data.
        n: how many chains.
        max_tree_depth: a trajectory has at most 2 to this power steps.
    """

    def __init__(self, blackjax: Any, shared: PyTree, n: int, max_tree_depth: int):
        self.n = n
        self._blackjax, self._depth = blackjax, max_tree_depth
        self._mesh = chains_on_devices.chain_mesh(n, shared)
        self._compiling: Future[Any] | None = None
        self._program: Any = None
        self._ready = False
        self._threads = None
        if self._mesh is not None and jax.process_count() == 1:
            devices = self._mesh.devices.ravel()
            if len(devices) == 1 and devices[0].platform == "cpu":
                self._threads = ThreadPoolExecutor(min(n, _cores()))

    def close(self) -> None:
        """Let the threads go."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def begin_compiling(self, target: Target, dtype: Any) -> None:
        """Compile in a thread, where chains run in threads, while something else is done.

        Args:
            target: of the structure that the chains will be given.
            dtype: of their vectors.
        """
        if self._threads is None or self._compiling is not None:
            return
        dim = target.posterior.dim
        nowhere = np.zeros((1, dim), dtype)
        standing = Standing(nowhere, np.zeros(1, dtype), nowhere)
        how = _how(0, None, dtype)
        here = jax.tree.map(
            lambda x: jnp.asarray(x[0]), (standing, self._tuning(dtype, 1.0, 1))
        )
        key = jax.random.key(0)
        # Settings of JAX, such as the precision, belong to a thread. So the program is
        # traced in this one, what is compiled does not ask for them, and all that it is
        # given are arrays of JAX.
        advance: Any = _advance
        arguments = _as_arrays((target, key, *here, how))
        lowered = advance.lower(self._blackjax, *arguments, self._depth)
        self._compiling = self._threads.submit(lowered.compile)

    def compile(self, target: Target, standing: Standing) -> float:
        """Compile the program, or wait for it.

        Returns:
            The seconds that took; 0 after another call.
        """
        if self._ready:
            return 0.0
        before = time.perf_counter()
        self.begin_compiling(target, standing.vectors.dtype)
        if self._compiling is not None:
            self._program = self._compiling.result()
        self._step(target, jax.random.key(0), standing, self.tuning(standing, 1.0), 0)
        self._ready = True
        return time.perf_counter() - before

    def tuning(self, standing: Standing, step_size: float) -> PyTree:
        """The state of dual averaging of each chain that starts from a step size."""
        return self._tuning(standing.vectors.dtype, step_size, self.n)

    def _tuning(self, dtype: Any, step_size: float, n: int) -> PyTree:
        one = first_tuning(self._blackjax, jnp.asarray(step_size, dtype))
        return jax.tree.map(lambda x: np.stack([np.asarray(x)] * n), jax.device_get(one))

    def advance(
        self,
        target: Target,
        key: PRNGKeyArray,
        standing: Standing,
        tuning: PyTree,
        n: int,
        *,
        acceptance: float | None = None,
    ) -> tuple[PyTree, Steps]:
        """Take steps in all chains.

        Args:
            target: the density.
            key: a PRNG key.
            standing: where the chains stand, in the coordinates of `target`.
            tuning: of `tuning`, or of an earlier call.
            n: how many steps.
            acceptance: the rate that the step size of each chain is adapted to; without
                it, it stays.

        Returns:
            The tuning after the steps; and the steps.
        """
        parts = []
        for i, start in enumerate(range(0, n, ROOM)):
            size = min(ROOM, n - start)
            part = jax.random.fold_in(key, i)
            tuning, steps = self._step(target, part, standing, tuning, size, acceptance)
            standing = steps.end
            parts.append(steps)
        joined = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        return tuning, Steps(*joined)

    def _step(
        self,
        target: Target,
        key: PRNGKeyArray,
        standing: Standing,
        tuning: PyTree,
        n: int,
        acceptance: float | None = None,
    ) -> tuple[PyTree, Steps]:
        keys = jax.random.split(key, self.n)
        how = _how(n, acceptance, standing.vectors.dtype)
        if self._threads is None:
            found = self._on_devices(target, keys, standing, tuning, how)
        else:
            found = self._in_threads(target, keys, standing, tuning, how)
        tuning, steps = found
        return tuning, Steps(*(x[:, :n] for x in steps))

    def _in_threads(
        self,
        target: Target,
        keys: PRNGKeyArray,
        standing: Standing,
        tuning: PyTree,
        how: tuple[Any, ...],
    ) -> Any:
        assert self._threads is not None

        shared = _as_arrays((target, how))

        def arguments(i: int) -> tuple[Any, ...]:
            here = jax.tree.map(lambda x: jnp.asarray(x[i]), (standing, tuning))
            return self._blackjax, shared[0], keys[i], *here, shared[1], self._depth

        each = [arguments(i) for i in range(self.n)]
        program = self._program

        def run(arguments: tuple[Any, ...]) -> Any:
            return jax.device_get(program(*arguments))

        found = list(self._threads.map(run, each))
        return jax.tree.map(lambda *chains: np.stack(chains), *found)

    def _on_devices(
        self,
        target: Target,
        keys: PRNGKeyArray,
        standing: Standing,
        tuning: PyTree,
        how: tuple[Any, ...],
    ) -> Any:
        mesh = self._mesh
        target = chains_on_devices.put(mesh, target, by_chain=False)
        by_chain = chains_on_devices.put(
            mesh,
            (keys, *jax.tree.map(jnp.asarray, (standing, tuning))),
            by_chain=True,
        )
        # A mesh that the user has set is for the model's arrays, not for the chains.
        with contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh):
            found = _advance_all(self._blackjax, mesh, target, by_chain, how, self._depth)
            return chains_on_devices.of_all(
                mesh, chains_on_devices.of_process(mesh, found)
            )


@eqx.filter_jit
def evaluate(target: Target, vectors: Array) -> tuple[Array, Array]:
    """The log-density and its gradient at vectors."""
    with substrate.standard_promotion():
        return jax.vmap(jax.value_and_grad(target))(vectors)


@eqx.filter_jit
def _advance(
    blackjax: Any,
    target: Target,
    key: PRNGKeyArray,
    standing: Standing,
    tuning: PyTree,
    how: tuple[Array, Array, Array],
    max_tree_depth: int,
) -> tuple[PyTree, tuple[Array, ...]]:
    """Take steps in one chain."""
    with substrate.standard_promotion():
        return _take(blackjax, target, key, standing, tuning, how, max_tree_depth)


@eqx.filter_jit
def _advance_all(
    blackjax: Any,
    mesh: Mesh | None,
    target: Target,
    by_chain: tuple[PyTree, ...],
    how: tuple[Array, Array, Array],
    max_tree_depth: int,
) -> tuple[PyTree, tuple[Array, ...]]:
    """Take steps in all chains."""

    def one(shared: PyTree, key: PRNGKeyArray, standing: Any, tuning: PyTree) -> Any:
        target, how = shared
        return _take(blackjax, target, key, standing, tuning, how, max_tree_depth)

    with substrate.standard_promotion():
        return chains_on_devices.map_chains(mesh, one, (target, how), *by_chain)


def _take(
    blackjax: Any,
    target: Target,
    key: PRNGKeyArray,
    standing: Any,
    tuning: PyTree,
    how: tuple[Array, Array, Array],
    max_tree_depth: int,
) -> tuple[PyTree, tuple[Array, ...]]:
    n, adapt, acceptance = how
    state = blackjax.mcmc.hmc.HMCState(*standing)
    (_, tuning), found = take_steps(
        blackjax,
        target,
        key,
        state,
        tuning,
        _kept,
        n=n,
        room=ROOM,
        adapt=adapt,
        acceptance=acceptance,
        max_tree_depth=max_tree_depth,
    )
    return tuning, found


def _as_arrays(tree: Any) -> Any:
    """Put arrays of JAX in place of those of NumPy."""
    return jax.tree.map(
        lambda x: jnp.asarray(x) if isinstance(x, np.ndarray | np.generic) else x, tree
    )


def _how(n: int, acceptance: float | None, dtype: Any) -> tuple[np.ndarray, ...]:
    """How many steps to take, and whether and to what rate step sizes are adapted."""
    rate = np.asarray(0.0 if acceptance is None else acceptance, dtype)
    return np.asarray(n, np.int32), np.asarray(acceptance is not None), rate


def _kept(state: Any, info: Any) -> tuple[Array, ...]:
    return (
        state.position,
        state.logdensity,
        state.logdensity_grad,
        info.is_divergent,
        info.acceptance_rate,
        info.energy,
        info.num_integration_steps,
        info.num_trajectory_expansions,
    )


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
