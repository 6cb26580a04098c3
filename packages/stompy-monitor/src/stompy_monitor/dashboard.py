"""What all screens share: the model, where it comes from, and the picture that is shown of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from stompy import OutcomeUnknown
from stompy.admin import CommandError, Request, Role
from stompy_monitor.actions import Action
from stompy_monitor.model import formats
from stompy_monitor.model.model import Model
from stompy_monitor.model.row_set import Row
from stompy_monitor.sources.base import ConnectionStatus, Phase, Source
from stompy_monitor.sources.replay import Replay
from stompy_monitor.tables.definitions import View

DEAD_FIELDS = ("queue", "origin", "reason", "count", "bytes", "oldest_at", "newest_at", "headers")
"""A group of dead letters; ``headers`` is what its messages have in common."""

_GROUPED_BY = ("origin", "reason")
_MOVES = ("created_at", "total", "in_msgs", "out_msgs", "removed", "expired", "dropped")
"""While these are the same, the same messages are in a queue."""


@dataclass(frozen=True)
class Options:
    """How the monitor shall look and behave; what each means stands in its command line."""

    view: str = "overview"
    filter: str = ""
    sort: str = ""
    columns: tuple[str, ...] = ()
    columns_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    read_only: bool = False
    theme: str = ""
    ascii_only: bool = False
    frames_per_second: float = 4.0
    slow_link: bool = False
    bell: bool = False
    keys: Mapping[str, str] = field(default_factory=dict)


DEFAULT = Options()
"""Everything as it comes."""


@dataclass(eq=False)
class Batches:
    """Work that goes batch by batch, and can be stopped between two.

    Attributes:
        verb: what is done with the messages, as in "moved".
        wanted: how many they are.
        done: how many of them it is done with.
        stopped: whether the reader has had enough.
    """

    verb: str
    wanted: int
    done: int = 0
    stopped: bool = False

    @property
    def words(self) -> str:
        """How far it is, for the line over the table."""
        return f"{self.verb} {self.done:,} of {self.wanted:,}"


class Navigator(Protocol):
    """What goes from one screen to another."""

    def go(self, command: str) -> None:
        """Do what was typed after ``:``."""

    def inspect(self, kind: str, key: str) -> None:
        """Show one row in full."""

    def browse(self, queue: str, headers: Mapping[str, object]) -> None:
        """Show the messages of a queue, or some of them."""

    def jump(self, to: str, kind: str, key: str) -> None:
        """Show what belongs to a row."""

    def export(self, view: View, rows: list[Row]) -> None:
        """Ask for a file and write the rows to it."""


class Dashboard:
    """One run of the dashboard.

    Args:
        model: kept up to date by the source.
        source: a broker, or a recording.
        options: how to look.
        clock: seconds, only going forward.
        wall: epoch milliseconds.

    Attributes:
        picture: what the screens show: the model, or a copy of it that stands still.
        frozen_at: when it was frozen, by the clock; None while it is live.
        show_own: whether the monitor's own connection is shown.
    """

    def __init__(
        self,
        model: Model,
        source: Source,
        options: Options,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.model = model
        self.source = source
        self.options = options
        self.clock = clock
        self.wall = wall
        self.picture = model
        self.frozen_at: float | None = None
        self.show_own = False
        self.busy: set[str] = set()
        self.batches: list[Batches] = []
        self.navigator: Navigator
        self._dead: dict[str, list[list[object]]] = {}
        self._dead_asked: dict[str, object] = {}
        self._dead_seen: object = None
        self._commands: tuple[object, Mapping[str, frozenset[str]]] | None = None

    @property
    def status(self) -> ConnectionStatus:
        """What is known of the connection."""
        return self.source.status

    def freeze(self) -> None:
        """Let the picture stand still, or go on."""
        if self.frozen_at is None:
            self.picture, self.frozen_at = self.model.still(), self.clock()
        else:
            self.picture, self.frozen_at = self.model, None

    def stop_batches(self) -> bool:
        """Let what goes batch by batch end with the present one; whether there was any."""
        going = [batches for batches in self.batches if not batches.stopped]
        for batches in going:
            batches.stopped = True
        return bool(going)

    @property
    def badge(self) -> str:
        """In large letters, what is not as usual."""
        if self.frozen_at is not None:
            return f"FROZEN +{self.clock() - self.frozen_at:.0f} s"
        if isinstance(self.source, Replay):
            state = f"{self.source.speed:g}x" if self.source.playing else "paused"
            return f"REPLAY {formats.clock(self.source.position)} {state}"
        return "READ-ONLY" if self.options.read_only else ""

    @property
    def rates_known(self) -> bool:
        """Whether the last rates are still true enough to show."""
        status = self.status
        if status.phase is Phase.LIVE and status.latest_at is not None:
            return (self.clock() - status.latest_at) * 1000 <= 3 * self.model.interval_ms
        return status.phase is Phase.REPLAY

    def refusal(self, action: Action, kind: str) -> str:
        """Why an action cannot be done now; empty when it can."""
        status = self.status
        if status.phase is Phase.REPLAY:
            return "this is a recording"
        if self.options.read_only:
            return "--read-only is on"
        if status.phase is not Phase.LIVE:
            return "there is no connection"
        needed = action.role(kind)
        if not status.role.includes(needed):
            return f"the role {needed} is needed; {status.user or 'anonymous'} has {status.role}"
        return ""

    def may_see_bodies(self) -> bool:
        """Whether the broker shows us bodies of messages."""
        return self.status.role.includes(Role.OPERATOR)

    async def command(
        self,
        request: Request,
        seconds: float = 10.0,
    ) -> Mapping[str, object]:
        """Ask the broker; the result.

        Raises:
            CommandError: it failed.
            OutcomeUnknown: no answer came.
        """
        reply = await self.source.ask(request, seconds)
        return reply.checked()

    async def knows(self, command: str, argument: str = "") -> bool:
        """Whether the broker has a command that we may give, with an argument of that name.

        Args:
            command: such as ``queue.purge``.
            argument: one of its arguments; empty = no matter.

        Raises:
            CommandError: it does not tell.
            OutcomeUnknown: no answer came.
        """
        stamp = self.model.boot, self.status.role, self.status.user
        if self._commands is None or self._commands[0] != stamp:
            told = await self.command(Request("broker.help"))
            self._commands = stamp, _arguments(told)
        arguments = self._commands[1].get(command)
        return arguments is not None and (not argument or argument in arguments)

    # -- dead letters ----------------------------------------------------------------------------

    async def group_dead_letters(self) -> None:
        """Ask of each dead-letter queue that is another one how many died where and why."""
        queues = [row for row in self.model.row_sets["queues"].rows.values() if row.value("dlq_of")]
        asked = self._dead_asked
        found = {row.key: self._dead[row.key] for row in queues if row.key in self._dead}
        for queue in queues:
            stamp = tuple(queue.value(name) for name in _MOVES)
            if queue.key in found and asked.get(queue.key) == stamp:
                continue
            asked[queue.key] = stamp
            args = {"queue": queue.told("destination"), "group_by": list(_GROUPED_BY)}
            try:
                result = await self.command(Request("message.count", args))
            except OutcomeUnknown:
                return
            except CommandError:
                continue  # it is gone, or this role may not count
            groups = result.get("groups")
            told = groups if isinstance(groups, list) else []
            found[queue.key] = [_group(queue.key, group) for group in told]
        self._dead = found

    def keep_dead_letters(self) -> None:
        """Renew the rows of dead letters when the queues are others."""
        stamp = (self.picture, self.picture.row_sets["queues"].version, self._dead)
        if stamp != self._dead_seen:
            self._dead_seen = stamp
            self._put_dead_letters(self.picture)

    def _put_dead_letters(self, model: Model) -> None:
        """Grouped where the broker has told, else by queue."""
        rows: list[list[object]] = []
        queues = model.row_sets["queues"]
        where = queues.index.get("dlq_of")
        dead = [row for row in queues.rows.values() if where is not None and row.values[where]]
        for row in dead:
            if not row.number("total"):
                continue
            whole = [row.key, f"/queue/{row.text('dlq_of')}", "", int(row.number("total"))]
            whole += [row.value("bytes"), row.value("oldest_at"), None, {}]
            grouped = self._dead.get(row.key)
            rows += [list(group) for group in grouped] if grouped else [whole]
        row_set = model.row_sets["dead"]
        at = queues.at
        head = {"kind": "dead", "at": at, "fields": list(DEAD_FIELDS)}
        row_set.apply({**head, "data": rows})


def _arguments(told: Mapping[str, object]) -> dict[str, frozenset[str]]:
    """The commands that we may give, with the names of their arguments."""
    commands = told.get("commands")
    found: dict[str, frozenset[str]] = {}
    for one in commands if isinstance(commands, list) else ():
        if one.get("allowed"):
            names = [str(argument.get("name")) for argument in one.get("args", ())]
            found[str(one.get("name"))] = frozenset(names)
    return found


def _group(queue: str, told: Mapping[str, object]) -> list[object]:
    common = {name: told.get(name) for name in _GROUPED_BY}
    rest = [told.get(name) for name in ("count", "bytes", "oldest_at", "newest_at")]
    return [queue, *(value or "" for value in common.values()), *rest, common]
