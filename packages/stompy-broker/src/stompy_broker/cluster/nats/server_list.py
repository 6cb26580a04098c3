"""The NATS servers that may be connected to, and which one is next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from stompy_broker.cluster.nats.codec import NATSLogin

_PORT = 4222

_SHORTEST, _LONGEST = 0.05, 2.0
"""Seconds to wait after all servers were tried in vain: doubled each time, up to the longer."""

_SCHEMES = ("nats", "tls")

_NOBODY = NATSLogin()


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a server is.

    Attributes:
        host: its name or number.
        port: its port.
        tls: whether nothing goes there in the clear.
        login: how to log in there.
    """

    host: str
    port: int = _PORT
    tls: bool = False
    login: NATSLogin = _NOBODY

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """Read ``nats://user:password@host:port`` or ``tls://token@host``, or part of one.

        Raises:
            ValueError: it is none.
        """
        url = urlsplit(text if "://" in text else f"nats://{text}")
        # Never the text itself: there may be a password in it.
        if url.scheme not in _SCHEMES:
            raise ValueError(f"a NATS server begins with nats:// or tls://, not {url.scheme}://")
        if not url.hostname or url.path.strip("/") or url.query or url.fragment:
            raise ValueError("a NATS server is written nats://host:port")
        user, password = unquote(url.username or ""), url.password
        if password is not None:
            login = NATSLogin(user, unquote(password))
        else:
            login = NATSLogin(token=user)
        return cls(url.hostname, url.port or _PORT, url.scheme == "tls", login)

    def __str__(self) -> str:
        """Host and port; never a password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class ServerList:
    """Servers in the order in which they are tried, over and over.

    Args:
        given: those of the configuration, at least one. They are never forgotten.

    Attributes:
        pause: seconds to wait before `next` is tried.
    """

    def __init__(self, given: Iterable[ServerAddress]) -> None:
        self._given = list(dict.fromkeys(given))
        if not self._given:
            raise ValueError("no NATS server is given")
        self._learned: list[ServerAddress] = []
        self._at = 0
        self._failed = 0  # in a row
        self.pause = 0.0

    def __iter__(self) -> Iterator[ServerAddress]:
        """All of them."""
        yield from self._given
        yield from self._learned

    def next(self) -> ServerAddress:
        """The one to try now."""
        known = self._given + self._learned
        return known[self._at % len(known)]

    def learn(self, others: Iterable[str]) -> None:
        """Take note of the servers that one of them has named; what was learned before ends."""
        first = self._given[0]
        found = []
        for other in others:
            try:
                address = ServerAddress.parse(other)
            except ValueError:
                continue  # what a server says of itself is no reason to fail
            found.append(ServerAddress(address.host, address.port, first.tls, first.login))
        at = {(known.host, known.port) for known in self._given}
        self._learned = [one for one in found if (one.host, one.port) not in at]

    def succeeded(self) -> None:
        """The one that was tried is connected: when it is lost, the one after it is next."""
        self._at += 1
        self._failed, self.pause = 0, 0.0

    def failed(self) -> None:
        """The one that was tried cannot be used now."""
        self._at += 1
        self._failed += 1
        rounds, rest = divmod(self._failed, len(self._given) + len(self._learned))
        self.pause = 0.0 if rest else min(_SHORTEST * 2 ** (rounds - 1), _LONGEST)
