"""Coordinates transactions over groups of several owners, and takes part in those of others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.cluster.link.link import Link
from stompy_broker.cluster.log.log import Answer, Append, Busy, Fenced, Log, Stored
from stompy_broker.cluster.remote.parts import Part
from stompy_broker.cluster.remote.placed_queue import PlacedQueue
from stompy_broker.cluster.remote.places import PlacedGroup, Places
from stompy_broker.cluster.remote.tables import VerbError
from stompy_broker.cluster.spans.participant import Participant
from stompy_broker.cluster.spans.span import Span
from stompy_broker.cluster.spans.span_messages import (
    ABORTED,
    COMMITTED,
    GIVE_BACK,
    OFFER,
    PREPARE,
    REFUSE,
    RESOLVED,
    read_offer,
    read_place,
    read_words,
    span_opening,
    write_part,
    write_place,
)
from stompy_broker.routing.answers import Done
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import Queue

log = logging.getLogger("stompy_broker.cluster")

_MOST_BYTES = 16 * 1024 * 1024
"""So much of several transactions over the same groups is put into one batch."""


class Spans:
    """All such transactions of one broker. It listens to links, for messages of the kinds 48 to 63.

    Args:
        places: where the groups are.
        log_of: gives the log of a group.
    """

    def __init__(self, places: Places, log_of: Callable[[int], Log]) -> None:
        self._places = places
        self._log_of = log_of
        self._numbers = count(1)
        self._running: dict[int, Span] = {}
        self._lines: dict[tuple[int, ...], list[Span]] = {}  # the first one runs
        self._participant = Participant(places)
        places.router.spread = self

    # -- what sessions ask ------------------------------------------------------------------

    def hindrance(self, groups: list[QueueGroup]) -> str:
        """Why these groups can have no change together; empty = they can.

        Raises:
            ProtocolError: they can, but not just now.
        """
        away = None
        for group in groups:
            if not isinstance(group, PlacedGroup):
                return f"group {group.number} is of this broker alone"
            if not self._is_here(group) and self._places.link_to(group.owner) is None:
                away = group
        if away is not None:
            # Time heals it, so it is not the answer that what cannot be gets: clients go on then.
            raise ProtocolError(
                ErrorCode.STORE_UNAVAILABLE,
                f"the owner of group {away.number} cannot be reached just now; try again",
            )
        return ""

    @staticmethod
    def _is_here(group: PlacedGroup) -> bool:
        return group.serving and group.guests is not None and group.logged is not None

    def commit(self, queues: Iterable[Queue], tell: Callable[[], None], done: Done) -> None:
        """Have all that ``tell`` tells queues be one change, and call ``done`` when it is safe.

        Raises:
            ProtocolError: something in it is refused at once, and nothing of it happens.
        """
        parts: dict[int, Part] = {}
        placed = [one for one in queues if isinstance(one, PlacedQueue)]
        for one in placed:
            number = one.group.number
            part = parts.get(number)
            if part is None:
                part = parts[number] = Part(self._places.router.memory)
            one.part = part
        try:
            tell()
        finally:
            for one in placed:
                one.part = None
            for number, part in parts.items():
                self._participant.keep(number, part)
        parts = {number: part for number, part in parts.items() if part.verbs}
        if parts:
            self._line_up(parts, done)
        else:
            done()

    def _line_up(self, parts: dict[int, Part], done: Done) -> None:
        line = self._lines.setdefault(tuple(sorted(parts)), [])
        if len(line) > 1 and line[-1].size < _MOST_BYTES:
            line[-1].join(parts, done)
            return
        line.append(Span(next(self._numbers), parts, [done]))
        if len(line) == 1:
            # Behind the batches that were told to fronts before.
            self._places.soon(partial(self._begin, line[0]))

    # -- one after the other ------------------------------------------------------------------

    def _begin(self, span: Span) -> None:
        self._running[span.number] = span
        self._ask_next(span)

    def _ask_next(self, span: Span) -> None:
        number = next((group for group in span.groups if group not in span.asked), None)
        if number is None:
            span.appending = True
            self._append(span)
            return
        group, part = self._places.groups[number], span.parts[number]
        if self._is_here(group):
            span.asked[number] = None
            telling = _Here(self, span, number)
            span.shares[number] = self._participant.share(number, part, telling)
            return
        link = self._places.link_to(group.owner)
        if link is None:
            self._fail(span, f"the owner of group {number} cannot be reached")
            return
        span.asked[number] = link
        name = self._places.front_name
        link.send(write_part(PREPARE, span.number, number, name, part.verbs))

    def offered(self, span: Span, number: int, expected: int, parts: Sequence[bytes]) -> None:
        """Take the record of a group, and go on."""
        if not span.over and number in span.asked and number not in span.offers:
            span.offers[number] = Append(self._log_of(number), parts, expected)
            self._ask_next(span)

    def refused(self, span: Span, number: int, reason: str) -> None:
        """Give it up: one of its groups takes no part; unless the log was asked already."""
        if not span.over and not span.appending:
            self._fail(span, f"group {number}: {reason}")

    def resolved(self, span: Span, number: int, place: int) -> None:
        """Take note of what an owner has found in the log."""
        if span.over:
            return
        if place and span.appending:
            self._succeed(span, {number: place})
        elif not place:
            self._fail(span, f"the owner of group {number} did not wait any longer")

    def _append(self, span: Span) -> None:
        if span.over:
            return
        appends = [span.offers[number] for number in span.groups]
        appends[0].log.append_together(appends, partial(self._answered, span))

    def _answered(self, span: Span, answers: Sequence[Answer]) -> None:
        if span.over:
            return
        stored = {
            number: answer.last
            for number, answer in zip(span.groups, answers, strict=True)
            if isinstance(answer, Stored)
        }
        busy = next((answer for answer in answers if isinstance(answer, Busy)), None)
        if stored:
            self._succeed(span, stored)
        elif busy is not None:
            clock = self._places.router.clock
            clock.timer(partial(self._append, span)).set(clock.now() + busy.seconds)
        else:
            self._find_out(span, answers)

    def _find_out(self, span: Span, answers: Sequence[Answer]) -> None:
        """Somebody has written behind it, or instead of it."""
        number = span.groups[0]
        append = span.offers[number]
        reason = next((one.reason for one in answers if isinstance(one, Fenced)), "")

        def found(octets: bytes | None) -> None:
            if span.over:
                return
            if octets is None:
                clock = self._places.router.clock
                again = partial(append.log.first, append.expected, found)
                clock.timer(again).set(clock.now() + 0.25)
            elif octets == append.parts[0]:
                self._succeed(span, {})
            else:
                self._fail(span, f"one of its groups has another owner: {reason}")

        append.log.first(append.expected, found)

    # -- the end ------------------------------------------------------------------------------

    def _succeed(self, span: Span, places: dict[int, int]) -> None:
        # Owners of whose record the place is not known have found it in the log.
        self._end(span)
        for number, place in places.items():
            self._tell(span, number, COMMITTED, place)
        parts = [done for part in span.parts.values() for done in part.waiting]
        for done in [*parts, *span.waiting]:
            done()

    def _fail(self, span: Span, reason: str) -> None:
        self._end(span)
        for number, part in span.parts.items():
            if number in span.asked:
                self._tell(span, number, ABORTED, 0)
            else:
                self._give_back(span, number, part)
        error = ProtocolError(
            ErrorCode.STORE_UNAVAILABLE,
            f"nothing of the transaction was carried out: {reason}; try again",
        )
        for done in span.waiting:
            done(error)

    def _tell(self, span: Span, number: int, kind: int, place: int) -> None:
        link, share = span.asked[number], span.shares.get(number)
        if share is not None:
            share.decide(place)
        elif link is not None:
            link.send(write_place(kind, span.number, number, place))

    def _give_back(self, span: Span, number: int, part: Part) -> None:
        group = self._places.groups[number]
        if self._is_here(group):
            self._participant.give_back(number, part)
            return
        link = self._places.link_to(group.owner)
        if link is not None:
            name = self._places.front_name
            link.send(write_part(GIVE_BACK, span.number, number, name, part.verbs))

    def _end(self, span: Span) -> None:
        span.over = True
        self._running.pop(span.number, None)
        line = self._lines[span.groups]
        line.remove(span)
        if line:
            self._places.soon(partial(self._begin, line[0]))
        else:
            del self._lines[span.groups]

    # -- links ------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        """Nothing is told before there is something to tell."""

    def received(self, link: Link, message: bytes) -> None:
        """Take what a coordinator or an owner tells."""
        try:
            kind, number, group = span_opening(message)
            if kind in (OFFER, REFUSE, RESOLVED):
                span = self._running.get(number)
                if span is not None and span.asked.get(group) is link:
                    self._heard(span, kind, group, message)
            else:
                self._participant.received(link, kind, number, group, message)
        except VerbError as error:
            log.exception("%s: what came makes no sense", link.peer)
            link.close(str(error))

    def _heard(self, span: Span, kind: int, group: int, message: bytes) -> None:
        if kind == OFFER:
            self.offered(span, group, *read_offer(message))
        elif kind == REFUSE:
            self.refused(span, group, read_words(message))
        else:
            self.resolved(span, group, read_place(message))

    def lost(self, link: Link, reason: str) -> None:
        """Give up what an owner was asked for, and ask the log about what others coordinate."""
        if not link.outgoing:
            self._participant.lost(link)
            return
        for span in list(self._running.values()):
            if not span.appending and link in span.asked.values():
                self._fail(span, f"the link to {link.peer} was lost")


class _Here:
    """Tells the coordinator of a share at the same broker."""

    def __init__(self, spans: Spans, span: Span, number: int) -> None:
        self._spans = spans
        self._soon = spans._places.soon
        self._span = span
        self._number = number

    def offered(self, append: Append) -> None:
        """This is the record."""
        tell = partial(self._spans.offered, self._span, self._number, append.expected, append.parts)
        self._soon(tell)

    def refused(self, reason: str) -> None:
        """It takes no part, and never will."""
        self._soon(partial(self._spans.refused, self._span, self._number, reason))

    def resolved(self, place: int) -> None:
        """It is in the log at that place, or not, and never will be."""
        self._soon(partial(self._spans.resolved, self._span, self._number, place))
