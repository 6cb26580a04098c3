"""What every screen has round its body: who the broker is, tabs, title, keys, and the prompt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.highlighter import Highlighter
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, Label, Static

from stompy_monitor.actions import ACTIONS
from stompy_monitor.dashboard import Dashboard
from stompy_monitor.model import formats
from stompy_monitor.model.alarms import CRITICAL, WARN
from stompy_monitor.model.escape import safe
from stompy_monitor.model.model import Model
from stompy_monitor.model.row_set import Row
from stompy_monitor.screens.actions import Hint, RowActions
from stompy_monitor.screens.dialogs import Answer, ConfirmDialog, JumpDialog, plain
from stompy_monitor.sources.base import ConnectionStatus, Phase
from stompy_monitor.tables import definitions
from stompy_monitor.widgets.bars import (
    MUTED,
    Bar,
    Hints,
    Part,
    Tabs,
    connection_words,
    identity,
    pulse,
)

SHORT_LINES = 30
"""Below that many lines the preview and the second line of the header go."""
LEAST_COLUMNS, LEAST_LINES = 60, 15

_SHOWN_FOR, _STAYS = 6.0, 3600.0
"""Seconds for which a notice is seen, and one that has to be dismissed."""


class _Broken(Highlighter):
    """Underlines an expression from where it breaks."""

    position: int | None = None

    def highlight(self, text: Text) -> None:
        """Underline the text from there on."""
        if self.position is not None:
            text.stylize("underline red", min(self.position, max(0, len(text) - 1)))


class Prompt(Horizontal):
    """The line in which filters and commands are typed."""

    def __init__(self) -> None:
        super().__init__(id="prompt")
        self.sign = "/"
        self._broken = _Broken()

    def compose(self) -> ComposeResult:
        """A sign, the text, and what is wrong with it."""
        yield Label("/", id="prompt-sign")
        yield Input(compact=True, highlighter=self._broken, id="prompt-input")
        yield Label("", id="prompt-error")

    def open(self, sign: str, value: str = "") -> None:
        """Show it and take the keys."""
        self.sign = sign
        self.display = True
        self.query_one("#prompt-sign", Label).update(plain(sign))
        self.complain("")
        field = self.query_one(Input)
        field.cursor_blink = False
        field.value = value
        # At once: what is typed next is for this field already.
        self.screen.set_focus(field)

    def complain(self, words: str, position: int | None = None) -> None:
        """Say what is wrong, and underline where."""
        self._broken.position = position
        self.query_one("#prompt-error", Label).update(plain(words))
        self.query_one(Input).refresh()

    def shut(self) -> None:
        """Hide the line to type into."""
        self.display = False

    @property
    def is_open(self) -> bool:
        """Whether it takes the keys."""
        return self.display


class MonitorScreen(Screen[None]):
    """A body with the lines round it.

    Args:
        session: what all screens share.
        tab: the view whose tab is lit.
        path: the names of the screens that led here.
    """

    ALLOW_IN_MAXIMIZED_VIEW = "#identity, #title, #prompt, #hints"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "back", "Back", id="go.back"),
        Binding("g", "jump", "Go to …", id="go.jump"),
        Binding("x", "expand", "Expand this panel, or shrink it", id="screen.expand"),
        Binding("ctrl+r", "redraw", "Paint anew", show=False, id="screen.redraw"),
        *(
            Binding(action.key, f"act('{action.name}')", action.verb, id=f"act.{action.name}")
            for action in ACTIONS
        ),
    ]

    def __init__(self, dashboard: Dashboard, tab: str, path: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.dashboard = dashboard
        self.actions = RowActions(
            dashboard, self, lambda work: self.run_worker(work, group="actions")
        )
        self.tab = tab
        self.path = path
        self._identity_at: object = None
        self._nobody_told: list[Part] = []

    # -- parts -----------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """The lines round the body."""
        yield Bar(id="identity")
        yield Bar(id="pulse")
        yield Tabs(id="tabs")
        yield Bar(id="title")
        yield from self.compose_body()
        yield Static(id="nobody")
        yield Prompt()
        yield Hints(id="hints")
        yield Static("the terminal is too small: at least 60 × 15, please", id="too-small")

    def compose_body(self) -> Iterable[Widget]:
        """Give the widgets between the lines at the top and those at the bottom."""
        return ()

    def draw(self, model: Model, now: float) -> None:
        """Bring the body up to date."""

    def hints(self) -> list[Hint]:
        """Give the keys that do something here, for the last line."""
        return []

    def title_parts(self) -> list[Part]:
        """The line over the body."""
        return [(f" {' › '.join(self.path)}", "bold")]

    def jumps(self) -> list[tuple[str, str]]:
        """Where ``g`` and one more key leads to."""
        return []

    def jump_to(self, key: str) -> None:
        """Go where a key after ``g`` leads."""

    # -- time ------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Draw at once, not with the next second."""
        self._adapt()
        self.tick()

    def on_screen_resume(self) -> None:
        """Draw at once: time has passed."""
        self._identity_at = None
        if self.is_mounted:
            self.tick()

    def on_resize(self) -> None:
        """Leave out what has no room."""
        self._adapt()
        self._identity_at = None
        self.call_after_refresh(self.tick)

    def _adapt(self) -> None:
        small = self.app.size.width < LEAST_COLUMNS or self.app.size.height < LEAST_LINES
        self.set_class(self.app.size.height < SHORT_LINES, "short")
        self.set_class(small, "tiny")

    def tick(self) -> None:
        """Bring everything that is seen up to date."""
        if not self.is_mounted or not self.query("#identity"):
            return
        self._adapt()
        dashboard = self.dashboard
        now, model = dashboard.clock(), dashboard.picture
        self.set_class(dashboard.status.phase is Phase.LOST, "lost")
        self._tell_of_nobody(model, now)
        beat = (int(now), dashboard.status.phase, dashboard.badge, model.version)
        if beat != self._identity_at:
            self._identity_at = beat
            self._draw_bars(model, now)
        self.draw(model, now)
        self.query_one("#title", Bar).show(self._as_of(self.title_parts()))
        self.query_one("#hints", Hints).show_keys([*self.hints(), *_ALWAYS], "? help  ^p palette")

    def _tell_of_nobody(self, model: Model, now: float) -> None:
        """Before anything is known there is nothing to show but why."""
        words = nobody(self.dashboard.status, now) if not model.broker else []
        self.set_class(bool(words), "unknown")
        if words != self._nobody_told:
            self._nobody_told = words
            self.query_one("#nobody", Static).update(Content.assemble(*words))

    def _as_of(self, parts: list[Part]) -> list[Part]:
        for batches in self.dashboard.batches:
            how = "stopping" if batches.stopped else "esc stops"
            parts = [*parts, (f"   {batches.words}, {how}", "$accent")]
        if self.dashboard.status.phase is Phase.LOST:
            at = self.dashboard.picture.at
            return [*parts, (f"   as of {formats.clock(at or None)}", "$warning bold")]
        return parts

    def _draw_bars(self, model: Model, now: float) -> None:
        dashboard, width = self.dashboard, self.app.size.width
        status, wall, badge = dashboard.status, dashboard.wall(), dashboard.badge
        plain_text = dashboard.options.ascii_only
        first = identity(status, model, now, wall, badge, width, ascii_only=plain_text)
        self.query_one("#identity", Bar).show(first)
        known = dashboard.rates_known
        second = pulse(model, width, ascii_only=dashboard.options.ascii_only, known=known)
        self.query_one("#pulse", Bar).show(second)
        self.query_one("#tabs", Tabs).show_tabs(tabs(model), self.tab)

    # -- the prompt ------------------------------------------------------------------------------

    @property
    def prompt(self) -> Prompt:
        """The line in which filters and commands are typed."""
        return self.query_one(Prompt)

    def ask_where(self) -> None:
        """Open the prompt for a command."""
        self.prompt.open(":")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while typing."""
        if event.input.id == "prompt-input" and self.prompt.is_open and self.prompt.sign == "/":
            self.filter_typed(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go where the command says, or keep the filter."""
        if event.input.id != "prompt-input":
            return
        sign = self.prompt.sign
        self.shut_prompt()
        if sign == ":":
            self.dashboard.navigator.go(event.value)
        elif sign != "/":
            self.typed(event.value)

    def typed(self, text: str) -> None:
        """Use what was typed after another sign than that of a filter or command."""

    def filter_typed(self, text: str) -> None:
        """Use a filter as far as it is typed."""

    def filter_given_up(self) -> None:
        """Take back what was typed: the prompt was left with escape."""

    def shut_prompt(self) -> None:
        """Hide the prompt, and give the keys back to the body."""
        self.prompt.shut()
        self.focus_body()

    def focus_body(self) -> None:
        """Give the keys to the body."""
        self.set_focus(None)

    # -- actions ---------------------------------------------------------------------------------

    def rows_to_act_on(self) -> list[Row]:
        """Give the rows that an action is about: the marked ones, or the one under the cursor."""
        return []

    def acted(self) -> None:
        """Do what follows an action, such as taking marks away."""

    def action_act(self, name: str) -> None:
        """Begin an action on the rows here."""
        self.actions.begin(name)

    async def ask(self, dialog: ConfirmDialog) -> Answer | None:
        """Show a dialog and wait for its answer; None for no."""
        return await self.app.push_screen_wait(dialog)

    def tell(self, words: str, severity: str = "information") -> None:
        """Show a notice; errors stay until they are dismissed."""
        if severity == "error":
            self.notify(safe(words, 400), severity="error", timeout=_STAYS, markup=False)
        elif severity == "warning":
            self.notify(safe(words, 400), severity="warning", timeout=_SHOWN_FOR, markup=False)
        else:
            self.notify(safe(words, 400), timeout=_SHOWN_FOR, markup=False)

    # -- keys ------------------------------------------------------------------------------------

    def action_back(self) -> None:
        """Shut what is open, stop what goes batch by batch, or go back."""
        if self.prompt.is_open:
            if self.prompt.sign == "/":
                self.filter_given_up()
            self.shut_prompt()
        elif self.maximized is not None:
            self.minimize()
        elif self.dashboard.stop_batches():
            self.tick()
        elif len(self.app.screen_stack) > 1 and self.path[:-1]:
            self.app.pop_screen()

    def action_expand(self) -> None:
        """Give the whole screen to the panel that has the keys, or take it back."""
        if self.maximized is not None:
            self.minimize()
        elif self.focused is not None:
            self.maximize(self.focused)

    def action_redraw(self) -> None:
        """Paint every cell of the terminal anew."""
        self.app.refresh(layout=True)

    async def action_jump(self) -> None:
        """Go to what belongs to this row: asks for one more key."""
        choices = self.jumps()
        if choices:
            self.app.push_screen(JumpDialog(choices), self._jumped)

    def _jumped(self, key: str | None) -> None:
        if key is not None:
            self.jump_to(key)


_REMEDIES = {
    Phase.CONNECTING: "It goes on trying; r tries now.",
    Phase.LOST: "It goes on trying; r tries now.",
    Phase.REFUSED: "r asks for another login; nothing is tried by itself, as that might lock it.",
    Phase.FORBIDDEN: "r tries again, once the role is there.",
    Phase.FOREIGN: "Only stompy-broker tells what this program shows. q ends it.",
}


def nobody(status: ConnectionStatus, now: float) -> list[Part]:
    """Why there is nothing to be seen, in whole sentences."""
    words, style = connection_words(status, Model(()), now)
    parts: list[Part] = [(f"{status.url}\n\n", "bold"), (f"{words}\n", style)]
    if status.phase in (Phase.LIVE, Phase.REPLAY):
        return [*parts, ("\nwaiting for the first report", MUTED)]
    if status.words:
        parts.append((f"\n{status.words}\n", ""))
    return [*parts, (f"\n{_REMEDIES[status.phase]}", MUTED)]


_ALWAYS: list[Hint] = [(":", "go to", True), ("f", "freeze", True)]


def tabs(model: Model) -> list[tuple[str, str, str, int, str]]:
    """The tabs with what they count."""
    found = [("1", "overview", "Overview", 0, "")]
    for view in definitions.TABLES:
        if not view.key or (view is definitions.CLUSTER and not model.clustered):
            continue
        row_set = model.row_sets[view.kind]
        if view is definitions.SCHEDULED and not row_set.complete:
            continue  # a recording of a broker that knew no schedules
        count = row_set.others
        severity = 0
        if view.kind in model.alarms:
            warns, criticals = model.alarms[view.kind].counts(row_set.rows)
            severity = CRITICAL if criticals else WARN if warns else 0
        if view is definitions.DEAD:
            count = int(sum(row.number("count") for row in row_set.rows.values()))
            severity = WARN if count else 0
        words = "" if view is definitions.EVENTS or not row_set.complete else f"{count:,}"
        found.append((view.key, view.name, view.title, severity, words))
    return found
