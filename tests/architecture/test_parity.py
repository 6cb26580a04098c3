"""The blocking and the asyncio client are one interface: same names, parameters, words and files.

What differs by nature stands in the tables below, each with its reason; everything else has to be
the same, docstrings included.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator

import pytest
from tests.support.sources import ROOT

import stompy
import stompy.aio
from stompy.aio import subscribing

PAIRS = {
    "STOMPClient": (stompy.STOMPClient, stompy.aio.STOMPClient),
    "STOMPTransaction": (stompy.STOMPTransaction, stompy.aio.STOMPTransaction),
    "Subscription": (stompy.Subscription, stompy.aio.Subscription),
    "Browsing": (stompy.Browsing, stompy.aio.Browsing),
    "SubscriptionId": (stompy.subscriptions.SubscriptionId, subscribing.SubscriptionId),
    "Message": (stompy.Message, stompy.aio.Message),
    "Confirmation": (stompy.Confirmation, stompy.aio.Confirmation),
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

# -- words ------------------------------------------------------------------------------------

SAME_WORDS = (
    (r"\b(await|async) ", ""),
    (r"To be awaited: (\w)", lambda found: found[1].upper()),
    (r"`stompy\.(aio|client)\.", "`"),
    (r"\baio\.", "stompy."),
    (r"\btasks\b", "threads"),
)
"""What the asyncio client calls otherwise because it is one for asyncio."""

OTHER_WORDS = {
    "STOMPClient.connect": ["on_state: "],  # a thread of its own calls it, or the event loop
    "connect": ["on_state: "],
    "STOMPClient.loop": ["params: "],  # the callback may be a coroutine function
    "Confirmation": ["To await it"],
    "Subscription.handle": [
        "It runs",  # threads, and what Ctrl-C does to them; or tasks
        "function: ",  # it may be a coroutine function
        "TypeError: ",
        "(Base)?Exception: ",  # in a task nothing else passes through
    ],
    "Subscription.unsubscribe": ["STOMPTimeout: "],  # asyncio takes what the broker does not yet
}
"""How paragraphs, or entries of a section, begin that differ by nature."""

SAME_TYPES = (
    (r"(Iterable\[[^\]]+\]) \| Async\1", r"\1"),
    (r"Opening\[(\w+)\]", r"\1"),
    (r"\[\[Message\], Awaitable\[None\] \| None\]", "[[Message], None]"),
)
"""What the asyncio client takes and gives besides: something to be awaited."""

OTHER_RESULTS = {
    "STOMPClient.__iter__",  # a generator; or an object, since one cannot be closed in time
    "Subscription.__iter__",  # likewise
    "SubscriptionId.__new__",
    "Browsing.__iter__",
}


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


def members() -> Iterator[tuple[str, object, object]]:
    """Each public member of the blocking client with its twin."""
    for name, (blocking, asyncio) in PAIRS.items():
        twins = surface(asyncio, name)
        for member, thing in surface(blocking, name).items():
            yield f"{name}.{member}", thing, twins[ASYNC_TWINS.get(member, member)]
        yield name, blocking, asyncio
    yield "connect", stompy.connect, stompy.aio.connect


MEMBERS = {name: (blocking, asyncio) for name, blocking, asyncio in members()}


def parameters(function: object) -> list[tuple[str, object, object, str]]:
    """What a call takes: names in order, kinds, defaults and types."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    return [
        (one.name, one.kind, one.default, alike(str(one.annotation), SAME_TYPES))
        for one in signature.parameters.values()
    ]


def result(function: object) -> str:
    returns = inspect.signature(function).return_annotation  # type: ignore[arg-type]
    return alike(str(returns), SAME_TYPES)


def alike(text: str, changes: tuple[tuple[str, object], ...]) -> str:
    for pattern, replacement in changes:
        text = re.sub(pattern, replacement, text)  # type: ignore[call-overload]
    return text


def words(thing: object, left_out: list[str]) -> str:
    """A docstring in one line, with the words of the blocking client."""
    text = inspect.getdoc(thing) or ""
    for beginning in left_out:
        paragraph, entry = (
            rf"{beginning}.*(\n\S.*)*",
            rf"(?P<gap> +){beginning}.*(\n(?P=gap) +\S.*)*",
        )
        text = re.sub(rf"\n({paragraph}|{entry})", "", text, count=1)
    return alike(" ".join(text.split()), SAME_WORDS)


@pytest.mark.parametrize("name", PAIRS)
def test_both_have_the_same_members(name: str) -> None:
    blocking, asyncio = (surface(cls, name) for cls in PAIRS[name])
    expected = {ASYNC_TWINS.get(member, member) for member in blocking}
    assert set(asyncio) - ONLY_ASYNCIO.get(name, set()) == expected


@pytest.mark.parametrize("name", [name for name, (one, _) in MEMBERS.items() if callable(one)])
def test_members_take_and_give_the_same(name: str) -> None:
    blocking, asyncio = MEMBERS[name]
    if not inspect.isclass(blocking):
        assert parameters(blocking) == parameters(asyncio)
        if name not in OTHER_RESULTS:
            assert result(blocking) == result(asyncio)


@pytest.mark.parametrize("name", MEMBERS)
def test_members_are_explained_in_the_same_words(name: str) -> None:
    blocking, asyncio = (words(one, OTHER_WORDS.get(name, [])) for one in MEMBERS[name])
    assert blocking == asyncio


def test_connect_takes_the_same_parameters_as_the_method() -> None:
    for side in (stompy, stompy.aio):
        assert parameters(side.connect) == parameters(side.STOMPClient.connect)[1:]


# -- files ------------------------------------------------------------------------------------

ONLY_ONE_HAS = {
    "aio/opening.py",  # what is opened by `await` or by `async with`
    "aio/waiting.py",  # event loops have no condition to wait for
}

UNLIKE = {
    # Threads share a condition of the session; tasks wait for each confirmation by itself.
    "confirmation.py": """
        Answering.wait
        Answering.hindrance Answering.priority_read Confirmation.settle
    """,
    # A thread of its own reads and writes; or the event loop, by callbacks, and with room to await.
    "connection.py": """
        Connection.flush Connection.hurry Connection.join Connection.send Connection.silence
        Connection.start Connection.stop Connection.unsent Owner.is_full
        Connection.abort Connection.close Connection.connected Connection.connection_lost
        Connection.connection_made Connection.data_received Connection.ended Connection.now
        Connection.pause_writing Connection.read Connection.resume_writing Connection.room
        Connection.handshake Connection.wait_closed Connection.wait_ended Connection.write
        Owner.opened Connection.refuse Connection.take_unread
    """,
    # The thread is begun later than the socket is opened.
    "connector.py": "OpenConnection",
    # One for each connection and for several threads; or one for all, without a wait after taking.
    "inbox.py": """
        Inbox.after_fork Inbox.get_unless Inbox.put_first Inbox.put_last Inbox.receipt_is_awaited
        Inbox.take_all
        Inbox.drop Inbox.take Inbox.wait
    """,
    # Each connection has an inbox to read from, one after another. A generator that waits cannot be
    # closed by whoever breaks out of `async for`.
    "receiving.py": """
        messages next_connection reading_connection
        Messages Receiving Receiving.recv check_owner
    """,
    # A thread may find its connection ended between choosing and using it; where none follows it,
    # it is used without another look. A task may be cancelled at the end of a transaction, where
    # nothing can be awaited any more.
    "sending.py": "post_over send abandon",
    # Locks, threads and their ends; or an event loop, its timers and its one task.
    "session.py": """
        Session.asked Session.discard Session.forget Session.hurry Session.is_full Session.join
        Session.next_connection Session.stop
        Session.ask Session.check_loop Session.follow Session.forgotten Session.give_up
        Session.hindrance Session.now Session.opened Session.unsubscribe Session.priority_read
        Session.write
    """,
}
"""Public names that only one of both fronts has in a module: those of threads, those of asyncio."""

FRONTS = ROOT / "packages/stompy-core/src/stompy"


def names(front: str) -> set[str]:
    return {file.name for file in (FRONTS / front).glob("*.py")}


def outline(file: str) -> list[str]:
    """The functions, classes and methods of a module in their order."""
    tree = ast.parse((FRONTS / file).read_text(encoding="utf-8"))
    blocking = {twin: name for name, twin in ASYNC_TWINS.items()}
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(node.name)
        for one in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
                found.append(f"{found[-1].partition('.')[0]}.{blocking.get(one.name, one.name)}")
    return list(dict.fromkeys(found))


def is_public(name: str) -> bool:
    return not any(part.startswith("_") for part in name.split("."))


def test_both_fronts_have_the_same_files() -> None:
    alone = {f"sync/{name}" for name in names("sync") - names("aio")}
    alone |= {f"aio/{name}" for name in names("aio") - names("sync")}
    assert alone == ONLY_ONE_HAS


@pytest.mark.parametrize("name", sorted(names("sync") & names("aio")))
def test_modules_have_the_same_names(name: str) -> None:
    blocking, asyncio = (set(outline(f"{side}/{name}")) for side in ("sync", "aio"))
    alone = {one for one in blocking ^ asyncio if is_public(one)}
    assert alone == set(UNLIKE.get(name, "").split())


@pytest.mark.parametrize("name", sorted(names("sync") & names("aio")))
def test_what_both_have_stands_in_the_same_order(name: str) -> None:
    blocking, asyncio = (outline(f"{side}/{name}") for side in ("sync", "aio"))
    shared = set(blocking) & set(asyncio)
    assert [one for one in blocking if one in shared] == [one for one in asyncio if one in shared]
