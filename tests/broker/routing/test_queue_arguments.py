"""The first frame decides how a queue is set up, and what it was is remembered for a while."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.house import Taker, Time, figures, make_router, take_part

from stompy.errors import ProtocolError
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.routing import queue_arguments
from stompy_broker.routing.interface import Configure
from stompy_broker.routing.queue_arguments import REMEMBERED_SECONDS
from stompy_broker.routing.router import Router

AUTO = {"auto-delete": "true", "x-max-length": "3"}


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def router(time: Time) -> Router:
    return make_router(time)


def visit(router: Router, name: str, headers: dict[str, str]) -> None:
    """Somebody consumes from a queue for a moment."""
    queue, taker = router.queue(name, headers), Taker(1)
    take_part(queue, taker)
    queue.detach(taker)


def test_all_of_it_is_remembered(router: Router) -> None:
    visit(router, "q", AUTO)
    assert "q" not in router.queues
    again = router.queue("q")
    assert again.policy.auto_delete
    assert again.policy.max_length == 3
    assert figures(again).settings.arguments == AUTO


def test_but_not_for_ever(router: Router, time: Time) -> None:
    visit(router, "q", AUTO)
    time.advance(REMEMBERED_SECONDS)
    assert not router.queue("q").policy.auto_delete


def test_and_not_of_very_many(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_arguments, "REMEMBERED", 2)
    for name in "abc":
        visit(router, name, AUTO)
    assert [router.queue(name).policy.auto_delete for name in "abc"] == [False, True, True]


def test_arguments_take_the_place_of_what_is_remembered(router: Router) -> None:
    visit(router, "q", AUTO)
    assert router.queue("q", {"x-max-length": "5"}).policy.max_length == 5
    visit(router, "q", {})
    assert "q" in router.queues


def test_what_a_policy_says_needs_no_memory(time: Time) -> None:
    router = make_router(time, Policy(match="/queue/q", auto_delete=True))
    visit(router, "q", {"auto-delete": "true"})
    assert router.queue("q").policy.auto_delete
    assert figures(router.queue("q")).settings.arguments == {}


def test_what_an_operator_made_stays(router: Router) -> None:
    queue = router.queue("q", AUTO)
    queue.control(Configure(replace(figures(queue).settings, created=True)))
    visit(router, "q", AUTO)
    assert "q" in router.queues


def test_while_the_broker_stops_nothing_ends(router: Router) -> None:
    router.registry.closing = True
    visit(router, "q", AUTO)
    assert "q" in router.queues


def test_the_same_arguments_are_compared_once(router: Router) -> None:
    router.queue("q", {"x-max-length": "5"})
    for _ in range(3):
        router.queue("q", {"x-max-length": "5"})
        router.queue("q", {"x-max-length": "6"})
    ignored = [event for event in router.events.recent if event.type == "queue.argument_ignored"]
    assert [event.detail for event in ignored] == [{"x-max-length": "6"}]
    with pytest.raises(ProtocolError, match="x-max-length"):
        router.queue("q", {"x-max-length": "many"})


STREAM = {"x-queue-type": "stream"}


def test_a_stream_is_one_whatever_policies_say_later(router: Router) -> None:
    router.policies.renew([Policy(type="stream", max_age="1h")])
    stream, queue = router.queue("s"), router.queue("q", {"x-queue-type": "quorum"})
    assert (stream.policy.type, queue.policy.type) == ("stream", "queue")
    assert figures(stream).settings.arguments == STREAM
    router.policies.renew([])
    list(router.registry.renew_policies())
    assert (stream.policy.type, stream.policy.max_age) == ("stream", "")
    router.policies.renew([Policy(type="stream")])
    list(router.registry.renew_policies())
    assert queue.policy.type == "queue"


def test_nor_does_one_end_that_policies_do_not_allow_any_more(router: Router) -> None:
    stream = router.queue("s", STREAM)
    router.policies.renew([Policy(last_value_key="k")])
    list(router.registry.renew_policies())
    assert stream.policy.is_stream


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        (STREAM, {"x-queue-type": "classic"}, "is a stream"),
        (STREAM, {"x-message-ttl": "5"}, "x-message-ttl is not for the stream"),
        ({}, STREAM, "is no stream"),
        ({}, {"x-queue-type": "log"}, "must be classic, quorum or stream"),
    ],
)
def test_a_type_that_differs_is_refused(
    router: Router, first: dict[str, str], then: dict[str, str], words: str
) -> None:
    router.queue("q", first)
    for _ in range(2):
        with pytest.raises(ProtocolError, match=words):
            router.queue("q", then)


def test_a_store_that_keeps_no_logs_has_no_streams(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(router.groups.home.store), "keeps_logs", False)
    with pytest.raises(ProtocolError, match="no streams"):
        router.queue("s", STREAM)
    assert "s" not in router.queues


def test_what_a_frame_is_about_is_known_beforehand(router: Router) -> None:
    means = router.registry.means_stream
    assert means(parse_destination("/stream/a"), {})
    assert means(parse_destination("/queue/a"), STREAM)
    assert means(parse_destination("/topic/t"), {"x-queue-name": "a", **STREAM})
    assert not means(parse_destination("/queue/a"), {})
    assert not means(parse_destination("/queue/>"), STREAM)
    assert not means(parse_destination("/topic/t"), STREAM)
    router.queue("a", STREAM)
    assert means(parse_destination("/queue/a"), {})
    assert means(parse_destination("/topic/t"), {"x-queue-name": "a"})
