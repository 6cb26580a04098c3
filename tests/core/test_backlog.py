"""The bounds of what was received and not fetched, without threads and loops.

`tests/core/test_inbox.py` has the same from outside, with the threads of the blocking client.
"""

from stompy.backlog import Backlog
from stompy.frame import STOMPFrame


def message(number: int, body: bytes = b"") -> STOMPFrame:
    return STOMPFrame("MESSAGE", body, {"message-id": str(number)})


def receipt(receipt_id: str) -> STOMPFrame:
    return STOMPFrame("RECEIPT", b"", {"receipt-id": receipt_id})


def fetched(backlog: Backlog) -> list[str]:
    names = []
    while backlog.current or backlog.move():
        frame = backlog.current.popleft()
        names.append(frame.get("message-id") or frame["receipt-id"])
    return names


def test_frames_come_out_in_the_order_in_which_they_came():
    backlog = Backlog()
    backlog.put([message(1), receipt("r1")], 10)
    assert backlog.move()
    backlog.put([message(2)], 10)
    assert len(backlog) == 3
    assert fetched(backlog) == ["1", "r1", "2"]
    assert not backlog.move()


def test_it_is_overfull_with_four_times_as_much():
    backlog = Backlog(max_frames=4, max_bytes=100)
    for number in range(7):
        backlog.put([message(number)], 1)
        assert not backlog.overfull
    backlog.put([message(7)], 1)
    assert backlog.overfull
    backlog.move()
    assert not backlog.overfull
    backlog.put([message(8)], 199)
    assert not backlog.overfull
    backlog.put([message(9)], 1)
    assert backlog.overfull
    backlog.discard()
    assert not backlog.overfull


def test_it_is_full_with_half_the_frames_or_half_the_bytes():
    backlog = Backlog(max_frames=4, max_bytes=100)
    backlog.put([message(1)], 10)
    assert not backlog.full
    backlog.put([message(2)], 10)
    assert backlog.full
    backlog.move()
    assert not backlog.full
    backlog.put([message(3)], 50)
    assert backlog.full
    backlog.discard()
    assert (backlog.full, len(backlog)) == (False, 0)


def test_receipts_do_not_fill_it_and_are_noted():
    backlog = Backlog(max_frames=4, max_bytes=100, max_receipts=2)
    backlog.put([receipt(str(number)) for number in range(50)], 5000)
    assert not backlog.full
    assert backlog.claim_receipt("0") is None  # two are remembered
    assert backlog.claim_receipt("49") == receipt("49")
    assert backlog.claim_receipt("49") is None


def test_claimed_receipts_are_thrown_out_some_time():
    backlog = Backlog()
    for number in range(5000):
        backlog.put([receipt(str(number))], 30)
        assert backlog.claim_receipt(str(number))
    assert len(backlog) <= 1000
    backlog.put([message(1)], 10)
    assert fetched(backlog)[-1] == "1"


def test_what_is_unwanted_is_dropped_in_both_chambers():
    backlog = Backlog()
    backlog.put([message(number) for number in range(4)], 40)
    backlog.move()
    backlog.put([message(number) for number in range(4, 8)], 40)
    backlog.drop(lambda frame: int(frame["message-id"]) % 2 == 0)
    assert fetched(backlog) == ["1", "3", "5", "7"]


def test_what_was_dropped_does_not_fill_it():
    backlog = Backlog(max_frames=4, max_bytes=100)
    backlog.put([message(number) for number in range(4)], 40)
    assert backlog.full
    backlog.drop(lambda frame: True)
    assert (backlog.full, len(backlog)) == (False, 0)


def test_what_another_one_held_stands_before_the_rest_and_counts():
    backlog = Backlog(max_frames=6)
    backlog.put([message(3)], 1)
    backlog.put_first([message(1), message(2)])
    assert backlog.full
    backlog.move()
    assert [frame["message-id"] for frame in backlog.current] == ["1", "2", "3"]
