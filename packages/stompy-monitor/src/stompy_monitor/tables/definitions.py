"""The tables: their columns, the order of their rows, and what they say when empty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stompy_monitor.model.row_set import Row
from stompy_monitor.tables import columns as c
from stompy_monitor.tables.columns import Column, Rank

_A, _N, _W, _C = Rank.ALWAYS, Rank.NORMAL, Rank.WIDE, Rank.CHOSEN


@dataclass(frozen=True)
class View:
    """A table that can be opened by its name.

    Attributes:
        name: for ``:name`` and ``--view``.
        title: on its tab.
        kind: which rows of the model.
        key: the number key that opens it; nothing for those that go by name only.
        columns: all that it can show, in their order.
        order: names of columns, each with whether the largest come first.
        empty: what stands there when there is no row.
        only: which rows belong here at all; None = all.
        follows: whether its top is what is read, so that a cursor there stays there.
    """

    name: str
    title: str
    kind: str
    key: str
    columns: tuple[Column, ...]
    order: tuple[tuple[str, bool], ...]
    empty: str
    only: Callable[[Row], bool] | None = None
    follows: bool = False

    def column(self, name: str) -> Column | None:
        """A column by its name."""
        return next((column for column in self.columns if column.name == name), None)

    def shown(
        self, width: int, chosen: frozenset[str] | None = None, *, spread: bool = False
    ) -> tuple[Column, ...]:
        """The columns for a terminal of some width, or those that were chosen.

        Args:
            width: in cells.
            chosen: names of columns; None = as many as the width allows.
            spread: whether there are several brokers, so that it matters where something is.
        """
        if chosen is not None:
            return tuple(col for col in self.columns if col.name in chosen or col.name == "alarm")
        columns = (column for column in self.columns if column.rank <= width)
        return tuple(column for column in columns if spread or not column.spread)

    @property
    def names(self) -> frozenset[str]:
        """Every name that a filter may use."""
        return frozenset(column.name for column in self.columns)


QUEUES: Final = View(
    "queues",
    "Queues",
    "queues",
    "2",
    (
        c.mark(),
        c.queue_name(),
        c.broker(),
        c.count("ready", "READY", _A),
        c.count("unacked", "UNACKED", _A),
        c.count("consumers", "CONS", _A, 5),
        c.rate("in", "IN/s", _A),
        c.rate("out", "OUT/s", _N),
        c.rate("ack", "ACK/s", _W),
        c.age("oldest_ms", "OLDEST", _A),
        c.drain(_N),
        c.trouble("redelivered", "REDEL", _W),
        c.trouble("dead_lettered", "DEAD", _N),
        c.count("expired", "EXP", _C, 6),
        c.size("bytes", "BYTES", _W),
        c.queue_state(_W),
        c.count("delayed", "DELAYED", _W),
        c.count("scheduled", "SCHED", _W),
        c.count("groups", "GROUPS", _W),
        c.count("readers", "READERS", _W),
        c.trouble("unmatched", "UNMATCHED", _W),
        c.trouble("dropped", "DROPPED", _C),
        c.text("type", "TYPE", 7, _C),
        c.count("next_offset", "NEXT", _C),
        c.count("replaced", "REPLACED", _C),
        c.count("keys", "KEYS", _C),
        c.count("removed", "REMOVED", _C),
        c.flag("durable", "DURABLE", _C),
        c.flag("auto_delete", "AUTO", _C),
        c.flag("exclusive", "EXCL", _C),
        c.text("backlog_of", "BACKLOG OF", 18, _C),
        c.text("policy", "POLICY", 12, _C),
        c.group(),
        c.instant("last_in_at", "LAST IN"),
        c.instant("created_at", "CREATED"),
        c.trend("trend", "TREND", _N),
        c.reason(_N),
    ),
    (("alarm", True), ("ready", True)),
    "no queues yet; try: stompy send /queue/hello hi",
)

DEAD: Final = View(
    "dead",
    "Dead",
    "dead",
    "3",
    (
        c.mark(),
        c.text("queue", "DEAD-LETTER QUEUE", 0, _A),
        c.text("origin", "ORIGIN", 24, _A),
        c.text("reason", "CAUSE", 22, _A),
        c.count("count", "COUNT", _A),
        c.age("oldest_ms", "OLDEST", _N),
        c.instant("newest_at", "NEWEST", _W),
        c.size("bytes", "BYTES", _W),
    ),
    (("count", True),),
    "no dead letters",
)

TOPICS: Final = View(
    "topics",
    "Topics",
    "topics",
    "4",
    (
        c.mark(),
        c.text("name", "NAME", 0, _A),
        c.broker(),
        c.count("subscribers", "SUBS", _A, 6),
        c.count("durable_subscribers", "DURABLE", _A),
        c.rate("in", "IN/s", _A),
        c.rate("out", "OUT/s", _A),
        c.count("in_msgs", "IN", _N, 8),
        c.count("out_msgs", "OUT", _N, 8),
        c.size("retained", "RETAINED", _W),
        c.instant("last_in_at", "LAST IN", _N),
    ),
    (("in", True),),
    "no topics yet; try: stompy listen '/topic/>'",
)

CONNECTIONS: Final = View(
    "connections",
    "Conns",
    "connections",
    "5",
    (
        c.mark(),
        c.ident("id", "ID", 7, _A),
        c.text("client", "CLIENT", 0, _A),
        c.broker(),
        c.text("user", "USER", 12, _A),
        c.text("client_id", "CLIENT-ID", 14, _C),
        c.text("peer", "PEER", 21, _W),
        c.text("protocol", "VER", 4, _N),
        c.flag("tls", "TLS", _N),
        c.flag("ws", "WS", _C),
        c.text("state", "STATE", 9, _A),
        c.text("blocked_by", "BLOCKED", 8, _C),
        c.count("subscriptions", "SUBS", _N, 5),
        c.count("transactions", "TX", _N, 4),
        c.count("unacked", "UNACKED", _N),
        c.rate("in", "IN/s", _A),
        c.rate("out", "OUT/s", _A),
        c.size("pending_bytes", "PENDING", _N),
        c.age("idle_ms", "IDLE", _N),
        c.instant("connected_at", "SINCE", _W),
        c.text("listener", "LISTENER", 22, _C),
        c.reason(_W),
    ),
    (("alarm", True), ("pending_bytes", True), ("out", True)),
    "nobody is connected but us (H shows us)",
)

SUBSCRIPTIONS: Final = View(
    "subscriptions",
    "Subs",
    "subscriptions",
    "6",
    (
        c.mark(),
        c.ident("id", "ID", 10, _W),
        c.text("client", "CLIENT", 16, _A),
        c.broker(),
        c.ident("connection", "CONN", 8, _C),
        c.text("user", "USER", 10, _N),
        c.text("destination", "DESTINATION", 0, _A),
        c.ack_mode(),
        c.count("prefetch", "PREF", _N, 6),
        c.count("pending", "PENDING", _A),
        c.count("unacked", "UNACKED", _A),
        c.rate("out", "OUT/s", _A),
        c.rate("rate.ack", "ACK/s", _W),
        c.age("oldest_unacked_ms", "OLDEST", _A),
        c.standing(_A),
        c.count("priority", "PRIO", _W, 6),
        c.turn(_W),
        c.text("durable_name", "DURABLE", 12, _W),
        c.text("selector", "SELECTOR", 24, _W),
        c.count("matched", "MATCHED", _C),
        c.count("skipped", "SKIPPED", _C),
        c.flag("no_local", "NO-LOCAL", _C),
        c.count("window_bytes", "WINDOW", _C, 9),
        c.trouble("timed_out", "TIMED OUT", _C),
        c.flag("browser", "LOOKS", _C),
        c.count("queues", "QUEUES", _C),
        c.trouble("dropped", "DROPPED", _W),
        c.trouble("nacked", "NACKED", _W),
        c.instant("created_at", "SINCE"),
    ),
    (("stuck", True), ("alarm", True), ("oldest_unacked_ms", True)),
    "nobody is subscribed",
)

DURABLE: Final = View(
    "durable",
    "Durable",
    "durable",
    "7",
    (
        c.mark(),
        c.text("name", "NAME", 26, _A),
        c.text("destination", "DESTINATION", 0, _A),
        c.broker(),
        c.flag("online", "ONLINE", _A),
        c.flag("shared", "SHARED", _W),
        c.count("pending", "PENDING", _A),
        c.count("unacked", "UNACKED", _N),
        c.trouble("dropped", "DROPPED", _N),
        c.text("selector", "SELECTOR", 24, _W),
        c.text("share", "SHARE", 12, _C),
        c.text("not_from", "NOT FROM", 12, _C),
        c.flag("auto_delete", "AUTO", _C),
        c.text("queue", "BACKLOG", 24, _C),
        c.group(),
        c.size("bytes", "BYTES", _N),
        c.instant("last_online_at", "OFFLINE SINCE", _N),
        c.instant("expires_at", "EXPIRES", _W),
    ),
    (("pending", True),),
    "no durable subscriptions",
)

TRANSACTIONS: Final = View(
    "transactions",
    "Tx",
    "transactions",
    "8",
    (
        c.mark(),
        c.ident("id", "ID", 7, _N),
        c.text("transaction", "NAME", 14, _A),
        c.text("client", "CLIENT", 16, _A),
        c.broker(),
        c.ident("connection", "CONN", 8, _C),
        c.text("user", "USER", 10, _N),
        c.age("age_ms", "AGE", _A),
        c.count("sends", "SENDS", _A),
        c.count("acks", "ACKS", _A),
        c.count("nacks", "NACKS", _W),
        c.size("bytes", "BYTES", _N),
        c.destinations(),
        c.instant("last_frame_at", "LAST FRAME", _W),
        c.reason(_N),
    ),
    (("age_ms", True),),
    "no transaction is open",
)

SCHEDULED: Final = View(
    "scheduled",
    "Scheduled",
    "scheduled",
    "L",
    (
        c.mark(),
        c.next_in(),
        c.text("destination", "DESTINATION", 0, _A),
        c.broker(),
        c.recurrence(),
        c.date("next_at", "NEXT AT", _N),
        c.count("fired", "FIRED", _A, 6),
        c.text("job_id", "SCHEDULE", 24, _N),
        c.size("bytes", "BYTES", _W),
        c.text("name", "NAME", 16, _C),
        c.text("message_id", "MESSAGE", 24, _C),
        c.group(),
        c.instant("sent_at", "SENT"),
    ),
    (("next_in_ms", False),),
    "nothing is to come later; try: stompy send /queue/hello hi --delay 15m",
)

READERS: Final = View(
    "readers",
    "Readers",
    "readers",
    "",
    (
        c.mark(),
        c.text("stream", "STREAM", 0, _A),
        c.text("name", "READER", 20, _A),
        c.broker(),
        c.text("subscription", "SUB", 8, _N),
        c.count("consumers", "CONS", _N, 5),
        c.count("place", "NEXT", _A),
        c.count("kept", "KEPT", _N),
        c.count("lag", "LAG", _A),
        c.age("behind_ms", "BEHIND", _A),
        c.rate("out", "OUT/s", _A),
        c.rate("ack", "ACK/s", _W),
        c.count("unacked", "UNACKED", _A),
        c.count("waiting", "REFUSED", _N),
        c.trouble("nacked", "NACKED", _W),
        c.trouble("redelivered", "REDEL", _W),
        c.text("selector", "SELECTOR", 24, _W),
        c.text("active", "ACTIVE", 8, _C),
        c.count("settled", "SETTLED", _C),
        c.count("delivered", "DELIVERED", _C),
    ),
    (("lag", True),),
    "nobody reads a stream; try: stompy listen /stream/hello --offset first",
)

RETAINED: Final = View(
    "retained",
    "Retained",
    "retained",
    "",
    (
        c.mark(),
        c.text("name", "TOPIC", 0, _A),
        c.broker(),
        c.size("size", "SIZE", _A),
        c.age("received_ms", "AGE", _A),
        c.date("expires_at", "EXPIRES", _N),
        c.flag("persistent", "ON DISK", _N),
        c.text("message_id", "MESSAGE", 24, _W),
    ),
    (("name", False),),
    "no topic keeps a message for who subscribes later",
)

EVENTS: Final = View(
    "events",
    "Events",
    "events",
    "9",
    (
        c.instant("at", "TIME", _A),
        c.severity(),
        c.text("who", "WHO", 18, _A),
        c.broker(),
        c.text("type", "EVENT", 22, _A),
        c.text("user", "USER", 10, _W),
        c.ident("connection", "CONN", 8, _W),
        c.text("subject", "WHAT", 0, _A),
        c.text("reason", "REASON", 28, _N),
        c.count("number", "#", _C),
    ),
    (("number", True),),
    "nothing has happened yet",
    follows=True,
)

CLUSTER: Final = View(
    "cluster",
    "Cluster",
    "cluster",
    "C",
    (
        c.mark(),
        c.text("what", "WHAT", 7, _A),
        c.text("name", "NAME", 16, _A),
        c.state(),
        c.text("owner", "OWNER", 12, _A),
        c.text("groups", "GROUPS", 0, _N),
        c.count("queues", "QUEUES", _A),
        c.count("connections", "CONNS", _N, 6),
        c.count("messages_ready", "READY", _N),
        c.rate("in", "IN/s", _N),
        c.rate("out", "OUT/s", _N),
        c.links(),
        c.count("tenure", "TENURE", _N),
        c.count("last_sequence", "LAST", _W, 8),
        c.count("records", "RECORDS", _W, 8),
        c.size("bytes", "BYTES", _W),
        c.replay(),
        c.text("standby", "STANDBY", 10, _W),
        c.text("sync", "SYNC", 8, _W),
        c.text("version", "VERSION", 10, _C),
        c.text("address", "ADDRESS", 22, _C),
        c.instant("since_at", "SINCE", _W),
        c.text("broker", "TOLD BY", 10, _C),
    ),
    (("alarm", True), ("what", False), ("name", False)),
    "this broker belongs to no cluster",
)

MESSAGES: Final = View(
    "messages",
    "Messages",
    "messages",
    "",
    (
        c.count("position", "#", _A, 6),
        c.text("message_id", "ID", 22, _N),
        c.text("state", "STATE", 10, _A),
        c.age("age_ms", "AGE", _A),
        c.size("size", "SIZE", _A),
        c.count("deliveries", "DELIV", _A),
        c.text("content_type", "TYPE", 18, _N),
        c.text("preview", "BODY", 0, _A),
    ),
    (("position", False),),
    "no messages here",
)


TABLES: Final = (
    QUEUES,
    DEAD,
    TOPICS,
    CONNECTIONS,
    SUBSCRIPTIONS,
    DURABLE,
    TRANSACTIONS,
    EVENTS,
    SCHEDULED,
    READERS,
    RETAINED,
    CLUSTER,
)
BY_NAME: Final = {view.name: view for view in TABLES}
