"""The demo: one command, three brokers, and whatever dies comes back."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from stompy_broker.cli import main
from stompy_broker.cli.cluster_demo import NAMES, ClusterDemo, DemoError
from stompy_broker.config import load_config

PORTS = (0, 1, 2, 10, 11, 12, 2010, 2011, 2012)


def free_port() -> int:
    """A port so that nobody has those that a demo takes from there on."""
    for first in range(20000 + os.getpid() % 97 * 20, 32000, 20):
        with ExitStack() as stack:
            try:
                for more in PORTS:
                    address = ("127.0.0.1", first + more)
                    stack.enter_context(socket.create_server(address, reuse_port=False))
            except OSError:
                continue
            return first
    pytest.skip("no ports are free")


def test_what_is_written_is_a_cluster(tmp_path: Path) -> None:
    demo = ClusterDemo(tmp_path / "demo", 7000, 1)
    demo.prepare()
    configs = [load_config(broker.config) for broker in demo.brokers]
    assert [config.listen.port for config in configs] == [7000, 7001, 7002]
    assert tuple(config.cluster.id for config in configs) == NAMES
    places = [config.cluster.own_place("127.0.0.1") for config in configs]
    assert tuple(places) == configs[0].cluster.places
    assert [place.route_port for place in places] == [9010, 9011, 9012]
    assert len({config.store.data for config in configs}) == 3
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    again = ClusterDemo(tmp_path / "demo", 0, 1)
    again.prepare()
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    assert [broker.port for broker in again.brokers] == [7000, 7001, 7002]
    with pytest.raises(DemoError, match="first port is 7000"):
        ClusterDemo(tmp_path / "demo", 7100, 1)


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("")
    with pytest.raises(DemoError, match="demo"):
        ClusterDemo(tmp_path / "demo" / "in", 7000, 1).prepare()


def test_the_highest_port_has_room_above_it() -> None:
    result = CliRunner().invoke(main, ["cluster", "demo", "--port", "65000"])
    assert result.exit_code == 2
    assert "63523" in result.output


@contextmanager
def demo(directory: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "stompy_broker", "cluster", "demo", "--data", str(directory)]
    process = subprocess.Popen(
        [*command, "--port", str(free_port()), *options], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        with process.stdout:
            yield process
    finally:
        process.terminate()
        process.wait(60)


def line(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """The next line of its output that fits."""
    assert process.stdout is not None
    for text in process.stdout:
        found = re.search(pattern, text)
        if found:
            return found
    pytest.fail(f"there was no {pattern}")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_broker_that_is_killed_comes_back(tmp_path: Path) -> None:
    with demo(tmp_path / "demo", "--back", "0.5") as process:
        urls = line(process, "^stompy-broker cluster ready (.*)$")[1].split()
        assert len(set(urls)) == 3
        pids = {name: int(line(process, rf"^{name} +(\d+) ")[1]) for name in NAMES}
        line(process, "Ctrl-C ends all")
        os.kill(pids["b"], signal.SIGKILL)
        line(process, "^broker b has ended; it comes back in 0.5 s")
        assert int(line(process, r"^broker b is back: process (\d+)")[1]) != pids["b"]
        process.send_signal(signal.SIGINT)
        line(process, "^all brokers have ended$")
        assert process.wait(60) == 0
