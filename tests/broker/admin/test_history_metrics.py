"""How much there is of the pasts of queues, as Prometheus gets it."""

from __future__ import annotations

from tests.support.house import Taker, Time, make_head, make_router, take_part

from stompy_broker.admin.history_metrics import history_families
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy


def test_the_largest_pasts_have_metrics() -> None:
    router = make_router(Time(), Policy(match="/queue/>", history="24h"))
    for name, count in (("small", 1), ("large", 3), ("unused", 0)):
        queue, taker = router.queue(name), Taker(10)
        take_part(queue, taker)
        for _ in range(count):
            router.publish(parse_destination(f"/queue/{name}"), make_head(), b"x" * 100)
        for message in taker.taken:
            queue.settle(message)
    records, sizes = history_families(router.histories, 10)
    assert set(records.lines) == {
        'stompy_history_records{queue="small"} 1\n',
        'stompy_history_records{queue="large"} 3\n',
    }
    assert len(sizes.lines) == 2
    (only,) = history_families(router.histories, 1)[0].lines
    assert "large" in only
