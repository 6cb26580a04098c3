"""Where the other brokers of a cluster are: the header ``peers`` of CONNECTED and of the ERROR by
which a broker sends its clients away (``docs/wire.md``, *Connecting* and *Closing*).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
from tests.support.wire import Peer, fast_config, running_broker

from stompy_broker import RunningBroker, running

OTHERS = ["10.0.0.2:61613", "[::1]:61613"]
URLS = "stomp://10.0.0.2:61613,stomp://[::1]:61613"


def tell(broker: RunningBroker, peers: Callable[[], Sequence[str]]) -> None:
    broker._host.broker._context.peers = peers


@pytest.fixture
def member() -> Iterator[RunningBroker]:
    with running_broker() as broker:
        tell(broker, lambda: OTHERS)
        yield broker


def hello(broker: RunningBroker, version: str) -> tuple[Peer, str | None]:
    peer = Peer(broker.port)
    peer.send(f"CONNECT\naccept-version:{version}\nhost:/\n\n\0")
    return peer, peer.expect("CONNECTED").get("peers")


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_connected_names_them_and_escapes_nothing(member: RunningBroker, version: str):
    peer, peers = hello(member, version)
    peer.close()
    assert peers == URLS


def test_a_broker_without_a_cluster_names_nobody(connect: Callable[..., Peer]):
    peer = connect(None)
    peer.send("CONNECT\naccept-version:1.2\nhost:/\n\n\0")
    assert "peers" not in peer.expect("CONNECTED")


def test_it_is_asked_each_time(member: RunningBroker):
    answers = [[], ["a:1"], ["a:1", "b:2"]]
    tell(member, lambda: answers.pop(0))
    for expected in (None, "stomp://a:1", "stomp://a:1,stomp://b:2"):
        peer, peers = hello(member, "1.2")
        peer.close()
        assert peers == expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.0", URLS),
        ("1.1", URLS.replace(":", r"\c")),
        ("1.2", URLS.replace(":", r"\c")),
    ],
)
def test_who_is_sent_away_is_told_where_to(version: str, expected: str):
    with running(fast_config()) as broker:
        tell(broker, lambda: OTHERS)
        peer, _ = hello(broker, version)
        stranger = Peer(broker.port)
        stranger.send("CONNECT\nacc")
    error = peer.expect_error("shutting-down")
    assert error["peers"] == expected
    # Without a version nothing could be escaped.
    assert b"peers" not in stranger.rest()
    peer.close()
    stranger.close()


def test_other_errors_do_not_send_anybody_away(member: RunningBroker):
    peer, _ = hello(member, "1.2")
    peer.send("COMMIT\ntransaction:none\n\n\0")
    assert "peers" not in peer.expect_error("unknown-transaction")
    peer.close()
