"""Values in words for messages, faults in one error, tables as plain text."""

import io
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .arrays import is_array, is_spread


def describe(value: Any) -> str:
    """What a value is, in a few words for a message."""
    if is_array(value):
        return f"{value.dtype} array of shape {tuple(value.shape)}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def raise_all(headline: str, faults: Iterable[str], error: type = ValueError) -> None:
    """Raise one error that lists every fault, if there is any."""
    lines = list(faults)
    if lines:
        raise error(headline + "".join(f"\n  - {line}" for line in lines))


def as_text(table: Any) -> str:
    """A rich table as text of its natural width, the same wherever it is printed."""
    from rich.console import Console  # loaded where a table is made

    file = io.StringIO()
    console = Console(
        file=file,
        width=1000,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,  # in a notebook rich would display it there instead
    )
    console.print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().rstrip().split("\n"))


def short(value: Any) -> str:
    """A value in one line, cut if it is long."""
    if is_array(value) and not isinstance(value, jax.ShapeDtypeStruct):
        if is_spread(value):
            return f"a {describe(value)}, split over processes"
        if jnp.issubdtype(value.dtype, jax.dtypes.extended):
            return describe(value)
        text = np.array2string(np.asarray(value), threshold=6, separator=", ")
        text = " ".join(text.split())
    else:
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
