"""What each broker says about itself, and who is alive.

Each half second a broker says what it is and which groups it has; so does it at once when that
changes. What it says is complete, so nothing is wrong when some of it is lost, late or comes twice.
Who says nothing for a while counts as dead. A broker that slept itself has heard nobody meanwhile,
and must not think that all others are dead: see `Members.forgive`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

_DOUBLE_BEATS = 3
"""So often a second one has to be heard: the end of one and the beginning of the next may mix."""


class BeatError(ValueError):
    """It is not what a broker says about itself."""


class Standing(StrEnum):
    """What a broker is ready for."""

    UP = "up"
    DRAINING = "draining"
    """It gives its groups away, and takes none that anybody else can have."""
    LEAVING = "leaving"
    """It gives all of them away at once, and takes none."""
    GONE = "gone"
    """This is the last that is heard of it."""


class Hold(StrEnum):
    """What a broker says about a group."""

    OWNED = "owned"
    LEAVING = "leaving"
    LEFT = "left"
    """It had it, and the log says that it has left in good order."""


class Claim(NamedTuple):
    """What a broker says about one group.

    Attributes:
        hold: whether it has it.
        tenure: which tenure of the group this is about.
        to: to whom it is to go; empty = to nobody in particular.
        last: the place of the last entry in its log.
    """

    hold: Hold
    tenure: int
    to: str = ""
    last: int = 0


class Wish(NamedTuple):
    """An operator wants a group at a broker.

    It holds as long as that very process lives, so nobody need take it back.

    Attributes:
        broker: at which one.
        nonce: of its process.
        stamp: later wishes have higher ones.
    """

    broker: str
    nonce: str
    stamp: int


@dataclass(frozen=True, slots=True)
class Member:
    """A broker, as it speaks about itself.

    Attributes:
        id: its name, which nobody else has.
        nonce: made up by its process.
        address: where others connect to it.
        version: of its program.
        settings: a hash of what should be the same everywhere.
        count: how often it has spoken.
        standing: what it is ready for.
        load: how busy it is; 1 is one processor.
        claims: the groups that it has or had.
        unable: the groups that it cannot have, because their logs are damaged.
        wishes: of operators, by group.
        reads: the groups of others that it reads along, each with the place that it has come to.
    """

    id: str
    nonce: str
    address: str = ""
    version: str = ""
    settings: str = ""
    count: int = 0
    standing: Standing = Standing.UP
    load: float = 0.0
    claims: Mapping[int, Claim] = field(default_factory=dict)
    unable: frozenset[int] = frozenset()
    wishes: Mapping[int, Wish] = field(default_factory=dict)
    reads: Mapping[int, int] = field(default_factory=dict)

    def write(self) -> bytes:
        """As it goes to the others."""
        told = {
            "id": self.id,
            "nonce": self.nonce,
            "address": self.address,
            "version": self.version,
            "settings": self.settings,
            "count": self.count,
            "standing": self.standing,
            "load": round(self.load, 3),
            "claims": {str(group): list(claim) for group, claim in self.claims.items()},
            "unable": sorted(self.unable),
            "wishes": {str(group): list(wish) for group, wish in self.wishes.items()},
            "reads": {str(group): place for group, place in self.reads.items()},
        }
        return json.dumps(told, separators=(",", ":")).encode()

    @classmethod
    def read(cls, octets: bytes) -> Member:
        """Read what `write` has written. What a later version says beside it is passed over.

        Raises:
            BeatError: it is something else.
        """
        try:
            told = json.loads(octets)
            return cls(
                str(told["id"]),
                str(told["nonce"]),
                str(told["address"]),
                str(told["version"]),
                str(told["settings"]),
                int(told["count"]),
                Standing(told["standing"]),
                float(told["load"]),
                {int(group): _read_claim(*claim) for group, claim in told["claims"].items()},
                frozenset(map(int, told["unable"])),
                {int(group): _read_wish(*wish) for group, wish in told["wishes"].items()},
                {int(group): int(place) for group, place in told.get("reads", {}).items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BeatError(f"no broker speaks like that: {error!r}") from None


def _read_claim(hold: str, tenure: int, to: str, last: int) -> Claim:
    return Claim(Hold(hold), int(tenure), str(to), int(last))


def _read_wish(broker: str, nonce: str, stamp: int) -> Wish:
    return Wish(str(broker), str(nonce), int(stamp))


class Heard(StrEnum):
    """What came of listening to somebody."""

    NEW = "new"
    """A process that was not known, or that had counted as dead."""
    KNOWN = "known"
    STALE = "stale"
    """It has said something later already."""
    OWN = "own"
    """We have said it ourselves."""
    TWIN = "twin"
    """Another process has our name."""


class Members:
    """Who is alive, this broker not included.

    Args:
        me: this broker.
        silent_seconds: who says nothing for so long is dead.
        suspect_seconds: the same for one to whom a connection was lost.

    Attributes:
        alive: the living ones, by name.
        twin: the nonce of another process that has our name; empty = none was heard.
    """

    def __init__(self, me: Member, silent_seconds: float, suspect_seconds: float) -> None:
        self.alive: dict[str, Member] = {}
        self.twin = ""
        self._me = me
        self._silent = silent_seconds
        self._suspected = suspect_seconds
        self._heard_at: dict[str, float] = {}
        self._suspects: set[str] = set()
        self._last: dict[str, tuple[str, int]] = {}  # what was heard last, of the dead too
        self._doubles: dict[str, int] = {}  # how often others were heard who have a name as well

    def hear(self, beat: Member, now: float) -> Heard:
        """Take note of what a broker says."""
        name = beat.id
        if name == self._me.id:
            if beat.nonce == self._me.nonce:
                return Heard.OWN
            self.twin = beat.nonce
            return Heard.TWIN
        if not self._is_news(beat, now):
            return Heard.STALE
        if beat.standing is Standing.GONE:
            self._remove(name)
            return Heard.KNOWN
        before = self.alive.get(name)
        self.alive[name] = beat
        self._heard_at[name] = now
        self._suspects.discard(name)
        return Heard.KNOWN if before is not None and before.nonce == beat.nonce else Heard.NEW

    def _is_news(self, beat: Member, now: float) -> bool:
        name, before = beat.id, self.alive.get(beat.id)
        if before is not None and before.nonce != beat.nonce:
            if now - self._heard_at[name] < self._suspected:
                # Whoever follows another process has listened first. So there are two: the elder
                # stays, or each would seem to be the end of the other.
                self._doubles[name] = self._doubles.get(name, 0) + 1
                return False
            self._doubles.pop(name, None)
        last = self._last.get(name)
        if last is not None and last[0] == beat.nonce and last[1] >= beat.count:
            return False
        self._last[name] = (beat.nonce, beat.count)
        return True

    @property
    def doubled(self) -> list[str]:
        """Names that two living processes have."""
        return sorted(name for name, beats in self._doubles.items() if beats >= _DOUBLE_BEATS)

    def suspect(self, name: str) -> None:
        """A connection to a broker was lost: unless it says something soon, it is dead."""
        if name in self.alive:
            self._suspects.add(name)

    def forgive(self, now: float) -> None:
        """Count everybody as heard just now: it is we who did not listen."""
        self._suspects.clear()
        for name in self._heard_at:
            self._heard_at[name] = now

    def remove_silent(self, now: float) -> list[str]:
        """Count those as dead that say nothing any more; gives their names."""
        silent = [
            name
            for name, heard_at in self._heard_at.items()
            if now - heard_at >= (self._suspected if name in self._suspects else self._silent)
        ]
        for name in silent:
            self._remove(name)
        return silent

    def _remove(self, name: str) -> None:
        self.alive.pop(name, None)
        self._heard_at.pop(name, None)
        self._suspects.discard(name)
        self._doubles.pop(name, None)


def without_figures(member: Member) -> Member:
    """A member but for what changes all the time, to see whether anything else has changed."""
    return replace(member, count=0, load=0.0, claims={}, unable=frozenset(), wishes={}, reads={})
