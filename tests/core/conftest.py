from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.support.scripted_server import eventually


def _sockets() -> set[str]:
    found = set()
    with suppress(FileNotFoundError):  # no /proc here
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                target = os.readlink(f"/proc/self/fd/{name}")
                if target.startswith("socket:"):
                    found.add(target)
    return found


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Every test ends with the threads and sockets it began with."""
    threads, sockets = set(threading.enumerate()), _sockets()
    yield
    eventually(lambda: set(threading.enumerate()) <= threads, "the end of all threads")
    eventually(lambda: _sockets() <= sockets, "the closing of all sockets")
