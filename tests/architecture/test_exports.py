"""The public doors: what ``__all__`` says is there, and every package is typed."""

import importlib
import inspect
from collections.abc import Callable

import pytest
from tests.architecture.test_walls import SOURCES

import stompy
import stompy.aio


@pytest.mark.parametrize("package", SOURCES)
def test_all_is_there_and_sorted(package: str) -> None:
    module = importlib.import_module(package)
    exported = getattr(module, "__all__", [])
    assert exported == sorted(exported, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(module, name) for name in exported)


@pytest.mark.parametrize("package", SOURCES)
def test_typed(package: str) -> None:
    assert (SOURCES[package] / "py.typed").exists()


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("stompy.client", ["STOMPClient", "STOMPTransaction", "connect"]),
        ("stompy.frame", ["STOMPFrame", "STOMPError", "STOMPTimeout"]),
    ],
)
def test_the_manuals_modules(module: str, names: list[str]) -> None:
    imported = importlib.import_module(module)
    assert all(hasattr(imported, name) for name in names)


def test_dir_shows_the_public_names_and_nothing_behind_them():
    shown = {name for name in dir(stompy) if not name.startswith("__")}
    assert shown == set(stompy.__all__)
    assert "aio" in shown


@pytest.mark.parametrize("call", [stompy.connect, stompy.aio.connect])
def test_connect_explains_its_arguments(call: Callable[..., object]) -> None:
    explained = inspect.getdoc(call) or ""
    for name in inspect.signature(call).parameters:
        assert f"{name}: " in explained


HANDLES = {
    stompy.Subscription: "ack destination get get_batch handle health id nack unsubscribe",
    stompy.aio.Subscription: "ack destination get get_batch handle health id nack unsubscribe",
    stompy.Message: "ack correlation_id destination epoch group id job_id nack redelivered reply "
    "reply_to scheduled_at settlement",
    stompy.aio.Message: "ack correlation_id destination epoch group id job_id nack redelivered "
    "reply reply_to scheduled_at settlement",
}


@pytest.mark.parametrize("handle", HANDLES)
def test_handles_show_what_is_for_applications(handle: type) -> None:
    inherited = set(dir(stompy.STOMPFrame)) if issubclass(handle, stompy.STOMPFrame) else set()
    inherited.discard("destination")
    shown = {name for name in dir(handle) if not name.startswith("_")} - inherited
    assert shown | {"id", "destination"} == set(HANDLES[handle].split())
