"""One connection of the asyncio client: an `asyncio.Protocol` round the sans-I/O protocol.

**Hot path** (`Connection.data_received`, `Connection.write`). The invariants:

* There is no task. What arrives goes to the protocol and the owner at once; frames to send are
  gathered and written together at the end of the turn of the event loop, or earlier when there
  are many. One timer serves heart-beats and their supervision.
* Frames enter the outbox whole, without an ``await`` in between, and leave it from the front.
  Whatever is cancelled, no frame is torn and none overtakes another.
* A sender that finds the connection congested waits before its frame is queued. If that takes too
  long, or the sender is cancelled, its frame was not queued at all.
* While nothing is read, at the owner's wish, the broker's silence is not held against it.
* The connection ends once. From the first instant nothing can be sent; `close_reason` says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import Protocol, cast

from stompy.aio.waiting import Signal
from stompy.errors import STOMPConnectionError, STOMPError, STOMPTimeout
from stompy.protocol.client import ClientProtocol
from stompy.protocol.frame import STOMPFrame
from stompy.protocol.states import State
from stompy.session.address import Address
from stompy.session.client_info import not_connected, stood_still
from stompy.session.clock import Clock, seconds_of
from stompy.session.dialects import UNKNOWN
from stompy.session.handshake import broker_error, foreign_connection, other_loop
from stompy.session.subscriptions import Subscriptions
from stompy.transport.streams import input_waits, read_rest

logger = logging.getLogger("stompy")

GATHER_SIZE = 64 * 1024
"""So much is gathered before it is written within a turn of the loop."""
_SOON = 0.01
OUTBOX_MARK = 1024 * 1024
"""While so much is unwritten, senders wait."""


class Owner(Protocol):
    """Who a connection works for."""

    def opened(self, connection: Connection) -> None:
        """Take a connection over which CONNECTED has come."""

    def received(
        self,
        connection: Connection,
        frames: list[STOMPFrame],
        size: int,
        error: STOMPFrame | None,
    ) -> None:
        """Take frames that arrived.

        Args:
            connection: over which.
            frames: oldest first.
            size: how many bytes they took.
            error: the ERROR among them, if there is one.
        """

    def lost(self, connection: Connection) -> None:
        """Learn that a connection has ended, for whatever reason."""


class Connection(asyncio.Protocol):
    """Sends, receives into an inbox, keeps the heart-beats.

    Args:
        address: where it leads, for messages.
        protocol: turns verbs into bytes and bytes into frames.
        owner: gets the frames.
        send_timeout: seconds that a sender may wait for room.

    Attributes:
        first: the first bytes of the broker, which may show that it is none.
        congested: whether a sender must wait for `room` before it may `write`; at first so, until
            the owner says otherwise.
        close_reason: why it ended; None while it is open, and when we ended it ourselves.
        epoch: its number; the session sets it, like the next two.
        dialect: the ways of its broker.
        subscriptions: what is owed for its messages.
        last_received: when the last bytes came, by the clock that it goes by.
    """

    def __init__(
        self,
        address: Address,
        protocol: ClientProtocol,
        owner: Owner,
        send_timeout: float,
        clock: Clock | None = None,
    ) -> None:
        self.address = address
        self.protocol = protocol
        self._traffic = protocol.traffic
        self.first = b""
        self.congested = True
        self.close_reason: STOMPError | None = None
        self.last_received = 0.0
        self.epoch = 0
        self.dialect = UNKNOWN
        self.subscriptions = Subscriptions(None)
        self._process = os.getpid()
        self._owner = owner
        self._send_timeout = send_timeout
        self._loop = asyncio.get_running_loop()
        self._clock, self._now = clock, seconds_of(clock, self._loop.time)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[STOMPFrame] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._room = Signal()
        self._outbox: list[bytes] = []
        self._outbox_size = 0
        self._flush_is_due = False
        self._open = False
        self._ended = False
        self._blocked = False
        self._reading = True
        self._unaccounted = 0
        self._alarm: asyncio.TimerHandle | None = None

    # -- opening and closing -----------------------------------------------------------------

    def refuse(self, reason: STOMPError) -> None:
        """Have the handshake fail: the owner does not want this broker."""
        self._answer.set_exception(reason)

    async def handshake(self, opening: bytes) -> STOMPFrame:
        """Send CONNECT and wait for the answer, which is CONNECTED or ERROR.

        Raises:
            STOMPError: the connection ended without one, or the broker is none.
        """
        assert self._transport is not None
        self._transport.write(opening)
        return await self._answer

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent."""
        return self._open

    @property
    def is_foreign(self) -> bool:
        """Whether another process made it, and this one is its fork."""
        return self._process != os.getpid()

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended

    @property
    def connected(self) -> STOMPFrame:
        """The CONNECTED frame."""
        assert self.protocol.connected is not None
        return self.protocol.connected

    def error(self) -> STOMPConnectionError:
        """What to raise to who uses a connection that has ended."""
        if self.is_foreign:
            return foreign_connection(self.address, self._process)
        return not_connected(self)

    def now(self) -> float:
        """The time that it goes by."""
        return self._now()

    def send_disconnect(self, receipt_id: str) -> bool:
        """Send DISCONNECT as the last frame; false when the connection has ended already."""
        if not self._open:
            return False
        self.write(self.protocol.disconnect(receipt_id))
        self._open = False
        return True

    def close(self) -> None:
        """Write what waits, then close; harmless when repeated."""
        self._open = False
        if self._transport is not None:
            self._flush(to_the_end=True)
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._open = False
        if self._transport is not None:
            self._transport.abort()

    def after_fork(self) -> None:
        """In a child process: touch nothing of the parent, its selector either."""
        self._open = False
        self._ended = True
        self.congested = True
        self._outbox.clear()
        self._transport = None

    def wake(self) -> None:
        """Look what is due, soon and on the loop's thread: its clock calls this."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._tick)

    async def wait_ended(self, timeout: float) -> None:
        """Wait until the connection ends by itself."""
        await asyncio.wait((self._gone,), timeout=timeout)

    async def wait_closed(self, timeout: float) -> None:
        """Wait until the socket is closed; cut it off when that takes too long."""
        await asyncio.wait((self._gone,), timeout=timeout)
        if not self._gone.done():
            self.abort()
            await asyncio.wait((self._gone,))

    # -- sending -----------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Queue a frame.

        Raises:
            RuntimeError: this is another event loop than that of the connection.
            STOMPConnectionError: the connection has ended.
        """
        if not self._open:
            raise self.error()
        # Once in each turn, since with every frame it costs a tenth of all. What another thread
        # writes while the loop has something to write is gathered with that, and leaves.
        if not self._flush_is_due and asyncio.get_running_loop() is not self._loop:
            raise other_loop(str(self.address))
        self._outbox.append(data)
        self._outbox_size += len(data)
        if self._outbox_size >= GATHER_SIZE:
            # Who sends without end lets the loop turn now and then.
            self.congested = True
            self._flush()
        elif not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush_in_turn)

    async def room(self) -> None:
        """Let the loop turn, and wait until the socket takes more or the connection has ended.

        Raises:
            STOMPTimeout: it does not take what was sent before.
        """
        await asyncio.sleep(0)
        deadline = self._loop.time() + self._send_timeout
        while self._blocked and self._open:
            if not await self._room.wait(deadline):
                raise STOMPTimeout(
                    f"no room for a frame within {self._send_timeout:g} s: the broker at "
                    f"{self.address} does not take what was sent before; the frame was not sent"
                )
        self.congested = not self._open

    def _flush_in_turn(self) -> None:
        self._flush_is_due = False
        self._flush()

    def _flush(self, *, to_the_end: bool = False) -> None:
        """Write what waits; while the socket is full it waits here."""
        transport = self._transport
        if not self._outbox or transport is None or transport.is_closing():
            return
        if self._blocked and not to_the_end:
            return
        data = b"".join(self._outbox)
        self._traffic.frames_sent += len(self._outbox)
        self._outbox.clear()
        self._outbox_size = 0
        self._hand_over(transport, data)

    def _hand_over(self, transport: asyncio.Transport, data: bytes) -> None:
        transport.write(data)
        self._traffic.bytes_sent += len(data)
        if self.protocol.heart_beat is not None:
            self.protocol.heart_beat.sent(self._now())

    def pause_writing(self) -> None:
        """Gather frames in here: the socket takes no more."""
        self._blocked = self.congested = True

    def resume_writing(self) -> None:
        """Write what waits: the socket takes more again."""
        self._blocked = False
        self._flush()
        if not self._blocked:
            self._room.wake()

    # -- receiving ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport: the connection is there, TLS included."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=OUTBOX_MARK, low=OUTBOX_MARK // 4)

    def data_received(self, data: bytes) -> None:
        """Read bytes, and hand on the frames that they complete."""
        protocol = self.protocol
        self.last_received = now = self._now()
        frames = protocol.receive_data(data, now)
        self._unaccounted += len(data)
        if not self._answer.done():
            self.first = self.first or data[:16]
            if frames:
                self._answered(frames.pop(0))
        if frames:
            size, self._unaccounted = self._unaccounted, 0
            errors = [frame for frame in frames if frame.Command == "ERROR"]
            self._owner.received(self, frames, size, errors[0] if errors else None)
            if errors:
                return self._over(broker_error(errors[0]))
        if protocol.failure is not None:
            self._over(protocol.failure)
        return None

    def _answered(self, frame: STOMPFrame) -> None:
        """CONNECT was answered: by CONNECTED if the protocol says so."""
        if self.protocol.connected is not None:
            self._open = True
            self._set_alarm()
            logger.info("connected to %s", self.address)
            self._owner.opened(self)
        if self._answer.done():
            return  # the owner does not want it
        if self.protocol.connected is not None or frame.Command == "ERROR":
            self._answer.set_result(frame)

    def read(self, wanted: bool) -> None:
        """Read, or do not read for the time being."""
        transport = self._transport
        if wanted == self._reading or transport is None or transport.is_closing():
            return
        self._reading = wanted
        heart_beat = self.protocol.heart_beat
        if wanted:
            transport.resume_reading()
            if heart_beat is not None:
                heart_beat.resume(self.now())
                self._set_alarm()
        else:
            transport.pause_reading()
            if heart_beat is not None:
                heart_beat.suspended = True

    # -- the passing of time -----------------------------------------------------------------

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        due = self.protocol.next_deadline() if self.protocol.state is State.OPEN else None
        self._alarm = None
        if self._clock is not None:
            self._clock.wait_until(self, due)
        elif due is not None:
            self._alarm = self._loop.call_at(due, self._tick)

    def _has_unread(self, now: float) -> bool:
        """Whether a broker that seems dead has spoken, which is to be read first."""
        heart_beat = self.protocol.heart_beat
        if heart_beat is None or self._transport is None or not heart_beat.peer_is_dead(now):
            return False
        if heart_beat.overslept(now):
            # We stood still, and perhaps it did, too: it gets another interval.
            heart_beat.resume(now)
        return input_waits(self._transport)

    def _tick(self) -> None:
        """Beat, and notice a dead broker. What put the deadline off meanwhile is seen only now."""
        now = self.now()
        stood_still(self.protocol.heart_beat, self.address, "the event loop", now)
        if self._has_unread(now):
            # It is read in this turn or the next.
            self._alarm = self._loop.call_later(_SOON, self._tick)
            return None
        beat = self.protocol.tick(now)
        if self.protocol.failure is not None:
            return self._over(STOMPConnectionError(str(self.protocol.failure)))
        transport = self._transport
        idle = self._open and not self._outbox and not self._blocked
        if beat and idle and transport is not None and not transport.is_closing():
            self._hand_over(transport, beat)
        return self._set_alarm()

    # -- the end -----------------------------------------------------------------------------

    def connection_lost(self, exc: Exception | None) -> None:
        """End: the socket is about to be closed."""
        if exc is not None and not self._ended and self._transport is not None:
            self.data_received(read_rest(self._transport))
        reason: STOMPError | None = None
        if self.protocol.state is not State.CLOSING:
            reason = STOMPConnectionError(
                "the broker closed the connection" if exc is None else _words(exc)
            )
            reason.__cause__ = exc
        self._finish(reason)
        self._transport = None
        self._gone.set_result(None)

    def _over(self, reason: STOMPError) -> None:
        """End a conversation that cannot go on."""
        self._finish(reason)
        self.abort()

    def _finish(self, reason: STOMPError | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._open = False
        self.congested = True
        self.close_reason = reason
        self._outbox.clear()
        self.protocol.receive_eof()
        self._set_alarm()
        self._room.wake()
        self._owner.lost(self)
        if not self._answer.done():
            self._answer.set_exception(
                reason or STOMPConnectionError("the connection was closed without an answer")
            )
            # Nobody may wait for it any more.
            self._answer.exception()
        elif self.protocol.connected is None:
            return
        elif reason is None:
            logger.info("connection to %s closed", self.address)
        else:
            logger.warning("connection to %s lost: %s", self.address, reason)


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
