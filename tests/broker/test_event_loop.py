"""Which event loop a broker runs on, and what is said where it cannot be that one."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from types import ModuleType

import pytest

import stompy_broker
from stompy.admin.rows import BrokerRow, Kind
from stompy_broker import event_loop
from stompy_broker.config import ConfigError, load_config
from stompy_broker.event_loop import LoopName, chosen, name_of, new_event_loop


class OtherLoop(asyncio.SelectorEventLoop):
    """Stands for uvloop's."""


OtherLoop.__module__ = "uvloop.loop"


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that calls itself uvloop is installed."""
    module = ModuleType("uvloop")
    module.__dict__["new_event_loop"] = OtherLoop
    monkeypatch.setitem(sys.modules, "uvloop", module)
    monkeypatch.setattr(event_loop, "find_spec", lambda name: object())


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)


def made(name: LoopName) -> str:
    loop = new_event_loop(name)
    loop.close()
    return name_of(loop)


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize(
    ("name", "library"), [("auto", "uvloop"), ("uvloop", "uvloop"), ("asyncio", "asyncio")]
)
def test_uvloop_runs_where_it_is_installed(name: LoopName, library: str) -> None:
    assert chosen(name) == library
    assert made(name) == library
    assert load_config(overrides={"server": {"loop": name}}).server.loop == name


@pytest.mark.usefixtures("missing")
def test_without_it_asyncio_runs() -> None:
    assert chosen("auto") == "asyncio"
    assert made("auto") == "asyncio"


@pytest.mark.usefixtures("missing")
def test_what_is_asked_for_and_not_installed_is_said() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides={"server": {"loop": "uvloop"}})
    assert "server.loop" in str(caught.value)
    assert "pip install 'stompy-broker[uvloop]'" in str(caught.value)


@pytest.mark.usefixtures("missing")
def test_what_is_installed_and_broken_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_loop, "find_spec", lambda name: object())
    with caplog.at_level(logging.WARNING, "stompy_broker"):
        assert made("auto") == "asyncio"
    assert "uvloop" in caplog.text
    with pytest.raises(ImportError):
        new_event_loop("uvloop")


def test_a_wrong_name_is_said_with_the_right_ones() -> None:
    with pytest.raises(ConfigError, match=r"server\.loop.*auto.*asyncio.*uvloop"):
        load_config(overrides={"server": {"loop": "trio"}})


def test_the_command_says_on_which_loop_it_runs() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "stompy_broker", "--memory", "--port", "0", "--loop", "asyncio"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.terminate()
        process.stderr.read()
    assert line.endswith("runs on the event loop of asyncio\n")


async def _loop_of_ours() -> str:
    config = load_config(overrides={"listen": {"port": 0}, "store": {"data": ""}})
    async with stompy_broker.Broker(config) as broker:
        (row,) = await broker.queries.snapshot(Kind.BROKER)
        assert isinstance(row, BrokerRow)
        return row.loop


@pytest.mark.usefixtures("other")
def test_the_loop_of_a_program_stays_its_own() -> None:
    assert asyncio.run(_loop_of_ours()) == "asyncio"


@pytest.mark.usefixtures("other")
def test_a_broker_in_a_thread_runs_on_what_was_asked_for() -> None:
    for settings, library in (({}, "uvloop"), ({"loop": "asyncio"}, "asyncio")):
        with stompy_broker.running({"server": settings}) as broker:
            (row,) = broker.snapshot(Kind.BROKER)
            assert row.loop == library
