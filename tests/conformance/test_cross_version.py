"""`docs/conformance.md`, *From one version to another*: each side has its own words.

The specification does not say what happens to a header that the consumer's version cannot carry.
Here: a line break never becomes a line break on the wire, and nothing else is lost without need.
"""

from __future__ import annotations

import pytest
from tests.conformance.conftest import Connect

# What a 1.2 sender writes -> what consumers of each version read.
LINES = {
    r"x:a\cb": {"1.0": "x:a:b", "1.1": r"x:a\cb", "1.2": r"x:a\cb"},
    r"x:a\\nb": {"1.0": r"x:a\nb", "1.1": r"x:a\\nb", "1.2": r"x:a\\nb"},
    r"x:a\nb": {"1.0": r"x:a\nb", "1.1": r"x:a\nb", "1.2": r"x:a\nb"},
    r"x:a\rb": {"1.0": r"x:a\rb", "1.1": "x:a\rb", "1.2": r"x:a\rb"},
    r"x:a\r": {"1.0": r"x:a\r", "1.1": "x:a", "1.2": r"x:a\r"},
    r"x:a\r\n": {"1.0": r"x:a\r\n", "1.1": "x:a\r\\n", "1.2": r"x:a\r\n"},
    r"a\cb:1": {"1.0": None, "1.1": r"a\cb:1", "1.2": r"a\cb:1"},
    r"a\nb:1": {"1.0": None, "1.1": r"a\nb:1", "1.2": r"a\nb:1"},
    "x: 1 ": {"1.0": "x: 1 ", "1.1": "x: 1 ", "1.2": "x: 1 "},
    "x:": {"1.0": "x:", "1.1": "x:", "1.2": "x:"},
    "x:日本": {"1.0": "x:日本", "1.1": "x:日本", "1.2": "x:日本"},
}


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
@pytest.mark.parametrize("line", LINES)
def test_what_a_1_2_sender_writes(connect: Connect, queue: str, line: str, version: str):
    """X1: decoded as the sender's version says, encoded as the consumer's version can."""
    sender, receiver = connect("1.2"), connect(version)
    receiver.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    receiver.sync()
    sender.send(f"SEND\ndestination:{queue}\nbefore:1\n{line}\nafter:1\n\nbody\0")
    message = receiver.expect("MESSAGE")
    expected = LINES[line][version]
    lines = message.raw.decode().split("\n\n")[0].split("\n")
    between = lines[lines.index("before:1") + 1 : lines.index("after:1")]
    assert between == ([] if expected is None else [expected])
    assert message.body == b"body"
    receiver.sync()


def test_a_line_break_never_makes_a_header(connect: Connect, queue: str):
    """X2: a value cannot smuggle a header, a body or a frame to a 1.0 consumer."""
    sender, receiver = connect("1.2"), connect("1.0")
    receiver.send(f"SUBSCRIBE\ndestination:{queue}\n\n\0")
    receiver.sync()
    sender.send(f"SEND\ndestination:{queue}\nx:1\\nmessage-id\\c7\\n\\nMESSAGE\n\nbody\0")
    message = receiver.expect("MESSAGE")
    assert message["x"] == r"1\nmessage-id:7\n\nMESSAGE"
    assert message.body == b"body"
    assert len(message.all("message-id")) == 1
    receiver.sync()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("name", [r"\r", r"\r\r"])
def test_a_name_that_cannot_be_written_is_left_out(
    connect: Connect, queue: str, name: str, version: str
):
    """X3: what is left of a name must be a name."""
    sender, receiver = connect("1.2"), connect(version)
    receiver.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    receiver.sync()
    sender.send(f"SEND\ndestination:{queue}\n{name}:1\nx:2\n\n\0")
    message = receiver.expect("MESSAGE")
    assert message["x"] == "2"
    assert all(name.strip() for name, _ in message.headers)


def test_a_long_header_full_of_colons_reaches_every_version(connect: Connect, queue: str):
    """X4: a header within the limits stays deliverable where escapes make it longer."""
    colons = ":" * 12_000
    receivers = [connect(version) for version in ("1.0", "1.1", "1.2")]
    topic = queue.replace("/queue/", "/topic/")
    for receiver in receivers:
        receiver.send(f"SUBSCRIBE\nid:0\ndestination:{topic}\n\n\0")
        receiver.sync()
    connect("1.0").send(f"SEND\ndestination:{topic}\nx:{colons}\n\n\0")
    plain, *escaped = (receiver.expect("MESSAGE")["x"] for receiver in receivers)
    assert plain == colons
    assert escaped == [colons.replace(":", r"\c")] * 2
