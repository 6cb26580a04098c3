"""Where a message would go, and why: what ``route.explain`` answers, typed and for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stompy.records import Record


@dataclass(frozen=True, slots=True)
class Recipient(Record):
    """What could get a message.

    Attributes:
        kind: ``queue``, ``topic``, ``subscription``, ``durable``, ``share``, ``binding``,
            ``virtual``, ``exchange``, ``route``, ``retained`` or ``consumer``.
        name: of it; of a subscription and a consumer, its id, as ``$SYS.subscriptions`` has it.
        gets: whether it would get the message now; of a consumer, whether it may be its turn.
        why: in words, one for each thing that has to do with it.
        policy: which it follows, such as ``policy.2 (/queue/jobs.>)``; empty = it has none.
        expires_at: when the message would end there, in milliseconds since the epoch; None = never.
        next: id of the consumer that gets it at once; several, of whom one does, where their
            turn is not known by name; empty = it waits, if it is a queue.
        consumers: those that take part in it.
        connection: of a subscription or consumer, the id of its connection.
        user: who logged in there.
        broker: id of the broker in the cluster that it is at; None = there is no cluster.
    """

    kind: str = ""
    name: str = ""
    gets: bool = False
    why: tuple[str, ...] = ()
    policy: str = ""
    expires_at: int | None = None
    next: tuple[str, ...] = ()
    consumers: tuple[Recipient, ...] = ()
    connection: str = ""
    user: str = ""
    broker: str | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Recipient:
        """Read one of the answer; what is not known here is left out."""
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        for name in ("why", "next"):
            known[name] = tuple(value.get(name, ()))
        known["consumers"] = tuple(map(cls.from_json, value.get("consumers", ())))
        return cls(**known)

    def to_json(self) -> dict[str, object]:
        """Give it as the answer has it, without what is empty."""
        told: dict[str, object] = {"kind": self.kind, "name": self.name, "gets": self.gets}
        told["why"] = list(self.why)
        for name in ("policy", "expires_at", "connection", "user", "broker"):
            value = getattr(self, name)
            if value or value == 0:
                told[name] = value
        if self.next:
            told["next"] = list(self.next)
        if self.consumers:
            told["consumers"] = [one.to_json() for one in self.consumers]
        return told

    def lines(self) -> Iterator[str]:
        """Tell of it in some lines, those of its consumers indented."""
        about = [text for text in (self.connection, self.user, self.broker) if text]
        place = f" ({', '.join(about)})" if about else ""
        yield f"{'+' if self.gets else '-'} {self.kind} {self.name}{place}"
        for reason in self.why:
            yield f"    {reason}"
        if self.next:
            turn = "goes to" if len(self.next) == 1 else "goes to one of"
            yield f"    {turn} {', '.join(self.next)}"
        if self.expires_at is not None:
            ends = datetime.fromtimestamp(self.expires_at / 1000, UTC)
            yield f"    expires at {ends.isoformat(timespec='milliseconds')}"
        if self.policy:
            yield f"    {self.policy}"
        for consumer in self.consumers:
            for line in consumer.lines():
                yield f"  {line}"


@dataclass(frozen=True, slots=True)
class RouteExplanation(Record):
    """Where a message would go, and why. Printed, it is some lines for people.

    Attributes:
        destination: where it would be sent to.
        user: who would send it.
        allowed: whether the access rules let that one.
        acl: what says so: ``acl.7 (allow send /queue/>)``, or ``security.default_access``.
        refused: why it would be refused all the same; empty = it would not.
        waits: why its sender would have to wait before the next one; empty = not.
        recipients: what could get it.
        request: what the broker would answer if it is a request with ``reply-timeout``; empty =
            it is none.
        duplicate: what it would be dropped as a duplicate of, because its ``dedup-id`` is known;
            empty = it would not.
    """

    destination: str = ""
    user: str = ""
    allowed: bool = True
    acl: str = ""
    refused: str = ""
    waits: str = ""
    recipients: tuple[Recipient, ...] = ()
    request: str = ""
    duplicate: str = ""

    @property
    def gets(self) -> tuple[Recipient, ...]:
        """Those that would get it; a route is only the way to them."""
        return tuple([one for one in self.recipients if one.gets and one.kind != "route"])

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RouteExplanation:
        """Read the answer; what is not known here is left out."""
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        known["recipients"] = tuple(map(Recipient.from_json, value.get("recipients", ())))
        return cls(**known)

    def to_json(self) -> dict[str, object]:
        """Give the answer as JSON has it."""
        return {
            "destination": self.destination,
            "user": self.user,
            "allowed": self.allowed,
            "acl": self.acl,
            "refused": self.refused,
            "waits": self.waits,
            "request": self.request,
            "duplicate": self.duplicate,
            "gets": len(self.gets),
            "recipients": [one.to_json() for one in self.recipients],
        }

    def __str__(self) -> str:
        """Tell it to people."""
        number = len(self.gets)
        verdict = f"{number} get{'s' * (number == 1)} it" if number else "nobody gets it"
        who = f"{self.user} may" if self.allowed else f"{self.user} may not"
        lines = [f"{self.destination}: {verdict}", f"  {who} send to it: {self.acl}"]
        if self.refused:
            lines.append(f"  refused: {self.refused}")
        if self.waits:
            lines.append(f"  its sender has to wait: {self.waits}")
        if self.duplicate:
            lines.append(f"  dropped: it is a duplicate of {self.duplicate}")
        if self.request:
            lines.append(f"  request: {self.request}")
        for one in self.recipients:
            lines += one.lines()
        return "\n".join(lines)
