"""Logins."""

from __future__ import annotations

import pytest
from tests.support.wire import cheap_hash

from stompy_broker.auth import (
    ANONYMOUS,
    Anyone,
    Credentials,
    Principal,
    Role,
    Users,
    hash_password,
    is_hash,
    matches,
)


def ask(users: Users | Anyone, login: str | None, passcode: str | None) -> Principal | None:
    answers: list[Principal | None] = []
    users.authenticate(Credentials(login, passcode), answers.append)
    return answers[0]


@pytest.fixture(scope="module")
def users() -> Users:
    return Users(
        {"alice": hash_password("wonder")}, anonymous=False, beside=lambda work, done: done(work())
    )


def test_anyone() -> None:
    assert ask(Anyone(), None, None) == Principal(ANONYMOUS)
    assert ask(Anyone(), "bob", "x") == Principal("bob")


@pytest.mark.parametrize(
    ("login", "passcode", "welcome"),
    [
        ("alice", "wonder", True),
        ("alice", "Wonder", False),
        ("alice", None, False),
        ("bob", "wonder", False),
        ("bob", "no such user", False),
        (None, None, False),
        ("", "", False),
    ],
)
def test_users(users: Users, login: str | None, passcode: str | None, welcome: bool) -> None:
    assert ask(users, login, passcode) == (Principal("alice") if welcome else None)


def test_anonymous_beside_users_only_without_login() -> None:
    users = Users({}, anonymous=True, beside=lambda work, done: done(work()))
    assert ask(users, None, None) == Principal(ANONYMOUS)
    assert ask(users, "alice", "x") is None


def test_unknown_names_cost_a_check_too(users: Users) -> None:
    asked: list[object] = []
    slow = Users({}, anonymous=False, beside=lambda work, done: asked.append(work))
    slow.authenticate(Credentials("nobody", "x"), lambda principal: None)
    assert len(asked) == 1


def test_hashes_are_salted() -> None:
    first, second = hash_password("x"), hash_password("x")
    assert first != second
    assert matches(first, "x")
    assert matches(second, "x")
    assert is_hash(first)
    assert not is_hash("x")
    assert not matches("x", "x")


def test_a_role_includes_those_before_it() -> None:
    assert [role for role in Role if Role.OPERATOR.includes(role)] == [
        Role.NONE,
        Role.MONITOR,
        Role.OPERATOR,
    ]


def test_a_name_brings_its_role() -> None:
    roles = {"alice": Role.OPERATOR, ANONYMOUS: Role.MONITOR}
    users = Users(
        {"alice": hash_password("wonder")},
        anonymous=True,
        role_of=lambda name: roles[name],
        beside=lambda work, done: done(work()),
    )
    assert ask(users, "alice", "wonder") == Principal("alice", Role.OPERATOR)
    assert ask(users, None, None) == Principal(ANONYMOUS, Role.MONITOR)
    assert ask(Anyone(Role.ADMIN), "bob", None) == Principal("bob", Role.ADMIN)


def test_a_certificate_is_a_login_unless_another_one_is_named(users: Users) -> None:
    def enter(login: str | None, passcode: str | None) -> Principal | None:
        answers: list[Principal | None] = []
        credentials = Credentials(login, passcode, "127.0.0.1", "carol")
        users.authenticate(credentials, answers.append)
        return answers[0]

    assert enter(None, None) == enter("carol", None) == Principal("carol")
    assert enter("alice", "wonder") == Principal("alice")
    assert enter("alice", None) is None
    assert enter("carol", "guess") is None


def test_users_may_be_renewed() -> None:
    users = Users(
        {"alice": cheap_hash("a")}, anonymous=False, beside=lambda work, done: done(work())
    )
    assert users.renew({"bob": cheap_hash("b")}) == {"alice"}
    assert users.renew({"bob": cheap_hash("b")}) == {"bob"}
    assert ask(users, "alice", "a") is None
    assert ask(users, "bob", "b") == Principal("bob")


def test_a_passcode_is_not_shown() -> None:
    assert "s3cret" not in repr(Credentials("ann", "s3cret"))
