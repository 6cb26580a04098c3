"""One row in full: its facts in words, and the rows that belong to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stompy_monitor.model import formats
from stompy_monitor.model.escape import safe
from stompy_monitor.model.row_set import Row
from stompy_monitor.tables.columns import recurrence_of, turn_of

Fact = tuple[str, str]

_RARE = frozenset(("offsets", "replaced", "last value of", "duplicates"))
"""Facts of some queues only, for which there is no room where they say nothing."""
_NONE = (formats.UNKNOWN, "0")


def facts(row: Row) -> list[Fact]:
    """What there is to say about a row, in the order in which it is read."""
    told = _FACTS.get(row.kind)
    if told is None:
        return [(name, _plain(value)) for name, value in row.as_dict().items() if name != "detail"]
    shown = [(label, show(row)) for label, show in told]
    return [(label, words) for label, words in shown if label not in _RARE or words not in _NONE]


def group_lines(told: Mapping[str, object]) -> str:
    """The message groups of a queue, as a command told them, a line each."""
    found = told.get("rows")
    rows = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    lines = [
        f"{safe(str(one.get('id')), 40)}: {safe(str(one.get('owner') or 'nobody'), 40)}, "
        f"{one.get('waiting', 0)} waiting, {one.get('unsettled', 0)} unsettled"
        + (f", held until {formats.clock(one['held_until'])}" if one.get("held_until") else "")
        for one in rows
    ]
    total = told.get("total")
    more = total - len(rows) if isinstance(total, int) else 0
    return "\n".join([*lines, f"and {more:,} more"] if more > 0 else lines)


def _plain(value: object) -> str:
    if value is None or value in ("", [], {}):
        return formats.UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "  ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return str(value)


def _number(name: str) -> Callable[[Row], str]:
    return lambda row: f"{int(row.number(name)):,}"


def _text(name: str) -> Callable[[Row], str]:
    return lambda row: _plain(row.value(name))


def _size(name: str) -> Callable[[Row], str]:
    return lambda row: formats.size(row.number(name))


def _window(row: Row) -> str:
    value = row.value("window_bytes")
    return formats.size(value) if isinstance(value, (int, float)) and value >= 0 else ""


def _age(name: str) -> Callable[[Row], str]:
    def show(row: Row) -> str:
        value = row.value(name)
        return formats.duration(value if isinstance(value, (int, float)) else None)

    return show


def _moment(name: str) -> Callable[[Row], str]:
    def show(row: Row) -> str:
        value = row.value(name)
        return formats.moment(value) if isinstance(value, (int, float)) and value else "–"

    return show


def _rates(row: Row) -> str:
    names = [name for name in row.row_set.rate_names if "." not in name]
    shown = [f"{name} {formats.rate(row.rates[row.row_set.rate_names[name]])}" for name in names]
    return " ".join(shown)


def _drain(row: Row) -> str:
    value = row.value("drain_eta_ms")
    known = value if isinstance(value, (int, float)) else None
    return formats.drain(known, int(row.number("ready")))


def _clients(row: Row) -> str:
    found = row.value("connections")
    keys = [str(key) for key in found] if isinstance(found, list) else []
    return ", ".join(row.row_set.names.get(key, key) for key in keys) or formats.UNKNOWN


def _queue_state(row: Row) -> str:
    words = [
        word
        for name, word in (
            ("paused", "deliveries paused"),
            ("intake_paused", "takes nothing in"),
            ("full", "full: senders wait"),
        )
        if row.value(name)
    ]
    return ", ".join(words) or "running"


def _limits(row: Row) -> str:
    parts = []
    if row.number("max_length"):
        parts.append(f"{int(row.number('max_length')):,} messages")
    sizes = (row.number(name) for name in ("max_length_bytes", "max_bytes"))
    parts += [formats.size(size) for size in sizes if size]
    return ", ".join(parts) or "none of its own"


def _beats(row: Row) -> str:
    beat = row.value("heart_beat")
    if not isinstance(beat, dict):
        return formats.UNKNOWN
    return f"in {formats.duration(beat.get('in_ms'))}, out {formats.duration(beat.get('out_ms'))}"


def _most(row: Row) -> str:
    limits = row.value("limits")
    if not isinstance(limits, dict):
        return formats.UNKNOWN
    return f"{formats.number(limits.get('frames'))}, {formats.size(limits.get('bytes'))}"


def _holdings(row: Row) -> str:
    found = row.value("destinations")
    held = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    lines = [
        f"{item.get('name')}: {item.get('sends', 0)} sends, {item.get('acks', 0)} acks, "
        f"{item.get('nacks', 0)} nacks, {formats.size(item.get('bytes', 0))}"
        for item in held
    ]
    return "\n".join(lines) or "nothing yet"


def _share(used: str, most: str, show: Callable[[float], str]) -> Callable[[Row], str]:
    """How much of what there is; a mark of 0 is none."""

    def told(row: Row) -> str:
        limit = row.number(most)
        part = f" of {show(limit)}, {formats.share(row.number(used) / limit)}" if limit else ""
        return f"{show(row.number(used))}{part}"

    return told


def _listeners(row: Row) -> str:
    found = row.value("listeners")
    told = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    return "\n".join(f"{item.get('url')}: {item.get('clients')} clients" for item in told) or "none"


def _own_alarms(row: Row) -> str:
    found = row.value("alarms")
    told = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    return (
        "\n".join(
            f"{item.get('name')} since {formats.moment(item.get('since'))}: {item.get('reason')}"
            for item in told
        )
        or "none"
    )


def _lag(row: Row) -> str:
    names = ("avg", "p99", "max")
    return ", ".join(f"{name} {row.number(f'loop_lag_ms.{name}'):.1f} ms" for name in names)


def _store(row: Row) -> str:
    if row.text("store.kind") == "memory":
        return "in memory"
    trouble = row.text("store.trouble")
    return f"{row.text('store.kind')}, {formats.size(row.number('store.bytes'))}" + (
        f": {trouble}" if trouble else ""
    )


def _fsync(row: Row) -> str:
    each = row.number("store.fsync_avg_ms")
    return f"{formats.rate(row.number('store.fsync_per_s'))}/s, {each:.1f} ms each"


def _free(row: Row) -> str:
    value = row.value("disk_free_bytes")
    return formats.size(value) if isinstance(value, (int, float)) else "no store"


def _event_detail(row: Row) -> str:
    detail = row.value("detail.detail")
    told = detail if isinstance(detail, dict) else {}
    return "\n".join(f"{name}: {_plain(value)}" for name, value in told.items()) or formats.UNKNOWN


def _offsets(row: Row) -> str:
    """What a stream has, and who reads it."""
    if row.value("type") != "stream":
        return formats.UNKNOWN
    first, end = int(row.number("first_offset")), int(row.number("next_offset"))
    return f"{first:,} to {end - 1:,}, {int(row.number('readers')):,} readers"


def _last_values(row: Row) -> str:
    key = row.text("last_value_key")
    return f"{key}, {int(row.number('keys')):,} keys" if key else formats.UNKNOWN


_FACTS: dict[str, tuple[tuple[str, Callable[[Row], str]], ...]] = {
    "queues": (
        ("destination", _text("destination")),
        ("state", _queue_state),
        ("ready", _number("ready")),
        ("unacked", _number("unacked")),
        ("delayed", _number("delayed")),
        ("scheduled", _number("scheduled")),
        ("groups", _number("groups")),
        ("size", _size("bytes")),
        ("per second", _rates),
        ("oldest", _age("oldest_ms")),
        ("drains in", _drain),
        ("consumers", _number("consumers")),
        ("offsets", _offsets),
        ("none since", _moment("idle_at")),
        ("came in", _number("in_msgs")),
        ("delivered", _number("out_msgs")),
        ("acked", _number("acked")),
        ("nacked", _number("nacked")),
        ("redelivered", _number("redelivered")),
        ("dead letters", _number("dead_lettered")),
        ("expired", _number("expired")),
        ("dropped", _number("dropped")),
        ("unmatched", _number("unmatched")),
        ("replaced", _number("replaced")),
        ("last value of", _last_values),
        ("duplicates", _number("duplicates")),
        ("taken out", _number("removed")),
        ("durable", _text("durable")),
        ("auto-delete", _text("auto_delete")),
        ("exclusive", _text("exclusive")),
        ("policy", _text("policy")),
        ("limits", _limits),
        ("dead letters in", _text("dlq")),
        ("dead letters of", _text("dlq_of")),
        ("backlog of", _text("backlog_of")),
        ("created", _moment("created_at")),
        ("last in", _moment("last_in_at")),
    ),
    "cluster": (
        ("what", _text("what")),
        ("name", _text("name")),
        ("state", _text("state")),
        ("since", _moment("since_at")),
        ("owner", _text("owner")),
        ("owns groups", _text("groups")),
        ("queues", _number("queues")),
        ("ready", _number("messages_ready")),
        ("connections", _number("connections")),
        ("per second", _rates),
        ("processor %", _number("cpu_pct")),
        ("memory", _size("rss_bytes")),
        ("links", _share("links", "links_wanted", formats.number)),
        ("address", _text("address")),
        ("version", _text("version")),
        ("tenure", _number("tenure")),
        ("last record", _number("last_sequence")),
        ("records", _number("records")),
        ("bytes", _size("bytes")),
        ("replayed %", _text("replayed_pct")),
        ("standby", _text("standby")),
        ("standby behind", _number("behind")),
        ("sync", _text("sync")),
        ("alarms", _text("alarms")),
        ("told by", _text("broker")),
    ),
    "connections": (
        ("id", _text("id")),
        ("state", _text("state")),
        ("peer", _text("peer")),
        ("user", _text("user")),
        ("role", _text("role")),
        ("client-id", _text("client_id")),
        ("version", _text("protocol")),
        ("listener", _text("listener")),
        ("tls", _text("tls")),
        ("websocket", _text("ws")),
        ("connected", _moment("connected_at")),
        ("idle", _age("idle_ms")),
        ("heart-beat", _beats),
        ("per second", _rates),
        ("messages in", _number("in_msgs")),
        ("messages out", _number("out_msgs")),
        ("bytes in", _size("in_bytes")),
        ("bytes out", _size("out_bytes")),
        ("unacked", _number("unacked")),
        ("not yet written", _size("pending_bytes")),
    ),
    "subscriptions": (
        ("id", _text("id")),
        ("client's id", _text("subscription")),
        ("client", _text("client")),
        ("connection", _text("connection")),
        ("user", _text("user")),
        ("destination", _text("destination")),
        ("queues", _number("queues")),
        ("ack", _text("ack")),
        ("prefetch", _number("prefetch")),
        ("pending", _number("pending")),
        ("unacked", _number("unacked")),
        ("oldest unacked", _age("oldest_unacked_ms")),
        ("per second", _rates),
        ("delivered", _number("delivered")),
        ("acked", _number("acked")),
        ("nacked", _number("nacked")),
        ("dropped", _number("dropped")),
        ("durable name", _text("durable_name")),
        ("selector", _text("selector")),
        ("matched", _number("matched")),
        ("skipped", _number("skipped")),
        ("not its own", _text("no_local")),
        ("window", _window),
        ("timed out", _number("timed_out")),
        ("only looks", _text("browser")),
        ("priority", _number("priority")),
        ("turn", lambda row: turn_of(row) or formats.UNKNOWN),
        ("slow", _text("slow")),
        ("stuck", _text("stuck")),
        ("since", _moment("created_at")),
    ),
    "topics": (
        ("topic", _text("name")),
        ("subscribers", _number("subscribers")),
        ("durable ones", _number("durable_subscribers")),
        ("per second", _rates),
        ("came in", _number("in_msgs")),
        ("copies out", _number("out_msgs")),
        ("last in", _moment("last_in_at")),
    ),
    "durable": (
        ("name", _text("name")),
        ("destination", _text("destination")),
        ("subscriber", lambda row: "there" if row.value("online") else "nobody"),
        ("connections", _clients),
        ("all its topics", _text("destinations")),
        ("shared", _text("shared")),
        ("share", _text("share")),
        ("auto-delete", _text("auto_delete")),
        ("not from", _text("not_from")),
        ("selector", _text("selector")),
        ("pending", _number("pending")),
        ("unacked", _number("unacked")),
        ("size", _size("bytes")),
        ("dropped", _number("dropped")),
        ("backlog", _text("queue")),
        ("offline since", _moment("last_online_at")),
        ("expires", _moment("expires_at")),
    ),
    "events": (
        ("what", _text("type")),
        ("level", _text("severity")),
        ("when", _moment("at")),
        ("who", _text("who")),
        ("user", _text("user")),
        ("connection", _text("connection")),
        ("about", _text("subject")),
        ("reason", _text("reason")),
        ("detail", _event_detail),
    ),
    "broker": (
        ("name", _text("name")),
        ("version", _text("version")),
        ("python", _text("python")),
        ("system", _text("os")),
        ("process", _text("pid")),
        ("started", _moment("started_at")),
        ("state", lambda row: "draining" if row.value("draining") else "running"),
        ("processor", lambda row: f"{row.number('cpu_pct'):.0f} %"),
        ("memory", _size("rss_bytes")),
        ("messages in it", _share("bytes_ram", "bytes_ram_mark", formats.size)),
        ("messages stored", _share("bytes_stored", "bytes_stored_mark", formats.size)),
        ("disk free", _free),
        ("store", _store),
        ("unwritten", _number("store.unwritten")),
        ("fsync", _fsync),
        ("descriptors", _share("fds", "fds_max", formats.number)),
        ("threads", _number("threads")),
        ("connections", _share("connections", "connections_max", formats.number)),
        ("refused", _number("connections_refused")),
        ("refused logins", _number("auth_failures")),
        ("queues", _number("queues")),
        ("topics", _number("topics")),
        ("subscriptions", _number("subscriptions")),
        ("unroutable", _number("unroutable")),
        ("dead letters", _number("dead_lettered")),
        ("expired", _number("expired")),
        ("to come later", _number("messages_scheduled")),
        ("requests failed", _number("requests_failed")),
        ("late replies", _number("late_replies")),
        ("loop lag", _lag),
        ("watching", lambda row: f"{int(row.number('admin.watchers')):,} subscriptions"),
        ("listeners", _listeners),
        ("alarms", _own_alarms),
    ),
    "dead": (
        ("queue", _text("queue")),
        ("died in", _text("origin")),
        ("cause", _text("reason")),
        ("count", _number("count")),
        ("size", _size("bytes")),
        ("oldest", _moment("oldest_at")),
        ("newest", _moment("newest_at")),
    ),
    "scheduled": (
        ("schedule", _text("job_id")),
        ("destination", _text("destination")),
        ("next in", _age("next_in_ms")),
        ("next at", _moment("next_at")),
        ("comes", recurrence_of),
        ("fired", _number("fired")),
        ("delay", _age("delay_ms")),
        ("message", _text("message_id")),
        ("size", _size("bytes")),
        ("sent", _moment("sent_at")),
    ),
    "readers": (
        ("stream", _text("stream")),
        ("reader", _text("name")),
        ("subscription", _text("subscription")),
        ("consumers", _number("consumers")),
        ("active", _text("active")),
        ("next", _number("place")),
        ("settled", _number("settled")),
        ("kept", _number("kept")),
        ("lag", _number("lag")),
        ("behind", _age("behind_ms")),
        ("unacked", _number("unacked")),
        ("come again", _number("waiting")),
        ("delivered", _number("delivered")),
        ("redelivered", _number("redelivered")),
        ("acked", _number("acked")),
        ("nacked", _number("nacked")),
        ("selector", _text("selector")),
        ("filters", _text("filters")),
    ),
    "retained": (
        ("topic", _text("name")),
        ("message", _text("message_id")),
        ("size", _size("size")),
        ("came", _moment("received_at")),
        ("age", _age("received_ms")),
        ("ends", _moment("expires_at")),
        ("on disk", _text("persistent")),
    ),
    "transactions": (
        ("id", _text("id")),
        ("client's id", _text("transaction")),
        ("client", _text("client")),
        ("connection", _text("connection")),
        ("user", _text("user")),
        ("begun", _moment("begun_at")),
        ("age", _age("age_ms")),
        ("last frame", _moment("last_frame_at")),
        ("sends", _number("sends")),
        ("acks", _number("acks")),
        ("nacks", _number("nacks")),
        ("size", _size("bytes")),
        ("may hold", _most),
        ("holds", _holdings),
    ),
}
