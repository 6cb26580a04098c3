"""Carrying out requests: who may, what goes wrong, what is answered.

What goes wrong is a `CommandError` and becomes an answer; nothing that a request holds can end the
connection.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stompy.admin.command import CommandError, CommandErrorCode, Reply, Request
from stompy.admin.rows import Role
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.admin.commands.audit import Audit
from stompy_broker.admin.commands.base import (
    Addressee,
    Call,
    Command,
    CommandContext,
    Result,
    bad,
    conflict,
)
from stompy_broker.admin.tasks import Scheduler, Steps, Task
from stompy_broker.session.context import Answer, Client

log = logging.getLogger("stompy_broker.admin")

LARGEST_REQUEST = 8 * 1024 * 1024
"""Bytes in a request."""

MOST_AT_ONCE = 8
"""Commands of one connection that may be under way."""


@dataclass(eq=False, slots=True)
class PendingCommand:
    """A request that has not had its last answer.

    Attributes:
        client: who wants it.
        answer: takes the answers; None = nobody wants any.
        begun: when it came, on the clock.
        request: what came; None = it could not be read.
        command: its row; None = there is none.
        task: the steps that are being taken; None = none yet.
        elsewhere: whether another broker of the cluster carries it out.
    """

    client: Client
    answer: Answer | None
    begun: float
    request: Request | None = None
    command: Command | None = None
    task: Task[Result] | None = None
    elsewhere: bool = False

    @property
    def name(self) -> str:
        """The name of the command, as far as it is known."""
        return "" if self.request is None else self.request.cmd

    def reply_in_part(self, result: Mapping[str, object]) -> None:
        """Answer, but not for the last time."""
        self.reply(Reply(self.name, result, final=False))

    def reply(self, reply: Reply) -> None:
        """Answer, if anybody wants to know."""
        if self.answer is not None:
            self.answer(reply.to_json(), reply.ok, reply.final)


class CommandRunner:
    """Carries out requests, and sees to it that each is answered.

    Args:
        table: the commands that there are.
        context: the broker.
        scheduler: for commands that take many steps.
    """

    def __init__(
        self, table: Sequence[Command], context: CommandContext, scheduler: Scheduler
    ) -> None:
        self._table = {command.name: command for command in table}
        self._context = context
        self._scheduler = scheduler
        self._audit = Audit(context.events)
        self._under_way: dict[Client, dict[PendingCommand, None]] = {}

    def execute(self, client: Client, body: bytes, answer: Answer | None, problem: str) -> None:
        """Carry out a request, and answer it.

        Args:
            client: who wants it.
            body: JSON.
            answer: takes the answers; None = nobody wants any.
            problem: why it cannot be; empty = it may.
        """
        pending = PendingCommand(client, answer, self._context.router.clock.now())
        try:
            if problem:
                raise bad(problem)
            if len(body) > LARGEST_REQUEST:
                raise CommandError(
                    CommandErrorCode.TOO_LARGE, f"a request has at most {LARGEST_REQUEST} bytes"
                )
            request = pending.request = Request.from_json(body)
            if len(self._under_way.get(client, ())) >= MOST_AT_ONCE:
                raise CommandError(
                    CommandErrorCode.BUSY, f"{MOST_AT_ONCE} commands are under way already"
                )
            self._start(pending, request)
        except Exception as error:
            self._fail(pending, error)

    def execute_here(self, client: Client, request: Request, answer: Answer) -> None:
        """Carry out a request that another broker of the cluster has relayed, and answer it.

        Args:
            client: who wants it; he is connected there.
            request: what.
            answer: takes the answers.
        """
        pending = PendingCommand(client, answer, self._context.router.clock.now(), request)
        try:
            self._start(pending, request, relayed=True)
        except Exception as error:
            self._fail(pending, error)

    def _start(self, pending: PendingCommand, request: Request, *, relayed: bool = False) -> None:
        command = pending.command = self._table.get(request.cmd)
        if command is None:
            raise CommandError(
                CommandErrorCode.UNKNOWN_COMMAND,
                f"there is no command {request.cmd[:60]!r}; broker.help lists them",
            )
        principal = pending.client.principal
        role = principal.role if principal is not None else Role.NONE
        if not role.includes(command.role):
            raise CommandError(
                CommandErrorCode.FORBIDDEN,
                f"{command.name} needs the role {command.role.value!r}; yours is {role.value!r}",
            )
        named, request = self._named(command, request)
        args = command.read(request.args)
        if principal is not None:
            command.check_access(self._context.access, principal, args)
        peers = self._context.peers
        place = "" if peers is None or relayed else named or self._place(command, args)
        if peers is not None and place and place != self._own:
            pending.elsewhere = True
            part = pending.reply_in_part
            result: Result | Steps[Result] = peers.forward(place, request, pending.client, part)
        else:
            part, client = pending.reply_in_part, pending.client
            call = Call(request, args, client, role, part, relayed or bool(named))
            result = command.run(call)
        if isinstance(result, dict):
            self._end(pending, result=result)
            return
        task = pending.task = Task(
            self._scheduler,
            result,
            lambda result: self._end(pending, result=result),
            lambda error: self._fail(pending, error),
        )
        self._under_way.setdefault(pending.client, {})[pending] = None
        task.step()

    @property
    def _own(self) -> str:
        cluster = self._context.cluster
        return "" if cluster is None else cluster.broker

    def _named(self, command: Command, request: Request) -> tuple[str, Request]:
        """The broker of the cluster that a request names, and the request without that."""
        named = request.args.get("broker")
        cluster = self._context.cluster
        takes_it = any(argument.name == "broker" for argument in command.args)
        if cluster is None or named is None or takes_it:
            return "", request
        known = [member.id for member in cluster.members()]
        if named not in known:
            words = f"there is no broker {str(named)[:60]!r}; there are {', '.join(known)}"
            raise CommandError(CommandErrorCode.NOT_FOUND, words)
        args = {name: value for name, value in request.args.items() if name != "broker"}
        return str(named), replace(request, args=args)

    def _place(self, command: Command, args: Mapping[str, Any]) -> str:
        """The broker of the cluster that has to carry out a command.

        Raises:
            CommandError: none can just now.
        """
        place = command.place(args)
        if place is Addressee.HOLDER:
            return str(args["id"]).rpartition("@")[2] if "@" in str(args["id"]) else self._own
        if place is Addressee.HERE:
            return self._own
        queue = command.queue_of(args)
        group = self._context.router.groups.of(queue)
        cluster = self._context.cluster
        owner = self._own if cluster is None else cluster.owner_of(group.number)
        if not owner:
            raise conflict(f"nobody owns queue {queue[:200]!r} just now; try again")
        return owner

    def leave(self, client: Client) -> None:
        """Take no more steps for a client that has gone."""
        for pending in self._under_way.pop(client, {}):
            if pending.task is not None:
                pending.task.cancel()
            self._told(
                pending, CommandError(CommandErrorCode.TIMEOUT, "who wanted it has gone"), None
            )

    def _fail(self, pending: PendingCommand, error: Exception) -> None:
        self._end(pending, error=_as_answer(error))

    def _end(
        self,
        pending: PendingCommand,
        result: Result | None = None,
        error: CommandError | None = None,
    ) -> None:
        running = self._under_way.get(pending.client, {})
        running.pop(pending, None)
        if not running:
            self._under_way.pop(pending.client, None)
        self._told(pending, error, result)
        took_ms = (self._context.router.clock.now() - pending.begun) * 1000
        reply = Reply(pending.name, result, error, took_ms)
        command = pending.command
        if command is not None and command.changes and error is None and not pending.elsewhere:
            # Answered when it is on disk, as a receipt would be.
            self._context.router.groups.sync(lambda: pending.reply(reply))
        else:
            pending.reply(reply)

    def _told(
        self, pending: PendingCommand, error: CommandError | None, result: Result | None
    ) -> None:
        command = pending.command
        if error is None and command is not None and not command.changes:
            return  # It only looked.
        if error is None and pending.elsewhere:
            return  # It is told where it was done.
        self._audit.tell(pending.client, pending.request, error, result)


def _as_answer(error: Exception) -> CommandError:
    """The error that a client is told, whatever went wrong."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, ProtocolError):
        # A rule for destinations or messages that the request breaks.
        refused = error.error_code is ErrorCode.ACCESS_REFUSED
        code = CommandErrorCode.FORBIDDEN if refused else CommandErrorCode.BAD_REQUEST
        return CommandError(code, error.Message)
    log.error("fault in a command", exc_info=error)
    words = "a fault in the broker; its log has the details"
    return CommandError(CommandErrorCode.INTERNAL, words)
