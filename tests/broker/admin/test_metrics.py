"""The metrics of a broker, as the parsers of Prometheus' own client read them."""

from __future__ import annotations

import math

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_text
from tests.support.house import Taker, Time, make_head, make_message, make_router, take_part
from tests.support.steps import finished

from stompy_broker.admin.metrics import COUNTERS, GAUGES, OTHERS, Metrics
from stompy_broker.admin.metrics_text import MetricsFormat, written
from stompy_broker.destinations.names import Destination, DestinationKind, schedules_of
from stompy_broker.routing.router import Router
from stompy_broker.routing.wait_times import EVERY

AWKWARD = 'a "quoted" \\ name\nof ünicode {x="y"} 1'
PARSERS = {MetricsFormat.PROMETHEUS: parse_text, MetricsFormat.OPENMETRICS: parse_open}


class Listening:
    """Three clients."""

    urls = ()
    connections, connections_max, connections_refused = 3, 10, 0


def metrics_of(router: Router, most: int = 2000, *patterns: str) -> Metrics:
    return Metrics(router, Listening(), most, patterns)


def parsed(metrics: Metrics, kind: MetricsFormat = MetricsFormat.PROMETHEUS) -> dict[str, Metric]:
    text = finished(written(finished(metrics.collect()), kind)).decode()
    return {family.name: family for family in PARSERS[kind](text)}


def values(family: Metric) -> dict[str, float]:
    """The value of each queue."""
    return {sample.labels["queue"]: sample.value for sample in family.samples}


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def router(time: Time) -> Router:
    router = make_router(time)
    for size, name in enumerate(("small", "middle", "large", AWKWARD), 1):
        for number in range(size * EVERY):
            router.queue(name).publish(make_message(number))
    return router


@pytest.mark.parametrize("kind", MetricsFormat)
def test_both_formats_are_read_by_the_parsers_of_prometheus(
    router: Router, time: Time, kind: MetricsFormat
) -> None:
    metrics = metrics_of(router)
    parsed(metrics, kind)
    time.advance(0.2)
    taker = Taker(EVERY)
    take_part(router.queue("small"), taker)
    for message in taker.taken:
        router.queue("small").settle(message)
    router.alarms["memory"] = 1
    later = Destination(DestinationKind.QUEUE, schedules_of("/queue/large"), is_pattern=False)
    for delay in ("1000", "2000"):
        router.publish(later, make_head("/queue/large", **{"x-delay": delay}), b"")
    found = parsed(metrics, kind)
    expected = {f"stompy_messages_{name}" for name in COUNTERS}
    more = ("oldest_seconds", "scheduled", "wait_seconds")
    expected |= {f"stompy_queue_{name}" for name in (*GAUGES, *more)}
    expected |= {"stompy_connections", "stompy_memory_bytes", "stompy_alarm"}
    expected |= {"stompy_stream_lag_messages", "stompy_stream_lag_seconds"}
    expected |= {"stompy_retained_messages", "stompy_retained_bytes", "stompy_duplicate_ids"}
    expected |= {"stompy_history_records", "stompy_history_bytes"}
    expected |= {"stompy_loop_lag_seconds", "process_cpu_seconds", "process_resident_memory_bytes"}
    expected |= {"process_open_fds", "process_max_fds", "process_threads"}
    expected |= {"process_start_time_seconds"}
    assert set(found) == expected
    assert values(found["stompy_messages_received"])[AWKWARD] == 4 * EVERY
    assert values(found["stompy_messages_acked"])["small"] == EVERY
    assert values(found["stompy_queue_ready"])["large"] == 3 * EVERY
    assert values(found["stompy_queue_scheduled"])["large"] == 2
    assert values(found["stompy_queue_scheduled"])["small"] == 0
    assert values(found["stompy_queue_oldest_seconds"])["large"] == pytest.approx(0.2)
    assert values(found["stompy_queue_oldest_seconds"])["small"] == 0
    assert found["stompy_connections"].samples[0].value == 3
    alarms = {sample.labels["name"]: sample.value for sample in found["stompy_alarm"].samples}
    assert alarms == {"memory": 1, "disk": 0, "store": 0}
    types = {family.type for family in found.values()}
    assert types == {"counter", "gauge", "histogram"}


def test_the_histogram_begins_with_the_first_scrape(router: Router, time: Time) -> None:
    metrics = metrics_of(router)
    assert parsed(metrics)["stompy_queue_wait_seconds"].samples == []
    time.advance(0.03)
    taker = Taker(2 * EVERY, auto=True)
    take_part(router.queue("middle"), taker)
    samples = parsed(metrics)["stompy_queue_wait_seconds"].samples
    assert {sample.labels["queue"] for sample in samples} == {"middle"}
    buckets = {
        float(sample.labels["le"]): sample.value for sample in samples if "le" in sample.labels
    }
    assert len(buckets) == 24
    assert (buckets[0.02], buckets[0.05], buckets[math.inf]) == (0, 2, 2)
    assert {sample.name.rpartition("_")[2]: sample.value for sample in samples[-2:]} == {
        "sum": pytest.approx(0.06),
        "count": 2,
    }


def test_the_smaller_queues_are_added_up(router: Router, time: Time) -> None:
    metrics = metrics_of(router, 2)
    parsed(metrics)
    for name in ("small", "middle"):
        taker = Taker(EVERY, auto=True)
        take_part(router.queue(name), taker)
    time.advance(1)
    found = parsed(metrics)
    received = values(found["stompy_messages_received"])
    assert received == {AWKWARD: 4 * EVERY, "large": 3 * EVERY, OTHERS: 3 * EVERY}
    assert values(found["stompy_queue_ready"])[OTHERS] == EVERY
    assert values(found["stompy_queue_oldest_seconds"])[OTHERS] == pytest.approx(1)
    counts = {
        sample.labels["queue"]: sample.value
        for sample in found["stompy_queue_wait_seconds"].samples
        if sample.name.endswith("_count")
    }
    assert counts == {OTHERS: 2}


def test_only_queues_that_match_have_metrics_of_their_own(time: Time) -> None:
    router = make_router(time)
    for name in ("orders.new", "orders.old", "other"):
        router.queue(name).publish(make_message(1))
    found = parsed(metrics_of(router, 2000, "/queue/orders.>", "/queue/other.*"))
    ready = values(found["stompy_queue_ready"])
    assert ready == {"orders.new": 1, "orders.old": 1, OTHERS: 1}


def test_the_lag_is_measured_while_somebody_scrapes(router: Router, time: Time) -> None:
    metrics = metrics_of(router)
    assert "stompy_loop_lag_seconds" not in parsed(metrics)
    time.advance(0.15)
    assert parsed(metrics)["stompy_loop_lag_seconds"].samples[0].value == pytest.approx(0.05)
    time.advance(301)
    assert "stompy_loop_lag_seconds" not in parsed(metrics)


def test_collecting_is_done_in_small_steps(time: Time) -> None:
    router = make_router(time)
    for number in range(2500):
        router.queue(f"q{number}")
    steps = metrics_of(router).collect()
    assert sum(1 for _ in steps) > 20
    assert len(values(parsed(metrics_of(router))["stompy_queue_ready"])) == 2001
