"""`from_paramax`: the values of a model of paramax's wrappers, and a spec of them."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from ..constraints import interval_of, positive, unit_interval
from ..foreign import as_bijector
from ..substrate import BIND_ERRORS, is_bijector, tfb
from ..trees import Paths, describe, is_inexact, path_string, raise_all
from .masked import masked
from .spec_items import frozen, is_spec_leaf

# Functions of single elements that `Parameterize` is given, and the bijectors that map
# alike. Functions of JAX are compared by identity.
_KNOWN: tuple[tuple[tuple[Any, ...], Callable[[], Any]], ...] = (
    ((jnp.exp, jax.lax.exp), positive),
    ((jax.nn.softplus,), lambda: positive(via="softplus")),
    ((jax.nn.sigmoid, jax.scipy.special.expit, jax.lax.logistic), unit_interval),
    ((jnp.tanh, jax.nn.tanh, jax.lax.tanh), tfb.Tanh),
    ((jnp.sinh, jax.lax.sinh), tfb.Sinh),
    ((jnp.expm1, jax.lax.expm1), tfb.Expm1),
    ((jax.nn.soft_sign,), tfb.Softsign),
)

Bijectors = Mapping[str | Callable[..., Any], Any]


def from_paramax(
    tree: PyTree, *, bijectors: Bijectors | None = None
) -> tuple[PyTree, PyTree]:
    """Take a model that holds paramax's wrappers over: its values, and a spec of them.

    `NonTrainable` becomes `bt.frozen`. `Parameterize` of a function of single elements
    becomes the bijector that maps alike: `exp`, `softplus`, `sigmoid`, `tanh`, `sinh`,
    `expm1`, `soft_sign` of JAX, one within another too; of `jnp.where`, with a mask and a
    constant, it becomes `bt.masked`. `WeightNormalization`, whose
    direction and norm together reach every row but 0, becomes the identity, with as many
    free coordinates as there are weights. Whatever is in no wrapper is free as it is.

    Args:
        tree: a pytree, such as a flowjax distribution, with wrappers anywhere in it.
        bijectors: what the values of other wrappers may be: by the path or glob of the
            wrapper, a bijector or another item of a spec; or by the function of a
            `Parameterize`, a bijector. By path, it need not be the map of the wrapper:
            the value is kept, not the raw number.

    Returns:
        The model, with the values in the places of the wrappers; and a spec of it, for
        `Reparam`.

    Raises:
        ValueError: wrappers of which no bijector is known, by path; paths or functions
            in `bijectors` that no wrapper has.

    Example:
        >>> import bijectree as bt, jax, jax.numpy as jnp
        >>> model, spec = bt.from_paramax({"scale": jnp.ones(2)})  # has no wrappers
        >>> spec
        {'scale': None}

        With paramax: `{"scale": paramax.Parameterize(jnp.exp, jnp.zeros(2))}` gives the
        model `{"scale": jnp.ones(2)}` and the spec `{"scale": bt.positive()}`.
    """
    pairs, treedef = jtu.tree_flatten_with_path(tree, is_leaf=_is_wrapper)
    faults: list[str] = []
    values = []
    for keys, node in pairs:
        try:
            values.append(_unwrapped(node))
        except BIND_ERRORS as error:
            faults.append(f"{_at(keys)}: unwrap raised {type(error).__name__}: {error}")
    raise_all("from_paramax: some wrappers have no value", faults)
    model = treedef.unflatten(values)
    given = _Given(model, bijectors or {})
    items: list[Any] = []
    position = 0
    for (keys, node), value in zip(pairs, values, strict=True):
        count = len(jtu.tree_leaves(value))
        item = None
        if _is_wrapper(node):
            found, item = given.at(range(position, position + count))
            if not found:
                try:
                    item = _item(node, given)
                except ValueError as error:
                    where = path_string(keys)
                    faults.append(
                        f"{_at(keys)}: {error}; say what its value may be: "
                        f"from_paramax(tree, bijectors={{{where!r}: ...}})"
                    )
        items.append(item)
        position += count
    faults += given.without_effect()
    raise_all("from_paramax: some wrappers cannot be taken over", faults)
    return model, treedef.unflatten(items)


class _Given:
    """The bijectors that the caller gives, and which of them have had an effect."""

    def __init__(self, model: PyTree, bijectors: Bijectors):
        paths = Paths(model)
        self.faults: list[str] = []
        self.by_path: list[tuple[str, set[int], Any]] = []
        self.by_function: list[tuple[Any, Any]] = []
        self.used: set[int] = set()
        for key, value in bijectors.items():
            item = as_bijector(value)
            if not is_spec_leaf(item):
                self.faults.append(
                    f"{key!r}: got {describe(value)}, expected a bijector or another "
                    "item of a spec"
                )
            elif not isinstance(key, str):
                self.by_function.append((key, item))
            else:
                picked, fault = paths.pick(key)
                self.faults += [f"{key!r} {fault}"] if fault else []
                if not fault:
                    self.by_path.append((key, set(picked), item))

    def at(self, positions: range) -> tuple[bool, Any]:
        """Whether an item is given for some leaves, and which; a later one wins."""
        found, item = False, None
        for key, picked, value in self.by_path:
            if positions and picked.issuperset(positions):
                self.used.add(id(key))
                found, item = True, value
        return found, item

    def of(self, function: Any) -> tuple[bool, Any]:
        """Whether an item is given for a function, and which."""
        for key, value in self.by_function:
            if key is function:
                self.used.add(id(key))
                return True, value
        return False, None

    def without_effect(self) -> list[str]:
        """Faults of the given bijectors, those that stand for no wrapper included."""
        return self.faults + [
            f"{name!r} in `bijectors` stands for no wrapper; leave it out"
            for name, key in (
                *((key, key) for key, _, _ in self.by_path),
                *((getattr(f, "__name__", f), f) for f, _ in self.by_function),
            )
            if id(key) not in self.used
        ]


def _at(keys: Any) -> str:
    return f"at '{path_string(keys)}'"


def _is_wrapper(node: Any) -> bool:
    return any(
        cls.__name__ == "AbstractUnwrappable" and cls.__module__.startswith("paramax")
        for cls in type(node).__mro__
    )


def _unwrapped(node: Any) -> Any:
    """The value of a wrapper, those within it unwrapped first; anything else as it is."""
    if not _is_wrapper(node):
        return node
    inner = jtu.tree_map(
        _unwrapped, node, is_leaf=lambda x: x is not node and _is_wrapper(x)
    )
    return inner.unwrap()


def _is_trained(node: Any) -> bool:
    """Whether there is an inexact array in a node that no `NonTrainable` holds."""
    if type(node).__name__ == "NonTrainable" and _is_wrapper(node):
        return False
    leaves = jtu.tree_leaves(node, is_leaf=lambda x: x is not node and _is_wrapper(x))
    return any(_is_trained(x) if _is_wrapper(x) else is_inexact(x) for x in leaves)


def _item(node: Any, given: _Given) -> Any:
    """What stands in the spec for a wrapper, or for an array within one.

    Raises:
        ValueError: no bijector is known; the message lacks the path.
    """
    if not _is_trained(node):
        return frozen
    if not _is_wrapper(node):
        return None
    name = type(node).__name__
    if name == "Parameterize":
        return _item_of_function(node, given)
    if name == "WeightNormalization":
        return _item_of_directions(node, given)
    raise ValueError(f"no bijector is known for a {name}")


def _item_of_function(node: Any, given: _Given) -> Any:
    function = node.fn
    if function is jnp.where and len(node.args) == 3 and not node.kwargs:
        return _item_of_mask(node, given)
    what = f"Parameterize of {getattr(function, '__name__', describe(function))}"
    found, outer = given.of(function)
    if not found:
        outer = next(
            (make() for known, make in _KNOWN if _is_any_of(function, known)), None
        )
        if outer is None:
            raise ValueError(f"no bijector is known for {what}")
    if len(node.args) != 1 or node.kwargs:
        raise ValueError(f"{what} has several arguments, and maps no single array")
    (inner,) = node.args
    if not (_is_wrapper(inner) or is_inexact(inner)):
        raise ValueError(f"{what} maps {describe(inner)}, and no array of floats")
    below = _item(inner, given)
    if outer is None or outer is frozen or below is None:
        return below if outer is None else outer
    return tfb.Chain([outer, below])


def _is_any_of(function: Any, known: tuple[Any, ...]) -> bool:
    return isinstance(function, Hashable) and any(function is other for other in known)


def _item_of_mask(node: Any, given: _Given) -> Any:
    """An array that is trained where a mask says so, or where it does not."""
    mask, *parts = node.args
    at_true, at_false = (_is_trained(part) for part in parts)
    if _is_trained(mask) or at_true == at_false:
        raise ValueError("Parameterize of where is known of a mask and one trained array")
    mask = _unwrapped(mask)
    if isinstance(mask, Tracer):
        raise ValueError("the mask says what is free, so it cannot be traced")
    array: Any = np.broadcast_to(mask, np.shape(_unwrapped(node))).astype(bool)
    if at_true:
        return masked(_item(parts[0], given), array)
    return masked(_item(parts[1], given), ~array)


def _item_of_directions(node: Any, given: _Given) -> Any:
    """The rows scale · weight / |weight|: all but 0, if both parts are free."""
    weight, scale = _unwrapped(node.weight), _unwrapped(node.scale)
    parts = {"weight": node.weight, "scale": node.scale}
    still = [name for name, part in parts.items() if not _is_trained(part)]
    if still:
        kept = "direction" if still[0] == "weight" else "norm"
        raise ValueError(
            f"its {still[0]} is not trainable, so that its rows keep a {kept}, for which "
            "no bijector is known"
        )
    if np.shape(scale) != (*np.shape(weight)[:-1], 1):
        raise ValueError(f"its scale has shape {np.shape(scale)}, not one number a row")
    items = {name: _item(part, given) for name, part in parts.items()}
    if not (items["scale"] is None or _is_positive(items["scale"])):
        raise ValueError("its scale does not take every positive number")
    if items["weight"] is None:
        return None
    lower = interval_of(items["weight"])
    if lower is not None and np.all(np.asarray(lower.lower) == 0):
        return positive()
    raise ValueError(
        "its weight is itself a wrapper of numbers that are not all positive"
    )


def _is_positive(item: Any) -> bool:
    found = interval_of(item) if is_bijector(item) else None
    if found is None:
        return False
    return bool(np.all(np.asarray(found.lower) == 0) and np.all(np.isinf(found.upper)))
