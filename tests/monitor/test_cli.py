"""The command ``stompy-monitor``, as a process of its own against a real broker."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.blocks import DOCS
from tests.support.scripted_server import Peer, ScriptedServer
from tests.support.secure import ca_file, certificate, key_and_cert_file

import stompy
from stompy.admin import Kind, page_from
from stompy_broker import RunningBroker, load_config, running
from stompy_broker.security.auth import hash_password
from stompy_monitor.sources.recording import Recording


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stompy_monitor", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running() as broker, stompy.connect(broker.url) as client:
        for _ in range(3):
            receipt = client.message("/queue/orders", "x", receipt=True)
        client.wait_for_receipt(receipt)
        yield broker


def test_one_set_as_json_is_what_the_schema_says(broker: RunningBroker) -> None:
    result = run(broker.url, "--once", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    snapshot = json.loads(result.stdout)
    kinds = ["queues", "topics", "connections", "subscriptions", "durable", "transactions"]
    kinds += ["scheduled", "readers", "retained"]
    assert list(snapshot) == ["broker", *kinds]
    assert [(row["name"], row["ready"]) for row in snapshot["queues"]] == [("orders", 3)]
    assert len(snapshot["connections"]) == 1  # not the monitor's own
    for kind in kinds:
        page = page_from({"v": 1, "kind": kind, "data": snapshot[kind]})
        assert page.kind is Kind(kind)


def test_one_set_as_text(broker: RunningBroker) -> None:
    result = run(broker.url, "--once")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("broker ")
    (row,) = [line.split() for line in lines if line.startswith("orders")]
    assert row[1:4] == ["3", "0", "0"]


def test_a_locale_that_has_not_all_letters_replaces_them(broker: RunningBroker) -> None:
    result = run(broker.url, "--once", PYTHONIOENCODING="ascii")
    assert result.returncode == 0
    assert "?" in result.stdout


def test_csv_of_one_kind(broker: RunningBroker) -> None:
    result = run(broker.url, "--csv", "--kind", "queues")
    (row,) = csv.DictReader(result.stdout.splitlines())
    assert (row["name"], row["ready"]) == ("orders", "3")


def test_the_url_may_come_from_the_environment(broker: RunningBroker) -> None:
    result = run("--json", "--kind", "broker", STOMPY_URL=broker.url)
    assert list(json.loads(result.stdout)) == ["broker"]


def test_sets_one_after_the_other(broker: RunningBroker) -> None:
    result = run(broker.url, "--watch", "2", "--interval", "0.25", "--json", "--kind", "queues")
    assert [len(json.loads(line)["queues"]) for line in result.stdout.splitlines()] == [1, 1]


def test_fail_if(broker: RunningBroker) -> None:
    result = run(broker.url, "--once", "--json", "--fail-if", "queue.ready>2 queue.consumers=0")
    assert result.returncode == 1
    assert result.stderr == "stompy-monitor: queue.ready>2 queue.consumers=0: orders\n"
    assert json.loads(result.stdout)
    assert run(broker.url, "--once", "--fail-if", "broker.queues>7").returncode == 0


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("queue.redy>10M", "there is no column “queue.redy”; “queue.ready” perhaps?"),
        ("queue.name>5", "“queue.name” is no number: it can be = or !="),
        ("queue.ready=many", "“many” is not a number"),
        ("queue.paused=ture", "“ture” is neither true nor false"),
        ("broker.loop_lag_ms.p98>5", "“broker.loop_lag_ms.p99” perhaps?"),
        ("broker.store.fsyncs>5", "there is no column “broker.store.fsyncs”"),
    ],
)
def test_a_condition_that_could_never_hold(expression: str, words: str) -> None:
    for option in ("--fail-if", "--wait"):
        result = run("--once", option, expression)
        assert (result.returncode, result.stdout) == (2, "")
        assert words in " ".join(result.stderr.split())


def test_conditions_take_titles_and_names_without_units(broker: RunningBroker) -> None:
    held = "queue.oldest>=0 queue.cons=0 queue.in>=0 queue.OLDEST>=0"
    result = run(broker.url, "--once", "--fail-if", held, "--fail-if", "broker.uptime>=0")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 2


def test_filter_order_and_columns_of_what_is_printed() -> None:
    with running() as broker, stompy.connect(broker.url) as client:
        for number in (1, 2, 11):
            for _ in range(number):
                client.message(f"/queue/q{number}", "x", receipt=True)
        client.message("/queue/other", "x", receipt=True)
        json_lines = ("--json", "--kind", "queues")
        asked = ("--filter", "q ready>1", "--sort", "-ready", "--columns", "name,ready")
        told = json.loads(run(broker.url, "--once", *json_lines, *asked).stdout)
        assert told == {"queues": [{"name": "q11", "ready": 11}, {"name": "q2", "ready": 2}]}
        told = run(broker.url, "--once", "--csv", "--kind", "queues", *asked).stdout
        assert told.splitlines() == ["name,ready", "q11,11", "q2,2"]
        told = run(broker.url, "--once", "--view", "queues", *asked).stdout
        assert [line.split() for line in told.splitlines()] == [
            ["QUEUES", "READY"],
            ["q11", "11"],
            ["q2", "2"],
        ]
        told = json.loads(run(broker.url, "--once", "--json", "--view", "readers").stdout)
        assert told == {"readers": []}
        names = [row["name"] for row in json.loads(run(broker.url, "--json").stdout)["queues"]]
        assert sorted(names) == ["other", "q1", "q11", "q2"]
        text = run(broker.url, "--once", "--kind", "queues").stdout
        assert [line.split()[0] for line in text.splitlines()[1:]] == ["other", "q1", "q2", "q11"]


def test_one_look_has_rates_and_alarms(broker: RunningBroker) -> None:
    with stompy.connect(broker.url) as client:
        client.subscribe("/queue/busy", id="b")
        result = run(broker.url, "--once", "--json")
        (row,) = [row for row in json.loads(result.stdout)["queues"] if row["name"] == "busy"]
        assert row["rate"] == {"in": 0.0, "out": 0.0, "ack": 0.0}
        (connection,) = json.loads(result.stdout)["connections"][-1:]
        assert connection["session"]
    text = run(broker.url, "--once").stdout
    assert "–/s" not in text


def test_a_recording_is_printed(broker: RunningBroker) -> None:
    file = str(DOCS / "monitor" / "demo.recording")
    # The broker of the default address is not asked.
    result = run("--once", "--json", "--replay", file)
    assert result.returncode == 0, result.stderr
    assert "orders" in [row["name"] for row in json.loads(result.stdout)["queues"]]
    matched = run("--once", "--replay", file, "--fail-if", "queue.in>1")
    assert matched.returncode == 1
    for words in (["--watch"], ["--wait", "queue.ready>1"], ["--record", "x"]):
        refused = run("--replay", file, *words)
        assert (refused.returncode, refused.stdout) == (2, "")


def test_wait(broker: RunningBroker) -> None:
    assert run(broker.url, "--wait", "queue.name=orders queue.ready=3").returncode == 0
    result = run(broker.url, "--wait", "queue.ready=4", "--timeout", "0.5")
    assert (result.returncode, result.stderr) == (
        1,
        "stompy-monitor: queue.ready=4: not within 0.5 s\n",
    )


def test_login_and_roles() -> None:
    users = {name: hash_password("wonder") for name in ("ops", "shop")}
    roles = {"monitor": ["ops"]}
    settings = {"listen": {"port": 0}, "store": {"data": ""}, "users": users, "roles": roles}
    with running(load_config(overrides=settings)) as broker:
        as_ops = ("--once", "--login", "ops")
        assert run(broker.url, *as_ops, "--passcode", "wonder").returncode == 0
        assert run(broker.url, *as_ops, STOMPY_PASSCODE="wonder").returncode == 0
        refused = run(broker.url, *as_ops, "--passcode", "canary")
        nobody = run(broker.url, "--once", "--login", "shop", "--passcode", "wonder")
    assert refused.returncode == 4
    assert "login or passcode is wrong" in refused.stderr
    assert "canary" not in refused.stderr
    assert nobody.returncode == 4
    assert "the user “shop” has no role here" in nobody.stderr


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    result = run(f"stomp://127.0.0.1:{port}", "--once")
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.startswith("stompy-monitor: ")
    assert result.stderr.count("\n") == 1


def test_another_broker() -> None:
    def activemq(peer: Peer) -> None:
        peer.welcome(server="ActiveMQ/6.1.0")
        peer.until_closed()

    with ScriptedServer(activemq) as server:
        result = run(server.url, "--once")
    assert result.returncode == 5
    assert "connected to ActiveMQ/6.1.0; it offers no $SYS topics" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["http://x"],
        ["--nonsense"],
        ["stomp://"],
        ["--once", "--csv"],
        ["--once", "--kind", "cues"],
        ["--fail-if", "ready>2"],
        ["--fail-if", "queue.ready>2 topic.in>1"],
        ["--view", "queues", "--sort", "nonsense"],
        ["--filter", "(a"],
        ["--filter", "a"],
        ["--once", "--filter", "a"],
        ["--once", "--kind", "broker", "--sort", "name"],
        ["--once", "--kind", "queues", "--filter", "redy>1"],
        ["--once", "--kind", "queues", "--columns", "nmae"],
        ["--once", "--view", "events"],
        ["--once", "--view", "readers", "--kind", "queues"],
        ["--wait", "queue.ready>1", "--view", "events"],
        ["--wait", "queue.ready>1", "--columns", "name"],
        ["--once", "--fail-if", "queue.ready>"],
        [],  # no terminal here
    ],
)
def test_usage(arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr


@pytest.mark.parametrize("arguments", [["--once", "--json"], ["--record"]])
def test_without_a_screen_textual_is_not_imported(
    broker: RunningBroker, arguments: list[str], tmp_path
) -> None:
    record = arguments == ["--record"]
    more = [str(tmp_path / "r")] if record else []
    code = (
        "import sys, threading, _thread\n"
        "from stompy_monitor.cli import main\n"
        f"{record} and threading.Timer(0.7, _thread.interrupt_main).start()\n"
        "try: main()\n"
        "finally: print(*[m for m in sys.modules if m.startswith('textual')], file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code, broker.url, *arguments, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.splitlines()[-1] == ""
    if record:
        assert done.returncode == 130
        assert Recording(tmp_path / "r").end > 0


def test_tls(tmp_path) -> None:
    cert = key_and_cert_file(tmp_path, certificate("127.0.0.1", "localhost"))
    settings = {"listen": {"port": 0}, "store": {"data": ""}, "tls": {"cert": cert, "port": 0}}
    with running(load_config(overrides=settings)) as broker:
        (url,) = [url for url in broker.urls if url.startswith("stomps://")]
        assert run(url, "--once", "--ca-file", ca_file(tmp_path)).returncode == 0
        assert run(url, "--once", "--tls-ca", ca_file(tmp_path)).returncode == 0  # as it was
        refused = run(url, "--once")
    assert refused.returncode == 3
    assert "certificate" in refused.stderr


def test_a_file_that_cannot_be_written_is_told_in_words(tmp_path: Path) -> None:
    with running() as broker:
        path = tmp_path / "absent" / "r"
        result = run(broker.url, "--record", str(path))
    assert result.returncode == 2
    assert result.stderr == f"stompy-monitor: {path}: No such file or directory\n"
