"""The past of one queue: what is written down of it (**hot path** of queues with a history)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from stompy_broker.message import Message, stamp
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.delivery_times import CurrentTime
from stompy_broker.routing.settlement_record import NO_TAKER, Taker, decode_taker, encode_taker
from stompy_broker.store.entry_log import EntryLogs

PREFIX: Final = "history."
"""The log of a queue is called so, and then as its destination."""

_MS_OF_SEQUENCE: Final = 1 << 20
"""A sequence counts milliseconds, and so much within each; see `stompy_broker.routing.group`."""
_MINUTE: Final = 60_000 * _MS_OF_SEQUENCE

_MOST_TAKERS: Final = 1000
"""So many consumers are remembered, in words."""


def minute_of(message_id: str) -> str:
    """The filter value of what is written about a message: the minute in which it came.

    Who looks for one message passes over all blocks that have nothing of that minute.

    Args:
        message_id: of the message, which begins with the time; another one has a place as well.
    """
    if message_id.isascii() and message_id.isdigit():
        return str(int(message_id) // _MINUTE)
    return "?"


Held = tuple[int, int]
"""Who has a message, by `Consumer.number`, and since when, in milliseconds since the epoch."""


class HistoryLog:
    """Where the past of one queue is written.

    Args:
        destination: of the queue.
        logs: of its store.
        consumers: of the queue.
        wall: as below.
        current_time: of what is going on.
        ended: called when the queue ends.

    Attributes:
        held: who has which message of the queue, by its sequence.
        logs: where it is written.
        known_from: what left since then is written here or was before, in milliseconds since the
            epoch; what is in the log may go back further.
        wall: gives the time in milliseconds since the epoch.
    """

    __slots__ = (
        "_at",
        "_consumers",
        "_current_time",
        "_ended",
        "_minute",
        "_minute_text",
        "_name",
        "_now",
        "_stamp",
        "_takers",
        "_then",
        "held",
        "known_from",
        "logs",
        "wall",
    )

    def __init__(
        self,
        destination: str,
        logs: EntryLogs,
        consumers: Collection[Consumer],
        wall: Callable[[], int],
        current_time: CurrentTime,
        ended: Callable[[HistoryLog], None],
    ) -> None:
        self.held: dict[int, Held] = {}
        self._ended = ended
        self._current_time, self._then, self._now = current_time, -1.0, 0
        self.wall = wall
        self.known_from = wall()
        self._name = f"{PREFIX}{destination}"
        self.logs = logs
        self._consumers = consumers
        self._takers: dict[int, bytes] = {}  # by the numbers of the consumers
        self._at = 0  # when something was written last; the times of a log only grow
        self._stamp = b""
        self._minute = -1
        self._minute_text = ""

    def taker_of(self, holder: int) -> bytes:
        """Who a consumer is, in words; to be asked first while he is there.

        Args:
            holder: `Consumer.number`.
        """
        taker = self._takers.get(holder)
        if taker is not None:
            return taker
        if len(self._takers) >= max(_MOST_TAKERS, 2 * len(self._consumers)):
            here = {consumer.number for consumer in self._consumers}
            self._takers = {one: told for one, told in self._takers.items() if one in here}
        taker = NO_TAKER
        for consumer in self._consumers:
            if consumer.number == holder:
                taker = encode_taker(consumer.taker())
                break
        self._takers[holder] = taker
        return taker

    def now(self) -> int:
        """The time, read once for all that is done in one read or one round of deliveries."""
        then = self._current_time.now
        if then != self._then:
            self._then, self._now = then, self.wall()
        return self._now

    def taker(self, holder: int) -> Taker:
        """The same, as it is read."""
        return decode_taker(self.taker_of(holder))

    def end(self) -> None:
        """Take note that the queue ends; what is still with consumers may be added yet."""
        self._ended(self)

    def add(self, message: Message, now: int, record: bytes) -> None:
        """Write down an end, in the change of this turn.

        Args:
            message: what it was about.
            now: milliseconds since the epoch.
            record: what is said of it (`stompy_broker.routing.settlement_record`).
        """
        if now > self._at:
            self._at, self._stamp = now, stamp(now)
        shown = message.head.traits.message_id
        if shown is None:
            minute = message.sequence // _MINUTE
            if minute != self._minute:
                self._minute, self._minute_text = minute, str(minute)
            text = self._minute_text
        else:
            text = minute_of(shown.decode())
        # The time of an entry is when it was written: that is what is looked for.
        self.logs.append(self._name, message, text, record, stamp=self._stamp)
