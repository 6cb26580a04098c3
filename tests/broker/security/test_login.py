"""Logins that fail are slowed down, and connections are counted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import pytest
from tests.support.house import Time
from tests.support.wire import Peer, cheap_hash, fast_config, running_broker, until

import stompy_broker
from stompy.errors import ProtocolError
from stompy_broker.security.auth import Credentials, Principal, Users, Verdict, matches
from stompy_broker.security.login import Failures, Logins


class Door:
    """Logins with a time that the test turns; everybody's passcode is ``right``."""

    def __init__(self) -> None:
        self.time = Time()
        self.checks = 0
        self._held: deque[Callable[[], None]] | None = None
        hashes = {"ann": cheap_hash("right"), "bob": cheap_hash("right")}
        users = Users(hashes, anonymous=False, run_in_thread=self._count)
        self.logins = Logins(users, self.time.clock, checks=2)

    def _count(self, work: Callable[[], bool | None], done: Callable[[bool | None], None]) -> None:
        self.checks += 1
        if self._held is None:
            done(work())
        else:
            self._held.append(lambda: done(work()))

    def hold(self) -> None:
        """No check ends any more by itself."""
        self._held = deque()

    def let_go(self, count: int) -> None:
        """So many checks end."""
        for _ in range(count):
            if self._held:
                self._held.popleft()()

    def try_out(self, login: str | None, passcode: str | None, host: str) -> list[Principal | None]:
        answers: list[Principal | None] = []

        def take(verdict: Verdict) -> None:
            answers.append(verdict if isinstance(verdict, Principal) else None)

        self.logins.authenticate(Credentials(login, passcode, host), take)
        return answers


def test_a_few_mistakes_cost_nothing_and_more_cost_more() -> None:
    door = Door()
    waits = []
    for number in range(9):
        answer = door.try_out("ann", "wrong", f"10.0.0.{number}")
        began = door.time.now
        while not answer:
            door.time.advance(0.25)
        assert answer == [None]
        waits.append(door.time.now - began)
    assert waits == [0, 0, 0, 0.25, 0.5, 1, 2, 4, 4]


def test_the_right_passcode_does_not_wait_for_what_others_tried() -> None:
    door = Door()
    for number in range(9):
        door.try_out("ann", "wrong", f"10.0.0.{number}")
    assert door.try_out("ann", "right", "10.1.1.1") == [Principal("ann")]


def test_an_address_waits_whatever_it_tries() -> None:
    door = Door()
    for number in range(4):
        door.try_out(f"nobody{number}", "wrong", "10.0.0.1")
    answer = door.try_out("ann", "right", "10.0.0.1")
    assert answer == []
    door.time.advance(0.25)  # after the third failure, and 0.5 after the fourth
    assert answer == []
    door.time.advance(0.5)
    assert answer == [Principal("ann")]
    assert door.try_out("ann", "right", "10.0.0.1") == [Principal("ann")]
    assert door.try_out("bob", "right", "10.0.0.2") == [Principal("bob")]


def guesses_in(door: Door, seconds: float, hosts: Sequence[str], login: str = "ann") -> int:
    """How many guesses are looked at, if all of these addresses always try several."""
    door.checks = 0
    for step in range(int(seconds * 4)):
        for number, host in enumerate(hosts):
            for again in range(2):
                door.try_out(login, f"guess {step} {number} {again}", host)
        door.time.advance(0.25)
    return door.checks


def test_guessing_side_by_side_is_as_slow_as_one_by_one() -> None:
    door = Door()
    for number in range(500):
        door.try_out("ann", f"guess {number}", "10.0.0.1")
    assert door.checks == 3
    assert guesses_in(door, 25, ["10.0.0.1"]) <= 12
    # Nor does it help to come in with a login of one's own between.
    door.try_out("bob", "right", "10.0.0.2")
    for _ in range(20):
        door.try_out("ann", "guess", "10.0.0.2")
        door.try_out("bob", "right", "10.0.0.2")
    assert guesses_in(door, 25, ["10.0.0.2"]) <= 12


def test_guessing_from_many_addresses_is_slow_for_each_of_them() -> None:
    door = Door()
    hosts = [f"10.0.1.{number}" for number in range(50)]
    assert guesses_in(door, 25, hosts) <= 50 * (25 // 4 + 3)
    # Whoever has not failed is not kept waiting by all that.
    assert door.try_out("ann", "right", "10.1.1.1") == [Principal("ann")]


def test_who_is_known_or_not_guessed_at_goes_before_a_crowd() -> None:
    door = Door()
    assert door.try_out("ann", "right", "10.1.1.1") == [Principal("ann")]
    door.hold()
    for number in range(2000):
        door.try_out("ann", "wrong", f"10.0.{number // 250}.{number % 250}")
    known = door.try_out("ann", "right", "10.1.1.1")
    other = door.try_out("bob", "right", "10.1.1.2")
    fresh = door.try_out("ann", "right", "10.1.1.3")
    door.let_go(8)
    assert (known, other, fresh) == ([Principal("ann")], [Principal("bob")], [])
    door.let_go(2000)
    assert fresh == [Principal("ann")]


def test_a_network_of_ipv6_is_one_address() -> None:
    door = Door()
    for number in range(500):
        door.try_out("ann", f"guess {number}", f"2001:db8::{number:x}")
    assert door.checks == 3
    assert door.try_out("ann", "right", "2001:db8:0:1::1") == [Principal("ann")]
    mapped = Door()
    for number in range(10):
        mapped.try_out("ann", f"guess {number}", "10.0.0.1" if number % 2 else "::ffff:10.0.0.1")
    assert mapped.checks == 3
    assert mapped.try_out("ann", "right", "fe80::1%eth0") == [Principal("ann")]


def test_who_was_let_in_is_not_held_up_by_others_of_its_address() -> None:
    door = Door()
    assert door.try_out("ann", "right", "10.0.0.1") == [Principal("ann")]
    for number in range(20):
        door.try_out(f"guess{number}", "wrong", "10.0.0.1")
    assert door.try_out("ann", "right", "10.0.0.1") == [Principal("ann")]
    assert door.try_out("bob", "right", "10.0.0.1") == []


def test_without_login_nothing_is_checked_and_nothing_counts() -> None:
    door = Door()
    for _ in range(10):
        assert door.try_out(None, None, "10.0.0.1") == [None]
    assert door.checks == 0
    assert door.try_out("ann", "right", "10.0.0.1") == [Principal("ann")]


def test_tables_are_bounded_and_hold_no_names() -> None:
    door = Door()
    for number in range(20):
        door.try_out("s3cret " * 2000, "x", f"10.0.0.{number}")
    tables = (door.logins._by_lane, door.logins._by_name)
    assert all("s3cret" not in key and len(key) < 200 for table in tables for key in table._rows)


def test_failures_are_forgotten() -> None:
    now = [0.0]
    failures = Failures(lambda: now[0])
    for _ in range(20):
        failures.note("x")
    assert failures.wait("x") == 4.0
    now[0] = 301.0
    assert failures.wait("x") == 0.0
    for number in range(10_001):
        failures.note(str(number))
    assert failures.count("0") == 0
    assert failures.count("1") == 1


def test_connections_of_a_user_are_counted() -> None:
    door = Door()
    logins = Logins(door.logins._authenticator, door.time.clock, connections_per_user=2)
    logins.enter(Principal("ann"))
    logins.enter(Principal("ann"))
    logins.enter(Principal("bob"))
    with pytest.raises(ProtocolError, match="'ann' has 2 connections"):
        logins.enter(Principal("ann"))
    logins.leave(Principal("ann"))
    logins.enter(Principal("ann"))


def test_too_many_of_a_user_or_an_address() -> None:
    with running_broker(limits={"connections_per_user": 1, "connections_per_address": 2}) as broker:
        with Peer.open(broker.port, "1.2", "login:ann", "passcode:x") as ann:
            with Peer(broker.port) as again:
                again.send("CONNECT\naccept-version:1.2\nlogin:ann\npasscode:x\n\n\0")
                again.expect_error("limit-exceeded")
            until(lambda: broker.connections() == 1, "one to go")
            with Peer.open(broker.port, "1.2", "login:bob", "passcode:x") as bob:
                with Peer(broker.port) as third:
                    third.send("CONNECT\naccept-version:1.2\n\n\0")
                    assert b"address" in third.expect_error("limit-exceeded").body
                bob.sync()
            ann.sync()
        until(lambda: broker.connections() == 0, "everybody to go")
        Peer.open(broker.port, "1.2", "login:ann", "passcode:x").close()


# -- with a broker ----------------------------------------------------------------------------


class Checks:
    """Checks of passcodes that do not end before the test wants them to."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.begun: list[str] = []

    def matches(self, password_hash: str, password: str) -> bool:
        """Instead of that of the broker."""
        self.begun.append(password)
        assert self.go_on.wait(30)
        return matches(password_hash, password)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Checks]:
    """Checks in the test's hand."""
    checks = Checks()
    monkeypatch.setattr("stompy_broker.security.auth.matches", checks.matches)
    yield checks
    checks.go_on.set()


USERS = {"ann": cheap_hash("right")}


def knock(port: int, login: str, passcode: str) -> Peer:
    """A client that has sent CONNECT."""
    peer = Peer(port)
    peer.send(f"CONNECT\naccept-version:1.2\nhost:x\nlogin:{login}\npasscode:{passcode}\n\n\0")
    return peer


def test_the_time_for_a_login_is_the_clients(checks: Checks) -> None:
    with (
        running_broker(users=USERS, times={"login": 0.2}) as broker,
        Peer(broker.port) as slow,
        knock(broker.port, "ann", "right") as ann,
    ):
        until(lambda: checks.begun, "the check to begin")
        slow.expect_error("login-timeout")
        assert not ann.hears(0.0)
        checks.go_on.set()
        ann.expect("CONNECTED")


def test_many_connections_of_one_login_take_one_check(checks: Checks) -> None:
    with running_broker(users=USERS) as broker:
        peers = [knock(broker.port, "ann", "right") for _ in range(60)]
        until(lambda: checks.begun, "the check to begin")
        checks.go_on.set()
        for peer in peers:
            peer.expect("CONNECTED")
            peer.close()
        # Those that came while the first was checked may have asked once more.
        assert len(checks.begun) <= 2


def test_who_has_gone_is_not_checked_and_takes_no_place(checks: Checks) -> None:
    with running_broker(users=USERS) as broker, knock(broker.port, "ann", "right") as ann:
        until(lambda: checks.begun, "a check to begin")
        for number in range(40):
            knock(broker.port, f"flood{number}", "wrong").close()
        with Peer(broker.port) as last:  # whoever came before has been let in by now
            last.send("NONSENSE\n\n\0")
            last.expect_error("unknown-command")
        until(lambda: broker.connections() == 1, "the flood to be forgotten", 30)
        with knock(broker.port, "ann", "wrong") as wrong:
            checks.go_on.set()
            ann.expect("CONNECTED")
            wrong.expect_error("authentication-failed")
        # One of them may have been looked at before its end was seen.
        assert checks.begun in (["right", "wrong"], ["right", "wrong", "wrong"])


def test_the_broker_stops_without_looking_at_those_who_wait(checks: Checks) -> None:
    with stompy_broker.running(fast_config(users=USERS)) as broker:
        peers = [knock(broker.port, "ann", f"guess {number}") for number in range(20)]
        until(lambda: checks.begun, "a check to begin")
        stopping = threading.Thread(target=broker.stop)
        stopping.start()
        for peer in peers:
            peer.expect_error("shutting-down")
            peer.close()
        begun = len(checks.begun)
        checks.go_on.set()
        stopping.join()
        assert len(checks.begun) == begun


def test_what_is_said_to_who_is_turned_away(caplog: pytest.LogCaptureFixture) -> None:
    with running_broker(users=USERS) as broker:
        with Peer(broker.port) as nobody:
            nobody.send("CONNECT\naccept-version:1.2\nhost:x\n\n\0")
            assert b"needs a login" in nobody.expect_error("authentication-failed").body
        with knock(broker.port, "a\\nnn" + "n" * 500, "s3cret") as wrong:
            assert b"login or passcode is wrong" in wrong.expect_error("authentication-failed").body
    lines = [line for line in caplog.messages if "authentication-failed" in line]
    assert "login" in lines[0]
    assert "(login 'a\\\\nnnnn" in lines[1]
    assert all(len(line) < 200 and "\n" not in line and "s3cret" not in line for line in lines)
