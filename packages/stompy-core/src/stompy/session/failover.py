"""``failover:`` addresses, as ActiveMQ writes them: several brokers, and how to go on between them.

``failover:(stomp://one:61613,stomp://two:61613)?randomize=false&maxReconnectDelay=10000``

The options have ActiveMQ's names and units: times are milliseconds, and -1 stands for no end. What
is not said is as in `stompy.session.reconnect.Reconnect`, but for ``randomize``, which is on. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from stompy.session.address import Address, AddressLike, parse_addresses
from stompy.session.reconnect import Reconnect

SCHEME = "failover:"


@dataclass(frozen=True, slots=True)
class Failover:
    """What such an address says."""

    urls: tuple[str, ...]
    """The brokers, in their order."""
    reconnect: Reconnect | None
    """How to connect again; None for never, which is ``maxReconnectAttempts=0``."""


def parse_failover(text: str) -> Failover:
    """Read such an address.

    Raises:
        ValueError: it names no broker, or has an option that is not known or has no such value.
    """
    rest = text[len(SCHEME) :].removeprefix("//")
    if rest.startswith("("):
        inside, closed, behind = rest[1:].rpartition(")")
        if not closed or (behind and not behind.startswith("?")):
            raise ValueError("a failover: address is written failover:(url,url)?option=value")
        query = behind[1:]
    else:
        inside, _, query = rest.partition("?")
    urls = tuple(url.strip() for url in inside.split(",") if url.strip())
    if not urls:
        raise ValueError("a failover: address names at least one broker: failover:(url,url)")
    return Failover(urls, _reconnect(parse_qsl(query, keep_blank_values=True)))


def read_addresses(
    given: AddressLike | Sequence[AddressLike],
    reconnect: bool | Reconnect,
    *,
    secure: bool = False,
) -> tuple[tuple[Address, ...], Reconnect | None]:
    """What the arguments ``addr_list`` and ``reconnect`` of `connect` mean together.

    Args:
        given: the first.
        reconnect: the other.
        secure: whether a tuple means TLS.

    Raises:
        ValueError: an address that cannot be.
    """
    policy = Reconnect.of(reconnect)
    if not isinstance(given, str) or not given.lower().startswith(SCHEME):
        return parse_addresses(given, secure=secure), policy
    failover = parse_failover(given)
    if not isinstance(reconnect, Reconnect):
        policy = failover.reconnect
    return parse_addresses(failover.urls, secure=secure), policy


def _reconnect(options: list[tuple[str, str]]) -> Reconnect | None:
    given: dict[str, object] = {"shuffle": True}
    exponential = True
    for name, value in options:
        if name not in _OPTIONS:
            raise ValueError(
                f"failover: addresses have no option {name!r} here; "
                f"there are {', '.join(sorted(_OPTIONS))}"
            )
        field, read = _OPTIONS[name]
        try:
            meaning = read(value)
        except ValueError:
            raise ValueError(f"failover: option {name} cannot be {value!r}") from None
        if field == "exponential":
            exponential = bool(meaning)
        else:
            given[field] = meaning
    if not exponential:
        given["multiplier"] = 1.0
    if given.get("attempts") == 0:
        return None
    if given.get("startup_attempts") == 0:
        del given["startup_attempts"]
    return Reconnect(**given)  # type: ignore[arg-type]  # the table below has the types


def _seconds(value: str) -> float:
    return int(value) / 1000


def _attempts(value: str) -> int | None:
    number = int(value)
    return None if number < 0 else number


def _flag(value: str) -> bool:
    words = {"true": True, "false": False}
    if value.lower() not in words:
        raise ValueError(value)
    return words[value.lower()]


_OPTIONS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "initialReconnectDelay": ("delay", _seconds),
    "maxReconnectDelay": ("max_delay", _seconds),
    "useExponentialBackOff": ("exponential", _flag),
    "reconnectDelayExponent": ("multiplier", float),
    "backOffMultiplier": ("multiplier", float),
    "maxReconnectAttempts": ("attempts", _attempts),
    "startupMaxReconnectAttempts": ("startup_attempts", _attempts),
    "randomize": ("shuffle", _flag),
    "updateURIsSupported": ("peers", _flag),
}
