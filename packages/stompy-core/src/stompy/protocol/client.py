"""The client's side of a STOMP connection. **Hot path** (`ClientProtocol.receive_data`).

It writes CONNECT, reads CONNECTED, and from then on turns bytes into frames and frames into
bytes for the version that was settled. Receipts, subscriptions and waiting belong to its owner.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.codec import FrameParser, encode_frame
from stompy.protocol.connection import ConnectionProtocol
from stompy.protocol.frame import STOMPFrame, received
from stompy.protocol.headers import ALL_VERSIONS, UNESCAPED_COMMANDS, V1_2, Version, is_writable
from stompy.protocol.heartbeat import DEFAULT_HEART_BEAT, HeartBeat, negotiate, parse_heart_beat
from stompy.protocol.limits import DEFAULT_LIMITS, Limits
from stompy.protocol.message_heads import MessageHeads
from stompy.protocol.states import State
from stompy.protocol.traffic import Traffic

# Servers were seen to answer with negative numbers; they mean "none".
_NEGATIVE = re.compile(r"-\s*\d+")

_NEEDS_LENGTH = "a body with a NUL needs a content-length: connect(content_length=True)"

_MISSES = 3
"""After so many SENDs that did not repeat the headers of the one before, ..."""
_SKIPPED = 100
"""... so many are written without a look at them."""


class FrameTrace(Protocol):
    """Who looks at the frames of one connection."""

    def sending(
        self, command: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Mapping[str, str], bytes]:
        """See a frame before it is written; give its headers and body as they are then."""

    def received(self, frames: Iterable[STOMPFrame]) -> None:
        """See frames that were read."""


class ClientProtocol(ConnectionProtocol):
    """Speaks STOMP to a server.

    Args:
        limits: bounds for what the server may send; by default what it tells, or else usual ones,
            with room for what a broker adds to a message.
        versions: the versions to offer.
        heart_beat: milliseconds (we can send, we want to receive).
        heart_beat_grace: after how many intervals of silence the server is dead.
        content_length: whether SEND says how long its body is. ActiveMQ and Artemis make a text
            message of what does not say.
        trace: looks at the frames.
        traffic: counts what is received; who writes counts what is sent.

    Attributes:
        connected: the CONNECTED frame, once it came.
        traffic: what goes over the connection.
    """

    def __init__(
        self,
        limits: Limits = DEFAULT_LIMITS,
        *,
        versions: Sequence[Version] = ALL_VERSIONS,
        heart_beat: tuple[int, int] = DEFAULT_HEART_BEAT,
        heart_beat_grace: float = 2.0,
        content_length: bool = True,
        trace: FrameTrace | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self._takes_limits = limits is DEFAULT_LIMITS
        if self._takes_limits:
            limits = limits.with_room()
        super().__init__(limits, FrameParser(limits))
        self.traffic = Traffic() if traffic is None else traffic
        self._trace = trace
        self.connected: STOMPFrame | None = None
        self._versions = tuple(versions)
        self._offer = heart_beat
        self._grace = heart_beat_grace
        self._content_length = content_length
        self._repeated: tuple[Mapping[str, str], bytes] | None = None
        self._missed = 0  # how many SENDs, one after another, did not repeat the one before
        self._not_looked_at = 0  # how many SENDs to come are not compared with the one before

    def connect(self, headers: Mapping[str, str]) -> bytes:
        """The bytes of CONNECT (1.2, *CONNECT or STOMP Frame*).

        Args:
            headers: ``host``, ``login`` and the like; ``accept-version`` and ``heart-beat`` are
                added unless they are given.

        Raises:
            ValueError: a header holds a line break, which CONNECT cannot carry.
        """
        # What all servers know, whatever they speak (rules N2 and N3).
        offered = ",".join(sorted(version.value for version in self._versions))
        all_headers = {
            "accept-version": offered,
            "heart-beat": f"{self._offer[0]},{self._offer[1]}",
            **headers,
        }
        self._offer = parse_heart_beat(all_headers["heart-beat"])
        if self._trace is not None:
            self._trace.sending("CONNECT", all_headers, b"")
        data = encode_frame("CONNECT", all_headers)
        self._move(State.CONNECTING)
        return data

    def receive_data(self, data: bytes, now: float) -> list[STOMPFrame]:
        """Take bytes from the server; give its frames, oldest first, CONNECTED included.

        Never raises for what the server did: `failure` is then set.
        """
        if self.heart_beat is not None:
            self.heart_beat.received(now)
        parser = self.parser
        frames = received(parser.feed(data))
        traffic = self.traffic
        traffic.bytes_received += len(data)
        traffic.frames_received += len(frames)
        if self._trace is not None:
            self._trace.received(frames)
        if frames and self._state is State.CONNECTING:
            self._answered(frames[0], now)
            if self.connected is not None:
                frames += self.receive_data(b"", now)
        if self.failure is None and parser.failure is not None:
            self.failure = _with_remedy(parser.failure)
        return frames

    def send(self, command: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
        """The bytes of a frame for the version in use.

        Raises:
            ValueError: a header that this version cannot carry (1.0 has no line breaks); or a
                body with a NUL that may not say how long it is.
        """
        if self._trace is not None:
            headers, body = self._trace.sending(command, headers, body)
        version = self.version or V1_2
        if version is not V1_2:
            _check_writable(command, headers, version)
        if command == "SEND" and body and self._content_length:
            return self._send(headers, body, version)
        if self._content_length or command != "SEND":
            return encode_frame(command, headers, body, version)
        if b"\0" in body:
            raise ValueError(_NEEDS_LENGTH)
        return encode_frame(command, headers, body, version, content_length=False)

    def look(
        self, command: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Mapping[str, str], bytes]:
        """Have who looks at frames see one; give its headers and body as they are then."""
        if self._trace is None:
            return headers, body
        return self._trace.sending(command, headers, body)

    def encode(self, command: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
        """The bytes of a frame that was looked at, perhaps for another connection.

        Raises:
            ValueError: as `send`.
        """
        version = self.version or V1_2
        _check_writable(command, headers, version)
        says_length = self._content_length or command != "SEND"
        if not says_length and b"\0" in body:
            raise ValueError(_NEEDS_LENGTH)
        return encode_frame(command, headers, body, version, content_length=says_length)

    def settle(self, command: str, ack_id: str) -> bytes:
        """The bytes of an ACK or NACK of 1.2 that says nothing but what is meant.

        Measured with ``benchmarks/codec.py``: a third of what `send` takes.
        """
        if self._trace is None and ack_id.replace("-", "").isalnum():
            return f"{command}\nid:{ack_id}\n\n\0".encode()
        return self.send(command, {"id": ack_id})

    def _send(self, headers: Mapping[str, str], body: bytes, version: Version) -> bytes:
        """Write a SEND. A producer repeats its headers, so what was written of them is kept.

        Measured with ``benchmarks/codec.py``: a repeated head takes less than half the time. Who
        never repeats one is soon left alone, but for a few frames in each hundred.
        """
        if self._not_looked_at:
            self._not_looked_at -= 1
            return encode_frame("SEND", headers, body, version)
        repeated = self._repeated  # any thread may be here
        if repeated is not None and headers == repeated[0]:
            self._missed = 0
            return b"%bcontent-length:%d\n\n%b\0" % (repeated[1], len(body), body)
        self._missed += 1
        if self._missed > _MISSES:
            self._missed, self._not_looked_at = 0, _SKIPPED
        frame = encode_frame("SEND", headers, body, version)
        if "content-length" not in headers and self.version is not None:
            self._repeated = dict(headers), frame[: frame.rindex(b"content-length:", 0, -len(body))]
        return frame

    def tick(self, now: float) -> bytes:
        """Time has passed: a beat to send, or ``b""``. A dead peer sets `failure`."""
        before, beat = self.failure, super().tick(now)
        if self.failure is not before:
            self.traffic.heart_beat_timeouts += 1
        return beat

    def disconnect(self, receipt_id: str) -> bytes:
        """The bytes of DISCONNECT; its receipt says that the server is done (*DISCONNECT*)."""
        data = self.send("DISCONNECT", {"receipt": receipt_id})
        self._move(State.CLOSING)
        return data

    def _answered(self, frame: STOMPFrame, now: float) -> None:
        """The first frame must be CONNECTED or ERROR."""
        if frame.Command == "ERROR":
            self._move(State.CLOSING)
            return
        try:
            self._connected(frame, now)
        except ProtocolError as error:
            self.failure = error

    def _connected(self, frame: STOMPFrame, now: float) -> None:
        if frame.Command != "CONNECTED":
            raise ProtocolError(
                ErrorCode.UNEXPECTED_FRAME,
                f"the server answered CONNECT with {(frame.Command or '')[:32]!r}",
            )
        # A server of 1.0 does not say it (rule N7).
        chosen = frame.get("version", "1.0")
        version = next((v for v in self._versions if v == chosen), None)
        if version is None:
            raise ProtocolError(
                ErrorCode.UNSUPPORTED_VERSION,
                f"the server chose version {chosen!r}, which was not offered",
            )
        theirs = parse_heart_beat(_NEGATIVE.sub("0", frame.get("heart-beat") or "0,0"))
        self.version = version
        self.connected = frame
        send, receive = negotiate(self._offer, theirs)
        self.heart_beat = HeartBeat(send, receive, now, self._grace)
        if self._takes_limits:
            self.limits = Limits.read(frame.Headers).with_room()
        # In 1.0, blanks around a header mean nothing: not each head is read as it stands.
        memory = None if version is Version.V1_0 else MessageHeads()
        # What one message says in its headers is to cost nobody the connection.
        self.parser.proceed(version, self.limits, memory=memory, tolerant=True)
        self._move(State.OPEN)


def _check_writable(command: str, headers: Mapping[str, str], version: Version) -> None:
    """Refuse what would be another header without escapes, or another frame (rules E1 and E2)."""
    if version is V1_2 or command in UNESCAPED_COMMANDS:
        return
    for name, value in headers.items():
        if not is_writable(name, value, version):
            raise ValueError(f"STOMP {version} cannot carry the header {name!r}: {value!r}")


def _with_remedy(failure: ProtocolError) -> ProtocolError:
    """A frame beyond our own limits is nobody's fault but theirs; say how to have others."""
    if failure.error_code is not ErrorCode.FRAME_TOO_LARGE:
        return failure
    return ProtocolError(
        failure.error_code,
        f"{failure.Message}, which is this client's; connect(limits=stompy.Limits(…)) sets others",
        headers=failure.frame_headers,
    )
