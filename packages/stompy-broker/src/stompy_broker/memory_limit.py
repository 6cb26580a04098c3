"""How much memory this process may have: of its container, by its own limits, of the machine.

Linux tells in files; where there are none, the limits of the process and the machine count.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
from dataclasses import dataclass
from pathlib import Path

from stompy_broker.limits_config import LimitsConfig

log = logging.getLogger("stompy_broker")

_MIB = 1024 * 1024

SHARE = 3
"""One part in so many is for waiting messages: what clients hold, what is on its way and the
interpreter need the rest."""
_UNLIMITED = 1 << 60
"""What a control group of the first version has when it has no limit is more than this."""
_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class AllowedMemory:
    """How much memory somebody allows.

    Attributes:
        size: in bytes.
        source: who says so.
    """

    size: int
    source: str

    def mark(self, most: int) -> int:
        """The mark for waiting messages that fits.

        Args:
            most: none above this.
        """
        return min(most, self.size // SHARE)


def memory_mark(limits: LimitsConfig) -> int:
    """The mark of the configuration; unless it has one, what the process may have counts."""
    if "memory" in limits.model_fields_set:
        return limits.memory
    allowed = allowed_memory()
    mark = limits.memory if allowed is None else allowed.mark(limits.memory)
    if allowed is not None and mark < limits.memory:
        log.info(
            "limits.memory is %d MiB: a third of the %d MiB that %s allows",
            mark // _MIB,
            allowed.size // _MIB,
            allowed.source,
        )
    return mark


def allowed_memory(root: Path = _ROOT) -> AllowedMemory | None:
    """The smallest of all that is allowed; None = nobody can tell.

    Args:
        root: where ``/proc`` and ``/sys`` are.
    """
    found = [*_groups(root), *_limits(), *_machine()]
    return min(found, key=lambda one: one.size, default=None)


def _groups(root: Path) -> list[AllowedMemory]:
    """What the control groups allow that this process is in, and those around them."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                base, name = root / "sys/fs/cgroup", "memory.max"
            elif "memory" in controllers.split(","):
                base, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
            else:
                continue
            own = base / path.strip("/")
            # In a container the path may be that of the outside; then the base is its own.
            for folder in (own, *own.parents):
                found += _read(folder / name)
                if folder == base:
                    break
    return found


def _read(file: Path) -> list[AllowedMemory]:
    with contextlib.suppress(OSError, ValueError):
        size = int(file.read_text())  # "max" is no number
        if 0 < size < _UNLIMITED:
            return [AllowedMemory(size, "the control group (container)")]
    return []


def _limits() -> list[AllowedMemory]:
    named = ((resource.RLIMIT_AS, "ulimit -v"), (resource.RLIMIT_DATA, "ulimit -d"))
    limits = [(resource.getrlimit(which)[0], name) for which, name in named]
    return [AllowedMemory(size, name) for size, name in limits if 0 < size < _UNLIMITED]


def _machine() -> list[AllowedMemory]:
    with contextlib.suppress(OSError, ValueError):
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if size > 0:
            return [AllowedMemory(size, "the machine")]
    return []
