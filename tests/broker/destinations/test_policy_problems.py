"""Policies that cannot be, though each of their settings could."""

from __future__ import annotations

import pytest

from stompy_broker.destinations.policy import Policy
from stompy_broker.destinations.policy_problems import policy_problems


def problems(*policies: Policy, clustered: bool = False) -> list[str]:
    return list(policy_problems(policies, clustered=clustered))


def test_most_policies_have_none() -> None:
    stream = Policy(
        match="/queue/s.>", type="stream", max_age="7D", max_length_bytes=1, message_ttl=0
    )
    assert problems(Policy(), Policy(match="/topic/>", message_ttl=5), stream) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"message_ttl": 5}, "policy.1.message_ttl: messages of a stream stay"),
        ({"overflow": "reject-publish"}, "policy.1.overflow: of a stream"),
        ({"auto_delete": True}, "policy.1.auto_delete: a stream stays"),
        ({"fair_by": "customer"}, "policy.1.fair_by: each reader"),
        ({"persistent": False}, "policy.1.persistent: a stream is always kept"),
        ({"match": "/topic/>"}, "policy.1.type: topics are no streams"),
    ],
)
def test_what_says_nothing_of_a_stream_is_told(settings: dict[str, object], words: str) -> None:
    policy = Policy.model_validate({"type": "stream", **settings})
    (problem,) = problems(Policy(), policy)
    assert problem.startswith(words)


def test_an_age_is_for_streams() -> None:
    assert problems(Policy(max_age="1h")) == [
        'policy.0.max_age: is for streams; add type = "stream"'
    ]


def test_a_cluster_keeps_no_streams() -> None:
    (problem,) = problems(Policy(type="stream"), clustered=True)
    assert "cluster" in problem


def test_the_past_is_kept_of_queues_only_and_not_in_a_cluster() -> None:
    kept = Policy(match="/queue/q", history="24h")
    assert problems(kept) == []
    assert problems(kept, clustered=True) == [
        "policy.0.history: brokers of a cluster keep no history"
    ]
    assert "topics keep nothing" in problems(Policy(match="/topic/t", history="24h"))[0]
    assert (
        "is its own history" in problems(Policy(match="/queue/s", history="24h", type="stream"))[0]
    )
    assert "add history" in problems(Policy(match="/queue/q", history_bytes=10))[0]
