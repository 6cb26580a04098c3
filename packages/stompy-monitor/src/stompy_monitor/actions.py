"""What an operator can do to a row: the command, the role it needs, and how surely it is asked.

Every command that destroys is asked twice: first as a dry run, whose number stands in the dialog,
then for real with ``up_to``: what came after that look is not touched, however busy the queue is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from stompy.admin import Request, Role
from stompy_monitor.model.moments import moment_of
from stompy_monitor.model.row_set import Row

TYPE_ABOVE = 1000
"""Destroying more messages than that is confirmed by typing."""
MOST = 100_000
"""Messages of one command, at most."""
BATCH = 1000
"""Messages of one move; between two of them it can be cancelled."""


class Tier(Enum):
    """How an action is confirmed."""

    AT_ONCE = "at once"
    """It can be undone: no question."""
    ASK = "ask"
    """A dialog; Cancel has the focus."""
    TYPE = "type"
    """A dialog in which the name, or the number of rows, is typed."""


@dataclass(frozen=True)
class Seen:
    """What a look before an action found.

    Attributes:
        count: how many things the action would touch; None = that is not told.
        up_to: the last message among them; empty where there is none.
    """

    count: int | None = None
    up_to: str = ""

    @classmethod
    def read(cls, result: Mapping[str, object]) -> Seen:
        """From what the broker answered."""
        return cls(matched(result), str(result.get("up_to") or ""))


Arguments = Callable[[Row, str], dict[str, object]]


@dataclass(frozen=True)
class Action:
    """Something that an operator can do to rows.

    Attributes:
        name: of the key binding.
        key: that starts it.
        title: in the line of keys.
        verb: what the dialog says, as in "Purge".
        command: by kind of row, with the arguments from the row and the text that was asked for.
        asks: what text is asked for, by kind of row.
        undo: the name of the action that undoes it; then there is no question.
        destroys: whether messages are gone afterwards.
        batched: whether it is repeated until nothing is left.
        admin_for: the kinds of rows for which an operator is not enough.
    """

    name: str
    key: str
    title: str
    verb: str
    command: Mapping[str, tuple[str, Arguments]]
    asks: Mapping[str, str] = field(default_factory=dict)
    undo: str = ""
    destroys: bool = False
    batched: bool = False
    admin_for: frozenset[str] = frozenset()

    def role(self, kind: str) -> Role:
        """The least role that may."""
        return Role.ADMIN if kind in self.admin_for else Role.OPERATOR

    def request(
        self, row: Row, text: str, *, dry_run: bool = False, up_to: str = "", selector: str = ""
    ) -> Request:
        """The command for one row.

        Args:
            row: what it is about.
            text: what was asked for.
            dry_run: whether it only looks.
            up_to: the last message that was seen.
            selector: which messages are meant; empty = all.
        """
        name, arguments = self.command[row.kind]
        args = {key: value for key, value in arguments(row, text).items() if value != ""}
        if up_to and "ids" not in args:
            args["up_to"] = up_to
        if selector:
            args["selector"] = selector
        return Request(name, args, dry_run=dry_run)

    def applies_to(self, kind: str) -> bool:
        """Whether rows of this kind can be treated so."""
        return kind in self.command


def _queue(row: Row, _: str) -> dict[str, object]:
    return {"queue": queue_of(row)}


QUEUE = "/queue/"
"""Before the name of a queue, in a destination."""


def queue_of(row: Row) -> str:
    """The destination of the queue that a row is, is in, or goes to; as the broker told it."""
    for name in ("queue", "destination", "name"):
        found = row.told(name)
        if isinstance(found, str) and found:
            return found if found.startswith("/") else QUEUE + found
    return ""


def _dead(row: Row, _: str) -> dict[str, object]:
    return {"queue": queue_of(row), **_selection(row)}


def _selection(row: Row) -> dict[str, object]:
    """Which messages of the queue are meant: one, a group of dead letters, or all."""
    if row.kind == "messages":
        return {"ids": [row.told("message_id")]}
    headers = row.told("headers")
    return {"headers": headers} if row.kind == "dead" and headers else {}


def _gone(row: Row, _: str) -> dict[str, object]:
    selection = _selection(row)
    return {"queue": queue_of(row), **(selection or {"limit": MOST})}


def _to(row: Row, text: str) -> dict[str, object]:
    return {**_dead(row, ""), "to": text, "limit": BATCH}


def _some(row: Row, _: str) -> dict[str, object]:
    return {**_dead(row, ""), "limit": BATCH}


def _id(row: Row, _: str) -> dict[str, object]:
    return {"id": row.text("id")}


PAUSE = Action("pause", "O", "pause", "Pause", {"queues": ("queue.pause", _queue)}, undo="resume")
RESUME = Action(
    "resume", "O", "resume", "Resume", {"queues": ("queue.resume", _queue)}, undo="pause"
)
PURGE = Action(
    "purge",
    "P",
    "purge",
    "Purge",
    {"queues": ("queue.purge", _queue)},
    destroys=True,
)


def _reader(row: Row, _: str) -> dict[str, object]:
    return {"stream": row.told("stream"), "name": row.told("name")}


def _place(row: Row, text: str) -> dict[str, object]:
    """Where a reader is to go on; without words, where it is."""
    return {**_reader(row, ""), "offset": text or f"offset={int(row.number('place'))}"}


DELETE = Action(
    "delete",
    "D",
    "delete",
    "Delete",
    {
        "queues": ("queue.delete", _queue),
        "durable": ("durable.delete", lambda row, _: {"name": row.told("name")}),
        "messages": ("message.delete", _gone),
        "dead": ("message.delete", _gone),
        "readers": ("stream.forget", _reader),
        "retained": ("retained.delete", lambda row, _: {"topics": [row.told("destination")]}),
    },
    destroys=True,
    admin_for=frozenset(("queues", "durable")),
)


def _job(row: Row, _: str) -> dict[str, object]:
    return {"ids": [row.told("job_id")], "destination": row.told("destination")}


def _at(row: Row, text: str) -> dict[str, object]:
    """When a message is to come instead; without words, when it comes anyway."""
    at = moment_of(text, row.row_set.at) if text else row.number("next_at")
    return {"id": row.told("job_id"), "destination": row.told("destination"), "at": int(at)}


_LATER = ("scheduled.reschedule", _at)
_NOW = ("scheduled.fire_now", _job)
_ENDED = ("scheduled.cancel", _job)

RESCHEDULE = Action(
    "reschedule",
    "M",
    "another time",
    "Reschedule",
    {"scheduled": _LATER},
    asks={"scheduled": "when: 2027-01-01 09:00, or 2h from now"},
)
FIRE = Action("fire", "R", "now", "Send now", {"scheduled": _NOW})
_ELSEWHERE = ("stream.seek", _place)

SEEK = Action(
    "seek",
    "M",
    "read from",
    "Read on from",
    {"readers": _ELSEWHERE},
    asks={"readers": "from where: first, last, next, offset=17, age=1h or last=100"},
)
END = Action("end", "X", "end", "End", {"scheduled": _ENDED})
MOVE = Action(
    "move",
    "M",
    "move",
    "Move",
    {
        "queues": ("message.move", _to),
        "messages": ("message.move", _to),
        "dead": ("message.move", _to),
        "scheduled": _LATER,
        "readers": _ELSEWHERE,
    },
    asks=dict.fromkeys(("queues", "messages", "dead"), "to which queue"),
    batched=True,
)
RETRY = Action(
    "retry",
    "R",
    "retry",
    "Retry",
    {
        "queues": ("message.retry", _some),
        "messages": ("message.retry", _some),
        "dead": ("message.retry", _some),
        "scheduled": _NOW,
    },
    batched=True,
)
CLOSE = Action(
    "close",
    "X",
    "close",
    "Close",
    {
        "connections": ("connection.close", lambda row, text: {**_id(row, ""), "reason": text}),
        "subscriptions": ("subscription.close", _id),
        "transactions": ("transaction.abort", _id),
        "scheduled": _ENDED,
    },
    asks={"connections": "reason, which the other side is told"},
)

ACTIONS = (PURGE, DELETE, MOVE, RETRY, PAUSE, CLOSE)
"""By key; `RESUME` takes the place of `PAUSE` for a queue that is paused, and so on."""

_OF_SCHEDULES = {MOVE.name: RESCHEDULE, RETRY.name: FIRE, CLOSE.name: END}
BOUND_AS = {RESUME.name: PAUSE.name, SEEK.name: MOVE.name} | {
    action.name: name for name, action in _OF_SCHEDULES.items()
}
"""The name under which a key is bound, where several actions share one."""

_NOUNS = {
    "queues": "queue",
    "dead": "group",
    "messages": "message",
    "connections": "connection",
    "subscriptions": "subscription",
    "transactions": "transaction",
    "durable": "durable subscription",
    "scheduled": "schedule",
    "readers": "reader",
    "retained": "retained message",
}


def chosen(action: Action, row: Row) -> Action:
    """The action for this row: a paused queue is resumed, a schedule or a reader moved in time."""
    if row.kind == "scheduled":
        return _OF_SCHEDULES.get(action.name, action)
    if row.kind == "readers" and action is MOVE:
        return SEEK
    paused = row.value("paused") or row.value("intake_paused")
    return RESUME if action is PAUSE and paused else action


def verbs_for(rows: Sequence[Row]) -> dict[str, str]:
    """What the keys of actions do with these rows, by the names of their bindings."""
    if not rows:
        return {}
    return {f"act.{action.name}": chosen(action, rows[0]).verb for action in ACTIONS}


def matched(result: Mapping[str, object]) -> int | None:
    """How many things a dry run found."""
    for name in ("matched", "messages", "count"):
        found = result.get(name)
        if isinstance(found, int) and not isinstance(found, bool):
            return found
    return None


def tier(action: Action, rows: Sequence[Row], count: int | None) -> Tier:
    """Say how surely an action is asked about: at once, in a dialog, or by typing."""
    if action.undo:
        return Tier.AT_ONCE
    if len(rows) > 1:
        return Tier.TYPE
    kind = rows[0].kind
    many = count is not None and count > TYPE_ABOVE
    whole_queue = action is DELETE and kind in ("queues", "durable") and bool(count)
    return Tier.TYPE if action.destroys and (many or whole_queue) else Tier.ASK


def name_of(row: Row) -> str:
    """A row as people call it."""
    kind = row.kind
    if kind in ("queues", "messages"):
        return row.text("name") or row.text("message_id")
    if kind == "dead":
        return f"{row.text('queue')} ({row.text('reason') or 'any cause'})"
    if kind == "connections":
        who = " ".join(filter(None, (row.label, row.text("user"))))
        return f"{row.text('id')} {who}".strip()
    if kind == "subscriptions":
        return f"{row.text('id')} of {row.text('client')} to {row.text('destination')}"
    if kind == "transactions":
        return f"{row.text('id')} of {row.text('client')}"
    if kind == "scheduled":
        return f"{row.text('job_id')} to {row.text('destination')}"
    if kind == "readers":
        return f"{row.text('name') or row.text('subscription')} of {row.text('stream')}"
    return row.text("name") or row.key


def to_type(rows: Sequence[Row]) -> str:
    """What must be typed: the name of the one row, or how many they are."""
    return name_of(rows[0]) if len(rows) == 1 else str(len(rows))


def title(action: Action, rows: Sequence[Row]) -> str:
    """The heading of the dialog."""
    verb = "Abort" if action is CLOSE and rows[0].kind == "transactions" else action.verb
    if len(rows) == 1:
        return f"{verb} {_NOUNS[rows[0].kind]} {name_of(rows[0])}"
    return f"{verb} {len(rows)} {_NOUNS[rows[0].kind]}s"


_QUESTIONS: Mapping[tuple[str, str], str] = {
    (FIRE.name, "scheduled"): "Its message comes now. What comes again and again also comes when "
    "it is due.",
    (RESCHEDULE.name, "scheduled"): "Its message comes at that time instead; what comes again goes "
    "on from there.",
    (END.name, "scheduled"): "What has not come yet never will. This cannot be undone.",
    (SEEK.name, "readers"): "It goes on there: messages before that are left out, those behind it "
    "come again.",
    (DELETE.name, "readers"): "Its place is kept no more: who reads under that name begins anew.",
    (DELETE.name, "retained"): "Who subscribes later gets it no more. Nobody is told of it.",
    (CLOSE.name, "connections"): "It is told the reason; its unacknowledged messages go to others.",
    (CLOSE.name, "subscriptions"): "Its unacknowledged messages go to others; its client stays.",
    (CLOSE.name, "transactions"): "Nothing that it holds will happen; the connection stays.",
}
"""What would happen, by action and kind, where no number of messages has to do with it."""


def question(action: Action, rows: Sequence[Row], count: int | None) -> str:
    """What would happen, in words."""
    kind = rows[0].kind
    if said := _QUESTIONS.get((action.name, kind)):
        return said
    here = "" if len(rows) == 1 else f" in {len(rows)} {_NOUNS[kind]}s"
    messages = "1 message" if count == 1 else f"{count:,} messages" if count is not None else "all"
    unacked = sum(int(row.number("unacked")) for row in rows)
    if action is PURGE:
        stay = f" {unacked:,} unacked stay with their consumers." if unacked else ""
        wait = "waits" if count == 1 else "wait"
        return f"{messages} that {wait}{here} will be destroyed.{stay}"
    if action is DELETE:
        if kind in ("messages", "dead"):
            return f"{messages}{here} will be destroyed. This cannot be undone."
        what = f"{messages}{here}, and what comes in until then,"
        return f"{what} will be destroyed with it. This cannot be undone."
    if action is MOVE:
        return f"{messages}{here} will move to the queue below, in their order."
    if action is RETRY:
        return f"{messages}{here} will go back to the queues where they died."
    return ""


def past(action: Action, rows: Sequence[Row]) -> str:
    """The verb, when it is done."""
    return {
        PAUSE.name: "paused",
        RESUME.name: "resumed",
        PURGE.name: "purged",
        DELETE.name: "deleted",
        MOVE.name: "moved",
        RETRY.name: "retried",
        FIRE.name: "sent",
        RESCHEDULE.name: "rescheduled",
        SEEK.name: "moved",
        END.name: "ended",
        CLOSE.name: "aborted" if rows[0].kind == "transactions" else "closed",
    }[action.name]


def subject(rows: Sequence[Row]) -> str:
    """The rows as people call them."""
    return name_of(rows[0]) if len(rows) == 1 else f"{len(rows)} {_NOUNS[rows[0].kind]}s"


def outcome(action: Action, rows: Sequence[Row], result: Mapping[str, object]) -> str:
    """What has happened, in words."""
    done, what = past(action, rows), subject(rows)
    number = matched(result)
    whole = action is DELETE and rows[0].kind in ("queues", "durable")
    counted = action.name in (PURGE.name, DELETE.name, MOVE.name, RETRY.name) and not whole
    if number == 0 and counted:
        return f"{what}: {done} none: what was seen is not there any more"
    return f"{what}: {done} {number:,}" if counted and number is not None else f"{what}: {done}"
