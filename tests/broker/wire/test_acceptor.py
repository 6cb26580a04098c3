"""Connections are taken, or turned away with a word, when no file descriptor is left."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket

import pytest
from tests.support.looping import run, soon

from stompy_broker.wire import acceptor as module
from stompy_broker.wire.acceptor import Acceptor, allowed_connections, bind


class Crowded(socket.socket):
    """A listening socket of a process that has no descriptor left but what it gives up."""

    acceptor: Acceptor | None = None
    left = True
    failure = errno.EMFILE

    def accept(self) -> tuple[socket.socket, object]:
        if not self.left and (self.acceptor is None or self.acceptor._spare is not None):
            raise OSError(self.failure, "Too many open files")
        return super().accept()


def crowded() -> Crowded:
    sock = Crowded()
    sock.bind(("127.0.0.1", 0))
    return sock


async def said_to_a_newcomer(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await reader.read()
    finally:
        writer.close()


class Greeting(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"welcome")
        transport.close()


def test_the_last_descriptor_is_for_a_word(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        sock = crowded()
        acceptor = Acceptor([sock], 100, Greeting)
        sock.acceptor = acceptor
        try:
            assert await said_to_a_newcomer(acceptor.port) == b"welcome"
            sock.left = False
            for _ in range(20):
                said = await said_to_a_newcomer(acceptor.port)
                assert said.startswith(b"ERROR\n")
                assert b"\nerror-code:limit-exceeded\n" in said
                assert said.endswith(b"\0\n")
            sock.left = True
            assert await said_to_a_newcomer(acceptor.port) == b"welcome"
        finally:
            acceptor.close()

    run(main)
    lines = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(lines) == 1
    assert not lines[0].exc_info


def test_without_any_it_rests_and_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REST", 0.01)

    async def main() -> None:
        sock = crowded()
        acceptor = Acceptor([sock], 100, Greeting)
        try:
            sock.left = False  # and none to be given up helps
            waits = asyncio.create_task(said_to_a_newcomer(acceptor.port))
            await soon(lambda: acceptor._spare is not None)
            sock.left = True
            assert await waits == b"welcome"
        finally:
            acceptor.close()

    run(main)
    assert not [record for record in caplog.records if record.exc_info]


def test_a_host_with_two_addresses_has_one_port() -> None:
    async def main() -> None:
        sockets = await bind("localhost", 0)
        try:
            assert len({sock.getsockname()[1] for sock in sockets}) == 1
        finally:
            for sock in sockets:
                sock.close()

    run(main)


def test_a_port_in_use_is_an_error() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            with pytest.raises(OSError, match="in use"):
                await bind("127.0.0.1", other.getsockname()[1])

    run(main)


def test_the_limit_of_open_files_is_raised_or_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limits = [256, 1024]
    monkeypatch.setattr(resource, "getrlimit", lambda which: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda which, new: limits.__setitem__(0, new[0]))
    assert allowed_connections(100) == 100
    assert limits == [256, 1024], "there is room already"
    assert allowed_connections(500) == 500
    assert limits == [564, 1024]
    assert not caplog.records
    assert allowed_connections(10_000) == 960
    assert "limits.connections is 10000" in caplog.text
    assert "1024 open files" in caplog.text
