"""Bijectors as data: the name of each, and the arguments that it was made with."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..foreign import Foreign
from ..substrate import BIND_ERRORS, Number, is_bijector, split
from .given import Reading, Writing
from .numbers import array_of_data, array_to_data, is_array_data, require_numbers
from .vocabulary import OURS, TFP, made_with, name_of, parameters_of

# The dtypes of plain numbers: bijectors of this package hold float64 whatever the setting
# of x64, and TFP makes float32 of Python's numbers.
_PLAIN_OF_OURS = ("float64", "bool")
_PLAIN_OF_TFP = ("float32", "int32", "bool")

# Arguments where a word is the name of a bijector.
_OF_BIJECTORS = ("bijector", "bijectors", "diag_bijector")

_ARRAYS = (np.ndarray, np.generic, jax.Array)
_SIMPLE = (bool, int, float, str)
_NONE = {"is": "None"}  # TOML has no None; a default of None is not written


# The functions below write bijectors as data.


def bijector_to_data(bijector: Any, writing: Writing) -> str | dict[str, Any]:
    """A bijector as data: its name, or a table of its name and its arguments.

    Raises:
        ValueError: the bijector, or a part of it, cannot be written.
    """
    recipe, numbers = split(bijector)
    if any(isinstance(n, Tracer) for n in numbers):
        raise ValueError(f"{bijector.name} holds traced numbers; save it outside of jit")
    # TFP's bijectors keep their parameters as they were given; one that is built again
    # keeps what it computes with.
    again = bijector if recipe.opaque else recipe.build(numbers)
    return _to_data(bijector, again, writing)


def why_not_text(foreign: Foreign) -> str:
    """Why a transform of another package cannot be written, and how to mend that."""
    return (
        f"{foreign.name} is a transform of another package, which text cannot hold; give "
        "it, or what it is a part of, a name: functions={'name': transform}, here and to "
        "load_spec"
    )


def _to_data(bijector: Any, again: Any, writing: Writing) -> Any:
    if isinstance(bijector, Foreign):
        raise ValueError(why_not_text(bijector))
    name = name_of(bijector)
    alike = is_bijector(again) and name_of(again) == name
    if name is None:
        name = writing.name(type(bijector))
    make = OURS.get(name) or TFP.get(name) or type(bijector)
    arguments = made_with(bijector, make)
    found: dict[str, Any] = {}
    for key, given, default in arguments:
        computed = again.parameters.get(key) if alike else given
        if key == "name":
            given = bijector.name
            default = _automatic_name(make, arguments) if default is None else default
        if given is not default and (given is not None or name not in OURS):
            plain = _PLAIN_OF_OURS if name in OURS else _PLAIN_OF_TFP
            data = _argument(bijector, given, computed, plain, writing)
            usual = list(default) if isinstance(default, tuple) else default
            if data != usual or str(data) == "-0.0":  # which equals a default of 0
                found[key] = data
    return {"is": name, **found} if found else name


def _automatic_name(
    make: Callable[..., Any], arguments: list[tuple[str, Any, Any]]
) -> str:
    """The name that a bijector gets where none is given, such as chain_of_exp."""
    return make(**{key: given for key, given, _ in arguments if key != "name"}).name


def _argument(
    bijector: Any, given: Any, computed: Any, plain: tuple[str, ...], writing: Writing
) -> Any:
    if isinstance(given, Number):
        given = computed = given.value
    for value in (computed, given):
        if isinstance(value, _ARRAYS):
            return array_to_data(value, plain, writing.arrays)
    if isinstance(given, _SIMPLE):
        return given
    if given is None:
        return _NONE
    if is_bijector(given):
        return _to_data(given, computed, writing)
    if isinstance(given, (list, tuple)):
        alike = isinstance(computed, (list, tuple)) and len(computed) == len(given)
        parts = zip(given, computed if alike else given, strict=True)
        # Arrays of several shapes, each in a table: lists of lists would be one array.
        return [_argument(bijector, a, b, (), writing) for a, b in parts]
    if callable(given):
        return {"function": writing.name(given)}
    raise ValueError(
        f"{bijector.name} was made with {given!r}, which text cannot hold; give the "
        "bijector a name: functions={'name': bijector}, here and to load_spec"
    )


# The functions below make bijectors of data.


def bijector_of_data(data: Any, reading: Reading) -> Any:
    """Undo `bijector_to_data`.

    Raises:
        ValueError: data stands for no bijector; the message lacks where it is.
    """
    name, arguments = name_and_arguments(data)
    make = OURS.get(name) or TFP.get(name) or _given_class(name, reading)
    values = {key: _value(name, key, value, reading) for key, value in arguments.items()}
    check_arguments(name, make, values)
    try:
        bijector = make(**values)
    except BIND_ERRORS as error:
        text = str(error) or type(error).__name__
        raise ValueError(text if name in text else f"{name}: {text}") from error
    if not is_bijector(bijector):
        raise ValueError(f"functions[{name!r}] makes no bijector, but {bijector!r}")
    return bijector


def name_and_arguments(data: Any) -> tuple[str, dict[str, Any]]:
    """The name of an entry's item, and its arguments.

    Raises:
        ValueError: the entry has no name.
    """
    if isinstance(data, str):
        return data, {}
    if not isinstance(data, Mapping) or not isinstance(data.get("is"), str):
        raise ValueError(
            'expected a name, or a table such as {is = "interval", lower = 0.0, upper = '
            f"1.0}}, got {data!r}"
        )
    return data["is"], {key: value for key, value in data.items() if key != "is"}


def check_arguments(
    name: str, make: Callable[..., Any], arguments: Mapping[str, Any]
) -> None:
    """Raise if arguments are not those of a function.

    Raises:
        ValueError: an argument is not known, or is missing.
    """
    known = parameters_of(make)
    takes = ", ".join(known) or "none"
    for key in arguments:
        if key not in known:
            raise ValueError(f"{name} has no argument {key!r}; it takes {takes}")
        given = arguments[key]
        if isinstance(known[key].default, bool) and not isinstance(given, bool):
            raise ValueError(f"{key} of {name}: expected true or false, got {given!r}")
    for key, parameter in known.items():
        any_number = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        needed = parameter.default is parameter.empty and not any_number
        if needed and key not in arguments:
            raise ValueError(f"{name} needs the argument {key!r}; it takes {takes}")


def _given_class(name: str, reading: Reading) -> Any:
    """The caller's class of a bijector."""
    try:
        found = reading.look_up(name)
    except ValueError as error:
        near = difflib.get_close_matches(name, [*OURS, *TFP], n=3, cutoff=0.5)
        like = f"nearest: {', '.join(near)}" if near else "a class of TFP is tfb.<Class>"
        raise ValueError(
            f"{name!r} is no bijector that is known here ({like}); if it is a class of "
            f"yours, {error}"
        ) from None
    if not callable(found):
        raise ValueError(
            f"functions[{name!r}] must be the class of a bijector, got {found!r}"
        )
    return found


def _value(name: str, key: str, data: Any, reading: Reading) -> Any:
    """An argument of a bijector."""
    try:
        return _value_of(key, data, reading, ours=name in OURS)
    except ValueError as error:
        raise ValueError(f"{key} of {name}: {error}") from None


def _value_of(key: str, data: Any, reading: Reading, *, ours: bool) -> Any:
    if is_array_data(data):
        array = array_of_data(data, reading.arrays)
        return array if ours else _as_jax(array)
    if data == _NONE:
        return None
    if ours and isinstance(data, bool):
        raise ValueError(f"expected a number or a word, got {data!r}")
    if key in _OF_BIJECTORS and not isinstance(data, (str, Mapping)):
        if key != "bijectors" or not isinstance(data, list):
            raise ValueError(f"expected a bijector, as a name or a table, got {data!r}")
        return [bijector_of_data(part, reading) for part in data]
    if key == "bijectors":
        raise ValueError(f"expected a list of bijectors, got {data!r}")
    if isinstance(data, Mapping) and data.keys() == {"function"}:
        return reading.look_up(data["function"])
    if isinstance(data, Mapping) or (isinstance(data, str) and key in _OF_BIJECTORS):
        return bijector_of_data(data, reading)
    if isinstance(data, list) and any(isinstance(x, (str, Mapping)) for x in data):
        return [_value_of(key, part, reading, ours=ours) for part in data]
    if isinstance(data, list):
        require_numbers(data)
        return data
    if isinstance(data, _SIMPLE):
        return data
    raise ValueError(f"{data!r} is no argument of a bijector")  # TOML has dates


def _as_jax(array: np.ndarray) -> jax.Array:
    """An array of JAX, which TFP keeps as it is."""
    found = jnp.asarray(array)
    if found.dtype != array.dtype:
        raise ValueError(
            f"a {array.dtype} number would be rounded to {found.dtype}; allow 64 bits "
            "before: jax.config.update('jax_enable_x64', True)"
        )
    return found
