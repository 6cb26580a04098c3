"""Brokers of one cluster, each in a process of its own that can be hurt."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.fault_proxy import FaultProxy
from tests.support.nats import PATIENCE, Server, free_ports

import stompy
from stompy.admin import COMMAND_DESTINATION

_SHOWN = (
    "id",
    "destination",
    "broker",
    "group",
    "ready",
    "unacked",
    "consumers",
    "acked",
    "delivered",
)

SECRET = "a secret of tests that is long enough to be one"


class Member:
    """One broker of a cluster.

    Args:
        name: its id.
        port: where it listens.
        directory: for its files.
        config: its configuration, by section.

    Attributes:
        name: its id.
        port: where it listens.
        environment: of its process, beside what there is.
    """

    def __init__(
        self, name: str, port: int, directory: Path, config: Mapping[str, Mapping[str, object]]
    ) -> None:
        self.name, self.port = name, port
        self.environment: dict[str, str] = {}
        self._directory = directory
        self._file = directory / f"{name}.toml"
        self._file.write_text("\n".join(_toml(config)))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"stomp://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has said."""
        return (self._directory / f"{self.name}.log").read_text()

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Run it, without waiting until it is ready."""
        with (self._directory / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stompy_broker", "--config", str(self._file)],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self.environment},
            )

    def wait_ready(self) -> None:
        """Wait until it says that it is ready."""
        assert self._process is not None
        out = self._process.stdout
        assert out is not None
        deadline, said = time.monotonic() + PATIENCE, b""
        while b"stompy-broker ready" not in said:
            assert time.monotonic() < deadline, f"{self.name} is not ready: {self.log}"
            if select.select([out], [], [], 0.2)[0]:
                piece = os.read(out.fileno(), 65536)
                assert piece, f"{self.name} has ended: {self.log}"
                said += piece

    def ask(self, command: str, **arguments: object) -> dict[str, Any]:
        """Give it a command, and take what it answers."""
        return ask(self.url, command, **arguments)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def freeze(self) -> None:
        """Stop it in its tracks: its connections stay, and it says nothing."""
        self.send(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, as a crash would unless told otherwise. Harmless when repeated."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
            process.wait(PATIENCE)
            assert process.stdout is not None
            process.stdout.close()

    def restart(self) -> None:
        """Start it again, and wait until it is ready."""
        self.start()
        self.wait_ready()

    async def back(self) -> None:
        """Start it again, and wait until it is ready; the event loop goes on meanwhile."""
        await asyncio.to_thread(self.restart)

    async def gone(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it; the event loop goes on meanwhile."""
        await asyncio.to_thread(self.end, number)


class Members:
    """The brokers of one cluster, on NATS servers that run already.

    Args:
        directory: for their files.
        servers: the NATS servers.
        names: of the brokers.
        groups: how many groups of queues there are.
        pins: patterns of queues that are kept together.
        proxied: whether there is a proxy before each broker for the others, and one between each
            broker and each server.
        more: further settings of the section ``cluster``.

    Attributes:
        every: the brokers, by name.
        links: by name of a broker, the proxy by which the others reach it.
        routes: by name of a broker, the proxies by which it reaches the servers.
    """

    def __init__(
        self,
        directory: Path,
        servers: Sequence[Server],
        *,
        names: Iterable[str] = ("ann", "bob", "cas"),
        groups: int = 4,
        pins: Sequence[str] = (),
        proxied: bool = False,
        **more: object,
    ) -> None:
        names = list(names)
        self._stack = ExitStack()
        self.links: dict[str, FaultProxy] = {}
        self.routes: dict[str, list[FaultProxy]] = {}
        secret = directory / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        self.every: dict[str, Member] = {}
        for name, port in zip(names, free_ports(len(names)), strict=True):
            advertised, nats = port, [server.url for server in servers]
            if proxied:
                self.links[name] = FaultProxy(port)
                self.routes[name] = [FaultProxy(server.settings.port) for server in servers]
                advertised = self.links[name].port
                nats = [f"nats://127.0.0.1:{proxy.port}" for proxy in self.routes[name]]
            cluster: dict[str, object] = {
                "name": "tests",
                "id": name,
                "nats": nats,
                "secret_file": str(secret),
                "advertise": f"127.0.0.1:{advertised}",
                "groups": groups,
                "replicas": len(servers),
                "trust_sync": True,
                "silence": 1.0,
                **more,
            }
            if pins:
                cluster["group"] = [{"match": pin} for pin in pins]
            config: dict[str, dict[str, object]] = {
                "listen": {"port": port},
                "cluster": cluster,
                "store": {"data": str(directory / f"{name}-data")},
                "times": {"shutdown": 1.0, "linger": 0.5},
            }
            self.every[name] = Member(name, port, directory, config)

    @property
    def urls(self) -> list[str]:
        """What clients connect to."""
        return [member.url for member in self.every.values()]

    def __getitem__(self, name: str) -> Member:
        return self.every[name]

    def ask(self, command: str, **arguments: object) -> dict[str, Any]:
        """Give a command to the first broker that answers.

        Raises:
            AssertionError: none of them does.
        """
        for member in self.every.values():
            with suppress(stompy.STOMPException):
                return ask(member.url, command, **arguments)
        raise AssertionError("no broker answers")

    def report(self, lines: int = 25) -> str:
        """What each of them has said last, and what it thinks of the queues."""
        told = []
        for member in self.every.values():
            log = "\n".join(member.log.splitlines()[-lines:])
            told.append(f"-- {member.name}, {member.url}\n{log}\n{_queues_at(member)}")
        return "\n".join(told)

    def __enter__(self) -> Members:
        try:
            for proxy in (*self.links.values(), *chain(*self.routes.values())):
                self._stack.enter_context(proxy)
            for member in self.every.values():
                member.start()
            for member in self.every.values():
                member.wait_ready()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        for member in self.every.values():
            member.end()
        self._stack.close()


def ask(url: str, command: str, **arguments: object) -> dict[str, Any]:
    """Give a broker a command, and take what it answers.

    Raises:
        STOMPException: it does not answer.
        AssertionError: it refuses.
    """
    question = json.dumps({"v": 1, "cmd": command, "args": arguments})
    with stompy.connect(url, timeout=5.0) as client:
        answer = json.loads(client.request(COMMAND_DESTINATION, question, timeout=PATIENCE).body)
    assert answer["ok"], answer
    result = answer["result"]
    assert isinstance(result, dict)
    return result


def _queues_at(member: Member) -> str:
    """The queues and subscriptions as a broker shows them, if it answers."""
    told = []
    try:
        for command in ("queue.list", "subscription.list"):
            told += [
                " ".join(f"{name}={row[name]}" for name in _SHOWN if name in row)
                for row in ask(member.url, command)["rows"]
            ]
    except (stompy.STOMPException, AssertionError) as error:
        told.append(f"no answer: {error}")
    return "\n".join(told)


def _toml(config: Mapping[str, Mapping[str, object]]) -> Iterable[str]:
    for section, settings in config.items():
        yield f"[{section}]"
        tables = {}
        for name, value in settings.items():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                tables[name] = value
            else:
                yield f"{name} = {json.dumps(value)}"
        for name, rows in tables.items():
            for row in rows:
                yield f"[[{section}.{name}]]"
                for key, value in row.items():
                    yield f"{key} = {json.dumps(value)}"
