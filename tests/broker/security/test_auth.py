"""Logins."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
from tests.support.wire import cheap_hash

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.security.auth import (
    ANONYMOUS,
    Anyone,
    Credentials,
    PasscodeCache,
    Principal,
    Role,
    Users,
    Verdict,
    hash_password,
    is_hash,
    matches,
)


def ask(users: Users | Anyone, login: str | None, passcode: str | None) -> Principal | None:
    return let_in(users, Credentials(login, passcode))


def let_in(users: Users | Anyone, credentials: Credentials) -> Principal | None:
    """Who it is, or None."""
    answers: list[Verdict] = []
    verdict = users.decide_at_once(credentials)
    if verdict is None:
        users.check(credentials, answers.append)
        (verdict,) = answers
    return verdict if isinstance(verdict, Principal) else None


@pytest.fixture(scope="module")
def users() -> Users:
    return Users(
        {"alice": hash_password("wonder")},
        anonymous=False,
        run_in_thread=lambda work, done: done(work()),
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
    users = Users({}, anonymous=True, run_in_thread=lambda work, done: done(work()))
    assert ask(users, None, None) == Principal(ANONYMOUS)
    assert ask(users, "alice", "x") is None


def test_unknown_names_cost_a_check_too() -> None:
    compared: list[str] = []
    hashes = {f"user{number}": cheap_hash("x") for number in range(4)}

    def look(work: Callable[[], bool | None], done: Callable[[bool | None], None]) -> None:
        cells = inspect.getclosurevars(work).nonlocals  # type: ignore[arg-type]
        compared.append(cells["compared"])
        done(work())

    users = Users(hashes, anonymous=False, run_in_thread=look)
    for number in range(40):
        assert ask(users, f"nobody{number}", "x") is None
        assert ask(users, f"nobody{number}", "x") is None
    # What they are compared with costs what the others cost, and is the same for one name.
    assert set(compared) == set(hashes.values())
    assert compared[::2] == compared[1::2]


def test_nobody_is_known_where_there_is_nobody() -> None:
    asked: list[object] = []
    slow = Users({}, anonymous=False, run_in_thread=lambda work, done: asked.append(work))
    slow.check(Credentials("nobody", "x"), lambda verdict: None)
    assert len(asked) == 1


def test_a_passcode_may_be_any_octets() -> None:
    users = Users(
        {"ann": hash_password("caf\udce9")},
        anonymous=False,
        run_in_thread=lambda work, done: done(work()),
    )
    assert ask(users, "ann", "caf\udce9") == Principal("ann")
    assert ask(users, "a\udce9", "\udce9") is None


def test_a_check_that_cannot_be_made_is_not_a_wrong_passcode() -> None:
    users = Users({}, anonymous=False, run_in_thread=lambda work, done: done(None))
    answers: list[Verdict] = []
    users.check(Credentials("ann", "x"), answers.append)
    (verdict,) = answers
    assert isinstance(verdict, ProtocolError)
    assert verdict.error_code is ErrorCode.LIMIT_EXCEEDED


class Rememberer:
    """Users who are remembered, with a time that the test turns, and checks that are counted."""

    def __init__(self, seconds: float = 600.0) -> None:
        self.now = 0.0
        self.checks = 0
        cache = PasscodeCache(seconds, lambda: self.now)
        hashes = {"ann": cheap_hash("right"), "bob": cheap_hash("right")}
        self.users = Users(hashes, anonymous=False, run_in_thread=self._count, cache=cache)

    def _count(self, work: Callable[[], bool | None], done: Callable[[bool | None], None]) -> None:
        self.checks += 1
        done(work())

    def ask(self, login: str, passcode: str) -> tuple[bool, int]:
        """Whether it is let in, and how many checks that took."""
        before = self.checks
        welcome = ask(self.users, login, passcode) is not None
        return welcome, self.checks - before


def test_a_right_passcode_is_remembered_for_a_while() -> None:
    there = Rememberer()
    assert there.ask("ann", "right") == (True, 1)
    assert there.ask("ann", "right") == (True, 0)
    assert there.ask("bob", "right") == (True, 1)
    there.now = 599.0
    assert there.ask("ann", "right") == (True, 0)
    there.now = 600.0
    assert there.ask("ann", "right") == (True, 1)


def test_a_wrong_one_never_is_and_has_the_right_one_forgotten() -> None:
    there = Rememberer()
    assert there.ask("ann", "wrong") == there.ask("ann", "wrong") == (False, 1)
    there.ask("ann", "right")
    there.ask("bob", "right")
    assert there.ask("ann", "wrong") == (False, 1)
    assert there.ask("ann", "right") == (True, 1)
    assert there.ask("bob", "right") == (True, 0)


def test_nothing_is_remembered_when_the_users_change_or_if_so_wanted() -> None:
    there = Rememberer()
    there.ask("ann", "right")
    there.users.renew({"ann": cheap_hash("right")})
    assert there.ask("ann", "right") == (True, 1)
    there.users.renew({})
    assert there.ask("ann", "right") == (False, 1)
    off = Rememberer(0)
    assert off.ask("ann", "right") == off.ask("ann", "right") == (True, 1)


def test_login_and_passcode_are_not_run_together() -> None:
    cache = PasscodeCache(600, lambda: 0.0)
    cache.add("ann", "right")
    assert cache.has("ann", "right")
    assert not cache.has("annr", "ight")
    assert not cache.has("ann", "righ")


def test_who_is_withdrawn_during_the_check_does_not_come_in() -> None:
    waiting: list[Callable[[], None]] = []
    users = Users(
        {"ann": cheap_hash("right")},
        anonymous=False,
        run_in_thread=lambda work, done: waiting.append(lambda: done(work())),
        cache=PasscodeCache(600, lambda: 0.0),
    )
    answers: list[Verdict] = []
    users.check(Credentials("ann", "right"), answers.append)
    users.renew({"ann": cheap_hash("another")})
    waiting[0]()
    assert isinstance(answers[0], ProtocolError)
    assert not users._cache.has("ann", "right")


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
        run_in_thread=lambda work, done: done(work()),
    )
    assert ask(users, "alice", "wonder") == Principal("alice", Role.OPERATOR)
    assert ask(users, None, None) == Principal(ANONYMOUS, Role.MONITOR)
    assert ask(Anyone(Role.ADMIN), "bob", None) == Principal("bob", Role.ADMIN)


def test_a_certificate_is_a_login_unless_another_one_is_named(users: Users) -> None:
    def enter(login: str | None, passcode: str | None) -> Principal | None:
        return let_in(users, Credentials(login, passcode, "127.0.0.1", "carol"))

    assert enter(None, None) == enter("carol", None) == Principal("carol")
    assert enter("alice", "wonder") == Principal("alice")
    assert enter("alice", None) is None
    assert enter("carol", "guess") is None


def test_users_may_be_renewed() -> None:
    users = Users(
        {"alice": cheap_hash("a")}, anonymous=False, run_in_thread=lambda work, done: done(work())
    )
    assert users.renew({"bob": cheap_hash("b")}) == {"alice"}
    assert users.renew({"bob": cheap_hash("b")}) == {"bob"}
    assert ask(users, "alice", "a") is None
    assert ask(users, "bob", "b") == Principal("bob")


def test_a_passcode_is_not_shown() -> None:
    assert "s3cret" not in repr(Credentials("ann", "s3cret"))
