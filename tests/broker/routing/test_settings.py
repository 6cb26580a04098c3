"""What is kept of a queue survives the store, and never collides with a header."""

from __future__ import annotations

import pytest

from stompy_broker.destinations.policy import ARGUMENTS
from stompy_broker.routing.settings import Setup


@pytest.mark.parametrize(
    "setup",
    [
        Setup(),
        Setup({"x-max-length": "3"}),
        Setup({"x-expires": "1"}, paused=True, intake_paused=True, created=True),
    ],
)
def test_what_is_stored_comes_back(setup: Setup) -> None:
    assert Setup.from_stored(setup.to_stored()) == setup


def test_a_client_cannot_decide_by_headers() -> None:
    headers = dict.fromkeys(Setup(paused=True, created=True).to_stored(), "1")
    assert Setup.from_headers(headers | {"x-max-length": "3", "other": "x"}) == Setup(
        {"x-max-length": "3"}
    )
    assert not set(headers) & set(ARGUMENTS)
