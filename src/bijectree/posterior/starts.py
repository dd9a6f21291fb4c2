"""Starting points: proposed until the density and its gradient are finite."""

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..trees import on_host, raise_all
from .ancestral import draw_terms
from .function import Function, as_read_now
from .ignored import flat_at, leaves_without_prior, value_and_gradient, warn_of_ignored
from .start_faults import refuse_start

if TYPE_CHECKING:
    from .posterior import Posterior

# One run of the compiled program has room for so many starts, and for so many numbers.
_STARTS, _NUMBERS = 256, 2**20


class Starts(NamedTuple):
    """Starts that were found.

    Attributes:
        free: free coordinates, with a leading axis if there was an `n`.
        gradients: how many gradients of the density that took.
    """

    free: PyTree
    gradients: int


def find_starts(
    posterior: "Posterior",
    key: PRNGKeyArray,
    data: tuple[Any, ...],
    *,
    start: Any = "uniform",
    jitter: float = 0.0,
    n: int | None = None,
    tries: int = 100,
    stacklevel: int = 1,
) -> Starts:
    """Find free coordinates to start from, as `Posterior.initial` documents.

    Args:
        posterior: a Posterior.
        key: a PRNG key.
        data: what the log-likelihood takes after the model.
        start: as in `Posterior.initial`.
        jitter: as there.
        n: as there.
        tries: as there.
        stacklevel: of warnings, as seen from the caller.
    """
    posterior = as_read_now(posterior)
    propose = Proposal(posterior, start=start, jitter=jitter)
    if not isinstance(start, str) and jitter == 0:
        tries = 1
    count = 1 if n is None else n
    _require_counts(n=(count, 0), tries=(tries, 1))
    room = max(1, min(_STARTS, _NUMBERS // max(posterior.dim, 1)))
    given = Function(data)
    parts: list[PyTree] = []
    flat: list[np.ndarray] = []
    spent = 0
    for first in range(0, max(count, 1), room):
        limits = jnp.asarray([first, min(first + room, count), tries])
        found = _search(posterior, given, propose, key, limits, room=room)
        parts.append(found.free)
        spent += int(found.spent)
        if not found.ok:
            free = _row(found.free, int(found.number) - first)
            refuse_start(posterior, free, found.gradient, data, tries=tries)
        new = [on_host(mask) for mask in found.flat]
        flat = [a & b for a, b in zip(flat, new, strict=True)] if flat else new
    if count and any(mask.any() for mask in flat):
        one = _row(parts[0], 0)
        spent += warn_of_ignored(
            posterior, flat, one, key, data, stacklevel=stacklevel + 1
        )
    return Starts(_cut(parts, n), spent)


def _require_counts(**counts: tuple[Any, int]) -> None:
    """Raise for counts that are not integers of at least some number."""
    faults = [
        f"`{name}` must be an integer of at least {least}, got {value!r}"
        for name, (value, least) in counts.items()
        if not isinstance(value, int | np.integer)
        or isinstance(value, bool)
        or value < least
    ]
    raise_all("initial: some numbers cannot be used", faults)


class Proposal(eqx.Module):
    """A random point to start from, which need not be finite.

    Attributes:
        centre: free coordinates: those of a model, or zeros.
        width: half the width of the uniform numbers that are added.
        jitter: the standard deviation of the normal numbers that are added; `None` if
            there are none, which compiles in less time.
        from_prior: whether there are draws of the priors in place of uniform numbers.
    """

    centre: PyTree
    width: Float[Array, ""]
    jitter: Float[Array, ""] | None
    from_prior: bool = eqx.field(static=True)

    def __init__(self, posterior: "Posterior", *, start: Any, jitter: float):
        named, reparam = isinstance(start, str), posterior.reparam
        if named and start not in ("uniform", "prior"):
            raise ValueError(
                f"start: expected 'uniform', 'prior' or a model, got {start!r}"
            )
        self.from_prior = named and start == "prior"
        if self.from_prior and posterior.prior_function is not None:
            raise ValueError(
                "start='prior': the prior is a function, which cannot be drawn from; "
                "use 'uniform' or a model"
            )
        rows = [row for _, row in reparam.bound.plan.free]
        zeros = [jnp.asarray(np.zeros(row.free_shape, row.free_dtype)) for row in rows]
        free = reparam.bound.free_tree(zeros) if named else reparam.inverse(start)
        # A start at a model runs the program of one that is uniform, if it has no jitter,
        # so its dtypes are not weak.
        self.centre = jax.tree.map(lambda x: jnp.asarray(x, x.dtype), free)
        self.width = jnp.asarray(2.0 if named else 0.0, float)
        self.jitter = jnp.asarray(jitter, float) if jitter else None

    def __call__(self, posterior: "Posterior", key: PRNGKeyArray) -> PyTree:
        """Free coordinates."""
        shape, unravel = (posterior.dim,), posterior.reparam.unravel
        key_uniform, key_prior, key_jitter = (
            jax.random.fold_in(key, i) for i in range(3)
        )
        free = self.width * jax.random.uniform(key_uniform, shape, minval=-1, maxval=1)
        if self.from_prior:
            free = _draw(posterior, key_prior, unravel(free))
        else:
            free = jax.tree.map(jnp.add, self.centre, unravel(free))
        if self.jitter is None:
            return free
        noise = self.jitter * jax.random.normal(key_jitter, shape)
        return jax.tree.map(jnp.add, free, unravel(noise))


def _draw(posterior: "Posterior", key: PRNGKeyArray, free: PyTree) -> PyTree:
    """Put draws of the priors where there are priors."""
    reparam = posterior.reparam
    leaves, treedef = jtu.tree_flatten(reparam.forward(free))
    draw_terms(reparam.bound, posterior.prior_plan, posterior.prior_numbers, leaves, key)
    return reparam.inverse(treedef.unflatten(leaves))


class _Found(NamedTuple):
    """What a search has found so far.

    Attributes:
        free: the free coordinates of the starts, with one leading axis.
        number: which start is looked for.
        tried: how often it was looked for.
        spent: how many gradients were taken.
        ok: whether the density and its gradient were finite at the last try.
        gradient: the gradient at the last try.
        flat: of `flat_at`, at all starts.
    """

    free: PyTree
    number: Int[Array, ""]
    tried: Int[Array, ""]
    spent: Int[Array, ""]
    ok: Bool[Array, ""]
    gradient: PyTree
    flat: list[Array]


@eqx.filter_jit
def _search(
    posterior: "Posterior",
    given: Function,
    propose: Proposal,
    key: PRNGKeyArray,
    limits: Int[Array, "3"],
    *,
    room: int,
) -> _Found:
    """Look for starts one after another, and at each until it is finite.

    Where the density with the log-det is finite, and its gradient, so are those without.

    Args:
        posterior: a Posterior.
        given: the data.
        propose: where to look.
        key: a PRNG key; the random numbers of a start are of it and the start's number.
        limits: the number of the first start, that after the last, and how often to look
            for each.
        room: how many starts there is room for.
    """
    first, end, tries = limits
    data = given.build()

    def look(found: _Found) -> _Found:
        of_start = jax.random.fold_in(key, found.number)
        free = propose(posterior, jax.random.fold_in(of_start, found.tried))
        # XLA would fuse what follows with what makes the numbers, which takes it long.
        free = jax.lax.optimization_barrier(free)
        value, gradient = value_and_gradient(
            lambda free: posterior.log_density(free, *data), free
        )
        value, gradient = jax.lax.optimization_barrier((value, gradient))
        ok = functools.reduce(
            jnp.logical_and,
            [jnp.isfinite(x).all() for x in (value, *jtu.tree_leaves(gradient))],
        )
        row = found.number - first
        return _Found(
            jax.tree.map(lambda all, x: all.at[row].set(x), found.free, free),
            found.number + ok.astype(found.number.dtype),
            jnp.where(ok, 0, found.tried + 1),
            found.spent + 1,
            ok,
            gradient,
            [
                a & (b | ~ok)
                for a, b in zip(
                    found.flat, flat_at(posterior, free, gradient), strict=True
                )
            ],
        )

    one = propose.centre
    leaves = jtu.tree_leaves(one)
    zero = jnp.zeros((), limits.dtype)
    nothing = _Found(
        jax.tree.map(lambda x: jnp.zeros((room, *x.shape), x.dtype), one),
        first,
        zero,
        zero,
        jnp.ones((), bool),
        jax.tree.map(jnp.zeros_like, one),
        [jnp.ones(leaves[n].shape, bool) for n in leaves_without_prior(posterior)],
    )
    return jax.lax.while_loop(
        lambda found: (found.number < end) & (found.tried < tries), look, nothing
    )


def _row(tree: PyTree, number: int) -> PyTree:
    return jax.tree.map(lambda x: x[number], tree)


@functools.partial(jax.jit, static_argnames="n")
def _cut(parts: list[PyTree], n: int | None) -> PyTree:
    """The first rows of trees of arrays, one below another; the first for `None`."""
    rows = 0 if n is None else slice(n)
    return jax.tree.map(lambda *x: jnp.concatenate(x)[rows], *parts)
