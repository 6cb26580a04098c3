"""Receipts and errors become outcomes."""

import pytest

from stompy.errors import OutcomeUnknown, STOMPConnectionError, STOMPError
from stompy.protocol.frame import STOMPFrame
from stompy.session.confirmations import AwaitedReceipt, Confirmations, Outcome


@pytest.fixture
def three() -> tuple[Confirmations, list[AwaitedReceipt]]:
    confirmations = Confirmations()
    pending = [AwaitedReceipt(f"r{number}") for number in range(3)]
    for one in pending:
        confirmations.expect(one)
    return confirmations, pending


def error(**headers: str) -> STOMPError:
    return STOMPError("no", STOMPFrame("ERROR", b"because", headers))


def outcomes(pending: list[AwaitedReceipt]) -> list[str]:
    return [one.outcome.value for one in pending]


def test_a_receipt_accepts_what_it_names(three):
    confirmations, pending = three
    assert confirmations.receipt("r1") is pending[1]
    assert confirmations.receipt("r1") is None
    assert confirmations.receipt("another") is None
    assert outcomes(pending) == ["pending", "accepted", "pending"]
    assert pending[1].check() == "r1"
    assert len(confirmations) == 2


@pytest.mark.parametrize("names_frames", [True, False])
def test_an_error_rejects_what_it_names_and_the_rest_is_unknown(three, names_frames):
    confirmations, pending = three
    why = error(**{"receipt-id": "r1"})
    assert confirmations.refused(why, names_frames=names_frames) is pending[1]
    confirmations.lost(why)
    assert outcomes(pending) == ["unknown", "rejected", "unknown"]
    with pytest.raises(STOMPError, match="because") as caught:
        pending[1].check()
    assert caught.value is why
    with pytest.raises(OutcomeUnknown, match="r0"):
        pending[0].check()


@pytest.mark.parametrize(
    ("names_frames", "pending", "expected"),
    [(False, 1, "rejected"), (True, 1, "unknown"), (False, 2, "unknown")],
)
def test_an_error_without_a_name_rejects_the_only_one_where_brokers_give_none(
    names_frames, pending, expected
):
    confirmations = Confirmations()
    waiting = [AwaitedReceipt(f"r{number}") for number in range(pending)]
    for one in waiting:
        confirmations.expect(one)
    confirmations.refused(error(), names_frames=names_frames)
    confirmations.lost(error())
    assert outcomes(waiting) == [expected] * pending


def test_an_error_for_somebody_else_rejects_nothing(three):
    confirmations, pending = three
    assert confirmations.refused(error(**{"receipt-id": "x"}), names_frames=False) is None
    assert outcomes(pending) == ["pending"] * 3


def test_an_outcome_is_final(three):
    confirmations, pending = three
    confirmations.lost(STOMPConnectionError("gone"))
    assert confirmations.receipt("r0") is None
    assert outcomes(pending) == ["unknown"] * 3
    assert all(one.done for one in pending)
    assert pending[0].outcome is Outcome.UNKNOWN


def test_what_was_not_sent_is_not_waited_for(three):
    confirmations, pending = three
    confirmations.forget(pending[0])
    confirmations.forget(pending[0])
    assert "r0" not in confirmations
    assert pending[0].outcome is Outcome.PENDING
