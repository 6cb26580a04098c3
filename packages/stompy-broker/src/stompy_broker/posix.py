"""What the broker needs of a POSIX system: Linux, macOS, a BSD. Elsewhere one sentence says so."""

from __future__ import annotations

try:
    import fcntl
    import resource
except ModuleNotFoundError as error:
    raise ImportError(
        "stompy-broker needs a POSIX system, such as Linux or macOS; on Windows it runs in WSL or "
        "in a container, and its clients, stompy-core, run anywhere"
    ) from error

__all__ = ["fcntl", "resource"]
