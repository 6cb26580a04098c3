"""Replies to temporary queues at other brokers.

A temporary queue lives in the broker of its client. Others know it as
``/reply-queue/BROKER.TOKEN``, so a reply goes over the link to that broker, which says what became
of it. One to a broker that is gone, or whose link breaks, is dropped, as is one to a connection
that is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from stompy.errors import ProtocolError
from stompy_broker.cluster.link.link import Link
from stompy_broker.cluster.topics.topic_codec import (
    Reply,
    ReplyTaken,
    code_and_text,
    error_of,
    write,
    write_reply,
)
from stompy_broker.message import MessageHead
from stompy_broker.routing.answers import Done, Refused
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.router import Router

ON_LINK = 8 * 1024 * 1024
"""Bytes of replies on one link without an answer at which their senders have to wait."""


def reply_token(broker: str, token: Callable[[], str]) -> str:
    """A name for a temporary queue of this broker, which nobody can guess."""
    return f"{broker}.{token()}"


class _Sent:
    """The replies on one link that are not answered."""

    def __init__(self) -> None:
        self.waiting: dict[int, tuple[int, Done | None, Refused | None]] = {}
        self.watermark = Watermark(ON_LINK)


class RemoteReplies:
    """Sends replies to other brokers, and takes those of others.

    Args:
        router: takes replies to clients of this broker.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._number = 0
        self._links: dict[str, Link] = {}  # to other brokers
        self._sent: dict[Link, _Sent] = {}

    def opened(self, link: Link) -> None:
        """Send replies over a link that this broker has opened."""
        self._links[link.peer] = link
        self._sent[link] = _Sent()

    def lost(self, link: Link) -> None:
        """Give up what was on a link and was not answered."""
        if self._links.get(link.peer) is link:
            del self._links[link.peer]
        sent = self._sent.pop(link, None)
        if sent is None:
            return
        self._router.unroutable += len(sent.waiting)
        for _, done, _ in sent.waiting.values():
            if done is not None:
                done()
        sent.watermark.wake()

    def send(
        self, name: str, head: MessageHead, body: bytes, done: Done | None, refused: Refused | None
    ) -> Watermark | None:
        """Send a reply; gives what its sender has to wait for before it sends more."""
        link = self._links.get(name.rpartition(".")[0])
        if link is None:
            self._router.unroutable += 1
            if done is not None:
                done()
            return None
        number = self._number = self._number + 1
        sent, size = self._sent[link], len(body) + len(head.block)
        sent.waiting[number] = (size, done, refused)
        sent.watermark.add(size)
        link.send(write_reply(Reply(number, name, refused is not None, head, body)))
        return sent.watermark if sent.watermark.full else None

    def answered(self, link: Link, answer: ReplyTaken) -> None:
        """Take what became of a reply."""
        sent = self._sent.get(link)
        if sent is None or answer.number not in sent.waiting:
            return
        size, done, refused = sent.waiting.pop(answer.number)
        sent.watermark.used -= size
        sent.watermark.check()
        error = error_of(answer)
        if error is not None and refused is not None:
            refused(error)
        elif done is not None:
            done()

    def received(self, link: Link, reply: Reply) -> None:
        """Put a reply into the queue of a client of this broker, and say what became of it."""
        answer = partial(_answer, link, reply.number)
        refused = answer if reply.may_be_refused else None
        self._router.replies.take(reply.name, reply.head, reply.body, answer, refused)


def _answer(link: Link, number: int, error: ProtocolError | None = None, /) -> None:
    link.send(write(ReplyTaken(number, *code_and_text(error))))
