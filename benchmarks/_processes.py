"""Seconds of a process of its own, of this build or of an older one."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence

from ._timing import OURS, Options, Times

OLDER = "older build"
ROOT = pathlib.Path(__file__).parents[1]


def builds() -> dict[str, str | None]:
    """The `src` folders of this build and of the older one, if there is one.

    `BIJECTREE_OLDER` names it; `None` is what is installed.
    """
    older = os.environ.get("BIJECTREE_OLDER")
    return {OURS: None} | ({OLDER: older} if older else {})


def in_turn(
    commands: Mapping[str, tuple[Sequence[str], str | None]], options: Options, turns: int
) -> list[Times]:
    """What commands print, each in a new process, one after another.

    Args:
        commands: by contestant, arguments of Python and the `src` folder of a build. Each
            command prints as many numbers as the others.
        options: a quick run takes one turn.
        turns: how many are timed, after one that reads the files from disk.

    Returns:
        For each of the numbers, the seconds of all contestants. An older build that
        cannot do what is asked is left out.
    """
    found: dict[str, list[list[float]]] = {name: [] for name in commands}
    for turn in range(1 if options.quick else turns + 1):
        for name in list(found):
            try:
                numbers = _numbers(*commands[name])
            except subprocess.CalledProcessError as error:
                if name != OLDER:
                    raise
                print(f"{OLDER}: {error.stderr.decode().strip().splitlines()[-1]}")
                del found[name]
                continue
            if turn or options.quick:
                found[name].append(numbers)
    of_each = {name: [*zip(*rounds, strict=True)] for name, rounds in found.items()}
    count = len(next(iter(of_each.values())))
    return [{name: [*f[i]] for name, f in of_each.items()} for i in range(count)]


def _numbers(arguments: Sequence[str], source: str | None) -> list[float]:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    if source is not None:
        environment["PYTHONPATH"] = source
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        check=True,
        capture_output=True,
        env=environment,
        cwd=ROOT,
    )
    return [float(x) for x in done.stdout.split()]
