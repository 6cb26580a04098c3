"""What both sides of a STOMP connection share: parser, state, version and heart-beats."""

from __future__ import annotations

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.codec import FrameParser
from stompy.protocol.headers import Version
from stompy.protocol.heartbeat import BEAT, HeartBeat
from stompy.protocol.limits import Limits
from stompy.protocol.states import State, move


class ConnectionProtocol:
    """The common ground of `ClientProtocol` and `ServerProtocol`.

    Attributes:
        version: what was negotiated; None before that.
        heart_beat: both directions, from the moment the connection is open.
        parser: of what the peer sends.
        failure: the rule that the peer broke; nothing more is read after it.
    """

    def __init__(self, limits: Limits, parser: FrameParser) -> None:
        self.limits = limits
        self.version: Version | None = None
        self.heart_beat: HeartBeat | None = None
        self.failure: ProtocolError | None = None
        self.parser = parser
        self._state = State.START

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return self._state

    def receive_eof(self) -> None:
        """The peer closed the connection, or it broke. Harmless when repeated."""
        self._move(State.CLOSED)
        self.parser.end()

    def next_deadline(self) -> float | None:
        """When `tick` wants to be called; None when there is nothing to wait for."""
        return None if self.heart_beat is None else self.heart_beat.next_deadline()

    def tick(self, now: float) -> bytes:
        """Time has passed: a beat to send, or ``b""``. A dead peer sets `failure`."""
        heart_beat = self.heart_beat
        if heart_beat is None or self._state is not State.OPEN:
            return b""
        if heart_beat.peer_is_dead(now):  # after a margin (rule H5)
            self.failure = ProtocolError(
                ErrorCode.HEARTBEAT_TIMEOUT,
                f"nothing received for {heart_beat.silence(now):.1f} s; "
                f"a heart-beat every {heart_beat.receive:g} s was agreed",
            )
            return b""
        if heart_beat.beat_is_due(now):  # nothing else was said for an interval (rule H3)
            heart_beat.sent(now)
            return BEAT
        return b""

    def _move(self, new: State) -> None:
        self._state = move(self._state, new)

    def __repr__(self) -> str:
        """Side, version and state."""
        return f"<{type(self).__name__} {self.version or 'no version'} {self._state.name}>"
