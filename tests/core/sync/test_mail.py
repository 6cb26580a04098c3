"""Who gets what a connection brings, without a connection."""

import threading

import pytest

from stompy.errors import STOMPConnectionError, STOMPTimeout
from stompy.protocol.frame import STOMPFrame
from stompy.session.confirmations import Confirmation, Outcome
from stompy.session.dialects import RABBITMQ, STOMPY
from stompy.sync.mail import Mail, Mailroom


class Box:
    def __init__(self) -> None:
        self._full = self._overfull = False
        self._waiting = 0
        self.got: list[tuple[str, int]] = []

    def _put(self, frames: list[STOMPFrame], epoch: int) -> None:
        self.got += [(frame["message-id"], epoch) for frame in frames]


@pytest.fixture
def room() -> Mailroom:
    return Mailroom()


def mail(room: Mailroom, *, keeps_errors: bool = True, epoch: int = 1, dialect=STOMPY) -> Mail:
    return Mail(
        lambda: None,
        room=room,
        epoch=epoch,
        dialect=dialect,
        ended=lambda: None,
        keeps_errors=keeps_errors,
    )


def message(number: int, subscription: str) -> STOMPFrame:
    headers = {"message-id": f"m{number}", "subscription": subscription}
    return STOMPFrame("MESSAGE", b"x", headers)


def receipt(receipt_id: str) -> STOMPFrame:
    return STOMPFrame("RECEIPT", headers={"receipt-id": receipt_id})


def pending(room: Mailroom, receipt_id: str) -> Confirmation:
    confirmation = Confirmation(receipt_id)
    room.expect(confirmation)
    return confirmation


def fetched(inbox: Mail) -> list[str]:
    return [frame.get("message-id") or frame.Command for frame in iter(lambda: take(inbox), None)]


def take(inbox: Mail) -> STOMPFrame | None:
    try:
        return inbox.get(0)
    except STOMPTimeout:
        return None


def test_messages_go_by_subscription_and_keep_their_order(room):
    one, two = Box(), Box()
    room.open_box("s1", one)
    room.open_box("s2", two)
    inbox = mail(room, epoch=7)
    inbox.put([message(n, f"s{n % 3}") for n in range(7)], 100)
    assert one.got == [("m1", 7), ("m4", 7)]
    assert two.got == [("m2", 7), ("m5", 7)]
    assert fetched(inbox) == ["m0", "m3", "m6"]


def test_what_comes_for_an_ended_subscription_is_dropped_until_its_id_is_used_again(room):
    box, inbox = Box(), mail(room)
    room.open_box("s1", box)
    room.close_box("s1")
    inbox.put([message(1, "s1"), message(2, "s2")], 10)
    room.open_box("s1", box)
    inbox.put([message(3, "s1")], 10)
    assert fetched(inbox) == ["m2"]
    assert box.got == [("m3", 1)]


def test_so_many_ended_subscriptions_are_remembered_and_no_more(room):
    inbox = mail(room)
    for number in range(1001):
        room.close_box(f"s{number}")
    inbox.put([message(1, "s1"), message(0, "s0")], 10)
    assert fetched(inbox) == ["m0"]


def test_receipts_go_to_who_waits_for_them(room):
    inbox, mine = mail(room), pending(room, "r1")
    inbox.put([receipt("r1"), receipt("r2")], 10)
    assert mine.outcome is Outcome.ACCEPTED
    assert fetched(inbox) == ["RECEIPT"]
    assert inbox.claim_receipt("r2", 0) is not None


@pytest.mark.parametrize(("dialect", "outcome"), [(STOMPY, "unknown"), (RABBITMQ, "rejected")])
def test_an_error_is_settled_when_the_connection_ends(room, dialect, outcome):
    inbox, mine = mail(room, dialect=dialect), pending(room, "r1")
    inbox.put([STOMPFrame("ERROR", headers={"message": "no"}), receipt("r1")], 10)
    assert mine.outcome is Outcome.PENDING  # whoever sends next must not use this connection
    room.lost(STOMPConnectionError("gone"))
    assert mine.outcome == outcome
    assert fetched(inbox) == ["ERROR"]


def test_an_error_is_forgotten_with_its_connection(room):
    mail(room, dialect=RABBITMQ).put([STOMPFrame("ERROR", headers={"message": "no"})], 1)
    room.lost(None)
    mail(room, dialect=RABBITMQ)
    mine = pending(room, "r1")
    room.lost(None)
    assert mine.outcome is Outcome.UNKNOWN


def test_errors_are_kept_from_recv_where_connections_follow_each_other(room):
    inbox = mail(room, keeps_errors=False)
    inbox.put([STOMPFrame("ERROR"), message(1, "s")], 10)
    assert fetched(inbox) == ["m1"]


def test_a_full_box_holds_up_the_reader_unless_somebody_waits_for_an_outcome(room):
    box, inbox = Box(), mail(room)
    room.open_box("s1", box)
    box._full = True
    assert inbox.full
    mine = pending(room, "r1")
    waiting = threading.Thread(target=room.wait, args=(lambda: mine.done, 10, "nothing came"))
    waiting.start()
    while inbox.full:
        waiting.join(0.001)
    inbox.put([receipt("r1")], 10)
    waiting.join(10)
    assert not waiting.is_alive()
    assert inbox.full


def test_waiting_is_bounded(room):
    with pytest.raises(STOMPTimeout, match=r"nothing came within 0\.01 s"):
        room.wait(lambda: False, 0.01, "nothing came")
    room.wait(lambda: True, 0, "at once")
