"""The window of the duplicate ids of one destination, against a list of them."""

from __future__ import annotations

import gc
import tracemalloc

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stompy_broker.routing import duplicate_ids
from stompy_broker.routing.duplicate_ids import DuplicateIds, DuplicateTally
from stompy_broker.store.base import StoredId
from stompy_broker.store.memory import MemoryStore

VALUES = st.sampled_from([b"%d" % number for number in range(12)])


def make(window: int, ttl: int = 1000) -> DuplicateIds:
    return DuplicateIds("/queue/q", window, ttl, MemoryStore(durable=True), DuplicateTally())


class Window(RuleBasedStateMachine):
    """What a list of the last ids says, the real thing says as well."""

    @initialize(window=st.integers(1, 8))
    def begin(self, window: int) -> None:
        self.ids = make(window)
        self.store = self.ids.store
        self.model: list[StoredId] = []
        self.now = 1_000_000
        self.sequence = 1 << 60

    def _known(self, value: bytes) -> StoredId | None:
        found = [one for one in self.model if one.value == value]
        return found[-1] if found else None

    @rule(value=VALUES, ttl=st.integers(1, 20), stored=st.booleans())
    def send(self, value: bytes, ttl: int, stored: bool) -> None:
        known = self._known(value)
        if known is not None and known.until <= self.now:
            self.model.remove(known)
            known = None
        found = self.ids.find(value, self.now)
        assert found == (0 if known is None else known.sequence)
        if known is None:
            self.sequence += 1024
            one = StoredId("/queue/q", self.sequence, value, self.now + ttl)
            if stored:
                self.ids.keep(value, one.sequence, one.until, 0)
            else:
                self.ids.add(value, one.sequence, one.until, stored=False)
            self.model.append(one)
            del self.model[: -self.ids.window]

    @rule(seconds=st.integers(0, 15))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    @rule(value=VALUES)
    def forget(self, value: bytes) -> None:
        known = self._known(value)
        assert self.ids.forget(value) == (known is not None)
        if known is not None:
            self.model.remove(known)

    @rule()
    def drop_old(self) -> None:
        assert not self.ids.drop_old(self.now, 100)
        while self.model and self.model[0].until <= self.now:
            self.model.pop(0)

    @rule(window=st.integers(1, 8))
    def renew(self, window: int) -> None:
        self.ids.renew(window, 1000)
        del self.model[:-window]

    @invariant()
    def as_many(self) -> None:
        if hasattr(self, "ids"):
            assert len(self.ids) == len(self.model)
            assert self.ids.oldest == (self.model[0].sequence if self.model else 0)

    def teardown(self) -> None:
        if hasattr(self, "ids"):
            self.ids.tell_store()
            kept = {one.value for one in self.store.ids()}
            assert kept <= {one.value for one in self.model}
            count = self.ids.clear()
            assert count == len(self.model)
            assert not list(self.store.ids())


TestWindow = Window.TestCase


def test_a_large_window_is_exact_over_its_generations(monkeypatch) -> None:
    monkeypatch.setattr(duplicate_ids, "_GENERATION", 7)
    ids = make(50)
    for number in range(500):
        assert not ids.find(b"%d" % number, 0)
        ids.add(b"%d" % number, number + 1, 1, stored=False)
        if number > 50:
            assert ids.find(b"%d" % (number - 49), 0) == number - 48
            assert not ids.find(b"%d" % (number - 50), 0)
    assert len(ids) == 50
    assert ids.oldest == 451


def test_an_id_takes_at_most_120_bytes() -> None:
    ids = make(20_000)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(60_000):
            value = b"0b9f3a3e-5f3a-4c6e-a1c2-7d6f1e2a3b4c-%d" % number * 3
            if not ids.find(value, 0):
                ids.add(value, (1_795_976_347_899 << 20) + number * 1024, 1 << 41, stored=True)
        value = b""
        ids.find(value, 0)
        ids.tell_store()
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(ids) == 20_000
    assert used / len(ids) <= 120


def test_no_two_ids_are_mistaken_for_one_another() -> None:
    """Where the keys of two are the same, what is beside them is not."""
    ids = make(100)
    ids.find(b"one", 0)
    ids.add(b"one", 5, 10, stored=False)
    ids.find(b"two", 0)
    key = hash(b"one") & ((1 << 60) - 1)
    ids._key = key
    assert ids.find(ids._value, 0) == 0
    ids.add(ids._value, 6, 10, stored=False)
    assert len(ids) == 1


def test_the_oldest_of_all_destinations_go_first() -> None:
    tally = DuplicateTally()
    store = MemoryStore(durable=True)
    every = [DuplicateIds(f"/queue/{name}", 100, 1000, store, tally) for name in range(3)]
    for number in range(1, 31):
        every[number % 3].add(b"%d" % number, number, 1, stored=False)
        tally.most = 10
        tally.bound()
        assert tally.kept == min(number, 10)
    known = {number for number in range(1, 31) if every[number % 3].find(b"%d" % number, 0)}
    assert known == set(range(21, 31))
    every[0].clear()
    tally.most = 2
    tally.bound()
    assert tally.kept == 2
    every[0].add(b"new", 50, 1, stored=False)
    tally.most = 1
    tally.bound()
    assert every[0].find(b"new", 0) == 50


def test_destinations_that_come_and_go_do_not_pile_up() -> None:
    tally = DuplicateTally()
    ids = DuplicateIds("/queue/q", 100, 1000, MemoryStore(), tally)
    for number in range(1, 10_000):
        ids.add(b"%d" % number, number, 1, stored=False)
        ids.clear()
    assert len(tally.order) < 5000
