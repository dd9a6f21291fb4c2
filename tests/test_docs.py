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
    "MapsReport": "fit_maps",
    "Mode": "find_map",
    "SamplingReport": "sample",
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


def rows(reference: str) -> dict[str, tuple[str, str]]:
    """The file and the line of text of each name in an API reference."""
    row = r'^- <a id="bijectree\.(\w+)"></a>\[`\1`\]\((\S+)\): (.*)$'
    return {m[1]: (m[2], m[3]) for m in re.finditer(row, reference, re.M)}


def undocumented(names: list[str], reference: str) -> list[str]:
    """The names that an API reference lacks."""
    return [name for name in names if name not in rows(reference)]


def test_every_public_name_is_in_the_reference_and_no_other():
    reference = (DOCS / "api.md").read_text()
    assert undocumented(NAMES, reference) == []
    assert sorted(rows(reference)) == NAMES
    assert [name for name in NOT_OURS if f"`bt.{name}`" not in reference] == []


def test_a_name_that_is_missing_would_be_named():
    reference = (DOCS / "api.md").read_text()
    assert undocumented(["by_path", "new_name"], reference) == ["new_name"]
    lacking = re.sub(r'^- <a id="bijectree.by_path">.*\n', "", reference, flags=re.M)
    assert undocumented(NAMES, lacking) == ["by_path"]


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_leads_to_the_docstring_and_quotes_its_first_line(name):
    path, text = rows((DOCS / "api.md").read_text())[name]
    assert text == docstring(name).splitlines()[0]
    package = Path(bijectree.__file__).parent
    source = (package / path.removeprefix("../src/bijectree/")).read_text()
    assert re.search(rf"^(?:def {name}\(|class {name}\b|{name} = )", source, re.M), path


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
    assert len(made) == 18
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
