"""The three packages are released together, and each asks for exactly its siblings' version."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

PACKAGES = Path(__file__).parents[2] / "packages"
PROJECTS: dict[str, dict[str, Any]] = {
    path.parent.name: tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    for path in sorted(PACKAGES.glob("*/pyproject.toml"))
}


def test_there_are_three_packages_named_after_their_folders():
    assert list(PROJECTS) == ["stompy-broker", "stompy-core", "stompy-monitor"]
    assert [project["name"] for project in PROJECTS.values()] == list(PROJECTS)


def test_versions_are_in_lockstep():
    assert len({project["version"] for project in PROJECTS.values()}) == 1


def test_versions_in_the_code_are_the_same():
    wrong = {
        str(path.relative_to(PACKAGES)): version
        for path in PACKAGES.glob("*/src/*/__init__.py")
        for version in re.findall(r'^__version__ = "(.*)"$', path.read_text("utf-8"), re.MULTILINE)
        if version != PROJECTS["stompy-core"]["version"]
    }
    assert wrong == {}


@pytest.mark.parametrize("name", PROJECTS)
def test_siblings_are_pinned_exactly(name):
    siblings = [need for need in PROJECTS[name]["dependencies"] if need.startswith("stompy-")]
    expected = [] if name == "stompy-core" else [f"stompy-core=={PROJECTS[name]['version']}"]
    assert siblings == expected


def test_core_needs_nothing():
    assert PROJECTS["stompy-core"]["dependencies"] == []
