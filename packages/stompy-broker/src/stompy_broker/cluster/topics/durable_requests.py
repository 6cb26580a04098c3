"""What the owner of a group is asked to do with a durable subscription.

It is kept until it is answered: asked again when the group has another owner, or the link to it is
another one, and carried out here when that owner is this broker. Before the first time everything
that was told to the queues of the group has to be safe, because the owner has to know who has left
a subscription that is to be deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.cluster.link.link import Link
from stompy_broker.cluster.topics.topic_codec import (
    ELSEWHERE,
    Request,
    RequestAction,
    RequestAnswer,
    code_and_text,
    error_of,
    write,
)
from stompy_broker.routing.answers import Done, nobody_asks
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.registry import Registry


@dataclass(slots=True)
class _Asked:
    request: Request
    done: Done
    link: Link | None = None  # that it was sent on


class DurableRequests:
    """Requests about durable subscriptions, of this broker and of others.

    Args:
        registry: carries out what is decided here.
        owner_link: gives the link to the owner of a group; None if there is none.
        is_here: tells whether this broker owns a group.
        when_told: calls a function when what became of a durable subscription is safe and told to
            others, or another one if its group goes elsewhere before.
    """

    def __init__(
        self,
        registry: Registry,
        owner_link: Callable[[int], Link | None],
        is_here: Callable[[int], bool],
        when_told: Callable[[str, int, Callable[[], None], Callable[[], None]], None],
    ) -> None:
        self._registry = registry
        self._owner_link = owner_link
        self._is_here = is_here
        self._when_told = when_told
        self._number = 0
        self._asked: dict[int, _Asked] = {}

    # -- asking -----------------------------------------------------------------------------------

    def ask(
        self,
        group: QueueGroup,
        action: RequestAction,
        subscription: DurableSubscription,
        done: Done,
    ) -> None:
        """Have the owner of a group do something; ``done`` takes the answer, whenever it comes."""
        number = self._number = self._number + 1
        request = Request(number, group.number, action, False, subscription)

        def ask() -> None:
            self._asked[number] = _Asked(request, done)
            self.retry(group.number)

        group.sync(ask)

    def retry(self, group: int) -> None:
        """Ask again for what is not answered, and was not asked over the link that there is."""
        here, link = self._is_here(group), self._owner_link(group)
        if not here and link is None:
            return
        for number, asked in list(self._asked.items()):
            if asked.request.group != group:
                continue
            if here:
                self._asked.pop(number)
                self._carry_out(asked.request, asked.done, partial(self._ask_again, asked))
            elif asked.link is not link and link is not None:
                link.send(write(asked.request))
                asked.link, asked.request = link, asked.request._replace(again=True)

    def _ask_again(self, asked: _Asked) -> None:
        asked.request, asked.link = asked.request._replace(again=True), None
        self._asked[asked.request.number] = asked

    def answered(self, link: Link, answer: RequestAnswer) -> None:
        """Take the answer of an owner."""
        asked = self._asked.get(answer.number)
        if asked is None or asked.link is not link:
            return
        if answer.code == ELSEWHERE:
            asked.link = None  # it is asked when another owner has told what there is
            return
        del self._asked[answer.number]
        asked.done(error_of(answer))

    def lost(self, link: Link) -> None:
        """Note that nothing is answered over a link any more."""
        for asked in self._asked.values():
            if asked.link is link:
                asked.link = None

    # -- answering --------------------------------------------------------------------------------

    def received(self, link: Link, request: Request) -> None:
        """Carry out what another broker asks for, and answer when that is told to all."""

        def answer(error: ProtocolError | None = None, /) -> None:
            link.send(write(RequestAnswer(request.number, *code_and_text(error))))

        def elsewhere() -> None:
            link.send(write(RequestAnswer(request.number, ELSEWHERE, "")))

        if self._is_here(request.group):
            self._carry_out(request, answer, elsewhere)
        else:
            elsewhere()

    def _carry_out(self, request: Request, answer: Done, gone: Callable[[], None]) -> None:
        wanted = request.subscription

        def done(error: ProtocolError | None = None, /) -> None:
            self._when_told(wanted.name, request.group, lambda: answer(error), gone)

        known = self._registry.durable.by_name.get(wanted.name)
        if request.action is RequestAction.POSSESS:
            if known is not None:
                self._registry.durable.take_possession(known, wanted.owner)
            done()
        elif known is not None and not known.is_for(wanted.owner):
            words = f"the durable subscription {wanted.name[:200]!r} belongs to another user"
            answer(ProtocolError(ErrorCode.ACCESS_REFUSED, words))
        elif request.action is RequestAction.SUBSCRIBE:

            def take(backlog: Queue | ProtocolError) -> None:
                done(backlog if isinstance(backlog, ProtocolError) else None)

            self._registry.durable.subscribe(wanted, take)
        elif known is None and request.again:
            done()  # it was done before
        else:
            durable = self._registry.durable
            try:
                if request.action is RequestAction.UNBIND:
                    durable.unbind(wanted.name, wanted.pattern, done)
                else:
                    durable.delete(wanted.name, done)
            except ProtocolError as error:
                answer(None if request.again else error)  # it was done before

    def take_possession(self, group: QueueGroup, known: DurableSubscription, owner: str) -> None:
        """Have the owner of a group give a durable subscription to a login."""
        self.ask(group, RequestAction.POSSESS, replace(known, owner=owner), nobody_asks)
