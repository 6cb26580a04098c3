"""The short tables beside others: those of the overview, and the parts of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stompy_monitor.model.filter import Compare
from stompy_monitor.model.row_set import Row
from stompy_monitor.tables import columns as c
from stompy_monitor.tables.columns import Column, Rank
from stompy_monitor.tables.definitions import View

_A, _N, _W = Rank.ALWAYS, Rank.NORMAL, Rank.WIDE


def _top(
    name: str,
    title: str,
    kind: str,
    cols: tuple[Column, ...],
    by: str,
    empty: str,
    only: Callable[[Row], bool] | None = None,
) -> View:
    """A short list for the overview."""
    order = ((by, True),)
    return View(name, title, kind, "", (c.mark(), *cols), order, empty, only, follows=True)


def _part(name: str, title: str, what: str, cols: tuple[Column, ...], empty: str) -> View:
    """One list of the cluster: its brokers, groups or servers."""
    order = (("alarm", True), ("name", False))
    only = Compare("what", "=", what).matches
    return View(name, title, "cluster", "", (c.mark(), *cols), order, empty, only)


PROBLEMS: Final = _top(
    "problems",
    "Alarms",
    "problems",
    (c.text("name", "ALARM", 0, _A), c.plain_reason()),
    "alarm",
    "no alarm",
)
DEEPEST: Final = _top(
    "deepest",
    "Deepest queues",
    "queues",
    (
        c.text("name", "QUEUE", 0, _A),
        c.count("ready", "READY", _A),
        c.trend("trend", "TREND", _A, 8),
    ),
    "ready",
    "no queues yet",
)
GROWING: Final = _top(
    "growing",
    "Fastest growing",
    "queues",
    (c.text("name", "QUEUE", 0, _A), c.rate("growth", "+/s", _A), c.age("oldest_ms", "OLDEST", _A)),
    "growth",
    "no queue grows",
    only=lambda row: row.number("growth") > 0,
)
SLOWEST: Final = _top(
    "slowest",
    "Slowest subscriptions",
    "subscriptions",
    (
        c.text("destination", "SUBSCRIPTION", 0, _A),
        c.text("client", "CLIENT", 12, _A),
        c.count("unacked", "UNACKED", _A),
        c.age("oldest_unacked_ms", "OLDEST", _A),
    ),
    "oldest_unacked_ms",
    "nobody is subscribed",
)
OPEN: Final = _top(
    "open",
    "Oldest transactions",
    "transactions",
    (
        c.text("transaction", "TRANSACTION", 0, _A),
        c.text("client", "CLIENT", 14, _A),
        c.age("age_ms", "AGE", _A),
    ),
    "age_ms",
    "no transaction is open",
)
LATEST: Final = _top(
    "latest",
    "Events",
    "events",
    (c.instant("at", "TIME", _A), c.text("who", "WHO", 16, _A), c.text("type", "EVENT", 0, _A)),
    "at",
    "nothing has happened yet",
)
MEMBERS: Final = _part(
    "members",
    "Brokers",
    "member",
    (
        c.text("name", "BROKER", 0, _A),
        c.state(),
        c.text("groups", "OWNS GROUPS", 20, _A),
        c.count("queues", "QUEUES", _A),
        c.count("messages_ready", "READY", _A),
        c.count("connections", "CONNS", _A, 6),
        c.rate("in", "IN/s", _A),
        c.rate("out", "OUT/s", _A),
        c.count("cpu_pct", "CPU %", _N, 6),
        c.links(),
        c.size("rss_bytes", "MEMORY", _W),
        c.text("version", "VERSION", 10, _W),
        c.text("address", "ADDRESS", 22, _N),
        c.instant("since_at", "SINCE", _W),
        c.reason(_N),
    ),
    "no brokers are known yet",
)
GROUPS: Final = _part(
    "groups",
    "Groups of queues",
    "group",
    (
        c.number_name("name", "GROUP", 6),
        c.text("owner", "OWNER", 0, _A),
        c.progress(),
        c.text("standby", "STANDBY", 10, _N),
        c.count("queues", "QUEUES", _A),
        c.count("tenure", "TENURE", _A),
        c.count("last_sequence", "LAST", _A, 8),
        c.count("records", "RECORDS", _W, 8),
        c.size("bytes", "BYTES", _W),
        c.instant("since_at", "SINCE", _W),
        c.reason(_W),
    ),
    "no groups are known yet",
)
SERVERS: Final = _part(
    "servers",
    "NATS servers",
    "server",
    (
        c.text("name", "SERVER", 0, _A),
        c.state(),
        c.text("sync", "SYNC", 8, _A),
        c.size("bytes", "BYTES", _N),
        c.text("address", "ADDRESS", 22, _W),
    ),
    "no servers are known yet",
)
PARTS: Final = (MEMBERS, GROUPS, SERVERS)
"""The lists of the cluster."""

TOPS: Final = (PROBLEMS, DEEPEST, GROWING, SLOWEST, OPEN, LATEST)
"""The lists of the overview."""
