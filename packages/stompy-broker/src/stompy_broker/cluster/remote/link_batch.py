"""What a front tells an owner as bytes, and back.

Messages of one head in a row are one piece: the head's number, how long the bodies are, the
bodies.
"""

from __future__ import annotations

from dataclasses import astuple
from struct import Struct
from struct import error as StructError  # noqa: N812 -- its name says nothing by itself
from typing import Any

from stompy_broker.cluster.remote.tables import (
    BATCH,
    HEADED,
    NAMED,
    OPENING,
    VISIT,
    TableReader,
    TableWriter,
    VerbError,
    pack_numbers,
)
from stompy_broker.cluster.remote.values import (
    browse_of,
    browse_row,
    order_of,
    order_row,
    pack,
    terms_of,
    terms_row,
    unpack,
)
from stompy_broker.cluster.remote.verbs import (
    AdmitVerb,
    AttachVerb,
    BrowseVerb,
    ControlVerb,
    DetachVerb,
    ExpireVerb,
    MessageOrigin,
    NothingVerb,
    OnceVerb,
    PublishVerb,
    ResumeVerb,
    ReturnVerb,
    SettleVerb,
    StatsVerb,
    ToldBatch,
    ToldConsumer,
    TookVerb,
    Verb,
    Visit,
    WithdrawVerb,
)
from stompy_broker.message import Redelivery
from stompy_broker.routing.rejection import Rejection, Retries

_BATCH = Struct("<QQQ")
_PUBLISH = Struct("<BIHBI")
_PAST = Struct("<II")
_SETTLE = Struct("<BIBI")
_REJECT = Struct("<BdII")
_REQUEUE, _FAILURE, _WHOLE_GROUP = 1, 2, 4
_ATTACH = Struct("<BIIBII")
_DETACH = Struct("<BIIBII")
_CONSUMER = Struct("<BI")
_RETURN = Struct("<BII")
_TOOK = Struct("<BIIQ")
_ADMIT = Struct("<BIIq")
_STATS = Struct("<BIB")
_VALUE = Struct("<BII")
_EXPIRE = Struct("<BIHI")
_ONCE = Struct("<BIHBHQI")

(
    _PUBLISHED,
    _EXPIRED,
    _SETTLED,
    _ATTACHED,
    _DETACHED,
    _RESUMED,
    _WITHDRAWN,
    _RETURNED,
    _TAKEN,
    _ADMITTED,
    _COUNTED,
    _BROWSED,
    _ORDERED,
    _NOTHING,
    _PUBLISHED_ONCE,
) = range(NAMED + 1, NAMED + 16)

_REFUSABLE, _AGAIN = 1, 2


def write_visit(group: int, visit: int, told: Visit) -> bytes:
    """Write how a front begins to speak to an owner."""
    rows = [
        told.front,
        told.last,
        [_consumer_row(one) for one in told.consumers],
        told.loose,
        told.kept,
        told.origins,
    ]
    return OPENING.pack(VISIT, group, visit) + pack(rows)


def read_visit(message: bytes) -> Visit:
    """Read what `write_visit` has written.

    Raises:
        VerbError: it is something else.
    """
    try:
        front, last, consumers, loose, kept, origins = unpack(message[OPENING.size :])
        return Visit(
            front,
            last,
            [_consumer_of(one) for one in consumers],
            loose,
            kept,
            [MessageOrigin(*one) for one in origins],
        )
    except (ValueError, TypeError) as error:
        raise VerbError(f"a visit makes no sense: {error}") from None


def _consumer_row(one: ToldConsumer) -> list[object]:
    return [*astuple(one)[:-1], terms_row(one.terms)]


def _consumer_of(row: list[Any]) -> ToldConsumer:
    number, queue, auto, prefetch, wants, held, terms = row
    return ToldConsumer(number, queue, auto, prefetch, wants, held, terms_of(terms))


class BatchWriter(TableWriter):
    """Writes the batches of one visit."""

    def write(self, batch: ToldBatch) -> list[bytes]:
        """Write one, in parts to be joined."""
        self._open(BATCH)
        self._parts.append(_BATCH.pack(batch.number, batch.confirmed, batch.tenure))
        for verb in batch.verbs:
            if isinstance(verb, PublishVerb):
                self._publish(verb)
            elif isinstance(verb, SettleVerb):
                self._settle(verb)
            elif not self._of_consumer(verb):
                self._of_queue(verb)
        parts, self._parts = self._parts, []
        return parts

    def _publish(self, verb: PublishVerb) -> None:
        bodies, past = verb.bodies, verb.past
        queue, head = self._name(verb.queue), self._head(verb.head)
        flags = _REFUSABLE * verb.refusable | _AGAIN * (past is not None)
        self._parts.append(_PUBLISH.pack(_PUBLISHED, queue, head, flags, len(bodies)))
        if past is not None:
            self._parts.append(_PAST.pack(*past))
        self._parts.append(pack_numbers("I", map(len, bodies)))
        self._parts += bodies

    def _settle(self, verb: SettleVerb) -> None:
        sequences, rejection = verb.sequences, verb.rejection
        queue = self._name(verb.queue)
        self._parts.append(_SETTLE.pack(_SETTLED, queue, rejection is not None, len(sequences)))
        self._parts.append(pack_numbers("Q", sequences))
        if rejection is not None:
            reason = rejection.reason.encode("utf-8", "surrogateescape")
            delay = -1.0 if rejection.delay is None else rejection.delay
            retries = b"" if rejection.retries is None else pack(rejection.retries)
            flags = rejection.requeue * _REQUEUE + rejection.failed * _FAILURE
            flags += rejection.whole_group * _WHOLE_GROUP
            self._parts += (
                _REJECT.pack(flags, delay, len(reason), len(retries)),
                reason,
                retries,
            )

    def _of_consumer(self, verb: Verb) -> bool:
        """Write what is about a consumer; false: it is not."""
        add = self._parts.append
        match verb:
            case AttachVerb(consumer, queue, auto, prefetch, terms):
                number, asked = self._name(queue), pack(terms_row(terms))
                add(_ATTACH.pack(_ATTACHED, consumer, number, auto, prefetch, len(asked)))
                add(asked)
            case DetachVerb(consumer, queue, lost, back, kept):
                number = self._name(queue)
                add(_DETACH.pack(_DETACHED, consumer, number, lost, len(back), len(kept)))
                add(pack_numbers("Q", [*back, *kept]))
            case ResumeVerb(consumer):
                add(_CONSUMER.pack(_RESUMED, consumer))
            case WithdrawVerb(consumer):
                add(_CONSUMER.pack(_WITHDRAWN, consumer))
            case ReturnVerb(consumer, sequences):
                add(_RETURN.pack(_RETURNED, consumer, len(sequences)))
                add(pack_numbers("Q", sequences))
            case TookVerb(consumer, count, size):
                add(_TOOK.pack(_TAKEN, consumer, count, size))
            case _:
                return False
        return True

    def _of_queue(self, verb: Verb) -> None:
        add = self._parts.append
        match verb:
            case AdmitVerb(queue, count, before):
                number = self._name(queue)
                add(_ADMIT.pack(_ADMITTED, number, count, before))
            case StatsVerb(queue, known):
                number = self._name(queue)
                add(_STATS.pack(_COUNTED, number, known))
            case ExpireVerb(queue, head, body):
                number, its_head = self._name(queue), self._head(head)
                add(_EXPIRE.pack(_EXPIRED, number, its_head, len(body)))
                add(body)
            case OnceVerb(queue, head, body, value, ttl, refusable):
                number, its_head = self._name(queue), self._head(head)
                code, length = _PUBLISHED_ONCE, len(body)
                add(_ONCE.pack(code, number, its_head, refusable, len(value), ttl, length))
                self._parts += (value, body)
            case BrowseVerb(queue, wanted):
                self._value(_BROWSED, self._name(queue), browse_row(wanted))
            case ControlVerb(queue, order):
                self._value(_ORDERED, self._name(queue), order_row(order))
            case NothingVerb(count):
                add(_CONSUMER.pack(_NOTHING, count))

    def _value(self, code: int, name: int, row: object) -> None:
        octets = pack(row)
        self._parts += (_VALUE.pack(code, name, len(octets)), octets)


class BatchReader(TableReader):
    """Reads the batches of one visit."""

    def read(self, message: bytes) -> ToldBatch:
        """Read one.

        Raises:
            VerbError: it is something else.
        """
        self._octets, self._at = message, OPENING.size
        verbs: list[Verb] = []
        try:
            number, confirmed, tenure = _BATCH.unpack(self._cut(_BATCH.size))
            while self._at < len(message):
                verb = self._verb(message[self._at])
                if verb is not None:
                    verbs.append(verb)
        except (StructError, ValueError, TypeError, IndexError) as error:
            raise VerbError(f"a batch makes no sense: {error}") from None
        self._octets = b""
        return ToldBatch(number, confirmed, tenure, verbs)

    def _verb(self, code: int) -> Verb | None:
        cut, names = self._cut, self._names
        if code == _PUBLISHED:
            _, queue, head, flags, count = _PUBLISH.unpack(cut(_PUBLISH.size))
            past = Redelivery(*_PAST.unpack(cut(_PAST.size))) if flags & _AGAIN else None
            refusable = bool(flags & _REFUSABLE)
            return PublishVerb(
                names[queue], self._known(head), refusable, past, self._bodies(count)
            )
        if code == _SETTLED:
            return self._settle()
        if code == HEADED:
            self._read_head()
            return None
        if code == NAMED:
            self._read_name()
            return None
        if code in _OF_CONSUMERS:
            return self._of_consumer(code)
        return self._of_queue(code)

    def _settle(self) -> SettleVerb:
        _, queue, rejected, count = _SETTLE.unpack(self._cut(_SETTLE.size))
        sequences = self._numbers("Q", count)
        rejection = None
        if rejected:
            flags, delay, length, more = _REJECT.unpack(self._cut(_REJECT.size))
            reason = self._cut(length).decode("utf-8", "surrogateescape")
            retries = Retries(*unpack(self._cut(more))) if more else None
            rejection = Rejection(
                bool(flags & _REQUEUE),
                None if delay < 0 else delay,
                reason,
                bool(flags & _FAILURE),
                retries,
                bool(flags & _WHOLE_GROUP),
            )
        return SettleVerb(self._names[queue], rejection, sequences)

    def _of_consumer(self, code: int) -> Verb:
        cut = self._cut
        if code == _ATTACHED:
            _, consumer, queue, auto, prefetch, length = _ATTACH.unpack(cut(_ATTACH.size))
            terms = terms_of(unpack(cut(length)))
            return AttachVerb(consumer, self._names[queue], bool(auto), prefetch, terms)
        if code == _DETACHED:
            _, consumer, queue, lost, back, kept = _DETACH.unpack(cut(_DETACH.size))
            every = self._numbers("Q", back + kept)
            return DetachVerb(consumer, self._names[queue], bool(lost), every[:back], every[back:])
        if code == _RETURNED:
            _, consumer, count = _RETURN.unpack(cut(_RETURN.size))
            return ReturnVerb(consumer, self._numbers("Q", count))
        if code == _TAKEN:
            _, consumer, count, size = _TOOK.unpack(cut(_TOOK.size))
            return TookVerb(consumer, count, size)
        _, consumer = _CONSUMER.unpack(cut(_CONSUMER.size))
        if code == _NOTHING:
            return NothingVerb(consumer)
        return ResumeVerb(consumer) if code == _RESUMED else WithdrawVerb(consumer)

    def _of_queue(self, code: int) -> Verb:
        cut, names = self._cut, self._names
        if code == _ADMITTED:
            _, queue, count, before = _ADMIT.unpack(cut(_ADMIT.size))
            return AdmitVerb(names[queue], count, before)
        if code == _COUNTED:
            _, queue, known = _STATS.unpack(cut(_STATS.size))
            return StatsVerb(names[queue], bool(known))
        if code == _EXPIRED:
            _, queue, head, length = _EXPIRE.unpack(cut(_EXPIRE.size))
            return ExpireVerb(names[queue], self._known(head), cut(length))
        if code == _PUBLISHED_ONCE:
            _, queue, head, refusable, size, ttl, length = _ONCE.unpack(cut(_ONCE.size))
            value, known = cut(size), self._known(head)
            return OnceVerb(names[queue], known, cut(length), value, ttl, bool(refusable))
        if code not in (_BROWSED, _ORDERED):
            raise ValueError(f"there is no verb {code}")
        _, queue, length = _VALUE.unpack(cut(_VALUE.size))
        row = unpack(cut(length))
        if code == _BROWSED:
            return BrowseVerb(names[queue], browse_of(row))
        return ControlVerb(names[queue], order_of(row))


_OF_CONSUMERS = frozenset((_ATTACHED, _DETACHED, _RETURNED, _TAKEN, _RESUMED, _WITHDRAWN, _NOTHING))
