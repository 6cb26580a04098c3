"""`docs/conformance.md`, *Heart-beats*: who beats how often, and what silence means."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Peer, fast_config, running_broker

from stompy.protocol import ServerProtocol
from stompy.protocol.headers import Version
from stompy.protocol.heartbeat import HeartBeat, negotiate, parse_heart_beat
from stompy_broker import RunningBroker


@pytest.fixture(scope="module")
def beating() -> Iterator[RunningBroker]:
    """A broker that can and wants to beat every 100 ms; silence for 1.1 s is death."""
    with running_broker(times={"heart_beat": (100, 100), "shutdown": 0.0}) as broker:
        yield broker


@pytest.mark.parametrize("value", ["0,0", "100,200", " 100 , 200 ", "0,999999999"])
def test_two_numbers(connect: Connect, value: str):
    """H1, 1.2 *Heart-beating*: two numbers that are not negative; blanks are tolerated."""
    assert connect("1.2", f"heart-beat:{value}").connected["version"] == "1.2"


def test_a_missing_header_is_0_0(beating: RunningBroker):
    """H1, 1.2 *Heart-beating*: then nobody beats, and nobody is dead."""
    with Peer.open(beating.port) as silent, Peer.open(beating.port, "1.2", "heart-beat:0,100") as p:
        assert p.octets(15) == b"\n" * 15  # more than a second, as the broker counts it
        silent.sync()
        assert silent.beats == 0


@pytest.mark.parametrize(
    "value", ["", "100", "a,b", "-1,0", "1.5,0", "1,2,3", ",", "100 200", "¹,0"]
)
@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_anything_else_is_refused(connect: Connect, version: str, value: str):
    """H1, 1.2 *Heart-beating*: a malformed header is an error."""
    peer = connect(None)
    peer.send(f"CONNECT\naccept-version:{version}\nhost:x\nheart-beat:{value}\n\n\0")
    peer.expect_error("bad-header")


@pytest.mark.parametrize(
    ("mine", "theirs", "send", "receive"),
    [
        ((0, 0), (0, 0), 0, 0),
        ((100, 100), (0, 0), 0, 0),
        ((0, 0), (100, 100), 0, 0),
        ((100, 0), (0, 200), 0.2, 0),
        ((300, 0), (0, 200), 0.3, 0),
        ((0, 100), (200, 0), 0, 0.2),
        ((0, 300), (200, 0), 0, 0.3),
        ((100, 400), (300, 200), 0.2, 0.4),
        ((100, 0), (300, 200), 0.2, 0),
        ((0, 400), (300, 200), 0, 0.4),
    ],
)
def test_the_larger_number_counts(
    mine: tuple[int, int], theirs: tuple[int, int], send: float, receive: float
):
    """H2, 1.2 *Heart-beating*: max of what one can and the other wants, unless one is 0."""
    assert negotiate(mine, theirs) == (send, receive)


def test_the_broker_says_what_it_wants(beating: RunningBroker):
    """H2, 1.2 *Heart-beating*: its own numbers, not an echo of the client's."""
    with Peer.open(beating.port, "1.2", "heart-beat:5000,7000") as peer:
        assert peer.connected["heart-beat"] == "100,100"


def test_who_asks_for_a_tenth_of_a_second_gets_it_by_default(connect: Connect):
    """H2, 1.2 *Heart-beating*: on by default, both ways (promise 15)."""
    assert connect("1.1").connected["heart-beat"] == "100,100"


def test_the_broker_beats_in_time():
    """H3, 1.2 *Heart-beating*: something is sent at least every interval; any octet counts."""
    beat = HeartBeat(send=10.0, receive=0.0, now=100.0)
    due = beat.next_deadline()
    assert due is not None
    assert 105.0 <= due < 110.0
    assert not beat.beat_is_due(due - 0.1)
    assert beat.beat_is_due(due)
    beat.sent(104.0)  # a frame
    assert not beat.beat_is_due(due)
    beat.received(109.0)  # is none of ours
    assert beat.beat_is_due(114.0)


def test_the_broker_beats_again_and_again(beating: RunningBroker):
    """H3, 1.2 *Heart-beating*: an idle connection stays alive for its client."""
    with Peer.open(beating.port, "1.1", "heart-beat:0,100") as peer:
        assert peer.octets(3) == b"\n" * 3
        peer.sync()
        assert peer.octets(3) == b"\n" * 3


def test_a_beat_is_one_eol(beating: RunningBroker):
    """H4, 1.2 *Heart-beating*: with nothing to say the broker sends LF, and nothing else."""
    with Peer.open(beating.port, "1.2", "heart-beat:0,100") as peer:
        assert peer.octets(5) == b"\n" * 5
        peer.sync()


def test_a_client_that_beats_lives(beating: RunningBroker):
    """H4, 1.2 *Heart-beating*: an EOL is enough; 1.5 s of them is longer than silence may last."""
    with Peer.open(beating.port, "1.2", "heart-beat:100,100") as peer:
        for beat in ("\n", "\r\n") * 10:  # the broker beats every 75 ms
            assert peer.octets(1) == b"\n"
            peer.send(beat)
        peer.sync()


def test_a_silent_client_is_told_and_closed(beating: RunningBroker):
    """H5, 1.2 *Heart-beating*: after interval and grace, also in 1.1."""
    with (
        Peer.open(beating.port, "1.1", "heart-beat:100,0") as old,
        Peer.open(beating.port, "1.2", "heart-beat:100,0") as peer,
    ):
        old.expect_error("heart-beat-timeout")
        error = peer.expect_error("heart-beat-timeout")
        assert error["message"] == "Heart beat timeout"


def test_octets_count_not_frames():
    """H5, 1.2 *Heart-beating*: a large frame that comes slowly is a sign of life all the time."""
    server = ServerProtocol(heart_beat=(0, 1000))
    server.receive_data(b"CONNECT\naccept-version:1.2\nheart-beat:1000,0\n\n\0", 0.0)
    server.accept({}, 0.0)
    server.receive_data(b"SEND\ndestination:/queue/a\ncontent-length:100\n\n", 1.0)
    for second in range(2, 102):
        assert server.receive_data(b"x", float(second)) == []
        assert server.tick(second + 1.9) == b""
        assert server.failure is None
    assert len(server.receive_data(b"\0", 102.0)) == 1
    server.tick(104.1)
    assert server.failure is not None
    assert server.failure.code == "heart-beat-timeout"


def test_silence_does_not_count_while_we_do_not_read():
    """H5, 1.2 *Heart-beating*: who is not read cannot be heard; then it gets a full interval."""
    beat = HeartBeat(send=0.0, receive=1.0, now=0.0)
    beat.suspended = True
    assert not beat.peer_is_dead(1000.0)
    assert beat.next_deadline() is None
    beat.resume(1000.0)
    assert not beat.peer_is_dead(1002.0)
    assert beat.peer_is_dead(1002.1)


def test_a_held_producer_is_not_dead():
    """H5, 1.2 *Heart-beating*: nor is it cut off while it waits for room."""
    config = {"times": {"heart_beat": (100, 100)}, "limits": {"memory": 10_000}}
    with running_broker(**config) as broker:
        with Peer.open(broker.port, "1.2", "heart-beat:100,100") as peer:
            peer.send("SEND\ndestination:/queue/full\n\n" + "x" * 20_000 + "\0")
            assert peer.octets(20) == b"\n" * 20  # 1.5 s without a word from us
            with Peer.open(broker.port) as consumer:
                consumer.send("SUBSCRIBE\nid:0\ndestination:/queue/full\n\n\0")
                assert len(consumer.expect("MESSAGE").body) == 20_000
            peer.sync()


def test_1_0_has_no_heart_beats(beating: RunningBroker):
    """H6, 1.0: the header means nothing there, and the broker offers none."""
    with (
        Peer.open(beating.port, "1.0", "heart-beat:100,100") as old,
        Peer.open(beating.port, "1.0", "heart-beat:nonsense") as odd,
        Peer.open(beating.port, "1.2", "heart-beat:0,100") as timer,
    ):
        assert timer.octets(20) == b"\n" * 20  # 1.5 s: longer than silence may last
        for peer in (old, odd):
            assert peer.connected["heart-beat"] == "0,0"
            peer.sync()
            assert peer.beats == 0


def test_the_offer_can_be_set():
    """H1, 1.2 *Heart-beating*: ``times.heart_beat`` in the configuration."""
    assert fast_config(times={"heart_beat": [0, 5000]}).times.heart_beat == (0, 5000)
    assert parse_heart_beat("0,5000") == (0, 5000)
    assert Version.V1_1 < Version.V1_2


def test_a_broker_that_stood_still_throws_nobody_out(beating: RunningBroker):
    """H5, 1.2 *Heart-beating*: beats that wait in the socket are read before anybody is dead."""
    peers = [Peer.open(beating.port, "1.2", "heart-beat:100,0") for _ in range(5)]

    def stand_still(_: object) -> None:
        for peer in peers:
            peer.send("\n")
        time.sleep(1.5)  # longer than the grace: what SIGSTOP or a frozen container does

    beating._ask(stand_still)
    for peer in peers:
        peer.send("SEND\ndestination:/topic/t\nreceipt:here\n\n\0")
        assert peer.expect("RECEIPT")["receipt-id"] == "here"
        peer.close()


def test_who_looks_too_late_cannot_tell_who_slept():
    """H5, 1.2 *Heart-beating*: a pause of ours is no silence of theirs."""
    beat = HeartBeat(send=0.0, receive=10.0, now=0.0)
    assert not beat.overslept(20.5)
    assert beat.peer_is_dead(20.5)
    assert beat.overslept(31.0)
    beat.received(31.0)
    assert not beat.peer_is_dead(50.0)
    assert beat.peer_is_dead(51.5)
