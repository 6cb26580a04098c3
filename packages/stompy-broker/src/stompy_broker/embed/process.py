"""A broker in a process of its own, which a test or a notebook can kill and start again.

What holds at all times:

* The process ends when its parent does, however that happens: its standard input is a pipe whose
  other end nobody but the parent holds.
* A temporary data directory that a killed parent left behind is removed when the next one makes its
  own.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import IO

from stompy_broker.store.base import StoreError
from stompy_broker.store.directory import lock_directory

_READY = re.compile(rb"stompy-broker ready (\S+:(\d+))")
_PREFIX = "stompy-broker-of-"
_START_SECONDS = 20.0


class BrokerProcess:
    """A broker that runs as a child of this process.

    Use it with ``with``, or call `stop`. Made by `spawn`.

    Attributes:
        url: what clients connect to.
        port: where it listens, also after `restart`.
        data: its data directory.
    """

    def __init__(
        self,
        options: tuple[str, ...],
        data: Path | None,
        port: int,
        *,
        seconds: float = _START_SECONDS,
    ) -> None:
        self._options = options
        self._seconds = seconds
        self.data = temporary_directory() if data is None else data
        self.port = port
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by the finalizer
        # Of several finalizers the youngest is called first: the process, then what it used.
        self._cleaning = weakref.finalize(self, _clean, self._log, data is None, self.data)
        self._ending: weakref.finalize[..., BrokerProcess] | None = None
        try:
            self._start(seconds)
        except RuntimeError:
            self._cleaning()
            raise

    @property
    def pid(self) -> int | None:
        """The id of its process; None while there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def is_running(self) -> bool:
        """Whether its process is alive."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End the process at once, as a crash does: nothing is finished, nothing is said."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start it again, on the same port, with the same data directory.

        Raises:
            RuntimeError: it runs, or it does not start; the text holds what it said.
        """
        if self.is_running:
            raise RuntimeError("the broker runs: kill() or shut_down() it first")
        self._start(self._seconds)

    def shut_down(self) -> None:
        """End the process as SIGTERM does, with everything on disk. `restart` is possible."""
        self._end(signal.SIGTERM)

    def stop(self) -> None:
        """End the process for good; a temporary data directory is removed."""
        self.shut_down()
        self._cleaning()

    def _start(self, timeout: float) -> None:
        command = [sys.executable, "-m", "stompy_broker", "--port", str(self.port), "--until-eof"]
        self._process = process = subprocess.Popen(
            [*command, "--data", str(self.data), *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # An interrupted notebook must not stop its broker.
            start_new_session=True,
        )
        self._ending = weakref.finalize(self, _end_process, process)
        self.url, self.port = self._address(process, timeout)

    def _address(self, process: subprocess.Popen[bytes], timeout: float) -> tuple[str, int]:
        assert process.stdout is not None
        found = _READY.match(_first_line(process.stdout, timeout))
        if found is None:
            self._end(signal.SIGTERM)
            self._log.seek(0)
            said = self._log.read().decode("utf-8", "replace").strip()
            raise RuntimeError(f"the broker did not start: {said or f'{timeout:g} seconds passed'}")
        return found[1].decode(), int(found[2])

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None and self._ending is not None:
            self._ending.detach()
            _end_process(process, number)

    def __enter__(self) -> BrokerProcess:
        """Give the broker, which listens."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the broker, as `stop` does."""
        self.stop()

    def __repr__(self) -> str:
        """Show where it listens, and its process."""
        state = f"process {self.pid}" if self.is_running else "not running"
        return f"<BrokerProcess {self.url} {state}>"


def spawn(*options: str, data: Path | None = None, port: int = 0) -> BrokerProcess:
    """Start ``stompy-broker`` as a child process that ends with this one.

    Args:
        options: more options of its command line.
        data: its data directory; None for a temporary one.
        port: where to listen; 0 picks a free port.

    Returns:
        The broker, which listens already.

    Raises:
        RuntimeError: it does not start; the text holds what it said.
    """
    return BrokerProcess(options, data, port)


def _first_line(stream: IO[bytes], timeout: float) -> bytes:
    """Read the first line of a pipe, or what has come of it when the time is over."""
    deadline = monotonic() + timeout
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n") and selector.select(max(0.0, deadline - monotonic())):
            piece = os.read(stream.fileno(), 4096)
            if not piece:
                break
            line += piece
    return line


def _end_process(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
    with process:  # closes the pipes
        if process.poll() is None:
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        if process.poll() is None:
            process.kill()


def _clean(log: IO[bytes], temporary: bool, data: Path) -> None:
    log.close()
    if temporary:
        shutil.rmtree(data, ignore_errors=True)


def temporary_directory() -> Path:
    """Make a directory named after this process, and remove those of processes that are gone."""
    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        owner = old.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdecimal() and not _lives(int(owner)):
            # The lock tells of a broker whose owner has its number in another container.
            with contextlib.suppress(StoreError):
                lock = lock_directory(old)
                shutil.rmtree(old, ignore_errors=True)
                os.close(lock)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
