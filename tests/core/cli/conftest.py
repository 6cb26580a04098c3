from __future__ import annotations

from collections.abc import Iterator

import pytest

import stompy_broker


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STOMPY_URL", "STOMPY_PASSCODE", "STOMPY_KEY_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def broker() -> Iterator[stompy_broker.RunningBroker]:
    with stompy_broker.running() as broker:
        yield broker
