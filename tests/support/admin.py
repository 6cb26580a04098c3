"""A client that watches a broker and gives it commands, over the bare socket of `Peer`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.support.wire import Frame, Peer

from stompy.admin import (
    COMMAND_DESTINATION,
    TOPIC_PREFIX,
    CommandError,
    CommandErrorCode,
    Page,
    Reply,
    Request,
    read_page,
)

Code = CommandErrorCode

_numbers = itertools.count(1)


class Observer:
    """Watches and commands.

    Args:
        peer: a connected client.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._kept: list[Frame] = []

    def subscribe(self, topic: str, **headers: object) -> str:
        """SUBSCRIBE to ``/topic/$SYS.<topic>``; gives the id."""
        subscription_id = f"w{next(_numbers)}"
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        self.peer.send(
            f"SUBSCRIBE\nid:{subscription_id}\ndestination:{TOPIC_PREFIX}{topic}\n{lines}\n\0"
        )
        return subscription_id

    def frame(self, subscription_id: str) -> Frame:
        """The next MESSAGE of one subscription; those of others are kept."""
        for number, kept in enumerate(self._kept):
            if kept.get("subscription") == subscription_id:
                return self._kept.pop(number)
        while True:
            frame = self.peer.expect("MESSAGE")
            if frame.get("subscription") == subscription_id:
                return frame
            self._kept.append(frame)

    def page(self, subscription_id: str) -> Page:
        """The next page of one subscription."""
        frame = self.frame(subscription_id)
        return read_page(frame.body, dict(frame.headers))

    def page_with(self, subscription_id: str, condition: Any) -> Page:
        """The next page of one subscription for which something holds."""
        while not condition(page := self.page(subscription_id)):
            pass
        return page

    def ask(self, cmd: str, dry_run: bool = False, expect: int | None = None, **args: Any) -> Any:
        """Give a command; gives the result, or raises the error.

        Raises:
            CommandError: the command failed.
        """
        return self.replies(Request(cmd, args, dry_run, expect).to_json())[-1].checked()

    def replies(self, body: bytes) -> list[Reply]:
        """Send a request as it is; gives its answers."""
        number = f"r{next(_numbers)}"
        self.peer.send(
            f"SEND\ndestination:{COMMAND_DESTINATION}\nreply-to:/temp-queue/answers\n"
            f"correlation-id:{number}\ncontent-length:{len(body)}\n\n",
            body,
            b"\0",
        )
        replies = []
        while True:
            frame = self.frame("/temp-queue/answers")
            assert frame["correlation-id"] == number
            assert frame["content-type"] == "application/json"
            reply = Reply.from_json(frame.body, dict(frame.headers))
            assert frame["status"] == ("ok" if reply.ok else "error")
            replies.append(reply)
            if reply.final:
                return replies

    def fill(self, queue: str, *bodies: str, **headers: str) -> None:
        """Send messages and wait until the broker has them."""
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        for body in bodies:
            self.peer.send(f"SEND\ndestination:/queue/{queue}\n{lines}\n{body}\0")
        self.ask("ping")

    def bodies(self, queue: str) -> list[str]:
        """The bodies of what waits in a queue."""
        peeked = self.ask("message.peek", queue=queue, limit=1000)
        return [message["body"] for message in peeked["messages"]]

    def row(self, queue: str) -> dict[str, Any]:
        """The row of a queue."""
        result: dict[str, Any] = self.ask("queue.get", queue=queue)
        return result


@contextmanager
def observing(port: int, *headers: str, version: str = "1.2") -> Iterator[Observer]:
    """An observer of a broker; headers are lines of CONNECT."""
    peer = Peer.open(port, version, *headers)
    try:
        yield Observer(peer)
    finally:
        peer.close()


def data(frame: Frame) -> Any:
    """The JSON of a frame."""
    return json.loads(frame.body)


def fails(code: CommandErrorCode, ask: Any, *args: Any, **kwargs: Any) -> CommandError:
    """Ask something that fails in a certain way; gives the error."""
    with pytest.raises(CommandError) as caught:
        ask(*args, **kwargs)
    assert caught.value.code is code, caught.value
    return caught.value
