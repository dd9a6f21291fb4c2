"""The base of the bijectors that map every element alone."""

from typing import Any

from ..substrate import FusedBijector


class Elementwise(FusedBijector):
    """The base of the bijectors that map every element alone."""

    def __init__(self, parameters: dict[str, Any]):
        super().__init__(
            forward_min_event_ndims=0,
            validate_args=False,
            parameters=parameters,
            name=parameters["name"],
        )

    @classmethod
    def _is_increasing(cls) -> bool:
        return True
