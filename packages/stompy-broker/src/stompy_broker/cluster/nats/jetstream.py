"""What the log asks of JetStream: a stream, appending with an expectation, reading, purging.

Two answers to an append look alike and are not. Error 10071: the subject's last message is another
one than was expected. Error 10164: the server is at work on another append to the subject, or was
a moment ago; nothing is wrong, and it is tried again.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from stompy_broker.cluster.nats.client import Answered, InDoubt, NATSClient, Outcome
from stompy_broker.cluster.nats.codec import NATSError, NATSMessage, NATSProtocolError

WRONG_LAST_SEQUENCE = 10071
AT_WORK = 10164
_NO_MESSAGE = 10037
_NO_STREAM = 10059

_SILENT = 5_000_000_000
"""Nanoseconds: a server that its leader has not heard for longer is missing; it hears each every
second."""

_MUCH = 1000
"""So many entries a server may be behind because there is traffic."""

OLDEST = (2, 12)
"""Servers that are older store no batch at once."""

_APPEND_SECONDS = 1.5
"""How long an append may take before it counts as in doubt, and so much more for its bytes."""
_BYTES_A_SECOND = 4 * 1024 * 1024

_HEADERS_BYTES = 1024
"""What headers of ours need at most; they count as payload."""

_EXPECTED = "Nats-Expected-Last-Subject-Sequence"

_END_OF_BATCH = 204
_NOT_FOUND = 404


class JetStreamError(NATSError):
    """JetStream has refused something.

    Attributes:
        code: its number for what is wrong.
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Appended(NamedTuple):
    """An append is safe on most of the servers.

    Attributes:
        sequence: of its last message in the stream.
    """

    sequence: int


class Refused(NamedTuple):
    """An append was not stored.

    Attributes:
        code: JetStream's number for the reason; 0 = the servers were not asked.
        reason: in words.
    """

    code: int
    reason: str


AppendOutcome = Appended | Refused | InDoubt


class StreamMessage(NamedTuple):
    """A message that is in a stream.

    Attributes:
        sequence: its place.
        body: what it holds.
    """

    sequence: int
    body: bytes


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How a stream is made.

    Attributes:
        name: of the stream.
        subjects: what is stored in it.
        replicas: on how many servers.
    """

    name: str
    subjects: Sequence[str]
    replicas: int = 3

    def config(self) -> dict[str, object]:
        """As JetStream wants to have it."""
        return {
            "name": self.name,
            "subjects": list(self.subjects),
            "num_replicas": self.replicas,
            "storage": "file",
            "retention": "limits",
            # What is full refuses. Nothing that is old is dropped for it.
            "discard": "new",
            "allow_atomic": True,
            "allow_direct": True,
        }


@dataclass(frozen=True, slots=True)
class StreamState:
    """What a stream says about itself.

    Attributes:
        config: how it was made.
        leader: the server that leads it; empty = none does now.
        servers: all that have it, the leader included.
        missing: those of them that the leader hears nothing from.
        behind: those that have yet to get much of what the others have.
        messages: how many are in it.
        bytes: how many bytes.
        last: the sequence of the last message.
    """

    config: Mapping[str, Any]
    leader: str
    servers: frozenset[str]
    messages: int
    bytes: int
    last: int
    missing: frozenset[str] = frozenset()
    behind: frozenset[str] = frozenset()

    def standing(self, trouble: str) -> dict[str, str]:
        """How each server is: ``leader``, ``follower``, ``behind``, ``lost``, or ``unknown``.

        Args:
            trouble: why they cannot be used just now: only who leads can tell of the others.
        """
        names = sorted(self.servers)
        if trouble:
            return dict.fromkeys(names, "unknown")
        states = dict.fromkeys(names, "follower")
        states |= dict.fromkeys(self.behind, "behind") | dict.fromkeys(self.missing, "lost")
        return states | ({self.leader: "leader"} if self.leader else {})


class JetStream:
    """JetStream, as one client sees it.

    Args:
        client: is connected, or will be.
    """

    def __init__(self, client: NATSClient) -> None:
        self.client = client

    @property
    def largest(self) -> int:
        """Bytes that fit into one message."""
        return self.client.info.max_payload - _HEADERS_BYTES

    # -- streams ------------------------------------------------------------------------------

    async def provide(self, settings: StreamSettings) -> StreamState:
        """Make a stream, or see that it is as it should be.

        Raises:
            JetStreamError: the stream is made otherwise, or cannot be made.
            NATSError: nobody answers, or the servers are too old.
        """
        info = self.client.info
        if info.version < OLDEST:
            version, oldest = (".".join(map(str, one)) for one in (info.version, OLDEST))
            raise NATSError(f"the NATS server {info.name} is {version}; {oldest} is the oldest")
        if not info.jetstream:
            raise NATSError(f"the NATS server {info.name} runs without JetStream")
        wanted = settings.config()
        try:
            state = await self.state(settings.name)
        except JetStreamError as error:
            if error.code != _NO_STREAM:
                raise
            state = _read_state(await self._ask(f"STREAM.CREATE.{settings.name}", **wanted))
        for name, value in wanted.items():
            found = state.config.get(name)
            if found != value:
                raise JetStreamError(
                    f"the stream {settings.name} has {name} {found!r}, not {value!r}", 0
                )
        return state

    async def state(self, stream: str) -> StreamState:
        """What a stream says about itself.

        Raises:
            JetStreamError: there is none of that name.
            NATSError: nobody answers.
        """
        return _read_state(await self._ask(f"STREAM.INFO.{stream}"))

    async def delete(self, stream: str) -> None:
        """Delete a stream and all that is in it.

        Raises:
            NATSError: it cannot be deleted.
        """
        await self._ask(f"STREAM.DELETE.{stream}")

    async def _ask(self, what: str, **arguments: object) -> dict[str, Any]:
        body = json.dumps(arguments).encode() if arguments else b""
        return _read_answer(await self.client.ask(f"$JS.API.{what}", body))

    # -- appending ----------------------------------------------------------------------------

    def append(
        self,
        records: Sequence[tuple[str, Sequence[bytes], int]],
        answer: Callable[[AppendOutcome], None],
    ) -> None:
        """Store messages in subjects of one stream, all or none, if the last ones are still these.

        They get places one behind the other, in this order.

        Args:
            records: subject, at least one message, and sequence of the last message that is there,
                0 = there is none; a subject comes once.
            answer: told what came of all.
        """
        messages = [
            # The expectation is of the first one only.
            (subject, part, {} if number else {_EXPECTED: str(expected)})
            for subject, parts, expected in records
            for number, part in enumerate(parts)
        ]
        if len(messages) > 1:
            batch = secrets.token_hex(8)
            for number, (_, _, headers) in enumerate(messages, 1):
                headers |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            messages[-1][2]["Nats-Batch-Commit"] = "1"
        for subject, part, headers in messages[:-1]:
            self.client.publish(subject, part, headers=headers)
        subject, part, headers = messages[-1]
        size = sum(len(part) for _, part, _ in messages)
        self.client.request(
            subject,
            part,
            partial(_tell_append, answer),
            headers=headers,
            seconds=_APPEND_SECONDS + size / _BYTES_A_SECOND,
        )

    # -- reading ------------------------------------------------------------------------------

    async def last(self, stream: str, subject: str) -> StreamMessage | None:
        """The last message of a subject, as the stream's leader knows it.

        Raises:
            NATSError: nobody answers.
        """
        try:
            told = await self._ask(f"STREAM.MSG.GET.{stream}", last_by_subj=subject)
        except JetStreamError as error:
            if error.code == _NO_MESSAGE:
                return None
            raise
        return _read_message(told)

    async def get(self, stream: str, sequence: int, *, leader: bool = False) -> bytes | None:
        """The message at a place, from any of the servers that have it; None = it is not there.

        Args:
            stream: which stream.
            sequence: its place.
            leader: whether only the stream's leader may answer.

        Raises:
            NATSError: nobody answers.
        """
        if leader:
            try:
                told = await self._ask(f"STREAM.MSG.GET.{stream}", seq=sequence)
            except JetStreamError as error:
                if error.code == _NO_MESSAGE:
                    return None
                raise
            return _read_message(told).body
        body = json.dumps({"seq": sequence}).encode()
        message = await self.client.ask(f"$JS.API.DIRECT.GET.{stream}", body)
        if message.status == _NOT_FOUND:
            return None
        if message.status:
            raise NATSError(f"message {sequence} of {stream}: status {message.status}")
        return message.body

    def read(
        self,
        stream: str,
        subject: str,
        after: int,
        take: Callable[[NATSMessage], None],
        *,
        count: int,
        most_bytes: int,
    ) -> int:
        """Have the messages of a subject that come after a place sent, and then a status.

        Args:
            stream: which stream.
            subject: which messages.
            after: the place.
            take: is given each message, the last with a status; see `read_status`.
            count: at most so many.
            most_bytes: at most about so many bytes.

        Returns:
            A subscription, to be ended.
        """
        inbox = f"_INBOX.{secrets.token_hex(8)}"
        number = self.client.subscribe(inbox, take)
        wanted = {
            "seq": after + 1,
            "next_by_subj": subject,
            "batch": count,
            "max_bytes": most_bytes,
        }
        self.client.publish(
            f"$JS.API.DIRECT.GET.{stream}", json.dumps(wanted).encode(), reply=inbox
        )
        return number

    def purge(
        self, stream: str, subject: str, below: int, answer: Callable[[Outcome], None]
    ) -> None:
        """Delete the messages of a subject before a place."""
        body = json.dumps({"filter": subject, "seq": below}).encode()
        self.client.request(f"$JS.API.STREAM.PURGE.{stream}", body, answer)


def read_status(message: NATSMessage) -> bool | None:
    """What a message of `JetStream.read` says: None = it is one of them; else whether more follow.

    Raises:
        NATSError: it cannot be read.
    """
    if not message.status:
        return None
    if message.status == _END_OF_BATCH:
        return message.headers.get("Nats-Num-Pending", "0") != "0"
    if message.status == _NOT_FOUND:
        return False
    raise NATSError(f"the log cannot be read: status {message.status}")


def read_sequence(message: NATSMessage) -> int:
    """The place in its stream of a message that `JetStream.read` gave.

    Raises:
        NATSProtocolError: it does not say.
    """
    try:
        return int(message.headers["Nats-Sequence"])
    except (KeyError, ValueError):
        raise NATSProtocolError("a message of a stream does not tell its place") from None


def _tell_append(answer: Callable[[AppendOutcome], None], outcome: Outcome) -> None:
    answer(_read_append(outcome))


def _read_append(outcome: Outcome) -> AppendOutcome:
    if isinstance(outcome, InDoubt):
        return outcome
    if not isinstance(outcome, Answered):
        return Refused(0, outcome.reason)
    try:
        told = json.loads(outcome.message.body)
        error = told.get("error")
        if error:
            return Refused(int(error.get("err_code", 0)), str(error.get("description", "")))
        return Appended(int(told["seq"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return InDoubt(f"an answer that makes no sense: {outcome.message.body[:80]!r}")


def _read_answer(message: NATSMessage) -> dict[str, Any]:
    try:
        told = json.loads(message.body)
        error = told.get("error")
        if error:
            raise JetStreamError(str(error["description"]), int(error.get("err_code", 0)))
        assert isinstance(told, dict)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NATSProtocolError(f"JetStream says {message.body[:80]!r}") from None
    return told


def _read_message(told: Mapping[str, Any]) -> StreamMessage:
    try:
        message = told["message"]
        return StreamMessage(int(message["seq"]), base64.b64decode(message.get("data", "")))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise NATSProtocolError(f"a message of a stream makes no sense: {error}") from None


def _is_missing(replica: Mapping[str, Any]) -> bool:
    return bool(replica.get("offline")) or int(replica.get("active", 0)) > _SILENT


def _read_state(told: Mapping[str, Any]) -> StreamState:
    try:
        state, cluster = told["state"], told.get("cluster") or {}
        leader = str(cluster.get("leader", ""))
        replicas = cluster.get("replicas") or ()
        others = {str(one["name"]) for one in replicas}
        missing = {str(one["name"]) for one in replicas if _is_missing(one)}
        behind = {str(one["name"]) for one in replicas if int(one.get("lag", 0)) > _MUCH}
        return StreamState(
            told["config"],
            leader,
            frozenset(others | ({leader} if leader else set())),
            int(state["messages"]),
            int(state["bytes"]),
            int(state["last_seq"]),
            frozenset(missing),
            frozenset(behind - missing),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise NATSProtocolError(f"what a stream says makes no sense: {error}") from None
