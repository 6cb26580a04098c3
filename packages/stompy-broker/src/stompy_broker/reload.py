"""Going by another configuration without a restart: policies, access, roles, users and limits.

What is read is looked at as a whole before anything is changed, so a mistake in it changes nothing.
Then settings are taken over at once, and queues and clients are gone through in small steps.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf

from stompy.admin.rows import Event, Role
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.admin.snapshots.snapshots import Snapshots
from stompy_broker.admin.tasks import Scheduler, Steps, Task
from stompy_broker.config import BrokerConfig, ConfigError
from stompy_broker.config_changes import Applies, Change, Difference, difference
from stompy_broker.config_checks import users_of, warnings_of
from stompy_broker.destinations.names import parse_destination, parts_of
from stompy_broker.routing.caps import Caps
from stompy_broker.routing.joined_queues import queues_of
from stompy_broker.routing.router import Router
from stompy_broker.schedules.schedule_spec import CatchUp
from stompy_broker.security.access import Access, Action
from stompy_broker.security.auth import ANONYMOUS, Anyone, Principal, Users
from stompy_broker.security.login import Logins
from stompy_broker.session.context import AdminClient, SessionSettings
from stompy_broker.version import __version__
from stompy_broker.wire.tls import Certificates

log = logging.getLogger("stompy_broker")

WITHDRAWN = ProtocolError(
    ErrorCode.AUTHENTICATION_FAILED, "the login was withdrawn, or has another passcode now"
)
_ROLE_WITHDRAWN = ProtocolError(
    ErrorCode.ACCESS_REFUSED, "the role for topics under $SYS was withdrawn"
)
_LEVELS = {
    applies: logging.WARNING if applies is Applies.RESTART else logging.INFO for applies in Applies
}
_AT_ONCE = 100
"""Clients that are looked at before others have their turn."""


@dataclass(frozen=True, slots=True)
class ReloadParts:
    """The parts of a broker that go by its configuration.

    Attributes:
        router: queues, with their policies.
        access: the rules.
        logins: who may come in.
        authenticator: says who that is.
        certificates: for TLS; None = there is none.
        sessions: who is logged in, by key.
        snapshots: which remember what policies say.
        scheduler: for the steps.
        withdraw: ends the connections of logins.
        apply: has the broker itself go by a configuration.
    """

    router: Router
    access: Access
    logins: Logins
    authenticator: Users | Anyone
    certificates: Certificates | None
    sessions: Mapping[str, AdminClient]
    snapshots: Snapshots
    scheduler: Scheduler
    withdraw: Callable[[set[str], ProtocolError], None]
    apply: Callable[[BrokerConfig], None]


class Reloads:
    """Reads a configuration again, and has a broker go by it.

    Args:
        config: by which it goes.
        reread: reads it again; None = it came from no file, so only users and certificates are.
        parts: of the broker.
    """

    def __init__(
        self,
        config: BrokerConfig,
        reread: Callable[[], BrokerConfig] | None,
        parts: ReloadParts,
    ) -> None:
        self._config = config
        self._reread = reread
        self._parts = parts

    def now(self) -> list[str]:
        """Read everything again and go by it; gives what went wrong."""
        problems = self._renew_certificates()
        try:
            found, hashes = self._read()
        except ConfigError as error:
            stays = "users stay as they were" if self._reread is None else "nothing is changed"
            problems.append(f"{stays}: {error}")
        else:
            steps = self._take_over(found, hashes)
            Task(self._parts.scheduler, steps, _nothing, _failed).step()
        for problem in problems:
            log.error("%s", problem)
        return problems

    def command(self, dry_run: bool) -> Steps[dict[str, object]]:
        """Do the same for an operator, and tell what changes.

        Args:
            dry_run: tell only.

        Raises:
            ConfigError: nothing was changed, because of what it says.
        """
        found, hashes = self._read()
        problems: list[str] = []
        queues = clients = 0
        if not dry_run:
            problems = self._renew_certificates()
            queues, clients = yield from self._take_over(found, hashes)
        return {
            "applied": [_shown(change) for change in found.applied],
            "needs_restart": [_shown(change) for change in found.postponed],
            "queues": queues,
            "disconnected": clients,
            "problems": problems,
            "file": self._reread is not None,
        }

    # -- reading ----------------------------------------------------------------------------

    def _read(self) -> tuple[Difference, dict[str, str]]:
        """Read configuration and users, and see that all of it can be used.

        Raises:
            ConfigError: it cannot.
        """
        read = self._config if self._reread is None else self._reread()
        found = difference(self._config, read)
        hashes = users_of(found.config)
        for problem in warnings_of(found.config, hashes):
            log.warning("%s", problem)
        return found, hashes

    def _renew_certificates(self) -> list[str]:
        try:
            if self._parts.certificates is not None:
                self._parts.certificates.reload()
                log.info("certificates were read again")
        except ConfigError as error:
            return [f"certificates stay as they were: {error}"]
        return []

    # -- taking over ------------------------------------------------------------------------

    def _take_over(self, found: Difference, hashes: Mapping[str, str]) -> Steps[tuple[int, int]]:
        """Go by it; gives how many queues behave otherwise, and how many clients had to go."""
        parts = self._parts
        self._config = config = found.config
        for change in found.changes:
            log.log(_LEVELS[change.applies], "configuration: %s", change)
        self._settle_limits(config)
        parts.router.policies.renew(config.policy)
        parts.access.renew(config.acl, config.security.default_access)
        parts.apply(config)
        if isinstance(parts.authenticator, Users):
            parts.withdraw(parts.authenticator.renew(hashes), WITHDRAWN)
            log.info("users were read again")
        else:
            parts.authenticator.role = config.role_of(ANONYMOUS)
        keys = {change.key.partition(".")[0] for change in found.applied}
        queues = clients = 0
        if keys & {"acl", "roles", "security", "policy", "quota"}:
            clients = yield from self._look_at_clients(config)
        if "policy" in keys:
            for changed in parts.router.registry.renew_policies():
                queues = changed
                yield None
            parts.router.duplicates.renew(parts.router.policies.of_text)
            parts.snapshots.queues.clear()
        self._tell(found)
        return queues, clients

    def _settle_limits(self, config: BrokerConfig) -> None:
        parts, limits = self._parts, config.limits
        parts.logins.connections_per_user = limits.connections_per_user
        set_limits(parts.router, config)
        parts.router.groups.move_disk_mark(limits.disk)

    def _look_at_clients(self, config: BrokerConfig) -> Steps[int]:
        """Have who is there go by the rules and roles as they are now; say how many had to go."""
        gone = 0
        for number, session in enumerate(list(self._parts.sessions.values()), 1):
            principal = session.principal
            if principal is not None and not session.ended:
                principal = _with_role(principal, config)
                session.renew_permissions(principal)
                refusal = self._refusal(session, principal)
                if refusal is not None:
                    gone += 1
                    session.refuse(refusal)
            if number % _AT_ONCE == 0:
                yield None
        return gone

    def _refusal(self, session: AdminClient, principal: Principal) -> ProtocolError | None:
        """Why somebody may not have what it has subscribed to any more; None: it may."""
        if session.sys_subscriptions and not principal.role.includes(Role.MONITOR):
            return _ROLE_WITHDRAWN
        wanted: dict[str, None] = {}
        for one in session.subscriptions.values():
            # A pattern of queues, and each that it has found.
            wanted.update(dict.fromkeys(parts_of(one.queue.destination)))
            wanted.update({queue.destination: None for queue in queues_of(one.queue)})
        try:
            for destination in wanted:
                self._parts.access.check(principal, Action.RECEIVE, parse_destination(destination))
        except ProtocolError as refusal:
            return refusal
        return None

    def _tell(self, found: Difference) -> None:
        if found.changes:
            keys = sorted({change.key for change in found.applied})
            waiting = sorted({change.key for change in found.postponed})
            self._parts.router.events.tell(
                Event(
                    type="config.reloaded",
                    severity="warn" if waiting else "info",
                    detail={"applied": keys, "needs_restart": waiting},
                )
            )


def set_limits(router: Router, config: BrokerConfig) -> None:
    """Have a router go by how many queues there may be, and so on."""
    limits = config.limits
    router.registry.table.caps = Caps(
        limits.queues,
        limits.durables,
        limits.name,
        config.frame_limits(),
        limits.retained,
        limits.retained_bytes,
    )
    router.duplicates.most = limits.dedup


def session_settings_of(
    config: BrokerConfig, tail: str = "", *, virtual: bool = False
) -> SessionSettings:
    """What sessions go by.

    Args:
        config: the settings of the broker.
        tail: see `SessionSettings`.
        virtual: whether the time is moved by a test. Then clients, which live in real time, are
            not to be missed: there are heart-beats only if the settings say so.
    """
    told = {"server": f"stompy-broker/{__version__}"} if config.security.show_server else {}
    heart_beat, login_timeout = config.times.heart_beat, config.times.login
    if virtual:
        told["X-stompy-clock"] = "virtual"
        login_timeout = inf
        if "heart_beat" not in config.times.model_fields_set:
            heart_beat = (0, 0)
    return SessionSettings(
        told=told,
        limits=config.frame_limits(),
        heart_beat=heart_beat,
        heart_beat_grace=config.times.heart_beat_grace,
        login_timeout=login_timeout,
        max_subscriptions=config.limits.subscriptions,
        max_temporary_queues=config.limits.temporary_queues,
        max_transactions=config.limits.transactions,
        max_transaction_frames=config.limits.transaction_frames,
        max_transaction_bytes=config.limits.transaction_bytes,
        prefetch_client=config.prefetch.client,
        prefetch_individual=config.prefetch.client_individual,
        ignored_headers=config.compat.ignore,
        schedule_zone=config.scheduler.zone,
        catch_up=CatchUp(config.scheduler.catch_up),
        quotas=config.quota,
        tail=tail,
    )


def _with_role(principal: Principal, config: BrokerConfig) -> Principal:
    role = config.role_of(principal.name if principal.proved else ANONYMOUS)
    return principal if role is principal.role else replace(principal, role=role)


def _shown(change: Change) -> dict[str, object]:
    return {
        "key": change.key,
        "before": change.before,
        "after": change.after,
        "applies": change.applies.value,
    }


def _nothing(_: object) -> None:
    pass


def _failed(error: Exception) -> None:
    log.error("fault while a configuration was taken over", exc_info=error)
