"""Who is connected, and whether there is a place for one more.

A place is for somebody who logs in. So whoever has not even said CONNECT has a place only while
nobody else wants it: when all are taken, the one that has been silent longest is evicted, of the
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
_EVICTED = ProtocolError(
    ErrorCode.LIMIT_EXCEEDED,
    "the broker has all the connections it takes, others want to log in, and this one did not",
)


class Limited(Protocol):
    """A connection that counts.

    Attributes:
        host: the IP address.
    """

    host: str

    @property
    def before_connect(self) -> bool:
        """Whether there was no CONNECT yet."""
        ...

    def evict(self, error: ProtocolError) -> None:
        """Say why, and cut the connection off at once."""
        ...


S = TypeVar("S", bound=Limited)


class ConnectionLimits(Generic[S]):
    """Which connections have one of the places of a broker.

    Args:
        most: how many there are.
        most_there: how many for one address; 0 = no limit.

    Attributes:
        most: how many there are; may change.
        most_there: how many for one address; may change.
        refused: how many were turned away.
    """

    def __init__(self, most: int, most_there: int) -> None:
        self.most = most
        self.refused = 0
        self.most_there = most_there
        self._everybody: dict[S, bool] = {}  # and whether they have a place
        self._taken = 0
        self._by_host: Counter[str] = Counter()
        self._waiting: dict[str, dict[S, None]] = {}  # for CONNECT; some have sent it meanwhile

    def __iter__(self) -> Iterator[S]:
        """Everybody, also those without a place who are being told so."""
        return iter(list(self._everybody))

    def __len__(self) -> int:
        return len(self._everybody)

    def admit(self, connection: S) -> ProtocolError | None:
        """Give a new connection a place; say why it has none, if all are taken."""
        host, refusal = connection.host, None
        if self.most_there and self._by_host[host] >= self.most_there:
            refusal = None if self._evict_one(host) else _TOO_MANY_THERE
        if refusal is None and self._taken >= self.most:
            refusal = None if self._evict_one() else _TOO_MANY
        self._everybody[connection] = refusal is None
        if refusal is None:
            self._taken += 1
            self._by_host[host] += 1
            self._waiting.setdefault(host, {})[connection] = None
        else:
            self.refused += 1
        return refusal

    def replace(self, old: S, new: S) -> None:
        """Give the place of a handshake to the connection that came of it."""
        has_place = self._everybody.pop(old)
        self._everybody[new] = has_place
        if has_place:
            waiting = self._waiting.setdefault(new.host, {})
            waiting.pop(old, None)
            waiting[new] = None

    def remove(self, connection: S) -> None:
        """Forget a connection that has ended."""
        self._give_back(connection)
        del self._everybody[connection]

    def _give_back(self, connection: S) -> None:
        if not self._everybody[connection]:
            return
        self._everybody[connection] = False
        self._taken -= 1
        host = connection.host
        self._by_host[host] -= 1
        if not self._by_host[host]:
            del self._by_host[host]
        self._forget_waiting(connection)

    def _forget_waiting(self, connection: S) -> None:
        waiting = self._waiting.get(connection.host)
        if waiting is not None:
            waiting.pop(connection, None)
            if not waiting:
                del self._waiting[connection.host]

    def _evict_one(self, host: str | None = None) -> bool:
        """Evict a connection that has not sent CONNECT; false if there is none."""
        while self._waiting if host is None else host in self._waiting:
            most = host or max(self._waiting, key=lambda name: len(self._waiting[name]))
            connection = next(iter(self._waiting[most]))
            if connection.before_connect:
                self._give_back(connection)
                self.refused += 1
                connection.evict(_EVICTED)
                return True
            self._forget_waiting(connection)
        return False
