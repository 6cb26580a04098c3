"""Connecting from an event loop, and every way in which that can fail; all within the time-out."""

import asyncio
import socket
import ssl
import threading
from contextlib import suppress

import pytest
from tests.support.looping import run
from tests.support.scripted_server import Peer, ScriptedServer, obedient
from tests.support.secure import (
    WebSocketEnd,
    client_context,
    server_context,
)

import stompy
from stompy import aio
from stompy.errors import (
    ConnectionImpossible,
    STOMPCertificateError,
    STOMPConnectionError,
    STOMPError,
)
from stompy.transport import lookup, streams


def dead_address() -> tuple[str, int]:
    with ScriptedServer() as closed:
        return closed.address


def fails(address, kind: type[STOMPError] = STOMPConnectionError, **options) -> str:
    """What the exception says with which connecting ends."""
    words = []

    async def main() -> None:
        with pytest.raises(kind) as caught:
            await aio.connect(address, **options)
        words.append(str(caught.value))

    run(main)
    return words[0]


@pytest.fixture
def names(monkeypatch):
    """Host names and what they stand for."""
    known: dict[str, list[tuple[str, int]]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host, port, **options):
        if host not in known:
            return real(host, port, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place) for place in known[host]]

    monkeypatch.setattr(lookup.socket, "getaddrinfo", getaddrinfo)
    return known


def test_all_addresses_are_tried_in_order_and_named():
    first, second = dead_address(), dead_address()

    def silent(peer: Peer) -> None:
        peer.expect("CONNECT")

    with ScriptedServer(silent) as server:
        text = fails([first, server.address, f"stomp://me:s3cret@127.0.0.1:{second[1]}"])
    places = [f"127.0.0.1:{port}" for port in (first[1], server.address[1], second[1])]
    assert [text.index(place) for place in places] == sorted(text.index(p) for p in places)
    assert "(handshake: the broker closed the connection)" in text
    assert text.count("TCP: Connection refused") == 2
    assert "s3cret" not in text


def test_the_next_address_is_tried():
    async def main() -> None:
        async with aio.connect([dead_address(), server.address]) as client:
            assert client.broker_address == server.address

    with ScriptedServer(obedient) as server:
        run(main)


def test_a_name_with_several_places_is_tried_through(names):
    with ScriptedServer(obedient) as server:
        names["broker.test"] = [dead_address(), server.address]

        async def main() -> None:
            async with aio.connect(("broker.test", 61613)) as client:
                assert client.broker_address == ("broker.test", 61613)

        run(main)


def test_an_unknown_name(names):
    names["nowhere.test"] = []
    assert "TCP: the name has no IP address" in fails("stomp://nowhere.test")


def test_a_look_up_that_hangs_costs_the_timeout_and_nothing_at_the_end(monkeypatch):
    release = threading.Event()

    def hang(*_, **__):
        release.wait(10)
        raise OSError("too late")

    monkeypatch.setattr(lookup.socket, "getaddrinfo", hang)
    # `asyncio.run` waits for its executor; that this ends shows that it was not used.
    assert "DNS: no answer within the time-out" in fails("stomp://slow.test", timeout=0.1)
    release.set()


def test_an_address_that_swallows_packets_leaves_time_for_the_next(monkeypatch, names):
    with ScriptedServer(obedient) as server:
        names["broker.test"] = [("127.0.0.1", 1), server.address]
        real = streams._connect

        async def connect(place):
            if place.address[1] == 1:
                await asyncio.Event().wait()
            return await real(place)

        monkeypatch.setattr(streams, "_connect", connect)

        async def main() -> None:
            async with aio.connect("stomp://broker.test", timeout=1.0):
                pass

        run(main)


def test_a_silent_server_costs_one_timeout():
    def silent(peer: Peer) -> None:
        peer.until_closed()

    with ScriptedServer(silent) as server:
        assert "(handshake: no answer within the time-out)" in fails(server.address, timeout=0.5)


def test_who_is_no_stomp_broker_is_named():
    def http(peer: Peer) -> None:
        peer.write("HTTP/1.1 400 Bad Request\r\n\r\n")

    with ScriptedServer(http) as server:
        assert "this is no STOMP broker but an HTTP server" in fails(server.address)


def test_a_refusal_is_final_but_a_full_broker_is_not():
    def refuses(peer: Peer) -> None:
        peer.expect("CONNECT")
        peer.write("ERROR\nmessage:wrong passcode\n\n^@")

    def full(peer: Peer) -> None:
        peer.expect("CONNECT")
        peer.write("ERROR\nmessage:full\nerror-code:limit-exceeded\n\n^@")

    with ScriptedServer(refuses) as first, ScriptedServer() as second:
        assert fails([first.address, second.address], STOMPError) == "wrong passcode"

    async def main() -> None:
        async with aio.connect([first.address, second.address]):
            pass

    with ScriptedServer(full) as first, ScriptedServer(obedient) as second:
        run(main)


def test_no_common_version_is_hopeless():
    def old(peer: Peer) -> None:
        peer.expect("CONNECT")
        peer.write("CONNECTED\nversion:1.1\n\n^@")
        peer.until_closed()

    with ScriptedServer(old) as server:
        text = fails(server.address, ConnectionImpossible, versions=["1.2"])
    assert "the server chose version '1.1', which was not offered" in text


# -- TLS and WebSocket -----------------------------------------------------------------------------


def tls(connection: socket.socket) -> socket.socket:
    return server_context().wrap_socket(connection, server_side=True)


def round_trip(url: str, server: ScriptedServer, **options) -> None:
    body = bytes(range(256)) * 2000

    async def main() -> None:
        async with aio.connect(f"{url}://127.0.0.1:{server.address[1]}", **options) as client:
            for _ in range(4):
                await client.message("/queue/q", body)
            for _ in range(4):
                frame = await client.recv(10)
                assert frame.Body == body

    run(main)


def echo(peer: Peer) -> None:
    peer.welcome()
    for frame in peer.serve():
        if frame.command == "SEND":
            head = f"MESSAGE\nsubscription:s\nmessage-id:m\ncontent-length:{len(frame.body)}\n\n"
            peer.write(head.encode() + frame.body + b"\0")


@pytest.mark.parametrize("scheme", ["stomps", "ws", "wss"])
def test_messages_go_both_ways(scheme):
    def dress(connection: socket.socket) -> socket.socket:
        if scheme != "ws":
            connection = tls(connection)
        return connection if scheme == "stomps" else WebSocketEnd.dress(connection)

    options = {} if scheme == "ws" else {"tls": client_context()}
    with ScriptedServer(echo, dress=dress) as server:
        round_trip(scheme, server, **options)


def refusing_server(context: ssl.SSLContext) -> ScriptedServer:
    """It speaks TLS with a client that hangs up, or that it hangs up on."""

    def script(peer: Peer) -> None:
        with suppress(OSError), context.wrap_socket(peer.connection, server_side=True) as secured:
            while secured.recv(4096):
                pass

    return ScriptedServer(script)


def test_an_unknown_authority_is_fatal_and_says_what_to_do():
    with refusing_server(server_context()) as server, ScriptedServer() as never_asked:
        url = f"stomps://127.0.0.1:{server.address[1]}"
        text = fails([url, never_asked.url], STOMPCertificateError)
    assert "TLS: the certificate is not trusted" in text
    assert "TLS(ca_file=" in text


def test_a_port_without_tls_and_one_that_is_silent():
    def talks(peer: Peer) -> None:
        peer.write("this is no TLS at all, and long enough to be sure\n")
        peer.until_closed()

    def silent(peer: Peer) -> None:
        peer.until_closed()

    with ScriptedServer(talks, silent) as server:
        url = f"stomps://127.0.0.1:{server.address[1]}"
        assert "TLS: what answers there does not speak TLS" in fails(url)
        assert "(TLS: no answer within the time-out)" in fails(url, timeout=0.5)


def test_no_websocket_there():
    def http(peer: Peer) -> None:
        peer.connection.recv(65536)
        peer.write("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        peer.until_closed()

    with ScriptedServer(http) as server:
        assert "404" in fails(f"ws://127.0.0.1:{server.address[1]}/nope")


def test_a_certificate_of_ours_that_is_wanted_is_named():
    with refusing_server(server_context(client_ca="test")) as server:
        url = f"stomps://127.0.0.1:{server.address[1]}"
        text = fails(url, STOMPCertificateError, tls=client_context())
    assert "wants a certificate of ours" in text


def test_options_for_tls_are_not_ignored():
    async def main() -> None:
        with pytest.raises(ValueError, match="without TLS"):
            await aio.connect("stomp://127.0.0.1", tls=stompy.TLS())

    run(main)
