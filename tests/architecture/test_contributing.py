"""The contributors' page tells the truth about folders, and about the files of its recipes."""

from __future__ import annotations

import re

import pytest
from tests.architecture.test_walls import floor_of
from tests.support.sources import ROOT, SOURCES

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAP = PAGE.partition("## The map\n")[2].partition("\n## ")[0]
RECIPES = PAGE.partition("## Four typical changes\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("package", SOURCES)
def test_the_map_has_every_folder_of_a_package(package: str) -> None:
    section = MAP.partition(f"/src/{package}`")[2].partition("\n`packages/")[0]
    section = section.partition("\nBeside them:")[0]
    listed = re.findall(r"^\| `([\w/]+)` \|", section, re.M)
    folders = {
        folder.relative_to(SOURCES[package]).as_posix()
        for folder in SOURCES[package].rglob("*")
        if folder.is_dir() and any(folder.glob("*.py"))
    }
    assert sorted(listed) == sorted(folders)
    floors = [floor_of(package, folder.replace("/", ".")) for folder in listed]
    assert floors == sorted(floors)


def test_the_map_has_every_folder_beside_them() -> None:
    listed = set(re.findall(r"`([\w./]+)`", MAP.partition("\nBeside them:")[2]))
    assert [path for path in listed if not (ROOT / path).is_dir()] == []
    tests = {f"tests/{folder.name}" for folder in (ROOT / "tests").iterdir() if folder.is_dir()}
    assert {one for one in tests if not one.endswith("__pycache__")} <= listed


def recipes() -> dict[str, str]:
    """Each recipe by its heading."""
    parts = re.split(r"^### (.+)$", RECIPES, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_names_its_files_and_their_number(name: str) -> None:
    steps = re.findall(r"^\d+\. `([^`]+)`", recipes()[name], re.M)
    number = re.search(r"\*\*(\d+) files\*\*", recipes()[name])
    assert number, "a recipe says how many files it takes"
    assert len(set(steps)) == len(steps) == int(number[1])
    assert [path for path in steps if not (ROOT / path).exists()] == []
