"""A TCP proxy that does to a connection what networks do: cuts it, swallows it, holds it up.

Directions are named from the client: ``up`` to the broker, ``down`` from it. A fault that is to
strike at a certain byte is given beforehand, with `FaultProxy.plan`; one that strikes now is a
method of the `Passage` that it strikes.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType

PATIENCE = 10.0

UP, DOWN = "up", "down"
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Fault:
    """What happens to one connection."""

    cut_after: Mapping[str, int] = field(default_factory=dict)
    """So many bytes of a direction pass, then the connection is cut."""
    swallow: frozenset[str] = frozenset()
    """Directions of which nothing passes; nobody is told."""
    delay: float = 0.0
    """Seconds that each piece is held back."""
    refuse: bool = False
    """The connection is accepted and closed at once, as by a load balancer without a broker."""


class Passage:
    """One connection through the proxy.

    Attributes:
        swallow: directions of which nothing passes from now on.
        passed: how many bytes have passed, by direction.
        swallowed: how many have not.
    """

    def __init__(self, client: socket.socket, broker: socket.socket, fault: Fault) -> None:
        self._ends = {UP: (client, broker), DOWN: (broker, client)}
        self._fault = fault
        self._over = threading.Event()
        self.swallow = set(fault.swallow)
        self.passed = {UP: 0, DOWN: 0}
        self.swallowed = {UP: 0, DOWN: 0}
        self.threads = [
            threading.Thread(target=self._pump, args=(direction,), name=f"proxy {direction}")
            for direction in (UP, DOWN)
        ]

    def start(self) -> None:
        """Let bytes pass."""
        for thread in self.threads:
            thread.start()

    def cut(self) -> None:
        """Reset both sides."""
        self._over.set()
        for end in self._ends[UP]:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def half_open(self) -> None:
        """The broker's side is gone, and the client is not told."""
        self.swallow = {UP, DOWN}
        with suppress(OSError):
            self._ends[UP][1].shutdown(socket.SHUT_RDWR)

    def forsake(self) -> None:
        """The client's side is gone, and the broker is not told: its network has changed."""
        self.swallow = {UP, DOWN}
        with suppress(OSError):
            self._ends[UP][0].shutdown(socket.SHUT_RDWR)

    def _pump(self, direction: str) -> None:
        source, target = self._ends[direction]
        with suppress(OSError):
            while data := source.recv(65536):
                if self._fault.delay:
                    self._over.wait(self._fault.delay)
                if direction in self.swallow:
                    self.swallowed[direction] += len(data)
                    continue
                if self._passes(direction, target, data):
                    return
        if not self.swallow:
            self.cut()

    def _passes(self, direction: str, target: socket.socket, data: bytes) -> bool:
        """Send on what may pass; whether that was the end."""
        limit = self._fault.cut_after.get(direction)
        if limit is not None:
            data = data[: limit - self.passed[direction]]
        target.sendall(data)
        self.passed[direction] += len(data)
        if limit is not None and self.passed[direction] >= limit:
            self.cut()
            return True
        return False

    def end(self) -> None:
        """Close everything."""
        self.cut()
        for thread in self.threads:
            thread.join(PATIENCE)
        for end in self._ends[UP]:
            end.close()


class FaultProxy:
    """Listens on a free port and passes connections on to a broker.

    Attributes:
        port: where it listens.
        target: the port that new connections are passed on to; may be changed.
        passages: all connections that were accepted and not refused, oldest first.
        accepted: how many were accepted.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.passages: list[Passage] = []
        self.accepted = 0
        self._plans: deque[Fault] = deque()
        self._always: Fault | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="proxy")

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"stomp://127.0.0.1:{self.port}"

    def plan(self, *faults: Fault) -> None:
        """What happens to the next connections, one after another; those after them are sound."""
        self._plans.extend(faults)

    def always(self, fault: Fault | None) -> None:
        """What happens to each connection that has no plan, until told otherwise."""
        self._always = fault

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            fault = self._plans.popleft() if self._plans else self._always or Fault()
            if fault.refuse:
                client.close()
                continue
            try:
                broker = socket.create_connection(("127.0.0.1", self.target), PATIENCE)
            except OSError:
                client.close()
                continue
            broker.settimeout(None)
            for end in (client, broker):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            passage = Passage(client, broker, fault)
            self.passages.append(passage)  # before the client can see that it is connected
            passage.start()

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._listener.close()
        for passage in self.passages:
            passage.end()
