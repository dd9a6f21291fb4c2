"""Each leaf's map, chosen from those of its set by draws and their gradients."""

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import substrate
from ..constraints import (
    SetTag,
    Support,
    alternatives,
    knowledge_of,
    sinh_arcsinh,
    three_digits,
    words_of,
)
from ..reparam import Bound, Plan, Reparam, Row, of_bound
from ..substrate import Kind, split, tfb
from .fit_warp import fit_warp
from .other_coordinates import to_other_coordinates
from .warp import Warp, straight

# Another map is taken, and a map is bent, if that lowers the divergence that is left, a
# coordinate, by so much at least.
_LESS = 0.02

# A map is tried on draws of which at least this share have finite coordinates.
_KNOWN = 0.9

# A leaf's directions, of which the sampler's affine map has as many.
_COLUMNS = 64

# The sets whose free coordinates may be bent. Those of the others are augmented, or the
# set is not known.
BENT = (
    SetTag.NUMBERS,
    SetTag.ARRAYS,
    SetTag.INCREASING,
    SetTag.SIMPLEX,
    SetTag.ZERO_SUM,
    SetTag.TRIANGULAR,
    SetTag.CORR_CHOLESKY,
    SetTag.CORR_MATRIX,
    SetTag.POSITIVE_DEFINITE,
)


class _Fit(NamedTuple):
    """A map of a leaf, as it is and bent.

    Attributes:
        warp: that bends it.
        bent: the divergence that is left with the warp.
        unbent: the divergence that is left without.
    """

    warp: Warp
    bent: float
    unbent: float

    @property
    def pays(self) -> bool:
        """Whether to bend pays."""
        return self.bent < self.unbent - _LESS

    @property
    def left(self) -> float:
        """The divergence that is left, bent if that pays."""
        return self.bent if self.pays else self.unbent

    @property
    def cost(self) -> float:
        """The divergence that is left, and what one bears to have a map unbent."""
        return self.left + _LESS * self.pays


class LeafChoice(NamedTuple):
    """What was chosen for a leaf.

    Attributes:
        row: its position in the plan.
        path: the leaf's.
        number: its place among the alternatives; −1 for the one that was given.
        middle: the median of each entry, which the alternatives were made of.
        bijector: the map that was chosen, bent where that pays.
        before: the bijector that was given, in words.
        after: the one that was chosen.
        divergence_before: the Fisher divergence that is left of held-out draws, a
            coordinate, after the best affine map.
        divergence_after: the same in the chosen coordinates.
        changed: whether it is another map than the one that was given.
    """

    row: int
    path: str
    number: int
    middle: Float[np.ndarray, "..."]
    bijector: tfb.Bijector
    before: str
    after: str
    divergence_before: float
    divergence_after: float
    changed: bool


def choose_maps(
    reparam: Reparam,
    vectors: Float[np.ndarray, "chains n dim"],
    gradients: Float[np.ndarray, "chains n dim"],
    *,
    sets: Collection[SetTag] = BENT,
    far: float = 0.0,
    share: float = 0.2,
) -> list[LeafChoice]:
    """Choose a map for each leaf that has alternatives or may be bent.

    Args:
        reparam: the coordinates that are given, with no map above the leaves.
        vectors: draws.
        gradients: of the log-density there.
        sets: those whose leaves are looked at.
        far: other maps are tried where the given one, bent, leaves more than this.
        share: another map is taken if it leaves less by this share.

    Returns:
        The choices, one a leaf, in the order of free coordinates. A leaf is left out
        whose map depends on others, is masked or joint, or is onto a set that is not
        known.
    """
    choices, plan = [], reparam.bound.plan
    for i, row in plan.free:
        part = plan.places[i]
        if part.start == part.stop or row.members or row.function or row.picked:
            continue
        given = _given(reparam, row)
        image = knowledge_of(given).image
        if image is not None and image.tag in sets:
            shape = *vectors.shape[:2], *row.free_shape
            pair = (x[..., part].reshape(shape) for x in (vectors, gradients))
            choices.append(_choose(i, row, given, image, *pair, far=far, share=share))
    return choices


def with_alternatives(
    reparam: Reparam, chosen: Mapping[int, tuple[int, Float[np.ndarray, "..."]]]
) -> Reparam:
    """The Reparam with the alternative of a number in some rows.

    Args:
        reparam: the coordinates that were given.
        chosen: by row, the number of a choice and its middle.

    Raises:
        ValueError: a leaf has no such alternatives.
    """
    maps, rows = {}, reparam.bound.plan.rows
    for i, (number, middle) in chosen.items():
        row = rows[i] if i < len(rows) else None
        known = row is not None and row.shape == middle.shape and not row.function
        image = knowledge_of(_given(reparam, row)).image if row and known else None
        found = [] if image is None else alternatives(image, middle)
        if number >= len(found):
            where = f"'{row.path}'" if row else f"the leaf at position {i}"
            raise ValueError(
                f"the draws are of another posterior: {where} was onto a set of which "
                "another map was learned, and is not any more"
            )
        maps[i] = found[number]
    return with_maps(reparam, maps)


def with_maps(reparam: Reparam, maps: Mapping[int, Any]) -> Reparam:
    """The Reparam with other bijectors in some rows."""
    rows, numbers = list(reparam.bound.plan.rows), list(reparam.bound.numbers)
    for i, bijector in maps.items():
        kind, own = _bound(bijector, rows[i])
        rows[i] = dataclasses.replace(rows[i], slot=len(numbers), kind=kind)
        numbers.append(own)
    plan = Plan(reparam.bound.plan.structure, tuple(rows), reparam.bound.plan.outer)
    return of_bound(Bound(plan, tuple(numbers), reparam.bound.held))


def _given(reparam: Reparam, row: Row) -> Any:
    if row.kind is None:
        return tfb.Identity()
    return row.kind.recipe.build(reparam.bound.numbers[row.slot])


def _choose(
    i: int,
    row: Row,
    given: Any,
    image: Support,
    y: Float[np.ndarray, "chains n ..."],
    gradients: Float[np.ndarray, "chains n ..."],
    *,
    far: float,
    share: float,
) -> LeafChoice:
    at = _bound(given, row)
    values = _values(*at, jnp.asarray(y.reshape(-1, *row.free_shape)))
    middle = np.median(np.asarray(values, np.float64), axis=0)
    first = best = _fit(at, at, y, gradients)
    base, number = given, -1
    # The usual map comes first, and stays where no later one is clearly better.
    for k, other in enumerate(alternatives(image, middle) if first.left > far else []):
        fit = _fit(at, _bound(other, row), y, gradients)
        if fit.cost < min(best.cost - _LESS, (1 - share) * best.cost):
            base, number, best = other, k, fit
    chosen = _bent(base, best.warp, row) if best.pays else base
    words = words_of(given), words_of(chosen)
    left, changed = (first.unbent, best.left), number >= 0 or best.pays
    return LeafChoice(i, row.path, number, middle, chosen, *words, *left, changed)


def _bound(bijector: Any, row: Row) -> tuple[Kind, tuple[Any, ...]]:
    """A bijector of the leaf of a row."""
    recipe, numbers = split(bijector)
    return substrate.bind(recipe, numbers, row.shape, row.dtype), numbers


def _fit(given: Any, other: Any, y: np.ndarray, gradients: np.ndarray) -> _Fit:
    """Bend the coordinates of another map of a leaf."""
    chains, n = y.shape[:2]
    shape = chains * n, *y.shape[2:]
    if given is not other:
        points = (jnp.asarray(part.reshape(shape)) for part in (y, gradients))
        y, gradients = map(np.asarray, _moved(given, other, *points))
    x, scores = (part.reshape(chains, n, -1) for part in (y, gradients))
    known = np.all(np.isfinite(x) & np.isfinite(scores), axis=2)
    if known.mean() < _KNOWN:
        return _Fit(straight(x.shape[2]), np.inf, np.inf)
    groups = [(x[c][known[c]], scores[c][known[c]]) for c in range(chains)]
    return _Fit(*fit_warp(groups, min(x.shape[2], _COLUMNS)))


def _bent(bijector: Any, warp: Warp, row: Row) -> Any:
    """A map with a warp beneath it, in numbers one can read."""
    kind, _ = _bound(bijector, row)
    scale = three_digits(warp.scale)
    digits = 2 - np.floor(np.log10(scale))
    loc = np.round(warp.loc * 10**digits) / 10**digits + 0.0
    numbers = (
        loc,
        scale,
        np.round(warp.skewness, 3) + 0.0,
        three_digits(warp.tailweight),
    )
    loc, scale, skewness, tail = (
        float(x[0]) if x.size == 1 else x.reshape(kind.free_shape) for x in numbers
    )
    warped = sinh_arcsinh(loc, scale, skewness=skewness, tailweight=tail)
    alone = type(bijector) is tfb.Identity
    return warped if alone else tfb.Chain([bijector, warped])


@eqx.filter_jit
def _values(kind: Kind, numbers: Any, y: Array) -> Array:
    with substrate.standard_promotion():
        return jax.vmap(lambda v: substrate.forward(kind, numbers, v))(y)


@eqx.filter_jit
def _moved(given: Any, other: Any, y: Array, gradients: Array) -> tuple[Array, Array]:
    """Take a leaf's free coordinates, and gradients there, to those of another map."""

    def move(source: Any, to: Any, vector: Array) -> Array:
        return substrate.inverse(*to, substrate.forward(*source, vector))

    def log_det(of: Any, vector: Array) -> Array:
        return substrate.forward_and_log_det(*of, vector)[1]

    one = functools.partial(
        to_other_coordinates,
        functools.partial(move, given, other),
        functools.partial(move, other, given),
        (functools.partial(log_det, given), functools.partial(log_det, other)),
    )
    with substrate.standard_promotion():
        return jax.vmap(one)(y, gradients)[:2]
