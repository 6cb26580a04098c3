"""What each broker is told, and what would lose messages and is therefore not told."""

from __future__ import annotations

import pytest

from stompy.errors import STOMPError, UnsupportedByBroker
from stompy.session.dialects import (
    ACTIVEMQ,
    ARTEMIS,
    DIALECTS,
    RABBITMQ,
    STOMPY,
    UNKNOWN,
    UNLIMITED,
    Dialect,
    Nack,
    dialect_of,
)


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("stompy-broker/0.1.0", STOMPY),
        ("RabbitMQ/3.10.8", RABBITMQ),
        ("ActiveMQ/5.17.2", ACTIVEMQ),
        ("ActiveMQ-Artemis/2.31.2 ActiveMQ Artemis Messaging Engine", ARTEMIS),
        ("rabbitmq", RABBITMQ),
        (" RabbitMQ /4", RABBITMQ),
        ("RabbitMQish/1", UNKNOWN),
        ("coilmq/0.5", UNKNOWN),
        ("/1", UNKNOWN),
        ("", UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_a_broker_is_known_by_its_server_header(server: str | None, expected: Dialect):
    assert dialect_of(server) is expected


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
class TestEveryDialect:
    def test_no_prefetch_says_nothing(self, dialect: Dialect):
        assert dialect.prefetch_headers(None) == {}

    def test_no_limit_can_be_said(self, dialect: Dialect):
        assert dialect.prefetch_headers(UNLIMITED)

    def test_a_negative_prefetch_is_refused(self, dialect: Dialect):
        with pytest.raises(ValueError, match="-1"):
            dialect.prefetch_headers(-1)

    def test_a_negative_delay_is_refused(self, dialect: Dialect):
        with pytest.raises(ValueError, match=r"-0\.5"):
            dialect.nack_headers(delay=-0.5)

    def test_a_durable_subscription_needs_a_name(self, dialect: Dialect):
        with pytest.raises(ValueError, match="name"):
            dialect.durable_headers("", client_id="me")

    def test_a_settlement_without_transaction_is_always_possible(self, dialect: Dialect):
        dialect.check_settlement(None)

    def test_what_it_returns_may_be_changed(self, dialect: Dialect):
        for count in (UNLIMITED, 1, 10):
            dialect.prefetch_headers(count)["changed"] = "yes"
            assert "changed" not in dialect.prefetch_headers(count)

    def test_reply_destinations_differ_by_their_token(self, dialect: Dialect):
        assert dialect.reply_destination("a") != dialect.reply_destination("b")


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_persistence(dialect: Dialect):
    assert dialect.persistence_headers(True) == {"persistent": "true"}
    transient = {} if dialect is RABBITMQ else {"persistent": "false"}
    assert dialect.persistence_headers(False) == transient


@pytest.mark.parametrize(
    ("dialect", "count", "headers"),
    [
        (STOMPY, 10, {"prefetch-count": "10"}),
        (STOMPY, UNLIMITED, {"prefetch-count": "0"}),
        (RABBITMQ, 1, {"prefetch-count": "1"}),
        (ACTIVEMQ, 10, {"activemq.prefetchSize": "10"}),
        # Its 0 delivers nothing at all.
        (ACTIVEMQ, UNLIMITED, {"activemq.prefetchSize": "32766"}),
        # It counts bytes.
        (ARTEMIS, 1, {"consumer-window-size": "0"}),
        (ARTEMIS, 10, {}),
        (ARTEMIS, UNLIMITED, {"consumer-window-size": "-1"}),
        (UNKNOWN, 10, {"prefetch-count": "10", "activemq.prefetchSize": "10"}),
        (UNKNOWN, UNLIMITED, {"prefetch-count": "0"}),
    ],
)
def test_prefetch(dialect: Dialect, count: int, headers: dict[str, str]):
    assert dialect.prefetch_headers(count) == headers


@pytest.mark.parametrize(
    ("dialect", "headers"),
    [
        (STOMPY, {"durable-subscription-name": "audit"}),
        (ACTIVEMQ, {"activemq.subscriptionName": "audit"}),
        (ARTEMIS, {"durable-subscription-name": "audit"}),
        (RABBITMQ, {"durable": "true", "auto-delete": "false", "x-queue-name": "durable.audit"}),
    ],
)
def test_durable_subscriptions(dialect: Dialect, headers: dict[str, str]):
    assert dialect.durable_headers("audit", client_id="accounts") == headers


@pytest.mark.parametrize("dialect", [STOMPY, RABBITMQ, ARTEMIS])
def test_one_unsubscribe_ends_a_durable_subscription(dialect: Dialect):
    (ending,) = dialect.durable_ending("s1", "audit", client_id="accounts")
    assert ending == {"id": "s1", **dialect.durable_headers("audit", client_id="accounts")}


def test_activemq_ends_no_durable_subscription_that_is_in_use():
    leave, ending = ACTIVEMQ.durable_ending("s1", "audit", client_id="accounts")
    assert leave == {"id": "s1"}
    assert ending == {"id": "s1", "activemq.subscriptionName": "audit"}


@pytest.mark.parametrize("dialect", [STOMPY, ACTIVEMQ, ARTEMIS])
def test_a_durable_subscription_belongs_to_a_client_id(dialect: Dialect):
    with pytest.raises(ValueError, match="client-id"):
        dialect.durable_headers("audit")


def test_rabbitmq_needs_no_client_id():
    assert RABBITMQ.durable_headers("audit") == RABBITMQ.durable_headers("audit", client_id="me")


def test_no_subscription_is_called_durable_that_may_not_be():
    with pytest.raises(UnsupportedByBroker, match="headers yourself"):
        UNKNOWN.durable_headers("audit", client_id="me")


def test_a_name_may_hold_anything():
    headers = STOMPY.durable_headers("a{}b{0}", client_id="me")
    assert headers == {"durable-subscription-name": "a{}b{0}"}
    assert RABBITMQ.reply_destination("{x}") == "/temp-queue/{x}"


@pytest.mark.parametrize("dialect", [STOMPY, UNKNOWN])
def test_a_nack_that_says_everything(dialect: Dialect):
    assert dialect.nack_headers() == {"requeue": "true"}
    assert dialect.nack_headers(False, 1.5, "KeyError") == {
        "requeue": "false",
        "delay": "1500",
        "reason": "KeyError",
    }
    assert dialect.nack_headers(delay=0) == {"requeue": "true", "delay": "0"}


def test_a_nack_to_rabbitmq_knows_no_reason():
    assert RABBITMQ.nack_headers(True, 1.5, "KeyError") == {"requeue": "true"}
    assert RABBITMQ.nack_headers(False) == {"requeue": "false"}


def test_a_nack_to_activemq_is_a_dead_letter_whatever_it_says():
    assert ACTIVEMQ.nack is Nack.BURIES
    assert ACTIVEMQ.nack_headers(True, 1.5, "KeyError") == {}


@pytest.mark.parametrize("requeue", [True, False])
def test_a_nack_to_artemis_would_lose_the_message(requeue: bool):
    with pytest.raises(UnsupportedByBroker, match="unsubscribe") as caught:
        ARTEMIS.nack_headers(requeue)
    assert isinstance(caught.value, STOMPError)


def test_artemis_has_no_acknowledgement_in_a_transaction():
    with pytest.raises(UnsupportedByBroker, match="after COMMIT"):
        ARTEMIS.check_settlement("t1")
    RABBITMQ.check_settlement("t1")


def test_reply_queues():
    assert RABBITMQ.reply_destination("x") == "/temp-queue/x"
    assert not RABBITMQ.subscribes_reply_queue
    for dialect in (STOMPY, ACTIVEMQ, UNKNOWN):
        assert dialect.subscribes_reply_queue
        assert dialect.reply_destination("x") == "/temp-queue/x"
    assert ARTEMIS.subscribes_reply_queue
    reply = ARTEMIS.reply_destination("x")
    assert ARTEMIS.destination_headers(reply, for_subscribe=True) == {
        "subscription-type": "ANYCAST"
    }


@pytest.mark.parametrize(
    ("destination", "kind"),
    [("/queue/a", "ANYCAST"), ("/topic/a", "MULTICAST"), ("a", None), ("/other/a", None)],
)
def test_artemis_is_told_what_kind_a_destination_is(destination: str, kind: str | None):
    sent = ARTEMIS.destination_headers(destination, for_subscribe=False)
    subscribed = ARTEMIS.destination_headers(destination, for_subscribe=True)
    assert sent == ({"destination-type": kind} if kind else {})
    assert subscribed == ({"subscription-type": kind} if kind else {})


@pytest.mark.parametrize("dialect", [STOMPY, RABBITMQ, ACTIVEMQ, UNKNOWN])
def test_others_know_by_the_prefix(dialect: Dialect):
    for for_subscribe in (True, False):
        assert dialect.destination_headers("/queue/a", for_subscribe=for_subscribe) == {}
