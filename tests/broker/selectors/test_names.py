"""What names stand for: headers as a consumer sees them, and what JMS and Artemis call them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy_broker.message import Message, MessageHead, earlier_deliveries
from stompy_broker.selectors.names import text_of, varies

BODY = b"12345"
SENT = {
    "destination": "/queue/orders",
    "reply-to": "/temp-queue/answers",
    "correlation-id": "c1",
    "type": "order",
    "priority": "7",
    "persistent": "false",
    "JMSXGroupID": "g",
    "JMSXGroupSeq": "3",
}


def message(sent: dict[str, str], *, deliveries: int = 0) -> Message:
    one = Message(42, MessageHead.from_client(sent), BODY, b"\ntimestamp:1700000000000\n")
    one.redelivery = earlier_deliveries(deliveries, 0)
    return one


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("destination", "/queue/orders"),
        ("priority", "7"),
        ("nothing", None),
        ("Destination", None),
        ("message-id", "42"),
        ("redelivered", "true"),
        ("delivery-count", "3"),
        ("timestamp", "1700000000000"),
        ("content-length", "5"),
        ("JMSDestination", "queue://orders"),
        ("JMSReplyTo", "temp-queue://answers"),
        ("JMSType", "order"),
        ("JMSDeliveryMode", "NON_PERSISTENT"),
        ("JMSPriority", "7"),
        ("JMSMessageID", "42"),
        ("JMSTimestamp", "1700000000000"),
        ("JMSCorrelationID", "c1"),
        ("JMSExpiration", "0"),
        ("JMSRedelivered", "true"),
        ("JMSXDeliveryCount", "3"),
        ("JMSXGroupID", "g"),
        ("JMSXGroupSeq", "3"),
        ("JMSXUserID", None),
        ("AMQPriority", "7"),
        ("AMQTimestamp", "1700000000000"),
        ("AMQExpiration", "0"),
        ("AMQDurable", "NON_DURABLE"),
        ("AMQUserID", None),
        ("AMQAddress", "orders"),
        ("AMQGroupID", "g"),
    ],
)
def test_what_a_name_stands_for(name: str, text: str | None) -> None:
    assert text_of(name, message(SENT, deliveries=2)) == text


def test_what_a_message_that_says_little_has() -> None:
    plain = message({"destination": "orders"})
    assert text_of("redelivered", plain) == text_of("JMSRedelivered", plain) == "false"
    assert text_of("delivery-count", plain) == "1"
    assert text_of("JMSDeliveryMode", plain) == "PERSISTENT"
    assert text_of("AMQDurable", plain) == "DURABLE"
    assert text_of("JMSPriority", plain) == "4"
    assert text_of("priority", plain) is None
    assert text_of("JMSDestination", plain) == "queue://orders"
    assert text_of("JMSReplyTo", plain) is text_of("JMSXGroupID", plain) is None
    assert text_of("AMQSize", plain) == str(len(BODY) + len(plain.head.block))


def test_what_the_sender_says_goes_before_what_the_broker_would() -> None:
    told = message(SENT | {"timestamp": "5", "content-length": "5"})
    assert text_of("timestamp", told) == text_of("JMSTimestamp", told) == "5"
    assert text_of("content-length", told) == "5"


def test_destinations_are_written_as_jms_has_them() -> None:
    for sent, text in (
        ("/topic/news.sport", "topic://news.sport"),
        ("/temp-queue/x", "temp-queue://x"),
        ("queue://x", "queue://x"),
        ("x", "queue://x"),
        ("/amq/queue/x", "queue://x"),
        ("/reply-topic/x", "temp-topic://x"),
        ("/exchange/amq.direct/x", "/exchange/amq.direct/x"),
    ):
        assert text_of("JMSReplyTo", message({"destination": "/queue/q", "reply-to": sent})) == text


def test_the_end_of_a_message() -> None:
    mortal = message(SENT)
    mortal.expires = 1700000009999
    assert text_of("JMSExpiration", mortal) == text_of("AMQExpiration", mortal) == "1700000009999"


def test_a_message_that_is_in_no_queue_yet_has_an_end_and_no_id() -> None:
    mortal = Message(0, MessageHead.from_client({**SENT, "ttl": "5"}), b"", b"\ntimestamp:1000\n")
    assert text_of("JMSExpiration", mortal) == "1005"
    assert text_of("JMSMessageID", mortal) is None


def test_a_body_on_disk_is_as_long() -> None:
    away = Message(1, MessageHead.from_client(SENT), None, b"\ntimestamp:1\n", length=5)
    assert text_of("content-length", away) == "5"


def test_the_name_of_another_group_header() -> None:
    assert text_of("JMSXGroupID", message({"destination": "q", "_AMQ_GROUP_ID": "h"})) == "h"


@given(
    st.dictionaries(
        st.text(max_size=5).map(lambda name: f"h{name}"), st.text(max_size=10), max_size=4
    )
)
def test_headers_are_decoded(headers: dict[str, str]) -> None:
    one = Message(1, MessageHead.from_headers(headers), b"", b"\ntimestamp:1\n")
    for name, value in headers.items():
        assert text_of(name, one) == value


def test_octets_that_are_no_utf8_are_read_as_a_consumer_gets_them() -> None:
    one = message({"destination": "q"})
    one.head.block = b"city:K\xf6ln\nother:\\c\xf6\n\n"
    assert text_of("city", one) == one.head.text_headers()["city"] == "Köln"
    assert text_of("other", one) == one.head.text_headers()["other"] == ":ö"


def test_what_varies_between_messages_of_one_header_block() -> None:
    assert varies("JMSXDeliveryCount")
    assert varies("message-id")
    assert varies("timestamp")
    assert not varies("JMSPriority")
    assert not varies("color")
