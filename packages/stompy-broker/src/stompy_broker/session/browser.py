"""A subscription that looks: it shows a client what waits in queues, and takes nothing.

It is no consumer. It asks its queue for a page of messages, writes them while there is room, and
asks for those behind the last one that it has written. So nothing about the queue changes, nothing
is held for it but a page, and what has left the queue before its turn is not shown.

What came after SUBSCRIBE is told by its number, and not shown; a browser that follows shows it
after the end marker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from stompy.protocol.headers import Version, escape
from stompy_broker.message import Message
from stompy_broker.routing.interface import Browse, Browsed, Place, Queue, place_of
from stompy_broker.routing.message_state import MessageState
from stompy_broker.session.browse_pace import BrowsePace
from stompy_broker.session.browse_request import BrowseRequest
from stompy_broker.session.output import LARGE, OutputBuffer
from stompy_broker.timers import Clock

PAGE_MESSAGES, PAGE_BYTES = 1000, 512 * 1024
"""What is asked for at once."""

STALE_SECONDS = 1.0
"""What could not be written for so long is asked for again: it may be gone."""

FOLLOW_SECONDS = 0.1
"""So often one that follows looks whether anything came."""


class _Source:
    """One queue, and how far it was shown.

    Attributes:
        queue: it.
        place: of the last message that was written.
        after: the sequence of the last one that was not to be shown, because it was before.
        last: the sequence of the last one to be shown.
    """

    __slots__ = ("after", "last", "place", "queue")

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.place: Place | None = None
        self.after = 0
        self.last = 0


class Browser:
    """Shows messages of queues to a client.

    Args:
        request: what the client wants.
        find: gives the queues that are there just now.
        output: where to write.
        version: how.
        clock: says when a page is stale, and when to look again.
        pace: says when to go on.

    Attributes:
        request: what the client wants.
        shown: how many messages it has shown.
        ended: whether it shows nothing any more.
        number: unique within the broker; 0 = nobody gave it one.
        created_at: when, on the clock.
    """

    def __init__(
        self,
        request: BrowseRequest,
        find: Callable[[], Sequence[Queue]],
        output: OutputBuffer,
        version: Version,
        clock: Clock,
        pace: BrowsePace,
    ) -> None:
        self.request = request
        self.shown = 0
        self.number = 0
        self.created_at = clock.now()
        self._find = find
        self._output = output
        self._version = version
        self._clock = clock.machine
        self._pace = pace
        self._timer = clock.machine.timer(self._look_again) if request.follow else None
        self._skip = request.offset
        self._sources: deque[_Source] = deque()
        self._known: dict[Queue, int] = {}  # up to where each was shown
        self._page: deque[tuple[Message, MessageState, int, int]] = deque()
        self._page_at = 0.0
        self._last_page = False
        self._unanswered = 0
        self.ended = False
        self._begun = self._asking = self._waiting = self._marked = False
        self._full = False
        prefix = "MESSAGE\n"
        if request.id is not None:
            prefix += f"subscription:{escape(request.id, version)}\n"
        self._prefix = prefix.encode("utf-8", "surrogateescape")

    # -- its life ---------------------------------------------------------------------------

    def open(self) -> None:
        """Decide what is to be shown: what is there now."""
        queues = self._find()
        self._unanswered = len(queues)
        self._sources = deque([_Source(queue) for queue in queues])
        for source in list(self._sources):
            source.after = self._known.get(source.queue, 0)
            look = Browse(most=0, states=self.request.states)
            source.queue.browse(look, partial(self._note_last, source))

    def _note_last(self, source: _Source, answer: Browsed) -> None:
        source.last = answer.last
        if source.last <= source.after and self._sources:
            self._sources.remove(source)  # nothing came to any queue of its group
        self._known[source.queue] = max(answer.last, source.after)
        self._unanswered -= 1
        if not self._unanswered:
            if self._marked and not self._sources:
                self._look_later()
            self._wait()

    def begin(self) -> None:
        """Begin to write: the receipt has gone out."""
        self._begun = True
        self._wait()

    def resume(self) -> None:
        """Go on: the output has room again."""
        self._full = False
        self._wait()

    def end(self) -> None:
        """Show nothing any more, and forget what is at hand."""
        self.ended = True
        self._page.clear()
        self._sources.clear()
        self._pace.forget(self._go_on)
        if self._timer is not None:
            self._timer.end()

    # -- pages ------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Go on when it is this browser's turn, if there is anything to do."""
        idle = self._asking or self._waiting or self._full or self._unanswered
        if not self._begun or self.ended or idle or (self._marked and not self._sources):
            return
        self._waiting = True
        self._pace.wait(self._go_on)

    def _go_on(self) -> None:
        self._waiting = False
        if self.ended:
            return
        if self._page and self._clock.now() - self._page_at > STALE_SECONDS:
            self._page.clear()
            self._last_page = False
        if self._write() and not self._advance():
            self._ask()

    def _advance(self) -> bool:
        """Turn to the next queue, or to the end; true: there is nothing more to ask for."""
        if self._last_page:
            self._last_page = False
            self._sources.popleft()
        if self._sources and self._left != 0:
            return False
        self._sources.clear()
        if not self._marked:
            self._marked = True
            self._output.put(self._end_marker())
        self._look_later()
        return True

    def _look_later(self) -> None:
        """Look for new messages in a while, if the client follows and may have more."""
        if self._timer is not None and self._left != 0:
            self._timer.set(self._clock.now() + FOLLOW_SECONDS)

    @property
    def blocked(self) -> bool:
        """Whether its client does not take what is written."""
        return self._full

    @property
    def _left(self) -> int | None:
        """How many more may be shown; None = all."""
        limit = self.request.limit
        return None if limit is None else max(limit - self.shown, 0)

    def _ask(self) -> None:
        source, request, left = self._sources[0], self.request, self._left
        selection = replace(request.selection, after=source.after, up_to=source.last)
        wanted = Browse(
            selection,
            self._skip,
            PAGE_MESSAGES if left is None else min(left, PAGE_MESSAGES),
            0 if request.headers_only else PAGE_BYTES,
            request.states,
            source.place,
            start=request.start,
        )
        self._asking = True
        source.queue.browse(wanted, partial(self._take, source))

    def _take(self, source: _Source, answer: Browsed) -> None:
        self._asking = False
        if self.ended:
            return
        self._skip -= answer.skipped
        messages = answer.messages
        offsets = answer.offsets or (-1,) * len(messages)
        self._page.extend(zip(messages, answer.states, answer.due, offsets, strict=True))
        self._page_at = self._clock.now()
        self._last_page = not answer.more
        if messages and answer.skipped:
            priority, sequence = place_of(messages[0])
            source.place = priority, sequence - 1
        if self._write():
            self._wait()

    def _write(self) -> bool:
        """Write what is at hand; say whether there is room for more."""
        page = self._page
        while page and not self._full:
            message, state, due, offset = page.popleft()
            self._sources[0].place = place_of(message)
            if message.body is None and not self.request.headers_only:
                continue  # it left before its body was read
            self.shown += 1
            self._full = not self._put(message, state, due, offset)
        return not self._full

    def _look_again(self) -> None:
        """Show what came since, for one that follows."""
        if not self.ended and not self._sources and not self._unanswered:
            self.open()
            if not self._sources and not self._unanswered:
                self._look_later()

    # -- frames -----------------------------------------------------------------------------

    def _put(self, message: Message, state: MessageState, due: int, offset: int) -> bool:
        """Write a message; say whether there is room for another."""
        so_far = message.deliveries + (state is MessageState.UNACKED)
        redelivered = b"true" if message.redelivery is not None else b"false"
        when = b"due-at:%d\n" % due if due else b""
        if message.expires:
            when += b"expires-at:%d\n" % message.expires
        if offset >= 0:
            when += b"x-stream-offset:%d\n" % offset
        prefix = b"%bstate:%b\n%bredelivered:%b\ndelivery-count:%d\nmessage-id:" % (
            self._prefix,
            state.value.encode(),
            when,
            redelivered,
            so_far,
        )
        version, body = self._version, message.body
        if self.request.headers_only:
            return self._output.put_message(prefix, _without_body(message, version))
        if body is not None and message.size >= LARGE and message.shared_tail is None:
            return self._output.put_large_message(prefix, message.front(version), body)
        return self._output.put_message(prefix, message.tail(version))

    def _end_marker(self) -> bytes:
        destination = escape(str(self.request.destination), self._version)
        return (
            b"%bdestination:%b\nbrowser:end\nbrowsed:%d\nmessage-id:0\ncontent-length:0\n\n\0\n"
            % (self._prefix, destination.encode("utf-8", "surrogateescape"), self.shown)
        )

    def __repr__(self) -> str:
        """Id and what it looks at, for people."""
        return f"<Browser {self.request.id!r} of {self.request.destination}>"


_LENGTH = b"content-length:"


def _without_body(message: Message, version: Version) -> bytes:
    """A message as `Message.tail` has it, with the length of its body in place of the body."""
    lines = message.head.block_for(version).split(b"\n")
    block = b"\n".join([line for line in lines if not line.startswith(_LENGTH)])
    traits = message.head.traits
    return b"%b%bcontent-length:0\nbody-length:%d\n%b\0\n" % (
        traits.message_id or b"%d" % message.sequence,
        b"\n" if traits.stamped else message.stamp,
        message.size - message.ram_on_disk,
        block,
    )
