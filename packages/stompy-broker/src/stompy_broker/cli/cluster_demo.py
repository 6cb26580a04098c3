"""Three brokers with three NATS servers on this machine, to be killed and to come back."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import click

from stompy_broker.cluster_config import ROUTE_PORT_AFTER
from stompy_broker.cluster_secret import write_secret
from stompy_broker.config import load_config
from stompy_broker.embed.cluster import member_config

NAMES = ("a", "b", "c")

MOST_PORT = 65535 - ROUTE_PORT_AFTER - 12
"""The highest first port: the servers' are ten above it, and those for routes 2000 above these."""

_SERVERS_AFTER = 10
_LOOK = 0.2
_START_SECONDS = 120.0
_STOP_SECONDS = 90.0

_HEADING = "# Made by `stompy-broker cluster demo`, once; what is changed here stays.\n"
_TIMING = "# Soon, so that there is something to see.\nmove_after = 3"


class DemoError(Exception):
    """What keeps the demo from running; for people."""


@dataclass(slots=True)
class DemoBroker:
    """One of the brokers.

    Attributes:
        name: of the broker, and of its directory.
        directory: where it has everything.
        port: where it listens.
        process: it runs as this one; None = it does not.
        url: what clients connect to.
        back_at: when it is started again; 0 = it runs.
    """

    name: str
    directory: Path
    port: int
    process: subprocess.Popen[str] | None = None
    url: str = ""
    back_at: float = 0.0
    said: list[str] = field(default_factory=list)

    @property
    def config(self) -> Path:
        """The file of its configuration."""
        return self.directory / "broker.toml"

    @property
    def log(self) -> Path:
        """The file with what it has to say."""
        return self.directory / "broker.log"

    @property
    def server_pid(self) -> str:
        """The process of its NATS server; a hyphen = it has none."""
        try:
            return (self.directory / "data" / "nats" / "server.lock").read_text("ascii") or "-"
        except OSError:
            return "-"

    def start(self) -> None:
        """Run it; `until_ready` waits for it."""
        command = [sys.executable, "-m", "stompy_broker", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                # It stops when we are gone, however that came.
                [*command, "--until-eof"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # Ctrl-C is for us.
                start_new_session=True,
            )
        self.back_at = 0.0

    def until_ready(self, stop: threading.Event) -> None:
        """Wait until clients can connect.

        Args:
            stop: is set when nobody wants it any more.

        Raises:
            DemoError: it has ended, or takes too long.
        """
        process = self.process
        assert process is not None
        assert process.stdout is not None
        reading = threading.Thread(target=_read_line, args=(process.stdout, self.said), daemon=True)
        self.said.clear()
        reading.start()
        deadline = time.monotonic() + _START_SECONDS
        while reading.is_alive() and not stop.is_set() and time.monotonic() < deadline:
            reading.join(_LOOK)
        if stop.is_set():
            return
        words = self.said[0].split() if self.said else []
        if words[:2] != ["stompy-broker", "ready"]:
            raise DemoError(f"the broker {self.name} does not start; {self.log} says why")
        self.url = words[2]

    @property
    def process_id(self) -> int:
        """Of its process; 0 = there is none."""
        return 0 if self.process is None else self.process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it ran and does not any more."""
        return self.process is not None and self.process.poll() is not None

    def stop(self, seconds: float) -> bool:
        """Wait until it has ended; says whether it did so in good order."""
        process, self.process = self.process, None
        if process is None:
            return True
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        return code == 0


def _read_line(pipe: IO[str], said: list[str]) -> None:
    with suppress(ValueError):
        said.append(pipe.readline())


class ClusterDemo:
    """The three brokers and what is to be said of them.

    Args:
        directory: where everything is.
        port: of the first broker; 0 = as before, or 61613.
        back: seconds after which a broker that has ended is started again.

    Raises:
        DemoError: it cannot be set up there.
    """

    def __init__(self, directory: Path, port: int, back: float) -> None:
        self._directory = directory.absolute()
        self._back = back
        self._done = threading.Event()
        known = self._known_port()
        if known and port and port != known:
            raise DemoError(
                f"{directory} has a demo whose first port is {known}; leave out --port, or take "
                "another directory"
            )
        self._port = known or port or 61613
        self.brokers = [
            DemoBroker(name, self._directory / name, self._port + number)
            for number, name in enumerate(NAMES)
        ]

    def _known_port(self) -> int:
        file = self._directory / NAMES[0] / "broker.toml"
        return load_config(file).listen.port if file.exists() else 0

    def prepare(self) -> None:
        """Write configurations and secret, unless they are there.

        Raises:
            DemoError: they cannot be written.
        """
        secret = self._directory / "secret"
        first = self._port + _SERVERS_AFTER
        servers = range(first, first + len(NAMES))
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            if not secret.exists():
                write_secret(secret)
            for broker, server in zip(self.brokers, servers, strict=True):
                broker.directory.mkdir(exist_ok=True)
                if not broker.config.exists():
                    text = member_config(
                        "demo",
                        broker.name,
                        port=broker.port,
                        data=broker.directory / "data",
                        secret=secret,
                        servers=servers,
                        server=server,
                        timing=_TIMING,
                    )
                    broker.config.write_text(_HEADING + text, "utf-8")
        except OSError as error:
            raise DemoError(f"{self._directory}: {error.strerror}: {error.filename}") from None

    def run(self) -> int:
        """Run the brokers until a signal ends it; gives the exit code.

        Raises:
            DemoError: a broker does not start.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._done.set())
        try:
            for broker in self.brokers:
                broker.start()
            for broker in self.brokers:
                broker.until_ready(self._done)
            for line in () if self._done.is_set() else self.told():
                click.echo(line)
            while not self._done.wait(_LOOK):
                self._tend()
        finally:
            sound = self._stop()
        click.echo("all brokers have ended" + ("" if sound else ", but not all in good order"))
        return 0 if sound else 1

    def _tend(self) -> None:
        """Start brokers again that have ended, after a while."""
        for broker in self.brokers:
            if broker.back_at and time.monotonic() >= broker.back_at:
                broker.start()
                broker.until_ready(self._done)
                click.echo(
                    f"broker {broker.name} is back: process {broker.process_id}, its nats-server "
                    f"{broker.server_pid}"
                )
            elif broker.has_ended:
                broker.stop(0)
                broker.back_at = time.monotonic() + self._back
                click.echo(f"broker {broker.name} has ended; it comes back in {self._back:g} s")

    def _stop(self) -> bool:
        for broker in self.brokers:
            if broker.process is not None:
                broker.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        ended = [broker.stop(max(deadline - time.monotonic(), 1)) for broker in self.brokers]
        return all(ended)

    def told(self) -> Iterator[str]:
        """What to look at, and what to kill."""
        first, second, _ = self.brokers
        yield f"stompy-broker cluster ready {' '.join(broker.url for broker in self.brokers)}"
        yield ""
        yield "broker  process  nats-server  URL                      log"
        for one in self.brokers:
            pids = f"{one.process_id:>7}  {one.server_pid:>11}"
            yield f"{one.name:<6}  {pids}  {one.url:<23}  {one.log}"
        yield ""
        yield "Each takes and gives the messages of all queues. Try:"
        yield f"  stompy send --url {first.url} /queue/q hello"
        yield f"  stompy listen --url {second.url} /queue/q"
        yield "Watch:"
        yield f"  stompy-broker cluster status --url {first.url}"
        yield f"  stompy-monitor {first.url}"
        yield "One broker owns all queues at first; within seconds all three share them."
        yield "Kill a broker: others serve its queues within seconds, and its clients go there."
        yield f"  kill -9 {second.process_id}"
        yield "Kill a server: its broker starts it again. If it led, writing waits 7 to 8 s."
        yield f"  kill -9 {second.server_pid}"
        yield f"A broker that was killed comes back after {self._back:g} s. Ctrl-C ends all."
