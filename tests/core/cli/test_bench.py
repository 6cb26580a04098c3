"""``stompy bench``: what it does to a broker, what it tells, and what it refuses to do."""

from __future__ import annotations

import io
import json
import platform
import socket
import sys
import threading

import pytest
from tests.support.scripted_server import Peer, ScriptedServer, obedient

import stompy
from stompy.build import compiled
from stompy.cli import main
from stompy.cli.bench import is_loopback, title
from stompy.cli.plan import LoadKind, Plan
from stompy.protocol.frame import AckMode


@pytest.fixture
def bench(broker, capsys):
    """Runs it, and gives what it printed as JSON."""

    def run(*arguments: str) -> dict:
        assert main(["bench", *arguments, "--json", "--url", broker.url]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return json.loads(out)

    return run


@pytest.mark.parametrize("ack", AckMode)
def test_a_queue(bench, broker, ack):
    told = bench("queue", "--messages", "100", "--size", "20,40", "--ack", ack)
    assert told["broker"].startswith("stompy-broker/")
    assert told["url"] == broker.url
    (result,) = told["results"]
    for name in ("sent", "received"):
        assert (result[name]["messages"], result[name]["bytes"]) == (100, 3000)
        assert result[name]["messages_per_second"] > 0
    assert result["missing"] == 0
    latency = result["latency_ms"]
    shown = [latency[name] for name in ("min", "p50", "p90", "p99", "p99.9", "max")]
    assert shown == sorted(shown)
    assert sum(row["count"] for row in latency["histogram"]) == 100


@pytest.mark.parametrize("prefetch", ["1", "10"])
def test_a_consumer_that_may_have_few_messages_at_once(bench, prefetch):
    arguments = ("--messages", "50", "--ack", "client", "--prefetch", prefetch)
    (result,) = bench("queue", *arguments)["results"]
    assert result["received"]["messages"] == 50


def test_many_clients_and_destinations(bench, broker):
    told = bench(
        "queue",
        "--messages",
        "100",
        "--producers",
        "3",
        "--consumers",
        "2",
        "--destinations",
        "5",
        "--prefetch",
        "7",
        "--window",
        "4",
        "--persistent",
    )
    (result,) = told["results"]
    assert result["received"]["messages"] == 100
    assert (result["persistent"], result["window"], result["prefetch"]) == (True, 4, 7)
    used = [row for row in broker.queues() if row.name.startswith("stompy.bench.")]
    assert {row.ready + row.unacked for row in used} == {0}, "messages were left behind"


def test_every_consumer_of_a_topic_gets_everything(bench):
    (result,) = bench("topic", "--messages", "50", "--consumers", "3")["results"]
    assert (result["sent"]["messages"], result["received"]["messages"]) == (50, 150)


def test_durable_subscribers_come_back_for_it(bench, broker):
    (result,) = bench("durable", "--messages", "50", "--consumers", "2")["results"]
    assert (result["sent"]["messages"], result["received"]["messages"]) == (50, 100)
    assert result["latency_ms"] == {}
    left = [row.name for row in broker.queues() if row.name.startswith("durable.bench-")]
    assert left == [], "durable subscriptions were left behind"


@pytest.mark.parametrize("ack", [AckMode.AUTO, AckMode.CLIENT_INDIVIDUAL])
def test_requests(bench, ack):
    arguments = ("--messages", "20", "--producers", "2", "--consumers", "2", "--ack", ack)
    (result,) = bench("request", *arguments)["results"]
    assert result["received"]["messages"] == 20
    assert sum(row["count"] for row in result["latency_ms"]["histogram"]) == 20


def test_it_ends_with_its_time(bench):
    (result,) = bench("queue", "--messages", "1000000", "--rate", "100", "--seconds", "0.3")[
        "results"
    ]
    assert 0 < result["sent"]["messages"] < 1000
    assert result["received"]["messages"] == result["sent"]["messages"]


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_the_tour(bench):
    results = bench("all", "--messages", "200")["results"]
    assert {result["scenario"] for result in results} == set(LoadKind)
    assert all(result["missing"] == 0 for result in results)


def test_for_people(broker, capsys):
    assert main(["bench", "--messages", "50", "--url", broker.url]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    first, sent, received, latency, *histogram = out.splitlines()
    assert first.startswith("queue, 1 to 1 by 1, 1024 B   (stompy-broker/")
    assert sent.split()[:3] == ["sent", "50", "messages"]
    assert received.split()[:3] == ["received", "50", "messages"]
    assert "p99.9" in latency
    assert any("#" in line for line in histogram)
    assert histogram[-1] == (
        f"client: stompy {stompy.__version__}, Python {platform.python_version()}, "
        f"compiled: {compiled()}"
    )


def test_machines_are_told_what_the_client_is(bench):
    assert bench("queue", "--messages", "5")["client"] == {
        "version": stompy.__version__,
        "python": platform.python_version(),
        "compiled": compiled(),
    }


def test_a_bar_is_drawn_on_a_terminal_and_taken_away(broker, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    arguments = ["bench", "--rate", "50", "--seconds", "0.5", "--messages", "100", "--json"]
    assert main([*arguments, "--url", broker.url]) == 0
    assert "messages/s" in terminal.getvalue()
    assert "%" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_a_plan_in_words():
    plan = Plan(
        LoadKind.TOPIC, ack=AckMode.CLIENT, persistent=False, window=5, rate=2.5, sizes=(8, 16)
    )
    assert title(plan) == (
        "topic, 1 to 1 by 1, 8, 16 B, client, not persistent, window 5, 2.5/s each"
    )


# -- what goes wrong -----------------------------------------------------------------------------


def test_messages_that_do_not_come_are_told(capsys, monkeypatch):
    """A broker that takes messages and gives none."""
    monkeypatch.setattr("stompy.cli.load._DRAIN_SECONDS", 0.1)

    with ScriptedServer(obedient, obedient, obedient) as server:
        assert main(["bench", "--messages", "5", "--url", server.url]) == 0
    out, err = capsys.readouterr()
    assert err == "stompy: 5 deliveries did not come\n"
    assert "latency" not in out


def test_a_broker_that_hangs_up_ends_it(capsys):
    def leave(peer: Peer) -> None:
        peer.welcome()
        frame = peer.read()
        if "receipt" in frame.headers:
            peer.receipt(frame)
        # Closed with frames unread, it would be a reset.
        peer.connection.shutdown(socket.SHUT_WR)
        peer.until_closed()

    before = threading.active_count()
    with ScriptedServer(leave, leave, leave) as server:
        assert main(["bench", "--messages", "1000", "--url", server.url]) == 1
    assert "the broker closed the connection" in capsys.readouterr().err
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "url",
    [
        "stomp://broker.example",
        "stomp://10.0.0.1",
        "stomp://[2001:db8::1]",
        "failover:(stomp://127.0.0.1:1,stomp://broker.example)",
    ],
)
def test_other_machines_are_left_alone(url, capsys):
    assert main(["bench", "--url", url]) == 2
    err = capsys.readouterr().err
    assert "is not this machine" in err
    assert "--allow-remote" in err


def test_other_machines_are_loaded_when_that_is_meant(capsys):
    # A name that is no loopback address, of a machine that there cannot be (RFC 6761).
    assert main(["bench", "--allow-remote", "--url", "stomp://broker.invalid"]) == 1
    assert "cannot connect to stomp://broker.invalid" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost.example", False),
        ("128.0.0.1", False),
        ("::2", False),
        ("fe80::1%lo", False),
    ],
)
def test_which_hosts_are_this_machine(host, expected):
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    "arguments",
    [
        ["sideways"],
        ["--producers", "0"],
        ["--consumers", "1001"],
        ["--size", "7"],
        ["--size", "20,x"],
        ["--size", "1000000000"],
        ["--messages", "0"],
        ["--messages", "100000001"],
        ["--seconds", "0"],
        ["--seconds", "3601"],
        ["--rate", "-1"],
        ["--ack", "maybe"],
    ],
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["bench", *arguments])
    assert caught.value.code == 2
    assert capsys.readouterr().err
