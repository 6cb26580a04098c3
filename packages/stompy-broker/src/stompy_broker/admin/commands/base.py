"""The table of commands: what a row of it says, and what the function of a row is given.

A command is a row: its name, the least role, its arguments, what the access rules must allow, and
a function. The function gets a `Call`, and gives a result or the steps that lead to one.
`CommandRunner` does everything else: checks, dry runs of whoever honours them, answers, the audit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from stompy.admin.command import CommandError, CommandErrorCode, Request
from stompy.admin.rows import Kind, Role
from stompy_broker.admin.cluster_control import ClusterControl
from stompy_broker.admin.cluster_status import ClusterStatus, MergedRows, PeerBrokers
from stompy_broker.admin.publisher import Publisher
from stompy_broker.admin.snapshots.snapshots import Snapshots
from stompy_broker.admin.streams import BrokerIdentity, EnvelopeWriter
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import (
    BACKLOG,
    STREAM_PREFIX,
    Destination,
    DestinationKind,
    parse_destination,
)
from stompy_broker.events import Events
from stompy_broker.foreign_headers import ForeignHeaders
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.router import Router
from stompy_broker.security.access import Access, Action
from stompy_broker.security.auth import Principal
from stompy_broker.security.login import Logins
from stompy_broker.session.context import AdminClient, Client
from stompy_broker.session.permissions import Permissions
from stompy_broker.session.quotas import Quotas

Result = dict[str, object]

Reload = Callable[[bool], Steps[Result]]
"""Reads the configuration again and goes by it, unless that is only to be told; says what changes.

It raises `stompy_broker.config.ConfigError`, and changes nothing, when it cannot be used.
"""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "number": (int,),
    "any number": (int, float),
    "true or false": (bool,),
    "list": (list,),
    "object": (dict,),
    "text or list": (str, list),
}


class Addressee(Enum):
    """Which broker of a cluster carries a command out, unless the request names one."""

    HERE = "here"
    """The one that was asked. It may ask others."""
    OWNER = "owner"
    """The one that owns the queue that an argument names."""
    HOLDER = "holder"
    """The one that the argument ``id`` ends in."""


def at_owner(args: Mapping[str, Any]) -> Addressee:
    """Say that the owner of its queue carries a command out."""
    return Addressee.OWNER


def at_holder(args: Mapping[str, Any]) -> Addressee:
    """Say that a command is carried out where the connection is that it is about."""
    return Addressee.HOLDER


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command.

    Attributes:
        name: in JSON.
        type: in words; a key of the table of types.
        meaning: for people.
        required: whether it must be given.
        default: what holds otherwise.
        least: the least number it may be.
        most: the largest number it may be.
        words: the texts it may be; empty = any.
        names: what it is the name of, which the access rules are asked about.
    """

    name: str
    type: str
    meaning: str
    required: bool = False
    default: object = None
    least: int = 0
    most: int = 1 << 53
    words: tuple[str, ...] = ()
    names: Literal["", "queue", "durable", "destination"] = ""

    def check(self, value: object) -> None:
        """Refuse a value that may not be given.

        Raises:
            CommandError: it is of another type, or out of bounds.
        """
        types = _TYPES[self.type]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise bad(f"{self.name!r} must be {self.type}, not {type(value).__name__}")
        if isinstance(value, int | float) and not self.least <= value <= self.most:
            raise bad(f"{self.name!r} must be {self.least} to {self.most}, not {value}")
        if self.words and value not in self.words:
            raise bad(f"{self.name!r} must be one of {', '.join(self.words)}")


@dataclass(slots=True)
class Call:
    """One request on its way.

    Attributes:
        request: what came.
        args: its arguments, checked, with defaults filled in.
        client: who wants it; None = the broker's own program.
        role: what that one may do.
        part: takes a result that is not the last one.
        relayed: whether another broker of the cluster has sent it here, or somebody named this
            one: nobody else is asked.
    """

    request: Request
    args: Mapping[str, Any]
    client: Client | None
    role: Role
    part: Callable[[Mapping[str, object]], None]
    relayed: bool = False

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be changed."""
        return self.request.dry_run

    @property
    def principal(self) -> Principal | None:
        """The login of who wants it."""
        return self.client.principal if self.client is not None else None

    @property
    def user(self) -> str:
        """The name of who wants it; empty = the broker's own program."""
        return self.principal.name if self.principal is not None else ""

    def expect(self, matched: int) -> None:
        """Refuse a number of matches that is not the one that the request expects.

        Raises:
            CommandError: it is another one.
        """
        expected = self.request.expect
        if expected is not None and expected != matched:
            raise CommandError(
                CommandErrorCode.CONFLICT,
                f"{matched} match, not {expected} as expected; nothing was done",
                {"matched": matched, "expected": expected},
            )


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the table.

    Attributes:
        name: in requests.
        role: the least that is needed.
        meaning: for people.
        run: carries it out.
        args: what it takes.
        changes: whether it changes anything: ``dry_run`` means something, it leaves a trace, and
            the access rules must allow `Action.ADMIN` on its queue.
        needs: what else the access rules must allow on its queue. Whoever shows what is in
            messages needs `Action.BROWSE`.
        place: which broker of a cluster carries it out, by its arguments.
    """

    name: str
    role: Role
    meaning: str
    run: Callable[[Call], Result | Steps[Result]]
    args: tuple[Argument, ...] = ()
    changes: bool = False
    needs: tuple[Action, ...] = ()
    place: Callable[[Mapping[str, Any]], Addressee] = lambda args: Addressee.HERE

    def read(self, args: Mapping[str, object]) -> dict[str, object]:
        """Give the arguments of a request, with defaults filled in.

        Raises:
            CommandError: one is unknown, missing or makes no sense.
        """
        known = {argument.name for argument in self.args}
        unknown = sorted(args.keys() - known)
        if unknown:
            for name in ("dry_run", "expect"):
                if name in unknown:
                    raise bad(
                        f"{self.name}: {name!r} stands beside 'args', not in it: "
                        f'{{"cmd": "{self.name}", "args": {{…}}, "{name}": …}}'
                    )
            raise bad(f"{self.name} does not take {unknown[0]!r}; it takes {', '.join(known)}")
        values = {argument.name: argument.default for argument in self.args}
        for argument in self.args:
            value = args.get(argument.name)
            if value is not None:
                argument.check(value)
                values[argument.name] = value
            elif argument.required:
                raise bad(f"{self.name} needs {argument.name!r}: {argument.meaning}")
        return values

    def check_access(
        self, access: Access, principal: Principal, args: Mapping[str, object]
    ) -> None:
        """Hold a command to the rules for frames: a role alone opens no destination.

        Args:
            access: the rules.
            principal: who wants it.
            args: its arguments, checked.

        Raises:
            ProtocolError: the rules do not let it, or a destination cannot be read.
        """
        for action, destination in self._wanted(args):
            access.check(principal, action, destination)

    def _wanted(self, args: Mapping[str, object]) -> Iterator[tuple[Action, Destination]]:
        on_queue = (Action.ADMIN, *self.needs) if self.changes else self.needs
        for argument in self.args:
            text = args[argument.name]
            if not argument.names or not isinstance(text, str):
                continue
            if argument.names == "destination":
                if self.changes:
                    yield Action.SEND, parse_destination(text)
                continue
            name = f"{BACKLOG}{text}" if argument.names == "durable" else text
            for action in on_queue:
                yield action, _queue_named(name)

    def queue_of(self, args: Mapping[str, Any]) -> str:
        """The name of the queue that a command is about; empty = none."""
        for argument in self.args:
            text = args[argument.name]
            if isinstance(text, str) and argument.names in ("queue", "durable"):
                backlog = BACKLOG if argument.names == "durable" else ""
                return f"{backlog}{name_in(text)}"
        return ""

    def describe(self, role: Role) -> Result:
        """Give what ``broker.help`` tells of it."""
        return {
            "name": self.name,
            "role": self.role,
            "allowed": role.includes(self.role),
            "changes": self.changes,
            "meaning": self.meaning,
            "args": [
                {
                    "name": argument.name,
                    "type": argument.type,
                    "required": argument.required,
                    "default": argument.default,
                    "meaning": argument.meaning,
                    **({"words": list(argument.words)} if argument.words else {}),
                }
                for argument in self.args
            ],
        }


def _queue_named(text: str) -> Destination:
    """A queue as commands name it, whatever its name looks like."""
    return parse_destination(f"{DestinationKind.QUEUE.value}{name_in(text)}")


def name_in(text: str) -> str:
    """The name of a queue, with or without a prefix of queues and streams before it."""
    for prefix in (DestinationKind.QUEUE.value, STREAM_PREFIX):
        if text.startswith(prefix):
            return text.removeprefix(prefix)
    return text


@dataclass(frozen=True, slots=True)
class CommandContext:
    """The broker as commands have to do with it.

    Attributes:
        router: queues, topics and durable subscriptions.
        sessions: who is logged in, by key.
        snapshots: rows of everything.
        events: what happens is told there.
        access: the rules of the configuration.
        logins: who may come in.
        identity: who the broker is.
        publisher: the streams that are observed.
        writer: makes the messages of a stream.
        closed: the last connections that ended, as events tell it.
        cluster: which the broker belongs to; None = it is alone.
        control: gives what that cluster may be told to do; None = nothing.
        reload: gives what reads the configuration again; see `Reload`. None = nothing does.
        foreign_headers: gives what knows headers that are refused; None = none are.
        quotas: gives what users may use; None = nobody has a quota.
    """

    router: Router
    sessions: Mapping[str, AdminClient]
    snapshots: Snapshots
    events: Events
    access: Access
    logins: Logins
    identity: BrokerIdentity
    publisher: Publisher
    writer: EnvelopeWriter
    closed: deque[dict[str, object]]
    cluster: ClusterStatus | None = None
    control: Callable[[], ClusterControl | None] = lambda: None
    reload: Callable[[], Reload | None] = lambda: None
    foreign_headers: Callable[[], ForeignHeaders | None] = lambda: None
    quotas: Callable[[], Quotas | None] = lambda: None

    @property
    def peers(self) -> PeerBrokers | None:
        """The other brokers of the cluster; None = there is no cluster."""
        return self.publisher.peers

    def look(self, kind: Kind, call: Call, name: str = "") -> Steps[tuple[MergedRows, int]]:
        """Make rows of the whole cluster, unless one broker was named; tells also when it is."""
        moment = self.snapshots.moment()
        rows = yield from self.snapshots.rows(kind, name, moment)
        if self.peers is None or call.relayed:
            return MergedRows(rows, ()), moment.at
        return (yield from self.peers.gather(kind, name, rows)), moment.at

    def ask_peers(self, call: Call, request: Request) -> Steps[dict[str, Result]]:
        """Have all peers carry out a command as well; gives their results, by their ids.

        Those that do not know what it is about give none.

        Raises:
            CommandError: it failed at one of them, or the link to one was lost.
        """
        results: dict[str, Result] = {}
        if self.peers is not None and not call.relayed and call.client is not None:
            for peer in self.peers.linked:
                try:
                    results[peer] = yield from self.peers.forward(peer, request, call.client)
                except CommandError as error:
                    if error.code is not CommandErrorCode.NOT_FOUND:
                        raise
        return results

    def queue(self, text: str) -> Queue:
        """Find a queue by its name, with or without ``/queue/``.

        Raises:
            CommandError: there is none.
        """
        name = name_in(text)
        queue = self.router.queues.get(name)
        if queue is None:
            raise not_found(f"there is no queue {name[:200]!r}")
        return queue

    def permissions(self, call: Call) -> Permissions:
        """Give what the rules let somebody do; the broker's own program may do everything."""
        principal = call.principal or Principal("", call.role)
        access = self.access if call.principal is not None else Access()
        return Permissions(access, principal, self.router.registry.has_queue)


def bad(message: str) -> CommandError:
    """Say that a request makes no sense."""
    return CommandError(CommandErrorCode.BAD_REQUEST, message)


def not_found(message: str) -> CommandError:
    """Say that what a request is about is not there."""
    return CommandError(CommandErrorCode.NOT_FOUND, message)


def conflict(message: str) -> CommandError:
    """Say that the state does not allow it."""
    return CommandError(CommandErrorCode.CONFLICT, message)
