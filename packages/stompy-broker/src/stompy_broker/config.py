"""Settings of a broker: a TOML file, and what the command line puts over it.

Every setting has its default, its unit and its meaning here; the reference page of the manual is
made from this module.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from stompy.protocol.limits import Limits
from stompy_broker.cluster_config import ClusterConfig
from stompy_broker.config_errors import explained_errors
from stompy_broker.config_section import Section
from stompy_broker.destinations.policy import Policy
from stompy_broker.destinations.policy_problems import policy_problems
from stompy_broker.event_loop import LoopName, check_installed
from stompy_broker.foreign_headers import NAMES
from stompy_broker.http_config import HTTPConfig, is_loopback
from stompy_broker.limits_config import LimitsConfig
from stompy_broker.quota_config import QuotaConfig, quota_problems
from stompy_broker.routing_config import (
    ExchangeConfig,
    RouteConfig,
    VirtualTopicsConfig,
    route_problems,
)
from stompy_broker.scheduler_config import SchedulerConfig
from stompy_broker.security.access import EVERYBODY, Rule
from stompy_broker.security.auth import ANONYMOUS, Role, is_hash

_OTHERS = {EVERYBODY: "everybody", ANONYMOUS: "who comes without one"}


class ConfigError(Exception):
    """A configuration that cannot be used; the text names file, key and reason, a line each."""


class ListenConfig(Section):
    """Where clients of the broker connect."""

    host: str = Field(default="127.0.0.1", description="Address or host name to bind to.")
    port: int = Field(default=61613, ge=0, le=65535, description="TCP port; 0 picks a free one.")
    backlog: PositiveInt = Field(
        default=1024, description="Connections that may wait to be accepted."
    )
    proxy_protocol: bool = Field(
        default=False,
        description="Connections to this port begin with a PROXY header (version 1 or 2), which "
        "tells the client's address. Only where nobody but the load balancer can connect: the "
        "header is believed.",
    )
    unix: str = Field(
        default="",
        pattern=r"^(/.+)?$",
        description="A socket in the file system, beside the port: `/run/stompy.sock`; empty = "
        "none. Clients write `unix:///run/stompy.sock`. STOMP alone is spoken there, without TLS.",
    )
    unix_mode: str = Field(
        default="0600",
        pattern=r"^0?[0-7]{3}$",
        description="Who may connect to that socket, as permissions of files: `0660` = also the "
        "group.",
    )
    login_from_uid: bool = Field(
        default=False,
        description="Whether a client of that socket that says no login is logged in as the user "
        "that its process runs as, without a passcode (Linux).",
    )


class ServerConfig(Section):
    """The process of the broker."""

    loop: Annotated[LoopName, AfterValidator(check_installed)] = Field(
        default="auto",
        description="Event loop: asyncio's own, or that of uvloop, which the extra "
        "`stompy-broker[uvloop]` brings; `auto` = uvloop where it is installed. A broker that a "
        "program starts on its own event loop runs on that one.",
    )


class TLSConfig(Section):
    """TLS, and clients that log in by certificate. Files are PEM; SIGHUP has them read again."""

    cert: str = Field(
        default="", description="Certificate of the broker with its chain; empty = no TLS."
    )
    key: str = Field(default="", description="Its key, without password; empty = it is in `cert`.")
    port: int = Field(
        default=-1,
        ge=-1,
        le=65535,
        description="A port for TLS alone; 0 picks a free one, -1 = TLS comes to `listen.port`, "
        "told apart by its first byte.",
    )
    proxy_protocol: bool = Field(
        default=False,
        description="Connections to `port` begin with a PROXY header (version 1 or 2), which "
        "tells the client's address. Only where nobody but the load balancer can connect: the "
        "header is believed.",
    )
    required: bool = Field(default=False, description="Refuse clients that do not speak TLS.")
    client_ca: str = Field(
        default="", description="Authorities whose certificates of clients are accepted."
    )
    client_cert: Literal["no", "optional", "required"] = Field(
        default="no", description="Whether clients are asked for a certificate."
    )
    login_from: Literal["", "cn", "dn", "san"] = Field(
        default="",
        description="What of the client's certificate is its login when CONNECT has none: common "
        "name, distinguished name or first alternative name; empty = nothing.",
    )

    @model_validator(mode="after")
    def _check(self) -> TLSConfig:
        if not self.cert and (self.key or self.client_ca or self.required or self.port >= 0):
            raise ValueError("cert is missing, without which there is no TLS")
        if (self.client_cert != "no") != bool(self.client_ca):
            raise ValueError("client_cert and client_ca need each other")
        if self.login_from and self.client_cert == "no":
            raise ValueError("login_from needs client_cert and client_ca")
        return self


class WebSocketConfig(Section):
    """STOMP over WebSocket, for web pages."""

    enabled: bool = Field(default=True, description="Let WebSockets in.")
    port: int = Field(
        default=-1,
        ge=-1,
        le=65535,
        description="A port for WebSockets alone; 0 picks a free one, -1 = they come to the other "
        "ports, told apart by their first bytes.",
    )
    proxy_protocol: bool = Field(
        default=False,
        description="Connections to `port` begin with a PROXY header (version 1 or 2), which "
        "tells the client's address. Only where nobody but the load balancer can connect: the "
        "header is believed.",
    )
    allowed_origins: tuple[str, ...] = Field(
        default=("http://localhost:*", "http://127.0.0.1:*"),
        description="Where web pages that connect come from: `https://app.example.com`, "
        "`http://localhost:*` for every port, `null` for files, `*` for anywhere. Clients that "
        "are no browsers do not tell, and come in.",
    )
    ping: NonNegativeFloat = Field(
        default=30.0,
        description="Seconds of silence after which a client is pinged; after three times as many "
        "it is gone. 0 = never.",
    )


class SecurityConfig(Section):
    """Who may come in."""

    allow_anonymous: bool = Field(
        default=False,
        description="Let clients in without login. Without users this is the case on loopback "
        "anyway; binding wider needs users or this.",
    )
    show_server: bool = Field(
        default=True, description="Name the broker and its version in CONNECTED."
    )
    users_file: str = Field(
        default="",
        description="File of more users, which `stompy-broker user` edits and SIGHUP has read "
        "again; empty = none.",
    )
    default_access: Literal["allow", "deny"] = Field(
        default="allow", description="What becomes of what no `[[acl]]` matches."
    )
    login_memory: NonNegativeFloat = Field(
        default=600.0,
        description="Seconds for which a passcode that was right is remembered, as a mark that "
        "only this process can read, so that the next logins with it take no time; 0 = not at all.",
    )


class RolesConfig(Section):
    """Who may see and change the broker itself, by login; `anonymous` is who comes without one."""

    monitor: tuple[str, ...] = Field(
        default=(), description="See queues, topics, connections and so on, but no bodies."
    )
    operator: tuple[str, ...] = Field(
        default=(), description="Also change what is going on, as with `purge`."
    )
    admin: tuple[str, ...] = Field(default=(), description="Everything.")

    def of(self, login: str) -> Role:
        """The highest role that lists a login."""
        listed = ((Role.ADMIN, self.admin), (Role.OPERATOR, self.operator))
        for role, logins in (*listed, (Role.MONITOR, self.monitor)):
            if login in logins:
                return role
        return Role.NONE


class StoreConfig(Section):
    """Where messages survive, and how."""

    data: str = Field(
        default="data",
        description="Directory of the message store; empty = keep messages in memory only.",
    )
    on_failure: Literal["wait", "refuse"] = Field(
        default="wait",
        description="While the disk is full or cannot be written to, producers of persistent "
        "messages wait, or are refused with ERROR.",
    )


class TimesConfig(Section):
    """Intervals and time-outs, in seconds unless said otherwise."""

    login: PositiveFloat = Field(default=10.0, description="Until CONNECT must be complete.")
    heart_beat: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = Field(
        default=(100, 100),
        description="Milliseconds: how often the broker can send, and wants to receive, a beat at "
        "most; clients that ask for longer intervals get these. 0 = never.",
    )
    heart_beat_grace: float = Field(
        default=2.0, ge=1, description="Intervals of silence after which a client is dead."
    )
    linger: PositiveFloat = Field(
        default=2.0, description="Wait for a client to close after the broker did."
    )
    shutdown: NonNegativeFloat = Field(
        default=5.0, description="Wait for outstanding acknowledgements when stopping."
    )
    idle_queue: PositiveFloat = Field(
        default=300.0, description="After which an unused empty queue is forgotten."
    )


class PrefetchConfig(Section):
    """Deliveries that may be unacknowledged when SUBSCRIBE does not say; 0 = no limit."""

    client: int = Field(default=1000, ge=0, description="For `ack:client`.")
    client_individual: int = Field(default=100, ge=0, description="For `ack:client-individual`.")


class CompatConfig(Section):
    """What clients of other brokers ask for, and this one does not do."""

    ignore: tuple[str, ...] = Field(
        default=(),
        description="Headers that are ignored rather than refused with `not-supported`; the log "
        "tells of the first time.",
    )
    strict_arguments: bool = Field(
        default=False,
        description="Whether a frame that sets up a queue otherwise than it is set up already is "
        "refused, rather than taken and told of by an event.",
    )

    @field_validator("ignore")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in NAMES:
                known = ", ".join(sorted(NAMES))
                raise ValueError(f"{name!r} is no header that is refused; those are {known}")
        return names


def _check_hash(value: str) -> str:
    if not is_hash(value):
        raise ValueError("is not a password hash; make one with `stompy-broker hash-password`")
    return value


class BrokerConfig(Section):
    """All settings of a broker."""

    listen: ListenConfig = ListenConfig()
    server: ServerConfig = ServerConfig()
    tls: TLSConfig = TLSConfig()
    websocket: WebSocketConfig = WebSocketConfig()
    http: HTTPConfig = HTTPConfig()
    security: SecurityConfig = SecurityConfig()
    users: dict[str, Annotated[str, AfterValidator(_check_hash)]] = Field(
        default_factory=dict,
        repr=False,
        description="Login and password hash of each user; hashes come from "
        "`stompy-broker hash-password`.",
    )
    roles: RolesConfig = RolesConfig()
    acl: tuple[Rule, ...] = Field(
        default=(), description="Who may do what; the first entry that matches decides."
    )
    store: StoreConfig = StoreConfig()
    cluster: ClusterConfig = ClusterConfig()
    limits: LimitsConfig = LimitsConfig()
    times: TimesConfig = TimesConfig()
    prefetch: PrefetchConfig = PrefetchConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    compat: CompatConfig = CompatConfig()
    policy: tuple[Policy, ...] = Field(
        default=(), description="How destinations behave; the first that matches wins."
    )
    exchange: tuple[ExchangeConfig, ...] = Field(
        default=(), description="Exchanges, as RabbitMQ has them, beside those always there."
    )
    virtual_topics: VirtualTopicsConfig = VirtualTopicsConfig()
    route: tuple[RouteConfig, ...] = Field(
        default=(), description="Ways that messages take from destinations to others."
    )
    quota: tuple[QuotaConfig, ...] = Field(
        default=(), description="What users may use; the first entry that fits a user counts."
    )

    @model_validator(mode="after")
    def _check_open_door(self) -> BrokerConfig:
        if not self.on_loopback and not self.knows_users and not self.security.allow_anonymous:
            raise ValueError(
                f"listen.host {self.listen.host!r} is not loopback, so [users] are needed, "
                "or security.allow_anonymous = true"
            )
        return self

    @model_validator(mode="after")
    def _check_sections(self) -> BrokerConfig:
        for problem in chain(
            self.cluster.problems(self.listen.host, self.store.data),
            route_problems(self.route, self.exchange),
            quota_problems(self.quota, self.knows_users, bool(self.cluster.name)),
            policy_problems(self.policy, clustered=bool(self.cluster.name)),
        ):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _check_pages(self) -> BrokerConfig:
        for problem in self.http.problems(knows_users=self.knows_users):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _check_access(self) -> BrokerConfig:
        allowing = [rule for rule in self.acl if rule.access == "allow"]
        if self.acl and len(allowing) == len(self.acl) and self.security.default_access == "allow":
            raise ValueError(
                "acl: every entry allows, and so does security.default_access; did you mean "
                'default_access = "deny"?'
            )
        return self

    @model_validator(mode="after")
    def _check_names(self) -> BrokerConfig:
        """Rules are for names that are proved."""
        for name in (EVERYBODY, ANONYMOUS):
            if name in self.users:
                raise ValueError(
                    f"users: {name!r} cannot be a login: it stands for {_OTHERS[name]}"
                )
        if self.knows_users:
            return self
        for number, rule in enumerate(self.acl):
            named = f"user: {rule.user!r}" if rule.user not in _OTHERS else ""
            if named or "{user}" in rule.match:
                raise ValueError(
                    f"acl.{number}.{named or 'match: {user}'} proves nothing without users, "
                    "because anybody may log in under any name; add [users] or "
                    'security.users_file, or make it a rule for "anonymous" or for everybody'
                )
        return self

    def named_users(self) -> Iterator[tuple[str, str]]:
        """Every user whom a rule or a role names: where, for people, and the name."""
        for number, rule in enumerate(self.acl):
            yield f"acl.{number}.user: {rule.user!r}", rule.user
        for number, quota in enumerate(self.quota):
            if quota.names_user:
                yield f"quota.{number}.user: {quota.user!r}", quota.user
        for role, logins in self.roles.model_dump().items():
            for login in logins:
                yield f"roles.{role}: {login!r}", login

    @property
    def on_loopback(self) -> bool:
        """Whether only programs on this machine can connect."""
        return is_loopback(self.listen.host)

    def role_of(self, login: str) -> Role:
        """The role of who logged in.

        Without users a name proves nothing. Then everybody has the highest role on loopback, and
        elsewhere the one that is given to `anonymous`.
        """
        if self.knows_users:
            return self.roles.of(login)
        return Role.ADMIN if self.on_loopback else self.roles.of(ANONYMOUS)

    @property
    def anonymous(self) -> bool:
        """Whether clients come in without login."""
        return self.security.allow_anonymous or not self.knows_users

    @property
    def knows_users(self) -> bool:
        """Whether a login proves something: there are users, or certificates that name them."""
        return bool(self.users or self.security.users_file or self.tls.login_from)

    def frame_limits(self) -> Limits:
        """The bounds for one frame."""
        limits = self.limits
        return Limits(
            command=limits.command,
            header_line=limits.header_line,
            header_count=limits.header_count,
            header_block=limits.header_block,
            body=limits.body,
        )


def load_config(
    file: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    where: str = "command line",
) -> BrokerConfig:
    """Read a configuration.

    Args:
        file: a TOML file; None for the defaults.
        overrides: settings by section that take the place of the file's; what is no section, as
            the list of policies, as a whole.
        where: what a mistake is said to be in when there is no file.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or holds something that is not valid.
    """
    where = where if file is None else str(file)
    try:
        content = {} if file is None else tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: is not TOML: {error}") from None
    for section, settings in (overrides or {}).items():
        given = content.get(section, {})
        if not isinstance(settings, Mapping):
            content[section] = settings
        elif isinstance(given, dict):  # anything else is refused below
            content[section] = {**given, **settings}
    try:
        return BrokerConfig.model_validate(content)
    except ValidationError as error:
        lines = [f"{where}: {line}" for line in explained_errors(BrokerConfig, error)]
        raise ConfigError("\n".join(lines)) from None


def layered(*layers: Mapping[str, object]) -> dict[str, object]:
    """Settings by section laid over each other, the last ones on top."""
    merged: dict[str, object] = {}
    for layer in layers:
        for name, section in layer.items():
            known = merged.get(name)
            if isinstance(known, Mapping) and isinstance(section, Mapping):
                merged[name] = {**known, **section}
            else:
                merged[name] = section
    return merged
