"""Brings the notebooks of the repository into the manual, which renders them as pages.

Sphinx reads below ``docs/`` only, so they are copied to ``docs/notebooks/``. The copy gets a line
with a link to the original, as it is: without outputs.
"""

from pathlib import Path

import nbformat
from sphinx.application import Sphinx
from sphinx.config import Config

FOLDER = "notebooks"


def copy_notebooks(app: Sphinx, _config: Config) -> None:
    """Make the copies agree with the originals."""
    target = Path(app.srcdir, FOLDER)
    target.mkdir(exist_ok=True)
    originals = {path.name: path for path in (Path(app.srcdir).parent / FOLDER).glob("*.ipynb")}
    for old in target.glob("*.ipynb"):
        if old.name not in originals:
            old.unlink()
    for name, path in originals.items():
        text = with_link(path)
        copy = target / name
        # An unchanged file keeps its time, so that Sphinx need not read it again.
        if not copy.exists() or copy.read_text("utf-8") != text:
            copy.write_text(text, "utf-8")


def with_link(path: Path) -> str:
    """A notebook with a link to itself below its first cell."""
    notebook = nbformat.read(path, as_version=4)
    file = f"../../{FOLDER}/{path.name}"
    link = f"{{download}}`Download this notebook <{file}>`, and run it yourself."
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(link, id="download"))
    return nbformat.writes(notebook)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("config-inited", copy_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
