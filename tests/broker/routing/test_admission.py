"""What a COMMIT puts into queues and takes out, together."""

from __future__ import annotations

import pytest
from tests.support.house import Time, make_head, make_router, raise_refusal

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import parse_destination
from stompy_broker.routing import admission
from stompy_broker.routing.admission import Admission


def test_one_change_has_an_upper_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 SENDs to a topic with as many subscriptions would take minutes."""
    monkeypatch.setattr(admission, "MOST_AT_ONCE", 10)
    router = make_router(Time())
    for _ in range(3):
        router.registry.subscribe_topic("t.*")
    together = Admission(router)
    for _ in range(3):
        together.add(parse_destination("/topic/t.a"), make_head("/topic/t.a"), 1)
    together.settle(1)
    together.ask(raise_refusal)
    together.add(parse_destination("/queue/q"), make_head(), 1)
    with pytest.raises(ProtocolError, match="11 messages at once") as raised:
        together.ask(raise_refusal)
    assert raised.value.error_code is ErrorCode.LIMIT_EXCEEDED
