"""Brokers in processes of their own, which can be killed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self


class BrokerProcess:
    """A broker on a data directory; used with ``with`` it is killed at the end.

    Args:
        data: the data directory.
        settings: lines of its configuration, TOML.
        wrapper: a command that runs the broker's command.

    Attributes:
        log: what it has written to standard error.
    """

    def __init__(self, data: Path, settings: str = "", *wrapper: str) -> None:
        command = [*wrapper, sys.executable, "-m", "stompy_broker", "--port", "0"]
        if settings:
            config = data.parent / "broker.toml"
            config.write_text(settings)
            command += ["--config", str(config)]
        self.log = data.parent / "broker.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--data", str(data)], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"stomp://\S+:(\d+)", line)
        assert found, f"not ready: {line!r}; {self.log.read_text()}"
        self.url = found[0]
        self.port = int(found[1])

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to stop; gives its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        code = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def memory(self) -> int:
        """How much memory it uses, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.kill()
