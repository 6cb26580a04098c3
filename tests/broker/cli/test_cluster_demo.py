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
import trustme
from click.testing import CliRunner

import stompy
from stompy_broker.cli import main
from stompy_broker.cli.cluster_demo import NAMES, ClusterDemo, DemoError
from stompy_broker.cluster_secret import read_secret
from stompy_broker.config import load_config
from stompy_monitor.cli import main as monitor

PATIENCE = 90.0

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


def test_the_commands_that_it_names_can_be_typed(tmp_path: Path) -> None:
    demo = ClusterDemo(tmp_path / "demo", 7000, 1)
    for broker in demo.brokers:
        broker.url = f"stomp://127.0.0.1:{broker.port}"
    known = {"stompy-broker": main, "stompy-monitor": monitor}
    typed = [line.split() for line in demo.told() if line.startswith("  ")]
    typed = [words for words in typed if words[0] in known]
    assert {words[0] for words in typed} == set(known)
    for program, *arguments in typed:
        # An option that is not there is found before the help is printed.
        result = CliRunner().invoke(known[program], [*arguments, "--help"])
        assert result.exit_code == 0, result.output


@contextmanager
def running(directory: Path, port: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The command, until it is interrupted."""
    command = [sys.executable, "-m", "stompy_broker", "cluster", "demo", "--data", str(directory)]
    process = subprocess.Popen(
        [*command, "--port", str(port), *options], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        with process.stdout:
            yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


def line(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """The next line of its output that fits."""
    assert process.stdout is not None
    for text in process.stdout:
        found = re.search(pattern, text)
        if found:
            return found
    pytest.fail(f"there was no {pattern}")


def encrypt(demo: ClusterDemo, directory: Path) -> Path:
    """Have the brokers of a demo encrypt everything; gives the authority of their certificate."""
    ca, pem = directory / "ca.pem", directory / "tls.pem"
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
    tls = f'[tls]\ncert = "{pem}"\nrequired = true\n\n[cluster]\ntls_ca = "{ca}"'
    for broker in demo.brokers:
        text = broker.config.read_text("utf-8")
        broker.config.write_text(text.replace("[cluster]", tls), "utf-8")
    return ca


def ask(url: str, ca: Path | None, *words: str) -> tuple[int, str]:
    """Run a command for operators."""
    trust = () if ca is None else ("--ca-file", str(ca))
    result = CliRunner().invoke(main, ["cluster", *words, "--url", url, *trust])
    return result.exit_code, result.output


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_broker_that_is_killed_comes_back(tmp_path: Path, encrypted: bool) -> None:
    directory, port = tmp_path / "demo", free_port()
    prepared = ClusterDemo(directory, port, 1)
    prepared.prepare()
    ca = encrypt(prepared, tmp_path) if encrypted else None
    tls = stompy.TLS(str(ca)) if encrypted else None
    with running(directory, port, "--back", "0.5") as process:
        a, b, c = line(process, "^stompy-broker cluster ready (.*)$")[1].split()
        pids = {name: int(line(process, rf"^{name} +(\d+) ")[1]) for name in NAMES}
        line(process, "Ctrl-C ends all")
        with stompy.connect(a, tls=tls) as client:
            client.message("/queue/q", "kept", confirm=True)
        assert ask(c, ca, "move", "/queue/q", "b")[0] == 0
        os.kill(pids["b"], signal.SIGKILL)
        line(process, "^broker b has ended; it comes back in 0.5 s")
        assert int(line(process, r"^broker b is back: process (\d+)")[1]) != pids["b"]
        with stompy.connect(c, tls=tls) as client:
            with client.subscription("/queue/q").get(timeout=PATIENCE) as message:
                assert message.text == "kept"
                assert message.headers["redelivered"] == "true"
        assert ask(b, ca, "drain")[0] == 0
        process.send_signal(signal.SIGINT)
        line(process, "^all brokers have ended$")
        assert process.wait(PATIENCE) == 0
    password = read_secret(str(directory / "secret")).key("nats").hex()
    secret = (directory / "secret").read_text("utf-8").strip()
    for log in directory.rglob("*.log"):
        assert password not in log.read_text("utf-8")
        assert secret not in log.read_text("utf-8")
