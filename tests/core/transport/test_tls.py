"""The client over TLS: verified unless told otherwise, and clear words when that fails."""

from __future__ import annotations

import logging
import ssl
import threading
from contextlib import suppress

import pytest
from tests.support.scripted_server import Peer, ScriptedServer, obedient
from tests.support.secure import (
    ca_file,
    certificate,
    client_context,
    key_and_cert_file,
    server_context,
)

import stompy
from stompy.transport.layers import LayerError
from stompy.transport.tls import TLSLayer, _failure, as_options


def tls_server(*scripts, context: ssl.SSLContext | None = None) -> ScriptedServer:
    """A server that speaks TLS. A handshake that fails is the client's affair."""
    wanted = context or server_context()
    return ScriptedServer(*scripts, dress=lambda raw: wanted.wrap_socket(raw, server_side=True))


def refusing_server(context: ssl.SSLContext | None = None) -> ScriptedServer:
    wanted = context or server_context()

    def script(peer: Peer) -> None:
        with suppress(OSError), wanted.wrap_socket(peer.connection, server_side=True) as secured:
            while secured.recv(4096):
                pass

    return ScriptedServer(script)


def url(server: ScriptedServer, host: str = "127.0.0.1", scheme: str = "stomps") -> str:
    return f"{scheme}://{host}:{server.address[1]}"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_messages_go_both_ways(version):
    body = bytes(range(256)) * 4096  # many records each way

    def echo(peer: Peer) -> None:
        peer.welcome()
        for frame in peer.serve():
            if frame.command == "SEND":
                head = "MESSAGE\nsubscription:s1\nmessage-id:m\ndestination:/queue/q\n"
                peer.write(f"{head}content-length:{len(frame.body)}\n\n".encode())
                peer.write(frame.body + b"\0")

    context = client_context()
    context.minimum_version = context.maximum_version = version
    with tls_server(echo) as server, stompy.connect(url(server), tls=context) as client:
        client.subscribe("/queue/q", id="s1")
        for _ in range(3):
            client.message("/queue/q", body)
            assert client.recv(timeout=10).Body == body


def test_a_tuple_with_options_means_tls(tmp_path):
    options = stompy.TLS(ca_file=ca_file(tmp_path))
    with tls_server(obedient) as server, stompy.connect(server.address, tls=options) as client:
        assert client.is_connected


def test_options_for_tls_are_not_ignored():
    with pytest.raises(ValueError, match="without TLS"):
        stompy.connect("stomp://127.0.0.1:1", tls=stompy.TLS())


def test_many_threads_send_while_one_receives():
    count, threads = 200, 4

    def script(peer: Peer) -> None:
        peer.welcome()
        seen = 0
        for frame in peer.serve():
            if frame.command == "SEND":
                seen += 1
                peer.message(seen, body="x" * 1000)
        assert seen == count * threads

    with tls_server(script) as server, stompy.connect(url(server), tls=client_context()) as client:
        client.subscribe("/queue/q", id="s1")

        def produce() -> None:
            for _ in range(count):
                client.message("/queue/q", b"y" * 3000)

        producers = [threading.Thread(target=produce) for _ in range(threads)]
        for producer in producers:
            producer.start()
        got = [client.recv(timeout=10).Body for _ in range(count * threads)]
        for producer in producers:
            producer.join()
    assert got == [b"x" * 1000] * (count * threads)


# -- what is not trusted -----------------------------------------------------------------------


def test_an_unknown_authority_is_fatal_and_says_what_to_do():
    with refusing_server() as server, ScriptedServer() as never_asked:
        with pytest.raises(stompy.STOMPCertificateError) as caught:
            stompy.connect([url(server), never_asked.url])
    text = str(caught.value)
    assert url(server) in text
    assert "TLS(ca_file=" in text
    assert isinstance(caught.value, ConnectionError)


def test_a_certificate_for_another_name_is_fatal():
    with refusing_server(server_context("other.example")) as server:
        with pytest.raises(stompy.STOMPCertificateError, match="server_hostname"):
            stompy.connect(url(server), tls=client_context())


def test_the_expected_name_may_be_given(tmp_path):
    options = stompy.TLS(ca_file=ca_file(tmp_path), server_hostname="other.example")
    with tls_server(obedient, context=server_context("other.example")) as server:
        stompy.connect(url(server), tls=options).disconnect()


def test_insecure_is_loud(caplog):
    with tls_server(obedient) as server, caplog.at_level(logging.WARNING, "stompy"):
        stompy.connect(url(server), tls=stompy.TLS(insecure=True)).disconnect()
    assert "NOT verified" in caplog.text


def test_a_port_without_tls():
    def plain(peer: Peer) -> None:
        peer.connection.recv(4096)
        peer.write("ERROR\nmessage:what?\n\n^@")

    with ScriptedServer(plain) as server:
        with pytest.raises(
            stompy.STOMPConnectionError, match=r"\(TLS: what answers there does not speak TLS\)"
        ):
            stompy.connect(url(server))


def test_a_silent_port_costs_one_timeout():
    def silent(peer: Peer) -> None:
        peer.until_closed()

    with ScriptedServer(silent) as server:
        with pytest.raises(
            stompy.STOMPConnectionError, match=r"\(TLS: no answer within the time-out\)"
        ):
            stompy.connect(url(server), timeout=1.0)


def test_a_port_that_closes():
    def script(peer: Peer) -> None:
        peer.connection.recv(4096)

    with ScriptedServer(script) as server:
        with pytest.raises(stompy.STOMPConnectionError, match=r"\(TLS: .*(closed|reset)"):
            stompy.connect(url(server))


# -- our own certificate -----------------------------------------------------------------------


def test_a_broker_may_ask_for_a_certificate(tmp_path):
    ours = key_and_cert_file(tmp_path, certificate("ann@example.org"), "ann")
    options = stompy.TLS(ca_file=ca_file(tmp_path), cert_file=ours)
    with tls_server(obedient, context=server_context(client_ca="test")) as server:
        stompy.connect(url(server), tls=options).disconnect()


@pytest.mark.parametrize("ours", [None, "other"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_without_one_or_with_a_wrong_one(tmp_path, ours, version):
    theirs = server_context(client_ca="test")
    theirs.maximum_version = version
    cert = None
    if ours is not None:
        cert = key_and_cert_file(tmp_path, certificate("eve@example.org", ca=ours), "eve")
    options = stompy.TLS(ca_file=ca_file(tmp_path), cert_file=cert)
    with refusing_server(theirs) as server:
        with pytest.raises(stompy.STOMPConnectionError) as caught:
            stompy.connect(url(server), tls=options)
    if version is ssl.TLSVersion.TLSv1_3:
        assert isinstance(caught.value, stompy.STOMPCertificateError)
        assert ("cert_file=" if ours is None else "does not accept") in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (stompy.TLS(ca_file="/no/such/file"), "ca_file '/no/such/file'"),
        (stompy.TLS(cert_file="/no/such/file"), "cert_file '/no/such/file'"),
        (stompy.TLS(key_file="k"), "cert_file="),
        (stompy.TLS(insecure=True, ca_file="x"), "no use"),
    ],
)
def test_settings_that_cannot_be(options, words):
    with pytest.raises(ValueError, match=words):
        options.context()


def test_a_password_is_not_shown():
    assert "s3cret" not in repr(stompy.TLS(key_password="s3cret"))


# -- the layer ---------------------------------------------------------------------------------


@pytest.fixture
def ends() -> tuple[TLSLayer, TLSLayer]:
    return (
        TLSLayer(client_context(), server_hostname="localhost"),
        TLSLayer(server_context(), server_side=True),
    )


def carry(source: TLSLayer, target: TLSLayer, data: bytes, step: int) -> bytes:
    return b"".join(target.receive(data[at : at + step]) for at in range(0, len(data), step))


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_the_layer_takes_bytes_however_they_come(ends, step):
    client, server = ends
    while not (client.ready and server.ready):
        carry(client, server, client.take(), step)
        carry(server, client, server.take(), step)
    assert carry(client, server, client.send(b"ping" * 9000), step) == b"ping" * 9000
    assert carry(server, client, server.send(b"pong"), step) == b"pong"
    assert not client.ended
    server.close()
    assert carry(server, client, server.take(), step) == b""
    assert client.ended


def test_bytes_that_were_changed_on_the_way(ends):
    client, server = ends
    while not (client.ready and server.ready):
        server.receive(client.take())
        client.receive(server.take())
    record = bytearray(client.send(b"transfer 100"))
    record[-1] ^= 1
    with pytest.raises(LayerError, match=r"mac|decrypt"):
        server.receive(bytes(record))


def test_what_a_certificate_error_advises_on_a_command_line():
    error = ssl.SSLCertVerificationError()
    error.reason = "CERTIFICATE_VERIFY_FAILED"
    error.verify_message = "self-signed certificate"
    advice = as_options(str(_failure(error)))
    assert "as --ca-file, or the name in it as --server-hostname" in advice
    assert "TLS(" not in advice
