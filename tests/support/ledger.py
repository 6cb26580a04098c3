"""Load on a cluster whose every message is accounted for.

Producers number what they send, each to a queue or a topic of its own, and note what was
confirmed. Consumers note what came, and what they were told to be acknowledged. Workers take a
message, send two and acknowledge the one, in one transaction. Somebody asks questions, and
somebody answers. In the end everything that is left is taken out, and the books have to agree
(`tests.support.books`). Clients say ``reconnect=``, and ride through whatever is done to brokers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from types import CoroutineType

from tests.support.books import Books, Work

import stompy
from stompy import aio
from stompy.aio.opening import Opening

SWIFT = stompy.Reconnect(delay=0.02, max_delay=0.3)
BEAT = (2000, 2000)
PATIENCE = 180.0
_ANSWER = 60.0
_WINDOW = 20
_BACKLOG = 400
_QUIET = 3.0

TAKEN, LEFT, RIGHT = "/queue/work.taken", "/queue/work.left", "/queue/work.right"
WORK_PIN = "/queue/work.>"
QUESTIONS, NEWS, PAPER = "/queue/questions", "/topic/news", "paper"

_LOSSES = (stompy.STOMPConnectionError, stompy.STOMPTimeout)


class Ledger:
    """Clients of several brokers, and what they were told.

    Args:
        urls: of the brokers.
        lanes: how many producers there are, each with a queue and a consumer.

    Attributes:
        books: what was sent and what came, by lane.
        work: what transactions did.
        answered: how many questions were.
        pause: the longest time without a confirmation since `forget_pause`, over all producers.
    """

    def __init__(self, urls: Sequence[str], lanes: int = 3) -> None:
        self._urls = list(urls)
        self._lanes = lanes
        self._over = False
        self._tasks: list[asyncio.Task[None]] = []
        names = [f"/queue/lane.{lane}" for lane in range(lanes)]
        self.books = {name: Books(name) for name in [*names, NEWS]}
        self.work = Work(TAKEN, LEFT, RIGHT)
        self.answered = 0
        self.pause = 0.0
        self._confirmed_at = 0.0
        self._paper_is_there = asyncio.Event()

    # -- running ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to send and to receive."""
        for lane, books in enumerate(self.books.values()):
            durable = PAPER if books.name == NEWS else None
            self._begin(f"consume {books.name}", self._consume(books, lane, durable))
            if durable is not None:
                async with asyncio.timeout(PATIENCE):
                    await self._paper_is_there.wait()
            self._begin(f"produce {books.name}", self._produce(books, lane))
        self._begin("produce work", self._produce_work())
        self._begin("work", self._work())
        self._begin("answer", self._answer())
        self._begin("ask", self._ask())
        await self.progress()

    def _begin(self, name: str, work: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    def _client(self, first: int) -> Opening[aio.STOMPClient]:
        # Each begins with another broker, so that fronts are used as well.
        first %= len(self._urls)
        return aio.connect(
            self._urls[first:] + self._urls[:first], reconnect=SWIFT, heart_beat=BEAT, timeout=5.0
        )

    @property
    def counts(self) -> dict[str, int]:
        """How often each of those who do something has done it."""
        counts = {}
        for name, books in self.books.items():
            counts[f"confirmed of {name}"] = len(books.confirmed)
            counts[f"acknowledged of {name}"] = len(books.acked)
        counts["work confirmed"] = len(self.work.confirmed)
        counts["work committed"] = len(self.work.committed)
        counts["questions answered"] = self.answered
        return counts

    async def progress(self, more: int = 60) -> None:
        """Wait until everybody has done so much more; of what costs more, less."""
        goals = {
            name: now + (more if "/" in name else max(more // 20, 1))
            for name, now in self.counts.items()
        }
        try:
            async with asyncio.timeout(PATIENCE):
                while any(now < goals[name] for name, now in self.counts.items()):
                    for task in self._tasks:
                        if task.done():
                            task.result()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError("somebody does not get on") from None

    def report(self) -> str:
        """What everybody has done, and what they wait for."""
        lines = [f"{name}: {count}" for name, count in self.counts.items()]
        lines += [f"{task.get_name()} is at {_where(task)}" for task in self._tasks]
        for books in self.books.values():
            lines += books.problems[:5]
        return "\n".join(lines)

    def account(self) -> str:
        """What came of it, in one line."""
        every = [*self.books.values(), self.work]
        confirmed = sum(len(books.confirmed) for books in every)
        repeats = sum(books.repeats for books in every)
        return (
            f"{confirmed} messages confirmed, {len(self.work.committed)} transactions committed, "
            f"{self.answered} questions answered, {repeats} repeats, all marked"
        )

    def forget_pause(self) -> None:
        """Measure the longest pause from now on."""
        self.pause, self._confirmed_at = 0.0, time.monotonic()

    def _note_confirmed(self) -> None:
        now = time.monotonic()
        if self._confirmed_at:
            self.pause = max(self.pause, now - self._confirmed_at)
        self._confirmed_at = now

    async def stop(self) -> None:
        """End the load, and take out what is left."""
        self._over = True
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*self._tasks)
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*map(self._drain, (*self.books, TAKEN, LEFT, RIGHT)))
        except TimeoutError:
            raise AssertionError("somebody does not come to an end") from None

    def cancel(self) -> None:
        """End the load at once."""
        for task in self._tasks:
            task.cancel()

    def check(self) -> None:
        """See that the books agree."""
        for books in self.books.values():
            books.check()
        self.work.check()

    # -- the clients ------------------------------------------------------------------------

    async def _produce(self, books: Books, lane: int) -> None:
        number = 0
        async with self._client(lane) as client:
            while not self._over:
                if len(books.confirmed) - len(books.acked) > _BACKLOG:
                    await asyncio.sleep(0.01)
                    continue
                batch = []
                for _ in range(_WINDOW):
                    number += 1
                    body = str(number)
                    with suppress(*_LOSSES):
                        batch.append((body, await client.post(books.name, body)))
                for body, sent in batch:
                    with suppress(*_LOSSES):
                        await sent.result(_ANSWER)
                        books.confirmed.add(body)
                        self._note_confirmed()

    async def _consume(self, books: Books, lane: int, durable: str | None) -> None:
        """Take messages at another broker than the one that they are sent to."""
        async with self._subscription(lane + 1, books.name, 50, durable) as (client, messages):
            if durable:
                self._paper_is_there.set()
            while not self._over:
                with suppress(*_LOSSES):
                    batch = await messages.get_batch(10, timeout=0.2)
                    for message in batch:
                        books.came(message.text, message.headers["redelivered"] == "true")
                    await self._ack(client, books, batch, transacted=lane % 2 == 0)

    @asynccontextmanager
    async def _subscription(
        self, first: int, destination: str, prefetch: int, durable: str | None = None
    ) -> AsyncIterator[tuple[aio.STOMPClient, aio.Subscription]]:
        async with (
            aio.connect(
                self._urls[first % 3 :] + self._urls[: first % 3],
                reconnect=SWIFT,
                heart_beat=BEAT,
                timeout=5.0,
                headers={"client-id": durable} if durable else {},
            ) as client,
            client.subscription(
                destination, prefetch=prefetch, durable=durable, timeout=_ANSWER
            ) as messages,
        ):
            yield client, messages

    async def _ack(
        self, client: aio.STOMPClient, books: Books, batch: list[aio.Message], *, transacted: bool
    ) -> None:
        bodies = [message.text for message in batch]
        if transacted:
            async with self._transaction(client) as transaction:
                for message in batch:
                    await transaction.ack(message)
                books.doubtful.update(bodies)
            books.acked.update(bodies)
            return
        session = client._session
        assert session is not None
        asked = []
        for message in batch:
            if message.epoch != session.connection.epoch:
                break  # its id may be another message's by now
            books.doubtful.add(message.text)
            receipt = await client.send("ACK", {"id": message.headers["ack"]}, receipt=True)
            assert receipt is not None
            asked.append((message.text, receipt))
        for body, receipt in asked:
            await client.wait_for_receipt(receipt, timeout=_ANSWER)
            books.acked.add(body)

    @asynccontextmanager
    async def _transaction(self, client: aio.STOMPClient) -> AsyncIterator[aio.STOMPTransaction]:
        """Commit, and wait for the receipt; or abort."""
        transaction = await client.transaction()
        try:
            yield transaction
        except BaseException:
            with suppress(stompy.STOMPException):
                await transaction.abort()
            raise
        receipt = await transaction.commit(receipt=True)
        assert receipt is not None
        await client.wait_for_receipt(receipt, timeout=_ANSWER)

    async def _produce_work(self) -> None:
        number, work = 0, self.work
        async with self._client(0) as client:
            while not self._over:
                if len(work.confirmed) - len(work.committed) > _BACKLOG // 4:
                    await asyncio.sleep(0.01)
                    continue
                number += 1
                with suppress(*_LOSSES):
                    await client.message(TAKEN, str(number), confirm=True, timeout=_ANSWER)
                    work.confirmed.add(str(number))
                    self._note_confirmed()

    async def _work(self) -> None:
        async with self._subscription(2, TAKEN, 5) as (client, messages):
            while not self._over:
                with suppress(*_LOSSES):
                    message = await messages.get(timeout=0.2)
                    self.work.came(message.text, message.headers["redelivered"] == "true")
                    async with self._transaction(client) as transaction:
                        await transaction.message(LEFT, message.text)
                        await transaction.message(RIGHT, message.text)
                        await transaction.ack(message)
                    self.work.committed.add(message.text)

    async def _answer(self) -> None:
        async with self._subscription(1, QUESTIONS, 10) as (_, messages):
            while not self._over:
                with suppress(*_LOSSES):
                    message = await messages.get(timeout=0.2)
                    await message.reply(f"answer to {message.text}")
                    await message.ack()

    async def _ask(self) -> None:
        number = 0
        async with self._client(2) as client:
            while not self._over:
                number += 1
                # While brokers come and go, there may be nobody to ask for a moment.
                with suppress(*_LOSSES, stompy.NoResponders, stompy.RequestRejected):
                    answer = await client.request(QUESTIONS, str(number), timeout=3.0)
                    assert answer.text == f"answer to {number}"
                    self.answered += 1
                await asyncio.sleep(0.01)

    async def _drain(self, queue: str) -> None:
        books = self.books.get(queue, self.work)
        durable = PAPER if queue == NEWS else None
        async with self._subscription(0, queue, 500, durable) as (_, messages):
            while True:
                try:
                    message = await messages.get(timeout=_QUIET)
                except stompy.STOMPTimeout:
                    break
                books.is_left(queue, message.text, message.headers["redelivered"] == "true")
                await message.ack()


def _where(task: asyncio.Task[None]) -> str:
    """The lines of code that a task is in, the innermost last."""
    if task.done():
        return f"its end: {'cancelled' if task.cancelled() else task.exception()!r}"
    lines: list[str] = []
    one: object = task.get_coro()
    while isinstance(one, CoroutineType):
        if one.cr_frame is not None:
            code = one.cr_frame.f_code
            lines.append(f"{code.co_qualname}:{one.cr_frame.f_lineno}")
        one = one.cr_await
    return " > ".join(lines)
