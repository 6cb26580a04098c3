"""The tables of a data directory, and the named steps that lead to them.

The version of a database is the number of steps applied to it (``PRAGMA user_version``). To change
the tables, append a step; never change one that was released. A database with more steps than
this program knows is refused.

``application_id`` tells our files from other SQLite databases.
"""

from __future__ import annotations

import sqlite3

from stompy_broker.store.base import StoreError

APPLICATION_ID = 0x53544F4D  # "STOM"

STEPS: tuple[tuple[str, str], ...] = (
    (
        "queues, messages, durable subscriptions",
        """
        CREATE TABLE queue (
            id INTEGER PRIMARY KEY,
            destination TEXT NOT NULL UNIQUE
        );
        CREATE TABLE message (
            sequence INTEGER PRIMARY KEY,   -- place in its queue; unique over all queues
            queue INTEGER NOT NULL,
            received INTEGER NOT NULL,      -- milliseconds since the epoch
            deliveries INTEGER NOT NULL,    -- begun so far
            due INTEGER NOT NULL,           -- not before; milliseconds since the epoch, or 0
            expires INTEGER NOT NULL,       -- milliseconds since the epoch, or 0
            flags INTEGER NOT NULL,         -- see stompy_broker.store.rows
            message_id BLOB,                -- NULL = the sequence
            head BLOB NOT NULL,             -- header lines as STOMP 1.2 writes them
            body BLOB NOT NULL
        );
        CREATE TABLE settings (
            queue TEXT PRIMARY KEY,         -- name, without prefix
            headers TEXT NOT NULL           -- JSON
        );
        CREATE TABLE subscription (
            name TEXT PRIMARY KEY,
            pattern TEXT NOT NULL,
            settings TEXT NOT NULL          -- JSON
        );
        CREATE TABLE state (clean INTEGER NOT NULL);
        INSERT INTO state VALUES (1);
        """,
    ),
    (
        "messages that a crash left in doubt",
        # Up to this sequence, messages may have been delivered without a trace.
        "ALTER TABLE state ADD COLUMN doubtful INTEGER NOT NULL DEFAULT -1;",
    ),
    (
        "which deliveries count as failed, and who held a message at a crash",
        """
        ALTER TABLE message ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE message ADD COLUMN holder INTEGER NOT NULL DEFAULT 0;
        """,
    ),
    (
        "checksums of messages",
        """
        ALTER TABLE message ADD COLUMN checksum INTEGER;  -- NULL = it came before there were any
        CREATE TABLE damaged (              -- messages that are not given to anybody any more
            sequence INTEGER PRIMARY KEY,
            destination TEXT NOT NULL,
            found INTEGER NOT NULL,         -- milliseconds since the epoch
            reason TEXT NOT NULL
        );
        """,
    ),
    (
        "bodies that several messages share",
        # A `message.body` that is an integer is the `id` of one of them.
        """
        CREATE TABLE body (
            id INTEGER PRIMARY KEY,         -- the sequence of the first message that had it
            messages INTEGER NOT NULL,      -- how many have it
            body BLOB NOT NULL
        );
        """,
    ),
    (
        "logs of entries",
        # A block is a row; its place is the number of its log and the offset of its first entry.
        """
        CREATE TABLE entry_log (
            id INTEGER PRIMARY KEY,
            name TEXT UNIQUE,               -- NULL = it has gone, and its blocks are yet to go
            first INTEGER NOT NULL          -- the offset from which on it can be read
        );
        CREATE TABLE log_block (
            place INTEGER PRIMARY KEY,      -- see stompy_broker.store.log_rows
            length INTEGER NOT NULL,        -- how many entries
            oldest INTEGER NOT NULL,        -- the earliest time, milliseconds since the epoch
            latest INTEGER NOT NULL,        -- the latest one of this and all before
            sequence INTEGER NOT NULL,      -- the highest one of this and all before
            content INTEGER NOT NULL,       -- bytes
            total INTEGER NOT NULL,         -- bytes of this and all that ever were before
            checksum INTEGER NOT NULL,      -- of all columns but the data
            filters BLOB,                   -- NULL = no entry has a filter value
            data BLOB NOT NULL              -- see stompy_broker.store.log_block
        );
        CREATE TABLE log_reader (
            log INTEGER NOT NULL,
            name TEXT NOT NULL,
            next INTEGER NOT NULL,          -- the offset at which the reader goes on
            PRIMARY KEY (log, name)
        ) WITHOUT ROWID;
        """,
    ),
    (
        "duplicate ids",
        # What comes stands at the end, and what is known no longer goes from the front: no page in
        # the middle is ever written.
        """
        CREATE TABLE duplicate_id (
            sequence INTEGER PRIMARY KEY,   -- of the message that came with it
            destination INTEGER NOT NULL,
            until INTEGER NOT NULL,         -- known until then; milliseconds since the epoch
            shown INTEGER NOT NULL,         -- what clients call the message; 0 = the sequence
            value BLOB NOT NULL
        );
        CREATE TABLE duplicate_destination (
            id INTEGER PRIMARY KEY,
            destination TEXT NOT NULL UNIQUE
        );
        """,
    ),
)


def check_ours(connection: sqlite3.Connection, where: str) -> None:
    """Whether a database may be used; changes nothing.

    Raises:
        StoreError: it is not ours, or newer than this program.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (tables or application or version):
        raise StoreError(f"{where} is not a database of stompy-broker; choose another directory")
    if version > len(STEPS):
        raise StoreError(
            f"{where} has version {version}, this program knows {len(STEPS)}; "
            "install a newer stompy-broker or choose another directory"
        )


def migrate(connection: sqlite3.Connection) -> list[str]:
    """Bring a database up to date; each step and its number in one transaction.

    Returns:
        The names of the steps that were applied.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    steps = STEPS[version:]
    for number, (_, statements) in enumerate(steps, version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {statements}; PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {number}; COMMIT;"
        )
    return [name for name, _ in steps]
