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


SUBSCRIPTIONS = {
    "a selector on a queue": (
        ("/queue/q", "selector=color = 'red' AND n > 1"),
        [("/queue/q", "color=red&n=1", "a"), ("/queue/q", "color=red&n=2", "b")],
        ["b"],
    ),
    "a selector on a topic": (
        ("/topic/t.>", "selector=JMSType LIKE 'in%'"),
        [("/topic/t.a", "type=out", "a"), ("/topic/t.b", "type=invoice", "b")],
        ["b"],
    ),
    "composite destinations": (
        ("/queue/a,/queue/b", ""),
        [("/queue/b", "", "1"), ("/queue/a,/queue/c", "", "2")],
        ["1", "2"],
    ),
    "a wildcard for queues": (
        ("/queue/orders.>", ""),
        [("/queue/orders.new", "", "1"), ("/queue/other", "", "2"), ("/queue/orders", "", "3")],
        ["1", "3"],
    ),
    "a virtual topic": (
        ("/queue/Consumer.A.VirtualTopic.news", ""),
        [("/topic/VirtualTopic.news", "", "1")],
        ["1"],
    ),
    "a queue of its own for a topic": (
        ("/topic/t", "x-queue-name=mine&durable=true&auto-delete=false"),
        [("/topic/t", "", "1"), ("/queue/mine", "", "2")],
        ["1", "2"],
    ),
    "a group": (("/topic/t", "share=g"), [("/topic/t", "", "1")], ["1"]),
    "nothing of its own": (
        ("/topic/t", "activemq.noLocal=true"),
        [("/topic/t", "", "1")],
        [],
    ),
    "a queue that ends with it": (
        ("/queue/passing", "auto-delete=true&exclusive=true"),
        [("/queue/passing", "", "1")],
        ["1"],
    ),
    "a browser": (("/queue/q", "browser=true"), [], [""]),  # the frame that ends it
}


@pytest.mark.parametrize("case", SUBSCRIPTIONS)
def test_it_gets_what_it_chooses(client: list[str], broker: RunningBroker, case: str) -> None:
    (destination, headers), sends, expected = SUBSCRIPTIONS[case]
    words = [word for send in sends for word in send]
    report = run(
        client, broker, "1.2", "subscribe", destination, headers, str(len(expected)), *words
    )
    assert [line[0] for line in report[:2]] == ["CONNECTED", "RECEIPT"]
    assert report[2:-1] == [["MESSAGE", "-", encoded(body)] for body in expected]
    assert report[-1][0] == "RECEIPT"
    assert "passing" not in {row.name for row in broker.queues()}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_error_arrives(client: list[str], broker: RunningBroker, version: str) -> None:
    assert run(client, broker, version, "error")[1][0] == "ERROR"
