"""How an action goes: preview, question, command, notice."""

from __future__ import annotations

from collections.abc import Mapping

from textual import work
from textual.screen import Screen

from stompy import OutcomeUnknown
from stompy.admin import CommandError, Request
from stompy_monitor import actions as acts
from stompy_monitor.actions import ACTIONS, Action, Seen, Tier
from stompy_monitor.dashboard import Batches, Dashboard
from stompy_monitor.model.escape import safe
from stompy_monitor.model.row_set import Row
from stompy_monitor.screens.dialogs import Answer, ConfirmDialog

Hint = tuple[str, str, bool]
"""A key, what it does, and whether it does so now."""

_SHOWN_FOR = 6.0
_STAYS = 3600.0


class Acting(Screen[None]):
    """A screen whose rows can be acted on."""

    dashboard: Dashboard

    def rows_to_act_on(self) -> list[Row]:
        """Give the rows that an action is about: the marked ones, or the one under the cursor."""
        return []

    def acted(self) -> None:
        """Do what follows an action, such as taking marks away."""

    def action_hints(self) -> list[Hint]:
        """The actions for the rows here, dimmed when they cannot be done."""
        rows = self.rows_to_act_on()
        if not rows:
            return []
        kind = rows[0].kind
        found = [acts.chosen(action, rows[0]) for action in ACTIONS if action.applies_to(kind)]
        keys = self.dashboard.options.keys
        return [
            (keys.get(f"act.{_bound(a)}", a.key), a.title, not self.dashboard.refusal(a, kind))
            for a in found
        ]

    def tell(self, words: str, severity: str = "information") -> None:
        """Show a notice; errors stay until they are dismissed."""
        if severity == "error":
            self.notify(safe(words, 400), severity="error", timeout=_STAYS, markup=False)
        elif severity == "warning":
            self.notify(safe(words, 400), severity="warning", timeout=_SHOWN_FOR, markup=False)
        else:
            self.notify(safe(words, 400), timeout=_SHOWN_FOR, markup=False)

    def action_act(self, name: str) -> None:
        """Begin an action on the rows here."""
        action = next(action for action in ACTIONS if action.name == name)
        rows = [row for row in self.rows_to_act_on() if action.applies_to(row.kind)]
        if not rows:
            self.tell(f"{action.verb}: there is nothing here for it", "warning")
            return
        refusal = self.dashboard.refusal(action, rows[0].kind)
        if refusal:
            self.tell(f"{action.verb} is not possible: {refusal}", "warning")
        elif any(row.own for row in rows):
            self.tell(f"{action.verb}: that is this monitor's own", "warning")
        else:
            self._perform(acts.chosen(action, rows[0]), rows)

    @work(group="actions")
    async def _perform(self, action: Action, rows: list[Row]) -> None:
        keys = {row.key for row in rows}
        try:
            await self._guided(action, rows, keys)
        except CommandError as error:
            self.tell(f"{acts.title(action, rows)}: {error.code}: {error.message}", "error")
        except OutcomeUnknown as error:
            self.tell(f"{acts.title(action, rows)}: outcome unknown, check. {error}", "error")
        finally:
            self.dashboard.busy -= keys

    async def _guided(self, action: Action, rows: list[Row], keys: set[str]) -> None:
        """Look at what would be touched, ask, and do it."""
        text = ""
        seen = [await self._look(action, row, text) for row in rows]
        if not action.undo:
            dialog = self._dialog(action, rows, [look.count for look in seen])
            answer: Answer | None = await self.app.push_screen_wait(dialog)
            if answer is None:
                return
            text = answer.text
        self.dashboard.busy |= keys
        try:
            await self._do(action, rows, text, seen)
        finally:
            self.dashboard.busy -= keys

    async def _look(self, action: Action, row: Row, text: str) -> Seen:
        """What the command would touch."""
        request = action.request(row, text, dry_run=True)
        if "ids" in request.args:
            return Seen(1)
        if action.batched:
            # Where to is not known yet, and the limit is that of one batch.
            args = {name: request.args[name] for name in _SELECTS if name in request.args}
            request = Request("message.count", args)
        return Seen.read(await self.dashboard.command(request))

    def _dialog(self, action: Action, rows: list[Row], counts: list[int | None]) -> ConfirmDialog:
        known = [count for count in counts if count is not None]
        total = sum(known) if known else None
        title = acts.title(action, rows)
        sure = acts.tier(action, rows, total) is Tier.TYPE
        return ConfirmDialog(
            title,
            acts.question(action, rows, total),
            title.split()[0],
            asks=action.asks.get(rows[0].kind, ""),
            must_type=acts.to_type(rows) if sure else "",
            needs_text=action is acts.MOVE,
        )

    async def _do(self, action: Action, rows: list[Row], text: str, seen: list[Seen]) -> None:
        does = self._in_batches if action.batched else self._at_once
        told = await does(action, rows, text, seen)
        undo = f" ({action.key} undoes it)" if action.undo else ""
        self.tell(told + undo)
        self.acted()

    async def _at_once(self, action: Action, rows: list[Row], text: str, seen: list[Seen]) -> str:
        result: Mapping[str, object] = {}
        total = 0
        for row, look in zip(rows, seen, strict=True):
            result = await self.dashboard.command(action.request(row, text, up_to=look.up_to))
            total += acts.matched(result) or 0
        told = {**result, "matched": total} if acts.matched(result) is not None else result
        return acts.outcome(action, rows, told)

    async def _in_batches(
        self, action: Action, rows: list[Row], text: str, seen: list[Seen]
    ) -> str:
        """Do it batch after batch; between two of them the reader can stop it."""
        batches = Batches(acts.past(action, rows), sum(look.count or 0 for look in seen))
        self.dashboard.batches.append(batches)
        try:
            for row, look in zip(rows, seen, strict=True):
                await self._row_in_batches(action, row, text, look, batches)
        except (CommandError, OutcomeUnknown):
            if batches.done:
                self.tell(f"{acts.subject(rows)}: {batches.words} before this:", "error")
            raise
        finally:
            self.dashboard.batches.remove(batches)
        if batches.stopped and batches.done < batches.wanted:
            return f"{acts.subject(rows)}: {batches.words}; the rest stays where it is"
        return acts.outcome(action, rows, {"matched": batches.done})

    async def _row_in_batches(
        self, action: Action, row: Row, text: str, look: Seen, batches: Batches
    ) -> None:
        end = batches.done + (look.count or 0)
        while batches.done < end and not batches.stopped:
            result = await self.dashboard.command(action.request(row, text, up_to=look.up_to))
            done = acts.matched(result) or 0
            batches.done += done
            if done < acts.BATCH:
                break


def _bound(action: Action) -> str:
    """The name under which a key is bound to it: one key pauses and resumes."""
    return acts.PAUSE.name if action is acts.RESUME else action.name


_SELECTS = ("queue", "headers")
"""The arguments that say which messages are meant."""
