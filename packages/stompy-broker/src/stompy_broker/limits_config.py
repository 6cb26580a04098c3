"""Settings of how much there may be of everything: ``[limits]``."""

from __future__ import annotations

from pydantic import ByteSize, Field, NonNegativeInt, PositiveInt

from stompy_broker.config_section import Section

_MIB = 1024 * 1024


class LimitsConfig(Section):
    """What one client, or all together, may use."""

    connections: PositiveInt = Field(
        default=10_000,
        description="Connections in all, as far as the system's limit on open files allows. When "
        "all are taken, who has not sent CONNECT makes way for who comes.",
    )
    connections_per_address: int = Field(
        default=0, ge=0, description="Connections from one IP address; 0 = no limit."
    )
    connections_per_user: int = Field(
        default=0, ge=0, description="Connections of one login; 0 = no limit."
    )
    subscriptions: PositiveInt = Field(default=10_000, description="Subscriptions a connection.")
    queues: PositiveInt = Field(
        default=50_000, description="Queues in all, with those of durable subscriptions."
    )
    durables: PositiveInt = Field(
        default=10_000,
        description="Durable subscriptions in all; `expires` in a policy has those deleted that "
        "nobody uses.",
    )
    retained: NonNegativeInt = Field(
        default=10_000,
        description="Topics that keep a message for who subscribes later (`x-retain`).",
    )
    retained_bytes: ByteSize = Field(
        default=ByteSize(64 * _MIB), ge=0, description="Size of all those messages together."
    )
    dedup: PositiveInt = Field(
        default=1_000_000,
        description="Duplicate ids (`dedup-id`) that are known of all destinations together, about "
        "110 bytes each; beyond that the oldest go first.",
    )
    temporary_queues: PositiveInt = Field(
        default=1000, description="Temporary queues a connection."
    )
    name: PositiveInt = Field(
        default=1024,
        description="Length of the name of a destination or durable subscription, in bytes.",
    )
    transactions: PositiveInt = Field(default=1000, description="Open transactions a connection.")
    transaction_frames: PositiveInt = Field(default=10_000, description="Frames a transaction.")
    transaction_bytes: ByteSize = Field(
        default=ByteSize(64 * _MIB), gt=0, description="Size of the SENDs in a transaction."
    )
    command: PositiveInt = Field(default=32, description="Length of a command, in bytes.")
    header_line: ByteSize = Field(default=ByteSize(16 * 1024), gt=0, description="One header line.")
    header_count: PositiveInt = Field(default=256, description="Headers a frame.")
    header_block: ByteSize = Field(
        default=ByteSize(_MIB), gt=0, description="All headers of a frame; 64 KiB before login."
    )
    body: ByteSize = Field(
        default=ByteSize(64 * _MIB),
        gt=0,
        le=512 * _MIB,  # the store takes a little less than 1,000,000,000 bytes
        description="Body of a frame.",
    )
    memory: ByteSize = Field(
        default=ByteSize(1024 * _MIB),
        description="Waiting messages in all, at which producers are made to wait; half of it for "
        "what clients hold beside that. 0 = no mark. Unless it is set, a third of the memory that "
        "container, `ulimit` and machine allow, if that is less.",
    )
    disk: ByteSize = Field(
        default=ByteSize(0),
        description="Messages on disk in all, at which producers are made to wait; 0 = no mark.",
    )
    disk_free: ByteSize = Field(
        default=ByteSize(64 * _MIB),
        description="Room that has to be left on the disk; with less, producers of persistent "
        "messages wait or are refused, as `store.on_failure` says; 0 = no mark.",
    )
    output: ByteSize = Field(
        default=ByteSize(_MIB),
        gt=0,
        description="What may wait to be written to one client before it gets no more messages.",
    )
