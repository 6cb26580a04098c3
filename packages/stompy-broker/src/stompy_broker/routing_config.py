"""Settings of ways that messages take: ``[[exchange]]``, ``[virtual_topics]``, ``[[route]]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from stompy.errors import ProtocolError
from stompy_broker.broker_headers import BROKER_HEADERS, DEATH_HEADERS
from stompy_broker.config_section import Section
from stompy_broker.destinations.exchanges import BUILT_IN, Exchanges, ExchangeType
from stompy_broker.destinations.matcher import Matcher
from stompy_broker.destinations.names import (
    Destination,
    DestinationKind,
    check_pattern,
    parse_destination,
    sendable,
)
from stompy_broker.destinations.patterns import ONE_WORD, REST, WILDCARDS
from stompy_broker.destinations.virtual_topics import MATCH, QUEUES
from stompy_broker.selectors.selector import compile_selector

MOST_ROUTES = 4
"""Routes that a message may take one after the other."""

_SHARED = (DestinationKind.QUEUE, DestinationKind.TOPIC)
_NOT_SET = BROKER_HEADERS | DEATH_HEADERS | {"destination", "content-length", "reply-to"}


class ExchangeConfig(Section):
    """One exchange, which clients name as ``/exchange/NAME/KEY``."""

    name: str = Field(
        description="What clients call it; without `/`, and none of those that are always there: "
        "`amq.topic`, `amq.direct`, `amq.fanout`, `amq.headers`.",
    )
    type: Literal["topic", "direct", "fanout", "headers"] = Field(
        default="topic",
        description="How it looks at routing keys: by wildcards of subscribers, as topics do; by "
        "the whole key; not at all; or not at keys but at headers, as subscribers say with "
        "`x-match`.",
    )

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if value in BUILT_IN:
            raise ValueError(f"{value!r} is there already")
        if not value.isprintable() or not value.strip() or "/" in value:
            raise ValueError(f"an exchange cannot be called {value!r}")
        if not WILDCARDS.isdisjoint(value.split(".")):
            raise ValueError(f"{value!r} has a wildcard")
        return value


class VirtualTopicsConfig(Section):
    """Topics whose messages go to queues as well, by the names of those."""

    match: str = Field(
        default=MATCH,
        description="The topics, as a pattern without `/topic/`; empty = none is virtual.",
    )
    queues: str = Field(
        default=QUEUES,
        description="What stands before the topic in the name of a queue that gets its messages; "
        "`*` stands for one word, so that each application has a queue of its own.",
    )

    selector_aware: bool = Field(
        default=False,
        description="Keep in such a queue only what the selector of one of its consumers takes; "
        "everything while it has none, or one without selector.",
    )

    @field_validator("match")
    @classmethod
    def _check_match(cls, value: str) -> str:
        if value:
            _read_pattern(f"{DestinationKind.TOPIC.value}{value}")
        if value.startswith(("/", "$")):
            raise ValueError(f"{value!r} is no pattern of topics; write it without /topic/")
        return value

    @field_validator("queues")
    @classmethod
    def _check_queues(cls, value: str) -> str:
        words = value.removesuffix(".").split(".")
        if not value.endswith(".") or not all(words) or not REST.isdisjoint(words):
            raise ValueError("must be words with a dot behind each, such as 'Consumer.*.'")
        if all(word == ONE_WORD for word in words) or value.startswith(("$", "/")):
            raise ValueError("needs a word of its own, as a queue's name would begin")
        return value


class RouteConfig(Section):
    """One way from destinations to others."""

    source: str = Field(
        alias="from",
        description="Where messages are sent: a destination or pattern, such as `/queue/orders` "
        "or `/topic/prices.>`.",
    )
    to: tuple[str, ...] = Field(
        min_length=1, description="Where they go: queues and topics, without wildcards."
    )
    selector: str = Field(
        default="",
        description="Only for messages whose headers match it, as `amount > 1000`; empty = all.",
    )
    mode: Literal["copy", "move"] = Field(
        default="copy",
        description="Whether they also go where they were sent to. If one of several routes moves "
        "a message, it does not.",
    )
    set: dict[str, str] = Field(
        default_factory=dict,
        description="Headers that messages get on this way, with their values.",
    )

    @field_validator("source")
    @classmethod
    def _check_source(cls, value: str) -> str:
        _read_pattern(value)
        return value

    @field_validator("to")
    @classmethod
    def _check_targets(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            try:
                destination = sendable(value)
            except ProtocolError as error:
                raise ValueError(error.Message) from None
            if destination.kind not in _SHARED or destination.existing:
                raise ValueError(f"{value!r} must be a /queue/... or /topic/...")
        if len(set(values)) < len(values):
            raise ValueError("one destination stands there twice")
        return values

    @field_validator("selector")
    @classmethod
    def _check_selector(cls, value: str) -> str:
        try:
            if value:
                compile_selector(value)
        except ProtocolError as error:
            raise ValueError(error.Message) from None
        return value

    @field_validator("set")
    @classmethod
    def _check_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if name in _NOT_SET:
                raise ValueError(f"the header {name!r} cannot be set")
            if not name or "\0" in name + value:
                raise ValueError(f"{name!r} cannot be a header with this value")
        return headers

    @model_serializer(mode="wrap")
    def _as_written(self, serialize: SerializerFunctionWrapHandler) -> dict[str, object]:
        """With the key that stands in files."""
        content: dict[str, object] = serialize(self)
        return {"from": content.pop("source"), **content} if "source" in content else content

    def __str__(self) -> str:
        """What it does, in one line."""
        verb = "moves" if self.mode == "move" else "copies"
        chosen = f" what matches {self.selector}" if self.selector else ""
        return f"{verb}{chosen} to {', '.join(self.to)}"

    @property
    def source_pattern(self) -> Destination:
        """Where it begins, as a destination."""
        return parse_destination(self.source)


def _read_pattern(text: str) -> Destination:
    """Read a destination or pattern of queues or topics.

    Raises:
        ValueError: it is none.
    """
    try:
        destination = parse_destination(text)
        check_pattern(destination.name)
    except ProtocolError as error:
        raise ValueError(error.Message) from None
    if destination.kind not in _SHARED or destination.existing or destination.of_broker:
        raise ValueError(f"{text!r} must be a /queue/... or /topic/...")
    return destination


def route_problems(
    routes: Sequence[RouteConfig], exchanges: Sequence[ExchangeConfig]
) -> Iterator[str]:
    """What is wrong with routes and exchanges together.

    A name that two exchanges have, a route that leads to itself, or many that follow each other.

    Args:
        routes: all of them.
        exchanges: those that are declared.
    """
    names = [one.name for one in exchanges]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield f"exchange.{index}.name: {name!r} is declared twice"
    known = Exchanges({one.name: ExchangeType(one.type) for one in exchanges})
    for index, route in enumerate(routes):
        for text in route.to:
            try:
                known.resolve(parse_destination(text))
            except ProtocolError as error:
                yield f"route.{index}.to: {error.Message}"
    onward = _onward(routes)
    for index in range(len(routes)):
        path = _too_long(index, onward, ())
        if path:
            circle = path[-1] in path[:-1]
            way = " -> ".join(f"route.{one}" for one in path)
            why = "leads to itself" if circle else f"is longer than {MOST_ROUTES} routes"
            yield f"route.{index}: {why}: {way}"


def _onward(routes: Sequence[RouteConfig]) -> Mapping[int, Sequence[int]]:
    """Which routes begin where each leads to."""
    matchers: dict[DestinationKind, Matcher[int]] = {
        DestinationKind.QUEUE: Matcher(),
        DestinationKind.TOPIC: Matcher(slashes=True),
    }
    for index, route in enumerate(routes):
        source = route.source_pattern
        matchers[source.kind].add(source.name, index)
    found: dict[int, Sequence[int]] = {}
    for index, route in enumerate(routes):
        next_ones: dict[int, None] = {}
        for target in map(parse_destination, route.to):
            next_ones |= dict.fromkeys(sorted(matchers[target.kind].match(target.name)))
        found[index] = list(next_ones)
    return found


def _too_long(
    index: int, onward: Mapping[int, Sequence[int]], before: tuple[int, ...]
) -> tuple[int, ...]:
    """A path of routes from one on that comes to it again, or does not end in time."""
    path = (*before, index)
    if index in before or len(path) > MOST_ROUTES:
        return path
    for one in onward[index]:
        found = _too_long(one, onward, path)
        if found:
            return found
    return ()
