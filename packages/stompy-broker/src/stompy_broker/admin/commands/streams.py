"""Commands about streams: what is in one, who reads it and how far, and where readers go on."""

from __future__ import annotations

from typing import Any

from stompy.admin.rows import Event, Kind, ReaderRow, Role
from stompy.admin.snapshot import row_to_json
from stompy.errors import ProtocolError
from stompy_broker.admin.asking import ask, order
from stompy_broker.admin.commands.base import (
    Argument,
    Call,
    Command,
    CommandContext,
    Result,
    at_owner,
    bad,
    conflict,
    not_found,
)
from stompy_broker.admin.commands.listing import LISTING, listing
from stompy_broker.admin.snapshots.readers import reader_row, stream_figures
from stompy_broker.admin.tasks import Steps
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.reading import StartAt, StreamStart, read_start
from stompy_broker.routing.stream_orders import (
    ForgetReader,
    ReaderFigures,
    Seek,
    StreamFigures,
    Truncate,
)
from stompy_broker.security.access import Action

_STREAM = Argument(
    "stream", "text", "its name, with or without /stream/ or /queue/", required=True, names="queue"
)
_NAME = Argument("name", "text", "of the reader (x-stream-consumer)", required=True)


class StreamCommands:
    """Commands about streams and their readers.

    Args:
        context: what they have to do with.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        monitor, operator = Role.MONITOR, Role.OPERATOR
        return [
            Command(
                "stream.info",
                monitor,
                "What is in a stream, for how long it stays, and who reads it.",
                self._info,
                (_STREAM,),
                needs=(Action.BROWSE,),
                place=at_owner,
            ),
            Command(
                "stream.readers",
                monitor,
                "Readers of streams, as on $SYS.readers.",
                self._readers,
                (Argument("stream", "text", "of this one only"), *LISTING),
            ),
            Command(
                "stream.truncate",
                operator,
                "Destroy the messages of a stream before an offset.",
                self._truncate,
                (
                    _STREAM,
                    Argument("before", "number", "the first offset that stays", required=True),
                ),
                changes=True,
                place=at_owner,
            ),
            Command(
                "stream.seek",
                operator,
                "Have a reader with a name read on from another place.",
                self._seek,
                (
                    _STREAM,
                    _NAME,
                    Argument(
                        "offset",
                        "text",
                        "first, last, next, offset=N, timestamp=SECONDS, age=1h or last=N",
                        required=True,
                    ),
                ),
                changes=True,
                place=at_owner,
            ),
            Command(
                "stream.forget",
                operator,
                "Keep the place of a reader no more, of whom nobody is there.",
                self._forget,
                (_STREAM, _NAME),
                changes=True,
                place=at_owner,
            ),
        ]

    def _find(self, call: Call) -> Steps[tuple[Queue, StreamFigures]]:
        queue = self._context.queue(call.args["stream"])
        figures = yield from stream_figures(queue, ages=True)
        if figures is None:
            raise bad(f"{queue.destination} is no stream")
        return queue, figures

    @staticmethod
    def _reader(queue: Queue, figures: StreamFigures, name: str) -> ReaderFigures:
        for reader in figures.readers:
            if reader.name == name and name:
                return reader
        raise not_found(f"{queue.destination} has no reader called {name[:200]!r}")

    def _info(self, call: Call) -> Steps[Result]:
        queue, figures = yield from self._find(call)
        told = yield from ask(queue.stats)
        policy = queue.policy
        return {
            "stream": queue.destination,
            "first": figures.first,
            "next": figures.next,
            "safe": figures.safe,
            "messages": figures.next - figures.first,
            "bytes": figures.bytes,
            "tail_bytes": figures.tail_bytes,
            "oldest_at": told.oldest_at,
            "newest_at": told.newest_at,
            "max_age": policy.max_age,
            "max_length": policy.max_length,
            "max_length_bytes": int(policy.max_length_bytes),
            "arguments": dict(told.settings.arguments),
            "readers": [row_to_json(reader_row(queue, one)) for one in figures.readers],
        }

    def _readers(self, call: Call) -> Steps[Result]:
        text = call.args["stream"]
        stream = "" if text is None else self._context.queue(text).destination

        def is_meant(row: object) -> bool:
            return not stream or (isinstance(row, ReaderRow) and row.stream == stream)

        return listing(Kind.READERS, self._context, call, is_meant)

    def _truncate(self, call: Call) -> Steps[Result]:
        queue, figures = yield from self._find(call)
        before = min(max(call.args["before"], figures.first), figures.next)
        matched = before - figures.first
        call.expect(matched)
        result: Result = {"stream": queue.destination, "first": before, "matched": matched}
        if call.dry_run:
            return result
        truncated = yield from self._order(queue, Truncate(before))
        self._tell("stream.truncated", queue, call, {"first": before, "truncated": truncated})
        return {**result, "truncated": truncated}

    def _seek(self, call: Call) -> Steps[Result]:
        queue, figures = yield from self._find(call)
        name, start = call.args["name"], _start("offset", call.args["offset"])
        reader = self._reader(queue, figures, name)
        call.expect(1)
        before = reader.settled
        result: Result = {"stream": queue.destination, "name": name, "before": before}
        if call.dry_run:
            return {**result, "offset": foreseen(start, figures)}
        offset = yield from self._order(queue, Seek(name, start))
        self._tell("stream.sought", queue, call, {"name": name, "before": before, "offset": offset})
        return {**result, "offset": offset}

    def _forget(self, call: Call) -> Steps[Result]:
        queue, figures = yield from self._find(call)
        name = call.args["name"]
        reader = self._reader(queue, figures, name)
        if reader.consumers:
            raise conflict(f"{reader.consumers} of its subscriptions are there; close them first")
        call.expect(1)
        result: Result = {"stream": queue.destination, "name": name, "offset": reader.settled}
        if call.dry_run:
            return {**result, "forgotten": 0}
        forgotten = yield from self._order(queue, ForgetReader(name))
        self._tell("stream.forgotten", queue, call, {"name": name, "offset": reader.settled})
        return {**result, "forgotten": forgotten}

    @staticmethod
    def _order(queue: Queue, what: Truncate | Seek | ForgetReader) -> Steps[int]:
        try:
            return (yield from order(queue, what))
        except ProtocolError as error:
            raise conflict(error.Message) from None

    def _tell(self, what: str, queue: Queue, call: Call, detail: dict[str, Any]) -> None:
        client = call.client
        self._context.events.tell(
            Event(
                type=what,
                connection=client.key if client is not None else "",
                user=call.user,
                destination=queue.destination,
                detail=detail,
            )
        )


def foreseen(start: StreamStart, figures: StreamFigures) -> int | None:
    """The offset that a start means just now; None = only the stream can tell, by its times."""
    first, end = figures.first, figures.next
    where = {
        StartAt.FIRST: first,
        StartAt.LAST: max(first, end - 1),
        StartAt.NEXT: end,
        StartAt.OFFSET: min(max(start.number, first), end),
        StartAt.BACK: max(first, end - start.number),
    }
    return where.get(start.at)


def start_in(queue: Queue, text: str | None) -> StreamStart | None:
    """Where a look into a queue begins; None = nothing is said of that.

    Raises:
        CommandError: the queue is no stream, or it says nothing of the kind.
    """
    if text is None:
        return None
    if not queue.policy.is_stream:
        raise bad(f"'start' is for streams, and {queue.destination} is none")
    return _start("start", text)


def _start(name: str, text: str) -> StreamStart:
    try:
        return read_start(text)
    except ValueError as error:
        raise bad(f"{name!r} {error}") from None
