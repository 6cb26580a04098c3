"""When a row deserves a look: rules, and a memory so that alarms do not flicker.

A *measure* rule compares a number with two thresholds; it holds after two samples in a row. A
*counting* rule does so with what a counter rose by in the last minute. A *lasting* rule asks how
long something has been so; where the broker says since when, that counts, and not when somebody
began to look. All are let go after five good samples. A row is looked at when it changed, and else
not before the moment at which time alone makes a difference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from stompy_monitor.model import formats
from stompy_monitor.model.history import grows_steadily
from stompy_monitor.model.row_set import Row

T = TypeVar("T")

WARN, CRITICAL = 1, 2
RAISED_AFTER = 2
CLEARED_AFTER = 5
JUDGED_AT_ONCE = 500

MARKS = ("  ", " !", "!!")
"""By severity; an alarm is told by glyph, word and colour, so that any one of them suffices."""
WORDS = ("", "warn", "critical")

_MIB = 2**20
_MINUTE = 60_000
_AGAIN = 5_000
"""Milliseconds after which a trend is looked at again while it holds."""
_NEVER = float("inf")

Words = Callable[[Row, float], str]
"""A reason, from the row and what was measured."""


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong with a row.

    Attributes:
        name: as in the configuration.
        kind: which rows.
        measure: the number, or for a lasting rule something true; 0 or None when all is well.
        warn, critical: from which value, or after how many milliseconds.
        words: the reason that is shown.
        lasting: whether the thresholds are times.
        since: for a lasting rule, since when it has been so, in epoch milliseconds, as the broker
            says; None where it does not.
        grows: whether the number is an age, which rises while the row stays as it is.
        counts: whether the number is a counter; what it rose by in a minute is compared.
        fades: whether the number changes while the row stays as it is.
    """

    name: str
    kind: str
    measure: Callable[[Row], float | None]
    warn: float
    critical: float
    words: Words
    lasting: bool = False
    since: Callable[[Row], float | None] | None = None
    grows: bool = False
    counts: bool = False
    fades: bool = False


def _stays(row: Row) -> bool:
    """Whether what is in a queue is meant to stay there, also when everybody has read it."""
    return row.value("type") == "stream" or bool(row.value("non_destructive"))


def _no_consumer(row: Row) -> float:
    waits = row.number("ready") > 0 and not row.value("dlq_of") and not _stays(row)
    return waits and row.value("consumers") == 0


def _unmatched(row: Row) -> bool:
    return row.number("unmatched") > 0


def _without_consumer_since(row: Row) -> float | None:
    since = [row.value(name) for name in ("idle_at", "oldest_at")]
    known = [at for at in since if isinstance(at, int)]
    return max(known) if len(known) == len(since) else None


def _waiting(row: Row) -> float:
    # Dead letters wait for somebody to come; that is no news.
    return 0 if row.value("dlq_of") or _stays(row) else row.number("oldest_ms")


def _dead_letters(row: Row) -> float:
    return row.number("in_msgs") if row.value("dlq_of") else 0


def _growing(row: Row) -> float:
    if row.history is None or row.value("dlq_of") or not row.number("ready") or _stays(row):
        return 0
    row.history.fill(row.row_set.version)
    return grows_steadily(row.history.latest(0, samples_of(row, _MINUTE)))


def samples_of(row: Row, ms: float) -> int:
    """How many samples of a history there are in so many milliseconds."""
    return max(1, round(ms / row.row_set.interval_ms))


_LIMITS = (
    ("max_length", "ready"),
    ("max_length_bytes", "bytes"),
    ("max_bytes", "bytes"),
)


def _limit_share(row: Row) -> float:
    if _stays(row):
        return 0  # it is meant to be full: the oldest messages make room
    most = 0.0
    for name, used in _LIMITS:
        limit = row.number(name)
        if limit > 0:
            most = max(most, row.number(used) / limit)
    return most


def _share(used: str, most: str) -> Callable[[Row], float]:
    return lambda row: row.number(used) / row.number(most) if row.number(most) > 0 else 0


def _at_prefetch(row: Row) -> float | None:
    prefetch = row.number("prefetch")
    full = prefetch > 0 and row.number("unacked") >= prefetch
    return row.number("oldest_unacked_ms") if full or row.value("slow") else None


def _paused(row: Row) -> bool:
    return bool(row.value("paused")) and row.number("ready") > 0


def _value(name: str) -> Callable[[Row], float]:
    return lambda row: row.number(name)


def _said(words: str) -> Words:
    return lambda row, measure: words


def _waits(row: Row, measure: float) -> str:
    return f"waits {formats.duration(row.number('oldest_ms'))}"


def _nobody_takes(row: Row, measure: float) -> str:
    return f"no consumer takes {formats.number(row.number('unmatched'))}"


def _full(row: Row, measure: float) -> str:
    return f"{formats.share(_limit_share(row))} full"


def _slow(row: Row, measure: float) -> str:
    word = "stuck" if row.value("stuck") else "slow"
    return f"{word}, holds {formats.number(row.number('unacked'))}"


def _in_a_minute(what: str) -> Words:
    return lambda row, measure: f"{formats.number(measure)} {what}/min"


def _is_paused(row: Row, measure: float) -> str:
    return f"paused, {formats.number(row.number('ready'))} wait"


def _open(row: Row, measure: float) -> str:
    return f"open for {formats.duration(row.number('age_ms'))}"


def _late(row: Row, measure: float) -> str:
    return f"its loop is {row.number('loop_lag_ms.p99'):.0f} ms late"


def _descriptors(row: Row, measure: float) -> str:
    return f"{formats.share(row.number('fds') / row.number('fds_max'))} of its descriptors in use"


def _lost(row: Row) -> float:
    return float(row.value("what") != "group" and row.value("state") == "lost")


def _ownerless(row: Row) -> float:
    return float(row.value("what") == "group" and not row.value("owner"))


def _unsynced(row: Row) -> float:
    sync = row.value("sync")
    return float(row.value("what") == "server" and sync not in ("always", "", None))


def _other_alarms(row: Row) -> float:
    """How many alarms a broker has that is not the one that was asked, which tells its own."""
    found = row.value("alarms")
    other = row.value("what") == "member" and row.value("name") != row.row_set.here
    return len(found) if other and isinstance(found, list | tuple) else 0


def _alarm_names(row: Row, measure: float) -> str:
    found = row.value("alarms")
    return ", ".join(map(str, found)) if isinstance(found, list | tuple) else ""


RULES = (
    Rule(
        "no-consumer",
        "queues",
        _no_consumer,
        30_000,
        300_000,
        _said("no consumers"),
        lasting=True,
        since=_without_consumer_since,
    ),
    Rule("unmatched", "queues", _unmatched, 60_000, 600_000, _nobody_takes, lasting=True),
    Rule(
        "growing", "queues", _growing, 60_000, 300_000, _said("growing"), lasting=True, fades=True
    ),
    Rule("oldest", "queues", _waiting, 60_000, 600_000, _waits, grows=True),
    Rule("dead-letters", "queues", _dead_letters, 1, 100, _in_a_minute("dead"), counts=True),
    Rule("limit", "queues", _limit_share, 0.8, 0.95, _full),
    Rule("paused", "queues", _paused, 60_000, 600_000, _is_paused, lasting=True),
    Rule("slow", "subscriptions", _at_prefetch, 30_000, 300_000, _slow, grows=True),
    Rule(
        "pending",
        "connections",
        lambda row: row.number("pending_bytes") > _MIB,
        10_000,
        60_000,
        _said("does not read"),
        lasting=True,
    ),
    Rule(
        "blocked",
        "connections",
        lambda row: row.value("state") == "blocked",
        10_000,
        60_000,
        _said("has to wait before it may send"),
        lasting=True,
    ),
    Rule("lost", "cluster", _lost, 1, 1, _said("lost")),
    Rule("nobody's", "cluster", _ownerless, 2_000, 10_000, _said("nobody owns it"), lasting=True),
    Rule("sync", "cluster", _unsynced, 1, 1, lambda row, _: f"syncs {row.text('sync')}"),
    Rule("others", "cluster", _other_alarms, 1, 1, _alarm_names),
    Rule("age", "transactions", _value("age_ms"), 30_000, 300_000, _open, grows=True),
    Rule("lag", "broker", _value("loop_lag_ms.p99"), 200, 1000, _late),
    Rule("descriptors", "broker", _share("fds", "fds_max"), 0.8, 0.95, _descriptors),
    Rule(
        "logins",
        "broker",
        _value("auth_failures"),
        10,
        100,
        _in_a_minute("refused logins"),
        counts=True,
    ),
)
"""What is watched by default."""


def with_thresholds(
    rules: Iterable[Rule], thresholds: Mapping[str, tuple[float, float]]
) -> tuple[Rule, ...]:
    """The rules with other thresholds, by name.

    Raises:
        ValueError: there is no such rule.
    """
    rules = tuple(rules)
    unknown = thresholds.keys() - {rule.name for rule in rules}
    if unknown:
        raise ValueError(f"there is no alarm “{min(unknown)}”")
    changed = {name: {"warn": warn, "critical": crit} for name, (warn, crit) in thresholds.items()}
    return tuple(replace(rule, **changed.get(rule.name, {})) for rule in rules)  # type: ignore[arg-type]


@dataclass(slots=True)
class _Case:
    """One rule and one row for which it holds, or held a moment ago."""

    since: float
    bad: int = 0
    good: int = 0
    level: int = 0
    measure: float = 0

    def follow(self, rule: Rule, measure: float, now: float) -> bool:
        """Take one more sample; whether the case is still open."""
        if not (measure if rule.lasting else measure >= rule.warn):
            self.good, self.bad = self.good + 1, 0
            return self.good < CLEARED_AFTER
        self.bad, self.good, self.measure = self.bad + 1, 0, measure
        if self.bad >= RAISED_AFTER:
            reached = now - self.since if rule.lasting else measure
            level = CRITICAL if reached >= rule.critical else WARN
            self.level = level if reached >= rule.warn else 0
        return True

    def again(self, rule: Rule, measure: float, now: float) -> float:
        """When to look again although the row did not change."""
        if self.good or self.bad < RAISED_AFTER:
            return now
        latest = now + _AGAIN if rule.fades else _NEVER
        if self.level == CRITICAL or not (rule.lasting or rule.grows):
            return latest
        since = self.since if rule.lasting else now - measure
        return min(latest, since + (rule.critical if self.level == WARN else rule.warn))


class _Count:
    """A counter over the last minute: by how much it rose, and when that will be less."""

    __slots__ = ("_looks",)

    def __init__(self, now: float, value: float) -> None:
        self._looks = deque([(now, value)])

    def rose(self, now: float, value: float) -> float:
        """By how much it rose in the last minute."""
        looks = self._looks
        if value < looks[-1][1]:
            looks.clear()  # it began anew
        if not looks or value != looks[-1][1]:
            looks.append((now, value))
        while len(looks) > 1 and looks[1][0] <= now - _MINUTE:
            looks.popleft()
        return value - looks[0][1]

    @property
    def again(self) -> float:
        """When the first rise of the minute will be over."""
        return self._looks[1][0] + _MINUTE if len(self._looks) > 1 else _NEVER


class Alarms:
    """The open cases of one kind."""

    def __init__(self, kind: str, rules: Iterable[Rule] = RULES) -> None:
        self.rules = tuple(rule for rule in rules if rule.kind == kind)
        self._cases: dict[str, dict[int, _Case]] = {}
        self._due: dict[str, None] = {}
        self._again: dict[str, float] = {}
        self._counts: dict[str, dict[int, _Count]] = {}

    def update(self, rows: Mapping[str, Row], changed: Iterable[Row], now_ms: float) -> set[str]:
        """Look at the rows that changed and at those with a case.

        Args:
            rows: all rows by key.
            changed: those that are not as they were.
            now_ms: the broker's running time.

        Returns:
            The keys whose severity or reason is another one now.
        """
        if not self.rules:
            return set()
        for memory in (self._cases, self._again, self._counts):
            for key in memory.keys() - rows.keys():
                del memory[key]
        due = [key for key, moment in self._again.items() if moment <= now_ms]
        # Of very many rows a part is judged at a time; who waits longest comes first.
        self._due.update(dict.fromkeys([row.key for row in changed]))
        share = max(JUDGED_AT_ONCE - len(due), len(self._due) // 8)
        due += islice(self._due, share)
        moved = set()
        for key in dict.fromkeys(due):
            self._due.pop(key, None)
            row = rows.get(key)
            if row is not None and self._judge(row, now_ms):
                moved.add(key)
        return moved

    def counts(self, rows: Mapping[str, Row]) -> tuple[int, int]:
        """How many rows are at warn, and at critical."""
        levels = [rows[key].severity for key in self._cases if key in rows]
        return levels.count(WARN), levels.count(CRITICAL)

    def alarmed(self, rows: Mapping[str, Row]) -> list[Row]:
        """The rows with an alarm."""
        return [rows[key] for key in self._cases if key in rows and rows[key].severity]

    def _judge(self, row: Row, now_ms: float) -> bool:
        cases = self._cases.get(row.key, {})
        said: list[tuple[int, Words, float]] = []
        again = _NEVER
        for number, rule in enumerate(self.rules):
            measure = rule.measure(row) or 0
            if rule.counts and measure:
                count = self._count(row, number, measure, now_ms)
                measure, again = count.rose(now_ms, measure), min(again, count.again)
            case = cases.get(number)
            if case is None:
                if not (measure if rule.lasting else measure >= rule.warn):
                    if rule.grows and measure:
                        again = min(again, now_ms + rule.warn - measure)
                    continue
                case = cases[number] = _Case(_began(rule, row, now_ms))
            if not case.follow(rule, measure, now_ms):
                del cases[number]
                continue
            again = min(again, case.again(rule, measure, now_ms))
            if case.level:
                said.append((case.level, rule.words, case.measure if rule.counts else 0))
        _put(self._cases, row.key, cases or None)
        _put(self._again, row.key, again if again < _NEVER else None)
        return row.judge(tuple(sorted(said, key=lambda reason: -reason[0])))

    def _count(self, row: Row, number: int, value: float, now_ms: float) -> _Count:
        counts = self._counts.setdefault(row.key, {})
        count = counts.get(number)
        if count is None:
            # What came before somebody looked is counted where it is sure to be of this minute.
            created = row.value("created_at")
            young = isinstance(created, int) and row.row_set.at - created < _MINUTE
            begun = now_ms - (row.row_set.at - created) if young else now_ms  # type: ignore[operator]
            count = counts[number] = _Count(begun, 0 if young else value)
        return count


def _began(rule: Rule, row: Row, now_ms: float) -> float:
    """Since when a case has been open, on the clock of the broker's running time."""
    since = rule.since(row) if rule.since is not None else None
    return now_ms if since is None else min(now_ms, now_ms - (row.row_set.at - since))


def _put(memory: dict[str, T], key: str, value: T | None) -> None:
    if value is None:
        memory.pop(key, None)
    else:
        memory[key] = value
