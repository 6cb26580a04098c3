"""The thread that writes to the database and reads bodies from it, one job after the other.

What comes of a job is told on the event loop, through ``post``. While no job is to be done, a batch
may be written on the event loop's thread as well: waking a thread and being woken by it takes as
long as a commit on a quick disk.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from stompy_broker.store.batch import Batch, Damaged
from stompy_broker.store.disk_space import DiskSpace
from stompy_broker.store.tables import Tables

log = logging.getLogger("stompy_broker.store")

_WAL_PAGES = 4096
"""Pages written, by a rough count, after which the WAL is carried over to the database."""

_LOOK_PAGES = 512
"""Pages after which is looked whether there is room, where that matters."""

_Answer = TypeVar("_Answer")

Loaded = Callable[[Mapping[int, bytes], Sequence[Damaged]], None]
"""Takes bodies by sequence, and what turned out to be damaged."""


class Writer:
    """Works on the tables; its verbs are called on the event loop's thread.

    Args:
        tables: what is in the file.
        file: the database, for the log.
        disk_space: knows how much is left.
        post: calls a function on the event loop.

    Attributes:
        busy: reads and checkpoints that are asked for and not answered yet; batches do not count.
        commit_seconds: how long a commit takes, a running average.
    """

    def __init__(
        self,
        tables: Tables,
        file: Path,
        disk_space: DiskSpace,
        post: Callable[[Callable[[], None]], object],
    ) -> None:
        self.busy = 0
        self.commit_seconds = 0.0
        self._tables = tables
        self._file = file
        self._disk_space = disk_space
        self._post = post
        self._pages = 0  # written since the last checkpoint
        self._looked_at = 0  # how many they were at the last look
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="stompy-store", daemon=True)
        self._thread.start()

    def write_here(self, batch: Batch) -> None:
        """Write a batch on this thread; only while the other one has nothing to do.

        Raises:
            Exception: it cannot be written.
        """
        begun = time.perf_counter()
        self._tables.write(batch)
        self._pages += batch.pages
        self.commit_seconds += (time.perf_counter() - begun - self.commit_seconds) / 8

    def write(
        self, batch: Batch, written: Callable[[], None], failed: Callable[[Exception], None]
    ) -> None:
        """Write a batch, then tell."""
        self._jobs.put(partial(self._write, batch, written, failed))

    def read(
        self, sequences: Sequence[int], loaded: Loaded, failed: Callable[[Exception], None]
    ) -> None:
        """Read bodies, then tell."""
        self.busy += 1
        self._jobs.put(partial(self._read, sequences, loaded, failed))

    def ask(
        self,
        job: Callable[[], _Answer],
        answered: Callable[[_Answer], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Do something with the tables, then tell what came of it."""
        self.busy += 1
        self._jobs.put(partial(self._answer, job, answered, failed))

    def checkpoint_if_due(self, looked: Callable[[str], None]) -> None:
        """Carry a long WAL over to the database, then tell whether there is room, as `look`.

        That is told after less than that as well: the disk may be full before the WAL is long.
        """
        # Not within a commit that somebody waits for, as SQLite would by itself.
        if self._pages > _WAL_PAGES:
            self._pages = self._looked_at = 0
            self.busy += 1
            self._jobs.put(partial(self._checkpoint, looked))
        elif self._disk_space.mark and self._pages - self._looked_at > _LOOK_PAGES:
            self._looked_at = self._pages
            self.look(looked)

    def look(self, looked: Callable[[str], None]) -> None:
        """Find out whether there is room on the disk; tell why not, empty = there is."""
        self.busy += 1
        self._jobs.put(partial(self._look, looked))

    def shrink(self, shrunk: Callable[[bool], None]) -> None:
        """Give some free pages back to the disk, then tell whether there is more to give."""
        self.busy += 1
        self._jobs.put(partial(self._shrink, shrunk))

    def stop(self) -> None:
        """Finish what is to be done, and end the thread."""
        self._jobs.put(None)
        self._thread.join()

    # -- on the thread ------------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _tell(self, what: Callable[[], None]) -> None:
        self._post(partial(self._told, what))

    def _told(self, what: Callable[[], None]) -> None:
        self.busy -= 1
        what()

    def _write(
        self, batch: Batch, written: Callable[[], None], failed: Callable[[Exception], None]
    ) -> None:
        try:
            self.write_here(batch)
        except Exception as error:
            # On a full disk there may be room in the WAL once it was carried over.
            with contextlib.suppress(sqlite3.Error):
                self._carry_over()
            self._post(partial(failed, error))
        else:
            self._post(written)

    def _read(
        self, sequences: Sequence[int], loaded: Loaded, failed: Callable[[Exception], None]
    ) -> None:
        try:
            bodies, damaged = self._tables.bodies(list(sequences))
        except Exception as error:
            self._tell(partial(failed, error))
        else:
            self._tell(partial(loaded, bodies, damaged))

    def _answer(
        self,
        job: Callable[[], _Answer],
        answered: Callable[[_Answer], None],
        failed: Callable[[Exception], None],
    ) -> None:
        try:
            answer = job()
        except Exception as error:
            self._tell(partial(failed, error))
        else:
            self._tell(partial(answered, answer))

    def _checkpoint(self, looked: Callable[[str], None]) -> None:
        try:
            self._carry_over()
        except sqlite3.Error as error:
            log.warning("%s: the WAL could not be carried over: %s", self._file, error)
        self._look(looked)

    def _carry_over(self) -> None:
        self._tables.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _look(self, looked: Callable[[str], None]) -> None:
        try:
            shortage = self._disk_space.look(self._tables.connection)
        except (sqlite3.Error, OSError) as error:
            shortage = f"it cannot be told how much room is left: {error}"
        self._tell(partial(looked, shortage))

    def _shrink(self, shrunk: Callable[[bool], None]) -> None:
        more = False
        try:
            more = self._tables.give_back()
            if not more:
                self._tables.trim()
        except (sqlite3.Error, OSError) as error:
            log.warning("%s: no room could be given back to the disk: %s", self._file, error)
        self._tell(partial(shrunk, more))
