"""The blocking client: `STOMPClient`, `STOMPTransaction` and `connect` of the STOMPyMQ manual.

What holds at all times:

* Every method may be called from any thread, also from inside a callback of `STOMPClient.loop`.
  One thread may receive while others send.
* No callback and no handler runs on the I/O thread, so a slow one does not stop the heart-beats.
* Every wait is bounded, except those that the caller wants unbounded: receiving without a time-out.
* What belongs to one connection stays with it. Where a lost one is made again, its messages are
  stale, its transactions lost, and its unanswered frames have an unknown outcome, unless they are
  sent again.
* Without ``transaction``, a message of a subscription with ``send_acks`` is acknowledged when
  `recv` or the iterator hands it out, and in `loop` after the callback returned; if the callback
  raised, it is refused with NACK. With ``transaction`` the ACK belongs to the transaction and
  goes out first.
* Frames that came before the end of a connection are still handed out, except after our own
  `disconnect`, and except those that would have to be acknowledged: the broker has them back.
"""

from __future__ import annotations

import itertools
import ssl
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Any, Self, Unpack

from stompy.errors import STOMPConnectionError, STOMPError, STOMPException, STOMPTimeout
from stompy.protocol.frame import AckWord, STOMPFrame
from stompy.protocol.headers import ALL_VERSIONS, Version
from stompy.protocol.heartbeat import DEFAULT_HEART_BEAT
from stompy.protocol.limits import DEFAULT_LIMITS, Limits
from stompy.session import arguments, send_options
from stompy.session.address import AddressLike
from stompy.session.arguments import NOTHING, json_body, takes_the_arguments_of
from stompy.session.browse_options import BrowseOptions, BrowseState
from stompy.session.callbacks import check_done, check_hook
from stompy.session.client_info import ClientInfo
from stompy.session.clock import Clock
from stompy.session.commands import HeaderValue, merged, message_headers
from stompy.session.connect_headers import ConnectHeaders
from stompy.session.failover import read_addresses
from stompy.session.reconnect import Reconnect
from stompy.session.send_options import SendValue, SendWords, with_send_options
from stompy.session.session import SessionSettings
from stompy.session.signatures import LooksLike, MessageCall, SendCall, UnsubscribeCall
from stompy.session.state import ConnectionState, StateChange
from stompy.session.subscribe_options import (
    SubscribeWords,
    read_options,
    with_subscribe_options,
)
from stompy.session.timeouts import until
from stompy.session.wanted import WantedSubscription, to_browse
from stompy.sync.browsing import Browsing
from stompy.sync.confirmation import Confirmation
from stompy.sync.connector import dial
from stompy.sync.ending import close, disconnect
from stompy.sync.message import Message
from stompy.sync.receiving import (
    accepted,
    checked_callback,
    loop,
    messages,
    next_connection,
    reading_connection,
    reported,
)
from stompy.sync.requests import Requests
from stompy.sync.sending import (
    cancel_schedule,
    confirmed,
    post,
    send,
    send_many,
    settle,
    transmit,
    wait_for_receipt,
)
from stompy.sync.session import Session
from stompy.sync.subscribing import SubscriptionId, hold, subscribe, unsubscribe
from stompy.sync.subscription import Subscription
from stompy.sync.transaction import STOMPTransaction
from stompy.transport.settings import ConnectionSettings
from stompy.transport.tls import TLS

__all__ = ["STOMPClient", "STOMPTransaction", "connect"]


class STOMPClient(ClientInfo[Session]):
    """A client of a STOMP broker.

    Use it in a ``with`` statement to be sure that it disconnects.
    """

    _shown_as = "STOMPClient"

    def __init__(self) -> None:
        self._session: Session | None = None
        self._numbers = itertools.count(1)
        self._requests: Requests | None = None
        self._finalizer: weakref.finalize[[], STOMPClient] | None = None

    # -- the connection ----------------------------------------------------------------------

    def connect(  # noqa: PLR0913 -- the manual's arguments and one for each side of a connection
        self,
        /,
        addr_list: AddressLike | Sequence[AddressLike],
        login: str | None = None,
        passcode: str | None = None,
        headers: Mapping[str, HeaderValue] = {},
        *,
        timeout: float = 10.0,
        host: str | None = None,
        versions: Sequence[Version | str] = ALL_VERSIONS,
        heart_beat: tuple[int, int] = DEFAULT_HEART_BEAT,
        heart_beat_grace: float = 2.0,
        limits: Limits = DEFAULT_LIMITS,
        send_timeout: float = 60.0,
        tls: ssl.SSLContext | TLS | None = None,
        reconnect: bool | Reconnect = False,
        on_state: Callable[[StateChange], object] | None = None,
        content_length: bool = True,
        on_send: Callable[[STOMPFrame], object] | None = None,
        clock: Clock | None = None,
        **kv_headers: HeaderValue,
    ) -> STOMPFrame:
        """Connect to the first broker of a list that answers.

        Args:
            addr_list: a tuple ``(host, port)``, a URL ``stomp://login:passcode@host:port/vhost``,
                or a list of them, tried in order. ``stomps://``, ``ws://`` and ``wss://`` are
                TLS, WebSocket, and the one over the other.
            login: login id; one in the URL counts when this is None.
            passcode: pass code; likewise.
            headers: more headers for CONNECT.
            timeout: seconds for each address, over look-up, TCP, TLS, WebSocket and the broker's
                answer.
            host: the virtual host; default: the path of the URL, or else ``/``.
            versions: the STOMP versions to offer.
            heart_beat: milliseconds between our beats, and between those that we want.
            heart_beat_grace: after how many intervals of silence the broker counts as dead.
            limits: how large a received frame may be; by default what the broker tells, with
                room for what it adds.
            send_timeout: seconds that sending may wait when the broker takes nothing, or while
                the connection is made again.
            tls: how to use TLS: a `stompy.TLS` or an SSL context. A tuple then means TLS. Without
                it the system's authorities are trusted.
            reconnect: whether a connection that was lost is made again, and how. A ``failover:``
                address brings a `Reconnect` of its own, which one given here overrules.
            on_state: called with each `StateChange`, from a thread that does nothing else but
                connect again. What it raises is logged and counted.
            content_length: whether messages say how long their bodies are. ActiveMQ and Artemis
                make text messages of those that do not.
            on_send: called with each SEND before it is written, by who sends it; it may change the
                frame's headers. What it raises comes out of the sending call, and nothing is sent.
            clock: the time that heart-beats and pauses before it connects again go by, in tests:
                that of a broker whose time is moved. By default the system's.
            kv_headers: more headers for CONNECT.

        Returns:
            The CONNECTED frame.

        Raises:
            STOMPCertificateError: TLS failed because of a certificate; the text says what to do.
            STOMPConnectionError: no broker answered; the text says what happened at each address.
            STOMPError: the broker refused, or this client is connected already.
            ValueError: an address, a version, a header or options for TLS that cannot be.
            ImportError: a WebSocket is wanted, and the extra ``stompy-core[ws]`` is not installed.
        """
        if self.is_connected or self.state is ConnectionState.RECONNECTING:
            raise STOMPError(f"this client is connected already, to {self.broker_address}")
        check_hook(on_state, "on_state", "it runs on a thread, where nothing is awaited")
        arguments.CONNECT.check(kv_headers)
        arguments.check_times(heart_beat, timeout=timeout, send_timeout=send_timeout)
        check_hook(on_send, "on_send", "its caller awaits nothing")
        settings = ConnectionSettings(
            timeout=timeout,
            send_timeout=send_timeout,
            versions=arguments.versions_of(versions),
            heart_beat=heart_beat,
            heart_beat_grace=heart_beat_grace,
            limits=limits,
            tls=tls,
            content_length=content_length,
            on_send=on_send,
            clock=clock,
        )
        watched = on_state is not None
        addresses, policy = read_addresses(addr_list, reconnect, secure=tls is not None)
        connect_headers = ConnectHeaders(login, passcode, host, merged(headers, kv_headers))
        session = Session(
            SessionSettings(
                addresses, policy, send_timeout, connect_headers.client_id, watched, clock
            ),
            lambda round: dial(round, connect_headers.to, settings),
            on_state,
            self._numbers,
        )
        return self._open(session)

    def _open(self, session: Session) -> STOMPFrame:
        before, self._session = self._session, session
        try:
            connection = session.open()
        except STOMPException as error:
            self._session = before
            # Its text says it all; the way down to the socket is of no use to who reads it.
            raise error.with_traceback(None) from error.__cause__
        except BaseException:
            self._session = before
            raise
        if self._finalizer is not None:
            self._finalizer()  # of the connection before, which has ended
        self._requests = Requests(session)
        # A client that was forgotten takes its threads and its socket with it.
        self._finalizer = weakref.finalize(self, session.stop)
        self._finalizer.atexit = False
        return connection.connected

    def disconnect(self, *, timeout: float = 5.0) -> None:
        """Send DISCONNECT, wait for its receipt, and close the connection.

        The receipt says that the broker has taken everything that was sent before. What is sent
        again until it is confirmed is waited for, if need be over another connection. Harmless when
        repeated, from several threads, and when there is no connection. What was not received
        until now never will be.

        Args:
            timeout: seconds to wait for the receipt, and for such confirmations before it.

        Raises:
            OutcomeUnknown: not all of that was confirmed; the text says how much, and where to.
            STOMPError: the broker answered with ERROR: it refused something sent before, and
                neither `recv` nor `loop` has told so yet.
        """
        disconnect(self._session, timeout)

    def close(self) -> None:
        """Send DISCONNECT and close the connection, without waiting for a receipt."""
        close(self._session)

    @property
    def state(self) -> ConnectionState:
        """Where the client stands."""
        session = self._session
        return ConnectionState.DISCONNECTED if session is None else session.state

    def wait_connected(self, timeout: float | None = 10.0) -> None:
        """Wait until frames can be sent; all subscriptions are back then.

        Args:
            timeout: seconds.

        Raises:
            STOMPConnectionError: there is no connection, and nobody makes one.
            STOMPError: the broker refused, and nobody tries again.
            STOMPTimeout: there was none in time.
        """
        self._last_session().wait_ready(timeout, patient=True)

    def retry_now(self) -> None:
        """Wait no longer for the next round of attempts to connect, if one is waited for."""
        session = self._session
        if session is not None:
            session.retry_now()

    # -- sending -----------------------------------------------------------------------------

    @LooksLike[SendCall[None, str, str | None]]()
    def send(
        self,
        command: str,
        headers: Mapping[str, HeaderValue] = {},
        body: bytes | str = b"",
        transaction: str | None = None,
        receipt: bool | str = False,
        *,
        confirm: bool = False,
        timeout: float | None = 10.0,
        **kv_headers: HeaderValue,
    ) -> str | None:
        """Send a frame of any command.

        Args:
            command: frame command.
            headers: frame headers.
            body: frame body; text is encoded as UTF-8.
            transaction: id of the transaction that the frame belongs to.
            receipt: a receipt id to ask for, or True for a new one.
            confirm: whether to wait until the broker has confirmed the frame.
            timeout: seconds to wait for that.
            kv_headers: more headers.

        Returns:
            The receipt id if a receipt was asked for, otherwise None.

        Raises:
            OutcomeUnknown: with ``confirm``: the connection ended before the broker answered, and
                the frame is not sent again over the next one.
            STOMPConnectionError: there is no connection; the text says why.
            STOMPError: with ``confirm``: the broker rejected the frame.
            STOMPTimeout: the broker took nothing for too long, and the frame was not sent; or,
                with ``confirm``, it did not answer in time.
            ValueError: a header that the version in use cannot carry.
        """
        arguments.check_command(command)
        if kv_headers:
            arguments.SEND.check(kv_headers)
        given = merged(headers, kv_headers)
        session = self._session or self._last_session()
        if confirm:
            return confirmed(session, command, given, body, transaction, receipt, timeout)
        return send(session, command, given, body, transaction, receipt)

    @LooksLike[MessageCall[None, str, str | None]]()
    @with_send_options
    def message(  # noqa: PLR0913 -- the manual's arguments and one for JSON
        self,
        destination: str,
        body: bytes | str = b"",
        id: str | None = None,
        headers: Mapping[str, HeaderValue] = {},
        receipt: bool | str = False,
        transaction: str | None = None,
        *,
        confirm: bool = False,
        timeout: float | None = 10.0,
        json: object = NOTHING,
        **kv_headers: SendValue,
    ) -> str | None:
        """Send a message.

        >>> client.message("/queue/orders", "1 spoon", confirm=True)  # doctest: +SKIP
        >>> client.message("/queue/orders", json={"item": "spoon"})  # doctest: +SKIP

        Args:
            destination: where to.
            body: message body; text is encoded as UTF-8.
            id: becomes the ``message-id`` header, or what the broker has in its place.
            headers: more headers.
            receipt: a receipt id to ask for, or True for a new one.
            transaction: id of the transaction that the message belongs to.
            confirm: whether to wait until the broker has confirmed the message.
            timeout: seconds to wait for that.
            json: instead of a body, what to send as JSON, with the content type that says so.
            delay: how long the broker keeps it before it is delivered: seconds, or a timedelta.
            at: when it is delivered: a datetime with a time zone; at once if that has passed.
            cron: when it is delivered, again and again: ``"0 9 * * mon-fri"``, or ``"@hourly"``.
            zone: the time zone of ``cron``, as ``"Europe/Berlin"``; by default the broker's.
            every: how long after a delivery the next one follows: seconds, or a timedelta.
            times: how many deliveries there are; None for no end.
            schedule_id: its name as a schedule. A later message with it to the same destination
                takes its place; `cancel_schedule` ends it.
            group: all messages with the same one are delivered in order, and one consumer at a time
                is at work on them.
            close_group: whether it is the last of its group, which then picks a consumer anew.
            dedup: whether the broker drops it if it had it before, by an id that the client makes,
                or by this one of your own. With ``reconnect`` it is then sent again after a loss,
                until it is confirmed. None, the default, is what `Reconnect.resend` says.
            retain: whether the topic keeps it for who subscribes later; an empty body has it forget
                what it kept.
            filter_value: by which readers of a stream choose messages.
            kv_headers: more headers, as in ``priority=5``. One that looks like a mistyped
                argument is refused; ``headers`` takes any.

        Returns:
            The receipt id if a receipt was asked for, otherwise None.

        Raises:
            OutcomeUnknown: with ``confirm``: the connection ended before the broker answered, and
                the frame is not sent again over the next one.
            STOMPConnectionError: there is no connection, and nothing was sent; the text says why.
            STOMPError: with ``confirm``: the broker rejected the message.
            STOMPTimeout: the broker took nothing for too long, and the message was not sent; or,
                with ``confirm``, it did not answer in time.
            TypeError: an argument of the wrong kind, or that there is not.
            UnsupportedByBroker: it has no such thing as an argument asks for, and would ignore it.
            ValueError: a header that the version in use cannot carry, or a destination that
                cannot be meant.
        """
        session = self._session or self._last_session()
        if destination.__class__ is not str or destination[:1] != "/":
            arguments.check_destination(destination, body)
        if kv_headers:
            headers = send_options.keyword_headers(arguments.MESSAGE, kv_headers, headers, session)
        if json is not NOTHING:
            body, headers = json_body(json, body, headers)
        given = message_headers(destination, id, headers, {}, session.dialect)
        if confirm:
            return confirmed(session, "SEND", given, body, transaction, receipt, timeout)
        direct = session.direct if transaction is None else None
        if direct is None:
            return send(session, "SEND", given, body, transaction, receipt)
        return transmit(session, direct, "SEND", given, body, transaction, receipt)

    @with_send_options
    def post(
        self,
        destination: str,
        body: bytes | str = b"",
        id: str | None = None,
        headers: Mapping[str, HeaderValue] = {},
        transaction: str | None = None,
        *,
        json: object = NOTHING,
        **options: Unpack[SendWords],
    ) -> Confirmation:
        """Send a message and do not wait for its confirmation yet.

        Args:
            destination: where to.
            body: message body; text is encoded as UTF-8.
            id: becomes the ``message-id`` header, or what the broker has in its place.
            headers: more headers.
            transaction: id of the transaction that the message belongs to.
            json: instead of a body, what to send as JSON, with the content type that says so.
            options: when it is delivered, and in which group; see `message`.

        Returns:
            What will tell the outcome.

        Raises:
            STOMPConnectionError: there is no connection, and nothing was sent; the text says why.
            STOMPTimeout: the broker took nothing for too long; the message was not sent.
            TypeError: an argument of the wrong kind.
            UnsupportedByBroker: this broker confirms what belongs to a transaction at its end, or
                has no such thing as an argument asks for.
            ValueError: a header that the version in use cannot carry, or a destination that
                cannot be meant.
        """
        session = self._session or self._last_session()
        if destination.__class__ is not str or destination[:1] != "/":
            arguments.check_destination(destination, body)
        if json is not NOTHING:
            body, headers = json_body(json, body, headers)
        headers = send_options.option_headers(options, headers, session)
        given = message_headers(destination, id, headers, {}, session.dialect)
        return post(session, "SEND", given, body, transaction)

    @with_send_options
    def send_many(
        self,
        destination: str,
        bodies: Iterable[bytes | str] | None = None,
        window: int = 256,
        headers: Mapping[str, HeaderValue] = {},
        timeout: float | None = 10.0,
        *,
        json: Iterable[object] | None = None,
        **options: Unpack[SendWords],
    ) -> int:
        """Send messages and wait until all of them are confirmed, many at a time.

        >>> client.send_many("/queue/lines", ["a", "b", "c"])  # doctest: +SKIP

        Args:
            destination: where to.
            bodies: the messages' bodies.
            window: how many may be unconfirmed at once.
            headers: headers of each message.
            timeout: seconds to wait for one confirmation.
            json: instead of bodies, values to send as JSON.
            options: when it is delivered, and in which group; see `message`.

        Returns:
            How many were accepted: all.

        Raises:
            OutcomeUnknown: the connection ended, and they are not sent again over the next one; a
                note tells how many were accepted before.
            STOMPConnectionError: there is no connection; likewise.
            STOMPError: the broker rejected one; likewise.
            STOMPTimeout: the broker did not answer in time; likewise.
            TypeError: what is sent is one body, or no body at all.
            UnsupportedByBroker: it has no such thing as an argument asks for, and would ignore it.
            ValueError: a window of nothing.
        """
        session = self._last_session()
        dedup = options.pop("dedup", None)
        headers = send_options.option_headers(options, headers, session)
        return send_many(session, destination, bodies, window, headers, timeout, json, dedup)

    def cancel_schedule(
        self, destination: str, schedule_id: str, *, timeout: float | None = 10.0
    ) -> bool:
        """End a schedule: what it has not sent yet, it never will.

        >>> client.cancel_schedule("/queue/reports", "weekly")  # doctest: +SKIP

        Args:
            destination: where its messages go.
            schedule_id: what ``schedule_id`` was when it was sent.
            timeout: seconds to wait for the broker's answer.

        Returns:
            Whether there was one.

        Raises:
            OutcomeUnknown: the connection ended before the broker answered.
            STOMPConnectionError: there is no connection, and nothing was sent.
            STOMPError: the broker refused.
            STOMPTimeout: it did not answer in time.
            UnsupportedByBroker: it knows no schedules by name.
            ValueError: no name.
        """
        return cancel_schedule(self._last_session(), destination, schedule_id, timeout)

    def flush(self, timeout: float | None = 10.0) -> None:
        """Wait until every confirmation is settled, one way or another.

        What became of each, its `Confirmation` says.

        Args:
            timeout: seconds.

        Raises:
            STOMPTimeout: that did not happen in time.
        """
        if self._session is not None:
            self._session.wait_settled(timeout)

    def ack(self, ack_id: str | STOMPFrame, transaction: str | None = None) -> None:
        """Acknowledge a message.

        Args:
            ack_id: the message, or its ``ack`` header.
            transaction: id of the transaction that the ACK belongs to.

        Raises:
            STOMPConnectionError: there is no connection.
            StaleMessageError: the message came over an earlier connection; nothing was sent.
            ValueError: this names no message that can be acknowledged.
        """
        settle(self._last_session(), "ACK", ack_id, transaction)

    def nack(self, ack_id: str | STOMPFrame, transaction: str | None = None) -> None:
        """Refuse a message.

        Args:
            ack_id: the message, or its ``ack`` header.
            transaction: id of the transaction that the NACK belongs to.

        Raises:
            STOMPConnectionError: there is no connection.
            STOMPError: STOMP 1.0 has no NACK.
            StaleMessageError: the message came over an earlier connection; nothing was sent.
            ValueError: this names no message that can be refused.
        """
        settle(self._last_session(), "NACK", ack_id, transaction)

    def wait_for_receipt(self, receipt_id: str, timeout: float | None = 10.0) -> STOMPFrame:
        """Wait for the RECEIPT of something sent before, and take it.

        Messages that come meanwhile stay for who receives them.

        Args:
            receipt_id: what `send` or `message` returned.
            timeout: seconds.

        Raises:
            STOMPTimeout: it did not come in time.
            STOMPError: the broker answered that frame with ERROR.
            OutcomeUnknown: the connection ended first; whether the frame took effect is not
                known.
            TypeError: this is no receipt id.
        """
        return wait_for_receipt(self._last_session(), receipt_id, timeout)

    # -- subscribing -------------------------------------------------------------------------

    def subscribe(
        self,
        dest: str,
        ack_mode: AckWord = "auto",
        send_acks: bool = True,
        *,
        id: str | None = None,
        headers: Mapping[str, HeaderValue] = {},
        receipt: bool | str = False,
        **kv_headers: HeaderValue,
    ) -> SubscriptionId:
        """Subscribe to a destination.

        `recv`, iteration and `loop` then give its messages. While the connection is being made
        again, the subscription comes with it.

        Args:
            dest: destination.
            ack_mode: ``auto``, ``client`` or ``client-individual``.
            send_acks: whether messages are acknowledged for you; see ``stompy.client``.
            id: subscription id; a new one by default.
            headers: more headers.
            receipt: True waits until the broker has confirmed the subscription; a text is sent as
                receipt id, if there is a connection, and not waited for.
            kv_headers: more headers.

        Returns:
            The subscription id, which can be used with ``with``.

        Raises:
            STOMPConnectionError: there is no connection.
            STOMPError: with ``receipt=True``: the broker refused.
            STOMPTimeout: with ``receipt=True``: it did not answer.
            ValueError: there is no such ack mode.
        """
        session = self._last_session()
        mode = arguments.ack_mode_of(ack_mode)
        arguments.check_destination(dest)
        arguments.SUBSCRIBE.check(kv_headers)
        more = merged(headers, kv_headers)
        wanted = WantedSubscription(id or self._new_id("s"), dest, mode, headers=more)
        subscribe(session, wanted, send_acks, receipt)
        return SubscriptionId(wanted.id, dest, self.unsubscribe)

    @LooksLike[UnsubscribeCall[Subscription, None, str | None]]()
    def unsubscribe(
        self,
        sub_id: str | Subscription,
        *,
        headers: Mapping[str, HeaderValue] = {},
        receipt: bool | str = False,
        **kv_headers: HeaderValue,
    ) -> str | None:
        """End a subscription; messages that were not acknowledged go back to the broker.

        Args:
            sub_id: what `subscribe` or `subscription` returned.
            headers: more headers.
            receipt: a receipt id to ask for, or True for a new one.
            kv_headers: more headers.

        Returns:
            The receipt id if a receipt was asked for, otherwise None.

        Raises:
            STOMPConnectionError: there is no connection, and nobody makes it again.
            TypeError: this is no subscription, and no id of one.
        """
        session = self._last_session()
        arguments.UNSUBSCRIBE.check(kv_headers)
        if not isinstance(sub_id, Subscription):
            arguments.check_subscription_id(sub_id)
        return unsubscribe(session, sub_id, merged(headers, kv_headers), receipt)

    @with_subscribe_options
    def subscription(  # noqa: PLR0913 -- what SUBSCRIBE may say
        self,
        destination: str,
        ack_mode: AckWord = "client-individual",
        *,
        id: str | None = None,
        prefetch: int | None = None,
        durable: str | None = None,
        selector: str | None = None,
        headers: Mapping[str, HeaderValue] = {},
        confirm: bool = True,
        timeout: float | None = 10.0,
        **options: Unpack[SubscribeWords],
    ) -> Subscription:
        """Subscribe to a destination and get the subscription in hand.

        It is there when the broker has confirmed the subscription; while the connection is being
        made again it is there at once, and the subscription comes with the connection.

        >>> with client.subscription("/queue/orders") as orders:  # doctest: +SKIP
        ...     for message in orders:
        ...         with message:  # acknowledged in the end, refused by an exception
        ...             print(message.json)

        Args:
            destination: destination.
            ack_mode: ``client-individual``, ``client`` or ``auto``.
            id: subscription id; a new one by default.
            prefetch: how many unsettled messages the broker may have under way to us; 0 for no
                limit.
            durable: the name of a durable topic subscription.
            selector: which messages are wanted, where the broker knows selectors.
            headers: more headers of SUBSCRIBE; they win over those that follow from the rest.
            confirm: whether the broker is asked to confirm it, now and on later connections. One
                that gives no receipts is not waited for to the end of the time-out.
            timeout: seconds to wait for the confirmation.
            no_local: whether what this connection sends to the topic is not wanted.
            window_bytes: how many bytes the broker may have under way to us unsettled; 0 for one
                message at a time, None for no limit beside ``prefetch``.
            pending_limit: how many messages of a topic may wait at the broker while we are slow;
                then the oldest goes.
            consumer_timeout: seconds after which a message that we have not settled goes to
                somebody else; 0 for never.
            share: a name; all who subscribe to the topic with it share its messages.
            queue_name: the queue at the broker that is to get the messages of the topic. It ends
                with its last consumer, unless ``headers`` say ``{"durable": "true"}``.
            exclusive: whether nobody else may subscribe to the queue meanwhile.
            auto_delete: whether the queue ends, with what is in it, when its last consumer leaves.
            priority: who has a higher one gets the messages, as long as it takes them; 0 is usual.
            single_active: whether one of all who say so gets everything, and the others stand by.
            offset: where to begin in a stream: ``"first"``, ``"last"``, ``"next"``, the default, a
                number, a negative one for so many messages before the end, a datetime with a time
                zone, or a timedelta for so long ago. One with a name begins there the first time.
            reader: the name under which the broker keeps our place in the stream.
            filters: of a stream only messages whose ``filter_value`` is one of these.
            unfiltered: whether those without a ``filter_value`` come as well.
            retained: False: what the topic keeps for new subscribers is not wanted.

        Returns:
            The handle, which can be used with ``with``.

        Raises:
            STOMPConnectionError: there is no connection, and nobody makes one.
            STOMPError: the broker refused.
            STOMPTimeout: it did not answer in time.
            UnsupportedByBroker: it has no such subscriptions.
            TypeError: an argument of the wrong kind.
            ValueError: there is no such ack mode, or the id is in use.
        """
        session = self._last_session()
        arguments.check_destination(destination)
        arguments.check_prefetch(prefetch)
        wanted = WantedSubscription(
            id or self._new_id("s"),
            destination,
            arguments.ack_mode_of(ack_mode),
            prefetch=prefetch,
            durable=durable,
            selector=selector,
            options=read_options(options),
            headers=merged(headers, {}),
            confirm=confirm,
        )
        return hold(session, wanted, timeout)

    def browse(  # noqa: PLR0913 -- what SUBSCRIBE may say
        self,
        destination: str,
        *,
        selector: str | None = None,
        state: BrowseState = "present",
        offset: int = 0,
        limit: int | None = None,
        headers_only: bool = False,
        follow: bool = False,
        since: int | None = None,
        headers: Mapping[str, HeaderValue] = {},
        timeout: float | None = 10.0,
    ) -> Browsing:
        """Look at the messages of a queue, which stay where they are.

        Nothing is asked for before the first message is wanted.

        >>> for message in client.browse("/queue/orders", limit=10):  # doctest: +SKIP
        ...     print(message.text)

        Args:
            destination: a queue.
            selector: only messages whose headers match this expression.
            state: where they are: ``present`` (ready, or with a consumer), ``ready``, ``unacked``
                (with a consumer), ``delayed``, ``scheduled`` or ``all``.
            offset: how many to leave out first.
            limit: how many at most; None for all.
            headers_only: whether to do without their bodies.
            follow: whether to go on with messages that come later.
            since: only those that came then or later, in milliseconds since the epoch.
            headers: more headers of SUBSCRIBE; they win over those that follow from the rest.
            timeout: seconds to wait for the broker's answer, and for each message.

        Returns:
            What can be gone through, each time anew.

        Raises:
            STOMPConnectionError: there is no connection.
            TypeError: an argument of the wrong kind.
            ValueError: a number below 0, or there is no such state.
        """
        session = self._last_session()
        arguments.check_destination(destination)
        options = BrowseOptions(state, offset, limit, headers_only, follow, since)
        wanted = to_browse(destination, selector, options, merged(headers, {}))
        return Browsing(session, partial(self._new_id, "b"), wanted, timeout)

    def request(
        self,
        destination: str,
        body: bytes | str = b"",
        timeout: float = 10.0,
        headers: Mapping[str, HeaderValue] = {},
        *,
        json: object = NOTHING,
    ) -> Message:
        """Send a request and wait for its reply.

        Whoever answers sends to the request's ``reply-to`` with its ``correlation-id``. Where the
        broker is stompy-broker it answers itself when nobody will: the header ``reply-timeout``
        says how long it waits, ``timeout`` if left out, and 0 has it not answer.

        >>> reply = client.request("/queue/stock", "spoon", timeout=5)  # doctest: +SKIP

        Args:
            destination: where to.
            body: message body; text is encoded as UTF-8.
            timeout: seconds to wait for the reply.
            headers: more headers.
            json: instead of a body, what to send as JSON, with the content type that says so.

        Returns:
            The reply.

        Raises:
            NoResponders: nobody consumes there; nobody gets the request.
            OutcomeUnknown: the connection ended first.
            RequestRejected: the request was given up: refused by a consumer, or by a full queue.
            STOMPConnectionError: there is no connection.
            STOMPError: the broker rejected the request.
            STOMPTimeout: no reply came in time.
        """
        self._last_session()
        arguments.check_destination(destination, body)
        if json is not NOTHING:
            body, headers = json_body(json, body, headers)
        assert self._requests is not None  # since there is a session
        return self._requests.request(destination, body, headers, timeout)

    # -- receiving ---------------------------------------------------------------------------

    def recv(
        self, timeout: float | None = None, transaction: str | None = None
    ) -> STOMPFrame | None:
        """The next message, or None if the connection has ended; see `close_reason`.

        Receipts are noted for `wait_for_receipt` and never given.

        Args:
            timeout: seconds; None waits for as long as the connection lasts.
            transaction: id of the transaction that automatic ACKs belong to.

        Raises:
            STOMPTimeout: nothing came in time.
            STOMPError: the broker sent ERROR; the connection is closed.
        """
        session = self._session or self._last_session()
        connection = session.reading or reading_connection(session)
        remaining = timeout
        deadline = None if timeout is None else until(monotonic(), timeout)
        while True:
            try:
                frame = connection.inbox.get(remaining)
            except STOMPTimeout:
                raise STOMPTimeout(session.core.nothing_came(timeout)) from None
            if frame is None:
                after = next_connection(session, connection, remaining)
                if after is None:
                    return None
                connection = after
            elif frame.Command == "MESSAGE":
                if connection.subscriptions.needs_no_acks or accepted(
                    session, connection, frame, transaction
                ):
                    return frame
            elif frame.Command == "ERROR":
                raise reported(session, frame)
            if deadline is not None:
                remaining = max(0.0, deadline - monotonic())

    def __iter__(self) -> Iterator[STOMPFrame]:
        """Messages as they come, until the connection ends.

        Raises:
            STOMPError: the broker sent ERROR.
        """
        return messages(self._last_session())

    def loop(
        self,
        *params: object,
        transaction: str | None = None,
        timeout: float | None = None,
        **callback_args: object,
    ) -> object:
        """Receive frames and pass each to a callback, receipts included.

        It ends when the callback returns something true, or with the connection. An exception of
        the callback ends it too. To stop from inside the callback, return something true: a
        message whose callback disconnects is not acknowledged any more.

        Args:
            params: the callback, which may also be given as the keyword ``callback``, then what
                to pass to it after the client and the frame.
            transaction: id of the transaction that automatic ACKs belong to.
            timeout: seconds to wait for each frame.
            callback_args: passed to the callback.

        Returns:
            What the callback returned last, or None if the connection has ended.

        Raises:
            STOMPTimeout: nothing came in time.
            STOMPError: the broker sent ERROR; the callback does not get that frame.
            TypeError: the callback cannot be called.
        """
        callback, *positional = params or (callback_args.pop("callback", None),)
        call = checked_callback(callback)
        session = self._last_session()

        def pass_on(frame: STOMPFrame) -> object:
            answer = call(self, frame, *positional, **callback_args)
            check_done(answer, call)
            return answer

        return loop(session, pass_on, transaction, timeout)

    # -- transactions ------------------------------------------------------------------------

    def transaction(self, txn_id: str | None = None) -> STOMPTransaction:
        """Begin a transaction.

        >>> with client.transaction() as transaction:  # doctest: +SKIP
        ...     transaction.message("/queue/bills", "1 spoon")
        ...     transaction.ack(message)

        Args:
            txn_id: its id; a new one by default.

        Returns:
            The transaction. With ``with`` it commits at the end of the block.

        Raises:
            STOMPConnectionError: there is no connection.
        """
        txn_id = txn_id or self._new_id("t")
        self.send("BEGIN", transaction=txn_id)
        return STOMPTransaction(self, txn_id)

    def __enter__(self) -> Self:
        """Give the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect; its errors give way to the one that leaves the block."""
        try:
            self.disconnect()
        except STOMPException:
            if error is None:
                raise

    # -- within ------------------------------------------------------------------------------

    def _last_session(self) -> Session:
        if self._session is None:
            raise STOMPConnectionError("not connected: call connect() first")
        return self._session

    def _new_id(self, kind: str) -> str:
        return f"{kind}{next(self._numbers)}"


@takes_the_arguments_of(STOMPClient.connect)
def connect(*arguments: Any, **keywords: Any) -> STOMPClient:
    """Make a client and connect it to the first broker of a list that answers.

    >>> with stompy.connect("stomp://ann:secret@127.0.0.1") as client:  # doctest: +SKIP
    ...     client.message("/queue/hello", "world", confirm=True)

    Returns:
        The connected client. With ``with`` it disconnects at the end of the block.
    """
    client = STOMPClient()
    client.connect(*arguments, **keywords)
    return client
