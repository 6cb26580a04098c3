"""The life of a client without a thread, a loop or a clock: every order of what may happen."""

from __future__ import annotations

import itertools
import random as random_numbers
from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stompy.errors import (
    ConnectionImpossible,
    StaleMessageError,
    STOMPConnectionError,
    STOMPError,
    STOMPException,
    TransactionLost,
    UnsupportedByBroker,
)
from stompy.protocol.client import ClientProtocol
from stompy.protocol.frame import AckMode, STOMPFrame
from stompy.session import session as session_module
from stompy.session.address import Address, parse_addresses
from stompy.session.confirmations import AwaitedReceipt, Outcome
from stompy.session.dialects import Dialect
from stompy.session.effects import Drop, Write
from stompy.session.health import SubscriptionHealth
from stompy.session.reconnect import Backoff, Reconnect
from stompy.session.resubscription import AT_ONCE, SubscriptionReceipt
from stompy.session.session import ClientSession, SessionSettings
from stompy.session.state import FORGOTTEN, ConnectionState, StateChange
from stompy.session.subscriptions import AckDuty, Subscriptions
from stompy.session.wanted import LAST_RETRY, RESTORE_SECONDS, WantedSubscription

ADDRESSES = parse_addresses(["stomp://one:1", "stomp://two:2", "stomp://three:3"])
SERVERS = ["stompy-broker/1", "RabbitMQ/3.12", None]
POLICY = Reconnect(delay=1.0, max_delay=4.0, attempts=5, startup_attempts=2, shuffle=True)


class FakeConnection:
    """A connection after CONNECTED, which writes into a list."""

    epoch: int
    dialect: Dialect
    subscriptions: Subscriptions

    def __init__(self, server: str | None = "stompy-broker/1", address: Address = ADDRESSES[0]):
        self.address = address
        self.protocol = ClientProtocol()
        self.protocol.connect({"host": "/"})
        named = "" if server is None else f"server:{server}\n"
        self.protocol.receive_data(f"CONNECTED\nversion:1.2\n{named}\n\0".encode(), 0.0)
        self.is_open = True
        self.close_reason: STOMPError | None = None
        self.written: list[STOMPFrame] = []

    @property
    def connected(self) -> STOMPFrame:
        assert self.protocol.connected is not None
        return self.protocol.connected

    def error(self) -> STOMPConnectionError:
        return STOMPConnectionError(f"lost: {self.close_reason}")

    def write(self, data: bytes) -> None:
        assert self.is_open
        head, _, body = data.partition(b"\n\n")
        command, *lines = head.decode().split("\n")
        headers = dict(line.split(":", 1) for line in lines)
        self.written.append(STOMPFrame(command, body[:-1], headers))

    @property
    def subscribed(self) -> Counter[str]:
        """How often each id is subscribed at the broker."""
        found: Counter[str] = Counter()
        for frame in self.written:
            if frame.Command in ("SUBSCRIBE", "UNSUBSCRIBE"):
                found[frame["id"]] += 1 if frame.Command == "SUBSCRIBE" else -1
        return found


class Holder:
    """Who holds a subscription."""

    _full = _overfull = False
    _waiting = 0

    def __init__(self) -> None:
        self.got: list[tuple[str, int]] = []
        self.told: list[str] = []
        self.reason: STOMPException | None = None

    @property
    def ended(self) -> bool:
        return "end" in self.told

    def _deliver(self, frames: list[STOMPFrame], epoch: int) -> None:
        assert not self.ended
        self.got += [(frame["message-id"], epoch) for frame in frames]

    def _lost(self, reason: STOMPException | None) -> None:
        assert not self.ended
        self.told.append("lost")

    def _put_off(self, reason: STOMPException) -> None:
        self.told.append("put off")

    def _stop_giving(self) -> None:
        self.told.append("stop")

    def _end(self, reason: STOMPException | None) -> None:
        if not self.ended:
            self.told.append("end")
            self.reason = reason

    def _after_fork(self, reason: STOMPException) -> None:
        self._end(reason)

    def health(self) -> SubscriptionHealth | None:
        return None


class Once(AwaitedReceipt):
    """A confirmation that counts how often it is settled."""

    __slots__ = ("settled",)

    def __init__(self, receipt_id: str) -> None:
        super().__init__(receipt_id)
        self.settled = 0

    def settle(self, outcome: Outcome, error: STOMPError | None = None) -> None:
        super().settle(outcome, error)
        self.settled += 1


def error_frame(receipt_id: str | None, *, passing: bool = False) -> STOMPFrame:
    headers = {"message": "no"}
    if receipt_id is not None:
        headers["receipt-id"] = receipt_id
    if passing:
        headers["error-code"] = "limit-exceeded"
    return STOMPFrame("ERROR", b"", headers)


def message(sub_id: str, number: int = 1) -> STOMPFrame:
    headers = {"subscription": sub_id, "message-id": f"m{number}", "ack": f"a{number}"}
    return STOMPFrame("MESSAGE", b"", headers)


class ClientLife(RuleBasedStateMachine):
    """One client and all that its brokers may do."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.numbers = itertools.count(1)
        self.connections: list[FakeConnection] = []
        self.holders: dict[str, Holder] = {}
        self.expected: list[tuple[Once, FakeConnection]] = []
        self.changes: list[StateChange] = []
        self.transactions: dict[str, int] = {}
        self.left = False
        self.round_at: float | None = None
        self.delivered = 0

    @initialize(reconnects=st.booleans(), seed=st.integers(0, 99))
    def connect(self, reconnects: bool, seed: int) -> None:
        settings = SessionSettings(ADDRESSES, POLICY if reconnects else None, observed=True)
        source = random_numbers.Random(seed)
        self.session: ClientSession[FakeConnection] = ClientSession(
            settings, self.numbers, source.random, self.now
        )
        self.session.connect(self.now)
        assert self.session.round_is_due(self.now)
        self.carry_out()

    @property
    def current(self) -> FakeConnection | None:
        return self.session.current

    @property
    def is_due(self) -> bool:
        due = self.session.next_deadline()
        if due is None or due > self.now:
            return False
        return due == AT_ONCE or not self.session.round_is_due(self.now)

    def carry_out(self) -> None:
        """Do what the session gives, as a driver does."""
        while self.is_due:
            for effect in self.session.poll(self.now):
                if isinstance(effect, StateChange):
                    self.changes.append(effect)
                elif isinstance(effect, Drop):
                    self.end(effect.connection, None)
                else:
                    assert isinstance(effect, Write)
                    assert not self.left
                    assert effect.connection is self.current
                    effect.connection.write(effect.frame)

    def end(self, connection: FakeConnection, reason: STOMPError | None) -> None:
        connection.is_open = False
        connection.close_reason = reason
        self.session.lost(connection, self.now)
        planned, attempts = self.session.round_at, self.session.lifecycle.attempts
        self.session.lost(connection, self.now)  # told twice is told once
        assert (self.session.round_at, self.session.lifecycle.attempts) == (planned, attempts)
        for confirmation, asked_on in self.expected:
            if asked_on is connection:
                assert confirmation.settled == 1

    # -- the passing of time -----------------------------------------------------------------

    @rule(part=st.sampled_from([0.3, 1.0, 1.0, 2.0]))
    def time_passes(self, part: float) -> None:
        due = self.session.next_deadline()
        self.now += (1.0 if due is None else max(0.0, due - self.now)) * part
        self.carry_out()

    @precondition(lambda self: self.session.round_is_due(self.now))
    @rule(server=st.sampled_from(SERVERS))
    def a_broker_answers(self, server: str | None) -> None:
        addresses = self.session.begin_round()
        assert sorted(addresses, key=str) == sorted(ADDRESSES, key=str)
        connection = FakeConnection(server, addresses[0])
        self.connections.append(connection)
        self.session.connected(connection, self.now)
        assert connection.epoch == len(self.connections)
        self.carry_out()

    @precondition(lambda self: self.session.round_is_due(self.now))
    @rule(hopeless=st.booleans())
    def nobody_answers(self, hopeless: bool) -> None:
        self.session.begin_round()
        kind = ConnectionImpossible if hopeless else STOMPConnectionError
        self.session.round_failed(kind("nobody there"), self.now)
        assert self.session.is_over or not hopeless
        self.carry_out()

    @rule()
    def the_application_wants_no_pause(self) -> None:
        self.session.retry_now(self.now)
        self.round_at = None

    # -- what brokers do ---------------------------------------------------------------------

    def pending(self, connection: FakeConnection) -> list[str]:
        asked = [frame["receipt"] for frame in connection.written if "receipt" in frame.Headers]
        return [one for one in asked if one in self.session.confirmations]

    @precondition(lambda self: self.current is not None and self.pending(self.current))
    @rule(pick=st.integers(0, 9))
    def a_receipt_comes(self, pick: int) -> None:
        assert self.current is not None
        pending = self.pending(self.current)
        named = pending[pick % len(pending)]
        receipt = STOMPFrame("RECEIPT", b"", {"receipt-id": named})
        assert self.session.received([receipt]) == []
        assert self.session.received([receipt]) == [receipt]  # not ours any more
        self.carry_out()

    @precondition(lambda self: self.current is not None and self.pending(self.current))
    @rule(pick=st.integers(0, 9), passing=st.booleans(), late=st.booleans())
    def something_is_refused(self, pick: int, passing: bool, late: bool) -> None:
        connection = self.current
        assert connection is not None
        pending = self.pending(connection)
        named = pending[pick % len(pending)]
        names = connection.dialect.error_names_receipt
        error = error_frame(named if names else None, passing=passing)
        frames = [error]
        if late:
            frames.append(STOMPFrame("RECEIPT", b"", {"receipt-id": named}))
        rest = self.session.received(frames)
        assert rest == ([] if self.session.reconnects else [error])
        self.end(connection, STOMPError("no", error))
        self.carry_out()

    @precondition(lambda self: self.current is not None)
    @rule()
    def the_connection_is_lost(self) -> None:
        assert self.current is not None
        self.end(self.current, STOMPConnectionError("cut"))
        self.carry_out()

    @precondition(lambda self: self.current is not None)
    @rule(pick=st.integers(0, 5), count=st.integers(1, 3))
    def messages_come(self, pick: int, count: int) -> None:
        assert self.current is not None
        ids = [*self.holders, "somebody's"]
        sub_id = ids[pick % len(ids)]
        frames = [message(sub_id, self.delivered + n) for n in range(count)]
        self.delivered += count
        holder = self.holders.get(sub_id)
        before = 0 if holder is None else len(holder.got)
        rest = self.session.received(frames)
        if sub_id in self.session.receivers:
            assert holder is not None
            named = [(frame["message-id"], self.current.epoch) for frame in frames]
            assert (rest, holder.got[before:]) == ([], named)
        else:
            assert rest == ([] if holder is not None else frames)

    # -- what the application does -----------------------------------------------------------

    @precondition(lambda self: not self.session.is_over and self.session.last is not None)
    @rule(
        mode=st.sampled_from(AckMode),
        confirm=st.booleans(),
        again=st.booleans(),
        by_id=st.booleans(),
    )
    def subscribe(self, mode: AckMode, confirm: bool, again: bool, by_id: bool) -> None:
        gone = [one for one in self.holders if one not in self.session.wanted]
        put_off = [one for one in gone if self.session.wanted.is_put_off(one)]
        sub_id = next((one for one in gone if one not in put_off), None) if again else None
        sub_id = sub_id or self.session.new_id("s")
        wanted = WantedSubscription(sub_id, f"/queue/{sub_id}", mode, confirm=confirm)
        if by_id:
            connection = self.session.want(wanted, True)
        else:
            self.holders[sub_id] = Holder()
            connection = self.session.want(wanted, None, self.holders[sub_id])
        assert connection is self.session.ready
        if connection is not None:
            receipt, frame = self.session.subscribe(connection, wanted)
            assert isinstance(receipt, SubscriptionReceipt)
            assert receipt.done is not confirm
            connection.write(frame)

    @precondition(lambda self: len(self.session.wanted) and not self.session.is_over)
    @rule(pick=st.integers(0, 9))
    def unsubscribe(self, pick: int) -> None:
        wanted = list(self.session.wanted)
        sub_id = wanted[pick % len(wanted)].id
        connection = self.session.unwant(sub_id)
        if sub_id in self.holders:
            self.holders[sub_id]._end(None)
        if connection is not None:
            headers = {"id": sub_id}
            connection.write(connection.protocol.send("UNSUBSCRIBE", headers))

    @precondition(lambda self: self.session.is_usable)
    @rule()
    def send_with_a_receipt(self) -> None:
        connection = self.session.ready
        assert connection is not None
        confirmation = Once(self.session.new_id("r"))
        self.session.expect(confirmation)
        self.expected.append((confirmation, connection))
        headers = {"destination": "/queue/q", "receipt": confirmation.receipt_id}
        connection.write(connection.protocol.send("SEND", headers))
        self.session.asked(confirmation.receipt_id, connection)

    @precondition(lambda self: self.session.is_usable)
    @rule()
    def begin(self) -> None:
        connection = self.session.ready
        assert connection is not None
        txn_id = self.session.new_id("t")
        self.session.follow("BEGIN", txn_id, connection)
        self.transactions[txn_id] = connection.epoch

    @precondition(lambda self: self.transactions)
    @rule(pick=st.integers(0, 9), command=st.sampled_from(["COMMIT", "ABORT"]))
    def end_a_transaction(self, pick: int, command: str) -> None:
        txn_id = list(self.transactions)[pick % len(self.transactions)]
        ready = self.session.ready
        if ready is None or ready.epoch != self.transactions[txn_id]:
            with pytest.raises(TransactionLost):
                self.session.check_transaction(txn_id)
            return
        self.session.check_transaction(txn_id)
        self.session.follow(command, txn_id, ready)
        del self.transactions[txn_id]

    @rule(last_words=st.booleans())
    def leave(self, last_words: bool) -> None:
        connection = self.current
        self.session.leave(self.now)
        self.left = self.left or self.session.state is ConnectionState.CLOSED
        if connection is not None and last_words:
            connection.is_open = False
            self.end(connection, None)
        self.carry_out()

    @precondition(lambda self: self.current is not None and not self.left)
    @rule()
    def nobody_has_the_client_any_more(self) -> None:
        assert self.current is not None
        self.session.forgotten = True
        over = self.session.is_over
        self.end(self.current, None)
        assert self.session.ended
        assert over or FORGOTTEN in str(self.session.reason)
        self.carry_out()

    # -- what holds --------------------------------------------------------------------------

    @invariant()
    def a_receipt_is_settled_at_most_once_and_with_its_connection(self) -> None:
        for confirmation, connection in self.expected:
            assert confirmation.settled <= 1
            assert confirmation.done is (confirmation.settled == 1)
            if connection is not self.current:
                assert confirmation.done
            assert self.session.asked_on(confirmation.receipt_id) is (
                connection if self.session.reconnects else self.session.last
            )

    @invariant()
    def the_ready_connection_has_what_is_wanted_exactly_once(self) -> None:
        ready = self.session.ready
        if ready is None:
            return
        assert ready is self.current is self.session.last
        wanted = self.session.wanted
        for sub_id, count in ready.subscribed.items():
            if not wanted.is_put_off(sub_id):
                assert count == (sub_id in wanted), sub_id
        for one in wanted.at_once():
            assert ready.subscribed[one.id] == 1

    @invariant()
    def deadlines_lie_ahead_and_do_not_move_while_they_are_waited_for(self) -> None:
        due = self.session.next_deadline()
        assert due is None or due > self.now or self.session.round_is_due(self.now)
        bound = max(POLICY.max_delay, LAST_RETRY, RESTORE_SECONDS)
        assert due is None or due <= self.now + bound
        planned = due if self.current is None else None
        if self.round_at is not None and planned is not None:
            assert planned == self.round_at or planned >= self.now
        self.round_at = planned

    @invariant()
    def changes_of_state_follow_one_another(self) -> None:
        state, epoch = ConnectionState.DISCONNECTED, 0
        for change in self.changes:
            assert change.previous is state
            assert change.epoch >= epoch
            assert change.lasted >= 0
            state, epoch = change.state, change.epoch
        assert state is self.session.state

    @invariant()
    def it_goes_on_or_has_ended_and_then_everybody_knows(self) -> None:
        session = self.session
        assert session.ended is (session.is_over and session.current is None)
        if session.ended:
            assert session.next_deadline() is None
            assert all(holder.ended for holder in self.holders.values())
            assert not session.confirmations
        elif session.current is None and not session.is_over:
            assert session.next_deadline() is not None or self.connections == []
        for sub_id, holder in self.holders.items():
            assert holder.ended or sub_id in session.wanted


TestClientLife = ClientLife.TestCase


# -- moments that are worth a name ---------------------------------------------------------------

WANTED = WantedSubscription("s1", "/queue/q", AckMode.AUTO)


def connected(
    server: str | None = "stompy-broker/1", *, reconnects: bool = True
) -> tuple[ClientSession[FakeConnection], FakeConnection]:
    """A session with its first connection."""
    policy = Reconnect(delay=0.0) if reconnects else None
    session: ClientSession[FakeConnection] = ClientSession(
        SessionSettings(ADDRESSES, policy), itertools.count(1), lambda: 0.5, 0.0
    )
    session.connect(0.0)
    session.begin_round()
    connection = FakeConnection(server)
    session.connected(connection, 0.0)
    return session, connection


def lose(session: ClientSession[FakeConnection], reason: STOMPError | None) -> None:
    connection = session.current
    assert connection is not None
    connection.is_open = False
    connection.close_reason = reason
    session.lost(connection, 1.0)


def again(session: ClientSession[FakeConnection], server: str | None = "stompy-broker/1"):
    """The next connection, which has been asked for all that is wanted."""
    carry_out(session)
    session.begin_round()
    connection = FakeConnection(server)
    session.connected(connection, 2.0)
    carry_out(session)
    return connection


def carry_out(session: ClientSession[FakeConnection], now: float = 2.0) -> None:
    while session.has_work:
        for effect in session.poll(now):
            assert isinstance(effect, Write)
            effect.connection.write(effect.frame)


def answer(session: ClientSession[FakeConnection], *receipt_ids: str) -> None:
    for receipt_id in receipt_ids:
        session.received([STOMPFrame("RECEIPT", b"", {"receipt-id": receipt_id})])


def test_a_connection_is_ready_only_with_what_is_wanted():
    session, _ = connected()
    session.want(WANTED, True)
    lose(session, None)
    second = again(session)
    late = WantedSubscription("s2", "/queue/q", AckMode.AUTO)
    assert session.want(late, True) is None  # the connection that is being made brings it
    answer(session, second.written[0]["receipt"])
    carry_out(session)
    assert session.ready is None
    assert [frame["id"] for frame in second.written] == ["s1", "s2"]
    answer(session, second.written[1]["receipt"])
    carry_out(session)
    assert session.ready is second
    assert session.unwant("s1") is second


def test_what_is_taken_back_while_it_is_asked_for_is_ended_before_anything_else_is_sent():
    session, _ = connected()
    session.want(WANTED, True)
    lose(session, None)
    second = again(session)
    assert session.unwant("s1") is None
    answer(session, second.written[0]["receipt"])
    effects = session.poll(2.0)
    assert session.ready is None
    assert [effect.frame.split(b"\n")[0] for effect in effects] == [b"UNSUBSCRIBE"]
    session.poll(2.0)
    assert session.ready is second


def test_an_id_that_is_used_again_while_subscriptions_are_restored_is_asked_for_again():
    session, _ = connected()
    session.want(WANTED, True)
    lose(session, None)
    second = again(session)
    session.unwant("s1")
    session.want(WantedSubscription("s1", "/queue/other", AckMode.AUTO), True)
    answer(session, second.written[0]["receipt"])
    carry_out(session)
    told = [(frame.Command, frame.get("destination")) for frame in second.written]
    assert told == [
        ("SUBSCRIBE", "/queue/q"),
        ("UNSUBSCRIBE", None),
        ("SUBSCRIBE", "/queue/other"),
    ]


def test_a_broker_that_names_no_frame_is_asked_one_by_one():
    session, _ = connected("RabbitMQ/3.12")
    for name in ("a", "b"):
        session.want(WantedSubscription(name, "/queue/q", AckMode.AUTO), True)
    lose(session, None)
    second = again(session, "RabbitMQ/3.12")
    assert len(second.written) == 1
    answer(session, second.written[0]["receipt"])
    carry_out(session)
    assert len(second.written) == 2


def test_a_broker_that_does_not_answer_in_time_is_dropped():
    session, _ = connected()
    session.want(WANTED, True)
    lose(session, None)
    second = again(session)
    due = session.next_deadline()
    assert due == 2.0 + RESTORE_SECONDS
    assert session.poll(due) == [Drop(second)]
    assert session.next_deadline() is None  # the end of the connection is to be told
    lose(session, None)
    assert session.failure is not None
    session.judge(session.failure)
    session.poll(due)
    assert session.lifecycle.attempts == 1
    assert "not confirmed" in str(session.lifecycle.last_error)


def test_a_broker_of_which_nothing_is_known_may_be_one_without_receipts():
    session, _ = connected(None)
    session.want(WANTED, True)
    lose(session, None)
    second = again(session, None)
    due = session.next_deadline()
    assert due is not None
    assert due < 2.0 + RESTORE_SECONDS
    session.poll(due)
    assert session.ready is second
    assert session.habit.missed


def test_what_is_put_off_is_asked_for_again_ever_more_seldom():
    session, _ = connected()
    holder = Holder()
    session.want(WANTED, None, holder)
    lose(session, None)
    second = again(session)
    frame = error_frame(second.written[0]["receipt"], passing=True)
    session.received([frame])
    lose(session, STOMPError("no", frame))
    assert holder.told == ["lost", "put off", "lost"]
    third = again(session)
    assert session.ready is third
    assert third.written == []
    due = session.next_deadline()
    assert due == 2.0  # a second after it was refused
    carry_out(session)
    [effect] = session.poll(due)
    assert isinstance(effect, Write)
    third.write(effect.frame)
    assert session.unwant("s1") is None  # the broker knows nothing of it, as far as we know
    answer(session, third.written[0]["receipt"])
    carry_out(session)
    assert [frame.Command for frame in third.written] == ["SUBSCRIBE", "UNSUBSCRIBE"]


@pytest.mark.parametrize(
    ("server", "outcome"), [("stompy-broker/1", "unknown"), ("RabbitMQ/3.12", "rejected")]
)
def test_an_error_is_settled_when_the_connection_ends(server, outcome):
    session, _ = connected(server, reconnects=False)
    mine = Once("r1")
    session.expect(mine)
    error, receipt = error_frame(None), STOMPFrame("RECEIPT", b"", {"receipt-id": "r1"})
    assert session.received([error, receipt]) == [error]
    assert mine.outcome is Outcome.PENDING  # whoever sends next must not use this connection
    lose(session, STOMPError("no", error))
    assert (mine.outcome, mine.settled) == (outcome, 1)


def test_an_error_is_forgotten_with_its_connection():
    session, _ = connected("RabbitMQ/3.12")
    session.received([error_frame(None)])
    lose(session, None)
    again(session, "RabbitMQ/3.12")
    mine = Once("r1")
    session.expect(mine)
    lose(session, None)
    assert mine.outcome is Outcome.UNKNOWN


def test_errors_are_kept_from_recv_where_connections_follow_each_other():
    session, _ = connected()
    assert session.received([error_frame(None), message("s")]) == [message("s")]


def test_receipts_go_to_who_waits_for_them():
    session, _ = connected()
    mine = Once("r1")
    session.expect(mine)
    receipts = [STOMPFrame("RECEIPT", b"", {"receipt-id": name}) for name in ("r1", "r2")]
    assert session.received(receipts) == receipts[1:]
    assert mine.outcome is Outcome.ACCEPTED


def test_what_belongs_to_an_earlier_connection():
    session, first = connected()
    session.follow("BEGIN", "t", first)
    session.asked("r1", first)
    assert session.connection_of(1) is first
    lose(session, None)
    assert session.connection_of(1) is None
    with pytest.raises(TransactionLost):
        session.check_transaction("t")
    second = again(session)
    with pytest.raises(TransactionLost):
        session.check_transaction("t")
    session.check_transaction("another")
    assert session.asked_on("r1") is first
    session.receipt_is_told("r1")
    assert session.asked_on("r1") is second
    assert session.connection_of(2) is second


def test_a_broker_that_answers_after_our_end_is_dropped():
    session, _ = connected()
    lose(session, None)
    session.begin_round()
    session.leave(2.0)
    late = FakeConnection()
    session.connected(late, 3.0)
    assert session.poll(3.0) == [Drop(late)]
    assert session.ready is None


def test_who_wants_no_pause_has_the_round_at_once():
    session, _ = connected()
    session.settings = SessionSettings(ADDRESSES, Reconnect(delay=60.0, max_delay=60.0))
    lose(session, None)
    session.round_at = 60.0
    assert not session.round_is_due(5.0)
    session.retry_now(5.0)
    assert session.round_is_due(5.0)


def sent_away(peers: str) -> STOMPError:
    headers = {"error-code": "shutting-down", "peers": peers}
    return STOMPError("bye", STOMPFrame("ERROR", b"", headers))


def test_who_is_sent_away_again_and_again_makes_pauses():
    """Two brokers that both leave must not be gone to in turn without end."""
    session, _ = connected()
    policy = Reconnect(delay=60.0, max_delay=60.0)
    session._backoff = Backoff(policy, lambda: 0.5)
    lose(session, sent_away("stomp://four:4"))
    assert session.round_at == 1.0
    again(session)
    lose(session, sent_away("stomp://four:4"))
    assert session.round_at == 1.0 + 30.0


def test_who_is_sent_away_to_nobody_waits():
    session, _ = connected()
    session._backoff = Backoff(Reconnect(delay=60.0, max_delay=60.0), lambda: 0.5)
    lose(session, sent_away(""))
    assert session.round_at == 1.0 + 30.0


def test_an_address_comes_last_that_has_sent_us_away():
    session, _ = connected()
    lose(session, sent_away("stomp://four:4"))
    assert [address.host for address in session.begin_round()] == ["two", "three", "four", "one"]


def test_what_was_to_be_settled_over_a_lost_connection_is_stale():
    session, first = connected()
    session.want(WantedSubscription("s1", "/queue/q", AckMode.CLIENT), True)
    delivered, waiting = message("s1", 1), message("s1", 2)
    assert session.received([delivered, waiting]) == [delivered, waiting]
    assert first.subscriptions.receive(delivered) is AckDuty.ACK
    lose(session, None)
    assert first.subscriptions.receive(waiting) is AckDuty.STALE
    second = again(session)
    with pytest.raises(StaleMessageError):
        second.subscriptions.settlement("ACK", delivered)


def refused(*, keep_trying: bool) -> ClientSession[FakeConnection]:
    """A session whose first round was refused for good."""
    policy = Reconnect(delay=1.0, startup_attempts=2, keep_trying=keep_trying)
    session: ClientSession[FakeConnection] = ClientSession(
        SessionSettings(ADDRESSES, policy), itertools.count(1), lambda: 0.5, 0.0
    )
    session.connect(0.0)
    session.begin_round()
    session.round_failed(STOMPError("wrong passcode"), 0.0)
    return session


def test_what_is_refused_for_good_ends_it_unless_told_to_keep_trying():
    assert refused(keep_trying=False).ended
    session = refused(keep_trying=True)
    assert session.round_at == 1.0
    session.begin_round()
    session.round_failed(STOMPError("wrong passcode"), 1.0)
    assert session.ended
    assert str(session.reason) == "wrong passcode"


def test_a_fault_of_keep_trying_ends_it():
    def faulty(failed: object) -> bool:
        raise ValueError("oops")

    policy = Reconnect(keep_trying=faulty)
    session: ClientSession[FakeConnection] = ClientSession(
        SessionSettings(ADDRESSES, policy), itertools.count(1), lambda: 0.5, 0.0
    )
    session.connect(0.0)
    with pytest.raises(ValueError, match="oops"):  # out of `connect`
        session.round_failed(STOMPConnectionError("nobody there"), 0.0)
    session.connected(FakeConnection(), 0.0)
    lose(session, None)
    session.begin_round()
    session.round_failed(STOMPConnectionError("nobody there"), 2.0)
    assert session.ended


def test_what_the_next_broker_does_not_have_ends_alone():
    session, _ = connected()
    durable = WantedSubscription("d", "/topic/t", AckMode.AUTO, durable="mine")
    holder, other = Holder(), Holder()
    session.want(durable, None, holder)
    session.want(WANTED, None, other)
    lose(session, None)
    second = again(session, "other/1")
    assert isinstance(holder.reason, UnsupportedByBroker)
    assert [frame["id"] for frame in second.written] == ["s1"]
    assert not other.ended


def test_who_does_not_answer_when_asked_again_is_dropped():
    session, _ = connected()
    session.want(WANTED, None, Holder())
    session.wanted.put_off("s1", 0.0)
    lose(session, None)
    second = again(session)
    assert session.ready is second
    [asking] = session.poll(2.0)
    assert isinstance(asking, Write)
    due = session.next_deadline()
    assert due is not None
    assert session.poll(due) == [Drop(second)]
    lose(session, None)
    assert "not confirmed" in str(session.lifecycle.last_error)


def test_only_so_many_receipts_are_remembered(monkeypatch):
    monkeypatch.setattr(session_module, "MAX_RECEIPTS", 2)
    session, first = connected()
    for number in range(3):
        session.asked(f"r{number}", first)
    lose(session, None)
    second = again(session)
    assert [session.asked_on(f"r{number}") for number in range(3)] == [second, first, first]


def test_what_it_says_of_itself():
    session, first = connected()
    holder = Holder()
    session.want(WANTED, None, holder)
    session.want(WantedSubscription("s2", "/queue/by-id", AckMode.AUTO), True)
    assert "/queue/by-id" in session.nothing_came(1.0)
    assert "/queue/q" not in session.nothing_came(1.0)
    assert session.hindrance(0) == ""
    assert "7 frames" in session.hindrance(7)
    session.expect(Once("r1"))
    health = session.health(5.0, 0.5, observer_errors=1, late_replies=2)
    assert (health.state, health.epoch, health.since) == (ConnectionState.CONNECTED, 1, 5.0)
    assert (health.unconfirmed, health.observer_errors, health.late_replies) == (1, 1, 2)
    assert health.address == str(first.address)


def test_nobody_subscribes_over_a_connection_that_has_ended():
    session, first = connected()
    session.want(WANTED, True)
    lose(session, STOMPConnectionError("cut"))
    with pytest.raises(STOMPConnectionError, match="cut"):
        session.subscribe(first, WANTED)
    again(session)
    with pytest.raises(STOMPConnectionError, match="cut"):
        session.subscribe(first, WANTED)
