"""Settings of what single users may use: ``[[quota]]``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import ByteSize, Field, field_validator

from stompy.admin.rows import Role
from stompy_broker.config_section import Section
from stompy_broker.rate_limit import CountRateText, RateText

EVERY_USER = "*"
_ANONYMOUS = "anonymous"
_ROLE = "@"
_ROLES = tuple(role.value for role in Role if role is not Role.NONE)


class QuotaConfig(Section):
    """What a user may use, all connections together. The first entry that fits a user counts."""

    user: str = Field(
        default=EVERY_USER,
        min_length=1,
        description="A login, `@monitor`, `@operator` or `@admin` for who has that role, "
        "`anonymous` for who comes without a login, or `*` for everybody. Each user that it "
        "stands for has the quota for himself.",
    )
    send_rate: CountRateText = Field(
        default="",
        description="SENDs in a time: `10/s`, `600/min`, `5000/h`. At once, after a pause, as "
        "many as a second brings, and at least one. Empty = no limit.",
    )
    send_bytes_rate: RateText = Field(
        default="", description="Headers and bodies of SENDs, in a time: `5MiB/s`."
    )
    receive_rate: CountRateText = Field(
        default="",
        description="Messages that subscriptions get, in a time. Further ones wait in their "
        "queues, or go to others.",
    )
    connect_rate: CountRateText = Field(
        default="", description="Logins in a time. Who comes too soon is refused."
    )
    connections: int = Field(default=0, ge=0, description="Connections; 0 = no limit.")
    subscriptions: int = Field(
        default=0, ge=0, description="Subscriptions, those that browse with them; 0 = no limit."
    )
    queues: int = Field(
        default=0,
        ge=0,
        description="Queues that there are because the user was the first to use them; "
        "0 = no limit.",
    )
    stored_messages: int = Field(
        default=0,
        ge=0,
        description="Messages that the user has sent and that are still in queues; 0 = no limit.",
    )
    stored_bytes: ByteSize = Field(
        default=ByteSize(0), description="The size of those messages; 0 = no limit."
    )
    on_excess: Literal["wait", "refuse"] = Field(
        default="wait",
        description="Whether who sends too much has to wait, and is not read from meanwhile, or "
        "gets ERROR. Beyond `connections`, `connect_rate`, `subscriptions` and `queues` everybody "
        "gets ERROR.",
    )

    @field_validator("user")
    @classmethod
    def _check_user(cls, value: str) -> str:
        if value.startswith(_ROLE) and value[1:] not in _ROLES:
            known = ", ".join(f"@{role}" for role in _ROLES)
            raise ValueError(f"{value!r} is no role; those are {known}")
        return value

    @property
    def names_user(self) -> bool:
        """Whether it is about one login."""
        return self.user not in (EVERY_USER, _ANONYMOUS) and not self.user.startswith(_ROLE)

    @property
    def counts_stored(self) -> bool:
        """Whether it has to be known who sent what is in queues, or who made them."""
        return bool(self.stored_messages or self.stored_bytes or self.queues)

    def fits(self, name: str, role: Role) -> bool:
        """Whether it is about a user.

        Args:
            name: the login.
            role: of the user.
        """
        return self.user in (EVERY_USER, name, f"{_ROLE}{role.value}")


def quota_problems(
    quotas: Sequence[QuotaConfig], knows_users: bool, clustered: bool
) -> Iterator[str]:
    """What is wrong with quotas, given the rest of the configuration.

    Args:
        quotas: all of them.
        knows_users: whether a login proves something.
        clustered: whether the broker belongs to a cluster.
    """
    for number, quota in enumerate(quotas):
        if quota.names_user and not knows_users:
            yield (
                f"quota.{number}.user: {quota.user!r} proves nothing without users, because "
                "anybody may log in under any name; add [users] or security.users_file, or make "
                'it a quota for "*"'
            )
        stored = [key for key in ("stored_messages", "stored_bytes") if getattr(quota, key)]
        if stored and clustered:
            yield (
                f"quota.{number}.{stored[0]}: cannot be counted in a cluster, where queues are at "
                "other brokers than their senders; bound the queues by max_length of a [[policy]]"
            )
