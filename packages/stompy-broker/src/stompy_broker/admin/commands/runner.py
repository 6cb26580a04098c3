"""Carrying out requests: who may, what goes wrong, what is answered.

What goes wrong is a `CommandError` and becomes an answer; nothing that a request holds can end the
connection.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stompy.admin.command import CommandError, CommandErrorCode, Reply, Request
from stompy.admin.rows import Role
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.admin.commands.audit import Audit
from stompy_broker.admin.commands.base import Call, Command, CommandContext, Result, bad
from stompy_broker.admin.tasks import Scheduler, Task
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
    """

    client: Client
    answer: Answer | None
    begun: float
    request: Request | None = None
    command: Command | None = None
    task: Task[Result] | None = None

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

    def _start(self, pending: PendingCommand, request: Request) -> None:
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
        args = command.read(request.args)
        if principal is not None:
            command.check_access(self._context.access, principal, args)
        result = command.run(Call(request, args, pending.client, role, pending.reply_in_part))
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
        if command is not None and command.changes and error is None:
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
