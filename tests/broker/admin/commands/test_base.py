"""The table of commands: what a row says is what is checked."""

from __future__ import annotations

from typing import Any, cast

import pytest

from stompy.admin import CommandError, CommandErrorCode
from stompy_broker.admin.commands.base import Argument, Command
from stompy_broker.admin.service import command_table
from stompy_broker.security.access import Access, Action
from stompy_broker.security.auth import Principal, Role

TABLE = {command.name: command for command in command_table(cast(Any, None))}
MAY_ALL = Principal("somebody", Role.ADMIN)


def named(command: Command, what: str) -> list[Argument]:
    return [argument for argument in command.args if argument.names == what]


@pytest.mark.parametrize("name", TABLE)
def test_whoever_touches_a_queue_asks_the_rules(name: str) -> None:
    command = TABLE[name]
    if named(command, "queue") and name not in ("queue.get",):
        assert command.changes or command.needs, "what must the rules allow on the queue?"
    if name.startswith("message.") and not named(command, "destination"):
        assert named(command, "queue")


@pytest.mark.parametrize("name", TABLE)
def test_an_argument_that_is_called_after_something_names_it(name: str) -> None:
    for argument in TABLE[name].args:
        if argument.name == "queue":
            assert argument.names == "queue"
        is_place = argument.type != "number"  # a time is no place
        if is_place and argument.name in ("to", "destination") and TABLE[name].changes:
            assert argument.names == "destination"


@pytest.mark.parametrize(
    ("name", "args", "asked"),
    [
        ("message.peek", {"queue": "a"}, [("browse", "/queue/a")]),
        ("queue.purge", {"queue": "/queue/a"}, [("admin", "/queue/a")]),
        (
            "message.move",
            {"queue": "a", "to": "/topic/b"},
            [("admin", "/queue/a"), ("receive", "/queue/a"), ("send", "/topic/b")],
        ),
        (
            "message.copy",
            {"queue": "a", "to": "/queue/b"},
            [("admin", "/queue/a"), ("browse", "/queue/a"), ("send", "/queue/b")],
        ),
        ("message.send", {"destination": "/queue/b"}, [("send", "/queue/b")]),
        ("durable.delete", {"name": "a.b"}, [("admin", "/queue/durable.a.b")]),
        ("queue.get", {"queue": "a"}, []),
        ("policy.explain", {"destination": "/queue/a"}, []),
    ],
)
def test_what_the_rules_are_asked(
    name: str, args: dict[str, object], asked: list[tuple[str, str]]
) -> None:
    heard: list[tuple[str, str]] = []

    class Rules(Access):
        def check(self, principal: Principal, action: Action, destination: Any) -> None:
            assert principal is MAY_ALL
            heard.append((action.value, str(destination)))

    command = TABLE[name]
    command.check_access(Rules(), MAY_ALL, command.read(args))
    assert heard == asked


@pytest.mark.parametrize(
    ("value", "problem"),
    [("3", "must be number"), (True, "must be number"), (-1, "must be 0 to"), (11, "must be 0 to")],
)
def test_a_value_that_may_not_be_given(value: object, problem: str) -> None:
    argument = Argument("limit", "number", "how many", most=10)
    with pytest.raises(CommandError, match=problem):
        argument.check(value)


@pytest.mark.parametrize("cmd", ["queue.replay", "queue.purge", "ping"])
@pytest.mark.parametrize("name", ["dry_run", "expect"])
def test_what_stands_beside_the_arguments_is_no_argument(cmd: str, name: str) -> None:
    with pytest.raises(CommandError, match=f"'{name}' stands beside 'args', not in it") as raised:
        TABLE[cmd].read({"queue": "q", name: True, "aaa": 1})
    assert raised.value.code is CommandErrorCode.BAD_REQUEST
