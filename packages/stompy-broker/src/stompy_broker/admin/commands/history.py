"""Commands that look into the past of queues, which changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from stompy.admin.command import CommandError, CommandErrorCode
from stompy.admin.rows import Role
from stompy.admin.settlements import SettlementKind
from stompy_broker.admin.asking import ask, look_through
from stompy_broker.admin.commands.base import (
    Argument,
    Call,
    Command,
    CommandContext,
    Result,
    bad,
    conflict,
    not_found,
)
from stompy_broker.admin.commands.selection import (
    IDS,
    LIMIT,
    QUEUE,
    SELECTOR,
    body_as_json,
    selected,
)
from stompy_broker.admin.past_walk import PastRow, WantedRows, walk
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import DestinationKind, parse_destination
from stompy_broker.message import Message
from stompy_broker.routing.histories import Past
from stompy_broker.routing.history_log import minute_of
from stompy_broker.routing.interface import Browse, Browsed, Queue
from stompy_broker.routing.message_state import MessageState
from stompy_broker.routing.selection import Selection
from stompy_broker.routing.settlement_record import NOBODY, Taker
from stompy_broker.security.access import Action

MOST_ROWS = 500
"""An answer has no more rows."""

_MOST_SHOWN = 10_000
_HEAD_BYTES = 4096
_FULL_BYTES = 16 * 1024 * 1024
_EARLIEST = -(1 << 53)

_WHEN = "milliseconds since the epoch; a negative number is so long before now"

REPLAYED = "replayed"
REPLAY_OF = "replay-of"
"""Headers that the broker writes on what it sends again out of a history."""

FROM = Argument("from", "number", f"settled then or later: {_WHEN}", default=0, least=_EARLIEST)
UNTIL = Argument(
    "to", "number", f"settled before that: {_WHEN}; 0 = until now", default=0, least=_EARLIEST
)
OUTCOMES = Argument(
    "outcomes", "list", f"what became of the message: {', '.join(SettlementKind)}; all if left out"
)
_BODY = Argument("body", "text", "how much", words=("none", "head", "full"), default="none")
_EVERY_STATE = frozenset(MessageState)


class HistoryCommands:
    """Commands that look into the past of queues.

    Args:
        context: what they have to do with.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        return [
            Command(
                "history.list",
                Role.OPERATOR,
                "Tell which queues have a history, and how much. A queue may have ended.",
                self._list,
            ),
            Command(
                "queue.history",
                Role.OPERATOR,
                "Tell what has left a queue and who had it, oldest first, in as many answers as it "
                "takes. The queue may have ended.",
                self._history,
                (
                    QUEUE,
                    FROM,
                    UNTIL,
                    OUTCOMES,
                    IDS,
                    SELECTOR,
                    Argument(
                        "after", "number", "rows behind this place only", default=-1, least=-1
                    ),
                    replace(LIMIT, default=None, most=1 << 53, meaning="rows at most"),
                    _BODY,
                ),
                needs=(Action.BROWSE,),
            ),
            Command(
                "queue.at",
                Role.OPERATOR,
                "Tell what waited in a queue at an instant, and what was with whom.",
                self._at,
                (
                    QUEUE,
                    Argument("t", "number", _WHEN, required=True, least=_EARLIEST),
                    Argument("limit", "number", "messages at most", default=100, most=_MOST_SHOWN),
                    _BODY,
                ),
                needs=(Action.BROWSE,),
            ),
            Command(
                "message.trace",
                Role.OPERATOR,
                "Tell the life of one message, over all queues that keep a history.",
                self._trace,
                (
                    Argument("id", "text", "its message-id", required=True),
                    replace(QUEUE, required=False, meaning="look in this queue only"),
                    _BODY,
                ),
                needs=(Action.BROWSE,),
            ),
        ]

    def _list(self, call: Call) -> Result:
        found: list[Result] = []
        for past in self._readable(call, None):
            policy = self._context.router.histories.policy_of(past.destination)
            found.append(
                {
                    "queue": name_in(past),
                    "records": past.records,
                    "bytes": past.ends.bytes,
                    "oldest_at": past.ends.oldest or None,
                    "ended": past.live is None,
                    "history": policy.history,
                    "history_bytes": policy.history_bytes,
                }
            )
        return {"histories": sorted(found, key=lambda one: str(one["queue"]))}

    # -- rows -------------------------------------------------------------------------------

    def _history(self, call: Call) -> Steps[Result]:
        args = call.args
        past = self.past_of(args["queue"])
        name = name_in(past)
        wanted = self.wanted_rows(call)
        most, body = args["limit"], args["body"]
        told = 0

        def give(rows: Sequence[PastRow]) -> bool:
            nonlocal told
            some = rows if most is None else rows[: most - told]
            for at in range(0, len(some), MOST_ROWS):
                page = [row_as_json(row, body) for row in some[at : at + MOST_ROWS]]
                call.part({"queue": name, "rows": page})
            told += len(some)
            return most is None or told < most

        place = yield from walk(past, wanted, give)
        known_from = yield from self._known_from(past)
        return {
            "queue": name,
            "rows_total": told,
            "first": past.ends.first,
            "next": place,
            "known_from": known_from,
        }

    def past_of(self, text: str) -> Past:
        """The past of a queue that a request names.

        Raises:
            CommandError: there is none, and why.
        """
        name = text.removeprefix(DestinationKind.QUEUE.value)
        destination = f"{DestinationKind.QUEUE.value}{name}"
        histories = self._context.router.histories
        past = histories.of(destination)
        if past is not None:
            return past
        queue = self._context.router.queues.get(name)
        if queue is None and histories.policy_of(destination).history:
            raise not_found(
                f"there is no queue {name[:200]!r}, and no history of an earlier one of that name"
            )
        raise conflict(f"queue {name[:200]!r} keeps no history: {self._why_none(name, queue)}")

    def _why_none(self, name: str, queue: Queue | None) -> str:
        """Why nothing is written down of what leaves a queue."""
        destination = f"{DestinationKind.QUEUE.value}{name}"
        if queue is None or not self._context.router.histories.policy_of(destination).history:
            return "no policy says `history` for it"
        if queue.policy.is_stream:
            return "it is a stream, which keeps what was read"
        if queue.policy.non_destructive:
            return "it is non-destructive, so nothing leaves it by being read"
        if not any(group.store.keeps_logs for group in self._context.router.groups.every):
            return "no queue of a cluster does"
        return (
            "it was made before its policy said `history`; its history begins when it is made "
            "anew, at the next start of the broker for instance"
        )

    def wanted_rows(self, call: Call) -> WantedRows:
        """Which rows a request means.

        Raises:
            CommandError: it makes no sense.
        """
        args = call.args
        selection = selected({"ids": args["ids"], "selector": args["selector"]})
        minute = ""
        if selection.ids is not None and len(selection.ids) == 1:
            minute = minute_of(next(iter(selection.ids)))
        return WantedRows(
            self.moment(args["from"]),
            self.moment(args["to"]),
            args["after"],
            _kinds(args["outcomes"]),
            selection,
            minute,
        )

    def moment(self, number: int) -> int:
        """What a request means by a number that is a time; 0 stays 0."""
        return self._context.router.wall() + number if number < 0 else number

    # -- an instant -------------------------------------------------------------------------

    def _at(self, call: Call) -> Steps[Result]:
        args = call.args
        past = self.past_of(args["queue"])
        name, at = name_in(past), self.moment(args["t"])
        wall = self._context.router.wall()
        if at > wall:
            raise bad(f"'t' is {at - wall} ms in the future")
        instant = _Instant(at, args["limit"], args["body"])
        queue = self._context.router.queues.get(name)
        if queue is not None:
            if past.live is None:
                raise conflict(
                    f"queue {name[:200]!r} keeps no history: {self._why_none(name, queue)}; what "
                    "is known is of an earlier queue of that name, see queue.history"
                )
            yield from instant.add_present(queue, past)
        # What has left meanwhile is in the log by now.
        past = self.past_of(name)
        known_from = yield from self._known_from(past)
        if at < known_from:
            raise CommandError(
                CommandErrorCode.NOT_FOUND,
                f"what was in queue {name[:200]!r} at {_utc(at)} is not known: its history is "
                f"known from {_utc(known_from)} on ({known_from} ms)",
                {"known_from": known_from},
            )
        yield from walk(past, WantedRows(since=at + 1), instant.add_past)
        return {"queue": name, "at": at, "known_from": known_from, **instant.result()}

    def _known_from(self, past: Past) -> Steps[int]:
        """From when on all that left is known, in milliseconds since the epoch."""
        found = [self._context.router.wall() if past.live is None else past.live.known_from]
        if not past.records:
            return found[0]

        def take(rows: Sequence[PastRow]) -> bool:
            found.extend(row.ended_at for row in rows[:1])
            return not rows

        yield from walk(past, WantedRows(), take)
        return min(found)

    # -- one message ------------------------------------------------------------------------

    def _trace(self, call: Call) -> Steps[Result]:
        args = call.args
        wanted_id: str = args["id"]
        pasts = self._readable(call, args["queue"])
        ids, found = [wanted_id], list[PastRow]()
        for message_id in ids:
            rows: list[PastRow] = []
            selection = Selection(ids=frozenset((message_id,)))
            wanted = WantedRows(selection=selection, minute=minute_of(message_id))
            for past in pasts:
                yield from walk(past, wanted, partial(_collect, rows))
            ids += [one for one in _origins(rows) if one not in ids]
            found += rows
        places = {row.queue for row in found} | {_queue_in(row.record.sent_to) for row in found}
        if args["queue"] is not None:
            places.add(args["queue"].removeprefix(DestinationKind.QUEUE.value))
        places |= {name_in(past) for past in pasts}
        here = yield from self._present(call, sorted(places - {""}), wanted_id)
        found.sort(key=lambda row: (row.ended_at, row.entry.sequence, row.record.deliveries))
        if not found and not here:
            raise not_found(
                f"no queue that keeps a history knows message {wanted_id[:60]!r}, or it was too "
                "long ago"
            )
        rows_told = [row_as_json(row, args["body"]) for row in found]
        return {"id": wanted_id, "ids": ids, "rows": rows_told, "now": here}

    def _readable(self, call: Call, queue: str | None) -> list[Past]:
        """The pasts that somebody may look into: of the queue that he names, or of all."""
        if queue is not None:
            return [self.past_of(queue)]
        permissions = self._context.permissions(call)
        return [
            past
            for past in self._context.router.histories.every()
            if permissions.may_browse(parse_destination(past.destination))
        ]

    def _present(self, call: Call, names: Iterable[str], message_id: str) -> Steps[list[Result]]:
        """Where a message is now, of some queues."""
        permissions = self._context.permissions(call)
        found: list[Result] = []
        for name in names:
            queue = self._context.router.queues.get(name)
            if queue is None or not permissions.may_browse(parse_destination(queue.destination)):
                continue
            look = Browse(Selection(ids=frozenset((message_id,))), most=1, states=_EVERY_STATE)
            browsed: Browsed = yield from ask(partial(queue.browse, look))
            past = self._context.router.histories.of(queue.destination)
            for message, state in zip(browsed.messages, browsed.states, strict=True):
                holder, since, taker = _held(past, message)
                found.append(
                    {
                        "queue": name,
                        "state": state.value,
                        "received_at": message.received_at,
                        "deliveries": message.deliveries,
                        "consumer": holder or None,
                        "delivered_at": since or None,
                        **_taker(taker),
                    }
                )
            yield None
        return found


class _Instant:
    """What was in a queue at an instant, as far as it is found.

    Only what is shown is kept of it, and of the rest who had it.

    Args:
        at: when, in milliseconds since the epoch.
        limit: how many messages are shown, in the order of the queue.
        body: how much of bodies is shown.
    """

    def __init__(self, at: int, limit: int, body: str) -> None:
        self._at, self._limit, self._body = at, limit, body
        self._present: set[int] = set()  # the sequences of what is there still
        self._left = 0  # of other messages
        self._shown: dict[int, tuple[int, Result]] = {}  # with its rank, by sequence
        self._holders: dict[int, tuple[int, int, Taker]] = {}

    def add_present(self, queue: Queue, past: Past) -> Steps[None]:
        """Add what is there now, and was there then."""

        def take(page: Browsed) -> int:
            for message in page.messages:
                if message.received_at > self._at:
                    continue
                self._present.add(message.sequence)
                self._show(message, _message_as_json(message, "none"))
                holder, since, taker = _held(past, message)
                if holder and since <= self._at:
                    self._holders[message.sequence] = (holder, since, taker)
            return len(page.messages)

        yield from look_through(queue, Browse(most=1000, states=_EVERY_STATE), None, take)

    def add_past(self, rows: Sequence[PastRow]) -> bool:
        """Add what was settled later, and was there then."""
        for row in rows:
            record, sequence = row.record, row.entry.sequence
            if record.received > self._at:
                continue
            if record.leaves:
                self._left += sequence not in self._present
                shown = {**_message_as_json(row.message(), self._body), "left_at": row.ended_at}
                shown |= {"received_at": record.received, "outcome": record.kind.value}
                self._show(row.message(), shown)
            if record.consumer and record.delivered <= self._at:
                # It was delivered by then, and that had not ended.
                self._holders[sequence] = (record.consumer, record.delivered, record.taker)
        return True

    def _show(self, message: Message, shown: Result) -> None:
        self._shown[message.sequence] = (-message.head.priority, shown)
        if len(self._shown) > 2 * self._limit + MOST_ROWS:
            self._shown = {sequence: self._shown[sequence] for sequence in self._first()}

    def _first(self) -> list[int]:
        """The sequences of those that are shown, in the order of the queue."""
        places = sorted((rank, sequence) for sequence, (rank, _) in self._shown.items())
        return [sequence for _, sequence in places[: self._limit]]

    def result(self) -> Result:
        """What is told of it."""
        shown: list[Result] = []
        for sequence in self._first():
            one = dict(self._shown[sequence][1])
            holder = self._holders.get(sequence)
            one["state"] = "waiting" if holder is None else "unacked"
            if holder is not None:
                one |= {"consumer": holder[0], "delivered_at": holder[1] or None}
                one |= _taker(holder[2])
            shown.append(one)
        count, unacked = len(self._present) + self._left, len(self._holders)
        return {
            "waiting": count - unacked,
            "unacked": unacked,
            "more": count > len(shown),
            "messages": shown,
        }


def name_in(past: Past) -> str:
    """The name of the queue of a past."""
    return past.destination.removeprefix(DestinationKind.QUEUE.value)


def row_as_json(row: PastRow, body: str) -> Result:
    """Give a row of a past as answers show it.

    Args:
        row: it.
        body: how much of the body: none, head or full.
    """
    entry, record = row.entry, row.record
    shown: Result = {
        "queue": row.queue,
        "place": entry.offset,
        "sequence": str(entry.sequence),
        "message_id": row.message_id,
        "received_at": record.received,
        "delivered_at": record.delivered or None,
        "ended_at": row.ended_at,
        "outcome": record.kind.value,
        "cause": record.cause or None,
        "reason": record.reason or None,
        "sent_to": record.sent_to or None,
        "consumer": record.consumer or None,
        **_taker(record.taker),
        "deliveries": record.deliveries,
        "failures": record.failures,
    }
    if record.leaves:
        shown |= {"size": row.size, "headers": entry.head.text_headers()}
        shown |= _body(entry.body, body)
    return shown


def _message_as_json(message: Message, body: str) -> Result:
    return {
        "message_id": message.message_id,
        "sequence": str(message.sequence),
        "received_at": message.received_at,
        "headers": message.head.text_headers(),
        "priority": message.head.priority,
        "size": message.size,
        **_body(message.body, body),
    }


def _body(body: bytes | None, how_much: str) -> Result:
    if how_much == "none":
        return {}
    if body is None:
        return {"body": None}
    return body_as_json(body, _HEAD_BYTES if how_much == "head" else _FULL_BYTES)


def _taker(taker: Taker) -> Result:
    return {
        "client_id": taker.client_id or None,
        "user": taker.user or None,
        "session": taker.session or None,
        "subscription": taker.subscription or None,
    }


def _held(past: Past | None, message: Message) -> tuple[int, int, Taker]:
    """Who has a message just now, since when, and who that is; 0 = nobody, or it is not known."""
    if past is None or past.live is None:
        return 0, 0, NOBODY
    holder, since = past.live.held.get(message.sequence, (0, 0))
    return holder, since, past.live.taker(holder) if holder else NOBODY


def _collect(rows: list[PastRow], page: Sequence[PastRow]) -> bool:
    rows.extend(page)
    return True


def _origins(rows: Iterable[PastRow]) -> list[str]:
    """The ids of the messages that these are copies of."""
    found = (row.entry.head.headers().get(REPLAY_OF, "") for row in rows if row.record.leaves)
    return [one for one in dict.fromkeys(found) if one]


def _utc(milliseconds: int) -> str:
    """A time as people read it, as far as it is one."""
    try:
        moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"
    return moment.isoformat(" ", "milliseconds").replace("+00:00", "Z")


def _queue_in(destination: str) -> str:
    queue = DestinationKind.QUEUE.value
    return destination.removeprefix(queue) if destination.startswith(queue) else ""


def _kinds(given: Sequence[object] | None) -> frozenset[SettlementKind]:
    """Read which outcomes are meant.

    Raises:
        CommandError: there is no such outcome.
    """
    try:
        return frozenset(SettlementKind(str(one)) for one in given or ())
    except ValueError as error:
        raise bad(f"'outcomes': {error}; there are {', '.join(SettlementKind)}") from None
