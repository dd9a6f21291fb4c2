"""Checkpoints of a run: one file, which is whole or not there."""

import contextlib
import dataclasses
import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..learned.centeredness import shares_of
from ..learned.low_rank import AffineMap
from ..learned.outer_map import OuterMap
from ..learned.warp import Warp
from ..posterior import Posterior, Target
from ..trees import raise_all
from .chains import Standing, Steps, evaluate
from .run import Run, differ, with_learned
from .tuned import Tuned

_FORMAT = "bijectree draws 2"

_AFFINE = tuple(field.name for field in dataclasses.fields(AffineMap))
_WARP = tuple(field.name for field in dataclasses.fields(Warp))


def settings(posterior: Posterior, key: Any, start: Any, **given: Any) -> dict[str, Any]:
    """What a call must have in common with the one that wrote a file."""
    labels = "\n".join(posterior.labels).encode()
    if not isinstance(start, str):
        leaves = [np.asarray(x).tobytes() for x in jax.tree.leaves(start)]
        start = _digest(b"".join(leaves))
    return {
        "key": np.asarray(jax.random.key_data(key)).ravel().tolist(),
        "coordinates of": _digest(labels),
        "start": start,
        **given,
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


class Keeper:
    """Writes checkpoints.

    Args:
        path: of the file; `None` for no checkpoints.
        settings: of `settings`.
        every: how many draws lie between two.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any], every: int):
        self.path, self.settings, self.every = path, settings, max(1, every)
        self._written, self._warned = 0, False

    def write(self, run: Run) -> None:
        """Write the run as it stands; warn if that cannot be done."""
        if self.path is None:
            return
        self._written = run.n
        try:
            _write(self.path, *_parts(run, self.settings))
        except OSError as error:
            if self._warned:
                return
            self._warned = True
            warnings.warn(
                f"checkpoint: '{self.path}' could not be written ({error}); sampling "
                "goes on, and the file is as it was",
                stacklevel=4,
            )

    def write_sometimes(self, run: Run, draws: int) -> None:
        """Write if it is time, or if the run is over."""
        if run.n - self._written >= self.every or run.n >= draws:
            self.write(run)


def load(path: Path, settings: Mapping[str, Any], given: Target) -> Run | None:
    """The run that a file holds; `None` if there is no file.

    Raises:
        ValueError: the file is of another call or of another posterior, or it was cut
            off. It stays as it is.
        OSError: there is no such folder, or the file cannot be read.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"checkpoint: there is no folder '{path.parent}'")
    # What cannot be written is told of now, not after a long warm-up.
    if path.is_dir():
        raise IsADirectoryError(f"checkpoint: '{path}' is a folder")
    part = _part(path)
    part.touch()
    part.unlink()
    if not path.exists():
        return None
    facts, arrays = _read(path)
    faults = [
        f"`{name}` was {facts['settings'].get(name)!r}, and is {value!r} now"
        for name, value in settings.items()
        if facts["settings"].get(name) != value
    ]
    raise_all(
        f"checkpoint: '{path}' is of another call, and nothing was changed; give another "
        "path, or delete the file to start anew",
        faults,
    )
    run = _run(facts, arrays, given)
    vectors = jnp.asarray(run.standing.vectors)
    density = jax.device_get(evaluate(run.tuned.target(given), vectors))[0]
    if differ(density, run.standing.log_density, density.dtype):
        raise ValueError(
            f"checkpoint: '{path}' is of another posterior or of other data, and nothing "
            "was changed: the log-density where the chains stand was "
            f"{run.standing.log_density}, and is {density} now"
        )
    run.gradients["starts"] += len(density)
    return run


def _parts(
    run: Run, settings: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The facts and arrays of a run."""
    shares = shares_of(run.tuned.reparam, run.tuned.rows)
    facts = {
        "settings": dict(settings),
        "gradients": run.gradients,
        "seconds": run.seconds,
        "moved": run.moved,
        "follows": run.follows,
        "step size": run.tuned.step_size,
        "learned": run.tuned.learned,
        "shares": len(shares),
        "maps": {str(row): number for row, (number, _) in run.tuned.maps.items()},
    }
    outer = run.tuned.outer
    arrays = {f"affine {name}": getattr(outer.affine, name) for name in _AFFINE}
    arrays |= {f"middle {row}": middle for row, (_, middle) in run.tuned.maps.items()}
    if outer.warp is not None:
        arrays |= {f"warp {name}": getattr(outer.warp, name) for name in _WARP}
    arrays |= {f"share {i}": np.asarray(x) for i, x in enumerate(shares)}
    arrays |= {f"standing {k}": x for k, x in run.standing._asdict().items()}
    if run.kept:
        arrays |= {f"steps {k}": x for k, x in run.steps._asdict().items()}
    return facts, arrays


def _run(
    facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray], given: Target
) -> Run:
    shares = [arrays[f"share {i}"] for i in range(facts["shares"])]
    maps = {
        int(row): (number, arrays[f"middle {row}"])
        for row, number in facts["maps"].items()
    }
    reparam, rows = with_learned(given, maps, shares)
    affine = AffineMap(*(arrays[f"affine {name}"] for name in _AFFINE))
    warp = None
    if "warp loc" in arrays:
        warp = Warp(*(arrays[f"warp {name}"] for name in _WARP))
    tuned = Tuned(
        reparam,
        OuterMap(affine, warp),
        facts["step size"],
        rows,
        learned=facts["learned"],
        maps=maps,
    )
    standing = Standing(*(arrays[f"standing {k}"] for k in Standing._fields))
    kept = []
    if "steps vectors" in arrays:
        kept = [Steps(*(arrays[f"steps {k}"] for k in Steps._fields))]
    moved, follows = facts["moved"], facts["follows"]
    spent, seconds = facts["gradients"], facts["seconds"]
    return Run(tuned, standing, spent, seconds, moved, follows, kept)


def _write(
    path: Path, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write a file beside the old one, then put it in its place."""
    text = json.dumps({"format": _FORMAT, **facts}).encode()
    whole = {"facts": np.frombuffer(text, np.uint8), **arrays}
    part = _part(path)
    try:
        with part.open("wb") as file:
            np.savez(file, allow_pickle=False, **whole)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}.part")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        facts = json.loads(arrays.pop("facts").tobytes())
        if facts.pop("format") != _FORMAT:
            raise ValueError("another format")
    except (
        zipfile.BadZipFile,
        ValueError,
        KeyError,
        EOFError,
        TypeError,
        AttributeError,
    ) as error:
        raise ValueError(
            f"checkpoint: '{path}' is no checkpoint of this version of bijectree, or it "
            "was cut off; nothing was changed. Give another path, or delete the file to "
            "start anew"
        ) from error
    return facts, arrays
