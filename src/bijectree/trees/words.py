"""Values in words for messages, faults in one error, tables as plain text."""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .arrays import is_array, is_spread


def describe(value: Any) -> str:
    """What a value is, in a few words for a message."""
    if is_array(value):
        return f"{value.dtype} array of shape {tuple(value.shape)}"
    text = " ".join(repr(value).split())
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
        # In a notebook rich would otherwise display the table there.
        force_jupyter=False,
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


# A cell of a table is cut to so many characters, so that a row stays one line.
_WIDEST = 40


def cut_cell(text: str) -> str:
    """A cell of a table, cut at its end if it is long."""
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def cut_paths(paths: Sequence[str]) -> list[str]:
    """Paths for a table, long ones cut in the middle, but so that no two look alike."""
    width = _WIDEST
    shown = [_cut_middle(path, width) for path in paths]
    while alike := _ambiguous(shown, paths):
        width += 8
        shown = [
            _cut_middle(path, width) if text in alike else text
            for path, text in zip(paths, shown, strict=True)
        ]
    return shown


def _cut_middle(path: str, width: int) -> str:
    """A path with its end, which names the leaf, and as much of its start as fits."""
    if len(path) <= width:
        return path
    end = 2 * width // 3
    return f"{path[: width - end - 1]}…{path[len(path) - end :]}"


def _ambiguous(shown: Sequence[str], paths: Sequence[str]) -> set[str]:
    """The texts that stand for more than one path."""
    pairs = set(zip(shown, paths, strict=True))
    return {text for text, n in Counter(text for text, _ in pairs).items() if n > 1}
