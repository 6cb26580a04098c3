"""Links over real sockets: to each member, taken from members, and lost once."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.support.fault_proxy import DOWN, UP, Fault, FaultProxy
from tests.support.links import LONG, SECRET, Station, acquaint
from tests.support.looping import run, soon
from tests.support.secure import ca_file, certificate, client_context, key_and_cert_file

from stompy.errors import ErrorCode, ProtocolError
from stompy.session.address import Scheme
from stompy_broker.cluster.link.handshake import PREFACE
from stompy_broker.cluster.link.link import Link
from stompy_broker.config import TLSConfig
from stompy_broker.wire.tls import Certificates

FULL = ProtocolError(ErrorCode.LIMIT_EXCEEDED, "the broker has all the connections it takes")


async def linked(one: Station, other: Station) -> Link:
    """Wait until both have both links; the one that the first has opened."""
    for station, peer in ((one, other), (other, one)):
        for outgoing in (True, False):
            await soon(
                lambda station=station, peer=peer, outgoing=outgoing: station.told.link(
                    peer.broker, outgoing=outgoing
                ),
                f"a link of {station.broker} and {peer.broker}",
            )
    link = one.told.link(other.broker, outgoing=True)
    assert link is not None
    return link


def test_each_member_has_a_link_to_each_other_one() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            three = [await stack.enter_async_context(Station(name)) for name in "abc"]
            acquaint(*three)
            for one in three:
                for other in three:
                    if one is not other:
                        await linked(one, other)
                assert sorted(one.links.outgoing) == sorted(set("abc") - {one.broker})
                assert sorted(one.links.incoming) == sorted(set("abc") - {one.broker})
                assert one.links.trouble == {}

    run(main)


def test_messages_go_both_ways_on_one_link_in_order() -> None:
    async def main() -> None:
        facts = {"facts": lambda: {"version": "7"}}
        async with Station("ann", **facts) as ann, Station("bob") as bob:
            acquaint(ann, bob)
            link = await linked(ann, bob)
            back = bob.told.link("ann", outgoing=False)
            assert back is not None
            assert back.facts == {"version": "7"}
            assert (link.address, link.facts) == (bob.address, {})
            assert back.instance == ann.settings.instance
            sent = [b"\x01%d" % number for number in range(1000)]
            for number, message in enumerate(sent):
                link.send(message if number % 2 else [message[:1], message[1:]])
            assert link.unsent == sum(map(len, sent)) + 4 * len(sent)
            back.send(b"\x02answer")
            await soon(lambda: len(bob.told.messages) == len(sent))
            assert bob.told.messages == [("ann", one) for one in sent]
            await soon(lambda: ann.told.messages == [("bob", b"\x02answer")])
            assert link.unsent == 0
            with pytest.raises(ValueError, match="of 0 bytes"):
                link.send(b"")

    run(main)


@pytest.mark.parametrize("secure", [False, True])
def test_large_messages_beside_small_ones(secure: bool, tmp_path: Path) -> None:
    async def main() -> None:
        certificates = secured(tmp_path) if secure else None
        tls = client_context() if secure else None
        size = 64 << 20
        async with (
            Station("ann", certificates=certificates, tls=tls) as ann,
            Station("bob", certificates=certificates, tls=tls) as bob,
        ):
            acquaint(ann, bob)
            link = await linked(ann, bob)
            body = bytes(range(256)) * (size // 256)
            link.send(b"\x01before")
            link.send([b"\x02", body[: size // 2], body[size // 2 :]])
            await soon(lambda: len(bob.told.messages) == 2)
            link.send(b"\x03" + body[: 4 << 20])
            link.send(b"\x04behind")
            await soon(lambda: len(bob.told.messages) == 4)
            kinds = [message[0] for _, message in bob.told.messages]
            assert kinds == [1, 2, 3, 4]
            assert bob.told.messages[1][1][1:] == body
            assert bob.told.messages[2][1][1:] == body[: 4 << 20]
            assert ann.told.reasons == bob.told.reasons == []

    run(main)


def secured(folder: Path, **given: object) -> Certificates:
    cert = key_and_cert_file(folder, certificate("localhost", "127.0.0.1"))
    return Certificates(TLSConfig.model_validate({"cert": cert, **given}))


# -- TLS -----------------------------------------------------------------------------------------


def test_links_under_tls_with_certificates_of_both_sides(tmp_path: Path) -> None:
    async def main() -> None:
        needs = {"client_ca": ca_file(tmp_path), "client_cert": "required"}
        both = secured(tmp_path, **needs)
        context = client_context()
        certificate("localhost", "127.0.0.1").configure_cert(context)
        secure = frozenset((Scheme.STOMPS,))
        async with (
            Station("ann", certificates=both, tls=context, schemes=secure) as ann,
            Station("bob", certificates=both, tls=context, schemes=secure) as bob,
        ):
            acquaint(ann, bob)
            link = await linked(ann, bob)
            link.send(b"\x01secret")
            await soon(lambda: bob.told.messages == [("ann", b"\x01secret")])
            link.close("enough")
            await soon(lambda: bob.told.reasons == ["the peer has left: enough"])

    run(main)


def test_a_port_only_for_tls_takes_no_link_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        secure = frozenset((Scheme.STOMPS, Scheme.WSS))
        web = frozenset((Scheme.WS,))
        async with (
            Station("ann") as ann,
            Station("bob", certificates=secured(tmp_path), schemes=secure) as bob,
            Station("cid", schemes=web) as cid,
        ):
            acquaint(ann, bob, cid)
            await soon(lambda: "without TLS" in ann.links.trouble["bob"])
            await soon(lambda: "takes no links" in ann.links.trouble["cid"])
            await soon(lambda: "refused by the other side: this port takes no" in caplog.text)
            assert ann.told.link("bob", outgoing=True) is None
            assert bob.told.link("ann", outgoing=False) is None

    run(main)


def test_a_certificate_that_is_not_trusted(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            Station("ann", tls=client_context("other")) as ann,
            Station("bob", certificates=secured(tmp_path)) as bob,
        ):
            acquaint(ann, bob)
            await soon(lambda: "not trusted" in ann.links.trouble["bob"])
            assert bob.told.link("ann", outgoing=False) is None

    run(main)


# -- who is refused -------------------------------------------------------------------------------


def test_refusals_are_in_the_logs_of_both_sides(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stompy_broker.cluster.link")

    async def main() -> None:
        async with Station("ann") as ann, Station("bob", secret=SECRET[::-1]) as bob:
            acquaint(ann, bob)
            words = "brokers 'ann' and 'bob' have different secrets: give all"
            outgoing = f"no link to bob at {bob.address}: refused by the other side: {words}"
            await soon(lambda: outgoing in caplog.text, outgoing)
            assert f"{words}" in caplog.text
            assert "no link of ann at 127.0.0.1:" in caplog.text
            # The line is there once, however often it is tried.
            await soon(lambda: bob.links._throttle._rows["127.0.0.1"][1] > 10)
            assert caplog.text.count(outgoing) == 1
            assert caplog.text.count("no link of ann at 127.0.0.1:") == 1
            assert ann.told.events == bob.told.events == []

    run(main)


def test_who_is_no_member_is_refused_until_it_is_one() -> None:
    async def main() -> None:
        async with Station("ann") as ann, Station("bob") as bob:
            ann.links.update({"bob": bob.address})
            await soon(lambda: "does not hear of a member 'ann'" in ann.links.trouble["bob"])
            acquaint(ann, bob)
            await linked(ann, bob)

    run(main)


def test_two_brokers_of_one_id_do_not_take_the_link_from_each_other() -> None:
    async def main() -> None:
        async with (
            Station("ann", beat_seconds=LONG) as ann,
            Station("bob") as bob,
            Station("bob") as impostor,
        ):
            acquaint(ann, bob)
            await linked(ann, bob)
            impostor.links.update({"ann": ann.address})
            await soon(lambda: "two brokers of one id" in impostor.links.trouble["ann"])
            assert ann.told.reasons == []
            found = ann.told.link("bob", outgoing=False)
            assert found is not None
            assert found.instance == bob.settings.instance
            # And one that meets itself, because addresses are wrong.
            ann.links.update({"bob": bob.address, "cid": ann.address})
            await soon(lambda: "'cid' is wanted and 'ann' is there" in ann.links.trouble["cid"])

    run(main)


def test_what_is_no_link_is_treated_as_ever_and_a_broker_without_a_cluster_knows_none() -> None:
    async def main() -> None:
        async with Station("ann") as ann, Station("bob", cluster=None) as bob:
            ann.links.update({"bob": bob.address})
            await soon(lambda: r"without [cluster]. It says: ERROR\n" in ann.links.trouble["bob"])
            assert bob.stomp[0].startswith(PREFACE)
            reader, writer = await asyncio.open_connection("127.0.0.1", ann.port)
            writer.write(b"CONNECT\n\n\0")
            assert (await reader.read()).startswith(b"ERROR")
            assert ann.stomp == [b"CONNECT\n\n\0"]
            writer.close()
            await writer.wait_closed()

    run(main)


def test_links_need_no_place_among_clients() -> None:
    async def main() -> None:
        only = frozenset((Scheme.STOMP,))
        async with (
            Station("ann", refusal=FULL, schemes=only) as ann,
            Station("bob", refusal=FULL) as bob,
        ):
            acquaint(ann, bob)
            await linked(ann, bob)

    run(main)


# -- who does harm --------------------------------------------------------------------------------


def test_a_flood_of_strangers_keeps_no_member_out() -> None:
    async def main() -> None:
        async with Station("ann") as ann, Station("bob") as bob:
            writers = []
            for number in range(200):
                _, writer = await asyncio.open_connection("127.0.0.1", ann.port)
                writer.write(PREFACE + (b"" if number % 2 else b"\0\0\x10\0half a hello"))
                writers.append(writer)
            await soon(lambda: len(ann.links._strangers) == 64)
            acquaint(ann, bob)
            await linked(ann, bob)
            for writer in writers:
                writer.transport.abort()
            await soon(lambda: not ann.links._strangers)

    run(main)


def test_rubbish_costs_its_sender_the_connection_and_nobody_else_anything() -> None:
    async def main() -> None:
        async with Station("ann") as ann, Station("bob") as bob:
            acquaint(ann, bob)
            link = await linked(ann, bob)
            for rubbish in (b"\xff" * 100_000, b"\0\0\0\2{}" * 1000, b"\0\0\0\0" * 1000):
                reader, writer = await asyncio.open_connection("127.0.0.1", bob.port)
                writer.write(PREFACE + rubbish)
                answer = await reader.read()
                assert answer.startswith(PREFACE)
                assert b"refused" in answer
                writer.transport.abort()
            link.send(b"\x01still there")
            await soon(lambda: bob.told.messages == [("ann", b"\x01still there")])
            assert bob.told.reasons == []

    run(main)


def test_who_says_no_more_before_the_proof_has_a_time() -> None:
    async def main() -> None:
        async with Station("ann", login_seconds=0.1) as ann:
            reader, writer = await asyncio.open_connection("127.0.0.1", ann.port)
            writer.write(PREFACE)
            assert await reader.read() == PREFACE
            writer.transport.abort()

    run(main)


def test_a_peer_that_sends_too_much_loses_its_link() -> None:
    async def main() -> None:
        async with Station("ann") as ann, Station("bob", longest=1000) as bob:
            acquaint(ann, bob)
            link = await linked(ann, bob)
            link.send(b"\x01" + bytes(1000))
            await soon(lambda: any("1001 bytes" in one for one in bob.told.reasons))
            await linked(ann, bob)

    run(main)


def test_a_fault_in_the_listener_ends_that_link_only(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Station("ann") as ann, Station("bob") as bob:
            acquaint(ann, bob)
            link = await linked(ann, bob)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(bob.told, "received", lambda *_: 1 / 0)
                link.send(b"\x01poison")
                await soon(lambda: ann.told.reasons)
            assert "see the log of the other side" in ann.told.reasons[0]
            assert "fault in what was to follow a message of ann" in caplog.text
            link = await linked(ann, bob)
            link.send(b"\x01sound")
            await soon(lambda: bob.told.messages[-1:] == [("ann", b"\x01sound")])
            # The other direction has felt nothing.
            assert ("lost", "bob", False) not in ann.told.events

    run(main)


# -- the end of a link ----------------------------------------------------------------------------


def test_what_was_sent_before_a_close_arrives() -> None:
    async def main() -> None:
        async with Station("ann") as ann, Station("bob") as bob:
            acquaint(ann, bob)
            link = await linked(ann, bob)
            body = bytes(8 << 20)
            back = bob.told.link("ann", outgoing=False)
            assert back is not None
            back.send(b"\x02" + body)  # what nobody reads any more must not destroy it
            link.send(b"\x01" + body)
            link.send(b"\x01last")
            link.close("enough")
            link.send(b"\x01too late")
            link.close("twice")
            assert ann.told.reasons == []  # never from within
            await soon(lambda: bob.told.reasons)
            assert bob.told.reasons == ["the peer has left: enough"]
            assert [len(one) for _, one in bob.told.messages] == [1 + len(body), 5]
            assert ann.told.reasons == ["enough"]
            await linked(ann, bob)  # it is kept, so there is a new one

    run(main)


def test_a_cut_is_told_once_on_both_sides_and_there_is_a_new_link() -> None:
    async def main() -> None:
        async with Station("ann") as ann, Station("bob") as bob:
            with FaultProxy(bob.port) as proxy:
                bob.links.update({"ann": ann.address, "bob": bob.address})
                ann.links.update({"bob": f"127.0.0.1:{proxy.port}"})
                for round_number in range(1, 4):
                    link = await linked(ann, bob)
                    link.send(b"\x01on its way")
                    proxy.passages[-1].cut()
                    await soon(
                        lambda count=round_number: (
                            ann.told.events.count(("lost", "bob", True))
                            == bob.told.events.count(("lost", "ann", False))
                            == count
                        )
                    )
                link = await linked(ann, bob)
                assert ann.told.events.count(("opened", "bob", True)) == 4
                link.send(b"\x01arrives")
                await soon(lambda: ("ann", b"\x01arrives") in bob.told.messages)

    run(main)


@pytest.mark.parametrize("at", [1, 8, 9, 12, 100, 200, 260, 300])
def test_a_cut_at_any_byte_of_the_handshake_is_gone_into_again(at: int) -> None:
    async def main() -> None:
        async with Station("ann") as ann, Station("bob") as bob:
            with FaultProxy(bob.port) as proxy:
                proxy.plan(Fault(cut_after={UP: at}), Fault(cut_after={DOWN: at}))
                bob.links.update({"ann": ann.address})
                ann.links.update({"bob": f"127.0.0.1:{proxy.port}"})
                await soon(lambda: proxy.accepted >= 3)
                link = await linked(ann, bob)
                link.send(b"\x01here")
                await soon(lambda: ("ann", b"\x01here") in bob.told.messages)

    run(main)


def test_a_peer_that_falls_silent_is_lost_and_comes_again_when_it_is_heard() -> None:
    async def main() -> None:
        async with (
            Station("ann", silent_seconds=1.0) as ann,
            Station("bob", silent_seconds=1.0) as bob,
        ):
            with FaultProxy(bob.port) as proxy:
                bob.links.update({"ann": ann.address})
                ann.links.update({"bob": f"127.0.0.1:{proxy.port}"})
                link = await linked(ann, bob)
                proxy.passages[-1].swallow |= {UP, DOWN}
                link.send(b"\x01never arrives")
                await soon(lambda: any("nothing was heard for" in one for one in ann.told.reasons))
                await soon(lambda: any("nothing was heard for" in one for one in bob.told.reasons))
                await linked(ann, bob)

    run(main)


def test_a_newer_link_takes_the_place_of_one_that_nobody_has_ended() -> None:
    """The front's network was gone, and its new link is there before the old one is lost."""

    async def main() -> None:
        async with Station("ann") as ann, Station("bob") as bob:
            with FaultProxy(bob.port) as proxy:
                bob.links.update({"ann": ann.address})
                ann.links.update({"bob": f"127.0.0.1:{proxy.port}"})
                await linked(ann, bob)
                before = bob.told.link("ann", outgoing=False)
                proxy.passages[-1].forsake()
                await soon(lambda: bob.told.link("ann", outgoing=False) not in (before, None))
                assert "the peer has opened a newer one" in bob.told.reasons
                events = [one for one in bob.told.events if one[1:] == ("ann", False)]
                assert [event for event, *_ in events] == ["opened", "lost", "opened"]
                await linked(ann, bob)

    run(main)


def test_a_member_that_is_gone_has_no_link_and_one_that_moves_another() -> None:
    async def main() -> None:
        async with Station("ann") as ann, Station("bob") as bob, Station("cid") as cid:
            acquaint(ann, bob, cid)
            await linked(ann, bob)
            await linked(ann, cid)
            ann.links.update({"ann": ann.address, "cid": cid.address})
            await soon(lambda: "the peer is no member any more" in ann.told.reasons)
            await soon(lambda: bob.told.link("ann", outgoing=False) is None)
            assert list(ann.links.outgoing) == ["cid"]
            # What it has opened itself stays as long as it is heard.
            assert ann.told.link("bob", outgoing=False) is not None
            with FaultProxy(cid.port) as proxy:
                ann.links.update({"cid": f"127.0.0.1:{proxy.port}"})
                await soon(lambda: proxy.passages and proxy.passages[0].passed[DOWN])
                await linked(ann, cid)
                assert "the peer has moved" in ann.told.reasons
                await ann.links.close()

    run(main)


def test_a_peer_that_is_not_there_yet_is_reached_when_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with Station("ann") as ann, Station("bob") as bob:
            bob.deafen()
            acquaint(ann, bob)
            await soon(lambda: f"no link to bob at {bob.address}: " in caplog.text)
            assert "efused" in ann.links.trouble["bob"]
            await bob.listen()
            await linked(ann, bob)
            ann.links.update({"bob": bob.address, "cid": "no address"})
            await soon(lambda: "no host in" in ann.links.trouble["cid"])

    run(main)


def test_a_loop_that_asks_for_a_protocol_and_does_not_use_it() -> None:
    """As uvloop does when it cannot connect."""

    async def connect(begin: Callable[[], asyncio.Protocol], *address: object) -> None:
        begin()
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with Station("ann") as ann:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(loop, "create_connection", connect)
                ann.links.update({"bob": ann.address})
                await soon(lambda: ann.links._dialers["bob"].attempts > 2)
                assert ann.links.trouble == {"bob": "Connection refused"}
                await ann.links.close()

    run(main)


def test_closing_leaves_nothing_behind_whatever_is_under_way() -> None:
    async def main() -> None:
        for turns in range(0, 40, 3):
            async with Station("ann") as ann, Station("bob") as bob:
                acquaint(ann, bob)
                for _ in range(turns):
                    await asyncio.sleep(0)
                await ann.links.close()
                ann.links.update({"bob": bob.address})
                assert ann.links.trouble == {}
                assert ann.links._connections == set()
        async with Station("ann") as ann, Station("bob", silent_seconds=0.3) as bob:
            # A peer that neither answers nor closes is not waited for.
            with FaultProxy(bob.port) as proxy:
                bob.links.update({"ann": f"127.0.0.1:{proxy.port}"})
                ann.links.update({"bob": bob.address})
                await soon(lambda: "connection" in str(bob.links.trouble) or proxy.passages)
                for passage in proxy.passages:
                    passage.swallow |= {UP, DOWN}
                await bob.links.close()

    run(main)
