"""Tables as plain text."""

import io
from typing import Any

from rich.console import Console


def plain(table: Any) -> str:
    """A rich table as text of its natural width, the same wherever it is printed."""
    file = io.StringIO()
    console = Console(
        file=file,
        width=1000,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,  # in a notebook rich would display it there instead
    )
    console.print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().rstrip().split("\n"))
