"""Logins: who waits for whom, what failures cost, and how many connections one login has.

Guessing is slow, also with many connections at once. Failures are counted for each address, and
for each name. An address that failed often is checked one login at a time, with a rest after each
that fails; the more fail for a name, the longer also an address rests that fails with it. And a
refusal for such a name comes late. Yet nobody keeps others out: an address that has not failed
waits for nobody's rest, and who has been let in from an address before is not held up by what
others try there under other names. The first failures cost nothing.

Names are kept as keyed hashes, because people mistake one field for the other.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Callable

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.security.auth import (
    Authenticator,
    Credentials,
    KeyedHash,
    Principal,
    Role,
    Verdict,
)
from stompy_broker.security.check_queue import Attempt, CheckQueue
from stompy_broker.timers import Clock

_FREE = 3
"""So many failures cost nothing: people mistype."""
_FIRST_WAIT = 0.25
_LONGEST_WAIT = 4.0
"""Seconds; shorter than clients wait, so that the answer still arrives."""
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
        """Count one more failure."""
        count = self.count(key) + 1
        self._rows[key] = (count, self._now())
        self._rows.move_to_end(key)
        if len(self._rows) > _REMEMBERED:
            self._rows.popitem(last=False)

    def count(self, key: str) -> int:
        """How often it failed, until that is forgotten."""
        count, last = self._rows.get(key, (0, 0.0))
        if count and self._now() - last > _FORGET:
            del self._rows[key]
            return 0
        return count

    def forget(self, key: str) -> None:
        """Count no failure any more: it succeeded."""
        self._rows.pop(key, None)

    def are_many(self, key: str) -> bool:
        """Whether the next one costs something."""
        return self.count(key) >= _FREE

    def wait(self, key: str) -> float:
        """Seconds that the next try has to wait."""
        beyond = self.count(key) - _FREE
        if beyond < 0:
            return 0.0
        return float(min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(beyond, 10)))


class Logins:
    """Decides who may log in, and when, and counts who is connected.

    Args:
        authenticator: decides.
        clock: for waiting.
        connections_per_user: how often one login may be connected at once; 0 = without limit.
        checks: how many passcodes are checked at once.

    Attributes:
        draining: whether only operators may come in.
        connections_per_user: how often one login may be connected at once; 0 = without limit.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        clock: Clock,
        *,
        connections_per_user: int = 0,
        checks: int = 1,
    ) -> None:
        self.draining = False
        self._authenticator = authenticator
        self.connections_per_user = connections_per_user
        self._keyed_hash = KeyedHash()
        self._by_lane = Failures(clock.now)
        self._by_name = Failures(clock.now)
        self._known: OrderedDict[str, None] = OrderedDict()  # lanes of who was let in before
        self._check_queue = CheckQueue(clock, authenticator.check, self, checks)
        self._connected: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """How many wait to be let in."""
        return self._check_queue.waiting

    def authenticate(
        self,
        credentials: Credentials,
        answer: Callable[[Verdict], None],
        gone: Callable[[], bool] = lambda: False,
    ) -> Attempt | None:
        """Call ``answer`` with the verdict, now or later.

        Args:
            credentials: what somebody brings.
            answer: takes the verdict.
            gone: tells whether nobody waits for it any more.

        Returns:
            What to give up with, if nobody waits any more; None = it is answered.
        """
        verdict = self._authenticator.decide_at_once(credentials)
        if verdict is not None:
            answer(verdict)
            return None
        question = self._keyed_hash.digest(credentials.login or "", credentials.passcode or "")
        attempt = Attempt(self._lane(credentials), question, credentials, answer, gone)
        self._check_queue.enter(attempt)
        return attempt

    def give_up(self, attempt: Attempt) -> None:
        """Check no longer whether somebody may come in who has gone meanwhile."""
        self._check_queue.leave(attempt)

    def close(self, why: ProtocolError) -> None:
        """Refuse everybody from now on who has to be checked."""
        self._check_queue.close(why)

    # -- failures ---------------------------------------------------------------------------

    def _name(self, credentials: Credentials) -> str:
        return self._keyed_hash.digest(credentials.login or "").hex()

    def _own_lane(self, credentials: Credentials) -> str:
        return f"{_source(credentials.host)} {self._name(credentials)}"

    def _lane(self, credentials: Credentials) -> str:
        """Where somebody waits: with all of the same address, unless it was let in there before."""
        own = self._own_lane(credentials)
        return own if own in self._known else _source(credentials.host)

    def rank(self, attempt: Attempt) -> int:
        """How late its lane has its turn.

        First who was let in there before, then who has not failed, then those with a name that
        others are guessing at, and last who has failed.
        """
        if self._by_lane.count(attempt.lane):
            return 3
        if attempt.lane in self._known:
            return 0
        return 2 if self._by_name.are_many(self._name(attempt.credentials)) else 1

    def is_slow(self, lane: str) -> bool:
        """Whether too many logins of a lane have failed lately."""
        return self._by_lane.are_many(lane)

    def penalty(self, attempt: Attempt, verdict: Verdict) -> tuple[float, float]:
        """Count a verdict; say how many seconds its lane rests, and how late the answer comes."""
        if isinstance(verdict, Principal):
            # Not those of its address: somebody else may be guessing there, or the same one,
            # between two logins of its own.
            own = self._own_lane(attempt.credentials)
            self._by_lane.forget(own)
            self._known[own] = None
            self._known.move_to_end(own)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
            return 0.0, 0.0
        if verdict.error_code is not ErrorCode.AUTHENTICATION_FAILED:
            return 0.0, 0.0
        name = self._name(attempt.credentials)
        late = self._by_name.wait(name)
        self._by_lane.note(attempt.lane)
        self._by_name.note(name)
        return max(self._by_lane.wait(attempt.lane), self._by_name.wait(name)), late

    # -- who is there -----------------------------------------------------------------------

    def enter(self, principal: Principal) -> None:
        """Count a connection of somebody who was let in; `leave` has to follow.

        Raises:
            ProtocolError: only operators may come in now, or there are as many as may be.
        """
        if self.draining and not principal.role.includes(Role.OPERATOR):
            raise ProtocolError(ErrorCode.SHUTTING_DOWN, "the broker takes no new clients")
        name = principal.name
        if self.connections_per_user and self._connected[name] >= self.connections_per_user:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"user {name[:60]!r} has {self._connected[name]} connections, which is the limit",
            )
        self._connected[name] += 1

    def leave(self, principal: Principal) -> None:
        """Count a connection less of somebody who has entered."""
        self._connected[principal.name] -= 1
        if not self._connected[principal.name]:
            del self._connected[principal.name]


def _source(host: str) -> str:
    """What counts as one address: in IPv6 a network of 64 bits, which one customer has."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 4:  # noqa: PLR2004 -- the name of the protocol
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
