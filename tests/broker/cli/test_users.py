"""The commands that edit a users file."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from stompy_broker.cli import main
from stompy_broker.cli import users as cli_users
from stompy_broker.security import auth
from stompy_broker.security.auth import matches
from stompy_broker.security.users import read_users


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users"


def user(*words: str, text: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(main, ["user", *words], input=text)
    return result.exit_code, result.output


def test_users_are_edited(file: Path) -> None:
    name = str(file)
    assert user("add", name, "ann", text="first\n") == (0, f"{file}: ann added\n")
    assert user("add", name, "bob", text="second") == (0, f"{file}: bob added\n")
    assert user("list", name) == (0, "ann\nbob\n")
    assert user("set-password", name, "ann", text="third\n")[0] == 0
    users = read_users(file)
    assert matches(users["ann"], "third")
    assert matches(users["bob"], "second")
    assert user("delete", name, "ann")[0] == 0
    assert user("list", name) == (0, "bob\n")


@pytest.mark.parametrize(
    ("words", "text", "reason"),
    [
        (("add", "ann"), "x\n", "there already"),
        (("add", "eve"), "\n", "an empty password is none"),
        (("add", "a:b"), "x\n", "cannot be a login"),
        (("set-password", "eve"), "x\n", "there is no 'eve'"),
        (("delete", "eve"), "", "there is no 'eve'"),
    ],
)
def test_what_cannot_be_done_changes_nothing(
    file: Path, words: tuple[str, str], text: str, reason: str
) -> None:
    user("add", str(file), "ann", text="first\n")
    before = file.read_text()
    code, output = user(words[0], str(file), words[1], text=text)
    assert code == 1
    assert reason in output
    assert file.read_text() == before


def test_a_file_that_cannot_be_read(file: Path) -> None:
    assert user("list", str(file))[0] == 1
    file.write_text("rubbish\n")
    code, output = user("add", str(file), "ann", text="x\n")
    assert (code, "line 1" in output) == (1, True)


def test_a_password_is_asked_for_twice_at_a_terminal(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_users, "_at_a_terminal", lambda: True)
    code, output = user("add", str(file), "ann", text="one\ntwo\nthree\nthree\n")
    assert code == 0
    assert "three" not in output
    assert auth.matches(read_users(file)["ann"], "three")
