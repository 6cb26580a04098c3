"""A ledger of the messages that were handled, in the application's own SQLite database.

A broker delivers a message again when the acknowledgement of its first delivery was lost. Who
writes the result of a message and its id in one transaction has handled it once, whatever happens
between: either both are on disk, or neither.
"""

from __future__ import annotations

import inspect
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from typing import TypeVar

from stompy.protocol.frame import STOMPFrame

R = TypeVar("R")
M = TypeVar("M", bound=STOMPFrame)

_IDS = ("dedup-id", "_AMQ_DUPL_ID", "x-deduplication-header", "Nats-Msg-Id", "message-id")
"""Headers that name a message, the sender's own id first."""

_OF_ONE_DELIVERY = re.compile(r"T_.*@@.*@@\d+")
"""How RabbitMQ writes a ``message-id``, which is another one when the message comes again."""

_TABLE = """
CREATE TABLE IF NOT EXISTS stompy_once (
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    handled_at REAL NOT NULL,
    PRIMARY KEY (name, id)
) WITHOUT ROWID
"""
_INDEX = "CREATE INDEX IF NOT EXISTS stompy_once_age ON stompy_once (handled_at)"
_ENTER = "INSERT INTO stompy_once VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
# Two for each that comes: so they are gone soon, and no message has to wait for many.
_FORGET = """
DELETE FROM stompy_once WHERE (name, id) IN (
    SELECT name, id FROM stompy_once WHERE handled_at < ? ORDER BY handled_at LIMIT 2
)
"""


class Ledger:
    """Remembers which messages were handled; made by `once`.

    It may be used by several threads if the connection may: one block is run at a time. Several
    processes may share the database.

    >>> once = stompy.once(sqlite3.connect("orders.db"))  # doctest: +SKIP
    >>> with once(message) as fresh:  # one transaction of the database  # doctest: +SKIP
    ...     if fresh:
    ...         database.execute("INSERT INTO orders VALUES (?)", [message.text])
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        name: str = "",
        key: str | Callable[[STOMPFrame], str] | None = None,
        keep: float | timedelta = timedelta(days=7),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._connection = connection
        self._name = name
        self._key = key
        self._keep = keep.total_seconds() if isinstance(keep, timedelta) else float(keep)
        if not self._keep > 0:
            raise ValueError(f"keep= is a time longer than nothing, not {keep!r}")
        self._now = now
        self._lock = threading.RLock()
        with self._transaction():
            connection.execute(_TABLE)
            connection.execute(_INDEX)

    @contextmanager
    def __call__(self, message: STOMPFrame) -> Iterator[bool]:
        """Handle a message in one transaction, which is written at the end of the block.

        An exception that leaves the block undoes all of it: the message counts as not handled.

        Args:
            message: the message.

        Yields:
            Whether it was not handled before. If not, leave it alone; it is to be acknowledged
            all the same.

        Raises:
            RuntimeError: a transaction of the connection is open already.
            ValueError: the message has no id, or none that stays the same.
            sqlite3.ProgrammingError: the connection is of another thread.
            sqlite3.Error: what the database says, a lock held by somebody else for too long say.
        """
        entry = (self._scope_of(message), self._id_of(message))
        with self._transaction():
            now = self._now()
            self._connection.execute(_FORGET, (now - self._keep,))
            fresh = self._connection.execute(_ENTER, (*entry, now)).rowcount > 0
            yield fresh

    def handler(self, function: Callable[[M], R]) -> Callable[[M], R | None]:
        """Make a handler that is called once for each message, in one transaction.

        >>> @once.handler  # doctest: +SKIP
        ... def store(message):
        ...     database.execute("INSERT INTO orders VALUES (?)", [message.text])
        >>> subscription.handle(store)  # doctest: +SKIP

        Args:
            function: the handler; it neither commits nor rolls back.

        Returns:
            The same for `Subscription.handle`; it gives None for a message that was handled before.

        Raises:
            TypeError: a coroutine function: the database would stand open while it waits.
        """
        if inspect.iscoroutinefunction(function):
            raise TypeError(
                "a handler that waits would keep the transaction open meanwhile; in a coroutine "
                "write `with once(message) as fresh:`, and no await in its block"
            )

        @wraps(function)
        def handle(message: M) -> R | None:
            with self(message) as fresh:
                return function(message) if fresh else None

        return handle

    def _scope_of(self, message: STOMPFrame) -> str:
        """Whose handling it is: one message may come to several queues."""
        return f"{self._name} {message.get('destination') or ''}".strip()

    def _id_of(self, message: STOMPFrame) -> str:
        if callable(self._key):
            return self._key(message)
        names = _IDS if self._key is None else (self._key,)
        for name in names:
            found = message.get(name)
            if not found:
                continue
            if name == "message-id" and _OF_ONE_DELIVERY.fullmatch(found):
                raise ValueError(
                    "this broker gives a message another message-id each time, so it would be "
                    "handled again; have the sender give an id, and say key='its header'"
                )
            return found
        raise ValueError(f"the message has no header {' or '.join(names)} that names it")

    def _check_thread(self) -> None:
        """Say what is to be done where the connection may not be used here.

        Raises:
            sqlite3.ProgrammingError: it is of another thread, or closed.
        """
        try:
            self._connection.cursor()
        except sqlite3.ProgrammingError as error:
            if "thread" not in str(error):
                raise
            raise sqlite3.ProgrammingError(
                "this connection to the database belongs to another thread, and handlers are "
                "called from threads of their own: open it by "
                "sqlite3.connect(…, check_same_thread=False); they take turns"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        connection = self._connection
        with self._lock:
            self._check_thread()
            # From Python 3.12 on a connection may keep one open at all times.
            begins = getattr(connection, "autocommit", None) is not False
            if begins:
                if connection.in_transaction:
                    raise RuntimeError(
                        "a transaction of this connection is open already: commit it before, since "
                        "what a message does and that it was handled are one transaction"
                    )
                connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                connection.rollback()
                raise
            if begins and not connection.in_transaction:
                raise RuntimeError(
                    "the transaction was ended within the block, so the message may count as "
                    "handled although something of it is missing; leave commit and rollback to it"
                )
            connection.commit()


def once(
    connection: sqlite3.Connection,
    *,
    name: str = "",
    key: str | Callable[[STOMPFrame], str] | None = None,
    keep: float | timedelta = timedelta(days=7),
    now: Callable[[], float] = time.time,
) -> Ledger:
    """Open a ledger of handled messages in a database of your own, in the table ``stompy_once``.

    Args:
        connection: the database; handlers write to it over this connection.
        name: who handles, where several do with the same messages and the same database.
        key: the header that names a message, or a function that gives its name. By default the
            id that its sender gave it (``dedup-id`` and the like), or else its ``message-id``.
        keep: for how long a message is remembered at least: seconds, or a timedelta. Longer than
            any message may wait to come again.
        now: tells the time in seconds, for tests.

    Returns:
        The ledger, to be used as ``with once(message) as fresh:`` or ``@once.handler``.

    Raises:
        RuntimeError: a transaction of the connection is open.
        ValueError: a time that is none.
        sqlite3.Error: what the database says.
    """
    return Ledger(connection, name=name, key=key, keep=keep, now=now)
