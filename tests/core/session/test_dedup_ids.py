"""Ids that no other client makes, and that a message declines or brings along."""

from __future__ import annotations

import pytest

from stompy.session.dedup_ids import DECLINED, DedupIds, id_in
from stompy.session.dialects import ARTEMIS, RABBITMQ, STOMPY


def test_the_ids_of_a_client_are_numbered_and_nobody_elses() -> None:
    one, other = DedupIds(), DedupIds()
    made = [one.new_id() for _ in range(3)]
    assert [text.rpartition("-")[2] for text in made] == ["1", "2", "3"]
    assert len({text.rpartition("-")[0] for text in made}) == 1
    assert other.new_id() not in made


@pytest.mark.parametrize("always", [False, True])
def test_what_a_message_says(always: bool) -> None:
    ids = DedupIds(always=always)
    assert ids.id_for("order-17") == "order-17"
    made = ids.id_for(True)
    assert made is not None
    assert made.endswith("-1")
    assert ids.id_for(False) == (DECLINED if always else None)


def test_an_id_is_known_by_all_names_that_the_broker_knows() -> None:
    for name in ("dedup-id", "_AMQ_DUPL_ID", "x-deduplication-header", "Nats-Msg-Id"):
        assert id_in({name: "a"}, STOMPY) == "a"
    assert id_in({"dedup-id": "a"}, ARTEMIS) is None
    assert id_in({"_AMQ_DUPL_ID": 5}, ARTEMIS) == 5
    assert id_in({"dedup-id": "a"}, RABBITMQ) is None
