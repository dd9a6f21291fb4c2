"""Leaves that are mapped together come out as if each were mapped alone."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfb

COUNT = 37  # a full group and a rest


def elementwise(i):
    return jnp.ones((i % 4, 2)[i % 2 :]), bt.positive()


def numbers_that_differ(i):
    return jnp.full(3, i + 0.5), bt.interval(float(i), i + 1.0)


def arrays_of_numbers(i):
    lower = jnp.asarray([0.0, float(i)])
    return lower + 0.5, bt.interval(lower, lower + 1.0)


def events(i):
    size = 2 + i % 3
    return jnp.full(size, 1 / size), bt.simplex()


def matrices(i):
    return jnp.eye(3) * (i + 1.0), bt.positive_definite()


def mixed(i):
    return (elementwise, numbers_that_differ, events, matrices)[i % 4](i)


def scalars_and_large(i):
    return jnp.ones(() if i % 5 else 2_000), tfb.Softplus()


CASES = (
    elementwise,
    numbers_that_differ,
    arrays_of_numbers,
    events,
    matrices,
    mixed,
    scalars_and_large,
)


@pytest.mark.parametrize(
    "dtype", [pytest.param("float32", marks=pytest.mark.slow), "float64"]
)
@pytest.mark.parametrize("case", CASES)
def test_together_is_one_by_one(case, dtype, getkey):
    with jax.enable_x64(dtype == "float64"):
        pairs = [case(i) for i in range(COUNT)]
        model = [x.astype(dtype) for x, _ in pairs]
        spec = [bijector for _, bijector in pairs]
        reparam = bt.Reparam(model, spec)
        free = reparam.unravel(jax.random.normal(getkey(), (reparam.dim,), dtype))
        forward = jax.jit(reparam.forward_and_log_det)(free)
        # what is not traced is mapped leaf by leaf
        assert_close(forward, reparam.forward_and_log_det(free), 300)
        assert_close(
            jax.jit(reparam.inverse)(forward[0]), reparam.inverse(forward[0]), 1e4
        )

        gradient = jax.jit(jax.grad(functools.partial(loss, reparam)))(free)
        for i in range(0, COUNT, 18):
            alone = functools.partial(loss, bt.Reparam([model[i]], [spec[i]]))
            assert_close(gradient[i], jax.grad(alone)([free[i]])[0], 1e3)


def loss(reparam, free):
    model, log_det = reparam.forward_and_log_det(free)
    return sum(jnp.sum(jnp.sin(x)) for x in model) + log_det


def assert_close(got, expected, ulps):
    for a, b in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
        tolerance = ulps * float(jnp.finfo(a.dtype).eps)
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_half_precision_together_is_one_by_one():
    model = [jnp.full(3, 0.1 * i, jnp.bfloat16) for i in range(1, COUNT)]
    reparam = bt.Reparam(model, bt.positive())
    free = reparam.inverse(model)
    assert all(x.dtype == jnp.bfloat16 for x in free)
    found, expected = jax.jit(reparam.forward)(free), reparam.forward(free)
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))


def test_what_does_not_depend_goes_together_and_what_does_follows():
    model = {f"a{i}": jnp.full(2, 0.1 * (i + 1)) for i in range(20)}
    model["top"] = jnp.asarray(5.0)
    spec = {**dict.fromkeys(model, bt.positive())}
    spec["top"] = bt.dependent(lambda m: bt.greater_than(m["a19"].max()), on=("a19",))
    reparam = bt.Reparam(model, spec)
    free = reparam.inverse(model)
    back, log_det = jax.jit(reparam.forward_and_log_det)(free)
    for a, b in zip(*map(jax.tree.leaves, (back, model)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    expected = sum(np.log(np.asarray(x)).sum() for k, x in model.items() if k != "top")
    np.testing.assert_allclose(log_det, expected + np.log(3.0), rtol=1e-5)


def test_a_nan_stays_in_its_leaf():
    model = [jnp.arange(1.0, 4.0) for _ in range(COUNT)]
    for bijector in (bt.positive(), bt.ordered_vector()):
        reparam = bt.Reparam(model, bijector)
        free = [jnp.zeros(3) for _ in model]
        free[17] = jnp.full(3, jnp.nan)
        found = jax.jit(reparam.forward)(free)
        assert [i for i, x in enumerate(found) if jnp.isnan(x).any()] == [17]


def test_equations_grow_with_kinds_of_leaf_not_with_leaves():
    def logs(n):
        model = {f"{i:03d}": jnp.ones(3) for i in range(n)}
        reparam = bt.Reparam(model, tfb.Softplus())
        gradient = jax.grad(lambda free: reparam.forward_and_log_det(free)[1])
        jaxpr = eqx.filter_make_jaxpr(gradient)(reparam.inverse(model))[0]
        text = str(jaxpr)
        return text.count("log1p")

    assert logs(64) == logs(32)  # one function, called twice
    assert logs(640) == logs(64)


def test_compiled_fusions_grow_with_groups_not_with_leaves():
    def exponentials(n):
        model = {f"{i:03d}": jnp.ones(3) for i in range(n)}
        reparam = bt.Reparam(model, tfb.Softplus())
        free = reparam.inverse(model)
        text = jax.jit(reparam.forward).lower(free).compile().as_text()
        return text.count(" exponential(")

    assert exponentials(32) == exponentials(16)
    assert exponentials(320) == 10 * exponentials(32)
