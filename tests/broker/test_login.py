"""Logins that fail are slowed down, and connections are counted."""

from __future__ import annotations

import pytest
from tests.support.house import Time
from tests.support.wire import Peer, cheap_hash, running_broker, until

from stompy.errors import ProtocolError
from stompy_broker.auth import Credentials, Principal, Users
from stompy_broker.login import Failures, Logins


class Door:
    """Logins with a time that the test turns; everybody's passcode is ``right``."""

    def __init__(self) -> None:
        self.time = Time()
        hashes = {"ann": cheap_hash("right"), "bob": cheap_hash("right")}
        users = Users(hashes, anonymous=False, beside=lambda work, done: done(work()))
        self.logins = Logins(users, self.time.clock)

    def try_out(self, login: str, passcode: str, host: str) -> list[Principal | None]:
        answers: list[Principal | None] = []
        self.logins.authenticate(Credentials(login, passcode, host), answers.append)
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
    door.time.advance(4)
    assert answer == [Principal("ann")]
    assert door.try_out("ann", "right", "10.0.0.1") == [Principal("ann")]
    assert door.try_out("bob", "right", "10.0.0.2") == [Principal("bob")]


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
