"""Who is connected, and whether there is a place for one more.

A place is for somebody who logs in. So whoever has not even said CONNECT has a place only while
nobody else wants it: when all are taken, the one that has been silent longest makes way, of the
address that has most such. Half-open connections keep nobody out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from stompy.errors import ErrorCode, ProtocolError

_TOO_MANY = ProtocolError(ErrorCode.LIMIT_EXCEEDED, "the broker has all the connections it takes")
_TOO_MANY_THERE = ProtocolError(
    ErrorCode.LIMIT_EXCEEDED, "this address has all the connections it may have"
)
_MAKE_WAY = ProtocolError(
    ErrorCode.LIMIT_EXCEEDED,
    "the broker has all the connections it takes, others want to log in, and this one did not",
)


class Somebody(Protocol):
    """Somebody who is connected.

    Attributes:
        host: the IP address.
    """

    host: str

    @property
    def is_stranger(self) -> bool:
        """Whether there was no CONNECT yet."""
        ...

    def make_way(self, error: ProtocolError) -> None:
        """Say why, and be gone at once."""
        ...


S = TypeVar("S", bound=Somebody)


class Places(Generic[S]):
    """The places of a broker.

    Args:
        most: how many there are.
        most_there: how many for one address; 0 = no limit.

    Attributes:
        refused: how many were turned away.
    """

    def __init__(self, most: int, most_there: int) -> None:
        self.most = most
        self.refused = 0
        self._most_there = most_there
        self._everybody: dict[S, bool] = {}  # and whether they have a place
        self._taken = 0
        self._by_host: Counter[str] = Counter()
        self._strangers: dict[str, dict[S, None]] = {}  # some have logged in meanwhile

    def __iter__(self) -> Iterator[S]:
        """Everybody, also those without a place who are being told so."""
        return iter(list(self._everybody))

    def __len__(self) -> int:
        return len(self._everybody)

    def enter(self, guest: S) -> ProtocolError | None:
        """Somebody has connected; say why there is no place, if there is none."""
        host, refusal = guest.host, None
        if self._most_there and self._by_host[host] >= self._most_there:
            refusal = None if self._make_way(host) else _TOO_MANY_THERE
        if refusal is None and self._taken >= self.most:
            refusal = None if self._make_way() else _TOO_MANY
        self._everybody[guest] = refusal is None
        if refusal is None:
            self._taken += 1
            self._by_host[host] += 1
            self._strangers.setdefault(host, {})[guest] = None
        else:
            self.refused += 1
        return refusal

    def hand_over(self, old: S, new: S) -> None:
        """What was an opening is a connection now."""
        has_place = self._everybody.pop(old)
        self._everybody[new] = has_place
        if has_place:
            strangers = self._strangers.setdefault(new.host, {})
            strangers.pop(old, None)
            strangers[new] = None

    def leave(self, guest: S) -> None:
        """Somebody has gone."""
        self._give_back(guest)
        del self._everybody[guest]

    def _give_back(self, guest: S) -> None:
        if not self._everybody[guest]:
            return
        self._everybody[guest] = False
        self._taken -= 1
        host = guest.host
        self._by_host[host] -= 1
        if not self._by_host[host]:
            del self._by_host[host]
        self._forget_stranger(guest)

    def _forget_stranger(self, guest: S) -> None:
        strangers = self._strangers.get(guest.host)
        if strangers is not None:
            strangers.pop(guest, None)
            if not strangers:
                del self._strangers[guest.host]

    def _make_way(self, host: str | None = None) -> bool:
        """Have a stranger go; false if there is none."""
        while self._strangers if host is None else host in self._strangers:
            most = host or max(self._strangers, key=lambda name: len(self._strangers[name]))
            guest = next(iter(self._strangers[most]))
            if guest.is_stranger:
                self._give_back(guest)
                self.refused += 1
                guest.make_way(_MAKE_WAY)
                return True
            self._forget_stranger(guest)
        return False
