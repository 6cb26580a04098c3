"""Takes connections from listening sockets, also when no file descriptor is left for them.

asyncio's own way logs a traceback for each place of the backlog then, each second. Here one
descriptor is kept in reserve: it is given up to take a newcomer, tell it, and close. So the line of
those who wait does not stand, and nobody is kept without a word.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol import ServerProtocol
from stompy_broker.log_throttle import LogThrottle
from stompy_broker.posix import resource
from stompy_broker.wire.endpoints import Endpoint
from stompy_broker.wire.unix_socket import bind_unix, remove

log = logging.getLogger("stompy_broker.connection")

_AT_ONCE = 64
"""Connections that are taken in one turn of the event loop."""
_REST = 1.0
"""Seconds of rest when nothing can be taken at all."""
_NOTHING_LEFT = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_NOT_HERE = frozenset((errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL))
"""What an address that this machine does not have is refused with."""
_NO_FILES = ProtocolError(
    ErrorCode.LIMIT_EXCEEDED, "the broker has no file descriptor left for this connection"
)
_MOST_OTHERS, _FEWEST_OTHERS = 64, 24
"""Descriptors for everything that is no connection: store, log, listening sockets."""


def refusal_frame(error: ProtocolError) -> bytes:
    """The bytes of an ERROR frame for somebody with whom nothing was agreed."""
    headers = {"message": error.code.replace("-", " ").capitalize(), "error-code": error.code}
    return ServerProtocol().error(headers, error.Message + "\n")


def allowed_connections(wanted: int) -> int:
    """How many connections the system's limit on open files allows; it is raised if need be.

    Args:
        wanted: connections that there should be room for.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = resource.RLIM_INFINITY
    needed = wanted + _MOST_OTHERS
    if soft != infinite and soft < needed:
        more = needed if hard == infinite else min(needed, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == infinite or soft >= needed:
        return wanted
    others = min(_MOST_OTHERS, max(_FEWEST_OTHERS, soft // 4))
    room = max(1, soft - others)
    log.warning(
        "limits.connections is %d, but the system allows %d open files (ulimit -n): "
        "there is room for %d connections",
        wanted,
        soft,
        room,
    )
    return room


class Acceptor:
    """Takes connections at one endpoint.

    Args:
        sockets: bound, not listening yet.
        backlog: how many connections may wait.
        begin: makes the protocol of a new one.

    Attributes:
        port: where it listens; 0 = at a socket in the file system.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        backlog: int,
        begin: Callable[[], asyncio.Protocol],
    ) -> None:
        name = sockets[0].getsockname()
        self.port: int = name[1] if isinstance(name, tuple) else 0
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._begin = begin
        self._spare: int | None = None
        self._beginning: set[asyncio.Task[object]] = set()
        self._throttle = LogThrottle(self._loop.time)
        self._closed = False
        self._keep_spare()
        for sock in sockets:
            sock.setblocking(False)
            sock.listen(backlog)
            self._loop.add_reader(sock, self._accept, sock)

    def close(self) -> None:
        """Accept nobody any more; those who wait are reset."""
        self._closed = True
        for sock in self._sockets:
            self._loop.remove_reader(sock)
            remove(sock)
            sock.close()
        self._give_up_spare()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, _ = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue  # it was in line, and has left
            except OSError as error:
                if error.errno not in _NOTHING_LEFT:
                    self._say("a connection cannot be taken", error)
                elif self._turn_away(listening):
                    continue
                self._rest(listening)
                return
            sock.setblocking(False)
            task: asyncio.Task[object] = self._loop.create_task(self._take(sock))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _take(self, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._begin, sock)
        except OSError as error:
            sock.close()
            self._say("a connection cannot begin", error)

    # -- when nothing is left ---------------------------------------------------------------

    def _turn_away(self, listening: socket.socket) -> bool:
        """Tell a newcomer that there is no room; false = not even that is possible."""
        if self._spare is None:
            return False
        self._give_up_spare()
        try:
            sock, _ = listening.accept()
        except OSError:
            return False
        else:
            with sock, contextlib.suppress(OSError):
                sock.setblocking(False)
                sock.send(refusal_frame(_NO_FILES))
        finally:
            self._keep_spare()
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._say(f"no file descriptor is left of {soft} (ulimit -n): a newcomer was turned away")
        return True

    def _rest(self, listening: socket.socket) -> None:
        self._loop.remove_reader(listening)
        self._loop.call_later(_REST, self._go_on, listening)

    def _go_on(self, listening: socket.socket) -> None:
        if not self._closed:
            self._keep_spare()
            self._loop.add_reader(listening, self._accept, listening)

    def _keep_spare(self) -> None:
        if self._spare is None:
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _give_up_spare(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _say(self, what: str, error: OSError | None = None) -> None:
        before = self._throttle.count(what)
        if before is not None:
            words = what if error is None else f"{what}: {error.strerror or error}"
            log.error("%s%s", words, f" (and {before} more in the last minute)" if before else "")


async def bind_to(endpoint: Endpoint) -> list[socket.socket]:
    """Sockets for an endpoint.

    Raises:
        OSError: it cannot be bound to.
    """
    if endpoint.path:
        return [bind_unix(endpoint.path, endpoint.mode)]
    return await bind(endpoint.host, endpoint.port)


async def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets for all addresses of a host, at one port.

    Args:
        host: name or address; empty = all addresses.
        port: 0 = a free one.

    Raises:
        OSError: one of them cannot be bound to.
    """
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                sock = socket.socket(family, kind, protocol)
                sockets.append(sock)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((address[0], port, *address[2:]))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
                if sockets and sockets[-1].fileno() >= 0:
                    sockets.pop().close()
                continue
            port = sock.getsockname()[1]
        if missing is not None and not sockets:
            raise missing
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets
