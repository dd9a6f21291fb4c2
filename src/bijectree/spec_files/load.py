"""`load_spec`: a spec from text, without running anything of it."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from ..reparam import Joint, Reparam, Then
from ..trees import apply_rules, raise_all
from .bijectors import bijector_of_data
from .files import read_arrays
from .given import Reading
from .items import item_of_data
from .save import FORMAT
from .text import from_text, lines_of, to_text


def load_spec(
    path: str | os.PathLike[str],
    model: PyTree,
    functions: Mapping[str, Any] | None = None,
) -> PyTree:
    r"""Read a spec that `save_spec`, or a hand, has written.

    Nothing of the file is run or imported: names are looked up in a fixed list of
    bijectors and in `functions`. The spec is bound to the model once, to see that it
    fits, which calls the functions that are given.

    Args:
        path: of the file; arrays are read from `<name>.arrays.npz` beside it.
        model: the model, or another of its structure and shapes.
        functions: by name, what the file only names: functions of `dependent` and
            `tied`, classes of bijectors of your own, and items that were given to
            `save_spec`.

    Returns:
        A pytree of the model's structure with an item, or `None`, at each leaf, for
        `Reparam`; it holds maps that `then` had put on, if there were any.

    Raises:
        ValueError: what is wrong with the file, all of it, each with line, path and how
            to mend it: no TOML, another format, a path that the model lacks, a name that
            is not known, an argument that is missing or does not fit.
        OSError: the file cannot be read.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "spec.toml")
        >>> with open(path, "w") as file:
        ...     _ = file.write('format = 1\n[spec]\n"**.scale" = "positive"\n')
        >>> model = {"layers": [{"scale": jnp.ones(2)}, {"scale": jnp.ones(3)}]}
        >>> spec = bt.load_spec(path, model)
        >>> print(*(layer["scale"].name for layer in spec["layers"]))
        positive positive
    """
    file = Path(path)
    return _Loading(file, _text(file), functions or {}).spec(model)


def _text(file: Path) -> str:
    content = file.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"load_spec: {file}, line {line}: byte {content[error.start]:#04x} is not "
            "UTF-8, which TOML is; save the file as UTF-8"
        ) from None


class _Loading:
    """A file on its way to become a spec, with the faults found so far."""

    def __init__(self, file: Path, text: str, functions: Mapping[str, Any]):
        self.file, self.text = file, text
        try:
            self.data = from_text(text)
        except ValueError as error:
            raise ValueError(
                f"load_spec: {file} is no TOML: {error}; mend that line, or save the "
                "spec again"
            ) from None
        self.reading = Reading(functions, read_arrays(file))
        self.faults: dict[tuple[str, ...], str] = {}

    def spec(self, model: PyTree) -> PyTree:
        self.check_top_level()
        items = self.items()
        maps = self.maps()
        broken = set(self.faults)
        tree, faults = apply_rules(model, items)
        for number, fault in faults.items():
            key = "spec", [*items][number]
            if key not in broken:
                self.faults[key] = fault
        self.raise_faults()
        spec = Then(tree, maps) if maps else tree
        self.bind(model, spec, items)
        return spec

    def check_top_level(self) -> None:
        """Check the keys of the document, and its format."""
        known = {"format", "spec", "then"}
        for key in self.data.keys() - known:
            self.faults[key,] = (
                f"{key!r} is no part of a spec, which has {sorted(known)}; leave it out"
            )
        found = self.data.get("format")
        if type(found) is not int:
            raise ValueError(
                f"load_spec: {self.where('format')}: a spec's file begins with format = "
                f"{FORMAT}, got {found!r}; is it another file?"
            )
        if not 1 <= found <= FORMAT:
            raise ValueError(
                f"load_spec: {self.where('format')}: format {found} is not known here, "
                f"only up to {FORMAT}; a newer bijectree has written it: update this one"
            )
        for key, kind in (("spec", dict), ("then", list)):
            if key in self.data and not isinstance(self.data[key], kind):
                header = "[spec]" if key == "spec" else "[[then]]"
                self.faults[key,] = f"{key!r} must be a table; write {header} above it"
                self.data[key] = kind()

    def items(self) -> dict[Any, Any]:
        """The items by path; equal entries give one object."""
        found: dict[Any, Any] = {}
        made: dict[str, Any] = {}
        for path, data in self.data.get("spec", {}).items():
            try:
                if isinstance(data, dict) and "is" not in data:
                    raise ValueError(
                        f"{path!r} is a table without `is`; a path stands in quotes, as "
                        f'in "{path}.{next(iter(data), "leaf")}" = "positive", and a '
                        'table says what it is, as in {is = "interval", ...}'
                    )
                item = item_of_data(data, self.reading)
                if isinstance(item, Joint):
                    self.reading.joints[path] = item
                else:
                    item = made.setdefault(to_text(data), item)
                found[path] = item
            except ValueError as error:
                self.faults["spec", path] = str(error)
                found[path] = None
        return found

    def maps(self) -> tuple[Any, ...]:
        """The bijectors that `then` puts on."""
        found = []
        for number, data in enumerate(self.data.get("then", [])):
            try:
                found.append(bijector_of_data(data, self.reading))
            except ValueError as error:
                self.faults["then", str(number)] = str(error)
        return tuple(found)

    def bind(self, model: PyTree, spec: PyTree, items: Mapping[Any, Any]) -> None:
        """Bind the spec to the model; raise for the entries that do not fit."""
        tree, maps = (spec.spec, spec.maps) if isinstance(spec, Then) else (spec, ())
        try:
            reparam = Reparam(model, tree)
        except (ValueError, TypeError) as error:
            self.find_misfit(model, items, str(error))
            return
        for number, bijector in enumerate(maps):
            try:
                reparam = reparam.then(bijector)
            except (ValueError, TypeError) as error:
                self.faults["then", str(number)] = str(error)
                self.raise_faults()

    def find_misfit(self, model: PyTree, items: Mapping[Any, Any], message: str) -> None:
        """Raise for the entries of a spec that are wrong by themselves.

        What an entry lacks alone, such as the scale of a `location_scale`, another may
        give: only what is wrong with the whole counts. If it is none of them alone, as
        where leaves depend on one another in a cycle, at the first that the message
        names.
        """
        for path, item in items.items():
            alone, _ = apply_rules(model, {path: item})
            try:
                Reparam(model, alone)
            except (ValueError, TypeError) as error:
                headline, *faults = str(error).split("\n  - ")
                same = [fault for fault in faults or [headline] if fault in message]
                if same:
                    text = "\n  - ".join([headline, *same])
                    self.faults["spec", path] = _without_headline(text, path)
        if not self.faults:
            words = set(re.split(r"[\s,()']+", message))
            named = [path for path in items if path in words] or [*items]
            self.faults["spec", named[0]] = _without_headline(message, named[0])
        self.raise_faults()

    def where(self, *keys: str) -> str:
        """The file and the line of an entry."""
        return f"{self.file}, line {lines_of(self.text).get(keys, 1)}"

    def raise_faults(self) -> None:
        lines = lines_of(self.text) if self.faults else {}
        places = sorted(self.faults, key=lambda keys: lines.get(keys, 0))
        raise_all(
            f"load_spec: {self.file} is no spec of this model",
            (f"{_line_and_path(keys, lines)}: {self.faults[keys]}" for keys in places),
        )


def _without_headline(message: str, path: str) -> str:
    """The faults that an error lists, without its headline and the path."""
    _, *faults = message.split("\n  - ")
    return "; ".join(fault.removeprefix(f"at '{path}': ") for fault in faults) or message


def _line_and_path(keys: tuple[str, ...], lines: Mapping[tuple[str, ...], int]) -> str:
    line = f"line {lines[keys]}" if keys in lines else "a line"
    return f"{line}, at '{keys[1]}'" if keys[0] == "spec" and len(keys) > 1 else line
