"""Whole brokers of a cluster in one event loop: each serves each client, whoever owns what."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tests.support.looping import run
from tests.support.nats import free_ports, house_server

import stompy
from stompy import aio
from stompy_broker.broker import Broker
from stompy_broker.config import BrokerConfig, ConfigError, load_config
from stompy_broker.destinations.policy import Policy
from stompy_broker.store.base import StoreError

NUMBERS = itertools.count(1)
PATIENCE = 30.0


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("a secret of tests that is long enough\n")
    file.chmod(0o600)
    return file


def configured(secret: Path, name: str, cluster: str, port: int, **more: object) -> BrokerConfig:
    return load_config(
        overrides={
            "listen": {"port": port},
            "store": {"data": str(secret.parent / name)},
            "times": {"shutdown": 0.5, "linger": 0.5},
            "cluster": {
                "name": cluster,
                "id": name,
                "nats": [house_server().url],
                "secret_file": str(secret),
                "advertise": f"127.0.0.1:{port}",
                "groups": 4,
                "replicas": 1,
                "trust_sync": True,
                "silence": 1.0,
                **more,
            },
        }
    )


@asynccontextmanager
async def brokers(secret: Path, *names: str) -> AsyncIterator[list[Broker]]:
    """Brokers of one cluster, all of which have joined."""
    cluster = f"service{next(NUMBERS)}"
    async with AsyncExitStack() as stack:
        every = [
            Broker(configured(secret, name, cluster, port))
            for name, port in zip(names, free_ports(len(names)), strict=True)
        ]
        await asyncio.gather(*(broker.start() for broker in every))
        for broker in every:
            stack.push_async_callback(broker.stop)
        yield every


def queues() -> Iterator[str]:
    """Names of queues that belong to several groups."""
    return (f"/queue/q{number}" for number in range(8))


async def take(client: aio.STOMPClient, queue: str, count: int) -> list[str]:
    async with client.subscription(queue) as messages:
        found = []
        for _ in range(count):
            message = await messages.get(timeout=PATIENCE)
            found.append(message.text)
            await message.ack()
    return found


def in_cluster(secret: Path, main: Callable[[list[Broker]], Awaitable[None]], *names: str) -> None:
    async def everything() -> None:
        async with brokers(secret, *names) as every:
            await main(every)

    run(everything)


def test_any_broker_serves_any_client(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(aio.connect(broker.url)) for broker in every]
            for queue in queues():
                for number, client in enumerate(clients):
                    await client.message(queue, f"{number}", confirm=True)
            for queue, client in zip(queues(), itertools.cycle(clients)):
                assert await take(client, queue, 3) == ["0", "1", "2"]

    in_cluster(secret, main, "ann", "bob", "cas")


def test_a_commit_is_refused_by_a_queue_that_is_full_at_its_owner(secret: Path) -> None:
    """Also by a broker that has never heard of the queue: its owner has set it up to be short."""
    short = {"x-max-length": "1", "x-overflow": "reject-publish"}

    async def main(every: list[Broker]) -> None:
        for queue, (first, other) in itertools.product(queues(), (every, every[::-1])):
            name = f"{queue}.{first.config.cluster.id}"
            async with aio.connect(first.url) as client:
                async with client.subscription(name, headers=short):
                    await client.message(name, "first", confirm=True)
            async with aio.connect(other.url) as client:
                with pytest.raises(stompy.STOMPError, match="full"):
                    async with client.transaction() as txn:
                        await txn.message(name, "one too many")

    in_cluster(secret, main, "ann", "bob")


def test_topics_go_to_subscribers_of_all_brokers(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with (
            aio.connect(every[0].url) as here,
            aio.connect(every[1].url) as there,
            here.subscription("/topic/news.*", "auto") as first,
            there.subscription("/topic/news.>", "auto") as second,
        ):
            await here.message("/topic/news.local", "1", confirm=True)
            await there.message("/topic/news.world", "2", confirm=True)
            for subscription in (first, second):
                got = {(await subscription.get(timeout=PATIENCE)).text for _ in range(2)}
                assert got == {"1", "2"}

    in_cluster(secret, main, "ann", "bob")


def test_a_durable_subscription_gets_what_any_broker_is_told_meanwhile(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with aio.connect(every[0].url, headers={"client-id": "me"}) as client:
            async with client.subscription("/topic/news", durable="mine"):
                pass
        for number, broker in enumerate(every):
            async with aio.connect(broker.url) as other:
                await other.message("/topic/news", f"{number}", confirm=True)
        async with (
            aio.connect(every[1].url, headers={"client-id": "me"}) as client,
            client.subscription("/topic/news", durable="mine") as messages,
        ):
            for number in range(len(every)):
                message = await messages.get(timeout=PATIENCE)
                assert message.text == f"{number}"
                await message.ack()

    in_cluster(secret, main, "ann", "bob", "cas")


def test_requests_are_answered_over_brokers(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with (
            aio.connect(every[0].url) as asking,
            aio.connect(every[1].url) as answering,
            answering.subscription("/queue/ask") as questions,
        ):

            async def answer() -> None:
                question = await questions.get(timeout=PATIENCE)
                await question.reply(f"{question.text}!")
                await question.ack()

            answered = asyncio.create_task(answer())
            reply = await asking.request("/queue/ask", "you", timeout=PATIENCE)
            assert reply.text == "you!"
            await answered

    in_cluster(secret, main, "ann", "bob")


def test_who_leaves_hands_its_queues_over_with_all_that_is_in_them(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        ann, bob = every
        async with aio.connect(ann.url) as client:
            for queue in queues():
                await client.message(queue, queue, confirm=True)
        await ann.stop()
        async with aio.connect(bob.url) as client:
            for queue in queues():
                assert await take(client, queue, 1) == [queue]

    in_cluster(secret, main, "ann", "bob")


def test_clients_of_who_leaves_learn_of_the_others(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        ann, bob = every
        async with aio.connect(ann.url, reconnect=True) as client:
            await ann.stop()
            await client.message("/queue/q", "over there", confirm=True)
        async with aio.connect(bob.url) as client:
            assert await take(client, "/queue/q", 1) == ["over there"]

    in_cluster(secret, main, "ann", "bob")


def test_message_ids_of_several_brokers_differ(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        ids: list[str] = []
        for broker in every:
            async with (
                aio.connect(broker.url) as client,
                client.subscription("/topic/t", "auto") as topic,
                client.subscription("/temp-queue/t", "auto") as temporary,
            ):
                for _ in range(3):
                    await client.message("/topic/t", "")
                    await client.message("/temp-queue/t", "")
                    ids += [
                        (await one.get(timeout=PATIENCE)).headers["message-id"]
                        for one in (topic, temporary)
                    ]
        assert len(set(ids)) == len(ids)

    in_cluster(secret, main, "ann", "bob")


def test_the_cluster_is_shown_by_each_broker(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        for broker in every:
            cluster = broker._cluster
            assert cluster is not None
            view = cluster.view
            assert [(one.id, one.state) for one in sorted(view.members(), key=str)] == [
                ("ann", "alive"),
                ("bob", "alive"),
            ]
            assert {one.owner for one in view.groups()} <= {"ann", "bob"}
            assert [one.state for one in view.groups()] == ["owned"] * 4
            assert [one.state for one in view.servers()] == ["leader"]
            assert broker.health.not_ready() == ""

    in_cluster(secret, main, "ann", "bob")


def test_others_are_told_of_settings_that_were_read_again(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        (ann,) = every
        assert ann._cluster is not None
        before = dict(ann._cluster.view.facts)
        changed = ann.config.model_copy(
            update={"policy": (Policy(match="/queue/q", max_length=1),)}
        )
        ann._go_by(changed)
        after = ann._cluster.view.facts
        assert {name for name in before if before[name] != after[name]} == {"settings.policy"}

    in_cluster(secret, main, "ann")


def test_a_broker_without_servers_says_so(secret: Path) -> None:
    async def main() -> None:
        (port, nobody) = free_ports(2)
        config = configured(
            secret, "ann", "nowhere", port, nats=[f"nats://127.0.0.1:{nobody}"], patience=0.5
        )
        with pytest.raises(StoreError, match="cluster 'nowhere'"):
            await Broker(config).start()

    run(main)


def test_a_secret_that_is_not_there_is_missed(secret: Path) -> None:
    secret.unlink()

    async def main() -> None:
        with pytest.raises(ConfigError, match="secret_file"):
            await Broker(configured(secret, "ann", "nowhere", free_ports(1)[0])).start()

    run(main)


def test_brokers_that_group_queues_otherwise_do_not_join(secret: Path) -> None:
    async def main() -> None:
        cluster = f"service{next(NUMBERS)}"
        first, second = free_ports(2)
        async with Broker(configured(secret, "ann", cluster, first)):
            other = Broker(configured(secret, "bob", cluster, second, groups=5))
            with pytest.raises(StoreError, match="group"):
                await other.start()

    run(main)


def test_messages_of_a_broker_that_was_alone_are_told_of(
    secret: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (secret.parent / "ann").mkdir(mode=0o700)
    (secret.parent / "ann" / "messages.db").touch()

    async def main() -> None:
        async with brokers(secret, "ann"):
            pass

    run(main)
    assert "messages.db is of a broker that was alone" in caplog.text


def test_links_are_told_of_the_rules_as_they_are_now(secret: Path) -> None:
    async def main() -> None:
        (port,) = free_ports(1)
        old = configured(secret, "ann", f"service{next(NUMBERS)}", port)
        new = old.model_copy(update={"policy": (Policy(match="/queue/q", max_length=2),)})
        async with Broker(old, reread=lambda: new) as broker:
            view = broker._cluster_status()
            assert view is not None
            before = dict(view.facts)
            assert broker.reload() == []
            assert dict(view.facts) != before

    run(main)


def test_two_brokers_do_not_share_a_directory(secret: Path) -> None:
    async def main() -> None:
        cluster = f"service{next(NUMBERS)}"
        first, second = free_ports(2)
        # Neither says who it is: the directory does.
        async with Broker(configured(secret, "data", cluster, first, id="")):
            with pytest.raises(StoreError, match="in use by a broker"):
                await Broker(configured(secret, "data", cluster, second, id="")).start()
        async with Broker(configured(secret, "data", cluster, second, id="")):
            pass  # it has been given back

    run(main)


def test_clients_that_come_too_early_are_told(secret: Path) -> None:
    async def main() -> None:
        cluster = f"service{next(NUMBERS)}"
        (port,) = free_ports(1)
        broker = Broker(configured(secret, "ann", cluster, port))
        starting = asyncio.create_task(broker.start())
        refused: list[stompy.STOMPError] = []
        while not starting.done():
            try:
                async with aio.connect(f"stomp://127.0.0.1:{port}"):
                    pass
            except stompy.STOMPConnectionError:
                await asyncio.sleep(0.001)
            except stompy.STOMPError as error:
                refused.append(error)
        await starting
        assert [str(one) for one in refused if "not joined its cluster yet" not in str(one)] == []
        await broker.stop()

    run(main)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_transaction_is_one_over_groups_of_several_owners(secret: Path, at: int) -> None:
    async def main(every: list[Broker]) -> None:
        async with aio.connect(every[at].url) as client:
            await client.message("/queue/q0", "work", confirm=True)
            async with client.subscription("/queue/q0", ack_mode="client-individual") as work:
                piece = await work.get(timeout=PATIENCE)
                async with client.transaction() as transaction:
                    for queue in list(queues())[1:]:
                        await transaction.message(queue, "piece")
                    await transaction.ack(piece)
            for queue in list(queues())[1:]:
                assert await take(client, queue, 1) == ["piece"]
            assert await every[at].browse("q0") == []

    in_cluster(secret, main, "ann", "bob", "cas")


def test_queues_are_browsed_wherever_they_are(secret: Path) -> None:
    """By a client of any broker, also what consumers at another one have."""

    async def scenario() -> None:
        async with brokers(secret, "a", "b") as (a, b):
            async with aio.connect(a.url) as near, aio.connect(b.url) as far:
                for queue in queues():
                    for number in range(4):
                        await near.message(queue, str(number), headers={"n": number}, confirm=True)
                for queue in queues():
                    async with far.subscription(queue, prefetch=1) as held:
                        assert (await held.get(timeout=PATIENCE)).text == "0"
                        for client in (near, far):
                            assert await shown(client, queue) == [
                                ("0", "unacked"),
                                ("1", "ready"),
                                ("2", "ready"),
                                ("3", "ready"),
                            ]
                        assert await shown(far, queue, selector="n > 1", limit=1) == [
                            ("2", "ready")
                        ]
                by_pattern = await shown(far, "/queue/*", offset=4, limit=8)
                assert [text for text, _ in by_pattern] == ["0", "1", "2", "3"] * 2
                assert await shown(near, "/queue/nobody.made.it") == []
            query = "SELECT queue, count(*) FROM messages GROUP BY 1 ORDER BY 1"
            for broker in (a, b):
                table = await broker.queries.sql(query)
                assert table.rows == [(queue.removeprefix("/queue/"), 4) for queue in queues()]

    async def shown(
        client: aio.STOMPClient, queue: str, **options: object
    ) -> list[tuple[str, str | None]]:
        browsing = client.browse(queue, timeout=PATIENCE, **options)  # type: ignore[arg-type]
        return [(message.text, message.get("state")) async for message in browsing]

    run(scenario)
