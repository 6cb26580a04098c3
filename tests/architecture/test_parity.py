"""The blocking and the asyncio client are one interface: same names, parameters and meanings.

What differs by nature stands in the lists below; everything else has to be the same.
"""

from __future__ import annotations

import inspect

import pytest

import stompy
import stompy.aio
import stompy.session.subscriptions
import stompy.sync.confirmation
import stompy.sync.message
import stompy.sync.subscription
from stompy.aio import subscribing

PAIRS = {
    "STOMPClient": (stompy.STOMPClient, stompy.aio.STOMPClient),
    "STOMPTransaction": (stompy.STOMPTransaction, stompy.aio.STOMPTransaction),
    "Subscription": (stompy.sync.subscription.Subscription, stompy.aio.Subscription),
    "SubscriptionId": (stompy.subscriptions.SubscriptionId, subscribing.SubscriptionId),
    "Message": (stompy.Message, stompy.aio.Message),
    "Confirmation": (stompy.sync.confirmation.Confirmation, stompy.aio.Confirmation),
}

ASYNC_TWINS = {
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
    "__iter__": "__aiter__",
}

INTERNAL = {
    # What the machinery calls; it is not for applications.
    "Confirmation": {"settle"},
}

ONLY_ASYNCIO = {
    "Subscription": {"__anext__"},  # the handle is its own iterator
    "Confirmation": {"__await__"},
    "SubscriptionId": {"__iter__"},  # both ways to go through it are the same mistake
}

BASES = {"Message": (stompy.STOMPFrame,), "SubscriptionId": (str,)}
"""What is not theirs."""


def surface(cls: type, name: str) -> dict[str, object]:
    """The public members, and those special ones that an application writes without a name."""
    special = set(ASYNC_TWINS) | set(ASYNC_TWINS.values()) | {"__anext__", "__await__"}
    inherited = {one for base in BASES.get(name, ()) for one in dir(base)}
    return {
        member: inspect.getattr_static(cls, member)
        for member in dir(cls)
        if (member in special or not member.startswith("_"))
        and (member not in inherited or member in vars(cls))
        and member not in INTERNAL.get(name, set())
    }


def parameters(function: object) -> list[tuple[str, object, object]]:
    signature = inspect.signature(function)  # type: ignore[arg-type]
    return [(one.name, one.kind, one.default) for one in signature.parameters.values()]


def summary(thing: object) -> str:
    text = (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ")
    return text.replace("`stompy.aio.", "`").replace("`stompy.client.", "`")


@pytest.mark.parametrize("name", PAIRS)
def test_both_have_the_same_members(name: str) -> None:
    blocking, asyncio = (surface(cls, name) for cls in PAIRS[name])
    expected = {ASYNC_TWINS.get(member, member) for member in blocking}
    assert set(asyncio) - ONLY_ASYNCIO.get(name, set()) == expected


@pytest.mark.parametrize("name", PAIRS)
def test_members_take_the_same_parameters(name: str) -> None:
    blocking, asyncio = (surface(cls, name) for cls in PAIRS[name])
    for member, thing in blocking.items():
        if callable(thing):
            twin = asyncio[ASYNC_TWINS.get(member, member)]
            assert parameters(thing) == parameters(twin), f"{name}.{member}"


@pytest.mark.parametrize("name", PAIRS)
def test_members_mean_the_same(name: str) -> None:
    blocking, asyncio = (surface(cls, name) for cls in PAIRS[name])
    differing = {
        member
        for member, thing in blocking.items()
        if summary(thing) != summary(asyncio[ASYNC_TWINS.get(member, member)])
    }
    assert differing == set()


def test_connect_takes_the_same_parameters() -> None:
    assert parameters(stompy.connect) == parameters(stompy.aio.connect)
    method = parameters(stompy.aio.STOMPClient.connect)
    assert parameters(stompy.aio.connect) == method[1:]
