"""Brokers that misbehave end in an exception of the library, soon, and leave nothing behind."""

from __future__ import annotations

from contextlib import suppress

import pytest
from tests.support.scripted_server import Peer, ScriptedServer
from tests.support.wire import until

import stompy

MIB = 1024 * 1024
OK = b"CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0"
MESSAGE = b"MESSAGE\nsubscription:s1\nmessage-id:1\ndestination:/queue/a\n"

ANSWERS = {
    "nothing": (b"", "closed the connection|without an answer"),
    "headers without end": (b"CONNECTED\n" + b"h:v\n" * MIB, "over the limit"),
    "a header line without end": (b"CONNECTED\nversion:" + b"v" * 4 * MIB, "over the limit"),
    "a command without end": (b"A" * MIB, "over the limit"),
    "a version that was not offered": (OK.replace(b"1.2", b"2.0"), "chose version '2.0'"),
    "versions": (OK.replace(b"1.2", b"1.2,1.1"), "chose version"),
    "no end": (OK[:-1], "answer|closed the connection"),
    "HTTP": (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nno\n", "an HTTP server"),
    "TLS": (b"\x15\x03\x01\x00\x02\x02\x28", "a TLS port"),
    "a refusal": (b"ERROR\nmessage:go away\n\nno\0", "go away"),
    "another frame": (MESSAGE + b"\n\0", "answered CONNECT with 'MESSAGE'"),
    "heart-beats that are none": (OK.replace(b"0,0", b"1,2,3"), "two numbers|heart-beat"),
}

CONVERSATIONS = {
    "an undefined escape": (MESSAGE + b"a:\\x\n\nhi\0", "escape|x"),
    "a line without colon": (MESSAGE + b"nonsense\n\nhi\0", "is not a header line"),
    "a length without end": (MESSAGE + b"content-length:" + b"9" * 5000 + b"\n\nx\0", "length"),
    "two GiB": (MESSAGE + b"content-length:2147483648\n\n" + b"z" * MIB, "limits=stompy.Limits"),
    "a length that is wrong": (MESSAGE + b"content-length:1\n\nxx\0", "NUL"),
    "headers without number": (MESSAGE + b"h:v\n" * MIB, "limits=stompy.Limits"),
    "an ERROR, and no end": (b"ERROR\nmessage:no more\n\n\0", "no more"),
    "an end": (b"", "closed the connection"),
}

HARMLESS = {
    "CONNECTED again": OK,
    "an unknown frame": b"FROBNICATE\n\n\0",
    "receipts that nobody asked for": b"".join(
        b"RECEIPT\nreceipt-id:u%d\n\n\0" % number for number in range(10_000)
    ),
    "messages for nobody": (MESSAGE.replace(b"s1", b"nope") + b"\nx\0") * 1000,
    "line ends": b"\n" * MIB,
    "octets that are no text": MESSAGE + b"a:\xff\xfe\n\nhi\0",
    "octets and escapes": MESSAGE + b"a:\xff\\n\n\nhi\0",
}


@pytest.mark.parametrize(("answer", "words"), ANSWERS.values(), ids=ANSWERS)
def test_what_is_no_answer_to_connect(make, answer, words):
    def script(peer: Peer) -> None:
        peer.expect("CONNECT")
        with suppress(OSError):
            peer.write(answer)
            if answer != OK[:-1] and answer:
                peer.until_closed()

    client = make()
    with ScriptedServer(script) as server:
        with pytest.raises(stompy.STOMPError, match=words):
            client.connect(server.url, timeout=30)
        assert not client.health().ok


@pytest.mark.parametrize(("nonsense", "words"), CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_what_breaks_a_conversation(make, nonsense, words):
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SUBSCRIBE"))
        with suppress(OSError):
            peer.write(nonsense)
            if nonsense:
                peer.until_closed()

    client = make()
    with ScriptedServer(script) as server:
        client.connect(server.url)
        subscription = client.subscription("/queue/a", id="s1")
        with pytest.raises(stompy.STOMPError, match=words):
            subscription.get()
        until(lambda: not client.health().ok, "the end")
        with pytest.raises(stompy.STOMPConnectionError, match=words):
            client.message("/queue/a", "x", confirm=True)


@pytest.mark.parametrize("nonsense", HARMLESS.values(), ids=HARMLESS)
def test_what_is_odd_and_does_no_harm(make, nonsense):
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SUBSCRIBE"))
        peer.write(nonsense)
        peer.message(2, "s1", "good")
        for _ in peer.serve():
            pass

    client = make()
    with ScriptedServer(script) as server:
        client.connect(server.url)
        subscription = client.subscription("/queue/a", ack_mode="auto", id="s1")
        while subscription.get().Body != b"good":
            pass
        assert client.message("/queue/a", "x", confirm=True)
        client.disconnect()
