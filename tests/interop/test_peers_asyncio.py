"""The asyncio client with the brokers of others: what only its own side of the wire can get wrong.

What brokers make of frames, the tests of the blocking client ask them; both write the same frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.interop.peers import PeerBroker, unique
from tests.support.fault_proxy import FaultProxy
from tests.support.looping import run, soon

import stompy
from stompy import aio
from stompy.session.address import parse_address

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SWIFT = stompy.Reconnect(delay=0.01, max_delay=0.1)


def connecting(peer: PeerBroker, proxy: FaultProxy) -> aio.Opening[aio.STOMPClient]:
    address = parse_address(peer.url)
    return aio.connect(
        proxy.url, address.login, address.passcode, host=address.vhost, reconnect=SWIFT
    )


@pytest.fixture
def proxy(peer: PeerBroker) -> Iterator[FaultProxy]:
    with FaultProxy(parse_address(peer.url).port) as proxy:
        yield proxy


def test_messages_go_through_handlers_and_transactions(peer, proxy):
    async def main() -> None:
        source, sink = unique(), unique()
        done: set[str] = set()

        async def handler(message: aio.Message) -> None:
            async with client.transaction() as transaction:
                await transaction.message(sink, message.text)
                if peer.dialect.transactional_ack:
                    await message.ack(transaction.id)
            done.add(message.text)

        async with connecting(peer, proxy) as client:
            numbers = [str(number) for number in range(100)]
            assert await client.send_many(source, numbers, window=10) == 100
            async with client.subscription(source, prefetch=10) as subscription:
                handling = asyncio.create_task(subscription.handle(handler, concurrency=5))
                await soon(lambda: len(done) == 100, "all")
                await subscription.unsubscribe()
                await handling
            async with client.subscription(sink, ack_mode="auto") as subscription:
                got = [(await subscription.get(10)).text for _ in range(100)]
            assert sorted(got, key=int) == numbers

    run(main)


def test_requests_side_by_side_and_over_the_next_connection(peer, proxy):
    async def main() -> None:
        queue = unique()

        async def upper(message: aio.Message) -> None:
            headers = {"correlation-id": message.correlation_id}
            await client.message(message.reply_to, message.text.upper(), headers=headers)

        async with connecting(peer, proxy) as client, client.subscription(queue) as service:
            serving = asyncio.create_task(service.handle(upper))
            words = [f"word{number}" for number in range(20)]
            replies = await asyncio.gather(*(client.request(queue, word) for word in words))
            assert [reply.text for reply in replies] == [word.upper() for word in words]
            proxy.passages[0].cut()
            await soon(lambda: client.health().epoch == 2, "the next connection")
            await client.wait_connected()
            assert (await client.request(queue, "again")).text == "AGAIN"
            await service.unsubscribe()
            await serving

    run(main)


def test_subscriptions_return_and_nothing_is_lost(peer, proxy):
    async def main() -> None:
        queue = unique()
        async with connecting(peer, proxy) as client, client.subscription(queue) as subscription:
            await client.message(queue, "before", confirm=True)
            old = await subscription.get(10)
            proxy.passages[0].cut()
            await soon(lambda: client.health().epoch == 2, "the next connection")
            with pytest.raises(stompy.StaleMessageError):
                await old.ack()
            await client.message(queue, "after", confirm=True)
            seen = []
            for _ in range(2):
                async with await subscription.get(10) as message:
                    seen.append(message.text)
            assert sorted(seen) == ["after", "before"]

    run(main)
