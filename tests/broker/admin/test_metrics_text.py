"""Both text formats of metrics, line by line, and which one a client likes best."""

from __future__ import annotations

import pytest
from tests.support.steps import finished

from stompy_broker.admin.metrics_text import (
    MetricFamily,
    MetricsFormat,
    label,
    single,
    wanted_format,
    written,
)

FAMILIES = [
    MetricFamily("a_b", "counter", "Counts.", ["a_b_total 1\n", 'a_b_total{x="y"} 2\n']),
    MetricFamily("c_seconds", "gauge", "Measures.", single("c_seconds", 0.5)),
]


def text(kind: MetricsFormat) -> str:
    return finished(written(FAMILIES, kind)).decode()


def test_the_format_of_prometheus_names_counters_in_full() -> None:
    assert text(MetricsFormat.PROMETHEUS) == (
        "# HELP a_b_total Counts.\n# TYPE a_b_total counter\n"
        'a_b_total 1\na_b_total{x="y"} 2\n'
        "# HELP c_seconds Measures.\n# TYPE c_seconds gauge\nc_seconds 0.5\n"
    )


def test_openmetrics_names_the_family_and_has_an_end() -> None:
    found = text(MetricsFormat.OPENMETRICS)
    assert found.startswith("# HELP a_b Counts.\n# TYPE a_b counter\na_b_total 1\n")
    assert found.endswith("c_seconds 0.5\n# EOF\n")


def test_a_label_is_escaped() -> None:
    assert label("queue", 'a"b\\c\nd') == 'queue="a\\"b\\\\c\\nd"'


def test_what_is_no_text_does_no_harm() -> None:
    odd = MetricFamily("a", "gauge", "m", [f"a{{{label('q', chr(0xDC80))}}} 1\n"])
    assert b"udc80" in finished(written([odd], MetricsFormat.PROMETHEUS))


OPEN = "application/openmetrics-text"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", MetricsFormat.PROMETHEUS),
        ("*/*", MetricsFormat.PROMETHEUS),
        ("text/plain;version=0.0.4", MetricsFormat.PROMETHEUS),
        (OPEN, MetricsFormat.OPENMETRICS),
        (f"{OPEN};version=1.0.0,text/plain;q=0.5", MetricsFormat.OPENMETRICS),
        (f"{OPEN}; version=1.0.0; q=0.3, text/plain; q=0.5", MetricsFormat.PROMETHEUS),
        (f"{OPEN};q=0", MetricsFormat.PROMETHEUS),
        (f"{OPEN};q=x", MetricsFormat.PROMETHEUS),
        # As Prometheus 3 asks.
        (
            f"{OPEN};version=1.0.0;escaping=allow-utf-8;q=0.6,{OPEN};version=0.0.1;q=0.5,"
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.2",
            MetricsFormat.OPENMETRICS,
        ),
    ],
)
def test_the_format_is_the_one_that_the_client_likes_best(
    accept: str, wanted: MetricsFormat
) -> None:
    assert wanted_format(accept) is wanted
