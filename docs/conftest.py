"""Pages about other packages run where these are installed, in their own precision."""

import importlib.util
from collections.abc import Iterator

import jax
import pytest

# The extra `test` installs the packages of other-samplers.md, `samplers` those of
# more-samplers.md, and `real` those of the others.
PAGES = {
    "cryo-em.md": ["cryojax"],
    "gaussian-processes.md": ["gpjax", "tinygp"],
    "more-samplers.md": ["flowMC", "jaxns", "nutpie", "ultranest"],
    "optics.md": ["dLux"],
    "other-samplers.md": ["blackjax", "dynesty", "emcee", "numpyro", "optimistix"],
    "taking-over.md": ["dynamax", "flowjax", "paramax"],
}
collect_ignore = [
    page
    for page, packages in PAGES.items()
    if not all(importlib.util.find_spec(package) for package in packages)
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What other packages warn of is not ours to mend."""
    for item in items:
        if item.path.name in PAGES:
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(autouse=True)
def keep_precision() -> Iterator[None]:
    """A page may turn float64 on, and the next one has JAX's default again."""
    before = jax.config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", before)
