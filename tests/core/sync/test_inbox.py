import threading
from collections.abc import Callable

import pytest
from tests.support.scripted_server import eventually

from stompy.errors import STOMPTimeout
from stompy.protocol.frame import STOMPFrame
from stompy.sync.inbox import Inbox
from stompy.transport.spill import Spill


def message(number: int, body: bytes = b"") -> STOMPFrame:
    return STOMPFrame("MESSAGE", body, {"message-id": str(number)})


def receipt(receipt_id: str) -> STOMPFrame:
    return STOMPFrame("RECEIPT", b"", {"receipt-id": receipt_id})


def numbers(inbox: Inbox) -> list[int]:
    """What is in an inbox that has ended, or holds nothing but messages."""
    found = []
    while len(inbox) and (frame := inbox.get(0)) is not None:
        found.append(int(frame["message-id"]))
    return found


class Box(Inbox):
    """An inbox that counts how often it asked the reader to go on."""

    def __init__(self, **bounds: int) -> None:
        self.asked = 0
        super().__init__(self._ask, **bounds)

    def _ask(self) -> None:
        self.asked += 1


class Outcome:
    """What a call in another thread led to."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.value: object = None
        self._call = call
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.value = self._call()
        except BaseException as error:
            self.value = error

    @property
    def pending(self) -> bool:
        return self._thread.is_alive()

    def get(self) -> object:
        self._thread.join(10)
        assert not self._thread.is_alive(), "still waiting"
        return self.value


def test_frames_come_out_in_the_order_they_went_in():
    inbox = Box()
    inbox.put([message(1), message(2)], 10)
    inbox.put([message(3)], 10)
    assert len(inbox) == 3
    assert numbers(inbox) == [1, 2, 3]


def test_get_times_out_when_nothing_comes():
    with pytest.raises(STOMPTimeout, match="no frame came"):
        Box().get(0)
    with pytest.raises(STOMPTimeout):
        Box().get(0.01)


def test_a_waiting_receiver_gets_what_comes():
    inbox = Box()
    outcome = Outcome(lambda: inbox.get(10))
    inbox.put([message(1)], 1)
    assert outcome.get() == message(1)


def test_after_the_end_the_rest_is_given_and_then_none():
    inbox = Box()
    inbox.put([message(1)], 1)
    inbox.end()
    assert inbox.ended
    assert inbox.get() == message(1)
    assert inbox.get() is None
    assert inbox.get(0) is None


def test_the_end_wakes_everybody():
    inbox = Box()
    outcomes = [Outcome(inbox.get) for _ in range(3)]
    waiter = Outcome(lambda: inbox.claim_receipt("r1", None))
    inbox.end()
    assert [outcome.get() for outcome in outcomes] == [None, None, None]
    assert waiter.get() is None


def test_discarded_frames_are_gone():
    inbox = Box()
    inbox.put([message(1), message(2), receipt("r1")], 1)
    inbox.get()
    inbox.put([message(3)], 1)
    inbox.discard()
    assert len(inbox) == 0
    assert inbox.claim_receipt("r1", 0) == receipt("r1")


def test_several_receivers_share_the_frames_and_lose_none():
    inbox = Box()
    taken: list[list[int]] = [[], [], []]

    def receive(mine: list[int]) -> None:
        while (frame := inbox.get()) is not None:
            mine.append(int(frame["message-id"]))

    threads = [threading.Thread(target=receive, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for start in range(0, 3000, 7):
        inbox.put([message(number) for number in range(start, start + 7)], 7)
    inbox.end()
    for thread in threads:
        thread.join()
    assert sorted(number for mine in taken for number in mine) == list(range(3003))
    assert all(mine == sorted(mine) for mine in taken)


# -- the bounds ----------------------------------------------------------------------------------


def test_it_is_full_at_half_the_frames_until_a_receiver_takes_over_what_came():
    inbox = Box(max_frames=10, max_bytes=1000)
    inbox.put([message(n) for n in range(4)], 4)
    assert not inbox.full
    inbox.put([message(4)], 1)
    assert inbox.full
    assert inbox.asked == 0
    inbox.get()
    assert not inbox.full
    assert inbox.asked == 1
    # While the first half is being worked on, the second may fill.
    inbox.put([message(n) for n in range(5, 10)], 5)
    assert inbox.full
    assert numbers(inbox) == list(range(1, 10))
    assert inbox.asked == 2


def test_it_is_full_at_half_the_bytes():
    inbox = Box(max_bytes=100)
    inbox.put([message(1)], 49)
    assert not inbox.full
    inbox.put([message(2)], 1)
    assert inbox.full
    inbox.get()
    assert not inbox.full


def test_a_frame_larger_than_everything_is_still_taken():
    inbox = Box(max_bytes=10)
    inbox.put([message(1)], 1000)
    assert inbox.full
    assert inbox.get() == message(1)
    assert not inbox.full


def test_the_end_leaves_nobody_waiting_for_room():
    inbox = Box(max_frames=2)
    inbox.put([message(1)], 1)
    assert inbox.full
    inbox.end()
    assert not inbox.full


# -- receipts ------------------------------------------------------------------------------------


def test_a_receipt_is_claimed_once():
    inbox = Box()
    inbox.put([receipt("r1"), receipt("r2")], 1)
    assert inbox.claim_receipt("r2", 0) == receipt("r2")
    assert inbox.claim_receipt("r1", 0) == receipt("r1")
    with pytest.raises(STOMPTimeout, match="'r1'"):
        inbox.claim_receipt("r1", 0)


def test_a_receipt_that_came_before_the_end_is_given_after_it():
    inbox = Box()
    inbox.put([receipt("r1")], 1)
    inbox.end()
    assert inbox.claim_receipt("r1", None) == receipt("r1")
    assert inbox.claim_receipt("r2", None) is None


def test_a_receipt_is_noted_and_also_stands_among_the_frames():
    inbox = Box()
    inbox.put([message(1), receipt("r1"), message(2)], 1)
    assert [inbox.get(), inbox.get(), inbox.get()] == [message(1), receipt("r1"), message(2)]
    assert inbox.claim_receipt("r1", 0) == receipt("r1")


def test_waiters_get_each_their_own():
    inbox = Box()
    first = Outcome(lambda: inbox.claim_receipt("r1", 10))
    second = Outcome(lambda: inbox.claim_receipt("r2", 10))
    inbox.put([receipt("r2")], 1)
    assert second.get() == receipt("r2")
    inbox.put([receipt("r1")], 1)
    assert first.get() == receipt("r1")


def test_an_id_that_is_used_again_is_waited_for_again():
    inbox = Box()
    inbox.put([receipt("mine")], 1)
    inbox.forget_receipt("mine")
    with pytest.raises(STOMPTimeout):
        inbox.claim_receipt("mine", 0)


def test_a_full_inbox_opens_for_who_waits_for_a_receipt_behind_the_messages(monkeypatch):
    inbox = Box(max_frames=4)
    inbox.put([message(1), message(2)], 1)
    assert inbox.full
    waiter = Outcome(lambda: inbox.claim_receipt("r1", 10))
    eventually(lambda: inbox.asked == 1)
    assert not inbox.full
    inbox.put([message(n) for n in range(3, 8)], 1)
    assert not inbox.full
    inbox.put([message(n) for n in range(8, 100)], 1)
    assert not inbox.full
    monkeypatch.setattr(Spill, "has_room", False)
    assert inbox.full  # there is a bound to that, too
    assert waiter.pending
    inbox.put([receipt("r1")], 1)
    assert waiter.get() == receipt("r1")
    inbox.put([message(100)], 1)
    assert inbox.full


def test_claimed_receipts_do_not_pile_up():
    inbox = Box()
    for number in range(20_000):
        inbox.put([receipt(str(number))], 40)
        inbox.claim_receipt(str(number), 0)
    assert len(inbox) <= 1000
    assert not inbox.full


def test_unread_messages_outlive_the_sweeping_of_receipts():
    inbox = Box()
    for number in range(5000):
        inbox.put([receipt(str(number))], 40)
        inbox.claim_receipt(str(number), 0)
        if number % 1000 == 0:
            inbox.put([message(number)], 40)
    inbox.end()
    left = []
    while (frame := inbox.get()) is not None:
        left.append(frame)
    assert [f["message-id"] for f in left if f.Command == "MESSAGE"] == [
        "0",
        "1000",
        "2000",
        "3000",
        "4000",
    ]
    assert len(left) < 1010


def test_receipts_that_nobody_asks_about_are_bounded_and_never_fill_it():
    inbox = Box(max_frames=10, max_bytes=1000, max_receipts=3000)
    for number in range(20_000):
        inbox.put([receipt(str(number))], 40)
    assert not inbox.full
    assert len(inbox) <= 6000
    assert inbox.claim_receipt("19999", 0) == receipt("19999")
    assert inbox.claim_receipt("17000", 0) == receipt("17000")
    with pytest.raises(STOMPTimeout):
        inbox.claim_receipt("16999", 0)


def test_a_batch_of_messages_and_receipts_counts_the_messages():
    inbox = Box(max_frames=1000, max_bytes=100)
    inbox.put([receipt("r1"), message(1, b"x" * 20)], 1000)
    assert not inbox.full
    inbox.put([receipt("r2"), message(2, b"x" * 30)], 1000)
    assert inbox.full


# -- fork ----------------------------------------------------------------------------------------


def test_after_a_fork_it_is_empty_and_ended_whoever_held_its_lock():
    inbox = Box(max_frames=2)
    inbox.put([message(1)], 1)
    inbox._lock.acquire()
    inbox.after_fork()
    assert inbox.get() is None
    assert inbox.claim_receipt("r1", None) is None
    assert inbox.asked == 0
