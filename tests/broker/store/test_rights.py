"""Who may write to a data directory, and where its files lead."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.house import make_message
from tests.support.storage import Shelf, short_wal

from stompy_broker.store.base import StoreError
from stompy_broker.store.directory import FILE, LOCK, lock_directory
from stompy_broker.store.inspection import inspected


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with short_wal():
        yield


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_everything_is_for_its_owner_alone(tmp_path: Path, umask: int):
    before = os.umask(umask)
    try:
        shelf = Shelf(tmp_path / "deep" / "data")
        shelf.store.append("/queue/q", make_message(1))
        shelf.sync()
    finally:
        os.umask(before)
    assert mode(tmp_path / "deep" / "data") == 0o700
    files = list((tmp_path / "deep" / "data").iterdir())
    assert {file.name for file in files} == {LOCK, FILE, f"{FILE}-wal"}
    assert {mode(file) for file in files} == {0o600}
    shelf.close()


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path, dangling: bool):
    victim = tmp_path / "precious"
    if not dangling:
        victim.write_text("precious")
    data = tmp_path / "data"
    data.mkdir()
    (data / LOCK).symlink_to(victim)
    with pytest.raises(StoreError, match=r"lock is a symbolic link.*remove it"):
        Shelf(data)
    assert victim.exists() != dangling
    assert dangling or victim.read_text() == "precious"


def test_a_second_name_of_another_file_is_not_overwritten(tmp_path: Path):
    victim = tmp_path / "precious"
    victim.write_text("precious")
    data = tmp_path / "data"
    data.mkdir()
    (data / LOCK).hardlink_to(victim)
    with pytest.raises(StoreError, match="no plain file"):
        Shelf(data)
    assert victim.read_text() == "precious"


def test_a_lock_that_is_a_pipe_hangs_nobody(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    os.mkfifo(data / LOCK)
    with pytest.raises(StoreError, match="no plain file"):
        Shelf(data)


@pytest.mark.parametrize("name", [FILE, f"{FILE}-wal"])
def test_a_link_in_place_of_the_database_is_not_followed(tmp_path: Path, name: str):
    victim = tmp_path / "precious"
    victim.write_text("")
    data = tmp_path / "data"
    data.mkdir()
    (data / name).symlink_to(victim)
    with pytest.raises(StoreError, match=r"is a symbolic link.*remove it"):
        Shelf(data)
    assert victim.read_text() == ""
    os.close(lock_directory(data))


def test_a_directory_that_others_may_write_to_is_refused_with_the_remedy(tmp_path: Path):
    data = tmp_path / "data"
    Shelf(data).close()
    data.chmod(0o777)
    with pytest.raises(StoreError, match=r"others may write to it \(mode 0777\).*chmod 700"):
        Shelf(data)
    with pytest.raises(StoreError, match="others may write"), inspected(data):
        pass
    data.chmod(0o755)
    Shelf(data).close()


def test_a_group_that_may_write_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    data = tmp_path / "data"
    Shelf(data).close()
    data.chmod(0o770)
    Shelf(data).close()
    assert caplog.text.count("its group may write to it (mode 0770); chmod g-w it") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_directory_of_somebody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    data = tmp_path / "data"
    Shelf(data).close()
    os.chown(data, 12345, -1)
    Shelf(data).close()
    assert "belongs to user id 12345" in caplog.text
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(StoreError, match=r"belongs to user id 12345, and this is 54321.*chown"):
        Shelf(data)
