"""What a user's type checker makes of the public calls: the right ones pass, mistakes are seen."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from datetime import datetime, timedelta

import stompy
import stompy_broker
from stompy import aio


def blocking(client: stompy.STOMPClient, message: stompy.Message) -> None:
    receipt: str = client.message("/queue/q", "x", receipt=True)
    receipt = client.message("/queue/q", "x", confirm=True)
    receipt = client.send("BEGIN", receipt="r", id="1")
    client.wait_for_receipt(client.message("/queue/q", json={"a": 1}, receipt="r"))
    nothing: str = client.message("/queue/q", "x")  # assignment
    maybe: str = client.message("/queue/q", "x", receipt=bool(receipt))  # assignment
    with client.transaction() as txn:
        receipt = txn.message("/queue/q", "x", receipt=True)
        receipt = txn.commit(receipt=True)
        late: str = txn.commit()  # assignment
    count: int = message.json["count"] + message.json[0].anything
    text: str = message.get("colour", "green")
    text = message.get("colour")  # assignment
    text = message.destination
    client.message("/queue/q", {"a": 1})  # call-overload
    client.message(b"x", "/queue/q")  # call-overload
    client.send_many("/queue/q", [1, 2])  # list-item
    client.post("/queue/q", "x", confrim=True)  # call-arg
    receipt = client.message("/queue/q", "x", delay=timedelta(days=1), group=7, receipt=True)
    client.message("/queue/q", "x", cron="@daily", zone="UTC", schedule_id="a", priority=9)
    client.message("/queue/q", "x", at="tomorrow")  # call-overload
    client.post("/queue/q", "x", delay=5)
    client.post("/queue/q", "x", delay="5 s")  # arg-type
    client.send_many("/queue/q", ["x"], every=1.5, times=3, group="g")
    ended: bool = client.cancel_schedule("/queue/q", "a")
    due: datetime | None = message.scheduled_at
    message.nack(delay=5, scope="group")
    message.nack(scope="everything")  # arg-type
    client.subscription("/queue/q", priority=5, single_active=True)
    client.subscription("/queue/q", prefech=1)  # call-arg
    client.subscription("/queue/q", "client")
    client.subscription("/queue/q", stompy.AckMode.AUTO)
    client.subscription("/queue/q", ack_mode="manual")  # arg-type
    message.reply(json=[1], headers={"a": 1})


def plain(message: stompy.Message) -> None: ...


async def coroutine(message: stompy.Message) -> None: ...


async def aio_coroutine(message: aio.Message) -> None: ...


def handlers(subscription: stompy.Subscription) -> None:
    subscription.handle(plain, on_error="dead-letter")
    subscription.handle(lambda message: print(message.text))
    subscription.handle(plain, on_error="dead_letter")  # arg-type
    subscription.handle(coroutine)  # arg-type


class Client(stompy.STOMPClient):
    def own(self) -> None: ...


with Client() as client:
    client.own()


async def asyncio(client: aio.STOMPClient, subscription: aio.Subscription) -> None:
    receipt: str = await client.message("/queue/q", "x", receipt=True)
    receipt = await client.message("/queue/q", "x", confirm=True)
    nothing = await client.message("/queue/q", "x")  # func-returns-value
    await subscription.handle(aio_coroutine)
    await subscription.handle(coroutine)  # arg-type
    async with client.subscription("/queue/q", "auto") as other, await other.get() as message:
        await message.reply(json=message.json["a"])


with stompy_broker.running() as broker:
    ready: int = broker.snapshot("queues")[0].ready + broker.snapshot("queue", "q")[0].ready
    version: str = broker.snapshot("broker")[0].version
    wrong: str = broker.snapshot("queues")[0].ready  # assignment
"""


@pytest.mark.slow
def test_a_users_type_checker(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "program.py"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    errors = set(re.findall(r"^program\.py:(\d+): error: .*\[([\w-]+)\]$", found.stdout, re.M))
    marks = [re.search(r"  # ([\w-]+)$", line) for line in PROGRAM.splitlines()]
    expected = {(str(number), mark[1]) for number, mark in enumerate(marks, 1) if mark}
    assert errors == expected, found.stdout
