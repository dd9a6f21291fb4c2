"""Progress bars on the standard error."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def bar(*, progress: bool = True, on_terminals_alone: bool = False) -> "Progress":
    """A progress bar, which imports rich; use it in a `with` statement.

    Args:
        progress: whether to show it.
        on_terminals_alone: whether to show it on a terminal alone, and to take it away
            at the end.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    shown = progress and (console.is_terminal or not on_terminals_alone)
    return Progress(console=console, transient=on_terminals_alone, disable=not shown)
