"""How an action goes: preview, question, command, notice."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Protocol

from stompy import OutcomeUnknown
from stompy.admin import CommandError, Request
from stompy_monitor import actions as acts
from stompy_monitor.actions import ACTIONS, Action, Seen, Tier
from stompy_monitor.dashboard import Batches, Dashboard
from stompy_monitor.model.escape import safe
from stompy_monitor.model.row_set import Row
from stompy_monitor.screens.dialogs import Answer, ConfirmDialog, Preview, PreviewError

Hint = tuple[str, str, bool]
"""A key, what it does, and whether it does so now."""


class ActingScreen(Protocol):
    """What an action needs of the screen on which it is begun."""

    def rows_to_act_on(self) -> list[Row]:
        """Give the rows that an action is about."""

    def acted(self) -> None:
        """Do what follows an action."""

    async def ask(self, dialog: ConfirmDialog) -> Answer | None:
        """Show a dialog and wait for its answer; None for no."""

    def tell(self, words: str, severity: str = ...) -> None:
        """Show a notice."""


class RowActions:
    """The actions on the rows of one screen.

    Args:
        dashboard: what all screens share.
        screen: whose rows they are about.
        start: lets an action go on while the screen lives.
    """

    def __init__(
        self,
        dashboard: Dashboard,
        screen: ActingScreen,
        start: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        self.dashboard = dashboard
        self._screen = screen
        self._start = start

    def hints(self) -> list[Hint]:
        """Give the actions for the rows here, dimmed when they cannot be done."""
        rows = self._screen.rows_to_act_on()
        if not rows:
            return []
        kind = rows[0].kind
        found = [acts.chosen(action, rows[0]) for action in ACTIONS if action.applies_to(kind)]
        keys = self.dashboard.options.keys
        return [
            (keys.get(f"act.{_bound(a)}", a.key), a.title, not self.dashboard.refusal(a, kind))
            for a in found
        ]

    def begin(self, name: str) -> None:
        """Begin an action on the rows here, or say why it cannot be."""
        action = next(action for action in ACTIONS if action.name == name)
        rows = [row for row in self._screen.rows_to_act_on() if action.applies_to(row.kind)]
        tell = self._screen.tell
        if not rows:
            tell(f"{action.verb}: there is nothing here for it", "warning")
            return
        refusal = self.dashboard.refusal(action, rows[0].kind)
        if refusal:
            tell(f"{action.verb} is not possible: {refusal}", "warning")
        elif any(row.own for row in rows):
            tell(f"{action.verb}: that is this monitor's own", "warning")
        else:
            self._start(self._perform(acts.chosen(action, rows[0]), rows))

    async def _perform(self, action: Action, rows: list[Row]) -> None:
        keys = {row.key for row in rows}
        try:
            await self._guided(action, rows, keys)
        except CommandError as error:
            words = f"{acts.title(action, rows)}: {error.code}: {error.message}"
            self._screen.tell(words, "error")
        except OutcomeUnknown as error:
            words = f"{acts.title(action, rows)}: outcome unknown, check. {error}"
            self._screen.tell(words, "error")
        finally:
            self.dashboard.busy -= keys

    async def _guided(self, action: Action, rows: list[Row], keys: set[str]) -> None:
        """Look at what would be touched, ask, and do it."""
        answer = Answer()
        looks = {"": [await self._look(action, row) for row in rows]}
        if not action.undo:

            async def preview(selector: str) -> str:
                try:
                    found = [await self._look(action, row, selector) for row in rows]
                except CommandError as error:
                    raise PreviewError(safe(error.message, 300)) from None
                except OutcomeUnknown as error:
                    raise PreviewError(str(error)) from None
                looks[selector] = found
                return acts.question(action, rows, _total(found))

            chooses = await self._chooses(action, rows)
            dialog = self._dialog(action, rows, _total(looks[""]), preview if chooses else None)
            given = await self._screen.ask(dialog)
            if given is None:
                return
            answer = given
        seen = looks[answer.selector]
        self.dashboard.busy |= keys
        try:
            await self._do(action, rows, answer, seen)
        finally:
            self.dashboard.busy -= keys

    async def _chooses(self, action: Action, rows: list[Row]) -> bool:
        """Whether it can be said by a selector which messages are meant."""
        kind = rows[0].kind
        if kind not in ("queues", "dead"):
            return False
        try:
            return await self.dashboard.knows(action.command[kind][0], "selector")
        except CommandError:
            return False

    async def _look(self, action: Action, row: Row, selector: str = "") -> Seen:
        """What the command would touch."""
        request = action.request(row, "", dry_run=True, selector=selector)
        if "ids" in request.args:
            return Seen(1)
        if action.batched:
            # Where to is not known yet, and the limit is that of one batch.
            args = {name: request.args[name] for name in _SELECTS if name in request.args}
            request = Request("message.count", args)
        return Seen.read(await self.dashboard.command(request))

    def _dialog(
        self, action: Action, rows: list[Row], total: int | None, preview: Preview | None
    ) -> ConfirmDialog:
        title = acts.title(action, rows)
        sure = acts.tier(action, rows, total) is Tier.TYPE
        return ConfirmDialog(
            title,
            acts.question(action, rows, total),
            title.split()[0],
            asks=action.asks.get(rows[0].kind, ""),
            must_type=acts.to_type(rows) if sure else "",
            needs_text=action in (acts.MOVE, acts.RESCHEDULE, acts.SEEK),
            preview=preview,
        )

    async def _do(self, action: Action, rows: list[Row], answer: Answer, seen: list[Seen]) -> None:
        does = self._in_batches if action.batched else self._at_once
        told = await does(action, rows, answer, seen)
        undo = f" ({action.key} undoes it)" if action.undo else ""
        self._screen.tell(told + undo)
        self._screen.acted()

    async def _at_once(
        self, action: Action, rows: list[Row], answer: Answer, seen: list[Seen]
    ) -> str:
        result: Mapping[str, object] = {}
        total = 0
        for row, look in zip(rows, seen, strict=True):
            result = await self.dashboard.command(_request(action, row, answer, look))
            total += acts.matched(result) or 0
        told = {**result, "matched": total} if acts.matched(result) is not None else result
        return acts.outcome(action, rows, told)

    async def _in_batches(
        self, action: Action, rows: list[Row], answer: Answer, seen: list[Seen]
    ) -> str:
        """Do it batch after batch; between two of them the reader can stop it."""
        batches = Batches(acts.past(action, rows), sum(look.count or 0 for look in seen))
        self.dashboard.batches.append(batches)
        try:
            for row, look in zip(rows, seen, strict=True):
                await self._row_in_batches(action, row, answer, look, batches)
        except (CommandError, OutcomeUnknown):
            if batches.done:
                self._screen.tell(f"{acts.subject(rows)}: {batches.words} before this:", "error")
            raise
        finally:
            self.dashboard.batches.remove(batches)
        if batches.stopped and batches.done < batches.wanted:
            return f"{acts.subject(rows)}: {batches.words}; the rest stays where it is"
        return acts.outcome(action, rows, {"matched": batches.done})

    async def _row_in_batches(
        self, action: Action, row: Row, answer: Answer, look: Seen, batches: Batches
    ) -> None:
        end = batches.done + (look.count or 0)
        while batches.done < end and not batches.stopped:
            result = await self.dashboard.command(_request(action, row, answer, look))
            done = acts.matched(result) or 0
            batches.done += done
            if done < acts.BATCH:
                break


def _request(action: Action, row: Row, answer: Answer, look: Seen) -> Request:
    """The command for one row, as it was seen and answered."""
    return action.request(row, answer.text, up_to=look.up_to, selector=answer.selector)


def _total(seen: list[Seen]) -> int | None:
    """How many things all rows together have; None = that is not told."""
    known = [look.count for look in seen if look.count is not None]
    return sum(known) if known else None


def _bound(action: Action) -> str:
    """The name under which a key is bound to it: one key pauses and resumes."""
    return acts.BOUND_AS.get(action.name, action.name)


_SELECTS = ("queue", "headers", "selector")
"""The arguments that say which messages are meant."""
