"""ACK and NACK of one client, and which delivery each names. **Hot path** (`AckHandler.ack`).

Each version of STOMP names deliveries in its own way (1.2, *ACK*). A delivery is known as long as
its subscription stands, and the last ones of subscriptions that have ended stay known for a while.
So an ACK that crossed an UNSUBSCRIBE, or settles twice, is no error, and one that names what this
connection never got is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.header_cache import ACK_RUN, Head, acks_of_one, plain_acks
from stompy.protocol.headers import Version
from stompy_broker.foreign_headers import ForeignHeaders
from stompy_broker.routing.answers import when_all
from stompy_broker.routing.batching import AT_ONCE
from stompy_broker.routing.joined_queues import by_queue
from stompy_broker.routing.rejection import Rejection
from stompy_broker.session.bounded_dict import BoundedDict
from stompy_broker.session.context import ClientState
from stompy_broker.session.header_values import boolean, whole_number
from stompy_broker.session.receipts import Receipts, nothing_owed
from stompy_broker.session.subscription import AckSubscription, Subscription, is_number
from stompy_broker.session.transaction_span import TransactionSpan
from stompy_broker.session.transactions import Settlement, Transactions


class Deliveries:
    """The subscriptions of one connection whose deliveries are to be settled, by tag.

    Args:
        subscriptions: all subscriptions of the connection by id.
    """

    def __init__(self, subscriptions: Mapping[str, Subscription]) -> None:
        self._subscriptions = subscriptions
        self._looks = False  # whether anything was shown that needs no ACK
        self._by_tag: dict[bytes, AckSubscription] = {}
        # How many deliveries each subscription that has ended had, by tag.
        self._ended: BoundedDict[bytes, int] = BoundedDict()
        # Keys of those that have ended and needed no ACK.
        self._needless: BoundedDict[str, bool] = BoundedDict()
        # What was settled, by key and message-id.
        self._past: BoundedDict[tuple[str, str], bool] = BoundedDict()

    def add(self, key: str, subscription: AckSubscription) -> None:
        """Let its deliveries be settled from now on; ``key`` is the client's id for it."""
        self._by_tag[b"%d" % subscription.tag] = subscription
        subscription.settled = partial(self._note_settled, key)

    def _note_settled(self, key: str, message_id: str) -> None:
        self._past.put((key, message_id), True)

    def remove(self, key: str, subscription: Subscription, held: Iterable[str]) -> None:
        """Ignore from now on what is settled of it.

        Args:
            key: the client's id for it.
            subscription: it has ended.
            held: ``message-id`` of what it had to settle.
        """
        if not isinstance(subscription, AckSubscription):
            self._needless.put(key, True)
            return
        tag = b"%d" % subscription.tag
        del self._by_tag[tag]
        self._ended.put(tag, subscription.delivered)
        for message_id in held:
            self._note_settled(key, message_id)

    @property
    def outstanding(self) -> bool:
        """Whether anything is to be settled."""
        return any(subscription.unacked for subscription in self._by_tag.values())

    def needs_none(self, key: str) -> None:
        """Ignore what is settled of a subscription that only looks.

        Args:
            key: the client's id for it.
        """
        self._needless.put(key, True)
        self._looks = True

    def tagged(self, tag: bytes) -> AckSubscription | None:
        """The subscription whose deliveries have ``ack`` headers that begin so, if it stands."""
        return self._by_tag.get(tag)

    def by_ack(self, ack_id: str) -> tuple[AckSubscription, int] | None:
        """Find a delivery by its ``ack`` header, as 1.2 names it.

        Who learned it from RabbitMQ names the message instead, because there both are the same.

        Returns:
            Subscription and number; None if there is nothing to settle any more.

        Raises:
            ProtocolError: no such delivery was made on this connection.
        """
        tag, _, number = ack_id.rpartition("-")
        if is_number(ack_id):
            found = self._named(ack_id, self._subscriptions)
            if found is not None or self._looks or self._is_past(None, ack_id):
                return found  # perhaps it was only shown, and so has no more than its message-id
        if not (is_number(tag) and is_number(number)):
            raise _unknown(f"{ack_id[:60]!r} is not the ack header of a MESSAGE")
        octets = tag.encode()
        subscription = self._by_tag.get(octets)
        delivered = self._ended.get(octets) if subscription is None else subscription.delivered
        if not 0 < int(number) <= (delivered or 0):
            raise _unknown(f"no delivery {ack_id[:60]!r} was made on this connection")
        return None if subscription is None else (subscription, int(number))

    def by_message(self, headers: Mapping[str, str]) -> tuple[AckSubscription, int] | None:
        """Find a delivery by message and subscription (1.1); 1.0 may leave the latter out.

        Returns:
            As `by_ack`.

        Raises:
            ProtocolError: no such delivery was made on this connection.
        """
        message_id, key = headers["message-id"], headers.get("subscription")
        found = self._named(message_id, self._subscriptions if key is None else (key,))
        if found is not None:
            return found
        if not self._is_past(key, message_id) and not self._needs_none(key):
            place = "" if key is None else f" on subscription {key[:60]!r}"
            raise _unknown(f"no message {message_id[:60]!r} was delivered{place}")
        return None

    def _named(self, message_id: str, keys: Iterable[str]) -> tuple[AckSubscription, int] | None:
        """Find the delivery of a message on one of these subscriptions, which settles it."""
        for key in keys:
            subscription = self._subscriptions.get(key)
            if isinstance(subscription, AckSubscription):
                number = subscription.number_of(message_id)
                if number is not None:
                    self._note_settled(key, message_id)
                    return subscription, number
        return None

    def _is_past(self, key: str | None, message_id: str) -> bool:
        """Whether a message was settled, or went back because its subscription ended."""
        if key is not None:
            return (key, message_id) in self._past
        return any(past == message_id for _, past in self._past)

    def _needs_none(self, key: str | None) -> bool:
        """Whether there is or was such a subscription whose messages need no acknowledgement."""
        there = self._subscriptions.items()
        needless = [k for k, sub in there if not isinstance(sub, AckSubscription)]
        return any(key in (None, each) for each in (*needless, *self._needless))


def _unknown(why: str) -> ProtocolError:
    return ProtocolError(ErrorCode.UNKNOWN_ACK, why)


class AckHandler:
    """Settles deliveries, at once or at COMMIT.

    Args:
        client: whose deliveries they are.
        deliveries: them.
        transactions: of that client.
        receipts: of that client.
        foreign_headers: knows headers that are refused.

    Attributes:
        refilled: who got credit back in this read; see `resume_refilled`.
    """

    def __init__(
        self,
        client: ClientState,
        deliveries: Deliveries,
        transactions: Transactions,
        receipts: Receipts,
        foreign_headers: ForeignHeaders,
    ) -> None:
        self._foreign_headers = foreign_headers
        self._client = client
        self._deliveries = deliveries
        self._transactions = transactions
        self._receipts = receipts
        self.refilled: dict[AckSubscription, None] = {}

    def ack(self, head: Head, body: bytes) -> None:
        """Carry out an ACK, or a run of plain ones.

        Raises:
            ProtocolError: no such delivery was made, or the transaction does not take it.
        """
        self._client.others += 1
        if head is not ACK_RUN:
            self._settle(head.headers, None, head)
            return
        run = acks_of_one(body)
        if run is not None:
            self._accept(run[0], run[1])
            return
        for tag, number in plain_acks(body):
            self._accept(tag, [int(number)])

    def _accept(self, tag: bytes, numbers: list[int]) -> None:
        """Carry out ACKs of one subscription, each as a frame of its own.

        All that is the common case is settled together. Measured with ``benchmarks/run.py``,
        *client-individual*: a tenth less processor time for a message.
        """
        subscription = self._deliveries.tagged(tag)
        accepted = 0 if subscription is None else subscription.accept_run(numbers)
        if subscription is not None and accepted:
            self.refilled[subscription] = None
        for number in numbers[accepted:]:
            if subscription is not None and subscription.accept(number):
                self.refilled[subscription] = None
            else:
                self._settle({"id": f"{tag.decode()}-{number}"}, None, None)

    def nack(self, head: Head, body: bytes) -> None:
        """Carry out a NACK.

        Raises:
            ProtocolError: as for an ACK, or one of its headers does not fit.
        """
        self._client.others += 1
        headers = head.headers
        self._foreign_headers.check("NACK", headers)
        delay = headers.get("delay")
        self._settle(
            headers,
            Rejection(
                requeue=boolean("requeue", headers.get("requeue", "true")),
                delay=None if delay is None else whole_number("delay", delay) / 1000,
                reason=headers.get("reason", ""),
                failed=boolean("delivery-failed", headers.get("delivery-failed", "true")),
                whole_group=_of_group(headers),
            ),
            head,
        )

    def resume_refilled(self) -> None:
        """Let the queues go on, once for all that was settled in one read.

        A queue with one consumer and a full prefetch then moves half as many messages again.
        """
        refilled, self.refilled = self.refilled, {}
        for subscription in refilled:
            subscription.resume()

    def _settle(
        self, headers: Mapping[str, str], rejection: Rejection | None, head: Head | None
    ) -> None:
        """Settle what an ACK or NACK names, now or at COMMIT, and give its receipt."""
        receipt, transaction_id = headers.get("receipt"), headers.get("transaction")
        transaction = None
        if transaction_id is not None:
            transaction = self._transactions.reserve(transaction_id)
        if "id" in headers and self._client.version is Version.V1_2:
            found = self._deliveries.by_ack(headers["id"])
        else:
            found = self._deliveries.by_message(headers)
        if transaction is not None and transaction.span is not None and found is not None:
            _add_queues(transaction.span, *found)
        numbers = [] if found is None else found[0].claim(found[1])
        if found is None or not numbers:
            self._receipts.answer(receipt)
        elif transaction is not None:
            transaction.operations.append(Settlement(found[0], numbers, rejection))
            transaction.touched_at = self._client.received_at
            self._receipts.answer(receipt)
        else:
            done = None
            if receipt is not None:
                done = when_all(len(numbers), self._receipts.when_done(receipt, head))
            elif len(numbers) > AT_ONCE:
                # Later receipts, also that of DISCONNECT, wait until it is done.
                done = when_all(len(numbers), self._receipts.after(nothing_owed, head))
            found[0].settle_in_steps(numbers, rejection, done)


def _of_group(headers: Mapping[str, str]) -> bool:
    """Whether a NACK is about the whole group of a message.

    Raises:
        ProtocolError: it says something else.
    """
    scope = headers.get("scope", "message")
    if scope not in ("message", "group"):
        raise ProtocolError(
            ErrorCode.BAD_HEADER, f"scope must be message or group, not {scope[:40]!r}"
        )
    return scope == "group"


def _add_queues(span: TransactionSpan, subscription: AckSubscription, number: int) -> None:
    """Add to a transaction the queues of what an ACK or NACK settles.

    Raises:
        ProtocolError: one of them may not be in it.
    """
    for queue in by_queue(subscription.queue, subscription.covered(number)):
        span.add_settlement(queue)
