"""What a crash would leave of a store: its files, copied each time they have changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Generic, TypeVar
from zlib import crc32

from tests.support.storage import Shelf, short_wal

from stompy_broker.routing.router import Router
from stompy_broker.store.directory import FILE

State = TypeVar("State")
Standing = TypeVar("Standing")


@contextmanager
def folder_for_crashes(name: str) -> Iterator[Path]:
    """A folder for a store and its copies, gone afterwards."""
    top = Path(mkdtemp(prefix=f"stompy-{name}-"))
    try:
        with short_wal():
            yield top
    finally:
        shutil.rmtree(top)


@dataclass(frozen=True)
class Crash(Generic[State]):
    """One copy of the files.

    Attributes:
        copy: where it is.
        before: the state of the test before the files were looked at.
        after: its state when they were copied. No statement ran meanwhile.
    """

    copy: Path
    before: State
    after: State


class Crashes(Generic[State]):
    """Copies the files of a store in ``top / "data"`` at every statement that finds them changed.

    Args:
        shelf: whose store it is.
        top: for the copies.
        state: gives what the test wants to know of the moment of each.

    Attributes:
        every: the crashes until now.
    """

    def __init__(self, shelf: Shelf, top: Path, state: Callable[[], State]) -> None:
        self.every: list[Crash[State]] = []
        self._shelf = shelf
        self._top = top
        self._state = state
        self._seen: list[int] = []
        self.tap()

    def tap(self) -> None:
        """Go on with a store that was opened again."""
        self._shelf.tap(self._statement)

    # Called by the writer's thread or by ours, and the files do not change meanwhile.
    def _statement(self, text: str, has_run: bool) -> None:
        before = self._state()
        files = sorted((self._top / "data").glob(f"{FILE}*"))
        seen = [crc32(file.read_bytes()) for file in files]
        if seen != self._seen:
            self._seen = seen
            copy = self._shelf.copy(self._top / f"crash-{len(self.every)}")
            self.every.append(Crash(copy, before, self._state()))


class History(Generic[Standing]):
    """A broker on a store, all that it has been, and what crashes would have left of it.

    Acts are methods of who derives from it.

    Args:
        top: for the files of the store; None = it is in memory.
        standing: gives what there is in a broker, on a shelf.

    Attributes:
        shelf: the store.
        router: on it.
        history: what there was in the beginning, and after each act.
        safe: the last of these that was reported safe.
    """

    def __init__(self, top: Path | None, standing: Callable[[Router, Shelf], Standing]) -> None:
        self.shelf = Shelf(None if top is None else top / "data")
        self.router = self.shelf.route()
        self.history = [standing(self.router, self.shelf)]
        self.safe = 0
        self._standing = standing
        self._crashes: Crashes[tuple[int, int]] | None = None
        if top is not None:
            self._crashes = Crashes(self.shelf, top, lambda: (self.safe, len(self.history)))

    def act(self, acts: Sequence[tuple[Any, ...]]) -> None:
        """Do what is named, with its arguments; then look at all crashes. A turn is no act."""
        for name, *args in acts:
            if name == "turn":
                self.shelf.turns.end()
                continue
            getattr(self, name)(*args)
            self.history.append(self._standing(self.router, self.shelf))
        self._check()

    def sync(self) -> None:
        """Wait until all that was done is safe."""
        told = len(self.history) - 1
        self.shelf.sync()
        self.safe = told

    def _check(self) -> None:
        """Whatever crash there was, what it left had been there, and was not older than is safe."""
        self.sync()
        self.shelf.close()
        for crash in self._crashes.every if self._crashes is not None else ():
            # What was told later is not in it; what is safe by then was written before.
            told, safe = crash.before[1], crash.after[0]
            shelf = Shelf(crash.copy)
            found = self._standing(shelf.route(), shelf)
            shelf.close()
            assert found in self.history[safe : told + 1], crash.copy

    def kept_in_memory(self) -> Standing:
        """What another broker finds in a store in memory."""
        again = Shelf(None)
        again.store = self.shelf.store
        return self._standing(again.route(), again)
