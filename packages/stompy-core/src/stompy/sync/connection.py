"""One open connection: its socket, its I/O thread and its outbox.

The invariants:

* The I/O thread alone reads, and alone closes the socket. It runs no code of the application.
  It waits for the selector and, for moments, for the lock; never for a consumer or the broker.
* Who writes holds the lock. Frames enter the outbox whole and leave it from the front, so they
  never mix, and a heart-beat never lands inside one. Nobody waits for the socket with the lock.
* A lone frame is written by its sender at once: one system call, no change of thread. Of frames
  sent in quick succession several are gathered for one write. The sender does it when there are
  many, whoever is about to wait for something does it first, and else the I/O thread does it within
  moments.
* A sender that finds the outbox over its mark waits. If that takes too long, its frame was not
  queued at all.
* The connection ends once. From the first instant nothing can be sent; `close_reason` says why.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import selectors
import socket
import sys
import threading
import weakref
from collections.abc import Sequence
from time import monotonic, sleep
from typing import Protocol

from stompy.errors import OutcomeUnknown, STOMPConnectionError, STOMPError, STOMPTimeout
from stompy.protocol.frame import STOMPFrame
from stompy.protocol.states import State
from stompy.session.client_info import not_connected, stood_still
from stompy.session.clock import Clock, pause_until, seconds_of
from stompy.session.dialects import UNKNOWN
from stompy.session.handshake import broker_error, foreign_connection
from stompy.session.subscriptions import AckDuty, Subscriptions
from stompy.sync.connector import OpenConnection
from stompy.sync.inbox import Inbox
from stompy.transport.forks import tell_children
from stompy.transport.threads import WaitableThread

logger = logging.getLogger("stompy")

READ_SIZE = 256 * 1024
WRITE_SIZE = 256 * 1024
OUTBOX_MARK = 8 * 1024 * 1024
"""While so much is unwritten, senders wait."""

GATHER_AFTER = 16
"""Frames in quick succession are gathered after so many."""
GATHER_SIZE = 32 * 1024
"""So much is gathered before the sender itself writes it."""
GATHER_SECONDS = 0.0003
"""So long the I/O thread lets a sender gather. Without that the two would change places for every
ten frames: sending took 1.5 times as long (``benchmarks/client.py``)."""
QUICK = 0.0002
"""Seconds between two frames that follow each other quickly."""

READ_REST_SECONDS = 1.0
"""Seconds to read what the broker said before it stopped listening."""
EXIT_FLUSH = 2.0
"""Seconds that the end of the program waits for what is unwritten."""


class _Over(Exception):  # noqa: N818 -- not an error: it carries the outcome to the end of the loop
    """The connection has come to its end."""

    def __init__(self, reason: STOMPError | None) -> None:
        super().__init__(reason)
        self.reason = reason


class Owner(Protocol):
    """Who a connection works for; asked and told by its I/O thread."""

    def is_full(self, inbox: Inbox) -> bool:
        """Whether nothing more should be read for now."""

    def received(
        self,
        connection: Connection,
        frames: Sequence[STOMPFrame],
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


class Connection:
    """Sends for any thread, receives into an inbox, keeps the heart-beats.

    Args:
        opened: what dialling gave; the socket is the connection's from now on.
        send_timeout: seconds that a sender may wait for room.
        owner: gets the frames.
        clock: by which heart-beats go; None = the system's.

    Attributes:
        protocol: turns verbs into bytes; reading and ticking belong to the I/O thread.
        inbox: where frames arrive.
        epoch: its number; the session sets it, like the next two.
        dialect: the ways of its broker.
        subscriptions: what is owed for its messages.
        close_reason: why it ended; None while it is open, and when we ended it ourselves.
    """

    def __init__(
        self,
        opened: OpenConnection,
        send_timeout: float,
        owner: Owner,
        clock: Clock | None = None,
    ) -> None:
        self._clock, self._now = clock, seconds_of(clock, monotonic)
        self.address = opened.address
        self.protocol = opened.protocol
        self.connected = opened.connected
        self.epoch = 0
        self.dialect = UNKNOWN
        self.subscriptions = Subscriptions(None)
        self._owner = owner
        self._traffic = opened.protocol.traffic
        self._first_frames = opened.frames
        self.inbox = Inbox(self.wake, self.hurry)
        self.close_reason: STOMPError | None = None
        self._socket = opened.stream
        self._send_timeout = send_timeout
        self._process = os.getpid()
        self._open = True
        self._stopping = False
        self._renew_lock()
        self._outbox = bytearray()
        self._blocked = False  # the socket took nothing more; the I/O thread waits until it does
        self._writing = False
        self._write_error: OSError | None = None
        self._sent_at = 0.0
        self._streak = 0  # how many frames followed each other quickly, if that goes on
        self._gathers = False  # something waits in the outbox for more to come
        self._give_up_at: float | None = None
        self._unaccounted = 0
        self._woken = False
        self._alarm, self._bell = socket.socketpair()
        self._alarm.setblocking(False)
        self._bell.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._alarm, selectors.EVENT_READ)
        self._interest = 0
        self._thread = WaitableThread(self._run, f"stompy {self.address}")

    def start(self) -> None:
        """Begin to serve: start the thread that reads and writes."""
        _connections.add(self)
        logger.info("connected to %s", self.address)
        self._select_timeout()  # a clock that is moved is to wait for us from the beginning
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent."""
        return self._open

    @property
    def is_foreign(self) -> bool:
        """Whether another process made the connection, and this one is its fork."""
        return self._process != os.getpid()

    def error(self) -> STOMPConnectionError:
        """What to raise to who uses a connection that has ended."""
        if self.is_foreign:
            return foreign_connection(self.address, self._process)
        return not_connected(self)

    # -- for any thread ----------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send a frame.

        Raises:
            OutcomeUnknown: the connection ended while the frame was written; perhaps it left.
            STOMPConnectionError: the connection had ended; nothing was sent.
            STOMPTimeout: there was no room for too long; nothing was queued.
        """
        with self._lock:
            if self._blocked:
                self._wait_for_room()
            queued = self._open
            if queued:
                self._outbox += data
                self._traffic.frames_sent += 1
                now = monotonic()
                if now - self._sent_at >= QUICK:
                    # Perhaps only another thread had its turn, so one pause ends no burst.
                    self._streak //= 2
                elif self._streak < 2 * GATHER_AFTER:
                    self._streak += 1
                self._sent_at = now
                if self._streak <= GATHER_AFTER or len(self._outbox) >= GATHER_SIZE:
                    if not self._blocked:
                        self._flush()
                elif not self._gathers:
                    self._gathers = True
                    self.wake()
            if self._open:
                return
        raise self._why_it_ended(queued)

    def _why_it_ended(self, queued: bool) -> STOMPConnectionError:
        if self._write_error is not None:
            # What the broker said before it hung up explains more than a broken pipe.
            self.join(2 * READ_REST_SECONDS)
        error = self.error()
        if not queued:
            return error
        unknown = OutcomeUnknown(error.Message, error.Frame)
        unknown.__cause__ = error.__cause__
        return unknown

    def send_disconnect(self, receipt_id: str) -> bool:
        """Send DISCONNECT as the last frame; false when the connection has ended already."""
        with self._lock:
            if not self._open:
                return False
            self._open = False
            self._outbox += self.protocol.disconnect(receipt_id)
            self._traffic.frames_sent += 1
            self._flush()
            self._room.notify_all()
        return True

    def hurry(self) -> None:
        """Write what was gathered: the caller is about to wait, perhaps for an answer to it."""
        if self._gathers:
            with self._lock:
                self._flush()

    def flush(self, timeout: float) -> None:
        """Wait until everything is written, for ``timeout`` seconds at most."""
        deadline = monotonic() + timeout
        with self._lock:
            self._flush()
            while self._unwritten and (remaining := deadline - monotonic()) > 0:
                self._room.wait(remaining)

    def stop(self) -> None:
        """Ask the I/O thread to end the connection. Takes no lock, so a finaliser may call it."""
        self._stopping = True
        self.wake()

    def take_unread(self) -> list[STOMPFrame]:
        """Take what it brought and nobody fetched, but for what the broker has back."""
        frames, receive = self.inbox.take_all(), self.subscriptions.receive
        stale = AckDuty.STALE
        return [one for one in frames if one.Command != "MESSAGE" or receive(one) is not stale]

    def join(self, timeout: float) -> None:
        """Wait for the end of the connection, also before its beginning."""
        self._thread.wait(timeout)

    def silence(self) -> float | None:
        """Seconds since the last byte from the broker; None when the connection has ended."""
        heart_beat = self.protocol.heart_beat
        return heart_beat.silence(self._now()) if heart_beat is not None and self._open else None

    @property
    def unsent(self) -> int:
        """How many bytes of frames are not written."""
        return len(self._outbox.strip(b"\n"))

    def after_fork(self) -> None:
        """In a child process: let go of everything, and write nothing where the parent writes."""
        self._open = False
        self._woken = True
        self._gathers = False
        self._outbox = bytearray()
        self._renew_lock()
        for inherited in (self._socket, self._alarm, self._bell, self._selector):
            with contextlib.suppress(OSError):
                inherited.close()
        self.inbox.after_fork()

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)

    def wake(self) -> None:
        """Have the I/O thread look round. Takes no lock."""
        if not self._woken:
            self._woken = True
            with contextlib.suppress(OSError):
                self._bell.send(b"!")

    # -- with the lock -----------------------------------------------------------------------

    def _wait_for_room(self) -> None:
        deadline = monotonic() + self._send_timeout
        while self._open and len(self._outbox) >= OUTBOX_MARK:
            remaining = deadline - monotonic()
            if remaining <= 0:
                raise STOMPTimeout(
                    f"no room for a frame within {self._send_timeout:g} s: the broker at "
                    f"{self.address} does not take what was sent before; the frame was not sent"
                )
            self._room.wait(remaining)

    def _flush(self) -> None:
        """Write from the outbox until it is empty or the socket takes no more."""
        outbox = self._outbox
        self._gathers = False
        if self._writing:
            # A signal handler raised in the middle of the lines below.
            self._writing = False
            self._stop_writing(OSError("a write was interrupted, so the stream is not whole"))
        # TLS may have taken all of it and still hold a part back.
        while (outbox or self._socket.unsent) and not self._blocked:
            self._writing = True
            try:
                written = self._write_some(outbox)
            except (BlockingIOError, InterruptedError):
                self._blocked = True
                self.wake()
            except OSError as error:
                self._stop_writing(error)
            else:
                del outbox[:written]
            self._writing = False
        if len(outbox) < OUTBOX_MARK:
            self._room.notify_all()

    @property
    def _unwritten(self) -> bool:
        return bool(self._outbox) or self._socket.unsent

    def _write_some(self, outbox: bytearray) -> int:
        if len(outbox) <= WRITE_SIZE:
            written = self._socket.send(outbox)
        else:
            with memoryview(outbox) as view, view[:WRITE_SIZE] as front:
                written = self._socket.send(front)
        self._traffic.bytes_sent += written
        if self.protocol.heart_beat is not None:
            self.protocol.heart_beat.sent(self._now())
        return written

    def _stop_writing(self, error: OSError) -> None:
        """Write nothing more; have the I/O thread read what is left, then end."""
        self._outbox.clear()
        self._open = False
        self._write_error = error
        self.wake()

    # -- the I/O thread ----------------------------------------------------------------------

    def _run(self) -> None:
        reason: STOMPError | None = None
        try:
            self._serve()
        except _Over as over:
            reason = over.reason
        except Exception as error:
            logger.exception("fault in the I/O thread of %s", self.address)
            reason = STOMPError(f"internal fault: {error!r}")
        finally:
            self._finish(reason)

    def _serve(self) -> None:
        """Read, write and beat until told to stop.

        Raises:
            _Over: the connection came to its end by itself.
        """
        self._deliver(self._first_frames)
        while not self._stopping:
            self._watch()
            for key, events in self._selector.select(self._select_timeout()):
                if key.fileobj is self._alarm:
                    self._silence_alarm()
                    continue
                if events & selectors.EVENT_WRITE:
                    self._blocked = False
                if events & selectors.EVENT_READ:
                    self._read()
            if self._gathers and not self._blocked:
                sleep(GATHER_SECONDS)
            if self._unwritten and not self._blocked:
                with self._lock:
                    self._flush()
            now = self._now()
            if not self._has_unread(now):
                self._tick(now)

    def _watch(self) -> None:
        """Tell the selector what to look for: no reading while the inbox is full."""
        wanted = selectors.EVENT_WRITE if self._blocked else 0
        if not self._owner.is_full(self.inbox) or self._write_error is not None:
            wanted |= selectors.EVENT_READ
        if wanted == self._interest:
            return
        if not self._interest:
            self._selector.register(self._socket, wanted)
        elif wanted:
            self._selector.modify(self._socket, wanted)
        else:
            self._selector.unregister(self._socket)
        heart_beat = self.protocol.heart_beat
        if heart_beat is not None and (wanted ^ self._interest) & selectors.EVENT_READ:
            if wanted & selectors.EVENT_READ:
                heart_beat.resume(self._now())
            else:
                heart_beat.suspended = True
        self._interest = wanted

    def _select_timeout(self) -> float | None:
        """Seconds until something is due."""
        due = self._give_up_at
        if due is None and self.protocol.state is State.OPEN:
            due = self.protocol.next_deadline()
        return pause_until(self._clock, self, due, self._now)

    def _has_unread(self, now: float) -> bool:
        """Whether a broker that seems dead has spoken, which is to be read first."""
        heart_beat = self.protocol.heart_beat
        if heart_beat is None or not heart_beat.peer_is_dead(now):
            return False
        if heart_beat.overslept(now):
            # We stood still, and perhaps it did, too: it gets another interval.
            heart_beat.resume(now)
        return any(key.fileobj is self._socket for key, _ in self._selector.select(0))

    def _silence_alarm(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._alarm.recv(16)
        # Reset before anybody looks at what the alarm was for: a later ring is not lost.
        self._woken = False

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            raise _Over(self._reason(error.strerror or str(error))) from error
        if not data:
            raise _Over(self._reason("the broker closed the connection"))
        frames = self.protocol.receive_data(data, self._now())
        self._unaccounted += len(data)
        self._deliver(frames)

    def _deliver(self, frames: list[STOMPFrame]) -> None:
        if frames:
            errors = [frame for frame in frames if frame.Command == "ERROR"]
            size, self._unaccounted = self._unaccounted, 0
            self._owner.received(self, frames, size, errors[0] if errors else None)
            if errors:
                raise _Over(broker_error(errors[0]))
        if self.protocol.failure is not None:
            raise _Over(self.protocol.failure)

    def _tick(self, now: float) -> None:
        """Beat, notice a dead broker, and end when all was read after a failed write."""
        if self._write_error is not None:
            if self._give_up_at is None:
                self._give_up_at = now + READ_REST_SECONDS
            elif now >= self._give_up_at:
                error = self._write_error
                raise _Over(self._reason(error.strerror or str(error)))
        stood_still(self.protocol.heart_beat, self.address, "the program", now)
        beat = self.protocol.tick(now)
        if beat:
            with self._lock:
                if not self._outbox and self._open:
                    self._outbox += beat
                    self._flush()
        elif self.protocol.failure is not None:
            raise _Over(STOMPConnectionError(str(self.protocol.failure)))

    def _reason(self, words: str) -> STOMPError | None:
        """Why the connection ends, unless by our own wish."""
        error = self._write_error
        if error is None:
            return None if self.protocol.state is State.CLOSING else STOMPConnectionError(words)
        # Without a number it is ours, and says more than what followed from it.
        return STOMPConnectionError(str(error) if error.errno is None else words)

    def _finish(self, reason: STOMPError | None) -> None:
        with self._lock:
            self._open = False
            self.close_reason = reason
            self._outbox.clear()
            self._blocked = False
            self.protocol.receive_eof()
            self._selector.close()
            self._socket.close()
            self._room.notify_all()
        if reason is None:
            logger.info("connection to %s closed", self.address)
        else:
            logger.warning("connection to %s lost: %s", self.address, reason)
        if self._clock is not None:
            self._clock.wait_until(self, None)
        self.inbox.end()
        self._owner.lost(self)
        self._woken = True
        self._alarm.close()
        self._bell.close()


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


@atexit.register
def _flush_all() -> None:
    """What was sent must leave the process even when nobody disconnects."""
    deadline = monotonic() + EXIT_FLUSH
    for connection in [connection for connection in _connections if not connection.is_foreign]:
        connection.flush(max(0.0, deadline - monotonic()))
        if (lost := connection.unsent) and sys.stderr is not None:
            sys.stderr.write(
                f"stompy: the program ends, and {lost} bytes that were to be sent to "
                f"{connection.address} are lost: the broker did not take them\n"
            )


tell_children(_connections)
