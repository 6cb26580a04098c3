"""The bounds of what was received and not fetched, without threads and loops.

`tests/core/test_inbox.py` has the same from outside, with the threads of the blocking client.
"""

from stompy.protocol.frame import STOMPFrame
from stompy.session.frame_buffer import FrameBuffer
from stompy.sync.message import Message
from stompy.transport.spill import Spill


def message(number: int, body: bytes = b"") -> STOMPFrame:
    return STOMPFrame("MESSAGE", body, {"message-id": str(number)})


def receipt(receipt_id: str) -> STOMPFrame:
    return STOMPFrame("RECEIPT", b"", {"receipt-id": receipt_id})


def fetched(backlog: FrameBuffer) -> list[str]:
    names = []
    while backlog.current or backlog.move():
        frame = backlog.current.popleft()
        names.append(frame.get("message-id") or frame["receipt-id"])
    return names


def test_frames_come_out_in_the_order_in_which_they_came():
    backlog = FrameBuffer(Spill())
    backlog.put([message(1), receipt("r1")], 10)
    assert backlog.move()
    backlog.put([message(2)], 10)
    assert len(backlog) == 3
    assert fetched(backlog) == ["1", "r1", "2"]
    assert not backlog.move()


def test_what_has_no_room_in_memory_comes_back_from_disk_in_order():
    backlog = FrameBuffer(Spill(), max_frames=8, max_bytes=1000)
    for number in range(20):
        backlog.put([message(2 * number), message(2 * number + 1)], 20)
    assert (len(backlog), backlog.full, backlog.overfull) == (40, True, False)
    backlog.put([receipt("r")], 10)
    assert backlog.claim_receipt("r") == receipt("r")
    assert backlog.move()
    assert backlog.full
    backlog.put([message(40)], 10)  # and not before the others
    assert fetched(backlog) == [*map(str, range(40)), "r", "40"]
    assert not backlog.full


def test_it_is_overfull_with_what_may_be_on_disk():
    backlog = FrameBuffer(Spill(3000), max_frames=4)
    for number in range(12):
        backlog.put([message(number)], 1)
    assert not backlog.overfull
    while not backlog.overfull:
        backlog.put([message(12)], 1)
    assert len(backlog) < 1000
    backlog.put([message(13)], 1)  # what was read before that was known
    assert fetched(backlog)[-1] == "13"
    assert not backlog.overfull


def test_it_is_overfull_when_nothing_can_be_on_disk(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    backlog = FrameBuffer(Spill(), max_frames=4)
    for number in range(5):
        backlog.put([message(number)], 1)
    assert backlog.overfull
    assert "none in the directory for temporary files" in caplog.text
    assert fetched(backlog) == ["0", "1", "2", "3", "4"]
    assert not backlog.overfull


def test_what_is_on_disk_is_dropped_and_discarded_too():
    backlog = FrameBuffer(Spill(), max_frames=4)
    for number in range(12):
        backlog.put([message(number)], 1)
    backlog.drop(lambda frame: int(frame["message-id"]) < 10)
    assert fetched(backlog) == ["10", "11"]
    for number in range(12):
        backlog.put([message(number)], 1)
    backlog.discard()
    assert (len(backlog), backlog.full, backlog.move()) == (0, False, False)


def test_messages_of_a_handle_know_it_when_they_come_back_from_disk():
    backlog, handle = FrameBuffer(Spill(), max_frames=4), object()
    for number in range(8):
        backlog.put([Message._delivered(message(number, b"x"), 3, handle)], 1)  # type: ignore[arg-type]
    backlog.move()
    backlog.move()
    last = backlog.current[-1]
    assert isinstance(last, Message)
    assert (last.id, last.Body, last.epoch, last._settler) == ("3", b"x", 3, handle)


def test_it_is_full_with_half_the_frames_or_half_the_bytes():
    backlog = FrameBuffer(Spill(), max_frames=4, max_bytes=100)
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
    backlog = FrameBuffer(Spill(), max_frames=4, max_bytes=100, max_receipts=2)
    backlog.put([receipt(str(number)) for number in range(50)], 5000)
    assert not backlog.full
    assert backlog.claim_receipt("0") is None  # two are remembered
    assert backlog.claim_receipt("49") == receipt("49")
    assert backlog.claim_receipt("49") is None


def test_claimed_receipts_are_thrown_out_some_time():
    backlog = FrameBuffer(Spill())
    for number in range(5000):
        backlog.put([receipt(str(number))], 30)
        assert backlog.claim_receipt(str(number))
    assert len(backlog) <= 1000
    backlog.put([message(1)], 10)
    assert fetched(backlog)[-1] == "1"


def test_what_is_unwanted_is_dropped_in_both_chambers():
    backlog = FrameBuffer(Spill())
    backlog.put([message(number) for number in range(4)], 40)
    backlog.move()
    backlog.put([message(number) for number in range(4, 8)], 40)
    backlog.drop(lambda frame: int(frame["message-id"]) % 2 == 0)
    assert fetched(backlog) == ["1", "3", "5", "7"]


def test_what_was_dropped_does_not_fill_it():
    backlog = FrameBuffer(Spill(), max_frames=4, max_bytes=100)
    backlog.put([message(number) for number in range(4)], 40)
    assert backlog.full
    backlog.drop(lambda frame: True)
    assert (backlog.full, len(backlog)) == (False, 0)


def test_what_another_one_held_stands_before_the_rest_and_counts():
    backlog = FrameBuffer(Spill(), max_frames=6)
    backlog.put([message(3)], 1)
    backlog.put_first([message(1), message(2)])
    assert backlog.full
    backlog.move()
    assert [frame["message-id"] for frame in backlog.current] == ["1", "2", "3"]
