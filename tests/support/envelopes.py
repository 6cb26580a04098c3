"""Messages of admin topics, made by hand for tests of the monitor."""

from __future__ import annotations

from typing import Any

BOOT = "b-1"
START = 1_795_404_855_000


def envelope(kind: str, second: int, data: Any, **more: Any) -> dict[str, Any]:
    """A message that came so many seconds after the start."""
    return {
        "v": 1,
        "kind": kind,
        "broker": "dev",
        "boot": BOOT,
        "seq": second,
        "tick": second,
        "at": START + second * 1000,
        "up_ms": 5_000 + second * 1000,
        "interval_ms": 1000,
        "page": 1,
        "pages": 1,
        "data": data,
        **more,
    }


def queue(name: str, **values: Any) -> dict[str, Any]:
    """One row of ``$SYS.queues``."""
    return {
        "name": name,
        "destination": f"/queue/{name}",
        "ready": 0,
        "unacked": 0,
        "consumers": 1,
        "in_msgs": 0,
        "out_msgs": 0,
        "acked": 0,
        **values,
    }
