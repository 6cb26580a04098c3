"""What a user may do with which destination: rules in order, the first that matches decides.

A subscription by a wildcard asks for many topics at once. It is allowed only if a rule allows all
of them before any rule denies some of them.

Rules follow a message. Who may not take messages from a destination may not take its dead letters
either, nor what waits for a durable subscription to it, unless a rule names that queue, which is
more than a pattern that begins with a wildcard.

An exchange is named by rules of its own: ``/exchange/NAME`` is about every routing key of it.

Destinations of the broker itself, whose names begin with ``$``, go by roles, and a connection's own
temporary queues are its own; neither is asked for here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.config_section import Section
from stompy_broker.destinations.exchange_names import EXCHANGE
from stompy_broker.destinations.names import (
    RESERVED,
    Destination,
    DestinationKind,
    check_wildcards,
    parse_destination,
)
from stompy_broker.destinations.patterns import (
    WILDCARDS,
    cover,
    covers,
    overlap,
    overlaps,
    words_of,
)
from stompy_broker.security.auth import ANONYMOUS, Principal

EVERYBODY = "*"


class Action(StrEnum):
    """What may be done with a destination."""

    SEND = "send"
    """SEND to it."""
    RECEIVE = "receive"
    """SUBSCRIBE to it, and take its messages."""
    BROWSE = "browse"
    """Look at its messages without taking them."""
    CREATE = "create"
    """Be the first to use a queue, or set it up by arguments."""
    ADMIN = "admin"
    """Purge it, pause it and the like; takes a role besides."""


def _check_match(value: str) -> str:
    """Whether it is a pattern of destinations.

    Raises:
        ValueError: it is not.
    """
    try:
        destination = parse_destination(value.replace("{user}", "x").replace("{client_id}", "x"))
        if destination.kind not in (DestinationKind.QUEUE, DestinationKind.TOPIC):
            raise ValueError(f"{value!r} is neither a queue nor a topic")
        check_wildcards(destination)
    except ProtocolError as error:
        raise ValueError(error.Message) from None
    return value


class Rule(Section):
    """One ``[[acl]]`` of the configuration: who may do what, where."""

    user: str = Field(
        default=EVERYBODY,
        min_length=1,
        description="A login, `*` for everybody, or `anonymous` for who comes without one.",
    )
    actions: tuple[Action, ...] = Field(
        default=tuple(Action),
        description="What it is about: `send`, `receive`, `browse`, `create`, `admin`.",
    )
    match: Annotated[str, AfterValidator(_check_match)] = Field(
        default="/queue/>",
        description="Destination or pattern, such as `/topic/prices.>`. `{user}` stands for the "
        "login, `{client_id}` for the `client-id` of CONNECT.",
    )
    access: Literal["allow", "deny"] = Field(default="allow", description="What happens then.")


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a request, and by which rule.

    Attributes:
        allowed: whether it is granted.
        rule: the number of the rule that decided, from 0; None = the default did.
        is_exempt: whether the rules are not asked for such destinations at all.
        names_it: whether the rule does not begin with a wildcard.
        origin: the destination that was decided about, because messages come from there.
    """

    allowed: bool
    rule: int | None
    is_exempt: bool = False
    names_it: bool = False
    origin: Destination | None = None


def _no_origins(queue: Destination) -> Iterable[Destination]:
    return ()


class Access:
    """Decides by rules who may do what with a destination.

    Args:
        rules: in their order.
        default: what becomes of what no rule matches.
        origins: gives what messages in a queue may have been sent to, if it was not that queue.
    """

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        default: Literal["allow", "deny"] = "allow",
        origins: Callable[[Destination], Iterable[Destination]] = _no_origins,
    ) -> None:
        self._origins = origins
        self.renew(rules, default)

    def renew(self, rules: Sequence[Rule], default: Literal["allow", "deny"]) -> None:
        """Go by other rules from now on; who asked before has to ask again."""
        self._rules = [(rule, parse_destination(rule.match).kind) for rule in rules]
        self._default = default == "allow"

    @property
    def is_open(self) -> bool:
        """Whether everybody may do everything."""
        return not self._rules and self._default

    def check(self, principal: Principal, action: Action, destination: Destination) -> None:
        """Whether somebody may do something.

        Raises:
            ProtocolError: no.
        """
        if self.is_open:
            return
        decision = self.decide(principal, action, destination)
        if not decision.allowed:
            words = f"user {principal.name[:60]!r} may not {action} {str(destination)[:200]!r}"
            if decision.origin is not None:
                words += f", where messages of {str(decision.origin)[:200]!r} may be"
            raise ProtocolError(ErrorCode.ACCESS_REFUSED, words)

    def describe(self, decision: Decision) -> str:
        """Say for people by what something was decided."""
        if decision.is_exempt:
            return "no matter of the access rules"
        if decision.rule is None:
            by = f"security.default_access ({'allow' if self._default else 'deny'})"
        else:
            rule, _ = self._rules[decision.rule]
            what = f"{rule.access} {'|'.join(rule.actions)} on {rule.match} to {rule.user}"
            by = f"acl.{decision.rule} ({what})"
        if decision.origin is not None:
            by += f", about {decision.origin}, whose messages may be in it"
        return by

    def decide(self, principal: Principal, action: Action, destination: Destination) -> Decision:
        """Decide whether somebody may do something, and say why."""
        decision = self._decide(principal, action, destination)
        if decision.is_exempt or decision.names_it or not decision.allowed:
            return decision
        if destination.kind is not DestinationKind.QUEUE or action not in _TAKING:
            return decision
        by_origin = [
            replace(self._decide(principal, action, origin), origin=origin)
            for origin in self._origins(destination)
        ]
        refusals = [one for one in by_origin if not one.allowed]
        by_rule = [one for one in refusals if one.rule is not None]
        # Dead letters of a queue and of a topic of one name are in one queue. Where nothing is
        # allowed by default, the right to one of them is enough, unless a rule denies the other.
        if by_rule or (refusals and len(refusals) == len(by_origin)):
            return (by_rule or refusals)[0]
        return decision

    def _decide(self, principal: Principal, action: Action, destination: Destination) -> Decision:
        kind, wanted = destination.kind, destination.name
        reserved = wanted.startswith(RESERVED) and not destination.of_exchange
        if reserved or kind not in (DestinationKind.QUEUE, DestinationKind.TOPIC):
            return Decision(True, None, is_exempt=True)
        is_topic, is_of_exchange = kind is DestinationKind.TOPIC, destination.of_exchange
        words = wanted.split(".")
        for number, (rule, rule_kind) in enumerate(self._rules):
            if (
                rule_kind is not kind
                or action not in rule.actions
                or rule.user not in (EVERYBODY, principal.owner or ANONYMOUS)
            ):
                continue
            pattern = _filled_in(rule.match, principal)
            if pattern is None or is_of_exchange != pattern.startswith(EXCHANGE):
                continue
            # The words of topics may be separated by slashes as well.
            own = pattern.split(".")
            if not (overlap(pattern, wanted) if is_topic else overlaps(own, words)):
                continue
            if cover(pattern, wanted) if is_topic else covers(own, words):
                return Decision(rule.access == "allow", number, names_it=_names(rule.match))
            if rule.access == "deny":
                return Decision(False, number)
        return Decision(self._default, None)


_TAKING = frozenset((Action.RECEIVE, Action.BROWSE, Action.ADMIN))
"""What follows a message."""


def _names(match: str) -> bool:
    """Whether a pattern begins with a word of its own."""
    destination = parse_destination(match)
    is_topic = destination.kind is DestinationKind.TOPIC
    first = words_of(destination.name)[0] if is_topic else destination.name.partition(".")[0]
    return first not in WILDCARDS and "{" not in first


def _filled_in(match: str, principal: Principal) -> str | None:
    """A pattern for somebody; None if a name in it would say more than itself."""
    for place, value in (("{user}", principal.name), ("{client_id}", principal.client_id)):
        if place in match:
            if not value or not set(value).isdisjoint(".*>#/"):
                return None
            match = match.replace(place, value)
    name = parse_destination(match).name
    # With any routing key, unless one is named.
    return f"{name}.>" if name.startswith(EXCHANGE) and name.count(".") == 1 else name
