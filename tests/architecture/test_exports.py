"""The public doors: what ``__all__`` says is there, and every package is typed."""

import importlib

import pytest
from tests.architecture.test_walls import SOURCES


@pytest.mark.parametrize("package", SOURCES)
def test_all_is_there_and_sorted(package: str) -> None:
    module = importlib.import_module(package)
    exported = getattr(module, "__all__", [])
    assert exported == sorted(exported, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(module, name) for name in exported)


@pytest.mark.parametrize("package", SOURCES)
def test_typed(package: str) -> None:
    assert (SOURCES[package] / "py.typed").exists()


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("stompy.client", ["STOMPClient", "STOMPTransaction", "connect"]),
        ("stompy.frame", ["STOMPFrame", "STOMPError", "STOMPTimeout"]),
    ],
)
def test_the_manuals_modules(module: str, names: list[str]) -> None:
    imported = importlib.import_module(module)
    assert all(hasattr(imported, name) for name in names)
