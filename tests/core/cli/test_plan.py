"""How a load is shared out: nothing is forgotten, and nothing is counted twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stompy.cli.plan import Flow, LoadKind, Plan

some = st.integers(1, 20)


@given(some, some)
def test_every_destination_has_a_consumer_and_every_consumer_a_destination(consumers, destinations):
    plan = Plan(LoadKind.QUEUE, consumers=consumers, destinations=destinations)
    sources = [plan.sources(number) for number in range(consumers)]
    assert all(sources)
    assert {number for numbers in sources for number in numbers} == set(range(destinations))


@given(some, some)
def test_how_many_deliveries_a_message_makes(consumers, destinations):
    topic = Plan(LoadKind.TOPIC, consumers=consumers, destinations=destinations)
    queue = Plan(LoadKind.QUEUE, consumers=consumers, destinations=destinations)
    for destination in range(destinations):
        assert queue.copies(destination) == 1
        listeners = [n for n in range(consumers) if destination in topic.sources(n)]
        assert topic.copies(destination) == len(listeners) >= 1


@given(st.integers(1, 1000), some)
def test_quotas_add_up(messages, producers):
    plan = Plan(LoadKind.QUEUE, messages=messages, producers=producers)
    quotas = [plan.quota(number) for number in range(producers)]
    assert sum(quotas) == messages
    assert max(quotas) - min(quotas) <= 1


def test_rates():
    flow = Flow(10, 2000, 2.0)
    assert (flow.rate, flow.bandwidth) == (5.0, 1000.0)
    nothing = Flow(0, 0, 0.0)
    assert nothing.rate == nothing.bandwidth == 0.0
