"""What the manual shows works: its examples run against a real broker."""

import ast
import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.blocks import PAGES, blocks, pages_with

from stompy_broker import RunningBroker, running

SCRIPTS = Path(sys.executable).parent
MARKS = {"python": ("", "await", "compile", "file="), "sh": ("", "run")}


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """What a page sets for its loggers is not for the tests that follow."""
    loggers = [logging.getLogger(name) for name in (None, "stompy", "stompy.frames")]
    levels = [one.level for one in loggers]
    yield
    for one, level in zip(loggers, levels, strict=True):
        one.setLevel(level)


@pytest.fixture
def broker(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with running() as broker:
        yield broker


def at(broker: RunningBroker, code: str) -> str:
    """The example with the address of the test's broker in place of the usual one."""
    return code.replace("61613", str(broker.port)).replace("host.domain.com", broker.host)


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_examples_run(page, broker):
    namespace: dict[str, object] = {"__name__": "example"}
    for block in blocks(page, "python"):
        # Blank lines before the code make tracebacks name the line of the page.
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if block.mark == "await" else 0
        code = compile("\n" * block.line + at(broker, block.code), page, "exec", flags)
        if block.mark not in ("", "await"):
            continue
        known = set(namespace)
        awaited = eval(code, namespace)
        if block.mark == "await":
            asyncio.run(awaited)
        for name in set(namespace) - known:
            if name.startswith("test_"):
                namespace[name]()  # type: ignore[operator]


@pytest.mark.parametrize("page", pages_with("python", "file="))
def test_example_files_pass_under_pytest(page, tmp_path):
    for block in (*blocks(page, "python"), *blocks(page, "toml")):
        if block.file:
            (tmp_path / block.file).write_text(block.code, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(60)  # many short processes, on a busy machine
@pytest.mark.parametrize("page", pages_with("sh", "run"))
def test_shell_examples_run(page, broker):
    script = "\n".join(block.code for block in blocks(page, "sh") if block.mark == "run")
    # What covers what is not counted here: that would make each start of many twice as long.
    uncounted = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    environment = {
        **uncounted,
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
        "STOMPY_URL": broker.url,
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("language", MARKS)
def test_every_mark_is_known(language):
    wrong = [
        (page, block.line, block.mark)
        for page in PAGES
        for block in blocks(page, language)
        if block.mark not in MARKS[language] and not block.file
    ]
    assert wrong == []
