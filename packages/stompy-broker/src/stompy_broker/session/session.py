"""One client's life, from CONNECT to the end (**hot path**: `Session.receive`).

A session reads frames from its `ServerProtocol` and hands each to who carries it out:
`SendHandler`, `AckHandler`, `Subscriptions` and `TransactionHandler`, or a method here. Whatever
breaks a rule raises `ProtocolError`, which ends the session with one ERROR frame (promise 3). There
is one way out, `_end`, whatever the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol import ServerProtocol, State
from stompy.protocol.codec import FrameParser
from stompy.protocol.header_cache import Head
from stompy.protocol.headers import Version
from stompy.protocol.heartbeat import BEAT, HeartBeat
from stompy.protocol.server import supported_versions
from stompy_broker.routing.answers import Done
from stompy_broker.routing.choices import NOBODY
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.security.auth import Credentials, Principal, Verdict
from stompy_broker.security.check_queue import Attempt
from stompy_broker.session.acks import AckHandler
from stompy_broker.session.active_subscribers import IDLE_SECONDS, LATE
from stompy_broker.session.browsers import Browsers
from stompy_broker.session.context import BrokerContext, Peer
from stompy_broker.session.error_answer import error_answer
from stompy_broker.session.greeting import greeting
from stompy_broker.session.holdings import Holdings
from stompy_broker.session.permissions import Permissions
from stompy_broker.session.producer_flow_control import ProducerFlowControl
from stompy_broker.session.question import Question
from stompy_broker.session.receipts import Receipts
from stompy_broker.session.send import SendHandler
from stompy_broker.session.send_meter import SendMeter, renewed
from stompy_broker.session.senders import named, names_of
from stompy_broker.session.subscribe import Subscriptions
from stompy_broker.session.subscription import Subscription
from stompy_broker.session.sys_subscription import SysSubscription
from stompy_broker.session.transaction_handler import TransactionHandler
from stompy_broker.session.transaction_span import span_maker
from stompy_broker.session.transactions import Transactions
from stompy_broker.session.turn_line import TurnLine

log = logging.getLogger("stompy_broker.session")

_PAUSE = 1.0
"""Seconds by which a timer of a broker that runs is never late."""

Handler = Callable[[Head, bytes], bool | None]
"""Carries out a frame; true = no further frame is to be carried out now."""

_STRANGER = Principal("")
"""Who has not logged in."""

_WATCH_SECONDS = 1.0
"""So often somebody who waits to be let in is looked after."""


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
        others: those of the frames that are no messages.
        sender: what it is called as a sender; empty unless somebody declines what it sends.
        permissions: what the client may do; nothing is asked before it has logged in.
    """

    __deletable__ = (  # compiled, nothing else can be
        "_ack_handler",
        "_flow_control",
        "_protocol",
        "_receipts",
        "_send_handler",
        "_subscriptions",
        "_transactions",
    )

    def __init__(self, context: BrokerContext, peer: Peer) -> None:
        settings = context.settings
        self.id = context.new_token()
        self.key = f"c-{context.next_number()}{settings.tail}"
        self.principal: Principal | None = None
        self.client_id: str | None = None
        self.peer, self.sender = peer, NOBODY
        self.connected_at = self.received_at = context.clock.now()
        self.in_frames = self.in_bytes = self.others = 0
        self._context = context
        self._router, self._clock = context.router, context.clock
        self._output = peer.output
        self._protocol = ServerProtocol(
            settings.limits,
            caches=context.caches,
            heart_beat=settings.heart_beat,
            heart_beat_grace=settings.heart_beat_grace,
            best=peer.best_version,
        )
        self._login = ""
        self._attempt: Attempt | None = None
        self._receipts = receipts = Receipts(self._write_receipt, self._fail, self._write_telling)
        self._subscriptions = Subscriptions(context, self, receipts, self._fail)
        self._transactions = Transactions(
            self._router.loans,
            max_open=settings.max_transactions,
            max_frames=settings.max_transaction_frames,
            max_bytes=settings.max_transaction_bytes,
            new_span=span_maker(self._router),
        )
        self._ack_handler = AckHandler(
            self,
            self._subscriptions.deliveries,
            self._transactions,
            receipts,
            context.foreign_headers,
        )
        self._flow_control = ProducerFlowControl(self._clock.machine, peer, self._blocked)
        self._send_handler = SendHandler(
            self,
            context,
            self._flow_control,
            self._subscriptions,
            self._transactions,
            receipts,
        )
        self._ended = self._disconnecting = False
        self._progress = self._router.groups.progress
        self._question: Question | None = None
        self._unread: list[tuple[Head, bytes]] = []  # frames that wait for its answer
        self._meter: SendMeter | None = None  # None = its user has no quota
        self._timer = self._clock.upkeep.timer(self._time_passed)
        self._login_due = peer.since + settings.login_timeout
        self._timer.set(self._login_due)
        self.permissions: Permissions = Permissions(
            context.access, _STRANGER, self._router.registry.has_queue
        )
        transactions = TransactionHandler(context, self, self._transactions, receipts)
        self._handlers: dict[str, Handler] = {
            "SEND": self._send_handler.send,
            "ACK": self._ack_handler.ack,
            "NACK": self._ack_handler.nack,
            "SUBSCRIBE": self._subscriptions.subscribe,
            "UNSUBSCRIBE": self._subscriptions.unsubscribe,
            "BEGIN": transactions.begin,
            "COMMIT": transactions.commit,
            "ABORT": transactions.abort,
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
    def silence(self) -> float:
        """Seconds since something was received."""
        return self._clock.now() - self.received_at

    @property
    def is_silent(self) -> bool:
        """Whether the client should have been heard by now."""
        beat = self._protocol.heart_beat
        if beat is None or beat.suspended:
            return False
        return self.silence > (beat.receive * LATE or IDLE_SECONDS)

    def probe(self) -> None:
        """Have the network find out whether the client is there."""
        self.peer.probe()
        self._output.put(BEAT)

    @property
    def before_connect(self) -> bool:
        """Whether there was no CONNECT yet."""
        return self._protocol.state is State.START

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of this session."""
        return self._ended

    @property
    def parser(self) -> FrameParser:
        """The parser of what arrives."""
        return self._protocol.parser

    def receive(self, data: bytes) -> None:
        """Work through bytes that arrived: read frames, and carry each out."""
        self._router.note_time()
        protocol, progress = self._protocol, self._progress
        gathered = progress.gathered
        now = self.received_at = self._router.current_time.now = self._clock.now()
        frames = protocol.receive_data(data, now)
        self.in_bytes += len(data)
        self.in_frames += len(frames)
        question = self._question
        if question is not None:
            # Frames are carried out in order, so these wait for the answer as well.
            self._unread += frames
            return
        if self._unread:
            frames, self._unread = self._unread + frames, []
        handlers, remaining = self._handlers, iter(frames)
        for head, body in remaining:
            try:
                if handlers[head.command](head, body) or self._ended:
                    if self._question is not None:
                        self._unread = [*self._question.again, *remaining]
                    return
            except ProtocolError as error:
                self._fail(error, head)
                return
        # Once for all that was settled in this read: full prefetches are refilled in one go.
        if self._ack_handler.refilled:
            self._ack_handler.resume_refilled()
        if protocol.failure is not None:
            self._fail(protocol.failure)
        # What came in this read becomes safe together; who told much waits for that (promise 11).
        if progress.end_of_read(gathered):
            self._flow_control.pause_briefly(progress)

    def when_answered(
        self, head: Head, ask: Callable[[Done], None], act: Callable[[], None]
    ) -> bool:
        """Ask something, and act, before the next frame is carried out.

        Args:
            head: of the frame that it is about, which fails if it is refused.
            ask: asks.
            act: what to do when nothing is against it.

        Returns:
            Whether the next frame has to wait, because the answer comes later.

        Raises:
            ProtocolError: it cannot even be asked.
        """
        question = Question()

        def answer(error: ProtocolError | None = None, /) -> None:
            question.answered = True
            if self._ended:
                return
            if error is None:
                try:
                    act()
                except ProtocolError as refusal:
                    error = refusal
            if error is not None:
                self._fail(error, head)
            else:
                self._proceed(question)

        ask(answer)
        if question.answered:
            return self._ended
        self._question = question
        self._flow_control.pause_briefly(question)
        return True

    def postpone(self, head: Head, body: bytes, line: TurnLine) -> bool:
        """Carry out a frame later, when it is the client's turn, and none before.

        Args:
            head: of the frame.
            body: of it.
            line: where the client waits.
        """
        self._question = question = Question([(head, body)])
        self._flow_control.pause_for_turn(question)
        line.wait(self, partial(self._proceed, question))
        return True

    def _proceed(self, question: Question) -> None:
        """Go on with the frames that waited for an answer, unless they wait for another one."""
        if self._question is question and not self._ended:
            self._question = None
            question.go_on()
            self.receive(b"")

    def wait_no_more(self) -> None:
        """Read what a client has sent that has left, and make it wait for nothing more."""
        self._flow_control.wait_no_more()

    def wait_for_quota(self, mark: Watermark) -> None:
        """Read no more from the client while its user has used up something."""
        consumes = bool(self._subscriptions)
        self._flow_control.pause_for(mark, consumes=consumes, reason="quota")

    def refused(self, error: ProtocolError) -> None:
        """End with an ERROR frame: a SEND without receipt was refused."""
        self._fail(error, command="SEND")

    def writable(self) -> None:
        """Have subscriptions go on: the output buffer has room again."""
        self._subscriptions.resume()

    def closed(self) -> None:
        """End the session: the connection is gone."""
        if self._protocol.state is not State.CLOSED:
            self._protocol.receive_eof()
        self._disconnecting = False
        self._end("the connection was lost", lost=True)

    def release(self) -> None:
        """Break the circles that its parts make, so that its memory is free at once.

        Nothing is asked of it any more. Left to the garbage collector, which seldom looks at what
        is old, tens of thousands of sessions would wait for it.
        """
        self._disconnecting = False
        self._receipts.forget()
        self._handlers.clear()
        self._timer.end()
        self._flow_control.close()
        del self._send_handler, self._ack_handler, self._flow_control, self._receipts
        del self._subscriptions, self._transactions, self._protocol

    def refuse(self, error: ProtocolError) -> None:
        """End the session with an ERROR frame, for a reason that is not the client's frame."""
        self._fail(error)

    def stop_deliveries(self) -> None:
        """Leave in its queue what was not delivered yet."""
        self._subscriptions.stop()

    @property
    def subscriptions(self) -> Mapping[str, Subscription]:
        """The subscriptions to queues and topics, by the client's ids."""
        return self._subscriptions.by_key

    @property
    def delivered(self) -> int:
        """Messages written for subscriptions that have ended."""
        return self._subscriptions.delivered

    @property
    def browsers(self) -> Browsers:
        """What it only looks at."""
        return self._subscriptions.browsers

    @property
    def sys_subscriptions(self) -> Collection[SysSubscription]:
        """The subscriptions to ``$SYS`` topics."""
        return self._subscriptions.sys_client.subscriptions

    @property
    def transactions(self) -> Transactions:
        """The transactions that are open."""
        return self._transactions

    @property
    def in_msgs(self) -> int:
        """How many SENDs were received. The other frames are counted, because they are fewer."""
        return self.in_frames - self.others

    @property
    def version(self) -> Version:
        """The protocol version, which CONNECT settles."""
        version = self._protocol.version
        assert version is not None
        return version

    @property
    def held_by(self) -> str:
        """Why it has to wait before it may send more: ``room``, ``quota``; empty = it need not."""
        if self._flow_control.is_paused:
            return self._flow_control.reason or "room"
        return "quota" if self._meter is not None and self._meter.is_throttled else ""

    def end_subscription(self, subscription: Subscription) -> bool:
        """End one of its subscriptions, as an operator wants; say whether it was there.

        The client is not told: STOMP has no frame for that.
        """
        return self._subscriptions.cancel(subscription)

    def abort_transaction(self, transaction_id: str) -> None:
        """Abort one of its transactions, as an operator wants.

        What the client still sends for it is an error.

        Raises:
            ProtocolError: there is none of that id.
        """
        self._transactions.close(transaction_id).abort()
        self._transactions.release()

    @property
    def has_unsettled(self) -> bool:
        """Whether the client has deliveries to settle."""
        return self._subscriptions.deliveries.outstanding

    @property
    def holdings(self) -> Holdings:
        """What the client has of us. Not for the hot path."""
        return Holdings(
            self.peer.address,
            self.principal.name if self.principal else "",
            tuple(subscription.held for subscription in self.subscriptions.values()),
            tuple(self._transactions),
        )

    # -- connecting -------------------------------------------------------------------------

    def _connect(self, head: Head, body: bytes) -> bool:
        self.others += 1
        headers = head.headers
        self.client_id = headers.get("client-id") or None
        login, passcode, peer = headers.get("login"), headers.get("passcode"), self.peer
        self._login = login or ""
        credentials = Credentials(login, passcode, peer.host, peer.certificate)
        # The time for CONNECT is over for the client; what follows takes as long as it takes.
        self._timer.cancel()
        attempt = self._context.logins.authenticate(
            credentials, self._login_decided, lambda: peer.has_left
        )
        if self.principal is None and not self._ended:
            # The answer comes later; until then nothing more is to be read.
            self._attempt = attempt
            self.peer.pause()
            self._timer.set(self._clock.now() + _WATCH_SECONDS)
        return True

    def _login_decided(self, verdict: Verdict) -> None:
        """Let the client in, or refuse it, as the verdict says."""
        self._attempt = None
        if self._ended:
            return
        self.peer.resume()
        if isinstance(verdict, Principal):
            self._logged_in(verdict)
            return
        if verdict.error_code is ErrorCode.AUTHENTICATION_FAILED:
            self._context.observer.login_refused(self, self._login, verdict.Message)
        self._fail(verdict)

    def renew_permissions(self, principal: Principal) -> None:
        """Go by the rules as they are now, and by a role that may be another one.

        Args:
            principal: who it is.
        """
        self.principal = principal
        access, handler = self._context.access, self._send_handler
        self.permissions = Permissions(access, principal, self._router.registry.has_queue)
        send: Handler = handler.send if access.is_open else handler.send_if_allowed
        if self.sender:
            send = named(send, self._router.topics, self.sender)
        self._handlers["SEND"] = send
        self._meter = meter = renewed(self._meter, self._context, self, self._handlers)
        self._subscriptions.pace = None if meter is None else meter.pace

    def name_sender(self) -> None:
        """Say from now on who it is, whenever it sends."""
        self.sender = names_of(self)
        if self.principal is not None:
            self.renew_permissions(self.principal)

    def _logged_in(self, principal: Principal) -> None:
        try:
            self._context.quotas.check_login(principal)
            self._context.logins.enter(principal)
        except ProtocolError as error:
            self._fail(error)
            return
        principal = replace(principal, client_id=self.client_id)
        self.renew_permissions(principal)
        self._context.senders.enter(self)
        self._context.observer.logged_in(self)
        answer = greeting(self.id, principal, self.peer, self._context)
        self._output.put(self._protocol.accept(answer, self._clock.now()))
        self.peer.raise_read_limits()
        self._timer.set(self._protocol.next_deadline())
        self.receive(b"")

    def _time_passed(self) -> None:
        protocol = self._protocol
        now = self._clock.now()
        if protocol.state is State.OPEN:
            self._excuse_own_delay(now)
            beat = protocol.tick(now)
            if protocol.failure is not None:
                self._fail(protocol.failure)
                return
            if beat:
                self._output.put(beat)
            self._timer.set(protocol.next_deadline())
        elif self._attempt is not None:
            # Nothing is read while a login is checked, so nobody else notices that it has left.
            if self.peer.has_left:
                self.closed()
                self.peer.close()
            else:
                self._timer.set(self._clock.now() + _WATCH_SECONDS)
        elif now > self._login_due + _PAUSE:
            # The broker stood still, not the client: it gets its time again.
            self._login_due = now + self._context.settings.login_timeout
            self._timer.set(self._login_due)
        elif protocol.state in (State.START, State.CONNECTING):
            self._fail(
                ProtocolError(
                    ErrorCode.LOGIN_TIMEOUT,
                    f"no complete CONNECT within {self._context.settings.login_timeout:g} s",
                )
            )

    def _excuse_own_delay(self, now: float) -> None:
        """Take no client for dead whose beats were not read, because we stood still."""
        beat = self._protocol.heart_beat
        dead = beat is not None and beat.peer_is_dead(now)
        if beat is not None and dead and (self.peer.has_input or beat.overslept(now)):
            beat.received(now)

    def _blocked(self, blocked: bool, tell: bool) -> None:
        """Suspend the heart-beat of a client that has to wait, or go on with it, and tell."""
        if tell:
            self._context.observer.blocked(self, blocked, self._flow_control.reason)
        beat = self._protocol.heart_beat
        if beat is not None and blocked:
            beat.suspended = True
        elif beat is not None:
            beat.resume(self._clock.now())
            self._timer.set(self._protocol.next_deadline())

    # -- receipts and the end ---------------------------------------------------------------

    def _write_receipt(self, receipt: str) -> None:
        self._output.put(self._protocol.receipt(receipt))

    def _write_telling(self, receipt: str, told: Mapping[str, str]) -> None:
        self._output.put(self._protocol.receipt_telling(receipt, told))

    def _disconnect(self, head: Head, body: bytes) -> bool:
        self.others += 1
        receipt = head.headers.get("receipt")
        self._protocol.stop_reading()

        def leave() -> None:
            self._disconnecting = False
            if receipt is not None:
                self._write_receipt(receipt)
            self.peer.close()

        # The receipts owed come first.
        self._end("it disconnected", lost=False, forget=False)
        self._disconnecting = True
        if self._router.groups.trouble:
            # Nobody is kept for as long as the disk is full, but for receipts that are owed.
            self._receipts.now(leave)
        else:
            # What was sent without receipt is safe by then as well.
            self._router.groups.sync(self._receipts.after(leave))
        return True

    def _fail(self, error: ProtocolError, head: Head | None = None, command: str = "") -> None:
        """Tell the client what it did, and close (promise 3).

        Args:
            error: what is wrong.
            head: of the frame that it is about; None = of none.
            command: of that frame, if there is no more to say about it.
        """
        # What was sent before DISCONNECT may still be refused: then there is no receipt for that.
        if self._ended and not self._disconnecting:
            return
        self._disconnecting = False
        self._receipts.forget()
        asked = error.frame_headers if head is None else head.headers
        answer = error_answer(error, head, command)
        if error.error_code is ErrorCode.UNSUPPORTED_VERSION:
            answer["version"] = supported_versions(self.peer.best_version)
        if error.error_code is ErrorCode.SHUTTING_DOWN and self._protocol.version is not None:
            # Without a version there is no way to write a colon.
            answer |= self._context.peer_headers(self.peer.listener)
        user = f" (login {self._login[:60]!r})" if self._login and self.principal is None else ""
        log.warning("%s: %s: %s%s", self.peer.address, error.code, error.Message, user)
        if error.error_code is ErrorCode.ACCESS_REFUSED and self.principal is not None:
            self._context.observer.access_refused(self, asked.get("destination", ""), error.Message)
        self._output.put(self._protocol.error(answer, error.Message + "\n"))
        # That the broker stops says nothing about what the client was doing.
        lost = error.error_code is not ErrorCode.SHUTTING_DOWN
        self._end(f"{error.code}: {error.Message}", lost=lost)
        self.peer.close(error.error_code)

    def _end(self, why: str, *, lost: bool, forget: bool = True) -> None:
        """Give back everything. The one way out, for every reason; harmless when repeated.

        Args:
            why: for who watches.
            lost: whether the client may have been lost over a message that it had.
            forget: whether the receipts that are owed are of no use any more.
        """
        if self._ended:
            return
        self._ended = True
        self._subscriptions.sys_client.close()
        if self.principal is not None:
            self._context.logins.leave(self.principal)
            self._context.senders.leave(self)
        if self._meter is not None:
            self._meter.end()
            self._meter = None
        self._timer.cancel()
        if self._attempt is not None:
            self._context.logins.give_up(self._attempt)
            self._attempt = None
        self._flow_control.close()
        if forget:
            self._receipts.forget()
        self._transactions.abort_all()
        self._subscriptions.close(lost=lost)
        if self.principal is not None:
            self._context.observer.left(self, why)

    def __repr__(self) -> str:
        """Who, where from, and how much is going on."""
        user = self.principal.name if self.principal else "not logged in"
        return (
            f"<Session {self.peer.address} {user} {self._protocol.state.name} "
            f"subscriptions:{len(self._subscriptions)} transactions:{len(self._transactions)}>"
        )
