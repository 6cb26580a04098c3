"""What a policy may say about messages that others replace or push out."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from stompy_broker.config import ConfigError, load_config
from stompy_broker.destinations.policy import Policy


def complaint(**settings: object) -> str:
    with pytest.raises(ValidationError) as caught:
        Policy.model_validate(settings)
    return str(caught.value)


def test_a_header_says_what_a_message_is_a_value_of() -> None:
    assert Policy().value_header == ""
    assert Policy(last_value_key="symbol").value_header == "symbol"
    assert Policy(last_value=True).value_header == "_AMQ_LVQ_NAME"
    assert Policy(last_value=True, last_value_key="_AMQ_LVQ_NAME").value_header == "_AMQ_LVQ_NAME"
    assert "last_value means" in complaint(last_value=True, last_value_key="symbol")


def test_a_queue_looks_at_each_message_then() -> None:
    assert not Policy().deals
    assert Policy(last_value_key="symbol").deals


def test_topics_have_no_last_values() -> None:
    assert "last values are kept in queues" in complaint(match="/topic/x", last_value=True)


def test_a_ring_is_a_length() -> None:
    ring = Policy(ring_size=5)
    assert (ring.max_length, ring.overflow) == (5, "drop-head")
    assert Policy(ring_size=5, max_length=5, overflow="drop-head").max_length == 5
    assert Policy.model_validate(ring.model_dump()) == ring
    assert "disagree" in complaint(ring_size=5, max_length=6)
    assert "overflow says otherwise" in complaint(ring_size=5, overflow="reject-publish")
    assert "ring_size" in complaint(ring_size=-1)
    assert "ring_size" in complaint(ring_size="many")


def test_arguments_of_a_queue_go_before_them() -> None:
    usual = Policy(ring_size=5, last_value=True)
    bounded = usual.with_arguments({"x-max-length": "3"})
    assert (bounded.max_length, bounded.ring_size) == (3, 0)
    refusing = usual.with_arguments({"x-overflow": "reject-publish"})
    assert (refusing.max_length, refusing.overflow) == (5, "reject-publish")
    assert usual.with_arguments({"x-last-value-key": "symbol"}).value_header == "symbol"
    assert usual.with_arguments({"x-last-value-key": ""}).value_header == "_AMQ_LVQ_NAME"


def test_a_member_of_a_cluster_gives_no_place_to_another_message() -> None:
    cluster = {
        "name": "shop",
        "secret_file": "secret",
        "nats": ["nats://a@10.0.0.1"],
        "trust_sync": True,
    }
    in_place = {"last_value_key": "symbol", "last_value_position": "place"}
    with pytest.raises(ConfigError, match=r"policy\.0\.last_value_position"):
        load_config(overrides={"cluster": cluster, "policy": [in_place]})
    assert Policy.model_validate(in_place).alone_only == ["last_value_position"]
    assert Policy(last_value_key="symbol").alone_only == []
