"""The subscriptions of one client that only look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from stompy.protocol.header_cache import Head
from stompy_broker.destinations.names import Destination, DestinationKind, schedules_of
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.message_state import MessageState
from stompy_broker.routing.queue_patterns import MOST_JOINED, QueuePattern, too_many
from stompy_broker.session.browse_request import read_browse
from stompy_broker.session.browser import Browser
from stompy_broker.session.context import BrokerContext, ClientState
from stompy_broker.session.receipts import Receipts

_SCHEDULED = frozenset((MessageState.SCHEDULED,))


class Browsers:
    """What one client looks at, by the client's ids.

    Args:
        context: what sessions share.
        client: whose they are.
        receipts: of that client.

    Attributes:
        shown: messages that those showed that have ended.
    """

    def __init__(self, context: BrokerContext, client: ClientState, receipts: Receipts) -> None:
        self.shown = 0
        self._context = context
        self._client = client
        self._receipts = receipts
        self._by_key: dict[str, Browser] = {}

    def subscribe(self, key: str, destination: Destination, head: Head) -> None:
        """Carry out a SUBSCRIBE with ``browser:true``.

        Raises:
            ProtocolError: it is not allowed, or one of its headers does not fit.
        """
        context, client, headers = self._context, self._client, head.headers
        is_stream = context.router.registry.means_stream(destination, headers)
        request = read_browse(destination, headers, is_stream=is_stream)
        context.router.caps.check_name(destination.name)
        context.foreign_headers.check("BROWSE", headers, destination, is_stream=is_stream)
        client.permissions.check_browse(destination)
        if destination.is_pattern_of_queues:
            for name in self._matching(destination.name):
                client.permissions.check_browse(_queue(name))
        browser = Browser(
            request,
            partial(self._queues, destination, request.states),
            client.peer.output,
            client.version,
            context.clock,
            context.browse_pace,
        )
        browser.number = context.next_number()
        self._by_key[key] = browser
        browser.open()
        receipt = headers.get("receipt")
        if receipt is None:
            browser.begin()
        else:
            self._receipts.now(partial(self._write_and_begin, receipt, browser))

    def _write_and_begin(self, receipt: str, browser: Browser) -> None:
        self._receipts.write(receipt)
        browser.begin()

    def _queues(self, destination: Destination, states: frozenset[MessageState]) -> Sequence[Queue]:
        """The queues that are there, and of what is to come to them later; none is made."""
        registry, permissions = self._context.router.registry, self._client.permissions
        if not destination.is_pattern_of_queues:
            names = [destination.name] if registry.has_queue(destination.name) else []
        else:
            names = self._matching(destination.name)
            names = [name for name in names if permissions.may_browse(_queue(name))]
        wanted: list[str] = [] if states == _SCHEDULED else names
        if MessageState.SCHEDULED in states:
            later = [schedules_of(str(_queue(name))) for name in names]
            wanted = wanted + [name for name in later if registry.has_queue(name)]
        return [registry.queue(name, capped=False) for name in wanted]

    def _matching(self, pattern: str) -> list[str]:
        registry = self._context.router.registry
        names = dict.fromkeys(registry.queues)
        others = registry.table.others
        if others is not None:
            names |= dict.fromkeys(others.queue_names())
        matching = sorted(QueuePattern(pattern).matching(names))
        if len(matching) > MOST_JOINED:
            raise too_many(pattern)
        return matching

    def end(self, key: str) -> None:
        """End the one of this id."""
        browser = self._by_key.pop(key)
        browser.end()
        self.shown += browser.shown

    def resume(self) -> None:
        """Let all of them go on: the output has room again."""
        for browser in list(self._by_key.values()):
            browser.resume()

    def close(self) -> None:
        """End all of them: the client has gone."""
        for key in list(self._by_key):
            self.end(key)

    @property
    def written(self) -> int:
        """Messages that were shown so far."""
        return self.shown + sum(browser.shown for browser in self._by_key.values())

    def __iter__(self) -> Iterator[Browser]:
        """Those that have not ended, not even by an operator."""
        return iter([browser for browser in self._by_key.values() if not browser.ended])

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def __len__(self) -> int:
        return len(self._by_key)


def _queue(name: str) -> Destination:
    return Destination(DestinationKind.QUEUE, name, is_pattern=False)
