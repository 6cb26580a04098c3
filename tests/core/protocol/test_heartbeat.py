"""STOMP 1.1 and 1.2, *Heart-beating*; the time is a number here."""

import pytest

from stompy.errors import ProtocolError
from stompy.protocol.heartbeat import HeartBeat, negotiate, parse_heart_beat


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0,0", (0, 0)),
        ("10000,5000", (10000, 5000)),
        (" 1 , 2 ", (1, 2)),
        ("007,0", (7, 0)),
        ("999999999,0", (999_999_999, 0)),
    ],
)
def test_a_header_is_two_numbers(text, numbers):
    assert parse_heart_beat(text) == numbers


def test_absurd_numbers_do_not_cost_anything():
    first, second = parse_heart_beat(f"{'9' * 10_000},0")
    assert first >= 999_999_999
    assert second == 0


@pytest.mark.parametrize(
    "text", ["", ",", "1", "1,", ",1", "1,2,3", "-1,0", "1.5,0", "a,b", "1;2", "²,0", "0x1,0"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(ProtocolError, match="two numbers of milliseconds") as caught:
        parse_heart_beat(text)
    assert caught.value.code == "bad-header"


@pytest.mark.parametrize(
    ("mine", "theirs", "agreed"),
    [
        # (we can, we want), (they can, they want): (we send, we receive)
        ((0, 0), (0, 0), (0, 0)),
        ((10, 10), (0, 0), (0, 0)),
        ((0, 0), (10, 10), (0, 0)),
        ((10, 0), (0, 20), (0.02, 0)),
        ((20, 0), (0, 10), (0.02, 0)),
        ((10, 0), (20, 0), (0, 0)),
        ((0, 10), (20, 0), (0, 0.02)),
        ((0, 20), (10, 0), (0, 0.02)),
        ((0, 10), (0, 20), (0, 0)),
        ((10, 30), (20, 40), (0.04, 0.03)),
        ((10000, 10000), (10000, 10000), (10, 10)),
    ],
)
def test_each_direction_is_agreed_on_its_own(mine, theirs, agreed):
    assert negotiate(mine, theirs) == agreed
    # The other side comes to the same, seen from there.
    assert negotiate(theirs, mine) == agreed[::-1]


def test_a_beat_is_due_before_the_interval_is_over():
    beat = HeartBeat(send=10, receive=0, now=100)
    assert not beat.beat_is_due(107)
    assert beat.beat_is_due(108)
    assert beat.beat_is_due(110)


def test_only_what_we_send_puts_off_our_beat():
    beat = HeartBeat(send=10, receive=10, now=0)
    beat.received(7)
    assert beat.beat_is_due(8)
    beat.sent(8)
    assert not beat.beat_is_due(15)
    assert beat.beat_is_due(16)


def test_only_what_we_receive_keeps_the_peer_alive():
    beat = HeartBeat(send=10, receive=10, now=0)
    beat.sent(19)
    assert not beat.peer_is_dead(20)
    assert beat.peer_is_dead(20.1)
    beat.received(15)
    assert not beat.peer_is_dead(35)
    assert beat.silence(35) == 20


@pytest.mark.parametrize(
    ("receive", "grace", "dead_after"),
    [(10, 2, 20), (10, 3, 30), (0.1, 2, 1.1), (10, 1, 11)],
)
def test_grace_is_a_factor_and_a_second_at_least(receive, grace, dead_after):
    beat = HeartBeat(send=0, receive=receive, now=0, grace=grace)
    assert not beat.peer_is_dead(dead_after)
    assert beat.peer_is_dead(dead_after + 0.01)


def test_a_direction_that_is_off_is_off():
    beat = HeartBeat(send=0, receive=0, now=0)
    assert not beat.beat_is_due(1e9)
    assert not beat.peer_is_dead(1e9)
    assert beat.next_deadline() is None


def test_while_we_do_not_read_silence_means_nothing():
    beat = HeartBeat(send=10, receive=10, now=0)
    beat.suspended = True
    assert not beat.peer_is_dead(1000)
    assert beat.next_deadline() == pytest.approx(7.5)
    beat.resume(1000)
    assert not beat.peer_is_dead(1020)
    assert beat.peer_is_dead(1020.1)


@pytest.mark.parametrize(("send", "receive"), [(10, 0), (0, 10), (10, 10), (0.01, 7)])
def test_at_its_deadline_there_is_something_to_do(send, receive):
    beat = HeartBeat(send=send, receive=receive, now=5)
    deadline = beat.next_deadline()
    assert not beat.beat_is_due(deadline - 0.002)
    assert not beat.peer_is_dead(deadline - 0.002)
    assert beat.beat_is_due(deadline) or beat.peer_is_dead(deadline)


def test_a_beat_that_is_late_by_an_interval_is_no_accident():
    beat = HeartBeat(send=10, receive=0, now=0)
    assert beat.lateness(7.5 + 10) == 0
    assert beat.lateness(7.5 + 11) == pytest.approx(11)
    beat.sent(18)
    assert beat.lateness(18) == 0
    quick = HeartBeat(send=0.1, receive=0, now=0)
    assert quick.lateness(1.0) == 0  # a busy machine
    assert quick.lateness(2.0) > 1
    assert HeartBeat(send=0, receive=1, now=0).lateness(100) == 0
