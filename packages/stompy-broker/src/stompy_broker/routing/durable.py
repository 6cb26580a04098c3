"""Durable topic subscriptions: what identifies one, and how it is kept.

Three dialects name one thing (promise 14):

* ``durable-subscription-name`` (or ``activemq.subscriptionName``) with a ``client-id`` from
  CONNECT: one subscriber at a time, as in ActiveMQ and Artemis;
* ``durable:true`` (or ``persistent:true``) without ``auto-delete:true``: subscription id and
  destination name it, and all connections of its owner that use both share it, as in RabbitMQ.

It belongs to the login that made it: ``client-id`` and names are chosen freely. One that was made
before logins were proved belongs to the first that comes.

Its backlog is the queue ``/queue/durable.NAME``. Clients reach it by subscribing in one of these
ways and in no other: queue names that begin like it belong to the broker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import (
    BACKLOG,
    Destination,
    DestinationKind,
    check_subscribable,
    parse_destination,
    topic_text,
)
from stompy_broker.store.base import StoredSubscription

NAME_HEADERS = (
    "durable-subscription-name",
    "durable-subscriber-name",
    "activemq.subscriptionName",
    "activemq.subcriptionName",
)

_TRUE = frozenset(("true", "1", "yes"))


@dataclass(frozen=True, slots=True)
class DurableSubscription:
    """One durable subscription.

    Attributes:
        name: what identifies it in the whole broker.
        pattern: the topics it gets, without prefix.
        shared: whether several subscribers may share it.
        expires: seconds without subscriber after which it is deleted; 0 = as the policy says.
        left: since when it is without, in milliseconds since the epoch, as far as it was kept; 0 =
            it has one.
        owner: the login whose it is; empty = the first that comes.
    """

    name: str
    pattern: str
    shared: bool
    expires: float = 0.0
    left: int = 0
    owner: str = ""

    def is_for(self, owner: str) -> bool:
        """Whether it belongs to a login, empty = one that was not proved, or to nobody yet."""
        return self.owner == owner or not (self.owner and owner)

    @property
    def queue(self) -> str:
        """The name of its backlog."""
        return f"{BACKLOG}{self.name}"

    @property
    def topics(self) -> Destination:
        """The topics it gets."""
        return parse_destination(topic_text(self.pattern))

    def to_stored(self) -> StoredSubscription:
        """As a store keeps it."""
        settings: dict[str, object] = {
            "shared": self.shared,
            "expires": self.expires,
            "left": self.left,
        }
        if self.owner:
            settings["owner"] = self.owner
        return StoredSubscription(self.name, self.pattern, json.dumps(settings))

    @classmethod
    def from_stored(cls, stored: StoredSubscription) -> DurableSubscription:
        """From what a store has kept.

        Raises:
            ProtocolError: it is not what was written any more.
            KeyError: likewise, as the next ones.
            TypeError: likewise.
            ValueError: likewise.
        """
        settings = json.loads(stored.settings)
        found = cls(
            stored.name,
            stored.pattern,
            settings["shared"],
            settings["expires"],
            settings.get("left", 0),
            settings.get("owner", ""),
        )
        texts, numbers = (found.name, found.pattern, found.owner), (found.expires, found.left)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a name is no text")
        if not (
            isinstance(found.shared, bool) and all(isinstance(n, int | float) for n in numbers)
        ):
            raise TypeError("a setting is something else")
        check_subscribable(found.topics)
        return found


def durable_name(headers: Mapping[str, str], client_id: str | None) -> tuple[str, bool] | None:
    """What a SUBSCRIBE or UNSUBSCRIBE names, and whether it is shared; None if nothing durable.

    Raises:
        ProtocolError: a name without the ``client-id`` that it belongs to, no ``id`` to tell it
            by, or a name that cannot be written down.
    """
    given = next((headers[name] for name in NAME_HEADERS if headers.get(name)), None)
    if given is not None:
        if client_id is None:
            raise ProtocolError(
                ErrorCode.MISSING_HEADER,
                "a durable subscription by name needs a 'client-id' header in CONNECT",
            )
        return _checked(f"{client_id}.{given}"), False
    words = {headers.get("durable", "").lower(), headers.get("persistent", "").lower()}
    if words & _TRUE and headers.get("auto-delete", "false").lower() not in _TRUE:
        if "id" not in headers:
            raise ProtocolError(
                ErrorCode.MISSING_HEADER, "a durable subscription needs an 'id' header"
            )
        topic = headers["destination"].removeprefix(DestinationKind.TOPIC.value)
        return _checked(f"{headers['id']}@{topic}"), True
    return None


def _checked(name: str) -> str:
    if not name.isprintable():
        raise ProtocolError(
            ErrorCode.BAD_HEADER,
            f"the name of a durable subscription must be printable, not {name[:60]!r}",
        )
    return name


def durable_subscription(
    headers: Mapping[str, str], destination: Destination, client_id: str | None, expires: float
) -> DurableSubscription | None:
    """What a SUBSCRIBE to a topic asks for; None if nothing durable."""
    named = durable_name(headers, client_id)
    if named is None:
        return None
    name, shared = named
    return DurableSubscription(name, destination.name, shared, expires)
