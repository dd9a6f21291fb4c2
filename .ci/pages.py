"""What of the site lies outside `docs/`: the notebooks and the benchmarks' pictures."""

from pathlib import Path

import nbconvert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add each notebook, with the outputs it was committed with, and each picture."""
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
    for picture in sorted(root.glob("benchmarks/*.png")):
        source = f"benchmarks/{picture.name}"
        files.append(File.generated(config, source, abs_src_path=str(picture)))
    return files
