"""Bodies that are in the log only, on their way back into memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from stompy_broker.cluster.log.index import Index, Logged, Place
from stompy_broker.cluster.log.log import Log
from stompy_broker.cluster.log.log_record import RecordError, read_part
from stompy_broker.message import Message
from stompy_broker.store.base import Callback
from stompy_broker.store.batch import Damaged
from stompy_broker.timers import Clock

log = logging.getLogger("stompy_broker.cluster")

_RETRY_SECONDS = 1.0
"""After how long the log is asked again when it could not be read."""


class LoggedBodies:
    """Reads bodies.

    Args:
        log_: where they are.
        index: where in it.
        clock: for trying again.
        tell_damaged: told of each message whose body turns out not to be what was written.

    Attributes:
        damaged: how many those were.
    """

    def __init__(
        self,
        log_: Log,
        index: Index,
        clock: Clock,
        tell_damaged: Callable[[Damaged], None],
    ) -> None:
        self.damaged = 0
        self._log = log_
        self._index = index
        self._clock = clock
        self._tell_damaged = tell_damaged
        self._closed = False

    def close(self) -> None:
        """Tell nobody anything any more."""
        self._closed = True

    def load(self, messages: Sequence[Message], done: Callback) -> None:
        """Give messages that are in the log their bodies back, then call ``done``."""
        index = self._index.messages
        wanted = [
            (message, index[message.sequence]) for message in messages if message.sequence in index
        ]
        if len(wanted) < len(messages):
            log.error("%d bodies are not in the log", len(messages) - len(wanted))
        places = sorted({one for _, place in wanted for one in _places_of(place)})
        self._log.get(
            places, partial(self._loaded, wanted, done), partial(self._cannot_load, messages, done)
        )

    def _cannot_load(self, messages: Sequence[Message], done: Callback, reason: str) -> None:
        if self._closed:
            return
        log.error("the log cannot be read: %s; trying again", reason)
        retry = self._clock.timer(lambda: self.load(messages, done))
        retry.set(self._clock.now() + _RETRY_SECONDS)

    def _loaded(
        self,
        wanted: Sequence[tuple[Message, Place]],
        done: Callback,
        entries: Mapping[int, bytes],
    ) -> None:
        """Give the messages their bodies. One that is not there or damaged stays None."""
        if self._closed:
            return
        parts: dict[int, memoryview] = {}
        wrong: dict[int, str] = {}
        for _, place in wanted:
            for part, one in enumerate(place.record.places):
                if one in entries and one not in parts and one not in wrong:
                    try:
                        parts[one] = _part_of(place.record, part, entries[one])
                    except RecordError as error:
                        wrong[one] = str(error)
        for message, place in wanted:
            bad = [one for one in _places_of(place) if one not in parts]
            if bad:
                self._say_damaged(message, wrong.get(bad[0], "it is not there any more"))
            else:
                message.body = _body_of(place, parts)
        done()

    def _say_damaged(self, message: Message, reason: str) -> None:
        destination = message.head.headers().get("destination", "?")
        damaged = Damaged(message.sequence, destination, reason)
        self.damaged += 1
        log.error("message %d of %s is damaged in the log: %s; it is given to nobody", *damaged)
        self._tell_damaged(damaged)


def _places_of(place: Place) -> range:
    """The parts of a record that the body of a message is in."""
    record, placed = place
    first = placed.offset // record.part_bytes
    last = max(first, (placed.offset + placed.length - 1) // record.part_bytes)
    return record.places[first : last + 1]


def _part_of(record: Logged, part: int, octets: bytes) -> memoryview:
    """What a part of a record holds.

    Raises:
        RecordError: it is something else.
    """
    head, payload = read_part(octets)
    if (head.number, head.part) != (record.number, part):
        raise RecordError(f"part {head.part} of record {head.number} is in its place")
    return payload


def _body_of(place: Place, parts: Mapping[int, memoryview]) -> bytes:
    record, placed = place
    places = _places_of(place)
    start = placed.offset - (places.start - record.places.start) * record.part_bytes
    if len(places) == 1:
        return bytes(parts[places.start][start : start + placed.length])
    return b"".join(parts[one] for one in places)[start : start + placed.length]
