"""What is kept, how much of it, for how long, and in which order it goes out again.

What both clients make of it is proved in ``tests/contract/test_resending.py``.
"""

from __future__ import annotations

import pytest

from stompy.errors import OutcomeUnknown, STOMPConnectionError, STOMPError, TransactionLost
from stompy.protocol.client import ClientProtocol
from stompy.protocol.frame import STOMPFrame
from stompy.session import resending as resending_module
from stompy.session.address import Address, parse_addresses
from stompy.session.confirmations import AwaitedReceipt, Confirmations, Outcome
from stompy.session.dialects import ARTEMIS, RABBITMQ, STOMPY, Dialect, dialect_of
from stompy.session.reconnect import Reconnect
from stompy.session.resending import KeptFrame, Resending
from stompy.session.subscriptions import Subscriptions
from stompy.session.transactions import OpenTransactions

ADDRESS = parse_addresses("stomp://one:1")[0]
RESEND = Reconnect(resend=True, resend_limit=1000, resend_within=100.0)


class Connected:
    """A connection after CONNECTED."""

    def __init__(self, epoch: int, server: str = "stompy-broker/1", version: str = "1.2") -> None:
        self.epoch = epoch
        self.dialect: Dialect = dialect_of(server)
        self.subscriptions = Subscriptions(None)
        self.protocol = ClientProtocol()
        self.protocol.connect({"host": "/"})
        said = f"CONNECTED\nversion:{version}\nserver:{server}\n\n\0"
        self.protocol.receive_data(said.encode(), 0.0)

    @property
    def address(self) -> Address:
        return ADDRESS

    @property
    def connected(self) -> STOMPFrame:
        assert self.protocol.connected is not None
        return self.protocol.connected

    is_open = True
    close_reason = None

    def error(self) -> STOMPConnectionError:
        raise AssertionError


class Keeping:
    """A client that keeps, without a client round it."""

    def __init__(self, policy: Reconnect | None = RESEND) -> None:
        self.confirmations = Confirmations()
        self.transactions = OpenTransactions()
        self.resending = Resending(policy, self.confirmations, self.transactions)
        self.number = 0

    def send(
        self,
        ready: Connected | None,
        now: float = 0.0,
        *,
        body: bytes = b"x",
        command: str = "SEND",
        transaction: str | None = None,
        own_id: str | None = None,
        **headers: str,
    ) -> KeptFrame:
        self.number += 1
        given = {"destination": "/queue/q", **headers} if command == "SEND" else headers
        if own_id is not None:
            given["dedup-id"] = own_id
        confirmation = AwaitedReceipt(f"r{self.number}", command)
        kept = self.resending.frame(command, given, body, transaction, confirmation, None, STOMPY)
        self.resending.keep(kept, ready, now)
        return kept

    def again(self, connection: Connected, now: float = 1.0) -> list[bytes]:
        """What goes out over a new connection."""
        self.resending.lost()
        self.confirmations.lost(None, self.resending)
        self.resending.begin(connection, now)
        frames: list[bytes] = []
        while more := self.resending.due(connection, now):
            frames += more
        return frames

    def confirm(self, kept: KeptFrame) -> None:
        receipt_id = kept.confirmation.receipt_id
        self.confirmations.receipt(receipt_id)
        self.resending.confirmed(STOMPFrame("RECEIPT", b"", {"receipt-id": receipt_id}))


def receipts(frames: list[bytes]) -> list[str]:
    lines = [line for frame in frames for line in frame.decode().split("\n")]
    return [line.partition(":")[2] for line in lines if line.startswith("receipt:")]


def test_what_is_not_confirmed_goes_out_again_in_order_and_in_parts() -> None:
    keeping, first = Keeping(), Connected(1)
    sent = [keeping.send(first) for _ in range(500)]
    for kept in sent[:3]:
        keeping.confirm(kept)
    assert len(keeping.resending) == 497
    second = Connected(2)
    assert receipts(keeping.again(second)) == [f"r{number}" for number in range(4, 501)]
    keeping.resending.begin(second, 1.0)
    assert len(keeping.resending.due(second, 1.0)) == 200
    assert not keeping.resending.is_done


def test_nothing_is_kept_by_who_does_not_connect_again() -> None:
    keeping = Keeping(None)
    assert not keeping.resending.keeps("SEND", {"dedup-id": "a"}, None, STOMPY)


def test_what_is_kept_by_whom() -> None:
    everything, some = Keeping().resending, Keeping(Reconnect()).resending
    assert everything.keeps("SEND", {}, None, STOMPY)
    assert not some.keeps("SEND", {}, None, STOMPY)
    assert some.keeps("SEND", {"Nats-Msg-Id": "a"}, None, STOMPY)
    assert not some.keeps("SEND", {"dedup-id": "a"}, None, RABBITMQ)
    for command in ("ACK", "SUBSCRIBE", "BEGIN", "COMMIT"):
        assert not everything.keeps(command, {}, None, STOMPY)
    assert not everything.keeps("SEND", {"transaction": "t"}, None, STOMPY)
    assert everything.keeps("BEGIN", {}, "t", STOMPY)
    assert not everything.keeps("BEGIN", {}, "t", ARTEMIS)
    for destination in ("/temp-queue/a", "/reply-queue/a", "/queue/$SYS.command"):
        assert not everything.keeps("SEND", {"destination": destination}, None, STOMPY)
    assert not everything.keeps(
        "SEND", {"destination": "/queue/q", "mandatory": "true"}, None, STOMPY
    )
    assert everything.keeps("SEND", {"destination": "/temp-queue/a", "dedup-id": "a"}, None, STOMPY)
    declined: dict[str, str | int | float] = {"dedup-id": "", "a": "b"}
    assert not everything.keeps("SEND", declined, None, STOMPY)
    assert declined == {"a": "b"}


def test_what_the_broker_may_have_forgotten_is_not_sent_again() -> None:
    keeping, first = Keeping(), Connected(1)
    old, young = keeping.send(first, 0.0), keeping.send(first, 50.0)
    unsent = keeping.send(None, 0.0)
    frames = keeping.again(Connected(2), 101.0)
    assert receipts(frames) == ["r2", "r3"]
    assert old.confirmation.outcome is Outcome.UNKNOWN
    with pytest.raises(OutcomeUnknown, match=r"sent 101 s ago is not sent again .*resend_within"):
        old.confirmation.check()
    # Its time began when it was written.
    assert receipts(keeping.again(Connected(3), 160.0)) == ["r3"]
    assert [one.confirmation.done for one in (young, unsent)] == [True, False]


def test_a_broker_of_another_kind_is_not_sent_what_it_would_not_know() -> None:
    keeping, first = Keeping(Reconnect()), Connected(1)
    kept = keeping.send(first, own_id="a")
    assert keeping.again(Connected(2, "RabbitMQ/4")) == []
    with pytest.raises(OutcomeUnknown, match=r"RabbitMQ, to which .* would not know"):
        kept.confirmation.check()
    assert len(keeping.confirmations) == 0


def test_what_the_next_version_cannot_carry_is_refused_alone() -> None:
    keeping, first = Keeping(), Connected(1)
    bad, good = keeping.send(first, a="b\nc"), keeping.send(first)
    assert receipts(keeping.again(Connected(2, version="1.0"))) == ["r2"]
    assert bad.confirmation.outcome is Outcome.REJECTED
    assert not good.confirmation.done


def test_there_is_room_for_so_many_and_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resending_module, "MAX_BYTES", 100)
    keeping, first = Keeping(Reconnect(resend=True, resend_limit=3)), Connected(1)
    sent = [keeping.send(first) for _ in range(3)]
    assert not keeping.resending.has_room()
    keeping.confirm(sent[1])
    assert keeping.resending.has_room()
    large = keeping.send(first, body=b"x" * 100)
    keeping.confirm(sent[0])
    assert not keeping.resending.has_room()
    assert "2 messages, of 101 bytes" in keeping.resending.no_room()
    keeping.resending.take_back(large)
    assert keeping.resending.has_room()
    assert not large.confirmation.done


def test_a_transaction_takes_the_place_of_its_commit() -> None:
    keeping, first = Keeping(), Connected(1)
    keeping.send(first, command="BEGIN", transaction="t")
    keeping.send(first, transaction="t")
    keeping.send(first)
    keeping.send(first, command="COMMIT", transaction="t")
    keeping.send(first)
    keeping.send(first, command="BEGIN", transaction="u")
    for connection in (Connected(2), Connected(3)):
        # What takes effect by itself goes first, then what is not committed yet.
        assert receipts(keeping.again(connection)) == ["r3", "r1", "r2", "r4", "r5", "r6"]
    assert keeping.resending.holds("u")
    keeping.transactions.check("u", 3)


def test_a_transaction_that_goes_on_meanwhile_is_written_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resending_module, "_AT_ONCE", 2)
    keeping, first, second = Keeping(), Connected(1), Connected(2)
    keeping.send(first, command="BEGIN", transaction="t")
    keeping.send(first, transaction="t")
    keeping.resending.begin(second, 1.0)
    assert receipts(keeping.resending.due(second, 1.0)) == ["r1", "r2"]
    keeping.send(None, transaction="t")
    keeping.send(None, command="COMMIT", transaction="t")
    keeping.send(None)
    rest = keeping.resending.due(second, 1.0) + keeping.resending.due(second, 1.0)
    assert receipts(rest) == ["r3", "r4", "r5"]
    assert keeping.resending.is_done


def test_a_transaction_that_is_let_go_ends_with_its_connection() -> None:
    keeping, first = Keeping(), Connected(1)
    keeping.send(first, command="BEGIN", transaction="t")
    inner = keeping.send(first, transaction="t")
    keeping.resending.let_go("t")
    assert keeping.again(Connected(2)) == []
    assert inner.confirmation.outcome is Outcome.UNKNOWN
    with pytest.raises(TransactionLost):
        keeping.transactions.check("t", 2)
    with pytest.raises(TransactionLost):
        keeping.send(first, transaction="t")


def test_a_transaction_that_is_too_large_to_keep_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resending_module, "MAX_BYTES", 100)
    keeping, first = Keeping(), Connected(1)
    keeping.send(first, command="BEGIN", transaction="t")
    keeping.send(first, transaction="t", body=b"x" * 101)
    assert not keeping.resending.holds("t")


def test_a_transaction_with_a_refused_frame_is_refused_as_a_whole() -> None:
    keeping, first = Keeping(), Connected(1)
    keeping.send(first, command="BEGIN", transaction="t")
    keeping.send(first, transaction="t")
    commit = keeping.send(first, command="COMMIT", transaction="t")
    error = STOMPError("no", STOMPFrame("ERROR", b"", {"receipt-id": "r2"}))
    assert keeping.confirmations.refused(error, names_frames=True) is not None
    keeping.resending.refused(error)
    assert commit.confirmation.outcome is Outcome.REJECTED
    assert keeping.again(Connected(2)) == []


def test_in_the_end_it_is_told_once_what_is_left() -> None:
    keeping, first = Keeping(), Connected(1)
    keeping.send(first, command="BEGIN", transaction="t")
    keeping.send(first, command="COMMIT", transaction="t")
    kept = keeping.send(first)
    keeping.resending.give_up(None)
    assert kept.confirmation.outcome is Outcome.UNKNOWN
    assert len(keeping.resending) == len(keeping.confirmations) == 0
    with pytest.raises(OutcomeUnknown, match=r"2 messages .* 1 to a transaction, 1 to /queue/q"):
        keeping.resending.say_what_is_left()
    keeping.resending.say_what_is_left()
