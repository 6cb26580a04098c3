"""Brokers that die, sleep, are cut off, come and go: groups have one owner, and all end even."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from tests.support.cluster_simulation import World

from stompy_broker.cluster.membership.group_state import GroupStage
from stompy_broker.cluster.membership.members import Claim, Heard, Hold, Member, Standing
from stompy_broker.cluster.membership.membership import (
    Decision,
    Depose,
    GiveAway,
    Membership,
    MembershipTimes,
    MoveError,
    Speak,
    StopTaking,
    TakeOver,
    TellMembers,
    TellOwner,
)
from stompy_broker.cluster.membership.placement import spread

TIMES = MembershipTimes()
GROUPS = 4


@pytest.mark.parametrize("part", range(10))
def test_some_schedules(part: int):
    for seed in range(part, 200, 10):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(400))
def test_ten_thousand_schedules(part: int):
    for seed in range(part, 10_000, 400):
        check(seed)


def check(seed: int) -> None:
    try:
        World(seed).check()
    except AssertionError as error:
        raise AssertionError(f"schedule {seed}: {error}") from error


class Scene:
    """Ann's view of a cluster, a beat of the others each half second."""

    def __init__(self) -> None:
        self.now = 100.0
        self.ann = Membership(Member("ann", "a1"), GROUPS, TIMES)
        self.others: dict[str, Member] = {}
        self.decided: list[Decision] = []

    def join(self) -> None:
        self.ann.join(self.now)
        self.note()

    def note(self) -> None:
        self.decided += self.ann.decisions()

    def say(self, name: str, claims: Mapping[int, Claim] | None = None, **what: object) -> Heard:
        """Let somebody say something, and go on saying it."""
        before = self.others.get(name, Member(name, f"{name}1"))
        told = {"claims": claims} if claims is not None else {}
        beat = replace(before, count=before.count + 1, **told, **what)  # type: ignore[arg-type]
        self.others[name] = beat
        heard = self.ann.hear(beat, self.now)
        self.note()
        return heard

    def go_on(self, seconds: float) -> list[Decision]:
        """Let time pass; gives what was decided meanwhile but for talk."""
        self.decided.clear()
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + TIMES.beat / 2)
            for name in self.others:
                self.say(name)
            self.ann.tick(self.now)
            self.note()
        return self.deeds()

    def deeds(self) -> list[Decision]:
        talk = (Speak, TellMembers, TellOwner)
        return [one for one in self.decided if not isinstance(one, talk)]

    def take(self, *groups: int, tenure: int = 1) -> None:
        for group in groups:
            self.ann.end_read(group)
            self.ann.take(group, tenure, self.now)
        self.note()


def owned(*groups: int, tenure: int = 1) -> dict[int, Claim]:
    return {group: Claim(Hold.OWNED, tenure) for group in groups}


def alone_with_all() -> Scene:
    scene = Scene()
    scene.join()
    assert scene.deeds() == [TakeOver(group, 0, depose=False) for group in range(GROUPS)]
    scene.take(*range(GROUPS))
    return scene


BOBS = [group for group, broker in spread(GROUPS, ["ann", "bob"]).items() if broker == "bob"]


def test_even_out_waits_until_members_have_been_the_same_and_goes_one_by_one():
    scene = alone_with_all()
    scene.say("bob")
    assert scene.go_on(TIMES.patience - 0.5) == []
    assert scene.go_on(1.0) == [GiveAway(BOBS[0], "bob")]
    assert scene.go_on(20.0) == []  # it takes long
    assert scene.ann.beat().claims[BOBS[0]] == Claim(Hold.LEAVING, 1, "bob")
    scene.ann.leave_group(BOBS[0], scene.now)
    assert scene.ann.beat().claims[BOBS[0]] == Claim(Hold.LEFT, 1, "bob")
    scene.say("bob", owned(BOBS[0], tenure=2))
    assert BOBS[0] not in scene.ann.beat().claims
    assert scene.go_on(TIMES.pause + 0.5) == [GiveAway(BOBS[1], "bob")]


def test_nothing_is_given_to_a_broker_that_is_heard_but_cannot_be_reached():
    """What it says where it listens is wrong, or somebody's firewall keeps us from there."""
    scene = alone_with_all()
    links: set[str] = set()
    scene.ann.in_reach = links.__contains__
    scene.say("bob")
    assert scene.go_on(3 * TIMES.patience) == []
    scene.ann.move(BOBS[1], "bob")  # an operator does not know either
    assert scene.go_on(1.0) == []
    links.add("bob")
    assert scene.go_on(1.0) == [GiveAway(BOBS[1], "bob")]


def test_who_does_not_take_what_it_was_given_is_left_in_peace():
    scene = alone_with_all()
    scene.say("bob")
    scene.go_on(TIMES.patience + 0.5)
    scene.ann.leave_group(BOBS[0], scene.now)
    assert scene.go_on(TIMES.turn - 0.5) == []
    assert scene.go_on(1.0) == [TakeOver(BOBS[0], 1, depose=False)]
    scene.take(BOBS[0], tenure=2)
    assert scene.go_on(20.0) == [GiveAway(BOBS[1], "bob")]


def test_an_operator_is_obeyed_at_once_and_as_long_as_that_broker_lives():
    scene = alone_with_all()
    scene.say("bob")
    (mine, *_) = set(range(GROUPS)) - set(BOBS)
    scene.ann.move(mine, "bob")
    assert scene.go_on(0.5) == [GiveAway(mine, "bob")]
    wish = scene.ann.beat().wishes[mine]
    assert (wish.broker, wish.nonce, wish.stamp) == ("bob", "bob1", 1)
    assert scene.ann.wanted(mine) == "bob"
    scene.say("bob", standing=Standing.DRAINING)
    assert scene.ann.wanted(mine) == "ann"
    scene.say("bob", standing=Standing.UP)
    assert scene.ann.wanted(mine) == "bob"
    scene.now += TIMES.suspect
    scene.say("bob", nonce="bob2")
    assert scene.ann.wanted(mine) == "ann"
    # What somebody else was told later counts.
    scene.say("bob", wishes={mine: wish._replace(broker="ann", nonce="a1", stamp=2)})
    scene.ann.move(mine, "bob")
    assert scene.ann.beat().wishes[mine].stamp == 3
    scene.say("bob", unable=frozenset((mine,)))
    with pytest.raises(MoveError, match="damaged"):
        scene.ann.move(mine, "bob")


def test_who_drains_comes_first():
    scene = alone_with_all()
    scene.say("bob")
    last = max(set(range(GROUPS)) - set(BOBS))
    scene.say("cid", owned(last, tenure=2), standing=Standing.DRAINING)
    scene.decided.clear()
    scene.ann.move(BOBS[0], "bob")
    assert scene.go_on(2.0) == []  # it is cid's turn
    scene.say("cid", {}, standing=Standing.GONE)
    del scene.others["cid"]
    assert TakeOver(last, 2, depose=True) in scene.go_on(6.0)


def test_after_a_sleep_the_others_are_heard_first():
    scene = Scene()
    scene.say("bob", owned(*range(GROUPS)))
    scene.join()
    assert scene.go_on(5.0) == []
    scene.now += 3600.0
    scene.ann.tick(scene.now)
    scene.note()
    assert scene.deeds() == []
    assert scene.go_on(5.0) == []
    scene.ann.disconnect()
    silent = scene.others.pop("bob")
    assert scene.go_on(60.0) == []
    scene.ann.connect(scene.now)
    assert scene.go_on(TIMES.silent - 0.5) == []
    assert len(scene.go_on(1.0)) == GROUPS
    assert silent.id not in scene.ann.members.alive


def test_whose_turn_it_is_takes_over_at_once_and_the_next_one_later():
    scene = Scene()
    scene.say("bob")
    scene.say("cid", owned(*range(GROUPS)))
    scene.join()
    scene.go_on(1.0)
    scene.ann.suspect("cid")
    cid = scene.others.pop("cid")
    first = scene.go_on(TIMES.suspect + 0.25)
    assert first
    assert {one.group for one in first if isinstance(one, TakeOver) and one.depose} == (
        set(range(GROUPS)) - set(BOBS)
    )
    assert scene.go_on(TIMES.turn) == [TakeOver(group, 1, depose=True) for group in BOBS]
    # It was alive after all, and bob was faster with the other one.
    scene.ann.end_read(BOBS[1])
    scene.others["cid"] = cid
    scene.say("cid")
    assert [one for one in scene.deeds() if isinstance(one, StopTaking)] == [
        StopTaking(group) for group in range(GROUPS) if group != BOBS[1]
    ]
    assert scene.ann.groups[BOBS[1]].stage is GroupStage.FENCING
    scene.say("bob", owned(BOBS[1], tenure=2))
    assert StopTaking(BOBS[1]) in scene.deeds()


def test_who_hears_of_a_newer_tenure_is_deposed_and_old_claims_are_nothing():
    scene = alone_with_all()
    scene.say("bob", owned(0, tenure=2))
    assert [one.group for one in scene.deeds() if isinstance(one, Depose)] == [0]
    assert TellOwner(0, "bob") in scene.decided
    scene.decided.clear()
    scene.say("cid", owned(0, tenure=1))
    assert scene.deeds() == []
    assert scene.ann.groups[0].owner == "bob"
    scene.ann.be_fenced(0, 1, "late", scene.now)
    assert scene.ann.groups[0].owner == "bob"


def test_who_would_get_a_group_next_is_the_one_who_follows_it():
    scene = Scene()
    others = ["bob", "cid"]
    spread_to = spread(GROUPS, ["ann", *others])
    for name in others:
        scene.say(
            name, {g: Claim(Hold.OWNED, 1, "", 70 + g) for g, n in spread_to.items() if n == name}
        )
    scene.join()
    mine = [group for group, name in spread_to.items() if name == "ann"]
    scene.go_on(2 * TIMES.silent)
    scene.take(*mine)
    for group, owner in spread_to.items():
        left = [name for name in ("ann", *others) if name != owner]
        assert scene.ann.heir(group) == spread(GROUPS, left)[group]
    followed = scene.ann.followed()
    assert followed == {
        group: 70 + group for group in range(GROUPS) if scene.ann.heir(group) == "ann"
    }
    assert followed
    assert not followed.keys() & set(mine)
    # What it follows it gets, if that owner dies.
    first = min(followed)
    owner = spread_to[first]
    del scene.others[owner]
    due = {one.group for one in scene.go_on(TIMES.silent + 0.5) if isinstance(one, TakeOver)}
    assert due == {group for group in followed if spread_to[group] == owner}
    assert scene.ann.heir(first) == ""


def test_who_should_have_a_group_follows_it_before_it_is_moved():
    scene = Scene()
    scene.say("bob", owned(*range(GROUPS)))
    scene.join()
    scene.ann.tick(scene.now)
    # If bob dies, all of them are ann's.
    assert scene.ann.followed().keys() == set(range(GROUPS))
    scene.say("cid")
    wish = scene.ann.heir(0)
    other = "cid" if wish == "ann" else "ann"
    scene.ann.move(0, other)
    assert scene.ann.heir(0) == other
    assert (0 in scene.ann.followed()) == (other == "ann")
    assert scene.ann.beat(reads={0: 7}).reads == {0: 7}


def test_who_leaves_gives_all_away_and_takes_nothing():
    scene = alone_with_all()
    scene.say("bob")
    scene.ann.stand(Standing.LEAVING)
    given = scene.go_on(0.5)
    assert given == [GiveAway(group, "bob") for group in range(GROUPS)]
    for group in range(GROUPS):
        scene.ann.leave_group(group, scene.now)
    assert scene.ann.held == []
    del scene.others["bob"]
    assert scene.go_on(60.0) == []


def test_what_is_told_of_groups_that_do_not_exist_is_nothing():
    scene = alone_with_all()
    scene.say("bob", {99: Claim(Hold.OWNED, 5), -1: Claim(Hold.LEFT, 5)})
    assert [group.owner for group in scene.ann.groups] == ["ann"] * GROUPS
