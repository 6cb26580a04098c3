"""Settings of what the broker shows by HTTP: ``[http]``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt, field_validator

from stompy_broker.config_section import Section
from stompy_broker.destinations.names import DestinationKind
from stompy_broker.destinations.policy import Policy

_MOST_PORT = 65535


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can connect to such an address."""
    return host in ("localhost", "::1") or host.startswith("127.")


def place_of(text: str) -> tuple[str, int]:
    """The host and the port that a text like `127.0.0.1:9613` names.

    Raises:
        ValueError: it names none.
    """
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = f"[{bare}]" == host
    if not colon or not port.isdecimal() or int(port) > _MOST_PORT or (":" in bare) != bracketed:
        raise ValueError(f"must be HOST:PORT, such as '127.0.0.1:9613', not {text!r}")
    return bare, int(port)


def _check_queues(value: str) -> str:
    destination = Policy(match=value).match
    if not destination.startswith(DestinationKind.QUEUE.value):
        raise ValueError("metrics are of /queue/...")
    return value


class HTTPConfig(Section):
    """Health, readiness and metrics by HTTP."""

    shared: bool = Field(
        default=True,
        description="Answer at the ports that clients connect to, told apart by the first bytes.",
    )
    listen: str = Field(
        default="",
        description="Another place to answer at, for nothing else: `127.0.0.1:9613`, `[::]:9613`; "
        "port 0 picks a free one, empty = there is none.",
    )
    auth: Literal["auto", "basic", "none"] = Field(
        default="auto",
        description="Who may see metrics and snapshots: who logs in by HTTP's Basic scheme and has "
        "the role `monitor`, or everybody. `auto` = everybody on loopback without a PROXY header, "
        "elsewhere by login. Health and readiness are for everybody.",
    )
    max_series: PositiveInt = Field(
        default=2000,
        description="Queues with metrics of their own, largest first; the others are added up as "
        '`queue="*other*"`.',
    )
    metrics_match: tuple[Annotated[str, AfterValidator(_check_queues)], ...] = Field(
        default=(),
        description="Queues that may have metrics of their own: names or patterns, such as "
        "`/queue/orders.>`; empty = all.",
    )

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, value: str) -> str:
        if value:
            place_of(value)
        return value

    @property
    def place(self) -> tuple[str, int] | None:
        """Host and port of `listen`; None = there is none."""
        return place_of(self.listen) if self.listen else None

    def problems(self, *, knows_users: bool) -> Iterator[str]:
        """What is wrong with these settings in a configuration.

        Args:
            knows_users: whether a login proves something there.
        """
        place = self.place
        if place is None or is_loopback(place[0]) or self.auth == "none" or knows_users:
            return
        yield (
            f"http.listen {self.listen!r} is not loopback, so [users] are needed, "
            'or http.auth = "none"'
        )
