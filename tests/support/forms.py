"""What a user can tell of the public API, as JSON: run once for each form, and compared.

    python -m tests.support.forms            the form that is installed
    python -m tests.support.forms plain      plain Python, whatever lies beside the source
"""

from __future__ import annotations

import copy
import importlib
import inspect
import json
import pickle
import pydoc
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
DOORS = (
    *("stompy", "stompy.admin", "stompy.aio", "stompy.client", "stompy.codec", "stompy.dialect"),
    *("stompy.frame", "stompy.health", "stompy.heartbeat", "stompy.message", "stompy.protocol"),
    *("stompy.subscriptions", "stompy_broker"),
)
OF_THE_COMPILER = {"__getstate__", "__mypyc_attrs__", "__new__", "__setstate__"}
"""What each class in a compiled module has, and `help` shows; ``docs/install.md`` says so."""


class Plain:
    """Finds the source of our modules, past extension modules beside it."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, leaf = name.rpartition(".")
        if path is None or package.partition(".")[0] not in {"stompy", "stompy_broker"}:
            return None
        file = Path(path[0]) / f"{leaf}.py"
        return spec_from_file_location(name, file) if file.exists() else None


def public() -> dict[str, Any]:
    """Everything that a door shows or the API reference names, by its name."""
    found = {}
    for door in DOORS:
        module = importlib.import_module(door)
        for name in getattr(module, "__all__", [one for one in vars(module) if one[0] != "_"]):
            found[f"{door}.{name}"] = getattr(module, name)
    pattern = r"^\.\. auto(?:class|exception|function):: (\S+)$"
    for name in re.findall(pattern, (ROOT / "docs/api.md").read_text("utf-8"), re.MULTILINE):
        found[name] = pydoc.locate(name)
    return {name: one for name, one in found.items() if not isinstance(one, ModuleType)}


def looks(thing: Any) -> dict[str, object]:
    """What `inspect`, `help` and `dir` tell."""
    told: dict[str, object] = {"repr": repr(thing), "doc": inspect.getdoc(thing)}
    with suppress(TypeError, ValueError):
        told["signature"] = str(inspect.signature(thing))
    told["home"] = [getattr(thing, one, None) for one in ("__module__", "__qualname__")]
    if isinstance(thing, type):
        shown = [one for one in dir(thing) if one[:1] != "_" or one[:2] == one[-2:] == "__"]
        told["names"] = sorted({*shown} - OF_THE_COMPILER)
        told["bases"] = [repr(base) for base in thing.__mro__]
        told["slots"] = repr(getattr(thing, "__slots__", None))
        told["kinds"] = {one: kind(inspect.getattr_static(thing, one)) for one in shown}
        told["kinds"] = {k: v for k, v in told["kinds"].items() if k in told["names"]}
    if isinstance(thing, type) or inspect.isroutine(thing):
        told["help"] = help_text(thing)
    return {name: json.loads(without_addresses(json.dumps(what))) for name, what in told.items()}


def kind(attribute: object) -> str:
    """What an attribute of a class is; a slot in C and one in Python are the same to users."""
    name = type(attribute).__name__
    return "slot" if name in {"getset_descriptor", "member_descriptor"} else name


def help_text(thing: Any) -> list[str]:
    """What `help` says, but for the entries that each compiled class has, and empty headings."""
    text = pydoc.plain(pydoc.render_doc(thing))
    entries = [re.sub(r"[ |]*\n[ |]*\Z", "", one) for one in re.split(r"\n \|  (?=\S)", text)]
    kept = [one for one in entries if re.split(r"\W", one, maxsplit=1)[0] not in OF_THE_COMPILER]
    heading = re.compile(r"-{20,}|.* (defined here|inherited from \S+):?")
    return [one for one in kept if not heading.fullmatch(one.strip(" |\n"))]


def without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def outcome(act: Callable[[], object]) -> list[object]:
    """What a call gives, or what it raises and where."""
    try:
        return ["gives", without_addresses(repr(act()))]
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [(Path(one.filename).name, one.name, one.lineno) for one in frames]
        ours = [one for one in ours if one[0] not in {"forms.py", "as_written.py"}]
        # A method that calls what was compiled of it is there twice; the second tells where.
        there = {one[:2]: one for one in ours}.values()
        context = [type(one).__name__ for one in (error.__cause__, error.__context__) if one]
        return ["raises", type(error).__name__, str(error), [*map(list, there)], context]


def behaviour() -> dict[str, list[object]]:
    """What codec, frames and protocols do when they are used, and when they are used wrongly."""
    import stompy
    from stompy import codec
    from stompy.protocol import ClientProtocol, ServerProtocol

    old, version, limits = stompy.Version.V1_0, stompy.Version.V1_2, stompy.Limits()
    send = b"SEND\ndestination:/queue/a\n\nbody\0"

    def parser(
        memory: codec.HeadMemory | None = None, check: Any = lambda head: None
    ) -> codec.FrameParser:
        made = codec.FrameParser(version=version)
        made.proceed(version, limits, check, memory)
        return made

    def fails(head: codec.Head) -> None:
        raise LookupError(f"a fault of the check of {head.command}")

    class Loud(codec.FrameParser):
        """Overrides a method and calls it."""

        def feed(self, data: bytes) -> list[tuple[codec.Head, bytes]]:
            return [(head, body.upper()) for head, body in super().feed(data)]

    class Counting(codec.HeadCache):
        """Is asked by the parser."""

        asked = 0

        def remember(self, head: codec.Head) -> None:
            self.asked += 1
            super().remember(head)

    class Named(codec.Head):
        """Has more than its base."""

        def __init__(self, name: str) -> None:
            super().__init__(name, {}, b"", -1)
            self.name = name

    class Memory(codec.HeadMemory):
        """Knows nothing."""

        def known(self, _block: bytes, /) -> None:
            return None

        def like(self, _block: bytes, /) -> None:
            return None

        def remember(self, head: codec.Head) -> None:
            assert head.command == "SEND"

    def overridden() -> object:
        cache = Counting()
        fed = parser(cache).feed(send * 3)
        return cache.asked, len(fed), isinstance(cache, codec.HeadCache), len(cache.heads)

    head, body = parser().feed(send)[0]
    cache = codec.HeadCache()
    parser(cache).feed(send * 3)
    broken = parser()
    broken.feed(b"SEND\nno colon\n\n\0")
    half = parser()
    half.feed(send[:9])
    made = codec.Head("SEND", {"a": "b"}, b"SEND\na:b", -1)
    things = {
        "head": made,
        "cache": cache,
        "memory": codec.MessageHeads(),
        "frame": stompy.STOMPFrame("SEND", "body", {"a": "b"}),
        "limits": limits,
        "version": version,
        "failure": broken.failure,
    }

    def state(thing: object) -> object:
        names = [one for one in getattr(thing, "__slots__", ()) if one[0] != "_"]
        return [(name, repr(getattr(thing, name))) for name in names] or repr(thing)

    calls: dict[str, Callable[[], object]] = {
        "is a head": lambda: (isinstance(head, codec.Head), type(head) is codec.Head, head, body),
        "failure": lambda: (type(broken.failure), str(broken.failure), broken.feed(send)),
        "buffered": lambda: (half.buffered, half.halted, bytes(half.feed(send[9:])[0][1])),
        "override feed": lambda: [one for _, one in Loud(version=version).feed(send)],
        "override remember": overridden,
        "inherit head": lambda: (Named("X").name, Named("X").command, repr(Named("X"))),
        "memory of one's own": lambda: parser(Memory()).feed(send),
        "cache of a server": lambda: ServerProtocol(caches={version: Counting()}).state,
        "check that fails": lambda: parser(check=fails).feed(send),
        "after a check that failed": lambda: parser(check=fails).failure,
        "no attribute": lambda: parser().nothing,  # type: ignore[attr-defined]
        "no attribute to set": lambda: setattr(parser(), "nothing", 1),
        "no attribute of a head": lambda: head.nothing,  # type: ignore[attr-defined]
        "read-only": lambda: setattr(parser(), "halted", True),
        "too few": lambda: codec.encode_frame("SEND"),  # type: ignore[call-arg]
        "too many": lambda: codec.encode_frame("SEND", {}, b"", version, True),  # type: ignore[misc]
        "unknown name": lambda: codec.FrameParser(limit=limits),  # type: ignore[call-arg]
        "feed nothing": lambda: parser().feed(),  # type: ignore[call-arg]
        "feed by name": lambda: parser().feed(data=send),
        "proceed too few": lambda: parser().proceed(version),  # type: ignore[call-arg]
        "tolerant by place": lambda: parser().proceed(version, limits, fails, None, True),  # type: ignore[misc]
        "head too few": lambda: codec.Head("SEND"),  # type: ignore[call-arg]
        "memory is abstract": lambda: codec.HeadMemory(),  # type: ignore[misc]
        "compare": lambda: (made == made, made != head, hash(made) == hash(made)),  # noqa: PLR0124
        "NUL": lambda: codec.encode_frame("SEND", {"a": "\0"}),
        "line break": lambda: codec.encode_frame("CONNECT", {"a": "b\nc"}),
        "length": lambda: codec.encode_frame("SEND", {"content-length": "3"}, b"four"),
        "numbers": lambda: codec.encode_frame("SEND", {"a": 5, 6: None}, b"x"),  # type: ignore[dict-item]
        "numbers, escaped": lambda: codec.encode_frame("SEND", {"a": 5, 6: "\n"}, b"x"),  # type: ignore[dict-item]
        "1.0": lambda: codec.encode_frame("SEND", {"a:b": "c", "d": "e\n"}, b"", old),
        "frame of numbers": lambda: stompy.STOMPFrame("SEND", "", {"a": 5}).to_bytes(),  # type: ignore[dict-item]
        "frame without command": lambda: stompy.STOMPFrame().to_bytes(),
        "client of numbers": lambda: ClientProtocol().send("SEND", {"a": 5}),  # type: ignore[dict-item]
        "connect": lambda: ClientProtocol().connect({"login": 5}),  # type: ignore[dict-item]
        "server's error": lambda: ServerProtocol().error({"message": 5}, ""),  # type: ignore[dict-item]
        "receipt of a number": lambda: ServerProtocol().receipt(5),  # type: ignore[arg-type]
    }
    for name, thing in things.items():
        calls |= {
            f"{name} copied": lambda thing=thing: state(copy.copy(thing)),
            f"{name} copied deeply": lambda thing=thing: state(copy.deepcopy(thing)),
            f"{name} pickled": lambda thing=thing: state(pickle.loads(pickle.dumps(thing))),
            f"{name} forgets": lambda thing=thing: delattr(thing, "nothing"),
        }
    return {name: outcome(call) for name, call in calls.items()}


def heirs(classes: dict[str, type]) -> dict[str, list[object]]:
    """Whether each class has heirs."""
    return {name: outcome(lambda: type("Heir", (base,), {})) for name, base in classes.items()}  # noqa: B023


def main() -> None:
    if sys.argv[1:] == ["plain"]:
        sys.meta_path.insert(0, Plain)
    shown = public()
    classes = {name: one for name, one in shown.items() if isinstance(one, type)}
    facts: dict[str, object] = {name: looks(thing) for name, thing in shown.items()}
    facts |= {f"heir of {name}": what for name, what in heirs(classes).items()}
    facts |= behaviour()
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main()
