import pytest
from tests.support.scripted_server import Peer, ScriptedServer, eventually

import stompy
from stompy.errors import STOMPConnectionError, STOMPError, STOMPTimeout
from stompy.protocol.frame import AckMode, STOMPFrame
from stompy.protocol.headers import Version
from stompy.session.subscriptions import AckDuty, Subscriptions
from stompy.sync.client import STOMPClient
from stompy.sync.subscribing import SubscriptionId


def connect(server: ScriptedServer) -> STOMPClient:
    return stompy.connect(server.address)


def delivery(subscription: str = "s1", **headers: str) -> STOMPFrame:
    return STOMPFrame("MESSAGE", b"", {"subscription": subscription, "message-id": "m1"}, **headers)


def test_nothing_is_owed_while_all_subscriptions_are_auto():
    subscriptions = Subscriptions(Version.V1_2)
    assert subscriptions.needs_no_acks
    subscriptions.add("s1", AckMode.AUTO, True)
    assert subscriptions.needs_no_acks
    assert subscriptions.receive(delivery(ack="a1")) is AckDuty.NONE
    subscriptions.add("s2", AckMode.CLIENT, True)
    assert not subscriptions.needs_no_acks


@pytest.mark.parametrize(("send_acks", "duty"), [(True, AckDuty.ACK), (False, AckDuty.NONE)])
@pytest.mark.parametrize("mode", [AckMode.CLIENT, AckMode.CLIENT_INDIVIDUAL])
def test_who_acknowledges(mode, send_acks, duty):
    subscriptions = Subscriptions(Version.V1_2)
    subscriptions.add("s1", mode, send_acks)
    frame = delivery(ack="a1")
    assert subscriptions.receive(frame) is duty
    assert subscriptions.owes(frame) is send_acks
    assert frame["ack"] == "a1"


def test_messages_of_unknown_subscriptions_are_nobodys_business():
    subscriptions = Subscriptions(Version.V1_2)
    subscriptions.add("s1", AckMode.CLIENT, True)
    for frame in (delivery("/temp-queue/x", ack="a1"), STOMPFrame("MESSAGE"), STOMPFrame("X")):
        assert subscriptions.receive(frame) is AckDuty.NONE
        assert not subscriptions.owes(frame)


def test_a_broker_that_wants_no_answer_gets_none():
    subscriptions = Subscriptions(Version.V1_2)
    subscriptions.add("s1", AckMode.CLIENT, True)
    assert subscriptions.receive(delivery()) is AckDuty.NONE


def test_what_is_under_way_when_a_subscription_ends_is_stale():
    subscriptions = Subscriptions(Version.V1_2)
    subscriptions.add("s1", AckMode.CLIENT, True)
    subscriptions.remove("s1")
    assert subscriptions.receive(delivery(ack="a1")) is AckDuty.STALE
    assert not subscriptions.owes(delivery(ack="a1"))
    subscriptions.add("s1", AckMode.CLIENT, True)
    assert subscriptions.receive(delivery(ack="a1")) is AckDuty.ACK


def test_an_auto_subscription_that_ended_still_gives_what_the_broker_has_let_go():
    subscriptions = Subscriptions(Version.V1_2)
    subscriptions.add("s1", AckMode.CLIENT, True)
    subscriptions.add("s1", AckMode.AUTO, True)
    subscriptions.remove("s1")
    assert subscriptions.receive(delivery()) is AckDuty.NONE


def test_ended_subscriptions_are_remembered_in_bounded_number():
    subscriptions = Subscriptions(Version.V1_2)
    for number in range(5000):
        subscriptions.add(f"s{number}", AckMode.CLIENT, True)
        subscriptions.remove(f"s{number}")
    assert len(subscriptions._duties) <= 1000
    assert subscriptions.receive(delivery("s4999", ack="a")) is AckDuty.STALE
    assert subscriptions.receive(delivery("s0", ack="a")) is AckDuty.NONE


def test_settlement_in_1_2_names_the_delivery():
    subscriptions = Subscriptions(Version.V1_2)
    assert subscriptions.settlement("ACK", "a\n1") == {"id": "a\n1"}
    assert subscriptions.settlement("NACK", delivery(ack="a2")) == {"id": "a2"}


@pytest.mark.parametrize("version", [Version.V1_0, Version.V1_1])
def test_settlement_in_older_versions_names_subscription_and_message(version):
    subscriptions = Subscriptions(version)
    subscriptions.add("s1", AckMode.CLIENT, False)
    frame = delivery(ack="whatever a broker may mean by it")
    subscriptions.receive(frame)
    expected = {"subscription": "s1", "message-id": "m1"}
    assert subscriptions.settlement("ACK", frame) == expected
    assert subscriptions.settlement("ACK", frame["ack"]) == expected


def test_a_bare_message_id_is_enough_for_1_0_only():
    assert Subscriptions(Version.V1_0).settlement("ACK", "m1") == {"message-id": "m1"}
    with pytest.raises(ValueError, match="give the frame"):
        Subscriptions(Version.V1_1).settlement("ACK", "m1")


def test_what_cannot_be_settled():
    with pytest.raises(STOMPError, match=r"1\.0 has no NACK"):
        Subscriptions(Version.V1_0).settlement("NACK", "m1")
    with pytest.raises(ValueError, match="no ack header"):
        Subscriptions(Version.V1_2).settlement("ACK", delivery())
    with pytest.raises(ValueError, match="no ack header"):
        Subscriptions(Version.V1_2).settlement("ACK", "")


def test_a_subscription_is_its_id_and_ends_with_its_block():
    ended = []
    with SubscriptionId("s1", "/queue/q", ended.append) as subscription:
        assert subscription == "s1"
        assert subscription.destination == "/queue/q"
        assert {subscription: 1}["s1"] == 1
        assert ended == []
    assert ended == ["s1"]


def test_a_subscription_that_was_lost_with_its_connection_ends_quietly():
    def lost(_: str) -> None:
        raise STOMPConnectionError("lost")

    with SubscriptionId("s1", "/queue/q", lost):
        pass


# -- on the wire -----------------------------------------------------------------------------------


def acks(*, version: str = "1.2", messages: int = 1, **headers: str):
    """A script that delivers on the first subscription, and the list of what was answered."""
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome(version)
        subscription = peer.expect("SUBSCRIBE")
        for number in range(1, messages + 1):
            more = {"ack": f"a{number}", **headers} if version == "1.2" else headers
            peer.message(number, subscription["id"], **more)
        for frame in peer.serve():
            heard.append((frame.command, frame.headers))  # noqa: PERF401 -- seen as it grows

    return script, heard


def test_recv_and_iteration_acknowledge_what_they_hand_out():
    script, heard = acks(messages=3)
    with ScriptedServer(script) as server, connect(server) as client:
        client.subscribe("/queue/q", "client")
        assert client.recv(10)["message-id"] == "m1"
        assert next(iter(client))["message-id"] == "m2"
        assert client.recv(10, transaction="t")["message-id"] == "m3"
    assert heard[:-1] == [
        ("ACK", {"id": "a1"}),
        ("ACK", {"id": "a2"}),
        ("ACK", {"id": "a3", "transaction": "t"}),
    ]


@pytest.mark.parametrize(("mode", "send_acks"), [("auto", True), ("client", False)])
def test_nothing_is_acknowledged_that_should_not_be(mode, send_acks):
    script, heard = acks(messages=2)
    with ScriptedServer(script) as server, connect(server) as client:
        client.subscribe("/queue/q", mode, send_acks)
        client.recv(10)
        client.loop(lambda *_: True)
    assert [command for command, _ in heard] == ["DISCONNECT"]


def test_loop_acknowledges_after_the_callback_and_refuses_after_an_exception():
    script, heard = acks(messages=2)
    during = []

    def callback(_, frame):
        during.append(len(heard))
        if frame["message-id"] == "m2":
            raise KeyError("mine")

    with ScriptedServer(script) as server, connect(server) as client:
        client.subscribe("/queue/q", "client-individual")
        with pytest.raises(KeyError, match="mine"):
            client.loop(callback)
    assert heard[:-1] == [("ACK", {"id": "a1"}), ("NACK", {"id": "a2"})]


def test_loop_with_a_transaction_acknowledges_first_and_within_it():
    script, heard = acks(messages=2)

    def callback(_, frame):
        # The ACK is on its way before the callback runs, so that abort undoes it.
        eventually(lambda: len(heard) == int(frame["message-id"][1:]))
        if frame["message-id"] == "m2":
            raise KeyError("mine")

    with ScriptedServer(script) as server, connect(server) as client:
        client.subscribe("/queue/q", "client-individual")
        with pytest.raises(KeyError):
            client.loop(callback, transaction="t7")
    assert heard[:-1] == [
        ("ACK", {"id": "a1", "transaction": "t7"}),
        ("ACK", {"id": "a2", "transaction": "t7"}),
    ]


def test_the_manual_way_of_acknowledging():
    script, heard = acks(messages=2)
    with ScriptedServer(script) as server, connect(server) as client:
        client.subscribe("/queue/q", "client", send_acks=False)
        for frame in client:
            if frame.Command == "MESSAGE" and "ack" in frame:
                if frame["message-id"] == "m1":
                    client.ack(frame["ack"])
                else:
                    client.nack(frame["ack"], transaction="t")
                    break
    assert heard[:-1] == [("ACK", {"id": "a1"}), ("NACK", {"id": "a2", "transaction": "t"})]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_acknowledging_works_alike_in_older_versions(version):
    script, heard = acks(version=version, messages=4)
    with ScriptedServer(script) as server, connect(server) as client:
        sub = client.subscribe("/queue/q", "client", send_acks=False)
        first, second, third = (client.recv(10) for _ in range(3))
        client.ack(first["ack"])
        client.ack(second)
        if version == "1.1":
            client.nack(third)
        else:
            with pytest.raises(STOMPError, match=r"1\.0 has no NACK"):
                client.nack(third)
    expected = [("ACK", "m1"), ("ACK", "m2"), ("NACK", "m3")][: 3 if version == "1.1" else 2]
    assert [(command, headers["message-id"]) for command, headers in heard[:-1]] == expected
    assert all(headers["subscription"] == sub for _, headers in heard[:-1])


def test_an_exception_in_the_callback_is_not_hidden_where_there_is_no_nack():
    script, heard = acks(version="1.0")
    with ScriptedServer(script) as server, connect(server) as client:
        client.subscribe("/queue/q", "client")
        with pytest.raises(ZeroDivisionError):
            client.loop(lambda *_: 1 / 0)
    assert [command for command, _ in heard] == ["DISCONNECT"]


def test_no_ack_goes_out_for_a_subscription_that_the_callback_ended():
    script, heard = acks(messages=3)

    def callback(client: STOMPClient, frame: STOMPFrame) -> bool:
        client.unsubscribe(frame["subscription"])
        return True

    with ScriptedServer(script) as server, connect(server) as client:
        client.subscribe("/queue/q", "client-individual")
        client.loop(callback)
        # What was under way belongs to the broker again.
        with pytest.raises(STOMPTimeout):
            client.recv(timeout=0.05)
    assert [command for command, _ in heard] == ["UNSUBSCRIBE", "DISCONNECT"]


def test_messages_that_cannot_be_acknowledged_any_more_are_not_handed_out():
    def script(peer: Peer) -> None:
        peer.welcome()
        subscription = peer.expect("SUBSCRIBE")
        peer.message(1, subscription["id"], ack="a1")
        peer.message(2, "other")

    with ScriptedServer(script) as server:
        client = connect(server)
        client.subscribe("/queue/q", "client")
        eventually(lambda: not client.is_connected)
        assert [frame["message-id"] for frame in client] == ["m2"]


def test_a_callback_that_disconnects_is_not_an_error():
    script, heard = acks(messages=3)

    def callback(client: STOMPClient, frame: STOMPFrame) -> None:
        client.disconnect()

    with ScriptedServer(script) as server:
        client = connect(server)
        client.subscribe("/queue/q", "client")
        assert client.loop(callback) is None
    assert [command for command, _ in heard] == ["DISCONNECT"]
