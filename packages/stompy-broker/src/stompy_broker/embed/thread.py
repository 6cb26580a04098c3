"""A broker on a thread of its own, for tests, notebooks and programs without an event loop.

What holds at all times:

* The broker's thread holds no reference to its `RunningBroker`, so one that nobody can reach any
  more is stopped by the garbage collector.
* A broker that still runs when the interpreter ends is stopped before that, with all it has to
  write.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Literal, TypeVar, overload

from stompy.admin.explanation import RouteExplanation
from stompy.admin.rows import (
    BrokerRow,
    ConnectionRow,
    DurableRow,
    Kind,
    QueueDetail,
    QueueRow,
    ReaderRow,
    RetainedRow,
    Row,
    ScheduledRow,
    SubscriptionRow,
    TopicRow,
    TransactionRow,
)
from stompy.data_table import DataTable, Value
from stompy.records import Rows
from stompy.sql_query import MOST_BYTES, SECONDS
from stompy.transport.threads import WaitableThread
from stompy_broker.broker import Broker
from stompy_broker.config import BrokerConfig, layered, load_config
from stompy_broker.destinations.policy import Policy
from stompy_broker.embed.inspect import (
    ANSWER_SECONDS,
    PAUSE,
    TIMEOUT,
    AwaitableWaits,
    QueueView,
    described,
    in_vain,
    joined,
)
from stompy_broker.embed.virtual_time import VirtualTime
from stompy_broker.event_loop import new_event_loop
from stompy_broker.routing.stats import QueueStats
from stompy_broker.session.holdings import Holdings
from stompy_broker.virtual_clock import Time

T = TypeVar("T")

log = logging.getLogger("stompy_broker")

GATHER_SECONDS = 300.0
"""Looking at all messages of a broker takes no longer than this."""


class _Host:
    """A thread, its event loop, and the broker in it."""

    def __init__(self, config: BrokerConfig, time: Time) -> None:
        self.time = time
        self.broker = Broker(config, time=time)
        self.loop = new_event_loop(config.server.loop)
        self._workers = ThreadPoolExecutor()
        self.loop.set_default_executor(self._workers)
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = WaitableThread(self._run, "stompy-broker")

    def start(self) -> None:
        """Return when the broker listens.

        Raises:
            OSError: the address cannot be bound to.
            StoreError: the data directory cannot be used.
        """
        self._thread.start()
        self._started.wait()
        if self._failure is None:
            _hosts.add(self)
        else:
            self.join()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def ask_to_stop(self) -> None:
        # The loop of a fork has no thread; and one may end at this very moment.
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._stop.set)

    def join(self) -> None:
        """Wait for the end, and raise what it ended by, once."""
        if self._thread.is_alive():  # in a fork it never is, nor will it ever be over
            self._thread.wait()
        _hosts.discard(self)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failure = error
            log.debug("the broker's thread ends by an exception", exc_info=True)
        finally:
            # The loop's own way would begin a thread, which Python 3.12 does not let it when the
            # program ends.
            self._workers.shutdown()
            self.loop.close()
            self._started.set()

    async def _serve(self) -> None:
        async with self.broker:
            self._started.set()
            await self._stop.wait()


_hosts: set[_Host] = set()
_named: dict[str, RunningBroker] = {}
_naming = threading.Lock()


@atexit.register
def _stop_all() -> None:
    for host in list(_hosts):
        host.ask_to_stop()
    for host in list(_hosts):
        try:
            host.join()
        except BaseException:
            log.exception("a broker did not end well")


class RunningBroker:
    """A broker that runs on another thread; its methods may be called from any.

    Use it with ``with``, or call `stop`. One that is forgotten is stopped by the garbage collector,
    or at the end of the program.

    Attributes:
        url: what clients connect to.
        urls: all that they may connect to: TLS and WebSocket too.
        http_urls: where metrics and health are, by HTTP.
        host: where it listens.
        port: where it listens.
    """

    def __init__(self, host: _Host) -> None:
        self._host = host
        self.url = host.broker.url
        self.urls = host.broker.urls
        self.http_urls = host.broker.http_urls
        self.host = host.broker.host
        self.port = host.broker.port
        # Whoever collects the garbage must not wait, least of all the broker's own thread.
        weakref.finalize(self, host.ask_to_stop).atexit = False

    @property
    def is_running(self) -> bool:
        """Whether clients can connect."""
        return self._host.is_running

    def stop(self) -> None:
        """Stop the broker and wait for its end. Harmless when repeated."""
        self._host.ask_to_stop()
        self._host.join()

    @property
    def time(self) -> VirtualTime:
        """What moves the time of the broker.

        Raises:
            RuntimeError: it moves by itself: the broker was not started with ``time="virtual"``.
        """
        return VirtualTime(self, self._host.broker.time)

    def reload(self) -> list[str]:
        """Have the broker read certificates and users again; give what went wrong."""
        return self._ask(lambda broker: broker.reload())

    def _ask(self, question: Callable[[Broker], T]) -> T:
        async def answer(broker: Broker) -> T:
            return question(broker)

        return self._await(answer)

    def _await(self, work: Callable[[Broker], Coroutine[object, object, T]]) -> T:
        return self._submit(work).result(ANSWER_SECONDS)

    def _submit(self, work: Callable[[Broker], Coroutine[object, object, T]]) -> Future[T]:
        if not self._host.is_running:
            raise RuntimeError(f"the broker at {self.url} has stopped")
        return asyncio.run_coroutine_threadsafe(work(self._host.broker), self._host.loop)

    # -- looking -------------------------------------------------------------------------------

    def queues(self) -> Rows[QueueStats]:
        """The counters of all queues, by name."""
        return self._await(lambda broker: broker.queries.queues())

    def connections(self) -> int:
        """How many clients are connected."""
        return self._ask(lambda broker: broker.connections)

    def explain(
        self,
        destination: str,
        headers: Mapping[str, str] | None = None,
        *,
        body_bytes: int = 0,
        user: str | None = None,
    ) -> RouteExplanation:
        """Where a message would go, who would get it and who not, and why. Nothing is sent.

        Args:
            destination: of the SEND.
            headers: of the SEND.
            body_bytes: size of its body.
            user: who would send it; None = somebody without login.

        Returns:
            What can be looked at, and printed.

        Raises:
            CommandError: no SEND may go there.
        """
        return self._await(
            lambda broker: broker.queries.explain(destination, headers or {}, body_bytes, user)
        )

    @overload
    def snapshot(
        self, kind: Literal[Kind.BROKER, "broker"], name: str = ...
    ) -> Rows[BrokerRow]: ...

    @overload
    def snapshot(self, kind: Literal[Kind.QUEUES, "queues"], name: str = ...) -> Rows[QueueRow]: ...

    @overload
    def snapshot(self, kind: Literal[Kind.TOPICS, "topics"], name: str = ...) -> Rows[TopicRow]: ...

    @overload
    def snapshot(
        self, kind: Literal[Kind.CONNECTIONS, "connections"], name: str = ...
    ) -> Rows[ConnectionRow]: ...

    @overload
    def snapshot(
        self, kind: Literal[Kind.SUBSCRIPTIONS, "subscriptions"], name: str = ...
    ) -> Rows[SubscriptionRow]: ...

    @overload
    def snapshot(
        self, kind: Literal[Kind.DURABLE, "durable"], name: str = ...
    ) -> Rows[DurableRow]: ...

    @overload
    def snapshot(
        self, kind: Literal[Kind.TRANSACTIONS, "transactions"], name: str = ...
    ) -> Rows[TransactionRow]: ...

    @overload
    def snapshot(
        self, kind: Literal[Kind.SCHEDULED, "scheduled"], name: str = ...
    ) -> Rows[ScheduledRow]: ...

    @overload
    def snapshot(
        self, kind: Literal[Kind.READERS, "readers"], name: str = ...
    ) -> Rows[ReaderRow]: ...

    @overload
    def snapshot(
        self, kind: Literal[Kind.RETAINED, "retained"], name: str = ...
    ) -> Rows[RetainedRow]: ...

    @overload
    def snapshot(
        self, kind: Literal[Kind.QUEUE, "queue"], name: str = ...
    ) -> Rows[QueueDetail]: ...

    @overload
    def snapshot(self, kind: Kind, name: str = ...) -> Rows[Row]: ...

    def snapshot(self, kind: Kind | str, name: str = "") -> Rows[Any]:
        """All there is to know about the things of one kind, as the admin topics tell it.

        Args:
            kind: ``broker``, ``queues``, ``topics``, ``connections``, ``subscriptions``,
                ``durable``, ``transactions``, ``scheduled``, ``readers``, ``retained``, or
                ``queue``.
            name: of the queue, for ``queue``.

        Raises:
            ValueError: there is no such kind of snapshot.
        """
        wanted = Kind(kind)
        if wanted is Kind.EVENT:
            raise ValueError("events are no snapshot: subscribe to /topic/$SYS.event.>")
        return self._await(lambda broker: broker.queries.snapshot(wanted, name))

    def queue(self, name: str) -> QueueView:
        """Give a queue to look into. It need not exist yet.

        Args:
            name: its name, with or without ``/queue/``.

        Raises:
            ProtocolError: no queue can have such a name.
            ValueError: it is no queue.
        """
        return QueueView(self, name)

    def sql(
        self,
        query: str,
        parameters: Sequence[Value] | Mapping[str, Value] = (),
        *,
        queues: Sequence[str] = (),
        seconds: float = SECONDS,
        most_bytes: int = MOST_BYTES,
    ) -> DataTable:
        """Answer one SELECT from what there is now. Nothing is consumed, and nothing changes.

        >>> broker.sql("SELECT queue, count(*) n FROM messages GROUP BY 1")  # doctest: +SKIP

        Args:
            query: from ``messages``, ``dead_letters``, ``queues``, ``connections``,
                ``subscriptions``, ``events`` and ``history``.
            parameters: for the question marks and names in it.
            queues: whose messages and history to read, with or without ``/queue/``; all by
                default.
            seconds: how long it may take, once all its rows are there.
            most_bytes: how large its rows may be together, and also what comes of it.

        Raises:
            SqlError: it cannot be, or took too long or too much memory.
        """

        def ask(broker: Broker) -> Coroutine[object, object, DataTable]:
            return broker.queries.sql(
                query, parameters, queues=queues, seconds=seconds, most_bytes=most_bytes
            )

        return self._submit(ask).result(seconds + GATHER_SECONDS)

    def holdings(self) -> list[Holdings]:
        """What each client holds: subscriptions, unsettled deliveries, open transactions."""
        return self._ask(lambda broker: broker.holdings())

    def describe(self) -> str:
        """Tell of queues and clients in some lines, for people."""
        return self._await(described)

    def cut(self) -> None:
        """Cut all connections off, as a network that breaks would. The broker goes on."""
        self._ask(lambda broker: broker.abort())

    # -- waiting -------------------------------------------------------------------------------

    def join(self, *queues: str, timeout: float = TIMEOUT, count: int = 1) -> None:
        """Wait until everything in some queues was consumed and settled.

        A message that was sent without asking for a receipt may still be on its way when this
        is called. So a queue counts as done only when at least ``count`` messages have come
        into it, and when no client has sent something that the broker has not read.

        Args:
            queues: their names, with or without ``/queue/``.
            timeout: seconds.
            count: how many messages each of them must have had.

        Raises:
            BrokerTimeoutError: it did not happen in time.
            ValueError: no queue was named.
        """
        __tracebackhide__ = True  # pytest shows the caller's line instead
        waiting = self._submit(joined(queues, timeout, count))
        error = waiting.result(timeout + ANSWER_SECONDS)
        if error is not None:
            raise error

    def wait_for(
        self, condition: Callable[[], T], timeout: float = TIMEOUT, *, what: str = ""
    ) -> T:
        """Wait until a condition holds, and give what it returned.

        Args:
            condition: called again and again, on this thread, until it returns something true.
            timeout: seconds.
            what: words for what is waited for, for the error; default: the condition's name.

        Raises:
            BrokerTimeoutError: it did not happen in time.
        """
        __tracebackhide__ = True
        deadline = time.monotonic() + timeout
        while not (result := condition()):
            if time.monotonic() >= deadline:
                raise in_vain(condition, timeout, what, self.describe())
            time.sleep(PAUSE)
        return result

    @property
    def aio(self) -> AwaitableWaits:
        """The same waits for coroutines, which must not block their event loop."""
        return AwaitableWaits(self)

    # -- its life ------------------------------------------------------------------------------

    def __enter__(self) -> RunningBroker:
        """Give the broker, which listens."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the broker, as `stop` does."""
        self.stop()

    def __repr__(self) -> str:
        """Show where it listens."""
        return f"<RunningBroker {self.url}{'' if self.is_running else ' stopped'}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        if not self.is_running:
            return f"<em>the broker at {self.url} has stopped</em>"
        return self._ask(lambda broker: broker._repr_html_())


def running(
    config: BrokerConfig | Mapping[str, object] | None = None,
    *,
    port: int = 0,
    policy: Sequence[Policy | Mapping[str, object]] | None = None,
    time: Time = "real",
    name: str | None = None,
    restart: bool = False,
) -> RunningBroker:
    """Start a broker on a thread of its own.

    Args:
        config: its settings: what `load_config` gives, or settings by section as in the TOML file,
            laid over the defaults. Messages are in memory only unless they name a directory.
        port: where to listen unless ``config`` says so; 0 picks a free port.
        policy: its policies, as in the TOML file, in place of those in ``config``.
        time: ``virtual``: it stands still unless `RunningBroker.time` moves it, and begins now; a
            datetime with a time zone: the same, and it begins then.
        name: while a broker of this name runs in this process, it is returned, and none is
            started: what a cell of a notebook wants that is run a second time.
        restart: stop that broker instead, and begin afresh.

    Returns:
        The running broker, which listens already. ``with`` stops it at the end of the block.

    Raises:
        ConfigError: a setting that cannot be, or a file that the configuration names cannot be
            used.
        OSError: the address cannot be bound to.
        StoreError: the data directory cannot be used.
        TypeError: ``config`` is neither settings nor a configuration.
        ValueError: a broker of this name runs with another ``config`` or time, or there is no such
            time.
    """
    chosen = _config(config, port, policy)
    if name is None:
        return _started(chosen, time)
    with _naming:
        known = _named.get(name)
        if known is not None and restart:
            known.stop()
        if known is None or not known.is_running:
            known = _named[name] = _started(chosen, time)
        elif time not in ("real", known._host.time) or (
            (config is not None or policy) and chosen != known._host.broker.config
        ):
            raise ValueError(
                f"the broker {name!r} runs already, with other settings: call its stop() first"
            )
        return known


def _config(
    config: BrokerConfig | Mapping[str, object] | None,
    port: int,
    policy: Sequence[Policy | Mapping[str, object]] | None,
) -> BrokerConfig:
    policies: dict[str, object] = {} if policy is None else {"policy": policy}
    if isinstance(config, BrokerConfig):
        if policy is None:
            return config
        return config.model_copy(
            update={"policy": load_config(overrides=policies, where="running()").policy}
        )
    if config is not None and not isinstance(config, Mapping):
        raise TypeError(
            "the settings of a broker are sections such as {'listen': {'port': 0}}, or what "
            f"load_config(Path(…)) reads from a file, not {type(config).__name__}"
        )
    settings = {"listen": {"port": port}, "store": {"data": ""}}
    merged = layered(settings, config or {}, policies)
    return load_config(overrides=merged, where="running()")


def _started(config: BrokerConfig, time: Time) -> RunningBroker:
    host = _Host(config, time)
    host.start()
    return RunningBroker(host)
