"""What nobody would raise is on stderr, in a program that has set up no logging."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stompy_broker

GOOD_DAY = """
await client.message("/queue/a", "x", confirm=True)
async with client.subscription("/queue/a") as handle:
    await (await handle.get(10)).ack()
"""

HANDLER = """
def work(message):
    print(mesage.text)

await client.message("/queue/b", "x")
handle = await client.subscription("/queue/b")
try:
    await handle.handle(work, on_error="stop")
except NameError:
    pass
"""

TWICE = """
await client.message("/queue/c", "x")
handle = await client.subscription("/queue/c")
message = await handle.get(10)
await message.ack()
await message.ack()
"""

AUTO = """
await client.message("/queue/d", "x")
handle = await client.subscription("/queue/d", "auto")
await (await handle.get(10)).ack()
"""

UNCONFIRMED = """
again = await aio.connect(url, reconnect=stompy.Reconnect(delay=0.01))
await again.message("/queues/oops", "x")
await until(lambda: again.health().epoch == 2)
await again.disconnect()
"""

SUBSCRIPTION = """
again = await aio.connect(url, reconnect=stompy.Reconnect(delay=0.01))
await again.subscribe("/queues/oops")
await again.subscribe("/queue/fine")
await until(lambda: again.health().epoch == 3 and again.is_connected)
await again.disconnect()
"""

CASES = {
    GOOD_DAY: "",
    AUTO: "",
    HANDLER: "NameError: name 'mesage' is not defined",
    TWICE: "is acked already, so it is not acked too",
    UNCONFIRMED: "lost: Bad destination",
    SUBSCRIPTION: "to /queues/oops ends: Bad destination",
}

PROGRAM = """
import asyncio, sys, time
import stompy
from stompy import aio

url = sys.argv[1]

async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)

async def main():
    async with aio.connect(url) as client:
        {body}

asyncio.run(main())
"""


def blocking(program: str) -> str:
    """The same program with the blocking client, which has the same names."""
    renamed = {"asyncio.sleep": "time.sleep", "asyncio.run": "", "aio.connect": "stompy.connect"}
    for old, new in {**renamed, "async ": "", "await ": ""}.items():
        program = program.replace(old, new)
    return program


@pytest.fixture(scope="module")
def url():
    with stompy_broker.running() as broker:
        yield broker.url


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
@pytest.mark.parametrize(("body", "said"), CASES.items(), ids=range(len(CASES)))
def test_what_nobody_would_raise_is_on_stderr(url, kind, body, said):
    program = PROGRAM.replace("{body}", body.strip().replace("\n", "\n        "))
    if kind == "blocking":
        program = blocking(program)
    result = subprocess.run(
        [sys.executable, "-c", program, url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    if said:
        assert result.stderr.count(said) == 1
    else:
        assert result.stderr == ""
