"""A broker on a thread of its own, for tests, notebooks and programs without an event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from stompy_broker.broker import Broker
from stompy_broker.config import BrokerConfig, load_config
from stompy_broker.watched import Watched

T = TypeVar("T")

log = logging.getLogger("stompy_broker")


class RunningBroker(Watched):
    """A handle on a broker that runs on another thread; its methods may be called from any.

    Attributes:
        url: what clients connect to.
        host: where it listens.
        port: where it listens.
    """

    def __init__(self, broker: Broker, loop: asyncio.AbstractEventLoop) -> None:
        self._broker = broker
        self._loop = loop
        self.url = broker.url
        self.host = broker.host
        self.port = broker.port

    def _submit(self, work: Callable[[Broker], Coroutine[object, object, T]]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work(self._broker), self._loop)

    def __repr__(self) -> str:
        """Where it listens."""
        return f"<RunningBroker {self.url}>"


@contextmanager
def running(config: BrokerConfig | None = None, *, port: int = 0) -> Iterator[RunningBroker]:
    """Run a broker on a thread of its own until the block is left.

    Args:
        config: its settings; None for the defaults, with messages in memory only.
        port: where to listen unless ``config`` is given; 0 picks a free port.

    Yields:
        The running broker, which listens already.

    Raises:
        OSError: the address cannot be bound to.
    """
    settings: dict[str, dict[str, object]] = {"listen": {"port": port}, "store": {"data": ""}}
    broker = Broker(config or load_config(overrides=settings))
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    failure: list[BaseException] = []

    async def serve() -> None:
        try:
            async with broker:
                started.set()
                await stop.wait()
        except BaseException as error:
            failure.append(error)
            raise
        finally:
            started.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(serve())
        except BaseException:
            # It is in `failure`, and is raised again on the caller's thread.
            log.debug("the broker's thread ends by an exception", exc_info=True)
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    thread = threading.Thread(target=run, name="stompy-broker", daemon=True)
    thread.start()
    started.wait()
    if failure:
        thread.join()
        raise failure[0]
    try:
        yield RunningBroker(broker, loop)
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join()
        if failure:
            raise failure[0]
