"""The tables under the details of a row."""

from stompy_monitor.model.row_set import Row, RowSet
from stompy_monitor.tables.definitions import READERS, SUBSCRIPTIONS
from stompy_monitor.tables.related import related_to


def queue_row(kind: str) -> Row:
    fields = ("name", "destination", "type")
    return RowSet("queues").append(fields, ["prices", "/queue/prices", kind], 10)


def test_a_queue_has_consumers_and_a_stream_has_readers():
    assert related_to("queues", queue_row("queue"))[0].view is SUBSCRIPTIONS
    assert related_to("queues", None)[0].view is SUBSCRIPTIONS
    readers = related_to("queues", queue_row("stream"))[0]
    assert readers.view is READERS
    rows = RowSet("readers")
    own = rows.append(("id", "stream"), ["a", "/queue/prices"], 10)
    other = rows.append(("id", "stream"), ["b", "/queue/others"], 10)
    belongs = readers.belongs(queue_row("stream"))
    assert (belongs(own), belongs(other)) == (True, False)


def test_what_has_no_tables_has_none():
    assert related_to("retained", None) == ()
