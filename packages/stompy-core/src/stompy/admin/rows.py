"""What a broker tells about itself, row by row: one dataclass for each kind (schema version 1).

The names are those of the JSON. Fields may be added later, never changed; whoever reads ignores
fields that it does not know, and every field has a default for brokers that do not send it. Times
that end in ``_at`` are milliseconds since the epoch, ``_ms`` are durations; counters only grow
within one ``boot`` of the broker. Sizes of messages count headers and what the broker adds.

A field that may change although nothing has happened says so in its metadata: it is the age of
another field (``age_of``), or ``moving`` as a rate is. Deltas, the monitor and tests go by that.
Fields that only brokers of a cluster send say ``cluster`` there; elsewhere they are None.

Nobody changes a row once it is made. Rows are not frozen, because making a frozen one of thirty
fields takes five times as long, and a busy broker makes thousands a second.

The reference page of the manual is made from the docstrings here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from stompy.admin.json_types import (
    Alarm,
    Beat,
    Holding,
    Lag,
    Listener,
    Rate,
    Series,
    StoreFigures,
    Tls,
    Traffic,
    TransactionLimits,
    Watching,
)
from stompy.records import Record


class Kind(StrEnum):
    """What there are snapshots of: the last word of ``/topic/$SYS.<kind>``."""

    BROKER = "broker"
    """One object: the broker itself."""
    QUEUES = "queues"
    """Every named queue, backlogs of durable subscriptions included."""
    TOPICS = "topics"
    """Every topic that was published to lately."""
    CONNECTIONS = "connections"
    """Every client that is logged in."""
    SUBSCRIPTIONS = "subscriptions"
    """Every subscription to a queue or topic, except those to ``$SYS``."""
    DURABLE = "durable"
    """Every durable topic subscription, with or without subscriber."""
    TRANSACTIONS = "transactions"
    """Every transaction that is open."""
    SCHEDULED = "scheduled"
    """What is to come later, next one first: the next thousand of each broker."""
    READERS = "readers"
    """Every reader of a stream that is there, or whose place is kept."""
    RETAINED = "retained"
    """Every topic that keeps a message for who subscribes later."""
    CLUSTER = "cluster"
    """Every member, group and NATS server of the cluster; nothing without a cluster."""
    QUEUE = "queue"
    """One queue in detail: ``/topic/$SYS.queue.<name>``."""
    EVENT = "event"
    """One thing that happened: ``/topic/$SYS.event.<object>.<action>``."""


class Role(StrEnum):
    """What somebody may see and change of the broker itself; each includes those before it."""

    NONE = "none"
    """Nothing: an ordinary client."""
    MONITOR = "monitor"
    """See everything but bodies of messages."""
    OPERATOR = "operator"
    """Also change what is going on: pause, purge, move, disconnect."""
    ADMIN = "admin"
    """Everything."""

    def includes(self, needed: Role) -> bool:
        """Whether who has this role may do what needs that one."""
        return _RANKS.index(self) >= _RANKS.index(needed)


_RANKS = tuple(Role)


_MOVING = {"moving": True}


def _in_cluster() -> Any:
    """A field that is None, and not told at all, without a cluster."""
    return field(default=None, metadata={"cluster": True})


@dataclass(slots=True, kw_only=True)
class BrokerRow(Record):
    """The row of the broker itself.

    Attributes:
        name: host name of its machine.
        version: of stompy-broker.
        python: of the interpreter.
        compiled: whether the modules on the path of every message run compiled: ``yes``, ``no``,
            ``partly``.
        loop: whose event loop it runs on: ``asyncio`` or ``uvloop``.
        os: of its machine.
        pid: process id.
        started_at: when it started.
        uptime_ms: since then.
        listeners: where it takes connections, each with ``url`` and ``clients``.
        draining: whether it takes no new connections and no new messages.
        connections: logged in and not.
        connections_max: how many it takes.
        connections_total: so far.
        connections_refused: so far, because there were too many.
        auth_failures: logins refused so far.
        logins_waiting: clients that wait for their passcode to be checked.
        subscriptions: how many, those to ``$SYS`` not counted.
        queues: how many, backlogs of durable subscriptions included.
        topics: how many were published to lately.
        durable_subscriptions: how many.
        transactions: how many are open.
        messages_ready: waiting for a consumer.
        messages_delayed: waiting out a redelivery delay.
        messages_unacked: with consumers, not settled.
        messages_scheduled: sent to come later; of repeated ones each once.
        bytes_ram: size of waiting and unsettled messages in memory.
        bytes_ram_mark: where producers are made to wait; 0 = never.
        bytes_stored: size of messages on disk.
        bytes_stored_mark: where producers are made to wait; 0 = never.
        in_msgs: SEND frames.
        in_bytes: read from all sockets.
        out_msgs: MESSAGE frames.
        out_bytes: written to all sockets.
        acked: settled by ACK; what is delivered with ``ack:auto`` needs none.
        nacked: settled by NACK.
        redelivered: deliveries of a message that was delivered before.
        expired: messages whose time was over.
        dead_lettered: messages that became dead letters.
        dropped: messages given up without a place for them.
        unroutable: messages to a topic without subscribers, or to a reply queue that is gone.
        retained: topics that keep a message for who subscribes later.
        retained_bytes: the size of those messages.
        duplicates: messages that were dropped because their duplicate id was known, of all
            destinations.
        duplicate_ids: how many of those are known.
        requests: SENDs with ``reply-timeout``.
        requests_open: how many of them wait for their reply.
        requests_failed: how many the broker has answered itself.
        late_replies: replies that came after that, and were dropped.
        rate: messages and bytes a second: ``in``, ``out``, ``ack``, ``in_bytes``, ``out_bytes``;
            null until it is known.
        cpu_pct: processor time of the process, in percent of one core.
        rss_bytes: memory of the process; 0 = unknown.
        fds: open file descriptors; 0 = unknown.
        fds_max: how many there may be.
        threads: of the process.
        loop_lag_ms: by how much the event loop was late: ``avg``, ``p99``, ``max``.
        disk_free_bytes: on the store's disk; null without store.
        store: ``kind``, ``bytes`` on disk, ``trouble``, ``unwritten`` changes, ``commits``,
            ``fsync_per_s``, ``fsync_avg_ms``, ``damaged`` messages.
        alarms: what needs a person, each with ``name``, ``since`` and ``reason``.
        admin: what watching costs: ``watchers``, ``out_msgs``, ``out_bytes``, ``dropped``
            snapshots and events, ``commands``.
        broker: its id in the cluster.
    """

    name: str = ""
    version: str = ""
    python: str = ""
    compiled: str = ""
    loop: str = ""
    os: str = ""
    pid: int = 0
    started_at: int = 0
    uptime_ms: int = field(default=0, metadata={"age_of": "started_at"})
    listeners: tuple[Listener, ...] = ()
    draining: bool = False
    connections: int = 0
    connections_max: int = 0
    connections_total: int = 0
    connections_refused: int = 0
    auth_failures: int = 0
    logins_waiting: int = 0
    subscriptions: int = 0
    queues: int = 0
    topics: int = 0
    durable_subscriptions: int = 0
    transactions: int = 0
    messages_ready: int = 0
    messages_delayed: int = 0
    messages_unacked: int = 0
    messages_scheduled: int = 0
    bytes_ram: int = 0
    bytes_ram_mark: int = 0
    bytes_stored: int = 0
    bytes_stored_mark: int = 0
    in_msgs: int = 0
    in_bytes: int = 0
    out_msgs: int = 0
    out_bytes: int = 0
    acked: int = 0
    nacked: int = 0
    redelivered: int = 0
    expired: int = 0
    dead_lettered: int = 0
    dropped: int = 0
    unroutable: int = 0
    retained: int = 0
    retained_bytes: int = 0
    duplicates: int = 0
    duplicate_ids: int = 0
    requests: int = 0
    requests_open: int = 0
    requests_failed: int = 0
    late_replies: int = 0
    rate: Traffic | None = field(default=None, metadata=_MOVING)
    cpu_pct: float = field(default=0.0, metadata=_MOVING)
    rss_bytes: int = field(default=0, metadata=_MOVING)
    fds: int = field(default=0, metadata=_MOVING)
    fds_max: int = 0
    threads: int = field(default=0, metadata=_MOVING)
    loop_lag_ms: Lag | None = field(default=None, metadata=_MOVING)
    disk_free_bytes: int | None = field(default=None, metadata=_MOVING)
    store: StoreFigures | None = None
    alarms: tuple[Alarm, ...] = ()
    admin: Watching | None = None
    broker: str | None = _in_cluster()


@dataclass(slots=True, kw_only=True)
class QueueRow(Record):
    """The row of one queue.

    Attributes:
        name: without ``/queue/``; the key of the row.
        destination: as clients write it.
        type: ``queue``, or ``stream``: what is read stays in it.
        durable: whether persistent messages in it survive.
        backlog_of: the durable subscription whose backlog it is, or that binds topics to it;
            empty = an ordinary queue.
        paused: whether an operator stopped deliveries.
        intake_paused: whether an operator stopped what comes in; senders wait.
        full: whether it has reached the size at which senders wait.
        policy: ``match`` of the policy that it follows; empty = the defaults.
        created_at: when the broker made or restored it.
        ready: messages that wait for a consumer; of a stream, all that are in it.
        delayed: messages that wait out a redelivery delay.
        unacked: messages that are with consumers, not settled.
        total: all of these.
        scheduled: messages that were sent to come later, and are not in the queue before.
        bytes: size of all that are in the queue.
        max_length: messages that may wait; 0 = no limit.
        max_length_bytes: bytes that may wait; 0 = no limit.
        max_bytes: size at which senders wait; 0 = no limit of its own.
        auto_delete: whether it ends, with all that is in it, when its last consumer leaves.
        exclusive: whether one connection has it for itself; it ends with that.
        consumers: subscriptions.
        idle_at: since when it has none; null = it has one.
        in_msgs: messages that came in.
        out_msgs: deliveries, redeliveries included.
        acked: settled by ACK; what is delivered with ``ack:auto`` needs none.
        nacked: settled by NACK.
        redelivered: deliveries of a message that was delivered before.
        expired: messages whose time was over.
        dead_lettered: messages that went on to another queue because it gave them up.
        dropped: messages given up without a place for them.
        removed: messages that operators purged, deleted or moved away.
        replaced: messages whose place newer ones took that have the same key.
        duplicates: messages that were dropped because their duplicate id (``dedup-id``) was known.
        duplicate_ids: how many of those are known.
        last_value_key: the header whose value is the key; empty = newer messages replace none.
        keys: of how many keys messages are in it, where newer ones replace others.
        non_destructive: whether its messages stay when they are read, for other readers.
        rate: messages a second: ``in``, ``out``, ``ack``; null until it is known, which takes a
            second from when somebody begins to watch.
        unmatched: messages that are ready and that no consumer takes who is there, because of its
            selector.
        groups: message groups that it remembers: those that have anything in it, or had it lately.
        first_offset: of a stream, the offset of its oldest message; 0 for a queue.
        next_offset: of a stream, the offset that its next message gets.
        readers: of a stream, its readers: those that are there, and those whose place is kept.
        max_age: of a stream, for how long messages stay, such as ``7D``; empty = for ever.
        history: for how long is kept what leaves it, such as ``24h``; empty = nothing is.
        history_records: settlements that its history tells of.
        history_bytes: size of its history.
        history_oldest_at: when the oldest of these was; null = there is none.
        oldest_at: when the message came that is next in line; null = none waits.
        oldest_ms: its age.
        drain_eta_ms: until it is empty if all goes on like this; null = never, or it is.
        last_in_at: when a message was last seen to come in, exact to one interval; null = not
            since somebody has been watching, and none waits.
        dlq: name of the queue its dead letters are in, if there is one by now.
        dlq_of: name of the queue whose dead letters it holds, going by its own name.
        broker: id of its owner in the cluster.
        group: number of its group in the cluster.
    """

    name: str = ""
    destination: str = ""
    type: str = "queue"
    durable: bool = False
    backlog_of: str = ""
    paused: bool = False
    intake_paused: bool = False
    full: bool = False
    policy: str = ""
    created_at: int = 0
    ready: int = 0
    delayed: int = 0
    unacked: int = 0
    total: int = 0
    scheduled: int = 0
    bytes: int = 0
    max_length: int = 0
    max_length_bytes: int = 0
    max_bytes: int = 0
    auto_delete: bool = False
    exclusive: bool = False
    consumers: int = 0
    idle_at: int | None = None
    in_msgs: int = 0
    out_msgs: int = 0
    acked: int = 0
    nacked: int = 0
    redelivered: int = 0
    expired: int = 0
    dead_lettered: int = 0
    dropped: int = 0
    removed: int = 0
    replaced: int = 0
    duplicates: int = 0
    duplicate_ids: int = 0
    last_value_key: str = ""
    keys: int = 0
    non_destructive: bool = False
    rate: Rate | None = field(default=None, metadata=_MOVING)
    unmatched: int = 0
    groups: int = 0
    first_offset: int = 0
    next_offset: int = 0
    readers: int = 0
    max_age: str = ""
    history: str = ""
    history_records: int = 0
    history_bytes: int = 0
    history_oldest_at: int | None = None
    oldest_at: int | None = None
    oldest_ms: int | None = field(default=None, metadata={"age_of": "oldest_at"})
    drain_eta_ms: int | None = field(default=None, metadata=_MOVING)
    last_in_at: int | None = None
    dlq: str = ""
    dlq_of: str = ""
    broker: str | None = _in_cluster()
    group: int | None = _in_cluster()


@dataclass(slots=True, kw_only=True)
class TopicRow(Record):
    """The row of one topic.

    Attributes:
        name: without ``/topic/``; the key of the row.
        subscribers: subscriptions that get its messages, by pattern too.
        durable_subscribers: durable ones among them, with or without subscriber.
        scheduled: messages that were sent to come later, and are not published before.
        retained: the size of the message that it keeps for who subscribes later; 0 = none.
        in_msgs: messages published.
        duplicates: messages that were dropped because their duplicate id (``dedup-id``) was known.
        duplicate_ids: how many of those are known.
        out_msgs: copies of them that subscriptions were given.
        rate: messages a second: ``in``, ``out``; ``ack`` is always 0. Null until it is known.
        last_in_at: when the last one was published; null = none yet.
        broker: ids of the brokers in the cluster that it was published at, with commas.
    """

    name: str = ""
    subscribers: int = 0
    durable_subscribers: int = 0
    scheduled: int = 0
    retained: int = 0
    in_msgs: int = 0
    duplicates: int = 0
    duplicate_ids: int = 0
    out_msgs: int = 0
    rate: Rate | None = field(default=None, metadata=_MOVING)
    last_in_at: int | None = None
    broker: str | None = _in_cluster()


@dataclass(slots=True, kw_only=True)
class ConnectionRow(Record):
    """The row of one client.

    Attributes:
        id: the key of the row, such as ``c-12``.
        session: the ``session`` header of its CONNECTED.
        peer: address and port.
        user: who logged in.
        role: what that user may do here.
        client_id: header ``client-id`` of its CONNECT.
        listener: URL that it came in by.
        tls: ``version``, ``cipher`` and ``subject``; null = not encrypted.
        ws: whether it speaks STOMP over WebSocket.
        protocol: STOMP version.
        state: ``running``; ``blocked`` = it has to wait before it may send more; ``draining``.
        blocked_by: why it is blocked: ``quota`` = of its user; ``room`` = memory, disk or a queue
            has none. Empty = it is not.
        connected_at: when.
        last_in_at: when something was received; beats count.
        idle_ms: since then.
        heart_beat: intervals in milliseconds: ``in_ms``, ``out_ms``; 0 = none.
        subscriptions: how many, those to ``$SYS`` not counted.
        transactions: how many are open.
        unacked: messages it has to settle.
        pending_bytes: not yet taken by its socket.
        in_frames: received; a run of ACKs counts once.
        in_msgs: SEND frames received.
        in_bytes: received.
        out_msgs: MESSAGE frames written.
        out_bytes: written.
        rate: messages a second: ``in``, ``out``; ``ack`` is always 0. Null until it is known.
        self: whether it is the connection that asks. In rows of commands only; of snapshots the
            header ``self`` of the MESSAGE tells.
        broker: id of the broker in the cluster that it is at.
    """

    id: str = ""
    session: str = ""
    peer: str = ""
    user: str = ""
    role: str = ""
    client_id: str = ""
    listener: str = ""
    tls: Tls | None = None
    ws: bool = False
    protocol: str = ""
    state: str = ""
    blocked_by: str = ""
    connected_at: int = 0
    last_in_at: int = 0
    idle_ms: int = field(default=0, metadata={"age_of": "last_in_at"})
    heart_beat: Beat | None = None
    subscriptions: int = 0
    transactions: int = 0
    unacked: int = 0
    pending_bytes: int = 0
    in_frames: int = 0
    in_msgs: int = 0
    in_bytes: int = 0
    out_msgs: int = 0
    out_bytes: int = 0
    rate: Rate | None = field(default=None, metadata=_MOVING)
    self: bool = False
    broker: str | None = _in_cluster()


@dataclass(slots=True, kw_only=True)
class SubscriptionRow(Record):
    """The row of one subscription.

    Attributes:
        id: the key of the row, such as ``s-7``.
        connection: id of its connection.
        user: who logged in there.
        subscription: the client's own id for it; empty = none (STOMP 1.0).
        destination: what it is of.
        queues: how many queues and topics it takes from just now: those of a pattern, or several.
        ack: ``auto``, ``client`` or ``client-individual``.
        prefetch: deliveries that may be unsettled at once; 0 = no limit.
        selector: which messages it takes; empty = all.
        matched: messages that it took because of its selector or ``no-local``. In a cluster, of a
            topic, those that were sent to this broker or by others to it.
        skipped: messages that it did not take because of them.
        no_local: whether what its own connection or ``client-id`` sends is not for it.
        priority: of the consumers of a queue that could be given a message, those of the highest
            are.
        single_active: whether it asks that one consumer at a time is given all messages.
        active: whether it is given messages at all: false while it stands by, because another
            consumer of its queue, or of one of them, is given all of them.
        window_bytes: bytes that may be unsettled at once; -1 = no limit.
        timeout_ms: how long a delivery may be unsettled; 0 = for ever.
        timed_out: deliveries that went back because that was over.
        browser: whether it only looks, and takes none; what it showed counts as ``delivered``.
        durable_name: the durable subscription whose messages it gets; empty = none.
        blocked: whether its client does not take what is written.
        pending: messages that wait for it alone: the backlog of a topic subscription. In a
            cluster 0 where another broker owns the backlog, whose row tells.
        unacked: deliveries to be settled, those in transactions included.
        delivered: messages so far.
        acked: of these, settled by ACK; with ``auto`` none.
        nacked: of these, settled by NACK.
        dropped: messages that its full backlog could not take.
        rate: messages a second: ``out``, ``ack``; ``in`` is always 0. Null until it is known.
        oldest_unacked_at: when the oldest unsettled delivery was made; null = none. Exact, but
            where a client settles slowly out of very many; then it is a little earlier.
        oldest_unacked_ms: since then.
        slow: it can take no more, and has not settled its oldest delivery for 30 seconds.
        stuck: the same for five minutes.
        created_at: when.
        self: whether it belongs to the connection that asks. In rows of commands only; of snapshots
            the header ``self`` of the MESSAGE tells.
        broker: id of the broker in the cluster that its connection is at.
    """

    id: str = ""
    connection: str = ""
    user: str = ""
    subscription: str = ""
    destination: str = ""
    queues: int = 1
    ack: str = ""
    prefetch: int = 0
    selector: str = ""
    matched: int = 0
    skipped: int = 0
    no_local: bool = False
    priority: int = 0
    single_active: bool = False
    active: bool = True
    window_bytes: int = -1
    timeout_ms: int = 0
    timed_out: int = 0
    browser: bool = False
    durable_name: str = ""
    blocked: bool = False
    pending: int = 0
    unacked: int = 0
    delivered: int = 0
    acked: int = 0
    nacked: int = 0
    dropped: int = 0
    rate: Rate | None = field(default=None, metadata=_MOVING)
    oldest_unacked_at: int | None = None
    oldest_unacked_ms: int | None = field(default=None, metadata={"age_of": "oldest_unacked_at"})
    slow: bool = field(default=False, metadata=_MOVING)
    stuck: bool = field(default=False, metadata=_MOVING)
    created_at: int = 0
    self: bool = False
    broker: str | None = _in_cluster()


@dataclass(slots=True, kw_only=True)
class DurableRow(Record):
    """The row of one durable topic subscription.

    Attributes:
        name: the key of the row: ``CLIENT-ID.NAME``, ``ID@TOPIC``, the name of its queue, or
            ``share.GROUP.TOPIC``.
        destination: the topics it gets.
        destinations: all of them; several may be bound to a queue that its client has named.
        queue: name of its backlog.
        selector: which messages it takes; empty = all.
        not_from: the ``client-id`` whose own messages it does not take; empty = it takes all.
        shared: whether several subscribers may share it.
        share: the group that shares it; empty = none.
        auto_delete: whether it ends with its last subscriber.
        owner: the login whose it is; empty = the first that comes, as without users.
        online: whether it has a subscriber.
        connections: ids of their connections.
        pending: messages that wait.
        unacked: messages that are with subscribers.
        bytes: size of both.
        dropped: messages that a full backlog could not take.
        last_online_at: since when it has no subscriber; null = it has one.
        expires_at: when it will be deleted if none comes; null = never.
        broker: id of the owner of its backlog in the cluster.
        group: number of its group in the cluster.
    """

    name: str = ""
    destination: str = ""
    destinations: tuple[str, ...] = ()
    queue: str = ""
    selector: str = ""
    not_from: str = ""
    shared: bool = False
    share: str = ""
    auto_delete: bool = False
    owner: str = ""
    online: bool = False
    connections: tuple[str, ...] = ()
    pending: int = 0
    unacked: int = 0
    bytes: int = 0
    dropped: int = 0
    last_online_at: int | None = None
    expires_at: int | None = None
    broker: str | None = _in_cluster()
    group: int | None = _in_cluster()


@dataclass(slots=True, kw_only=True)
class TransactionRow(Record):
    """The row of one open transaction.

    Attributes:
        id: the key of the row, such as ``t-3``.
        transaction: the client's own id for it.
        connection: id of its connection.
        user: who logged in there.
        begun_at: when BEGIN came.
        age_ms: since then.
        last_frame_at: when its last frame came.
        sends: SEND frames in it.
        acks: messages to be acknowledged.
        nacks: messages to be rejected.
        bytes: size of the SEND frames.
        destinations: what it holds for each: ``name``, ``sends``, ``acks``, ``nacks``, ``bytes``.
        limits: how large it may become: ``frames``, ``bytes``.
        self: whether it belongs to the connection that asks. In rows of commands only; of snapshots
            the header ``self`` of the MESSAGE tells.
        broker: id of the broker in the cluster that its connection is at.
    """

    id: str = ""
    transaction: str = ""
    connection: str = ""
    user: str = ""
    begun_at: int = 0
    age_ms: int = field(default=0, metadata={"age_of": "begun_at"})
    last_frame_at: int = 0
    sends: int = 0
    acks: int = 0
    nacks: int = 0
    bytes: int = 0
    destinations: tuple[Holding, ...] = ()
    limits: TransactionLimits | None = None
    self: bool = False
    broker: str | None = _in_cluster()


@dataclass(slots=True, kw_only=True)
class ScheduledRow(Record):
    """The row of one schedule: a message that is to come later, once or again and again.

    Attributes:
        id: the key of the row: its `job_id`, of a schedule with a name after its destination.
        job_id: what the messages say that come of it, as ``scheduledJobId``.
        name: what its sender calls it (``x-schedule-id``); empty = it has no name.
        destination: where its messages go.
        message_id: the one of the SEND.
        sent_at: when that came.
        next_at: when it is due next.
        delay_ms: how much later than sent, or than each time of `cron`, it is due.
        period_ms: between one message and the next; 0 = it is no series.
        repeat_left: how many messages come after the next one, -1 = it goes on for ever.
        cron: the expression by which it is due; empty = none.
        zone: by whose clock `cron` is meant.
        fired: how many of its times have passed.
        bytes: size of the message.
        broker: id of the broker in the cluster that has it.
        group: number of its group in the cluster.
    """

    id: str = ""
    job_id: str = ""
    name: str = ""
    destination: str = ""
    message_id: str = ""
    sent_at: int = 0
    next_at: int = 0
    delay_ms: int = 0
    period_ms: int = 0
    repeat_left: int = 0
    cron: str = ""
    zone: str = ""
    fired: int = 0
    bytes: int = 0
    broker: str | None = _in_cluster()
    group: int | None = _in_cluster()


@dataclass(slots=True, kw_only=True)
class ReaderRow(Record):
    """The row of one reader of a stream: a subscription, or all of one name.

    Attributes:
        id: the key of the row: the stream, and the name, or the subscription of a reader without.
        stream: its destination, as ``/queue/NAME``.
        name: under which its place is kept (``x-stream-consumer``); empty = it is not.
        subscription: the row's id of one that is there; empty = nobody reads just now.
        consumers: subscriptions that are there.
        active: the one of them that reads, if one does for all: the row's id; else empty.
        place: the offset that it reads next.
        settled: the offset after the last message up to which all are settled.
        kept: the offset from which the next reader of that name goes on; null = none is kept.
        lag: messages from there to the end of the stream.
        behind_ms: how old the first message is that it has not settled; 0 = it has settled all,
            null = not known yet, because it is to be read from disk.
        unacked: messages that it was given and has not settled.
        waiting: messages that it was given before, and that come again later.
        delivered: deliveries, redeliveries included.
        redelivered: deliveries of a message that was delivered before.
        acked: settled by ACK.
        nacked: settled by NACK.
        selector: which messages it takes, by headers.
        filters: which messages it takes, by their filter values.
        unfiltered: whether those without such a value as well.
        broker: id of the broker in the cluster that has it.
    """

    id: str = ""
    stream: str = ""
    name: str = ""
    subscription: str = ""
    consumers: int = 0
    active: str = ""
    place: int = 0
    settled: int = 0
    kept: int | None = None
    lag: int = 0
    behind_ms: int | None = field(default=0, metadata=_MOVING)
    unacked: int = 0
    waiting: int = 0
    delivered: int = 0
    redelivered: int = 0
    acked: int = 0
    nacked: int = 0
    selector: str = ""
    filters: tuple[str, ...] = ()
    unfiltered: bool = False
    broker: str | None = _in_cluster()


@dataclass(slots=True, kw_only=True)
class RetainedRow(Record):
    """The row of one topic that keeps a message for who subscribes later.

    Attributes:
        name: of the topic, without ``/topic/``; the key of the row.
        destination: as clients write it.
        message_id: of the message.
        size: what it counts for, in bytes.
        received_at: when it came.
        received_ms: how long ago that was.
        expires_at: when it ends; null = never.
        persistent: whether it survives the end of the broker.
        broker: id of the broker in the cluster that has it.
    """

    name: str = ""
    destination: str = ""
    message_id: str = ""
    size: int = 0
    received_at: int | None = None
    received_ms: int | None = field(default=None, metadata={"age_of": "received_at"})
    expires_at: int | None = None
    persistent: bool = True
    broker: str | None = _in_cluster()


@dataclass(slots=True, kw_only=True)
class ClusterRow(Record):
    """The row of one member, group or NATS server of a cluster.

    What has no meaning for one of them is null, or 0.

    Attributes:
        id: the key of the row, such as ``member.ann``, ``group.3`` or ``server.n1``.
        what: ``member``, ``group`` or ``server``.
        name: the id of the broker, the number of the group, or the name of the server.
        state: of a member ``alive``, ``draining`` or ``lost``; of a group ``owned``, ``nobody``'s,
            or what its owner-to-be is doing; of a server ``leader``, ``follower``,
            ``behind``, ``lost`` or ``unknown``.
        since_at: since when it is in that state, or a member; null = not known.
        owner: of a group, the id of the broker that owns it; empty = nobody does.
        address: where a member takes connections, or the server.
        version: of a member or server.
        load: of a member, how busy it says it is, in percent of one core.
        links: of a member, how many of its links to other members are up.
        links_wanted: how many there should be.
        connections: of a member, its clients.
        queues: of a member or a group, how many it owns.
        messages_ready: of a member, waiting in the queues it owns.
        in_msgs: of a member, SEND frames.
        out_msgs: of a member, MESSAGE frames.
        cpu_pct: of a member, processor time of the process, in percent of one core.
        rss_bytes: of a member, memory of the process.
        alarms: of a member, the names of its alarms.
        tenure: of a group, how often its owner has changed.
        last_sequence: of a group, the number of the last record in its log.
        records: of a group, how many records its log has; 0 = not known.
        bytes: of a group's log, or of all on the server.
        replayed_pct: of a group that is being taken over, how much of its log is read; null = all.
        standby: of a group, the id of the broker that would own it if its owner died, and has read
            its log already; empty = none has.
        behind: of a group, how many places in the stream of all logs that one has not read yet.
        sync: of a server, how it syncs: ``always``, an interval, or ``unknown``.
        broker: id of the broker that says so.
    """

    id: str = ""
    what: str = ""
    name: str = ""
    state: str = ""
    since_at: int | None = None
    owner: str = ""
    address: str = ""
    version: str = ""
    load: float = field(default=0.0, metadata=_MOVING)
    links: int = 0
    links_wanted: int = 0
    connections: int = 0
    queues: int = 0
    messages_ready: int = 0
    in_msgs: int = 0
    out_msgs: int = 0
    cpu_pct: float = field(default=0.0, metadata=_MOVING)
    rss_bytes: int = field(default=0, metadata=_MOVING)
    alarms: tuple[str, ...] = ()
    tenure: int = 0
    last_sequence: int = 0
    records: int = 0
    bytes: int = 0
    replayed_pct: float | None = None
    standby: str = ""
    behind: int = field(default=0, metadata=_MOVING)
    sync: str = ""
    broker: str | None = _in_cluster()


@dataclass(slots=True, kw_only=True)
class QueueDetail(QueueRow):
    """One queue in detail: its row, and these.

    Attributes:
        consumers_detail: the rows of its subscriptions, as JSON objects.
        series: recent history in steps of ``step_ms`` up to ``until``: lists ``in_msgs``,
            ``out_msgs`` (counters) and ``ready``. Recorded while somebody watches.
        message_groups: its message groups, a hundred at most, as JSON objects: ``id``, ``owner``
            (id of the subscription; empty = nobody's), ``waiting``, ``unsettled``, ``since``,
            ``held_until``, and ``shared`` (several groups in one). Only at the queue's own broker.
        stream_readers: the rows of the readers of a stream, a hundred at most, as JSON objects.
    """

    consumers_detail: tuple[Mapping[str, object], ...] = ()
    series: Series | None = field(default=None, metadata=_MOVING)
    message_groups: tuple[Mapping[str, object], ...] = ()
    stream_readers: tuple[Mapping[str, object], ...] = ()


@dataclass(slots=True, kw_only=True)
class Event(Record):
    """One thing that happened.

    Attributes:
        id: its number within this boot.
        type: ``object.action``, such as ``queue.created``.
        at: when.
        severity: ``info``, ``warn`` or ``critical``.
        connection: id of the connection concerned.
        user: who did it, or whom it concerns.
        destination: the queue or topic concerned.
        subscription: the subscription concerned, by its row's id or its durable name.
        message_id: the message concerned.
        reason: in words.
        detail: more, depending on ``type``.
        replayed: whether it happened before the subscription that gets it.
        broker: id of the broker in the cluster where it happened.
    """

    id: int = 0
    type: str = ""
    at: int = 0
    severity: str = "info"
    connection: str = ""
    user: str = ""
    destination: str = ""
    subscription: str = ""
    message_id: str = ""
    reason: str = ""
    detail: Mapping[str, object] | None = None
    replayed: bool = False
    broker: str | None = _in_cluster()


Row = (
    BrokerRow
    | QueueRow
    | TopicRow
    | ConnectionRow
    | SubscriptionRow
    | DurableRow
    | ScheduledRow
    | ReaderRow
    | RetainedRow
    | TransactionRow
    | ClusterRow
    | QueueDetail
    | Event
)
"""A row of any kind."""
