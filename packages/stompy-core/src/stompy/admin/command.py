"""Requests to ``/queue/$SYS.command`` and their answers, as JSON and as dataclasses.

A request is a SEND with the headers ``reply-to:/temp-queue/<name>`` and ``correlation-id``. Each
answer is a MESSAGE with that ``correlation-id``, ``status:ok`` or ``status:error``, and on the
last one ``final:true``. A command that fails is answered like one that succeeds, never by an ERROR
frame.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from stompy.admin.snapshot import VERSION, SchemaError


class CommandErrorCode(StrEnum):
    """``error.code`` of an answer."""

    BAD_REQUEST = "bad_request"
    """No JSON object, an argument that is missing, unknown or makes no sense."""
    UNKNOWN_COMMAND = "unknown_command"
    """There is no command of that name; ``broker.help`` lists them."""
    FORBIDDEN = "forbidden"
    """The role of the user does not allow it."""
    NOT_FOUND = "not_found"
    """What it is about does not exist (any more)."""
    CONFLICT = "conflict"
    """The number of matches is not what ``expect`` said, or the state does not allow it."""
    BUSY = "busy"
    """Too many commands of this connection are under way."""
    TOO_LARGE = "too_large"
    """The request, or what it asks for, is larger than may be."""
    TIMEOUT = "timeout"
    """It took too long and was given up; what was done is in the message."""
    INTERNAL = "internal"
    """A fault of the broker; its log has the details."""


class CommandError(Exception):
    """What went wrong with a command, as its answer tells it.

    Args:
        code: for programs.
        message: for people.
        detail: more, depending on the code: ``matched`` and ``expected`` of a conflict.
    """

    def __init__(
        self, code: CommandErrorCode, message: str, detail: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail or {}

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client wants done.

    Attributes:
        cmd: the command, such as ``queue.purge``.
        args: its arguments.
        dry_run: say what would happen, and do nothing.
        expect: do nothing (``conflict``) unless exactly so many things match.
    """

    cmd: str
    args: Mapping[str, object] = field(default_factory=dict)
    dry_run: bool = False
    expect: int | None = None

    def to_json(self) -> bytes:
        """Give the body of the SEND."""
        body: dict[str, object] = {"cmd": self.cmd, "args": dict(self.args)}
        if self.dry_run:
            body["dry_run"] = True
        if self.expect is not None:
            body["expect"] = self.expect
        return json.dumps(body).encode()

    @classmethod
    def from_json(cls, body: bytes) -> Request:
        """Read the body of a SEND.

        Raises:
            CommandError: it is no request (``bad_request``).
        """
        try:
            value = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _bad(f"the body is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise _bad('the body is a JSON object: {"cmd": "ping"}')
        cmd, args = value.get("cmd"), value.get("args", {})
        dry_run, expect = value.get("dry_run", False), value.get("expect")
        if not isinstance(cmd, str) or not cmd:
            raise _bad('"cmd" is the name of a command')
        if not isinstance(args, dict):
            raise _bad('"args" is a JSON object')
        if not isinstance(dry_run, bool):
            raise _bad('"dry_run" is true or false')
        if expect is not None and (not isinstance(expect, int) or isinstance(expect, bool)):
            raise _bad('"expect" is a whole number')
        return cls(cmd, args, dry_run, expect)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer to a command.

    Attributes:
        cmd: the command.
        result: what came of it; None when it failed.
        error: why it failed; None when it did not.
        took_ms: how long it took.
        final: whether no more of this command's answers come. In JSON it is a header.
    """

    cmd: str
    result: Mapping[str, object] | None = None
    error: CommandError | None = None
    took_ms: float = 0.0
    final: bool = True

    @property
    def ok(self) -> bool:
        """Whether the command succeeded."""
        return self.error is None

    def checked(self) -> Mapping[str, Any]:
        """Give the result.

        Raises:
            CommandError: there is none, because the command failed.
        """
        if self.error is not None:
            raise self.error
        return self.result or {}

    def to_json(self) -> bytes:
        """Give the body of the MESSAGE."""
        body: dict[str, object] = {
            "v": VERSION,
            "cmd": self.cmd,
            "ok": self.ok,
            "took_ms": round(self.took_ms, 3),
        }
        if self.error is None:
            body["result"] = self.result
        else:
            error = self.error
            body["error"] = {"code": error.code, "message": error.message, **error.detail}
        return json.dumps(body, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, body: bytes | str, headers: Mapping[str, str] | None = None) -> Reply:
        """Read a MESSAGE on the reply queue.

        Raises:
            SchemaError: it is no answer, or of a version that is not known.
        """
        try:
            value = json.loads(body)
            if value["v"] != VERSION:
                raise SchemaError(f"schema version {value['v']!r}; {VERSION} is known here")
            error = None
            if not value["ok"]:
                told = dict(value["error"])
                code, words = told.pop("code"), told.pop("message", "")
                known = code in CommandErrorCode.__members__.values()
                error = CommandError(
                    CommandErrorCode(code) if known else CommandErrorCode.INTERNAL, words, told
                )
            return cls(
                value["cmd"],
                value.get("result"),
                error,
                value.get("took_ms", 0.0),
                (headers or {}).get("final", "true") == "true",
            )
        except SchemaError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SchemaError(f"no answer to a command: {error!r}") from None


def _bad(message: str) -> CommandError:
    return CommandError(CommandErrorCode.BAD_REQUEST, message)
