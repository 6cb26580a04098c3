"""Who would get a message, and why not: queues, subscriptions, and what binds topics to queues."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar, cast

from stompy.admin.explanation import Recipient
from stompy.admin.rows import DurableRow, Kind, QueueDetail, SubscriptionRow
from stompy.admin.snapshot import row_from
from stompy.errors import ProtocolError
from stompy_broker.admin.asking import order
from stompy_broker.admin.commands.base import Call, CommandContext
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.matcher import Matcher
from stompy_broker.destinations.names import (
    BACKLOG,
    Destination,
    DestinationKind,
    parse_destination,
    parts_of,
    topic_text,
)
from stompy_broker.destinations.policy import DEAD_LETTER, Policy
from stompy_broker.destinations.stream_settings import STREAM
from stompy_broker.message import OVERHEAD, Message
from stompy_broker.routing.interface import Foresee
from stompy_broker.selectors.explanation import Verdict
from stompy_broker.selectors.selector import compile_selector

R = TypeVar("R", SubscriptionRow, DurableRow)

_SEVERAL = 2


class Recipients:
    """Finds who would get one message.

    Args:
        context: the broker.
        call: who asks; rows are those of the whole cluster unless it names one broker.
        message: it, without a body.

    Attributes:
        refused: why nobody would get it after all; empty = that is not so.
        waits: why its sender would have to wait before the next one; empty = not.
    """

    def __init__(self, context: CommandContext, call: Call, message: Message) -> None:
        self.refused = self.waits = ""
        self._context = context
        self._call = call
        self._message = message

    def of(self, destination: Destination) -> Steps[list[Recipient]]:
        """Find those who would get it, and those who would but for something that is told."""
        if destination.kind is DestinationKind.QUEUE:
            return [(yield from self._queue(destination.name, "queue"))]
        return (yield from self._topic(destination))

    # -- a queue ----------------------------------------------------------------------------

    def _queue(self, name: str, kind: str) -> Steps[Recipient]:
        found, _ = yield from self._context.look(Kind.QUEUE, self._call, name)
        row = cast(QueueDetail, found.rows[0]) if found.rows else None
        policy = self._policy_of(DestinationKind.QUEUE, name)
        one = Recipient(
            kind=kind,
            name=name,
            gets=True,
            policy=self._policy_text(DestinationKind.QUEUE, name),
            broker=None if row is None else row.broker,
        )
        if row is None:
            one = replace(one, why=("the first message makes it",))
            return one if policy.is_stream else self._ending(one, policy)
        if row.type == STREAM:
            return self._read(one, row)
        one = self._as_value(self._taken_in(self._ending(one, policy), row, policy), row)
        return (yield from self._handed_out(one, row))

    def _as_value(self, one: Recipient, row: QueueDetail) -> Recipient:
        """Say what a message replaces, and whether it stays."""
        why = list(one.why)
        if row.last_value_key:
            value = self._message.head.headers().get(row.last_value_key, "")
            words = f"it replaces the one that waits and has {row.last_value_key}:{value[:60]}"
            why.append(f"last value: {words}" if value else f"no {row.last_value_key}: no value")
        if row.non_destructive:
            why.append("it stays when it is read: each consumer gets it")
        return replace(one, why=tuple(why))

    def _read(self, one: Recipient, row: QueueDetail) -> Recipient:
        """Say which readers of a stream a message would come to, each at its own time."""
        if row.intake_paused:
            self.waits = f"an operator stopped what comes in to {row.destination}"
        readers = {told["subscription"]: told for told in row.stream_readers}
        value = self._message.head.headers().get("x-stream-filter-value", "")
        consumers = []
        for told in row.consumers_detail:
            consumer = self._consumer(cast(SubscriptionRow, row_from(Kind.SUBSCRIPTIONS, told)))
            reader = readers.get(consumer.name, {})
            wanted = cast(Sequence[str], reader.get("filters") or ())
            unfiltered = not value and bool(reader.get("unfiltered"))
            if wanted and value not in wanted and not unfiltered:
                why = f"filter: takes {', '.join(wanted)}"
                consumer = replace(consumer, gets=False, why=(*consumer.why, why))
            consumers.append(consumer)
        return replace(
            one,
            why=(*one.why, f"a stream: it stays, with offset {row.next_offset}"),
            consumers=tuple(consumers),
            next=tuple([each.name for each in consumers if each.gets]),
        )

    def _taken_in(self, one: Recipient, row: QueueDetail, policy: Policy) -> Recipient:
        """Say what the limits of a queue make of a message."""
        if row.intake_paused:
            self.waits = f"an operator stopped what comes in to {row.destination}"
        elif row.full:
            self.waits = f"{row.destination} has reached its max_bytes, {row.max_bytes}"
        if not policy.exceeded(row.ready + 1, row.bytes):
            return one
        full = f"full: {row.ready} messages wait, {row.bytes} bytes"
        if policy.overflow == "drop-head":
            return replace(one, why=(*one.why, f"{full}; the oldest has to go"))
        if policy.overflow == "reject-publish":
            self.refused = f"{row.destination} is {full}; reject-publish"
            return replace(one, gets=False, why=(*one.why, f"queue {full}; reject-publish"))
        target = policy.dead_letter.replace("{name}", row.name) or "nowhere"
        why = f"queue {full}; reject-publish-dlx: it goes to {target}"
        return replace(one, gets=False, why=(*one.why, why))

    def _ending(self, one: Recipient, policy: Policy) -> Recipient:
        """Say when a message ends in a place."""
        head, now = self._message.head, self._context.router.wall()
        ends = [head.ends_at(now)] if head.traits.can_expire else []
        if policy.message_ttl:
            ends.append(now + policy.message_ttl)
        if not ends:
            return one
        over = min(ends)
        if over > now:
            return replace(one, expires_at=over)
        target = policy.dead_letter if policy.expired_to == DEAD_LETTER else policy.expired_to
        place = f"it goes to {target.replace('{name}', one.name)}" if target else "it is dropped"
        why = f"its time is over when it comes: {place}"
        return replace(one, gets=False, expires_at=over, why=(*one.why, why))

    def _handed_out(self, one: Recipient, row: QueueDetail) -> Steps[Recipient]:
        """Say which consumers a message would go to, from a queue that takes it."""
        if not one.gets:
            return one
        rows = [
            cast(SubscriptionRow, row_from(Kind.SUBSCRIPTIONS, told))
            for told in row.consumers_detail
        ]
        consumers = [self._consumer(each) for each in rows]
        why = [*one.why, *_who_is_active(rows)]
        if row.paused:
            why.append("paused: an operator stopped deliveries; it waits")
            consumers = [replace(each, gets=False) for each in consumers]
        elif not consumers:
            why.append("no consumer: it waits")
        able = [each for each in consumers if each.gets]
        if consumers and not able and not row.paused:
            why.append("no consumer takes it now: it waits")
        return replace(
            one,
            why=tuple(why),
            consumers=tuple(consumers),
            next=(yield from self._whose_turn(row, able)),
        )

    def _whose_turn(self, row: QueueDetail, able: Sequence[Recipient]) -> Steps[tuple[str, ...]]:
        """Find whose turn it is; all who may, where the queue does not know them by name."""
        names = tuple([each.name for each in able])
        queue = self._context.router.queues.get(row.name)
        if queue is None or len(able) < _SEVERAL or row.non_destructive:
            return names
        number = yield from order(queue, Foresee(self._message))
        own = f"s-{number}" if row.broker is None else f"s-{number}@{row.broker}"
        return (own,) if own in names else names

    def _consumer(self, row: SubscriptionRow) -> Recipient:
        """Say whether a message may be for a subscription to a queue."""
        why = self.selected(row.selector)
        gets = not why
        if row.selector and not why:
            why = (f"its selector takes it: {row.selector}",)
        if row.prefetch and row.ack != "auto" and row.unacked >= row.prefetch:
            gets = False
            why = (*why, f"no credit: {row.unacked} of {row.prefetch} unsettled")
        elif row.window_bytes >= 0 and row.unacked:
            gets = gets and bool(row.window_bytes)
            why = (*why, f"credit in bytes: {row.window_bytes}, of which {row.unacked} have some")
        if row.blocked:
            gets = False
            why = (*why, "its client does not take what is written")
        if row.priority:
            why = (*why, f"priority {row.priority}")
        if not row.active:
            gets = False
            why = (*why, "stands by: one consumer at a time gets everything")
        return _subscriber("consumer", row, gets=gets, why=why)

    # -- a topic ----------------------------------------------------------------------------

    def _topic(self, destination: Destination) -> Steps[list[Recipient]]:
        found, _ = yield from self._context.look(Kind.SUBSCRIPTIONS, self._call)
        rows = cast(Sequence[SubscriptionRow], found.rows)
        told, _ = yield from self._context.look(Kind.DURABLE, self._call)
        durable = cast(Sequence[DurableRow], told.rows)
        plain = [row for row in rows if not row.durable_name]
        recipients = [
            self._subscription(row, pattern) for row, pattern in _matching(destination, plain)
        ]
        for known, pattern in _matching(destination, durable):
            recipients.append((yield from self._durable(known, pattern)))
        if self._message.head.traits.retains:
            recipients.append(self._kept(destination.name))
        if recipients:
            return recipients
        why = "nobody has subscribed: it is dropped, and counted as unroutable"
        return [Recipient(kind="topic", name=destination.name, why=(why,))]

    def _kept(self, topic: str) -> Recipient:
        """Say what becomes of a message that its topic is to keep for who subscribes later."""
        router = self._context.router
        size, block = self._message.size - OVERHEAD, len(self._message.head.block)
        known = topic in router.retained.messages
        one = Recipient(kind="retained", name=topic, gets=True)
        if size == block:
            why = "without a body: it has its topic forget what it keeps for who subscribes later"
            return replace(one, gets=known, why=(why,))
        try:
            router.retained_messages.check(((topic, block, size - block),))
        except ProtocolError as error:
            self.refused = error.Message
            return replace(one, gets=False, why=(error.Message,))
        why = "its topic keeps it for who subscribes later"
        place = "; it takes the place of what is kept there"
        policy = self._policy_of(DestinationKind.TOPIC, topic)
        return self._ending(replace(one, why=(why + place if known else why,)), policy)

    def _subscription(self, row: SubscriptionRow, pattern: Destination) -> Recipient:
        policy = self._policy_of(pattern.kind, pattern.name)
        why = self.selected(row.selector)
        one = _subscriber("subscription", row, gets=not why, why=why or (f"of {row.destination}",))
        if row.selector and not why:
            one = replace(one, why=(*one.why, f"its selector takes it: {row.selector}"))
        one = replace(one, policy=self._policy_text(pattern.kind, pattern.name))
        if row.no_local:
            one = replace(one, why=(*one.why, "no-local: not if its own connection sends it"))
        if row.pending >= policy.backlog_messages:
            rest = f"{row.pending} messages wait for it; {policy.backlog_overflow}"
            one = replace(one, why=(*one.why, f"its backlog is full: {rest}"))
        return self._ending(one, policy) if one.gets else one

    def _durable(self, row: DurableRow, pattern: Destination) -> Steps[Recipient]:
        """Say what a durable subscription makes of a message, with or without subscriber."""
        why = self.selected(row.selector)
        own = row.queue.startswith(BACKLOG)
        # The queue that a client has named goes by its own policy.
        kind, name = (pattern.kind, pattern.name) if own else (DestinationKind.QUEUE, row.queue)
        policy = self._policy_of(kind, name)
        one = Recipient(
            kind="share" if row.share else "durable" if own else "binding",
            name=row.name,
            gets=not why,
            why=why or (f"of {topic_text(pattern.name)}",),
            policy=self._policy_text(kind, name),
            broker=row.broker,
        )
        if not one.gets:
            return one
        if row.not_from:
            words = f"no-local: not what the client-id {row.not_from!r} sends"
            one = replace(one, why=(*one.why, words))
        found, _ = yield from self._context.look(Kind.QUEUE, self._call, row.queue)
        one = self._ending(one, policy)
        if not found.rows:
            return one
        detail = cast(QueueDetail, found.rows[0])
        return (yield from self._handed_out(self._taken_in(one, detail, policy), detail))

    # -- what both have ---------------------------------------------------------------------

    def selected(self, text: str) -> tuple[str, ...]:
        """Say why a selector does not take a message; empty = it does, or there is none."""
        if not text:
            return ()
        try:
            selector = compile_selector(text)
        except ProtocolError as error:
            return (f"selector: {error.Message}",)
        if selector.matches(self._message):
            return ()
        clauses = selector.explain(self._message)
        wrong = [clause for clause in clauses if clause.verdict is not Verdict.TRUE] or clauses
        return tuple([f"selector: {clause.why}" for clause in wrong])

    def _policy_of(self, kind: DestinationKind, name: str) -> Policy:
        """The policy that holds, with the arguments of a queue that is known here."""
        router = self._context.router
        queue = router.queues.get(name) if kind is DestinationKind.QUEUE else None
        return router.policies.find(kind, name) if queue is None else queue.policy

    def _policy_text(self, kind: DestinationKind, name: str) -> str:
        policies = self._context.router.policies
        index = policies.index(kind, name)
        if index is None:
            return "policy: the defaults"
        return f"policy.{index} ({policies.find(kind, name).match})"


def _who_is_active(rows: Sequence[SubscriptionRow]) -> list[str]:
    """Say which consumer of a queue is given everything, if they ask that one is."""
    asking = [row for row in rows if row.single_active]
    if not asking:
        return []
    active = next((row.id for row in asking if row.active), "")
    if active:
        return [f"single active consumer: {active} gets everything"]
    return ["single active consumer: one takes over when what others hold is settled; it waits"]


def _parts(row: SubscriptionRow | DurableRow) -> Sequence[str]:
    """What a subscription is of: the destinations that it names, or that are bound to it."""
    if isinstance(row, DurableRow) and row.destinations:
        return row.destinations
    return parts_of(row.destination)


def _matching(destination: Destination, rows: Iterable[R]) -> list[tuple[R, Destination]]:
    """Give the rows whose destinations match a topic, each with the part of it that does."""
    matcher: Matcher[tuple[int, Destination]] = Matcher(slashes=True)
    known = []
    for number, row in enumerate(rows):
        known.append(row)
        for part in _parts(row):
            pattern = parse_destination(part)
            if pattern.kind is destination.kind:
                matcher.add(pattern.name, (number, pattern))
    found = dict(sorted(matcher.match(destination.name), key=lambda pair: pair[0]))
    return [(known[number], pattern) for number, pattern in found.items()]


def _subscriber(kind: str, row: SubscriptionRow, *, gets: bool, why: tuple[str, ...]) -> Recipient:
    return Recipient(
        kind=kind,
        name=row.id,
        gets=gets,
        why=why,
        connection=row.connection,
        user=row.user,
        broker=row.broker,
    )
