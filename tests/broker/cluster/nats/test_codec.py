"""NATS' protocol: whole, byte by byte and cut anywhere it gives the same events."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy_broker.cluster.nats.codec import (
    PING,
    PONG,
    Event,
    NATSLogin,
    NATSMessage,
    NATSProtocolError,
    Parser,
    Ping,
    Pong,
    ServerFault,
    ServerInfo,
    connect,
    publish,
    read_headers,
    subscribe,
    unsubscribe,
    write_headers,
)

INFO = b'INFO {"server_name":"n1","version":"2.15.1-beta","max_payload":8388608,"jetstream":true}'

WORDS = st.text("abcXYZ019_$", min_size=1, max_size=8)
SUBJECTS = st.lists(WORDS, min_size=1, max_size=4).map(".".join)
HEADERS = st.dictionaries(WORDS, st.text("aß :*/", max_size=9).map(str.strip), max_size=3)
MESSAGES = st.builds(
    NATSMessage,
    SUBJECTS,
    st.integers(1, 10**9),
    st.one_of(st.just(""), SUBJECTS),
    st.binary(max_size=300),
    st.just(0),
    HEADERS,
)


def from_server(message: NATSMessage) -> bytes:
    """A message as a server writes it."""
    words = [message.subject, str(message.number), *filter(None, [message.reply])]
    line = " ".join(words).encode()
    if not message.headers:
        return b"MSG %b %d\r\n%b\r\n" % (line, len(message.body), message.body)
    head = write_headers(message.headers)
    total = len(head) + len(message.body)
    return b"HMSG %b %d %d\r\n%b%b\r\n" % (line, len(head), total, head, message.body)


WRITTEN = st.one_of(
    MESSAGES.map(lambda message: (from_server(message), message)),
    st.sampled_from(
        [
            (PING, Ping()),
            (PONG, Pong()),
            (b"ping\r\n", Ping()),
            (b"-ERR 'Stale Connection'\r\n", ServerFault("Stale Connection")),
            (b'INFO {"ldm":true} \r\n', ServerInfo(leaving=True)),
        ]
    ),
)


def fed(*pieces: bytes) -> list[Event]:
    parser = Parser()
    return [event for piece in pieces for event in parser.feed(piece)]


@given(st.lists(WRITTEN, max_size=6), st.data())
def test_events_are_the_same_however_bytes_are_cut(
    written: list[tuple[bytes, Event]], data: st.DataObject
):
    octets = b"".join(one for one, _ in written)
    expected = [event for _, event in written]
    assert fed(octets) == expected
    assert fed(*(octets[at : at + 1] for at in range(len(octets)))) == expected
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=8)))
    edges = [0, *cuts, len(octets)]
    assert fed(*(octets[a:b] for a, b in pairwise(edges))) == expected


@given(st.binary(max_size=200))
def test_anything_else_is_refused_or_waited_for(octets: bytes):
    with suppress(NATSProtocolError):
        fed(octets, b"\r\n")


def test_what_a_server_says_about_itself():
    (info,) = fed(INFO + b"\r\n")
    assert info == ServerInfo("n1", (2, 15, 1), 8388608, jetstream=True)


@pytest.mark.parametrize(
    "octets",
    [
        b"INFO [1]\r\n",
        b'INFO {"max_payload":"x"}\r\n',
        b"MSG a 1\r\n",
        b"MSG a one 1\r\n",
        b"MSG a 1 r s 1\r\n",
        b"MSG a 1 -1\r\n",
        b"MSG a 1 99999999999\r\n",
        b"HMSG a 1 9 8\r\n",
        b"MSG a 1 1\r\nabcd",
        b"HMSG a 1 3 3\r\nabc\r\n",
        b"HMSG a 1 14 14\r\nNATS/1.0 xyz\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"x" * (1 << 20) + b"yz",
    ],
    ids=lambda octets: repr(octets[:30]),
)
def test_what_makes_no_sense_is_refused(octets: bytes):
    with pytest.raises(NATSProtocolError):
        fed(octets)


def test_a_status_of_the_server():
    (message,) = fed(b"HMSG in.1 7 16 16\r\nNATS/1.0 503\r\n\r\n\r\n")
    assert isinstance(message, NATSMessage)
    assert (message.status, message.body, message.headers) == (503, b"", {})


def test_a_status_in_words():
    head = b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 3\r\n\r\n"
    assert read_headers(head) == (204, {"Nats-Num-Pending": "3"})


def test_what_is_said_of_one_subject_is_not_fatal():
    assert not ServerFault('Permissions Violation for Publish to "a"').fatal
    assert ServerFault("Authorization Violation").fatal


def test_lines_of_a_client():
    assert publish("a.b", b"xy") == b"PUB a.b 2\r\nxy\r\n"
    assert publish("a", b"", reply="r") == b"PUB a r 0\r\n\r\n"
    with_headers = publish("a", b"xy", reply="r", headers={"K": "v"})
    assert with_headers == b"HPUB a r 18 20\r\nNATS/1.0\r\nK: v\r\n\r\nxy\r\n"
    assert subscribe("_INBOX.*", 4) == b"SUB _INBOX.* 4\r\n"
    assert unsubscribe(4) == b"UNSUB 4\r\n"


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB b 0", "a\tb", "\0"])
def test_a_subject_cannot_tear_its_line(subject: str):
    with pytest.raises(ValueError, match="no subject"):
        publish(subject, b"")
    with pytest.raises(ValueError, match="no subject"):
        publish("a", b"", reply=subject or " ")
    with pytest.raises(ValueError, match="no subject"):
        subscribe(subject, 1)


@pytest.mark.parametrize("header", [("", "v"), ("a:b", "v"), ("a", "v\r\nb: c"), ("a\n", "v")])
def test_a_header_cannot_tear_its_line(header: tuple[str, str]):
    with pytest.raises(ValueError, match="no header"):
        publish("a", b"", headers=dict([header]))


@pytest.mark.parametrize(
    ("login", "told"),
    [
        (NATSLogin(), {}),
        (NATSLogin("ann", "secret"), {"user": "ann", "pass": "secret"}),
        (NATSLogin(token="t"), {"auth_token": "t"}),
    ],
)
def test_how_a_client_introduces_itself(login: NATSLogin, told: dict[str, str]):
    line = connect("log", "1", login, tls=False)
    options = json.loads(line.removeprefix(b"CONNECT "))
    logins = {name: options[name] for name in ("user", "pass", "auth_token") if name in options}
    assert logins == told
    assert options["headers"] is True
    assert options["no_responders"] is True


def test_secrets_are_not_shown():
    assert "secret" not in repr(NATSLogin("ann", "secret", "secret"))
