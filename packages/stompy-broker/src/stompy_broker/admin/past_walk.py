"""The past of a queue, read from its log in steps, and its rows as tables and answers have them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from stompy.admin.settlements import SettlementKind
from stompy.admin.sql_tables import body_value
from stompy.data_table import Value
from stompy.sql_query import SqlError
from stompy_broker.admin.asking import ask
from stompy_broker.admin.tasks import Steps
from stompy_broker.message import OVERHEAD, Message
from stompy_broker.routing.histories import Histories, Past
from stompy_broker.routing.selection import EVERYTHING, Selection
from stompy_broker.routing.settlement_record import SettlementRecord, decode_record
from stompy_broker.store.entry_log import LogEntry, LogPage, WantedValues

log = logging.getLogger("stompy_broker.admin")

_PAGE_BYTES = 512 * 1024

_ROW = 300
"""About so many octets a row costs beside its message."""


class PastRow(NamedTuple):
    """One settlement as it was written down.

    Attributes:
        queue: the name of the queue.
        entry: the message, and when.
        record: what is said of it.
    """

    queue: str
    entry: LogEntry
    record: SettlementRecord

    @property
    def ended_at(self) -> int:
        """When that was, in milliseconds since the epoch."""
        return self.entry.received_at

    @property
    def message_id(self) -> str:
        """What consumers know the message by."""
        return (self.entry.head.message_id or b"%d" % self.entry.sequence).decode()

    @property
    def size(self) -> int | None:
        """Of a message that left, as quotas count it; None = it did not."""
        if not self.record.leaves:
            return None
        return len(self.entry.head.block) + len(self.entry.body or b"") + OVERHEAD

    def message(self) -> Message:
        """The message, as a new object that says when it had come."""
        return self.entry.message()


@dataclass(frozen=True, slots=True)
class WantedRows:
    """Which rows of a past are meant.

    Attributes:
        since: settled then or later, in milliseconds since the epoch; 0 = ever.
        before: settled before that; 0 = also now.
        after: rows behind this place; -1 = from the first on.
        kinds: what became of the message; empty = anything.
        selection: of what left, by ids, headers and selector.
        minute: what `stompy_broker.routing.history_log.minute_of` says of the only message that is
            meant; empty = there may be others.
    """

    since: int = 0
    before: int = 0
    after: int = -1
    kinds: Set[SettlementKind] = frozenset()
    selection: Selection = EVERYTHING
    minute: str = ""


def walk(past: Past, wanted: WantedRows, take: Callable[[Sequence[PastRow]], bool]) -> Steps[int]:
    """Read a past as far as it is written now, oldest first, a page at a time.

    Args:
        past: it.
        wanted: which rows.
        take: given the rows of each page; says whether to go on.

    Returns:
        The place behind the last row that was looked at.

    Raises:
        ProtocolError: the selector is none.
    """
    queue = past.destination.partition("/queue/")[2]
    is_meant = _test(wanted)
    at, until = max(past.ends.first, wanted.after + 1), past.ends.next
    if wanted.since:
        found: int = yield from ask(partial(past.logs.find_time, past.log, wanted.since))
        at = max(at, found)
    values = WantedValues(frozenset((wanted.minute,))) if wanted.minute else None
    while at < until:
        read = partial(_read, past, at, values)
        page: LogPage = yield from ask(read)
        rows = [row for one in page.entries if one.offset < until and (row := _row(queue, one))]
        if wanted.before and rows and rows[-1].ended_at >= wanted.before:
            rows = [row for row in rows if row.ended_at < wanted.before]
            take([row for row in rows if is_meant(row)])
            return rows[-1].entry.offset + 1 if rows else at
        at, before = page.next, at
        if not take([row for row in rows if is_meant(row)]) or at <= before:
            break
        yield None
    return at


def _read(
    past: Past, at: int, values: WantedValues | None, done: Callable[[LogPage], None]
) -> None:
    past.logs.read(past.log, at, done, limit=_PAGE_BYTES, wanted=values)


def _row(queue: str, entry: LogEntry) -> PastRow | None:
    try:
        return PastRow(queue, entry, decode_record(entry.payload))
    except ValueError as error:
        log.error("the history of %s, place %d: %s", queue, entry.offset, error)
        return None


def _test(wanted: WantedRows) -> Callable[[PastRow], bool]:
    kinds, selection = wanted.kinds, wanted.selection
    by_ids = Selection(ids=selection.ids).test()
    rest = replace(selection, ids=None)
    by_content = None if rest.is_everything else rest.test()

    def is_meant(row: PastRow) -> bool:
        if kinds and row.record.kind not in kinds:
            return False
        message = row.message()
        if not by_ids(message):
            return False
        return by_content is None or (row.record.leaves and by_content(message))

    return is_meant


def row_values(row: PastRow, columns: Set[str]) -> tuple[Value, ...]:
    """The row as `stompy.admin.settlements.HISTORY_COLUMNS` has it.

    Args:
        row: it.
        columns: those that are wanted; the others are NULL where they would cost something.
    """
    entry, record = row.entry, row.record
    headers: dict[str, str] = {}
    if record.leaves and ("headers" in columns or "content_type" in columns):
        headers = entry.head.text_headers()
    has_body = record.leaves and "body" in columns and entry.body is not None
    return (
        row.queue,
        entry.offset,
        entry.sequence,
        row.message_id,
        record.received,
        record.delivered or None,
        row.ended_at,
        record.kind.value,
        record.cause or None,
        record.reason or None,
        record.sent_to or None,
        record.consumer or None,
        record.taker.client_id or None,
        record.taker.user or None,
        record.taker.session or None,
        record.taker.subscription or None,
        record.deliveries,
        record.failures,
        row.size,
        headers.get("content-type"),
        json.dumps(headers) if headers and "headers" in columns else None,
        body_value(entry.body) if has_body and entry.body is not None else None,
    )


def history_rows(
    histories: Histories, queues: Collection[str], columns: Set[str], most_bytes: int
) -> Steps[list[tuple[Value, ...]]]:
    """Make the rows of the past of some queues.

    Args:
        histories: of the broker.
        queues: their names; none = all that keep a history.
        columns: those that are wanted.
        most_bytes: how large they may be together.

    Raises:
        SqlError: they are larger.
    """
    found: list[tuple[Value, ...]] = []
    size = 0
    bodies = "body" in columns

    def take(rows: Sequence[PastRow]) -> bool:
        nonlocal size
        for row in rows:
            size += _ROW + len(row.entry.head.block) + (len(row.entry.body or b"") if bodies else 0)
            found.append(row_values(row, columns))
        if size > most_bytes:
            raise SqlError("the history is too large; name fewer queues, or ask for less of it")
        return True

    for past in list(histories):
        if not queues or past.destination.removeprefix("/queue/") in queues:
            yield from walk(past, WantedRows(), take)
    return found
