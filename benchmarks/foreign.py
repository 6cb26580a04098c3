"""Debian's RabbitMQ and ActiveMQ, started for a while from a directory of their own.

Each has STOMP on a free port of the loopback interface as its only listener for clients, and the
settings of its package otherwise; neither the machine's services nor their data are touched. The
benchmarks compare with them, and the tests prove that our clients get along with them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

Place = tuple[int, int]
"""The port and the process id of a server."""

START_SECONDS = 60

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one in sbin changes user and place
RABBITMQCTL = RABBITMQ.with_name("rabbitmqctl")
RABBITMQ_CONF = """\
listeners.tcp = none
stomp.listeners.tcp.1 = 127.0.0.1:{port}
stomp.default_user = guest
stomp.default_pass = guest
"""

ACTIVEMQ = Path("/usr/share/activemq")
ACTIVEMQ_OPTIONS = (  # the package's
    "-Xms512M",
    "-Xmx512M",
    "-Dorg.apache.activemq.UseDedicatedTaskRunner=true",
)
ACTIVEMQ_XML = """\
<beans xmlns="http://www.springframework.org/schema/beans"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://www.springframework.org/schema/beans
  http://www.springframework.org/schema/beans/spring-beans-2.0.xsd
  http://activemq.apache.org/schema/core
  http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" useJmx="false"
    dataDirectory="{data}" schedulerSupport="{scheduler}">
    <persistenceAdapter>
      <kahaDB directory="{data}/kahadb"/>
    </persistenceAdapter>
    <transportConnectors>
      <transportConnector name="stomp" uri="stomp://127.0.0.1:{port}"/>
    </transportConnectors>
  </broker>
</beans>
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def started(
    command: list[str],
    directory: Path,
    ready: Callable[[], object],
    env: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """Run a server until the block is left; gives its process id once ``ready`` raises no more.

    It is a process group of its own, so that nothing of it stays.
    """
    log = directory / f"{Path(command[0]).name}.out"
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={**os.environ, "HOME": str(directory), **(env or {})},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                ready()
                break
            except (OSError, EOFError) as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    said = log.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{command[0]} did not start: {said}") from error
                time.sleep(0.2)
        yield process.pid
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port: int) -> None:
    """Raises `OSError` or `EOFError` unless a broker lets us in."""
    with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS) as client:
        client.sendall(b"CONNECT\naccept-version:1.2\nhost:/\n\n\0")
        if not client.recv(4096).startswith(b"CONNECTED"):
            raise EOFError("no CONNECTED")


def _rabbitmq_env(directory: Path, node: str, distribution: int) -> dict[str, object]:
    """What a node that has everything in one directory is told by its environment."""
    settings = {
        "NODENAME": node,
        "DIST_PORT": distribution,
        "CONF_ENV_FILE": directory / "rabbitmq-env.conf",
        "CONFIG_FILE": directory / "rabbitmq.conf",
        "CONFIG_FILES": directory / "conf.d",
        "ADVANCED_CONFIG_FILE": directory / "advanced.config",
        "ENABLED_PLUGINS_FILE": directory / "enabled_plugins",
        "MNESIA_BASE": directory / "mnesia",
        "LOG_BASE": directory / "log",
        "PID_FILE": directory / "pid",
        "SERVER_ADDITIONAL_ERL_ARGS": (
            "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"
        ),
    }
    return {f"RABBITMQ_{name}": value for name, value in settings.items()}


@contextmanager
def _rabbitmq_node(
    directory: Path, erlang: Mapping[str, str], node: str, port: int, more: str = ""
) -> Iterator[Place]:
    """A node of RabbitMQ, with an epmd that runs; ``more`` are lines for its configuration."""
    (directory / "rabbitmq.conf").write_text(RABBITMQ_CONF.format(port=port) + more)
    (directory / "enabled_plugins").write_text("[rabbitmq_stomp].\n")
    (directory / "rabbitmq-env.conf").touch()
    env = _rabbitmq_env(directory, node, free_port())
    told = {name: str(value) for name, value in env.items()}
    with started([str(RABBITMQ)], directory, lambda: answers(port), {**erlang, **told}):
        yield port, int((directory / "pid").read_text())


@contextmanager
def _epmd(directory: Path) -> Iterator[Mapping[str, str]]:
    """Erlang's names; gives the environment that finds it. Without it one starts that stays."""
    port = free_port()
    erlang = {"ERL_EPMD_PORT": str(port), "ERL_EPMD_ADDRESS": "127.0.0.1"}

    def answers_us() -> None:
        socket.create_connection(("127.0.0.1", port)).close()

    with started(["epmd"], directory, answers_us, erlang):
        yield erlang


@contextmanager
def rabbitmq(directory: Path, port: int = 0) -> Iterator[Place]:
    """A RabbitMQ; one that ran in the directory before comes back with what it kept."""
    port = port or free_port()
    with (
        _epmd(directory) as erlang,
        _rabbitmq_node(directory, erlang, "stompy@localhost", port) as at,
    ):
        yield at


QUORUM = b"x-queue-type:quorum\ndurable:true\nauto-delete:false\n"
"""Header lines of every SEND and SUBSCRIBE that make a queue of RabbitMQ's nodes together."""


@dataclass(frozen=True)
class RabbitMQTrio:
    """Three nodes of RabbitMQ that are one cluster.

    Attributes:
        nodes: port and process of each.
        env: finds them, for the commands of RabbitMQ.
    """

    nodes: Sequence[Place]
    env: Mapping[str, str]

    def queues(self) -> dict[str, tuple[str, int]]:
        """The kind of each queue, and how many nodes have it."""
        command = [str(RABBITMQCTL), "-n", "stompy1@localhost", "--quiet", "--formatter", "json"]
        done = subprocess.run(
            [*command, "list_queues", "name", "type", "members"],
            env={**os.environ, **self.env},
            stdout=subprocess.PIPE,
            check=True,
        )
        return {
            row["name"]: (row["type"], len(row["members"] or ())) for row in json.loads(done.stdout)
        }


@contextmanager
def rabbitmq_trio(directory: Path) -> Iterator[RabbitMQTrio]:
    """Three nodes of RabbitMQ, each with a directory, on this machine."""
    names = [f"stompy{number}@localhost" for number in (1, 2, 3)]
    lines = ["cluster_formation.peer_discovery_backend = classic_config"]
    for number, name in enumerate(names, start=1):
        lines.append(f"cluster_formation.classic_config.nodes.{number} = {name}")
    with ExitStack() as stack:
        erlang = {**stack.enter_context(_epmd(directory)), "HOME": str(directory)}
        cookie = directory / ".erlang.cookie"
        cookie.write_text("stompy")
        cookie.chmod(0o400)
        nodes = []
        for name in names:  # one after the other, so that they find each other
            place = directory / name
            place.mkdir()
            starting = _rabbitmq_node(place, erlang, name, free_port(), "\n".join(lines) + "\n")
            nodes.append(stack.enter_context(starting))
        yield RabbitMQTrio(nodes, erlang)


@contextmanager
def activemq(directory: Path, port: int = 0, *, scheduler: bool = False) -> Iterator[Place]:
    """An ActiveMQ; one that ran in the directory before comes back with what it kept.

    Args:
        directory: all that it writes.
        port: where it listens; 0 = a free one.
        scheduler: whether it delivers messages later.
    """
    port = port or free_port()
    data, config = directory / "data", directory / "activemq.xml"
    config.write_text(
        ACTIVEMQ_XML.format(port=port, data=data, scheduler="true" if scheduler else "false")
    )
    (directory / "tmp").mkdir(exist_ok=True)
    properties = {
        "activemq.home": ACTIVEMQ,
        "activemq.base": directory,
        "activemq.conf": directory,
        "activemq.data": data,
        "java.awt.headless": "true",
        "java.io.tmpdir": directory / "tmp",
    }
    command = ["java", *ACTIVEMQ_OPTIONS]
    command += [f"-D{name}={value}" for name, value in properties.items()]
    command += ["-jar", str(ACTIVEMQ / "bin" / "activemq.jar"), "start", f"xbean:file:{config}"]
    with started(command, directory, lambda: answers(port)) as pid:
        yield port, pid


NEEDS: Mapping[str, tuple[str | Path, ...]] = {
    "RabbitMQ": (RABBITMQ, "epmd"),
    "ActiveMQ": ("activemq", "java"),
}
"""The programs of each."""

STARTS: Mapping[str, Callable[..., AbstractContextManager[Place]]] = {
    "RabbitMQ": rabbitmq,
    "ActiveMQ": activemq,
}


def missing(name: str) -> str:
    """Why a server cannot be started; empty if it can."""
    absent = [str(program) for program in NEEDS[name] if not shutil.which(program)]
    return f"{name} is not installed: no {', '.join(absent)}" if absent else ""
