"""How a selector is refused."""

from __future__ import annotations

from stompy.errors import ErrorCode
from stompy_broker.selectors.refusal import bad_selector


def test_it_says_where_and_what() -> None:
    error = bad_selector("x" * 500 + "?" + "y" * 500, 500, "no such sign")
    assert error.error_code is ErrorCode.BAD_SELECTOR
    assert error.details == {"error-column": "501"}
    assert "column 501: no such sign" in error.Message
    assert "x?y" in error.Message
    assert len(error.Message) < 200
