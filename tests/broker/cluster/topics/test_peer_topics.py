"""Another broker as a subscriber: order, one piece a turn, and a bounded backlog."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tests.support.house import Taker, Time, figures, make_head, make_router
from tests.support.links import LinkEnd, Told, linked

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.cluster.topics.peer_topics import OutgoingMessages, PeerTopics
from stompy_broker.cluster.topics.topic_codec import TopicMessages, read
from stompy_broker.destinations.names import parse_destination
from stompy_broker.message import Message
from stompy_broker.routing.interface import Browse, Browsed, Withdraw

TOPIC = parse_destination("/topic/a")


class Setting:
    """A router with other brokers as the subscribers of a topic."""

    def __init__(self, *names: str, on_link: int = 1 << 20, waiting: int = 1 << 20) -> None:
        self.time = Time()
        self.router = make_router(self.time)
        self.turn: deque[Callable[[], None]] = deque()
        self.links: list[LinkEnd] = []
        self.peers: list[PeerTopics] = []
        messages = OutgoingMessages()
        for name in names:
            link = linked("ann", Told(), name, Told())
            peer = PeerTopics(
                link,
                self.router.groups.home,
                messages,
                self.turn.append,
                self.time.clock.now,
                self.router.events,
                on_link=on_link,
                waiting=waiting,
            )
            self.router.topics.add("a", peer)
            self.links.append(link)
            self.peers.append(peer)

    def publish(self, body: bytes, **headers: str) -> None:
        self.router.publish(TOPIC, make_head("/topic/a", **headers), body)

    def run(self) -> None:
        while self.turn:
            self.turn.popleft()()

    def sent(self, number: int = 0) -> list[list[Message]]:
        """What was sent since the last time, piece by piece."""
        link = self.links[number]
        pieces = [read(message) for message in link.sent]
        link.sent.clear()
        assert all(isinstance(piece, TopicMessages) for piece in pieces)
        return [piece.messages for piece in pieces if isinstance(piece, TopicMessages)]


def bodies(pieces: list[list[Message]]) -> list[bytes | None]:
    return [message.body for piece in pieces for message in piece]


def test_what_comes_in_one_turn_is_one_piece_in_order() -> None:
    setting = Setting("bob")
    for number in range(5):
        setting.publish(b"%d" % number)
    assert not setting.links[0].sent
    setting.run()
    pieces = setting.sent()
    assert (len(pieces), bodies(pieces)) == (1, [b"0", b"1", b"2", b"3", b"4"])


def test_several_brokers_get_the_same_written_down_once() -> None:
    setting = Setting("bob", "cat")
    own = setting.router.registry.subscribe_topic("a")
    own.attach(taker := Taker(9, auto=True))
    own.resume(taker)
    setting.publish(b"x", colour="red")
    setting.publish(b"y", ttl="1000")
    setting.run()
    assert setting.links[0].sent == setting.links[1].sent
    (messages,) = setting.sent()
    assert [message.body for message in messages] == [b"x", b"y"]
    assert messages[0].head.headers()["colour"] == "red"
    assert messages[1].expires == setting.router.wall() + 1000
    assert [message.body for message in taker.taken] == [b"x", b"y"]


def test_the_oldest_go_when_a_broker_does_not_keep_up() -> None:
    size = Message(0, make_head("/topic/a"), bytes(1000), b"").size
    setting = Setting("bob", on_link=3 * size, waiting=4 * size)
    peer = setting.peers[0]
    for number in range(20):
        setting.publish(b"%3d" % number + bytes(997))
        setting.run()
    sent = [int(body[:3]) for body in bodies(setting.sent()) if body]
    assert sent == [0, 1, 2]
    counts = figures(peer)
    assert (counts.delivered, counts.ready, counts.dropped, counts.published) == (3, 4, 13, 20)
    peer.taken(3 * size)
    assert [int(body[:3]) for body in bodies(setting.sent()) if body] == [16, 17, 18]
    peer.taken(3 * size)
    assert [int(body[:3]) for body in bodies(setting.sent()) if body] == [19]
    (event,) = setting.router.events.recent
    assert (event.type, event.detail) == (
        "cluster.topics_dropped",
        {"broker": "bob", "messages": 1},
    )


def test_that_many_go_is_told_once_a_minute_with_their_number() -> None:
    size = Message(0, make_head("/topic/a"), bytes(1000), b"").size
    setting = Setting("bob", on_link=1, waiting=size)
    for _ in range(10):
        setting.publish(bytes(1000))
        setting.run()
    setting.time.advance(61.0)
    setting.publish(bytes(1000))
    setting.peers[0].taken(size)
    told = [event.detail for event in setting.router.events.recent]
    assert told == [{"broker": "bob", "messages": count} for count in (1, 8)]
    assert setting.peers[0].dropped == 9


def test_one_message_larger_than_all_that_may_wait_goes_all_the_same() -> None:
    setting = Setting("bob", on_link=10, waiting=10)
    setting.publish(bytes(100_000))
    setting.run()
    assert [len(body or b"") for body in bodies(setting.sent())] == [100_000]


def test_it_is_no_queue_for_consumers() -> None:
    peer, taker = Setting("bob").peers[0], Taker(1)
    refusals: list[ProtocolError | None] = []
    peer.attach(taker, lambda error=None, /: refusals.append(error))
    assert [error and error.error_code for error in refusals] == [ErrorCode.NOT_SUPPORTED]
    answers: list[object] = []
    message = Message(1, make_head("/topic/a"), b"", b"")
    peer.attach(taker)
    peer.resume(taker)
    peer.settle(message, done=lambda error=None, /: answers.append("settled"))
    peer.settle_many([message], None, None, lambda: answers.append("all"))
    peer.admit(1, 0, lambda error=None, /: answers.append(error))
    peer.control(Withdraw([taker]), answers.append)
    peer.detach(taker, done=lambda error=None, /: answers.append("gone"))
    looked: list[Browsed] = []
    peer.browse(Browse(), looked.append)
    assert answers == ["settled", "all", None, 0, "gone"]
    assert not looked[0].messages
