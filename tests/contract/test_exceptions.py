"""What an exception shows: what was waited for, what is in the way, and no more (promise 17)."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.wire import running_broker, unique

import stompy
from stompy_broker import RunningBroker


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running_broker() as broker:
        yield broker


def test_a_time_out_says_what_was_waited_for_and_that_the_prefetch_is_used_up(make, broker):
    client = make()
    client.connect(broker.url)
    destination = f"/queue/{unique()}"
    subscription = client.subscription(destination, prefetch=2)
    with pytest.raises(stompy.STOMPTimeout) as caught:
        subscription.get(0.01)
    assert str(caught.value) == f"nothing came from {destination} within 0.01 s"
    client.send_many(destination, list("abc"))
    first, _ = subscription.get(), subscription.get()
    with pytest.raises(stompy.STOMPTimeout, match=r"2 messages of it .* which is its prefetch"):
        subscription.get(0.01)
    client.ack(first)
    assert subscription.get().text == "c"


@pytest.mark.parametrize("by", ["get", "iteration"])
def test_who_waits_without_end_behind_its_own_prefetch_is_told(
    make, broker, caplog, monkeypatch, by
):
    for module in ("stompy.sync.subscription", "stompy.aio.subscription"):
        monkeypatch.setattr(f"{module}.STARVING_SECONDS", 0.01)
    client = make()
    client.connect(broker.url)
    destination = f"/queue/{unique()}"
    subscription = client.subscription(destination, prefetch=2)
    client.send_many(destination, list("abc"))
    taken = []

    def take(message) -> bool:
        taken.append(message)
        return len(taken) == 3

    def get_three() -> None:
        while not take(subscription.get(None)):
            pass

    with ThreadPoolExecutor(1) as pool:
        consuming = (
            pool.submit(get_three) if by == "get" else pool.submit(subscription.iterate, take)
        )
        try:
            broker.wait_for(lambda: "which is its prefetch" in caplog.text)
        finally:
            client.ack(taken[0])
        consuming.result(timeout=30)
    assert [message.text for message in taken] == ["a", "b", "c"]
    assert caplog.text.count("which is its prefetch") == 1


def test_no_exception_shows_how_the_library_looked_before(make, broker):
    client = make()
    client.connect(broker.url)
    subscription = client.subscription(f"/queue/{unique()}")
    with pytest.raises(stompy.STOMPTimeout) as caught:
        subscription.get(0.01)
    shown = "".join(traceback.format_exception(caught.value))
    assert "IndexError" not in shown
    assert "During handling" not in shown


def test_a_refused_connection_is_told_in_few_lines(make):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    client = make()
    with pytest.raises(stompy.STOMPConnectionError) as caught:
        client.connect(f"stomp://127.0.0.1:{port}")
    library = [
        frame
        for frame in traceback.extract_tb(caught.value.__traceback__)
        if "/stompy/" in frame[0]
    ]
    assert len(library) <= 2
    assert "During handling" not in "".join(traceback.format_exception(caught.value))


def test_a_reason_is_told_once(make, broker):
    client = make()
    client.connect(broker.url)
    with pytest.raises(stompy.STOMPError) as caught:
        client.message("/queues/oops", "x", confirm=True)
    with pytest.raises(stompy.STOMPConnectionError) as after:
        client.message("/queue/x", "x", confirm=True)
    detail = str(caught.value).partition(": ")[2]
    assert str(after.value).count(detail) == 1
