"""STOMPFrame as the manual describes it (section 1.4)."""

import pickle
from copy import copy, deepcopy
from importlib import import_module

import pytest

from stompy.errors import STOMPError, STOMPTimeout
from stompy.protocol.client import ClientProtocol
from stompy.protocol.codec import Head
from stompy.protocol.frame import AckMode, STOMPFrame, as_body
from stompy.protocol.frame import received as as_received
from stompy.protocol.headers import Version


@pytest.fixture
def frame() -> STOMPFrame:
    return STOMPFrame("MESSAGE", b"[1, 2]", {"destination": "/queue/q", "source": "here"})


def test_the_manual_reads_a_frame_in_these_ways(frame):
    assert frame.Command == frame.command == "MESSAGE"
    assert frame.Body == frame.body == b"[1, 2]"
    assert frame["source"] == "here"
    assert frame.get("option", "none") == "none"
    assert frame.get("option") is None
    assert frame.destination == frame["destination"] == "/queue/q"
    assert frame.text == "[1, 2]"
    assert frame.json == [1, 2]
    assert "source" in frame
    assert "option" not in frame
    assert list(frame) == ["destination", "source"]


def test_headers_are_a_copy_as_attribute_and_as_call(frame):
    for copied in (frame.headers, frame.headers()):
        assert copied == {"destination": "/queue/q", "source": "here"}
        copied["source"] = "elsewhere"
    assert frame["source"] == "here"
    assert type(frame.headers()) is dict


def test_headers_can_be_set(frame):
    frame["source"] = "elsewhere"
    assert frame.Headers["source"] == "elsewhere"


def test_a_missing_header_is_a_key_error(frame):
    with pytest.raises(KeyError, match="option"):
        frame["option"]
    assert STOMPFrame().destination is None


def test_the_constructor_of_the_manual():
    assert (STOMPFrame().Command, STOMPFrame().Body, STOMPFrame().Headers) == (None, b"", {})
    with pytest.raises(ValueError, match="without command"):
        STOMPFrame().to_bytes()
    given = {"a": "1"}
    frame = STOMPFrame("SEND", "grüß", given, b="2")
    assert frame.Body == "grüß".encode()
    assert frame.Headers == {"a": "1", "b": "2"}
    assert given == {"a": "1"}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (None, "grüß".encode()),
        ("text/plain", "grüß".encode()),
        ("text/plain;charset=iso-8859-1", "grüß".encode("latin-1")),
        ('text/plain; charset="UTF-16"', "grüß".encode("utf-16")),
        ("text/plain; x=charset", "grüß".encode()),
    ],
)
def test_text_follows_the_charset(content_type, body):
    headers = {} if content_type is None else {"content-type": content_type}
    assert STOMPFrame("MESSAGE", body, headers).text == "grüß"


def test_what_is_no_text_or_json_raises_where_it_is_asked_for():
    frame = STOMPFrame("MESSAGE", b"\xff")
    with pytest.raises(UnicodeDecodeError):
        frame.text  # noqa: B018 -- a property
    with pytest.raises(ValueError, match="codec"):
        frame.json  # noqa: B018 -- a property
    with pytest.raises(LookupError):
        STOMPFrame("MESSAGE", b"x", {"content-type": "a/b;charset=klingon"}).text  # noqa: B018


def test_equality_is_that_of_the_contents(frame):
    same = STOMPFrame("MESSAGE", b"[1, 2]", dict(frame.Headers))
    assert frame == same
    same["x"] = "y"
    assert frame != same
    assert frame != "MESSAGE"
    with pytest.raises(TypeError, match="unhashable"):
        hash(frame)


def test_a_received_frame_takes_over_what_was_parsed():
    headers = {"a": "1"}
    (frame,) = as_received([(Head("MESSAGE", headers, b"", -1), b"x")])
    assert (frame.Command, frame.Headers, frame.Body) == ("MESSAGE", headers, b"x")
    assert frame.Headers is headers


def test_the_bytes_of_a_frame_depend_on_the_version():
    frame = STOMPFrame("SEND", b"x", {"a": "b:c"})
    assert frame.to_bytes() == b"SEND\na:b\\cc\ncontent-length:1\n\nx\0"
    assert frame.to_bytes(Version.V1_0) == b"SEND\na:b:c\ncontent-length:1\n\nx\0"


def test_repr_shows_no_secret_and_no_body():
    frame = STOMPFrame(
        "CONNECT", b"secret body", {"passcode": "secret", "login": "secret", "a": "b"}
    )
    assert repr(frame) == "<STOMPFrame CONNECT passcode:*** login:*** a:b body:11B>"


def test_what_old_code_imports_from_here():
    module = import_module("stompy.frame")

    assert module.STOMPError is STOMPError
    assert module.STOMPTimeout is STOMPTimeout
    assert AckMode("client-individual") is AckMode.CLIENT_INDIVIDUAL


@pytest.mark.parametrize(
    "body", ["ü", "ü".encode(), bytearray("ü".encode()), memoryview(b"\xc3\xbc")]
)
def test_bodies(body):
    assert as_body(body) == b"\xc3\xbc"


@pytest.mark.parametrize("body", [None, {}, {"a": 1}, [], 42, 1.5, True, ()])
def test_what_should_be_json_is_no_body(body):
    with pytest.raises(TypeError, match=f"must be str or bytes, not {type(body).__name__}; json="):
        as_body(body)


def test_what_is_no_body_at_all():
    with pytest.raises(TypeError, match=r"must be str or bytes, not object$"):
        as_body(object())


def test_a_frame_with_such_a_body():
    with pytest.raises(TypeError, match="must be str or bytes, not dict"):
        STOMPFrame("SEND", {"a": 1})


# -- headers that are decoded when they are asked for ---------------------------------------------


def received(count: int = 3) -> list[STOMPFrame]:
    """Frames as a client gets them."""
    protocol = ClientProtocol()
    protocol.connect({})
    protocol.receive_data(b"CONNECTED\nversion:1.2\n\n\0", 0.0)
    wire = [
        b"MESSAGE\nsubscription:0\nack:a%d\nmessage-id:m%d\nx:y\n\nbody\0\n" % (one, one)
        for one in range(count)
    ]
    return protocol.receive_data(b"".join(wire), 0.0)


def test_a_message_has_its_own_headers_whenever_they_are_asked_for():
    frames = received()
    frames[0].Headers["x"] = "changed"
    frames[1]["new"] = "1"
    assert frames[2].Headers == {
        "subscription": "0",
        "ack": "a2",
        "message-id": "m2",
        "x": "y",
    }
    assert list(frames[2]) == ["subscription", "ack", "message-id", "x"]
    assert frames[1]["message-id"] == "m1"
    assert received(2)[1] == received(3)[1]


@pytest.mark.parametrize("again", [copy, deepcopy, lambda frame: pickle.loads(pickle.dumps(frame))])
def test_copies_are_whole_and_do_not_tell_how_a_frame_was_read(again):
    for frame in (received()[2], STOMPFrame("SEND", "x", {"a": "b"})):
        other = again(frame)
        assert other == frame
        assert other._shared() == frame.Headers
    assert set(received()[2].__getstate__()[1]) == {"Command", "Headers", "Body"}


def test_what_a_frame_has_not_is_said_as_for_any_object():
    for frame in (received()[2], STOMPFrame()):
        with pytest.raises(AttributeError, match="'STOMPFrame' object has no attribute 'haeders'"):
            frame.haeders  # noqa: B018
        assert not hasattr(frame, "_x")
        assert frame.Headers is frame.Headers
        del frame.Headers
        # Python 3.13 says the whole name of the class.
        with pytest.raises(AttributeError, match="STOMPFrame' object has no attribute 'Headers'"):
            frame.Headers  # noqa: B018
