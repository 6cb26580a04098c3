"""The states of a client and its epochs."""

import itertools

import pytest

from stompy.errors import STOMPConnectionError
from stompy.session.state import ConnectionState, Lifecycle, StateChange

S = ConnectionState
WAYS = {
    S.DISCONNECTED: [],
    S.CONNECTING: [S.CONNECTING],
    S.CONNECTED: [S.CONNECTING, S.CONNECTED],
    S.RECONNECTING: [S.CONNECTING, S.CONNECTED, S.RECONNECTING],
    S.CLOSED: [S.CONNECTING, S.CLOSED],
}
LEGAL = {
    S.DISCONNECTED: {S.CONNECTING},
    S.CONNECTING: {S.CONNECTED, S.DISCONNECTED, S.CLOSED},
    S.CONNECTED: {S.RECONNECTING, S.DISCONNECTED, S.CLOSED},
    S.RECONNECTING: {S.CONNECTED, S.DISCONNECTED, S.CLOSED},
    S.CLOSED: {S.CONNECTING},
}


def at(state: S) -> Lifecycle:
    life = Lifecycle(0.0)
    for step in WAYS[state]:
        life.move(step, 1.0)
    assert life.state is state
    return life


@pytest.mark.parametrize(("old", "new"), list(itertools.product(S, S)))
def test_the_moves(old, new):
    life = at(old)
    if new is old:
        assert life.move(new, 9.0) is None
    elif new in LEGAL[old]:
        change = life.move(new, 9.0)
        assert change is not None
        assert (change.state, change.previous, life.state, life.since) == (new, old, new, 9.0)
    else:
        with pytest.raises(RuntimeError, match=f"from {old} to {new}"):
            life.move(new, 9.0)


def test_a_change_tells_where_why_and_for_how_long():
    life = Lifecycle(0.0)
    life.move(S.CONNECTING, 1.0)
    assert life.opened("stomp://there") == 1
    life.move(S.CONNECTED, 2.0)
    reason = STOMPConnectionError("gone")
    change = life.move(S.RECONNECTING, 5.5, reason)
    assert change == StateChange(S.RECONNECTING, S.CONNECTED, "stomp://there", 1, reason, 3.5)
    assert life.last_error is reason


def test_failed_rounds_are_counted_until_there_is_a_connection():
    life = at(S.RECONNECTING)
    failure = STOMPConnectionError("nobody there")
    life.round_failed(failure)
    life.round_failed(failure)
    assert (life.attempts, life.last_error) == (2, failure)
    assert life.opened("x") == 1
    life.move(S.CONNECTED, 3.0)
    assert (life.attempts, life.last_error) == (0, failure)
