"""Queues that topics are bound to, and queues that end with their consumers, over whole brokers.

Each test goes through all pairs of brokers, so that a queue lives at the one, at the other, or at
neither.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.broker.test_cluster_service import PATIENCE, in_cluster, secret
from tests.broker.test_cluster_topics import moved, texts
from tests.support.house import figures

import stompy
from stompy import aio
from stompy_broker.broker import Broker
from stompy_broker.cluster.remote.placed_queue import PlacedQueue

__all__ = ["secret"]

NAMES = ("ann", "bob", "cas")
LASTING = {"durable": "true", "auto-delete": "false"}


async def clients_of(stack: AsyncExitStack, every: list[Broker]) -> list[aio.STOMPClient]:
    return [await stack.enter_async_context(aio.connect(one.url)) for one in every]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 -- of brokers
            await asyncio.sleep(0.01)


def own(name: str, **more: str) -> dict[str, str]:
    return {"x-queue-name": name, **LASTING, **more}


def known(every: list[Broker], name: str) -> list[tuple[str, ...]]:
    """What each broker knows of what is bound to a queue."""
    found = [broker._router.registry.durable.by_name.get(name) for broker in every]
    return [one.patterns if one is not None else () for one in found]


def there(every: list[Broker], name: str) -> bool:
    """Whether any broker has a queue of that name."""
    return any(broker._router.registry.has_queue(name) for broker in every)


def unused(every: list[Broker], name: str) -> bool:
    """Whether its owner knows that nothing is in a queue, and nobody takes part."""
    queues = [broker._router.queues.get(name) for broker in every]
    (local,) = [queue.local for queue in queues if isinstance(queue, PlacedQueue) and queue.local]
    told = figures(local)
    return not (told.consumers or told.ready or told.unacked)


def test_a_queue_gets_what_any_broker_is_sent_for_its_topics(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = await clients_of(stack, every)
            for number, (here, there) in enumerate(itertools.permutations(clients, 2)):
                name = f"q{number}"
                async with here.subscription(f"/topic/{name}.a", headers=own(name)):
                    pass
                async with there.subscription(f"/topic/{name}.*", headers=own(name)):
                    pass
                await here.message(f"/topic/{name}.a", "1", confirm=True)
                await there.message(f"/topic/{name}.b", "2", confirm=True)
                await there.message(f"/queue/{name}", "3", confirm=True)
                async with there.subscription(f"/topic/{name}.a", headers=own(name)) as messages:
                    assert await texts(messages, 3) == ["1", "2", "3"]
                await until(lambda name=name: len(set(known(every, name))) == 1)  # type: ignore[misc]
                assert known(every, name)[0] == (f"{name}.a", f"{name}.*")

    in_cluster(secret, main, *NAMES)


def test_arguments_and_bindings_go_with_the_group(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        cluster = every[0]._cluster
        assert cluster is not None
        async with AsyncExitStack() as stack:
            clients = await clients_of(stack, every)
            arguments = {"x-max-length": "2", "x-overflow": "drop-head"}
            for name in ("q1", "q2", "q3"):
                headers = own(name, **arguments)
                async with clients[0].subscription(f"/topic/{name}", headers=headers):
                    pass
            for group in range(cluster.count):
                owner = cluster.node.owner_of(group)
                moved(every, group)
                await until(lambda g=group, o=owner: cluster.node.owner_of(g) not in ("", o))  # type: ignore[misc]
            for name in ("q1", "q2", "q3"):
                for number in range(3):
                    await clients[1].message(f"/topic/{name}", str(number), confirm=True)
                async with clients[0].subscription(f"/queue/{name}") as messages:
                    assert await texts(messages, 2) == ["1", "2"]
                await until(lambda name=name: unused(every, name))  # type: ignore[misc]
                ending = {"destination": f"/topic/{name}", "x-queue-name": name, **LASTING}
                await clients[1].send("UNSUBSCRIBE", headers={"id": "x", **ending}, confirm=True)
                await until(lambda name=name: not any(known(every, name)))  # type: ignore[misc]
                await until(lambda name=name: not there(every, name))  # type: ignore[misc]

    in_cluster(secret, main, "ann", "bob")


def test_queues_end_with_their_last_consumer_wherever_that_is(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = await clients_of(stack, every)
            pairs = itertools.permutations(clients, 2)
            for number, (one, other) in enumerate(pairs):
                name = f"q{number}"
                headers = {"auto-delete": "true"}
                async with AsyncExitStack() as both:
                    first = await one.subscription(f"/queue/{name}", headers=headers)
                    second = await both.enter_async_context(other.subscription(f"/queue/{name}"))
                    await first.unsubscribe()
                    await one.message(f"/queue/{name}", "here", confirm=True)
                    assert await texts(second, 1) == ["here"]
                    await one.message(f"/queue/{name}", "not settled", confirm=True)
                await until(lambda name=name: not there(every, name))  # type: ignore[misc]
                # Who knows nothing of it makes it again, and it ends again.
                await one.message(f"/queue/{name}", "late", confirm=True)
                async with other.subscription(f"/queue/{name}") as second:
                    assert await texts(second, 1) == ["late"]
                await until(lambda name=name: not there(every, name))  # type: ignore[misc]

    in_cluster(secret, main, *NAMES)


def test_a_queue_is_for_one_connection_alone_in_all_brokers(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = await clients_of(stack, every)
            for number, (one, two) in enumerate(itertools.permutations(range(len(every)), 2)):
                name = f"/queue/q{number}"
                async with aio.connect(every[one].url) as owner:
                    await stack.enter_async_context(owner.subscription(name, exclusive=True))
                    async with aio.connect(every[two].url) as other:
                        with pytest.raises(stompy.STOMPError, match="another connection"):
                            async with other.subscription(name):
                                pass
                await until(lambda number=number: not there(every, f"q{number}"))  # type: ignore[misc]
                await clients[two].message(name, "for nobody", confirm=True)
                async with clients[two].subscription(name):
                    pass

    in_cluster(secret, main, *NAMES)


def test_members_of_a_group_share_over_all_brokers(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = await clients_of(stack, every)
            members = [
                await stack.enter_async_context(
                    one.subscription("/topic/jobs.*", share="workers", prefetch=1)
                )
                for one in clients
            ]
            for number in range(len(members)):
                await clients[number].message(f"/topic/jobs.{number}", str(number), confirm=True)
            found = [text for member in members for text in await texts(member, 1)]
            assert sorted(found) == ["0", "1", "2"]
            for member in members:
                await member.unsubscribe()
            await until(lambda: not any(b._router.registry.durable.by_name for b in every))
            await until(lambda: not any(b._router.queues for b in every))

    in_cluster(secret, main, *NAMES)
