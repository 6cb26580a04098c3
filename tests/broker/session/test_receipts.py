"""Receipts in the order of their frames."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy.errors import ProtocolError
from stompy.protocol.header_cache import Head
from stompy_broker.routing.answers import when_all
from stompy_broker.session.receipts import Receipts


def fail(error: ProtocolError, head: Head | None) -> None:
    raise error


def tell(receipt: str, told: Mapping[str, str]) -> None:
    pytest.fail(f"nobody asked for what {receipt} is told")


@given(st.permutations(range(6)))
def test_released_in_order_whatever_is_done_first(order: list[int]) -> None:
    released: list[object] = []
    receipts = Receipts(released.append, fail, tell)
    dones = [receipts.after(lambda i=i: released.append(i)) for i in range(6)]
    for count, index in enumerate(order, 1):
        dones[index]()
        finished = set(order[:count])
        expected = next((i for i in range(6) if i not in finished), 6)
        assert released == list(range(expected))


def test_what_is_done_at_once_still_waits_its_turn() -> None:
    released: list[object] = []
    receipts = Receipts(released.append, fail, tell)
    first = receipts.after(lambda: released.append("first"))
    receipts.now(lambda: released.append("second"))
    assert released == []
    first()
    receipts.now(lambda: released.append("third"))
    assert released == ["first", "second", "third"]


def test_after_the_connection_is_gone_nothing_is_released() -> None:
    released: list[object] = []
    receipts = Receipts(released.append, fail, tell)
    done = receipts.after(lambda: released.append(1))
    receipts.forget()
    done()
    assert released == []


def test_when_all() -> None:
    calls: list[int] = []
    part = when_all(3, lambda error=None: calls.append(1))
    part()
    part()
    assert calls == []
    part()
    assert calls == [1]


def test_a_receipt_may_tell_more_and_keeps_its_turn() -> None:
    written: list[object] = []

    def write(receipt: str, told: Mapping[str, str]) -> None:
        written.append((receipt, dict(told)))

    receipts, told = Receipts(written.append, fail, write), {"routed": "0"}
    first, second = receipts.when_done("1"), receipts.when_told("2", told)
    receipts.answer("3", {"active": "true"})
    told["routed"] = "7"
    second()
    assert written == []
    first()
    assert written == ["1", ("2", {"routed": "7"}), ("3", {"active": "true"})]
