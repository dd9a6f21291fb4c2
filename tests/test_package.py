import ast
import importlib.metadata
import importlib.resources
import re
from pathlib import Path

import pytest

import bijectree

ROOT = Path(__file__).parents[1]


def _exported() -> list[str]:
    """The names that `bijectree/__init__.py` re-exports."""
    source = Path(bijectree.__file__).read_text()
    return [
        alias.asname
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]


def test_version_is_the_installed_one():
    assert bijectree.__version__ == importlib.metadata.version("bijectree")


@pytest.mark.parametrize("name", _exported())
def test_public_name_is_importable_and_documented(name):
    value = getattr(bijectree, name)
    assert getattr(value, "__doc__", None)


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
