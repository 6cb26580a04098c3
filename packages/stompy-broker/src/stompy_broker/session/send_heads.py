"""How the header blocks of SEND are read, and what is remembered of them."""

from __future__ import annotations

from collections.abc import Mapping

from stompy.protocol.header_cache import HeadCache
from stompy.protocol.headers import ALL_VERSIONS, Version
from stompy.protocol.limits import Limits
from stompy.protocol.send_heads import SendHeads
from stompy_broker.broker_headers import BROKER_HEADERS, DEATH_HEADERS
from stompy_broker.dedup_headers import DUPLICATE_HEADERS, NAMING
from stompy_broker.destinations.policy import ARGUMENTS, SWITCHES
from stompy_broker.foreign_headers import OF_SEND
from stompy_broker.group_headers import GROUP_HEADERS
from stompy_broker.message import TELLING
from stompy_broker.retain_headers import RETAIN_HEADERS
from stompy_broker.schedules.headers import SCHEDULE_HEADERS

_REQUESTING = ("reply-to", "reply-timeout", "mandatory")
_OF_BROKER = (
    "receipt",
    "transaction",
    *_REQUESTING,
    *DUPLICATE_HEADERS,
    *SCHEDULE_HEADERS,
    *ARGUMENTS,
)

SPECIAL = frozenset(_OF_BROKER) - frozenset(SWITCHES)
"""Headers that make more of a SEND than a message to route, whatever they say."""

UNUSUAL = SPECIAL | OF_SEND | RETAIN_HEADERS | frozenset(SWITCHES)
"""Headers that a SEND is looked at for more closely."""

_NOT_SIMPLE = (BROKER_HEADERS | DEATH_HEADERS | UNUSUAL | frozenset(GROUP_HEADERS)) - frozenset(
    NAMING
)


def head_caches(limits: Limits) -> Mapping[Version, HeadCache]:
    """A memory for each version, for all connections of a broker."""
    return {version: _head_cache(version, limits) for version in ALL_VERSIONS}


def _head_cache(version: Version, limits: Limits) -> HeadCache:
    if version is Version.V1_0:  # blanks round names and values mean nothing
        return HeadCache()
    return SendHeads(version, limits, TELLING, _NOT_SIMPLE, NAMING)
