"""Of Textual only what it documents is used: its private parts change with every version."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from pathlib import Path

import stompy_monitor

ROOT = Path(stompy_monitor.__path__[0])
SOURCES = {path: ast.parse(path.read_text("utf-8")) for path in ROOT.rglob("*.py")}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def imported(tree: ast.Module) -> list[str]:
    """The modules and names that are imported, with dots."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def private_names() -> frozenset[str]:
    """What Textual's classes that ours are made from keep for themselves."""
    bases: set[type] = set()
    for module in pkgutil.walk_packages(stompy_monitor.__path__, "stompy_monitor."):
        if not module.name.endswith("__main__"):
            for value in vars(importlib.import_module(module.name)).values():
                bases |= set(value.__mro__) if isinstance(value, type) else set()
    names: set[str] = set()
    for base in bases:
        if base.__module__.partition(".")[0] == "textual":
            names |= set(vars(base))
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
            names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return frozenset(filter(is_private, names))


def test_no_private_module_is_imported() -> None:
    found = [
        f"{path.name}: {name}"
        for path, tree in SOURCES.items()
        for name in imported(tree)
        if name.startswith(("textual", "rich")) and any(map(is_private, name.split(".")))
    ]
    assert found == []


def test_no_private_name_of_its_objects_is_used_or_taken() -> None:
    private = private_names()
    assert "_compositor" in private
    found = []
    for path, tree in SOURCES.items():
        if not any(name.startswith("textual") for name in imported(tree)):
            continue
        for node in ast.walk(tree):
            name = getattr(node, "attr", getattr(node, "name", None))
            if isinstance(node, (ast.Attribute, ast.FunctionDef, ast.AsyncFunctionDef)):
                found += [f"{path.name}:{node.lineno}: {name}"] if name in private else []
    assert found == []
