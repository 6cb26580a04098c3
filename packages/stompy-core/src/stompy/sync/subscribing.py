"""How a client subscribes: by id, or with the subscription in hand."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NoReturn, Self

from stompy.errors import STOMPConnectionError, STOMPException
from stompy.session.commands import HeaderValue, unsubscribe_headers
from stompy.session.wanted import WantedSubscription
from stompy.sync.connection import Connection
from stompy.sync.sending import transmit, wait_for_receipt
from stompy.sync.session import Session
from stompy.sync.subscription import Subscription

RECEIPT_SECONDS = 10.0
"""How long ``subscribe(receipt=True)`` waits for the broker's word."""


class SubscriptionId(str):
    """The id of a subscription. It can be used with ``with``, which unsubscribes at the end.

    Attributes:
        destination: what was subscribed to.
    """

    destination: str
    _unsubscribe: Callable[[str], object]

    def __new__(
        cls, sub_id: str, destination: str, unsubscribe: Callable[[str], object]
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
            f"with `for frame in client`, or with client.subscription({self.destination!r})"
        )

    def __enter__(self) -> Self:
        """Give the id itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Unsubscribe, if there still is a connection."""
        with suppress(STOMPConnectionError):
            self._unsubscribe(str(self))


def subscribe(
    session: Session, wanted: WantedSubscription, send_acks: bool, receipt: bool | str
) -> None:
    """Subscribe by id; see `STOMPClient.subscribe`."""
    connection = session.want(wanted, send_acks)
    if connection is not None:
        _subscribe_over(session, connection, wanted, receipt)
    elif receipt is True:
        # Who makes the next connection waits for the broker's word before it is given to us.
        session.wait_ready(RECEIPT_SECONDS)


def _subscribe_over(
    session: Session, connection: Connection, wanted: WantedSubscription, receipt: bool | str
) -> None:
    try:
        headers = wanted.headers_for(connection.dialect, session.core.settings.client_id)
        asked = transmit(session, connection, "SUBSCRIBE", headers, b"", None, receipt)
    except STOMPConnectionError:
        if not session.reconnects:
            raise
        asked = None  # it comes with the next connection
    except (STOMPException, TypeError, ValueError):
        session.unwant(wanted.id)
        raise
    if receipt is True and asked is not None:
        wait_for_receipt(session, asked, RECEIPT_SECONDS)


def unsubscribe(
    session: Session,
    sub_id: str | Subscription,
    headers: dict[str, HeaderValue],
    receipt: bool | str,
) -> str | None:
    """End a subscription, by id or in hand; see `STOMPClient.unsubscribe`."""
    handle = session.core.receivers.get(sub_id) if isinstance(sub_id, str) else sub_id
    if isinstance(handle, Subscription):
        handle.unsubscribe()
        return None
    assert isinstance(sub_id, str)
    connection = session.unwant(sub_id)
    if connection is None:
        if session.reconnects:
            return None  # the next connection will not have it
        raise session.error()
    given = unsubscribe_headers(sub_id, headers)
    try:
        # On no other connection: the next one does not know this subscription.
        return transmit(session, connection, "UNSUBSCRIBE", given, b"", None, receipt)
    except STOMPConnectionError:
        if not session.reconnects:
            raise
        return None


def hold(session: Session, wanted: WantedSubscription, timeout: float | None) -> Subscription:
    """Subscribe and give the subscription in hand; see `STOMPClient.subscription`."""
    if wanted.id in session.wanted:
        raise ValueError(f"the subscription id {wanted.id!r} is in use")
    handle = Subscription(session, wanted)
    try:
        session.subscribe(wanted, handle, timeout)
    except BaseException:
        handle.unsubscribe()
        raise
    return handle
