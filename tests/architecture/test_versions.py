"""The three packages are released together, and each asks for exactly its siblings' version."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "packages"
PROJECTS: dict[str, dict[str, Any]] = {
    path.parent.name: tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    for path in sorted(PACKAGES.glob("*/pyproject.toml"))
}


def test_there_are_three_packages_named_after_their_folders():
    assert list(PROJECTS) == ["stompy-broker", "stompy-core", "stompy-monitor"]
    assert [project["name"] for project in PROJECTS.values()] == list(PROJECTS)


def test_every_place_holds_the_version_of_the_file(tmp_path):
    """The tool that writes them finds nothing to do; and it finds every place there is."""
    version = (ROOT / "VERSION").read_text().strip()
    assert {project["version"] for project in PROJECTS.values()} == {version}
    for file in (*ROOT.glob("packages/*/pyproject.toml"), *ROOT.glob("packages/*/src/*/*.py")):
        if file.name in {"pyproject.toml", "__init__.py", "version.py"}:
            copy = tmp_path / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(file.read_text())
    (tmp_path / "VERSION").write_text(version)
    assert written(tmp_path) == []
    (tmp_path / "VERSION").write_text("99.0.0rc1\n")
    assert written(tmp_path)
    left = [
        path for path in tmp_path.rglob("*.*") if path.is_file() and version in path.read_text()
    ]
    assert left == []


def written(root: Path) -> list[str]:
    command = [sys.executable, str(ROOT / ".ci" / "version.py"), str(root)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("name", PROJECTS)
def test_siblings_are_pinned_exactly(name):
    siblings = [need for need in PROJECTS[name]["dependencies"] if need.startswith("stompy-")]
    expected = [] if name == "stompy-core" else [f"stompy-core=={PROJECTS[name]['version']}"]
    assert siblings == expected


def test_core_needs_nothing():
    assert PROJECTS["stompy-core"]["dependencies"] == []
