"""Requests that the broker answers itself, with a time that the test turns."""

from __future__ import annotations

import pytest
from tests.support.house import Time, browsed, make_head, make_message, make_router

from stompy.errors import ProtocolError, ReplyStatus
from stompy_broker.destinations.names import parse_destination
from stompy_broker.message import Message
from stompy_broker.routing import requests
from stompy_broker.routing.requests import Wanted, wanted_in
from stompy_broker.routing.router import Router


class Asker:
    """Somebody with a temporary queue, and what came to it."""

    def __init__(self) -> None:
        self.time = Time()
        self.router = make_router(self.time)
        self.requests = self.router.requests
        self.queue = self.router.registry.temporary_queue("/temp-queue/a", "token")

    def ask(self, number: str, milliseconds: int = 1000, copies: int = 1) -> Wanted:
        wanted = Wanted("/reply-queue/token", number, milliseconds)
        self.requests.check(wanted)
        self.requests.begin(wanted, copies)
        return wanted

    def reply(self, number: str, **headers: str) -> None:
        head = make_head("/reply-queue/token", **{"correlation-id": number} | headers)
        self.router.publish(parse_destination("/reply-queue/token"), head, b"reply")

    def give_up(self, number: str, cause: str = "rejected", reason: str = "", **more: str) -> bool:
        told = {
            "reply-to": "/reply-queue/token",
            "reply-timeout": "1000",
            "ttl": "1000",
            "correlation-id": number,
        }
        message = make_message(1, b"", **told | more)
        message.expires = 5
        return self.requests.given_up(message, cause, reason)

    @property
    def got(self) -> list[tuple[str, str]]:
        """What came so far: of which request, and what the broker says if it answers."""
        return [
            (headers.get("correlation-id", ""), headers.get("reply-status", "reply"))
            for headers in (message.head.headers() for message in waiting(self.router))
        ]


def waiting(router: Router) -> list[Message]:
    """What came to the temporary queue."""
    return browsed(router.registry.replies["token"])


def test_a_time_out_is_told_once_and_not_early() -> None:
    asker = Asker()
    asker.ask("1", 1000)
    asker.time.advance(0.999)
    assert asker.got == []
    asker.time.advance(0.001)
    asker.time.advance(10)
    assert asker.got == [("1", "timeout")]
    assert (asker.requests.asked, asker.requests.failed, asker.requests.open) == (1, 1, 0)


def test_a_reply_in_time_and_late_ones() -> None:
    asker = Asker()
    asker.ask("1")
    asker.ask("2")
    asker.reply("1")
    asker.time.advance(1)
    asker.reply("2")
    asker.reply("2")
    asker.reply("1")  # nobody said that it is not wanted
    assert asker.got == [("1", "reply"), ("2", "timeout"), ("1", "reply")]
    assert asker.requests.late == 2


def test_a_number_that_comes_again_is_a_new_request() -> None:
    asker = Asker()
    asker.ask("1")
    asker.time.advance(1)
    asker.ask("1")
    asker.reply("1")
    assert asker.got == [("1", "timeout"), ("1", "reply")]


def test_one_that_is_open_stands_for_another_of_its_number() -> None:
    asker = Asker()
    asker.ask("1", 1000)
    asker.ask("1", 5000)
    asker.time.advance(10)
    assert asker.got == [("1", "timeout")]


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        ("rejected", "rejected"),
        ("delivery_limit", "rejected"),
        ("unwritable", "rejected"),
        ("maxlen", "refused"),
    ],
)
def test_the_last_copy_that_is_given_up_ends_it(cause: str, status: str) -> None:
    asker = Asker()
    asker.ask("1", copies=2)
    assert not asker.give_up("1", cause)
    assert asker.got == []
    assert not asker.give_up("1", cause, "because")
    assert asker.got == [("1", status)]
    headers = waiting(asker.router)[0].head.headers()
    assert (headers["x-death-info"], headers["x-last-death-reason"]) == ("because", cause)
    asker.time.advance(10)
    assert len(asker.got) == 1


def test_what_ends_with_its_request_goes_nowhere_and_says_nothing() -> None:
    asker = Asker()
    asker.ask("1")
    assert asker.give_up("1", "expired")
    assert not asker.give_up("1", "expired", ttl="1")
    assert asker.got == [("1", "expired")]


def test_one_that_ends_at_a_time_of_its_own_is_expired() -> None:
    asker = Asker()
    asker.ask("1")
    assert not asker.give_up("1", "expired", expires="5")
    assert asker.got == [("1", "expired")]


def test_a_message_that_is_no_request_is_nobodys() -> None:
    asker = Asker()
    asker.ask("1")
    for headers in ({"reply-timeout": "0"}, {"reply-timeout": "x"}, {"reply-to": "/topic/x"}):
        assert not asker.give_up("1", **headers)
    assert not asker.requests.given_up(make_message(1), "rejected", "")
    assert asker.got == []
    assert wanted_in({"reply-to": "queue://a", "reply-timeout": "7"}) == Wanted("/queue/a", "", 7)
    assert wanted_in({"reply-to": "/nonsense/", "reply-timeout": "7"}) is None


def test_a_notice_of_another_broker_is_an_answer() -> None:
    asker = Asker()
    asker.ask("1", copies=2)
    notice = {"reply-status": "rejected", "x-last-death-reason": "rejected"}
    head = make_head("/reply-queue/token", **{"correlation-id": "1"} | notice)
    for _ in range(3):
        asker.router.replies.take("token", head, b"", None, None)
    assert asker.got == [("1", "rejected")]
    assert asker.requests.answered == {ReplyStatus.REJECTED: 1}
    assert asker.requests.late == 0


def test_what_no_broker_has_written_is_a_reply() -> None:
    asker = Asker()
    asker.ask("1", copies=2)
    asker.reply("1", **{"reply-status": "rejected"})
    assert asker.got == [("1", "rejected")]
    assert asker.requests.answered == {}


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MOST", 3)
    monkeypatch.setattr(requests, "REMEMBERED", 2)
    asker = Asker()
    for number in "123":
        asker.ask(number)
    with pytest.raises(ProtocolError, match="limit"):
        asker.ask("4")
    asker.time.advance(1)
    for number in "123":
        asker.reply(number)
    assert asker.requests.late == 2
    assert asker.got[-1] == ("1", "reply")  # it was too long ago


def test_two_without_a_number_could_not_be_told_apart() -> None:
    asker = Asker()
    asker.ask("")
    with pytest.raises(ProtocolError, match="told apart"):
        asker.ask("")
    asker.ask("1")
    asker.reply("")
    asker.ask("")
    asker.reply("whatever")
    assert asker.got == [("", "reply"), ("whatever", "reply")]
    assert asker.requests.open == 1


def test_whose_address_has_gone_is_answered_nothing() -> None:
    asker = Asker()
    asker.ask("1")
    asker.requests.forget("/reply-queue/token")
    asker.time.advance(10)
    assert (asker.got, asker.requests.open, asker.requests.watching) == ([], 0, False)
