"""Exchanges of RabbitMQ as topics in a name space of their own.

An exchange is a topic for each routing key: what clients write as ``/exchange/amq.direct/x`` is the
topic ``$exchange.amq/direct.x`` for everything that goes by names. No client can write that name,
and no wildcard at the beginning of a pattern matches it. The exchange ``amq.topic`` is the one of
the topics themselves.
"""

from __future__ import annotations

PREFIX = "/exchange/"
EXCHANGE = "$exchange."
"""Topics whose names begin with this are those of exchanges."""
OF_TOPICS = "amq.topic"
"""The exchange of the topics themselves."""
KEYLESS = {"amq.fanout": "amq.fanout", "amq.headers": "amq.headers", "amq.match": "amq.headers"}
"""Exchanges that are always there and do not look at the key; two names are of one."""


def topic_of(exchange: str, key: str) -> str:
    """The name of the topic that an exchange has for a key; empty = for all of them."""
    name = EXCHANGE + exchange.replace(".", "/")
    return f"{name}.{key}" if key else name


def exchange_of(topic: str) -> tuple[str, str]:
    """The exchange and the key that a topic belongs to, undoing `topic_of`."""
    exchange, _, key = topic.removeprefix(EXCHANGE).partition(".")
    return exchange.replace("/", "."), key


def written(topic: str) -> str:
    """The topic of an exchange as clients write it."""
    exchange, key = exchange_of(topic)
    return f"{PREFIX}{exchange}/{key}" if key else PREFIX + exchange


def read_topic(text: str) -> str:
    """The topic that a destination means which begins with `PREFIX`.

    Raises:
        ValueError: it means none; the text goes behind the destination's.
    """
    exchange, _, key = text.removeprefix(PREFIX).partition("/")
    if not exchange:
        raise ValueError("names no exchange")
    if exchange == OF_TOPICS:
        if not key or key.startswith("$"):
            raise ValueError("has no routing key that can be the name of a topic")
        return key
    if exchange in KEYLESS:
        return topic_of(KEYLESS[exchange], "")
    return topic_of(exchange, key)
