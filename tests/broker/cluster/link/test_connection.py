"""A link's connection under a clock that the test moves: beats, silence, and who stood still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.links import SECRET, Told
from tests.support.looping import run

from stompy_broker.cluster.link.codec import BEAT, length_of
from stompy_broker.cluster.link.connection import LinkConnection
from stompy_broker.cluster.link.handshake import LinkHandshake
from stompy_broker.cluster.link.settings import LinkSettings
from stompy_broker.timers import Clock


class Wire(asyncio.Transport):
    """A transport that keeps what is written, and ends when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.writes = 0
        self.ended = self.aborted = False
        self.unwritten = 0

    def write(self, data: Any) -> None:
        self.written += data
        self.writes += 1

    def write_eof(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_write_buffer_size(self) -> int:
        return self.unwritten

    def take(self) -> bytes:
        written, self.written = self.written, b""
        return written


class Kept:
    """A keeper that remembers what becomes of a connection."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def begun(self, connection: LinkConnection) -> None:
        pass

    def greeted(self, connection: LinkConnection) -> None:
        self.events.append("greeted")

    def failed(self, connection: LinkConnection, reason: str, *, by_peer: bool) -> None:
        self.events.append(f"failed: {reason}")

    def ended(self, connection: LinkConnection, reason: str, *, orderly: bool) -> None:
        self.events.append(f"ended: {reason}")

    def gone(self, connection: LinkConnection) -> None:
        self.events.append("gone")


class Scene:
    """A front's connection, and its peer as a handshake without a socket."""

    def __init__(self) -> None:
        self.now = 100.0
        self.clock = Clock(lambda: self.now, lambda when: None)
        self.told, self.kept, self.wire = Told(), Kept(), Wire()
        settings = LinkSettings("c", "ann", SECRET)
        self.connection = LinkConnection(
            settings,
            self.clock,
            LinkHandshake(settings, "bob"),
            self.told,
            self.kept,
            host="bob.example",
            address="bob.example:1",
            tls=None,
        )
        self.peer = LinkHandshake(LinkSettings("c", "bob", SECRET))

    def connect(self) -> None:
        self.connection.connection_made(self.wire)

    def open(self) -> None:
        self.connect()
        while not self.peer.done:
            self.peer.receive(self.wire.take())
            self.hear(self.peer.take())
        assert self.kept.events == ["greeted"]
        assert self.told.links == [self.connection]

    def hear(self, data: bytes) -> None:
        if data:
            self.connection.data_received(data)

    def wait(self, seconds: float, each: Callable[[], object] = lambda: None) -> None:
        """Let time pass in small steps, as it does for a broker that runs."""
        for _ in range(round(seconds * 8)):
            self.now += 0.125
            self.clock.run()
            each()


def scene(test: Callable[[Scene], None]) -> None:
    async def main() -> None:
        test(Scene())

    run(main)


def test_a_beat_is_sent_when_nothing_else_was() -> None:
    def act(one: Scene) -> None:
        one.open()
        one.wire.take()
        one.wait(2.0, lambda: one.hear(BEAT))
        assert one.wire.take() == BEAT * 3  # the handshake had just been written
        one.wait(
            2.0, lambda: (one.hear(BEAT), one.connection.send(b"\x01"), one.connection._flush())
        )
        assert one.wire.take() == (length_of(1) + b"\x01") * 16

    scene(act)


def test_who_is_not_heard_is_lost_once() -> None:
    def act(one: Scene) -> None:
        one.open()
        one.wait(2.875)
        assert one.told.reasons == []
        one.wait(1.0)
        assert one.told.reasons == ["nothing was heard for 3.0 s"]
        assert one.wire.aborted
        one.hear(length_of(1) + b"\x01")
        one.connection.connection_lost(None)
        assert one.told.messages == []
        assert len(one.told.reasons) == 1
        assert one.kept.events[-1] == "gone"

    scene(act)


def test_any_byte_shows_that_a_peer_is_there() -> None:
    def act(one: Scene) -> None:
        one.open()
        one.hear(length_of(1000) + b"\x01")
        one.wait(30.0, lambda: one.hear(b"x"))
        assert one.told.reasons == []

    scene(act)


def test_a_broker_that_stood_still_does_not_blame_its_peers() -> None:
    def act(one: Scene) -> None:
        one.open()
        one.now += 60
        one.clock.run()
        assert one.told.reasons == []
        one.hear(BEAT)  # it was there all the time
        one.wait(2.5)
        assert one.told.reasons == []
        one.wait(3.0)
        assert len(one.told.reasons) == 1

    scene(act)


def test_a_handshake_has_a_time_which_does_not_run_while_the_broker_stands_still() -> None:
    def act(one: Scene) -> None:
        one.connect()
        one.now += 60
        one.clock.run()
        assert one.kept.events == []
        one.wait(3.1)
        assert one.kept.events == [
            "failed: the handshake takes too long: it is slow, or does not take links"
        ]
        assert one.wire.aborted
        assert one.told.events == []

    scene(act)


def test_everything_of_a_turn_is_one_write() -> None:
    def act(one: Scene) -> None:
        one.open()
        one.wire.take()
        before = one.wire.writes
        for number in range(100):
            one.connection.send(b"\x01%d" % number)
        one.wire.unwritten = 7
        assert one.connection.unsent > 7
        one.connection._flush()
        assert one.wire.writes == before + 1
        assert one.connection.unsent == 7

    scene(act)


@pytest.mark.parametrize("answers", [True, False])
def test_a_goodbye_is_waited_for_but_not_for_long(answers: bool) -> None:
    async def main() -> None:
        one = Scene()
        one.open()
        one.connection.close("enough")
        assert one.told.reasons == []
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert one.told.reasons == ["enough"]
        assert one.wire.written.endswith(length_of(7) + b"\0enough")
        assert one.wire.ended
        one.hear(length_of(1) + b"\x01")
        assert one.told.messages == []
        if answers:
            assert one.connection.eof_received() is False
            one.connection.connection_lost(None)
        one.wait(3.1)
        assert one.wire.aborted is not answers
        assert len(one.told.reasons) == 1

    run(main)


def test_no_memory_for_what_a_peer_sends_costs_that_link() -> None:
    def act(one: Scene) -> None:
        one.open()

        def feed(data: bytes) -> list[bytes]:
            raise MemoryError

        one.connection._parser.feed = feed  # type: ignore[method-assign]
        one.hear(BEAT)
        assert one.told.reasons == ["this broker has no memory left for what it sends"]

    scene(act)


def test_it_is_closed_at_once_if_it_was_given_up_before_it_began() -> None:
    async def main() -> None:
        one = Scene()
        one.connection.close("not wanted any more")
        await asyncio.sleep(0)
        one.connect()
        assert one.wire.aborted
        assert one.wire.written == b""
        assert one.kept.events == ["failed: not wanted any more"]

    run(main)


def test_a_socket_that_the_loop_has_taken_back_is_told_of_once() -> None:
    def act(one: Scene) -> None:
        one.connection.forsake()
        assert one.kept.events == []
        one.connect()
        one.connection.forsake()
        one.connection.forsake()
        one.connection.connection_lost(None)
        assert one.kept.events == ["failed: the connection was closed", "gone"]

    scene(act)
