"""When a row deserves a look: rules, and a memory so that alarms do not flicker.

A *measure* rule compares a number with two thresholds; it holds after two samples in a row. A
*lasting* rule asks how long something has been so. Both are let go after five good samples. A row
is looked at when it changed, and else not before the moment at which time alone makes a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from stompy_monitor import formats
from stompy_monitor.table import Row

WARN, CRITICAL = 1, 2
RAISED_AFTER = 2
CLEARED_AFTER = 5
JUDGED_AT_ONCE = 500

MARKS = ("  ", " !", "!!")
"""By severity; an alarm is told by glyph, word and colour, so that any one of them suffices."""
WORDS = ("", "warn", "critical")

_MIB = 2**20
_NEVER = float("inf")


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong with a row.

    Attributes:
        name: as in the configuration.
        kind: which rows.
        measure: the number, or for a lasting rule something true; 0 or None when all is well.
        warn, critical: from which value, or after how many milliseconds.
        words: the reason that is shown, from the row.
        lasting: whether the thresholds are times.
        grows: whether the number is an age, which rises while the row stays as it is.
    """

    name: str
    kind: str
    measure: Callable[[Row], float | None]
    warn: float
    critical: float
    words: Callable[[Row], str]
    lasting: bool = False
    grows: bool = False


def _no_consumer(row: Row) -> float:
    return row.number("ready") > 0 and row.value("consumers") == 0 and not row.value("dlq_of")


def _waiting(row: Row) -> float:
    # Dead letters wait for somebody to come; that is no news.
    return 0 if row.value("dlq_of") else row.number("oldest_ms")


def _dying(row: Row) -> float:
    """Dead letters a minute."""
    return row.number("in") * 60 if row.value("dlq_of") else 0


def _growing(row: Row) -> float:
    return (
        not row.value("dlq_of") and row.number("in") > row.number("out") and row.number("ready") > 0
    )


_LIMITS = (
    ("max_length", "ready"),
    ("max_length_bytes", "bytes"),
    ("max_bytes", "bytes"),
)


def _limit_share(row: Row) -> float:
    shares = [row.number(used) / limit for name, used in _LIMITS if (limit := row.number(name)) > 0]
    return max(shares, default=0)


def _at_prefetch(row: Row) -> float | None:
    prefetch = row.number("prefetch")
    full = prefetch > 0 and row.number("unacked") >= prefetch
    return row.number("oldest_unacked_ms") if full or row.value("slow") else None


def _age(name: str) -> Callable[[Row], float]:
    return lambda row: row.number(name)


def _said(words: str) -> Callable[[Row], str]:
    return lambda _: words


def _waits(row: Row) -> str:
    return f"waits {formats.duration(row.number('oldest_ms'))}"


def _full(row: Row) -> str:
    return f"{formats.share(_limit_share(row))} full"


def _slow(row: Row) -> str:
    return "stuck" if row.value("stuck") else "slow"


def _unread(row: Row) -> bool:
    return row.number("pending_bytes") > _MIB or row.value("state") == "blocked"


def _open(row: Row) -> str:
    return f"open for {formats.duration(row.number('age_ms'))}"


RULES = (
    Rule("no-consumer", "queues", _no_consumer, 30_000, 300_000, _said("no consumers"), True),
    Rule("growing", "queues", _growing, 60_000, 300_000, _said("growing"), True),
    Rule("oldest", "queues", _waiting, 60_000, 600_000, _waits, grows=True),
    Rule("dead-letters", "queues", _dying, 1, 100, _said("dead letters")),
    Rule("limit", "queues", _limit_share, 0.8, 0.95, _full),
    Rule("slow", "subscriptions", _at_prefetch, 30_000, 300_000, _slow, grows=True),
    Rule("pending", "connections", _unread, 10_000, 60_000, _said("does not read"), True),
    Rule("age", "transactions", _age("age_ms"), 30_000, 300_000, _open, grows=True),
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

    def follow(self, rule: Rule, measure: float, now: float) -> bool:
        """Take one more sample; whether the case is still open."""
        if not (measure if rule.lasting else measure >= rule.warn):
            self.good, self.bad = self.good + 1, 0
            return self.good < CLEARED_AFTER
        self.bad, self.good = self.bad + 1, 0
        if self.bad >= RAISED_AFTER:
            reached = now - self.since if rule.lasting else measure
            level = CRITICAL if reached >= rule.critical else WARN
            self.level = level if reached >= rule.warn else 0
        return True

    def again(self, rule: Rule, measure: float, now: float) -> float:
        """When to look again although the row did not change."""
        if self.good or self.bad < RAISED_AFTER:
            return now
        if self.level == CRITICAL or not (rule.lasting or rule.grows):
            return _NEVER
        since = self.since if rule.lasting else now - measure
        return since + (rule.critical if self.level == WARN else rule.warn)


class Alarms:
    """The open cases of one kind."""

    def __init__(self, kind: str, rules: Iterable[Rule] = RULES) -> None:
        self.rules = tuple(rule for rule in rules if rule.kind == kind)
        self._cases: dict[str, dict[int, _Case]] = {}
        self._due: dict[str, None] = {}
        self._again: dict[str, float] = {}

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
        for memory in (self._cases, self._again):
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
        """The rows with an alarm, the worst first."""
        found = [rows[key] for key in self._cases if key in rows and rows[key].severity]
        return sorted(found, key=lambda row: (-row.severity, row.key))

    def _judge(self, row: Row, now_ms: float) -> bool:
        cases = self._cases.get(row.key)
        had = cases is not None
        worst, words, again = 0, None, _NEVER
        for number, rule in enumerate(self.rules):
            measure = rule.measure(row) or 0
            case = cases.get(number) if cases is not None else None
            if case is None:
                if not (measure if rule.lasting else measure >= rule.warn):
                    if rule.grows and measure:
                        again = min(again, now_ms + rule.warn - measure)
                    continue
                if cases is None:
                    cases = self._cases[row.key] = {}
                case = cases[number] = _Case(now_ms)
            if not case.follow(rule, measure, now_ms):
                del cases[number]
                continue
            again = min(again, case.again(rule, measure, now_ms))
            if case.level > worst:
                worst, words = case.level, rule.words
        if had and not cases:
            del self._cases[row.key]
        if again < _NEVER:
            self._again[row.key] = again
        else:
            self._again.pop(row.key, None)
        return row.judge(worst, words)
