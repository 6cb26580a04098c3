"""A cluster under virtual time: brokers that die, sleep and are cut off, and logs with a fence.

Real are `Membership` and all that it decides. Made up are the clock of each broker, the network
between them, and the log of each group: a list, to whose end an entry is added by whoever knows how
long it is. Nothing depends on anything but the seed.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from stompy_broker.cluster.membership.group_state import GroupStage
from stompy_broker.cluster.membership.members import Member, Standing
from stompy_broker.cluster.membership.membership import (
    Decision,
    Depose,
    GiveAway,
    Membership,
    MembershipTimes,
    MoveError,
    Speak,
    StopTaking,
    TakeOver,
)

TIMES = MembershipTimes(patience=8.0, settle=6.0)

TICK = 0.25
BEAT_TICKS = 2
LOAD = 0.4
"""How often an owner has something to write."""

FAULTS_SECONDS = 30.0
OWNERS_SECONDS = 25.0
"""So long after the last fault each group has an owner."""
EVEN_SECONDS = 45.0
"""So long after the last fault all is even, and stays as it is."""
PEACE_SECONDS = 15.0


@dataclass(frozen=True)
class LogEntry:
    """Something in a log: `kind` is tenure, data or leave; `unique` tells two apart."""

    kind: str
    tenure: int
    owner: str
    unique: int


@dataclass
class FakeLog:
    """The log of a group; it checks what it is given."""

    entries: list[LogEntry] = field(default_factory=list)
    moved_at: list[float] = field(default_factory=list)

    def append(self, entry: LogEntry, expected: int, now: float) -> bool:
        """Add an entry if the log is as long as was expected."""
        if expected != len(self.entries):
            return False
        last = self.entries[-1] if self.entries else LogEntry("leave", 0, "", 0)
        if entry.kind == "tenure":
            assert entry.tenure == last.tenure + 1, "a tenure was passed over"
            self.moved_at.append(now)
        else:
            assert (entry.tenure, entry.owner) == (last.tenure, last.owner), "two owners"
            assert last.kind != "leave", "somebody who has left writes"
        self.entries.append(entry)
        return True


@dataclass
class Owning:
    """What a broker does as the owner of a group."""

    tenure: int
    place: int
    told: int = 0
    written: int = 0
    leave: bool = False
    busy: bool = False


class Simulated:
    """One process of a broker."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.offset = world.random.choice([0.0, 3600.0, -3600.0, 1e6])
        self.rate = world.random.uniform(0.999, 1.001)
        me = Member(name, f"nonce{next(world.unique)}")
        self.membership = Membership(me, world.groups, TIMES)
        self.dead = self.asleep = self.cut = False
        self.connected = True
        self.joined = False
        self.ticks = 0
        self.waiting: list[Callable[[], None]] = []
        self.owning: dict[int, Owning] = {}
        self.taking: dict[int, int] = {}
        world.after(TIMES.listen, self.guard(self.join))
        world.after(TIMES.listen, self.guard(self.tick))
        world.after(LOAD, self.guard(self.work))

    @property
    def now(self) -> float:
        return self.world.now * self.rate + self.offset

    def guard(self, action: Callable[[], None]) -> Callable[[], None]:
        """Do something now if we are awake, when we wake up if we sleep, never if we are dead."""

        def guarded() -> None:
            if self.asleep:
                self.waiting.append(action)
            elif not self.dead:
                action()

        return guarded

    def wake(self) -> None:
        self.asleep = False
        waiting, self.waiting = self.waiting, []
        self.world.random.shuffle(waiting)
        for action in waiting:
            self.guard(action)()
        self.see_connection()

    def see_connection(self) -> None:
        """Learn whether there is a connection."""
        if self.asleep or self.dead or self.connected == (not self.cut):
            return
        self.connected = not self.cut
        if self.connected:
            self.membership.connect(self.now)
            self.decide()
        else:
            self.membership.disconnect()

    # -- membership ---------------------------------------------------------------------------

    def join(self) -> None:
        self.joined = True
        self.membership.join(self.now)
        self.decide()

    def tick(self) -> None:
        self.world.after(TICK, self.guard(self.tick))
        self.membership.tick(self.now)
        self.ticks += 1
        if self.ticks % BEAT_TICKS == 0:
            self.speak()
        self.decide()

    def hear(self, octets: bytes | Member) -> None:
        beat = octets if isinstance(octets, Member) else Member.read(octets)
        self.membership.hear(beat, self.now)
        self.decide()

    def speak(self) -> None:
        self.world.publish(self, self.membership.beat())

    def decide(self) -> None:
        speak = False
        while decisions := self.membership.decisions():
            for decision in decisions:
                if isinstance(decision, Speak):
                    speak = True
                else:
                    self.carry_out(decision)
        if speak and self.joined:
            self.speak()

    def carry_out(self, decision: Decision) -> None:
        match decision:
            case TakeOver(group):
                self.taking[group] = mine = next(self.world.unique)
                self.reach(partial(self.look, decision, mine), partial(self.lose, group, mine))
            case StopTaking(group):
                self.taking.pop(group, None)
            case GiveAway(group):
                self.world.begin_move(self)
                self.owning[group].leave = True
            case Depose(group):
                del self.owning[group]

    # -- the logs -----------------------------------------------------------------------------

    def reach(self, there: Callable[[], None], failed: Callable[[], None]) -> None:
        """Do something at the log, unless it cannot be reached."""
        lost = self.world.is_lost(self)

        def arrive() -> None:
            if lost or self.cut:
                self.world.after(0.5, self.guard(failed))
            else:
                there()

        self.world.after(self.world.delay(), arrive)

    def answer(self, action: Callable[[], None]) -> None:
        self.world.after(self.world.delay(), self.guard(action))

    def lose(self, group: int, mine: int) -> None:
        if self.taking.get(group) == mine:
            del self.taking[group]
            self.membership.fail(group, self.now)
            self.decide()

    def look(self, decision: TakeOver, mine: int) -> None:
        """The head of the log and all of it are read; nobody waits in between here."""
        entries = self.world.logs[decision.group].entries
        last = entries[-1] if entries else LogEntry("leave", 0, "", 0)
        known = last.tenure == decision.tenure
        if last.kind == "leave" or (decision.depose and known):
            self.answer(partial(self.fence, decision.group, mine, len(entries), last.tenure))
        else:
            self.answer(partial(self.beaten, decision.group, mine, last.tenure))

    def beaten(self, group: int, mine: int, tenure: int) -> None:
        if self.taking.get(group) == mine:
            del self.taking[group]
            self.membership.be_beaten(group, tenure, self.now)
            self.decide()

    def fence(self, group: int, mine: int, expected: int, after: int) -> None:
        if self.taking.get(group) != mine:
            return
        self.membership.end_read(group)
        entry = LogEntry("tenure", after + 1, self.name, mine)
        self.append(group, entry, expected, partial(self.took, group, mine, entry, expected))

    def took(self, group: int, mine: int, entry: LogEntry, expected: int, stored: bool) -> None:
        if self.taking.get(group) != mine:
            return
        if not stored:
            # The end has moved on: whoever has written is looked at again.
            entries = self.world.logs[group].entries
            if entries[-1].tenure < entry.tenure:
                self.membership.read_again(group)
                self.fence(group, mine, len(entries), entry.tenure - 1)
            else:
                self.beaten(group, mine, entries[-1].tenure)
            return
        del self.taking[group]
        self.owning[group] = Owning(entry.tenure, expected + 1)
        self.membership.take(group, entry.tenure, self.now)
        assert self.membership.groups[group].stage is GroupStage.OWNER
        self.decide()

    def append(
        self, group: int, entry: LogEntry, expected: int, answer: Callable[[bool], None]
    ) -> None:
        """Append until it is known what came of it, as the store and `take_over` do."""
        again = partial(self.append, group, entry, expected, answer)

        def there() -> None:
            log = self.world.logs[group]
            stored = log.append(entry, expected, self.world.now)
            if not stored and len(log.entries) > expected:
                stored = log.entries[-1] == entry  # an earlier try had arrived
            if self.world.is_lost(self):
                self.world.after(0.5, self.guard(again))
            else:
                self.answer(partial(answer, stored))

        if not self.dead:
            self.reach(there, again)

    def give_up(self) -> None:
        """End a tenure as if somebody else had written to the log."""
        if self.owning:
            group = self.world.random.choice(list(self.owning))
            self.membership.be_fenced(group, self.owning[group].tenure, "given up", self.now)
            self.decide()
            assert group not in self.owning

    # -- owning -------------------------------------------------------------------------------

    def work(self) -> None:
        self.world.after(LOAD, self.guard(self.work))
        for group, owning in list(self.owning.items()):
            if not owning.leave:
                owning.told += 1
            if not owning.busy:
                self.write(group, owning)

    def write(self, group: int, owning: Owning) -> None:
        done = owning.told == owning.written
        if done and not owning.leave:
            return
        owning.busy = True
        kind = "leave" if done else "data"
        entry = LogEntry(kind, owning.tenure, self.name, next(self.world.unique))
        self.append(
            group, entry, owning.place, partial(self.wrote, group, owning, owning.told, kind)
        )

    def wrote(self, group: int, owning: Owning, told: int, kind: str, stored: bool) -> None:
        if self.owning.get(group) is not owning:
            return  # deposed meanwhile
        if not stored:
            self.membership.be_fenced(group, owning.tenure, "fenced", self.now)
            self.decide()
            assert group not in self.owning
            return
        owning.busy, owning.written = False, told
        owning.place += 1
        if kind == "leave":
            assert owning.told == owning.written, "an orderly move has lost something"
            del self.owning[group]
            self.membership.leave_group(group, self.now)
            self.decide()
        elif owning.leave:
            self.write(group, owning)


class World:
    """A cluster, its network and its logs.

    Args:
        seed: of everything.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.unique = itertools.count(1)
        self.groups = self.random.randint(2, 7)
        self.logs = [FakeLog() for _ in range(self.groups)]
        self.loss = self.random.choice([0.0, 0.02, 0.15])
        self.slow = self.random.choice([0.01, 0.1, 0.4])
        self.faults = 0
        self.calm = False
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self.brokers: dict[str, Simulated] = {}
        for name in ["ann", "bob", "cid", "dan", "eve"][: self.random.randint(2, 5)]:
            self.after(self.random.uniform(0, 3), partial(self.start, name))

    # -- time and network -----------------------------------------------------------------------

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + seconds, next(self.unique), action))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.now, _, action = heapq.heappop(self._heap)
            action()
        self.now = end

    def delay(self) -> float:
        return self.random.uniform(0.0005, self.slow)

    def is_lost(self, broker: Simulated) -> bool:
        return broker.cut or self.random.random() < self.loss

    def publish(self, sender: Simulated, beat: Member) -> None:
        said = Member.read(beat.write()) if self.random.random() < 0.01 else beat
        for broker in self.brokers.values():
            if broker is sender or broker.dead:
                continue
            copies = 2 if self.random.random() < self.loss else 1
            for _ in range(copies):
                if not self.is_lost(sender) and not broker.cut:
                    self.after(self.delay(), broker.guard(partial(broker.hear, said)))

    def begin_move(self, broker: Simulated) -> None:
        """One at a time in the whole cluster, once nothing hides what the others do."""
        if self.calm and broker.membership.me.standing is not Standing.LEAVING:
            moving = [one.leave for each in self.living for one in each.owning.values()]
            assert not any(moving), "two groups are moved at once"

    # -- faults ---------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        self.brokers[name] = Simulated(self, name)

    def hurt(self) -> None:
        """Let something happen to a broker."""
        self.faults += 1
        broker = self.random.choice(list(self.brokers.values()))
        if broker.dead:
            self.start(broker.name)
            return
        seconds = self.random.choice([0.5, 2.0, 4.0, 12.0])
        match self.random.randrange(8):
            case 0 | 1:
                broker.dead = True
            case 2 if not broker.asleep:
                broker.asleep = True
                self.after(seconds, broker.wake)
            case 3 if not broker.cut:
                broker.cut = True
                self.after(self.random.uniform(0.1, 3.0), broker.see_connection)
                self.after(seconds, partial(self.heal, broker))
            case 4:
                broker.guard(partial(self.stand, broker, Standing.LEAVING))()
                self.after(seconds, partial(self.go, broker))
            case 5:
                standing = self.random.choice([Standing.DRAINING, Standing.UP])
                broker.guard(partial(self.stand, broker, standing))()
            case 6:
                broker.guard(broker.give_up)()
            case _:
                group = self.random.randrange(self.groups)
                broker.guard(partial(self.order, broker, group))()

    def stand(self, broker: Simulated, standing: Standing) -> None:
        if broker.membership.me.standing is not Standing.LEAVING:
            broker.membership.stand(standing)
            broker.decide()

    def order(self, broker: Simulated, group: int) -> None:
        try:
            broker.membership.move(group, self.random.choice(list(self.brokers)))
        except MoveError:
            return
        broker.decide()

    def heal(self, broker: Simulated) -> None:
        broker.cut = False
        broker.see_connection()

    def go(self, broker: Simulated) -> None:
        """Somebody who was to leave has ended."""
        if not broker.dead and not broker.asleep:
            broker.membership.stand(Standing.GONE)
            broker.speak()
        broker.dead = True

    # -- what has to hold -----------------------------------------------------------------------

    def go_through_faults(self) -> None:
        end = self.now + FAULTS_SECONDS
        self.run(4.0)
        while self.now < end:
            self.run(self.random.expovariate(0.4))
            if self.brokers:
                self.hurt()
        self.run(12.0)  # what sleeps or is cut off comes back
        self.loss, self.slow = 0.0, min(self.slow, 0.1)
        for broker in self.brokers.values():
            if broker.membership.me.standing is Standing.LEAVING:
                broker.dead = True
        if all(broker.dead for broker in self.brokers.values()):
            self.start(next(iter(self.brokers)))

    @property
    def living(self) -> list[Simulated]:
        return [broker for broker in self.brokers.values() if not broker.dead]

    def owners(self) -> list[str]:
        """The owner of each group according to its log and to itself; empty = it has none."""
        return [self._owner(group) for group in range(self.groups)]

    def _owner(self, group: int) -> str:
        entries = self.logs[group].entries
        last = entries[-1] if entries else None
        for broker in self.living:
            owning = broker.owning.get(group)
            if owning and last and (last.tenure, last.owner) == (owning.tenure, broker.name):
                return broker.name
        return ""

    def tenures(self) -> int:
        return sum(len(log.moved_at) for log in self.logs)

    def check(self) -> None:
        """Go through everything."""
        self.go_through_faults()
        assert self.tenures() <= self.groups * (4 + 2 * self.faults), "flapping under faults"
        before = self.tenures()
        self.run(OWNERS_SECONDS)
        self.calm = True
        self._check_owners()
        self.run(EVEN_SECONDS - OWNERS_SECONDS)
        assert self.tenures() - before <= 4 * self.groups, "flapping"
        self._check_owners()
        self._check_even()
        before = self.tenures()
        self.run(PEACE_SECONDS)
        assert self.tenures() == before, "no peace"

    def _check_owners(self) -> None:
        owners = self.owners()
        assert all(owners), f"{self.now}: a group has no owner: {owners}"
        for broker in self.living:
            seen = [group.owner for group in broker.membership.groups]
            assert seen == owners, f"{broker.name} sees {seen}, not {owners}"
            assert set(broker.owning) == {
                number for number, owner in enumerate(owners) if owner == broker.name
            }

    def _check_even(self) -> None:
        owners = self.owners()
        up = [one.name for one in self.living if one.membership.me.standing is Standing.UP]
        if not up:
            return
        assert set(owners) <= set(up), "a broker that drains has a group"
        views = [broker.membership for broker in self.living]
        for number, owner in enumerate(owners):
            assert {view.wanted(number) for view in views} == {owner}
        if not any(view._wish(number) for view in views for number in range(self.groups)):
            counts = [owners.count(name) for name in up]
            assert max(counts) - min(counts) <= 1, counts
