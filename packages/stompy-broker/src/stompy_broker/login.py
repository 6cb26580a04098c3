"""Logins from the door on: failures make whoever caused them wait, and connections are counted.

Two things slow guessing down. An address from which logins failed waits before its next one is
looked at. And a refusal for a name for which logins failed comes late, wherever they came from; the
right passcode is never kept waiting by what others tried. The first failures cost nothing.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.auth import Authenticator, Credentials, Principal
from stompy_broker.clock import Clock

_FREE = 3
"""So many failures cost nothing: people mistype."""
_FIRST_WAIT = 0.25
_LONGEST_WAIT = 4.0
"""Seconds; shorter than the login time-out, so that the answer still arrives."""
_FORGET = 300.0
"""Seconds without failure after which the ones before are forgotten."""
_REMEMBERED = 10_000
"""Addresses and names; the ones that failed longest ago are forgotten first."""


class Failures:
    """How often something failed lately.

    Args:
        now: gives the time in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._rows: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def note(self, key: str) -> None:
        """It failed once more."""
        count = self.count(key) + 1
        self._rows[key] = (count, self._now())
        self._rows.move_to_end(key)
        if len(self._rows) > _REMEMBERED:
            self._rows.popitem(last=False)

    def count(self, key: str) -> int:
        """How often, until it is forgotten."""
        count, last = self._rows.get(key, (0, 0.0))
        if count and self._now() - last > _FORGET:
            del self._rows[key]
            return 0
        return count

    def forget(self, key: str) -> None:
        """It succeeded."""
        self._rows.pop(key, None)

    def wait(self, key: str) -> float:
        """Seconds that the next try has to wait."""
        beyond = self.count(key) - _FREE
        if beyond < 0:
            return 0.0
        return float(min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(beyond, 10)))


class Logins:
    """Lets users in, one after the other.

    Args:
        authenticator: decides.
        clock: for waiting.
        connections_per_user: how often one login may be connected at once; 0 = without limit.
    """

    def __init__(
        self, authenticator: Authenticator, clock: Clock, *, connections_per_user: int = 0
    ) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._most = connections_per_user
        self._by_address = Failures(clock.now)
        self._by_name = Failures(clock.now)
        self._connected: Counter[str] = Counter()

    def authenticate(
        self, credentials: Credentials, done: Callable[[Principal | None], None]
    ) -> None:
        """Call ``done`` with who it is, or None to refuse; now or later."""
        name, host = credentials.login or "", credentials.host

        def answered(principal: Principal | None) -> None:
            if principal is not None:
                self._by_address.forget(host)
                done(principal)
                return
            wait = self._by_name.wait(name)
            self._by_address.note(host)
            self._by_name.note(name)
            self._after(wait, lambda: done(None))

        self._after(
            self._by_address.wait(host),
            lambda: self._authenticator.authenticate(credentials, answered),
        )

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        if seconds:
            self._clock.alarm(action).set(self._clock.now() + seconds)
        else:
            action()

    def enter(self, principal: Principal) -> None:
        """Count a connection of somebody who was let in; `leave` has to follow.

        Raises:
            ProtocolError: there are as many as may be.
        """
        name = principal.name
        if self._most and self._connected[name] >= self._most:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"user {name[:60]!r} has {self._connected[name]} connections, which is the limit",
            )
        self._connected[name] += 1

    def leave(self, principal: Principal) -> None:
        """A connection that has entered is gone."""
        self._connected[principal.name] -= 1
        if not self._connected[principal.name]:
            del self._connected[principal.name]
