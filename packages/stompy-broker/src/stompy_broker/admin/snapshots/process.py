"""What the operating system says about the broker's process."""

from __future__ import annotations

import os
import platform
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from stompy_broker.build import compiled
from stompy_broker.posix import resource

_SLOW_SECONDS = 5.0
"""What takes longer to find out is found out this often."""

_PAGE = resource.getpagesize()
_STAT, _STATM, _FDS = (Path("/proc/self", name) for name in ("stat", "statm", "fd"))


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """How the process is at one moment; numbers that cannot be found out are 0."""

    cpu_pct: float
    rss_bytes: int
    fds: int
    fds_max: int
    threads: int
    disk_free_bytes: int | None


_LEAST_SECONDS = 0.2
"""Processor time is measured over no less: what was spent in a millisecond tells nothing."""


class Process:
    """The process that this runs in.

    Args:
        directory: on the disk whose free space is of interest; None = there is none.
        loop: whose event loop it runs on.
    """

    name = platform.node() or "stompy"
    python = platform.python_version()
    system = f"{platform.system()} {platform.release()}"
    pid = os.getpid()

    def __init__(self, directory: Path | None, loop: str = "") -> None:
        self.compiled = compiled()
        self.loop = loop
        self._directory = directory
        self._looked_at = time.monotonic()
        self._cpu = time.process_time()
        self._cpu_pct = 0.0
        self._slow_at = -_SLOW_SECONDS
        self._fds = 0
        self._free: int | None = None

    def look(self) -> ProcessFacts:
        """Ask the operating system how the process is now."""
        now = time.monotonic()
        self._measure_cpu(now)
        if now - self._slow_at >= _SLOW_SECONDS:
            self._slow_at = now
            self._fds, self._free = _open_files(), self._free_bytes()
        return ProcessFacts(
            cpu_pct=self._cpu_pct,
            rss_bytes=_resident(),
            fds=self._fds,
            fds_max=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            threads=threading.active_count(),
            disk_free_bytes=self._free,
        )

    def _measure_cpu(self, now: float) -> None:
        seconds = now - self._looked_at
        if seconds >= _LEAST_SECONDS:
            cpu = time.process_time()
            self._cpu_pct = round(100 * (cpu - self._cpu) / seconds, 1)
            self._looked_at, self._cpu = now, cpu

    def _free_bytes(self) -> int | None:
        if self._directory is None:
            return None
        try:
            disk = os.statvfs(self._directory)
        except OSError:
            return None
        return disk.f_bavail * disk.f_frsize


def began_at() -> float:
    """When the process began, in seconds since the epoch; 0 where that cannot be found out."""
    try:
        # Behind the name, which may have blanks and parentheses in it: field 22, in clock ticks.
        ticks = int(_STAT.read_text().rpartition(")")[2].split()[19])
        up = time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.time() - up + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def _resident() -> int:
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        # Not Linux. The highest it ever was is the best that can be had without a library.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _open_files() -> int:
    try:
        return len(os.listdir(_FDS))
    except OSError:
        return 0
