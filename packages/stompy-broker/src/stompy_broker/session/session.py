"""One client's life, from CONNECT to the end: a method for each command (**hot path**: `_send`).

A session reads frames from its `ServerProtocol`, checks what they ask for, and calls router,
queues and transactions. Whatever breaks a rule raises `ProtocolError`, which ends the session
with one ERROR frame (design, promise 3). There is one way out, `_end`, whatever the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from stompy.codec import ACK_RUN, Head, plain_acks
from stompy.errors import ErrorCode, ProtocolError
from stompy.frame import AckMode
from stompy.headers import Version
from stompy.heartbeat import HeartBeat
from stompy.protocol import ServerProtocol, State
from stompy.protocol.server import supported_versions
from stompy_broker.auth import Principal
from stompy_broker.destination import (
    Destination,
    Kind,
    check_subscribable,
    parse_destination,
)
from stompy_broker.message import MessageHead
from stompy_broker.routing.durable import NAME_HEADERS, durable_name, durable_subscription
from stompy_broker.routing.pressure import Pressure
from stompy_broker.routing.queue import Queue, Rejection
from stompy_broker.session.deliveries import Deliveries
from stompy_broker.session.holdings import Holdings
from stompy_broker.session.lobby import Lobby, Peer
from stompy_broker.session.receipts import Receipts, when_all
from stompy_broker.session.send import SendPlan
from stompy_broker.session.subscription import AckSubscription, Subscription
from stompy_broker.session.transactions import Publication, Settlement, Transactions
from stompy_broker.store.base import Done

log = logging.getLogger("stompy_broker.session")

_PREFETCH_HEADERS = ("prefetch-count", "activemq.prefetchSize", "prefetch")
_TEMPORARY = Kind.TEMPORARY.value
_LONGEST_NUMBER = 12
_WATCH_SECONDS = 1.0


class Session:
    """One connected client.

    Attributes:
        id: the ``session`` header of CONNECTED.
        principal: who logged in; None before that.
    """

    def __init__(self, lobby: Lobby, peer: Peer) -> None:
        settings = lobby.settings
        self.id = lobby.new_token()
        self.principal: Principal | None = None
        self._lobby = lobby
        self._router = lobby.router
        self._clock = lobby.clock
        self._peer = peer
        self._outlet = peer.outlet
        self._protocol = ServerProtocol(
            settings.limits,
            caches=lobby.caches,
            heart_beat=settings.heart_beat,
            heart_beat_grace=settings.heart_beat_grace,
        )
        self._receipts = Receipts()
        self._subscriptions: dict[str, Subscription] = {}
        self._deliveries = Deliveries(self._subscriptions)
        # Who got credit back in this read. Their queues go on once for all of it: a queue with
        # one consumer and a full prefetch then moves half as many messages again.
        self._refilled: dict[AckSubscription, None] = {}
        self._temporary: dict[str, Queue] = {}
        self._transactions = Transactions(
            max_open=settings.max_transactions,
            max_frames=settings.max_transaction_frames,
            max_bytes=settings.max_transaction_bytes,
        )
        self._held_by: Pressure | None = None
        self._client_id: str | None = None
        self._leaving = False
        self._ended = False
        self._watch = self._clock.alarm(self._see_if_left)
        self._alarm = self._clock.alarm(self._time_passed)
        self._alarm.set(self._clock.now() + settings.login_timeout)
        self._verbs: Mapping[str, Callable[[Head, bytes], bool | None]] = {
            "SEND": self._send,
            "ACK": self._ack,
            "NACK": self._nack,
            "SUBSCRIBE": self._subscribe,
            "UNSUBSCRIBE": self._unsubscribe,
            "BEGIN": self._begin,
            "COMMIT": self._commit,
            "ABORT": self._abort,
            "DISCONNECT": self._disconnect,
            "CONNECT": self._connect,
            "STOMP": self._connect,
        }

    # -- what the connection tells ----------------------------------------------------------

    @property
    def heart_beat(self) -> HeartBeat | None:
        """The connection's heart-beat, once it is open."""
        return self._protocol.heart_beat

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of this session."""
        return self._ended

    def receive(self, data: bytes) -> None:
        """Bytes arrived."""
        self._router.note_time()
        protocol = self._protocol
        frames = protocol.receive_data(data, self._clock.now())
        verbs = self._verbs
        for head, body in frames:
            try:
                if verbs[head.command](head, body) or self._ended:
                    return
            except ProtocolError as error:
                self._fail(error, head)
                return
        if self._refilled:
            refilled, self._refilled = self._refilled, {}
            for subscription in refilled:
                subscription.resume()
        if protocol.failure is not None:
            self._fail(protocol.failure)
        self._router.store.heard()

    def writable(self) -> None:
        """The outlet has room again."""
        for subscription in list(self._subscriptions.values()):
            subscription.resume()

    def closed(self) -> None:
        """The connection is gone."""
        if self._protocol.state is not State.CLOSED:
            self._protocol.receive_eof()
        self._end()

    def refuse(self, error: ProtocolError) -> None:
        """End the session with an ERROR frame, for a reason that is not the client's frame."""
        self._fail(error)

    def stop_deliveries(self) -> None:
        """What was not delivered yet stays in its queue."""
        for subscription in self._subscriptions.values():
            subscription.stop()

    @property
    def owes(self) -> bool:
        """Whether the client has deliveries to settle."""
        return self._deliveries.outstanding

    @property
    def holdings(self) -> Holdings:
        """What the client has of us. Not for the hot path."""
        return Holdings(
            self._peer.address,
            self.principal.name if self.principal else "",
            tuple(subscription.held for subscription in self._subscriptions.values()),
            tuple(self._transactions),
        )

    # -- connecting -------------------------------------------------------------------------

    def _connect(self, head: Head, body: bytes) -> bool:
        headers = head.headers
        self._client_id = headers.get("client-id") or None
        self._lobby.authenticator.authenticate(
            headers.get("login"), headers.get("passcode"), self._logged_in
        )
        if self.principal is None and not self._ended:
            # The answer comes later; until then nothing more is to be read.
            self._peer.pause()
        return True

    def _logged_in(self, principal: Principal | None) -> None:
        if self._ended:
            return
        self._peer.resume()
        if principal is None:
            self._fail(ProtocolError(ErrorCode.AUTHENTICATION_FAILED, "login or passcode is wrong"))
            return
        self.principal = principal
        answer = {"session": self.id, "user-name": principal.name}
        if self._lobby.settings.server:
            answer["server"] = self._lobby.settings.server
        # CONNECTED has no escapes, so a name that would need one is not echoed.
        if not principal.name.isprintable():
            del answer["user-name"]
        self._outlet.put(self._protocol.accept(answer, self._clock.now()))
        self._alarm.set(self._protocol.next_deadline())
        self.receive(b"")

    def _time_passed(self) -> None:
        protocol = self._protocol
        if protocol.state is State.OPEN:
            beat = protocol.tick(self._clock.now())
            if protocol.failure is not None:
                self._fail(protocol.failure)
                return
            if beat:
                self._outlet.put(beat)
            self._alarm.set(protocol.next_deadline())
        elif protocol.state in (State.START, State.CONNECTING):
            self._fail(
                ProtocolError(
                    ErrorCode.LOGIN_TIMEOUT,
                    f"no complete CONNECT within {self._lobby.settings.login_timeout:g} s",
                )
            )

    # -- sending ----------------------------------------------------------------------------

    def _send(self, head: Head, body: bytes) -> None:
        plan = head.note
        if plan is None:
            plan = head.note = SendPlan(head, self._version)
            if head.pattern is not None:
                head.pattern.note = plan
        if plan.simple:  # type: ignore[attr-defined]  # only this class writes notes
            done = None if head.receipt is None else self._receipt_when_done(head.receipt)
            pressure = self._router.publish(plan.destination, plan.head, body, done)  # type: ignore[attr-defined]
            if pressure is not None:
                self._hold(pressure)
        else:
            self._send_special(plan, head, body)  # type: ignore[arg-type]

    def _send_special(self, plan: SendPlan, head: Head, body: bytes) -> None:
        """A SEND with a receipt, a transaction, a temporary queue, or arguments for its queue."""
        headers, message_head, destination = head.headers, plan.head, plan.destination
        receipt = headers.get("receipt") or head.receipt
        transaction_id = headers.get("transaction")
        reply_to = headers.get("reply-to", "")
        if reply_to.startswith(_TEMPORARY):
            queue = self._reply_queue(reply_to.removeprefix(_TEMPORARY))
            address = f"{Kind.REPLY.value}{queue.name}"
            message_head = MessageHead.from_headers(headers | {"reply-to": address})
        if destination.kind is Kind.TEMPORARY:
            # Checked now, because COMMIT must not fail.
            self._check_room(self._own_queue(destination.name))
        if plan.sets_up:
            self._router.queue(destination.name, headers)
        if transaction_id is not None:
            transaction = self._transactions.room(
                transaction_id, len(body) + len(message_head.block)
            )
            transaction.operations.append(
                Publication(
                    lambda done: self._publish(destination, message_head, body, done, admit=False),
                    lambda: self._router.admit(destination, message_head),
                )
            )
            self._receipt_now(receipt)
        else:
            done = None if receipt is None else self._receipt_when_done(receipt)
            self._publish(destination, message_head, body, done)

    def _publish(
        self,
        destination: Destination,
        head: MessageHead,
        body: bytes,
        done: Done | None,
        *,
        admit: bool = True,
    ) -> None:
        if destination.kind is Kind.TEMPORARY:
            if self._ended:
                # In the middle of its COMMIT, which cut off a slow subscriber: itself.
                self._router.store.sync(done or _nothing)
                return
            self._router.publish_to(self._own_queue(destination.name), head, body, done)
            return
        pressure = self._router.publish(destination, head, body, done, admit=admit)
        if pressure is not None:
            self._hold(pressure)

    def _hold(self, pressure: Pressure) -> None:
        """Read no more from this client until there is room (design, promise 11)."""
        if (
            self._held_by is not None
            or self._leaving
            or not pressure.stops(consumes=bool(self._subscriptions))
        ):
            return
        self._held_by = pressure
        pressure.wait(self._go_on)
        self._watch.set(self._clock.now() + _WATCH_SECONDS)
        self._peer.pause()
        if self._protocol.heart_beat is not None:
            self._protocol.heart_beat.suspended = True
        log.info("%s: waits for room before it may send more", self._peer.address)

    def _see_if_left(self) -> None:
        """A client that has gone may hold what keeps the broker full, so read on to its end."""
        if self._held_by is None or self._ended:
            return
        if self._peer.has_left:
            self._held_by.forget(self._go_on)
            self._leaving = True
            self._go_on()
        else:
            self._watch.set(self._clock.now() + _WATCH_SECONDS)

    def _go_on(self) -> None:
        self._held_by = None
        if self._ended:
            return
        if self._protocol.heart_beat is not None:
            self._protocol.heart_beat.resume(self._clock.now())
            self._alarm.set(self._protocol.next_deadline())
        self._peer.resume()
        log.info("%s: may send again", self._peer.address)

    # -- subscribing ------------------------------------------------------------------------

    def _subscribe(self, head: Head, body: bytes) -> None:
        headers = head.headers
        destination = parse_destination(headers["destination"])
        check_subscribable(destination)
        _check_understood(headers)
        subscription_id = headers.get("id")
        # A 1.0 client may leave the id out; UNSUBSCRIBE then names the destination.
        key = subscription_id if subscription_id is not None else headers["destination"]
        if key in self._subscriptions:
            self._give_way(key)
        if len(self._subscriptions) >= self._lobby.settings.max_subscriptions:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"{len(self._subscriptions)} subscriptions on one connection are the limit",
            )
        mode = self._ack_mode(headers)
        prefetch = self._prefetch(headers, mode)
        queue = self._source(destination, headers)
        subscription = self._new_subscription(subscription_id, queue, mode, prefetch)
        self._subscriptions[key] = subscription
        receipt = headers.get("receipt")

        def begin() -> None:
            # The receipt comes before the first message.
            if receipt is not None:
                self._outlet.put(self._protocol.receipt(receipt))
            subscription.attach()

        if receipt is None:
            subscription.attach()
        elif queue.durable:
            # It has to be on disk first.
            self._router.store.sync(self._receipts.after(begin))
        else:
            # Waits for no disk, so that consumers help while that is full.
            self._receipts.now(begin)

    def _give_way(self, key: str) -> None:
        """An id in use is an error, except that of a reply queue subscribed for the client."""
        if not key.startswith(_TEMPORARY):
            raise ProtocolError(
                ErrorCode.DUPLICATE_SUBSCRIPTION, f"subscription {key!r} exists already"
            )
        self._end_subscription(key)

    def _new_subscription(
        self, subscription_id: str | None, queue: Queue, mode: AckMode, prefetch: int
    ) -> Subscription:
        version = self._version
        if mode is AckMode.AUTO:
            return Subscription(subscription_id, queue, self._outlet, version, self._fail)
        subscription = AckSubscription(
            subscription_id,
            queue,
            self._outlet,
            version,
            self._fail,
            tag=self._deliveries.next_tag(),
            mode=mode,
            prefetch=prefetch,
        )
        self._deliveries.add(subscription)
        self._outlet.hasten()
        return subscription

    def _source(self, destination: Destination, headers: Mapping[str, str]) -> Queue:
        if destination.kind is Kind.QUEUE:
            if any(name in headers for name in NAME_HEADERS):
                raise ProtocolError(
                    ErrorCode.BAD_HEADER, "a durable subscription is for topics; queues are durable"
                )
            return self._router.queue(destination.name, headers)
        if destination.kind is Kind.TOPIC:
            expires = _number("x-expires", headers.get("x-expires", "0")) / 1000
            durable = durable_subscription(headers, destination, self._client_id, expires)
            if durable is not None:
                return self._router.subscribe_durably(durable)
            return self._router.subscribe_topic(destination.name)
        # The client's own subscription takes the place of the automatic one.
        automatic = self._subscriptions.get(str(destination))
        if automatic is not None and automatic.id == str(destination):
            self._end_subscription(str(destination))
        return self._own_queue(destination.name)

    def _ack_mode(self, headers: Mapping[str, str]) -> AckMode:
        value = headers.get("ack", "auto")
        try:
            return AckMode(value)
        except ValueError:
            modes = ", ".join(AckMode)
            raise ProtocolError(
                ErrorCode.BAD_HEADER, f"ack must be one of {modes}, not {value[:40]!r}"
            ) from None

    def _prefetch(self, headers: Mapping[str, str], mode: AckMode) -> int:
        name = next((name for name in _PREFETCH_HEADERS if name in headers), None)
        if name is None:
            settings = self._lobby.settings
            if mode is AckMode.CLIENT:
                return settings.prefetch_client
            return settings.prefetch_individual
        return _number(name, headers[name])

    def _unsubscribe(self, head: Head, body: bytes) -> None:
        headers = head.headers
        key = headers.get("id") or headers["destination"]
        durable = self._durable_to_delete(headers, key)
        if key in self._subscriptions:
            self._end_subscription(key)
        elif durable is None:
            raise ProtocolError(
                ErrorCode.UNKNOWN_SUBSCRIPTION, f"there is no subscription {key[:60]!r}"
            )
        if durable is not None:
            self._router.delete_durable(durable)
        receipt = headers.get("receipt")
        if durable is None:
            self._receipt_now(receipt)
        elif receipt is not None:
            self._router.store.sync(self._receipt_when_done(receipt))

    def _durable_to_delete(self, headers: Mapping[str, str], key: str) -> str | None:
        """The durable subscription that an UNSUBSCRIBE ends for good; None if it only leaves.

        In RabbitMQ's dialect the frame repeats ``durable`` and ``auto-delete`` but perhaps not
        the destination, which is then that of the subscription.
        """
        subscription = self._subscriptions.get(key)
        if subscription is not None and "destination" not in headers:
            bound = self._router.durable_of(subscription.queue)
            if bound is not None:
                headers = {**headers, "destination": f"{Kind.TOPIC.value}{bound.pattern}"}
        if "destination" not in headers:
            headers = {**headers, "destination": ""}
        named = durable_name(headers, self._client_id)
        return None if named is None else named[0]

    def _end_subscription(self, key: str) -> None:
        subscription = self._subscriptions.pop(key)
        subscription.end()
        if isinstance(subscription, AckSubscription):
            self._deliveries.remove(subscription)
        if subscription.queue.private:
            self._router.unsubscribe_topic(subscription.queue)

    # -- temporary queues -------------------------------------------------------------------

    def _own_queue(self, name: str) -> Queue:
        """This connection's temporary queue of that name, made if need be.

        Raises:
            ProtocolError: it has as many as it may have subscriptions.
        """
        queue = self._temporary.get(name)
        if queue is None:
            if len(self._temporary) >= self._lobby.settings.max_subscriptions:
                raise ProtocolError(
                    ErrorCode.LIMIT_EXCEEDED,
                    f"{len(self._temporary)} temporary queues on one connection are the limit",
                )
            queue = self._router.temporary_queue(f"{_TEMPORARY}{name}", self._lobby.new_token())
            self._temporary[name] = queue
        return queue

    def _check_room(self, own: Queue) -> None:
        """Refuse to fill the broker with what only the sender could take out again.

        Held until there is room, it could never do that, and all other producers would wait too.

        Raises:
            ProtocolError: the broker is full, and this temporary queue is part of the reason.
        """
        if self._router.pressure.full and own.bytes:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"the broker is full, and {own.bytes} bytes wait in {own.destination!r}",
            )

    def _reply_queue(self, name: str) -> Queue:
        """The queue of a ``reply-to``. A client that has not subscribed to it is subscribed.

        RabbitMQ's clients expect that: auto acknowledgement, the destination as id. ActiveMQ's
        subscribe first, and then have their own subscription.
        """
        destination = f"{_TEMPORARY}{name}"
        queue = self._own_queue(name)
        if not any(sub.queue is queue for sub in self._subscriptions.values()):
            subscription = self._new_subscription(destination, queue, AckMode.AUTO, 0)
            self._subscriptions[destination] = subscription
            subscription.attach()
        return queue

    # -- settling ---------------------------------------------------------------------------

    def _ack(self, head: Head, body: bytes) -> None:
        if head is not ACK_RUN:
            self._settle(head.headers, None)
            return
        accept, refilled = self._deliveries.accept, self._refilled
        for tag, number in plain_acks(body):
            subscription = accept(tag, number)
            if subscription is None:
                self._settle({"id": f"{tag.decode()}-{number.decode()}"}, None)
            else:
                refilled[subscription] = None

    def _nack(self, head: Head, body: bytes) -> None:
        headers = head.headers
        delay = headers.get("delay")
        self._settle(
            headers,
            Rejection(
                requeue=_boolean("requeue", headers.get("requeue", "true")),
                delay=None if delay is None else _number("delay", delay) / 1000,
                reason=headers.get("reason", ""),
            ),
        )

    def _settle(self, headers: Mapping[str, str], rejection: Rejection | None) -> None:
        """ACK or NACK with whatever comes with it: a receipt, a transaction."""
        receipt, transaction_id = headers.get("receipt"), headers.get("transaction")
        transaction = None
        if transaction_id is not None:
            transaction = self._transactions.room(transaction_id)
        if "id" in headers and self._version is Version.V1_2:
            found = self._deliveries.by_ack(headers["id"])
        else:
            found = self._deliveries.by_message(headers)
        numbers = [] if found is None else found[0].claim(found[1])
        if found is None or not numbers:
            self._receipt_now(receipt)
        elif transaction is not None:
            transaction.operations.append(Settlement(found[0], numbers, rejection))
            self._receipt_now(receipt)
        else:
            done = None
            if receipt is not None:
                done = when_all(len(numbers), self._receipt_when_done(receipt))
            found[0].settle(numbers, rejection, done)

    # -- transactions -----------------------------------------------------------------------

    def _begin(self, head: Head, body: bytes) -> None:
        self._transactions.begin(head.headers["transaction"], self._clock.now())
        self._receipt_now(head.headers.get("receipt"))

    def _commit(self, head: Head, body: bytes) -> None:
        headers = head.headers
        # Refused, it is still open, and what it claimed is given back with the connection.
        self._transactions.find(headers["transaction"]).admit()
        transaction = self._transactions.take(headers["transaction"])
        receipt = headers.get("receipt")
        transaction.commit(_nothing if receipt is None else self._receipt_when_done(receipt))

    def _abort(self, head: Head, body: bytes) -> None:
        self._transactions.take(head.headers["transaction"]).abort()
        self._receipt_now(head.headers.get("receipt"))

    # -- receipts and the end ---------------------------------------------------------------

    def _receipt_when_done(self, receipt: str) -> Done:
        return self._receipts.after(lambda: self._outlet.put(self._protocol.receipt(receipt)))

    def _receipt_now(self, receipt: str | None) -> None:
        if receipt is not None:
            self._receipts.now(lambda: self._outlet.put(self._protocol.receipt(receipt)))

    def _disconnect(self, head: Head, body: bytes) -> bool:
        receipt = head.headers.get("receipt")
        self._protocol.stop_reading()

        def leave() -> None:
            if receipt is not None:
                self._outlet.put(self._protocol.receipt(receipt))
            self._peer.close()

        # The receipts owed come first, so they are not forgotten here as they are in `_end`.
        receipts, self._receipts = self._receipts, Receipts()
        self._end()
        if self._router.store.trouble:
            # Nobody is kept for as long as the disk is full, but for receipts that are owed.
            receipts.now(leave)
        else:
            # What was sent without receipt is safe by then as well.
            self._router.store.sync(receipts.after(leave))
        return True

    def _fail(self, error: ProtocolError, head: Head | None = None) -> None:
        """Tell the client what it did, and close (design, promise 3)."""
        if self._ended:
            return
        asked = error.frame_headers if head is None else head.headers
        answer = {
            "message": error.code.replace("-", " ").capitalize(),
            "error-code": error.code,
        }
        receipt = asked.get("receipt") or (head and head.receipt)
        if receipt and error.error_code is not ErrorCode.SHUTTING_DOWN:
            answer["receipt-id"] = receipt
        if head is not None:
            answer["failed-command"] = head.command
        if error.error_code is ErrorCode.UNSUPPORTED_VERSION:
            answer["version"] = supported_versions()
        log.warning("%s: %s: %s", self._peer.address, error.code, error.Message)
        self._outlet.put(self._protocol.error(answer, error.Message + "\n"))
        self._end()
        self._peer.close()

    def _end(self) -> None:
        """Give back everything. The one way out, for every reason; harmless when repeated."""
        if self._ended:
            return
        self._ended = True
        self._alarm.cancel()
        self._watch.cancel()
        self._receipts.forget()
        if self._held_by is not None:
            self._held_by.forget(self._go_on)
        self._transactions.abort_all()
        # None of them is to be given what another one leaves behind.
        self.stop_deliveries()
        for key in list(self._subscriptions):
            self._end_subscription(key)
        for queue in self._temporary.values():
            self._router.close_temporary_queue(queue)
        self._temporary.clear()

    @property
    def _version(self) -> Version:
        version = self._protocol.version
        assert version is not None
        return version

    def __repr__(self) -> str:
        """Who, where from, and how much is going on."""
        user = self.principal.name if self.principal else "not logged in"
        return (
            f"<Session {self._peer.address} {user} {self._protocol.state.name} "
            f"subscriptions:{len(self._subscriptions)} transactions:{len(self._transactions)}>"
        )


def _check_understood(headers: Mapping[str, str]) -> None:
    """Refuse what would give the client other messages than it asked for."""
    browses = headers.get("browser", "false").lower() not in _FALSE
    if headers.get("selector") or browses:
        name = "browser" if browses else "selector"
        raise ProtocolError(
            ErrorCode.BAD_HEADER, f"this broker does not have the {name!r} of a subscription"
        )


def _nothing() -> None:
    """What is to be done when nobody asked for a receipt."""


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > _LONGEST_NUMBER:
        raise ProtocolError(
            ErrorCode.BAD_HEADER, f"{name} must be a whole number, not {value[:40]!r}"
        )
    return int(value)


_TRUE = frozenset(("true", "1", "yes"))
_FALSE = frozenset(("false", "0", "no"))


def _boolean(name: str, value: str) -> bool:
    word = value.lower()
    if word not in _TRUE and word not in _FALSE:
        raise ProtocolError(
            ErrorCode.BAD_HEADER, f"{name} must be true or false, not {value[:40]!r}"
        )
    return word in _TRUE
