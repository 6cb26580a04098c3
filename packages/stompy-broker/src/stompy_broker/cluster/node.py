"""A broker as a member of a cluster: `Membership` with a clock, a network, and the logs of groups.

It hears what the others say and says what this broker is, on one connection to the NATS servers,
and carries out what membership decides: it takes groups over, and has them given away. Who serves
their queues is its listener.

**Nothing is wrong if it errs** about who is alive, because a network was slow, say: a log has one
owner all the same, and who was it before is told so. Only how long a takeover takes depends on the
clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from stompy_broker.cluster.joining import SyncChecks, enter, open_when_led
from stompy_broker.cluster.log.log import LogError, StreamLog
from stompy_broker.cluster.log.log_record import RecordError, RecordKind, read_part
from stompy_broker.cluster.log.log_replay import Gap
from stompy_broker.cluster.log.standby import Standby
from stompy_broker.cluster.log.takeover import (
    LogDamagedError,
    LogTakenError,
    TakeoverProgress,
    Tenure,
    take_over,
)
from stompy_broker.cluster.membership.groups import GroupMap
from stompy_broker.cluster.membership.members import BeatError, Heard, Member, Standing
from stompy_broker.cluster.membership.membership import (
    Decision,
    Depose,
    GiveAway,
    Membership,
    MembershipTimes,
    Speak,
    StopTaking,
    TakeOver,
    TellMembers,
    TellOwner,
)
from stompy_broker.cluster.nats.client import NATSClient, NATSListener, NATSSettings
from stompy_broker.cluster.nats.codec import NATSError, NATSLogin, NATSMessage
from stompy_broker.cluster.nats.jetstream import JetStream, StreamState
from stompy_broker.cluster.node_status import (
    GroupStatus,
    MemberStatus,
    NodeStatus,
    group_status,
)

log = logging.getLogger("stompy_broker.cluster")

_ROSTER = "roster"
"""The last word of the subject that the roster is in."""

_LOOK_SECONDS = 5.0
"""How often the servers are asked how they are."""

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


class TwinError(Exception):
    """Another broker of the cluster has the same id."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """How a broker takes part.

    Attributes:
        cluster: its name.
        broker: the id of this broker, unique in the cluster.
        nats: how to connect to the servers.
        replicas: on how many servers the logs are.
        system: the login of the servers' system account, with which they are asked whether they
            sync; None = they are trusted.
        address: where others connect to this broker.
        groups: how queues are grouped.
        version: of this program.
        settings: a hash of what should be the same everywhere.
        patience_seconds: how long the servers may need at the start until one of them leads.
        times: how patient it is with other brokers.
        takeovers: how many groups are read at the same time.
        accept_damage: whether to go on although something is missing in a log.
        standby_bytes: how much memory may be taken by what is read of groups of other brokers,
            to be quicker when they die; 0 = nothing is read.
    """

    cluster: str
    broker: str
    nats: NATSSettings
    replicas: int = 3
    system: NATSLogin | None = None
    address: str = ""
    groups: GroupMap = field(default_factory=GroupMap)
    version: str = ""
    settings: str = ""
    patience_seconds: float = 30.0
    times: MembershipTimes = field(default_factory=MembershipTimes)
    takeovers: int = 4
    accept_damage: bool = False
    standby_bytes: int = 256 * 1024 * 1024

    def __post_init__(self) -> None:
        """See that the names can be parts of a subject."""
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.cluster):
            raise ValueError(f"the cluster's name {self.cluster!r} has more than letters, - and _")
        if not _NAME.fullmatch(self.broker):
            raise ValueError(f"the broker's id {self.broker!r} has more than letters, -, _ and .")


class GroupListener(Protocol):
    """Who serves the queues of this broker's groups."""

    def owned(self, group: int, tenure: Tenure) -> None:
        """A group is ours: restore and serve it."""
        ...

    def deposed(self, group: int, reason: str) -> None:
        """A group is not ours any more. What was not safe never will be."""
        ...

    def owner_changed(self, group: int, owner: str) -> None:
        """A group is known to be another broker's; empty = nobody's."""
        ...

    def leave(self, group: int, done: Callable[[], None]) -> None:
        """Take nothing more for a group, make all safe, end its log in order, and call ``done``."""
        ...

    def members_changed(self, members: Mapping[str, Member]) -> None:
        """These other brokers live now."""
        ...


@dataclass(slots=True)
class _Taking:
    """A group that is being taken over.

    Attributes:
        progress: how far it is.
        task: that does it.
        end: the place of the last entry, as it was at the beginning.
        known: the place up to which the log had been read along.
    """

    progress: TakeoverProgress
    task: asyncio.Task[None] | None = None
    end: int = 0
    known: int = 0

    @property
    def share(self) -> float:
        """How much of the log is read, from 0 to 1."""
        return min(1.0, self.progress.place / self.end) if self.end else 0.0


class ClusterNode:
    """A broker's part in the cluster.

    Args:
        settings: how it takes part.
        listener: serves the queues of its groups. It is called in the event loop, and never
            within a call of something here but `fenced`.

    Attributes:
        settings: how it takes part.
        home: the number of the group of what is this broker's alone; known once it has started.
        load: how busy this broker is, to be told to the others.
        last_of: gives the place of the last entry in the log of a group that is ours.
        membership: what it makes of all that it hears.
    """

    def __init__(self, settings: NodeSettings, listener: GroupListener) -> None:
        self.settings = settings
        self.home = 0
        self.load = 0.0
        self.last_of: Callable[[int], int] = self._last_place
        me = Member(
            settings.broker,
            secrets.token_hex(8),
            settings.address,
            settings.version,
            settings.settings,
        )
        self.membership = Membership(me, settings.groups.count, settings.times)
        self._listener = listener
        self._client = NATSClient(settings.nats, NATSListener(self._connected, self._lost))
        self._jetstream = JetStream(self._client)
        self._logs: list[StreamLog] = []
        self._standby = Standby(self._logs, settings.standby_bytes)
        self._roster_log: StreamLog | None = None
        self._subject = f"stompy.{settings.cluster}.alive"
        self._tasks: set[asyncio.Task[None]] = set()
        self._taking: dict[int, _Taking] = {}
        self._places: dict[int, int] = {}
        self._room = asyncio.Semaphore(settings.takeovers)
        self._joined = False
        self._due = False
        self._deciding = False
        self._accepted: set[int] = set()
        self._turned = asyncio.Event()  # something was decided
        self._twin_told = ""
        self._since: dict[str | int, int] = {settings.broker: _wall()}
        self._known: dict[str, Member] = {}
        self._stream: StreamState | None = None
        self._stream_trouble = ""
        self._sync_checks: SyncChecks | None = None

    # -- beginning ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect, see that the servers sync, listen who is there, and join.

        Groups come later: the listener is told.

        Raises:
            NATSError: no server can be reached, or what they store would not be safe.
            LogError: the logs cannot be used.
            RosterError: the cluster groups queues otherwise, or has no place for this broker.
            TwinError: another broker has this one's id.
        """
        self._client.subscribe(f"{self._subject}.>", self._hear)
        await self._client.start()
        try:
            *logs, self._roster_log = await open_when_led(
                self._jetstream,
                self.settings.cluster,
                [*map(str, range(self.settings.groups.count)), _ROSTER],
                replicas=self.settings.replicas,
                seconds=self.settings.patience_seconds,
            )
            self._logs += logs
            if self.settings.system is not None:
                self._sync_checks = SyncChecks(
                    self._jetstream,
                    self._logs[0].stream,
                    self.settings.nats,
                    self.settings.system,
                    self.settings.patience_seconds,
                )
                await self._sync_checks.ask()
            # In silence, for perhaps there is another one of this id, and others would mix them up.
            await asyncio.sleep(self.settings.times.listen)
            if self.membership.members.twin:
                raise TwinError(f"another broker of the cluster has the id {self.settings.broker}")
            self.home = await enter(
                self._roster_log,
                self.settings.broker,
                self.settings.groups.layout,
                self.members,
                seconds=self.settings.patience_seconds,
            )
        except BaseException:
            await self.close()
            raise
        self._joined = True
        self.membership.join(self._now())
        self._begin(self._beat(), "beat")
        if self._sync_checks is not None and self._sync_checks.unheard:
            self._begin(self._sync_checks.ask_again(), "check")
        self._begin(self._look(), "look")
        self._decide_soon()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _begin(self, work: Coroutine[None, None, None], what: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=f"stompy-cluster-{what}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- hearing and speaking -------------------------------------------------------------------

    async def _beat(self) -> None:
        for count in itertools.count():
            try:
                if count % 2 == 0:
                    self._speak()
                self.membership.tick(self._now())
                self._standby.follow(self.membership.followed(), self.membership.ownerless)
            except Exception:
                log.exception("fault in what a broker says about itself")
            self._decide()
            await asyncio.sleep(self.settings.times.beat / 2)

    def _speak(self) -> None:
        last = {group: self.last_of(group) for group in self.membership.held}
        beat = self.membership.beat(load=self.load, last=last, reads=self._standby.places)
        self._client.publish(f"{self._subject}.{self.settings.broker}", beat.write())

    def _last_place(self, group: int) -> int:
        return self._places.get(group, 0)

    def _hear(self, message: NATSMessage) -> None:
        try:
            beat = Member.read(message.body)
        except BeatError as error:
            log.debug("%s says something that is none: %s", message.subject, error)
            return
        heard = self.membership.hear(beat, self._now())
        if heard is Heard.TWIN and self._twin_told != beat.nonce:
            self._twin_told = beat.nonce
            log.error("another broker, at %s, has our id %s", beat.address, beat.id)
        self._decide_soon()

    def _connected(self, _: object) -> None:
        self.membership.connect(self._now())
        self._decide_soon()

    def _lost(self, reason: str) -> None:
        self.membership.disconnect()

    async def _look(self) -> None:
        """Ask the servers how they are, again and again."""
        while True:
            try:
                self._stream = await self._jetstream.state(self._logs[0].stream)
                leads = self._stream.leader or self.settings.replicas == 1
                self._stream_trouble = "" if leads else "no server leads the stream"
            except NATSError as error:
                self._stream_trouble = str(error)
            await asyncio.sleep(_LOOK_SECONDS)

    # -- carrying out ---------------------------------------------------------------------------

    def _decide_soon(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._decide)

    def _decide(self) -> None:
        """Carry out what was decided, and what comes of that."""
        self._due = False
        if self._deciding:
            return
        self._deciding = True
        speak = False
        try:
            while decisions := self.membership.decisions():
                for decision in decisions:
                    if isinstance(decision, Speak):
                        speak = True
                        continue
                    try:
                        self._carry_out(decision)
                    except Exception:
                        log.exception("fault in what was to be done: %s", decision)
        finally:
            self._deciding = False
        if speak and self._joined:
            self._speak()
        self._turned.set()

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case TakeOver(group):
                progress = TakeoverProgress(
                    fencing=partial(self.membership.end_read, group),
                    refused=partial(self.membership.read_again, group),
                )
                self._taking[group] = taking = _Taking(progress)
                taking.task = self._begin(self._take(decision, taking), f"take-{group}")
            case StopTaking(group):
                stopped = self._taking.pop(group, None)
                if stopped is not None and stopped.task is not None:
                    stopped.task.cancel()
            case GiveAway(group, to):
                log.info("group %d is given away%s", group, f" to {to}" if to else "")
                number = self.membership.groups[group].tenure
                self._listener.leave(group, partial(self._left, group, number))
            case Depose(group, reason):
                log.error("group %d is not ours any more: %s", group, reason)
                self._listener.deposed(group, reason)
            case TellOwner(group, owner):
                log.info("group %d is %s", group, f"{owner}'s" if owner else "nobody's")
                self._since[group] = _wall()
                self._listener.owner_changed(group, owner)
            case TellMembers():
                self._tell_members()

    def _tell_members(self) -> None:
        alive = self.members
        for name, member in alive.items():
            if name not in self._known or self._known[name].nonce != member.nonce:
                self._since[name] = _wall()
        for name in self._known.keys() - alive.keys():
            self._since[name] = _wall()
        self._known |= alive
        self._listener.members_changed(alive)

    # -- taking over ----------------------------------------------------------------------------

    async def _take(self, decision: TakeOver, taking: _Taking) -> None:
        """Take a group over, and tell what came of it."""
        group, membership = decision.group, self.membership
        begun = self._now()
        damaged = False
        try:
            async with self._room:
                tenure = await self._take_from(decision, taking)
        except (LogError, NATSError) as error:
            damaged = isinstance(error, LogDamagedError)
            level = logging.ERROR if damaged else logging.WARNING
            log.log(level, "group %d cannot be taken over: %s", group, error)
            tenure = None
            membership.fail(group, self._now(), damaged=damaged)
        finally:
            if self._taking.get(group) is taking:
                del self._taking[group]
        if isinstance(tenure, int):
            membership.be_beaten(group, tenure, self._now())
        elif tenure is not None:
            self._own(group, tenure, self._now() - begun, standby=bool(taking.known))
        self._decide_soon()

    def log_of(self, group: int) -> StreamLog:
        """The log of a group, whoever owns it."""
        return self._logs[group]

    async def _take_from(self, decision: TakeOver, taking: _Taking) -> Tenure | int:
        """Become the owner; the number of the last tenure if that is alive, or another one."""
        group = decision.group
        log_ = self._logs[group]
        accept = self.settings.accept_damage or group in self._accepted
        last = await log_.last()
        taking.end = 0 if last is None else last.place
        before: int | None = 0
        if last is not None:
            try:
                head = read_part(last.octets)[0]
            except RecordError as error:
                if not accept:
                    raise LogDamagedError([Gap(0, 0, str(error))]) from None
                before = None
            else:
                before = head.tenure
                dead = decision.depose and before == decision.tenure
                if head.kind is not RecordKind.LEAVE and not dead:
                    return before
        replay = None if last is None else self._standby.give(group, last.place)
        taking.known = 0 if replay is None else replay.last
        try:
            return await take_over(
                log_,
                self.settings.broker,
                after=before,
                accept_damage=accept,
                replay=replay,
                progress=taking.progress,
            )
        except LogTakenError as error:
            log.info("group %d: %s", group, error)
            return error.tenure

    def _own(self, group: int, tenure: Tenure, seconds: float, *, standby: bool) -> None:
        membership = self.membership
        whose = f" after {tenure.before}" if tenure.before else ""
        log.info(
            "tenure %d of group %d%s has begun, after %.3f s%s",
            tenure.number,
            group,
            whose,
            seconds,
            ", and had been read along" if standby else "",
        )
        self._places[group] = tenure.place
        self._since[group] = _wall()
        membership.take(group, tenure.number, self._now())
        try:
            self._listener.owned(group, tenure)
        except Exception:
            # Another broker may be luckier; we would only fail again.
            log.exception("group %d cannot be served", group)
            membership.unable.add(group)
            self.fenced(group, tenure.number, "it cannot be served here")

    def fenced(self, group: int, tenure: int, reason: str) -> None:
        """The log of a group was taken over by somebody else, as its store has found out.

        Args:
            group: which one.
            tenure: the number of our tenure that has ended.
            reason: who has it now.
        """
        self.membership.be_fenced(group, tenure, reason, self._now())
        self._decide()

    def _left(self, group: int, tenure: int) -> None:
        if self.membership.groups[group].tenure == tenure:
            log.info("tenure %d of group %d has ended in order", tenure, group)
            self.membership.leave_group(group, self._now())
            self._decide_soon()

    # -- what is known --------------------------------------------------------------------------

    @property
    def members(self) -> dict[str, Member]:
        """The other brokers that live, by id."""
        return dict(self.membership.members.alive)

    def owner_of(self, group: int) -> str:
        """Who has a group, perhaps this broker; empty = nobody, as far as is known."""
        return self.membership.groups[group].owner

    def owns(self, group: int) -> bool:
        """Whether this broker has a group."""
        return self.membership.groups[group].held

    async def every_owner_known(self) -> None:
        """Wait until each group has an owner, but for those that this broker found damaged."""
        await self._until(lambda: set(self.membership.ownerless) <= self.membership.unable)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._turned.clear()
            await self._turned.wait()

    @property
    def trouble(self) -> str:
        """Why the servers cannot be used just now; empty = they can."""
        return self._client.trouble or self._stream_trouble

    def says_it_syncs(self, server: str) -> bool:
        """Whether a server was asked, and has said that it syncs always."""
        return self._sync_checks is not None and server not in self._sync_checks.unheard

    def status(self) -> NodeStatus:
        """The cluster, as this broker knows it."""
        membership, stream = self.membership, self._stream
        trouble = self.trouble
        alive = {self.settings.broker: membership.me, **self.members}
        every = {**alive, **{name: self._known[name] for name in self._known.keys() - alive.keys()}}
        return NodeStatus(
            tuple(
                MemberStatus(member, name in alive, self._since.get(name, 0))
                for name, member in every.items()
            ),
            tuple(map(self._group_status, range(len(membership.groups)))),
            self._client.info.name,
            "" if stream is None else stream.leader,
            {} if stream is None else stream.standing(trouble),
            0 if stream is None else stream.bytes,
            trouble,
            bool(membership.members.twin),
            tuple(membership.members.doubled),
        )

    def _group_status(self, number: int) -> GroupStatus:
        taking = self._taking.get(number)
        replayed = None if taking is None else taking.share
        last = self.last_of(number) if self.owns(number) else None
        reads, since = self._standby.places, self._since.get(number, 0)
        return group_status(self.membership, number, last, replayed, since, reads)

    # -- what operators want --------------------------------------------------------------------

    def suspect(self, broker: str) -> None:
        """A link to a broker was lost: if it says nothing soon, it is dead."""
        self.membership.suspect(broker)

    def move(self, group: int, broker: str) -> None:
        """Have a group given to a broker, in good order.

        Raises:
            MoveError: it cannot have it.
        """
        self.membership.move(group, broker)
        self._act()

    def accept_damage(self, group: int) -> None:
        """Go on although something is missing in the log of a group: what was there is given up."""
        self._accepted.add(group)
        self.membership.accept(group)
        self._act()

    async def drain(self) -> None:
        """Give all groups away, one after the other, as long as anybody can take them."""
        self._stand(Standing.DRAINING)
        await self._until(lambda: not (self.membership.held and self._others_ready()))

    def undrain(self) -> None:
        """Take groups again, after a drain."""
        self._stand(Standing.UP)

    async def leave(self) -> None:
        """Give all groups away at once, and say good-bye."""
        self._stand(Standing.LEAVING)
        await self._until(lambda: not self.membership.held)
        self.membership.stand(Standing.GONE)
        self._speak()

    def _others_ready(self) -> bool:
        return any(member.standing is Standing.UP for member in self.members.values())

    def _stand(self, standing: Standing) -> None:
        self.membership.stand(standing)
        self._act()

    def _act(self) -> None:
        self.membership.tick(self._now())
        self._decide_soon()

    async def close(self, *, silently: bool = False) -> None:
        """End it. Who still owns groups should have left, or have closed their stores.

        Args:
            silently: whether nobody is told, as if the process had crashed.
        """
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._taking.clear()
        await self._standby.close()
        if not silently and self._joined and self.membership.me.standing is not Standing.GONE:
            self.membership.stand(Standing.GONE)
            self._speak()
        for log_ in (*self._logs, *([self._roster_log] if self._roster_log else [])):
            await log_.close()
        await self._client.close()


def _wall() -> int:
    return int(time.time() * 1000)
