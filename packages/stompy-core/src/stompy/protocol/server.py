"""The server's side of a STOMP connection. **Hot path** (`ServerProtocol.receive_data`).

It settles the version, checks which commands may come when and with which headers, and writes
CONNECTED, RECEIPT and ERROR. What SEND or SUBSCRIBE *mean* is none of its business, and neither
is who may log in: the owner answers CONNECT with `accept` or `refuse`.
"""

from __future__ import annotations

from collections.abc import Mapping

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.codec import FrameParser, encode_frame
from stompy.protocol.connection import ConnectionProtocol
from stompy.protocol.header_cache import Head, HeadCache
from stompy.protocol.headers import ALL_VERSIONS, Version
from stompy.protocol.heartbeat import DEFAULT_HEART_BEAT, HeartBeat, negotiate, parse_heart_beat
from stompy.protocol.limits import DEFAULT_LIMITS, Limits
from stompy.protocol.states import State

EOL = b"\n"
"""What follows each frame of a server, in the same write: clients are known that wait for it."""

_NO_HEART_BEAT = (0, 0)

_ALWAYS: Mapping[str, tuple[str, ...]] = {
    "SEND": ("destination",),
    "SUBSCRIBE": ("destination",),
    "UNSUBSCRIBE": (),
    "ACK": ("message-id",),
    "NACK": ("message-id",),
    "BEGIN": ("transaction",),
    "COMMIT": ("transaction",),
    "ABORT": ("transaction",),
    "DISCONNECT": (),
}
_SINCE_1_1 = {
    "SUBSCRIBE": ("id", "destination"),
    "UNSUBSCRIBE": ("id",),
    "ACK": ("subscription", "message-id"),
    "NACK": ("subscription", "message-id"),
}
REQUIRED_HEADERS: Mapping[Version, Mapping[str, tuple[str, ...]]] = {
    # 1.0 may name a subscription by its id or its destination; `_check_alternative` knows.
    Version.V1_0: {**_ALWAYS, "UNSUBSCRIBE": ("id",)},
    Version.V1_1: {**_ALWAYS, **_SINCE_1_1},
    Version.V1_2: {**_ALWAYS, **_SINCE_1_1, "ACK": ("id",), "NACK": ("id",)},
}
"""What a client may send once connected, and with which headers."""

_SERVER_COMMANDS = frozenset(("CONNECTED", "MESSAGE", "RECEIPT", "ERROR"))


def choose_version(accept_version: str | None, best: Version = Version.V1_2) -> Version | None:
    """The highest common version for an ``accept-version`` header; blanks are tolerated.

    A missing header means 1.0 (1.2, *Protocol Negotiation*). None: there is no common version.

    Args:
        accept_version: the header.
        best: none beyond this one.
    """
    if accept_version is None:
        return Version.V1_0
    offered = {part.strip() for part in accept_version.split(",")}
    return next((v for v in ALL_VERSIONS if v in offered and v <= best), None)


class ServerProtocol(ConnectionProtocol):
    """Reads what a client sends, and writes the frames that are about the connection itself.

    Args:
        limits: bounds for frames after login; before it, `Limits.before_login` holds.
        caches: one `HeadCache` for each version, shared by all connections of a server.
        heart_beat: milliseconds (we can send, we want to receive).
        heart_beat_grace: after how many intervals of silence a client is dead.
        best: the highest version to agree on.
    """

    def __init__(
        self,
        limits: Limits = DEFAULT_LIMITS,
        *,
        caches: Mapping[Version, HeadCache] | None = None,
        heart_beat: tuple[int, int] = DEFAULT_HEART_BEAT,
        heart_beat_grace: float = 2.0,
        best: Version = Version.V1_2,
    ) -> None:
        super().__init__(limits, FrameParser(limits.before_login(), self._check_opening))
        self._caches = caches or {}
        self._offer = heart_beat
        self._grace = heart_beat_grace
        self._best = best
        self._client_beat = _NO_HEART_BEAT
        self._required: Mapping[str, tuple[str, ...]] = {}

    def receive_data(self, data: bytes, now: float) -> list[tuple[Head, bytes]]:
        """Take bytes from the client; give the frames to act on, oldest first.

        CONNECT comes alone: answer it with `accept` or `refuse`. After `accept`, call again
        with ``b""`` for what the client sent in the meantime. Never raises for what the client
        did: `failure` is then set, and the frames before the bad one are given.
        """
        if self.heart_beat is not None:
            self.heart_beat.received(now)
        if self._state is State.CLOSING or self._state is State.CLOSED:
            return []
        parser = self.parser
        frames = parser.feed(data)
        if parser.failure is not None:
            self.failure = parser.failure
        if frames and self._state is State.START:
            self._connect(frames[0][0])
            return frames if self.failure is None else []
        return frames

    def _connect(self, head: Head) -> None:
        """Settle version and heart-beat from CONNECT."""
        self._move(State.CONNECTING)
        headers = head.headers
        try:
            version = choose_version(headers.get("accept-version"), self._best)
            if version is None:
                # The ERROR lists what there is (rule N6).
                raise ProtocolError(
                    ErrorCode.UNSUPPORTED_VERSION,
                    f"supported versions are {supported_versions(self._best)}, "
                    f"not {headers['accept-version'][:60]!r}",
                )
            if "heart-beat" in headers and version is not Version.V1_0:
                self._client_beat = parse_heart_beat(headers["heart-beat"])
        except ProtocolError as error:
            self.failure = error.with_traceback(None)
            return
        self.version = version
        if version is Version.V1_0:
            # 1.0's own examples pad values with blanks (rule F9).
            head.headers = {name.strip(): value.strip() for name, value in headers.items()}

    def accept(self, headers: Mapping[str, str], now: float) -> bytes:
        """Answer CONNECT with CONNECTED (1.2, *CONNECTED Frame*).

        Args:
            headers: ``session``, ``server`` and the like; ``version`` and ``heart-beat`` are
                added.
            now: the time from which heart-beats count.

        Returns:
            The bytes to write.
        """
        assert self.version is not None
        self._move(State.OPEN)
        # 1.0 has no heart-beats (rule H6).
        offer = self._offer if self.version is not Version.V1_0 else _NO_HEART_BEAT
        send, receive = negotiate(offer, self._client_beat)
        self.heart_beat = HeartBeat(send, receive, now, self._grace)
        self._required = REQUIRED_HEADERS[self.version]
        self.parser.proceed(
            self.version, self.limits, self._check_open, self._caches.get(self.version)
        )
        answer = {
            "version": self.version.value,
            "heart-beat": f"{offer[0]},{offer[1]}",
            **headers,
        }
        return encode_frame("CONNECTED", answer) + EOL

    def receipt(self, receipt_id: str) -> bytes:
        """The bytes of a RECEIPT (1.2, *RECEIPT*)."""
        assert self.version is not None
        if receipt_id.isalnum() and receipt_id.isascii():
            # Nothing to escape: a quarter of the time (``benchmarks/codec.py``).
            return f"RECEIPT\nreceipt-id:{receipt_id}\n\n\0\n".encode()
        return encode_frame("RECEIPT", {"receipt-id": receipt_id}, version=self.version) + EOL

    def receipt_telling(self, receipt_id: str, told: Mapping[str, str]) -> bytes:
        """The bytes of a RECEIPT that has further headers."""
        assert self.version is not None
        headers = {**told, "receipt-id": receipt_id}
        return encode_frame("RECEIPT", headers, version=self.version) + EOL

    def error(self, headers: Mapping[str, str], body: str) -> bytes:
        """The bytes of an ERROR; nothing is read after it (1.2, *ERROR*: then close)."""
        self._move(State.CLOSING)
        if self.version is None:
            # No version yet, so nothing may need an escape (rule E8).
            headers = {
                name: " ".join(value.replace("\\", "/").replace(":", " ").split())
                for name, value in headers.items()
            }
        content = {"content-type": "text/plain;charset=utf-8"}
        for name, value in headers.items():
            # What is repeated of a frame that had a NUL among its headers would end this one.
            content[name] = value.replace("\0", "?")
        return encode_frame("ERROR", content, body.encode(), self.version or Version.V1_2) + EOL

    def stop_reading(self) -> None:
        """After DISCONNECT: whatever still comes is ignored (1.2, *DISCONNECT*)."""
        self._move(State.CLOSING)

    def _check_opening(self, head: Head) -> None:
        if head.command not in ("CONNECT", "STOMP"):
            known = head.command in _ALWAYS or head.command in _SERVER_COMMANDS
            raise ProtocolError(
                ErrorCode.UNEXPECTED_FRAME if known else ErrorCode.UNKNOWN_COMMAND,
                f"the first frame must be CONNECT or STOMP, not {head.command[:32]!r}",
            )

    def _check_open(self, head: Head) -> None:
        """Whether a command may come now, and with these headers."""
        required = self._required.get(head.command)
        if required is None:
            raise self._wrong_command(head.command)
        headers = head.headers
        for name in required:
            if not headers.get(name):
                self._check_alternative(head, name)

    def _check_alternative(self, head: Head, missing: str) -> None:
        """What may take the place of a header that is not there."""
        command, headers = head.command, head.headers
        by_message = "message-id" in headers and "subscription" in headers
        by_destination = command == "UNSUBSCRIBE" and "destination" in headers
        if self.version is Version.V1_0 and by_destination:
            return
        # A 1.2 client that learned 1.1 names a delivery as 1.1 does (*ACK*).
        if self.version is Version.V1_2 and command in ("ACK", "NACK") and by_message:
            return
        raise ProtocolError(ErrorCode.MISSING_HEADER, f"{command} needs a {missing!r} header")

    def _wrong_command(self, command: str) -> ProtocolError:
        if command in ("CONNECT", "STOMP"):  # there is one (rule N12)
            return ProtocolError(ErrorCode.UNEXPECTED_FRAME, "this connection is connected already")
        if command in _SERVER_COMMANDS:
            return ProtocolError(
                ErrorCode.UNEXPECTED_FRAME, f"{command} is a server's frame, not a client's"
            )
        return ProtocolError(ErrorCode.UNKNOWN_COMMAND, f"there is no command {command[:32]!r}")


def supported_versions(best: Version = Version.V1_2) -> str:
    """All versions up to one, as the ``version`` header of an ERROR lists them."""
    return ",".join(version.value for version in reversed(ALL_VERSIONS) if version <= best)
