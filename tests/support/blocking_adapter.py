"""The blocking client as the client scenarios see it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.support.client_adapter import PATIENCE

import stompy
from stompy.session.commands import HeaderValue
from stompy.session.confirmations import Outcome
from stompy.session.delivery import Delivery, OnError
from stompy.session.health import ClientHealth, SubscriptionHealth
from stompy.session.state import ConnectionState, StateChange
from stompy.sync.confirmation import Confirmation
from stompy.sync.message import Message
from stompy.sync.subscription import Subscription
from stompy.sync.transaction import STOMPTransaction

logger = logging.getLogger("tests")


class BlockingConfirmation:
    def __init__(self, confirmation: Confirmation) -> None:
        self._confirmation = confirmation

    def result(self, timeout: float = PATIENCE) -> str:
        return self._confirmation.result(timeout)

    def outcome(self) -> Outcome:
        return self._confirmation.outcome


class BlockingTransaction:
    def __init__(self, client: stompy.STOMPClient, transaction: STOMPTransaction) -> None:
        self._client = client
        self._transaction = transaction
        self.id = transaction.id

    def message(self, destination: str, body: str, **options: Any) -> None:
        self._transaction.message(destination, body, **options)

    def commit(self) -> None:
        receipt = self._transaction.commit(receipt=True)
        assert receipt is not None
        self._client.wait_for_receipt(receipt)

    def abort(self) -> None:
        self._transaction.abort()


class BlockingSubscription:
    def __init__(self, handle: Subscription) -> None:
        self._handle = handle
        self.id = handle.id

    def __repr__(self) -> str:
        return repr(self._handle)

    def get(self, timeout: float = PATIENCE) -> Delivery:
        return self._handle.get(timeout)

    def get_batch(self, n: int, timeout: float = PATIENCE) -> list[Delivery]:
        return list(self._handle.get_batch(n, timeout))

    def iterate(self, function: Callable[[Delivery], bool]) -> None:
        for message in self._handle:
            if function(message):
                return

    def handle(
        self, function: Callable[[Delivery], object], concurrency: int = 1, on_error: str = "nack"
    ) -> threading.Thread:
        def handler(message: Message) -> None:
            function(message)

        def run() -> None:
            try:
                self._handle.handle(handler, concurrency, OnError(on_error))
            except BaseException as error:
                logger.info("handle() ended with %r", error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def handle_now(self, function: Any) -> BaseException | None:
        try:
            self._handle.handle(function)
        except (TypeError, stompy.STOMPException) as error:
            return error
        return None

    def unsubscribe(self, for_good: bool = False, timeout: float = PATIENCE) -> None:
        self._handle.unsubscribe(for_good=for_good, timeout=timeout)

    def health(self) -> SubscriptionHealth:
        return self._handle.health()


class BlockingAdapter:
    """See `tests.support.client_adapter.ClientAdapter`."""

    def __init__(self) -> None:
        self.client = stompy.STOMPClient()
        self.changes: list[StateChange] = []

    def close(self) -> None:
        pass

    def connect(self, *addresses: str, **options: Any) -> None:
        self.client.connect(
            addresses[0] if len(addresses) == 1 else list(addresses),
            on_state=self.changes.append,
            **options,
        )

    def disconnect(self) -> None:
        self.client.disconnect()

    def state(self) -> ConnectionState:
        return self.client.state

    def health(self) -> ClientHealth:
        return self.client.health()

    def retry_now(self) -> None:
        self.client.retry_now()

    def wait_connected(self, timeout: float = PATIENCE) -> None:
        self.client.wait_connected(timeout)

    def message(self, destination: str, body: str, **options: Any) -> str | None:
        receipt: str | None = self.client.message(destination, body, **options)
        return receipt

    def post(self, destination: str, body: str) -> BlockingConfirmation:
        return BlockingConfirmation(self.client.post(destination, body))

    def send_many(self, destination: str, bodies: Iterable[str], window: int = 256) -> int:
        return self.client.send_many(destination, bodies, window)

    def flush(self, timeout: float = PATIENCE) -> None:
        self.client.flush(timeout)

    def request(
        self,
        destination: str,
        body: str,
        timeout: float = PATIENCE,
        headers: Mapping[str, HeaderValue] = {},
    ) -> Delivery:
        return self.client.request(destination, body, timeout, headers)

    def subscription(self, destination: str, **options: Any) -> BlockingSubscription:
        return BlockingSubscription(self.client.subscription(destination, **options))

    def browse(self, destination: str, **options: Any) -> list[Delivery]:
        browsing = self.client.browse(destination, **options)
        found: list[Delivery] = list(browsing)
        assert browsing.browsed == len(found)
        return found

    def ack(self, message: Delivery, transaction: str | None = None) -> None:
        assert isinstance(message, Message)
        message.ack(transaction)

    def nack(self, message: Delivery, **options: Any) -> None:
        assert isinstance(message, Message)
        message.nack(**options)

    def reply(self, message: Delivery, *arguments: Any, **options: Any) -> None:
        assert isinstance(message, Message)
        message.reply(*arguments, **options)

    def within(self, message: Delivery, error: Exception | None = None) -> None:
        assert isinstance(message, Message)
        with message:
            if error is not None:
                raise error

    def transaction(self) -> BlockingTransaction:
        return BlockingTransaction(self.client, self.client.transaction())

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        return getattr(self.client, name)(*arguments, **options)
