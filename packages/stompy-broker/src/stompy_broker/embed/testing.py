"""What the pytest plugin does: brokers for tests, clients for them, and what they left open.

The plugin itself, `embed.pytest_plugin`, imports this module when a test asks for a broker, so that
other test runs do not pay for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import TracebackType

import stompy
from stompy import aio
from stompy_broker.config import BrokerConfig, layered, load_config
from stompy_broker.embed.inspect import BrokerTimeoutError
from stompy_broker.embed.thread import RunningBroker, running
from stompy_broker.session.holdings import Holdings
from stompy_broker.virtual_clock import Time

Sections = Mapping[str, object]
"""Settings by section, as in the TOML file."""

QUICK: Sections = {
    "listen": {"port": 0},
    "store": {"data": ""},
    # A test that leaves something open is told so; it need not wait for it as well.
    "times": {"shutdown": 0.0, "linger": 0.5},
}
"""A broker for a test: on a free port, in memory, and quick to stop."""

LEAKS = ("connections", "unsettled", "transactions")
"""What can be left open; a test may be allowed to leave some of it."""

_GOODBYE_SECONDS = 1.0
"""How long a connection that was closed may take to be gone."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Something that a test left open.

    Attributes:
        kind: one of `LEAKS`.
        text: what, and whose.
    """

    kind: str
    text: str


def configured(*layers: Sections) -> BrokerConfig:
    """A configuration made of settings laid over each other, the last one on top.

    Raises:
        ConfigError: a setting that cannot be.
    """
    return load_config(overrides=layered(QUICK, *layers), where="settings of the test broker")


@contextmanager
def checked(
    config: BrokerConfig, tell: Callable[[list[Leak]], None], time: Time = "real"
) -> Iterator[RunningBroker]:
    """A broker, and at its end what is still open there.

    Args:
        config: its settings.
        tell: called with all that is still open, if there is anything.
        time: by which it goes; see `running`.

    Yields:
        The running broker.
    """
    with running(config, time=time) as broker:
        yield broker
        try:
            broker.wait_for(lambda: not broker.connections(), _GOODBYE_SECONDS)
        except BrokerTimeoutError:
            found = leaks(broker.holdings(), connections=True)
        else:
            found = []
    if found:
        tell(found)


class Brokers:
    """Starts brokers, and stops them all at the end of its block.

    Args:
        settings: what all of them have in common.
        time: by which each of them goes; see `running`.
    """

    def __init__(self, settings: Sections, time: Time = "real") -> None:
        self._settings = settings
        self._time = time
        self._running: list[RunningBroker] = []

    def __call__(self, **sections: object) -> RunningBroker:
        """Start one.

        Args:
            sections: its settings, by section as in the TOML file.

        Raises:
            ConfigError: a setting that cannot be.
            OSError: the address cannot be bound to.
        """
        broker = running(configured(self._settings, sections), time=self._time)
        self._running.append(broker)
        return broker

    def stop(self, broker: RunningBroker) -> None:
        """Stop one before the end."""
        self._running.remove(broker)
        broker.stop()

    def __enter__(self) -> Brokers:
        """Give the starter; it has started none."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop those that still run."""
        for broker in list(self._running):
            self.stop(broker)


class Clients:
    """Blocking clients for one test, all closed at its end.

    Args:
        broker: whose clients they are.
        tell: called at the end with what they left open, if there is anything.
    """

    def __init__(self, broker: RunningBroker, tell: Callable[[list[Leak]], None]) -> None:
        self._broker = broker
        self._tell = tell
        self._stack = ExitStack()

    def connect(self, **arguments: object) -> stompy.STOMPClient:
        """One more client, connected to the test's broker.

        Args:
            arguments: those of `stompy.connect`.
        """
        client = stompy.connect(self._broker.url, **arguments)  # type: ignore[arg-type]
        self._stack.callback(client.close)
        return client

    def close(self) -> None:
        """Close them all; before that look what they have to settle, since that ends with them."""
        with self._stack:
            found = leaks(self._broker.holdings(), connections=False)
        if found:
            self._tell(found)


class AsyncioClients:
    """Asyncio clients for one test, each closed at the end of its ``async with``.

    Args:
        broker: whose clients they are.
        tell: called at the end with what they left open, if there is anything.
    """

    def __init__(self, broker: RunningBroker, tell: Callable[[list[Leak]], None]) -> None:
        self._broker = broker
        self._tell = tell
        self._found: list[Leak] = []

    @asynccontextmanager
    async def connect(self, **arguments: object) -> AsyncIterator[aio.STOMPClient]:
        """One more client, connected to the test's broker.

        Args:
            arguments: those of `stompy.aio.connect`.
        """
        before = self._addresses()
        async with aio.connect(self._broker.url, **arguments) as client:  # type: ignore[arg-type]
            ours = self._addresses() - before
            yield client
            # It looks now, because what is unsettled ends with the connection; who else connected
            # at that very moment cannot be told from this client, and is not blamed for it.
            if len(ours) == 1:
                mine = [held for held in self._broker.holdings() if held.address in ours]
                self._found += leaks(mine, connections=False)

    def _addresses(self) -> set[str]:
        return {held.address for held in self._broker.holdings()}

    def close(self) -> None:
        """Tell what was found."""
        if self._found:
            self._tell(self._found)


def leaks(clients: Iterable[Holdings], *, connections: bool) -> list[Leak]:
    """What clients hold that a test should have settled, ended or closed.

    Args:
        clients: who is connected.
        connections: whether being connected counts as well.
    """
    found = []
    for client in clients:
        who = f"client {client.address}"
        if connections:
            found.append(Leak("connections", f"{who} is still connected"))
        found += [
            Leak(
                "unsettled",
                f"{who} has {held.unsettled} messages of {held.destination} (subscription "
                f"{held.id}) that were delivered and neither acknowledged nor refused",
            )
            for held in client.subscriptions
            if held.unsettled
        ]
        found += [
            Leak("transactions", f"{who} has neither committed nor aborted {transaction}")
            for transaction in client.transactions
        ]
    return found
