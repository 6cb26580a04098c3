"""What is wrong with a cluster, as the alarms of one of its members.

``cluster.peer_lost``: a member is lost, or there is no link to it. ``cluster.settings``: a peer has
other users or rules. ``cluster.no_quorum``: nothing can be written. ``cluster.fenced``: groups
were taken from this broker that did not let them go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stompy_broker.admin.cluster_status import ClusterStatus
from stompy_broker.timers import Clock

PATIENCE = 2.0
"""So many seconds a link may be missing before that is an alarm."""

FENCED_SECONDS = 60.0
"""For how long it is to be seen, at least, that this broker was fenced."""

SETTINGS = "settings."
"""What the facts of a peer begin with that must be the same everywhere."""

_LOOK_SECONDS = 0.5


class ClusterAlarms:
    """Raises and clears the alarms of a member.

    Args:
        cluster: it.
        clock: for what has to last a while.
        set_alarm: takes the name of an alarm and its reason; empty = over.
    """

    def __init__(
        self,
        cluster: ClusterStatus,
        clock: Clock,
        set_alarm: Callable[[str, str], None],
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._set = set_alarm
        self._linked: set[str] = set()
        self._unlinked_since: dict[str, float] = {}
        self._differing: dict[str, list[str]] = {}
        self._fenced: dict[int, tuple[float, str]] = {}
        self._timer = clock.timer(self.look)

    def close(self) -> None:
        """Look at nothing any more."""
        self._timer.cancel()

    def linked(self, peer: str, facts: Mapping[str, str]) -> None:
        """Take note of a link to a peer, and of what that says of itself."""
        self._linked.add(peer)
        own = self._cluster.facts
        # What only one of them knows is of another version, and no difference.
        both = sorted(name for name in own.keys() & facts.keys() if name.startswith(SETTINGS))
        differing = [name for name in both if own[name] != facts[name]]
        self._differing.pop(peer, None)
        if differing:
            self._differing[peer] = [name.removeprefix(SETTINGS) for name in differing]
        self._tell_settings()
        self.look()

    def unlinked(self, peer: str) -> None:
        """Take note that the link to a peer is lost."""
        self._linked.discard(peer)
        self._unlinked_since[peer] = self._clock.now()
        self.look()

    def quorum(self, reason: str) -> None:
        """Take note that the log cannot be written, and why; empty = it can be again."""
        self._set("cluster.no_quorum", reason)

    def fenced(self, group: int, reason: str) -> None:
        """Take note that a group was taken from this broker, which had not let it go."""
        self._fenced[group] = (self._clock.now(), reason)
        self._tell_fenced()
        self.look()

    def _tell_settings(self) -> None:
        words = [f"{peer}: {', '.join(names)}" for peer, names in sorted(self._differing.items())]
        self._set("cluster.settings", f"not as here at {'; '.join(words)}" if words else "")

    def _tell_fenced(self) -> None:
        groups = sorted(self._fenced)
        reasons = dict.fromkeys(reason for _, reason in self._fenced.values())
        numbers = ", ".join(map(str, groups))
        words = f"taken from this broker: group{'s' * (len(groups) > 1)} {numbers}"
        self._set("cluster.fenced", f"{words} ({'; '.join(reasons)})" if groups else "")

    def look(self) -> None:
        """See what is over, and what has lasted for too long; look again while anything is."""
        now = self._clock.now()
        over = [group for group, (at, _) in self._fenced.items() if now >= at + FENCED_SECONDS]
        for group in over:
            del self._fenced[group]
        if over:
            self._tell_fenced()
        waits = self._look_at_members(now)
        if waits or self._fenced:
            self._timer.set(now + _LOOK_SECONDS)

    def _look_at_members(self, now: float) -> bool:
        """Tell who is missing; say whether that has to be looked at again."""
        members = {m.id: m for m in self._cluster.members() if m.id != self._cluster.broker}
        words, waits = [], False
        for name, member in sorted(members.items()):
            if member.state == "lost":
                words.append(f"{name} is lost")
            elif name not in self._linked:
                since = self._unlinked_since.setdefault(name, now)
                if now >= since + PATIENCE:
                    words.append(f"no link to {name}")
            else:
                self._unlinked_since.pop(name, None)
                continue
            waits = True
        for gone in self._differing.keys() - members.keys():
            del self._differing[gone]
            self._tell_settings()
        self._set("cluster.peer_lost", ", ".join(words))
        return waits
