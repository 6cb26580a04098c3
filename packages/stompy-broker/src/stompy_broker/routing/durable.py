"""Durable topic subscriptions, and whatever else binds topics to a queue.

Three dialects name one thing (promise 14):

* ``durable-subscription-name`` (or ``activemq.subscriptionName``) with a ``client-id`` from
  CONNECT: one subscriber at a time, as in ActiveMQ and Artemis;
* ``durable:true`` (or ``persistent:true``) without ``auto-delete:true``: subscription id and
  destination name it, and all connections of its owner that use both share it, as in RabbitMQ;
* the same with ``x-queue-name``: that is the name, whatever the id, and the queue of that name is
  its backlog. Several topics may be bound to it.

It belongs to the login that made it: ``client-id`` and names are chosen freely. One that was made
before logins were proved belongs to the first that comes.

Its backlog is the queue ``/queue/durable.NAME``, unless the client named one. Clients reach it by
subscribing in one of these ways and in no other: queue names that begin like it belong to the
broker.

``x-queue-name`` without ``durable:true``, and ``share`` without a durable name, bind topics to a
queue for as long as somebody is subscribed (`DurableSubscription.auto_delete`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.lasting import (
    LASTING,
    NAME_HEADERS,
    QUEUE_NAME,
    contradicts_itself,
    is_lasting,
)
from stompy_broker.destinations.names import (
    BACKLOG,
    SHARE,
    Destination,
    DestinationKind,
    check_subscribable,
    parse_destination,
    sendable,
    topic_text,
)
from stompy_broker.selectors.selector import compile_selector
from stompy_broker.store.base import StoredSubscription


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
        queue_name: the queue that its client named; empty = it has a backlog of its own.
        more: further topics that are bound to that queue.
        share: the group whose members share it, whatever their logins; empty = none.
        auto_delete: whether it ends with its last subscriber.
        selector: only messages that match it are kept; empty = all are.
        not_from: the ``client-id`` whose own messages are not kept; empty = nobody's.
    """

    name: str
    pattern: str
    shared: bool
    expires: float = 0.0
    left: int = 0
    owner: str = ""
    queue_name: str = ""
    more: tuple[str, ...] = ()
    share: str = ""
    auto_delete: bool = False
    selector: str = ""
    not_from: str = ""

    def is_for(self, owner: str) -> bool:
        """Whether it belongs to a login, empty = one that was not proved, or to nobody yet."""
        return self.owner == owner or not (self.owner and owner)

    @property
    def queue(self) -> str:
        """The name of its backlog."""
        return self.queue_name or f"{BACKLOG}{self.name}"

    @property
    def patterns(self) -> tuple[str, ...]:
        """All topics it gets, without prefix."""
        return (self.pattern, *self.more)

    @property
    def topics(self) -> list[Destination]:
        """All topics it gets."""
        return [parse_destination(topic_text(pattern)) for pattern in self.patterns]

    @property
    def binding(self) -> tuple[object, ...]:
        """What a broker goes by that gives it messages."""
        return (self.queue, self.patterns, self.shared, self.selector, self.not_from)

    def covers(self, wanted: DurableSubscription) -> bool:
        """Whether nothing changes when somebody subscribes like that; names are the same."""
        return (
            wanted.pattern in self.patterns
            and (self.selector, self.not_from) == (wanted.selector, wanted.not_from)
            and not self.clash(wanted)
        )

    def clash(self, wanted: DurableSubscription) -> ProtocolError | None:
        """Why nobody can subscribe like that, because this one has the name; None = one can."""
        words = ""
        if (self.queue_name, self.share) != (wanted.queue_name, wanted.share):
            words = "there is a durable subscription of that name, of another kind"
        elif self.auto_delete and not wanted.auto_delete:
            words = "it ends with its last subscriber; the first one decided that"
        elif wanted.auto_delete and not self.auto_delete and not self.share:
            words = "it is durable; say durable:true and auto-delete:false"
        elif self.queue_name and (self.selector, self.not_from) != (
            wanted.selector,
            wanted.not_from,
        ):
            words = "its queue gets what another selector takes; the first one decided that"
        name = (self.share or self.name)[:200]
        return ProtocolError(ErrorCode.BAD_HEADER, f"{name!r}: {words}") if words else None

    def without(self, pattern: str) -> DurableSubscription | None:
        """The same without a topic; None: there is no other one."""
        left = [one for one in self.patterns if one != pattern]
        return replace(self, pattern=left[0], more=tuple(left[1:])) if left else None

    def to_stored(self) -> StoredSubscription:
        """As a store keeps it."""
        settings: dict[str, object] = {
            "shared": self.shared,
            "expires": self.expires,
            "left": self.left,
        }
        settings |= {name: getattr(self, name) for name in _OPTIONAL if getattr(self, name)}
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
        if not isinstance(settings, dict):
            raise TypeError("its settings are something else")
        given = {name: settings[name] for name in _OPTIONAL if name in settings}
        given["more"] = tuple(given.get("more", ()))
        left = settings.get("left", 0)
        found = cls(
            stored.name, stored.pattern, settings["shared"], settings["expires"], left, **given
        )
        texts = (found.name, *found.patterns, found.owner, found.queue_name, found.share)
        texts += (found.selector, found.not_from)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a name is no text")
        numbers, switches = (found.expires, found.left), (found.shared, found.auto_delete)
        if not (
            all(isinstance(switch, bool) for switch in switches)
            and all(isinstance(number, int | float) for number in numbers)
        ):
            raise TypeError("a setting is something else")
        for topics in found.topics:
            check_subscribable(topics)
        if found.selector:
            compile_selector(found.selector)
        return found


_OPTIONAL = ("owner", "queue_name", "more", "share", "auto_delete", "selector", "not_from")
"""What is kept of one only if it says something, so that earlier releases read most of them."""


def own_queue_name(headers: Mapping[str, str]) -> str:
    """The queue that a frame names for a topic subscription; empty = none.

    Raises:
        ProtocolError: no queue can be called that.
    """
    name = headers.get(QUEUE_NAME, "")
    if name:
        try:
            destination = sendable(f"{DestinationKind.QUEUE.value}{name}")
        except ProtocolError as error:
            raise ProtocolError(ErrorCode.BAD_HEADER, f"{QUEUE_NAME}: {error.Message}") from None
        name = destination.name
    return name


def durable_name(headers: Mapping[str, str], client_id: str | None) -> tuple[str, bool] | None:
    """What a SUBSCRIBE or UNSUBSCRIBE names, and whether it is shared; None if nothing durable.

    Raises:
        ProtocolError: a name without the ``client-id`` that it belongs to, no ``id`` to tell it
            by, a name that cannot be written down, or two that differ.
    """
    names = [name for name in NAME_HEADERS if headers.get(name)]
    if names:
        given = headers[names[0]]
        for name in names[1:]:
            if headers[name] != given:
                raise _contradiction(names[0], name)
        if client_id is None:
            raise ProtocolError(
                ErrorCode.MISSING_HEADER,
                "a durable subscription by name needs a 'client-id' header in CONNECT",
            )
        return _checked(f"{client_id}.{given}"), False
    if is_lasting(headers):
        if "id" not in headers:
            raise ProtocolError(
                ErrorCode.MISSING_HEADER, "a durable subscription needs an 'id' header"
            )
        topic = headers["destination"].removeprefix(DestinationKind.TOPIC.value)
        return _checked(f"{headers['id']}@{topic}"), True
    return None


def _contradiction(name: str, other: str) -> ProtocolError:
    return ProtocolError(ErrorCode.BAD_HEADER, f"{name} and {other} mean the same, and differ")


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
    """What a SUBSCRIBE to a topic asks for, of a queue that others may have, too; None = nothing.

    Raises:
        ProtocolError: as for `durable_name`; or it names one thing in two ways.
    """
    # Who writes for several brokers, as django-stomp does, gives the names of all of them at once.
    if contradicts_itself(headers):
        raise _contradiction(*LASTING)
    queue, group = own_queue_name(headers), headers.get("share", "")
    if queue and group:
        raise ProtocolError(
            ErrorCode.BAD_HEADER, f"a subscription with {QUEUE_NAME} is shared without 'share'"
        )
    pattern = destination.name
    if queue:
        lasting = is_lasting(headers)
        return DurableSubscription(
            queue, pattern, True, expires, queue_name=queue, auto_delete=not lasting
        )
    if group:
        lasting = is_lasting(headers) or any(headers.get(name) for name in NAME_HEADERS)
        name = share_name(group, pattern)
        return DurableSubscription(
            name, pattern, True, expires, share=group, auto_delete=not lasting
        )
    identity = durable_name(headers, client_id)
    if identity is None:
        return None
    name, shared = identity
    return DurableSubscription(name, pattern, shared, expires)


def share_name(group: str, pattern: str) -> str:
    """What identifies all who share a subscription to topics.

    Raises:
        ProtocolError: no group can be called that.
    """
    if not group.isprintable() or set(group) & set("/, *>#"):
        raise ProtocolError(
            ErrorCode.BAD_HEADER,
            f"share must be a name without blanks, wildcards, '/' and ',', not {group[:60]!r}",
        )
    return f"{SHARE}{group}.{pattern}"
