"""A module has at most 600 lines, and a function at most 70 (CONTRIBUTING, *Size*)."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST_MODULE = 600
LONGEST_FUNCTION = 70


def sources() -> dict[str, str]:
    """Every module of the packages by its path."""
    files = sorted((ROOT / "packages").glob("*/src/**/*.py"))
    assert len(files) > 100
    return {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in files}


def test_no_module_is_too_long() -> None:
    sizes = {path: len(text.splitlines()) for path, text in sources().items()}
    assert {path: size for path, size in sizes.items() if size > LONGEST_MODULE} == {}


def test_no_function_is_too_long() -> None:
    sizes = {
        f"{path}:{node.lineno} {node.name}": size
        for path, text in sources().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (size := length(node)) > LONGEST_FUNCTION
    }
    assert sizes == {}


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many lines do its work: neither its signature, a line for each option, nor its words."""
    work = function.body
    if ast.get_docstring(function, clean=False) is not None:
        work = work[1:]
    return (work[-1].end_lineno or 0) - work[0].lineno + 1 if work else 0
