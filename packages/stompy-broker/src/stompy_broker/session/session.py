"""One client's life, from CONNECT to the end: a method for each command (**hot path**: `_send`).

A session reads frames from its `ServerProtocol`, checks what they ask for, and calls router,
queues and transactions. Whatever breaks a rule raises `ProtocolError`, which ends the session
with one ERROR frame (design, promise 3). There is one way out, `_end`, whatever the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from stompy.admin.snapshot import VERSION
from stompy.errors import ErrorCode, ProtocolError
from stompy.frame import AckMode
from stompy.headers import Version
from stompy.heads import ACK_RUN, Head, plain_acks
from stompy.heartbeat import HeartBeat
from stompy.protocol import ServerProtocol, State
from stompy.protocol.server import supported_versions
from stompy_broker.auth import Credentials, Principal, Role
from stompy_broker.destination import (
    RESERVED,
    Destination,
    Kind,
    check_subscribable,
    parse_destination,
)
from stompy_broker.message import MessageHead
from stompy_broker.routing.queue import Queue, Rejection
from stompy_broker.session.console import Console
from stompy_broker.session.deliveries import Deliveries
from stompy_broker.session.headers import (
    ack_mode,
    boolean,
    check_understood,
    prefetch,
    whole_number,
)
from stompy_broker.session.hold import Hold
from stompy_broker.session.holdings import Holdings
from stompy_broker.session.lobby import Lobby, Peer
from stompy_broker.session.permit import Permit
from stompy_broker.session.receipts import Receipts, when_all
from stompy_broker.session.send import SendPlan
from stompy_broker.session.sources import durable_to_delete, source_of
from stompy_broker.session.subscription import AckSubscription, Subscription
from stompy_broker.session.temporary import TemporaryQueues
from stompy_broker.session.transactions import Publication, Settlement, Transactions
from stompy_broker.store.base import Done

log = logging.getLogger("stompy_broker.session")

_TEMPORARY = Kind.TEMPORARY.value


Verb = Callable[[Head, bytes], bool | None]


class Session:
    """One connected client.

    Attributes:
        id: the ``session`` header of CONNECTED.
        key: what it is called in the broker's reports; never used again.
        principal: who logged in; None before that.
        client_id: header ``client-id`` of CONNECT.
        peer: the connection.
        connected_at: since when, on the clock.
        received_at: when something was received last, on the clock.
        in_frames: frames received; a run of ACKs counts once.
        in_bytes: bytes received.
        delivered: messages written for subscriptions that have ended.
    """

    def __init__(self, lobby: Lobby, peer: Peer) -> None:
        settings = lobby.settings
        self.id = lobby.new_token()
        self.key = f"c-{lobby.next_number()}"
        self.principal: Principal | None = None
        self.client_id: str | None = None
        self.peer = peer
        self.connected_at = self.received_at = lobby.clock.now()
        self.in_frames = self.in_bytes = self.delivered = 0
        self._others = 0  # frames that are no messages
        self._lobby = lobby
        self._router = lobby.router
        self._clock = lobby.clock
        self._outlet = peer.outlet
        self._protocol = ServerProtocol(
            settings.limits,
            caches=lobby.caches,
            heart_beat=settings.heart_beat,
            heart_beat_grace=settings.heart_beat_grace,
        )
        self._receipts = Receipts()
        self._subscriptions: dict[str, Subscription] = {}
        self.console = Console(lobby, self, peer.outlet)
        self._login = ""
        self._cancelled: set[str] = set()  # subscriptions that an operator has ended
        self._deliveries = Deliveries(self._subscriptions)
        # Who got credit back in this read. Their queues go on once for all of it: a queue with
        # one consumer and a full prefetch then moves half as many messages again.
        self._refilled: dict[AckSubscription, None] = {}
        self._temporary = TemporaryQueues(lobby)
        self._transactions = Transactions(
            self._router.pressure,
            max_open=settings.max_transactions,
            max_frames=settings.max_transaction_frames,
            max_bytes=settings.max_transaction_bytes,
        )
        self._hold = Hold(self._clock, peer, self._blocked)
        self._ended = False
        self._alarm = self._clock.alarm(self._time_passed)
        self._alarm.set(peer.since + settings.login_timeout)
        self._permit: Permit
        self._verbs: dict[str, Verb] = {
            "SEND": self._send,
            "ACK": self._ack,
            "NACK": self._nack,
            "SUBSCRIBE": self._counted(self._subscribe),
            "UNSUBSCRIBE": self._counted(self._unsubscribe),
            "BEGIN": self._counted(self._begin),
            "COMMIT": self._counted(self._commit),
            "ABORT": self._counted(self._abort),
            "DISCONNECT": self._counted(self._disconnect),
            "CONNECT": self._counted(self._connect),
            "STOMP": self._counted(self._connect),
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
        now = self.received_at = self._clock.now()
        frames = protocol.receive_data(data, now)
        self.in_bytes += len(data)
        self.in_frames += len(frames)
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
        self.console.resume()

    def closed(self) -> None:
        """The connection is gone."""
        if self._protocol.state is not State.CLOSED:
            self._protocol.receive_eof()
        self._end("the connection was lost")

    def refuse(self, error: ProtocolError) -> None:
        """End the session with an ERROR frame, for a reason that is not the client's frame."""
        self._fail(error)

    def stop_deliveries(self) -> None:
        """What was not delivered yet stays in its queue."""
        for subscription in self._subscriptions.values():
            subscription.stop()

    @property
    def subscriptions(self) -> Mapping[str, Subscription]:
        """The subscriptions to queues and topics, by the client's ids."""
        return self._subscriptions

    @property
    def transactions(self) -> Transactions:
        """The transactions that are open."""
        return self._transactions

    @property
    def in_msgs(self) -> int:
        """SENDs received. The others are counted, because they are fewer."""
        return self.in_frames - self._others

    def _counted(self, verb: Verb) -> Verb:
        def carry_out(head: Head, body: bytes) -> bool | None:
            self._others += 1
            return verb(head, body)

        return carry_out

    @property
    def version(self) -> Version | None:
        """The protocol version, once it is settled."""
        return self._protocol.version

    @property
    def held(self) -> bool:
        """Whether the client has to wait before it may send more."""
        return self._hold.holds

    def end_subscription(self, subscription: Subscription) -> bool:
        """End one of its subscriptions, as an operator wants; say whether it was there.

        The client is not told: STOMP has no frame for that.
        """
        for key, candidate in list(self._subscriptions.items()):
            if candidate is subscription:
                self._end_subscription(key)
                self._cancelled.add(key)
                return True
        return False

    def abort_transaction(self, transaction_id: str) -> None:
        """Abort one of its transactions, as an operator wants.

        What the client still sends for it is an error.

        Raises:
            ProtocolError: there is none of that id.
        """
        self._transactions.take(transaction_id).abort()
        self._transactions.release()

    @property
    def owes(self) -> bool:
        """Whether the client has deliveries to settle."""
        return self._deliveries.outstanding

    @property
    def holdings(self) -> Holdings:
        """What the client has of us. Not for the hot path."""
        return Holdings(
            self.peer.address,
            self.principal.name if self.principal else "",
            tuple(subscription.held for subscription in self._subscriptions.values()),
            tuple(self._transactions),
        )

    # -- connecting -------------------------------------------------------------------------

    def _connect(self, head: Head, body: bytes) -> bool:
        headers = head.headers
        self.client_id = headers.get("client-id") or None
        self._login = headers.get("login", "")
        credentials = Credentials(
            headers.get("login"),
            headers.get("passcode"),
            self.peer.host,
            self.peer.certificate,
        )
        self._lobby.logins.authenticate(credentials, self._logged_in)
        if self.principal is None and not self._ended:
            # The answer comes later; until then nothing more is to be read.
            self.peer.pause()
        return True

    def _logged_in(self, principal: Principal | None) -> None:
        if self._ended:
            return
        self.peer.resume()
        if principal is None:
            self._lobby.desk.turned_away(self, self._login)
            self._fail(ProtocolError(ErrorCode.AUTHENTICATION_FAILED, "login or passcode is wrong"))
            return
        if self._lobby.draining and not principal.role.includes(Role.OPERATOR):
            self._fail(ProtocolError(ErrorCode.SHUTTING_DOWN, "the broker takes no new clients"))
            return
        try:
            self._lobby.logins.enter(principal)
        except ProtocolError as error:
            self._fail(error)
            return
        self.principal = principal = replace(principal, client_id=self.client_id)
        access = self._lobby.access
        self._permit = Permit(access, principal, self._router.queues.__contains__)
        if not access.is_open:
            self._verbs["SEND"] = self._send_if_allowed
        self._lobby.desk.arrived(self)
        answer = {
            "session": self.id,
            "user-name": principal.name,
            "admin-role": principal.role.value,
            "admin-version": str(VERSION),
        }
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

    def _send_if_allowed(self, head: Head, body: bytes) -> None:
        """A SEND where not everybody may do everything."""
        destination = head.headers["destination"]
        if destination not in self._permit.cleared:
            self._permit.send(destination)
        self._send(head, body)

    def _send(self, head: Head, body: bytes) -> None:
        plan = head.note
        if plan is None:
            # The pattern of a head with a receipt is the same without it.
            pattern = head.pattern or head
            plan = head.note = pattern.note = SendPlan(pattern, self._version)
        if plan.simple:  # type: ignore[attr-defined]  # only this class writes notes
            done = None if head.receipt is None else self._receipt_when_done(head.receipt)
            pressure = self._router.publish(plan.destination, plan.head, body, done)  # type: ignore[attr-defined]
            if pressure is not None:
                self._hold.begin(pressure, consumes=bool(self._subscriptions))
        else:
            self._send_special(plan, head, body)  # type: ignore[arg-type]

    def _send_special(self, plan: SendPlan, head: Head, body: bytes) -> None:
        """A SEND with a receipt, a transaction, a temporary queue, or arguments for its queue."""
        headers, message_head, destination = head.headers, plan.head, plan.destination
        if plan.commands:
            self._command(headers, body)
            return
        receipt = headers.get("receipt") or head.receipt
        transaction_id = headers.get("transaction")
        reply_to = headers.get("reply-to", "")
        if reply_to.startswith(_TEMPORARY):
            queue = self._reply_queue(reply_to.removeprefix(_TEMPORARY))
            address = f"{Kind.REPLY.value}{queue.name}"
            message_head = MessageHead.from_headers(headers | {"reply-to": address})
        if destination.kind is Kind.TEMPORARY:
            # Checked now, because COMMIT must not fail.
            self._temporary.check_room(destination.name)
        if plan.sets_up:
            self._permit.create(destination, must=True)
            self._router.queue(destination.name, headers)
        if transaction_id is not None:
            transaction = self._transactions.room(
                transaction_id, len(body) + len(message_head.block)
            )
            transaction.operations.append(
                Publication(
                    lambda done: self._publish(destination, message_head, body, done, admit=False),
                    lambda: self._router.admit(destination, message_head),
                    str(destination),
                    len(body) + len(message_head.block),
                )
            )
            transaction.touched_at = self.received_at
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
            self._router.publish_to(self._temporary.own(destination.name), head, body, done)
            return
        pressure = self._router.publish(destination, head, body, done, admit=admit)
        if pressure is not None:
            self._hold.begin(pressure, consumes=bool(self._subscriptions))

    def _command(self, headers: Mapping[str, str], body: bytes) -> None:
        self._others += 1
        reply_to, replies = headers.get("reply-to", ""), None
        if reply_to.startswith(_TEMPORARY):
            replies = self._reply_queue(reply_to.removeprefix(_TEMPORARY))
        self._receipt_now(headers.get("receipt"))
        self.console.command(headers, body, replies)

    def _blocked(self, blocked: bool) -> None:
        """The client has to wait before it may send more, or may go on."""
        self._lobby.desk.blocked(self, blocked)
        beat = self._protocol.heart_beat
        if beat is not None and blocked:
            beat.suspended = True
        elif beat is not None:
            beat.resume(self._clock.now())
            self._alarm.set(self._protocol.next_deadline())

    # -- subscribing ------------------------------------------------------------------------

    def _subscribe(self, head: Head, body: bytes) -> None:
        headers = head.headers
        destination = parse_destination(headers["destination"])
        subscription_id = headers.get("id")
        # A 1.0 client may leave the id out; UNSUBSCRIBE then names the destination.
        key = subscription_id if subscription_id is not None else headers["destination"]
        if key in self._subscriptions or key in self.console:
            self._give_way(key)
        if destination.kind is Kind.TOPIC and destination.name.startswith(RESERVED):
            self.console.observe(key, destination, headers, self._version)
            self._receipt_now(headers.get("receipt"))
            return
        check_subscribable(destination)
        check_understood(headers)
        if len(self._subscriptions) >= self._lobby.settings.max_subscriptions:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"{len(self._subscriptions)} subscriptions on one connection are the limit",
            )
        mode = ack_mode(headers)
        settings = self._lobby.settings
        usual = settings.prefetch_individual
        size = prefetch(headers, settings.prefetch_client if mode is AckMode.CLIENT else usual)
        self._permit.receive(destination, headers)
        queue = self._source(destination, headers)
        subscription = self._new_subscription(subscription_id, queue, mode, size)
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
        if key in self.console or not key.startswith(_TEMPORARY):
            raise ProtocolError(
                ErrorCode.DUPLICATE_SUBSCRIPTION, f"subscription {key!r} exists already"
            )
        self._end_subscription(key)

    def _new_subscription(
        self, subscription_id: str | None, queue: Queue, mode: AckMode, prefetch: int
    ) -> Subscription:
        subscription: Subscription
        version = self._version
        if mode is AckMode.AUTO:
            subscription = Subscription(subscription_id, queue, self._outlet, version, self._fail)
        else:
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
        subscription.number = self._lobby.next_number()
        subscription.created_at = self._clock.now()
        self._lobby.desk.subscribed(self, subscription)
        return subscription

    def _source(self, destination: Destination, headers: Mapping[str, str]) -> Queue:
        if destination.kind is not Kind.TEMPORARY:
            return source_of(
                self._router, destination, headers, self.client_id, self._check_durable
            )
        # The client's own subscription takes the place of the automatic one.
        automatic = self._subscriptions.get(str(destination))
        if automatic is not None and automatic.id == str(destination):
            self._end_subscription(str(destination))
        return self._temporary.own(destination.name)

    def _unsubscribe(self, head: Head, body: bytes) -> None:
        headers = head.headers
        key = headers.get("id") or headers["destination"]
        durable = durable_to_delete(
            self._router, self._subscriptions.get(key), headers, self.client_id
        )
        if key in self._subscriptions:
            self._end_subscription(key)
        elif key in self.console:
            self.console.end(key)
        elif key in self._cancelled:
            self._cancelled.discard(key)
        elif durable is None:
            raise ProtocolError(
                ErrorCode.UNKNOWN_SUBSCRIPTION, f"there is no subscription {key[:60]!r}"
            )
        if durable is not None:
            self._check_durable(durable)
            self._router.delete_durable(durable)
        receipt = headers.get("receipt")
        if durable is None:
            self._receipt_now(receipt)
        elif receipt is not None:
            self._router.store.sync(self._receipt_when_done(receipt))

    def _check_durable(self, name: str) -> None:
        """Whose topic somebody may not receive, that one's backlog is not theirs to end.

        Raises:
            ProtocolError: the client may not receive the topic of a durable subscription.
        """
        known = self._router.durable.get(name)
        if known is not None:
            self._permit.receive(Destination(Kind.TOPIC, known.pattern, is_pattern=True), {})

    def _end_subscription(self, key: str) -> None:
        subscription = self._subscriptions.pop(key)
        self._lobby.desk.unsubscribed(self, subscription)
        self.delivered += subscription.delivered
        subscription.end()
        if isinstance(subscription, AckSubscription):
            self._deliveries.remove(subscription)
        if subscription.queue.private:
            self._router.unsubscribe_topic(subscription.queue)

    def _reply_queue(self, name: str) -> Queue:
        """The queue of a ``reply-to``. A client that has not subscribed to it is subscribed.

        RabbitMQ's clients expect that: auto acknowledgement, the destination as id. ActiveMQ's
        subscribe first, and then have their own subscription.
        """
        destination = f"{_TEMPORARY}{name}"
        queue = self._temporary.own(name)
        if not any(sub.queue is queue for sub in self._subscriptions.values()):
            subscription = self._new_subscription(destination, queue, AckMode.AUTO, 0)
            self._subscriptions[destination] = subscription
            subscription.attach()
        return queue

    # -- settling ---------------------------------------------------------------------------

    def _ack(self, head: Head, body: bytes) -> None:
        self._others += 1
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
        self._others += 1
        headers = head.headers
        delay = headers.get("delay")
        self._settle(
            headers,
            Rejection(
                requeue=boolean("requeue", headers.get("requeue", "true")),
                delay=None if delay is None else whole_number("delay", delay) / 1000,
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
            transaction.touched_at = self.received_at
            self._receipt_now(receipt)
        else:
            done = None
            if receipt is not None:
                done = when_all(len(numbers), self._receipt_when_done(receipt))
            found[0].settle(numbers, rejection, done)

    # -- transactions -----------------------------------------------------------------------

    def _begin(self, head: Head, body: bytes) -> None:
        number = self._lobby.next_number()
        self._transactions.begin(head.headers["transaction"], self._clock.now(), number)
        self._lobby.desk.transacted(self, "begun", head.headers["transaction"])
        self._receipt_now(head.headers.get("receipt"))

    def _commit(self, head: Head, body: bytes) -> None:
        headers = head.headers
        # Refused, it is still open, and what it claimed is given back with the connection.
        self._transactions.find(headers["transaction"]).admit()
        transaction = self._transactions.take(headers["transaction"])
        receipt = headers.get("receipt")
        self._lobby.desk.transacted(self, "committed", headers["transaction"])
        transaction.commit(_nothing if receipt is None else self._receipt_when_done(receipt))
        self._transactions.release()

    def _abort(self, head: Head, body: bytes) -> None:
        self._transactions.take(head.headers["transaction"]).abort()
        self._transactions.release()
        self._lobby.desk.transacted(self, "aborted", head.headers["transaction"])
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
            self.peer.close()

        # The receipts owed come first, so they are not forgotten here as they are in `_end`.
        receipts, self._receipts = self._receipts, Receipts()
        self._end("it disconnected")
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
        log.warning("%s: %s: %s", self.peer.address, error.code, error.Message)
        self._outlet.put(self._protocol.error(answer, error.Message + "\n"))
        self._end(f"{error.code}: {error.Message}")
        self.peer.close(error.error_code)

    def _end(self, why: str) -> None:
        """Give back everything. The one way out, for every reason; harmless when repeated."""
        if self._ended:
            return
        self._ended = True
        self.console.close()
        if self.principal is not None:
            self._lobby.logins.leave(self.principal)
        self._alarm.cancel()
        self._hold.end()
        self._receipts.forget()
        self._transactions.abort_all()
        # None of them is to be given what another one leaves behind.
        self.stop_deliveries()
        for key in list(self._subscriptions):
            self._end_subscription(key)
        self._temporary.close()
        if self.principal is not None:
            self._lobby.desk.left(self, why)

    @property
    def _version(self) -> Version:
        version = self._protocol.version
        assert version is not None
        return version

    def __repr__(self) -> str:
        """Who, where from, and how much is going on."""
        user = self.principal.name if self.principal else "not logged in"
        return (
            f"<Session {self.peer.address} {user} {self._protocol.state.name} "
            f"subscriptions:{len(self._subscriptions)} transactions:{len(self._transactions)}>"
        )


def _nothing() -> None:
    """What is to be done when nobody asked for a receipt."""
