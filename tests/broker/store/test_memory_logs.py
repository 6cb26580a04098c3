"""Logs in memory are packed, so that they cost little more than their bytes."""

from tests.support.house import WALL, make_head

from stompy_broker.message import Message, stamp
from stompy_broker.store.entry_log import LogPage
from stompy_broker.store.memory import MemoryStore


def test_a_store_that_remembers_no_messages_keeps_logs() -> None:
    store, pages = MemoryStore(), list[LogPage]()
    assert store.keeps_logs
    assert not store.durable
    for number in range(2500):
        store.logs.append("a", Message(number, make_head(), b"x", stamp(WALL)))
        store.logs.read("a", number, pages.append)
    assert [page.next for page in pages] == list(range(1, 2501))
    assert all(len(page.entries) == 1 for page in pages)
    store.logs.read("a", 0, pages.append)
    assert len(pages[-1].entries) == 2500


def test_what_is_cut_off_is_let_go() -> None:
    store = MemoryStore()
    for number in range(2500):
        store.logs.append("a", Message(number, make_head(), b"x", stamp(WALL)))
    one = store.logs.ends()["a"].bytes // 2500
    store.logs.cut("a", 1500)
    assert store.logs.ends()["a"].bytes == 1500 * one
    store.logs.cut("a", 2400)
    assert store.logs.ends()["a"].bytes == 100 * one
    store.logs.cut("a", 2500)
    assert store.logs.ends()["a"].bytes == 0
