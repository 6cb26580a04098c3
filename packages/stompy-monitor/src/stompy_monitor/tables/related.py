"""Which other rows a row leads to: the tables under its details."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stompy_monitor.model.model import SUBJECTS
from stompy_monitor.model.row_set import Row
from stompy_monitor.tables import definitions
from stompy_monitor.tables.definitions import View


@dataclass(frozen=True)
class Related:
    """A table beside the facts.

    Attributes:
        title: over it.
        view: its columns.
        belongs: given the row, which others belong to it.
    """

    title: str
    view: View
    belongs: Callable[[Row], Callable[[Row], bool]]


def _where(name: str, of: str) -> Callable[[Row], Callable[[Row], bool]]:
    """The rows whose field ``name`` is the ``of`` of this one."""

    def belongs(row: Row) -> Callable[[Row], bool]:
        wanted = row.value(of)
        return lambda other: other.value(name) == wanted

    return belongs


def _event_about(row: Row) -> Callable[[Row], bool]:
    wanted = row.text("id") or row.text("destination")

    def names_it(event: Row) -> bool:
        whole = event.value("detail")
        subjects = [whole.get(name) for name in SUBJECTS] if isinstance(whole, dict) else []
        return wanted == event.text("connection") or wanted in subjects

    return names_it


def _of_topic(row: Row) -> Callable[[Row], bool]:
    """The subscriptions that get what is published to a topic, by pattern too."""
    words = row.key.split(".")
    return lambda other: _fits(other.text("destination").removeprefix("/topic/").split("."), words)


def _fits(pattern: list[str], words: list[str]) -> bool:
    for number, part in enumerate(pattern):
        if part in (">", "#"):
            return True
        if number >= len(words) or part not in ("*", words[number]):
            return False
    return len(pattern) == len(words)


def _queues_of(row: Row) -> Callable[[Row], bool]:
    """The queues that a member owns, or that are in a group."""
    if row.value("what") == "group":
        return lambda other: other.text("group") == row.text("name")
    return _at_broker(row)


def _at_broker(row: Row) -> Callable[[Row], bool]:
    name = row.value("name") if row.value("what") == "member" else None
    return lambda other: name is not None and other.value("broker") == name


def _connections_of(row: Row) -> Callable[[Row], bool]:
    return _at_broker(row)


def _events_at(row: Row) -> Callable[[Row], bool]:
    """What happened to a member itself."""
    is_there = _at_broker(row)
    return lambda event: _of_the_broker(event) and is_there(event)


def _of_the_broker(event: Row) -> bool:
    return event.text("type").startswith(("broker.", "auth.", "admin."))


RELATED: dict[str, tuple[Related, ...]] = {
    "queues": (
        Related("Consumers", definitions.SUBSCRIPTIONS, _where("destination", "destination")),
        Related("Events", definitions.EVENTS, _event_about),
    ),
    "topics": (
        Related("Subscribers", definitions.SUBSCRIPTIONS, _of_topic),
        Related("Durable subscriptions", definitions.DURABLE, _of_topic),
    ),
    "cluster": (
        Related("Queues", definitions.QUEUES, _queues_of),
        Related("Connections", definitions.CONNECTIONS, _connections_of),
        Related("Events", definitions.EVENTS, _events_at),
    ),
    "broker": (Related("Events", definitions.EVENTS, lambda row: _of_the_broker),),
    "connections": (
        Related("Subscriptions", definitions.SUBSCRIPTIONS, _where("connection", "id")),
        Related("Transactions", definitions.TRANSACTIONS, _where("connection", "id")),
        Related("Events", definitions.EVENTS, _event_about),
    ),
    "subscriptions": (Related("Events", definitions.EVENTS, _event_about),),
    "durable": (Related("Subscribers", definitions.SUBSCRIPTIONS, _where("durable_name", "name")),),
    "scheduled": (Related("Events", definitions.EVENTS, _event_about),),
    "readers": (Related("Subscriptions", definitions.SUBSCRIPTIONS, _where("id", "subscription")),),
    "transactions": (Related("Events", definitions.EVENTS, _event_about),),
}
"""The tables of each kind of detail."""

_OF_STREAMS = (
    Related("Readers", definitions.READERS, _where("stream", "destination")),
    Related("Events", definitions.EVENTS, _event_about),
)


def related_to(kind: str, row: Row | None) -> tuple[Related, ...]:
    """The tables of the detail of a row; a stream has readers where a queue has consumers.

    Args:
        kind: of the row.
        row: it; None = it is not known yet.
    """
    if row is not None and row.value("type") == "stream":
        return _OF_STREAMS
    return RELATED.get(kind, ())
