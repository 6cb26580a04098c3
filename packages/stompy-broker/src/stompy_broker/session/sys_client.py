"""What one client asks of the broker itself: its ``$SYS`` subscriptions and its commands."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.headers import Version
from stompy_broker.destinations.names import Destination
from stompy_broker.message import MessageHead
from stompy_broker.routing.interface import Queue
from stompy_broker.security.auth import Role
from stompy_broker.selectors.selector import compile_selector
from stompy_broker.session.context import BrokerContext, Client
from stompy_broker.session.output import OutputBuffer
from stompy_broker.session.sys_subscription import SysSubscription, read_streams, remarks

_MOST_SUBSCRIPTIONS = 64


class SysClient:
    """One client towards the broker itself: its ``$SYS`` subscriptions, by the client's ids.

    Args:
        context: what sessions share.
        client: the client.
        output: where snapshots and events are written.
    """

    def __init__(self, context: BrokerContext, client: Client, output: OutputBuffer) -> None:
        self._context = context
        self._client = client
        self._output = output
        self._subscriptions: dict[str, SysSubscription] = {}
        self._closed = False

    def subscribe(
        self, key: str, destination: Destination, headers: Mapping[str, str], version: Version
    ) -> None:
        """Subscribe to one of the broker's own topics.

        Raises:
            ProtocolError: the role does not allow it, there is no such topic, or a header does
                not fit.
        """
        principal = self._client.principal
        assert principal is not None
        if not principal.role.includes(Role.MONITOR):
            raise ProtocolError(
                ErrorCode.ACCESS_REFUSED,
                f"{str(destination)[:200]} needs the role 'monitor'; the user "
                f"{principal.name[:60]!r} has the role {principal.role.value!r}",
            )
        if len(self._subscriptions) >= _MOST_SUBSCRIPTIONS:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"{_MOST_SUBSCRIPTIONS} subscriptions to $SYS topics on one connection are the "
                "limit",
            )
        clustered = self._context.service.clustered
        streams, events = read_streams(destination, headers, clustered=clustered)
        note = remarks(streams, headers, clustered=clustered)
        text = headers.get("selector")
        selector = None if text is None else compile_selector(text)
        subscription = SysSubscription(
            headers.get("id"), self._output, version, self._client.key, note, selector
        )
        self._subscriptions[key] = subscription
        self._context.service.subscribe(subscription, streams, events)

    def end(self, key: str) -> None:
        """End the subscription of this id."""
        subscription = self._subscriptions.pop(key)
        self._context.service.unsubscribe(subscription)
        subscription.clear()

    def resume(self) -> None:
        """Write what waits, now that the output has room again."""
        for subscription in list(self._subscriptions.values()):
            subscription.resume()

    def close(self) -> None:
        """End everything: the client has gone."""
        self._closed = True
        for key in list(self._subscriptions):
            self.end(key)

    def command(self, headers: Mapping[str, str], body: bytes, replies: Queue | None) -> None:
        """Carry out a SEND to ``/queue/$SYS.command``: answered whatever it is, never with ERROR.

        Args:
            headers: of the SEND.
            body: of the SEND.
            replies: the client's own queue that ``reply-to`` names.
        """
        problem, answer = "", None
        if replies is not None:
            about = {"destination": replies.destination, "content-type": "application/json"}
            if "correlation-id" in headers:
                about["correlation-id"] = headers["correlation-id"]
            answer = partial(self._answer, replies, about)
        elif headers.get("reply-to"):
            problem = "reply-to must be a /temp-queue/ of this connection"
        if "transaction" in headers:
            problem = "a command cannot be part of a transaction"
        self._context.service.execute(self._client, body, answer, problem)

    def _answer(
        self, replies: Queue, about: Mapping[str, str], body: bytes, ok: bool, final: bool
    ) -> None:
        """Send an answer to a command, unless the client has gone meanwhile."""
        if not self._closed:
            told = {"status": "ok" if ok else "error", "final": "true" if final else "false"}
            router = self._context.router
            router.note_time()
            router.publish_to(replies, MessageHead.from_headers({**about, **told}), body)

    def __contains__(self, key: str) -> bool:
        return key in self._subscriptions

    @property
    def subscriptions(self) -> Collection[SysSubscription]:
        """Its subscriptions to ``$SYS`` topics."""
        return self._subscriptions.values()
