"""Who should own which group: the same answer at each broker that sees the same members.

Each pair of group and broker has a score, made of both names alone (*rendezvous hashing*), and a
group goes where its score is highest. When a broker comes or goes, few other groups change their
place, and nobody has to remember anything. Pure scores would give one broker seven of sixteen
groups and another one four; so each broker has room for its share, and no more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

from stompy_broker.cluster.membership.groups import stable_hash

_NONE: frozenset[int] = frozenset()


@lru_cache(maxsize=16384)
def score(group: int, broker: str) -> int:
    """How well a group and a broker go together."""
    return stable_hash(f"{group} {broker}")


def rank(group: int, brokers: Iterable[str]) -> list[str]:
    """Brokers in the order in which they should have a group."""
    return sorted(brokers, key=lambda broker: (score(group, broker), broker), reverse=True)


def spread(
    count: int, brokers: Collection[str], unable: Mapping[str, frozenset[int]] | None = None
) -> dict[int, str]:
    """Give each group a broker, and each broker as many groups as any other, or one more.

    Args:
        count: how many groups there are.
        brokers: who can have any.
        unable: which groups somebody cannot have. Those that nobody can have get none.
    """
    if not brokers:
        return {}
    cannot = unable or {}
    share, more = divmod(count, len(brokers))
    pairs = sorted(
        ((score(group, broker), broker, group) for group in range(count) for broker in brokers),
        reverse=True,
    )
    found: dict[int, str] = {}
    has = dict.fromkeys(brokers, 0)
    for _, broker, group in pairs:
        if group in found or group in cannot.get(broker, _NONE):
            continue
        if has[broker] < share or (has[broker] == share and more):
            more -= has[broker] == share
            has[broker] += 1
            found[group] = broker
    for group in range(count):  # whose able brokers are full
        if group not in found:
            able = [broker for broker in brokers if group not in cannot.get(broker, _NONE)]
            if able:
                best = min(able, key=lambda broker: (has[broker], -score(group, broker)))
                has[best] += 1
                found[group] = best
    return found
