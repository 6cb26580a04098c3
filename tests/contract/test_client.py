"""What both clients promise, said once: scenarios against a real broker, through an adapter.

`tests/contract/conftest.py` says which clients they run with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from tests.support.blocking_adapter import BlockingAdapter
from tests.support.client_adapter import ClientAdapter
from tests.support.fault_proxy import DOWN, UP, Fault, FaultProxy
from tests.support.scripted_server import Peer, ScriptedServer
from tests.support.wire import running_broker, stats, unique, until

import stompy
from stompy.session.confirmations import Outcome
from stompy.session.delivery import Delivery, Settlement
from stompy.session.state import ConnectionState
from stompy_broker import RunningBroker

SWIFT = stompy.Reconnect(delay=0.01, max_delay=0.05)


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running_broker(times={"heart_beat": (200, 200)}) as broker:
        yield broker


@pytest.fixture
def client(make: Callable[[], ClientAdapter], broker: RunningBroker) -> ClientAdapter:
    client = make()
    client.connect(broker.url)
    return client


@pytest.fixture
def proxy(broker: RunningBroker) -> Iterator[FaultProxy]:
    with FaultProxy(broker.port) as proxy:
        yield proxy


def queue() -> str:
    return f"/queue/{unique()}"


def states(client: ClientAdapter) -> list[str]:
    return [change.state.value for change in client.changes]


def arrives(client: ClientAdapter, state: str, times: int = 1) -> None:
    until(lambda: states(client).count(state) >= times, f"state {state}")


# -- messages that settle themselves ---------------------------------------------------------------


def test_a_handle_gets_messages_one_by_one_and_in_batches(client, broker):
    destination = queue()
    subscription = client.subscription(destination)
    client.send_many(destination, map(str, range(10)))
    first = subscription.get()
    assert (first.text, first.Command, first.settlement) == ("0", "MESSAGE", None)
    client.ack(first)
    rest: list[Delivery] = []
    while len(rest) < 9:
        rest += subscription.get_batch(4)
    assert [message.text for message in rest] == [str(n) for n in range(1, 10)]
    with pytest.raises(stompy.STOMPTimeout):
        subscription.get(0.05)
    with pytest.raises(stompy.STOMPTimeout):
        subscription.get_batch(3, 0.05)
    for message in rest:
        client.ack(message)
    until(lambda: stats(broker, destination).acked == 10, "ten acknowledgements")
    health = subscription.health()
    assert (health.active, health.received, health.waiting, health.acked) == (True, 10, 0, 10)


def test_leaving_the_block_acks_and_an_exception_nacks_with_its_type(client, broker):
    destination = queue()
    subscription = client.subscription(destination)
    client.message(destination, "good", confirm=True)
    client.within(subscription.get())
    until(lambda: stats(broker, destination).acked == 1, "the acknowledgement")
    client.message(destination, "bad", confirm=True)
    bad = subscription.get()
    with pytest.raises(ZeroDivisionError):
        client.within(bad, ZeroDivisionError())
    assert bad.settlement is Settlement.NACKED
    again = subscription.get()
    assert (again.text, again.redelivered) == ("bad", True)
    client.nack(again, requeue=False, reason="hopeless")
    dead = client.subscription(f"/queue/DLQ.{destination.removeprefix('/queue/')}")
    assert dead.get().text == "bad"


def test_a_block_leaves_a_message_alone_that_was_settled_inside(client, broker):
    destination = queue()
    subscription = client.subscription(destination)
    client.message(destination, "x", confirm=True)
    message = subscription.get()
    client.ack(message)
    client.within(message)
    client.ack(message)  # a no-op, with a warning in the log
    client.nack(message)
    client.message(destination, "the connection still lives", confirm=True)
    assert (message.settlement, subscription.health().acked) == (Settlement.ACKED, 1)


def test_a_message_of_an_ended_subscription_is_stale(client, broker):
    destination = queue()
    subscription = client.subscription(destination)
    client.message(destination, "x", confirm=True)
    message = subscription.get()
    subscription.unsubscribe()
    with pytest.raises(stompy.StaleMessageError, match="subscription has ended"):
        client.ack(message)
    with pytest.raises(stompy.STOMPError, match="has ended"):
        subscription.get(1)
    subscription.iterate(lambda _: True)  # ends at once, without an exception
    assert client.subscription(destination).get().redelivered


def test_mode_auto_has_nothing_to_settle(client):
    destination = queue()
    subscription = client.subscription(destination, ack_mode="auto")
    client.message(destination, "x")
    message = subscription.get()
    assert message.settlement is Settlement.ACKED
    client.within(message)
    client.message(destination, "y", confirm=True)


@pytest.mark.parametrize(("server_name", "kept"), [("RabbitMQ/3", []), ("other/1", ["receipt"])])
def test_what_rabbitmq_passes_on_of_a_send_is_no_header_of_the_message(make, server_name, kept):
    def script(peer: Peer) -> None:
        peer.welcome(server=server_name)
        peer.receipt(peer.expect("SUBSCRIBE"))
        peer.message(1, "s1", receipt="of its sender", colour="red")
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server:
        client = make()
        client.connect(server.url)
        message = client.subscription("/queue/q", id="s1").get()
        assert [name for name in ("receipt", "transaction") if name in message.Headers] == kept
        assert message["colour"] == "red"
        client.disconnect()


def test_iteration_goes_on_until_the_handle_is_ended(client):
    destination = queue()
    subscription = client.subscription(destination)
    client.send_many(destination, ["a", "b", "c"])
    seen: list[str] = []

    def take(message: Delivery) -> bool:
        client.ack(message)
        seen.append(message.text)
        if message.text == "c":
            subscription.unsubscribe()
        return False

    subscription.iterate(take)
    assert seen == ["a", "b", "c"]


def test_a_handle_shows_itself(client):
    destination = queue()
    handle = client.subscription(destination)
    assert repr(handle) == f"<Subscription {handle.id} to {destination} 0 waiting>"
    handle.unsubscribe()
    assert repr(handle) == f"<Subscription {handle.id} to {destination} ended>"


def test_prefetch_bounds_what_is_under_way(client):
    destination = queue()
    client.send_many(destination, map(str, range(10)))
    subscription = client.subscription(destination, prefetch=3)
    until(lambda: subscription.health().waiting == 3, "three messages")
    client.message(destination, "a round trip", confirm=True)
    assert subscription.health().received == 3


def test_a_subscription_chooses_and_passes_over_what_its_own_connection_sends(client, make, broker):
    topic = f"/topic/{unique('t')}"
    red = client.subscription(topic, selector="color = 'red'")
    others = client.subscription(topic, no_local=True)
    client.message(topic, "blue", headers={"color": "blue"}, confirm=True)
    client.message(topic, "red", headers={"color": "red"}, confirm=True)
    other = make()
    other.connect(broker.url)
    other.message(topic, "green", headers={"color": "green"}, confirm=True)
    assert red.get().text == "red"
    assert others.get().text == "green"


def test_a_window_in_bytes_bounds_what_is_under_way(client):
    destination = queue()
    client.send_many(destination, ["x" * 1000] * 5)
    subscription = client.subscription(destination, window_bytes=0, consumer_timeout=60)
    client.message(destination, "a round trip", confirm=True)
    assert subscription.health().received == 1


def test_a_message_given_back_without_blame_is_no_dead_letter(client, broker):
    destination = queue()
    client.message(destination, "x", confirm=True)
    subscription = client.subscription(destination)
    for _ in range(20):
        client.nack(subscription.get(), failed=False)
    client.ack(subscription.get())
    until(lambda: stats(broker, destination).acked == 1, "it to be settled")
    assert stats(broker, destination).dead_lettered == 0


def test_an_ack_in_a_transaction_is_undone_by_abort(client):
    destination = queue()
    subscription = client.subscription(destination)
    client.message(destination, "x", confirm=True)
    message = subscription.get()
    transaction = client.transaction()
    client.ack(message, transaction=transaction.id)
    assert message.settlement is Settlement.ACKED
    transaction.abort()
    assert message.settlement is None
    transaction = client.transaction()
    client.ack(message, transaction=transaction.id)
    transaction.message(destination, "y")
    transaction.commit()
    assert subscription.get().text == "y"


# -- handlers --------------------------------------------------------------------------------------


def test_a_raising_handler_never_ends_the_subscription(client, broker):
    destination = queue()
    subscription = client.subscription(destination)
    done: list[str] = []

    def handler(message: Delivery) -> object:
        if message.text == "bad" and not message.redelivered:
            raise ValueError("once")
        done.append(message.text)
        return False  # a return value means nothing

    thread = subscription.handle(handler, concurrency=2)
    client.send_many(destination, ["1", "bad", "2", "3"])
    until(lambda: stats(broker, destination).acked == 4, "all four")
    assert sorted(done) == ["1", "2", "3", "bad"]
    health = subscription.health()
    assert (health.active, health.handler_errors, health.nacked) == (True, 1, 1)
    assert isinstance(health.last_error, ValueError)
    subscription.unsubscribe()
    thread.join(10)
    assert not thread.is_alive()


def test_handlers_run_at_once_and_may_call_anything(client, broker):
    destination = queue()
    subscription = client.subscription(destination)
    together = threading.Barrier(3)

    def handler(message: Delivery) -> None:
        if client_of_handlers_runs_on_threads(client):
            together.wait(10)
        if message.text == "end":
            subscription.unsubscribe()

    thread = subscription.handle(handler, concurrency=3)
    client.send_many(destination, ["1", "2", "3"])
    until(lambda: stats(broker, destination).acked == 3, "three at once")
    together = threading.Barrier(1)
    client.message(destination, "end")
    thread.join(10)
    assert not thread.is_alive()


def client_of_handlers_runs_on_threads(client: ClientAdapter) -> bool:
    """An asyncio handler must not block its loop at a barrier for threads."""
    return isinstance(client, BlockingAdapter)


@pytest.mark.parametrize(("policy", "ends"), [("dead-letter", False), ("stop", True)])
def test_what_becomes_of_a_message_whose_handler_raised(client, broker, policy, ends):
    destination = queue()
    subscription = client.subscription(destination)

    def handler(message: Delivery) -> None:
        raise ValueError("always")

    thread = subscription.handle(handler, on_error=policy)
    client.message(destination, "x", confirm=True)
    if ends:
        thread.join(10)
        assert not thread.is_alive()
        with pytest.raises(ValueError, match="always"):
            subscription.get(1)
    else:
        dead = client.subscription(f"/queue/DLQ.{destination.removeprefix('/queue/')}")
        assert dead.get().text == "x"
        assert subscription.health().active
        subscription.unsubscribe()
        thread.join(10)


def test_disconnect_waits_for_handlers_at_work(make, client, broker):
    destination = queue()
    consumer = make()
    consumer.connect(broker.url)
    subscription = consumer.subscription(destination)
    begun = threading.Event()

    def handler(message: Delivery) -> None:
        begun.set()
        if client_of_handlers_runs_on_threads(consumer):
            ending.wait(0.2)

    ending = threading.Event()
    thread = subscription.handle(handler)
    client.message(destination, "x", confirm=True)
    assert begun.wait(10)
    consumer.disconnect()
    thread.join(10)
    assert stats(broker, destination).acked == 1


@pytest.mark.parametrize("from_inside", [False, True])
def test_the_end_of_a_subscription_waits_for_handlers_at_work(client, broker, from_inside):
    destination = queue()
    subscription = client.subscription(destination, prefetch=2)
    begun, go_on = threading.Semaphore(0), threading.Event()

    def handler(message: Delivery) -> None:
        begun.release()
        assert go_on.wait(10)
        if from_inside:
            subscription.unsubscribe()

    thread = subscription.handle(handler, concurrency=2)
    client.send_many(destination, ["a", "b", "c"])
    assert begun.acquire(timeout=10)
    assert begun.acquire(timeout=10)
    if from_inside:
        go_on.set()
    else:
        ending = threading.Thread(target=subscription.unsubscribe)
        ending.start()
        until(lambda: not subscription.health().active, "the last message to be given")
        go_on.set()
        ending.join(10)
    thread.join(10)
    assert not thread.is_alive()
    health = subscription.health()
    assert (health.acked, health.stale) == (2, 0)
    until(lambda: stats(broker, destination).ready == 1, "the third to be back")
    assert stats(broker, destination).acked == 2
    again = client.subscription(destination)
    assert again.get().text == "c"


def test_a_handler_that_stops_the_subscription_lets_the_others_finish(client, broker):
    destination = queue()
    subscription = client.subscription(destination)
    begun, go_on = threading.Event(), threading.Event()

    def handler(message: Delivery) -> None:
        if message.text == "good":
            begun.set()
            assert go_on.wait(10)
        else:
            assert begun.wait(10)
            raise ValueError("no more")

    thread = subscription.handle(handler, concurrency=2, on_error="stop")
    client.send_many(destination, ["good", "bad"])
    until(lambda: not subscription.health().active, "the end")
    go_on.set()
    thread.join(10)
    assert not thread.is_alive()
    assert stats(broker, destination).acked == 1
    with pytest.raises(ValueError, match="no more"):
        subscription.get(0)


def test_handlers_that_come_to_no_end_are_named(client, caplog):
    destination = queue()
    subscription = client.subscription(destination)
    begun, go_on = threading.Event(), threading.Event()

    def handler(message: Delivery) -> None:
        begun.set()
        assert go_on.wait(10)

    thread = subscription.handle(handler)
    client.message(destination, "x")
    assert begun.wait(10)
    subscription.unsubscribe(timeout=0.01)
    assert f"1 of the handlers of {destination} did not come to an end" in caplog.text
    go_on.set()
    thread.join(10)
    assert subscription.health().stale == 1
    assert "cannot be settled, because its subscription has ended" in caplog.text


def test_nobody_refuses_in_secret_what_is_settled_on_its_way(client, caplog):
    destination = queue()
    subscription = client.subscription(destination, ack_mode="auto")
    client.message(destination, "x")
    message = subscription.get()
    client.ack(message)
    assert caplog.text == ""
    client.nack(message)
    assert "is acked already, so it is not nacked" in caplog.text


def test_a_subscription_that_has_ended_takes_no_handler(client):
    subscription = client.subscription(queue())
    subscription.unsubscribe()
    assert isinstance(subscription.handle_now(print), stompy.STOMPError)


def test_a_handler_that_would_do_nothing_is_refused(client, broker):
    def generator(message: Delivery) -> Iterator[int]:
        yield 1

    destination = queue()
    subscription = client.subscription(destination)
    client.message(destination, "x")
    for wrong in (generator, None, "work"):
        assert isinstance(subscription.handle_now(wrong), TypeError)
    assert subscription.get().text == "x"
    assert stats(broker, destination).acked == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefetch": -1},
        {"headers": {"a": None}},
        {"durable": "x"},
        {"durable": "x", "id": "s"},
        {"window_bytes": -1},
    ],
)
def test_a_subscription_that_is_refused_here_leaves_nothing_behind(client, wrong):
    with pytest.raises((ValueError, TypeError, stompy.STOMPError)):
        client.subscription("/topic/x", **wrong)
    assert client.message(queue(), "y", confirm=True)
    assert client.health().subscriptions == ()
    assert client.health().ok


# -- confirmed sending -----------------------------------------------------------------------------


def test_a_confirmed_message_is_accepted_or_rejected(client, broker):
    destination = queue()
    assert client.message(destination, "x", confirm=True)
    assert stats(broker, destination).ready == 1
    with pytest.raises(stompy.STOMPError) as caught:
        client.message("/nonsense/x", "", confirm=True)
    assert caught.value.code == "bad-destination"
    until(lambda: client.state() is ConnectionState.DISCONNECTED, "the end")


def test_an_error_rejects_one_frame_and_leaves_the_others_unknown(make, proxy):
    client = make()
    client.connect(proxy.url)
    proxy.passages[0].swallow.add(DOWN)
    before = client.post(queue(), "1")
    until(lambda: proxy.passages[0].swallowed[DOWN], "the receipt")
    proxy.passages[0].swallow.clear()
    culprit = client.post("/nonsense/x", "")
    with pytest.raises(stompy.STOMPError):
        culprit.result()
    with pytest.raises(stompy.OutcomeUnknown):
        before.result()
    # Its receipt was swallowed, so nobody can know.
    assert (culprit.outcome(), before.outcome()) == (Outcome.REJECTED, Outcome.UNKNOWN)


def test_many_messages_are_confirmed_in_a_window(client, broker):
    destination = queue()
    assert client.send_many(destination, map(str, range(500)), window=7) == 500
    assert stats(broker, destination).ready == 500
    posted = [client.post(destination, "x") for _ in range(20)]
    client.flush()
    assert {one.outcome() for one in posted} == {Outcome.ACCEPTED}
    assert client.health().unconfirmed == 0


def test_the_first_failure_of_many_says_how_many_were_accepted(make, proxy):
    client = make()
    client.connect(proxy.url)
    destination = queue()

    def bodies() -> Iterator[str]:
        yield from map(str, range(10))
        client.flush()
        proxy.passages[0].cut()
        yield "too late"

    with pytest.raises(stompy.STOMPConnectionError) as caught:
        client.send_many(destination, bodies(), window=100)
    assert any("10 messages" in note for note in caught.value.__notes__)


def test_what_is_pending_at_a_loss_is_unknown(make, proxy):
    client = make()
    client.connect(proxy.url)
    proxy.passages[0].swallow.add(DOWN)
    posted = client.post(queue(), "x")
    assert posted.outcome() is Outcome.PENDING
    with pytest.raises(stompy.STOMPTimeout):
        posted.result(0.05)
    proxy.passages[0].cut()
    with pytest.raises(stompy.OutcomeUnknown):
        posted.result()


# -- request and reply -----------------------------------------------------------------------------


def serve(client: ClientAdapter, destination: str) -> threading.Thread:
    subscription = client.subscription(destination)

    def answer(message: Delivery) -> bool:
        if message.text != "silence":
            client.reply(message, message.text.upper())
        client.ack(message)
        return message.text == "stop"

    thread = threading.Thread(target=subscription.iterate, args=(answer,))
    thread.start()
    return thread


def test_a_reply_goes_where_the_message_says(client, broker):
    destination, answers = queue(), queue()
    subscription = client.subscription(destination)
    replies = client.subscription(answers)
    headers = {"reply-to": answers, "correlation-id": "7"}
    client.message(destination, "2", headers=headers)
    client.message(destination, "3", headers={"reply-to": answers})
    client.message(destination, "4")
    first, second, third = (subscription.get() for _ in range(3))
    client.reply(first, "4", {"colour": "green"})
    client.reply(second, json={"square": 9})
    with pytest.raises(ValueError, match="asks for no reply"):
        client.reply(third, "16")
    with pytest.raises(TypeError, match="must be str or bytes"):
        client.reply(first, 4)
    four, nine = replies.get(), replies.get()
    assert (four.text, four.correlation_id, four["colour"]) == ("4", "7", "green")
    assert (nine.json, nine.correlation_id, nine["content-type"]) == (
        {"square": 9},
        None,
        "application/json",
    )
    assert first.settlement is None, "an answer is no acknowledgement"


def test_a_reply_may_belong_to_a_transaction(client, broker):
    destination, answers = queue(), queue()
    subscription = client.subscription(destination)
    replies = client.subscription(answers)
    client.message(destination, "x", headers={"reply-to": answers})
    message = subscription.get()
    for end in ("abort", "commit"):
        transaction = client.transaction()
        client.reply(message, end, transaction=transaction.id)
        getattr(transaction, end)()
    assert replies.get().text == "commit"


def test_a_reply_may_be_answered(make, client, broker):
    server, destination = make(), queue()
    server.connect(broker.url)
    subscription = server.subscription(destination)

    def answer(message: Delivery) -> None:
        server.reply(message, "who?", {"reply-to": destination})

    serving = subscription.handle(answer)
    reply = client.request(destination, "knock")
    second = server.subscription(destination)
    subscription.unsubscribe()
    client.reply(reply, "me")
    assert second.get().text == "me"
    serving.join()


def test_requests_get_their_own_replies(make, client, broker):
    server, destination = make(), queue()
    server.connect(broker.url)
    serving = serve(server, destination)
    replies: dict[str, str] = {}

    def ask(word: str) -> None:
        replies[word] = client.request(destination, word).text

    askers = [threading.Thread(target=ask, args=(f"word{n}",)) for n in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(10)
    assert replies == {f"word{n}": f"WORD{n}" for n in range(8)}
    with pytest.raises(stompy.STOMPTimeout, match="no reply"):
        client.request(destination, "silence", timeout=0.1)
    assert client.request(destination, "stop").text == "STOP"
    serving.join(10)


def test_a_rejected_request_says_so(client):
    with pytest.raises(stompy.STOMPError) as caught:
        client.request("/nonsense/x", "")
    assert caught.value.code == "bad-destination"


def test_a_request_that_nobody_would_take_fails_at_once(make, broker):
    client = make()
    client.connect(broker.url)
    with pytest.raises(stompy.NoResponders, match="nobody consumes"):
        client.request(queue(), "anybody?", timeout=30)
    assert client.health().late_replies == 0


def test_a_request_that_is_given_up_says_why(make, broker):
    client, destination = make(), queue()
    client.connect(broker.url)
    with stompy.connect(broker.url) as service:
        questions = service.subscription(destination)

        def refuse() -> None:
            questions.get(timeout=10).nack(requeue=False, reason="no such spoon")

        refusing = threading.Thread(target=refuse)
        refusing.start()
        with pytest.raises(stompy.RequestRejected, match="no such spoon") as caught:
            client.request(destination, "", timeout=30)
        refusing.join(10)
    assert caught.value.status is stompy.ReplyStatus.REJECTED
    assert caught.value.headers["x-last-death-reason"] == "rejected"


def test_a_request_that_is_not_answered_in_time_is_a_time_out(make, broker):
    client, destination = make(), queue()
    client.connect(broker.url)
    subscription = client.subscription(destination, prefetch=1)
    with pytest.raises(stompy.STOMPTimeout, match="no reply from"):
        client.request(destination, "", timeout=30, headers={"reply-timeout": 10})
    assert subscription.get(timeout=10)["reply-timeout"] == "10"


def test_a_request_whose_connection_is_lost_has_an_unknown_outcome(make, proxy, broker):
    client, destination = make(), queue()
    client.connect(proxy.url)
    client.message(destination, "so that there is the queue", confirm=True)
    outcome: list[BaseException] = []

    def ask() -> None:
        try:
            client.request(destination, "nobody answers", timeout=30, headers={"reply-timeout": 0})
        except BaseException as error:
            outcome.append(error)

    asker = threading.Thread(target=ask)
    asker.start()
    until(lambda: stats(broker, destination).ready == 2, "the request")
    proxy.passages[0].cut()
    asker.join(10)
    assert [type(error) for error in outcome] == [stompy.OutcomeUnknown]


# -- reconnection ----------------------------------------------------------------------------------


def test_without_reconnect_a_loss_is_visible(make, proxy):
    client = make()
    client.connect(proxy.url)
    subscription = client.subscription(queue())
    proxy.passages[0].cut()
    with pytest.raises(stompy.STOMPConnectionError):
        subscription.get()
    with pytest.raises(stompy.STOMPConnectionError):
        subscription.iterate(lambda _: False)
    assert not subscription.health().active
    arrives(client, "disconnected")
    assert states(client) == ["connecting", "connected", "disconnected"]
    with pytest.raises(stompy.STOMPConnectionError):
        client.wait_connected(1)


def test_subscriptions_return_with_the_same_ids(make, proxy, broker):
    client = make()
    client.connect(proxy.url, reconnect=SWIFT)
    destinations = [queue() for _ in range(3)]
    subscriptions = [client.subscription(destination) for destination in destinations]
    ids = [subscription.id for subscription in subscriptions]
    for round_number in range(1, 4):
        proxy.passages[-1].cut()
        arrives(client, "reconnecting", round_number)
        for number, destination in enumerate(destinations):
            client.message(destination, f"{round_number}.{number}", confirm=True)
        for number, subscription in enumerate(subscriptions):
            message = subscription.get()
            assert message.text == f"{round_number}.{number}"
            assert message["subscription"] == ids[number]
            client.ack(message)
        client.message(queue(), "behind the acknowledgements", confirm=True)
    assert client.health().ok
    assert client.health().epoch == 4
    arrives(client, "connected", 4)
    assert states(client)[:4] == ["connecting", "connected", "reconnecting", "connected"]
    assert states(client).count("reconnecting") == 3
    until(lambda: all(stats(broker, name).consumers == 1 for name in destinations), "one each")


def test_messages_of_an_earlier_connection_are_stale(make, proxy):
    client = make()
    client.connect(proxy.url, reconnect=SWIFT)
    destination = queue()
    subscription = client.subscription(destination)
    client.send_many(destination, ["a", "b"])
    message = subscription.get()
    until(lambda: subscription.health().waiting == 1, "the other one")
    proxy.passages[0].cut()
    arrives(client, "connected", 2)
    with pytest.raises(stompy.StaleMessageError, match="delivers it again"):
        client.ack(message)
    assert message.settlement is Settlement.STALE
    client.within(message)
    for body in "ab":
        again = subscription.get()
        assert (again.text, again.redelivered) == (body, True)
        client.ack(again)
    with pytest.raises(stompy.STOMPTimeout):
        subscription.get(0.05)
    assert subscription.health().stale == 1


def test_an_open_transaction_is_lost_with_its_connection(make, proxy):
    client = make()
    client.connect(proxy.url, reconnect=SWIFT)
    destination = queue()
    transaction = client.transaction()
    transaction.message(destination, "never")
    proxy.passages[0].cut()
    arrives(client, "connected", 2)
    with pytest.raises(stompy.TransactionLost):
        transaction.message(destination, "never")
    with pytest.raises(stompy.TransactionLost):
        transaction.commit()
    subscription = client.subscription(destination)
    with pytest.raises(stompy.STOMPTimeout):
        subscription.get(0.05)


def test_subscribing_and_unsubscribing_while_disconnected(make, proxy, broker):
    client = make()
    client.connect(proxy.url, reconnect=SWIFT)
    kept, dropped = queue(), queue()
    old = client.subscription(dropped)
    proxy.always(Fault(refuse=True))
    proxy.passages[0].cut()
    arrives(client, "reconnecting")
    new = client.subscription(kept)
    old.unsubscribe()
    assert not new.health().active
    proxy.always(None)
    client.wait_connected()
    client.message(kept, "x", confirm=True)
    assert new.get().text == "x"
    assert stats(broker, dropped).consumers == 0
    assert client.health().ok


def test_whoever_cannot_wait_ends_the_pause(make, proxy):
    client = make()
    client.connect(proxy.url, reconnect=stompy.Reconnect(delay=1e6, max_delay=1e6))
    client.retry_now()  # nothing is waited for
    proxy.passages[0].cut()
    arrives(client, "reconnecting")
    client.retry_now()
    arrives(client, "connected", 2)


def test_a_refused_subscription_fails_alone(make, broker):
    client = make()
    client.connect(broker.url, reconnect=SWIFT)
    destination = queue()
    good = client.subscription(destination)
    with pytest.raises(stompy.STOMPError) as caught:
        client.subscription("/nonsense/x")
    assert caught.value.code == "bad-destination"
    client.message(destination, "x", confirm=True)
    assert good.get().text == "x"
    assert [row.destination for row in client.health().subscriptions] == [destination]


def test_one_bad_frame_fails_alone_and_the_rest_comes_back(make, broker):
    client = make()
    client.connect(broker.url, reconnect=SWIFT)
    destination = queue()
    subscription = client.subscription(destination)
    with pytest.raises(stompy.STOMPError) as caught:
        client.message("/nonsense/x", "", confirm=True)
    assert caught.value.code == "bad-destination"
    client.message(destination, "x", confirm=True)
    assert subscription.get().text == "x"


def test_the_next_address_is_tried(make, broker):
    client = make()
    with FaultProxy(broker.port) as first, FaultProxy(broker.port) as second:
        client.connect(first.url, second.url, reconnect=SWIFT)
        destination = queue()
        subscription = client.subscription(destination)
        assert (first.accepted, second.accepted) == (1, 0)
        first.always(Fault(refuse=True))
        first.passages[0].cut()
        arrives(client, "connected", 2)
        assert client.health().address == second.url
        client.message(destination, "x", confirm=True)
        assert subscription.get().text == "x"


def test_a_failover_url_reconnects(make, broker):
    client = make()
    with FaultProxy(broker.port) as proxy:
        dead = "stomp://127.0.0.1:1"
        options = "randomize=false&initialReconnectDelay=10&maxReconnectDelay=50"
        client.connect(f"failover:({dead},{proxy.url})?{options}")
        proxy.passages[0].cut()
        arrives(client, "connected", 2)
        client.message(queue(), "x", confirm=True)


def test_giving_up_ends_everything_with_a_reason(make, proxy):
    client = make()
    client.connect(proxy.url, reconnect=stompy.Reconnect(delay=0.0, attempts=3))
    subscription = client.subscription(queue())
    proxy.always(Fault(refuse=True))
    proxy.passages[0].cut()
    with pytest.raises(stompy.STOMPConnectionError, match="gave up after 3 rounds"):
        subscription.get()
    with pytest.raises(stompy.STOMPConnectionError, match="gave up after 3 rounds"):
        client.message(queue(), "x")
    arrives(client, "disconnected")
    assert states(client) == ["connecting", "connected", "reconnecting", "disconnected"]
    assert proxy.accepted == 4


def test_disconnect_while_reconnecting(make, proxy):
    client = make()
    client.connect(proxy.url, reconnect=SWIFT)
    subscription = client.subscription(queue())
    proxy.always(Fault(refuse=True))
    proxy.passages[0].cut()
    arrives(client, "reconnecting")
    client.disconnect()
    client.disconnect()
    assert client.state() is ConnectionState.CLOSED
    with pytest.raises(stompy.STOMPError):
        subscription.get()
    arrives(client, "closed")
    assert states(client)[-2:] == ["reconnecting", "closed"]


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_black_hole_is_noticed_once_and_another_way_is_tried(make, broker, direction):
    client = make()
    with FaultProxy(broker.port) as proxy, FaultProxy(broker.port) as other:
        client.connect(proxy.url, other.url, reconnect=SWIFT, heart_beat=(200, 200))
        subscription = client.subscription(queue())
        proxy.always(Fault(refuse=True))
        proxy.passages[0].swallow.add(direction)
        arrives(client, "connected", 2)
        assert states(client) == ["connecting", "connected", "reconnecting", "connected"]
        assert client.health().address == other.url
        assert subscription.health().active


def test_a_half_open_connection_is_noticed(make, proxy):
    client = make()
    client.connect(proxy.url, reconnect=SWIFT, heart_beat=(200, 200))
    proxy.passages[0].half_open()
    arrives(client, "connected", 2)
    assert states(client).count("reconnecting") == 1


def test_a_slow_way_is_no_loss(make, broker):
    client = make()
    with FaultProxy(broker.port) as proxy:
        proxy.always(Fault(delay=0.05))
        client.connect(proxy.url, reconnect=SWIFT, heart_beat=(200, 200))
        destination = queue()
        subscription = client.subscription(destination)
        for number in range(5):
            client.message(destination, str(number), confirm=True)
            client.ack(subscription.get())
        assert states(client) == ["connecting", "connected"]


def test_an_attempt_into_a_black_hole_is_bounded(make, proxy):
    client = make()
    proxy.plan(Fault(), Fault(swallow=frozenset((UP, DOWN))))
    client.connect(proxy.url, reconnect=SWIFT, timeout=0.3)
    proxy.passages[0].cut()
    arrives(client, "connected", 2)
    assert proxy.accepted == 3
    assert "handshake" in str(client.health().last_error)


# -- cut at every byte -----------------------------------------------------------------------------


def session(client: ClientAdapter, destination: str, count: int) -> tuple[list[str], set[str]]:
    """Send, receive, acknowledge; what was received, and what had an unknown outcome."""
    unknown: set[str] = set()
    received: list[str] = []
    subscription = client.subscription(destination)
    for number in range(count):
        body = f"message {number}"
        accepted = False
        while not accepted:
            try:
                client.message(destination, body, confirm=True)
                accepted = True
            except stompy.OutcomeUnknown:
                unknown.add(body)
    while {f"message {number}" for number in range(count)} - set(received):
        message = subscription.get()
        received.append(message.text)
        client.within(message)
    subscription.unsubscribe()
    return received, unknown


def bytes_of_a_session(make: Callable[[], ClientAdapter], port: int) -> dict[str, int]:
    with FaultProxy(port) as proxy:
        client = make()
        client.connect(proxy.url, reconnect=SWIFT)
        session(client, queue(), 3)
        client.disconnect()
        return dict(proxy.passages[0].passed)


def cut_at(make: Callable[[], ClientAdapter], port: int, direction: str, places: range) -> None:
    """No hang, no loss, duplicates only of what was unknown or not acknowledged."""
    for place in places:
        with FaultProxy(port) as proxy:
            client = make()
            proxy.plan(Fault(cut_after={direction: place}))
            try:
                client.connect(proxy.url, reconnect=stompy.Reconnect(delay=0.0, startup_attempts=3))
                received, unknown = session(client, queue(), 3)
            finally:
                client.disconnect()
            redelivered = [body for body in set(received) if received.count(body) > 1]
            assert len(proxy.passages) <= 2
            # A message is unacknowledged at the cut, or its ACK was under way with the prefetch.
            assert len(redelivered) <= 3
            assert len(unknown) <= 1
            assert states(client).count("reconnecting") <= 1
            assert states(client)[-1] == "closed"


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_session_survives_cuts(make, broker, direction):
    total = bytes_of_a_session(make, broker.port)[direction]
    cut_at(make, broker.port, direction, range(1, total, total // 30))
    until(lambda: broker.connections() <= 2, "the broker to forget the cut connections")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_session_survives_a_cut_at_every_byte(make, broker, direction):
    total = bytes_of_a_session(make, broker.port)[direction]
    cut_at(make, broker.port, direction, range(1, total + 1))
