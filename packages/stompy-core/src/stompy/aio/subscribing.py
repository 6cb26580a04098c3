"""How a client subscribes: by id, or with the subscription in hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import NoReturn, Self

from stompy.aio.confirmation import Confirmation
from stompy.aio.connection import Connection
from stompy.aio.sending import receipt_id_for, transmit
from stompy.aio.session import Session
from stompy.aio.subscription import Subscription
from stompy.errors import OutcomeUnknown, STOMPConnectionError
from stompy.session.commands import HeaderValue, unsubscribe_headers
from stompy.session.confirmations import Outcome
from stompy.session.wanted import WantedSubscription

RECEIPT_SECONDS = 10.0
"""How long ``subscribe(receipt=True)`` waits for the broker's word."""


class SubscriptionId(str):
    """The id of a subscription. It can be used with ``async with``, which unsubscribes at the end.

    Attributes:
        destination: what was subscribed to.
    """

    destination: str
    _unsubscribe: Callable[[str], Awaitable[object]]

    def __new__(
        cls, sub_id: str, destination: str, unsubscribe: Callable[[str], Awaitable[object]]
    ) -> SubscriptionId:
        """An id with what it takes to end it."""
        subscription = super().__new__(cls, sub_id)
        subscription.destination = destination
        subscription._unsubscribe = unsubscribe
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
        """Give the id itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Unsubscribe, if there still is a connection."""
        with suppress(STOMPConnectionError):
            await self._unsubscribe(str(self))


async def subscribe(
    session: Session, wanted: WantedSubscription, send_acks: bool, receipt: bool | str
) -> None:
    """Subscribe by id; see `STOMPClient.subscribe`."""
    connection = session.want(wanted, send_acks)
    if connection is not None:
        await _subscribe_over(session, connection, wanted, receipt)
    elif receipt is True:
        # Who makes the next connection waits for the broker's word before it is given to us.
        await session.wait_ready(RECEIPT_SECONDS)


async def _subscribe_over(
    session: Session, connection: Connection, wanted: WantedSubscription, receipt: bool | str
) -> None:
    confirmation = None
    try:
        if connection.congested:
            await connection.room()
        headers = wanted.headers_for(connection.dialect, session.core.settings.client_id)
        if receipt is True:
            confirmation = session.ask(connection, "SUBSCRIBE", headers, session.new_id("r"))
        else:
            if receipt:
                headers["receipt"] = receipt_id_for(session, connection, receipt)
            session.write(connection, "SUBSCRIBE", headers)
    except STOMPConnectionError:
        if not session.reconnects:
            raise  # else it comes with the next connection
    except BaseException:
        session.unwant(wanted.id)
        raise
    if confirmation is not None:
        try:
            await _granted(session, confirmation)
        except BaseException:
            session.unsubscribe(wanted.id)
            raise


async def _granted(session: Session, confirmation: Confirmation) -> None:
    """Wait until a subscription is confirmed, here or on the connection that follows."""
    try:
        await confirmation.result(RECEIPT_SECONDS)
    except OutcomeUnknown:
        if session.core.is_over:
            raise
    finally:
        if confirmation.outcome is Outcome.REJECTED:
            session.error_is_reported = True


async def unsubscribe(
    session: Session,
    sub_id: str | Subscription,
    headers: dict[str, HeaderValue],
    receipt: bool | str,
) -> str | None:
    """End a subscription, by id or in hand; see `STOMPClient.unsubscribe`."""
    handle = session.core.receivers.get(sub_id) if isinstance(sub_id, str) else sub_id
    if isinstance(handle, Subscription):
        await handle.unsubscribe()
        return None
    assert isinstance(sub_id, str)
    connection = session.unwant(sub_id)
    if connection is None:
        if session.core.is_over:
            raise session.error()
        return None  # the connection, or the next one, does not have it
    given = unsubscribe_headers(sub_id, headers)
    return await transmit(session, "UNSUBSCRIBE", given, b"", None, receipt)


async def hold(session: Session, wanted: WantedSubscription, timeout: float | None) -> Subscription:
    """Subscribe and give the subscription in hand; see `STOMPClient.subscription`."""
    if wanted.id in session.wanted:
        raise ValueError(f"the subscription id {wanted.id!r} is in use")
    handle = Subscription(session, wanted)
    try:
        await session.subscribe(wanted, handle, timeout)
    except BaseException:
        await handle.unsubscribe()
        raise
    return handle
