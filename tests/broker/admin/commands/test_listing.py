"""Listings, over real sockets."""

from __future__ import annotations

from tests.support.admin import Observer
from tests.support.wire import unique


def test_a_listing_is_matched_sorted_and_cut(admin: Observer) -> None:
    word = unique("list")
    for name, number in (("a", 3), ("b", 1), ("c", 2)):
        admin.fill(f"{word}.{name}", *["x"] * number)
    told = admin.ask(
        "queue.list", match=word, sort="-ready", limit=2, offset=1, fields=["name", "ready"]
    )
    assert told == {
        "total": 3,
        "offset": 1,
        "rows": [{"name": f"{word}.c", "ready": 2}, {"name": f"{word}.b", "ready": 1}],
    }
    assert admin.ask("queue.list", match=f"{word}.?")["total"] == 3
    assert admin.ask("queue.list", match=f"{word}")["total"] == 3


def test_queues_are_matched_as_a_subscription_would_find_them(admin: Observer) -> None:
    word = unique("words")
    names = [word, f"{word}.a", f"{word}.a.b", f"DLQ.{word}.a"]
    for name in names:
        admin.fill(name, "x")

    def matched(match: str) -> list[str]:
        told = admin.ask("queue.list", match=match, fields=["name"])
        return [row["name"] for row in told["rows"]]

    assert matched(f"{word}.>") == matched(f"/queue/{word}.#") == names[:3]
    assert matched(f"/queue/{word}.*") == names[1:2]
    assert matched(f"/queue/{word}") == names[:1]
    assert matched(f"DLQ.{word}.>") == names[3:]
    assert matched(f"/queue/*.{word}.a") == []
    assert matched(f"{word}.*") == names[1:3]  # of letters, not of words
