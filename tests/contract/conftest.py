"""The clients that the scenarios run with. To run them with another one, add its adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from tests.support.asyncio_adapter import AsyncioAdapter
from tests.support.blocking_adapter import BlockingAdapter
from tests.support.client_adapter import ClientAdapter

import stompy

ADAPTERS: dict[str, Callable[[], ClientAdapter]] = {
    "blocking": BlockingAdapter,
    "asyncio": AsyncioAdapter,
}


@pytest.fixture(params=ADAPTERS)
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[], ClientAdapter]]:
    """Makes clients, and disconnects them in the end."""
    made: list[ClientAdapter] = []

    def make() -> ClientAdapter:
        made.append(ADAPTERS[request.param]())
        return made[-1]

    yield make
    for client in made:
        with suppress(stompy.STOMPException):
            client.disconnect()
        client.close()
