"""A broker in a process of its own: it can be killed, it comes back, and it never stays behind."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

import stompy
from stompy_broker import spawn


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_was_receipted_survives_a_kill(temporary):
    with spawn() as broker:
        with stompy.connect(broker.url) as client:
            client.wait_for_receipt(client.message("/queue/q", "kept", receipt=True))
            first, port = broker.pid, broker.port
            broker.kill()
        assert not broker.is_running
        assert broker.pid is None
        broker.restart()
        assert broker.port == port
        assert broker.pid != first
        with stompy.connect(broker.url) as client:
            client.subscribe("/queue/q")
            assert client.recv(timeout=5).text == "kept"
        with pytest.raises(RuntimeError, match="runs"):
            broker.restart()
        assert str(broker.pid) in repr(broker)
    assert list(temporary.iterdir()) == []
    broker.stop()


def test_a_directory_of_ones_own_stays(tmp_path):
    with spawn("--log-level", "debug", data=tmp_path / "data") as broker:
        assert broker.data == tmp_path / "data"
        broker.shut_down()
    assert (tmp_path / "data" / "messages.db").exists()


def test_why_it_did_not_start_is_told(temporary):
    with pytest.raises(RuntimeError, match="No such option"):
        spawn("--no-such-option")
    assert list(temporary.iterdir()) == []


PARENT = """
import os, sys, stompy_broker
broker = stompy_broker.spawn()
print(broker.pid, flush=True)
{}
"""


def parent(end: str, directory: Path) -> int:
    """A program that starts a broker and ends somehow; the process id of the broker."""
    done = subprocess.run(
        [sys.executable, "-c", PARENT.format(end)],
        check=False,
        stdout=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(directory)},
    )
    return int(done.stdout)


def gone(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        psutil.Process(pid).wait(timeout=10)
    return not psutil.pid_exists(pid)


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise KeyError"])
def test_it_ends_with_a_parent_that_forgot_it(end, temporary):
    assert gone(parent(end, temporary))
    assert list(temporary.iterdir()) == []


def test_it_ends_with_a_parent_that_was_killed_and_the_next_one_clears_up(temporary):
    assert gone(parent(f"os.kill(os.getpid(), {signal.SIGKILL})", temporary))
    (left,) = temporary.iterdir()
    theirs = temporary / f"stompy-broker-of-{os.getppid()}-alive"
    theirs.mkdir()
    with spawn() as broker:
        assert not left.exists()
        assert {theirs, broker.data} == set(temporary.iterdir())
