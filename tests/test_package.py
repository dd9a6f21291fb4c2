"""The package as it is installed: version, public names, types, extras, README."""

import importlib.metadata
import importlib.resources
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bijectree

ROOT = Path(__file__).parents[1]


def test_version_is_the_installed_one():
    assert bijectree.__version__ == importlib.metadata.version("bijectree")


@pytest.mark.parametrize("name", sorted({*bijectree.__all__} - {"__version__"}))
def test_public_name_is_importable_and_documented(name):
    value = getattr(bijectree, name)
    assert getattr(value, "__doc__", None)


def test_folders_and_large_packages_are_loaded_on_first_use():
    code = (
        "import sys, bijectree as bt; before = {*sys.modules}; bt.fit_affine;"
        "print(*sorted({m.split('.')[1] for m in before if m.startswith('bijectree.')}));"
        "print('bijectree.learned.fit_affine' in {*sys.modules} - before);"
        "print(*sorted({m.split('.')[0] for m in before} & {'matplotlib', 'numpyro', "
        "'blackjax', 'arviz', 'arviz_stats', 'rich'}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    folders, found, packages = run.stdout.split("\n")[:3]
    of_a_reparam = "constraints foreign numerics priors reparam substrate trees"
    assert folders == of_a_reparam, run.stderr
    assert found == "True"
    assert packages == ""


def test_an_import_loads_little_beside_what_it_is_built_on():
    """Beside JAX, Equinox, optax and TFP: parts of Python, and nothing large."""
    code = (
        "import sys, jax, equinox, optax, jaxtyping, numpy, scipy;"
        "from tensorflow_probability.substrates.jax import bijectors, distributions;"
        "before = {*sys.modules}; import bijectree;"
        "print(*sorted({m.split('.')[0] for m in {*sys.modules} - before}"
        " - {'bijectree', *sys.stdlib_module_names}));"
        "print(*sorted(m for m in {*sys.modules} - before if m.startswith('jax.')))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True
    )
    others, of_jax = run.stdout.split("\n")[:2]
    assert others in ("", "jax"), run.stderr
    assert set(of_jax.split()) <= {"jax.experimental.multihost_utils"}


def test_a_name_that_is_not_there_says_so():
    with pytest.raises(AttributeError, match="has no attribute 'fit_afine'"):
        bijectree.fit_afine  # noqa: B018
    assert {*bijectree.__all__} <= {*dir(bijectree)}


def test_types_are_shipped():
    assert importlib.resources.files(bijectree).joinpath("py.typed").is_file()


def test_every_extra_of_the_tests_exists():
    extras = importlib.metadata.metadata("bijectree").get_all("Provides-Extra")
    assert {"plot", "blackjax", "numpyro", "test"} <= set(extras or ())


@pytest.mark.parametrize("ending", ["-m bijectree", "-m pytest -n auto"])
def test_readme_has_one_command_from_a_bare_python(ending):
    readme = (ROOT / "README.md").read_text()
    commands = [line for line in readme.splitlines() if line.endswith(ending)]
    (command,) = commands
    assert re.match(r"python3 -m venv \S+ && \S+/pip install ", command)


def test_readme_quickstart_is_under_30_lines():
    readme = (ROOT / "README.md").read_text()
    block, *_ = re.findall(r"```pycon\n(.*?)```", readme, flags=re.DOTALL)
    assert len(block.strip().splitlines()) < 30
