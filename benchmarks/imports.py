"""Time of the import, each in a process of its own, in turn."""

import subprocess
import sys
from collections.abc import Iterator

from ._timing import OURS, Options, Row, Times, row

TITLE = "Import"
TFP = "jax and TFP"
STATEMENTS = {
    OURS: "import bijectree",
    TFP: "import jax; from tensorflow_probability.substrates.jax import "
    "bijectors, distributions",
}


def run(options: Options) -> Iterator[Row]:
    """Ours against what it is built on."""
    turns = 1 if options.quick else 9
    times: Times = {name: [] for name in STATEMENTS}
    for turn in range(turns + (not options.quick)):
        for name, statement in STATEMENTS.items():
            found = _seconds(statement)
            if turn or options.quick:  # the first reads the files from disk
                times[name].append(found)
    limits = {} if options.quick else {TFP: 1.05}
    yield row("imports", "import", times, limits=limits, unit="s")


def _seconds(statement: str) -> float:
    code = (
        f"import time; start = time.perf_counter(); {statement}; "
        "print(time.perf_counter() - start)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    return float(subprocess.run(command, check=True, capture_output=True).stdout)
