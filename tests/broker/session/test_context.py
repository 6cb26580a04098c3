"""What the sessions of one broker share. More of it: ``tests/broker/admin/test_topics.py``."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from stompy_broker.session.context import BrokerContext


class Member(BrokerContext):
    """A context that knows nothing but the other brokers."""

    def __init__(self, *others: str) -> None:
        self.peers = lambda: self.others
        self.others: Sequence[str] = others


@pytest.mark.parametrize("scheme", ["stomp", "stomps", "ws", "wss"])
def test_peers_are_named_as_the_client_came(scheme: str) -> None:
    member = Member("10.0.0.2:61613", "[::1]:61613")
    urls = member.peer_urls(f"{scheme}://10.0.0.1:61613")
    assert urls == f"{scheme}://10.0.0.2:61613,{scheme}://[::1]:61613"


def test_an_address_that_is_a_url_is_for_those_who_speak_that() -> None:
    member = Member("stomp://b:61613", "stomps://b:61614", "c:61613")
    assert member.peer_urls("stomps://a:61614") == "stomps://b:61614,stomps://c:61613"
    assert member.peer_urls("stomp://a:61613") == "stomp://b:61613,stomp://c:61613"
    assert member.peer_urls("ws://a:61613") == "ws://c:61613"


def test_nobody_is_named_while_nobody_is_there() -> None:
    assert Member().peer_urls("stomp://a:61613") == ""
    member = Member("b:61613")
    member.peers = None
    assert member.peer_urls("stomp://a:61613") == ""
