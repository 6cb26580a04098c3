"""The command that sends again what has left a queue: copies, out of its history.

What is meant is found first, once through the history, and put into the order in which it came.
Then it is read again and sent, at once or at the pace of that time. So what the replay itself adds
to the history is not part of it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from stompy.admin.rows import Event, Role
from stompy_broker.admin.asking import agreed, ask
from stompy_broker.admin.commands.base import (
    Argument,
    Call,
    Command,
    CommandContext,
    Result,
    bad,
    conflict,
)
from stompy_broker.admin.commands.content import read_place
from stompy_broker.admin.commands.history import (
    FROM,
    OUTCOMES,
    REPLAY_OF,
    REPLAYED,
    UNTIL,
    HistoryCommands,
    name_in,
)
from stompy_broker.admin.commands.selection import LIMIT, QUEUE, SELECTOR, TO
from stompy_broker.admin.past_walk import PastRow, walk
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import Destination, DestinationKind
from stompy_broker.message import MessageHead
from stompy_broker.routing.histories import Past
from stompy_broker.routing.requests import TIMEOUT
from stompy_broker.security.access import Action
from stompy_broker.store.entry_log import LogEntry, LogPage

MOST_REPLAYED: Final = 1_000_000

_AT_ONCE: Final = 256
"""So many messages are sent before others have their turn, and are safe before the next ones."""
_TOLD_SECONDS: Final = 1.0
"""How far it is, is told so often."""
_KEPT_PAGES: Final = 8
"""Pages of the history that are at hand: messages leave in about the order in which they came."""
_MOST_SPEED: Final = 1_000_000

_NOT_AGAIN: Final = (TIMEOUT, "x-death-path")
"""Nobody waits for the reply any more; and somebody wants it where it goes now."""


class ReplayCommands:
    """The command that sends again what has left a queue.

    Args:
        context: what it has to do with.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context
        self._history = HistoryCommands(context)

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        return [
            Command(
                "queue.replay",
                Role.OPERATOR,
                "Send copies of what has left a queue, in the order in which it came. Refused "
                "where somebody consumes, unless `force` says so. Tells each second how far it "
                "is; ends when who wants it goes.",
                self._replay,
                (
                    QUEUE,
                    replace(FROM, meaning=FROM.meaning.replace("settled", "came")),
                    replace(UNTIL, meaning=UNTIL.meaning.replace("settled", "came")),
                    OUTCOMES,
                    SELECTOR,
                    replace(
                        TO, name="to_queue", meaning="where to; the same queue", required=False
                    ),
                    Argument(
                        "speed",
                        "any number",
                        "1 = at the pace at which they came, 2 = twice as fast; 0 = at once",
                        default=0,
                        most=_MOST_SPEED,
                    ),
                    replace(LIMIT, default=MOST_REPLAYED, most=MOST_REPLAYED),
                    Argument(
                        "force", "true or false", "also where somebody consumes", default=False
                    ),
                ),
                changes=True,
                needs=(Action.BROWSE,),
            )
        ]

    def _replay(self, call: Call) -> Steps[Result]:
        args = call.args
        past = self._history.past_of(args["queue"])
        target = self._target(call, past)
        found = _Found(args["limit"])
        since, before = self._history.moment(args["from"]), self._history.moment(args["to"])
        call = replace(call, args={**args, "from": since, "to": 0, "ids": None, "after": -1})
        wanted = self._history.wanted_rows(call)
        yield from walk(past, wanted, partial(found.add, since, before))
        call.expect(len(found))
        result: Result = {
            "queue": name_in(past),
            "to": str(target),
            "matched": len(found),
            "bytes": found.bytes,
            "first_at": found.first_at,
            "last_at": found.last_at,
            "more": found.more,
        }
        speed = float(args["speed"])
        if speed and found.first_at and found.last_at:
            result["seconds"] = round((found.last_at - found.first_at) / 1000 / speed, 3)
        if call.dry_run:
            return {**result, "replayed": 0}
        self._check_consumers(call, target)
        sender = _Sender(self._context, target, call, len(found))
        reader = _PastReader(past)
        for place in found.places():
            entry = yield from reader.entry(place)
            if entry is None:
                continue  # its history was cut meanwhile, or it is damaged
            yield from sender.wait_for_turn(found.received_at(place) - (found.first_at or 0), speed)
            yield from sender.send(entry)
        yield self._context.router.groups.sync
        self._tell(call, past, target, sender.sent)
        return {**result, "replayed": sender.sent}

    def _target(self, call: Call, past: Past) -> Destination:
        text = call.args["to_queue"]
        target = read_place("to_queue", past.destination if text is None else text)
        if target.kind is not DestinationKind.QUEUE:
            raise bad("'to_queue' must be a queue")
        self._context.permissions(call).check_send(str(target))
        return target

    def _check_consumers(self, call: Call, target: Destination) -> None:
        queue = self._context.router.queues.get(target.name)
        if queue is None or call.args["force"]:
            return
        told: list[int] = []
        queue.stats(lambda figures: told.append(figures.consumers))
        if told and told[0]:
            raise conflict(
                f"{target} has {told[0]} consumers, who would get what was dealt with before; "
                "name another queue with 'to_queue', or say 'force'"
            )

    def _tell(self, call: Call, past: Past, target: Destination, sent: int) -> None:
        self._context.events.tell(
            Event(
                type="queue.replayed",
                destination=past.destination,
                user=call.user,
                detail={"to": str(target), "messages": sent},
            )
        )


class _Found:
    """What is to be sent again, as few numbers.

    Args:
        most: messages at most; then there are ``more``.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sequences, self._places, self._times = array("Q"), array("Q"), array("q")
        self._by_place: dict[int, int] = {}
        self.bytes = 0
        self.more = False

    def add(self, since: int, before: int, rows: Sequence[PastRow]) -> bool:
        """Add what left of some rows, and came in a time."""
        for row in rows:
            received = row.record.received
            if not row.record.leaves or received < since or (before and received >= before):
                continue
            if len(self._places) >= self._most:
                self.more = True
                return False
            self._sequences.append(row.entry.sequence)
            self._places.append(row.entry.offset)
            self._times.append(received)
            self.bytes += row.size or 0
        return True

    def places(self) -> list[int]:
        """Where they stand in the log, in the order in which they came."""
        order = sorted(range(len(self._places)), key=self._sequences.__getitem__)
        self._by_place = {self._places[number]: number for number in order}
        return [self._places[number] for number in order]

    def received_at(self, place: int) -> int:
        """When one of them came, in milliseconds since the epoch."""
        return self._times[self._by_place[place]]

    @property
    def first_at(self) -> int | None:
        """When the first one came."""
        return min(self._times, default=None)

    @property
    def last_at(self) -> int | None:
        """When the last one came."""
        return max(self._times, default=None)

    def __len__(self) -> int:
        return len(self._places)


class _PastReader:
    """Reads entries of a log one by one, a page at a time.

    Args:
        past: whose log.
    """

    def __init__(self, past: Past) -> None:
        self._past = past
        self._pages: dict[int, dict[int, LogEntry]] = {}  # oldest first, by their first places

    def entry(self, place: int) -> Steps[LogEntry | None]:
        """Read one; None = it is not there any more."""
        for page in self._pages.values():
            if place in page:
                return page[place]
        read = partial(_read, self._past, place)
        found: LogPage = yield from ask(read)
        page = {entry.offset: entry for entry in found.entries}
        if len(self._pages) >= _KEPT_PAGES:
            del self._pages[next(iter(self._pages))]
        self._pages[place] = page
        return page.get(place)


def _read(past: Past, place: int, done: Callable[[LogPage], None]) -> None:
    past.logs.read(past.log, place, done)


class _Sender:
    """Sends copies, at their pace, and tells how far it is.

    Args:
        context: what it has to do with.
        target: where they go.
        call: whose wish it is.
        all_in_all: how many there will be.

    Attributes:
        sent: how many there were.
    """

    def __init__(
        self, context: CommandContext, target: Destination, call: Call, all_in_all: int
    ) -> None:
        self._router = context.router
        self._target, self._call, self._all = target, call, all_in_all
        self._begun = self._told = self._router.clock.now()
        self.sent = 0

    def wait_for_turn(self, milliseconds: int, speed: float) -> Steps[None]:
        """Wait until a message is to be sent.

        Args:
            milliseconds: how long after the first one it came.
            speed: so many times as fast; 0 = at once.
        """
        if not speed:
            return
        clock = self._router.clock
        when = self._begun + milliseconds / 1000 / speed
        while clock.now() < when:
            yield partial(self._wait, min(when, clock.now() + _TOLD_SECONDS))
            self._report()

    def _wait(self, when: float, go_on: Callable[[], None]) -> None:
        self._router.clock.timer(go_on).set(when)

    def send(self, entry: LogEntry) -> Steps[None]:
        """Send one, and let others have their turn now and then.

        Raises:
            ProtocolError: its queue refuses it.
        """
        router = self._router
        head = self._head(entry)
        yield from agreed(partial(router.admit, self._target, head))
        router.note_time()
        full = router.publish(self._target, head, entry.body or b"")
        self.sent += 1
        if full is not None:
            yield full.wait
        elif not self.sent % _AT_ONCE:
            yield router.groups.sync
        self._report()

    def _head(self, entry: LogEntry) -> MessageHead:
        headers = entry.head.headers()
        for name in _NOT_AGAIN:
            headers.pop(name, None)
        if "expires" in headers:
            headers["original-expires"] = headers.pop("expires")  # that time is over
        message_id = (entry.head.message_id or b"%d" % entry.sequence).decode()
        headers |= {"destination": str(self._target), REPLAYED: "true", REPLAY_OF: message_id}
        return MessageHead.from_headers(headers)

    def _report(self) -> None:
        """Tell each second how far it is."""
        now = self._router.clock.now()
        if now - self._told >= _TOLD_SECONDS:
            self._told = now
            self._call.part({"replayed": self.sent, "matched": self._all})
