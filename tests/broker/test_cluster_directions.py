"""Virtual topics, routes, exchanges and composite SENDs over whole brokers."""

from __future__ import annotations

import itertools
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.broker import test_cluster_service
from tests.broker.test_cluster_service import PATIENCE, in_cluster, queues, secret

import stompy
from stompy import aio
from stompy_broker.broker import Broker
from stompy_broker.config import BrokerConfig
from stompy_broker.routing_config import RouteConfig

__all__ = ["secret"]

QUEUES = list(queues())


async def bodies(client: aio.STOMPClient, queue: str, count: int) -> list[tuple[str, str]]:
    """What is in a queue: text and ``message-id``."""
    found = []
    async with client.subscription(queue, "client-individual") as messages:
        for _ in range(count):
            message = await messages.get(timeout=PATIENCE)
            found.append((message.text, message["message-id"]))
            await message.ack()
    return found


async def connected(stack: AsyncExitStack, every: list[Broker]) -> list[aio.STOMPClient]:
    return [await stack.enter_async_context(aio.connect(one.url)) for one in every]


def test_who_has_the_receipt_for_a_queue_of_a_virtual_topic_misses_nothing(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = await connected(stack, every)
            for number, (here, there) in enumerate(itertools.permutations(clients, 2)):
                # Several names, so that each broker owns some of them.
                for word in "ABCD":
                    topic = f"VirtualTopic.{number}.{word}"
                    async with here.subscription(f"/queue/Consumer.{word}.{topic}"):
                        await there.message(f"/topic/{topic}", "1", confirm=True)
                    await there.message(f"/topic/{topic}", "2", confirm=True)
                    async with here.subscription(
                        f"/queue/Consumer.{word}.{topic}", "auto"
                    ) as messages:
                        texts = [(await messages.get(timeout=PATIENCE)).text for _ in range(2)]
                        assert texts == ["1", "2"]

    in_cluster(secret, main, "ann", "bob", "cas")


def test_one_send_to_queues_of_several_brokers_is_one_change(secret: Path) -> None:
    parts = QUEUES[:6]

    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = await connected(stack, every)
            for number, client in enumerate(clients):
                await client.message(",".join(parts), f"{number}", confirm=True)
                async with client.transaction() as txn:
                    await txn.message(",".join(parts), f"{number} in a transaction")
            seen = [await bodies(clients[0], part, 6) for part in parts]
            assert all(one == seen[0] for one in seen)
            expected = [f"{n}{rest}" for n in range(3) for rest in ("", " in a transaction")]
            assert [text for text, _ in seen[0]] == expected

    in_cluster(secret, main, "ann", "bob", "cas")


def test_a_queue_that_is_full_at_its_owner_refuses_it_for_all(secret: Path) -> None:
    short = {"x-max-length": "1", "x-overflow": "reject-publish"}
    parts = QUEUES[:6]

    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = await connected(stack, every)
            async with clients[0].subscription(parts[0], headers=short):
                pass
            await clients[0].message(",".join(parts), "first", confirm=True)
            with pytest.raises(stompy.STOMPError, match="full"):
                await clients[1].message(",".join(parts), "second", confirm=True)
            assert [len(await bodies(clients[2], part, 1)) for part in parts] == [1] * 6
            async with clients[2].subscription(parts[1], "auto") as rest:
                await clients[2].message(parts[1], "only this", confirm=True)
                assert (await rest.get(timeout=PATIENCE)).text == "only this"

    in_cluster(secret, main, "ann", "bob", "cas")


def test_exchanges_reach_subscribers_of_all_brokers(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = await connected(stack, every)
            for here, there in itertools.permutations(clients, 2):
                for send, subscribe in (
                    ("/exchange/amq.direct/k", "/exchange/amq.direct/k"),
                    ("/exchange/amq.fanout/any", "/exchange/amq.fanout"),
                    ("/exchange/amq.topic/a.b", "/topic/a.*"),
                ):
                    async with here.subscription(subscribe, "auto") as messages:
                        await there.message(send, "m", confirm=True)
                        message = await messages.get(timeout=PATIENCE)
                        assert message["destination"] == send
                pair = {"x-match": "all", "code": "1"}
                async with here.subscription(
                    "/exchange/amq.headers", "auto", headers=pair
                ) as messages:
                    for code in "21":
                        await there.message(
                            "/exchange/amq.headers/any", code, confirm=True, headers={"code": code}
                        )
                    assert (await messages.get(timeout=PATIENCE)).text == "1"

    in_cluster(secret, main, "ann", "bob", "cas")


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have brokers that are started copy what is sent to one queue to several."""
    targets = QUEUES[1:6]
    plain = test_cluster_service.configured
    route = RouteConfig.model_validate({"from": QUEUES[0], "to": targets})

    def configured(secret: Path, name: str, cluster: str, port: int) -> BrokerConfig:
        return plain(secret, name, cluster, port).model_copy(update={"route": (route,)})

    monkeypatch.setattr(test_cluster_service, "configured", configured)
    return targets


def test_routes_lead_to_queues_of_other_brokers(secret: Path, routed: list[str]) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = await connected(stack, every)
            for number, client in enumerate(clients):
                await client.message(QUEUES[0], f"{number}", confirm=True)
            seen = [await bodies(clients[0], one, 3) for one in [QUEUES[0], *routed]]
            assert all(one == seen[0] for one in seen)
            assert [text for text, _ in seen[0]] == ["0", "1", "2"]

    in_cluster(secret, main, "ann", "bob", "cas")
