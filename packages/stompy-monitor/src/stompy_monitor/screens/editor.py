"""A dead letter in an editor: its headers and its body are changed, compared, and sent back."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static, TextArea

from stompy_monitor.model.draft import Draft, DraftError
from stompy_monitor.model.escape import safe
from stompy_monitor.screens.dialogs import plain
from stompy_monitor.widgets.bars import MUTED

_STYLES = {"+": "$success", "-": "$error", "…": MUTED}
_MOST_LINES = 2000


class EditorScreen(ModalScreen[dict[str, object] | None]):
    """Edit a dead letter; the answer is what is to be another, or None.

    Args:
        draft: what can be edited.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "compare", "Compare, and send back", priority=True, id="editor.compare"),
        Binding("escape", "leave", "Leave", priority=True, id="editor.leave"),
    ]

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft
        self._leaving = False

    def compose(self) -> ComposeResult:
        """Headers above, the body below, and what the keys do."""
        draft = self._draft
        with Vertical(classes="dialog editor"):
            words = f"Repair {safe(draft.message_id, 40)} in {safe(draft.queue, 60)}"
            yield Static(plain(words, "bold"), classes="dialog-title")
            if draft.reason:
                yield Static(plain(safe(draft.reason, 200), "$warning"), id="editor-reason")
            headers = TextArea("\n".join(draft.lines), id="editor-headers", compact=True)
            headers.border_title = "Headers, one a line: name: value"
            yield headers
            body = TextArea(draft.body or "", id="editor-body", compact=True)
            body.read_only = draft.body is None
            body.border_title = f"Body · not to be edited: {draft.why}" if draft.why else "Body"
            yield body
            yield Static("", id="editor-words")
            with Horizontal(classes="dialog-buttons"):
                yield Button("Leave  esc", id="leave", compact=True)
                yield Button("Compare  ^s", id="compare", variant="primary", compact=True)

    def on_mount(self) -> None:
        """The body has the focus, if it can be edited."""
        where = "#editor-headers" if self._draft.body is None else "#editor-body"
        self.query_one(where).focus()
        for area in self.query(TextArea):
            area.cursor_blink = False
        self._say("tab: headers and body")

    @property
    def _texts(self) -> tuple[str, str | None]:
        headers = self.query_one("#editor-headers", TextArea).text
        body = self.query_one("#editor-body", TextArea).text
        return headers, None if self._draft.body is None else body

    def _say(self, words: str, style: str = MUTED) -> None:
        self.query_one("#editor-words", Static).update(plain(safe(words, 400), style))

    def on_text_area_changed(self) -> None:
        """What was said is about another text now."""
        self._leaving = False
        if self.is_mounted:
            self._say("tab: headers and body")

    def action_compare(self) -> None:
        """Show what is different, and ask; yes ends this screen with it."""
        headers, body = self._texts
        try:
            changes = self._draft.changes(headers, body)
            diff = self._draft.diff(headers, body)
        except DraftError as error:
            self._say(str(error), "$error")
            return
        words = f"{safe(self._draft.message_id, 40)} goes back to where it came from"
        if not changes:
            words += ", as it is: nothing was edited"

        def answered(yes: bool | None) -> None:
            if yes:
                self.dismiss(changes)

        self.app.push_screen(DiffDialog(words, diff), answered)

    def action_leave(self) -> None:
        """Leave; what was edited is thrown away, which is said before."""
        try:
            edited = bool(self._draft.changes(*self._texts))
        except DraftError:
            edited = True
        if edited and not self._leaving:
            self._leaving = True
            self._say("esc once more throws away what was edited", "$warning")
        else:
            self.dismiss(None)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Do what the button says."""
        if event.button.id == "compare":
            self.action_compare()
        else:
            self.action_leave()


class DiffDialog(ModalScreen[bool]):
    """Show what was edited, and ask whether that is to be sent.

    Args:
        words: what would happen.
        diff: the lines that are other ones.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "dismiss(False)", "No", id="diff.no"),
        Binding("y", "dismiss(True)", "Yes", id="diff.yes"),
        Binding("j", "scroll(1)", "Down", show=False, id="diff.down"),
        Binding("k", "scroll(-1)", "Up", show=False, id="diff.up"),
    ]

    def __init__(self, words: str, diff: list[str]) -> None:
        super().__init__()
        self._words = words
        self._diff = diff

    def compose(self) -> ComposeResult:
        """The lines, and two buttons; Cancel has the focus."""
        with Vertical(classes="dialog editor"):
            yield Static(plain("Repair and retry", "bold"), classes="dialog-title")
            yield Static(plain(self._words), classes="dialog-words")
            with VerticalScroll(id="diff", can_focus=False):
                yield Static(self._content())
            with Horizontal(classes="dialog-buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield Button("Send it back", id="do", variant="error", compact=True)

    def _content(self) -> Content:
        some = self._diff[:_MOST_LINES]
        parts = [(f"{safe(line)}\n", _STYLES.get(line[:1], "")) for line in some]
        if len(self._diff) > len(some):
            parts.append((f"({len(self._diff) - len(some):,} more lines)", MUTED))
        return Content.assemble(*parts) if parts else plain("no line is another one", MUTED)

    def on_mount(self) -> None:
        """Cancel has the focus."""
        self.query_one("#cancel").focus()

    def action_scroll(self, lines: int) -> None:
        """Up and down as in the tables."""
        self.query_one("#diff").scroll_relative(y=lines, animate=False)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Go on, or leave it."""
        self.dismiss(event.button.id == "do")
