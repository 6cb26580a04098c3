"""``stompy ping``: is it there, and how fast does it answer?"""

from __future__ import annotations

import json

import pytest
from tests.support.scripted_server import Peer, ScriptedServer

from stompy.cli import main
from stompy.cli.ping import _ms


def test_for_people(broker, capsys):
    assert main(["ping", "-n", "2", "--interval", "0", "--url", broker.url]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    first, one, two, last = out.splitlines()
    assert first.startswith("connected in ")
    assert "server stompy-broker/" in first
    assert one.startswith("answer 1: ")
    assert two.startswith("answer 2: ")
    assert last.startswith("2 answers: min ")


def test_for_machines(broker, capsys):
    assert main(["ping", "-n", "3", "--interval", "0", "--json", "--url", broker.url]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["ms"]) == 3
    assert min(told["ms"]) > 0
    assert told["version"] == "1.2"
    assert told["server"].startswith("stompy-broker/")


def test_for_scripts(broker, capsys):
    assert main(["ping", "-n", "1", "-q", "--url", broker.url]) == 0
    assert capsys.readouterr() == ("", "")


def test_it_touches_no_destination(broker):
    before = {row.name for row in broker.queues()}
    assert main(["ping", "-n", "2", "--interval", "0", "-q", "--url", broker.url]) == 0
    assert {row.name for row in broker.queues()} == before


def test_a_broker_that_does_not_answer(capsys):
    def silent(peer: Peer) -> None:
        peer.welcome()
        peer.expect("BEGIN")
        peer.receipt(peer.expect("DISCONNECT"))

    with ScriptedServer(silent) as server:
        assert main(["ping", "--timeout", "0.1", "-q", "--url", server.url]) == 3
    assert capsys.readouterr().err == "stompy: no answer within 0.1 s\n"


def test_nobody_is_there(capsys):
    assert main(["ping", "--url", "stomp://127.0.0.1:1"]) == 1
    assert "cannot connect" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["-n", "0"], ["--interval", "x"], ["/queue/q"]])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["ping", *arguments])
    assert caught.value.code == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0000123456, "0.0123 ms"), (0.1234, "123 ms"), (1.0, "1000 ms"), (12.3456, "12300 ms")],
)
def test_times_have_no_exponent(seconds, shown):
    assert _ms(seconds) == shown
