"""What every test stands on: strict JAX, both precisions, keys that can be replayed."""

import gc
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import compiling
import hypothesis
import jax
import numpy as np
import pytest

# The same examples every time, however slow the machine; new ones by
# `--hypothesis-profile=explore`.
hypothesis.settings.register_profile("replay", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", max_examples=2000, deadline=None)
hypothesis.settings.load_profile("replay")

# JAX keeps millions of objects, through which each collection would go.
gc.set_threshold(50_000, 20, 50)

compiling.lightly()
compiling.in_few_contexts()

collect_ignore = ["eight_devices.py"]  # test_scale.py gives it eight


def pytest_configure(config: pytest.Config) -> None:
    compiling.once(config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """A mixed dtype or an implicit broadcast in our code is an error.

    Optax's adam and TFP's distributions do not stand this: a test that calls them is
    marked `jax_defaults`, or calls them under `jax.numpy_dtype_promotion("standard")`
    and `jax.numpy_rank_promotion("allow")`.
    """
    if item.get_closest_marker("jax_defaults"):
        return (yield)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        return (yield)


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


@pytest.fixture(autouse=True, scope="module")
def few_mappings() -> Iterator[None]:
    """Let compiled programs go before they are too many.

    Each has several mappings of memory, of which Linux allows a process 65,530: beyond
    that XLA crashes.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_text().count("\n") > 20_000:
        jax.clear_caches()


@pytest.fixture
def no_window() -> Iterator[None]:
    """Matplotlib without a screen; figures are closed at the end."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


@pytest.fixture
def plain_environment(monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch
