"""The notebooks as pages of the site, with the outputs that they were committed with."""

from pathlib import Path

import nbconvert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add each notebook as Markdown, and its pictures beside it."""
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
    return files
