"""What comes later in a cluster: any broker takes it, the owner has it, all know of it."""

from __future__ import annotations

import itertools
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.broker.test_cluster_service import PATIENCE, in_cluster, queues, secret

from stompy import aio
from stompy.admin import COMMAND_DESTINATION, CommandErrorCode
from stompy_broker.broker import Broker

__all__ = ["secret"]

HOUR = 3600_000
QUEUES = list(queues())


async def ask(client: aio.STOMPClient, command: str, **args: Any) -> dict[str, Any]:
    """Give a command, and take its result or its error."""
    only = {name: args.pop(name) for name in ("dry_run", "expect") if name in args}
    request = json.dumps({"v": 1, "cmd": command, "args": args, **only})
    reply = (await client.request(COMMAND_DESTINATION, request, timeout=PATIENCE)).json
    assert isinstance(reply, dict)
    return reply


async def connected(stack: AsyncExitStack, every: list[Broker]) -> list[aio.STOMPClient]:
    return [await stack.enter_async_context(aio.connect(one.url)) for one in every]


async def spread(every: list[Broker], client: aio.STOMPClient) -> None:
    """See that each broker owns something."""
    for queue, one in zip(QUEUES, itertools.cycle(every)):
        broker = one.config.cluster.id
        assert "result" in await ask(client, "cluster.move", broker=broker, queue=queue)


async def owners(client: aio.STOMPClient) -> dict[str, str]:
    """Which broker has what is to come to which destination."""
    rows = (await ask(client, "scheduled.list"))["result"]["rows"]
    return {row["destination"]: row["broker"] for row in rows}


def test_a_series_comes_whichever_broker_took_it(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = await connected(stack, every)
            for number, queue in enumerate(QUEUES):
                sender, receiver = clients[number % 3], clients[(number + 1) % 3]
                headers = {"x-repeat-every": "100", "x-repeat-times": "2", "x-schedule-id": "job"}
                await sender.message(queue, "x", headers=headers, confirm=True)
                async with receiver.subscription(queue, "auto") as messages:
                    found = [await messages.get(timeout=PATIENCE) for _ in range(3)]
                assert [one["scheduled-number"] for one in found] == ["1", "2", "3"]
                assert {one["scheduledJobId"] for one in found} == {"job"}

    in_cluster(secret, main, "ann", "bob", "cas")


def test_a_name_is_one_schedule_for_all_brokers(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = await connected(stack, every)
            cancel = {"x-schedule-id": "job", "x-schedule-cancel": "true"}
            for queue in QUEUES:
                for number, client in enumerate(clients):
                    headers = {"x-delay": str(HOUR + number), "x-schedule-id": "job"}
                    await client.message(queue, str(number), headers=headers, confirm=True)
            listed = (await ask(clients[0], "scheduled.list"))["result"]["rows"]
            assert sorted(row["destination"] for row in listed) == QUEUES
            assert {row["delay_ms"] for row in listed} == {HOUR + 2}
            told = [await clients[0].cancel_schedule(queue, "job") for queue in QUEUES]
            assert told == [True] * len(QUEUES)
            assert not await clients[1].cancel_schedule(QUEUES[0], "job")
            async with clients[2].transaction() as txn:
                await txn.message(QUEUES[0], "", headers=cancel)

    in_cluster(secret, main, "ann", "bob", "cas")


def test_whoever_is_asked_lists_and_changes_what_all_have(secret: Path) -> None:
    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = await connected(stack, every)
            await spread(every, clients[0])
            for number, queue in enumerate(QUEUES):
                headers = {"x-delay": str(HOUR + 1000 * number), "n": str(number)}
                await clients[number % 3].message(queue, "x", headers=headers, confirm=True)
            for client in clients:
                result = (await ask(client, "scheduled.list", limit=3))["result"]
                assert [row["destination"] for row in result["rows"]] == QUEUES[:3]
                assert result["more"]
                rest = (await ask(client, "scheduled.list", offset=3))["result"]
                assert [row["destination"] for row in rest["rows"]] == QUEUES[3:]
                assert not rest["more"]
            jobs = [row["job_id"] for row in result["rows"]]
            assert len(set((await owners(clients[0])).values())) > 1
            shown = (await ask(clients[1], "scheduled.get", id=jobs[0]))["result"]
            assert shown["message"]["body"] == "x"
            wrong = await ask(clients[0], "scheduled.cancel", ids=jobs, expect=2)
            assert wrong["error"]["code"] == CommandErrorCode.CONFLICT
            dry = await ask(clients[0], "scheduled.cancel", selector="n < 5", dry_run=True)
            assert (dry["result"]["matched"], dry["result"]["cancelled"]) == (5, 0)
            done = await ask(clients[0], "scheduled.cancel", ids=jobs, expect=3)
            assert done["result"]["cancelled"] == 3
            fired = await ask(clients[1], "scheduled.fire_now", ids=[rest["rows"][0]["job_id"]])
            assert fired["result"]["fired"] == 1
            async with clients[2].subscription(QUEUES[3], "auto") as messages:
                assert (await messages.get(timeout=PATIENCE)).text == "x"
            gone = await ask(clients[2], "scheduled.fire_now", ids=jobs)
            assert gone["error"]["code"] == CommandErrorCode.NOT_FOUND
            at = 4_102_444_800_000
            last = rest["rows"][-1]["job_id"]
            moved = await ask(clients[2], "scheduled.reschedule", id=last, at=at)
            assert moved["result"]["rescheduled"] == 1
            async with clients[0].subscription("/topic/$SYS.scheduled", "auto") as pages:
                rows = (await pages.get(timeout=PATIENCE)).json["data"]
            assert len(rows) == 4
            assert max(row["next_at"] for row in rows) == at

    in_cluster(secret, main, "ann", "bob", "cas")


def test_schedules_go_on_at_the_next_owner(secret: Path) -> None:
    """What moves and what its owner leaves keeps names, times and how often each has fired."""

    async def main(every: list[Broker]) -> None:
        async with AsyncExitStack() as stack:
            clients = await connected(stack, every[:2])
            series = {"x-repeat-every": "100", "x-repeat-times": "-1", "x-schedule-id": "job"}
            for queue in QUEUES:
                await clients[0].message(queue, "x", headers=series, confirm=True)
            await spread(every, clients[0])
            assert len(set((await owners(clients[0])).values())) > 1
            await every[2].stop()
            for queue in QUEUES:
                async with clients[1].subscription(queue, "auto") as messages:
                    last = 0
                    while last < 20:
                        message = await messages.get(timeout=PATIENCE)
                        number = int(message["scheduled-number"])
                        assert number - int(message.get("scheduled-missed", "1")) == last
                        last = number
                assert await clients[0].cancel_schedule(queue, "job")

    in_cluster(secret, main, "ann", "bob", "cas")
