"""Settings of what is sent to come later: ``[scheduler]``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from stompy.errors import ProtocolError
from stompy_broker.config_section import Section
from stompy_broker.schedules.cron_times import zone_of


class SchedulerConfig(Section):
    """Messages that are to come later, once or again and again."""

    zone: str = Field(
        default="UTC",
        description="By whose clock a cron expression is meant that names no time zone "
        "(`x-cron-zone`): a name such as `Europe/Berlin`. Holds also for what waits already.",
    )
    catch_up: Literal["once", "all", "none"] = Field(
        default="once",
        description="What comes of a schedule that was due again and again while no broker was "
        "there: one message that says how many times it stands for (`scheduled-missed`), each of "
        "them, at most the last 1000, or none. What comes only once always comes.",
    )

    @field_validator("zone")
    @classmethod
    def _check_zone(cls, value: str) -> str:
        try:
            zone_of(value)
        except ProtocolError as error:
            raise ValueError(error.Message) from None
        return value
