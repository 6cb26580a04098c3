"""Settings of ways that messages take: ``[[exchange]]``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from stompy_broker.config_section import Section
from stompy_broker.destinations.exchanges import BUILT_IN
from stompy_broker.destinations.patterns import WILDCARDS


class ExchangeConfig(Section):
    """One exchange, which clients name as ``/exchange/NAME/KEY``."""

    name: str = Field(
        description="What clients call it; without `/`, and none of those that are always there: "
        "`amq.topic`, `amq.direct`, `amq.fanout`, `amq.headers`.",
    )
    type: Literal["topic", "direct", "fanout", "headers"] = Field(
        default="topic",
        description="How it looks at routing keys: by wildcards of subscribers, as topics do; by "
        "the whole key; not at all; or not at keys but at headers, as subscribers say with "
        "`x-match`.",
    )

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if value in BUILT_IN:
            raise ValueError(f"{value!r} is there already")
        if not value.isprintable() or not value.strip() or "/" in value:
            raise ValueError(f"an exchange cannot be called {value!r}")
        if not WILDCARDS.isdisjoint(value.split(".")):
            raise ValueError(f"{value!r} has a wildcard")
        return value
