"""The data directory: its lock, and the database file in it.

Whoever opens the database holds the lock, be it the broker or a command that looks into it, and
there is one connection. That is more than politeness: SQLite before 3.51.3 can damage a WAL that
two connections write and checkpoint at the same instant.

The directory and its files are made for their owner's eyes only, for they hold message bodies.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from stompy_broker.posix import fcntl
from stompy_broker.store.base import StoreError
from stompy_broker.store.schema import check_ours, migrate

log = logging.getLogger("stompy_broker.store")

FILE = "messages.db"
LOCK = "lock"

_FILE_MODE = 0o600

WAL_BYTES = 16 * 1024 * 1024
"""Length of the WAL from the start; the store carries it over before it grows longer."""

_CHECK_BELOW = 1024**3
"""A database that was not closed properly is looked through for damage up to this size."""

_COMPACT_BELOW = 64 * 1024**2
"""A database that cannot shrink is written anew at the start up to this size."""

_INCREMENTAL = 2

_OLDEST_SQLITE = (3, 33, 0)
"""The first with UPDATE ... FROM."""

_WAY_OUT = (
    "`stompy-broker store check` looks through it, and `stompy-broker store export` saves what "
    "can be read"
)


def lock_directory(directory: Path) -> int:
    """Lock a data directory for this process; gives the descriptor that holds the lock.

    Raises:
        StoreError: another process has it, or it cannot be written to.
    """
    how = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        _make(directory)
        _check_rights(directory)
        descriptor = os.open(directory / LOCK, how, _FILE_MODE)
    except OSError as error:
        raise StoreError(f"{directory}: cannot be used: {_reason(directory, error)}") from None
    if not _is_ours(descriptor):
        os.close(descriptor)
        raise StoreError(
            f"{directory / LOCK}: is no plain file of its own, and may lead to a file of somebody "
            "else; remove it"
        )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(descriptor, 20).decode()
        os.close(descriptor)
        who = f"process id {holder}" if holder else "another process"
        raise StoreError(f"{directory}: in use by a broker or its tools: {who}") from None
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    except OSError:
        # On a full disk the lock holds, and names nobody.
        log.warning("%s: the process id could not be written", directory / LOCK)
    return descriptor


def _reason(directory: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP and (directory / LOCK).is_symlink():
        return f"{LOCK} is a symbolic link, which the broker does not follow; remove it"
    return str(error.strerror)


def _is_ours(descriptor: int) -> bool:
    """Whether an open file is one of which nothing else is known by another name."""
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and status.st_nlink <= 1


def _check_rights(directory: Path) -> None:
    """Who else may write to a directory may have the broker read and overwrite what they want.

    Raises:
        StoreError: everybody may, or somebody else owns it.
        OSError: it cannot be looked at.
    """
    status = directory.stat()
    mode = stat.S_IMODE(status.st_mode)
    owner, us = status.st_uid, os.geteuid()
    if owner not in (us, 0):
        foreign = f"{directory}: belongs to user id {owner}, and this is {us}; `chown` it"
        if us:
            raise StoreError(f"{foreign}, or use a directory of your own")
        log.warning("%s", foreign)
    if mode & stat.S_IWOTH:
        raise StoreError(
            f"{directory}: others may write to it (mode {mode:04o}), and could have the broker "
            f"overwrite files of yours; `chmod 700 {directory}`"
        )
    if mode & stat.S_IWGRP:
        log.warning("%s: its group may write to it (mode %04o); chmod g-w it", directory, mode)


def open_database(file: Path) -> tuple[sqlite3.Connection, bool]:
    """Open, bring up to date, and look for damage if it was not closed properly.

    Returns:
        The connection, and whether the database is marked as being in use. It is not where the disk
        is full to the last byte: what is in it can be read, and `mark_in_use` has to follow.

    Raises:
        StoreError: it is damaged, not ours, newer than this program, or cannot be opened.
    """
    with translated(file):
        connection = connect(file)
        try:
            (known,) = connection.execute("PRAGMA user_version").fetchone()
            if not known:  # of use in a new database only; see `compact`
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreError(f"{file}: cannot be used: its file system cannot keep a WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute("PRAGMA checkpoint_fullfsync = ON")
            # The store carries the WAL over before it grows so far.
            connection.execute("PRAGMA wal_autocheckpoint = 6144")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            connection.execute("PRAGMA cache_size = -65536")
            # Some builds of SQLite overwrite what is deleted, and so write each body twice.
            connection.execute("PRAGMA secure_delete = OFF")
            _bring_up_to_date(connection, file)
            (clean,) = connection.execute("SELECT clean FROM state").fetchone()
            if not clean:
                _look_for_damage(connection, file)
            try:
                _begin(connection, file, crashed=not clean)
            except sqlite3.OperationalError as error:
                if not is_full(error):
                    raise
                return connection, False
        except BaseException:
            connection.close()
            raise
    return connection, True


def _bring_up_to_date(connection: sqlite3.Connection, file: Path) -> None:
    (known,) = connection.execute("PRAGMA user_version").fetchone()
    steps = migrate(connection)
    if not known:
        log.info("%s: new database, schema %d", file, len(steps))
        return
    for number, step in enumerate(steps, known + 1):
        log.info("%s: brought up to date, schema %d: %s", file, number, step)


def _begin(connection: sqlite3.Connection, file: Path, *, crashed: bool) -> None:
    mark_in_use(connection, crashed=crashed)
    _learn_to_shrink(connection, file)
    # So that the file stands for itself, should the WAL be lost.
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    lay_out_wal(file)


def mark_in_use(connection: sqlite3.Connection, *, crashed: bool) -> None:
    """Have a start after a crash see that this was one.

    Raises:
        sqlite3.Error: it cannot be written.
    """
    if crashed:
        # A delivery is written some milliseconds later, so a crash may have hidden it.
        connection.execute(
            "UPDATE state SET doubtful = coalesce((SELECT max(sequence) FROM message), -1)"
        )
    connection.execute("UPDATE state SET clean = 0")


def is_full(error: sqlite3.Error) -> bool:
    """Whether it is for want of room on the disk."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def _learn_to_shrink(connection: sqlite3.Connection, file: Path) -> None:
    """Write a database anew that was made before pages could be given back, if that is quick."""
    if can_shrink(connection):
        return
    size = file.stat().st_size
    if size > _COMPACT_BELOW or shutil.disk_usage(file.parent).free < 4 * size:
        log.info(
            "%s: gives no room back to the disk; `stompy-broker store compact` mends that while no "
            "broker runs",
            file,
        )
        return
    try:
        compact(connection)
    except sqlite3.OperationalError as error:
        log.warning("%s: could not be written anew: %s", file, error)


def can_shrink(connection: sqlite3.Connection) -> bool:
    """Whether free pages can be given back to the disk a few at a time."""
    (kind,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    return bool(kind == _INCREMENTAL)


def compact(connection: sqlite3.Connection) -> None:
    """Write a database anew, without free pages, and so that it can shrink from now on.

    Needs as much room on the disk as there is in use, twice.

    Raises:
        sqlite3.Error: there is no room for it; then it is as it was.
    """
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def lay_out_wal(file: Path) -> None:
    """Make the WAL as long as it is going to be, so that commits overwrite it.

    A commit that makes the file longer has the file system write its size as well. Measured with
    ``benchmarks/peers.py``: a quarter more commits a second from a synchronous sender. The zeros
    behind the last frame are no frames, so SQLite passes over them.
    """
    with open(file.with_name(f"{file.name}-wal"), "r+b", buffering=0) as wal:
        size = wal.seek(0, os.SEEK_END)
        zeros = memoryview(bytes(max(0, WAL_BYTES - size)))
        try:
            while zeros:
                zeros = zeros[wal.write(zeros) :]
            os.fsync(wal.fileno())
        except OSError:  # a full disk; the store will see it
            wal.truncate(size)


def connect(file: Path) -> sqlite3.Connection:
    """Open a database of ours, or an empty one, and change nothing yet.

    Raises:
        StoreError: it is not ours, or newer than this program.
        sqlite3.Error: it cannot be opened.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        oldest = ".".join(map(str, _OLDEST_SQLITE))
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old; {oldest} is needed")
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE))
    for one in (file, file.with_name(f"{file.name}-wal")):
        if one.is_symlink():
            raise StoreError(
                f"{one}: is a symbolic link, which the broker does not follow; remove it, or give "
                "the directory that it leads to"
            )
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    try:
        # One connection only, so that there is no shared memory beside the WAL.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        check_ours(connection, str(file))
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def translated(file: Path) -> Iterator[None]:
    """What SQLite says about a file becomes a `StoreError` that says what to do.

    Raises:
        StoreError: the file is damaged, or cannot be used.
    """
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        if getattr(error, "errno", 0) == errno.ENOSPC or (
            isinstance(error, sqlite3.Error) and is_full(error)
        ):
            free = shutil.disk_usage(file.parent).free // 1024
            raise StoreError(
                f"{file}: its disk is full, {free} KiB are left: make room, but do not touch the "
                "files beside it, and try again"
            ) from None
        raise StoreError(f"{file}: cannot be used: {error}") from None
    except sqlite3.Error as error:
        raise StoreError(f"{file}: damaged: {error}; {_WAY_OUT}") from None


def damage(connection: sqlite3.Connection, limit: int = 5, *, thorough: bool = False) -> list[str]:
    """What SQLite finds wrong with a database; at most so many findings.

    Args:
        connection: an open database.
        limit: how many.
        thorough: compare indexes with their tables, too, which takes longer.

    Raises:
        sqlite3.Error: it cannot even be looked through.
    """
    pragma = "integrity_check" if thorough else "quick_check"
    found = [row[0] for row in connection.execute(f"PRAGMA {pragma}({limit:d})")]
    return [] if found == ["ok"] else found


def _look_for_damage(connection: sqlite3.Connection, file: Path) -> None:
    if file.stat().st_size > _CHECK_BELOW:
        log.warning("%s: not closed properly, and too large to be checked now", file)
        return
    found = damage(connection)
    if found:
        raise sqlite3.DatabaseError("; ".join(found))
    log.info("%s: was not closed properly; no damage found", file)


def _make(directory: Path) -> None:
    """Make a directory that a power cut does not undo."""
    if directory.is_dir():
        return
    directory.mkdir(parents=True, mode=0o700)
    directory.chmod(0o700)  # whatever the umask, and whatever the directory above hands down
    descriptor = os.open(directory.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
