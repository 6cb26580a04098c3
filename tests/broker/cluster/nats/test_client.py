"""A client and real servers: what is asked, what is lost, and what is known about it."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.looping import run, soon
from tests.support.nats import alone, house_server, settings_for, stopped
from tests.support.secure import authority, certificate

from stompy_broker.cluster.nats.client import (
    InDoubt,
    NATSClient,
    NATSListener,
    NATSSettings,
    Outcome,
    Unheard,
    _Connection,
)
from stompy_broker.cluster.nats.codec import NATSError, NATSMessage, ServerInfo

PATIENCE = 30.0


@asynccontextmanager
async def connected(*urls: str, **settings: Any):
    client = NATSClient(replace(settings_for(*(urls or [house_server().url])), **settings))
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def serve(client: NATSClient, subject: str, answer: Callable[[bytes], bytes]) -> None:
    """Answer requests to a subject."""

    def deliver(message: NATSMessage) -> None:
        client.publish(message.reply, answer(message.body), headers={"Kind": "answer"})

    client.subscribe(subject, deliver)


def asked(client: NATSClient, subject: str, **options: float) -> list[Outcome]:
    """The outcome of a request, when there is one."""
    outcomes: list[Outcome] = []
    client.request(subject, b"", outcomes.append, **options)
    assert outcomes == []
    return outcomes


def test_requests_are_answered_each_with_its_own():
    async def main() -> None:
        async with connected() as client, connected() as other:
            await serve(other, "t.upper", bytes.upper)
            await other.ask("$JS.API.INFO")
            messages = await asyncio.gather(*(client.ask("t.upper", b"a%d" % n) for n in range(50)))
            assert [message.body for message in messages] == [b"A%d" % n for n in range(50)]
            assert messages[0].headers == {"Kind": "answer"}

    run(main)


def test_large_bodies_go_there_and_back():
    async def main() -> None:
        body = bytes(range(256)) * 20_000
        async with connected() as client:
            await serve(client, "t.echo", bytes)
            assert (await client.ask("t.echo", body)).body == body
            with pytest.raises(ValueError, match="the server takes 8388608"):
                await client.ask("t.echo", bytes(9_000_000))

    run(main)


def test_where_nobody_listens_nobody_has_taken_it():
    async def main() -> None:
        async with connected() as client:
            outcomes = asked(client, "t.nobody")
            await soon(lambda: outcomes)
            assert outcomes == [Unheard("nobody listens there")]
            with pytest.raises(NATSError, match="nobody listens"):
                await client.ask("t.nobody")

    run(main)


def test_what_is_not_answered_in_time_is_in_doubt():
    async def main() -> None:
        async with connected() as client:
            client.subscribe("t.silent", lambda message: None)
            outcomes = asked(client, "t.silent", seconds=0.05)
            await soon(lambda: outcomes)
            assert outcomes == [InDoubt("t.silent: no answer in time")]

    run(main)


def test_an_answer_that_comes_too_late_changes_nothing():
    async def main() -> None:
        async with connected() as client:
            replies: list[str] = []
            client.subscribe("t.late", lambda message: replies.append(message.reply))
            outcomes = asked(client, "t.late", seconds=0.05)
            await soon(lambda: outcomes and replies)
            client.publish(replies[0], b"late")
            await client.ask("$JS.API.INFO")
            assert len(outcomes) == 1

    run(main)


def test_a_subscription_ends():
    async def main() -> None:
        async with connected() as client:
            found: list[bytes] = []
            number = client.subscribe("t.x", lambda message: found.append(message.body))
            client.publish("t.x", b"1")
            await soon(lambda: found)
            client.unsubscribe(number)
            client.unsubscribe(number)
            client.publish("t.x", b"2")
            await client.ask("$JS.API.INFO")
            assert found == [b"1"]

    run(main)


def test_a_fault_in_what_follows_a_message_stops_nothing(caplog: pytest.LogCaptureFixture):
    async def main() -> None:
        async with connected() as client:
            client.subscribe("t.bad", lambda message: 1 / 0)
            client.publish("t.bad", b"")
            await client.ask("$JS.API.INFO")

    run(main)
    assert "fault in what was to follow a message to t.bad" in caplog.text


def test_nothing_is_kept_for_a_connection_to_come(tmp_path: Path):
    async def main() -> None:
        server = alone(tmp_path / "nats")
        server.start()
        lost: list[str] = []
        infos: list[ServerInfo] = []
        client = NATSClient(settings_for(server.url), NATSListener(infos.append, lost.append))
        try:
            await client.start()
            client.subscribe("t.silent", lambda message: None)
            await client.ask("$JS.API.INFO")
            open_ones = asked(client, "t.silent")
            server.end()
            await soon(lambda: lost)
            assert isinstance(open_ones[0], InDoubt)
            later = asked(client, "t.silent")
            assert not client.publish("t.silent", b"")
            await soon(lambda: later)
            assert isinstance(later[0], Unheard)
            server.start()
            await client.connected()
            # Subscriptions are there again.
            await serve(client, "t.echo", bytes)
            assert (await client.ask("t.echo", b"x")).body == b"x"
            again = asked(client, "t.silent", seconds=0.01)
            await soon(lambda: again)
            assert isinstance(again[0], InDoubt)
            assert len(infos) == 2
        finally:
            await client.close()
            server.end()

    run(main)


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path):
    async def main() -> None:
        server = alone(tmp_path / "nats")
        server.start()
        try:
            async with connected(server.url, house_server().url, ping_seconds=0.05) as client:
                client.subscribe("t.silent", lambda message: None)
                await client.ask("$JS.API.INFO")
                before = asked(client, "t.silent", seconds=PATIENCE)
                with stopped(server):
                    after = asked(client, "t.silent", seconds=PATIENCE)
                    await soon(lambda: before and after)
                    assert isinstance(after[0], InDoubt)
                    await client.connected()
                    await client.ask("$JS.API.INFO")
                assert client.info.name == house_server().settings.name
        finally:
            server.end()

    run(main)


def test_a_server_that_is_about_to_stop_is_left(tmp_path: Path):
    async def main() -> None:
        server = alone(tmp_path / "nats")
        server.start()
        try:
            async with connected(server.url, house_server().url) as client:
                client.subscribe("t.silent", lambda message: None)
                await client.ask("$JS.API.INFO")
                outcomes = asked(client, "t.silent", seconds=0.2)
                server.send(signal.SIGUSR2)  # lame duck
                await soon(lambda: outcomes)
                assert outcomes == [InDoubt("t.silent: no answer in time")]
                house = house_server().settings.name
                await soon(lambda: client.info.name == house and not client.trouble)
                await client.ask("$JS.API.INFO")
        finally:
            server.end()

    run(main)


def test_who_may_not_come_in_is_told(tmp_path: Path):
    async def main() -> None:
        server = alone(tmp_path / "nats", password="s3cret")
        server.start()
        try:
            async with connected(server.url) as client:
                await client.ask("$JS.API.INFO")
            address = server.url.rpartition("@")[2]
            with pytest.raises(NATSError, match="Authorization Violation") as caught:
                async with connected(f"nats://stompy:wrong@{address}"):
                    pass
            assert "wrong" not in str(caught.value)
        finally:
            server.end()

    run(main)


def test_where_no_server_is_the_start_says_so():
    async def main() -> None:
        with pytest.raises(NATSError, match=r"no NATS server of 127\.0\.0\.1:1: .*[Cc]onn"):
            async with connected("nats://127.0.0.1:1"):
                pass

    run(main)


def test_with_tls(tmp_path: Path):
    async def main() -> None:
        server = alone(tmp_path / "nats")
        pem = tmp_path / "server.pem"
        pem.write_bytes(certificate("127.0.0.1").cert_chain_pems[0].bytes())
        key = tmp_path / "key.pem"
        key.write_bytes(certificate("127.0.0.1").private_key_pem.bytes())
        text = f'{server.settings.text()}\ntls {{ cert_file: "{pem}", key_file: "{key}" }}\n'
        server.text = text
        server.start()
        context = ssl.create_default_context()
        authority().configure_trust(context)
        try:
            for url in (server.url, server.url.replace("nats:", "tls:")):
                async with connected(url, tls=context) as client:
                    await client.ask("$JS.API.INFO")
            with pytest.raises(NATSError, match="certificate verify failed"):
                async with connected(server.url):
                    pass
            with pytest.raises(NATSError, match="the server has no TLS"):
                async with connected(house_server().url.replace("nats:", "tls:")):
                    pass
        finally:
            server.end()

    run(main)


class Scripted(asyncio.Protocol):
    """Something that says other things than a server would, and then nothing."""

    def __init__(self, said: bytes) -> None:
        self.said = said

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self.said)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.0 400 no\r\n", "none of its lines"),
        (b"INFO {}\r\n-ERR 'no room'\r\n", "no room"),
        (b"", "takes too long"),
    ],
)
def test_what_is_no_server_is_not_waited_for(said: bytes, reason: str):
    async def main() -> None:
        loop, seconds = asyncio.get_running_loop(), PATIENCE if said else 0.1
        server = await loop.create_server(partial(Scripted, said), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            with pytest.raises(NATSError, match=reason):
                async with connected(f"nats://127.0.0.1:{port}", connect_seconds=seconds):
                    pass
        finally:
            server.close()
            await server.wait_closed()

    run(main)


def test_settings_hold_no_secret_that_can_be_seen():
    assert "s3cret" not in repr(NATSSettings(settings_for("nats://a:s3cret@b").servers))


def test_transports_of_another_event_loop_are_taken() -> None:
    """Those of uvloop do not inherit from asyncio's."""

    class Foreign:
        written = b""

        def write(self, data: bytes) -> None:
            self.written += data

    async def main() -> None:
        transport = Foreign()
        connection = _Connection(lambda message: None)
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection.write(b"PING\r\n")
        await soon(lambda: transport.written == b"PING\r\n")

    run(main)
