"""The site, made of files that read on their own in the repository too.

A page links to another file as the repository has it, `../notebooks/x.ipynb` for one.
Here the files outside `docs/` become pages, and the links lead to these.
"""

import posixpath
import re
from pathlib import Path

import griffe
import nbconvert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

AT_THE_ROOT = ("CHANGELOG.md", "CONTRIBUTING.md")
LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]+)(#[^)\s]*)?\)")
# A public name in `docs/api.md`, and its file; the site has its whole docstring there.
NAME = re.compile(
    r'^- (<a id="bijectree\.(\w+)"></a>)\[.*?\]\(\.\./src/([\w/]+)\.py\).*$', re.MULTILINE
)


def site_path(source: str) -> str:
    """Where a file of the repository lies on the site."""
    if source in AT_THE_ROOT:
        return source.lower()
    return re.sub(r"\.ipynb$", ".md", source.removeprefix("docs/"))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the notebooks, with the outputs they were committed with, and the rest."""
    root = Path(config.config_file_path).parent
    for notebook in sorted(root.glob("notebooks/*.ipynb")):
        body, resources = nbconvert.MarkdownExporter().from_filename(
            str(notebook), resources={"output_files_dir": notebook.stem}
        )
        page = f"notebooks/{notebook.stem}.md"
        # Pages lie in folders of their own, so the pictures are one folder up.
        body = body.replace(f"]({notebook.stem}/", f"]({notebook.stem}_files/")
        files.append(File.generated(config, page, content=body))
        for name, content in resources["outputs"].items():
            picture = f"notebooks/{notebook.stem}_files/{Path(name).name}"
            files.append(File.generated(config, picture, content=content))
    for pattern in ("benchmarks/**/*.md", "benchmarks/**/*.png", *AT_THE_ROOT):
        for path in sorted(root.glob(pattern)):
            name = site_path(path.relative_to(root).as_posix())
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def docstring_of(name: re.Match[str]) -> str:
    """The name and its docstring, found in its file: a folder may have its name too."""
    return f"{name[1]}\n\n::: {name[3].replace('/', '.')}.{name[2]}\n"


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Lead links to the site's pages, and put docstrings in the place of names."""
    name = page.file.src_uri
    if name == "api.md":
        markdown = NAME.sub(docstring_of, markdown)
    outside = ("notebooks/", "benchmarks/", *map(site_path, AT_THE_ROOT))
    folder = posixpath.dirname(name if name.startswith(outside) else f"docs/{name}")

    def lead(link: re.Match[str]) -> str:
        target = site_path(posixpath.normpath(posixpath.join(folder, link[1])))
        if files.get_file_from_path(target) is None:
            return link[0]  # as it is: mkdocs names what leads nowhere
        path = posixpath.relpath(target, posixpath.dirname(name) or ".")
        return f"]({path}{link[2] or ''})"

    return LINK.sub(lead, markdown)


class Doctests(griffe.Extension):
    """Shows `Example:` of a docstring as code, as griffe does with `Examples:`."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rename the section."""
        if obj.docstring:
            text = obj.docstring.value
            obj.docstring.value = re.sub("^Example:$", "Examples:", text, flags=re.M)
