"""The messages of a queue, looked at without touching them, and one message in full."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len
from textual import work
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content, Span
from textual.widget import Widget
from textual.widgets import Static

from stompy import OutcomeUnknown
from stompy.admin import CommandError, CommandErrorCode, Request
from stompy_monitor import actions as acts
from stompy_monitor.actions import QUEUE
from stompy_monitor.dashboard import Dashboard
from stompy_monitor.model import formats
from stompy_monitor.model.draft import LONGEST, Draft
from stompy_monitor.model.escape import safe
from stompy_monitor.model.model import Model
from stompy_monitor.model.row_set import Row, RowSet
from stompy_monitor.screens.actions import Hint
from stompy_monitor.screens.base import MonitorScreen
from stompy_monitor.screens.dialogs import ConfirmDialog
from stompy_monitor.screens.editor import EditorScreen
from stompy_monitor.screens.table import TableScreen
from stompy_monitor.tables import definitions
from stompy_monitor.tables.bodies import BODY_BYTES, PREVIEW_BYTES, BodyFormat, Message
from stompy_monitor.widgets.bars import MUTED, Bar, Part
from stompy_monitor.widgets.row_table import RowTable

PAGE = 100
EDIT = "message.edit_and_retry"
_WHERE = "where "
"""Before a selector, in the prompt and in the title."""
_SOUGHT = 200
"""What is looked for in a body is at most so long."""
_MOST_HITS = 1000
_FIELDS = (
    "message_id",
    "position",
    "state",
    "age_ms",
    "size",
    "deliveries",
    "content_type",
    "preview",
    "words",
    "queue",
)


class MessagesScreen(TableScreen):
    """What waits in a queue, and what its consumers hold, page by page."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+l", "reload", "Look again", id="messages.reload"),
        Binding("N", "more", "More messages", id="messages.more"),
        Binding("W", "where", "Only those that a selector takes", id="messages.where"),
        Binding("e", "edit", "Repair a dead letter; elsewhere: export", id="messages.edit"),
    ]

    def __init__(
        self,
        dashboard: Dashboard,
        queue: str,
        headers: Mapping[str, object],
        tab: str,
        path: tuple[str, ...],
    ) -> None:
        super().__init__(dashboard, definitions.MESSAGES, path)
        self.tab = tab
        self.queue = queue if queue.startswith("/") else QUEUE + queue
        self.headers = headers
        self.messages: dict[str, Message] = {}
        self.found = RowSet("messages")
        self.more = False
        self.trouble = ""
        self.fetching = False
        self.selector = ""
        self._repairs = False

    def on_mount(self) -> None:
        """Look at the first page."""
        self.action_reload()
        self._learn()

    @work(group="learn", exclusive=True)
    async def _learn(self) -> None:
        """Learn what this broker can do, for the line of keys."""
        with suppress(CommandError, OutcomeUnknown):
            self._repairs = await self.dashboard.knows(EDIT)
            self.tick()

    @property
    def is_dead(self) -> bool:
        """Whether these are dead letters."""
        name = self.queue.removeprefix(QUEUE)
        row = self.dashboard.picture.row_sets["queues"].rows.get(name)
        dead = row is not None and bool(row.text("dlq_of"))
        return dead or any("x-last-death-reason" in one.headers for one in self.messages.values())

    def row_set_of(self, model: Model) -> RowSet:
        """The messages that were fetched."""
        return self.found

    def action_reload(self) -> None:
        """Look again from the beginning."""
        self.messages.clear()
        self.found = RowSet("messages")
        self.view_state.release()
        self._fetch(0)

    def action_more(self) -> None:
        """Fetch the next page of messages."""
        if not self.fetching and self.more:
            self._fetch(len(self.messages))

    @work(group="peek", exclusive=True)
    async def _fetch(self, offset: int) -> None:
        self.fetching = True
        try:
            if self.selector and not await self.dashboard.knows("message.peek", "selector"):
                raise CommandError(CommandErrorCode.UNKNOWN_COMMAND, "this broker has no selectors")
            request = self._request(offset, PAGE, PREVIEW_BYTES)
            result = await self.dashboard.command(request)
            self._take(result)
            self.more = bool(result.get("more"))
            if not offset and not self.headers:
                held = Request(request.cmd, {**request.args, "offset": 0, "state": "unacked"})
                self._take(await self.dashboard.command(held))
            self.trouble = ""
        except (CommandError, OutcomeUnknown) as error:
            self.trouble = str(error)
            self._complain(error)
        finally:
            self.fetching = False
        self.tick()

    def _complain(self, error: Exception) -> None:
        """Have a selector that is none corrected where it was typed."""
        column = error.detail.get("column") if isinstance(error, CommandError) else None
        if self.selector and isinstance(column, int) and isinstance(error, CommandError):
            self.prompt.open(_WHERE, self.selector)
            self.prompt.complain(safe(error.message, 200), column - 1)

    def action_where(self) -> None:
        """Type a selector: the broker chooses by it, among all messages of the queue."""
        self.prompt.open(_WHERE, self.selector)

    def typed(self, text: str) -> None:
        """Show only what the selector takes; all, if it is empty."""
        self.selector = text.strip()
        self.action_reload()

    def _request(self, offset: int, limit: int, max_bytes: int) -> Request:
        args: dict[str, object] = {"queue": self.queue, "offset": offset, "limit": limit}
        if self.headers:
            args["headers"] = self.headers
        if self.selector:
            args["selector"] = self.selector
        shows = self.dashboard.may_see_bodies()
        args |= {"body": "head", "max_bytes": max_bytes} if shows else {"body": "none"}
        return Request("message.peek", args)

    def _take(self, result: Mapping[str, object]) -> None:
        told = result.get("messages")
        for item in told if isinstance(told, list) else []:
            message = Message.read(item)
            self.messages[message.message_id] = message
            facts = message.facts
            received = facts.get("received_at")
            known = isinstance(received, (int, float))
            values: list[object] = [
                message.message_id,
                len(self.messages),
                message.state,
                max(0, self.dashboard.model.at - received) if known else None,  # type: ignore[operator]
                facts.get("size"),
                facts.get("deliveries"),
                message.headers.get("content-type"),
                message.preview(200),
                " ".join(message.headers.values())[:400],
                self.queue,
            ]
            self.found.append(_FIELDS, values, 100_000)

    def title_parts(self) -> list[Part]:
        """Which queue, and how many of how many."""
        parts = super().title_parts()
        if self.selector:
            parts.append((f"   {_WHERE}{safe(self.selector, 100)} ", "reverse $accent"))
        if self.trouble:
            parts.append((f"   {self.trouble}", "$error"))
        elif self.fetching:
            parts.append(("   looking…", MUTED))
        elif self.more:
            parts.append(("   there are more: N", MUTED))
        return parts

    def draw(self, model: Model, now: float) -> None:
        """Renew the list; the preview shows the beginning of the body."""
        self.rows.show(model, self.found, now)
        row = self.rows.row()
        message = self.messages.get(row.key) if row is not None else None
        preview = self.query_one("#preview", Bar)
        preview.head(formats.middle_cut(safe(self.queue), 80))
        if message is not None:
            lines = message.lines(message.guess())[:4]
            preview.show([("\n".join(lines), "")])
        else:
            preview.show([])

    def hints(self) -> list[Hint]:
        """The keys that do something here."""
        return [
            ("esc", "back", True),
            ("enter", "open", self.rows.row() is not None),
            ("/", "filter", True),
            ("W", "where", True),
            *([("e", "repair", self._repairs)] if self.is_dead else []),
            *self.actions.hints(),
            ("space", "mark", True),
            ("ctrl+l", "look again", True),
        ]

    def action_edit(self) -> None:
        """Repair the dead letter in hand; of other messages, write what is shown to a file."""
        row = self.rows.row()
        if not self.is_dead:
            self.action_export()
        elif row is not None:
            self.repair(row.key, self)

    def repair(self, message_id: str, screen: MonitorScreen) -> None:
        """Open a dead letter in the editor, and send it back when it was edited.

        Args:
            message_id: which.
            screen: from which it was wanted.
        """
        refusal = self.dashboard.refusal(acts.RETRY, "messages")
        if refusal:
            screen.tell(f"Repair is not possible: {refusal}", "warning")
        else:
            self._repair(message_id, screen)

    @work(group="repair", exclusive=True)
    async def _repair(self, message_id: str, screen: MonitorScreen) -> None:
        try:
            await self._repaired(message_id, screen)
        except (CommandError, OutcomeUnknown) as error:
            screen.tell(f"Repair {message_id}: {error}", "error")

    async def _repaired(self, message_id: str, screen: MonitorScreen) -> None:
        if not await self.dashboard.knows(EDIT):
            words = "this broker cannot, or not for you: it takes the role admin"
            screen.tell(f"Repair is not possible: {words}", "warning")
            return
        args: dict[str, object] = {"queue": self.queue, "id": message_id}
        told = await self.dashboard.command(Request("message.get", {**args, "max_bytes": LONGEST}))
        changes = await self.app.push_screen_wait(EditorScreen(Draft.read(self.queue, told)))
        if changes is None:
            return
        result = await self.dashboard.command(Request(EDIT, {**args, **changes}, expect=1))
        where = safe(str(result.get("to") or "where it came from"), 100)
        screen.tell(f"{message_id}: repaired, and back in {where}")
        screen.acted()

    def acted(self) -> None:
        """The list is another one now."""
        super().acted()
        self.action_reload()

    def on_row_table_opened(self, event: RowTable.Opened) -> None:
        """Open the message; Textual would call the handler of the base class as well."""
        event.stop()
        event.prevent_default()
        message = self.messages[event.row.key]
        name = formats.middle_cut(message.message_id, 24)
        screen = MessageScreen(self.dashboard, self, event.row, message, (*self.path, name))
        self.app.push_screen(screen)


class MessageScreen(MonitorScreen):
    """One message: headers above, body below."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "view", "Text, JSON, hex", id="message.view"),
        Binding("F", "fetch", "The whole body to a file", id="message.fetch"),
        # Ahead of its turn, as the filter of a table is.
        Binding("slash", "search", "Search in the body", priority=True, id="message.search"),
        Binding("n", "hit(1)", "Next hit", id="message.next-hit"),
        Binding("N", "hit(-1)", "Hit before", id="message.prev-hit"),
        Binding("y", "copy_body", "Copy the body", id="message.copy"),
        Binding("e", "edit", "Repair a dead letter", id="message.edit"),
        Binding("j", "scroll(1)", "Down", show=False, id="message.down"),
        Binding("k", "scroll(-1)", "Up", show=False, id="message.up"),
    ]

    def __init__(
        self,
        dashboard: Dashboard,
        browser: MessagesScreen,
        row: Row,
        message: Message,
        path: tuple[str, ...],
    ) -> None:
        super().__init__(dashboard, browser.tab, path)
        self.browser = browser
        self.row = row
        self.message = message
        self.kind = message.guess()
        self.sought = ""
        self._hits: list[int] = []
        self._hit = 0

    def compose_body(self) -> Iterable[Widget]:
        """Headers above and the body below; both scroll."""
        yield VerticalScroll(
            Static(self._headers()), id="message-headers", classes="boxed", can_focus=False
        )
        yield VerticalScroll(Static(id="body-lines"), id="message-body", classes="boxed")

    def on_mount(self) -> None:
        """Show what is here, and fetch more of it."""
        self.query_one("#message-headers").border_title = "Headers"
        self.focus_body()
        self._show_body()
        if self.message.truncated:
            self._fetch_more()

    def focus_body(self) -> None:
        """The body takes the keys."""
        self.set_focus(self.query_one("#message-body"))

    def _headers(self) -> Content:
        names = self.message.headers
        width = min(32, max((len(name) for name in names), default=0) + 2)
        parts: list[tuple[str, str]] = []
        for name in names:
            parts += [(f"{name:<{width}}", "$primary"), (f"{self.message.told(name)}\n", "")]
        return Content.assemble(*parts)

    def _show_body(self) -> None:
        message = self.message
        size = formats.size(message.body_bytes)
        part = f"first {formats.size(len(message.body))} of {size}" if message.truncated else size
        box = self.query_one("#message-body")
        box.border_title = f"Body · {self.kind} · {part}"
        text = "\n".join(message.lines(self.kind) if message.body_bytes else ["(empty)"])
        hits = re.finditer(re.escape(self.sought), text, re.IGNORECASE) if self.sought else ()
        self._hits = [hit.start() for hit in islice(hits, _MOST_HITS)]
        self._hit = min(self._hit, max(0, len(self._hits) - 1))
        spans = [
            Span(start, start + len(self.sought), "reverse $accent" if here else "reverse")
            for start, here in ((at, n == self._hit) for n, at in enumerate(self._hits))
        ]
        self.query_one("#body-lines", Static).update(Content(text, spans))
        if self._hits:
            self._reveal(text[: self._hits[self._hit]])

    def _reveal(self, before: str) -> None:
        """Scroll so far that what comes after a text is seen."""
        box = self.query_one("#message-body")
        width = max(1, box.content_size.width)
        lines = sum(max(1, -(-cell_len(line) // width)) for line in before.split("\n"))
        box.scroll_to(y=max(0, lines - 1 - box.size.height // 2), animate=False)

    def action_search(self) -> None:
        """Type what is looked for."""
        self.prompt.open("/", self.sought)

    def filter_typed(self, text: str) -> None:
        """Show where it is, as it is typed."""
        self.sought, self._hit = text[:_SOUGHT], 0
        self._show_body()
        self.tick()

    def filter_given_up(self) -> None:
        """Nothing is looked for any more."""
        self.filter_typed("")

    def action_hit(self, steps: int) -> None:
        """On to another place where it is."""
        if self._hits:
            self._hit = (self._hit + steps) % len(self._hits)
            self._show_body()
            self.tick()

    @work(group="body", exclusive=True)
    async def _fetch_more(self) -> None:
        try:
            self.message = await self._whole(BODY_BYTES)
        except (CommandError, OutcomeUnknown) as error:
            self.tell(str(error), "warning")
            return
        self._show_body()

    async def _whole(self, max_bytes: int | None) -> Message:
        args: dict[str, object] = {"queue": self.browser.queue, "id": self.message.message_id}
        if max_bytes is not None:
            args["max_bytes"] = max_bytes
        result = await self.dashboard.command(Request("message.get", args), 30.0)
        return Message.read(result)

    def action_edit(self) -> None:
        """Repair this dead letter."""
        if self.is_dead:
            self.browser.repair(self.message.message_id, self)
        else:
            self.tell("only dead letters are repaired", "warning")

    @property
    def is_dead(self) -> bool:
        """Whether it is a dead letter."""
        return "x-last-death-reason" in self.message.headers

    def action_view(self) -> None:
        """The next way to show the body."""
        kinds = list(BodyFormat)
        self.kind = kinds[(kinds.index(self.kind) + 1) % len(kinds)]
        self._show_body()

    def action_scroll(self, lines: int) -> None:
        """Up and down as in the tables."""
        self.query_one("#message-body").scroll_relative(y=lines, animate=False)

    def action_copy_body(self) -> None:
        """Copy the body as it is shown."""
        self.app.copy_to_clipboard("\n".join(self.message.lines(self.kind)))
        self.tell("copied")

    @work(group="body", exclusive=True)
    async def action_fetch(self) -> None:
        """Ask for a file, and write the whole body to it; an existing one is not replaced."""
        kept = "".join(
            char if char.isalnum() or char in "-_." else "_" for char in self.message.message_id
        )
        suggestion = f"{kept[:80] or 'message'}.body"
        dialog = ConfirmDialog(
            "The whole body to a file",
            f"{formats.size(self.message.body_bytes)}, as it is.",
            "Write",
            asks="file",
            needs_text=True,
            text=suggestion,
        )
        answer = await self.app.push_screen_wait(dialog)
        if answer is None:
            return
        try:
            message = await self._whole(None)
        except (CommandError, OutcomeUnknown) as error:
            self.tell(str(error), "error")
            return
        path = answer.text
        try:
            await asyncio.to_thread(_write_new, path, message.body)
        except OSError as error:
            self.tell(f"{path}: {error.strerror}", "error")
            return
        self.tell(f"{formats.size(len(message.body))} written to {path}")

    def rows_to_act_on(self) -> list[Row]:
        """Give the message that is shown."""
        return [self.row]

    def acted(self) -> None:
        """It is not there any more."""
        self.app.pop_screen()
        self.browser.action_reload()

    def title_parts(self) -> list[Part]:
        """Say by which way one came here."""
        return [
            (f" {' › '.join(self.path[:-1])} › ", MUTED),
            (self.path[-1], "bold $primary"),
            (f"   {self.message.state}", MUTED),
            *self._found(),
        ]

    def _found(self) -> list[Part]:
        if not self.sought:
            return []
        more = "+" * (len(self._hits) == _MOST_HITS)
        words = f"hit {self._hit + 1} of {len(self._hits):,}{more}" if self._hits else "no hit"
        return [(f"   / {self.sought}: {words}", "$accent")]

    def hints(self) -> list[Hint]:
        """The keys that do something here."""
        return [
            ("esc", "back", True),
            ("v", "text/json/hex", True),
            ("/", "search", True),
            ("n N", "hits", bool(self._hits)),
            *([("e", "repair", True)] if self.is_dead else []),
            *self.actions.hints(),
            ("F", "to file", True),
        ]


def _write_new(path: str, body: bytes) -> None:
    with Path(path).expanduser().open("xb") as file:
        file.write(body)
