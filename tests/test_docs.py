"""The documentation says what the package does, and names all of it."""

import doctest
import inspect
import json
import re
from pathlib import Path

import pytest

import bijectree
from bijectree.reparam import spec_items

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

# TFP's own modules, passed on.
NOT_OURS = {"tfb", "tfd"}
NAMES = [name for name in bijectree.__all__ if name not in {*NOT_OURS, "__version__"}]
# What functions return, or raise: their examples are those of the functions.
SHOWN_ELSEWHERE = {
    "FitReport": "fit_affine",
    "FlatPosterior": "Posterior.flat",
    "Laplace": "laplace",
    "Mode": "find_map",
    "Support": "support",
    "SupportError": "Reparam.inverse",
}
# Their docstrings name a shape, a support or a measure in words like these.
STATEMENT = re.compile(
    r"shape|support|pytree|scalar|dtype|numbers|vectors?\b|matri|angles?\b|leaf|leaves"
    r"|array|path",
    re.IGNORECASE,
)


def docstring(name: str) -> str:
    """The docstring of a public name; that of a value stands under it in the source."""
    value = getattr(bijectree, name)
    if name == "frozen":
        source = Path(inspect.getfile(spec_items)).read_text()
        return re.search(r'^frozen = [^\n]*\n"""(.*?)"""', source, re.M | re.S).group(1)
    return inspect.getdoc(value) or ""


def undocumented(names: list[str], reference: str) -> list[str]:
    """The names that an API reference lacks."""
    present = set(re.findall(r"^::: bijectree\.(\w+)$", reference, re.M))
    return [name for name in names if name not in present]


def test_every_public_name_is_in_the_reference():
    assert undocumented(NAMES, (DOCS / "api.md").read_text()) == []


def test_a_name_that_is_missing_would_be_named():
    reference = (DOCS / "api.md").read_text()
    assert undocumented(["by_path", "new_name"], reference) == ["new_name"]
    lacking = reference.replace("::: bijectree.by_path\n", "")
    assert undocumented(NAMES, lacking) == ["by_path"]


def test_the_reference_has_no_other_name():
    present = re.findall(r"^::: bijectree\.(\w+)$", (DOCS / "api.md").read_text(), re.M)
    assert sorted(present) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_that_runs(name):
    if name in SHOWN_ELSEWHERE:
        owner, _, method = SHOWN_ELSEWHERE[name].partition(".")
        assert owner in NAMES
        assert not method or hasattr(getattr(bijectree, owner), method)
        name = owner
    # pytest runs them, for it collects the modules of `src`.
    assert doctest.DocTestParser().get_examples(docstring(name)), (
        f"bijectree.{name} has no doctest"
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_states_shapes_or_a_support(name):
    assert STATEMENT.search(docstring(name)), f"bijectree.{name} states neither"


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_is_explained(name):
    value = getattr(bijectree, name)
    if inspect.isclass(value) and value.__init__ in (object.__init__, None):
        return
    if not callable(value) or name in SHOWN_ELSEWHERE:
        return
    arguments = [p for p in inspect.signature(value).parameters if p != "args"]
    text = docstring(name)
    missing = [p for p in arguments if not re.search(rf"^\s*\*?\*?{p}: ", text, re.M)]
    assert missing == []


def test_every_test_that_the_traps_name_exists():
    named = re.findall(
        r"`((?:\w+/)?test_\w+\.py)::(\w+)`", (DOCS / "traps.md").read_text()
    )
    assert len(named) > 20
    missing = [
        f"{file}::{test}"
        for file, test in named
        if f"def {test}(" not in (ROOT / "tests" / file).read_text()
    ]
    assert missing == []


def test_every_row_of_traps_names_a_test():
    rows = re.findall(r"^\| (?!trap|---)(.*) \|$", (DOCS / "traps.md").read_text(), re.M)
    assert [row for row in rows if "test_" not in row.rpartition("|")[2]] == []


def test_every_constraint_is_in_the_table():

    made = [
        name
        for name in NAMES
        if inspect.isfunction(getattr(bijectree, name))
        and getattr(bijectree, name).__module__.startswith("bijectree.constraints.")
        and name != "support"
    ]
    assert len(made) == 17
    table = (DOCS / "constraints.md").read_text()
    assert [name for name in made if f"api.md#bijectree.{name})" not in table] == []


def lines_of(section: str, when: str) -> int:
    """Lines of code, empty ones left out, of the block that follows a word."""
    (block,) = re.findall(rf"\n{when}[^\n]*\n\n```pycon\n(.*?)```", section, re.S)
    code = [
        line[4:].strip() for line in block.split("\n") if re.match(r"(>>>|\.\.\.) ", line)
    ]
    return sum(bool(line) for line in code)


def test_the_lines_before_and_after_are_counted():
    page = (DOCS / "taking-over.md").read_text()
    table = re.findall(r"^\| [^|]+ \| (\d+) \| (\d+) \|$", page, re.M)
    sections = re.split(r"^## ", page, flags=re.M)[1:]
    counts = [tuple(str(lines_of(s, w)) for w in ("Before", "After")) for s in sections]
    assert table == counts


@pytest.mark.skipif(not (ROOT / "notebooks").is_dir(), reason="not a checkout")
@pytest.mark.parametrize("page", ["README.md", "docs"])
def test_links_between_files_lead_somewhere(page):
    pages = [ROOT / page] if page.endswith(".md") else sorted(DOCS.glob("*.md"))
    for path in pages:
        for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", path.read_text()):
            if "://" in link or (link.startswith("notebooks/") and page == "docs"):
                continue
            # The site has these pictures beside its pages.
            folder = ROOT if link.startswith("benchmarks/") else path.parent
            assert (folder / link).exists(), f"{path.name}: {link}"


def notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_notebooks_are_committed_with_outputs_pictures_and_no_complaint(path):
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]
    assert not [o for o in outputs if o["output_type"] == "error"]
    assert not [o for o in outputs if o.get("name") == "stderr"]
    text = path.read_text()
    assert not re.search(r"/(?:home|root|tmp|Users)/", text)
    assert len(text) < 500_000
