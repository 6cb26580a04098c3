"""What the asyncio client asks for: subscriptions by id or by handle, and replies to requests."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Literal, NoReturn, Self, overload

from stompy.aio.confirmation import Confirmation
from stompy.aio.message import Message
from stompy.aio.opening import Opening
from stompy.aio.sending import FrameSender
from stompy.aio.session import Session
from stompy.aio.subscription import Subscription
from stompy.errors import OutcomeUnknown, STOMPConnectionError, STOMPTimeout
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
from stompy.session.commands import HeaderValue, merged, request_headers, unsubscribe_headers
from stompy.session.confirmations import Outcome
from stompy.session.wanted import WantedSubscription

_RECEIPT_SECONDS = 10.0


class Subscriber(FrameSender):
    """A sender that also subscribes."""

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
    ) -> Opening[SubscriptionId]:
        """Subscribe to a destination.

        Args:
            dest: destination.
            ack_mode: ``auto``, ``client`` or ``client-individual``.
            send_acks: whether messages are acknowledged for you.
            id: subscription id; a new one by default.
            headers: more headers.
            receipt: True waits until the broker has confirmed the subscription; a text is sent as
                receipt id and not waited for.
            kv_headers: more headers.

        Returns:
            To be awaited: the subscription id. With ``async with`` the subscription ends with
            the block.

        Raises:
            STOMPConnectionError: there is no connection.
            STOMPError: with ``receipt=True``: the broker refused.
            STOMPTimeout: with ``receipt=True``: it did not answer.
            ValueError: there is no such ack mode.
        """
        mode = ack_mode_of(ack_mode)
        check_destination(dest)
        SUBSCRIBE.check(kv_headers)
        wanted = WantedSubscription(
            id or self._new_id("s"), dest, mode, headers=merged(headers, kv_headers)
        )
        return Opening(self._subscribe(wanted, send_acks, receipt))

    async def _subscribe(
        self, wanted: WantedSubscription, send_acks: bool, receipt: bool | str
    ) -> SubscriptionId:
        session = self._last_session()
        if session.is_between:
            session.subscriptions.add(wanted.id, wanted.mode, send_acks)
            session.wanted.add(wanted)
            if receipt is True:
                # All that is wanted is confirmed before the connection is ready.
                await session.wait_ready(_RECEIPT_SECONDS)
            return SubscriptionId(wanted.id, wanted.destination, self)
        link = await session.writable()
        headers = wanted.headers_for(session.dialect, session.settings.client_id)
        confirmation = None
        if receipt is True:
            confirmation = session.ask(link, "SUBSCRIBE", headers, self._new_id("r"))
        else:
            if receipt:
                headers["receipt"] = self._receipt_id(session, receipt)
            session.write(link, "SUBSCRIBE", headers)
        session.subscriptions.add(wanted.id, wanted.mode, send_acks)
        session.wanted.add(wanted)
        if confirmation is not None:
            try:
                await self._granted(session, confirmation, _RECEIPT_SECONDS)
            except BaseException:
                session.unsubscribe(wanted.id)
                raise
        return SubscriptionId(wanted.id, wanted.destination, self)

    async def _granted(
        self, session: Session, confirmation: Confirmation, timeout: float | None
    ) -> None:
        """Wait until a subscription is confirmed, here or on the connection that follows."""
        try:
            await confirmation.result(timeout)
        except OutcomeUnknown:
            if not session.is_between:
                raise
        finally:
            if confirmation.outcome is Outcome.REJECTED:
                self._error_is_told = True

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
    ) -> Opening[Subscription]:
        """Subscribe to a destination and get the subscription in hand.

        It is there when the broker has confirmed the subscription; while the connection is being
        made again it is there at once, and the subscription comes with the connection.

        >>> async with client.subscription("/queue/orders") as orders:  # doctest: +SKIP
        ...     async for message in orders:
        ...         async with message:  # acknowledged in the end, refused by an exception
        ...             print(message.json)

        Args:
            destination: what to subscribe to.
            ack_mode: ``auto``, ``client`` or ``client-individual``.
            id: subscription id; a new one by default.
            prefetch: how many messages may be under way at once; 0 for no limit.
            durable: name of a durable topic subscription.
            selector: which messages, in the broker's own words.
            headers: more headers, which win over those that follow from the rest.
            confirm: whether the broker is asked to confirm it, now and on later connections. One
                that gives no receipts is not waited for to the end of the time-out.
            timeout: seconds to wait until the broker has confirmed the subscription.

        Returns:
            To be awaited: the handle. With ``async with`` the subscription ends with the block.

        Raises:
            STOMPConnectionError: there is no connection.
            STOMPError: the broker refused.
            STOMPTimeout: it did not answer in time.
            UnsupportedByBroker: the broker has no such subscriptions.
            TypeError: an argument of the wrong kind.
            ValueError: there is no such ack mode, or the id is in use.
        """
        check_destination(destination)
        check_prefetch(prefetch)
        wanted = WantedSubscription(
            id or self._new_id("s"),
            destination,
            ack_mode_of(ack_mode),
            prefetch,
            durable,
            selector,
            merged(headers, {}),
            confirm,
        )
        return Opening(self._hold(wanted, timeout))

    async def _hold(self, wanted: WantedSubscription, timeout: float | None) -> Subscription:
        session = self._last_session()
        if wanted.id in session.receivers or wanted.id in session.wanted:
            raise ValueError(f"the subscription id {wanted.id!r} is in use")
        handle = Subscription(session, wanted)
        if session.is_between:
            session.adopt(wanted.id, handle)
            session.wanted.add(wanted)
            return handle
        link = await session.writable()
        headers = wanted.headers_for(session.dialect, session.settings.client_id)
        confirmation = session.subscribe(link, wanted, headers, self._new_id("r"))
        session.adopt(wanted.id, handle)
        session.wanted.add(wanted)
        try:
            answered = await session.answered(wanted, confirmation, timeout)
            if not answered:
                within = "" if timeout is None else f" within {timeout:g} s"
                raise STOMPTimeout(
                    f"the broker did not confirm the subscription to {wanted.destination}{within}"
                )
            await self._granted(session, confirmation, timeout)
        except BaseException:
            session.confirmations.forget(confirmation)
            await handle.unsubscribe()
            raise
        return handle

    @overload
    async def unsubscribe(
        self,
        sub_id: str | Subscription,
        *,
        headers: Mapping[str, HeaderValue] = ...,
        receipt: Literal[False] = ...,
        **kv_headers: HeaderValue,
    ) -> None: ...

    @overload
    async def unsubscribe(
        self,
        sub_id: str | Subscription,
        *,
        headers: Mapping[str, HeaderValue] = ...,
        receipt: bool | str,
        **kv_headers: HeaderValue,
    ) -> str | None: ...

    async def unsubscribe(
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
            STOMPConnectionError: there is no connection.
            TypeError: this is no subscription, and no id of one.
        """
        session = self._last_session()
        UNSUBSCRIBE.check(kv_headers)
        if isinstance(sub_id, Subscription):
            await sub_id.unsubscribe()
            return None
        check_subscription_id(sub_id)
        receiver = session.receivers.get(sub_id)
        if isinstance(receiver, Subscription):
            await receiver.unsubscribe()
            return None
        session.subscriptions.remove(sub_id)
        session.wanted.remove(sub_id)
        if session.is_between or session.wanted.is_put_off(sub_id):
            return None  # the connection, or the next one, does not have it
        given = unsubscribe_headers(sub_id, merged(headers, kv_headers))
        return await self._transmit("UNSUBSCRIBE", given, b"", None, receipt)

    async def request(
        self,
        destination: str,
        body: bytes | str = b"",
        timeout: float = 10.0,
        headers: Mapping[str, HeaderValue] = {},
        *,
        json: object = NOTHING,
    ) -> Message:
        """Send a request and wait for its reply.

        Who replies sends to the ``reply-to`` of the message and repeats its ``correlation-id``.

        >>> reply = await client.request("/queue/stock", "spoon", timeout=5)  # doctest: +SKIP

        Args:
            destination: where to.
            body: message body; text is encoded as UTF-8.
            timeout: seconds to wait for the reply.
            headers: more headers.
            json: instead of a body, what to send as JSON, with the content type that says so.

        Returns:
            The reply.

        Raises:
            STOMPTimeout: it did not come in time.
            STOMPError: the broker refused the message, or the connection ended first.
        """
        session = self._last_session()
        check_destination(destination, body)
        if json is not NOTHING:
            body, headers = json_body(json, body, headers)
        requests = session.requests
        deadline = session.now() + timeout
        link = await session.writable()
        reply_to, correlation_id = requests.begin()
        try:
            all_headers = request_headers(
                destination, reply_to, correlation_id, headers, session.dialect
            )
            session.write(link, "SEND", all_headers, body)
        except BaseException:
            requests.forget(correlation_id)
            raise
        with session.urgently():
            return await requests.reply(correlation_id, deadline, destination, timeout)


class SubscriptionId(str):
    """The id of a subscription. It can be used with ``async with``, which unsubscribes at the end.

    Attributes:
        destination: what was subscribed to.
    """

    destination: str
    _sender: Subscriber

    def __new__(cls, sub_id: str, destination: str, sender: Subscriber) -> SubscriptionId:
        """An id with what it takes to end it."""
        subscription = super().__new__(cls, sub_id)
        subscription.destination = destination
        subscription._sender = sender
        return subscription

    def __iter__(self) -> NoReturn:
        """A mistake that is easily made: these would be the letters of the id.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"this is the id of the subscription, {str(self)!r}; its messages are gone through "
            "with `async for frame in client`, or with "
            f"client.subscription({self.destination!r})"
        )

    def __aiter__(self) -> NoReturn:
        """A mistake that is easily made: these would be the letters of the id.

        Raises:
            TypeError: always.
        """
        iter(self)

    async def __aenter__(self) -> Self:
        """The id itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Unsubscribe, if there still is a connection."""
        with suppress(STOMPConnectionError):
            await self._sender.unsubscribe(str(self))
