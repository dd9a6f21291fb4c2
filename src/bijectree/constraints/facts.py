"""What is known of a class of bijectors: where it is one to one, and onto what.

A class in the table keeps its promises on the sets that its fact names: it is one to
one, and its log-det is that of minimal coordinates. The classes of this package enter the
table where they are defined, TFP's in `tfp_facts`; all others are verified when bound.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..substrate import scales_evenly
from . import sets
from .ranges import REALS, Range
from .sets import SetTag, Support


@dataclasses.dataclass(frozen=True)
class Image:
    """What a map makes of a set.

    Attributes:
        support: the set that it is mapped onto, as far as that is known.
        minimal: whether the map's log-det is that of minimal coordinates.
    """

    support: Support
    minimal: bool = True


# What a fact says of a map and a set: the image of the set; why the map must not be given
# that set; or `None` where neither is known.
Answer = Image | str | None

# A function that maps an end of an interval. It takes the bijector, NumPy or `jax.numpy`,
# and the end.
End = Callable[[Any, Any, Any], Any]


@dataclasses.dataclass(frozen=True)
class MapOfNumbers:
    """A map of each element by itself, one to one from an interval onto another.

    Attributes:
        onto: from a bijector to the interval that it maps its domain onto.
        domain: from a bijector to the interval on which it is one to one.
        end: maps an end of an interval; without it only the image of the domain is known.
        inverse_end: maps an end by the inverse map.
    """

    onto: Callable[[Any], Range]
    domain: Callable[[Any], Range] = lambda bijector: REALS
    end: End | None = None
    inverse_end: End | None = None

    def forward(self, bijector: Any, base: Support) -> Answer:
        """What the map makes of a set."""
        domain, onto = self.domain(bijector), self.onto(bijector)
        return _image_of_numbers(bijector, base, domain, onto, self.end)

    def inverse(self, bijector: Any, base: Support) -> Answer:
        """What the inverse map makes of a set."""
        domain, onto = self.domain(bijector), self.onto(bijector)
        return _image_of_numbers(bijector, base, onto, domain, self.inverse_end)


def _image_of_numbers(
    bijector: Any, base: Support, domain: Range, onto: Range, end: End | None
) -> Answer:
    if not base.entries.within(domain):
        known = base.entries.known and domain.known
        return f"{domain.description}, not {base.description}" if known else None
    if base.entries.same_as(domain):
        entries = onto
    elif end is None:
        return Image(sets.part_of(sets.numbers(onto), solid=base.solid))
    else:
        entries = _mapped(end, bijector, base.entries)
    if base.tag is SetTag.NUMBERS:
        return Image(sets.numbers(entries))
    if base.everything and entries.everything:
        return Image(base)
    if base.tag is SetTag.PART and (base.solid or scales_evenly(bijector)):
        return Image(sets.part_of(sets.numbers(entries), solid=base.solid))
    if base.solid or scales_evenly(bijector):
        return Image(sets.mapped(base, bijector, entries))
    return None


def _mapped(end: End, bijector: Any, base: Range) -> Range:
    leaves = (base.lower, base.upper, *jax.tree.leaves(bijector))
    xp: Any = jnp if any(isinstance(x, Tracer) for x in leaves) else np
    with np.errstate(all="ignore"):
        a, b = (end(bijector, xp, x) for x in (base.lower, base.upper))
        return Range(xp.minimum(a, b), xp.maximum(a, b))


@dataclasses.dataclass(frozen=True)
class MapOfArrays:
    """A map of arrays, one to one from all of a shape onto all of a shape."""

    def forward(self, bijector: Any, base: Support) -> Answer:
        """What the map makes of a set."""
        return _image_of_arrays(bijector.inverse_min_event_ndims, base)

    def inverse(self, bijector: Any, base: Support) -> Answer:
        """What the inverse map makes of a set."""
        return _image_of_arrays(bijector.forward_min_event_ndims, base)


def _image_of_arrays(ndims: Any, base: Support) -> Answer:
    if base.everything:
        return Image(sets.arrays(int(ndims)))
    return Image(sets.part_of(None, solid=True)) if base.solid else None


@dataclasses.dataclass(frozen=True)
class MapOntoSet:
    """A map from all real arrays onto a set.

    Attributes:
        onto: from a bijector to the set.
        minimal: whether the bijector's log-det is that of minimal coordinates.
    """

    onto: Callable[[Any], Support]
    minimal: bool = True

    def forward(self, bijector: Any, base: Support) -> Answer:
        """What the map makes of a set."""
        onto = self.onto(bijector)
        if base.everything:
            return Image(onto, self.minimal)
        if not base.solid:
            return None
        return Image(sets.part_of(onto, solid=onto.solid), self.minimal)

    def inverse(self, bijector: Any, base: Support) -> Answer:
        """What the inverse map makes of a set."""
        onto = self.onto(bijector)
        augmented = getattr(bijector, "auxiliary_coordinates", 0)
        if base.same_set(onto) and not augmented:
            return Image(sets.arrays(int(bijector.forward_min_event_ndims)), self.minimal)
        return f"{onto.description}, not {base.description}" if base.everything else None


@dataclasses.dataclass(frozen=True)
class MapOfSets:
    """A map whose images are known set by set.

    Attributes:
        forward: from the bijector and a set to what it makes of the set.
        inverse: from the bijector and a set to what its inverse makes of the set.
    """

    forward: Callable[[Any, Support], Answer]
    inverse: Callable[[Any, Support], Answer]


Fact = MapOfNumbers | MapOfArrays | MapOntoSet | MapOfSets

_facts: dict[type, Fact] = {}
_limits: dict[type, Callable[[Any], str]] = {}


def register_fact(cls: type, fact: Fact) -> None:
    """Enter what is known of a class, by exact class: subclasses may map otherwise."""
    _facts[cls] = fact


def known(fact: Fact) -> Callable[[type], type]:
    """Enter what is known of the class that this decorates."""

    def enter(cls: type) -> type:
        register_fact(cls, fact)
        return cls

    return enter


def fact_of(cls: type) -> Fact | None:
    """What is known of a class of bijectors."""
    return _facts.get(cls)


def register_limit(cls: type, why: Callable[[Any], str]) -> None:
    """Enter the numbers for which a class keeps no promise.

    Args:
        cls: the class.
        why: says of a bijector why its numbers are none that its class allows, or "".
    """
    _limits[cls] = why


def why_beyond_limits(bijector: Any) -> str:
    """What the numbers of a bijector must be and are not; "" where nothing is wrong."""
    why = _limits.get(type(bijector))
    return why(bijector) if why else ""
