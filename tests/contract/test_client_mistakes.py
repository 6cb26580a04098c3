"""What people mistype and mistake: both clients say so, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.support.client_adapter import ClientAdapter
from tests.support.wire import running_broker, stats, unique

import stompy
from stompy_broker import RunningBroker


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running_broker() as broker:
        yield broker


@pytest.fixture
def client(make: Callable[[], ClientAdapter], broker: RunningBroker) -> ClientAdapter:
    client = make()
    client.connect(broker.url)
    return client


@pytest.fixture
def destination() -> str:
    return f"/queue/{unique()}"


def is_well(client: ClientAdapter, destination: str) -> None:
    """The mistake has cost nothing: the connection is there, and nothing arrived."""
    subscription = client.subscription(destination)
    client.message(destination, "right", confirm=True)
    message = subscription.get()
    assert message.text == "right"
    client.ack(message)


@pytest.mark.parametrize("option", ["reconect", "heartbeat", "password", "client_id"])
def test_mistyped_arguments_of_connect(make, broker, option):
    with pytest.raises(TypeError, match=option):
        make().connect(broker.url, **{option: True})


@pytest.mark.parametrize(
    "options",
    [{"confrim": True}, {"content_type": "text/plain"}, {"reply_to": "/queue/a"}, {"urgent": True}],
)
def test_mistyped_arguments_of_message(client, destination, options):
    with pytest.raises(TypeError, match=f"message\\(\\) has no argument '{next(iter(options))}'"):
        client.message(destination, "wrong", **options)
    is_well(client, destination)


@pytest.mark.parametrize("options", [{"prefech": 1}, {"colour": "green"}])
def test_newer_calls_take_no_free_keywords(client, destination, options):
    with pytest.raises(TypeError, match="subscription\\(\\) has no argument"):
        client.subscription(destination, **options)
    is_well(client, destination)


@pytest.mark.parametrize("body", [{"a": 1}, None, 42, [1]])
@pytest.mark.parametrize("verb", ["message", "confirmed", "post", "send_many", "request", "txn"])
def test_bodies_of_the_wrong_kind(client, destination, verb, body):
    send = {
        "message": lambda: client.message(destination, body),
        "confirmed": lambda: client.message(destination, body, confirm=True),
        "post": lambda: client.post(destination, body),
        "send_many": lambda: client.send_many(destination, [body]),
        "request": lambda: client.request(destination, body),
        "txn": lambda: client.transaction().message(destination, body),
    }[verb]
    with pytest.raises(TypeError, match="the body must be str or bytes, not "):
        send()
    is_well(client, destination)
    client.flush()


@pytest.mark.parametrize("bodies", ["hello", b"hello", bytearray(b"hello")])
def test_one_body_is_not_many(client, destination, bodies):
    with pytest.raises(TypeError, match=r"message\(\) sends one body"):
        client.call("send_many", destination, bodies)
    is_well(client, destination)


def test_destination_and_body_swapped(client, destination):
    for send in (client.message, client.post, client.request):
        with pytest.raises(ValueError, match="swapped"):
            send("hello", destination)
    is_well(client, destination)


@pytest.mark.parametrize("destination", [None, b"/queue/x", 42])
def test_destinations_of_the_wrong_kind(client, destination):
    for use in (client.message, client.post, client.request):
        with pytest.raises(TypeError, match="the destination must be text"):
            use(destination, "x")
    for use in (client.subscription, lambda to: client.call("subscribe", to)):
        with pytest.raises(TypeError, match="the destination must be text"):
            use(destination)


def test_ack_modes_and_policies_are_listed(client, destination):
    with pytest.raises(ValueError, match="'auto', 'client', 'client-individual'"):
        client.subscription(destination, ack_mode="manual")


def test_what_is_sent_as_json(client, destination):
    subscription = client.subscription(destination)
    client.message(destination, "", json={"a": [1, None]}, confirm=True)
    client.message(destination, "", json=None, headers={"content-type": "text/x"}, confirm=True)
    client.call("send_many", destination, json=({"n": n} for n in range(2)))
    messages = [subscription.get() for _ in range(4)]
    assert [message.json for message in messages] == [{"a": [1, None]}, None, {"n": 0}, {"n": 1}]
    kinds = [message["content-type"] for message in messages]
    assert kinds == ["application/json", "text/x", "application/json", "application/json"]
    with pytest.raises(TypeError, match="not both"):
        client.message(destination, "x", json=1)
    with pytest.raises(TypeError, match="one of them"):
        client.call("send_many", destination, ["x"], json=[1])
    with pytest.raises(TypeError, match="one of them"):
        client.call("send_many", destination)
    with pytest.raises(TypeError, match=r"message\(json=…\)"):
        client.call("send_many", destination, json={"a": 1})


def test_settling_a_handles_message_by_the_client_is_settling_it(client, broker, destination):
    subscription = client.subscription(destination)
    client.send_many(destination, ["good", "bad"])
    good, bad = subscription.get(), subscription.get()
    client.call("ack", good)
    client.call("nack", bad)
    assert (good.settlement, bad.settlement) == ("acked", "nacked")
    client.ack(good)  # nothing is sent twice
    again = subscription.get()
    assert again.text == "bad"
    client.call("ack", again)
    client.message(destination, "more", confirm=True)
    assert stats(broker, destination).acked == 2


@pytest.mark.parametrize("ack", [None, 42, {"ack": "x"}])
def test_what_cannot_be_settled(client, destination, ack):
    for verb in ("ack", "nack"):
        with pytest.raises(TypeError, match=r"a message or its ack header"):
            client.call(verb, ack)
    is_well(client, destination)


def test_a_handle_is_ended_by_the_client_too(client, destination):
    subscription = client.call("subscription", destination)
    client.call("unsubscribe", subscription)
    assert client.health().subscriptions == ()
    is_well(client, destination)
    for wrong in (None, 42):
        with pytest.raises(TypeError, match="what subscribe"):
            client.call("unsubscribe", wrong)


def test_going_through_the_id_of_a_subscription(client, destination):
    subscription = client.call("subscribe", destination)
    with pytest.raises(TypeError, match=r"client\.subscription"):
        list(subscription)


def test_a_destination_is_no_command(client, destination):
    for command in ("/queue/x", "SEND\nx", ""):
        with pytest.raises(ValueError, match=r"message\(destination, body\)|a command is a word"):
            client.call("send", command, "hello")
    with pytest.raises(TypeError, match="the command must be text"):
        client.call("send", None)
    is_well(client, destination)


@pytest.mark.parametrize("headers", ["a:b", 5, [("a", 1)]])
def test_headers_of_the_wrong_kind(make, broker, client, destination, headers):
    told = "headers must be a mapping"
    for name in ("message", "post"):
        with pytest.raises(TypeError, match=told):
            client.call(name, destination, "x", headers=headers)
    for name, arguments in (("send", ["SEND"]), ("subscribe", [destination])):
        with pytest.raises(TypeError, match=told):
            client.call(name, *arguments, headers=headers)
    with pytest.raises(TypeError, match=told):
        client.subscription(destination, headers=headers)
    with pytest.raises(TypeError, match=told):
        make().connect(broker.url, headers=headers)
    is_well(client, destination)


def test_a_transaction_is_named_by_its_id(client, destination):
    transaction = client.call("transaction")
    with pytest.raises(TypeError, match=r"it is txn\.id"):
        client.message(destination, "x", transaction=transaction)
    client.message(destination, "right", transaction=transaction.id)
    with pytest.raises(TypeError, match="text, not int"):
        client.call("transaction", 5)


@pytest.mark.parametrize("receipt", [None, True, 5])
def test_receipts_of_the_wrong_kind(client, receipt):
    with pytest.raises(TypeError, match="takes the receipt id"):
        client.call("wait_for_receipt", receipt)


def test_what_a_subscription_cannot_settle(client, destination):
    subscription = client.call("subscription", destination)
    client.message(destination, "x")
    frame = stompy.STOMPFrame("MESSAGE")
    for wrong in (frame, "a1", None):
        for settle in (subscription.ack, subscription.nack):
            with pytest.raises(TypeError, match=r"client\.ack\(\) takes the ack header"):
                client.run(settle, wrong)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"versions": ["1.3"]}, ValueError, "there are '1.0', '1.1', '1.2'"),
        ({"heart_beat": 10000}, TypeError, r"\(10000, 10000\), not 10000"),
        ({"heart_beat": (1, 2, 3)}, TypeError, "two whole numbers"),
    ],
)
def test_options_of_connect(make, broker, options, error, told):
    with pytest.raises(error, match=told):
        make().connect(broker.url, **options)


def test_one_version_may_stand_by_itself(make, broker):
    client = make()
    client.connect(broker.url, versions="1.1")
    assert client.client.version == "1.1"
