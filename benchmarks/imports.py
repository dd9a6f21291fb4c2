"""CPU seconds of the import, each in a process of its own, in turn.

Beside it stands what bijectree is built on. `BIJECTREE_OLDER` names the `src` folder of
another build.
"""

from collections.abc import Iterator

from ._processes import OLDER, builds, in_turn
from ._timing import Options, Row, row

TITLE = "Import"
PARTS = "jax, equinox, optax, TFP"
WHOLE = "import bijectree"
OF_PARTS = (
    "import jax, equinox, optax; from tensorflow_probability.substrates.jax import "
    "bijectors"
)


def run(options: Options) -> Iterator[Row]:
    """Ours against what it is built on."""
    commands = {name: (_timed(WHOLE), source) for name, source in builds().items()}
    commands[PARTS] = (_timed(OF_PARTS), None)
    (times,) = in_turn(commands, options, 5)
    limits = {} if options.quick else {PARTS: 1.04, OLDER: 0.9}
    yield row("imports", "import", times, limits=limits, unit="s")


def _timed(statement: str) -> list[str]:
    code = (
        f"import time; start = time.process_time(); {statement}; "
        "print(time.process_time() - start)"
    )
    return ["-c", code]
