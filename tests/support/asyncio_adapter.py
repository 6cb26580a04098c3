"""The asyncio client as the client scenarios see it: on a loop of its own, in debug mode.

Every call of a scenario is made on the loop and waited for outside it. What a scenario hands in to
be called, such as a handler, runs on another thread, so that it may call the adapter again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from tests.support.client_adapter import PATIENCE

import stompy.aio
from stompy.aio import Confirmation, Message, STOMPTransaction, Subscription
from stompy.session.commands import HeaderValue
from stompy.session.confirmations import Outcome
from stompy.session.delivery import Delivery, OnError
from stompy.session.health import ClientHealth, SubscriptionHealth
from stompy.session.state import ConnectionState, StateChange

logger = logging.getLogger("tests")

T = TypeVar("T")
_MUCH_LONGER = 5 * PATIENCE


class LoopThread:
    """An event loop on a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_debug(True)
        self.loop.slow_callback_duration = 10.0
        self.loop.set_exception_handler(self._note)
        self.complaints: list[str] = []
        self._thread = threading.Thread(target=self.loop.run_forever, name="asyncio adapter")
        self._thread.start()

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.complaints.append(str(context))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Have it done."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(_MUCH_LONGER)

    def call(self, function: Callable[[], T]) -> T:
        """Have it called."""

        async def called() -> T:
            return function()

        return self.run(called())

    def close(self) -> None:
        """Nothing may be left of the client."""

        async def left() -> list[str]:
            here = asyncio.current_task()
            return [repr(task) for task in asyncio.all_tasks() if task is not here]

        tasks = self.run(left())
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()
        assert not tasks
        assert not self.complaints


class AsyncioConfirmation:
    def __init__(self, runner: LoopThread, confirmation: Confirmation) -> None:
        self._runner = runner
        self._confirmation = confirmation

    def result(self, timeout: float = PATIENCE) -> str:
        return self._runner.run(self._confirmation.result(timeout))

    def outcome(self) -> Outcome:
        return self._confirmation.outcome


class AsyncioTransaction:
    def __init__(
        self, runner: LoopThread, client: stompy.aio.STOMPClient, transaction: STOMPTransaction
    ) -> None:
        self._runner = runner
        self._client = client
        self._transaction = transaction
        self.id = transaction.id

    def message(self, destination: str, body: str, **options: Any) -> None:
        self._runner.run(self._transaction.message(destination, body, **options))

    def commit(self) -> None:
        async def committed() -> None:
            receipt = await self._transaction.commit(receipt=True)
            assert receipt is not None
            await self._client.wait_for_receipt(receipt)

        self._runner.run(committed())

    def abort(self) -> None:
        self._runner.run(self._transaction.abort())


class AsyncioSubscription:
    def __init__(self, runner: LoopThread, handle: Subscription) -> None:
        self._runner = runner
        self._handle = handle
        self.id = handle.id

    def __repr__(self) -> str:
        return repr(self._handle)

    def get(self, timeout: float = PATIENCE) -> Delivery:
        return self._runner.run(self._handle.get(timeout))

    def get_batch(self, n: int, timeout: float = PATIENCE) -> list[Delivery]:
        return list(self._runner.run(self._handle.get_batch(n, timeout)))

    def iterate(self, function: Callable[[Delivery], bool]) -> None:
        async def iterated() -> None:
            async for message in self._handle:
                if await asyncio.to_thread(function, message):
                    return

        self._runner.run(iterated())

    def handle(
        self, function: Callable[[Delivery], object], concurrency: int = 1, on_error: str = "nack"
    ) -> threading.Thread:
        async def handler(message: Message) -> None:
            await asyncio.to_thread(function, message)

        def run() -> None:
            try:
                self._runner.run(self._handle.handle(handler, concurrency, OnError(on_error)))
            except BaseException as error:
                logger.info("handle() ended with %r", error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def handle_now(self, function: Any) -> BaseException | None:
        try:
            self._runner.run(self._handle.handle(function))
        except (TypeError, stompy.STOMPException) as error:
            return error
        return None

    def unsubscribe(self, for_good: bool = False, timeout: float = PATIENCE) -> None:
        self._runner.run(self._handle.unsubscribe(for_good=for_good, timeout=timeout))

    def health(self) -> SubscriptionHealth:
        return self._runner.call(self._handle.health)


class AsyncioAdapter:
    """See `tests.support.client_adapter.ClientAdapter`."""

    def __init__(self) -> None:
        self._runner = LoopThread()
        self.client = stompy.aio.STOMPClient()
        self.changes: list[StateChange] = []

    def close(self) -> None:
        self._runner.close()

    def connect(self, *addresses: str, **options: Any) -> None:
        self._runner.run(
            self.client.connect(
                addresses[0] if len(addresses) == 1 else list(addresses),
                on_state=self.changes.append,
                **options,
            )
        )

    def disconnect(self) -> None:
        self._runner.run(self.client.disconnect())

    def state(self) -> ConnectionState:
        return self.client.state

    def health(self) -> ClientHealth:
        return self._runner.call(self.client.health)

    def retry_now(self) -> None:
        self._runner.call(self.client.retry_now)

    def wait_connected(self, timeout: float = PATIENCE) -> None:
        self._runner.run(self.client.wait_connected(timeout))

    def message(self, destination: str, body: str, **options: Any) -> str | None:
        receipt: str | None = self._runner.run(self.client.message(destination, body, **options))
        return receipt

    def post(self, destination: str, body: str) -> AsyncioConfirmation:
        return AsyncioConfirmation(
            self._runner, self._runner.run(self.client.post(destination, body))
        )

    def send_many(self, destination: str, bodies: Iterable[str], window: int = 256) -> int:
        return self._runner.run(self.client.send_many(destination, _from_thread(bodies), window))

    def flush(self, timeout: float = PATIENCE) -> None:
        self._runner.run(self.client.flush(timeout))

    def request(
        self,
        destination: str,
        body: str,
        timeout: float = PATIENCE,
        headers: Mapping[str, HeaderValue] = {},
    ) -> Delivery:
        return self._runner.run(self.client.request(destination, body, timeout, headers))

    def subscription(self, destination: str, **options: Any) -> AsyncioSubscription:
        async def subscribed() -> Subscription:
            return await self.client.subscription(destination, **options)

        return AsyncioSubscription(self._runner, self._runner.run(subscribed()))

    def browse(self, destination: str, **options: Any) -> list[Delivery]:
        async def shown() -> list[Delivery]:
            browsing = self.client.browse(destination, **options)
            found: list[Delivery] = [message async for message in browsing]
            assert browsing.browsed == len(found)
            return found

        return self._runner.run(shown())

    def ack(self, message: Delivery, transaction: str | None = None) -> None:
        self._runner.run(cast(Message, message).ack(transaction))

    def nack(self, message: Delivery, **options: Any) -> None:
        self._runner.run(cast(Message, message).nack(**options))

    def reply(self, message: Delivery, *arguments: Any, **options: Any) -> None:
        self._runner.run(cast(Message, message).reply(*arguments, **options))

    def within(self, message: Delivery, error: Exception | None = None) -> None:
        async def inside() -> None:
            async with cast(Message, message):
                if error is not None:
                    raise error

        self._runner.run(inside())

    def transaction(self) -> AsyncioTransaction:
        async def begun() -> STOMPTransaction:
            return await self.client.transaction()

        return AsyncioTransaction(self._runner, self.client, self._runner.run(begun()))

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._runner.run(function(*arguments))

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        async def called() -> Any:
            return await getattr(self.client, name)(*arguments, **options)

        return self._runner.run(called())


async def _from_thread(items: Iterable[str]) -> AsyncIterator[str]:
    """The items, each of which may take its time or call the adapter."""
    iterator: Iterator[str] = iter(items)
    nothing = object()
    while (item := await asyncio.to_thread(next, iterator, nothing)) is not nothing:
        yield cast(str, item)
