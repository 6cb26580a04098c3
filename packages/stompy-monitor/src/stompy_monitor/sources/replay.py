"""A recording played into a model, at any speed, from any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from stompy import OutcomeUnknown
from stompy.admin import Reply, Request
from stompy_monitor.model.escape import safe
from stompy_monitor.model.model import Model
from stompy_monitor.model.row_set import Gap
from stompy_monitor.sources.base import ConnectionStatus, Phase
from stompy_monitor.sources.recording import Recording

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 60.0)
_STEP = 0.1


class Replay:
    """A source whose past is all there is.

    Args:
        recording: what is played.
        model: where to.
        at: where it begins, in epoch milliseconds; the beginning by default.
        playing: false to stand still at first.
    """

    def __init__(
        self, recording: Recording, model: Model, *, at: float | None = None, playing: bool = True
    ) -> None:
        self.recording = recording
        self.model = model
        self.playing = playing
        self.speed = 1.0
        self.position = recording.begin
        url = safe(str(recording.about.get("url", "")))
        self.status = ConnectionStatus(url=url, phase=Phase.REPLAY)
        self._records: Iterator[tuple[float, list[dict[str, Any]]]] = iter(())
        self._ahead: tuple[float, list[dict[str, Any]]] | None = None
        self.seek(recording.begin if at is None else at)

    async def run(self) -> None:
        """Play on, as fast as ``speed`` says, until cancelled."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        while True:
            await asyncio.sleep(_STEP)
            now = loop.time()
            if self.playing and self.position < self.recording.end:
                self._play_to(self.position + (now - before) * 1000 * self.speed)
            before = now

    def seek(self, at: float) -> None:
        """Go to a moment; outside the recording, to its nearest end."""
        at = min(max(at, self.recording.begin), self.recording.end)
        if at < self.position or self._ahead is None:
            self.model.forget()
            self._records = self.recording.records(at)
            self._ahead = next(self._records, None)
        self._play_to(at)

    def step(self, seconds: float) -> None:
        """Go back or forth, and stand still there."""
        self.playing = False
        self.seek(self.position + seconds * 1000)

    def faster(self, steps: int) -> None:
        """Play so many steps faster, or slower."""
        where = SPEEDS.index(self.speed) + steps
        self.speed = SPEEDS[max(0, min(where, len(SPEEDS) - 1))]

    def _play_to(self, at: float) -> None:
        while self._ahead is not None and self._ahead[0] <= at:
            for envelope in self._ahead[1]:
                # The key frame that follows mends what is missing.
                with suppress(Gap):
                    self.model.apply(envelope)
            self._ahead = next(self._records, None)
        self.position = min(at, self.recording.end)

    async def ask(self, request: Request, seconds: float = 10.0) -> Reply:
        """Nothing can be asked of the past.

        Raises:
            OutcomeUnknown: always.
        """
        raise OutcomeUnknown("this is a recording: nothing can be done in it")

    def retry_now(self) -> None:
        """Play on, or stand still."""
        self.playing = not self.playing

    def log_in(self, login: str, passcode: str) -> None:
        """Do nothing: a recording lets everybody in."""
