"""Topics, durable subscriptions and replies over several brokers: routers in one process."""

from __future__ import annotations

from dataclasses import replace

from tests.support.exchanges import GROUPS, SILENCE, Brokers, Member, ready
from tests.support.house import Taker, make_head, take_part

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.cluster.topics.remote_replies import reply_token
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.routing.admission import Admission
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.interface import Queue
from stompy_broker.selectors.selector import compile_selector


class Answers:
    """Answers that came, in order."""

    def __init__(self) -> None:
        self.came: list[ProtocolError | None] = []

    def __call__(self, error: ProtocolError | None = None, /) -> None:
        self.came.append(error)

    @property
    def codes(self) -> list[ErrorCode | None]:
        return [None if error is None else error.error_code for error in self.came]


def publish(member: Member, topic: str, body: bytes, **headers: str) -> Answers:
    answers, destination = Answers(), parse_destination(topic)
    head = make_head(topic, **headers)
    member.router.publish(destination, head, body, answers, answers)
    return answers


def subscribe(member: Member, pattern: str) -> tuple[Taker, Answers, Queue]:
    taker, known = Taker(1000, auto=True), Answers()
    queue = member.router.registry.subscribe_topic(pattern)
    take_part(queue, taker)
    member.router.registry.when_subscribed(queue, known)
    return taker, known, queue


def bodies(taker: Taker) -> list[bytes]:
    return [message.body or b"" for message in taker.taken]


def durable(name: str, pattern: str = "a", owner: str = "") -> DurableSubscription:
    return DurableSubscription(name, pattern, False, owner=owner)


class Subscribing:
    """A durable subscription that a broker was asked for."""

    def __init__(self, member: Member, wanted: DurableSubscription) -> None:
        self.member, self.wanted = member, wanted
        self.found: list[Queue | ProtocolError] = []
        self.known = Answers()
        member.router.registry.durable.subscribe(wanted, self._take)

    def _take(self, found: Queue | ProtocolError) -> None:
        self.found.append(found)
        if not isinstance(found, ProtocolError):
            self.member.router.registry.when_subscribed(found, self.known)


# -- topics ---------------------------------------------------------------------


def test_a_message_reaches_subscribers_of_all_brokers_once_and_in_order() -> None:
    brokers = ready("ann", "bob", "cat")
    takers = [subscribe(member, "a.*")[0] for member in brokers.members.values()]
    twice, _, _ = subscribe(brokers["bob"], "a.b")
    subscribe(brokers["bob"], ">")
    brokers.run()
    for number in range(20):
        publish(brokers["ann"], "/topic/a.b", b"%d" % number)
    brokers.run()
    expected = [b"%d" % number for number in range(20)]
    assert [bodies(taker) for taker in (*takers, twice)] == [expected] * 4
    assert brokers["ann"].router.unroutable == 0


def test_each_broker_chooses_for_its_own_subscribers() -> None:
    """The interest is by pattern: a broker is sent everything, and each message once."""
    brokers = ready("ann", "bob")
    red, odd = Taker(1000, auto=True), Taker(1000, auto=True)
    registry = brokers["bob"].router.registry
    for taker, text in ((red, "color = 'red'"), (odd, "n = 1 OR n = 3")):
        take_part(registry.subscribe_topic("a.*", compile_selector(text)), taker)
    mine = Taker(1000, auto=True)
    queue = registry.subscribe_topic("a.b", not_from="c-1")
    take_part(queue, mine)
    brokers.run()
    for number, color in enumerate(("red", "blue", "red", "blue")):
        publish(brokers["ann"], "/topic/a.b", b"%d" % number, color=color, n=str(number))
    brokers.run()
    assert (bodies(red), bodies(odd)) == ([b"0", b"2"], [b"1", b"3"])
    assert bodies(mine) == [b"0", b"1", b"2", b"3"]
    (topic,) = brokers["bob"].router.topics
    assert (topic.relayed, topic.copies) == (4, 8)
    registry.unsubscribe_topic(queue)


def test_what_a_subscriber_elsewhere_gets_is_what_was_sent() -> None:
    brokers = ready("ann", "bob")
    taker, _, _ = subscribe(brokers["bob"], "a")
    brokers.run()
    publish(brokers["ann"], "/topic/a", b"x", priority="7", colour="red", expires="9" * 14)
    brokers.wait(1.0)
    (message,) = taker.taken
    assert message.head.headers()["colour"] == "red"
    assert (message.head.priority, message.expires) == (7, int("9" * 14))
    assert message.received_at < brokers["bob"].router.wall()


def test_ids_of_messages_differ_between_brokers() -> None:
    brokers = ready("ann", "bob")
    taker, _, _ = subscribe(brokers["bob"], "a")
    brokers.run()
    for name in ("ann", "bob"):
        for _ in range(5):
            publish(brokers[name], "/topic/a", b"x")
    brokers.run()
    own, _, _ = subscribe(brokers["ann"], "a")
    for _ in range(5):
        publish(brokers["ann"], "/topic/a", b"x")
    ids = [message.message_id for message in taker.taken + own.taken]
    assert len(set(ids)) == len(ids) == 15


def test_a_message_whose_time_is_over_is_not_delivered_elsewhere() -> None:
    brokers = ready("ann", "bob")
    takers = [subscribe(brokers["bob"], "a")[0] for _ in range(2)]
    brokers.run()
    publish(brokers["ann"], "/topic/a", b"x", ttl="1000")
    brokers.time.advance(2.0)
    brokers.run()
    publish(brokers["ann"], "/topic/a", b"y", ttl="1000")
    brokers.run()
    assert [bodies(taker) for taker in takers] == [[b"y"]] * 2


def test_nobody_is_sent_what_nobody_there_wants_any_more() -> None:
    brokers = ready("ann", "bob")
    _, _, queue = subscribe(brokers["bob"], "a")
    taker, _, other = subscribe(brokers["bob"], "a")
    brokers.run()
    brokers["bob"].router.registry.unsubscribe_topic(queue)
    brokers.run()
    publish(brokers["ann"], "/topic/a", b"one")
    brokers.run()
    brokers["bob"].router.registry.unsubscribe_topic(other)
    brokers.run()
    publish(brokers["ann"], "/topic/a", b"two")
    assert brokers["ann"].router.unroutable == 1
    assert bodies(taker) == [b"one"]


def test_the_receipt_of_a_subscriber_waits_until_all_linked_brokers_know() -> None:
    brokers = ready("ann", "bob", "cat")
    _, known, _ = subscribe(brokers["bob"], "a")
    assert not known.came
    brokers.run()
    assert known.codes == [None]
    _, again, _ = subscribe(brokers["bob"], "a")
    assert again.codes == [None]
    # A broker that is gone is not waited for, and is told everything when it comes again.
    _, waits, _ = subscribe(brokers["bob"], "b")
    brokers.cut("cat", "bob")
    brokers.cut("ann", "bob")
    brokers.run()
    assert waits.codes == [None]
    brokers.link("cat", "bob")
    brokers.run()
    publish(brokers["cat"], "/topic/b", b"x")
    assert brokers["cat"].router.unroutable == 0


def test_what_comes_and_goes_in_one_turn_is_known_at_once_everywhere() -> None:
    brokers = ready("ann", "bob")
    _, known, queue = subscribe(brokers["bob"], "a")
    brokers["bob"].router.registry.unsubscribe_topic(queue)
    brokers.run()
    assert known.codes == [None]
    publish(brokers["ann"], "/topic/a", b"x")
    assert brokers["ann"].router.unroutable == 1


def test_very_many_patterns_are_told_in_pieces() -> None:
    brokers = ready("ann", "bob")
    taken = [subscribe(brokers["bob"], f"t.{number}") for number in range(2500)]
    brokers.run()
    assert all(known.codes == [None] for _, known, _ in taken)
    brokers.cut("ann", "bob")
    publish(brokers["ann"], "/topic/t.7", b"lost", persistent="false")
    brokers.link("ann", "bob")
    brokers.run()
    for number in (0, 2499):
        publish(brokers["ann"], f"/topic/t.{number}", b"x")
    brokers.run()
    assert bodies(taken[0][0]) == bodies(taken[2499][0]) == [b"x"]
    assert not taken[7][0].taken
    for _, _, queue in taken:
        brokers["bob"].router.registry.unsubscribe_topic(queue)
    brokers.run()
    assert not brokers["ann"].router.topics.match("t.5")


def test_copies_are_counted_where_they_are_given() -> None:
    brokers = ready("ann", "bob")
    for name in ("ann", "bob", "bob"):
        subscribe(brokers[name], "a")
    brokers.run()
    for _ in range(3):
        publish(brokers["ann"], "/topic/a", b"x")
    brokers.run()
    rows = {name: brokers[name].router.topics.find("a") for name in ("ann", "bob")}
    assert [(row.published, row.copies, row.subscribers) for row in rows.values()] == [
        (3, 3, 1),
        (0, 6, 2),
    ]


# -- durable subscriptions ---------------------------------------------------------------------


def owners_group(member: Member) -> int:
    return next(number for number, owner in member.brokers.owners.items() if owner is member)


def name_in(group: int, brokers: Brokers) -> str:
    """A name that belongs to a group."""
    groups = brokers["ann"].router.groups
    return next(f"n{n}" for n in range(99) if groups.of(f"durable.n{n}").number == group)


def test_a_durable_subscription_is_known_everywhere_and_misses_nothing() -> None:
    brokers = ready("ann", "bob", "cat")
    for group in range(GROUPS):
        name = name_in(group, brokers)
        made = Subscribing(brokers["cat"], durable(name, "a.>"))
        assert not made.found
        brokers.run()
        assert made.known.codes == [None]
        for member in brokers.members.values():
            assert member.router.registry.durable.by_name[name].pattern == "a.>"
            publish(member, "/topic/a.b", member.name.encode())
        brokers.run()
        assert brokers.reached[f"durable.{name}"] == [b"ann", b"bob", b"cat"]
        brokers["cat"].router.registry.durable.delete(name, deleted := Answers())
        brokers.run()
        assert deleted.codes == [None]
        assert not any(one.router.registry.durable.by_name for one in brokers.members.values())
        brokers.reached.clear()
    events = [event.type for event in brokers["ann"].router.events.recent]
    assert events.count("durable.created") == 1  # the owner tells, and nobody else


def test_every_broker_knows_what_a_durable_subscription_takes() -> None:
    """It is decided where a message is sent: what does not match goes nowhere."""
    brokers = ready("ann", "bob")
    name = name_in(1, brokers)
    wanted = replace(durable(name), selector="color = 'red'", not_from="me")
    Subscribing(brokers["bob"], wanted)
    brokers.run()
    for member in brokers.members.values():
        topics = member.router.topics
        assert topics.declines("client-id:me")
        for color, sender in (("red", ()), ("blue", ()), ("red", ("client-id:me",))):
            topics.sender = sender
            publish(member, "/topic/a", member.name.encode(), color=color)
            topics.sender = ()
    brokers.run()
    assert brokers.reached[f"durable.{name}"] == [b"ann", b"bob"]
    # Another selector ends it everywhere, and begins anew.
    Subscribing(brokers["ann"], replace(wanted, selector="color = 'blue'"))
    brokers.run()
    for member in brokers.members.values():
        assert member.router.registry.durable.by_name[name].selector == "color = 'blue'"
        for color in ("red", "blue"):
            publish(member, "/topic/a", color.encode(), color=color)
    brokers.run()
    assert brokers.reached[f"durable.{name}"][2:] == [b"blue", b"blue"]


def test_the_owner_decides_whose_it_is() -> None:
    brokers = ready("ann", "bob")
    name = name_in(1, brokers)
    first = Subscribing(brokers["ann"], durable(name, owner="alice"))
    second = Subscribing(brokers["bob"], durable(name, "b", owner="mallory"))
    brokers.run()
    refused = [one.found[0] for one in (first, second) if isinstance(one.found[0], ProtocolError)]
    assert [error.error_code for error in refused] == [ErrorCode.ACCESS_REFUSED]
    assert {
        one.router.registry.durable.by_name[name].owner for one in brokers.members.values()
    } <= {
        "alice",
        "mallory",
    }


def test_one_that_is_in_use_is_not_deleted() -> None:
    brokers = ready("ann", "bob")
    name = name_in(0, brokers)
    made = Subscribing(brokers["bob"], durable(name))
    brokers.run()
    assert isinstance(made.found[0], Queue)
    made.found[0].attach(taker := Taker(5), nobody := Answers())
    brokers.run()
    assert nobody.codes == [None]
    brokers["bob"].router.registry.durable.delete(name, answer := Answers())
    brokers.run()
    assert answer.codes == [ErrorCode.SUBSCRIPTION_IN_USE]
    made.found[0].detach(taker)
    brokers.run()
    # Another pattern under the same name makes room for itself.
    other = Subscribing(brokers["bob"], durable(name, "b"))
    brokers.run()
    assert other.known.codes == [None]
    assert all(
        one.router.registry.durable.by_name[name].pattern == "b" for one in brokers.members.values()
    )


def test_nobodys_belongs_to_the_first_that_comes() -> None:
    brokers = ready("ann", "bob")
    name = name_in(0, brokers)
    Subscribing(brokers["bob"], durable(name))
    brokers.run()
    registry = brokers["bob"].router.registry
    registry.durable.take_possession(registry.durable.by_name[name], "alice")
    brokers.run()
    assert all(
        one.router.registry.durable.by_name[name].owner == "alice"
        for one in brokers.members.values()
    )


def test_the_receipt_waits_for_who_may_still_publish_blindly_for_a_silence() -> None:
    brokers = ready("ann", "bob", "cat")
    name = name_in(0, brokers)
    brokers.cut("cat", "ann")
    brokers.run()
    made = Subscribing(brokers["bob"], durable(name))
    brokers.run()
    assert isinstance(made.found[0], Queue)
    assert not made.known.came
    brokers.wait(SILENCE / 2)
    assert not made.known.came
    brokers.wait(SILENCE)
    assert made.known.codes == [None]


def test_a_new_owner_waits_for_who_may_go_by_the_one_before() -> None:
    brokers = ready("ann", "bob", "cat")
    bob, name = brokers["bob"], name_in(0, brokers)
    brokers.cut("bob", "cat")
    brokers.wait(2 * SILENCE)
    brokers.own(0, "cat", heard=False)  # nor does the owner before, to which there is a link
    made = Subscribing(brokers["cat"], durable(name))
    brokers.run()
    assert publish(bob, "/topic/a", b"misses it").codes == [None]
    assert not made.known.came
    bob.exchange.owner_changed(0, "cat")
    waits = publish(bob, "/topic/a", b"does not")
    brokers.wait(SILENCE)
    assert made.known.codes == [None]
    assert not waits.came
    brokers.link("bob", "cat")
    brokers.run()
    assert waits.codes == [None]
    assert brokers.reached[f"durable.{name}"] == [b"does not"]


def test_what_is_persistent_waits_while_an_owner_cannot_be_heard() -> None:
    brokers = ready("ann", "bob", "cat")
    ann, cat = brokers["ann"], brokers["cat"]
    name = name_in(0, brokers)
    taker, _, _ = subscribe(cat, "a")
    brokers.run()
    brokers.cut("cat", "ann")
    assert cat.exchange.directory.stale(0)
    assert not cat.exchange.directory.stale(1)
    waits = publish(cat, "/topic/a", b"persistent")
    goes = publish(cat, "/topic/a", b"passing", persistent="false")
    brokers.run()
    assert (waits.codes, goes.codes) == ([], [None])
    assert bodies(taker) == [b"passing"]
    destination = parse_destination("/topic/a")
    full = cat.router.publish(destination, make_head("/topic/a"), b"more", None, waits)
    assert full is cat.exchange.stale
    assert full.blocks(consumes=True)
    full.wait(woken := Answers())
    # A queue is not concerned, and neither is anybody elsewhere.
    assert publish(brokers["bob"], "/topic/a", b"x").codes == [None]
    made = Subscribing(ann, durable(name))
    brokers.wait(SILENCE)
    assert made.known.codes == [None]
    brokers.link("cat", "ann")
    brokers.run()
    assert waits.codes == [None]
    assert woken.codes == [None]
    assert brokers.reached[f"durable.{name}"] == [b"persistent", b"more"]
    assert not cat.router.alarms


def test_a_transaction_waits_as_a_whole() -> None:
    brokers = ready("ann", "bob")
    router = brokers["ann"].router

    def ask(*heads: tuple[str, str]) -> Answers:
        admission, answers = Admission(router), Answers()
        for text, persistent in heads:
            head = make_head(text, persistent=persistent)
            admission.add(parse_destination(text), head, 10)
        admission.ask(answers)
        brokers.run()
        return answers

    brokers.cut("ann", "bob")
    waits = ask(("/topic/a", "true"), ("/topic/a", "false"))
    goes = ask(("/topic/a", "false"))
    assert (waits.codes, goes.codes) == ([], [None])
    brokers.link("ann", "bob")
    brokers.run()
    assert waits.codes == [None]
    assert ask(("/topic/a", "true")).codes == [None]


def test_an_idle_queue_is_ended_by_its_owner_and_forgotten_by_others() -> None:
    brokers = ready("ann", "bob")
    ann, bob = (brokers[name].router.registry for name in ("ann", "bob"))
    name = next(f"q{n}" for n in range(99) if brokers["ann"].router.groups.of(f"q{n}").number == 0)
    used = next(f"u{n}" for n in range(99) if brokers["ann"].router.groups.of(f"u{n}").number == 0)
    for registry in (ann, bob):
        registry.queue(name)
        registry.queue(used)
    bob.queue(used).attach(Taker(1))
    brokers.run()
    for _ in range(3):
        brokers.wait(200.0)
    assert (name in ann.queues, name in bob.queues) == (False, False)
    assert (used in ann.queues, used in bob.queues) == (True, True)
    events = [event.type for event in brokers["bob"].router.events.recent]
    assert events == []


def test_a_broker_that_is_cut_off_waits_too() -> None:
    brokers = ready("ann", "bob")
    ann = brokers["ann"].exchange
    ann.cut_off(True)
    waits = publish(brokers["ann"], "/topic/a", b"x")
    assert not waits.came
    ann.cut_off(False)
    assert waits.codes == [None]
    assert not brokers["ann"].router.registry.durable.refusing


def test_a_new_owner_goes_by_the_log_and_tells_all() -> None:
    brokers = ready("ann", "bob", "cat")
    kept, groups = name_in(0, brokers), brokers["ann"].router.groups
    gone = next(f"g{n}" for n in range(99) if groups.of(f"durable.g{n}").number == 0)
    for name in (kept, gone):
        Subscribing(brokers["cat"], durable(name))
    brokers.run()
    brokers.cut("cat", "ann")  # which so does not hear that one is deleted
    brokers["ann"].router.registry.durable.delete(gone, deleted := Answers())
    brokers.run()
    assert deleted.codes == [None]
    assert gone in brokers["cat"].router.registry.durable.by_name
    asked = Subscribing(brokers["cat"], durable(kept, "b"))
    brokers.run()
    assert not asked.found
    brokers.depose(0)
    brokers.own(0, "bob")
    brokers.run()
    for member in brokers.members.values():
        assert list(member.router.registry.durable.by_name) == [kept]
        assert member.router.registry.durable.by_name[kept].pattern == "b"
        assert not member.exchange.directory.stale(0)
    brokers.wait(SILENCE)
    assert asked.known.codes == [None]


def test_what_was_not_safe_is_forgotten_by_who_is_deposed() -> None:
    brokers = ready("ann", "bob")
    name = name_in(0, brokers)
    made = Subscribing(brokers["ann"], durable(name))
    assert name in brokers["ann"].router.registry.durable.by_name
    brokers.logs[0].drop_subscription(name)  # as if the record had been refused
    brokers.depose(0)
    assert name not in brokers["ann"].router.registry.durable.by_name
    brokers.own(0, "bob")
    brokers.run()
    assert not any(one.router.registry.durable.by_name for one in brokers.members.values())
    assert made.found


def test_a_request_follows_its_group_to_the_next_owner() -> None:
    brokers = ready("ann", "bob", "cat")
    name = name_in(0, brokers)
    made = Subscribing(brokers["cat"], durable(name))
    brokers.depose(0)
    brokers.run()
    assert not made.found
    brokers.own(0, "cat")
    brokers.run()
    assert made.known.codes == [None]
    brokers["bob"].router.registry.durable.delete(name, deleted := Answers())
    brokers.links["bob", "cat"].deliver()
    brokers.cut("bob", "cat")  # the answer is lost
    brokers.link("bob", "cat")
    brokers.run()
    assert deleted.codes == [None]


def test_a_request_that_was_carried_out_in_vain_is_made_again() -> None:
    brokers = ready("ann", "bob", "cat")
    theirs = name_in(0, brokers)
    groups = brokers["ann"].router.groups
    own = next(f"o{n}" for n in range(99) if groups.of(f"durable.o{n}").number == 0)
    made = [Subscribing(brokers["cat"], durable(theirs))]
    brokers.depose(0)
    made.append(Subscribing(brokers["ann"], durable(own)))  # which waits for an owner
    brokers.own(0, "ann", heard=False)
    brokers.links["cat", "ann"].deliver()
    assert {theirs, own} <= brokers["ann"].router.registry.durable.by_name.keys()
    for name in (theirs, own):
        brokers.logs[0].drop_subscription(name)  # nothing of that was ever safe
    brokers.depose(0)
    brokers.own(0, "bob")
    brokers.run()
    assert [one.known.codes for one in made] == [[None], [None]]
    logged = {one.name for one in brokers.logs[0].subscriptions()}
    assert logged == {theirs, own} == set(brokers["ann"].router.registry.durable.by_name)


def test_a_broker_is_complete_when_each_owner_has_told() -> None:
    brokers = Brokers("ann", "bob", "cat")
    brokers["cat"].exchange.when_complete(complete := Answers())
    brokers.link("cat", "ann")
    brokers.own(0, "ann")
    brokers.run()
    assert not complete.came
    brokers.own(1, "bob")
    brokers.run()
    assert not complete.came
    brokers.link("cat", "bob")
    brokers.run()
    # Now it knows what others have; but they do not know what it wants.
    assert not complete.came
    brokers.link("ann", "cat")
    brokers.run()
    assert not complete.came
    brokers.link("bob", "cat")
    brokers.run()
    assert complete.codes == [None]


def test_a_broker_that_cannot_be_reached_is_not_waited_for_very_long() -> None:
    brokers = Brokers("ann", "bob")
    brokers["ann"].exchange.when_complete(complete := Answers())
    for group in range(GROUPS):
        brokers.own(group, "ann")
    brokers.run()
    assert not complete.came
    brokers.wait(SILENCE)
    assert complete.codes == [None]


def test_names_of_queues_are_known_everywhere() -> None:
    brokers = ready("ann", "bob", "cat")
    registry = brokers["cat"].router.registry
    name = next(f"q{n}" for n in range(99) if brokers["ann"].router.groups.of(f"q{n}").number == 0)
    queue = brokers["ann"].router.queue(name)
    assert brokers["ann"].router.registry.has_queue(name)
    assert not registry.has_queue(name)
    brokers.run()
    assert registry.has_queue(name)
    brokers["cat"].router.queue(name)
    brokers["ann"].router.registry.delete_queue(queue, "for a test", done=lambda outcome: None)
    brokers.run()
    assert not registry.has_queue(name)
    assert name not in brokers["cat"].router.queues


def test_a_refusing_backlog_elsewhere_is_asked() -> None:
    policy = Policy(match="/topic/full", overflow="reject-publish", max_length=1)
    brokers = ready("ann", "bob", policies=(policy,))
    name = name_in(0, brokers)
    Subscribing(brokers["bob"], durable(name, "full"))
    brokers.run()
    answers = []
    for _ in range(2):
        answers.append(publish(brokers["bob"], "/topic/full", b"x"))
        brokers.run()
    assert [one.codes for one in answers] == [[None], [ErrorCode.QUEUE_FULL]]


# -- replies ---------------------------------------------------------------------


def reply_queue(member: Member) -> tuple[Queue, Taker]:
    name = reply_token(member.name, lambda: "token")
    queue = member.router.registry.temporary_queue("/temp-queue/mine", name)
    take_part(queue, taker := Taker(10, auto=True))
    return queue, taker


def test_a_reply_goes_to_the_broker_of_the_temporary_queue() -> None:
    brokers = ready("ann", "bob")
    queue, taker = reply_queue(brokers["bob"])
    assert queue.name == "bob.token"
    answer = publish(brokers["ann"], "/reply-queue/bob.token", b"yes", colour="red")
    assert not answer.came
    brokers.run()
    assert answer.codes == [None]
    (message,) = taker.taken
    headers = message.head.headers()
    assert (message.body, headers["destination"], headers["colour"]) == (
        b"yes",
        "/temp-queue/mine",
        "red",
    )


def test_a_reply_to_nobody_is_dropped_and_its_sender_is_not_to_blame() -> None:
    brokers = ready("ann", "bob")
    queue, _ = reply_queue(brokers["bob"])
    to_nobody = publish(brokers["ann"], "/reply-queue/bob.other", b"x")
    to_no_broker = publish(brokers["ann"], "/reply-queue/eve.token", b"x")
    malformed = publish(brokers["ann"], "/reply-queue/token", b"x")
    brokers.run()
    on_link = publish(brokers["ann"], f"/reply-queue/{queue.name}", b"x")
    brokers.cut("ann", "bob")
    unlinked = publish(brokers["ann"], f"/reply-queue/{queue.name}", b"x")
    for one in (to_nobody, to_no_broker, malformed, on_link, unlinked):
        assert one.codes == [None]
    assert brokers["ann"].router.unroutable == 4
    assert brokers["bob"].router.unroutable == 1


def test_who_sends_more_replies_than_a_link_takes_has_to_wait() -> None:
    brokers = ready("ann", "bob")
    queue, _ = reply_queue(brokers["bob"])
    head, destination = make_head(), parse_destination(f"/reply-queue/{queue.name}")
    body, publish_one = bytes(1024 * 1024), brokers["ann"].router.publish
    full = [publish_one(destination, head, body) for _ in range(9)]
    assert full[0] is None
    assert full[-1] is not None
    full[-1].wait(woken := Answers())
    brokers.run()
    assert woken.codes == [None]


# -- what is wrong ---------------------------------------------------------------------


def test_a_broker_that_talks_nonsense_loses_its_link() -> None:
    brokers = ready("ann", "bob")
    link = brokers.links["ann", "bob"]
    brokers["bob"].exchange.received(link.other, b"\x01not for this")
    assert not link.other.closed
    brokers["bob"].exchange.received(link.other, b"@{}")
    assert "makes no sense" in link.other.closed
