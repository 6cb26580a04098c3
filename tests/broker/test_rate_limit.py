"""Texts of rates, and what is none."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from stompy_broker.rate_limit import CountRateText, Rate, RateText, read_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10/s", Rate(10)),
        (" 10 / s ", Rate(10)),
        ("600/min", Rate(600, 60)),
        ("5000/h", Rate(5000, 3600)),
        ("1/d", Rate(1, 86_400)),
        ("10 MiB/s", Rate(10 * 1024 * 1024)),
        ("10MiB/s", Rate(10 * 1024 * 1024)),
        ("64KiB/min", Rate(64 * 1024, 60)),
        ("1GB/h", Rate(10**9, 3600)),
        ("500B/s", Rate(500)),
    ],
)
def test_a_rate_is_a_number_and_a_time(text: str, rate: Rate) -> None:
    assert read_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "10", "10/", "/s", "0/s", "-1/s", "1.5/s", "9/week", "9/9s", "1mib/s", "\u0661/s"]
)
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="must be a rate, such as"):
        read_rate(text)


def test_a_burst_is_what_a_second_brings_and_at_least_one() -> None:
    assert Rate(10).burst == Rate(600, 60).burst == Rate(36_000, 3600).burst == 10
    assert Rate(1, 60).burst == 1


def test_a_setting_may_be_empty_and_keeps_its_text() -> None:
    of_bytes, of_messages = TypeAdapter[str](RateText), TypeAdapter[str](CountRateText)
    assert of_bytes.validate_python("") == of_messages.validate_python("") == ""
    assert of_bytes.validate_python("5MiB/s") == "5MiB/s"
    assert of_messages.validate_python("5/min") == "5/min"
    with pytest.raises(ValidationError, match="must be a rate"):
        of_bytes.validate_python("fast")
    with pytest.raises(ValidationError, match="counts messages, not bytes"):
        of_messages.validate_python("5MiB/s")
