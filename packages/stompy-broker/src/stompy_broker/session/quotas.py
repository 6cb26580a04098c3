"""What users may use, all connections of each together, and what they use.

A user who is named by no ``[[quota]]`` has none, and costs nothing. Each broker of a cluster counts
what goes on at itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Protocol

from stompy.admin.rows import Event, Role
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.events import Events
from stompy_broker.quota_config import QuotaConfig
from stompy_broker.rate_limit import read_rate
from stompy_broker.routing.router import Router
from stompy_broker.routing.token_bucket import TokenBucket
from stompy_broker.routing.user_storage import StorageBook, UserStorage
from stompy_broker.security.auth import ANONYMOUS, Principal
from stompy_broker.session.turn_line import TurnLine
from stompy_broker.timers import Clock

_NEAR = 0.8
"""The part of a quota at which somebody should know."""
_FEW = 5
"""Messages of a burst of which it is worth telling that most are used."""
_AGAIN_SECONDS = 60.0
"""The same is told again after this time at the earliest."""
_WHAT = {"stored_messages": "messages in queues", "stored_bytes": "bytes in queues"}
"""What a user has too much of, in words, where the key is no such word itself."""
_KEPT = 1000
"""Users who are gone, and are looked at again only when there are more than twice as many."""


class QuotaClient(Protocol):
    """A client as its quota knows it.

    Attributes:
        key: what it is called in reports.
        principal: who logged in.
    """

    key: str
    principal: Principal | None

    @property
    def held_by(self) -> str:
        """Why it has to wait before it may send more, in a word; empty = it need not."""
        ...

    @property
    def subscriptions(self) -> Sized:
        """Its subscriptions to queues and topics."""
        ...

    @property
    def browsers(self) -> Sized:
        """Its subscriptions that only look."""
        ...


class UserQuota:
    """What one user may use, and uses.

    Args:
        name: of the user.
        role: of the user.
        clock: for rates.
        events: told when much of it is used, and all.

    Attributes:
        name: of the user.
        config: the limits.
        index: the number of the entry that they come from, from 0.
        clients: the connections.
        sending: who waits to send.
        receiving: subscriptions that wait for more.
        storage: what the user has in queues.
        refused: how often something was refused.
    """

    def __init__(self, name: str, role: Role, clock: Clock, events: Events) -> None:
        self.name, self.role = name, role
        self.config, self.index = QuotaConfig(), 0
        self.clients: dict[QuotaClient, None] = {}
        self.sending, self.receiving = TurnLine(clock), TurnLine(clock)
        self.connecting: TokenBucket | None = None
        self.storage = UserStorage()
        self.refused = 0
        self._clock = clock
        self._events = events
        self._levels: dict[str, int] = {}
        self._told: dict[tuple[str, int], float] = {}

    def renew(self, config: QuotaConfig, index: int) -> None:
        """Have these limits from now on.

        Args:
            config: the entry that fits the user.
            index: its number, from 0.
        """
        self.config, self.index = config, index
        sending, octets = config.send_rate, config.send_bytes_rate
        self.sending.renew(
            (
                ("send_rate", read_rate(sending) if sending else None),
                ("send_bytes_rate", read_rate(octets) if octets else None),
            )
        )
        receiving = config.receive_rate
        self.receiving.renew((("receive_rate", read_rate(receiving) if receiving else None),))
        if not config.connect_rate:
            self.connecting = None
        elif self.connecting is None:
            self.connecting = TokenBucket(read_rate(config.connect_rate))
        else:
            self.connecting.renew(read_rate(config.connect_rate), self._clock.now())
        self.storage.renew(config.stored_messages, config.stored_bytes, config.queues)

    @property
    def refuses(self) -> bool:
        """Whether who sends too much gets an ERROR, rather than having to wait."""
        return self.config.on_excess == "refuse"

    @property
    def now(self) -> float:
        """The time by which rates go, in seconds."""
        return self._clock.now()

    @property
    def subscriptions(self) -> int:
        """How many subscriptions all connections have."""
        return sum([len(one.subscriptions) + len(one.browsers) for one in self.clients])

    @property
    def is_idle(self) -> bool:
        """Whether the user has nothing, and used nothing lately."""
        rates = (*self.sending.used().values(), *self.receiving.used().values())
        used = any(part > 0 for _, part in rates)
        if self.connecting is not None:
            used = used or self.connecting.used(self._clock.now()) > 0
        return not self.clients and self.storage.is_empty and not used

    # -- limits -------------------------------------------------------------------------------

    def check_login(self) -> None:
        """Check that one connection more may come, and count that it does.

        Raises:
            ProtocolError: there are as many as may be, or it comes too soon.
        """
        self.check("connections", len(self.clients) + 1, self.config.connections)
        bucket, now = self.connecting, self._clock.now()
        if bucket is not None and not bucket.take(1, now):
            raise self.too_fast("connect_rate", bucket.ready_at(now) - now)
        self.note("connections", len(self.clients) + 1, self.config.connections)

    def check(self, key: str, used: int, limit: int) -> None:
        """Check that something would be within its limit.

        Args:
            key: of the limit.
            used: how much there would be.
            limit: how much there may be; 0 = no limit.

        Raises:
            ProtocolError: it would not.
        """
        if limit and used > limit:
            self.refused += 1
            self.note(key, used, limit)
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"user {self.name[:60]!r} may have {limit} {_WHAT.get(key, key)}, and no more "
                f"(quota.{self.index}.{key})",
                details={"quota": key},
            )

    def check_stored(self, messages: int, octets: int) -> None:
        """Check that the user may have so much more in queues, where too much is refused.

        Raises:
            ProtocolError: it may not.
        """
        storage, config = self.storage, self.config
        if self.refuses:
            self.check("stored_messages", storage.messages.used + messages, config.stored_messages)
            self.check("stored_bytes", storage.octets.used + octets, config.stored_bytes)

    def too_fast(self, key: str, seconds: float) -> ProtocolError:
        """Count that something came too soon, and give the error that says so.

        Args:
            key: of the rate.
            seconds: after which it may come again.
        """
        self.refused += 1
        self.reached(key)
        return ProtocolError(
            ErrorCode.RATE_LIMITED,
            f"user {self.name[:60]!r} is faster than {getattr(self.config, key)} "
            f"(quota.{self.index}.{key})",
            details={"retry-after": f"{max(seconds, 0.001):.3f}", "quota": key},
        )

    # -- what is told -------------------------------------------------------------------------

    def note_stored(self) -> None:
        """Tell if much of what may be in queues is there."""
        storage, config = self.storage, self.config
        self.note("stored_messages", storage.messages.used, config.stored_messages)
        self.note("stored_bytes", storage.octets.used, config.stored_bytes)

    def note_rates(self, line: TurnLine) -> None:
        """Tell if most of a burst is used."""
        for key, (rate, used) in line.used().items():
            if used >= _NEAR and rate.burst >= _FEW:
                self._tell(key, 1, None)

    def note(self, key: str, used: int, limit: int) -> None:
        """Tell if much of something is used, or all of it; once, until it was less.

        Args:
            key: of the limit.
            used: how much is used.
            limit: how much may be; 0 = no limit.
        """
        if not limit:
            return
        level = 2 if used >= limit else 1 if used >= limit * _NEAR else 0
        known = self._levels.get(key, 0)
        self._levels[key] = level
        if level > known:
            self._tell(key, level, used)

    def reached(self, key: str) -> None:
        """Tell that a rate is used up, and somebody has to wait or is refused."""
        self._tell(key, 2, None)

    def _tell(self, key: str, level: int, used: int | None) -> None:
        now, last = self._clock.now(), self._told.get((key, level))
        if last is not None and now - last < _AGAIN_SECONDS:
            return
        self._told[key, level] = now
        detail: dict[str, object] = {"limit": getattr(self.config, key)}
        if used is not None:
            detail["used"] = used
        event = Event(
            type="quota.reached" if level > 1 else "quota.near",
            severity="warn" if level > 1 else "info",
            user=self.name,
            reason=key,
            detail=detail,
        )
        self._events.tell(event)


class Quotas:
    """The quotas of one broker, by user.

    Args:
        router: has the queues that users fill.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._configs: Sequence[QuotaConfig] = ()
        self._by_user: dict[str, UserQuota] = {}
        self._sweep_at = _KEPT

    def renew(self, configs: Sequence[QuotaConfig]) -> None:
        """Go by these from now on. Clients have to ask again by `of` what holds for them."""
        self._configs = tuple(configs)
        count_storage(self._router, configs)
        for name, quota in list(self._by_user.items()):
            found = self._find(name, quota.role)
            if found is None:
                # Those who wait go on, and ask again.
                quota.renew(QuotaConfig(), 0)
                del self._by_user[name]
            else:
                quota.renew(*found)

    def _find(self, name: str, role: Role) -> tuple[QuotaConfig, int] | None:
        for index, config in enumerate(self._configs):
            if config.fits(name, role):
                return config, index
        return None

    def of(self, principal: Principal) -> UserQuota | None:
        """What a user may use; None = nothing is said about that."""
        if not self._configs:
            return None
        # A name that nobody has proved is no user: who could choose another one had no limits.
        name = principal.owner or ANONYMOUS
        found = self._find(name, principal.role)
        if found is None:
            return None
        quota = self._by_user.get(name)
        if quota is None:
            self._sweep()
            quota = UserQuota(name, principal.role, self._router.clock, self._router.events)
            quota.renew(*found)
            self._by_user[name] = quota
        elif quota.role is not principal.role:
            quota.role = principal.role
            quota.renew(*found)
        return quota

    def used_up(self, principal: Principal) -> str:
        """Say what of his quota a user has used up, so that a SEND of his has to wait."""
        quota = self._by_user.get(principal.owner or ANONYMOUS)
        if quota is None:
            return ""
        key, seconds = quota.sending.delay()
        if not seconds:
            stored = quota.storage.full
            if stored is None:
                return ""
            key = "stored_messages" if stored is quota.storage.messages else "stored_bytes"
        limit = getattr(quota.config, key)
        return f"user {quota.name[:60]!r} has used up {key} = {limit} (quota.{quota.index})"

    def check_login(self, principal: Principal) -> None:
        """Check that one connection more of a user may come.

        Raises:
            ProtocolError: it may not.
        """
        quota = self.of(principal)
        if quota is not None:
            quota.check_login()

    def enter(self, client: QuotaClient, quota: UserQuota) -> None:
        """Count a client for its user; `leave` has to follow."""
        quota.clients[client] = None
        if self._router.storage is not None and quota.config.counts_stored:
            self._router.storage.enter(client.key, quota.storage)

    def leave(self, client: QuotaClient, quota: UserQuota) -> None:
        """Count a client no more, which has gone."""
        quota.clients.pop(client, None)
        if self._router.storage is not None:
            self._router.storage.leave(client.key)

    def _sweep(self) -> None:
        """Forget users who are gone for long enough, now and then."""
        if len(self._by_user) >= self._sweep_at:
            self._by_user = {
                name: quota for name, quota in self._by_user.items() if not quota.is_idle
            }
            self._sweep_at = max(_KEPT, 2 * len(self._by_user))

    def __iter__(self) -> Iterator[UserQuota]:
        """Those of users who are there, or were lately."""
        return iter(list(self._by_user.values()))


def count_storage(router: Router, configs: Sequence[QuotaConfig]) -> None:
    """Have it counted who sent what is in queues that are made from now on, if a quota wants it.

    Args:
        router: of the broker.
        configs: the quotas.
    """
    if router.storage is None and any(one.counts_stored for one in configs):
        router.storage = router.registry.table.storage = StorageBook(router.topics)
