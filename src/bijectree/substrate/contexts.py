"""Promotion, precision and sharding while a bijector is called."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from .kind import Kind
from .tfp import tfb


def at_once(kind: Kind) -> contextlib.AbstractContextManager[None]:
    """Let a map of a kind see values of what does not depend on a leaf."""
    return jax.ensure_compile_time_eval() if kind.eager else contextlib.nullcontext()


@contextlib.contextmanager
def standard_promotion() -> Iterator[None]:
    """TFP promotes dtypes and ranks freely, whatever the user has asked of JAX."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@contextlib.contextmanager
def own_cache() -> Iterator[None]:
    """Let what TFP's bijectors remember of a call be forgotten after it.

    All bijectors share one dictionary. What is traced stays there, with the trace that it
    belongs to and the bijectors, for as long as a log-det refers to what it is of.
    """
    cache = vars(tfb.Bijector)["_cache"]
    kept, cache.storage = cache.storage, type(cache.storage)()
    try:
        yield
    finally:
        cache.storage = kept


@contextlib.contextmanager
def exactly() -> Iterator[None]:
    """Standard promotion, a cache of its own, and products in the precision of a dtype.

    GPUs and TPUs round the float32 factors of a matrix product to TF32 or bfloat16 unless
    they are asked not to: a map would keep three digits, and its log-det be another's.
    """
    with standard_promotion(), own_cache(), jax.default_matmul_precision("highest"):
        yield


def in_auto_axes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Leave it to XLA how arrays are sharded within a function, and fix what comes out.

    Where shardings are part of the type, JAX asks for that of each gather and scatter,
    and that operands have the same one. Events are whole, so what comes out is sharded
    along the axes before them, as the leaf is.

    Args:
        function: of a kind, numbers, the model's leaf and arrays beside it. They are
            arguments, for what is closed over keeps its explicit axes.
    """

    @functools.wraps(function)
    def call(kind: Kind, numbers: tuple[Any, ...], leaf: Any, *more: Any) -> Any:
        sharding = getattr(jax.typeof(leaf), "sharding", None)
        alone = kind.uniform and all(jnp.ndim(n) == 0 for n in numbers)
        if alone or sharding is None or not sharding.mesh.explicit_axes:
            return function(kind, numbers, leaf, *more)
        batch = len(kind.shape) - kind.event_ndims
        axes = sharding.spec[:batch]
        arguments = (as_arrays(numbers), leaf, *more)
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), arguments
        )
        whole = functools.partial(function, kind)
        shardings = jax.tree.map(
            lambda x: NamedSharding(
                sharding.mesh, PartitionSpec(*axes if x.ndim >= batch else ())
            ),
            jax.eval_shape(whole, *shapes),
        )
        mapped: Callable[..., Any] = jax.sharding.auto_axes(whole, out_sharding=shardings)
        return mapped(*arguments)

    return call


def _jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit` of a function of a kind, numbers and a leaf.

    Numbers of NumPy become JAX's first, in the precision of the moment: JAX remembers
    what one was compiled to, and would hand a float64 one to float32 code.
    """
    shared = jax.jit(function, static_argnums=0)

    def compiled(kind: Kind, numbers: tuple[Any, ...], leaf: Any) -> Any:
        if not kind.recipe.opaque:
            return shared(kind, numbers, leaf)
        if function not in kind.programs:
            kind.programs[function] = jax.jit(functools.partial(function, kind))
        return kind.programs[function](numbers, leaf)

    on_devices = in_auto_axes(compiled)

    @functools.wraps(function)
    def call(kind: Kind, numbers: tuple[Any, ...], leaf: Any) -> Any:
        return on_devices(kind, as_arrays(numbers), leaf)

    return call


def as_arrays(numbers: tuple[Any, ...]) -> tuple[Any, ...]:
    """Numbers of NumPy as JAX's, all others as they are."""
    host = (np.ndarray, np.generic)
    return tuple(jnp.asarray(n) if isinstance(n, host) else n for n in numbers)
