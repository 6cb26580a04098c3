"""A broker in a process of its own that can be killed and started again on its data."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


class BrokerProcess:
    """Runs from the beginning; `kill` it, `restart` it, `end` it.

    Attributes:
        port: where it listens; another one after each start.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._process, self.port = self._start()

    def _start(self) -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [sys.executable, "-m", "stompy_broker", "--port", "0", "--data", str(self._data)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"stomp://\S+:(\d+)", line)
        assert found, f"not ready: {line!r}"
        return process, int(found[1])

    def kill(self) -> None:
        """SIGKILL: nothing is finished."""
        self._process.kill()
        self._wait()

    def terminate(self) -> None:
        """SIGTERM: it finishes, and says that it stops."""
        self._process.terminate()
        self._wait()

    def restart(self) -> None:
        """Start it again on the same data."""
        self._process, self.port = self._start()

    def end(self) -> None:
        """See that no process is left."""
        if self._process.poll() is None:
            self.kill()

    def _wait(self) -> None:
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()
