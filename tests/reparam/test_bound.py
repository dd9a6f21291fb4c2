"""Leaves that belong together: the map of the whole model and its log-det."""

import dataclasses
import functools
import pickle
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import law
import models
import numpy as np
import pytest
from jaxtyping import Array
from together import below, flow, garch, jacobians, mixture, points, preconditioned

import bijectree as bt
from bijectree import tfb


class Below(eqx.Module):
    """Numbers between 0 and `limit` - alpha."""

    limit: Array

    def __call__(self, model: Any) -> Any:
        return bt.interval(0.0, self.limit - model["alpha"])


def firsts(x: Array) -> Array:
    return x[:2]


@dataclasses.dataclass
class Case:
    """A model and its spec.

    Attributes:
        make: gives both, for a dtype.
        reads: which leaves a leaf, or a joint, depends on directly.
        joints: the leaves that are mapped together.
    """

    make: Callable[[Any], tuple[Any, Any]]
    reads: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    joints: list[set[str]] = dataclasses.field(default_factory=list)

    def moved_by(self, leaf: str) -> set[str]:
        """All the leaves whose free coordinates move a leaf."""
        found: set[str] = set()
        todo = {leaf}
        while todo:
            path = todo.pop()
            group = next((g for g in self.joints if path in g), {path})
            found |= group
            for member in group:
                todo |= self.reads.get(member, set()) - found
        return found


def schools(dtype: Any) -> tuple[Any, Any]:
    model = {
        "mu": jnp.array(1.0, dtype),
        "tau": jnp.array(2.0, dtype),
        "theta": jnp.arange(4, dtype=dtype),
        "effect": jnp.zeros((2, 4), dtype),
    }
    spec = {
        "mu": None,
        "tau": bt.positive(),
        "theta": bt.location_scale("mu", "tau", np.array([0.0, 0.3, 0.7, 1.0])),
        "effect": bt.location_scale("theta", 3.0, 0.5),
    }
    return model, spec


def fields(dtype: Any) -> tuple[Any, Any]:
    """Ordered shifts of three modules, and a simplex over their scales."""
    model = {
        "layers": [
            models.Layer(jnp.full((), 1 / 3, dtype), jnp.full((), i, dtype))
            for i in range(3)
        ]
    }
    ordered = bt.joint(bt.ordered_vector(), over="layers.*.shift")
    rules = {"**.scale": bt.joint(bt.simplex()), "**.shift": ordered}
    return model, bt.by_path(model, rules)


CASES = {
    "bounds that depend": Case(garch, {"beta": {"alpha"}}),
    "location and scale": Case(schools, {"theta": {"mu", "tau"}, "effect": {"theta"}}),
    "fields of modules": Case(
        fields,
        joints=[{f"layers.{i}.{name}" for i in range(3)} for name in ("scale", "shift")],
    ),
    "flow and whitening": Case(flow, joints=[{"a", "b"}, {"c", "d"}]),
    "mixture": Case(
        mixture,
        {
            "between": {"low"},
            "past": {"high"},
            "left": {"wide", "past"},
            "turned": {"chol"},
        },
        [{"low", "high"}, {"left", "right"}],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_log_det_is_that_of_the_whole_map_and_its_blocks_are_as_said(
    name, precision, getkey
):
    case = CASES[name]
    model, spec = case.make(precision)
    reparam = bt.Reparam(model, spec)
    log_dets, matrices = jax.device_get(
        jacobians(reparam, points(reparam, getkey(), precision))
    )
    assert log_dets.dtype == precision
    tolerance = 1e4 * float(jnp.finfo(precision).eps)
    for log_det, matrix in zip(log_dets, matrices, strict=True):
        square = law.minimal_rows(matrix.astype(np.float64))
        assert square.shape == (reparam.dim, reparam.dim)
        expected = np.linalg.slogdet(square)[1]
        np.testing.assert_allclose(log_det, expected, rtol=tolerance, atol=tolerance)

    # Which leaf each row of the Jacobian is, and which leaves each column.
    rows = [
        row.path
        for row in reparam.bound.plan.rows
        if row.role == "free"
        for _ in range(int(np.prod(row.shape)))
    ]
    assert len(set(reparam.labels)) == reparam.dim
    columns = [leaves_of(label, set(rows)) for label in reparam.labels]
    moves = np.any(matrices != 0, axis=0)
    for path in set(rows):
        below = moves[[i for i, row in enumerate(rows) if row == path]].any(axis=0)
        by = set().union(*(c for c, yes in zip(columns, below, strict=True) if yes))
        group = next((g for g in case.joints if path in g), {path})
        assert by | group == case.moved_by(path), path
    free = reparam.inverse(model)
    back = reparam.forward(free)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(model), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def leaves_of(label: str, paths: set[str]) -> set[str]:
    """The leaves that a label names."""
    owners = {p for p in paths if label == p or label.startswith(p + ".")}
    if not owners:  # a coordinate of several leaves
        head, _, number = label.rpartition(".")
        assert number.isdecimal()
        owners = set(head.split("+"))
        assert owners <= paths
    return owners


# What must not cost a trace, and what must pass through.


def test_equal_specs_and_new_numbers_do_not_retrace():
    traces = []

    @jax.jit
    def total(reparam: bt.Reparam, free: Any) -> Any:
        traces.append(1)
        return reparam.forward_and_log_det(free)

    def make(number: float) -> tuple[Any, bt.Reparam]:
        model = {
            "alpha": jnp.array(0.2),
            "beta": jnp.array(0.5),
            "gamma": jnp.array(0.1),
            "theta": jnp.ones(3),
            "width": jnp.array(number),
            "x": jnp.array(1.0),
            "y": jnp.array(4.0),
            "z": jnp.ones(2),
        }
        spec = {
            "alpha": bt.unit_interval(),
            "beta": bt.dependent(below, "alpha"),
            "gamma": bt.dependent(Below(jnp.array(number)), ("alpha",)),
            "theta": bt.location_scale("beta", "width", number / 3),
            "width": bt.frozen,
            "x": bt.joint(tfb.Chain([tfb.Shift(number), tfb.Exp()]), over=("x", "y")),
            "y": None,
            "z": bt.tied("theta", firsts),
        }
        return model, bt.Reparam(model, spec).then(tfb.Scale(number))

    results = []
    for number in (0.5, 0.7, 0.9):
        model, reparam = make(number)
        free = reparam.inverse(model)
        results.append(total(reparam, free)[1])
        assert reparam.bound.plan == make(number)[1].bound.plan
        assert hash(reparam.bound.plan) == hash(make(number)[1].bound.plan)
    assert len(traces) == 1
    assert len(set(map(float, results))) == 3


def test_transformations(getkey):
    number = jnp.array(2.0)
    model = {"tau": number, "theta": jnp.ones(2), "twin": number, "x": 2 * number}
    spec = {
        "tau": bt.positive(),
        "theta": bt.location_scale("twin", "tau", 0.5),
        "twin": bt.joint(bt.ordered_vector(), over=("twin", "x")),
        "x": None,
    }
    reparam = preconditioned(bt.Reparam(model, spec), jnp.float32, times=1)
    vector = jax.random.normal(getkey(), (reparam.dim,))

    def total(reparam: bt.Reparam, vector: Array) -> Array:
        model, log_det = reparam.forward_and_log_det(reparam.unravel(vector))
        return log_det + sum(jnp.sum(jnp.tanh(x)) for x in jax.tree.leaves(model))

    with jax.checking_leaks():
        value, gradient = jax.jit(jax.value_and_grad(total, argnums=1))(reparam, vector)
    np.testing.assert_allclose(total(reparam, vector), value, rtol=1e-5)
    along = jax.random.normal(getkey(), vector.shape)
    _, rise = jax.jvp(functools.partial(total, reparam), (vector,), (along,))
    np.testing.assert_allclose(rise, gradient @ along, rtol=1e-3)
    two = jnp.stack([vector, -vector])
    values = jax.vmap(lambda v: total(reparam, v))(two)
    np.testing.assert_allclose(values[0], value, rtol=1e-5)
    _, scanned = jax.lax.scan(lambda c, v: (c, total(reparam, v)), None, two)
    np.testing.assert_allclose(scanned, values, rtol=1e-5)
    # The numbers in functions can be differentiated: they are leaves of the Reparam.
    model = {"alpha": jnp.array(0.2), "beta": jnp.array(0.5)}
    spec = {"alpha": None, "beta": bt.dependent(Below(jnp.array(1.0)), "alpha")}
    reparam = bt.Reparam(model, spec)
    free = reparam.inverse(model)
    slope = eqx.filter_grad(lambda r: r.forward_log_det_jacobian(free))(reparam)
    np.testing.assert_allclose(jax.tree.leaves(slope)[0], 1 / 0.8, rtol=1e-5)


def test_ensembles_member_by_member(getkey):
    def make(key: Any) -> Any:
        mu, tau, theta = jax.random.normal(key, (3,))
        width = jnp.exp(theta)
        return {"mu": mu, "tau": jnp.exp(tau), "theta": mu + jnp.arange(3.0), "w": width}

    def bind(model: Any, share: Array) -> bt.Reparam:
        spec = {
            "mu": None,
            "tau": bt.positive(),
            "theta": bt.location_scale("mu", "tau", share),
            "w": bt.frozen,
        }
        return bt.Reparam(model, spec)

    ensemble = jax.vmap(make)(jax.random.split(getkey(), 4))
    shares = jnp.linspace(0.0, 1.0, 4)
    bound = eqx.filter_vmap(bind)(ensemble, shares)
    free = eqx.filter_vmap(lambda r, m: r.inverse(m))(bound, ensemble)
    back, log_dets = eqx.filter_vmap(lambda r, x: r.forward_and_log_det(x))(bound, free)
    np.testing.assert_allclose(back["theta"], ensemble["theta"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(back["w"], ensemble["w"])
    log_tau = jnp.log(ensemble["tau"])
    expected = log_tau * (1.0 + 3.0 * (1.0 - shares))
    np.testing.assert_allclose(log_dets, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [garch, schools, fields], ids=lambda f: f.__name__)
def test_pickle(make):
    model, spec = make(jnp.float32)
    reparam = preconditioned(bt.Reparam(model, spec), jnp.float32, times=1)
    copy = pickle.loads(pickle.dumps(reparam))
    assert copy.bound.plan == reparam.bound.plan
    free = reparam.inverse(model)
    assert eqx.tree_equal(copy.inverse(model), free)
    assert eqx.tree_equal(copy.forward(free), reparam.forward(free))
