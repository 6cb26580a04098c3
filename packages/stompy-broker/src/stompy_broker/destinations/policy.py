"""How a destination behaves: redelivery, dead letters, backlog. Chosen by its name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from pydantic import ByteSize, Field, ValidationError, field_validator, model_validator

from stompy.errors import ProtocolError
from stompy_broker.destinations.duplicate_settings import DuplicateSettings
from stompy_broker.destinations.group_settings import GroupSettings
from stompy_broker.destinations.history_settings import HistorySettings
from stompy_broker.destinations.matcher import Matcher
from stompy_broker.destinations.names import (
    RETAINED,
    SCHEDULED,
    Destination,
    DestinationKind,
    check_wildcards,
    parse_destination,
    scheduled_for,
    sendable,
)
from stompy_broker.destinations.stream_settings import (
    MAX_AGE,
    QUEUE_TYPE,
    QueueTypeSettings,
    read_type,
)
from stompy_broker.destinations.value_settings import ValueSettings

DEAD_LETTER = "dead-letter"

ARGUMENTS: Mapping[str, str] = {
    "x-max-length": "max_length",
    "x-max-length-bytes": "max_length_bytes",
    "x-overflow": "overflow",
    "x-message-ttl": "message_ttl",
    "x-expires": "expires",
    "x-last-value-key": "last_value_key",
    "x-dead-letter-routing-key": "dead_letter",  # `_DEAD_LETTER_HEADER`
    "auto-delete": "auto_delete",
    "durable": "persistent",
    "x-delayed-retry-type": "redelivery_for",  # `_retries_in`
    "x-delayed-retry-min": "redelivery_delay",
    "x-delayed-retry-max": "redelivery_delay_max",
    QUEUE_TYPE: "type",
    MAX_AGE: "max_age",
}
"""Headers by which the first SEND or SUBSCRIBE sets up a queue, as RabbitMQ's do."""

SWITCHES = {"auto-delete": "auto_delete", "durable": "persistent", QUEUE_TYPE: "type"}
"""Those of them that many clients send to say what holds anyhow."""

_REST = frozenset((">", "#"))
_TRUE, _FALSE = frozenset(("true", "1", "yes")), frozenset(("false", "0", "no"))


_SPREAD, _FURTHER, _WORD = 0x9E3779B1, 0x85EBCA6B, 0xFFFFFFFF
"""Odd numbers that spread what they are multiplied with over a word of 32 bits."""

_RETRIES = ("x-delayed-retry-type", "x-delayed-retry-min", "x-delayed-retry-max")
_RETRY_TYPES = {"failed": "failed", "returned": "returned", "all": "all", "disabled": "none"}
_FOR_EVER = 1e9
"""Seconds that no delay reaches."""
_LONGEST_NUMBER = 12

_DEAD_LETTER_HEADER = "x-dead-letter-routing-key"

_MAY_BE_EMPTY = frozenset((*SWITCHES, "x-last-value-key"))
"""Arguments that say nothing where they are empty."""

_WITH: Mapping[str, Mapping[str, object]] = {
    "x-max-length": {"ring_size": 0},
    "x-overflow": {"ring_size": 0},
    "x-last-value-key": {"last_value": False},
    _DEAD_LETTER_HEADER: {"expired_to": DEAD_LETTER, "overflow_to": DEAD_LETTER},
}
"""What else an argument sets, so that it goes before all that the policy says."""


def dead_letter_queue_in(headers: Mapping[str, str]) -> Destination | None:
    """The queue that arguments name for dead letters; None = none, or no queue, as will be told.

    Args:
        headers: of the SEND or SUBSCRIBE that sets up a queue.
    """
    text = headers.get(_DEAD_LETTER_HEADER)
    try:
        return None if text is None else sendable(f"{DestinationKind.QUEUE.value}{text}")
    except ProtocolError:
        return None


def arguments_in(headers: Mapping[str, str], policy: Policy | None = None) -> dict[str, str]:
    """The headers that set a queue up, without those that say what holds anyhow.

    Args:
        headers: of a SEND or SUBSCRIBE.
        policy: what holds; None = the defaults.
    """
    if ARGUMENTS.keys().isdisjoint(headers):
        return {}
    given = {name: headers[name] for name in ARGUMENTS if name in headers}
    for name, setting in SWITCHES.items():
        if name in given:
            holds = getattr(policy or _DEFAULT, setting)
            if name == QUEUE_TYPE:
                if _says_type(given[name], holds):
                    del given[name]
            elif given[name].strip().lower() in ("", *(_TRUE if holds else _FALSE)):
                del given[name]
    return given


def _says_type(text: str, holds: str) -> bool:
    """Whether that is said of a queue of this type anyhow; what is no type is left for others."""
    try:
        return read_type(text) == holds
    except ValueError:
        return False


class Policy(GroupSettings, HistorySettings, QueueTypeSettings, ValueSettings, DuplicateSettings):
    """Settings of the destinations whose name matches. The first ``[[policy]]`` that fits wins."""

    match: str = Field(
        default="/queue/>",
        description="Destination or pattern, such as `/queue/orders.>` or `/topic/*.log`; here a "
        "`*` may also stand for a part of a word, as in `/queue/*-user*`.",
    )
    max_deliveries: int = Field(
        default=10,
        ge=-1,
        description="How many deliveries of a message may fail; then it becomes a dead letter. "
        "-1 = without end.",
    )
    redelivery: Literal["exponential", "linear"] = Field(
        default="exponential",
        description="How the delays of redeliveries grow. `exponential`: the first redelivery is "
        "at once, and from the third on each delay is `redelivery_multiplier` times the one "
        "before. `linear`: each is one `redelivery_delay` longer than the one before, from the "
        "first on.",
    )
    redelivery_for: Literal["failed", "returned", "all", "none"] = Field(
        default="failed",
        description="Which messages wait before they come again: those whose delivery `failed` "
        "(a NACK), those that were `returned` (a NACK with `delivery-failed:false`), `all` that "
        "a NACK brings back, or `none`.",
    )
    redelivery_delay: float = Field(
        default=1.0,
        ge=0,
        description="Seconds before the second redelivery after a NACK, or if `redelivery` is "
        "`linear`, before the first.",
    )
    redelivery_jitter: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="By how much of itself a delay may be shorter, so that what failed together "
        "does not come again together: 0.5 = by half at most.",
    )
    consumer_timeout: float = Field(
        default=0.0,
        ge=0,
        description="Seconds after which a delivery that its consumer has not settled goes back "
        "and counts as failed; 0 = never. It holds for subscriptions that are made while it says "
        "so; `x-consumer-timeout` on SUBSCRIBE goes before it.",
    )
    single_active: bool = Field(
        default=False,
        description="Whether one consumer of a queue at a time gets all its messages: the one of "
        "the highest `x-priority`, of these the first that came. It holds for subscriptions that "
        "are made while it says so, as if each said `x-single-active-consumer:true`.",
    )
    single_active_handover: float = Field(
        default=30.0,
        ge=0,
        description="Seconds that the consumer before may take to settle what it has, when another "
        "one is to get all messages of a queue; then it goes back to the queue.",
    )
    redelivery_multiplier: float = Field(
        default=2.0, ge=1, description="Each further delay is this many times the one before."
    )
    redelivery_delay_max: float = Field(
        default=60.0, ge=0, description="No delay is longer than this; seconds."
    )
    dead_letter: str = Field(
        default="/queue/DLQ.{name}",
        description="Where dead letters go; `{name}` stands for the queue's name. "
        "Empty = they are dropped.",
    )
    max_length: int = Field(
        default=0,
        ge=0,
        description="How many messages may wait in a queue, or for a durable subscription; "
        "0 = no limit.",
    )
    max_length_bytes: ByteSize = Field(
        default=ByteSize(0),
        description="How many bytes may wait in a queue, or for a durable subscription; "
        "0 = no limit.",
    )
    overflow: Literal["drop-head", "reject-publish", "reject-publish-dlx"] = Field(
        default="drop-head",
        description="What happens when a queue has reached its length: the oldest message has to "
        "go, the new one is refused with ERROR, or the new one becomes a dead letter.",
    )
    overflow_to: str = Field(
        default="",
        description="Where messages go that `drop-head` pushes out; `dead-letter` = where dead "
        "letters go; empty = they are dropped.",
    )
    message_ttl: int = Field(
        default=0,
        ge=0,
        le=10**15,
        description="Milliseconds that a message may wait; 0 = for ever.",
    )
    expired_to: str = Field(
        default="",
        description="Where expired messages go; `dead-letter` = where dead letters go; "
        "empty = they are dropped.",
    )
    persistent: bool = Field(
        default=True, description="Whether messages survive a restart unless they say otherwise."
    )
    expires: float = Field(
        default=0,
        ge=0,
        description="Seconds after which an unused empty queue, or a durable subscription "
        "without subscriber, is deleted; 0 = the broker's `times.idle_queue`, or never for a "
        "durable subscription.",
    )
    auto_delete: bool = Field(
        default=False,
        description="Whether a queue ends, with all that is in it, when its last consumer leaves, "
        "and when it has none for as long as `expires` says. Not for topics.",
    )
    max_bytes: ByteSize = Field(
        default=ByteSize(0),
        description="Size of a queue, or of the backlog of a durable subscription, at which "
        "its producers are made to wait; "
        "0 = only the broker's own mark counts.",
    )
    backlog_messages: int = Field(
        default=10_000,
        ge=1,
        description="How many messages wait for a topic subscriber that does not keep up. Not for "
        "durable subscriptions, which are bounded as queues are.",
    )
    backlog_bytes: ByteSize = Field(
        default=ByteSize(64 * 1024 * 1024),
        description="How many bytes wait for a topic subscriber that does not keep up.",
    )
    backlog_overflow: Literal["drop-oldest", "disconnect"] = Field(
        default="drop-oldest",
        description="What happens when that backlog is full: the oldest message goes, or the "
        "subscriber is disconnected.",
    )
    schedule: Literal["allow", "deny"] = Field(
        default="allow",
        description="Whether messages may be sent to come later (`x-delay` and its like); `deny` "
        "= such a SEND is refused with ERROR `not-supported`.",
    )

    @field_validator("match")
    @classmethod
    def _check_match(cls, value: str) -> str:
        destination = _read(value)
        if destination.kind not in (DestinationKind.QUEUE, DestinationKind.TOPIC):
            raise ValueError("a policy is for /queue/... or /topic/...")
        with _as_value_error():
            check_wildcards(destination)
        return value

    @model_validator(mode="after")
    def _check_values(self) -> Policy:
        if self.value_header and _read(self.match).kind is not DestinationKind.QUEUE:
            raise ValueError("last values are kept in queues; this policy is for a topic")
        if self.value_header and self.is_stream:
            raise ValueError("a stream keeps all its messages: last values are kept in queues")
        return self

    @field_validator("dead_letter")
    @classmethod
    def _check_dead_letter(cls, value: str) -> str:
        example = value.replace("{name}", "x")
        if "{" in example or "}" in example:
            raise ValueError("only {name} may stand in braces")
        if value and not _is_queue(example):
            raise ValueError("dead letters must go to one /queue/...")
        return value

    @field_validator("expired_to", "overflow_to")
    @classmethod
    def _check_target(cls, value: str) -> str:
        if value and value != DEAD_LETTER and not _is_queue(value):
            raise ValueError("these messages must go to one /queue/... or to dead-letter")
        return value

    def with_arguments(self, headers: Mapping[str, str]) -> Policy:
        """This policy under the queue arguments of a first SEND or SUBSCRIBE (`ARGUMENTS`).

        Who names a queue for dead letters that way expects expired and pushed out messages there,
        too, as with RabbitMQ.

        Raises:
            ValueError: an argument that cannot be; the text names header and reason.
        """
        given = {name: headers[name] for name in ARGUMENTS if name in headers}
        if not given:
            return self
        settings = _retries_in(given)
        for name, text in given.items():
            if name in _RETRIES:
                continue
            value: object = text
            if name in _MAY_BE_EMPTY and not text.strip():
                continue
            if name == QUEUE_TYPE:
                value = read_type(text)
            elif name == "x-expires":
                value = float(text) / 1000 if text.isdigit() else text
            elif name == _DEAD_LETTER_HEADER:
                value = f"{DestinationKind.QUEUE.value}{text}"
            settings |= {ARGUMENTS[name]: value, **_WITH.get(name, {})}
        try:
            return Policy.model_validate(self.model_dump() | settings)
        except ValidationError as error:
            problem = error.errors()[0]
            field = problem["loc"][0] if problem["loc"] else ""
            name = next((n for n, setting in ARGUMENTS.items() if setting == field), str(field))
            reason = problem["msg"].removeprefix("Value error, ")
            raise ValueError(f"{name}: {reason}" if name else reason) from None

    @property
    def deals(self) -> bool:
        """Whether a queue has to look at each message and consumer before it hands out any."""
        return super().deals or bool(self.history or self.value_header)

    @property
    def refuses(self) -> bool:
        """Whether a full queue refuses messages."""
        return self.overflow == "reject-publish"

    def exceeded(self, count: int, before: int) -> bool:
        """Whether a queue is too full for its last message.

        Args:
            count: messages that wait, the last one included.
            before: bytes of the others.
        """
        too_long = bool(self.max_length) and count > self.max_length
        return too_long or (bool(self.max_length_bytes) and before >= self.max_length_bytes)

    def waits(self, *, failed: bool) -> bool:
        """Whether what a NACK brings back waits before it comes again."""
        wanted = "failed" if failed else "returned"
        return self.redelivery_for in (wanted, "all")

    def delay(self, failures: int, seed: int = 0) -> float:
        """Seconds to wait after that many deliveries have failed.

        Args:
            failures: how many.
            seed: tells messages apart, whose delays differ by chance if they may.
        """
        if self.redelivery == "linear":
            wait = self.redelivery_delay * failures
        elif failures < 2:  # noqa: PLR2004 -- the first redelivery is at once
            return 0.0
        else:
            wait = self.redelivery_delay * self.redelivery_multiplier ** min(failures - 2, 64)
        wait = min(wait, self.redelivery_delay_max)
        if self.redelivery_jitter:
            chance = (seed * _SPREAD + failures * _FURTHER & _WORD) / (_WORD + 1)
            wait *= 1 - self.redelivery_jitter * chance
        return wait

    def exhausted(self, failures: int) -> bool:
        """Whether delivering a message has failed often enough."""
        return 0 <= self.max_deliveries <= failures

    @property
    def dead_letter_targets(self) -> frozenset[str]:
        """Where it sends what a destination gives up, `{name}` in it."""
        return frozenset((self.dead_letter, self.expired_to, self.overflow_to)) - {"", DEAD_LETTER}


def _retries_in(given: Mapping[str, str]) -> dict[str, object]:
    """What RabbitMQ's arguments for delayed retries set: delays that grow in a line.

    Raises:
        ValueError: they cannot be; the text names header and reason.
    """
    found = {name: given[name] for name in _RETRIES if given.get(name)}
    if not found:
        return {}
    word = found.get(_RETRIES[0], "failed")
    if word not in _RETRY_TYPES:
        raise ValueError(f"{_RETRIES[0]}: must be one of {', '.join(_RETRY_TYPES)}")
    times = {}
    for name in found.keys() - {_RETRIES[0]}:
        text = found[name]
        if not (text.isascii() and text.isdigit()) or len(text) > _LONGEST_NUMBER:
            raise ValueError(f"{name}: must be milliseconds")
        times[name] = int(text) / 1000
    if _RETRIES[1] not in times and word != "disabled":
        raise ValueError(f"{_RETRIES[0]}: needs {_RETRIES[1]}")
    return {
        "redelivery": "linear",
        "redelivery_for": _RETRY_TYPES[word],
        "redelivery_delay": times.get(_RETRIES[1], 0.0),
        "redelivery_delay_max": times.get(_RETRIES[2], _FOR_EVER),
    }


@contextmanager
def _as_value_error() -> Iterator[None]:
    """What is wrong with a name in a setting is a wrong setting."""
    try:
        yield
    except ProtocolError as error:
        raise ValueError(error.Message) from None


def _read(text: str) -> Destination:
    with _as_value_error():
        return parse_destination(text)


def _is_queue(text: str) -> bool:
    """Whether it is a queue that messages can be sent to."""
    with _as_value_error():
        return sendable(text).kind is DestinationKind.QUEUE


class Policies:
    """Finds the policy for a destination."""

    def __init__(self, policies: Sequence[Policy] = ()) -> None:
        self.renew(policies)

    def renew(self, policies: Sequence[Policy]) -> None:
        """Take these for all there were."""
        self._by_kind: dict[DestinationKind, Matcher[int]] = {
            kind: Matcher(slashes=kind is DestinationKind.TOPIC) for kind in DestinationKind
        }
        self._policies = tuple(policies)
        self._of_parts: list[tuple[int, DestinationKind, re.Pattern[str]]] = []
        for index, policy in enumerate(policies):
            pattern = parse_destination(policy.match)
            if _has_parts(pattern.name):
                self._of_parts.append((index, pattern.kind, _expression(pattern.name)))
            else:
                self._by_kind[pattern.kind].add(pattern.name, index)

    def __iter__(self) -> Iterator[Policy]:
        """All policies in their order, which decides."""
        return iter(self._policies)

    def find(self, kind: DestinationKind, name: str) -> Policy:
        """The first policy that matches, or the defaults.

        What is to come later goes by the policy of where it will go, and is not bounded before.
        """
        if name.startswith(SCHEDULED) and kind is DestinationKind.QUEUE:
            meant = parse_destination(scheduled_for(name).partition(",/")[0])
            return self.find(meant.kind, meant.name).model_copy(update=_NO_LIMITS)
        if name == RETAINED and kind is DestinationKind.QUEUE:
            return _DEFAULT  # each of its messages goes by the policy of its topic
        index = self.index(kind, name)
        return _DEFAULT if index is None else self._policies[index]

    def of_text(self, text: str) -> Policy:
        """The policy of a queue or topic, by its name with the prefix in front."""
        for kind in (DestinationKind.TOPIC, DestinationKind.QUEUE):
            if text.startswith(kind.value):
                return self.find(kind, text.removeprefix(kind.value))
        return _DEFAULT

    def index(self, kind: DestinationKind, name: str) -> int | None:
        """The place of the first policy that matches, from 0; None: the defaults hold."""
        found = self._by_kind[kind].match(name)
        if self._of_parts:
            found += tuple(
                index for index, of, parts in self._of_parts if of is kind and parts.fullmatch(name)
            )
        return min(found, default=None)

    def origins(self, queue: Destination) -> list[Destination]:
        """What messages in a queue were sent to, if they were given up elsewhere.

        Going by what policies say, not by what is in the queue: one that several destinations
        give their dead letters to has the patterns of all of them.
        """
        everything = [
            (index, policy, (parse_destination(policy.match).kind,))
            for index, policy in enumerate(self._policies)
        ]
        found: dict[Destination, None] = {}
        for index, policy, kinds in (
            *everything,
            (None, _DEFAULT, (DestinationKind.QUEUE, DestinationKind.TOPIC)),
        ):
            for target in policy.dead_letter_targets:
                name = _name_in(target, str(queue))
                if name is None:
                    continue
                if "{name}" not in target:
                    found[_whole_words(parse_destination(policy.match))] = None
                elif name:
                    own = [kind for kind in kinds if self.index(kind, name) == index]
                    found |= {Destination(kind, name, is_pattern=False): None for kind in own}
        found.pop(queue, None)
        return list(found)


def _has_parts(name: str) -> bool:
    """Whether a wildcard in a pattern stands for a part of a word."""
    return any("*" in word and word != "*" for word in name.split("."))


def _expression(pattern: str) -> re.Pattern[str]:
    """What finds the names that a pattern with such wildcards matches."""
    words = pattern.split(".")
    rest = r"(\..*)?" if words[-1] in _REST else ""
    if rest:
        del words[-1]
    found = [
        "[^.]+" if word == "*" else "[^.]*".join(map(re.escape, word.split("*"))) for word in words
    ]
    # As everywhere, a wildcard does not begin a name of the broker's own.
    return re.compile(("" if pattern.startswith("$") else r"(?!\$)") + r"\.".join(found) + rest)


def _whole_words(pattern: Destination) -> Destination:
    """A pattern that takes in all that this one does, whose wildcards are words."""
    if not _has_parts(pattern.name):
        return pattern
    words = ["*" if "*" in word else word for word in pattern.name.split(".")]
    return Destination(pattern.kind, ".".join(words), is_pattern=True)


def _name_in(template: str, text: str) -> str | None:
    """What `{name}` in a template stands for, if it gives this text; None if it cannot."""
    places = template.count("{name}")
    start = template.find("{name}")
    length = (len(text) - len(template) + places * len("{name}")) // max(places, 1)
    name = text[start : start + length] if places and length > 0 else ""
    return name if template.replace("{name}", name) == text else None


_DEFAULT = Policy()
_NO_LIMITS = {
    "auto_delete": False,
    "expires": 0,
    "history": "",
    "max_bytes": 0,
    "max_length": 0,
    "max_length_bytes": 0,
    "message_ttl": 0,
}
