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
    """Let the map of an eager kind see values of what does not depend on a leaf."""
    return jax.ensure_compile_time_eval() if kind.eager else contextlib.nullcontext()


@contextlib.contextmanager
def standard_promotion() -> Iterator[None]:
    """TFP promotes dtypes and ranks freely, whatever the user has asked of JAX."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@contextlib.contextmanager
def own_cache() -> Iterator[None]:
    """Let TFP's bijectors forget after a call what they remember of it.

    All bijectors share one dictionary of inputs and outputs. Traced ones would stay in
    it, together with their trace and the bijectors.
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
    they are asked not to: a map would keep three digits, and no longer fit its log-det.
    """
    with standard_promotion(), own_cache(), jax.default_matmul_precision("highest"):
        yield


def in_auto_axes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Leave it to XLA how arrays are sharded within a function, and fix what comes out.

    Where shardings are part of an array's type, JAX demands one for the result of each
    gather and scatter, and equal ones of operands. No device has a part of an event, so
    what comes out is sharded along the axes before the event's, as the leaf is.

    Args:
        function: of a kind, numbers, the model's leaf and further arrays. All arrays
            are arguments, since one that is closed over keeps its explicit axes.
    """

    @functools.wraps(function)
    def call(kind: Kind, numbers: tuple[Any, ...], leaf: Any, *more: Any) -> Any:
        sharding = getattr(jax.typeof(leaf), "sharding", None)
        if (
            kind.maps_alike(numbers)
            or sharding is None
            or not sharding.mesh.explicit_axes
        ):
            return function(kind, numbers, leaf, *more)
        batch = len(kind.shape) - kind.event_ndims
        axes = sharding.spec[:batch]
        arguments = (as_arrays(numbers), leaf, *more)
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), arguments
        )
        mapped = functools.partial(function, kind)
        shardings = jax.tree.map(
            lambda x: NamedSharding(
                sharding.mesh, PartitionSpec(*axes if x.ndim >= batch else ())
            ),
            jax.eval_shape(mapped, *shapes),
        )
        auto: Callable[..., Any] = jax.sharding.auto_axes(mapped, out_sharding=shardings)
        return auto(*arguments)

    return call


def _jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit` of a function of a kind, numbers and a leaf.

    Numbers of NumPy become JAX's first, in the precision that is set now. JAX remembers
    what a NumPy number was compiled to, and would hand float64 to float32 code.
    """
    shared = jax.jit(function, static_argnums=0)

    def compiled(kind: Kind, numbers: tuple[Any, ...], leaf: Any) -> Any:
        kind = kind.as_read_now()
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
