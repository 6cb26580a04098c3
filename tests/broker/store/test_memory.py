"""The store that keeps nothing is done at once."""

from tests.support.house import make_message

from stompy_broker.store.memory import MemoryStore


def test_everything_is_safe_at_once() -> None:
    store, done = MemoryStore(), []
    store.append("/queue/q", make_message(1))
    store.remove(make_message(1))
    store.sync(lambda: done.append(True))
    store.close()
    assert done == [True]
    assert not store.durable
