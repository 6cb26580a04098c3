"""What a client asks for: subscriptions by id or in hand, and replies to requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, overload

from stompy.errors import STOMPConnectionError, STOMPException
from stompy.protocol.frame import AckWord
from stompy.session.arguments import (
    NOTHING,
    SUBSCRIBE,
    UNSUBSCRIBE,
    ack_mode_of,
    check_destination,
    check_prefetch,
    check_subscription_id,
    json_body,
)
from stompy.session.commands import HeaderValue, merged, unsubscribe_headers
from stompy.session.subscriptions import SubscriptionId
from stompy.session.wanted import WantedSubscription
from stompy.sync.confirmation import Confirmation
from stompy.sync.lifeline import Epoch
from stompy.sync.message import Message
from stompy.sync.requests import Replies
from stompy.sync.sending import FrameSender
from stompy.sync.subscription import Subscription

_RECEIPT_SECONDS = 10.0


class Subscriber(FrameSender):
    """A sender that also subscribes."""

    def __init__(self) -> None:
        super().__init__()
        self._replies: Replies | None = None

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
        line = self._last_line()
        sub_id = id or self._new_id("s")
        mode = ack_mode_of(ack_mode)
        check_destination(dest)
        SUBSCRIBE.check(kv_headers)
        wanted = WantedSubscription(sub_id, dest, mode, headers=merged(headers, kv_headers))
        epoch = line.want(wanted, send_acks)
        if epoch is not None:
            self._subscribe_on(epoch, wanted, receipt)
        elif receipt is True:
            # The supervisor waits for the broker's word before it gives the connection to us.
            line.wait_ready(_RECEIPT_SECONDS)
        return SubscriptionId(sub_id, dest, self.unsubscribe)

    def _subscribe_on(self, epoch: Epoch, wanted: WantedSubscription, receipt: bool | str) -> None:
        line = self._last_line()
        try:
            headers = wanted.headers_for(epoch.dialect, line.client_id)
            asked = self._transmit(epoch, "SUBSCRIBE", headers, b"", None, receipt)
        except STOMPConnectionError:
            if not line.supervised:
                raise
            asked = None  # it comes with the next connection
        except (STOMPException, TypeError, ValueError):
            line.unwant(wanted.id)
            raise
        if receipt is True and asked is not None:
            self.wait_for_receipt(asked)

    @overload
    def unsubscribe(
        self,
        sub_id: str | Subscription,
        *,
        headers: Mapping[str, HeaderValue] = ...,
        receipt: Literal[False] = ...,
        **kv_headers: HeaderValue,
    ) -> None: ...

    @overload
    def unsubscribe(
        self,
        sub_id: str | Subscription,
        *,
        headers: Mapping[str, HeaderValue] = ...,
        receipt: bool | str,
        **kv_headers: HeaderValue,
    ) -> str | None: ...

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
        line = self._last_line()
        UNSUBSCRIBE.check(kv_headers)
        if isinstance(sub_id, Subscription):
            sub_id.unsubscribe()
            return None
        check_subscription_id(sub_id)
        handle = line.handles().get(sub_id)
        if handle is not None:
            handle.unsubscribe()
            return None
        epoch = line.unwant(sub_id)
        if epoch is None:
            if line.supervised:
                return None  # the next connection will not have it
            raise line.error()
        all_headers = unsubscribe_headers(sub_id, merged(headers, kv_headers))
        try:
            # On no other connection: the next one does not know this subscription.
            return self._transmit(epoch, "UNSUBSCRIBE", all_headers, b"", None, receipt)
        except STOMPConnectionError:
            if not line.supervised:
                raise
            return None

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
        timeout: float = 10.0,
    ) -> Subscription:
        """Subscribe to a destination and get the subscription in hand.

        It returns when the broker has confirmed the subscription; while the connection is being
        made again it returns at once, and the subscription comes with the connection.

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
        line = self._last_line()
        check_destination(destination)
        check_prefetch(prefetch)
        wanted = WantedSubscription(
            id or self._new_id("s"),
            destination,
            ack_mode_of(ack_mode),
            prefetch=prefetch,
            durable=durable,
            selector=selector,
            headers=merged(headers, {}),
            confirm=confirm,
        )
        if wanted.id in line.wanted:
            raise ValueError(f"the subscription id {wanted.id!r} is in use")
        handle = Subscription(line, wanted)
        handle._subscribe(timeout)
        return handle

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

        Whoever answers sends to the request's ``reply-to`` with its ``correlation-id``.

        >>> reply = client.request("/queue/stock", "spoon", timeout=5)  # doctest: +SKIP

        Args:
            destination: where to.
            body: message body; text is encoded as UTF-8.
            timeout: seconds to wait for the reply.
            headers: more headers.
            json: instead of a body, what to send as JSON, with the content type that says so.

        Raises:
            OutcomeUnknown: the connection ended first.
            STOMPConnectionError: there is no connection.
            STOMPError: the broker rejected the request.
            STOMPTimeout: no reply came in time.
        """
        check_destination(destination, body)
        self._last_line()
        assert self._replies is not None  # since there is a line
        if json is not NOTHING:
            body, headers = json_body(json, body, headers)
        return self._replies.request(destination, body, headers, timeout, self._post_request)

    def _post_request(
        self, epoch: Epoch, given: dict[str, HeaderValue], body: bytes | str
    ) -> Confirmation:
        return self._post_on(epoch, "SEND", given, body)
