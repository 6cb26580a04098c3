"""What a link promises, by the one that tests of other parts move by hand."""

from __future__ import annotations

from tests.support.links import Told, linked, settle


def test_messages_arrive_in_order_and_the_end_is_told_once_on_each_side() -> None:
    ann, bob = Told(), Told()
    link = linked("ann", ann, "bob", bob)
    assert (link.peer, link.outgoing) == ("bob", True)
    link.send(b"\x01one")
    link.send([b"\x01", b"two"])
    assert link.unsent == 8
    assert bob.messages == []
    link.other.send(b"\x02back")
    settle(link)
    assert bob.messages == [("ann", b"\x01one"), ("ann", b"\x01two")]
    assert ann.messages == [("bob", b"\x02back")]
    link.send(b"\x01last")
    link.close("done")
    link.send(b"\x01too late")
    settle(link)
    assert bob.messages[2:] == [("ann", b"\x01last")]
    assert ann.reasons == bob.reasons == ["done"]
    link.cut()
    link.send(b"\x01dropped")
    settle(link)
    assert (len(ann.reasons), len(bob.messages)) == (1, 3)


def test_what_did_not_arrive_before_a_cut_never_does() -> None:
    ann, bob = Told(), Told()
    link = linked("ann", ann, "bob", bob)
    link.send(b"\x01lost")
    link.cut("the network")
    settle(link)
    assert bob.messages == []
    assert (ann.links, bob.links) == ([], [])
    assert ann.events == [("opened", "bob", True), ("lost", "bob", True)]
