"""The dashboard: it runs the source, keeps the clock by which is painted, and opens screens."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from stompy import OutcomeUnknown
from stompy.admin import CommandError, Request
from stompy_monitor import themes
from stompy_monitor.actions import ACTIONS, QUEUE, queue_of, verbs_for
from stompy_monitor.dashboard import DEFAULT, Dashboard, Options
from stompy_monitor.model.escape import safe
from stompy_monitor.model.filter import Compare, Expression, ExpressionError, parse
from stompy_monitor.model.model import Model
from stompy_monitor.model.row_set import Row
from stompy_monitor.screens.base import MonitorScreen
from stompy_monitor.screens.cluster import ClusterScreen
from stompy_monitor.screens.detail import DetailScreen
from stompy_monitor.screens.dialogs import ChoiceDialog, ConfirmDialog, LoginDialog, TextDialog
from stompy_monitor.screens.help import help_page
from stompy_monitor.screens.messages import MessageScreen, MessagesScreen
from stompy_monitor.screens.overview import OverviewScreen
from stompy_monitor.screens.palette import RowsProvider
from stompy_monitor.screens.routes import route_page
from stompy_monitor.screens.table import TableScreen
from stompy_monitor.sources.base import Phase, Source
from stompy_monitor.sources.replay import Replay
from stompy_monitor.tables import definitions
from stompy_monitor.tables.definitions import View
from stompy_monitor.tables.vocabulary import names_of
from stompy_monitor.widgets.bars import Tabs
from stompy_monitor.widgets.row_table import RowTable

DEAD_LETTER_SECONDS = 5.0
_STANDARD_INPUT = 0
_PLURALS = {"queue": "queues", "conn": "connections", "subs": "subscriptions", "tx": "transactions"}


class MonitorApp(App[int]):
    """The dashboard as a program of Textual.

    Args:
        model: kept up to date by the source.
        source: a broker, or a recording.
        options: how to look.
        clock: seconds, only going forward; the event loop's by default.
        wall: epoch milliseconds; the system's by default.
    """

    CSS_PATH = Path(__file__).with_name("monitor.tcss")
    TITLE = "stompy-monitor"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS = App.COMMANDS | {RowsProvider}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "view('overview')", "Overview", id="view.overview"),
        *(
            Binding(
                view.key, f"view('{view.name}')", view.name.capitalize(), id=f"view.{view.name}"
            )
            for view in definitions.TABLES
            if view.key
        ),
        # Ahead of its turn, as the filter of a table is.
        Binding("colon", "command", "Go by name", priority=True, id="go.command"),
        Binding("b", "broker", "The broker itself", id="go.broker"),
        Binding("f", "freeze", "Freeze the picture, or go on", id="time.freeze"),
        Binding("left_square_bracket", "step(-1)", "One second back", id="time.back"),
        Binding("right_square_bracket", "step(1)", "One second on", id="time.on"),
        Binding("left_curly_bracket", "step(-30)", "Thirty seconds back", id="time.far-back"),
        Binding("right_curly_bracket", "step(30)", "Thirty seconds on", id="time.far-on"),
        Binding("0", "present", "Back to now", id="time.now"),
        Binding("plus", "speed(1)", "Faster", id="time.faster"),
        Binding("minus", "speed(-1)", "Slower", id="time.slower"),
        Binding("r", "retry", "Connect now; in a recording: play or pause", id="app.retry"),
        Binding("T", "theme", "Theme", id="app.theme"),
        Binding("question_mark", "help", "Help", id="app.help"),
        Binding("q", "quit", "Quit", id="app.quit"),
    ]

    def __init__(
        self,
        model: Model,
        source: Source,
        options: Options = DEFAULT,
        *,
        clock: Callable[[], float] | None = None,
        wall: Callable[[], float] | None = None,
    ) -> None:
        super().__init__()
        self.options = options
        self.dashboard = Dashboard(
            model,
            source,
            options,
            clock or (lambda: asyncio.get_running_loop().time()),
            wall or (lambda: time.time() * 1000),
        )
        self.dashboard.navigator = self
        self._paused = clock is not None
        self._asked_for_login = False
        self._bell_rung_at = 0
        for theme in themes.THEMES:
            self.register_theme(theme)
        chosen = options.theme or themes.DEFAULT
        if os.environ.get("NO_COLOR") and chosen == themes.TERMINAL:
            chosen = themes.DEFAULT
        self.theme = chosen

    # -- life ------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Start the source, the clock and the first screen."""
        if self.options.keys:
            self.set_keymap(self.options.keys)
        self._install()
        self.switch_mode(self.options.view or "overview")
        if not self.is_headless:
            # Killed or hung up, it leaves the terminal as it was.
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self.exit, 0)
        if not self._paused:
            self._run_source()
            self.set_interval(1 / self.options.frames_per_second, self.tick)
            self.set_interval(DEAD_LETTER_SECONDS, self._group_dead_letters)

    def _install(self) -> None:
        """Each view is a mode: it has a stack of screens of its own, as it was left."""
        self.add_mode("overview", lambda: OverviewScreen(self.dashboard))
        for view in definitions.TABLES:
            if view is not definitions.CLUSTER:
                self.add_mode(view.name, self._maker(view))
        self.add_mode("cluster", lambda: ClusterScreen(self.dashboard))

    def _maker(self, view: View) -> Callable[[], Screen[None]]:
        def make() -> Screen[None]:
            screen = TableScreen(self.dashboard, view)
            columns = self.options.columns_of.get(view.name)
            screen.first_columns = frozenset(columns) if columns else None
            if view.name == self.options.view:
                self._begin_with(screen)
            return screen

        return make

    def _begin_with(self, screen: TableScreen) -> None:
        """The filter, order and columns of the command line are for the first view."""
        options, view = self.options, screen.view
        if options.filter:
            screen.view_state.filter_by(parse(options.filter, names_of(view)), options.filter)
        if options.sort:
            column = view.column(options.sort.removeprefix("-"))
            screen.view_state.sort(column, options.sort.startswith("-"))
        if options.columns:
            screen.first_columns = frozenset(options.columns)

    @work(group="source", exit_on_error=True)
    async def _run_source(self) -> None:
        await self.dashboard.source.run()

    def tick(self) -> None:
        """Paint what has changed: the clock of the program."""
        if not self.is_headless and _terminal_is_gone():
            # Nothing can be written any more, not even to say goodbye, and not every program that
            # loses its terminal is sent this signal.
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGHUP)
        self.dashboard.keep_dead_letters()
        # The one below a dialog goes on, too: its header says how old the picture is.
        below = next((s for s in reversed(self.screen_stack) if isinstance(s, MonitorScreen)), None)
        if below is not None:
            below.tick()
        phase = self.dashboard.status.phase
        if phase is Phase.REFUSED and not self._asked_for_login:
            self._asked_for_login = True
            self._ask_for_login()
        elif phase is Phase.LIVE:
            self._asked_for_login = False
        self._ring()

    def _ring(self) -> None:
        critical = self.dashboard.model.criticals() if self.options.bell else 0
        if critical > self._bell_rung_at:
            self.bell()
        self._bell_rung_at = critical

    @work(group="login")
    async def _ask_for_login(self) -> None:
        status = self.dashboard.status
        answer = await self.push_screen_wait(LoginDialog(status.words, status.user))
        if answer is not None:
            self.dashboard.source.log_in(*answer)
            self._asked_for_login = False

    @work(group="dead", exclusive=True)
    async def _group_dead_letters(self) -> None:
        # Only for who looks at them: the broker has to count.
        if self.dashboard.status.phase is Phase.LIVE and self.current_mode == "dead":
            await self.dashboard.group_dead_letters()

    # -- where to --------------------------------------------------------------------------------

    def action_view(self, name: str) -> None:
        """Open a view, as it was left."""
        if self.current_mode == name:
            while len(self.screen_stack) > 1 and isinstance(self.screen, MonitorScreen):
                self.pop_screen()
        else:
            self.switch_mode(name)
        if name == "dead" and not self._paused:
            self._group_dead_letters()

    def action_broker(self) -> None:
        """The broker itself in full."""
        names = self.dashboard.picture.row_sets["broker"].rows
        if names:
            self.inspect("broker", next(iter(names)))
        else:
            self.notify("The broker has not told of itself yet.")

    def on_tabs_chosen(self, event: Tabs.Chosen) -> None:
        """Open the view whose tab was clicked."""
        self.action_view(event.name)

    def action_command(self) -> None:
        """Open the prompt for a command."""
        if isinstance(self.screen, MonitorScreen):
            self.screen.ask_where()

    def go(self, command: str) -> None:
        """``queues orders ready>1`` opens a view with a filter; ``q`` ends the program."""
        word, _, rest = command.strip().partition(" ")
        word = _PLURALS.get(word, word)
        if word in ("q", "quit", "exit"):
            self.exit(0)
            return
        if word == "routes":
            self._show_routes()
            return
        names = ["overview", "broker", *definitions.BY_NAME]
        name = next((name for name in names if word and name.startswith(word)), None)
        if name is None:
            self.notify(
                f"there is no view “{word}”: {', '.join(names)}", severity="warning", markup=False
            )
            return
        view = definitions.BY_NAME.get(name)
        try:
            expression = parse(rest, None if view is None else names_of(view))
        except ExpressionError as error:
            self.notify(str(error), severity="warning", markup=False)
            return
        if name == "broker":
            self.action_broker()
            return
        self.action_view(name)
        if rest:
            self.call_later(self._filter_here, expression, rest.strip())

    @work(group="routes", exclusive=True)
    async def _show_routes(self) -> None:
        """Show the routes that the broker's configuration lays between destinations."""
        try:
            told = await self.dashboard.command(Request("route.list"))
        except (CommandError, OutcomeUnknown) as error:
            self.notify(safe(f"routes: {error}", 200), severity="warning", markup=False)
            return
        self.push_screen(TextDialog(route_page(told)))

    def _filter_here(self, expression: Expression, typed: str) -> None:
        if isinstance(self.screen, TableScreen):
            self.screen.view_state.filter_by(expression, typed)
            self.screen.tick()

    def inspect(self, kind: str, key: str) -> None:
        """Show one row in full."""
        row = (
            self.dashboard.picture.row_sets[kind].rows.get(key)
            if kind in self.dashboard.picture.row_sets
            else None
        )
        here = self.screen
        if row is not None and isinstance(here, MonitorScreen):
            view = next((view for view in definitions.TABLES if view.kind == kind), None)
            title = "Broker" if view is None else view.title
            here_already = view is not None and here.tab == view.name
            path = (*here.path, row.label if here_already else f"{title}: {row.label}")
            self.push_screen(DetailScreen(self.dashboard, kind, key, here.tab, path))

    def browse(self, queue: str, headers: Mapping[str, object]) -> None:
        """Show the messages of a queue, or some of them."""
        here = self.screen
        if isinstance(here, MonitorScreen):
            name = safe(queue.removeprefix(QUEUE))
            path = here.path if here.path[-1] == name else (*here.path, name)
            screen = MessagesScreen(self.dashboard, queue, headers, here.tab, (*path, "messages"))
            self.push_screen(screen)

    def jump(self, to: str, kind: str, key: str) -> None:
        """Show what belongs to a row."""
        row = self.dashboard.picture.row_sets[kind].rows.get(key)
        here = self.screen
        if row is None or not isinstance(here, MonitorScreen):
            return
        if to == "q":
            self.inspect("queues", queue_of(row).removeprefix(QUEUE))
        elif to == "c":
            self.inspect("connections", row.text("connection"))
        elif to == "d":
            self.inspect("queues", str(row.told("dlq")))
        elif to in ("s", "t"):
            view = definitions.SUBSCRIPTIONS if to == "s" else definitions.TRANSACTIONS
            field, value = _belonging(row)
            scope = Compare(field, "=", value).matches
            path = (*here.path, row.text("name") or row.key, view.title)
            self.push_screen(TableScreen(self.dashboard, view, path, scope))

    # -- time ------------------------------------------------------------------------------------

    def action_freeze(self) -> None:
        """Let the picture stand still, or go on."""
        self.dashboard.freeze()
        self.tick()

    def _replay(self) -> Replay | None:
        source = self.dashboard.source
        if isinstance(source, Replay):
            return source
        return None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only a recording can be wound: elsewhere these keys are not offered."""
        if action in ("step", "speed"):
            return isinstance(self.dashboard.source, Replay)
        return True

    def action_step(self, seconds: int) -> None:
        """Go back or forth in a recording."""
        replay = self._replay()
        if replay is not None:
            replay.step(seconds)
            self.tick()

    def action_present(self) -> None:
        """To the end of a recording; or let a frozen picture go on."""
        if isinstance(self.dashboard.source, Replay):
            self.dashboard.source.seek(self.dashboard.source.recording.end)
        elif self.dashboard.frozen_at is not None:
            self.dashboard.freeze()
        self.tick()

    def action_speed(self, steps: int) -> None:
        """Play a recording faster or slower."""
        replay = self._replay()
        if replay is not None:
            replay.faster(steps)

    def action_retry(self) -> None:
        """Connect now, or play on; with another login, where this one was refused."""
        if self.dashboard.status.phase is Phase.REFUSED:
            self._ask_for_login()
        else:
            self.dashboard.source.retry_now()

    # -- the rest --------------------------------------------------------------------------------

    def action_theme(self) -> None:
        """Choose the colours."""
        names = [theme.name for theme in themes.THEMES]
        choices = [(name, name.removeprefix("stompy-")) for name in names]
        self.push_screen(ChoiceDialog("Theme", choices, self.theme), self._theme_chosen)

    def _theme_chosen(self, name: str | None) -> None:
        if name is not None:
            self.theme = name

    def watch_theme(self) -> None:
        """Tables keep their styles: let them look again."""
        self.call_after_refresh(self._repaint)

    def _repaint(self) -> None:
        for table in self.screen.query("RowTable"):
            table.repaint()  # type: ignore[attr-defined]

    def action_help(self) -> None:
        """What the keys do here."""
        screen = self.screen
        if isinstance(screen, MonitorScreen):
            title = f"stompy-monitor · {' › '.join(screen.path)}"
            rows = screen.rows_to_act_on()
            kinds = {row.kind for row in rows}
            idle = {f"act.{a.name}" for a in ACTIONS if not any(map(a.applies_to, kinds))}
            self.push_screen(TextDialog(help_page(screen, title, idle, verbs_for(rows))))

    async def action_quit(self) -> None:
        """End the program."""
        self.exit(0)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the palette offers: the views, and what can be done here."""
        yield SystemCommand("Overview", "all at one look", lambda: self.action_view("overview"))
        yield SystemCommand("Broker", "memory, disk, listeners", self.action_broker)
        for view in definitions.TABLES:
            name = view.name
            yield SystemCommand(
                name.capitalize(), f"open the view {name}", lambda name=name: self.action_view(name)
            )
        yield SystemCommand(
            "Screenshot", "write what is seen to a file", lambda: self.set_timer(0.1, self._picture)
        )
        for _, binding, enabled, _ in screen.active_bindings.values():
            if (
                enabled
                and binding.id
                and not binding.id.startswith(("view.", "table.up", "table.down"))
            ):
                action = binding.action
                yield SystemCommand(
                    binding.description,
                    f"key {self.get_key_display(binding)}",
                    lambda action=action: self.call_later(screen.run_action, action),
                )

    def _picture(self) -> None:
        try:
            path = self.save_screenshot()
        except OSError as error:
            self.notify(f"no screenshot: {error.strerror}", severity="error", markup=False)
            return
        self.notify(f"written to {path}", markup=False)

    def export(self, view: View, rows: list[Row]) -> None:
        """Ask for a file and write the rows to it."""
        self._export(view, rows)

    @work(group="export")
    async def _export(self, view: View, rows: list[Row]) -> None:
        dialog = ConfirmDialog(
            f"Export {len(rows):,} rows of {view.name}",
            "As CSV, or as JSON when the name ends in .json.",
            "Write",
            asks=f"file, such as {view.name}.csv",
            needs_text=True,
        )
        answer = await self.push_screen_wait(dialog)
        if answer is None:
            return
        try:
            write_rows(answer.text, view, rows)
        except OSError as error:
            self.notify(f"{answer.text}: {error.strerror}", severity="error", markup=False)
            return
        self.notify(f"{len(rows):,} rows written to {answer.text}", markup=False)


def check_keys(keys: Mapping[str, str]) -> None:
    """Refuse keys for what there is not.

    Raises:
        ValueError: a binding is unknown.
    """
    classes = {base for place in (MonitorApp, *_PLACES) for base in place.__mro__}
    bound = [binding for base in classes for binding in vars(base).get("BINDINGS", ())]
    known = {one.id for one in bound if isinstance(one, Binding) and one.id}
    unknown = sorted(keys.keys() - known)
    if unknown:
        raise ValueError(
            f"keys.{unknown[0]}: there is no such key; known: {', '.join(sorted(known))}"
        )


_PLACES = (
    ClusterScreen,
    TableScreen,
    DetailScreen,
    MessagesScreen,
    MessageScreen,
    OverviewScreen,
    RowTable,
)
"""Where keys are bound."""


def write_rows(name: str, view: View, rows: list[Row]) -> None:
    """Write rows as JSON or CSV, by the name of the file; an existing file is not replaced.

    Raises:
        OSError: it cannot be written, or is there already.
    """
    path = Path(name).expanduser()
    with path.open("x", encoding="utf-8", newline="") as file:
        if path.suffix == ".json":
            json.dump([row.as_dict() for row in rows], file, ensure_ascii=False, indent=1)
            return
        spread = any(row.row_set.here for row in rows)
        columns = [column for column in view.shown(10_000, spread=spread) if column.title]
        columns = [column for column in columns if not column.trend]
        writer = csv.writer(file)
        writer.writerow([column.name for column in columns])
        writer.writerows([row.value(column.name) for column in columns] for row in rows)


def _belonging(row: Row) -> tuple[str, str]:
    """The field by which rows of other tables name this one, and what it says."""
    if row.kind == "connections":
        return "connection", row.text("id")
    if row.kind == "durable":
        return "durable_name", row.text("name")
    return "destination", row.text("destination") or f"/topic/{row.text('name')}"


def _terminal_is_gone() -> bool:
    """Whether the other end of the terminal was closed."""
    poll = select.poll()
    poll.register(_STANDARD_INPUT, select.POLLHUP)
    return bool(poll.poll(0))
