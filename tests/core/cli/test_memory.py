"""What ``stompy send`` and ``stompy listen`` say of what a broker remembers, with a broker."""

from __future__ import annotations

import json

import pytest
from tests.support.wire import unique


@pytest.fixture
def stream() -> str:
    return f"/stream/{unique()}"


@pytest.fixture
def colours(run, stream) -> str:
    for colour in ("red", "blue", "red"):
        assert run("send", stream, colour, "--filter-value", colour)[0] == 0
    assert run("send", stream, "none")[0] == 0
    return stream


@pytest.mark.parametrize(
    ("said", "bodies"),
    [
        (("--offset", "first"), ["red", "blue", "red", "none"]),
        (("--offset", "2"), ["red", "none"]),
        (("--offset", "-3"), ["blue", "red", "none"]),
        (("--offset", "age=1h", "--filter", "red"), ["red", "red"]),
        (("--offset", "2000-01-01T00:00Z", "--filter", "blue", "--unfiltered"), ["blue", "none"]),
        (("--offset", "first", "--filter", "blue", "--filter", "red"), ["red", "blue", "red"]),
    ],
)
def test_a_stream_is_read_from_where_and_what_it_is_told(run, colours, said, bodies):
    code, lines, _ = run("listen", colours, *said, "-n", str(len(bodies)))
    assert (code, lines) == (0, bodies)


def test_a_reader_goes_on_where_its_name_stopped(run, colours):
    for offset in (0, 1, 2):
        arguments = ("--reader", "billing", "--offset", "first", "-n", "1", "--format", "json")
        code, (line,), _ = run("listen", colours, *arguments)
        assert code == 0
        assert json.loads(line)["headers"]["x-stream-offset"] == str(offset)


def test_what_was_sent_before_is_dropped(run, broker):
    queue = f"/queue/{unique()}"
    for _ in range(2):
        assert run("send", queue, "a", "--dedup", "order-7")[0] == 0
    assert broker.queue(queue).ready == 1


def test_a_topic_keeps_a_message_for_who_wants_it(run):
    topic = f"/topic/{unique()}"
    assert run("send", topic, "20", "--retain")[0] == 0
    code, lines, _ = run("listen", topic, "-n", "1")
    assert (code, lines) == (0, ["20"])
    code, lines, err = run("listen", topic, "--no-retained", "-n", "1", "--timeout", "0.2")
    assert (lines, "0 of 1 messages came" in err) == ([], True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["send", "/queue/q", "--lines", "--dedup", "a"],
        ["send", "/queue/q", "x", "--dedup", ""],
        ["listen", "/stream/s", "--filter", "a,b"],
        ["listen", "/stream/s", "--reader", ""],
    ],
)
def test_wrong_usage(arguments, run):
    code, _, err = run(*arguments)
    assert (code, err.startswith("stompy: ")) == (2, True)


def test_what_cannot_be_read_is_refused_by_the_parser(run):
    with pytest.raises(SystemExit) as caught:
        run("listen", "/stream/s", "--offset", "somewhere")
    assert caught.value.code == 2


def test_a_queue_has_no_offsets(run):
    queue = f"/queue/{unique()}"
    assert run("send", queue, "a")[0] == 0
    code, _, err = run("listen", queue, "--offset", "first")
    assert (code, "x-stream-offset" in err) == (1, True)
