"""Names for the axes of variables in ArviZ data."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..trees import raise_all

# Of these groups variables have all axes that a name can be given for.
_OF_LEAVES = ("posterior", "prior")
_OF_DATA = ("observed_data", "posterior_predictive", "prior_predictive")


def axis_names(
    groups: Mapping[str, Mapping[str, np.ndarray]],
    own: Mapping[str, Sequence[str | None]],
    dims: Mapping[str, Sequence[str]],
    coords: Mapping[str, Any],
) -> dict[str, dict[str, list[str]]]:
    """Name the axes of each variable, behind those of chains and draws.

    A variable of free coordinates has the names of its leaf where it has the leaf's
    shape; log-densities of events have the first of the names of what is observed.

    Args:
        groups: the variables of each group.
        own: names that the model gives; they give way to those that the user gives.
        dims: names that the user gives, by variable.
        coords: values along an axis, by its name.

    Returns:
        Names by group and variable; ArviZ's own where nobody gives one.

    Raises:
        ValueError: names for what is no variable, of another number than its axes, of
            axes that are unlike, or that are taken; coordinates of no axis, or of another
            number than the axis is long. All are listed.
    """
    shapes = [_shapes(groups, kind) for kind in (_OF_LEAVES, _OF_DATA)]
    taken = {"chain", "draw", *shapes[0], *shapes[1]}
    faults = _misfits(shapes, dims, taken)
    raise_all("to_arviz: some names of axes do not fit", faults)
    agreed = _that_agree(shapes, own, dims, taken)
    named = [
        {
            name: _names(name, shape, dims.get(name) or own_names.get(name, ()))
            for name, shape in found.items()
        }
        for found, own_names in zip(shapes, agreed, strict=True)
    ]
    faults = _lengths(shapes, named, coords)
    raise_all("to_arviz: some names of axes do not fit", faults)
    found: dict[str, dict[str, list[str]]] = {}
    for group, variables in groups.items():
        leaves = group in (*_OF_LEAVES, "unconstrained_posterior")
        kind = 0 if leaves else 1
        of_draws = 0 if group == "observed_data" else 2
        found[group] = {}
        for name, x in variables.items():
            shape = x.shape[of_draws:]
            whole = shapes[kind].get(name, ())
            fits = whole == shape if leaves else whole[: len(shape)] == shape
            names = named[kind].get(name, []) if fits and group != "sample_stats" else []
            found[group][name] = _names(name, shape, names[: len(shape)])
    return found


def _shapes(
    groups: Mapping[str, Mapping[str, np.ndarray]], kind: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """The shape of each variable of a kind of groups, without the axes of draws."""
    found: dict[str, tuple[int, ...]] = {}
    for group in kind:
        for name, x in groups.get(group, {}).items():
            found.setdefault(name, x.shape[0 if group == "observed_data" else 2 :])
    return found


def _names(name: str, shape: Sequence[int], given: Sequence[str | None]) -> list[str]:
    given = given or [None] * len(shape)
    return [word or f"{name}_dim_{i}" for i, word in enumerate(given)]


def _misfits(
    shapes: Sequence[dict[str, tuple[int, ...]]],
    dims: Mapping[str, Sequence[str]],
    taken: Collection[str],
) -> list[str]:
    """Faults of the names that the user gives, each by itself."""
    faults = []
    for name, names in dims.items():
        found = [of[name] for of in shapes if name in of]
        if isinstance(names, str):
            faults.append(f"dims['{name}']: expected a list of names, got '{names}'")
            continue
        if not found:
            known = [*shapes[0], *shapes[1]]
            close = difflib.get_close_matches(name, known, n=3) or known[:3]
            nearest = ", ".join(repr(x) for x in close)
            faults.append(
                f"dims['{name}']: no variable has this name; nearest: {nearest}"
            )
        faults += [
            f"dims['{name}']: got the names {list(names)} for the shape {shape}"
            for shape in found
            if len(shape) != len(names)
        ]
        faults += [
            f"dims['{name}']: '{word}' is the name of a variable, or of the axis of "
            "chains or draws; give another"
            for word in taken
            if word in names
        ]
        if len({*names}) < len(names):
            faults.append(f"dims['{name}']: {list(names)} has a name twice")
    return faults


def _that_agree(
    shapes: Sequence[Mapping[str, tuple[int, ...]]],
    own: Mapping[str, Sequence[str | None]],
    dims: Mapping[str, Sequence[str]],
    taken: Collection[str],
) -> list[dict[str, list[str | None]]]:
    """The model's own names, as far as each stands for one axis of one length."""
    fitting = [
        {
            name: list(names)
            for name, names in own.items()
            if len(of.get(name, ())) == len(names) and name not in dims
        }
        for of in shapes
    ]
    sizes: dict[str | None, set[int]] = {}
    for of, own_names in zip(shapes, fitting, strict=True):
        for name, names in (*own_names.items(), *dims.items()):
            for word, size in zip(names, of.get(name, ()), strict=False):
                sizes.setdefault(word, set()).add(size)

    def is_good(word: str | None, before: Sequence[str | None]) -> bool:
        return len(sizes[word]) == 1 and word not in taken and word not in before

    return [
        {
            name: [w if is_good(w, names[:i]) else None for i, w in enumerate(names)]
            for name, names in own_names.items()
        }
        for own_names in fitting
    ]


def _lengths(
    shapes: Sequence[dict[str, tuple[int, ...]]],
    named: Sequence[dict[str, list[str]]],
    coords: Mapping[str, Any],
) -> list[str]:
    """Faults of names that stand for no axis, or for axes of unlike lengths."""
    where: dict[str, dict[int, str]] = {}
    for of, names in zip(shapes, named, strict=True):
        for name, shape in of.items():
            for word, size in zip(names[name], shape, strict=True):
                where.setdefault(word, {}).setdefault(size, name)
    faults = []
    for word in coords:
        if word not in where:
            close = difflib.get_close_matches(word, where, n=3) or [*where][:3]
            nearest = ", ".join(repr(x) for x in close)
            faults.append(f"coords['{word}']: no axis has this name; nearest: {nearest}")
    for word, by_size in where.items():
        shown = ", ".join(f"{size} of '{name}'" for size, name in by_size.items())
        if len(by_size) > 1:
            faults.append(f"'{word}' names axes of unlike lengths: {shown}")
        elif word in coords and len(coords[word]) not in by_size:
            faults.append(f"coords['{word}']: got {len(coords[word])} values for {shown}")
    return faults
