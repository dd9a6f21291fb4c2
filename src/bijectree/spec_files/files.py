"""Two files that belong together, replaced as one."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .numbers import arrays_of_bytes, arrays_to_bytes


def arrays_path(path: Path) -> Path:
    """Where the arrays of a spec's file lie."""
    return path.with_name(path.stem + ".arrays.npz")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays beside a spec's file; none if there is no such file.

    Raises:
        ValueError: the file is damaged.
    """
    file = arrays_path(path)
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        return arrays_of_bytes(content)
    except ValueError as error:
        raise ValueError(
            f"{file}: {error}; save the spec again, or take the file from where it was "
            "whole"
        ) from None


def replace_both(path: Path, text: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the file of a spec and the arrays beside it.

    Whenever this stops, what lies there is the old spec or the new one: arrays are found
    by a digest of their bits, and those of both are there while the text is replaced.

    Raises:
        ValueError: a file that is not of a spec has the name of the arrays.
    """
    file = arrays_path(path)
    try:
        old = read_arrays(path)
    except ValueError as error:
        raise ValueError(f"{error}; or save under another name") from None
    if any(len(key) != 16 for key in old):
        raise ValueError(
            f"{file} is there and not of a spec; save the spec under another name"
        )
    if arrays and not arrays.keys() <= old.keys():
        _replace(file, arrays_to_bytes({**old, **arrays}))
    _replace(path, text.encode())
    if arrays:
        _replace(file, arrays_to_bytes(arrays))
    elif old:
        file.unlink()


def _replace(path: Path, content: bytes) -> None:
    """Write a file, or leave it as it was."""
    path = Path(os.path.realpath(path))  # what a link stands for, not the link
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
