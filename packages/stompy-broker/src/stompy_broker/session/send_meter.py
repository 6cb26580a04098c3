"""What a user with a quota sends and asks for: it waits, or is refused, beyond what it may use.

It stands before the handlers of SEND, COMMIT and SUBSCRIBE of such users. Those of all others are
not touched.

A client that sends too fast is not read from; what was read already waits here. That goes on and
off many times a second, so it is told once, and again when there was no need to wait for a while.
Who leaves meanwhile has sent what it has sent: that is carried out at once, and is a debt of its
user.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from stompy.protocol.header_cache import Head
from stompy_broker.routing.choices import NOBODY
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.session.context import BrokerContext, Client
from stompy_broker.session.quotas import QuotaClient, UserQuota
from stompy_broker.session.senders import Sending, names_of
from stompy_broker.session.transactions import Publication, Transactions
from stompy_broker.session.turn_line import TurnLine

Handler = Callable[[Head, bytes], bool | None]
"""Carries out a frame; says whether the next one has to wait."""

_CALM_SECONDS = 1.0
"""After so long without a need to wait, a client counts as one that may send."""

_OF_BROKER = "/topic/$"


class MeteredClient(QuotaClient, Client, Sending, Protocol):
    """A client whose frames are metered.

    Attributes:
        sender: what it is called as a sender; empty unless somebody wants to know.
    """

    sender: tuple[str, ...]

    @property
    def transactions(self) -> Transactions:
        """The transactions that are open."""
        ...

    def postpone(self, head: Head, body: bytes, line: TurnLine) -> bool:
        """Carry out a frame later, when it is the client's turn, and none before."""
        ...

    def wait_no_more(self) -> None:
        """Read what a client has sent that has left, and make it wait for nothing more."""
        ...

    def wait_for_quota(self, mark: Watermark) -> None:
        """Read no more from the client while its user has used up something."""
        ...


class SendMeter:
    """Meters one client.

    Args:
        context: what sessions share.
        client: the client.
        quota: of its user.
        handlers: of the client's frames, by command. Some of them give way to the meter.

    Attributes:
        quota: of its user.
        is_throttled: whether the client had to wait lately, because its user sends too fast.
    """

    def __init__(
        self,
        context: BrokerContext,
        client: MeteredClient,
        quota: UserQuota,
        handlers: dict[str, Handler],
    ) -> None:
        self.quota = quota
        self.is_throttled = self._is_leaving = False
        self._waited_at = 0.0
        self._client = client
        self._context = context
        self._topics = context.router.topics
        self._watch_clock = context.clock.machine
        self._calm = self._watch_clock.timer(self._look)
        self._handlers = handlers
        self._plain = {name: handlers[name] for name in ("COMMIT", "SUBSCRIBE")}
        handlers["COMMIT"] = partial(self._commit, handlers["COMMIT"])
        handlers["SUBSCRIBE"] = partial(self._ask, handlers["SUBSCRIBE"])
        context.quotas.enter(client, quota)

    def take_over(self) -> None:
        """Meter SEND, for which the client has just got another handler."""
        self._handlers["SEND"] = partial(self._send, self._handlers["SEND"])
        if self.quota.config.counts_stored and not self._client.sender:
            self._client.sender = names_of(self._client)

    @property
    def pace(self) -> TurnLine | None:
        """How fast new subscriptions get messages; None = without limit."""
        line = self.quota.receiving
        return line if line.is_limited else None

    def end(self) -> None:
        """Meter no more: the client has gone."""
        self.quota.sending.forget(self._client)
        self.give_way()

    def give_way(self) -> None:
        """Meter no more: the client has another quota, or none."""
        if self.is_throttled:
            self.is_throttled = False
            self._context.observer.blocked(self._client, False, "")
        self._calm.end()
        self._handlers.update(self._plain)
        self._context.quotas.leave(self._client, self.quota)

    # -- frames ---------------------------------------------------------------------------------

    def _send(self, send: Handler, head: Head, body: bytes) -> bool | None:
        quota = self.quota
        line, size = quota.sending, len(head.block) + len(body)
        if line.is_limited:
            if not line.may_go() and not self._is_leaving:
                key, seconds = line.delay()
                if quota.refuses:
                    raise quota.too_fast(key, seconds)
                self._throttle(key)
                return self._client.postpone(head, body, line)
            line.take(size)
            quota.note_rates(line)
        if not quota.config.counts_stored:
            return send(head, body)
        quota.check_stored(1, size)
        waits = self._as_sender(send, head, body)
        self._wait_if_full()
        return waits

    def _commit(self, commit: Handler, head: Head, body: bytes) -> bool | None:
        quota = self.quota
        if not quota.config.counts_stored:
            return commit(head, body)
        sends = [
            one.size
            for one in self._client.transactions.find(head.headers["transaction"]).operations
            if isinstance(one, Publication)
        ]
        quota.check_stored(len(sends), sum(sends))
        waits = self._as_sender(commit, head, body)
        self._wait_if_full()
        return waits

    def _ask(self, subscribe: Handler, head: Head, body: bytes) -> bool | None:
        quota = self.quota
        if not head.headers["destination"].startswith(_OF_BROKER):
            limit = quota.config.subscriptions
            count = quota.subscriptions + 1
            quota.check("subscriptions", count, limit)
            quota.note("subscriptions", count, limit)
        if not quota.config.counts_stored:
            return subscribe(head, body)
        return self._as_sender(subscribe, head, body)

    def _as_sender(self, handler: Handler, head: Head, body: bytes) -> bool | None:
        """Carry out a frame, saying whose messages and queues come of it."""
        topics = self._topics
        topics.sender = self._client.sender
        try:
            return handler(head, body)
        finally:
            topics.sender = NOBODY
            self.quota.note("queues", len(self.quota.storage.queues), self.quota.config.queues)

    # -- waiting --------------------------------------------------------------------------------

    def _wait_if_full(self) -> None:
        quota = self.quota
        quota.note_stored()
        full = quota.storage.full
        if full is not None and not quota.refuses:
            self._client.wait_for_quota(full)

    def _throttle(self, key: str) -> None:
        """Tell that the client has to wait, unless that is known."""
        self.quota.reached(key)
        self._waited_at = now = self._watch_clock.now()
        if not self.is_throttled:
            self.is_throttled = True
            self._context.observer.blocked(self._client, True, "quota")
            self._calm.set(now + _CALM_SECONDS)

    def _look(self) -> None:
        """See whether the client has left, or did not have to wait for a while, which is told."""
        now, line = self._watch_clock.now(), self.quota.sending
        if self._client.peer.has_left:
            self._is_leaving = True
            self._client.wait_no_more()
            line.release(self._client)
        elif self._client in line or now < self._waited_at + _CALM_SECONDS:
            self._calm.set(now + _CALM_SECONDS)
        else:
            self.is_throttled = False
            self._context.observer.blocked(self._client, False, "")


def renewed(
    meter: SendMeter | None,
    context: BrokerContext,
    client: MeteredClient,
    handlers: dict[str, Handler],
) -> SendMeter | None:
    """Have a client go by the quota that its user has now; gives what meters it, if anything does.

    Args:
        meter: what did so far.
        context: what sessions share.
        client: who has logged in, and has just got its handler for SEND.
        handlers: of its frames, by command.
    """
    principal = client.principal
    quota = None if principal is None else context.quotas.of(principal)
    before = meter
    if meter is not None and meter.quota is not quota:
        meter.give_way()
        meter = None
    if quota is not None:
        meter = meter or SendMeter(context, client, quota, handlers)
        meter.take_over()
    if before is not None and before is not meter:
        # What waits goes on, and by the new quota.
        before.quota.sending.release(client)
    return meter
