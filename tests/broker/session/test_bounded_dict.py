"""What happened lately stays known, and no more than that."""

from __future__ import annotations

from stompy_broker.session.bounded_dict import REMEMBERED, BoundedDict


def test_the_last_entries_are_known_and_few_others() -> None:
    recent: BoundedDict[int, str] = BoundedDict()
    for number in range(10 * REMEMBERED):
        recent.put(number, str(number))
        assert number in recent
    last = range(9 * REMEMBERED, 10 * REMEMBERED)
    assert all(recent.get(number) == str(number) for number in last)
    assert len(list(recent)) <= 2 * REMEMBERED
    assert recent.get(0) is None
    assert 0 not in recent
