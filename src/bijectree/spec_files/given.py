"""The functions, classes and items that a file only names and the caller gives."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass
class Writing:
    """The state of writing a spec.

    Attributes:
        given: what the caller gives, by name.
        path: of the leaf that is being written.
        named: what the file names, by name.
        arrays: the arrays that go beside the text, by their digest.
        joints: the path where each joint stands first, by its id.
    """

    given: Mapping[str, Any]
    path: str = ""
    named: dict[str, Any] = dataclasses.field(default_factory=dict)
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    joints: dict[int, str] = dataclasses.field(default_factory=dict)

    def name(self, value: Any) -> str:
        """The name of a function or class: the caller's, or its own.

        A lambda has no name of its own, and gets the path of its leaf.
        """
        for name, other in (*self.given.items(), *self.named.items()):
            if other is value:
                self.named[name] = value
                return name
        own = getattr(value, "__name__", type(value).__name__)
        own = own if own.isidentifier() else self.path or "function"
        name, count = own, 1
        while name in self.named or name in self.given:
            count += 1
            name = f"{own}_{count}"
        self.named[name] = value
        return name


@dataclasses.dataclass(frozen=True)
class Reading:
    """The state of reading a spec.

    Attributes:
        given: what the caller gives, by name.
        arrays: the arrays that lie beside the text, by their digest.
        joints: the joints that were read, by path.
    """

    given: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    joints: dict[str, Any] = dataclasses.field(default_factory=dict)

    def look_up(self, name: Any) -> Any:
        """What the caller gives under a name.

        Raises:
            ValueError: the caller gives nothing under that name.
        """
        if not isinstance(name, str):
            raise ValueError(f"a name is due, got {name!r}")
        if name in self.given:
            return self.given[name]
        near = difflib.get_close_matches(name, self.given, n=1, cutoff=0.6)
        instead = f"; it has {near[0]!r}" if near else ""
        raise ValueError(
            f"the file only names {name!r}; give it: load_spec(..., "
            f"functions={{{name!r}: ...}}){instead}"
        )
