"""What is wrong with policies that each setting by itself does not show. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stompy_broker.destinations.names import DestinationKind, parse_destination
from stompy_broker.destinations.policy import Policy

_NOT_OF_STREAMS = {
    "message_ttl": "messages of a stream stay for as long as max_age says",
    "overflow": "of a stream the oldest messages go, and none is refused",
    "auto_delete": "a stream stays when its readers leave; expires ends it when nobody uses it",
    "fair_by": "each reader of a stream gets all messages in their order",
    "persistent": "a stream is always kept",
}

_NOT_OF_READERS = {
    "type": "the messages of a stream stay anyhow; leave out non_destructive",
    "single_active": "with non_destructive each consumer reads all of a queue",
    "fair_by": "with non_destructive each consumer reads all messages in their order",
    "deliver_rate": "with non_destructive each consumer reads at its own pace",
    "history": "with non_destructive nothing leaves a queue by being consumed",
    "last_value_position": "with non_destructive a new value has to stand where readers come to it",
}


def policy_problems(policies: Sequence[Policy], *, clustered: bool) -> Iterator[str]:
    """What is wrong with policies, given the rest of the configuration.

    Args:
        policies: all of them.
        clustered: whether the broker belongs to a cluster.
    """
    for number, policy in enumerate(policies):
        for setting in policy.alone_only if clustered else ():
            yield f"policy.{number}.{setting}: brokers of a cluster do not do that"
        if policy.non_destructive:
            yield from _problems_of_readers(policy, number)
        yield from _history_problems(policy, f"policy.{number}", clustered=clustered)
        if not policy.is_stream:
            if policy.max_age:
                yield f'policy.{number}.max_age: is for streams; add type = "stream"'
            continue
        where = f"policy.{number}.type"
        if parse_destination(policy.match).kind is not DestinationKind.QUEUE:
            yield f"{where}: topics are no streams; a stream is a /queue/ that topics may lead to"
        if clustered:
            yield f"{where}: brokers of a cluster keep queues, and no streams"
        for name, why in _NOT_OF_STREAMS.items():
            if name in policy.model_fields_set and getattr(policy, name) != _DEFAULT[name]:
                yield f"policy.{number}.{name}: {why}"


def _problems_of_readers(policy: Policy, number: int) -> Iterator[str]:
    """What a policy says that a queue does not do whose messages stay when they are read."""
    if parse_destination(policy.match).kind is not DestinationKind.QUEUE:
        yield f"policy.{number}.non_destructive: it is for queues; topics have retained messages"
    for name, why in _NOT_OF_READERS.items():
        if name in policy.model_fields_set and getattr(policy, name) != _DEFAULT[name]:
            yield f"policy.{number}.{name}: {why}"


def _history_problems(policy: Policy, where: str, *, clustered: bool) -> Iterator[str]:
    """What is wrong with what one policy says of the past of queues."""
    if not policy.history:
        if policy.history_bytes:
            yield f'{where}.history_bytes: says how much at most; add history = "24h" or the like'
        return
    if clustered:
        yield f"{where}.history: brokers of a cluster keep no history"
    if policy.non_destructive:
        yield f"{where}.history: messages stay in a non-destructive queue when they were read"
    if policy.is_stream:
        yield f"{where}.history: a stream is its own history; max_age says how long it stays"
    elif parse_destination(policy.match).kind is not DestinationKind.QUEUE:
        yield f"{where}.history: topics keep nothing; say it of the queues that they lead to"


_DEFAULT = {name: getattr(Policy(), name) for name in (*_NOT_OF_STREAMS, *_NOT_OF_READERS)}
