"""What is done with the public API in each form (`tests.support.forms`), rightly and wrongly."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import stompy
import stompy.codec
import stompy.protocol

# What a type checker would refuse is the point of half of these calls.
codec: Any = stompy.codec
frame: Any = stompy.STOMPFrame
client: Any = stompy.protocol.ClientProtocol
server: Any = stompy.protocol.ServerProtocol

OLD, NEW, LIMITS = stompy.Version.V1_0, stompy.Version.V1_2, stompy.Limits()
SEND = b"SEND\ndestination:/queue/a\n\nbody\0"

Acts = dict[str, Callable[[], object]]


class Loud(stompy.codec.FrameParser):
    """Overrides a method and calls it."""

    def feed(self, data: bytes) -> list[tuple[stompy.codec.Head, bytes]]:
        return [(head, body.upper()) for head, body in super().feed(data)]


class Counting(stompy.codec.HeadCache):
    """Is asked by the parser."""

    asked = 0

    def remember(self, head: stompy.codec.Head) -> None:
        self.asked += 1
        super().remember(head)


class Named(stompy.codec.Head):
    """Has more than its base."""

    def __init__(self, name: str) -> None:
        super().__init__(name, {}, b"", -1)
        self.name = name


class Memory(stompy.codec.HeadMemory):
    """Knows nothing."""

    def known(self, _block: bytes, /) -> None:
        return None

    def like(self, _block: bytes, /) -> None:
        return None

    def remember(self, head: stompy.codec.Head) -> None:
        assert head.command == "SEND"


def parser(memory: object = None, check: Callable[[Any], None] = lambda head: None) -> Any:
    made = codec.FrameParser(version=NEW)
    made.proceed(NEW, LIMITS, check, memory)
    return made


def fed(data: bytes) -> Any:
    made = parser()
    made.feed(data)
    return made


def fails(head: stompy.codec.Head) -> None:
    raise LookupError(f"a fault of the check of {head.command}")


def overridden() -> object:
    cache = Counting()
    frames = parser(cache).feed(SEND * 3)
    return cache.asked, len(frames), isinstance(cache, codec.HeadCache), len(cache.heads)


def state(thing: object) -> object:
    """What can be seen of an object that need not compare equal to its copy."""
    seen = {one: getattr(thing, one) for one in dir(thing) if one[0] != "_"}
    return [type(thing).__name__, *((one, v) for one, v in seen.items() if not callable(v))]


def replaced() -> object:
    head = codec.Head("SEND", {"a": "b"}, b"SEND\na:b", -1)
    head.headers = {"c": "d"}
    return head.headers


def of_frames() -> Acts:
    head, body = parser().feed(SEND)[0]
    return {
        "is a head": lambda: (isinstance(head, codec.Head), type(head) is codec.Head, head, body),
        "headers replaced": replaced,
        "failure": lambda: str(fed(b"SEND\nno colon\n\n\0").failure),
        "after a failure": lambda: fed(b"SEND\nno colon\n\n\0").feed(SEND),
        "unfinished": lambda: (fed(SEND[:9]).buffered, fed(SEND[:9]).halted),
        "finished": lambda: fed(SEND[:9]).feed(SEND[9:]),
        "feed by name": lambda: parser().feed(data=SEND),
        "NUL": lambda: codec.encode_frame("SEND", {"a": "\0"}),
        "line break": lambda: codec.encode_frame("CONNECT", {"a": "b\nc"}),
        "length": lambda: codec.encode_frame("SEND", {"content-length": "3"}, b"four"),
        "length of none": lambda: codec.encode_frame("SEND", {}, b"b", content_length=False),
        "1.0": lambda: codec.encode_frame("SEND", {"a:b": "c", "d": "e\n"}, b"", OLD),
        "numbers": lambda: codec.encode_frame("SEND", {"a": 5, 6: None}, b"x"),
        "numbers, escaped": lambda: codec.encode_frame("SEND", {"a": 5, 6: "\n"}, b"x"),
        "length by number": lambda: codec.encode_frame("SEND", {"content-length": 4}, b"four"),
        "frame of numbers": lambda: frame("SEND", "", {"a": 5}).to_bytes(),
        "frame without command": lambda: frame().to_bytes(),
        "client of numbers": lambda: client().send("SEND", {"a": 5}),
        "connect": lambda: client().connect({"login": 5}),
        "server's error": lambda: server().error({"message": 5}, ""),
        "receipt of a number": lambda: server().receipt(5),
    }


def of_heirs() -> Acts:
    return {
        "override feed": lambda: [one for _, one in Loud(version=NEW).feed(SEND)],
        "override remember": overridden,
        "inherit head": lambda: (Named("X").name, Named("X").command, repr(Named("X"))),
        "memory of one's own": lambda: parser(Memory()).feed(SEND),
        "cache of a server": lambda: server(caches={NEW: Counting()}).state,
        "check that fails": lambda: parser(check=fails).feed(SEND),
        "after a check that failed": lambda: parser(check=fails).failure,
    }


def of_mistakes() -> Acts:
    head = codec.Head("SEND", {"a": "b"}, b"SEND\na:b", -1)
    return {
        "no attribute": lambda: parser().nothing,
        "no attribute to set": lambda: setattr(parser(), "nothing", 1),
        "no attribute of a head": lambda: head.nothing,
        "read-only": lambda: setattr(parser(), "halted", True),
        "too few": lambda: codec.encode_frame("SEND"),
        "too many": lambda: codec.encode_frame("SEND", {}, b"", NEW, True),
        "unknown name": lambda: codec.FrameParser(limit=LIMITS),
        "feed nothing": lambda: parser().feed(),
        "proceed too few": lambda: parser().proceed(NEW),
        "tolerant by place": lambda: parser().proceed(NEW, LIMITS, fails, None, True),
        "head too few": lambda: codec.Head("SEND"),
        "memory is abstract": lambda: codec.HeadMemory(),  # noqa: PLW0108  # says where
        "compare": lambda: (head == copy.copy(head), hash(head) == hash(head)),
    }


def of_copies() -> Acts:
    things = {
        "parser": codec.FrameParser(),
        "head": codec.Head("SEND", {"a": "b"}, b"SEND\na:b", -1),
        "cache": codec.HeadCache(),
        "memory": codec.MessageHeads(),
        "frame": frame("SEND", "body", {"a": "b"}),
        "limits": LIMITS,
        "version": NEW,
        "failure": fed(b"SEND\nno colon\n\n\0").failure,
    }
    acts: Acts = {}
    for name, thing in things.items():
        acts[f"{name} copied"] = _copied(copy.copy, thing)
        acts[f"{name} copied deeply"] = _copied(copy.deepcopy, thing)
        acts[f"{name} pickled"] = _copied(lambda one: pickle.loads(pickle.dumps(one)), thing)
    return acts


def _copied(how: Callable[[Any], object], thing: object) -> Callable[[], object]:
    return lambda: state(how(thing))


def acts() -> Acts:
    """Everything, by its name."""
    return of_frames() | of_heirs() | of_mistakes() | of_copies()
