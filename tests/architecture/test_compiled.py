"""One source, two forms: what is compiled, when it is, and that it says so."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder
from tests.architecture.test_walls import ROOT, SOURCES, modules

import stompy.build
import stompy_broker.build

LISTS = {"stompy": stompy.build.MODULES, "stompy_broker": stompy_broker.build.MODULES}
ROOTS = {package: SOURCES[package].parents[1] for package in LISTS}


@pytest.mark.parametrize("package", LISTS)
def test_the_list_names_modules_of_its_package_in_order(package: str) -> None:
    there = {f"{package}.{name}" for name in modules(package)}
    assert set(LISTS[package]) <= there
    assert list(LISTS[package]) == sorted(LISTS[package])


@pytest.mark.parametrize("package", LISTS)
def test_who_builds_reads_the_same_list(package: str) -> None:
    assert script(package).modules_of(ROOTS[package]) == list(LISTS[package])


def test_every_package_builds_alone_and_alike() -> None:
    assert len({(root / "hatch_build.py").read_bytes() for root in ROOTS.values()}) == 1


@pytest.mark.parametrize(
    ("names", "form"),
    [(["plain"], "no"), (["quick"], "yes"), (["quick", "plain"], "partly"), ([], "no")],
)
def test_the_form_that_runs(
    names: list[str], form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain.py").touch()
    (tmp_path / f"quick{EXTENSION_SUFFIXES[0]}").touch()
    (tmp_path / "quick.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert stompy.build.compiled(names) == form


# -- wheels --------------------------------------------------------------------------------------


def script(package: str) -> ModuleType:
    file = ROOTS[package] / "hatch_build.py"
    spec = importlib.util.spec_from_file_location("hatch_build", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wheel(package: str, out: Path) -> tuple[str, set[str]]:
    """Build a wheel; give its name and what is in it."""
    (path,) = WheelBuilder(str(ROOTS[package])).build(directory=str(out), versions=["standard"])
    with zipfile.ZipFile(path) as archive:
        return Path(path).name, set(archive.namelist())


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A compiler that is quick, and makes nothing of worth."""
    calls = []

    def call(command: list[str], **_options: Any) -> Any:
        calls.append(command)
        target = Path(command[command.index("--into") + 1])
        folder = target / "stompy" / "protocol"
        folder.mkdir(parents=True)
        (folder / f"codec{sysconfig.get_config_var('EXT_SUFFIX')}").touch()
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr("subprocess.run", call)
    return calls


@pytest.mark.parametrize("package", LISTS)
@pytest.mark.parametrize("demand", [None, "", "0"])
def test_a_wheel_is_plain_unless_told_otherwise(
    package: str, demand: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STOMPY_COMPILE", raising=False)
    if demand is not None:
        monkeypatch.setenv("STOMPY_COMPILE", demand)
    name, content = wheel(package, tmp_path)
    assert name.endswith("-py3-none-any.whl")
    assert not [file for file in content if file.endswith((".so", ".pyd", ".c", "hatch_build.py"))]


def test_a_demanded_wheel_is_for_this_python_and_has_both_forms(
    compiler: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOMPY_COMPILE", "1")
    name, content = wheel("stompy", tmp_path)
    assert len(compiler) == 1
    assert f"-cp{sys.version_info.major}{sys.version_info.minor}-" in name
    assert "none-any" not in name
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    assert {"stompy/protocol/codec.py", f"stompy/protocol/codec{suffix}"} <= content


def test_what_cannot_be_demanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOMPY_COMPILE", "yes")
    with pytest.raises(ValueError, match="must be 1 or 0, not 'yes'"):
        wheel("stompy", tmp_path)


@pytest.mark.parametrize(("demand", "needs"), [("0", False), ("1", True)])
def test_a_plain_build_needs_no_compiler(
    demand: str, needs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOMPY_COMPILE", demand)
    needed = WheelBuilder(str(ROOTS["stompy_broker"])).config.dependencies
    assert any(one.startswith("mypy") for one in needed) == needs
    assert any(one.startswith("stompy-core") for one in needed) == needs


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_demand_without_a_compiler_fails_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOMPY_COMPILE", "1")
    monkeypatch.setenv("CC", "/nowhere/cc")
    with pytest.raises(RuntimeError, match="a C compiler and Python's header files"):
        wheel("stompy", tmp_path)


def test_make_takes_the_packages_that_can_be_compiled() -> None:
    line = f"COMPILABLE := {' '.join(str(root.relative_to(ROOT)) for root in ROOTS.values())}\n"
    assert line in (ROOT / "Makefile").read_text()
