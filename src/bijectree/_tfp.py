"""TFP's JAX substrate: its import, and the only calls of a bijector's methods.

Everything that was learnt about TFP's mechanics is dealt with here: event
dimensions are explicit, a bijector's numbers are cast to the leaf's dtype, the
log-det is one scalar, and a bijector enters a compiled function as an argument so
that nothing traced can stay behind in its cache.
"""

import abc
import contextlib
import dataclasses
import functools
import importlib.metadata
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Inexact

from .trees import Fixed


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _import_tfp() -> Any:
    """Import TFP's JAX substrate, or say what is installed and how to mend it."""
    stable = _installed("tensorflow-probability")
    nightly = _installed("tfp-nightly")
    mend = (
        "Mend it with\n"
        "    pip uninstall -y tensorflow-probability tfp-nightly\n"
        "    pip install --pre tfp-nightly"
    )
    if stable and nightly:
        raise ImportError(
            f"Both tensorflow-probability {stable} and tfp-nightly {nightly} are "
            "installed. They write the same folder, so what is imported is a mixture "
            f"of the two. {mend}"
        )
    try:
        from tensorflow_probability.substrates import jax as tfp
    except (ImportError, AttributeError) as error:
        if stable:
            why = (
                f"tensorflow-probability {stable} is installed: TFP's stable release, "
                f"which uses parts of JAX that JAX {jax.__version__} no longer has"
            )
        elif nightly:
            why = f"tfp-nightly {nightly} is installed and does not import"
        else:
            why = "TFP is not installed"
        raise ImportError(
            f"bijectree needs TFP's JAX substrate. {why} ({error}). {mend}"
        ) from error
    return tfp


tfp = _import_tfp()


tfb = tfp.bijectors


tfd = tfp.distributions


class FusedBijector(tfb.AutoCompositeTensorBijector):
    """A bijector whose value and log-det share their work.

    A subclass gives `_forward_and_log_det(x) -> (y, log_det)`, where `log_det` has
    one entry an event (the shape of `x` without its last
    `forward_min_event_ndims` axes), and `_inverse(y)`.
    """

    # Whether the log-det depends on the bijector's numbers alone.
    constant_log_det = False

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        return {}

    @abc.abstractmethod
    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]: ...

    def _forward(self, x: Array) -> Array:
        return self._forward_and_log_det(x)[0]

    def _forward_log_det_jacobian(self, x: Array) -> Array:
        return self._forward_and_log_det(x)[1]


# Fused pairs for classes that are not ours, by exact class: a user's subclass of
# `tfb.Exp` may mean something else.
_fused: dict[type, Callable[[Any, Array], tuple[Array, Array]]] = {}


def fused(cls: type) -> Callable[[Callable], Callable]:
    """Register a function `(bijector, x) -> (y, log_det)` for bijectors of one class.

    `log_det` has one entry an event, as in `FusedBijector`.
    """

    def register(function: Callable) -> Callable:
        _fused[cls] = function
        return function

    return register


def is_bijector(x: Any) -> bool:
    """Whether `x` is a TFP bijector (which JAX would otherwise flatten)."""
    return isinstance(x, tfb.Bijector)


@dataclasses.dataclass(frozen=True)
class Structure:
    """A bijector without its numbers: hashable, equal when the bijectors are alike.

    Integers in a bijector (a permutation, a shape) belong to the structure. An object
    that is no JAX pytree may change its state, so that each `split` of it gives another
    structure.
    """

    treedef: Any
    fixed: tuple[Fixed | None, ...]
    # Shapes and dtypes of the numbers that it was first seen with, which TFP's
    # constructors look at.
    avals: tuple[tuple[Any, Any], ...] = dataclasses.field(compare=False, repr=False)

    def build(self, numbers: tuple[Any, ...]) -> Any:
        """Put the numbers back: a bijector again."""
        rest = iter(numbers)
        leaves = [next(rest) if f is None else f.value for f in self.fixed]
        return jax.tree_util.tree_unflatten(self.treedef, leaves)

    @property
    def opaque(self) -> bool:
        """Whether the bijector, or a part of it, is no JAX pytree."""
        return any(f is not None and is_bijector(f.value) for f in self.fixed)

    def __reduce__(self) -> tuple[Any, ...]:
        if pickle.loads(pickle.dumps(self.treedef)) == self.treedef:
            return Structure, (self.treedef, self.fixed, self.avals)
        # Treedefs that hold Equinox modules do not survive pickling; bijectors do.
        # Nor do numbers of NumPy: `ScaleMatvecTriL` would make them part of itself.
        zeros = tuple(jnp.zeros(shape, dtype) for shape, dtype in self.avals)
        bijector = self.build(zeros)
        if _structure_of(bijector) != self:
            raise pickle.PicklingError(f"{bijector!r} is not the same when made again")
        return _structure_of, (bijector,)


def _structure_of(bijector: Any) -> Structure:
    return split(bijector)[0]


def _is_number(leaf: Any) -> bool:
    array = isinstance(leaf, (np.ndarray, np.generic, jax.Array))
    return array and jnp.issubdtype(leaf.dtype, jnp.inexact)


def _may_change(leaf: Any) -> bool:
    """Whether a leaf is a bijector or a distribution that JAX cannot look into."""
    return is_bijector(leaf) or hasattr(leaf, "log_prob")


# TFP's maps of single elements that know no position, and whose parameters are numbers
# that all show as leaves.
_OF_NUMBERS = frozenset(
    (
        *(tfb.Identity, tfb.Shift, tfb.Scale, tfb.Exp, tfb.Log, tfb.Expm1, tfb.Log1p),
        *(tfb.Softplus, tfb.Sigmoid, tfb.Tanh, tfb.Sinh, tfb.Softsign, tfb.SinhArcsinh),
        *(tfb.Square, tfb.Power, tfb.Reciprocal, tfb.LambertWTail, tfb.GumbelCDF),
        *(tfb.NormalCDF, tfb.FrechetCDF, tfb.GompertzCDF, tfb.KumaraswamyCDF),
        *(tfb.MoyalCDF, tfb.RayleighCDF, tfb.ShiftedGompertzCDF, tfb.WeibullCDF),
    )
)


class _ScaleMatvecDiag(tfb.ScaleMatvecDiag):
    """TFP's, without `dtype`: that would stay what it was when its numbers are cast."""

    def __init__(self, scale_diag: Any, *, adjoint: bool, validate_args: bool, name: str):
        super().__init__(scale_diag, adjoint, validate_args, name)


class _ScaleMatvecTriL(tfb.ScaleMatvecTriL):
    """TFP's, without `dtype`."""

    def __init__(self, scale_tril: Any, *, adjoint: bool, validate_args: bool, name: str):
        super().__init__(scale_tril, adjoint, validate_args, name)


_MATVECS = {
    tfb.ScaleMatvecDiag: (_ScaleMatvecDiag, "scale_diag"),
    tfb.ScaleMatvecTriL: (_ScaleMatvecTriL, "scale_tril"),
}


_SCALE_MATVEC = (*_MATVECS, tfb.ScaleMatvecLinearOperator, tfb.ScaleMatvecLU)


def _as_float(number: Any) -> Any:
    """Integers as floats, where they are meant as numbers."""
    array = jnp.asarray(number)
    return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(float)


def _with_floats(part: Any) -> Any:
    """A part of a bijector whose numbers are all leaves, and floats.

    Integers would be part of the structure, and TFP casts what such a bijector maps to
    their dtype: `Scale(jnp.array(2))` maps 0.5 to 0.
    """
    if type(part) in _MATVECS:
        cls, matrix = _MATVECS[type(part)]
        numbers = _as_float(part.parameters[matrix])
        return cls(
            numbers,
            adjoint=part.adjoint,
            validate_args=part.validate_args,
            name=part.name,
        )
    if type(part) in _OF_NUMBERS:
        leaves = jax.tree_util.tree_leaves(part)
        if not all(jnp.issubdtype(jnp.result_type(x), jnp.inexact) for x in leaves):
            return jax.tree_util.tree_map(_as_float, part)
    return part


def _plain(bijector: Any) -> Any:
    """A bijector all of whose numbers show as leaves that can be cast."""
    bijector = _spelled_out(bijector)
    known = _OF_NUMBERS | _MATVECS.keys()
    parts, treedef = jax.tree_util.tree_flatten(
        bijector, is_leaf=lambda x: type(x) in known
    )
    changed = [_with_floats(part) for part in parts]
    if all(a is b for a, b in zip(parts, changed, strict=True)):
        return bijector
    return treedef.unflatten(changed)


def _spelled_out(bijector: Any) -> Any:
    """Spell out subclasses of `Chain`, so that the numbers they make show as leaves.

    `FillScaleTriL()` makes a float32 `Shift(1e-5)` in its constructor, where nothing
    could cast it to a float64 leaf's dtype.
    """
    if isinstance(bijector, tfb.Chain) and not _maps_by_itself(type(bijector)):
        parts = [_spelled_out(part) for part in bijector.bijectors]
        unchanged = all(a is b for a, b in zip(parts, bijector.bijectors, strict=True))
        if type(bijector) is not tfb.Chain or not unchanged:
            return tfb.Chain(parts, name=bijector.name)
    return bijector


def _maps_by_itself(cls: type) -> bool:
    """Whether a subclass of `Chain` has a map or a log-det of its own."""
    bases = cls.__mro__[: cls.__mro__.index(tfb.Chain)]
    names = {name for base in bases for name in vars(base)}
    return any("forward" in name or "inverse" in name for name in names)


def split(bijector: Any) -> tuple[Structure, tuple[Any, ...]]:
    """Take a bijector apart into its structure and its numbers (inexact arrays)."""
    leaves, treedef = jax.tree_util.tree_flatten(_plain(bijector))
    fixed = tuple(
        None if _is_number(leaf) else Fixed(leaf, once=_may_change(leaf))
        for leaf in leaves
    )
    numbers = tuple(leaf for leaf in leaves if _is_number(leaf))
    avals = tuple((jnp.shape(n), jnp.result_type(n)) for n in numbers)
    return Structure(treedef, fixed, avals), numbers


@dataclasses.dataclass(frozen=True, eq=False)
class Kind:
    """What leaves must share for one trace to serve them all.

    Made by `bind`, which interns: two leaves of one kind hold the same object.

    Attributes:
        structure: the bijector without its numbers.
        shape: the leaf's shape in the model.
        free_shape: the leaf's shape in free coordinates.
        dtype: the leaf's dtype, on both sides.
        compute_dtype: the dtype of the arithmetic and of the log-det.
        event_ndims: how many trailing axes of the model's leaf form one event.
        elementwise: whether every element is mapped alone.
        uniform: whether every element is also mapped alike, wherever it stands; only
            where that is known of its class.
        eager: whether the map needs what does not depend on a leaf, such as shapes,
            computed at once while it is traced.
    """

    structure: Structure
    shape: tuple[int, ...]
    free_shape: tuple[int, ...]
    dtype: np.dtype
    compute_dtype: np.dtype
    event_ndims: int
    elementwise: bool
    uniform: bool
    eager: bool

    def __eq__(self, other: object) -> bool:
        # Interned, so nearly always identical: a fast answer for every call's dispatch.
        return self is other or (isinstance(other, Kind) and self._key == other._key)

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _key(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    @functools.cached_property
    def _hash(self) -> int:
        return hash(self._key)

    def __reduce__(self) -> tuple[Any, ...]:
        return Kind, self._key


def bind(
    structure: Structure, numbers: tuple[Any, ...], shape: tuple[int, ...], dtype: Any
) -> Kind:
    """Find the free shape of a leaf and that the bijector fits it, from shapes alone.

    Raises:
        ValueError: the bijector cannot take the leaf, would change its shape, or does
            not give one scalar log-det; the message lacks only the leaf's path.
    """
    avals = tuple((jnp.shape(n), jnp.result_type(n)) for n in numbers)
    return _bind(structure, avals, tuple(shape), jax.dtypes.canonicalize_dtype(dtype))


def with_dtype(kind: Kind, dtype: Any, numbers: tuple[Any, ...]) -> Kind:
    """The same kind for leaves of another dtype."""
    if dtype == kind.dtype:
        return kind
    return bind(kind.structure, numbers, kind.shape, dtype)


# What TFP, a user's own bijector or function raises when shapes or dtypes do not suit.
BIND_ERRORS = (
    ValueError,
    TypeError,
    NotImplementedError,
    IndexError,
    KeyError,
    AttributeError,
    AssertionError,
    ZeroDivisionError,
)


@functools.lru_cache(maxsize=4096)
def _bind(structure: Structure, avals: tuple, shape: tuple[int, ...], dtype: Any) -> Kind:
    numbers = tuple(jax.ShapeDtypeStruct(*aval) for aval in avals)
    half = np.dtype(dtype).itemsize < 4
    compute_dtype = np.dtype(np.float32) if half else np.dtype(dtype)

    def look(attribute: Callable[[Any], Any]) -> Any:
        # Made of tracers, so that a constructor does not check numbers of ours.
        seen: list[Any] = []

        def build(*numbers: Any) -> None:
            seen.append(attribute(structure.build(_cast(numbers, compute_dtype))))

        jax.eval_shape(build, *numbers)
        return seen[0]

    name, min_ndims, injective, uniform = look(
        lambda b: (
            getattr(b, "name", type(b).__name__),
            (b.forward_min_event_ndims, b.inverse_min_event_ndims),
            b._is_injective,
            _is_uniform(b),
        )
    )
    if not all(isinstance(n, (int, np.integer)) for n in min_ndims):
        raise ValueError(
            f"{name} maps several parts; one leaf takes a bijector of one part"
        )
    if not injective:
        raise ValueError(f"{name} is not injective, so it has no inverse")
    if len(shape) < min_ndims[1]:
        raise ValueError(
            f"{name} needs at least {min_ndims[1]} axes, the leaf's shape is {shape}"
        )
    kind = Kind(
        structure=structure,
        shape=shape,
        free_shape=shape,
        dtype=np.dtype(dtype),
        compute_dtype=compute_dtype,
        event_ndims=int(min_ndims[1]),
        elementwise=min_ndims == (0, 0),
        uniform=uniform,
        eager=False,
    )
    try:
        found = _shapes(kind, numbers)
    except (TypeError, ValueError, IndexError) as error:
        # Some of TFP's compute shapes as arrays, and then ask for their values.
        kind = dataclasses.replace(kind, eager=True)
        try:
            found = _shapes(kind, numbers)
        except BIND_ERRORS:
            raise error from None
    free, model, log_det = found
    kind = dataclasses.replace(kind, free_shape=tuple(free.shape))
    if tuple(model.shape) != shape:
        raise ValueError(
            f"{name} would turn the leaf's shape {shape} into {tuple(model.shape)}; "
            "its own parameters must not broadcast the leaf"
        )
    if log_det.shape != ():
        raise ValueError(
            f"the log-det of {name} has shape {log_det.shape} where a scalar is due"
        )
    return kind


def _shapes(kind: Kind, numbers: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """The shapes of a leaf's free value, of what that maps to, and of its log-det."""
    leaf = jax.ShapeDtypeStruct(kind.shape, kind.dtype)
    try:
        free = jax.eval_shape(functools.partial(inverse, kind), numbers, leaf)
    except NotImplementedError:  # a map that only goes forward
        seen: list[Any] = []
        jax.eval_shape(
            lambda *n: seen.append(
                kind.structure.build(n).inverse_event_shape(kind.shape)
            ),
            *numbers,
        )
        free = jax.ShapeDtypeStruct(seen[0], kind.dtype)
    return free, *jax.eval_shape(
        functools.partial(forward_and_log_det, kind), numbers, free
    )


def _cast(numbers: tuple[Any, ...], dtype: Any) -> tuple[Array, ...]:
    """Cast real numbers of a bijector to the dtype of the arithmetic."""
    arrays = (jnp.asarray(n) for n in numbers)
    return tuple(
        n if jnp.issubdtype(n.dtype, jnp.complexfloating) else n.astype(dtype)
        for n in arrays
    )


def _pin(bijector: Any, x: Array) -> Array:
    """Cast to the dtype that a bijector still insists on, if it does.

    Numbers that TFP keeps as Python lists are out of reach of `_cast`.
    """
    dtype = bijector.dtype
    if dtype is not None and not jnp.issubdtype(dtype, jnp.inexact):
        raise ValueError(
            f"{bijector.name} computes in {np.dtype(dtype)}, to which the leaf would be "
            "rounded; give its parameters as floats"
        )
    return x if dtype is None else x.astype(dtype)


def _narrowest(bijector: Any, dtype: Any) -> np.dtype:
    """The least precise dtype that a bijector computes in, given leaves of `dtype`."""
    if type(bijector) is tfb.Chain:
        parts = [_narrowest(part, dtype) for part in bijector.bijectors]
    else:
        own = bijector.dtype
        parts = [] if own is None or not jnp.issubdtype(own, jnp.floating) else [own]
    return min((np.dtype(d) for d in (dtype, *parts)), key=lambda d: d.itemsize)


def _links(bijector: Any) -> list[Any]:
    """What a chain, or an inverted one, is made of: the first to be applied first.

    A chain that takes a leaf apart and joins it again is one link.
    """
    links = all_links(bijector)
    return links if all(_of_one_part(link) for link in links) else [bijector]


def _of_one_part(bijector: Any) -> bool:
    ndims = bijector.forward_min_event_ndims, bijector.inverse_min_event_ndims
    return all(isinstance(n, (int, np.integer)) for n in ndims)


def all_links(bijector: Any) -> list[Any]:
    """The same, whatever they take apart; each of an inverted chain is inverted."""
    inner: Any = bijector.bijector if type(bijector) is tfb.Invert else None
    if type(bijector) is tfb.Chain:
        parts = reversed(bijector.bijectors)
        return [link for part in parts for link in all_links(part)]
    if type(inner) is tfb.Invert:
        return all_links(inner.bijector)
    if type(inner) is tfb.Chain:
        return [link for part in inner.bijectors for link in all_links(tfb.Invert(part))]
    return [bijector]


def _is_uniform(bijector: Any) -> bool:
    """Whether a bijector is known to map every element alone, and all alike."""
    if type(bijector) is tfb.Chain:
        return all(_is_uniform(part) for part in bijector.bijectors)
    if type(bijector) is tfb.Invert:
        return _is_uniform(bijector.bijector)
    ours = isinstance(bijector, FusedBijector) and _is_elementwise(bijector)
    return (ours or type(bijector) in _OF_NUMBERS) and all(
        np.ndim(x) == 0 for x in jax.tree_util.tree_leaves(bijector)
    )


def _is_elementwise(bijector: Any) -> bool:
    return bijector.forward_min_event_ndims == bijector.inverse_min_event_ndims == 0


def scales_evenly(bijector: Any) -> bool:
    """Whether a map of single elements changes volume alike in every direction.

    Then its log-det on a set of fewer dimensions than entries is known as well.
    """
    inner = bijector.bijector if type(bijector) is tfb.Invert else bijector
    constant = inner.is_constant_jacobian or getattr(inner, "constant_log_det", False)
    moves = type(inner) in (tfb.Identity, tfb.Shift)
    return moves or (constant and _is_uniform(inner))


def _counts_entries(bijector: Any) -> bool:
    """Whether the log-det of a map is that of all entries as free coordinates."""
    inner = bijector.bijector if type(bijector) is tfb.Invert else bijector
    return _is_elementwise(bijector) or isinstance(inner, _SCALE_MATVEC)


def _map_inverse(bijector: Any, y: Array) -> Array:
    for link in reversed(_links(bijector)):
        y = link.inverse(_pin(link, y))
    return y


def _pair(bijector: Any, x: Array) -> tuple[Array, Array]:
    """Value and log-det, the latter summed over the whole of `x`."""
    total = jnp.zeros((), x.dtype)
    coordinates = x.size
    for link in _links(bijector):
        size = x.size
        x, log_det = _pair_of_link(link, x)
        if coordinates < size and _counts_entries(link):
            log_det = log_det * _share(link, coordinates, size)
        coordinates = min(coordinates, x.size)
        total = total + log_det.astype(total.dtype)
    return x, total


def _share(link: Any, coordinates: int, entries: int) -> float:
    """What of a log-det, counted over all entries, is that in minimal coordinates."""
    if not scales_evenly(link):
        raise ValueError(
            f"{link.name} comes after a map onto a set with fewer free coordinates than "
            f"entries ({coordinates} for {entries}), as a simplex is, where its log-det "
            f"would count all {entries}. Only tfb.Shift and tfb.Scale of one number may "
            "follow; put other maps before it, or write one bijector of the whole"
        )
    return coordinates / entries


def _pair_of_link(bijector: Any, x: Array) -> tuple[Array, Array]:
    if isinstance(bijector, FusedBijector):
        y, log_det = bijector._forward_and_log_det(x)
        return y, jnp.sum(log_det)
    if type(bijector) in _fused:
        y, log_det = _fused[type(bijector)](bijector, x)
        return y, jnp.sum(log_det)
    x = _pin(bijector, x)
    y = bijector.forward(x)
    return y, bijector.forward_log_det_jacobian(x, event_ndims=jnp.ndim(x))


def _at_once(kind: Kind) -> contextlib.AbstractContextManager[None]:
    """Let a map of a kind see values of what does not depend on a leaf."""
    return jax.ensure_compile_time_eval() if kind.eager else contextlib.nullcontext()


@contextlib.contextmanager
def _standard_promotion() -> Iterator[None]:
    """TFP promotes dtypes and ranks freely, whatever the user has asked of JAX."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@contextlib.contextmanager
def _exactly() -> Iterator[None]:
    """Standard promotion, and products of matrices in the precision of their dtype.

    GPUs and TPUs round the float32 factors of a product to TF32 or bfloat16 unless they
    are asked not to: a map would keep three digits, and its log-det be that of another.
    """
    with _standard_promotion(), jax.default_matmul_precision("highest"):
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
    jitted = in_auto_axes(jax.jit(function, static_argnums=0))

    @functools.wraps(function)
    def call(kind: Kind, numbers: tuple[Any, ...], leaf: Any) -> Any:
        return jitted(kind, as_arrays(numbers), leaf)

    return call


def as_arrays(numbers: tuple[Any, ...]) -> tuple[Any, ...]:
    """Numbers of NumPy as JAX's, all others as they are."""
    host = (np.ndarray, np.generic)
    return tuple(jnp.asarray(n) if isinstance(n, host) else n for n in numbers)


@_jit
def forward_and_log_det(
    kind: Kind, numbers: tuple[Any, ...], free: Inexact[Array, "..."]
) -> tuple[Inexact[Array, "..."], Float[Array, ""]]:
    """Map a leaf from free to model coordinates; the log-det is one scalar."""
    with _exactly(), _at_once(kind):
        bijector = kind.structure.build(_cast(numbers, kind.compute_dtype))
        y, log_det = _pair(bijector, free.astype(kind.compute_dtype))
        return y.astype(kind.dtype), log_det.astype(kind.compute_dtype)


@_jit
def forward(kind: Kind, numbers: tuple[Any, ...], free: Inexact[Array, "..."]) -> Array:
    """Map a leaf from free to model coordinates."""
    return forward_and_log_det(kind, numbers, free)[0]


@_jit
def inverse(kind: Kind, numbers: tuple[Any, ...], leaf: Inexact[Array, "..."]) -> Array:
    """Map a leaf from model to free coordinates."""
    with _exactly(), _at_once(kind):
        bijector = kind.structure.build(_cast(numbers, kind.compute_dtype))
        return _map_inverse(bijector, leaf.astype(kind.compute_dtype)).astype(kind.dtype)


# How far a value may be from the one it maps back to, by the bytes of its dtype: a
# simplex sums to 1 only to within rounding. Stan's CONSTRAINT_TOLERANCE for float64.
_RELATIVE_TOLERANCE = {8: 1e-8, 4: 1e-5, 2: 2e-2, 1: 2e-1}


@_jit
def inverse_and_outside(
    kind: Kind, numbers: tuple[Any, ...], leaf: Inexact[Array, "..."]
) -> tuple[Array, Bool[Array, "..."]]:
    """Map a leaf to free coordinates and say which of its events are off the support.

    The test holds for any bijector: the free value is finite and maps back to the same
    value. "The same" is to within a relative tolerance (1e-8 in float64, as in Stan)
    and the effect of rounding the free value, measured by moving it that much.
    """
    exact = dataclasses.replace(kind, dtype=kind.compute_dtype)
    bijector = kind.structure.build(_cast(numbers, kind.compute_dtype))
    compute_dtype = _narrowest(bijector, kind.compute_dtype)
    y = leaf.astype(kind.compute_dtype)
    x = inverse(exact, numbers, y)
    back = forward(exact, numbers, x)
    # Some 32 ulp, so that the map's own rounding does not hide the move.
    step = 32 * float(jnp.finfo(compute_dtype).eps) * (1 + jnp.abs(x))
    signs = jnp.where(jnp.arange(x.size) % 2 == 0, 1, -1).astype(x.dtype)
    spread = jnp.zeros((), y.dtype)
    for moved in (x + step, x + step * signs.reshape(x.shape)):
        move = jnp.abs(forward(exact, numbers, moved) - back)
        spread = jnp.maximum(spread, jnp.where(jnp.isnan(move), 0, move))

    event = tuple(range(y.ndim - kind.event_ndims, y.ndim))
    size = jnp.max(jnp.abs(y), axis=event, keepdims=True, initial=0.0)
    spread = jnp.max(spread, axis=event, keepdims=True, initial=0.0)
    itemsize = min(kind.dtype.itemsize, compute_dtype.itemsize)
    tolerance = _RELATIVE_TOLERANCE[itemsize] * size + 2 * spread
    same = jnp.all(jnp.abs(back - y) <= tolerance, axis=event)
    free = x.astype(kind.dtype)
    finite = jnp.isfinite(free)
    if finite.shape[: same.ndim] == same.shape:
        finite = jnp.all(finite, axis=tuple(range(same.ndim, finite.ndim)))
    else:
        finite = jnp.all(finite)
    return free, ~(same & finite)
