"""Which server is next, and how an address is written."""

from __future__ import annotations

import pytest

from stompy_broker.cluster.nats.codec import NATSLogin
from stompy_broker.cluster.nats.server_list import ServerAddress, ServerList

A, B = ServerAddress("a"), ServerAddress("b", 5)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("nats://a", A),
        ("a", A),
        ("b:5", B),
        ("tls://a:7/", ServerAddress("a", 7, tls=True)),
        ("nats://[::1]:7", ServerAddress("::1", 7)),
        ("nats://ann:p%40ss@a", ServerAddress("a", login=NATSLogin("ann", "p@ss"))),
        ("nats://t0k@a", ServerAddress("a", login=NATSLogin(token="t0k"))),
    ],
)
def test_an_address_is_read(text: str, address: ServerAddress):
    assert ServerAddress.parse(text) == address


@pytest.mark.parametrize(
    "text", ["", "http://a", "nats://", "nats://a/b", "nats://a?b", "nats://a:x", "nats://a:99999"]
)
def test_what_is_no_address_is_refused_without_its_password(text: str):
    with pytest.raises(ValueError, match=r"."):
        ServerAddress.parse(text)
    with pytest.raises(ValueError, match=r".") as caught:
        ServerAddress.parse("http://ann:secret@a")
    assert "secret" not in str(caught.value)


def test_an_address_is_shown_without_its_password():
    assert str(ServerAddress.parse("nats://ann:secret@[::1]:7")) == "[::1]:7"


def test_servers_are_tried_in_turn_and_after_each_round_there_is_a_longer_pause():
    servers = ServerList([A, B, A])
    tried, pauses = [], []
    for _ in range(16):
        tried.append(servers.next())
        servers.failed()
        pauses.append(servers.pause)
    assert tried == [A, B] * 8
    assert pauses[::2] == [0.0] * 8
    assert pauses[1::2] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    servers.succeeded()
    assert servers.pause == 0.0


def test_after_one_that_was_lost_another_one_is_next():
    servers = ServerList([A, B])
    assert servers.next() == A
    servers.succeeded()
    assert servers.next() == B


def test_servers_are_learned_with_our_login_and_forgotten_again():
    given = ServerAddress("a", tls=True, login=NATSLogin("ann", "x"))
    servers = ServerList([given])
    servers.learn(["a:4222", "c:7", "nonsense:x"])
    assert list(servers) == [given, ServerAddress("c", 7, tls=True, login=given.login)]
    servers.learn([])
    assert list(servers) == [given]


def test_there_must_be_one():
    with pytest.raises(ValueError, match="no NATS server"):
        ServerList([])
