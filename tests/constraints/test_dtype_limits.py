"""What a leaf's dtype cannot hold is an error when it is bound, not an infinity later."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, strategies as st

import bijectree as bt
from bijectree import tfb

# JAX warns of numbers of ours that overflow, before it is said where they are.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in cast")

NARROW = {
    "distance": (bt.interval(-3e38, 3e38), "(-3e+38, 3e+38), whose distance is infinite"),
    "nothing between": (bt.interval(1.0, 1 + 1e-12), "between which float32 has none"),
    "subnormal": (bt.interval(0.0, 1e-40), "between which float32 has none"),
    "near": (bt.interval(3e-35, 3.00001e-35), "so near that a map's slope is zero"),
    "one of many": (
        bt.interval(np.array([0.0, 1.0, 1.0]), np.array([1.0, 2.0, 1 + 1e-9])),
        "(1.0, 1.000000001) at index (2,), between which",
    ),
    "bound": (bt.greater_than(1e300), "number 1e+300 is infinite in float32"),
    "scale": (bt.affine(0.0, 1e300), "number 1e+300 is infinite in float32"),
    "chain": (tfb.Chain([bt.affine(1.0, 1e-9), bt.unit_interval()]), "float32 has none"),
}


@pytest.mark.parametrize("name", NARROW)
def test_numbers_that_single_precision_loses(name):
    bijector, words = NARROW[name]
    model = {"ok": jnp.ones(2), "deep": {"narrow": jnp.ones(3, jnp.float32)}}
    with pytest.raises(ValueError, match="'deep.narrow'") as caught:
        bt.Reparam(model, {"ok": None, "deep": {"narrow": bijector}})
    assert words in str(caught.value)
    with jax.enable_x64(True):
        bt.Reparam({"wide": jnp.ones(3, jnp.float64)}, {"wide": bijector})


def test_all_are_listed():
    model = {"a": jnp.ones(3), "b": jnp.ones(3), "c": jnp.ones(3)}
    spec = {
        "a": bt.interval(-3e38, 3e38),
        "b": bt.positive(),
        "c": bt.greater_than(1e300),
    }
    with pytest.raises(ValueError, match="'a'(.|\n)*'c'"):
        bt.Reparam(model, spec)


def test_half_precision_is_asked_for_its_own_numbers():
    bt.Reparam(jnp.ones(3, jnp.float16), bt.interval(-6e4, 6e4))  # computed in float32
    with pytest.raises(ValueError, match="float16 has none"):
        bt.Reparam(jnp.ones(3, jnp.float16), bt.greater_than(7e4))
    with pytest.raises(ValueError, match="bfloat16 has none"):
        bt.Reparam(jnp.ones(3, jnp.bfloat16), bt.interval(1.0, 1.01))


def test_traced_numbers_are_not_looked_at():
    @jax.jit
    def forward(width):
        reparam = bt.Reparam(jnp.ones(()), bt.interval(1.0, 1.0 + width))
        return reparam.forward(jnp.zeros(()))

    assert forward(2.0) == 2.0


@example(dtype=np.float32, lower=3.3858634e-35, steps=2)
@given(
    dtype=st.sampled_from([np.float16, ml_dtypes.bfloat16, np.float32]),
    lower=st.floats(-1e4, 1e4),
    steps=st.integers(1, 12),
)
def test_an_interval_binds_just_where_there_is_a_number_within(dtype, lower, steps):
    lower = upper = np.asarray(lower, dtype)
    for _ in range(steps):
        upper = np.nextafter(upper, np.asarray(np.inf, dtype))
    ends = float(lower), float(upper)
    tiny = float(np.finfo(np.float32).tiny)  # XLA takes what is smaller for zero
    inside = bt.interval(*ends)
    if steps == 1 or ends[1] - ends[0] < 4 * tiny:
        with pytest.raises(ValueError, match="has none|slope is zero"):
            bt.Reparam(jnp.zeros((), dtype), inside)
    else:
        reparam = bt.Reparam(jnp.zeros((), dtype), inside)
        assert np.isfinite(reparam.forward_log_det_jacobian(jnp.zeros((), dtype)))
