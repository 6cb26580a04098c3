"""A dead letter is repaired in one change: whenever the broker ends, it is the one or the other.

Messages die, are repaired and tried again, in any order and in whatever turns. The store's files
are copied each time they have changed, as a crash would leave them. In each copy every message is
once, at one of the places where it has been, with the body and the headers that it had there, and
not at one before the last that was reported safe.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.crashes import History, folder_for_crashes
from tests.support.steps import finished
from tests.support.storage import Shelf

from stompy.admin import Request, Role
from stompy_broker.admin.commands.base import Call, CommandContext
from stompy_broker.admin.commands.edits import EditCommands
from stompy_broker.destinations.names import parse_destination
from stompy_broker.message import MessageHead
from stompy_broker.routing.interface import Browse, Browsed, GiveUp
from stompy_broker.routing.router import Router
from stompy_broker.security.access import Access

NOBODY = cast(Any, None)
SOURCE = parse_destination("/queue/q")


class Standing(NamedTuple):
    """Where a message is, and what it is there."""

    queue: str
    body: bytes
    colour: str | None
    digest: str | None


def standings(router: Router, shelf: Shelf) -> dict[str, Standing]:
    """Everything that waits in a broker; no message twice."""
    found: dict[str, Standing] = {}
    for queue in list(router.queues.values()):
        shown: list[Browsed] = []
        queue.browse(Browse(bodies=1 << 40), shown.append)
        shelf.turns.until(shown.copy)
        for message in shown[0].messages:
            headers = message.head.headers()
            assert message.message_id not in found
            assert message.body is not None
            assert ("edited-at" in headers) == ("original-body-sha256" in headers)
            found[message.message_id] = Standing(
                queue.name, message.body, headers.get("colour"), headers.get("original-body-sha256")
            )
    return found


class Repairs(History[dict[str, Standing]]):
    """A broker whose dead letters are repaired.

    Args:
        top: for the files of the store; None = it is in memory.
    """

    def __init__(self, top: Path | None) -> None:
        super().__init__(top, standings)
        self.context = CommandContext(
            router=self.router,
            sessions={},
            snapshots=NOBODY,
            events=self.router.events,
            access=Access(),
            logins=NOBODY,
            identity=NOBODY,
            publisher=NOBODY,
            writer=NOBODY,
            closed=NOBODY,
        )
        self.sent = 0

    def send(self) -> None:
        self.sent += 1
        head = MessageHead.from_headers({"destination": str(SOURCE), "colour": "red"})
        self.router.publish(SOURCE, head, b"poison %d" % self.sent)

    def die(self, number: int) -> None:
        self._pick("q", number, lambda queue, m: queue.control(GiveUp(frozenset([m]), "nack")))

    def _pick(self, name: str, number: int, act: Any) -> None:
        queue = self.router.queues.get(name)
        shown: list[Browsed] = []
        if queue is not None:
            queue.browse(Browse(), shown.append)
        if shown and shown[0].messages:
            act(queue, shown[0].messages[number % len(shown[0].messages)].sequence)

    def edit(self, number: int, changes: dict[str, Any]) -> None:
        letters = [one for one in self.history[-1].items() if one[1].queue == "DLQ.q"]
        if not letters:
            return
        message_id, was = letters[number % len(letters)]
        (command,) = EditCommands(self.context).table()
        args = command.read({"queue": "DLQ.q", "id": message_id, **changes})
        request = Request(command.name, args)
        call = Call(request, args, None, Role.ADMIN, lambda part: None)
        steps = command.run(call)
        assert not isinstance(steps, dict)
        result = finished(steps, self.shelf.turns.end)
        assert result["retried"] == 1
        now = standings(self.router, self.shelf)[message_id]
        digest = was.digest or sha256(was.body).hexdigest()
        body = changes["body"].encode() if "body" in changes else was.body
        colour = changes.get("headers", {}).get("colour", was.colour)
        assert now == Standing("q", body, colour, digest)


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "body": st.sampled_from(["", "medicine", "x" * 5000]),
        "headers": st.sampled_from([{"colour": "blue"}, {"colour": None}, {"more": "a:b\nc"}]),
        "to": st.just("/queue/q"),
    },
)
ACTS = st.lists(
    st.one_of(
        st.just(("send",)),
        st.tuples(st.just("die"), st.integers(0, 9)),
        st.tuples(st.just("edit"), st.integers(0, 9), CHANGES),
        st.just(("turn",)),
        st.just(("sync",)),
    ),
    max_size=30,
)


BEGINNING: list[tuple[Any, ...]] = [("send",), ("send",), ("die", 0)]


@given(acts=ACTS)
@settings(max_examples=25)
def test_a_crash_at_any_commit_finds_the_one_or_the_other(acts: list[tuple[Any, ...]]) -> None:
    with folder_for_crashes("edits") as top:
        Repairs(top).act(BEGINNING + acts)


@given(acts=ACTS)
@settings(max_examples=50)
def test_a_store_in_memory_never_has_both_or_none(acts: list[tuple[Any, ...]]) -> None:
    repairs = Repairs(None)
    repairs.act(BEGINNING + acts)
    assert repairs.kept_in_memory() == repairs.history[-1]
