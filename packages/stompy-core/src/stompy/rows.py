"""A list of dataclasses: what counters are handed out in."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from stompy.display import DataclassLike

T = TypeVar("T", bound="DataclassLike")


class Rows(list[T]):
    """A list of dataclasses of one kind. A notebook shows it as a table, and pandas takes it."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from stompy.display import table_html  # noqa: PLC0415 -- needed in notebooks only

        return table_html(self)
