"""Joining and taking apart are what JAX's own operations make of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from bijectree.numerics import join, part

SHAPES = ((3,), (2, 2), (), (1, 4))
ARRAYS = [jnp.arange(1.0, 1 + np.prod(shape)).reshape(shape) for shape in SHAPES]


def halves(together, apart, arrays):
    """A function of some arrays, not linear, which uses only some of the parts."""
    vector = jnp.sin(together(arrays)) ** 2
    first, second, _, last = apart(vector, SHAPES)
    return jnp.sum(first) * jnp.sum(second**2) + jnp.sum(jnp.exp(last))


def by_concatenation(arrays):
    return jnp.concatenate([jnp.ravel(x) for x in arrays])


def by_split(vector, shapes):
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    parts = jnp.split(vector, ends)
    return [x.reshape(shape) for x, shape in zip(parts, shapes, strict=True)]


OURS = functools.partial(halves, join, part)
PLAIN = functools.partial(halves, by_concatenation, by_split)


def batched(function, arrays):
    """Under `vmap`, where some arrays have an axis and others none."""
    stacks = [jnp.stack([x, 2 * x, 3 * x], axis=-1) for x in arrays[:2]]
    axes = [-1, -1, None, None]
    return jax.vmap(function, in_axes=(axes,))([*stacks, *arrays[2:]])


def batched_twice(function, arrays):
    several = [jnp.stack([x, -x]) for x in arrays]
    return jax.vmap(functools.partial(batched, function))(several)


def batched_over_none(function, arrays):
    none = [jnp.zeros((0, *x.shape)) for x in arrays]
    return jax.vmap(jax.value_and_grad(function))(none)


def forward_mode(function, arrays):
    tangents = [jnp.ones_like(x) for x in arrays]
    return jax.jvp(function, (arrays,), (tangents,))


def of_one(function, arrays):
    """The gradient of one array, the others constant."""
    return jax.grad(lambda x: function([arrays[0], x, *arrays[2:]]))(arrays[1])


def over_a_mesh(function, arrays):
    mesh = jax.make_mesh((1,), ("i",))
    specs = [PartitionSpec()] * len(arrays)
    mapped = jax.shard_map(
        jax.grad(lambda xs: function(xs)), mesh=mesh, in_specs=(specs,), out_specs=specs
    )
    return mapped(arrays)


TRANSFORMED = {
    "value": lambda f, xs: f(xs),
    "jit": lambda f, xs: jax.jit(f)(xs),
    "gradient": lambda f, xs: jax.grad(f)(xs),
    "gradient of one": of_one,
    "tangent": forward_mode,
    "hessian": lambda f, xs: jax.hessian(f)(xs),
    "batched": batched,
    "batched twice": batched_twice,
    "batched over none": batched_over_none,
    "gradient batched": lambda f, xs: batched(jax.grad(f), xs),
    "rematerialised": lambda f, xs: jax.grad(jax.checkpoint(f))(xs),
    "over a mesh": over_a_mesh,
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_joined_and_parted_is_concatenated_and_split(name):
    found = TRANSFORMED[name](OURS, ARRAYS)
    expected = TRANSFORMED[name](PLAIN, ARRAYS)
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)


def test_parts_of_one_size_share_a_kernel():
    def apart(vector):
        return part(vector, [(3,)] * 20)

    text = jax.jit(apart).lower(jnp.ones(60)).as_text()
    assert text.count("stablehlo.dynamic_slice") == 20
    assert "stablehlo.slice" not in text
