"""The command: runs the cells, writes the figures, the tables and the pictures."""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from . import (
    _report,
    bandwidth,
    binding,
    cold_posterior,
    eager,
    elementwise,
    events,
    first_calls,
    imports,
    large,
    leaves,
    memory,
    optimizer,
    peers,
    posteriors,
)
from ._timing import Options, Row

CELLS = {
    "elementwise": elementwise,
    "events": events,
    "leaves": leaves,
    "binding": binding,
    "first_calls": first_calls,
    "cold_posterior": cold_posterior,
    "optimizer": optimizer,
    "large": large,
    "posteriors": posteriors,
    "eager": eager,
    "imports": imports,
    "memory": memory,
    "bandwidth": bandwidth,
}
HERE = pathlib.Path(__file__).parent


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small sizes; only proves that it runs"
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--cells", nargs="+", choices=CELLS, metavar="NAME")
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        metavar="DIR",
        help="where to write; by default a full run on a CPU writes here, others print",
    )
    args = parser.parse_args()
    if args.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    elif jax.default_backend() != "gpu":
        parser.error(f"--device gpu: JAX found only {jax.devices()}")
    output = args.output
    if not (output or args.quick or args.cells or args.device == "gpu"):
        output = HERE
    if output:  # what is wrong with it would else show after the work is done
        if output.suffix in (".json", ".md", ".png", ".txt"):
            parser.error(f"--output names a folder for several files, got {output}")
        fault = _why_not_written(output)
        if fault:
            parser.exit(1, f"cannot write to {output}: {fault}\n")
    names = args.cells or list(CELLS)
    command = ["python -m benchmarks"]
    if args.quick:
        command.append("--quick")
    if args.device != "cpu":
        command += ["--device", args.device]
    if args.cells:
        command += ["--cells", *args.cells]
    about: dict[str, Any] = {
        "command": " ".join(command),
        "date": datetime.date.today().isoformat(),
        "quick": args.quick,
        "machine": _machine(),
        "versions": {"python": platform.python_version(), **peers.versions()},
        "left out, not installed": peers.left_out(),
    }
    start = time.perf_counter()
    rows: list[Row] = []
    failed: list[str] = []
    for i, name in enumerate(names):
        try:
            rows += _rows(name, Options(args.quick, args.device))
        except Exception:  # the other cells still count
            traceback.print_exc()
            failed.append(name)
        about["minutes"] = round((time.perf_counter() - start) / 60, 1)
        about["not run"] = failed + names[i + 1 :]
        if output:  # now: what ends a later cell would lose this one
            _write(rows, about, output)
    print(_report.markdown(rows, about, CELLS))
    if output:
        for path in _report.draw(rows, output):
            print(f"wrote {path}")
    if failed:
        parser.exit(1, f"failed: {', '.join(failed)}; the tracebacks are above\n")


def _write(rows: Sequence[Row], about: Mapping[str, Any], output: pathlib.Path) -> None:
    found = {**about, "rows": [_plain(row) for row in rows]}
    figures = json.dumps(found, indent=1, ensure_ascii=False)
    (output / "results.json").write_text(figures + "\n")
    (output / "results.md").write_text(_report.markdown(rows, about, CELLS))


def _why_not_written(folder: pathlib.Path) -> str:
    """Why no file can be written into a folder, which is made; "" if one can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _rows(name: str, options: Options) -> Iterator[Row]:
    start = time.perf_counter()
    for row in CELLS[name].run(options):
        print(_report.line(row), flush=True)
        yield row
    print(f"-- {name}: {time.perf_counter() - start:.0f} s", flush=True)


def _plain(row: Row) -> dict[str, object]:
    found = dataclasses.asdict(row)
    found["targets"] = [{**dataclasses.asdict(t), "met": t.met} for t in row.targets]
    return {key: value for key, value in found.items() if value not in (None, "", [])}


def _machine() -> str:
    device = jax.devices()[0]
    name = device.device_kind
    if device.platform == "cpu":
        try:
            lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        except OSError:  # not Linux
            lines = []
        models = [line.split(":")[1].strip() for line in lines if "model name" in line]
        name = models[0] if models else platform.processor()
    return f"{name}, {os.cpu_count()} CPU cores, {platform.system()} {platform.machine()}"


if __name__ == "__main__":
    main()
