"""The pytest plugin: a real broker for each test that asks for one, and a look at what was left.

It is loaded in every test run of an environment where ``stompy-broker`` is installed. So it
imports the broker only when a fixture is used, and does nothing to tests that use none.

Fixtures: ``stompy_broker``, which is also called ``stompy_own_broker``, ``stompy_shared_broker``,
``stompy_connect``, ``stompy_client``, ``stompy_aio_connect``, ``stompy_start_broker``,
``stompy_clock`` and ``stompy_settings``. Marks: ``stompy_settings(**sections)``,
``stompy_virtual_time(start=None)`` and ``stompy_leaks_allowed(*kinds)``. They are explained in the
manual, *Test your application*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    import stompy
    from stompy import aio
    from stompy_broker.embed.testing import Brokers, Leak
    from stompy_broker.embed.thread import RunningBroker
    from stompy_broker.embed.virtual_time import VirtualTime
    from stompy_broker.virtual_clock import Time

_MARKS = (
    "stompy_settings(**sections): settings of this test's broker, by section as in its TOML file",
    "stompy_virtual_time(start=None): the time of this test's brokers stands still unless the test "
    "moves it; it begins now, or at a datetime",
    "stompy_leaks_allowed(*kinds): this test may leave these open: connections, unsettled, "
    "transactions; without a kind: all",
)

_VIRTUAL = "stompy_virtual_time"

_failed = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the marks known."""
    for mark in _MARKS:
        config.addinivalue_line("markers", mark)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse what would live in real time although the test says otherwise."""
    if item.get_closest_marker(_VIRTUAL) and "stompy_shared_broker" in _fixtures(item):
        raise pytest.UsageError(
            f"{_VIRTUAL}: stompy_shared_broker lives in real time, with the tests that share it; "
            "take stompy_broker"
        )


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """A test that failed on its way has an excuse for what it left open."""
    if call.excinfo is not None:
        item.stash[_failed] = True


@pytest.fixture(scope="session")
def stompy_settings() -> Mapping[str, object]:
    """Settings of the tests' brokers, by section. Override it in ``conftest.py``."""
    return {}


@pytest.fixture
def stompy_own_broker(
    request: pytest.FixtureRequest, stompy_settings: Mapping[str, object]
) -> Iterator[RunningBroker]:
    """A broker for this test alone, on a free port, in memory."""
    from stompy_broker.embed.testing import checked, configured  # noqa: PLC0415 -- see the module

    _allowed_leaks(request)  # a mistake in the mark is told before the test
    marks = [mark.kwargs for mark in request.node.iter_markers("stompy_settings")]
    config = configured(stompy_settings, *reversed(marks))
    with checked(config, lambda found: _tell(request, found), _time(request)) as broker:
        yield broker


@pytest.fixture
def stompy_broker(stompy_own_broker: RunningBroker) -> RunningBroker:
    """The same; as an argument the name hides a module that is imported."""
    return stompy_own_broker


@pytest.fixture
def stompy_clock(stompy_own_broker: RunningBroker) -> VirtualTime:
    """The time of ``stompy_broker``, which stands still unless the test moves it."""
    return stompy_own_broker.time


@pytest.fixture(scope="session")
def stompy_shared_broker(
    request: pytest.FixtureRequest, stompy_settings: Mapping[str, object]
) -> Iterator[RunningBroker]:
    """One broker for all tests; give each of them destinations of its own."""
    from stompy_broker.embed.testing import checked, configured  # noqa: PLC0415 -- see the module

    with checked(configured(stompy_settings), lambda found: _tell(request, found)) as broker:
        yield broker


@pytest.fixture
def stompy_start_broker(
    request: pytest.FixtureRequest, stompy_settings: Mapping[str, object]
) -> Iterator[Brokers]:
    """Starts further brokers, ``stompy_start_broker(listen={"port": 61613})``, and stops them."""
    from stompy_broker.embed.testing import Brokers  # noqa: PLC0415 -- see the module

    with Brokers(stompy_settings, _time(request)) as brokers:
        yield brokers


@pytest.fixture
def stompy_connect(
    request: pytest.FixtureRequest, stompy_own_broker: RunningBroker
) -> Iterator[Callable[..., stompy.STOMPClient]]:
    """Connects blocking clients to ``stompy_broker``; takes the arguments of `stompy.connect`."""
    from stompy_broker.embed.testing import Clients  # noqa: PLC0415 -- see the module

    clients = Clients(stompy_own_broker, lambda found: _tell(request, found))
    yield clients.connect
    clients.close()


@pytest.fixture
def stompy_client(stompy_connect: Callable[..., stompy.STOMPClient]) -> stompy.STOMPClient:
    """A blocking client that is connected to ``stompy_broker``."""
    return stompy_connect()


@pytest.fixture
def stompy_aio_connect(
    request: pytest.FixtureRequest, stompy_own_broker: RunningBroker
) -> Iterator[Callable[..., AbstractAsyncContextManager[aio.STOMPClient]]]:
    """Connects asyncio clients to ``stompy_broker``, each for an ``async with``.

    It takes the arguments of `stompy.aio.connect`; the clients belong to the loop of the test.
    """
    from stompy_broker.embed.testing import AsyncioClients  # noqa: PLC0415 -- see the module

    clients = AsyncioClients(stompy_own_broker, lambda found: _tell(request, found))
    yield clients.connect
    clients.close()


def _tell(request: pytest.FixtureRequest, found: list[Leak]) -> None:
    """Fail for what was left open, unless that is allowed or follows from another failure."""
    allowed = _allowed_leaks(request)
    texts = [leak.text for leak in found if leak.kind not in allowed]
    if texts and not request.node.stash.get(_failed, False):
        left = "\n".join(f"  {text}" for text in texts)
        pytest.fail(f"left open at the end of the test:\n{left}", pytrace=False)


def _fixtures(item: pytest.Item) -> list[str]:
    """The names of what a test asks for."""
    names: list[str] = getattr(item, "fixturenames", [])  # a doctest, for example, has none
    return names


def _time(request: pytest.FixtureRequest) -> Time:
    """By which time the brokers of a test go: it has the mark, or asks for the clock."""
    mark = request.node.get_closest_marker(_VIRTUAL)
    if mark is None:
        return "virtual" if "stompy_clock" in request.fixturenames else "real"
    start = mark.kwargs.get("start")
    if mark.args or set(mark.kwargs) - {"start"} or not isinstance(start, datetime | None):
        raise pytest.UsageError(f"{_VIRTUAL} takes start=datetime(…, tzinfo=…) and nothing else")
    return start or "virtual"


def _allowed_leaks(request: pytest.FixtureRequest) -> set[str]:
    from stompy_broker.embed.testing import LEAKS  # noqa: PLC0415 -- see the module

    allowed: set[str] = set()
    for mark in request.node.iter_markers("stompy_leaks_allowed"):
        for kind in mark.args:
            if kind not in LEAKS:
                raise pytest.UsageError(
                    f"stompy_leaks_allowed: {kind!r} is none of {', '.join(LEAKS)}"
                )
        allowed |= set(mark.args or LEAKS)
    return allowed
