"""The model: a broker as the last messages describe it."""

from tests.support.envelopes import envelope, queue

from stompy_monitor.model.model import EVENTS, Model


def broker(second, **values):
    return envelope("broker", second, {"name": "dev", "in_msgs": 0, **values})


def test_rates_and_levels_of_the_broker():
    model = Model()
    model.apply(broker(0, in_msgs=5, loop_lag_ms={"p99": 2.5}, messages_ready=3))
    assert model.rates["in"] is None
    model.apply(broker(2, in_msgs=25, messages_ready=9))
    assert model.rates["in"] == 10
    assert model.broker_values("messages_ready") == [3, 9]
    assert model.broker_values("loop_lag_ms.p99") == [2.5, 0]
    assert model.broker_values("in") == [0, 10]


def test_another_boot_is_another_broker():
    model = Model()
    model.know_own("c-1")
    model.apply(envelope("queues", 0, [queue("a", in_msgs=100)]))
    model.add_event({"type": "queue.created", "at": 1})
    model.apply(envelope("queues", 0, [queue("a", in_msgs=3)], boot="b-2"))
    assert model.row_sets["queues"].rows["a"].value("in") is None
    assert model.row_sets["queues"].own == "c-1"
    assert len(model.row_sets["events"].rows) == 1


def test_histories_are_filled_where_nothing_changed():
    model = Model()
    fields = ["name", "ready", "unacked", "in_msgs", "out_msgs", "acked"]
    for second, rows in enumerate([[["a", 5, 0, 0, 0, 0]], [], [], [["a", 7, 0, 6, 0, 0]]]):
        base = {"base": second - 1} if second else {}
        model.apply(envelope("queues", second, rows, fields=fields, **base))
    row = model.row_sets["queues"].rows["a"]
    assert model.row_values(row, "ready") == [5, 5, 5, 7]
    assert model.row_values(row, "in") == [0, 0, 0, 6]


def test_what_is_looked_at_is_remembered_longer():
    model = Model()
    model.apply(envelope("queues", 0, [queue("a")]))
    model.watch("a")
    for second in range(1, 200):
        model.apply(envelope("queues", second, [queue("a", ready=second)]))
    row = model.row_sets["queues"].rows["a"]
    assert model.row_values(row, "ready") == list(range(200))


def test_events():
    model = Model()
    data = {
        "type": "connection.closed",
        "at": 7,
        "severity": "warn",
        "connection": "c-1",
        "user": "\x1bshop",
        "reason": "",
        "detail": {"sent": 3},
    }
    model.apply(envelope("event", 1, data))
    (row,) = model.row_sets["events"].rows.values()
    assert (row.value("who"), row.value("subject")) == ("␛shop", "sent 3")
    assert row.haystack == "connection.closed ␛shop c-1 ␛shop sent 3"
    about = {"client_id": "reporter", "peer": "127.0.0.1:5"}
    opened = {"type": "connection.opened", "connection": "c-2", "user": "shop", "detail": about}
    assert model.add_event(opened).value("who") == "reporter"
    row = {"id": "c-3", "client_id": "", "peer": "127.0.0.1:6"}
    model.apply(envelope("connections", 1, [row]))
    held = {"id": "s-1", "connection": "c-3", "destination": "/queue/a"}
    model.apply(envelope("subscriptions", 1, [held]))
    told = model.add_event({"type": "subscription.closed", "connection": "c-3"})
    assert told.value("who") == "127.0.0.1:6"
    subscription = model.row_sets["subscriptions"].rows["s-1"]
    assert subscription.label == "/queue/a of 127.0.0.1:6"


def test_an_event_gets_the_name_of_its_connection_as_soon_as_it_is_known():
    model = Model()
    model.apply(broker(0))
    early = model.add_event({"type": "subscription.created", "connection": "c-1", "user": "shop"})
    opened = {"type": "connection.opened", "connection": "c-2", "detail": {"client_id": "rep\x1b"}}
    model.add_event(opened)
    close = {"type": "subscription.created", "connection": "c-2", "user": "shop"}
    assert model.add_event(close).value("who") == "rep␛"
    assert (early.value("who"), "shop" in early.haystack) == ("shop", True)
    model.apply(envelope("connections", 1, [{"id": "c-1", "client_id": "till", "peer": "1.2.3.4"}]))
    assert early.value("who") == "till"
    assert "till" in early.haystack
    model.add_event({"type": "connection.closed", "connection": "c-2"})
    assert "c-2" not in model.names


def test_a_command_is_told_in_words():
    model = Model()
    detail = {"cmd": "queue.purge", "ok": True, "args": {"queue": "a"}, "dry_run": False}
    event = {"type": "admin.command", "user": "ops", "detail": {**detail, "result": {"purged": 3}}}
    assert model.add_event(event).value("subject") == "queue.purge, queue a, purged 3"
    for _ in range(EVENTS):
        model.add_event({"type": "x.y"})
    assert len(model.row_sets["events"].rows) == EVENTS


def test_problems_stand_the_worst_first_after_what_the_broker_says():
    model = Model()
    alarm = {"name": "disk", "since": 1, "reason": "little left"}
    model.apply(broker(0, alarms=[alarm]))
    for second in range(5):
        old = envelope("queues", second, [])["at"] - 11 * 60_000
        young = old + 9 * 60_000
        rows = [queue("a", ready=1, oldest_at=young), queue("b", ready=1, oldest_at=old)]
        model.apply(envelope("queues", second, rows))
    row_set = model.problem_rows()
    assert [row.text("name") for row in row_set.rows.values()] == ["broker", "b", "a"]
    assert [row.severity for row in row_set.rows.values()] == [2, 2, 1]
    assert model.alarms["queues"].counts(model.row_sets["queues"].rows) == (1, 1)


def test_alarms_of_one_reason_are_told_together():
    model = Model()
    for second in range(3):
        rows = [queue(f"q{n}", bytes=99, max_bytes=100) for n in range(40)]
        model.apply(envelope("queues", second, [*rows, queue("z", bytes=85, max_bytes=100)]))
    told = [(row.text("name"), row.text("reason")) for row in model.problem_rows().rows.values()]
    assert told == [("40 queues", "99 % full: q0, …"), ("z", "85 % full")]
    assert model.problem_rows() is model.problem_rows()


def test_the_broker_is_a_row_with_alarms_of_its_own():
    model = Model()
    for second in range(3):
        model.apply(broker(second, name="dev", fds=90, fds_max=100, loop_lag_ms={"p99": 1500}))
    (row,) = model.problem_rows().rows.values()
    assert (row.text("kind"), row.text("key")) == ("broker", "dev")
    assert row.text("reason") == "its loop is 1500 ms late · 90 % of its descriptors in use"
    assert model.row_sets["broker"].rows["dev"].value("loop_lag_ms.p99") == 1500


def test_a_still_picture():
    model = Model()
    model.apply(broker(0, messages_ready=1))
    model.apply(envelope("queues", 0, [queue("a", ready=1)]))
    still = model.still()
    model.apply(broker(1, messages_ready=2))
    model.apply(envelope("queues", 1, [queue("a", ready=2)]))
    assert still.broker_number("messages_ready") == 1
    assert still.row_sets["queues"].rows["a"].value("ready") == 1


def test_kinds_that_are_not_known_change_nothing():
    model = Model()
    assert model.apply(envelope("novelty", 0, [{"a": 1}])) is None
