"""The states of a STOMP connection and the legal moves between them.

Two rules hold this file together: every change of state goes through `move`, and no state knows
which side we play. Read the table with either side in mind:

==========  =============================  =========================================
state       client                         server
==========  =============================  =========================================
START       nothing sent yet               waits for CONNECT or STOMP
CONNECTING  CONNECT is sent                CONNECT is read, not answered yet
OPEN        CONNECTED was received         CONNECTED is sent
CLOSING     DISCONNECT is sent             ERROR or the last RECEIPT is sent; reads no more
CLOSED      over                           over
==========  =============================  =========================================
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto


class State(Enum):
    """Where a connection stands."""

    START = auto()
    CONNECTING = auto()
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


MOVES: Mapping[State, frozenset[State]] = {
    State.START: frozenset((State.CONNECTING, State.CLOSING, State.CLOSED)),
    State.CONNECTING: frozenset((State.OPEN, State.CLOSING, State.CLOSED)),
    State.OPEN: frozenset((State.CLOSING, State.CLOSED)),
    State.CLOSING: frozenset((State.CLOSING, State.CLOSED)),
    State.CLOSED: frozenset((State.CLOSED,)),
}


def move(old: State, new: State) -> State:
    """The new state, if the move is legal.

    Raises:
        RuntimeError: it is not: a fault of the program, never of the peer.
    """
    if new not in MOVES[old]:
        raise RuntimeError(f"a connection cannot go from {old.name} to {new.name}")
    return new
