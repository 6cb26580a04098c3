"""Replies on their way to the temporary queues of clients, here and at other brokers."""

from __future__ import annotations

from typing import Protocol

from stompy_broker.destinations.names import Destination, DestinationKind
from stompy_broker.message import MessageHead
from stompy_broker.routing.answers import Done, Refused
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.registry import Registry
from stompy_broker.routing.requests import Requests


class Publishing(Protocol):
    """Publishes what is on its way.

    Attributes:
        unroutable: messages that went to no queue at all.
    """

    unroutable: int

    def publish(self, destination: Destination, head: MessageHead, body: bytes) -> object:
        """Route one message to its destination."""
        ...

    def publish_to(
        self,
        queue: Queue,
        head: MessageHead,
        body: bytes,
        done: Done | None = None,
        refused: Refused | None = None,
    ) -> None:
        """Put a message into a queue that is known already."""
        ...


class Replies:
    """What is sent to somebody's temporary queue, by the address that others have of it.

    Args:
        registry: knows the temporary queues.
        requests: those that the broker answers if nobody else does.
        router: publishes.
    """

    def __init__(self, registry: Registry, requests: Requests, router: Publishing) -> None:
        self._queues = registry.replies
        self._table = registry.table
        self._requests = requests
        self._router = router

    def publish(
        self,
        name: str,
        head: MessageHead,
        body: bytes,
        done: Done | None,
        refused: Refused | None,
    ) -> Watermark | None:
        """Publish a reply. One to somebody who is gone is dropped: its sender is not to blame."""
        if name not in self._queues and self._table.others is not None:
            return self._table.others.reply(name, head, body, done, refused)
        self.take(name, head, body, done, refused)
        return None

    def take(
        self,
        name: str,
        head: MessageHead,
        body: bytes,
        done: Done | None,
        refused: Refused | None,
    ) -> None:
        """Publish a reply to somebody who is connected to this broker, or was."""
        queue = self._queues.get(name)
        if queue is None:
            self._router.unroutable += 1
            if done is not None:
                done()
            return
        headers = head.headers() | {"destination": queue.destination}
        address = f"{DestinationKind.REPLY.value}{name}"
        if not self._requests.watching or self._requests.take(address, headers, body):
            told = MessageHead.from_headers(headers)
            self._router.publish_to(queue, told, body, done, refused)
        elif done is not None:
            done()

    def answer(self, destination: Destination, head: MessageHead) -> None:
        """Put the broker's own answer where replies go; dropped if nobody is there any more."""
        queue = self._queues.get(destination.name)
        if destination.kind is DestinationKind.QUEUE:
            self._router.publish(destination, head, b"")
        elif queue is not None:
            headers = head.headers() | {"destination": queue.destination}
            self._router.publish_to(queue, MessageHead.from_headers(headers), b"")

    def notify(self, name: str, head: MessageHead) -> None:
        """Tell the broker of a temporary queue what became of a request, if it is another one."""
        others = self._table.others
        if others is not None and name not in self._queues:
            others.reply(name, head, b"", None, None)
