"""When to try again; randomness is handed in, so every pause is exact."""

import pytest

from stompy.errors import ConnectionImpossible, STOMPConnectionError, STOMPError, STOMPTimeout
from stompy.protocol.frame import STOMPFrame
from stompy.session.reconnect import STABLE, Backoff, FailedRound, Reconnect, wait_asked_for


def refusal(code: str | None, message: str = "no") -> STOMPError:
    headers = {"message": message} if code is None else {"error-code": code}
    return STOMPError(message, STOMPFrame("ERROR", headers=headers))


POLICY = Reconnect(delay=1.0, max_delay=10.0)


def test_pauses_are_drawn_evenly_below_a_bound_that_doubles():
    drawn = iter([0.0, 0.5, 0.999, 0.5, 0.5, 0.5])
    backoff = Backoff(POLICY, lambda: next(drawn))
    pauses = []
    for _ in range(6):
        pauses.append(backoff.pause())
        backoff.failed(None)
    assert pauses == [0.0, 1.0, 0.999 * 4, 4.0, 5.0, 5.0]


def test_the_first_pause_is_random_already():
    assert Backoff(POLICY, lambda: 0.25).pause() == 0.25


def test_no_pause_overflows():
    backoff = Backoff(POLICY, lambda: 1.0)
    for _ in range(5000):
        backoff.failed(None)
    assert backoff.pause() == 10.0


@pytest.mark.parametrize("attempts", [1, 3])
def test_so_many_rounds_may_fail_and_no_more(attempts):
    backoff = Backoff(POLICY, lambda: 0.0)
    assert [backoff.failed(attempts) for _ in range(attempts)] == [True] * (attempts - 1) + [False]


def test_a_connection_that_lasted_makes_pauses_short_again_and_one_that_did_not_makes_none():
    backoff = Backoff(POLICY, lambda: 1.0)
    backoff.failed(None)
    backoff.failed(None)
    backoff.lost(lasted=STABLE)
    assert (backoff.pause(), backoff.failures) == (1.0, 0)
    backoff.lost(lasted=0.01)
    assert (backoff.pause(), backoff.failures) == (2.0, 0)
    backoff.lost(lasted=0.01)
    assert backoff.pause() == 4.0


def test_what_the_argument_means():
    mine = Reconnect(attempts=7)
    assert Reconnect.of(False) is None
    assert Reconnect.of(True) == Reconnect()
    assert Reconnect.of(mine) is mine


@pytest.mark.parametrize(
    "wrong",
    [
        {"delay": -1.0},
        {"delay": 2.0, "max_delay": 1.0},
        {"multiplier": 0.5},
        {"attempts": 0},
        {"startup_attempts": 0},
    ],
)
def test_bounds_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=r"grow|or more"):
        Reconnect(**wrong)


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (STOMPConnectionError("nobody answered"), False),
        (STOMPTimeout("no confirmation"), False),
        (ConnectionImpossible("no common version"), True),
        (STOMPError("wrong passcode"), True),
        (refusal("subscription-in-use"), False),
        (refusal("store-unavailable"), False),
        (refusal("limit-exceeded"), False),
        (refusal("shutting-down"), False),
        (refusal("access-refused", "who is in use"), True),
        (refusal(None, "Broker: localhost - Client: laptop already connected from tcp://"), False),
        (refusal(None, "Durable consumer is in use for client: laptop"), False),
        (refusal(None, "no such destination"), True),
    ],
)
def test_what_ends_trying_unless_one_keeps_trying(error, final):
    assert Backoff(POLICY, lambda: 0.0).is_final(error) == final
    assert not Backoff(Reconnect(keep_trying=True), lambda: 0.0).is_final(error)


def test_a_function_decides_about_each_round_that_failed_once_and_knows_the_pause():
    told: list[FailedRound] = []

    def go_on(failed: FailedRound) -> bool:
        told.append(failed)
        return failed.attempts < 2

    backoff = Backoff(Reconnect(delay=1.0, keep_trying=go_on), lambda: 0.5)
    first, second = STOMPError("wrong passcode"), STOMPConnectionError("no broker")
    assert not backoff.is_final(first)
    assert backoff.failed(None)
    assert backoff.pause() == told[0].pause == 1.0
    assert backoff.is_final(second)
    assert backoff.is_final(second)
    assert [(one.error, one.attempts, one.hopeless) for one in told] == [
        (first, 1, True),
        (second, 2, False),
    ]


@pytest.mark.parametrize("given", [5, "yes", {"delay": 1}, None])
def test_what_is_no_policy(given):
    with pytest.raises(TypeError, match=r"reconnect= is True, False or a stompy\.Reconnect"):
        Reconnect.of(given)


def test_two_short_connections_in_a_row_are_not_calm():
    backoff = Backoff(Reconnect(), lambda: 0.5)
    backoff.lost(lasted=STABLE)
    assert backoff.is_calm
    backoff.lost(lasted=0.0)
    assert backoff.is_calm
    backoff.lost(lasted=0.0)
    assert not backoff.is_calm
    backoff.lost(lasted=STABLE)
    assert backoff.is_calm


def rate_limited(seconds: str) -> STOMPError:
    headers = {"error-code": "rate-limited", "retry-after": seconds}
    return STOMPError("no", STOMPFrame("ERROR", headers=headers))


def test_a_broker_may_ask_for_a_longer_pause():
    backoff = Backoff(POLICY, lambda: 0.5)
    error = rate_limited("30.500")
    assert error.retry_after == wait_asked_for(error) == 30.5
    assert not backoff.is_final(error)
    assert backoff.pause(wait_asked_for(error)) == 30.5
    assert backoff.pause() == 0.5


def test_of_several_brokers_the_one_counts_that_asks_for_least():
    error = STOMPConnectionError("none")
    error._refusals = [("a", rate_limited("3")), ("b", rate_limited("2"))]
    assert wait_asked_for(error) == 2
    error._refusals = [("a", rate_limited("3")), ("b", None)]
    assert wait_asked_for(error) == wait_asked_for(None) == 0


@pytest.mark.parametrize("text", ["", "soon", "-1", "1e9", "1" * 400])
def test_what_is_no_number_of_seconds_is_nothing(text):
    assert rate_limited(text).retry_after is None


def test_who_decides_is_told_the_pause_that_a_broker_asks_for():
    told: list[FailedRound] = []

    def decide(failed: FailedRound) -> bool:
        told.append(failed)
        return True

    backoff = Backoff(Reconnect(keep_trying=decide), lambda: 0.5)
    assert not backoff.is_final(rate_limited("9"))
    assert backoff.pause() == told[0].pause == 9
