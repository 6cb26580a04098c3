"""No log is opened on servers that do not sync, or do not say so."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.looping import run
from tests.support.nats import Server, Trio, alone, house_server, settings_for

from stompy_broker.cluster.nats.client import NATSClient
from stompy_broker.cluster.nats.codec import NATSMessage
from stompy_broker.cluster.nats.sync_check import SyncError, check_sync, read_sync


async def check(server: Server, *names: str, user: str = "sys") -> frozenset[str]:
    client = NATSClient(settings_for(server.url.replace("//stompy:", f"//{user}:")))
    await client.start()
    try:
        return await check_sync(client, names or [server.settings.name])
    finally:
        await client.close()


@pytest.mark.parametrize("always", [True, False])
def test_a_server_is_asked(tmp_path: Path, always: bool):
    async def main() -> None:
        server = alone(tmp_path / "nats", password="s3cret", sync_always=always)
        server.start()
        try:
            if always:
                await check(server)
            else:
                with pytest.raises(SyncError, match=r"alone-\d+ do not sync .* always"):
                    await check(server)
        finally:
            server.end()

    run(main)


def test_all_of_them_are_asked(tmp_path: Path):
    async def main() -> None:
        with Trio(tmp_path, password="s3cret") as trio:
            assert await check(trio.servers[0], "n0", "n1", "n2") == frozenset()

    run(main)


def test_with_one_away_the_others_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A machine that is down keeps nobody from starting; it is asked when it is back."""
    monkeypatch.setattr("stompy_broker.cluster.nats.sync_check._LATE_SECONDS", 0.3)

    async def main() -> None:
        with Trio(tmp_path, password="s3cret") as trio:
            trio.named("n2").end()
            assert await check(trio.servers[0], "n0", "n1", "n2") == {"n2"}

    run(main)


def test_who_does_not_answer_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stompy_broker.cluster.nats.sync_check._SECONDS", 0.3)

    async def main() -> None:
        server = alone(tmp_path / "nats", password="s3cret")
        server.start()
        try:
            with pytest.raises(SyncError, match="whether the NATS servers other sync"):
                await check(server, server.settings.name, "other")
            with pytest.raises(SyncError, match="no system account"):
                await check(server, user="stompy")
        finally:
            server.end()

    run(main)


def test_without_a_system_account_nobody_can_be_asked():
    async def main() -> None:
        with pytest.raises(SyncError, match="no system account"):
            await check(house_server())

    run(main)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"server":{"name":"a"},"data":[]}'])
def test_nonsense_is_not_believed(body: bytes):
    with pytest.raises(SyncError, match="makes no sense"):
        read_sync(NATSMessage("a", 1, "", body))


def test_a_server_that_stores_nothing_loses_nothing():
    body = b'{"server":{"name":"a"},"data":{"jetstream":{}}}'
    assert read_sync(NATSMessage("a", 1, "", body)) == ("a", True)
