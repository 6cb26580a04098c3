"""Frames on disk while nobody fetches them: first in, first out, and nothing is left behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from stompy.protocol.frame import STOMPFrame
from stompy.sync.message import Message
from stompy.transport import spill
from stompy.transport.spill import Spill


def frames(*bodies: str) -> list[STOMPFrame]:
    return [STOMPFrame("MESSAGE", body, {"message-id": body}) for body in bodies]


def bodies(taken: list[STOMPFrame]) -> list[str]:
    return [frame.text for frame in taken]


def test_what_one_read_brought_comes_back_together_and_in_order() -> None:
    there = Spill()
    there.put(frames("1", "2"))
    there.put(frames("3"))
    assert len(there) == 3
    assert bodies(there.take()) == ["1", "2"]
    there.put(frames("4"))
    assert [bodies(chunk) for chunk in there.drain()] == [["3"], ["4"]]
    assert len(there) == 0


def test_draining_ends_although_more_is_put_meanwhile() -> None:
    there = Spill()
    there.put(frames("1"))
    for chunk in there.drain():
        there.put(chunk)
    assert bodies(there.take()) == ["1"]


def test_files_have_no_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(spill.tempfile, "tempdir", str(tmp_path))
    there = Spill()
    there.put(frames("x" * 1000))
    assert list(tmp_path.iterdir()) == []
    assert bodies(there.take()) == ["x" * 1000]


def test_beyond_its_size_there_is_no_room_and_nothing_is_lost() -> None:
    there = Spill(most=1)
    there.put(frames("on disk"))
    assert not there.has_room
    there.put(frames("in memory"))
    assert bodies(there.take()) == ["on disk"]
    assert there.has_room
    assert bodies(there.take()) == ["in memory"]


def test_a_full_disk_is_told_once_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    there = Spill()
    there.put(frames("1"))
    monkeypatch.setattr(spill.os, "pwrite", refuse)
    there.put(frames("2"))
    there.put(frames("3"))
    assert not there.has_room
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert [bodies(chunk) for chunk in there.drain()] == [["1"], ["2"], ["3"]]
    assert there.has_room, "it is tried again when everything was fetched"


def test_a_new_file_is_begun_when_one_is_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "SEGMENT", 1)
    there = Spill()
    for number in range(5):
        there.put(frames(str(number)))
    assert [bodies(chunk) for chunk in there.drain()] == [[str(number)] for number in range(5)]


def test_clearing_forgets_everything() -> None:
    there = Spill(most=1)
    there.put(frames("1"))
    there.clear()
    assert len(there) == 0
    assert there.has_room


def test_what_messages_belong_to_is_not_written() -> None:
    class Unwritable:
        def __reduce__(self) -> str:
            raise AssertionError("this is no part of a message")

    messages = [Message("MESSAGE", body) for body in ("1", "2")]
    settler = Unwritable()
    for message in messages:
        message._settler = settler  # type: ignore[assignment]
    there = Spill()
    there.put(messages)
    back = there.take()
    assert bodies(back) == ["1", "2"]
    assert all(one._settler is settler for one in back)  # type: ignore[attr-defined]
