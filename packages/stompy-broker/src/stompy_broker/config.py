"""Settings of a broker: a TOML file, and what the command line puts over it.

Every setting has its default, its unit and its meaning here; the reference page of the manual is
made from this module.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from stompy.limits import Limits
from stompy_broker.auth import ANONYMOUS, Role, is_hash
from stompy_broker.policy import Policy

_MIB = 1024 * 1024


class ConfigError(Exception):
    """A configuration that cannot be used; the text names file, key and reason, a line each."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ListenConfig(_Section):
    """Where clients connect."""

    host: str = Field(default="127.0.0.1", description="Address or host name to bind to.")
    port: int = Field(default=61613, ge=0, le=65535, description="TCP port; 0 picks a free one.")
    backlog: PositiveInt = Field(
        default=1024, description="Connections that may wait to be accepted."
    )


class SecurityConfig(_Section):
    """Who may come in."""

    allow_anonymous: bool = Field(
        default=False,
        description="Let clients in without login. Without users this is the case on loopback "
        "anyway; binding wider needs users or this.",
    )
    show_server: bool = Field(
        default=True, description="Name the broker and its version in CONNECTED."
    )


class RolesConfig(_Section):
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


class StoreConfig(_Section):
    """Where messages survive."""

    data: str = Field(
        default="data",
        description="Directory of the message store; empty = keep messages in memory only.",
    )
    on_failure: Literal["wait", "refuse"] = Field(
        default="wait",
        description="While the disk is full or cannot be written to, producers of persistent "
        "messages wait, or are refused with ERROR.",
    )


class LimitsConfig(_Section):
    """What one client, or all together, may use."""

    connections: PositiveInt = Field(default=10_000, description="Connections in all.")
    subscriptions: PositiveInt = Field(default=10_000, description="Subscriptions a connection.")
    transactions: PositiveInt = Field(default=16, description="Open transactions a connection.")
    transaction_frames: PositiveInt = Field(default=10_000, description="Frames a transaction.")
    transaction_bytes: ByteSize = Field(
        default=ByteSize(64 * _MIB), gt=0, description="Size of the SENDs in a transaction."
    )
    command: PositiveInt = Field(default=32, description="Length of a command, in bytes.")
    header_line: ByteSize = Field(default=ByteSize(16 * 1024), gt=0, description="One header line.")
    header_count: PositiveInt = Field(default=256, description="Headers a frame.")
    header_block: ByteSize = Field(
        default=ByteSize(_MIB), gt=0, description="All headers of a frame; 64 KiB before login."
    )
    body: ByteSize = Field(default=ByteSize(64 * _MIB), gt=0, description="Body of a frame.")
    memory: ByteSize = Field(
        default=ByteSize(1024 * _MIB),
        description="Waiting messages in all, at which producers are made to wait; 0 = no mark.",
    )
    disk: ByteSize = Field(
        default=ByteSize(0),
        description="Messages on disk in all, at which producers are made to wait; 0 = no mark.",
    )
    disk_free: ByteSize = Field(
        default=ByteSize(64 * _MIB),
        description="Room that has to be left on the disk; with less, producers of persistent "
        "messages wait or are refused, as `store.on_failure` says; 0 = no mark.",
    )
    output: ByteSize = Field(
        default=ByteSize(_MIB),
        gt=0,
        description="What may wait to be written to one client before it gets no more messages.",
    )


class TimesConfig(_Section):
    """Intervals and time-outs, in seconds unless said otherwise."""

    login: PositiveFloat = Field(default=10.0, description="Until CONNECT must be complete.")
    heart_beat: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = Field(
        default=(10_000, 10_000),
        description="Milliseconds: how often the broker can send, and wants to receive, a beat; "
        "0 = never.",
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


class PrefetchConfig(_Section):
    """Deliveries that may be unacknowledged when SUBSCRIBE does not say; 0 = no limit."""

    client: int = Field(default=1000, ge=0, description="For `ack:client`.")
    client_individual: int = Field(default=100, ge=0, description="For `ack:client-individual`.")


def _check_hash(value: str) -> str:
    if not is_hash(value):
        raise ValueError("is not a password hash; make one with `stompy-broker hash-password`")
    return value


class BrokerConfig(_Section):
    """All settings of a broker."""

    listen: ListenConfig = ListenConfig()
    security: SecurityConfig = SecurityConfig()
    users: dict[str, Annotated[str, AfterValidator(_check_hash)]] = Field(
        default_factory=dict,
        description="Login and password hash of each user; hashes come from "
        "`stompy-broker hash-password`.",
    )
    roles: RolesConfig = RolesConfig()
    store: StoreConfig = StoreConfig()
    limits: LimitsConfig = LimitsConfig()
    times: TimesConfig = TimesConfig()
    prefetch: PrefetchConfig = PrefetchConfig()
    policy: tuple[Policy, ...] = Field(
        default=(), description="How destinations behave; the first that matches wins."
    )

    @model_validator(mode="after")
    def _check_open_door(self) -> BrokerConfig:
        if not self.on_loopback and not self.users and not self.security.allow_anonymous:
            raise ValueError(
                f"listen.host {self.listen.host!r} is not loopback, so [users] are needed, "
                "or security.allow_anonymous = true"
            )
        return self

    @property
    def on_loopback(self) -> bool:
        """Whether only programs on this machine can connect."""
        host = self.listen.host
        return host in ("localhost", "::1") or host.startswith("127.")

    def role_of(self, login: str) -> Role:
        """The role of who logged in.

        Without users a name proves nothing. Then everybody has the highest role on loopback, and
        elsewhere the one that is given to `anonymous`.
        """
        if self.users:
            return self.roles.of(login)
        return Role.ADMIN if self.on_loopback else self.roles.of(ANONYMOUS)

    @property
    def anonymous(self) -> bool:
        """Whether clients come in without login."""
        return self.security.allow_anonymous or not self.users

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
    file: Path | None = None, overrides: Mapping[str, object] | None = None
) -> BrokerConfig:
    """Read a configuration.

    Args:
        file: a TOML file; None for the defaults.
        overrides: settings by section that take the place of the file's; what is no section, as
            the list of policies, as a whole.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or holds something that is not valid.
    """
    where = str(file) if file is not None else "command line"
    try:
        content = {} if file is None else tomllib.loads(file.read_text(encoding="utf-8"))
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
        raise ConfigError("\n".join(_explain(where, error))) from None


def _explain(where: str, error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        reason = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {key}: {reason}" if key else f"{where}: {reason}")
    return lines
