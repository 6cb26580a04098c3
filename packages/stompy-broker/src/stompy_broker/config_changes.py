"""What differs between two configurations, and what of that a broker that runs can go by. Pure.

What cannot change while it runs stays as it was: the configuration that it goes by afterwards is a
mixture, and says the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel

from stompy_broker.config import BrokerConfig


class Applies(StrEnum):
    """From when on a changed setting holds."""

    AT_ONCE = "at once"
    SUBSCRIPTIONS = "new subscriptions"
    CONNECTIONS = "new connections"
    RESTART = "needs a restart"


_SECURITY = ("users", "roles", "acl", "security.default_access")
"""What makes no sense but together."""

CHANGEABLE: Mapping[str, Applies] = {
    **dict.fromkeys(_SECURITY, Applies.AT_ONCE),
    "policy": Applies.AT_ONCE,
    "route": Applies.AT_ONCE,
    "quota": Applies.AT_ONCE,
    "limits.connections": Applies.AT_ONCE,
    "limits.connections_per_address": Applies.AT_ONCE,
    "limits.connections_per_user": Applies.AT_ONCE,
    "limits.queues": Applies.AT_ONCE,
    "limits.durables": Applies.AT_ONCE,
    "limits.retained": Applies.AT_ONCE,
    "limits.retained_bytes": Applies.AT_ONCE,
    "limits.dedup": Applies.AT_ONCE,
    "limits.name": Applies.CONNECTIONS,
    "limits.disk": Applies.AT_ONCE,
    "limits.subscriptions": Applies.AT_ONCE,
    "prefetch.client": Applies.SUBSCRIPTIONS,
    "prefetch.client_individual": Applies.SUBSCRIPTIONS,
    "limits.temporary_queues": Applies.CONNECTIONS,
    "limits.transactions": Applies.CONNECTIONS,
    "limits.transaction_frames": Applies.CONNECTIONS,
    "limits.transaction_bytes": Applies.CONNECTIONS,
    "times.heart_beat": Applies.CONNECTIONS,
    "times.heart_beat_grace": Applies.CONNECTIONS,
    "security.show_server": Applies.CONNECTIONS,
}
"""Settings, or whole sections, that may change while a broker runs; all others need a restart."""

_SECRET = "..."


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that is another one now.

    Attributes:
        key: of the setting; of lists and of users the section.
        before: what it was; of lists what went.
        after: what it is; of lists what came.
        applies: from when on it holds.
    """

    key: str
    before: object
    after: object
    applies: Applies

    def __str__(self) -> str:
        """For the log, in one line."""
        if self.applies is Applies.RESTART:
            return f"{self.key} needs a restart"
        return f"{self.key} is {self.after!r}, not {self.before!r} ({self.applies})"


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two configurations.

    Attributes:
        changes: each setting that is another one.
        config: what a broker goes by that does not start again.
    """

    changes: Sequence[Change]
    config: BrokerConfig

    @property
    def applied(self) -> list[Change]:
        """What a broker goes by that runs on."""
        return [one for one in self.changes if one.applies is not Applies.RESTART]

    @property
    def postponed(self) -> list[Change]:
        """What needs a restart."""
        return [one for one in self.changes if one.applies is Applies.RESTART]


def difference(before: BrokerConfig, after: BrokerConfig) -> Difference:
    """Compare two configurations.

    Args:
        before: by which a broker goes.
        after: what was read now.
    """
    changes: list[Change] = []
    sections: dict[str, object] = {}
    for name in BrokerConfig.model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if old == new:
            continue
        if name == "users":
            changes.append(_change(name, *_logins(old, new), before, after))
        elif isinstance(old, BaseModel):
            settings, found = _compared(name, old, new, before, after)
            changes += found
            sections[name] = old.model_copy(update=settings)
            continue
        else:
            changes.append(_change(name, *_entries(old, new), before, after))
        if changes[-1].applies is not Applies.RESTART:
            sections[name] = new
    return Difference(changes, before.model_copy(update=sections))


def _compared(
    section: str, old: BaseModel, new: BaseModel, before: BrokerConfig, after: BrokerConfig
) -> tuple[dict[str, object], list[Change]]:
    """What of a section can be taken over, and all that differs in it."""
    settings: dict[str, object] = {}
    changes: list[Change] = []
    for name, about in type(old).model_fields.items():
        was, becomes = getattr(old, name), getattr(new, name)
        if was == becomes:
            continue
        shown = (_plain(was), _plain(becomes)) if about.repr else (_SECRET, _SECRET)
        changes.append(_change(f"{section}.{name}", *shown, before, after))
        if changes[-1].applies is not Applies.RESTART:
            settings[name] = becomes
    return settings, changes


def _change(
    key: str, was: object, becomes: object, before: BrokerConfig, after: BrokerConfig
) -> Change:
    applies = CHANGEABLE.get(key, CHANGEABLE.get(key.partition(".")[0], Applies.RESTART))
    # Where there were no users a name proved nothing, and now it would; or the other way round.
    if key.startswith(_SECURITY) and before.knows_users != after.knows_users:
        applies = Applies.RESTART
    return Change(key, was, becomes, applies)


def _logins(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The logins that went, and those that came; one with another password did both."""
    went = [login for login, known in old.items() if new.get(login) != known]
    came = [login for login, known in new.items() if old.get(login) != known]
    return went, came


def _entries(
    old: Sequence[BaseModel], new: Sequence[BaseModel]
) -> tuple[list[object], list[object]]:
    """The entries of a list that went, and those that came; all of them if only the order did."""
    went = [_plain(one) for one in old if one not in new]
    came = [_plain(one) for one in new if one not in old]
    if went or came:
        return went, came
    return [_plain(one) for one in old], [_plain(one) for one in new]


def _plain(value: object) -> object:
    """A value as JSON has it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool) else str(value)
