"""A listening socket in the file system, and who is at the other end of a connection to it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pwd
import socket
import stat
import struct
from typing import NamedTuple

_CREDENTIALS = struct.Struct("3i")  # process, user and group
_SHOWN = "unix"


class PeerCredentials(NamedTuple):
    """Which process has connected, as the system says.

    Attributes:
        process: its id.
        user: the id of the user that it runs as.
    """

    process: int
    user: int

    @property
    def login(self) -> str:
        """The name of the user; the number where it has none."""
        try:
            return pwd.getpwuid(self.user).pw_name
        except KeyError:
            return str(self.user)


def bind_unix(path: str, mode: int) -> socket.socket:
    """Make a socket in the file system, that nobody can connect to before it listens.

    One that a broker has left behind, which was killed, is taken away.

    Args:
        path: where.
        mode: who may connect, as the system's permissions of files.

    Raises:
        OSError: it cannot be made there, or somebody listens there already.
    """
    _take_away(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        os.chmod(path, mode)
    except OSError as error:
        sock.close()
        reason = error.strerror or str(error)  # a path that is too long has no number
        raise OSError(error.errno or errno.ENAMETOOLONG, reason, path) from None
    return sock


def _take_away(path: str) -> None:
    """Take away a socket that nobody listens at."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "something else is there", path)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError:
            pass  # it is busy, or not ours to connect to
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)


def remove(sock: socket.socket) -> None:
    """Take a listening socket out of the file system; one of the network is in none."""
    if sock.family == socket.AF_UNIX:
        with contextlib.suppress(OSError):
            os.unlink(sock.getsockname())


def is_unix(transport: asyncio.BaseTransport) -> bool:
    """Whether a connection came by a socket in the file system."""
    sock = transport.get_extra_info("socket")
    return sock is not None and sock.family == socket.AF_UNIX


def peer_of(transport: asyncio.BaseTransport) -> PeerCredentials | None:
    """Which process is at the other end; None where the system does not say."""
    option = getattr(socket, "SO_PEERCRED", None)
    sock = transport.get_extra_info("socket")
    if option is None or sock is None or sock.family != socket.AF_UNIX:
        return None
    try:
        found = sock.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    except OSError:
        return None
    process, user, _ = _CREDENTIALS.unpack(found)
    return PeerCredentials(process, user)


def unix_address_of(transport: asyncio.BaseTransport) -> tuple[str, str]:
    """Who is there: user and process for the log, and the user alone, whom limits go by."""
    peer = peer_of(transport)
    if peer is None:
        return _SHOWN, _SHOWN
    return f"{_SHOWN}:{peer.user}:{peer.process}", f"{_SHOWN}:{peer.user}"
