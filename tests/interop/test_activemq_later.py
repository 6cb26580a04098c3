"""What our clients say of later, groups and turns, an ActiveMQ with its scheduler does as well.

The same program runs with our broker, so that what differs would be seen.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from benchmarks import foreign
from tests.contract.conftest import make as make  # noqa: PLC0414 -- a fixture
from tests.interop.peers import OURS, running_peer, unique

import stompy
from stompy.errors import UnsupportedByBroker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ACTIVEMQ = "ActiveMQ"
BROKERS = [OURS, pytest.param(ACTIVEMQ, marks=pytest.mark.interop)]


@pytest.fixture(scope="module", params=BROKERS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("peer")
    if request.param == OURS:
        with running_peer(OURS, directory) as peer:
            yield peer.url
        return
    if absent := foreign.missing(ACTIVEMQ):
        pytest.skip(absent)
    with foreign.activemq(directory, scheduler=True) as (port, _):
        yield f"stomp://127.0.0.1:{port}"


@pytest.fixture
def client(make, url):
    client = make()
    client.connect(url)
    return client


def test_a_delay(client):
    queue = unique()
    subscription = client.subscription(queue, ack_mode="auto")
    sent = time.monotonic()
    client.call("message", queue, "later", delay=1.0, confirm=True)
    client.call("message", queue, "now", confirm=True)
    assert subscription.get().text == "now"
    message = subscription.get()
    assert message.text == "later"
    assert time.monotonic() - sent >= 1.0
    assert message.job_id


def test_so_many_times(client):
    queue = unique()
    subscription = client.subscription(queue, ack_mode="auto")
    client.call("message", queue, "x", delay=0.5, every=0.5, times=3, confirm=True)
    assert [subscription.get().text for _ in range(3)] == ["x"] * 3
    with pytest.raises(stompy.STOMPTimeout):
        subscription.get(1.0)


def test_a_group_has_one_consumer(client):
    queue = unique()
    consumers = [client.subscription(queue, prefetch=10) for _ in range(2)]
    for step in range(4):
        for group in ("a", "b"):
            client.call("message", queue, f"{group}{step}", group=group, confirm=True)
    for consumer in consumers:
        came = [consumer.get().text for _ in range(4)]
        assert came == [f"{came[0][0]}{step}" for step in range(4)]


def test_priority_and_one_active_consumer(client):
    queue = unique()
    client.subscription(queue, prefetch=10)
    fast = client.subscription(queue, prefetch=10, priority=5)
    client.send_many(queue, ["a", "b"])
    assert [fast.get().text for _ in range(2)] == ["a", "b"]
    ledger = unique()
    active = client.subscription(ledger, prefetch=10, single_active=True)
    client.subscription(ledger, prefetch=10, single_active=True)
    client.send_many(ledger, ["a", "b"])
    assert [active.get().text for _ in range(2)] == ["a", "b"]


def test_what_it_does_not_know_is_refused_here(client):
    if client.call("message", unique(), "x", receipt=True) is None:
        pytest.fail("there is a receipt")
    if "ActiveMQ" in (client.client.connected["server"] or ""):
        with pytest.raises(UnsupportedByBroker):
            client.call("message", unique(), "x", cron="* * * * *", zone="UTC")
