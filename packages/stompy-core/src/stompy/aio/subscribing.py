"""How a client subscribes: by id, or with the subscription in hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import NoReturn, Self

from stompy.aio.confirmation import Confirmation
from stompy.aio.sending import receipt_id_for, transmit
from stompy.aio.session import Session
from stompy.aio.subscription import Subscription
from stompy.errors import OutcomeUnknown, STOMPConnectionError, STOMPTimeout
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
    if session.is_between:
        session.subscriptions.add(wanted.id, wanted.mode, send_acks)
        session.wanted.add(wanted)
        if receipt is True:
            # All that is wanted is confirmed before the connection is ready.
            await session.wait_ready(RECEIPT_SECONDS)
        return
    link = await session.writable()
    headers = wanted.headers_for(session.dialect, session.settings.client_id)
    confirmation = None
    if receipt is True:
        confirmation = session.ask(link, "SUBSCRIBE", headers, session.new_id("r"))
    else:
        if receipt:
            headers["receipt"] = receipt_id_for(session, receipt)
        session.write(link, "SUBSCRIBE", headers)
    session.subscriptions.add(wanted.id, wanted.mode, send_acks)
    session.wanted.add(wanted)
    if confirmation is not None:
        try:
            await _granted(session, confirmation, RECEIPT_SECONDS)
        except BaseException:
            session.unsubscribe(wanted.id)
            raise


async def _granted(session: Session, confirmation: Confirmation, timeout: float | None) -> None:
    """Wait until a subscription is confirmed, here or on the connection that follows."""
    try:
        await confirmation.result(timeout)
    except OutcomeUnknown:
        if not session.is_between:
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
    handle = session.receivers.get(sub_id) if isinstance(sub_id, str) else sub_id
    if isinstance(handle, Subscription):
        await handle.unsubscribe()
        return None
    assert isinstance(sub_id, str)
    session.subscriptions.remove(sub_id)
    session.wanted.remove(sub_id)
    if session.is_between or session.wanted.is_put_off(sub_id):
        return None  # the connection, or the next one, does not have it
    given = unsubscribe_headers(sub_id, headers)
    return await transmit(session, "UNSUBSCRIBE", given, b"", None, receipt)


async def hold(session: Session, wanted: WantedSubscription, timeout: float | None) -> Subscription:
    """Subscribe and give the subscription in hand; see `STOMPClient.subscription`."""
    if wanted.id in session.receivers or wanted.id in session.wanted:
        raise ValueError(f"the subscription id {wanted.id!r} is in use")
    handle = Subscription(session, wanted)
    if session.is_between:
        session.adopt(wanted.id, handle)
        session.wanted.add(wanted)
        return handle
    link = await session.writable()
    headers = wanted.headers_for(session.dialect, session.settings.client_id)
    confirmation = session.subscribe(link, wanted, headers, session.new_id("r"))
    session.adopt(wanted.id, handle)
    session.wanted.add(wanted)
    try:
        answered = await session.answered(wanted, confirmation, timeout)
        if not answered:
            within = "" if timeout is None else f" within {timeout:g} s"
            raise STOMPTimeout(
                f"the broker did not confirm the subscription to {wanted.destination}{within}"
            )
        await _granted(session, confirmation, timeout)
    except BaseException:
        session.confirmations.forget(confirmation)
        await handle.unsubscribe()
        raise
    return handle


def handles_of(session: Session) -> list[Subscription]:
    """The subscriptions in hand."""
    return [one for one in session.receivers.values() if isinstance(one, Subscription)]
