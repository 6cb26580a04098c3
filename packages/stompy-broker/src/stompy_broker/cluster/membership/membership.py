"""What one broker of a cluster makes of all that it hears, and what it does about its groups.

* **Everybody decides alone.** There is no leader. All see about the same members, and reckon the
  same from them; where they do not, the logs decide who owns what.
* **A group without a living owner is taken over by the one who should have it, at once.** The
  others come one after the other, some seconds later each, in case that one cannot.
* **A living owner is asked, not deposed.** Whoever has a group that somebody else should have gives
  it away in good order: one group at a time in the whole cluster, the first one that everybody
  sees; and not before the members have been the same for a while, unless an operator has asked.
* **Who does not take what it was given is left in peace** for a while, whatever keeps it from that.
* **Who cannot be reached is given nothing**: it is heard over the servers, but there is no link.
* **Who did not listen does not judge.** After a sleep, or without a connection, nobody is dead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from stompy_broker.cluster.membership.group_state import (
    NEVER,
    GroupEvent,
    GroupStage,
    GroupState,
)
from stompy_broker.cluster.membership.members import (
    Claim,
    Heard,
    Hold,
    Member,
    Members,
    Standing,
    Wish,
    without_figures,
)
from stompy_broker.cluster.membership.placement import rank, spread

log = logging.getLogger("stompy_broker.cluster")


@dataclass(frozen=True, slots=True)
class MembershipTimes:
    """How patient a broker is, in seconds.

    Attributes:
        beat: how often it says what it is.
        silent: after how long without that another one counts as dead.
        suspect: the same for one to whom a connection was lost.
        listen: how long it only listens when it comes, or has not listened for a while.
        turn: how long each broker is given to take a group over before the next one tries.
        patience: how long the members have to be the same before groups are moved to even out.
        pause: how long all is left in peace after each of these moves.
        settle: how long a group without an owner keeps others from being moved.
        again: when a log is tried again that cannot be read or written.
    """

    beat: float = 0.5
    silent: float = 3.0
    suspect: float = 1.0
    listen: float = 1.0
    turn: float = 2.0
    patience: float = 30.0
    pause: float = 1.0
    settle: float = 10.0
    again: float = 0.5


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Read the log of a group, and become its owner.

    Attributes:
        group: which one.
        tenure: the tenure that is to end, as far as is known; 0 = it is not.
        depose: whether its owner counts as dead. Else the log has to say that it has left.
    """

    group: int
    tenure: int
    depose: bool


@dataclass(frozen=True, slots=True)
class StopTaking:
    """Do not go on with that: the group has a living owner.

    Attributes:
        group: which one.
    """

    group: int


@dataclass(frozen=True, slots=True)
class GiveAway:
    """Leave a group in good order.

    Attributes:
        group: which one.
        to: for whom; empty = for whoever takes it.
    """

    group: int
    to: str


@dataclass(frozen=True, slots=True)
class Depose:
    """Serve a group no more: it was taken over.

    Attributes:
        group: which one.
        reason: by whom, as far as is known.
    """

    group: int
    reason: str


@dataclass(frozen=True, slots=True)
class TellOwner:
    """Another broker, or none, is now known to own a group.

    Attributes:
        group: which one.
        owner: its name; empty = nobody.
    """

    group: int
    owner: str


@dataclass(frozen=True, slots=True)
class TellMembers:
    """Who is alive, or what they are, has changed."""


@dataclass(frozen=True, slots=True)
class Speak:
    """Say at once what we are: the others should know."""


Decision = TakeOver | StopTaking | GiveAway | Depose | TellOwner | TellMembers | Speak


class MoveError(Exception):
    """A group cannot be moved there; the text says why."""


class Membership:
    """One broker's view of the cluster.

    Args:
        me: this broker.
        groups: how many there are.
        times: how patient it is.

    Attributes:
        me: this broker; its standing changes.
        members: the others.
        groups: each group, by its number.
        unable: the groups whose logs we have found damaged.
        in_reach: tells whether our clients could use what another broker has; who is not in
            reach is given nothing, unless we drain or leave.
    """

    def __init__(self, me: Member, groups: int, times: MembershipTimes) -> None:
        self.me = me
        self.members = Members(me, times.silent, times.suspect)
        self.groups = [GroupState(number) for number in range(groups)]
        self.unable: set[int] = set()
        self.in_reach: Callable[[str], bool] = lambda broker: True
        self._times = times
        self._decided: list[Decision] = []
        self._left: dict[int, Claim] = {}
        self._wishes: dict[int, Wish] = {}
        self._joined = False
        self._connected = True
        self._count = 0
        self._now = NEVER
        self._ready: list[tuple[str, str]] = []  # who can have groups, as was seen last
        self._changed_at = NEVER
        self._owner_changed_at = NEVER
        self._passed_over: dict[tuple[int, str], float] = {}
        self._cannot: dict[str, frozenset[int]] = {}
        self._spread: dict[int, str] = {}
        self._spread_without: dict[str, dict[int, str]] = {}

    def decisions(self) -> list[Decision]:
        """What was decided since the last time, in order."""
        decided, self._decided = self._decided, []
        return decided

    # -- time -----------------------------------------------------------------------------------

    def join(self, now: float) -> None:
        """Take part from now on; before that it only listens."""
        self._joined = True
        self._now = now
        for group in self.groups:
            if not group.owner:
                group.vacant_at = now
                group.dead_at = max(group.dead_at, now + self._times.silent)
        self._review(now)

    def tick(self, now: float) -> None:
        """Look at the time; to be called at least with each beat."""
        self._wake(now)
        self._review(now)

    def connect(self, now: float) -> None:
        """There is a connection again over which others can be heard."""
        self._connected = True
        self._forgive(now)

    def disconnect(self) -> None:
        """Nobody can be heard any more."""
        self._connected = False

    def _wake(self, now: float) -> None:
        if now - self._now > self._times.silent / 2:
            self._forgive(now)
        self._now = now

    def _forgive(self, now: float) -> None:
        """We have not listened for a while: nobody is dead, and much may have changed."""
        self.members.forgive(now)
        for group in self.groups:
            if not group.owner:
                group.not_before = max(group.not_before, now + self._times.listen)

    # -- what is heard --------------------------------------------------------------------------

    def hear(self, beat: Member, now: float) -> Heard:
        """Work in what a broker says about itself."""
        self._wake(now)
        before = self.members.alive.get(beat.id)
        heard = self.members.hear(beat, now)
        if heard not in (Heard.NEW, Heard.KNOWN):
            return heard
        if heard is Heard.NEW:
            self._decided.append(Speak())
        if before is None or without_figures(before) != without_figures(beat):
            self._decided.append(TellMembers())
        for number, wish in beat.wishes.items():
            known = self._wishes.get(number)
            if known is None or (wish.stamp, wish.broker) > (known.stamp, known.broker):
                self._wishes[number] = wish
        for number, claim in beat.claims.items():
            if 0 <= number < len(self.groups):
                self._heed(self.groups[number], beat.id, claim, now)
        for group in self.groups:
            gone = beat.standing is Standing.GONE or group.number not in beat.claims
            if gone and group.owner == beat.id:
                self._vacate(group, now)  # that process has ended
        self._review(now)
        return heard

    def _heed(self, group: GroupState, broker: str, claim: Claim, now: float) -> None:
        """Work in what a broker says about a group."""
        if claim.tenure < group.tenure:
            return  # it does not know yet that it is deposed
        newer = claim.tenure > group.tenure
        if claim.hold is Hold.LEFT:
            if newer or not group.left:
                if newer:
                    self._yield(group, broker, now)
                group.tenure, group.left, group.to = claim.tenure, True, claim.to
                self._vacate(group, now)
            return
        if not newer and (group.left or group.held):
            return
        group.moving = claim.hold is Hold.LEAVING
        if newer:
            self._yield(group, broker, now)
        elif group.stage is GroupStage.READING:
            # It is alive after all. Once our record may be stored there is no way back, though.
            self._stop(group)
        group.tenure, group.left = claim.tenure, False
        if group.owner != broker:
            group.owner, group.to = broker, ""
            self._owner_changed_at = now
            self._decided.append(TellOwner(group.number, broker))

    def _yield(self, group: GroupState, broker: str, now: float) -> None:
        """Another broker has begun a newer tenure: ours has ended, or never begins."""
        self._left.pop(group.number, None)
        self._note_passed_over(group, broker, now)
        if group.held:
            self._depose(group, f"{broker} has taken it over", now)
        elif group.stage in (GroupStage.READING, GroupStage.FENCING):
            self._stop(group)

    def _note_passed_over(self, group: GroupState, broker: str, now: float) -> None:
        """Remember who did not take what it was given, for it would only be given back to it."""
        if group.left and group.to not in ("", broker):
            self._passed_over[group.number, group.to] = now + self._times.patience

    def _stop(self, group: GroupState) -> None:
        group.happen(GroupEvent.GIVE_UP)
        self._decided.append(StopTaking(group.number))

    def _vacate(self, group: GroupState, now: float, *, dead_at: float | None = None) -> None:
        """Nobody has a group any more."""
        had_owner, group.owner = group.owner, ""
        group.moving = False
        group.vacant_at, group.dead_at, group.not_before = (
            now,
            now if dead_at is None else dead_at,
            NEVER,
        )
        self._owner_changed_at = now
        if had_owner:
            self._decided.append(TellOwner(group.number, ""))

    def suspect(self, broker: str) -> None:
        """A connection to a broker was lost."""
        self.members.suspect(broker)

    # -- what became of decisions ---------------------------------------------------------------

    def end_read(self, number: int) -> None:
        """The log of a group was read to its end."""
        self.groups[number].happen(GroupEvent.END_READ)

    def read_again(self, number: int) -> None:
        """Somebody has written to the log of a group meanwhile."""
        self.groups[number].happen(GroupEvent.READ_AGAIN)

    def take(self, number: int, tenure: int, now: float) -> None:
        """The group is ours."""
        group = self.groups[number]
        if group.happen(GroupEvent.TAKE):
            self._note_passed_over(group, self.me.id, now)
            group.owner, group.tenure, group.left, group.to = self.me.id, tenure, False, ""
            group.moving = False
            self._left.pop(number, None)
            self._owner_changed_at = now
            self._decided.append(Speak())

    def be_beaten(self, number: int, tenure: int, now: float) -> None:
        """The log of a group says that somebody else has it, and perhaps lives."""
        group = self.groups[number]
        if group.happen(GroupEvent.GIVE_UP):
            if tenure != group.tenure:
                group.tenure, group.left, group.to = max(tenure, group.tenure), False, ""
            self._vacate(group, now, dead_at=now + self._times.silent)
            group.not_before = group.dead_at

    def fail(self, number: int, now: float, *, damaged: bool = False) -> None:
        """The log of a group could not be read or written, or something is missing in it."""
        group = self.groups[number]
        if group.happen(GroupEvent.GIVE_UP):
            group.not_before = now + self._times.again
            if damaged:
                self.unable.add(number)
                self._decided.append(Speak())

    def accept(self, number: int) -> None:
        """What is missing in the log of a group is given up, so it can be had."""
        self.unable.discard(number)
        self.groups[number].not_before = NEVER

    def leave_group(self, number: int, now: float) -> None:
        """We have left a group in good order."""
        group = self.groups[number]
        if group.happen(GroupEvent.LEFT):
            self._left[number] = Claim(Hold.LEFT, group.tenure, group.to)
            group.left = True
            self._vacate(group, now)
            self._decided.append(Speak())

    def be_fenced(self, number: int, tenure: int, reason: str, now: float) -> None:
        """The log of a group says that our tenure has ended."""
        group = self.groups[number]
        if group.tenure == tenure and group.held:
            self._depose(group, reason, now)
            # Perhaps nobody has begun a newer one; nobody writes in the one that has ended.
            group.rest_until = now + self._times.listen
            self._vacate(group, now)

    def _depose(self, group: GroupState, reason: str, now: float) -> None:
        group.happen(GroupEvent.FENCE)
        group.rest_until = now + self._times.silent + self._times.turn
        group.moving, group.to = False, ""
        self._decided += (Depose(group.number, reason), Speak())

    # -- what operators want --------------------------------------------------------------------

    def move(self, number: int, broker: str) -> None:
        """Have a group given to a broker, which keeps it as long as it lives.

        Raises:
            MoveError: it cannot have it.
        """
        target = self._named(broker)
        if target is None:
            raise MoveError(f"there is no broker {broker} in the cluster")
        if not 0 <= number < len(self.groups):
            raise MoveError(f"there is no group {number}; they are 0 to {len(self.groups) - 1}")
        if target.standing is not Standing.UP:
            raise MoveError(f"{broker} gives its groups away, and takes none")
        if number in self._cannot_of(target):
            raise MoveError(f"{broker} cannot have group {number}: its log is damaged")
        stamp = max((wish.stamp for wish in self._wishes.values()), default=0) + 1
        self._wishes[number] = Wish(broker, target.nonce, stamp)
        self._decided.append(Speak())

    def stand(self, standing: Standing) -> None:
        """Be ready for more or for less."""
        self.me = replace(self.me, standing=standing)
        self._decided.append(Speak())
        if standing is Standing.LEAVING:
            for group in self.groups:
                if group.stage is GroupStage.READING:
                    self._stop(group)

    def _named(self, broker: str) -> Member | None:
        return self.me if broker == self.me.id else self.members.alive.get(broker)

    def _wish(self, number: int) -> str:
        """Where an operator wants a group; empty = nowhere in particular, or it has gone."""
        wish = self._wishes.get(number)
        target = None if wish is None else self._named(wish.broker)
        if wish is None or target is None or target.nonce != wish.nonce:
            return ""
        if target.standing is not Standing.UP or number in self._cannot_of(target):
            return ""
        return wish.broker

    def _cannot_of(self, member: Member) -> frozenset[int]:
        return frozenset(self.unable) if member is self.me else member.unable

    # -- what is to be done ---------------------------------------------------------------------

    def wanted(self, number: int) -> str:
        """Who should own a group; empty = nobody can."""
        return self._wish(number) or self._spread.get(number, "")

    def heir(self, number: int) -> str:
        """Who would own a group if its owner died now; empty = nobody could, or it has none."""
        owner = self.groups[number].owner
        if not owner:
            return ""
        wish = self._wish(number)
        if wish and wish != owner:
            return wish
        if owner not in self._spread_without:
            left = [name for name, _ in self._ready if name != owner]
            self._spread_without[owner] = spread(len(self.groups), left, self._cannot)
        return self._spread_without[owner].get(number, "")

    def followed(self) -> dict[int, int]:
        """The groups that this broker should know already when it gets them.

        It gets them when their owners die, or in good order because it should have them.

        Returns:
            The place of the last entry in the log of each, as its owner says; 0 = it does not.
        """
        me, found = self.me.id, {}
        for group in self.groups:
            owner = self.members.alive.get(group.owner)
            if owner is not None and me in (self.heir(group.number), self.wanted(group.number)):
                claim = owner.claims.get(group.number)
                found[group.number] = 0 if claim is None else claim.last
        return found

    def _review(self, now: float) -> None:
        if self._connected and self._joined:
            self._note_deaths(now)
        self._place(now)
        if not self._joined:
            return
        for group in self.groups:
            if group.stage is GroupStage.DEPOSED:
                asked = group.left and group.to == self.me.id
                if asked or now >= group.rest_until:
                    group.happen(GroupEvent.REST)
            if group.stage is GroupStage.AWAY and not group.owner:
                self._take_if_due(group, now)
        if self.me.standing is Standing.LEAVING:
            for group in self.groups:
                self._give_away(group, self._first(group))
        else:
            self._move_if_due(now)

    def _note_deaths(self, now: float) -> None:
        dead = self.members.remove_silent(now)
        if not dead:
            return
        self._decided.append(TellMembers())
        for broker in dead:
            log.warning("the broker %s says nothing any more", broker)
        for group in self.groups:
            if group.owner in dead:
                self._vacate(group, now)

    def _place(self, now: float) -> None:
        """Reckon who should own what, if that may have changed."""
        everybody = [self.me, *self.members.alive.values()]
        ready = [one for one in everybody if one.standing is Standing.UP]
        names = sorted((one.id, one.nonce) for one in ready)
        cannot = {one.id: lost for one in ready if (lost := self._cannot_of(one))}
        if names != self._ready:
            self._ready, self._changed_at = names, now
        elif cannot == self._cannot:
            return
        self._cannot = cannot
        self._spread = spread(len(self.groups), [name for name, _ in names], cannot)
        self._spread_without.clear()

    def _in_turn(self, group: GroupState) -> list[str]:
        """Who is to take a group, one after the other."""
        number = group.number
        everybody = [self.me, *self.members.alive.values()]
        able = [one for one in everybody if number not in self._cannot_of(one)]
        ready = [one.id for one in able if one.standing is Standing.UP]
        if not ready:  # better with somebody who gives it away later than with nobody
            ready = [one.id for one in able if one.standing is Standing.DRAINING]
        in_turn = rank(number, ready)
        first = group.to if group.to in ready else self.wanted(number)
        if first in in_turn:
            in_turn.remove(first)
            in_turn.insert(0, first)
        return in_turn

    def _first(self, group: GroupState) -> str:
        return next((name for name in self._in_turn(group) if name != self.me.id), "")

    def _take_if_due(self, group: GroupState, now: float) -> None:
        if now < group.not_before or not self._connected or group.number in self.unable:
            return
        if self.me.standing not in (Standing.UP, Standing.DRAINING):
            return
        in_turn = self._in_turn(group)
        if self.me.id not in in_turn:
            return
        if now < group.vacant_at + in_turn.index(self.me.id) * self._times.turn:
            return
        depose = not group.left and now >= group.dead_at
        group.happen(GroupEvent.BEGIN)
        self._decided.append(TakeOver(group.number, group.tenure, depose))

    def _give_away(self, group: GroupState, to: str) -> None:
        if group.happen(GroupEvent.LEAVE):
            group.to, group.moving = to, True
            self._decided += (Speak(), GiveAway(group.number, to))

    def _move_if_due(self, now: float) -> None:
        """Give a group away that somebody else should have, if it is the first one of all."""
        due: list[tuple[int, int]] = []
        for group in self.groups:
            if group.moving or (not group.owner and now < group.vacant_at + self._times.settle):
                return
            wanted = self.wanted(group.number)
            if now < self._passed_over.get((group.number, wanted), NEVER):
                continue
            if group.owner and wanted and wanted != group.owner:
                urgency = self._urgency(group)
                # Our clients could not use what is there, and it would not come back by itself.
                if urgency == _DRAIN or wanted == self.me.id or self.in_reach(wanted):
                    due.append((urgency, group.number))
        if not due:
            return
        urgency, number = min(due)
        if urgency == _EVEN_OUT and (
            now < self._changed_at + self._times.patience
            or now < self._owner_changed_at + self._times.pause
        ):
            return
        group = self.groups[number]
        if group.owner == self.me.id:
            self._give_away(group, self.wanted(number))

    def _urgency(self, group: GroupState) -> int:
        owner = self._named(group.owner)
        if owner is not None and owner.standing is not Standing.UP:
            return _DRAIN
        return _WISH if self._wish(group.number) else _EVEN_OUT

    # -- what is said ---------------------------------------------------------------------------

    def beat(
        self,
        *,
        load: float = 0.0,
        last: dict[int, int] | None = None,
        reads: Mapping[int, int] | None = None,
    ) -> Member:
        """What to say about ourselves now.

        Args:
            load: how busy we are.
            last: the last places in the logs of the groups that we own.
            reads: the places that we have come to in the logs that we read along.
        """
        self._count += 1
        claims = dict(self._left)
        for group in self.groups:
            if group.held:
                hold = Hold.LEAVING if group.stage is GroupStage.LEAVING else Hold.OWNED
                place = (last or {}).get(group.number, 0)
                claims[group.number] = Claim(hold, group.tenure, group.to, place)
        return replace(
            self.me,
            count=self._count,
            load=load,
            claims=claims,
            unable=frozenset(self.unable),
            wishes=dict(self._wishes),
            reads=dict(reads or {}),
        )

    @property
    def held(self) -> list[int]:
        """The groups that we have or are about to have."""
        busy = (GroupStage.READING, GroupStage.FENCING)
        return [group.number for group in self.groups if group.held or group.stage in busy]

    @property
    def ownerless(self) -> list[int]:
        """The groups that have no known owner."""
        return [group.number for group in self.groups if not group.owner]


_DRAIN, _WISH, _EVEN_OUT = range(3)
