"""``stompy explain``: who would get a message, told by the broker."""

from __future__ import annotations

import json

from tests.support.wire import unique

import stompy
from stompy.cli import main


def test_it_tells_who_gets_it_and_who_not(broker, capsys):
    queue = f"/queue/{unique()}"
    with stompy.connect(broker.url) as client:
        client.subscribe(queue, receipt=True)
        assert main(["explain", queue, "-H", "n:3", "--url", broker.url]) == 0
    told = capsys.readouterr().out.split("\n")
    assert told[0] == f"{queue}: 1 gets it"
    assert told[1].startswith("  anonymous may send to it: ")
    assert f"+ queue {queue.removeprefix('/queue/')}" in told


def test_as_json(broker, capsys):
    topic = f"/topic/{unique()}"
    arguments = ["explain", topic, "--json", "--user", "alice", "--body-bytes", "9"]
    assert main([*arguments, "--url", broker.url]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["destination"], told["user"], told["gets"]) == (topic, "alice", 0)
    assert told["recipients"][0]["why"][0].startswith("nobody has subscribed")


def test_a_place_where_no_message_goes_fails_in_one_line(broker, capsys):
    assert main(["explain", "/chicken/a", "--url", broker.url]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "'/chicken/a' has none of the prefixes" in err
