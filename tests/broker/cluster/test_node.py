"""Members of a cluster on a real server: groups are owned, follow their owners' end, and move."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.looping import run, soon
from tests.support.nats import Trio, alone, house_server, settings_for
from tests.support.serving import Serving

from stompy_broker.cluster.joining import enter
from stompy_broker.cluster.log.log import Entry, LogError
from stompy_broker.cluster.log.log_record import RecordKind
from stompy_broker.cluster.membership.group_state import GroupStage
from stompy_broker.cluster.membership.groups import MOST_NAMED_GROUPS, GroupMap
from stompy_broker.cluster.membership.members import Member, Standing
from stompy_broker.cluster.membership.membership import MembershipTimes, MoveError
from stompy_broker.cluster.membership.roster import Roster, RosterError
from stompy_broker.cluster.nats.codec import NATSError, NATSLogin
from stompy_broker.cluster.nats.sync_check import SyncError
from stompy_broker.cluster.node import ClusterNode, NodeSettings, TwinError

NAMES = itertools.count(1)
LONG = 1000.0

CALM = MembershipTimes(
    beat=0.05,
    silent=LONG,
    suspect=LONG,
    listen=0.2,
    turn=LONG,
    patience=LONG,
    pause=0.0,
    again=0.05,
)
"""Nobody counts as dead, and nothing moves by itself."""


@asynccontextmanager
async def member(
    cluster: str, broker: str, *, groups: int = 1, times: MembershipTimes = CALM, **settings: Any
) -> AsyncIterator[Serving]:
    usual = NodeSettings(
        cluster,
        broker,
        settings_for(house_server().url),
        1,
        groups=GroupMap(groups),
        times=times,
    )
    serving = Serving()
    serving.node = node = ClusterNode(replace(usual, **settings), serving)
    await node.start()
    try:
        yield serving
    finally:
        for task in serving.tasks:
            task.cancel()
        await node.close(silently=True)


def followed_by(serving: Serving, lost: str) -> bool:
    """Tell a node of a lost link, again: a beat that was on its way is a sign of life."""
    serving.node.suspect(lost)
    return bool(serving.tenures)


def fresh() -> str:
    return f"node{next(NAMES)}"


def test_the_first_one_owns_all_and_the_next_one_waits_until_it_has_left():
    async def main() -> None:
        name = fresh()
        async with member(name, "ann", groups=3) as ann, member(name, "bob", groups=3) as bob:
            await ann.node.every_owner_known()
            assert [ann.tenures[group].number for group in range(3)] == [1, 1, 1]
            await bob.node.every_owner_known()
            assert bob.owners == dict.fromkeys(range(3), "ann")
            assert not bob.tenures
            await ann.node.leave()
            assert not ann.tenures
            await soon(lambda: len(bob.tenures) == 3)
            tenure = bob.tenures[0]
            assert (tenure.number, tenure.before, tenure.replay.doubtful) == (2, "ann", 0)
            await soon(lambda: not bob.members)
        async with member(name, "cid", groups=3) as cid:
            # Nobody has said that bob has left, and the log does not: it is waited for.
            await soon(lambda: cid.node.membership.groups[0].tenure == 2)
            assert not cid.tenures

    run(main)


def test_who_is_not_heard_any_more_is_followed_and_finds_out():
    async def main() -> None:
        name = fresh()
        async with member(name, "ann", groups=2) as ann:
            await ann.node.every_owner_known()
            times = replace(CALM, silent=0.3)
            async with member(name, "bob", groups=2, times=times) as bob:
                ann.node._client.unsubscribe(2)  # it is deaf, and soon it is dumb
                ann.node._speak = lambda: None  # type: ignore[method-assign]
                await soon(lambda: len(bob.tenures) == 2)
                assert (bob.tenures[1].number, bob.tenures[1].before) == (2, "ann")
                assert not await ann.write(1, RecordKind.CHANGES)
                assert ann.deposed_of == [1]
                assert ann.node.status().groups[1].stage is GroupStage.DEPOSED

    run(main)


def test_who_hears_that_it_was_deposed_serves_no_more():
    async def main() -> None:
        name = fresh()
        async with member(name, "ann") as ann:
            await ann.node.every_owner_known()
            async with member(name, "bob", times=replace(CALM, silent=0.3)) as bob:
                speak, ann.node._speak = ann.node._speak, lambda: None  # type: ignore[method-assign]
                await soon(lambda: bob.tenures)
                ann.node._speak = speak  # type: ignore[method-assign]
                await soon(lambda: ann.deposed_of == [0])
                await soon(lambda: ann.node.owner_of(0) == "bob")

    run(main)


def test_who_would_follow_has_read_along():
    async def main() -> None:
        name = fresh()
        async with (
            member(name, "ann") as ann,
            member(name, "bob", times=replace(CALM, suspect=0.2)) as bob,
        ):
            await ann.node.every_owner_known()
            ann.node.last_of = lambda group: ann.written.get(group, (0, 0))[1]
            for _ in range(20):
                assert await ann.write(0, RecordKind.CHANGES)
            last = ann.written[0][1]
            await soon(lambda: bob.node.status().groups[0].last == last)
            await soon(lambda: not bob.node.status().groups[0].behind)
            await soon(lambda: ann.node.status().groups[0].standby == "bob")
            await soon(lambda: not ann.node.status().groups[0].behind)
            read = bob.node._logs[0].read
            behind: list[int] = []

            def reading(after: int) -> AsyncIterator[Entry]:
                behind.append(after)
                return read(after)

            bob.node._logs[0].read = reading  # type: ignore[method-assign]
            ann.node._speak = lambda: None  # type: ignore[method-assign]
            await soon(lambda: followed_by(bob, "ann"))
            assert behind == [last]
            assert bob.tenures[0].replay.number == 22
            status = bob.node.status().groups[0]
            assert (status.standby, status.behind) == ("", 0)

    run(main)


def test_a_link_that_is_lost_is_a_first_sign():
    async def main() -> None:
        name = fresh()
        async with member(name, "bob", times=replace(CALM, suspect=0.2)) as bob:
            async with member(name, "ann") as ann:
                await soon(lambda: ann.owners == {0: "bob"})
                ann.node.move(0, "ann")
                await soon(lambda: ann.tenures)
                await soon(lambda: bob.owners.get(0) == "ann")
            assert not bob.tenures
            await soon(lambda: followed_by(bob, "ann"))
            lost = bob.node.status().members[1]
            assert (lost.member.id, lost.alive) == ("ann", False)

    run(main)


def test_groups_even_out_in_good_order_and_drains_leave_none():
    async def main() -> None:
        name = fresh()
        times = replace(CALM, patience=0.2)
        async with member(name, "ann", groups=5, times=times) as ann:
            await ann.node.every_owner_known()
            async with (
                member(name, "bob", groups=5, times=times) as bob,
                member(name, "cid", groups=5, times=times) as cid,
            ):
                every = (ann, bob, cid)
                await soon(lambda: sorted(len(one.tenures) for one in every) == [1, 2, 2])
                await bob.node.drain()
                assert not bob.tenures
                await soon(lambda: len(ann.tenures) + len(cid.tenures) == 5)
                assert not bob.deposed_of + ann.deposed_of + cid.deposed_of
                await soon(lambda: ann.node.members["bob"].standing is Standing.DRAINING)
                with pytest.raises(MoveError, match="gives its groups away"):
                    ann.node.move(0, "bob")
                bob.node.undrain()
                await soon(lambda: sorted(len(one.tenures) for one in every) == [1, 2, 2])

    run(main)


def test_nobody_else_means_that_a_drain_ends_with_all_groups():
    async def main() -> None:
        async with member(fresh(), "ann") as ann:
            await ann.node.every_owner_known()
            await ann.node.drain()
            assert ann.tenures
            for group, broker, reason in ((0, "bob", "no broker"), (7, "ann", "no group")):
                with pytest.raises(MoveError, match=reason):
                    ann.node.move(group, broker)

    run(main)


def test_what_is_known_is_shown():
    async def main() -> None:
        name = fresh()
        about = {"address": "h:1", "version": "1.2", "settings": "abc"}
        async with (
            member(name, "ann", groups=2, **about) as ann,
            member(name, "bob", groups=2) as bob,
        ):
            ann.node.load = 0.5
            ann.node.last_of = lambda group: 70 + group
            await soon(lambda: "ann" in bob.members and bob.node.members["ann"].load == 0.5)
            await soon(lambda: bob.node.status().groups[1].last == 71)
            shown = bob.node.members["ann"]
            assert (shown.address, shown.version, shown.settings) == ("h:1", "1.2", "abc")
            status = bob.node.status()
            assert [one.member.id for one in status.members] == ["bob", "ann"]
            assert [(one.owner, one.stage) for one in status.groups] == [
                ("ann", GroupStage.AWAY)
            ] * 2
            assert (status.trouble, status.twin, status.doubled) == ("", False, ())
            assert ann.node.owns(0)
            assert {ann.node.home, bob.node.home} == {MOST_NAMED_GROUPS, MOST_NAMED_GROUPS + 1}

    run(main)


def test_a_log_that_is_damaged_is_not_taken_until_somebody_accepts_it():
    async def main() -> None:
        name = fresh()
        async with member(name, "ann") as ann:
            await ann.node.every_owner_known()
            assert await ann.write(0, RecordKind.LEAVE, skipped=1)
        async with member(name, "bob") as bob:
            await soon(lambda: bob.node.status().groups[0].damaged)
            await bob.node.every_owner_known()
            assert not bob.tenures
            bob.node.accept_damage(0)
            await soon(lambda: bob.tenures)
            assert bob.tenures[0].number == 2

    run(main)


def test_a_group_that_cannot_be_served_is_somebody_elses():
    async def main() -> None:
        name = fresh()
        times = replace(CALM, silent=0.3, turn=0.1)
        async with member(name, "ann", times=times) as ann:
            await ann.node.every_owner_known()
            async with member(name, "bob", times=times) as bob:
                bob.broken = True
                await soon(lambda: ann.members)
                ann.node.move(0, "bob")
                await soon(lambda: ann.owners.get(0) == "bob" or 0 in bob.deposed_of)
                await soon(lambda: ann.tenures and ann.tenures[0].number == 3)
                await soon(lambda: not ann.tasks)

    run(main)


def test_the_same_groups_everywhere_and_one_broker_of_each_name():
    async def main() -> None:
        name = fresh()
        async with member(name, "ann", groups=2) as ann:
            with pytest.raises(RosterError, match="must be the same"):
                async with member(name, "bob", groups=3):
                    pass
            with pytest.raises(TwinError, match="id ann"):
                async with member(name, "ann", groups=2):
                    pass
            assert not ann.deposed_of

    run(main)


def test_another_process_of_this_id_is_told():
    async def main() -> None:
        name = fresh()
        async with member(name, "ann") as ann:
            await ann.node.every_owner_known()
            twin = Member("ann", "another", "10.0.0.9:61613")
            ann.node._client.publish(f"stompy.{name}.alive.ann", twin.write())
            await soon(lambda: ann.node.status().twin)
            assert ann.node.owns(0)

    run(main)


def test_who_reaches_no_server_says_so_and_keeps_what_it_has(tmp_path: Path):
    async def main() -> None:
        server = alone(tmp_path / "nats")
        server.start()
        try:
            nats = {"nats": settings_for(server.url), "times": replace(CALM, silent=0.3)}
            async with member("cut", "ann", **nats) as ann:
                await ann.node.every_owner_known()
                server.end()
                await soon(lambda: bool(ann.node.status().trouble))
                server.start()
                await soon(lambda: not ann.node.status().trouble)
                assert ann.tenures
                assert not ann.deposed_of
        finally:
            server.end()

    run(main)


@pytest.mark.parametrize(
    ("cluster", "broker"), [("a.b", "ann"), ("", "ann"), ("a", "a b"), ("a", "")]
)
def test_names_must_be_parts_of_subjects(cluster: str, broker: str):
    with pytest.raises(ValueError, match="more than letters"):
        NodeSettings(cluster, broker, settings_for("nats://127.0.0.1:1"))


@pytest.mark.parametrize("always", [True, False])
def test_servers_that_do_not_sync_are_refused(tmp_path: Path, always: bool):
    async def main() -> None:
        server = alone(tmp_path / "nats", password="s3cret", sync_always=always)
        server.start()
        settings = {"nats": settings_for(server.url), "system": NATSLogin("sys", "s3cret")}
        try:
            if always:
                async with member("x", "ann", **settings) as ann:
                    await soon(lambda: ann.tenures)
            else:
                with pytest.raises(SyncError, match="do not sync"):
                    async with member("x", "ann", **settings):
                        pass
        finally:
            server.end()

    run(main)


@pytest.mark.timeout(180)
def test_a_server_that_is_away_is_asked_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stompy_broker.cluster.nats.sync_check._LATE_SECONDS", 0.2)
    monkeypatch.setattr("stompy_broker.cluster.joining._CHECK_SECONDS", 0.1)

    async def main() -> None:
        with Trio(tmp_path, password="s3cret") as trio:
            asked: dict[str, Any] = {
                "nats": settings_for(*trio.urls[:2]),
                "replicas": 3,
                "system": NATSLogin("sys", "s3cret"),
            }
            async with member("away", "ann", **asked) as ann:
                assert ann.node._sync_checks is not None
                assert not ann.node._sync_checks.unheard
            trio.named("n2").end()
            async with member("away", "ann", **asked) as ann:
                checks = ann.node._sync_checks
                assert checks is not None
                (away,) = checks.unheard  # perhaps it has no name as long as it is away
                assert not ann.node.says_it_syncs(away)
                assert ann.node.says_it_syncs("n0")
                trio.named("n2").start()
                await soon(lambda: not checks.unheard)
                assert ann.node.says_it_syncs("n2")

    run(main)


def test_servers_that_have_no_leader_are_waited_for_and_given_up():
    async def main() -> None:
        with pytest.raises(LogError, match="reach each other"):
            async with member("y", "ann", replicas=3, patience_seconds=0.0):
                pass
        with pytest.raises(NATSError, match="no NATS server"):
            async with member("y", "ann", nats=settings_for("nats://127.0.0.1:1")):
                pass

    run(main)


class ComingLog:
    """The log of a roster whose servers have only just come back."""

    def __init__(self, refusals: int, roster: bytes) -> None:
        self.refusals = refusals
        self._roster = roster

    async def last(self) -> Entry:
        """The last entry, at last."""
        if self.refusals:
            self.refusals -= 1
            raise LogError("JetStream system temporarily unavailable")
        return Entry(1, self._roster)


def test_a_roster_that_nobody_leads_yet_is_waited_for():
    async def main() -> None:
        roster = Roster("16").enter("ann", "16", [])
        log: Any = ComingLog(1, roster.write())
        assert await enter(log, "ann", "16", [], seconds=60) == roster.home("ann")
        assert log.refusals == 0
        log.refusals = 1
        with pytest.raises(LogError, match="temporarily"):
            await enter(log, "ann", "16", [], seconds=-1)

    run(main)


def test_what_is_no_sign_of_life_is_ignored():
    async def main() -> None:
        name = fresh()
        async with member(name, "ann") as ann, member(name, "bob") as bob:
            for body in (b"", b"[]", b"{}", b"[1]", b"5", b'{"id": "eve"}'):
                bob.node._client.publish(f"stompy.{name}.alive.eve", body)
            await soon(lambda: list(ann.members) == ["bob"])
            await ann.node.every_owner_known()

    run(main)
