"""A nats-server as a child of this process: its configuration, its start, its end.

* **There is one for a directory.** The broker holds a lock on it, and the server another one for
  as long as it lives. Whoever starts finds a server that was left behind, and ends it first.
* **It does not outlive the broker**: on Linux it gets SIGTERM as soon as the broker has ended,
  however that ended, and hands over what it leads. Elsewhere the next start ends it.
* **It is started again** when it ends by itself, after a pause that grows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stompy_broker.cluster.nats import launcher
from stompy_broker.cluster.nats.codec import NATSError
from stompy_broker.cluster.nats.program import ServerProgram, find_program, inspect_program
from stompy_broker.posix import fcntl
from stompy_broker.store.base import StoreError
from stompy_broker.store.directory import lock_directory

log = logging.getLogger("stompy_broker.cluster.nats")

MAX_PAYLOAD = 8 * 1024 * 1024
"""Bytes of a message that servers of ours take."""

LOCK = "server.lock"
"""The file that a server keeps locked while it lives; it holds the number of the process."""

_LOG_BYTES = 16 * 1024 * 1024
_LOG_FILES = 4

_READY_SECONDS = 30.0
_STOP_SECONDS = 15.0
_POLL = 0.02

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
"""Seconds until a server that ended by itself is started again: doubled each time."""

_STEADY_SECONDS = 60.0
"""Who ran for so long starts with the first pause again."""


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """Certificates with which servers of ours encrypt everything.

    Attributes:
        cert: of this server, a file; it has to be good for both ends of a connection.
        key: its key.
        ca: authorities of all of them.
    """

    cert: str
    key: str
    ca: str

    def text(self) -> str:
        """The section of the configuration."""
        files = {"cert_file": self.cert, "key_file": self.key, "ca_file": self.ca}
        inside = ", ".join(f"{key}: {json.dumps(file)}" for key, file in files.items())
        return f"tls {{ {inside} }}"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How a server of ours is run.

    Attributes:
        name: unique in its cluster.
        directory: where it keeps everything.
        port: for clients; 0 = any.
        host: for clients and for other servers.
        route_port: for other servers; 0 = it is alone.
        routes: host and port of the other servers, and its own.
        cluster: the cluster's name.
        password: of the user ``stompy``, who may use JetStream, of ``sys``, who may ask the servers
            how they are, and between servers; empty = nobody has to log in, but may not ask.
        max_storage: bytes that it may store; 0 = as it likes.
        sync_always: whether a server syncs before it answers. Never False in a cluster; a test has
            to see that it is refused.
        tls: what everything is encrypted with; None = nothing is.
    """

    name: str
    directory: Path
    port: int = 0
    host: str = "127.0.0.1"
    route_port: int = 0
    routes: Sequence[str] = ()
    cluster: str = "stompy"
    password: str = field(default="", repr=False)
    max_storage: int = 0
    sync_always: bool = True
    tls: ServerTLS | None = None

    def text(self) -> str:
        """The configuration, as the server reads it."""
        quoted = json.dumps
        storage = f", max_file_store: {self.max_storage}" if self.max_storage else ""
        sync = ", sync_interval: always" if self.sync_always else ""
        lines = [
            f"server_name: {quoted(self.name)}",
            f"host: {quoted(self.host)}",
            f"port: {self.port or -1}",
            f"max_payload: {MAX_PAYLOAD}",
            f"ports_file_dir: {quoted(str(self.directory))}",
            f"jetstream {{ store_dir: {quoted(str(self.directory / 'data'))}{sync}{storage} }}",
            *self._accounts(),
        ]
        if self.tls is not None:
            lines.append(self.tls.text())
        if self.route_port:
            login = (
                f", authorization {{ user: stompy, password: {quoted(self.password)} }}"
                if self.password
                else ""
            )
            secret = f"stompy:{self.password}@" if self.password else ""
            routes = ", ".join(quoted(f"nats-route://{secret}{route}") for route in self.routes)
            tls = "" if self.tls is None else f", {self.tls.text()}"
            lines.append(
                f"cluster {{ name: {quoted(self.cluster)}, host: {quoted(self.host)}, "
                f"port: {self.route_port}{login}, routes: [{routes}]{tls} }}"
            )
        return "\n".join(lines) + "\n"

    def _accounts(self) -> list[str]:
        if not self.password:
            return []
        password = json.dumps(self.password)
        return [
            "accounts {",
            f"  SYS {{ users: [{{ user: sys, password: {password} }}] }}",
            f"  STOMPY {{ jetstream: enabled, users: [{{ user: stompy, password: {password} }}] }}",
            "}",
            "system_account: SYS",
        ]


class ServerProcess:
    """A server that runs for as long as it is wanted.

    Args:
        settings: how.
        program: what to run; empty = what `find_program` finds.

    Attributes:
        port: where clients connect to, once started.
        program: what is run, once started.
        starts: how often it was started.
    """

    def __init__(self, settings: ServerSettings, program: str = "") -> None:
        self.settings = settings
        self.port = settings.port
        self.program: ServerProgram | None = None
        self.starts = 0
        self._wanted = program
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._directory_lock = -1

    @property
    def log_file(self) -> Path:
        """Where it writes what it has to say."""
        return self.settings.directory / "nats-server.log"

    @property
    def pid(self) -> int:
        """Of the process; 0 = there is none."""
        return self._process.pid if self._process is not None else 0

    @property
    def url(self) -> str:
        """What clients connect to."""
        scheme = "nats" if self.settings.tls is None else "tls"
        login = f"stompy:{self.settings.password}@" if self.settings.password else ""
        return f"{scheme}://{login}{self.settings.host}:{self.port}"

    # -- its start ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Run it, and wait until clients can connect. The cluster may have no leader yet.

        A server that was left behind in the directory is ended first.

        Raises:
            NATSError: it does not start, or another broker has the directory.
        """
        if self.program is None:
            path = find_program(self._wanted)
            self.program = await asyncio.to_thread(inspect_program, path)
        directory = self.settings.directory
        try:
            self._directory_lock = lock_directory(directory)
        except StoreError as error:
            raise NATSError(str(error)) from None
        try:
            await _end_left_behind(directory)
            await self._run()
        except BaseException:
            self._unlock()
            raise
        log.info("runs %s as process %d; its log is %s", self.program, self.pid, self.log_file)
        self._watching = asyncio.create_task(self._watch(), name="stompy-nats-server")

    async def _run(self) -> None:
        assert self.program is not None
        directory = self.settings.directory
        config = directory / "nats-server.conf"
        config.touch(mode=0o600)
        config.write_text(self._text(), encoding="utf-8")
        for old in directory.glob("*.ports"):
            old.unlink()
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _locked(lock):
                raise NATSError(f"{directory}: a nats-server is at work there")
            with self._fault_file.open("wb") as faults:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-IS",
                    launcher.__file__,
                    str(os.getpid()),
                    str(lock),
                    self.program.path,
                    "-c",
                    str(config),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=faults,
                    stderr=faults,
                    pass_fds=(lock,),
                    # Ctrl-C is for us: we stop it when all is written.
                    start_new_session=True,
                )
        finally:
            os.close(lock)
        self.starts += 1
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self._until_ready()
        except TimeoutError:
            await self._end(signal.SIGKILL)
            raise NATSError(f"nats-server is not ready in time: {self._last_words()}") from None
        except BaseException:
            await self._end(signal.SIGKILL)
            raise

    def _text(self) -> str:
        # The server turns its log over by itself.
        return (
            f"{self.settings.text()}log_file: {json.dumps(str(self.log_file))}\n"
            f"log_size_limit: {_LOG_BYTES}\nlog_max_num: {_LOG_FILES}\n"
        )

    async def _until_ready(self) -> None:
        process = self._process
        assert process is not None
        while True:
            for file in self.settings.directory.glob(f"*_{process.pid}.ports"):
                with contextlib.suppress(ValueError, LookupError):  # it is being written
                    known = json.loads(file.read_text())["nats"][0]
                    self.port = int(known.rpartition(":")[2])
                    return
            if process.returncode is not None:
                raise NATSError(f"nats-server does not start: {self._last_words()}")
            await asyncio.sleep(_POLL)

    @property
    def _fault_file(self) -> Path:
        """What it says before it has a log, and when it breaks down."""
        return self.settings.directory / "nats-server.err"

    def _last_words(self) -> str:
        """The last that it has said, with the name of the file that has the rest."""
        for file in (self._fault_file, self.log_file):
            with contextlib.suppress(OSError):
                lines = file.read_text("utf-8", "replace").strip().splitlines()
                if lines:
                    return f"{lines[-1]} ({file})"
        return f"it has said nothing ({self.log_file})"

    # -- its life -------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Start it again whenever it has ended by itself."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while True:
            process, began = self._process, loop.time()
            if process is not None:
                code = await process.wait()
                if loop.time() - began >= _STEADY_SECONDS:
                    pause = _FIRST_PAUSE
                log.error(
                    "nats-server, process %d, has ended by itself (%d): %s; it is started again "
                    "in %.1f seconds",
                    process.pid,
                    code,
                    self._last_words(),
                    pause,
                )
                self._process = None
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            try:
                await self._run()
            except (NATSError, OSError) as error:
                log.error("%s; it is tried again in %.1f seconds", error, pause)
            else:
                log.info("nats-server runs again, as process %d", self.pid)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def reload(self) -> None:
        """Have it read its certificates again; connections that are there go on."""
        self.send(signal.SIGHUP)

    # -- its end --------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Ask it to stop, which hands over what it leads, and wait. Harmless when repeated."""
        await self._finish(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a crash would. Harmless when repeated."""
        await self._finish(signal.SIGKILL)

    async def _finish(self, number: signal.Signals) -> None:
        task, self._watching = self._watching, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._end(number)
        self._unlock()

    async def _end(self, number: signal.Signals) -> None:
        self.send(number)
        process, self._process = self._process, None
        if process is None:
            return
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def _unlock(self) -> None:
        descriptor, self._directory_lock = self._directory_lock, -1
        if descriptor >= 0:
            os.close(descriptor)


async def _end_left_behind(directory: Path) -> None:
    """End the server that a broker has left behind in a directory that we have locked.

    Raises:
        NATSError: it does not end.
    """
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            told = ""
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    while not _locked(lock):
                        # It has written its number as soon as it runs.
                        holder = os.pread(lock, 20, 0).decode("ascii", "replace")
                        if holder.isdigit() and holder != told:
                            told = holder
                            log.warning("ends nats-server, process %s, that was left behind", told)
                            with contextlib.suppress(ProcessLookupError):
                                os.kill(int(holder), number)
                        await asyncio.sleep(_POLL)
                    return
        raise NATSError(f"{directory}: a nats-server is at work there, and does not end")
    finally:
        os.close(lock)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
