"""How a broker takes part in links: who it is, the secret, and how long it waits."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stompy_broker.cluster.link.codec import LONGEST

_SHORTEST_SECRET = 16


def _no_facts() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """What all links of a broker share.

    Attributes:
        cluster: its name, which both sides must say.
        broker: the id of this broker, unique in the cluster.
        secret: what both sides must know; 16 bytes at least.
        instance: changes each time that the broker starts.
        facts: gives what a peer is told of this broker once it is known who it is: texts by name.
        versions: the oldest and the newest version of the protocol that are spoken.
        beat_seconds: who has said nothing for so long sends a beat.
        silent_seconds: who was not heard for so long is lost.
        login_seconds: how long an incoming connection may take until it is a link.
        connect_seconds: the same for an outgoing one, from the first packet on.
        retry_seconds: the shortest and the longest pause between two attempts.
        longest: bytes that a message may have.

    Raises:
        ValueError: the secret is too short to be one, or a name is empty.
    """

    cluster: str
    broker: str
    secret: bytes = field(repr=False)
    instance: str = field(default_factory=lambda: secrets.token_hex(8))
    facts: Callable[[], Mapping[str, str]] = _no_facts
    versions: tuple[int, int] = (1, 1)
    beat_seconds: float = 0.5
    silent_seconds: float = 3.0
    login_seconds: float = 10.0
    connect_seconds: float = 3.0
    retry_seconds: tuple[float, float] = (0.1, 1.0)
    longest: int = LONGEST

    def __post_init__(self) -> None:
        """Refuse what would be no protection, or no name."""
        if len(self.secret) < _SHORTEST_SECRET:
            raise ValueError(
                f"the secret of a cluster has {len(self.secret)} bytes and needs at least "
                f"{_SHORTEST_SECRET}: `openssl rand -hex 32` makes a good one"
            )
        if not self.cluster or not self.broker:
            raise ValueError("a cluster and each of its brokers need a name")
