import tomllib
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def stompy_settings() -> dict[str, Any]:
    """The tests' brokers treat queues as the shop's broker does."""
    return tomllib.loads(Path(__file__).with_name("broker.toml").read_text())
