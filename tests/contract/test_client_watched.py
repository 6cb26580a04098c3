"""What goes over a connection, for who wants to see, mark or count it, in both clients."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
from tests.support.client_adapter import ClientAdapter
from tests.support.scripted_server import Peer, ScriptedServer
from tests.support.wire import running_broker, unique, until

import stompy
from stompy_broker import RunningBroker


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running_broker() as broker:
        yield broker


def test_each_frame_is_logged(make: Callable[[], ClientAdapter], broker, caplog):
    caplog.set_level(logging.DEBUG, "stompy.frames")
    client, destination = make(), f"/queue/{unique()}"
    client.connect(broker.url, login="ann", passcode="hush")
    subscription = client.subscription(destination)
    client.message(destination, "secret words", confirm=True)
    client.ack(subscription.get())
    client.disconnect()
    lines = [one.getMessage() for one in caplog.records if one.name == "stompy.frames"]
    words = [" ".join(line.split()[:2]) for line in lines]
    assert words[:2] == [">>> CONNECT", "<<< CONNECTED"]
    assert {">>> SUBSCRIBE", ">>> SEND", "<<< MESSAGE", ">>> ACK", ">>> DISCONNECT"} < set(words)
    assert "hush" not in caplog.text
    assert "secret words" not in caplog.text
    assert any(line.startswith(">>> SEND") and line.endswith("body:12B") for line in lines)


def test_messages_are_marked_on_their_way_out(make, broker):
    client, destination = make(), f"/queue/{unique()}"

    def mark(frame: stompy.STOMPFrame) -> None:
        frame["traceparent"] = "4711"

    client.connect(broker.url, on_send=mark)
    subscription = client.subscription(destination)
    client.message(destination, "one", headers={"a": "b"})
    client.post(destination, "two").result()
    client.send_many(destination, ["three"])
    transaction = client.transaction()
    transaction.message(destination, "four")
    transaction.commit()
    messages = [subscription.get() for _ in range(4)]
    assert [message["traceparent"] for message in messages] == ["4711"] * 4
    assert messages[0]["a"] == "b"
    for message in messages:
        client.ack(message)


def test_what_a_hook_raises_comes_out_of_the_send_and_nothing_is_sent(make, broker):
    client, destination = make(), f"/queue/{unique()}"

    def check(frame: stompy.STOMPFrame) -> None:
        if frame.Body == b"bad":
            raise ValueError("not this one")

    client.connect(broker.url, on_send=check)
    for send in (client.message, client.post, client.request):
        with pytest.raises(ValueError, match="not this one"):
            send(destination, "bad")
    with pytest.raises(ValueError, match="not this one"):
        client.send_many(destination, ["good", "bad"])
    subscription = client.subscription(destination)
    assert subscription.get().text == "good"
    client.flush()


def test_a_hook_that_does_nothing_is_refused(make, broker):
    async def hook(frame: stompy.STOMPFrame) -> None: ...

    with pytest.raises(TypeError, match="on_send"):
        make().connect(broker.url, on_send=hook)


def test_traffic_is_counted(make, broker):
    client, destination = make(), f"/queue/{unique()}"
    client.connect(broker.url)
    before = client.health().traffic
    client.send_many(destination, ["x" * 1000] * 10)
    after = client.health().traffic
    assert after.frames_sent - before.frames_sent == 10
    assert after.frames_received - before.frames_received == 10
    assert 10_000 < after.bytes_sent - before.bytes_sent < 12_000
    assert 100 < after.bytes_received - before.bytes_received < 2_000
    assert after.heart_beat_timeouts == 0


def test_a_time_out_of_heart_beats_is_counted(make):
    def silent(peer: Peer) -> None:
        peer.welcome(heart_beat="50,0")
        peer.until_closed()

    with ScriptedServer(silent) as server:
        client = make()
        client.connect(server.url, heart_beat=(0, 50))
        until(lambda: client.health().traffic.heart_beat_timeouts == 1, "the time-out")
