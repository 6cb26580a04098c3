"""Both clients send again what was not confirmed, in its order, and nobody notices a loss.

The servers are scripted: they lose connections between a frame and its receipt.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.client_adapter import ClientAdapter
from tests.support.scripted_server import Heard, Peer, ScriptedServer, eventually

import stompy

OURS = "stompy-broker/1"
SWIFT = stompy.Reconnect(delay=0.01, max_delay=0.05, resend=True)
PLAIN = stompy.Reconnect(delay=0.01, max_delay=0.05)
Q = "/queue/q"

Make = Callable[[], ClientAdapter]


class Losing:
    """Servers of one client: each hears frames, and all hear what comes until DISCONNECT.

    Args:
        takes: how many frames each but the last hears before it cuts the connection.
        confirms: of how many of these the receipt leaves before that.
    """

    def __init__(self, *takes: int, confirms: int = 0) -> None:
        self.heard: list[list[Heard]] = []
        self._confirms = confirms
        self.server = ScriptedServer(*(self._losing(count) for count in takes), self._last)

    def _losing(self, count: int) -> Callable[[Peer], None]:
        def script(peer: Peer) -> None:
            mine = self._welcome(peer)
            for number in range(count):
                mine.append(peer.read())
                if number < self._confirms:
                    peer.receipt(mine[-1])
            # Not by a reset, which would take back receipts that were not read.
            peer.connection.shutdown(socket.SHUT_WR)
            peer.until_closed()

        return script

    def _last(self, peer: Peer) -> None:
        mine = self._welcome(peer)
        for frame in peer.serve():
            mine.append(frame)

    def _welcome(self, peer: Peer) -> list[Heard]:
        peer.welcome(server=OURS)
        self.heard.append([])
        return self.heard[-1]


def bodies(frames: list[Heard]) -> list[str]:
    return [frame.body.decode() for frame in frames if frame.command == "SEND"]


def commands(frames: list[Heard]) -> list[str]:
    return [frame.command for frame in frames if frame.command != "DISCONNECT"]


def ids(frames: list[Heard]) -> list[str]:
    return [frame["dedup-id"] for frame in frames if frame.command == "SEND"]


def test_what_was_not_confirmed_is_sent_again_in_its_order(make: Make) -> None:
    losing = Losing(3, confirms=1)
    client = make()
    with losing.server as server:
        client.connect(server.url, reconnect=SWIFT)
        posted = [client.call("post", Q, str(number)) for number in range(3)]
        client.flush()
        assert [one.outcome for one in posted] == [stompy.Outcome.ACCEPTED] * 3
        client.disconnect()
    assert bodies(losing.heard[0]) == ["0", "1", "2"]
    assert bodies(losing.heard[1]) == ["1", "2"]
    assert ids(losing.heard[1]) == ids(losing.heard[0])[1:]
    prefix, _, number = ids(losing.heard[0])[2].rpartition("-")
    assert number == "3"
    assert prefix


def test_confirmed_sending_goes_on_over_losses(make: Make) -> None:
    losing = Losing(1, 1, 1)
    client = make()
    with losing.server as server:
        client.connect(server.url, reconnect=SWIFT)
        assert client.message(Q, "a", confirm=True, receipt="mine") == "mine"
        assert client.message(Q, "b", confirm=True) is not None
        client.disconnect()
    assert [bodies(heard) for heard in losing.heard] == [["a"]] * 3 + [["a", "b"]]
    assert len({one for heard in losing.heard for one in ids(heard)[:1]}) == 1


def test_what_is_sent_meanwhile_follows_what_was_sent_before(make: Make) -> None:
    gone, go_on = threading.Event(), threading.Event()
    heard: list[Heard] = []

    def lose(peer: Peer) -> None:
        peer.welcome(server=OURS)
        peer.read()
        peer.reset()
        gone.set()

    def wait(peer: Peer) -> None:
        assert go_on.wait(10)
        peer.welcome(server=OURS)
        heard.extend(peer.serve())

    client = make()
    with ScriptedServer(lose, wait) as server:
        client.connect(server.url, reconnect=SWIFT)
        first = client.post(Q, "0")
        assert gone.wait(10)
        eventually(lambda: client.state() == "reconnecting", "the loss")
        client.message(Q, "1")  # they return at once
        client.message(Q, "2")
        client.call("send", "SEND", {"destination": Q}, "3")
        assert client.health().unconfirmed == 4
        go_on.set()
        client.message(Q, "4", confirm=True)
        first.result()
        client.disconnect()
    assert bodies(heard) == ["0", "1", "2", "3", "4"]


def test_a_confirmation_tells_of_which_message_it_is_a_duplicate(make: Make) -> None:
    def remember(peer: Peer) -> None:
        peer.welcome(server=OURS)
        frame = peer.expect("SEND")
        peer.write(
            f"RECEIPT\nreceipt-id:{frame['receipt']}\nduplicate:true\nduplicate-of:m17\n\n^@"
        )
        for _ in peer.serve():
            pass

    client = make()
    with ScriptedServer(remember) as server:
        client.connect(server.url, reconnect=SWIFT)
        first, second = client.call("post", Q, "a"), client.call("post", Q, "b")
        client.flush()
        assert (first.duplicate, first.duplicate_of) == (True, "m17")
        assert (second.duplicate, second.duplicate_of) == (False, None)
        client.disconnect()


def test_a_receipt_that_the_application_waits_for_comes_over_the_next_connection(
    make: Make,
) -> None:
    losing = Losing(2)
    client = make()
    with losing.server as server:
        client.connect(server.url, reconnect=SWIFT)
        made = client.message(Q, "a", receipt=True)
        client.message(Q, "b", receipt="mine")
        assert client.call("wait_for_receipt", "mine")["receipt-id"] == "mine"
        assert client.call("wait_for_receipt", made)["receipt-id"] == made
        client.disconnect()
    assert bodies(losing.heard[1]) == ["a", "b"]


def test_many_at_a_time(make: Make) -> None:
    losing = Losing(90, 40, 1, confirms=30)
    client = make()
    with losing.server as server:
        client.connect(server.url, reconnect=SWIFT)
        assert client.send_many(Q, [str(number) for number in range(400)], window=100) == 400
        client.disconnect()
    taken: dict[str, str] = {}
    for heard in losing.heard:
        for one, body in zip(ids(heard), bodies(heard), strict=True):
            taken.setdefault(one, body)
    assert list(taken.values()) == [str(number) for number in range(400)]


def test_only_messages_with_an_id_are_sent_again_unless_all_are_to(make: Make) -> None:
    losing = Losing(3)
    client = make()
    with losing.server as server:
        client.connect(server.url, reconnect=PLAIN)
        plain = client.call("post", Q, "plain")
        own = client.call("post", Q, "own", dedup="order-17")
        made = client.call("post", Q, "made", dedup=True)
        client.flush()
        assert plain.outcome is stompy.Outcome.UNKNOWN
        assert own.outcome is made.outcome is stompy.Outcome.ACCEPTED
        client.disconnect()
    assert bodies(losing.heard[1]) == ["own", "made"]
    assert losing.heard[1][0]["dedup-id"] == "order-17"


def test_who_declines_an_id_is_not_sent_again(make: Make) -> None:
    losing = Losing(2)
    client = make()
    with losing.server as server:
        client.connect(server.url, reconnect=SWIFT)
        declined = client.call("post", Q, "declined", dedup=False)
        client.message(Q, "kept", confirm=True)
        assert declined.outcome is stompy.Outcome.UNKNOWN
        client.disconnect()
    assert "dedup-id" not in losing.heard[0][0].headers
    assert bodies(losing.heard[1]) == ["kept"]


@pytest.mark.parametrize("name", ["RabbitMQ/4.0", "ActiveMQ/6.1", "Unknown/1"])
def test_a_broker_that_knows_no_duplicates_is_refused(make: Make, name: str) -> None:
    def greet(peer: Peer) -> None:
        peer.welcome(server=name)
        peer.until_closed()

    client = make()
    with ScriptedServer(greet) as server:
        with pytest.raises(stompy.UnsupportedByBroker, match="with resend=True it would have"):
            client.connect(server.url, reconnect=SWIFT)

    client = make()
    with ScriptedServer(greet) as server:
        client.connect(server.url, reconnect=PLAIN)
        with pytest.raises(stompy.UnsupportedByBroker, match="knows no dedup of a message"):
            client.message(Q, "x", dedup=True)
        client.call("close")


def test_what_the_broker_refuses_is_not_sent_again_and_the_rest_is(make: Make) -> None:
    heard: list[Heard] = []

    def refuse(peer: Peer) -> None:
        peer.welcome(server=OURS)
        frames = [peer.expect("SEND") for _ in range(3)]
        peer.write(f"ERROR\nmessage:no\nreceipt-id:{frames[1]['receipt']}\n\n^@")
        peer.until_closed()

    def serve(peer: Peer) -> None:
        peer.welcome(server=OURS)
        heard.extend(peer.serve())

    client = make()
    with ScriptedServer(refuse, serve) as server:
        client.connect(server.url, reconnect=SWIFT)
        posted = [client.call("post", Q, str(number)) for number in range(3)]
        client.flush()
        assert [str(one.outcome) for one in posted] == ["accepted", "rejected", "accepted"]
        with pytest.raises(stompy.STOMPError, match="no"):
            client.run(posted[1].result)
        client.disconnect()
    assert bodies(heard) == ["0", "2"]


def test_a_broker_that_leaves_refuses_nothing(make: Make) -> None:
    def leave(peer: Peer) -> None:
        peer.welcome(server=OURS)
        frame = peer.expect("SEND")
        peer.write(
            f"ERROR\nmessage:bye\nerror-code:shutting-down\nreceipt-id:{frame['receipt']}\n\n^@"
        )
        peer.until_closed()

    def serve(peer: Peer) -> None:
        peer.welcome(server=OURS)
        for _ in peer.serve():
            pass

    client = make()
    with ScriptedServer(leave, serve) as server:
        client.connect(server.url, reconnect=SWIFT)
        client.message(Q, "a", confirm=True)
        client.disconnect()


def test_an_error_that_names_no_frame_is_traced_to_its_frame(make: Make) -> None:
    """The first loss may have any reason. After it one frame is sent at a time."""
    rounds: list[list[str]] = []

    def grumble(peer: Peer) -> None:
        peer.welcome(server=OURS)
        rounds.append([])
        while True:
            frame = peer.read()
            if frame.command == "SEND":
                rounds[-1].append(frame.body.decode())
            if frame.body == b"bad":
                break
            if "receipt" in frame.headers:
                peer.receipt(frame)
            if frame.command == "DISCONNECT":
                return
        peer.write("ERROR\nmessage:what is this?\nerror-code:malformed-frame\n\n^@")
        peer.until_closed()

    client = make()
    with ScriptedServer(grumble, grumble, grumble) as server:
        client.connect(server.url, reconnect=SWIFT)
        posted = [client.call("post", Q, body) for body in ("a", "bad", "b")]
        client.flush()
        assert [str(one.outcome) for one in posted] == ["accepted", "rejected", "accepted"]
        client.disconnect()
    assert rounds[1:] == [["bad"], ["b"]]


def test_a_transaction_that_only_sends_is_repeated_as_a_whole(make: Make) -> None:
    losing = Losing(4, 2)  # once after COMMIT, once in the middle of the repetition
    client = make()
    with losing.server as server:
        client.connect(server.url, reconnect=SWIFT)
        transaction = client.transaction()
        transaction.message(Q, "a")
        transaction.message(Q, "b")
        transaction.commit()
        client.disconnect()
    assert commands(losing.heard[2]) == ["BEGIN", "SEND", "SEND", "COMMIT"]
    assert ids(losing.heard[0]) == ids(losing.heard[2])
    assert {frame["transaction"] for frame in losing.heard[2][:-1]} == {transaction.id}


def test_an_open_transaction_that_only_sends_goes_on(make: Make) -> None:
    losing = Losing(2)
    client = make()
    with losing.server as server:
        client.connect(server.url, reconnect=SWIFT)
        transaction = client.transaction()
        transaction.message(Q, "a")
        eventually(lambda: client.health().epoch == 2, "another connection")
        transaction.message(Q, "b")
        transaction.commit()
        client.disconnect()
    assert commands(losing.heard[1]) == ["BEGIN", "SEND", "SEND", "COMMIT"]


def test_a_transaction_that_is_aborted_is_not_repeated(make: Make) -> None:
    losing = Losing(2)
    client = make()
    with losing.server as server:
        client.connect(server.url, reconnect=SWIFT)
        transaction = client.transaction()
        transaction.message(Q, "a")
        eventually(lambda: client.health().epoch == 2, "another connection")
        transaction.abort()
        client.message(Q, "after", confirm=True)
        client.disconnect()
    assert commands(losing.heard[1]) == ["BEGIN", "SEND", "ABORT", "SEND"]


def test_a_transaction_with_an_acknowledgement_is_lost_with_its_connection(make: Make) -> None:
    def lose(peer: Peer) -> None:
        peer.welcome(server=OURS)
        subscribed = peer.expect("SUBSCRIBE")
        peer.receipt(subscribed)
        peer.message(1, subscribed["id"], ack="a1")
        for command in ("BEGIN", "SEND", "ACK"):
            peer.expect(command)
        peer.reset()

    def serve(peer: Peer) -> None:
        peer.welcome(server=OURS)
        for _ in peer.serve():
            pass

    client = make()
    with ScriptedServer(lose, serve) as server:
        client.connect(server.url, reconnect=SWIFT)
        message = client.subscription(Q).get()
        transaction = client.transaction()
        transaction.message(Q, "a")
        client.ack(message, transaction.id)
        eventually(lambda: client.health().epoch == 2, "another connection")
        client.wait_connected()
        with pytest.raises(stompy.TransactionLost):
            transaction.commit()
        client.disconnect()


def test_who_sends_too_much_unconfirmed_waits(make: Make) -> None:
    more = threading.Event()

    def slow(peer: Peer) -> None:
        peer.welcome(server=OURS)
        frames = [peer.expect("SEND") for _ in range(2)]
        assert more.wait(10)
        for frame in frames:
            peer.receipt(frame)
        for _ in peer.serve():
            pass

    client = make()
    few = stompy.Reconnect(delay=0.01, max_delay=0.05, resend=True, resend_limit=2)
    with ScriptedServer(slow) as server:
        client.connect(server.url, reconnect=few, send_timeout=0.2)
        client.message(Q, "a")
        client.message(Q, "b")
        with pytest.raises(stompy.STOMPTimeout, match="has not confirmed 2 messages"):
            client.message(Q, "c")
        more.set()
        client.flush()
        client.message(Q, "d", confirm=True)
        client.disconnect()


def test_disconnecting_waits_for_what_is_not_confirmed(make: Make) -> None:
    losing = Losing(2)
    client = make()
    with losing.server as server:
        client.connect(server.url, reconnect=SWIFT)
        client.message(Q, "a")
        client.message(Q, "b")
        client.disconnect()
    assert bodies(losing.heard[1]) == ["a", "b"]


def test_disconnecting_says_what_is_not_confirmed(make: Make) -> None:
    def deaf(peer: Peer) -> None:
        peer.welcome(server=OURS)
        peer.until_closed()

    client = make()
    with ScriptedServer(deaf) as server:
        client.connect(server.url, reconnect=SWIFT)
        posted: Any = client.call("post", Q, "a")
        client.message("/queue/other", "b")
        client.message("/queue/other", "c")
        says = "3 messages are not confirmed.*: 2 to /queue/other, 1 to /queue/q"
        with pytest.raises(stompy.OutcomeUnknown, match=says):
            client.call("disconnect", timeout=0.1)
        assert posted.outcome is stompy.Outcome.UNKNOWN


def test_giving_up_says_it_too(make: Make) -> None:
    def lose(peer: Peer) -> None:
        peer.welcome(server=OURS)
        peer.read()
        peer.reset()

    client = make()
    once = stompy.Reconnect(delay=0.01, max_delay=0.01, resend=True, attempts=1)
    server = ScriptedServer(lose)
    with server:
        client.connect(server.url, reconnect=once)
        posted: Any = client.call("post", Q, "a")
    client.flush()
    assert posted.outcome is stompy.Outcome.UNKNOWN
    with pytest.raises(stompy.STOMPConnectionError):
        client.message(Q, "b")


def test_several_messages_do_not_share_an_id(make: Make) -> None:
    losing = Losing()
    client = make()
    with losing.server as server:
        client.connect(server.url)
        with pytest.raises(ValueError, match="the id of one message"):
            client.call("send_many", Q, ["a", "b"], dedup="one")
        assert client.call("send_many", Q, ["a", "b"], dedup=True) == 2
        client.disconnect()
    assert len(set(ids(losing.heard[0]))) == 2


def test_replies_are_sent_again_too(make: Make) -> None:
    def lose(peer: Peer) -> None:
        peer.welcome(server=OURS)
        subscribed = peer.expect("SUBSCRIBE")
        peer.receipt(subscribed)
        peer.message(1, subscribed["id"], ack="a1", reply_to="/queue/answers")
        peer.expect("SEND")
        peer.reset()

    heard: list[Heard] = []

    def serve(peer: Peer) -> None:
        peer.welcome(server=OURS)
        heard.extend(peer.serve())

    client = make()
    with ScriptedServer(lose, serve) as server:
        client.connect(server.url, reconnect=SWIFT)
        client.reply(client.subscription(Q).get(), "answer")
        client.flush()
        client.disconnect()
    assert bodies(heard) == ["answer"]
