"""The layers of the package: an import goes down only, and private names stay at home."""

import ast
from pathlib import Path

import pytest

import bijectree

PACKAGE = Path(bijectree.__file__).parent
TESTS = Path(__file__).parent
LAYERS = (
    ("trees", "numerics"),
    ("substrate",),
    ("constraints", "foreign"),
    ("reparam", "priors"),
    ("checks", "optimizer", "posterior"),
    ("inference",),
    ("learned", "numpyro_models", "plots"),
    ("sampling",),
    ("spec_files",),
)
LAYER = {folder: i for i, folders in enumerate(LAYERS) for folder in folders}


def imports(module: Path, root: Path) -> list[tuple[str, str]]:
    """The folder of the package and the name of each import; "" for the top level."""
    home = module.relative_to(root).parts[:-1]
    found = []
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            parts = [alias.name.split(".") for alias in node.names]
            found += [(p[1], "") for p in parts if p[0] == "bijectree" and len(p) > 1]
        if not isinstance(node, ast.ImportFrom):
            continue
        path = (node.module or "").split(".") if node.module else []
        if node.level:
            path = [*home[: len(home) - node.level + 1], *path]
        elif path[:1] == ["bijectree"]:
            path = path[1:]
        else:
            continue
        for alias in node.names:
            folder = path[0] if path else alias.name if alias.name in LAYER else ""
            found.append((folder, alias.name))
    return found


def faults(module: Path, root: Path) -> list[str]:
    """The imports of a module of the package that break the rule."""
    folder = module.relative_to(root).parts[0]
    found = []
    for other, name in imports(module, root):
        where = f"{module.relative_to(root)} imports {name} of {other or 'bijectree'}"
        if other == folder:
            continue
        if name.startswith("_"):
            found.append(f"{where}, which is private there")
        if folder in LAYER and LAYER.get(other, len(LAYERS)) >= LAYER[folder]:
            found.append(f"{where}, which is not below")
    return found


def reads(module: Path) -> list[str]:
    """Attributes with one underscore in front of objects that are not `self` or `cls`."""
    return [
        f"{module.relative_to(PACKAGE)}:{node.lineno} reads {ast.unparse(node)}"
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in LAYER
        and node.attr.startswith("_")
    ]


def test_every_folder_has_a_layer_and_says_its_idea():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(LAYER)
    for folder in folders:
        doc = ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text()))
        assert doc, folder
        assert doc.split("\n")[0].endswith("."), folder


def test_imports_go_down_only_and_private_names_stay_in_their_folder():
    modules = [m for m in PACKAGE.rglob("*.py") if m.parent != PACKAGE]
    assert len(modules) > 50
    assert [fault for module in modules for fault in faults(module, PACKAGE)] == []
    assert [read for module in modules for read in reads(module)] == []


def test_the_top_of_the_package_reads_nothing_private():
    modules = [*PACKAGE.glob("*.py")]
    private = [
        f"{module.name} imports {name} of {folder}"
        for module in modules
        for folder, name in imports(module, PACKAGE)
        if name.startswith("_")
    ]
    assert private == []


def test_tests_lie_as_the_package_does_and_read_the_private_names_of_their_folder_alone():
    tests = [*TESTS.glob("*/test_*.py")]
    assert {test.parent.name for test in tests} <= set(LAYER)
    private = [
        f"{test.relative_to(TESTS)} imports {name} of {folder}"
        for test in [*tests, *TESTS.glob("*.py")]
        for folder, name in imports(test, TESTS)
        if name.startswith("_") and name != "__version__" and folder != test.parent.name
    ]
    assert private == []


def test_no_module_is_too_long():
    lengths = {m: len(m.read_text().splitlines()) for m in PACKAGE.rglob("*.py")}
    assert {m.name: n for m, n in lengths.items() if n > 400} == {}
    lengths = {m: len(m.read_text().splitlines()) for m in TESTS.rglob("*.py")}
    assert {m.name: n for m, n in lengths.items() if n > 600} == {}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("from ..reparam import Reparam", "which is not below"),
        ("from .. import posterior", "which is not below"),
        ("from bijectree.checks.check import check", "which is not below"),
        ("from ..numerics import widest", "which is not below"),
        ("from ..numerics.floats import _secret", "which is private there"),
        ("import bijectree.inference.draws", "which is not below"),
        ("from .. import positive", "which is not below"),
        ("from .arrays import _anything", None),
        ("import jax", None),
    ],
)
def test_the_rule_sees_what_breaks_it(line, fault, tmp_path):
    module = tmp_path / "trees" / "new.py"
    module.parent.mkdir()
    module.write_text(line + "\n")
    found = faults(module, tmp_path)
    assert (fault is None and not found) or fault in found[0]
