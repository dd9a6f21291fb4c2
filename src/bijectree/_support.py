"""The set that a bijector maps onto, in words and as a predicate."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Support:
    """To come."""

    description: str


def support(bijector: Any) -> Support:
    """To come."""
    return Support(f"the range of {bijector.name}")
