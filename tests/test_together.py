"""Leaves that belong together: joint, dependent, tied, location_scale and `then`."""

import dataclasses
import functools
import pickle
from collections.abc import Callable
from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import law
import models
import numpy as np
import optax
import pytest
from jaxtyping import Array

import bijectree as bt
from bijectree import tfb, tfd


def below(model: Any) -> Any:
    """Numbers between 0 and 1 - alpha."""
    return bt.interval(0.0, 1.0 - model["alpha"])


class Below(eqx.Module):
    """Numbers between 0 and `limit` - alpha."""

    limit: Array

    def __call__(self, model: Any) -> Any:
        return bt.interval(0.0, self.limit - model["alpha"])


def firsts(x: Array) -> Array:
    return x[:2]


def twice(x: Array) -> Array:
    return 2 * x


class Masked(eqx.Module):
    """The conditioner of an autoregressive flow of vectors, by masked weights."""

    first: Array
    second: Array

    def __init__(self, size: int, dtype: Any, seed: int = 0):
        noise = np.random.default_rng(seed).normal(size=(2, size, size))
        mask = np.tril(np.ones((size, size)), -1)
        self.first, self.second = (jnp.asarray(w * mask, dtype) for w in noise)

    def __call__(self, x: Array) -> tuple[Array, Array]:
        return jnp.tanh(x @ self.first.T), 0.5 * jnp.tanh(x @ self.second.T)


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


def garch(dtype: Any) -> tuple[Any, Any]:
    model = {"alpha": jnp.array(0.2, dtype), "beta": jnp.full(2, 0.5, dtype)}
    spec = {"alpha": bt.unit_interval(), "beta": bt.dependent(below, on="alpha")}
    return model, spec


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


def flow(dtype: Any) -> tuple[Any, Any]:
    """An autoregressive flow, and whitening, over vectors of several leaves."""
    model = {
        "a": jnp.zeros(2, dtype),
        "b": jnp.array(1.0, dtype),
        "c": jnp.zeros((2, 1), dtype),
        "d": jnp.array(0.5, dtype),
    }
    factor = jnp.array([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [-1.0, 0.3, 1.5]], dtype)
    white = tfb.Chain([tfb.Shift(jnp.ones(3, dtype)), tfb.ScaleMatvecTriL(factor)])
    masked = tfb.MaskedAutoregressiveFlow(Masked(3, dtype))
    spec = {
        "a": bt.joint(tfb.Invert(masked), over=("b", "a")),
        "b": None,
        "c": bt.joint(white, over=("c", "d")),
        "d": None,
    }
    return model, spec


def mixture(dtype: Any) -> tuple[Any, Any]:
    """Each kind on each other kind."""
    number = functools.partial(jnp.array, dtype=dtype)
    model = {
        "low": number(1.0),
        "high": number(3.0),
        "between": number(2.0),
        "copy": number(3.0),  # of high
        "double": number(6.0),  # of copy
        "past": number([7.0, 8.0]),
        "width": number(2.0),  # frozen
        "table": jnp.array([1, 5]),
        "wide": number(3.0),
        "left": number(2.0),
        "right": number([1.0, 2.0]),
        "chol": number([[1.0, 0.0], [0.5, 2.0]]),
        "upper": number([[1.0, 0.5], [0.0, 2.0]]),  # of chol
        "turned": number([1.0, -1.0]),
    }
    rules = {
        "low": bt.joint(bt.ordered_vector(), over=("low", "high")),
        "between": bt.dependent(
            lambda m: bt.interval(m["low"], m["high"]), ("low", "high")
        ),
        "copy": bt.tied("high"),
        "double": bt.tied("copy", twice),
        "past": bt.dependent(lambda m: bt.greater_than(m["double"]), "double"),
        "width": bt.frozen,
        "wide": bt.dependent(
            lambda m: bt.interval(
                m["table"][0], m["width"] * m["table"][1].astype(float)
            ),
            on=("width", "table"),
        ),
        "left": bt.joint(
            bt.dependent(lambda m: tfb.Scale(m["wide"] * m["past"][0]), ("wide", "past")),
            over=("right", "left"),
        ),
        "chol": bt.lower_cholesky(),
        "upper": bt.tied("chol", jnp.transpose),
        "turned": bt.dependent(
            lambda m: tfb.ScaleMatvecTriL(m["upper"].T), on=("upper",)
        ),
    }
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


def preconditioned(reparam: bt.Reparam, dtype: Any, times: int) -> bt.Reparam:
    """Put a dense affine map over all coordinates, `times` times."""
    for seed in range(times):
        noise = np.random.default_rng(seed).normal(size=(reparam.dim, reparam.dim))
        factor = np.tril(0.3 * noise, -1) + np.diag(0.5 + noise[0] ** 2)
        shift = tfb.Shift(jnp.asarray(noise[1], dtype))
        scale = tfb.ScaleMatvecTriL(jnp.asarray(factor, dtype))
        reparam = reparam.then(tfb.Chain([shift, scale]))
    return reparam


@eqx.filter_jit
def jacobians(reparam: bt.Reparam, vectors: Array) -> tuple[Array, Array]:
    """Log-dets, and Jacobians of the leaves that are free, at free points."""

    def forward(vector: Array) -> Array:
        model = reparam.forward(reparam.unravel(vector))
        leaves = jax.tree.leaves(model)
        rows = reparam.bound.plan.rows
        free = [x for x, row in zip(leaves, rows, strict=True) if row.role == "free"]
        return jnp.concatenate([x.ravel() for x in free])

    def at(vector: Array) -> tuple[Array, Array]:
        log_det = reparam.forward_log_det_jacobian(reparam.unravel(vector))
        return log_det, jax.jacfwd(forward)(vector)

    return jax.vmap(at)(vectors)


def points(reparam: bt.Reparam, key: Any, dtype: Any, count: int = 100) -> Array:
    return jax.random.normal(key, (count, reparam.dim), dtype)


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


def test_then_is_one_more_map_of_all_coordinates(precision, getkey):
    model, spec = mixture(precision)
    inner = bt.Reparam(model, spec)
    reparam = preconditioned(inner, precision, times=2)
    assert isinstance(reparam, bt.Reparam)
    assert reparam.labels == inner.labels
    log_dets, matrices = jax.device_get(
        jacobians(reparam, points(reparam, getkey(), precision))
    )
    expected = [
        np.linalg.slogdet(law.minimal_rows(matrix.astype(np.float64)))[1]
        for matrix in matrices
    ]
    tolerance = 1e4 * float(jnp.finfo(precision).eps)
    np.testing.assert_allclose(log_dets, expected, rtol=tolerance, atol=tolerance)
    free = reparam.inverse(model)
    back = reparam.forward(free)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(model), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(
        reparam.inverse_log_det_jacobian(model),
        -reparam.forward_log_det_jacobian(free),
        rtol=tolerance,
    )


def test_then_is_applied_before_what_was_there(getkey):
    model = {"a": jnp.array(1.0), "b": jnp.array([2.0, 3.0])}
    inner = bt.Reparam(model, bt.positive())
    first, second = tfb.Shift(1.0), tfb.Scale(jnp.array([2.0, 3.0, 4.0]))
    vector = jax.random.normal(getkey(), (3,))
    got = inner.then(first).then(second)
    expected = inner.forward(inner.unravel(1.0 + jnp.array([2.0, 3.0, 4.0]) * vector))
    np.testing.assert_allclose(
        got.forward(got.unravel(vector))["b"], expected["b"], rtol=1e-6
    )


# Models that statistics knows.


def simulate(key: Any, steps: int) -> Array:
    """A series of GARCH(1, 1)."""

    def step(carry: Any, noise: Array) -> tuple[Any, Array]:
        y, variance = carry
        variance = 0.1 + 0.3 * y**2 + 0.5 * variance
        y = jnp.sqrt(variance) * noise
        return (y, variance), y

    start = (jnp.array(0.0), jnp.array(0.5))
    return jax.lax.scan(step, start, jax.random.normal(key, (steps,)))[1]


def variances(omega: Any, alpha: Any, beta: Any, series: Array) -> Array:
    def step(variance: Array, y: Array) -> tuple[Array, Array]:
        return omega + alpha * y**2 + beta * variance, variance

    return jax.lax.scan(step, omega / (1 - alpha - beta), series)[1]


@pytest.mark.jax_defaults
def test_garch_is_that_of_numpyro_with_dynamic_supports(getkey):
    numpyro = pytest.importorskip("numpyro")
    dist = pytest.importorskip("numpyro.distributions")
    util = pytest.importorskip("numpyro.infer.util")

    with jax.enable_x64(True):
        series = simulate(getkey(), 200)

        def theirs(series: Array) -> None:
            omega = numpyro.sample("omega", dist.HalfNormal(1.0))
            alpha = numpyro.sample("alpha", dist.Uniform(0.0, 1.0))
            beta = numpyro.sample("beta", dist.Uniform(0.0, 1.0 - alpha))
            scale = jnp.sqrt(variances(omega, alpha, beta, series))
            numpyro.sample("series", dist.Normal(0.0, scale), obs=series)

        def log_likelihood(model: Any, series: Array) -> Array:
            scale = jnp.sqrt(variances(*(model[k] for k in names), series))
            return tfd.Normal(0.0, scale).log_prob(series).sum()

        def prior(model: Any) -> Array:
            half = tfd.HalfNormal(1.0).log_prob(model["omega"])
            return half - jnp.log(1 - model["alpha"])

        names = ("omega", "alpha", "beta")
        model = dict(zip(names, jnp.array([0.1, 0.3, 0.5]), strict=True))
        spec = {
            "omega": bt.positive(),
            "alpha": bt.unit_interval(),
            "beta": bt.dependent(below, "alpha"),
        }
        reparam = bt.Reparam(model, spec)
        flat = bt.Posterior(reparam, log_likelihood, prior=prior).flat()

        def potential(vector: Array) -> Array:
            return util.potential_energy(theirs, (series,), {}, reparam.unravel(vector))

        vectors = points(reparam, getkey(), float, 20)
        ours = jax.vmap(jax.value_and_grad(lambda v: flat.log_density(v, series)))
        value, gradient = jax.jit(ours)(vectors)
        their_value, their_gradient = jax.jit(jax.vmap(jax.value_and_grad(potential)))(
            vectors
        )
        np.testing.assert_allclose(value, -their_value, rtol=1e-10)
        np.testing.assert_allclose(gradient, -their_gradient, rtol=1e-8, atol=1e-8)

        # The bound moves with alpha.
        free = reparam.inverse(model) | {"beta": jnp.array(30.0)}
        assert reparam.forward(free)["beta"] == pytest.approx(0.7)
        assert reparam.forward(free | {"alpha": jnp.array(0.0)})["beta"] == pytest.approx(
            0.5
        )


def test_a_bound_that_has_vanished_is_the_same_with_and_without_jit():
    model, spec = garch(jnp.float32)
    reparam = bt.Reparam(model, spec)
    free = reparam.inverse(model) | {"alpha": jnp.array(20.0)}  # alpha is 1
    assert reparam.forward(free)["alpha"] == 1
    np.testing.assert_array_equal(reparam.forward(free)["beta"], 0.0)
    np.testing.assert_array_equal(jax.jit(reparam.forward)(free)["beta"], 0.0)


EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], np.float32)
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], np.float32)


def eight_schools(centeredness: Any) -> bt.Posterior:
    """Eight schools (Rubin 1981), written once, in centred coordinates."""
    model = {"mu": jnp.array(4.0), "tau": jnp.array(3.0), "theta": jnp.array(EFFECTS)}
    spec = {
        "mu": None,
        "tau": bt.positive(),
        "theta": bt.location_scale("mu", "tau", centeredness),
    }
    return bt.Posterior(bt.Reparam(model, spec), _likelihood, prior=_hierarchy)


def _hierarchy(model: Any) -> Array:
    return (
        tfd.Normal(0.0, 5.0).log_prob(model["mu"])
        + tfd.HalfCauchy(0.0, 5.0).log_prob(model["tau"])
        + tfd.Normal(model["mu"], model["tau"]).log_prob(model["theta"]).sum()
    )


def _likelihood(model: Any) -> Array:
    return tfd.Normal(EFFECTS, ERRORS).log_prob(model["theta"]).sum()


@pytest.mark.jax_defaults
@pytest.mark.parametrize("share", [0.0, 0.25, np.linspace(0, 1, 8)], ids=str)
def test_centred_and_non_centred_differ_by_the_log_det(share, getkey):
    centred, other = eight_schools(1.0), eight_schools(share)
    vectors = points(centred, getkey(), jnp.float32)

    def difference(vector: Array) -> tuple[Array, Array]:
        free = centred.reparam.unravel(vector)
        model = centred.reparam.forward(free)
        moved = other.reparam.inverse(model)
        gap = other.log_density(moved) - centred.log_density(free)
        return gap, jnp.sum(1 - jnp.asarray(share) * jnp.ones(8)) * jnp.log(model["tau"])

    gap, expected = jax.jit(jax.vmap(difference))(vectors)
    np.testing.assert_allclose(gap, expected, atol=2e-3)
    same = eight_schools(1.0).log_density(centred.reparam.unravel(vectors[0]))
    assert same == centred.log_density(centred.reparam.unravel(vectors[0]))


def exact_means() -> tuple[float, float]:
    """Of mu and log tau, by quadrature: theta integrates out."""
    mu, log_tau = np.meshgrid(np.linspace(-25, 35, 601), np.linspace(-9, 6, 601))
    tau = np.exp(log_tau)[..., None]
    variance = tau**2 + ERRORS.astype(float) ** 2
    terms = -0.5 * (EFFECTS - mu[..., None]) ** 2 / variance - 0.5 * np.log(variance)
    density = terms.sum(-1) - mu**2 / 50 - np.log1p(tau[..., 0] ** 2 / 25) + log_tau
    weight = np.exp(density - density.max())
    weight /= weight.sum()
    return float((weight * mu).sum()), float((weight * log_tau).sum())


@pytest.mark.slow
@pytest.mark.jax_defaults
def test_eight_schools_non_centred_has_no_divergences_and_the_right_means():
    pytest.importorskip("blackjax")
    draws = bt.sample_blackjax(
        eight_schools(0.0),
        jax.random.key(1),
        chains=2,
        warm_up=300,
        draws=600,
        target_acceptance=0.98,
        progress=False,
    )
    assert not np.any(draws.stats["diverging"])
    mu, log_tau = exact_means()
    model = draws.models
    np.testing.assert_allclose(np.mean(model["mu"]), mu, atol=0.5)
    np.testing.assert_allclose(np.mean(np.log(model["tau"])), log_tau, atol=0.25)


# Joint.


def three_modules() -> dict[str, Any]:
    cuts = zip((-1.0, 0.5, 2.0), (1.0, 2.0, 3.0), strict=True)
    return {
        name: models.Layer(jnp.array(scale), jnp.array(cut))
        for name, (cut, scale) in zip(("z", "m", "a"), cuts, strict=True)
    }


def test_ordered_across_fields_in_the_order_of_over():
    model = three_modules()  # a dict flattens by sorted key: a, m, z
    cut = bt.joint(bt.ordered_vector(), over=("z.shift", "m.shift", "a.shift"))
    reparam = bt.Reparam(model, bt.by_path(model, {"**.shift": cut}))
    free = reparam.inverse(model)
    # At the place of the first leaf of the model; the others have none of their own.
    np.testing.assert_allclose(free["a"].shift, [-1.0, np.log(1.5), np.log(1.5)])
    assert free["m"].shift is free["z"].shift is None
    assert reparam.labels == ["a.scale", "z.shift", "m.shift", "a.shift", "m.scale"] + [
        "z.scale"
    ]
    moved = jax.tree.map(lambda x: x + 3.0, free)
    back = reparam.forward(moved)
    assert back["z"].shift < back["m"].shift < back["a"].shift
    bad = eqx.tree_at(lambda m: m["z"].shift, model, jnp.array(1.0))
    with pytest.raises(bt.SupportError, match=r"'z.shift', 'm.shift', 'a.shift': got \["):
        reparam.inverse(bad)
    with pytest.raises(RuntimeError, match="'z.shift', 'm.shift', 'a.shift'"):
        jax.block_until_ready(eqx.filter_jit(reparam.error_if_outside)(bad)["a"].shift)


def test_one_joint_object_is_one_joint_wherever_it_stands():
    model = three_modules()
    one = bt.joint(bt.ordered_vector())
    spec = bt.by_path(model, {"**.scale": one})
    assert [x for x in jax.tree.leaves(spec, is_leaf=lambda x: x is one)] == [one] * 3
    reparam = bt.Reparam(jax.tree.map(lambda x: -x, model), spec)
    assert sum("joint" in line for line in repr(reparam).splitlines()) == 3
    # Two objects are two joints.
    two = {name: models.Layer(bt.joint(tfb.Exp()), None) for name in model}
    free = bt.Reparam(model, two).inverse(model)
    assert [free[name].scale.shape for name in "amz"] == [(1,)] * 3


def test_over_is_from_the_root_and_leaves_it_does_not_name_are_on_their_own():
    model = {"x": {"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}, "y": jnp.ones(2)}
    spec = {"x": bt.joint(tfb.Exp(), over=("y", "x.b")), "y": None}
    reparam = bt.Reparam(model, spec)
    assert reparam.labels == ["x.a.0", "x.a.1", "y.0", "y.1", "x.b"]
    np.testing.assert_array_equal(reparam.inverse(model)["x"]["a"], model["x"]["a"])
    # It may stand anywhere, even where another joint's leaves are.
    a, b = (bt.joint(tfb.Exp(), over=path) for path in ("y", "x.*"))
    reparam = bt.Reparam(model, {"x": a, "y": b})
    assert reparam.labels == ["x.a.0", "x.a.1", "x.b", "y.0", "y.1"]


def test_members_keep_their_dtypes():
    with jax.enable_x64(True):
        dtypes = (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)
        model = [jnp.asarray([i + 1.0], dtype) for i, dtype in enumerate(dtypes)]
        reparam = bt.Reparam(model, bt.joint(bt.ordered_vector()))
        free = reparam.inverse(model)
        assert free[0].dtype == jnp.float64
        back, log_det = reparam.forward_and_log_det(free)
        assert [x.dtype for x in back] == list(dtypes)
        np.testing.assert_allclose([float(x[0]) for x in back], [1, 2, 3, 4], rtol=1e-3)
        assert log_det.dtype == jnp.float64


def test_leaves_that_are_no_arrays_of_floats_are_passed_over():
    model = {"a": jnp.array(1.0), "f": jnp.tanh, "n": jnp.arange(2), "z": jnp.array(2.0)}
    for spec in (
        bt.joint(tfb.Exp()),
        bt.joint(tfb.Exp(), over="**"),
    ):
        assert bt.Reparam(model, spec).labels == ["a", "z"]


@pytest.mark.parametrize("count", [17, 256, 300])
def test_a_joint_over_many_leaves(count, getkey):
    model = [jnp.full(i % 3, i, jnp.float32) for i in range(count)]
    reparam = bt.Reparam(model, bt.joint(tfb.Scale(2.0)))
    free = reparam.inverse(model)
    assert eqx.tree_equal(reparam.forward(free), model)
    vector = jax.random.normal(getkey(), (reparam.dim,))

    def loss(vector: Array) -> Array:
        return sum(jnp.sum(x**2) for x in reparam.forward(reparam.unravel(vector))[-9:])

    if count == 17:
        slope = np.concatenate([np.zeros(reparam.dim - 9), np.full(9, 8.0)]) * vector
        np.testing.assert_allclose(jax.grad(loss)(vector), slope, rtol=1e-6)
        np.testing.assert_allclose(jax.vmap(jax.jacfwd(loss))(vector[None])[0], slope)


def test_a_simplex_over_four_fields_integrates_to_one():
    concentration = np.array([2.0, 3.0, 2.5, 4.0])
    with jax.enable_x64(True):
        model = {name: jnp.array(0.25) for name in "abcd"}
        reparam = bt.Reparam(model, bt.joint(bt.simplex(), over=tuple("cadb")))
        assert reparam.labels == ["c+a+d+b.0", "c+a+d+b.1", "c+a+d+b.2"]

        def prior(model: Any) -> Array:
            parts = jnp.stack([model[name] for name in "abcd"])
            return tfd.Dirichlet(concentration).log_prob(parts)

        flat = bt.Posterior(reparam, None, prior=prior).flat()
        side = jnp.linspace(-9.0, 9.0, 61)
        grid = jnp.stack(jnp.meshgrid(side, side, side), axis=-1).reshape(-1, 3)
        with jax.numpy_rank_promotion("allow"):
            density = jnp.exp(jax.jit(jax.vmap(flat.log_density))(grid))
        total = density.sum() * (side[1] - side[0]) ** 3
    assert total == pytest.approx(1.0, abs=1e-4)


def test_an_autoregressive_flow_is_trained_through_its_numbers(getkey):
    model, _ = flow(jnp.float32)
    masked = Masked(6, jnp.float32)

    @eqx.filter_jit
    def loss(conditioner: Masked, vector: Array) -> Array:
        inner = tfb.Invert(tfb.MaskedAutoregressiveFlow(conditioner))
        reparam = bt.Reparam(model, bt.joint(inner))
        return -reparam.forward_log_det_jacobian(reparam.unravel(vector))

    vector = jax.random.normal(getkey(), (6,))
    gradient = eqx.filter_grad(loss)(masked, vector)
    step = jax.tree.map(lambda w, g: w - 1e-2 * g, masked, gradient)
    assert loss(step, vector) < loss(masked, vector)
    # The log-det of a map that is made for its inverse.
    reparam = bt.Reparam(model, None).then(tfb.MaskedAutoregressiveFlow(masked))
    forward = lambda x: reparam.ravel(reparam.forward(reparam.unravel(x)))  # noqa: E731
    got = reparam.forward_log_det_jacobian(reparam.unravel(vector))
    expected = law.autodiff_log_det(forward, vector)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


# Tied.


class Words(eqx.Module):
    embedding: Array
    hidden: eqx.nn.Linear
    head: Array

    def __call__(self, index: Array) -> Array:
        x = jnp.tanh(self.hidden(self.embedding[index]))
        return self.head.T @ x


def test_a_tied_embedding_and_head_are_trained_together(getkey):
    embedding = 0.1 * jax.random.normal(getkey(), (5, 3))
    hidden = eqx.nn.Linear(3, 3, key=getkey())
    model = Words(embedding, hidden, embedding.T)
    spec = bt.by_path(model, {"head": bt.tied("embedding", jnp.transpose)})
    reparam = bt.Reparam(model, spec)
    assert reparam.dim == 5 * 3 + 3 * 3 + 3
    assert not any(label.startswith("head") for label in reparam.labels)

    def loss(model: Words, data: Array) -> Array:
        scores = jax.vmap(model)(data)
        return optax.softmax_cross_entropy_with_integer_labels(scores, data).mean()

    data = jnp.arange(5)
    free = reparam.inverse(model)
    both = eqx.filter_grad(loss)(model, data)
    gradient = jax.grad(reparam.compose(loss))(free, data)
    expected = both.embedding + both.head.T
    np.testing.assert_allclose(gradient.embedding, expected, rtol=1e-4, atol=1e-6)

    optimizer = optax.adamw(0.1)
    with jax.numpy_dtype_promotion("standard"):

        @jax.jit
        def step(free: Any, state: Any) -> tuple[Any, Any]:
            gradient = jax.grad(reparam.compose(loss))(free, data)
            updates, state = optimizer.update(gradient, state, free)
            return optax.apply_updates(free, updates), state

        state = optimizer.init(free)
        for _ in range(60):
            free, state = step(free, state)
    trained = reparam.forward(free)
    np.testing.assert_array_equal(trained.head, trained.embedding.T)
    assert loss(trained, data) < 0.5 * loss(model, data)


@pytest.mark.jax_defaults
def test_the_adapter_moves_both_ends_of_a_tie(getkey):
    model = {"a": jax.random.normal(getkey(), (3, 2)), "s": jnp.array(1.0)}
    model["b"] = model["a"].T
    spec = {"a": None, "b": bt.tied("a", jnp.transpose), "s": bt.positive()}
    reparam = bt.Reparam(model, spec)
    plain = optax.adamw(1e-2, weight_decay=0.1)
    optimizer = bt.reparameterize(plain, reparam)

    def loss(model: Any) -> Array:
        return jnp.sum(model["a"] @ model["b"]) ** 2 + jnp.sum(model["a"] - model["s"])

    @jax.jit
    def step(params: Any, state: Any, free: Any, inner: Any) -> Any:
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        gradient = jax.grad(reparam.compose(loss))(free)
        moves, inner = plain.update(gradient, inner, free)
        params = optax.apply_updates(params, updates)
        return params, state, optax.apply_updates(free, moves), inner

    params, state = model, optimizer.init(model)
    free = reparam.inverse(model)
    inner = plain.init(free)
    for _ in range(5):
        params, state, free, inner = step(params, state, free, inner)
    np.testing.assert_allclose(params["b"], params["a"].T, rtol=1e-6)
    expected = reparam.forward(free)
    for name in model:
        np.testing.assert_allclose(params[name], expected[name], rtol=1e-5)


def test_tied_leaves_must_agree():
    model = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([2.0, 4.0])}
    reparam = bt.Reparam(model, {"a": bt.positive(), "b": bt.tied("a", twice)})
    assert reparam.labels == ["a.0", "a.1"]
    back = reparam.forward(reparam.inverse(model))
    np.testing.assert_allclose(back["b"], model["b"], rtol=1e-6)
    other = model | {"b": jnp.array([2.0, 5.0])}
    for check in (reparam.inverse, reparam.error_if_outside):
        with pytest.raises(ValueError, match="tied leaves disagree") as caught:
            check(other)
        assert "'b' is [2., 5.], but 'a', to which it is tied" in str(caught.value)
    # Rounding, as a function that is compiled elsewhere may have it, is no difference.
    model["b"] = jnp.nextafter(model["b"], jnp.full(2, 9.0))
    reparam.inverse(model)


def test_a_leaf_tied_to_a_frozen_one_is_frozen():
    model = {"a": jnp.array(1.0), "b": jnp.array(2.0), "c": jnp.array(2.0)}
    spec = {"a": bt.frozen, "b": bt.tied("a", twice), "c": bt.tied("b")}
    reparam = bt.Reparam(model, spec)
    assert reparam.dim == 0
    assert reparam.forward(reparam.inverse(model))["c"] is model["c"]
    with pytest.raises(ValueError, match="does not fit") as caught:
        bt.Reparam(model | {"c": jnp.array(3.0)}, spec)
    text = str(caught.value)
    assert "'c' is 3., but 'b', to which it is tied, makes it 2." in text
    shapes = jax.eval_shape(lambda: model)
    assert bt.Reparam(shapes, spec).dim == 0


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


def test_bound_from_shapes_alone():
    model, spec = mixture(jnp.float32)
    reparam = bt.Reparam(jax.eval_shape(lambda: model), spec)
    free = reparam.inverse(model)
    whole = bt.Reparam(model, spec)
    back, log_det = reparam.forward_and_log_det(free, like=model)
    assert eqx.tree_equal(back, whole.forward(free))
    assert reparam.forward_log_det_jacobian(free, like=model) == log_det
    assert reparam.inverse_log_det_jacobian(model) == -log_det
    with pytest.raises(ValueError, match="pass like=model") as caught:
        reparam.forward(free)
    assert "'width' (frozen)" in str(caught.value)
    with pytest.raises(ValueError, match="(?s)'wide' depends on.*pass like=model"):
        reparam.forward_log_det_jacobian(free)
    # Nothing without coordinates is read here, so nothing is missed.
    model, spec = garch(jnp.float32)
    reparam = bt.Reparam(jax.eval_shape(lambda: model), spec)
    reparam.forward(reparam.inverse(model))


def test_fields_may_declare_what_belongs_together():
    class Bounded(eqx.Module):
        alpha: Annotated[Array, bt.unit_interval()]
        beta: Annotated[Array, bt.dependent(lambda m: bt.interval(0.0, m.alpha), "alpha")]
        twin: Array = eqx.field(metadata={"bijector": bt.tied("beta")})

    model = Bounded(jnp.array(0.5), jnp.array(0.25), jnp.array(0.25))
    reparam = bt.Reparam(model, bt.spec_from_fields(model))
    assert reparam.labels == ["alpha", "beta"]
    np.testing.assert_allclose(reparam.inverse(model).beta, 0.0, atol=1e-6)


def test_it_is_shown():
    model, spec = mixture(jnp.float32)
    inner = bt.Reparam(model, spec)
    reparam = inner.then(tfb.Scale(2.0))
    shown = repr(reparam)
    table = bt.summary(reparam, model)
    for text in (shown, table):
        assert "joint with high" in text
        assert "ordered_vector joint over low, high" in text
        assert "tied to high" in text
        assert "dependent on width, table" in text
    assert "dependent on wide, past joint over right, left" in shown
    assert "then: scale" in shown
    assert bt.check(inner, model).ok
    assert bt.check(reparam, model).ok
    outside = model | {"between": jnp.array(4.0)}
    assert [r.path for r in bt.check(inner, outside).rows if r.failures] == ["between"]
    unequal = model | {"copy": jnp.array(2.0)}
    assert "copy" in [r.path for r in bt.check(inner, unequal).rows if r.failures]


# What does not fit.


class Opaque(tfb.Bijector):
    """No JAX pytree."""

    def __init__(self, scale: Any):
        self.scale = scale
        super().__init__(forward_min_event_ndims=0, name="opaque")

    def _forward(self, x: Array) -> Array:
        return self.scale * x

    def _inverse(self, y: Array) -> Array:
        return y / self.scale

    def _forward_log_det_jacobian(self, x: Array) -> Array:
        return jnp.log(self.scale)


class Methods(eqx.Module):
    a: Array
    b: Array

    @property
    def both(self) -> Array:
        return self.a + self.b


def inline(model: Any) -> Any:
    """Another bijector at each call: its functions hold the model."""
    return tfb.Inline(
        forward_fn=lambda x: x * model["a"],
        inverse_fn=lambda y: y / model["a"],
        forward_log_det_jacobian_fn=lambda x: jnp.log(model["a"]),
        forward_min_event_ndims=0,
    )


def of_all(model: Any) -> Any:
    leaves = jax.tree.leaves(jax.tree.map(lambda x: jnp.sum(x).astype(float), model))
    return tfb.Scale(jnp.sum(jnp.stack(leaves)))


def plain() -> dict[str, Any]:
    return {
        "a": jnp.array(0.3),
        "b": jnp.array(0.5),
        "c": jnp.array([1.0, 2.0, 3.0]),
        "n": jnp.arange(3),
    }


BOTH = bt.joint(tfb.Ascending(), over=("a", "b"))
BAD = {
    "overlapping joints": (
        {"a": BOTH, "c": bt.joint(bt.simplex(), over=("c", "b"))},
        ["'b' has the joint ascending over a, b in the spec", "joint simplex over c, b"],
    ),
    "in over and given a bijector": (
        {"a": BOTH, "b": tfb.Exp()},
        ["'b' has exp in the spec and is in the joint ascending over a, b too"],
    ),
    "in over and tied": (
        {"a": BOTH, "b": bt.tied("a")},
        ["'b' has tied in the spec"],
    ),
    "over nothing": (
        {"a": bt.joint(tfb.Exp(), over="d.*")},
        ["at 'a': `over` of the joint names 'd.*', which matches nothing; nearest"],
    ),
    "over integers": (
        {"a": bt.joint(tfb.Exp(), over="n")},
        ["the joint exp over n stands where no inexact array is: 'n' is int32 array"],
    ),
    "joint that does not fit": (
        {
            "a": bt.joint(
                tfb.ScaleMatvecTriL(np.eye(3, dtype=np.float32)), over=("a", "b")
            )
        },
        ["at 'a', 'b': scale_matvec_tril does not fit float32 array of shape (2,): Dim"],
    ),
    "joint of matrices": (
        {"c": bt.joint(bt.corr_matrix())},
        ["at 'c': corr_matrix does not fit float32 array of shape (3,)"],
    ),
    "tied to an unknown path": (
        {"b": bt.tied("aa")},
        ["'b' is tied to 'aa', which matches nothing; nearest paths: 'a'"],
    ),
    "tied to a node": (
        {"b": bt.tied("")},
        ["'b' is tied to '', which names the leaves 'a', 'b', 'c'; name one"],
    ),
    "tied to integers": (
        {"b": bt.tied("n")},
        ["'b' is tied to 'n', which is int32 array of shape (3,); tie to an array"],
    ),
    "tied to itself": ({"b": bt.tied("b")}, ["a cycle", "b → b"]),
    "tied to another shape": (
        {"b": bt.tied("c")},
        ["'b' (float32 array of shape ()) is tied to 'c' (float32 array of shape (3,))"],
    ),
    "tied by a function that raises": (
        {"b": bt.tied("c", lambda x: x @ x[0])},
        ["'b' (float32 array of shape ()) is tied to 'c'"],
    ),
    "two cycles": (
        {
            "a": bt.tied("b"),
            "b": bt.tied("a"),
            "c": bt.dependent(lambda m: tfb.Scale(m["c"]), "c"),
        },
        ["each depends on the next: a → b → a", "each depends on the next: c → c"],
    ),
    "a cycle through a joint": (
        {
            "a": bt.joint(bt.dependent(lambda m: tfb.Scale(m["c"][0]), "c"), ("a", "b")),
            "c": bt.dependent(lambda m: tfb.Scale(m["b"]), "b"),
        },
        ["each depends on the next: (a, b) → c → (a, b)"],
    ),
    "a path in `on` that is not there": (
        {"b": bt.dependent(below, ("alpha", "a.*"))},
        ["at 'b': `on` of the dependent names 'alpha', which matches nothing", "'a.*'"],
    ),
    "reads an unnamed leaf": (
        {"b": bt.dependent(lambda m: tfb.Scale(m["a"] * m["c"].sum()), "a")},
        ["at 'b'", "its function reads 'c', which `on` does not name"],
    ),
    "reads an unnamed leaf for nothing": (
        {"b": bt.dependent(lambda m: tfb.Scale(m["a"] + 0 * m["c"][0]), "a")},
        ["its function reads 'c'"],
    ),
    "reads all leaves": (
        {"b": bt.dependent(of_all, "a")},
        ["its function reads 'b', 'c', which"],
    ),
    "no bijector": (
        {"b": bt.dependent(lambda m: m["a"], "a")},
        ["at 'b'", "its function returned float32 array of shape (), not a bijector"],
    ),
    "a bijector of another event shape": (
        {"b": bt.dependent(lambda m: tfb.Scale(m["c"]), "c")},
        ["scale would turn the leaf's shape () into (3,)"],
    ),
    "an opaque bijector": (
        {"b": bt.dependent(lambda m: Opaque(m["a"]), "a")},
        ["opaque is no JAX pytree, so it cannot depend on a leaf"],
    ),
    "another bijector at each call": (
        {"b": bt.dependent(inline, "a")},
        ["its function makes another inline at each call"],
    ),
    "a choice by value": (
        {"b": bt.dependent(lambda m: tfb.Exp() if m["a"] > 0 else tfb.Scale(2.0), "a")},
        ["at 'b'", "TracerBoolConversionError"],
    ),
    "a function that raises": (
        {"b": bt.dependent(lambda m: m["x"], "a")},
        ["at 'b'", "KeyError: 'x'"],
    ),
    "location_scale that broadcasts the leaf": (
        {"b": bt.location_scale("a", "c")},
        ["affine would turn the leaf's shape () into (3,)"],
    ),
    "location_scale of a typo": (
        {"b": bt.location_scale("aa", "c")},
        ["`on` of the dependent names 'aa', which matches nothing; nearest paths: 'a'"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_names_the_paths(name):
    items, parts = BAD[name]
    model = plain()
    with pytest.raises(ValueError, match="Reparam: the spec does not fit") as caught:
        bt.Reparam(model, dict.fromkeys(model) | items)
    text = str(caught.value)
    for part in parts:
        assert part in text


def test_all_faults_come_at_once():
    items = {
        "a": bt.dependent(of_all, "a"),
        "b": bt.tied("zz"),
        "c": bt.joint(tfb.Ascending(), over=("c", "x")),
    }
    with pytest.raises(ValueError, match="does not fit") as caught:
        bt.Reparam(plain(), dict.fromkeys(plain()) | items)
    for part in ("its function reads", "tied to 'zz'", "names 'x'", "a → a"):
        assert part in str(caught.value)


def test_a_property_of_the_module_reads_what_it_reads():
    model = Methods(jnp.array(1.0), jnp.array(2.0))
    spec = Methods(None, bt.dependent(lambda m: tfb.Scale(m.both), "a"))
    with pytest.raises(ValueError, match="reads 'b', which `on` does not name"):
        bt.Reparam(model, spec)
    # The shape of a leaf may be read without naming it.
    spec = Methods(None, bt.dependent(lambda m: tfb.Scale(m.a + m.b.size), "a"))
    np.testing.assert_allclose(bt.Reparam(model, spec).inverse(model).b, 1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bt.joint(3), "joint takes a TFP bijector, got int 3"),
        (lambda: bt.joint(bt.frozen), "joint takes a TFP bijector, got _Frozen frozen"),
        (lambda: bt.dependent(tfb.Exp(), on="a"), "dependent takes a function"),
        (lambda: bt.dependent(3, on="a"), "dependent takes a function, got int 3"),
        (lambda: bt.dependent(below, on=()), "`on` must name the leaves"),
        (lambda: bt.tied(3), "tied takes the path of a leaf, got int 3"),
        (lambda: bt.tied("a", 3), "takes a function, got int 3"),
        (lambda: bt.location_scale(0.0, 1.0), "neither loc nor scale is a path"),
    ],
    ids=range(8),
)
def test_constructors_refuse_what_they_cannot_mean(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize(
    ("bijector", "message"),
    [
        (bt.simplex(), r"simplex does not fit a vector of 5 numbers: .*shape \(4,\)"),
        (
            tfb.ScaleMatvecTriL(np.eye(3, dtype=np.float32)),
            "does not fit a vector of 5 numbers: Dimen",
        ),
        (bt.corr_matrix(), "then: corr_matrix does not fit a vector of 5 numbers"),
        (3, "then takes a TFP bijector, got int 3"),
        (bt.dependent(below, "a"), "then takes a TFP bijector, got Dependent"),
    ],
    ids=["fewer", "size", "matrix", "int", "dependent"],
)
def test_then_refuses_what_does_not_keep_the_coordinates(bijector, message):
    reparam = bt.Reparam(plain(), None)
    with pytest.raises((TypeError, ValueError), match=message):
        reparam.then(bijector)


def test_then_on_nothing_and_off_its_support():
    empty = bt.Reparam(plain(), bt.frozen).then(tfb.Scale(2.0))
    model, log_det = empty.forward_and_log_det(empty.inverse(plain()))
    assert log_det == empty.dim == 0
    reparam = bt.Reparam({"a": jnp.array([1.0, -2.0])}, None).then(tfb.Exp())
    model = {"a": jnp.array([1.0, -2.0])}
    for check in (reparam.inverse, reparam.error_if_outside):
        with pytest.raises(bt.SupportError, match="coordinates a.1 .* exp, given to"):
            check(model)
    with pytest.raises(RuntimeError, match="outside what `then` maps onto"):
        jax.block_until_ready(eqx.filter_jit(reparam.error_if_outside)(model)["a"])


def test_values_outside_a_bound_that_moves():
    model, spec = garch(jnp.float32)
    reparam = bt.Reparam(model, spec)
    with pytest.raises(bt.SupportError, match=r"'beta', index \[1\]: got 0.9") as caught:
        reparam.inverse(model | {"beta": jnp.array([0.5, 0.9])})
    assert "expected numbers between 0 and 0.8" in str(caught.value)
    with pytest.raises(bt.SupportError, match="'alpha': got 1.5") as caught:
        reparam.inverse(model | {"alpha": jnp.array(1.5)})
    assert "cannot be made of 'alpha': upper must exceed lower" in str(caught.value)


def test_a_function_that_makes_another_bijector_later():
    kinds = [tfb.Exp, tfb.Softplus]

    def fickle(model: Any) -> Any:
        model["a"] + 1.0
        return kinds[0]()

    model = plain()
    reparam = bt.Reparam(model, dict.fromkeys(model) | {"b": bt.dependent(fickle, "a")})
    kinds.reverse()
    with pytest.raises(ValueError, match="function of 'b' made another sort of bijector"):
        reparam.inverse(model)


def test_labels_stay_apart():
    model = {"a": jnp.ones(2), "a.0": jnp.ones(()), "b": jnp.ones(())}
    with pytest.raises(ValueError, match=r"'a.0' and the elements of 'a'"):
        bt.Reparam(model, {"a": bt.joint(tfb.Exp(), ("a", "b")), "a.0": None, "b": None})
    model = {name: jnp.array(0.5) for name in "abcd"}
    two = [bt.joint(bt.simplex(), over=tuple(pair)) for pair in ("ab", "cd")]
    spec = {"a": two[0], "b": None, "c": two[1], "d": None}
    assert bt.Reparam(model, spec).labels == ["a+b.0", "c+d.0"]


def test_a_long_chain_of_dependencies():
    """Longer than Python's stack."""
    count = 1500
    model = {f"x{i:04}": np.float32(1.0) for i in range(count)}
    names = list(model)
    spec: dict[str, Any] = dict(zip(names[1:], map(bt.tied, names[:-1]), strict=True))
    reparam = bt.Reparam(model, {names[0]: None} | spec)
    assert reparam.forward(reparam.inverse(model))[names[-1]] == 1


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"centeredness": 2.0}, "centeredness must be from 0 .* got 2.0"),
        ({"centeredness": [0.5, np.nan]}, "centeredness must be finite"),
        ({"centeredness": "half"}, "centeredness must be a real number"),
        ({"scale": 0.0}, "scale must be positive, got 0.0"),
        ({"scale": jnp.array([1.0, -2.0])}, "scale must be positive"),
        ({"loc": np.inf, "scale": "b"}, "loc must be finite"),
    ],
)
def test_location_scale_takes_numbers_that_make_sense(numbers, words):
    with pytest.raises(ValueError, match=f"location_scale: {words}"):
        bt.location_scale(**{"loc": "a", "scale": 1.0} | numbers)


def test_the_number_of_shares_is_held_to_the_leafs():
    model = {"mu": jnp.zeros(()), "theta": jnp.zeros(3)}
    spec = {"mu": None, "theta": bt.location_scale("mu", 1.0, [0.0, 1.0])}
    with pytest.raises(ValueError, match="at 'theta': location_scale does not fit"):
        bt.Reparam(model, spec)
    spec["theta"] = bt.location_scale("mu", 1.0, (0.0, 0.5, 1.0))
    reparam = bt.Reparam(model, spec)
    assert "location_scale on mu, λ 0 to 1" in repr(reparam)
    assert "location_scale on mu, λ" in repr(jax.eval_shape(lambda: reparam))
