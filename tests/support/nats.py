"""NATS servers for tests: one for each process of tests, and clusters of three that can be hurt."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from stompy_broker.cluster.log.log import StreamLog, open_logs
from stompy_broker.cluster.nats.client import NATSSettings
from stompy_broker.cluster.nats.jetstream import JetStream
from stompy_broker.cluster.nats.program import find_program
from stompy_broker.cluster.nats.server import ServerSettings
from stompy_broker.cluster.nats.server_list import ServerAddress

PATIENCE = 60.0
"""Seconds after which a server that should have done something counts as stuck."""


class Server:
    """A nats-server that runs until it is stopped.

    Args:
        settings: how; its port is given.

    Attributes:
        text: its configuration.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.text = settings.text()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What clients connect to."""
        login = f"stompy:{self.settings.password}@" if self.settings.password else ""
        return f"nats://{login}127.0.0.1:{self.settings.port}"

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.settings.directory / "log").read_text()

    def start(self) -> None:
        """Run it, and wait until clients can connect."""
        directory = self.settings.directory
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "conf"
        config.write_text(self.text)
        with (directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [find_program(), "-c", str(config)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            try:
                socket.create_connection(("127.0.0.1", self.settings.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return

    async def back(self) -> None:
        """Start it again; the event loop goes on meanwhile."""
        await asyncio.to_thread(self.start)

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    def freeze(self) -> None:
        """Stop it in its tracks: its connections stay, and it says nothing."""
        self.send(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, as a crash would unless told otherwise. Harmless when repeated."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
            process.wait(PATIENCE)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def alone(directory: Path, **settings: object) -> Server:
    """A server that is alone; not started."""
    (port,) = free_ports(1)
    return Server(ServerSettings(f"alone-{port}", directory, port, **settings))  # type: ignore[arg-type]


class Trio:
    """Three servers that are one cluster.

    Args:
        directory: where they keep everything.
        password: see `ServerSettings`.
        max_storage: see `ServerSettings`.
    """

    def __init__(self, directory: Path, *, password: str = "", max_storage: int = 0) -> None:
        ports, routes = free_ports(3), free_ports(3)
        self.servers = [
            Server(
                ServerSettings(
                    f"n{number}",
                    directory / f"n{number}",
                    ports[number],
                    route_port=routes[number],
                    routes=[f"127.0.0.1:{route}" for route in routes],
                    password=password,
                    max_storage=max_storage,
                )
            )
            for number in range(3)
        ]

    def __enter__(self) -> Trio:
        for server in self.servers:
            server.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.end()

    def named(self, name: str) -> Server:
        """One of them."""
        return next(server for server in self.servers if server.settings.name == name)

    @property
    def urls(self) -> list[str]:
        """What clients connect to."""
        return [server.url for server in self.servers]


@cache
def house_server() -> Server:
    """The one server of this process of tests; `end_house_server` ends it."""
    directory = Path(tempfile.mkdtemp(prefix="stompy-nats-"))
    server = alone(directory)
    server.start()
    return server


def end_house_server() -> None:
    """End the server if there is one."""
    if house_server.cache_info().currsize:
        server = house_server()
        server.end()
        shutil.rmtree(server.settings.directory)
        house_server.cache_clear()


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    """Stop a server in its tracks for a while: its connections stay, and it says nothing."""
    server.freeze()
    try:
        yield
    finally:
        server.send(signal.SIGCONT)


def settings_for(*urls: str) -> NATSSettings:
    """How a client connects, a little less patient than usual about silence."""
    return NATSSettings(tuple(map(ServerAddress.parse, urls)))


async def open_log(
    jetstream: JetStream, cluster: str, group: int = 0, *, replicas: int = 3
) -> StreamLog:
    """Open the log of one group.

    Raises:
        LogError: it cannot be used.
    """
    return (await open_logs(jetstream, cluster, [str(group)], replicas=replicas))[0]
