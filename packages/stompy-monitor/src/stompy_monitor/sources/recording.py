"""A feed in a file, and back.

The file is one zlib stream of JSON lines. The first says what it is; each other one is a message
of an admin topic, in which rows that are known carry their changed values only. Every five minutes
a *key frame* repeats everything, so that a reader can begin there. Each tick is flushed: what a
crash leaves behind plays up to the cut. Bodies and secrets never come here.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from stompy.admin import KEYS, Kind
from stompy_monitor.model.row_set import Envelope

FORMAT = 1
KEY_FRAME_MS = 300_000
_CHUNK = 1 << 12
_EVENT, _HEAD = b'"kind":"event"', 80
"""What an event has near the beginning of its line."""


class NoRecording(ValueError):  # noqa: N818 -- says what the file is not
    """A file that is no recording, or of a later format."""


def _for_its_owner(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


class Recorder:
    """Writes what a feed brings.

    Args:
        path: the file; an older one of that name is replaced.
        about: what stands in the first line: broker, URL, …
        max_bytes: when the file is so large, it becomes ``path.1`` and a new one begins; 0 = never.
    """

    def __init__(self, path: Path, about: Mapping[str, object], max_bytes: int = 0) -> None:
        self.path = path
        self.about = dict(about)
        self.max_bytes = max_bytes
        self.written = 0
        self._rows: dict[str, dict[str, list[Any]]] = {}
        self._heads: dict[str, dict[str, Any]] = {}
        self._begin()

    def _begin(self) -> None:
        # It holds what the broker shows to operators only.
        self._file: BinaryIO = os.fdopen(_for_its_owner(self.path), "wb")
        self._zlib = zlib.compressobj(6)
        self.written = 0
        self._key_at: float | None = None
        self._write({"stompy-monitor": FORMAT, **self.about})

    def add(self, envelope: Envelope) -> None:
        """Write one message, after the model has made it safe."""
        at = _at(envelope)
        if self._key_at is None:
            self._key_at = at
        kind = str(envelope.get("kind"))
        if kind == "event" or not isinstance(envelope.get("fields"), list):
            self._write({"t": at, "m": envelope})
        else:
            self._write({"t": at, "m": self._shortened(kind, envelope)})
        if kind == "broker":
            self._heads[kind] = dict(envelope)
            self._flush()
            self._between_ticks(at)

    def close(self) -> None:
        """Finish the file."""
        self._file.write(self._zlib.flush())
        self._file.close()

    def _shortened(self, kind: str, envelope: Envelope) -> dict[str, Any]:
        head: dict[str, Any] = {name: value for name, value in envelope.items() if name != "data"}
        if head.get("base") is None and head.get("page", 1) == 1:
            self._rows[kind] = {}
        known = self._rows.setdefault(kind, {})
        for key in head.get("removed") or ():
            known.pop(str(key), None)
        key_at = head["fields"].index(KEYS[Kind(kind)])
        rows = []
        data: Any = envelope.get("data")
        for values in data:
            key = str(values[key_at])
            rows.append(_difference(key, known.get(key), values))
            known[key] = values
        self._heads[kind] = head
        return {**head, "rows": rows}

    def _between_ticks(self, at: float) -> None:
        if self.max_bytes and self.written > self.max_bytes:
            self.close()
            self.path.replace(self.path.with_name(self.path.name + ".1"))
            self._begin()
            self._key_frame(at)
        elif self._key_at is not None and at - self._key_at >= KEY_FRAME_MS:
            self._key_frame(at)

    def _key_frame(self, at: float) -> None:
        everything = [self._heads["broker"]]
        for kind, rows in self._rows.items():
            head = {**self._heads[kind], "page": 1, "pages": 1, "base": None, "removed": []}
            everything.append({**head, "rows": list(rows.values())})
        self._key_at = at
        self._write({"t": at, "key": everything})
        self._flush()

    def _write(self, record: Mapping[str, object]) -> None:
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        self._put(self._zlib.compress(line))

    def _flush(self) -> None:
        self._put(self._zlib.flush(zlib.Z_SYNC_FLUSH))
        self._file.flush()

    def _put(self, data: bytes) -> None:
        self.written += len(data)
        self._file.write(data)


def _difference(key: str, before: list[Any] | None, now: list[Any]) -> object:
    """The row, or its key with the places and values that changed, when that is shorter."""
    if before is None or len(before) != len(now):
        return now
    changes = {
        str(n): new for n, (old, new) in enumerate(zip(before, now, strict=True)) if old != new
    }
    return now if len(changes) * 2 > len(now) else {"k": key, **changes}


def _at(envelope: Envelope) -> float:
    at = envelope.get("at")
    if at is None:
        data = envelope.get("data")
        at = data.get("at") if isinstance(data, dict) else None
    return at if isinstance(at, (int, float)) else 0


@dataclass
class _Mark:
    """A place in the file at which reading may begin: the beginning, or before a key frame."""

    at: float
    position: int
    inflate: Any
    rest: bytes


class Recording:
    """A file that a `Recorder` wrote.

    Args:
        path: the file.

    Attributes:
        about: its first line.
        begin, end: of what it holds, in epoch milliseconds.

    Raises:
        NoRecording: it is none.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.about: dict[str, object] = {}
        self.begin: float = 0
        self.end: float = 0
        self._marks: list[_Mark] = []
        self._scan()

    def moment(self, time_of_day: str) -> float:
        """When it first shows a time of day, such as ``03:10:00``.

        Raises:
            ValueError: that is none.
        """
        begin = datetime.fromtimestamp(self.begin / 1000)
        time = datetime.strptime(time_of_day, "%H:%M:%S").time()
        moment = datetime.combine(begin.date(), time).timestamp() * 1000
        return moment if moment >= self.begin - 1000 else moment + 86_400_000

    def records(self, at: float) -> Iterator[tuple[float, list[dict[str, Any]]]]:
        """Times and envelopes, from the last key frame before ``at`` on."""
        mark = max(
            (m for m in self._marks if m.at <= at), key=lambda m: m.at, default=self._marks[0]
        )
        rows: dict[str, dict[str, list[Any]]] = {}
        for line in self._lines(mark):
            record = json.loads(line)
            if "t" not in record:
                continue
            shortened = record.get("key") or [record["m"]]
            yield record["t"], [_restored(envelope, rows) for envelope in shortened]

    def _lines(self, mark: _Mark) -> Iterator[bytes]:
        inflate, rest = mark.inflate.copy(), mark.rest
        with self.path.open("rb") as file:
            file.seek(mark.position)
            while chunk := file.read(_CHUNK):
                *lines, rest = (rest + _inflated(inflate, chunk)).split(b"\n")
                yield from lines

    def _scan(self) -> None:
        inflate = zlib.decompressobj()
        rest = b""
        position = 0
        self._marks.append(_Mark(float("-inf"), 0, inflate.copy(), b""))
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                before = _Mark(0, position, inflate.copy(), rest)
                position += len(chunk)
                *lines, rest = (rest + _inflated(inflate, chunk)).split(b"\n")
                for line in lines:
                    self._learn(line, before)
        if not self.about:
            raise NoRecording(f"{self.path} is not a recording of stompy-monitor")
        self.begin = self.begin or self.end

    def _learn(self, line: bytes, before: _Mark) -> None:
        if not self.about:
            self.about = _first_line(line, self.path)
            return
        at = float(line[len(b'{"t":') : line.index(b",")])
        self.end = max(self.end, at)
        # What happened before is repeated by the broker; what it is like, is known from here on.
        if not self.begin and _EVENT not in line[:_HEAD]:
            self.begin = at
        if (
            line.startswith(b',"key"', line.index(b","))
            and self._marks[-1].position < before.position
        ):
            # Reading begins at the chunk, a little before the key frame.
            self._marks.append(_Mark(at, before.position, before.inflate, before.rest))


def _first_line(line: bytes, path: Path) -> dict[str, object]:
    try:
        about = json.loads(line)
    except ValueError:
        about = None
    if not isinstance(about, dict) or "stompy-monitor" not in about:
        raise NoRecording(f"{path} is not a recording of stompy-monitor")
    if about["stompy-monitor"] != FORMAT:
        raise NoRecording(f"{path} is of format {about['stompy-monitor']}; {FORMAT} is known here")
    return about


def _inflated(inflate: Any, chunk: bytes) -> bytes:
    try:
        data: bytes = inflate.decompress(chunk)
    except zlib.error:
        return b""  # damaged: it plays up to here
    return data


def _restored(envelope: dict[str, Any], rows: dict[str, dict[str, list[Any]]]) -> dict[str, Any]:
    """The envelope with whole rows again."""
    if "rows" not in envelope:
        return envelope
    kind = envelope["kind"]
    if envelope.get("base") is None and envelope.get("page", 1) == 1:
        rows[kind] = {}
    known = rows.setdefault(kind, {})
    key_at = envelope["fields"].index(KEYS[Kind(kind)])
    data = []
    for row in envelope["rows"]:
        if isinstance(row, dict):
            changes = dict(row)
            key = changes.pop("k")
            values = list(known.get(key, ()))
            if not values:
                continue  # before the key frame at which reading began
            for where, value in changes.items():
                values[int(where)] = value
        else:
            values = row
        known[str(values[key_at])] = values
        data.append(list(values))
    restored = {name: value for name, value in envelope.items() if name != "rows"}
    return {**restored, "data": data}
