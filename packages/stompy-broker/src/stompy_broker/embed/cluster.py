"""Brokers of one cluster as child processes, which a test or a notebook can kill.

Each broker runs the NATS server that belongs to it, so killing one is like losing a machine: of
three, one may be gone.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from stompy_broker.cluster_config import ROUTE_PORT_AFTER
from stompy_broker.cluster_secret import write_secret
from stompy_broker.embed.process import BrokerProcess, temporary_directory

_START_SECONDS = 90.0
_ATTEMPTS = 100
_HOST = "127.0.0.1"
_SIZES = (3, 5)

_CONFIG = """\
[listen]
port = {port}

[store]
data = {data}

[cluster]
name = "{cluster}"
id = "{name}"
secret_file = {secret}
embedded = true
peers = {peers}
peer = "{peer}"
{timing}
"""


def member_config(
    cluster: str,
    name: str,
    *,
    port: int,
    data: Path,
    secret: Path,
    servers: Sequence[int],
    server: int,
    timing: str,
) -> str:
    """Write the configuration of one broker of a cluster that is on this machine alone.

    Args:
        cluster: the name of the cluster.
        name: the id of the broker.
        port: where it listens.
        data: its data directory.
        secret: the file with the cluster's secret.
        servers: the ports of all NATS servers.
        server: the port of the one that this broker runs.
        timing: one more setting, as a line of TOML.
    """
    return _CONFIG.format(
        port=port,
        data=json.dumps(str(data)),
        cluster=cluster,
        name=name,
        secret=json.dumps(str(secret)),
        peers=json.dumps([f"{_HOST}:{one}" for one in servers]),
        peer=f"{_HOST}:{server}",
        timing=timing,
    )


class ClusterProcesses:
    """The brokers of one cluster, each a child of this process.

    Use it with ``with``, or call `stop`. Made by `spawn_cluster`.

    Attributes:
        brokers: them; `kill`, `shut_down` and `restart` each as you like.
    """

    def __init__(self, size: int, silence: float) -> None:
        directory = temporary_directory()
        self._cleaning = weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        self._workers = ThreadPoolExecutor(size, thread_name_prefix="stompy-cluster")
        files = list(_written(directory, size, silence))
        # None is ready before most of them are.
        starting = [self._workers.submit(_start, file, port) for file, port in files]
        started, failure = [], None
        for one in starting:
            try:
                started.append(one.result())
            except RuntimeError as error:
                failure = failure or error
        self.brokers: Sequence[BrokerProcess] = tuple(started)
        if failure is not None:
            self.stop()
            raise failure

    @property
    def urls(self) -> list[str]:
        """What clients connect to: a list that ``stompy.connect`` takes."""
        return [broker.url for broker in self.brokers]

    def stop(self) -> None:
        """End all brokers in good order, and remove what they kept. Harmless when repeated."""
        if self._cleaning.alive:
            # At once: handing over takes most of their servers.
            for ending in [self._workers.submit(broker.shut_down) for broker in self.brokers]:
                with contextlib.suppress(OSError):
                    ending.result()
            self._workers.shutdown()
            for broker in self.brokers:
                broker.stop()
            self._cleaning()

    def __enter__(self) -> ClusterProcesses:
        """Give the brokers, which listen."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the brokers, as `stop` does."""
        self.stop()

    def __repr__(self) -> str:
        """How many there are, and how many run."""
        running = sum(broker.is_running for broker in self.brokers)
        return f"<ClusterProcesses {running} of {len(self.brokers)} running {' '.join(self.urls)}>"


def spawn_cluster(size: int = 3, *, silence: float = 1.0) -> ClusterProcesses:
    """Start the brokers of a cluster as child processes that end with this one.

    Each runs a NATS server, from the extra ``stompy-broker[cluster]``. With three of them one may
    be lost, with five two.

    >>> with spawn_cluster() as cluster:  # doctest: +SKIP
    ...     client = stompy.connect(cluster.urls, reconnect=True)
    ...     cluster.brokers[0].kill()

    Args:
        size: how many: 3 or 5.
        silence: seconds after which a broker that says nothing counts as gone.

    Returns:
        The brokers, which listen already.

    Raises:
        RuntimeError: one does not start; the text holds what it said.
        ValueError: another size.
    """
    if size not in _SIZES:
        raise ValueError(f"a cluster has 3 or 5 brokers here, not {size}")
    return ClusterProcesses(size, silence)


def _start(file: Path, port: int) -> BrokerProcess:
    return BrokerProcess(
        ("--config", str(file)), file.parent / "data", port, seconds=_START_SECONDS
    )


def _written(directory: Path, size: int, silence: float) -> Iterator[tuple[Path, int]]:
    """Write the configurations; gives their files, and the ports of the brokers."""
    secret = directory / "secret"
    write_secret(secret)
    ports = _free_ports(size * 2)
    servers = ports[size:]
    for number, (port, server) in enumerate(zip(ports, servers, strict=False), 1):
        file = directory / f"broker-{number}" / "broker.toml"
        file.parent.mkdir()
        text = member_config(
            "spawned",
            file.parent.name,
            port=port,
            data=file.parent / "data",
            secret=secret,
            servers=servers,
            server=server,
            timing=f"silence = {silence}",
        )
        file.write_text(text, "utf-8")
        yield file, port


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, and neither at the ones for routes that belong to them."""
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        for _ in range(_ATTEMPTS):
            if len(found) == count:
                return found
            one = stack.enter_context(socket.create_server((_HOST, 0)))
            port = one.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                stack.enter_context(socket.create_server((_HOST, port + ROUTE_PORT_AFTER)))
                found.append(port)
    raise RuntimeError("there are not enough free ports on this machine")
