"""The screen of a cluster, and the tables of several brokers, against real brokers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.support.cluster_status import MemberBroker, members
from tests.support.dashboard import SECONDS, Driver, dashboard, on_a_loop

import stompy.aio
from stompy_broker import running
from stompy_broker.admin.cluster_status import GroupFacts, MemberFacts, ServerFacts
from stompy_monitor import headless
from stompy_monitor.conditions import Condition
from stompy_monitor.dashboard import Options
from stompy_monitor.headless import Exit
from stompy_monitor.report import Form, Report
from stompy_monitor.screens.cluster import ClusterScreen
from stompy_monitor.screens.detail import DetailScreen
from stompy_monitor.sources.base import Target
from stompy_monitor.sources.recording import Recording
from stompy_monitor.widgets.row_table import RowTable

pytestmark = pytest.mark.timeout(60)


def told(brokers: list[MemberBroker]) -> None:
    """Say more of a cluster than that it is there."""
    for broker in brokers:
        broker.cluster.owners |= {1: "bob", 2: "ann", 3: "ann", 5: ""}
        broker.cluster.told[1] = GroupFacts(1, "bob", "owned", 4, 1234, 99, 5000)
        broker.cluster.nats = [
            ServerFacts("n1", "leader", "127.0.0.1:4222", "2.15.1", "always", 12345),
            ServerFacts("n2", "follower", "127.0.0.1:4223", "2.15.1", "always", 12345),
        ]


def keys(drive: Driver, name: str) -> list[str]:
    """The rows of a list."""
    return drive.screen.query_one(f"#part-{name}", RowTable).view_state.keys


@on_a_loop
async def test_the_screen_says_who_owns_what() -> None:
    async with members("ann", "bob") as brokers:
        told(brokers)
        async with dashboard(brokers[1].url) as drive:
            await drive.see("C Cluster")
            await drive.press("C")
            assert isinstance(drive.screen, ClusterScreen)
            await drive.see("2 of 2 brokers up")
            await drive.see("4 of 5 groups owned")
            await drive.see("seen from bob")
            assert keys(drive, "members") == ["member.ann", "member.bob"]
            await drive.until(lambda: keys(drive, "servers") == ["server.n1", "server.n2"])
            text = drive.text()
            assert "0 2-3" in text, "the groups of ann"
            assert "always" in text
            # Nobody owns one for longer than two seconds, then that is an alarm.
            await drive.until(lambda: keys(drive, "groups")[0] == "group.5", "an alarm")
            await drive.see("nobody owns it")


@on_a_loop
async def test_a_lost_broker_is_an_alarm_and_its_row_opens() -> None:
    async with members("ann", "bob", "cid") as brokers:
        told(brokers)
        async with dashboard(brokers[0].url, Options(view="cluster")) as drive:
            await drive.see("3 of 3 brokers up")
            for broker in brokers:
                broker.cluster.known[2] = MemberFacts("cid", "lost")
            await drive.see("2 of 3 brokers up")
            await drive.until(lambda: keys(drive, "members")[0] == "member.cid")
            await drive.press("enter")
            await drive.until(lambda: isinstance(drive.screen, DetailScreen))
            await drive.see("member cid")
            await drive.see("lost")


@on_a_loop
async def test_tables_have_a_column_for_the_broker_where_there_are_several() -> None:
    async with members("ann", "bob") as brokers:
        async with await stompy.aio.connect(brokers[0].url) as client:
            await client.message("/queue/orders", "1")
            async with dashboard(brokers[1].url, Options(view="queues")) as drive:
                await drive.see("BROKER")
                await drive.until(lambda: drive.keys == ["orders"])
                row = drive.table.rows.row()
                assert row is not None
                assert row.value("broker") == "ann"
                await drive.press("5")
                await drive.until(lambda: len(drive.keys) == 1)
                assert drive.keys[0].endswith("@ann")
                await drive.see("BROKER")


@on_a_loop
async def test_a_broker_alone_has_no_such_column_and_no_tab() -> None:
    with running() as broker, stompy.connect(broker.url) as client:
        client.message("/queue/orders", "1")
        async with dashboard(broker.url, Options(view="queues")) as drive:
            await drive.until(lambda: drive.keys == ["orders"])
            assert "BROKER" not in drive.text()
            assert "Cluster" not in drive.text()
            await drive.press("C")
            await drive.see("this broker belongs to no cluster")


@on_a_loop
async def test_a_queue_of_another_broker_is_purged_from_here() -> None:
    async with members("ann", "bob") as brokers:
        async with await stompy.aio.connect(brokers[0].url) as client:
            await client.message("/queue/orders", "1")
            async with dashboard(brokers[1].url, Options(view="queues")) as drive:
                await drive.until(lambda: drive.keys == ["orders"])
                await drive.press("P")
                await drive.see("will be destroyed")
                await drive.press("y")
                await drive.until(lambda: brokers[0].queues()[0].ready == 0, "the purge")


@on_a_loop
async def test_a_script_sees_the_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    async with members("ann", "bob") as brokers:
        told(brokers)
        report = Report(Form.JSON)
        lost = Condition.read("cluster.state=lost")
        target = Target(brokers[0].url)
        assert await headless.once(target, report, [lost]) is Exit.FINE
        found = json.loads(capsys.readouterr().out)
        assert {row["id"] for row in found["cluster"]} >= {"member.ann", "group.5", "server.n1"}
        assert found["broker"]["broker"] == "ann"
        for broker in brokers:
            broker.cluster.known[1] = MemberFacts("bob", "lost")
        text = Report(Form.TEXT, ("cluster",))
        assert await headless.once(target, text, [lost]) is Exit.MATCHED
        said = capsys.readouterr()
        assert "cluster.state=lost: bob" in said.err
        assert "CLUSTER" in said.out


@on_a_loop
async def test_a_recording_has_the_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cluster.recording"
    async with members("ann", "bob") as brokers:
        told(brokers)
        target = Target(brokers[0].url)
        recording = asyncio.create_task(headless.record(target, file, 250, 0))

        def whole() -> bool:
            return file.exists() and len(list(Recording(file).records(0))) > 40

        end = asyncio.get_running_loop().time() + SECONDS
        while not (file.exists() and file.stat().st_size > 2000 and whole()):
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.1)
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)
    assert await headless.recorded(Recording(file), None, Report(Form.JSON), []) is Exit.FINE
    found = json.loads(capsys.readouterr().out)
    owners = {row["name"]: row["owner"] for row in found["cluster"] if row["what"] == "group"}
    assert owners == {"0": "ann", "1": "bob", "2": "ann", "3": "ann", "5": ""}
    assert {row["broker"] for row in found["connections"]} <= {"ann", "bob"}
