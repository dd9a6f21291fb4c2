"""What every test stands on: strict JAX, both precisions, keys that can be replayed."""

import zlib
from collections.abc import Callable, Iterator

import jax
import numpy as np
import pytest

# A mixed dtype or an implicit broadcast in our code is a bug that users with
# other settings would meet first.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed",
        type=int,
        default=None,
        help="seed of `getkey`, in place of the one derived from the test's name",
    )


@pytest.fixture
def getkey(request: pytest.FixtureRequest) -> Callable[[], jax.Array]:
    """A function that returns a new PRNG key at each call."""
    seed = request.config.getoption("--seed")
    if seed is None:
        seed = zlib.crc32(request.node.name.encode())
    print(f"replay with: --seed {seed}")  # pytest shows it when the test fails
    key = jax.random.key(seed)

    def next_key() -> jax.Array:
        nonlocal key
        key, subkey = jax.random.split(key)
        return subkey

    return next_key


@pytest.fixture(params=["float32", "float64"])
def precision(request: pytest.FixtureRequest) -> Iterator[np.dtype]:
    """The widest float dtype in force during the test, which runs in each."""
    with jax.enable_x64(request.param == "float64"):
        yield np.dtype(request.param)
