"""The tutorials are stored without outputs, run, may run again, and leave nothing behind."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import nbformat
import psutil
import pytest
from tests.notebooks.kernels import Kernel, kernel, remember

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = {path.name: path for path in sorted(FOLDER.glob("*.ipynb"))}

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
METADATA = {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}

MAX_CODE_CELLS = 15

TWICE = {
    "01-first-message.ipynb": "receive-one",
    "02-queues.ipynb": "prefetch-run",
    "04-transactions.ipynb": "crash-restart",
}
"""What is also run twice in one kernel, and the cell after which that is cut short."""


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOKS[name], as_version=4)


def test_they_are_numbered_without_gap():
    assert [name[:2] for name in NOTEBOOKS] == [f"{n:02}" for n in range(1, len(NOTEBOOKS) + 1)]


def test_those_to_run_twice_are_there():
    assert set(TWICE) <= set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_is_valid_and_stored_clean(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata == METADATA
    assert [cell.id for cell in notebook.cells if cell.metadata] == []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count] == []
    assert [cell.id for cell in notebook.cells if cell.source != cell.source.strip()] == []
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert [name for name in ids if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name)] == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_is_a_lesson(name):
    cells = read(name).cells
    assert cells[0].cell_type == "markdown"
    assert re.match(r"# \w", cells[0].source)
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    assert len(code) <= MAX_CODE_CELLS
    assert sum("assert " in source for source in code) >= 3, "it checks too little"


def imported(source: str) -> set[str]:
    """The packages that a cell imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def test_the_extra_names_all_that_they_import():
    cells = [cell for name in NOTEBOOKS for cell in read(name).cells if cell.cell_type == "code"]
    needed = set().union(*(imported(cell.source) for cell in cells))
    project = tomllib.loads((FOLDER.parent / "packages/stompy-broker/pyproject.toml").read_text())
    extra = project["project"]["optional-dependencies"]["notebook"]
    named = {re.split("[<>=]", requirement)[0] for requirement in extra}
    ours = {"stompy", "stompy_broker", "IPython"}
    assert needed - set(sys.stdlib_module_names) - ours <= named


@pytest.fixture
def fresh(tmp_path):
    with kernel(tmp_path) as fresh:
        yield fresh


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_runs_and_leaves_nothing_behind(name, fresh: Kernel):
    notebook = read(name)
    fresh.run(notebook)
    assert fresh.left_behind() == []
    remember(notebook, name)
    if name in TWICE:
        # Somebody runs it again, changes something half-way, and begins from the top.
        fresh.run_some(read(name), TWICE[name])
        fresh.run(read(name))
        assert fresh.left_behind() == []


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("name", "last"), TWICE.items())
def test_the_notebook_runs_after_the_kernel_was_killed(name, last, fresh: Kernel):
    fresh.run_some(read(name), last)
    ended = fresh.processes()
    fresh.restart()
    _, alive = psutil.wait_procs(ended, timeout=10)
    assert alive == []
    fresh.run(read(name))
    assert fresh.left_behind() == []


LIVE = """
import stompy_broker
with stompy_broker.running() as broker:
    view = stompy_broker.live(broker.queues, every=0.05, seconds=600)
    view.wait()
assert not view.is_running
assert view.failure is None, repr(view.failure)
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_live_view_renews_itself_and_can_be_interrupted(fresh: Kernel):
    status, kinds = fresh.interrupt_when_shown(LIVE)
    assert status == "ok"
    assert "display_data" in kinds
    assert "error" not in kinds
