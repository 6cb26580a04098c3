"""What a cluster has agreed on: one way to group queues, and a number for each broker for good."""

from __future__ import annotations

import pytest

from stompy_broker.cluster.membership.groups import HOME_GROUPS, MOST_NAMED_GROUPS
from stompy_broker.cluster.membership.roster import Roster, RosterError
from stompy_broker.routing.group import MOST_GROUPS


def test_each_broker_has_a_number_that_it_keeps():
    roster = Roster("[16, []]").enter("ann", "[16, []]", ()).enter("bob", "[16, []]", ())
    assert roster.enter("ann", "[16, []]", ()) is roster
    assert (roster.home("ann"), roster.home("bob")) == (MOST_NAMED_GROUPS, MOST_NAMED_GROUPS + 1)
    assert Roster.read(roster.write()) == roster
    with pytest.raises(KeyError):
        roster.home("cid")


def test_places_are_given_again_once_all_are_taken_and_not_those_of_the_living():
    roster = Roster("x")
    for number in range(HOME_GROUPS):
        roster = roster.enter(f"b{number}", "x", ())
    assert roster.home(f"b{HOME_GROUPS - 1}") == MOST_GROUPS - 1
    later = roster.enter("new", "x", {"b0", "b2"})
    assert later.home("new") == roster.home("b1")
    assert later.home("b2") == roster.home("b2")
    with pytest.raises(RosterError, match="the most"):
        roster.enter("new", "x", set(roster.brokers))


def test_who_groups_queues_otherwise_is_refused():
    with pytest.raises(RosterError, match="groups queues as"):
        Roster("[16, []]").enter("ann", "[8, []]", ())


@pytest.mark.parametrize("octets", [b"", b"[]", b"{}", b'{"layout": "x", "brokers": 5}'])
def test_what_is_no_roster_is_told(octets: bytes):
    with pytest.raises(RosterError, match="makes no sense"):
        Roster.read(octets)
