"""The set that a bijector maps onto, and whether the table of facts knows that map."""

import dataclasses
from typing import Any

from ..substrate import FusedBijector, all_links, spelled_out, tfb
from . import sets
from .facts import fact_of, why_beyond_limits
from .ranges import REALS, Range
from .sets import SetTag, Support


@dataclasses.dataclass(frozen=True)
class Knowledge:
    """What the table of facts knows of a bijector.

    Attributes:
        state: a set that it maps into, as far as it is known.
        proven: whether it is known to be one to one from all that it is given, with the
            log-det of minimal coordinates.
        fault: what is known to be wrong, if anything is.
    """

    state: Support | None = None
    proven: bool = False
    fault: str = ""

    @property
    def image(self) -> Support | None:
        """The set that it maps onto; `None` where that is not known."""
        part = self.state is None or self.state.tag is SetTag.PART
        return None if part else self.state


def knowledge_of(bijector: Any, given: Support | None = None) -> Knowledge:
    """Look a bijector up in the table of facts, link by link.

    Args:
        bijector: a TFP bijector, alone, inverted or a chain.
        given: the set that it is given; all real arrays by default.

    Returns:
        What is known of all its links; nothing if one of them is not in the table, or is
        given a set that its facts do not name.
    """
    state = sets.numbers(REALS) if given is None else given
    proven = True
    links = all_links(spelled_out(bijector))
    for link in links:
        part, inverted = link, type(link) is tfb.Invert
        if inverted:
            part = link.bijector
        why = why_beyond_limits(part)
        if why:
            return Knowledge(fault=f"{_which(link, links)}is not one to one: {why}")
        fact = fact_of(type(part))
        if fact is None:
            if _is_ours(type(part)) and state.everything and not inverted:
                state = sets.part_of(None, solid=True)
                continue
            return Knowledge()
        answer = (fact.inverse if inverted else fact.forward)(part, state)
        if isinstance(answer, str):
            return Knowledge(fault=f"{_which(link, links)}takes {answer}")
        if answer is None:
            return Knowledge()
        state, proven = answer.support, proven and answer.minimal
    return Knowledge(state, proven)


def _which(link: Any, links: Any) -> str:
    return f"its link {link.name} " if len(links) > 1 else ""


def _is_ours(cls: type) -> bool:
    """Whether a class is this package's, whose tests hold each to its promises."""
    return issubclass(cls, FusedBijector) and cls.__module__.startswith(_PACKAGE)


_PACKAGE = __name__.partition(".")[0] + "."


def support(bijector: tfb.Bijector) -> Support:
    """The set that a bijector maps onto.

    Known for the bijectors of this package and the common ones of TFP, alone, inverted,
    or in a `tfb.Chain` with maps of single elements after them; after a set of fewer
    free coordinates than entries, such as a simplex, only with `tfb.Shift` and a
    `tfb.Scale` of one number. Any other has the description "the range of <name>", and
    its predicate is a round trip: the inverse is finite and maps back to the value.

    Args:
        bijector: a TFP bijector.

    Returns:
        The set, in words and as a predicate.

    Example:
        >>> import bijectree as bt
        >>> bt.support(bt.tfb.Chain([bt.tfb.Shift(1.0), bt.tfb.Exp()])).description
        'numbers greater than 1'
    """
    image = knowledge_of(bijector).image
    return sets.range_of(bijector) if image is None else image


def interval_of(bijector: tfb.Bijector) -> Range | None:
    """The open interval of each element, where the support is one."""
    image = knowledge_of(bijector).image
    return None if image is None else image.interval
