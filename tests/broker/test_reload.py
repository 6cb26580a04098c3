"""A broker reads its configuration again, by SIGHUP or by command, and goes by it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.support.admin import Code, Observer, fails, observing
from tests.support.house import Taker, Time, make_head, make_router, take_part
from tests.support.wire import Peer, cheap_hash, running_broker, stats, until

import stompy_broker
from stompy.admin import CommandError
from stompy_broker import RunningBroker
from stompy_broker.broker import Broker
from stompy_broker.config import load_config
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.embed import thread

BASE = """
[listen]
port = 0
[store]
data = ""
[times]
shutdown = 0.0
"""
HASHES = {name: cheap_hash(name) for name in ("ann", "bob", "root")}
USERS = "".join(["[users]\n", *(f'{name} = "{text}"\n' for name, text in HASHES.items())])
ROOT = '[roles]\nadmin = ["root"]\n'

Rewrite = Callable[[str], None]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "broker.toml"


@pytest.fixture
def rewrite(file: Path) -> Rewrite:
    return lambda text: file.write_text(BASE + text) and None


@pytest.fixture
def start(
    file: Path, rewrite: Rewrite, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], RunningBroker]]:
    """Starts a broker from a file."""
    monkeypatch.setattr(thread, "Broker", partial(Broker, reread=partial(load_config, file)))
    running: list[RunningBroker] = []

    def begin(text: str) -> RunningBroker:
        rewrite(text)
        running.append(stompy_broker.running(load_config(file)))
        return running[-1]

    yield begin
    for broker in running:
        broker.stop()


Start = Callable[[str], RunningBroker]


def login(name: str) -> tuple[str, str]:
    return f"login:{name}", f"passcode:{name}"


# -- policies and limits --------------------------------------------------------------------------


def test_policies_hold_for_queues_that_there_are(start: Start, rewrite: Rewrite) -> None:
    broker = start("")
    with Peer.open(broker.port) as peer:
        for _ in range(5):
            peer.send("SEND\ndestination:/queue/q\n\nx\0")
        peer.sync()
        rewrite('[[policy]]\nmatch = "/queue/q"\nmax_length = 2\n')
        assert broker.reload() == []
        peer.send("SEND\ndestination:/queue/q\n\nx\0")
        peer.sync()
        assert stats(broker, "q").ready == 2


def test_a_history_begins_when_its_queue_is_made(start: Start, rewrite: Rewrite) -> None:
    broker = start("")
    with observing(broker.port) as admin:
        admin.fill("work", "1")
        rewrite('[[policy]]\nmatch = "/queue/>"\nhistory = "1h"\n')
        assert broker.reload() == []
        for command, more in (("queue.at", {"t": -1}), ("queue.history", {}), ("queue.replay", {})):
            error = fails(Code.CONFLICT, admin.ask, command, queue="work", **more)
            assert "queue 'work' keeps no history: it was made before" in error.message
            assert "its policy said `history`" in error.message
            assert "at the next start" in error.message
        admin.fill("later", "1")
        assert admin.ask("queue.history", queue="later")["rows_total"] == 0


def test_what_a_reload_had_forgotten_is_not_known() -> None:
    kept, not_kept = ([{"match": "/queue/q", "history": text}] for text in ("1h", ""))
    router = make_router(time := Time(), Policy.model_validate(kept[0]))
    router.queue("q")
    past = router.histories.of("/queue/q")
    assert past is not None
    assert past.live is not None
    begun = past.live.known_from
    router.publish(parse_destination("/queue/q"), make_head(), b"x")
    take_part(router.queue("q"), taker := Taker(1))
    router.queue("q").settle(taker.taken[0])
    for policies in (not_kept, kept):
        router.policies.renew([Policy.model_validate(one) for one in policies])
        time.advance(30)
    assert past.live.known_from > begun + 5000


def test_limits_hold_at_once(start: Start, rewrite: Rewrite) -> None:
    broker = start("")
    with Peer.open(broker.port) as peer:
        peer.send("SEND\ndestination:/queue/one\n\nx\0")
        peer.sync()
        rewrite("[limits]\nqueues = 1\nconnections = 1\n")
        assert broker.reload() == []
        with Peer(broker.port) as newcomer:
            newcomer.send("CONNECT\naccept-version:1.2\nhost:x\n\n\0")
            newcomer.expect_error("limit-exceeded")
        peer.send("SEND\ndestination:/queue/two\n\nx\0")
        assert b"limits.queues" in peer.expect_error("limit-exceeded").body


# -- who may do what ------------------------------------------------------------------------------


def test_rules_hold_for_who_is_there(start: Start, rewrite: Rewrite) -> None:
    broker = start(USERS + ROOT)
    with (
        Peer.open(broker.port, "1.2", *login("ann")) as sender,
        Peer.open(broker.port, "1.2", *login("ann")) as taker,
        Peer.open(broker.port, "1.2", *login("bob")) as other,
    ):
        sender.send("SEND\ndestination:/queue/q\n\nx\0")
        sender.sync()
        for peer in (taker, other):
            peer.send("SUBSCRIBE\nid:1\ndestination:/queue/q\nack:client\nreceipt:r\n\n\0")
            peer.expect("RECEIPT")
        taker.expect("MESSAGE")
        rewrite(USERS + ROOT + '[[acl]]\nuser = "ann"\nmatch = "/queue/q"\naccess = "deny"\n')
        assert broker.reload() == []
        # What it may not take any more it loses, and others get it.
        taker.expect_error("access-refused")
        other.expect("MESSAGE")
        sender.send("SEND\ndestination:/queue/q\n\nx\0")
        sender.expect_error("access-refused")


@pytest.mark.parametrize("destination", ["/queue/a,/queue/q", "/queue/*", "/topic/t,/queue/>"])
def test_rules_hold_for_who_takes_from_several(
    start: Start, rewrite: Rewrite, destination: str
) -> None:
    """All or none: one part that is denied from now on ends the subscription."""
    broker = start(USERS + ROOT)
    with (
        Peer.open(broker.port, "1.2", *login("ann")) as taker,
        Peer.open(broker.port, "1.2", *login("bob")) as other,
    ):
        for peer in (taker, other):
            peer.send(f"SUBSCRIBE\nid:1\ndestination:{destination}\nack:client\nreceipt:r\n\n\0")
            peer.expect("RECEIPT")
        rewrite(USERS + ROOT + '[[acl]]\nuser = "ann"\nmatch = "/queue/q"\naccess = "deny"\n')
        assert broker.reload() == []
        taker.expect_error("access-refused")
        other.send("SEND\ndestination:/queue/q\n\nx\0")
        assert other.expect("MESSAGE").body == b"x"


def test_roles_hold_for_who_is_there(start: Start, rewrite: Rewrite) -> None:
    broker = start(USERS + '[roles]\nadmin = ["root"]\nmonitor = ["bob"]\n')
    with (
        observing(broker.port, *login("ann")) as ann,
        observing(broker.port, *login("bob")) as bob,
        observing(broker.port, *login("root")) as root,
    ):
        with pytest.raises(CommandError, match="role"):
            ann.ask("ping")
        bob.page(bob.subscribe("broker"))
        rewrite(USERS + '[roles]\nadmin = ["root"]\noperator = ["ann"]\n')
        told = root.ask("config.reload")
        assert {change["key"] for change in told["applied"]} == {"roles.monitor", "roles.operator"}
        assert told["disconnected"] == 1
        bob.peer.rest()
        assert ann.ask("broker.info")["role"] == "operator"


def test_users_come_and_go(start: Start, rewrite: Rewrite) -> None:
    broker = start(USERS + ROOT)
    with Peer.open(broker.port, "1.2", *login("ann")) as ann:
        rewrite(USERS.replace("ann =", "eve =") + ROOT)
        assert broker.reload() == []
        ann.expect_error("authentication-failed")


# -- mistakes -------------------------------------------------------------------------------------

GOOD = '[[policy]]\nmatch = "/queue/q"\nmax_length = 2\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (GOOD + "[limits]\nqueues = 0\n", "limits.queues: must be more than 0"),
        (GOOD + "[limits]\nquees = 1\n", "limits.quees: unknown key; did you mean queues?"),
        (GOOD + "[limits\n", "is not TOML"),
        (GOOD + '[security]\nusers_file = "absent"\n', ""),
    ],
)
def test_a_file_with_a_mistake_changes_nothing(
    start: Start, rewrite: Rewrite, file: Path, text: str, why: str
) -> None:
    broker = start("[limits]\nqueues = 7\n")
    rewrite(text)
    with observing(broker.port) as admin:
        if not why:  # a file that needs a restart is not looked at
            assert broker.reload() == []
            return
        (problem,) = broker.reload()
        assert problem.startswith(f"nothing is changed: {file}: ")
        assert why in problem
        with pytest.raises(CommandError, match="nothing is changed") as refused:
            admin.ask("config.reload")
        assert why in refused.value.message
        assert broker._ask(lambda one: one.config.limits.queues) == 7
        assert broker._ask(lambda one: list(one._router.policies)) == []


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def admin(start: Start) -> Iterator[Observer]:
    with observing(start("").port) as observer:
        yield observer


def test_the_command_tells_what_changes_and_what_needs_a_restart(
    admin: Observer, rewrite: Rewrite
) -> None:
    admin.ask("queue.create", queue="q")
    rewrite(GOOD + "[limits]\nqueues = 7\nbody = 1000\n")
    told = admin.ask("config.reload", dry_run=True)
    assert {change["key"]: change["applies"] for change in told["applied"]} == {
        "limits.queues": "at once",
        "policy": "at once",
    }
    (postponed,) = told["needs_restart"]
    assert (postponed["key"], postponed["after"]) == ("limits.body", 1000)
    assert (told["queues"], told["file"]) == (0, True)
    # Nothing was done: it is told again.
    with pytest.raises(CommandError, match="2 match, not 3"):
        admin.ask("config.reload", expect=3)
    event = admin.subscribe("event.config.reloaded")
    assert admin.ask("config.reload", expect=2)["queues"] == 1
    (row,) = admin.page(event).rows
    detail = row.detail
    assert detail == {"applied": ["limits.queues", "policy"], "needs_restart": ["limits.body"]}
    told = admin.ask("config.reload")
    assert (told["applied"], [one["key"] for one in told["needs_restart"]]) == ([], ["limits.body"])


def test_a_broker_without_a_file_reads_users_and_certificates_only() -> None:
    with running_broker() as broker:
        assert broker.reload() == []
        with observing(broker.port) as admin:
            assert admin.ask("config.reload")["file"] is False


# -- the signal -----------------------------------------------------------------------------------


def test_sighup_has_a_process_read_its_file(file: Path, rewrite: Rewrite) -> None:
    rewrite("")
    with stompy_broker.spawn("--config", str(file)) as process, observing(process.port) as admin:
        admin.ask("queue.create", queue="q")
        rewrite(GOOD + "[limits]\nbody = 1000\n")
        assert process.pid is not None
        os.kill(process.pid, signal.SIGHUP)

        def policy() -> str:
            return str(admin.ask("queue.get", queue="q")["policy"])

        until(lambda: policy() == "/queue/q", "it to go by the file")


def test_other_routes_hold_at_once(start: Callable[[str], RunningBroker], rewrite: Rewrite) -> None:
    """Also for header blocks that were sent before, whose plan is remembered."""
    frame = "SEND\ndestination:/queue/a\n\nm\0"
    broker = start("")
    with Peer.open(broker.port) as peer:

        def sent() -> dict[str, int]:
            for _ in range(4):
                peer.send(frame)
            peer.sync()
            return {row.name: row.published for row in broker.queues()}

        assert sent() == {"a": 4}
        rewrite('[[route]]\nfrom = "/queue/a"\nto = ["/queue/b"]\nmode = "move"\n')
        assert broker.reload() == []
        assert sent() == {"a": 4, "b": 4}
        rewrite('[[route]]\nfrom = "/queue/a"\nto = ["/queue/a"]\n')
        (problem,) = broker.reload()
        assert "leads to itself" in problem
        assert sent() == {"a": 4, "b": 8}
        rewrite("")
        assert broker.reload() == []
        assert sent() == {"a": 8, "b": 8}


# -- quotas ---------------------------------------------------------------------------------------


def blocked(root: Observer) -> list[str]:
    """The users who have to wait before they may send more."""
    return [row["user"] for row in root.ask("connection.list")["rows"] if row["blocked_by"]]


def usage(root: Observer, user: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = root.ask("user.usage", user=user)["rows"]
    return rows


def test_quotas_hold_for_who_is_there(start: Start, rewrite: Rewrite) -> None:
    broker = start(USERS + ROOT)
    with (
        Peer.open(broker.port, "1.2", *login("ann")) as ann,
        observing(broker.port, *login("root")) as root,
    ):
        ann.send("SEND\ndestination:/queue/q\n\nx\0" * 10)
        ann.sync()
        assert usage(root, "ann") == []
        rewrite(USERS + ROOT + '[[quota]]\nuser = "ann"\nsend_rate = "1/h"\n')
        assert broker.reload() == []
        ann.send("SEND\ndestination:/queue/q\n\nx\0" * 10)
        until(lambda: blocked(root) == ["ann"], "ann to wait")
        assert stats(broker, "q").ready == 11
        # What is used stays used, and what waits goes on as the quota does.
        rewrite(USERS + ROOT + '[[quota]]\nuser = "ann"\nsend_rate = "100000/s"\nconnections = 1\n')
        assert broker.reload() == []
        ann.sync()
        assert stats(broker, "q").ready == 20
        (row,) = usage(root, "ann")
        assert (row["quota"], row["connections"]) == ("quota.0", 1)
        with Peer(broker.port) as second:
            second.send("CONNECT\naccept-version:1.2\nhost:x\nlogin:ann\npasscode:ann\n\n\0")
            second.expect_error("limit-exceeded")
        rewrite(USERS + ROOT)
        assert broker.reload() == []
        assert usage(root, "ann") == []
        until(lambda: blocked(root) == [], "ann to be free")
        Peer.open(broker.port, "1.2", *login("ann")).close()


def test_a_quota_that_goes_lets_those_go_who_wait(start: Start, rewrite: Rewrite) -> None:
    broker = start(USERS + ROOT + '[[quota]]\nsend_rate = "1/h"\nreceive_rate = "1/h"\n')
    with (
        Peer.open(broker.port, "1.2", *login("ann")) as ann,
        Peer.open(broker.port, "1.2", *login("bob")) as bob,
    ):
        bob.send("SUBSCRIBE\nid:1\ndestination:/queue/q\nreceipt:r\n\n\0")
        bob.expect("RECEIPT")
        ann.send("SEND\ndestination:/queue/q\n\nx\0" * 10)
        bob.bodies(1)
        rewrite(USERS + ROOT)
        assert broker.reload() == []
        bob.bodies(9)
