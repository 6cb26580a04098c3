"""Counters as they are handed out: dataclasses, and lists of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from stompy.notebook import DataclassLike

T = TypeVar("T", bound="DataclassLike")


class Record:
    """A dataclass that a notebook shows as a list of its fields."""

    __slots__ = ()

    def _repr_html_(self: DataclassLike) -> str:
        """What a notebook shows."""
        from stompy.notebook import record_html  # noqa: PLC0415 -- needed in notebooks only

        return record_html(type(self).__name__, self)


class Rows(list[T]):
    """A list of dataclasses of one kind. A notebook shows it as a table, and pandas takes it."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from stompy.notebook import table_html  # noqa: PLC0415 -- needed in notebooks only

        return table_html(self)
