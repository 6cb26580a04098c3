"""What one client asks of the broker itself: its ``$SYS`` subscriptions and its commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.headers import Version
from stompy_broker.destinations.names import Destination
from stompy_broker.message import MessageHead
from stompy_broker.routing.queue import LocalQueue as Queue
from stompy_broker.security.auth import Role
from stompy_broker.session.context import BrokerContext, Client
from stompy_broker.session.output import OutputBuffer
from stompy_broker.session.sys_subscription import Observation, read_wanted, remarks

_MOST_OBSERVATIONS = 64


class Console:
    """The observations of one client, by the client's ids, and the way to the broker's desk.

    Args:
        context: where the desk is.
        client: the client.
        output: where snapshots and events are written.
    """

    def __init__(self, context: BrokerContext, client: Client, output: OutputBuffer) -> None:
        self._context = context
        self._client = client
        self._output = output
        self._observations: dict[str, Observation] = {}
        self._closed = False

    def observe(
        self, key: str, destination: Destination, headers: Mapping[str, str], version: Version
    ) -> None:
        """A SUBSCRIBE to one of the broker's own topics.

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
        if len(self._observations) >= _MOST_OBSERVATIONS:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"{_MOST_OBSERVATIONS} subscriptions to $SYS topics on one connection are the "
                "limit",
            )
        streams, events = read_wanted(destination, headers)
        note = remarks(streams, headers)
        observation = Observation(headers.get("id"), self._output, version, self._client.key, note)
        self._observations[key] = observation
        self._context.desk.observe(observation, streams, events)

    def end(self, key: str) -> None:
        """Observe no more under this id."""
        observation = self._observations.pop(key)
        self._context.desk.forget(observation)
        observation.clear()

    def resume(self) -> None:
        """The output has room again."""
        for observation in list(self._observations.values()):
            observation.resume()

    def close(self) -> None:
        """The client has gone."""
        self._closed = True
        for key in list(self._observations):
            self.end(key)

    def command(self, headers: Mapping[str, str], body: bytes, replies: Queue | None) -> None:
        """A SEND to ``/queue/$SYS.command``: answered whatever it is, never with ERROR.

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
        self._context.desk.command(self._client, body, answer, problem)

    def _answer(
        self, replies: Queue, about: Mapping[str, str], body: bytes, ok: bool, final: bool
    ) -> None:
        """An answer to a command, unless the client has gone meanwhile."""
        if not self._closed:
            told = {"status": "ok" if ok else "error", "final": "true" if final else "false"}
            router = self._context.router
            router.note_time()
            router.publish_to(replies, MessageHead.from_headers({**about, **told}), body)

    def __contains__(self, key: str) -> bool:
        return key in self._observations

    def __iter__(self) -> Iterator[Observation]:
        return iter(self._observations.values())
