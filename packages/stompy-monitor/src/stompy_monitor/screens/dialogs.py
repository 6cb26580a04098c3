"""Small screens that ask or tell one thing, above the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from stompy_monitor.widgets.bars import MUTED

_SELECTOR = "only those that a selector takes: n > 5 AND kind = 'x'; empty = all"
_LOOKING = "looking…"
_PAUSE = 0.25
"""Seconds without typing, after which a selector is looked at."""


def plain(text: str, style: str = "") -> Content:
    """Text that is shown as it is, whatever brackets stand in it."""
    return Content.styled(text, style)


@dataclass(frozen=True)
class Answer:
    """What somebody answered who said yes.

    Attributes:
        text: what was asked for.
        selector: which messages are meant; empty = all.
    """

    text: str = ""
    selector: str = ""


Preview = Callable[[str], Awaitable[str]]
"""Gives the words for what would happen to what a selector takes; raises `PreviewError`."""


class PreviewError(Exception):
    """What would happen cannot be told; the text says why."""


class ConfirmDialog(ModalScreen[Answer | None]):
    """Ask before something is done; the answer is None for no.

    Args:
        title: what is to be done, and to what.
        words: what would happen.
        verb: on the button.
        asks: the name of a text that is needed as well.
        must_type: what must be typed to be sure.
        needs_text: whether it cannot go on without the text.
        text: what stands in its field at first.
        preview: tells what would happen, when a selector is typed; None = none can be.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "dismiss(None)", "No", id="dialog.no"),
        Binding("y", "yes", "Yes", id="dialog.yes"),
    ]

    def __init__(
        self,
        title: str,
        words: str,
        verb: str,
        *,
        asks: str = "",
        must_type: str = "",
        needs_text: bool = False,
        text: str = "",
        preview: Preview | None = None,
    ) -> None:
        super().__init__()
        self._preview = preview
        self._previewed: str | None = ""
        self._title = title
        self._words = words
        self._verb = verb
        self._asks = asks
        self._must_type = must_type
        self._needs_text = needs_text
        self._answer_text = text

    def compose(self) -> ComposeResult:
        """A box in the middle."""
        with Vertical(classes="dialog"):
            yield Static(plain(self._title, "bold"), classes="dialog-title")
            yield Static(plain(self._words), classes="dialog-words", id="words")
            if self._preview is not None:
                yield Input(placeholder=_SELECTOR, id="selector", compact=True)
            if self._asks:
                yield Input(self._answer_text, placeholder=self._asks, id="text", compact=True)
            if self._must_type:
                yield Static(plain(f"To be sure, type: {self._must_type}", "$warning"))
                yield Input(placeholder=self._must_type, id="sure", compact=True)
            with Horizontal(classes="dialog-buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield Button(
                    Content(self._verb),
                    id="do",
                    variant="error",
                    compact=True,
                    disabled=self._blocked,
                )

    def on_mount(self) -> None:
        """Cancel has the focus, unless something must be typed first."""
        first = "#text" if self._asks and self._needs_text else "#sure" if self._must_type else ""
        self.query_one(first or "#cancel").focus()
        for field in self.query(Input):
            field.cursor_blink = False
        self.query_one("#do", Button).disabled = self._blocked

    @property
    def _blocked(self) -> bool:
        sure = self.query("#sure")
        typed = not self._must_type or (
            bool(sure) and sure.only_one(Input).value == self._must_type
        )
        text = self.query("#text")
        told = not self._needs_text or (bool(text) and bool(text.only_one(Input).value.strip()))
        return not (typed and told and self._previewed == self._selector)

    @property
    def _selector(self) -> str:
        field = self.query("#selector")
        return field.only_one(Input).value.strip() if field else ""

    def on_input_changed(self, event: Input.Changed) -> None:
        """The button works when everything was typed, and what it would do is told."""
        if event.input.id == "selector" and self._selector != self._previewed:
            self._previewed = None
            self._tell(_LOOKING, MUTED)
            self._look()
        self.query_one("#do", Button).disabled = self._blocked

    def _tell(self, words: str, style: str = "") -> None:
        self.query_one("#words", Static).update(plain(words, style))

    @work(group="preview", exclusive=True)
    async def _look(self) -> None:
        """Say what would happen to what the selector takes, once nobody types."""
        await asyncio.sleep(_PAUSE)
        selector, preview = self._selector, self._preview
        assert preview is not None
        try:
            words = await preview(selector)
        except PreviewError as error:
            self._tell(str(error), "$error")
            return
        self._previewed = selector
        self._tell(words)
        self.query_one("#do", Button).disabled = self._blocked

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes on to the button, or to the field that is not right yet, never to Cancel."""
        if not self._blocked:
            self.query_one("#do").focus()
            return
        if event.input.id == "selector" and self._previewed is None:
            return  # it is still looked at, or is none
        sure = self.query("#sure")
        if self._needs_text and not self.query_one("#text", Input).value.strip():
            self.query_one("#text").focus()
        else:
            if event.input.id == "sure":
                event.input.value = ""  # what is to be typed shows in its place
            if sure:
                sure.only_one().focus()

    def action_yes(self) -> None:
        """Close the dialog with a yes."""
        if self._blocked:
            return
        text = self.query("#text")
        found = text.only_one(Input).value.strip() if text else ""
        self.dismiss(Answer(found, self._selector))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Do what the button says: go on, or leave it."""
        if event.button.id == "do":
            self.action_yes()
        else:
            self.dismiss(None)


class ChoiceDialog(ModalScreen[str | None]):
    """Choose one of several: a column to sort by, a theme."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back", id="choice.back"),
        Binding("j", "cursor(1)", "Down", show=False, id="choice.down"),
        Binding("k", "cursor(-1)", "Up", show=False, id="choice.up"),
    ]

    def __init__(self, title: str, choices: Sequence[tuple[str, str]], now: str = "") -> None:
        super().__init__()
        self._title = title
        self._choices = choices
        self._now = now

    def compose(self) -> ComposeResult:
        """A list in a box."""
        with Vertical(classes="dialog narrow"):
            yield Static(plain(self._title, "bold"), classes="dialog-title")
            yield OptionList(*(Option(plain(label), id=name) for name, label in self._choices))

    def on_mount(self) -> None:
        """Begin where it stands now."""
        options = self.query_one(OptionList)
        names = [name for name, _ in self._choices]
        options.highlighted = names.index(self._now) if self._now in names else 0
        options.focus()

    def action_cursor(self, lines: int) -> None:
        """Up and down as in the tables."""
        options = self.query_one(OptionList)
        if lines > 0:
            options.action_cursor_down()
        else:
            options.action_cursor_up()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Close the dialog with what was chosen."""
        self.dismiss(event.option.id)


class ColumnsDialog(ModalScreen[frozenset[str] | None]):
    """Choose which columns are shown."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back", id="columns.back"),
        Binding("space", "choose", "Choose", id="columns.toggle"),
        Binding("enter", "take", "Show these", priority=True, id="columns.take"),
    ]

    def __init__(self, columns: Sequence[tuple[str, str]], shown: frozenset[str]) -> None:
        super().__init__()
        self._columns = columns
        self._shown = set(shown)

    def compose(self) -> ComposeResult:
        """A list with a mark for each: a sign, as colours are not everybody's."""
        with Vertical(classes="dialog narrow"):
            words = "Columns: space chooses, enter shows"
            yield Static(plain(words, "bold"), classes="dialog-title")
            yield OptionList(*(Option(self._line(name), id=name) for name, _ in self._columns))

    def _line(self, name: str) -> Content:
        title = dict(self._columns)[name]
        return plain(f"[x] {title}" if name in self._shown else f"[ ] {title}")

    def on_mount(self) -> None:
        """The first one takes the keys."""
        options = self.query_one(OptionList)
        options.highlighted = 0
        options.focus()

    def action_choose(self) -> None:
        """Show the column, or not."""
        options = self.query_one(OptionList)
        if options.highlighted is not None:
            name = self._columns[options.highlighted][0]
            self._shown ^= {name}
            options.replace_option_prompt(name, self._line(name))

    def on_option_list_option_selected(self) -> None:
        """A click does the same."""
        self.action_choose()

    def action_take(self) -> None:
        """Close, and show the columns that were chosen."""
        self.dismiss(frozenset(self._shown))


class JumpDialog(ModalScreen[str | None]):
    """After ``g``: where to? Shows what may follow, and takes one key."""

    def __init__(self, choices: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._choices = choices

    def compose(self) -> ComposeResult:
        """The keys and where they lead."""
        with Vertical(classes="dialog jump"):
            parts: list[tuple[str, str]] = [("go to\n", "bold")]
            for key, label in self._choices:
                parts += [(f"\n  {key}", "bold $primary"), (f"  {label}", "")]
            yield Static(Content.assemble(*parts))

    def on_key(self, event: events.Key) -> None:
        """One key decides; it is for nobody else."""
        event.stop()
        event.prevent_default()
        key = event.key
        self.dismiss(key if key in {name for name, _ in self._choices} else None)


class LoginDialog(ModalScreen[tuple[str, str] | None]):
    """The broker refused the login: ask for another one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back", id="login.back"),
    ]

    def __init__(self, words: str, login: str) -> None:
        super().__init__()
        self._words = words
        self._login = login

    def compose(self) -> ComposeResult:
        """Lay out the fields for login and passcode."""
        with Vertical(classes="dialog"):
            yield Static(
                plain("The broker refused the login", "bold $error"), classes="dialog-title"
            )
            yield Static(plain(self._words), classes="dialog-words")
            yield Input(self._login, placeholder="login", id="login", compact=True)
            yield Input(placeholder="passcode", password=True, id="passcode", compact=True)
            words = "enter tries again; nothing is tried by itself, as that might lock the account"
            yield Static(plain(words, MUTED))

    def on_mount(self) -> None:
        """The field that is missing has the focus."""
        self.query_one("#passcode" if self._login else "#login").focus()
        for field in self.query(Input):
            field.cursor_blink = False

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go on to the passcode, or try."""
        if event.input.id == "login":
            self.query_one("#passcode").focus()
            return
        login, passcode = (self.query_one(name, Input).value for name in ("#login", "#passcode"))
        self.dismiss((login, passcode))


class TextDialog(ModalScreen[None]):
    """Something to read: help, or the raw form of a row."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "Back", id="text.back"),
        Binding("j", "scroll(1)", "Down", show=False, id="text.down"),
        Binding("k", "scroll(-1)", "Up", show=False, id="text.up"),
    ]

    def __init__(self, content: Content) -> None:
        super().__init__()
        self._content = content

    def compose(self) -> ComposeResult:
        """A page of text that scrolls, in a box."""
        with VerticalScroll(classes="dialog page"):
            yield Static(self._content)

    def action_scroll(self, lines: int) -> None:
        """Up and down as in the tables."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)
