"""This broker as the one that asks on a link: what it watches at a peer, and has it do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from stompy.admin.command import CommandError, CommandErrorCode, Reply, Request
from stompy.admin.rows import Event, Kind, Row
from stompy.admin.snapshot import SchemaError, Table, read_page, row_from
from stompy_broker.admin.cluster_status import TakeEvent
from stompy_broker.admin.peers.peer_codec import (
    PeerMessage,
    Saying,
    encode,
    encode_json,
)
from stompy_broker.cluster.link.link import Link
from stompy_broker.session.context import Client

Watched = tuple[Kind, str]
"""What rows are of: a kind, and for `Kind.QUEUE` a name."""

_LATE = 2.0
"""Rows that came so many intervals ago are too old: one to wait for, and one to be late."""


@dataclass
class WatchedRows:
    """Rows that a peer tells.

    Attributes:
        number: of the request.
        interval_ms: as it was asked for.
        table: them.
        told_at: when they came last, on the clock; None = not yet.
    """

    number: int
    interval_ms: int
    table: Table
    told_at: float | None = None

    def fresh(self, now: float) -> bool:
        """Whether they are new enough to be shown."""
        if self.told_at is None or self.table.page is None:
            return False
        # A peer that has much to do says that it takes longer.
        interval = max(self.interval_ms, self.table.page.interval_ms) / 1000
        return now - self.told_at <= _LATE * interval


@dataclass
class _Listening:
    """Events that are wanted, and how far they have come."""

    pattern: str
    take: TakeEvent


@dataclass
class PendingRequest:
    """A command that a peer is to carry out.

    Attributes:
        part: takes an answer that is not the last one.
        done: takes the last one.
    """

    part: Callable[[Mapping[str, object]], None]
    done: Callable[[Reply], None] = field(default=lambda reply: None)


class PeerLink:
    """What is asked on one link.

    Args:
        link: to the peer; this broker opened it.
        now: gives the time on the clock.
        told: called when rows have come as a whole.
    """

    def __init__(
        self, link: Link, now: Callable[[], float], told: Callable[[str, Watched], None]
    ) -> None:
        self.peer = link.peer
        self._link = link
        self._now = now
        self._told = told
        self._numbers = 0
        self._rows: dict[Watched, WatchedRows] = {}
        self._by_number: dict[int, Watched] = {}
        self._events: dict[int, _Listening] = {}
        self._commands: dict[int, PendingRequest] = {}

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    # -- rows -----------------------------------------------------------------------------------

    def watch(self, wanted: Mapping[Watched, int]) -> None:
        """Have these rows told from now on, each at its interval, and no others."""
        for what, rows in list(self._rows.items()):
            if wanted.get(what) != rows.interval_ms:
                del self._rows[what], self._by_number[rows.number]
                self._link.send(encode(PeerMessage(Saying.UNWATCH, rows.number)))
        for what, interval_ms in wanted.items():
            if what not in self._rows:
                number = self._next()
                kind, name = what
                self._rows[what] = WatchedRows(number, interval_ms, Table(kind))
                self._by_number[number] = what
                about = {"kind": kind, "name": name, "interval": interval_ms}
                self._link.send(encode_json(Saying.WATCH, number, about))

    def rows(self, what: Watched) -> list[Row] | None:
        """Give the rows that were told; None = none, or too long ago."""
        rows = self._rows.get(what)
        if rows is None or not rows.fresh(self._now()):
            return None
        return list(rows.table.rows.values())

    # -- events ---------------------------------------------------------------------------------

    def watch_events(self, pattern: str, take: TakeEvent) -> None:
        """Have events told that match a pattern, also those of late."""
        number = self._next()
        self._events[number] = _Listening(pattern, take)
        self._link.send(encode_json(Saying.EVENTS, number, {"pattern": pattern}))

    def unwatch_events(self, take: TakeEvent) -> None:
        """Have no more events told to somebody."""
        for number, listening in list(self._events.items()):
            if listening.take is take:
                del self._events[number]
                self._link.send(encode(PeerMessage(Saying.NO_EVENTS, number)))

    # -- commands -------------------------------------------------------------------------------

    def command(self, request: Request, client: Client, pending: PendingRequest) -> int:
        """Have a command carried out; gives its number."""
        number = self._next()
        self._commands[number] = pending
        principal = client.principal
        about = {
            "cmd": request.cmd,
            "args": dict(request.args),
            "dry_run": request.dry_run,
            "expect": request.expect,
            "connection": client.key,
            "client_id": client.client_id,
            "address": client.peer.address,
            "user": principal.name if principal is not None else "",
            "role": principal.role if principal is not None else "none",
            "proved": principal is not None and principal.proved,
        }
        self._link.send(encode_json(Saying.COMMAND, number, about))
        return number

    def give_up(self, number: int) -> None:
        """Say that nobody wants a command any more, unless it has been answered."""
        if self._commands.pop(number, None) is not None:
            self._link.send(encode(PeerMessage(Saying.GONE, number)))

    # -- what comes -----------------------------------------------------------------------------

    def take(self, message: PeerMessage) -> None:
        """Take what the peer says.

        Raises:
            ValueError: it makes no sense.
        """
        if message.saying is Saying.PAGE:
            self._take_page(message)
        elif message.saying is Saying.EVENT:
            listening = self._events.get(message.number)
            if listening is not None:
                event = cast(Event, row_from(Kind.EVENT, message.json()))
                listening.take(replace(event, broker=self.peer))
        elif message.saying is Saying.ANSWER:
            self._take_answer(message)

    def _take_page(self, message: PeerMessage) -> None:
        if message.last:
            self._link.send(encode(PeerMessage(Saying.TAKEN, message.number)))
        what = self._by_number.get(message.number)
        if what is None:
            return  # it was on its way when nobody wanted it any more
        rows = self._rows[what]
        if rows.table.add(read_page(message.body)):
            rows.told_at = self._now()
            self._told(self.peer, what)

    def _take_answer(self, message: PeerMessage) -> None:
        headers = {"final": "true" if message.last else "false"}
        try:
            reply = Reply.from_json(message.body, headers)
        except SchemaError as error:
            reply = Reply("", error=CommandError(CommandErrorCode.INTERNAL, str(error)))
        if reply.final:
            pending = self._commands.pop(message.number, None)
            if pending is not None:
                pending.done(reply)
        elif message.number in self._commands:
            self._commands[message.number].part(reply.result or {})

    def lose(self, reason: str) -> None:
        """Answer what will not be answered any more: the link is lost."""
        words = (
            f"the link to broker {self.peer!r} was lost ({reason}) before it answered; whether it "
            "carried the command out is not known"
        )
        commands, self._commands = self._commands, {}
        for pending in commands.values():
            pending.done(Reply("", error=CommandError(CommandErrorCode.TIMEOUT, words)))
