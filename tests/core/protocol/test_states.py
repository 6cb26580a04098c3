"""The moves of a connection."""

from __future__ import annotations

from itertools import product

import pytest

from stompy.protocol.states import MOVES, State, move

LEGAL = {
    (State.START, State.CONNECTING),
    (State.START, State.CLOSING),
    (State.START, State.CLOSED),
    (State.CONNECTING, State.OPEN),
    (State.CONNECTING, State.CLOSING),
    (State.CONNECTING, State.CLOSED),
    (State.OPEN, State.CLOSING),
    (State.OPEN, State.CLOSED),
    (State.CLOSING, State.CLOSING),
    (State.CLOSING, State.CLOSED),
    (State.CLOSED, State.CLOSED),
}


@pytest.mark.parametrize(("old", "new"), list(product(State, State)))
def test_each_move(old: State, new: State):
    if (old, new) in LEGAL:
        assert move(old, new) is new
    else:
        with pytest.raises(RuntimeError, match=f"from {old.name} to {new.name}"):
            move(old, new)


def test_every_state_leads_to_the_end():
    for state in State:
        assert State.CLOSED in MOVES[state]
