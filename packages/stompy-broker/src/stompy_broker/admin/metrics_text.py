"""Metrics as text: the format of Prometheus, and OpenMetrics. Pure.

The lines of the samples are the same in both. What differs is what is said about them: OpenMetrics
names counters without ``_total`` there, and has an end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from stompy_broker.admin.tasks import Steps


class MetricsFormat(StrEnum):
    """How metrics are written."""

    PROMETHEUS = "text/plain"
    OPENMETRICS = "application/openmetrics-text"


CONTENT_TYPES = {
    MetricsFormat.PROMETHEUS: "text/plain; version=0.0.4; charset=utf-8",
    MetricsFormat.OPENMETRICS: "application/openmetrics-text; version=1.0.0; charset=utf-8",
}

_AT_ONCE = 1000

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """One metric with all of its samples.

    Attributes:
        name: of a counter without ``_total``.
        type: what the numbers are.
        meaning: for people.
        lines: the samples, each with its end of line.
    """

    name: str
    type: Literal["counter", "gauge", "histogram"]
    meaning: str
    lines: Sequence[str]

    def heading(self, kind: MetricsFormat) -> str:
        """What stands above the samples."""
        name = self.name
        if self.type == "counter" and kind is MetricsFormat.PROMETHEUS:
            name += "_total"
        return f"# HELP {name} {self.meaning}\n# TYPE {name} {self.type}\n"


def label(name: str, value: str) -> str:
    """A label as it stands in the braces of a sample."""
    return f'{name}="{value.translate(_ESCAPES)}"'


def single(name: str, value: float) -> list[str]:
    """The sample of a metric that has one."""
    return [f"{name} {value}\n"]


def written(families: Iterable[MetricFamily], kind: MetricsFormat) -> Steps[bytes]:
    """Write metrics, so many lines in a step."""
    parts = []
    for family in families:
        parts.append(family.heading(kind).encode())
        for at in range(0, len(family.lines), _AT_ONCE):
            text = "".join(family.lines[at : at + _AT_ONCE])
            parts.append(text.encode(errors="backslashreplace"))
            yield None
    if kind is MetricsFormat.OPENMETRICS:
        parts.append(b"# EOF\n")
    return b"".join(parts)


def wanted_format(accept: str) -> MetricsFormat:
    """The format that a client likes best, going by its header ``accept``."""
    liked = dict.fromkeys(MetricsFormat, 0.0)
    for choice in accept.lower().split(","):
        name, *parameters = (part.strip() for part in choice.split(";"))
        if name in liked:
            liked[MetricsFormat(name)] = _quality(parameters)
    plain, open_metrics = liked[MetricsFormat.PROMETHEUS], liked[MetricsFormat.OPENMETRICS]
    if open_metrics and open_metrics >= plain:
        return MetricsFormat.OPENMETRICS
    return MetricsFormat.PROMETHEUS


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter.removeprefix("q="))))
            except ValueError:
                return 0.0
    return 1.0
