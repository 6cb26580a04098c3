"""The users file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tests.support.wire import Peer, cheap_hash, fast_config

import stompy_broker
from stompy_broker.security.users import (
    UsersFileError,
    check_login,
    exposure_warnings,
    read_users,
    write_users,
)

HASH = cheap_hash("a")


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "users"
    users = {"ann": HASH, "bob@example.org": cheap_hash("b"), "Жанна": HASH}
    write_users(file, users)
    assert read_users(file) == users
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["users"]


def test_permissions_that_were_given_stay(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.touch()
    file.chmod(0o640)
    write_users(file, {"ann": HASH})
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_link_to_the_file_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.touch(mode=0o600)
    link.symlink_to(real)
    write_users(link, {"ann": HASH})
    assert link.is_symlink()
    assert read_users(real) == {"ann": HASH}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link", "real"]


def test_a_file_that_everybody_may_read_is_worth_a_word(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.touch()
    for mode, words in ((0o600, 0), (0o640, 0), (0o644, 1), (0o666, 1)):
        file.chmod(mode)
        found = exposure_warnings("tls.key", str(file))
        assert len(found) == words
        assert all(f"mode {mode:04o}" in line and "tls.key" in line for line in found)
    assert exposure_warnings("tls.key", str(tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"ann:{HASH}\nann:{HASH}\n", "line 2: 'ann' stands there twice"),
        ("# fine\n\nann:canary\n", "line 3: 'ann' has no password hash"),
        ("ann\n", "line 1: 'ann' has no password hash"),
        (f":{HASH}\n", "line 1: has no login"),
    ],
    ids=["twice", "no-hash", "no-colon", "no-login"],
)
def test_mistakes_name_file_and_line_and_no_secret(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "users"
    file.write_text(text)
    with pytest.raises(UsersFileError, match=words) as caught:
        read_users(file)
    assert str(file) in str(caught.value)
    assert "canary" not in str(caught.value)


def test_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsersFileError, match="cannot be read"):
        read_users(tmp_path / "none")
    with pytest.raises(UsersFileError, match="cannot be written"):
        write_users(tmp_path / "none" / "users", {})


@pytest.mark.parametrize("login", ["", "a:b", "a\nb", " a", "a ", "#a", "*", "anonymous"])
def test_names_that_cannot_stand_there(login: str) -> None:
    with pytest.raises(UsersFileError, match="cannot be a login"):
        check_login(login)


def opens(port: int, login: str, passcode: str) -> bool:
    with Peer(port) as peer:
        peer.send(f"CONNECT\naccept-version:1.2\nlogin:{login}\npasscode:{passcode}\n\n\0")
        return peer.read().command == "CONNECTED"


def test_a_broker_goes_by_the_file_and_reads_it_again(tmp_path: Path) -> None:
    file = tmp_path / "users"
    write_users(file, {"ann": HASH})
    config = fast_config(security={"users_file": str(file)}, users={"eve": cheap_hash("e")})
    with stompy_broker.running(config) as broker:
        assert opens(broker.port, "ann", "a")
        assert opens(broker.port, "eve", "e")
        with (
            Peer.open(broker.port, "1.2", "login:ann", "passcode:a") as ann,
            Peer.open(broker.port, "1.2", "login:eve", "passcode:e") as eve,
        ):
            write_users(file, {"bob": cheap_hash("b")})
            assert broker.reload() == []
            assert b"withdrawn" in ann.expect_error("authentication-failed").body
            eve.sync()
        assert not opens(broker.port, "ann", "a")
        assert opens(broker.port, "bob", "b")
        file.write_text("rubbish\n")
        (problem,) = broker.reload()
        assert "stay as they were" in problem
        assert opens(broker.port, "bob", "b")


def test_a_broker_does_not_start_without_its_file_or_with_a_login_twice(tmp_path: Path) -> None:
    file = tmp_path / "users"
    config = fast_config(security={"users_file": str(file)}, users={"ann": HASH})
    with pytest.raises(stompy_broker.ConfigError, match=r"security.users_file: .*cannot be read"):
        with stompy_broker.running(config):
            pass
    write_users(file, {"ann": HASH})
    with pytest.raises(stompy_broker.ConfigError, match="'ann' stands in \\[users\\] too"):
        with stompy_broker.running(config):
            pass
