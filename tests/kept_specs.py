"""Specs whose files are kept: what each must be when it is loaded, for ever.

A file is never written again. For what is new, add a case under a new name and run this
file as a script, which writes what is not there yet.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bijectree as bt
from bijectree import tfb
from bijectree.learned import flow as flow_module
from bijectree.learned.low_rank import AffineMap
from bijectree.substrate import Number

FOLDER = Path(__file__).parent / "spec_files" / "kept"

# What the files name.


def doubled(x: Any) -> Any:
    return x + x


def above_low(model: Any) -> Any:
    return bt.greater_than(model["low"])


def above_group(model: Any, group: str) -> Any:
    return bt.greater_than(model["groups"][group]["mu"])


GIVEN = tfb.Chain([tfb.Shift(1.0), tfb.Exp()], name="given")
FUNCTIONS = {
    "doubled": doubled,
    "above_low": above_low,
    "above_group": above_group,
    "mine": GIVEN,
}


def _shares(*shape: int) -> jax.Array:
    size = int(np.prod(shape))
    parts = jnp.arange(1.0, size + 1).reshape(shape)
    return parts / parts.sum(axis=-1, keepdims=True)


_CORRELATION = jnp.array([[1.0, 0.5], [0.5, 1.0]])
_CONSTRAINTS: dict[str, tuple[Callable[[], Any], Any]] = {
    "affine": (lambda: bt.affine(0.1, [1.0, 2.5]), jnp.ones(2)),
    "circular": (bt.circular, jnp.ones(2)),
    "circular degrees": (lambda: bt.circular(period=360.0), jnp.ones(2)),
    "corr_cholesky": (bt.corr_cholesky, jnp.linalg.cholesky(_CORRELATION)),
    "corr_matrix": (bt.corr_matrix, _CORRELATION),
    "greater_than": (lambda: bt.greater_than(-0.1), jnp.ones(2)),
    "interval": (lambda: bt.interval(np.array([-1e30, 0.3]), np.inf), jnp.ones(2)),
    "less_than": (lambda: bt.less_than(np.float32(1.7)), jnp.ones(2)),
    "lower_cholesky": (bt.lower_cholesky, jnp.eye(2)),
    "lower_cholesky tall": (lambda: bt.lower_cholesky(shape=(3, 2)), jnp.eye(3, 2)),
    "ordered": (bt.ordered_vector, jnp.arange(3.0)),
    "ordered axis": (lambda: bt.ordered_vector(axis=-2), jnp.arange(6.0).reshape(3, 2)),
    "ordered within": (lambda: bt.ordered_vector(-1.0, 5.5), jnp.arange(3.0)),
    "positive": (bt.positive, jnp.ones(2)),
    "positive softplus": (lambda: bt.positive(via="softplus"), jnp.ones(2)),
    "positive_definite": (bt.positive_definite, jnp.eye(2)),
    "positive_ordered": (bt.positive_ordered_vector, jnp.arange(1.0, 4.0)),
    "real": (bt.real, jnp.ones(2)),
    "simplex": (bt.simplex, _shares(3)),
    "simplex axis": (lambda: bt.simplex(axis=-2), _shares(2, 3).T),
    "simplex sticks": (lambda: bt.simplex(via="stick_breaking"), _shares(3)),
    "sphere": (bt.sphere, jnp.array([0.6, 0.8])),
    "unit_interval": (bt.unit_interval, jnp.array(0.5)),
    "zero_sum": (bt.zero_sum, jnp.array([-1.0, 0.0, 1.0])),
    "zero_sum axes": (
        lambda: bt.zero_sum(axis=(-2, -1)),
        jnp.array([[1.0, -1], [-1, 1]]),
    ),
}
_ROW = np.linspace(0.1, 1.0, 20, dtype=np.float32)
_TFP: dict[str, tuple[Callable[[], Any], Any]] = {
    "Ascending": (lambda: tfb.Ascending(), jnp.arange(3.0)),
    "Chain": (
        lambda: tfb.Chain([tfb.Shift(1.0), tfb.Scale(0.3), tfb.Exp()]),
        jnp.array(3.0),
    ),
    "Chain named": (
        lambda: tfb.Chain([tfb.Exp(), tfb.Exp()], name="mine"),
        jnp.array(3.0),
    ),
    "CorrelationCholesky": (lambda: tfb.CorrelationCholesky(), jnp.eye(2)),
    "Cumsum": (lambda: tfb.Cumsum(axis=-2), jnp.ones((3, 2))),
    "Exp": (lambda: tfb.Exp(), jnp.ones(2)),
    "Exp named": (lambda: tfb.Exp(name="e"), jnp.ones(2)),
    "FillScaleTriL": (lambda: tfb.FillScaleTriL(tfb.Exp(), diag_shift=None), jnp.eye(2)),
    "Invert": (lambda: tfb.Invert(tfb.Chain([tfb.Scale(0.1)])), jnp.ones(2)),
    "Permute": (lambda: tfb.Permute([2, 0, 1]), jnp.ones(3)),
    "Scale list": (lambda: tfb.Scale([1.0, 2.0]), jnp.ones(2)),
    "Scale log": (lambda: tfb.Scale(log_scale=jnp.float32(0.1)), jnp.ones(2)),
    "Scale of float32": (lambda: tfb.Scale(np.float32(0.1)), jnp.ones(2)),
    "Scale of many": (lambda: tfb.Scale(_ROW), jnp.ones(20)),
    "ScaleMatvecDiag": (lambda: tfb.ScaleMatvecDiag([1.0, 2.0]), jnp.ones(2)),
    "ScaleMatvecTriL": (
        lambda: tfb.ScaleMatvecTriL(np.array([[1.0, 0.0], [0.1, 2.0]])),
        jnp.ones(2),
    ),
    "Sigmoid": (lambda: tfb.Sigmoid(-0.1, 0.75), jnp.array(0.5)),
    "SinhArcsinh": (lambda: tfb.SinhArcsinh(0.1, 1.0), jnp.ones(2)),
    "Softplus": (lambda: tfb.Softplus(low=1e-3), jnp.ones(2)),
    "Tanh": (lambda: tfb.Tanh(), jnp.array(0.5)),
}


def _table(table: dict[str, tuple[Callable[[], Any], Any]]) -> tuple[Any, Any]:
    model = {name: value for name, (_, value) in table.items()}
    return model, {name: make() for name, (make, _) in table.items()}


def _items() -> tuple[Any, Any]:
    matrix = jnp.array([[0.2, 0.8, 0.0], [0.2, 0.3, 0.5]])
    model = {
        "copy": jnp.array([1.0, 2.0]),
        "count": 3,
        "first": jnp.array(1.0),
        "fixed": jnp.ones(3),
        "given": jnp.array([2.0, 3.0]),
        "groups": {g: {"mu": jnp.ones(()), "x": 3 * jnp.ones(2)} for g in "ab"},
        "half": jnp.array([1.0, 2.0]),
        "high": jnp.array(3.0),
        "long": jnp.ones(20),
        "low": jnp.array(1.0),
        "matrix": matrix,
        "partly": jnp.ones(3),
        "second": jnp.array(2.0),
        "source": jnp.array([1.0, 2.0]),
        "theta": jnp.ones(3),
        "together": [jnp.ones(2), jnp.ones(3)],
        "twice": jnp.array([2.0, 4.0]),
        "ä.β \n\"'": jnp.ones(2),
    }
    rules = {
        "copy": bt.tied("source"),
        "fixed": bt.frozen,
        "given": GIVEN,
        "groups.*.x": bt.dependent(above_group, "groups.*.mu"),
        "half": bt.masked(bt.greater_than(np.array([0.5, 1.5])), [False, True]),
        "high": bt.dependent(above_low, "low"),
        "long": bt.masked(bt.positive(), np.arange(20) % 3 > 0),
        "matrix": bt.masked(bt.simplex(), matrix > 0),
        "low": bt.positive(),
        "partly": bt.location_scale(0.5, "low", [0.0, 0.3, 1.0]),
        "first": bt.joint(tfb.Ascending(), over=("first", "second")),
        "theta": bt.location_scale("low", 2.0, 0.5),
        "together": bt.joint(tfb.Softplus()),
        "twice": bt.tied("source", doubled),
    }
    spec = bt.by_path(model, rules)
    return model, {**spec, "ä.β \n\"'": bt.positive()}


def _numbers() -> tuple[Any, Any]:
    values = {
        "bits": np.float64(0.1) + np.array([0.0, 2.0**-56]),
        "bfloat16": jnp.array([0.1, 3e-5], jnp.bfloat16),
        "float16": np.array([0.1, 6e-8], np.float16),
        "float32": np.array([1 / 3, 1e-45], np.float32),
        "float64": np.array([1 / 3, 5e-324]),
        "long bfloat16": np.linspace(0.0, 1.0, 20).astype(jnp.bfloat16),
        "long float32": np.linspace(0.0, 1.0, 20, dtype=np.float32),
        "long float64": np.linspace(0.0, 1.0, 20),
        "negative zero": np.array([-0.0, 0.0]),
        "nothing": np.zeros((0, 3)),
        "three axes": np.arange(16.0).reshape(2, 2, 4) / 7,
        "whole": 3,
    }
    model = {name: jnp.zeros(np.shape(value)) for name, value in values.items()}
    return model, {name: bt.affine(value, 1.0) for name, value in values.items()}


def _fitted() -> tuple[Any, Any]:
    model = {"a": jnp.ones(2), "b": jnp.array([0.2, 0.3, 0.5])}
    reparam = bt.Reparam(model, {"a": bt.positive(), "b": bt.simplex()})
    loc, scale = np.array([0.1, -0.2, 0.3, 1e-3]), np.array([0.5, 1.0, 2.0, 3.0])
    directions = np.array([[0.6, 0.0], [0.8, 0.0], [0.0, 1.0], [0.0, 0.0]])
    affine = AffineMap(loc, scale, directions, np.array([0.5, 2.0])).bijector()
    size = [(2, 3, 4), (2, 3), (2, 2, 4, 3), (2, 2, 4), (2, 2, 4, 4)]
    weights = [
        np.linspace(-0.3, 0.3, int(np.prod(s)), dtype=np.float32).reshape(s) for s in size
    ]
    flow = flow_module.Flow(tuple(map(Number, weights)), "coupling")
    return model, reparam.then(tfb.Scale(0.5)).then(affine).then(flow)


# Models with their specs, or Reparams of them, by the name of the file.
CASES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "constraints_1": lambda: _table(_CONSTRAINTS),
    "tfp_1": lambda: _table(_TFP),
    "items_1": _items,
    "numbers_1": _numbers,
    "fitted_1": _fitted,
}


def write(name: str) -> None:
    """Write a file that is not there yet."""
    path = FOLDER / f"{name}.toml"
    if not path.exists():
        bt.save_spec(path, CASES[name]()[1], functions=FUNCTIONS)


if __name__ == "__main__":
    for name in CASES:
        write(name)
