"""Whose passcode is looked at next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from tests.support.house import Time

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.security.auth import Credentials, Principal, Verdict
from stompy_broker.security.check_queue import MOST_IN_LANE, MOST_IN_SLOW_LANE, Attempt, CheckQueue

WRONG = ProtocolError(ErrorCode.AUTHENTICATION_FAILED, "wrong")


class Gate:
    """A queue whose checks the test answers; three failures make a lane slow."""

    def __init__(self, most: int = 1) -> None:
        self.time = Time()
        self.failed: Counter[str] = Counter()
        self.checks: list[tuple[str, Callable[[Verdict], None]]] = []
        self.answers: list[tuple[str, Verdict]] = []
        self.gone: set[str] = set()
        self.ranks: dict[str, int] = {}
        self.check_queue = CheckQueue(self.time.clock, self._check, self, most)

    def _check(self, credentials: Credentials, done: Callable[[Verdict], None]) -> None:
        self.checks.append((credentials.login or "", done))

    def rank(self, attempt: Attempt) -> int:
        return self.ranks.get(attempt.lane, 3 if self.failed[attempt.lane] else 1)

    def is_slow(self, lane: str) -> bool:
        return self.failed[lane] >= 3

    def penalty(self, attempt: Attempt, verdict: Verdict) -> tuple[float, float]:
        if isinstance(verdict, Principal):
            return 0.0, 0.0
        self.failed[attempt.lane] += 1
        return (4.0 if self.is_slow(attempt.lane) else 0.0), 0.0

    def come(self, login: str, lane: str = "here", question: str = "") -> Attempt:
        attempt = Attempt(
            lane,
            (question or login).encode(),
            Credentials(login, "x"),
            lambda verdict: self.answers.append((login, verdict)),
            lambda: login in self.gone,
        )
        self.check_queue.enter(attempt)
        return attempt

    def settle(self, *, right: bool = True) -> str:
        """Answer the check that began first; gives whose it was."""
        login, done = self.checks.pop(0)
        done(Principal(login) if right else WRONG)
        return login

    def finish(self) -> None:
        """Let turns of the event loop go by until all answers are given."""
        while self.check_queue._answers:
            self.time.advance(0)

    @property
    def under_way(self) -> list[str]:
        return [login for login, _ in self.checks]

    def codes(self) -> Counter[str]:
        return Counter(
            verdict.code for _, verdict in self.answers if isinstance(verdict, ProtocolError)
        )


def test_few_at_once_in_the_order_of_arrival() -> None:
    gate = Gate(most=2)
    for number in range(6):
        gate.come(f"user{number}")
    assert gate.under_way == ["user0", "user1"]
    assert gate.check_queue.waiting == 6
    assert [gate.settle() for _ in range(6)] == [f"user{number}" for number in range(6)]
    assert [login for login, _ in gate.answers] == [f"user{number}" for number in range(6)]
    assert gate.check_queue.waiting == 0
    assert not gate.check_queue._lanes


def test_addresses_have_their_turns() -> None:
    gate = Gate()
    for number in range(5):
        gate.come(f"many{number}", "there")
    gate.come("ann", "home")
    gate.come("bob", "work")
    order = [gate.settle() for _ in range(7)]
    assert order == ["many0", "many1", "ann", "bob", "many2", "many3", "many4"]


def test_who_has_not_failed_goes_first() -> None:
    gate = Gate()
    gate.failed["there"] = 1
    gate.come("first", "other")
    for number in range(3):
        gate.come(f"guess{number}", "there")
    gate.come("ann", "home")
    gate.come("bob", "home")
    assert [gate.settle() for _ in range(3)] == ["first", "ann", "bob"]
    assert gate.under_way == ["guess0"]


def test_ranks_are_looked_at_again_when_a_lane_has_its_turn() -> None:
    gate = Gate()
    gate.come("first", "other")
    gate.come("guess", "there")
    gate.come("again", "there")
    gate.come("ann", "home")
    gate.ranks["there"] = 2
    gate.ranks["known"] = 0
    gate.come("bob", "known")
    assert [gate.settle() for _ in range(5)] == ["first", "bob", "ann", "guess", "again"]


def test_the_same_question_is_asked_once() -> None:
    gate = Gate()
    for _ in range(1000):
        gate.come("ann", question="ann's")
    gate.come("bob")
    assert gate.settle() == "ann"  # it had begun before the others came
    assert gate.settle() == "ann"
    assert gate.settle() == "bob"
    gate.finish()
    assert Counter(login for login, _ in gate.answers) == {"ann": 1000, "bob": 1}


def test_many_answers_let_others_have_their_turn() -> None:
    gate = Gate()
    gate.come("zoe")
    for _ in range(120):
        gate.come("ann", question="ann's")
    gate.settle()
    gate.settle()
    assert len(gate.answers) == 51
    gate.time.advance(0)
    assert 51 < len(gate.answers) < 121
    gate.finish()
    assert len(gate.answers) == 121


def test_a_slow_lane_has_one_check_at_a_time_and_rests() -> None:
    gate = Gate(most=2)
    for number in range(8):
        gate.come(f"guess{number}", "there")
    for _ in range(3):
        gate.settle(right=False)
    assert gate.under_way == ["guess3"]  # it had begun before
    gate.time.advance(1)
    gate.settle(right=False)
    gate.come("ann", "home")
    assert gate.under_way == ["ann"]  # nobody else's rest is hers
    gate.settle()
    gate.time.advance(3.9)
    assert gate.under_way == []
    gate.time.advance(0.1)
    assert gate.under_way == ["guess4"]
    gate.settle()  # right: no rest
    assert gate.under_way == ["guess5"]
    gate.settle(right=False)
    assert gate.under_way == []
    gate.time.advance(4)
    assert gate.under_way == ["guess6"]


def test_who_has_gone_is_not_looked_at() -> None:
    gate = Gate()
    first = gate.come("first")
    attempts = [gate.come(f"flood{number}") for number in range(100)]
    gate.come("seen to be gone")
    gate.gone.add("seen to be gone")
    gate.come("ann")
    for attempt in attempts:
        gate.check_queue.leave(attempt)
        gate.check_queue.leave(attempt)
    assert gate.check_queue.waiting == 3
    gate.settle()
    assert gate.under_way == ["ann"]
    gate.settle()
    gate.check_queue.leave(first)
    assert [login for login, _ in gate.answers] == ["first", "ann"]
    assert gate.check_queue.waiting == 0
    assert not gate.check_queue._lanes


def test_one_of_several_with_the_same_question_leaves() -> None:
    gate = Gate()
    gate.come("first")
    one, _other = gate.come("ann"), gate.come("ann")
    gate.check_queue.leave(one)
    gate.settle()
    gate.settle()
    assert [login for login, _ in gate.answers] == ["first", "ann"]


def test_a_full_lane_is_refused_at_once() -> None:
    gate = Gate()
    gate.come("first")
    for number in range(MOST_IN_LANE + 5):
        gate.come(f"flood{number}")
    assert gate.codes() == {"limit-exceeded": 5}
    assert "busy" in str(gate.answers[0][1])
    gate.come("ann", "home")
    gate.settle()
    gate.settle()
    assert gate.under_way == ["ann"]


def test_a_lane_that_becomes_slow_has_less_room() -> None:
    gate = Gate()
    for number in range(200):
        gate.come(f"guess{number}", "there")
    for _ in range(3):
        gate.settle(right=False)
    gate.finish()
    assert gate.check_queue.waiting == MOST_IN_SLOW_LANE
    assert gate.codes() == {
        "authentication-failed": 3,
        "limit-exceeded": 200 - 3 - MOST_IN_SLOW_LANE,
    }
    gate.come("one more", "there")
    assert gate.answers[-1][0] == "one more"
    # Those who came first still wait.
    gate.time.advance(4)
    assert gate.under_way == ["guess3"]


def test_the_end_turns_away_whoever_waits_and_whoever_comes() -> None:
    gate = Gate()
    gate.come("checked")
    gate.come("waits")
    gate.check_queue.close(ProtocolError(ErrorCode.SHUTTING_DOWN, "the broker is stopping"))
    gate.come("late")
    assert [login for login, _ in gate.answers] == ["waits", "late"]
    assert gate.codes() == {"shutting-down": 2}
    gate.settle()
    assert gate.check_queue.waiting == 0


def test_a_fault_in_one_answer_keeps_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()

    def fail(verdict: Verdict) -> None:
        raise RuntimeError("a fault")

    gate.check_queue.enter(Attempt("a", b"1", Credentials("x", "x"), fail, lambda: False))
    gate.come("ann", "home")
    gate.settle()
    gate.settle()
    assert [login for login, _ in gate.answers] == ["ann"]
    assert "fault while a login was answered" in caplog.text


def test_checks_that_are_over_at_once() -> None:
    """As those that are remembered: nothing piles up on the stack."""
    gate = Gate()
    gate.come("first")
    for number in range(MOST_IN_LANE - 1):
        gate.come(f"user{number}")
    gate.check_queue._check = lambda credentials, done: done(Principal(credentials.login or ""))
    gate.settle()
    gate.finish()
    assert len(gate.answers) == MOST_IN_LANE
