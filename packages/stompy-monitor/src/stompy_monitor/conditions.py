"""What a script asks: expressions whose names carry their kind, such as ``queue.ready>1000``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stompy_monitor.model.filter import (
    And,
    Compare,
    Expression,
    ExpressionError,
    Matches,
    Not,
    Or,
    names_in,
    parse,
)
from stompy_monitor.model.model import Model
from stompy_monitor.model.row_set import Row
from stompy_monitor.tables.vocabulary import KINDS, condition_names


@dataclass(frozen=True)
class Condition:
    """An expression about rows of one kind.

    Attributes:
        text: as it was given.
        kind: which rows it is about.
        expression: the same without the kinds.
    """

    text: str
    kind: str
    expression: Expression

    @classmethod
    def read(cls, text: str) -> Condition:
        """Read a condition as it stands on the command line.

        Raises:
            ValueError: it cannot be understood, names what there is not, or mixes kinds.
        """
        kinds = {name.partition(".")[0] for name in names_in(parse(text))}
        if len(kinds) != 1 or not kinds <= KINDS.keys():
            known = ", ".join(f"{kind}." for kind in KINDS)
            raise ValueError(f"“{text}”: each name begins with one and the same of {known}")
        (kind,) = kinds
        try:
            expression = parse(text, condition_names())
        except ExpressionError as error:
            raise ValueError(f"“{text}”: {error}") from error
        return cls(text, KINDS[kind], _without_kind(expression, f"{kind}."))

    def matches(self, model: Model) -> list[str]:
        """The names of the rows for which it holds."""
        if self.kind == "broker":
            holds = self.expression.matches(_BrokerSubject(model))
            return [model.name or "broker"] if holds else []
        rows = model.row_sets[self.kind].rows.values()
        return [_label(row) for row in rows if not row.own and self.expression.matches(row)]


@dataclass(frozen=True)
class _BrokerSubject:
    model: Model

    @property
    def haystack(self) -> str:
        """Where a bare word is looked for: its name."""
        return self.model.name

    def value(self, name: str) -> object:
        """A number of the broker."""
        if name in self.model.rates:
            return self.model.rates[name]
        found: object = self.model.broker
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return found


def _label(row: Row) -> str:
    return row.text("name") or row.text("destination") or row.key


def _without_kind(expression: Expression, prefix: str) -> Expression:
    match expression:
        case Compare() | Matches():
            return replace(expression, name=expression.name.removeprefix(prefix))
        case And(parts) | Or(parts):
            return type(expression)(tuple(_without_kind(part, prefix) for part in parts))
        case Not(inner):
            return Not(_without_kind(inner, prefix))
        case _:
            return expression
