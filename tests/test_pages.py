"""Pages read where they lie: links lead somewhere, and no mark is for the site alone."""

import functools
import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

import bijectree

ROOT = Path(__file__).parents[1]
PATTERNS = ("*.md", "docs/*.md", "benchmarks/**/*.md", "notebooks/*.ipynb")
PAGES = sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern))
# The folders and files of a checkout that a test of the installed wheel does without.
LEFT_OUT = [name for name in ("src",) if not (ROOT / name).exists()]

all_pages = pytest.mark.parametrize(
    "path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix()
)


@functools.cache
def text_of(path: Path) -> str:
    """The markdown of a page; of a notebook, that of its cells of text."""
    text = path.read_text()
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join(
        "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"
    )


def prose(text: str) -> str:
    """Markdown without its code."""
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "`code`", text)


def anchors(text: str) -> set[str]:
    """What a link may name in a page: its headings, as code hosts spell them, and ids."""
    found: list[str] = []
    for heading in re.findall(
        r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M
    ):
        words = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        count = found.count(words)
        found.append(f"{words}-{count}" if count else words)
    return {*found, *re.findall(r'<a id="([^"]+)">', text)}


def links(text: str) -> Iterable[str]:
    """The relative links and pictures of a page."""
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)", text)
    targets += re.findall(r'<(?:img|a)\s[^>]*?(?:src|href)="([^"]+)"', text)
    targets += re.findall(r"^\[[^\]]+\]: *(\S+)", text, re.M)
    return [t for t in targets if not re.match(r"[a-z]+:", t)]


def broken(path: Path, text: str) -> list[str]:
    """The links of a page with this text that lead nowhere."""
    faults = []
    for link in links(prose(text)):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if any(target.is_relative_to(ROOT / folder) for folder in LEFT_OUT):
            continue
        if not target.exists() or not target.is_relative_to(ROOT):
            faults.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(
            text if target == path else text_of(target)
        ):
            faults.append(f"{link}: no such heading")
    return faults


# What the site's generator reads, and a code host shows as it stands.
RAW = {
    "an include": r"--8<--",
    "a docstring": r"^:::",
    "an admonition": r"^(?:!!!|\?\?\?)",
    "an attribute list": r"[`)\]]\{ *[:.#\w]|^``` *\{",
}


def raw(text: str) -> list[str]:
    """Marks that a code host would show."""
    text = re.sub(r"(?<!`)`[^`\n]+`(?!`)", "`code`", text)
    return [what for what, mark in RAW.items() if re.search(mark, text, re.M)]


def test_pages_are_found():
    assert {"README.md", "index.md", "results.md"} <= {path.name for path in PAGES}
    assert sum(path.suffix == ".ipynb" for path in PAGES) == 8


@all_pages
def test_links_and_anchors_lead_somewhere(path):
    assert broken(path, text_of(path)) == []


@pytest.mark.parametrize(
    "link",
    ["no-such.md", "index.md#no-such-heading", "api.md#bijectree.nothing", "#nothing"],
)
@pytest.mark.parametrize("form", ["[x]({})", '<img src="{}">', "![x]({})", "[x]: {}"])
def test_a_link_that_leads_nowhere_would_be_named(link, form):
    (fault,) = broken(ROOT / "docs" / "how-to.md", form.format(link))
    assert fault.startswith(link)


def test_a_link_that_leads_somewhere_is_not():
    text = (
        "[a](index.md#extras), [b](api.md#bijectree.by_path), [c](../README.md), [d](#e)"
    )
    assert broken(ROOT / "docs" / "how-to.md", f"{text}\n\n## E\n") == []


@all_pages
def test_no_mark_is_for_the_site_alone(path):
    assert raw(text_of(path)) == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('--8<-- "CHANGELOG.md"', "an include"),
        ("::: bijectree.by_path", "a docstring"),
        ('!!! note "Title"', "an admonition"),
        ('![x](y.png){ width="480" }', "an attribute list"),
        ("``` { .py }", "an attribute list"),
    ],
)
def test_a_mark_for_the_site_alone_would_be_named(text, what):
    assert raw(f"words\n\n{text}\n") == [what]


@all_pages
def test_every_name_of_the_package_exists(path):
    if path.name == "CHANGELOG.md":
        return
    names = set(re.findall(r"\bbt\.(\w+)", text_of(path)))
    assert names - {*dir(bijectree)} == set()


def extras_and_groups() -> tuple[set[str], set[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    return set(extras), set(project["dependency-groups"])


def test_one_place_lists_all_extras_and_groups():
    section = (ROOT / "docs" / "index.md").read_text().split("## Extras\n")[1]
    section = section.split("\n## ")[0]
    tables = [
        set(re.findall(r"^\| `(\w+)` \|", t, re.M)) for t in section.split("| group")
    ]
    assert tables == [*extras_and_groups()]


@all_pages
def test_extras_and_groups_that_are_named_exist(path):
    extras, groups = extras_and_groups()
    text = text_of(path)
    named = re.findall(r"(?:\.|bijectree)\[([a-z,]+)\]", text)
    assert {name for names in named for name in names.split(",")} <= extras
    named = re.findall(r"\bextras? ((?:`\w+`(?:, | and )?)+)", text)
    assert {name for names in named for name in re.findall(r"\w+", names)} - {
        "and"
    } <= extras
    assert {*re.findall(r"--group (\w+)", text)} <= groups


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180


@pytest.mark.parametrize("name", ["cryo-em", "gaussian-processes", "optics"])
def test_a_page_on_another_package_ends_with_what_agrees(name):
    *_, last = (ROOT / "docs" / f"{name}.md").read_text().strip().split("\n\n")
    assert "agree" in last
    how_to = (ROOT / "docs" / "how-to.md").read_text()
    command = next(line for line in how_to.splitlines() if "[test,real]" in line)
    assert f"docs/{name}.md" in command
    assert "tests/test_real_models.py" in command


# The headings of two pages, without those of what their sections share.
SAMPLERS = {
    "other-samplers": [
        "scipy.optimize",
        "Optimistix",
        "emcee",
        "dynesty, from the unit cube",
        "BlackJAX, tempered from the prior",
        "BlackJAX, nested",
        "BlackJAX's Pathfinder",
        "NumPyro's variational inference",
    ],
    "more-samplers": ["nutpie", "UltraNest", "JAXNS", "flowMC"],
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_sampler_ends_with_what_agrees(name):
    text = (ROOT / "docs" / f"{name}.md").read_text()
    sections = re.split(r"^##+ ", text, flags=re.M)
    for heading in SAMPLERS[name]:
        (section,) = (s for s in sections if s.startswith(f"{heading}\n"))
        (code,) = re.findall(r"```pycon\n(.*?)```", section, re.S)
        last = code.strip().splitlines()[-1]
        assert "True" in last, heading
        assert "False" not in last, heading


def test_one_command_runs_the_samplers_that_the_tests_do_without():
    text = (ROOT / "docs" / "more-samplers.md").read_text()
    command = next(line for line in text.splitlines() if "[test,samplers]" in line)
    assert command.endswith("docs/more-samplers.md")
