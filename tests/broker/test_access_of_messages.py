"""Access rules follow a message: into dead-letter queues and out of them, also by commands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.admin import Observer, observing
from tests.support.wire import Peer, cheap_hash, running_broker, until

from stompy.admin import CommandError, CommandErrorCode
from stompy_broker import RunningBroker
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policies, Policy
from stompy_broker.security.access import Access, Action, Rule
from stompy_broker.security.auth import Principal

DENIED = [
    {"user": "mallory", "match": "/queue/secret.>", "access": "deny"},
    {"user": "mallory", "match": "/topic/secret.>", "access": "deny"},
]
USERS = {"ann": cheap_hash("a"), "mallory": cheap_hash("m"), "boss": cheap_hash("b")}


def enter(broker: RunningBroker, name: str, *headers: str) -> Peer:
    return Peer.open(broker.port, "1.2", f"login:{name}", f"passcode:{name[0]}", *headers)


# -- on paper ---------------------------------------------------------------------------------

POLICIES = Policies(
    [
        Policy(match="/queue/own.>", dead_letter="/queue/{name}.dead"),
        Policy(match="/queue/secret.pay", expired_to="/queue/late"),
        Policy(match="/queue/shared.>", dead_letter="/queue/dead"),
        Policy(match="/topic/shared.>", dead_letter="/queue/dead", overflow_to="/queue/over"),
    ]
)


@pytest.mark.parametrize(
    ("queue", "origins"),
    [
        ("DLQ.a", {"/queue/a", "/topic/a"}),
        ("DLQ.shared.a", set()),  # its policy sends them elsewhere
        ("own.x.dead", {"/queue/own.x"}),
        ("other.dead", set()),
        ("dead", {"/queue/shared.>", "/topic/shared.>"}),
        ("over", {"/topic/shared.>"}),
        ("late", {"/queue/secret.pay"}),
        ("DLQ.secret.pay", {"/queue/secret.pay", "/topic/secret.pay"}),
        ("DLQ.", set()),
        ("plain", set()),
    ],
)
def test_where_messages_of_a_queue_may_come_from(queue: str, origins: set[str]) -> None:
    found = POLICIES.origins(parse_destination(f"/queue/{queue}"))
    assert {str(origin) for origin in found} == origins


def decide(rules: list[dict[str, object]], default: str, queue: str, user: str = "mallory") -> bool:
    access = Access(
        [Rule.model_validate(rule) for rule in rules],
        default,  # type: ignore[arg-type]
        POLICIES.origins,
    )
    answers = {
        access.decide(Principal(user), action, parse_destination(queue)).allowed
        for action in (Action.RECEIVE, Action.BROWSE, Action.ADMIN)
    }
    (answer,) = answers
    return answer


@pytest.mark.parametrize(
    ("rules", "default", "queue", "allowed"),
    [
        (DENIED, "allow", "/queue/DLQ.secret.a", False),
        (DENIED[1:], "allow", "/queue/DLQ.secret.a", False),  # filed under its topic
        (DENIED, "allow", "/queue/DLQ.other", True),
        (DENIED, "allow", "/queue/late", False),
        # A rule that names the queue goes before.
        ([*DENIED, {"match": "/queue/DLQ.>"}], "allow", "/queue/DLQ.secret.a", True),
        ([*DENIED, {"match": "/queue/DLQ.*.a"}], "allow", "/queue/DLQ.secret.a", True),
        ([*DENIED, {"match": "/queue/>"}], "allow", "/queue/DLQ.secret.a", False),
        ([*DENIED, {"match": "/queue/*.secret.a"}], "allow", "/queue/DLQ.secret.a", False),
        ([*DENIED, {"match": "/queue/{user}.>"}], "allow", "/queue/DLQ.secret.a", False),
        # One queue for the dead letters of many: who may not have all of them may not have it.
        ([{"match": "/queue/shared.x", "access": "deny"}], "allow", "/queue/dead", False),
        ([{"match": "/topic/shared.x", "access": "deny"}], "allow", "/queue/dead", False),
        # Where nothing is allowed by default.
        ([{"match": "/queue/>"}], "deny", "/queue/DLQ.a", True),
        ([{"match": "/queue/DLQ.>"}], "deny", "/queue/DLQ.a", True),
        ([{"match": "/queue/a"}], "deny", "/queue/DLQ.a", False),
        ([{"match": "/queue/*.*"}], "deny", "/queue/DLQ.a", False),
        ([{"match": "/queue/>"}, *DENIED], "deny", "/queue/DLQ.secret.a", False),
    ],
)
def test_rules_follow_dead_letters(
    rules: list[dict[str, object]], default: str, queue: str, allowed: bool
) -> None:
    assert decide(rules, default, queue) is allowed


def test_a_user_called_like_a_dead_letter_queue_is_no_rule_about_it() -> None:
    rules = [{"match": "/queue/secret.>", "access": "deny"}, {"match": "/queue/{user}.>"}]
    assert not decide(rules, "allow", "/queue/DLQ.secret.a", "DLQ")


def test_sending_does_not_follow() -> None:
    access = Access([Rule.model_validate(rule) for rule in DENIED], "allow", POLICIES.origins)
    grave = parse_destination("/queue/DLQ.secret.a")
    assert access.decide(Principal("mallory"), Action.SEND, grave).allowed


# -- out of ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running_broker(
        users=USERS,
        roles={"admin": ["mallory", "boss"]},
        acl=DENIED,
        policy=[{"match": "/queue/>", "redelivery_delay": 0}],
    ) as broker:
        with enter(broker, "ann", "client-id:ann") as ann:
            ann.send(
                "SUBSCRIBE\nid:d\ndestination:/topic/secret.plans\nack:client-individual\n"
                "durable-subscription-name:s\nreceipt:r\n\n\0UNSUBSCRIBE\nid:d\n\n\0"
                "SEND\ndestination:/topic/secret.plans\n\ntop secret\0"
                "SUBSCRIBE\nid:q\ndestination:/queue/secret.q\nack:client-individual\n\n\0"
                "SEND\ndestination:/queue/secret.q\n\ntop secret too\0"
            )
            ann.expect("RECEIPT")
            ack = ann.expect("MESSAGE")["ack"]
            ann.send(f"NACK\nid:{ack}\nrequeue:false\nreceipt:n\n\n\0")
            ann.expect("RECEIPT")
        yield broker


def test_dead_letters_are_not_received_by_who_may_not_have_the_queue(broker: RunningBroker) -> None:
    with enter(broker, "mallory") as mallory:
        mallory.send("SUBSCRIBE\nid:1\ndestination:/queue/DLQ.secret.q\n\n\0")
        error = mallory.expect_error("access-refused")
        assert b"messages of '/queue/secret.q'" in error.body


@pytest.fixture
def mallory(broker: RunningBroker) -> Iterator[Observer]:
    with observing(broker.port, "login:mallory", "passcode:m") as observer:
        yield observer


def refusal(observer: Observer, cmd: str, **args: object) -> CommandErrorCode | None:
    try:
        observer.ask(cmd, **args)
    except CommandError as error:
        return CommandErrorCode(error.code)
    return None


@pytest.mark.parametrize("queue", ["durable.ann.s", "DLQ.secret.q", "/queue/DLQ.secret.q"])
def test_a_role_opens_neither_backlogs_nor_dead_letters(mallory: Observer, queue: str) -> None:
    commands: dict[str, dict[str, object]] = {
        "message.peek": {},
        "message.get": {"id": "1"},
        "message.count": {"group_by": "origin"},
        "message.move": {"to": "/queue/loot"},
        "message.copy": {"to": "/queue/loot"},
        "message.retry": {},
        "message.delete": {"limit": 1},
        "queue.purge": {},
        "queue.pause": {},
        "queue.resume": {},
        "queue.delete": {},
    }
    for cmd, args in commands.items():
        assert refusal(mallory, cmd, queue=queue, **args) == "forbidden", cmd
    assert refusal(mallory, "durable.delete", name="ann.s") == "forbidden"


def test_who_may_have_the_origin_may(broker: RunningBroker) -> None:
    with observing(broker.port, "login:boss", "passcode:b") as boss:
        assert boss.bodies("durable.ann.s") == ["top secret"]
        assert boss.bodies("DLQ.secret.q") == ["top secret too"]


def test_moving_is_reading() -> None:
    rules = [{"match": "/queue/books", "actions": ["receive", "browse"], "access": "deny"}]
    with (
        running_broker(users=USERS, roles={"admin": ["boss"]}, acl=rules) as broker,
        observing(broker.port, "login:boss", "passcode:b") as boss,
    ):
        boss.fill("books", "x")
        assert refusal(boss, "message.move", queue="books", to="/queue/loot") == "forbidden"
        assert refusal(boss, "message.copy", queue="books", to="/queue/loot") == "forbidden"
        assert refusal(boss, "queue.purge", queue="books") is None


# -- into -----------------------------------------------------------------------------------

CONFINED = {
    "security": {"default_access": "deny"},
    "roles": {"admin": ["boss", "mallory"]},
    "users": USERS,
    "acl": [
        {"user": "mallory", "match": "/queue/mallory.>"},
        {"user": "mallory", "match": "/queue/write", "actions": ["send", "create"]},
        {"user": "boss", "match": "/queue/>"},
        {"match": "/topic/nobody.listens", "actions": ["send"]},
    ],
}


@pytest.fixture(scope="module")
def confined() -> Iterator[RunningBroker]:
    with running_broker(**CONFINED) as broker:
        yield broker


@pytest.mark.parametrize(
    "frame",
    [
        "SUBSCRIBE\nid:1\ndestination:/queue/mallory.a\n{}\n\n\0",
        "SEND\ndestination:/queue/mallory.a\nx-message-ttl:1\n{}\n\nforged\0",
        "SEND\ndestination:mallory.a\nx-max-length:1\n{}\n\nforged\0",
        "BEGIN\ntransaction:t\n\n\0SEND\ndestination:/queue/mallory.a\ntransaction:t\n{}\n\nforged\0",
        # What it may not read it may not have sent to itself.
        "SEND\ndestination:/queue/write\nx-message-ttl:1\nx-dead-letter-routing-key:mallory.b\n\nx\0",
    ],
)
def test_dead_letters_go_where_who_says_so_may_send(confined: RunningBroker, frame: str) -> None:
    with enter(confined, "mallory") as mallory:
        mallory.send(frame.format("x-dead-letter-routing-key:orders.paid"))
        mallory.expect_error("access-refused")


def test_dead_letters_go_to_what_is_ones_own(confined: RunningBroker) -> None:
    with enter(confined, "mallory") as mallory:
        mallory.send(
            "SEND\ndestination:/queue/mallory.fine\nx-dead-letter-routing-key:mallory.dead\n"
            "receipt:r\n\nx\0"
        )
        mallory.expect("RECEIPT")


def test_an_existing_queue_is_no_way_round(confined: RunningBroker) -> None:
    with enter(confined, "mallory") as mallory:
        mallory.send("SEND\ndestination:/queue/mallory.there\nreceipt:r\n\nx\0")
        mallory.expect("RECEIPT")
        mallory.send(
            "SEND\ndestination:/queue/mallory.there\nx-dead-letter-routing-key:orders.paid\n\nx\0"
        )
        mallory.expect_error("access-refused")


def test_commands_are_no_way_round(confined: RunningBroker) -> None:
    with observing(confined.port, "login:mallory", "passcode:m") as mallory:
        arguments = {"x-dead-letter-routing-key": "orders.paid"}
        made = {"queue": "mallory.made", "arguments": arguments}
        assert refusal(mallory, "queue.create", **made) == "forbidden"
        mallory.fill("mallory.from", "x")
        for cmd in ("message.move", "message.copy"):
            args = {"queue": "mallory.from", "to": "/queue/orders.paid"}
            assert refusal(mallory, cmd, **args) == "forbidden"
        assert refusal(mallory, "message.send", destination="/queue/orders.paid") == "forbidden"
        asks = {"destination": "/queue/mallory.ask", "headers": {"reply-to": "/queue/orders.paid"}}
        assert refusal(mallory, "message.send", **asks) == "forbidden"


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_where_a_dead_letter_came_from_is_not_the_senders_to_say(
    confined: RunningBroker, version: str
) -> None:
    queue = f"mallory.d{version.replace('.', '')}"
    with Peer.open(confined.port, version, "login:mallory", "passcode:m") as mallory:
        mallory.send(
            f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\nack:client-individual\n\n\0"
            f"SEND\ndestination:/queue/{queue}\noriginal-destination:/queue/orders.paid\n"
            "x-first-death-queue:orders.paid\nx-last-death-reason:none\nwith:a\\\\b\n\nforged\0"
        )
        message = mallory.expect("MESSAGE")
        assert "original-destination" not in message
        assert "x-first-death-queue" not in message
        assert "x-last-death-reason" not in message
        name = "id" if version == "1.2" else "message-id"
        value = message["ack"] if version == "1.2" else message["message-id"]
        if version == "1.0":
            # There is no NACK in 1.0.
            mallory.send("UNSUBSCRIBE\nid:1\n\n\0")
            mallory.sync()
            with observing(confined.port, "login:boss", "passcode:b") as boss:
                boss.ask("message.move", queue=queue, to=f"/queue/DLQ.{queue}")
                assert refusal(boss, "message.retry", queue=f"DLQ.{queue}") == "conflict"
            return
        mallory.send(f"NACK\n{name}:{value}\nsubscription:1\nrequeue:false\nreceipt:n\n\n\0")
        mallory.expect("RECEIPT")
        with observing(confined.port, "login:boss", "passcode:b") as boss:
            assert boss.ask("message.retry", queue=f"DLQ.{queue}")["retried"] == 1
            until(lambda: boss.row(queue)["unacked"] == 1, "the message to be back")


@pytest.mark.parametrize(
    ("reply_to", "allowed"),
    [
        ("/queue/mallory.answers", True),
        ("mallory.answers", True),
        ("/temp-queue/mine", True),
        ("/reply-queue/somebody", True),
        ("/elsewhere/other/broker", True),
        ("/queue/orders.paid", False),
        ("/topic/news", False),
        ("/exchange/other/broker", False),
        ("/queue/$SYS.command", False),
        ("$SYS.command", False),
    ],
)
def test_answers_go_where_who_asks_may_send(
    confined: RunningBroker, reply_to: str, allowed: bool
) -> None:
    with enter(confined, "mallory") as mallory:
        mallory.send(f"SEND\ndestination:/queue/mallory.ask\nreply-to:{reply_to}\n\nx\0")
        if allowed:
            mallory.sync()
        else:
            mallory.expect_error("access-refused")


def test_who_may_receive_answers_may_ask_for_them_there() -> None:
    rules = [
        {"user": "ann", "match": "/queue/inbox.ann", "actions": ["receive", "create"]},
        {"user": "ann", "match": "/queue/service", "actions": ["send", "create"]},
        {"match": "/topic/nobody.listens", "actions": ["send"]},
    ]
    sections = {"security": {"default_access": "deny"}, "users": USERS, "acl": rules}
    with running_broker(**sections) as broker, enter(broker, "ann") as ann:
        ann.send("SEND\ndestination:/queue/service\nreply-to:/queue/inbox.ann\n\nx\0")
        ann.sync()
