from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import stompy_broker
from stompy.cli import main


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STOMPY_URL", "STOMPY_PASSCODE", "STOMPY_KEY_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def broker() -> Iterator[stompy_broker.RunningBroker]:
    with stompy_broker.running() as broker:
        yield broker


@pytest.fixture
def run(
    broker: stompy_broker.RunningBroker, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[str], str]]:
    """Run a command at the broker: its exit code, the lines of its output, and what it said."""

    def run(*arguments: str) -> tuple[int, list[str], str]:
        capsys.readouterr()
        code = main([*arguments, "--url", broker.url])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    return run
