"""The tests mirror the modules: each has a file of its name, or a line that says where to look."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest
from tests.support.sources import ROOT, SOURCES, Function, Module, modules

TESTS = ROOT / "tests"
FOLDERS = {"stompy": "core", "stompy_broker": "broker", "stompy_monitor": "monitor"}
TABLE = Path(__file__).with_name("proved_elsewhere.toml")
ELSEWHERE: dict[str, dict[str, list[str]]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))


def has_code(module: Module) -> bool:
    """Whether there is anything to prove: a door that only names what is elsewhere has nothing."""
    return any(isinstance(node, Function | ast.ClassDef) for node in module.tree.body)


def named_after(package: str, name: str) -> Path:
    """Where the test of a module stands if it has the module's name."""
    *folders, stem = name.split(".")
    return TESTS.joinpath(FOLDERS[package], *folders, f"test_{stem}.py")


def names(package: str) -> dict[str, Module]:
    """The modules of a package by their names inside of it."""
    return {
        name.removeprefix(f"{package}."): module
        for name, module in modules().items()
        if name.startswith(f"{package}.") and not name.endswith(".__main__")
    }


def is_package(module: Module) -> bool:
    return module.path.endswith("__init__.py")


@pytest.mark.parametrize("package", SOURCES)
def test_every_module_is_proved_somewhere(package: str) -> None:
    lost = [
        name
        for name, module in names(package).items()
        if has_code(module)
        and not is_package(module)
        and not named_after(package, name).exists()
        and name not in ELSEWHERE[package]
    ]
    assert lost == []


@pytest.mark.parametrize("package", SOURCES)
def test_every_line_is_needed(package: str) -> None:
    inside = names(package)
    for name, files in ELSEWHERE[package].items():
        assert name in inside, f"{name}: there is no such module"
        assert not named_after(package, name).exists(), f"{name}: has a test of its name"
        missing = [file for file in files if not (TESTS / file).exists()]
        assert files, name
        assert missing == [], name
