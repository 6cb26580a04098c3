"""Load on a cluster whose every message is accounted for.

Producers number what they send, each to a queue of its own, and note what was confirmed. Consumers
acknowledge within transactions, so that they know what was acknowledged. Workers take a message,
send two and acknowledge the one, in one transaction. In the end everything that is left is taken
out, and the books have to agree:

* nothing that was confirmed is **lost**;
* nothing that was acknowledged **comes back**;
* no transaction is **torn**, or done twice;
* what came to a consumer for the first time is **in order**;
* a message that comes again is **marked** as such.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress

import stompy
from stompy import aio
from stompy.aio.opening import Opening
from stompy.aio.transaction import STOMPTransaction

SWIFT = stompy.Reconnect(delay=0.02, max_delay=0.3)
BEAT = (2000, 2000)
PATIENCE = 90.0
_WINDOW = 20
_QUIET = 2.0

TAKEN, LEFT, RIGHT = "/queue/work.taken", "/queue/work.left", "/queue/work.right"
WORK_PIN = "/queue/work.>"

_LOSSES = (stompy.STOMPConnectionError, stompy.STOMPTimeout)


class Ledger:
    """Clients of several brokers, and what they were told.

    Args:
        urls: of the brokers.
        lanes: how many producers there are, each with a queue and a consumer.
    """

    def __init__(self, urls: Sequence[str], lanes: int = 3) -> None:
        self._urls = list(urls)
        self._lanes = lanes
        self._over = False
        self._tasks: list[asyncio.Task[None]] = []
        self.confirmed: set[str] = set()
        self.doubtful: set[str] = set()  # an ACK was sent
        self.acked: set[str] = set()
        self.committed: set[str] = set()
        self.seen: dict[str, int] = {}  # how often a message-id was delivered
        self.problems: list[str] = []
        self.left_over: dict[str, list[str]] = {}

    # -- running ----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to send and to receive."""
        for lane in range(self._lanes):
            self._begin(f"produce {lane}", self._produce(lane))
            self._begin(f"consume {lane}", self._consume(lane))
        self._begin("produce work", self._produce_work())
        self._begin("work", self._work())

    def _begin(self, name: str, work: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    def _client(self, first: int) -> Opening[aio.STOMPClient]:
        # Each begins with another broker, so that fronts are used as well.
        first %= len(self._urls)
        return aio.connect(
            self._urls[first:] + self._urls[:first], reconnect=SWIFT, heart_beat=BEAT, timeout=3.0
        )

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many messages are confirmed, and acknowledged, and transactions committed."""
        return len(self.confirmed), len(self.acked), len(self.committed)

    async def progress(self, more: int = 200) -> None:
        """Wait until so many more messages are confirmed, and others settled accordingly."""
        confirmed, acked, committed = self.counts
        goals = confirmed + more, acked + more // 4, committed + 3
        async with asyncio.timeout(PATIENCE):
            while any(now < goal for now, goal in zip(self.counts, goals, strict=True)):
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End the load, and take out what is left."""
        self._over = True
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*self._tasks)
        lanes = [f"/queue/lane.{lane}" for lane in range(self._lanes)]
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*map(self._drain, (*lanes, TAKEN, LEFT, RIGHT)))

    # -- the clients ------------------------------------------------------------------------

    async def _produce(self, lane: int) -> None:
        queue, number = f"/queue/lane.{lane}", 0
        async with self._client(lane) as client:
            while not self._over:
                batch = []
                for _ in range(_WINDOW):
                    number += 1
                    body = f"{lane}:{number}"
                    with suppress(*_LOSSES):
                        batch.append((body, await client.post(queue, body)))
                for body, sent in batch:
                    with suppress(*_LOSSES):
                        await sent
                        self.confirmed.add(body)

    async def _consume(self, lane: int) -> None:
        """Take messages at another broker than the one that they are sent to."""
        queue, newest = f"/queue/lane.{lane}", 0
        async with (
            self._client(lane + 1) as client,
            client.subscription(queue, prefetch=50) as messages,
        ):
            while not self._over:
                with suppress(*_LOSSES):
                    batch = await messages.get_batch(10, timeout=0.2)
                    for message in batch:
                        again = self._note(message)
                        number = int(message.text.split(":")[1])
                        if not again and message.headers["redelivered"] == "false":
                            if number < newest:
                                self.problems.append(f"{message.text} came after {newest}")
                            newest = number
                    if batch:
                        await self._ack(client, batch)

    async def _ack(self, client: aio.STOMPClient, batch: list[aio.Message]) -> None:
        bodies = [message.text for message in batch]
        transaction = await client.transaction()
        for message in batch:
            await transaction.ack(message)
        self.doubtful.update(bodies)
        await self._commit(client, transaction)
        self.acked.update(bodies)

    async def _commit(self, client: aio.STOMPClient, transaction: STOMPTransaction) -> None:
        receipt = await transaction.commit(receipt=True)
        assert receipt is not None
        await client.wait_for_receipt(receipt, timeout=PATIENCE)

    async def _produce_work(self) -> None:
        number = 0
        async with self._client(0) as client:
            while not self._over:
                number += 1
                with suppress(*_LOSSES):
                    await client.message(TAKEN, f"w:{number}", confirm=True)
                    self.confirmed.add(f"w:{number}")

    async def _work(self) -> None:
        async with (
            self._client(2) as client,
            client.subscription(TAKEN, prefetch=5) as messages,
        ):
            while not self._over:
                with suppress(*_LOSSES):
                    message = await messages.get(timeout=0.2)
                    self._note(message)
                    transaction = await client.transaction()
                    await transaction.message(LEFT, message.text)
                    await transaction.message(RIGHT, message.text)
                    await transaction.ack(message)
                    await self._commit(client, transaction)
                    self.committed.add(message.text)

    def _note(self, message: aio.Message) -> bool:
        """Take note of a delivery; say whether it is a repeat."""
        body = message.text
        if body in self.acked or body in self.committed:
            self.problems.append(f"{body} had been acknowledged, and came again")
        again = message.headers["message-id"] in self.seen
        if again and message.headers["redelivered"] != "true":
            self.problems.append(f"{body} came again and is not marked")
        self.seen[message.headers["message-id"]] = (
            self.seen.get(message.headers["message-id"], 0) + 1
        )
        return again

    async def _drain(self, queue: str) -> None:
        found = self.left_over[queue] = []
        async with (
            self._client(0) as client,
            client.subscription(queue, prefetch=500) as messages,
        ):
            while True:
                try:
                    message = await messages.get(timeout=_QUIET)
                except stompy.STOMPTimeout:
                    break
                if queue not in (LEFT, RIGHT):
                    self._note(message)
                found.append(message.text)
                await message.ack()

    # -- the books --------------------------------------------------------------------------

    def check(self) -> None:
        """See that the books agree."""
        assert self.problems == []
        for lane in range(self._lanes):
            mine = {body for body in self.confirmed if body.startswith(f"{lane}:")}
            there = {*self.left_over[f"/queue/lane.{lane}"], *self.acked, *self.doubtful}
            assert mine <= there, f"lost of lane {lane}: {sorted(mine - there)[:10]}"
        left, right = self.left_over[LEFT], self.left_over[RIGHT]
        assert sorted(left) == sorted(right), "torn"
        assert len(set(left)) == len(left), "done twice"
        assert self.committed <= set(left), "a transaction is lost"
        waiting = set(self.left_over[TAKEN])
        assert not waiting & set(left), "done, and not taken"
        work = {body for body in self.confirmed if body.startswith("w:")}
        assert work <= waiting | set(left), "work is lost"
