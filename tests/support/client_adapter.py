"""What the client scenarios of ``tests/contract`` need of a client, blocking or asyncio.

The scenarios are written once, as plain functions. `BlockingAdapter` passes the calls on; the
adapter of the asyncio client runs a loop in a thread of its own and waits there for each call. All
names and meanings are those of the client; only what differs by nature, ``with message`` and
``async with message`` for example, has a verb of its own here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from stompy.session.commands import HeaderValue
from stompy.session.confirmations import Outcome
from stompy.session.delivery import Delivery
from stompy.session.health import ClientHealth, SubscriptionHealth
from stompy.session.state import ConnectionState, StateChange

PATIENCE = 10.0
"""Seconds after which something that should have happened counts as not happening."""


class ConfirmationAdapter(Protocol):
    """A frame that was posted."""

    def result(self, timeout: float = PATIENCE) -> str:
        """The receipt id; raises what the client raises."""

    def outcome(self) -> Outcome:
        """What is known now."""


class TransactionAdapter(Protocol):
    """An open transaction."""

    id: str

    def message(self, destination: str, body: str, **options: object) -> None: ...

    def commit(self) -> None:
        """Commit, and wait until that is confirmed."""

    def abort(self) -> None: ...


class SubscriptionAdapter(Protocol):
    """The handle of a subscription."""

    id: str

    def get(self, timeout: float = PATIENCE) -> Delivery: ...

    def get_batch(self, n: int, timeout: float = PATIENCE) -> list[Delivery]: ...

    def iterate(self, function: Callable[[Delivery], bool]) -> None:
        """``for message in subscription``, until the function says true or iteration ends."""

    def handle(
        self, function: Callable[[Delivery], object], concurrency: int = 1, on_error: str = "nack"
    ) -> threading.Thread:
        """Run `handle` in the background, with a handler of the client's own kind that calls
        ``function``; the thread ends when `handle` returns."""

    def handle_now(self, function: object) -> BaseException | None:
        """Call `handle` with the function as it is; what it raises."""

    def unsubscribe(self, for_good: bool = False, timeout: float = PATIENCE) -> None: ...

    def health(self) -> SubscriptionHealth: ...


class ClientAdapter(Protocol):
    """A client; `connect` has to come first."""

    changes: list[StateChange]
    """What the state callback was told, in order."""

    def connect(self, *addresses: str, **options: object) -> None:
        """Connect with ``on_state`` filling `changes`."""

    def disconnect(self) -> None: ...

    def close(self) -> None:
        """Let go of what the adapter itself needs; the client is disconnected."""

    def state(self) -> ConnectionState: ...

    def health(self) -> ClientHealth: ...

    def retry_now(self) -> None: ...

    def wait_connected(self, timeout: float = PATIENCE) -> None: ...

    def message(self, destination: str, body: str, **options: object) -> str | None:
        """With ``confirm=True`` and the like passed on."""

    def post(self, destination: str, body: str) -> ConfirmationAdapter: ...

    def send_many(self, destination: str, bodies: Iterable[str], window: int = 256) -> int: ...

    def flush(self, timeout: float = PATIENCE) -> None: ...

    def request(
        self,
        destination: str,
        body: str,
        timeout: float = PATIENCE,
        headers: Mapping[str, HeaderValue] = {},
    ) -> Delivery: ...

    def subscription(self, destination: str, **options: object) -> SubscriptionAdapter: ...

    def browse(self, destination: str, **options: Any) -> list[Delivery]:
        """``for message in client.browse(…)``, to the end."""

    def ack(self, message: Delivery, transaction: str | None = None) -> None:
        """``message.ack()``."""

    def nack(self, message: Delivery, **options: object) -> None:
        """``message.nack()``."""

    def reply(self, message: Delivery, *arguments: Any, **options: Any) -> None:
        """``message.reply()``."""

    def within(self, message: Delivery, error: Exception | None = None) -> None:
        """``with message:`` around a block that raises ``error``, or nothing."""

    def transaction(self) -> TransactionAdapter: ...

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """A call of something that the client gave."""

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Any call, as an application writes it; mistaken ones too."""
