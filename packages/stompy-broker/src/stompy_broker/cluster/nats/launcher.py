"""Becomes a nats-server that does not outlive the broker that wants it. A program of its own.

It is run as ``python launcher.py PARENT LOCK PROGRAM ARGUMENT...``, and imports nothing but the
standard library. PARENT is the process that it must not outlive; the kernel of Linux sees to that,
and of nobody else's. LOCK is a descriptor of a locked file, which the server keeps for as long as
it lives: so whoever comes later can tell that there is one, and which.

This is not done between fork and exec in the broker, because nothing but the simplest may happen
there in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def launch(parent: int, lock: int, command: Sequence[str]) -> None:
    """Become another program, which gets SIGTERM when its parent ends, however that ends.

    Args:
        parent: the process that must be alive.
        lock: of a file that is to name this process.
        command: program and arguments.

    Raises:
        OSError: the program cannot be run.
    """
    if sys.platform == "linux":
        # It hands over what it leads, as it does when it is stopped.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the broker has ended meanwhile")
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    os.execv(command[0], list(command))


if __name__ == "__main__":
    launch(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
