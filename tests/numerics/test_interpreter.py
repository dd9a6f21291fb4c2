"""What NumPy makes of a traced program, against what XLA makes of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from bijectree.numerics import join, part, run_in_numpy

_WITHOUT_SLOPES = ("integers", "bits", "bits_moved", "remainders", "while_each_key")
X = jnp.array([[0.3, -1.2, 2.5], [1.1, 0.7, -0.4]])
SQUARE = X[:, :2] @ X[:, :2].T + 3 * jnp.eye(2)
VECTOR = jnp.array([0.5, -0.25, 2.0, 1.0])
CASES = {
    "elementwise": lambda x: jnp.exp(x) + jnp.log1p(x * x) - jnp.tanh(x) / (1 + x * x),
    "powers": lambda x: x**3 + 1 / x**2 + jnp.abs(x) ** 0.3 + lax.rsqrt(x * x),
    "comparisons": lambda x: jnp.where((x > 0) & ~(x > 2) | (x == -1.2), x, -x),
    "clamp": lambda x: jnp.clip(x, -0.5, 1.0) + jax.nn.relu(x) + jnp.sign(x),
    "special": lambda x: jax.scipy.special.erf(x) + jax.scipy.special.gammaln(x * x),
    "logistic": lambda x: jax.nn.sigmoid(x) + jax.nn.softplus(x) + jax.nn.silu(40 * x),
    "integers": lambda x: jnp.arange(7) // 3 * jnp.arange(7) % 4 + x.shape[0],
    "reductions": lambda x: (x.sum(0), x.max(), x.prod(1), x.min(0)),
    "truths": lambda x: 1.0 * (x > 0).any(1) - 2.0 * (x > -1).all(1),
    "means": lambda x: jax.nn.log_softmax(x) + x.std(axis=0) + jnp.argmax(x, axis=1)[0],
    "cumulated": lambda x: jnp.cumsum(x, 1) + jnp.cumprod(x, 0) + lax.cummax(x, axis=1),
    "backwards": lambda x: lax.cumsum(x, axis=1, reverse=True) + jnp.flip(x, 0),
    "shapes": lambda x: x.T.reshape(2, 3)[None, :, ::2].squeeze(0),
    "parts": lambda x: jnp.concatenate(jnp.split(x, [1, 2], axis=1)[::-1], axis=1),
    "padded": lambda x: jnp.pad(x, ((1, 0), (0, 2)), constant_values=7.0),
    "padded_within": lambda x: lax.pad(x, 0.0, ((0, 0, 1), (1, 1, 2))),
    "cropped": lambda x: lax.pad(x, 0.0, ((0, 0, 0), (-1, 0, 0))),
    "products": lambda x: (x @ x.T, jnp.einsum("ij,ij->i", x, x), jnp.outer(x[0], x[1])),
    "batched": lambda x: jnp.einsum(
        "bij,bkj->bik", jnp.stack([x, -x]), jnp.stack([x, x])
    ),
    "picked": lambda x: (x[jnp.array([1, 0, 1])], x[0, jnp.array([2, 0])]),
    "filled": lambda x: x.at[:, jnp.array([0, 9, -1])].get(mode="fill"),
    "clipped": lambda x: x.at[jnp.array([5, -7])].get(mode="clip"),
    "along": lambda x: jnp.take_along_axis(x, jnp.argsort(x, axis=1), axis=1),
    "put": lambda x: x.at[jnp.array([1, 0]), jnp.array([2, 2])].set(9.0),
    "added": lambda x: x.at[:, jnp.array([0, 0, 1])].add(1.0),
    "dropped": lambda x: x.at[jnp.array([0, 7])].set(5.0, mode="drop"),
    "multiplied": lambda x: x.at[0].multiply(3.0),
    "triangle": lambda x: jnp.zeros((3, 3)).at[jnp.tril_indices(3)].set(x.ravel()),
    "windows": lambda x: lax.dynamic_slice(x, (1, 5), (1, 2)),
    "updated": lambda x: lax.dynamic_update_slice(x, 0 * x[:1, :2], (5, 1)),
    "sorted": lambda x: jnp.sort(x, axis=1),
    "factor": lambda x: jnp.linalg.cholesky(SQUARE * jnp.exp(x[0, 0])),
    "scan": lambda x: lax.scan(lambda c, y: (c + y, c * y), x[0], x)[1],
    "scan_backwards": lambda x: lax.scan(lambda c, y: (c * y, c), x[0], x, reverse=True),
    "scan_of_none": lambda x: lax.scan(lambda c, y: (c, c), x[0], x[:0]),
    "while": lambda x: lax.while_loop(
        lambda c: c.sum() < 40, lambda c: c * 2, jnp.abs(x)
    ),
    "while_each": lambda x: jax.vmap(
        lambda row: lax.while_loop(
            lambda c: c[0].sum() < 40,
            lambda c: (c[0] * 2, c[1] + 1.5),
            (jnp.abs(row), 0.0),
        )
    )(x),
    "while_each_key": lambda x: jax.random.key_data(
        jax.vmap(
            lambda row, key: lax.while_loop(
                lambda c: c[0].sum() < 40,
                lambda c: (c[0] * 2, jax.random.split(c[1])[0]),
                (jnp.abs(row), key),
            )
        )(x, jax.random.split(jax.random.key(0)))[1]
    ),
    "for": lambda x: lax.fori_loop(0, 4, lambda i, c: c + i * x, x),
    "cond": lambda x: lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x),
    "switch": lambda x: lax.switch(7, [jnp.sin, jnp.cos, jnp.tan], x),
    "several": lambda x: lax.select_n(jnp.arange(6).reshape(2, 3) % 3, x, -x, 2 * x),
    "bits": lambda x: lax.bitcast_convert_type(x.astype(jnp.float32), jnp.int32) & 15,
    "bits_moved": lambda x: (
        (lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32) << 3) >> 9
    ),
    "remainders": lambda x: lax.rem(jnp.arange(-3, 4), jnp.full(7, 3)),
    "remainders_of_floats": lambda x: lax.rem(x, 0.7 + 0 * x),
    "stacked": lambda x: jnp.stack([x, 2 * x], axis=1),
    "joined": lambda x: join([x, x[0] ** 2, x[:0]]),
    "parted": lambda x: part(x.ravel() ** 2, [(2, 2), (0, 3), (), (1,)]),
    "erf_inverse": lambda x: lax.erf_inv(x / 3),
    "held": lambda x: x * lax.stop_gradient(x),
    "half": lambda x: x.astype(jnp.bfloat16) * jnp.bfloat16(1.5),
    "barrier": lambda x: lax.optimization_barrier((x, 2 * x)),
    "random": lambda x: x + jax.random.normal(jax.random.key(0), x.shape),
    "nan": lambda x: jnp.log(x) + jnp.sqrt(x) + x / 0,
    "empty": lambda x: x[:0].sum() + jnp.zeros((0, 3)).max(initial=-1.0),
}
SOLVES = {
    f"solve_{lower}_{transposed}_{left}_{unit}": (lower, transposed, left, unit)
    for lower in (True, False)
    for transposed in (True, False)
    for left in (True, False)
    for unit in (True, False)
}


@jax.custom_jvp
def tripled(x):
    return 3 * x


tripled.defjvp(lambda primals, tangents: (tripled(*primals), 30 * tangents[0]))


def assert_same(function, *arguments):
    expected = jax.tree.leaves(jax.jit(function)(*arguments))
    got = run_in_numpy(jax.make_jaxpr(function)(*arguments), *arguments)
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert isinstance(a, np.ndarray)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        rtol = 1e-2 if a.dtype.itemsize < 4 else 2e-5 if a.dtype == np.float32 else 1e-12
        a, b = (np.asarray(x).astype(np.float64) for x in (a, b))
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * 1e-1)


@pytest.mark.parametrize("name", CASES)
def test_what_xla_gives(name, precision):
    x = X.astype(precision)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert_same(CASES[name], x)


@pytest.mark.parametrize("name", [n for n in CASES if n not in _WITHOUT_SLOPES])
def test_derivatives_in_batches_are_programs_too(name):
    def columns(x, tangents):
        return jax.vmap(lambda t: jax.jvp(CASES[name], (x,), (t,))[1])(tangents)

    if name == "nan":
        pytest.skip("Which of its derivatives are NaN, XLA may choose.")
    tangents = jnp.eye(6).reshape(6, 2, 3)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert_same(columns, X, tangents)


@pytest.mark.parametrize("name", SOLVES)
def test_triangular_systems(name):
    lower, transposed, left, unit = SOLVES[name]

    def solve(a, b):
        return lax.linalg.triangular_solve(
            a,
            b if left else jnp.swapaxes(b, -1, -2),
            lower=lower,
            transpose_a=transposed,
            left_side=left,
            unit_diagonal=unit,
        )

    a = jnp.stack([SQUARE, 2 * SQUARE])
    assert_same(solve, a, jnp.ones((2, 2, 3)) + jnp.arange(3.0)[None, None])


def test_a_singular_system_is_left_to_jax():
    solve = lambda a, b: jax.scipy.linalg.solve_triangular(a, b, lower=True)  # noqa: E731
    assert_same(solve, jnp.array([[0.0, 0.0], [1.0, 1.0]]), jnp.ones(2))


def test_a_matrix_without_a_factor_is_left_to_jax():
    assert_same(jnp.linalg.cholesky, jnp.stack([SQUARE, -SQUARE]))


def test_rules_of_derivatives_are_kept():
    assert_same(lambda x: jax.jvp(tripled, (x,), (x,)), VECTOR)
    assert_same(jax.grad(lambda x: tripled(x).sum()), VECTOR)
    assert_same(jax.grad(jax.checkpoint(lambda x: jnp.sin(x).sum())), VECTOR)


def test_a_program_runs_within_a_trace():
    """Such as a `Reparam` that is made under `jit`."""
    program = jax.make_jaxpr(lambda x: jnp.sort(x) * 2)(VECTOR)

    @jax.jit
    def traced(x):
        found = run_in_numpy(program, np.asarray([3.0, 1.0, 2.0, 0.0], np.float32))
        assert isinstance(found[0], np.ndarray)
        return x + found[0]

    np.testing.assert_array_equal(traced(jnp.zeros(4)), [0.0, 2.0, 4.0, 6.0])


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (4, 5), (65_537,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_random_bits_are_those_of_jax(dtype, shape, impl):
    with jax.enable_x64(True):
        key = jax.random.key(7, impl=impl)
        draw = functools.partial(jax.random.bits, shape=shape, dtype=dtype)
        (found,) = run_in_numpy(jax.make_jaxpr(draw)(key), key)
        np.testing.assert_array_equal(found, draw(key), strict=True)


def test_random_bits_of_several_keys_and_of_a_generator_that_counts_otherwise():
    keys = jax.random.split(jax.random.key(1), 3)
    draw = jax.vmap(functools.partial(jax.random.bits, shape=(5,)))
    (found,) = run_in_numpy(jax.make_jaxpr(draw)(keys), keys)
    np.testing.assert_array_equal(found, draw(keys))
    with jax.threefry_partitionable(False):
        draw = functools.partial(jax.random.bits, shape=(5,))
        (found,) = run_in_numpy(jax.make_jaxpr(draw)(keys[0]), keys[0])
        np.testing.assert_array_equal(found, draw(keys[0]))


def test_a_literal_that_is_read_twice():
    assert_same(lambda x: x * x + 1.0 - (x + 1.0) * x, VECTOR)
