"""Chains that take steps together, on all cores or all devices, by one program."""

import contextlib
import functools
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Self

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

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Steps one behind another."""
        return cls(*(np.concatenate(part, axis=1) for part in zip(*parts, strict=True)))

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
        self._numbers = [jnp.asarray(i) for i in range(n)]
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

    def begin_compiling(self, target: Target, key: PRNGKeyArray, dtype: Any) -> None:
        """Compile in a thread, where chains run in threads, while something else is done.

        Args:
            target: of the structure that the chains will be given.
            key: of the kind that they will be given.
            dtype: of their vectors.
        """
        if self._threads is None or self._compiling is not None:
            return
        nowhere, zeros = np.zeros((self.n, target.posterior.dim), dtype), np.zeros(self.n)
        standing = Standing(nowhere, zeros.astype(dtype), nowhere)
        tuning = self.tuning(standing, 1.0)
        # Settings of JAX, such as the precision, belong to a thread. So the program is
        # traced in this one, what is compiled does not ask for them, and all that it is
        # given are arrays of JAX.
        arguments = _as_arrays((target, key, standing, tuning, _how(0, None, dtype)))
        advance: Any = _advance
        lowered = advance.lower(self._blackjax, *arguments, self._numbers[0], self._depth)
        self._compiling = self._threads.submit(lowered.compile)

    def forget(self) -> None:
        """Let the program go: the next target is of another structure."""
        self._compiling, self._ready = None, False

    def compile(self, target: Target, key: PRNGKeyArray, standing: Standing) -> float:
        """Compile the program, or wait for it.

        Returns:
            The seconds that took; 0 after another call.
        """
        if self._ready:
            return 0.0
        before = time.perf_counter()
        self.begin_compiling(target, key, standing.vectors.dtype)
        if self._compiling is not None:
            self._program = self._compiling.result()
        self._step(target, key, standing, self.tuning(standing, 1.0), 0)
        self._ready = True
        return time.perf_counter() - before

    def tuning(self, standing: Standing, step_size: float) -> PyTree:
        """The state of dual averaging of each chain that starts from a step size."""
        size = jnp.asarray(step_size, standing.vectors.dtype)
        one = jax.device_get(first_tuning(self._blackjax, size))
        return jax.tree.map(lambda x: np.stack([np.asarray(x)] * self.n), one)

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
        return tuning, Steps.joined(parts)

    def _step(
        self,
        target: Target,
        key: PRNGKeyArray,
        standing: Standing,
        tuning: PyTree,
        n: int,
        acceptance: float | None = None,
    ) -> tuple[PyTree, Steps]:
        how = _how(n, acceptance, standing.vectors.dtype)
        shared = _as_arrays((target, key, standing, tuning, how))
        run: Any = self._on_devices if self._threads is None else self._in_threads
        tuning, steps = run(*shared)
        return tuning, Steps(*(x[:, :n] for x in steps))

    def _in_threads(self, *shared: Any) -> Any:
        assert self._threads is not None
        program, blackjax, depth = self._program, self._blackjax, self._depth

        def run(number: Array) -> Any:
            return jax.device_get(program(blackjax, *shared, number, depth))

        found = list(self._threads.map(run, self._numbers))
        return jax.tree.map(lambda *chains: np.stack(chains), *found)

    def _on_devices(
        self, target: Target, key: PRNGKeyArray, standing: Any, tuning: PyTree, how: Any
    ) -> Any:
        mesh = self._mesh
        put = functools.partial(chains_on_devices.put, mesh)
        target = put(target, by_chain=False)
        by_chain = put((jnp.arange(self.n), standing, tuning), by_chain=True)
        # A mesh that the user has set is for the model's arrays, not for the chains.
        with contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh):
            shared = (target, key, how)
            found = _advance_all(self._blackjax, mesh, shared, by_chain, self._depth)
            here = chains_on_devices.of_process(mesh, found)
            return chains_on_devices.of_all(mesh, here)


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
    number: Array,
    max_tree_depth: int,
) -> tuple[PyTree, tuple[Array, ...]]:
    """Take steps in the chain of a number."""
    with substrate.standard_promotion():
        standing, tuning = jax.tree.map(lambda x: x[number], (standing, tuning))
        shared = (target, key, how)
        return _take(blackjax, shared, number, standing, tuning, max_tree_depth)


@eqx.filter_jit
def _advance_all(
    blackjax: Any,
    mesh: Mesh | None,
    shared: tuple[Any, ...],
    by_chain: tuple[PyTree, ...],
    max_tree_depth: int,
) -> tuple[PyTree, tuple[Array, ...]]:
    """Take steps in all chains."""

    def one(shared: Any, number: Array, standing: Any, tuning: PyTree) -> Any:
        return _take(blackjax, shared, number, standing, tuning, max_tree_depth)

    with substrate.standard_promotion():
        return chains_on_devices.map_chains(mesh, one, shared, *by_chain)


def _take(
    blackjax: Any,
    shared: tuple[Any, ...],
    number: Array,
    standing: Any,
    tuning: PyTree,
    max_tree_depth: int,
) -> tuple[PyTree, tuple[Array, ...]]:
    target, key, how = shared
    n, adapt, acceptance = how
    state = blackjax.mcmc.hmc.HMCState(*standing)
    (_, tuning), found = take_steps(
        blackjax,
        target,
        jax.random.fold_in(key, number),
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
