"""Commands: what there is, who may, and how one is carried out.

Each command is a row in a table: its name, the least role, its arguments, and a function. The
function gets a `Call`, and gives a result or the steps that lead to one. What goes wrong is a
`CommandError` and becomes an answer; nothing that a request holds can end the connection.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stompy.admin.command import CommandError, CommandErrorCode, Reply, Request
from stompy.admin.rows import Event, Role
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.admin.commands.clearance import check_clearance
from stompy_broker.admin.snapshots.broker import Census
from stompy_broker.admin.tasks import Steps, Work
from stompy_broker.events import Events
from stompy_broker.routing.queue import LocalQueue as Queue
from stompy_broker.routing.router import Router
from stompy_broker.security.access import Access
from stompy_broker.security.auth import Principal
from stompy_broker.session.context import Answer, Client
from stompy_broker.session.permissions import Permissions
from stompy_broker.session.session import Session
from stompy_broker.timers import Clock

log = logging.getLogger("stompy_broker.admin")

LARGEST_REQUEST = 8 * 1024 * 1024
"""Bytes in a request."""

MOST_AT_ONCE = 8
"""Commands of one connection that may be under way."""

Result = dict[str, object]

_TYPES: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "number": (int,),
    "true or false": (bool,),
    "list": (list,),
    "object": (dict,),
    "text or list": (str, list),
}


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
    """

    name: str
    type: str
    meaning: str
    required: bool = False
    default: object = None
    least: int = 0
    most: int = 1 << 53
    words: tuple[str, ...] = ()

    def check(self, value: object) -> None:
        """Whether a value may be given.

        Raises:
            CommandError: it may not.
        """
        types = _TYPES[self.type]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise bad(f"{self.name!r} must be {self.type}, not {type(value).__name__}")
        if isinstance(value, int) and not self.least <= value <= self.most:
            raise bad(f"{self.name!r} must be {self.least} to {self.most}, not {value}")
        if self.words and value not in self.words:
            raise bad(f"{self.name!r} must be one of {', '.join(self.words)}")


@dataclass(slots=True)
class Call:
    """One request on its way.

    Attributes:
        request: what came.
        args: its arguments, checked, with defaults filled in.
        guest: who wants it; None = the broker's own program.
        role: what that one may do.
        part: takes a result that is not the last one.
    """

    request: Request
    args: Mapping[str, Any]
    guest: Client | None
    role: Role
    part: Callable[[Mapping[str, object]], None]

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be changed."""
        return self.request.dry_run

    @property
    def principal(self) -> Principal | None:
        """Who wants it."""
        return self.guest.principal if self.guest is not None else None

    @property
    def user(self) -> str:
        """The name of who wants it."""
        return self.principal.name if self.principal is not None else ""

    def expect(self, matched: int) -> None:
        """Whether so many matches are what the request expects.

        Raises:
            CommandError: they are not.
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
    """A command that there is.

    Attributes:
        name: in requests.
        role: who may.
        meaning: for people.
        run: carries it out.
        args: what it takes.
        changes: whether it changes anything, so that ``dry_run`` means something.
    """

    name: str
    role: Role
    meaning: str
    run: Callable[[Call], Result | Steps[Result]]
    args: tuple[Argument, ...] = ()
    changes: bool = False

    def read(self, args: Mapping[str, object]) -> dict[str, object]:
        """The arguments of a request, with defaults filled in.

        Raises:
            CommandError: one is unknown, missing or makes no sense.
        """
        known = {argument.name for argument in self.args}
        unknown = sorted(args.keys() - known)
        if unknown:
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

    def describe(self, role: Role) -> Result:
        """What ``broker.help`` tells of it."""
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


@dataclass(slots=True)
class Rooms:
    """What commands have to do with.

    Attributes:
        router: queues, topics and durable subscriptions.
        sessions: who is logged in, by key.
        census: rows of everything.
        events: what happens is told there.
        clock: the broker's.
        access: the rules of the configuration.
    """

    router: Router
    sessions: Mapping[str, Session]
    census: Census
    events: Events
    clock: Clock
    access: Access

    def queue(self, text: str) -> Queue:
        """A queue by its name, with or without ``/queue/``.

        Raises:
            CommandError: there is none.
        """
        name = text.removeprefix("/queue/")
        queue = self.router.queues.get(name)
        if queue is None:
            raise not_found(f"there is no queue {name[:200]!r}")
        return queue

    def permissions(self, call: Call) -> Permissions:
        """What somebody may do by the rules."""
        principal = call.principal or Principal("", call.role)
        access = self.access if call.principal is not None else Access()
        return Permissions(access, principal, self.router.queues.__contains__)


class Commands:
    """Carries out requests.

    Args:
        table: what there is.
        rooms: told of each command as an event, and where changes become safe.
        soon: calls a function at the next turn of the event loop.
        cpu: gives the processor time of this thread, in seconds.

    Attributes:
        table: what there is, by name.
        count: how many requests there were.
    """

    def __init__(
        self,
        table: Sequence[Command],
        rooms: Rooms,
        soon: Callable[[Callable[[], None]], object],
        cpu: Callable[[], float],
    ) -> None:
        self.table = {command.name: command for command in table}
        self.count = 0
        self._rooms = rooms
        self._soon = soon
        self._cpu = cpu
        self._under_way: dict[Client, dict[_Errand, None]] = {}

    def execute(self, guest: Client, body: bytes, answer: Answer | None, problem: str) -> None:
        """Carry out a request, and answer it.

        Args:
            guest: who wants it.
            body: JSON.
            answer: takes the answers; None = nobody wants any.
            problem: why it cannot be; empty = it may.
        """
        self.count += 1
        errand = _Errand(guest, answer, self._rooms.clock.now())
        try:
            if problem:
                raise bad(problem)
            if len(body) > LARGEST_REQUEST:
                raise CommandError(
                    CommandErrorCode.TOO_LARGE, f"a request has at most {LARGEST_REQUEST} bytes"
                )
            request = errand.request = Request.from_json(body)
            running = self._under_way.setdefault(guest, {})
            if len(running) >= MOST_AT_ONCE:
                raise CommandError(
                    CommandErrorCode.BUSY, f"{MOST_AT_ONCE} commands are under way already"
                )
            self._start(errand, request)
        except CommandError as error:
            self._end(errand, error=error)
        except Exception as error:
            self._fault(errand, error)

    def _start(self, errand: _Errand, request: Request) -> None:
        command = errand.command = self.table.get(request.cmd)
        if command is None:
            raise CommandError(
                CommandErrorCode.UNKNOWN_COMMAND,
                f"there is no command {request.cmd[:60]!r}; broker.help lists them",
            )
        guest = errand.guest
        role = guest.principal.role if guest.principal is not None else Role.NONE
        if not role.includes(command.role):
            raise CommandError(
                CommandErrorCode.FORBIDDEN,
                f"{command.name} needs the role {command.role.value!r}; yours is {role.value!r}",
            )
        call = Call(request, command.read(request.args), guest, role, errand.part)
        self._check_rules(command, call)
        result = command.run(call)
        if isinstance(result, dict):
            self._end(errand, result=result)
            return
        work = Work(
            result,
            self._soon,
            lambda result: self._end(errand, result=result),
            lambda error: self._stumbled(errand, error),
            self._cpu,
        )
        errand.work = work
        self._under_way[guest][errand] = None
        work.step()

    def _check_rules(self, command: Command, call: Call) -> None:
        """Whether the rules of the configuration let somebody do this.

        Raises:
            ProtocolError: they do not, or a destination cannot be read.
        """
        if call.principal is not None:
            check_clearance(
                self._rooms.access,
                call.principal,
                command.name,
                call.args,
                changes=command.changes,
            )

    def leave(self, guest: Client) -> None:
        """Somebody has gone: what is under way for that one goes no further."""
        for errand in self._under_way.pop(guest, {}):
            if errand.work is not None:
                errand.work.cancel()
            self._audit(errand, CommandError(CommandErrorCode.TIMEOUT, "who wanted it has gone"))

    def _stumbled(self, errand: _Errand, error: Exception) -> None:
        if isinstance(error, CommandError):
            self._end(errand, error=error)
        else:
            self._fault(errand, error)

    def _fault(self, errand: _Errand, error: Exception) -> None:
        if isinstance(error, ProtocolError):
            # A rule for destinations or messages that the request breaks.
            refused = error.error_code is ErrorCode.ACCESS_REFUSED
            code = CommandErrorCode.FORBIDDEN if refused else CommandErrorCode.BAD_REQUEST
            self._end(errand, error=CommandError(code, error.Message))
            return
        log.error("fault in a command", exc_info=error)
        words = "a fault in the broker; its log has the details"
        self._end(errand, error=CommandError(CommandErrorCode.INTERNAL, words))

    def _end(
        self, errand: _Errand, result: Result | None = None, error: CommandError | None = None
    ) -> None:
        running = self._under_way.get(errand.guest, {})
        running.pop(errand, None)
        if not running:
            self._under_way.pop(errand.guest, None)
        self._audit(errand, error, result)
        took_ms = (self._rooms.clock.now() - errand.begun) * 1000
        reply = Reply(errand.cmd, result, error, took_ms)
        command = errand.command
        if command is not None and command.changes and error is None:
            # Answered when it is on disk, as a receipt would be.
            self._rooms.router.store.sync(lambda: errand.reply(reply))
        else:
            errand.reply(reply)

    def _audit(
        self, errand: _Errand, error: CommandError | None, result: Result | None = None
    ) -> None:
        command, request, principal = errand.command, errand.request, errand.guest.principal
        if error is None and command is not None and not command.changes:
            return  # It only looked.
        detail: dict[str, object] = {"cmd": errand.cmd[:_LONGEST_SHOWN], "ok": error is None}
        if request is not None:
            detail |= {"args": shown(request.args), "dry_run": request.dry_run}
        if result is not None:
            detail["result"] = {n: v for n, v in result.items() if isinstance(v, int | str)}
        if error is not None:
            detail["code"] = error.code
        event = Event(
            type="admin.command",
            severity="info" if error is None else "warn",
            connection=errand.guest.key,
            user=principal.name if principal is not None else "",
            destination=errand.destination,
            reason="" if error is None else error.message,
            detail=detail,
        )
        if principal is None or principal.role is Role.NONE:
            self._rooms.events.refuse(event)
        else:
            self._rooms.events.tell(event)
        log.info("%s: %s", errand.guest.peer.address, _sentence(event))


def _sentence(event: Event) -> str:
    """A command as the log has it: who, what, and what came of it."""
    detail = event.detail or {}
    words = [f"user {event.user[:60]!r} ({event.connection}): command {_word(detail['cmd'])}"]
    args, result = detail.get("args"), detail.get("result")
    if isinstance(args, dict):
        words += [f"{name}={json.dumps(value)}" for name, value in args.items()]
    if detail.get("dry_run"):
        words.append("(dry run)")
    if event.reason:
        return f"{' '.join(words)}: {event.reason}"
    counts = result.items() if isinstance(result, dict) else ()
    told = [f"{value} {name}" for name, value in counts if isinstance(value, int)]
    return f"{' '.join(words)}: done{', ' * bool(told)}{', '.join(told)}"


def _word(text: object) -> str:
    word = str(text)
    return word if word.isprintable() and word and " " not in word else repr(word)


@dataclass(eq=False, slots=True)
class _Errand:
    """A request and who waits for its answers."""

    guest: Client
    answer: Answer | None
    begun: float
    request: Request | None = None
    command: Command | None = None
    work: Work[Result] | None = field(default=None)

    @property
    def cmd(self) -> str:
        return "" if self.request is None else self.request.cmd

    @property
    def destination(self) -> str:
        """The queue or topic that it is about."""
        args = {} if self.request is None else self.request.args
        queue, destination = args.get("queue"), args.get("destination")
        if isinstance(queue, str):
            return f"/queue/{queue.removeprefix('/queue/')}"[:_LONGEST_SHOWN]
        return destination[:_LONGEST_SHOWN] if isinstance(destination, str) else ""

    def part(self, result: Mapping[str, object]) -> None:
        self.reply(Reply(self.cmd, result, final=False))

    def reply(self, reply: Reply) -> None:
        if self.answer is not None:
            self.answer(reply.to_json(), reply.ok, reply.final)


_LONGEST_SHOWN, _MOST_SHOWN = 200, 16


def shown(args: Mapping[str, object]) -> dict[str, object]:
    """Arguments as the log and an event show them: no bodies, no headers, nothing long."""
    some = list(args.items())[:_MOST_SHOWN]
    return {_word(name[:60]): _cut(name, value) for name, value in some}


def _cut(name: str, value: object) -> object:
    if name in ("body", "headers"):
        return "..."
    text = str(value)
    return value if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def bad(message: str) -> CommandError:
    """A request that makes no sense."""
    return CommandError(CommandErrorCode.BAD_REQUEST, message)


def not_found(message: str) -> CommandError:
    """What it is about is not there."""
    return CommandError(CommandErrorCode.NOT_FOUND, message)


def conflict(message: str) -> CommandError:
    """The state does not allow it."""
    return CommandError(CommandErrorCode.CONFLICT, message)
