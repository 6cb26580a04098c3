"""A broker behind Spring's STOMP relay (the manual, *Behind Spring*), by the frames that it sends.

The *system* connection is the application's own, and there is one more for each browser. Spring
turns ``/user/queue/x`` of a session into ``/queue/x-userSESSION``, and passes frames on as they
are: nothing in them says that the queue belongs to a session.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.wire import Peer, cheap_hash, running_broker, until

from stompy_broker import RunningBroker
from stompy_broker.destinations.policy import Policy

PAGE = Path(__file__).parents[2] / "docs" / "behind-spring.md"
CONNECT = "CONNECT\naccept-version:1.1,1.2\nlogin:guest\npasscode:guest\nheart-beat:10000,10000\n"
BROWSER = (
    "CONNECT\nheart-beat:10000,10000\naccept-version:1.2,1.1,1.0\nlogin:guest\npasscode:guest\n"
)
SYSTEM = ("/topic/unresolved-user-destination", "/topic/simp-user-registry")


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    """A broker with the policies and the user of the manual's page."""
    text = PAGE.read_text("utf-8")
    config = tomllib.loads(text[text.index("```toml\n") + 8 :].partition("```")[0])
    policies = [Policy(**policy) for policy in config["policy"]]
    assert list(config["users"]) == ["guest"]
    with running_broker(users={"guest": cheap_hash("guest")}, policy=policies) as broker:
        yield broker


def connected(port: int, frame: str, host: str = "") -> Peer:
    peer = Peer(port)
    peer.send(f"{frame}{host}\n\0")
    answer = peer.expect("CONNECTED")
    assert answer["version"] == "1.2"
    assert answer["heart-beat"] == "100,100"  # so 10 s is agreed on
    return peer


def names(broker: RunningBroker) -> set[str]:
    return {row.name for row in broker.queues()}


@pytest.mark.parametrize("host", ["", "host:/\n", "host:broker.example.com\n"])
def test_the_system_connection_hears_of_users_elsewhere(broker: RunningBroker, host: str) -> None:
    with connected(broker.port, CONNECT, host) as one, connected(broker.port, CONNECT) as other:
        for number, topic in enumerate(SYSTEM):
            one.send(f"SUBSCRIBE\nid:{number}\ndestination:{topic}\n\n\0")
        one.sync()
        for number, topic in enumerate(SYSTEM):
            other.send(
                f"SEND\ndestination:{topic}\nsimpIgnoreError:true\n"
                "content-type:application/json;charset=UTF-8\ncontent-length:2\n\n{}\0"
            )
            message = one.expect("MESSAGE")
            assert message["subscription"] == str(number)
            assert message["destination"] == topic
            assert message["content-type"] == "application/json;charset=UTF-8"


def test_what_is_for_a_user_comes_to_the_session(broker: RunningBroker) -> None:
    with (
        connected(broker.port, CONNECT) as system,
        connected(broker.port, BROWSER, "host:/\n") as browser,
    ):
        browser.send(
            "SUBSCRIBE\nid:sub-0\ndestination:/queue/errors-user4f2a\n\n\0"
            "SUBSCRIBE\nid:sub-1\ndestination:/topic/prices.*\n\n\0"
        )
        browser.sync()
        system.send(
            "SEND\ndestination:/queue/errors-user4f2a\nsimpOrigDestination:/user/queue/errors\n"
            "content-type:text/plain;charset=UTF-8\ncontent-length:3\n\nbad\0"
        )
        message = browser.expect("MESSAGE")
        assert (message["subscription"], message.body) == ("sub-0", b"bad")
        assert message["simpOrigDestination"] == "/user/queue/errors"
        browser.send("DISCONNECT\nreceipt:close-1\n\n\0")
        assert browser.expect("RECEIPT")["receipt-id"] == "close-1"
        browser.expect_eof()
        until(lambda: "errors-user4f2a" not in names(broker), "its queue to go")


@pytest.mark.parametrize("headers", ["", "auto-delete:true\nexclusive:true\ndurable:false\n"])
def test_five_hundred_sessions_leave_no_queue(broker: RunningBroker, headers: str) -> None:
    """Whether the application tells the relay nothing, or all that RabbitMQ wants to hear."""
    with connected(broker.port, CONNECT) as system:
        browsers = [Peer(broker.port) for _ in range(500)]
        try:
            for browser in browsers:
                browser.send(f"{BROWSER}host:/\n\n\0")
            for number, browser in enumerate(browsers):
                browser.expect("CONNECTED")
                browser.send(
                    f"SUBSCRIBE\nid:sub-0\ndestination:/queue/reply-user{number:08x}\n{headers}\n\0"
                )
            for browser in browsers:
                browser.sync()
            assert len(names(broker)) == 500
            for browser in browsers[::2]:
                browser.send("DISCONNECT\n\n\0")
        finally:
            for browser in browsers:
                browser.close()
        for number in range(500):
            system.send(f"SEND\ndestination:/queue/reply-user{number:08x}\n\nlate\0")
        system.sync()
        until(lambda: not names(broker), "all of the queues to go", patience=30)
