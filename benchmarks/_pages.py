"""What the sweeps found, written as a page beside them."""

import argparse
import pathlib
from collections.abc import Callable
from typing import Any

HERE = pathlib.Path(__file__).parent


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "\\<")


def write_page(
    name: str, sweep: Callable[[], dict[Any, Any]], as_table: Callable[[Any], str]
) -> None:
    """Sweep, write the table to `<name>.md`, and print what is wrong."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--output", type=pathlib.Path, default=HERE)
    output = parser.parse_args().output / f"{name}.md"
    found = sweep()
    output.write_text(as_table(found))
    wrong = {key: f.why for key, f in found.items() if f.verdict == "WRONG"}
    print(f"{output}: {len(found)} leaves, {len(wrong)} wrong")
    for key, why in wrong.items():
        print(key, why)
