"""The duplicate ids of all destinations: how many, and for how long."""

from __future__ import annotations

from tests.support.house import Time

from stompy_broker.config import BrokerConfig
from stompy_broker.destinations.policy import Policies, Policy
from stompy_broker.routing.duplicate_book import DuplicateBook
from stompy_broker.routing.duplicate_ids import MOST
from stompy_broker.store.memory import MemoryStore

WALL = 1_700_000_000_000


class House:
    """A book, the time that it goes by, and a store."""

    def __init__(self) -> None:
        self.time = Time()
        self.store = MemoryStore(durable=True)
        self.book = DuplicateBook(self.time.clock, self.wall)
        self.sequence = 1000

    def wall(self) -> int:
        return WALL + int(self.time.clock.now() * 1000)

    def add(self, destination: str, value: bytes, ttl: int = 1000) -> int:
        self.sequence += 1
        ids = self.book.of(destination, Policy(), self.store)
        ids.keep(value, self.sequence, self.wall() + ttl, 0)
        self.book.added()
        return self.sequence


def test_the_defaults_are_those_of_the_configuration() -> None:
    assert BrokerConfig().limits.dedup == MOST


def test_what_is_over_is_forgotten_by_itself() -> None:
    house = House()
    for number in range(5000):
        house.add(f"/queue/q{number % 7}", b"%d" % number, 1000 if number % 2 else 90_000)
    assert house.book.kept == len(list(house.store.ids())) == 5000
    house.time.advance(61)
    assert house.book.kept >= 2500
    for _ in range(10):
        house.time.advance(20)
    assert house.book.kept == 0
    assert not list(house.store.ids())
    assert not list(house.book)
    house.time.advance(1000)
    house.add("/queue/q", b"1")
    house.time.advance(61)
    assert house.book.kept == 0


def test_what_a_store_has_kept_is_known_again() -> None:
    house = House()
    for number in range(30):
        house.add(f"/queue/q{number % 2}", b"%d" % number, 1000 * (number + 1))
    house.store.keep_id("/topic/t", 5000, b"t", WALL + 90_000, 77)
    other = House()
    other.store = house.store
    other.time.advance(10)
    policies = Policies([Policy(match="/queue/q0", dedup_window=3)])
    assert other.book.restore(house.store, policies.of_text) == 21
    small, large = other.book.find("/queue/q0"), other.book.find("/queue/q1")
    assert small is not None
    assert large is not None
    assert (len(small), len(large)) == (3, 10)
    assert small.find(b"28", other.wall()) == 1029
    assert not small.find(b"20", other.wall())
    topic = other.book.find("/topic/t")
    assert topic is not None
    assert topic.shown == {5000: 77}
    for ids in other.book:
        ids.tell_store()
    assert len(list(other.store.ids())) == 14


def test_another_limit_holds_at_once() -> None:
    house = House()
    for number in range(20):
        house.add("/queue/q", b"%d" % number)
    assert house.book.most == MOST
    house.book.most = 5
    assert house.book.kept == house.book.count("/queue/q") == 5
    house.add("/queue/r", b"x")
    assert (house.book.count("/queue/q"), house.book.count("/queue/r")) == (4, 1)
    house.book.renew(lambda text: Policy(dedup_window=2, dedup_ttl=5))
    assert house.book.count("/queue/q") == 2
    found = house.book.find("/queue/q")
    assert found is not None
    assert found.ttl == 5000


def test_ids_of_a_store_that_goes_elsewhere_are_forgotten_and_stay_there() -> None:
    house = House()
    house.add("/queue/q", b"1")
    store, house.store = house.store, MemoryStore(durable=True)
    house.add("/queue/r", b"1")
    house.book.forget_store(store)
    assert house.book.kept == 1
    assert house.book.find("/queue/q") is None
    assert len(list(store.ids())) == 1
