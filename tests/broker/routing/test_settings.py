"""What is kept of a queue survives the store, and never collides with a header."""

from __future__ import annotations

import pytest

from stompy_broker.destinations.policy import ARGUMENTS, arguments_in
from stompy_broker.routing.settings import QueueSettings


@pytest.mark.parametrize(
    "setup",
    [
        QueueSettings(),
        QueueSettings({"x-max-length": "3"}),
        QueueSettings({"x-expires": "1"}, paused=True, intake_paused=True, created=True),
    ],
)
def test_what_is_stored_comes_back(setup: QueueSettings) -> None:
    assert QueueSettings.from_stored(setup.to_stored()) == setup


def test_a_client_cannot_decide_by_headers() -> None:
    stored = QueueSettings(
        paused=True, intake_paused=True, created=True, exclusive=True
    ).to_stored()
    assert arguments_in({**dict.fromkeys(stored, "1"), "x-max-length": "3", "other": "x"}) == {
        "x-max-length": "3"
    }
    assert not set(stored) & set(ARGUMENTS)
