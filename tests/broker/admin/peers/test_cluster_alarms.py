"""When something is wrong with a cluster, and when it is over."""

from __future__ import annotations

from tests.support.cluster_status import ToldCluster

from stompy_broker.admin.cluster_status import MemberFacts
from stompy_broker.admin.peers.cluster_alarms import FENCED_SECONDS, PATIENCE, ClusterAlarms
from stompy_broker.timers import Clock


class Scene:
    """A cluster of ``ann``, who is here, and others; time passes when told to."""

    def __init__(self, *others: str) -> None:
        self.now = 0.0
        self.due: float | None = None
        self.alarms: dict[str, str] = {}
        self.cluster = ToldCluster("ann", known=[MemberFacts(n) for n in ("ann", *others)])
        self.cluster.facts = {"settings.acl": "1", "settings.users": "2", "version": "1"}
        self.clock = Clock(lambda: self.now, self._wake)
        self.told = ClusterAlarms(self.cluster, self.clock, self._set)

    def _wake(self, when: float) -> None:
        self.due = when

    def _set(self, name: str, reason: str) -> None:
        self.alarms.pop(name, None)
        if reason:
            self.alarms[name] = reason

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.due is not None and self.due <= until:
            self.now, self.due = max(self.now, self.due), None
            self.clock.run()
        self.now = until


def test_a_link_that_is_lost_for_a_moment_is_no_alarm() -> None:
    scene = Scene("bob")
    scene.told.linked("bob", {})
    scene.told.unlinked("bob")
    scene.pass_time(PATIENCE / 2)
    scene.told.linked("bob", {})
    scene.pass_time(PATIENCE * 2)
    assert not scene.alarms
    assert scene.due is None, "nothing is looked at while all is well"


def test_a_link_that_stays_away_is_one_and_its_coming_back_ends_it() -> None:
    scene = Scene("bob", "cid")
    scene.told.linked("cid", {})
    scene.told.linked("bob", {})
    scene.told.unlinked("bob")
    scene.pass_time(PATIENCE + 1)
    assert scene.alarms == {"cluster.peer_lost": "no link to bob"}
    scene.cluster.known = [MemberFacts("ann"), MemberFacts("bob", "lost"), MemberFacts("cid")]
    scene.pass_time(1)
    assert scene.alarms == {"cluster.peer_lost": "bob is lost"}
    scene.cluster.known = [MemberFacts("ann"), MemberFacts("bob"), MemberFacts("cid")]
    scene.told.linked("bob", {})
    assert not scene.alarms


def test_a_member_that_has_left_is_no_loss() -> None:
    scene = Scene("bob")
    scene.told.linked("bob", {})
    scene.told.unlinked("bob")
    scene.cluster.known = [MemberFacts("ann")]
    scene.pass_time(PATIENCE + 1)
    assert not scene.alarms
    assert scene.due is None


def test_other_settings_are_named_until_they_agree_or_the_peer_has_left() -> None:
    scene = Scene("bob")
    scene.told.linked("bob", {"settings.acl": "9", "settings.users": "2", "version": "2"})
    assert scene.alarms == {"cluster.settings": "not as here at bob: acl"}
    scene.told.linked("bob", {"settings.acl": "1"})
    assert not scene.alarms
    scene.told.linked("bob", {"settings.acl": "9"})
    scene.cluster.known = [MemberFacts("ann")]
    scene.told.unlinked("bob")
    assert not scene.alarms


def test_a_fence_is_seen_for_a_while() -> None:
    scene = Scene()
    scene.told.fenced(3, "by tenure 2 of bob")
    scene.pass_time(FENCED_SECONDS / 2)
    scene.told.fenced(1, "by tenure 2 of bob")
    words = "taken from this broker: groups 1, 3 (by tenure 2 of bob)"
    assert scene.alarms == {"cluster.fenced": words}
    scene.pass_time(FENCED_SECONDS / 2 + 1)
    assert "group 1 (" in scene.alarms["cluster.fenced"]
    scene.pass_time(FENCED_SECONDS)
    assert not scene.alarms


def test_quorum() -> None:
    scene = Scene()
    scene.told.quorum("no leader for 3 s")
    assert scene.alarms == {"cluster.no_quorum": "no leader for 3 s"}
    scene.told.quorum("")
    assert not scene.alarms
