"""Commands about the broker itself, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.support.admin import Observer, observing
from tests.support.wire import cheap_hash, running_broker

from stompy.admin import Kind, Table, page_from
from stompy_broker import RunningBroker


def test_the_broker_describes_itself(admin: Observer) -> None:
    told = admin.ask("broker.help")
    names = [command["name"] for command in told["commands"]]
    assert names == sorted(names)
    assert {"queue.purge", "message.retry", "connection.close", "ping"} <= set(names)
    for command in told["commands"]:
        assert command["meaning"]
        assert command["role"] in ("monitor", "operator", "admin")


def test_info_and_stats(broker: RunningBroker, admin: Observer) -> None:
    info = admin.ask("broker.info")
    assert (info["role"], info["admin_version"]) == ("admin", 1)
    assert admin.ask("broker.stats")["connections"] == broker.connections()


def test_a_snapshot_can_be_asked_for(admin: Observer) -> None:
    for number in range(250):
        admin.peer.send(f"SEND\ndestination:/queue/snap.{number}\n\nx\0")
    admin.ask("ping")
    body = json.dumps({"cmd": "snapshot.get", "args": {"kind": "queues", "format": "columns"}})
    replies = admin.replies(body.encode())
    assert [reply.final for reply in replies] == [False] * (len(replies) - 1) + [True]
    table = Table(Kind.QUEUES)
    done = [table.add(page_from(reply.checked())) for reply in replies]
    assert done[-1]
    assert len(table.rows) >= 250
    for number in range(250):
        admin.ask("queue.delete", queue=f"snap.{number}")


USERS = {name: cheap_hash("secret") for name in ("none", "operator", "admin")}


@pytest.fixture(scope="module")
def guarded() -> Iterator[RunningBroker]:
    with running_broker(
        users=USERS, roles={name: [name] for name in ("operator", "admin")}
    ) as broker:
        yield broker


def test_draining_lets_operators_in_only(guarded: RunningBroker) -> None:
    with observing(guarded.port, "login:admin", "passcode:secret") as admin:
        admin.ask("broker.drain")
        with pytest.raises(AssertionError, match="shutting-down"):
            with observing(guarded.port, "login:none", "passcode:secret"):
                pass
        with observing(guarded.port, "login:operator", "passcode:secret") as operator:
            assert operator.ask("broker.stats")["draining"]
        admin.ask("broker.drain", enable=False)
        with observing(guarded.port, "login:none", "passcode:secret"):
            pass
