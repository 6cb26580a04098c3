"""The headers of a scheduled message when it fires."""

from __future__ import annotations

from stompy.protocol.headers import Version
from stompy_broker.message import Message, MessageHead, stamp
from stompy_broker.routing.fired_heads import FiredHeads, fires_once, without_schedule
from stompy_broker.schedules.schedule_spec import ScheduleSpec

SENT = 1_700_000_000_000


def waiting(**headers: str) -> Message:
    """A message as it waits."""
    return Message(
        1024, MessageHead.from_headers({"destination": "/queue/q", **headers}), b"x", b""
    )


def test_what_said_when_is_taken_off_and_what_it_was_is_told() -> None:
    message = waiting(color="red", **{"x-delay": "5", "scheduled-at": "1"})
    message.stamp = stamp(SENT)
    head = FiredHeads().of(message, "1024", SENT + 5, 0)
    assert head.headers() == {
        "destination": "/queue/q",
        "color": "red",
        "scheduled-at": str(SENT + 5),
        "scheduledJobId": "1024",
        "timestamp": str(SENT),
    }
    assert (head.traits.message_id, head.traits.stamped) == (b"1024", True)


def test_the_time_that_its_sender_told_stays() -> None:
    message = waiting(**{"x-delay": "5", "timestamp": "7", "priority": "9", "persistent": "false"})
    head = FiredHeads().of(message, "1024", SENT, 0)
    assert head.headers()["timestamp"] == "7"
    assert (head.priority, head.persistent, head.stamped) == (9, False, True)


def test_its_group_stays() -> None:
    message = waiting(JMSXGroupID="g", JMSXGroupSeq="-1", **{"x-delay": "5"})
    heads = FiredHeads()
    head = heads.of(message, "1024", SENT, 1)
    assert (head.traits.group, head.traits.closes_group) == ("g", True)
    other = waiting(**{"x-delay": "5"})
    third = waiting(**{"x-delay": "5"})
    for one in (other, message, third):
        heads.share(one)
    assert message.head.traits.group == "g"
    assert third.head.traits.group is None


def test_each_of_a_series_is_a_message_of_its_own() -> None:
    head = FiredHeads().of(waiting(**{"x-repeat-every": "100"}), "1024", SENT, 3)
    assert head.headers()["scheduled-number"] == "3"
    assert (head.traits.message_id, head.traits.stamped) == (None, False)


def test_names_with_escapes_are_found_and_written() -> None:
    message = waiting(**{"x-delay": "5", "a:b": "c\\d\n"})
    message.stamp = stamp(SENT)
    head = FiredHeads().of(message, "a:b\\c", SENT, 0)
    headers = head.headers()
    assert (headers["a:b"], headers["scheduledJobId"]) == ("c\\d\n", "a:b\\c")
    assert "x-delay" not in headers
    assert head.block_for(Version.V1_2).endswith(b"\n\n")


def test_what_differs_in_its_time_alone_shares_the_rest() -> None:
    heads, spec = FiredHeads(), ScheduleSpec(at=SENT)
    one, other = (waiting(**{"x-deliver-at": f"{SENT}{number}"}) for number in "12")
    before = one.size
    for message in (one, other):
        heads.share(message, spec)
    assert one.head is other.head
    assert one.head.headers() == {"destination": "/queue/q"}
    assert one.size == other.size == before - len(f"x-deliver-at:{SENT}1\n")


def test_what_says_more_keeps_its_headers() -> None:
    heads = FiredHeads()
    message = waiting(**{"x-deliver-at": "7", "x-schedule-id": "a"})
    heads.share(message, ScheduleSpec(at=7, name="a"))
    assert "x-deliver-at" in message.head.headers()
    assert not fires_once(message.head)
    assert fires_once(waiting(**{"x-delay": "1"}).head)


def test_what_headers_tell_is_one_object() -> None:
    heads = FiredHeads()
    one, other, third = waiting(number="1"), waiting(number="2"), waiting(priority="5")
    for message in (one, other, third):
        heads.share(message)
    assert one.head.traits is other.head.traits
    assert one.head.traits is not third.head.traits


def test_what_goes_at_once_says_nothing_of_a_time() -> None:
    head = without_schedule(waiting(**{"x-delay": "-1", "color": "red"}).head)
    assert head.headers() == {"destination": "/queue/q", "color": "red"}


def test_what_fires_once_at_its_time_is_made_in_the_same_way() -> None:
    for headers in ({"x-delay": "5"}, {"x-deliver-at": "7", "timestamp": "9", "priority": "7"}):
        message = waiting(color="red", **headers)
        message.stamp = stamp(SENT)
        heads = FiredHeads()
        quick, usual = heads.once(message, SENT), heads.of(message, "1024", SENT, 0)
        assert quick.block == usual.block
        for name in ("message_id", "stamped", "priority", "persistent", "sized"):
            assert getattr(quick.traits, name) == getattr(usual.traits, name)
