"""ActiveMQ's StompConnection, which waits for a line feed after the NUL of every frame."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.interop.samples import VERSIONS

from stompy_broker import RunningBroker

pytestmark = [pytest.mark.interop, pytest.mark.slow]

SOURCE = Path(__file__).parent / "java" / "Client.java"
JARS = (
    "/usr/share/java/activemq-stomp.jar",
    "/usr/share/java/activemq-client.jar",
    "/usr/share/java/hawtbuf.jar",
    "/usr/share/java/slf4j-api.jar",
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs it, compiled."""
    java, javac = shutil.which("java"), shutil.which("javac")
    if java is None or javac is None:
        pytest.skip("no Java compiler here")
    if missing := [jar for jar in JARS if not Path(jar).exists()]:
        pytest.skip(f"Debian's libactivemq-java is not installed: no {missing[0]}")
    folder = tmp_path_factory.mktemp("java")
    subprocess.run(
        [javac, "-cp", ":".join(JARS), "-d", str(folder), str(SOURCE)], check=True, timeout=50
    )
    return [java, "-Xmx64m", "-cp", ":".join((*JARS, str(folder))), "Client"]


def run(client: list[str], broker: RunningBroker, *words: str) -> list[list[str]]:
    done = subprocess.run(
        [*client, broker.host, str(broker.port), *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=45,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.split(" ") for line in done.stdout.splitlines()]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_backlog_is_received(client: list[str], broker: RunningBroker, version: str) -> None:
    bodies = ["one", "Grüße", "three"]
    report = run(client, broker, version, "queue", *bodies)
    assert report[0] == ["CONNECTED", version]
    assert [line[0] for line in report[1:4]] == ["RECEIPT"] * 3
    assert report[4:7] == [["MESSAGE", "b", encoded(body)] for body in bodies]
    assert [line[0] for line in report[7:]] == ["RECEIPT", "RECEIPT"]
    letters = broker.queue("letters")
    assert (letters.ready, letters.unacked) == (0, 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_frames_end_as_it_expects(client: list[str], broker: RunningBroker, version: str) -> None:
    report = run(client, broker, version, "raw", "one", "two")
    assert report[1:3] == [["MESSAGE", "-", encoded("one")], ["MESSAGE", "-", encoded("two")]]


@pytest.mark.parametrize("version", VERSIONS)
def test_transactions(client: list[str], broker: RunningBroker, version: str) -> None:
    report = run(client, broker, version, "transaction", "credit")
    assert report[1] == ["MESSAGE", "-", encoded("credit")]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_error_arrives(client: list[str], broker: RunningBroker, version: str) -> None:
    assert run(client, broker, version, "error")[1][0] == "ERROR"
