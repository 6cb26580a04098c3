"""This broker as the one that is asked on a link: what a peer watches here, and has it do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

from stompy.admin.command import Request
from stompy.admin.rows import Event, Kind, Role
from stompy.admin.snapshot import SINGLE, Format, Mode, field_names, row_to_json
from stompy_broker.admin.peers.peer_codec import PeerMessage, Saying, encode, encode_json
from stompy_broker.admin.streams import Watcher
from stompy_broker.cluster.link.link import Link
from stompy_broker.events import Events, Take
from stompy_broker.message import Message
from stompy_broker.security.auth import Principal
from stompy_broker.session.context import Answer, Client, Peer
from stompy_broker.session.sys_subscription import LEAST_INTERVAL, MOST_INTERVAL, StreamSpec

_ROLES = {role.value: role for role in Role}


class RowStreams(Protocol):
    """Where rows of this broker are offered, again and again."""

    def offer(self, subscription: Watcher, streams: Sequence[StreamSpec]) -> None:
        """Begin to offer these streams."""
        ...

    def withdraw(self, subscription: Watcher, only: StreamSpec | None = None) -> None:
        """Offer no more streams, or one of them no more."""
        ...


class Commands(Protocol):
    """What carries out the commands of a peer's clients."""

    def execute_here(self, client: Client, request: Request, answer: Answer) -> None:
        """Carry out a command in this broker."""
        ...

    def leave(self, client: Client) -> None:
        """Take no more steps for somebody who has gone."""
        ...


@dataclass(slots=True, eq=False)
class RemoteOperator:
    """Who has a command carried out, and is connected to another broker; he is a `Client`.

    Attributes:
        key: of his connection, there.
        principal: his login, there.
        client_id: header ``client-id`` of his CONNECT.
        peer: his connection, of which no more is known than the address.
    """

    key: str
    principal: Principal | None
    client_id: str | None
    peer: Peer


@dataclass(frozen=True, slots=True)
class _Address:
    address: str


class _WatchedHere:
    """Rows that a peer watches: it is sent the next snapshot when it has taken the last one."""

    def __init__(self, number: int, send: Callable[[Sequence[bytes]], None]) -> None:
        self.closed = False
        self._number = number
        self._send = send
        self._under_way = 0
        self._newest: Sequence[Message] | None = None

    def behind(self, stream: StreamSpec) -> bool:
        """Whether a snapshot waits, so that the next takes its place."""
        return self._newest is not None

    def offer(self, stream: StreamSpec, pages: Sequence[Message]) -> None:
        """Send a snapshot, now or when the one before was taken."""
        self._newest = pages
        if not self._under_way:
            self._write()

    def taken(self) -> None:
        """Take note that a snapshot has arrived; send the one that waits."""
        self._under_way = max(0, self._under_way - 1)
        if not self._under_way:
            self._write()

    def _write(self) -> None:
        pages, self._newest = self._newest, None
        if pages is None or self.closed:
            return
        self._under_way += 1
        for number, page in enumerate(pages, 1):
            last = number == len(pages)
            self._send(encode(PeerMessage(Saying.PAGE, self._number, last, page.body or b"")))


class PeerRequests:
    """What one peer wants on the link that it opened.

    Args:
        link: from the peer.
        streams: where rows are offered.
        events: what happens here.
        commands: carries out commands.
    """

    def __init__(self, link: Link, streams: RowStreams, events: Events, commands: Commands) -> None:
        self._link = link
        self._streams = streams
        self._events = events
        self._commands = commands
        self._watched: dict[int, _WatchedHere] = {}
        self._takes: dict[int, Take] = {}
        self._operators: dict[int, RemoteOperator] = {}

    def take(self, message: PeerMessage) -> None:
        """Do what the peer wants.

        Raises:
            ValueError: it makes no sense.
            KeyError: something is missing in it.
        """
        number = message.number
        if message.saying in (Saying.COMMAND, Saying.GONE):
            self._take_command(message)
        elif message.saying is Saying.WATCH:
            self._watch(number, message.json())
        elif message.saying is Saying.UNWATCH:
            self._end(self._watched.pop(number, None))
        elif message.saying is Saying.TAKEN:
            watched = self._watched.get(number)
            if watched is not None:
                watched.taken()
        elif message.saying is Saying.EVENTS:
            self._pass_on(number, str(message.json()["pattern"]))
        elif message.saying is Saying.NO_EVENTS:
            take = self._takes.pop(number, None)
            if take is not None:
                self._events.unwatch(take)

    def _take_command(self, message: PeerMessage) -> None:
        if message.saying is Saying.COMMAND:
            self._execute(message.number, message.json())
            return
        operator = self._operators.pop(message.number, None)
        if operator is not None:
            self._commands.leave(operator)

    def lose(self) -> None:
        """Do nothing more for the peer: the link is lost."""
        for watched in self._watched.values():
            self._end(watched)
        for take in self._takes.values():
            self._events.unwatch(take)
        for operator in self._operators.values():
            self._commands.leave(operator)
        self._watched, self._takes, self._operators = {}, {}, {}

    # -- rows and events ------------------------------------------------------------------------

    def _watch(self, number: int, about: Mapping[str, object]) -> None:
        kind, interval = Kind(str(about["kind"])), int(str(about["interval"]))
        single = kind in SINGLE
        spec = StreamSpec(
            kind,
            str(about["name"]),
            Format.OBJECTS if single else Format.COLUMNS,
            Mode.FULL if single else Mode.DELTA,
            min(max(interval, LEAST_INTERVAL), MOST_INTERVAL),
            field_names(kind, clustered=True),
            own=True,
        )
        watched = self._watched[number] = _WatchedHere(number, self._link.send)
        self._streams.offer(watched, [spec])

    def _end(self, watched: _WatchedHere | None) -> None:
        if watched is not None:
            watched.closed = True
            self._streams.withdraw(watched)

    def _pass_on(self, number: int, pattern: str) -> None:
        def take(event: Event) -> None:
            self._link.send(encode_json(Saying.EVENT, number, row_to_json(event)))

        self._takes[number] = take
        for event in self._events.watch(pattern, take):
            told = {**row_to_json(event), "replayed": True}
            self._link.send(encode_json(Saying.EVENT, number, told))

    # -- commands -------------------------------------------------------------------------------

    def _execute(self, number: int, about: Mapping[str, object]) -> None:
        args, expect = about["args"], about["expect"]
        if not isinstance(args, dict) or not (expect is None or isinstance(expect, int)):
            raise ValueError("no command")
        role, client_id = _ROLES[str(about["role"])], about["client_id"]
        principal = Principal(str(about["user"]), role, proved=bool(about["proved"]))
        operator = self._operators[number] = RemoteOperator(
            str(about["connection"]),
            principal,
            str(client_id) if client_id is not None else None,
            cast(Peer, _Address(str(about["address"]))),
        )
        request = Request(str(about["cmd"]), args, bool(about["dry_run"]), expect)
        self._commands.execute_here(operator, request, partial(self._answer, number))

    def _answer(self, number: int, body: bytes, ok: bool, final: bool) -> None:
        if final:
            self._operators.pop(number, None)
        self._link.send(encode(PeerMessage(Saying.ANSWER, number, final, body)))
