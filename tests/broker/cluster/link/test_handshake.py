"""Who becomes a link, who does not, and what both sides are told then; bytes against bytes."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.links import SECRET

from stompy_broker.cluster.link.codec import LinkProtocolError, length_of
from stompy_broker.cluster.link.handshake import (
    PREFACE,
    LinkHandshake,
    LinkPeer,
    LinkRefusedError,
)
from stompy_broker.cluster.link.settings import LinkSettings

ANN = LinkSettings("shop", "ann", SECRET, "a1", lambda: {"version": "1", "users": "aa"})
BOB = LinkSettings("shop", "bob", SECRET, "b1", lambda: {"version": "2"})


def talk(front: LinkHandshake, peer: LinkHandshake, piece: int = 1 << 20) -> list[str]:
    """Pass bytes between both until nobody has any; what they refused, the front's words first."""
    words = ["", ""]
    while True:
        moved = False
        for number, (source, target) in enumerate(((front, peer), (peer, front))):
            data = source.take()
            moved = moved or bool(data)
            for at in range(0, len(data), piece):
                if words[1 - number]:
                    break
                try:
                    target.receive(data[at : at + piece])
                except LinkRefusedError as error:
                    words[1 - number] = f"{'by peer: ' if error.by_peer else ''}{error}"
        if not moved:
            return words


def refusals(ann: LinkSettings, bob: LinkSettings, wanted: str = "bob") -> list[str]:
    """What both sides say when the one connects to the other; it has to be the same."""
    front, peer = LinkHandshake(ann, wanted), LinkHandshake(bob)
    words = talk(front, peer)
    assert not front.done
    assert not peer.done
    assert front.facts == peer.facts == {}
    assert sorted(one.startswith("by peer: ") for one in words) == [False, True]
    said, heard = (one.removeprefix("by peer: ") for one in words)
    assert said == heard
    return words


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_two_that_belong_together_know_of_each_other(piece: int) -> None:
    front, peer = LinkHandshake(ANN, "bob"), LinkHandshake(BOB)
    assert talk(front, peer, piece) == ["", ""]
    assert front.done
    assert peer.done
    assert front.peer == LinkPeer("bob", "b1", 1)
    assert peer.peer == LinkPeer("ann", "a1", 1)
    assert front.facts == {"version": "2"}
    assert peer.facts == {"version": "1", "users": "aa"}


def test_what_comes_behind_it_is_kept() -> None:
    front, peer = LinkHandshake(ANN, "bob"), LinkHandshake(BOB)
    peer.receive(front.take())
    front.receive(peer.take())
    peer.receive(front.take())
    front.receive(peer.take() + b"peer's messages")
    peer.receive(front.take() + b"front's messages")
    assert (front.rest, peer.rest) == (b"peer's messages", b"front's messages")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"versions": (2, 3)}, "versions 2 to 3 of links and the other one 1 to 1: upgrade"),
        ({"cluster": "stall"}, "cluster 'stall' and broker 'bob' of 'shop': look at cluster.name"),
        ({"secret": SECRET[::-1]}, "the same cluster.secret_file"),
        ({"broker": "bob"}, "two brokers of one id: both are 'bob'"),
    ],
)
def test_a_front_that_does_not_belong_there_is_refused_by_the_peer(
    change: dict[str, Any], words: str
) -> None:
    front, peer = refusals(replace(ANN, **change), BOB)
    assert front.startswith("by peer: ")
    assert words in peer


def test_an_address_that_leads_to_somebody_else_is_found_out() -> None:
    front, _ = refusals(ANN, BOB, wanted="cid")
    assert "broker 'cid' is wanted and 'bob' is there" in front


def test_who_is_not_wanted_is_asked_after_the_proof_only() -> None:
    asked: list[LinkPeer] = []

    def admit(peer: LinkPeer) -> str:
        asked.append(peer)
        return "not today"

    stranger = LinkHandshake(replace(ANN, secret=SECRET[::-1]), "bob")
    assert "secret" in talk(stranger, LinkHandshake(BOB, admit=admit))[1]
    assert asked == []
    front, peer = LinkHandshake(ANN, "bob"), LinkHandshake(BOB, admit=admit)
    assert talk(front, peer) == ["by peer: not today", "not today"]
    assert asked == [LinkPeer("ann", "a1", 1)]


def test_the_newest_version_that_both_speak_is_spoken() -> None:
    front = LinkHandshake(replace(ANN, versions=(1, 4)), "bob")
    peer = LinkHandshake(replace(BOB, versions=(2, 3)))
    assert talk(front, peer) == ["", ""]
    assert front.peer is not None
    assert peer.peer is not None
    assert front.peer.version == peer.peer.version == 3


def hello(front: LinkHandshake) -> dict[str, Any]:
    """The hello of a front that has just begun, to be changed."""
    data = front.take()
    assert data.startswith(PREFACE)
    words = json.loads(data[len(PREFACE) + 4 :])
    assert isinstance(words, dict)
    return words


def framed(words: object) -> bytes:
    message = words if isinstance(words, bytes) else json.dumps(words).encode()
    return length_of(len(message)) + message


def test_a_peer_that_does_not_know_the_secret_is_refused_by_the_front() -> None:
    """It says all that a real one says, and cannot make the proof; nor do facts go to it."""
    front = LinkHandshake(ANN, "bob")
    its = hello(front)
    said = {**its, "broker": "bob", "wanted": "", "nonce": "0" * 64}
    front.receive(PREFACE + framed(said))
    proof = json.loads(front.take()[4:])["proof"]
    # The front's own proof is of no use to it.
    with pytest.raises(LinkRefusedError, match="different secrets") as caught:
        front.receive(framed({"proof": proof, "facts": {}}))
    assert not caught.value.by_peer
    assert b"secret_file" in front.take()
    assert front.facts == {}


def test_a_proof_that_was_heard_opens_nothing_later() -> None:
    front, peer = LinkHandshake(ANN, "bob"), LinkHandshake(BOB)
    first = front.take()
    peer.receive(first)
    front.receive(peer.take())
    proof = front.take()
    peer.receive(proof)
    later = LinkHandshake(BOB)
    later.receive(first)
    with pytest.raises(LinkRefusedError, match="different secrets"):
        later.receive(proof)


def test_facts_go_to_nobody_before_the_proof() -> None:
    front, peer = LinkHandshake(ANN, "bob"), LinkHandshake(BOB)
    said = front.take()
    peer.receive(said)
    answer = peer.take()
    front.receive(answer)
    assert b"users" not in said + answer + front.take()
    assert SECRET not in said + answer


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"versions": None}, "cannot be read"),
        ({"versions": ["1", 2]}, "cannot be read"),
        ({"broker": ""}, "cannot be read"),
        ({"broker": 7}, "cannot be read"),
        ({"broker": "x" * 256}, "cannot be read"),
        ({"broker": "a\nb"}, "cannot be shown"),
        ({"nonce": "0"}, "cannot be read"),
        ({"wanted": {"a": "b" * 3000}}, "is wanted and"),
    ],
)
def test_a_hello_that_is_none(change: dict[str, object], words: str) -> None:
    peer = LinkHandshake(BOB)
    said = hello(LinkHandshake(ANN, "bob"))
    with pytest.raises(LinkRefusedError, match=words) as caught:
        peer.receive(PREFACE + framed(said | change))
    assert len(str(caught.value)) < 600
    assert b"refused" in peer.take()


@pytest.mark.parametrize(
    "message", [b"", b"{", b"[]", b"\xff", b"[" * 8000, b'{"versions":' + b"9" * 8000]
)
def test_a_message_that_is_no_json(message: bytes) -> None:
    peer = LinkHandshake(BOB)
    with pytest.raises(LinkRefusedError, match="cannot be read"):
        peer.receive(PREFACE + framed(message))


def test_a_message_that_is_too_long_is_refused_by_its_length() -> None:
    with pytest.raises(LinkRefusedError, match="8193 bytes; 8192 are allowed"):
        LinkHandshake(BOB).receive(PREFACE + length_of(8193))


def test_an_answer_that_is_no_link_is_shown() -> None:
    front = LinkHandshake(ANN, "bob")
    front.take()
    with pytest.raises(LinkRefusedError, match=r"without \[cluster\]. It says: ERROR\\nmessage"):
        front.receive(b"ERROR\nmessage:Bad frame\n\n\0")
    assert front.take() == b""


def test_a_refusal_is_one_short_line_of_the_log() -> None:
    front = LinkHandshake(ANN, "bob")
    with pytest.raises(LinkRefusedError) as caught:
        front.receive(PREFACE + framed({"refused": "\n\x1b" * 500}))
    assert caught.value.by_peer
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 300


@given(st.binary(max_size=300), st.booleans())
def test_rubbish_is_refused_or_waited_for(data: bytes, outgoing: bool) -> None:
    one = LinkHandshake(ANN, "bob" if outgoing else "")
    with contextlib.suppress(LinkRefusedError):
        one.receive(PREFACE + data)
    assert not one.done


def test_facts_have_a_limit() -> None:
    front = LinkHandshake(replace(ANN, facts=lambda: {"much": "x" * 9000}), "bob")
    with pytest.raises(LinkProtocolError, match="of 8192"):
        talk(front, LinkHandshake(BOB))


@pytest.mark.parametrize(
    ("change", "words"),
    [({"secret": b"short"}, "5 bytes and needs at least 16"), ({"broker": ""}, "need a name")],
)
def test_settings_that_would_protect_nothing(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(ANN, **change)
    assert "secret" not in repr(ANN)
