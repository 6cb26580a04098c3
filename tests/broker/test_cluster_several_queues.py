"""One subscription to several queues, over whole brokers that own them."""

from __future__ import annotations

import itertools
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.broker.test_cluster_directions import connected
from tests.broker.test_cluster_service import PATIENCE, in_cluster, queues, secret, take

import stompy
from stompy import aio
from stompy_broker.broker import Broker

__all__ = ["secret"]

QUEUES = list(queues())[:6]
"""Of several groups, so that each broker owns some of them."""
ALL = ",".join(QUEUES)


@pytest.mark.parametrize("prefetch", [1, 3])
def test_one_credit_over_queues_of_several_brokers(secret: Path, prefetch: int) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            here, *_ = clients = await connected(stack, every)
            for number, client in enumerate(clients):
                await client.message(ALL, f"{number}", confirm=True)
            several = here.subscription(ALL, "client-individual", prefetch=prefetch)
            found: dict[str, list[str]] = {}
            async with several as messages:
                held = []
                while sum(map(len, found.values())) < len(QUEUES) * 3:
                    message = await messages.get(timeout=PATIENCE)
                    found.setdefault(message["destination"], []).append(message.text)
                    held.append(message)
                    if len(held) == prefetch:
                        # No more comes; what was on its way has gone back, and others may have it.
                        with pytest.raises(stompy.STOMPTimeout):
                            await messages.get(timeout=0.05)
                        for one in held:
                            await one.ack()
                        held = []
                for one in held:
                    await one.ack()
            assert found == {queue: ["0", "1", "2"] for queue in QUEUES}

    in_cluster(secret, main, "ann", "bob", "cas")


def test_who_has_no_credit_holds_nothing_that_others_want(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            here, there, _ = await connected(stack, every)
            several = here.subscription(ALL, "client-individual", prefetch=1)
            async with several as messages:
                await there.message(QUEUES[0], "held", confirm=True)
                held = await messages.get(timeout=PATIENCE)
                await there.message(ALL, "for others", confirm=True)
                for queue in QUEUES:
                    assert await take(there, queue, 1) == ["for others"]
                await held.ack()

    in_cluster(secret, main, "ann", "bob", "cas")


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_settled_in_one_transaction_over_brokers(secret: Path, end: str) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            here, there, other = await connected(stack, every)
            await there.message(ALL, "1", confirm=True)
            async with here.subscription(ALL, "client") as messages:
                last = None
                for _ in QUEUES:
                    last = await messages.get(timeout=PATIENCE)
                assert last is not None
                async with here.transaction() as txn:
                    await last.ack(transaction=txn.id)  # and all before it
                    await txn.message("/queue/done", "done")
                    await (txn.commit(True) if end == "commit" else txn.abort(True))
            texts = [] if end == "commit" else ["1"]
            for queue in QUEUES:
                await there.message(queue, "after", confirm=True)
                assert await take(other, queue, len(texts) + 1) == [*texts, "after"]
            if end == "commit":
                assert await take(other, "/queue/done", 1) == ["done"]

    in_cluster(secret, main, "ann", "bob", "cas")


def test_a_pattern_finds_the_queues_of_all_brokers_and_those_to_come(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = await connected(stack, every)
            names = [f"/queue/w.{number}" for number in range(8)]
            for name, client in zip(names, itertools.cycle(clients)):
                await client.message(name, "before", confirm=True)
            async with clients[0].subscription("/queue/w.*", "client-individual") as messages:
                await see(messages, names, "before")
                late = [f"/queue/w.late{number}" for number in range(8)]
                for name, client in zip(late, itertools.cycle(clients)):
                    await client.message(name, "later", confirm=True)
                await see(messages, late, "later")
            for name in (*names, *late):
                await clients[1].message(name, "rest", confirm=True)
                assert await take(clients[2], name, 1) == ["rest"]

    async def see(messages: aio.Subscription, names: list[str], text: str) -> None:
        found = set()
        for _ in names:
            message = await messages.get(timeout=PATIENCE)
            assert message.text == text
            found.add(message["destination"])
            await message.ack()
        assert found == set(names)

    in_cluster(secret, main, "ann", "bob", "cas")


def test_temporary_topics_reach_all_brokers(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            owner, sender, third = await connected(stack, every)
            async with sender.subscription("/queue/ask", "auto") as questions:
                own = owner.subscription("/temp-topic/answers", "auto")
                async with own as answers:
                    await owner.message(
                        "/queue/ask", "?", headers={"reply-to": "/temp-topic/answers"}
                    )
                    address = (await questions.get(timeout=PATIENCE))["reply-to"]
                    async with third.subscription(address, "auto") as same:
                        await sender.message(address, "!", confirm=True)
                        for got in (answers, same):
                            message = await got.get(timeout=PATIENCE)
                            assert (message.text, message["destination"]) == ("!", address)

    in_cluster(secret, main, "ann", "bob", "cas")
