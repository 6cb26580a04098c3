"""``stompy browse``: what is in a queue, on standard output."""

from __future__ import annotations

import json

import pytest
from tests.support.wire import unique

import stompy
from stompy.cli import main


@pytest.fixture
def queue(broker) -> str:
    queue = f"/queue/{unique()}"
    with stompy.connect(broker.url) as client:
        for number in range(5):
            client.message(queue, f"m{number}", headers={"n": number}, confirm=True)
    return queue


def test_bodies_line_by_line(broker, queue, capfdbinary):
    assert main(["browse", queue, "--url", broker.url]) == 0
    out, err = capfdbinary.readouterr()
    assert out == b"m0\nm1\nm2\nm3\nm4\n"
    assert b"5 messages in " in err
    assert broker.queue(queue).ready == 5


def test_json_lines(broker, queue, capfdbinary):
    arguments = ["browse", queue, "--selector", "n > 0", "--offset", "1", "-n", "2", "-q"]
    assert main([*arguments, "--format", "json", "--url", broker.url]) == 0
    out, err = capfdbinary.readouterr()
    told = [json.loads(line) for line in out.splitlines()]
    assert [one["body"] for one in told] == ["m2", "m3"]
    assert told[0]["headers"]["state"] == "ready"
    assert err == b""


def test_headers_only_of_what_is_with_consumers(broker, queue, capfdbinary):
    with stompy.connect(broker.url) as client:
        held = client.subscription(queue, prefetch=2)
        first = held.get(timeout=5)
        arguments = ["browse", queue, "--state", "unacked", "--headers-only", "--since", "1"]
        assert main([*arguments, "--format", "json", "--url", broker.url]) == 0
        told = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
        assert told[0]["headers"]["message-id"] == first.id
        assert {one["headers"]["body-length"] for one in told} == {"2"}


def test_what_the_broker_refuses(broker, capsys):
    assert main(["browse", "/topic/t", "--url", broker.url]) == 1
    assert "browsed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["/queue/q", "--state", "gone"], ["/queue/q", "-n", "x"]]
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["browse", *arguments])
    assert caught.value.code == 2
    assert capsys.readouterr().err
