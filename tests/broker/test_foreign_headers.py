"""Headers of other brokers that are refused, and those that are ignored on purpose."""

from __future__ import annotations

import logging

import pytest
from tests.support.wire import Peer, running_broker, unique

from stompy_broker.config import ConfigError, load_config
from stompy_broker.destinations.lasting import NAME_HEADERS
from stompy_broker.destinations.names import DestinationKind
from stompy_broker.foreign_headers import FOREIGN, NAMES

_PLACES = {DestinationKind.QUEUE: "/queue/", DestinationKind.TOPIC: "/topic/"}


def _asking() -> list[tuple[str, str, str, str]]:
    """Command, destination, header and a value that asks for something, for all there are."""
    cases = []
    for foreign in FOREIGN:
        value = next(iter(foreign.asks), "7")
        for name in foreign.names:
            cases += [
                (command, prefix, name, value)
                for command in foreign.commands
                for kind, prefix in _PLACES.items()
                if kind in foreign.kinds
            ]
    return cases


@pytest.mark.parametrize(("command", "prefix", "name", "value"), _asking())
def test_what_would_change_the_messages_is_refused_by_name(
    port: int, command: str, prefix: str, name: str, value: str
):
    with Peer.open(port) as peer:
        where = f"id:0\ndestination:{prefix}{unique()}\n"
        if command == "NACK":
            peer.send(f"SUBSCRIBE\n{where}ack:client\n\n\0")
            peer.sync()
        if command == "BROWSE":
            command, where = "SUBSCRIBE", f"{where}browser:true\n"
        peer.send(f"{command}\n{where}receipt:r\n{name}:{value}\n\n\0")
        error = peer.expect_error("not-supported", receipt="r")
        assert repr(name) in error.body.decode()
        assert f'ignore = ["{name}"]' in error.body.decode()


@pytest.fixture(scope="module")
def port():
    with running_broker() as broker:
        yield broker.port


def test_what_sets_up_a_queue_is_for_the_queue_that_a_topic_subscription_names(port: int):
    lines = f"SUBSCRIBE\nid:0\ndestination:/topic/{unique()}\nx-message-ttl:1\nreceipt:r\n"
    with Peer.open(port) as peer:
        peer.send(f"{lines}x-queue-name:{unique()}\nx-delayed-retry-min:1\n\n\0")
        assert peer.expect("RECEIPT")["receipt-id"] == "r"
    with Peer.open(port) as peer:
        peer.send(f"{lines}x-queue-name:\ndurable:true\n\n\0")
        peer.expect_error("not-supported", receipt="r")


@pytest.mark.parametrize(
    "lines",
    [
        "SUBSCRIBE\nid:0\ndestination:/queue/{q}\nbrowser:false\nauto-delete:false\n"
        "exclusive:false\nx-priority:0\nno-local:false\nconsumer-window-size:-1\nx-queue-name:{q}\n"
        "x-queue-type:quorum\nx-dead-letter-exchange:\nactivemq.dispatchAsync:true\n",
        "SUBSCRIBE\nid:0\ndestination:/topic/{q}\nauto-delete:true\nexclusive:true\n"
        "activemq.retroactive:false\nshare:\n",
        "SUBSCRIBE\nid:0\ndestination:/temp-queue/{q}\nauto-delete:true\nexclusive:true\n",
        "SEND\ndestination:/queue/{q}\ndelay:5\ncron:x\ngroup:g\nretain:yes\npriority:3\n"
        "x-delay:0\nselector:a\nJMSXGroupSeq:1\nauto-delete:false\n",
        "SEND\ndestination:/topic/{q}\nretain:yes\nauto-delete:true\n",
    ],
)
def test_what_asks_for_nothing_or_may_be_an_application_s_own_passes(port: int, lines: str):
    with Peer.open(port) as peer:
        peer.send(lines.replace("{q}", unique()) + "\n\0")
        peer.sync()


def test_ignored_on_purpose_is_told_once(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING)
    names = ["x-delivery-limit", "AMQ_SCHEDULER_ACTION"]
    with (
        running_broker(compat={"ignore": names}) as broker,
        Peer.open(broker.port) as peer,
    ):
        for number in range(3):
            peer.send(
                f"SUBSCRIBE\nid:{number}\ndestination:/queue/q{number}\nx-delivery-limit:9\n\n\0"
            )
            peer.send(f"SEND\ndestination:/queue/q{number}\nAMQ_SCHEDULER_ACTION:g{number}\n\nx\0")
            assert peer.expect("MESSAGE")["AMQ_SCHEDULER_ACTION"] == f"g{number}"
        told = broker._ask(
            lambda broker: [
                event.reason
                for event in broker._router.events.recent
                if event.type == "header.ignored"
            ]
        )
        peer.send("SUBSCRIBE\nid:no\ndestination:/queue/q\nno-local:true\n\n\0")
        peer.expect_error("not-supported")
    assert told == names
    assert caplog.text.count("is ignored") == 2


def test_a_block_that_is_refused_is_refused_again(port: int):
    """Parsed blocks are remembered, and shared by all connections."""
    for _ in range(3):
        with Peer.open(port) as peer:
            peer.send("SEND\ndestination:/queue/again\nAMQ_SCHEDULER_ACTION:1\n\n\0")
            peer.expect_error("not-supported")


def test_only_what_would_be_refused_can_be_ignored():
    with pytest.raises(ConfigError, match=r"compat.ignore: 'x-priorty' is no header"):
        load_config(overrides={"compat": {"ignore": ["x-priorty"]}})
    load_config(overrides={"compat": {"ignore": sorted(NAMES)}})


@pytest.mark.parametrize("place", ["/queue/", "/temp-queue/"])
@pytest.mark.parametrize("name", NAME_HEADERS)
def test_the_name_of_a_durable_subscription_is_for_topics(port: int, place: str, name: str):
    with Peer.open(port, "1.2", "client-id:c") as peer:
        peer.send(f"SUBSCRIBE\nid:0\ndestination:{place}{unique()}\n{name}:n\n\n\0")
        assert "for topics" in peer.expect_error("bad-header").body.decode()
