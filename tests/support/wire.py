"""A STOMP peer made of a socket and nothing else, so that a test sees every byte.

It shares no code with the packages under test. Every wait is bounded by `PATIENCE`, and nothing
here sleeps to be right.
"""

from __future__ import annotations

import itertools
import select
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from argon2 import PasswordHasher

import stompy_broker
from stompy_broker import RunningBroker
from stompy_broker.config import BrokerConfig, load_config
from stompy_broker.routing.stats import QueueStats

PATIENCE = 10.0
"""Seconds after which something that should have happened counts as not happening."""

_numbers = itertools.count(1)


def unique(prefix: str = "q") -> str:
    """A name that nobody else uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Look again and again until a condition holds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience} s in vain for {what}"
        time.sleep(0.005)


def stats(broker: RunningBroker, queue: str) -> QueueStats:
    """The counters of a queue."""
    name = queue.removeprefix("/queue/")
    return next(row for row in broker.queues() if row.name == name)


def fast_config(**sections: object) -> BrokerConfig:
    """Settings for a broker on a free port that wastes no time when it stops.

    Args:
        sections: as in the TOML file; they are laid over these settings.
    """
    overrides: dict[str, dict[str, object]] = {
        "listen": {"port": 0},
        "times": {"shutdown": 0.0},
        "store": {"data": ""},
    }
    tables = {name: value for name, value in sections.items() if isinstance(value, Mapping)}
    for name, table in tables.items():
        overrides[name] = overrides.get(name, {}) | dict(table)
    config = load_config(overrides=overrides)
    plain = {name: value for name, value in sections.items() if name not in tables}
    return BrokerConfig.model_validate(config.model_dump() | plain) if plain else config


def cheap_hash(password: str) -> str:
    """A password hash that is quick to check, for tests that are about something else."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)


@contextmanager
def running_broker(**sections: object) -> Iterator[RunningBroker]:
    """A broker with these settings; at its end nobody may be connected any more."""
    with stompy_broker.running(fast_config(**sections)) as broker:
        yield broker
        until(lambda: broker.connections() == 0, "the last client to go")


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it stood on the wire: nothing is unescaped, nothing is trimmed."""

    raw: bytes
    command: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key == name]

    def get(self, name: str) -> str | None:
        """The first value of a header, or None."""
        return next(iter(self.all(name)), None)

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        assert values, f"no header {name!r} in {self.raw!r}"
        return values[0]

    def __contains__(self, name: object) -> bool:
        return any(key == name for key, _ in self.headers)


class Peer:
    """A client of a broker.

    Args:
        port: where the broker listens on loopback.
        receive_buffer: size of the socket's receive buffer; 0 = the system's choice.

    Attributes:
        beats: EOLs that came between frames, beside the one that belongs to each.
        connected: the answer to CONNECT, once it was read.
    """

    ends_lines = True
    """Whether an LF follows each frame: over TCP, not in the messages of a WebSocket."""

    def __init__(self, port: int, *, receive_buffer: int = 0) -> None:
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(("127.0.0.1", port))
        self._buffer = bytearray()
        self._at = 0
        self.beats = 0
        self.connected: Frame | None = None

    @classmethod
    def open(cls, port: int, version: str = "1.2", *headers: str, receive_buffer: int = 0) -> Self:
        """A connected client.

        Args:
            port: where the broker listens on loopback.
            version: the version to ask for.
            headers: further header lines of CONNECT, without line ends.
            receive_buffer: as for the constructor.
        """
        peer = cls(port, receive_buffer=receive_buffer)
        try:
            lines = "".join(f"{line}\n" for line in headers)
            peer.send(f"CONNECT\naccept-version:{version}\nhost:x\n{lines}\n\0")
            peer.connected = peer.expect("CONNECTED")
        except BaseException:
            peer.close()
            raise
        return peer

    # -- writing ----------------------------------------------------------------------------

    def send(self, *parts: str | bytes) -> None:
        """Write octets; text as UTF-8."""
        data = b"".join(p if isinstance(p, bytes) else p.encode() for p in parts)
        self._socket.sendall(data)

    def dribble(self, data: str | bytes) -> None:
        """Write octets one at a time."""
        octets = data if isinstance(data, bytes) else data.encode()
        for octet in octets:
            self._socket.send(bytes((octet,)))

    def stuck_while_sending(self, data: bytes, times: int) -> bool:
        """Write the same octets again and again; say whether the broker stopped taking them.

        Half a second without progress counts as that. What was written last may be incomplete.
        """
        self._socket.settimeout(0.5)
        try:
            for _ in range(times):
                self._socket.sendall(data)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(PATIENCE)
        return False

    def finish(self) -> None:
        """End our direction; the other stays open. Harmless when the broker has closed."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def reset(self) -> None:
        """Close the socket so that the other side sees a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    # -- reading ----------------------------------------------------------------------------

    def read(self) -> Frame:
        """The next frame; EOLs before it are counted and passed over.

        Raises:
            EOFError: the broker closed the connection instead.
            TimeoutError: nothing came in time.
        """
        while True:
            self._skip_eols()
            frame = self._frame()
            if frame is not None:
                return frame
            self._receive()

    def expect(self, command: str) -> Frame:
        """The next frame, which must have this command."""
        frame = self.read()
        assert frame.command == command, frame.raw
        return frame

    def hears(self, seconds: float) -> bool:
        """Whether the broker has something to say, or ends, within that time."""
        if self._at < len(self._buffer):
            return True
        return bool(select.select([self._socket], [], [], seconds)[0])

    def octets(self, count: int) -> bytes:
        """The next octets, whatever they are."""
        while len(self._buffer) - self._at < count:
            self._receive()
        data = bytes(self._buffer[self._at : self._at + count])
        self._at += count
        return data

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        with suppress(EOFError):
            while True:
                self._receive()
        data = bytes(self._buffer[self._at :])
        self._at = len(self._buffer)
        return data

    def expect_eof(self) -> None:
        """The broker closes the connection and has nothing more to say."""
        rest = self.rest().strip(b"\n")
        assert not rest, rest[:500]

    def expect_error(self, code: str, receipt: str | None = None) -> Frame:
        """One well-made ERROR frame, then the end of the connection.

        Args:
            code: what ``error-code`` must be.
            receipt: what ``receipt-id`` must be, as on the wire; None = there must be none.
        """
        error = self.expect("ERROR")
        assert error["error-code"] == code, error.raw
        assert error.get("receipt-id") == receipt, error.raw
        assert error["message"]
        assert error["content-type"] == "text/plain;charset=utf-8"
        assert error["content-length"] == str(len(error.body))
        assert error.body
        assert b"Traceback" not in error.body
        assert b'File "' not in error.body
        self.expect_eof()
        return error

    def sync(self) -> None:
        """All that was sent is processed, and nothing came of it that was not read already."""
        receipt = f"sync-{next(_numbers)}"
        self.send(f"SEND\ndestination:/topic/nobody.listens\nreceipt:{receipt}\n\n\0")
        answer = self.read()
        assert answer.raw == f"RECEIPT\nreceipt-id:{receipt}\n\n\0".encode(), answer.raw

    def bodies(self, count: int) -> list[bytes]:
        """The bodies of the next frames, all of which must be MESSAGEs."""
        return [self.expect("MESSAGE").body for _ in range(count)]

    def _skip_eols(self) -> None:
        buffer = self._buffer
        while self._at < len(buffer) and buffer[self._at] == 10:
            self._at += 1
            self.beats += 1

    def _frame(self) -> Frame | None:
        end = self._buffer.find(b"\n\n", self._at)
        if end < 0:
            return None
        text = self._buffer[self._at : end].decode("utf-8", "surrogateescape")
        command, *lines = text.split("\n")
        headers = []
        for line in lines:
            name, colon, value = line.partition(":")
            assert colon, f"not a header line: {line!r} in {text!r}"
            headers.append((name, value))
        start = end + 2
        length = next((int(value) for name, value in headers if name == "content-length"), None)
        stop = self._buffer.find(b"\0", start) if length is None else start + length
        if stop < 0 or stop + self.ends_lines >= len(self._buffer):
            return None
        assert self._buffer[stop] == 0, f"no NUL after the body of {text!r}"
        raw, body = bytes(self._buffer[self._at : stop + 1]), bytes(self._buffer[start:stop])
        self._at = stop + 1
        if self.ends_lines:
            assert self._buffer[self._at] == 10, f"no LF behind the NUL of {text!r}"
            self._at += 1
        if self._at > 1_000_000:
            del self._buffer[: self._at]
            self._at = 0
        return Frame(raw, command, tuple(headers), body)

    def _receive(self) -> None:
        data = self._socket.recv(262_144)
        if not data:
            left = bytes(self._buffer[self._at :][:500])
            raise EOFError(f"the broker closed the connection; unread: {left!r}")
        self._buffer += data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Pair:
    """A producer and a consumer that mind their own business.

    Args:
        port: where the broker listens on loopback.
    """

    def __init__(self, port: int) -> None:
        self._queue = f"/queue/{unique('healthy')}"
        self._producer = Peer.open(port)
        self._consumer = Peer.open(port)
        self._consumer.send(f"SUBSCRIBE\nid:0\ndestination:{self._queue}\n\n\0")
        self._consumer.sync()

    def exchange(self) -> None:
        """One message goes from one to the other, and nothing else happens to either."""
        text = unique("hello")
        self._producer.send(f"SEND\ndestination:{self._queue}\n\n{text}\0")
        assert self._consumer.expect("MESSAGE").body == text.encode()
        self._producer.sync()
        self._consumer.sync()

    def close(self) -> None:
        """Close both."""
        self._producer.close()
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
