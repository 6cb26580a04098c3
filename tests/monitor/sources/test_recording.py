"""A feed in a file, and back."""

import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.envelopes import START, envelope

from stompy_monitor.model.model import Model
from stompy_monitor.sources.recording import KEY_FRAME_MS, NoRecording, Recorder, Recording
from stompy_monitor.sources.replay import Replay

FIELDS = ["name", "destination", "ready", "in_msgs", "out_msgs", "acked"]


def second(number, queues, base=None, **more):
    """What one second brings: changes of queues, an event, and the broker."""
    rows = [[name, f"/queue/{name}", ready, 0, 0, 0] for name, ready in queues.items()]
    delta = {} if base is None else {"base": base}
    yield envelope("queues", number, rows, fields=FIELDS, **delta, **more)
    yield envelope("event", number, {"type": "queue.created", "at": START + number * 1000})
    yield envelope("broker", number, {"name": "dev", "messages_ready": number})


def record(path, seconds, **options):
    recorder = Recorder(path, {"url": "stomp://x"}, **options)
    for messages in seconds:
        for message in messages:
            recorder.add(message)
    recorder.close()
    return Recording(path)


def ready(model):
    return {key: row.value("ready") for key, row in model.row_sets["queues"].rows.items()}


def test_what_went_in_comes_out(tmp_path):
    recording = record(
        tmp_path / "r",
        [
            second(0, {"a": 1, "b": 2}),
            second(1, {"a": 5}, base=0),
            second(2, {"c": 7}, base=1, removed=["b"]),
        ],
    )
    assert recording.about["url"] == "stomp://x"
    model = Model()
    replay = Replay(recording, model)
    assert ready(model) == {"a": 1, "b": 2}
    replay.seek(START + 2000)
    assert ready(model) == {"a": 5, "c": 7}
    assert len(model.row_sets["events"].rows) == 3
    replay.step(-1)
    assert ready(model) == {"a": 5, "b": 2}
    assert not replay.playing
    replay.seek(0)
    assert (replay.position, ready(model)) == (START, {"a": 1, "b": 2})
    replay.seek(START + 10**9)
    assert replay.position == START + 2000


def test_it_is_for_its_owner_alone(tmp_path):
    record(tmp_path / "r", [second(0, {"a": 1})])
    assert (tmp_path / "r").stat().st_mode & 0o777 == 0o600


def test_it_begins_with_the_first_snapshot_not_with_an_event_of_before(tmp_path):
    old = envelope("event", -60, {"type": "queue.created", "at": START - 60_000})
    recording = record(tmp_path / "r", [[old], second(0, {"a": 1}), second(1, {"a": 2}, base=0)])
    model = Model()
    replay = Replay(recording, model)
    assert (recording.begin, replay.position) == (START, START)
    assert ready(model) == {"a": 1}
    assert len(model.row_sets["events"].rows) == 2
    only = record(tmp_path / "e", [[old]])
    assert only.begin == only.end == START - 60_000


def test_a_row_carries_only_what_changed(tmp_path):
    path = tmp_path / "r"
    record(path, [second(0, {"a": 1}), second(1, {"a": 5}, base=0)])
    lines = [json.loads(line) for line in zlib.decompress(path.read_bytes()).splitlines()]
    rows = [line["m"]["rows"] for line in lines if "rows" in line.get("m", {})]
    assert rows[1] == [{"k": "a", "2": 5}]


def test_reading_begins_at_key_frames(tmp_path):
    count = 3 * KEY_FRAME_MS // 1000
    names = [f"queue-{n}" for n in range(40)]

    def changes():
        yield second(0, dict.fromkeys(names, 0))
        for number in range(1, count):
            base = number - 1
            yield second(number, {names[number % 40]: hash((number, 7)) % 10**9}, base=base)

    recording = record(tmp_path / "r", changes())
    whole, part = Model(), Model()
    replay = Replay(recording, whole)
    replay.seek(recording.end)
    Replay(recording, part, at=recording.end)
    assert ready(part) == ready(whole)
    # It did not begin at the beginning: the first events are not there.
    assert len(part.row_sets["events"].rows) < len(whole.row_sets["events"].rows)


def test_a_file_that_was_cut_off_plays_up_to_the_cut(tmp_path):
    path = tmp_path / "r"
    record(path, [second(0, {"a": 1}), second(1, {"a": 2}, base=0), second(2, {"a": 3}, base=1)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-12])
    model = Model()
    recording = Recording(path)
    Replay(recording, model, at=recording.end)
    assert ready(model)["a"] in (2, 3)


def test_files_are_changed_when_they_are_large(tmp_path):
    path = tmp_path / "r"
    changes = [second(0, {"a": 1, "b": 1})]
    changes += [second(n, {"a": hash((n, 1)) % 10**12}, base=n - 1) for n in range(1, 100)]
    recording = record(path, changes, max_bytes=1000)
    older = Recording(path.with_name("r.1"))
    assert older.end <= recording.begin
    model = Model()
    Replay(recording, model, at=recording.end)
    assert ready(model) == {"a": hash((99, 1)) % 10**12, "b": 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello", "is not a recording"),
        (b"", "is not a recording"),
        (zlib.compress(b"[1]\n"), "is not a recording"),
        (zlib.compress(b'{"stompy-monitor":99}\n'), "format 99"),
    ],
)
def test_what_is_none(tmp_path, content, words):
    path = tmp_path / "r"
    path.write_bytes(content)
    with pytest.raises(NoRecording, match=words):
        Recording(path)


def test_speeds(tmp_path):
    replay = Replay(record(tmp_path / "r", [second(0, {"a": 1})]), Model())
    for steps, speed in ((1, 2.0), (9, 60.0), (-20, 0.25)):
        replay.faster(steps)
        assert replay.speed == speed


QUEUES = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 5))


@settings(max_examples=30)
@given(st.lists(QUEUES, min_size=1, max_size=12))
def test_every_moment_is_as_it_was(tmp_path_factory, rounds):
    live, pictures, seconds, before = Model(), [], [], {}
    for number, queues in enumerate(rounds):
        changed = {name: n for name, n in queues.items() if before.get(name) != n}
        removed = [name for name in before if name not in queues]
        base = {"base": number - 1, "removed": removed} if number else {}
        messages = list(second(number, changed if number else queues, **base))
        seconds.append(messages)
        for message in json.loads(json.dumps(messages)):
            live.apply(message)
        pictures.append(ready(live))
        before = queues
    recording = record(tmp_path_factory.mktemp("recording") / "r", seconds)
    model = Model()
    replay = Replay(recording, model)
    for number in (*range(len(rounds)), *reversed(range(len(rounds)))):
        replay.seek(START + number * 1000)
        assert ready(model) == pictures[number]
