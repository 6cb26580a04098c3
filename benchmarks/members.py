"""Three brokers on three NATS servers, started for a while on this machine's loopback interface."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from foreign import START_SECONDS, answers, free_port, started

from stompy_broker.cluster.membership.groups import HASHED_GROUPS, GroupMap
from stompy_broker.cluster.nats.program import find_program
from stompy_broker.cluster.nats.server import ServerSettings
from stompy_broker.cluster_secret import write_secret

NAMES = ("a", "b", "c")

_STEADY_SECONDS = 4.0

_CONFIG = """\
[listen]
port = {port}
[store]
data = {data}
[cluster]
name = "bench"
id = "{name}"
secret_file = {secret}
advertise = "127.0.0.1:{port}"
nats = {urls}
trust_sync = true
silence = {silence}
move_after = 1.0
"""


@dataclass
class Broker:
    """One of the brokers, in a process that can be killed.

    Attributes:
        name: its id.
        port: where it listens.
        directory: has its files.
    """

    name: str
    port: int
    directory: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        command = (sys.executable, "-m", "stompy_broker")
        with (self.directory / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--config", str(self._config), "--log-level", "error"],
                stdout=log,
                stderr=log,
            )

    @property
    def _config(self) -> Path:
        return self.directory / f"{self.name}.toml"

    def configure(self, secret: Path, urls: Sequence[str], silence: float) -> None:
        self._config.write_text(
            _CONFIG.format(
                port=self.port,
                data=json.dumps(str(self.directory / self.name)),
                name=self.name,
                secret=json.dumps(str(secret)),
                urls=json.dumps(list(urls)),
                silence=silence,
            )
        )

    def wait_ready(self) -> None:
        """Until it lets clients in.

        Raises:
            RuntimeError: it does not.
        """
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return answers(self.port)
            except (OSError, EOFError) as error:
                assert self.process is not None
                if self.process.poll() is not None or time.monotonic() > deadline:
                    log = (self.directory / f"{self.name}.log").read_text()[-2000:]
                    raise RuntimeError(f"broker {self.name} did not start: {log}") from error
                time.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Harmless when repeated."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass
class Trio:
    """Three brokers that are one cluster.

    Attributes:
        brokers: them, by name.
        servers: the process ids of the NATS servers.
    """

    brokers: dict[str, Broker]
    servers: Sequence[int]
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _groups: GroupMap = field(default_factory=GroupMap)

    def owners(self) -> list[str]:
        """Who owns each group, by its number."""
        some = next(broker for broker in self.brokers.values() if broker.process is not None)
        url = f"stomp://127.0.0.1:{some.port}"
        command = [sys.executable, "-m", "stompy_broker", "cluster", "status", "--json"]
        done = subprocess.run([*command, "--url", url], stdout=subprocess.PIPE, check=False)
        owners = [""] * HASHED_GROUPS
        for group in json.loads(done.stdout)["groups"]:
            owners[group["number"]] = group["owner"]
        return owners

    def settled(self) -> list[str]:
        """The same, once no group has moved for a while, and all have an owner."""
        deadline = time.monotonic() + START_SECONDS
        since, before = time.monotonic(), self.owners()
        while time.monotonic() < deadline:
            time.sleep(0.5)
            owners = self.owners()
            if owners != before or "" in owners:
                since, before = time.monotonic(), owners
            elif time.monotonic() - since > _STEADY_SECONDS:
                break
        return before

    def queue_of(self, owner: str, owners: Sequence[str]) -> str:
        """The destination of a queue that nobody has used, and that this broker owns."""
        return next(
            f"/queue/{name}"
            for name in map("bench.{}".format, self._numbers)
            if owners[self._groups.of(name)] == owner
        )

    def roles(self, queue: str, owners: Sequence[str]) -> tuple[Broker, Broker, Broker]:
        """The owner of a queue, and the others."""
        owner = owners[self._groups.of(queue.removeprefix("/queue/"))]
        one, other = (self.brokers[name] for name in self.brokers if name != owner)
        return self.brokers[owner], one, other


def _listens(port: int) -> Callable[[], None]:
    return lambda: socket.create_connection(("127.0.0.1", port), 1).close()


@contextmanager
def nats_servers(directory: Path) -> Iterator[tuple[list[str], list[int]]]:
    """Three servers that are one cluster and always sync; gives URLs and process ids."""
    ports, routes = ([free_port() for _ in NAMES] for _ in range(2))
    pids = []
    with ExitStack() as stack:
        for number, (port, route) in enumerate(zip(ports, routes, strict=True)):
            place = directory / f"nats-{number}"
            place.mkdir()
            settings = ServerSettings(
                f"n{number}",
                place,
                port,
                route_port=route,
                routes=[f"127.0.0.1:{other}" for other in routes],
            )
            config = place / "conf"
            config.write_text(settings.text())
            command = [find_program(), "-c", str(config)]
            pids.append(stack.enter_context(started(command, place, _listens(port))))
        yield [f"nats://127.0.0.1:{port}" for port in ports], pids


@contextmanager
def trio(directory: Path, silence: float = 3.0) -> Iterator[Trio]:
    """Three brokers on three NATS servers.

    Args:
        directory: for all files.
        silence: seconds after which a broker counts as dead.
    """
    secret = directory / "secret"
    write_secret(secret)
    with nats_servers(directory) as (urls, pids):
        brokers = {name: Broker(name, free_port(), directory) for name in NAMES}
        try:
            for broker in brokers.values():
                broker.configure(secret, urls, silence)
                broker.start()
            for broker in brokers.values():
                broker.wait_ready()
            yield Trio(brokers, pids)
        finally:
            for broker in brokers.values():
                broker.end()


def nats_program() -> str:
    """Which nats-server is run, in words."""
    done = subprocess.run(
        [find_program(), "--version"], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


def load_average() -> float:
    """Of the last minute, to be told beside what was measured."""
    return os.getloadavg()[0]
