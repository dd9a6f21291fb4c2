"""The items of a spec as data, one entry of a file each."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..foreign import Foreign, as_bijector, is_transform
from ..reparam import (
    AtStars,
    Dependent,
    Joint,
    LocationScale,
    Masked,
    Tied,
    dependent,
    frozen,
    joint,
    location_scale,
    masked,
    tied,
)
from ..substrate import is_bijector
from .bijectors import (
    bijector_of_data,
    bijector_to_data,
    check_arguments,
    name_and_arguments,
    why_not_text,
)
from .given import Reading, Writing
from .numbers import array_of_data, array_to_data, is_array_data, require_numbers
from .same import same_item

_PLAIN = ("float64", "bool")


# The functions below write items as data.


def item_to_data(item: Any, writing: Writing) -> Any:
    """An item of a spec as data.

    Args:
        item: of a spec, not `None`.
        writing: what is gathered while the spec is written.

    Raises:
        ValueError: the item cannot be written.
    """
    foreign = is_transform(item) or isinstance(item, Foreign)
    for name, value in writing.given.items():
        # A Reparam holds a transform of another package as a bijector made of it.
        if value is item or (foreign and same_item(value, item)):
            writing.named[name] = value
            return {"is": "given", "name": name}
    if item is frozen:
        return "frozen"
    if foreign:
        raise ValueError(why_not_text(as_bijector(item)))
    if is_bijector(item):
        return bijector_to_data(item, writing)
    for cls, to_data in _TO_DATA.items():
        if type(item) is cls:
            return to_data(item, writing)
    raise ValueError(f"{type(item).__name__} is no item of a spec that text can hold")


def _joint_to_data(item: Joint, writing: Writing) -> dict[str, Any]:
    first = writing.joints.setdefault(id(item), writing.path)
    if first != writing.path:
        return {"is": "joint", "same_as": first}
    data = {"is": "joint", "bijector": item_to_data(item.bijector, writing)}
    return {**data, "over": list(item.over)} if item.over else data


def _tied_to_data(item: Tied, writing: Writing) -> dict[str, Any]:
    data = {"is": "tied", "source": item.source}
    return data if item.is_copy else {**data, "fn": writing.name(item.function)}


def _dependent_to_data(item: Dependent, writing: Writing) -> dict[str, Any]:
    if isinstance(item.function, LocationScale):
        return _location_scale_to_data(item.function, writing)
    function = _function_to_data(item.function, writing)
    on = {"on": list(item.on)} if item.on else {}
    return {"is": "dependent", "function": function.pop("function"), **on, **function}


def _function_to_data(function: Any, writing: Writing) -> dict[str, Any]:
    """The name of a function, with what the wildcards of its rule stand for."""
    if not isinstance(function, AtStars):
        return {"function": writing.name(function)}
    name = writing.name(function.function)
    return {"function": name, "stars": list(function.stars)}


def _location_scale_to_data(function: LocationScale, writing: Writing) -> dict[str, Any]:
    data: dict[str, Any] = {"is": "location_scale"}
    for key in ("loc", "scale", "centeredness"):
        value = getattr(function, key)
        if isinstance(value, str):
            data[key] = value
        elif callable(value):
            data[key] = _function_to_data(value, writing)
        else:
            data[key] = array_to_data(value, _PLAIN, writing.arrays)
    return data


def _masked_to_data(item: Masked, writing: Writing) -> dict[str, Any]:
    bijector = item_to_data(item.bijector, writing)
    mask = array_to_data(item.mask, _PLAIN, writing.arrays)
    return {"is": "masked", "bijector": bijector, "mask": mask}


_TO_DATA: dict[type, Callable[[Any, Writing], dict[str, Any]]] = {
    Joint: _joint_to_data,
    Tied: _tied_to_data,
    Dependent: _dependent_to_data,
    Masked: _masked_to_data,
}


# The functions below make items of data.


def item_of_data(data: Any, reading: Reading) -> Any:
    """Undo `item_to_data`; `None` for the identity.

    Raises:
        ValueError: data stand for no item; the message lacks the path.
    """
    name, arguments = name_and_arguments(data)
    if name not in _OF_DATA:
        return bijector_of_data(data, reading)
    return _OF_DATA[name](name, arguments, reading)


def _word(value: Any) -> Callable[..., Any]:
    def make(name: str, arguments: Mapping[str, Any], reading: Reading) -> Any:
        check_arguments(name, lambda: None, arguments)
        return value

    return make


def _given(name: str, arguments: Mapping[str, Any], reading: Reading) -> Any:
    check_arguments(name, lambda name: None, arguments)
    return reading.look_up(arguments["name"])


def _joint(name: str, arguments: Mapping[str, Any], reading: Reading) -> Any:
    if "same_as" in arguments:
        check_arguments(name, lambda same_as: None, arguments)
        first = arguments["same_as"]
        if first not in reading.joints:
            raise ValueError(
                f"no joint stands at {first!r} in a line before, where its bijector "
                "would be named"
            )
        return reading.joints[first]
    check_arguments(name, joint, arguments)
    bijector = item_of_data(arguments["bijector"], reading)
    return _make(name, joint, bijector=bijector, over=_paths(arguments, "over"))


def _tied(name: str, arguments: Mapping[str, Any], reading: Reading) -> Any:
    check_arguments(name, tied, arguments)
    function = reading.look_up(arguments["fn"]) if "fn" in arguments else None
    return _make(name, tied, source=arguments["source"], fn=function)


def _dependent(name: str, arguments: Mapping[str, Any], reading: Reading) -> Any:
    plain = {key: value for key, value in arguments.items() if key != "stars"}
    check_arguments(name, dependent, plain)
    function = _function(arguments, reading)
    on = {"on": _paths(arguments, "on")} if "on" in arguments else {}
    return _make(name, dependent, function=function, **on)


def _location_scale(name: str, arguments: Mapping[str, Any], reading: Reading) -> Any:
    check_arguments(name, location_scale, arguments)
    values = {}
    for key, value in arguments.items():
        if isinstance(value, str):
            values[key] = value
        elif isinstance(value, Mapping) and "function" in value:
            values[key] = _function(value, reading)
        else:
            values[key] = _numbers(name, key, value, reading)
    return _make(name, location_scale, **values)


def _function(data: Mapping[str, Any], reading: Reading) -> Any:
    """Undo `_function_to_data`."""
    function, stars = reading.look_up(data["function"]), _paths(data, "stars")
    return AtStars(function, stars) if stars else function


def _masked(name: str, arguments: Mapping[str, Any], reading: Reading) -> Any:
    check_arguments(name, masked, arguments)
    bijector = item_of_data(arguments["bijector"], reading)
    mask = arguments["mask"]
    if is_array_data(mask):
        mask = _numbers(name, "mask", mask, reading)
    return _make(name, masked, bijector=bijector, mask=mask)


_OF_DATA: dict[str, Callable[[str, Mapping[str, Any], Reading], Any]] = {
    "frozen": _word(frozen),
    "identity": _word(None),
    "given": _given,
    "joint": _joint,
    "tied": _tied,
    "dependent": _dependent,
    "location_scale": _location_scale,
    "masked": _masked,
}


def _numbers(name: str, key: str, data: Any, reading: Reading) -> Any:
    try:
        if is_array_data(data):
            return array_of_data(data, reading.arrays)
        require_numbers(data)
    except ValueError as error:
        raise ValueError(f"{key} of {name}: {error}") from None
    return np.asarray(data, np.float64) if isinstance(data, list) else data


def _paths(arguments: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = arguments.get(key, ())
    paths = [value] if isinstance(value, str) else value
    if not isinstance(paths, (list, tuple)) or not all(isinstance(p, str) for p in paths):
        raise ValueError(f"{key} must be a list of words, got {value!r}")
    return tuple(paths)


def _make(name: str, make: Callable[..., Any], **arguments: Any) -> Any:
    try:
        return make(**arguments)
    except (ValueError, TypeError) as error:
        text = str(error)
        raise ValueError(text if text.startswith(name) else f"{name}: {text}") from None
