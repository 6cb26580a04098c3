"""A program that becomes another one, unless its parent has ended meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from stompy_broker.cluster.nats import launcher


def launched(directory: Path, parent: int) -> subprocess.CompletedProcess[str]:
    """Launch a shell that tells its process id."""
    with (directory / "lock").open("w+") as lock:
        number = lock.fileno()
        command = [sys.executable, "-IS", str(launcher.__file__), str(parent), str(number)]
        return subprocess.run(
            [*command, "/bin/sh", "-c", "echo $$"],
            pass_fds=(number,),
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )


def test_it_becomes_the_program_and_says_which_process_that_is(tmp_path: Path) -> None:
    done = launched(tmp_path, os.getpid())
    assert done.returncode == 0
    assert done.stdout.strip() == (tmp_path / "lock").read_text()


def test_it_is_nobodys_child(tmp_path: Path) -> None:
    done = launched(tmp_path, os.getppid())
    assert (done.returncode, done.stdout) == (1, "")
    assert "the broker has ended meanwhile" in done.stderr
    assert (tmp_path / "lock").read_text() == ""
